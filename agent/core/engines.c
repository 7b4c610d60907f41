#include "agent_core.h"

#include <stdlib.h>

#define RUNS_MAX 256
#define IDLE_PROGRESS_MAX 1000 /* messages about progress that tell of none */
#define QUIT_MS 1000
#define KILL_MS 5000

const char *const engine_state_names[] = {
#define X(name, text) text,
	ENGINE_STATE_LIST(X)
#undef X
		NULL
};

static uint64_t now_of(const struct engine *e)
{
	return e->agent->now;
}

/* ---- what it is told ---- */

struct engine_msg *engine_tell(struct engine *e, enum engine_msg_type type)
{
	struct agent_action *act = out_action(e->agent, AGENT_ACT_ENGINE_SEND);

	act->engine = e->index;
	act->engine_msg.type = type;
	return &act->engine_msg;
}

static void kill_child(struct engine *e)
{
	out_action(e->agent, AGENT_ACT_ENGINE_KILL)->engine = e->index;
	e->timer_ms = now_of(e) + KILL_MS;
}

/* ---- when it is lost ---- */

static struct span quarantine_text(struct engine *e, struct span reason)
{
	const struct agent_config *c = &e->agent->config;

	return OUT_TEXT(e->agent,
		"quarantined: its engine died %u times within %u s, it is tried again after %u s or when told to load; "
		"last: %.*s",
		(unsigned)c->quarantine_deaths, (unsigned)(c->quarantine_window_ms / 1000),
		(unsigned)(c->quarantine_ms / 1000), SPAN_FMT(reason));
}

static void note_failure(struct engine *e, struct span reason)
{
	e->has_failed = true;
	e->fail_code = e->ready_ms != NEVER ? CODE_ENGINE_CRASHED : CODE_MODEL_LOAD_FAILED;
	if (e->is_quarantined)
		reason = quarantine_text(e, reason);
	out_reason(e->reason, sizeof(e->reason), reason);
	if (e->ready_ms != NEVER && now_of(e) - e->ready_ms > e->agent->config.engine_backoff_max_ms)
		e->failures = 0; /* it did well for a while */
	e->failures++;
	e->ready_ms = NEVER;
	report_registration(e->agent, 0);
	OUT_LOG(e->agent, SAY_WARN, "engine", "model %s: %s", e->model.name.p, e->reason);
}

static bool has_child(const struct engine *e)
{
	return e->state != ENGINE_STATE_DOWN && e->state != ENGINE_STATE_BACKOFF && e->state != ENGINE_STATE_QUARANTINED;
}

static void give_up(struct engine *e, enum code code, struct span reason)
{
	e->state = ENGINE_STATE_STOPPING;
	note_failure(e, reason);
	kill_child(e);
	runs_lose(e, code);
}

/* Capped exponential, the upper half of it random: a fleet must not reload in step. */
static uint64_t backoff_ms(struct engine *e)
{
	const struct agent_config *c = &e->agent->config;
	uint64_t ms = c->engine_backoff_min_ms;

	for (unsigned i = 1; i < e->failures && ms < c->engine_backoff_max_ms; i++)
		ms *= 2;
	ms = min_u64(ms, c->engine_backoff_max_ms);
	return ms - rng_below(&e->agent->rng, ms / 2 + 1);
}

/* wstatus as Linux gives it (waitpid(2)); the macros live in a header that core/ may not see. */
static struct span exit_text(struct agent *a, int wstatus)
{
	if (wstatus < 0)
		return OUT_TEXT(a, "the engine could not be started (system error %d)", -wstatus);
	if ((wstatus & 0x7f) != 0)
		return OUT_TEXT(a, "the engine was ended by signal %d", wstatus & 0x7f);
	return OUT_TEXT(a, "the engine ended by itself with status %d", wstatus >> 8 & 0xff);
}

