#include "schema.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "schema_number.h"

#define GRAMMAR_MAX ((size_t)64 << 10)
#define ROOM_MAX (GRAMMAR_MAX * 2)
#define LENGTH_MAX 10000 /* of texts and lists */
#define PATH_MAX_BYTES 512

/* What JSON itself is made of. */
static const char basics[] =
	"ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n"
	"char ::= [^\"\\\\\\x00-\\x1F\\x7F] | \"\\\\\" [\"\\\\/bfnrt]\n"
	"string ::= \"\\\"\" char* \"\\\"\"\n"
	"integer ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15})\n"
	"number ::= integer (\".\" [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?\n"
	"boolean ::= \"true\" | \"false\"\n"
	"null ::= \"null\"\n"
	"value ::= object | array | string | number | boolean | null\n"
	"object ::= \"{\" ws (string ws \":\" ws value (ws \",\" ws string ws \":\" ws value)* ws)? \"}\"\n"
	"array ::= \"[\" ws (value (ws \",\" ws value)* ws)? \"]\"\n";

struct place { /* a part of the schema that has become a rule */
	const struct json_value *schema;
	unsigned rule;
	unsigned level;
	bool is_open; /* its rule is being written */
};

struct writer {
	const struct json_value *doc;
	struct buf *why;
	struct buf rules;  /* finished ones */
	struct buf places; /* struct place: targets of "$ref" */
	char path[PATH_MAX_BYTES];
	size_t n_path;
	unsigned n_rules, depth;
	unsigned level; /* of objects and lists around: a reference needs one to come back to itself */
	int err;
};

/* ---- faults: the first counts ---- */

__attribute__((format(printf, 2, 3))) static void refuse(struct writer *w, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	if (w->err != 0)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	w->err = ERR_RANGE;
	buf_addf(w->why, "the schema at #%.*s: ", (int)(w->n_path < 200 ? w->n_path : 200), w->path);
	buf_add_utf8(w->why, span_of(text)); /* it may have been cut in a character */
}

static void push_text(struct writer *w, struct span text)
{
	size_t room = PATH_MAX_BYTES - w->n_path, n = text.n < room ? text.n : room;

	memcpy(w->path + w->n_path, text.p, n);
	w->n_path += n;
}

static void push_path(struct writer *w, struct span name)
{
	if (w->n_path < PATH_MAX_BYTES)
		w->path[w->n_path++] = '/';
	for (size_t i = 0; i < name.n && w->n_path + 1 < PATH_MAX_BYTES; i++) {
		bool is_special = name.p[i] == '~' || name.p[i] == '/';

		w->path[w->n_path++] = is_special ? '~' : name.p[i];
		if (is_special)
			w->path[w->n_path++] = name.p[i] == '/' ? '1' : '0';
	}
}

static void push_index(struct writer *w, size_t i)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%zu", i);
	push_path(w, span_of(text));
}

/* ---- keywords ---- */

static const struct json_value *get(const struct json_value *schema, const char *name)
{
	return json_member(schema, span_of(name));
}

static bool is_listed(const char *list, struct span name)
{
	const char *at = list;

	while (*at != '\0') {
		size_t n = strcspn(at, " ");

		if (span_eq(name, span_mem(at, n)))
			return true;
		at += n + (at[n] == ' ');
	}
	return false;
}

/* All that a schema says beside these and what is only for people is refused. */
static void only(struct writer *w, const struct json_value *schema, const char *known)
{
	static const char words[] = "$schema $id $comment $anchor $defs definitions title description default examples "
				    "deprecated readOnly writeOnly";
	const struct json_value *v;
	struct span name;

	for (void *iter = NULL; w->err == 0 && json_next(schema, &iter, &name, &v);)
		if (!is_listed(known, name) && !is_listed(words, name))
			refuse(w, "\"%.*s\" is not supported%s", SPAN_FMT(name), known[0] != '\0' ? " here" : "");
}

