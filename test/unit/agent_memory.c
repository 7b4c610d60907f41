/* Several models and not enough memory for all: who is loaded, who has to go, what is refused. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "agent_core.h"
#include "agent_rig.h"

#define GIB ((uint64_t)1 << 30)
#define N 3

static struct rig r;
static struct agent_model models[N];
static struct agent_sample sample;

/* A box of 100 GiB with 90 of them free; models a, b and c of 30 GiB each, loaded when jobs come. */
static struct agent_config config(void)
{
	static const char *const names[N] = { "a", "b", "c" };
	static const struct hardware hardware = { .mem_total = 100 * GIB };
	struct agent_config c = rig_config();

	for (size_t i = 0; i < N; i++)
		models[i] = (struct agent_model){
			.name = span_of(names[i]), .path = SPAN("/m"), .parallel = 2, .is_lazy = true
		};
	sample = (struct agent_sample){ .mem_available = 90 * GIB };
	c.hardware = &hardware;
	c.memory_hard = (struct agent_limit){ .percent = 95 };
	c.memory_soft = (struct agent_limit){ .percent = 85 };
	c.models = models;
	c.n_models = N;
	c.queue_max = 8;
	return c;
}

static void see(void)
{
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_SAMPLE, .sample = &sample });
}

static void file_takes(size_t i, uint64_t weights)
{
	struct footprint f = { .weights = weights, .n_ctx = 4096, .parallel = 2 };

	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_FOOTPRINT, .engine = i, .footprint = &f });
}

static void begin(const struct agent_config *c)
{
	r = (struct rig){ .now = 1000000 };
	cr_assert_eq(agent_new(c, &r.a), 0);
	see();
	for (size_t i = 0; i < c->n_models; i++)
		file_takes(i, 30 * GIB);
	rig_simple(&r, AGENT_EV_START);
}

static void init(void)
{
	struct agent_config c = config();

	begin(&c);
	rig_link_up(&r);
	rig_pass(&r, 1000);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(memory, .init = init, .fini = fini);

static void again(const struct agent_config *c)
{
	rig_fini(&r);
	begin(c);
	rig_link_up(&r);
}

static enum engine_state state(size_t i)
{
	return r.a->engines[i].state;
}

static void engine(size_t i, struct engine_msg m)
{
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine = i, .engine_msg = &m });
}

static void hello(size_t i)
{
	engine(i, (struct engine_msg){ .type = ENGINE_HELLO, .version = ENGINE_PROTO_VERSION, .max_sequences = 8 });
}

static void loaded(size_t i)
{
	hello(i);
	engine(i, (struct engine_msg){ .type = ENGINE_LOADED, .n_ctx = 512 });
	cr_assert_eq(state(i), ENGINE_STATE_READY);
}

static void gone(size_t i)
{
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE_EXIT, .engine = i });
}

static void job(const char *id, const char *model, enum priority priority)
{
	rig_job_msg(&r, (struct job_msg){ .job = span_of(id),
				.attempt = 1,
				.model = span_of(model),
				.prompt = span_of(id),
				.priority = priority });
}

static const struct job_event *refused(const char *id)
{
	const struct job_event *e = rig_must_say(&r, JOB_EVENT_REJECTED, id, 1);

	cr_assert_eq(e->code, CODE_RESOURCE_LIMIT_EXCEEDED, "%s", code_name((unsigned)e->code));
	return e;
}

static void says(struct span text, const char *part)
{
	char copy[600];

	cr_assert_eq(span_copy(text, copy, sizeof(copy)), 0);
	cr_assert_not_null(strstr(copy, part), "\"%s\" does not say \"%s\"", copy, part);
}

/* Loads model i by a job and ends that; returns the number its run had. */
static uint64_t use(size_t i)
{
	static unsigned n;
	char id[16];
	uint64_t run;

	r.now += 10;
	(void)snprintf(id, sizeof(id), "use%u", ++n);
	job(id, (const char *[]){ "a", "b", "c" }[i], PRIORITY_NORMAL);
	if (state(i) != ENGINE_STATE_READY)
		loaded(i);
	cr_assert_not_null(rig_sent(&r, ENGINE_GENERATE), "%s does not run", id);
	run = rig_sent(&r, ENGINE_GENERATE)->job;
	engine(i, (struct engine_msg){ .type = ENGINE_DONE, .job = run, .finish = FINISH_STOP });
	return run;
}

