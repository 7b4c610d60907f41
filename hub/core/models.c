/* models.c - which agent holds which model, and who has room.
 *
 * Each model keeps rings of the holds whose agent can take one more job of it now: where it
 * is ready, is being loaded, or would have to be.  The ready one chosen longest ago is first.  So routing never looks at the
 * whole fleet: an agent enters and leaves the rings of its own few models when its room changes.
 * The same holds stand in two more orders: by expected time (policy cost), the ready ones by
 * the size of their box (policy hardware_aware). */
#include "core.h"

#include <stdlib.h>

struct model *models_find(const struct hub *h, struct span name)
{
	uint64_t hash = table_hash(h->hash_seed, name);

	for (struct node *n = table_first(&h->models, hash); n != NULL; n = table_next(n)) {
		struct model *m = CONTAINER(n, struct model, node);

		if (span_is(name, m->name))
			return m;
	}
	return NULL;
}

struct model *models_asked(const struct hub *h, struct span name)
{
	struct list *first = h->model_list.next;

	if (name.n > 0)
		return models_find(h, name);
	if (list_empty(&h->model_list) || first->next != &h->model_list)
		return NULL;
	return CONTAINER(first, struct model, all);
}

static enum hub_policy policy_of(const struct hub *h, struct span model)
{
	for (size_t i = 0; i < h->config.n_policies; i++)
		if (span_is(model, h->config.policies[i].model))
			return (enum hub_policy)h->config.policies[i].policy;
	return h->config.policy;
}

struct model *models_get(struct hub *h, struct span name)
{
	struct model *m = models_find(h, name);

	if (m != NULL)
		return models_ref(m);
	m = calloc(1, sizeof(*m));
	if (m == NULL || span_copy(name, m->name, sizeof(m->name)) < 0) {
		free(m);
		return NULL;
	}
	list_init(&m->holds);
	for (unsigned w = 0; w < WARMTH_COUNT; w++)
		list_init(&m->rings[w]);
	for (unsigned p = 0; p < PRIORITY_COUNT; p++)
		line_init(&m->queue[p]);
	for (unsigned i = 0; i < COST_CLASSES; i++)
		list_init(&m->classes[i]);
	for (unsigned t = 0; t < TIER_COUNT; t++)
		list_init(&m->tiers[t]);
	m->policy = policy_of(h, name);
	list_add_tail(&h->model_list, &m->all);
	table_add(&h->models, table_hash(h->hash_seed, name), &m->node);
	return models_ref(m);
}

struct model *models_ref(struct model *m)
{
	m->refs++;
	return m;
}

void models_unref(struct hub *h, struct model *m)
{
	if (m == NULL || --m->refs > 0)
		return;
	table_del(&h->models, &m->node);
	list_del(&m->all);
	free(m->paces);
	free(m);
}

static void leave(struct hold *o)
{
	list_del(&o->ring);
	list_del(&o->tier);
	list_del(&o->class);
	if (list_empty(&o->model->classes[o->class_now]))
		o->model->class_bits &= ~(UINT64_C(1) << o->class_now);
}

void models_drop(struct hub *h, struct agent *a)
{
	for (size_t i = 0; i < a->n_holds; i++) {
		list_del(&a->holds[i].of_model);
		leave(&a->holds[i]);
		affinity_cache_drop(h, &a->holds[i]);
		breaker_free(h, &a->holds[i]);
		poison_drop(&a->holds[i]);
		models_unref(h, a->holds[i].model);
	}
	free(a->holds);
	a->holds = NULL;
	a->n_holds = 0;
}

struct hold *models_hold(const struct agent *a, const struct model *m)
{
	for (size_t i = 0; i < a->n_holds; i++)
		if (a->holds[i].model == m)
			return &a->holds[i];
	return NULL;
}

void models_job(struct agent *a, const struct model *m, bool is_given)
{
	struct hold *o = models_hold(a, m);

	if (o == NULL)
		return;
	o->n_jobs += is_given ? 1 : (size_t)-1;
	if (o->n_jobs == 0)
		o->cold_ms = 0;
}

/* What was computed stays as long as the model stays loaded. */
static void inherit_cache(struct hub *h, struct hold *old, struct hold *o)
{
	bool is_unloaded = old != NULL && old->cache.is_loaded && o->info->state != MODEL_READY;

	if (old == NULL || (is_unloaded && RULE(h, CACHE)))
		affinity_cache_new(h, o);
	else
		affinity_cache_move(h, old, o);
	o->cache.is_loaded = o->info->state == MODEL_READY;
}

static void count_jobs(struct agent *a)
{
	LIST_EACH(l, &a->jobs)
	models_job(a, CONTAINER(l, struct job, place)->model, true);
	LIST_EACH(l, &a->hedges)
	models_job(a, CONTAINER(l, struct hedge, place)->job->model, true);
}

