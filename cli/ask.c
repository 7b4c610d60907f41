#include "ask.h"

#include <stdio.h>
#include <stdlib.h>

#include "advice.h"
#include "api.h"
#include "cli.h"
#include "http_client.h"

#define TIMEOUT_MS 10000

struct question {
	struct loop *loop;
	const char *url;
	struct buf *body;
	long status;
	char *err; /* where a failure is told; NULL: on stderr */
	size_t err_size;
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
	if (q->err != NULL && (status == 0 || q->body->err < 0)) {
		(void)snprintf(q->err, q->err_size, "%s", status == 0 ? why : "it answers with more than a hub says");
		rc = CLI_UNAVAILABLE;
	} else if (status == 0)
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

static int ask(struct question q, const char *path, const struct span *json, long *ret_status)
{
	static const struct http_callbacks cb = { .data = on_data, .done = on_done };
	const char *url = q.url;
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

int ask_hub(const char *url, const char *path, const struct span *json, struct buf *ret_body, long *ret_status)
{
	return ask((struct question){ .url = url, .body = ret_body }, path, json, ret_status);
}

int ask_quietly(const char *url, const char *path, struct buf *ret_body, long *ret_status, char *err, size_t err_size)
{
	return ask((struct question){ .url = url, .body = ret_body, .err = err, .err_size = err_size }, path, NULL, ret_status);
}

int ask_document(
	const char *url, const struct buf *path, const struct msg_type *t, struct buf *ret_body, void *ret, void **ret_memory)
{
	long status = 0;
	int rc;

	*ret_memory = NULL;
	if (path->err < 0)
		return cli_fail(CLI_USAGE, "the address is too long");
	rc = ask_hub(url, (const char *)path->p, NULL, ret_body, &status);
	if (rc == CLI_OK && status != 200)
		return ask_refused(url, buf_span(ret_body), status);
	if (rc != CLI_OK)
		return rc;
	rc = api_decode(t, buf_span(ret_body), ret, ret_memory);
	return rc < 0 ? cli_fail(CLI_UNAVAILABLE, "%s does not answer as a hub does: %s", url, err_text(rc)) : CLI_OK;
}

void ask_escape(struct buf *out, struct span value)
{
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != 0 && strchr("-._~", c) != NULL))
			buf_addf(out, "%c", c);
		else
			buf_addf(out, "%%%02X", (unsigned char)c);
	}
}

static void on_pause_over(void *ctx)
{
	loop_exit(((struct question *)ctx)->loop, CLI_OK);
}

int ask_pause(uint64_t ms)
{
	struct question q = { 0 };
	struct loop_timer *timer = NULL;
	int rc = loop_new(on_stop, &q, &q.loop);

	if (rc == 0)
		rc = loop_timer_new(q.loop, on_pause_over, &q, &timer);
	if (rc == 0) {
		loop_timer_at(timer, clock_ms() + ms);
		rc = loop_run(q.loop);
	}
	loop_timer_free(timer);
	loop_free(q.loop);
	return rc < 0 ? cli_fail(CLI_INTERNAL, "the event loop failed: %s", err_text(rc)) : rc;
}

int ask_refused_as(struct span code, struct span message, long http)
{
	const struct code_info *info = advice_code(code);

	for (unsigned i = 1; info == NULL && i <= CODE_MAX; i++) {
		if (code_info(i)->http == http)
			info = code_info(i);
	}
	if (info == NULL)
		info = code_info(CODE_INTERNAL_ERROR);
	if (message.n == 0)
		message = span_of(info->text);
	(void)cli_fail(info->exit, "%.*s (%s)", SPAN_FMT(message), info->name);
	if (info->http >= 429) /* not the request is wrong but how things stand */
		fprintf(stderr, "Try 'shoal doctor', and 'shoal doctor %s' for what that means.\n", info->name);
	return info->exit;
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
