/* run_http.c - `shoal run` over the hub's OpenAI face.
 *
 * GET /v1/models when no model was named, then one POST.  A stream is server-sent
 * events (HTML standard, section 9.2): lines, of which those that begin with "data:"
 * carry a document each; "[DONE]" is the last.  An answer without it was cut off. */
#include "run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api.h"
#include "ask.h"
#include "http_client.h"
#include "json.h"

#define BODY_MAX ((size_t)8 << 20)
#define LIST_TIMEOUT_MS 10000
#define DEADLINE_GRACE_MS 5000 /* the hub ends an overdue job itself, with a better sentence */

struct http_run {
	struct run *run;
	struct loop *loop;
	struct http_client *client;
	struct http_request *request;
	struct buf body; /* of a document; in a stream what is left after the last line */
	char *model;     /* chosen for the user */
	bool is_stream;  /* the body is events, not a document */
	bool is_done;    /* [DONE] was there */
	bool is_over;    /* the exit code is settled */
	int rc;          /* exit code of an end that the stream itself told of, or -1 */
};

/* The first end counts: what else a connection had to say after an error is no news. */
static void finish(struct http_run *h, int rc)
{
	if (!h->is_over)
		loop_exit(h->loop, rc);
	h->is_over = true;
}

static void on_stop(void *ctx, int signo)
{
	struct http_run *h = ctx;

	h->run->signo = signo;
	h->request = http_request_free(h->request); /* hanging up cancels the job */
	run_end_line(h->run);
	finish(h, CLI_CANCELLED);
}

static int refused_by(struct http_run *h, struct span document, long status)
{
	run_end_line(h->run);
	return ask_refused(h->run->url, document, status);
}

static void on_event(struct http_run *h, struct span document)
{
	struct api_chunk chunk = { 0 };
	void *memory = NULL;
	int rc;

	if (span_is(document, "[DONE]")) {
		h->is_done = true;
		return;
	}
	rc = api_decode(&api_chunk_type, document, &chunk, &memory);
	if (rc < 0) {
		h->rc = cli_fail(CLI_INTERNAL, "the stream has an event that is not valid: %s", err_text(rc));
	} else if (msg_has(&chunk, API_CHUNK_ERROR)) {
		h->rc = run_refused(h->run, chunk.error.code, chunk.error.message, 500);
	} else if (chunk.n_choices > 0) {
		run_text(h->run, chunk.choices[0].delta.content);
		run_text(h->run, chunk.choices[0].text);
		if (msg_has(&chunk, API_CHUNK_SHOAL))
			run_told(h->run, &chunk.shoal, chunk.timings.cache_n + chunk.timings.prompt_n, chunk.timings.cache_n);
	}
	free(memory);
}

static void on_line(struct http_run *h, struct span line)
{
	static const struct span data = SPAN("data:");

	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	if (h->rc >= 0 || h->is_done || line.n < data.n || memcmp(line.p, data.p, data.n) != 0)
		return;
	line = span_mem(line.p + data.n, line.n - data.n);
	if (line.n > 0 && line.p[0] == ' ')
		line = span_mem(line.p + 1, line.n - 1);
	on_event(h, line);
}

static void each_line(struct http_run *h)
{
	size_t from = 0;
	const uint8_t *nl;

	while ((nl = memchr(h->body.p + from, '\n', h->body.n - from)) != NULL) {
		size_t end = (size_t)(nl - h->body.p);

		on_line(h, span_mem(h->body.p + from, end - from));
		from = end + 1;
	}
	buf_consume(&h->body, from);
}

static void on_data(void *ctx, struct span bytes)
{
	struct http_run *h = ctx;

	if (h->is_over)
		return;
	buf_add_span(&h->body, bytes);
	if (h->body.err == 0 && h->body.n > 0 && h->is_stream && http_status(h->request) == 200)
		each_line(h);
	if (h->rc >= 0 || h->run->is_broken)
		finish(h, h->rc >= 0 ? h->rc : CLI_CANCELLED);
}

static int end_of_json(struct http_run *h, long status)
{
	run_text(h->run, buf_span(&h->body));
	run_end_line(h->run);
	return status == 200 ? CLI_OK : refused_by(h, buf_span(&h->body), status);
}

static int unreachable(struct http_run *h, const char *why)
{
	run_end_line(h->run);
	if (h->run->n_printed > 0)
		return cli_fail(CLI_UNAVAILABLE, "the answer was cut off: %s", why);
	return cli_fail(CLI_UNAVAILABLE, "no answer from the hub at %s: %s. Is 'shoal up' running?", h->run->url, why);
}

