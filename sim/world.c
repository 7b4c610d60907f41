/* world.c - the turn of the world; links between hub and boxes; what surrounds the hub. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define BEGIN_US SECOND
#define START_US (3 * SECOND) /* all boxes are started by then */
#define NO_SUBSCRIBER_US (2 * MS)
#define REORDER_US (20 * MS) /* at most, that a message comes later than those behind it */

void world_push(struct world *w, uint64_t in_us, struct ev ev)
{
	ev.at = w->now + in_us;
	agenda_add(&w->agenda, ev);
}

uint64_t world_ms(const struct world *w)
{
	return w->now / MS;
}

bool world_chance(struct world *w, double p)
{
	return p > 0 && rng_real(&w->rng) < p;
}

uint64_t world_between(struct world *w, uint64_t low, uint64_t high)
{
	return low + rng_below(&w->rng, high - low + 1);
}

double world_exp(struct rng *r, double mean)
{
	return -mean * log(1 - rng_real(r));
}

/* ---- links ---- */

/* A connection keeps the order of what goes through it, but for what --reorder holds back. */
static void send(struct world *w, uint64_t *last_at, unsigned qos, struct ev ev)
{
	const struct settings *s = w->set;
	uint64_t at = w->now + s->hop_us + rng_below(&w->rng, s->hop_us + 1);

	if (qos == 0 && world_chance(w, s->loss)) {
		mail_free(&w->post, ev.p);
		return;
	}
	if (qos == 0 && world_chance(w, s->reorder)) {
		at += rng_below(&w->rng, REORDER_US);
	} else {
		at = at > *last_at ? at : *last_at;
		*last_at = at;
	}
	if (qos == 0 && world_chance(w, s->duplicate)) {
		struct ev twin = ev;

		twin.p = mail_copy(&w->post, ev.p);
		world_push(w, at - w->now, twin);
	}
	world_push(w, at - w->now, ev);
}

/* For the hub's next connection. */
static void retain(struct world *w, struct box *b, enum topic_kind kind, const struct mail *m)
{
	size_t i = kind == TOPIC_AGENT_STATUS;

	if (w->set->hub_crashes == 0 || (kind != TOPIC_AGENT_STATUS && kind != TOPIC_AGENT_REGISTRATION))
		return;
	mail_free(&w->post, b->retained[i]);
	b->retained[i] = mail_copy(&w->post, m);
}

void world_to_hub(
	struct world *w, struct box *b, enum topic_kind kind, const struct msg_type *t, const void *m, unsigned qos)
{
	struct ev ev = { .type = EV_TO_HUB, .who = b->index, .sub = (uint16_t)kind, .gen = w->hub_gen };

	ev.p = mail_new(&w->post, t, m);
	w->fig.messages++;
	retain(w, b, kind, ev.p);
	send(w, &b->out_at, qos, ev);
	if (kind != TOPIC_AGENT_STATUS || !b->is_broker_linked)
		return;
	ev = (struct ev){ .type = EV_TO_BOX, .who = b->index, .sub = (uint16_t)kind, .gen = b->conn };
	ev.p = mail_new(&w->post, t, m); /* it reads its own */
	send(w, &b->in_at, qos, ev);
}

/* Boxes are called by their kind and number: no look-up. */
static struct box *box_of(const struct world *w, struct span agent)
{
	size_t i = 0, k = agent.n;
	size_t unit = 1;

	for (; k > 0 && agent.p[k - 1] != '-'; k--, unit *= 10)
		i += (size_t)(agent.p[k - 1] - '0') * unit;
	return i < w->n_boxes ? &w->boxes[i] : NULL;
}

static void to_box(
	struct world *w, struct span agent, enum topic_kind kind, const struct msg_type *t, const void *m, unsigned qos)
{
	struct box *b = box_of(w, agent);
	struct ev ev = { .type = EV_TO_BOX, .sub = (uint16_t)kind };

	if (b == NULL)
		return;
	ev.who = b->index;
	ev.gen = b->conn;
	w->fig.messages++;
	if (!b->is_broker_linked) {
		if (qos == 1)
			world_push(w, NO_SUBSCRIBER_US, (struct ev){ .type = EV_NO_SUBSCRIBER, .who = b->index });
		return;
	}
	ev.p = mail_new(&w->post, t, m);
	send(w, &b->in_at, qos, ev);
}

/* ---- the hub's surroundings ---- */

/* Group commit: while one is under way all that comes waits for the next. */
static void journal_commit(struct world *w)
{
	w->is_journal_busy = true;
	world_push(w, w->set->journal_us,
		(struct ev){ .type = EV_JOURNAL, .p = (void *)(uintptr_t)w->journal_asked, .gen = w->hub_gen });
}

