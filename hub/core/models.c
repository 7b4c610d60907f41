/* models.c - which agent holds which model, and who has room.
 *
 * Each model keeps rings of the holds whose agent can take one more job of it now: where it
 * is ready, is being loaded, or would have to be.  The ready one chosen longest ago is first.  So routing never looks at the
 * whole fleet: an agent enters and leaves the rings of its own few models when its room changes. */
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
		list_init(&m->queue[p]);
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
	free(m);
}

void models_drop(struct hub *h, struct agent *a)
{
	for (size_t i = 0; i < a->n_holds; i++) {
		list_del(&a->holds[i].of_model);
		list_del(&a->holds[i].ring);
		affinity_cache_drop(h, &a->holds[i]);
		breaker_free(h, &a->holds[i]);
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

	if (o != NULL)
		o->n_jobs += is_given ? 1 : (size_t)-1;
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
		list_add_tail(&o->model->holds, &o->of_model);
		if (models_hold(a, o->model) != NULL)
			breaker_move(models_hold(a, o->model), o);
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

void models_open(const struct hub *h, struct agent *a, bool is_open)
{
	for (size_t i = 0; i < a->n_holds; i++) {
		struct hold *o = &a->holds[i];
		bool has_room = is_open && is_serving(o) && o->n_jobs < models_slots(o) + h->config.extra_credit &&
				breaker_lets(o);

		if (has_room && list_empty(&o->ring))
			list_add_tail(&o->model->rings[models_warmth(o)], &o->ring);
		if (!has_room)
			list_del(&o->ring);
	}
}
