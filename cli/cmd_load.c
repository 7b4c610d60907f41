#include "cli.h"

#include <getopt.h>
#include <stdio.h>

#include "ask.h"

static const char usage[] = "usage: shoal load [--http URL] AGENT MODEL\n"
			    "\n"
			    "Has an agent load one of its models at once.  What went wrong before is\n"
			    "forgotten: this is how a quarantine is ended by hand.  Returns when the\n"
			    "agent was told; 'shoal agents AGENT' shows how it goes.\n"
			    "\n"
			    "  --http URL  the hub's address (SHOAL_URL, else http://127.0.0.1:8080)\n";

static const struct option options[] = {
	{ "http", required_argument, NULL, 'u' },
	{ 0 },
};

static int tell(const char *url, const char *agent, const char *model)
{
	struct buf path = BUF_INIT(256), json = BUF_INIT(256), answer = BUF_INIT(65536);
	struct span document;
	long status = 0;
	int rc;

	buf_addf(&path, "/api/v1/agents/%s/load", agent);
	buf_addf(&json, "{\"model\":\"%s\"}", model);
	document = buf_span(&json);
	rc = ask_hub(url, (const char *)path.p, &document, &answer, &status);
	if (rc == CLI_OK && status != 202)
		rc = ask_refused(url, buf_span(&answer), status);
	else if (rc == CLI_OK)
		printf("%s loads %s; 'shoal agents %s' shows how it goes\n", agent, model, agent);
	buf_fini(&path);
	buf_fini(&json);
	buf_fini(&answer);
	return rc;
}

static int load_main(int argc, char **argv)
{
	const char *url = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'u')
			return cli_usage_hint(&cmd_load);
		url = optarg;
	}
	if (argc - optind != 2) {
		cli_note("an agent and a model must be named");
		return cli_usage_hint(&cmd_load);
	}
	for (int i = optind; i < argc; i++)
		if (!span_is_id(span_of(argv[i])))
			return cli_fail(CLI_USAGE, "'%s' is not a name; 'shoal agents' lists agents and models", argv[i]);
	return tell(cli_url(url), argv[optind], argv[optind + 1]);
}

const struct command cmd_load = { "load", "have an agent load a model", usage, load_main };
