/* sessions.c - conversations, and the agent that has computed each one so far.
 *
 * A session is a name that a user gives to requests that continue each other; what it may reuse belongs
 * to one model.  It points at a cache (affinity.c): that of the agent where its last request
 * began.  The next one goes there as long as that agent can take it, by any policy; else to
 * whichever agent the policy chooses, and the session has moved.
 *
 * Affinity never loads an agent beyond the cap (sessions.max_load of its slots, credit aside).  When
 * the agent is at it a request waits for it alone: no longer than computing the lost part anew
 * would take elsewhere, so that whatever happens costs at most twice the better of the
 * two (A. Karlin et al., "Competitive Snoopy Caching", 1988), no longer than sessions.wait_ms, and not behind more
 * requests than the agent has slots.  Then it is in the queue as any other.
 *
 * Sessions without live requests go when they were not used for sessions.ttl_ms, or when there are
 * too many: the one not used for longest first. */
#include "core.h"

#include <stdlib.h>

#define WAIT_MIN_MS 25 /* less is not worth a timer */

/* ---- the table ---- */

static struct span user_of(const struct session *s)
{
	return span_mem(s->text, s->n_user);
}

static struct span model_of(const struct session *s)
{
	return span_mem(s->text + s->n_user, s->n_model);
}

static struct span id_of(const struct session *s)
{
	return span_mem(s->text + s->n_user + s->n_model, s->n_id);
}

static uint64_t hash_of(const struct hub *h, struct span user, struct span model, struct span id)
{
	return table_hash(table_hash(table_hash(h->hash_seed, user), model), id);
}

static struct session *find(const struct hub *h, struct span user, struct span model, struct span id)
{
	for (struct node *n = table_first(&h->sessions, hash_of(h, user, model, id)); n != NULL; n = table_next(n)) {
		struct session *s = CONTAINER(n, struct session, node);

		if (span_eq(id, id_of(s)) && span_eq(user, user_of(s)) && span_eq(model, model_of(s)))
			return s;
	}
	return NULL;
}

static void session_free(struct hub *h, struct session *s)
{
	table_del(&h->sessions, &s->node);
	list_del(&s->place);
	h->n_sessions--;
	free(s->origin);
	free(s);
}

static void session_end(struct hub *h, struct session *s)
{
	session_keep(h, s, NULL);
	session_free(h, s);
}

static bool is_over(const struct hub *h, const struct session *s)
{
	return s->n_jobs == 0 && h->now_ms >= s->used_ms + h->config.session_ttl_ms;
}

void session_expire(struct hub *h)
{
	struct list *idle = &h->idle_sessions;

	while (!list_empty(idle) && is_over(h, CONTAINER(idle->next, struct session, place))) {
		session_end(h, CONTAINER(idle->next, struct session, place));
		h->session_stats.expired++;
	}
	timer_set(&h->timers, &h->session_timer,
		list_empty(idle) ? UINT64_MAX
				 : CONTAINER(idle->next, struct session, place)->used_ms + h->config.session_ttl_ms);
}

static bool make_room(struct hub *h)
{
	if (h->n_sessions < h->config.max_sessions)
		return true;
	if (h->config.max_sessions == 0 || list_empty(&h->idle_sessions))
		return false; /* all have live requests: this one does without */
	session_end(h, CONTAINER(h->idle_sessions.next, struct session, place));
	h->session_stats.displaced++;
	return true;
}

static void text_add(struct session *s, size_t *at, struct span t)
{
	memcpy(s->text + *at, t.p, t.n);
	*at += t.n;
}

static struct session *session_new(struct hub *h, struct span user, struct span model, struct span id)
{
	struct session *s = make_room(h) ? calloc(1, sizeof(*s) + user.n + model.n + id.n) : NULL;
	size_t at = 0;

	if (s == NULL)
		return NULL;
	s->n_user = (uint8_t)user.n, s->n_model = (uint8_t)model.n, s->n_id = (uint8_t)id.n; /* at most PROTO_MAX_ID */
	text_add(s, &at, user);
	text_add(s, &at, model);
	text_add(s, &at, id);
	list_init(&s->place);
	table_add(&h->sessions, hash_of(h, user, model, id), &s->node);
	h->n_sessions++;
	h->session_stats.created++;
	return s;
}

void session_drop_all(struct hub *h)
{
	LIST_EACH(l, &h->idle_sessions)
	session_free(h, CONTAINER(l, struct session, place));
	LIST_EACH(l, &h->busy_sessions)
	session_free(h, CONTAINER(l, struct session, place));
}

struct session *session_get(struct hub *h, struct span user, struct span model, struct span id)
{
	struct session *s = find(h, user, model, id);

	return s != NULL ? s : session_new(h, user, model, id);
}

