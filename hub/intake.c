#include "intake.h"

#include <stdarg.h>
#include <stdio.h>

#include "format.h"
#include "json.h"

/* ---- where answers go ---- */

int reply_topic(const struct hub_reply *reply, struct span job, struct topic *ret)
{
	struct span last = job.n > 0 ? job : SPAN("rejected");

	if ((reply->format & REPLY_PER_JOB) == 0)
		return span_copy(reply->topic, ret->s, sizeof(ret->s));
	if (reply->topic.n + last.n >= sizeof(ret->s))
		return ERR_TOOBIG;
	memcpy(ret->s, reply->topic.p, reply->topic.n);
	return span_copy(last, ret->s + reply->topic.n, sizeof(ret->s) - reply->topic.n);
}

struct span reply_content_type(const struct hub_reply *reply)
{
	return (reply->format & REPLY_CBOR) != 0 ? SPAN("application/cbor") : SPAN("application/json");
}

size_t reply_vectors(const struct answer *a, struct embedding ret[PROTO_MAX_INPUTS])
{
	size_t n = a->n_vectors < PROTO_MAX_INPUTS ? a->n_vectors : PROTO_MAX_INPUTS;

	for (size_t i = 0; i < n; i++) {
		size_t size = a->vectors.n / a->n_vectors;

		ret[i] = (struct embedding){ .index = i, .embedding = span_mem(a->vectors.p + i * size, size) };
	}
	return n;
}

int reply_encode(const struct hub_reply *reply, const struct answer *a, struct buf *out)
{
	struct answer doc = *a;
	struct embedding vectors[PROTO_MAX_INPUTS];
	struct logprobs probs;
	int rc = logprobs_read(a->probs, &probs);

	if (rc < 0)
		return rc;
	doc.embeddings = vectors;
	doc.n_embeddings = reply_vectors(a, vectors);
	doc.logprobs = probs.items;
	doc.n_logprobs = probs.n_items;
	rc = (reply->format & REPLY_CBOR) != 0 ? msg_encode(&answer_type, &doc, MSG_KEYS_TEXT, out)
					       : json_encode(&answer_type, &doc, out);
	logprobs_fini(&probs);
	return rc;
}

/* ---- the client's side of it ---- */

static bool is_json(const struct mq_msg *msg)
{
	struct span type = msg->content_type;

	if (type.n >= 16 && memcmp(type.p, "application/json", 16) == 0)
		return true;
	if (type.n >= 16 && memcmp(type.p, "application/cbor", 16) == 0)
		return false;
	return msg->payload.n > 0 && strchr("{ \t\r\n", msg->payload.p[0]) != NULL && msg->payload.p[0] != '\0';
}

static void reply_to_default(const char *prefix, struct intake *in)
{
	bool is_admin = in->topic == TOPIC_CLIENT_ADMIN;
	int n = snprintf(in->reply_topic.s, sizeof(in->reply_topic.s), "%s/clients/%.*s/%s", prefix, SPAN_FMT(in->who),
		is_admin ? "admin/answer" : "jobs/");

	in->ev.reply.topic = span_mem(in->reply_topic.s, n > 0 && n < TOPIC_MAX ? (size_t)n : 0);
	in->ev.reply.format |= is_admin ? 0 : REPLY_PER_JOB;
}

/* False when the client wants its answers somewhere that is not its own. */
static bool reply_to_wish(const char *prefix, struct intake *in, struct span wish)
{
	if (wish.n == 0)
		return true;
	if (!topic_is_reply_for(prefix, in->who, wish) || span_copy(wish, in->reply_topic.s, sizeof(in->reply_topic.s)) < 0)
		return false;
	in->ev.reply.topic = span_mem(in->reply_topic.s, wish.n);
	in->ev.reply.format &= ~(unsigned)REPLY_PER_JOB;
	return true;
}

