/* box.c - a box of the fleet: its agent core, what that runs on, and its connection. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define CONNECT_US (20 * MS)
#define RECONNECT_MS 1000          /* at most, before it tries again */
#define KEEPALIVE_US (15 * SECOND) /* 1.5 times the keepalive: the broker, or the agent, misses the other */

/* ---- a life ---- */

static void fill_models(const struct box *b, struct agent_model *models)
{
	uint64_t used = 0;

	for (size_t i = 0; i < b->n_engines; i++) {
		const struct engine *e = &b->engines[i];

		used += (uint64_t)e->model->bytes;
		models[i] = (struct agent_model){ .name = span_of(e->model->name),
			.path = SPAN("/model"),
			.parallel = e->n_runs,
			.keep = e->n_seqs - e->n_runs,
			.exact = true,
			.is_lazy = used > b->kind->memory * 7 / 10 };
	}
}

static void sample(struct world *w, struct box *b)
{
	struct agent_sample s = { .load_milli = 100 };
	uint64_t used = b->kind->memory / 20;

	for (size_t i = 0; i < b->n_engines; i++) {
		s.engine_anon[i] = b->engines[i].is_alive ? (uint64_t)b->engines[i].model->bytes : 0;
		used += s.engine_anon[i];
	}
	s.mem_available = used < b->kind->memory ? b->kind->memory - used : 1;
	s.sensors.temp_milli = b->heat < 1 ? 85000 : 55000;
	s.sensors.throttled = b->heat < 1;
	msg_set(&s.sensors, SENSORS_TEMP);
	msg_set(&s.sensors, SENSORS_THROTTLED);
	if (b->kind->power == POWER_BATTERY) {
		s.sensors.battery_percent = 80;
		s.sensors.on_mains = b->index % 4 != 0;
		msg_set(&s.sensors, SENSORS_BATTERY);
		msg_set(&s.sensors, SENSORS_ON_MAINS);
	}
	box_feed(w, b, &(struct agent_event){ .type = AGENT_EV_SAMPLE, .sample = &s });
}

static void start(struct world *w, struct box *b)
{
	struct agent_model models[SIM_MODELS];
	struct span label = span_of(b->kind->label);
	struct agent_config c = {
		.id = span_of(b->id),
		.host = span_of(b->id),
		.software = SPAN("shoal-sim"),
		.epoch = ++b->epoch,
		.nonce = rng_next(&w->rng),
		.seed = rng_next(&w->rng),
		.queue_max = 2 * b->kind->slots,
		.memory_hard = { .percent = 90 },
		.hardware = &b->fleet_kind->hardware,
		.models = models,
		.n_models = b->n_engines,
		.benches = b->fleet_kind->benches,
		.n_benches = b->fleet_kind->n_benches,
		.benchmark = true,
		.labels = &label,
		.n_labels = 1,
	};

	fill_models(b, models);
	if (agent_new(&c, &b->agent) < 0)
		abort();
	b->conn = 0;
	b->is_linked = false;
	b->wake_at = UINT64_MAX;
	for (size_t i = 0; i < b->n_engines; i++)
		box_feed(w, b,
			&(struct agent_event){ .type = AGENT_EV_FOOTPRINT,
				.engine = i,
				.footprint = &(struct footprint){ .weights = (uint64_t)b->engines[i].model->bytes } });
	sample(w, b);
	box_feed(w, b, &(struct agent_event){ .type = AGENT_EV_START });
	world_push(w, CONNECT_US, (struct ev){ .type = EV_BOX_CONNECT, .who = b->index, .gen = b->epoch });
}

void box_init(struct world *w, size_t i)
{
	struct box *b = &w->boxes[i];

	*b = (struct box){
		.index = (uint32_t)i, .fleet_kind = hardware_kind(w->fleet, i), .heat = 1, .speed = 1, .wake_at = UINT64_MAX
	};
	b->kind = b->fleet_kind->kind;
	snprintf(b->id, sizeof(b->id), "%s-%zu", b->kind->name, i);
	if (engine_make(b, w->fleet) < 0)
		abort();
	if (world_chance(w, w->set->slow))
		b->speed = 0.1; /* and nobody is told */
	world_push(w, world_between(w, 0, 2 * SECOND), (struct ev){ .type = EV_BOX_START, .who = b->index });
}

