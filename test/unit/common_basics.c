/* Spans, buffers, arenas, topics, ids, frames, codes, histogram, random numbers, SHA-256. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "code.h"
#include "err.h"
#include "frame.h"
#include "hist.h"
#include "id.h"
#include "rng.h"
#include "sha256.h"
#include "span.h"
#include "topic.h"

Test(span, utf8_is_told_from_what_only_looks_like_it)
{
	static const struct {
		const char *name;
		struct span s;
		bool ok;
	} cases[] = {
		{ "empty", { "", 0 }, true },
		{ "ascii with NUL", { "a\0b", 3 }, true },
		{ "two, three, four bytes", { "é€😀", 9 }, true },
		{ "greatest code point", { "\xf4\x8f\xbf\xbf", 4 }, true },
		{ "past the greatest", { "\xf4\x90\x80\x80", 4 }, false },
		{ "overlong slash", { "\xc0\xaf", 2 }, false },
		{ "overlong three", { "\xe0\x80\xaf", 3 }, false },
		{ "overlong four", { "\xf0\x80\x80\xaf", 4 }, false },
		{ "surrogate", { "\xed\xa0\x80", 3 }, false },
		{ "lone continuation", { "\x80", 1 }, false },
		{ "cut short", { "\xe2\x82", 2 }, false },
		{ "lead after lead", { "\xc3\xc3", 2 }, false },
		{ "0xff", { "\xff", 1 }, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(span_is_utf8(cases[i].s), cases[i].ok, "%s", cases[i].name);
}

Test(span, ids_have_an_alphabet_and_a_length)
{
	static const struct {
		const char *s;
		bool ok;
	} cases[] = { { "a", true }, { "box-1", true }, { "A.b_c-9", true }, { "", false }, { "-x", false }, { ".x", false },
		{ "a/b", false }, { "a+", false }, { "#", false }, { "é", false }, { "a b", false },
		{ "0123456789012345678901234567890123456789012345678901234567890123", true },
		{ "01234567890123456789012345678901234567890123456789012345678901234", false } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(span_is_id(span_of(cases[i].s)), cases[i].ok, "%s", cases[i].s);
}

Test(buf, grows_to_its_ceiling_and_no_further)
{
	struct buf b = BUF_INIT(1000);

	for (int i = 0; i < 100; i++)
		buf_addf(&b, "%09d", i);
	cr_assert(b.n == 900 && b.err == 0);
	buf_add(&b, "x", 101);
	cr_assert(b.n == 900 && b.err == ERR_TOOBIG);
	buf_reset(&b);
	buf_addf(&b, "%s", "again");
	cr_assert(span_is(buf_span(&b), "again"));
	buf_consume(&b, 2);
	cr_assert(span_is(buf_span(&b), "ain"));
	buf_fini(&b);
}

Test(arena, refuses_what_does_not_fit_and_counts_that_overflow)
{
	_Alignas(16) uint8_t room[128];
	struct arena a = { .p = room, .cap = sizeof(room) };

	cr_assert_not_null(arena_alloc(&a, 3, 20));
	cr_assert_null(arena_alloc(&a, 10, 20));
	cr_assert_null(arena_alloc(&a, SIZE_MAX / 4, 8));
	cr_assert_not_null(arena_alloc(&a, 1, 64));
	cr_assert_null(arena_alloc(&a, 1, 1));
	arena_reset(&a);
	cr_assert_not_null(arena_alloc(&a, 1, 128));
}

Test(topic, every_kind_is_built_and_taken_apart)
{
	for (int k = TOPIC_OTHER + 1; k < TOPIC_KIND_COUNT; k++) {
		struct topic t;
		struct span id;

		cr_assert_eq(topic_make("shoal/v1", (enum topic_kind)k, SPAN("box-1"), &t), 0);
		cr_assert_eq(topic_parse("shoal/v1", span_of(t.s), &id), k, "%s", t.s);
		cr_assert(k == TOPIC_HUB_STATUS || span_is(id, "box-1"));
	}
}

Test(topic, others_are_others)
{
	static const char *const cases[] = { "", "shoal/v1", "shoal/v1/", "shoal/v2/agents/a/out", "shoal/v1/agents/out",
		"shoal/v1/agents//out", "shoal/v1/agents/a/out/x", "shoal/v1/agents/a b/out", "shoal/v1/hub/status/x",
		"shoal/v1/clients/a/out", "shoal/v1x/agents/a/out", "shoal/v1/agents/a/" };
	struct span id;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(topic_parse("shoal/v1", span_of(cases[i]), &id), TOPIC_OTHER, "%s", cases[i]);
}

Test(topic, ids_that_are_none_and_prefixes_too_long_are_refused)
{
	char prefix[TOPIC_MAX];
	struct topic t;

	cr_assert_eq(topic_make("p", TOPIC_AGENT_JOBS, SPAN("a/b"), &t), ERR_RANGE);
	cr_assert_eq(topic_make("p", TOPIC_AGENT_JOBS, SPAN("#"), &t), ERR_RANGE);
	cr_assert_eq(topic_make("p", TOPIC_AGENT_JOBS, SPAN("+"), &t), 0);
	cr_assert_str_eq(t.s, "p/agents/+/jobs");
	memset(prefix, 'p', sizeof(prefix) - 1);
	prefix[sizeof(prefix) - 1] = '\0';
	cr_assert_eq(topic_make(prefix, TOPIC_AGENT_JOBS, SPAN("a"), &t), ERR_TOOBIG);
}

Test(topic, answers_go_only_below_the_users_own_name)
{
	static const struct {
		const char *topic;
		bool ok;
	} cases[] = { { "p/clients/alice/r", true }, { "p/clients/alice/r/1", true }, { "p/clients/bob/r", false },
		{ "p/clients/alice", false }, { "p/clients/alice/", false }, { "p/clients/alice/jobs", false },
		{ "p/clients/alice/jobs/j1", true }, { "p/clients/alice/cancel", false },
		{ "p/clients/alice/presence", false }, { "p/clients/alice/admin", false }, { "p/clients/alice/admin/r", true }, { "p/clients/alice/+", false }, { "p/clients/alice/#", false },
		{ "p/agents/alice/jobs", false }, { "q/clients/alice/r", false }, { "p/clients/alicex/r", false } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(
			topic_is_reply_for("p", SPAN("alice"), span_of(cases[i].topic)), cases[i].ok, "%s", cases[i].topic);
}

/* Feeds the stream in random pieces; frame i must be i written on 1 + i digits. */
static size_t read_in_pieces(const struct buf *stream, struct rng *rng)
{
	struct frame_in f;
	size_t fed = 0, frames = 0, cap;
	char want[512];
	struct span s;

	frame_in_init(&f, 1000);
	while (fed < stream->n) {
		size_t n = 1 + (size_t)rng_below(rng, 700);

		n = n > stream->n - fed ? stream->n - fed : n;
		memcpy(frame_in_space(&f, &cap), stream->p + fed, n);
		frame_in_added(&f, n);
		for (fed += n; frame_in_next(&f, &s) == 1; frames++) {
			snprintf(want, sizeof(want), "%0*zu", (int)(1 + frames), frames % 10);
			cr_assert(span_is(s, want), "frame %zu", frames);
		}
	}
	frame_in_fini(&f);
	return frames;
}

