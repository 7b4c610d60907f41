/* fleet.c - who is there.
 *
 * The lease is the truth: an agent of which nothing is heard for lease_lost heartbeats is
 * lost and its work moves.  A will with the right (epoch, conn), or a dispatch that found
 * no subscriber, only shortens that to a grace in which an orderly reconnect may show up.
 * (epoch, conn) is what makes a late will, a late registration or a cloned box harmless.
 *
 * When our own link is down, or more than half of the fleet goes at once, it is likelier
 * that we are blind than that they are dead: leases freeze, and start anew afterwards.
 * A second look that finds them gone is believed, so a real power cut costs one window. */
#include "core.h"

#include <stdlib.h>

#define INTERVAL_MIN_MS 100
#define INTERVAL_MAX_MS 60000

struct agent *fleet_find(const struct hub *h, struct span id)
{
	uint64_t hash = table_hash(h->hash_seed, id);

	for (struct node *n = table_first(&h->agents, hash); n != NULL; n = table_next(n)) {
		struct agent *a = CONTAINER(n, struct agent, node);

		if (span_is(id, a->id))
			return a;
	}
	return NULL;
}

static struct agent *agent_new_record(struct hub *h, struct span id)
{
	struct agent *a = calloc(1, sizeof(*a));

	if (a == NULL || span_copy(id, a->id, sizeof(a->id)) < 0 || timers_reserve(&h->timers) < 0) {
		free(a);
		return NULL;
	}
	list_init(&a->jobs);
	list_init(&a->hedges);
	list_init(&a->recent);
	list_init(&a->offer);
	list_init(&a->waiters);
	list_init(&a->rejoin);
	a->timer.kind = TIMER_AGENT;
	a->since_ms = h->now_ms;
	list_add_tail(&h->fleet, &a->all);
	table_add(&h->agents, table_hash(h->hash_seed, id), &a->node);
	h->n_agents++;
	return a;
}

struct agent *fleet_get(struct hub *h, struct span id)
{
	struct agent *a = fleet_find(h, id);

	if (a != NULL || !span_is_id(id))
		return a;
	if (h->n_agents < h->config.max_agents)
		return agent_new_record(h, id);
	if (!h->full_told)
		HUB_SAY(h, SAY_WARN,
			"the fleet is full at %llu agents: \"%.*s\" and all further ones are ignored; raise max_agents",
			(unsigned long long)h->config.max_agents, SPAN_FMT(id));
	h->full_told = true;
	return NULL;
}

int fleet_know(struct hub *h)
{
	for (size_t i = 0; i < h->config.n_agents; i++) {
		struct agent *a = fleet_get(h, span_of(h->config.agents[i].id));

		if (a == NULL)
			return ERR_NOMEM;
		a->known = &h->config.agents[i];
	}
	return 0;
}

void fleet_free(struct hub *h, struct agent *a)
{
	models_drop(h, a);
	timer_set(&h->timers, &a->timer, UINT64_MAX);
	free(a->reg);
	free(a->heartbeat);
	free(a->note);
	free(a);
}

enum hub_presence fleet_presence(const struct agent *a)
{
	if (a->quarantined || admin_is_isolated(a))
		return HUB_PRESENCE_QUARANTINED;
	if (a->life == LIFE_OFFLINE)
		return HUB_PRESENCE_OFFLINE;
	if (a->draining || admin_is_drained(a))
		return HUB_PRESENCE_DRAINING;
	return a->life == LIFE_SUSPECT || a->is_behind ? HUB_PRESENCE_SUSPECT : HUB_PRESENCE_ONLINE;
}

/* ---- what it can take ---- */

void fleet_refresh(struct hub *h, struct agent *a)
{
	bool is_routable = filter_is_routable(h, a);
	bool is_open = is_routable && fleet_has_room(h, a);

	if (is_routable != a->routable)
		models_count(a, is_routable);
	models_open(h, a, is_open);
	a->routable = is_routable;
	a->open = is_open;
	models_place(h, a);
	if ((is_open || !list_empty(&a->waiters)) && list_empty(&a->offer))
		list_add_tail(&h->offers, &a->offer);
}

void fleet_close(const struct hub *h, struct agent *a)
{
	if (a->routable)
		models_count(a, false);
	if (a->open)
		models_open(h, a, false);
	a->routable = a->open = false;
	list_del(&a->offer);
}

