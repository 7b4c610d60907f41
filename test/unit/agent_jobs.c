/* What becomes of jobs: taken, refused, run, ended, cancelled, asked for again. */
#include <criterion/criterion.h>

#include "agent_rig.h"
#include "sha256.h"

static struct rig r;

static void ready(void)
{
	struct agent_config c = rig_config();

	rig_ready(&r, &c);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(jobs, .init = ready, .fini = fini);

Test(jobs, a_job_is_accepted_run_streamed_and_done)
{
	const struct engine_msg *g;
	const struct job_event *e;
	uint8_t sha[SHA256_SIZE];
	uint64_t run;

	rig_job(&r, "j1", 1);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 1);
	g = rig_sent(&r, ENGINE_GENERATE);
	cr_assert_not_null(g);
	cr_assert(span_is(g->prompt, "p"));
	cr_assert_float_eq(g->sampling.temperature, 0.8, 1e-9);
	run = g->job;

	rig_tokens(&r, run, 0, "ab");
	e = rig_must_say(&r, JOB_EVENT_TOKENS, "j1", 1);
	cr_assert_eq(e->index, 0);
	cr_assert_eq(e->n_ids, 2);
	cr_assert(span_is(e->text, "ab"));
	rig_tokens(&r, run, 2, "c");
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_TOKENS, "j1", 1)->index, 2);

	rig_done(&r, run, 3, FINISH_STOP);
	e = rig_must_say(&r, JOB_EVENT_DONE, "j1", 1);
	sha256_of(SPAN("abc"), sha);
	cr_assert_eq(e->index, 3);
	cr_assert_eq(e->finish, FINISH_STOP);
	cr_assert(span_eq(e->sha256, span_mem(sha, sizeof(sha))));
	cr_assert_eq(e->usage.prompt_tokens, 5);
	cr_assert_eq(e->timings.decode_us, 77);
	cr_assert_eq(agent_counters(r.a)->jobs_done, 1);
	cr_assert_eq(agent_counters(r.a)->tokens, 3);
}
