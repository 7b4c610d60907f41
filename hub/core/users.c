/* users.c - what each user may have, and has had.
 *
 * A user is refused more jobs than its limits allow, each with the time after which asking
 * again makes sense.  Rates are buckets that hold a minute's worth and fill steadily.  A request is
 * taken when the bucket of tokens has what it is expected to cost, or is full; what it took in
 * the end is put right when it ends, so the bucket may go below nothing.
 *
 * The queue is shared like the memory of a switch (A. Choudhury, E. Hahne, "Dynamic Queue Length
 * Thresholds for Shared-Memory Packet Switches", 1998): a user may have waiting at most SHARE
 * times as many jobs as there are free places.  So one user alone may fill eight ninths of it,
 * and there is always room for one that comes later. */
#include "core.h"

#include <stdlib.h>

#define MINUTE_MS 60000
#define FILL_MAX_MS (60 * MINUTE_MS) /* counted at once: nothing may overflow */
#define SHARE 8
#define TURN_MS 1000 /* apart, where nothing has been measured */
#define TURN_MIN_MS 100
#define TURN_MAX_MS 60000  /* what anyone is told at most */
#define MAX_OWED (1 << 20) /* tokens */

/* ---- meters ---- */

static void meter_turn(struct meter *m, uint64_t now_ms)
{
	uint64_t gone = now_ms - m->start_ms;

	if (gone < METER_MS)
		return;
	m->before = gone < 2 * METER_MS ? m->now : 0;
	m->now = 0;
	m->start_ms = now_ms - gone % METER_MS;
}

void meter_add(struct meter *m, uint64_t now_ms, uint64_t n)
{
	meter_turn(m, now_ms);
	m->now += n;
}

uint64_t meter_sum(const struct meter *m, uint64_t now_ms)
{
	struct meter x = *m;

	meter_turn(&x, now_ms);
	return x.now + x.before * (METER_MS - (now_ms - x.start_ms)) / METER_MS;
}

uint64_t turns_next(struct turns *t, uint64_t now_ms)
{
	uint64_t n = meter_sum(&t->left, now_ms), step = n > 0 ? METER_MS / n : TURN_MS;

	if (t->last_ms < now_ms)
		t->last_ms = now_ms;
	t->last_ms += step > 0 ? step : 1;
	if (t->last_ms > now_ms + TURN_MAX_MS)
		t->last_ms = now_ms + TURN_MAX_MS;
	return t->last_ms - now_ms < TURN_MIN_MS ? TURN_MIN_MS : t->last_ms - now_ms;
}

/* ---- buckets: parts a ms are units a minute ---- */

static int64_t bucket_cap(uint64_t per_minute)
{
	return (int64_t)(per_minute * MINUTE_MS);
}

static void bucket_fill(struct bucket *b, uint64_t per_minute, uint64_t now_ms)
{
	uint64_t gone = now_ms - b->at_ms;

	b->at_ms = now_ms;
	b->parts += (int64_t)((gone < FILL_MAX_MS ? gone : FILL_MAX_MS) * per_minute);
	if (b->parts > bucket_cap(per_minute))
		b->parts = bucket_cap(per_minute);
}

/* ms until it has n; 0: now.  More than it holds is there when it is full. */
static uint64_t bucket_wait(const struct bucket *b, uint64_t per_minute, uint64_t n)
{
	int64_t need = n < per_minute ? (int64_t)(n * MINUTE_MS) : bucket_cap(per_minute);

	return b->parts >= need ? 0 : (uint64_t)(need - b->parts) / per_minute + 1;
}

static void bucket_take(struct bucket *b, int64_t n)
{
	b->parts -= n * MINUTE_MS;
}

/* ---- users ---- */

static struct user *users_find(const struct hub *h, struct span name)
{
	uint64_t hash = table_hash(h->hash_seed, name);

	for (struct node *n = table_first(&h->users, hash); n != NULL; n = table_next(n)) {
		struct user *u = CONTAINER(n, struct user, node);

		if (span_is(name, u->name))
			return u;
	}
	return NULL;
}

static void user_free(struct hub *h, struct user *u)
{
	table_del(&h->users, &u->node);
	list_del(&u->all);
	free(u);
}

