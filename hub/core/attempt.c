/* attempt.c - one try of a job on one agent.
 *
 * The fence: an event counts only if it comes from the agent assigned, of the epoch
 * assigned, for the attempt that is current; a token frame also only at the next index.
 * The attempt number rises with every try and is recorded before the dispatch leaves, so
 * whatever a frozen, restarted or cut-off agent still says about an older one changes
 * nothing.  A new attempt is given every token so far and goes on behind them.
 *
 * DONE is believed when its count and the SHA-256 of this attempt's text are what arrived
 * here.  Tokens still missing are asked for; other text means that something between the
 * engine and us altered it: then this attempt's part is thrown away, unless a client has
 * seen it already, who is told so rather than served a wrong answer.  Text of an attempt
 * that is lost before its DONE is kept on trust. */
#include "core.h"

#include <stdlib.h>

#include "sha256.h"

#define STRAY_MS 100 /* at most one CANCEL for unwanted work per agent in that time */

/* ---- sending ---- */

void attempt_dispatch_to(struct hub *h, const struct job *j, const struct agent *a, uint64_t attempt, uint64_t epoch)
{
	struct hub_action *act = act_new(h, HUB_ACT_DISPATCH);
	const struct submit *s = j->submit;
	uint64_t left = j->deadline_ms == UINT64_MAX ? 0 : j->deadline_ms > h->now_ms ? j->deadline_ms - h->now_ms : 1;

	act->agent = span_of(a->id);
	act->job = (struct job_msg){
		.job = span_of(j->id.s),
		.attempt = attempt,
		.epoch = epoch,
		.model = span_of(j->model_name),
		.prompt = s->prompt,
		.turns = s->messages,
		.n_turns = s->n_messages,
		.sampling = j->sampling,
		.prefix = j->ids,
		.n_prefix = RULE(h, PREFIX) ? j->n_ids : 0,
		.deadline_ms = left,
		.priority = j->priority,
		.session = s->session,
		.inputs = s->input,
		.n_inputs = s->n_input,
	};
}

void attempt_dispatch(struct hub *h, struct job *j)
{
	attempt_dispatch_to(h, j, j->agent, j->attempt, j->epoch);
	h->counters.dispatch_repeats += j->tries > 0;
	j->tries++;
	j->sent_ms = j->told_ms = h->now_ms;
	jobs_arm(h, j);
}

void attempt_assign(struct hub *h, struct job *j, struct agent *a)
{
	users_given(j, true);
	models_job(a, j->model, true);
	if (a->n_jobs++ == 0)
		a->busy_ms = h->now_ms;
	list_add_tail(&a->jobs, &j->place);
	h->counters.running++;
	fleet_refresh(h, a);
	fleet_arm(h, a);
}

/* Nothing has come of it yet. */
void attempt_reset(struct hub *h, struct job *j)
{
	j->first_id = j->n_ids;
	j->first_byte = j->text.n;
	j->first_prob = j->probs.n;
	j->asked_ms = j->tries = j->n_frames = 0;
	j->has_token = j->is_loading = false;
	j->load_ms = 0;
	act_trash(h, j->early_end);
	j->early_end = NULL;
}

void attempt_begin(struct hub *h, struct job *j, struct agent *a, const char *route)
{
	line_given(h, j);
	jobs_unplace(h, j);
	journal_rest(h, j);
	j->state = HUB_JOB_DISPATCHED;
	j->attempt += j->is_burned ? 2 : 1;
	j->is_burned = false;
	j->agent = a;
	j->epoch = a->reg->epoch;
	j->begun_ms = h->now_ms;
	j->route = route;
	attempt_reset(h, j);
	poison_begin(h, j);
	session_begun(h, j);
	attempt_assign(h, j, a);
	j->crowd = a->n_jobs;
	h->counters.attempts++;
	jobs_await(h, j, HUB_PERSIST_ATTEMPT);
	if (!RULE(h, JOURNAL_DISPATCH) || journal_note(h, j))
		jobs_go_on(h, j);
	jobs_arm(h, j);
}

static void ask_again(struct hub *h, struct job *j)
{
	act_job_control(h, j, CONTROL_RESEND, j->n_ids);
	j->asked_ms = j->told_ms = h->now_ms;
	j->asked_index = j->n_ids;
	jobs_arm(h, j);
}

void attempt_resend(struct hub *h, struct job *j)
{
	if (j->state == HUB_JOB_RUNNING)
		ask_again(h, j);
	else if (j->persist_seq == 0)
		attempt_dispatch(h, j);
}

