/* operator.c - someone who drains, weights, quarantines and forgets agents, and cancels nobody's jobs.
 *
 * Checked: an agent that operators want no work on gets none; what they asked is answered once at most;
 * only an agent that the hub holds for offline is forgotten. */
#include "sim.h"

static void ask(struct sim *s, size_t i, enum admin_verb verb, uint64_t value)
{
	struct admin admin = { .verb = verb, .agent = span_of(s->boxes[i].id), .value = value };

	msg_set(&admin, ADMIN_VALUE);
	s->answers_due++;
	sim_trace(s, "operator: %s %s %u", admin_verb_names[verb], s->boxes[i].id, (unsigned)value);
	sim_feed_hub(s, &(struct hub_event){ .type = HUB_EV_ADMIN, .user = SPAN("operator"), .admin = &admin });
}

void operator_strikes(struct sim *s, size_t i)
{
	enum admin_verb verb = (enum admin_verb)rng_below(&s->rng, ADMIN_CANCEL);

	if (s->now >= s->hub_paused_until)
		ask(s, i, verb, sim_chance(s, 0.5) ? 0 : ADMIN_MAX_WEIGHT);
}

void operator_goes(struct sim *s)
{
	for (size_t i = 0; i < s->n_boxes; i++) {
		ask(s, i, ADMIN_RESUME, 0);
		ask(s, i, ADMIN_RELEASE, 0);
		ask(s, i, ADMIN_WEIGHT, ADMIN_MAX_WEIGHT);
	}
}

void operator_answered(struct sim *s)
{
	if (s->answers_due-- == 0)
		sim_violation(s, "an operator got an answer too many");
}

void operator_forgot(struct sim *s, struct span agent)
{
	for (size_t i = 0; i < s->n_boxes; i++) {
		struct box *b = &s->boxes[i];

		if (!span_is(agent, b->id))
			continue;
		if (b->presence != HUB_PRESENCE_OFFLINE && b->presence != HUB_PRESENCE_QUARANTINED)
			sim_violation(s, "%s was forgotten while it was there", b->id);
		for (size_t k = 0; k < 2; k++)
			b->n_retained[k] = 0;
		memset(b->watch, 0, sizeof(b->watch));
		b->held_epoch = b->held_conn = b->held_seq = b->in_flight = 0; /* the next that is heard is the first */
	}
}

void operator_check(struct sim *s, struct box *b, const struct hub_agent_view *v)
{
	bool is_shut = v->is_drained || v->is_isolated || v->weight == 0;

	if (is_shut && b->is_shut && v->in_flight > b->in_flight)
		sim_violation(s, "%s got work that operators did not want it to have", b->id);
	b->is_shut = is_shut;
	b->in_flight = v->in_flight;
}
