#include "sim.h"

#define SUBMITS_MS 17000 /* clients come within this time */
#define USER "alice"
#define ATTEMPTS_MAX 200 /* more in so short a time is a busy loop */

/* What a client does next: the future's gen. */
enum { SUBMIT, AGAIN, ELSEWHERE, CANCEL };

static uint64_t number_at(const char *p, size_t n, size_t *at)
{
	uint64_t x = 0;

	for (; *at < n && p[*at] >= '0' && p[*at] <= '9'; ++*at)
		x = x * 10 + (uint64_t)(p[*at] - '0');
	return x;
}

/* "v<job>.<view>" */
static struct view *view_of(struct sim *s, struct span topic, struct cjob **ret_job)
{
	size_t at = 1, job, view;

	job = number_at(topic.p, topic.n, &at);
	at++;
	view = number_at(topic.p, topic.n, &at);
	if (topic.n < 4 || job >= s->n_jobs || view >= s->jobs[job].n_views) {
		sim_violation(s, "an answer to nobody: \"%.*s\"", SPAN_FMT(topic));
		return NULL;
	}
	*ret_job = &s->jobs[job];
	return &s->jobs[job].views[view];
}

/* ---- what it does ---- */

static void later(struct sim *s, size_t i, uint64_t what, uint64_t ms)
{
	sim_push(s, ms, (struct future){ .type = F_CLIENT, .who = i, .gen = what });
}

void client_init(struct sim *s)
{
	s->n_jobs = s->n_open = sim_between(s, 8, SIM_MAX_JOBS);
	for (size_t i = 0; i < s->n_jobs; i++) {
		struct cjob *j = &s->jobs[i];
		struct buf id = BUF_INIT(sizeof(j->id));

		buf_addf(&id, "k%zu", i);
		(void)span_copy(buf_span(&id), j->id, sizeof(j->id));
		buf_fini(&id);
		j->has_id = sim_chance(s, 0.75);
		j->stream = sim_chance(s, 0.7);
		j->max_tokens = sim_between(s, 1, SIM_MAX_TOKENS);
		j->priority = (enum priority)sim_between(s, 0, PRIORITY_COUNT - 1);
		if (s->knobs.has_poison && sim_chance(s, 0.1))
			j->poison_at = sim_between(s, 1, 8);
		if (!s->knobs.is_quiet && sim_chance(s, 0.1))
			j->deadline_ms = sim_between(s, 200, 8000);
		j->at = sim_between(s, 500, SUBMITS_MS);
		later(s, i, SUBMIT, j->at);
		if (!s->knobs.is_quiet && sim_chance(s, 0.1))
			later(s, i, CANCEL, j->at + sim_between(s, 50, 3000));
	}
}

static void submit(struct sim *s, size_t i, size_t view)
{
	struct cjob *j = &s->jobs[i];
	struct buf prompt = BUF_INIT(32), topic = BUF_INIT(32);
	char session[2] = { (char)('a' + i % (SIM_SESSIONS + 1)), '\0' };
	struct submit m = { .model = span_of(sim_models[i % s->knobs.n_models]),
		.max_tokens = j->max_tokens,
		.stream = j->views[view].stream,
		.priority = j->priority,
		.deadline_ms = j->deadline_ms };
	double dup = s->knobs.dup, loss = s->knobs.loss1;

	buf_addf(&prompt, "job %zu", i);
	buf_addf(&topic, "v%zu.%zu", i, view);
	m.prompt = buf_span(&prompt);
	m.reply_to = buf_span(&topic);
	if (i % (SIM_SESSIONS + 1) != SIM_SESSIONS)
		m.session = span_of(session);
	if (j->has_id)
		m.id = span_of(j->id);
	else
		s->knobs.dup = s->knobs.loss1 = 0; /* whoever gives no id must be sure of its link */
	j->n_submits++;
	sim_to_hub(s, i, TOPIC_CLIENT_JOBS, &submit_type, &m, 1);
	s->knobs.dup = dup;
	s->knobs.loss1 = loss;
	buf_fini(&prompt);
	buf_fini(&topic);
}

static size_t view_new(struct sim *s, struct cjob *j)
{
	struct view *v = &j->views[j->n_views];

	*v = (struct view){ .stream = j->stream, .chain = chain_start(s, (uint64_t)(j - s->jobs)), .ends_due = 1 };
	return j->n_views++;
}

