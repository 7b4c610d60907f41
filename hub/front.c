#include "front.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "api.h"
#include "api_proto.h"
#include "doc.h"
#include "id.h"
#include "json.h"
#include "log.h"
#include "openai.h"
#include "page.h"
#include "server.h"
#include "verbs.h"

#define HTTP_USER "http" /* until there are keys, whoever reaches the port is one user */
#define DOC_MAX ((size_t)32 << 20)
#define FINGERPRINTS 8
#define FINGERPRINT_MS 10000

struct front {
	struct server *server;
	struct http *http;
	struct arena arena;
	struct buf doc;
	uint64_t created; /* when the hub started, for the list of models */
	bool closing;
	struct { /* of the models last asked for: to look one up walks the fleet */
		char model[PROTO_MAX_NAME + 1], text[32];
		uint64_t until_ms;
	} prints[FINGERPRINTS];
	size_t next_print;
};

/* What hangs on a call that has a job. */
struct job_call {
	struct openai_call openai;
};

/* ---- fingerprints ---- */

struct print_search {
	struct span model;
	char *text;
	size_t size;
};

static void print_model(void *ctx, const struct model_info *m, uint64_t n_ready)
{
	struct print_search *p = ctx;

	(void)n_ready;
	if (!span_eq(m->name, p->model) || m->digest.n < 6)
		return;
	(void)snprintf(p->text, p->size, "fp_%02x%02x%02x%02x%02x%02x", (unsigned char)m->digest.p[0],
		(unsigned char)m->digest.p[1], (unsigned char)m->digest.p[2], (unsigned char)m->digest.p[3],
		(unsigned char)m->digest.p[4], (unsigned char)m->digest.p[5]);
}

/* Names the model's file: equal fingerprints and seeds give equal answers. */
static void set_fingerprint(struct front *f, struct openai_call *c)
{
	uint64_t now = loop_now_ms(server_loop(f->server));
	struct print_search search = { .model = span_of(c->model) };
	size_t i = 0;

	while (i < FINGERPRINTS && (strcmp(f->prints[i].model, c->model) != 0 || now >= f->prints[i].until_ms))
		i++;
	if (i == FINGERPRINTS) {
		i = f->next_print++ % FINGERPRINTS;
		search.text = f->prints[i].text, search.size = sizeof(f->prints[i].text);
		search.text[0] = '\0';
		hub_each_model(server_hub(f->server), print_model, &search);
		(void)span_copy(search.model, f->prints[i].model, sizeof(f->prints[i].model)); /* both are of one size */
		f->prints[i].until_ms = now + FINGERPRINT_MS;
	}
	(void)snprintf(c->fingerprint, sizeof(c->fingerprint), "%s", f->prints[i].text);
}

/* ---- answers ---- */

static void reply_json(struct front *f, struct http_call *c, int status)
{
	if (f->doc.err != 0)
		http_reply(c, 500, "text/plain", SPAN("the hub is out of memory\n"));
	else
		http_reply(c, status, "application/json", buf_span(&f->doc));
	buf_reset(&f->doc);
}

/* The number by which an answer is found in the log: the job's id once there is one. */
static void add_request_id(struct http_call *c, const char *job)
{
	char text[32];

	if (http_number(c) == 0)
		return;
	(void)snprintf(text, sizeof(text), "req-%llx", (unsigned long long)http_number(c));
	http_add_header(c, "x-request-id", job != NULL && job[0] != '\0' ? job : text);
}

static void reply_fault(struct front *f, struct http_call *c, const struct openai_fault *fault, const char *job)
{
	int status = code_info(fault->code)->http;
	char text[32];

	add_request_id(c, job);
	if (status == 429 || status == 503) {
		uint64_t ms = fault->retry_after_ms > 0 ? fault->retry_after_ms : 1000;

		(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)((ms + 999) / 1000));
		http_add_header(c, "Retry-After", text);
		(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)ms);
		http_add_header(c, "retry-after-ms", text);
	}
	if (status >= 409)
		http_add_header(c, "x-should-retry", openai_should_retry(fault) ? "true" : "false");
	openai_fault_doc(fault, &f->doc);
	reply_json(f, c, status);
}

