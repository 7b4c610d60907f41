/* cmd_jobs.c - the jobs there are, and one job's story. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "advice.h"
#include "agent_detail.h"
#include "api.h"
#include "ask.h"
#include "cli.h"
#include "table.h"

#define BODY_MAX ((size_t)16 << 20)
#define PAGE 1000
#define WATCH_MS 1000

static const char jobs_usage[] = "usage: shoal jobs [OPTION…]\n"
				 "\n"
				 "Lists jobs: those that live in the order of their submission, then ended ones, the\n"
				 "last first.\n"
				 "\n"
				 "  --state STATE  new queued dispatched running done cancelled expired failed, or live\n"
				 "                 (without any), ended, all; may be given several times\n"
				 "  --model MODEL, --user USER, --agent AGENT\n"
				 "                 only those\n"
				 "  --limit N      at most so many (1000)\n"
				 "  --watch        again each second, until Ctrl-C\n"
				 "  --http URL     the hub's address (SHOAL_URL, else http://127.0.0.1:8080)\n"
				 "  --json         the hub's own document, one a page\n";

static const char job_usage[] = "usage: shoal job [--http URL] [--json] JOB\n"
				"\n"
				"Tells how a job stands, or how it ended, and which agents could have it.\n"
				"\n"
				"  --http URL  the hub's address (SHOAL_URL, else http://127.0.0.1:8080)\n"
				"  --json      the hub's own document\n";

enum { OPT_HTTP, OPT_JSON, OPT_STATE, OPT_MODEL, OPT_USER, OPT_AGENT, OPT_LIMIT, OPT_WATCH };

static const struct option jobs_options[] = {
	{ "http", required_argument, NULL, OPT_HTTP },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "model", required_argument, NULL, OPT_MODEL },
	{ "user", required_argument, NULL, OPT_USER },
	{ "agent", required_argument, NULL, OPT_AGENT },
	{ "limit", required_argument, NULL, OPT_LIMIT },
	{ "watch", no_argument, NULL, OPT_WATCH },
	{ 0 },
};

static const struct option job_options[] = {
	{ "http", required_argument, NULL, OPT_HTTP },
	{ "json", no_argument, NULL, OPT_JSON },
	{ 0 },
};

struct listing {
	const char *url;
	struct buf filters; /* "&state=…" */
	uint64_t limit, live, shown;
	bool is_json, is_watch, has_more;
	struct table *table;
};

enum {
	COL_JOB,
	COL_STATE,
	COL_PRIORITY,
	COL_MODEL,
	COL_AGENT,
	COL_USER,
	COL_ATTEMPT,
	COL_TOKENS,
	COL_AGE,
	COL_CODE,
	N_COLS
};

static const struct table_column columns[N_COLS] = {
	[COL_JOB] = { .name = "JOB" },
	[COL_STATE] = { .name = "STATE" },
	[COL_PRIORITY] = { .name = "PRIORITY" },
	[COL_MODEL] = { .name = "MODEL", .may_cut = true },
	[COL_AGENT] = { .name = "AGENT" },
	[COL_USER] = { .name = "USER", .may_cut = true },
	[COL_ATTEMPT] = { .name = "ATTEMPT", .is_right = true },
	[COL_TOKENS] = { .name = "TOKENS", .is_right = true },
	[COL_AGE] = { .name = "AGE", .is_right = true },
	[COL_CODE] = { .name = "CODE" },
};

static int add_row(struct table *t, const struct api_job *j)
{
	struct span texts[N_COLS] = { [COL_JOB] = j->job,
		[COL_STATE] = j->state,
		[COL_PRIORITY] = j->priority,
		[COL_MODEL] = j->model,
		[COL_AGENT] = j->agent.n > 0 ? j->agent : SPAN("–"),
		[COL_USER] = j->user,
		[COL_CODE] = j->code };
	char attempt[24], tokens[24], age[32];
	const char *cells[N_COLS];
	char *copies[N_COLS] = { 0 };
	int rc = 0;

	(void)snprintf(attempt, sizeof(attempt), "%" PRIu64, j->attempt);
	(void)snprintf(tokens, sizeof(tokens), "%" PRIu64, j->tokens);
	detail_age(j->age_ms, age, sizeof(age));
	for (size_t i = 0; i < N_COLS; i++) {
		copies[i] = span_str(texts[i]);
		cells[i] = copies[i];
		rc = copies[i] == NULL ? ERR_NOMEM : rc;
	}
	cells[COL_ATTEMPT] = attempt, cells[COL_TOKENS] = tokens, cells[COL_AGE] = age;
	if (rc == 0)
		rc = table_add(t, cells);
	for (size_t i = 0; i < N_COLS; i++)
		free(copies[i]);
	return rc;
}

