#include "cli.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent_detail.h"
#include "api.h"
#include "ask.h"
#include "table.h"

#define BODY_MAX ((size_t)16 << 20)

static const char usage[] = "usage: shoal sessions [--http URL] [--json]\n"
			    "\n"
			    "Lists conversations the hub keeps on an agent, the most recently used first.\n"
			    "\n"
			    "  --http URL  the hub's address (SHOAL_URL, else http://127.0.0.1:8080)\n"
			    "  --json      the hub's own document\n";

static const struct option options[] = {
	{ "http", required_argument, NULL, 'u' },
	{ "json", no_argument, NULL, 'j' },
	{ 0 },
};

enum { COL_SESSION, COL_USER, COL_MODEL, COL_AGENT, COL_TURNS, COL_TOKENS, COL_MOVES, COL_JOBS, COL_USED, N_COLS };

static const struct table_column columns[N_COLS] = {
	[COL_SESSION] = { .name = "SESSION" },
	[COL_USER] = { .name = "USER", .may_cut = true },
	[COL_MODEL] = { .name = "MODEL", .may_cut = true },
	[COL_AGENT] = { .name = "AGENT" },
	[COL_TURNS] = { .name = "TURNS", .is_right = true },
	[COL_TOKENS] = { .name = "TOKENS", .is_right = true },
	[COL_MOVES] = { .name = "MOVES", .is_right = true },
	[COL_JOBS] = { .name = "JOBS", .is_right = true },
	[COL_USED] = { .name = "USED", .is_right = true },
};

static int add_row(struct table *t, const struct api_session *s)
{
	char *session = span_str(s->session), *user = span_str(s->user), *model = span_str(s->model);
	char *agent = span_str(s->agent.n > 0 ? s->agent : SPAN("–"));
	char turns[24], tokens[24], moves[24], jobs[24], used[32];
	const char *cells[N_COLS] = { session, user, model, agent, turns, tokens, moves, jobs, used };
	int rc = ERR_NOMEM;

	(void)snprintf(turns, sizeof(turns), "%" PRIu64, s->turns);
	(void)snprintf(tokens, sizeof(tokens), "%" PRIu64, s->tokens);
	(void)snprintf(moves, sizeof(moves), "%" PRIu64, s->moves);
	(void)snprintf(jobs, sizeof(jobs), "%" PRIu64, s->jobs);
	detail_age(s->used_ms, used, sizeof(used));
	if (session != NULL && user != NULL && model != NULL && agent != NULL)
		rc = table_add(t, cells);
	free(session);
	free(user);
	free(model);
	free(agent);
	return rc;
}

static int print(const struct api_sessions *doc)
{
	struct table *t = NULL;
	int rc;

	if (doc->n_sessions == 0) {
		puts("no sessions");
		return CLI_OK;
	}
	rc = table_new(columns, N_COLS, &t);
	for (size_t i = 0; i < doc->n_sessions && rc == 0; i++)
		rc = add_row(t, &doc->sessions[i]);
	if (rc == 0)
		rc = table_print(t);
	table_free(t);
	if (rc == 0 && doc->total > doc->n_sessions)
		printf("and %" PRIu64 " more\n", doc->total - doc->n_sessions);
	return rc == 0 ? CLI_OK : cli_fail(CLI_INTERNAL, "cannot print the table: out of memory");
}

static int sessions_main(int argc, char **argv)
{
	struct buf path = BUF_INIT(256), body = BUF_INIT(BODY_MAX);
	struct api_sessions doc = { 0 };
	const char *url = NULL;
	void *memory = NULL;
	bool is_json = false;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'u': url = optarg; break;
		case 'j': is_json = true; break;
		default: return cli_usage_hint(&cmd_sessions);
		}
	}
	if (optind < argc)
		return cli_fail(CLI_USAGE, "'%s' is not an option; 'shoal help sessions' lists them", argv[optind]);
	buf_addf(&path, "/api/v1/sessions");
	rc = ask_document(cli_url(url), &path, &api_sessions_type, &body, &doc, &memory);
	if (rc == CLI_OK && is_json)
		printf("%.*s\n", SPAN_FMT(buf_span(&body)));
	else if (rc == CLI_OK)
		rc = print(&doc);
	free(memory);
	buf_fini(&path);
	buf_fini(&body);
	return rc;
}

const struct command cmd_sessions = { "sessions", "list conversations and where they are", usage, sessions_main };
