#include <criterion/criterion.h>
#include <stdio.h>

#include "doctor.h"
#include "hub.h"

static struct doctor d;

static void begin(void)
{
	doctor_fini(&d);
	memset(&d, 0, sizeof(d));
}

static void end(void)
{
	doctor_fini(&d);
}

TestSuite(doctor, .fini = end);

/* The finding with this code; NULL: none. */
static const struct finding *found(const char *code)
{
	for (size_t i = 0; i < d.n; i++)
		if (d.list[i].code != NULL && strcmp(d.list[i].code, code) == 0)
			return &d.list[i];
	return NULL;
}

static struct api_status status(uint64_t total, uint64_t online)
{
	return (struct api_status){ .link = { .up = true, .broker = SPAN("host") },
		.hub.version = SPAN("1"),
		.agents = { .total = total, .online = online, .slots = 4 } };
}

Test(doctor, nothing_wrong_is_said_too)
{
	struct api_status s = status(2, 2);

	begin();
	doctor_status(&d, &s, false);
	doctor_queue(&d, &s);
	cr_assert(d.n == 3 && d.n_wrong == 0);
	begin();
	doctor_status(&d, &s, true);
	cr_assert_eq(d.n, 0);
}

Test(doctor, a_hub_without_broker_agents_or_slots_is_told)
{
	struct api_status s = status(0, 0);

	begin();
	doctor_unreachable(&d, "http://x", "refused");
	cr_assert(
		d.n_wrong == 1 && strstr(d.list[0].text, "refused") != NULL && strstr(d.list[0].mend, "shoal-hub") != NULL);
	begin();
	doctor_status(&d, &s, true);
	cr_assert(d.n_wrong == 1 && strcmp(d.list[0].subject, "agents") == 0);
	s = status(3, 0);
	begin();
	doctor_status(&d, &s, true);
	cr_assert(d.n_wrong == 1 && found("NO_AGENT") != NULL);
	s = status(3, 3);
	s.link.up = false;
	begin();
	doctor_status(&d, &s, true);
	cr_assert(d.n_wrong == 1 && strcmp(d.list[0].subject, "broker host") == 0);
	s.link = (struct api_link){ .up = true, .blind = true, .reason = SPAN("half are gone") };
	begin();
	doctor_status(&d, &s, true);
	cr_assert(found("hub_blind") != NULL && strstr(d.list[0].text, "half are gone") != NULL);
	s = status(3, 3);
	s.journal = (struct api_journal){ .full = true, .set_aside = SPAN("/x/journal.bad") };
	begin();
	doctor_status(&d, &s, false);
	cr_assert(d.n_wrong == 1 && found("JOURNAL_FULL") != NULL && strstr(d.list[3].text, "/x/journal.bad") != NULL);
	s = status(3, 3);
	s.queued = 5, s.agents.in_flight = 4;
	begin();
	doctor_queue(&d, &s);
	cr_assert_not_null(found("slots_full"));
}