/* A count: ret stays as it is when it is not there. */
static void get_count(struct writer *w, const struct json_value *schema, const char *name, unsigned *ret)
{
	const struct json_value *v = get(schema, name);
	double n = json_number(v);

	if (v == NULL)
		return;
	if ((json_kind_of(v) != JSON_KIND_INTEGER && json_kind_of(v) != JSON_KIND_REAL) || n < 0 || n != floor(n) ||
		n > LENGTH_MAX)
		refuse(w, "\"%s\" must be a whole number from 0 to %d", name, LENGTH_MAX);
	else
		*ret = (unsigned)n;
}

/* ---- rules ---- */

static unsigned put_schema(struct writer *w, const struct json_value *schema);

static struct buf body_init(void)
{
	return BUF_INIT(ROOM_MAX);
}

static unsigned new_rule(struct writer *w)
{
	return w->n_rules++;
}

static void set_rule(struct writer *w, unsigned rule, struct buf *body)
{
	if (body->err != 0 || w->rules.n > GRAMMAR_MAX)
		refuse(w, "its grammar grows over %zu KiB", GRAMMAR_MAX >> 10);
	buf_addf(&w->rules, "r%u ::= ", rule);
	buf_add_span(&w->rules, buf_span(body));
	buf_addf(&w->rules, "\n");
	buf_fini(body);
}

/* JSON as a text of the grammar. */
static void add_literal(struct buf *out, struct span json)
{
	buf_addf(out, "\"");
	for (size_t i = 0; i < json.n; i++) {
		unsigned char c = (unsigned char)json.p[i];

		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			buf_addf(out, "\\x%02X", c);
		else
			buf_add(out, &c, 1);
	}
	buf_addf(out, "\"");
}

static void add_value(struct buf *out, const struct json_value *v)
{
	struct buf json = body_init();

	json_add_value(&json, v);
	if (json.err != 0)
		out->err = json.err;
	add_literal(out, buf_span(&json));
	buf_fini(&json);
}

static void add_name(struct buf *out, struct span name)
{
	struct buf json = body_init();

	json_add_string(&json, name);
	add_literal(out, buf_span(&json));
	buf_fini(&json);
}

/* ---- texts and numbers ---- */

static void put_string(struct writer *w, const struct json_value *s, struct buf *out)
{
	static const struct {
		const char *name, *body;
	} formats[] = {
		{ "date", "[0-9]{4} \"-\" (\"0\" [1-9] | \"1\" [0-2]) \"-\" (\"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8])" },
		{ "time", "(([01] [0-9]) | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] \"Z\"" },
		{ "date-time",
			"[0-9]{4} \"-\" (\"0\" [1-9] | \"1\" [0-2]) \"-\" (\"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8]) \"T\" "
			"(([01] [0-9]) | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] \"Z\"" },
		{ "uuid", "[0-9a-f]{8} \"-\" [0-9a-f]{4} \"-\" [0-9a-f]{4} \"-\" [0-9a-f]{4} \"-\" [0-9a-f]{12}" },
	};
	const struct json_value *format = get(s, "format");
	unsigned min = 0, max = UINT32_MAX;

	only(w, s, format == NULL ? "type minLength maxLength" : "type format");
	for (size_t i = 0; format != NULL && i < sizeof(formats) / sizeof(formats[0]); i++)
		if (span_is(json_text(format), formats[i].name)) {
			buf_addf(out, "\"\\\"\" %s \"\\\"\"", formats[i].body);
			return;
		}
	if (format != NULL)
		refuse(w, "\"format\" may be date, time, date-time or uuid");
	get_count(w, s, "minLength", &min);
	get_count(w, s, "maxLength", &max);
	if (max < min)
		refuse(w, "\"maxLength\" is below \"minLength\"");
	if (max == UINT32_MAX && min == 0)
		buf_addf(out, "string");
	else if (max == UINT32_MAX)
		buf_addf(out, "\"\\\"\" char{%u,} \"\\\"\"", min);
	else
		buf_addf(out, "\"\\\"\" char{%u,%u} \"\\\"\"", min, max);
}

