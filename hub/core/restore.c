/* restore.c - a new run of the hub: jobs from the records of the last one.
 *
 * Ended jobs answer a repeated id again; an end whose delivery is not recorded is told once
 * more.  Jobs that wait are queued.  A job that was being tried is not tried anew: the
 * agent may still be at it, and keeps what it generates.  It is held until that life of
 * that agent shows up, which is then asked for everything from the index that is in the
 * journal; when another life does, or nobody for rejoin_ms, the attempt has failed.
 *
 * What was shown of the last two records of tokens is not known: they are shown once more, with
 * their indexes.  The core's clock is its own, so times come as ages. */
#include "core.h"

#include <stdlib.h>

#define ARENA ((size_t)256 << 10) /* the lists of the largest request there may be */

/* ---- records ---- */

static bool decode(const struct msg_type *t, struct span bytes, struct arena *arena, void *ret)
{
	return msg_decode(t, bytes, MSG_KEYS_INT, arena, ret, NULL) == 0;
}

static int set_reply(struct job *j, const struct record_reply *r)
{
	struct hub_reply to = { .format = (unsigned)r->format, .topic = r->topic, .correlation = r->mqtt_correlation };
	struct reply copy;
	int rc = submit_reply_copy(&to, r->correlation, &copy);

	if (rc < 0)
		return rc;
	free(j->reply.mem);
	j->reply = copy;
	j->stream = r->stream;
	j->cancel_on_disconnect = r->cancel_on_disconnect;
	j->is_deaf = r->is_http || r->is_deaf; /* a connection is gone: whoever has an id comes again */
	return 0;
}

static struct job *job_blank(struct hub *h, struct span id, struct span user, struct span key, struct span model)
{
	struct job *j = calloc(1, sizeof(*j));

	if (j == NULL || timers_reserve(&h->timers) < 0) {
		free(j);
		return NULL;
	}
	j->timer.kind = TIMER_JOB;
	list_init(&j->all);
	list_init(&j->place);
	list_init(&j->persist);
	list_init(&j->telling);
	j->text = BUF_INIT(PROTO_MAX_ANSWER);
	j->probs = BUF_INIT(LOGPROB_MAX_BYTES);
	if (span_copy(id, j->id.s, sizeof(j->id.s)) == 0 && span_copy(user, j->user, sizeof(j->user)) == 0 &&
		span_copy(key, j->key, sizeof(j->key)) == 0 && span_copy(model, j->model_name, sizeof(j->model_name)) == 0)
		return j;
	timers_release(&h->timers, &j->timer);
	free(j);
	return NULL;
}

static void job_discard(struct hub *h, struct job *j)
{
	timers_release(&h->timers, &j->timer);
	models_unref(h, j->model);
	free(j->reply.mem);
	free(j->submit);
	free(j->cuts);
	free(j->end);
	free(j->message);
	buf_fini(&j->text);
	buf_fini(&j->probs);
	free(j);
}

/* ---- live ones ---- */

static int fill(struct hub *h, struct job *j, const struct record_submit *m, uint64_t age_ms, struct arena *arena)
{
	struct submit body;
	int rc = set_reply(j, &m->reply);

	if (rc < 0)
		return rc;
	if (!decode(&submit_type, m->body, arena, &body))
		return ERR_MALFORMED;
	rc = submit_body_copy(h, &body, &j->submit, &j->body);
	if (rc < 0)
		return rc;
	j->submit_bytes = j->body.n;
	j->model = models_get(h, m->model);
	if (j->model == NULL)
		return ERR_NOMEM;
	if (m->digest.n == sizeof(j->digest))
		memcpy(j->digest, m->digest.p, m->digest.n);
	j->sampling = submit_sampling(j->submit);
	j->sampling.seed = m->seed;
	msg_set(&j->sampling, SAMPLING_SEED);
	sampling_defaults(&j->sampling);
	j->is_embedding = j->submit->n_input > 0;
	if (j->is_embedding)
		j->sampling.max_tokens = 0;
	j->priority = j->submit->priority;
	j->submitted_ms = h->now_ms - age_ms; /* wraps when the clock is younger: only differences count */
	j->queued_ms = h->now_ms;
	j->deadline_ms =
		m->deadline_ms == 0 ? UINT64_MAX : h->now_ms + (m->deadline_ms > age_ms ? m->deadline_ms - age_ms : 0);
	return affinity_job(h, j);
}

