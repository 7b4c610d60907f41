/* models.c - which agent holds which model, and who has room.
 *
 * Each model keeps a ring of the holds whose agent can take one more job of it now, the
 * one chosen longest ago first.  So routing never looks at the whole fleet: an agent
 * enters and leaves the rings of its own few models when its room changes. */
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

static struct model *model_get(struct hub *h, struct span name)
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
	list_init(&m->ring);
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
		models_unref(h, a->holds[i].model);
	}
	free(a->holds);
	a->holds = NULL;
	a->n_holds = 0;
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

		o->model = model_get(h, r->models[i].name);
		if (o->model == NULL)
			continue; /* no memory for one model: the agent serves the others */
		o->agent = a;
		o->info = &r->models[i];
		list_init(&o->ring);
		list_add_tail(&o->model->holds, &o->of_model);
		n++;
	}
	models_drop(h, a);
	a->holds = holds;
	a->n_holds = n;
	return 0;
}

void models_count(struct agent *a, bool is_routable)
{
	for (size_t i = 0; i < a->n_holds; i++) {
		struct hold *o = &a->holds[i];
		unsigned s = o->info->state;
		size_t *n = s == MODEL_READY                        ? &o->model->n_able
			    : s == MODEL_LOADING || s == MODEL_HELD ? &o->model->n_coming
								    : NULL;

		if (n != NULL)
			*n += is_routable ? 1 : (size_t)-1;
	}
}

void models_open(struct agent *a, bool is_open)
{
	for (size_t i = 0; i < a->n_holds; i++) {
		struct hold *o = &a->holds[i];

		if (o->info->state != MODEL_READY)
			continue;
		list_del(&o->ring);
		if (is_open)
			list_add_tail(&o->model->ring, &o->ring);
	}
}