static enum intake_kind __attribute__((format(printf, 3, 4))) refuse(struct intake *in, unsigned code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(in->sentence, sizeof(in->sentence), fmt, ap);
	va_end(ap);
	in->refusal =
		(struct answer){ .type = ANSWER_ERROR, .code = span_of(code_name(code)), .message = span_of(in->sentence) };
	return INTAKE_REFUSED;
}

static int decode(struct intake *in, const struct msg_type *t, const struct mq_msg *msg, struct arena *arena)
{
	in->err = (in->ev.reply.format & REPLY_CBOR) == 0
			  ? json_decode(t, msg->payload, arena, &in->body, &in->field)
			  : msg_decode(t, msg->payload, MSG_KEYS_TEXT, arena, &in->body, &in->field);
	return in->err;
}

static enum intake_kind refuse_bytes(struct intake *in)
{
	if (in->field != NULL)
		return refuse(in, CODE_BAD_REQUEST, "\"%s\": %s", in->field, err_text(in->err));
	return refuse(in, CODE_BAD_REQUEST, "this is not %s: %s",
		(in->ev.reply.format & REPLY_CBOR) != 0 ? "a CBOR map (nor JSON, which begins with \"{\")"
							: "one JSON object",
		err_text(in->err));
}

/* With what it was refused for, and what tells the client which one. */
static enum intake_kind refuse_submit(struct intake *in)
{
	in->refusal.id = in->body.submit.id;
	in->refusal.correlation = in->body.submit.correlation;
	return INTAKE_REFUSED;
}

static enum intake_kind take_submit(const char *prefix, const struct mq_msg *msg, struct arena *arena, struct intake *in)
{
	struct submit *s = &in->body.submit;
	struct buf why = BUF_INIT(400);

	if (msg->response_topic.n == 0 && !reply_to_wish(prefix, in, s->reply_to)) {
		(void)refuse(in, CODE_FORBIDDEN, "\"reply_to\" must lie under %s/clients/%.*s/", prefix, SPAN_FMT(in->who));
		return refuse_submit(in);
	}
	if (format_to_grammar(s, arena, &why) < 0) {
		(void)refuse(in, CODE_BAD_REQUEST, "%.*s", SPAN_FMT(buf_span(&why)));
		buf_fini(&why);
		return refuse_submit(in);
	}
	in->ev.type = HUB_EV_SUBMIT;
	in->ev.submit = s;
	return INTAKE_EVENT;
}

static enum intake_kind take_admin(const char *prefix, const struct mq_msg *msg, struct intake *in)
{
	const struct admin *a = &in->body.admin;
	bool is_cancel = a->verb == ADMIN_CANCEL;

	if (msg->response_topic.n == 0 && !reply_to_wish(prefix, in, a->reply_to))
		(void)refuse(in, CODE_FORBIDDEN, "\"reply_to\" must lie under %s/clients/%.*s/", prefix, SPAN_FMT(in->who));
	else if (!span_is_id(is_cancel ? a->job : a->agent))
		(void)refuse(in, CODE_BAD_REQUEST, "\"%s\" needs \"%s\": which one", admin_verb_names[a->verb],
			is_cancel ? "job" : "agent");
	in->refusal.correlation = a->correlation;
	in->ev.type = HUB_EV_ADMIN;
	in->ev.admin = a;
	return in->refusal.type == ANSWER_ERROR ? INTAKE_REFUSED : INTAKE_EVENT;
}

static enum intake_kind take_client(const char *prefix, const struct mq_msg *msg, struct arena *arena, struct intake *in)
{
	static const struct msg_type *const types[TOPIC_KIND_COUNT] = {
		[TOPIC_CLIENT_JOBS] = &submit_type,
		[TOPIC_CLIENT_CANCEL] = &cancel_type,
		[TOPIC_CLIENT_PRESENCE] = &presence_type,
		[TOPIC_CLIENT_ADMIN] = &admin_type,
	};

