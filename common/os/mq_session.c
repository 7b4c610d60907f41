/* mq_session.c - the adapter of libmosquitto. */
#include "mq_session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mosquitto.h>
#include <mqtt_protocol.h>

#define RECEIVE_MAXIMUM 1000 /* QoS 1 messages the broker may have under way to us */
#define TEXT_MAX 1024        /* topics and text properties */

struct session_pending {
	int mid, qos;
	size_t size;
};

void session_lose(struct session *s, const char *fmt, ...)
{
	va_list ap;

	if (s->is_lost)
		return;
	s->is_lost = true;
	va_start(ap, fmt);
	(void)vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
}

/* A result of a library call that means the link is gone; err is errno after the call. */
static void lose_rc(struct session *s, int rc, int err)
{
	if (rc == MOSQ_ERR_ERRNO)
		session_lose(s, "%s", err != 0 ? strerror(err) : "the connection failed");
	else if (rc > 0)
		session_lose(s, "%s", mosquitto_strerror(rc));
}

static void unwatch(struct session *s)
{
	s->io = loop_io_free(s->io);
	if (s->fd >= 0)
		(void)close(s->fd);
	s->fd = -1;
}

/* After every call of the library. */
static void refresh(struct session *s)
{
	uint32_t want;

	if (s->fd < 0)
		return;
	if (mosquitto_socket(s->m) < 0) {
		session_lose(s, "the connection was closed");
		return;
	}
	want = EPOLLIN | (mosquitto_want_write(s->m) ? (uint32_t)EPOLLOUT : 0u);
	if (want != s->armed && loop_io_events(s->io, want) < 0)
		session_lose(s, "cannot watch the socket");
	s->armed = want;
}

/* ---- the library's callbacks: notes only ---- */

static struct session_event *event_add(struct session *s, enum session_event_type type, size_t n_bytes)
{
	struct session_event *e = calloc(1, sizeof(*e) + n_bytes);

	if (e == NULL) {
		session_lose(s, "out of memory"); /* a new session brings what is retained again */
		return NULL;
	}
	e->type = type;
	*s->events_end = e;
	s->events_end = &e->next;
	return e;
}

static void on_connect(struct mosquitto *m, void *ctx, int reason, int flags, const mosquitto_property *props)
{
	struct session *s = ctx;

	(void)m;
	(void)flags;
	(void)props;
	if (reason != MQTT_RC_SUCCESS)
		session_lose(s, "the broker refused the connection: %s", mosquitto_reason_string(reason));
	else
		(void)event_add(s, SESSION_CONNACK, 0);
}

/* Fires more than once for one loss, with a reason code of MQTT or of the library. */
static void on_disconnect(struct mosquitto *m, void *ctx, int reason, const mosquitto_property *props)
{
	int err = errno;

	(void)m;
	(void)props;
	if (reason >= MQTT_RC_UNSPECIFIED)
		session_lose(ctx, "the broker disconnected us: %s", mosquitto_reason_string(reason));
	else
		lose_rc(ctx, reason, err);
}

static struct span copy_in(struct session_event *e, size_t *at, const void *p, size_t n)
{
	char *to = e->bytes + *at;

	if (n == 0)
		return SPAN_NONE;
	memcpy(to, p, n);
	*at += n;
	return span_mem(to, n);
}

static void on_message(struct mosquitto *m, void *ctx, const struct mosquitto_message *msg, const mosquitto_property *props)
{
	char *response = NULL, *content = NULL;
	void *correlation = NULL;
	uint16_t n_correlation = 0;
	size_t n_topic = strlen(msg->topic), n_payload = (size_t)msg->payloadlen, n_response, n_content, at = 0;
	struct session_event *e;

	(void)m;
	(void)mosquitto_property_read_string(props, MQTT_PROP_RESPONSE_TOPIC, &response, false);
	(void)mosquitto_property_read_string(props, MQTT_PROP_CONTENT_TYPE, &content, false);
	(void)mosquitto_property_read_binary(props, MQTT_PROP_CORRELATION_DATA, &correlation, &n_correlation, false);
	n_response = response != NULL ? strlen(response) : 0;
	n_content = content != NULL ? strlen(content) : 0;
	if (correlation == NULL)
		n_correlation = 0;
	e = event_add(ctx, SESSION_MESSAGE, n_topic + n_payload + n_response + n_content + n_correlation);
	if (e != NULL) {
		e->msg.topic = copy_in(e, &at, msg->topic, n_topic);
		e->msg.payload = copy_in(e, &at, msg->payload, n_payload);
		e->msg.response_topic = copy_in(e, &at, response, n_response);
		e->msg.content_type = copy_in(e, &at, content, n_content);
		e->msg.correlation = copy_in(e, &at, correlation, n_correlation);
		e->msg.retain = msg->retain;
	}
	free(response);
	free(content);
	free(correlation);
}

