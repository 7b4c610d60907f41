#include "mqtt.h"

#include <stdio.h>
#include <stdlib.h>

#include "intake.h"
#include "log.h"
#include "mq.h"
#include "outbox.h"

#define OUT_MAX 4096
#define OUT_MAX_BYTES ((size_t)16 << 20)
/* Brokers cut whoever sends more than max_packet_size (ours: 1 MiB); room for topic and properties. */
#define PAYLOAD_MAX (PROTO_MAX_MESSAGE - 2048)
#define MIDS 1024 /* more than mq.h lets be unacknowledged */
#define ARENA_SIZE ((size_t)2 << 20)
#define LOG_EVERY_MS 1000

struct mqtt {
	struct loop *loop;
	const struct settings *settings;
	struct mqtt_handlers on;
	void *ctx;
	struct mq *mq;
	uint64_t epoch;
	unsigned n_wanted, n_granted; /* subscriptions of this connection */
	bool is_up, closing, refused_said;
	struct outbox out;
	struct { /* whom an acknowledgement is about; a slot for each packet id modulo MIDS */
		int mid;
		char agent[PROTO_MAX_ID + 1];
	} asked[MIDS];
	struct mqtt_stats stats;
	struct log_limit bad_limit, drop_limit;
	struct arena arena;
	struct intake intake;
	struct buf buf;
	uint8_t will[256];
};

/* ---- publishing ---- */

static void note_asked(struct mqtt *m, int mid, const char *agent)
{
	size_t slot = (size_t)mid % MIDS;

	m->asked[slot].mid = mid;
	memcpy(m->asked[slot].agent, agent, sizeof(m->asked[slot].agent));
}

/* Sends what waits, as far as there is room. */
static void flush(struct mqtt *m)
{
	const struct letter *l;

	while (m->is_up && (l = outbox_first(&m->out)) != NULL) {
		int mid = 0, rc = mq_publish(m->mq, &l->pub, &mid);

		if (rc == ERR_FULL || rc == ERR_CLOSED)
			return;
		if (rc < 0) {
			m->stats.publish_failed++;
			log_error("mqtt", "a message of %zu bytes cannot be published: %s", l->pub.payload.n, err_text(rc));
			outbox_drop(&m->out);
			continue;
		}
		if (l->agent[0] != '\0')
			note_asked(m, mid, l->agent);
		outbox_sent(&m->out, mid);
	}
}

static void send_sure(struct mqtt *m, const struct mq_pub *pub, struct span agent, struct span job)
{
	unsigned long long dropped;

	if (agent.n > 0 && !m->is_up)
		return; /* the core hears that the link is down and says it again when it is up */
	if (outbox_add(&m->out, pub, agent, job) < 0) {
		m->stats.queue_dropped++;
		if (log_allowed(&m->drop_limit, loop_now_ms(m->loop), LOG_EVERY_MS, &dropped))
			log_warn("mqtt", "the broker takes messages slower than they are made; %llu dropped", dropped + 1);
		return;
	}
	flush(m);
}

/* Token frames and acknowledgements: now or never. */
static void send_light(struct mqtt *m, const struct mq_pub *pub, bool is_tokens)
{
	if (outbox_first(&m->out) != NULL || !m->is_up || mq_publish(m->mq, pub, NULL) < 0)
		m->stats.tokens_dropped += is_tokens;
}

static void send_to_agent(struct mqtt *m, enum topic_kind kind, struct span agent, const struct msg_type *type,
	const void *msg, int qos, uint32_t expiry_s)
{
	struct topic topic;
	struct mq_pub pub = { .qos = qos, .expiry_s = expiry_s };

	buf_reset(&m->buf);
	if (topic_make(m->settings->prefix, kind, agent, &topic) < 0 || msg_encode(type, msg, MSG_KEYS_INT, &m->buf) < 0 ||
		m->buf.n > PAYLOAD_MAX) {
		m->stats.publish_failed++;
		log_error("mqtt", "a %s for agent %.*s does not fit into a message", type->name, SPAN_FMT(agent));
		return;
	}
	pub.topic = span_of(topic.s);
	pub.payload = buf_span(&m->buf);
	if (qos > 0)
		send_sure(m, &pub, agent, SPAN_NONE);
	else
		send_light(m, &pub, false);
}

