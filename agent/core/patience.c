/* patience.c - when an engine that says nothing has hung.
 *
 * Two kinds of clocks run while it is loaded.  The engine's own is put off by whatever it says; when it has
 * nothing to say it is pinged, so one whose loop turns is always heard.  Each run's is put off by its tokens
 * alone: an engine can be alive and have lost a job.
 *
 * What is allowed is token_timeout_ms, and for the time that prompts are read prompt_timeout_ms more for each KiB of
 * them: a step then computes a part of a prompt besides everyone's next token, and takes as long.  A clock only
 * learns of that when it is put off, or when a prompt is added: tokens of one step come in several messages, and
 * the first of them must not shorten the time of the others. */
#include "agent_core.h"

#define PINGS 4 /* within the time allowed */

static uint64_t token_ms(const struct engine *e)
{
	return RULE(e->agent, ENGINE_PATIENCE) ? e->agent->config.token_timeout_ms : NEVER / 1024;
}

static uint64_t reading_ms(const struct engine *e)
{
	uint64_t ms = e->agent->config.session_file_ms * (e->n_saving + e->n_restoring);

	for (size_t i = 0; i < e->n_runs; i++)
		if (e->runs[i].number != 0)
			ms += e->runs[i].reading_ms;
	return ms;
}

void patience_heard(struct engine *e)
{
	e->heard_ms = e->agent->now;
	e->due_ms = e->agent->now + token_ms(e) + reading_ms(e);
}

/* The engine keeps back what may become a stop string: up to as many tokens as the longest has bytes. */
static uint64_t most_held_back(const struct sampling *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->n_stop; i++)
		n = max_u64(n, s->stop[i].n);
	return n;
}

static void put_off(struct engine *e, struct run *run)
{
	run->due_ms = e->agent->now + token_ms(e) * (1 + run->held_back) + reading_ms(e);
}

static void put_off_all(struct engine *e, uint64_t ms)
{
	e->due_ms += ms;
	for (size_t i = 0; i < e->n_runs; i++)
		e->runs[i].due_ms += ms;
}

void patience_begin(struct engine *e, struct run *run, size_t prompt_bytes, const struct sampling *s)
{
	run->reading_ms = e->agent->config.prompt_timeout_ms * prompt_bytes / 1024;
	run->held_back = most_held_back(s);
	put_off_all(e, run->reading_ms);
	put_off(e, run);
	run->due_ms += e->model.batch_wait_ms; /* it may wait for company first */
}

void patience_cancelled(struct engine *e, struct run *run)
{
	run->due_ms = e->agent->now + token_ms(e) + reading_ms(e);
}

void patience_spoke(struct engine *e, struct run *run)
{
	run->reading_ms = 0;
	put_off(e, run);
}

void patience_stood_still(struct engine *e, uint64_t ms)
{
	e->heard_ms += ms;
	e->pinged_ms += ms;
	put_off_all(e, ms);
}

void patience_file(struct engine *e)
{
	put_off_all(e, e->agent->config.session_file_ms);
}

static uint64_t ping_at(const struct engine *e)
{
	return max_u64(e->heard_ms, e->pinged_ms) + token_ms(e) / PINGS;
}

bool patience_wants_ping(const struct engine *e)
{
	return e->agent->now >= ping_at(e);
}

uint64_t patience_end(const struct engine *e)
{
	uint64_t at = min_u64(e->due_ms, ping_at(e));

	for (size_t i = 0; i < e->n_runs; i++)
		if (e->runs[i].number != 0)
			at = min_u64(at, e->runs[i].due_ms);
	return at;
}

static bool is_due(const struct engine *e, const struct run *run)
{
	return run->number != 0 && e->agent->now >= run->due_ms;
}

bool patience_is_over(const struct engine *e)
{
	for (size_t i = 0; i < e->n_runs; i++)
		if (is_due(e, &e->runs[i]) && e->runs[i].is_cancelled)
			return true;
	return e->agent->now >= e->due_ms;
}

struct run *patience_overdue(struct engine *e)
{
	for (size_t i = 0; i < e->n_runs; i++)
		if (is_due(e, &e->runs[i]) && !e->runs[i].is_cancelled)
			return &e->runs[i];
	return NULL;
}
