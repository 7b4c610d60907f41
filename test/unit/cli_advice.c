#include <criterion/criterion.h>
#include <stdio.h>

#include "advice.h"
#include "hub.h"

static const char *const codes[] = {
#define X(name, number, http, type, retryable, exit, text) #name,
	CODE_LIST(X)
#undef X
};

static void must_help(const struct advice *a, const char *name, bool needs_mend)
{
	cr_expect_not_null(a, "there is no advice for %s: cli/advice.c needs one", name);
	if (a == NULL)
		return;
	cr_expect_str_eq(a->name, name);
	cr_expect_gt(strlen(a->means), 20, "%s: what does it mean?", name);
	cr_expect(!needs_mend || strlen(a->mend) > 5, "%s: what is to be done?", name);
}

Test(advice, every_code_is_explained_with_what_to_do)
{
	for (size_t i = 1; i < sizeof(codes) / sizeof(codes[0]); i++) /* 0: OK */
		must_help(advice_of_code(span_of(codes[i])), codes[i], true);
}

Test(advice, there_is_none_for_codes_that_are_not)
{
	for (size_t i = 0; advice_nth(i) != NULL; i++)
		cr_expect_not_null(code_by_name(span_of(advice_nth(i)->name)), "%s", advice_nth(i)->name);
	cr_assert_null(advice_of_code(SPAN("NO_SUCH_CODE")));
	cr_assert_null(advice_code(SPAN("NO_SUCH_CODE")));
}

Test(advice, every_reason_why_an_agent_is_not_chosen_is_explained)
{
	for (unsigned r = 0; r < HUB_REASON_COUNT; r++)
		must_help(advice_of_reason(span_of(hub_reason_codes[r])), hub_reason_codes[r], r > HUB_REASON_OUTRANKED);
}

Test(advice, codes_are_known_in_small_letters_and_as_other_clients_know_them)
{
	char small[64];

	for (size_t i = 1; i < sizeof(codes) / sizeof(codes[0]); i++) {
		size_t n = strlen(codes[i]);

		for (size_t k = 0; k <= n; k++)
			small[k] = codes[i][k] >= 'A' && codes[i][k] <= 'Z' ? (char)(codes[i][k] - 'A' + 'a') : codes[i][k];
		cr_expect_not_null(advice_code(span_of(small)), "%s", small);
		cr_expect_str_eq(advice_code(span_of(small))->name, codes[i]);
	}
	cr_assert_str_eq(advice_code(SPAN("model_not_found"))->name, "MODEL_UNKNOWN");
	cr_assert_str_eq(advice_code(SPAN("context_length_exceeded"))->name, "CONTEXT_FULL");
	cr_assert_str_eq(advice_code(SPAN("rate_limit_exceeded"))->name, "RATE_LIMITED");
}