void mqtt_dispatch(struct mqtt *m, struct span agent, const struct job_msg *job)
{
	uint64_t expiry_s = (job->deadline_ms + 999) / 1000; /* a hint: the agent holds the deadline by its own clock */

	send_to_agent(m, TOPIC_AGENT_JOBS, agent, &job_type, job, 1, (uint32_t)expiry_s);
}

void mqtt_control(struct mqtt *m, struct span agent, const struct control *control)
{
	send_to_agent(m, TOPIC_AGENT_CONTROL, agent, &control_type, control, control->verb == CONTROL_ACK ? 0 : 1, 0);
}

/* The answer as it fits: a text too long for one message is left out of a stream's end, as are logprobs, whose
 * frames have told it, and is an error where there were no frames. */
static int encode_answer(struct mqtt *m, const struct hub_reply *reply, bool is_stream, struct answer a)
{
	int rc;

	buf_reset(&m->buf);
	rc = reply_encode(reply, &a, &m->buf);
	if (rc == 0 && m->buf.n <= PAYLOAD_MAX)
		return 0;
	buf_reset(&m->buf);
	a.text = a.probs = a.vectors = SPAN_NONE;
	a.n_vectors = 0;
	a.has &= ~((uint64_t)1 << ANSWER_TEXT);
	if (!is_stream || a.type != ANSWER_DONE)
		a = (struct answer){ .type = ANSWER_ERROR,
			.job = a.job,
			.id = a.id,
			.code = span_of(code_name(CODE_TOO_LARGE)),
			.message = SPAN("the answer is too long for one message; ask for it with \"stream\": true") };
	return reply_encode(reply, &a, &m->buf);
}

void mqtt_answer(struct mqtt *m, const struct hub_reply *reply, bool is_stream, const struct answer *answer)
{
	struct topic topic;
	bool is_end = answer->type == ANSWER_DONE || answer->type == ANSWER_ERROR;
	struct mq_pub pub = { .qos = is_end || answer->type == ANSWER_ACCEPTED ? 1 : 0 };

	if (reply_topic(reply, answer->job, &topic) < 0 || encode_answer(m, reply, is_stream, *answer) < 0) {
		m->stats.publish_failed++;
		log_error("mqtt", "an answer of job %.*s does not fit into a message", SPAN_FMT(answer->job));
		return;
	}
	pub.topic = span_of(topic.s);
	pub.payload = buf_span(&m->buf);
	pub.correlation = reply->correlation;
	pub.content_type = reply_content_type(reply);
	if (pub.qos > 0)
		send_sure(m, &pub, SPAN_NONE, is_end ? answer->job : SPAN_NONE);
	else
		send_light(m, &pub, true);
}

void mqtt_forget(struct mqtt *m, struct span agent)
{
	static const enum topic_kind retained[] = { TOPIC_AGENT_REGISTRATION, TOPIC_AGENT_STATUS };
	struct mq_pub pub = { .payload = SPAN(""), .qos = 1, .retain = true };

	for (size_t i = 0; i < sizeof(retained) / sizeof(retained[0]); i++) {
		struct topic topic;

		if (topic_make(m->settings->prefix, retained[i], agent, &topic) < 0)
			continue; /* it was built of the same once */
		pub.topic = span_of(topic.s);
		send_sure(m, &pub, SPAN_NONE, SPAN_NONE);
	}
}

/* ---- hub/status ---- */

static struct hub_status own_status(const struct mqtt *m, unsigned state)
{
	return (struct hub_status){ .version = PROTO_VERSION,
		.epoch = m->epoch,
		.state = state,
		.software = SPAN("shoal-hub " SHOAL_VERSION),
		.fleet = state == AGENT_ONLINE ? m->on.fleet(m->ctx) : 0 };
}