static void begin_stream(struct http_call *c, const struct job_call *j)
{
	if (http_is_answered(c))
		return;
	add_request_id(c, j->openai.job);
	http_stream(c, "text/event-stream; charset=utf-8");
}

static void end_with_fault(struct front *f, struct http_call *c, struct job_call *j, const struct openai_fault *fault)
{
	if (!http_is_answered(c)) {
		reply_fault(f, c, fault, j->openai.job);
		return;
	}
	openai_part(&j->openai, http_out(c));
	openai_fault_event(fault, http_out(c));
	http_end(c, false);
}

static void on_tokens(struct http_call *c, struct job_call *j, const struct answer *a)
{
	if (openai_add(&j->openai, a) < 0) {
		log_fields(
			LOG_INFO, "http", (const char *const[]){ "JOB", j->openai.job, NULL }, "a reader is too slow; cut");
		http_cut(c);
		return;
	}
	begin_stream(c, j);
	http_wake(c);
}

static void on_done(struct front *f, struct http_call *c, struct job_call *j, const struct answer *a)
{
	struct openai_fault cancelled;

	if (a->finish_reason == FINISH_CANCELLED) {
		cancelled = openai_fault(CODE_CANCELLED, NULL, NULL, "the job was cancelled");
		end_with_fault(f, c, j, &cancelled);
		return;
	}
	if (j->openai.stream) {
		begin_stream(c, j);
		openai_end(&j->openai, a, http_out(c));
		http_end(c, true);
		return;
	}
	openai_whole(&j->openai, a, &f->doc);
	add_request_id(c, j->openai.job);
	reply_json(f, c, 200);
}

void front_answer(struct front *f, const struct hub_action *act)
{
	struct http_call *c = http_find(f->http, act->reply.conn);
	struct job_call *j = c != NULL ? http_user(c) : NULL;
	struct openai_fault fault;

	if (j == NULL)
		return;
	if (j->openai.job[0] == '\0') {
		openai_call_job(&j->openai, act->answer.job, act->answer.model);
		set_fingerprint(f, &j->openai);
	}
	switch (act->answer.type) {
	case ANSWER_TOKENS: on_tokens(c, j, &act->answer); break;
	case ANSWER_DONE: on_done(f, c, j, &act->answer); break;
	case ANSWER_ERROR:
		fault = openai_fault_of(&act->answer);
		end_with_fault(f, c, j, &fault);
		break;
	default: break; /* ACCEPTED and PROGRESS: a status line now would take the place of a better one */
	}
}

void front_admin(struct front *f, const struct hub_action *act)
{
	struct http_call *c = http_find(f->http, act->reply.conn);
	struct openai_fault fault;

	if (c == NULL)
		return;
	if (act->answer.type == ANSWER_ERROR) {
		fault = openai_fault_of(&act->answer);
		reply_fault(f, c, &fault, NULL);
		return;
	}
	doc_add(&answer_type, &act->answer, &f->doc);
	reply_json(f, c, 200);
}

void front_detach(struct front *f, uint64_t conn)
{
	struct http_call *c = http_find(f->http, conn);
	struct job_call *j = c != NULL ? http_user(c) : NULL;
	struct openai_fault fault =
		openai_fault(CODE_CONFLICT, NULL, NULL, "a later request with the same Idempotency-Key gets the answer");

	if (j != NULL)
		end_with_fault(f, c, j, &fault);
}

/* ---- jobs ---- */

static int take_key(struct http_call *c, char key[OPENAI_KEY_SIZE], struct submit *s, struct openai_fault *fault)
{
	struct span header = http_get_header(c, "Idempotency-Key");

	if (header.n == 0)
		return 0;
	if (openai_key(header, key) < 0) {
		*fault = openai_fault(CODE_BAD_REQUEST, "invalid_value", NULL, "Idempotency-Key is over 512 bytes");
		return ERR_RANGE;
	}
	s->id = span_of(key);
	return 0;
}

