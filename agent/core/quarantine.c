/* When a model's engine dies too often: circuit breaker (M. Nygard, Release It!, 2007).
 *
 * Death is a crash, a hang or nonsense, not an engine that says in good order why it cannot
 * load: that may be put right any time, and trying it costs little.
 *
 * Closed: deaths are counted in a sliding window; the limit-th opens it.  Open: no
 * engine is started.  Half open: after a while one more try, with limit - 1 deaths on
 * record, so that the next one within the window opens it again.
 *
 * One job that kills every engine it meets must not cost the fleet its models: a death
 * with a job running that ran at an earlier death of the window is not counted again. */
#include "agent_core.h"

/* FNV-1a (Fowler, Noll, Vo), 64 bit; 0 stands for a free place. */
static uint64_t hash_of(const char *id)
{
	uint64_t h = 14695981039346656037u;

	for (; *id != '\0'; id++)
		h = (h ^ (uint8_t)*id) * 1099511628211u;
	return h != 0 ? h : 1;
}

static bool is_recent(const struct engine *e, uint64_t ms)
{
	return e->agent->now - ms < e->agent->config.quarantine_window_ms;
}

static bool was_there(const struct engine *e, uint64_t hash)
{
	for (size_t i = 0; i < QUARANTINE_SUSPECTS; i++)
		if (e->suspects[i].hash == hash && is_recent(e, e->suspects[i].ms))
			return true;
	return false;
}

/* True when one of the jobs that run was there before; all of them are from now on. */
static bool suspect_running(struct engine *e)
{
	bool is_known = false;

	for (size_t i = 0; i < e->n_runs; i++)
		if (e->runs[i].job != NULL)
			is_known |= was_there(e, hash_of(e->runs[i].job->id));
	for (size_t i = 0; i < e->n_runs; i++)
		if (e->runs[i].job != NULL)
			e->suspects[e->next_suspect++ % QUARANTINE_SUSPECTS] =
				(struct suspect){ hash_of(e->runs[i].job->id), e->agent->now };
	return is_known;
}

static void drop_old(struct engine *e)
{
	size_t kept = 0;

	for (size_t i = 0; i < e->n_deaths; i++)
		if (is_recent(e, e->deaths[i]))
			e->deaths[kept++] = e->deaths[i];
	e->n_deaths = kept;
}

void quarantine_note(struct engine *e)
{
	uint64_t limit = e->agent->config.quarantine_deaths;

	if (limit == 0 || e->is_quarantined || suspect_running(e))
		return;
	drop_old(e);
	e->deaths[e->n_deaths++] = e->agent->now; /* there is room: the limit-th empties it */
	if (e->n_deaths < limit)
		return;
	e->n_deaths = 0;
	e->is_quarantined = true;
}

void quarantine_try(struct engine *e)
{
	if (!e->is_quarantined)
		return;
	e->is_quarantined = false;
	while (e->n_deaths + 1 < e->agent->config.quarantine_deaths)
		e->deaths[e->n_deaths++] = e->agent->now;
}

void quarantine_forget(struct engine *e)
{
	e->is_quarantined = false;
	e->n_deaths = 0;
	memset(e->suspects, 0, sizeof(e->suspects));
}