/* One question a gap; the silence timer repeats it. */
static void gap(struct hub *h, struct job *j, uint64_t patience_ms)
{
	h->counters.gaps++;
	if (j->asked_ms == 0 || j->asked_index != j->n_ids || h->now_ms >= j->asked_ms + patience_ms)
		ask_again(h, j);
}

/* ---- the end of an attempt ---- */

static uint64_t pause_before_next(struct hub *h, const struct job *j, enum code code)
{
	uint64_t ms = h->config.retry_min_ms, n = j->n_full > 0 ? j->n_full : j->barren;

	if (code == CODE_AGENT_LOST && n <= 1)
		return 0; /* a client is waiting in mid-sentence */
	for (; n > 1 && ms < h->config.retry_max_ms; n--)
		ms *= 2;
	if (ms > h->config.retry_max_ms)
		ms = h->config.retry_max_ms;
	return ms - rng_below(&h->rng, ms / 2 + 1);
}

/* What counts against attempts_max are attempts in a row that brought nothing: boxes may go
 * and come as they like under a long answer, but a prompt that kills engines is given up.
 * A full queue says nothing about the job: a low one that is displaced each time has its
 * turn when there is room, and only time ends that.  True when the job is given up. */
static bool count_failure(struct hub *h, struct job *j, enum code code)
{
	bool brought = code == CODE_AGENT_LOST && j->n_ids > j->first_id;

	if (RULE(h, FULL) && (code == CODE_QUEUE_FULL || code == CODE_QUEUE_TIMEOUT)) {
		if (j->n_full++ == 0)
			j->full_ms = h->now_ms;
		return h->now_ms - j->full_ms >= h->config.full_wait_ms;
	}
	j->n_full = 0;
	j->barren = brought ? 0 : j->barren + 1;
	return !code_info(code)->retryable || j->barren >= h->config.attempts_max;
}

void attempt_failed(struct hub *h, struct job *j, enum code code, struct span reason)
{
	bool is_hopeless = count_failure(h, j, code), is_poison = poison_killed(h, j, code);

	h->counters.attempts_failed++;
	breaker_failed(h, j, j->agent, j->begun_ms, code);
	rates_failed(h, j, code);
	if (j->sampling.max_tokens > 0 && j->n_ids >= j->sampling.max_tokens) {
		jobs_done(h, j, FINISH_LENGTH); /* only the word that it is over was lost */
		return;
	}
	if (is_poison) {
		poison_end(h, j, reason);
		return;
	}
	if (is_hopeless) {
		jobs_fail(h, j, code, reason);
		return;
	}
	if (j->is_unsure) {
		jobs_fail(h, j, CODE_STREAM_RESET, SPAN_NONE);
		return;
	}
	if (hedge_inherits(h, j))
		return;
	HUB_SAY(h, SAY_INFO, "attempt %llu of job %s on %s failed with %s: trying again", (unsigned long long)j->attempt,
		j->id.s, j->agent->id, code_name(code));
	h->counters.failovers += code == CODE_AGENT_LOST;
	jobs_unplace(h, j);
	j->queued_ms = h->now_ms;
	j->not_before_ms = h->now_ms + pause_before_next(h, j, code);
	j->avoid = j->agent;
	j->avoid_until_ms = j->not_before_ms + h->config.retry_max_ms;
	continuity_failed(h, j);
	h->counters.queued++;
	jobs_enqueue(h, j);
}

/* The agent is alive and may still be at it. */
static void give_up(struct hub *h, struct job *j, enum code code, struct span reason)
{
	act_job_control(h, j, CONTROL_CANCEL, 0);
	attempt_failed(h, j, code, reason);
}

/* ---- time ---- */

static uint64_t silence_end(const struct hub *h, const struct job *j)
{
	return (j->asked_ms != 0 ? j->asked_ms : j->heard_ms) + h->config.silence_ms;
}

static uint64_t stall_end(const struct hub *h, const struct job *j)
{
	return j->token_ms + (j->has_token ? h->config.stall_ms : h->config.first_token_ms);
}

static uint64_t patience_end(const struct hub *h, const struct job *j)
{
	uint64_t silence = silence_end(h, j), stall = stall_end(h, j);

	if (j->state == HUB_JOB_DISPATCHED)
		return j->persist_seq != 0 ? UINT64_MAX : j->sent_ms + h->config.accept_timeout_ms;
	return silence < stall ? silence : stall;
}

uint64_t attempt_next(const struct hub *h, const struct job *j)
{
	uint64_t end = patience_end(h, j), hedge = hedge_at(h, j);

	return end < hedge ? end : hedge;
}

