/* journal.c - what is written down of a job, and what waits until it is safe.
 *
 * Four things are promises to someone outside, so each waits for its record: an attempt
 * before the agent hears of it, a job before its client hears "accepted", tokens of a
 * stream before they are shown (unless the journal is asynchronous), an end before it is
 * told and before the agent may forget the tokens.  So a hub that starts again knows at
 * least what anybody outside knows, and contradicts nobody.  Safe is what outlives the
 * machine; for a first attempt it is enough to outlive the hub (journal_note).
 *
 * A job has at most one record of tokens on its way: what comes meanwhile goes into the
 * next.  That is a group commit by itself: the slower the disk, the longer the records.
 * Tokens that nobody has been shown are written only when the next attempt begins behind
 * them; until then the agent has them.  That record is shown with the one before, if that
 * is still on its way, and says so: a hub that starts again repeats frames as they were. */
#include "core.h"

#include <stdlib.h>

/* ---- records ---- */

static struct record_reply reply_of(const struct job *j)
{
	const struct hub_reply *r = &j->reply.to;

	return (struct record_reply){
		.is_http = r->conn != 0,
		.stream = j->stream,
		.cancel_on_disconnect = j->cancel_on_disconnect,
		.format = r->format,
		.topic = r->topic,
		.mqtt_correlation = r->correlation,
		.correlation = j->reply.correlation,
		.is_deaf = j->is_deaf,
	};
}

static struct span digest_of(const struct job *j)
{
	return j->key[0] != '\0' ? span_mem(j->digest, sizeof(j->digest)) : SPAN_NONE;
}

static int put_submit(struct hub *h, const struct job *j)
{
	struct record_submit m = {
		.job = span_of(j->id.s),
		.user = span_of(j->user),
		.id = span_of(j->key),
		.model = span_of(j->model_name),
		.digest = digest_of(j),
		.body = j->body,
		.seed = j->sampling.seed,
		.deadline_ms = j->deadline_ms != UINT64_MAX ? j->deadline_ms - j->submitted_ms : 0,
		.reply = reply_of(j),
	};

	return msg_encode(&record_submit_type, &m, MSG_KEYS_INT, &h->record);
}

static int put_attempt(struct hub *h, const struct job *j)
{
	struct record_attempt m = {
		.agent = span_of(j->agent->id),
		.route = span_of(j->route),
		.attempt = j->attempt,
		.epoch = j->epoch,
		.index = j->first_id,
		.text_bytes = j->first_byte,
		.prob_bytes = j->first_prob,
		.barren = j->barren,
		.may_hedge = h->config.hedge_percent > 0,
		.kills = j->kills,
		.continuity = j->continuity,
		.engine = j->agent->reg->engine,
	};

	return msg_encode(&record_attempt_type, &m, MSG_KEYS_INT, &h->record);
}

static int put_tokens(struct hub *h, const struct job *j)
{
	const struct mark *k = &j->kept;
	struct record_tokens m = {
		.index = k->id,
		.ids = j->ids + k->id,
		.n_ids = j->n_ids - k->id,
		.text = span_mem(j->text.p + k->byte, j->text.n - k->byte),
		.probs = span_mem(j->probs.p + k->prob, j->probs.n - k->prob),
		.joins = j->shown.id < k->id,
	};

	return msg_encode(&record_tokens_type, &m, MSG_KEYS_INT, &h->record);
}

static int put_reply(struct hub *h, const struct job *j)
{
	struct record_reply m = reply_of(j);

	return msg_encode(&record_reply_type, &m, MSG_KEYS_INT, &h->record);
}

/* The answer with all that is said of it, but for what the job has in other places. */
static int put_end(struct hub *h, const struct job *j)
{
	struct answer a = { 0 };
	struct record_end m = {
		.job = span_of(j->id.s),
		.user = span_of(j->user),
		.id = span_of(j->key),
		.model = span_of(j->model_name),
		.digest = digest_of(j),
		.state = j->state,
		.reply = reply_of(j),
		.n_ids = j->n_ids,
		.is_embedding = j->is_embedding,
		.total_ms = j->ended_ms - j->submitted_ms,
		.text = buf_span(&j->text),
		.probs = buf_span(&j->probs),
		.shown_ids = j->shown.id,
		.shown_text = j->shown.byte,
		.shown_probs = j->shown.prob,
		.last_ids = j->last.id,
		.last_text = j->last.byte,
		.last_probs = j->last.prob,
	};
	int rc;

	act_fill_end(j, &a);
	a.text = a.probs = a.vectors = SPAN_NONE;
	buf_reset(&h->scratch);
	rc = msg_encode(&answer_type, &a, MSG_KEYS_INT, &h->scratch);
	m.answer = buf_span(&h->scratch);
	return rc < 0 ? rc : msg_encode(&record_end_type, &m, MSG_KEYS_INT, &h->record);
}

