#include "json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DEPTH_MAX 16 /* of tables; jansson itself bounds what it parses at 2048 */

struct reader {
	struct arena *arena;
	const char *field; /* the last one begun: named when it fails */
};

static int read_msg(struct reader *r, const struct msg_type *t, const json_t *doc, void *m, unsigned depth);

/* ---- reading ---- */

#define SET(T, expr)                                                                                                        \
	do {                                                                                                                \
		T v_ = (expr);                                                                                              \
		memcpy((char *)m + f->offset, &v_, sizeof(v_));                                                             \
	} while (0)

static void *room(struct reader *r, size_t count, size_t size)
{
	return arena_alloc(r->arena, count, size);
}

/* jansson keeps integers in 63 bits and a sign; beyond them parsing has failed already. */
static int read_uint(const json_t *v, uint64_t max, uint64_t *ret)
{
	double real = json_number_value(v);

	if (!json_is_number(v))
		return ERR_TYPE;
	if (json_is_real(v) && (real < 0 || real > 0x1p53 || real != floor(real)))
		return ERR_RANGE;
	if (json_is_integer(v) && json_integer_value(v) < 0)
		return ERR_RANGE;
	*ret = json_is_integer(v) ? (uint64_t)json_integer_value(v) : (uint64_t)real; /* 1e3 is an integer, too */
	return *ret <= max ? 0 : ERR_RANGE;
}

static int copy_text(struct reader *r, const json_t *v, uint64_t max, struct span *ret)
{
	size_t n = json_string_length(v);
	char *p;

	if (!json_is_string(v))
		return ERR_TYPE;
	if (n > max)
		return ERR_TOOBIG;
	p = room(r, n, 1);
	if (p == NULL)
		return ERR_TOOBIG;
	memcpy(p, json_string_value(v), n);
	*ret = span_mem(p, n);
	return 0;
}