/* A bound as a whole number, rounded inwards; false: there is none.  `step` is 1 for a least, -1 for a greatest. */
static bool get_bound(
	struct writer *w, const struct json_value *s, const char *name, bool is_exclusive, int step, int64_t *ret)
{
	const struct json_value *v = get(s, name);
	double n = json_number(v), whole = step > 0 ? ceil(n) : floor(n);

	if (v == NULL)
		return false;
	if ((json_kind_of(v) != JSON_KIND_INTEGER && json_kind_of(v) != JSON_KIND_REAL) ||
		fabs(n) > (double)SCHEMA_MAX_INTEGER - 1) {
		refuse(w, "\"%s\" must be a number of at most 15 digits", name);
		return false;
	}
	*ret = (int64_t)whole + (is_exclusive && whole == n ? step : 0);
	return true;
}

static void get_bounds(struct writer *w, const struct json_value *s, int64_t *ret_low, int64_t *ret_high)
{
	int64_t v;

	*ret_low = -SCHEMA_MAX_INTEGER;
	*ret_high = SCHEMA_MAX_INTEGER;
	if (get_bound(w, s, "minimum", false, 1, &v))
		*ret_low = v;
	if (get_bound(w, s, "exclusiveMinimum", true, 1, &v) && v > *ret_low)
		*ret_low = v;
	if (get_bound(w, s, "maximum", false, -1, &v))
		*ret_high = v;
	if (get_bound(w, s, "exclusiveMaximum", true, -1, &v) && v < *ret_high)
		*ret_high = v;
	if (*ret_low > *ret_high)
		refuse(w, "no whole number is within its bounds");
}

static bool has_bounds(const struct json_value *s)
{
	return get(s, "minimum") != NULL || get(s, "maximum") != NULL || get(s, "exclusiveMinimum") != NULL ||
	       get(s, "exclusiveMaximum") != NULL;
}

static void put_integer(struct writer *w, const struct json_value *s, struct buf *out)
{
	int64_t low, high;

	only(w, s, "type minimum maximum exclusiveMinimum exclusiveMaximum");
	if (!has_bounds(s)) {
		buf_addf(out, "integer");
		return;
	}
	get_bounds(w, s, &low, &high);
	if (w->err == 0)
		schema_add_integers(out, low, high);
}

/* With bounds: whole ones from 0 up, and then a whole number with digits behind it but the last, which
 * has none. */
static void put_number(struct writer *w, const struct json_value *s, struct buf *out)
{
	int64_t low, high;

	only(w, s, "type minimum maximum");
	if (!has_bounds(s)) {
		buf_addf(out, "number");
		return;
	}
	get_bounds(w, s, &low, &high);
	if (low < 0 || (double)low != json_number(get(s, "minimum")) ||
		(get(s, "maximum") != NULL && (double)high != json_number(get(s, "maximum"))))
		refuse(w, "bounds of a number (not an integer) must be whole, the least 0 or more");
	if (w->err != 0)
		return;
	if (high > low) {
		buf_addf(out, "(");
		schema_add_integers(out, low, high - 1);
		buf_addf(out, ") (\".\" [0-9]{1,16})? | ");
	}
	buf_addf(out, "\"%lld\"", (long long)high);
}

/* ---- objects ---- */

static bool is_required(const struct json_value *required, struct span name)
{
	for (size_t i = 0; i < json_size(required); i++)
		if (span_eq(json_text(json_item(required, i)), name))
			return true;
	return false;
}