static void trim(struct hub *h)
{
	while (h->n_idle_users > h->config.max_users) {
		user_free(h, CONTAINER(h->idle_users.next, struct user, all));
		h->n_idle_users--;
	}
}

static const struct hub_user_limits *limits_of(const struct hub *h, struct span name)
{
	for (size_t i = 0; i < h->config.n_users; i++)
		if (span_is(name, h->config.users[i].name))
			return &h->config.users[i];
	return &h->config.each;
}

static struct user *user_new(struct hub *h, struct span name)
{
	struct user *u = calloc(1, sizeof(*u));

	if (u == NULL || span_copy(name, u->name, sizeof(u->name)) < 0) {
		free(u);
		return NULL;
	}
	u->limits = *limits_of(h, name);
	u->requests = (struct bucket){ bucket_cap(u->limits.requests_per_minute), h->now_ms };
	u->tokens = (struct bucket){ bucket_cap(u->limits.tokens_per_minute), h->now_ms };
	table_add(&h->users, table_hash(h->hash_seed, name), &u->node);
	list_add_tail(&h->idle_users, &u->all);
	h->n_idle_users++;
	return u;
}

/* The last one seen is the last to be forgotten. */
static struct user *users_get(struct hub *h, struct span name)
{
	struct user *u = users_find(h, name);

	if (u == NULL)
		u = user_new(h, name);
	if (u == NULL || u->n_live > 0)
		return u;
	list_del(&u->all);
	list_add_tail(&h->idle_users, &u->all);
	return u;
}

void users_fini(struct hub *h)
{
	LIST_EACH(l, &h->busy_users)
	user_free(h, CONTAINER(l, struct user, all));
	LIST_EACH(l, &h->idle_users)
	user_free(h, CONTAINER(l, struct user, all));
	table_fini(&h->users);
	table_fini(&h->accounts);
}

/* ---- jobs ---- */

void users_join(struct hub *h, struct job *j)
{
	struct user *u = users_get(h, span_of(j->user));

	j->cost = line_cost(j->model, submit_prompt_bytes(j->submit), j->is_embedding ? 1 : j->sampling.max_tokens);
	j->owner = u;
	if (u == NULL)
		return;
	u->n_jobs++;
	if (u->n_live++ > 0)
		return;
	list_del(&u->all);
	list_add_tail(&h->busy_users, &u->all);
	h->n_idle_users--;
	trim(h);
}

void users_take(struct job *j)
{
	struct user *u = j->owner;

	if (u != NULL && u->limits.requests_per_minute > 0)
		bucket_take(&u->requests, 1);
	if (u != NULL && u->limits.tokens_per_minute > 0)
		bucket_take(&u->tokens, (int64_t)j->cost);
	j->is_paid = true;
}

static void settle(struct hub *h, struct job *j)
{
	struct user *u = j->owner;
	uint64_t prompt = j->usage.prompt_tokens > 0 ? j->usage.prompt_tokens : j->n_tokens;
	uint64_t took = !j->is_charged ? 0 : prompt > 0 ? prompt + j->n_ids : j->n_ids > j->cost ? j->n_ids : j->cost;
	int64_t more = (int64_t)took - (int64_t)j->cost;

	u->n_tokens += took;
	if (u->limits.tokens_per_minute > 0 && j->is_paid)
		bucket_take(&u->tokens, more);
	if (!j->is_charged)
		return;
	u->owed += more;
	u->owed = u->owed > MAX_OWED ? MAX_OWED : u->owed < -MAX_OWED ? -MAX_OWED : u->owed;
	if (more > 0)
		meter_add(&u->served, h->now_ms, (uint64_t)more);
	meter_add(&u->turns.left, h->now_ms, 1);
}

void users_leave(struct hub *h, struct job *j)
{
	struct user *u = j->owner;

	if (u == NULL)
		return;
	settle(h, j);
	j->owner = NULL;
	if (--u->n_live > 0)
		return;
	list_del(&u->all);
	list_add_tail(&h->idle_users, &u->all);
	h->n_idle_users++;
	trim(h);
}

void users_given(struct job *j, bool is_given)
{
	if (j->owner != NULL && j->is_given != is_given)
		j->owner->n_given += is_given ? 1 : (size_t)-1;
	j->is_given = is_given;
}

/* ---- admission ---- */

