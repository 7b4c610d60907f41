#include <criterion/criterion.h>

#include "query.h"

static struct query q;

static bool take(const char *name, const char *value)
{
	return query_take(&q, span_of(name), span_of(value));
}

Test(query, fields_say_which_jobs_and_how_many)
{
	query_init(&q);
	cr_assert(q.limit == QUERY_MAX_ROWS && q.jobs.states == 0);
	cr_assert(take("state", "queued") && take("state", "done") && take("user", "alice") && take("model", "m") &&
		  take("agent", "a") && take("limit", "7") && take("cursor", "l1.j"));
	cr_assert_eq(q.jobs.states, 1u << HUB_JOB_QUEUED | 1u << HUB_JOB_DONE);
	cr_assert(span_is(q.jobs.user, "alice") && span_is(q.jobs.model, "m") && span_is(q.jobs.agent, "a"));
	cr_assert(q.limit == 7 && span_is(q.cursor, "l1.j") && q.why[0] == '\0');
	cr_assert(take("state", "all") && q.jobs.states == (1u << HUB_JOB_STATE_COUNT) - 1);
}

Test(query, labels_may_be_several)
{
	query_init(&q);
	for (size_t i = 0; i < PROTO_MAX_LABELS; i++)
		cr_assert(take("label", "zone=a"));
	cr_assert_eq(q.n_labels, PROTO_MAX_LABELS);
	cr_assert(!take("label", "zone=a") && q.why[0] != '\0');
}

Test(query, what_is_wrong_is_said_in_a_sentence)
{
	static const char *const bad[][2] = { { "state", "asleep" }, { "state", "" }, { "limit", "0" }, { "limit", "" },
		{ "limit", "1001" }, { "limit", "99999999999999999999" }, { "limit", "-1" }, { "label", "" },
		{ "stat", "live" }, { "", "" } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		query_init(&q);
		cr_expect(!take(bad[i][0], bad[i][1]) && q.why[0] != '\0', "%s=%s", bad[i][0], bad[i][1]);
	}
}
