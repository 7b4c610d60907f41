/* watch.h - how steps go: with how many threads the next one, and the figures of STATS. */
#ifndef ENGINE_WATCH_H
#define ENGINE_WATCH_H

#include "box.h"
#include "link.h"
#include "plan.h"

struct watch {
	struct box *box; /* the caller's */
	struct tuner tuner;
	bool is_fixed; /* the count of threads is */
	/* Since STATS were said last. */
	uint64_t said_us;
	uint64_t n_steps, n_rows, n_tokens, tokens_us;
};

/* n_threads: for good; 0: to be found. */
void watch_init(struct watch *w, struct box *box, size_t n_threads);
/* After a step, as pace_took() has it. */
void watch_took(struct watch *w, const struct plan_seq *seqs, size_t n_seqs, uint64_t chunks_us, uint64_t singles_us,
	uint64_t now_us);
/* For the next step. */
size_t watch_threads(const struct watch *w);
/* Queues STATS if they were not for a second; n_kept: sequences that hold something for prompts to come. */
SHOAL_CHECK int watch_say(struct watch *w, struct link *l, size_t n_kept, uint64_t now_us);

#endif