static void unanswered(struct hub *h, struct job *j)
{
	breaker_unanswered(h, j);
	give_up(h, j, CODE_AGENT_LOST, SPAN("it did not answer the dispatch"));
}

void attempt_tick(struct hub *h, struct job *j)
{
	if (h->now_ms >= hedge_at(h, j))
		hedge_try(h, j);
	if (h->now_ms < patience_end(h, j))
		return;
	if (j->state == HUB_JOB_DISPATCHED && j->tries < h->config.accept_tries)
		attempt_dispatch(h, j);
	else if (j->state == HUB_JOB_DISPATCHED)
		unanswered(h, j);
	else if (h->now_ms >= stall_end(h, j))
		give_up(h, j, CODE_BATCH_TIMEOUT, SPAN_NONE);
	else
		ask_again(h, j);
}

/* ---- the fence ---- */

/* The counter of the rule that refuses; NULL: it passes. */
static uint64_t *fence(struct hub *h, const struct job *j, const struct agent *a, const struct job_event *e)
{
	if (j->state != HUB_JOB_DISPATCHED && j->state != HUB_JOB_RUNNING)
		return &h->counters.frames_fenced_attempt; /* waiting: no attempt is current */
	if (RULE(h, AGENT) && j->agent != a)
		return &h->counters.frames_fenced_agent;
	if (RULE(h, EPOCH) && j->epoch != e->epoch)
		return &h->counters.frames_fenced_epoch;
	if (RULE(h, ATTEMPT) && j->attempt != e->attempt)
		return &h->counters.frames_fenced_attempt;
	return NULL;
}

/* An agent works on, or still holds, what nobody wants from it. */
static void stray(struct hub *h, struct agent *a, struct job *j, const struct job_event *e)
{
	bool is_end = e->type == JOB_EVENT_DONE || e->type == JOB_EVENT_FAILED || e->type == JOB_EVENT_REJECTED;

	if (a->reg == NULL || e->epoch != a->reg->epoch)
		return; /* of a life that is over: nobody is there to be told */
	if (j != NULL && !jobs_is_live(j) && j->tell_seq != 0)
		return; /* its end is not safe yet: the agent keeps it until then */
	if (j != NULL && is_end && j->agent == a && j->attempt == e->attempt)
		j->lingers = false;
	if (!is_end && a->stray_ms != 0 && h->now_ms < a->stray_ms + STRAY_MS)
		return;
	if (!is_end)
		a->stray_ms = h->now_ms;
	act_control(h, a, is_end ? CONTROL_END : CONTROL_CANCEL, e->epoch, e->job, e->attempt, 0);
}

/* ---- what agents say ---- */

static void on_accepted(struct hub *h, struct job *j)
{
	if (j->state == HUB_JOB_RUNNING)
		return;
	j->state = HUB_JOB_RUNNING;
	j->heard_ms = j->token_ms = h->now_ms;
}

/* A load that goes on is no stall; one that does not, the agent ends. */
static void on_loading(struct hub *h, struct job *j, uint64_t percent)
{
	if (j->has_token || (j->is_loading && percent <= j->load_percent))
		return;
	j->is_loading = true;
	j->load_percent = percent;
	j->token_ms = h->now_ms;
	if (j->stream && !j->is_deaf)
		act_loading(h, j);
}

static void on_progress(struct hub *h, struct job *j, const struct job_event *e)
{
	j->heard_ms = h->now_ms;
	j->asked_ms = 0;
	if (msg_has(e, JOB_EVENT_LOAD_PERCENT))
		on_loading(h, j, e->load_percent);
}

static bool keep_tokens(struct job *j, const struct job_event *e)
{
	uint32_t *ids = j->ids;
	size_t cap = j->cap_ids > 0 ? j->cap_ids : 64;

	if (j->n_ids + e->n_ids > PROTO_MAX_TOKENS)
		return false;
	while (cap < j->n_ids + e->n_ids)
		cap *= 2;
	if (cap != j->cap_ids) {
		ids = realloc(ids, cap * sizeof(*ids));
		if (ids == NULL)
			return false;
		j->ids = ids;
		j->cap_ids = cap;
	}
	buf_add_span(&j->text, e->text);
	if (j->is_embedding || j->sampling.logprobs)
		buf_add_span(&j->probs, j->is_embedding ? e->vectors : e->logprobs);
	if (j->text.err != 0 || j->probs.err != 0)
		return false;
	memcpy(ids + j->n_ids, e->ids, e->n_ids * sizeof(*ids));
	j->n_ids += e->n_ids;
	return true;
}

