#include "ask.h"

#include <stdio.h>
#include <stdlib.h>

#include "api.h"
#include "cli.h"
#include "http_client.h"

#define TIMEOUT_MS 10000

struct question {
	struct loop *loop;
	const char *url;
	struct buf *body;
	long status;
};

static void on_data(void *ctx, struct span bytes)
{
	struct question *q = ctx;

	buf_add_span(q->body, bytes);
}

static void on_done(void *ctx, long status, const char *why)
{
	struct question *q = ctx;
	int rc = CLI_OK;

	q->status = status;
	if (status == 0)
		rc = cli_fail(CLI_UNAVAILABLE, "no answer from the hub at %s: %s. Is 'shoal up' running?", q->url, why);
	else if (q->body->err < 0)
		rc = cli_fail(CLI_UNAVAILABLE, "%s answers with more than a hub says", q->url);
	loop_exit(q->loop, rc);
}

static void on_stop(void *ctx, int signo)
{
	struct question *q = ctx;

	(void)signo;
	loop_exit(q->loop, CLI_CANCELLED);
}

int ask_hub(const char *url, const char *path, const struct span *json, struct buf *ret_body, long *ret_status)
{
	static const struct http_callbacks cb = { .data = on_data, .done = on_done };
	struct question q = { .url = url, .body = ret_body };
	struct http_client *client = NULL;
	struct http_request *request = NULL;
	char full[2048];
	size_t n = strlen(url);
	int rc;

	while (n > 0 && url[n - 1] == '/')
		n--;
	if (snprintf(full, sizeof(full), "%.*s%s", (int)n, url, path) >= (int)sizeof(full))
		return cli_fail(CLI_USAGE, "the address is too long");
	rc = loop_new(on_stop, &q, &q.loop);
	if (rc == 0)
		rc = http_client_new(q.loop, &client);
	if (rc == 0)
		rc = http_start(client, full, json, TIMEOUT_MS, &cb, &q, &request);
	if (rc == 0)
		rc = loop_run(q.loop);
	http_client_free(client);
	loop_free(q.loop);
	*ret_status = q.status;
	return rc < 0 ? cli_fail(CLI_INTERNAL, "the event loop failed: %s", err_text(rc)) : rc;
}

int ask_refused_as(struct span code, struct span message, long http)
{
	const struct code_info *info = code_by_name(code);

	for (unsigned i = 1; info == NULL && i <= CODE_MAX; i++) {
		if (code_info(i)->http == http)
			info = code_info(i);
	}
	if (info == NULL)
		info = code_info(CODE_INTERNAL_ERROR);
	if (message.n == 0)
		message = span_of(info->text);
	return cli_fail(info->exit, "%.*s (%s)", SPAN_FMT(message), info->name);
}

int ask_refused(const char *url, struct span document, long status)
{
	struct api_chunk chunk = { 0 };
	void *memory = NULL;
	int rc;

	if (api_decode(&api_chunk_type, document, &chunk, &memory) == 0 && msg_has(&chunk, API_CHUNK_ERROR))
		rc = ask_refused_as(chunk.error.code, chunk.error.message, status);
	else
		rc = cli_fail(CLI_UNAVAILABLE, "%s answers with HTTP status %ld and not as a hub does", url, status);
	free(memory);
	return rc;
}