/* One page; *cursor is replaced by the next one's, empty behind the last. */
static int page(struct listing *l, struct buf *cursor)
{
	struct buf path = BUF_INIT(8192), body = BUF_INIT(BODY_MAX);
	uint64_t left = l->limit - l->shown;
	struct api_jobs doc = { 0 };
	void *memory = NULL;
	int rc;

	buf_addf(&path, "/api/v1/jobs?limit=%" PRIu64 "%.*s", left < PAGE ? left : PAGE, SPAN_FMT(buf_span(&l->filters)));
	if (cursor->n > 0) {
		buf_addf(&path, "&cursor=");
		ask_escape(&path, buf_span(cursor));
	}
	rc = ask_document(l->url, &path, &api_jobs_type, &body, &doc, &memory);
	buf_reset(cursor);
	if (rc == CLI_OK && l->is_json)
		printf("%.*s\n", SPAN_FMT(buf_span(&body)));
	if (rc == CLI_OK)
		buf_add_span(cursor, doc.next);
	for (size_t i = 0; rc == CLI_OK && !l->is_json && i < doc.n_jobs; i++)
		if (add_row(l->table, &doc.jobs[i]) < 0)
			rc = cli_fail(CLI_INTERNAL, "out of memory");
	l->shown += doc.n_jobs;
	l->live = doc.live;
	free(memory);
	buf_fini(&path);
	buf_fini(&body);
	return rc;
}

