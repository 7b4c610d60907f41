/* jobs.c - a job's life, from its place in a queue to its one end.
 *
 * Live jobs are in hub.live, ended ones in hub.ended (oldest first): those are kept so
 * that a repeated id is answered with the same end, until there are too many or memory
 * is needed. */
#include "core.h"

#include <stdlib.h>

#define CANCEL_TRIES 20 /* repeats of a CANCEL whose agent lives but does not answer */

struct job *jobs_find(const struct hub *h, struct span id)
{
	uint64_t hash = table_hash(h->hash_seed, id);

	for (struct node *n = table_first(&h->jobs, hash); n != NULL; n = table_next(n)) {
		struct job *j = CONTAINER(n, struct job, by_id);

		if (span_is(id, j->id.s))
			return j;
	}
	return NULL;
}

static uint64_t key_hash(const struct hub *h, struct span user, struct span key)
{
	return table_hash(table_hash(h->hash_seed, user), key);
}

struct job *jobs_find_key(const struct hub *h, struct span user, struct span key)
{
	uint64_t hash = key_hash(h, user, key);

	for (struct node *n = table_first(&h->by_key, hash); n != NULL; n = table_next(n)) {
		struct job *j = CONTAINER(n, struct job, by_key);

		if (span_is(user, j->user) && span_is(key, j->key))
			return j;
	}
	return NULL;
}

/* ---- memory ---- */

void jobs_weigh(struct hub *h, struct job *j)
{
	size_t bytes = sizeof(*j) + j->text.cap + j->probs.cap + j->cap_ids * sizeof(j->ids[0]) +
		       (j->submit != NULL ? j->submit_bytes : 0);

	h->bytes += bytes - j->bytes;
	j->bytes = bytes;
}

void jobs_make_room(struct hub *h, size_t bytes)
{
	while (h->config.max_bytes > 0 && h->bytes + bytes > h->config.max_bytes && !list_empty(&h->ended)) {
		struct job *oldest = CONTAINER(h->ended.next, struct job, all);

		if (oldest->tell_seq != 0)
			return; /* its client has not been told yet */
		jobs_free(h, oldest);
	}
}

void jobs_forget_old(struct hub *h)
{
	while (h->n_ended > h->config.max_ended && CONTAINER(h->ended.next, struct job, all)->tell_seq == 0)
		jobs_free(h, CONTAINER(h->ended.next, struct job, all));
	jobs_make_room(h, 0);
}

void jobs_free(struct hub *h, struct job *j)
{
	table_del(&h->jobs, &j->by_id);
	table_del(&h->by_key, &j->by_key);
	table_del(&h->by_user, &j->by_user);
	table_del(&h->by_conn, &j->by_conn);
	if (jobs_is_live(j))
		h->n_live--;
	else
		h->n_ended--;
	users_leave(h, j);
	list_del(&j->all);
	line_remove(h, j);
	list_del(&j->place);
	list_del(&j->persist);
	list_del(&j->telling);
	if (j->sole != NULL)
		poison_drop(j->sole);
	if (j->hedge != NULL)
		list_del(&j->hedge->place);
	act_trash(h, j->hedge);
	timers_release(&h->timers, &j->timer);
	models_unref(h, j->model);
	h->bytes -= j->bytes;
	session_leave(h, j);
	act_trash(h, j->submit);
	act_trash(h, j->ids);
	act_trash(h, j->cuts);
	act_trash(h, j->early_end);
	act_trash(h, j->text.p);
	act_trash(h, j->probs.p);
	act_trash(h, j->message);
	act_trash(h, j->candidates);
	act_trash(h, j->end);
	act_trash(h, j->reply.mem);
	act_trash(h, j);
}

void jobs_set_conn(struct hub *h, struct job *j)
{
	table_del(&h->by_conn, &j->by_conn);
	if (j->reply.to.conn != 0)
		table_add(&h->by_conn, rng_mix(h->hash_seed, j->reply.to.conn), &j->by_conn);
}

static void link_names(struct hub *h, struct job *j)
{
	table_add(&h->jobs, table_hash(h->hash_seed, span_of(j->id.s)), &j->by_id);
	if (j->key[0] != '\0')
		table_add(&h->by_key, key_hash(h, span_of(j->user), span_of(j->key)), &j->by_key);
}

