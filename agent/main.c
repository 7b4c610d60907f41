/* shoal-agent: one box of the fleet.  Configuration first, then daemon.c. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "daemon.h"
#include "log.h"
#include "program.h"
#include "settings.h"

#define EX_UNAVAILABLE 69
#define EX_CONFIG 78

#ifndef SHOAL_LIBEXEC
#define SHOAL_LIBEXEC "/usr/libexec/shoal"
#endif

/* The engine program, as a heap string; NULL when there is none. */
static char *find_engine(const struct settings *s)
{
	if (s->engine.path[0] == '\0')
		return child_find("shoal-engine", SHOAL_LIBEXEC);
	return access(s->engine.path, X_OK) == 0 ? strdup(s->engine.path) : NULL;
}

static int run(const struct settings *s)
{
	char *engine = find_engine(s);
	int rc = EX_UNAVAILABLE;

	if (engine != NULL)
		rc = daemon_run(s, engine);
	else if (s->engine.path[0] != '\0')
		log_error("agent", "the engine program \"%s\" cannot be run: %m; engine.path names it", s->engine.path);
	else
		log_error("agent", "there is no program shoal-engine beside this one, in %s or in PATH; set engine.path",
			SHOAL_LIBEXEC);
	free(engine);
	return rc;
}

int main(int argc, char **argv)
{
	static const struct program program = { .name = "shoal-agent",
		.summary = "runs inference jobs from an MQTT broker on this box",
		.default_file = "/etc/shoal/agent.cfg",
		.schema = &settings_schema,
		.check = settings_check };
	struct settings s;
	int rc = program_begin(&program, argc, argv, &s);

	if (rc <= 0)
		return rc == 0 ? 0 : EX_CONFIG;
	log_init("shoal-agent", (enum log_level)(LOG_ERROR + (int)s.log.level));
	rc = settings_complete(&s);
	if (rc < 0)
		log_error("agent", "%s", err_text(rc));
	if (s.n_models == 0)
		log_warn("agent", "no models are configured: this agent will get no work");
	rc = rc < 0 ? EX_CONFIG : run(&s);
	config_free(&settings_schema, &s);
	return rc;
}
