/* Conversations whose state is saved: when, where, how much of it, and who gets it back. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "agent_rig.h"
#include "rng.h"

#define MAX_BYTES 1000
#define REST_MS 2000

static struct rig r;
static unsigned n_jobs;

static void init(void)
{
	struct agent_config c = rig_config();

	c.session_bytes = MAX_BYTES;
	c.session_rest_ms = REST_MS;
	rig_ready(&r, &c);
	n_jobs = 0;
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(sessions, .init = init, .fini = fini);

static const struct agent_action *sent(enum engine_msg_type type)
{
	const struct agent_action *act;

	for (size_t i = 0; (act = rig_find(&r, AGENT_ACT_ENGINE_SEND, i)) != NULL; i++)
		if (act->engine_msg.type == type)
			return act;
	return NULL;
}

/* Tick by tick until there is a SAVE. */
static const struct agent_action *wait_for_save(uint64_t at_most_ms)
{
	for (uint64_t until = r.now + at_most_ms; r.now < until && sent(ENGINE_SAVE) == NULL;) {
		r.now += 10;
		rig_simple(&r, AGENT_EV_TICK);
	}
	return sent(ENGINE_SAVE);
}

/* Starts a job of the session; its run's number. */
static uint64_t start(const char *session, bool may_cache)
{
	struct job_msg m = { .attempt = 1, .model = SPAN("m"), .prompt = SPAN("p"), .session = span_of(session) };
	char id[16];

	snprintf(id, sizeof(id), "j%u", ++n_jobs);
	m.job = span_of(id);
	m.sampling.cache_prompt = may_cache;
	msg_set(&m.sampling, SAMPLING_CACHE_PROMPT);
	rig_job_msg(&r, m);
	cr_assert_not_null(sent(ENGINE_GENERATE));
	return sent(ENGINE_GENERATE)->engine_msg.job;
}

static uint64_t converse(const char *session)
{
	uint64_t run = start(session, true);

	rig_done(&r, run, 0, FINISH_STOP);
	return run;
}

static void saved(uint64_t run, uint64_t size)
{
	rig_engine(&r, (struct engine_msg){ .type = ENGINE_SAVED, .job = run, .tokens = size > 0 ? 9 : 0, .size = size });
}

/* A conversation that has rested and lies in a file; returns nothing to look at but the last step. */
static void keep(const char *session, uint64_t size)
{
	uint64_t run = converse(session);

	for (uint64_t other = 0; other != run; saved(other, size)) { /* one that rests for longer goes first */
		cr_assert_not_null(wait_for_save(REST_MS));
		other = sent(ENGINE_SAVE)->engine_msg.job;
	}
	cr_assert_not_null(rig_find(&r, AGENT_ACT_SESSION_KEEP, 0));
}

static bool is_restored(const char *session)
{
	uint64_t run = start(session, true);
	const struct agent_action *act = sent(ENGINE_RESTORE);
	bool is = act != NULL;

	cr_assert(!is || (act < sent(ENGINE_GENERATE) && act->engine_msg.job == run), "RESTORE comes before its job");
	if (is)
		rig_engine(&r, (struct engine_msg){ .type = ENGINE_RESTORED, .job = run, .tokens = 9 });
	rig_done(&r, run, 0, FINISH_STOP);
	return is;
}

Test(sessions, one_that_rests_is_saved_and_the_next_job_finds_it)
{
	uint64_t run = converse("alice");
	char name[AGENT_SESSION_NAME + 1];
	const struct agent_action *act;

	cr_assert_null(sent(ENGINE_SAVE), "it has not rested");
	cr_assert_null(wait_for_save(REST_MS - 10));
	act = wait_for_save(10);
	cr_assert_not_null(act);
	cr_assert(act->engine_msg.job == run && act->engine_msg.max_bytes == MAX_BYTES);
	cr_assert_eq(act->file.n, AGENT_SESSION_NAME);
	(void)span_copy(act->file, name, sizeof(name));
	cr_assert_eq(strspn(name, "0123456789abcdef"), AGENT_SESSION_NAME);
	saved(run, 100);
	cr_assert(span_is(rig_find(&r, AGENT_ACT_SESSION_KEEP, 0)->file, name));
	run = start("alice", true);
	cr_assert(span_is(sent(ENGINE_RESTORE)->file, name));
	rig_done(&r, run, 0, FINISH_STOP);
	cr_assert_not(is_restored("bob"));
}

Test(sessions, it_is_not_saved_while_the_engine_works)
{
	uint64_t other;

	(void)converse("alice");
	other = start("", true);
	cr_assert_null(wait_for_save(3 * REST_MS));
	rig_done(&r, other, 0, FINISH_STOP);
	cr_assert_not_null(sent(ENGINE_SAVE), "it has rested long enough");
}

