/* metrics.h - how requests went: counts by code since the start, and of the last 1,000
 * latency and speed, exact (the window is sorted when someone asks), for all models and
 * for each.
 *
 * A request is an attempt at a job that ended here.  One that was refused is counted and
 * does not enter the window: a flood of refusals must not push out what the box did. */
#ifndef SHOAL_AGENT_METRICS_H
#define SHOAL_AGENT_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "code.h"

#define METRICS_WINDOW 1000
#define METRICS_MODELS 16
#define METRICS_NO_MODEL METRICS_MODELS /* of none that is configured */
#define METRICS_ALL SIZE_MAX

struct metric { /* a request that has ended; values beyond 2^32 - 1 count as that */
	size_t model;
	unsigned code;                                 /* enum code; CODE_OK: it ended well */
	uint64_t latency_ms;                           /* from its arrival here to its end */
	uint64_t prompt_tokens, cached_tokens, tokens; /* computed, there already, generated */
	uint64_t prefill_us, decode_us;
};

struct metrics_entry {
	uint32_t latency_ms, prompt_tokens, tokens, prefill_us, decode_us;
	uint8_t model, code;
};

struct metrics_total {
	uint64_t by_code[CODE_MAX + 1]; /* [CODE_OK]: ended well */
	uint64_t prompt_tokens, cached_tokens, tokens;
	uint64_t latency_ms; /* sum of those that ended well */
};

struct metrics { /* all zero: empty */
	struct metrics_entry ring[METRICS_WINDOW];
	size_t n, next;
	struct metrics_total all, models[METRICS_MODELS];
};

struct metrics_view {
	struct metrics_total total;                   /* since the start, refused ones too */
	uint64_t requests_total, errors_total;        /* their sums */
	uint64_t requests, ok, by_code[CODE_MAX + 1]; /* of the window */
	/* Milliseconds, of those in the window that ended well: 0 without any.  A percentile is
	 * the least latency that so many per cent of them do not exceed (nearest rank). */
	uint64_t latency_min, latency_max, latency_avg, latency_p50, latency_p95, latency_p99;
	/* Mean speed of one stream in the window, tokens a second x 1000. */
	uint64_t prefill_milli, decode_milli;
};

void metrics_add(struct metrics *m, const struct metric *r);
void metrics_refused(struct metrics *m, size_t model, unsigned code);
/* Of one model, or METRICS_ALL. */
void metrics_view(const struct metrics *m, size_t model, struct metrics_view *ret);

#endif
