/* filter.c - may this agent have this job; if not, why. */
#include "core.h"

bool filter_is_routable(const struct hub *h, const struct agent *a)
{
	return a->life == LIFE_ONLINE && !a->draining && !a->quarantined && !a->is_behind && admin_allows(h, a);
}

/* Its own, and what the configuration says of it. */
static bool has_label(const struct agent *a, struct span label)
{
	for (size_t i = 0; i < a->reg->n_labels; i++)
		if (span_eq(label, a->reg->labels[i]))
			return true;
	for (size_t i = 0; a->known != NULL && i < a->known->n_labels; i++)
		if (span_is(label, a->known->labels[i]))
			return true;
	return false;
}

size_t filter_labels(const struct agent *a, const struct span *labels, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += has_label(a, labels[i]);
	return found;
}

/* A loaded model evidently fits. */
static bool is_too_big(const struct hold *o)
{
	const struct heartbeat *b = o->agent->heartbeat;

	return b != NULL && b->memory_limit > 0 && o->info->state != MODEL_READY && o->info->memory > b->memory_limit;
}

/* The agent that failed the job last is the last choice, not none. */
static bool has_just_failed(const struct hub *h, const struct job *j, const struct agent *a)
{
	return RULE(h, AVOID) && j->avoid == a && h->now_ms < j->avoid_until_ms && j->model->n_serving > 1;
}

enum hub_reason filter_job(const struct hub *h, const struct ask *ask, const struct hold *o)
{
	const struct job *j = ask->j;
	const struct submit *s = j->submit;

	if (!variant_lets(j, o->agent))
		return HUB_REASON_LABEL_MISSING;
	if (s->n_require > 0 && filter_labels(o->agent, s->require, s->n_require) < s->n_require)
		return HUB_REASON_LABEL_MISSING;
	if (is_too_big(o))
		return HUB_REASON_TOO_BIG;
	if (has_just_failed(h, j, o->agent))
		return HUB_REASON_JUST_FAILED;
	if (!poison_lets(h, j, o))
		return o->sole != NULL && o->sole != j ? HUB_REASON_KEPT_FREE : HUB_REASON_NOT_ALONE;
	if (!continuity_lets(h, j, o))
		return HUB_REASON_OTHER_BUILD;
	if (ask->left_ms != UINT64_MAX && cost_first_ms(h, ask, o) > (double)ask->left_ms)
		return HUB_REASON_DEADLINE;
	return HUB_REASON_OUTRANKED;
}

static enum hub_reason filter_agent(const struct hub *h, const struct agent *a)
{
	if (a->quarantined)
		return HUB_REASON_QUARANTINED;
	if (a->reg == NULL)
		return HUB_REASON_NEVER_SEEN;
	if (admin_is_isolated(a))
		return HUB_REASON_ISOLATED;
	if (h->is_blind)
		return HUB_REASON_BLIND;
	if (a->life == LIFE_OFFLINE)
		return HUB_REASON_OFFLINE;
	if (a->is_behind)
		return HUB_REASON_STALE_EPOCH;
	if (a->life == LIFE_SUSPECT)
		return HUB_REASON_SUSPECT;
	if (a->draining || admin_is_drained(a))
		return HUB_REASON_DRAINING;
	return admin_weight(a) == 0 ? HUB_REASON_WEIGHT_ZERO : HUB_REASON_OUTRANKED;
}

static enum hub_reason filter_model(const struct hold *o)
{
	if (o == NULL || o->info->state == MODEL_ABSENT)
		return HUB_REASON_MODEL_ABSENT;
	if (o->info->state == MODEL_FAILED)
		return HUB_REASON_MODEL_FAILED;
	return o->info->state == MODEL_QUARANTINED ? HUB_REASON_MODEL_QUARANTINED : HUB_REASON_OUTRANKED;
}

static enum hub_reason filter_room(const struct hub *h, const struct agent *a, const struct hold *o)
{
	if (a->reg->slots == 0 || models_slots(o) == 0)
		return HUB_REASON_NO_SLOTS;
	if (!fleet_has_room(h, a))
		return HUB_REASON_SLOTS_FULL;
	return models_has_room(h, o) ? HUB_REASON_OUTRANKED : HUB_REASON_MODEL_FULL;
}

enum hub_reason filter_all(const struct hub *h, const struct ask *ask, const struct agent *a, const struct hold *o)
{
	enum hub_reason r = filter_agent(h, a);

	if (r == HUB_REASON_OUTRANKED)
		r = filter_model(o);
	if (r == HUB_REASON_OUTRANKED && !breaker_lets(o))
		r = HUB_REASON_BREAKER_OPEN;
	if (r == HUB_REASON_OUTRANKED)
		r = filter_job(h, ask, o);
	return r == HUB_REASON_OUTRANKED ? filter_room(h, a, o) : r;
}
