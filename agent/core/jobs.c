#include "agent_core.h"

#include <assert.h>
#include <stdlib.h>

#define QUEUED_BYTES_MAX ((size_t)4 << 20) /* messages of jobs that wait */
#define KEPT_BYTES_MAX ((size_t)2 << 20)   /* tokens of ended jobs the hub has not confirmed */

/* ---- the table ---- */

/* FNV-1a (Fowler, Noll, Vo). */
static size_t bucket_of(struct span id)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < id.n; i++)
		h = (h ^ (uint8_t)id.p[i]) * 16777619u;
	return h % JOB_BUCKETS;
}

static struct job *job_find(const struct agent *a, struct span id)
{
	struct job *j = a->buckets[bucket_of(id)];

	while (j != NULL && !span_is(id, j->id))
		j = j->hash_next;
	return j;
}

static void job_move(struct job *j, struct job_list *to)
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

/* NULL: no room or no memory.  A new job is on no list yet. */
static struct job *job_new(struct agent *a, struct span id, uint64_t attempt)
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

static void set_reason(struct job *j, struct span reason)
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

/* The attempt is over, as `end` says; the hub is told. */
static void job_end(struct job *j, enum job_event_type end, struct job_list *list)
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

void job_fail(struct job *j, enum code code, struct span reason)
{
	struct agent *a = j->agent;
	struct run *run = j->run;

	j->code = code;
	j->index = stream_end(&j->stream);
	set_reason(j, reason);
	job_end(j, JOB_EVENT_FAILED, &a->ended);
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
	a->counters.jobs_done++;
}

void job_done(struct job *j, const struct engine_msg *m)
{
	j->usage = m->usage;
	j->timings = m->timings;
	job_finish(j, m->finish);
}

