#include "agent_core.h"

#include <stdlib.h>

#define FRAMES_A_STEP 64
#define BYTES_A_STEP ((size_t)256 << 10)
#define LATE_MS 1000      /* a tick that comes so late: it is we who stood still */
#define TELL_MS 500       /* when stopping: to tell what became of the jobs */
#define CLOSE_MS 1000     /* … and for the engines to end */
#define JITTER_MS 10000   /* of re-announcement in a big fleet, */
#define JITTER_AGENT_MS 2 /* so much for each of its agents */

/* ---- making ---- */

static size_t pool_size(const struct agent_config *c)
{
	const struct span parts[] = { c->id, c->host, c->software };
	size_t n = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		n += parts[i].n + 1;
	for (size_t i = 0; i < c->n_models; i++)
		n += c->models[i].name.n + c->models[i].path.n + c->models[i].digest.n + 3;
	for (size_t i = 0; i < c->n_labels; i++)
		n += c->labels[i].n + 1;
	return n;
}

/* Each copy ends in NUL, so that it can be printed. */
static void pool_add(char **at, struct span *s)
{
	char *p = *at;

	if (s->n > 0)
		memcpy(p, s->p, s->n);
	p[s->n] = '\0';
	s->p = p;
	*at += s->n + 1;
}

static int copy_config(struct agent *a, const struct agent_config *config, struct agent_model *models)
{
	struct agent_config *c = &a->config;
	char *at = a->pool = malloc(pool_size(config));

	a->labels = calloc(config->n_labels + 1, sizeof(*a->labels));
	if (a->pool == NULL || a->labels == NULL)
		return ERR_NOMEM;
	*c = *config;
	pool_add(&at, &c->id);
	pool_add(&at, &c->host);
	pool_add(&at, &c->software);
	for (size_t i = 0; i < c->n_models; i++) {
		models[i] = config->models[i];
		pool_add(&at, &models[i].name);
		pool_add(&at, &models[i].path);
		pool_add(&at, &models[i].digest);
	}
	for (size_t i = 0; i < c->n_labels; i++) {
		a->labels[i] = config->labels[i];
		pool_add(&at, &a->labels[i]);
	}
	c->models = models;
	c->labels = a->labels;
	return 0;
}

static void default_to(uint64_t *value, uint64_t def)
{
	if (*value == 0)
		*value = def;
}

static void fill_defaults(struct agent_config *c)
{
	default_to(&c->heartbeat_idle_ms, 5000);
	default_to(&c->heartbeat_busy_ms, 2000);
	default_to(&c->hub_lease_ms, 20000);
	default_to(&c->drain_ms, 30000);
	default_to(&c->load_timeout_ms, 60000);
	default_to(&c->token_timeout_ms, 10000);
	default_to(&c->prompt_timeout_ms, 20000);
	default_to(&c->session_file_ms, 60000);
	default_to(&c->engine_backoff_min_ms, 250);
	default_to(&c->engine_backoff_max_ms, 30000);
	default_to(&c->quarantine_window_ms, 5 * 60000);
	default_to(&c->quarantine_ms, 15 * 60000);
	default_to(&c->keep_ended_ms, 120000);
	c->queue_max = min_u64(c->queue_max, AGENT_MAX_JOBS / 2); /* ended ones must find room, too */
}

static bool is_valid(const struct agent_config *c)
{
	uint64_t runs = 0;

	if (!span_is_id(c->id) || c->epoch == 0 || c->n_models > AGENT_MAX_MODELS || c->n_labels > PROTO_MAX_LABELS ||
		c->quarantine_deaths > AGENT_MAX_QUARANTINE_DEATHS)
		return false;
	for (size_t i = 0; i < c->n_models; i++) {
		const struct agent_model *m = &c->models[i];

		if (m->name.n == 0 || m->name.n > PROTO_MAX_NAME || (m->digest.n != 0 && m->digest.n != SHA256_SIZE))
			return false;
		for (size_t k = 0; k < i; k++)
			if (span_eq(c->models[k].name, m->name))
				return false;
		runs += m->parallel > 0 ? m->parallel : 1;
	}
	return runs <= AGENT_MAX_JOBS / 4;
}

