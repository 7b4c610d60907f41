/* Who may be loaded, and who has to go.
 *
 * What counts as used is what the kernel cannot take back by itself (the pages of files it
 * can, so these are not in it), with two changes.  What the children of the agent hold is
 * taken out; in its place stands for each what it may come to hold: the estimate for its
 * model, or more if it has more.  So a model that is just being loaded counts in full, one
 * whose weights are mapped counts though the kernel calls them reclaimable, and what has
 * ended counts no longer, however old the sample.
 *
 * Two scopes are looked at, the box and the tightest cgroup; the one that leaves less room
 * decides.  What is not known limits nothing.
 *
 * A model that jobs wait for may make idle ones go, least recently used first; when the idle
 * ones are not enough, busy ones end what came before and then go.  One that an operator wants
 * may do the same; one that nobody waits for makes nobody go. */
#include "agent_core.h"

#define MIB(x) ((unsigned long long)(((x) + (((uint64_t)1 << 20) - 1)) >> 20))
#define SLACK 32 /* a model that did not fit is tried again when this part of the limit is free besides */

/* ---- figures ---- */

static uint64_t need_of(const struct engine *e)
{
	return footprint_total(&e->footprint);
}

static uint64_t claim_of(const struct engine *e)
{
	return engine_has_child(e) ? max_u64(need_of(e), e->agent->sample.engine_anon[e->index]) : 0;
}

static uint64_t minus(uint64_t x, uint64_t y)
{
	return x > y ? x - y : 0;
}

static uint64_t with_claims(const struct agent *a, uint64_t used)
{
	uint64_t held = 0, claimed = 0;

	for (size_t i = 0; i < a->n_engines; i++) {
		held += a->sample.engine_anon[i];
		claimed += claim_of(&a->engines[i]);
	}
	return minus(used, held) + claimed;
}

static uint64_t limit_of(const struct agent_limit *l, uint64_t total)
{
	return l->bytes != 0 ? min_u64(l->bytes, total) : l->percent != 0 ? total / 100 * l->percent : total;
}

struct memory_view memory_see(const struct agent *a, const struct agent_limit *limit)
{
	const struct agent_sample *s = &a->sample;
	const struct hardware *h = a->config.hardware;
	uint64_t box = s->mem_available != 0 && h != NULL ? h->mem_total : 0;
	struct memory_view v = { .total = box, .used = with_claims(a, minus(box, s->mem_available)) }, group;

	if (limit->bytes == 0 && limit->percent == 0)
		return (struct memory_view){ 0 };
	v.limit = limit_of(limit, v.total);
	v.is_limited = box != 0;
	if (s->cgroup_limit == 0)
		return v;
	group = (struct memory_view){ .total = s->cgroup_limit,
		.limit = limit_of(limit, s->cgroup_limit),
		.used = with_claims(a, s->cgroup_used),
		.is_cgroup = true,
		.is_limited = true };
	if (!v.is_limited || (int64_t)(group.limit - group.used) < (int64_t)(v.limit - v.used))
		return group;
	return v;
}

static bool has_room(const struct memory_view *v, uint64_t need)
{
	return !v->is_limited || (v->used <= v->limit && need <= v->limit - v->used);
}

/* With all gone that can be made to go: unpinned ones, now or when they are loaded or done. */
static struct memory_view without_others(const struct agent *a, const struct engine *e, const struct agent_limit *limit)
{
	struct memory_view v = memory_see(a, limit);

	for (size_t i = 0; i < a->n_engines; i++)
		if (&a->engines[i] != e && !a->engines[i].model.is_pinned)
			v.used = minus(v.used, claim_of(&a->engines[i]));
	return v;
}

static struct span too_little(struct agent *a, const struct engine *e, const struct memory_view *v, const char *limit)
{
	const struct footprint *f = &e->footprint;

	return OUT_TEXT(a,
		"it needs %llu MiB (weights %llu, KV cache %llu for %llu x %llu tokens, work %llu); %llu MiB are taken and "
		"%s is "
		"%llu of %llu MiB (%s): lower context, parallel or keep, or give it more",
		MIB(need_of(e)), MIB(f->weights), MIB(f->kv), (unsigned long long)f->parallel, (unsigned long long)f->n_ctx,
		MIB(f->work), MIB(v->used), limit, MIB(v->limit), MIB(v->total), v->is_cgroup ? "cgroup" : "box");
}

/* ---- admission ---- */

static bool admits(
	struct agent *a, const struct engine *e, const struct agent_limit *limit, const char *name, struct span *ret_why)
{
	struct memory_view v = engine_has_child(e) ? memory_see(a, limit) : without_others(a, e, limit);

	if (has_room(&v, engine_has_child(e) ? 0 : need_of(e)))
		return true;
	*ret_why = engine_has_child(e)
			   ? OUT_TEXT(a, "%llu MiB of memory are taken and %s is %llu of %llu MiB (%s): try again later",
				     MIB(v.used), name, MIB(v.limit), MIB(v.total), v.is_cgroup ? "cgroup" : "box")
			   : too_little(a, e, &v, name);
	return false;
}

bool memory_admits(struct agent *a, const struct engine *e, enum priority priority, struct span *ret_why)
{
	const struct agent_config *c = &a->config;

	return admits(a, e, &c->memory_hard, "memory.hard", ret_why) &&
	       (priority != PRIORITY_LOW || admits(a, e, &c->memory_soft, "memory.soft", ret_why));
}

/* ---- who goes ---- */

static bool may_go(const struct engine *e)
{
	return e->state == ENGINE_STATE_READY && !e->model.is_pinned;
}

static bool is_idle(struct engine *e)
{
	return (!RULE(e->agent, SPARE) || engine_n_jobs(e) == 0) && !engine_has_work(e);
}

