#include "sim.h"

#define STEP_MS 25          /* of decoding: one token for every sequence */
#define PREFILL_MS 300      /* at most, before the first token */
#define FORGOTTEN_STEPS 800 /* of an engine that forgot one of its runs; each file and prompt puts clocks off */
#define NO_STOP 30          /* one token in so many is the last */

/* ---- tokens ---- */

uint64_t chain_start(const struct sim *s, uint64_t job)
{
	return rng_mix(s->seed, job + 1);
}

bool chain_has_text(uint32_t id)
{
	return (id & 7) != 0;
}

/* Random, so that two runs of the same prompt differ from the first token on: the worst
 * case for a stream that is carried on by another agent. */
uint32_t chain_token(struct sim *s, uint64_t chain)
{
	return (uint32_t)(chain & 0xffff) << 16 | (uint32_t)(rng_next(&s->rng) & 0xffff);
}

bool chain_follows(uint64_t chain, uint32_t id)
{
	return id >> 16 == (chain & 0xffff);
}

uint64_t chain_add(uint64_t chain, uint32_t id)
{
	return chain_has_text(id) ? rng_mix(chain, id) : chain;
}

void chain_text(uint32_t id, char *ret)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 7; i >= 0; i--, id >>= 4)
		ret[i] = digits[id & 15];
}

size_t chain_job(struct span prompt)
{
	size_t n = 0;

	for (size_t i = 4; i < prompt.n; i++) /* "job 12" */
		n = n * 10 + (size_t)(prompt.p[i] - '0');
	return n;
}

/* ---- the child ---- */

const char *const sim_models[SIM_MODELS] = { "m", "n" };

static struct engine *engine_at(struct sim *s, size_t i, size_t model)
{
	return &s->boxes[i].engines[model];
}

static void push(struct sim *s, size_t i, size_t model, uint64_t ms, enum future_type type)
{
	sim_push(s, ms, (struct future){ .type = type, .who = i, .model = model, .gen = engine_at(s, i, model)->gen });
}

static void engine_says(struct sim *s, size_t i, size_t model, struct engine_msg *m)
{
	if (s->boxes[i].agent != NULL)
		box_feed(s, i, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine = model, .engine_msg = m });
}

/* By what its agent was told last; others may have grown since. */
static void check_memory(struct sim *s, size_t i)
{
	const struct box *b = &s->boxes[i];
	uint64_t used = b->others_told;

	for (size_t k = 0; k < s->knobs.n_models; k++)
		used += b->engines[k].is_alive ? SIM_WEIGHTS : 0;
	if (used > SIM_MEMORY * 95 / 100)
		sim_violation(s, "%s loads more than it has memory for: %u of %u", b->id, (unsigned)used, SIM_MEMORY);
}

void fake_start(struct sim *s, size_t i, size_t model)
{
	struct engine *e = engine_at(s, i, model);

	*e = (struct engine){ .is_alive = true, .gen = e->gen + 1 };
	push(s, i, model, sim_between(s, 5, 50), F_ENGINE_HELLO);
	check_memory(s, i);
}

void fake_dies(struct sim *s, size_t i, size_t model)
{
	struct engine *e = engine_at(s, i, model);

	if (!e->is_alive)
		return;
	e->is_alive = false;
	push(s, i, model, 1, F_ENGINE_EXIT);
}

void fake_stops(struct sim *s, size_t i, size_t model)
{
	struct box *b = &s->boxes[i];

	if (!engine_at(s, i, model)->is_alive || b->agent == NULL)
		return;
	engine_at(s, i, model)->is_hung = true;
	box_feed(s, i, &(struct agent_event){ .type = AGENT_EV_ENGINE_STOPPED, .engine = model, .signo = 19 });
}

void fake_forgets(struct sim *s, size_t i, size_t model)
{
	struct engine *e = engine_at(s, i, model);

	for (size_t k = 0; k < SIM_MAX_RUNS; k++)
		if (e->runs[k].is_active) {
			e->runs[k].is_forgotten = true;
			return;
		}
}

/* A box restored from a copy of itself: it finds the dispatch of its former life and works on it. */
static void replay(struct sim *s, size_t i)
{
	struct box *b = &s->boxes[i];
	struct future f = { .type = F_TO_BOX, .kind = TOPIC_AGENT_JOBS, .who = i, .gen = b->conn, .n = b->n_last_job };

	if (b->last_job == NULL)
		return;
	f.bytes = b->last_job;
	b->last_job = NULL;
	sim_push(s, 5, f);
}

