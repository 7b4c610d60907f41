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

static void own_span(void *m, size_t offset, char **at)
{
	struct span s = get_span(m, offset);

	if (s.n > 0)
		set_span(m, offset, span_mem(put(at, s.p, s.n), s.n));
}

static void own(const struct msg_type *t, void *m, char **at);

static void own_list(const struct msg_field *f, void *m, char **at)
{
	size_t n = get_size(m, f->n_offset), size = msg_item_size(f);
	char *items;

	if (n == 0)
		return;
	items = put(at, get_ptr(m, f->offset), n * size);
	memcpy((char *)m + f->offset, &items, sizeof(items));
	for (size_t i = 0; i < n && f->kind == MSG_TEXTS; i++)
		own_span(items + i * size, 0, at);
	for (size_t i = 0; i < n && f->kind == MSG_SUBS; i++)
		own(f->sub, items + i * size, at);
}

/* Makes the struct m, a plain copy so far, point at copies. */
static void own(const struct msg_type *t, void *m, char **at)
{
	for (const struct msg_field *f = t->fields; f < t->fields + t->n_fields; f++)
		switch (f->kind) {
		case MSG_TEXT:
		case MSG_JSON:
		case MSG_FLOATS:
		case MSG_BYTES: own_span(m, f->offset, at); break;
		case MSG_SUB: own(f->sub, (char *)m + f->offset, at); break;
		case MSG_UINTS:
		case MSG_TEXTS:
		case MSG_WEIGHTS:
		case MSG_SUBS: own_list(f, m, at); break;
		default: break;
		}
}

void msg_clone_into(const struct msg_type *t, const void *m, void *block)
{
	char *at = (char *)block + rounded(t->size);

	memcpy(block, m, t->size);
	own(t, block, &at);
}
