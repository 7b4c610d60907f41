/* cmd_doctor.c - asks the hub what doctor.c wants to know, and prints what it finds. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "advice.h"
#include "agent_detail.h"
#include "api.h"
#include "ask.h"
#include "cli.h"
#include "doctor.h"
#include "json.h"

#define BODY_MAX ((size_t)32 << 20)
#define PAGES_MAX 10 /* of agents looked at */
#define MODELS_MAX 20

static const char usage[] = "usage: shoal doctor [OPTION…] [JOB | AGENT | CODE]\n"
			    "\n"
			    "Says in plain words what is wrong with the whole, why a job is not running, why an\n"
			    "agent is not chosen, or what a code means, and what to do about it.\n"
			    "\n"
			    "  --model MODEL  who could take a job of it\n"
			    "  --label LABEL  … that requires this label; may be given several times\n"
			    "  --http URL     the hub's address (SHOAL_URL, else http://127.0.0.1:8080)\n"
			    "  --json         what it finds, as a document\n"
			    "\n"
			    "Exit status: 0 when nothing is wrong, 1 when something is.\n";

static const struct option options[] = {
	{ "http", required_argument, NULL, 'u' },
	{ "json", no_argument, NULL, 'j' },
	{ "model", required_argument, NULL, 'm' },
	{ "label", required_argument, NULL, 'l' },
	{ 0 },
};

struct visit {
	const char *url, *model, *target;
	struct buf labels; /* "&label=…" */
	bool is_json;
	struct doctor doctor;
};

/* ---- what a code means ---- */

static bool tell_code(const char *word)
{
	const struct code_info *info = advice_code(span_of(word));
	const struct advice *a = advice_of_code(span_of(word));

	if (info == NULL || a == NULL)
		a = advice_of_reason(span_of(word));
	if (a == NULL)
		return false;
	if (info != NULL)
		printf("%s: %s (HTTP %d, exit status %d)\n", a->name, info->text, info->http, info->exit);
	else
		printf("%s: why an agent does not get a job\n", a->name);
	printf("%s\n", a->means);
	if (a->mend[0] != '\0')
		printf("What to do: %s\n", a->mend);
	return true;
}

/* ---- asking ---- */

/* Exit code; *ret_found false: the hub knows none such, which is not told. */
static int fetch(struct visit *v, const char *path, const struct msg_type *t, void *ret, void **ret_memory, struct buf *body,
	bool *ret_found)
{
	char err[256];
	long status = 0;
	int rc = ask_quietly(v->url, path, body, &status, err, sizeof(err));

	*ret_memory = NULL;
	*ret_found = status != 404;
	if (rc == CLI_UNAVAILABLE)
		doctor_unreachable(&v->doctor, v->url, err);
	if (rc != CLI_OK || status == 404)
		return rc;
	if (status != 200)
		return ask_refused(v->url, buf_span(body), status);
	return api_decode(t, buf_span(body), ret, ret_memory) < 0
		       ? cli_fail(CLI_UNAVAILABLE, "%s does not answer as a hub does", v->url)
		       : CLI_OK;
}

static int visit_model(struct visit *v, struct span model, struct span agent)
{
	struct buf path = BUF_INIT(8192), body = BUF_INIT(BODY_MAX);
	struct api_explain e = { 0 };
	void *memory = NULL;
	bool is_known;
	int rc;

	buf_addf(&path, "/api/v1/explain?model=");
	ask_escape(&path, model);
	buf_add_span(&path, buf_span(&v->labels));
	buf_addf(&path, "%s", "");
	rc = fetch(v, (const char *)path.p, &api_explain_type, &e, &memory, &body, &is_known);
	if (rc == CLI_OK && !is_known)
		rc = ask_refused(v->url, buf_span(&body), 404);
	else if (rc == CLI_OK && agent.n > 0)
		doctor_candidate(&v->doctor, agent, model, &e);
	else if (rc == CLI_OK)
		doctor_model(&v->doctor, model, &e);
	free(memory);
	buf_fini(&path);
	buf_fini(&body);
	return rc;
}

