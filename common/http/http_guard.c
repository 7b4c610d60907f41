#include "http_guard.h"

#include <arpa/inet.h>
#include <strings.h>

#include "code.h"

bool http_name_is(struct span name, const char *other)
{
	return name.n == strlen(other) && strncasecmp(name.p, other, name.n) == 0;
}

static bool is_digits(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.n > 0;
}

/* ---- Host ---- */

/* Cuts ":port" and the brackets of an IPv6 address; empty when it is neither name nor address. */
static struct span host_name(struct span host)
{
	const char *end;

	if (host.n > 0 && host.p[0] == '[') {
		end = memchr(host.p, ']', host.n);
		if (end == NULL)
			return SPAN_NONE;
		size_t rest = host.n - (size_t)(end - host.p) - 1;
		if (rest > 0 && (end[1] != ':' || !is_digits(span_mem(end + 2, rest - 1))))
			return SPAN_NONE;
		return span_mem(host.p + 1, (size_t)(end - host.p) - 1);
	}
	end = host.n > 0 ? memchr(host.p, ':', host.n) : NULL;
	if (end == NULL)
		return host;
	if (!is_digits(span_mem(end + 1, host.n - (size_t)(end - host.p) - 1)))
		return SPAN_NONE;
	return span_mem(host.p, (size_t)(end - host.p));
}

bool http_host_is_ours(const struct http_rules *rules, struct span host)
{
	struct span name = host_name(host);
	char text[INET6_ADDRSTRLEN];
	struct in6_addr v6;
	struct in_addr v4;

	if (name.n == 0)
		return false;
	if (http_name_is(name, "localhost") || http_name_is(name, "ip6-localhost"))
		return true;
	for (size_t i = 0; i < rules->n_hosts; i++)
		if (http_name_is(name, rules->hosts[i]))
			return true;
	if (span_copy(name, text, sizeof(text)) < 0)
		return false;
	if (inet_pton(AF_INET, text, &v4) == 1)
		return rules->any_address || (ntohl(v4.s_addr) >> 24) == 127;
	if (inet_pton(AF_INET6, text, &v6) == 1)
		return rules->any_address || IN6_IS_ADDR_LOOPBACK(&v6);
	return false;
}

/* A browser names the page that asks.  Only our own page may: others could spend our compute. */
static bool origin_is_ours(const struct http_rules *rules, struct span origin)
{
	static const char *const schemes[] = { "http://", "https://" };

	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(schemes[i]);

		if (origin.n > n && strncasecmp(origin.p, schemes[i], n) == 0)
			return http_host_is_ours(rules, span_mem(origin.p + n, origin.n - n));
	}
	return false;
}

/* ---- headers ---- */

/* RFC 9110 token: what a field name may be made of. */
static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c <= ' ' || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c) != NULL)
			return false;
	}
	return s.n > 0;
}

static bool has_control(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
			return true;
	return false;
}

/* Over the limit, however many digits it has. */
static bool is_too_long(struct span digits, size_t max)
{
	size_t v = 0;

	for (size_t i = 0; i < digits.n; i++) {
		v = v * 10 + (size_t)(digits.p[i] - '0');
		if (v > max)
			return true;
	}
	return false;
}

struct tally {
	size_t n_length, n_encoding, n_host;
	struct span length, encoding, host, origin;
	const char *bad;
};

static struct tally count(const struct http_header *headers, size_t n)
{
	struct tally t = { 0 };

	for (size_t i = 0; i < n; i++) {
		const struct http_header *h = &headers[i];

		if (!is_token(h->name))
			t.bad = "a header's name has a blank or another character that may not be there";
		else if (has_control(h->value))
			t.bad = "a header's value has a control character";
		else if (http_name_is(h->name, "content-length"))
			t.n_length++, t.length = h->value;
		else if (http_name_is(h->name, "transfer-encoding"))
			t.n_encoding++, t.encoding = h->value;
		else if (http_name_is(h->name, "host"))
			t.n_host++, t.host = h->value;
		else if (http_name_is(h->name, "origin"))
			t.origin = h->value;
	}
	return t;
}

static struct http_verdict refuse(unsigned code, const char *why)
{
	return (struct http_verdict){ code, why };
}

static struct http_verdict check_body(const struct http_rules *rules, struct span method, const struct tally *t)
{
	bool has_body = t->n_encoding > 0 || (t->n_length > 0 && !span_is(t->length, "0"));

	if (t->n_length > 1 || t->n_encoding > 1)
		return refuse(CODE_BAD_REQUEST, "the length of the body is given more than once");
	if (t->n_length > 0 && t->n_encoding > 0)
		return refuse(CODE_BAD_REQUEST, "both Content-Length and Transfer-Encoding are given");
	if (t->n_length > 0 && !is_digits(t->length))
		return refuse(CODE_BAD_REQUEST, "Content-Length is not a number");
	if (t->n_encoding > 0 && !http_name_is(t->encoding, "chunked"))
		return refuse(CODE_BAD_REQUEST, "the only Transfer-Encoding understood is chunked");
	if (has_body && !span_is(method, "POST"))
		return refuse(CODE_BAD_REQUEST, "only POST requests may have a body");
	if (t->n_length > 0 && is_too_long(t->length, rules->max_body))
		return refuse(CODE_TOO_LARGE, "the body is over the limit (http.max_body)");
	return refuse(CODE_OK, NULL);
}

struct http_verdict http_guard(
	const struct http_rules *rules, struct span method, struct span version, const struct http_header *headers, size_t n)
{
	struct tally t = count(headers, n);

	if (t.bad != NULL)
		return refuse(CODE_BAD_REQUEST, t.bad);
	if (!is_token(method))
		return refuse(CODE_BAD_REQUEST, "the method is not a word");
	if (!span_is(version, "HTTP/1.1") && !span_is(version, "HTTP/1.0"))
		return refuse(CODE_BAD_REQUEST, "only HTTP/1.1 and HTTP/1.0 are spoken here");
	if (t.n_host != 1)
		return refuse(CODE_BAD_REQUEST, "a request must have one Host header");
	if (!http_host_is_ours(rules, t.host))
		return refuse(
			CODE_FORBIDDEN, "the Host header names another server; add the name to http.hosts if it is right");
	if (t.origin.n > 0 && !origin_is_ours(rules, t.origin))
		return refuse(CODE_FORBIDDEN, "a page of another site may not use this server");
	return check_body(rules, method, &t);
}
