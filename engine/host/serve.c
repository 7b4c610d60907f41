#include "serve.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "complain.h"
#include "embed.h"
#include "gather.h"
#include "keep.h"
#include "load.h"
#include "pace.h"
#include "place.h"
#include "plan.h"
#include "seq.h"
#include "watch.h"

#define DRAIN_MS 1000

struct host {
	struct link link;
	struct model *model;
	uint8_t digest[SHA256_SIZE]; /* of its file */
	struct plan_limits limits;
	struct pace pace;
	struct gather_limits gather_limits;
	struct gather gather;
	struct watch watch;
	struct seq *seqs; /* one for each sequence of the model */
	size_t n_seqs, max_live;
	uint64_t n_ended;  /* jobs: what a sequence was last used at */
	struct seq **live; /* in order of arrival */
	size_t n_live;
	struct embeds embeds;
	struct plan_seq *plan;   /* of live[i] */
	struct model_rows *rows; /* of a step */
	size_t *row_of;          /* live[i]'s place in rows */
	bool has_quit;
};

static int say_error(struct host *h, uint64_t job, enum code code, const char *reason)
{
	struct engine_msg m = { .type = ENGINE_ERROR, .job = job, .code = code, .reason = span_of(reason) };

	return link_send(&h->link, &m);
}

/* ---- the end of a job ---- */

static void forget(struct host *h, size_t at)
{
	seq_end(h->live[at], h->model, ++h->n_ended);
	h->n_live--;
	memmove(&h->live[at], &h->live[at + 1], (h->n_live - at) * sizeof(struct seq *));
}

static int finish(struct host *h, size_t at, enum finish how)
{
	int rc = seq_finish(h->live[at], &h->link, how, clock_us());

	forget(h, at);
	return rc;
}

static int fail(struct host *h, size_t at, enum code code, const char *reason)
{
	uint64_t job = h->live[at]->job;

	forget(h, at);
	return say_error(h, job, code, reason);
}

/* ---- messages ---- */

static int make_room(struct host *h, size_t n)
{
	h->seqs = calloc(n, sizeof(*h->seqs));
	h->live = calloc(n, sizeof(*h->live));
	h->plan = calloc(n, sizeof(*h->plan));
	h->rows = calloc(n, sizeof(*h->rows));
	h->row_of = calloc(n, sizeof(*h->row_of));
	if (h->seqs == NULL || h->live == NULL || h->plan == NULL || h->rows == NULL || h->row_of == NULL)
		return ERR_NOMEM;
	h->n_seqs = n;
	for (size_t i = 0; i < n; i++)
		h->seqs[i].number = i;
	return 0;
}

static int say_loaded(struct host *h)
{
	const struct model_facts *f = model_facts(h->model);
	struct engine_msg m = { .type = ENGINE_LOADED,
		.n_ctx = f->n_ctx,
		.n_params = f->n_params,
		.size = f->size,
		.digest = span_mem(h->digest, SHA256_SIZE),
		.arch = span_of(f->arch),
		.exact = f->is_exact,
		.n_embd = f->n_embd };

	return link_send(&h->link, &m);
}

static void read_schedule(struct host *h, const struct engine_msg *m, const struct model_config *config)
{
	size_t most = m->max_batch != 0 && m->max_batch < config->n_parallel ? (size_t)m->max_batch : config->n_parallel;

	h->max_live = config->n_parallel;
	h->limits = (struct plan_limits){ .batch_tokens = config->batch_tokens, .chunk = config->chunk };
	h->limits.max_batch = most < config->n_parallel ? most : 0;
	h->gather_limits = (struct gather_limits){ .min_batch = m->min_batch < most ? (size_t)m->min_batch : most,
		.wait_us = m->batch_wait_ms * 1000,
		.is_adaptive = m->batch_wait_adaptive };
	pace_init(&h->pace, (double)m->prefill_gap / 100);
	watch_init(&h->watch, h->watch.box, (size_t)m->threads);
}

