/* Who writes on where another stopped, and what the receipt says of it. */
#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;
static const char *job;

static const struct box {
	const char *engine;
	struct span digest;
	bool is_exact;
} first = { "echo 1", { "one file, it has thirty-two bytes", 32 }, true },
  other_engine = { "echo 2", { "one file, it has thirty-two bytes", 32 }, true },
  other_file = { "echo 1", { "another one, with thirty-two bytes", 32 }, true },
  not_exact = { "echo 1", { "one file, it has thirty-two bytes", 32 }, false }, unknown = { "", { "", 0 }, true };

static void comes(const char *id, const struct box *b)
{
	struct model_info m = {
		.name = SPAN("m"), .state = MODEL_READY, .n_ctx = 512, .digest = b->digest, .exact = b->is_exact
	};
	struct registration g = rig_registration(id, 1, 1);

	g.engine = span_of(b->engine);
	g.models = &m;
	rig_register(&r, g);
}

static void begin(const struct box *b)
{
	struct hub_config c = rig_config();

	rig_init(&r, &c);
	comes("a", b);
	job = rig_submit(&r, rig_request("k1", false));
	rig_tokens(&r, "a", job, 1, 0, "he");
}

static void init(void)
{
	begin(&first);
}

static void fini(void)
{
	rig_fini(&r);
}

TestSuite(hub_continuity, .init = init, .fini = fini);

static bool runs_on(const char *agent)
{
	return rig_job_view(&r, job).state == HUB_JOB_DISPATCHED && span_is(rig_job_view(&r, job).agent, agent);
}

/* What the receipt says when `agent` writes the rest. */
static const char *said(const char *agent)
{
	static char text[32];
	uint64_t attempt = rig_job_view(&r, job).attempt;

	cr_assert(runs_on(agent));
	rig_tokens(&r, agent, job, attempt, 2, "llo");
	rig_done(&r, agent, job, attempt, 5, "llo");
	cr_assert_eq(span_copy(rig_answer(&r, ANSWER_DONE)->answer.receipt.continuity, text, sizeof(text)), 0);
	return text;
}

/* a goes, b carries on. */
static const char *carried_on_by(const struct box *b)
{
	comes("b", b);
	rig_event(&r, (struct hub_event){ .type = HUB_EV_NO_SUBSCRIBER, .agent = SPAN("a") });
	rig_keep_alive(&r, "b", 5000);
	return said("b");
}

Test(hub_continuity, equal_engines_write_on_exactly)
{
	cr_assert_str_eq(carried_on_by(&first), "exact");
}

Test(hub_continuity, another_engine_or_another_file_is_told)
{
	cr_assert_str_eq(carried_on_by(&other_engine), "other_build");
	begin(&first);
	cr_assert_str_eq(carried_on_by(&other_file), "other_build");
	begin(&first);
	cr_assert_str_eq(carried_on_by(&unknown), "other_build", "who does not say is taken for another");
}

Test(hub_continuity, engines_that_promise_nothing_are_told)
{
	cr_assert_str_eq(carried_on_by(&not_exact), "not_exact");
	begin(&not_exact);
	cr_assert_str_eq(carried_on_by(&first), "not_exact");
}

Test(hub_continuity, an_undisturbed_answer_says_nothing)
{
	rig_done(&r, "a", job, 1, 2, "he");
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.receipt.continuity.n, 0);
	cr_assert_not(msg_has(&rig_answer(&r, ANSWER_DONE)->answer.receipt, RECEIPT_CONTINUITY));
}

Test(hub_continuity, attempts_without_a_token_leave_no_seam)
{
	comes("b", &other_engine);
	job = rig_submit(&r, rig_request("k2", false));
	cr_assert(runs_on("b"));
	rig_failed(&r, "b", job, 1, CODE_BATCH_FAILED);
	rig_cancel(&r, "alice", "", "k1");
	rig_keep_alive(&r, "a", 1000);
	cr_assert(runs_on("a"));
	rig_tokens(&r, "a", job, 2, 0, "x");
	rig_done(&r, "a", job, 2, 1, "x");
	cr_assert_eq(rig_answer(&r, ANSWER_DONE)->answer.receipt.continuity.n, 0);
}

Test(hub_continuity, an_equal_agent_is_waited_for_a_little)
{
	comes("b", &other_engine);
	comes("c", &first);
	rig_submit(&r, rig_request("k2", false)); /* b or c has it */
	rig_submit(&r, rig_request("k3", false)); /* the other one */
	rig_failed(&r, "a", job, 1, CODE_BATCH_FAILED);
	rig_cancel(&r, "alice", "", "k2");
	rig_cancel(&r, "alice", "", "k3");
	rig_keep_alive(&r, "b", 200);
	cr_assert_str_eq(said("c"), "exact");
}

Test(hub_continuity, but_not_for_long)
{
	const char *busy;

	comes("c", &first);
	busy = rig_submit(&r, rig_request("k2", false));
	cr_assert(span_is(rig_job_view(&r, busy).agent, "c"));
	comes("b", &other_engine);
	rig_failed(&r, "a", job, 1, CODE_BATCH_FAILED);
	rig_heartbeat(&r, "c", 1, 1);
	rig_keep_alive(&r, "b", 1500);
	cr_assert_not(runs_on("b"));
	rig_keep_alive(&r, "b", 1000);
	cr_assert_str_eq(said("b"), "other_build");
}

Test(hub_continuity, nor_when_there_is_none)
{
	comes("b", &other_engine);
	rig_failed(&r, "a", job, 1, CODE_BATCH_FAILED);
	cr_assert_not(runs_on("b"), "a itself is equal, and may be well again soon");
	begin(&first);
	comes("b", &other_engine);
	rig_status(&r, "a", 1, 1, AGENT_DRAINING);
	rig_failed(&r, "a", job, 1, CODE_BATCH_FAILED);
	rig_keep_alive(&r, "b", 150);
	cr_assert(runs_on("b"));
}