Test(frame, messages_come_out_whole_however_the_bytes_are_cut)
{
	struct buf out = BUF_INIT(1 << 20);
	struct rng rng;

	rng_seed(&rng, 3);
	for (size_t i = 0; i < 300; i++) {
		size_t at = frame_begin(&out);

		buf_addf(&out, "%0*zu", (int)(1 + i), i % 10);
		frame_end(&out, at);
	}
	for (int round = 0; round < 20; round++)
		cr_assert_eq(read_in_pieces(&out, &rng), 300);
	buf_fini(&out);
}

Test(frame, a_length_over_the_limit_loses_the_stream)
{
	struct frame_in f;
	struct span s;
	size_t cap;

	frame_in_init(&f, 1000);
	memcpy(frame_in_space(&f, &cap), "\x00\x00\x03\xe9", 4);
	frame_in_added(&f, 4);
	cr_assert_eq(frame_in_next(&f, &s), ERR_TOOBIG);
	frame_in_fini(&f);
}

Test(code, numbers_are_unique_and_names_lead_back)
{
	for (unsigned n = 0; n <= CODE_MAX; n++) {
		const struct code_info *info = code_info(n);

		cr_expect_eq(code_by_name(span_of(info->name)), info);
		cr_expect((unsigned)info->number == n || info->number == CODE_INTERNAL_ERROR);
	}
	cr_assert_null(code_by_name(SPAN("NOPE")));
	cr_assert_str_eq(code_name(CODE_AGENT_LOST), "AGENT_LOST");
}

