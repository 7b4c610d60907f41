#include "agent_core.h"

#include <assert.h>
#include <stdlib.h>

#define KEPT_BYTES_MAX ((size_t)2 << 20) /* tokens of ended jobs the hub has not confirmed */

/* ---- the table ---- */

/* FNV-1a (Fowler, Noll, Vo). */
static size_t bucket_of(struct span id)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < id.n; i++)
		h = (h ^ (uint8_t)id.p[i]) * 16777619u;
	return h % JOB_BUCKETS;
}

struct job *job_find(const struct agent *a, struct span id)
{
	struct job *j = a->buckets[bucket_of(id)];

	while (j != NULL && !span_is(id, j->id))
		j = j->hash_next;
	return j;
}

void job_move(struct job *j, struct job_list *to)
{
	if (j->list != NULL)
		TAILQ_REMOVE(j->list, j, in_list);
	if (to != NULL)
		TAILQ_INSERT_TAIL(to, j, in_list);
	j->list = to;
}

static void job_free(struct job *j)
{
	out_mem_free(j->msg);
	stream_fini(&j->stream);
	free((void *)(uintptr_t)j->reason.p);
	free(j);
}

/* Out of the table.  Actions of this step may point at it: it is freed by the next one. */
static void job_forget(struct agent *a, struct job *j)
{
	struct job **at = &a->buckets[bucket_of(span_of(j->id))];

	assert(j->state == JOB_ENDED);
	while (*at != j)
		at = &(*at)->hash_next;
	*at = j->hash_next;
	job_move(j, NULL);
	if (j->is_unsaid)
		TAILQ_REMOVE(&a->unsaid, j, in_unsaid);
	j->is_unsaid = false;
	a->n_jobs--;
	a->kept_bytes -= stream_bytes(&j->stream);
	j->dead_next = a->dead;
	a->dead = j;
}

void jobs_sweep(struct agent *a)
{
	while (a->dead != NULL) {
		struct job *j = a->dead;

		a->dead = j->dead_next;
		job_free(j);
	}
}

/* Ended jobs go first that the hub knows the end of, then the oldest. */
static bool forget_one(struct agent *a)
{
	struct job *j = TAILQ_FIRST(&a->over);

	if (j == NULL)
		j = TAILQ_FIRST(&a->ended);
	if (j == NULL)
		return false;
	job_forget(a, j);
	return true;
}

struct job *job_new(struct agent *a, struct span id, uint64_t attempt)
{
	size_t bucket = bucket_of(id);
	struct job *j;

	while (a->n_jobs >= AGENT_MAX_JOBS)
		if (!forget_one(a))
			return NULL;
	j = calloc(1, sizeof(*j));
	if (j == NULL || span_copy(id, j->id, sizeof(j->id)) < 0) {
		free(j);
		return NULL;
	}
	j->agent = a;
	j->attempt = attempt;
	j->taken_ms = a->now;
	j->deadline_ms = NEVER;
	stream_init(&j->stream, 0);
	j->hash_next = a->buckets[bucket];
	a->buckets[bucket] = j;
	a->n_jobs++;
	return j;
}

void jobs_init(struct agent *a)
{
	TAILQ_INIT(&a->unsaid);
	TAILQ_INIT(&a->ended);
	TAILQ_INIT(&a->over);
}

void jobs_fini(struct agent *a)
{
	for (size_t i = 0; i < JOB_BUCKETS; i++)
		while (a->buckets[i] != NULL) {
			struct job *j = a->buckets[i];

			a->buckets[i] = j->hash_next;
			job_free(j);
		}
	jobs_sweep(a);
}

/* ---- ending ---- */

void job_touch(struct job *j)
{
	if (j->is_unsaid)
		return;
	TAILQ_INSERT_TAIL(&j->agent->unsaid, j, in_unsaid);
	j->is_unsaid = true;
}

void job_reason(struct job *j, struct span reason)
{
	free((void *)(uintptr_t)j->reason.p);
	j->reason = SPAN_NONE;
	if (reason.n > 0)
		(void)span_dup(reason, &j->reason); /* out of memory: the code alone must do */
}

