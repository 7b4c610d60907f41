#include <criterion/criterion.h>

#include "verbs.h"

static uint8_t memory[1 << 16];
static struct admin asked;
static const char *why;

static enum code read_(const char *path, const char *body)
{
	struct arena arena = { .p = memory, .cap = sizeof(memory) };

	return verbs_read(span_of(path), span_of(body), &arena, &asked, &why);
}

Test(verbs, the_address_says_what_and_of_which)
{
	cr_assert_eq(read_("/api/v1/agents/box-1/drain", ""), CODE_OK);
	cr_assert(asked.verb == ADMIN_DRAIN && span_is(asked.agent, "box-1") && asked.job.n == 0);
	cr_assert_eq(read_("/api/v1/agents/drain/drain", ""), CODE_OK);
	cr_assert(span_is(asked.agent, "drain"));
	cr_assert_eq(read_("/api/v1/jobs/j1/cancel", ""), CODE_OK);
	cr_assert(asked.verb == ADMIN_CANCEL && span_is(asked.job, "j1") && asked.agent.n == 0);
}

Test(verbs, the_body_may_say_why_and_how_much)
{
	cr_assert_eq(read_("/api/v1/agents/a/quarantine", "{\"reason\":\"smells\"}"), CODE_OK);
	cr_assert(span_is(asked.reason, "smells"));
	cr_assert_eq(read_("/api/v1/agents/a/weight", "{\"value\":0}"), CODE_OK);
	cr_assert(msg_has(&asked, ADMIN_VALUE) && asked.value == 0);
	cr_assert_eq(read_("/api/v1/agents/a/weight", "{\"value\":\"0\"}"), CODE_BAD_REQUEST);
	cr_assert_eq(read_("/api/v1/agents/a/weight", "50"), CODE_BAD_REQUEST);
}

Test(verbs, other_addresses_are_told_what_there_is)
{
	static const char *const paths[] = { "/api/v1/agents/a", "/api/v1/agents/a/", "/api/v1/agents//drain",
		"/api/v1/agents/drain", "/api/v1/agents/a/b/drain", "/api/v1/agents/a/cancel", "/api/v1/jobs/j/drain",
		"/api/v1/jobs/cancel", "/api/v1/jobs//cancel", "/api/v1/agents/a/explode" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		why = NULL;
		cr_expect_eq(read_(paths[i], ""), CODE_NOT_FOUND, "%s", paths[i]);
		cr_expect_not_null(why);
	}
}
