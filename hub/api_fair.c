/* api_fair.c - users, what waits and was refused, and variants as documents. */
#include <stdlib.h>

#include "api.h"
#include "doc.h"
#include "json.h"
#include "msg.h"

#define ANY UINT64_MAX
#define TEXT_MAX 1024
#define MAX_USERS 100 /* shown: busy ones, then others, the last seen first */
#define MAX_VARIANTS 64

/* ---- /api/v1/users ---- */

struct user_row {
	uint64_t has;
	struct span user;
	uint64_t weight, waiting, running, jobs, refused, tokens, recent_tokens;
};
struct waiting_row {
	uint64_t has, high, normal, low;
};
struct refused_row {
	uint64_t has;
#define X(name, text) uint64_t name;
	HUB_REFUSAL_LIST(X)
#undef X
};
struct users_doc {
	uint64_t has;
	uint64_t total;
	struct waiting_row waiting;
	struct refused_row refused;
	const struct user_row *users;
	size_t n_users;
};

#define T struct user_row
static const struct msg_field user_fields[] = {
	MSG_F_TEXT(T, user, 1, MSG_REQ, TEXT_MAX),
	MSG_F_UINT(T, weight, 2, MSG_REQ, ANY),
	MSG_F_UINT(T, waiting, 3, MSG_REQ, ANY),
	MSG_F_UINT(T, running, 4, MSG_REQ, ANY),
	MSG_F_UINT(T, jobs, 5, MSG_REQ, ANY),
	MSG_F_UINT(T, refused, 6, MSG_REQ, ANY),
	MSG_F_UINT(T, tokens, 7, MSG_REQ, ANY),
	MSG_F_UINT(T, recent_tokens, 8, MSG_REQ, ANY),
};
static const struct msg_type user_type = MSG_TYPE("user", T, user_fields);
#undef T

#define T struct waiting_row
static const struct msg_field waiting_fields[] = {
	MSG_F_UINT(T, high, 1, MSG_REQ, ANY),
	MSG_F_UINT(T, normal, 2, MSG_REQ, ANY),
	MSG_F_UINT(T, low, 3, MSG_REQ, ANY),
};
static const struct msg_type waiting_type = MSG_TYPE("waiting", T, waiting_fields);
#undef T

#define T struct refused_row
static const struct msg_field refused_fields[] = {
#define X(name, text) { text, HUB_REFUSAL_##name + 1, MSG_UINT, MSG_REQ, offsetof(T, name), .max = ANY },
	HUB_REFUSAL_LIST(X)
#undef X
};
static const struct msg_type refused_type = MSG_TYPE("refused", T, refused_fields);
#undef T

#define T struct users_doc
static const struct msg_field users_fields[] = {
	MSG_F_UINT(T, total, 1, MSG_REQ, ANY),
	MSG_F_SUB(T, waiting, struct waiting_row, 2, MSG_REQ, &waiting_type),
	MSG_F_SUB(T, refused, struct refused_row, 3, MSG_REQ, &refused_type),
	MSG_F_SUBS(T, users, struct user_row, 4, MSG_REQ, MAX_USERS, &user_type),
};
static const struct msg_type users_type = MSG_TYPE("api-users", T, users_fields);
#undef T

struct user_rows {
	struct user_row rows[MAX_USERS];
	size_t n;
	uint64_t total;
};

static void add_user(void *ctx, const struct hub_user_view *v)
{
	struct user_rows *r = ctx;

	r->total++;
	if (r->n == MAX_USERS)
		return;
	r->rows[r->n++] = (struct user_row){ .user = v->user,
		.weight = v->limits->weight > 0 ? v->limits->weight : 1,
		.waiting = v->waiting,
		.running = v->running,
		.jobs = v->jobs,
		.refused = v->refused,
		.tokens = v->tokens,
		.recent_tokens = v->recent_tokens };
}

void api_users(const struct server *s, struct buf *out)
{
	struct user_rows r = { .n = 0 };
	struct hub_waiting w = hub_waiting(server_hub(s));
	struct users_doc doc = { .waiting = { 0, w.jobs[0], w.jobs[1], w.jobs[2] } };

	hub_each_user(server_hub(s), add_user, &r);
#define X(name, text) doc.refused.name = hub_refusals(server_hub(s), HUB_REFUSAL_##name);
	HUB_REFUSAL_LIST(X)
#undef X
	doc.total = r.total;
	doc.users = r.rows, doc.n_users = r.n;
	doc_add(&users_type, &doc, out);
}

/* ---- /api/v1/variants ---- */

struct error_row {
	uint64_t has;
	struct span code;
	uint64_t jobs;
};
struct variant_row {
	uint64_t has;
	struct span alias, model, label, reason;
	uint64_t weight, jobs, done, tokens, p50_ms, p95_ms, first_p50_ms, first_p95_ms;
	double tokens_per_s;
	bool main, off;
	const struct error_row *errors;
	size_t n_errors;
};
struct variants_doc {
	uint64_t has;
	const struct variant_row *variants;
	size_t n_variants;
};

#define T struct error_row
static const struct msg_field error_fields[] = {
	MSG_F_TEXT(T, code, 1, MSG_REQ, TEXT_MAX),
	MSG_F_UINT(T, jobs, 2, MSG_REQ, ANY),
};
static const struct msg_type error_type = MSG_TYPE("variant-error", T, error_fields);
#undef T

