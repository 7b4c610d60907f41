#include "agent_core.h"

#include <assert.h>

#define QUEUED_BYTES_MAX ((size_t)4 << 20) /* messages of jobs that wait */

struct refusal {
	enum code code;
	struct span reason;
};

static size_t text_bytes(const struct job_msg *m)
{
	size_t n = m->prompt.n + m->session.n + m->sampling.grammar.n;

	for (size_t i = 0; i < m->n_turns; i++)
		n += m->turns[i].role.n + m->turns[i].content.n;
	for (size_t i = 0; i < m->sampling.n_stop; i++)
		n += m->sampling.stop[i].n;
	for (size_t i = 0; i < m->n_inputs; i++)
		n += m->inputs[i].n;
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
	size_t lists = m->n_turns * sizeof(struct turn) + m->sampling.n_stop * sizeof(struct span) +
		       m->n_prefix * sizeof(uint32_t) + m->sampling.n_logit_bias * sizeof(struct msg_weight) +
		       m->n_inputs * sizeof(struct span);
	struct arena mem = { .cap = sizeof(*m) + lists + text_bytes(m) + 7 * (size_t)16 };
	struct job_msg *copy;
	struct turn *turns;
	struct span *stop, *inputs;
	struct msg_weight *biases;
	uint32_t *prefix;
	char *at;

	mem.p = out_mem_new(mem.cap);
	if (mem.p == NULL)
		return NULL;
	copy = arena_alloc(&mem, 1, sizeof(*copy));
	turns = arena_alloc(&mem, m->n_turns, sizeof(*turns));
	stop = arena_alloc(&mem, m->sampling.n_stop, sizeof(*stop));
	prefix = arena_alloc(&mem, m->n_prefix, sizeof(*prefix));
	biases = arena_alloc(&mem, m->sampling.n_logit_bias, sizeof(*biases));
	inputs = arena_alloc(&mem, m->n_inputs, sizeof(*inputs));
	at = arena_alloc(&mem, text_bytes(m), 1);
	assert(at != NULL);
	copy->prompt = put_text(&at, m->prompt);
	copy->session = put_text(&at, m->session);
	for (size_t i = 0; i < m->n_turns; i++)
		turns[i] = (struct turn){ .role = put_text(&at, m->turns[i].role),
			.content = put_text(&at, m->turns[i].content) };
	for (size_t i = 0; i < m->sampling.n_stop; i++)
		stop[i] = put_text(&at, m->sampling.stop[i]);
	if (m->n_prefix > 0)
		memcpy(prefix, m->prefix, m->n_prefix * sizeof(*prefix));
	if (m->sampling.n_logit_bias > 0)
		memcpy(biases, m->sampling.logit_bias, m->sampling.n_logit_bias * sizeof(*biases));
	for (size_t i = 0; i < m->n_inputs; i++)
		inputs[i] = put_text(&at, m->inputs[i]);
	copy->inputs = inputs;
	copy->n_inputs = m->n_inputs;
	copy->turns = turns;
	copy->n_turns = m->n_turns;
	copy->prefix = prefix;
	copy->n_prefix = m->n_prefix;
	copy->sampling = m->sampling;
	copy->sampling.stop = stop;
	copy->sampling.grammar = put_text(&at, m->sampling.grammar);
	copy->sampling.logit_bias = biases;
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
	if (text_bytes(m) + 32 * (m->n_turns + m->n_inputs + m->sampling.n_stop + m->sampling.n_logit_bias) +
			5 * m->n_prefix + 1024 >
		ENGINE_MAX_IN)
		return (struct refusal){ CODE_TOO_LARGE, SPAN("the request does not fit a message to the engine") };
	return (struct refusal){ CODE_OK, SPAN_NONE };
}

static enum priority priority_of(const struct job_msg *m)
{
	return m->priority < PRIORITY_COUNT ? (enum priority)m->priority : PRIORITY_NORMAL;
}