static void submit_again(struct sim *s, size_t i, bool elsewhere)
{
	struct cjob *j = &s->jobs[i];
	struct view *v = &j->views[j->n_views - 1];
	bool is_served = v->n_ends > 0 || (v->stream && v->is_accepted && !elsewhere);

	if (j->is_given_up || is_served)
		return;
	if (elsewhere && j->n_views < SIM_MAX_VIEWS)
		view_new(s, j);
	submit(s, i, j->n_views - 1);
	later(s, i, AGAIN, sim_between(s, 1000, 3000));
}

static void cancel(struct sim *s, size_t i)
{
	struct cjob *j = &s->jobs[i];
	struct cancel c = { .id = j->has_id ? span_of(j->id) : SPAN_NONE,
		.job = j->has_id ? SPAN_NONE : span_of(j->hub_id) };

	if (c.id.n + c.job.n == 0)
		return;
	j->is_cancelled = true;
	sim_trace(s, "client cancels job %zu", i);
	sim_to_hub(s, i, TOPIC_CLIENT_CANCEL, &cancel_type, &c, 1);
}

void client_future(struct sim *s, struct future *f)
{
	struct cjob *j = &s->jobs[f->who];

	switch (f->gen) {
	case SUBMIT:
		submit(s, f->who, view_new(s, j));
		if (j->has_id)
			later(s, f->who, AGAIN, sim_between(s, 500, 3000));
		if (j->has_id && !s->knobs.is_quiet && sim_chance(s, 0.4))
			later(s, f->who, ELSEWHERE, sim_between(s, 20, 2500));
		break;
	case AGAIN: submit_again(s, f->who, sim_chance(s, 0.3)); break;
	case ELSEWHERE: submit_again(s, f->who, true); break;
	default: cancel(s, f->who); break;
	}
}

/* Its broker tells who asks: nobody was subscribed.  Those with an id ask again anyway. */
void client_not_heard(struct sim *s, size_t i)
{
	struct cjob *j = &s->jobs[i];

	if (j->has_id)
		return;
	j->n_views = 0;
	later(s, i, SUBMIT, 300);
}

/* It has come to the hub.  One that repeats an ended job is answered with the end once more. */
void client_submit_arrives(struct sim *s, struct future *f)
{
	struct hub_event ev = { .user = SPAN(USER) };
	struct cancel c;
	struct submit m;
	struct cjob *j;
	struct view *v;
	int rc;

	arena_reset(&s->arena);
	if (f->kind == TOPIC_CLIENT_CANCEL) {
		rc = msg_decode(&cancel_type, span_mem(f->bytes, f->n), MSG_KEYS_TEXT, &s->arena, &c, NULL);
		ev.type = HUB_EV_CANCEL;
		ev.cancel = &c;
	} else {
		rc = msg_decode(&submit_type, span_mem(f->bytes, f->n), MSG_KEYS_TEXT, &s->arena, &m, NULL);
		ev.type = HUB_EV_SUBMIT;
		ev.submit = &m;
	}
	if (rc < 0) {
		sim_violation(s, "what a client said cannot be decoded");
		return;
	}
	if (ev.type == HUB_EV_SUBMIT) {
		ev.reply.topic = m.reply_to;
		sim_trace(
			s, "client submits %.*s for %.*s id %.*s", SPAN_FMT(m.prompt), SPAN_FMT(m.reply_to), SPAN_FMT(m.id));
		v = view_of(s, m.reply_to, &j);
		if (v != NULL &&
			v->is_detached) { /* a late copy from an address given up: it takes over again, from the start */
			*v = (struct view){ .stream = v->stream, .chain = chain_start(s, f->who), .ends_due = 1 };
		} else if (v != NULL && j->is_ended) {
			v->ends_due += v->n_ends > 0;
		}
	}
	sim_feed_hub(s, &ev);
}

/* ---- what it must see ---- */

static uint32_t read_id(const char *p)
{
	uint32_t id = 0;

	for (int i = 0; i < 8; i++)
		id = id << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : p[i] - 'a' + 10);
	return id;
}

/* True when every token of text continues those before it; *chain moves on. */
static bool follow(uint64_t *chain, struct span text)
{
	if (text.n % 8 != 0)
		return false;
	for (size_t i = 0; i < text.n; i += 8) {
		uint32_t id = read_id(text.p + i);

		if (!chain_follows(*chain, id) || !chain_has_text(id))
			return false;
		*chain = chain_add(*chain, id);
	}
	return true;
}

