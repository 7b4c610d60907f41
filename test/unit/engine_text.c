/* What may be shown of tokens: stop strings, UTF-8, and that nothing is pending after a frame. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "rng.h"
#include "text.h"

#define FFFD "\xef\xbf\xbd"

struct shown {
	char text[4096];
	size_t n, n_tokens, n_frames;
};

/* Takes what is ready; every frame must be whole UTF-8. */
static void show(struct text *t, struct shown *s)
{
	const uint32_t *ids;
	struct span text;
	size_t n = text_take(t, &ids, &text);

	if (n == 0)
		return;
	cr_assert(span_is_utf8(text));
	cr_assert_leq(s->n + text.n, sizeof(s->text));
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(ids[i], s->n_tokens + i);
	if (text.n > 0)
		memcpy(s->text + s->n, text.p, text.n);
	s->n += text.n;
	s->n_tokens += n;
	s->n_frames++;
	text_taken(t);
}

/* Gives pieces to a text until it stops or they end.  Returns how many it took. */
static size_t feed(const struct span *pieces, size_t n, const char *const *stops, size_t n_stops, struct shown *ret)
{
	struct span stop[PROTO_MAX_STOP];
	struct text t;
	size_t i = 0;
	int rc = 0;

	*ret = (struct shown){ .n = 0 };
	for (size_t k = 0; k < n_stops; k++)
		stop[k] = span_of(stops[k]);
	cr_assert_eq(text_init(&t, stop, n_stops), 0);
	while (i < n && rc == 0) {
		rc = text_add(&t, (uint32_t)i, pieces[i]);
		cr_assert_geq(rc, 0);
		show(&t, ret);
		i++;
	}
	cr_assert_eq(text_end(&t), 0);
	show(&t, ret);
	text_fini(&t);
	return i;
}