static uint64_t follow_prefix(struct sim *s, size_t job, const struct engine_msg *m)
{
	uint64_t chain = chain_start(s, job);

	for (size_t k = 0; k < m->n_prefix; k++) {
		if (!chain_follows(chain, m->prefix[k]))
			sim_violation(s, "job %zu is to be carried on from tokens that do not belong together", job);
		chain = chain_add(chain, m->prefix[k]);
	}
	return chain;
}

static unsigned bits(uint64_t x)
{
	unsigned n = 0;

	for (; x != 0; x &= x - 1)
		n++;
	return n;
}

static void engine_generate(struct sim *s, size_t i, size_t model, const struct engine_msg *m)
{
	struct box *b = &s->boxes[i];
	bool is_job = m->prompt.n > 4 && memcmp(m->prompt.p, "job ", 4) == 0; /* else the box measures its speed */
	size_t job = is_job ? chain_job(m->prompt) : 0, k = 0;

	while (k < b->parallel && engine_at(s, i, model)->runs[k].is_active)
		k++;
	if (k == b->parallel) {
		sim_violation(s, "%s runs more than its %u sequences", b->id, (unsigned)b->parallel);
		return;
	}
	engine_at(s, i, model)->runs[k] = (struct run){ .is_active = true,
		.is_job = is_job,
		.job = job,
		.number = m->job,
		.chain = follow_prefix(s, job, m),
		.index = m->n_prefix,
		.ready_at = s->now + sim_between(s, 0, PREFILL_MS),
		.max_tokens = m->sampling.max_tokens };
	if (is_job && ++b->known[job].generated > bits(b->known[job].mine) && !box_is_rogue(s, i))
		sim_violation(s, "%s started one attempt of job %zu twice", b->id, job);
}

/* Who is told to quit has nothing to do, but at the end of the agent. */
static void quit(struct sim *s, size_t i, size_t model)
{
	const struct engine *e = engine_at(s, i, model);

	for (size_t k = 0; k < SIM_MAX_RUNS; k++)
		if (e->runs[k].is_active && e->runs[k].is_job && agent_phase(s->boxes[i].agent) != AGENT_PHASE_DRAINING)
			sim_violation(s, "%s unloads a model that runs jobs", s->boxes[i].id);
	fake_dies(s, i, model);
}

void fake_told(struct sim *s, size_t i, size_t model, const struct engine_msg *m)
{
	struct engine *e = engine_at(s, i, model);

	if (!e->is_alive)
		return;
	switch (m->type) {
	case ENGINE_LOAD: push(s, i, model, sim_between(s, 20, 300), F_ENGINE_LOADED); break;
	case ENGINE_GENERATE: engine_generate(s, i, model, m); break;
	case ENGINE_CANCEL:
		for (size_t k = 0; k < SIM_MAX_RUNS; k++)
			if (e->runs[k].is_active && e->runs[k].number == m->job)
				e->runs[k].is_cancelled = true;
		break;
	case ENGINE_QUIT: quit(s, i, model); break;
	case ENGINE_SAVE:
	case ENGINE_RESTORE: break; /* sessions.c */
	default: push(s, i, model, 1, F_ENGINE_PONG); break; /* a ping */
	}
}

static void run_ends(struct sim *s, size_t i, size_t model, struct run *r, enum finish finish)
{
	struct engine_msg m = { .type = ENGINE_DONE,
		.job = r->number,
		.index = r->index,
		.finish = finish,
		.usage = { .prompt_tokens = 8, .completion_tokens = r->index },
		.timings = { .prefill_us = s->seed % 2 == 0 ? 400000 : 1000, .decode_us = 1000 } }; /* worth a wait, or not */

	r->is_active = false;
	engine_says(s, i, model, &m);
}

static void run_fails(struct sim *s, size_t i, size_t model, struct run *r)
{
	struct engine_msg m = { .type = ENGINE_ERROR, .job = r->number, .code = CODE_BATCH_FAILED, .reason = SPAN("sick") };

	r->is_active = false;
	engine_says(s, i, model, &m);
}

/* A message nobody can make sense of; or nothing where tokens should be, which only index and count tell. */
static void engine_raves(struct sim *s, size_t i, size_t model, const struct engine_msg *tokens)
{
	struct engine_msg m = *tokens;

	engine_at(s, i, model)->is_mad = false;
	switch (sim_between(s, 0, 3)) {
	case 0: engine_says(s, i, model, NULL); break;
	case 1:
		m.job += 1000;
		engine_says(s, i, model, &m);
		break;
	default: break;
	}
}