static int put(struct hub *h, const struct job *j, enum hub_persist_kind kind)
{
	switch (kind) {
	case HUB_PERSIST_SUBMIT: return put_submit(h, j);
	case HUB_PERSIST_ATTEMPT: return put_attempt(h, j);
	case HUB_PERSIST_TOKENS: return put_tokens(h, j);
	case HUB_PERSIST_REPLY: return put_reply(h, j);
	case HUB_PERSIST_END: return put_end(h, j);
	default: return 0; /* TOLD says all by its kind */
	}
}

/* Out of memory: an entry without a body, which the shell takes for a loss. */
static struct span lend(struct hub *h, struct span bytes)
{
	void *p = bytes.n > 0 ? malloc(bytes.n) : NULL;

	if (p == NULL)
		return SPAN_NONE;
	memcpy(p, bytes.p, bytes.n);
	act_trash(h, p);
	return span_mem(p, bytes.n);
}

void journal_body(struct hub *h, const struct job *j, struct hub_record *r)
{
	r->number = j->number;
	r->has_reader = j->reply.to.conn == 0 && !j->is_deaf;
	r->user = span_of(j->user);
	r->key = span_of(j->key);
	r->state = j->state;
	buf_reset(&h->record);
	if (put(h, j, r->kind) == 0)
		r->body = lend(h, buf_span(&h->record));
}

uint64_t journal_value(struct hub *h, enum hub_persist_kind kind, struct span key, struct span value)
{
	struct hub_action *act = act_new(h, HUB_ACT_PERSIST);

	act->persist = (struct hub_record){ .seq = ++h->persist_seq, .kind = kind };
	if (h->config.journal == HUB_JOURNAL_OFF)
		return h->persist_seq;
	act->persist.job = lend(h, key);
	act->persist.body = lend(h, value);
	return act->persist.seq;
}

/* ---- what the client may see ---- */

static void wait_for(struct hub *h, struct job *j, uint64_t seq)
{
	j->tell_seq = seq;
	list_del(&j->telling);
	list_add_tail(&h->telling, &j->telling);
}

/* A first try may leave as soon as its entry outlives the hub itself.  What a power cut takes then is a job that nobody
 * was promised, or one that is tried for the first time once more, by the same number, with the same seed and no token
 * shown: the other run of it is fenced off, or gives the same.  A job with an id of its client's is taken only when the
 * journal has looked whether it knows the id, and a further attempt must never have the number of another. */
bool journal_note(struct hub *h, const struct job *j)
{
	struct hub_record *r = &h->acts[h->n_acts - 1].persist;
	size_t size = r->body.n + HUB_NOTE_HEAD;

	if (!h->config.notes || r->body.n == 0 || j->attempt > 1 || (j->attempt == 0 && j->key[0] != '\0') ||
		h->notes.old_bytes + h->notes.bytes + size > HUB_NOTES_MAX)
		return false;
	h->notes.bytes += size;
	h->notes.seq = r->seq;
	r->note = true;
	return true;
}

/* Those up to the last at the time before are safe. */
static void forget_notes(struct hub *h, uint64_t seq)
{
	if (seq < h->notes.old_seq)
		return;
	h->notes.old_seq = h->notes.seq;
	h->notes.old_bytes = seq >= h->notes.seq ? 0 : h->notes.bytes;
	h->notes.bytes = 0;
}

/* To an agent, if one has room; the client hears of it when the entry is safe. */
void journal_go_ahead(struct hub *h, struct job *j)
{
	j->owes_accepted = j->stream && !j->is_deaf;
	wait_for(h, j, j->persist_seq);
	jobs_go_on(h, j);
}

static uint64_t write_tokens(struct hub *h, struct job *j)
{
	uint64_t seq;

	if (j->kept.id == j->n_ids)
		return 0;
	seq = act_persist(h, HUB_PERSIST_TOKENS, j);
	j->kept = journal_mark(j);
	return seq;
}

void journal_rest(struct hub *h, struct job *j)
{
	uint64_t seq = h->config.journal != HUB_JOURNAL_OFF ? write_tokens(h, j) : 0;

	if (seq != 0 && j->tell_seq != 0)
		wait_for(h, j, seq); /* tell() shows all that is in records */
}

/* What came of this attempt is thrown away; nobody was shown any of it. */
void journal_take_back(struct hub *h, struct job *j)
{
	if (j->kept.id <= j->n_ids)
		return;
	j->kept = journal_mark(j);
	(void)act_persist(h, HUB_PERSIST_TOKENS, j); /* none, from there on */
}