/* A hub that starts again says the last frame once more, as it was. */
static bool is_repeat(const struct view *v, const struct answer *a)
{
	size_t end = a->index + a->n, from, to;

	if (a->n == 0 || end > v->next || v->frame_ends[end] == 0 || (a->index > 0 && v->frame_ends[a->index] == 0))
		return false;
	from = a->index > 0 ? v->frame_ends[a->index] - 1 : 0;
	to = v->frame_ends[end] - 1;
	return span_eq(a->text, span_mem(v->text + from, to - from));
}

static void see_tokens(struct sim *s, size_t job, struct view *v, const struct answer *a)
{
	if (s->n_hub_crashes > 0 && is_repeat(v, a))
		return;
	if (a->index != v->next || a->n == 0 || a->text.n > a->n * 8) {
		sim_violation(s, "a client of job %zu sees index %u (n %u) when %u is next", job, (unsigned)a->index,
			(unsigned)a->n, (unsigned)v->next);
		return;
	}
	v->next += a->n;
	if (v->next > s->jobs[job].max_tokens) {
		sim_violation(s, "a client of job %zu sees more tokens than it asked for", job);
		return;
	}
	memcpy(v->text + v->n_text, a->text.p != NULL ? a->text.p : "", a->text.n);
	v->n_text += a->text.n;
	v->frame_ends[v->next] = 1 + v->n_text;
	if (v->is_tainted || follow(&v->chain, a->text))
		return;
	if (s->knobs.corrupt > 0 || s->seed % 8 == 1)
		v->is_tainted = true; /* altered on the way: no one can know before the end, which must say so */
	else
		sim_violation(s, "a client of job %zu sees a token at index %u that does not continue what it has seen", job,
			(unsigned)a->index);
}

static void see_done(struct sim *s, size_t job, struct view *v, const struct answer *a)
{
	const struct cjob *j = &s->jobs[job];
	uint64_t chain = chain_start(s, job), count = a->usage.completion_tokens;
	bool is_whole = a->finish_reason != FINISH_CANCELLED;
	/* The digest of an attempt that never ended was never compared. */
	bool is_checked = s->seed % 8 != 1 || a->receipt.attempts == 1;

	bool is_late = j->is_ended && v->next == 0; /* it asked when all was over: the end has the whole text */

	watch_done(s, job, a);
	if (v->stream && !is_late && (count != v->next || !span_eq(a->text, span_mem(v->text, v->n_text))))
		sim_violation(
			s, "job %zu ends with %u tokens, its client was shown %u", job, (unsigned)count, (unsigned)v->next);
	if (is_whole && is_checked && (!follow(&chain, a->text) || a->text.n > count * 8))
		sim_violation(s, "the answer of job %zu is not made of one piece", job);
	if (count > j->max_tokens || (a->finish_reason == FINISH_LENGTH && count != j->max_tokens))
		sim_violation(s, "job %zu ends at %u of %u tokens: %s", job, (unsigned)count, (unsigned)j->max_tokens,
			finish_names[a->finish_reason]);
	if (s->knobs.is_quiet && a->receipt.attempts != 1)
		sim_violation(s, "job %zu took %u attempts although nothing but messages was lost", job,
			(unsigned)a->receipt.attempts);
}

/* Its end, or its end once more, which must be the same. */
static void see_end(struct sim *s, size_t job, struct view *v, const struct answer *a)
{
	struct cjob *j = &s->jobs[job];
	struct span said = a->type == ANSWER_DONE ? a->text : a->code;

	if (++v->n_ends > v->ends_due)
		sim_violation(s, "a client of job %zu is told the end %u times", job, v->n_ends);
	if (a->type == ANSWER_DONE)
		see_done(s, job, v, a);
	else if (s->knobs.is_quiet)
		sim_violation(s, "job %zu fails with %.*s although nothing but messages was lost", job, SPAN_FMT(a->code));
	else if (span_eq(a->code, span_of(code_name(CODE_QUEUE_FULL))) ||
		 span_eq(a->code, span_of(code_name(CODE_QUEUE_TIMEOUT))))
		sim_violation(s, "job %zu was given up because queues were full", job);
	if (a->receipt.attempts > ATTEMPTS_MAX)
		sim_violation(s, "job %zu took %u attempts", job, (unsigned)a->receipt.attempts);
	if (!j->is_ended) {
		j->is_ended = true;
		j->end_type = a->type;
		j->n_end_text = said.n;
		memcpy(j->end_text, said.p != NULL ? said.p : "", said.n);
		s->n_open--;
		s->n_done += a->type == ANSWER_DONE;
		s->n_error += a->type == ANSWER_ERROR;
	} else if (!j->is_too_late && (j->end_type != a->type || !span_eq(said, span_mem(j->end_text, j->n_end_text)))) {
		sim_violation(s, "job %zu has two ends", job);
	}
}

