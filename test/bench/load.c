/* load - a closed loop of clients that stream answers, over HTTP or MQTT, and note when what came.
 *
 * Usage: load http URL CLIENTS REQUESTS [AFTER]     URL: of the completions, as OpenAI's
 *        load mqtt PORT CLIENTS REQUESTS [AFTER]    of a broker on 127.0.0.1
 *
 * REQUESTS is a file with one request document a line.  Each client sends the next line as soon as
 * its answer has ended; with AFTER, all but the first client wait until that one has so many pieces of text.  Stdout has one
 * line of JSON for each answer, in the order of their ends: line (from 0), start, first, end (microseconds of
 * CLOCK_BOOTTIME), prompt_tokens, cached_tokens, tokens, error (null or text) and at: the microseconds from start to each
 * piece of text.  The clients share one thread, and spend as little as they can: they run beside what they measure. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_client.h"
#include "json.h"
#include "loop.h"
#include "mq.h"
#include "proto.h"
#include "topic.h"

#define MAX_CLIENTS 256
#define LINE_MAX_BYTES ((size_t)8 << 20)
#define ARENA_SIZE ((size_t)1 << 20)

struct client {
	struct load *load;
	size_t number, line;
	bool is_busy;
	uint64_t start_us, end_us, prompt_tokens, cached_tokens, tokens;
	uint64_t *at_us; /* of each piece of text, from the start */
	size_t n_at, cap_at;
	char error[256];
	struct http_request *request;
	struct buf line_buf; /* HTTP: what came of a line */
	struct mq *mq;
	char user[32];
	struct topic reply, jobs;
};

struct load {
	struct loop *loop;
	struct loop_timer *kick; /* of the other clients */
	struct http_client *http;
	const char *url; /* NULL: MQTT */
	int port;
	char **lines;
	size_t n_lines, next_line, n_clients, n_busy, after;
	struct arena arena;
	struct client clients[MAX_CLIENTS];
};

static void die(const char *what)
{
	fprintf(stderr, "load: %s\n", what);
	exit(1);
}

/* ---- an answer ---- */

static void start(struct client *c);

static void start_others(void *ctx)
{
	struct load *l = ctx;

	for (size_t i = 1; i < l->n_clients; i++)
		start(&l->clients[i]);
}

static void note_text(struct client *c)
{
	if (c->n_at == c->cap_at) {
		c->cap_at = c->cap_at * 2 + 1024;
		c->at_us = realloc(c->at_us, c->cap_at * sizeof(*c->at_us));
		if (c->at_us == NULL)
			die("no memory");
	}
	c->at_us[c->n_at++] = clock_us() - c->start_us;
	if (c->number == 0 && c->n_at == c->load->after)
		loop_timer_at(c->load->kick, 0); /* curl takes no request inside its callbacks */
}

static void note_error(struct client *c, struct span text)
{
	size_t n = text.n < sizeof(c->error) - 1 ? text.n : sizeof(c->error) - 1;

	if (c->error[0] != '\0')
		return;
	memcpy(c->error, text.n > 0 ? text.p : "?", text.n > 0 ? n : 2);
	c->error[text.n > 0 ? n : 1] = '\0';
}

static void print(const struct client *c)
{
	struct buf b = BUF_INIT(LINE_MAX_BYTES);
	uint64_t first = c->n_at > 0 ? c->start_us + c->at_us[0] : c->end_us;

	buf_addf(&b,
		"{\"line\": %zu, \"start\": %" PRIu64 ", \"first\": %" PRIu64 ", \"end\": %" PRIu64
		", \"prompt_tokens\": %" PRIu64 ", \"cached_tokens\": %" PRIu64 ", \"tokens\": %" PRIu64 ", \"error\": ",
		c->line, c->start_us, first, c->end_us, c->prompt_tokens, c->cached_tokens, c->tokens);
	if (c->error[0] != '\0')
		json_add_string(&b, span_of(c->error));
	else
		buf_add_span(&b, SPAN("null"));
	buf_add_span(&b, SPAN(", \"at\": ["));
	for (size_t i = 0; i < c->n_at; i++)
		buf_addf(&b, "%s%" PRIu64, i > 0 ? "," : "", c->at_us[i]);
	buf_add_span(&b, SPAN("]}\n"));
	fwrite(b.p, 1, b.n, stdout);
	buf_fini(&b);
}