void session_idle(struct hub *h, struct session *s)
{
	s->used_ms = h->now_ms;
	list_del(&s->place);
	list_add_tail(&h->idle_sessions, &s->place);
	if (h->session_timer.pos == 0)
		session_expire(h);
}

/* ---- a job's time in it ---- */

void session_join(struct hub *h, struct job *j)
{
	struct span user = span_of(j->user), model = span_of(j->model_name), id = j->submit->session;
	struct session *s;

	if (id.n == 0 || j->is_embedding || !j->sampling.cache_prompt)
		return;
	session_expire(h);
	s = session_get(h, user, model, id);
	if (s == NULL)
		return;
	s->n_jobs++;
	s->used_ms = h->now_ms;
	list_del(&s->place);
	list_add_tail(&h->busy_sessions, &s->place);
	j->session = s;
}

static void count(struct hub *h, const struct job *j)
{
	struct hub_session_stats *c = &h->session_stats;

	c->kept += j->session_state == HUB_SESSION_KEPT;
	c->moved += j->session_state == HUB_SESSION_MOVED;
	if (j->session_state == HUB_SESSION_MOVED)
		c->moves[j->session_why]++;
}

void session_leave(struct hub *h, struct job *j)
{
	struct session *s = j->session;

	if (s == NULL)
		return;
	count(h, j);
	j->session = NULL;
	s->used_ms = h->now_ms;
	s->n_turns++;
	if (--s->n_jobs == 0)
		session_idle(h, s);
}

/* What the engine holds of it now: all tokens but the last, which it never computed on. */
void session_done(struct hub *h, struct job *j)
{
	const struct hold *o = models_hold(j->agent, j->model);

	affinity_done(h, j);
	if (j->session == NULL || o == NULL || j->session->cache != o->cache.id)
		return;
	j->session->tokens = j->usage.prompt_tokens + j->n_ids;
	j->session->fresh_at = o->cache.n_fresh;
}

void session_receipt(const struct job *j, struct receipt *r)
{
	r->session = span_of(hub_session_state_names[j->session_state]);
	r->session_why = span_of(hub_move_names[j->session_why]);
	r->expected_cached = j->expected_cached;
	if (r->session.n == 0)
		r->has &= ~(UINT64_C(1) << RECEIPT_SESSION);
	if (j->session_why == HUB_MOVE_NONE)
		r->has &= ~(UINT64_C(1) << RECEIPT_SESSION_WHY);
}

/* ---- where it belongs ---- */

static uint64_t cap_of(const struct hub *h, const struct hold *o)
{
	uint64_t slots = o->agent->reg->slots;
	uint64_t cap = slots * h->config.session_max_load / 100 * admin_weight(o->agent) / 100;

	return cap > 0 ? cap : slots > 0;
}

static bool has_room(const struct hub *h, const struct hold *o)
{
	if (!RULE(h, LOAD_CAP))
		return true;
	return !list_empty(&o->ring) && o->n_jobs < models_slots(o) && o->agent->n_jobs < cap_of(h, o);
}

/* Room aside, why its agent cannot take it; NONE: it can. */
static enum hub_move why_not(const struct hub *h, struct job *j, const struct hold *o)
{
	const struct agent *a;

	if (o == NULL || o->agent->is_behind)
		return HUB_MOVE_CACHE;
	a = o->agent;
	if (a->quarantined)
		return HUB_MOVE_QUARANTINE;
	if (a->life != LIFE_ONLINE || a->is_behind)
		return HUB_MOVE_LOST;
	if (a->draining || !a->routable)
		return HUB_MOVE_DRAIN;
	if (j->avoid == a && h->now_ms < j->avoid_until_ms)
		return HUB_MOVE_FAILED;
	if (!breaker_lets(o))
		return HUB_MOVE_BREAKER;
	return route_fits(h, j, a) ? HUB_MOVE_NONE : HUB_MOVE_UNFIT;
}

static struct hold *home_of(const struct hub *h, const struct job *j)
{
	if (j->session == NULL || !RULE(h, STICKY))
		return NULL;
	session_look(h, j->session, j->model);
	return affinity_hold(h, j->session->cache);
}

struct hold *session_hold(const struct hub *h, struct job *j)
{
	struct hold *o = home_of(h, j);

	return o != NULL && why_not(h, j, o) == HUB_MOVE_NONE && has_room(h, o) ? o : NULL;
}

/* ---- waiting for it ---- */

static uint64_t patience_ms(const struct hub *h, struct job *j, const struct hold *o)
{
	double ms = (double)affinity_cached(h, j, o->agent) * rates_prefill_ms(o);

	return ms < (double)h->config.session_wait_ms ? (uint64_t)ms : h->config.session_wait_ms;
}