void journal_show(struct hub *h, struct job *j)
{
	uint64_t seq;

	if (!j->stream || j->is_deaf)
		return;
	if (h->config.journal == HUB_JOURNAL_SYNC && RULE(h, JOURNAL_FORWARD)) {
		if (j->tell_seq == 0 && (seq = write_tokens(h, j)) != 0)
			wait_for(h, j, seq);
		return;
	}
	if (j->owes_accepted)
		return; /* which comes first: tell() */
	journal_rest(h, j);
	act_tokens(h, j, journal_mark(j));
}

bool journal_end(struct hub *h, struct job *j)
{
	uint64_t seq = act_persist(h, HUB_PERSIST_END, j);

	if (h->config.journal == HUB_JOURNAL_OFF)
		return false;
	if (RULE(h, JOURNAL_END)) {
		wait_for(h, j, seq);
		return true;
	}
	if (j->stream && !j->is_deaf)
		act_tokens(h, j, journal_mark(j));
	return false;
}

bool journal_took_over(struct hub *h, struct job *j)
{
	bool is_live = jobs_is_live(j);

	j->is_unsure = false;
	if (h->config.journal == HUB_JOURNAL_OFF || (!is_live && j->tell_seq == 0))
		return false;
	if (is_live && j->stream)
		(void)write_tokens(h, j); /* says what the old address was shown */
	j->shown = j->last = (struct mark){ 0 };
	if (!is_live)
		return true; /* the end that is on its way goes to the new address */
	j->owes_accepted = j->stream;
	wait_for(h, j, act_persist(h, HUB_PERSIST_REPLY, j));
	return true;
}

static void tell(struct hub *h, struct job *j)
{
	bool is_live = jobs_is_live(j), is_heard = !j->is_deaf;

	list_del(&j->telling);
	j->tell_seq = 0;
	if (j->owes_accepted && is_heard)
		act_answer(h, j, ANSWER_ACCEPTED)->state =
			span_of(hub_job_state_names[is_live ? j->state : HUB_JOB_RUNNING]);
	j->owes_accepted = false;
	if (j->stream && is_heard)
		act_tokens(h, j, is_live ? j->kept : journal_mark(j));
	if (is_live) {
		journal_show(h, j); /* what has come meanwhile */
		return;
	}
	if (is_heard)
		act_end(h, j);
	if (j->owes_confirm)
		act_job_control(h, j, CONTROL_END, 0);
	j->owes_confirm = false;
}

void journal_safe(struct hub *h, uint64_t seq)
{
	bool is_any_over = false;

	forget_notes(h, seq);
	while (!list_empty(&h->telling)) {
		struct job *j = CONTAINER(h->telling.next, struct job, telling);

		if (j->tell_seq > seq)
			break;
		tell(h, j);
		is_any_over |= !jobs_is_live(j);
	}
	if (is_any_over)
		jobs_forget_old(h);
}

/* ---- what came of it ---- */

void journal_told(struct hub *h, const struct hub_event *ev)
{
	struct job *j = jobs_find(h, ev->job);

	if (j == NULL || jobs_is_live(j) || j->is_told || j->tell_seq != 0 || h->config.journal == HUB_JOURNAL_OFF)
		return;
	j->is_told = true;
	(void)act_persist(h, HUB_PERSIST_TOLD, j);
}

/* The journal knows the id, which is forgotten here: the job just taken is none. */
void journal_known(struct hub *h, const struct hub_event *ev)
{
	struct job *j = jobs_find(h, ev->job), *old;
	struct hub_action *act;
	enum code code;

	if (j == NULL || !jobs_is_live(j))
		return;
	old = restore_end(h, ev->record);
	if (old != NULL && memcmp(old->digest, j->digest, sizeof(j->digest)) == 0) {
		struct reply r = old->reply;

		old->reply = j->reply;
		j->reply = r;
		old->stream = j->stream;
		old->is_deaf = j->is_deaf;
		if (!old->is_deaf)
			act_end(h, old);
	} else if (!j->is_deaf) {
		code = old != NULL ? CODE_CONFLICT : CODE_RESULT_GONE;
		act = act_new(h, HUB_ACT_ANSWER);
		act->reply = j->reply.to;
		act->stream = j->stream;
		act->answer.type = ANSWER_ERROR;
		act->answer.id = span_of(j->key);
		act->answer.correlation = j->reply.correlation;
		act->answer.code = span_of(code_name(code));
		act->answer.message = span_of(code_info(code)->text);
	}
	h->counters.jobs_repeated++;
	jobs_unplace(h, j);
	jobs_free(h, j);
}