static void check_required(struct writer *w, const struct json_value *properties, const struct json_value *required)
{
	if (required != NULL && json_kind_of(required) != JSON_KIND_LIST)
		refuse(w, "\"required\" must be a list of names");
	for (size_t i = 0; w->err == 0 && i < json_size(required); i++) {
		struct span name = json_text(json_item(required, i));

		if (name.p == NULL || json_member(properties, name) == NULL)
			refuse(w, "\"required\" names \"%.*s\", which \"properties\" does not have", SPAN_FMT(name));
	}
}

struct member {
	struct span name;
	unsigned rule;
	bool is_required;
};

/* The rules m0, m1 … each say what may follow from a member on: with a comma before the first that
 * comes, or, where none has come yet, without. */
static unsigned put_members(struct writer *w, const struct member *m, size_t n)
{
	unsigned begun = new_rule(w), fresh = new_rule(w); /* of what follows member i */
	struct buf end = body_init();

	buf_addf(&end, "ws");
	set_rule(w, begun, &end);
	end = body_init();
	buf_addf(&end, "\"\"");
	set_rule(w, fresh, &end);
	for (size_t i = n; i-- > 0 && w->err == 0;) {
		unsigned next_begun = new_rule(w), next_fresh = new_rule(w);
		struct buf member = body_init(), body = body_init();

		add_name(&member, m[i].name);
		buf_addf(&member, " ws \":\" ws r%u r%u", m[i].rule, begun);
		buf_addf(&body, "ws \",\" ws %.*s", SPAN_FMT(buf_span(&member)));
		if (!m[i].is_required)
			buf_addf(&body, " | r%u", begun);
		set_rule(w, next_begun, &body);
		if (!m[i].is_required)
			buf_addf(&member, " | r%u", fresh);
		set_rule(w, next_fresh, &member);
		begun = next_begun;
		fresh = next_fresh;
	}
	return fresh;
}

static void put_properties(
	struct writer *w, const struct json_value *properties, const struct json_value *required, struct buf *out)
{
	size_t n = json_size(properties), i = 0, n_path;
	struct member *members = calloc(n + 1, sizeof(*members));
	const struct json_value *v;
	struct span name;

	if (members == NULL)
		w->err = ERR_NOMEM;
	push_path(w, SPAN("properties"));
	n_path = w->n_path;
	w->level++;
	for (void *iter = NULL; w->err == 0 && json_next(properties, &iter, &name, &v); i++) {
		push_path(w, name);
		members[i] = (struct member){
			.name = name, .rule = put_schema(w, v), .is_required = is_required(required, name)
		};
		w->n_path = n_path;
	}
	w->level--;
	if (w->err == 0)
		buf_addf(out, "\"{\" ws r%u \"}\"", put_members(w, members, i));
	free(members);
}

/* Members of any name, their values alike. */
static void put_map(struct writer *w, const struct json_value *values, struct buf *out)
{
	unsigned rule;

	push_path(w, SPAN("additionalProperties"));
	w->level++;
	rule = put_schema(w, values);
	w->level--;
	buf_addf(out, "\"{\" ws (string ws \":\" ws r%u (ws \",\" ws string ws \":\" ws r%u)* ws)? \"}\"", rule, rule);
}

static void put_object(struct writer *w, const struct json_value *s, struct buf *out)
{
	const struct json_value *properties = get(s, "properties"), *required = get(s, "required"),
				*more = get(s, "additionalProperties");

	only(w, s, "type properties required additionalProperties");
	if (properties != NULL && json_kind_of(properties) != JSON_KIND_OBJECT)
		refuse(w, "\"properties\" must be an object");
	if (more != NULL && json_kind_of(more) != JSON_KIND_BOOL && json_kind_of(more) != JSON_KIND_OBJECT)
		refuse(w, "\"additionalProperties\" must be a schema");
	check_required(w, properties, required);
	if (w->err != 0)
		return;
	if (json_size(properties) > 0)
		put_properties(w, properties, required, out);
	else if (json_kind_of(more) == JSON_KIND_OBJECT)
		put_map(w, more, out);
	else if (json_kind_of(more) == JSON_KIND_BOOL && !json_truth(more))
		buf_addf(out, "\"{\" ws \"}\"");
	else
		buf_addf(out, "object");
}

