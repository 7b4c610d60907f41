/* http.h - an HTTP/1.1 server on our loop.  http.c alone includes microhttpd.h.
 *
 * A request that is there as a whole is handed over; it is answered at once or later,
 * by one document or by a stream.  libmicrohttpd runs under an external epoll set, and
 * what it does not do is done here: it does not see that a client hung up while a
 * request waits (every such connection is watched for EPOLLRDHUP), its timeouts start
 * anew with each byte (a sweep cuts slow senders), and its parser is lenient
 * (http_guard.h).
 *
 * A call is known by its number, which is never used again; the struct belongs to the
 * server and is lent.  `over` is told once for each call that `request` was told of,
 * when it ended or its client left; the call may not be used after. */
#ifndef SHOAL_HTTP_H
#define SHOAL_HTTP_H

#include "http_guard.h"
#include "loop.h"

struct http;
struct http_call;

struct http_config {                             /* copied, but for what rules.hosts points at */
	const char *address;                     /* numeric, or "localhost" */
	const char *option;                      /* where the address comes from, for messages */
	int port;                                /* 0: any free one */
	struct http_rules rules;                 /* any_address is filled here */
	size_t max_connections, max_per_address; /* per_address 0: no such limit */
	size_t max_header;                       /* bytes of request line and headers */
	size_t max_bodies;                       /* bytes of all bodies being received */
	size_t send_buffer;                      /* bytes the kernel may hold for a slow reader */
	uint64_t header_ms, body_ms, idle_ms;    /* how long each may take */
	uint64_t quiet_ms;                       /* a call silent so long is told to `quiet` */
};

struct http_handlers {
	/* Answer it now, or keep its number and answer later. */
	void (*request)(void *ctx, struct http_call *call);
	/* Its headers alone forbid it: answer it now, with http_reply().  Not followed by `over`. */
	void (*refused)(void *ctx, struct http_call *call, struct http_verdict verdict);
	/* The stream has nothing left to send: add to out what there is. */
	void (*more)(void *ctx, struct http_call *call, struct buf *out);
	/* Nothing was said on an unfinished call for quiet_ms. */
	void (*quiet)(void *ctx, struct http_call *call);
	void (*over)(void *ctx, struct http_call *call, bool hung_up);
};

struct http_stats {
	uint64_t connections, requests, refused, malformed, timeouts, hung_up, slow_readers;
	uint64_t open; /* connections now */
};

/* On failure err (of err_size bytes) holds one sentence that says what to do. */
SHOAL_CHECK int http_new(struct loop *l, const struct http_config *config, const struct http_handlers *handlers, void *ctx,
	char *err, size_t err_size, struct http **ret);
/* Ends every connection; not from inside a handler. */
struct http *http_free(struct http *h);
/* Sends what can be sent without waiting; not from inside a handler. */
void http_flush(struct http *h);
int http_port(const struct http *h);
struct http_stats http_stats(const struct http *h);

struct http_call *http_find(struct http *h, uint64_t number); /* NULL when it is over */
uint64_t http_number(const struct http_call *c);
struct span http_method(const struct http_call *c);
struct span http_path(const struct http_call *c);                         /* decoded, without the query */
struct span http_get_header(const struct http_call *c, const char *name); /* only while `request` runs */
struct span http_body(const struct http_call *c);                         /* likewise */
/* The query's fields in their order, decoded; likewise.  fn returns false to have no more. */
void http_each_query(const struct http_call *c, bool (*fn)(void *ctx, struct span name, struct span value), void *ctx);
void http_set_user(struct http_call *c, void *user);
void *http_user(const struct http_call *c);

/* A header for the answer to come; copied. */
void http_add_header(struct http_call *c, const char *name, const char *value);
void http_reply(struct http_call *c, int status, const char *type, struct span body);
/* Begins a stream with status 200.  Its bytes come from http_out() and `more`. */
void http_stream(struct http_call *c, const char *type);
bool http_is_answered(const struct http_call *c); /* replied, or streaming */
struct buf *http_out(struct http_call *c);
/* There is something to send. */
void http_wake(struct http_call *c);
/* Nothing more will come.  An unclean end breaks the connection after the last byte, so
 * that nobody takes it for the whole. */
void http_end(struct http_call *c, bool is_clean);
/* The reader is too slow: closes; `over` follows. */
void http_cut(struct http_call *c);

#endif
