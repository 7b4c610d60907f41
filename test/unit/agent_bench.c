/* How fast a model is: measured once at rest, in nobody's way, remembered. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent_core.h"
#include "agent_rig.h"
#include "benchfile.h"

static struct rig r;
static struct agent_config c;

static void setup(void)
{
	c = rig_config();
	c.benchmark = true;
}

static void teardown(void)
{
	if (r.a != NULL)
		rig_fini(&r);
}

TestSuite(bench, .init = setup, .fini = teardown);

static void ready(void)
{
	rig_init(&r, &c);
	rig_link_up(&r);
	rig_hello(&r);
	rig_loaded(&r);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_READY);
}

static void presses(uint64_t psi_cpu)
{
	struct agent_sample s = { .sensors = { .psi_cpu = psi_cpu } };

	msg_set(&s.sensors, SENSORS_PSI_CPU);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_SAMPLE, .sample = &s });
}

/* The run's number, when it begins within so many milliseconds; else 0. */
static uint64_t begins(uint64_t within_ms)
{
	for (uint64_t until = r.now + within_ms; r.now < until; rig_pass(&r, 10)) {
		const struct engine_msg *m = rig_sent(&r, ENGINE_GENERATE);

		if (m != NULL)
			return m->job;
	}
	return 0;
}

static void ends(uint64_t run, enum finish finish, uint64_t n_tokens)
{
	rig_engine(&r, (struct engine_msg){ .type = ENGINE_DONE,
			       .job = run,
			       .index = n_tokens,
			       .finish = finish,
			       .usage = { .prompt_tokens = 40, .completion_tokens = n_tokens },
			       .timings = { .prefill_us = 200000, .decode_us = 100000 } });
}

static const struct model_info *told(void)
{
	const struct agent_action *act = rig_find(&r, AGENT_ACT_REGISTER, 0);

	if (act == NULL)
		act = rig_wait_for(&r, AGENT_ACT_REGISTER, 1000);
	cr_assert_not_null(act);
	return &act->registration.models[0];
}

static uint64_t measure(void)
{
	uint64_t run = begins(3000);

	cr_assert_neq(run, 0);
	rig_tokens(&r, run, 0, "abcdefgh");
	ends(run, FINISH_LENGTH, 11);
	return run;
}

Test(bench, while_others_want_the_cpu_it_waits)
{
	c.benchmark_calm_ms = 600000;
	ready();
	presses(5000);
	cr_assert_eq(begins(30000), 0, "half the time somebody waits");
	presses(300);
	cr_assert_neq(begins(11000), 0);
}

Test(bench, but_not_for_ever)
{
	c.benchmark_calm_ms = 60000;
	ready();
	presses(9000);
	cr_assert_eq(begins(59000), 0);
	cr_assert_neq(begins(2000), 0);
}

Test(bench, it_is_measured_at_rest_and_told)
{
	const struct engine_msg *m;
	const struct agent_action *act;

	ready();
	cr_assert_eq(begins(900), 0, "not before a moment of rest");
	cr_assert_neq(begins(1000), 0);
	m = rig_sent(&r, ENGINE_GENERATE);
	cr_assert(m->prompt.n > 100 && m->prompt.n <= 256, "half the context at most");
	cr_assert(m->sampling.ignore_eos && !m->sampling.cache_prompt && m->sampling.max_tokens > 0);
	rig_tokens(&r, m->job, 0, "abc");
	ends(m->job, FINISH_LENGTH, 11);
	act = rig_find(&r, AGENT_ACT_BENCHED, 0);
	cr_assert_not_null(act);
	cr_assert(act->bench->prefill_milli == 200000 && act->bench->decode_milli == 100000); /* 40 in 0.2 s; 10 in 0.1 s */
	cr_assert(memcmp(act->bench->digest, RIG_DIGEST, 32) == 0 && strcmp(act->bench->build, "test 1 fast") == 0);
	cr_assert_eq(act->bench->threads, 2, "the engine's choice follows the cores");
	cr_assert(told()->prefill_milli == 200000 && told()->decode_milli == 100000);
	cr_assert_eq(begins(60000), 0, "once");
}

Test(bench, it_is_in_no_figure)
{
	struct metrics_view v;
	uint64_t run;
	const struct agent_action *act;

	ready();
	run = begins(3000);
	rig_tokens(&r, run, 0, "abc");
	act = rig_wait_for(&r, AGENT_ACT_HEARTBEAT, 6000);
	cr_assert_not_null(act);
	cr_assert(act->heartbeat.running == 0 && act->heartbeat.tokens_total == 0);
	ends(run, FINISH_LENGTH, 11);
	metrics_view(&r.a->metrics, METRICS_ALL, &v);
	cr_assert(v.requests_total == 0 && agent_counters(r.a)->tokens == 0 && agent_counters(r.a)->jobs_done == 0);
}

