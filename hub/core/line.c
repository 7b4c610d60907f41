/* line.c - the order in which jobs wait for a model.
 *
 * Three levels: high, normal, low.  The most urgent level in which some job fits the agent
 * that looks is served.  When a user has had nothing served at a level for age_ms its first job
 * there rises by one.  So the oldest job of a user waits 2 age_ms for more urgent work at most,
 * then for its turn, and another one follows each age_ms.  It is the user that ages, not the job:
 * jobs of a user with little weight wait long by right, and must not overtake others for that.
 *
 * Within a level users take turns by deficit round robin (M. Shreedhar, G. Varghese, "Efficient
 * Fair Queueing using Deficit Round Robin", SIGCOMM 1995): each visit brings a user quantum
 * times its weight of credit, in tokens, and it is served while its next job costs no more than
 * it has.  A job costs what its prompt and its answer are expected to take; what it took in the
 * end is put right at the user's next visit (users_settle()).  A visit that serves nobody adds
 * credit which some later one uses up, so a pick takes O(1 + cost / quantum) visits on average.
 *
 * A user's jobs wait in flows by what labels they require, or two jobs could stand in each
 * other's way: the agent that looks tries the first few of each flow only.  So many users that
 * have nothing for it are passed over; then any fitting flow is taken, whoever's turn it is:
 * better unfair than idle.
 *
 * In a flow jobs go in the order of submission.  Those that were under way already, and those
 * that rose, go to its front. */
#include "core.h"

#include <stdlib.h>

#define LOOK_JOBS 8      /* of the front, and of the rest of a flow */
#define LOOK_USERS 64    /* without a job that fits */
#define LOOK_BACK 32     /* places, to put a job in order at the front */
#define MAX_ROUNDS 64    /* visits that save up for one job */
#define USUAL_OUTPUT 256 /* tokens, until there were jobs */
#define USUAL_BYTES 4.0  /* of a token */

struct account {            /* one user's jobs in one queue */
	struct node node;   /* hub.accounts */
	struct list ring;   /* queue.ring */
	struct list by_age; /* queue.by_age */
	uint64_t served_ms; /* last, or when it began to wait */
	struct list flows;
	struct queue *queue;
	struct user *user;
	int64_t credit;  /* tokens */
	bool is_visited; /* it has got the credit of this visit */
};

struct flow {
	struct list in_account, in_lane;
	struct account *account;
	size_t lane;
	struct list front, rest; /* struct job.place */
};

static const unsigned level_of[] = { [PRIORITY_HIGH] = 0, [PRIORITY_NORMAL] = 1, [PRIORITY_LOW] = 2 };

void line_init(struct queue *q)
{
	list_init(&q->ring);
	list_init(&q->by_age);
	for (size_t i = 0; i < QUEUE_LANES; i++)
		list_init(&q->lanes[i]);
	q->n = 0;
}

/* ---- cost and level ---- */

uint64_t line_cost(const struct model *m, uint64_t prompt_bytes, uint64_t max_tokens)
{
	double output = m->n_usual > 0 ? m->output_tokens : USUAL_OUTPUT;
	double bytes = m->bytes_per_token > 0.1 ? m->bytes_per_token : USUAL_BYTES;

	if (max_tokens > 0 && (double)max_tokens < output)
		output = (double)max_tokens;
	return 1 + (uint64_t)((double)prompt_bytes / bytes + output);
}

unsigned line_level(const struct job *j)
{
	return level_of[j->priority] - j->n_rises;
}

/* ---- accounts and flows ---- */

static uint64_t account_hash(const struct hub *h, const struct queue *q, const struct user *u)
{
	return rng_mix(rng_mix(h->hash_seed, (uint64_t)(uintptr_t)q), (uint64_t)(uintptr_t)u);
}

static struct account *account_get(struct hub *h, struct queue *q, struct user *u)
{
	uint64_t hash = account_hash(h, q, u);
	struct account *acc;

	for (struct node *n = table_first(&h->accounts, hash); n != NULL; n = table_next(n)) {
		acc = CONTAINER(n, struct account, node);
		if (acc->queue == q && acc->user == u)
			return acc;
	}
	acc = calloc(1, sizeof(*acc));
	if (acc == NULL)
		return NULL;
	acc->queue = q;
	acc->user = u;
	list_init(&acc->flows);
	list_add_tail(&q->ring, &acc->ring);
	list_add_tail(&q->by_age, &acc->by_age);
	acc->served_ms = h->now_ms;
	table_add(&h->accounts, hash, &acc->node);
	return acc;
}