bool session_wait(struct hub *h, struct job *j)
{
	struct hold *o = home_of(h, j);
	uint64_t ms;

	if (j->awaits != NULL)
		return true;
	if (o == NULL || j->has_waited || why_not(h, j, o) != HUB_MOVE_NONE || o->agent->n_waiters >= cap_of(h, o))
		return false;
	ms = patience_ms(h, j, o);
	if (ms < WAIT_MIN_MS)
		return false;
	line_remove(h, j);
	list_add_tail(&o->agent->waiters, &j->place);
	o->agent->n_waiters++;
	j->awaits = o->agent;
	j->await_until_ms = h->now_ms + ms;
	return true;
}

void session_unwait(struct job *j)
{
	if (j->awaits == NULL)
		return;
	j->awaits->n_waiters--;
	j->awaits = NULL;
	j->has_waited = true;
	list_del(&j->place);
}

static bool is_before(const struct job *a, const struct job *b)
{
	static const unsigned rank[] = { [PRIORITY_HIGH] = 0, [PRIORITY_NORMAL] = 1, [PRIORITY_LOW] = 2 };

	return rank[a->priority] != rank[b->priority] ? rank[a->priority] < rank[b->priority] : a->rank < b->rank;
}

/* The waiting job that is next and fits; at most one for each slot waits. */
struct job *session_waiting(const struct hub *h, const struct agent *a)
{
	struct job *best = NULL;

	LIST_EACH(l, &a->waiters)
	{
		struct job *j = CONTAINER(l, struct job, place);

		if ((best == NULL || is_before(j, best)) && session_hold(h, j) != NULL && session_hold(h, j)->agent == a)
			best = j;
	}
	return best;
}

void session_release(struct hub *h, struct agent *a)
{
	while (!list_empty(&a->waiters)) {
		struct job *j = CONTAINER(a->waiters.next, struct job, place);

		session_unwait(j);
		jobs_enqueue(h, j);
	}
}

/* ---- it begins somewhere ---- */

void session_begun(struct hub *h, struct job *j)
{
	const struct hold *o = models_hold(j->agent, j->model);
	struct session *s = j->session;
	enum hub_move why;
	bool is_new;

	if (s != NULL)
		session_look(h, s, j->model);
	j->expected_cached = affinity_cached(h, j, j->agent);
	if (s == NULL || o == NULL)
		return;
	if (s->cache == o->cache.id) {
		if (j->session_state == HUB_SESSION_NONE)
			j->session_state = HUB_SESSION_KEPT;
		return;
	}
	is_new = s->cache == 0 && s->origin == NULL;
	why = s->origin != NULL ? HUB_MOVE_LOST : why_not(h, j, affinity_hold(h, s->cache));
	j->session_state = is_new ? HUB_SESSION_NEW : HUB_SESSION_MOVED;
	j->session_why = is_new ? HUB_MOVE_NONE : why == HUB_MOVE_NONE ? HUB_MOVE_FULL : why;
	s->n_moves += !is_new;
	free(s->origin);
	s->origin = NULL;
	s->cache = o->cache.id;
	s->epoch = j->epoch;
	s->fresh_at = o->cache.n_fresh;
	s->tokens = 0;
	session_keep(h, s, j->agent);
}

/* ---- what others may see ---- */

static void view(
	const struct hub *h, const struct session *s, void (*fn)(void *ctx, const struct hub_session_view *v), void *ctx)
{
	const struct hold *o = affinity_hold(h, s->cache);
	struct hub_session_view v = {
		.session = id_of(s),
		.user = user_of(s),
		.model = model_of(s),
		.agent = o != NULL ? span_of(o->agent->id) : SPAN_NONE,
		.epoch = o != NULL ? s->epoch : 0,
		.tokens = o != NULL && s->tokens != SESSION_WHOLE ? s->tokens : 0,
		.turns = s->n_turns,
		.moves = s->n_moves,
		.jobs = s->n_jobs,
		.used_ms = s->used_ms,
	};

	fn(ctx, &v);
}

void hub_each_session(const struct hub *h, void (*fn)(void *ctx, const struct hub_session_view *v), void *ctx)
{
	for (const struct list *l = h->busy_sessions.prev; l != &h->busy_sessions; l = l->prev)
		view(h, CONTAINER(l, struct session, place), fn, ctx);
	for (const struct list *l = h->idle_sessions.prev; l != &h->idle_sessions; l = l->prev)
		view(h, CONTAINER(l, struct session, place), fn, ctx);
}

struct hub_session_stats hub_session_stats(const struct hub *h)
{
	struct hub_session_stats s = h->session_stats;

	s.live = h->n_sessions;
	return s;
}