Test(bench, it_ends_after_a_moment_of_tokens)
{
	uint64_t run;

	ready();
	run = begins(3000);
	rig_pass(&r, 50);
	rig_tokens(&r, run, 0, "abcdefgh");
	rig_pass(&r, 299);
	cr_assert_null(rig_sent(&r, ENGINE_CANCEL));
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_SEND, 2));
	cr_assert_eq(rig_sent(&r, ENGINE_CANCEL)->job, run);
	ends(run, FINISH_CANCELLED, 8);
	cr_assert_neq(told()->decode_milli, 0, "what there was is the measure");
}

Test(bench, a_model_that_is_too_slow_is_not_waited_for)
{
	uint64_t run;

	ready();
	run = begins(3000);
	rig_tokens(&r, run, 0, "ab");
	rig_pass(&r, 4900);
	cr_assert_null(rig_sent(&r, ENGINE_CANCEL));
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_SEND, 200));
	cr_assert_not_null(rig_sent(&r, ENGINE_CANCEL));
	ends(run, FINISH_CANCELLED, 2);
	cr_assert_null(rig_find(&r, AGENT_ACT_BENCHED, 0));
	cr_assert_eq(begins(60000), 0, "given up");
}

Test(bench, a_job_goes_first_and_it_is_tried_again)
{
	static struct agent_model one;
	uint64_t run;

	one = c.models[0];
	one.parallel = 1;
	c.models = &one;
	c.queue_max = 0; /* no room to wait: it must not be refused because of us */
	ready();
	run = begins(3000);
	rig_job(&r, "j1", 1);
	cr_assert_not_null(rig_sent(&r, ENGINE_CANCEL), "in the same step");
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 1);
	ends(run, FINISH_CANCELLED, 3);
	cr_assert_null(rig_find(&r, AGENT_ACT_BENCHED, 0), "what ran beside a job is no measure");
	cr_assert_not_null(rig_sent(&r, ENGINE_GENERATE), "its place is free at once");
	run = rig_sent(&r, ENGINE_GENERATE)->job;
	rig_tokens(&r, run, 0, "x");
	cr_assert_eq(begins(20000), 0, "not while a job runs");
	rig_done(&r, run, 1, FINISH_STOP);
	cr_assert_eq(begins(900), 0);
	run = begins(12000);
	cr_assert_neq(run, 0);
	rig_tokens(&r, run, 0, "abcd");
	ends(run, FINISH_LENGTH, 64);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_BENCHED, 0));
}

Test(bench, a_job_beside_it_starts_at_once)
{
	ready();
	cr_assert_neq(begins(3000), 0);
	rig_job(&r, "j1", 1);
	cr_assert_not_null(rig_sent(&r, ENGINE_GENERATE));
	cr_assert_not_null(rig_sent(&r, ENGINE_CANCEL));
}

Test(bench, what_is_known_is_not_measured_again)
{
	struct agent_bench known[2] = { { .threads = 2, .prefill_milli = 7, .decode_milli = 8 } };

	memcpy(known[0].digest, RIG_DIGEST, 32);
	strcpy(known[0].build, "test 0 fast");
	known[1] = known[0];
	strcpy(known[1].build, "test 1 fast");
	known[1].decode_milli = 9;
	c.benches = known;
	c.n_benches = 2;
	ready();
	cr_assert_eq(told()->decode_milli, 9, "of this build");
	cr_assert_eq(begins(10000), 0);
	rig_fini(&r);
	c.n_benches = 1;
	ready();
	cr_assert_eq(told()->decode_milli, 0);
	cr_assert_neq(begins(3000), 0);
}

Test(bench, another_life_of_the_engine_knows_it)
{
	ready();
	(void)measure();
	rig_exit(&r, 9);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 10000));
	rig_hello(&r);
	rig_loaded(&r);
	cr_assert_eq(told()->decode_milli, 100000);
	cr_assert_eq(begins(10000), 0);
}

Test(bench, an_engine_that_dies_of_it_is_not_asked_again)
{
	ready();
	cr_assert_neq(begins(3000), 0);
	rig_exit(&r, 9);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 10000));
	rig_hello(&r);
	rig_loaded(&r);
	cr_assert_eq(begins(10000), 0);
	rig_job(&r, "j1", 1);
	cr_assert_not_null(rig_sent(&r, ENGINE_GENERATE));
}

static void be_impatient(void)
{
	c.token_timeout_ms = 1300; /* so that no ping comes in the step it begins in */
	c.prompt_timeout_ms = 100;
}