void job_unqueue(struct job *j)
{
	struct agent *a = j->agent;

	job_move(j, NULL);
	j->engine->n_queued--;
	a->n_queued--;
	a->queued_bytes -= j->msg_size;
	j->queue_ms = a->now - j->taken_ms;
}

void job_end(struct job *j, enum job_event_type end, struct job_list *list)
{
	struct agent *a = j->agent;

	if (j->state == JOB_QUEUED && j->list != NULL)
		job_unqueue(j);
	if (j->state == JOB_RUNNING) {
		a->n_running--;
	}
	if (j->run != NULL)
		j->run->job = NULL;
	j->run = NULL;
	out_mem_keep(a, j->msg);
	j->msg = NULL;
	j->state = JOB_ENDED;
	j->end = end;
	j->ended_ms = a->now;
	j->say_progress = false;
	j->is_end_said = false;
	job_move(j, list);
	job_touch(j);
	a->kept_bytes += stream_bytes(&j->stream);
	while (a->kept_bytes > KEPT_BYTES_MAX && !TAILQ_EMPTY(&a->ended) && TAILQ_FIRST(&a->ended) != j)
		job_forget(a, TAILQ_FIRST(&a->ended));
}

/* It has just ended, with this code. */
static void measure(const struct job *j, enum code code)
{
	uint64_t cached = min_u64(j->usage.cached_tokens, j->usage.prompt_tokens);

	metrics_add(&j->agent->metrics, &(struct metric){
						.model = j->engine->index,
						.code = code,
						.latency_ms = j->ended_ms - j->taken_ms,
						.prompt_tokens = j->usage.prompt_tokens - cached,
						.cached_tokens = cached,
						.tokens = stream_end(&j->stream) - j->stream.first,
						.prefill_us = j->timings.prefill_us,
						.decode_us = j->timings.decode_us,
					});
}

/* Kept until the hub has confirmed it: unlike a refusal, it is no answer to a dispatch. */
void job_displace(struct job *j)
{
	j->code = CODE_QUEUE_FULL;
	job_reason(j, SPAN("the queue is full and a job of a higher priority came"));
	job_end(j, JOB_EVENT_REJECTED, &j->agent->ended);
	measure(j, CODE_QUEUE_FULL);
	j->agent->counters.jobs_displaced++;
}

void job_fail(struct job *j, enum code code, struct span reason)
{
	struct agent *a = j->agent;
	struct run *run = j->run;

	j->code = code;
	j->index = stream_end(&j->stream);
	job_reason(j, reason);
	job_end(j, JOB_EVENT_FAILED, &a->ended);
	measure(j, code);
	a->counters.jobs_failed++;
	if (run != NULL)
		engine_cancel(j->engine, run);
}

static void job_finish(struct job *j, unsigned finish)
{
	struct agent *a = j->agent;

	j->finish = finish;
	j->index = stream_end(&j->stream);
	sha256_of(buf_span(&j->stream.text), j->sha256);
	job_end(j, JOB_EVENT_DONE, &a->ended);
	measure(j, finish == FINISH_CANCELLED ? CODE_CANCELLED : CODE_OK);
	a->counters.jobs_done++;
}

void job_done(struct job *j, const struct engine_msg *m)
{
	j->usage = m->usage;
	j->timings = m->timings;
	job_finish(j, m->finish);
}

void job_say_unkept(
	struct agent *a, struct span id, uint64_t attempt, enum job_event_type type, enum code code, struct span reason)
{
	struct job_event *e;

	if (!a->is_up)
		return; /* whoever waits for it asks again */
	e = &out_action(a, AGENT_ACT_EVENT)->job_event;
	e->type = type;
	e->job = out_dup(a, id);
	e->attempt = attempt;
	e->epoch = a->config.epoch;
	e->code = code;
	e->reason = reason;
}

/* The engine has it: what it was told stays until the step is over. */
void job_started(struct job *j, struct run *run)
{
	j->state = JOB_RUNNING;
	j->run = run;
	out_mem_keep(j->agent, j->msg);
	j->msg = NULL;
	j->agent->n_running++;
}

