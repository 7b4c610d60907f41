/* outbox.h - QoS 1 messages on their way to the broker, in order and bounded.  Pure.
 *
 * A message waits until there is room for it; one to a client is then kept until it is
 * acknowledged, and goes to the front again when the link is lost before.  One to an agent
 * is not: the core says it again, with fresh numbers, when the link is back. */
#ifndef HUB_OUTBOX_H
#define HUB_OUTBOX_H

#include "mq.h"
#include "proto.h"

struct letter {
	struct letter *next;
	char agent[PROTO_MAX_ID + 1]; /* empty: to a client */
	char job[PROTO_MAX_ID + 1];   /* whose end it tells; empty: none */
	int mid;
	size_t size;
	struct mq_pub pub; /* its spans point behind the struct */
};

struct letters {
	struct letter *first, **last;
};

struct outbox {
	struct letters waiting, sent;
	size_t n, bytes; /* of both lists */
	size_t max, max_bytes;
};

void outbox_init(struct outbox *o, size_t max, size_t max_bytes);
void outbox_fini(struct outbox *o);
/* Copies the message to the end; agent empty: it is for a client, and job says whose end it tells.  ERR_FULL, ERR_NOMEM. */
SHOAL_CHECK int outbox_add(struct outbox *o, const struct mq_pub *pub, struct span agent, struct span job);
/* The next to be sent; NULL: none. */
const struct letter *outbox_first(const struct outbox *o);
/* The first was sent under this packet id; or it cannot be sent at all. */
void outbox_sent(struct outbox *o, int mid);
void outbox_drop(struct outbox *o);
/* ret_job, of PROTO_MAX_ID + 1 bytes: the job whose end has now been told, or empty. */
void outbox_acked(struct outbox *o, int mid, char *ret_job);
void outbox_link_lost(struct outbox *o);

#endif