/* ---- leases ---- */

static uint64_t interval(const struct agent *a)
{
	uint64_t ms = a->n_jobs > 0 ? a->reg->heartbeat_busy_ms : a->reg->heartbeat_idle_ms;

	if (ms == 0)
		ms = a->n_jobs > 0 ? 2000 : 5000;
	return ms < INTERVAL_MIN_MS ? INTERVAL_MIN_MS : ms > INTERVAL_MAX_MS ? INTERVAL_MAX_MS : ms;
}

/* With its first job the shorter interval begins; what it said before was on the longer one. */
static uint64_t lease_end(const struct agent *a, uint64_t missed)
{
	uint64_t from = a->n_jobs > 0 && a->busy_ms > a->seen_ms ? a->busy_ms : a->seen_ms;

	return from + missed * interval(a);
}

static uint64_t agent_next(const struct hub *h, const struct agent *a)
{
	uint64_t at;

	if (a->life == LIFE_OFFLINE || h->is_blind)
		return UINT64_MAX;
	at = lease_end(a, a->life == LIFE_SUSPECT ? h->config.lease_lost : h->config.lease_suspect);
	if (a->gone != GONE_NO && a->gone_ms + h->config.will_grace_ms < at)
		at = a->gone_ms + h->config.will_grace_ms;
	return at;
}

/* Leases are renewed often and end seldom: a later end is noticed when the timer fires. */
void fleet_arm(struct hub *h, struct agent *a)
{
	uint64_t at = agent_next(h, a);

	if (at == UINT64_MAX || a->timer.pos == 0 || at < a->timer.at_ms)
		timer_set(&h->timers, &a->timer, at);
}

static void set_life(struct hub *h, struct agent *a, enum life life, const char *reason)
{
	bool was_up = a->life != LIFE_OFFLINE, is_up = life != LIFE_OFFLINE;

	if (a->life != life)
		a->since_ms = h->now_ms;
	if (was_up != is_up)
		h->n_up += is_up ? 1 : (size_t)-1;
	a->life = life;
	(void)span_copy(span_of(reason), a->reason, sizeof(a->reason)); /* literals, known to fit */
	if (is_up && !list_empty(&a->recent)) {
		list_del(&a->recent);
		h->n_recent--;
	}
	fleet_refresh(h, a);
}

void fleet_up(struct hub *h, struct agent *a)
{
	a->gone = GONE_NO;
	a->will_fired = false;
	a->seen_ms = h->now_ms;
	if (a->life == LIFE_OFFLINE)
		HUB_SAY(h, SAY_INFO, "agent %s is online", a->id);
	set_life(h, a, LIFE_ONLINE, "");
	fleet_arm(h, a);
	restore_agent_up(h, a);
}

static void move_jobs(struct hub *h, struct agent *a, struct span reason)
{
	while (!list_empty(&a->jobs))
		attempt_failed(h, CONTAINER(a->jobs.next, struct job, place), CODE_AGENT_LOST, reason);
}

void fleet_down(struct hub *h, struct agent *a, const char *reason)
{
	a->gone = GONE_NO;
	set_life(h, a, LIFE_OFFLINE, reason);
	timer_set(&h->timers, &a->timer, UINT64_MAX);
	hedge_agent_down(h, a);
	move_jobs(h, a, span_of(reason));
}

void fleet_seen(struct hub *h, struct agent *a)
{
	if (a->life == LIFE_OFFLINE)
		return;
	a->seen_ms = h->now_ms;
	if (a->gone == GONE_ABSENT)
		a->gone = GONE_NO; /* nobody was subscribed, and yet here it is: it has come back */
	if (a->life == LIFE_SUSPECT)
		set_life(h, a, LIFE_ONLINE, "");
}

/* ---- blind ---- */

static void blind_begin(struct hub *h)
{
	h->is_blind = true;
	LIST_EACH(l, &h->fleet)
	timer_set(&h->timers, &CONTAINER(l, struct agent, all)->timer, UINT64_MAX);
}

/* Everyone gets a full lease from now; so does every job's patience. */
void fleet_restart_leases(struct hub *h)
{
	LIST_EACH(l, &h->fleet)
	{
		struct agent *a = CONTAINER(l, struct agent, all);

		if (a->life == LIFE_OFFLINE)
			continue;
		a->seen_ms = h->now_ms;
		if (a->gone != GONE_NO)
			a->gone_ms = h->now_ms;
		set_life(h, a, LIFE_ONLINE, "");
		timer_set(&h->timers, &a->timer, agent_next(h, a));
	}
	jobs_restart_clocks(h);
}

