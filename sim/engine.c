/* engine.c - what a box's engines compute, and how long that takes.
 *
 * Continuous batching as in engine/core/plan.h and pace.h, as a fluid: between two events each
 * stream that generates gets tokens at one pace, and the oldest prompt is computed at another.
 * A pass reads the weights once (pass_us) and computes a row for each stream (row_us).  Beside
 * streams a prompt takes three fifths of a pass that lasts two and a half times as long; one that
 * brings at most 256 tokens goes in whole.  Engines of one box share it.
 *
 * What is kept of ended jobs, and which place a prompt takes, is engine/core/prefix.h's rule; two
 * prompts have in common what their conversation, or their group's beginning, is long. */
#include <math.h>
#include <stdlib.h>

#include "sim.h"

#define BESIDE_SLOWER 2.5 /* a pass with a piece of a prompt */
#define BESIDE_SHARE 0.6  /* of it for the prompt */
#define SHORT_PROMPT 256
#define MIN_COPY 8 /* tokens a copy of a cache must save */
#define CLOSE 1e-6
#define HELLO_US (30 * MS)
#define READ_BYTES_S 300e6 /* of a model's file */
#define LOAD_MIN_US (200 * MS)

int engine_make(struct box *b, const struct fleet *f)
{
	b->engines = calloc(f->n_models, sizeof(*b->engines));
	if (b->engines == NULL)
		return ERR_NOMEM;
	for (size_t m = 0; m < f->n_models; m++) {
		struct engine *e = &b->engines[b->n_engines];

		if (!hardware_fits(b->kind, f->models[m]))
			continue;
		b->n_engines++;
		*e = (struct engine){ .model = f->models[m],
			.n_runs = b->kind->slots,
			.n_seqs = 2 * b->kind->slots,
			.pass_us = hardware_pass_us(b->kind, f->models[m]),
			.row_us = hardware_row_us(b->kind, f->models[m]) };
		e->runs = calloc(e->n_runs, sizeof(*e->runs));
		e->seqs = calloc(e->n_seqs, sizeof(*e->seqs));
		if (e->runs == NULL || e->seqs == NULL)
			return ERR_NOMEM;
	}
	return 0;
}

void engine_unmake(struct box *b)
{
	for (size_t i = 0; b->engines != NULL && i < b->n_engines; i++) {
		free(b->engines[i].runs);
		free(b->engines[i].seqs);
	}
	free(b->engines);
	b->engines = NULL;
}

static void push(struct world *w, const struct box *b, size_t i, uint64_t us, enum ev_type type)
{
	world_push(
		w, us, (struct ev){ .type = (uint16_t)type, .who = b->index, .sub = (uint16_t)i, .gen = b->engines[i].gen });
}

/* ---- the pace ---- */

static struct run *oldest_prompt(struct engine *e)
{
	struct run *found = NULL;

	for (size_t k = 0; k < e->n_runs; k++) {
		struct run *r = &e->runs[k];

		if (r->number != 0 && !r->is_decoding && (found == NULL || r->order < found->order))
			found = r;
	}
	return found;
}

static size_t n_decoding(const struct engine *e)
{
	size_t n = 0;

	for (size_t k = 0; k < e->n_runs; k++)
		n += e->runs[k].number != 0 && e->runs[k].is_decoding;
	return n;
}

struct pace {
	struct run *prompt;  /* NULL: none waits */
	double rows, tokens; /* of the prompt, of each stream, a microsecond */
};

static struct pace pace_of(const struct box *b, struct engine *e)
{
	size_t n = n_decoding(e);
	double pass = e->pass_us + (double)n * e->row_us,
	       speed = b->speed * b->heat / (double)(b->n_busy > 0 ? b->n_busy : 1);
	struct pace p = { .prompt = oldest_prompt(e) };

	if (p.prompt == NULL) {
		p.tokens = n > 0 ? speed / pass : 0;
	} else if (n == 0 || p.prompt->is_short) {
		p.rows = speed / e->row_us;
	} else {
		p.rows = speed * BESIDE_SHARE / e->row_us;
		p.tokens = speed / (BESIDE_SLOWER * pass);
	}
	return p;
}

