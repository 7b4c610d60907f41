#include <criterion/criterion.h>

#include "settings.h"

static struct settings settings;

static void load(const char *const set[], size_t n)
{
	struct config_error err;

	cr_assert_eq(config_load(&settings_schema, NULL, set, n, &settings, &err), 0, "%s", err.text);
}

static void fini(void)
{
	config_free(&settings_schema, &settings);
}

TestSuite(settings, .fini = fini);

Test(settings, defaults_are_those_of_the_core)
{
	struct hub_config core;

	load(NULL, 0);
	hub_config_defaults(&core);
	core.epoch = settings.core.epoch; /* neither is a setting */
	core.seed = settings.core.seed;
	core.journal = HUB_JOURNAL_SYNC; /* a core by itself has none */
	cr_assert_eq(memcmp(&core, &settings.core, sizeof(core)), 0);
}

Test(settings, defaults_are_valid_and_open_nothing_to_the_network)
{
	load(NULL, 0);
	cr_assert_null(settings_check(&settings), "%s", settings_check(&settings));
	cr_assert_str_eq(settings.http.address, "127.0.0.1");
	cr_assert_str_eq(settings.broker.host, "localhost");
}

Test(settings, what_does_not_go_together_is_said)
{
	static const char *const leases[] = { "fleet.lease_suspect=5", "fleet.lease_lost=5" };

	load(leases, 2);
	cr_assert_not_null(settings_check(&settings));
}