static void publish_status(struct mqtt *m, unsigned state)
{
	struct hub_status status = own_status(m, state);
	struct topic topic;
	struct mq_pub pub = { .qos = 1, .retain = true };

	buf_reset(&m->buf);
	if (topic_make(m->settings->prefix, TOPIC_HUB_STATUS, SPAN_NONE, &topic) < 0 ||
		msg_encode(&hub_status_type, &status, MSG_KEYS_INT, &m->buf) < 0)
		return; /* the prefix was checked and the message is short */
	pub.topic = span_of(topic.s);
	pub.payload = buf_span(&m->buf);
	if (mq_publish(m->mq, &pub, NULL) < 0)
		log_warn("mqtt", "hub/status could not be published; agents will not announce themselves anew");
}

static bool on_will(void *ctx, uint64_t conn, struct mq_pub *ret)
{
	static struct topic topic; /* the same for every connection */
	struct mqtt *m = ctx;
	struct hub_status status = own_status(m, AGENT_OFFLINE);

	(void)conn;
	buf_reset(&m->buf);
	if (topic_make(m->settings->prefix, TOPIC_HUB_STATUS, SPAN_NONE, &topic) < 0 ||
		msg_encode(&hub_status_type, &status, MSG_KEYS_INT, &m->buf) < 0 || m->buf.n > sizeof(m->will))
		return false;
	memcpy(m->will, m->buf.p, m->buf.n);
	*ret = (struct mq_pub){
		.topic = span_of(topic.s), .payload = span_mem(m->will, m->buf.n), .qos = 1, .retain = true
	};
	return true;
}

/* Our own status, read back: a will of a connection before this one may have come late. */
static void check_status(struct mqtt *m, const struct mq_msg *msg)
{
	struct hub_status s;

	arena_reset(&m->arena);
	if (!m->is_up || m->closing || msg_decode(&hub_status_type, msg->payload, MSG_KEYS_INT, &m->arena, &s, NULL) < 0)
		return;
	if (s.epoch == m->epoch && s.state == AGENT_OFFLINE)
		publish_status(m, AGENT_ONLINE);
	else if (s.epoch != m->epoch && s.state == AGENT_ONLINE && !msg->retain)
		log_error("mqtt",
			"another hub announced itself under prefix \"%s\"; two hubs spoil each other's jobs: stop one or "
			"give it "
			"another prefix",
			m->settings->prefix);
}

/* ---- what comes in ---- */

static void note_bad(struct mqtt *m, const struct intake *in, enum log_level level)
{
	static const char *const names[TOPIC_KIND_COUNT][2] = {
#define X(name, group, leaf) [TOPIC_##name] = { group, leaf },
		TOPIC_LEAF_LIST(X)
#undef X
	};
	unsigned long long dropped;

	m->stats.bad[in->topic]++;
	if (log_allowed(&m->bad_limit, loop_now_ms(m->loop), LOG_EVERY_MS, &dropped))
		log_at(level, "mqtt",
			"unreadable message on %s/%.*s/%s (%s%s%s), ignoring; %llu more since the last such line",
			names[in->topic][0], SPAN_FMT(in->who), names[in->topic][1], in->field != NULL ? in->field : "",
			in->field != NULL ? ": " : "", err_text(in->err), dropped);
}

/* The broker vouches for the name, the configuration says whose word counts. */
static bool may_administer(struct mqtt *m, struct intake *in)
{
	const struct settings *s = m->settings;

	for (size_t i = 0; i < s->admin.n_users; i++)
		if (span_is(in->who, s->admin.users[i]))
			return true;
	m->stats.refused++;
	log_warn("mqtt", "%.*s is not in admin.users and asked: %s", SPAN_FMT(in->who), admin_verb_names[in->body.admin.verb]);
	in->refusal = (struct answer){ .type = ANSWER_ERROR,
		.correlation = in->body.admin.correlation,
		.code = span_of(code_name(CODE_FORBIDDEN)),
		.message = SPAN("this user is not among the hub's admin.users") };
	mqtt_answer(m, &in->ev.reply, false, &in->refusal);
	return false;
}