static void run_decodes(struct sim *s, size_t i, size_t model, struct run *r)
{
	uint64_t gen = engine_at(s, i, model)->gen, number = r->number;
	uint32_t ids[2];
	char text[16];
	struct engine_msg m = { .type = ENGINE_TOKENS, .job = number, .index = r->index, .ids = ids, .text = { text, 0 } };
	bool is_last = false;

	if (r->is_forgotten && s->now >= s->boxes[i].sick_until[model] && ++r->n_idle == FORGOTTEN_STEPS)
		sim_violation(s, "%s keeps an engine that has forgotten a run", s->boxes[i].id);
	if (r->is_forgotten)
		return;
	if (r->is_cancelled) {
		run_ends(s, i, model, r, FINISH_CANCELLED);
		return;
	}
	if (s->now < r->ready_at)
		return;
	if (r->is_job && s->jobs[r->job].poison_at > 0 && r->index + 1 >= s->jobs[r->job].poison_at) {
		fake_dies(s, i, model);
		return;
	}
	if (s->now < s->boxes[i].sick_until[model] && r->is_job) {
		run_fails(s, i, model, r);
		return;
	}
	for (size_t n = sim_between(s, 1, 2); m.n_ids < n && !is_last; m.n_ids++) {
		uint32_t id = ids[m.n_ids] = chain_token(s, r->chain);

		r->chain = chain_add(r->chain, id);
		if (chain_has_text(id)) {
			chain_text(id, text + m.text.n);
			m.text.n += 8;
		}
		r->index++;
		is_last = r->index >= r->max_tokens;
	}
	if (engine_at(s, i, model)->is_mad)
		engine_raves(s, i, model, &m);
	else
		engine_says(s, i, model, &m);
	if (engine_at(s, i, model)->gen != gen || !r->is_active || r->number != number)
		return; /* the agent had other plans */
	if (is_last)
		run_ends(s, i, model, r, FINISH_LENGTH);
	else if (sim_between(s, 1, NO_STOP) == 1)
		run_ends(s, i, model, r, FINISH_STOP);
}

static void decode_step(struct sim *s, size_t i, size_t model)
{
	struct engine *e = engine_at(s, i, model);
	uint64_t gen = e->gen;

	for (size_t k = 0; k < SIM_MAX_RUNS && e->is_alive && !e->is_hung && e->gen == gen; k++)
		if (e->runs[k].is_active)
			run_decodes(s, i, model, &e->runs[k]);
	if (e->is_alive && e->gen == gen)
		push(s, i, model, STEP_MS, F_DECODE);
}

void fake_future(struct sim *s, struct future *f)
{
	struct box *b = &s->boxes[f->who];
	struct engine_msg hello = { .type = ENGINE_HELLO, .version = ENGINE_PROTO_VERSION, .max_sequences = b->parallel, .build = { &b->build, 1 } };
	struct engine_msg pong = { .type = ENGINE_PONG }, loaded = {
		.type = ENGINE_LOADED, .n_ctx = 4096, .n_params = 1, .digest = SPAN("one file on all boxes, 32 bytes."), .exact = b->is_exact
	};

	if (f->gen != engine_at(s, f->who, f->model)->gen || b->agent == NULL)
		return;
	if (f->type == F_ENGINE_EXIT) {
		box_feed(s, f->who, &(struct agent_event){ .type = AGENT_EV_ENGINE_EXIT, .engine = f->model, .wstatus = 9 });
		return;
	}
	if (!engine_at(s, f->who, f->model)->is_alive)
		return;
	switch (f->type) {
	case F_ENGINE_HELLO: engine_says(s, f->who, f->model, &hello); break;
	case F_ENGINE_LOADED:
		push(s, f->who, f->model, STEP_MS, F_DECODE);
		engine_says(s, f->who, f->model, &loaded);
		replay(s, f->who);
		break;
	case F_ENGINE_PONG:
		if (!engine_at(s, f->who, f->model)->is_hung)
			engine_says(s, f->who, f->model, &pong);
		break;
	case F_ENGINE_CRASH: fake_dies(s, f->who, f->model); break;
	case F_ENGINE_SAVED:
	case F_ENGINE_RESTORED: sessions_future(s, f); break;
	default: decode_step(s, f->who, f->model); break;
	}
}
