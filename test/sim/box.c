#include "sim.h"

#include <stdlib.h>

/* ---- a life ---- */

bool box_is_rogue(const struct sim *s, size_t i)
{
	return s->knobs.has_rogue && i == 0;
}

static bool is_frozen(const struct sim *s, size_t i)
{
	return s->now < s->boxes[i].frozen_until;
}

void box_init(struct sim *s, size_t i)
{
	struct box *b = &s->boxes[i];

	b->id[0] = 'b';
	b->id[1] = (char)('0' + i);
	b->parallel = sim_between(s, 1, SIM_MAX_RUNS);
	b->others = s->knobs.others;
	b->build = i > 1 && s->seed % 4 == 2 ? 'y' : 'x';
	b->is_exact = s->seed % 4 != 3 || i != 1;
	box_start(s, i);
}

static void connect_in(struct sim *s, size_t i, uint64_t ms)
{
	sim_push(s, ms, (struct future){ .type = F_BOX_CONNECT, .who = i, .gen = s->boxes[i].epoch });
}

void box_start(struct sim *s, size_t i)
{
	struct box *b = &s->boxes[i];
	static const struct hardware hardware = { .mem_total = SIM_MEMORY };
	struct agent_model models[SIM_MODELS];
	struct agent_config c = {
		.id = span_of(b->id),
		.host = span_of(b->id),
		.software = SPAN("sim"),
		.epoch = ++b->epoch,
		.nonce = rng_next(&s->rng),
		.seed = rng_next(&s->rng),
		.queue_max = 2,
		.queue_displaces = s->seed % 2 != 0,
		.queue_wait_ms = s->seed % 5 != 0 ? 1500 : 0,
		.queue_aging_ms = 300,
		.heartbeat_idle_ms = 1000,
		.heartbeat_busy_ms = 400,
		.hub_lease_ms = 4000,
		.drain_ms = 1500,
		.load_timeout_ms = 5000,
		.token_timeout_ms = 800,
		.prompt_timeout_ms = 400,
		.session_file_ms = 400,
		.engine_backoff_min_ms = 50,
		.engine_backoff_max_ms = 500,
		.quarantine_deaths = s->seed % 3, /* never, at once, or at the second */
		.quarantine_window_ms = 3000,
		.quarantine_ms = 1500,
		.keep_ended_ms = 60000,
		.benchmark = s->seed % 4 == 0,
		.session_bytes = s->seed % 4 != 1 ? SIM_SESSION_BYTES : 0,
		.session_rest_ms = 100,
		.memory_hard = { .percent = 95 },
		.memory_soft = { .percent = 85 },
		.hardware = &hardware,
		.models = models,
		.n_models = s->knobs.n_models,
		.rules_off = s->agent_rules_off,
	};

	for (size_t k = 0; k < SIM_MODELS; k++)
		models[k] = (struct agent_model){
			.name = span_of(sim_models[k]), .path = SPAN("/m"), .parallel = b->parallel, .is_lazy = k > 0
		};
	if (agent_new(&c, &b->agent) < 0)
		abort();
	sim_trace(s, "%s starts its life %u", b->id, (unsigned)b->epoch);
	b->conn = 0;
	b->is_linked = b->is_stopping = false;
	b->frozen_until = 0;
	memset(b->known, 0, sizeof(b->known));
	for (size_t k = 0; k < s->knobs.n_models; k++)
		box_feed(s, i,
			&(struct agent_event){ .type = AGENT_EV_FOOTPRINT,
				.engine = k,
				.footprint = &(struct footprint){ .weights = SIM_WEIGHTS } });
	box_memory(s, i, b->others);
	sessions_start(s, i);
	box_feed(s, i, &(struct agent_event){ .type = AGENT_EV_START });
	connect_in(s, i, sim_between(s, 1, 50));
}

void box_fini(struct box *b)
{
	b->agent = agent_free(b->agent);
	free(b->retained[0]);
	free(b->retained[1]);
	free(b->last_job);
}

static void forget_engines(struct box *b)
{
	for (size_t k = 0; k < SIM_MODELS; k++)
		b->engines[k] = (struct engine){ .gen = b->engines[k].gen + 1 };
}

