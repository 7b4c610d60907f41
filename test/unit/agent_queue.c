/* Waiting jobs: who is next, who gives way, who has waited enough; and for all seeds, against a
 * model that works everything out anew from the times of arrival. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent_rig.h"
#include "rng.h"

#define AGING 1000
#define WAIT 5000
#define SERVICE 300 /* at most */
#define MANY 4096

static struct rig r;

static void fini(void)
{
	rig_fini(&r);
}

static struct agent_config config(void)
{
	struct agent_config c = rig_config();

	c.queue_aging_ms = AGING;
	c.queue_displaces = true;
	c.hub_lease_ms = 24 * 3600 * 1000; /* nobody here says a word */
	return c;
}

static void init(void)
{
	struct agent_config c = config();

	rig_ready(&r, &c);
	rig_job(&r, "r1", 1);
	rig_job(&r, "r2", 1); /* both sequences are taken */
}

TestSuite(queue, .init = init, .fini = fini);

static void arrive(const char *id, enum priority priority)
{
	rig_job_msg(&r, (struct job_msg){ .job = span_of(id), .attempt = 1, .prompt = span_of(id), .priority = priority });
}

static void must_be_next(const char *id)
{
	static uint64_t run;
	const struct engine_msg *m;

	rig_done(&r, ++run, 0, FINISH_STOP);
	m = rig_sent(&r, ENGINE_GENERATE);
	cr_assert_not_null(m, "nothing starts, %s should", id);
	cr_assert(span_is(m->prompt, id), "%.*s starts before %s", SPAN_FMT(m->prompt), id);
}

Test(queue, a_full_one_displaces_the_newest_of_the_lowest_and_tells_so_until_it_is_heard)
{
	const struct job_event *e;

	arrive("n1", PRIORITY_NORMAL);
	r.now++;
	arrive("l1", PRIORITY_LOW);
	arrive("l2", PRIORITY_LOW);
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_REJECTED, "l2", 1)->code, CODE_QUEUE_FULL, "for nobody of its own class");
	arrive("h1", PRIORITY_HIGH);
	e = rig_must_say(&r, JOB_EVENT_REJECTED, "l1", 1);
	cr_assert(e->code == CODE_QUEUE_FULL && e->reason.n > 0);
	cr_assert_not_null(rig_said(&r, JOB_EVENT_ACCEPTED));
	rig_link_up(&r);
	rig_must_say(&r, JOB_EVENT_REJECTED, "l1", 1);
	rig_control(&r, CONTROL_RESEND, "l1", 1, 0);
	rig_must_say(&r, JOB_EVENT_REJECTED, "l1", 1);
	rig_control(&r, CONTROL_END, "l1", 1, 0);
	rig_link_up(&r);
	cr_assert_null(rig_said(&r, JOB_EVENT_REJECTED), "the hub knows");
	arrive("h2", PRIORITY_HIGH);
	rig_must_say(&r, JOB_EVENT_REJECTED, "n1", 1);
	arrive("h3", PRIORITY_HIGH);
	rig_must_say(&r, JOB_EVENT_REJECTED, "h3", 1);
	cr_assert_eq(agent_counters(r.a)->jobs_displaced, 2);
	must_be_next("h1");
	must_be_next("h2");
}

Test(queue, when_it_is_to_reject_nobody_gives_way)
{
	struct agent_config c = config();

	rig_fini(&r);
	c.queue_displaces = false;
	rig_ready(&r, &c);
	arrive("r1", PRIORITY_LOW);
	arrive("r2", PRIORITY_LOW);
	arrive("l1", PRIORITY_LOW);
	arrive("l2", PRIORITY_LOW);
	arrive("h1", PRIORITY_HIGH);
	rig_must_say(&r, JOB_EVENT_REJECTED, "h1", 1);
}

Test(queue, one_that_has_risen_is_as_good_as_those_of_its_new_class)
{
	arrive("l1", PRIORITY_LOW);
	rig_pass(&r, AGING - 1);
	arrive("n1", PRIORITY_NORMAL);
	rig_pass(&r, 2);
	arrive("h1", PRIORITY_HIGH);
	rig_must_say(&r, JOB_EVENT_REJECTED, "l1", 1); /* it came into the class after n1 */
	rig_pass(&r, AGING);
	arrive("h2", PRIORITY_HIGH);
	rig_must_say(&r, JOB_EVENT_REJECTED, "h2", 1); /* n1 is high by now */
	must_be_next("h1");
	must_be_next("n1");
}

