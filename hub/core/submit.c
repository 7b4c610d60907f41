/* submit.c - admission: is a request valid, is it known already, is there room for it.
 *
 * The same id of the same user is the same job, whatever happens to connections: the
 * answers go to whoever asked last.  How they are delivered (stream, reply address,
 * cancel_on_disconnect) may differ between the two; all else must be the same. */
#include "core.h"

#include <stdlib.h>

#include "sha256.h"

#define RETRY_AFTER_MS 1000
#define LOOK_HOLDS 64

static enum hub_refusal usual_reason(enum code code)
{
	switch (code) {
	case CODE_CONFLICT: return HUB_REFUSAL_CONFLICT;
	case CODE_NO_AGENT: return HUB_REFUSAL_NO_AGENT;
	case CODE_MODEL_UNKNOWN: return HUB_REFUSAL_MODEL_UNKNOWN;
	case CODE_QUEUE_FULL: return HUB_REFUSAL_QUEUE;
	case CODE_DEADLINE_EXCEEDED: return HUB_REFUSAL_DEADLINE;
	case CODE_RESOURCE_LIMIT_EXCEEDED:
	case CODE_JOURNAL_FULL: return HUB_REFUSAL_MEMORY;
	default: return HUB_REFUSAL_INVALID;
	}
}

static void refuse(struct hub *h, const struct hub_event *ev, enum code code, struct buf *why, const struct verdict *v)
{
	struct hub_action *act = act_new(h, HUB_ACT_ANSWER);
	const struct submit *s = ev->submit;

	h->counters.jobs_refused++;
	h->refusals[v->reason < HUB_REFUSAL_COUNT ? v->reason : usual_reason(code)]++;
	act->reply = ev->reply;
	act->stream = s->stream;
	act->answer.type = ANSWER_ERROR;
	act->answer.id = s->id;
	act->answer.model = s->model;
	act->answer.correlation = s->correlation;
	act->answer.code = span_of(code_name(code));
	act->answer.message = why->n > 0 ? buf_span(why) : span_of(code_info(code)->text);
	act->answer.retry_after_ms = v->retry_ms > 0 ? v->retry_ms : code_info(code)->retryable ? RETRY_AFTER_MS : 0;
	act_trash(h, why->p);
}

/* ---- is it valid ---- */

size_t submit_prompt_bytes(const struct submit *s)
{
	size_t n = s->prompt.n;

	for (size_t i = 0; i < s->n_input; i++)
		n += s->input[i].n;

	for (size_t i = 0; i < s->n_messages; i++)
		n += s->messages[i].content.n;
	return n;
}

static enum code check_input(const struct submit *s, struct buf *why)
{
	if (s->prompt.n > 0 || s->n_messages > 0 || s->grammar.n > 0 || s->logprobs) {
		buf_addf(why, "\"input\" asks for vectors of texts: send it without what asks for an answer");
		return CODE_BAD_REQUEST;
	}
	if (s->n_input > PROTO_MAX_INPUTS) {
		buf_addf(why, "input lists %llu texts, at most %u are taken", (unsigned long long)s->n_input,
			PROTO_MAX_INPUTS);
		return CODE_TOO_LARGE;
	}
	for (size_t i = 0; i < s->n_input; i++)
		if (s->input[i].n == 0) {
			buf_addf(why, "text %llu of input is empty", (unsigned long long)i);
			return CODE_BAD_REQUEST;
		}
	return CODE_OK;
}

static enum code check_prompt(const struct submit *s, struct buf *why)
{
	size_t bytes = submit_prompt_bytes(s);

	if (s->prompt.n > 0 && s->n_messages > 0) {
		buf_addf(why, "there are both a prompt and messages: send one of the two");
		return CODE_BAD_REQUEST;
	}
	if (s->n_input > 0 && check_input(s, why) != CODE_OK)
		return s->n_input > PROTO_MAX_INPUTS ? CODE_TOO_LARGE : CODE_BAD_REQUEST;
	if (bytes == 0) {
		buf_addf(why, "there is nothing to answer: send a prompt, or messages with content");
		return CODE_BAD_REQUEST;
	}
	if (bytes > PROTO_MAX_PROMPT || s->n_messages > PROTO_MAX_TURNS) {
		buf_addf(why, "the prompt has %llu bytes in %llu messages, at most %llu and %u are taken: shorten it",
			(unsigned long long)bytes, (unsigned long long)s->n_messages, (unsigned long long)PROTO_MAX_PROMPT,
			PROTO_MAX_TURNS);
		return CODE_TOO_LARGE;
	}
	return CODE_OK;
}

