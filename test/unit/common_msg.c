/* Properties of every message table, with both kinds of keys. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "engine_proto.h"
#include "msg.h"
#include "proto.h"
#include "support/msg_gen.h"
#include "wire.h"

#define ROUNDS 120 /* messages of each type, half of them with text keys */

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

TestSuite(msg, .init = setup, .fini = teardown);
TestSuite(sampling, .init = setup, .fini = teardown);

typedef void check_fn(const struct msg_type *t, enum msg_keys keys, const void *m, const struct buf *bytes, uint64_t seed);

/* Calls fn for many random messages of every type. */
static void each(check_fn *fn)
{
	struct buf out = BUF_INIT(1 << 20);

	for (const struct msg_type *const *t = msg_gen_types; *t != NULL; t++) {
		void *m = malloc((*t)->size);

		for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
			enum msg_keys keys = seed % 2 != 0 ? MSG_KEYS_INT : MSG_KEYS_TEXT;
			struct rng rng;

			rng_seed(&rng, seed);
			arena_reset(&gen_arena);
			msg_gen(&rng, *t, &gen_arena, m);
			buf_reset(&out);
			cr_assert_eq(msg_encode(*t, m, keys, &out), 0, "%s seed %" PRIu64, (*t)->name, seed);
			fn(*t, keys, m, &out, seed);
		}
		free(m);
	}
	buf_fini(&out);
}

static int decode(const struct msg_type *t, enum msg_keys keys, struct span bytes, void *ret)
{
	arena_reset(&arena);
	return msg_decode(t, bytes, keys, &arena, ret, NULL);
}

static void check_round_trip(
	const struct msg_type *t, enum msg_keys keys, const void *m, const struct buf *bytes, uint64_t seed)
{
	void *back = malloc(t->size);

	cr_assert_eq(decode(t, keys, buf_span(bytes), back), 0, "%s seed %" PRIu64, t->name, seed);
	cr_assert(msg_equal(t, m, back), "%s seed %" PRIu64, t->name, seed);
	free(back);
}

Test(msg, any_message_survives_a_round_trip)
{
	each(check_round_trip);
}

static void check_truncations(
	const struct msg_type *t, enum msg_keys keys, const void *m, const struct buf *bytes, uint64_t seed)
{
	void *back = malloc(t->size), *before = malloc(t->size);

	(void)m;
	memset(back, 0x5a, t->size);
	memcpy(before, back, t->size);
	for (size_t n = 0; n < bytes->n; n++) {
		char *cut = malloc(n + 1); /* a copy, so that the sanitizer sees a read past the cut */

		memcpy(cut, bytes->p, n);
		cr_assert_lt(decode(t, keys, span_mem(cut, n), back), 0, "%s seed %" PRIu64 " cut at %zu", t->name, seed, n);
		free(cut);
	}
	cr_assert_eq(memcmp(back, before, t->size), 0, "%s: a failed decode wrote its output", t->name);
	free(back);
	free(before);
}

Test(msg, every_truncation_is_refused)
{
	each(check_truncations);
}

static void check_trailing(
	const struct msg_type *t, enum msg_keys keys, const void *m, const struct buf *bytes, uint64_t seed)
{
	struct buf more = BUF_INIT(1 << 20);
	void *back = malloc(t->size);

	(void)m;
	buf_add(&more, bytes->p, bytes->n);
	wire_put_uint(&more, 0);
	cr_assert_eq(decode(t, keys, buf_span(&more), back), ERR_TRAILING, "%s seed %" PRIu64, t->name, seed);
	buf_fini(&more);
	free(back);
}

Test(msg, bytes_after_the_end_are_refused)
{
	each(check_trailing);
}

/* The same message with one more pair announced; the caller appends it. */
static struct buf with_room_for_a_pair(const struct buf *bytes)
{
	struct buf out = BUF_INIT(1 << 20);
	struct wire_in in = wire_in(buf_span(bytes));