static void account_free(struct hub *h, struct account *acc)
{
	if (!list_empty(&acc->flows))
		return;
	list_del(&acc->ring);
	list_del(&acc->by_age);
	table_del(&h->accounts, &acc->node);
	free(acc);
}

static void flow_free(struct hub *h, struct flow *f)
{
	if (!list_empty(&f->front) || !list_empty(&f->rest))
		return;
	list_del(&f->in_account);
	list_del(&f->in_lane);
	account_free(h, f->account);
	free(f);
}

/* Lane 0 is for those that go anywhere; others share one when there are many. */
static size_t lane_of(const struct job *j)
{
	const struct submit *s = j->submit;
	struct span label = j->variant != NULL ? span_of(j->variant->config->label) : SPAN_NONE;
	uint64_t hash = label.n > 0 ? table_hash(0, label) : 0;

	for (size_t i = 0; i < s->n_require; i++)
		hash = table_hash(hash, s->require[i]);
	return s->n_require == 0 && label.n == 0 ? 0 : 1 + (size_t)(hash % (QUEUE_LANES - 1));
}

static struct flow *flow_get(struct hub *h, struct queue *q, struct job *j)
{
	struct account *acc = account_get(h, q, j->owner);
	size_t lane = lane_of(j);
	struct flow *f;

	if (acc == NULL)
		return NULL;
	LIST_EACH(l, &acc->flows)
	{
		f = CONTAINER(l, struct flow, in_account);
		if (f->lane == lane)
			return f;
	}
	f = calloc(1, sizeof(*f));
	if (f == NULL) {
		account_free(h, acc);
		return NULL;
	}
	f->account = acc;
	f->lane = lane;
	list_init(&f->front);
	list_init(&f->rest);
	list_add_tail(&acc->flows, &f->in_account);
	list_add_tail(&q->lanes[lane], &f->in_lane);
	return f;
}

/* By rank; among very many, at the end of the front. */
static void add_front(struct flow *f, struct job *j)
{
	struct list *at = f->front.prev;
	size_t n = 0;

	while (at != &f->front && n++ < LOOK_BACK && CONTAINER(at, struct job, place)->rank > j->rank)
		at = at->prev;
	list_add_after(n < LOOK_BACK ? at : f->front.prev, &j->place);
}

void line_add(struct hub *h, struct job *j)
{
	unsigned level = line_level(j);
	struct queue *q = &j->model->queue[level];
	struct flow *f = flow_get(h, q, j);

	if (f == NULL) { /* out of memory: it comes again */
		j->is_resting = true;
		j->not_before_ms = h->now_ms + h->config.retry_max_ms;
		return;
	}
	if (j->attempt > 0 || j->n_rises > 0)
		add_front(f, j);
	else
		list_add_tail(&f->rest, &j->place);
	j->flow = f;
	j->level = level;
	q->n++;
	h->waiting[level]++;
}

void line_remove(struct hub *h, struct job *j)
{
	struct flow *f = j->flow;

	if (f == NULL)
		return;
	list_del(&j->place);
	j->flow = NULL;
	f->account->queue->n--;
	h->waiting[j->level]--;
	flow_free(h, f);
}

/* ---- who is next ---- */

static uint64_t price(const struct hub *h, const struct job *j)
{
	uint64_t most = h->config.quantum * MAX_ROUNDS;

	return j->is_charged ? 0 : j->cost < most ? j->cost : most;
}

static struct job *first_of(struct hub *h, struct list *jobs, const struct hold *o)
{
	size_t n = 0;

	LIST_EACH(l, jobs)
	{
		struct job *j = CONTAINER(l, struct job, place);

		if (route_fits(h, j, o->agent))
			return j;
		if (++n == (RULE(h, LOOK) ? LOOK_JOBS : 1))
			break;
	}
	return NULL;
}

static struct job *flow_first(struct hub *h, struct flow *f, const struct hold *o)
{
	struct job *j = first_of(h, &f->front, o);

	return j != NULL ? j : first_of(h, &f->rest, o);
}

static struct job *account_first(struct hub *h, struct account *acc, const struct hold *o)
{
	struct job *first = NULL;

	LIST_EACH(l, &acc->flows)
	{
		struct job *j = flow_first(h, CONTAINER(l, struct flow, in_account), o);

		if (j != NULL && (first == NULL || j->rank < first->rank))
			first = j;
		if (!RULE(h, LOOK))
			break;
	}
	return first;
}