static void blind_end(struct hub *h)
{
	h->is_blind = false;
	timer_set(&h->timers, &h->blind_timer, UINT64_MAX);
	while (!list_empty(&h->recent))
		list_del(h->recent.next);
	h->n_recent = 0;
	fleet_restart_leases(h);
	LIST_EACH(l, &h->fleet)
	{
		struct agent *a = CONTAINER(l, struct agent, all);

		if (a->open && list_empty(&a->offer))
			list_add_tail(&h->offers, &a->offer);
	}
}

void fleet_blind_tick(struct hub *h)
{
	uint64_t last = h->now_ms;

	HUB_SAY(h, SAY_NOTICE, "looking again: every agent has a full lease, losses are believed now");
	blind_end(h);
	LIST_EACH(l, &h->fleet)
	{
		struct agent *a = CONTAINER(l, struct agent, all);
		uint64_t end = a->life != LIFE_OFFLINE ? lease_end(a, h->config.lease_lost) : 0;

		last = end > last ? end : last;
	}
	h->believe_until_ms = last + h->config.blind_window_ms;
}

/* Would losing `a`, too, make it more than half of the fleet inside the window? */
static bool is_mass_loss(struct hub *h)
{
	size_t fleet;

	while (!list_empty(&h->recent)) {
		struct agent *a = CONTAINER(h->recent.next, struct agent, recent);

		if (a->lost_ms + h->config.blind_window_ms > h->now_ms)
			break;
		list_del(&a->recent);
		h->n_recent--;
	}
	fleet = h->n_up + h->n_recent;
	return h->now_ms >= h->believe_until_ms && fleet >= h->config.blind_min_fleet && (h->n_recent + 1) * 2 > fleet;
}

static void agent_lost(struct hub *h, struct agent *a, const char *reason)
{
	if (is_mass_loss(h)) {
		HUB_SAY(h, SAY_ERROR,
			"more than half of %llu agents went within %llu ms: more likely the hub is cut off than all of them "
			"dead; "
			"nothing is moved and new jobs are refused until it has looked again",
			(unsigned long long)(h->n_up + h->n_recent), (unsigned long long)h->config.blind_window_ms);
		blind_begin(h);
		timer_set(&h->timers, &h->blind_timer, h->now_ms + h->config.blind_window_ms);
		return;
	}
	a->will_fired = a->gone == GONE_WILL;
	a->lost_ms = h->now_ms;
	h->n_recent++;
	list_add_tail(&h->recent, &a->recent);
	h->counters.agents_lost++;
	HUB_SAY(h, SAY_WARN, "agent %s is lost (%s): its %llu jobs move", a->id, reason, (unsigned long long)a->n_jobs);
	fleet_down(h, a, reason);
}

void fleet_tick(struct hub *h, struct agent *a)
{
	if (a->life != LIFE_OFFLINE && !h->is_blind) {
		if (a->gone != GONE_NO && h->now_ms >= a->gone_ms + h->config.will_grace_ms)
			agent_lost(h, a, a->gone == GONE_WILL ? "connection lost" : "not subscribed");
		else if (h->now_ms >= lease_end(a, h->config.lease_lost))
			agent_lost(h, a, "not heard of");
		else if (a->life == LIFE_ONLINE && h->now_ms >= lease_end(a, h->config.lease_suspect))
			set_life(h, a, LIFE_SUSPECT, "heartbeats missed");
	}
	fleet_arm(h, a);
}

void fleet_link_up(struct hub *h)
{
	bool was_blind = h->is_blind;

	h->link_up = true;
	if (!was_blind)
		return;
	LIST_EACH(l, &h->fleet) /* wills that fired meanwhile are retained: they come again */
	CONTAINER(l, struct agent, all)->gone = GONE_NO;
	blind_end(h);
	jobs_link_up(h);
	restore_link_up(h);
}

void fleet_link_down(struct hub *h)
{
	h->link_up = false;
	timer_set(&h->timers, &h->blind_timer, UINT64_MAX);
	if (!h->is_blind)
		blind_begin(h);
}