static int load(struct host *h, const struct engine_msg *m, char reason[MODEL_REASON_MAX])
{
	struct model_config config = { .path = NULL };
	char *path;
	int rc;

	load_config(m, h->watch.box->cores, &config);
	read_schedule(h, m, &config);
	if (config.n_sequences > model_max_sequences()) {
		(void)snprintf(reason, MODEL_REASON_MAX, "The engine computes at most %zu sequences at once, not %zu.",
			model_max_sequences(), config.n_sequences);
		return ERR_RANGE;
	}
	path = span_str(m->path);
	if (path == NULL || make_room(h, config.n_sequences) < 0) {
		free(path);
		(void)snprintf(reason, MODEL_REASON_MAX, "There is not enough memory.");
		return ERR_NOMEM;
	}
	config.path = path;
	config.file = link_take_fd(&h->link);
	rc = load_model(&h->link, &config, &h->model, h->digest, reason);
	close(config.file);
	free(path);
	return rc < 0 ? rc : say_loaded(h);
}

/* A model that cannot be loaded ends the engine: the agent knows why and starts another. */
static int on_load(struct host *h, const struct engine_msg *m)
{
	char reason[MODEL_REASON_MAX] = "The model could not be loaded.";
	int rc;

	if (h->n_seqs != 0)
		return ERR_STATE;
	rc = load(h, m, reason);
	if (rc == 0 || rc == ERR_CLOSED)
		return rc;
	complain("%s", reason);
	if (say_error(h, 0, CODE_MODEL_LOAD_FAILED, reason) == 0)
		link_drain(&h->link, DRAIN_MS);
	return rc;
}

static size_t find_live(const struct host *h, uint64_t job)
{
	size_t i = 0;

	while (i < h->n_live && h->live[i]->job != job)
		i++;
	return i;
}

static int on_generate(struct host *h, const struct engine_msg *m)
{
	struct refusal refusal;
	struct seq fresh, *s;
	enum finish done;

	if (m->job == 0)
		return ERR_MALFORMED;
	if (h->model == NULL)
		return say_error(h, m->job, CODE_MODEL_NOT_LOADED, "No model is loaded.");
	if (find_live(h, m->job) < h->n_live)
		return say_error(h, m->job, CODE_CONFLICT, "A job of this number is running.");
	if (h->n_live == h->max_live)
		return say_error(h, m->job, CODE_QUEUE_FULL, "All sequences are taken.");
	if (seq_start(&fresh, h->model, m, clock_us(), &refusal) < 0)
		return say_error(h, m->job, refusal.code, refusal.reason);
	if (place_take(h->seqs, h->n_seqs, h->model, &fresh, &s) < 0) {
		seq_fini(&fresh);
		return say_error(h, m->job, CODE_MEMORY_LIMIT_EXCEEDED, "The engine has no memory for another job.");
	}
	h->live[h->n_live++] = s;
	gather_arrived(&h->gather, s->received_us);
	done = seq_finish_reached(s, model_facts(h->model)->n_ctx);
	return done != FINISH_NONE ? finish(h, h->n_live - 1, done) : 0;
}

/* A job that is not there has ended already: its DONE is on the way. */
static int on_embed(struct host *h, const struct engine_msg *m)
{
	char reason[MODEL_REASON_MAX];

	if (m->job == 0)
		return ERR_MALFORMED;
	if (h->model == NULL)
		return say_error(h, m->job, CODE_MODEL_NOT_LOADED, "No model is loaded.");
	if (model_facts(h->model)->n_embd == 0)
		return say_error(h, m->job, CODE_BAD_REQUEST, "The model was loaded without embeddings.");
	if (find_live(h, m->job) < h->n_live || embeds_has(&h->embeds, m->job))
		return say_error(h, m->job, CODE_CONFLICT, "A job of this number is running.");
	if (h->embeds.n >= h->n_seqs)
		return say_error(h, m->job, CODE_QUEUE_FULL, "As many jobs are running as there are sequences.");
	switch (embeds_add(&h->embeds, m, clock_us(), reason)) {
	case 0: return 0;
	case ERR_NOMEM: return say_error(h, m->job, CODE_MEMORY_LIMIT_EXCEEDED, reason);
	default: return say_error(h, m->job, CODE_BAD_REQUEST, reason);
	}
}

static int on_cancel(struct host *h, const struct engine_msg *m)
{
	size_t at = find_live(h, m->job);

	return at < h->n_live ? finish(h, at, FINISH_CANCELLED) : embeds_cancel(&h->embeds, m->job, &h->link);
}

