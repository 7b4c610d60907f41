#include "agent_rig.h"

#include <criterion/criterion.h>
#include <inttypes.h>

struct agent_config rig_config(void)
{
	static const struct hardware hardware = { .cores = 2, .mem_total = 1000, .disk_total = (uint64_t)16 << 30 };
	static struct agent_model models[1];

	models[0] = (struct agent_model){ .name = SPAN("m"), .path = SPAN("/models/m.gguf"), .parallel = 2 };
	return (struct agent_config){ .id = SPAN("box-1"),
		.host = SPAN("host"),
		.software = SPAN("shoal-agent test"),
		.hardware = &hardware,
		.epoch = RIG_EPOCH,
		.nonce = 99,
		.seed = 1,
		.queue_max = 2,
		.heartbeat_idle_ms = 5000,
		.heartbeat_busy_ms = 2000,
		.hub_lease_ms = 10000,
		.drain_ms = 3000,
		.load_timeout_ms = 8000,
		.token_timeout_ms = 3600 * 1000, /* tests of other things let engines say little */
		.engine_backoff_min_ms = 250,
		.engine_backoff_max_ms = 4000,
		.keep_ended_ms = 30000,
		.models = models,
		.n_models = 1 };
}

void rig_event(struct rig *r, const struct agent_event *ev)
{
	r->n = agent_step(r->a, r->now, ev, &r->acts);
}

void rig_simple(struct rig *r, enum agent_event_type type)
{
	rig_event(r, &(struct agent_event){ .type = type });
}

void rig_init(struct rig *r, const struct agent_config *c)
{
	*r = (struct rig){ .now = 1000000 };
	cr_assert_eq(agent_new(c, &r->a), 0);
	rig_simple(r, AGENT_EV_START);
}

void rig_fini(struct rig *r)
{
	r->a = agent_free(r->a);
}

void rig_link_up(struct rig *r)
{
	rig_event(r, &(struct agent_event){ .type = AGENT_EV_LINK_UP, .conn = ++r->conn });
}

void rig_ready(struct rig *r, const struct agent_config *c)
{
	rig_init(r, c);
	rig_link_up(r);
	rig_hello(r);
	rig_loaded(r);
	cr_assert_eq(agent_phase(r->a), AGENT_PHASE_READY);
	rig_pass(r, 1000); /* registration and status are said and done */
}

static bool tick_before(struct rig *r, uint64_t until)
{
	uint64_t at = agent_deadline(r->a);

	if (at > until)
		return false;
	r->now = at > r->now ? at : r->now;
	rig_simple(r, AGENT_EV_TICK);
	return true;
}

void rig_pass(struct rig *r, uint64_t ms)
{
	uint64_t until = r->now + ms;

	while (tick_before(r, until))
		if (rig_sent(r, ENGINE_PING) != NULL && !r->is_engine_mute)
			rig_engine(r, (struct engine_msg){ .type = ENGINE_PONG });
	r->now = until;
}

const struct agent_action *rig_wait_for(struct rig *r, enum agent_action_type type, uint64_t at_most_ms)
{
	uint64_t until = r->now + at_most_ms;

	while (tick_before(r, until))
		if (rig_find(r, type, 0) != NULL)
			return rig_find(r, type, 0);
	r->now = until;
	return NULL;
}

void rig_job_msg(struct rig *r, struct job_msg m)
{
	if (m.epoch == 0)
		m.epoch = RIG_EPOCH;
	if (m.model.n == 0)
		m.model = SPAN("m");
	rig_event(r, &(struct agent_event){ .type = AGENT_EV_JOB, .job = &m });
}

void rig_job(struct rig *r, const char *id, uint64_t attempt)
{
	rig_job_msg(r, (struct job_msg){ .job = span_of(id), .attempt = attempt, .prompt = SPAN("p") });
}

void rig_control(struct rig *r, enum control_verb verb, const char *id, uint64_t attempt, uint64_t index)
{
	struct control c = { .verb = verb, .epoch = RIG_EPOCH, .job = span_of(id), .attempt = attempt, .index = index };

	rig_event(r, &(struct agent_event){ .type = AGENT_EV_CONTROL, .control = &c });
}

void rig_engine(struct rig *r, struct engine_msg m)
{
	rig_event(r, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine_msg = &m });
}

void rig_hello(struct rig *r)
{
	rig_engine(r, (struct engine_msg){ .type = ENGINE_HELLO,
			      .version = ENGINE_PROTO_VERSION,
			      .build = SPAN("test 1"),
			      .max_sequences = 8 });
}

void rig_loaded(struct rig *r)
{
	rig_engine(r, (struct engine_msg){ .type = ENGINE_LOADED,
			      .n_ctx = 512,
			      .n_params = 1000,
			      .size = 2000,
			      .digest = SPAN(RIG_DIGEST),
			      .arch = SPAN("llama") });
}

void rig_tokens(struct rig *r, uint64_t run, uint64_t index, const char *text)
{
	uint32_t ids[PROTO_MAX_FRAME_TOKENS];
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		ids[i] = (uint32_t)(unsigned char)text[i];
	rig_engine(r,
		(struct engine_msg){
			.type = ENGINE_TOKENS, .job = run, .index = index, .ids = ids, .n_ids = n, .text = span_of(text) });
}

void rig_done(struct rig *r, uint64_t run, uint64_t count, enum finish finish)
{
	rig_engine(r, (struct engine_msg){ .type = ENGINE_DONE,
			      .job = run,
			      .index = count,
			      .finish = finish,
			      .usage = { .prompt_tokens = 5, .completion_tokens = count },
			      .timings = { .decode_us = 77 } });
}

void rig_exit(struct rig *r, int wstatus)
{
	rig_event(r, &(struct agent_event){ .type = AGENT_EV_ENGINE_EXIT, .wstatus = wstatus });
}

const struct agent_action *rig_find(const struct rig *r, enum agent_action_type type, size_t nth)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->acts[i].type == type && nth-- == 0)
			return &r->acts[i];
	return NULL;
}

size_t rig_count(const struct rig *r, enum agent_action_type type)
{
	size_t n = 0;

	while (rig_find(r, type, n) != NULL)
		n++;
	return n;
}

const struct engine_msg *rig_sent(const struct rig *r, enum engine_msg_type type)
{
	const struct agent_action *act;

	for (size_t i = 0; (act = rig_find(r, AGENT_ACT_ENGINE_SEND, i)) != NULL; i++)
		if (act->engine_msg.type == type)
			return &act->engine_msg;
	return NULL;
}

const struct job_event *rig_said(const struct rig *r, enum job_event_type type)
{
	const struct agent_action *act;

	for (size_t i = 0; (act = rig_find(r, AGENT_ACT_EVENT, i)) != NULL; i++)
		if (act->job_event.type == type)
			return &act->job_event;
	return NULL;
}

const struct job_event *rig_must_say(const struct rig *r, enum job_event_type type, const char *id, uint64_t attempt)
{
	const struct job_event *e = rig_said(r, type);

	cr_assert_not_null(e, "no %s was said", job_event_names[type]);
	cr_assert(span_is(e->job, id), "%s is about another job", job_event_names[type]);
	cr_assert_eq(e->attempt, attempt, "%s is of attempt %" PRIu64, job_event_names[type], e->attempt);
	cr_assert_eq(e->epoch, RIG_EPOCH);
	return e;
}