void jobs_link_ended(struct hub *h, struct job *j)
{
	link_names(h, j);
	list_add_tail(&h->ended, &j->all);
	h->n_ended++;
	jobs_weigh(h, j);
}

void jobs_link(struct hub *h, struct job *j)
{
	link_names(h, j);
	table_add(&h->by_user, table_hash(h->hash_seed, span_of(j->user)), &j->by_user);
	jobs_set_conn(h, j);
	list_add_tail(&h->live, &j->all);
	list_init(&j->place);
	h->n_live++;
	h->counters.queued++;
	users_join(h, j);
	variant_join(h, j);
	jobs_weigh(h, j);
}

void jobs_add(struct hub *h, struct job *j)
{
	jobs_link(h, j);
	users_take(j);
	h->counters.jobs_submitted++;
	jobs_await(h, j, HUB_PERSIST_SUBMIT);
	if (!RULE(h, JOURNAL_ACCEPT))
		jobs_go_on(h, j);
	else if (journal_note(h, j))
		journal_go_ahead(h, j);
	jobs_arm(h, j);
}

/* ---- places ---- */

void jobs_enqueue(struct hub *h, struct job *j)
{
	j->state = HUB_JOB_QUEUED;
	j->recheck_ms = h->now_ms + h->config.no_agent_wait_ms;
	j->is_resting = j->not_before_ms > h->now_ms;
	if (!j->is_resting && !route_job(h, j)) {
		line_add(h, j);
		poison_wait(h, j);
	}
	jobs_arm(h, j);
}

void jobs_unplace(struct hub *h, struct job *j)
{
	poison_release(h, j);
	session_unwait(j);
	line_remove(h, j);
	users_given(j, false);
	list_del(&j->place);
	list_del(&j->persist);
	j->persist_seq = 0;
	if (!jobs_is_assigned(j)) {
		h->counters.queued--;
		j->queue_total_ms += h->now_ms - j->queued_ms;
		return;
	}
	h->counters.running--;
	j->agent->n_jobs--;
	models_job(j->agent, j->model, false);
	fleet_refresh(h, j->agent);
}

/* ---- persistence ---- */

void jobs_await(struct hub *h, struct job *j, enum hub_persist_kind kind)
{
	j->persist_seq = act_persist(h, kind, j);
	list_add_tail(&h->persisting, &j->persist);
}

static void job_accepted(struct hub *h, struct job *j)
{
	if (j->stream && !j->is_deaf && !j->owes_accepted)
		act_answer(h, j, ANSWER_ACCEPTED)->state = span_of(hub_job_state_names[HUB_JOB_QUEUED]);
	jobs_enqueue(h, j);
}

void jobs_go_on(struct hub *h, struct job *j)
{
	list_del(&j->persist);
	j->persist_seq = 0;
	if (j->state == HUB_JOB_NEW)
		job_accepted(h, j);
	else
		attempt_dispatch(h, j);
}

void jobs_persisted(struct hub *h, const struct hub_event *ev)
{
	while (!list_empty(&h->persisting)) {
		struct job *j = CONTAINER(h->persisting.next, struct job, persist);

		if (j->persist_seq > ev->seq)
			break;
		jobs_go_on(h, j);
	}
	journal_safe(h, ev->seq);
}

/* ---- the end ---- */

/* The agent may still be at it: say CANCEL, and again until it has answered. */
static void job_stop(struct hub *h, struct job *j)
{
	if (!jobs_is_assigned(j) || j->persist_seq != 0)
		return;
	act_job_control(h, j, CONTROL_CANCEL, 0);
	j->lingers = true;
	j->sent_ms = h->now_ms;
	j->tries = 1;
}

static void count_end(struct hub *h, const struct job *j)
{
	switch (j->state) {
	case HUB_JOB_DONE: h->counters.jobs_done++; break;
	case HUB_JOB_CANCELLED: h->counters.jobs_cancelled++; break;
	case HUB_JOB_EXPIRED: h->counters.jobs_expired++; break;
	default: h->counters.jobs_failed++; break;
	}
}

