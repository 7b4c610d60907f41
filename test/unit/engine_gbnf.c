/* Grammars: what is read, what they let pass, and that none of them can do harm. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "gbnf.h"
#include "rng.h"
#include "support/repeat.h"

static char reason[512];

static struct gbnf *read_grammar(struct span text, int *ret_rc)
{
	struct buf why = BUF_INIT(500);
	struct gbnf *g = NULL;

	*ret_rc = gbnf_new(text, &why, &g);
	(void)snprintf(reason, sizeof(reason), "%.*s", SPAN_FMT(buf_span(&why)));
	cr_assert_eq(*ret_rc<0, why.n> 0, "%s", reason);
	buf_fini(&why);
	return g;
}

/* 'y': the whole text is an answer; 'p': the beginning of one; 'n': neither.  Taken in pieces of `step`. */
static char verdict(const char *grammar, const char *text, size_t step)
{
	int rc;
	struct gbnf *g = read_grammar(span_of(grammar), &rc);
	size_t n = strlen(text);
	char v = 'p';

	cr_assert_eq(rc, 0, "%s: %s", grammar, reason);
	for (size_t at = 0; at < n; at += step) {
		struct span piece = span_mem(text + at, n - at < step ? n - at : step);
		int fits;

		gbnf_begin(g);
		fits = gbnf_fits(g, piece);
		cr_assert_eq(gbnf_accept(g, piece), fits, "a trial says the same");
		if (fits != 1)
			v = 'n';
		if (v == 'n')
			break;
	}
	if (v == 'p' && gbnf_may_end(g))
		v = 'y';
	gbnf_free(g);
	return v;
}

#define JSON                                                                                                                \
	"root ::= object # a document\n"                                                                                    \
	"object ::= \"{\" ws (member (\",\" ws member)*)? \"}\" ws\n"                                                       \
	"member ::= string \":\" ws value\n"                                                                                \
	"value ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"                               \
	"array ::= \"[\" ws (value (\",\" ws value)*)? \"]\" ws\n"                                                          \
	"string ::= \"\\\"\" ([^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\bfnrt] | \"u\" [0-9a-fA-F]{4}))* \"\\\"\" ws\n"  \
	"number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws\n"              \
	"ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n"

static const struct {
	const char *grammar, *text;
	char verdict;
} cases[] = {
	{ "root ::= \"ab\"", "ab", 'y' },
	{ "root ::= \"ab\"", "a", 'p' },
	{ "root ::= \"ab\"", "b", 'n' },
	{ "root ::= \"ab\"", "abc", 'n' },
	{ "root ::= \"a\" | \"bc\"\n", "bc", 'y' },
	{ "root ::= \"a\" |\n \"bc\"\n", "a", 'y' },
	{ "root ::= x x\nx ::= [a-c] | \"d\"", "ad", 'y' },
	{ "root ::= x x\nx ::= [a-c] | \"d\"", "ae", 'n' },
	{ "root ::= [^a-c]", "b", 'n' },
	{ "root ::= [^a-c]", "é", 'y' },
	{ "root ::= [^\\u00e9]", "é", 'n' },
	{ "root ::= [à-ü]", "é", 'y' },
	{ "root ::= .", "\n", 'y' },
	{ "root ::= \"x\"*", "", 'y' },
	{ "root ::= \"x\"*", "xxxxxxxxxx", 'y' },
	{ "root ::= \"x\"+", "", 'p' },
	{ "root ::= \"x\"? \"y\"", "y", 'y' },
	{ "root ::= \"ab\"{2}", "abab", 'y' },
	{ "root ::= \"ab\"{2}", "ab", 'p' },
	{ "root ::= \"ab\"{2}", "ababa", 'n' },
	{ "root ::= \"a\"{2,}", "aaaaa", 'y' },
	{ "root ::= \"a\"{2,}", "a", 'p' },
	{ "root ::= \"a\"{1,3}", "aaa", 'y' },
	{ "root ::= \"a\"{1,3}", "aaaa", 'n' },
	{ "root ::= \"a\"{0} \"b\"", "b", 'y' },
	{ "root ::= (\"a\" \"b\"?)+", "aaba", 'y' },
	{ "root ::= ((\"a\"?)*)*", "aaa", 'y' },
	{ "root ::= \"(\" root? \")\"", "(())", 'y' },
	{ "root ::= \"(\" root? \")\"", "(()", 'p' },
	{ "root ::= \"\" \"a\"", "a", 'y' },
	{ "root ::= \"\\\"\\\\\\n\\x41\\u20ac\\U0001f41f\"", "\"\\\nA€🐟", 'y' },
	{ "root ::= [\\]\\-a]+", "]-a", 'y' },
	{ "root ::= [a-]+", "a-a", 'y' },
	{ "# first\n\nroot ::= ( # inside\n \"a\"\n | \"b\"\n)\n", "b", 'y' },
	{ JSON, "{\"a\": [1, -2.5e3, \"x\\u00e9\\n\", true, {}]}", 'y' },
	{ JSON, "{\"a\": [1, 2,", 'p' },
	{ JSON, "{\"a\" 1}", 'n' },
	{ JSON, "{\"a\": tru}", 'n' },
};