/* Computes up to now. */
static void advance(struct world *w, struct box *b, struct engine *e)
{
	struct pace p = pace_of(b, e);
	double dt = (double)(w->now - e->at);

	e->at = w->now;
	if (e->n_active == 0)
		return;
	if (p.prompt != NULL)
		p.prompt->left -= p.rows * dt;
	e->pace += p.tokens * dt;
	if (w->is_recording)
		w->fig.busy_slot_us += (double)e->n_active * dt;
}

static double next_in(const struct box *b, struct engine *e)
{
	struct pace p = pace_of(b, e);
	double us = INFINITY;

	if (p.prompt != NULL)
		us = p.prompt->left / p.rows;
	for (size_t k = 0; p.tokens > 0 && k < e->n_runs; k++)
		if (e->runs[k].number != 0 && e->runs[k].is_decoding)
			us = fmin(us, (e->runs[k].due - e->pace) / p.tokens);
	for (size_t k = 0; k < e->n_runs; k++)
		if (e->runs[k].number != 0 && e->runs[k].is_cancelled)
			us = fmin(us, e->pass_us); /* at the end of the step */
	return us;
}

static void look_again(struct world *w, struct box *b, size_t i)
{
	struct engine *e = &b->engines[i];
	double us = e->n_active > 0 ? next_in(b, e) : INFINITY;
	struct run *prompt = oldest_prompt(e);

	if (prompt != NULL && prompt->read_at == 0)
		prompt->read_at = w->now;

	if (us == INFINITY)
		return;
	us = us < 1 ? 1 : ceil(us);
	if (e->due == w->now + (uint64_t)us)
		return;
	e->due = w->now + (uint64_t)us;
	world_push(w, (uint64_t)us, (struct ev){ .type = EV_ENGINE, .who = b->index, .sub = (uint16_t)i, .gen = ++e->look });
}

void engine_pace_changes(struct world *w, struct box *b)
{
	for (size_t i = 0; i < b->n_engines; i++)
		advance(w, b, &b->engines[i]);
}

void engine_pace_changed(struct world *w, struct box *b)
{
	for (size_t i = 0; i < b->n_engines; i++)
		look_again(w, b, i);
}

/* ---- places ---- */

static uint32_t common(const struct seq *s, const struct sim_job *j, uint32_t max_keep)
{
	uint32_t n = s->conv == j->conv ? s->n : s->group == j->group ? (s->system < j->system ? s->system : j->system) : 0;

	n = n < s->n ? n : s->n;
	return n < max_keep ? n : max_keep;
}

static bool is_better_place(const struct seq *a, uint32_t n_a, const struct seq *b, uint32_t n_b)
{
	bool a_is_home = a->n - n_a < MIN_COPY, b_is_home = b->n - n_b < MIN_COPY;

	if (a_is_home != b_is_home)
		return a_is_home;
	return a_is_home && n_a != n_b ? n_a > n_b : a->used < b->used;
}

/* Returns the place, *ret_cached: how much of the prompt need not be computed. */
static uint32_t take_place(struct engine *e, const struct sim_job *j, uint32_t n_prompt, uint32_t *ret_cached)
{
	uint32_t place = SIM_NONE, n_place = 0, most = 0;

	for (uint32_t i = 0; i < e->n_seqs; i++) {
		const struct seq *s = &e->seqs[i];
		uint32_t n = common(s, j, n_prompt - 1);

		most = n > most ? n : most;
		if (s->is_busy)
			continue;
		if (place == SIM_NONE || is_better_place(s, n, &e->seqs[place], n_place)) {
			place = i;
			n_place = n;
		}
	}
	*ret_cached = most >= n_place + MIN_COPY ? most : n_place;
	e->seqs[place] =
		(struct seq){ .conv = j->conv, .group = j->group, .system = j->system, .n = *ret_cached, .is_busy = true };
	return place;
}

/* ---- jobs ---- */

