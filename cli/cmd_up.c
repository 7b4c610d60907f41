#include "up.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "proto.h"

#define MQTT_PORT 1883
#define HTTP_PORT 8080
#define BUNDLED_MODEL "shoal-triage.gguf"

static const char usage[] = "usage: shoal up [OPTION…]\n"
			    "\n"
			    "Runs a whole system on this machine: a broker, a hub and some agents, on 127.0.0.1\n"
			    "only. Prints one line when all is ready, runs until Ctrl-C, stops everything.\n"
			    "\n"
			    "  --agents N        how many agents, box-1 to box-N (3)\n"
			    "  --dir DIR         keep state, configurations and logs there (a temporary\n"
			    "                    directory, removed at the end)\n"
			    "  --mqtt-port P     the broker's port; 0: any free one (1883, or any if taken)\n"
			    "  --http-port P     the hub's port; 0: any free one (8080, or any if taken)\n"
			    "  --model FILE      a GGUF file (the small model that comes with shoal)\n"
			    "  --engine FILE     the engine program (shoal-engine)\n"
			    "  --mosquitto FILE  the broker program (mosquitto)\n"
			    "\n"
			    "The ready line: ready http=127.0.0.1:8080 mqtt=127.0.0.1:1883 agents=3\n"
			    "What dies is started again; an agent that was told to end (SIGTERM) stays away.\n";

enum { OPT_AGENTS = 256, OPT_DIR, OPT_MQTT_PORT, OPT_HTTP_PORT, OPT_MODEL, OPT_ENGINE, OPT_MOSQUITTO };

static const struct option options[] = {
	{ "agents", required_argument, NULL, OPT_AGENTS },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "mqtt-port", required_argument, NULL, OPT_MQTT_PORT },
	{ "http-port", required_argument, NULL, OPT_HTTP_PORT },
	{ "model", required_argument, NULL, OPT_MODEL },
	{ "engine", required_argument, NULL, OPT_ENGINE },
	{ "mosquitto", required_argument, NULL, OPT_MOSQUITTO },
	{ 0 },
};

struct args {
	uint64_t n_agents, mqtt_port, http_port; /* ports: UINT64_MAX when not given */
	const char *dir, *model, *engine, *mosquitto;
};

static bool parse_option(struct args *a, int opt, const char *arg)
{
	switch (opt) {
	case OPT_AGENTS: return cli_uint("--agents", arg, 1, UP_MAX_AGENTS, &a->n_agents);
	case OPT_DIR: a->dir = arg; return true;
	case OPT_MQTT_PORT: return cli_uint("--mqtt-port", arg, 0, 65535, &a->mqtt_port);
	case OPT_HTTP_PORT: return cli_uint("--http-port", arg, 0, 65535, &a->http_port);
	case OPT_MODEL: a->model = arg; return true;
	case OPT_ENGINE: a->engine = arg; return true;
	case OPT_MOSQUITTO: a->mosquitto = arg; return true;
	default: return false;
	}
}

/* A program given by path, or found by name; NULL after saying what is missing. */
static char *find_program(const char *given, const char *name, const char *elsewhere, const char *advice)
{
	char *path = given != NULL ? realpath(given, NULL) : child_find(name, elsewhere);

	if (path != NULL && access(path, X_OK) == 0)
		return path;
	free(path);
	if (given != NULL)
		cli_note("there is no program %s: %s", given, strerror(errno));
	else
		cli_note("the program %s is missing: %s", name, advice);
	return NULL;
}

static bool find_programs(const struct args *a, struct up_options *o)
{
	static const char build[] = "it belongs beside this one, is the build complete?";

	o->mosquitto = find_program(a->mosquitto, "mosquitto", "/usr/sbin", "install the package mosquitto");
	o->hub = o->mosquitto != NULL ? find_program(NULL, "shoal-hub", NULL, build) : NULL;
	o->agent = o->hub != NULL ? find_program(NULL, "shoal-agent", NULL, build) : NULL;
	o->engine = o->agent != NULL ? find_program(a->engine, "shoal-engine", "/usr/lib/shoal", build) : NULL;
	return o->engine != NULL;
}

