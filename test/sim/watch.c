/* What the world itself counts of failures, to hold the hub to its rules about them. */
#include "sim.h"

static struct hub_job_view *found;

static void find_job(void *ctx, const struct hub_job_view *v)
{
	if (span_is(v->job, ((struct cjob *)ctx)->hub_id))
		*found = *v;
}

static struct hub_job_view view_of(const struct sim *s, size_t job)
{
	struct hub_job_view v = { .state = HUB_JOB_STATE_COUNT };

	found = &v;
	hub_each_job(s->hub, find_job, (void *)(uintptr_t)&s->jobs[job]);
	return v;
}

/* The attempt that was given last, second ones aside, is still what the hub waits for. */
static bool is_current(const struct sim *s, size_t job)
{
	struct hub_job_view v = view_of(s, job);

	return (v.state == HUB_JOB_DISPATCHED || v.state == HUB_JOB_RUNNING) && v.attempt == s->jobs[job].given.attempt;
}

/* ---- an agent that fails again and again is asked once at a time ---- */

static bool is_failing(const struct watch *w)
{
	return w->streak >= SIM_BREAKER_MIN && w->streak >= w->n_good;
}

static void dispatched_to(struct sim *s, size_t who, size_t job)
{
	struct watch *w = &s->boxes[who].watch[job % s->knobs.n_models];
	uint64_t left_alone = w->failing_at + s->persist_delay; /* given before, and recorded till then */
	size_t others = 0;

	for (size_t i = job % s->knobs.n_models; i < s->n_jobs && is_failing(w) && s->now > left_alone;
		i += s->knobs.n_models)
		others += i != job && s->jobs[i].given.to == who && s->jobs[i].given.at > left_alone && is_current(s, i);
	if (others > 0 && s->n_hub_crashes == 0) /* a hub that starts again counts from nothing */
		sim_violation(s, "%s has failed %u jobs in a row and gets job %zu beside another", s->boxes[who].id,
			w->streak, job);
}

/* ---- whoever has just failed a job is the last to be asked again ---- */

static bool has_ready(const struct registration *r, const char *model)
{
	for (size_t i = 0; r->slots > 0 && i < r->n_models; i++)
		if (span_is(r->models[i].name, model))
			return r->models[i].state == MODEL_READY && r->models[i].slots > 0;
	return false;
}

void watch_registration(struct sim *s, size_t who, const struct registration *r)
{
	for (size_t m = 0; m < s->knobs.n_models; m++) {
		struct watch *w = &s->boxes[who].watch[m];

		w->ready_at = !has_ready(r, sim_models[m]) ? 0 : w->ready_at != 0 ? w->ready_at : s->now;
	}
}

struct serving {
	const struct sim *s;
	size_t but, model, n;
};

/* For a while: what a choice and its record take. */
static void count_serving(void *ctx, const struct hub_agent_view *v)
{
	struct serving *x = ctx;
	uint64_t since_ms = x->s->now - 100;
	size_t who = 0;

	while (!span_is(v->id, x->s->boxes[who].id))
		who++;
	x->n += who != x->but && v->presence == HUB_PRESENCE_ONLINE && v->since_ms < since_ms && v->weight > 0 &&
		x->s->boxes[who].open_at != 0 && x->s->boxes[who].open_at < since_ms && /* no longer drained */
		has_ready(v->registration, sim_models[x->model]) && /* the latest may be an older one that came late */
		x->s->boxes[who].watch[x->model].ready_at != 0 && x->s->boxes[who].watch[x->model].ready_at < since_ms &&
		hub_breaker_of(x->s->hub, v->id, span_of(sim_models[x->model])).state == HUB_BREAKER_CLOSED;
}

static void failed_here(struct sim *s, size_t who, const struct hub_action *act, size_t job)
{
	const struct cjob *j = &s->jobs[job];
	struct serving x = { .s = s, .but = who, .model = job % s->knobs.n_models };

	if (j->given.to != who || j->given.attempt + 1 != act->job.attempt || j->failed_at == 0 || s->n_hub_crashes > 0 ||
		s->now >= j->failed_at + SIM_RETRY_MAX_MS)
		return;
	hub_each_agent(s->hub, count_serving, &x);
	if (x.n > 0)
		sim_violation(s, "%s failed job %zu %u ms ago and gets it again, there are %zu others", s->boxes[who].id, job,
			(unsigned)(s->now - j->failed_at), x.n);
}

/* ---- engines that die ---- */

static void poison_to(struct sim *s, size_t who, size_t job)
{
	if (s->jobs[job].kills >= SIM_POISON)
		sim_violation(s, "job %zu was there when %u engines died and is given another", job, s->jobs[job].kills);
	for (size_t i = job % s->knobs.n_models; i < s->n_jobs; i += s->knobs.n_models)
		if (i != job && s->jobs[i].given.to == who && (s->jobs[i].kills >= 2 || s->jobs[job].kills >= 2) &&
			is_current(s, i))
			sim_violation(s, "one of jobs %zu and %zu saw two engines die and does not run alone", i, job);
}

bool watch_has_suspects(const struct sim *s, size_t model)
{
	for (size_t i = model; i < s->n_jobs; i += s->knobs.n_models)
		if (s->jobs[i].kills >= 2 && !s->jobs[i].is_ended)
			return true;
	return false;
}

/* ---- who writes on ---- */

