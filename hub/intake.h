/* intake.h - what comes in over MQTT becomes events of the core, or a refusal.
 *
 * Here is decided who said it (the topic's level: the broker's ACL vouches for it), in
 * which format, and where the answer may go: a Response Topic is only a wish, and must lie
 * under the client's own topics.  No I/O. */
#ifndef HUB_INTAKE_H
#define HUB_INTAKE_H

#include "hub.h"
#include "mq.h"
#include "topic.h"

/* hub_reply.format: how an answer is to be written. */
enum {
	REPLY_CBOR = 1,    /* else JSON */
	REPLY_PER_JOB = 2, /* the topic ends in '/' and the job's id is to follow */
};

enum intake_kind {
	INTAKE_EVENT,   /* ev */
	INTAKE_REFUSED, /* refusal is to be answered to ev.reply */
	INTAKE_BAD,     /* bytes that cannot be read, from an agent or a client that cannot be answered */
	INTAKE_IGNORED, /* fine, but nothing follows from it */
};

struct intake { /* ev borrows from here, from the message and from the arena */
	enum topic_kind topic;
	struct span who; /* agent or user */
	struct hub_event ev;
	struct answer refusal;
	int err;           /* why it is bad */
	const char *field; /* about which; may be NULL */
	struct topic reply_topic;
	char sentence[400];
	union {
		struct registration registration;
		struct status status;
		struct heartbeat heartbeat;
		struct job_event job_event;
		struct submit submit;
		struct cancel cancel;
		struct admin admin;
		struct presence presence;
	} body;
};

enum intake_kind intake_take(const char *prefix, const struct mq_msg *msg, struct arena *arena, struct intake *ret);

/* The topic an answer goes to; ERR_TOOBIG when it does not fit. */
int reply_topic(const struct hub_reply *reply, struct span job, struct topic *ret);
/* The vectors of an answer, each by itself; returns how many. */
size_t reply_vectors(const struct answer *a, struct embedding ret[PROTO_MAX_INPUTS]);
/* Appends the document. */
int reply_encode(const struct hub_reply *reply, const struct answer *a, struct buf *out);
struct span reply_content_type(const struct hub_reply *reply);

#endif