static enum code check_sampling(const struct submit *s, struct buf *why)
{
	struct sampling p = submit_sampling(s);
	const char *field = NULL;

	if (s->n_stop > PROTO_MAX_STOP) {
		buf_addf(
			why, "stop lists %llu strings, at most %u are taken", (unsigned long long)s->n_stop, PROTO_MAX_STOP);
		return CODE_BAD_REQUEST;
	}
	sampling_defaults(&p);
	if (sampling_check(&p, &field) == 0)
		return CODE_OK;
	buf_addf(why, "%s is out of range: see the table of sampling parameters in the protocol page", field);
	return CODE_BAD_REQUEST;
}

static enum code check_labels(const char *name, const struct span *labels, size_t n, struct buf *why)
{
	bool is_ok = n <= PROTO_MAX_LABELS;

	for (size_t i = 0; is_ok && i < n; i++)
		is_ok = labels[i].n > 0 && labels[i].n <= PROTO_MAX_LABEL;
	if (is_ok)
		return CODE_OK;
	buf_addf(why, "%s takes at most %u labels of 1 to %u bytes", name, PROTO_MAX_LABELS, PROTO_MAX_LABEL);
	return CODE_BAD_REQUEST;
}

static enum code check_head(const struct hub_event *ev, struct buf *why)
{
	const struct submit *s = ev->submit;

	if (ev->user.n == 0 || ev->user.n > PROTO_MAX_ID)
		buf_addf(why, "the user's name must have 1 to %u characters", PROTO_MAX_ID);
	else if (s->model.n > PROTO_MAX_NAME)
		buf_addf(why, "the model's name is longer than %u bytes", PROTO_MAX_NAME);
	else if (s->id.n > 0 && !span_is_id(s->id))
		buf_addf(why, "id must be 1 to %u of A-Z a-z 0-9 . _ - and begin with a letter or digit", PROTO_MAX_ID);
	else if (s->deadline_ms > PROTO_MAX_DEADLINE_MS)
		buf_addf(why, "deadline_ms is over %u (a day)", PROTO_MAX_DEADLINE_MS);
	else if (s->priority >= PRIORITY_COUNT)
		buf_addf(why, "priority must be high, normal or low");
	else
		return CODE_OK;
	return CODE_BAD_REQUEST;
}

static enum code check(const struct hub_event *ev, struct buf *why)
{
	const struct submit *s = ev->submit;
	enum code code = check_head(ev, why);

	if (code == CODE_OK)
		code = check_prompt(s, why);
	if (code == CODE_OK)
		code = check_sampling(s, why);
	if (code == CODE_OK)
		code = check_labels("require", s->require, s->n_require, why);
	if (code == CODE_OK)
		code = check_labels("prefer", s->prefer, s->n_prefer, why);
	return code;
}

/* ---- is there room ---- */

static enum code admit(struct hub *h, const struct hub_event *ev, struct buf *why, struct verdict *v)
{
	const struct submit *s = ev->submit;
	struct variant *variant;
	const struct model *m = variant_asked(h, ev->user, s, &variant);
	const char *sentence;