static void busy_changes(struct world *w, struct box *b, size_t i, bool is_busy)
{
	for (size_t k = 0; k < b->n_engines; k++)
		if (k != i)
			advance(w, b, &b->engines[k]);
	b->n_busy += is_busy ? 1 : (size_t)-1;
	for (size_t k = 0; k < b->n_engines; k++)
		if (k != i)
			look_again(w, b, k);
}

static void generate(struct world *w, struct box *b, size_t i, const struct engine_msg *m)
{
	struct engine *e = &b->engines[i];
	uint32_t job = (uint32_t)m->sampling.seed;
	const struct sim_job *j = &w->jobs[job];
	uint32_t n_prompt = j->prompt + (uint32_t)m->n_prefix, cached = 0;
	struct run *r = e->runs;

	advance(w, b, e);
	while (r->number != 0)
		r++;
	*r = (struct run){ .number = m->job, .order = ++e->order, .at = w->now, .job = job, .prompt = j->prompt };
	r->seq = take_place(e, j, n_prompt, &cached);
	r->cached = cached < j->prompt ? cached : j->prompt;
	r->made = (uint32_t)m->n_prefix;
	r->target = j->output;
	r->left = (double)(n_prompt - cached);
	r->is_short = r->left <= SHORT_PROMPT;
	if (e->n_active++ == 0) {
		e->pace = 0;
		busy_changes(w, b, i, true);
	}
	look_again(w, b, i);
}

static void says(struct world *w, struct box *b, size_t i, const struct engine_msg *m)
{
	if (b->agent != NULL)
		box_feed(w, b, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine = i, .engine_msg = m });
}

static void say_tokens(struct world *w, struct box *b, size_t i, const struct run *r, uint32_t n)
{
	struct engine_msg m = { .type = ENGINE_TOKENS,
		.job = r->number,
		.index = r->made,
		.ids = load_ids(r->job, r->made),
		.n_ids = n,
		.text = load_text(r->job, r->made, n) };

	says(w, b, i, &m);
}

static void say_done(struct world *w, struct box *b, size_t i, struct run *r, enum finish finish)
{
	struct engine *e = &b->engines[i];
	struct seq *s = &e->seqs[r->seq];
	struct engine_msg m = { .type = ENGINE_DONE,
		.job = r->number,
		.index = r->made,
		.finish = finish,
		.usage = { .prompt_tokens = r->prompt, .cached_tokens = r->cached, .completion_tokens = r->made },
		.timings = { .wait_us = r->read_at - r->at,
			.prefill_us = (r->decode_at > 0 ? r->decode_at : w->now) - r->read_at,
			.decode_us = r->decode_at > 0 ? w->now - r->decode_at : 0 } };

	if (r->read_at == 0)
		m.timings = (struct timings){ .wait_us = w->now - r->at };
	s->is_busy = false;
	s->used = w->now;
	s->n = r->is_decoding ? r->prompt + r->made : s->n;
	*r = (struct run){ 0 };
	if (--e->n_active == 0)
		busy_changes(w, b, i, false);
	says(w, b, i, &m);
}

/* It has computed its prompt, or so many more tokens. */
static void ripen(struct world *w, struct box *b, size_t i, struct run *r)
{
	struct engine *e = &b->engines[i];
	uint32_t gen = e->gen, n, frame = (uint32_t)w->set->frame;
	uint64_t number = r->number;

	if (!r->is_decoding) { /* the pass that ends a prompt brings the first token */
		r->is_decoding = true;
		r->decode_at = w->now;
		r->due = e->pace;
		n = r->made < r->target ? 1 : 0;
	} else {
		n = r->target - r->made < frame ? r->target - r->made : frame;
	}
	if (n > 0)
		say_tokens(w, b, i, r, n);
	if (e->gen != gen || r->number != number)
		return; /* the agent had other plans */
	r->made += n;
	if (r->made >= r->target) {
		say_done(w, b, i, r, FINISH_STOP);
		return;
	}
	n = r->target - r->made < frame ? r->target - r->made : frame;
	r->due += (double)n;
}

static bool is_ripe(const struct engine *e, const struct run *r)
{
	return r->number != 0 && (r->is_decoding ? r->due - e->pace < CLOSE : r->left < CLOSE);
}

