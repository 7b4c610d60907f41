#include "http.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "code.h"
#include "socket.h"

#define MAX_HEADERS 100
#define SWEEP_MS 1000
#define NUMBER_BITS 16            /* of a call's number: its slot */
#define OUT_MAX ((size_t)8 << 20) /* what goes there has bounds of its own: the longest answer, escaped */

enum phase {
	PHASE_IDLE,    /* between requests */
	PHASE_HEADERS, /* the request line is there */
	PHASE_BODY,
	PHASE_ASKED,    /* handed over, not answered */
	PHASE_STREAM,   /* answered by a stream that has not ended */
	PHASE_ANSWERED, /* the rest is the library's */
};

/* One for each connection; a request at a time. */
struct http_call {
	struct http *http;
	struct MHD_Connection *conn;
	int fd;
	size_t slot;
	uint64_t number; /* of the request; 0: none was handed over, or it is over */
	enum phase phase;
	uint64_t deadline_ms;      /* of the phase; 0: none */
	uint64_t said_ms;          /* when bytes last left */
	uint64_t bytes;            /* received when the last request was over */
	const char *method, *path; /* the library's, for the request's life */
	struct buf body, out, headers;
	size_t out_used;
	struct MHD_Response *response; /* made, not yet queued */
	int status;
	struct loop_io *watch;
	void *user;
	bool suspended, dead, is_stream, ended, end_is_clean, timed_out;
};

struct http {
	struct loop *loop;
	struct http_config config;
	struct http_handlers on;
	void *ctx;
	struct MHD_Daemon *mhd;
	int listen_fd, port;
	struct loop_io *io;
	struct loop_timer *timer, *sweep;
	struct http_call **calls;
	uint64_t last_number;
	size_t body_bytes;
	struct http_stats stats;
	bool resumed, closed, stopping;
};

/* ---- small things ---- */

struct http_call *http_find(struct http *h, uint64_t number)
{
	size_t slot = (size_t)(number & ((1u << NUMBER_BITS) - 1));

	if (number == 0 || slot >= h->config.max_connections || h->calls[slot] == NULL)
		return NULL;
	return h->calls[slot]->number == number && !h->calls[slot]->dead ? h->calls[slot] : NULL;
}

uint64_t http_number(const struct http_call *c)
{
	return c->number;
}

struct span http_method(const struct http_call *c)
{
	return span_of(c->method);
}

struct span http_path(const struct http_call *c)
{
	return span_of(c->path);
}

struct span http_get_header(const struct http_call *c, const char *name)
{
	return span_of(MHD_lookup_connection_value(c->conn, MHD_HEADER_KIND, name));
}

struct query_walk {
	bool (*fn)(void *ctx, struct span name, struct span value);
	void *ctx;
};

static enum MHD_Result on_query(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value)
{
	const struct query_walk *w = ctx;

	(void)kind;
	return w->fn(w->ctx, span_of(name), span_of(value)) ? MHD_YES : MHD_NO;
}

void http_each_query(const struct http_call *c, bool (*fn)(void *ctx, struct span name, struct span value), void *ctx)
{
	struct query_walk w = { fn, ctx };

	MHD_get_connection_values(c->conn, MHD_GET_ARGUMENT_KIND, on_query, &w);
}

struct span http_body(const struct http_call *c)
{
	return buf_span(&c->body);
}

void http_set_user(struct http_call *c, void *user)
{
	c->user = user;
}

void *http_user(const struct http_call *c)
{
	return c->user;
}

int http_port(const struct http *h)
{
	return h->port;
}

struct http_stats http_stats(const struct http *h)
{
	return h->stats;
}

static void resume(struct http_call *c)
{
	if (!c->suspended)
		return;
	c->suspended = false;
	c->http->resumed = true;
	MHD_resume_connection(c->conn);
}

/* ---- the end of a call ---- */

static void free_body(struct http_call *c)
{
	c->http->body_bytes -= c->body.n;
	buf_fini(&c->body);
}

static void tell_over(struct http_call *c, bool hung_up)
{
	if (c->number == 0)
		return;
	c->http->stats.hung_up += hung_up;
	c->http->on.over(c->http->ctx, c, hung_up);
	c->number = 0;
	c->user = NULL;
}