/* Also after a while: an agent that hears nothing from the hub gives its work up. */
static void acknowledge(struct hub *h, struct job *j)
{
	if (++j->n_frames % h->config.ack_frames != 0 && h->now_ms < j->told_ms + h->config.silence_ms)
		return;
	act_job_control(h, j, CONTROL_ACK, j->n_ids);
	j->told_ms = h->now_ms;
}

static void on_done(struct hub *h, struct job *j, const struct job_event *e);

/* Vectors of the texts that are next, all of one size. */
static bool has_vectors(const struct job *j, const struct job_event *e)
{
	size_t size = e->vectors.n / e->n_ids;

	if (size == 0 || size % sizeof(float) != 0 || size * e->n_ids != e->vectors.n)
		return false;
	return e->index + e->n_ids <= j->submit->n_input && (j->n_ids == 0 || size * j->n_ids == j->probs.n);
}

static bool is_frame(const struct job *j, const struct job_event *e)
{
	size_t n_probs = 0;

	if (e->n_ids == 0 || e->n_ids > PROTO_MAX_FRAME_TOKENS || !span_is_utf8(e->text))
		return false;
	if (j->is_embedding)
		return has_vectors(j, e);
	return e->logprobs.n == 0 || (logprob_count(e->logprobs, &n_probs) == 0 && n_probs == e->n_ids);
}

static void on_tokens(struct hub *h, struct job *j, const struct job_event *e)
{
	if (!is_frame(j, e)) {
		h->counters.frames_malformed++;
		return;
	}
	if (RULE(h, INDEX) && e->index != j->n_ids) {
		h->counters.frames_fenced_index++;
		if (e->index > j->n_ids)
			gap(h, j, h->config.silence_ms);
		return;
	}
	if (!keep_tokens(j, e)) {
		jobs_abort(h, j, CODE_TOO_LARGE, SPAN("the answer grew past what one job may have"));
		return;
	}
	jobs_weigh(h, j);
	h->counters.frames++;
	h->counters.tokens += e->n_ids;
	j->asked_ms = 0;
	if (RULE(h, HEDGE))
		hedge_drop(h, j, true);
	hedge_measure(h, j);
	if (!j->has_token)
		affinity_prefilled(h, j);
	continuity_tokens(h, j);
	j->has_token = true;
	j->first_ms = j->first_ms > 0 ? j->first_ms : h->now_ms;
	j->heard_ms = j->token_ms = h->now_ms;
	journal_show(h, j);
	if (j->early_end != NULL && j->early_end->event.index <= j->n_ids)
		on_done(h, j, &j->early_end->event);
	else
		acknowledge(h, j);
}

static bool is_digest_right(const struct job *j, const struct job_event *e)
{
	uint8_t digest[SHA256_SIZE];

	sha256_of(span_mem(j->text.p + j->first_byte, j->text.n - j->first_byte), digest);
	return span_eq(e->sha256, span_mem(digest, sizeof(digest)));
}

static void on_altered(struct hub *h, struct job *j)
{
	h->counters.done_mismatch++;
	hedge_drop(h, j, true); /* it goes on from what is thrown away */
	act_job_control(h, j, CONTROL_END, 0);
	if (j->shown.id > j->first_id) {
		jobs_fail(h, j, CODE_CHECKSUM_MISMATCH, SPAN("what was streamed is not what the engine wrote; ask again"));
		return;
	}
	j->n_ids = j->first_id;
	j->text.n = j->first_byte;
	j->probs.n = j->first_prob;
	journal_take_back(h, j);
	attempt_failed(h, j, CODE_CHECKSUM_MISMATCH, SPAN_NONE);
}

/* An end that came before its last tokens waits for them. */
static void keep_end(struct job *j, const struct job_event *e)
{
	struct early_end *k = j->early_end == NULL && e->sha256.n == SHA256_SIZE ? malloc(sizeof(*k)) : NULL;

	if (k == NULL)
		return; /* known already; or no memory: the agent says it again when asked */
	memcpy(k->digest, e->sha256.p, sizeof(k->digest));
	k->event = (struct job_event){
		.index = e->index,
		.finish = e->finish,
		.sha256 = span_mem(k->digest, sizeof(k->digest)),
		.usage = e->usage,
		.timings = e->timings,
		.queue_ms = e->queue_ms,
	};
	j->early_end = k;
}