static void on_message(void *ctx, const struct mq_msg *msg)
{
	struct mqtt *m = ctx;

	if (m->closing)
		return;
	m->stats.received++;
	arena_reset(&m->arena);
	switch (intake_take(m->settings->prefix, msg, &m->arena, &m->intake)) {
	case INTAKE_EVENT:
		if (m->intake.topic == TOPIC_CLIENT_ADMIN && !may_administer(m, &m->intake))
			break;
		m->on.event(m->ctx, &m->intake.ev);
		break;
	case INTAKE_REFUSED:
		m->stats.refused++;
		if (m->intake.err < 0)
			note_bad(m, &m->intake, LOG_INFO);
		mqtt_answer(m, &m->intake.ev.reply, false, &m->intake.refusal);
		break;
	case INTAKE_BAD: note_bad(m, &m->intake, LOG_WARN); break;
	case INTAKE_IGNORED:
		if (m->intake.topic == TOPIC_HUB_STATUS)
			check_status(m, msg);
		else
			m->stats.ignored++;
		break;
	}
}

static void on_ack(void *ctx, int mid, int reason)
{
	struct mqtt *m = ctx;
	size_t slot = (size_t)mid % MIDS;
	char job[PROTO_MAX_ID + 1];
	unsigned long long dropped;

	if (reason >= 0x80 && log_allowed(&m->drop_limit, loop_now_ms(m->loop), LOG_EVERY_MS, &dropped))
		log_warn("mqtt",
			"the broker refused a message of ours (reason 0x%02x): does its access list let the hub write "
			"everywhere "
			"under \"%s\"?",
			(unsigned)reason, m->settings->prefix);
	outbox_acked(&m->out, mid, job);
	if (job[0] != '\0')
		m->on.event(m->ctx, &(struct hub_event){ .type = HUB_EV_TOLD, .job = span_of(job) });
	if (m->asked[slot].mid != mid)
		return;
	m->asked[slot].mid = 0;
	if ((reason != 0x10 && reason < 0x80) || m->closing)
		return;
	m->stats.no_subscriber++;
	m->on.event(m->ctx, &(struct hub_event){ .type = HUB_EV_NO_SUBSCRIBER, .agent = span_of(m->asked[slot].agent) });
}

/* ---- the link ---- */

static void on_up(void *ctx, uint64_t conn)
{
	static const struct {
		enum topic_kind kind;
		int qos;
	} wanted[] = {
		{ TOPIC_AGENT_REGISTRATION, 1 },
		{ TOPIC_AGENT_STATUS, 1 },
		{ TOPIC_AGENT_HEARTBEAT, 0 },
		{ TOPIC_AGENT_OUT, 1 },
		{ TOPIC_CLIENT_JOBS, 1 },
		{ TOPIC_CLIENT_CANCEL, 1 },
		{ TOPIC_CLIENT_PRESENCE, 1 },
		{ TOPIC_CLIENT_ADMIN, 1 },
		{ TOPIC_HUB_STATUS, 1 },
	};
	struct mqtt *m = ctx;

	m->n_granted = 0;
	m->n_wanted = sizeof(wanted) / sizeof(wanted[0]);
	for (size_t i = 0; i < m->n_wanted; i++) {
		struct topic filter;

		if (topic_make(m->settings->prefix, wanted[i].kind, SPAN("+"), &filter) < 0 ||
			mq_subscribe(m->mq, filter.s, wanted[i].qos, NULL) < 0)
			log_error("mqtt", "cannot subscribe; the connection is useless until the next one");
	}
	log_debug("mqtt", "connection %llu is up, subscribing", (unsigned long long)conn);
}