static void step(struct world *w, struct box *b, size_t i)
{
	struct engine *e = &b->engines[i];
	uint32_t gen = e->gen;

	advance(w, b, e);
	for (size_t k = 0; k < e->n_runs && b->agent != NULL && e->gen == gen; k++) {
		struct run *r = &e->runs[k];

		if (r->number != 0 && r->is_cancelled)
			say_done(w, b, i, r, FINISH_CANCELLED);
		else if (is_ripe(e, r))
			ripen(w, b, i, r);
	}
	if (b->agent != NULL && e->gen == gen)
		look_again(w, b, i);
}

static void cancel(struct world *w, struct box *b, size_t i, uint64_t number)
{
	struct engine *e = &b->engines[i];

	advance(w, b, e);
	for (size_t k = 0; k < e->n_runs; k++)
		if (e->runs[k].number == number)
			e->runs[k].is_cancelled = true;
	look_again(w, b, i);
}

/* ---- the child ---- */

void engine_begin(struct world *w, struct box *b, size_t i)
{
	struct engine *e = &b->engines[i];

	e->gen++;
	e->is_alive = true;
	push(w, b, i, HELLO_US, EV_ENGINE_HELLO);
}

void engine_dies(struct world *w, struct box *b, size_t i)
{
	struct engine *e = &b->engines[i];

	if (!e->is_alive)
		return;
	advance(w, b, e);
	e->is_alive = e->is_ready = false;
	memset(e->runs, 0, e->n_runs * sizeof(*e->runs));
	memset(e->seqs, 0, e->n_seqs * sizeof(*e->seqs));
	if (e->n_active > 0) {
		e->n_active = 0;
		busy_changes(w, b, i, false);
	}
	push(w, b, i, MS, EV_ENGINE_EXIT);
}

void engine_told(struct world *w, struct box *b, size_t i, const struct engine_msg *m)
{
	struct engine *e = &b->engines[i];

	if (!e->is_alive)
		return;
	switch (m->type) {
	case ENGINE_LOAD:
		push(w, b, i, LOAD_MIN_US + (uint64_t)(e->model->bytes / READ_BYTES_S * 1e6), EV_ENGINE_LOADED);
		break;
	case ENGINE_GENERATE: generate(w, b, i, m); break;
	case ENGINE_CANCEL: cancel(w, b, i, m->job); break;
	case ENGINE_QUIT: engine_dies(w, b, i); break;
	case ENGINE_PING: push(w, b, i, MS, EV_ENGINE_PONG); break;
	default: break;
	}
}

void engine_event(struct world *w, struct box *b, const struct ev *ev)
{
	struct engine *e = &b->engines[ev->sub];
	struct engine_msg m = { .type = ENGINE_PONG };
	char digest[] = SIM_DIGEST;

	if (b->agent == NULL || ev->gen != (ev->type == EV_ENGINE ? e->look : e->gen))
		return;
	switch (ev->type) {
	case EV_ENGINE: step(w, b, ev->sub); return;
	case EV_ENGINE_EXIT:
		box_feed(w, b, &(struct agent_event){ .type = AGENT_EV_ENGINE_EXIT, .engine = ev->sub, .wstatus = 9 });
		return;
	case EV_ENGINE_HELLO:
		m = (struct engine_msg){ .type = ENGINE_HELLO,
			.version = ENGINE_PROTO_VERSION,
			.build = SPAN(SIM_BUILD),
			.max_sequences = e->n_seqs };
		break;
	case EV_ENGINE_LOADED:
		e->is_ready = true;
		e->at = w->now;
		digest[0] = e->model->name[0];
		m = (struct engine_msg){ .type = ENGINE_LOADED,
			.n_ctx = 2 * SIM_MAX_PROMPT,
			.n_params = (uint64_t)e->model->params,
			.size = (uint64_t)e->model->bytes,
			.digest = span_mem(digest, 32),
			.arch = SPAN("sim"),
			.exact = true };
		break;
	default: break;
	}
	if (e->is_alive)
		says(w, b, ev->sub, &m);
}
