/* api_jobs.c - jobs, and what operators asked, as documents. */
#include <stdlib.h>

#include "api.h"
#include "api_explain.h"
#include "api_proto.h"
#include "doc.h"

#define STORY_CANDIDATES 100 /* agents told of with a job */

static uint64_t ago(uint64_t now_ms, uint64_t at_ms)
{
	return now_ms > at_ms ? now_ms - at_ms : 0;
}

static void fill_end(const struct hub_job_view *v, uint64_t now_ms, struct api_job *j)
{
	j->ended_ms = ago(now_ms, v->ended_ms);
	msg_set(j, API_JOB_ENDED);
	j->finish_reason = v->state == HUB_JOB_DONE ? v->finish : FINISH_NONE;
	if (v->code != CODE_OK)
		j->code = span_of(code_name(v->code));
	j->message = v->message;
}

static void fill(const struct hub_job_view *v, uint64_t now_ms, struct api_job *j)
{
	*j = (struct api_job){ .job = v->job,
		.user = v->user,
		.model = v->model,
		.agent = v->agent,
		.state = v->state,
		.priority = v->priority,
		.attempt = v->attempt,
		.tokens = v->tokens,
		.age_ms = ago(now_ms, v->submitted_ms),
		.id = v->id,
		.session = v->session };
	if (v->state >= HUB_JOB_DONE) {
		fill_end(v, now_ms, j);
		return;
	}
	if (v->deadline_ms != UINT64_MAX) {
		j->deadline_ms = ago(v->deadline_ms, now_ms);
		msg_set(j, API_JOB_DEADLINE);
	}
	j->rejoins = v->rejoins;
	if (v->not_before_ms > now_ms)
		j->rests_ms = v->not_before_ms - now_ms;
}

struct rows {
	struct api_job *jobs;
	size_t n;
	uint64_t now_ms;
};

static void add_job(void *ctx, const struct hub_job_view *v)
{
	struct rows *r = ctx;

	fill(v, r->now_ms, &r->jobs[r->n++]);
}

bool api_jobs(const struct server *s, const struct query *q, struct buf *out)
{
	struct hub_job_filter filter = q->jobs;
	struct rows r = { .jobs = calloc(q->limit, sizeof(*r.jobs)), .now_ms = loop_now_ms(server_loop(s)) };
	struct api_jobs doc = { 0 };
	char next[HUB_CURSOR_SIZE];
	bool is_right;

	if (r.jobs == NULL) {
		out->err = ERR_NOMEM;
		return true;
	}
	if (filter.states == 0)
		filter.states = (1u << HUB_JOB_DONE) - 1;
	is_right = hub_page_jobs(server_hub(s), &filter, q->cursor, q->limit, add_job, &r, next);
	doc.live = hub_counters(server_hub(s))->queued + hub_counters(server_hub(s))->running;
	doc.jobs = r.jobs, doc.n_jobs = r.n;
	doc.next = span_of(next);
	if (is_right)
		doc_add(&api_jobs_type, &doc, out);
	free(r.jobs);
	return is_right;
}

bool api_job(const struct server *s, struct span id, struct buf *out)
{
	struct api_job_story doc = { 0 };
	struct explain e = { 0 };
	struct hub_job_view v;

	if (!hub_find_job(server_hub(s), id, &v, &doc.receipt))
		return false;
	fill(&v, loop_now_ms(server_loop(s)), &doc.job);
	if (v.state < HUB_JOB_DONE)
		doc.receipt.total_ms = (double)doc.job.age_ms;
	if (v.state < HUB_JOB_DONE && explain_job(server_hub(s), id, v.model, STORY_CANDIDATES, &e) == CODE_OK) {
		doc.explain = e.doc;
		msg_set(&doc, API_STORY_EXPLAIN);
	}
	doc_add(&api_job_story_type, &doc, out);
	explain_fini(&e);
	return true;
}

enum code api_explain(const struct server *s, const struct query *q, struct buf *out)
{
	struct submit request = { .model = q->jobs.model, .require = q->labels, .n_require = q->n_labels };
	struct explain e;
	enum code code = explain_request(server_hub(s), &request, q->limit, &e);

	if (code == CODE_OK)
		doc_add(&api_explain_type, &e.doc, out);
	explain_fini(&e);
	return code;
}

/* ---- operators ---- */

struct asked_list {
	struct api_asked items[HUB_ADMIN_KEPT];
	size_t n;
	uint64_t now_ms;
};

static void add_asked(void *ctx, const struct hub_admin_view *v)
{
	struct asked_list *l = ctx;

	l->items[l->n++] = (struct api_asked){ .asked_ms = ago(l->now_ms, v->at_ms),
		.user = v->user,
		.verb = span_of(admin_verb_names[v->verb]),
		.target = v->target,
		.reason = v->reason,
		.value = v->value,
		.code = span_of(code_name(v->code)) };
}

void api_admin(const struct server *s, struct buf *out)
{
	struct asked_list l = { .now_ms = loop_now_ms(server_loop(s)) };

	hub_each_admin(server_hub(s), add_asked, &l);
	doc_add(&api_admin_type, &(struct api_admin){ .asked = l.items, .n_asked = l.n }, out);
}