static struct engine *least_used(struct agent *a, bool is_idle_wanted)
{
	struct engine *found = NULL;

	for (size_t i = 0; i < a->n_engines; i++) {
		struct engine *e = &a->engines[i];

		if (!may_go(e) || is_idle(e) != is_idle_wanted || (!is_idle_wanted && e->yield_ms != NEVER))
			continue;
		if (found == NULL || e->used_ms < found->used_ms)
			found = e;
	}
	return found;
}

static uint64_t going(const struct agent *a)
{
	uint64_t n = 0;

	for (size_t i = 0; i < a->n_engines; i++)
		if (a->engines[i].state == ENGINE_STATE_STOPPING)
			n += claim_of(&a->engines[i]);
	return n;
}

static void unload(struct engine *e, const char *why)
{
	OUT_LOG(e->agent, SAY_NOTICE, "engine", "model %s: unloaded, %s", e->model.name.p, why);
	engine_stop(e, false);
	e->yield_ms = NEVER;
	report_registration(e->agent, 0);
}

/* ---- who comes ---- */

static bool is_demanded(const struct engine *e)
{
	return e->n_queued > 0 || e->is_told;
}

static struct engine *next_asked(struct agent *a)
{
	struct engine *found = NULL;

	for (size_t i = 0; i < a->n_engines; i++) {
		struct engine *e = &a->engines[i];

		if (!e->is_asked || engine_has_child(e))
			continue;
		if (found == NULL || (is_demanded(e) && !is_demanded(found)) ||
			(is_demanded(e) == is_demanded(found) && e->asked_ms < found->asked_ms))
			found = e;
	}
	return found;
}

/* Makes who is idle go until it is enough; then lets who is busy end what came before. */
static void make_room(struct agent *a, const struct engine *e, const struct memory_view *v)
{
	uint64_t missing = v->used + need_of(e) - v->limit, coming = going(a), idle = 0;
	struct engine *other;

	for (size_t i = 0; i < a->n_engines; i++)
		if (may_go(&a->engines[i]) && is_idle(&a->engines[i]))
			idle += claim_of(&a->engines[i]);
	if (coming + idle >= missing) {
		while (coming < missing && (other = least_used(a, true)) != NULL) {
			coming += claim_of(other);
			unload(other, "its memory is needed for another model");
		}
		return;
	}
	for (size_t i = 0; i < a->n_engines; i++)
		if (a->engines[i].yield_ms != NEVER && !is_idle(&a->engines[i]))
			coming += claim_of(&a->engines[i]);
	while (coming + idle < missing && (other = least_used(a, false)) != NULL) {
		coming += claim_of(other);
		other->yield_ms = e->asked_ms;
	}
}

/* False: it has to wait, and so have all who were asked for later. */
static bool place(struct agent *a, struct engine *e)
{
	const struct agent_limit *hard = &a->config.memory_hard;
	struct memory_view v = memory_see(a, hard), alone;

	if (!RULE(a, MEMORY) || has_room(&v, need_of(e))) {
		engine_start(e);
		return true;
	}
	alone = without_others(a, e, hard);
	if (!has_room(&alone, need_of(e))) {
		engine_fail_short(e, too_little(a, e, &alone, "memory.hard"));
		return true;
	}
	if (!is_demanded(e)) {
		e->is_asked = false;
		OUT_LOG(a, SAY_NOTICE, "engine",
			"model %s is not loaded: %llu MiB are needed, %llu are free below memory.hard", e->model.name.p,
			MIB(need_of(e)), MIB(minus(v.limit, v.used)));
		report_registration(a, 0);
		return true;
	}
	make_room(a, e, &v);
	return false;
}

/* Says who could be loaded if asked for, and takes up who was to be loaded and did not fit. */
static void look_again(struct agent *a)
{
	struct memory_view v = memory_see(a, &a->config.memory_hard);

	for (size_t i = 0; i < a->n_engines; i++) {
		struct engine *e = &a->engines[i];
		struct memory_view alone = without_others(a, e, &a->config.memory_hard);

		if (engine_has_child(e) || e->is_asked || e->timer_ms != NEVER)
			continue;
		if (!e->is_short && !has_room(&alone, need_of(e)))
			engine_fail_short(e, too_little(a, e, &alone, "memory.hard"));
		if (e->is_short && has_room(&alone, need_of(e) + alone.limit / SLACK)) {
			e->is_short = e->has_failed = false;
			e->reason[0] = '\0';
			report_registration(a, 0);
		}
		if (!e->is_short && e->is_wanted && has_room(&v, need_of(e) + v.limit / SLACK))
			engine_ask(e);
	}
}

/* Others on the box have grown: better to give back than to be killed. */
static void give_back(struct agent *a)
{
	struct memory_view v = memory_see(a, &a->config.memory_hard);
	struct engine *e = least_used(a, true);

	if (!has_room(&v, 0) && going(a) == 0 && e != NULL)
		unload(e, "memory is short");
}

void memory_tick(struct agent *a)
{
	struct engine *waits = NULL;

	if (a->stop != STOP_NO || a->phase == AGENT_PHASE_START)
		return;
	if (a->has_news_of_memory) {
		look_again(a);
		give_back(a);
	}
	a->has_news_of_memory = false;
	for (size_t i = 0; i < a->n_engines; i++)
		if (is_demanded(&a->engines[i]) && !engine_has_child(&a->engines[i]) && a->engines[i].timer_ms == NEVER)
			engine_ask(&a->engines[i]);
	while ((waits = next_asked(a)) != NULL && place(a, waits))
		;
	for (size_t i = 0; waits == NULL && i < a->n_engines; i++)
		a->engines[i].yield_ms = NEVER;
}