static void restore_submit(struct hub *h, const struct hub_record *r, struct arena *arena)
{
	struct record_submit m;
	struct job *j;

	if (!decode(&record_submit_type, r->body, arena, &m) || jobs_find(h, m.job) != NULL)
		return;
	j = job_blank(h, m.job, m.user, m.id, m.model);
	if (j == NULL)
		return;
	if (fill(h, j, &m, r->age_ms, arena) < 0) {
		job_discard(h, j);
		return;
	}
	j->rank = ++h->last_rank;
	j->number = r->number;
	j->state = HUB_JOB_QUEUED;
	j->is_resting = true;
	j->not_before_ms = UINT64_MAX; /* until all is restored */
	h->counters.jobs_restored++;
	jobs_link(h, j);
	session_join(h, j);
}

static void restore_attempt(struct hub *h, struct job *j, const struct hub_record *r, struct arena *arena)
{
	struct record_attempt m;

	if (!decode(&record_attempt_type, r->body, arena, &m) || m.attempt <= j->attempt || m.index > j->n_ids ||
		m.text_bytes > j->text.n || m.prob_bytes > j->probs.n)
		return; /* known: a note may be of what the journal has, too */
	j->n_ids = m.index;
	j->text.n = m.text_bytes;
	j->probs.n = m.prob_bytes;
	j->kept = journal_mark(j);
	if (j->shown.id > j->kept.id)
		j->shown = j->kept;
	if (j->last.id > j->kept.id)
		j->last = j->kept;
	j->attempt = m.attempt;
	j->epoch = m.epoch;
	j->barren = m.barren;
	j->kills = m.kills;
	j->is_burned = m.may_hedge;
	j->continuity = (enum hub_continuity)m.continuity;
	j->first_id = m.index;
	j->first_byte = m.text_bytes;
	j->first_prob = m.prob_bytes;
	j->agent = fleet_get(h, m.agent);
	if (span_copy(m.route, j->route_kept, sizeof(j->route_kept)) == 0)
		j->route = j->route_kept;
}

static void restore_tokens(struct hub *h, struct job *j, const struct hub_record *r, struct arena *arena)
{
	struct mark before = journal_mark(j);
	struct record_tokens m;
	uint32_t *ids;

	if (!decode(&record_tokens_type, r->body, arena, &m))
		return;
	if (m.index == j->first_id && m.index < j->n_ids) { /* this attempt's part was thrown away */
		j->n_ids = j->first_id;
		j->text.n = j->first_byte;
		j->probs.n = j->first_prob;
		before = journal_mark(j);
	}
	if (m.index != j->n_ids || m.n_ids > PROTO_MAX_TOKENS - j->n_ids)
		return;
	if (j->n_ids + m.n_ids > j->cap_ids) {
		size_t cap = j->cap_ids > 0 ? j->cap_ids : 64;

		while (cap < j->n_ids + m.n_ids)
			cap *= 2;
		ids = realloc(j->ids, cap * sizeof(*ids));
		if (ids == NULL)
			return;
		j->ids = ids;
		j->cap_ids = cap;
	}
	buf_add_span(&j->text, m.text);
	buf_add_span(&j->probs, m.probs);
	memcpy(j->ids + j->n_ids, m.ids, m.n_ids * sizeof(*ids));
	j->n_ids += m.n_ids;
	if (!m.joins) {
		j->last = j->shown;
		j->shown = before;
	}
	j->kept = journal_mark(j);
	jobs_weigh(h, j);
}

static void restore_reply(struct job *j, const struct hub_record *r, struct arena *arena)
{
	struct record_reply m;

	if (decode(&record_reply_type, r->body, arena, &m) && set_reply(j, &m) == 0)
		j->shown = j->last = (struct mark){ 0 }; /* to an address that has seen nothing */
}

/* ---- ended ones ---- */

static struct answer *answer_copy(struct span bytes)
{
	size_t head = (sizeof(struct answer) + 15) & ~(size_t)15, lists = 32 * bytes.n + 4096;
	struct arena arena = { .cap = lists };
	uint8_t *p = malloc(head + lists + bytes.n);
	struct span own;

	if (p == NULL)
		return NULL;
	arena.p = p + head;
	own = span_mem(p + head + lists, bytes.n);
	memcpy(p + head + lists, bytes.p, bytes.n);
	if (decode(&answer_type, own, &arena, p))
		return (struct answer *)(void *)p;
	free(p);
	return NULL;
}

/* All of the answer, where the record names a place beyond it. */
static struct mark mark_within(const struct job *j, uint64_t id, uint64_t byte, uint64_t prob)
{
	bool is_within = id <= j->n_ids && byte <= j->text.n && prob <= j->probs.n;

