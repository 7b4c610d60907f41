#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_SIZE ((size_t)64 << 10)
#define FAULTS_MS 20000  /* how long things go wrong */
#define ENOUGH_MS 120000 /* … and how long after that everything must be over */
#define STEPS_MAX 2000000

/* ---- what happens next ---- */

static bool is_before(const struct future *a, const struct future *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_push(struct sim *s, struct future f)
{
	size_t i = s->n_heap++;

	if (s->n_heap > s->cap_heap) {
		s->cap_heap = s->cap_heap > 0 ? s->cap_heap * 2 : 1024;
		s->heap = realloc(s->heap, s->cap_heap * sizeof(*s->heap));
		if (s->heap == NULL)
			abort();
	}
	for (; i > 0 && is_before(&f, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = f;
}

static struct future heap_pop(struct sim *s)
{
	struct future first = s->heap[0], last = s->heap[--s->n_heap];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < s->n_heap; i = child) {
		if (child + 1 < s->n_heap && is_before(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (!is_before(&s->heap[child], &last))
			break;
		s->heap[i] = s->heap[child];
	}
	s->heap[i] = last;
	return first;
}

void sim_push(struct sim *s, uint64_t in_ms, struct future f)
{
	f.at = s->now + in_ms;
	f.order = s->order++;
	heap_push(s, f);
}

bool sim_chance(struct sim *s, double p)
{
	return rng_real(&s->rng) < p;
}

uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high)
{
	return low + rng_below(&s->rng, high - low + 1);
}

/* ---- telling ---- */

void sim_trace(const struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->is_verbose)
		return;
	printf("%8llu  ", (unsigned long long)s->now);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void sim_violation(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->why[0] != '\0')
		return; /* the first one counts */
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	sim_trace(s, "VIOLATION: %s", s->why);
}

/* ---- messages on their way ---- */

static uint64_t delay(struct sim *s, const struct future *f, unsigned qos)
{
	if (f->type == F_TO_HUB && f->kind == TOPIC_AGENT_OUT && qos == 0 && s->now < s->boxes[f->who].slow_until)
		return sim_between(s, 200, 1500);
	if (s->knobs.has_rogue && f->who == 0 && (f->kind == TOPIC_AGENT_REGISTRATION || f->kind == TOPIC_AGENT_STATUS) &&
		!s->is_calm && sim_chance(s, 0.85))
		return sim_between(s, 500, 3000); /* the news of its restarts travel slowly */
	if (sim_chance(s, s->knobs.late))
		return sim_between(s, 300, 3000);
	return sim_chance(s, 0.1) ? sim_between(s, 20, 300) : sim_between(s, 1, 20);
}

/* Alters one letter of a token frame's text, as bad memory would; it stays UTF-8. */
static void corrupt(struct sim *s, struct buf *b, const struct job_event *e)
{
	uint8_t *at = e->text.n > 0 ? memmem(b->p, b->n, e->text.p, e->text.n) : NULL;

	if (at == NULL)
		return;
	at += rng_below(&s->rng, e->text.n);
	*at = *at == '0' ? '1' : '0';
}

static void send(struct sim *s, struct future f, const struct buf *b, unsigned qos)
{
	unsigned copies = sim_chance(s, s->knobs.dup) ? 2 : 1;

	for (unsigned i = 0; i < copies; i++) {
		if (sim_chance(s, qos == 0 ? s->knobs.loss0 : s->knobs.loss1))
			continue;
		f.bytes = malloc(b->n + 1);
		if (f.bytes == NULL)
			abort();
		memcpy(f.bytes, b->p, b->n);
		f.n = b->n;
		sim_push(s, delay(s, &f, qos), f);
	}
}

static void retain(struct box *b, enum topic_kind kind, const struct buf *bytes)
{
	size_t k = kind == TOPIC_AGENT_REGISTRATION ? 0 : 1;

	free(b->retained[k]);
	b->retained[k] = malloc(bytes->n + 1);
	if (b->retained[k] == NULL)
		abort();
	memcpy(b->retained[k], bytes->p, bytes->n);
	b->n_retained[k] = bytes->n;
}

/* From an agent (or as its will, or from a client): through the broker to the hub. */
void sim_to_hub(struct sim *s, size_t who, enum topic_kind kind, const struct msg_type *t, const void *m, unsigned qos)
{
	enum msg_keys keys = kind == TOPIC_CLIENT_JOBS || kind == TOPIC_CLIENT_CANCEL ? MSG_KEYS_TEXT : MSG_KEYS_INT;
	struct buf b = BUF_INIT(PROTO_MAX_MESSAGE);

	if (msg_encode(t, m, keys, &b) < 0)
		sim_violation(s, "a message cannot be encoded");
	if (kind == TOPIC_AGENT_OUT && sim_chance(s, s->knobs.corrupt))
		corrupt(s, &b, m);
	if (kind == TOPIC_AGENT_REGISTRATION || kind == TOPIC_AGENT_STATUS)
		retain(&s->boxes[who], kind, &b);
	send(s, (struct future){ .type = F_TO_HUB, .kind = kind, .who = who, .gen = s->hub_gen }, &b, qos);
	if (kind == TOPIC_AGENT_STATUS && s->boxes[who].is_broker_linked) /* it reads its own */
		send(s, (struct future){ .type = F_TO_BOX, .kind = kind, .who = who, .gen = s->boxes[who].conn }, &b, qos);
	buf_fini(&b);
}

static void to_box(
	struct sim *s, struct span agent, enum topic_kind kind, const struct msg_type *t, const void *m, unsigned qos)
{
	struct buf b = BUF_INIT(PROTO_MAX_MESSAGE);
	size_t who = 0;

	while (who < s->n_boxes && !span_is(agent, s->boxes[who].id))
		who++;
	if (who == s->n_boxes || !s->is_hub_linked)
		return;
	if (!s->boxes[who].is_broker_linked) {
		if (qos == 1)
			sim_push(s, sim_between(s, 1, 10),
				(struct future){ .type = F_NO_SUBSCRIBER, .who = who, .gen = s->hub_gen });
		return;
	}
	if (msg_encode(t, m, MSG_KEYS_INT, &b) < 0)
		sim_violation(s, "a message cannot be encoded");
	send(s, (struct future){ .type = F_TO_BOX, .kind = kind, .who = who, .gen = s->boxes[who].conn }, &b, qos);
	buf_fini(&b);
}

/* ---- the hub's surroundings ---- */

size_t sim_job_of(const struct sim *s, struct span hub_id)
{
	for (size_t i = 0; i < s->n_jobs; i++)
		if (s->jobs[i].hub_id[0] != '\0' && span_is(hub_id, s->jobs[i].hub_id))
			return i;
	return SIZE_MAX;
}

static void dispatched(struct sim *s, const struct hub_action *act)
{
	size_t i = chain_job(act->job.prompt);
	struct cjob *j = &s->jobs[i];

	if (j->hub_id[0] == '\0')
		(void)span_copy(act->job.job, j->hub_id, sizeof(j->hub_id));
	else if (!span_is(act->job.job, j->hub_id))
		sim_violation(s, "job %zu runs twice: as %s and as %.*s", i, j->hub_id, SPAN_FMT(act->job.job));
	watch_dispatched(s, act, i);
	if (act->job.attempt > j->attempts)
		j->attempts = act->job.attempt;
	/* The record of an attempt stands for the second one beside it, too. */
	if (!notebook_has(s, act->job.job, HUB_PERSIST_ATTEMPT, act->job.attempt) &&
		!(s->knobs.has_hedges && notebook_has(s, act->job.job, HUB_PERSIST_ATTEMPT, act->job.attempt - 1)))
		sim_violation(s, "attempt %u of job %zu went out before it was recorded", (unsigned)act->job.attempt, i);
	to_box(s, act->agent, TOPIC_AGENT_JOBS, &job_type, &act->job, 1);
}

/* The journal: what is asked to be recorded is safe a while later, with all before it. */
static void persist(struct sim *s, const struct hub_action *act, size_t n_left)
{
	if (act->persist.kind == HUB_PERSIST_ATTEMPT)
		watch_recorded(s, act->persist.job, act->persist.attempt);
	if (act->persist.kind == HUB_PERSIST_ATTEMPT)
		sticky_begun(s, act, n_left);
	notebook_keep(s, &act->persist);
	sim_push(s, s->persist_delay > 0 ? sim_between(s, 0, s->persist_delay) : 0,
		(struct future){ .type = F_PERSISTED, .gen = act->persist.seq, .who = s->hub_life });
}

static const char *act_name(const struct hub_action *a)
{
	static const char *const names[] = { "persist", "dispatch", "control", "answer", "detach", "admin", "forget", "log" };

	return names[a->type];
}

static void trace_act(const struct sim *s, const struct hub_action *a)
{
	if (!s->is_verbose)
		return;
	switch (a->type) {
	case HUB_ACT_DISPATCH:
		sim_trace(s, "hub  dispatch %.*s %.*s attempt %u epoch %u prefix %zu", SPAN_FMT(a->agent),
			SPAN_FMT(a->job.prompt), (unsigned)a->job.attempt, (unsigned)a->job.epoch, a->job.n_prefix);
		break;
	case HUB_ACT_CONTROL:
		sim_trace(s, "hub  %s %.*s job %zd attempt %u index %u", control_names[a->control.verb], SPAN_FMT(a->agent),
			(ssize_t)sim_job_of(s, a->control.job), (unsigned)a->control.attempt, (unsigned)a->control.index);
		break;
	case HUB_ACT_ANSWER:
		sim_trace(s, "hub  answer %.*s %s index %u n %u %.*s %.*s", SPAN_FMT(a->reply.topic),
			answer_names[a->answer.type], (unsigned)a->answer.index, (unsigned)a->answer.n,
			SPAN_FMT(a->answer.code), SPAN_FMT(a->answer.text));
		break;
	case HUB_ACT_LOG: sim_trace(s, "hub  log %.*s", SPAN_FMT(a->text)); break;
	default: sim_trace(s, "hub  %s", act_name(a)); break;
	}
}

static void hub_acts(struct sim *s, const struct hub_action *acts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct hub_action *a = &acts[i];

		trace_act(s, a);
		switch (a->type) {
		case HUB_ACT_PERSIST: persist(s, a, n - i); break;
		case HUB_ACT_DISPATCH: dispatched(s, a); break;
		case HUB_ACT_CONTROL:
			to_box(s, a->agent, TOPIC_AGENT_CONTROL, &control_type, &a->control,
				a->control.verb == CONTROL_ACK ? 0 : 1);
			break;
		case HUB_ACT_ANSWER: client_answer(s, a); break;
		case HUB_ACT_DETACH: client_detached(s, a->reply); break;
		case HUB_ACT_ADMIN: operator_answered(s); break;
		case HUB_ACT_FORGET: operator_forgot(s, a->agent); break;
		case HUB_ACT_LOG: break;
		}
	}
}

/* ---- what the hub believes against what is true ---- */

static bool is_older(const struct registration *r, const struct box *b)
{
	if (r->epoch != b->held_epoch)
		return r->epoch < b->held_epoch;
	if (r->conn != b->held_conn)
		return r->conn < b->held_conn;
	return r->seq < b->held_seq;
}

static void check_agent(void *ctx, const struct hub_agent_view *v)
{
	struct sim *s = ctx;
	struct box *b = s->boxes;

	if (v->registration == NULL)
		return;
	while (!span_is(v->id, b->id))
		b++;
	sticky_registered(s, v);
	if (is_older(v->registration, b))
		sim_violation(s, "the hub took an older registration of %s for the newer one", b->id);
	b->held_epoch = v->registration->epoch;
	b->held_conn = v->registration->conn;
	b->held_seq = v->registration->seq;
	if (v->presence == HUB_PRESENCE_OFFLINE && b->presence != HUB_PRESENCE_OFFLINE &&
		span_is(v->reason, "connection lost") && b->agent != NULL && !b->is_stopping && b->is_linked &&
		b->is_broker_linked && !b->is_cut && v->registration->epoch == b->epoch && v->registration->conn == b->conn)
		sim_violation(s, "%s lives on connection %u and was taken for dead by a will", b->id, (unsigned)b->conn);
	b->presence = v->presence;
	if (v->presence != HUB_PRESENCE_ONLINE || v->weight == 0)
		b->open_at = 0;
	else if (b->open_at == 0)
		b->open_at = s->now;
}

struct tally {
	struct sim *sim;
	uint64_t in_flight, assigned, second, waiting;
	bool is_over;
	uint64_t extra;
};

static void tally_agent(void *ctx, const struct hub_agent_view *v)
{
	struct tally *t = ctx;

	struct box *b = t->sim->boxes;

	t->in_flight += v->in_flight;
	while (!span_is(v->id, b->id))
		b++;
	operator_check(t->sim, b, v);
	/* Slots may shrink under work that was given before; a routable agent is checked where it matters: its engine. */
}

static void tally_job(void *ctx, const struct hub_job_view *v)
{
	struct tally *t = ctx;

	t->assigned += v->state == HUB_JOB_DISPATCHED || v->state == HUB_JOB_RUNNING;
	t->second += v->second_agent.n > 0;
	t->waiting += v->state == HUB_JOB_NEW || v->state == HUB_JOB_QUEUED;
}

static void check_credits(struct sim *s)
{
	struct tally t = { .sim = s };

	hub_each_agent(s->hub, tally_agent, &t);
	hub_each_job(s->hub, tally_job, &t);
	if (t.in_flight != t.assigned + t.second || hub_counters(s->hub)->hedging != t.second || t.assigned != hub_counters(s->hub)->running ||
		t.waiting != hub_counters(s->hub)->queued)
		sim_violation(s, "credits: %u in flight, %u assigned, counted %u; %u waiting, counted %u",
			(unsigned)t.in_flight, (unsigned)t.assigned, (unsigned)hub_counters(s->hub)->running,
			(unsigned)t.waiting, (unsigned)hub_counters(s->hub)->queued);
}

void sim_feed_hub(struct sim *s, const struct hub_event *ev)
{
	const struct hub_action *acts;
	size_t n = hub_step(s->hub, s->now, ev, &acts);

	if (hub_counters(s->hub)->jobs_rejoined != s->rejoined_seen) { /* agents have work that they were given before a crash */
		memset(s->homes, 0, sizeof(s->homes));
		for (size_t i = 0; i < s->n_boxes; i++)
			s->boxes[i].is_shut = false;
	}
	s->rejoined_seen = hub_counters(s->hub)->jobs_rejoined;
	hub_acts(s, acts, n);
	if (ev->type == HUB_EV_REGISTRATION || ev->type == HUB_EV_STATUS || ev->type == HUB_EV_HEARTBEAT ||
		ev->type == HUB_EV_ADMIN || hub_counters(s->hub)->agents_lost != s->lost_seen) {
		s->lost_seen = hub_counters(s->hub)->agents_lost;
		hub_each_agent(s->hub, check_agent, s);
	}
	if (s->steps % 32 == 0) {
		check_credits(s);
		sticky_check(s);
	}
}

static void decode(struct sim *s, const struct future *f, const struct msg_type *t, enum msg_keys keys, void *ret)
{
	const char *field = NULL;

	arena_reset(&s->arena);
	if (msg_decode(t, span_mem(f->bytes, f->n), keys, &s->arena, ret, &field) < 0)
		sim_violation(s, "%s cannot be decoded at %s", t->name, field != NULL ? field : "?");
}

static void to_hub_arrives(struct sim *s, struct future *f)
{
	bool is_client = f->kind == TOPIC_CLIENT_JOBS || f->kind == TOPIC_CLIENT_CANCEL;
	struct hub_event ev = { .agent = is_client ? SPAN_NONE : span_of(s->boxes[f->who].id) };
	struct registration registration;
	struct status status;
	struct heartbeat heartbeat;
	struct job_event event;

	switch (f->kind) {
	case TOPIC_AGENT_REGISTRATION:
		decode(s, f, &registration_type, MSG_KEYS_INT, &registration);
		ev.type = HUB_EV_REGISTRATION;
		ev.registration = &registration;
		watch_registration(s, f->who, &registration);
		sim_trace(s, "%s registration epoch %u conn %u seq %u slots %u", ev.agent.p, (unsigned)registration.epoch,
			(unsigned)registration.conn, (unsigned)registration.seq, (unsigned)registration.slots);
		break;
	case TOPIC_AGENT_STATUS:
		decode(s, f, &status_type, MSG_KEYS_INT, &status);
		ev.type = HUB_EV_STATUS;
		ev.status = &status;
		sim_trace(s, "%s status %s epoch %u conn %u", ev.agent.p, agent_state_names[status.state],
			(unsigned)status.epoch, (unsigned)status.conn);
		break;
	case TOPIC_AGENT_HEARTBEAT:
		decode(s, f, &heartbeat_type, MSG_KEYS_INT, &heartbeat);
		ev.type = HUB_EV_HEARTBEAT;
		ev.heartbeat = &heartbeat;
		break;
	case TOPIC_AGENT_OUT:
		decode(s, f, &job_event_type, MSG_KEYS_INT, &event);
		ev.type = HUB_EV_JOB_EVENT;
		ev.job_event = &event;
		sim_trace(s, "%s says %s job %zd attempt %u epoch %u index %u n %zu %s", ev.agent.p,
			job_event_names[event.type], (ssize_t)sim_job_of(s, event.job), (unsigned)event.attempt,
			(unsigned)event.epoch, (unsigned)event.index, event.n_ids,
			event.code != 0 ? code_name((unsigned)event.code) : "");
		break;
	default: client_submit_arrives(s, f); return;
	}
	if (ev.type == HUB_EV_JOB_EVENT)
		watch_event(s, f->who, &event);
	sim_feed_hub(s, &ev);
}

static void persisted(struct sim *s, uint64_t seq, uint64_t life)
{
	if (life != s->hub_life)
		return;
	notebook_safe(s, seq);
	sim_feed_hub(s, &(struct hub_event){ .type = HUB_EV_PERSISTED, .seq = seq });
}

/* The hub's own connection: what is on its way to it is lost with it; what is retained comes again. */
void sim_hub_link(struct sim *s, bool is_up)
{
	s->is_hub_linked = is_up;
	sim_trace(s, "the hub's link is %s", is_up ? "up" : "down");
	if (!is_up)
		s->hub_gen++;
	sim_feed_hub(s, &(struct hub_event){ .type = is_up ? HUB_EV_LINK_UP : HUB_EV_LINK_DOWN });
	for (size_t i = 0; is_up && i < s->n_boxes; i++)
		for (size_t k = 0; k < 2; k++) {
			const struct box *b = &s->boxes[i];
			struct buf bytes = { .p = b->retained[k], .n = b->n_retained[k] };

			if (bytes.n > 0) /* not forgotten */
				send(s,
					(struct future){ .type = F_TO_HUB,
						.kind = k == 0 ? TOPIC_AGENT_REGISTRATION : TOPIC_AGENT_STATUS,
						.who = i,
						.gen = s->hub_gen },
					&bytes, 1);
		}
}

/* ---- the turn of the world ---- */

static bool waits_for_hub(const struct sim *s, const struct future *f)
{
	return s->now < s->hub_paused_until &&
	       (f->type == F_TO_HUB || f->type == F_PERSISTED || f->type == F_NO_SUBSCRIBER || f->type == F_HUB_UP);
}

static void happen(struct sim *s, struct future *f)
{
	if (waits_for_hub(s, f)) {
		sim_push(s, s->hub_paused_until - s->now, *f);
		f->bytes = NULL;
		return;
	}
	switch (f->type) {
	case F_TO_HUB:
		if (s->is_hub_linked && f->gen == s->hub_gen)
			to_hub_arrives(s, f);
		else if (f->kind == TOPIC_CLIENT_JOBS)
			client_not_heard(s, f->who);
		break;
	case F_NO_SUBSCRIBER:
		if (s->is_hub_linked && f->gen == s->hub_gen)
			sim_feed_hub(s,
				&(struct hub_event){ .type = HUB_EV_NO_SUBSCRIBER, .agent = span_of(s->boxes[f->who].id) });
		break;
	case F_PERSISTED: persisted(s, f->gen, f->who); break;
	case F_TOLD:
		if (f->gen == s->hub_life)
			sim_feed_hub(s, &(struct hub_event){ .type = HUB_EV_TOLD, .job = span_of(s->jobs[f->who].hub_id) });
		break;
	case F_HUB_UP:
		if (!s->is_hub_linked)
			sim_hub_link(s, true);
		break;
	case F_HUB_WAKE: break;
	case F_CLIENT: client_future(s, f); break;
	case F_FAULT: fault_happen(s); break;
	case F_TO_BOX: box_message(s, f); break;
	default: box_future(s, f); break;
	}
}

static uint64_t next_at(const struct sim *s, size_t *ret_core)
{
	uint64_t at = s->n_heap > 0 ? s->heap[0].at : UINT64_MAX, hub_at = hub_deadline(s->hub);

	*ret_core = SIZE_MAX; /* the heap */
	if (hub_at < s->hub_paused_until)
		hub_at = s->hub_paused_until;
	if (hub_at < at) {
		at = hub_at;
		*ret_core = SIM_MAX_BOXES; /* the hub */
	}
	for (size_t i = 0; i < s->n_boxes; i++)
		if (box_deadline(s, i) < at) {
			at = box_deadline(s, i);
			*ret_core = i;
		}
	return at > s->now ? at : s->now;
}

static void turn(struct sim *s)
{
	size_t core;
	uint64_t at = next_at(s, &core);
	struct future f;

	s->steps++;
	if (!s->is_calm && at >= s->calm_at) {
		s->now = s->now > s->calm_at ? s->now : s->calm_at;
		fault_stop(s);
		return;
	}
	s->now = at;
	if (core == SIM_MAX_BOXES) {
		sim_feed_hub(s, &(struct hub_event){ .type = HUB_EV_TICK });
	} else if (core != SIZE_MAX) {
		box_tick(s, core);
	} else {
		f = heap_pop(s);
		happen(s, &f);
		free(f.bytes);
	}
	notebook_tempt(s);
}

void sim_hub_begin(struct sim *s)
{
	struct hub_config c;

	hub_config_defaults(&c);
	c.seed = s->seed;
	c.epoch = ++s->hub_life;
	c.journal = s->has_journal ? HUB_JOURNAL_SYNC : HUB_JOURNAL_OFF;
	c.notes = s->has_journal && s->seed / 6 % 2 == 0;
	c.rejoin_ms = 5000;
	c.policy = s->seed % HUB_POLICY_COUNT;
	c.attempts_max = 8;
	c.accept_timeout_ms = 400;
	c.silence_ms = 500;
	c.first_token_ms = 3000;
	c.stall_ms = 2000;
	c.ack_frames = 8;
	c.retry_min_ms = 20;
	c.retry_max_ms = SIM_RETRY_MAX_MS;
	c.blind_min_fleet = 4;
	c.blind_window_ms = 1500;
	c.extra_credit = s->knobs.is_quiet ? 0 : s->seed / 2 % 4;
	c.full_wait_ms = ENOUGH_MS; /* more than any job here has */
	c.no_agent_wait_ms = 20000;
	c.breaker_min = SIM_BREAKER_MIN;
	c.poison_kills = SIM_POISON;
	c.hedge_percent = s->knobs.has_hedges ? 50 : 0;
	c.hedge_samples = 10;
	c.hedge_min_ms = 50;
	c.breaker_open_ms = 500;
	c.breaker_open_max_ms = 3000;
	c.breaker_window_ms = 2 * ENOUGH_MS; /* what has failed is never forgotten */
	c.max_sessions = s->knobs.forgets_sessions ? 3 : 1000;
	c.session_ttl_ms = s->knobs.forgets_sessions ? 2000 : 1000000;
	s->extra_credit = c.extra_credit;
	s->max_sessions = c.max_sessions;
	s->session_ttl_ms = c.session_ttl_ms;
	c.rules_off = s->hub_rules_off;
	if (hub_new(&c, &s->hub) < 0)
		abort();
}

bool sim_run(struct sim *s)
{
	rng_seed(&s->rng, s->seed);
	s->now = 1000;
	s->calm_at = s->now + FAULTS_MS;
	s->give_up_at = s->calm_at + ENOUGH_MS;
	s->arena = (struct arena){ .p = malloc(ARENA_SIZE), .cap = ARENA_SIZE };
	if (s->arena.p == NULL)
		abort();
	s->has_journal = s->seed / 2 % 3 != 0;
	s->persist_delay = s->seed % 3 == 0 ? 40 : s->has_journal ? s->seed % 3 * 5 : 0;
	s->n_boxes = sim_between(s, 1, SIM_MAX_BOXES);
	fault_plan(s);
	sim_hub_begin(s);
	for (size_t i = 0; i < s->n_boxes; i++)
		box_init(s, i);
	sim_hub_link(s, true);
	client_init(s);
	while (s->why[0] == '\0' && (s->n_open > 0 || !s->is_calm)) {
		if (s->now >= s->give_up_at || s->steps > STEPS_MAX) {
			client_check_end(s);
			break;
		}
		turn(s);
	}
	check_credits(s);
	return s->why[0] == '\0';
}

void sim_fini(struct sim *s)
{
	for (size_t i = 0; i < s->n_heap; i++)
		free(s->heap[i].bytes);
	free(s->heap);
	for (size_t i = 0; i < s->n_boxes; i++)
		box_fini(&s->boxes[i]);
	s->hub = hub_free(s->hub);
	notebook_fini(s);
	free(s->arena.p);
}
