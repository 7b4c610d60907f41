/* For all seeds: whatever happens in whatever order, the core keeps its promises.
 * The world around it: an engine that obeys or dies, a hub that loses frames and asks. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent_rig.h"
#include "rng.h"
#include "sha256.h"

#define N_JOBS 12
#define PARALLEL 3
#define N_EVENTS 600
#define MAX_TOKENS 400

/* What the engine runs. */
struct work {
	uint64_t number, next, attempt;
	size_t job; /* index in the hub's table */
	bool cancelled;
};

/* What the hub knows of a job's current attempt. */
struct seen {
	char id[8];
	uint64_t attempt, started; /* started: the greatest the engine has seen */
	uint32_t prefix;
	uint64_t next;      /* index the hub has all before */
	uint64_t send_next; /* index the agent's next frame must have */
	uint64_t generated; /* by the engine, prefix included */
	bool ended;
	struct buf text;
};

struct world {
	struct rig rig;
	struct rng rng;
	uint64_t seed;
	struct work work[PARALLEL];
	uint64_t last_number;
	bool is_up, has_child, is_loaded, is_stopped;
	struct seen jobs[N_JOBS];
};

static struct world w;

#define MUST(what) cr_assert((what), "TEST_SEED=%" PRIu64 ": " #what, w.seed)

static size_t chance(size_t n)
{
	return (size_t)rng_below(&w.rng, n);
}

static size_t find_job(struct span id)
{
	size_t i = 0;

	while (i < N_JOBS && !span_is(id, w.jobs[i].id))
		i++;
	return i;
}

static void touch(struct span s)
{
	volatile uint8_t sum = 0;

	for (size_t i = 0; i < s.n; i++)
		sum = (uint8_t)(sum + (uint8_t)s.p[i]); /* a sanitizer sees memory that is gone */
}

/* The prompt names job and attempt. */
static struct work work_of(const struct engine_msg *m)
{
	struct work k = { .number = m->job, .next = m->n_prefix };
	char prompt[32];

	MUST(span_copy(m->prompt, prompt, sizeof(prompt)) == 0);
	MUST(sscanf(prompt, "job%zu#%" SCNu64, &k.job, &k.attempt) == 2);
	MUST(k.job < N_JOBS);
	return k;
}

static void engine_told(const struct engine_msg *m)
{
	struct work *free_one = NULL;

	MUST(w.has_child);
	touch(m->prompt);
	for (size_t i = 0; i < PARALLEL; i++) {
		if (m->type == ENGINE_CANCEL && w.work[i].number == m->job)
			w.work[i].cancelled = true;
		if (w.work[i].number == 0)
			free_one = &w.work[i];
	}
	if (m->type != ENGINE_GENERATE)
		return;
	MUST(w.is_loaded);
	MUST(free_one != NULL); /* no more than parallel */
	MUST(m->job > w.last_number);
	w.last_number = m->job;
	*free_one = work_of(m);
	MUST(free_one->attempt > w.jobs[free_one->job].started); /* none twice, none that is stale */
	w.jobs[free_one->job].started = free_one->attempt;
	for (size_t i = 0; i < m->n_prefix; i++)
		MUST(m->prefix[i] == i);
}

static void frame_came(struct seen *s, const struct job_event *e)
{
	touch(e->text);
	MUST(e->n_ids > 0 && e->n_ids <= PROTO_MAX_FRAME_TOKENS);
	MUST(e->text.n == e->n_ids); /* the engine says a character a token */
	MUST(e->index == s->send_next);
	s->send_next += e->n_ids;
	MUST(s->send_next <= s->generated);
	for (size_t i = 0; i < e->n_ids; i++)
		MUST(e->ids[i] == (uint32_t)(uint8_t)e->text.p[i]);
	if (chance(4) == 0 || e->index != s->next)
		return; /* lost, or after a gap */
	buf_add_span(&s->text, e->text);
	s->next += e->n_ids;
}

static void done_came(struct seen *s, const struct job_event *e)
{
	uint8_t sha[SHA256_SIZE];

	MUST(e->index == s->generated);
	MUST(e->finish != FINISH_NONE);
	if (s->next != e->index)
		return; /* the hub will ask for the rest */
	sha256_of(buf_span(&s->text), sha);
	MUST(span_eq(e->sha256, span_mem(sha, sizeof(sha))));
	s->ended = true;
}