void box_fini(struct box *b)
{
	b->agent = agent_free(b->agent);
	engine_unmake(b);
}

/* ---- its connection ---- */

static void will(struct world *w, struct box *b)
{
	struct status st = {
		.epoch = b->will_epoch, .conn = b->will_conn, .state = AGENT_OFFLINE, .reason = SPAN("connection lost")
	};

	b->is_broker_linked = false;
	world_to_hub(w, b, TOPIC_AGENT_STATUS, &status_type, &st, 1);
}

static void connected(struct world *w, struct box *b)
{
	struct hub_status hub = {
		.version = PROTO_VERSION, .epoch = w->hub_gen, .state = AGENT_ONLINE, .fleet = w->n_boxes
	};
	struct status own;

	if (b->agent == NULL || b->is_linked)
		return;
	if (b->is_cut) {
		world_push(w, world_between(w, 1, RECONNECT_MS) * MS,
			(struct ev){ .type = EV_BOX_CONNECT, .who = b->index, .gen = b->epoch });
		return;
	}
	if (b->is_broker_linked)
		will(w, b); /* the broker throws the old connection out first */
	b->conn++;
	b->is_linked = b->is_broker_linked = true;
	own = agent_will(b->agent, b->conn);
	b->will_epoch = own.epoch;
	b->will_conn = own.conn;
	b->out_at = b->in_at = w->now;
	box_feed(w, b, &(struct agent_event){ .type = AGENT_EV_LINK_UP, .conn = b->conn });
	box_feed(w, b, &(struct agent_event){ .type = AGENT_EV_HUB_STATUS, .hub_status = &hub });
}

static void notice(struct world *w, struct box *b)
{
	if (b->agent == NULL || !b->is_linked)
		return;
	b->is_linked = false;
	box_feed(w, b, &(struct agent_event){ .type = AGENT_EV_LINK_DOWN });
	world_push(w, world_between(w, 1, RECONNECT_MS) * MS,
		(struct ev){ .type = EV_BOX_CONNECT, .who = b->index, .gen = b->epoch });
}

/* Nothing gets through; both sides find out when the other's keepalive is missed, or when it is over. */
void box_cut(struct world *w, struct box *b, uint64_t us)
{
	if (b->is_cut)
		return;
	b->is_cut = true;
	world_push(w, us, (struct ev){ .type = EV_BOX_HEALED, .who = b->index, .gen = ++b->cut });
	if (us <= KEEPALIVE_US)
		return;
	world_push(w, KEEPALIVE_US, (struct ev){ .type = EV_BOX_WILL, .who = b->index, .gen = b->conn });
	world_push(w, KEEPALIVE_US, (struct ev){ .type = EV_BOX_NOTICE, .who = b->index, .gen = b->conn });
}

/* ---- its end ---- */

void box_kill(struct world *w, struct box *b)
{
	if (b->agent == NULL)
		return;
	b->agent = agent_free(b->agent);
	for (size_t i = 0; i < b->n_engines; i++)
		engine_dies(w, b, i);
	b->is_linked = false;
	if (b->is_broker_linked && !b->is_cut)
		will(w, b);
}

void box_hot(struct world *w, struct box *b, uint64_t us)
{
	if (b->agent == NULL || b->heat < 1)
		return;
	engine_pace_changes(w, b);
	b->heat = 0.5;
	engine_pace_changed(w, b);
	sample(w, b);
	world_push(w, us, (struct ev){ .type = EV_BOX_COOL, .who = b->index });
}

static void cool(struct world *w, struct box *b)
{
	engine_pace_changes(w, b);
	b->heat = 1;
	engine_pace_changed(w, b);
	if (b->agent != NULL)
		sample(w, b);
}

/* ---- what its agent does ---- */

static void publish(
	struct world *w, struct box *b, enum topic_kind kind, const struct msg_type *t, const void *m, unsigned qos)
{
	if (b->is_linked && b->is_broker_linked && !b->is_cut)
		world_to_hub(w, b, kind, t, m, qos);
}

static bool is_qos0(const struct job_event *e)
{
	return e->type == JOB_EVENT_TOKENS || e->type == JOB_EVENT_PROGRESS;
}