	if (hub_is_blind(h, &sentence)) {
		buf_addf(why, "%s: try again shortly", sentence);
		return CODE_NO_AGENT;
	}
	if (m == NULL && list_empty(&h->model_list)) {
		buf_addf(why, "no agent has announced itself yet: start one, or try again shortly");
		return CODE_NO_AGENT;
	}
	if (m == NULL && s->model.n == 0) {
		buf_addf(why, "there are several models, name one with \"model\":");
		LIST_EACH(it, &h->model_list)
		buf_addf(why, " %s", CONTAINER(it, struct model, all)->name);
		return CODE_BAD_REQUEST;
	}
	if (m == NULL && h->now_ms < h->settle_until_ms) {
		buf_addf(why, "the hub has just started and no agent with the model \"%.*s\" has announced itself yet: try again shortly",
			SPAN_FMT(s->model));
		return CODE_NO_AGENT;
	}
	if (m == NULL) {
		buf_addf(why, "no agent has the model \"%.*s\"; /v1/models lists those there are", SPAN_FMT(s->model));
		return CODE_MODEL_UNKNOWN;
	}
	if (h->is_journal_full) {
		buf_addf(why, "there is no room left to write jobs down: free some disk space where the hub keeps its state");
		return CODE_JOURNAL_FULL;
	}
	if (h->n_live >= h->config.max_jobs || h->counters.queued >= h->config.queue_max) {
		buf_addf(why, "%llu jobs are waiting already: try again later", (unsigned long long)h->counters.queued);
		v->retry_ms = turns_next(&h->turns, h->now_ms);
		return CODE_QUEUE_FULL;
	}
	return users_admit(h, ev->user, line_cost(m, submit_prompt_bytes(s), s->n_input > 0 ? 1 : s->max_tokens), why, v);
}

/* ---- copies ---- */

int submit_reply_copy(const struct hub_reply *r, struct span correlation, struct reply *ret)
{
	size_t n = r->topic.n + r->correlation.n + correlation.n;
	char *p = malloc(n > 0 ? n : 1);

	if (p == NULL)
		return ERR_NOMEM;
	*ret = (struct reply){ .to = *r, .mem = p };
	ret->to.topic = span_mem(p, r->topic.n);
	ret->to.correlation = span_mem(p + r->topic.n, r->correlation.n);
	ret->correlation = span_mem(p + r->topic.n + r->correlation.n, correlation.n);
	memcpy(p, r->topic.n > 0 ? r->topic.p : "", r->topic.n);
	memcpy(p + r->topic.n, r->correlation.n > 0 ? r->correlation.p : "", r->correlation.n);
	memcpy(p + r->topic.n + r->correlation.n, correlation.n > 0 ? correlation.p : "", correlation.n);
	return 0;
}

/* The request without who asks and how it is to be answered: what makes it the same job. */
int submit_body_copy(struct hub *h, const struct submit *s, struct submit **ret, struct span *ret_body)
{
	struct submit b = *s;
	void *copy;
	int rc;

	b.id = b.reply_to = b.correlation = SPAN_NONE;
	b.stream = b.cancel_on_disconnect = false;
	b.has &= ~(UINT64_C(1) << SUBMIT_ID | UINT64_C(1) << SUBMIT_REPLY_TO | UINT64_C(1) << SUBMIT_CORRELATION |
		   UINT64_C(1) << SUBMIT_STREAM | UINT64_C(1) << SUBMIT_CANCEL_ON_DISCONNECT);
	rc = act_copy(h, &submit_type, &b, &copy, ret_body);
	if (rc == 0)
		*ret = copy;
	return rc;
}

/* ---- the same id once more ---- */

static bool reply_same(const struct job *j, const struct hub_event *ev)
{
	const struct hub_reply *a = &j->reply.to, *b = &ev->reply;

	return a->conn == b->conn && span_eq(a->topic, b->topic) && span_eq(a->correlation, b->correlation) &&
	       span_eq(j->reply.correlation, ev->submit->correlation) && j->stream == ev->submit->stream && !j->is_deaf;
}

static int take_over(struct hub *h, struct job *j, const struct hub_event *ev)
{
	struct reply r;
	int rc = submit_reply_copy(&ev->reply, ev->submit->correlation, &r);

	if (rc < 0)
		return rc;
	if ((jobs_is_live(j) || j->tell_seq != 0) && !j->is_deaf)
		act_new(h, HUB_ACT_DETACH)->reply = j->reply.to;
	act_trash(h, j->reply.mem);
	j->reply = r;
	j->stream = ev->submit->stream && !j->is_embedding;
	j->cancel_on_disconnect = ev->submit->cancel_on_disconnect;
	j->is_deaf = false;
	if (jobs_is_live(j))
		jobs_set_conn(h, j);
	return 0;
}

