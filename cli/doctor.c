#include "doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "advice.h"

const char *const doctor_levels[] = { "ok", "note", "wrong" };

/* ---- findings ---- */

struct about { /* what words in an advice stand for */
	struct span agent, model;
};

static bool take_word(const char **p, const char *word, struct span value, struct buf *out)
{
	size_t n = strlen(word);

	if (strncmp(*p, word, n) != 0 || value.n == 0)
		return false;
	buf_add_span(out, value);
	*p += n;
	return true;
}

/* AGENT and MODEL become names. */
static char *fill_in(const char *mend, struct about about)
{
	struct buf out = BUF_INIT(4096);
	char *text;

	while (*mend != '\0') {
		if (take_word(&mend, "AGENT", about.agent, &out) || take_word(&mend, "MODEL", about.model, &out))
			continue;
		buf_add(&out, mend++, 1);
	}
	text = span_str(buf_span(&out));
	buf_fini(&out);
	return text;
}

static char *formatted(const char *fmt, va_list ap)
{
	char *text = NULL;

	return vasprintf(&text, fmt, ap) < 0 ? NULL : text;
}

static char *subject_of(const char *kind, struct span name)
{
	struct buf b = BUF_INIT(256);
	char *text;

	buf_addf(&b, "%s%s%.*s", kind, name.n > 0 ? " " : "", SPAN_FMT(name));
	text = span_str(buf_span(&b));
	buf_fini(&b);
	return text;
}

/* kind and name: whom it is about.  Out of memory: counted, not told. */
static void __attribute__((format(printf, 8, 9))) add(struct doctor *d, enum doctor_level level, const char *kind,
	struct span name, const char *code, const char *mend, struct about about, const char *fmt, ...)
{
	struct finding f = { .level = level, .code = code };
	va_list ap;

	d->n_wrong += level == DOCTOR_WRONG;
	if (d->n == DOCTOR_MAX) {
		d->n_more++;
		return;
	}
	va_start(ap, fmt);
	f.text = formatted(fmt, ap);
	va_end(ap);
	f.subject = subject_of(kind, name);
	f.mend = fill_in(mend, about);
	if (f.text != NULL && f.subject != NULL && f.mend != NULL) {
		d->list[d->n++] = f;
		return;
	}
	free(f.text);
	free(f.subject);
	free(f.mend);
	d->n_more++;
}

void doctor_fini(struct doctor *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->list[i].text);
		free(d->list[i].subject);
		free(d->list[i].mend);
	}
	d->n = 0;
}

#define NOBODY ((struct about){ 0 })

/* ---- hub, broker, fleet ---- */

void doctor_unreachable(struct doctor *d, const char *url, const char *why)
{
	add(d, DOCTOR_WRONG, "hub", SPAN_NONE, NULL,
		"start it (systemctl start shoal-hub, or 'shoal up' to try), or name its address with --http or SHOAL_URL",
		NOBODY, "there is no answer at %s: %s", url, why);
}

static void check_link(struct doctor *d, const struct api_link *l, bool is_brief)
{
	if (!l->up)
		add(d, DOCTOR_WRONG, "broker", l->broker, "NO_AGENT",
			"start the broker (systemctl start mosquitto); else the hub's log tells whether its address, "
			"password or "
			"access list is wrong",
			NOBODY, "the hub is not connected: running jobs go on, new ones are refused");
	else if (l->blind)
		add(d, DOCTOR_WRONG, "broker", l->broker, "hub_blind",
			"look at the broker and the network between the boxes", NOBODY,
			"%.*s: it moves nothing, refuses new jobs and looks again within seconds", SPAN_FMT(l->reason));
	else if (!is_brief)
		add(d, DOCTOR_OK, "broker", l->broker, NULL, "", NOBODY, "connected");
}