static void hub_act(struct world *w, const struct hub_action *a)
{
	switch (a->type) {
	case HUB_ACT_PERSIST:
		w->journal_asked = a->persist.seq;
		if (w->set->hub_crashes > 0)
			disk_add(w, &a->persist);
		break;
	case HUB_ACT_DISPATCH: to_box(w, a->agent, TOPIC_AGENT_JOBS, &job_type, &a->job, 1); break;
	case HUB_ACT_CONTROL:
		to_box(w, a->agent, TOPIC_AGENT_CONTROL, &control_type, &a->control, a->control.verb == CONTROL_ACK ? 0 : 1);
		break;
	case HUB_ACT_ANSWER: load_answer(w, a); break;
	case HUB_ACT_LOG:
		if (w->set->is_verbose)
			fprintf(stderr, "%10.3f hub: %.*s\n", (double)w->now / 1e6, SPAN_FMT(a->text));
		break;
	default: break;
	}
}

static void hub_step_once(struct world *w, const struct hub_event *ev)
{
	const struct hub_action *acts;
	size_t n = hub_step(w->hub, world_ms(w), ev, &acts);

	w->fig.steps_hub++;
	for (size_t i = 0; i < n; i++)
		hub_act(w, &acts[i]);
}

void world_feed_hub(struct world *w, const struct hub_event *ev)
{
	if (w->hub == NULL)
		return;
	hub_step_once(w, ev);
	if (w->set->journal_us > 0) {
		if (w->journal_asked > w->journal_safe && !w->is_journal_busy)
			journal_commit(w);
		return;
	}
	while (w->journal_asked > w->journal_safe) {
		w->journal_safe = w->journal_asked;
		hub_step_once(w, &(struct hub_event){ .type = HUB_EV_PERSISTED, .seq = w->journal_safe });
	}
}

static void journal_done(struct world *w, const struct ev *ev)
{
	if (ev->gen != w->hub_gen)
		return;
	w->is_journal_busy = false;
	w->journal_safe = (uint64_t)(uintptr_t)ev->p;
	world_feed_hub(w, &(struct hub_event){ .type = HUB_EV_PERSISTED, .seq = w->journal_safe });
}

static void hub_hears(struct world *w, const struct ev *ev)
{
	struct hub_event h = { .agent = span_of(w->boxes[ev->who].id) };
	union {
		struct registration registration;
		struct status status;
		struct heartbeat heartbeat;
		struct job_event event;
	} m;

	switch ((enum topic_kind)ev->sub) {
	case TOPIC_AGENT_REGISTRATION:
		h.type = HUB_EV_REGISTRATION;
		h.registration = mail_open(&w->post, ev->p, &m);
		break;
	case TOPIC_AGENT_STATUS:
		h.type = HUB_EV_STATUS;
		h.status = mail_open(&w->post, ev->p, &m);
		break;
	case TOPIC_AGENT_HEARTBEAT:
		h.type = HUB_EV_HEARTBEAT;
		h.heartbeat = mail_open(&w->post, ev->p, &m);
		break;
	default:
		h.type = HUB_EV_JOB_EVENT;
		h.job_event = mail_open(&w->post, ev->p, &m);
		break;
	}
	world_feed_hub(w, &h);
}

/* ---- its runs ---- */

static void hub_begin(struct world *w)
{
	const struct settings *s = w->set;
	struct hub_config c;

	hub_config_defaults(&c);
	c.seed = s->seed;
	c.policy = w->policy;
	c.epoch = ++w->hub_gen;
	c.journal = s->hub_crashes > 0 ? HUB_JOURNAL_ASYNC : HUB_JOURNAL_OFF;
	c.max_agents = c.max_agents > w->n_boxes ? c.max_agents : w->n_boxes;
	c.max_jobs = c.max_jobs > 32 * w->n_boxes ? c.max_jobs : 32 * w->n_boxes;
	c.queue_max = s->queue_max;
	c.max_bytes = 0; /* what is kept of ended jobs is bounded by their number */
	if (hub_new(&c, &w->hub) < 0)
		abort();
}

void world_hub_crash(struct world *w)
{
	if (w->hub == NULL)
		return;
	w->hub = hub_free(w->hub);
	disk_crash(w);
	world_push(w, (uint64_t)(w->set->hub_down_s * 1e6), (struct ev){ .type = EV_HUB_START });
}

/* What the broker holds of a box, to the hub that has just subscribed. */
static void tell_retained(struct world *w, const struct box *b)
{
	for (size_t k = 0; k < 2; k++) {
		struct ev ev = { .type = EV_TO_HUB, .who = b->index, .gen = w->hub_gen };

		if (b->retained[k] == NULL)
			continue;
		ev.sub = k == 0 ? TOPIC_AGENT_REGISTRATION : TOPIC_AGENT_STATUS;
		ev.p = mail_copy(&w->post, b->retained[k]);
		world_push(w, w->set->hop_us, ev);
	}
}