static int join_parts(struct reader *r, const json_t *v, uint64_t max, struct span *ret)
{
	size_t total = 0, i, n = json_array_size(v);
	char *p;

	for (i = 0; i < n; i++) {
		const json_t *part = json_array_get(v, i), *type = json_object_get(part, "type"),
			     *text = json_object_get(part, "text");

		if (!json_is_string(type) || !json_is_string(text))
			return ERR_TYPE;
		if (strcmp(json_string_value(type), "text") != 0)
			return ERR_RANGE;
		total += json_string_length(text);
	}
	if (total > max || (p = room(r, total, 1)) == NULL)
		return ERR_TOOBIG;
	*ret = span_mem(p, total);
	for (i = 0; i < n; i++) {
		const json_t *text = json_object_get(json_array_get(v, i), "text");

		memcpy(p, json_string_value(text), json_string_length(text));
		p += json_string_length(text);
	}
	return 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_hex(struct reader *r, const json_t *v, uint64_t max, struct span *ret)
{
	const char *s = json_string_value(v);
	size_t n = json_string_length(v) / 2;
	char *p;

	if (!json_is_string(v))
		return ERR_TYPE;
	if (json_string_length(v) % 2 != 0)
		return ERR_RANGE;
	if (n > max || (p = room(r, n, 1)) == NULL)
		return ERR_TOOBIG;
	for (size_t i = 0; i < n; i++) {
		int high = hex_digit(s[2 * i]), low = hex_digit(s[2 * i + 1]);

		if (high < 0 || low < 0)
			return ERR_RANGE;
		p[i] = (char)(high << 4 | low);
	}
	*ret = span_mem(p, n);
	return 0;
}

static int read_floats(struct reader *r, const json_t *v, uint64_t max, struct span *ret)
{
	size_t n = json_array_size(v);
	float *p;

	if (!json_is_array(v))
		return ERR_TYPE;
	if (n * sizeof(*p) > max || (p = room(r, n, sizeof(*p))) == NULL)
		return ERR_TOOBIG;
	for (size_t i = 0; i < n; i++) {
		if (!json_is_number(json_array_get(v, i)))
			return ERR_TYPE;
		p[i] = (float)json_number_value(json_array_get(v, i));
	}
	*ret = span_mem(p, n * sizeof(*p));
	return 0;
}

static int read_enum(const struct msg_field *f, const json_t *v, void *m)
{
	if (!json_is_string(v))
		return ERR_TYPE;
	for (unsigned i = 0; i < f->max; i++) {
		if (strcmp(json_string_value(v), f->names[i]) != 0)
			continue;
		SET(unsigned, i);
		return 0;
	}
	return ERR_RANGE;
}

static int read_item(struct reader *r, const struct msg_field *f, const json_t *v, char *items, size_t i, unsigned depth)
{
	uint64_t u = 0;
	int rc;

	if (f->kind == MSG_TEXTS)
		return copy_text(r, v, MSG_TEXT_ITEM_MAX, &((struct span *)(void *)items)[i]);
	if (f->kind == MSG_SUBS)
		return read_msg(r, f->sub, v, items + i * f->sub->size, depth);
	rc = read_uint(v, UINT32_MAX, &u);
	((uint32_t *)(void *)items)[i] = (uint32_t)u;
	return rc;
}

/* Keys stand once each: jansson has refused others. */
static int read_weights(struct reader *r, const struct msg_field *f, const json_t *v, void *m)
{
	size_t n = json_object_size(v), i = 0;
	struct msg_weight *items;
	const json_t *value;
	const char *key;

	if (!json_is_object(v))
		return ERR_TYPE;
	if (n > f->max || (items = room(r, n, sizeof(*items))) == NULL)
		return ERR_TOOBIG;
	json_object_foreach((json_t *)(uintptr_t)v, key, value)
	{
		if (!msg_weight_key(span_of(key), &items[i].id))
			return ERR_RANGE;
		if (!json_is_number(value))
			return ERR_TYPE;
		items[i++].value = json_number_value(value);
	}
	SET(const void *, items);
	memcpy((char *)m + f->n_offset, &n, sizeof(n));
	return 0;
}

/* The value's own text again, compact, members in the order they had. */
static int copy_json(struct reader *r, const json_t *v, uint64_t max, struct span *ret)
{
	size_t n = json_dumpb(v, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
	char *p;

	if (n == 0)
		return ERR_NOMEM;
	if (n > max || (p = room(r, n, 1)) == NULL)
		return ERR_TOOBIG;
	if (json_dumpb(v, p, n, JSON_COMPACT | JSON_ENCODE_ANY) != n)
		return ERR_NOMEM;
	*ret = span_mem(p, n);
	return 0;
}

static int read_list(struct reader *r, const struct msg_field *f, const json_t *v, void *m, unsigned depth)
{
	bool is_one = (f->flags & MSG_OR_ONE) != 0 && json_is_string(v);
	size_t n = is_one ? 1 : json_array_size(v);
	char *items;

	if (!is_one && !json_is_array(v))
		return ERR_TYPE;
	if (n > f->max || (items = room(r, n, msg_item_size(f))) == NULL)
		return ERR_TOOBIG;
	for (size_t i = 0; i < n; i++) {
		int rc = read_item(r, f, is_one ? v : json_array_get(v, i), items, i, depth);

		if (rc < 0)
			return rc;
	}
	SET(const void *, items);
	memcpy((char *)m + f->n_offset, &n, sizeof(n));
	return 0;
}

static int read_value(struct reader *r, const struct msg_field *f, const json_t *v, void *m, unsigned depth)
{
	struct span s = SPAN_NONE;
	uint64_t u = 0;
	int rc = 0;

	switch (f->kind) {
	case MSG_UINT:
		rc = read_uint(v, f->max, &u);
		SET(uint64_t, u);
		return rc;
	case MSG_INT:
		if (!json_is_integer(v))
			return ERR_TYPE;
		SET(int64_t, json_integer_value(v));
		return 0;
	case MSG_REAL:
		if (!json_is_number(v))
			return ERR_TYPE;
		SET(double, json_number_value(v));
		return 0;
	case MSG_BOOL:
		if (!json_is_boolean(v))
			return ERR_TYPE;
		SET(bool, json_is_true(v));
		return 0;
	case MSG_ENUM: return read_enum(f, v, m);
	case MSG_TEXT:
		rc = (f->flags & MSG_OR_PARTS) != 0 && json_is_array(v) ? join_parts(r, v, f->max, &s)
									: copy_text(r, v, f->max, &s);
		SET(struct span, s);
		return rc;
	case MSG_BYTES:
		rc = read_hex(r, v, f->max, &s);
		SET(struct span, s);
		return rc;
	case MSG_FLOATS:
		rc = read_floats(r, v, f->max, &s);
		SET(struct span, s);
		return rc;
	case MSG_SUB: return read_msg(r, f->sub, v, (char *)m + f->offset, depth);
	case MSG_NULL: return 0;
	case MSG_WEIGHTS: return read_weights(r, f, v, m);
	case MSG_JSON:
		rc = copy_json(r, v, f->max, &s);
		SET(struct span, s);
		return rc;
	default: return read_list(r, f, v, m, depth);
	}
}

static int read_msg(struct reader *r, const struct msg_type *t, const json_t *doc, void *m, unsigned depth)
{
	if (!json_is_object(doc))
		return ERR_TYPE;
	if (depth > DEPTH_MAX)
		return ERR_DEPTH;
	for (size_t i = 0; i < t->n_fields; i++) {
		const struct msg_field *f = &t->fields[i];
		const json_t *v = json_object_get(doc, f->name);
		bool is_there = v != NULL && !json_is_null(v);
		int rc;

		if (!is_there && (f->flags & MSG_REQ) == 0)
			continue;
		r->field = f->name;
		rc = is_there ? read_value(r, f, v, m, depth + 1) : ERR_MISSING;
		if (rc < 0)
			return rc;
		if (f->kind != MSG_NULL)
			msg_set(m, f->key);
	}
	return 0;
}

static int parse_error(const json_error_t *e)
{
	switch (json_error_code(e)) {
	case json_error_duplicate_key: return ERR_DUPLICATE;
	case json_error_invalid_utf8: return ERR_UTF8;
	case json_error_end_of_input_expected: return ERR_TRAILING;
	case json_error_numeric_overflow: return ERR_RANGE;
	case json_error_stack_overflow: return ERR_DEPTH;
	case json_error_out_of_memory: return ERR_NOMEM;
	default: return ERR_MALFORMED;
	}
}

int json_decode(const struct msg_type *t, struct span text, struct arena *arena, void *ret, const char **ret_field)
{
	struct reader r = { .arena = arena };
	void *m = arena_alloc(arena, 1, t->size); /* *ret stays as it was when this fails */
	json_error_t error;
	json_t *doc;
	int rc;

	if (ret_field != NULL)
		*ret_field = NULL;
	if (m == NULL)
		return ERR_TOOBIG;
	doc = json_loadb(text.n > 0 ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &error);
	if (doc == NULL)
		return parse_error(&error);
	rc = read_msg(&r, t, doc, m, 1);
	json_decref(doc);
	if (rc == 0)
		memcpy(ret, m, t->size);
	else if (ret_field != NULL)
		*ret_field = r.field;
	return rc;
}

/* ---- writing ---- */

static void put_msg(const struct msg_type *t, const void *m, struct buf *out);

void json_add_string(struct buf *out, struct span s)
{
	static const char escaped[] = "\b\t\n\f\r\"\\", names[] = "btnfr\"\\";

	buf_add(out, "\"", 1);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		const char *at = c != '\0' ? strchr(escaped, c) : NULL;

		if (at != NULL)
			buf_addf(out, "\\%c", names[at - escaped]);
		else if (c < 0x20 || c == 0x7f)
			buf_addf(out, "\\u%04x", c);
		else
			buf_add(out, &s.p[i], 1);
	}
	buf_add(out, "\"", 1);
}

/* The fewest digits that read back as the same number; what JSON cannot say is "not there". */
void json_add_real(struct buf *out, double v)
{
	if (!isfinite(v)) {
		buf_addf(out, "null");
		return;
	}
	if (fabs(v) < 1e15 && v == floor(v)) {
		buf_addf(out, "%.0f", v); /* 20, not 2e+01 */
		return;
	}
	for (int digits = 1; digits <= 17 && out->err == 0; digits++) {
		char text[32];

		(void)snprintf(text, sizeof(text), "%.*g", digits, v);
		if (digits < 17 && strtod(text, NULL) != v)
			continue;
		buf_add(out, text, strlen(text));
		break;
	}
}

static void put_hex(struct buf *out, struct span s)
{
	buf_add(out, "\"", 1);
	for (size_t i = 0; i < s.n; i++)
		buf_addf(out, "%02x", (unsigned char)s.p[i]);
	buf_add(out, "\"", 1);
}

#define GET(T, name)                                                                                                        \
	T name;                                                                                                             \
	memcpy(&name, (const char *)m + f->offset, sizeof(name))

/* The fewest digits that read back as the same. */
static void put_floats(struct buf *out, struct span s)
{
	buf_add(out, "[", 1);
	for (size_t i = 0; i < s.n / sizeof(float); i++) {
		char text[32];
		float v;

		memcpy(&v, s.p + i * sizeof(v), sizeof(v));
		if (!isfinite(v))
			v = 0; /* JSON cannot say it */
		for (int digits = 6; digits <= 9; digits++) {
			(void)snprintf(text, sizeof(text), "%.*g", digits, (double)v);
			if (strtof(text, NULL) == v)
				break;
		}
		buf_addf(out, "%s%s", i > 0 ? "," : "", text);
	}
	buf_add(out, "]", 1);
}

static void put_weights(const struct msg_field *f, const void *m, struct buf *out)
{
	GET(const struct msg_weight *, items);
	size_t n;

	memcpy(&n, (const char *)m + f->n_offset, sizeof(n));
	buf_add(out, "{", 1);
	for (size_t i = 0; i < n; i++) {
		buf_addf(out, "%s\"%u\":", i > 0 ? "," : "", items[i].id);
		json_add_real(out, items[i].value);
	}
	buf_add(out, "}", 1);
}

static void put_list(const struct msg_field *f, const void *m, struct buf *out)
{
	GET(const char *, items);
	size_t n;

	memcpy(&n, (const char *)m + f->n_offset, sizeof(n));
	buf_add(out, "[", 1);
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add(out, ",", 1);
		if (f->kind == MSG_UINTS)
			buf_addf(out, "%u", ((const uint32_t *)(const void *)items)[i]);
		else if (f->kind == MSG_TEXTS)
			json_add_string(out, ((const struct span *)(const void *)items)[i]);
		else
			put_msg(f->sub, items + i * f->sub->size, out);
	}
	buf_add(out, "]", 1);
}

