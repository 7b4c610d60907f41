#include "scrape.h"

#include <stdlib.h>

#include "code.h"
#include "http.h"

#define TEXT_MAX ((size_t)1 << 20)

struct scrape {
	struct http *http;
	struct scrape_config config;
	struct buf text;
};

extern const struct scrape_api shoal_scrape_api;

static void say(struct http_call *c, int status, const char *what)
{
	http_reply(c, status, "text/plain; charset=utf-8", span_of(what));
}

static void on_request(void *ctx, struct http_call *c)
{
	struct scrape *s = ctx;

	if (!span_is(http_path(c), "/metrics")) {
		say(c, 404, "The figures are at /metrics.\n");
		return;
	}
	if (!span_is(http_method(c), "GET")) {
		http_add_header(c, "Allow", "GET");
		say(c, 405, "Only GET.\n");
		return;
	}
	buf_reset(&s->text);
	s->config.write(s->config.ctx, &s->text);
	if (s->text.err < 0)
		say(c, 500, "There is no memory for the figures.\n");
	else
		http_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", buf_span(&s->text));
}

static void on_refused(void *ctx, struct http_call *c, struct http_verdict verdict)
{
	(void)ctx;
	say(c, code_info(verdict.code)->http, verdict.why);
}

static void on_more(void *ctx, struct http_call *c, struct buf *out)
{
	(void)ctx, (void)c, (void)out; /* there are no streams */
}

static void on_quiet(void *ctx, struct http_call *c)
{
	(void)ctx, (void)c; /* every request is answered at once */
}

static void on_over(void *ctx, struct http_call *c, bool hung_up)
{
	(void)ctx, (void)c, (void)hung_up;
}

static struct scrape *stop(struct scrape *s)
{
	if (s == NULL)
		return NULL;
	http_free(s->http);
	buf_fini(&s->text);
	free(s);
	return NULL;
}

static int start(struct loop *l, const struct scrape_config *config, char *err, size_t err_size, struct scrape **ret)
{
	static const struct http_handlers handlers = { on_request, on_refused, on_more, on_quiet, on_over };
	const struct http_config http = { .address = config->address,
		.option = "metrics.listen",
		.port = config->port,
		.rules = { .hosts = config->hosts, .n_hosts = config->n_hosts, .max_body = 1024 },
		.max_connections = 16,
		.max_header = 8192,
		.max_bodies = 4096,
		.send_buffer = 65536,
		.header_ms = 5000,
		.body_ms = 5000,
		.idle_ms = 90000, /* longer than between two scrapes, which use one connection */
		.quiet_ms = UINT64_MAX };
	struct scrape *s = calloc(1, sizeof(*s));
	int rc;

	if (s == NULL)
		return ERR_NOMEM;
	s->config = *config;
	s->text = BUF_INIT(TEXT_MAX);
	rc = http_new(l, &http, &handlers, s, err, err_size, &s->http);
	if (rc < 0) {
		stop(s);
		return rc;
	}
	*ret = s;
	return 0;
}

static int port(const struct scrape *s)
{
	return http_port(s->http);
}

const struct scrape_api shoal_scrape_api = { start, port, stop };
