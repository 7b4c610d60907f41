#include "server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "front.h"
#include "journal.h"
#include "log.h"

#define RATE_SECONDS 5
#define GOODBYE_MS 2000
#define DRAIN_MS 2000 /* what is on its way to the disk has so long when the hub stops */
#define RESERVED_FDS 64 /* MQTT, the journal and the rest: HTTP clients may not use them up */

struct server {
	struct loop *loop;
	const struct settings *settings;
	struct hub *hub;
	struct mqtt *mqtt;
	struct front *front;
	struct journal *journal;
	char *journal_file; /* NULL: none */
	struct loop_timer *tick, *second;
	uint64_t epoch, started_ms;
	bool busy, stopping;
	uint64_t safe_seq; /* said by the journal while busy: one event says them all */
	bool is_safe_later;
	uint64_t tokens[RATE_SECONDS + 1]; /* the counter at the last seconds, newest first */
	char told[128];                    /* to systemd */
};

/* ---- actions ---- */

static void act_log(const struct hub_action *a)
{
	log_at((enum log_level)a->level, "core", "%.*s", SPAN_FMT(a->text));
}

static void carry_out(struct server *s, const struct hub_action *a)
{
	switch (a->type) {
	case HUB_ACT_PERSIST:
		if (s->journal->write(s->journal, a) < 0)
			log_error("journal", "an entry of job %.*s could not be kept: out of memory", SPAN_FMT(a->persist.job));
		break;
	case HUB_ACT_DISPATCH: mqtt_dispatch(s->mqtt, a->agent, &a->job); break;
	case HUB_ACT_CONTROL: mqtt_control(s->mqtt, a->agent, &a->control); break;
	case HUB_ACT_ANSWER:
		if (a->reply.conn != 0)
			front_answer(s->front, a);
		else
			mqtt_answer(s->mqtt, &a->reply, a->stream, &a->answer);
		break;
	case HUB_ACT_DETACH:
		if (a->reply.conn != 0)
			front_detach(s->front, a->reply.conn);
		break;
	case HUB_ACT_ADMIN:
		if (a->reply.conn != 0)
			front_admin(s->front, a);
		else
			mqtt_answer(s->mqtt, &a->reply, false, &a->answer);
		break;
	case HUB_ACT_FORGET: mqtt_forget(s->mqtt, a->agent); break;
	case HUB_ACT_LOG: act_log(a); break;
	}
}

static void step(struct server *s, const struct hub_event *ev)
{
	const struct hub_action *acts;
	size_t n = hub_step(s->hub, loop_now_ms(s->loop), ev, &acts);

	s->busy = true;
	for (size_t i = 0; i < n; i++)
		carry_out(s, &acts[i]);
	s->busy = false;
}

/* ---- events ---- */

void server_event(struct server *s, const struct hub_event *ev)
{
	uint64_t deadline;

	assert(!s->busy); /* an action's contents would be gone under the feet of whoever carries them out */
	step(s, ev);
	while (s->is_safe_later) {
		s->is_safe_later = false;
		step(s, &(struct hub_event){ .type = HUB_EV_PERSISTED, .seq = s->safe_seq });
	}
	deadline = hub_deadline(s->hub);
	if (deadline == UINT64_MAX)
		loop_timer_off(s->tick);
	else
		loop_timer_at(s->tick, deadline);
}

static void on_mqtt_event(void *ctx, const struct hub_event *ev)
{
	server_event(ctx, ev);
}

static void on_safe(void *ctx, uint64_t seq)
{
	struct server *s = ctx;

	s->safe_seq = seq > s->safe_seq ? seq : s->safe_seq;
	if (s->busy)
		s->is_safe_later = true; /* the journal may answer from inside its write() */
	else
		server_event(s, &(struct hub_event){ .type = HUB_EV_PERSISTED, .seq = s->safe_seq });
}

static void on_known(void *ctx, struct span job, const struct hub_record *end)
{
	server_event(ctx, &(struct hub_event){ .type = HUB_EV_KNOWN, .job = job, .record = end });
}

static void on_full(void *ctx, bool is_full)
{
	server_event(ctx, &(struct hub_event){ .type = HUB_EV_JOURNAL, .is_full = is_full });
}

static void on_record(void *ctx, const struct hub_record *r)
{
	struct server *s = ctx;

	step(s, &(struct hub_event){ .type = HUB_EV_RESTORE, .record = r });
}

static void on_tick(void *ctx)
{
	server_event(ctx, &(struct hub_event){ .type = HUB_EV_TICK });
}

struct fleet_count {
	uint64_t known, online;
};

