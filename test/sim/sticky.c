#include "sim.h"

/* What the world remembers of a conversation: who ran its last request. */

struct found {
	struct sim *s;
	struct span job;
	const struct home *home;
	struct hub_job_view view;
	struct hub_agent_view at, home_at; /* id empty: not seen */
	size_t at_home;                    /* jobs of the model there */
	bool is_found;
	bool has_left; /* home had a job more when this one was given away */
};

static void find_job(void *ctx, const struct hub_job_view *v)
{
	struct found *f = ctx;

	if (!span_eq(v->job, f->job))
		return;
	f->view = *v;
	f->is_found = true;
}

static void count_at_home(void *ctx, const struct hub_job_view *v)
{
	struct found *f = ctx;
	bool is_there = v->state == HUB_JOB_DISPATCHED || v->state == HUB_JOB_RUNNING;

	f->at_home += is_there && span_eq(v->model, f->view.model) &&
		      (span_is(v->agent, f->s->boxes[f->home->box].id) ||
			      span_is(v->second_agent, f->s->boxes[f->home->box].id));
}

static void find_agents(void *ctx, const struct hub_agent_view *v)
{
	struct found *f = ctx;

	if (span_eq(v->id, f->view.agent))
		f->at = *v;
	if (f->home != NULL && span_is(v->id, f->s->boxes[f->home->box].id))
		f->home_at = *v;
}

static size_t model_of(struct span name)
{
	return span_is(name, sim_models[0]) ? 0 : 1;
}

static const struct model_info *info_of(const struct hub_agent_view *v, struct span model)
{
	for (size_t i = 0; i < v->registration->n_models; i++)
		if (span_eq(v->registration->models[i].name, model))
			return &v->registration->models[i];
	return NULL;
}

/* Its agent could not take it, or has lost what it had. */
static bool has_cause(const struct found *f)
{
	const struct hub_agent_view *v = &f->home_at;
	const struct model_info *m = v->registration != NULL ? info_of(v, f->view.model) : NULL;
	uint64_t cap = v->registration != NULL ? v->registration->slots * v->weight / 100 : 0;

	if (hub_breaker_of(f->s->hub, v->id, f->view.model).state != HUB_BREAKER_CLOSED)
		return true;
	if (watch_has_suspects(f->s, model_of(f->view.model)))
		return true; /* it may be kept free for one */
	if (f->s->boxes[f->home->box].epoch != f->home->epoch)
		return true; /* a heartbeat of the next life was here before its registration */
	if (f->view.deadline_ms != UINT64_MAX)
		return true; /* another agent may be the only one in time */
	if (f->has_left)
		return true; /* it may have been full then */
	if (f->view.attempt > 1 || m == NULL || m->state != MODEL_READY || f->home->is_unloaded)
		return true;
	return v->presence != HUB_PRESENCE_ONLINE || v->weight == 0 || v->registration->epoch != f->home->epoch ||
	       v->in_flight >= cap || f->at_home >= m->slots;
}

/* The hub is seen as it is at the end of the step. */
static bool is_taken_back(const struct hub_action *acts, size_t n, struct span agent)
{
	for (size_t i = 0; i < n; i++)
		if (acts[i].type == HUB_ACT_CONTROL && span_eq(acts[i].agent, agent) &&
			(acts[i].control.verb == CONTROL_CANCEL || acts[i].control.verb == CONTROL_END))
			return true;
	return false;
}

void sticky_begun(struct sim *s, const struct hub_action *acts, size_t n)
{
	struct found f = { .s = s, .job = acts->persist.job };
	struct home *home = NULL;

	hub_each_job(s->hub, find_job, &f);
	if (!f.is_found || f.view.state != HUB_JOB_DISPATCHED) {
		memset(s->homes, 0, sizeof(s->homes)); /* it has ended in the same step: whose it was cannot be seen */
		return;
	}
	if (f.view.session.n > 0)
		home = &s->homes[(size_t)(f.view.session.p[0] - 'a') * SIM_MODELS + model_of(f.view.model)];
	f.home = home != NULL && home->is_known ? home : NULL;
	hub_each_agent(s->hub, find_agents, &f);
	if (f.at.in_flight > f.at.registration->slots + s->extra_credit)
		sim_violation(s, "%.*s is given %u jobs, its slots are %u", SPAN_FMT(f.at.id), (unsigned)f.at.in_flight,
			(unsigned)f.at.registration->slots);
	if (home == NULL)
		return;
	if (f.home != NULL) {
		hub_each_job(s->hub, count_at_home, &f);
		f.has_left = is_taken_back(acts, n, f.home_at.id);
		if (!span_eq(f.at.id, f.home_at.id) && !s->knobs.forgets_sessions && !has_cause(&f))
			sim_violation(s, "session %.*s goes to %.*s without cause: it is on %.*s", SPAN_FMT(f.view.session),
				SPAN_FMT(f.at.id), SPAN_FMT(f.home_at.id));
	}
	*home = (struct home){ .is_known = true, .epoch = f.at.registration->epoch };
	while (!span_is(f.at.id, s->boxes[home->box].id))
		home->box++;
}

void sticky_registered(struct sim *s, const struct hub_agent_view *v)
{
	for (size_t i = 0; i < SIM_SESSIONS * SIM_MODELS; i++) {
		struct home *home = &s->homes[i];
		const struct model_info *m = info_of(v, span_of(sim_models[i % SIM_MODELS]));

		if (home->is_known && span_is(v->id, s->boxes[home->box].id))
			home->is_unloaded = home->is_unloaded || m == NULL || m->state != MODEL_READY;
	}
}

struct tally {
	struct sim *s;
	uint64_t n;
};

static void find_epoch(void *ctx, const struct hub_agent_view *v)
{
	struct hub_session_view *session = ctx;

	if (span_eq(v->id, session->agent) && v->registration->epoch == session->epoch)
		session->agent = SPAN_NONE;
}

static void check_session(void *ctx, const struct hub_session_view *v)
{
	struct tally *t = ctx;
	struct hub_session_view session = *v;

	t->n++;
	if (v->jobs == 0 && t->s->now > v->used_ms + t->s->session_ttl_ms && t->s->now >= t->s->hub_paused_until)
		sim_violation(t->s, "session %.*s outlives its time", SPAN_FMT(v->session));
	if (v->agent.n > 0)
		hub_each_agent(t->s->hub, find_epoch, &session);
	if (session.agent.n > 0)
		sim_violation(t->s, "session %.*s points at life %u of %.*s, which is over", SPAN_FMT(v->session),
			(unsigned)v->epoch, SPAN_FMT(v->agent));
}

void sticky_check(struct sim *s)
{
	struct tally t = { .s = s };

	hub_each_session(s->hub, check_session, &t);
	if (t.n > s->max_sessions)
		sim_violation(s, "%u sessions are remembered, %u may be", (unsigned)t.n, (unsigned)s->max_sessions);
}
