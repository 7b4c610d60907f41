#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent.h"
#include "cgroup.h"
#include "benchfile.h"
#include "engine_link.h"
#include "files.h"
#include "hw.h"
#include "log.h"
#include "loop.h"
#include "metrics_port.h"
#include "model_file.h"
#include "mqtt.h"
#include "panel.h"
#include "probes.h"
#include "session_dir.h"
#include "statedir.h"

#define SAMPLE_MS 2000
#define EMBED_ROWS 512  /* of a text whose vector is wanted */
#define FAST_ROWS 256   /* of a prompt in one pass of the engine, unless it is told otherwise */
#define GOODBYE_MS 2000 /* for the acknowledgements of the last words */
#define EX_SOFTWARE 70
#define EX_CANTCREAT 73
#define NOT_SENT_MAX 64

struct daemon {
	const struct settings *set;
	struct loop *loop;
	struct statedir *state;
	struct agent *core;
	struct mqtt *mqtt;
	struct panel *panel;          /* NULL: the box has none */
	struct metrics_port *metrics; /* NULL: none */
	struct hw hw;
	struct probes *probes;
	struct benchfile benches; /* what is added later the core knows by itself */
	struct engine_link *engines[AGENT_MAX_MODELS];
	struct model_file files[AGENT_MAX_MODELS];
	struct loop_timer *tick, *sample;
	enum agent_phase phase; /* systemd was told */
	/* Found out while carrying out actions, told to the core after them. */
	int start_errors[AGENT_MAX_MODELS], load_errors[AGENT_MAX_MODELS];
	char reason[512];
	struct engine_msg said; /* in an engine's place; its reason is in reason */
	struct session_dir *sessions;  /* NULL: none are kept */
	struct {
		size_t engine;
		uint64_t type, job;
	} not_sent[NOT_SENT_MAX]; /* SAVE and RESTORE that had no file */
	size_t n_not_sent;
	bool is_full, was_full;
};

static void feed(struct daemon *d, const struct agent_event *ev);

/* ---- actions ---- */

static void on_goodbye(void *ctx)
{
	struct daemon *d = ctx;

	loop_exit(d->loop, 0);
}

static void start_engine(struct daemon *d, size_t i)
{
	d->start_errors[i] = engine_link_start(d->engines[i]);
	if (d->start_errors[i] < 0)
		log_error("engine", "model %s: the engine program cannot be started: %s", d->set->models[i].name,
			d->start_errors[i] > -1000 ? strerror(-d->start_errors[i]) : err_text(d->start_errors[i]));
}

/* A file that cannot be opened is told as if the engine could not use it. */
static void send_session(struct daemon *d, const struct agent_action *act)
{
	bool is_save = act->engine_msg.type == ENGINE_SAVE;
	int fd = is_save ? session_dir_write(d->sessions, act->file) : session_dir_read(d->sessions, act->file);

	if (fd >= 0)
		engine_link_send(d->engines[act->engine], &act->engine_msg, fd);
	if (fd >= 0 || d->n_not_sent == NOT_SENT_MAX)
		return;
	d->not_sent[d->n_not_sent].engine = act->engine;
	d->not_sent[d->n_not_sent].type = act->engine_msg.type;
	d->not_sent[d->n_not_sent++].job = act->engine_msg.job;
}

/* A model file that cannot be opened is told as the engine would, had it opened it. */
static void send_to_engine(struct daemon *d, const struct agent_action *act)
{
	const struct engine_msg *m = &act->engine_msg;
	size_t i = act->engine;
	int fd = -1;

	if (act->file.n > 0) {
		send_session(d, act);
		return;
	}
	if (m->type == ENGINE_LOAD && (fd = files_open_model(m->path)) < 0) {
		d->load_errors[i] = fd;
		return;
	}
	engine_link_send(d->engines[i], m, fd);
}

static void keep_session(struct daemon *d, struct span name)
{
	int rc = session_dir_keep(d->sessions, name);

	if (rc < 0)
		log_warn("session", "a session in sessions.dir cannot be kept: %s", strerror(-rc));
}

static void keep_bench(struct daemon *d, const struct agent_bench *b)
{
	int rc = benchfile_add(&d->benches, b);

	if (rc < 0)
		log_warn("agent",
			"how fast a model is cannot be kept in state_dir: %s; it is measured again after a restart",
			strerror(-rc));
}