/* What was learned about the model on this box holds on, also over a restart. */
static void inherit(const struct hub *h, const struct agent *a, struct hold *o)
{
	const struct hold *old = models_hold(a, o->model);
	bool is_ready = o->info->state == MODEL_READY;

	if (old == NULL) {
		o->ready_ms = is_ready ? h->now_ms : 0;
		return;
	}
	o->rates = old->rates;
	o->read_until_ms = old->read_until_ms;
	o->ready_ms = !is_ready ? 0 : old->ready_ms > 0 ? old->ready_ms : h->now_ms;
	o->cold_ms = is_ready ? 0 : old->cold_ms;
}

int models_set(struct hub *h, struct agent *a)
{
	const struct registration *r = a->reg;
	struct hold *holds = calloc(r->n_models > 0 ? r->n_models : 1, sizeof(*holds));
	size_t n = 0;

	if (holds == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < r->n_models; i++) {
		struct hold *o = &holds[n];

		o->model = models_get(h, r->models[i].name);
		if (o->model == NULL)
			continue; /* no memory for one model: the agent serves the others */
		o->agent = a;
		o->info = &r->models[i];
		inherit_cache(h, models_hold(a, o->model), o);
		list_init(&o->ring);
		list_init(&o->class);
		list_init(&o->tier);
		inherit(h, a, o);
		list_add_tail(&o->model->holds, &o->of_model);
		if (models_hold(a, o->model) != NULL) {
			breaker_move(models_hold(a, o->model), o);
			poison_move(models_hold(a, o->model), o);
		}
		n++;
	}
	models_drop(h, a);
	a->holds = holds;
	a->n_holds = n;
	count_jobs(a);
	return 0;
}

/* An agent that does not say it for each model has no more than one, or shares them all. */
uint64_t models_slots(const struct hold *o)
{
	if (msg_has(o->info, MODEL_INFO_SLOTS))
		return o->info->slots;
	return o->info->state == MODEL_READY ? o->agent->reg->slots : 0;
}

enum warmth models_warmth(const struct hold *o)
{
	switch (o->info->state) {
	case MODEL_READY: return WARMTH_READY;
	case MODEL_LOADING: return WARMTH_LOADING;
	case MODEL_HELD: return WARMTH_HELD;
	default: return WARMTH_COUNT;
	}
}

static bool is_serving(const struct hold *o)
{
	return models_warmth(o) != WARMTH_COUNT && models_slots(o) > 0;
}

static void add(size_t *n, bool is_more)
{
	*n += is_more ? 1 : (size_t)-1;
}

void models_count(struct agent *a, bool is_routable)
{
	for (size_t i = 0; i < a->n_holds; i++) {
		struct hold *o = &a->holds[i];
		enum warmth w = models_warmth(o);

		if (w != WARMTH_COUNT)
			add(w == WARMTH_READY ? &o->model->n_able : &o->model->n_coming, is_routable);
		if (is_serving(o))
			add(&o->model->n_serving, is_routable);
	}
}

bool models_has_room(const struct hub *h, const struct hold *o)
{
	return is_serving(o) && (!RULE(h, ROOM) || o->n_jobs < models_slots(o) + h->config.extra_credit);
}

static void enter(struct hold *o)
{
	o->turn = ++o->model->last_turn;
	list_add_tail(&o->model->rings[models_warmth(o)], &o->ring);
}

/* Last in its class and tier, unless it stands there already. */
static void place(const struct hub *h, struct hold *o, enum tier tier)
{
	unsigned class = cost_class(h, o);

	if (list_empty(&o->class) || class != o->class_now) {
		list_del(&o->class);
		if (list_empty(&o->model->classes[o->class_now]))
			o->model->class_bits &= ~(UINT64_C(1) << o->class_now);
		o->class_now = class;
		o->model->class_bits |= UINT64_C(1) << class;
		list_add_tail(&o->model->classes[class], &o->class);
	}
	if (models_warmth(o) != WARMTH_READY || (!list_empty(&o->tier) && o->tier_now == tier))
		return;
	list_del(&o->tier);
	o->tier_now = tier;
	list_add_tail(&o->model->tiers[tier], &o->tier);
}

void models_place(const struct hub *h, struct agent *a)
{
	enum tier tier = a->open ? tier_of_agent(a) : TIER_BELOW_3B;

	for (size_t i = 0; i < a->n_holds; i++)
		if (!list_empty(&a->holds[i].ring))
			place(h, &a->holds[i], tier);
}

void models_open(const struct hub *h, struct agent *a, bool is_open)
{
	for (size_t i = 0; i < a->n_holds; i++) {
		struct hold *o = &a->holds[i];
		bool has_room = is_open && models_has_room(h, o) && breaker_lets(o) && poison_has_room(o);

		if (has_room && list_empty(&o->ring))
			enter(o);
		if (!has_room)
			leave(o);
	}
}