static void on_subscribe(struct mosquitto *m, void *ctx, int mid, int n, const int *granted, const mosquitto_property *props)
{
	struct session_event *e = event_add(ctx, SESSION_SUBSCRIBED, 0);

	(void)m;
	(void)props;
	if (e == NULL)
		return;
	e->mid = mid;
	e->reason = n > 0 ? granted[0] : MQTT_RC_UNSPECIFIED;
}

static struct session_pending *pending_find(struct session *s, int mid)
{
	for (size_t i = 0; i < s->n_pending; i++)
		if (s->pending[i].mid == mid)
			return &s->pending[i];
	return NULL;
}

/* Fires for QoS 0 when the packet has left, possibly inside mosquitto_publish_v5(); for
 * QoS 1 at the PUBACK. */
static void on_publish(struct mosquitto *m, void *ctx, int mid, int reason, const mosquitto_property *props)
{
	struct session *s = ctx;
	struct session_pending *p = pending_find(s, mid);
	struct session_event *e;

	(void)m;
	(void)props;
	if (p == NULL) {
		s->sent_at_once = mid;
		return;
	}
	if (p->qos == 1 && (e = event_add(s, SESSION_ACK, 0)) != NULL) {
		e->mid = mid;
		e->reason = reason;
	}
	s->pending_bytes -= p->size;
	*p = s->pending[--s->n_pending];
}

struct session_event *session_take(struct session *s)
{
	struct session_event *e = s->events;

	if (e == NULL)
		return NULL;
	s->events = e->next;
	if (s->events == NULL)
		s->events_end = &s->events;
	return e;
}

/* ---- properties: a fresh list each time, for a copied one loses all but its first
 * entry on sending; and never an empty string, which the library crashes on copying ---- */

/* A NUL-terminated copy in buf of TEXT_MAX bytes; ERR_RANGE when it holds a NUL itself. */
static int text_of(struct span s, char *buf)
{
	if (s.n > 0 && memchr(s.p, '\0', s.n) != NULL)
		return ERR_RANGE;
	return span_copy(s, buf, TEXT_MAX);
}

static int add_text(mosquitto_property **list, int id, struct span s)
{
	char text[TEXT_MAX];
	int rc;

	if (s.n == 0)
		return 0;
	rc = text_of(s, text);
	if (rc < 0)
		return rc;
	rc = mosquitto_property_add_string(list, id, text);
	return rc == MOSQ_ERR_SUCCESS ? 0 : rc == MOSQ_ERR_NOMEM ? ERR_NOMEM : ERR_RANGE;
}

static int add_rest(mosquitto_property **list, const struct mq_pub *pub)
{
	int rc = MOSQ_ERR_SUCCESS;

	if (pub->correlation.n > UINT16_MAX)
		return ERR_RANGE;
	if (pub->correlation.n > 0)
		rc = mosquitto_property_add_binary(
			list, MQTT_PROP_CORRELATION_DATA, pub->correlation.p, (uint16_t)pub->correlation.n);
	if (rc == MOSQ_ERR_SUCCESS && pub->expiry_s > 0)
		rc = mosquitto_property_add_int32(list, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, pub->expiry_s);
	return rc == MOSQ_ERR_SUCCESS ? 0 : ERR_NOMEM;
}

static int make_properties(const struct mq_pub *pub, mosquitto_property **ret)
{
	mosquitto_property *list = NULL;
	int rc = add_text(&list, MQTT_PROP_CONTENT_TYPE, pub->content_type);

	if (rc == 0)
		rc = add_text(&list, MQTT_PROP_RESPONSE_TOPIC, pub->response_topic);
	if (rc == 0)
		rc = add_rest(&list, pub);
	if (rc == 0)
		*ret = list;
	else
		mosquitto_property_free_all(&list);
	return rc;
}

/* ---- connecting ---- */