/* Who waits for it to be loaded is told how far it is. */
static void tell_waiting(struct engine *e)
{
	struct job *j;

	for (size_t p = 0; p < PRIORITY_COUNT; p++)
		TAILQ_FOREACH(j, &e->queue[p], in_list)
		{
			j->say_progress = true;
			job_touch(j);
		}
}

/* ---- actions of the table; e->state is the new state already ---- */

static int nop(struct engine *e, const struct agent_event *in)
{
	(void)e;
	(void)in;
	return 0;
}

static int spawn(struct engine *e, const struct agent_event *in)
{
	(void)in;
	e->is_wanted = true;
	quarantine_try(e);
	e->is_asked = e->is_told = false;
	e->stats = (struct engine_stats){ 0 };
	e->percent = 0;
	e->n_pings = e->n_idle_progress = 0;
	e->timer_ms = now_of(e) + e->agent->config.load_timeout_ms;
	out_action(e->agent, AGENT_ACT_ENGINE_START)->engine = e->index;
	tell_waiting(e);
	report_registration(e->agent, 0);
	return 0;
}

static void take_devices(struct agent *a, const struct engine_msg *m)
{
	a->n_devices = 0;
	for (size_t i = 0; i < m->n_devices && i < PROTO_MAX_DEVICES; i++) {
		char *text = a->device_texts[a->n_devices];

		out_reason(text, DEVICE_SIZE, m->devices[i]);
		a->devices[a->n_devices++] = span_of(text);
	}
}

static int hello(struct engine *e, const struct agent_event *in)
{
	const struct engine_msg *m = in->engine_msg;
	struct engine_msg *load;

	if (m->version != ENGINE_PROTO_VERSION) {
		give_up(e, CODE_MODEL_LOAD_FAILED,
			OUT_TEXT(e->agent,
				"the engine program speaks version %u of the engine protocol, the agent version %u",
				(unsigned)m->version, (unsigned)ENGINE_PROTO_VERSION));
		return 0;
	}
	out_reason(e->agent->build, sizeof(e->agent->build), m->build);
	take_devices(e->agent, m);
	e->parallel = m->max_sequences > 0 && m->max_sequences < e->n_runs ? (size_t)m->max_sequences : e->n_runs;
	e->timer_ms = now_of(e) + e->agent->config.load_timeout_ms;
	load = engine_tell(e, ENGINE_LOAD);
	load->path = e->model.path;
	load->n_ctx = e->model.n_ctx;
	load->parallel = e->parallel;
	load->keep = m->max_sequences > 0 ? min_u64(e->model.keep, m->max_sequences - e->parallel) : e->model.keep;
	load->batch_tokens = e->model.batch_tokens;
	load->prefill_chunk = e->model.prefill_chunk;
	load->prefill_gap = e->model.prefill_gap;
	load->min_batch = e->model.min_batch;
	load->max_batch = e->model.max_batch;
	load->batch_wait_ms = e->model.batch_wait_ms;
	load->batch_wait_adaptive = e->model.batch_wait_adaptive;
	load->threads = e->model.threads;
	load->fast = !e->model.exact;
	load->embeddings = e->model.embeddings;
	return 0;
}

static int progress(struct engine *e, const struct agent_event *in)
{
	uint64_t percent = min_u64(in->engine_msg->percent, 100);

	if (percent <= e->percent) /* the time runs on */
		return ++e->n_idle_progress <= IDLE_PROGRESS_MAX ? 0 : ERR_MALFORMED;
	e->percent = percent;
	e->timer_ms = now_of(e) + e->agent->config.load_timeout_ms;
	report_registration(e->agent, 1000);
	tell_waiting(e);
	return 0;
}

