/* http_client.h - HTTP requests on the loop; http_client.c alone includes curl/curl.h.
 *
 * Owns: its requests, until http_request_free() or http_client_free().
 * Borrows: url and body only for http_start().  Callbacks run from the loop. */
#ifndef SHOAL_HTTP_CLIENT_H
#define SHOAL_HTTP_CLIENT_H

#include "err.h"
#include "loop.h"
#include "span.h"

struct http_client;
struct http_request;

struct http_callbacks {
	/* Bytes of the body as they come; http_status() is known by then.  The request may
	 * not be freed in here. */
	void (*data)(void *ctx, struct span bytes);
	/* The end, once: the HTTP status, or 0 and why there was no whole answer.  The
	 * request may be freed in here. */
	void (*done)(void *ctx, long status, const char *why);
};

SHOAL_CHECK int http_client_new(struct loop *l, struct http_client **ret);
struct http_client *http_client_free(struct http_client *c);
/* json NULL: GET, else POST of that document.  timeout_ms for the whole of it, 0: none. */
SHOAL_CHECK int http_start(struct http_client *c, const char *url, const struct span *json, uint64_t timeout_ms,
	const struct http_callbacks *cb, void *ctx, struct http_request **ret);
/* Status line's number; 0 before it came. */
long http_status(const struct http_request *r);
/* Hangs up if it is still running; no callback follows. */
struct http_request *http_request_free(struct http_request *r);

#endif
