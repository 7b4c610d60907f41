/* api_sessions.c - conversations as documents. */
#include <stdlib.h>

#include "api.h"
#include "api_proto.h"
#include "doc.h"

struct rows {
	const struct query *query;
	struct api_session *items;
	size_t n, total;
	uint64_t now_ms;
};

static bool is_asked(struct span wanted, struct span value)
{
	return wanted.n == 0 || span_eq(wanted, value);
}

static void add(void *ctx, const struct hub_session_view *v)
{
	struct rows *r = ctx;
	const struct hub_job_filter *f = &r->query->jobs;

	if (!is_asked(f->user, v->user) || !is_asked(f->model, v->model) || !is_asked(f->agent, v->agent))
		return;
	r->total++;
	if (r->n == r->query->limit)
		return;
	r->items[r->n++] = (struct api_session){ .session = v->session,
		.user = v->user,
		.model = v->model,
		.agent = v->agent,
		.tokens = v->tokens,
		.turns = v->turns,
		.moves = v->moves,
		.jobs = v->jobs,
		.used_ms = r->now_ms > v->used_ms ? r->now_ms - v->used_ms : 0 };
}

void api_sessions(const struct server *s, const struct query *q, struct buf *out)
{
	struct rows r = { .query = q, .items = calloc(q->limit, sizeof(*r.items)), .now_ms = loop_now_ms(server_loop(s)) };
	struct api_sessions doc = { .live = hub_session_stats(server_hub(s)).live };

	if (r.items == NULL) {
		out->err = ERR_NOMEM;
		return;
	}
	hub_each_session(server_hub(s), add, &r);
	doc.total = r.total;
	doc.sessions = r.items, doc.n_sessions = r.n;
	doc_add(&api_sessions_type, &doc, out);
	free(r.items);
}

struct api_sessions_status api_sessions_status(const struct server *s)
{
	struct hub_session_stats c = hub_session_stats(server_hub(s));
	double prompt = (double)c.prompt_tokens;

	return (struct api_sessions_status){ .live = c.live,
		.created = c.created,
		.expired = c.expired,
		.displaced = c.displaced,
		.kept = c.kept,
		.moved = c.moved,
		.prompt_tokens = c.prompt_tokens,
		.cached_tokens = c.cached_tokens,
		.expected_tokens = c.expected_tokens,
#define X(name, text, sentence) .moved_##text = c.moves[HUB_MOVE_##name],
		HUB_MOVE_LIST(X)
#undef X
			.cached_share = prompt > 0 ? (double)c.cached_tokens / prompt : 0 };
}