void job_remind(struct job *j)
{
	if (j->is_confirmed)
		return;
	if (j->state == JOB_ENDED)
		j->is_end_said = false;
	else
		j->say_accepted = true;
	job_touch(j);
}

/* The hub is done with this attempt, whatever it is doing. */
static void job_abandon(struct agent *a, struct job *j)
{
	if (j->state == JOB_ENDED)
		return;
	job_fail(j, CODE_CANCELLED, SPAN("the hub is done with it"));
	a->counters.jobs_failed--; /* nobody sees it fail */
}

void job_replace(struct agent *a, struct job *j)
{
	job_abandon(a, j);
	job_forget(a, j);
}

/* ---- what the hub asks ---- */

/* Nobody waits for its tokens any more, and nobody acknowledges them: they must not hold up its end. */
static void job_cancel(struct job *j)
{
	j->is_unwanted = true;
	switch (j->state) {
	case JOB_QUEUED: job_finish(j, FINISH_CANCELLED); break;
	case JOB_RUNNING: engine_cancel(j->engine, j->run); break; /* DONE(cancelled) follows */
	case JOB_ENDED: job_remind(j); break;
	}
}

/* The cancel was quicker than the dispatch, or the end long forgotten.  Remembered, so
 * that the dispatch does not start it after all. */
static void cancel_unknown(struct agent *a, const struct control *c)
{
	struct job *j = job_new(a, c->job, c->attempt);

	if (j == NULL) {
		job_say_unkept(a, c->job, c->attempt, JOB_EVENT_FAILED, CODE_CANCELLED, SPAN("cancelled"));
		return;
	}
	j->code = CODE_CANCELLED;
	job_reason(j, SPAN("cancelled before it came"));
	job_end(j, JOB_EVENT_FAILED, &a->ended);
}

static void job_resend(struct job *j, uint64_t index)
{
	struct stream *s = &j->stream;

	j->is_unwanted = false;
	stream_ack(s, index);
	if (!stream_rewind(s, index))
		j->say_progress = j->state != JOB_ENDED;
	if (j->state == JOB_ENDED)
		j->is_end_said = false;
	job_touch(j);
}

static void job_confirm(struct agent *a, struct job *j)
{
	job_abandon(a, j);
	j->is_confirmed = true;
	j->is_end_said = true;
	j->ended_ms = a->now;
	a->kept_bytes -= stream_bytes(&j->stream);
	stream_fini(&j->stream);
	job_move(j, &a->over);
}

static void unknown_job(struct agent *a, const struct control *c)
{
	a->counters.controls_unknown_job++;
	if (!span_is_id(c->job) || c->attempt == 0)
		return;
	if (c->verb == CONTROL_CANCEL)
		cancel_unknown(a, c);
	if (c->verb == CONTROL_RESEND)
		job_say_unkept(a, c->job, c->attempt, JOB_EVENT_FAILED, CODE_AGENT_LOST, SPAN("the job is not known here"));
}

void jobs_control(struct agent *a, const struct control *c)
{
	struct job *j = job_find(a, c->job);

	if (j == NULL || (j->is_confirmed && c->verb == CONTROL_RESEND)) {
		unknown_job(a, c);
		return;
	}
	if (c->verb == CONTROL_CANCEL ? c->attempt < j->attempt : c->attempt != j->attempt) {
		a->counters.jobs_stale++;
		return;
	}
	j->is_heard = true;
	switch (c->verb) {
	case CONTROL_CANCEL: job_cancel(j); break;
	case CONTROL_ACK:
		stream_ack(&j->stream, c->index);
		job_touch(j);
		break;
	case CONTROL_RESEND: job_resend(j, c->index); break;
	case CONTROL_END: job_confirm(a, j); break;
	default: break;
	}
}

/* After a loss of the link or of messages: what is said once and was not answered. */
void jobs_say_again(struct agent *a)
{
	for (size_t i = 0; i < JOB_BUCKETS; i++)
		for (struct job *j = a->buckets[i]; j != NULL; j = j->hash_next) {
			if (j->state != JOB_ENDED && j->is_heard)
				continue;
			if (j->state == JOB_ENDED && j->list == &a->over)
				continue;
			j->say_accepted = j->state != JOB_ENDED;
			j->is_end_said = false;
			job_touch(j);
		}
}