/* ---- lists ---- */

static void put_array(struct writer *w, const struct json_value *s, struct buf *out)
{
	unsigned min = 0, max = UINT32_MAX, rule;

	only(w, s, "type items minItems maxItems");
	get_count(w, s, "minItems", &min);
	get_count(w, s, "maxItems", &max);
	if (max < min)
		refuse(w, "\"maxItems\" is below \"minItems\"");
	if (w->err != 0)
		return;
	if (get(s, "items") == NULL && min == 0 && max == UINT32_MAX) {
		buf_addf(out, "array");
		return;
	}
	push_path(w, SPAN("items"));
	if (get(s, "items") != NULL) {
		w->level++;
		rule = put_schema(w, get(s, "items"));
		w->level--;
	} else {
		struct buf any = body_init();

		rule = new_rule(w);
		buf_addf(&any, "value");
		set_rule(w, rule, &any);
	}
	if (max == 0) {
		buf_addf(out, "\"[\" ws \"]\"");
		return;
	}
	buf_addf(out, "\"[\" ws (r%u (ws \",\" ws r%u){%u,", rule, rule, min > 0 ? min - 1 : 0);
	if (max != UINT32_MAX)
		buf_addf(out, "%u", max - 1);
	buf_addf(out, "} ws)%s \"]\"", min > 0 ? "" : "?");
}

/* ---- types ---- */

static bool is_of_type(const struct json_value *v, struct span type)
{
	switch (json_kind_of(v)) {
	case JSON_KIND_NULL: return span_is(type, "null");
	case JSON_KIND_BOOL: return span_is(type, "boolean");
	case JSON_KIND_INTEGER: return span_is(type, "integer") || span_is(type, "number");
	case JSON_KIND_REAL: return span_is(type, "number");
	case JSON_KIND_TEXT: return span_is(type, "string");
	case JSON_KIND_LIST: return span_is(type, "array");
	default: return span_is(type, "object");
	}
}

static bool is_allowed(const struct json_value *type, const struct json_value *v)
{
	if (json_kind_of(type) != JSON_KIND_LIST)
		return type == NULL || is_of_type(v, json_text(type));
	for (size_t i = 0; i < json_size(type); i++)
		if (is_of_type(v, json_text(json_item(type, i))))
			return true;
	return false;
}

static void put_enum(struct writer *w, const struct json_value *s, struct buf *out)
{
	const struct json_value *values = get(s, "enum");
	size_t n = 0;

	only(w, s, "type enum");
	if (json_kind_of(values) != JSON_KIND_LIST)
		refuse(w, "\"enum\" must be a list");
	for (size_t i = 0; w->err == 0 && i < json_size(values); i++) {
		if (!is_allowed(get(s, "type"), json_item(values, i)))
			continue;
		buf_addf(out, "%s", n++ > 0 ? " | " : "");
		add_value(out, json_item(values, i));
	}
	if (n == 0)
		refuse(w, "\"enum\" allows nothing");
}

static void put_const(struct writer *w, const struct json_value *s, struct buf *out)
{
	only(w, s, "type const");
	if (!is_allowed(get(s, "type"), get(s, "const")))
		refuse(w, "\"const\" is not of its \"type\"");
	add_value(out, get(s, "const"));
}

static void put_any_of(struct writer *w, const struct json_value *s, const char *word, struct buf *out)
{
	const struct json_value *all = get(s, word);
	size_t n_path;

	only(w, s, word);
	if (json_kind_of(all) != JSON_KIND_LIST || json_size(all) == 0)
		refuse(w, "\"%s\" must be a list of schemas", word);
	if (strcmp(word, "allOf") == 0 && json_size(all) > 1)
		refuse(w, "\"allOf\" is supported with one schema only");
	push_path(w, span_of(word));
	n_path = w->n_path;
	for (size_t i = 0; w->err == 0 && i < json_size(all); i++) {
		push_index(w, i);
		buf_addf(out, "%sr%u", i > 0 ? " | " : "", put_schema(w, json_item(all, i)));
		w->n_path = n_path;
	}
}