Test(doctor, each_state_of_an_agent_has_its_sentence_and_its_command)
{
	static const struct {
		struct api_agent agent;
		const char *code, *mend;
	} cases[] = {
		{ { .state = { "offline", 7 }, .reason = { "connection lost", 15 } }, "offline", "shoal-agent" },
		{ { .state = { "offline", 7 }, .reason = { "never seen", 10 } }, "never_seen", "shoal-agent" },
		{ { .state = { "suspect", 7 } }, "suspect", "network" },
		{ { .state = { "draining", 8 } }, "draining", "shoal resume box-1" },
		{ { .state = { "quarantined", 11 }, .isolated = true, .asked_for = { "smells", 6 } }, "isolated",
			"shoal release box-1" },
		{ { .state = { "quarantined", 11 } }, "quarantined", "its own id" },
		{ { .has = 1u << API_AGENT_WEIGHT, .state = { "online", 6 } }, "weight_zero", "shoal weight box-1 100" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct api_agent a = cases[i].agent;
		const struct finding *f;

		a.id = SPAN("box-1");
		begin();
		doctor_agent(&d, &a, true);
		f = found(cases[i].code);
		cr_expect(d.n_wrong == 1 && f != NULL, "%s", cases[i].code);
		if (f != NULL)
			cr_expect(strstr(f->mend, cases[i].mend) != NULL, "%s", f->mend);
		if (f != NULL && cases[i].agent.asked_for.n > 0)
			cr_expect_not_null(strstr(f->text, "smells"));
	}
}

Test(doctor, models_that_fail_are_told_with_why_and_how_to_load_them)
{
	struct api_agent_model models[] = { { .name = SPAN("good"), .state = SPAN("ready") },
		{ .name = SPAN("bad"), .state = SPAN("failed"), .reason = SPAN("no such file") },
		{ .name = SPAN("ill"), .state = SPAN("quarantined") },
		{ .name = SPAN("worn"), .state = SPAN("ready"), .breaker = SPAN("open") } };
	struct api_agent a = { .id = SPAN("box-1"), .state = SPAN("online"), .models = models, .n_models = 4 };

	begin();
	doctor_agent(&d, &a, true);
	cr_assert_eq(d.n_wrong, 3);
	cr_assert_not_null(strstr(found("model_failed")->text, "no such file"));
	cr_assert_not_null(strstr(found("model_failed")->mend, "shoal load box-1 bad"));
	cr_assert_not_null(strstr(found("model_quarantined")->mend, "shoal load box-1 ill"));
	cr_assert_not_null(found("breaker_open"));
}

/* ---- jobs ---- */

static struct api_story waiting(const struct api_reason *reason, const struct api_candidate *candidate)
{
	return (struct api_story){ .job = { .job = SPAN("j1"), .state = SPAN("queued"), .model = SPAN("m") },
		.explain = { .model = SPAN("m"),
			.total = 1,
			.reasons = reason,
			.n_reasons = 1,
			.candidates = candidate,
			.n_candidates = 1 } };
}

Test(doctor, each_reason_why_a_job_waits_has_its_sentence)
{
	for (unsigned r = 0; r < HUB_REASON_COUNT; r++) {
		struct span code = span_of(hub_reason_codes[r]);
		struct api_reason reason = { .reason = code, .agents = 1 };
		struct api_candidate candidate = { .agent = SPAN("box-1"), .reason = code };
		struct api_story s = waiting(&reason, &candidate);
		const struct finding *f;

		begin();
		doctor_job(&d, &s);
		if (r <= HUB_REASON_OUTRANKED) {
			cr_expect(d.n_wrong == 0 && d.n == 1, "%s", hub_reason_codes[r]);
			continue;
		}
		cr_expect_eq(d.n_wrong, 2, "%s", hub_reason_codes[r]);
		f = &d.list[d.n - 1];
		cr_expect(f->code != NULL && strcmp(f->code, hub_reason_codes[r]) == 0);
		cr_expect(strcmp(f->subject, "agent box-1") == 0 && f->mend[0] != '\0');
		cr_expect_null(strstr(f->mend, "AGENT"), "%s", f->mend);
		begin();
		doctor_candidate(&d, SPAN("box-1"), SPAN("m"), &s.explain);
		cr_expect(d.n_wrong == 1 && found(hub_reason_codes[r]) != NULL);
	}
}

Test(doctor, each_code_a_job_failed_with_has_its_sentence)
{
	for (unsigned i = 1; i <= CODE_MAX; i++) {
		const struct code_info *info = code_info(i);
		struct api_story s = { .job = { .job = SPAN("j1"),
					       .state = SPAN("failed"),
					       .code = span_of(info->name),
					       .message = span_of(info->text) } };

		begin();
		doctor_job(&d, &s);
		cr_expect(d.n_wrong == 1 && found(info->name) != NULL, "%s", info->name);
		cr_expect(d.n == 1 && strstr(d.list[0].text, info->text) != NULL && d.list[0].mend[0] != '\0');
	}
}

Test(doctor, findings_are_bounded_and_counted)
{
	struct api_agent a = { .id = SPAN("box-1"), .state = SPAN("suspect") };

	begin();
	for (int i = 0; i < DOCTOR_MAX + 5; i++)
		doctor_agent(&d, &a, true);
	cr_assert(d.n == DOCTOR_MAX && d.n_more == 5 + 0 && d.n_wrong == DOCTOR_MAX + 5);
}