/* The client left: whatever is still to be said is not said any more. */
static void hang_up(struct http_call *c)
{
	c->dead = true;
	c->watch = loop_io_free(c->watch);
	(void)shutdown(c->fd, SHUT_RDWR);
	tell_over(c, true);
	resume(c);
}

static void on_watch(void *ctx, uint32_t events)
{
	(void)events;
	hang_up(ctx);
}

/* A half-closed connection counts as a client that left: nobody who waits for an answer closes. */
static int watch(struct http_call *c)
{
	if (c->watch != NULL)
		return 0;
	return loop_io_new(c->http->loop, c->fd, EPOLLRDHUP, on_watch, c, &c->watch);
}

void http_cut(struct http_call *c)
{
	c->http->stats.slow_readers++;
	c->dead = true;
	(void)shutdown(c->fd, SHUT_RDWR); /* the watch, or the library's next write, finds it */
}

/* ---- answers ---- */

void http_add_header(struct http_call *c, const char *name, const char *value)
{
	buf_add(&c->headers, name, strlen(name) + 1);
	buf_add(&c->headers, value, strlen(value) + 1);
}

static bool has_header(const struct http_call *c, const char *name)
{
	for (size_t i = 0; i < c->headers.n;) {
		const char *p = (const char *)c->headers.p + i;

		if (http_name_is(span_of(p), name))
			return true;
		i += strlen(p) + 1;
		i += strlen((const char *)c->headers.p + i) + 1;
	}
	return false;
}

static void put_headers(struct http_call *c, const char *type)
{
	http_add_header(c, "Content-Type", type);
	http_add_header(c, "X-Content-Type-Options", "nosniff");
	if (!has_header(c, "Cache-Control"))
		http_add_header(c, "Cache-Control", "no-store");
	for (size_t i = 0; c->headers.err == 0 && i < c->headers.n;) {
		const char *name = (const char *)c->headers.p + i, *value = name + strlen(name) + 1;

		(void)MHD_add_response_header(c->response, name, value); /* fails only on blanks of our own making */
		i += strlen(name) + strlen(value) + 2;
	}
}

static void answer(struct http_call *c, int status, const char *type, struct MHD_Response *response)
{
	c->response = response;
	c->status = status;
	if (response != NULL) {
		put_headers(c, type);
	} else { /* out of memory: the library closes, and `over` follows */
		c->dead = true;
		(void)shutdown(c->fd, SHUT_RDWR);
	}
	resume(c);
}

void http_reply(struct http_call *c, int status, const char *type, struct span body)
{
	if (c->dead || http_is_answered(c))
		return;
	answer(c, status, type, MHD_create_response_from_buffer(body.n, (void *)(uintptr_t)body.p, MHD_RESPMEM_MUST_COPY));
}

bool http_is_answered(const struct http_call *c)
{
	return c->response != NULL || c->phase == PHASE_STREAM || c->phase == PHASE_ANSWERED;
}

static ssize_t read_stream(void *cls, uint64_t pos, char *to, size_t max)
{
	struct http_call *c = cls;
	size_t n;

	(void)pos;
	if (c->dead)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (c->out.n == c->out_used) {
		buf_reset(&c->out);
		c->out_used = 0;
		if (!c->ended)
			c->http->on.more(c->http->ctx, c, &c->out);
	}
	n = c->out.n - c->out_used;
	if (c->out.err != 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == 0 && c->ended)
		return c->end_is_clean ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == 0) {
		MHD_suspend_connection(c->conn);
		c->suspended = true;
		return 0;
	}
	n = n < max ? n : max;
	memcpy(to, c->out.p + c->out_used, n);
	c->out_used += n;
	c->said_ms = loop_now_ms(c->http->loop);
	return (ssize_t)n;
}

void http_stream(struct http_call *c, const char *type)
{
	if (c->dead || http_is_answered(c))
		return;
	c->is_stream = true;
	http_add_header(c, "X-Accel-Buffering", "no"); /* a proxy in front must not collect it */
	answer(c, 200, type, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, c, NULL));
}

struct buf *http_out(struct http_call *c)
{
	return &c->out;
}

void http_wake(struct http_call *c)
{
	resume(c);
}