static void carry_out(struct daemon *d, const struct agent_action *act)
{
	switch (act->type) {
	case AGENT_ACT_REGISTER:
	case AGENT_ACT_STATUS:
	case AGENT_ACT_HEARTBEAT:
	case AGENT_ACT_EVENT: d->is_full |= !mqtt_publish(d->mqtt, act); break;
	case AGENT_ACT_ENGINE_START: start_engine(d, act->engine); break;
	case AGENT_ACT_SESSION_KEEP: keep_session(d, act->file); break;
	case AGENT_ACT_SESSION_DISCARD: session_dir_discard(d->sessions, act->file); break;
	case AGENT_ACT_SESSION_DROP: session_dir_drop(d->sessions, act->file); break;
	case AGENT_ACT_ENGINE_SEND: send_to_engine(d, act); break;
	case AGENT_ACT_ENGINE_KILL: engine_link_kill(d->engines[act->engine]); break;
	case AGENT_ACT_BENCHED: keep_bench(d, act->bench); break;
	case AGENT_ACT_LOG: log_at((enum log_level)act->level, act->where, "%.*s", SPAN_FMT(act->text)); break;
	case AGENT_ACT_STOPPED: mqtt_close(d->mqtt, GOODBYE_MS, on_goodbye); break;
	}
}

static void step(struct daemon *d, const struct agent_event *ev)
{
	const struct agent_action *acts;
	size_t n = agent_step(d->core, loop_now_ms(d->loop), ev, &acts);
	struct agent_view view = agent_view(d->core);

	panel_show(d->panel, &view); /* first: an accelerator has its power before its engine starts */
	for (size_t i = 0; i < n; i++)
		carry_out(d, &acts[i]);
}

/* What came of carrying actions out; false: nothing. */
static bool next_consequence(struct daemon *d, struct agent_event *ret)
{
	for (size_t i = 0; i < d->set->n_models; i++) {
		if (d->start_errors[i] == 0)
			continue;
		*ret = (struct agent_event){ .type = AGENT_EV_ENGINE_EXIT, .engine = i, .wstatus = d->start_errors[i] };
		d->start_errors[i] = 0;
		return true;
	}
	for (size_t i = 0; i < d->set->n_models; i++) {
		if (d->load_errors[i] == 0)
			continue;
		files_reason(span_of(d->set->models[i].file), d->load_errors[i], d->reason, sizeof(d->reason));
		d->load_errors[i] = 0;
		d->said = (struct engine_msg){
			.type = ENGINE_ERROR, .code = CODE_MODEL_LOAD_FAILED, .reason = span_of(d->reason)
		};
		*ret = (struct agent_event){ .type = AGENT_EV_ENGINE, .engine = i, .engine_msg = &d->said };
		return true;
	}
	if (d->n_not_sent > 0) {
		d->n_not_sent--;
		d->said = (struct engine_msg){ .type = d->not_sent[d->n_not_sent].type == ENGINE_SAVE ? ENGINE_SAVED
												      : ENGINE_RESTORED,
			.job = d->not_sent[d->n_not_sent].job,
			.code = CODE_INTERNAL_ERROR,
			.reason = SPAN("its file in sessions.dir cannot be opened") };
		*ret = (struct agent_event){
			.type = AGENT_EV_ENGINE, .engine = d->not_sent[d->n_not_sent].engine, .engine_msg = &d->said
		};
		return true;
	}
	d->is_full |= mqtt_is_full(d->mqtt);
	if (!d->is_full || d->was_full)
		return false;
	d->was_full = true;
	*ret = (struct agent_event){ .type = AGENT_EV_CONGESTED };
	return true;
}

static void tell_systemd(struct daemon *d)
{
	char text[64];

	if (agent_phase(d->core) == d->phase)
		return;
	d->phase = agent_phase(d->core);
	(void)snprintf(text, sizeof(text), "STATUS=%s", agent_phase_name(d->phase));
	loop_notify(d->loop, text);
}

static void feed(struct daemon *d, const struct agent_event *ev)
{
	struct agent_event next;
	uint64_t at;

	step(d, ev);
	while (next_consequence(d, &next))
		step(d, &next);
	at = agent_deadline(d->core);
	if (at == UINT64_MAX)
		loop_timer_off(d->tick);
	else
		loop_timer_at(d->tick, at);
	tell_systemd(d);
}

