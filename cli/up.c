/* up.c - runs a broker, a hub and N agents as children and keeps them running.
 *
 * Starting: the broker first, then all others at once; ready is when the hub lists N
 * agents that have the model loaded.  A death before that is a failure, told in one
 * sentence.  After it a child that died is started again, except an agent that ended
 * with status 0: someone told it to drain and go.
 * Stopping: agents, then hub, then broker, each asked with SIGTERM and given a moment. */
#include "up.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "api.h"
#include "http_client.h"
#include "loop.h"
#include "proc.h"

#define POLL_MS 100
#define BROKER_POLL_MS 10
#define BROKER_TIMEOUT_MS 10000
#define JOIN_TIMEOUT_MS 30000 /* until all agents are known to the hub; loading may take longer */
#define NEWS_MS 5000
#define POLL_TIMEOUT_MS 5000
#define AGENTS_STOP_MS 8000
#define OTHERS_STOP_MS 5000

enum phase { UP_BROKER, UP_JOINING, UP_RUNNING, UP_STOP_AGENTS, UP_STOP_HUB, UP_STOP_BROKER, UP_STOPPED };

struct unit {
	struct proc *proc;
	const char *argv[8];
	char name[32], dir[PATH_MAX], config[PATH_MAX];
};

struct up {
	const struct up_options *o;
	struct loop *loop;
	struct loop_timer *timer;
	struct http_client *http;
	struct http_request *poll;
	struct buf body;
	enum phase phase;
	uint64_t phase_until_ms; /* then it has taken too long */
	uint64_t news_at_ms;
	int exit_code;
	struct unit broker, hub, agents[UP_MAX_AGENTS];
};

static void enter(struct up *u, enum phase phase, uint64_t limit_ms)
{
	u->phase = phase;
	u->phase_until_ms = clock_ms() + limit_ms;
	loop_timer_at(u->timer, 0);
}

/* Ends it with a sentence that was said already. */
static void stop(struct up *u, int exit_code)
{
	if (u->phase >= UP_STOP_AGENTS)
		return;
	u->exit_code = exit_code;
	u->poll = http_request_free(u->poll);
	for (size_t i = 0; i < u->o->n_agents; i++)
		proc_stop(u->agents[i].proc, SIGTERM);
	enter(u, UP_STOP_AGENTS, AGENTS_STOP_MS);
}

static bool agents_run(const struct up *u)
{
	for (size_t i = 0; i < u->o->n_agents; i++) {
		if (proc_is_running(u->agents[i].proc))
			return true;
	}
	return false;
}

static void kill_all(struct up *u)
{
	for (size_t i = 0; i < u->o->n_agents; i++)
		proc_stop(u->agents[i].proc, SIGKILL);
	proc_stop(u->hub.proc, SIGKILL);
	proc_stop(u->broker.proc, SIGKILL);
}

static void on_signal(void *ctx, int signo)
{
	struct up *u = ctx;

	(void)signo;
	if (u->phase >= UP_STOP_AGENTS)
		kill_all(u); /* asked twice: at once */
	else
		stop(u, CLI_OK);
}

static bool fail_start(struct up *u, const struct proc *p, const char *how)
{
	char words[512];

	proc_last_words(p, words, sizeof(words));
	stop(u, cli_fail(CLI_UNAVAILABLE, "%s did not start, it ended with %s%s%s", proc_name(p), how,
			words[0] != '\0' ? ": " : "", words));
	return false;
}

static bool on_ended(void *ctx, struct proc *p, int wstatus)
{
	struct up *u = ctx;
	bool is_daemon = p == u->broker.proc || p == u->hub.proc;
	char how[64];

	proc_describe(wstatus, how, sizeof(how));
	loop_timer_at(u->timer, 0);
	if (u->phase >= UP_STOP_AGENTS)
		return false;
	if (u->phase != UP_RUNNING)
		return fail_start(u, p, how);
	if (wstatus == 0 && !is_daemon) {
		cli_note("%s has ended and stays stopped", proc_name(p));
		return false;
	}
	cli_note("%s died (%s), starting it again", proc_name(p), how);
	return true;
}

/* ---- ready? ---- */

static bool has_model(struct up *u, const struct api_agent *a)
{
	for (size_t i = 0; i < a->n_models && u->phase == UP_JOINING; i++) {
		const struct api_agent_model *m = &a->models[i];

		if (span_is(m->state, "failed") || span_is(m->state, "quarantined"))
			stop(u, cli_fail(CLI_UNAVAILABLE, "%.*s cannot load the model %s: %.*s", SPAN_FMT(a->id), u->o->model,
					SPAN_FMT(m->reason.n > 0 ? m->reason : SPAN("no reason given"))));
		else if (span_is(m->state, "ready"))
			return true;
	}
	return false;
}

