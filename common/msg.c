#include "msg.h"

#include <assert.h>

#include "wire.h"

/* ---- members by offset; memcpy, because a const pointer member is set through void * ---- */

static const void *member(const void *m, size_t offset)
{
	return (const char *)m + offset;
}

static void *member_mut(void *m, size_t offset)
{
	return (char *)m + offset;
}

static struct span get_span(const void *m, const struct msg_field *f)
{
	struct span s;

	memcpy(&s, member(m, f->offset), sizeof(s));
	return s;
}

static uint64_t get_u64(const void *m, size_t offset)
{
	uint64_t v;

	memcpy(&v, member(m, offset), sizeof(v));
	return v;
}

static size_t get_size(const void *m, size_t offset)
{
	size_t v;

	memcpy(&v, member(m, offset), sizeof(v));
	return v;
}

static const void *get_ptr(const void *m, const struct msg_field *f)
{
	const void *p;

	memcpy(&p, member(m, f->offset), sizeof(p));
	return p;
}

static double get_real(const void *m, const struct msg_field *f)
{
	double v;

	memcpy(&v, member(m, f->offset), sizeof(v));
	return v;
}

static unsigned get_enum(const void *m, const struct msg_field *f)
{
	unsigned v;

	memcpy(&v, member(m, f->offset), sizeof(v));
	return v;
}

static bool get_bool(const void *m, const struct msg_field *f)
{
	bool v;

	memcpy(&v, member(m, f->offset), sizeof(v));
	return v;
}

static bool is_list(const struct msg_field *f)
{
	return f->kind == MSG_UINTS || f->kind == MSG_TEXTS || f->kind == MSG_SUBS || f->kind == MSG_WEIGHTS;
}

size_t msg_item_size(const struct msg_field *f)
{
	switch (f->kind) {
	case MSG_UINTS: return sizeof(uint32_t);
	case MSG_TEXTS: return sizeof(struct span);
	case MSG_WEIGHTS: return sizeof(struct msg_weight);
	default: return f->sub->size;
	}
}

static bool has_content(const struct msg_field *f, const void *m);

static bool sub_has_content(const struct msg_type *t, const void *m)
{
	for (size_t i = 0; i < t->n_fields; i++)
		if (has_content(&t->fields[i], m))
			return true;
	return false;
}

static bool has_content(const struct msg_field *f, const void *m)
{
	if (f->kind == MSG_NULL)
		return false;
	if (msg_has(m, f->key))
		return true;
	if (is_list(f))
		return get_size(m, f->n_offset) > 0;
	switch (f->kind) {
	case MSG_UINT:
	case MSG_INT: return get_u64(m, f->offset) != 0;
	case MSG_REAL: return get_real(m, f) != 0;
	case MSG_BOOL: return get_bool(m, f);
	case MSG_ENUM: return get_enum(m, f) != 0;
	case MSG_TEXT:
	case MSG_JSON:
	case MSG_FLOATS:
	case MSG_BYTES: return get_span(m, f).n > 0;
	case MSG_SUB: return sub_has_content(f->sub, member(m, f->offset));
	default: return false;
	}
}

bool msg_field_present(const struct msg_field *f, const void *m)
{
	return (f->flags & MSG_REQ) != 0 || f->kind == MSG_NULL || has_content(f, m);
}

/* ---- encoding ---- */

static void put_msg(const struct msg_type *t, const void *m, enum msg_keys keys, struct buf *out);

static void put_weights(const struct msg_field *f, const void *m, enum msg_keys keys, struct buf *out)
{
	size_t n = get_size(m, f->n_offset);
	const struct msg_weight *w = get_ptr(m, f);

	wire_put_map(out, n);
	for (size_t i = 0; i < n; i++) {
		char text[16];
		struct buf key = { .p = (uint8_t *)text, .cap = sizeof(text), .max = sizeof(text) };

		buf_addf(&key, "%u", w[i].id);
		if (keys == MSG_KEYS_TEXT)
			wire_put_text(out, buf_span(&key));
		else
			wire_put_uint(out, w[i].id);
		wire_put_real(out, w[i].value);
	}
}