static enum code refuse(enum code code, enum hub_refusal reason, uint64_t retry_ms, struct verdict *v)
{
	*v = (struct verdict){ reason, retry_ms };
	return code;
}

static enum code check_places(struct hub *h, struct user *u, struct buf *why, struct verdict *v)
{
	const struct hub_user_limits *l = &u->limits;
	uint64_t waiting = u->n_live - u->n_given, free_places = h->config.queue_max - h->counters.queued;

	if (l->max_live > 0 && u->n_live >= l->max_live) {
		buf_addf(why, "you have %llu jobs running or waiting, as many as you may: wait for one to end",
			(unsigned long long)u->n_live);
		return refuse(CODE_RATE_LIMITED, HUB_REFUSAL_USER_JOBS, turns_next(&u->turns, h->now_ms), v);
	}
	if ((l->max_waiting > 0 && waiting >= l->max_waiting) || waiting >= SHARE * free_places) {
		buf_addf(why, "%llu of your jobs are waiting, as many as may: wait until some have begun",
			(unsigned long long)waiting);
		return refuse(CODE_QUEUE_FULL, HUB_REFUSAL_USER_QUEUE, turns_next(&u->turns, h->now_ms), v);
	}
	return CODE_OK;
}

static enum code check_rates(struct hub *h, struct user *u, uint64_t cost, struct buf *why, struct verdict *v)
{
	const struct hub_user_limits *l = &u->limits;
	uint64_t wait;

	if (l->requests_per_minute > 0) {
		bucket_fill(&u->requests, l->requests_per_minute, h->now_ms);
		wait = bucket_wait(&u->requests, l->requests_per_minute, 1);
		if (wait > 0) {
			buf_addf(why, "you may send %llu requests a minute: wait, or send fewer",
				(unsigned long long)l->requests_per_minute);
			return refuse(CODE_RATE_LIMITED, HUB_REFUSAL_REQUESTS, wait, v);
		}
	}
	if (l->tokens_per_minute > 0) {
		bucket_fill(&u->tokens, l->tokens_per_minute, h->now_ms);
		wait = bucket_wait(&u->tokens, l->tokens_per_minute, cost);
		if (wait > 0) {
			buf_addf(why,
				"you may use %llu tokens a minute, and this request may take %llu: wait, shorten it or "
				"lower "
				"max_tokens",
				(unsigned long long)l->tokens_per_minute, (unsigned long long)cost);
			return refuse(CODE_RATE_LIMITED, HUB_REFUSAL_TOKENS, wait, v);
		}
	}
	return CODE_OK;
}

enum code users_admit(struct hub *h, struct span name, uint64_t cost, struct buf *why, struct verdict *v)
{
	struct user *u = users_get(h, name);
	enum code code;

	if (u == NULL)
		return CODE_OK; /* no memory to count with: take() will say so */
	code = check_places(h, u, why, v);
	if (code == CODE_OK)
		code = check_rates(h, u, cost, why, v);
	if (code != CODE_OK) {
		u->n_refused++;
		trim(h);
		return code;
	}
	return CODE_OK;
}

/* ---- views ---- */

static void each(
	const struct hub *h, const struct list *users, void (*fn)(void *ctx, const struct hub_user_view *v), void *ctx)
{
	for (const struct list *l = users->prev; l != users; l = l->prev) {
		const struct user *u = CONTAINER(l, struct user, all);
		struct hub_user_view v = {
			.user = span_of(u->name),
			.limits = &u->limits,
			.waiting = u->n_live - u->n_given,
			.running = u->n_given,
			.jobs = u->n_jobs,
			.refused = u->n_refused,
			.tokens = u->n_tokens,
			.recent_tokens = meter_sum(&u->served, h->now_ms),
		};

		fn(ctx, &v);
	}
}

void hub_each_user(const struct hub *h, void (*fn)(void *ctx, const struct hub_user_view *v), void *ctx)
{
	each(h, &h->busy_users, fn, ctx);
	each(h, &h->idle_users, fn, ctx);
}

struct hub_waiting hub_waiting(const struct hub *h)
{
	struct hub_waiting w;

	memcpy(w.jobs, h->waiting, sizeof(w.jobs));
	return w;
}

uint64_t hub_refusals(const struct hub *h, enum hub_refusal why)
{
	return h->refusals[why];
}