static void end(struct client *c)
{
	c->end_us = clock_us();
	c->is_busy = false;
	c->load->n_busy--;
	print(c);
	start(c);
	if (c->load->n_busy == 0)
		loop_exit(c->load->loop, 0);
}

/* ---- HTTP: server-sent events ---- */

/* The number after a member's name, or 0; the servers write no blank there. */
static uint64_t number_after(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static bool has_text(const char *line)
{
	const char *at = strstr(line, "\"content\":\"");
	size_t skip = 11;

	if (at == NULL) {
		at = strstr(line, "\"text\":\"");
		skip = 8;
	}
	return at != NULL && at[skip] != '"';
}

/* A real parser would cost as much as the rest of the client. */
static void on_line(struct client *c, const char *line)
{
	uint64_t n;

	if (strncmp(line, "data: ", 6) != 0) {
		if (line[0] == '{')
			note_error(c, span_of(line));
		return;
	}
	if (strstr(line, "{\"error\":") != NULL)
		note_error(c, span_of(line + 6));
	if (has_text(line))
		note_text(c);
	n = number_after(line, "\"completion_tokens\":");
	if (n == 0)
		return;
	c->tokens = n;
	c->prompt_tokens = number_after(line, "\"prompt_tokens\":");
	c->cached_tokens = number_after(line, "\"cached_tokens\":");
}

static void on_data(void *ctx, struct span bytes)
{
	struct client *c = ctx;
	const char *nl;

	buf_add_span(&c->line_buf, bytes);
	for (;;) {
		nl = memchr(c->line_buf.p, '\n', c->line_buf.n);
		if (nl == NULL)
			return;
		*(char *)(uintptr_t)nl = '\0';
		on_line(c, (const char *)c->line_buf.p);
		buf_consume(&c->line_buf, (size_t)(nl + 1 - (const char *)c->line_buf.p));
	}
}

static void on_done(void *ctx, long status, const char *why)
{
	struct client *c = ctx;

	if (status != 200)
		note_error(c, c->line_buf.n > 0 ? buf_span(&c->line_buf) : span_of(why));
	http_request_free(c->request);
	c->request = NULL;
	end(c);
}

static void start_http(struct client *c)
{
	static const struct http_callbacks callbacks = { on_data, on_done };
	struct span json = span_of(c->load->lines[c->line]);

	buf_reset(&c->line_buf);
	if (http_start(c->load->http, c->load->url, &json, 0, &callbacks, c, &c->request) < 0)
		die("a request cannot be started");
}

/* ---- MQTT ---- */

static void on_message(void *ctx, const struct mq_msg *msg)
{
	struct client *c = ctx;
	struct answer a = { 0 };

	arena_reset(&c->load->arena);
	if (!c->is_busy)
		return;
	if (json_decode(&answer_type, msg->payload, &c->load->arena, &a, NULL) < 0)
		die("an answer is not valid");
	if (a.type == ANSWER_TOKENS)
		note_text(c);
	if (a.type == ANSWER_ERROR)
		note_error(c, a.message);
	if (a.type != ANSWER_DONE && a.type != ANSWER_ERROR)
		return;
	c->tokens = a.usage.completion_tokens;
	c->prompt_tokens = a.usage.prompt_tokens;
	c->cached_tokens = a.usage.cached_tokens;
	end(c);
}

static void start_mqtt(struct client *c)
{
	struct mq_pub pub = { .topic = span_of(c->jobs.s),
		.payload = span_of(c->load->lines[c->line]),
		.qos = 1,
		.content_type = SPAN("application/json"),
		.response_topic = span_of(c->reply.s) };

	if (mq_publish(c->mq, &pub, NULL) < 0)
		die("a request cannot be published");
}

static void on_up(void *ctx, uint64_t conn)
{
	struct client *c = ctx;

	(void)conn;
	if (mq_subscribe(c->mq, c->reply.s, 1, NULL) < 0)
		die("cannot subscribe");
}

static void on_down(void *ctx, const char *why, uint64_t retry_ms)
{
	(void)ctx;
	(void)retry_ms;
	die(why);
}

static void start_all(struct load *l)
{
	start(&l->clients[0]);
	if (l->after == 0)
		start_others(l);
}

/* When all can hear, all begin. */
static void on_subscribed(void *ctx, int mid, int reason)
{
	static size_t n_subscribed;
	struct load *l = ((struct client *)ctx)->load;

	(void)mid;
	if (reason >= 0x80)
		die("the broker refuses the subscription");
	if (++n_subscribed == l->n_clients)
		start_all(l);
}

static void connect_mqtt(struct client *c)
{
	static const struct mq_callbacks callbacks = {
		.up = on_up, .down = on_down, .message = on_message, .subscribed = on_subscribed
	};
	struct mq_config config = { .host = "127.0.0.1", .port = c->load->port, .client_id = c->user };

	(void)snprintf(c->user, sizeof(c->user), "load-%zu", c->number);
	(void)snprintf(c->reply.s, sizeof(c->reply.s), TOPIC_DEFAULT_PREFIX "/clients/%s/r", c->user);
	if (topic_make(TOPIC_DEFAULT_PREFIX, TOPIC_CLIENT_JOBS, span_of(c->user), &c->jobs) < 0 ||
		mq_new(c->load->loop, &config, &callbacks, c, &c->mq) < 0)
		die("no MQTT client");
	mq_start(c->mq);
}

/* ---- all of them ---- */

static void start(struct client *c)
{
	struct load *l = c->load;

	if (l->next_line == l->n_lines)
		return;
	c->line = l->next_line++;
	c->is_busy = true;
	l->n_busy++;
	c->n_at = 0;
	c->error[0] = '\0';
	c->tokens = c->prompt_tokens = c->cached_tokens = 0;
	c->start_us = clock_us();
	if (l->url != NULL)
		start_http(c);
	else
		start_mqtt(c);
}

static void read_lines(struct load *l, const char *path)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (f == NULL)
		die("the requests cannot be read");
	while ((n = getline(&line, &cap, f)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		l->lines = realloc(l->lines, (l->n_lines + 1) * sizeof(*l->lines));
		if (l->lines == NULL)
			die("no memory");
		l->lines[l->n_lines++] = line;
		line = NULL;
		cap = 0;
	}
	free(line);
	fclose(f);
	if (l->n_lines == 0)
		die("there are no requests");
}

static void on_stop(void *ctx, int signo)
{
	(void)signo;
	loop_exit(((struct load *)ctx)->loop, 1);
}

static void begin(struct load *l)
{
	for (size_t i = 0; i < l->n_clients; i++) {
		struct client *c = &l->clients[i];

		c->load = l;
		c->number = i;
		c->line_buf = BUF_INIT(LINE_MAX_BYTES);
		if (l->url == NULL)
			connect_mqtt(c);
	}
	if (l->url != NULL)
		start_all(l);
}

static void fini(struct load *l)
{
	for (size_t i = 0; i < l->n_clients; i++) {
		http_request_free(l->clients[i].request);
		mq_free(l->clients[i].mq);
		buf_fini(&l->clients[i].line_buf);
		free(l->clients[i].at_us);
	}
	http_client_free(l->http);
	loop_timer_free(l->kick);
	loop_free(l->loop);
	for (size_t i = 0; i < l->n_lines; i++)
		free(l->lines[i]);
	free(l->lines);
	free(l->arena.p);
}

int main(int argc, char **argv)
{
	static struct load l;
	int rc;

	if (argc < 5 || argc > 6 || (strcmp(argv[1], "http") != 0 && strcmp(argv[1], "mqtt") != 0))
		die("usage: load http URL | mqtt PORT, then CLIENTS REQUESTS [AFTER]");
	if (strcmp(argv[1], "http") == 0)
		l.url = argv[2];
	l.port = atoi(argv[2]);
	l.n_clients = strtoull(argv[3], NULL, 10);
	l.after = argc == 6 ? strtoull(argv[5], NULL, 10) : 0;
	read_lines(&l, argv[4]);
	l.n_clients = l.n_clients < l.n_lines ? l.n_clients : l.n_lines;
	l.arena = (struct arena){ .p = malloc(ARENA_SIZE), .cap = ARENA_SIZE };
	if (l.n_clients == 0 || l.n_clients > MAX_CLIENTS || l.arena.p == NULL || loop_new(on_stop, &l, &l.loop) < 0 ||
		http_client_new(l.loop, &l.http) < 0 || loop_timer_new(l.loop, start_others, &l, &l.kick) < 0)
		die("cannot begin: are there 1 to 256 clients?");
	begin(&l);
	rc = loop_run(l.loop);
	fini(&l);
	return rc == 0 ? 0 : 1;
}