/* SAVE and RESTORE. */
static int on_keep(struct host *h, const struct engine_msg *m)
{
	struct keep keep = { .model = h->model, .seqs = h->seqs, .n_seqs = h->n_seqs };
	struct keep_result r;
	int fd = link_take_fd(&h->link);

	if (h->model == NULL || m->job == 0) {
		close(fd);
		return ERR_STATE;
	}
	memcpy(keep.digest, h->digest, sizeof(keep.digest));
	if (m->type == ENGINE_SAVE)
		keep_save(&keep, m->job, fd, m->max_bytes, &r);
	else
		keep_restore(&keep, fd, ++h->n_ended, &r);
	close(fd);
	return link_send(&h->link, &(struct engine_msg){ .type = m->type == ENGINE_SAVE ? ENGINE_SAVED : ENGINE_RESTORED,
					   .job = m->job,
					   .tokens = r.n_tokens,
					   .size = r.size,
					   .code = r.refusal.code,
					   .reason = span_of(r.refusal.reason) });
}

static int on_message(struct host *h, const struct engine_msg *m)
{
	switch (m->type) {
	case ENGINE_LOAD: return on_load(h, m);
	case ENGINE_GENERATE: return on_generate(h, m);
	case ENGINE_CANCEL: return on_cancel(h, m);
	case ENGINE_EMBED: return on_embed(h, m);
	case ENGINE_SAVE:
	case ENGINE_RESTORE: return on_keep(h, m);
	case ENGINE_PING: return link_send(&h->link, &(struct engine_msg){ .type = ENGINE_PONG });
	case ENGINE_QUIT: h->has_quit = true; return 0;
	default: return 0; /* of a newer agent, which can do without it */
	}
}