void box_memory(struct sim *s, size_t i, uint64_t others)
{
	struct box *b = &s->boxes[i];
	struct agent_sample sample = { .load_milli = 1 };
	uint64_t left = SIM_MEMORY - 1; /* 0 would say that it is not known */

	for (size_t k = 0; k < s->knobs.n_models; k++)
		left -= sample.engine_anon[k] = b->engines[k].is_alive ? SIM_WEIGHTS : 0;
	b->others = b->others_told = others < left ? others : left;
	sample.mem_available = SIM_MEMORY - (SIM_MEMORY - 1 - left) - b->others;
	if (b->agent == NULL)
		return;
	box_feed(s, i, &(struct agent_event){ .type = AGENT_EV_SAMPLE, .sample = &sample });
}

/* ---- its connection ---- */

static void will(struct sim *s, size_t i)
{
	struct box *b = &s->boxes[i];
	struct future f = { .type = F_TO_BROKER_WILL, .who = i };

	b->is_broker_linked = false;
	f.bytes = malloc(sizeof(b->will));
	if (f.bytes == NULL)
		abort();
	memcpy(f.bytes, &b->will, sizeof(b->will));
	f.n = sizeof(b->will);
	sim_push(s, sim_chance(s, 0.2) ? sim_between(s, 100, 2000) : sim_between(s, 0, 20), f);
}

void box_break(struct sim *s, size_t i, bool is_noticed)
{
	struct box *b = &s->boxes[i];

	if (!is_noticed) {
		b->is_cut = true;
		sim_push(s, sim_between(s, 500, 3000), (struct future){ .type = F_BROKER_NOTICE, .who = i, .gen = b->conn });
		sim_push(s, sim_between(s, 500, 3000), (struct future){ .type = F_BOX_NOTICE, .who = i, .gen = b->conn });
		return;
	}
	if (b->is_broker_linked)
		will(s, i);
	if (b->agent != NULL && b->is_linked)
		sim_push(s, sim_between(s, 0, 5), (struct future){ .type = F_BOX_NOTICE, .who = i, .gen = b->conn });
}

static void notice(struct sim *s, size_t i, const struct future *f)
{
	struct box *b = &s->boxes[i];

	if (b->agent == NULL || !b->is_linked || f->gen != b->conn)
		return;
	b->is_linked = false;
	sim_trace(s, "%s sees its connection %u gone", b->id, (unsigned)b->conn);
	box_feed(s, i, &(struct agent_event){ .type = AGENT_EV_LINK_DOWN });
	connect_in(s, i, sim_between(s, 20, 400));
}

static void connected(struct sim *s, size_t i)
{
	struct box *b = &s->boxes[i];
	struct hub_status hub = { .version = PROTO_VERSION, .epoch = 1, .state = AGENT_ONLINE, .fleet = s->n_boxes };

	if (b->agent == NULL || b->is_linked)
		return;
	if (b->is_broker_linked)
		will(s, i); /* the broker throws the old connection out first */
	b->conn++;
	b->is_linked = b->is_broker_linked = true;
	b->is_cut = false;
	b->will = agent_will(b->agent, b->conn);
	b->will.reason = SPAN_NONE;
	sim_trace(s, "%s is connected: epoch %u conn %u", b->id, (unsigned)b->epoch, (unsigned)b->conn);
	box_feed(s, i, &(struct agent_event){ .type = AGENT_EV_LINK_UP, .conn = b->conn });
	if (b->agent != NULL)
		box_feed(s, i, &(struct agent_event){ .type = AGENT_EV_HUB_STATUS, .hub_status = &hub });
}

/* ---- its end ---- */

void box_kill(struct sim *s, size_t i)
{
	struct box *b = &s->boxes[i];

	if (b->agent == NULL)
		return;
	sim_trace(s, "%s is killed", b->id);
	b->agent = agent_free(b->agent);
	forget_engines(b);
	if (b->is_broker_linked)
		will(s, i);
	b->is_linked = false;
}

static void stopped(struct sim *s, size_t i)
{
	struct box *b = &s->boxes[i];

	sim_trace(s, "%s has stopped", b->id);
	b->agent = agent_free(b->agent);
	forget_engines(b);
	b->is_linked = b->is_broker_linked = false; /* an orderly goodbye: no will */
	sim_push(s, sim_between(s, 100, 1000), (struct future){ .type = F_BOX_START, .who = i });
}

/* ---- what its agent says ---- */