static void submit(struct front *f, struct http_call *c, enum openai_kind kind)
{
	size_t pending = (size_t)server_settings(f->server)->http.max_waiting;
	struct job_call *j = calloc(1, sizeof(*j));
	struct openai_fault fault =
		openai_fault(CODE_RESOURCE_LIMIT_EXCEEDED, NULL, NULL, "the hub is out of memory; try again later");
	char key[OPENAI_KEY_SIZE];
	struct submit s;

	arena_reset(&f->arena);
	if (j == NULL || openai_decode(kind, http_body(c), &f->arena, pending, &j->openai, &s, &fault) < 0 ||
		take_key(c, key, &s, &fault) < 0) {
		reply_fault(f, c, &fault, NULL);
		free(j);
		return;
	}
	j->openai.created = (uint64_t)time(NULL);
	http_set_user(c, j);
	server_event(f->server,
		&(struct hub_event){
			.type = HUB_EV_SUBMIT, .user = SPAN(HTTP_USER), .reply.conn = http_number(c), .submit = &s });
}

/* ---- routes ---- */

static void serve_chat(struct front *f, struct http_call *c)
{
	submit(f, c, OPENAI_CHAT);
}

static void serve_completion(struct front *f, struct http_call *c)
{
	submit(f, c, OPENAI_COMPLETION);
}

static void serve_embeddings(struct front *f, struct http_call *c)
{
	submit(f, c, OPENAI_EMBEDDING);
}

static void serve_models(struct front *f, struct http_call *c)
{
	api_models(f->server, f->created, &f->doc);
	reply_json(f, c, 200);
}

static void serve_model(struct front *f, struct http_call *c)
{
	struct span id = http_path(c);
	struct openai_fault fault;

	id = span_mem(id.p + strlen("/v1/models/"), id.n - strlen("/v1/models/"));
	if (api_model(f->server, id, f->created, &f->doc)) {
		reply_json(f, c, 200);
		return;
	}
	fault = openai_fault(
		CODE_MODEL_UNKNOWN, NULL, "model", "no agent knows a model of this name; GET /v1/models lists them");
	reply_fault(f, c, &fault, NULL);
}

static void serve_status(struct front *f, struct http_call *c)
{
	api_status(f->server, &f->doc);
	reply_json(f, c, 200);
}

static void reply_refused(struct front *f, struct http_call *c, enum code code, const char *why)
{
	struct openai_fault fault = openai_fault(code, NULL, NULL, "%s", why);

	reply_fault(f, c, &fault, NULL);
}

/* False: it was wrong, and is answered. */
static bool read_query(struct front *f, struct http_call *c, struct query *q)
{
	query_init(q);
	http_each_query(c, query_take, q);
	if (q->why[0] != '\0')
		reply_refused(f, c, CODE_BAD_REQUEST, q->why);
	return q->why[0] == '\0';
}

static void serve_agents(struct front *f, struct http_call *c)
{
	struct query q;

	if (!read_query(f, c, &q))
		return;
	api_agents(f->server, &q, &f->doc);
	reply_json(f, c, 200);
}

static void serve_jobs(struct front *f, struct http_call *c)
{
	struct query q;

	if (!read_query(f, c, &q))
		return;
	if (api_jobs(f->server, &q, &f->doc))
		reply_json(f, c, 200);
	else
		reply_refused(f, c, CODE_BAD_REQUEST, "this \"cursor\" is not one that a page gave");
}

static void serve_sessions(struct front *f, struct http_call *c)
{
	struct query q;

	if (!read_query(f, c, &q))
		return;
	api_sessions(f->server, &q, &f->doc);
	reply_json(f, c, 200);
}

static struct span behind(const struct http_call *c, const char *prefix)
{
	return span_mem(http_path(c).p + strlen(prefix), http_path(c).n - strlen(prefix));
}

static void serve_one_agent(struct front *f, struct http_call *c)
{
	if (api_agent(f->server, behind(c, VERBS_AGENTS), &f->doc))
		reply_json(f, c, 200);
	else
		reply_refused(f, c, CODE_NOT_FOUND, "there is no such agent; GET /api/v1/agents lists them");
}

static void serve_job(struct front *f, struct http_call *c)
{
	if (api_job(f->server, behind(c, VERBS_JOBS), &f->doc))
		reply_json(f, c, 200);
	else
		reply_refused(f, c, CODE_NOT_FOUND, "there is no such job: it was never submitted, or ended long ago");
}

static void serve_explain(struct front *f, struct http_call *c)
{
	struct query q;
	enum code code;

	if (!read_query(f, c, &q))
		return;
	code = api_explain(f->server, &q, &f->doc);
	if (code == CODE_OK)
		reply_json(f, c, 200);
	else
		reply_refused(f, c, code, q.jobs.model.n > 0 ? code_info(code)->text : "name one with \"model\": there are several, or none");
}