static int loaded(struct engine *e, const struct agent_event *in)
{
	const struct engine_msg *m = in->engine_msg;

	if (e->model.digest.n > 0 && !span_eq(e->model.digest, m->digest)) {
		give_up(e, CODE_CHECKSUM_MISMATCH,
			SPAN("the model file is not the one that is configured: its SHA-256 differs"));
		return 0;
	}
	e->n_ctx = m->n_ctx;
	e->n_embd = m->n_embd;
	e->n_params = m->n_params;
	e->is_exact = m->exact;
	e->size = m->size;
	e->known_digest = SPAN_NONE;
	if (m->digest.n == sizeof(e->digest)) {
		memcpy(e->digest, m->digest.p, sizeof(e->digest));
		e->known_digest = span_mem(e->digest, sizeof(e->digest));
	}
	out_reason(e->arch, sizeof(e->arch), m->arch);
	e->percent = 100;
	e->has_failed = e->is_short = false;
	e->reason[0] = '\0';
	e->ready_ms = now_of(e);
	patience_heard(e);
	e->timer_ms = patience_end(e);
	e->used_ms = now_of(e);
	bench_loaded(e);
	report_registration(e->agent, 0);
	OUT_LOG(e->agent, SAY_INFO, "engine", "model %s is ready: %zu jobs at once", e->model.name.p, e->parallel);
	return 0;
}

static int load_failed(struct engine *e, const struct agent_event *in)
{
	give_up(e, CODE_MODEL_LOAD_FAILED,
		in->engine_msg->reason.n > 0 ? in->engine_msg->reason : SPAN("the engine could not load the model"));
	return 0;
}

static int load_timed_out(struct engine *e, const struct agent_event *in)
{
	(void)in;
	quarantine_note(e);
	give_up(e, CODE_MODEL_LOAD_FAILED,
		OUT_TEXT(e->agent, "the engine made no progress loading for %u s",
			(unsigned)(e->agent->config.load_timeout_ms / 1000)));
	return 0;
}

/* One that answers what it was not asked could keep us busy for ever. */
static int pong(struct engine *e, const struct agent_event *in)
{
	(void)in;
	if (e->n_pings == 0)
		return ERR_MALFORMED;
	e->n_pings--;
	return 0;
}

static int stats(struct engine *e, const struct agent_event *in)
{
	const struct engine_msg *m = in->engine_msg;

	if (m->threads != e->stats.threads)
		OUT_LOG(e->agent, SAY_DEBUG, "engine", "model %s: %u threads, %u us for a token", e->model.name.p,
			(unsigned)m->threads, (unsigned)min_u64(m->token_us, UINT32_MAX));
	e->stats = (struct engine_stats){
		.threads = m->threads, .token_us = m->token_us, .step_rows = m->step_rows, .n_kept = m->n_kept
	};
	return 0;
}

static int look_after(struct engine *e, const struct agent_event *in)
{
	struct run *run;

	(void)in;
	if (patience_is_over(e)) {
		quarantine_note(e);
		give_up(e, CODE_BATCH_TIMEOUT,
			OUT_TEXT(e->agent, "the engine hung: it did not answer for %u ms",
				(unsigned)(now_of(e) - e->heard_ms)));
		return 0;
	}
	/* The engine lives: so far only this job is lost. */
	while ((run = patience_overdue(e)) != NULL) {
		if (run->job == NULL)
			engine_cancel(e, run);
		else
			job_fail(run->job, CODE_BATCH_TIMEOUT, SPAN("the engine brought no token of the job in time"));
	}
	if (patience_wants_ping(e)) {
		(void)engine_tell(e, ENGINE_PING);
		e->n_pings++;
		e->pinged_ms = now_of(e);
	}
	e->timer_ms = patience_end(e);
	return 0;
}

static int saved(struct engine *e, const struct agent_event *in)
{
	return sessions_saved(e, in->engine_msg);
}

static int restored(struct engine *e, const struct agent_event *in)
{
	return sessions_restored(e, in->engine_msg);
}

static int quit(struct engine *e, const struct agent_event *in)
{
	(void)in;
	if (!e->agent->is_stop_hard)
		sessions_save_all(e);
	(void)engine_tell(e, ENGINE_QUIT);
	e->timer_ms = now_of(e) + QUIT_MS + (e->n_saving > 0 ? ENGINE_SAVE_MS : 0);
	return 0;
}