static void put_list(const struct msg_field *f, const void *m, enum msg_keys keys, struct buf *out)
{
	size_t n = get_size(m, f->n_offset);
	const char *p = get_ptr(m, f);

	wire_put_array(out, n);
	for (size_t i = 0; i < n; i++) {
		if (f->kind == MSG_UINTS)
			wire_put_uint(out, ((const uint32_t *)(const void *)p)[i]);
		else if (f->kind == MSG_TEXTS)
			wire_put_text(out, ((const struct span *)(const void *)p)[i]);
		else
			put_msg(f->sub, p + i * f->sub->size, keys, out);
	}
}

static void put_field(const struct msg_field *f, const void *m, enum msg_keys keys, struct buf *out)
{
	switch (f->kind) {
	case MSG_UINT: wire_put_uint(out, get_u64(m, f->offset)); break;
	case MSG_INT: wire_put_int(out, (int64_t)get_u64(m, f->offset)); break;
	case MSG_REAL: wire_put_real(out, get_real(m, f)); break;
	case MSG_BOOL: wire_put_bool(out, get_bool(m, f)); break;
	case MSG_ENUM:
		assert(get_enum(m, f) < f->max);
		if (keys == MSG_KEYS_TEXT)
			wire_put_text(out, span_of(f->names[get_enum(m, f)]));
		else
			wire_put_uint(out, get_enum(m, f));
		break;
	case MSG_TEXT:
	case MSG_JSON: wire_put_text(out, get_span(m, f)); break;
	case MSG_WEIGHTS: put_weights(f, m, keys, out); break;
	case MSG_FLOATS:
	case MSG_BYTES: wire_put_bytes(out, get_span(m, f)); break;
	case MSG_SUB: put_msg(f->sub, member(m, f->offset), keys, out); break;
	case MSG_NULL: wire_put_null(out); break;
	default: put_list(f, m, keys, out); break;
	}
}

static bool is_written(const struct msg_field *f, const void *m, enum msg_keys keys)
{
	return msg_field_present(f, m) && (f->kind != MSG_NULL || keys == MSG_KEYS_TEXT);
}

static void put_msg(const struct msg_type *t, const void *m, enum msg_keys keys, struct buf *out)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_fields; i++)
		n += is_written(&t->fields[i], m, keys);
	wire_put_map(out, n);
	for (size_t i = 0; i < t->n_fields; i++) {
		const struct msg_field *f = &t->fields[i];

		if (!is_written(f, m, keys))
			continue;
		if (keys == MSG_KEYS_TEXT)
			wire_put_text(out, span_of(f->name));
		else
			wire_put_uint(out, f->key);
		put_field(f, m, keys, out);
	}
}

int msg_encode(const struct msg_type *t, const void *m, enum msg_keys keys, struct buf *out)
{
	put_msg(t, m, keys, out);
	return out->err;
}

/* ---- decoding ---- */

struct decoder {
	struct wire_in in;
	enum msg_keys keys;
	struct arena *arena;
	const char *field; /* the last one begun: named when it fails */
};

static void get_msg(struct decoder *d, const struct msg_type *t, void *m, unsigned depth);

static void *list_room(struct decoder *d, size_t n, size_t size)
{
	void *p = n > 0 ? arena_alloc(d->arena, n, size) : NULL;

	if (n > 0 && p == NULL)
		wire_fail(&d->in, ERR_TOOBIG);
	return p;
}

bool msg_weight_key(struct span text, uint32_t *ret)
{
	uint64_t v = 0;

	if (text.n == 0 || text.n > 10 || (text.n > 1 && text.p[0] == '0'))
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(text.p[i] - '0');
	}
	*ret = (uint32_t)v;
	return v <= UINT32_MAX;
}

/* One pair; a number that stands twice is refused, as a key of any map is. */
static void get_weight(struct decoder *d, struct msg_weight *all, size_t i)
{
	if (d->keys == MSG_KEYS_INT)
		all[i].id = (uint32_t)wire_get_uint(&d->in, UINT32_MAX);
	else if (!msg_weight_key(wire_get_text(&d->in, MSG_TEXT_ITEM_MAX), &all[i].id))
		wire_fail(&d->in, ERR_RANGE);
	all[i].value = wire_get_real(&d->in);
	for (size_t k = 0; k < i && d->in.err == 0; k++)
		if (all[k].id == all[i].id)
			wire_fail(&d->in, ERR_DUPLICATE);
}