static void job_close(struct hub *h, struct job *j, enum hub_job_state state)
{
	hedge_drop(h, j, true);
	jobs_unplace(h, j);
	j->state = state;
	j->ended_ms = h->now_ms;
	h->n_live--;
	h->n_ended++;
	users_leave(h, j);
	list_del(&j->all);
	list_add_tail(&h->ended, &j->all);
	table_del(&h->by_user, &j->by_user);
	table_del(&h->by_conn, &j->by_conn);
	count_end(h, j);
	variant_ended(h, j);
	if (!journal_end(h, j) && !j->is_deaf)
		act_end(h, j);
	session_leave(h, j);
	act_trash(h, j->submit);
	act_trash(h, j->ids);
	act_trash(h, j->cuts);
	act_trash(h, j->early_end);
	models_unref(h, j->model);
	j->early_end = NULL;
	j->submit = NULL;
	j->body = SPAN_NONE;
	j->ids = NULL;
	j->cuts = NULL;
	j->cap_ids = 0;
	j->model = NULL;
	jobs_weigh(h, j);
	timer_set(&h->timers, &j->timer, UINT64_MAX);
	jobs_arm(h, j);
	jobs_forget_old(h);
}

void jobs_done(struct hub *h, struct job *j, enum finish finish)
{
	j->finish = finish;
	job_close(h, j, HUB_JOB_DONE);
}

void jobs_fail(struct hub *h, struct job *j, enum code code, struct span reason)
{
	struct buf text = BUF_INIT(512);

	j->code = code;
	buf_addf(&text, "%s", code_info(code)->text);
	if (reason.n > 0)
		buf_addf(&text, ": %.*s", SPAN_FMT(reason));
	j->message = (char *)text.p; /* buf_addf() ends in NUL; a reason too long is left out */
	if (code_info(code)->retryable)
		j->retry_after_ms = h->config.retry_max_ms;
	job_close(h, j, code == CODE_DEADLINE_EXCEEDED ? HUB_JOB_EXPIRED : HUB_JOB_FAILED);
}

void jobs_abort(struct hub *h, struct job *j, enum code code, struct span reason)
{
	job_stop(h, j);
	jobs_fail(h, j, code, reason);
}

void jobs_cancel(struct hub *h, struct job *j)
{
	job_stop(h, j);
	j->finish = FINISH_CANCELLED;
	j->code = CODE_CANCELLED;
	job_close(h, j, HUB_JOB_CANCELLED);
}

/* ---- events ---- */

void jobs_cancel_event(struct hub *h, const struct hub_event *ev)
{
	const struct cancel *c = ev->cancel;
	struct job *j = c->job.n > 0 ? jobs_find(h, c->job) : c->id.n > 0 ? jobs_find_key(h, ev->user, c->id) : NULL;
	struct hub_action *act;

	if (j != NULL && span_is(ev->user, j->user)) {
		if (jobs_is_live(j))
			jobs_cancel(h, j);
		return; /* an ended job's end was told */
	}
	act = act_new(h, HUB_ACT_ANSWER); /* others' jobs are as good as none */
	act->reply = ev->reply;
	act->answer.type = ANSWER_ERROR;
	act->answer.job = c->job;
	act->answer.id = c->id;
	act->answer.code = span_of(code_name(CODE_NOT_FOUND));
	act->answer.message = SPAN("there is no such job of yours: it was never submitted, or ended long ago");
}

void jobs_client_gone(struct hub *h, const struct hub_event *ev)
{
	uint64_t conn = ev->reply.conn, hash = conn != 0 ? rng_mix(h->hash_seed, conn) : table_hash(h->hash_seed, ev->user);
	struct node *next, *n = table_first(conn != 0 ? &h->by_conn : &h->by_user, hash);

	for (; n != NULL; n = next) {
		struct job *j = conn != 0 ? CONTAINER(n, struct job, by_conn) : CONTAINER(n, struct job, by_user);

		next = table_next(n);
		if (conn != 0 ? j->reply.to.conn != conn : !j->cancel_on_disconnect || !span_is(ev->user, j->user))
			continue;
		j->is_deaf = true;
		jobs_cancel(h, j);
	}
}