static void on_done(struct hub *h, struct job *j, const struct job_event *e)
{
	if (RULE(h, COUNT) && e->index > j->n_ids) {
		gap(h, j,
			j->early_end != NULL ? 1 : h->config.silence_ms); /* said again: what was asked for is lost again */
		keep_end(j, e);
		return;
	}
	if ((RULE(h, COUNT) && e->index < j->n_ids) || (RULE(h, DIGEST) && !is_digest_right(j, e))) {
		on_altered(h, j);
		return;
	}
	if (e->finish == FINISH_CANCELLED) { /* not by us */
		act_job_control(h, j, CONTROL_END, 0);
		attempt_failed(h, j, CODE_AGENT_LOST, SPAN("it stopped the job"));
		return;
	}
	if (j->is_embedding && j->n_ids != j->submit->n_input) {
		act_job_control(h, j, CONTROL_END, 0);
		attempt_failed(h, j, CODE_INTERNAL_ERROR, SPAN("the engine left texts out"));
		return;
	}
	breaker_worked(h, j);
	if (h->config.journal == HUB_JOURNAL_OFF)
		act_job_control(h, j, CONTROL_END, 0);
	j->owes_confirm = h->config.journal != HUB_JOURNAL_OFF; /* it forgets its tokens when they are safe here */
	j->usage = e->usage;
	j->timings = e->timings;
	j->n_tokens = 0;
	for (size_t i = 0; j->is_embedding && i < j->n_ids; i++)
		j->n_tokens += j->ids[i];
	j->load_ms = rates_load_of(j, e);
	j->agent_wait_ms = e->queue_ms - j->load_ms;
	rates_done(h, j, e);
	session_done(h, j);
	jobs_done(h, j, e->finish == FINISH_LENGTH ? FINISH_LENGTH : FINISH_STOP);
}

static void on_failed(struct hub *h, struct job *j, const struct job_event *e)
{
	enum code code = (enum code)code_info((unsigned)e->code)->number;

	act_job_control(h, j, CONTROL_END, 0);
	attempt_failed(h, j, code == CODE_CANCELLED ? CODE_AGENT_LOST : code, e->reason);
}

static void take(struct hub *h, struct job *j, const struct job_event *e)
{
	if (e->type != JOB_EVENT_REJECTED)
		on_accepted(h, j);
	switch (e->type) {
	case JOB_EVENT_PROGRESS: on_progress(h, j, e); break;
	case JOB_EVENT_TOKENS: on_tokens(h, j, e); break;
	case JOB_EVENT_DONE: on_done(h, j, e); break;
	case JOB_EVENT_FAILED:
	case JOB_EVENT_REJECTED: on_failed(h, j, e); break;
	default: break;
	}
	jobs_arm(h, j);
}

static void hedge_failed(struct hub *h, struct job *j, const struct job_event *e)
{
	enum code code = (enum code)code_info((unsigned)e->code)->number;
	struct agent *a = j->hedge->agent;

	act_control(h, a, CONTROL_END, e->epoch, e->job, e->attempt, 0);
	h->counters.attempts_failed++;
	breaker_failed(h, j, a, j->hedge->begun_ms, code);
	hedge_drop(h, j, false);
	if (!poison_killed(h, j, code))
		return;
	act_job_control(h, j, CONTROL_CANCEL, 0);
	poison_end(h, j, e->reason);
}

/* The second attempt of two: its first frame decides. */
static void on_hedge(struct hub *h, struct job *j, const struct job_event *e)
{
	switch (e->type) {
	case JOB_EVENT_FAILED:
	case JOB_EVENT_REJECTED: hedge_failed(h, j, e); break;
	case JOB_EVENT_TOKENS:
	case JOB_EVENT_DONE:
		if (RULE(h, HEDGE))
			hedge_win(h, j);
		take(h, j, e);
		return;
	default: break;
	}
	jobs_arm(h, j);
}

void attempt_event(struct hub *h, const struct hub_event *ev)
{
	const struct job_event *e = ev->job_event;
	struct agent *a = fleet_find(h, ev->agent);
	struct job *j = jobs_find(h, e->job);
	uint64_t *refused;

	if (a == NULL) {
		h->counters.frames_fenced_agent++;
		return;
	}
	if (a->reg != NULL && e->epoch == a->reg->epoch)
		fleet_seen(h, a);
	if (j != NULL && j->rejoins && j->agent == a && j->attempt == e->attempt && j->epoch == e->epoch)
		return; /* asked for again when the agent is known to be back */
	if (j != NULL && jobs_is_live(j) && hedge_is(j, a, e)) {
		on_hedge(h, j, e);
		return;
	}
	refused = j == NULL || !jobs_is_live(j) ? &h->counters.frames_unknown_job : fence(h, j, a, e);
	if (refused != NULL) {
		++*refused;
		stray(h, a, j, e);
		return;
	}
	take(h, j, e);
}