static void check_journal(struct doctor *d, const struct api_journal *j, bool is_brief)
{
	const struct advice *full = advice_of_code(SPAN("JOURNAL_FULL"));

	if (j->full)
		add(d, DOCTOR_WRONG, "journal", SPAN_NONE, full->name, full->mend, NOBODY, "%s", full->means);
	if (j->set_aside.n > 0 && !is_brief)
		add(d, DOCTOR_NOTE, "journal", SPAN_NONE, NULL,
			"look at that disk; the file may be deleted when it is not wanted", NOBODY,
			"its file was damaged when the hub started, so it began a new one; the old one is at %.*s",
			SPAN_FMT(j->set_aside));
}

static void check_fleet(struct doctor *d, const struct api_status *s, bool is_brief)
{
	const struct api_fleet *f = &s->agents;

	if (f->total == 0)
		add(d, DOCTOR_WRONG, "agents", SPAN_NONE, "NO_AGENT",
			"start one on each box (systemctl start shoal-agent) with this broker's address, or 'shoal up' to "
			"try",
			NOBODY, "none has announced itself yet");
	else if (f->online == 0)
		add(d, DOCTOR_WRONG, "agents", SPAN_NONE, "NO_AGENT", "what is said of each below", NOBODY,
			"none of %" PRIu64 " is online and takes work", f->total);
	else if (!is_brief)
		add(d, DOCTOR_OK, "agents", SPAN_NONE, NULL, "", NOBODY,
			"%" PRIu64 " of %" PRIu64 " online, %" PRIu64 " jobs on %" PRIu64 " slots", f->online, f->total,
			f->in_flight, f->slots);
}

void doctor_status(struct doctor *d, const struct api_status *s, bool is_brief)
{
	if (!is_brief)
		add(d, DOCTOR_OK, "hub", s->hub.version, NULL, "", NOBODY,
			"it answers; %" PRIu64 " jobs run, %" PRIu64 " wait", s->running, s->queued);
	check_link(d, &s->link, is_brief);
	check_journal(d, &s->journal, is_brief);
	check_fleet(d, s, is_brief);
}

void doctor_queue(struct doctor *d, const struct api_status *s)
{
	if (s->queued > 0 && s->agents.online > 0 && s->agents.in_flight >= s->agents.slots)
		add(d, DOCTOR_WRONG, "queue", SPAN_NONE, "slots_full", "wait, or add agents or slots", NOBODY,
			"all %" PRIu64 " slots are taken and %" PRIu64 " jobs wait", s->agents.slots, s->queued);
}

/* ---- an agent ---- */

static const struct advice *advice(const char *reason)
{
	static const struct advice none = { "", "", "" };
	const struct advice *a = advice_of_reason(span_of(reason));

	return a != NULL ? a : &none;
}

static const char *reason_of_state(const struct api_agent *a)
{
	if (span_is(a->state, "quarantined"))
		return a->isolated ? "isolated" : "quarantined";
	if (span_is(a->state, "offline"))
		return span_is(a->reason, "never seen") ? "never_seen" : "offline";
	if (span_is(a->state, "suspect"))
		return "suspect";
	if (span_is(a->state, "draining"))
		return "draining";
	return msg_has(a, API_AGENT_WEIGHT) && a->weight == 0 ? "weight_zero" : NULL;
}

static void check_model(struct doctor *d, const struct api_agent *a, const struct api_agent_model *m)
{
	struct about about = { a->id, m->name };
	const char *reason = span_is(m->state, "failed")        ? "model_failed"
			     : span_is(m->state, "quarantined") ? "model_quarantined"
			     : span_is(m->breaker, "open")      ? "breaker_open"
								: NULL;

	if (reason == NULL)
		return;
	add(d, DOCTOR_WRONG, "agent", a->id, advice(reason)->name, advice(reason)->mend, about, "model %.*s: %s%s%.*s",
		SPAN_FMT(m->name), advice(reason)->means, m->reason.n > 0 ? " It said: " : "", SPAN_FMT(m->reason));
}