/* ---- events ---- */

static void measure_memory(struct daemon *d, struct agent_sample *ret)
{
	struct cgroup_memory group = cgroup_memory("");

	ret->cgroup_limit = group.limit;
	ret->cgroup_used = group.used;
	for (size_t i = 0; i < d->set->n_models; i++) {
		pid_t pid = engine_link_pid(d->engines[i]);

		if (pid == 0)
			continue;
		ret->rss += hw_rss("", pid);
		ret->engine_anon[i] = cgroup_anon_of("", pid);
	}
}

/* Not at those that are loaded: their engines have the files, and a file server that hangs must
 * not make us hang, too. */
static void look_at_files(struct daemon *d)
{
	struct footprint f;

	for (size_t i = 0; i < d->set->n_models; i++)
		if (engine_link_pid(d->engines[i]) == 0 && model_file_look(&d->files[i], &f))
			feed(d, &(struct agent_event){ .type = AGENT_EV_FOOTPRINT, .engine = i, .footprint = &f });
}

static void on_sample(void *ctx)
{
	struct daemon *d = ctx;
	struct agent_sample s = { .mem_available = hw_mem_available(""),
		.load_milli = hw_load_milli(""),
		.rss = hw_rss("", 0),
		.bad_messages = mqtt_bad_messages(d->mqtt) };

	measure_memory(d, &s);
	probes_read(d->probes, loop_now_ms(d->loop), &s.sensors);
	loop_timer_at(d->sample, loop_now_ms(d->loop) + SAMPLE_MS);
	look_at_files(d);
	feed(d, &(struct agent_event){ .type = AGENT_EV_SAMPLE, .sample = &s });
}

/* Who pings wants to know how things are now. */
static void on_mqtt(void *ctx, const struct agent_event *ev)
{
	if (ev->type == AGENT_EV_CONTROL && ev->control->verb == CONTROL_PING)
		on_sample(ctx);
	feed(ctx, ev);
}

static void on_engine_message(void *ctx, size_t index, const struct engine_msg *m)
{
	feed(ctx, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine = index, .engine_msg = m });
}

static void on_engine_exit(void *ctx, size_t index, int wstatus)
{
	feed(ctx, &(struct agent_event){ .type = AGENT_EV_ENGINE_EXIT, .engine = index, .wstatus = wstatus });
}

static void on_engine_stop(void *ctx, size_t index, int signo)
{
	feed(ctx, &(struct agent_event){ .type = AGENT_EV_ENGINE_STOPPED, .engine = index, .signo = signo });
}

static void on_engine_said(void *ctx, size_t index, int level, struct span line)
{
	const struct daemon *d = ctx;

	log_at((enum log_level)level, "engine", "model %s says: %.*s", d->set->models[index].name, SPAN_FMT(line));
}

static void on_tick(void *ctx)
{
	feed(ctx, &(struct agent_event){ .type = AGENT_EV_TICK });
}

static void on_stop(void *ctx, int signo)
{
	struct daemon *d = ctx;

	log_notice("agent", "signal %d: stopping%s", signo, agent_phase(d->core) == AGENT_PHASE_DRAINING ? " at once" : "");
	feed(d, &(struct agent_event){ .type = AGENT_EV_STOP });
}

static void on_press(void *ctx, enum gpio_press press)
{
	bool is_long = press == GPIO_PRESS_LONG;

	log_notice("agent", "the button was pressed%s", is_long ? " for long: stopping" : "");
	feed(ctx, &(struct agent_event){ .type = is_long ? AGENT_EV_STOP : AGENT_EV_BUTTON });
}

/* At the end of a turn: acknowledgements have come in, there may be room again. */
static void on_turn(void *ctx)
{
	struct daemon *d = ctx;

	if (!d->was_full || !mqtt_is_roomy(d->mqtt))
		return;
	d->is_full = d->was_full = false;
	feed(d, &(struct agent_event){ .type = AGENT_EV_WRITABLE });
}

/* ---- making ---- */

static int look_at_box(struct daemon *d)
{
	int rc = probes_new("", d->set->state_dir, &d->probes);

	hw_read("", &d->hw);
	benchfile_read(statedir_fd(d->state), &d->benches);
	if (rc == 0)
		probes_describe(d->probes, &d->hw.said);
	return rc;
}