	wire_put_map(&out, wire_get_map(&in, SIZE_MAX) + 1);
	buf_add(&out, in.p, (size_t)(in.end - in.p));
	return out;
}

static void check_unknown(
	const struct msg_type *t, enum msg_keys keys, const void *m, const struct buf *bytes, uint64_t seed)
{
	struct buf more = with_room_for_a_pair(bytes);
	void *back = malloc(t->size);

	if (keys == MSG_KEYS_INT)
		wire_put_uint(&more, 1000);
	else
		wire_put_text(&more, SPAN("a key of next year"));
	wire_put_array(&more, 2);
	wire_put_map(&more, 1);
	wire_put_text(&more, SPAN("k"));
	wire_put_real(&more, 1.5);
	wire_put_null(&more);
	cr_assert_eq(decode(t, keys, buf_span(&more), back), 0, "%s seed %" PRIu64, t->name, seed);
	cr_assert(msg_equal(t, m, back), "%s seed %" PRIu64, t->name, seed);
	buf_fini(&more);
	free(back);
}

Test(msg, unknown_keys_of_a_newer_peer_are_skipped)
{
	each(check_unknown);
}

static void check_duplicate(
	const struct msg_type *t, enum msg_keys keys, const void *m, const struct buf *bytes, uint64_t seed)
{
	struct buf more = with_room_for_a_pair(bytes);
	struct wire_in in = wire_in(buf_span(bytes));
	void *back = malloc(t->size);
	const uint8_t *first;

	(void)m;
	if (wire_get_map(&in, SIZE_MAX) > 0) {
		first = in.p;
		wire_skip(&in, 1);
		wire_skip(&in, 1);
		buf_add(&more, first, (size_t)(in.p - first));
		cr_assert_eq(decode(t, keys, buf_span(&more), back), ERR_DUPLICATE, "%s seed %" PRIu64, t->name, seed);
	}
	buf_fini(&more);
	free(back);
}

Test(msg, a_key_that_is_there_twice_is_refused)
{
	each(check_duplicate);
}

Test(msg, a_missing_required_field_is_refused_and_named)
{
	struct buf out = BUF_INIT(64);
	struct status s;
	const char *field = NULL;

	wire_put_map(&out, 2);
	wire_put_uint(&out, 1);
	wire_put_uint(&out, 7);
	wire_put_uint(&out, 3);
	wire_put_uint(&out, AGENT_ONLINE);
	cr_assert_eq(msg_decode(&status_type, buf_span(&out), MSG_KEYS_INT, &arena, &s, &field), ERR_MISSING);
	cr_assert_str_eq(field, "conn");
	buf_fini(&out);
}

static void put_long_id(struct buf *out)
{
	char text[PROTO_MAX_ID + 1];

	memset(text, 'x', sizeof(text));
	wire_put_text(out, span_mem(text, sizeof(text)));
}

static void put_nine_stops(struct buf *out)
{
	wire_put_array(out, PROTO_MAX_STOP + 1);
	for (int i = 0; i <= PROTO_MAX_STOP; i++)
		wire_put_text(out, SPAN("x"));
}

static void put_number(struct buf *out)
{
	wire_put_uint(out, 5);
}

static void put_huge_number(struct buf *out)
{
	wire_put_uint(out, UINT64_MAX);
}

static void put_nan(struct buf *out)
{
	wire_put_real(out, (double)NAN);
}

static void put_bad_text(struct buf *out)
{
	wire_put_text(out, SPAN("\xc0\xaf"));
}

static void put_unknown_name(struct buf *out)
{
	wire_put_text(out, SPAN("urgent"));
}

static void put_null(struct buf *out)
{
	wire_put_null(out);
}

static void put_text(struct buf *out)
{
	wire_put_text(out, SPAN("END"));
}