void http_end(struct http_call *c, bool is_clean)
{
	c->ended = true;
	c->end_is_clean = is_clean;
	resume(c);
}

static enum MHD_Result queue(struct http_call *c)
{
	enum MHD_Result rc = MHD_queue_response(c->conn, (unsigned)c->status, c->response);

	MHD_destroy_response(c->response);
	c->response = NULL;
	c->phase = c->is_stream ? PHASE_STREAM : PHASE_ANSWERED;
	c->deadline_ms = 0; /* the library's own timeout watches the reader */
	c->said_ms = loop_now_ms(c->http->loop);
	if (!c->is_stream)
		c->watch = loop_io_free(c->watch); /* a client that leaves after its answer is no event */
	return rc;
}

/* ---- requests ---- */

static enum MHD_Result refuse(struct http_call *c, struct http_verdict v)
{
	c->http->stats.refused++;
	http_add_header(c, "Connection", "close"); /* what follows on this connection may be another's request */
	c->http->on.refused(c->http->ctx, c, v);
	return c->response != NULL ? queue(c) : MHD_NO;
}

struct header_list {
	struct http_header items[MAX_HEADERS];
	size_t n, total;
};

static enum MHD_Result take_header(
	void *cls, enum MHD_ValueKind kind, const char *name, size_t name_size, const char *value, size_t value_size)
{
	struct header_list *l = cls;

	(void)kind;
	l->total++;
	if (l->n < MAX_HEADERS)
		l->items[l->n++] = (struct http_header){ span_mem(name, name_size), span_mem(value, value_size) };
	return MHD_YES;
}

static enum MHD_Result begin(struct http_call *c, const char *method, const char *path, const char *version)
{
	struct http *h = c->http;
	struct header_list list = { .n = 0 };
	struct http_verdict v;

	(void)MHD_get_connection_values_n(c->conn, MHD_HEADER_KIND, take_header, &list);
	v = http_guard(&h->config.rules, span_of(method), span_of(version), list.items, list.n);
	if (list.total > MAX_HEADERS)
		v = (struct http_verdict){ CODE_BAD_REQUEST, "too many headers" };
	if (v.code != CODE_OK)
		return refuse(c, v);
	c->method = method, c->path = path;
	c->body = BUF_INIT(h->config.rules.max_body);
	c->phase = PHASE_BODY;
	c->deadline_ms = loop_now_ms(h->loop) + h->config.body_ms;
	return MHD_YES;
}

static enum MHD_Result take_body(struct http_call *c, const char *data, size_t *n)
{
	if (c->http->body_bytes + *n > c->http->config.max_bodies)
		return MHD_NO;
	buf_add(&c->body, data, *n);
	if (c->body.err != 0) /* chunked and over the limit: the library can only close now */
		return MHD_NO;
	c->http->body_bytes += *n;
	*n = 0;
	return MHD_YES;
}

/* The request is whole. */
static enum MHD_Result ask(struct http_call *c)
{
	struct http *h = c->http;

	c->phase = PHASE_ASKED;
	c->deadline_ms = 0;
	c->said_ms = loop_now_ms(h->loop);
	c->number = ++h->last_number << NUMBER_BITS | c->slot;
	h->stats.requests++;
	h->on.request(h->ctx, c);
	free_body(c);
	if (c->dead)
		return MHD_NO;
	if (c->response != NULL && !c->is_stream)
		return queue(c);
	if (watch(c) < 0)
		return MHD_NO;
	if (c->response != NULL)
		return queue(c);
	MHD_suspend_connection(c->conn);
	c->suspended = true;
	return MHD_YES;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
	const char *version, const char *data, size_t *data_size, void **con_cls)
{
	struct http_call *c = *con_cls;

	(void)cls, (void)conn;
	if (c == NULL || c->dead)
		return MHD_NO;
	switch (c->phase) {
	case PHASE_HEADERS: return begin(c, method, url, version);
	case PHASE_BODY: return *data_size > 0 ? take_body(c, data, data_size) : ask(c);
	case PHASE_ASKED: return c->response != NULL ? queue(c) : MHD_NO;
	default: return MHD_NO;
	}
}

