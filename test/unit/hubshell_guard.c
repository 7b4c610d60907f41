#include <criterion/criterion.h>
#include <stdio.h>

#include "code.h"
#include "http_guard.h"

#define MAX_BODY 1000

static const char *const hosts[] = { "hub.example", "hub" };

static struct http_rules rules(bool any_address)
{
	return (struct http_rules){ .hosts = hosts, .n_hosts = 2, .any_address = any_address, .max_body = MAX_BODY };
}

/* "Name: value" lines, each ended by \n. */
static struct http_verdict judge(const char *method, const char *version, const char *lines)
{
	struct http_header h[16];
	struct http_rules r = rules(false);
	size_t n = 0;

	while (*lines != '\0') {
		const char *end = strchr(lines, '\n'), *colon = strstr(lines, ": ");

		cr_assert(end != NULL && colon != NULL && colon < end && n < 16);
		h[n++] = (struct http_header){ span_mem(lines, (size_t)(colon - lines)),
			span_mem(colon + 2, (size_t)(end - colon) - 2) };
		lines = end + 1;
	}
	return http_guard(&r, span_of(method), span_of(version), h, n);
}

struct guard_case {
	const char *method, *version, *lines;
	unsigned code;
};

#define HOST "Host: localhost\n"

Test(guard, refuses_what_two_parsers_could_read_in_two_ways)
{
	static const struct guard_case cases[] = {
		{ "POST", "HTTP/1.1", HOST "Content-Length: 5\n", CODE_OK },
		{ "POST", "HTTP/1.1", HOST "Transfer-Encoding: chunked\n", CODE_OK },
		{ "POST", "HTTP/1.1", HOST "Transfer-Encoding: Chunked\n", CODE_OK },
		{ "GET", "HTTP/1.0", HOST, CODE_OK },
		{ "GET", "HTTP/1.1", HOST "Content-Length: 0\n", CODE_OK },
		{ "POST", "HTTP/1.1", HOST "Content-Length: 5\nContent-Length: 6\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Content-Length: 5\nContent-Length: 5\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Content-Length: 5\ncontent-length: 5\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Content-Length: 5\nTransfer-Encoding: chunked\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Transfer-Encoding: gzip, chunked\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Transfer-Encoding: identity\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Transfer-Encoding : chunked\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Content-Length : 5\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Content-Length: +5\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Content-Length: -5\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Content-Length: 5, 5\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Content-Length: 0x5\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "Content-Length: \n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "X\x01: 1\n", CODE_BAD_REQUEST },
		{ "POST", "HTTP/1.1", HOST "X: a\rb\n", CODE_BAD_REQUEST },
		{ "GET", "HTTP/1.1", HOST "Content-Length: 5\n", CODE_BAD_REQUEST },
		{ "GET", "HTTP/1.1", HOST "Transfer-Encoding: chunked\n", CODE_BAD_REQUEST },
		{ "G ET", "HTTP/1.1", HOST, CODE_BAD_REQUEST },
		{ "GET", "HTTP/2.0", HOST, CODE_BAD_REQUEST },
		{ "GET", "HTTP/1.1", "", CODE_BAD_REQUEST },
		{ "GET", "HTTP/1.1", HOST HOST, CODE_BAD_REQUEST },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_verdict v = judge(cases[i].method, cases[i].version, cases[i].lines);

		cr_expect_eq(v.code, cases[i].code, "case %zu: %s %s", i, cases[i].lines, v.why);
	}
}

Test(guard, a_body_over_the_limit_is_refused_before_it_is_read)
{
	cr_assert_eq(judge("POST", "HTTP/1.1", HOST "Content-Length: 1000\n").code, CODE_OK);
	cr_assert_eq(judge("POST", "HTTP/1.1", HOST "Content-Length: 1001\n").code, CODE_TOO_LARGE);
	cr_assert_eq(judge("POST", "HTTP/1.1", HOST "Content-Length: 99999999999999999999999999\n").code, CODE_TOO_LARGE);
}

Test(guard, only_our_own_names_are_hosts)
{
	static const char *const ours[] = { "localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "127.9.9.9", "[::1]",
		"[::1]:80", "hub", "hub.example:8080", "Hub.Example" };
	static const char *const strangers[] = { "", "evil.example", "localhost.evil.example", "10.0.0.1", "0.0.0.0",
		"[fe80::1]", "127.0.0.1.evil.example", "localhost:", "localhost:x", "[::1", "[::1]x",
		"[::1]:", "hub.example.", "::1", "2130706433" };
	struct http_rules closed = rules(false), open = rules(true);

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		cr_expect(http_host_is_ours(&closed, span_of(ours[i])), "%s", ours[i]);
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
		cr_expect_not(http_host_is_ours(&closed, span_of(strangers[i])), "%s", strangers[i]);
	cr_expect(http_host_is_ours(&open, SPAN("10.0.0.1:8080")));
	cr_expect(http_host_is_ours(&open, SPAN("[fe80::1]")));
	cr_expect_not(http_host_is_ours(&open, SPAN("evil.example")));
}

Test(guard, a_page_of_another_site_may_not_ask)
{
	cr_assert_eq(judge("POST", "HTTP/1.1", HOST "Origin: http://localhost:8080\n").code, CODE_OK);
	cr_assert_eq(judge("POST", "HTTP/1.1", HOST "Origin: https://hub.example\n").code, CODE_OK);
	cr_assert_eq(judge("POST", "HTTP/1.1", HOST "Origin: http://evil.example\n").code, CODE_FORBIDDEN);
	cr_assert_eq(judge("POST", "HTTP/1.1", HOST "Origin: null\n").code, CODE_FORBIDDEN);
	cr_assert_eq(judge("GET", "HTTP/1.1", "Host: evil.example\n").code, CODE_FORBIDDEN);
}
