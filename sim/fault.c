/* fault.c - what goes wrong, as often as the options say, as long as jobs are asked. */
#include "sim.h"

#define HEAT_US (30 * SECOND)

enum { FAULT_CRASH, FAULT_PARTITION, FAULT_HEAT, FAULT_HUB, FAULT_MASS, FAULT_COUNT };

static double per_minute(const struct settings *s, unsigned fault)
{
	const double rates[FAULT_COUNT] = { s->crashes, s->partitions, s->heat, s->hub_crashes, 0 };

	return rates[fault];
}

static void next(struct world *w, unsigned fault)
{
	double n = per_minute(w->set, fault);

	if (n > 0)
		world_push(
			w, (uint64_t)world_exp(&w->rng, 60e6 / n), (struct ev){ .type = EV_FAULT, .sub = (uint16_t)fault });
}

void fault_begin(struct world *w)
{
	for (unsigned fault = 0; fault < FAULT_COUNT; fault++)
		next(w, fault);
	if (w->set->mass_loss > 0)
		world_push(w, (uint64_t)(w->set->mass_at_s * 1e6), (struct ev){ .type = EV_FAULT, .sub = FAULT_MASS });
}

static void crash(struct world *w, struct box *b)
{
	box_kill(w, b);
	world_push(w, (uint64_t)(w->set->down_s * 1e6), (struct ev){ .type = EV_BOX_START, .who = b->index });
}

/* Power goes: nobody says goodbye, and no broker sees a connection close. */
static void mass_loss(struct world *w)
{
	for (size_t i = 0; i < w->n_boxes; i++) {
		struct box *b = &w->boxes[i];

		if (b->agent == NULL || !world_chance(w, w->set->mass_loss))
			continue;
		box_cut(w, b, (uint64_t)(w->set->down_s * 1e6));
		crash(w, b);
	}
}

void fault_event(struct world *w, const struct ev *ev)
{
	struct box *b = &w->boxes[rng_below(&w->rng, w->n_boxes)];

	if (w->is_all_asked)
		return;
	switch (ev->sub) {
	case FAULT_CRASH: crash(w, b); break;
	case FAULT_PARTITION: box_cut(w, b, (uint64_t)(w->set->down_s * 1e6)); break;
	case FAULT_HEAT: box_hot(w, b, HEAT_US); break;
	case FAULT_HUB: world_hub_crash(w); break;
	default: mass_loss(w); break;
	}
	next(w, ev->sub);
}
