/* cmd_admin.c - an operator's verbs: one POST each. */
#include "cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "ask.h"
#include "json.h"

#define COMMON                                                                                                              \
	"  --http URL     the hub's address (SHOAL_URL, else http://127.0.0.1:8080)\n"                                      \
	"  --json         the hub's own document\n"

static const char drain_usage[] = "usage: shoal drain [--reason TEXT] [--http URL] [--json] AGENT\n"
				  "\n"
				  "Gives an agent no new jobs; those it runs finish, its sessions move. It holds over\n"
				  "restarts of agent and hub, until 'shoal resume AGENT' or the box's button.\n"
				  "\n"
				  "  --reason TEXT  why, for those who look\n" COMMON;
static const char resume_usage[] = "usage: shoal resume [--http URL] [--json] AGENT\n"
				   "\n"
				   "Ends a drain, whoever began it.\n"
				   "\n" COMMON;
static const char weight_usage[] = "usage: shoal weight [--http URL] [--json] AGENT PERCENT\n"
				   "\n"
				   "Gives an agent so many per cent, 0 to 100, of the work it would get.\n"
				   "\n" COMMON;
static const char quarantine_usage[] = "usage: shoal quarantine [--reason TEXT] [--http URL] [--json] AGENT\n"
				       "\n"
				       "Takes an agent's jobs away at once and gives it no new ones, until\n"
				       "'shoal release AGENT'.\n"
				       "\n"
				       "  --reason TEXT  why, for those who look\n" COMMON;
static const char release_usage[] = "usage: shoal release [--http URL] [--json] AGENT\n"
				    "\n"
				    "Ends a quarantine that 'shoal quarantine' began.\n"
				    "\n" COMMON;
static const char forget_usage[] = "usage: shoal forget [--http URL] [--json] AGENT\n"
				   "\n"
				   "Removes an offline agent from the hub and from the broker's memory.\n"
				   "\n" COMMON;
static const char cancel_usage[] = "usage: shoal cancel [--http URL] [--json] JOB\n"
				   "\n"
				   "Ends a job, whoever submitted it. 'shoal jobs' lists them.\n"
				   "\n" COMMON;

static const struct option options[] = {
	{ "http", required_argument, NULL, 'u' },
	{ "json", no_argument, NULL, 'j' },
	{ "reason", required_argument, NULL, 'r' },
	{ 0 },
};

struct verb {
	const struct command *command;
	const char *url;
	bool is_json;
	struct admin admin;
};

static int print(const struct verb *v, struct span body)
{
	struct api_message m = { 0 };
	void *memory = NULL;
	int rc = CLI_OK;

	if (v->is_json)
		printf("%.*s\n", SPAN_FMT(body));
	else if (api_decode(&api_message_type, body, &m, &memory) == 0)
		printf("%.*s\n", SPAN_FMT(m.message));
	else
		rc = cli_fail(CLI_UNAVAILABLE, "%s does not answer as a hub does", v->url);
	free(memory);
	return rc;
}

static int ask(struct verb *v, struct span target)
{
	bool is_job = v->admin.verb == ADMIN_CANCEL;
	struct buf path = BUF_INIT(256), json = BUF_INIT(4096), answer = BUF_INIT(65536);
	struct span document;
	long status = 0;
	int rc;

	*(is_job ? &v->admin.job : &v->admin.agent) = target;
	buf_addf(&path, "/api/v1/%s/%.*s/%s", is_job ? "jobs" : "agents", SPAN_FMT(target), admin_verb_names[v->admin.verb]);
	rc = json_encode(&admin_type, &v->admin, &json);
	document = buf_span(&json);
	rc = rc < 0 ? cli_fail(CLI_USAGE, "the reason is not a text")
		    : ask_hub(v->url, (const char *)path.p, &document, &answer, &status);
	if (rc == CLI_OK)
		rc = status == 200 ? print(v, buf_span(&answer)) : ask_refused(v->url, buf_span(&answer), status);
	buf_fini(&path);
	buf_fini(&json);
	buf_fini(&answer);
	return rc;
}

static bool parse_options(struct verb *v, int argc, char **argv)
{
	bool takes_reason = v->admin.verb == ADMIN_DRAIN || v->admin.verb == ADMIN_QUARANTINE;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'u': v->url = optarg; break;
		case 'j': v->is_json = true; break;
		case 'r':
			if (!takes_reason || strlen(optarg) > ADMIN_MAX_REASON) {
				cli_note(takes_reason ? "--reason takes at most 200 bytes"
						      : "--reason is not for this command");
				return false;
			}
			v->admin.reason = span_of(optarg);
			break;
		default: return false;
		}
	}
	return true;
}

static int verb_main(const struct command *command, enum admin_verb verb, int argc, char **argv)
{
	struct verb v = { .command = command, .admin.verb = verb };
	int n_wanted = verb == ADMIN_WEIGHT ? 2 : 1;

	if (!parse_options(&v, argc, argv))
		return cli_usage_hint(command);
	if (argc - optind != n_wanted) {
		cli_note(verb == ADMIN_CANCEL   ? "one job must be named"
			 : verb == ADMIN_WEIGHT ? "an agent and its weight must be given"
						: "one agent must be named");
		return cli_usage_hint(command);
	}
	if (!span_is_id(span_of(argv[optind])))
		return cli_fail(CLI_USAGE, "'%s' is not a name; 'shoal %s' lists them", argv[optind],
			verb == ADMIN_CANCEL ? "jobs" : "agents");
	if (verb == ADMIN_WEIGHT) {
		if (!cli_uint("PERCENT", argv[optind + 1], 0, ADMIN_MAX_WEIGHT, &v.admin.value))
			return CLI_USAGE;
		msg_set(&v.admin, ADMIN_VALUE);
	}
	v.url = cli_url(v.url);
	return ask(&v, span_of(argv[optind]));
}

#define VERB(word, VERB_, summary)                                                                                          \
	static int word##_main(int argc, char **argv)                                                                       \
	{                                                                                                                   \
		return verb_main(&cmd_##word, ADMIN_##VERB_, argc, argv);                                                   \
	}                                                                                                                   \
	const struct command cmd_##word = { #word, summary, word##_usage, word##_main }

VERB(drain, DRAIN, "give an agent no new jobs");
VERB(resume, RESUME, "end a drain");
VERB(weight, WEIGHT, "give an agent a share of the work it would get");
VERB(quarantine, QUARANTINE, "take an agent's jobs away, and give it none");
VERB(release, RELEASE, "end a quarantine");
VERB(forget, FORGET, "remove an offline agent");
VERB(cancel, CANCEL, "end a job");
