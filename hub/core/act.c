/* act.c - building actions.
 *
 * When memory for an action runs out it is written to a spare one and lost, as a message
 * on a bad link would be: controls and dispatches are repeated by timers. */
#include "core.h"

#include <stdlib.h>

#include "clone.h"

static struct hub_action spare;

static bool grow(void **p, size_t *cap, size_t size)
{
	size_t n = *cap > 0 ? *cap * 2 : 32;
	void *q = realloc(*p, n * size);

	if (q == NULL)
		return false;
	*p = q;
	*cap = n;
	return true;
}

struct hub_action *act_new(struct hub *h, enum hub_action_type type)
{
	struct hub_action *act = &spare;
	void *p = h->acts;

	if (h->n_acts < h->cap_acts || grow(&p, &h->cap_acts, sizeof(*act))) {
		h->acts = p;
		act = &h->acts[h->n_acts++];
	}
	memset(act, 0, sizeof(*act));
	act->type = type;
	return act;
}

void act_trash(struct hub *h, void *p)
{
	void *list = h->trash;

	if (p == NULL)
		return;
	if (h->n_trash == h->cap_trash) {
		if (!grow(&list, &h->cap_trash, sizeof(void *)))
			return; /* out of memory: better lost than freed while lent */
		h->trash = list;
	}
	h->trash[h->n_trash++] = p;
}

void act_begin(struct hub *h)
{
	h->n_acts = 0;
	for (size_t i = 0; i < h->n_trash; i++)
		free(h->trash[i]);
	h->n_trash = 0;
}

void act_fini(struct hub *h)
{
	act_begin(h);
	free(h->acts);
	free(h->trash);
	buf_fini(&h->scratch);
	buf_fini(&h->record);
}

void act_log(struct hub *h, int level, struct buf *text)
{
	struct hub_action *act = act_new(h, HUB_ACT_LOG);

	act->level = level;
	act->text = buf_span(text);
	act_trash(h, text->p);
}

void act_control(struct hub *h, const struct agent *a, unsigned verb, uint64_t epoch, struct span job, uint64_t attempt,
	uint64_t index)
{
	struct hub_action *act = act_new(h, HUB_ACT_CONTROL);

	act->agent = span_of(a->id);
	act->control = (struct control){ .verb = verb, .epoch = epoch, .job = job, .attempt = attempt, .index = index };
}

void act_job_control(struct hub *h, const struct job *j, unsigned verb, uint64_t index)
{
	act_control(h, j->agent, verb, j->epoch, span_of(j->id.s), j->attempt, index);
}

uint64_t act_persist(struct hub *h, enum hub_persist_kind kind, const struct job *j)
{
	struct hub_action *act = act_new(h, HUB_ACT_PERSIST);

	act->persist.seq = ++h->persist_seq;
	act->persist.kind = kind;
	act->persist.job = span_of(j->id.s);
	act->persist.attempt = j->attempt;
	if (h->config.journal != HUB_JOURNAL_OFF)
		journal_body(h, j, &act->persist);
	return act->persist.seq;
}

struct answer *act_answer(struct hub *h, const struct job *j, unsigned type)
{
	struct hub_action *act = act_new(h, HUB_ACT_ANSWER);

	act->reply = j->reply.to;
	act->stream = j->stream;
	act->answer.type = type;
	act->answer.job = span_of(j->id.s);
	act->answer.id = span_of(j->key);
	act->answer.model = span_of(j->model_name);
	act->answer.correlation = j->reply.correlation;
	return &act->answer;
}

void act_tokens(struct hub *h, struct job *j, struct mark to)
{
	struct mark from = j->shown;
	struct answer *a;

	if (to.id <= from.id)
		return;
	a = act_answer(h, j, ANSWER_TOKENS);
	a->index = from.id;
	a->n = to.id - from.id;
	a->text = span_mem(j->text.p + from.byte, to.byte - from.byte);
	if (to.prob > from.prob)
		a->probs = span_mem(j->probs.p + from.prob, to.prob - from.prob);
	msg_set(a, ANSWER_INDEX);
	msg_set(a, ANSWER_TEXT);
	j->last = from;
	j->shown = to;
}

void act_loading(struct hub *h, struct job *j)
{
	struct answer *a = act_answer(h, j, ANSWER_PROGRESS);

	a->state = span_of(model_state_names[MODEL_LOADING]);
	a->percent = j->load_percent;
	msg_set(a, ANSWER_PERCENT);
}