/* A submit document with one key, its value put by fn. */
static int decode_submit(const char *key, void (*put)(struct buf *out), struct submit *ret, const char **ret_field)
{
	static struct buf out = BUF_INIT(4096);

	buf_reset(&out);
	wire_put_map(&out, 1);
	wire_put_text(&out, span_of(key));
	put(&out);
	arena_reset(&arena);
	return msg_decode(&submit_type, buf_span(&out), MSG_KEYS_TEXT, &arena, ret, ret_field);
}

Test(msg, values_over_a_limit_or_of_a_wrong_type_are_refused_and_named)
{
	static const struct {
		const char *name, *key;
		void (*put)(struct buf *out);
		int err;
	} cases[] = {
		{ "an id of 65 characters", "id", put_long_id, ERR_TOOBIG },
		{ "nine stop strings", "stop", put_nine_stops, ERR_TOOBIG },
		{ "a number for a text", "model", put_number, ERR_TYPE },
		{ "a text for a number", "max_tokens", put_unknown_name, ERR_TYPE },
		{ "a number over its limit", "max_tokens", put_huge_number, ERR_RANGE },
		{ "NaN", "temperature", put_nan, ERR_RANGE },
		{ "text that is not UTF-8", "prompt", put_bad_text, ERR_UTF8 },
		{ "a priority nobody knows", "priority", put_unknown_name, ERR_RANGE },
	};
	struct submit s;
	const char *field;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_expect_eq(decode_submit(cases[i].key, cases[i].put, &s, &field), cases[i].err, "%s", cases[i].name);
		cr_expect_str_eq(field, cases[i].key, "%s", cases[i].name);
	}
}

Test(msg, null_in_a_document_means_not_there)
{
	struct submit s;

	cr_assert_eq(decode_submit("temperature", put_null, &s, NULL), 0);
	cr_assert(!msg_has(&s, SUBMIT_TEMPERATURE));
}

Test(msg, a_single_stop_string_is_a_list_of_one)
{
	struct submit s;

	cr_assert_eq(decode_submit("stop", put_text, &s, NULL), 0);
	cr_assert(s.n_stop == 1 && span_is(s.stop[0], "END"));
}

static void put_part(struct buf *out, const char *type, const char *text)
{
	wire_put_map(out, 2);
	wire_put_text(out, SPAN("type"));
	wire_put_text(out, span_of(type));
	wire_put_text(out, SPAN("text"));
	wire_put_text(out, span_of(text));
}

static int decode_parts(const char *second_type, struct turn *ret)
{
	static struct buf out = BUF_INIT(256);

	buf_reset(&out);
	wire_put_map(&out, 2);
	wire_put_text(&out, SPAN("role"));
	wire_put_text(&out, SPAN("user"));
	wire_put_text(&out, SPAN("content"));
	wire_put_array(&out, 2);
	put_part(&out, "text", "one ");
	put_part(&out, second_type, "two");
	return msg_decode(&turn_type, buf_span(&out), MSG_KEYS_TEXT, &arena, ret, NULL);
}

Test(msg, content_in_parts_is_joined_and_parts_that_are_not_text_are_refused)
{
	struct turn t;

	cr_assert_eq(decode_parts("text", &t), 0);
	cr_assert(span_is(t.content, "one two"));
	cr_assert_eq(decode_parts("image_url", &t), ERR_RANGE);
}

Test(msg, an_arena_that_is_too_small_is_an_error_and_nothing_else)
{
	struct buf out = BUF_INIT(1 << 16);
	uint32_t ids[500] = { 0 };
	struct job_msg in = { .job = SPAN("j"), .model = SPAN("m"), .prefix = ids, .n_prefix = 500 }, back;
	struct arena small = { .p = arena.p, .cap = 1024 };

	cr_assert_eq(msg_encode(&job_type, &in, MSG_KEYS_INT, &out), 0);
	cr_assert_eq(msg_decode(&job_type, buf_span(&out), MSG_KEYS_INT, &small, &back, NULL), ERR_TOOBIG);
	buf_fini(&out);
}