/* *ret_victim: who is to give way, or NULL. */
static struct refusal check_room(struct agent *a, const struct engine *e, const struct job_msg *m, struct job **ret_victim)
{
	bool is_ready = e->state == ENGINE_STATE_READY;
	/* Those that will run as soon as their model is loaded do not count as waiting. */
	bool has_to_wait = is_ready ? e->n_queued > 0 || engine_n_jobs(e) >= e->parallel : e->n_queued >= e->n_runs;

	if (has_to_wait && a->queued_bytes + text_bytes(m) > QUEUED_BYTES_MAX)
		return (struct refusal){ CODE_QUEUE_FULL, SPAN("the waiting jobs fill the memory kept for them") };
	if (!has_to_wait || a->n_queued < a->config.queue_max)
		return (struct refusal){ CODE_OK, SPAN_NONE };
	if (a->config.queue_displaces)
		*ret_victim = queue_victim(a, priority_of(m));
	if (*ret_victim == NULL)
		return (struct refusal){ CODE_QUEUE_FULL,
			OUT_TEXT(a, "%zu jobs run and %zu wait, no more may", report_busy(a), a->n_queued) };
	return (struct refusal){ CODE_OK, SPAN_NONE };
}

static struct refusal admit(struct agent *a, const struct job_msg *m, struct engine **ret_engine, struct job **ret_victim)
{
	struct engine *e = engine_find(a, m->model);
	struct refusal r;

	if (a->phase == AGENT_PHASE_DRAINING || a->phase == AGENT_PHASE_STOPPED)
		return (struct refusal){ CODE_NO_AGENT, SPAN("the agent takes no new jobs: it is draining") };
	if (e == NULL)
		return (struct refusal){ CODE_MODEL_UNKNOWN, SPAN("the agent is not configured for this model") };
	if (m->n_inputs > 0 && !e->model.embeddings)
		return (struct refusal){ CODE_MODEL_NOT_LOADED,
			SPAN("the agent makes no vectors with this model: set embeddings = true of it") };
	if (e->is_quarantined)
		return (struct refusal){ e->fail_code, OUT_TEXT(a, "%s", e->reason) };
	if (e->has_failed && !e->is_short && e->state != ENGINE_STATE_READY)
		return (struct refusal){ CODE_MODEL_NOT_LOADED, OUT_TEXT(a, "%s", e->reason) };
	r = check_msg(a, m);
	if (r.code == CODE_OK && !memory_admits(a, e, priority_of(m), &r.reason))
		r.code = CODE_RESOURCE_LIMIT_EXCEEDED;
	if (r.code == CODE_OK)
		r = check_room(a, e, m, ret_victim);
	*ret_engine = e;
	return r;
}

/* The refusal is remembered: a late copy of the dispatch must not start what the hub has given elsewhere. */
static void job_refuse(struct agent *a, const struct job_msg *m, struct refusal r)
{
	struct job *j = job_new(a, m->job, m->attempt);
	const struct engine *e = engine_find(a, m->model);

	metrics_refused(&a->metrics, e != NULL ? e->index : METRICS_NO_MODEL, r.code);
	a->counters.jobs_rejected++;
	if (j == NULL) {
		job_say_unkept(a, m->job, m->attempt, JOB_EVENT_REJECTED, r.code, r.reason);
		return;
	}
	j->code = r.code;
	job_reason(j, r.reason);
	job_end(j, JOB_EVENT_REJECTED, &a->over);
}

static void job_take(struct agent *a, const struct job_msg *m)
{
	struct engine *e = NULL;
	struct job *j = NULL, *victim = NULL;
	struct refusal r = admit(a, m, &e, &victim);
	struct job_msg *copy = NULL;
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
	if (victim != NULL)
		job_displace(victim);
	j->engine = e;
	j->msg = copy;
	j->msg_size = size;
	j->deadline_ms = m->deadline_ms > 0 ? a->now + m->deadline_ms : NEVER;
	j->say_accepted = true;
	stream_init(&j->stream, (uint32_t)m->n_prefix);
	queue_add(j, priority_of(m));
	a->counters.jobs_accepted++;
	job_touch(j);
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
