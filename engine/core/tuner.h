/* tuner.h - with how many threads the next step is computed.
 *
 * The threads of a step wait for each other many times in it, spinning: one that has to share its
 * core with another program makes all of them slow, far beyond its share.  So more is not
 * always faster, and what is best changes with what else the box does.
 *
 * The tuner tries other counts for some steps at a time and keeps what is faster by a margin.
 * Fewer when steps have become slow and when something on the box waits for a core; more when
 * cores are idle.  A trial that fails is repeated later and later, as each
 * costs something; one that goes badly is broken off.  Steps are compared only with such of about
 * as many rows.
 *
 * Pure: times and figures are arguments. */
#ifndef ENGINE_TUNER_H
#define ENGINE_TUNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tuner_step {
	uint64_t now_us, took_us;
	size_t rows;    /* that were computed in that time */
	bool is_prompt; /* rows of prompts, which cost otherwise than next tokens do */
};

struct tuner_load {     /* of the box, lately */
	double idle;    /* cores that did nothing; negative: not known */
	double stalled; /* share of the time in which something waited for a core; negative: not known */
};

enum tuner_mood { TUNER_STEADY, TUNER_MORE, TUNER_FEWER };

struct tuner {
	size_t n, most; /* threads */
	enum tuner_mood mood;
	struct tuner_step last;

	/* What a row takes, in microseconds. */
	double usual;     /* with the count that is kept */
	unsigned n_usual; /* steps it was taken from */
	double slow;      /* in steps that took far longer */
	double late_us;   /* time lost by those */

	/* The trial. */
	size_t kept; /* count to go back to */
	double reference, sum_us, sum_rows;
	unsigned n_steps;

	size_t stride;                        /* how many more at once */
	uint64_t more_us, fewer_us;           /* no trial before */
	uint64_t more_wait_us, fewer_wait_us; /* how long to wait after one that fails */
};

/* most: cores there are.  Begins with one less. */
void tuner_init(struct tuner *t, size_t most);
/* After each step; the count for the next one is t->n. */
void tuner_took(struct tuner *t, const struct tuner_step *s, const struct tuner_load *load);

#endif
