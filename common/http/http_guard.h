/* http_guard.h - which requests are refused by their headers alone.  Pure.
 *
 * libmicrohttpd 0.9.75 accepts two differing Content-Lengths and a Transfer-Encoding
 * beside a Content-Length (request smuggling behind a proxy); it does not look at Host,
 * without which any web page could reach a server on loopback by DNS rebinding. */
#ifndef SHOAL_HTTP_GUARD_H
#define SHOAL_HTTP_GUARD_H

#include "span.h"

struct http_header {
	struct span name, value;
};

struct http_rules {
	const char *const *hosts; /* names a Host header may give, beside loopback's */
	size_t n_hosts;
	bool any_address; /* a Host that is an address is fine: we listen on more than loopback */
	size_t max_body;
};

struct http_verdict {
	unsigned code;   /* enum code; CODE_OK: fine */
	const char *why; /* static sentence */
};

struct http_verdict http_guard(const struct http_rules *rules, struct span method, struct span version,
	const struct http_header *headers, size_t n);
/* True when a Host value (or an Origin without its scheme) names us. */
bool http_host_is_ours(const struct http_rules *rules, struct span host);
bool http_name_is(struct span name, const char *other); /* case-insensitive */

#endif