/* Nobody could have brought it in time.  What is still on its way may be taken all the same. */
static void see_too_late(struct sim *s, struct cjob *j)
{
	s->n_open -= !j->is_ended;
	s->n_error += !j->is_ended;
	j->is_ended = j->is_given_up = j->is_too_late = true;
}

/* Refused before it was a job: to be tried again if that makes sense. */
static void see_refusal(struct sim *s, size_t job, struct view *v, const struct answer *a)
{
	struct cjob *j = &s->jobs[job];

	if (j->deadline_ms > 0 && span_eq(a->code, span_of(code_name(CODE_DEADLINE_EXCEEDED)))) {
		see_too_late(s, j);
		return;
	}
	if (v->is_accepted || v->next > 0 || j->is_ended)
		sim_violation(s, "job %zu is refused (%.*s) after it was taken", job, SPAN_FMT(a->code));
	if (a->retry_after_ms == 0)
		sim_violation(s, "job %zu is refused for good: %.*s", job, SPAN_FMT(a->code));
	if (j->has_id)
		return; /* asks again anyway */
	later(s, job, SUBMIT, a->retry_after_ms);
	j->n_views = 0;
}

void client_answer(struct sim *s, const struct hub_action *act)
{
	const struct answer *a = &act->answer;
	struct cjob *j = NULL;
	struct view *v;
	size_t job;

	if (act->reply.topic.n == 0)
		return; /* of a cancel: nobody asked for a word */
	v = view_of(s, act->reply.topic, &j);
	if (v == NULL)
		return;
	job = (size_t)(j - s->jobs);
	if (v->is_detached)
		sim_violation(s, "job %zu answers an address that was given up", job);
	if (act->stream != v->stream || (!v->stream && a->type != ANSWER_DONE && a->type != ANSWER_ERROR))
		sim_violation(s, "job %zu streams to a client that did not ask for it", job);
	if (v->n_ends > 0 && a->type == ANSWER_TOKENS && s->n_hub_crashes > 0 && is_repeat(v, a))
		return; /* what comes with an end that is told once more */
	if (v->n_ends > 0 && a->type != ANSWER_DONE && a->type != ANSWER_ERROR)
		sim_violation(s, "job %zu goes on after its end", job);
	if (a->job.n == 0) {
		see_refusal(s, job, v, a);
		return;
	}
	if (j->hub_id[0] == '\0')
		(void)span_copy(a->job, j->hub_id, sizeof(j->hub_id));
	else if (!span_is(a->job, j->hub_id))
		sim_violation(s, "job %zu is two jobs: %s and %.*s", job, j->hub_id, SPAN_FMT(a->job));
	switch (a->type) {
	case ANSWER_ACCEPTED: v->is_accepted = true; break;
	case ANSWER_TOKENS: see_tokens(s, job, v, a); break;
	case ANSWER_DONE:
	case ANSWER_ERROR:
		see_end(s, job, v, a);
		sim_push(s, sim_between(s, 0, 100), (struct future){ .type = F_TOLD, .who = job, .gen = s->hub_life });
		break;
	default: break;
	}
}

void client_hub_crashed(struct sim *s)
{
	for (size_t i = 0; i < s->n_jobs; i++)
		for (size_t k = 0; k < s->jobs[i].n_views; k++) {
			struct view *v = &s->jobs[i].views[k];

			v->is_detached = false; /* that it was may be forgotten */
			v->ends_due = v->n_ends + 1;
		}
}

void client_detached(struct sim *s, struct hub_reply reply)
{
	struct cjob *j = NULL;
	struct view *v = view_of(s, reply.topic, &j);

	if (v != NULL)
		v->is_detached = true;
}

/* Time is up: what has not ended is lost, unless it never reached the hub and nobody repeats it. */
void client_check_end(struct sim *s)
{
	for (size_t i = 0; i < s->n_jobs; i++)
		if (!s->jobs[i].is_ended)
			sim_violation(s, "job %zu never ends (submitted %u times, attempt %u)", i, s->jobs[i].n_submits,
				(unsigned)s->jobs[i].attempts);
}