static int visit_agents(struct visit *v)
{
	struct buf path = BUF_INIT(1024), cursor = BUF_INIT(256);
	int rc = CLI_OK;

	for (int i = 0; i < PAGES_MAX && rc == CLI_OK && (i == 0 || cursor.n > 0); i++) {
		struct buf body = BUF_INIT(BODY_MAX);
		struct api_agents doc = { 0 };
		void *memory = NULL;
		bool is_found;

		buf_reset(&path);
		buf_addf(&path, "/api/v1/agents?cursor=%.*s", SPAN_FMT(buf_span(&cursor)));
		rc = fetch(v, (const char *)path.p, &api_agents_type, &doc, &memory, &body, &is_found);
		for (size_t k = 0; k < doc.n_agents; k++)
			doctor_agent(&v->doctor, &doc.agents[k], true);
		buf_reset(&cursor);
		buf_add_span(&cursor, doc.next);
		free(memory);
		buf_fini(&body);
	}
	buf_fini(&path);
	buf_fini(&cursor);
	return rc;
}

/* Everything. */
static int visit_all(struct visit *v, const struct api_status *s)
{
	int rc;

	if (!s->link.up || s->agents.total == 0)
		return CLI_OK; /* nothing further can be said */
	rc = visit_agents(v);
	for (size_t i = 0; rc == CLI_OK && i < s->n_models && i < MODELS_MAX; i++)
		if (s->models[i].ready == 0)
			rc = visit_model(v, s->models[i].name, SPAN_NONE);
	if (rc == CLI_OK)
		doctor_queue(&v->doctor, s);
	return rc;
}

static int visit_job(struct visit *v, bool *ret_found)
{
	struct buf path = BUF_INIT(256), body = BUF_INIT(BODY_MAX);
	struct api_story story = { 0 };
	void *memory = NULL;
	int rc;

	buf_addf(&path, "/api/v1/jobs/%s", v->target);
	rc = fetch(v, (const char *)path.p, &api_story_type, &story, &memory, &body, ret_found);
	if (rc == CLI_OK && *ret_found)
		doctor_job(&v->doctor, &story);
	free(memory);
	buf_fini(&path);
	buf_fini(&body);
	return rc;
}

static int visit_agent(struct visit *v, bool *ret_found)
{
	struct buf path = BUF_INIT(256), body = BUF_INIT(BODY_MAX);
	struct api_agents doc = { 0 };
	void *memory = NULL;
	int rc;

	buf_addf(&path, "/api/v1/agents/%s", v->target);
	rc = fetch(v, (const char *)path.p, &api_agents_type, &doc, &memory, &body, ret_found);
	for (size_t i = 0; rc == CLI_OK && *ret_found && i < doc.n_agents; i++) {
		const struct api_agent *a = &doc.agents[i];

		doctor_agent(&v->doctor, a, false);
		for (size_t k = 0; rc == CLI_OK && v->doctor.n_wrong == 0 && k < a->n_models && k < MODELS_MAX; k++)
			rc = visit_model(v, a->models[k].name, a->id);
	}
	free(memory);
	buf_fini(&path);
	buf_fini(&body);
	return rc;
}

static int visit_target(struct visit *v)
{
	bool is_found = false;
	int rc = visit_job(v, &is_found);

	if (rc == CLI_OK && !is_found)
		rc = visit_agent(v, &is_found);
	if (rc == CLI_OK && !is_found)
		rc = cli_fail(CLI_NOT_FOUND,
			"there is neither a job nor an agent '%s', and no such code; 'shoal jobs --state all' and 'shoal "
			"agents' list them",
			v->target);
	return rc;
}

static int visit(struct visit *v)
{
	struct buf body = BUF_INIT(BODY_MAX);
	struct api_status status = { 0 };
	void *memory = NULL;
	bool is_found;
	int rc = fetch(v, "/api/v1/status", &api_status_type, &status, &memory, &body, &is_found);

	if (rc == CLI_OK && !is_found)
		rc = cli_fail(CLI_UNAVAILABLE, "%s does not answer as a hub does", v->url);
	if (rc == CLI_OK)
		doctor_status(&v->doctor, &status, v->target != NULL || v->model != NULL);
	if (rc == CLI_OK && v->target != NULL)
		rc = visit_target(v);
	else if (rc == CLI_OK && v->model != NULL)
		rc = visit_model(v, span_of(v->model), SPAN_NONE);
	else if (rc == CLI_OK)
		rc = visit_all(v, &status);
	free(memory);
	buf_fini(&body);
	return rc;
}

/* ---- printing ---- */