static int end_child(struct engine *e, const struct agent_event *in)
{
	(void)in;
	kill_child(e);
	return 0;
}

static int stay_down(struct engine *e, const struct agent_event *in)
{
	(void)in;
	e->timer_ms = NEVER;
	return 0;
}

/* Its pause is over. */
static int ask_again(struct engine *e, const struct agent_event *in)
{
	(void)in;
	e->timer_ms = NEVER;
	engine_ask(e);
	return 0;
}

static int wait_or_rest(struct engine *e)
{
	sessions_lost(e);
	e->ready_ms = NEVER;
	if (!e->is_wanted) {
		e->state = ENGINE_STATE_DOWN;
		e->timer_ms = NEVER;
		return 0;
	}
	if (e->is_quarantined) {
		e->state = ENGINE_STATE_QUARANTINED;
		e->timer_ms = now_of(e) + e->agent->config.quarantine_ms;
		return 0;
	}
	e->timer_ms = now_of(e) + backoff_ms(e);
	OUT_LOG(e->agent, SAY_INFO, "engine", "model %s: the engine starts again in %u ms", e->model.name.p,
		(unsigned)(e->timer_ms - now_of(e)));
	return 0;
}

/* It died of itself. */
static int died(struct engine *e, const struct agent_event *in)
{
	e->agent->counters.engine_deaths++;
	if (in->wstatus >= 0) /* it was started */
		quarantine_note(e);
	note_failure(e, exit_text(e->agent, in->wstatus));
	runs_lose(e, CODE_ENGINE_CRASHED);
	return wait_or_rest(e);
}

/* It was told to go, or killed: the reason is known. */
static int gone(struct engine *e, const struct agent_event *in)
{
	(void)in;
	return wait_or_rest(e);
}

/* ---- the table ---- */

struct row {
	enum engine_state next;
	int (*act)(struct engine *e, const struct agent_event *in); /* NULL: not legal here */
};

#define S(name) ENGINE_STATE_##name
#define EV(name) [ENGINE_EV_##name]
static const struct row table[ENGINE_STATE_COUNT][ENGINE_EV_COUNT] = {
	[S(DOWN)] = { EV(START) = { S(STARTING), spawn }, EV(STOP) = { S(DOWN), nop } },
	[S(STARTING)] = { EV(HELLO) = { S(LOADING), hello }, EV(EXIT) = { S(BACKOFF), died },
		EV(TIMEOUT) = { S(STOPPING), load_timed_out }, EV(STOP) = { S(STOPPING), end_child } },
	[S(LOADING)] = { EV(PROGRESS) = { S(LOADING), progress }, EV(LOADED) = { S(READY), loaded },
		EV(ERROR) = { S(STOPPING), load_failed }, EV(EXIT) = { S(BACKOFF), died },
		EV(TIMEOUT) = { S(STOPPING), load_timed_out }, EV(STOP) = { S(STOPPING), end_child } },
	[S(READY)] = { EV(TOKENS) = { S(READY), runs_tokens }, EV(DONE) = { S(READY), runs_done },
		EV(ERROR) = { S(READY), runs_error }, EV(PONG) = { S(READY), pong }, EV(STATS) = { S(READY), stats },
		EV(SAVED) = { S(READY), saved }, EV(RESTORED) = { S(READY), restored }, EV(EXIT) = { S(BACKOFF), died },
		EV(TIMEOUT) = { S(READY), look_after }, EV(STOP) = { S(STOPPING), quit } },
	/* What it still says on its way out is of no interest. */
	[S(STOPPING)] = { EV(HELLO) = { S(STOPPING), nop }, EV(PROGRESS) = { S(STOPPING), nop },
		EV(LOADED) = { S(STOPPING), nop }, EV(TOKENS) = { S(STOPPING), nop }, EV(DONE) = { S(STOPPING), nop },
		EV(ERROR) = { S(STOPPING), nop }, EV(PONG) = { S(STOPPING), nop }, EV(STATS) = { S(STOPPING), nop },
		EV(SAVED) = { S(STOPPING), saved }, EV(RESTORED) = { S(STOPPING), nop }, EV(EXIT) = { S(BACKOFF), gone },
		EV(TIMEOUT) = { S(STOPPING), end_child }, EV(STOP) = { S(STOPPING), nop } },
	[S(BACKOFF)] = { EV(START) = { S(STARTING), spawn }, EV(TIMEOUT) = { S(BACKOFF), ask_again },
		EV(STOP) = { S(DOWN), stay_down } },
	[S(QUARANTINED)] = { EV(START) = { S(STARTING), spawn }, EV(TIMEOUT) = { S(QUARANTINED), ask_again },
		EV(STOP) = { S(DOWN), stay_down } },
};
#undef EV
#undef S