static void on_done(void *ctx, long status, const char *why)
{
	struct http_run *h = ctx;
	int rc;

	if (h->is_over)
		return;
	if (status == 0)
		rc = unreachable(h, why);
	else if (h->body.err < 0)
		rc = cli_fail(CLI_INTERNAL, "the answer is longer than %zu MiB", BODY_MAX >> 20);
	else if (h->run->is_json)
		rc = end_of_json(h, status);
	else if (status != 200)
		rc = refused_by(h, buf_span(&h->body), status);
	else if (!h->is_done)
		rc = unreachable(h, "the stream ended without its last event");
	else
		rc = CLI_OK;
	run_end_line(h->run);
	finish(h, rc);
}

static int send_request(struct http_run *h, const char *path, const struct span *json, uint64_t timeout_ms,
	void (*done)(void *, long, const char *))
{
	struct http_callbacks cb = { .data = on_data, .done = done };
	size_t n = strlen(h->run->url);
	char url[2048];

	while (n > 0 && h->run->url[n - 1] == '/')
		n--;
	if (snprintf(url, sizeof(url), "%.*s%s", (int)n, h->run->url, path) >= (int)sizeof(url))
		return cli_fail(CLI_USAGE, "the address is too long");
	h->request = http_request_free(h->request);
	buf_reset(&h->body);
	if (http_start(h->client, url, json, timeout_ms, &cb, h, &h->request) < 0)
		return cli_fail(CLI_INTERNAL, "out of memory");
	return CLI_OK;
}

static int submit(struct http_run *h)
{
	const struct submit *s = &h->run->submit;
	struct buf json = BUF_INIT(BODY_MAX);
	struct span document;
	int rc = json_encode(&submit_type, s, &json);

	if (rc < 0) {
		buf_fini(&json);
		return cli_fail(CLI_INTERNAL, "cannot write the request: %s", err_text(rc));
	}
	document = buf_span(&json);
	h->is_stream = s->stream;
	rc = send_request(h, s->n_messages > 0 ? "/v1/chat/completions" : "/v1/completions", &document,
		s->deadline_ms > 0 ? s->deadline_ms + DEADLINE_GRACE_MS : 0, on_done);
	buf_fini(&json);
	return rc;
}

static int choose(struct http_run *h, const struct api_models *models)
{
	struct buf names = BUF_INIT(4096);
	int rc;

	if (models->n_data == 1) {
		h->model = span_str(models->data[0].id);
		h->run->submit.model = span_of(h->model);
		return submit(h);
	}
	if (models->n_data == 0)
		return cli_fail(CLI_UNAVAILABLE, "no agent of the hub at %s holds a model yet", h->run->url);
	for (size_t i = 0; i < models->n_data; i++)
		buf_addf(&names, "%s%.*s", i > 0 ? ", " : "", SPAN_FMT(models->data[i].id));
	rc = cli_fail(CLI_USAGE, "there are several models, choose one with -m: %.*s", SPAN_FMT(buf_span(&names)));
	buf_fini(&names);
	return rc;
}

static void on_models(void *ctx, long status, const char *why)
{
	struct http_run *h = ctx;
	struct api_models models = { 0 };
	void *memory = NULL;
	int rc;

	if (status == 0)
		rc = unreachable(h, why);
	else if (status != 200)
		rc = refused_by(h, buf_span(&h->body), status);
	else if (api_decode(&api_models_type, buf_span(&h->body), &models, &memory) < 0)
		rc = cli_fail(CLI_UNAVAILABLE, "%s/v1/models does not answer as a hub does", h->run->url);
	else
		rc = choose(h, &models);
	free(memory);
	if (rc != CLI_OK)
		finish(h, rc);
}

static int go(struct http_run *h)
{
	int rc;

	if (loop_new(on_stop, h, &h->loop) < 0 || http_client_new(h->loop, &h->client) < 0)
		return cli_fail(CLI_INTERNAL, "cannot set up the event loop");
	rc = h->run->submit.model.n > 0 ? submit(h) : send_request(h, "/v1/models", NULL, LIST_TIMEOUT_MS, on_models);
	return rc != CLI_OK ? rc : loop_run(h->loop);
}

int run_http(struct run *r)
{
	struct http_run h = { .run = r, .body = BUF_INIT(BODY_MAX), .rc = -1 };
	int rc = go(&h);

	http_client_free(h.client);
	loop_free(h.loop);
	buf_fini(&h.body);
	free(h.model);
	return rc < 0 ? cli_fail(CLI_INTERNAL, "the event loop failed: %s", err_text(rc)) : rc;
}