static void on_subscribed(void *ctx, int mid, int reason)
{
	struct mqtt *m = ctx;

	(void)mid;
	if (reason >= 0x80) {
		if (!m->refused_said)
			log_error("mqtt",
				"the broker refused a subscription (reason 0x%02x): its access list must let the hub read "
				"everything "
				"under \"%s\"",
				(unsigned)reason, m->settings->prefix);
		m->refused_said = true;
		return;
	}
	if (++m->n_granted != m->n_wanted || m->closing)
		return;
	m->is_up = true;
	m->refused_said = false;
	log_notice("mqtt", "connected to the broker at %s:%llu", m->settings->broker.host,
		(unsigned long long)m->settings->broker.port);
	publish_status(m, AGENT_ONLINE);
	m->on.event(m->ctx, &(struct hub_event){ .type = HUB_EV_LINK_UP });
	flush(m);
}

static void on_down(void *ctx, const char *why, uint64_t retry_ms)
{
	struct mqtt *m = ctx;
	uint64_t now = loop_now_ms(m->loop);
	bool was_up = m->is_up;

	m->is_up = false;
	memset(m->asked, 0, sizeof(m->asked));
	outbox_link_lost(&m->out);
	log_warn("mqtt", "no connection to the broker at %s:%llu: %s; next try in %llu ms", m->settings->broker.host,
		(unsigned long long)m->settings->broker.port, why,
		(unsigned long long)(retry_ms > now ? retry_ms - now : 0));
	if (was_up && !m->closing)
		m->on.event(m->ctx, &(struct hub_event){ .type = HUB_EV_LINK_DOWN });
}

static void on_writable(void *ctx)
{
	flush(ctx);
}

/* ---- beginning and end ---- */

static int make_mq(struct mqtt *m, uint64_t seed, char *err, size_t err_size)
{
	static const struct mq_callbacks callbacks = { .will = on_will,
		.up = on_up,
		.down = on_down,
		.message = on_message,
		.ack = on_ack,
		.subscribed = on_subscribed,
		.writable = on_writable };
	const struct broker_settings *b = &m->settings->broker;
	const struct mq_config base = { .client_id = b->username[0] != '\0' ? b->username : "shoal-hub", .seed = seed };

	return broker_link_new(m->loop, b, &base, &callbacks, m, err, err_size, &m->mq);
}

int mqtt_new(struct loop *l, const struct settings *s, uint64_t epoch, uint64_t seed, const struct mqtt_handlers *handlers,
	void *ctx, char *err, size_t err_size, struct mqtt **ret)
{
	struct mqtt *m = calloc(1, sizeof(*m));
	int rc = ERR_NOMEM;

	(void)snprintf(err, err_size, "out of memory");
	if (m == NULL)
		return rc;
	m->loop = l;
	m->settings = s;
	m->epoch = epoch;
	m->on = *handlers;
	m->ctx = ctx;
	outbox_init(&m->out, OUT_MAX, OUT_MAX_BYTES);
	m->buf = BUF_INIT((size_t)8 << 20); /* escapes may make a JSON text six times as long, before it is refused */
	m->arena = (struct arena){ .p = malloc(ARENA_SIZE), .cap = ARENA_SIZE };
	if (m->arena.p != NULL)
		rc = make_mq(m, seed, err, err_size);
	if (rc < 0) {
		mqtt_free(m);
		return rc;
	}
	*ret = m;
	return 0;
}

void mqtt_start(struct mqtt *m)
{
	mq_start(m->mq);
}

bool mqtt_is_up(const struct mqtt *m)
{
	return m->is_up;
}

struct mqtt_stats mqtt_stats(const struct mqtt *m)
{
	struct mqtt_stats s = m->stats;
	struct mq_stats q = mq_stats(m->mq);

	s.published = q.published, s.connects = q.connects, s.losses = q.losses;
	s.queued = m->out.n;
	return s;
}

void mqtt_close(struct mqtt *m, uint64_t timeout_ms, void (*done)(void *ctx))
{
	if (m->is_up) {
		flush(m);
		publish_status(m, AGENT_OFFLINE);
	}
	m->closing = true;
	m->is_up = false;
	mq_close(m->mq, timeout_ms, done);
}

struct mqtt *mqtt_free(struct mqtt *m)
{
	if (m == NULL)
		return NULL;
	mq_free(m->mq);
	outbox_fini(&m->out);
	free(m->arena.p);
	buf_fini(&m->buf);
	free(m);
	return NULL;
}
