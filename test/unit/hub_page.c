#include <criterion/criterion.h>
#include <stdio.h>

#include "hub_rig.h"

static struct rig r;
static char seen[64][PROTO_MAX_ID + 1];
static size_t n_seen;
static char next[HUB_CURSOR_SIZE];

static void see(void *ctx, const struct hub_job_view *v)
{
	(void)ctx;
	cr_assert_lt(n_seen, 64);
	cr_assert_eq(span_copy(v->job, seen[n_seen++], sizeof(seen[0])), 0);
}

static const unsigned live = (1u << HUB_JOB_DONE) - 1, all = (1u << HUB_JOB_STATE_COUNT) - 1;

static size_t page(struct hub_job_filter f, const char *cursor, size_t max)
{
	char from[HUB_CURSOR_SIZE];

	n_seen = 0;
	(void)snprintf(from, sizeof(from), "%s", cursor);
	cr_assert(hub_page_jobs(r.h, &f, span_of(from), max, see, NULL, next));
	return n_seen;
}

/* Jobs 0 to n - 1; the first `running` of them run on "a". */
static const char *jobs[16];

static void begin(size_t n, uint64_t running)
{
	struct hub_config c = rig_config();

	rig_init(&r, &c);
	rig_agent(&r, "a", 1, 1, running > 0 ? running : 1);
	if (running == 0)
		rig_status(&r, "a", 1, 1, AGENT_DRAINING);
	for (size_t i = 0; i < n; i++) {
		jobs[i] = rig_submit(&r, rig_request("", false));
		if (i < running)
			rig_say(&r, "a", rig_said(JOB_EVENT_ACCEPTED, jobs[i], 1));
	}
}

static void end(const char *job)
{
	rig_cancel(&r, "alice", job, "");
}

Test(page, pages_of_live_jobs_follow_the_order_of_submission)
{
	struct hub_job_filter f = { .states = live };

	begin(7, 2);
	cr_assert_eq(page(f, "", 3), 3);
	for (int i = 0; i < 3; i++)
		cr_assert_str_eq(seen[i], jobs[i]);
	cr_assert_eq(page(f, next, 3), 3);
	cr_assert_str_eq(seen[0], jobs[3]);
	cr_assert_eq(page(f, next, 3), 1);
	cr_assert_str_eq(seen[0], jobs[6]);
	cr_assert_str_eq(next, "");
	cr_assert_eq(page(f, "", 7), 7);
	cr_assert_str_eq(next, "", "there is nothing behind the last");
	rig_fini(&r);
}

Test(page, a_cursor_holds_when_its_job_has_ended)
{
	struct hub_job_filter f = { .states = live };

	begin(5, 0);
	cr_assert_eq(page(f, "", 2), 2);
	end(jobs[1]);
	end(jobs[2]);
	cr_assert_eq(page(f, next, 2), 2);
	cr_assert_str_eq(seen[0], jobs[3]);
	cr_assert_str_eq(seen[1], jobs[4]);
	rig_fini(&r);
}

Test(page, ended_jobs_come_newest_first_and_behind_the_live_ones)
{
	struct hub_job_filter f = { .states = all };
	char from[HUB_CURSOR_SIZE];

	begin(5, 0);
	for (int i = 0; i < 3; i++)
		end(jobs[i]);
	cr_assert_eq(page(f, "", 3), 3);
	cr_assert_str_eq(seen[0], jobs[3]);
	cr_assert_str_eq(seen[2], jobs[2]);
	(void)snprintf(from, sizeof(from), "%s", next);
	cr_assert_eq(page(f, from, 5), 2);
	cr_assert_str_eq(seen[0], jobs[1]);
	cr_assert_str_eq(seen[1], jobs[0]);
	f.states = 1u << HUB_JOB_CANCELLED;
	cr_assert_eq(page(f, "", 16), 3);
	cr_assert_str_eq(seen[0], jobs[2]);
	rig_fini(&r);
}

Test(page, filters_are_by_user_model_and_agent)
{
	struct hub_job_filter f = { .states = live, .agent = SPAN("a") };

	begin(3, 1);
	rig_submit_to(&r, "bob", rig_request("", false), "t", 0);
	cr_assert_eq(page(f, "", 16), 1);
	cr_assert_str_eq(seen[0], jobs[0]);
	f = (struct hub_job_filter){ .states = live, .user = SPAN("bob") };
	cr_assert_eq(page(f, "", 16), 1);
	f = (struct hub_job_filter){ .states = live, .user = SPAN("alice"), .model = SPAN("m") };
	cr_assert_eq(page(f, "", 16), 3);
	f.model = SPAN("other");
	cr_assert_eq(page(f, "", 16), 0);
	rig_fini(&r);
}

Test(page, what_is_no_cursor_is_refused)
{
	static const char *const bad[] = { "x", "l", "l1", "l.", "l1.", "l.j", "x1.j", "1.j", "l999999999999999999999.j",
		"l1j" };
	struct hub_job_filter f = { .states = all };

	begin(1, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect(!hub_page_jobs(r.h, &f, span_of(bad[i]), 5, see, NULL, next), "%s", bad[i]);
	cr_assert_eq(page(f, "e7.gone", 5), 0, "what was behind it is gone, too");
	rig_fini(&r);
}

Test(page, a_job_is_found_with_its_receipt)
{
	struct hub_job_view v;
	struct receipt receipt;

	begin(1, 1);
	rig_pass(&r, 70);
	cr_assert(hub_find_job(r.h, span_of(jobs[0]), &v, &receipt));
	cr_assert(span_is(receipt.agent, "a") && receipt.attempts == 1);
	end(jobs[0]);
	cr_assert(hub_find_job(r.h, span_of(jobs[0]), &v, &receipt));
	cr_assert(v.state == HUB_JOB_CANCELLED && v.code == CODE_CANCELLED && receipt.total_ms == 70);
	cr_assert_not(hub_find_job(r.h, SPAN("none"), &v, &receipt));
	rig_fini(&r);
}