static const struct registration *registered(void)
{
	const struct agent_action *act = rig_find(&r, AGENT_ACT_REGISTER, 0);

	if (act == NULL)
		act = rig_wait_for(&r, AGENT_ACT_REGISTER, 2000);
	cr_assert_not_null(act, "nothing was registered");
	return &act->registration;
}

/* ---- loading on demand ---- */

Test(memory, a_model_is_loaded_when_a_job_for_it_comes)
{
	const struct job_event *e;

	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_READY, "nothing is to be waited for");
	cr_assert_null(rig_find(&r, AGENT_ACT_ENGINE_START, 0));
	rig_simple(&r, AGENT_EV_WRITABLE);
	cr_assert_eq(registered()->models[1].state, MODEL_HELD);
	cr_assert_eq(registered()->models[1].slots, 2);
	cr_assert_eq(registered()->models[1].memory, 30 * GIB);
	cr_assert_eq(registered()->slots, 6);
	job("j1", "b", PRIORITY_NORMAL);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 1);
	cr_assert_eq(rig_find(&r, AGENT_ACT_ENGINE_START, 0)->engine, 1);
	cr_assert_eq(rig_count(&r, AGENT_ACT_ENGINE_START), 1);
	hello(1);
	engine(1, (struct engine_msg){ .type = ENGINE_PROGRESS, .percent = 40 });
	e = rig_must_say(&r, JOB_EVENT_PROGRESS, "j1", 1);
	cr_assert(msg_has(e, JOB_EVENT_LOAD_PERCENT));
	cr_assert_eq(e->load_percent, 40);
	cr_assert_eq(registered()->models[1].state, MODEL_LOADING);
	cr_assert_eq(registered()->models[1].slots, 2, "more jobs may come with the first");
	engine(1, (struct engine_msg){ .type = ENGINE_LOADED, .n_ctx = 512 });
	cr_assert(span_is(rig_sent(&r, ENGINE_GENERATE)->prompt, "j1"));
}

Test(memory, jobs_that_wait_for_a_load_keep_their_deadlines)
{
	rig_job_msg(
		&r, (struct job_msg){
			    .job = SPAN("j1"), .attempt = 1, .model = SPAN("a"), .prompt = SPAN("p"), .deadline_ms = 500 });
	hello(0);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_EVENT, 600));
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_FAILED, "j1", 1)->code, CODE_DEADLINE_EXCEEDED);
	cr_assert_eq(state(0), ENGINE_STATE_LOADING, "the next one will want it");
}

Test(memory, a_load_that_hangs_fails_who_waits_for_it_and_nobody_else)
{
	use(1);
	job("j1", "a", PRIORITY_NORMAL);
	hello(0);
	r.is_engine_mute = true;
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_KILL, 8001));
	cr_assert_eq(rig_must_say(&r, JOB_EVENT_FAILED, "j1", 1)->code, CODE_MODEL_NOT_LOADED);
	cr_assert_eq(state(1), ENGINE_STATE_READY);
	use(1);
}

Test(memory, a_model_in_quarantine_leaves_the_others_alone)
{
	struct agent_config c = config();

	c.quarantine_deaths = 1;
	again(&c);
	use(1);
	job("j1", "a", PRIORITY_NORMAL);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE_EXIT, .engine = 0, .wstatus = 9 });
	cr_assert_eq(state(0), ENGINE_STATE_QUARANTINED);
	use(1);
	use(2);
	cr_assert_eq(registered()->models[0].state, MODEL_QUARANTINED);
	cr_assert_eq(registered()->models[0].slots, 0);
	cr_assert_eq(registered()->slots, 4);
}

/* ---- limits ---- */