/* The type says which keywords mean something; with several types, those of each. */
static void put_type(struct writer *w, const struct json_value *s, struct span type, struct buf *out)
{
	if (span_is(type, "object"))
		put_object(w, s, out);
	else if (span_is(type, "array"))
		put_array(w, s, out);
	else if (span_is(type, "string"))
		put_string(w, s, out);
	else if (span_is(type, "integer"))
		put_integer(w, s, out);
	else if (span_is(type, "number"))
		put_number(w, s, out);
	else if (span_is(type, "boolean") || span_is(type, "null")) {
		only(w, s, "type");
		buf_add_span(out, type);
	} else
		refuse(w, "\"type\" must be object, array, string, number, integer, boolean or null");
}

/* Keywords that say something of one type say nothing of the others: only the plain ones are left. */
static void put_types(struct writer *w, const struct json_value *s, struct buf *out)
{
	const struct json_value *types = get(s, "type");
	size_t n_others = 0;

	for (size_t i = 0; i < json_size(types) && w->err == 0; i++) {
		struct span type = json_text(json_item(types, i));
		bool is_plain = span_is(type, "null") || span_is(type, "boolean");

		if (i > 0)
			buf_addf(out, " | ");
		if (is_plain) {
			buf_add_span(out, type);
			continue;
		}
		if (++n_others > 1)
			only(w, s, "type");
		buf_addf(out, "(");
		put_type(w, s, type, out);
		buf_addf(out, ")");
	}
	if (json_size(types) == 0)
		refuse(w, "\"type\" names no type");
}

/* ---- references ---- */

static struct place *place_of(struct writer *w, const struct json_value *schema)
{
	struct place *p = (struct place *)(void *)w->places.p;

	for (size_t i = 0; i < w->places.n / sizeof(*p); i++)
		if (p[i].schema == schema)
			return &p[i];
	return NULL;
}

/* One part of a pointer, without its escapes, in `room` of 256 bytes; false: it is too long. */
static bool pointer_part(struct span *pointer, char *room, struct span *ret)
{
	size_t n = 0, i = 1;

	for (; i < pointer->n && pointer->p[i] != '/'; i++) {
		char c = pointer->p[i];

		if (n == 255)
			return false;
		if (c == '~' && i + 1 < pointer->n && (pointer->p[i + 1] == '0' || pointer->p[i + 1] == '1'))
			c = pointer->p[++i] == '0' ? '~' : '/';
		room[n++] = c;
	}
	*ret = span_mem(room, n);
	*pointer = span_mem(pointer->p + i, pointer->n - i);
	return true;
}

static const struct json_value *find_target(const struct writer *w, struct span ref)
{
	const struct json_value *v = w->doc;
	char room[256];
	struct span part;

	if (ref.n == 0 || ref.p[0] != '#')
		return NULL;
	ref = span_mem(ref.p + 1, ref.n - 1);
	while (v != NULL && ref.n > 0) {
		if (ref.p[0] != '/' || !pointer_part(&ref, room, &part))
			return NULL;
		v = json_kind_of(v) == JSON_KIND_OBJECT ? json_member(v, part) : NULL;
	}
	return v;
}

