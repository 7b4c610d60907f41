#include "mail.h"

#include <stdlib.h>

#include "clone.h"
#include "proto.h"

#define ARENA_SIZE ((size_t)1 << 20)

void post_init(struct post *p, bool is_wire)
{
	*p = (struct post){ .is_wire = is_wire, .bytes = BUF_INIT(PROTO_MAX_MESSAGE) };
	p->arena = (struct arena){ .p = malloc(ARENA_SIZE), .cap = ARENA_SIZE };
	if (p->arena.p == NULL)
		abort();
}

void post_fini(struct post *p)
{
	for (size_t i = 0; i < MAIL_CLASSES; i++)
		for (struct mail *m = p->free[i], *next; m != NULL; m = next) {
			next = m->next;
			free(m);
		}
	buf_fini(&p->bytes);
	free(p->arena.p);
}

static uint8_t class_of(size_t n)
{
	uint8_t c = 8; /* 256 bytes at least */

	while (((size_t)1 << c) < n)
		c++;
	return c;
}

static struct mail *get(struct post *p, size_t n)
{
	uint8_t c = class_of(sizeof(struct mail) + n);
	struct mail *m = p->free[c];

	if (m != NULL)
		p->free[c] = m->next;
	else
		m = malloc((size_t)1 << c);
	if (m == NULL)
		abort();
	m->size_class = c;
	m->n = (uint32_t)n;
	return m;
}

struct mail *mail_new(struct post *p, const struct msg_type *t, const void *m)
{
	struct mail *mail;

	if (!p->is_wire) {
		mail = get(p, msg_clone_size(t, m));
		msg_clone_into(t, m, mail->body);
	} else {
		buf_reset(&p->bytes);
		if (msg_encode(t, m, MSG_KEYS_INT, &p->bytes) < 0)
			abort(); /* the cores say nothing that is over a limit */
		mail = get(p, p->bytes.n);
		memcpy(mail->body, p->bytes.p, p->bytes.n);
	}
	mail->type = t;
	mail->is_wire = p->is_wire;
	return mail;
}

struct mail *mail_copy(struct post *p, const struct mail *m)
{
	struct mail *copy;

	if (!m->is_wire)
		return mail_new(p, m->type, m->body);
	copy = get(p, m->n);
	memcpy(copy->body, m->body, m->n);
	copy->type = m->type;
	copy->is_wire = true;
	return copy;
}

const void *mail_open(struct post *p, struct mail *m, void *ret)
{
	if (!m->is_wire)
		return m->body;
	arena_reset(&p->arena);
	if (msg_decode(m->type, span_mem(m->body, m->n), MSG_KEYS_INT, &p->arena, ret, NULL) < 0)
		abort(); /* what we have encoded */
	return ret;
}

void mail_free(struct post *p, struct mail *m)
{
	if (m == NULL)
		return;
	m->next = p->free[m->size_class];
	p->free[m->size_class] = m;
}
