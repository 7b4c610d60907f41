/* admin.c - what an operator asks of an agent. */
#include "core.h"

static bool holds(const struct agent *a, struct span model)
{
	for (size_t i = 0; i < a->n_holds; i++)
		if (span_eq(a->holds[i].info->name, model))
			return true;
	return false;
}

enum code hub_can_load(const struct hub *h, struct span agent, struct span model)
{
	const struct agent *a = fleet_find(h, agent);

	if (a == NULL || a->reg == NULL)
		return CODE_NOT_FOUND;
	if (!h->link_up || a->life == LIFE_OFFLINE)
		return CODE_NO_AGENT;
	return holds(a, model) ? CODE_OK : CODE_MODEL_UNKNOWN;
}

void admin_load(struct hub *h, const struct hub_event *ev)
{
	const struct agent *a = fleet_find(h, ev->agent);
	struct hub_action *act;

	if (hub_can_load(h, ev->agent, ev->model) != CODE_OK)
		return;
	act = act_new(h, HUB_ACT_CONTROL);
	act->agent = span_of(a->id);
	act->control = (struct control){ .verb = CONTROL_LOAD, .epoch = a->reg->epoch, .model = ev->model };
}