	return is_within ? (struct mark){ id, byte, prob } : journal_mark(j);
}

static bool fill_end(struct job *j, const struct record_end *m)
{
	if (set_reply(j, &m->reply) < 0 || (j->end = answer_copy(m->answer)) == NULL)
		return false;
	if (m->digest.n == sizeof(j->digest))
		memcpy(j->digest, m->digest.p, m->digest.n);
	buf_add_span(&j->text, m->text);
	buf_add_span(&j->probs, m->probs);
	j->state = (enum hub_job_state)m->state;
	j->is_embedding = m->is_embedding;
	j->n_ids = m->n_ids;
	j->shown = mark_within(j, m->shown_ids, m->shown_text, m->shown_probs);
	j->last = mark_within(j, m->last_ids, m->last_text, m->last_probs);
	j->attempt = j->end->receipt.attempts;
	j->finish = (enum finish)j->end->finish_reason;
	if (j->end->code.n > 0 && code_by_name(j->end->code) != NULL)
		j->code = (enum code)code_by_name(j->end->code)->number;
	if (j->end->message.n > 0)
		j->message = span_str(j->end->message);
	return j->text.err == 0 && j->probs.err == 0 && !jobs_is_live(j);
}

static struct job *end_from(struct hub *h, const struct hub_record *r, struct arena *arena)
{
	struct record_end m;
	struct job *j;

	if (!decode(&record_end_type, r->body, arena, &m))
		return NULL;
	j = jobs_find(h, m.job);
	if (j != NULL && !jobs_is_live(j))
		return j;
	if (j != NULL) { /* of which there are records left */
		jobs_unplace(h, j);
		jobs_free(h, j);
	}
	j = job_blank(h, m.job, m.user, m.id, m.model);
	if (j == NULL)
		return NULL;
	if (!fill_end(j, &m)) {
		job_discard(h, j);
		return NULL;
	}
	j->number = r->number;
	j->ended_ms = h->now_ms - r->age_ms;
	j->submitted_ms = j->ended_ms - m.total_ms;
	j->deadline_ms = UINT64_MAX;
	jobs_link_ended(h, j);
	return j;
}

struct job *restore_end(struct hub *h, const struct hub_record *r)
{
	struct arena arena = { .p = malloc(ARENA), .cap = ARENA };
	struct job *j = arena.p != NULL ? end_from(h, r, &arena) : NULL;

	free(arena.p);
	return j;
}

/* ---- events ---- */

void restore_event(struct hub *h, const struct hub_event *ev)
{
	const struct hub_record *r = ev->record;
	struct arena arena = { .cap = ARENA };
	struct job *j;

	if (r->kind == HUB_PERSIST_CANARY)
		variant_restore(h, r);
	if (r->kind == HUB_PERSIST_ADMIN)
		admin_restore(h, r);
	if (r->kind == HUB_PERSIST_SESSION)
		session_restore(h, r);
	if (r->kind >= HUB_PERSIST_FIRST_VALUE)
		return; /* of parts that are not here */
	j = jobs_find(h, r->job);
	arena.p = malloc(arena.cap);
	if (arena.p == NULL)
		return;
	if (r->kind == HUB_PERSIST_SUBMIT)
		restore_submit(h, r, &arena);
	else if (r->kind == HUB_PERSIST_END)
		(void)end_from(h, r, &arena);
	else if (r->kind == HUB_PERSIST_TOLD && j != NULL)
		j->is_told = true;
	else if (j == NULL || !jobs_is_live(j))
		; /* its beginning was lost: nobody was promised anything */
	else if (r->kind == HUB_PERSIST_ATTEMPT)
		restore_attempt(h, j, r, &arena);
	else if (r->kind == HUB_PERSIST_TOKENS)
		restore_tokens(h, j, r, &arena);
	else if (r->kind == HUB_PERSIST_REPLY)
		restore_reply(j, r, &arena);
	free(arena.p);
}

static void hold_for(struct job *j)
{
	j->rejoins = true;
	j->is_resting = true;
	j->not_before_ms = UINT64_MAX; /* counts from the link on: jobs_restart_clocks() */
	list_add_tail(&j->agent->rejoin, &j->place);
}

