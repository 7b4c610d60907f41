/* runs.c - what an engine computes at the moment: one run for each of its sequences.
 *
 * A run outlives its job when the job ends here first: the sequence is free when the engine has said so. */
#include "agent_core.h"

/* ---- what the engine is told ---- */

void engine_cancel(struct engine *e, struct run *run)
{
	if (e->state != ENGINE_STATE_READY || run->is_cancelled)
		return;
	run->is_cancelled = true;
	patience_cancelled(e, run);
	engine_tell(e, ENGINE_CANCEL)->job = run->number;
}

static struct engine_msg *begin_run(struct engine *e, struct job *j, size_t bytes, const struct sampling *s)
{
	struct engine_msg *m = engine_tell(e, ENGINE_GENERATE);
	struct run *run = e->runs;

	while (run->number != 0)
		run++;
	*run = (struct run){ .number = ++e->agent->next_run, .job = j };
	e->n_busy++;
	patience_begin(e, run, bytes, s);
	m->job = run->number;
	m->sampling = *s;
	if (j != NULL)
		job_started(j, run);
	return m;
}

struct run *runs_find(struct engine *e, uint64_t number)
{
	for (size_t i = 0; number != 0 && i < e->n_runs; i++)
		if (e->runs[i].number == number)
			return &e->runs[i];
	return NULL;
}

static void generate(struct engine *e, struct job *j)
{
	const struct job_msg *msg = j->msg;
	struct engine_msg *m;
	bool is_embedding = msg->n_inputs > 0; /* which goes on with no conversation */
	struct session *s = !is_embedding ? sessions_begin(e, msg, e->agent->next_run + 1) : NULL;

	job_unqueue(j);
	m = begin_run(e, j, j->msg_size, &msg->sampling);
	runs_find(e, m->job)->session = s;
	e->used_ms = e->agent->now;
	if (is_embedding) { /* texts before the prefix's end are known already */
		m->type = ENGINE_EMBED;
		m->inputs = msg->inputs;
		m->n_inputs = msg->n_inputs;
		m->index = msg->n_prefix;
		m->sampling = (struct sampling){ .has = 0 };
		return;
	}
	m->prompt = msg->prompt;
	m->turns = msg->turns;
	m->n_turns = msg->n_turns;
	m->prefix = msg->prefix;
	m->n_prefix = msg->n_prefix;
}

uint64_t engine_generate(struct engine *e, struct span prompt, const struct sampling *s)
{
	struct engine_msg *m = begin_run(e, NULL, prompt.n, s);

	m->prompt = prompt;
	return m->job;
}

bool engine_has_work(struct engine *e)
{
	return e->n_queued > 0 && queue_next(e)->taken_ms <= e->yield_ms;
}

void engine_dispatch(struct engine *e)
{
	while (e->state == ENGINE_STATE_READY && e->n_busy < e->parallel && engine_has_work(e))
		generate(e, queue_next(e));
}

void engine_cancel_number(struct engine *e, uint64_t number)
{
	struct run *run = runs_find(e, number);

	if (run != NULL)
		engine_cancel(e, run);
}

/* ---- how they end ---- */

void runs_lose(struct engine *e, enum code code)
{
	struct job *j;

	bench_lost(e);
	for (size_t i = 0; i < e->n_runs; i++) {
		j = e->runs[i].job;
		if (e->runs[i].session != NULL)
			sessions_abort(e->runs[i].session);
		e->runs[i] = (struct run){ 0 };
		if (j == NULL)
			continue;
		j->run = NULL;
		job_fail(j, code, span_of(e->reason));
	}
	e->n_busy = 0;
	while ((j = queue_next(e)) != NULL)
		job_fail(j, CODE_MODEL_NOT_LOADED, span_of(e->reason));
}

struct job *runs_end(struct engine *e, struct run *run)
{
	struct job *j = run->job;

	if (run->session != NULL)
		sessions_end(e, run->session, run->number);
	*run = (struct run){ 0 };
	e->n_busy--;
	e->used_ms = e->agent->now;
	if (j != NULL)
		j->run = NULL;
	return j;
}

int runs_tokens(struct engine *e, const struct agent_event *in)
{
	const struct engine_msg *m = in->engine_msg;
	struct run *run = runs_find(e, m->job);
	struct job *j;
	int rc;

	if (run == NULL || m->n_ids == 0)
		return ERR_MALFORMED;
	j = run->job;
	if (bench_is(e, m->job)) {
		patience_spoke(e, run);
		bench_tokens(e, m);
	}
	if (j == NULL)
		return 0; /* said before the engine saw the cancel */
	if (RULE(e->agent, ENGINE_INDEX) && m->index != stream_end(&j->stream))
		return ERR_MALFORMED;
	patience_spoke(e, run);
	rc = stream_add(&j->stream, m);
	if (rc == ERR_TOOBIG)
		job_fail(j, CODE_TOO_LARGE, SPAN("the answer is longer than an answer may be"));
	else if (rc < 0)
		job_fail(j, CODE_MEMORY_LIMIT_EXCEEDED, SPAN("the agent is out of memory for the answer"));
	if (rc < 0)
		return 0;
	e->agent->counters.tokens += m->n_ids;
	job_touch(j);
	return 0;
}

int runs_done(struct engine *e, const struct agent_event *in)
{
	const struct engine_msg *m = in->engine_msg;
	struct run *run = runs_find(e, m->job);
	struct job *j;

	if (run == NULL || m->finish == FINISH_NONE || m->finish >= FINISH_COUNT)
		return ERR_MALFORMED;
	if (RULE(e->agent, ENGINE_COUNT) && run->job != NULL && m->index != stream_end(&run->job->stream))
		return ERR_MALFORMED;
	j = runs_end(e, run);
	if (bench_is(e, m->job))
		bench_done(e, m);
	if (j != NULL)
		job_done(j, m);
	return 0;
}

int runs_error(struct engine *e, const struct agent_event *in)
{
	const struct engine_msg *m = in->engine_msg;
	struct run *run = runs_find(e, m->job);
	struct job *j;

	if (run == NULL || m->code == CODE_OK)
		return ERR_MALFORMED;
	j = runs_end(e, run);
	if (bench_is(e, m->job))
		bench_failed(e, m->reason);
	if (j != NULL)
		job_fail(j, (enum code)code_info((unsigned)m->code)->number, m->reason);
	return 0;
}