	if (msg->retain || msg->payload.n == 0) /* a retained job would run again at each reconnect; nothing clears it */
		return INTAKE_IGNORED;
	in->ev.user = in->who;
	in->ev.reply.format = is_json(msg) ? 0 : REPLY_CBOR;
	reply_to_default(prefix, in);
	in->ev.reply.correlation = msg->correlation.n <= PROTO_MAX_CORRELATION ? msg->correlation : SPAN_NONE;
	if (!reply_to_wish(prefix, in, msg->response_topic))
		return refuse(
			in, CODE_FORBIDDEN, "the Response Topic must lie under %s/clients/%.*s/", prefix, SPAN_FMT(in->who));
	if (msg->correlation.n > PROTO_MAX_CORRELATION)
		return refuse(in, CODE_TOO_LARGE, "the Correlation Data is over %d bytes", PROTO_MAX_CORRELATION);
	if (msg->payload.n > PROTO_MAX_MESSAGE)
		return refuse(in, CODE_TOO_LARGE, "the message is over %zu bytes", PROTO_MAX_MESSAGE);
	if (decode(in, types[in->topic], msg, arena) < 0)
		return refuse_bytes(in);
	if (in->topic == TOPIC_CLIENT_JOBS)
		return take_submit(prefix, msg, arena, in);
	if (in->topic == TOPIC_CLIENT_ADMIN)
		return take_admin(prefix, msg, in);
	if (in->topic == TOPIC_CLIENT_PRESENCE) {
		in->ev.type = HUB_EV_CLIENT_GONE;
		return in->body.presence.state == AGENT_OFFLINE ? INTAKE_EVENT : INTAKE_IGNORED;
	}
	in->ev.type = HUB_EV_CANCEL;
	in->ev.cancel = &in->body.cancel;
	return INTAKE_EVENT;
}

/* ---- agents ---- */

static enum intake_kind take_agent(const struct mq_msg *msg, struct arena *arena, struct intake *in)
{
	static const struct {
		const struct msg_type *type;
		enum hub_event_type ev;
	} kinds[TOPIC_KIND_COUNT] = {
		[TOPIC_AGENT_REGISTRATION] = { &registration_type, HUB_EV_REGISTRATION },
		[TOPIC_AGENT_STATUS] = { &status_type, HUB_EV_STATUS },
		[TOPIC_AGENT_HEARTBEAT] = { &heartbeat_type, HUB_EV_HEARTBEAT },
		[TOPIC_AGENT_OUT] = { &job_event_type, HUB_EV_JOB_EVENT },
	};

	if (msg->payload.n == 0) /* someone cleared a retained message */
		return INTAKE_IGNORED;
	in->err = msg->payload.n > PROTO_MAX_MESSAGE
			  ? ERR_TOOBIG
			  : msg_decode(kinds[in->topic].type, msg->payload, MSG_KEYS_INT, arena, &in->body, &in->field);
	if (in->err == 0 && in->topic == TOPIC_AGENT_REGISTRATION && !span_eq(in->body.registration.agent, in->who)) {
		in->err = ERR_RANGE;
		in->field = "agent";
	}
	if (in->err < 0)
		return INTAKE_BAD;
	in->ev.type = kinds[in->topic].ev;
	in->ev.agent = in->who;
	in->ev.registration = &in->body.registration; /* all members of both unions begin at the same place */
	return INTAKE_EVENT;
}

enum intake_kind intake_take(const char *prefix, const struct mq_msg *msg, struct arena *arena, struct intake *ret)
{
	memset(ret, 0, offsetof(struct intake, body));
	ret->topic = topic_parse(prefix, msg->topic, &ret->who);
	switch (ret->topic) {
	case TOPIC_AGENT_REGISTRATION:
	case TOPIC_AGENT_STATUS:
	case TOPIC_AGENT_HEARTBEAT:
	case TOPIC_AGENT_OUT: return take_agent(msg, arena, ret);
	case TOPIC_CLIENT_JOBS:
	case TOPIC_CLIENT_CANCEL:
	case TOPIC_CLIENT_PRESENCE:
	case TOPIC_CLIENT_ADMIN: return take_client(prefix, msg, arena, ret);
	default: return INTAKE_IGNORED;
	}
}