int engine_step(struct engine *e, enum engine_ev ev, const struct agent_event *in)
{
	const struct row *r = &table[e->state][ev];

	if (r->act == NULL)
		return ERR_STATE;
	e->state = r->next;
	return r->act(e, in);
}

/* ---- from outside ---- */

static enum engine_ev event_of(const struct engine_msg *m)
{
	if (m == NULL)
		return ENGINE_EV_COUNT;
	switch (m->type) {
	case ENGINE_HELLO: return ENGINE_EV_HELLO;
	case ENGINE_PROGRESS: return ENGINE_EV_PROGRESS;
	case ENGINE_LOADED: return ENGINE_EV_LOADED;
	case ENGINE_TOKENS:
	case ENGINE_EMBEDDING: return ENGINE_EV_TOKENS;
	case ENGINE_DONE: return ENGINE_EV_DONE;
	case ENGINE_ERROR: return ENGINE_EV_ERROR;
	case ENGINE_PONG: return ENGINE_EV_PONG;
	case ENGINE_STATS: return ENGINE_EV_STATS;
	case ENGINE_SAVED: return ENGINE_EV_SAVED;
	case ENGINE_RESTORED: return ENGINE_EV_RESTORED;
	default: return ENGINE_EV_COUNT;
	}
}

/* It cannot be trusted with anything any more. */
static void fault(struct engine *e, struct span reason)
{
	if (!has_child(e) || e->state == ENGINE_STATE_STOPPING)
		return;
	quarantine_note(e);
	give_up(e, CODE_ENGINE_CRASHED, reason);
}

void engine_message(struct engine *e, const struct agent_event *in)
{
	enum engine_ev ev = event_of(in->engine_msg);
	int rc = ev == ENGINE_EV_COUNT ? ERR_MALFORMED : engine_step(e, ev, in);

	patience_heard(e);
	if (rc >= 0)
		return;
	e->agent->counters.engine_bad_messages++;
	fault(e, SPAN("the engine sent a message that is not valid and was ended"));
}

/* Whether it is to go on or not, its jobs cannot wait for that. */
void engine_stopped(struct engine *e, int signo)
{
	fault(e, OUT_TEXT(e->agent, "the engine was stopped by signal %d and was ended", signo));
}

void engine_exited(struct engine *e, const struct agent_event *in)
{
	if (engine_step(e, ENGINE_EV_EXIT, in) < 0)
		e->agent->counters.engine_bad_messages++; /* no child was known: nothing to do */
}

void engine_stood_still(struct engine *e, uint64_t ms)
{
	if (!has_child(e))
		return;
	patience_stood_still(e, ms);
	if (e->timer_ms != NEVER)
		e->timer_ms += ms;
}

void engine_tick(struct engine *e)
{
	if (now_of(e) >= e->timer_ms && engine_step(e, ENGINE_EV_TIMEOUT, NULL) < 0)
		e->timer_ms = NEVER;
}