Test(memory, above_the_soft_limit_low_priority_is_refused_with_figures)
{
	const struct job_event *e;

	use(0);
	sample.mem_available = 40 * GIB; /* 60 by others, and 30 for a: 90 of 100 */
	see();
	job("low", "a", PRIORITY_LOW);
	e = refused("low");
	says(e->reason, "92160 MiB of memory are taken");
	says(e->reason, "memory.soft is 87040 of 102400 MiB (box)");
	job("normal", "a", PRIORITY_NORMAL);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "normal", 1);
	job("high", "a", PRIORITY_HIGH);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "high", 1);
}

Test(memory, above_the_hard_limit_all_are_refused_and_running_ones_go_on)
{
	use(0);
	job("runs", "a", PRIORITY_NORMAL);
	sample.mem_available = 30 * GIB;
	see();
	job("high", "a", PRIORITY_HIGH);
	says(refused("high")->reason, "memory.hard is 97280 of 102400 MiB");
	cr_assert_eq(state(0), ENGINE_STATE_READY);
	sample.mem_available = 60 * GIB;
	see();
	job("later", "a", PRIORITY_LOW);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "later", 1);
}

Test(memory, what_an_engine_holds_counts_once_and_its_claim_in_full)
{
	struct memory_view v;

	job("j1", "a", PRIORITY_NORMAL);
	v = memory_see(r.a, &r.a->config.memory_hard);
	cr_assert_eq(v.used, 40 * GIB, "10 of others, 30 that will be");
	loaded(0);
	sample.mem_available = 70 * GIB; /* 20 of its 30 are there */
	sample.engine_anon[0] = 20 * GIB;
	see();
	v = memory_see(r.a, &r.a->config.memory_hard);
	cr_assert_eq(v.used, 40 * GIB);
	sample.mem_available = 50 * GIB; /* more than was expected of it */
	sample.engine_anon[0] = 40 * GIB;
	see();
	v = memory_see(r.a, &r.a->config.memory_hard);
	cr_assert_eq(v.used, 50 * GIB);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE_EXIT, .engine = 0, .wstatus = 9 });
	v = memory_see(r.a, &r.a->config.memory_hard);
	cr_assert_eq(v.used, 10 * GIB, "gone, before the next sample says so");
}

Test(memory, the_tighter_of_box_and_cgroup_decides)
{
	sample.cgroup_limit = 40 * GIB;
	sample.cgroup_used = 20 * GIB;
	see();
	job("j1", "a", PRIORITY_NORMAL);
	says(refused("j1")->reason, "20480 MiB are taken and memory.hard is 38912 of 40960 MiB (cgroup)");
	sample.cgroup_used = 5 * GIB;
	see();
	job("j2", "a", PRIORITY_NORMAL);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j2", 1);
}

Test(memory, a_limit_may_be_bytes)
{
	struct agent_config c = config();

	c.memory_hard = (struct agent_limit){ .bytes = 35 * GIB };
	again(&c);
	job("j1", "a", PRIORITY_NORMAL); /* 10 are taken */
	says(refused("j1")->reason, "memory.hard is 35840 of 102400 MiB");
}

Test(memory, what_is_not_known_limits_nothing)
{
	sample = (struct agent_sample){ .load_milli = 1 };
	see();
	job("j1", "a", PRIORITY_LOW);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 1);
	job("j2", "b", PRIORITY_LOW);
	job("j3", "c", PRIORITY_LOW);
	job("j4", "c", PRIORITY_LOW);
	cr_assert_eq(state(2), ENGINE_STATE_STARTING);
}

Test(memory, a_model_that_can_never_fit_says_what_to_lower)
{
	const struct model_info *m;

	file_takes(1, 200 * GIB);
	m = &registered()->models[1];
	cr_assert_eq(m->state, MODEL_FAILED);
	cr_assert_eq(m->slots, 0);
	says(m->reason, "it needs 204800 MiB (weights 204800, KV cache 0 for 2 x 4096 tokens, work 0)");
	says(m->reason, "lower context, parallel or keep");
	job("j1", "b", PRIORITY_HIGH);
	says(refused("j1")->reason, "it needs 204800 MiB");
	file_takes(1, 20 * GIB); /* somebody put a smaller one there */
	cr_assert_eq(registered()->models[1].state, MODEL_HELD);
	job("j2", "b", PRIORITY_HIGH);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j2", 1);
}