Test(bench, one_that_hangs_in_it_is_ended_as_any)
{
	be_impatient();
	ready();
	cr_assert_neq(begins(3000), 0);
	r.is_engine_mute = true;
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_KILL, 1400));
}

Test(bench, one_that_lost_it_is_told_to_stop)
{
	be_impatient();
	ready();
	cr_assert_neq(begins(3000), 0);
	for (unsigned i = 0; i < 140 && rig_sent(&r, ENGINE_CANCEL) == NULL; i++)
		rig_pass(&r, 10); /* pings are answered */
	cr_assert_not_null(rig_sent(&r, ENGINE_CANCEL));
	cr_assert_null(rig_find(&r, AGENT_ACT_EVENT, 0), "it is nobody's job");
}

Test(bench, a_stop_does_not_wait_for_it)
{
	uint64_t began;

	ready();
	cr_assert_neq(begins(3000), 0);
	began = r.now;
	rig_simple(&r, AGENT_EV_STOP);
	for (unsigned i = 0; i < 100 && rig_find(&r, AGENT_ACT_STOPPED, 0) == NULL; i++) {
		if (rig_sent(&r, ENGINE_QUIT) != NULL)
			rig_exit(&r, 0);
		else
			(void)rig_wait_for(&r, AGENT_ACT_STOPPED, 50);
	}
	cr_assert_not_null(rig_find(&r, AGENT_ACT_STOPPED, 0));
	cr_assert_leq(r.now - began, 2000);
}

Test(bench, it_can_be_switched_off)
{
	c.benchmark = false;
	ready();
	cr_assert_eq(begins(10000), 0);
}

/* ---- the file ---- */

static char dir[] = "/tmp/shoal-bench-XXXXXX";
static int dir_fd = -1;

static void make_dir(void)
{
	cr_assert_not_null(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void drop_dir(void)
{
	(void)unlinkat(dir_fd, "benchmarks", 0);
	(void)unlinkat(dir_fd, "benchmarks.new", 0);
	(void)rmdir(dir);
	close(dir_fd);
}

TestSuite(benchfile, .init = make_dir, .fini = drop_dir);

static struct agent_bench bench_of(unsigned n)
{
	struct agent_bench b = { .threads = n % 8, .prefill_milli = 1000 + n, .decode_milli = 100 + n };

	memset(b.digest, (int)n, sizeof(b.digest));
	(void)snprintf(b.build, sizeof(b.build), "llama.cpp 0.5.0 cpu-zen4 %u", n);
	return b;
}

Test(benchfile, it_holds_the_newest_over_a_restart)
{
	static struct benchfile f, again;

	benchfile_read(dir_fd, &f);
	cr_assert_eq(f.n, 0);
	for (unsigned i = 0; i < BENCHFILE_MAX + 5; i++) {
		struct agent_bench b = bench_of(i);

		cr_assert_eq(benchfile_add(&f, &b), 0);
	}
	benchfile_read(dir_fd, &again);
	cr_assert_eq(again.n, BENCHFILE_MAX);
	for (unsigned i = 0; i < BENCHFILE_MAX; i++) {
		struct agent_bench b = bench_of(BENCHFILE_MAX + 4 - i);

		cr_assert(memcmp(&again.list[i], &b, sizeof(b)) == 0, "line %u", i);
	}
}

Test(benchfile, the_same_replaces_itself)
{
	static struct benchfile f;
	struct agent_bench b[3] = { bench_of(1), bench_of(2), bench_of(1) };

	benchfile_read(dir_fd, &f);
	b[2].decode_milli = 5;
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(benchfile_add(&f, &b[i]), 0);
	cr_assert(f.n == 2 && f.list[0].decode_milli == 5 && f.list[1].decode_milli == 102);
}

Test(benchfile, lines_that_are_not_understood_are_skipped)
{
	static struct benchfile f;
	struct agent_bench good = bench_of(3);
	FILE *out;

	benchfile_read(dir_fd, &f);
	cr_assert_eq(benchfile_add(&f, &good), 0);
	out = fdopen(openat(dir_fd, "benchmarks", O_WRONLY | O_APPEND), "a");
	cr_assert_not_null(out);
	fputs("\nnonsense\n00 1 2 3 x\n", out);
	for (unsigned i = 0; i < 64; i++)
		fputc('a', out);
	fputs(" 1 2 -3 build\n", out);
	for (unsigned i = 0; i < 700; i++)
		fputc('f', out);
	fputs("\n", out);
	fclose(out);
	benchfile_read(dir_fd, &f);
	cr_assert_eq(f.n, 1);
	cr_assert_str_eq(f.list[0].build, good.build);
}