void engine_start(struct engine *e)
{
	(void)engine_step(e, ENGINE_EV_START, NULL); /* not legal: it runs */
}

void engine_ask(struct engine *e)
{
	e->is_wanted = true;
	if (e->is_asked || has_child(e))
		return;
	e->is_asked = true;
	e->asked_ms = now_of(e);
}

void engine_load(struct engine *e)
{
	quarantine_forget(e);
	e->failures = 0;
	if (!has_child(e))
		e->timer_ms = NEVER; /* no pause */
	engine_ask(e);
	e->is_told = e->is_asked;
}

void engine_fail_short(struct engine *e, struct span reason)
{
	struct job *j;

	e->is_asked = e->is_told = false;
	e->has_failed = e->is_short = true;
	e->fail_code = CODE_RESOURCE_LIMIT_EXCEEDED;
	out_reason(e->reason, sizeof(e->reason), reason);
	report_registration(e->agent, 0);
	OUT_LOG(e->agent, SAY_WARN, "engine", "model %s is not loaded: %s", e->model.name.p, e->reason);
	while ((j = queue_next(e)) != NULL)
		job_fail(j, CODE_RESOURCE_LIMIT_EXCEEDED, span_of(e->reason));
}

size_t engine_slots(const struct engine *e)
{
	if (e->state == ENGINE_STATE_READY)
		return e->parallel;
	if (e->has_failed || e->is_quarantined || (e->n_queued == 0 && (e->is_asked || has_child(e))))
		return 0; /* it does not work; or it is loaded before its time: let jobs wait where they can go elsewhere */
	return e->n_runs;
}

void engine_stop(struct engine *e, bool at_once)
{
	e->is_wanted = false;
	if (e->bench.run != 0) {
		(void)runs_end(e, runs_find(e, e->bench.run));
		bench_dropped(e);
	}
	(void)engine_step(e, ENGINE_EV_STOP, NULL); /* legal in every state */
	if (at_once && has_child(e))
		kill_child(e);
}

bool engine_has_child(const struct engine *e)
{
	return has_child(e);
}

uint64_t engine_deadline(const struct engine *e)
{
	return e->timer_ms;
}

bool engine_is_settled(const struct engine *e)
{
	return e->state == ENGINE_STATE_READY || e->has_failed || (!e->is_asked && !has_child(e));
}

enum model_state engine_model_state(const struct engine *e)
{
	if (e->is_quarantined)
		return MODEL_QUARANTINED;
	if (e->has_failed)
		return MODEL_FAILED;
	if (e->state == ENGINE_STATE_READY)
		return MODEL_READY;
	return e->state == ENGINE_STATE_STARTING || e->state == ENGINE_STATE_LOADING ? MODEL_LOADING : MODEL_HELD;
}

struct engine *engine_find(struct agent *a, struct span model)
{
	for (size_t i = 0; i < a->n_engines; i++)
		if (span_eq(a->engines[i].model.name, model))
			return &a->engines[i];
	return NULL;
}

int engine_init(struct engine *e, struct agent *a, size_t index)
{
	*e = (struct engine){ .agent = a,
		.index = index,
		.model = a->config.models[index],
		.timer_ms = NEVER,
		.ready_ms = NEVER,
		.yield_ms = NEVER };
	e->n_runs = (size_t)min_u64(max_u64(e->model.parallel, 1), RUNS_MAX);
	e->parallel = e->n_runs;
	for (size_t p = 0; p < PRIORITY_COUNT; p++)
		TAILQ_INIT(&e->queue[p]);
	e->runs = calloc(e->n_runs, sizeof(*e->runs));
	return e->runs != NULL ? 0 : ERR_NOMEM;
}

void engine_fini(struct engine *e)
{
	for (size_t p = 0; p < PRIORITY_COUNT; p++)
		TAILQ_INIT(&e->queue[p]);
	free(e->runs);
	e->runs = NULL;
}