static int take_messages(struct host *h)
{
	struct engine_msg m;
	int rc;

	while (!h->has_quit && (rc = link_next(&h->link, &m)) != 0) {
		if (rc < 0)
			return rc;
		rc = on_message(h, &m);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- a step ---- */

static void plan(struct host *h)
{
	for (size_t i = 0; i < h->n_live; i++)
		h->plan[i] = (struct plan_seq){ .pending = h->live[i]->n_tokens - h->live[i]->n_computed,
			.is_generating = seq_is_generating(h->live[i]),
			.is_short = seq_n_brought(h->live[i]) <= PACE_SHORT,
			.n_waited = h->live[i]->n_waited };
	pace_limit(&h->pace, &h->limits);
	plan_step(&h->limits, h->plan, h->n_live);
	for (size_t i = 0; i < h->n_live; i++)
		h->live[i]->n_waited = h->plan[i].n > 0 ? 0 : h->live[i]->n_waited + 1;
}

static size_t make_rows(struct host *h)
{
	size_t n = 0;
	uint64_t now = clock_us();

	for (size_t i = 0; i < h->n_live; i++) {
		struct seq *s = h->live[i];

		if (h->plan[i].n == 0)
			continue;
		if (s->started_us == 0)
			s->started_us = now;
		h->row_of[i] = n;
		h->rows[n++] = (struct model_rows){ .seq = s->number,
			.tokens = s->tokens + s->n_computed,
			.n = h->plan[i].n,
			.first = s->n_computed,
			.want_logits = h->plan[i].n == h->plan[i].pending };
	}
	return n;
}

static int fail_step(struct host *h)
{
	int rc = 0;

	for (size_t i = h->n_live; i-- > 0;)
		if (h->plan[i].n > 0 && rc == 0) {
			h->live[i]->n_computed += h->plan[i].n;
			seq_drop(h->live[i], h->model); /* whatever is there goes */
			rc = fail(h, i, CODE_BATCH_FAILED, "The model could not compute this step.");
		}
	return rc;
}

/* After a step: the next token of one sequence that has all its tokens computed. */
static int advance(struct host *h, size_t at, enum finish *ret_done)
{
	struct seq *s = h->live[at];
	int rc = seq_draw(s, h->model, h->row_of[at], ret_done);

	if (s->first_us == 0)
		s->first_us = clock_us();
	if (rc == 0 && *ret_done == FINISH_NONE)
		rc = seq_show(s, &h->link);
	return rc;
}

static int take_results(struct host *h)
{
	/* From the last to the first: who is done leaves the list. */
	for (size_t i = h->n_live; i-- > 0;) {
		struct seq *s = h->live[i];
		enum finish done = FINISH_NONE;
		int rc = 0;

		if (h->plan[i].n == 0)
			continue;
		s->n_computed += h->plan[i].n;
		if (s->n_computed == s->n_tokens)
			rc = advance(h, i, &done);
		if (rc == ERR_NOMEM)
			rc = fail(h, i, CODE_MEMORY_LIMIT_EXCEEDED, "The engine has no memory to go on with this job.");
		else if (rc == ERR_RANGE)
			rc = fail(h, i, CODE_BAD_REQUEST, s->fault);
		else if (rc == 0 && done != FINISH_NONE)
			rc = finish(h, i, done);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* What the step took, for those that decide about the next one. */
static int learn(struct host *h, uint64_t began_us)
{
	uint64_t now = clock_us(), chunks_us = model_chunks_us(h->model);
	uint64_t singles_us = now - began_us > chunks_us ? now - began_us - chunks_us : 0;
	size_t n_threads = watch_threads(&h->watch), n_kept = 0;

	pace_took(&h->pace, h->plan, h->n_live, chunks_us, singles_us);
	watch_took(&h->watch, h->plan, h->n_live, chunks_us, singles_us, now);
	if (watch_threads(&h->watch) != n_threads)
		model_set_threads(h->model, watch_threads(&h->watch));
	for (size_t i = 0; i < h->n_seqs; i++)
		n_kept += h->seqs[i].job == 0 && h->seqs[i].n_computed > 0;
	return watch_say(&h->watch, &h->link, n_kept, now);
}

static int step(struct host *h)
{
	uint64_t began_us;
	size_t n;
	int rc;

	plan(h);
	n = make_rows(h);
	began_us = clock_us();
	if (model_compute(h->model, h->rows, n) < 0)
		return fail_step(h);
	rc = learn(h, began_us);
	return rc < 0 ? rc : take_results(h);
}

/* ---- the loop ---- */

/* As of poll(2) until a step can be done: new jobs may wait for company while none has begun. */
static int wait_ms(const struct host *h)
{
	uint64_t us;

	if (link_is_full(&h->link))
		return -1;
	if (h->embeds.n > 0)
		return 0;
	if (h->n_live == 0)
		return -1;
	for (size_t i = 0; i < h->n_live; i++)
		if (h->live[i]->started_us != 0)
			return 0;
	us = gather_wait(&h->gather, &h->gather_limits, h->n_live, h->live[0]->received_us, clock_us());
	return (int)((us + 999) / 1000);
}

static int turn(struct host *h)
{
	int rc = link_turn(&h->link, wait_ms(h));

	/* All that the agent has said counts before the next step. */
	while (rc > 0) {
		rc = take_messages(h);
		if (rc == 0 && !h->has_quit)
			rc = link_turn(&h->link, 0);
	}
	if (rc == 0 && !h->has_quit && wait_ms(h) == 0) {
		rc = h->n_live > 0 ? step(h) : 0;
		if (rc == 0 && h->embeds.n > 0)
			rc = embeds_step(&h->embeds, h->model, &h->link, clock_us);
	}
	return rc;
}

static int say_hello(struct host *h)
{
	struct span devices[PROTO_MAX_DEVICES];
	struct engine_msg m = { .type = ENGINE_HELLO,
		.version = ENGINE_PROTO_VERSION,
		.build = span_of(model_build()),
		.max_sequences = model_max_sequences(),
		.devices = devices,
		.n_devices = model_devices(devices) };

	return link_send(&h->link, &m);
}

static void host_fini(struct host *h)
{
	while (h->n_live > 0)
		forget(h, h->n_live - 1);
	embeds_fini(&h->embeds);
	for (size_t i = 0; i < h->n_seqs; i++)
		seq_fini(&h->seqs[i]);
	model_close(h->model);
	free(h->seqs);
	free(h->live);
	free(h->plan);
	free(h->rows);
	free(h->row_of);
	link_fini(&h->link);
}

int serve(int fd, struct box *box)
{
	struct host h = { .watch.box = box };
	int rc = link_init(&h.link, fd);

	if (rc == 0)
		rc = say_hello(&h);
	while (rc == 0 && !h.has_quit)
		rc = turn(&h);
	host_fini(&h);
	if (rc == 0 || rc == ERR_CLOSED)
		return 0;
	complain("the talk with the agent ended: %s", err_text(rc));
	return 1;
}