static int make_room(struct agent *a)
{
	size_t runs = 0, kept = 0;

	a->engines = calloc(a->config.n_models + 1, sizeof(*a->engines));
	a->infos = calloc(a->config.n_models + 1, sizeof(*a->infos));
	if (a->engines == NULL || a->infos == NULL)
		return ERR_NOMEM;
	for (; a->n_engines < a->config.n_models; a->n_engines++) {
		int rc = engine_init(&a->engines[a->n_engines], a, a->n_engines);

		if (rc < 0)
			return rc;
		runs += a->engines[a->n_engines].n_runs;
		kept += (size_t)a->engines[a->n_engines].model.keep;
	}
	/* At most in one step: the budget of frames, a CANCEL and a GENERATE a sequence; of each engine
	 * start, stop, kill and some lines of log; registration, status, heartbeat, phases, alarms and their log. */
	a->cap_actions = FRAMES_A_STEP + 2 * runs + 14 * a->n_engines + 20;
	/* Sessions: a RESTORE a GENERATE; of each engine SAVEs, of all it holds when it goes; files that go. */
	a->cap_actions += runs + (runs + kept) + 2 * a->n_engines + 10;
	a->actions = malloc(a->cap_actions * sizeof(*a->actions)); /* out_action() fills them: most are never touched */
	return a->actions != NULL ? 0 : ERR_NOMEM;
}

int agent_new(const struct agent_config *config, struct agent **ret)
{
	struct agent_model models[AGENT_MAX_MODELS];
	struct agent *a;
	int rc = ERR_NOMEM;

	if (!is_valid(config))
		return ERR_RANGE;
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return ERR_NOMEM;
	a->scratch = BUF_INIT(4096);
	jobs_init(a);
	report_init(a);
	rc = copy_config(a, config, models);
	if (rc == 0) {
		fill_defaults(&a->config);
		rng_seed(&a->rng, config->seed);
		rc = make_room(a); /* each engine copies its model */
	}
	if (rc == 0)
		rc = sessions_init(a);
	if (rc < 0) {
		agent_free(a);
		return rc;
	}
	a->config.models = NULL;
	*ret = a;
	return 0;
}

struct agent *agent_free(struct agent *a)
{
	if (a == NULL)
		return NULL;
	jobs_fini(a);
	for (size_t i = 0; i < a->n_engines; i++)
		engine_fini(&a->engines[i]);
	sessions_fini(a);
	out_fini(a);
	free(a->engines);
	free(a->infos);
	free(a->labels);
	free(a->pool);
	free(a);
	return NULL;
}

/* ---- phases ---- */

const char *agent_phase_name(enum agent_phase p)
{
	static const char *const names[] = { "START", "CONNECTING", "REGISTERING", "READY", "DRAINING", "STOPPED" };

	return (unsigned)p < sizeof(names) / sizeof(names[0]) ? names[p] : "?";
}

static bool all_settled(const struct agent *a)
{
	for (size_t i = 0; i < a->n_engines; i++)
		if (!engine_is_settled(&a->engines[i]))
			return false;
	return true;
}

static enum agent_phase phase_now(const struct agent *a)
{
	if (a->phase == AGENT_PHASE_START || a->phase == AGENT_PHASE_STOPPED)
		return a->phase;
	if (a->stop != STOP_NO || a->is_drained)
		return AGENT_PHASE_DRAINING;
	if (!a->is_up)
		return AGENT_PHASE_CONNECTING;
	if (a->phase == AGENT_PHASE_READY)
		return AGENT_PHASE_READY; /* an engine that starts again does not take this back */
	return all_settled(a) ? AGENT_PHASE_READY : AGENT_PHASE_REGISTERING;
}

static void set_phase(struct agent *a, enum agent_phase p)
{
	if (p == a->phase)
		return;
	OUT_LOG(a, SAY_NOTICE, "agent", "%s (was %s)", agent_phase_name(p), agent_phase_name(a->phase));
	a->phase = p;
}

/* ---- stopping ---- */

static void stop_asked(struct agent *a)
{
	if (a->stop != STOP_NO) {
		a->is_stop_hard = true;
		a->stop_ms = a->now;
		return;
	}
	a->stop = STOP_DRAINING;
	a->stop_ms = a->now + a->config.drain_ms;
	set_phase(a, AGENT_PHASE_DRAINING);
	/* They have not begun: another agent may as well have them now. */
	jobs_fail_all(a, false, CODE_AGENT_LOST, "the agent stops");
}

static bool stop_draining(struct agent *a)
{
	bool is_done = a->n_running == 0 && (jobs_are_told(a) || !a->is_up);

	if (!is_done && a->now < a->stop_ms)
		return false;
	jobs_fail_all(a, true, CODE_AGENT_LOST, "the agent stops");
	stream_flush(a);
	a->stop = STOP_TELLING;
	a->stop_ms = a->is_stop_hard ? a->now : a->now + TELL_MS;
	return true;
}