bool jobs_are_told(const struct agent *a)
{
	const struct job *j;

	TAILQ_FOREACH(j, &a->ended, in_list)
	if (!j->is_end_said)
		return false;
	return TAILQ_EMPTY(&a->unsaid);
}

/* ---- all of them ---- */

static void each_live(const struct agent *a, bool with_running, void (*fn)(struct job *j, void *ctx), void *ctx)
{
	for (size_t i = 0; i < a->n_engines; i++) {
		struct engine *e = &a->engines[i];

		for (size_t p = 0; p < PRIORITY_COUNT; p++) {
			struct job *j, *next;

			for (j = TAILQ_FIRST(&e->queue[p]); j != NULL; j = next) {
				next = TAILQ_NEXT(j, in_list);
				fn(j, ctx);
			}
		}
		for (size_t k = 0; with_running && k < e->n_runs; k++)
			if (e->runs[k].job != NULL)
				fn(e->runs[k].job, ctx);
	}
}

struct failure {
	enum code code;
	struct span reason;
};

static void fail_as(struct job *j, void *ctx)
{
	const struct failure *f = ctx;

	job_fail(j, f->code, f->reason);
}

void jobs_fail_all(struct agent *a, bool with_running, enum code code, const char *reason)
{
	struct failure f = { code, span_of(reason) };

	each_live(a, with_running, fail_as, &f);
}

static void fail_expired(struct job *j, void *ctx)
{
	const struct agent *a = ctx;

	if (a->now >= j->deadline_ms)
		job_fail(j, CODE_DEADLINE_EXCEEDED,
			j->state == JOB_QUEUED ? SPAN("the deadline passed while the job waited")
					       : SPAN("the deadline passed while the job ran"));
}

static void fail_waited(struct job *j, void *ctx)
{
	const struct agent *a = ctx;

	if (a->now >= j->wait_end_ms)
		job_fail(j, CODE_QUEUE_TIMEOUT,
			OUT_TEXT(j->agent, "the job waited %u s for its turn", (unsigned)((a->now - j->taken_ms) / 1000)));
}

static void forget_old(struct agent *a, struct job_list *list)
{
	struct job *j;

	while ((j = TAILQ_FIRST(list)) != NULL && a->now - j->ended_ms >= a->config.keep_ended_ms)
		job_forget(a, j);
}

static uint64_t lease_end(const struct agent *a)
{
	return a->n_queued + a->n_running > 0 ? a->heard_ms + a->config.hub_lease_ms : NEVER;
}

void jobs_tick(struct agent *a)
{
	each_live(a, true, fail_expired, a);
	each_live(a, false, fail_waited, a);
	forget_old(a, &a->ended);
	forget_old(a, &a->over);
	if (a->now < lease_end(a))
		return;
	OUT_LOG(a, SAY_WARN, "jobs", "nothing heard from the hub for %u s: %zu jobs are given up",
		(unsigned)((a->now - a->heard_ms) / 1000), a->n_queued + a->n_running);
	jobs_fail_all(a, true, CODE_AGENT_LOST, "the agent heard nothing from the hub and gave the job up");
}

static void min_deadline(struct job *j, void *ctx)
{
	uint64_t *at = ctx;

	*at = min_u64(*at, j->deadline_ms);
}

static void min_wait_end(struct job *j, void *ctx)
{
	uint64_t *at = ctx;

	*at = min_u64(*at, j->wait_end_ms);
}

uint64_t jobs_deadline(const struct agent *a)
{
	const struct job *ended = TAILQ_FIRST(&a->ended), *over = TAILQ_FIRST(&a->over);
	uint64_t at = lease_end(a);

	each_live(a, true, min_deadline, &at);
	each_live(a, false, min_wait_end, &at);
	if (ended != NULL)
		at = min_u64(at, ended->ended_ms + a->config.keep_ended_ms);
	if (over != NULL)
		at = min_u64(at, over->ended_ms + a->config.keep_ended_ms);
	return at;
}