Test(code, the_protocol_page_lists_every_code)
{
	static char page[1 << 16];
	FILE *f = fopen(SHOAL_SOURCE_DIR "/docs/PROTOCOL.md", "r");
	size_t n = f != NULL ? fread(page, 1, sizeof(page) - 1, f) : 0;
	char row[512];

	cr_assert_gt(n, 0);
	fclose(f);
#define X(name, number, http, type, retryable, exit, text)                                                                  \
	snprintf(row, sizeof(row), "\n| `%s` | %d | %s | %s |", #name, http, retryable ? "yes" : "", text);                 \
	cr_expect(number == 0 || strstr(page, row) != NULL, "docs/PROTOCOL.md lacks the row%s", row);
	CODE_LIST(X)
#undef X
}

Test(err, every_error_has_a_text_of_its_own)
{
#define X(name, num, text) cr_expect_str_eq(err_text(ERR_##name), text);
	ERR_LIST(X)
#undef X
	cr_expect_str_eq(err_text(-5), "system error");
}

Test(hist, quantiles_are_within_a_sixteenth)
{
	static struct hist h, sum;

	for (uint64_t v = 1; v <= 100000; v++)
		hist_add(&h, v);
	for (int i = 1; i < 100; i++) {
		double want = i * 1000.0, got = (double)hist_quantile(&h, i / 100.0);

		cr_expect(got >= want * 0.999 && got <= want * (1 + 1.0 / 16) + 1, "q %d %%: %f", i, got);
	}
	cr_assert_eq(hist_quantile(&h, 1), 100000);
	cr_assert(h.min == 1 && h.max == 100000 && h.sum == 5000050000);
	hist_merge(&sum, &h);
	hist_merge(&sum, &h);
	cr_assert(sum.count == 200000 && hist_quantile(&sum, 0.5) == hist_quantile(&h, 0.5));
}

Test(hist, an_empty_one_and_huge_values_are_no_trouble)
{
	static struct hist h;

	cr_assert_eq(hist_quantile(&h, 0.99), 0);
	hist_add(&h, UINT64_MAX);
	hist_add(&h, 0);
	cr_assert_eq(hist_quantile(&h, 0), 0);
	cr_assert_eq(h.max, UINT64_MAX);
}

Test(rng, the_same_seed_gives_the_same_numbers_and_below_stays_below)
{
	struct rng a, b;

	rng_seed(&a, 42);
	rng_seed(&b, 42);
	for (int i = 0; i < 1000; i++) {
		cr_assert_eq(rng_next(&a), rng_next(&b));
		cr_assert(rng_below(&a, 7) < 7 && rng_real(&a) < 1);
		(void)rng_below(&b, 7);
		(void)rng_real(&b);
	}
	cr_assert_eq(rng_below(&a, 0), 0);
	cr_assert_neq(rng_mix(1, 2), rng_mix(2, 1));
	cr_assert_eq(rng_mix(5, 6), rng_mix(5, 6));
}

Test(rng, a_keyed_draw_is_uniform)
{
	unsigned count[16] = { 0 };

	for (uint64_t i = 0; i < 160000; i++)
		count[rng_mix(99, i) >> 60]++;
	for (int i = 0; i < 16; i++)
		cr_expect(count[i] > 9500 && count[i] < 10500, "%u", count[i]);
}

Test(id, ids_are_26_characters_of_the_id_alphabet_and_differ)
{
	struct rng rng;
	struct id a, b;

	rng_seed(&rng, 1);
	a = id_new(&rng);
	b = id_new(&rng);
	cr_assert_eq(strlen(a.s), ID_LEN);
	cr_assert(span_is_id(span_of(a.s)));
	cr_assert_str_neq(a.s, b.s);
}

Test(sha256, matches_the_known_answer_in_one_piece_and_in_several)
{
	static const uint8_t want[SHA256_SIZE] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde,
		0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00,
		0x15, 0xad };
	uint8_t got[SHA256_SIZE];
	struct sha256 *h = sha256_new();

	sha256_of(SPAN("abc"), got);
	cr_assert_eq(memcmp(got, want, sizeof(want)), 0);
	sha256_add(h, "a", 1);
	sha256_add(h, "bc", 2);
	sha256_end(h, got);
	cr_assert_eq(memcmp(got, want, sizeof(want)), 0);
}
