#include "cli.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent_detail.h"
#include "api.h"
#include "ask.h"
#include "table.h"

#define BODY_MAX ((size_t)64 << 20)

static const char usage[] = "usage: shoal agents [--http URL] [--json] [NAME]\n"
			    "\n"
			    "Lists the agents the hub knows, with what they do and hold; with a NAME\n"
			    "tells of that one what it is and how it fares.\n"
			    "\n"
			    "  --http URL  the hub's address (SHOAL_URL, else http://127.0.0.1:8080)\n"
			    "  --json      the hub's own document\n";

static const struct option options[] = {
	{ "http", required_argument, NULL, 'u' },
	{ "json", no_argument, NULL, 'j' },
	{ 0 },
};

struct query {
	const char *url, *name; /* name: of the one that is asked for; NULL: all */
	struct buf body;
	bool is_json;
};

enum { COL_ID, COL_STATE, COL_RUNNING, COL_QUEUED, COL_SLOTS, COL_TOKENS, COL_SEEN, COL_MODELS, N_COLS };

static const struct table_column columns[N_COLS] = {
	[COL_ID] = { .name = "AGENT" },
	[COL_STATE] = { .name = "STATE" },
	[COL_RUNNING] = { .name = "RUNNING", .is_right = true },
	[COL_QUEUED] = { .name = "QUEUED", .is_right = true },
	[COL_SLOTS] = { .name = "SLOTS", .is_right = true },
	[COL_TOKENS] = { .name = "TOKENS/S", .is_right = true },
	[COL_SEEN] = { .name = "SEEN", .is_right = true },
	[COL_MODELS] = { .name = "MODELS", .may_cut = true },
};

/* "triage, other (loading)": a ready model needs no word. */
static char *models_of(const struct api_agent *a)
{
	struct buf b = BUF_INIT(65536);
	char *text;

	for (size_t i = 0; i < a->n_models; i++) {
		const struct api_agent_model *m = &a->models[i];

		buf_addf(&b, "%s%.*s", i > 0 ? ", " : "", SPAN_FMT(m->name));
		if (!span_is(m->state, "ready"))
			buf_addf(&b, " (%.*s)", SPAN_FMT(m->state));
	}
	text = span_str(buf_span(&b));
	buf_fini(&b);
	return text;
}

static int add_row(struct table *t, const struct api_agent *a)
{
	char *id = span_str(a->id), *state = span_str(a->state), *models = models_of(a);
	char running[24], queued[24], slots[24], tokens[32], seen[32];
	const char *cells[N_COLS] = { id, state, running, queued, slots, tokens, seen, models };
	int rc = ERR_NOMEM;

	snprintf(running, sizeof(running), "%" PRIu64, a->running);
	snprintf(queued, sizeof(queued), "%" PRIu64, a->queued);
	snprintf(slots, sizeof(slots), "%" PRIu64, a->slots);
	snprintf(tokens, sizeof(tokens), "%.0f", a->tokens_per_s);
	detail_age(a->seen_ms, seen, sizeof(seen));
	if (id != NULL && state != NULL && models != NULL)
		rc = table_add(t, cells);
	free(id);
	free(state);
	free(models);
	return rc;
}

/* Below the table: a column would be cut where it matters. */
static void print_reasons(const struct api_agents *list)
{
	for (size_t i = 0; i < list->n_agents; i++)
		for (size_t k = 0; k < list->agents[i].n_models; k++) {
			const struct api_agent_model *m = &list->agents[i].models[k];

			if (m->reason.n == 0)
				continue;
			printf("\n%.*s, %.*s (%.*s):\n  ", SPAN_FMT(list->agents[i].id), SPAN_FMT(m->name),
				SPAN_FMT(m->state));
			detail_text(m->reason);
		}
}

static int print_table(const struct api_agents *list)
{
	struct table *t = NULL;
	int rc;

	if (list->n_agents == 0) {
		puts("no agents yet");
		return CLI_OK;
	}
	rc = table_new(columns, N_COLS, &t);
	for (size_t i = 0; i < list->n_agents && rc == 0; i++)
		rc = add_row(t, &list->agents[i]);
	if (rc == 0)
		rc = table_print(t);
	table_free(t);
	if (rc == 0)
		print_reasons(list);
	return rc == 0 ? CLI_OK : cli_fail(CLI_INTERNAL, "cannot print the table: out of memory");
}

static int print_one(const struct api_agents *list, const char *name)
{
	for (size_t i = 0; i < list->n_agents; i++)
		if (span_is(list->agents[i].id, name))
			return detail_print(&list->agents[i]);
	return cli_fail(CLI_NOT_FOUND, "there is no agent \"%s\"; 'shoal agents' lists them", name);
}

static int print_body(const struct query *q)
{
	struct api_agents list = { 0 };
	void *memory = NULL;
	int rc = api_decode(&api_agents_type, buf_span(&q->body), &list, &memory);

	if (rc < 0)
		rc = cli_fail(CLI_UNAVAILABLE, "%s does not answer as a hub does: %s", q->url, err_text(rc));
	else if (q->is_json)
		rc = printf("%.*s\n", SPAN_FMT(buf_span(&q->body))) < 0 ? 74 : CLI_OK;
	else
		rc = q->name != NULL ? print_one(&list, q->name) : print_table(&list);
	free(memory);
	return rc;
}

static int agents_main(int argc, char **argv)
{
	struct query q = { .body = BUF_INIT(BODY_MAX) };
	const char *url = NULL;
	long status = 0;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'u': url = optarg; break;
		case 'j': q.is_json = true; break;
		default: return cli_usage_hint(&cmd_agents);
		}
	}
	if (optind < argc && argv[optind][0] != '-')
		q.name = argv[optind++];
	if (optind < argc)
		return cli_fail(CLI_USAGE, "'%s' is not an option; 'shoal help agents' lists them", argv[optind]);
	q.url = cli_url(url);
	rc = ask_hub(q.url, "/api/v1/agents", NULL, &q.body, &status);
	if (rc == CLI_OK)
		rc = status == 200 ? print_body(&q) : ask_refused(q.url, buf_span(&q.body), status);
	buf_fini(&q.body);
	return rc;
}

const struct command cmd_agents = { "agents", "list the agents and what they do", usage, agents_main };