static void set_will(struct session *s, const struct mq_pub *will)
{
	mosquitto_property *props = NULL;
	char topic[TEXT_MAX];

	if (text_of(will->topic, topic) < 0 || will->payload.n > UINT16_MAX || make_properties(will, &props) < 0) {
		session_lose(s, "the will is not valid");
		return;
	}
	if (mosquitto_will_set_v5(s->m, topic, (int)will->payload.n, will->payload.p, will->qos, will->retain, props) !=
		MOSQ_ERR_SUCCESS) {
		mosquitto_property_free_all(&props); /* the library's own only on success */
		session_lose(s, "the will is not valid");
	}
}

static void set_options(struct session *s, const struct mq_config *c)
{
	int rc = mosquitto_int_option(s->m, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);

	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_int_option(s->m, MOSQ_OPT_RECEIVE_MAXIMUM, RECEIVE_MAXIMUM);
	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_int_option(s->m, MOSQ_OPT_TCP_NODELAY, 1);
	if (rc == MOSQ_ERR_SUCCESS && c->username != NULL)
		rc = mosquitto_username_pw_set(s->m, c->username, c->password);
	if (rc == MOSQ_ERR_SUCCESS && c->cafile != NULL)
		rc = mosquitto_tls_set(s->m, c->cafile, NULL, c->certfile, c->keyfile, NULL);
	if (rc == MOSQ_ERR_SUCCESS && c->cafile != NULL)
		rc = mosquitto_tls_opts_set(s->m, 1, "tlsv1.2", NULL); /* 2.0.11 would take 1.1 */
	if (rc != MOSQ_ERR_SUCCESS)
		session_lose(s, "the user name, the password or the TLS files cannot be used: %s", mosquitto_strerror(rc));
	mosquitto_connect_v5_callback_set(s->m, on_connect);
	mosquitto_disconnect_v5_callback_set(s->m, on_disconnect);
	mosquitto_message_v5_callback_set(s->m, on_message);
	mosquitto_publish_v5_callback_set(s->m, on_publish);
	mosquitto_subscribe_v5_callback_set(s->m, on_subscribe);
}

static void watch(struct session *s)
{
	int fd = mosquitto_socket(s->m);

	if (fd < 0) {
		session_lose(s, "the connection was closed");
		return;
	}
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* a child that held it would keep a dead session alive */
	s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	s->armed = EPOLLIN | EPOLLOUT;
	if (s->fd < 0 || loop_io_new(s->loop, s->fd, s->armed, s->on_io, s->ctx, &s->io) < 0)
		session_lose(s, "cannot watch the socket");
}

bool session_open(struct session *s, const struct mq_config *c, const char *host, const struct mq_pub *will)
{
	int rc;

	s->is_lost = false;
	s->m = mosquitto_new(c->client_id, true, s);
	if (s->m == NULL) {
		session_lose(s, "out of memory, or a client id that is not valid");
		return false;
	}
	set_options(s, c);
	if (will != NULL)
		set_will(s, will);
	if (s->is_lost)
		return false;
	/* The asynchronous form takes no properties, and we need none: no session expiry
	 * interval means 0, the receive maximum is an option. */
	errno = 0;
	rc = mosquitto_connect_bind_async(s->m, host, c->port, c->keepalive_s, NULL);
	lose_rc(s, rc, errno);
	if (!s->is_lost)
		watch(s);
	return !s->is_lost;
}

void session_close(struct session *s)
{
	struct session_event *e;

	unwatch(s);
	mosquitto_destroy(s->m); /* closes its socket; sends nothing, calls nothing back */
	s->m = NULL;
	while ((e = session_take(s)) != NULL)
		free(e);
	s->n_pending = 0;
	s->pending_bytes = 0;
}

int session_init(struct session *s, struct loop *l, size_t max_pending, void (*on_io)(void *ctx, uint32_t events), void *ctx)
{
	*s = (struct session){ .loop = l, .on_io = on_io, .ctx = ctx, .fd = -1, .max_pending = max_pending };
	s->events_end = &s->events;
	(void)mosquitto_lib_init(); /* counts its callers */
	s->pending = calloc(max_pending, sizeof(*s->pending));
	return s->pending != NULL ? 0 : ERR_NOMEM;
}

void session_fini(struct session *s)
{
	session_close(s);
	free(s->pending);
	s->pending = NULL;
	(void)mosquitto_lib_cleanup();
}

