/* shoal-hub: routes jobs to agents; see docs/ARCHITECTURE.md. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "log.h"
#include "program.h"
#include "server.h"
#include "statedir.h"

struct run {
	struct settings settings;
	struct statedir *dir;
	struct loop *loop;
	struct server *server;
};

static const char *check(const void *config)
{
	return settings_check(config);
}

static void on_stop(void *ctx, int signo)
{
	struct run *r = ctx;

	(void)signo;
	if (r->server != NULL)
		server_stop(r->server);
}

static int start(struct run *r, char *err, size_t err_size)
{
	uint64_t epoch = 0, seed = 0;
	int rc = statedir_open(r->settings.state_dir, "hub.pid", err, err_size, &r->dir);

	if (rc == 0)
		rc = statedir_epoch(r->dir, err, err_size, &epoch);
	if (rc < 0)
		return rc;
	(void)snprintf(err, err_size, "the event loop or the random generator is not to be had");
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return ERR_STATE;
	rc = loop_new(on_stop, r, &r->loop);
	if (rc == 0)
		rc = server_new(r->loop, &r->settings, epoch, seed, err, err_size, &r->server);
	if (rc == 0)
		log_notice("hub", "shoal-hub %s, epoch %llu", SHOAL_VERSION, (unsigned long long)epoch);
	return rc;
}

int main(int argc, char **argv)
{
	static const struct program program = {
		.name = "shoal-hub",
		.summary = "routes inference jobs to agents over MQTT and serves the OpenAI API",
		.default_file = "/etc/shoal/hub.cfg",
		.schema = &settings_schema,
		.check = check,
	};
	struct run r = { .dir = NULL };
	char err[512];
	int rc = program_begin(&program, argc, argv, &r.settings);

	if (rc <= 0)
		return rc == 0 ? 0 : EX_CONFIG;
	(void)umask(077);
	log_init("shoal-hub", (enum log_level)(LOG_ERROR + (int)r.settings.log_level));
	rc = start(&r, err, sizeof(err));
	if (rc < 0) {
		log_error("hub", "%s", err);
		rc = EX_UNAVAILABLE;
	} else {
		loop_notify_ready(r.loop, "waiting for agents");
		rc = loop_run(r.loop);
	}
	server_free(r.server);
	loop_free(r.loop);
	statedir_free(r.dir);
	config_free(&settings_schema, &r.settings);
	return rc < 0 ? EX_SOFTWARE : rc;
}
