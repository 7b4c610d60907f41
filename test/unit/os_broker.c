#include <criterion/criterion.h>
#include <string.h>

#include "broker.h"

struct settings {
	struct broker_settings broker;
};
static const struct config_option options[] = { BROKER_OPTIONS(struct settings, broker, "who we are") };
static const struct config_schema schema = { sizeof(struct settings), options, sizeof(options) / sizeof(options[0]) };
static struct settings settings;

static void load(const char *const set[], size_t n)
{
	struct config_error err;

	cr_assert_eq(config_load(&schema, NULL, set, n, &settings, &err), 0, "%s", err.text);
}

static void fini(void)
{
	config_free(&schema, &settings);
}

TestSuite(broker, .fini = fini);

Test(broker, every_member_is_an_option)
{
	static const char *const set[] = { "broker.host=h", "broker.port=1", "broker.username=u", "broker.password_file=p",
		"broker.cafile=a", "broker.certfile=c", "broker.keyfile=k", "broker.keepalive_s=7" };

	load(set, 8);
	cr_assert_str_eq(settings.broker.host, "h");
	cr_assert_str_eq(settings.broker.username, "u");
	cr_assert_str_eq(settings.broker.password_file, "p");
	cr_assert_str_eq(settings.broker.cafile, "a");
	cr_assert_str_eq(settings.broker.certfile, "c");
	cr_assert_str_eq(settings.broker.keyfile, "k");
	cr_assert(settings.broker.port == 1 && settings.broker.keepalive_s == 7);
	cr_assert_null(broker_check(&settings.broker));
}

Test(broker, certificates_that_do_not_go_together_are_refused)
{
	static const char *const half[] = { "broker.cafile=a", "broker.certfile=c" };
	static const char *const blind[] = { "broker.certfile=c", "broker.keyfile=k" };

	load(half, 2);
	cr_assert_not_null(broker_check(&settings.broker));
	fini();
	load(blind, 2);
	cr_assert_not_null(broker_check(&settings.broker));
}

Test(broker, a_prefix_is_a_piece_of_a_topic)
{
	static const char *const bad[] = { "", "/a", "a/", "a/+/b", "#", "$SYS", "a b" };
	char big[300];

	cr_assert_null(broker_check_prefix("shoal/v1"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_not_null(broker_check_prefix(bad[i]), "\"%s\"", bad[i]);
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	cr_assert_not_null(broker_check_prefix(big));
}

Test(broker, a_password_that_cannot_be_read_is_said_without_it)
{
	static const char *const missing[] = { "broker.password_file=/nowhere/password" };
	static const char *const empty[] = { "broker.password_file=/dev/null" };
	const struct mq_config base = { .client_id = "x" };
	const struct mq_callbacks cb = { .up = NULL };
	struct loop *loop = NULL;
	struct mq *q = NULL;
	char err[256] = "";

	cr_assert_eq(loop_new(NULL, NULL, &loop), 0);
	load(missing, 1);
	cr_assert_lt(broker_link_new(loop, &settings.broker, &base, &cb, NULL, err, sizeof(err), &q), 0);
	cr_assert(strstr(err, "/nowhere/password") != NULL && strstr(err, "broker.password_file") != NULL, "%s", err);
	fini();
	load(empty, 1);
	cr_assert_eq(broker_link_new(loop, &settings.broker, &base, &cb, NULL, err, sizeof(err), &q), ERR_MISSING);
	cr_assert_null(q);
	loop_free(loop);
}