static void serve_admin(struct front *f, struct http_call *c)
{
	api_admin(f->server, &f->doc);
	reply_json(f, c, 200);
}

/* POST /api/v1/agents/<agent>/load {"model":…} */
static bool parse_load(struct front *f, struct http_call *c, struct api_load *ret)
{
	static const struct span begin = SPAN(VERBS_AGENTS), end = SPAN("/load");
	struct span path = http_path(c);
	struct span rest = span_mem(path.p + begin.n, path.n - begin.n); /* the route begins so */

	if (rest.n <= end.n || !span_eq(span_mem(rest.p + rest.n - end.n, end.n), end))
		return false;
	arena_reset(&f->arena);
	*ret = (struct api_load){ 0 };
	if (json_decode(&api_load_type, http_body(c), &f->arena, ret, NULL) < 0)
		ret->model = SPAN_NONE;
	ret->agent = span_mem(rest.p, rest.n - end.n);
	return true;
}

/* Answered by front_admin(). */
static void serve_verb(struct front *f, struct http_call *c)
{
	const char *why;
	struct admin admin;
	enum code code;

	arena_reset(&f->arena);
	code = verbs_read(http_path(c), http_body(c), &f->arena, &admin, &why);
	if (code != CODE_OK) {
		reply_refused(f, c, code, why);
		return;
	}
	server_event(f->server,
		&(struct hub_event){
			.type = HUB_EV_ADMIN, .user = SPAN(HTTP_USER), .reply.conn = http_number(c), .admin = &admin });
}

static void serve_agent(struct front *f, struct http_call *c)
{
	static const char *const sentences[] = {
		[CODE_NOT_FOUND] = "there is no such agent; GET /api/v1/agents lists them",
		[CODE_NO_AGENT] = "the agent, or the hub itself, is not connected to the broker",
		[CODE_MODEL_UNKNOWN] = "the agent is not configured for this model; GET /api/v1/agents lists what it holds",
		[CODE_BAD_REQUEST] = "the body must be {\"model\": NAME}",
	};
	struct api_load load;
	struct openai_fault fault;
	enum code code;

	if (!parse_load(f, c, &load)) {
		serve_verb(f, c);
		return;
	}
	code = load.model.n > 0 ? hub_can_load(server_hub(f->server), load.agent, load.model) : CODE_BAD_REQUEST;
	if (code != CODE_OK) {
		fault = openai_fault(code, NULL, NULL, "%s", sentences[code]);
		reply_fault(f, c, &fault, NULL);
		return;
	}
	log_notice("http", "agent %.*s is told to load model %.*s", SPAN_FMT(load.agent), SPAN_FMT(load.model));
	server_event(f->server, &(struct hub_event){ .type = HUB_EV_LOAD, .agent = load.agent, .model = load.model });
	doc_add(&api_load_type, &load, &f->doc);
	reply_json(f, c, 202);
}

static void serve_users(struct front *f, struct http_call *c)
{
	api_users(f->server, &f->doc);
	reply_json(f, c, 200);
}

static void serve_variants(struct front *f, struct http_call *c)
{
	api_variants(f->server, &f->doc);
	reply_json(f, c, 200);
}

/* POST /api/v1/variants {"alias":…,"model":…,"weight":N} or "resume":true */
static void serve_variant_ask(struct front *f, struct http_call *c)
{
	struct hub_event ev;
	enum code code;

	arena_reset(&f->arena);
	code = api_variant_ask(f->server, http_body(c), &f->arena, &ev);
	if (code == CODE_BAD_REQUEST) {
		reply_refused(f, c, code, "the body must be {\"alias\": NAME, \"model\": NAME} with \"weight\": N or \"resume\": true");
	} else if (code != CODE_OK) {
		reply_refused(f, c, code, "there is no such variant; GET /api/v1/variants lists them");
	} else {
		server_event(f->server, &ev);
		serve_variants(f, c);
	}
}

static void serve_check(struct front *f, struct http_call *c, bool is_fine, const char *why)
{
	buf_addf(&f->doc, "{\"status\":\"%s\",\"reason\":\"%s\"}\n", is_fine ? "ok" : "unavailable", why);
	reply_json(f, c, is_fine ? 200 : 503);
}