Test(text, bytes_that_are_no_utf8_become_replacement_characters_however_they_are_cut)
{
	static const struct {
		const char *name, *bytes, *text;
	} cases[] = {
		{ "ascii", "abc", "abc" },
		{ "two, three, four bytes", "é€😀", "é€😀" },
		{ "one for each maximal subpart", "\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64",
			"a" FFFD FFFD FFFD "b" FFFD "c" FFFD FFFD "d" },
		{ "overlong", "\xc0\xaf\xe0\x80\xbf", FFFD FFFD FFFD FFFD FFFD },
		{ "surrogate", "\xed\xa0\x80", FFFD FFFD FFFD },
		{ "beyond the last", "\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", FFFD FFFD FFFD FFFD FFFD "A" FFFD FFFD "B" },
		{ "cut short", "x\xe2\x82", "x" FFFD },
		{ "lead after lead", "\xc3\xc3\xa9", FFFD "é" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct span whole = span_of(cases[i].bytes), bytes[32];
		struct shown s;

		feed(&whole, 1, NULL, 0, &s);
		cr_expect(span_is(span_mem(s.text, s.n), cases[i].text), "%s, in one token", cases[i].name);
		for (size_t k = 0; k < whole.n; k++)
			bytes[k] = span_mem(whole.p + k, 1);
		feed(bytes, whole.n, NULL, 0, &s);
		cr_expect(span_is(span_mem(s.text, s.n), cases[i].text), "%s, byte by byte", cases[i].name);
		cr_expect_eq(s.n_tokens, whole.n);
	}
}

Test(text, a_token_that_ends_inside_a_character_waits_for_the_rest)
{
	const struct span pieces[] = { SPAN("a"), SPAN("b\xf0\x9f"), SPAN("\x90"), SPAN("\x9f!"), SPAN("c") };
	struct shown s;

	feed(pieces, 5, NULL, 0, &s);
	cr_assert_eq(s.n_frames, 3);
	cr_assert(span_is(span_mem(s.text, s.n), "ab🐟!c"));
}

Test(text, stop_strings_cut_wherever_tokens_end)
{
	static const struct {
		const char *name, *pieces[8], *stops[4], *text;
		size_t n_taken;
	} cases[] = {
		{ "in a token", { "one two", " three" }, { "wo" }, "one t", 1 },
		{ "over three tokens", { "x", "a", "b", "c", "y" }, { "abc" }, "x", 4 },
		{ "text after it is dropped", { "x", "abc and more" }, { "abc" }, "x", 2 },
		{ "a beginning that fails is shown", { "a", "b", "x", "y" }, { "abc" }, "abxy", 4 },
		{ "overlapping itself", { "a", "a", "a", "b" }, { "aab" }, "a", 4 },
		{ "the earliest wins", { "xxabcd" }, { "cd", "ab" }, "xx", 1 },
		{ "the first to be complete wins", { "a", "b", "c", "d" }, { "abcd", "bc" }, "a", 3 },
		{ "one that is at the end only in part", { "xab" }, { "abc" }, "xab", 1 },
		{ "a character cut by tokens", { "x\xc3", "\xa9y" }, { "é" }, "x", 2 },
		{ "of several, none", { "nothing", " here" }, { "q", "zz", "\n\n" }, "nothing here", 2 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct span pieces[8];
		size_t n = 0, n_stops = 0;
		struct shown s;

		for (; n < 8 && cases[i].pieces[n] != NULL; n++)
			pieces[n] = span_of(cases[i].pieces[n]);
		while (n_stops < 4 && cases[i].stops[n_stops] != NULL)
			n_stops++;
		cr_expect_eq(feed(pieces, n, cases[i].stops, n_stops, &s), cases[i].n_taken, "%s", cases[i].name);
		cr_expect(span_is(span_mem(s.text, s.n), cases[i].text), "%s: %.*s", cases[i].name, (int)s.n, s.text);
		cr_expect_eq(s.n_tokens, cases[i].n_taken, "%s: every token is shown", cases[i].name);
	}
}

Test(text, what_cannot_become_a_stop_string_is_not_held_back)
{
	const struct span stop = SPAN("aab");
	struct text t;
	struct shown s = { .n = 0 };

	/* The end of the text is always the beginning of a stop string; the tokens before go. */
	cr_assert_eq(text_init(&t, &stop, 1), 0);
	for (uint32_t i = 0; i < 50; i++) {
		cr_assert_eq(text_add(&t, i, SPAN("a")), 0);
		show(&t, &s);
		cr_assert_geq(s.n_tokens + 2, i + 1);
	}
	text_fini(&t);
}

Test(text, tokens_without_text_are_given_up_rather_than_held_for_ever)
{
	const struct span stop = SPAN("ab");
	struct text t;
	struct shown s = { .n = 0 };

	cr_assert_eq(text_init(&t, &stop, 1), 0);
	for (uint32_t i = 0; i < 3 * TEXT_MAX_TOKENS; i++) {
		cr_assert_eq(text_add(&t, i, i == 0 ? SPAN("a") : SPAN("")), 0);
		show(&t, &s);
	}
	cr_assert_geq(s.n_tokens, TEXT_MAX_TOKENS);
	text_fini(&t);
}

/* ---- properties ---- */

static const char *const alphabet[] = { "a", "b", "ab", "ba", "aab", "", "é", "\xc3", "\xa9", "€a", "\xe2\x82", "\xff",
	"b\xe2" };
static const char *const stop_pool[] = { "ab", "aab", "bb", "éa", "€", "aba", FFFD "a" };

static size_t gen_pieces(struct rng *rng, struct span *pieces, size_t max)
{
	size_t n = 1 + rng_below(rng, max);

	for (size_t i = 0; i < n; i++)
		pieces[i] = span_of(alphabet[rng_below(rng, sizeof(alphabet) / sizeof(alphabet[0]))]);
	return n;
}

static size_t gen_stops(struct rng *rng, const char **stops)
{
	size_t n = rng_below(rng, 3);

	for (size_t i = 0; i < n; i++)
		stops[i] = stop_pool[rng_below(rng, sizeof(stop_pool) / sizeof(stop_pool[0]))];
	return n;
}

/* True when the pieces end on the border of a character. */
static bool ends_whole(const struct span *pieces, size_t n)
{
	const uint32_t *ids;
	struct span text;
	size_t n_ready;
	struct text t;

	cr_assert_eq(text_init(&t, NULL, 0), 0);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(text_add(&t, (uint32_t)i, pieces[i]), 0);
	n_ready = text_take(&t, &ids, &text);
	text_fini(&t);
	return n_ready == n;
}

/* The text of n pieces without stops, and without half a character at its end, is in *ret.
 * Returns where the first stop begins in it. */
static size_t find_stop(const struct span *pieces, size_t n, const char *const *stops, size_t n_stops, struct shown *ret)
{
	feed(pieces, n, NULL, 0, ret);
	if (!ends_whole(pieces, n))
		ret->n -= strlen(FFFD);
	for (size_t at = 0; at < ret->n; at++)
		for (size_t i = 0; i < n_stops; i++)
			if (ret->n - at >= strlen(stops[i]) && memcmp(ret->text + at, stops[i], strlen(stops[i])) == 0)
				return at;
	return SIZE_MAX;
}

Test(text, shows_all_text_up_to_the_first_stop_and_nothing_else)
{
	struct rng rng;

	for (uint64_t seed = 1; seed <= 3000; seed++) {
		struct span pieces[24];
		const char *stops[3];
		struct shown got, want = { .n = 0 };
		size_t n, n_stops, taken = 0, at = SIZE_MAX;

		rng_seed(&rng, seed);
		n = gen_pieces(&rng, pieces, 24);
		n_stops = gen_stops(&rng, stops);
		while (taken < n && at == SIZE_MAX) {
			taken++;
			at = find_stop(pieces, taken, stops, n_stops, &want);
		}
		if (at == SIZE_MAX)
			feed(pieces, n, NULL, 0, &want);
		else
			want.n = at;
		cr_assert_eq(feed(pieces, n, stops, n_stops, &got), taken, "seed %" PRIu64, seed);
		cr_assert(span_eq(span_mem(got.text, got.n), span_mem(want.text, want.n)),
			"seed %" PRIu64 ": %.*s, not %.*s", seed, (int)got.n, got.text, (int)want.n, want.text);
	}
}

Test(text, an_attempt_that_takes_over_after_any_frame_shows_the_same)
{
	struct rng rng;

	for (uint64_t seed = 1; seed <= 1000; seed++) {
		struct span pieces[24], stop[3];
		const char *stops[3];
		struct shown whole, first = { .n = 0 };
		size_t n, n_stops;
		struct text t;
		int rc = 0;

		rng_seed(&rng, seed);
		n = gen_pieces(&rng, pieces, 24);
		n_stops = gen_stops(&rng, stops);
		for (size_t i = 0; i < n_stops; i++)
			stop[i] = span_of(stops[i]);
		feed(pieces, n, stops, n_stops, &whole);
		cr_assert_eq(text_init(&t, stop, n_stops), 0);
		for (size_t i = 0; i < n && rc == 0; i++) {
			struct shown rest;
			size_t shown = first.n_tokens;

			rc = text_add(&t, (uint32_t)i, pieces[i]);
			show(&t, &first);
			if (rc != 0 || first.n_tokens == shown)
				continue;
			feed(pieces + first.n_tokens, n - first.n_tokens, stops, n_stops, &rest);
			cr_assert_eq(first.n + rest.n, whole.n, "seed %" PRIu64 ", from token %zu", seed, first.n_tokens);
			cr_assert_eq(memcmp(whole.text, first.text, first.n), 0, "seed %" PRIu64, seed);
			cr_assert_eq(memcmp(whole.text + first.n, rest.text, rest.n), 0, "seed %" PRIu64, seed);
		}
		text_fini(&t);
	}
}
