/* Log probabilities: the sequence that travels, and the documents made of it. */
#include <criterion/criterion.h>

#include "logprob.h"
#include "proto.h"

static struct buf sequence;

static void put(uint64_t id, double logprob, struct span piece, const struct alternative *top, size_t n_top)
{
	struct token_prob p = { .id = id, .logprob = logprob, .piece = piece, .top = top, .n_top = n_top };

	cr_assert_eq(msg_encode(&token_prob_type, &p, MSG_KEYS_INT, &sequence), 0);
}

static void init(void)
{
	static const struct alternative top[] = {
		{ .id = 7, .logprob = -0.5, .piece = SPAN_NONE },
		{ .id = 8, .logprob = LOGPROB_LEAST, .piece = { "\xf0\x9f", 2 } },
	};

	sequence = BUF_INIT(1 << 20);
	put(5, -1.25, SPAN("a\xc3\xa9"), top, 2);
	put(4000000000u, 0, SPAN("\xff"), NULL, 0);
}

static void fini(void)
{
	buf_fini(&sequence);
}

TestSuite(logprob, .init = init, .fini = fini);

Test(logprob, a_sequence_becomes_documents_with_bytes_and_text)
{
	struct logprobs l;
	const struct logprob *p;

	cr_assert_eq(logprobs_read(buf_span(&sequence), &l), 0);
	cr_assert_eq(l.n_items, 2);
	p = &l.items[0];
	cr_assert(span_is(p->token, "aé") && p->id == 5 && p->logprob == -1.25);
	cr_assert(p->n_bytes == 3 && p->bytes[0] == 'a' && p->bytes[1] == 0xc3 && p->bytes[2] == 0xa9);
	cr_assert_eq(p->n_top_logprobs, 2);
	cr_assert(p->top_logprobs[0].id == 7 && p->top_logprobs[0].token.n == 0 && p->top_logprobs[0].n_bytes == 0);
	cr_assert(span_is(p->top_logprobs[1].token, "\xef\xbf\xbd\xef\xbf\xbd"), "bytes that are no text");
	cr_assert(l.items[1].id == 4000000000u && span_is(l.items[1].token, "\xef\xbf\xbd"));
	cr_assert_eq(l.items[1].n_top_logprobs, 0);
	logprobs_fini(&l);
}

Test(logprob, the_longest_items_fit)
{
	static char longest[LOGPROB_MAX_PIECE];
	struct alternative top[LOGPROB_MAX_TOP];
	struct logprobs l;

	memset(longest, 0xff, sizeof(longest));
	for (size_t i = 0; i < LOGPROB_MAX_TOP; i++)
		top[i] = (struct alternative){
			.id = i, .logprob = -1, .piece = span_mem(longest, i % 2 ? sizeof(longest) : 0)
		};
	for (int i = 0; i < 20; i++)
		put(1, -1, span_mem(longest, sizeof(longest)), top, LOGPROB_MAX_TOP);
	for (int i = 0; i < 100; i++)
		put(0, 0, SPAN_NONE, NULL, 0);
	cr_assert_eq(logprobs_read(buf_span(&sequence), &l), 0);
	cr_assert_eq(l.n_items, 122);
	cr_assert_eq(l.items[21].top_logprobs[19].token.n, 3 * sizeof(longest));
	logprobs_fini(&l);
}

Test(logprob, every_truncation_is_refused_or_is_a_whole_number_of_items)
{
	size_t whole = 0, n;
	struct logprobs l;

	for (size_t cut = 0; cut <= sequence.n; cut++) {
		int rc = logprob_count(span_mem(sequence.p, cut), &n);

		cr_assert_eq(logprobs_read(span_mem(sequence.p, cut), &l) == 0, rc == 0);
		if (rc < 0)
			continue;
		cr_assert_eq(l.n_items, n);
		cr_assert_eq(n, whole++);
		logprobs_fini(&l);
	}
	cr_assert_eq(whole, 3, "empty, one and two items");
}

Test(logprob, items_that_are_something_else_are_refused)
{
	struct logprobs l;
	size_t n;

	cr_assert(logprob_count(SPAN("\x01\x02"), &n) == 0 && n == 2, "numbers are items, too");
	cr_assert_lt(logprobs_read(SPAN("\x01\x02"), &l), 0);
	cr_assert_lt(logprobs_read(SPAN("\xa1\x01\x05"), &l), 0);
}

/* ---- the biases, the other half of it ---- */

static int read_biases(const char *cbor, size_t n, enum msg_keys keys, struct arena *arena, struct sampling *ret)
{
	arena_reset(arena);
	return msg_decode(&sampling_type, span_mem(cbor, n), keys, arena, ret, NULL);
}

Test(logprob, biases_stand_once_for_each_token)
{
	struct arena arena = { .p = malloc(65536), .cap = 65536 };
	struct sampling s;

	cr_assert_eq(read_biases("\xa1\x0d\xa2\x05\x01\x06\x20", 7, MSG_KEYS_INT, &arena, &s), 0);
	cr_assert(s.n_logit_bias == 2 && s.logit_bias[0].id == 5 && s.logit_bias[0].value == 1);
	cr_assert(s.logit_bias[1].id == 6 && s.logit_bias[1].value == -1);
	cr_assert_eq(read_biases("\xa1\x0d\xa2\x05\x01\x05\x20", 7, MSG_KEYS_INT, &arena, &s), ERR_DUPLICATE);
	cr_assert_eq(read_biases("\xa1\x6alogit_bias\xa1\x61"
				 "5\x01",
			     16, MSG_KEYS_TEXT, &arena, &s),
		0);
	cr_assert(s.n_logit_bias == 1 && s.logit_bias[0].id == 5);
	cr_assert_eq(read_biases("\xa1\x6alogit_bias\xa1\x62"
				 "05\x01",
			     17, MSG_KEYS_TEXT, &arena, &s),
		ERR_RANGE);
	free(arena.p);
}

Test(logprob, numbers_of_tokens_in_documents_have_one_form)
{
	static const struct {
		const char *text;
		bool is_good;
		uint32_t value;
	} cases[] = { { "0", true, 0 }, { "7", true, 7 }, { "4294967295", true, UINT32_MAX }, { "4294967296", false, 0 },
		{ "99999999999", false, 0 }, { "", false, 0 }, { "-1", false, 0 }, { "+1", false, 0 }, { "01", false, 0 },
		{ "1 ", false, 0 }, { "1e3", false, 0 } };
	uint32_t v;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_expect_eq(msg_weight_key(span_of(cases[i].text), &v), cases[i].is_good, "%s", cases[i].text);
		if (cases[i].is_good)
			cr_expect_eq(v, cases[i].value, "%s", cases[i].text);
	}
}