static int print_table(struct listing *l)
{
	if (l->is_watch && isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	if (l->shown == 0)
		puts(l->filters.n > 0 ? "no such jobs" : "no jobs");
	else if (table_print(l->table) < 0)
		return cli_fail(CLI_INTERNAL, "cannot print the table: out of memory");
	if (l->has_more)
		printf("and more: --limit shows up to so many; %" PRIu64 " live in all\n", l->live);
	fflush(stdout);
	return CLI_OK;
}

static int list_once(struct listing *l)
{
	struct buf cursor = BUF_INIT(4096);
	int rc = CLI_OK;

	l->shown = 0;
	if (!l->is_json && table_new(columns, N_COLS, &l->table) < 0)
		return cli_fail(CLI_INTERNAL, "out of memory");
	do
		rc = page(l, &cursor);
	while (rc == CLI_OK && cursor.n > 0 && l->shown < l->limit);
	l->has_more = cursor.n > 0;
	if (rc == CLI_OK && !l->is_json)
		rc = print_table(l);
	l->table = table_free(l->table);
	buf_fini(&cursor);
	return rc;
}

static void filter(struct listing *l, const char *name, const char *value)
{
	buf_addf(&l->filters, "&%s=", name);
	ask_escape(&l->filters, span_of(value));
}

static int jobs_main(int argc, char **argv)
{
	struct listing l = { .filters = BUF_INIT(4096), .limit = PAGE };
	int opt, rc = CLI_OK;

	while (rc == CLI_OK && (opt = getopt_long(argc, argv, "", jobs_options, NULL)) != -1) {
		switch (opt) {
		case OPT_HTTP: l.url = optarg; break;
		case OPT_JSON: l.is_json = true; break;
		case OPT_WATCH: l.is_watch = true; break;
		case OPT_STATE: filter(&l, "state", optarg); break;
		case OPT_MODEL: filter(&l, "model", optarg); break;
		case OPT_USER: filter(&l, "user", optarg); break;
		case OPT_AGENT: filter(&l, "agent", optarg); break;
		case OPT_LIMIT: rc = cli_uint("--limit", optarg, 1, 1000000, &l.limit) ? CLI_OK : CLI_USAGE; break;
		default: rc = cli_usage_hint(&cmd_jobs); break;
		}
	}
	if (rc == CLI_OK && optind < argc)
		rc = cli_fail(
			CLI_USAGE, "'%s' is not an option; 'shoal job %s' tells of one job", argv[optind], argv[optind]);
	l.url = cli_url(l.url);
	if (rc == CLI_OK)
		rc = list_once(&l);
	while (rc == CLI_OK && l.is_watch && (rc = ask_pause(WATCH_MS)) == CLI_OK)
		rc = list_once(&l);
	buf_fini(&l.filters);
	return rc;
}

const struct command cmd_jobs = { "jobs", "list jobs", jobs_usage, jobs_main };

/* ---- one ---- */

static void put(const char *label, struct span text)
{
	if (text.n == 0)
		return;
	printf("%-12s", label);
	detail_text(text);
}

static void print_end(const struct api_job *j)
{
	char ago[32];

	detail_age(j->ended_ms, ago, sizeof(ago));
	printf("%-12s%s ago%s%.*s\n", "ended", ago, j->finish_reason.n > 0 ? ", " : "", SPAN_FMT(j->finish_reason));
	put("code", j->code);
	put("message", j->message);
}

static void print_times(const struct receipt *r)
{
	if (r->agent.n > 0)
		printf("%-12s%.*s%s%.*s, attempt %" PRIu64 "\n", "agent", SPAN_FMT(r->agent),
			r->route.n > 0 ? ", chosen as " : "", SPAN_FMT(r->route), r->attempts);
	printf("%-12s%.0f ms in all, %.0f in the hub's queue, %.0f in the agent's, %.0f reading, %.0f writing\n", "times",
		r->total_ms, r->queue_ms, r->wait_ms, r->prefill_ms, r->decode_ms);
}

/* As they were when the last attempt began. */
static void print_then(const struct receipt *r)
{
	for (size_t i = 0; i < r->n_candidates; i++) {
		const struct route_candidate *c = &r->candidates[i];
		const struct advice *a = advice_of_reason(c->reason);

		printf("%-12s%.*s: %.*s; %s\n", i == 0 ? "candidates" : "", SPAN_FMT(c->agent), SPAN_FMT(c->reason),
			a != NULL ? a->means : "");
	}
}

static void print_candidates(const struct api_explain *e)
{
	for (size_t i = 0; i < e->n_candidates; i++) {
		const struct api_candidate *c = &e->candidates[i];

		printf("%-12s%.*s: %.*s", i == 0 ? "candidates" : "", SPAN_FMT(c->agent), SPAN_FMT(c->reason));
		if (c->expected_ms > 0)
			printf(", done in %.0f ms", c->expected_ms);
		printf("; %.*s\n", SPAN_FMT(c->text));
	}
	if (e->total > e->n_candidates)
		printf("%-12sand %" PRIu64 " more\n", "", e->total - e->n_candidates);
}

static void print_story(const struct api_story *s)
{
	const struct api_job *j = &s->job;
	char age[32];
	bool is_live = j->ended_ms == 0 && !span_is(j->state, "done") && !span_is(j->state, "cancelled") &&
		       !span_is(j->state, "expired") && !span_is(j->state, "failed");

	detail_age(j->age_ms, age, sizeof(age));
	put("job", j->job);
	put("id", j->id);
	printf("%-12s%.*s, submitted %s ago\n", "state", SPAN_FMT(j->state), age);
	put("user", j->user);
	put("model", j->model);
	put("priority", j->priority);
	put("session", j->session);
	printf("%-12s%" PRIu64 " so far\n", "tokens", j->tokens);
	if (is_live && msg_has(j, API_JOB_DEADLINE))
		printf("%-12sin %" PRIu64 " ms\n", "deadline", j->deadline_ms);
	if (j->rests_ms > 0)
		printf("%-12s%" PRIu64 " ms before the next attempt\n", "rests", j->rests_ms);
	print_times(&s->receipt);
	if (is_live) {
		print_candidates(&s->explain);
		return;
	}
	print_then(&s->receipt);
	print_end(j);
}

static int tell(const char *url, const char *job, bool is_json)
{
	struct buf path = BUF_INIT(256), body = BUF_INIT(BODY_MAX);
	struct api_story story = { 0 };
	void *memory = NULL;
	int rc;

	buf_addf(&path, "/api/v1/jobs/%s", job);
	rc = ask_document(url, &path, &api_story_type, &body, &story, &memory);
	if (rc == CLI_OK && is_json)
		printf("%.*s\n", SPAN_FMT(buf_span(&body)));
	else if (rc == CLI_OK)
		print_story(&story);
	free(memory);
	buf_fini(&path);
	buf_fini(&body);
	return rc;
}

static int job_main(int argc, char **argv)
{
	const char *url = NULL;
	bool is_json = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", job_options, NULL)) != -1) {
		switch (opt) {
		case OPT_HTTP: url = optarg; break;
		case OPT_JSON: is_json = true; break;
		default: return cli_usage_hint(&cmd_job);
		}
	}
	if (argc - optind != 1) {
		cli_note("one job must be named");
		return cli_usage_hint(&cmd_job);
	}
	if (!span_is_id(span_of(argv[optind])))
		return cli_fail(CLI_USAGE, "'%s' is not a job's name; 'shoal jobs' lists them", argv[optind]);
	return tell(cli_url(url), argv[optind], is_json);
}

const struct command cmd_job = { "job", "tell how a job stands", job_usage, job_main };