/* Where the bundled model lies, seen from this program: in the source tree around
 * build/bin, or in share/ beside an installed bin/. */
static char *bundled_model(void)
{
	static const char *const places[] = { "../share/shoal/models", "../../models" };
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return NULL;
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s/" BUNDLED_MODEL, self, places[i]);
		if (access(path, R_OK) == 0)
			return realpath(path, NULL);
	}
	return NULL;
}

/* "…/shoal-triage.gguf" is called "triage", another file by its name without ".gguf". */
static char *name_model(const char *path)
{
	const char *base = strrchr(path, '/') + 1, *dot = strrchr(base, '.');
	size_t n = dot != NULL && strcmp(dot, ".gguf") == 0 ? (size_t)(dot - base) : strlen(base);
	char *name;

	if (strcmp(base, BUNDLED_MODEL) == 0)
		return strdup("triage");
	name = strndup(base, n < PROTO_MAX_NAME ? n : PROTO_MAX_NAME);
	for (char *c = name; c != NULL && *c != '\0'; c++) {
		if (strchr("._-", *c) == NULL && !(*c >= '0' && *c <= '9') && !((*c | 32) >= 'a' && (*c | 32) <= 'z'))
			*c = '-';
	}
	return name;
}

static int find_model(const struct args *a, struct up_options *o)
{
	o->model = a->model != NULL ? realpath(a->model, NULL) : bundled_model();
	if (o->model == NULL && a->model == NULL)
		return cli_fail(CLI_UNAVAILABLE, "the bundled model is missing, name one with --model FILE");
	if (o->model == NULL || access(o->model, R_OK) < 0)
		return cli_fail(CLI_UNAVAILABLE, "cannot read the model %s: %s", a->model, strerror(errno));
	if (strpbrk(o->model, "\"\\\n") != NULL || strpbrk(o->engine, "\"\\\n") != NULL)
		return cli_fail(CLI_USAGE, "a path has a quote, a backslash or a newline in it: rename the file");
	o->model_name = name_model(o->model);
	return o->model_name != NULL ? CLI_OK : cli_fail(CLI_INTERNAL, "out of memory");
}

static int find_ports(const struct args *a, struct up_options *o)
{
	int rc = a->mqtt_port == UINT64_MAX ? up_port_take_or_any(MQTT_PORT, &o->mqtt)
					    : up_port_take("--mqtt-port", a->mqtt_port, &o->mqtt);

	if (rc != CLI_OK)
		return rc;
	return a->http_port == UINT64_MAX ? up_port_take_or_any(HTTP_PORT, &o->http)
					  : up_port_take("--http-port", a->http_port, &o->http);
}

static int prepare(const struct args *a, struct up_options *o)
{
	int rc;

	o->n_agents = a->n_agents;
	if (!find_programs(a, o))
		return CLI_UNAVAILABLE;
	rc = find_model(a, o);
	if (rc == CLI_OK)
		rc = find_ports(a, o);
	if (rc == CLI_OK)
		rc = up_dir_take(a->dir, o);
	if (rc == CLI_OK)
		rc = up_write_configs(o);
	return rc;
}

static int up_main(int argc, char **argv)
{
	struct args a = { .n_agents = 3, .mqtt_port = UINT64_MAX, .http_port = UINT64_MAX };
	struct up_options o = { .mqtt.claim_fd = -1, .http.claim_fd = -1 };
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (!parse_option(&a, opt, optarg))
			return cli_usage_hint(&cmd_up);
	}
	if (optind < argc)
		return cli_fail(CLI_USAGE, "'%s' is not an option; 'shoal help up' lists them", argv[optind]);
	rc = prepare(&a, &o);
	if (rc == CLI_OK)
		rc = up_run(&o);
	up_dir_release(&o);
	up_port_release(&o.http);
	up_port_release(&o.mqtt);
	free(o.mosquitto);
	free(o.hub);
	free(o.agent);
	free(o.engine);
	free(o.model);
	free(o.model_name);
	free(o.dir);
	return rc;
}

const struct command cmd_up = { "up", "run broker, hub and agents on this machine", usage, up_main };