void restore_done(struct hub *h, const struct hub_event *ev)
{
	unsigned long long n_queued = 0, n_tried = 0;

	h->last_number = ev->seq > h->last_number ? ev->seq : h->last_number;
	LIST_EACH(l, &h->live)
	{
		struct job *j = CONTAINER(l, struct job, all);

		j->is_unsure = h->config.journal == HUB_JOURNAL_ASYNC && j->stream && !j->is_deaf && j->attempt > 0;
		if (j->is_deaf && j->key[0] == '\0') {
			jobs_cancel(h, j); /* its connection is gone and nobody can ask for it */
		} else if (j->agent != NULL) {
			hold_for(j);
			jobs_arm(h, j);
			n_tried++;
		} else {
			j->not_before_ms = 0;
			jobs_enqueue(h, j);
			n_queued++;
		}
	}
	jobs_forget_old(h);
	if (h->n_live + h->n_ended > 0)
		HUB_SAY(h, SAY_NOTICE,
			"%llu jobs that waited and %llu that ran are taken up again, %llu ended ones are known", n_queued,
			n_tried, (unsigned long long)h->n_ended);
}

/* The frame before the last record may have been in our buffers, too, when that was written. */
static void show_again(struct hub *h, struct job *j, struct mark to)
{
	struct mark middle = j->shown;

	j->shown = j->last;
	act_tokens(h, j, middle);
	act_tokens(h, j, to);
}

/* The link is up for the first time: clients hear what they may have missed. */
void restore_link_up(struct hub *h)
{
	if (h->has_retold)
		return;
	h->has_retold = true;
	if (h->n_live + h->n_ended > 0)
		h->settle_until_ms = h->now_ms + h->config.rejoin_ms;
	LIST_EACH(l, &h->ended)
	{
		struct job *j = CONTAINER(l, struct job, all);

		if (j->end == NULL || j->is_told || j->is_deaf)
			continue;
		if (j->stream)
			show_again(h, j, journal_mark(j));
		act_end(h, j);
	}
	LIST_EACH(l, &h->live)
	{
		struct job *j = CONTAINER(l, struct job, all);

		if (!j->stream || j->is_deaf)
			continue;
		act_answer(h, j, ANSWER_ACCEPTED)->state = span_of(hub_job_state_names[j->state]);
		show_again(h, j, j->kept);
	}
}

/* ---- agents come back, or not ---- */

static void rejoin(struct hub *h, struct job *j, struct agent *a)
{
	j->rejoins = j->is_resting = false;
	jobs_unplace(h, j);
	j->state = j->n_ids > j->first_id ? HUB_JOB_RUNNING : HUB_JOB_DISPATCHED;
	j->heard_ms = j->token_ms = h->now_ms;
	j->asked_ms = j->tries = j->n_frames = 0;
	j->begun_ms = h->now_ms;
	j->has_token = j->n_ids > j->first_id;
	poison_begin(h, j);
	session_begun(h, j);
	attempt_assign(h, j, a);
	continuity_rejoined(h, j);
	h->counters.jobs_rejoined++;
	attempt_resend(h, j);
	jobs_arm(h, j);
}

void restore_give_up(struct hub *h, struct job *j)
{
	j->rejoins = j->is_resting = false;
	attempt_failed(h, j, CODE_AGENT_LOST, SPAN("it was gone when the hub came back"));
}

/* The record of an attempt that had failed by then says nothing of that: two jobs of which one must run alone
 * may both be found here. */
static bool may_rejoin(const struct hub *h, const struct job *j, const struct agent *a)
{
	const struct hold *o = models_hold(a, j->model);

	return o == NULL || poison_lets(h, j, o);
}

void restore_agent_up(struct hub *h, struct agent *a)
{
	LIST_EACH(l, &a->rejoin)
	{
		struct job *j = CONTAINER(l, struct job, place);

		if (j->epoch == a->reg->epoch && may_rejoin(h, j, a))
			rejoin(h, j, a);
		else if (j->epoch == a->reg->epoch)
			restore_give_up(h, j);
	}
	LIST_EACH(l, &a->rejoin) /* when all that run there are counted */
	{
		struct job *j = CONTAINER(l, struct job, place);

		if (j->epoch < a->reg->epoch)
			restore_give_up(h, j);
	}
}

void restore_agent_forgotten(struct hub *h, struct agent *a)
{
	LIST_EACH(l, &a->rejoin)
	restore_give_up(h, CONTAINER(l, struct job, place));
}

void restore_agent_gone(struct hub *h, struct agent *a)
{
	LIST_EACH(l, &a->rejoin)
	{
		struct job *j = CONTAINER(l, struct job, place);

		if (j->epoch > a->reg->epoch)
			continue; /* that was a life before */
		j->not_before_ms = h->now_ms + h->config.will_grace_ms;
		jobs_arm(h, j);
	}
}