static void serve_health(struct front *f, struct http_call *c)
{
	const char *why;
	bool is_fine = api_is_healthy(f->server, &why);

	serve_check(f, c, is_fine, why);
}

static void serve_ready(struct front *f, struct http_call *c)
{
	const char *why;
	bool is_fine = api_is_ready(f->server, &why);

	serve_check(f, c, is_fine, why);
}

static void serve_page(struct front *f, struct http_call *c)
{
	const struct page_file *file = page_find(http_path(c));

	(void)f;
	http_add_header(c, "Cache-Control", "no-cache");
	http_add_header(c, "ETag", file->etag);
	http_add_header(c, "Referrer-Policy", "no-referrer");
	http_add_header(c, "Content-Security-Policy",
		"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'");
	if (span_is(http_get_header(c, "If-None-Match"), file->etag))
		http_reply(c, 304, file->type, SPAN_NONE);
	else
		http_reply(c, 200, file->type, file->bytes);
}

static const struct route {
	const char *path;
	enum { WHOLE, PREFIX, LEVEL } match; /* LEVEL: a prefix, with one further level */
	bool is_post;
	void (*serve)(struct front *f, struct http_call *c);
} routes[] = {
	{ "/v1/chat/completions", WHOLE, true, serve_chat },
	{ "/v1/completions", WHOLE, true, serve_completion },
	{ "/v1/embeddings", WHOLE, true, serve_embeddings },
	{ "/v1/models", WHOLE, false, serve_models },
	{ "/v1/models/", PREFIX, false, serve_model },
	{ "/api/v1/status", WHOLE, false, serve_status },
	{ "/api/v1/agents", WHOLE, false, serve_agents },
	{ VERBS_AGENTS, LEVEL, false, serve_one_agent },
	{ VERBS_AGENTS, PREFIX, true, serve_agent },
	{ "/api/v1/jobs", WHOLE, false, serve_jobs },
	{ VERBS_JOBS, LEVEL, false, serve_job },
	{ VERBS_JOBS, PREFIX, true, serve_verb },
	{ "/api/v1/sessions", WHOLE, false, serve_sessions },
	{ "/api/v1/users", WHOLE, false, serve_users },
	{ "/api/v1/variants", WHOLE, false, serve_variants },
	{ "/api/v1/variants", WHOLE, true, serve_variant_ask },
	{ "/api/v1/explain", WHOLE, false, serve_explain },
	{ "/api/v1/admin", WHOLE, false, serve_admin },
	{ "/healthz", WHOLE, false, serve_health },
	{ "/readyz", WHOLE, false, serve_ready },
};

static bool path_fits(const struct route *r, struct span path)
{
	size_t n = strlen(r->path);

	if (r->match == WHOLE || path.n <= n || memcmp(path.p, r->path, n) != 0)
		return span_is(path, r->path);
	return r->match == PREFIX || memchr(path.p + n, '/', path.n - n) == NULL;
}

static bool method_fits(const struct route *r, struct span method)
{
	return r->is_post ? span_is(method, "POST") : span_is(method, "GET") || span_is(method, "HEAD");
}

/* The one for the method, else one for another, *ret_allow saying for which; NULL: none at all. */
static const struct route *find_route(struct span path, struct span method, const char **ret_allow)
{
	static const struct route page = { "", WHOLE, false, serve_page };
	const struct route *other = NULL;

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!path_fits(&routes[i], path))
			continue;
		if (method_fits(&routes[i], method))
			return &routes[i];
		*ret_allow = other != NULL ? "GET, HEAD, POST" : routes[i].is_post ? "POST" : "GET, HEAD";
		other = &routes[i];
	}
	if (other != NULL || page_find(path) == NULL)
		return other;
	*ret_allow = "GET, HEAD";
	return &page;
}

