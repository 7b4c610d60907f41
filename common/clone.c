#include "clone.h"

/* Members by offset; memcpy, because their types differ. */

static struct span get_span(const void *m, size_t offset)
{
	struct span s;

	memcpy(&s, (const char *)m + offset, sizeof(s));
	return s;
}

static void set_span(void *m, size_t offset, struct span s)
{
	memcpy((char *)m + offset, &s, sizeof(s));
}

static size_t get_size(const void *m, size_t offset)
{
	size_t n;

	memcpy(&n, (const char *)m + offset, sizeof(n));
	return n;
}

static const void *get_ptr(const void *m, size_t offset)
{
	const void *p;

	memcpy(&p, (const char *)m + offset, sizeof(p));
	return p;
}

/* Numbers of the kinds, by their bytes; a real is 0 or not by its value. */
static bool is_number_set(const struct msg_field *f, const void *m)
{
	const char *at = (const char *)m + f->offset;
	uint64_t n = 0;
	double real;

	if (f->kind == MSG_REAL) {
		memcpy(&real, at, sizeof(real));
		return real != 0;
	}
	memcpy(&n, at, f->kind == MSG_BOOL ? sizeof(bool) : f->kind == MSG_ENUM ? sizeof(unsigned) : sizeof(n));
	return n != 0;
}

static size_t rounded(size_t n)
{
	return (n + 15) & ~(size_t)15;
}

/* ---- how much ---- */

static size_t beside(const struct msg_type *t, const void *m);

static size_t list_size(const struct msg_field *f, const void *m)
{
	size_t n = get_size(m, f->n_offset), size = msg_item_size(f), sum = rounded(n * size);
	const char *items = get_ptr(m, f->offset);

	for (size_t i = 0; i < n && f->kind == MSG_TEXTS; i++)
		sum += rounded(get_span(items + i * size, 0).n);
	for (size_t i = 0; i < n && f->kind == MSG_SUBS; i++)
		sum += beside(f->sub, items + i * size);
	return sum;
}

/* Of what m points at. */
static size_t beside(const struct msg_type *t, const void *m)
{
	size_t sum = 0;

	for (const struct msg_field *f = t->fields; f < t->fields + t->n_fields; f++)
		switch (f->kind) {
		case MSG_TEXT:
		case MSG_JSON:
		case MSG_FLOATS:
		case MSG_BYTES: sum += rounded(get_span(m, f->offset).n); break;
		case MSG_SUB: sum += beside(f->sub, (const char *)m + f->offset); break;
		case MSG_UINTS:
		case MSG_TEXTS:
		case MSG_WEIGHTS:
		case MSG_SUBS: sum += get_size(m, f->n_offset) > 0 ? list_size(f, m) : 0; break;
		default: break;
		}
	return sum;
}

size_t msg_clone_size(const struct msg_type *t, const void *m)
{
	return rounded(t->size) + beside(t, m);
}

/* ---- copying ---- */

static void *put(char **at, const void *p, size_t n)
{
	char *to = *at;

	memcpy(to, p, n);
	*at += rounded(n);
	return to;
}

static bool own_span(void *m, size_t offset, char **at)
{
	struct span s = get_span(m, offset);

	if (s.n > 0)
		set_span(m, offset, span_mem(put(at, s.p, s.n), s.n));
	return s.n > 0;
}

static bool own(const struct msg_type *t, void *m, bool is_written, char **at);

static bool own_list(const struct msg_field *f, void *m, char **at)
{
	size_t n = get_size(m, f->n_offset), size = msg_item_size(f);
	char *items;

	if (n == 0)
		return false;
	items = put(at, get_ptr(m, f->offset), n * size);
	memcpy((char *)m + f->offset, &items, sizeof(items));
	for (size_t i = 0; i < n && f->kind == MSG_TEXTS; i++)
		(void)own_span(items + i * size, 0, at);
	for (size_t i = 0; i < n && f->kind == MSG_SUBS; i++)
		(void)own(f->sub, items + i * size, true, at);
	return true;
}

/* Makes what the field points at its own.  True: an encoder would write it, by its value. */
static bool own_field(const struct msg_field *f, void *m, char **at)
{
	switch (f->kind) {
	case MSG_TEXT:
	case MSG_JSON:
	case MSG_FLOATS:
	case MSG_BYTES: return own_span(m, f->offset, at);
	case MSG_SUB: return own(f->sub, (char *)m + f->offset, msg_has(m, f->key), at);
	case MSG_UINTS:
	case MSG_TEXTS:
	case MSG_WEIGHTS:
	case MSG_SUBS: return own_list(f, m, at);
	case MSG_NULL: return false;
	default: return is_number_set(f, m);
	}
}

/* Makes the struct m, a plain copy so far, point at copies, and has tell what a decoder would
 * find.  True: it has any content, and so is written, whatever its field says. */
static bool own(const struct msg_type *t, void *m, bool is_written, char **at)
{
	uint64_t required = 0;
	bool any = false;

	for (const struct msg_field *f = t->fields; f < t->fields + t->n_fields; f++) {
		if ((f->flags & MSG_REQ) != 0)
			required |= UINT64_C(1) << f->key;
		if (!own_field(f, m, at) && (!msg_has(m, f->key) || f->kind == MSG_NULL))
			continue;
		msg_set(m, f->key);
		any = true;
	}
	if (any || is_written)
		*(uint64_t *)m |= required;
	return any;
}

void msg_clone_into(const struct msg_type *t, const void *m, void *block)
{
	char *at = (char *)block + rounded(t->size);

	memcpy(block, m, t->size);
	(void)own(t, block, true, &at);
}