/* An event about a job that is not in the table. */
static void say_unkept(
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

/* ---- taking ---- */

struct refusal {
	enum code code;
	struct span reason;
};

static size_t text_bytes(const struct job_msg *m)
{
	size_t n = m->prompt.n;

	for (size_t i = 0; i < m->n_turns; i++)
		n += m->turns[i].role.n + m->turns[i].content.n;
	for (size_t i = 0; i < m->sampling.n_stop; i++)
		n += m->sampling.stop[i].n;
	return n;
}

static struct span put_text(char **at, struct span s)
{
	char *p = *at;

	if (s.n > 0)
		memcpy(p, s.p, s.n);
	*at += s.n;
	return span_mem(p, s.n);
}

/* A copy in one block of what the engine needs of m. */
static struct job_msg *msg_copy(const struct job_msg *m, size_t *ret_size)
{
	size_t lists =
		m->n_turns * sizeof(struct turn) + m->sampling.n_stop * sizeof(struct span) + m->n_prefix * sizeof(uint32_t);
	struct arena mem = { .cap = sizeof(*m) + lists + text_bytes(m) + 5 * (size_t)16 };
	struct job_msg *copy;
	struct turn *turns;
	struct span *stop;
	uint32_t *prefix;
	char *at;

	mem.p = out_mem_new(mem.cap);
	if (mem.p == NULL)
		return NULL;
	copy = arena_alloc(&mem, 1, sizeof(*copy));
	turns = arena_alloc(&mem, m->n_turns, sizeof(*turns));
	stop = arena_alloc(&mem, m->sampling.n_stop, sizeof(*stop));
	prefix = arena_alloc(&mem, m->n_prefix, sizeof(*prefix));
	at = arena_alloc(&mem, text_bytes(m), 1);
	assert(at != NULL);
	copy->prompt = put_text(&at, m->prompt);
	for (size_t i = 0; i < m->n_turns; i++)
		turns[i] = (struct turn){ .role = put_text(&at, m->turns[i].role),
			.content = put_text(&at, m->turns[i].content) };
	for (size_t i = 0; i < m->sampling.n_stop; i++)
		stop[i] = put_text(&at, m->sampling.stop[i]);
	if (m->n_prefix > 0)
		memcpy(prefix, m->prefix, m->n_prefix * sizeof(*prefix));
	copy->turns = turns;
	copy->n_turns = m->n_turns;
	copy->prefix = prefix;
	copy->n_prefix = m->n_prefix;
	copy->sampling = m->sampling;
	copy->sampling.stop = stop;
	sampling_defaults(&copy->sampling);
	*ret_size = mem.cap;
	return copy;
}

static struct refusal check_msg(struct agent *a, const struct job_msg *m)
{
	struct sampling s = m->sampling;
	const char *field = NULL;

	sampling_defaults(&s);
	if (sampling_check(&s, &field) < 0)
		return (struct refusal){ CODE_BAD_REQUEST, OUT_TEXT(a, "%s is out of its range", field) };
	if (m->n_prefix >= PROTO_MAX_TOKENS)
		return (struct refusal){ CODE_TOO_LARGE, SPAN("the answer has reached its greatest length") };
	/* As CBOR: heads of texts, turns and lists, and up to 5 bytes a token of the prefix. */
	if (text_bytes(m) + 32 * (m->n_turns + m->sampling.n_stop) + 5 * m->n_prefix + 1024 > ENGINE_MAX_IN)
		return (struct refusal){ CODE_TOO_LARGE, SPAN("the request does not fit a message to the engine") };
	return (struct refusal){ CODE_OK, SPAN_NONE };
}

static struct refusal check_room(struct agent *a, const struct engine *e, const struct job_msg *m)
{
	bool has_to_wait = e->n_queued > 0 || e->n_busy >= e->parallel;

	if (has_to_wait && a->n_queued >= a->config.queue_max)
		return (struct refusal){ CODE_QUEUE_FULL,
			OUT_TEXT(a, "%zu jobs run and %zu wait, no more may", report_busy(a), a->n_queued) };
	if (has_to_wait && a->queued_bytes + text_bytes(m) > QUEUED_BYTES_MAX)
		return (struct refusal){ CODE_QUEUE_FULL, SPAN("the waiting jobs fill the memory kept for them") };
	return (struct refusal){ CODE_OK, SPAN_NONE };
}

static struct refusal admit(struct agent *a, const struct job_msg *m, struct engine **ret_engine)
{
	struct engine *e = engine_find(a, m->model);
	struct refusal r;

	if (a->phase == AGENT_PHASE_DRAINING || a->phase == AGENT_PHASE_STOPPED)
		return (struct refusal){ CODE_NO_AGENT, SPAN("the agent takes no new jobs: it is draining") };
	if (e == NULL)
		return (struct refusal){ CODE_MODEL_UNKNOWN, SPAN("the agent is not configured for this model") };
	if (e->state != ENGINE_STATE_READY)
		return (struct refusal){ CODE_MODEL_NOT_LOADED,
			e->has_failed ? OUT_TEXT(a, "%s", e->reason)
				      : OUT_TEXT(a, "the engine is %s (%u %% loaded)", engine_state_names[e->state],
						(unsigned)e->percent) };
	r = check_msg(a, m);
	if (r.code == CODE_OK)
		r = check_room(a, e, m);
	*ret_engine = e;
	return r;
}

/* The refusal is remembered: a late copy of the dispatch must not start what the hub has given elsewhere. */
static void job_refuse(struct agent *a, const struct job_msg *m, struct refusal r)
{
	struct job *j = job_new(a, m->job, m->attempt);

	a->counters.jobs_rejected++;
	if (j == NULL) {
		say_unkept(a, m->job, m->attempt, JOB_EVENT_REJECTED, r.code, r.reason);
		return;
	}
	j->code = r.code;
	set_reason(j, r.reason);
	job_end(j, JOB_EVENT_REJECTED, &a->over);
}

static void job_take(struct agent *a, const struct job_msg *m)
{
	struct engine *e = NULL;
	struct refusal r = admit(a, m, &e);
	struct job_msg *copy = NULL;
	struct job *j = NULL;
	size_t size = 0;

	if (r.code == CODE_OK) {
		copy = msg_copy(m, &size);
		j = copy != NULL ? job_new(a, m->job, m->attempt) : NULL;
		if (j == NULL)
			r = (struct refusal){ CODE_MEMORY_LIMIT_EXCEEDED, SPAN("the agent is out of memory for jobs") };
	}
	if (j == NULL) {
		out_mem_free(copy);
		job_refuse(a, m, r);
		return;
	}
	j->engine = e;
	j->msg = copy;
	j->msg_size = size;
	j->priority = m->priority < PRIORITY_COUNT ? m->priority : PRIORITY_NORMAL;
	j->deadline_ms = m->deadline_ms > 0 ? a->now + m->deadline_ms : NEVER;
	j->say_accepted = true;
	stream_init(&j->stream, (uint32_t)m->n_prefix);
	job_move(j, &e->queue[j->priority]);
	e->n_queued++;
	a->n_queued++;
	a->queued_bytes += size;
	a->counters.jobs_accepted++;
	job_touch(j);
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

/* The hub has not heard what became of it: say it again. */
static void job_remind(struct job *j)
{
	if (j->is_confirmed)
		return;
	if (j->state == JOB_ENDED)
		j->is_end_said = false;
	else
		j->say_accepted = true;
	job_touch(j);
}

/* Another attempt of the job is here: this one is of no interest any more. */
static void job_replace(struct agent *a, struct job *j)
{
	if (j->state != JOB_ENDED) {
		job_fail(j, CODE_CANCELLED, SPAN("another attempt took its place"));
		a->counters.jobs_failed--; /* nobody sees it fail */
	}
	job_forget(a, j);
}

void jobs_received(struct agent *a, const struct job_msg *m)
{
	struct job *known;

	if (!span_is_id(m->job) || m->attempt == 0) {
		a->counters.jobs_rejected++;
		return; /* no id to answer under */
	}
	if (RULE(a, EPOCH) && m->epoch != a->config.epoch) {
		a->counters.jobs_wrong_epoch++;
		return;
	}
	a->heard_ms = a->now;
	known = job_find(a, m->job);
	if (known != NULL && RULE(a, ATTEMPT) && m->attempt < known->attempt) {
		a->counters.jobs_stale++;
		return;
	}
	if (known != NULL && RULE(a, DUPLICATE) && m->attempt == known->attempt) {
		a->counters.jobs_duplicate++;
		job_remind(known);
		return;
	}
	if (known != NULL)
		job_replace(a, known);
	job_take(a, m);
}

/* ---- what the hub asks ---- */

static void job_cancel(struct job *j)
{
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
		say_unkept(a, c->job, c->attempt, JOB_EVENT_FAILED, CODE_CANCELLED, SPAN("cancelled"));
		return;
	}
	j->code = CODE_CANCELLED;
	set_reason(j, SPAN("cancelled before it came"));
	job_end(j, JOB_EVENT_FAILED, &a->ended);
}

static void job_resend(struct job *j, uint64_t index)
{
	struct stream *s = &j->stream;

	stream_ack(s, index);
	if (index < stream_end(s))
		stream_rewind(s, index);
	else
		j->say_progress = j->state != JOB_ENDED;
	if (j->state == JOB_ENDED)
		j->is_end_said = false;
	job_touch(j);
}

static void job_confirm(struct agent *a, struct job *j)
{
	if (j->state != JOB_ENDED) {
		job_replace(a, j); /* the hub is done with it, whatever we are doing */
		return;
	}
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
		say_unkept(a, c->job, c->attempt, JOB_EVENT_FAILED, CODE_AGENT_LOST, SPAN("the job is not known here"));
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
			if (j->state == JOB_ENDED && (j->is_confirmed || j->end == JOB_EVENT_REJECTED))
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

static void fail_as(struct job *j, void *ctx)
{
	const struct refusal *r = ctx;

	job_fail(j, r->code, r->reason);
}

void jobs_fail_all(struct agent *a, bool with_running, enum code code, const char *reason)
{
	struct refusal r = { code, span_of(reason) };

	each_live(a, with_running, fail_as, &r);
}

static void fail_expired(struct job *j, void *ctx)
{
	const struct agent *a = ctx;

	if (a->now >= j->deadline_ms)
		job_fail(j, CODE_DEADLINE_EXCEEDED,
			j->state == JOB_QUEUED ? SPAN("the deadline passed while the job waited")
					       : SPAN("the deadline passed while the job ran"));
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

uint64_t jobs_deadline(const struct agent *a)
{
	const struct job *ended = TAILQ_FIRST(&a->ended), *over = TAILQ_FIRST(&a->over);
	uint64_t at = lease_end(a);

	each_live(a, true, min_deadline, &at);
	if (ended != NULL)
		at = min_u64(at, ended->ended_ms + a->config.keep_ended_ms);
	if (over != NULL)
		at = min_u64(at, over->ended_ms + a->config.keep_ended_ms);
	return at;
}
