#include "mqtt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mq.h"
#include "topic.h"

/* Lists of the longest job: turns, stop strings, a prefix of tokens. */
#define ARENA_SIZE (PROTO_MAX_TURNS * sizeof(struct turn) + PROTO_MAX_TOKENS * sizeof(uint32_t) + 4096)
#define KEEP_MAX ((size_t)64 << 10)
#define PENDING_MAX 1000
#define PENDING_BYTES_MAX ((size_t)4 << 20)

enum { SUB_JOBS, SUB_CONTROL, SUB_STATUS, SUB_HUB, SUB_COUNT };
static const enum topic_kind sub_kinds[SUB_COUNT] = { [SUB_JOBS] = TOPIC_AGENT_JOBS,
	[SUB_CONTROL] = TOPIC_AGENT_CONTROL,
	[SUB_STATUS] = TOPIC_AGENT_STATUS,
	[SUB_HUB] = TOPIC_HUB_STATUS };

struct mqtt {
	struct mq *q;
	struct loop *loop;
	const struct settings *set;
	const struct agent *core;
	mqtt_event_fn fn;
	void *ctx;
	void (*closed)(void *ctx);

	struct topic registration, status, heartbeat, out;
	struct topic subs[SUB_COUNT];
	int sub_mids[SUB_COUNT];
	unsigned granted; /* bit i: subs[i] */
	uint64_t conn;
	bool is_up;

	struct buf will, encoded;
	struct arena arena;
	uint64_t bad_messages;
	struct log_limit bad_limit;
};

/* ---- in ---- */

struct decoded {
	const struct msg_type *type;
	enum agent_event_type event;
};

static struct decoded decoder_of(enum topic_kind kind)
{
	switch (kind) {
	case TOPIC_AGENT_JOBS: return (struct decoded){ &job_type, AGENT_EV_JOB };
	case TOPIC_AGENT_CONTROL: return (struct decoded){ &control_type, AGENT_EV_CONTROL };
	case TOPIC_AGENT_STATUS: return (struct decoded){ &status_type, AGENT_EV_OWN_STATUS };
	case TOPIC_HUB_STATUS: return (struct decoded){ &hub_status_type, AGENT_EV_HUB_STATUS };
	default: return (struct decoded){ NULL, AGENT_EV_TICK };
	}
}

static void note_bad(struct mqtt *m, const char *what, const char *field, int rc)
{
	unsigned long long dropped = 0;

	m->bad_messages++;
	if (!log_allowed(&m->bad_limit, loop_now_ms(m->loop), 1000, &dropped))
		return;
	log_warn("mqtt", "a %s message is not valid: %s%s%s; ignoring it, and %llu more since the last such line", what,
		err_text(rc), field != NULL ? " at " : "", field != NULL ? field : "", dropped);
}

static void on_message(void *ctx, const struct mq_msg *msg)
{
	struct mqtt *m = ctx;
	union {
		struct job_msg job;
		struct control control;
		struct status status;
		struct hub_status hub_status;
	} u = { 0 };
	struct span id = SPAN_NONE;
	enum topic_kind kind = topic_parse(m->set->prefix, msg->topic, &id);
	struct decoded d = decoder_of(kind);
	struct agent_event ev = { .type = d.event };
	const char *field = NULL;
	int rc;

	if (d.type == NULL || (kind != TOPIC_HUB_STATUS && !span_is(id, m->set->id))) {
		note_bad(m, "stray", "its topic", ERR_STATE);
		return;
	}
	if (kind == TOPIC_HUB_STATUS && msg->payload.n == 0)
		return; /* somebody has cleared it */
	arena_reset(&m->arena);
	/* Our own status cleared is as untrue as a foreign one: it counts as one of epoch 0. */
	rc = kind == TOPIC_AGENT_STATUS && msg->payload.n == 0
		     ? 0
		     : msg_decode(d.type, msg->payload, MSG_KEYS_INT, &m->arena, &u, &field);
	if (rc < 0) {
		note_bad(m, d.type->name, field, rc);
		return;
	}
	ev.job = &u.job; /* all members of the union begin where it does */
	m->fn(m->ctx, &ev);
}