static void put_ref(struct writer *w, const struct json_value *s, struct buf *out)
{
	struct span ref = json_text(get(s, "$ref"));
	const struct json_value *target = find_target(w, ref);
	struct place *place = place_of(w, target), fresh = { .schema = target, .level = w->level, .is_open = true };
	size_t at = w->places.n;

	only(w, s, "$ref");
	if (target == NULL)
		refuse(w, "\"$ref\" leads nowhere in this document: \"%.*s\"", SPAN_FMT(ref));
	else if (place != NULL && place->is_open && place->level == w->level)
		refuse(w, "\"$ref\" leads back to itself with nothing in between");
	if (w->err != 0)
		return;
	if (place != NULL) {
		buf_addf(out, "r%u", place->rule);
		return;
	}
	fresh.rule = new_rule(w);
	buf_add(&w->places, &fresh, sizeof(fresh));
	if (w->places.err == 0) {
		struct buf body = body_init();

		w->n_path = 0; /* faults are told by where they stand */
		push_text(w, span_mem(ref.p + 1, ref.n - 1));
		buf_addf(&body, "r%u", put_schema(w, target));
		set_rule(w, fresh.rule, &body);
		((struct place *)(void *)(w->places.p + at))->is_open = false;
	}
	buf_addf(out, "r%u", fresh.rule);
}

/* ---- any schema ---- */

static void put_body(struct writer *w, const struct json_value *s, struct buf *out)
{
	static const char *const lists[] = { "anyOf", "oneOf", "allOf" };
	const struct json_value *type = get(s, "type");

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (get(s, lists[i]) != NULL) {
			put_any_of(w, s, lists[i], out);
			return;
		}
	if (get(s, "$ref") != NULL)
		put_ref(w, s, out);
	else if (get(s, "const") != NULL)
		put_const(w, s, out);
	else if (get(s, "enum") != NULL)
		put_enum(w, s, out);
	else if (json_kind_of(type) == JSON_KIND_LIST)
		put_types(w, s, out);
	else if (type != NULL)
		put_type(w, s, json_text(type), out);
	else if (get(s, "properties") != NULL)
		put_object(w, s, out);
	else if (get(s, "items") != NULL)
		put_array(w, s, out);
	else {
		only(w, s, "");
		buf_addf(out, "value");
	}
}

/* A schema becomes a rule; returns which. */
static unsigned put_schema(struct writer *w, const struct json_value *schema)
{
	unsigned rule = new_rule(w);
	struct buf body = body_init();
	size_t n_path = w->n_path;

	if (++w->depth > SCHEMA_MAX_DEPTH)
		refuse(w, "schemas nest deeper than %d", SCHEMA_MAX_DEPTH);
	else if (json_truth(schema))
		buf_addf(&body, "value");
	else if (json_kind_of(schema) != JSON_KIND_OBJECT)
		refuse(w, "it is no schema, which is an object, or is one that allows nothing");
	else
		put_body(w, schema, &body);
	w->depth--;
	w->n_path = n_path;
	set_rule(w, rule, &body);
	return rule;
}

void schema_any_object(struct buf *out)
{
	buf_addf(out, "root ::= object\n%s", basics);
}

int schema_grammar(struct span schema, struct buf *out, struct buf *why)
{
	struct writer w = { .why = why, .rules = BUF_INIT(ROOM_MAX), .places = BUF_INIT(ROOM_MAX) };
	struct json_value *doc = NULL;
	unsigned root = 0;

	w.err = json_parse(schema, &doc);
	if (w.err != 0) {
		buf_addf(why, "the schema is not valid JSON: %s", err_text(w.err));
		return w.err;
	}
	w.doc = doc;
	root = put_schema(&w, doc);
	buf_addf(out, "root ::= r%u\n%s", root, basics);
	buf_add_span(out, buf_span(&w.rules));
	if (w.err == 0 && (out->err != 0 || w.rules.err != 0 || out->n > GRAMMAR_MAX)) {
		w.n_path = 0;
		refuse(&w, "its grammar grows over %zu KiB", GRAMMAR_MAX >> 10);
	}
	buf_fini(&w.rules);
	buf_fini(&w.places);
	json_value_free(doc);
	return w.err;
}