static void event_came(const struct job_event *e)
{
	size_t i = find_job(e->job);
	struct seen *s;

	MUST(i < N_JOBS);
	s = &w.jobs[i];
	touch(e->reason);
	MUST(e->attempt <= s->attempt);
	MUST(e->epoch == RIG_EPOCH);
	if (e->attempt < s->attempt)
		return; /* said before the hub moved on: cannot be here, but for a higher dispatch in the same step */
	switch (e->type) {
	case JOB_EVENT_TOKENS: frame_came(s, e); break;
	case JOB_EVENT_DONE: done_came(s, e); break;
	case JOB_EVENT_REJECTED:
	case JOB_EVENT_FAILED: s->ended = true; break;
	default: break;
	}
}

static void look_at_actions(void)
{
	for (size_t i = 0; i < w.rig.n; i++) {
		const struct agent_action *a = &w.rig.acts[i];

		switch (a->type) {
		case AGENT_ACT_ENGINE_START:
			MUST(!w.has_child);
			w.has_child = true;
			w.is_loaded = false;
			break;
		case AGENT_ACT_ENGINE_SEND: engine_told(&a->engine_msg); break;
		case AGENT_ACT_ENGINE_KILL: MUST(w.has_child); break;
		case AGENT_ACT_EVENT:
			MUST(w.is_up);
			event_came(&a->job_event);
			break;
		case AGENT_ACT_REGISTER:
			MUST(w.is_up);
			touch(a->registration.models[0].reason);
			break;
		case AGENT_ACT_STATUS:
		case AGENT_ACT_HEARTBEAT: MUST(w.is_up); break;
		case AGENT_ACT_LOG: touch(a->text); break;
		case AGENT_ACT_SESSION_KEEP:
		case AGENT_ACT_SESSION_DISCARD:
		case AGENT_ACT_SESSION_DROP: MUST(!"sessions are not kept"); break;
		case AGENT_ACT_BENCHED: MUST(!"nobody asked for it"); break;
		case AGENT_ACT_STOPPED: w.is_stopped = true; break;
		}
	}
	w.rig.n = 0; /* each is looked at once */
}

/* ---- what may happen ---- */

static void engine_speaks(void)
{
	struct work *k = &w.work[chance(PARALLEL)];
	struct seen *s = &w.jobs[k->job];
	char text[9];
	size_t n = 1 + chance(8);

	if (!w.has_child)
		return;
	if (!w.is_loaded) {
		rig_hello(&w.rig);
		look_at_actions();
		rig_loaded(&w.rig);
		w.is_loaded = true;
		return;
	}
	if (k->number == 0)
		return;
	if (chance(20) > 0 && !k->cancelled && k->next + n < MAX_TOKENS) {
		for (size_t i = 0; i < n; i++)
			text[i] = (char)('a' + (k->next + i) % 26);
		text[n] = '\0';
		k->next += n;
		if (s->attempt == k->attempt)
			s->generated = k->next;
		rig_tokens(&w.rig, k->number, k->next - n, text);
		return;
	}
	n = (size_t)k->number;
	k->number = 0;
	rig_done(&w.rig, n, k->next, k->cancelled ? FINISH_CANCELLED : FINISH_STOP);
}

static void engine_dies(void)
{
	if (!w.has_child)
		return;
	w.has_child = w.is_loaded = false;
	memset(w.work, 0, sizeof(w.work));
	rig_exit(&w.rig, 9);
}

/* It stands still, or what it says makes no sense: it must be ended, and it is. */
static void engine_goes_mad(void)
{
	struct engine_msg m = { .type = ENGINE_TOKENS, .ids = (const uint32_t[]){ 1 }, .n_ids = 1, .text = SPAN("x") };
	struct agent_event ev = { .type = AGENT_EV_ENGINE_STOPPED, .signo = 19 };

	if (!w.has_child)
		return;
	m.job = chance(2) == 0 ? w.last_number : w.last_number + 1;
	m.index = MAX_TOKENS + 1;
	if (chance(2) == 0)
		ev = (struct agent_event){ .type = AGENT_EV_ENGINE, .engine_msg = chance(3) > 0 ? &m : NULL };
	/* What a job that ended here still brings is listened to no more. */
	rig_event(&w.rig, &ev);
	if (rig_find(&w.rig, AGENT_ACT_ENGINE_KILL, 0) == NULL) {
		MUST(ev.engine_msg == &m && m.job == w.last_number);
		return;
	}
	look_at_actions();
	engine_dies();
}