static bool stop_telling(struct agent *a)
{
	if (a->is_up && !TAILQ_EMPTY(&a->unsaid) && a->now < a->stop_ms)
		return false;
	report_offline(a, "stopped");
	for (size_t i = 0; i < a->n_engines; i++)
		engine_stop(&a->engines[i], a->is_stop_hard);
	a->stop = STOP_CLOSING;
	a->stop_ms = a->is_stop_hard ? a->now : a->now + CLOSE_MS + (sessions_are_saved(a) ? 0 : ENGINE_SAVE_MS);
	return true;
}

static void stop_closing(struct agent *a)
{
	bool has_child = false;

	for (size_t i = 0; i < a->n_engines; i++)
		has_child |= engine_has_child(&a->engines[i]);
	if (has_child && a->now < a->stop_ms)
		return;
	for (size_t i = 0; has_child && i < a->n_engines; i++)
		engine_stop(&a->engines[i], true);
	set_phase(a, AGENT_PHASE_STOPPED);
	out_action(a, AGENT_ACT_STOPPED);
}

static void stop_tick(struct agent *a)
{
	if (a->stop == STOP_NO || a->phase == AGENT_PHASE_STOPPED)
		return;
	if (a->stop == STOP_DRAINING && !stop_draining(a))
		return;
	if (a->stop == STOP_TELLING && !stop_telling(a))
		return;
	stop_closing(a);
}

/* ---- events ---- */

static void started(struct agent *a)
{
	a->start_ms = a->rate_ms = a->now;
	set_phase(a, AGENT_PHASE_CONNECTING);
	for (size_t i = 0; i < a->n_engines; i++)
		if (!a->engines[i].model.is_lazy)
			engine_ask(&a->engines[i]);
	a->has_news_of_memory = true;
}

static void footprint_seen(struct agent *a, const struct agent_event *ev)
{
	if (ev->engine >= a->n_engines)
		return;
	a->engines[ev->engine].footprint = *ev->footprint;
	a->has_news_of_memory = true;
}

/* After a loss nothing that was said before counts as heard. */
static void say_all_again(struct agent *a)
{
	a->is_congested = false;
	report_all(a);
	jobs_say_again(a);
}

static void hub_spoke(struct agent *a, const struct hub_status *s)
{
	uint64_t jitter = min_u64(s->fleet * JITTER_AGENT_MS, JITTER_MS);

	if (s->state != AGENT_ONLINE || s->epoch == a->hub_epoch)
		return;
	a->hub_epoch = s->epoch;
	report_registration(a, rng_below(&a->rng, jitter + 1));
}

static void load_asked(struct agent *a, struct span model)
{
	struct engine *e = engine_find(a, model);

	if (e == NULL || a->stop != STOP_NO)
		return;
	OUT_LOG(a, SAY_NOTICE, "engine", "model %s: told to load it", e->model.name.p);
	engine_load(e);
}

static void drain(struct agent *a, bool is_drained, bool is_here)
{
	a->is_drained = is_drained;
	a->is_drained_here = is_drained && is_here;
}

static void control_received(struct agent *a, const struct control *c)
{
	if (c->epoch != a->config.epoch) {
		a->counters.jobs_wrong_epoch++;
		return;
	}
	a->heard_ms = a->now;
	switch (c->verb) {
	case CONTROL_PING: report_all(a); break;
	case CONTROL_DRAIN: drain(a, true, false); break;
	case CONTROL_RESUME: drain(a, false, false); break;
	case CONTROL_LOAD: load_asked(a, c->model); break;
	default: jobs_control(a, c); break;
	}
}