/* It reads its journal, then what the broker holds; and its own word goes to all who are connected. */
static void hub_starts_again(struct world *w)
{
	struct hub_status hub = { .version = PROTO_VERSION, .state = AGENT_ONLINE, .fleet = w->n_boxes };

	w->journal_asked = w->journal_safe = 0;
	w->is_journal_busy = false;
	w->fig.hub_runs++;
	hub_begin(w);
	hub.epoch = w->hub_gen;
	disk_restore(w);
	world_feed_hub(w, &(struct hub_event){ .type = HUB_EV_LINK_UP });
	for (size_t i = 0; i < w->n_boxes; i++) {
		struct box *b = &w->boxes[i];

		tell_retained(w, b);
		if (b->is_linked && !b->is_cut)
			box_feed(w, b, &(struct agent_event){ .type = AGENT_EV_HUB_STATUS, .hub_status = &hub });
	}
}

/* ---- the turn ---- */

static void happen(struct world *w, const struct ev *ev)
{
	switch (ev->type) {
	case EV_TO_HUB:
		if (ev->gen == w->hub_gen && w->hub != NULL)
			hub_hears(w, ev);
		mail_free(&w->post, ev->p);
		break;
	case EV_TO_BOX:
		if (ev->gen == w->boxes[ev->who].conn)
			box_mail(w, &w->boxes[ev->who], (enum topic_kind)ev->sub, ev->p);
		mail_free(&w->post, ev->p);
		break;
	case EV_NO_SUBSCRIBER:
		world_feed_hub(
			w, &(struct hub_event){ .type = HUB_EV_NO_SUBSCRIBER, .agent = span_of(w->boxes[ev->who].id) });
		break;
	case EV_JOURNAL: journal_done(w, ev); break;
	case EV_HUB_START: hub_starts_again(w); break;
	case EV_TOLD:
	case EV_SUBMIT:
	case EV_ARRIVAL:
	case EV_TURN:
	case EV_WINDOW: load_event(w, ev); break;
	case EV_FAULT: fault_event(w, ev); break;
	default: box_event(w, ev); break;
	}
}

static void turn(struct world *w)
{
	uint64_t hub_at = w->hub != NULL ? hub_deadline(w->hub) : UINT64_MAX, next = agenda_next(&w->agenda);
	struct ev ev;

	hub_at = hub_at == UINT64_MAX ? hub_at : hub_at * MS;
	if (hub_at <= next) {
		w->now = hub_at > w->now ? hub_at : w->now;
		world_feed_hub(w, &(struct hub_event){ .type = HUB_EV_TICK });
		return;
	}
	ev = agenda_take(&w->agenda);
	w->now = ev.at;
	happen(w, &ev);
}

static bool all_ready(const struct world *w)
{
	for (size_t i = 0; i < w->n_boxes; i++)
		for (size_t k = 0; k < w->boxes[i].n_engines; k++)
			if (w->boxes[i].agent == NULL ||
				(w->boxes[i].engines[k].is_alive && !w->boxes[i].engines[k].is_ready))
				return false;
	return true;
}

static void bring_up(struct world *w)
{
	uint64_t until = w->now + START_US;

	world_feed_hub(w, &(struct hub_event){ .type = HUB_EV_LINK_UP });
	for (size_t i = 0; i < w->n_boxes; i++)
		box_init(w, i);
	do {
		while (agenda_next(&w->agenda) < until)
			turn(w);
		w->now = until;
		until += SECOND;
	} while (!all_ready(w));
}

void world_run(struct world *w, enum hub_policy policy)
{
	uint64_t give_up = UINT64_MAX;

	rng_seed(&w->rng, w->set->seed);
	rng_seed(&w->load_rng, rng_mix(w->set->seed, 1));
	post_init(&w->post, w->set->is_wire);
	w->n_boxes = w->set->agents;
	w->boxes = calloc(w->n_boxes, sizeof(*w->boxes));
	if (w->boxes == NULL)
		abort();
	w->now = BEGIN_US;
	w->policy = policy;
	hub_begin(w);
	bring_up(w);
	load_begin(w);
	fault_begin(w);
	while ((w->n_open > 0 || !w->is_all_asked) && w->now < give_up) {
		turn(w);
		if (w->is_all_asked && give_up == UINT64_MAX)
			give_up = w->now + (uint64_t)(w->set->give_up_s * 1e6);
	}
	w->fig.lost = w->n_open;
}

void world_fini(struct world *w)
{
	while (w->agenda.n > 0) {
		struct ev ev = agenda_take(&w->agenda);

		if (ev.type == EV_TO_HUB || ev.type == EV_TO_BOX)
			mail_free(&w->post, ev.p);
		if (ev.type == EV_TOLD)
			free(ev.p);
	}
	agenda_fini(&w->agenda);
	for (size_t i = 0; i < w->n_boxes; i++) {
		mail_free(&w->post, w->boxes[i].retained[0]);
		mail_free(&w->post, w->boxes[i].retained[1]);
		box_fini(&w->boxes[i]);
	}
	free(w->boxes);
	free(w->jobs);
	free(w->convs);
	w->hub = hub_free(w->hub);
	disk_fini(w->disk);
	post_fini(&w->post);
}