Test(queue, one_that_waits_too_long_fails_and_may_be_tried_elsewhere)
{
	struct agent_config c = config();
	const struct job_event *e;

	rig_fini(&r);
	c.queue_wait_ms = WAIT;
	rig_ready(&r, &c);
	arrive("r1", PRIORITY_NORMAL);
	arrive("r2", PRIORITY_NORMAL);
	arrive("n1", PRIORITY_NORMAL);
	rig_pass(&r, WAIT - 1);
	cr_assert_eq(agent_counters(r.a)->jobs_failed, 0);
	cr_assert_leq(agent_deadline(r.a), r.now + 1, "it wakes for it");
	r.now++;
	rig_simple(&r, AGENT_EV_TICK);
	e = rig_must_say(&r, JOB_EVENT_FAILED, "n1", 1);
	cr_assert(e->code == CODE_QUEUE_TIMEOUT && span_is(e->reason, "the job waited 5 s for its turn"));
	rig_pass(&r, 10 * WAIT);
	cr_assert_eq(agent_counters(r.a)->jobs_failed, 1, "those that run have all the time");
}

/* ---- against a model ---- */

struct item {
	uint64_t taken;
	unsigned rank; /* 0 high, 1 normal, 2 low: of its priority */
	enum { NEW, WAITS, RUNS, OVER } state;
	uint64_t run, until; /* while it runs */
};

struct place { /* in the queue: lower goes first */
	uint64_t rank, entered;
};

static struct world {
	struct rng rng;
	uint64_t seed;
	size_t parallel, depth, n;
	uint64_t wait_ms;
	bool displaces;
	struct item items[MANY];
	size_t n_displaced, n_timed_out, n_refused, n_risen;
} w;

#define MUST(what) cr_assert((what), "TEST_SEED=%" PRIu64 ": " #what, w.seed)

static size_t chance(size_t n)
{
	return (size_t)rng_below(&w.rng, n);
}

static size_t count(int state)
{
	size_t n = 0;

	for (size_t i = 0; i < w.n; i++)
		n += (int)w.items[i].state == state;
	return n;
}

static struct place place_of(const struct item *t)
{
	uint64_t rises = (r.now - t->taken) / AGING;

	rises = rises < t->rank ? rises : t->rank;
	return (struct place){ t->rank - rises, t->taken + rises * AGING };
}

static bool goes_first(struct place a, struct place b)
{
	return a.rank != b.rank ? a.rank < b.rank : a.entered < b.entered;
}

static bool none_goes_before(struct place p)
{
	for (size_t i = 0; i < w.n; i++)
		if (w.items[i].state == WAITS && goes_first(place_of(&w.items[i]), p))
			return false;
	return true;
}

static bool none_goes_after(struct place p)
{
	for (size_t i = 0; i < w.n; i++)
		if (w.items[i].state == WAITS && goes_first(p, place_of(&w.items[i])))
			return false;
	return true;
}

static struct item *item_of(struct span id)
{
	char text[16];
	size_t i;

	MUST(span_copy(id, text, sizeof(text)) == 0 && sscanf(text, "j%zu", &i) == 1 && i < w.n);
	return &w.items[i];
}

static void starts(const struct engine_msg *m)
{
	struct item *t = item_of(m->prompt);

	MUST(t->state == WAITS);
	MUST(none_goes_before(place_of(t)));
	w.n_risen += place_of(t).rank < t->rank;
	/* Nobody starves: so long to the top, and then those before it, one after the other. */
	MUST(r.now - t->taken <= t->rank * AGING + (w.depth + 1) * (SERVICE + 50));
	t->state = RUNS;
	t->run = m->job;
	t->until = r.now + chance(SERVICE);
	MUST(count(RUNS) <= w.parallel);
}

static void refused(struct item *t, struct item *arrived)
{
	struct place mine = arrived != NULL ? place_of(arrived) : (struct place){ 0, 0 };

	MUST(arrived != NULL && t->state == WAITS);
	MUST(count(WAITS) == w.depth + 1 && count(RUNS) == w.parallel); /* it is really full */
	t->state = OVER;
	if (t == arrived) {
		w.n_refused++;
		for (size_t i = 0; w.displaces && i < w.n; i++)
			MUST(w.items[i].state != WAITS || place_of(&w.items[i]).rank <= mine.rank);
		return;
	}
	w.n_displaced++;
	MUST(w.displaces && place_of(t).rank > mine.rank);
	arrived->state = OVER; /* not to be compared with */
	MUST(none_goes_after(place_of(t)));
	arrived->state = WAITS;
}

