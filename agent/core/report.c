#include "agent_core.h"

#define CHANGE_MS 200 /* at most one early heartbeat in this time */
#define GAP_MS 100    /* between two registrations, or two statuses */
#define RATE_MS 1000  /* tokens per second are measured over at least this */
#define TRUTH_MS 300  /* a foreign status must stand so long before it is overwritten: echoes of our own come late */
#define TRUTH_GAP_MS 1000

void report_init(struct agent *a)
{
	a->registration_ms = a->status_ms = NEVER;
	a->told_state = AGENT_OFFLINE;
}

void report_registration(struct agent *a, uint64_t in_ms)
{
	a->registration_ms = min_u64(a->registration_ms, max_u64(a->now + in_ms, a->registered_at_ms + GAP_MS));
}

void report_all(struct agent *a)
{
	a->registration_ms = a->status_ms = a->now;
	a->is_beat_wanted = true;
}

/* ---- what is true now ---- */

static size_t slots(const struct agent *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_engines; i++)
		n += engine_slots(&a->engines[i]);
	return n;
}

size_t report_busy(const struct agent *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_engines; i++)
		n += engine_n_jobs(&a->engines[i]);
	return n;
}

static const struct engine *first_failed(const struct agent *a)
{
	for (size_t i = 0; i < a->n_engines; i++)
		if (a->engines[i].has_failed)
			return &a->engines[i];
	return NULL;
}

/* The state and, in scratch, the reason for it. */
static unsigned state_now(struct agent *a)
{
	const struct engine *failed = first_failed(a);

	buf_reset(&a->scratch);
	if (a->phase == AGENT_PHASE_DRAINING) {
		buf_addf(&a->scratch, "%s",
			a->stop != STOP_NO   ? "the agent stops"
			: a->is_drained_here ? "drained by its button"
					     : "drained on request");
		return AGENT_DRAINING;
	}
	if (failed == NULL)
		return AGENT_ONLINE;
	buf_addf(&a->scratch, "model %s: %s", failed->model.name.p, failed->reason);
	return AGENT_DEGRADED;
}

static void look_at_state(struct agent *a)
{
	unsigned state = state_now(a);
	char reason[REASON_SIZE];

	out_reason(reason, sizeof(reason), buf_span(&a->scratch));
	if (state == a->told_state && strcmp(reason, a->told_reason) == 0)
		return;
	a->told_state = state;
	memcpy(a->told_reason, reason, sizeof(reason));
	a->status_ms = min_u64(a->status_ms, max_u64(a->now, a->status_at_ms + GAP_MS));
}

/* ---- publishing ---- */

static void publish_status(struct agent *a)
{
	out_action(a, AGENT_ACT_STATUS)->status = (struct status){
		.epoch = a->config.epoch, .conn = a->conn, .state = a->told_state, .reason = span_of(a->told_reason)
	};
	a->status_at_ms = a->now;
	a->status_ms = NEVER;
}

static bool is_measured(const struct engine *e)
{
	return e->bench.state == BENCH_DONE;
}

static void fill_infos(struct agent *a)
{
	for (size_t i = 0; i < a->n_engines; i++) {
		const struct engine *e = &a->engines[i];

		a->infos[i] = (struct model_info){ .name = e->model.name,
			.size = e->size,
			.state = engine_model_state(e),
			.n_ctx = e->n_ctx,
			.n_params = e->n_params,
			.arch = span_of(e->arch),
			.reason = span_of(e->reason),
			.digest = e->known_digest.n > 0 ? e->known_digest : e->model.digest,
			.load_percent = e->percent,
			.slots = engine_slots(e),
			.memory = footprint_total(&e->footprint),
			.pinned = e->model.is_pinned,
			.prefill_milli = is_measured(e) ? e->bench.result.prefill_milli : 0,
			.decode_milli = is_measured(e) ? e->bench.result.decode_milli : 0,
			.exact = e->is_exact,
			.n_embd = e->n_embd };
		msg_set(&a->infos[i], MODEL_INFO_SLOTS);
	}
}

static struct hardware hardware_now(const struct agent *a)
{
	struct hardware h = a->config.hardware != NULL ? *a->config.hardware : (struct hardware){ 0 };

	h.accelerators = a->devices;
	h.n_accelerators = a->n_devices;
	return h;
}

static void publish_registration(struct agent *a)
{
	const struct agent_config *c = &a->config;
	struct registration *r = &out_action(a, AGENT_ACT_REGISTER)->registration;

	fill_infos(a);
	*r = (struct registration){ .version = PROTO_VERSION,
		.agent = c->id,
		.epoch = c->epoch,
		.conn = a->conn,
		.seq = ++a->seq,
		.nonce = c->nonce,
		.host = c->host,
		.software = c->software,
		.engine = span_of(a->build),
		.slots = slots(a),
		.queue_max = c->queue_max,
		.heartbeat_idle_ms = c->heartbeat_idle_ms,
		.heartbeat_busy_ms = c->heartbeat_busy_ms,
		.hardware = hardware_now(a),
		.models = a->infos,
		.n_models = a->n_engines,
		.labels = c->labels,
		.n_labels = c->n_labels,
		.metered = c->metered };
	msg_set(r, REG_HARDWARE);
	a->registered_slots = r->slots;
	a->registered_at_ms = a->now;
	a->registration_ms = NEVER;
}