Test(gbnf, answers_pass_that_keep_to_the_grammar_in_pieces_of_any_size)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t step = 1; step < 6; step++)
			cr_expect_eq(verdict(cases[i].grammar, cases[i].text, step), cases[i].verdict,
				"%s: %s in pieces of %zu", cases[i].grammar, cases[i].text, step);
}

Test(gbnf, a_character_may_begin_only_if_it_can_end)
{
	cr_assert_eq(verdict("root ::= \"é\"", "\xc3", 1), 'p');
	cr_assert_eq(verdict("root ::= \"é\"", "\xc4", 1), 'n');
	cr_assert_eq(verdict("root ::= [a-z]", "\xc3", 1), 'n');
	cr_assert_eq(verdict("root ::= \"🐟\"", "\xf0\x9f\x90", 1), 'p');
	cr_assert_eq(verdict("root ::= \"🐟\"", "\xf0\x9f\x91", 1), 'n');
	cr_assert_eq(verdict("root ::= .*", "\xff", 1), 'n');
	cr_assert_eq(verdict("root ::= .*", "\xc0\x80", 1), 'n');
	cr_assert_eq(verdict("root ::= .*", "\xed\xa0\x80", 1), 'n');
	cr_assert_eq(verdict("root ::= .*", "\xf4\x90", 1), 'n');
	cr_assert_eq(verdict("root ::= .*", "a\xc3", 1), 'p');
}

Test(gbnf, an_answer_must_end_where_nothing_can_follow)
{
	int rc;
	struct gbnf *g = read_grammar(SPAN("root ::= \"a\" \"b\"?"), &rc);

	cr_assert(!gbnf_may_end(g) && !gbnf_must_end(g));
	gbnf_begin(g);
	cr_assert_eq(gbnf_accept(g, SPAN("a")), 1);
	cr_assert(gbnf_may_end(g) && !gbnf_must_end(g));
	cr_assert_eq(gbnf_accept(g, SPAN("x")), 0);
	cr_assert_eq(gbnf_accept(g, SPAN_NONE), 0);
	cr_assert(gbnf_may_end(g), "what was refused changes nothing");
	cr_assert_eq(gbnf_accept(g, SPAN("b")), 1);
	cr_assert(gbnf_may_end(g) && gbnf_must_end(g));
	gbnf_free(g);
}

static const struct {
	const char *grammar, *word;
} bad[] = {
	{ "", "root" },
	{ "a ::= \"x\"", "root" },
	{ "root ::= a", "\"a\"" },
	{ "root ::= \"a", "no end" },
	{ "root ::= [a", "no end" },
	{ "root ::= (\"a\"", ")" },
	{ "root ::= \"a\")", "no item" },
	{ "root ::= \"a\"{2", "}" },
	{ "root ::= \"a\"{}", "number" },
	{ "root ::= \"a\"{3,2}", "least" },
	{ "root ::= \"a\"{10001}", "10000" },
	{ "root ::= \"a\"{99999999999999}", "10000" },
	{ "root ::= [z-a]", "range" },
	{ "root ::= \"\\q\"", "\\" },
	{ "root ::= \"\\x4\"", "hexadecimal" },
	{ "root ::= \"a\"\nroot ::= \"b\"", "already" },
	{ "root = \"a\"", "::=" },
	{ "root ::= \"a\"\n= x", "name" },
	{ "root ::= *", "no item" },
	{ "root ::= <[5]>", "no item" },
	{ "root ::= \"\xff\"", "UTF-8" },
	{ "root ::= root \"a\" | \"b\"", "itself" },
	{ "root ::= x \"a\" | \"b\"\nx ::= y?\ny ::= root", "itself" },
	{ "root ::= a\na ::= b\nb ::= a", "beginning" },
};

Test(gbnf, what_is_no_grammar_is_refused_with_a_sentence)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int rc;
		struct gbnf *g = read_grammar(span_of(bad[i].grammar), &rc);

		cr_expect_lt(rc, 0, "%s", bad[i].grammar);
		cr_expect_not_null(strstr(reason, bad[i].word), "%s: %s", bad[i].grammar, reason);
		gbnf_free(g);
	}
}

/* ---- harm ---- */