Test(msg, keys_are_unique_in_range_and_rising_in_every_table)
{
	for (const struct msg_type *const *t = msg_gen_types; *t != NULL; t++) {
		for (size_t i = 0; i < (*t)->n_fields; i++) {
			const struct msg_field *f = &(*t)->fields[i];

			cr_expect(f->key >= 1 && f->key <= MSG_MAX_FIELDS, "%s.%s", (*t)->name, f->name);
			cr_expect(i == 0 || f->key > f[-1].key, "%s.%s: the encoding is deterministic", (*t)->name, f->name);
		}
	}
}

Test(sampling, defaults_fill_only_what_is_absent)
{
	struct sampling s = { 0 };

	msg_set(&s, SAMPLING_TEMPERATURE);
	sampling_defaults(&s);
	cr_assert(s.temperature <= 0 && s.top_p > 0.94 && s.top_k == 40 && s.cache_prompt && s.repeat_penalty > 0.99);
}

Test(sampling, every_value_out_of_range_is_named)
{
	static const struct msg_weight too_heavy = { 1, 100.5 }, no_number = { 1, NAN };
	static const struct span empty = { "", 0 };
	const struct {
		const char *field;
		struct sampling s;
	} cases[] = {
		{ "temperature", { .temperature = -0.1 } },
		{ "temperature", { .temperature = 101 } },
		{ "top_p", { .top_p = 1.01 } },
		{ "min_p", { .min_p = -1 } },
		{ "presence_penalty", { .presence_penalty = 2.1 } },
		{ "frequency_penalty", { .frequency_penalty = -2.1 } },
		{ "repeat_penalty", { .repeat_penalty = 11 } },
		{ "max_tokens", { .max_tokens = PROTO_MAX_TOKENS + 1 } },
		{ "stop", { .stop = &empty, .n_stop = 1 } },
		{ "logit_bias", { .logit_bias = &too_heavy, .n_logit_bias = 1 } },
		{ "logit_bias", { .logit_bias = &no_number, .n_logit_bias = 1 } },
		{ "top_logprobs", { .logprobs = true, .top_logprobs = 21 } },
		{ "top_logprobs", { .top_logprobs = 1 } },
	};
	const char *field = NULL;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_expect_eq(sampling_check(&cases[i].s, &field), ERR_RANGE, "%s", cases[i].field);
		cr_expect_str_eq(field, cases[i].field);
	}
	cr_assert_eq(sampling_check(&(struct sampling){ 0 }, &field), 0);
}

static const struct msg_field *find(const struct msg_type *t, const char *name)
{
	for (size_t i = 0; i < t->n_fields; i++)
		if (strcmp(t->fields[i].name, name) == 0)
			return &t->fields[i];
	return NULL;
}

Test(sampling, a_submit_hands_every_sampling_field_on)
{
	struct rng rng;
	struct submit s;

	rng_seed(&rng, 7);
	for (int round = 0; round < 200; round++) {
		struct sampling out;

		arena_reset(&gen_arena);
		msg_gen(&rng, &submit_type, &gen_arena, &s);
		out = submit_sampling(&s);
		for (size_t i = 0; i < sampling_type.n_fields; i++) {
			const struct msg_field *to = &sampling_type.fields[i], *from = find(&submit_type, to->name);

			cr_assert_not_null(from, "%s is no field of a submit", to->name);
			cr_assert_eq(msg_has(&s, from->key), msg_has(&out, to->key), "%s", to->name);
			cr_assert_eq(
				memcmp((char *)&s + from->offset, (char *)&out + to->offset, to->kind == MSG_BOOL ? 1 : 8),
				0, "%s", to->name);
		}
		cr_assert_eq(s.n_stop, out.n_stop);
		cr_assert_eq(s.n_logit_bias, out.n_logit_bias);
	}
}