static void put_value(const struct msg_field *f, const void *m, struct buf *out)
{
	switch (f->kind) {
	case MSG_UINT: {
		GET(uint64_t, v);
		buf_addf(out, "%llu", (unsigned long long)v);
		break;
	}
	case MSG_INT: {
		GET(int64_t, v);
		buf_addf(out, "%lld", (long long)v);
		break;
	}
	case MSG_REAL: {
		GET(double, v);
		json_add_real(out, v);
		break;
	}
	case MSG_BOOL: {
		GET(bool, v);
		buf_addf(out, "%s", v ? "true" : "false");
		break;
	}
	case MSG_ENUM: {
		GET(unsigned, v);
		json_add_string(out, span_of(f->names[v]));
		break;
	}
	case MSG_TEXT: {
		GET(struct span, v);
		json_add_string(out, v);
		break;
	}
	case MSG_BYTES: {
		GET(struct span, v);
		put_hex(out, v);
		break;
	}
	case MSG_FLOATS: {
		GET(struct span, v);
		put_floats(out, v);
		break;
	}
	case MSG_JSON: {
		GET(struct span, v);
		buf_add_span(out, v.n > 0 ? v : SPAN("null"));
		break;
	}
	case MSG_WEIGHTS: put_weights(f, m, out); break;
	case MSG_SUB: put_msg(f->sub, (const char *)m + f->offset, out); break;
	case MSG_NULL: buf_addf(out, "null"); break;
	default: put_list(f, m, out); break;
	}
}