/* The request line is there: from here on the headers must come in time. */
static void *on_request_line(void *cls, const char *uri, struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct http_call *c = info != NULL ? info->socket_context : NULL;
	struct http *h = cls;

	(void)uri;
	if (c == NULL)
		return NULL;
	c->phase = PHASE_HEADERS;
	c->deadline_ms = loop_now_ms(h->loop) + h->config.header_ms;
	return c;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls, enum MHD_RequestTerminationCode how)
{
	struct http_call *c = *con_cls;
	struct http *h = cls;

	(void)conn;
	*con_cls = NULL;
	if (c == NULL)
		return;
	c->watch = loop_io_free(c->watch);
	c->suspended = false;
	tell_over(c, how != MHD_REQUEST_TERMINATED_COMPLETED_OK && !(c->ended && c->out_used == c->out.n));
	if (c->response != NULL)
		MHD_destroy_response(c->response);
	free_body(c);
	buf_fini(&c->out);
	buf_fini(&c->headers);
	c->out = BUF_INIT(OUT_MAX), c->headers = BUF_INIT(4096);
	c->out_used = 0;
	c->response = NULL;
	c->dead = c->is_stream = c->ended = false;
	if (c->phase <= PHASE_BODY && !c->timed_out)
		h->stats.malformed++;
	c->phase = PHASE_IDLE;
	c->deadline_ms = loop_now_ms(h->loop) + h->config.idle_ms;
	c->bytes = socket_received(c->fd);
	/* The library takes a read of fewer bytes than it had room for to mean that nothing follows: an
	 * end of stream that came together with the request stays unseen. */
	if (socket_is_at_end(c->fd))
		(void)shutdown(c->fd, SHUT_RDWR);
}

/* ---- connections ---- */

static void open_call(struct http *h, struct MHD_Connection *conn, void **ret)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct http_call *c = calloc(1, sizeof(*c));
	size_t slot = 0;

	*ret = NULL; /* without a call its requests are refused */
	while (slot < h->config.max_connections && h->calls[slot] != NULL)
		slot++;
	if (c == NULL || info == NULL || slot == h->config.max_connections) {
		free(c);
		return;
	}
	*c = (struct http_call){ .http = h, .conn = conn, .fd = info->connect_fd, .slot = slot };
	c->out = BUF_INIT(OUT_MAX), c->headers = BUF_INIT(4096);
	c->deadline_ms = loop_now_ms(h->loop) + h->config.idle_ms;
	socket_tune(c->fd, h->config.send_buffer);
	h->calls[slot] = c;
	h->stats.connections++;
	if (h->stats.open++ == 0)
		loop_timer_at(h->sweep, loop_now_ms(h->loop) + SWEEP_MS);
	*ret = c;
}

static void close_call(struct http_call *c)
{
	struct http *h = c->http;

	/* Bytes that never became a request line (a FIN counts as one of them). */
	if (c->phase == PHASE_IDLE && !c->timed_out && socket_received(c->fd) > c->bytes + 1)
		h->stats.malformed++;
	loop_io_free(c->watch);
	tell_over(c, true);
	free_body(c);
	buf_fini(&c->out);
	buf_fini(&c->headers);
	h->calls[c->slot] = NULL;
	h->stats.open--;
	h->closed = true;
	free(c);
}

static void on_connection(
	void *cls, struct MHD_Connection *conn, void **socket_context, enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		open_call(cls, conn, socket_context);
	else if (*socket_context != NULL)
		close_call(*socket_context);
}

static void on_sweep(void *ctx)
{
	struct http *h = ctx;
	uint64_t now = loop_now_ms(h->loop);

	for (size_t i = 0; i < h->config.max_connections; i++) {
		struct http_call *c = h->calls[i];

		if (c == NULL)
			continue;
		if (c->deadline_ms != 0 && now >= c->deadline_ms) {
			c->timed_out = c->phase != PHASE_IDLE;
			h->stats.timeouts += c->timed_out;
			c->deadline_ms = 0;
			(void)shutdown(c->fd, SHUT_RDWR);
		} else if (c->number != 0 && c->phase != PHASE_ANSWERED && !c->ended &&
			   now - c->said_ms >= h->config.quiet_ms) {
			c->said_ms = now;
			h->on.quiet(h->ctx, c);
		}
	}
	if (h->stats.open > 0)
		loop_timer_at(h->sweep, now + SWEEP_MS);
}