Test(sessions, jobs_without_session_or_cache_are_not_kept)
{
	rig_done(&r, start("", true), 0, FINISH_STOP);
	rig_done(&r, start("alice", false), 0, FINISH_STOP);
	cr_assert_null(wait_for_save(2 * REST_MS));
}

Test(sessions, the_files_stay_below_the_limit_and_the_oldest_goes_first)
{
	keep("a", 400);
	keep("b", 400);
	cr_assert(is_restored("a")); /* b was used longest ago now */
	keep("c", 400);
	cr_assert_eq(rig_count(&r, AGENT_ACT_SESSION_DROP), 1);
	cr_assert_not(is_restored("b"));
	cr_assert(is_restored("a") && is_restored("c"));
}

Test(sessions, what_the_engine_does_not_hold_any_more_is_discarded)
{
	uint64_t run = converse("alice");

	cr_assert_not_null(wait_for_save(REST_MS));
	saved(run, 0);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_SESSION_DISCARD, 0));
	cr_assert_not(is_restored("alice"));
}

Test(sessions, a_file_that_is_refused_goes)
{
	uint64_t run;

	keep("alice", 100);
	run = start("alice", true);
	rig_engine(&r, (struct engine_msg){ .type = ENGINE_RESTORED,
			       .job = run,
			       .code = CODE_CHECKSUM_MISMATCH,
			       .reason = SPAN("It is damaged.") });
	cr_assert_not_null(rig_find(&r, AGENT_ACT_SESSION_DROP, 0));
	rig_done(&r, run, 0, FINISH_STOP);
	cr_assert_not(is_restored("alice"));
}

Test(sessions, a_dead_engine_holds_nothing_but_the_files_are_there)
{
	keep("alice", 100);
	(void)converse("bob");
	rig_exit(&r, 9);
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_START, 1000));
	rig_hello(&r);
	rig_loaded(&r);
	cr_assert_null(wait_for_save(2 * REST_MS), "of an engine that is gone");
	cr_assert(is_restored("alice"));
	cr_assert_not(is_restored("bob"));
}

Test(sessions, what_is_not_saved_when_the_agent_stops_is_saved_then)
{
	uint64_t run = converse("alice");
	const struct agent_action *quit;

	rig_control(&r, CONTROL_ACK, "j1", 1, 0);
	rig_simple(&r, AGENT_EV_STOP);
	(void)wait_for_save(60000);
	quit = sent(ENGINE_QUIT);
	cr_assert(quit != NULL && sent(ENGINE_SAVE) != NULL && sent(ENGINE_SAVE) < quit, "SAVE comes before QUIT");
	rig_pass(&r, 1500);
	cr_assert_null(rig_find(&r, AGENT_ACT_STOPPED, 0), "it waits for the file");
	saved(run, 100);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_SESSION_KEEP, 0));
	rig_exit(&r, 0);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_STOPPED, 0));
}

Test(sessions, files_of_an_earlier_life_are_used_and_counted)
{
	struct agent_config c = rig_config();
	char name[AGENT_SESSION_NAME + 1];

	keep("alice", 100);
	(void)span_copy(rig_find(&r, AGENT_ACT_SESSION_KEEP, 0)->file, name, sizeof(name));
	rig_fini(&r);
	c.session_bytes = MAX_BYTES;
	cr_assert_eq(agent_new(&c, &r.a), 0);
	rig_event(&r, &(struct agent_event){
			      .type = AGENT_EV_SESSION, .name = SPAN("0123456789abcdef0123456789abcdef"), .bytes = 950 });
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_SESSION, .name = span_of(name), .bytes = 100 });
	cr_assert_eq(rig_count(&r, AGENT_ACT_SESSION_DROP), 1, "together they are too large");
	rig_simple(&r, AGENT_EV_START);
	rig_link_up(&r);
	rig_hello(&r);
	rig_loaded(&r);
	cr_assert(is_restored("alice"));
}

Test(sessions, an_answer_that_nobody_asked_for_ends_the_engine)
{
	rig_engine(&r, (struct engine_msg){ .type = ENGINE_RESTORED, .job = 1 });
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
	fini();
	init();
	saved(7, 100);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_ENGINE_KILL, 0));
}

/* ---- any order of things ---- */

enum { N_SESSIONS = 12 };

struct disk {
	char names[N_SESSIONS][AGENT_SESSION_NAME + 1];
	uint64_t sizes[N_SESSIONS];
	bool is_writing[N_SESSIONS];
	size_t n;
};