static void put_msg(const struct msg_type *t, const void *m, struct buf *out)
{
	bool is_first = true;

	buf_add(out, "{", 1);
	for (size_t i = 0; i < t->n_fields; i++) {
		if (!msg_field_present(&t->fields[i], m))
			continue;
		if (!is_first)
			buf_add(out, ",", 1);
		is_first = false;
		json_add_string(out, span_of(t->fields[i].name));
		buf_add(out, ":", 1);
		put_value(&t->fields[i], m, out);
	}
	buf_add(out, "}", 1);
}

int json_encode(const struct msg_type *t, const void *m, struct buf *out)
{
	put_msg(t, m, out);
	return out->err;
}

/* ---- documents no table describes ---- */

static json_t *tree(const struct json_value *v)
{
	return (json_t *)(uintptr_t)v;
}

static const struct json_value *value(const json_t *v)
{
	return (const struct json_value *)(const void *)v;
}

int json_parse(struct span text, struct json_value **ret)
{
	json_error_t error;
	json_t *doc = json_loadb(text.n > 0 ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

	if (doc == NULL)
		return parse_error(&error);
	*ret = (struct json_value *)(void *)doc;
	return 0;
}

void json_value_free(struct json_value *v)
{
	json_decref(tree(v));
}

enum json_kind json_kind_of(const struct json_value *v)
{
	if (v == NULL)
		return JSON_KIND_NONE;
	switch (json_typeof(tree(v))) {
	case JSON_OBJECT: return JSON_KIND_OBJECT;
	case JSON_ARRAY: return JSON_KIND_LIST;
	case JSON_STRING: return JSON_KIND_TEXT;
	case JSON_INTEGER: return JSON_KIND_INTEGER;
	case JSON_REAL: return JSON_KIND_REAL;
	case JSON_NULL: return JSON_KIND_NULL;
	default: return JSON_KIND_BOOL;
	}
}

const struct json_value *json_member(const struct json_value *object, struct span name)
{
	struct span key;
	const struct json_value *found;

	for (void *iter = NULL; json_next(object, &iter, &key, &found);)
		if (span_eq(key, name))
			return found;
	return NULL;
}

size_t json_size(const struct json_value *v)
{
	return json_is_array(tree(v)) ? json_array_size(tree(v)) : json_object_size(tree(v));
}

const struct json_value *json_item(const struct json_value *list, size_t i)
{
	return value(json_array_get(tree(list), i));
}

bool json_next(const struct json_value *object, void **iter, struct span *ret_name, const struct json_value **ret)
{
	*iter = *iter == NULL ? json_object_iter(tree(object)) : json_object_iter_next(tree(object), *iter);
	if (*iter == NULL)
		return false;
	*ret_name = span_of(json_object_iter_key(*iter));
	*ret = value(json_object_iter_value(*iter));
	return true;
}

struct span json_text(const struct json_value *v)
{
	return span_mem(json_string_value(tree(v)), json_string_length(tree(v)));
}

double json_number(const struct json_value *v)
{
	return json_number_value(tree(v));
}

bool json_truth(const struct json_value *v)
{
	return json_is_true(tree(v));
}

void json_add_value(struct buf *out, const struct json_value *v)
{
	size_t n = json_dumpb(tree(v), NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
	char *at = buf_reserve(out, n);

	if (at != NULL && n > 0)
		out->n += json_dumpb(tree(v), at, n, JSON_COMPACT | JSON_ENCODE_ANY);
}
