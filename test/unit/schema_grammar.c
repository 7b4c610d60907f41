/* Grammars made of schemas: what they let pass, and what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "gbnf.h"
#include "json.h"
#include "rng.h"
#include "support/repeat.h"
#include "schema.h"

static char reason[512];

static int convert(const char *schema, struct buf *grammar)
{
	struct buf why = BUF_INIT(400);
	int rc = schema_grammar(span_of(schema), grammar, &why);

	(void)snprintf(reason, sizeof(reason), "%.*s", SPAN_FMT(buf_span(&why)));
	cr_assert_eq(rc<0, why.n> 0, "%s", schema);
	cr_assert_eq(why.err, 0);
	buf_fini(&why);
	return rc;
}

static struct gbnf *grammar_of(const char *schema)
{
	struct buf grammar = BUF_INIT(1 << 20), why = BUF_INIT(500);
	struct gbnf *g = NULL;

	cr_assert_eq(convert(schema, &grammar), 0, "%s: %s", schema, reason);
	cr_assert_eq(gbnf_new(buf_span(&grammar), &why, &g), 0, "%s: %.*s in\n%.*s", schema, SPAN_FMT(buf_span(&why)),
		SPAN_FMT(buf_span(&grammar)));
	buf_fini(&grammar);
	buf_fini(&why);
	return g;
}

static bool passes(const char *schema, const char *text)
{
	struct gbnf *g = grammar_of(schema);
	bool is_good;

	gbnf_begin(g);
	is_good = gbnf_accept(g, span_of(text)) == 1 && gbnf_may_end(g);
	gbnf_free(g);
	return is_good;
}

#define OBJECT(more) "{\"type\":\"object\"," more "}"
#define PERSON                                                                                                              \
	OBJECT("\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":"    \
	       "130},"                                                                                                      \
	       "\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"a\",\"b\"]},\"maxItems\":2}},"                          \
	       "\"required\":[\"name\",\"age\"],\"additionalProperties\":false")
#define TREE                                                                                                                \
	"{\"$ref\":\"#/$defs/node\",\"$defs\":{\"node\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"}," \
	"\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/node\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}}}"

static const struct {
	const char *schema, *text;
	bool passes;
} cases[] = {
	{ "{}", "{\"a\":[1,null,\"x\"]}", true },
	{ "true", "-1.5e3", true },
	{ "{\"type\":\"string\"}", "\"a\\\"é\\n\"", true },
	{ "{\"type\":\"string\"}", "\"a", false },
	{ "{\"type\":\"string\"}", "\"\n\"", false },
	{ "{\"type\":\"string\"}", "1", false },
	{ "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"a\"", false },
	{ "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"aé\"", true },
	{ "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"a\\\"b\"", true },
	{ "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"abcd\"", false },
	{ "{\"type\":\"string\",\"minLength\":2}", "\"abcdef\"", true },
	{ "{\"type\":\"string\",\"format\":\"date\"}", "\"2026-11-21\"", true },
	{ "{\"type\":\"string\",\"format\":\"date\"}", "\"2026-13-21\"", false },
	{ "{\"type\":\"string\",\"format\":\"date-time\"}", "\"2026-11-21T05:07:09Z\"", true },
	{ "{\"type\":\"integer\"}", "-12", true },
	{ "{\"type\":\"integer\"}", "012", false },
	{ "{\"type\":\"integer\"}", "1.5", false },
	{ "{\"type\":\"number\"}", "-1.5e-3", true },
	{ "{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "0.25", true },
	{ "{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "1", true },
	{ "{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "1.5", false },
	{ "{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "-0.5", false },
	{ "{\"type\":\"number\",\"minimum\":5}", "7.25", true },
	{ "{\"type\":\"number\",\"minimum\":5}", "4.9", false },
	{ "{\"type\":\"boolean\"}", "false", true },
	{ "{\"type\":\"null\"}", "null", true },
	{ "{\"type\":[\"string\",\"null\"],\"maxLength\":1}", "null", true },
	{ "{\"type\":[\"string\",\"null\"],\"maxLength\":1}", "\"ab\"", false },
	{ "{\"type\":[\"integer\",\"boolean\"]}", "true", true },
	{ "{\"enum\":[1,\"a\\\"\",null,{\"x\":[]}]}", "\"a\\\"\"", true },
	{ "{\"enum\":[1,\"a\\\"\",null,{\"x\":[]}]}", "{\"x\":[]}", true },
	{ "{\"enum\":[1,\"a\\\"\",null,{\"x\":[]}]}", "2", false },
	{ "{\"type\":\"string\",\"enum\":[1,\"a\"]}", "1", false },
	{ "{\"const\":\"é\\u0001\"}", "\"é\\u0001\"", true },
	{ "{\"anyOf\":[{\"type\":\"integer\"},{\"const\":\"x\"}],\"title\":\"either\"}", "\"x\"", true },
	{ "{\"oneOf\":[{\"type\":\"integer\"},{\"const\":\"x\"}]}", "7", true },
	{ "{\"allOf\":[{\"type\":\"integer\"}]}", "7", true },
	{ "{\"type\":\"array\"}", "[1,[]]", true },
	{ "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[]", false },
	{ "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[1, 2]", true },
	{ "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[1,2,3]", false },
	{ "{\"type\":\"array\",\"maxItems\":0}", "[]", true },
	{ "{\"type\":\"array\",\"minItems\":2}", "[1,{}]", true },
	{ "{\"items\":{\"const\":1}}", "[ 1,1 ]", true },
	{ OBJECT("\"additionalProperties\":false"), "{}", true },
	{ OBJECT("\"additionalProperties\":false"), "{\"a\":1}", false },
	{ OBJECT("\"additionalProperties\":{\"type\":\"integer\"}"), "{\"a\":1,\"b\":2}", true },
	{ OBJECT("\"additionalProperties\":{\"type\":\"integer\"}"), "{\"a\":\"x\"}", false },
	{ OBJECT("\"description\":\"any\""), "{\"a\":{}}", true },
	{ PERSON, "{\"name\":\"x\",\"age\":7}", true },
	{ PERSON, "{ \"name\": \"x\", \"age\": 130, \"tags\": [\"a\",\"b\"]\n}", true },
	{ PERSON, "{\"name\":\"x\"}", false },
	{ PERSON, "{\"name\":\"x\",\"age\":131}", false },
	{ PERSON, "{\"name\":\"x\",\"age\":7,\"more\":1}", false },
	{ PERSON, "{\"name\":\"x\",\"age\":7,}", false },
	{ OBJECT("\"properties\":{\"a\":{},\"b\":{},\"c\":{}}"), "{}", true },
	{ OBJECT("\"properties\":{\"a\":{},\"b\":{},\"c\":{}}"), "{\"c\":1}", true },
	{ OBJECT("\"properties\":{\"a\":{},\"b\":{},\"c\":{}}"), "{\"a\":1,\"c\":1}", true },
	{ OBJECT("\"properties\":{\"a\":{},\"b\":{},\"c\":{}}"), "{,\"c\":1}", false },
	{ OBJECT("\"properties\":{\"a\":{},\"b\":{},\"c\":{}},\"required\":[\"b\"]"), "{\"b\":1}", true },
	{ OBJECT("\"properties\":{\"a\":{},\"b\":{},\"c\":{}},\"required\":[\"b\"]"), "{\"a\":1}", false },
	{ OBJECT("\"properties\":{\"~/\\\"\":{\"const\":1}},\"required\":[\"~/\\\"\"]"), "{\"~/\\\"\":1}", true },
	{ TREE, "{\"v\":1,\"next\":{\"v\":2,\"next\":null}}", true },
	{ TREE, "{\"v\":1}", false },
	{ OBJECT("\"properties\":{\"me\":{\"$ref\":\"#\"}}"), "{\"me\":{\"me\":{}}}", true },
	{ OBJECT("\"properties\":{\"a~b\":{\"const\":1},\"c\":{\"$ref\":\"#/properties/a~0b\"}}"), "{\"c\":1}", true },
};

Test(schema, documents_pass_that_the_schema_allows)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(
			passes(cases[i].schema, cases[i].text), cases[i].passes, "%s: %s", cases[i].schema, cases[i].text);
}

static const struct {
	const char *schema, *words;
} refused[] = {
	{ "{", "not valid JSON" },
	{ "7", "#: it is no schema" },
	{ "false", "#: it is no schema" },
	{ "{\"type\":\"strin\"}", "#: \"type\"" },
	{ "{\"type\":\"string\",\"pattern\":\"a\"}", "#: \"pattern\" is not supported" },
	{ "{\"type\":\"string\",\"format\":\"email\"}", "\"format\"" },
	{ "{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", "below" },
	{ "{\"type\":\"string\",\"maxLength\":10001}", "10000" },
	{ "{\"type\":\"string\",\"minLength\":-1}", "\"minLength\"" },
	{ "{\"type\":\"integer\",\"multipleOf\":2}", "\"multipleOf\"" },
	{ "{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", "no whole number" },
	{ "{\"type\":\"integer\",\"minimum\":0.5,\"maximum\":0.7}", "no whole number" },
	{ "{\"type\":\"integer\",\"minimum\":1e17}", "15 digits" },
	{ "{\"type\":\"number\",\"minimum\":-1}", "bounds" },
	{ "{\"type\":\"number\",\"minimum\":0,\"maximum\":0.5}", "bounds" },
	{ "{\"type\":\"number\",\"maximum\":5}", "bounds" },
	{ "{\"type\":\"boolean\",\"minimum\":1}", "\"minimum\"" },
	{ "{\"type\":[\"string\",\"integer\"],\"maxLength\":1}", "\"maxLength\"" },
	{ "{\"type\":[]}", "\"type\"" },
	{ "{\"enum\":[]}", "\"enum\"" },
	{ "{\"enum\":[1],\"type\":\"string\"}", "\"enum\"" },
	{ "{\"const\":1,\"type\":\"string\"}", "\"const\"" },
	{ "{\"anyOf\":[]}", "\"anyOf\"" },
	{ "{\"anyOf\":[{}],\"type\":\"string\"}", "\"type\" is not supported here" },
	{ "{\"anyOf\":[{},{\"not\":{}}]}", "#/anyOf/1: \"not\"" },
	{ "{\"allOf\":[{},{}]}", "\"allOf\"" },
	{ "{\"if\":{}}", "#: \"if\"" },
	{ "{\"type\":\"array\",\"uniqueItems\":true}", "\"uniqueItems\"" },
	{ "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"a/b\":{\"pattern\":\"x\"}}}}",
		"#/items/properties/a~1b: \"pattern\"" },
	{ OBJECT("\"required\":[\"a\"]"), "\"required\" names \"a\"" },
	{ OBJECT("\"required\":\"a\""), "\"required\"" },
	{ OBJECT("\"properties\":[]"), "\"properties\"" },
	{ OBJECT("\"patternProperties\":{}"), "\"patternProperties\"" },
	{ OBJECT("\"additionalProperties\":1"), "\"additionalProperties\"" },
	{ "{\"$ref\":\"#/$defs/a\"}", "leads nowhere" },
	{ "{\"$ref\":\"http://example.org/x\"}", "leads nowhere" },
	{ "{\"$ref\":\"#\"}", "back to itself" },
	{ "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/a\"}]}}}", "back to itself" },
	{ "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"items\":{\"pattern\":\"\"}}}}", "#/$defs/a/items: \"pattern\"" },
};

Test(schema, what_is_not_supported_is_refused_with_its_place)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct buf grammar = BUF_INIT(1 << 20);

		cr_expect_lt(convert(refused[i].schema, &grammar), 0, "%s", refused[i].schema);
		cr_expect_not_null(strstr(reason, refused[i].words), "%s: %s", refused[i].schema, reason);
		buf_fini(&grammar);
	}
}

Test(schema, size_and_depth_are_bounded)
{
	struct buf grammar = BUF_INIT(1 << 20);

	cr_expect_lt(convert(repeat("", "{\"items\":", 1000, "{}").p, &grammar), 0);
	cr_expect_lt(
		convert(repeat("{\"properties\":{\"\":{}", ",\"member-%zu\":{\"type\":\"string\"}", 2000, "}}").p, &grammar),
		0);
	cr_expect_not_null(strstr(reason, "64 KiB"), "%s", reason);
	buf_reset(&grammar);
	cr_expect_eq(convert(repeat("{\"enum\":[0", ",%zu", 2000, "]}").p, &grammar), 0, "%s", reason);
	buf_fini(&grammar);
}

Test(schema, whole_numbers_keep_to_every_bound)
{
	struct rng rng;

	rng_seed(&rng, 3);
	for (int round = 0; round < 60; round++) {
		int64_t low = (int64_t)rng_below(&rng, 2400) - 1200, high = low + (int64_t)rng_below(&rng, 1500);
		char schema[200], text[32];
		struct gbnf *g;

		(void)snprintf(schema, sizeof(schema), "{\"type\":\"integer\",\"minimum\":%lld,\"maximum\":%lld}",
			(long long)low, (long long)high);
		g = grammar_of(schema);
		for (int64_t n = -1300; n <= 2900; n++) {
			(void)snprintf(text, sizeof(text), "%lld", (long long)n);
			gbnf_begin(g);
			cr_assert(n < low || n > high || gbnf_fits(g, span_of(text)) == 1, "%s: %s", schema, text);
		}
		gbnf_free(g);
	}
	for (int64_t n = -130; n <= 1300; n++) {
		char text[32];

		(void)snprintf(text, sizeof(text), "%lld", (long long)n);
		cr_expect_eq(passes("{\"type\":\"integer\",\"exclusiveMinimum\":-17,\"exclusiveMaximum\":1024.5}", text),
			n > -17 && n <= 1024, "%s", text);
		cr_expect_eq(passes("{\"type\":\"integer\",\"minimum\":98}", text), n >= 98, "%s", text);
		cr_expect_eq(passes("{\"type\":\"integer\",\"maximum\":-98}", text), n <= -98, "%s", text);
	}
}

/* Whatever bytes are drawn: what may end is a document. */
Test(schema, whatever_comes_of_a_grammar_is_json)
{
	size_t n_ended = 0;
	struct rng rng;

	rng_seed(&rng, 4);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int round = 0; round < 6; round++) {
			struct gbnf *g = grammar_of(cases[i].schema);
			struct buf text = BUF_INIT(4096);
			struct json_value *doc = NULL;

			while (text.n < 300 && !gbnf_must_end(g) && !(gbnf_may_end(g) && rng_below(&rng, 8) == 0)) {
				static const char likely[] = "{}[]\",:0123456789.-eE ntf\\a";
				uint8_t b = rng_below(&rng, 3) > 0 ? (uint8_t)likely[rng_below(&rng, sizeof(likely) - 1)]
								   : (uint8_t)rng_below(&rng, 256);

				gbnf_begin(g);
				if (gbnf_accept(g, span_mem(&b, 1)) == 1)
					buf_add(&text, &b, 1);
			}
			if (gbnf_may_end(g)) {
				n_ended++;
				cr_assert_eq(json_parse(buf_span(&text), &doc), 0, "%s: %.*s", cases[i].schema,
					SPAN_FMT(buf_span(&text)));
			}
			json_value_free(doc);
			gbnf_free(g);
			buf_fini(&text);
		}
	cr_assert_gt(n_ended, 100);
}