static void count_agent(void *ctx, const struct hub_agent_view *v)
{
	struct fleet_count *c = ctx;

	c->known++;
	c->online += v->presence == HUB_PRESENCE_ONLINE;
}

/* What `systemctl status` shows. */
static void tell_status(struct server *s)
{
	const struct hub_counters *n = hub_counters(s->hub);
	struct fleet_count c = { 0 };
	char text[sizeof(s->told)];

	hub_each_agent(s->hub, count_agent, &c);
	(void)snprintf(text, sizeof(text), "STATUS=%s; %llu of %llu agents online; %llu jobs running, %llu queued",
		mqtt_is_up(s->mqtt) ? "connected to the broker" : "no connection to the broker",
		(unsigned long long)c.online, (unsigned long long)c.known, (unsigned long long)n->running,
		(unsigned long long)n->queued);
	if (strcmp(text, s->told) == 0)
		return;
	memcpy(s->told, text, sizeof(text));
	loop_notify(s->loop, text);
}

static void on_second(void *ctx)
{
	struct server *s = ctx;

	tell_status(s);

	memmove(s->tokens + 1, s->tokens, RATE_SECONDS * sizeof(s->tokens[0]));
	s->tokens[0] = hub_counters(s->hub)->tokens;
	loop_timer_at(s->second, loop_now_ms(s->loop) + 1000);
}

static uint64_t fleet(void *ctx)
{
	struct server *s = ctx;
	struct fleet_count c = { 0 };

	hub_each_agent(s->hub, count_agent, &c);
	return c.known;
}

/* ---- what others may know ---- */

const struct settings *server_settings(const struct server *s)
{
	return s->settings;
}

struct loop *server_loop(const struct server *s)
{
	return s->loop;
}

const struct hub *server_hub(const struct server *s)
{
	return s->hub;
}

const struct mqtt *server_mqtt(const struct server *s)
{
	return s->mqtt;
}

const struct http *server_http(const struct server *s)
{
	return front_http(s->front);
}

uint64_t server_epoch(const struct server *s)
{
	return s->epoch;
}

uint64_t server_started_ms(const struct server *s)
{
	return s->started_ms;
}

struct journal_stats server_journal_stats(const struct server *s)
{
	struct journal_stats stats;

	s->journal->stats(s->journal, &stats);
	return stats;
}

const char *server_journal_file(const struct server *s)
{
	return s->journal_file;
}

bool server_is_stopping(const struct server *s)
{
	return s->stopping;
}

double server_tokens_per_s(const struct server *s)
{
	return (double)(s->tokens[0] - s->tokens[RATE_SECONDS]) / RATE_SECONDS;
}

/* ---- beginning and end ---- */

/* Raises the limit on descriptors as far as it goes and keeps some from HTTP. */
static size_t fit_connections(size_t wanted)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return wanted;
	r.rlim_cur = r.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &r);
	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur == RLIM_INFINITY || wanted + RESERVED_FDS <= r.rlim_cur)
		return wanted;
	wanted = r.rlim_cur > 2 * RESERVED_FDS ? r.rlim_cur - RESERVED_FDS : RESERVED_FDS / 2;
	log_warn("http",
		"the limit on open files allows %zu HTTP connections, fewer than http.max_connections; raise LimitNOFILE",
		wanted);
	return wanted;
}

/* ---- the journal ---- */

static int journal_open(struct server *s, char *err, size_t err_size)
{
	static const struct journal_events events = { .safe = on_safe, .known = on_known, .full = on_full };
	const struct settings *c = s->settings;
	struct journal_options o = {
		.commit_ms = c->journal.commit_ms,
		.commit_records = c->journal.commit_records,
		.max_waiting = c->journal.max_waiting,
		.reserve = c->journal.reserve,
		.keep_ms = c->journal.keep_hours * 3600 * 1000,
		.keep_jobs = c->journal.keep_jobs,
		.key_ms = c->journal.id_hours * 3600 * 1000,
		.max_keys = c->journal.max_ids,
		.restore_max = c->core.max_ended,
	};
	struct buf name = BUF_INIT(4096);

	if (c->core.journal == HUB_JOURNAL_OFF)
		return journal_null_new(on_safe, s, &s->journal);
	if (c->journal.file[0] != '\0')
		buf_addf(&name, "%s", c->journal.file);
	else
		buf_addf(&name, "%s/journal.db", c->state_dir);
	if (name.err != 0) {
		(void)snprintf(err, err_size, "the name of the journal's file is too long");
		buf_fini(&name);
		return ERR_TOOBIG;
	}
	o.file = s->journal_file = (char *)name.p; /* buf_addf() ends in NUL */
	return journal_notes_new(s->loop, &o, &events, s, err, err_size, &s->journal);
}