static void hub_dispatches(void)
{
	static uint32_t prefix[MAX_TOKENS];
	size_t i = chance(N_JOBS);
	char prompt[32];
	struct seen *s = &w.jobs[i];
	struct job_msg m = {
		.job = span_of(s->id), .prompt = span_of(s->id), .prefix = prefix, .priority = (unsigned)chance(3)
	};

	if (s->attempt == 0 || chance(8) == 0) { /* another attempt, from what the hub has */
		s->attempt++;
		s->prefix = (uint32_t)s->next;
		s->send_next = s->generated = s->next;
		s->ended = false;
		buf_reset(&s->text);
	}
	for (uint32_t k = 0; k < s->prefix; k++)
		prefix[k] = k;
	m.n_prefix = s->prefix;
	m.attempt = s->attempt - (s->attempt > 1 ? chance(2) : 0); /* or a stale one */
	m.deadline_ms = chance(3) == 0 ? 1 + chance(5000) : 0;
	(void)snprintf(prompt, sizeof(prompt), "%s#%" PRIu64, s->id, m.attempt);
	m.prompt = span_of(prompt);
	if (m.attempt == s->attempt || chance(2) == 0)
		rig_job_msg(&w.rig, m);
}

static void hub_controls(void)
{
	static const enum control_verb verbs[] = { CONTROL_ACK, CONTROL_RESEND, CONTROL_ACK, CONTROL_RESEND, CONTROL_CANCEL,
		CONTROL_END, CONTROL_PING };
	struct seen *s = &w.jobs[chance(N_JOBS)];
	enum control_verb verb = verbs[chance(sizeof(verbs) / sizeof(verbs[0]))];

	if (s->attempt == 0 || (verb == CONTROL_END && !s->ended))
		return;
	if (verb == CONTROL_RESEND)
		s->send_next = s->next;
	if (verb == CONTROL_ACK && s->next > s->send_next)
		s->send_next = s->next;
	rig_control(&w.rig, verb, s->id, s->attempt, s->next);
}

static void link_changes(void)
{
	switch (chance(4)) {
	case 0:
		w.is_up = false;
		rig_simple(&w.rig, AGENT_EV_LINK_DOWN);
		break;
	case 1: rig_simple(&w.rig, AGENT_EV_CONGESTED); break;
	case 2: rig_simple(&w.rig, AGENT_EV_WRITABLE); break;
	default:
		w.is_up = true;
		rig_link_up(&w.rig);
		break;
	}
}

static void time_passes(void)
{
	uint64_t at = agent_deadline(w.rig.a), until = w.rig.now + chance(400);
	bool is_pinged, is_killed;

	if (at <= until)
		w.rig.now = at > w.rig.now ? at : w.rig.now;
	else
		w.rig.now = until;
	rig_simple(&w.rig, AGENT_EV_TICK);
	is_pinged = rig_sent(&w.rig, ENGINE_PING) != NULL;
	is_killed = rig_find(&w.rig, AGENT_ACT_ENGINE_KILL, 0) != NULL;
	look_at_actions();
	if (is_pinged)
		rig_engine(&w.rig, (struct engine_msg){ .type = ENGINE_PONG });
	if (is_killed)
		engine_dies();
}

static void something_happens(void)
{
	static void (*const things[])(void) = { engine_speaks, engine_speaks, engine_speaks, engine_speaks, engine_speaks,
		hub_dispatches, hub_dispatches, hub_controls, hub_controls, time_passes, time_passes };
	size_t i = chance(120);

	if (i == 0)
		engine_dies();
	else if (i == 119)
		engine_goes_mad();
	else if (i < 5)
		link_changes();
	else
		things[i % (sizeof(things) / sizeof(things[0]))]();
	look_at_actions();
}

static void live(uint64_t seed)
{
	struct agent_config c = rig_config();
	struct agent_model m = c.models[0];

	w = (struct world){ .seed = seed };
	rng_seed(&w.rng, seed);
	m.parallel = PARALLEL;
	c.keep_ended_ms = 3600 * 1000; /* what is forgotten may be started twice */
	c.models = &m;
	c.seed = seed;
	rig_init(&w.rig, &c);
	look_at_actions();
	for (size_t i = 0; i < N_JOBS; i++) {
		(void)snprintf(w.jobs[i].id, sizeof(w.jobs[i].id), "job%zu", i);
		w.jobs[i].text = BUF_INIT(PROTO_MAX_ANSWER);
	}
	for (size_t i = 0; i < N_EVENTS; i++)
		something_happens();
	rig_simple(&w.rig, AGENT_EV_STOP);
	look_at_actions();
	for (size_t i = 0; i < 1000 && !w.is_stopped; i++) {
		time_passes();
		look_at_actions();
	}
	MUST(w.is_stopped);
	rig_fini(&w.rig);
	for (size_t i = 0; i < N_JOBS; i++)
		buf_fini(&w.jobs[i].text);
}

Test(property, whatever_happens_the_promises_hold)
{
	const char *one = getenv("TEST_SEED");
	uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1, n = one != NULL ? 1 : 1000;

	for (uint64_t seed = first; seed < first + n; seed++)
		live(seed);
}
