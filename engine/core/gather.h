/* gather.h - whether the first step of new jobs waits for company.
 *
 * Jobs that begin together share passes from the first token to the last; who begins alone pays
 * for the weights alone until another comes.  Waiting helps only when another comes: it can be
 * made to depend on how many came lately.  Nothing that runs is ever held back.
 *
 * Pure. */
#ifndef ENGINE_GATHER_H
#define ENGINE_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gather_limits {
	size_t min_batch; /* jobs that are enough */
	uint64_t wait_us; /* of a job at most; 0: nobody waits */
	bool is_adaptive; /* only while another one is likely to come in time */
};

struct gather {
	double recent; /* arrivals, those long ago counting less and less */
	uint64_t recent_us;
};

/* A job has come. */
void gather_arrived(struct gather *g, uint64_t now_us);
/* For how long n_jobs, none of which has begun and the oldest of which came at oldest_us, shall
 * still wait; 0: not at all. */
uint64_t gather_wait(
	const struct gather *g, const struct gather_limits *limits, size_t n_jobs, uint64_t oldest_us, uint64_t now_us);

#endif
