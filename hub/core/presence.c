/* presence.c - what agents, and their wills, say of themselves.
 *
 * A registration counts if its (epoch, conn, seq) is greater than the one held, a status if
 * its (epoch, conn) is the one held.  So whatever a broker delivers late, twice or in another
 * order, the newest word on the newest connection of the newest life stands. */
#include "core.h"

#include <stdlib.h>

#define WHO_MS 1000 /* an agent whose heartbeats tell more than we know is asked so often */

/* ---- status and will ---- */

static void apply_status(struct hub *h, struct agent *a)
{
	switch (a->status_state) {
	case AGENT_OFFLINE:
		if (a->life == LIFE_OFFLINE) {
			a->will_fired = true; /* no late frame of this connection wakes it */
			restore_agent_gone(h, a);
			return;
		}
		if (a->draining && a->n_jobs == 0) {
			HUB_SAY(h, SAY_INFO, "agent %s has said goodbye", a->id);
			a->will_fired = true;
			fleet_down(h, a, "stopped");
			return;
		}
		if (a->gone != GONE_WILL)
			a->gone_ms = h->now_ms;
		a->gone = GONE_WILL;
		fleet_arm(h, a);
		return;
	case AGENT_DRAINING: a->draining = true; break;
	default: a->draining = false; break;
	}
	fleet_up(h, a);
	admin_heard(h, a, a->draining, false);
}

static bool status_counts(const struct agent *a)
{
	return a->has_status && a->status_epoch == a->reg->epoch && a->status_conn == a->reg->conn;
}

void presence_status(struct hub *h, const struct hub_event *ev)
{
	struct agent *a = fleet_get(h, ev->agent);

	if (a == NULL)
		return;
	a->has_status = true; /* kept: its registration may come second */
	a->status_epoch = ev->status->epoch;
	a->status_conn = ev->status->conn;
	a->status_state = ev->status->state;
	if (a->reg == NULL || a->quarantined)
		return;
	if (!RULE(h, STATUS) || status_counts(a))
		apply_status(h, a);
	else
		h->counters.status_stale++;
}

/* ---- heartbeats ---- */

/* A heartbeat tells of a life, a connection, slots or a drain that we have no word of: a
 * broker drops what is over its queue's limit, registrations too. */
static bool is_news(const struct agent *a, const struct heartbeat *b)
{
	const struct registration *r = a->reg;

	if (r == NULL || b->epoch != r->epoch)
		return r == NULL || b->epoch > r->epoch;
	if (b->conn != r->conn)
		return b->conn > r->conn;
	return b->slots != r->slots || (b->state == AGENT_DRAINING) != a->draining;
}

static void ask_who(struct hub *h, struct agent *a, const struct heartbeat *b)
{
	if (a->asked_ms != 0 && h->now_ms < a->asked_ms + WHO_MS)
		return;
	a->asked_ms = h->now_ms;
	act_control(h, a, CONTROL_PING, b->epoch, SPAN_NONE, 0, 0);
}

/* Out of memory: the one before stays. */
static void heartbeat_keep(struct hub *h, struct agent *a, const struct heartbeat *b)
{
	struct heartbeat told = *b;
	void *copy;

	told.reason = SPAN_NONE;
	if (act_copy(h, &heartbeat_type, &told, &copy, NULL) < 0)
		return;
	act_trash(h, a->heartbeat);
	a->heartbeat = copy;
}

void presence_heartbeat(struct hub *h, const struct hub_event *ev)
{
	struct agent *a = fleet_get(h, ev->agent);
	const struct heartbeat *b = ev->heartbeat;

	if (a == NULL || a->quarantined)
		return;
	if (is_news(a, b))
		ask_who(h, a, b);
	if (a->reg != NULL && b->epoch > a->reg->epoch && !a->is_behind) {
		a->is_behind = true;
		fleet_refresh(h, a);
	}
	if (a->reg == NULL || b->epoch != a->reg->epoch || b->conn != a->reg->conn) {
		h->counters.status_stale++;
		return;
	}
	heartbeat_keep(h, a, b);
	models_place(h, a);
	if (a->life != LIFE_OFFLINE)
		fleet_seen(h, a);
	else if (!a->will_fired)
		fleet_up(h, a); /* its lease had ended, but the connection is the same and alive */
	admin_heard(h, a, b->state == AGENT_DRAINING, true);
}