/* ---- time ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t job_next(const struct hub *h, const struct job *j)
{
	uint64_t at = j->deadline_ms;

	if (!jobs_is_live(j))
		return j->lingers ? j->sent_ms + h->config.accept_timeout_ms : UINT64_MAX;
	if (h->is_blind || j->state == HUB_JOB_NEW)
		return at;
	if (jobs_is_assigned(j))
		return earlier(at, attempt_next(h, j));
	if (j->is_resting)
		return earlier(at, j->not_before_ms);
	if (j->awaits != NULL)
		at = earlier(at, j->await_until_ms);
	if (j->avoid != NULL)
		at = earlier(at, j->avoid_until_ms);
	if (j->kin_until_ms > 0)
		at = earlier(at, j->kin_until_ms);
	return earlier(at, j->recheck_ms);
}

/* As with leases, a later time is noticed when the timer fires. */
void jobs_arm(struct hub *h, struct job *j)
{
	uint64_t at;

	if (list_empty(&j->all))
		return; /* it has been freed in this step */
	at = job_next(h, j);
	if (at == UINT64_MAX || j->timer.pos == 0 || at < j->timer.at_ms)
		timer_set(&h->timers, &j->timer, at);
}

/* In the words of an agent that is there and cannot, if there is one. */
static void nobody_came(struct hub *h, struct job *j)
{
	LIST_EACH(l, &j->model->holds)
	{
		const struct hold *o = CONTAINER(l, struct hold, of_model);

		if (!o->agent->routable || o->info->reason.n == 0)
			continue;
		buf_reset(&h->scratch);
		buf_addf(&h->scratch, "the model is %s on %s: %.*s", model_state_names[o->info->state % MODEL_STATE_COUNT],
			o->agent->id, SPAN_FMT(o->info->reason));
		jobs_fail(h, j, CODE_NO_AGENT, buf_span(&h->scratch));
		return;
	}
	jobs_fail(h, j, CODE_NO_AGENT, SPAN("none that fits has been online for a while; see `shoal agents`"));
}

static void queued_tick(struct hub *h, struct job *j)
{
	if (j->is_resting) {
		if (h->now_ms >= j->not_before_ms && j->rejoins)
			restore_give_up(h, j);
		else if (h->now_ms >= j->not_before_ms)
			jobs_enqueue(h, j);
		return;
	}
	if (j->awaits != NULL && h->now_ms >= j->await_until_ms) {
		session_unwait(j);
		jobs_enqueue(h, j);
		return;
	}
	if (j->avoid != NULL && h->now_ms >= j->avoid_until_ms) {
		j->avoid = NULL;
		if (route_job(h, j))
			return;
	}
	if (j->kin_until_ms > 0 && h->now_ms >= j->kin_until_ms) {
		j->kin_until_ms = 0;
		if (route_job(h, j))
			return;
	}
	if (h->now_ms < j->recheck_ms)
		return;
	poison_wait(h, j);
	if (route_is_possible(j))
		j->recheck_ms = h->now_ms + h->config.no_agent_wait_ms;
	else
		nobody_came(h, j);
}

static void linger_tick(struct hub *h, struct job *j)
{
	const struct agent *a = j->agent;

	if (!j->lingers || h->now_ms < j->sent_ms + h->config.accept_timeout_ms)
		return;
	if (a->life == LIFE_OFFLINE || a->reg->epoch != j->epoch || j->tries >= CANCEL_TRIES) {
		j->lingers = false;
		return;
	}
	act_job_control(h, j, CONTROL_CANCEL, 0);
	j->sent_ms = h->now_ms;
	j->tries++;
}

void jobs_wake(struct hub *h, struct job *j)
{
	if (!jobs_is_live(j))
		linger_tick(h, j);
	else if (h->now_ms >= j->deadline_ms)
		jobs_abort(h, j, CODE_DEADLINE_EXCEEDED, SPAN_NONE);
	else if (h->is_blind)
		; /* only deadlines count */
	else if (jobs_is_assigned(j))
		attempt_tick(h, j);
	else if (j->state == HUB_JOB_QUEUED)
		queued_tick(h, j);
	jobs_arm(h, j);
}

void jobs_restart_clocks(struct hub *h)
{
	LIST_EACH(l, &h->live)
	{
		struct job *j = CONTAINER(l, struct job, all);

		j->recheck_ms = h->now_ms + h->config.no_agent_wait_ms;
		j->sent_ms = j->heard_ms = j->token_ms = h->now_ms;
		j->asked_ms = 0;
		if (j->rejoins)
			j->not_before_ms = h->now_ms + h->config.rejoin_ms;
		timer_set(&h->timers, &j->timer, job_next(h, j));
	}
}

void jobs_link_up(struct hub *h)
{
	LIST_EACH(l, &h->live)
	{
		struct job *j = CONTAINER(l, struct job, all);

		if (jobs_is_assigned(j))
			attempt_resend(h, j);
	}
}
