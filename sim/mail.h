/* mail.h - a message on its way: a copy of the struct, or its bytes as on the wire. */
#ifndef SIM_MAIL_H
#define SIM_MAIL_H

#include "msg.h"

#define MAIL_CLASSES 24

struct mail {
	struct mail *next; /* while free */
	const struct msg_type *type;
	uint32_t n; /* bytes of body */
	uint8_t size_class;
	bool is_wire;
	_Alignas(16) uint8_t body[];
};

struct post { /* where free ones wait, by size */
	bool is_wire;
	struct mail *free[MAIL_CLASSES];
	struct buf bytes;
	struct arena arena;
};

void post_init(struct post *p, bool is_wire);
void post_fini(struct post *p);
struct mail *mail_new(struct post *p, const struct msg_type *t, const void *m);
struct mail *mail_copy(struct post *p, const struct mail *m);
/* The message, until the mail is freed or the next one is opened; it decodes into ret if it must. */
const void *mail_open(struct post *p, struct mail *m, void *ret);
void mail_free(struct post *p, struct mail *m); /* accepts NULL */

#endif