void doctor_agent(struct doctor *d, const struct api_agent *a, bool is_brief)
{
	const char *reason = reason_of_state(a);
	struct span why = a->asked_for.n > 0 ? a->asked_for : a->reason;

	if (reason != NULL)
		add(d, DOCTOR_WRONG, "agent", a->id, advice(reason)->name, advice(reason)->mend,
			(struct about){ .agent = a->id }, "%s%s%.*s%s", advice(reason)->means, why.n > 0 ? " (" : "",
			SPAN_FMT(why), why.n > 0 ? ")" : "");
	else if (!is_brief)
		add(d, DOCTOR_OK, "agent", a->id, NULL, "", NOBODY, "%.*s; %" PRIu64 " jobs on %" PRIu64 " slots",
			SPAN_FMT(a->state), a->in_flight, a->slots);
	if (reason == NULL && msg_has(a, API_AGENT_WEIGHT) && a->weight < 100 && !is_brief)
		add(d, DOCTOR_NOTE, "agent", a->id, NULL, "shoal weight AGENT 100", (struct about){ .agent = a->id },
			"it gets %" PRIu64 " %% of the work it would get", a->weight);
	if (a->n_models == 0 && reason == NULL)
		add(d, DOCTOR_WRONG, "agent", a->id, "model_absent", "add a model to the agent's configuration", NOBODY,
			"it has no model");
	if (reason == NULL || !span_is(a->state, "offline"))
		for (size_t i = 0; i < a->n_models; i++)
			check_model(d, a, &a->models[i]);
}

/* ---- who could take a job ---- */

static bool is_able(struct span reason)
{
	return span_is(reason, "chosen") || span_is(reason, "outranked");
}

static bool is_busy(struct span reason)
{
	return span_is(reason, "slots_full") || span_is(reason, "model_full");
}

static uint64_t count(const struct api_explain *e, bool (*is_wanted)(struct span reason))
{
	uint64_t n = 0;

	for (size_t i = 0; i < e->n_reasons; i++)
		n += is_wanted(e->reasons[i].reason) ? e->reasons[i].agents : 0;
	return n;
}

#define NAMED 5 /* agents named for a reason */

static void name_agents(const struct api_explain *e, const struct api_reason *r, struct buf *out)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n_candidates && n < NAMED; i++)
		if (span_eq(e->candidates[i].reason, r->reason))
			buf_addf(out, "%s%.*s", n++ > 0 ? ", " : "", SPAN_FMT(e->candidates[i].agent));
	if (n < r->agents)
		buf_addf(out, "%s%" PRIu64 " more", n > 0 ? " and " : "", r->agents - n);
}

/* Each reason once, with those it holds of. */
static void tell_reasons(struct doctor *d, struct span model, const struct api_explain *e, enum doctor_level level)
{
	for (size_t i = 0; i < e->n_reasons; i++) {
		const struct api_reason *r = &e->reasons[i];
		const struct advice *a = advice_of_reason(r->reason);
		struct buf names = BUF_INIT(4096);
		struct about about = { .model = model };

		if (is_able(r->reason))
			continue;
		name_agents(e, r, &names);
		if (r->agents == 1)
			about.agent = buf_span(&names);
		add(d, level, "agent", buf_span(&names), a != NULL ? a->name : NULL, a != NULL ? a->mend : "", about, "%s",
			a != NULL ? a->means : "It cannot take the job.");
		buf_fini(&names);
	}
}

void doctor_model(struct doctor *d, struct span model, const struct api_explain *e)
{
	uint64_t able = count(e, is_able), busy = count(e, is_busy);

	if (able > 0)
		add(d, DOCTOR_OK, "model", model, NULL, "", NOBODY, "%" PRIu64 " of %" PRIu64 " agents can take a job now",
			able, e->total);
	else if (busy > 0)
		add(d, DOCTOR_WRONG, "model", model, "slots_full", "wait, or add agents or slots", NOBODY,
			"all slots of the %" PRIu64 " agents that could take a job are taken", busy);
	else
		add(d, DOCTOR_WRONG, "model", model, "NO_AGENT", "what is said of the agents below", NOBODY,
			"none of %" PRIu64 " agents can take a job", e->total);
	tell_reasons(d, model, e, able > 0 ? DOCTOR_NOTE : DOCTOR_WRONG);
}