static void measure_rate(struct agent *a)
{
	uint64_t dt = a->now - a->rate_ms;

	if (dt < RATE_MS)
		return;
	a->rate = (a->counters.tokens - a->rate_tokens) * 1000 * 1000 / dt;
	a->rate_ms = a->now;
	a->rate_tokens = a->counters.tokens;
}

static struct heartbeat heartbeat_now(struct agent *a)
{
	const struct agent_counters *c = &a->counters;
	struct memory_view m = memory_see(a, &a->config.memory_hard);
	const struct figures *all = &a->figures[0]; /* zero until there are some */

	figures_look(a);
	return (struct heartbeat){ .epoch = a->config.epoch,
		.conn = a->conn,
		.state = a->told_state,
		.slots = slots(a),
		.running = report_busy(a),
		.queued = a->n_queued,
		.tokens_total = c->tokens,
		.tokens_per_s = a->rate,
		.mem_available = a->sample.mem_available,
		.rss = a->sample.rss,
		.load_milli = a->sample.load_milli,
		.jobs_done = c->jobs_done,
		.jobs_failed = c->jobs_failed,
		.bad_messages = a->sample.bad_messages,
		.stale_messages = c->jobs_stale + c->jobs_wrong_epoch,
		.uptime_ms = a->now - a->start_ms,
		.reason = span_of(a->told_reason),
		.requests_total = all->requests_total,
		.errors_total = all->errors_total,
		.latency_p50_ms = all->latency_p50_ms,
		.latency_p95_ms = all->latency_p95_ms,
		.latency_p99_ms = all->latency_p99_ms,
		.figures = a->figures,
		.n_figures = a->n_figures,
		.sensors = a->sample.sensors,
		.memory_total = m.total,
		.memory_limit = m.limit,
		.memory_used = m.used };
}

static uint64_t heartbeat_due(const struct agent *a)
{
	const struct heartbeat *b = &a->beat;
	size_t busy = report_busy(a);
	bool has_changed =
		b->running != busy || b->queued != a->n_queued || b->state != a->told_state || b->slots != slots(a);

	if (has_changed || a->is_beat_wanted)
		return a->beat_ms + CHANGE_MS;
	return a->beat_ms + (busy + a->n_queued > 0 ? a->config.heartbeat_busy_ms : a->config.heartbeat_idle_ms);
}

static void publish_heartbeat(struct agent *a)
{
	measure_rate(a);
	a->beat = heartbeat_now(a);
	a->beat_ms = a->now;
	a->is_beat_wanted = false;
	out_action(a, AGENT_ACT_HEARTBEAT)->heartbeat = a->beat;
}

static bool is_silent(const struct agent *a)
{
	if (a->config.register_when_warm && !a->is_warm)
		return true;
	return !a->is_up || a->phase == AGENT_PHASE_START || a->phase == AGENT_PHASE_STOPPED || a->stop == STOP_CLOSING;
}

void report_tick(struct agent *a)
{
	if (is_silent(a))
		return;
	look_at_state(a);
	if (slots(a) != a->registered_slots)
		report_registration(a, 0); /* jobs for a model that is being loaded come and go */
	if (!a->is_congested && a->now >= a->registration_ms)
		publish_registration(a);
	if (!a->is_congested && a->now >= a->status_ms)
		publish_status(a);
	if (a->now >= heartbeat_due(a))
		publish_heartbeat(a);
}

/* A will of an earlier connection may have overwritten the truth. */
void report_own_status(struct agent *a, const struct status *s)
{
	bool is_true = s->epoch == a->config.epoch && s->conn == a->conn && s->state == a->told_state &&
		       span_is(s->reason, a->told_reason);

	if (is_silent(a))
		return;
	if (!is_true)
		a->status_ms = min_u64(a->status_ms, max_u64(a->now + TRUTH_MS, a->status_at_ms + TRUTH_GAP_MS));
	else if (a->status_ms > a->now)
		a->status_ms = NEVER;
}

void report_offline(struct agent *a, const char *reason)
{
	a->told_state = AGENT_OFFLINE;
	out_reason(a->told_reason, sizeof(a->told_reason), span_of(reason));
	if (a->is_up)
		publish_status(a);
}

uint64_t report_deadline(const struct agent *a)
{
	uint64_t at;

	if (is_silent(a))
		return NEVER;
	at = heartbeat_due(a);
	return a->is_congested ? at : min_u64(at, min_u64(a->registration_ms, a->status_ms));
}