static void take_event(struct agent *a, const struct agent_event *ev)
{
	switch (ev->type) {
	case AGENT_EV_START: started(a); break;
	case AGENT_EV_LINK_UP:
		a->is_up = true;
		a->conn = ev->conn;
		say_all_again(a);
		break;
	case AGENT_EV_LINK_DOWN: a->is_up = false; break;
	case AGENT_EV_CONGESTED: a->is_congested = true; break;
	case AGENT_EV_WRITABLE: say_all_again(a); break;
	case AGENT_EV_HUB_STATUS: hub_spoke(a, ev->hub_status); break;
	case AGENT_EV_OWN_STATUS: report_own_status(a, ev->status); break;
	case AGENT_EV_JOB: jobs_received(a, ev->job); break;
	case AGENT_EV_CONTROL: control_received(a, ev->control); break;
	case AGENT_EV_ENGINE:
		if (ev->engine < a->n_engines)
			engine_message(&a->engines[ev->engine], ev);
		break;
	case AGENT_EV_ENGINE_EXIT:
		if (ev->engine < a->n_engines)
			engine_exited(&a->engines[ev->engine], ev);
		break;
	case AGENT_EV_ENGINE_STOPPED:
		if (ev->engine < a->n_engines)
			engine_stopped(&a->engines[ev->engine], ev->signo);
		break;
	case AGENT_EV_SAMPLE:
		a->sample = *ev->sample;
		a->has_news_of_memory = true;
		alarms_look(a);
		break;
	case AGENT_EV_FOOTPRINT: footprint_seen(a, ev); break;
	case AGENT_EV_SESSION: sessions_found(a, ev->name, ev->bytes); break;
	case AGENT_EV_BUTTON: drain(a, !a->is_drained, true); break;
	case AGENT_EV_STOP: stop_asked(a); break;
	case AGENT_EV_TICK: break;
	}
}

/* A process that was stopped, or a box that slept, finds all limits passed, and what its engines have said still in
 * their sockets. */
static void advance(struct agent *a, uint64_t now_ms)
{
	uint64_t wanted = agent_deadline(a), before = a->now;

	a->now = max_u64(a->now, now_ms);
	if (wanted == NEVER || a->now < wanted + LATE_MS)
		return;
	OUT_LOG(a, SAY_WARN, "agent", "the agent stood still for %llu ms: the engines get that time, too",
		(unsigned long long)(a->now - wanted));
	for (size_t i = 0; i < a->n_engines; i++)
		engine_stood_still(&a->engines[i], a->now - before); /* as if this step were the last one's next moment */
}

size_t agent_step(struct agent *a, uint64_t now_ms, const struct agent_event *ev, const struct agent_action **ret)
{
	out_begin(a);
	jobs_sweep(a);
	advance(a, now_ms);
	a->frames_left = FRAMES_A_STEP;
	a->bytes_left = BYTES_A_STEP;
	if (a->phase != AGENT_PHASE_STOPPED) {
		take_event(a, ev);
		for (size_t i = 0; i < a->n_engines; i++)
			engine_tick(&a->engines[i]);
		jobs_tick(a);
		memory_tick(a);
		sessions_tick(a);
		for (size_t i = 0; i < a->n_engines; i++)
			engine_dispatch(&a->engines[i]);
		for (size_t i = 0; i < a->n_engines; i++)
			bench_tick(&a->engines[i]);
		set_phase(a, phase_now(a));
		a->is_warm |= a->phase != AGENT_PHASE_START && all_settled(a);
		report_tick(a);
		stream_flush(a);
		stop_tick(a);
	}
	*ret = a->actions;
	return a->n_actions;
}

uint64_t agent_deadline(const struct agent *a)
{
	uint64_t at;

	if (a->phase == AGENT_PHASE_START || a->phase == AGENT_PHASE_STOPPED)
		return NEVER;
	if (a->is_up && !a->is_congested && !TAILQ_EMPTY(&a->unsaid))
		return a->now;
	at = min_u64(min_u64(jobs_deadline(a), report_deadline(a)), sessions_deadline(a));
	for (size_t i = 0; i < a->n_engines; i++)
		at = min_u64(at, min_u64(engine_deadline(&a->engines[i]), bench_deadline(&a->engines[i])));
	return a->stop != STOP_NO ? min_u64(at, a->stop_ms) : at;
}

enum agent_phase agent_phase(const struct agent *a)
{
	return a->phase;
}

/* One in quarantine is left alone for a long time: what powers it may rest meanwhile. */
static bool runs_or_will(const struct engine *e)
{
	return engine_has_child(e) || (e->is_wanted && !e->is_quarantined);
}

struct agent_view agent_view(const struct agent *a)
{
	struct agent_view v = { .phase = a->phase, .n_running = report_busy(a), .n_models = a->n_engines };

	for (size_t i = 0; i < a->n_engines; i++) {
		v.n_failed += a->engines[i].has_failed;
		v.has_engines |= runs_or_will(&a->engines[i]);
	}
	return v;
}

struct status agent_will(const struct agent *a, uint64_t conn)
{
	return (struct status){
		.epoch = a->config.epoch, .conn = conn, .state = AGENT_OFFLINE, .reason = SPAN("the connection was lost")
	};
}

const struct agent_counters *agent_counters(const struct agent *a)
{
	return &a->counters;
}