/* ---- who goes ---- */

static void fill(void)
{
	struct agent_config c = config();

	c.memory_hard.percent = 75; /* 10 of others and two models */
	again(&c);
	use(0);
	use(1);
}

Test(memory, the_least_recently_used_one_goes)
{
	fill();
	use(0);
	job("j1", "c", PRIORITY_NORMAL);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j1", 1);
	cr_assert_not_null(rig_sent(&r, ENGINE_QUIT));
	cr_assert_eq(state(1), ENGINE_STATE_STOPPING);
	cr_assert_eq(state(0), ENGINE_STATE_READY);
	cr_assert_eq(state(2), ENGINE_STATE_DOWN, "its memory is not there yet");
	gone(1);
	cr_assert_eq(state(1), ENGINE_STATE_DOWN);
	cr_assert_eq(state(2), ENGINE_STATE_STARTING);
	cr_assert_eq(registered()->models[1].state, MODEL_HELD, "it may come back");
	cr_assert_eq(registered()->models[1].slots, 2);
	loaded(2);
	cr_assert(span_is(rig_sent(&r, ENGINE_GENERATE)->prompt, "j1"));
}

Test(memory, one_that_does_not_go_is_made_to)
{
	fill();
	job("j1", "c", PRIORITY_NORMAL);
	cr_assert_eq(state(0), ENGINE_STATE_STOPPING);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_KILL, 1001));
}

Test(memory, an_operator_may_have_a_model_loaded_in_the_place_of_an_idle_one)
{
	struct control c = { .verb = CONTROL_LOAD, .epoch = RIG_EPOCH, .model = SPAN("c") };

	fill();
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_CONTROL, .control = &c });
	cr_assert_eq(state(0), ENGINE_STATE_STOPPING);
	gone(0);
	loaded(2);
	rig_pass(&r, 1000);
	cr_assert_eq(state(2), ENGINE_STATE_READY);
	cr_assert_eq(state(1), ENGINE_STATE_READY);
	cr_assert_eq(state(0), ENGINE_STATE_DOWN);
}

Test(memory, pinned_ones_stay)
{
	struct agent_config c = config();

	c.memory_hard.percent = 75;
	models[0].is_pinned = true;
	again(&c);
	use(0);
	use(1);
	job("j1", "c", PRIORITY_NORMAL);
	cr_assert_eq(state(0), ENGINE_STATE_READY, "though used longest ago");
	cr_assert_eq(state(1), ENGINE_STATE_STOPPING);
	gone(1);
	loaded(2);
	file_takes(1, 60 * GIB);
	job("j2", "b", PRIORITY_NORMAL);
	says(refused("j2")->reason, "it needs 61440 MiB");
	cr_assert_eq(state(0), ENGINE_STATE_READY);
}

Test(memory, loading_ones_are_waited_for)
{
	struct agent_config c = config();

	c.memory_hard.percent = 45; /* 10 and one model */
	again(&c);
	job("j1", "a", PRIORITY_NORMAL);
	job("j2", "b", PRIORITY_NORMAL);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "j2", 1);
	hello(0);
	cr_assert_eq(state(0), ENGINE_STATE_LOADING);
	engine(0, (struct engine_msg){ .type = ENGINE_LOADED, .n_ctx = 512 });
	cr_assert(span_is(rig_sent(&r, ENGINE_GENERATE)->prompt, "j1"), "what it was loaded for");
	cr_assert_eq(state(0), ENGINE_STATE_READY);
}