#define T struct variant_row
static const struct msg_field variant_fields[] = {
	MSG_F_TEXT(T, alias, 1, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, model, 2, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, label, 3, 0, TEXT_MAX),
	MSG_F_BOOL(T, main, 4, MSG_REQ),
	MSG_F_UINT(T, weight, 5, MSG_REQ, ANY),
	MSG_F_BOOL(T, off, 6, MSG_REQ),
	MSG_F_TEXT(T, reason, 7, 0, TEXT_MAX),
	MSG_F_UINT(T, jobs, 8, MSG_REQ, ANY),
	MSG_F_UINT(T, done, 9, MSG_REQ, ANY),
	MSG_F_SUBS(T, errors, struct error_row, 10, MSG_REQ, CODE_MAX + 1, &error_type),
	MSG_F_UINT(T, p50_ms, 11, MSG_REQ, ANY),
	MSG_F_UINT(T, p95_ms, 12, MSG_REQ, ANY),
	MSG_F_UINT(T, first_p50_ms, 13, MSG_REQ, ANY),
	MSG_F_UINT(T, first_p95_ms, 14, MSG_REQ, ANY),
	MSG_F_UINT(T, tokens, 15, MSG_REQ, ANY),
	MSG_F_REAL(T, tokens_per_s, 16, MSG_REQ),
};
static const struct msg_type variant_type = MSG_TYPE("variant", T, variant_fields);
#undef T

#define T struct variants_doc
static const struct msg_field variants_fields[] = {
	MSG_F_SUBS(T, variants, struct variant_row, 1, MSG_REQ, MAX_VARIANTS, &variant_type),
};
static const struct msg_type variants_type = MSG_TYPE("api-variants", T, variants_fields);
#undef T

struct variant_rows {
	struct variant_row rows[MAX_VARIANTS];
	struct error_row errors[MAX_VARIANTS][CODE_MAX + 1];
	size_t n;
};

static void add_variant(void *ctx, const struct hub_variant_view *v)
{
	struct variant_rows *r = ctx;
	struct variant_row *row = &r->rows[r->n];

	if (r->n == MAX_VARIANTS)
		return;
	*row = (struct variant_row){ .alias = v->alias,
		.model = v->model,
		.label = v->label,
		.reason = v->reason,
		.weight = v->weight,
		.jobs = v->jobs,
		.done = v->ended,
		.tokens = v->tokens,
		.p50_ms = v->p50_ms,
		.p95_ms = v->p95_ms,
		.first_p50_ms = v->first_p50_ms,
		.first_p95_ms = v->first_p95_ms,
		.tokens_per_s = v->tokens_per_s,
		.main = v->is_main,
		.off = v->is_off,
		.errors = r->errors[r->n] };
	for (unsigned code = 0; code <= CODE_MAX; code++)
		if (v->errors[code] > 0)
			r->errors[r->n][row->n_errors++] =
				(struct error_row){ .code = span_of(code_name(code)), .jobs = v->errors[code] };
	r->n++;
}

void api_variants(const struct server *s, struct buf *out)
{
	struct variant_rows *r = calloc(1, sizeof(*r));
	struct variants_doc doc = { 0 };

	if (r == NULL) {
		out->err = ERR_NOMEM;
		return;
	}
	hub_each_variant(server_hub(s), add_variant, r);
	doc.variants = r->rows, doc.n_variants = r->n;
	doc_add(&variants_type, &doc, out);
	free(r);
}

struct ask {
	uint64_t has;
	struct span alias, model;
	uint64_t weight;
	bool resume;
};
enum { ASK_WEIGHT = 3, ASK_RESUME };
#define T struct ask
static const struct msg_field ask_fields[] = {
	MSG_F_TEXT(T, alias, 1, MSG_REQ, PROTO_MAX_NAME),
	MSG_F_TEXT(T, model, 2, MSG_REQ, PROTO_MAX_NAME),
	MSG_F_UINT(T, weight, ASK_WEIGHT, 0, 1000000),
	MSG_F_BOOL(T, resume, ASK_RESUME, 0),
};
static const struct msg_type ask_type = MSG_TYPE("variant-ask", T, ask_fields);
#undef T

struct search {
	const struct ask *ask;
	bool is_found;
};

static void look(void *ctx, const struct hub_variant_view *v)
{
	struct search *s = ctx;

	s->is_found |= span_eq(v->alias, s->ask->alias) && span_eq(v->model, s->ask->model);
}

enum code api_variant_ask(const struct server *s, struct span body, struct arena *arena, struct hub_event *ret)
{
	struct ask a = { 0 };
	struct search search = { .ask = &a };

	if (json_decode(&ask_type, body, arena, &a, NULL) < 0 || msg_has(&a, ASK_WEIGHT) == a.resume)
		return CODE_BAD_REQUEST;
	hub_each_variant(server_hub(s), look, &search);
	if (!search.is_found)
		return CODE_NOT_FOUND;
	*ret = (struct hub_event){ .type = HUB_EV_VARIANT };
	ret->variant.alias = a.alias;
	ret->variant.model = a.model;
	ret->variant.weight = a.weight;
	ret->variant.resumes = a.resume;
	return CODE_OK;
}
