/* forget.c - an agent's record goes.
 *
 * Ended jobs name the agent they ran on, and live ones the one that failed them last.  So the
 * record leaves the fleet at once, and memory when no job names it any more: looked at with
 * each further one that is forgotten, so there are never more than jobs that name them, and one. */
#include "core.h"

#include <stdlib.h>

static void name_agents(const struct list *jobs)
{
	LIST_EACH(l, jobs)
	{
		const struct job *j = CONTAINER(l, struct job, all);

		if (j->agent != NULL)
			j->agent->is_named = true;
		if (j->avoid != NULL)
			j->avoid->is_named = true;
		if (j->awaits != NULL)
			j->awaits->is_named = true;
		if (j->hedge != NULL)
			j->hedge->agent->is_named = true;
	}
}

static void sweep(struct hub *h)
{
	LIST_EACH(l, &h->forgotten)
	CONTAINER(l, struct agent, all)->is_named = false;
	name_agents(&h->live);
	name_agents(&h->ended);
	LIST_EACH(l, &h->forgotten)
	{
		struct agent *a = CONTAINER(l, struct agent, all);

		if (a->is_named)
			continue;
		list_del(&a->all);
		act_trash(h, a); /* an action of this step may lend its id */
	}
}

void forget_agent(struct hub *h, struct agent *a)
{
	restore_agent_forgotten(h, a);
	session_release(h, a);
	fleet_close(h, a);
	models_drop(h, a);
	if (!list_empty(&a->recent)) {
		list_del(&a->recent);
		h->n_recent--;
	}
	timers_release(&h->timers, &a->timer);
	table_del(&h->agents, &a->node);
	list_del(&a->all);
	h->n_agents--;
	h->full_told = false;
	act_trash(h, a->reg);
	act_trash(h, a->heartbeat);
	act_trash(h, a->note);
	a->reg = NULL;
	a->heartbeat = NULL;
	a->note = NULL;
	(void)admin_keep(h, a);
	act_new(h, HUB_ACT_FORGET)->agent = span_of(a->id);
	list_add_tail(&h->forgotten, &a->all);
	sweep(h);
}