static int print_json(const struct doctor *d)
{
	struct row {
		uint64_t has;
		struct span level, subject, code, text, mend;
	};
	struct doc {
		uint64_t has;
		bool healthy;
		const struct row *findings;
		size_t n_findings;
	};
	static const struct msg_field row_fields[] = {
		MSG_F_TEXT(struct row, level, 1, MSG_REQ, 16),
		MSG_F_TEXT(struct row, subject, 2, MSG_REQ, 4096),
		MSG_F_TEXT(struct row, code, 3, 0, 64),
		MSG_F_TEXT(struct row, text, 4, MSG_REQ, 65536),
		MSG_F_TEXT(struct row, mend, 5, 0, 65536),
	};
	static const struct msg_type row_type = MSG_TYPE("finding", struct row, row_fields);
	static const struct msg_field doc_fields[] = {
		MSG_F_BOOL(struct doc, healthy, 1, MSG_REQ),
		MSG_F_SUBS(struct doc, findings, struct row, 2, MSG_REQ, DOCTOR_MAX, &row_type),
	};
	static const struct msg_type doc_type = MSG_TYPE("doctor", struct doc, doc_fields);
	static struct row rows[DOCTOR_MAX];
	struct doc doc = { .healthy = d->n_wrong == 0, .findings = rows, .n_findings = d->n };
	struct buf out = BUF_INIT(BODY_MAX);
	int rc;

	for (size_t i = 0; i < d->n; i++) {
		const struct finding *f = &d->list[i];

		rows[i] = (struct row){ .level = span_of(doctor_levels[f->level]),
			.subject = span_of(f->subject),
			.code = f->code != NULL ? span_of(f->code) : SPAN_NONE,
			.text = span_of(f->text),
			.mend = span_of(f->mend) };
	}
	rc = json_encode(&doc_type, &doc, &out);
	if (rc == 0)
		printf("%.*s\n", SPAN_FMT(buf_span(&out)));
	buf_fini(&out);
	return rc == 0 ? CLI_OK : cli_fail(CLI_INTERNAL, "cannot write the document: %s", err_text(rc));
}

static void print_level(const struct doctor *d, enum doctor_level level)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct finding *f = &d->list[i];

		if (f->level != level)
			continue;
		printf("%-6s %s: ", doctor_levels[f->level], f->subject);
		if (f->code != NULL && f->level != DOCTOR_OK)
			printf("[%s] ", f->code);
		detail_text(span_of(f->text));
		if (f->mend[0] == '\0')
			continue;
		fputs("       → ", stdout);
		detail_text(span_of(f->mend));
	}
}

/* What is wrong first: it is in the order of what to mend. */
static int print(const struct visit *v)
{
	const struct doctor *d = &v->doctor;

	if (v->is_json)
		return print_json(d);
	print_level(d, DOCTOR_WRONG);
	print_level(d, DOCTOR_NOTE);
	print_level(d, DOCTOR_OK);
	if (d->n_more > 0)
		printf("and %zu more findings\n", d->n_more);
	if (d->n_wrong == 0)
		puts("nothing is wrong");
	return CLI_OK;
}

static int doctor_main(int argc, char **argv)
{
	static struct visit v = { .labels = BUF_INIT(8192) }; /* large, and there is one */
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'u': v.url = optarg; break;
		case 'j': v.is_json = true; break;
		case 'm': v.model = optarg; break;
		case 'l':
			buf_addf(&v.labels, "&label=");
			ask_escape(&v.labels, span_of(optarg));
			break;
		default: return cli_usage_hint(&cmd_doctor);
		}
	}
	if (argc - optind > 1 || (argc > optind && v.model != NULL)) {
		cli_note("one job, agent or code may be named, or a model");
		return cli_usage_hint(&cmd_doctor);
	}
	v.target = argc > optind ? argv[optind] : NULL;
	v.url = cli_url(v.url);
	if (v.target != NULL && tell_code(v.target))
		return CLI_OK;
	if (v.target != NULL && !span_is_id(span_of(v.target)))
		return cli_fail(CLI_USAGE, "'%s' is the name of no job, agent or code", v.target);
	rc = visit(&v);
	if (rc == CLI_OK || v.doctor.n > 0)
		rc = print(&v) != CLI_OK                     ? CLI_INTERNAL
		     : rc == CLI_OK || rc == CLI_UNAVAILABLE ? (v.doctor.n_wrong > 0 ? 1 : 0)
							     : rc;
	doctor_fini(&v.doctor);
	buf_fini(&v.labels);
	return rc;
}

const struct command cmd_doctor = { "doctor", "say what is wrong, and what to do", usage, doctor_main };