/* What its jobs took beyond what was expected comes off first, or is given back. */
static void visit(const struct hub *h, struct account *acc)
{
	int64_t quantum = (int64_t)(h->config.quantum * users_weight(acc->user));

	acc->is_visited = true;
	acc->credit += quantum;
	if (acc->user == NULL)
		return;
	acc->credit -= acc->user->owed;
	acc->user->owed = 0;
	if (acc->credit < -MAX_ROUNDS * quantum)
		acc->credit = -MAX_ROUNDS * quantum;
}

static bool has_credit(const struct hub *h, struct account *acc, const struct job *j)
{
	if (!acc->is_visited)
		visit(h, acc);
	if (!RULE(h, TURNS) || acc->credit >= (int64_t)price(h, j))
		return true;
	acc->is_visited = false;
	return false;
}

static struct job *by_turns(struct hub *h, struct queue *q, const struct hold *o)
{
	struct list *last, *l = q->ring.next;

	for (size_t n_passed = 0; l != &q->ring && n_passed < LOOK_USERS;) {
		struct account *acc = CONTAINER(l, struct account, ring);
		struct job *j = account_first(h, acc, o);

		if (j != NULL && has_credit(h, acc, j))
			return j;
		last = l->prev;
		if (j != NULL) { /* its turn is over */
			list_del(l);
			list_add_tail(&q->ring, l);
			l = last->next;
		} else {
			n_passed++;
			l = l->next;
		}
	}
	return NULL;
}

static struct job *any(struct hub *h, struct queue *q, const struct hold *o)
{
	for (size_t i = 0; i < QUEUE_LANES; i++) {
		struct list *lane = &q->lanes[i], *first = lane->next;
		struct job *j = first != lane ? flow_first(h, CONTAINER(first, struct flow, in_lane), o) : NULL;

		if (j == NULL)
			continue;
		list_del(first);
		list_add_tail(lane, first);
		return j;
	}
	return NULL;
}

/* ---- who has waited too long ---- */

static void served(const struct hub *h, struct account *acc)
{
	acc->served_ms = h->now_ms;
	list_del(&acc->by_age);
	list_add_tail(&acc->queue->by_age, &acc->by_age);
}

static struct job *oldest(struct account *acc)
{
	struct job *first = NULL;

	LIST_EACH(l, &acc->flows)
	{
		struct flow *f = CONTAINER(l, struct flow, in_account);
		struct list *at = !list_empty(&f->front) ? f->front.next : f->rest.next;
		struct job *j = CONTAINER(at, struct job, place);

		if (first == NULL || j->rank < first->rank)
			first = j;
	}
	return first;
}

static void rise(struct hub *h, struct queue *q)
{
	while (!list_empty(&q->by_age)) {
		struct account *acc = CONTAINER(q->by_age.next, struct account, by_age);
		struct job *j;

		if (h->now_ms - acc->served_ms < h->config.age_ms)
			return;
		j = oldest(acc);
		served(h, acc);
		line_remove(h, j);
		j->n_rises++;
		line_add(h, j);
	}
}

struct job *line_first(struct hub *h, const struct hold *o, size_t *ret_level)
{
	for (size_t level = 1; RULE(h, AGING) && h->config.age_ms > 0 && level < PRIORITY_COUNT; level++)
		rise(h, &o->model->queue[level]);
	for (size_t level = 0; level < PRIORITY_COUNT; level++) {
		struct queue *q = &o->model->queue[level];
		struct job *j = q->n > 0 ? by_turns(h, q, o) : NULL;

		if (j == NULL && q->n > 0 && RULE(h, LOOK))
			j = any(h, q, o);
		*ret_level = level;
		if (j != NULL)
			return j;
	}
	return NULL;
}

bool line_is_before(const struct hub *h, const struct job *a, const struct job *b)
{
	uint64_t x = a->owner != NULL ? meter_sum(&a->owner->served, h->now_ms) / users_weight(a->owner) : 0;
	uint64_t y = b->owner != NULL ? meter_sum(&b->owner->served, h->now_ms) / users_weight(b->owner) : 0;

	if (a->owner == b->owner || x == y || !RULE(h, TURNS))
		return a->rank < b->rank;
	return x < y;
}

void line_given(struct hub *h, struct job *j)
{
	if (j->flow != NULL) {
		j->flow->account->credit -= (int64_t)price(h, j);
		served(h, j->flow->account);
	}
	if (j->owner != NULL && !j->is_charged)
		meter_add(&j->owner->served, h->now_ms, j->cost);
	if (j->flow != NULL)
		meter_add(&h->turns.left, h->now_ms, 1);
	j->is_charged = true;
}
