/* fair.h - users, their limits, and the order in which jobs wait; see line.c, users.c. */
#ifndef HUB_CORE_FAIR_H
#define HUB_CORE_FAIR_H

#include "hub.h"
#include "table.h"

struct hub;
struct job;
struct hold;
struct model;

/* A sum over about the last METER_MS: two halves of a sliding window, the older one counted
 * by the part of it that is still inside. */
#define METER_MS 20000
struct meter {
	uint64_t start_ms, now, before;
};

void meter_add(struct meter *m, uint64_t now_ms, uint64_t n);
uint64_t meter_sum(const struct meter *m, uint64_t now_ms);

/* Tells each who finds no room when it is its turn to ask again: one after the other, at the
 * pace at which room came lately, so that they do not all come back at once. */
struct turns {
	struct meter left; /* jobs that made room */
	uint64_t last_ms;  /* promised last */
};

uint64_t turns_next(struct turns *t, uint64_t now_ms); /* ms to wait */

struct bucket { /* of per-minute units; 60000 parts each, so that a ms brings whole parts */
	int64_t parts;
	uint64_t at_ms;
};

struct user { /* with live jobs, or remembered for its buckets */
	struct node node;
	struct list all; /* hub.busy_users or hub.idle_users, the last one seen at the end */
	char name[PROTO_MAX_ID + 1];
	struct hub_user_limits limits; /* its own, or those of all */
	struct bucket requests, tokens;
	struct meter served; /* tokens */
	struct turns turns;
	size_t n_live, n_given; /* jobs; those an agent has */
	int64_t owed; /* tokens its jobs took beyond what they were counted as, not yet paid in its turns */
	uint64_t n_jobs, n_refused, n_tokens;
};

struct verdict { /* on a request that is refused */
	enum hub_refusal reason;
	uint64_t retry_ms; /* 0: as the code says */
};

void users_fini(struct hub *h);
void users_join(struct hub *h, struct job *j);  /* a live job */
void users_leave(struct hub *h, struct job *j); /* no longer: what it took is put right */
void users_given(struct job *j, bool is_given); /* to an agent */
void users_take(struct job *j);                 /* a new one: out of its buckets */
/* Whether this user may have one more job of that cost. */
enum code users_admit(struct hub *h, struct span name, uint64_t cost, struct buf *why, struct verdict *v);
static inline uint64_t users_weight(const struct user *u)
{
	return u != NULL && u->limits.weight > 0 ? u->limits.weight : 1;
}

/* ---- line.c ---- */

#define QUEUE_LANES 16 /* jobs by the labels they require */

struct queue { /* of one model, one level */
	struct list ring;   /* accounts, in turn */
	struct list by_age; /* … the longest not served first */
	struct list lanes[QUEUE_LANES]; /* flows of all accounts */
	size_t n;
};

void line_init(struct queue *q);
void line_add(struct hub *h, struct job *j);
void line_remove(struct hub *h, struct job *j); /* if it is in one */
/* The next one that the hold's agent can take; its level: 0 is the most urgent. */
struct job *line_first(struct hub *h, const struct hold *o, size_t *ret_level);
bool line_is_before(const struct hub *h, const struct job *a, const struct job *b); /* of two models, one level */
void line_given(struct hub *h, struct job *j); /* it goes to an agent: its user pays */
unsigned line_level(const struct job *j);
uint64_t line_cost(const struct model *m, uint64_t prompt_bytes, uint64_t max_tokens); /* expected tokens */

#endif