/* Work is only done for dispatches of this life, and never for an attempt that a later one replaced. */
static void check_said(struct sim *s, size_t i, const struct job_event *e)
{
	struct box *b = &s->boxes[i];
	size_t job = sim_job_of(s, e->job);
	const struct known *k = &b->known[job < SIM_MAX_JOBS ? job : 0];
	bool is_work = e->type == JOB_EVENT_ACCEPTED || e->type == JOB_EVENT_TOKENS;

	if (job == SIZE_MAX || !is_work || e->attempt >= 64 || box_is_rogue(s, i))
		return;
	if ((k->mine >> e->attempt & 1) == 0)
		sim_violation(s, "%s works on attempt %u of job %zu, which was not meant for its life %u", b->id,
			(unsigned)e->attempt, job, (unsigned)b->epoch);
	else if (e->attempt < k->attempt_max)
		sim_violation(s, "%s goes on with attempt %u of job %zu after it was given attempt %u", b->id,
			(unsigned)e->attempt, job, (unsigned)k->attempt_max);
}

/* A box with bad intent: it forges the next frame of somebody else's job. */
static void lie(struct sim *s, size_t from, const struct job_event *e)
{
	struct job_event forged = *e;
	uint32_t id = (uint32_t)rng_next(&s->rng) | 1;
	char text[8];

	if (!s->knobs.has_liar || from == 1 || s->n_boxes < 2 || e->type != JOB_EVENT_TOKENS || !s->boxes[1].is_linked)
		return;
	chain_text(id, text);
	forged.index += sim_between(s, 0, 1) * forged.n_ids;
	forged.ids = &id;
	forged.n_ids = 1;
	forged.text = span_mem(text, sizeof(text));
	sim_to_hub(s, 1, TOPIC_AGENT_OUT, &job_event_type, &forged, 0);
}

static void publish(struct sim *s, size_t i, enum topic_kind kind, const struct msg_type *t, const void *m, unsigned qos)
{
	const struct box *b = &s->boxes[i];

	if (b->is_linked && b->is_broker_linked && !b->is_cut)
		sim_to_hub(s, i, kind, t, m, qos);
}

static void say_event(struct sim *s, size_t i, const struct job_event *e)
{
	check_said(s, i, e);
	publish(s, i, TOPIC_AGENT_OUT, &job_event_type, e,
		e->type == JOB_EVENT_TOKENS || e->type == JOB_EVENT_PROGRESS ? 0 : 1);
	lie(s, i, e);
}

static bool act(struct sim *s, size_t i, const struct agent_action *a)
{
	switch (a->type) {
	case AGENT_ACT_REGISTER: publish(s, i, TOPIC_AGENT_REGISTRATION, &registration_type, &a->registration, 1); break;
	case AGENT_ACT_STATUS: publish(s, i, TOPIC_AGENT_STATUS, &status_type, &a->status, 1); break;
	case AGENT_ACT_HEARTBEAT: publish(s, i, TOPIC_AGENT_HEARTBEAT, &heartbeat_type, &a->heartbeat, 0); break;
	case AGENT_ACT_EVENT: say_event(s, i, &a->job_event); break;
	case AGENT_ACT_ENGINE_START: fake_start(s, i, a->engine); break;
	case AGENT_ACT_ENGINE_SEND:
		sessions_act(s, i, a);
		fake_told(s, i, a->engine, &a->engine_msg);
		break;
	case AGENT_ACT_SESSION_KEEP:
	case AGENT_ACT_SESSION_DISCARD:
	case AGENT_ACT_SESSION_DROP: sessions_act(s, i, a); break;
	case AGENT_ACT_ENGINE_KILL: fake_dies(s, i, a->engine); break;
	case AGENT_ACT_LOG: sim_trace(s, "%s log %.*s", s->boxes[i].id, SPAN_FMT(a->text)); break;
	case AGENT_ACT_BENCHED: s->n_benched++; break;
	case AGENT_ACT_STOPPED: return false;
	}
	return true;
}

void box_feed(struct sim *s, size_t i, const struct agent_event *ev)
{
	const struct agent_action *acts;
	size_t n = agent_step(s->boxes[i].agent, s->now, ev, &acts);
	bool goes_on = true;

	for (size_t k = 0; k < n && goes_on; k++)
		goes_on = act(s, i, &acts[k]);
	sessions_check(s, i);
	if (!goes_on)
		stopped(s, i);
}

/* ---- what it hears ---- */

static void learn(struct sim *s, size_t i, const struct job_msg *m)
{
	struct box *b = &s->boxes[i];
	struct known *k = &b->known[chain_job(m->prompt)];

	if (m->epoch != b->epoch || m->attempt >= 64)
		return;
	k->mine |= UINT64_C(1) << m->attempt;
	if (m->attempt > k->attempt_max)
		k->attempt_max = m->attempt;
}