/* ---- link ---- */

static bool on_will(void *ctx, uint64_t conn, struct mq_pub *ret)
{
	struct mqtt *m = ctx;
	struct status s = agent_will(m->core, conn);

	buf_reset(&m->will);
	if (msg_encode(&status_type, &s, MSG_KEYS_INT, &m->will) < 0)
		return false;
	*ret = (struct mq_pub){ .topic = span_of(m->status.s), .payload = buf_span(&m->will), .qos = 1, .retain = true };
	return true;
}

static void on_up(void *ctx, uint64_t conn)
{
	struct mqtt *m = ctx;

	m->conn = conn;
	m->granted = 0;
	for (size_t i = 0; i < SUB_COUNT; i++) {
		int rc = mq_subscribe(m->q, m->subs[i].s, 1, &m->sub_mids[i]);

		if (rc < 0)
			log_warn("mqtt", "subscribing to %s failed: %s", m->subs[i].s, err_text(rc));
	}
}

static void on_subscribed(void *ctx, int mid, int reason)
{
	struct mqtt *m = ctx;
	size_t i = 0;

	while (i < SUB_COUNT && m->sub_mids[i] != mid)
		i++;
	if (i == SUB_COUNT || m->is_up)
		return;
	if (reason >= 0x80) {
		log_error("mqtt",
			"the broker refuses the subscription to %s (reason 0x%02x): without it there is no work; "
			"its access list must let user \"%s\" read it",
			m->subs[i].s, (unsigned)reason, m->set->broker.username);
		return;
	}
	m->granted |= 1u << i;
	if (m->granted != (1u << SUB_COUNT) - 1)
		return;
	m->is_up = true;
	log_info("mqtt", "connected to %s:%u as %s", m->set->broker.host, (unsigned)m->set->broker.port, m->set->id);
	m->fn(m->ctx, &(struct agent_event){ .type = AGENT_EV_LINK_UP, .conn = m->conn });
}

static void on_down(void *ctx, const char *why, uint64_t retry_ms)
{
	struct mqtt *m = ctx;
	uint64_t now = loop_now_ms(m->loop);

	log_warn("mqtt", "no connection to %s:%u: %s; next try in %llu ms", m->set->broker.host,
		(unsigned)m->set->broker.port, why, (unsigned long long)(retry_ms > now ? retry_ms - now : 0));
	if (!m->is_up)
		return;
	m->is_up = false;
	m->fn(m->ctx, &(struct agent_event){ .type = AGENT_EV_LINK_DOWN });
}

/* ---- out ---- */

static bool publish(struct mqtt *m, const struct msg_type *type, const void *msg, struct mq_pub pub)
{
	int rc;

	buf_reset(&m->encoded);
	rc = msg_encode(type, msg, MSG_KEYS_INT, &m->encoded);
	pub.payload = buf_span(&m->encoded);
	if (rc == 0)
		rc = mq_publish(m->q, &pub, NULL);
	if (m->encoded.cap > KEEP_MAX)
		buf_fini(&m->encoded);
	if (rc < 0 && rc != ERR_FULL && rc != ERR_CLOSED)
		log_error("mqtt", "publishing a %s failed: %s", type->name, err_text(rc));
	return rc != ERR_FULL;
}

bool mqtt_publish(struct mqtt *m, const struct agent_action *act)
{
	const struct job_event *e = &act->job_event;
	bool may_be_lost = act->type == AGENT_ACT_EVENT && (e->type == JOB_EVENT_TOKENS || e->type == JOB_EVENT_PROGRESS);

	switch (act->type) {
	case AGENT_ACT_REGISTER:
		return publish(m, &registration_type, &act->registration,
			(struct mq_pub){ .topic = span_of(m->registration.s), .qos = 1, .retain = true });
	case AGENT_ACT_STATUS:
		return publish(m, &status_type, &act->status,
			(struct mq_pub){ .topic = span_of(m->status.s), .qos = 1, .retain = true });
	case AGENT_ACT_HEARTBEAT:
		return publish(m, &heartbeat_type, &act->heartbeat, (struct mq_pub){ .topic = span_of(m->heartbeat.s) });
	case AGENT_ACT_EVENT:
		return publish(
			m, &job_event_type, e, (struct mq_pub){ .topic = span_of(m->out.s), .qos = may_be_lost ? 0 : 1 });
	default: return true;
	}
}

