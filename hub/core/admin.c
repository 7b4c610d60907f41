/* admin.c - what an operator asks of agents and jobs.
 *
 * A wish stands until it is taken back: it is written down, survives the hub and the agent, and is the
 * hub's to keep.  To drain, the agent is told besides, again until it says that it does, so that its own
 * lights and status show it.  Its button has the last word where it was pressed last: an agent that had
 * followed and drains no more was resumed by whoever stands before it.  Status and heartbeat must both
 * say that: either may come late, or twice. */
#include "core.h"

#include <stdlib.h>

#define TELL_MS 1000 /* an agent that does not follow is told so often */

/* ---- models ---- */

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
	struct hold *o;

	if (hub_can_load(h, ev->agent, ev->model) != CODE_OK)
		return;
	o = models_hold(a, models_find(h, ev->model));
	if (o != NULL)
		breaker_reset(h, o); /* whatever it was, it has been seen to */
	act = act_new(h, HUB_ACT_CONTROL);
	act->agent = span_of(a->id);
	act->control = (struct control){ .verb = CONTROL_LOAD, .epoch = a->reg->epoch, .model = ev->model };
}

/* ---- what was asked ---- */

struct admin_note *admin_note(struct agent *a)
{
	if (a->note == NULL) {
		a->note = calloc(1, sizeof(*a->note));
		if (a->note != NULL)
			a->note->weight = ADMIN_MAX_WEIGHT;
	}
	return a->note;
}

static void note_who(struct admin_note *n, const struct hub_event *ev)
{
	(void)span_copy(ev->user, n->user, sizeof(n->user)); /* lengths were checked */
	(void)span_copy(ev->admin->reason, n->reason, sizeof(n->reason));
}

/* For those who look, and in the log. */
static void note_asked(struct hub *h, const struct hub_event *ev, enum code code)
{
	struct admin_entry *e = &h->admin_log[h->n_admin++ % HUB_ADMIN_KEPT];
	struct span target = ev->admin->verb == ADMIN_CANCEL ? ev->admin->job : ev->admin->agent;

	*e = (struct admin_entry){ .at_ms = h->now_ms, .value = ev->admin->value, .verb = ev->admin->verb, .code = code };
	(void)span_copy(ev->user, e->user, sizeof(e->user)); /* lengths were checked */
	(void)span_copy(target, e->target, sizeof(e->target));
	(void)span_copy(ev->admin->reason, e->reason, sizeof(e->reason));
	HUB_SAY(h, SAY_NOTICE, "admin: %s asks: %s %s%s%s%s: %s", e->user, admin_verb_names[e->verb], e->target,
		e->reason[0] != '\0' ? " (" : "", e->reason, e->reason[0] != '\0' ? ")" : "", code_name(code));
}

/* ---- draining ---- */

static void tell(struct hub *h, struct agent *a)
{
	struct admin_note *n = a->note;

	if (a->reg == NULL || a->life == LIFE_OFFLINE || (n->told_ms != 0 && h->now_ms < n->told_ms + TELL_MS))
		return;
	n->told_ms = h->now_ms;
	act_control(h, a, n->wish == WISH_DRAIN ? CONTROL_DRAIN : CONTROL_RESUME, a->reg->epoch, SPAN_NONE, 0, 0);
}

static void set_wish(struct hub *h, struct agent *a, enum wish wish)
{
	a->note->wish = wish;
	a->note->is_followed = false;
	a->note->told_ms = 0;
	fleet_refresh(h, a);
	if (wish != WISH_NONE)
		tell(h, a);
}

void admin_heard(struct hub *h, struct agent *a, bool is_draining, bool is_beat)
{
	struct admin_note *n = a->note;

	if (n == NULL || n->wish == WISH_NONE)
		return;
	if (is_draining == (n->wish == WISH_DRAIN)) {
		n->is_followed |= !is_beat;
		if (n->wish != WISH_RESUME || is_beat)
			return;
		set_wish(h, a, WISH_NONE);
		(void)admin_keep(h, a);
	} else if (!n->is_followed) {
		tell(h, a);
	} else if (is_beat && !a->draining) {
		HUB_SAY(h, SAY_NOTICE, "agent %s was resumed at its own button: the operator's drain is over", a->id);
		set_wish(h, a, WISH_NONE);
		(void)admin_keep(h, a);
	}
}

void admin_new_life(struct hub *h, struct agent *a)
{
	if (a->note != NULL)
		set_wish(h, a, a->note->wish);
}

/* ---- the verbs ---- */

static const char *when(const struct agent *a)
{
	return a->life == LIFE_OFFLINE ? "; it is offline, this holds when it comes back" : "";
}

static enum code drain(struct hub *h, struct agent *a, const struct hub_event *ev, struct buf *text)
{
	bool was = a->note->wish == WISH_DRAIN;

	note_who(a->note, ev);
	if (!was)
		set_wish(h, a, WISH_DRAIN);
	buf_addf(text, "%s %s: it gets no new jobs, its %zu running ones finish%s", a->id, was ? "drains already" : "drains",
		a->n_jobs, when(a));
	return CODE_OK;
}

static enum code resume(struct hub *h, struct agent *a, const struct hub_event *ev, struct buf *text)
{
	(void)ev;
	if (a->note->wish == WISH_DRAIN || a->draining)
		set_wish(h, a, WISH_RESUME);
	buf_addf(text, "%s takes jobs again%s%s", a->id, when(a),
		a->quarantined || a->note->is_isolated ? ", once its quarantine is over" : "");
	return CODE_OK;
}