static void remember(struct box *b, const struct future *f)
{
	free(b->last_job);
	b->last_job = malloc(f->n + 1);
	if (b->last_job == NULL)
		abort();
	memcpy(b->last_job, f->bytes, f->n);
	b->n_last_job = f->n;
}

static void hear_job(struct sim *s, size_t i, const struct future *f)
{
	struct job_msg m;

	if (msg_decode(&job_type, span_mem(f->bytes, f->n), MSG_KEYS_INT, &s->arena, &m, NULL) < 0) {
		sim_violation(s, "a dispatch cannot be decoded");
		return;
	}
	sim_trace(s, "%s hears %.*s attempt %u epoch %u", s->boxes[i].id, SPAN_FMT(m.prompt), (unsigned)m.attempt,
		(unsigned)m.epoch);
	if (box_is_rogue(s, i)) {
		m.epoch = s->boxes[i].epoch; /* it does not look */
		remember(&s->boxes[i], f);
	}
	learn(s, i, &m);
	box_feed(s, i, &(struct agent_event){ .type = AGENT_EV_JOB, .job = &m });
}

void box_message(struct sim *s, struct future *f)
{
	struct box *b = &s->boxes[f->who];
	struct control c;
	struct status st;
	int rc = 0;

	if (b->agent == NULL || !b->is_linked || b->is_cut || f->gen != b->conn)
		return;
	if (is_frozen(s, f->who)) { /* it waits in the socket */
		sim_push(s, b->frozen_until - s->now, *f);
		f->bytes = NULL;
		return;
	}
	arena_reset(&s->arena);
	switch (f->kind) {
	case TOPIC_AGENT_JOBS: hear_job(s, f->who, f); break;
	case TOPIC_AGENT_CONTROL:
		rc = msg_decode(&control_type, span_mem(f->bytes, f->n), MSG_KEYS_INT, &s->arena, &c, NULL);
		if (rc == 0)
			box_feed(s, f->who, &(struct agent_event){ .type = AGENT_EV_CONTROL, .control = &c });
		break;
	default:
		rc = msg_decode(&status_type, span_mem(f->bytes, f->n), MSG_KEYS_INT, &s->arena, &st, NULL);
		if (rc == 0)
			box_feed(s, f->who, &(struct agent_event){ .type = AGENT_EV_OWN_STATUS, .status = &st });
		break;
	}
	if (rc < 0)
		sim_violation(s, "a message to %s cannot be decoded", b->id);
}

void box_stop(struct sim *s, size_t i)
{
	struct box *b = &s->boxes[i];

	if (b->agent == NULL || b->is_stopping)
		return;
	sim_trace(s, "%s is asked to stop", b->id);
	b->is_stopping = true;
	box_feed(s, i, &(struct agent_event){ .type = AGENT_EV_STOP });
}

void box_tick(struct sim *s, size_t i)
{
	box_feed(s, i, &(struct agent_event){ .type = AGENT_EV_TICK });
}

uint64_t box_deadline(const struct sim *s, size_t i)
{
	const struct box *b = &s->boxes[i];
	uint64_t at = b->agent != NULL ? agent_deadline(b->agent) : UINT64_MAX;

	return at < b->frozen_until ? b->frozen_until : at;
}

void box_future(struct sim *s, struct future *f)
{
	struct box *b = &s->boxes[f->who];
	struct status st;

	if (is_frozen(s, f->who) && f->type != F_TO_BROKER_WILL && f->type != F_BROKER_NOTICE) {
		sim_push(s, b->frozen_until - s->now, *f);
		return;
	}
	switch (f->type) {
	case F_TO_BROKER_WILL:
		memcpy(&st, f->bytes, sizeof(st));
		sim_to_hub(s, f->who, TOPIC_AGENT_STATUS, &status_type, &st, 1);
		break;
	case F_BOX_START:
		if (b->agent == NULL)
			box_start(s, f->who);
		break;
	case F_BOX_CONNECT:
		if (f->gen == b->epoch)
			connected(s, f->who);
		break;
	case F_BOX_MEMORY: box_memory(s, f->who, s->knobs.others); break;
	case F_BOX_NOTICE: notice(s, f->who, f); break;
	case F_BROKER_NOTICE:
		if (!b->is_broker_linked || b->conn != f->gen)
			break;
		will(s, f->who);
		sim_push(s, 5, (struct future){ .type = F_BOX_NOTICE, .who = f->who, .gen = f->gen });
		break;
	default: fake_future(s, f); break;
	}
}