static void repeated(struct hub *h, struct job *j, const struct hub_event *ev)
{
	bool is_same_place = reply_same(j, ev);
	struct buf why = BUF_INIT(512);

	h->counters.jobs_repeated++;
	if (!is_same_place && take_over(h, j, ev) < 0) {
		refuse(h, ev, CODE_RESOURCE_LIMIT_EXCEEDED, &why, &(struct verdict){ HUB_REFUSAL_COUNT, 0 });
		return;
	}
	if (!is_same_place && journal_took_over(h, j))
		return;
	if (!jobs_is_live(j)) {
		if (j->tell_seq == 0) /* else it is told when it is safe */
			act_end(h, j);
		return;
	}
	if (!j->stream || j->state == HUB_JOB_NEW || j->owes_accepted)
		return;
	act_answer(h, j, ANSWER_ACCEPTED)->state = span_of(hub_job_state_names[j->state]);
	if (!is_same_place) {
		j->shown = j->last = (struct mark){ 0 };
		act_tokens(h, j, journal_mark(j));
	}
}

/* ---- a new one ---- */

static int job_fill(struct hub *h, struct job *j, const struct hub_event *ev, struct submit *body, size_t body_bytes)
{
	uint64_t deadline_ms = body->deadline_ms > 0 ? body->deadline_ms : h->config.default_deadline_ms;
	int rc;

	if ((rc = span_copy(ev->user, j->user, sizeof(j->user))) < 0 ||
		(rc = span_copy(ev->submit->id, j->key, sizeof(j->key))) < 0 ||
		(rc = span_copy(span_of(j->model->name), j->model_name, sizeof(j->model_name))) < 0 ||
		(rc = submit_reply_copy(&ev->reply, ev->submit->correlation, &j->reply)) < 0)
		return rc;
	j->id = id_new(&h->rng);
	j->submit = body;
	j->submit_bytes = body_bytes;
	j->sampling = submit_sampling(body);
	if (!msg_has(&j->sampling, SAMPLING_SEED)) /* every attempt must draw the same */
		j->sampling.seed = rng_next(&h->rng) >> 1;
	msg_set(&j->sampling, SAMPLING_SEED);
	sampling_defaults(&j->sampling);
	j->is_embedding = body->n_input > 0;
	if (j->is_embedding)
		j->sampling.max_tokens = 0; /* it has as many as there are texts */
	j->stream = ev->submit->stream && !j->is_embedding;
	j->cancel_on_disconnect = ev->submit->cancel_on_disconnect;
	j->priority = body->priority;
	j->rank = ++h->last_rank;
	j->number = ++h->last_number;
	j->submitted_ms = j->queued_ms = h->now_ms;
	j->deadline_ms = deadline_ms > 0 ? h->now_ms + deadline_ms : UINT64_MAX;
	j->text = BUF_INIT(PROTO_MAX_ANSWER);
	j->probs = BUF_INIT(LOGPROB_MAX_BYTES);
	j->timer.kind = TIMER_JOB;
	list_init(&j->place);
	list_init(&j->persist);
	list_init(&j->telling);
	return affinity_job(h, j);
}

/* Could any agent that is there bring a first token before the deadline if it had nothing else to
 * do?  Only by what was measured, and for a big fleet by some of it. */
static bool is_in_time(const struct hub *h, struct job *j)
{
	struct ask ask = cost_ask(h, j);
	size_t n = 0, n_seen = 0;

	if (ask.left_ms == UINT64_MAX)
		return true;
	LIST_EACH(l, &j->model->holds)
	{
		const struct hold *o = CONTAINER(l, struct hold, of_model);

		if (n_seen++ == LOOK_HOLDS)
			return true;
		if (!o->agent->routable)
			continue;
		if (cost_first_ms(h, &ask, o) <= (double)ask.left_ms)
			return true;
		n++;
	}
	return n == 0;
}