static void on_agents(struct up *u, const struct api_agents *list)
{
	size_t n_joined = 0, n_ready = 0;

	for (size_t i = 0; i < list->n_agents; i++) {
		if (!span_is(list->agents[i].state, "online"))
			continue;
		n_joined++;
		n_ready += has_model(u, &list->agents[i]);
	}
	if (u->phase != UP_JOINING)
		return;
	if (n_joined == u->o->n_agents)
		u->phase_until_ms = UINT64_MAX; /* from here on the agents watch the loading */
	if (n_ready < u->o->n_agents) {
		if (clock_ms() >= u->news_at_ms) {
			cli_note("%zu of %" PRIu64 " agents are there, %zu have loaded the model", n_joined, u->o->n_agents,
				n_ready);
			u->news_at_ms = clock_ms() + NEWS_MS;
		}
		return;
	}
	u->phase = UP_RUNNING;
	loop_timer_off(u->timer);
	printf("ready http=127.0.0.1:%" PRIu64 " mqtt=127.0.0.1:%" PRIu64 " agents=%" PRIu64 "\n", u->o->http.number,
		u->o->mqtt.number, u->o->n_agents);
	if (fflush(stdout) != 0)
		stop(u, cli_fail(74, "cannot write to standard output"));
}

static void on_poll_data(void *ctx, struct span bytes)
{
	struct up *u = ctx;

	buf_add_span(&u->body, bytes);
}

static void on_poll_done(void *ctx, long status, const char *why)
{
	struct up *u = ctx;
	struct api_agents list = { 0 };
	void *memory = NULL;

	(void)why; /* the hub is not there yet: asked again, and phase_until_ms ends it */
	u->poll = http_request_free(u->poll);
	if (status == 200 && u->body.err == 0 && api_decode(&api_agents_type, buf_span(&u->body), &list, &memory) == 0)
		on_agents(u, &list);
	free(memory);
}

static void poll_hub(struct up *u)
{
	static const struct http_callbacks cb = { .data = on_poll_data, .done = on_poll_done };
	char url[64];

	if (u->poll != NULL)
		return;
	snprintf(url, sizeof(url), "http://127.0.0.1:%" PRIu64 "/api/v1/agents", u->o->http.number);
	buf_reset(&u->body);
	if (http_start(u->http, url, NULL, POLL_TIMEOUT_MS, &cb, u, &u->poll) < 0)
		stop(u, cli_fail(CLI_INTERNAL, "out of memory"));
}

/* ---- one step further, whenever something happened or a moment has passed ---- */

static void start_others(struct up *u)
{
	int rc = proc_start(u->hub.proc);

	for (size_t i = 0; i < u->o->n_agents && rc == 0; i++)
		rc = proc_start(u->agents[i].proc);
	if (rc < 0)
		stop(u, cli_fail(CLI_INTERNAL, "cannot start %s: %s", u->o->agent, strerror(-rc)));
	else
		enter(u, UP_JOINING, JOIN_TIMEOUT_MS);
}

static void await_broker(struct up *u, bool is_late)
{
	if (up_port_answers(u->o->mqtt.number))
		start_others(u);
	else if (is_late)
		stop(u, cli_fail(CLI_UNAVAILABLE, "the broker did not open port %" PRIu64 " in time, see %s/mosquitto.log",
				u->o->mqtt.number, u->broker.dir));
}

static void await_agents(struct up *u, bool is_late)
{
	if (is_late)
		stop(u, cli_fail(CLI_UNAVAILABLE, "not all agents have reached the hub in %d s, see the logs in %s",
				JOIN_TIMEOUT_MS / 1000, u->o->dir));
	else
		poll_hub(u);
}

/* True when this phase of stopping is over. */
static bool is_gone(struct up *u, bool still_runs, bool is_late)
{
	if (still_runs && is_late) {
		cli_note("some program does not end when asked, killing it");
		kill_all(u);
		u->phase_until_ms = UINT64_MAX;
	}
	return !still_runs;
}

static void advance(struct up *u)
{
	bool is_late = clock_ms() >= u->phase_until_ms;

	switch (u->phase) {
	case UP_BROKER: await_broker(u, is_late); break;
	case UP_JOINING: await_agents(u, is_late); break;
	case UP_RUNNING: break;
	case UP_STOP_AGENTS:
		if (is_gone(u, agents_run(u), is_late)) {
			proc_stop(u->hub.proc, SIGTERM);
			enter(u, UP_STOP_HUB, OTHERS_STOP_MS);
		}
		break;
	case UP_STOP_HUB:
		if (is_gone(u, proc_is_running(u->hub.proc), is_late)) {
			proc_stop(u->broker.proc, SIGTERM);
			enter(u, UP_STOP_BROKER, OTHERS_STOP_MS);
		}
		break;
	case UP_STOP_BROKER:
		if (is_gone(u, proc_is_running(u->broker.proc), is_late)) {
			enter(u, UP_STOPPED, OTHERS_STOP_MS);
			loop_exit(u->loop, u->exit_code);
		}
		break;
	case UP_STOPPED: break;
	}
}