static void act(struct world *w, struct box *b, const struct agent_action *a)
{
	switch (a->type) {
	case AGENT_ACT_REGISTER: publish(w, b, TOPIC_AGENT_REGISTRATION, &registration_type, &a->registration, 1); break;
	case AGENT_ACT_STATUS: publish(w, b, TOPIC_AGENT_STATUS, &status_type, &a->status, 1); break;
	case AGENT_ACT_HEARTBEAT: publish(w, b, TOPIC_AGENT_HEARTBEAT, &heartbeat_type, &a->heartbeat, 0); break;
	case AGENT_ACT_EVENT:
		publish(w, b, TOPIC_AGENT_OUT, &job_event_type, &a->job_event, is_qos0(&a->job_event) ? 0 : 1);
		break;
	case AGENT_ACT_ENGINE_START: engine_begin(w, b, a->engine); break;
	case AGENT_ACT_ENGINE_SEND: engine_told(w, b, a->engine, &a->engine_msg); break;
	case AGENT_ACT_ENGINE_KILL: engine_dies(w, b, a->engine); break;
	case AGENT_ACT_LOG:
		if (w->set->is_verbose)
			fprintf(stderr, "%10.3f %s: %.*s\n", (double)w->now / 1e6, b->id, SPAN_FMT(a->text));
		break;
	default: break;
	}
}

/* It wants to be woken; a later time than before is noticed when the earlier one comes. */
static void wake_later(struct world *w, struct box *b)
{
	uint64_t at = agent_deadline(b->agent);

	if (at == UINT64_MAX)
		return;
	at = at * MS > w->now ? at * MS : w->now;
	if (at >= b->wake_at)
		return;
	b->wake_at = at;
	world_push(w, at - w->now, (struct ev){ .type = EV_BOX_WAKE, .who = b->index });
}

void box_feed(struct world *w, struct box *b, const struct agent_event *ev)
{
	const struct agent_action *acts;
	size_t n = agent_step(b->agent, world_ms(w), ev, &acts);

	w->fig.steps_agent++;
	for (size_t k = 0; k < n; k++)
		act(w, b, &acts[k]);
	wake_later(w, b);
}

static void wake(struct world *w, struct box *b)
{
	if (b->wake_at != w->now)
		return; /* there was an earlier one */
	b->wake_at = UINT64_MAX;
	if (b->agent == NULL)
		return;
	if (agent_deadline(b->agent) * MS <= w->now)
		box_feed(w, b, &(struct agent_event){ .type = AGENT_EV_TICK });
	else
		wake_later(w, b);
}

/* ---- what it hears ---- */

void box_mail(struct world *w, struct box *b, enum topic_kind kind, struct mail *m)
{
	struct agent_event ev = { .type = AGENT_EV_JOB };
	struct job_msg job;
	struct control control;
	struct status status;

	if (b->agent == NULL || !b->is_linked || b->is_cut)
		return;
	switch (kind) {
	case TOPIC_AGENT_JOBS: ev.job = mail_open(&w->post, m, &job); break;
	case TOPIC_AGENT_CONTROL:
		ev.type = AGENT_EV_CONTROL;
		ev.control = mail_open(&w->post, m, &control);
		break;
	default:
		ev.type = AGENT_EV_OWN_STATUS;
		ev.status = mail_open(&w->post, m, &status);
		break;
	}
	box_feed(w, b, &ev);
}

static void healed(struct world *w, struct box *b, const struct ev *ev)
{
	if (!b->is_cut || ev->gen != b->cut)
		return;
	b->is_cut = false;
	if (b->is_broker_linked)
		will(w, b);
	notice(w, b);
}

void box_event(struct world *w, const struct ev *ev)
{
	struct box *b = &w->boxes[ev->who];

	switch (ev->type) {
	case EV_BOX_START:
		if (b->agent == NULL)
			start(w, b);
		break;
	case EV_BOX_CONNECT:
		if (ev->gen == b->epoch)
			connected(w, b);
		break;
	case EV_BOX_NOTICE:
		if (ev->gen == b->conn)
			notice(w, b);
		break;
	case EV_BOX_WILL:
		if (ev->gen == b->conn && b->is_broker_linked)
			will(w, b);
		break;
	case EV_BOX_HEALED: healed(w, b, ev); break;
	case EV_BOX_COOL: cool(w, b); break;
	case EV_BOX_WAKE: wake(w, b); break;
	default: engine_event(w, b, ev); break;
	}
}