static struct receipt receipt_of(const struct job *j)
{
	struct receipt r = {
		.has = ~UINT64_C(0),
		.agent = j->agent != NULL ? span_of(j->agent->id) : SPAN_NONE,
		.route = span_of(j->route),
		.attempts = j->attempt,
		.queue_ms = (double)j->queue_total_ms,
		.wait_ms = (double)j->agent_wait_ms + (double)j->timings.wait_us / 1000,
		.prefill_ms = (double)j->timings.prefill_us / 1000,
		.decode_ms = (double)j->timings.decode_us / 1000,
		.total_ms = (double)(j->ended_ms - j->submitted_ms),
		.continuity = span_of(hub_continuity_names[j->continuity]),
		.load_ms = (double)j->load_ms,
		.candidates = j->candidates,
		.n_candidates = j->n_candidates,
		.expected_ms = j->expected_ms,
		.cached_tokens = j->usage.cached_tokens,
	};

	if (j->continuity == HUB_CONTINUITY_NONE)
		r.has &= ~(UINT64_C(1) << RECEIPT_CONTINUITY);
	session_receipt(j, &r);
	return r;
}

struct receipt act_receipt(const struct job *j)
{
	return j->end != NULL ? j->end->receipt : receipt_of(j); /* end: told in another run */
}

static void tell_vectors(const struct job *j, struct answer *a)
{
	a->vectors = buf_span(&j->probs);
	a->n_vectors = j->n_ids;
	a->finish_reason = j->finish;
	a->usage = (struct usage){ .has = ~UINT64_C(0), .prompt_tokens = j->n_tokens };
	msg_set(a, ANSWER_FINISH);
}

/* As it was told in the last run. */
static void fill_kept_end(const struct job *j, struct answer *a)
{
	*a = *j->end;
	if (a->type == ANSWER_ERROR)
		return;
	if (j->is_embedding) {
		a->vectors = buf_span(&j->probs);
		a->n_vectors = j->n_ids;
		return;
	}
	a->text = buf_span(&j->text);
	a->probs = buf_span(&j->probs);
	msg_set(a, ANSWER_TEXT);
}

void act_fill_end(const struct job *j, struct answer *a)
{
	bool is_error = j->state == HUB_JOB_FAILED || j->state == HUB_JOB_EXPIRED;

	if (j->end != NULL) {
		fill_kept_end(j, a);
		return;
	}
	a->type = is_error ? ANSWER_ERROR : ANSWER_DONE;
	a->receipt = receipt_of(j);
	if (is_error) {
		a->code = span_of(code_name(j->code));
		a->message = span_of(j->message != NULL ? j->message : code_info(j->code)->text);
		a->retry_after_ms = j->retry_after_ms;
		return;
	}
	if (j->is_embedding) {
		tell_vectors(j, a);
		return;
	}
	a->text = buf_span(&j->text);
	a->probs = buf_span(&j->probs);
	a->finish_reason = j->finish;
	a->usage = j->usage;
	a->usage.has = ~UINT64_C(0); /* zeros are said, too */
	a->usage.completion_tokens = j->n_ids;
	msg_set(a, ANSWER_TEXT);
	msg_set(a, ANSWER_FINISH);
}

void act_end(struct hub *h, const struct job *j)
{
	struct answer end = { 0 }, *a = act_answer(h, j, ANSWER_DONE), whose = *a;

	act_fill_end(j, &end);
	*a = end;
	a->job = whose.job;
	a->id = whose.id;
	a->model = whose.model;
	a->correlation = whose.correlation;
}

int act_copy(struct hub *h, const struct msg_type *t, const void *m, void **ret, struct span *ret_body)
{
	size_t size = msg_clone_size(t, m);
	uint8_t *block;

	buf_reset(&h->scratch);
	if (ret_body != NULL) {
		int rc = msg_encode(t, m, MSG_KEYS_INT, &h->scratch);

		if (rc < 0)
			return rc;
	}
	block = malloc(size + h->scratch.n);
	if (block == NULL)
		return ERR_NOMEM;
	msg_clone_into(t, m, block);
	if (ret_body != NULL) {
		memcpy(block + size, h->scratch.p, h->scratch.n);
		*ret_body = span_mem(block + size, h->scratch.n);
	}
	*ret = block;
	return 0;
}