void presence_no_subscriber(struct hub *h, const struct hub_event *ev)
{
	struct agent *a = fleet_find(h, ev->agent);

	if (a == NULL || a->life == LIFE_OFFLINE || a->gone != GONE_NO)
		return;
	a->gone = GONE_ABSENT;
	a->gone_ms = h->now_ms;
	fleet_arm(h, a);
}

/* ---- registration ---- */

static bool is_newer(const struct registration *r, const struct registration *held)
{
	if (r->epoch != held->epoch)
		return r->epoch > held->epoch;
	if (r->conn != held->conn)
		return r->conn > held->conn;
	return r->seq > held->seq;
}

static void quarantine(struct hub *h, struct agent *a)
{
	h->counters.clones++;
	if (a->quarantined)
		return;
	HUB_SAY(h, SAY_ERROR,
		"CLONE: two boxes call themselves %s (one epoch, two nonces), neither gets work: give one of them its own "
		"id and an "
		"empty state directory, then restart both",
		a->id);
	a->quarantined = true;
	fleet_down(h, a, "cloned identity");
}

static int registration_keep(struct hub *h, struct agent *a, const struct registration *r)
{
	struct registration *old = a->reg;
	void *copy;
	int rc = act_copy(h, &registration_type, r, &copy, NULL);

	if (rc < 0)
		return rc;
	fleet_close(h, a);
	a->reg = copy;
	rc = models_set(h, a);
	if (rc < 0) {
		a->reg = old; /* closed until it registers again */
		free(copy);
		return rc;
	}
	act_trash(h, old);
	return 0;
}

/* The same life on a new connection: what was under way on the old one is asked for again. */
static void resume_jobs(struct hub *h, struct agent *a)
{
	LIST_EACH(l, &a->jobs)
	attempt_resend(h, CONTAINER(l, struct job, place));
}

static void registration_takes_effect(struct hub *h, struct agent *a, bool is_new_conn)
{
	if (is_new_conn && status_counts(a) && a->status_state == AGENT_OFFLINE) {
		apply_status(h, a); /* the will of this very connection came first */
	} else if (is_new_conn) {
		a->draining = status_counts(a) ? a->status_state == AGENT_DRAINING : a->draining;
		resume_jobs(h, a);
		fleet_up(h, a);
	} else if (a->life == LIFE_OFFLINE && !a->will_fired) {
		fleet_up(h, a);
	} else {
		fleet_seen(h, a);
	}
	fleet_refresh(h, a);
}

static void registration_is_stale(struct hub *h, struct agent *a, const struct registration *r)
{
	if (!is_newer(a->reg, r))
		return; /* a retained copy of the one held */
	h->counters.registrations_stale++;
	if (r->epoch < a->reg->epoch && !a->stale_told)
		HUB_SAY(h, SAY_NOTICE,
			"a registration of %s with epoch %llu came after one with %llu and is ignored; if its state "
			"directory was lost, "
			"restart it with a higher epoch or restart the hub",
			a->id, (unsigned long long)r->epoch, (unsigned long long)a->reg->epoch);
	a->stale_told = true;
}

void presence_registration(struct hub *h, const struct hub_event *ev)
{
	struct agent *a = fleet_get(h, ev->agent);
	const struct registration *r = ev->registration;
	bool is_first, is_new_life, is_new_conn;

	if (a == NULL)
		return;
	is_first = a->reg == NULL;
	is_new_life = is_first || r->epoch != a->reg->epoch;
	is_new_conn = is_new_life || r->conn != a->reg->conn;
	if (!is_new_life && r->nonce != a->reg->nonce) {
		quarantine(h, a);
		return;
	}
	if (RULE(h, REGISTRATION) && !is_first && !is_newer(r, a->reg)) {
		registration_is_stale(h, a, r);
		return;
	}
	if (a->quarantined && !is_new_life)
		return;
	a->quarantined = a->is_behind = false;
	if (is_new_life) {
		a->draining = false;
		fleet_down(h, a, "restarted");
		affinity_new_life(h, a);
	}
	if (registration_keep(h, a, r) < 0) {
		HUB_SAY(h, SAY_ERROR, "no memory for the registration of %s: it is ignored", a->id);
		return;
	}
	registration_takes_effect(h, a, is_new_conn);
	if (is_new_life)
		admin_new_life(h, a);
}