static void get_weights(struct decoder *d, const struct msg_field *f, void *m)
{
	size_t n = wire_get_map(&d->in, (size_t)f->max);
	struct msg_weight *items = list_room(d, n, sizeof(*items));

	for (size_t i = 0; i < n && d->in.err == 0; i++)
		get_weight(d, items, i);
	memcpy(member_mut(m, f->offset), &items, sizeof(items));
	memcpy(member_mut(m, f->n_offset), &n, sizeof(n));
}

static void get_list(struct decoder *d, const struct msg_field *f, void *m, unsigned depth)
{
	bool is_one = d->keys == MSG_KEYS_TEXT && (f->flags & MSG_OR_ONE) != 0 && wire_peek(&d->in) == WIRE_TEXT;
	size_t n = is_one ? 1 : wire_get_array(&d->in, (size_t)f->max);
	char *items = list_room(d, n, msg_item_size(f));

	for (size_t i = 0; i < n && d->in.err == 0; i++) {
		if (f->kind == MSG_UINTS)
			((uint32_t *)(void *)items)[i] = (uint32_t)wire_get_uint(&d->in, UINT32_MAX);
		else if (f->kind == MSG_TEXTS)
			((struct span *)(void *)items)[i] = wire_get_text(&d->in, MSG_TEXT_ITEM_MAX);
		else
			get_msg(d, f->sub, items + i * f->sub->size, depth + 1);
	}
	memcpy(member_mut(m, f->offset), &items, sizeof(items));
	memcpy(member_mut(m, f->n_offset), &n, sizeof(n));
}

static unsigned get_name(struct decoder *d, const struct msg_field *f)
{
	struct span s;

	if (d->keys == MSG_KEYS_INT)
		return (unsigned)wire_get_uint(&d->in, f->max - 1);
	s = wire_get_text(&d->in, MSG_TEXT_ITEM_MAX);
	for (unsigned i = 0; i < f->max; i++)
		if (span_is(s, f->names[i]))
			return i;
	wire_fail(&d->in, ERR_RANGE);
	return 0;
}

/* One {"type": "text", "text": …} of a content given in parts. */
struct part {
	uint64_t has;
	struct span type, text;
};

static const struct msg_field part_fields[] = {
	MSG_F_TEXT(struct part, type, 1, MSG_REQ, 16),
	MSG_F_TEXT(struct part, text, 2, MSG_REQ, MSG_TEXT_ITEM_MAX),
};
static const struct msg_type part_type = MSG_TYPE("part", struct part, part_fields);

static struct span get_parts(struct decoder *d, const struct msg_field *f, unsigned depth)
{
	size_t n = wire_get_array(&d->in, 256), total = 0;
	struct part *parts = list_room(d, n, sizeof(*parts));
	char *text;

	for (size_t i = 0; i < n && d->in.err == 0; i++) {
		get_msg(d, &part_type, &parts[i], depth + 1);
		if (d->in.err == 0 && !span_is(parts[i].type, "text"))
			wire_fail(&d->in, ERR_RANGE);
		total += parts[i].text.n;
	}
	if (d->in.err == 0 && total > f->max)
		wire_fail(&d->in, ERR_TOOBIG);
	if (d->in.err != 0 || (text = list_room(d, total, 1)) == NULL)
		return SPAN_NONE;
	total = 0;
	for (size_t i = 0; i < n; total += parts[i++].text.n)
		memcpy(text + total, parts[i].text.p, parts[i].text.n);
	return span_mem(text, total);
}

static struct span get_text(struct decoder *d, const struct msg_field *f, unsigned depth)
{
	if (d->keys == MSG_KEYS_TEXT && (f->flags & MSG_OR_PARTS) != 0 && wire_peek(&d->in) == WIRE_ARRAY)
		return get_parts(d, f, depth);
	return wire_get_text(&d->in, (size_t)f->max);
}

#define SET(T, expr)                                                                                                        \
	do {                                                                                                                \
		T v_ = (expr);                                                                                              \
		memcpy(member_mut(m, f->offset), &v_, sizeof(v_));                                                          \
	} while (0)

