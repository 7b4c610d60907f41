/* embed.h - jobs that want vectors of texts instead of an answer.
 *
 * One text is one step, between two of the answers; the jobs take turns.  Owns what EMBED asked
 * for, copied. */
#ifndef ENGINE_EMBED_H
#define ENGINE_EMBED_H

#include "link.h"
#include "model.h"

struct embed_job;

struct embeds {
	struct embed_job *first; /* in the order of their next turn */
	size_t n;
};

/* Takes a job in.  ERR_RANGE: reason says why not. */
SHOAL_CHECK int embeds_add(struct embeds *e, const struct engine_msg *m, uint64_t now_us, char reason[MODEL_REASON_MAX]);
bool embeds_has(const struct embeds *e, uint64_t job);
/* Ends a job early and queues DONE; 0 when it is not there. */
SHOAL_CHECK int embeds_cancel(struct embeds *e, uint64_t job, struct link *l);
/* Computes one text, if any waits, and queues EMBEDDING, and DONE or ERROR behind the last. */
SHOAL_CHECK int embeds_step(struct embeds *e, struct model *m, struct link *l, uint64_t (*clock_us)(void));
void embeds_fini(struct embeds *e);

#endif