void doctor_candidate(struct doctor *d, struct span agent, struct span model, const struct api_explain *e)
{
	for (size_t i = 0; i < e->n_candidates; i++) {
		const struct api_candidate *c = &e->candidates[i];
		const struct advice *a = advice_of_reason(c->reason);
		bool is_fine = is_able(c->reason);

		if (!span_eq(c->agent, agent))
			continue;
		add(d, is_fine ? DOCTOR_OK : DOCTOR_WRONG, "model", model, a != NULL ? a->name : NULL,
			a != NULL && !is_fine ? a->mend : "", (struct about){ agent, model }, "%s",
			a != NULL ? a->means : "It cannot take a job.");
	}
}

/* ---- a job ---- */

static void check_ended(struct doctor *d, const struct api_job *j)
{
	const struct advice *a = advice_of_code(j->code);
	bool is_done = span_is(j->state, "done");

	if (is_done)
		add(d, DOCTOR_OK, "job", j->job, NULL, "", NOBODY, "it is done: %.*s", SPAN_FMT(j->finish_reason));
	else
		add(d, DOCTOR_WRONG, "job", j->job, a != NULL ? a->name : NULL, a != NULL ? a->mend : "",
			(struct about){ .model = j->model }, "%.*s: %.*s (%.*s). %s", SPAN_FMT(j->state),
			SPAN_FMT(j->message.n > 0 ? j->message : j->state), SPAN_FMT(j->code), a != NULL ? a->means : "");
}

static void check_waiting(struct doctor *d, const struct api_story *s)
{
	const struct api_job *j = &s->job;

	if (j->rests_ms > 0)
		add(d, DOCTOR_NOTE, "job", j->job, NULL, "", NOBODY,
			"attempt %" PRIu64 " has failed; the next one begins in %" PRIu64 " ms", j->attempt, j->rests_ms);
	if (j->rejoins) {
		add(d, DOCTOR_NOTE, "job", j->job, NULL, "", NOBODY,
			"the hub has restarted, and waits a little for %.*s, which may still be at it", SPAN_FMT(j->agent));
		return;
	}
	if (count(&s->explain, is_able) > 0) {
		add(d, DOCTOR_OK, "job", j->job, NULL, "", NOBODY, "it waits its turn: an agent can take it");
		return;
	}
	add(d, DOCTOR_WRONG, "job", j->job, count(&s->explain, is_busy) > 0 ? "slots_full" : "NO_AGENT",
		"what is said of the agents below", NOBODY, "it waits, as %s",
		count(&s->explain, is_busy) > 0 ? "all slots that could take it are taken" : "no agent can take it");
	tell_reasons(d, j->model, &s->explain, DOCTOR_WRONG);
}

void doctor_job(struct doctor *d, const struct api_story *s)
{
	const struct api_job *j = &s->job;

	if (span_is(j->state, "running") || span_is(j->state, "dispatched"))
		add(d, DOCTOR_OK, "job", j->job, NULL, "", NOBODY,
			"it is with %.*s, attempt %" PRIu64 ", %" PRIu64 " tokens so far", SPAN_FMT(j->agent), j->attempt,
			j->tokens);
	else if (span_is(j->state, "new"))
		add(d, DOCTOR_WRONG, "job", j->job, NULL, "look at the disk where the hub keeps its state", NOBODY,
			"the hub is still writing it down");
	else if (span_is(j->state, "queued"))
		check_waiting(d, s);
	else
		check_ended(d, j);
}
