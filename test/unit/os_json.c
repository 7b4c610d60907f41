/* JSON documents: the same tables, strictly read. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "proto.h"
#include "support/msg_gen.h"

static struct arena gen_arena, arena;

static void setup(void)
{
	gen_arena = (struct arena){ .p = malloc(1 << 20), .cap = 1 << 20 };
	arena = (struct arena){ .p = malloc(1 << 20), .cap = 1 << 20 };
}

static void teardown(void)
{
	free(gen_arena.p);
	free(arena.p);
}

TestSuite(json, .init = setup, .fini = teardown);

/* Every unsigned number a document may hold fits jansson's 63 bits, or it is refused. */
static bool has_huge_number(struct span text)
{
	for (size_t i = 0; i + 18 < text.n; i++) {
		size_t n = 0;

		while (i + n < text.n && text.p[i + n] >= '0' && text.p[i + n] <= '9')
			n++;
		if (n >= 19 && strtoull(text.p + i, NULL, 10) > INT64_MAX)
			return true;
	}
	return false;
}

Test(json, any_message_survives_a_round_trip)
{
	struct buf out = BUF_INIT(4 << 20);
	int compared = 0;

	for (const struct msg_type *const *t = msg_gen_types; *t != NULL; t++) {
		void *m = malloc((*t)->size), *back = malloc((*t)->size);

		for (uint64_t seed = 1; seed <= 60; seed++) {
			struct rng rng;

			rng_seed(&rng, seed);
			arena_reset(&gen_arena);
			arena_reset(&arena);
			buf_reset(&out);
			msg_gen(&rng, *t, &gen_arena, m);
			cr_assert_eq(json_encode(*t, m, &out), 0);
			if (has_huge_number(buf_span(&out)))
				continue;
			cr_assert_eq(json_decode(*t, buf_span(&out), &arena, back, NULL), 0, "%s seed %" PRIu64 ": %.*s",
				(*t)->name, seed, SPAN_FMT(buf_span(&out)));
			cr_assert(msg_equal(*t, m, back), "%s seed %" PRIu64 ": %.*s", (*t)->name, seed,
				SPAN_FMT(buf_span(&out)));
			compared++;
		}
		free(m);
		free(back);
	}
	cr_assert_gt(compared, 500);
	buf_fini(&out);
}

static int decode(const char *text, struct submit *ret, const char **ret_field)
{
	arena_reset(&arena);
	return json_decode(&submit_type, span_of(text), &arena, ret, ret_field);
}

Test(json, hostile_and_ambiguous_documents_are_refused)
{
	static const struct {
		const char *name, *text;
		int err;
	} cases[] = {
		{ "nothing", "", ERR_MALFORMED },
		{ "not an object", "[1]", ERR_TYPE },
		{ "cut short", "{\"model\":\"m\"", ERR_MALFORMED },
		{ "a key twice", "{\"model\":\"a\",\"model\":\"b\"}", ERR_DUPLICATE },
		{ "trailing bytes", "{} {}", ERR_TRAILING },
		{ "bad UTF-8", "{\"model\":\"\xc0\xaf\"}", ERR_UTF8 },
		{ "U+0000", "{\"prompt\":\"a\\u0000b\"}", ERR_MALFORMED },
		{ "lone surrogate", "{\"prompt\":\"\\ud800\"}", ERR_MALFORMED },
		{ "leading zero", "{\"max_tokens\":01}", ERR_MALFORMED },
		{ "raw newline", "{\"prompt\":\"a\nb\"}", ERR_MALFORMED },
		{ "number too large for a double", "{\"temperature\":1e999}", ERR_RANGE },
		{ "2^64", "{\"seed\":18446744073709551616}", ERR_RANGE },
		{ "negative count", "{\"max_tokens\":-1}", ERR_RANGE },
		{ "half a token", "{\"max_tokens\":1.5}", ERR_RANGE },
		{ "text for a number", "{\"max_tokens\":\"5\"}", ERR_TYPE },
		{ "number for a flag", "{\"stream\":1}", ERR_TYPE },
		{ "turn without content", "{\"messages\":[{\"role\":\"user\"}]}", ERR_MISSING },
		{ "turn that is no object", "{\"messages\":[5]}", ERR_TYPE },
		{ "a picture", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"text\":\"x\"}]}]}",
			ERR_RANGE },
	};
	struct submit s;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(decode(cases[i].text, &s, NULL), cases[i].err, "%s: %s", cases[i].name,
			err_text(decode(cases[i].text, &s, NULL)));
}

Test(json, the_field_at_fault_is_named)
{
	const char *field = NULL;
	struct submit s;

	cr_assert_eq(decode("{\"model\":\"m\",\"priority\":\"urgent\"}", &s, &field), ERR_RANGE);
	cr_assert_str_eq(field, "priority");
	cr_assert_eq(decode("{\"messages\":[{\"role\":\"user\"}]}", &s, &field), ERR_MISSING);
	cr_assert_str_eq(field, "content");
}

Test(json, nesting_as_deep_as_a_well_is_refused)
{
	char *text = malloc(200001);
	struct submit s;

	memset(text, '[', 200000);
	text[200000] = '\0';
	cr_assert_eq(decode(text, &s, NULL), ERR_DEPTH);
	free(text);
}

Test(json, null_means_not_there_and_whole_reals_are_integers)
{
	struct submit s;

	cr_assert_eq(decode("{\"temperature\":null,\"max_tokens\":1e2,\"stop\":\"END\",\"from the future\":{\"a\":[]}}", &s,
			     NULL),
		0);
	cr_assert(!msg_has(&s, SUBMIT_TEMPERATURE));
	cr_assert(s.max_tokens == 100 && s.n_stop == 1 && span_is(s.stop[0], "END"));
}

Test(json, content_in_parts_is_joined)
{
	struct submit s;

	cr_assert_eq(decode("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one \"},"
			    "{\"type\":\"text\",\"text\":\"two\"}]}]}",
			     &s, NULL),
		0);
	cr_assert(span_is(s.messages[0].content, "one two"));
}

Test(json, strings_are_escaped_so_that_no_control_character_is_left)
{
	struct buf out = BUF_INIT(256);

	json_add_string(&out, SPAN("a\"\\\b\f\n\r\t\x01\x7f\0é"));
	cr_assert(span_is(buf_span(&out), "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u007f\\u0000é\""), "%.*s",
		SPAN_FMT(buf_span(&out)));
	buf_fini(&out);
}

Test(json, reals_take_the_fewest_digits_that_read_back)
{
	static const struct {
		double v;
		const char *text;
	} cases[] = { { 0.8, "0.8" }, { 1, "1" }, { 20, "20" }, { -3e9, "-3000000000" }, { 1234.5, "1234.5" },
		{ 0.1 + 0.2, "0.30000000000000004" }, { -1.5, "-1.5" }, { 1e300, "1e+300" }, { HUGE_VAL, "null" } };
	struct buf out = BUF_INIT(256);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct receipt r = { .queue_ms = cases[i].v };
		char want[64];

		buf_reset(&out);
		cr_assert_eq(json_encode(&receipt_type, &r, &out), 0);
		snprintf(want, sizeof(want), "{\"queue_ms\":%s}", cases[i].text);
		cr_expect(span_is(buf_span(&out), want), "%.*s", SPAN_FMT(buf_span(&out)));
	}
	buf_fini(&out);
}