/* An agent without them does all the rest. */
static void open_sessions(struct daemon *d)
{
	int rc = d->set->sessions.dir[0] != '\0' ? session_dir_open(d->set->sessions.dir, &d->sessions) : 0;

	if (rc < 0)
		log_error("session", "sessions.dir \"%s\" cannot be used: %s; conversations end with their engine",
			d->set->sessions.dir, strerror(-rc));
}

static void on_found(void *ctx, struct span name, uint64_t bytes)
{
	feed(ctx, &(struct agent_event){ .type = AGENT_EV_SESSION, .name = name, .bytes = bytes });
}

static void find_sessions(struct daemon *d)
{
	int rc = d->sessions != NULL ? session_dir_list(d->sessions, on_found, d) : 0;

	if (rc < 0)
		log_warn("session", "sessions.dir cannot be read: %s", strerror(-rc));
}

/* Of the widest step: the room for a text's vector is one of so many. */
static uint64_t rows_of(const struct model_settings *m)
{
	uint64_t rows = m->prefill_chunk != 0 ? m->prefill_chunk : FAST_ROWS;

	return m->embeddings && rows < EMBED_ROWS ? EMBED_ROWS : rows;
}

static int make_core(struct daemon *d, uint64_t epoch, const uint64_t random[2])
{
	const struct settings *s = d->set;
	struct agent_model models[AGENT_MAX_MODELS];
	uint8_t digests[AGENT_MAX_MODELS][32];
	struct span labels[PROTO_MAX_LABELS];
	struct agent_config c = { .id = span_of(s->id),
		.host = span_of(d->hw.host),
		.software = SPAN("shoal-agent " SHOAL_VERSION),
		.hardware = &d->hw.said,
		.epoch = epoch,
		.nonce = random[0],
		.seed = random[1],
		.queue_max = s->queue.max,
		.queue_displaces = s->queue.when_full == QUEUE_DISPLACE,
		.queue_wait_ms = s->queue.wait_ms,
		.queue_aging_ms = s->queue.aging_ms,
		.heartbeat_idle_ms = s->heartbeat.idle_ms,
		.heartbeat_busy_ms = s->heartbeat.busy_ms,
		.hub_lease_ms = s->hub_lease_ms,
		.drain_ms = s->drain_ms,
		.load_timeout_ms = s->engine.load_timeout_ms,
		.token_timeout_ms = s->engine.token_timeout_ms,
		.prompt_timeout_ms = s->engine.prompt_timeout_ms,
		.engine_backoff_min_ms = s->engine.backoff_min_ms,
		.engine_backoff_max_ms = s->engine.backoff_max_ms,
		.quarantine_deaths = s->engine.quarantine_deaths,
		.quarantine_window_ms = s->engine.quarantine_window_ms,
		.quarantine_ms = s->engine.quarantine_ms,
		.register_when_warm = s->register_when == REGISTER_WARM,
		.benchmark = s->benchmark,
		.benchmark_calm_ms = s->benchmark_calm_ms,
		.benches = d->benches.list,
		.n_benches = d->benches.n,
		.session_bytes = d->sessions != NULL ? s->sessions.max_bytes : 0,
		.session_rest_ms = s->sessions.save_after_ms,
		.models = models,
		.n_models = s->n_models,
		.labels = labels,
		.n_labels = s->n_labels,
		.metered = s->metered };

	if (settings_limit(s->memory.soft, &c.memory_soft) < 0 || settings_limit(s->memory.hard, &c.memory_hard) < 0)
		return ERR_RANGE; /* the table has checked them */
	for (size_t i = 0; i < s->n_labels; i++)
		labels[i] = span_of(s->labels[i]);
	for (size_t i = 0; i < s->n_models; i++) {
		const struct model_settings *m = &s->models[i];

		models[i] = (struct agent_model){ .name = span_of(m->name),
			.path = span_of(m->file),
			.n_ctx = m->context,
			.parallel = m->parallel,
			.keep = m->keep,
			.batch_tokens = m->batch_tokens,
			.prefill_chunk = m->prefill_chunk,
			.prefill_gap = m->prefill_gap,
			.min_batch = m->min_batch,
			.max_batch = m->max_batch,
			.batch_wait_ms = m->batch_wait_ms,
			.batch_wait_adaptive = m->batch_wait_adaptive,
			.threads = m->threads,
			.is_pinned = m->pinned,
			.is_lazy = !m->prewarm,
			.exact = m->exact,
			.embeddings = m->embeddings };
		model_file_init(&d->files[i], m->file,
			&(struct footprint_use){ m->context, m->parallel + m->keep + m->embeddings, rows_of(m) });
		if (settings_digest(m->sha256, digests[i]) == 0)
			models[i].digest = span_mem(digests[i], sizeof(digests[i]));
	}
	return agent_new(&c, &d->core);
}