/* ---- in use ---- */

void session_write(struct session *s)
{
	int rc;

	errno = 0;
	rc = mosquitto_loop_write(s->m, 1);
	lose_rc(s, rc, errno);
	refresh(s);
}

bool session_read(struct session *s)
{
	bool is_drained;
	int rc;

	errno = 0; /* the library reads a stale EAGAIN as its own */
	rc = mosquitto_loop_read(s->m, 1);
	is_drained = errno == EAGAIN;
	lose_rc(s, rc, errno);
	refresh(s);
	return !is_drained && !s->is_lost;
}

void session_tick(struct session *s)
{
	int rc;

	errno = 0;
	rc = mosquitto_loop_misc(s->m);
	lose_rc(s, rc, errno);
	refresh(s);
}

/* What a publish or subscribe means for its caller, and for the session. */
static int result_of(struct session *s, int rc, int err)
{
	switch (rc) {
	case MOSQ_ERR_SUCCESS: return 0;
	case MOSQ_ERR_NOMEM: return ERR_NOMEM;
	case MOSQ_ERR_PAYLOAD_SIZE:
	case MOSQ_ERR_OVERSIZE_PACKET: return ERR_TOOBIG;
	case MOSQ_ERR_INVAL:
	case MOSQ_ERR_MALFORMED_UTF8:
	case MOSQ_ERR_NOT_SUPPORTED:
	case MOSQ_ERR_QOS_NOT_SUPPORTED: return ERR_RANGE;
	default: lose_rc(s, rc, err); return ERR_CLOSED;
	}
}

/* Hands it to the library and notes what the library still holds. */
static int publish(
	struct session *s, const char *topic, const struct mq_pub *pub, const mosquitto_property *props, size_t size)
{
	int mid = 0, rc;

	s->sent_at_once = 0;
	errno = 0;
	rc = mosquitto_publish_v5(s->m, &mid, topic, (int)pub->payload.n, pub->payload.p, pub->qos, pub->retain, props);
	rc = result_of(s, rc, errno);
	refresh(s);
	if (rc < 0)
		return rc;
	if (pub->qos == 0 && s->sent_at_once == mid)
		return 0;
	if (pending_find(s, mid) != NULL) { /* the library does not look when its ids wrap around */
		session_lose(s, "packet id %d is still in use", mid);
		return ERR_CLOSED;
	}
	s->pending[s->n_pending++] = (struct session_pending){ mid, pub->qos, size };
	s->pending_bytes += size;
	return mid;
}

int session_publish(struct session *s, const struct mq_pub *pub, size_t size)
{
	mosquitto_property *props = NULL;
	char topic[TEXT_MAX];
	int rc = text_of(pub->topic, topic);

	if (s->n_pending >= s->max_pending)
		return ERR_FULL;
	if (rc == 0)
		rc = make_properties(pub, &props);
	if (rc == 0)
		rc = publish(s, topic, pub, props, size);
	mosquitto_property_free_all(&props);
	return rc;
}

int session_subscribe(struct session *s, const char *filter, int qos)
{
	int mid = 0, rc;

	errno = 0;
	rc = mosquitto_subscribe_v5(s->m, &mid, filter, qos, 0, NULL);
	rc = result_of(s, rc, errno);
	refresh(s);
	return rc < 0 ? rc : mid;
}

void session_goodbye(struct session *s)
{
	(void)mosquitto_disconnect_v5(s->m, MQTT_RC_NORMAL_DISCONNECTION, NULL); /* a failure shows as a lost link */
	refresh(s);
}

/* The library closes its socket as soon as DISCONNECT is written.  Closed with bytes unread
 * in it, the kernel would reset the connection, and the broker might drop the DISCONNECT
 * unread and send the will.  Our duplicate keeps it open until the broker has closed. */
bool session_is_ended(struct session *s)
{
	char sink[4096];
	ssize_t n;

	if (mosquitto_socket(s->m) >= 0)
		return false;
	if (s->armed != EPOLLIN) {
		s->armed = EPOLLIN;
		(void)loop_io_events(s->io, EPOLLIN);
	}
	(void)shutdown(s->fd, SHUT_WR); /* a second time does no harm */
	do
		n = recv(s->fd, sink, sizeof(sink), MSG_DONTWAIT);
	while (n > 0);
	return n == 0 || (errno != EAGAIN && errno != EINTR);
}
