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

static void gather_reasons(const struct api_agents *list, struct buf *out)
{
	for (size_t i = 0; i < list->n_agents; i++)
		for (size_t k = 0; k < list->agents[i].n_models; k++) {
			const struct api_agent_model *m = &list->agents[i].models[k];

			if (m->reason.n == 0)
				continue;
			buf_addf(out, "\n%.*s, %.*s (%.*s):\n  ", SPAN_FMT(list->agents[i].id), SPAN_FMT(m->name),
				SPAN_FMT(m->state));
			for (size_t c = 0; c < m->reason.n; c++)
				buf_addf(out, "%c",
					(unsigned char)m->reason.p[c] < ' ' || m->reason.p[c] == 0x7f ? '?'
												      : m->reason.p[c]);
			buf_addf(out, "\n");
		}
}

/* Reasons stand below the table: a page's are gathered while it is there. */
static int add_page(struct table *t, const struct api_agents *page, struct buf *reasons)
{
	int rc = 0;

	for (size_t i = 0; i < page->n_agents && rc == 0; i++)
		rc = add_row(t, &page->agents[i]);
	gather_reasons(page, reasons);
	return rc == 0 ? CLI_OK : cli_fail(CLI_INTERNAL, "out of memory");
}

/* The page behind *cursor, which becomes the next one's. */
static int list_page(const struct query *q, struct table *t, struct buf *cursor, struct buf *reasons)
{
	struct buf path = BUF_INIT(1024), body = BUF_INIT(BODY_MAX);
	struct api_agents page = { 0 };
	void *memory = NULL;
	int rc;

	buf_addf(&path, "/api/v1/agents?cursor=%.*s", SPAN_FMT(buf_span(cursor)));
	rc = ask_document(q->url, &path, &api_agents_type, &body, &page, &memory);
	buf_reset(cursor);
	buf_add_span(cursor, page.next);
	if (rc == CLI_OK && q->is_json)
		printf("%.*s\n", SPAN_FMT(buf_span(&body)));
	else if (rc == CLI_OK)
		rc = add_page(t, &page, reasons);
	free(memory);
	buf_fini(&path);
	buf_fini(&body);
	return rc;
}

static int print_list(struct table *t, const struct buf *reasons, bool is_any)
{
	if (!is_any) {
		puts("no agents yet");
		return CLI_OK;
	}
	if (table_print(t) < 0)
		return cli_fail(CLI_INTERNAL, "cannot print the table: out of memory");
	printf("%.*s", SPAN_FMT(buf_span(reasons)));
	return CLI_OK;
}

static int list_all(const struct query *q)
{
	struct buf cursor = BUF_INIT(256), reasons = BUF_INIT(BODY_MAX);
	struct table *t = NULL;
	bool is_any = false;
	int rc = table_new(columns, N_COLS, &t) < 0 ? cli_fail(CLI_INTERNAL, "out of memory") : CLI_OK;

	do {
		rc = rc == CLI_OK ? list_page(q, t, &cursor, &reasons) : rc;
		is_any |= table_has_rows(t);
	} while (rc == CLI_OK && cursor.n > 0);
	if (rc == CLI_OK && !q->is_json)
		rc = print_list(t, &reasons, is_any);
	table_free(t);
	buf_fini(&cursor);
	buf_fini(&reasons);
	return rc;
}

static int nobody(const struct query *q)
{
	return cli_fail(CLI_NOT_FOUND, "there is no agent \"%s\"; 'shoal agents' lists them", q->name);
}

static int print_one(const struct query *q, struct span body)
{
	struct api_agents doc = { 0 };
	void *memory = NULL;
	size_t i = 0;
	int rc;

	if (api_decode(&api_agents_type, body, &doc, &memory) < 0) {
		free(memory);
		return cli_fail(CLI_UNAVAILABLE, "%s does not answer as a hub does", q->url);
	}
	while (i < doc.n_agents && !span_is(doc.agents[i].id, q->name))
		i++;
	if (i == doc.n_agents)
		rc = nobody(q);
	else if (q->is_json)
		rc = printf("%.*s\n", SPAN_FMT(body)) < 0 ? 74 : CLI_OK;
	else
		rc = detail_print(&doc.agents[i]);
	free(memory);
	return rc;
}

static int tell_one(const struct query *q)
{
	struct buf path = BUF_INIT(256), body = BUF_INIT(BODY_MAX);
	long status = 0;
	int rc;

	if (!span_is_id(span_of(q->name)))
		return cli_fail(CLI_USAGE, "'%s' is not a name; 'shoal agents' lists them", q->name);
	buf_addf(&path, "/api/v1/agents/%s", q->name);
	rc = ask_hub(q->url, (const char *)path.p, NULL, &body, &status);
	if (rc == CLI_OK)
		rc = status == 404   ? nobody(q)
		     : status != 200 ? ask_refused(q->url, buf_span(&body), status)
				     : print_one(q, buf_span(&body));
	buf_fini(&path);
	buf_fini(&body);
	return rc;
}

static int agents_main(int argc, char **argv)
{
	struct query q = { 0 };
	const char *url = NULL;
	int opt;

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
	return q.name != NULL ? tell_one(&q) : list_all(&q);
}

const struct command cmd_agents = { "agents", "list the agents and what they do", usage, agents_main };