Test(memory, busy_ones_end_what_came_before_and_then_go)
{
	struct agent_config c = config();
	uint64_t run;

	c.memory_hard.percent = 45;
	again(&c);
	job("a1", "a", PRIORITY_NORMAL);
	loaded(0);
	run = rig_sent(&r, ENGINE_GENERATE)->job;
	r.now += 10;
	job("b1", "b", PRIORITY_NORMAL);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "b1", 1);
	r.now += 10;
	job("a2", "a", PRIORITY_HIGH);
	rig_must_say(&r, JOB_EVENT_ACCEPTED, "a2", 1);
	cr_assert_null(rig_sent(&r, ENGINE_GENERATE), "else b would never have its turn");
	engine(0, (struct engine_msg){ .type = ENGINE_DONE, .job = run, .finish = FINISH_STOP });
	cr_assert_eq(state(0), ENGINE_STATE_STOPPING);
	gone(0);
	cr_assert_eq(state(1), ENGINE_STATE_STARTING);
	loaded(1);
	cr_assert(span_is(rig_sent(&r, ENGINE_GENERATE)->prompt, "b1"));
	run = rig_sent(&r, ENGINE_GENERATE)->job;
	engine(1, (struct engine_msg){ .type = ENGINE_DONE, .job = run, .finish = FINISH_STOP });
	gone(1);
	loaded(0);
	cr_assert(span_is(rig_sent(&r, ENGINE_GENERATE)->prompt, "a2"), "and it has its turn after that");
}

Test(memory, a_crash_makes_room_as_well)
{
	fill();
	job("j1", "c", PRIORITY_NORMAL);
	cr_assert_eq(state(0), ENGINE_STATE_STOPPING);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_ENGINE_EXIT, .engine = 1, .wstatus = 9 });
	cr_assert_eq(state(2), ENGINE_STATE_STARTING);
}

Test(memory, when_others_on_the_box_grow_idle_models_give_back)
{
	use(0);
	use(1);
	sample.mem_available = 25 * GIB;
	see();
	cr_assert_eq(state(0), ENGINE_STATE_STOPPING);
	cr_assert_eq(state(1), ENGINE_STATE_READY, "one at a time: it may be enough");
	see();
	cr_assert_eq(state(1), ENGINE_STATE_READY);
	gone(0);
	see();
	cr_assert_eq(state(1), ENGINE_STATE_STOPPING, "it was not");
	gone(1);
	job("j1", "a", PRIORITY_NORMAL);
	refused("j1");
}

/* ---- at the start ---- */

Test(memory, of_those_to_be_loaded_at_the_start_who_fits_is_loaded)
{
	struct agent_config c = config();

	for (size_t i = 0; i < N; i++)
		models[i].is_lazy = false;
	c.memory_hard.percent = 75;
	again(&c);
	cr_assert_eq(state(0), ENGINE_STATE_STARTING);
	cr_assert_eq(state(1), ENGINE_STATE_STARTING);
	cr_assert_eq(state(2), ENGINE_STATE_DOWN, "and nobody is unloaded for it");
	loaded(0);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_REGISTERING);
	cr_assert_eq(registered()->models[1].slots, 0, "jobs wait where they can go elsewhere");
	loaded(1);
	cr_assert_eq(agent_phase(r.a), AGENT_PHASE_READY);
	cr_assert_eq(registered()->models[2].state, MODEL_HELD);
	sample.mem_available = 100 * GIB;
	see();
	cr_assert_eq(state(2), ENGINE_STATE_DOWN, "just not enough: a little to spare, or it would come and go");
	file_takes(1, 10 * GIB);
	cr_assert_eq(state(2), ENGINE_STATE_STARTING);
}

Test(memory, an_agent_may_keep_silent_until_it_is_warm)
{
	struct agent_config c = config();

	models[0].is_lazy = models[1].is_lazy = false;
	c.register_when_warm = true;
	again(&c);
	loaded(0);
	rig_pass(&r, 5000);
	cr_assert_eq(r.a->seq, 0, "nothing was registered");
	hello(1);
	engine(1,
		(struct engine_msg){ .type = ENGINE_ERROR, .code = CODE_MODEL_LOAD_FAILED, .reason = SPAN("no such file") });
	cr_assert_eq(registered()->models[0].state, MODEL_READY, "one that cannot be loaded does not hide the others");
	gone(1);
	rig_simple(&r, AGENT_EV_LINK_DOWN);
	rig_link_up(&r);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_REGISTER, 0), "once is enough");
}

Test(memory, the_heartbeat_has_the_figures)
{
	const struct agent_action *act;

	use(0);
	see();
	act = rig_wait_for(&r, AGENT_ACT_HEARTBEAT, 10000);
	cr_assert_not_null(act);
	cr_assert_eq(act->heartbeat.memory_total, 100 * GIB);
	cr_assert_eq(act->heartbeat.memory_limit, 95 * GIB);
	cr_assert_eq(act->heartbeat.memory_used, 40 * GIB);
}