bool mqtt_is_full(const struct mqtt *m)
{
	struct mq_stats s = mq_stats(m->q);

	return s.pending > PENDING_MAX / 2 || s.pending_bytes > PENDING_BYTES_MAX / 2;
}

bool mqtt_is_roomy(const struct mqtt *m)
{
	struct mq_stats s = mq_stats(m->q);

	return s.pending < PENDING_MAX / 4 && s.pending_bytes < PENDING_BYTES_MAX / 4;
}

uint64_t mqtt_bad_messages(const struct mqtt *m)
{
	return m->bad_messages;
}

/* ---- making ---- */

static int make_topics(struct mqtt *m)
{
	const struct {
		enum topic_kind kind;
		struct topic *at;
	} own[] = { { TOPIC_AGENT_REGISTRATION, &m->registration }, { TOPIC_AGENT_STATUS, &m->status },
		{ TOPIC_AGENT_HEARTBEAT, &m->heartbeat }, { TOPIC_AGENT_OUT, &m->out } };
	struct span id = span_of(m->set->id);
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(own) / sizeof(own[0]); i++)
		rc = topic_make(m->set->prefix, own[i].kind, id, own[i].at);
	for (size_t i = 0; rc == 0 && i < SUB_COUNT; i++)
		rc = topic_make(
			m->set->prefix, sub_kinds[i], sub_kinds[i] == TOPIC_HUB_STATUS ? SPAN_NONE : id, &m->subs[i]);
	return rc;
}

static int make_link(struct mqtt *m, uint64_t seed)
{
	static const struct mq_callbacks callbacks = {
		.will = on_will, .up = on_up, .down = on_down, .message = on_message, .subscribed = on_subscribed
	};
	const struct mq_config base = {
		.client_id = m->set->id, .max_pending = PENDING_MAX, .max_pending_bytes = PENDING_BYTES_MAX, .seed = seed
	};
	char err[512];
	int rc = broker_link_new(m->loop, &m->set->broker, &base, &callbacks, m, err, sizeof(err), &m->q);

	if (rc < 0)
		log_error("mqtt", "%s", err);
	return rc;
}

int mqtt_new(struct loop *loop, const struct settings *s, const struct agent *core, uint64_t seed, mqtt_event_fn fn,
	void *ctx, struct mqtt **ret)
{
	struct mqtt *m = calloc(1, sizeof(*m));
	int rc;

	if (m == NULL)
		return ERR_NOMEM;
	*m = (struct mqtt){ .loop = loop, .set = s, .core = core, .fn = fn, .ctx = ctx };
	m->will = BUF_INIT(PROTO_MAX_MESSAGE);
	m->encoded = BUF_INIT(PROTO_MAX_MESSAGE);
	m->arena.cap = ARENA_SIZE;
	m->arena.p = malloc(ARENA_SIZE);
	rc = m->arena.p != NULL ? make_topics(m) : ERR_NOMEM;
	if (rc == 0)
		rc = make_link(m, seed);
	if (rc < 0) {
		mqtt_free(m);
		return rc;
	}
	*ret = m;
	return 0;
}

void mqtt_start(struct mqtt *m)
{
	mq_start(m->q);
}

static void on_closed(void *ctx)
{
	struct mqtt *m = ctx;

	m->closed(m->ctx);
}

void mqtt_close(struct mqtt *m, uint64_t timeout_ms, void (*done)(void *ctx))
{
	m->closed = done;
	mq_close(m->q, timeout_ms, on_closed);
}

struct mqtt *mqtt_free(struct mqtt *m)
{
	if (m == NULL)
		return NULL;
	mq_free(m->q);
	buf_fini(&m->will);
	buf_fini(&m->encoded);
	free(m->arena.p);
	free(m);
	return NULL;
}
