/* A journal whose entries outlive the hub at once: what may leave then, and what waits for the disk all the same. */
#include <criterion/criterion.h>

#include "hub_rig.h"

static struct rig r;
static struct hub_config config;

static void begin_with(enum hub_journal mode)
{
	config = rig_config();
	config.journal = mode;
	config.notes = true;
	rig_init(&r, &config);
	rig_agent(&r, "a", 1, 1, 2);
	r.hold_persist = true;
}

static void begin(void)
{
	begin_with(HUB_JOURNAL_SYNC);
}

static void end(void)
{
	rig_fini(&r);
}

TestSuite(hub_notes, .init = begin, .fini = end);

static size_t place_of(enum hub_action_type type, unsigned kind)
{
	for (size_t i = 0; i < r.n; i++)
		if (r.acts[i].type == type && (type != HUB_ACT_PERSIST || r.acts[i].persist.kind == kind))
			return i;
	return r.n;
}

static const char *submit(const char *id, bool stream)
{
	static char job[PROTO_MAX_ID + 1];
	const struct job_msg *m;

	rig_submit_to(&r, "alice", rig_request(id, stream), "t", 0);
	m = rig_dispatched(&r, "a");
	job[0] = '\0';
	if (m != NULL)
		cr_assert_eq(span_copy(m->job, job, sizeof(job)), 0);
	return job;
}

Test(hub_notes, a_first_attempt_leaves_behind_its_entries_and_the_client_hears_when_they_are_safe)
{
	const char *job = submit("", true);

	cr_assert_str_neq(job, "");
	cr_assert_lt(place_of(HUB_ACT_PERSIST, HUB_PERSIST_SUBMIT), place_of(HUB_ACT_PERSIST, HUB_PERSIST_ATTEMPT));
	cr_assert_lt(place_of(HUB_ACT_PERSIST, HUB_PERSIST_ATTEMPT), place_of(HUB_ACT_DISPATCH, 0));
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_tokens(&r, "a", job, 1, 0, "ab");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_persisted(&r, 2);
	cr_assert_eq(rig_answers(&r, ANSWER_ACCEPTED), 1);
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 0); /* they have an entry of their own only now */
	rig_persisted(&r, r.persist_seq);
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
	cr_assert_eq(rig_answers(&r, ANSWER_ACCEPTED), 0);
}

Test(hub_notes, an_end_before_its_beginning_is_safe_is_told_in_the_same_order)
{
	const char *job = submit("", true);

	rig_tokens(&r, "a", job, 1, 0, "ab");
	rig_done(&r, "a", job, 1, 2, "ab");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_persisted(&r, 2);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_persisted(&r, r.persist_seq);
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 3);
	cr_assert_eq(rig_find(&r, HUB_ACT_ANSWER, 0)->answer.type, ANSWER_ACCEPTED);
	cr_assert_eq(rig_find(&r, HUB_ACT_ANSWER, 1)->answer.type, ANSWER_TOKENS);
	cr_assert_eq(rig_find(&r, HUB_ACT_ANSWER, 2)->answer.type, ANSWER_DONE);
	cr_assert_eq(rig_controls(&r, CONTROL_END), 1);
}

Test(hub_notes, a_job_with_an_id_waits_until_the_journal_has_looked_for_it)
{
	cr_assert_str_eq(submit("k", false), "");
	rig_persisted(&r, 1);
	cr_assert_lt(place_of(HUB_ACT_PERSIST, HUB_PERSIST_ATTEMPT), place_of(HUB_ACT_DISPATCH, 0));
	cr_assert_not_null(rig_dispatched(&r, "a"));
}

Test(hub_notes, a_further_attempt_waits_for_the_disk)
{
	const char *job = submit("", true);

	rig_failed(&r, "a", job, 1, CODE_ENGINE_CRASHED);
	rig_pass(&r, 5000);
	cr_assert_eq(place_of(HUB_ACT_DISPATCH, 0), r.n);
	rig_persisted(&r, r.persist_seq);
	cr_assert_eq(rig_dispatched(&r, "a")->attempt, 2);
}

Test(hub_notes, tokens_that_a_new_attempt_continues_are_not_told_with_the_job_before_they_are_safe)
{
	const char *job = submit("", true);

	rig_tokens(&r, "a", job, 1, 0, "ab");
	rig_failed(&r, "a", job, 1, CODE_ENGINE_CRASHED);
	rig_pass(&r, 5000); /* entries: job, attempt, tokens, attempt */
	cr_assert_eq(r.persist_seq, 4);
	rig_persisted(&r, 2);
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 0);
	rig_persisted(&r, 3);
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
}

static void begin_async(void)
{
	begin_with(HUB_JOURNAL_ASYNC);
}

Test(hub_notes, an_asynchronous_journal_shows_no_token_before_the_job_is_accepted, .init = begin_async)
{
	const char *job = submit("", true);

	rig_tokens(&r, "a", job, 1, 0, "ab");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	rig_persisted(&r, 2);
	cr_assert_eq(rig_find(&r, HUB_ACT_ANSWER, 0)->answer.type, ANSWER_ACCEPTED);
	cr_assert_eq(rig_find(&r, HUB_ACT_ANSWER, 1)->answer.type, ANSWER_TOKENS);
	rig_tokens(&r, "a", job, 1, 2, "c");
	cr_assert_eq(rig_answers(&r, ANSWER_TOKENS), 1);
}

Test(hub_notes, what_nobody_was_promised_may_be_gone_after_a_power_cut)
{
	const char *job = submit("", true);

	rig_crash(&r, &config, 0, 1000); /* not one entry is left */
	rig_simple(&r, HUB_EV_LINK_UP);
	rig_agent(&r, "a", 1, 2, 2);
	rig_tokens(&r, "a", job, 1, 0, "ab");
	cr_assert_eq(rig_count(&r, HUB_ACT_ANSWER), 0);
	cr_assert_eq(rig_controls(&r, CONTROL_CANCEL) + rig_controls(&r, CONTROL_END), 1, "its agent is told to stop");
}

Test(hub_notes, there_are_only_so_many_notes_until_the_disk_has_them)
{
	static char prompt[8192];
	struct submit big = rig_request("", false);
	size_t n_noted = 0;

	rig_agent(&r, "a", 1, 2, 100);
	memset(prompt, 'x', sizeof(prompt));
	big.prompt = span_mem(prompt, sizeof(prompt));
	do
		rig_submit_to(&r, "alice", big, "t", 0);
	while (rig_dispatched(&r, "a") != NULL && ++n_noted < 100);
	cr_assert(n_noted > HUB_NOTES_MAX / 12000 && n_noted < HUB_NOTES_MAX / sizeof(prompt), "%zu are noted", n_noted);
	rig_persisted(&r, r.persist_seq);
	cr_assert_str_neq(submit("", false), "", "all are safe: there may be notes again");
}

Test(hub_notes, an_attempt_that_is_known_is_not_restored_over_its_tokens)
{
	const char *job = submit("", true);
	struct hub_record attempt = r.records[1];

	cr_assert(attempt.note && attempt.kind == HUB_PERSIST_ATTEMPT);
	rig_tokens(&r, "a", job, 1, 0, "ab");
	rig_persisted(&r, r.persist_seq);
	r.records[r.n_records++] = attempt; /* from a note */
	rig_crash(&r, &config, r.n_records, 1000);
	cr_assert_eq(rig_job_view(&r, job).tokens, 2);
}