static size_t find_file(struct disk *d, struct span name)
{
	for (size_t i = 0; i < d->n; i++)
		if (span_is(name, d->names[i]))
			return i;
	cr_assert_lt(d->n, N_SESSIONS);
	(void)span_copy(name, d->names[d->n], sizeof(d->names[0]));
	return d->n++;
}

/* What a shell would do; size: of what is being written now. */
static void carry_out(struct disk *d, uint64_t size)
{
	for (size_t i = 0; i < r.n; i++) {
		const struct agent_action *act = &r.acts[i];
		size_t f = act->file.n > 0 ? find_file(d, act->file) : 0;

		if (act->type == AGENT_ACT_ENGINE_SEND && act->engine_msg.type == ENGINE_SAVE) {
			cr_assert_not(d->is_writing[f], "written twice at once");
			d->is_writing[f] = true;
		} else if (act->type == AGENT_ACT_ENGINE_SEND && act->engine_msg.type == ENGINE_RESTORE) {
			cr_assert_gt(d->sizes[f], 0, "no such file");
		} else if (act->type == AGENT_ACT_SESSION_KEEP) {
			cr_assert(d->is_writing[f]);
			d->is_writing[f] = false;
			d->sizes[f] = size;
		} else if (act->type == AGENT_ACT_SESSION_DISCARD) {
			cr_assert(d->is_writing[f]);
			d->is_writing[f] = false;
		} else if (act->type == AGENT_ACT_SESSION_DROP) {
			cr_assert_gt(d->sizes[f], 0);
			d->sizes[f] = 0;
		}
	}
}

Test(sessions, in_any_order_of_things_the_files_are_bounded_and_what_is_restored_is_there)
{
	struct disk d = { .n = 0 };
	struct rng rng;
	size_t n_restored = 0;

	rng_seed(&rng, 5);
	for (int i = 0; i < 3000; i++) {
		char session[2] = { (char)('a' + rng_below(&rng, N_SESSIONS)), '\0' };
		uint64_t run = start(session, true), size = 1 + rng_below(&rng, 600), sum = 0;

		carry_out(&d, 0);
		if (sent(ENGINE_RESTORE) != NULL) {
			bool is_bad = rng_below(&rng, 5) == 0;

			n_restored++;
			rig_engine(&r, (struct engine_msg){ .type = ENGINE_RESTORED,
					       .job = run,
					       .tokens = !is_bad,
					       .code = is_bad ? CODE_CHECKSUM_MISMATCH : CODE_OK });
			carry_out(&d, 0);
		}
		rig_done(&r, run, 0, FINISH_STOP);
		carry_out(&d, 0);
		if (rng_below(&rng, 3) > 0 && sent(ENGINE_SAVE) == NULL && wait_for_save(REST_MS) != NULL)
			carry_out(&d, 0);
		while (sent(ENGINE_SAVE) != NULL) { /* an answer may bring the next one */
			saved(sent(ENGINE_SAVE)->engine_msg.job, rng_below(&rng, 6) == 0 ? 0 : size);
			carry_out(&d, size);
		}
		for (size_t f = 0; f < d.n; f++)
			sum += d.sizes[f];
		cr_assert_leq(sum, MAX_BYTES, "step %d", i);
		rig_control(&r, CONTROL_ACK, "j0", 1, 0);
		carry_out(&d, 0);
	}
	cr_assert_gt(n_restored, 100, "%zu, %zu files", n_restored, d.n);
}

/* It is deaf while it writes or reads the file; nobody else has this engine meanwhile. */
Test(sessions, a_slow_card_is_no_hang)
{
	struct agent_config c = rig_config();
	uint64_t run, sent_ms;

	c.session_bytes = MAX_BYTES;
	c.session_rest_ms = REST_MS;
	c.token_timeout_ms = 1000;
	rig_fini(&r);
	rig_ready(&r, &c);
	run = converse("alice");
	while (sent(ENGINE_SAVE) == NULL) { /* pings are answered until then */
		if (rig_sent(&r, ENGINE_PING) != NULL)
			rig_engine(&r, (struct engine_msg){ .type = ENGINE_PONG });
		r.now += 10;
		rig_simple(&r, AGENT_EV_TICK);
	}
	sent_ms = r.now;
	r.is_engine_mute = true;
	cr_assert_null(rig_wait_for(&r, AGENT_ACT_ENGINE_KILL, 30000));
	saved(run, 10);
	cr_assert_not_null(rig_find(&r, AGENT_ACT_SESSION_KEEP, 0));
	cr_assert_not_null(rig_wait_for(&r, AGENT_ACT_ENGINE_KILL, 1000), "now it is one");
	cr_assert_leq(r.now - sent_ms, 31000);
}