/* Takes body. */
static int job_new(struct hub *h, const struct hub_event *ev, struct submit *body, struct span bytes)
{
	struct job *j = calloc(1, sizeof(*j));
	int rc = ERR_NOMEM;

	if (j != NULL)
		j->model = variant_asked(h, ev->user, ev->submit, &j->variant); /* admit() has found it */
	if (j == NULL || (rc = job_fill(h, j, ev, body, bytes.n)) < 0 ||
		(rc = is_in_time(h, j) ? 0 : ERR_STATE) < 0 || (rc = timers_reserve(&h->timers)) < 0) {
		if (j != NULL)
			free(j->reply.mem), free(j->cuts);
		free(j);
		free(body);
		return rc;
	}
	j->body = bytes;
	if (ev->submit->id.n > 0)
		sha256_of(bytes, j->digest);
	models_ref(j->model);
	session_join(h, j);
	jobs_add(h, j);
	return 0;
}

static bool has_memory(struct hub *h, size_t bytes)
{
	jobs_make_room(h, bytes);
	return h->config.max_bytes == 0 || h->bytes + bytes <= h->config.max_bytes;
}

static enum code take(struct hub *h, const struct hub_event *ev, struct buf *why, struct verdict *v)
{
	struct submit *body;
	struct span bytes;
	int rc;

	if (!has_memory(h, sizeof(struct job) + submit_prompt_bytes(ev->submit) + ev->submit->grammar.n)) {
		buf_addf(why, "the hub holds as many prompts and answers as it may: try again later");
		*v = (struct verdict){ HUB_REFUSAL_MEMORY, turns_next(&h->turns, h->now_ms) };
		return CODE_QUEUE_FULL;
	}
	rc = submit_body_copy(h, ev->submit, &body, &bytes);
	if (rc == 0)
		rc = job_new(h, ev, body, bytes);
	if (rc == ERR_STATE) {
		buf_addf(why,
			"even on an agent at rest, reading the prompt takes longer than deadline_ms: give it more time, or a "
			"shorter prompt");
		return CODE_DEADLINE_EXCEEDED;
	}
	if (rc < 0) {
		buf_addf(why, "the hub is out of memory: try again later");
		return CODE_RESOURCE_LIMIT_EXCEEDED;
	}
	return CODE_OK;
}

/* The job this is a repetition of; NULL: none.  *ret: CONFLICT when it is another request. */
static struct job *find_known(struct hub *h, const struct hub_event *ev, enum code *ret)
{
	struct job *j = ev->submit->id.n > 0 && RULE(h, IDEMPOTENCY) ? jobs_find_key(h, ev->user, ev->submit->id) : NULL;
	uint8_t digest[SHA256_SIZE];
	struct submit *body;
	struct span bytes;

	*ret = CODE_OK;
	if (j == NULL)
		return NULL;
	if (submit_body_copy(h, ev->submit, &body, &bytes) < 0) {
		*ret = CODE_RESOURCE_LIMIT_EXCEEDED;
		return j;
	}
	sha256_of(bytes, digest);
	free(body);
	if (memcmp(digest, j->digest, sizeof(digest)) != 0)
		*ret = CODE_CONFLICT;
	return j;
}

void submit_event(struct hub *h, const struct hub_event *ev)
{
	struct buf why = BUF_INIT(512);
	struct verdict v = { .reason = HUB_REFUSAL_COUNT };
	enum code code = check(ev, &why);
	struct job *j = code == CODE_OK ? find_known(h, ev, &code) : NULL;

	if (code == CODE_CONFLICT)
		buf_addf(&why, "id \"%.*s\" was used for another request: give each request an id of its own",
			SPAN_FMT(ev->submit->id));
	if (code == CODE_OK && j != NULL) {
		repeated(h, j, ev);
		return;
	}
	if (code == CODE_OK)
		code = admit(h, ev, &why, &v);
	if (code == CODE_OK)
		code = take(h, ev, &why, &v);
	if (code != CODE_OK)
		refuse(h, ev, code, &why, &v);
	else
		buf_fini(&why);
}