/* ---- whatever happens ---- */

static void step_engines(struct rng *rng, size_t i)
{
	struct engine *e = &r.a->engines[i];

	switch (e->state) {
	case ENGINE_STATE_STARTING: hello(i); break;
	case ENGINE_STATE_LOADING:
		engine(i, rng_below(rng, 3) == 0
				  ? (struct engine_msg){ .type = ENGINE_LOADED, .n_ctx = 512 }
				  : (struct engine_msg){ .type = ENGINE_PROGRESS, .percent = rng_below(rng, 100) });
		break;
	case ENGINE_STATE_STOPPING: gone(i); break;
	case ENGINE_STATE_READY:
		for (size_t k = 0; k < e->n_runs; k++)
			if (e->runs[k].number != 0) {
				engine(i, (struct engine_msg){
						  .type = ENGINE_DONE, .job = e->runs[k].number, .finish = FINISH_STOP });
				return;
			}
		break;
	default: break;
	}
}

static void check_limits(uint64_t seed, uint64_t others)
{
	uint64_t claims = 0;

	for (size_t i = 0; i < N; i++) {
		const struct engine *e = &r.a->engines[i];
		const struct agent_action *act;

		if (engine_has_child(e))
			claims += footprint_total(&e->footprint);
		for (size_t k = 0; (act = rig_find(&r, AGENT_ACT_ENGINE_START, k)) != NULL; k++)
			cr_assert(others + claims <= 95 * GIB || act->engine != i,
				"seed %" PRIu64 ": %zu was loaded beyond the limit", seed, i);
		for (size_t k = 0; (act = rig_find(&r, AGENT_ACT_ENGINE_SEND, k)) != NULL; k++)
			cr_assert(act->engine_msg.type != ENGINE_QUIT || act->engine != i ||
					  (e->n_busy == 0 && !e->model.is_pinned),
				"seed %" PRIu64 ": %zu had to go while busy or pinned", seed, i);
	}
}

/* Nothing is started beyond the limit, nobody goes who is busy, loading or pinned, and whoever
 * was accepted comes to run. */
Test(memory, whatever_happens_the_limit_holds_and_nobody_starves)
{
	static const char *const names[N] = { "a", "b", "c" };

	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct agent_config c = config();
		struct rng rng;
		uint64_t others = 10 * GIB;

		rng_seed(&rng, seed);
		models[rng_below(&rng, N)].is_pinned = rng_below(&rng, 2) == 0;
		c.queue_wait_ms = 0;
		again(&c);
		for (size_t i = 0; i < N; i++)
			file_takes(i, (20 + rng_below(&rng, 25)) * GIB);
		for (unsigned i = 0; i < 300; i++) {
			char id[16];

			r.now += rng_below(&rng, 50);
			switch (rng_below(&rng, 8)) {
			case 0:
			case 1:
				(void)snprintf(id, sizeof(id), "j%u", i);
				job(id, names[rng_below(&rng, N)], (enum priority)rng_below(&rng, 3));
				break;
			case 2:
				others = (5 + rng_below(&rng, 20)) * GIB;
				sample.mem_available = 100 * GIB - others;
				see();
				break;
			case 3: rig_simple(&r, AGENT_EV_TICK); break;
			default: step_engines(&rng, (size_t)rng_below(&rng, N)); break;
			}
			check_limits(seed, others);
		}
		/* Calm: no new jobs, memory for any one of them. */
		sample.mem_available = 95 * GIB;
		see();
		for (unsigned i = 0; i < 400 && (r.a->n_queued > 0 || r.a->n_running > 0); i++) {
			step_engines(&rng, i % N);
			r.now += 10;
			rig_simple(&r, AGENT_EV_TICK);
		}
		cr_assert_eq(
			r.a->n_queued + r.a->n_running, 0, "seed %" PRIu64 ": %zu jobs wait for ever", seed, r.a->n_queued);
	}
}