Test(gbnf, depth_and_size_are_bounded)
{
	int rc;
	struct gbnf *g;

	g = read_grammar(repeat("root ::= ", "(", 60000, ""), &rc);
	cr_assert_eq(rc, ERR_TOOBIG, "%s", reason);
	g = read_grammar(
		repeat("root ::= ", "(", 64, "\"a\"))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))"), &rc);
	cr_assert_eq(rc, 0, "%s", reason);
	gbnf_free(g);
	g = read_grammar(repeat("root ::= ", "(\"a\"{9999}){9999} ", 3000, ""), &rc);
	cr_assert_eq(rc, ERR_TOOBIG, "%s", reason);
	g = read_grammar(repeat("root ::= \"a\"", "{9}", 20000, ""), &rc);
	cr_assert_lt(rc, 0, "%s", reason);
	(void)g;
}

/* Feeds text until something is said against it; the number of steps it took is bounded by gbnf.h. */
static int feed(struct span grammar, const char *part, size_t n)
{
	int rc, fits = 1;
	struct gbnf *g = read_grammar(grammar, &rc);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n && fits == 1; i++) {
		gbnf_begin(g);
		fits = gbnf_accept(g, span_of(part));
	}
	gbnf_free(g);
	return fits;
}

Test(gbnf, grammars_that_can_be_read_in_countless_ways_are_given_up)
{
	/* Doubles with each character. */
	cr_expect_eq(feed(SPAN("root ::= \"a\" root x | \"a\" root y | \"b\"\nx ::= \"b\"\ny ::= \"c\"\n"), "a", 100),
		ERR_TOOBIG);
	cr_expect_eq(feed(SPAN("root ::= \"a\" root x | \"a\" root y | \"b\"\nx ::= \"b\"\ny ::= \"c\"\n"),
			     "aaaaaaaaaaaaaaaa", 1),
		ERR_TOOBIG);
	/* A thousand ways at the first one already. */
	cr_expect_eq(feed(repeat("root ::= \"b\"", " | \"a\" \"b\"", 5000, ""), "a", 1), ERR_TOOBIG);
	/* A stack that only grows. */
	cr_expect_eq(feed(SPAN("root ::= \"a\" root \"b\" | \"c\""), "aaaaaaaaaaaaaaaa", 100000), ERR_TOOBIG);
	/* All of them empty, in each other. */
	cr_expect_eq(feed(SPAN("root ::= ((a{0,9999}){0,9999}){0,9999} \"b\"\na ::= \"a\"?"), "a", 1000), ERR_TOOBIG);
}

Test(gbnf, what_looks_ambiguous_and_is_not_goes_on_for_ever)
{
	cr_expect_eq(feed(SPAN("root ::= (\"a\" | \"a\" | \"aa\")*"), "aaaa", 20000), 1);
	cr_expect_eq(feed(SPAN("root ::= [a-z]* [a-z]* [a-z]*"), "abc", 20000), 1);
	cr_expect_eq(feed(SPAN(JSON), "{\"a\":{\"b\":[[", 200), 1);
	cr_expect_eq(feed(SPAN("root ::= item (\",\" item)*\nitem ::= \"(\" [0-9]{1,9} \")\""), "(12),", 20000), 1);
}

/* Any bytes: read or refused, and followed without harm. */
Test(gbnf, random_grammars_do_nothing_bad)
{
	static const char *const parts[] = { "root", "::=", " ", "\n", "\"a\"", "\"ab\"", "[a-b]", "[^a]", ".", "(", ")",
		"*", "+", "?", "{2}", "{0,3}", "|", "x", "y", "x ::= ", "root ::= ", "é", "\\" };
	size_t n_read = 0;
	struct rng rng;

	rng_seed(&rng, 1);
	for (int round = 0; round < 20000; round++) {
		struct buf b = BUF_INIT(4096), why = BUF_INIT(500);
		struct gbnf *g = NULL;

		buf_addf(&b, "%s", rng_below(&rng, 8) > 0 ? "root ::= " : "");
		for (uint64_t k = rng_below(&rng, 24); k > 0; k--)
			buf_addf(&b, "%s%s", parts[rng_below(&rng, sizeof(parts) / sizeof(parts[0]))],
				rng_below(&rng, 2) ? " " : "");
		if (gbnf_new(buf_span(&b), &why, &g) == 0) {
			n_read++;
			for (int i = 0; i < 30; i++) {
				static const char *const pieces[] = { "a", "b", "ab", "é", "\xc3", "ba", "c" };
				struct span piece = span_of(pieces[rng_below(&rng, 7)]);
				int fits;

				gbnf_begin(g);
				fits = gbnf_fits(g, piece);
				cr_assert_eq(gbnf_accept(g, piece), fits);
				cr_assert(fits == 0 || fits == 1 || fits == ERR_TOOBIG);
			}
		}
		gbnf_free(g);
		buf_fini(&b);
		buf_fini(&why);
	}
	cr_assert_gt(n_read, 500);
}
