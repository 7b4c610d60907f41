/* A job that kills the engines it runs on, and those that run beside it. */
#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;

static void init(void)
{
	struct hub_config c = rig_config();

	c.retry_min_ms = 10;
	c.retry_max_ms = 20;
	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, 4);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_poison, .init = init, .fini = fini);

static const char *submit(void)
{
	return rig_submit(&r, rig_request("", false));
}

static uint64_t attempt_of(const char *job)
{
	return rig_job_view(&r, job).attempt;
}

static bool runs(const char *job)
{
	return rig_job_view(&r, job).state == HUB_JOB_DISPATCHED;
}

/* The engine of a dies and with it all of these. */
static void engine_dies(const char *const *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (runs(jobs[i]))
			rig_failed(&r, "a", jobs[i], attempt_of(jobs[i]), CODE_ENGINE_CRASHED);
}

static void works(const char *job)
{
	uint64_t attempt = attempt_of(job);

	rig_tokens(&r, "a", job, attempt, 0, "x");
	rig_done(&r, "a", job, attempt, 1, "x");
	cr_assert_eq(rig_answers(&r, ANSWER_DONE), 1);
}

static void wait(void)
{
	rig_keep_alive(&r, "a", 100);
}

Test(hub_poison, ends_after_so_many_engines)
{
	const char *job = submit();

	for (size_t i = 0; i < 2; i++) {
		engine_dies(&job, 1);
		wait();
		cr_assert(runs(job));
	}
	engine_dies(&job, 1);
	rig_must_refuse(&r, CODE_POISON);
	cr_assert_eq(hub_counters(r.h)->jobs_poison, 1);
	cr_assert_eq(hub_counters(r.h)->breakers_opened, 0);
}

Test(hub_poison, who_was_there_twice_runs_alone_and_the_innocent_live)
{
	const char *jobs[3] = { submit(), submit(), submit() };

	engine_dies(jobs, 3);
	wait();
	cr_assert(runs(jobs[0]) && runs(jobs[1]) && runs(jobs[2]), "the first death may have been anything");
	engine_dies(jobs, 3);
	wait();
	cr_assert_eq(runs(jobs[0]) + runs(jobs[1]) + runs(jobs[2]), 1, "now each alone");
	works(runs(jobs[0]) ? jobs[0] : runs(jobs[1]) ? jobs[1] : jobs[2]);
	wait();
	cr_assert_eq(runs(jobs[0]) + runs(jobs[1]) + runs(jobs[2]), 1);
	works(runs(jobs[0]) ? jobs[0] : runs(jobs[1]) ? jobs[1] : jobs[2]);
	wait();
	engine_dies(jobs, 3);
	rig_must_refuse(&r, CODE_POISON);
	cr_assert_eq(hub_counters(r.h)->jobs_done, 2);
}

Test(hub_poison, nobody_else_runs_beside_one_that_runs_alone)
{
	const char *suspect = submit(), *other;

	engine_dies(&suspect, 1);
	wait();
	engine_dies(&suspect, 1);
	wait();
	cr_assert(runs(suspect));
	other = submit();
	cr_assert_not(runs(other));
	works(suspect);
	cr_assert(runs(other));
}

Test(hub_poison, a_busy_agent_is_kept_free_for_it)
{
	const char *suspect = submit(), *others[3] = { submit(), submit(), submit() }, *late;

	engine_dies(&suspect, 1);
	wait();
	engine_dies(&suspect, 1);
	wait();
	cr_assert_not(runs(suspect));
	late = submit();
	cr_assert_not(runs(late), "or it would wait for ever");
	for (size_t i = 0; i < 3; i++) {
		cr_assert_not(runs(suspect));
		works(others[i]);
	}
	cr_assert(runs(suspect));
	cr_assert_not(runs(late));
	works(suspect);
	cr_assert(runs(late));
}

Test(hub_poison, an_agent_is_kept_through_registrations_and_free_again_when_the_job_goes)
{
	const char *suspect = submit(), *other = submit(), *late;
	struct registration g = rig_registration("a", 1, 1);

	engine_dies(&suspect, 1);
	wait();
	engine_dies(&suspect, 1);
	wait();
	g.seq = 2;
	g.slots = 4;
	rig_register(&r, g);
	late = submit();
	cr_assert_not(runs(late));
	rig_cancel(&r, "alice", suspect, "");
	cr_assert(runs(late));
	works(other);
	works(late);
}

Test(hub_poison, who_lost_its_kept_agent_is_served_by_another)
{
	const char *suspect = submit(), *other = submit();

	engine_dies(&suspect, 1);
	wait();
	engine_dies(&suspect, 1);
	wait();
	cr_assert_not(runs(suspect));
	cr_assert(runs(other));
	rig_agent(&r, "b", 1, 1, 1);
	cr_assert(span_is(rig_job_view(&r, suspect).agent, "b"));
	cr_assert(runs(suspect));
	cr_assert(runs(submit()), "a is free for others again");
}

Test(hub_poison, other_ends_are_no_deaths)
{
	static const enum code codes[] = { CODE_BATCH_FAILED, CODE_AGENT_LOST, CODE_QUEUE_FULL };
	const char *job = submit();

	for (size_t i = 0; i < 3; i++) {
		rig_failed(&r, "a", job, attempt_of(job), codes[i]);
		wait();
	}
	engine_dies(&job, 1);
	wait();
	cr_assert(runs(job));
	cr_assert_eq(hub_counters(r.h)->jobs_poison, 0);
}