/* What the last run left, before anything else happens. */
static int take_up(struct server *s, char *err, size_t err_size)
{
	uint64_t last = 0;
	int rc = s->journal->restore(s->journal, on_record, s, &last);

	if (rc < 0) {
		(void)snprintf(err, err_size, "%s cannot be read: move it away to begin without its jobs", s->journal_file);
		return rc;
	}
	server_event(s, &(struct hub_event){ .type = HUB_EV_RESTORED, .seq = last });
	return 0;
}

static int make_parts(struct server *s, uint64_t seed, char *err, size_t err_size)
{
	static const struct mqtt_handlers handlers = { .event = on_mqtt_event, .fleet = fleet };
	struct hub_config core = s->settings->core;
	int rc;

	core.seed = seed;
	core.epoch = s->epoch;
	if ((rc = journal_open(s, err, err_size)) < 0)
		return rc;
	core.notes = s->journal->takes_notes;
	if ((rc = hub_new(&core, &s->hub)) < 0 || (rc = loop_timer_new(s->loop, on_tick, s, &s->tick)) < 0 ||
		(rc = loop_timer_new(s->loop, on_second, s, &s->second)) < 0)
		return rc;
	/* The order is the order of the loop's tail: HTTP's answers first, so that the publishes
	 * they cause leave in the same turn. */
	rc = front_new(s, fit_connections(s->settings->http.max_connections), err, err_size, &s->front);
	if (rc == 0)
		rc = mqtt_new(s->loop, s->settings, s->epoch, seed, &handlers, s, err, err_size, &s->mqtt);
	return rc < 0 ? rc : take_up(s, err, err_size);
}

int server_new(struct loop *l, const struct settings *settings, uint64_t epoch, uint64_t seed, char *err, size_t err_size,
	struct server **ret)
{
	struct server *s = calloc(1, sizeof(*s));
	int rc;

	(void)snprintf(err, err_size, "out of memory");
	if (s == NULL)
		return ERR_NOMEM;
	s->loop = l;
	s->settings = settings;
	s->epoch = epoch;
	s->started_ms = clock_ms();
	rc = make_parts(s, seed, err, err_size);
	if (rc < 0) {
		server_free(s);
		return rc;
	}
	on_second(s);
	on_tick(s);
	mqtt_start(s->mqtt);
	*ret = s;
	return 0;
}

#define CANCEL_AT_ONCE 64

struct cancel_list {
	size_t n;
	bool has_journal;
	struct {
		char job[PROTO_MAX_ID + 1], user[PROTO_MAX_ID + 1];
	} item[CANCEL_AT_ONCE];
};

static void collect_job(void *ctx, const struct hub_job_view *v)
{
	struct cancel_list *l = ctx;

	if (l->has_journal && v->outlives_hub)
		return;
	if (l->n < CANCEL_AT_ONCE && v->state < HUB_JOB_DONE &&
		span_copy(v->job, l->item[l->n].job, PROTO_MAX_ID + 1) == 0 &&
		span_copy(v->user, l->item[l->n].user, PROTO_MAX_ID + 1) == 0)
		l->n++;
}

static void cancel_all(struct server *s)
{
	struct cancel_list l = { .has_journal = s->journal_file != NULL };

	do {
		l.n = 0;
		hub_each_job(s->hub, collect_job, &l);
		for (size_t i = 0; i < l.n; i++) {
			struct cancel cancel = { .job = span_of(l.item[i].job) };

			server_event(s, &(struct hub_event){
						.type = HUB_EV_CANCEL, .user = span_of(l.item[i].user), .cancel = &cancel });
		}
	} while (l.n == CANCEL_AT_ONCE);
}

static void on_closed(void *ctx)
{
	struct server *s = ctx;

	loop_exit(s->loop, 0);
}

void server_stop(struct server *s)
{
	if (s->stopping) {
		loop_exit(s->loop, 0);
		return;
	}
	log_notice("hub", s->journal_file == NULL ? "stopping: live jobs are cancelled"
						  : "stopping: jobs that can be asked for again go on after the next start");
	s->stopping = true;
	cancel_all(s);
	s->journal->drain(s->journal, DRAIN_MS);
	front_flush(s->front);
	mqtt_close(s->mqtt, GOODBYE_MS, on_closed);
}

struct server *server_free(struct server *s)
{
	if (s == NULL)
		return NULL;
	front_free(s->front);
	mqtt_free(s->mqtt);
	if (s->journal != NULL)
		s->journal->free(s->journal);
	free(s->journal_file);
	loop_timer_free(s->tick);
	loop_timer_free(s->second);
	hub_free(s->hub);
	free(s);
	return NULL;
}