static void on_timer(void *ctx)
{
	struct up *u = ctx;
	enum phase before;

	do {
		before = u->phase;
		advance(u);
	} while (u->phase != before);
	if (u->phase == UP_BROKER)
		loop_timer_at(u->timer, clock_ms() + BROKER_POLL_MS);
	else if (u->phase == UP_JOINING)
		loop_timer_at(u->timer, clock_ms() + POLL_MS);
	else if (u->phase >= UP_STOP_AGENTS && u->phase_until_ms > clock_ms())
		loop_timer_at(u->timer, u->phase_until_ms);
}

/* ---- set-up ---- */

static int make_unit(struct up *u, struct unit *unit, const char *base, const char *program, const char *config_option)
{
	struct proc_spec spec = {
		.name = unit->name, .argv = unit->argv, .dir = unit->dir, .base = base, .ended = on_ended, .ctx = u
	};
	int rc;

	spec.wants_pid_file = unit == &u->broker; /* hub and agents write theirs */
	unit->argv[0] = program;
	unit->argv[1] = config_option;
	unit->argv[2] = unit->config;
	rc = proc_new(u->loop, &spec, &unit->proc);
	return rc;
}

static bool name_unit(const struct up *u, struct unit *unit, const char *name, const char *dir, const char *base)
{
	int n = snprintf(unit->dir, sizeof(unit->dir), "%s/%s", u->o->dir, dir);
	int m = snprintf(unit->config, sizeof(unit->config), "%s/%s/%s", u->o->dir, dir, base);

	snprintf(unit->name, sizeof(unit->name), "%s", name);
	return n < (int)sizeof(unit->dir) && m < (int)sizeof(unit->config);
}

static int make_units(struct up *u)
{
	bool fits = name_unit(u, &u->broker, "the broker", "broker", "mosquitto.conf") &&
		    name_unit(u, &u->hub, "the hub", "hub", "hub.cfg");
	int rc;

	for (size_t i = 0; i < u->o->n_agents; i++) {
		char name[32];

		snprintf(name, sizeof(name), "box-%zu", i + 1);
		fits = fits && name_unit(u, &u->agents[i], name, name, "agent.cfg");
	}
	if (!fits)
		return -ENAMETOOLONG;
	rc = make_unit(u, &u->broker, "mosquitto", u->o->mosquitto, "-c");
	if (rc == 0)
		rc = make_unit(u, &u->hub, "hub", u->o->hub, "--config");
	for (size_t i = 0; i < u->o->n_agents && rc == 0; i++)
		rc = make_unit(u, &u->agents[i], "agent", u->o->agent, "--config");
	return rc;
}

static int go(struct up *u)
{
	int rc = loop_new(on_signal, u, &u->loop);

	if (rc == 0)
		rc = loop_timer_new(u->loop, on_timer, u, &u->timer);
	if (rc == 0)
		rc = http_client_new(u->loop, &u->http);
	if (rc == 0)
		rc = make_units(u);
	if (rc == 0)
		rc = proc_start(u->broker.proc);
	if (rc < 0)
		return cli_fail(CLI_INTERNAL, "cannot start the broker %s: %s", u->o->mosquitto, strerror(-rc));
	u->news_at_ms = clock_ms() + NEWS_MS;
	enter(u, UP_BROKER, BROKER_TIMEOUT_MS);
	rc = loop_run(u->loop);
	return rc < 0 ? cli_fail(CLI_INTERNAL, "the event loop failed: %s", err_text(rc)) : rc;
}

int up_run(const struct up_options *o)
{
	struct up *u = calloc(1, sizeof(*u));
	int rc;

	if (u == NULL)
		return cli_fail(CLI_INTERNAL, "out of memory");
	u->o = o;
	u->body = BUF_INIT((size_t)8 << 20);
	rc = go(u);
	for (size_t i = 0; i < o->n_agents; i++)
		proc_free(u->agents[i].proc);
	proc_free(u->hub.proc);
	proc_free(u->broker.proc);
	http_client_free(u->http);
	loop_timer_free(u->timer);
	loop_free(u->loop);
	buf_fini(&u->body);
	free(u);
	return rc;
}