static void on_request(void *ctx, struct http_call *c)
{
	struct front *f = ctx;
	const char *allow = "";
	const struct route *r = find_route(http_path(c), http_method(c), &allow);
	struct openai_fault fault;

	if (r == NULL) {
		fault = openai_fault(CODE_NOT_FOUND, NULL, NULL,
			"there is nothing at this address; see /, /v1/models and /api/v1/status");
		reply_fault(f, c, &fault, NULL);
	} else if (!method_fits(r, http_method(c))) {
		http_add_header(c, "Allow", allow);
		fault = openai_fault(CODE_BAD_REQUEST, "method_not_allowed", NULL, "this address takes %s", allow);
		openai_fault_doc(&fault, &f->doc);
		reply_json(f, c, 405);
	} else if (r->is_post && server_is_stopping(f->server)) {
		fault = openai_fault(CODE_NO_AGENT, "stopping", NULL, "the hub is stopping; try again in a moment");
		reply_fault(f, c, &fault, NULL);
	} else {
		r->serve(f, c);
	}
}

/* ---- the other handlers ---- */

static void on_refused(void *ctx, struct http_call *c, struct http_verdict v)
{
	struct openai_fault fault = openai_fault(v.code, NULL, NULL, "%s", v.why);

	reply_fault(ctx, c, &fault, NULL);
}

static void on_more(void *ctx, struct http_call *c, struct buf *out)
{
	struct job_call *j = http_user(c);

	(void)ctx;
	if (j != NULL)
		openai_part(&j->openai, out);
}

/* A long wait for the first token, or between two: the connection must not look dead. */
static void on_quiet(void *ctx, struct http_call *c)
{
	struct job_call *j = http_user(c);

	(void)ctx;
	if (j == NULL || !j->openai.stream)
		return;
	begin_stream(c, j);
	buf_add_span(http_out(c), SPAN(": still here\n\n"));
	http_wake(c);
}

static void on_over(void *ctx, struct http_call *c, bool hung_up)
{
	struct front *f = ctx;
	struct job_call *j = http_user(c);

	if (j == NULL)
		return;
	if (hung_up && !f->closing && !server_is_stopping(f->server)) /* one with an id goes on after the next start */
		server_event(f->server, &(struct hub_event){ .type = HUB_EV_CLIENT_GONE, .reply.conn = http_number(c) });
	openai_call_fini(&j->openai);
	free(j);
}

/* ---- beginning and end ---- */

int front_new(struct server *server, size_t max_connections, char *err, size_t err_size, struct front **ret)
{
	static const struct http_handlers handlers = {
		.request = on_request, .refused = on_refused, .more = on_more, .quiet = on_quiet, .over = on_over
	};
	const struct settings *s = server_settings(server);
	const struct http_config config = { .address = s->http.address,
		.option = "http.address and http.port",
		.port = (int)s->http.port,
		.rules = { .hosts = (const char *const *)s->http.hosts,
			.n_hosts = s->http.n_hosts,
			.max_body = s->http.max_body },
		.max_connections = max_connections,
		.max_per_address = s->http.max_per_address,
		.max_header = s->http.max_header,
		.max_bodies = s->http.max_bodies,
		.send_buffer = s->http.max_waiting,
		.header_ms = s->http.header_ms,
		.body_ms = s->http.body_ms,
		.idle_ms = s->http.idle_ms,
		.quiet_ms = s->http.quiet_ms };
	struct front *f = calloc(1, sizeof(*f));
	size_t arena_size = s->http.max_body + ((size_t)512 << 10); /* the body's texts, and the lists around them */
	int rc = ERR_NOMEM;

	if (f == NULL)
		return rc;
	f->server = server;
	f->created = (uint64_t)time(NULL);
	f->doc = BUF_INIT(DOC_MAX);
	f->arena = (struct arena){ .p = malloc(arena_size), .cap = arena_size };
	if (f->arena.p != NULL)
		rc = http_new(server_loop(server), &config, &handlers, f, err, err_size, &f->http);
	if (rc < 0) {
		front_free(f);
		return rc;
	}
	log_notice("http",
		strchr(s->http.address, ':') != NULL ? "listening on http://[%s]:%d/" : "listening on http://%s:%d/",
		s->http.address, http_port(f->http));
	*ret = f;
	return 0;
}

void front_flush(struct front *f)
{
	http_flush(f->http);
}

const struct http *front_http(const struct front *f)
{
	return f->http;
}

struct front *front_free(struct front *f)
{
	if (f == NULL)
		return NULL;
	f->closing = true;
	http_free(f->http);
	free(f->arena.p);
	buf_fini(&f->doc);
	free(f);
	return NULL;
}
