#include "sim.h"

#include <stdlib.h>

static const char *const fault_names[] = { "crash", "freeze", "cut", "half-open", "engine crash", "engine hang",
	"engine stop", "engine nonsense", "engine forgets", "drain", "hub link", "broker", "hub pause", "slow crash",
	"memory", "operator", "engine sick", "hub crash" };

static unsigned some_of_all(struct sim *s)
{
	unsigned all = (1u << FAULT_COUNT) - 1, some = (unsigned)rng_next(&s->rng) & all;

	return sim_chance(s, 0.3) ? all : some;
}

/* One world in eight only loses and doubles; one in eight alters bytes; the others do
 * all that besides what a random choice of faults does. */
void fault_plan(struct sim *s)
{
	struct knobs *k = &s->knobs;

	*k = (struct knobs){ .loss0 = 0.12, .dup = 0.15, .late = 0.02, .n_models = 1 };
	if (s->seed % 3 == 0) { /* two models, and memory for one of them or both */
		k->n_models = 2;
		k->others = s->seed % 2 == 0 && s->seed % 8 != 0 ? 50 : 10; /* who takes turns finds queues full */
	}
	k->forgets_sessions = s->seed % 5 == 2;
	switch (s->seed % 8) {
	case 0:
		k->is_quiet = true;
		k->late = 0;
		return;
	case 1: k->corrupt = 0.05; return;
	default: break;
	}
	k->loss1 = sim_chance(s, 0.5) ? 0.03 : 0;
	k->late = sim_chance(s, 0.5) ? 0.05 : 0.01;
	k->fault_ms = sim_between(s, 150, 1500);
	k->faults = some_of_all(s);
	k->has_liar = sim_chance(s, 0.25);
	k->has_poison = sim_chance(s, 0.3);
	k->has_hedges = sim_chance(s, 0.3);
	k->has_rogue = sim_chance(s, 0.3);
	if (k->has_rogue) { /* what it does matters when it restarts and the news of that are late */
		k->faults |= 1u << FAULT_CRASH;
		k->loss1 = k->late = 0.1;
	}
	sim_push(s, sim_between(s, 100, 1000), (struct future){ .type = F_FAULT });
}

static void broker_restarts(struct sim *s)
{
	for (size_t i = 0; i < s->n_boxes; i++) {
		struct box *b = &s->boxes[i];

		b->is_broker_linked = false; /* its wills die with it, and what it retained */
		for (size_t k = 0; k < 2; k++) {
			free(b->retained[k]);
			b->retained[k] = NULL;
			b->n_retained[k] = 0;
		}
		box_break(s, i, true);
	}
	if (s->is_hub_linked)
		sim_hub_link(s, false);
	sim_push(s, sim_between(s, 20, 800), (struct future){ .type = F_HUB_UP });
}

static void strike(struct sim *s, enum fault fault, size_t i)
{
	struct box *b = &s->boxes[i];
	size_t model = rng_below(&s->rng, s->knobs.n_models);

	sim_trace(s, "FAULT %s (%s)", fault_names[fault], b->id);
	switch (fault) {
	case FAULT_CRASH:
		box_kill(s, i);
		sim_push(s, sim_between(s, 50, s->knobs.has_rogue && i == 0 ? 300 : 2500),
			(struct future){ .type = F_BOX_START, .who = i });
		break;
	case FAULT_FREEZE:
		b->frozen_until = s->now + sim_between(s, 100, 5000);
		if (sim_chance(s, 0.5)) /* the broker may lose patience, or not */
			sim_push(s, sim_between(s, 500, 3000),
				(struct future){ .type = F_BROKER_NOTICE, .who = i, .gen = b->conn });
		break;
	case FAULT_CUT: box_break(s, i, true); break;
	case FAULT_HALF_OPEN:
		if (b->is_linked && !b->is_cut)
			box_break(s, i, false);
		break;
	case FAULT_ENGINE_CRASH: fake_dies(s, i, model); break;
	case FAULT_ENGINE_HANG: b->engines[model].is_hung = true; break;
	case FAULT_ENGINE_STOP: fake_stops(s, i, model); break;
	case FAULT_ENGINE_NONSENSE: b->engines[model].is_mad = true; break;
	case FAULT_ENGINE_FORGET: fake_forgets(s, i, model); break;
	case FAULT_DRAIN: box_stop(s, i); break;
	case FAULT_HUB_LINK:
		if (s->is_hub_linked)
			sim_hub_link(s, false);
		sim_push(s, sim_between(s, 20, 2000), (struct future){ .type = F_HUB_UP });
		break;
	case FAULT_BROKER: broker_restarts(s); break;
	case FAULT_SLOW_CRASH: /* what the engine wrote last comes long after the news of its end */
		b->slow_until = s->now + 300;
		sim_push(s, sim_between(s, 100, 300),
			(struct future){ .type = F_ENGINE_CRASH, .who = i, .model = model, .gen = b->engines[model].gen });
		break;
	case FAULT_MEMORY: /* others on the box want all of it for a while */
		box_memory(s, i, sim_between(s, s->knobs.others, SIM_MEMORY));
		sim_push(s, sim_between(s, 100, 3000), (struct future){ .type = F_BOX_MEMORY, .who = i });
		break;
	case FAULT_OPERATOR: operator_strikes(s, i); break;
	case FAULT_HUB_CRASH:
		s->crash_by = s->has_journal ? s->now + 1000 : 0; /* best while something is being written */
		break;
	case FAULT_ENGINE_SICK: b->sick_until[model] = s->now + sim_between(s, 500, 8000); break;
	default: s->hub_paused_until = s->now + sim_between(s, 200, 4000); break;
	}
}

void fault_happen(struct sim *s)
{
	size_t i = rng_below(&s->rng, s->n_boxes);
	unsigned fault = (unsigned)rng_below(&s->rng, FAULT_COUNT);

	if (s->is_calm)
		return;
	if (s->knobs.has_rogue && sim_chance(s, 0.3)) {
		i = 0;
		fault = FAULT_CRASH;
	}
	if ((s->knobs.faults >> fault & 1) != 0 && s->now >= s->boxes[i].frozen_until)
		strike(s, (enum fault)fault, i);
	sim_push(s, sim_between(s, 1, 2 * s->knobs.fault_ms), (struct future){ .type = F_FAULT });
}

/* Whatever is broken is mended in its own time; nothing new breaks. */
void fault_stop(struct sim *s)
{
	struct knobs *k = &s->knobs;

	sim_trace(s, "calm");
	s->is_calm = true;
	k->loss0 = k->loss1 = k->dup = k->late = k->corrupt = 0;
	k->has_liar = false;
	s->crash_by = 0;
	for (size_t i = 0; i < s->n_boxes; i++)
		for (size_t m = 0; m < SIM_MODELS; m++) {
			s->boxes[i].sick_until[m] = 0;
			s->boxes[i].engines[m].is_hung = s->boxes[i].engines[m].is_mad =
				false; /* what is forgotten stays so */
		}
	operator_goes(s);
}