static void write_metrics(void *ctx, struct buf *out)
{
	struct daemon *d = ctx;

	agent_prometheus(d->core, out);
}

static int make_shell(struct daemon *d, const char *engine_path, uint64_t seed)
{
	static const struct engine_link_callbacks callbacks = { on_engine_message, on_engine_exit, on_engine_stop,
		on_engine_said };
	int rc = loop_new(on_stop, d, &d->loop);

	if (rc == 0)
		rc = loop_timer_new(d->loop, on_tick, d, &d->tick);
	if (rc == 0)
		rc = loop_timer_new(d->loop, on_sample, d, &d->sample);
	if (rc == 0)
		rc = loop_post(d->loop, on_turn, d);
	if (rc == 0)
		rc = metrics_port_new(d->loop, d->set, write_metrics, d, &d->metrics);
	if (rc == 0)
		rc = panel_new(d->loop, &d->set->gpio, on_press, d, &d->panel);
	for (size_t i = 0; rc == 0 && i < d->set->n_models; i++)
		rc = engine_link_new(d->loop, i, engine_path, &callbacks, d, &d->engines[i]);
	if (rc == 0)
		rc = mqtt_new(d->loop, d->set, d->core, seed, on_mqtt, d, &d->mqtt);
	return rc;
}

/* The epoch is on disk before anything connects. */
static int open_state(struct daemon *d, uint64_t *ret_epoch)
{
	char why[512] = "";
	int rc = statedir_open(d->set->state_dir, "agent.pid", why, sizeof(why), &d->state);

	if (rc == 0)
		rc = statedir_epoch(d->state, why, sizeof(why), ret_epoch);
	if (rc < 0)
		log_error("agent", "%s", why);
	return rc;
}

static int make(struct daemon *d, const char *engine_path)
{
	uint64_t epoch = 0, random[3];
	int rc;

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
		log_error("agent", "no random numbers: %s", strerror(errno));
		return EX_SOFTWARE;
	}
	if (open_state(d, &epoch) < 0)
		return EX_CANTCREAT;
	open_sessions(d);
	rc = look_at_box(d);
	if (rc == 0)
		rc = make_core(d, epoch, random);
	if (rc == 0)
		rc = make_shell(d, engine_path, random[2]);
	if (rc == 0)
		return 0;
	log_error("agent", "starting failed: %s", rc > -1000 ? strerror(-rc) : err_text(rc));
	return EX_SOFTWARE;
}

static void unmake(struct daemon *d)
{
	mqtt_free(d->mqtt);
	for (size_t i = 0; i < d->set->n_models; i++)
		engine_link_free(d->engines[i]);
	panel_free(d->panel);
	metrics_port_free(d->metrics);
	loop_timer_free(d->tick);
	loop_timer_free(d->sample);
	loop_free(d->loop);
	agent_free(d->core);
	session_dir_free(d->sessions);
	probes_free(d->probes);
	statedir_free(d->state);
}

int daemon_run(const struct settings *s, const char *engine_path)
{
	struct daemon d = { .set = s };
	int rc = make(&d, engine_path);

	if (rc == 0) {
		loop_notify_ready(d.loop, "connecting");
		find_sessions(&d);
		on_sample(&d); /* how much memory there is comes before the first model */
		feed(&d, &(struct agent_event){ .type = AGENT_EV_START });
		mqtt_start(d.mqtt);
		rc = loop_run(d.loop);
		if (rc < 0)
			log_error("agent", "the event loop failed: %s", rc > -1000 ? strerror(-rc) : err_text(rc));
		rc = rc < 0 ? EX_SOFTWARE : rc;
	}
	unmake(&d);
	return rc;
}