static void timed_out(struct item *t, const struct job_event *e)
{
	MUST(e->code == CODE_QUEUE_TIMEOUT && t->state == WAITS);
	MUST(w.wait_ms != 0 && r.now == t->taken + w.wait_ms);
	t->state = OVER;
	w.n_timed_out++;
}

static void look(struct item *arrived)
{
	for (size_t i = 0; i < r.n; i++) {
		const struct agent_action *a = &r.acts[i];

		if (a->type == AGENT_ACT_ENGINE_SEND && a->engine_msg.type == ENGINE_GENERATE)
			starts(&a->engine_msg);
		if (a->type == AGENT_ACT_EVENT && a->job_event.type == JOB_EVENT_REJECTED)
			refused(item_of(a->job_event.job), arrived);
		if (a->type == AGENT_ACT_EVENT && a->job_event.type == JOB_EVENT_FAILED)
			timed_out(item_of(a->job_event.job), &a->job_event);
	}
	MUST(count(WAITS) <= w.depth);
	MUST(count(WAITS) == 0 || count(RUNS) == w.parallel); /* nobody waits for nothing */
	for (size_t i = 0; i < w.n; i++)
		MUST(w.items[i].state != WAITS || w.wait_ms == 0 || r.now < w.items[i].taken + w.wait_ms);
}

static void pass(uint64_t ms)
{
	uint64_t until = r.now + ms;

	while (agent_deadline(r.a) <= until) {
		r.now = agent_deadline(r.a) > r.now ? agent_deadline(r.a) : r.now;
		rig_simple(&r, AGENT_EV_TICK);
		look(NULL);
		if (rig_sent(&r, ENGINE_PING) != NULL)
			rig_engine(&r, (struct engine_msg){ .type = ENGINE_PONG });
	}
	r.now = until;
}

static void one_comes(void)
{
	static const enum priority priorities[] = { PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW };
	struct item *t = &w.items[w.n];
	char id[16];

	(void)snprintf(id, sizeof(id), "j%zu", w.n++);
	*t = (struct item){ .taken = r.now, .rank = (unsigned)chance(3), .state = WAITS };
	arrive(id, priorities[t->rank]);
	look(t);
}

static void some_end(void)
{
	for (size_t i = 0; i < w.n; i++) {
		struct item *t = &w.items[i];

		if (t->state != RUNS || r.now < t->until)
			continue;
		t->state = OVER;
		rig_done(&r, t->run, 0, FINISH_STOP);
		look(NULL);
	}
}

static void live(uint64_t seed, size_t n_steps)
{
	struct agent_config c = config();
	struct agent_model m = c.models[0];
	size_t load;

	memset(&w, 0, sizeof(w));
	w.seed = seed;
	rng_seed(&w.rng, seed);
	m.parallel = w.parallel = 1 + chance(3);
	c.models = &m;
	c.queue_max = w.depth = chance(8);
	c.queue_displaces = w.displaces = chance(2) == 0;
	c.queue_wait_ms = w.wait_ms = chance(2) == 0 ? 0 : 200 + chance(2000);
	c.keep_ended_ms = 1;
	load = 2 + chance(6); /* from twice as many as can be served to a few */
	rig_fini(&r);
	rig_ready(&r, &c);
	for (size_t i = 0; i < n_steps; i++) {
		pass(1 + chance(50));
		some_end();
		if (chance(load) == 0)
			one_comes();
	}
	while (count(WAITS) + count(RUNS) > 0) {
		pass(1 + chance(50));
		some_end();
	}
}

Test(queue, for_all_seeds_nobody_starves_and_none_goes_before_its_turn)
{
	const char *one = getenv("TEST_SEED");
	uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1, n = one != NULL ? 1 : 200;
	size_t displaced = 0, timed_out_ = 0, refused_ = 0, risen = 0;

	for (uint64_t seed = first; seed < first + n; seed++) {
		live(seed, 400);
		displaced += w.n_displaced;
		timed_out_ += w.n_timed_out;
		refused_ += w.n_refused;
		risen += w.n_risen;
	}
	if (one == NULL) /* all of it did happen */
		cr_assert(displaced > 100 && timed_out_ > 100 && refused_ > 100 && risen > 100, "%zu %zu %zu %zu", displaced,
			timed_out_, refused_, risen);
}
