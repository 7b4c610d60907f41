/* query.h - what follows the '?' of an address under /api/v1.  Pure. */
#ifndef HUB_QUERY_H
#define HUB_QUERY_H

#include "hub.h"

#define QUERY_MAX_ROWS 1000

struct query { /* texts are lent */
	struct hub_job_filter jobs;
	struct span cursor;
	size_t limit; /* 1 to QUERY_MAX_ROWS */
	struct span labels[PROTO_MAX_LABELS];
	size_t n_labels;
	char why[160]; /* what is wrong; empty: nothing */
};

/* Live jobs, as many as there may be. */
void query_init(struct query *q);
/* One field; false when it is wrong, with q->why.  Fields: state (a state of a job, or "live", "ended", "all";
 * several times for several), user, model, agent, label (several times), limit, cursor. */
bool query_take(void *query, struct span name, struct span value);

#endif