static void get_field(struct decoder *d, const struct msg_field *f, void *m, unsigned depth)
{
	switch (f->kind) {
	case MSG_UINT: SET(uint64_t, wire_get_uint(&d->in, f->max)); break;
	case MSG_INT: SET(int64_t, wire_get_int(&d->in)); break;
	case MSG_REAL: SET(double, wire_get_real(&d->in)); break;
	case MSG_BOOL: SET(bool, wire_get_bool(&d->in)); break;
	case MSG_ENUM: SET(unsigned, get_name(d, f)); break;
	case MSG_TEXT: SET(struct span, get_text(d, f, depth)); break;
	case MSG_JSON: SET(struct span, wire_get_text(&d->in, (size_t)f->max)); break;
	case MSG_WEIGHTS: get_weights(d, f, m); break;
	case MSG_FLOATS:
	case MSG_BYTES: SET(struct span, wire_get_bytes(&d->in, (size_t)f->max)); break;
	case MSG_SUB: get_msg(d, f->sub, member_mut(m, f->offset), depth + 1); break;
	case MSG_NULL: wire_skip(&d->in, depth + 1); break;
	default: get_list(d, f, m, depth + 1); break;
	}
}

static const struct msg_field *get_key(struct decoder *d, const struct msg_type *t)
{
	uint64_t key = 0;
	struct span name = SPAN_NONE;

	if (d->keys == MSG_KEYS_INT)
		key = wire_get_uint(&d->in, UINT64_MAX);
	else
		name = wire_get_text(&d->in, MSG_TEXT_ITEM_MAX);
	for (size_t i = 0; i < t->n_fields && d->in.err == 0; i++) {
		const struct msg_field *f = &t->fields[i];

		if (d->keys == MSG_KEYS_INT ? f->key == key && f->kind != MSG_NULL : span_is(name, f->name))
			return f;
	}
	return NULL;
}

/* Reads the value of a known field, once; null in a document means "not there". */
static void get_known(struct decoder *d, const struct msg_field *f, void *m, uint64_t *seen, unsigned depth)
{
	uint64_t bit = (uint64_t)1 << f->key;

	d->field = f->name;
	if ((*seen & bit) != 0) {
		wire_fail(&d->in, ERR_DUPLICATE);
		return;
	}
	*seen |= bit;
	if (d->keys == MSG_KEYS_TEXT && wire_peek(&d->in) == WIRE_NULL) {
		wire_get_null(&d->in);
		return;
	}
	get_field(d, f, m, depth);
	if (d->in.err == 0)
		msg_set(m, f->key);
}

static void get_msg(struct decoder *d, const struct msg_type *t, void *m, unsigned depth)
{
	uint64_t seen = 0;
	size_t n;

	if (depth > WIRE_MAX_DEPTH) {
		wire_fail(&d->in, ERR_DEPTH);
		return;
	}
	n = wire_get_map(&d->in, SIZE_MAX);
	for (size_t i = 0; i < n && d->in.err == 0; i++) {
		const struct msg_field *f = get_key(d, t);

		if (f != NULL)
			get_known(d, f, m, &seen, depth);
		else
			wire_skip(&d->in, depth + 1);
	}
	for (size_t i = 0; i < t->n_fields && d->in.err == 0; i++) {
		if ((t->fields[i].flags & MSG_REQ) == 0 || msg_has(m, t->fields[i].key))
			continue;
		d->field = t->fields[i].name;
		wire_fail(&d->in, ERR_MISSING);
	}
}

int msg_decode(const struct msg_type *t, struct span bytes, enum msg_keys keys, struct arena *arena, void *ret,
	const char **ret_field)
{
	struct decoder d = { .in = wire_in(bytes), .keys = keys, .arena = arena };
	void *m = arena_alloc(arena, 1, t->size); /* *ret stays as it was when this fails */
	int rc;

	if (ret_field != NULL)
		*ret_field = NULL;
	if (m == NULL)
		return ERR_TOOBIG;
	get_msg(&d, t, m, 1);
	rc = wire_done(&d.in);
	if (rc == 0)
		memcpy(ret, m, t->size);
	else if (ret_field != NULL && rc != ERR_TRAILING)
		*ret_field = d.field;
	return rc;
}