/* ---- the turn ---- */

/* Once the library asked for a timeout it must run after the wait, whatever was ready. */
static void turn(struct http *h)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	h->resumed = false;
	do { /* once more after a connection went: full up, it listens again only in the run after that */
		h->closed = false;
		(void)MHD_run(h->mhd);
	} while (h->closed);
	if (MHD_get_timeout(h->mhd, &timeout) == MHD_YES)
		loop_timer_at(h->timer, timeout == 0 ? 0 : loop_now_ms(h->loop) + timeout);
	else
		loop_timer_off(h->timer);
}

void http_flush(struct http *h)
{
	turn(h);
}

static void on_ready(void *ctx, uint32_t events)
{
	(void)events;
	turn(ctx);
}

static void on_timer(void *ctx)
{
	turn(ctx);
}

/* Answers made in this turn leave in this turn. */
static void on_post(void *ctx)
{
	struct http *h = ctx;

	if (h->resumed && !h->stopping)
		turn(h);
}

/* ---- beginning and end ---- */

static int start(struct http *h, char *err, size_t err_size)
{
	const union MHD_DaemonInfo *info;

	h->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0, NULL, NULL, on_access, h,
		MHD_OPTION_LISTEN_SOCKET, h->listen_fd, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_URI_LOG_CALLBACK,
		on_request_line, h, MHD_OPTION_CONNECTION_LIMIT, (unsigned)h->config.max_connections,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)h->config.max_per_address, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		h->config.max_header, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(h->config.idle_ms / 1000 + 1),
		MHD_OPTION_END);
	info = h->mhd != NULL ? MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (info == NULL) {
		(void)snprintf(
			err, err_size, "the HTTP server does not start; is there memory and are there free descriptors?");
		return ERR_NOMEM;
	}
	return loop_io_new(h->loop, info->epoll_fd, EPOLLIN, on_ready, h, &h->io);
}

int http_new(struct loop *l, const struct http_config *config, const struct http_handlers *handlers, void *ctx, char *err,
	size_t err_size, struct http **ret)
{
	struct http *h = calloc(1, sizeof(*h));
	struct listener listener;
	int rc = ERR_NOMEM;

	(void)snprintf(err, err_size, "out of memory");
	if (h == NULL)
		return rc;
	*h = (struct http){ .loop = l, .config = *config, .on = *handlers, .ctx = ctx, .listen_fd = -1 };
	if (h->config.max_connections >= 1u << NUMBER_BITS)
		h->config.max_connections = (1u << NUMBER_BITS) - 1;
	h->calls = calloc(h->config.max_connections, sizeof(struct http_call *));
	if (h->calls == NULL)
		goto fail;
	rc = socket_listen(h->config.address, h->config.port, h->config.option, err, err_size, &listener);
	if (rc < 0)
		goto fail;
	h->listen_fd = listener.fd, h->port = listener.port;
	h->config.rules.any_address = !listener.is_loopback;
	if ((rc = loop_timer_new(l, on_timer, h, &h->timer)) < 0 || (rc = loop_timer_new(l, on_sweep, h, &h->sweep)) < 0 ||
		(rc = start(h, err, err_size)) < 0 || (rc = loop_post(l, on_post, h)) < 0)
		goto fail;
	turn(h);
	*ret = h;
	return 0;
fail:
	http_free(h);
	return rc;
}

struct http *http_free(struct http *h)
{
	if (h == NULL)
		return NULL;
	h->stopping = true;
	for (size_t i = 0; h->calls != NULL && i < h->config.max_connections; i++)
		if (h->calls[i] != NULL)
			hang_up(h->calls[i]);
	loop_post_off(h->loop, on_post, h);
	loop_io_free(h->io);
	if (h->mhd != NULL)
		MHD_stop_daemon(h->mhd); /* closes the listening socket too */
	else if (h->listen_fd >= 0)
		(void)close(h->listen_fd);
	loop_timer_free(h->timer);
	loop_timer_free(h->sweep);
	free(h->calls);
	free(h);
	return NULL;
}