static enum code set_weight(struct hub *h, struct agent *a, const struct hub_event *ev, struct buf *text)
{
	if (!msg_has(ev->admin, ADMIN_VALUE) || ev->admin->value > ADMIN_MAX_WEIGHT) {
		buf_addf(text, "a weight is a number from 0 to %d: the share, in per cent, of the work it would get",
			ADMIN_MAX_WEIGHT);
		return CODE_BAD_REQUEST;
	}
	a->note->weight = (unsigned)ev->admin->value;
	fleet_refresh(h, a);
	buf_addf(text, a->note->weight > 0 ? "%s gets %u %% of the work it would get" : "%s gets no new jobs", a->id,
		a->note->weight);
	return CODE_OK;
}

/* It is told to stop: its slots are better empty, and whatever it says of them counts no more. */
static void take_jobs(struct hub *h, struct agent *a)
{
	while (!list_empty(&a->hedges))
		hedge_drop(h, CONTAINER(a->hedges.next, struct hedge, place)->job, true);
	while (!list_empty(&a->hedges))
		hedge_drop(h, CONTAINER(a->hedges.next, struct hedge, place)->job, true);
	while (!list_empty(&a->jobs)) {
		struct job *j = CONTAINER(a->jobs.next, struct job, place);

		if (j->persist_seq == 0)
			act_job_control(h, j, CONTROL_CANCEL, 0);
		attempt_failed(h, j, CODE_AGENT_LOST, SPAN("quarantined by an operator"));
	}
}

static enum code quarantine(struct hub *h, struct agent *a, const struct hub_event *ev, struct buf *text)
{
	size_t n = a->n_jobs;

	note_who(a->note, ev);
	a->note->is_isolated = true;
	fleet_refresh(h, a);
	take_jobs(h, a);
	buf_addf(text, "%s is quarantined: it gets no jobs, its %zu were moved; `shoal release %s` ends that", a->id, n,
		a->id);
	return CODE_OK;
}

static enum code release(struct hub *h, struct agent *a, const struct hub_event *ev, struct buf *text)
{
	(void)ev;
	if (a->quarantined) {
		buf_addf(text,
			"two boxes call themselves %s: give one of them its own id and an empty state directory, then "
			"restart both",
			a->id);
		return CODE_CONFLICT;
	}
	a->note->is_isolated = false;
	fleet_refresh(h, a);
	buf_addf(text, "%s is not quarantined%s", a->id, when(a));
	return CODE_OK;
}

static enum code forget(struct hub *h, struct agent *a, const struct hub_event *ev, struct buf *text)
{
	(void)ev;
	if (a->quarantined || a->life != LIFE_OFFLINE) {
		buf_addf(text,
			a->quarantined ? "%s is not one agent but two that run: stop them first"
				       : "%s is online and would be back at once: stop its agent first",
			a->id);
		return CODE_CONFLICT;
	}
	buf_addf(text, "%s is forgotten", a->id);
	forget_agent(h, a);
	return CODE_OK;
}

static enum code cancel(struct hub *h, const struct hub_event *ev, struct buf *text)
{
	struct job *j = jobs_find(h, ev->admin->job);

	if (j == NULL) {
		buf_addf(text, "there is no job %.*s: it was never submitted, or ended long ago", SPAN_FMT(ev->admin->job));
		return CODE_NOT_FOUND;
	}
	if (!jobs_is_live(j)) {
		buf_addf(text, "job %s has ended already: %s", j->id.s, hub_job_state_names[j->state]);
		return CODE_OK;
	}
	jobs_cancel(h, j);
	buf_addf(text, "job %s of %s is cancelled", j->id.s, j->user);
	return CODE_OK;
}

/* ret_seq: of the record that must be safe before this is answered. */
static enum code of_agent(struct hub *h, const struct hub_event *ev, struct buf *text, uint64_t *ret_seq)
{
	static enum code (*const verbs[ADMIN_VERB_COUNT])(
		struct hub *, struct agent *, const struct hub_event *, struct buf *) = {
		[ADMIN_DRAIN] = drain,
		[ADMIN_RESUME] = resume,
		[ADMIN_WEIGHT] = set_weight,
		[ADMIN_QUARANTINE] = quarantine,
		[ADMIN_RELEASE] = release,
		[ADMIN_FORGET] = forget,
	};
	struct agent *a = fleet_find(h, ev->admin->agent);
	enum code code;

	if (a == NULL) {
		buf_addf(text, "there is no agent %.*s; `shoal agents` lists them", SPAN_FMT(ev->admin->agent));
		return CODE_NOT_FOUND;
	}
	if (admin_note(a) == NULL) {
		buf_addf(text, "the hub is out of memory: try again later");
		return CODE_RESOURCE_LIMIT_EXCEEDED;
	}
	code = verbs[ev->admin->verb](h, a, ev, text);
	if (code == CODE_OK && ev->admin->verb != ADMIN_FORGET)
		*ret_seq = admin_keep(h, a);
	return code;
}

void admin_event(struct hub *h, const struct hub_event *ev)
{
	struct buf text = BUF_INIT(1024);
	uint64_t seq = 0;
	enum code code = ev->admin->verb == ADMIN_CANCEL ? cancel(h, ev, &text) : of_agent(h, ev, &text, &seq);

	note_asked(h, ev, code);
	admin_answer(h, ev, seq, code, &text);
}

void hub_each_admin(const struct hub *h, void (*fn)(void *ctx, const struct hub_admin_view *v), void *ctx)
{
	for (uint64_t i = h->n_admin, n = 0; i > 0 && n < HUB_ADMIN_KEPT; n++) {
		const struct admin_entry *e = &h->admin_log[--i % HUB_ADMIN_KEPT];
		struct hub_admin_view v = { .at_ms = e->at_ms,
			.value = e->value,
			.verb = e->verb,
			.code = e->code,
			.user = span_of(e->user),
			.target = span_of(e->target),
			.reason = span_of(e->reason) };

		fn(ctx, &v);
	}
}