/* The box brought tokens of the job. */
static void wrote(const struct sim *s, struct cjob *j, size_t who)
{
	const struct box *b = &s->boxes[who], *first;
	enum hub_continuity c;

	if (!j->given.has_writer) {
		j->given.has_writer = true;
		j->given.writer = who;
		return;
	}
	first = &s->boxes[j->given.writer];
	c = b->is_exact && first->is_exact ? HUB_CONTINUITY_EXACT : HUB_CONTINUITY_NOT_EXACT;
	if (b->build != first->build)
		c = HUB_CONTINUITY_OTHER_BUILD;
	j->given.continuity = c > j->given.continuity ? c : j->given.continuity;
}

void watch_done(struct sim *s, size_t job, const struct answer *a)
{
	struct cjob *j = &s->jobs[job];
	unsigned said = 0;

	while (said < HUB_CONTINUITY_COUNT && !span_is(a->receipt.continuity, hub_continuity_names[said]))
		said++;
	if (a->usage.completion_tokens > j->given.prefix && !j->is_ended)
		wrote(s, j, j->given.to);
	if (said < j->given.continuity)
		sim_violation(s, "the answer of job %zu is \"%s\", its receipt says \"%.*s\"", job,
			hub_continuity_names[j->given.continuity], SPAN_FMT(a->receipt.continuity));
}

/* ---- what happens ---- */

void watch_dispatched(struct sim *s, const struct hub_action *act, size_t job)
{
	struct cjob *j = &s->jobs[job];
	size_t who = 0;

	if (act->job.attempt <= j->attempts)
		return; /* said again */
	while (who < s->n_boxes && !span_is(act->agent, s->boxes[who].id))
		who++;
	s->boxes[who].watch[job % s->knobs.n_models].n_given[job]++;
	dispatched_to(s, who, job);
	failed_here(s, who, act, job);
	poison_to(s, who, job);
	if (view_of(s, job).attempt < act->job.attempt) { /* beside the first */
		j->second_to = who;
		j->second_attempt = act->job.attempt;
		j->second_epoch = act->job.epoch;
		j->second_prefix = act->job.n_prefix;
		j->second_at = s->now;
		s->n_hedged++;
		return;
	}
	if (j->attempts > 0 && act->job.n_prefix > j->given.prefix)
		wrote(s, j, j->given.to);
	j->given.prefix = act->job.n_prefix;
	j->given.to = who;
	j->given.at = s->now;
	j->given.epoch = act->job.epoch;
	j->given.attempt = act->job.attempt;
	j->failed_at = 0;
}

/* The hub says whose the job is from now on: a second attempt's, perhaps. */
void watch_recorded(struct sim *s, struct span id, uint64_t attempt)
{
	size_t job = sim_job_of(s, id);
	struct cjob *j = job != SIZE_MAX ? &s->jobs[job] : NULL;

	if (j == NULL || j->second_attempt == 0 || j->second_attempt != attempt)
		return;
	j->given_last = j->given;
	if (j->second_prefix > j->given.prefix)
		wrote(s, j, j->given.to);
	j->given.to = j->second_to;
	j->given.prefix = j->second_prefix;
	j->given.epoch = j->second_epoch;
	j->given.attempt = attempt;
	j->given.at = j->second_at;
	j->second_attempt = 0;
}

/* A hub that starts again without the record knows of the first only, who writes on. */
void watch_record_lost(struct sim *s, size_t job, uint64_t attempt)
{
	struct cjob *j = &s->jobs[job];

	if (j->given.attempt == attempt && j->given_last.attempt + 1 == attempt && attempt > 1)
		j->given = j->given_last;
}

static bool is_second(const struct sim *s, size_t who, size_t job, const struct job_event *e)
{
	const struct cjob *j = &s->jobs[job];

	return j->second_attempt == e->attempt && j->second_to == who && j->second_epoch == e->epoch &&
	       span_is(view_of(s, job).second_agent, s->boxes[who].id);
}

/* Before the hub hears it. */
void watch_event(struct sim *s, size_t who, const struct job_event *e)
{
	size_t job = sim_job_of(s, e->job);
	struct cjob *j = job != SIZE_MAX ? &s->jobs[job] : NULL;
	struct watch *w;
	bool was_failing;

	if (j == NULL || (e->type != JOB_EVENT_DONE && e->type != JOB_EVENT_FAILED && e->type != JOB_EVENT_REJECTED))
		return;
	if (is_second(s, who, job, e))
		j->kills += e->code == CODE_ENGINE_CRASHED;
	if (j->given.to != who || j->given.attempt != e->attempt || j->given.epoch != e->epoch || !is_current(s, job))
		return;
	w = &s->boxes[who].watch[job % s->knobs.n_models];
	if (e->type == JOB_EVENT_DONE) {
		w->n_good++;
		w->streak = 0;
		return;
	}
	j->failed_at = s->now;
	j->kills += e->code == CODE_ENGINE_CRASHED;
	if ((e->code != CODE_BATCH_FAILED && e->code != CODE_ENGINE_CRASHED) || w->n_given[job] != 1)
		return;
	if (e->code == CODE_ENGINE_CRASHED && j->given.at <= w->failed_at + s->persist_delay)
		return; /* one death fails all that ran */
	w->failed_at = s->now;
	was_failing = is_failing(w);
	w->streak++;
	if (!was_failing && is_failing(w))
		w->failing_at = s->now;
}
