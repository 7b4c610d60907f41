/* bench.c - how fast a model is on this box: measured once, when its engine is first at rest.
 *
 * A job of its own with a fixed prompt, through the same engine as all others; what the engine says it took
 * is the measure.  It is nobody's job: in no figure, in no queue, and it gives way at once when real work
 * comes for any engine, to be tried again later.  While others on the box want the CPU (PSI) it is put off,
 * as their work would be measured, too; not for ever, since some boxes are never calm.  What was measured is remembered by what it depends on:
 * the file, the engine's build and mode, the number of threads. */
#include "agent_core.h"

#define REST_MS 1000    /* an engine has had nothing to do for so long */
#define AGAIN_MS 10000  /* after it gave way */
#define DECODE_MS 300   /* of tokens, as long as there are */
#define DECODE_MIN 4    /* of them, which on a slow box takes longer: at most */
#define AT_MOST_MS 5000 /* … all together */
#define TOKENS_MAX 64
#define PSI_CALM 2000 /* per cent x 100 of the last 10 s that somebody waited for the CPU */

/* A few dozen tokens for any vocabulary; text as prompts are, since some tokens are rarer than others. */
static const char prompt[] = "The pump in hall 4 has stopped twice since noon. Its pressure fell from 6.2 to 1.1 bar within "
			     "a minute, the motor drew 14 A and then nothing. What should be looked at first, and why?";

bool agent_bench_is_same(const struct agent_bench *x, const struct agent_bench *y)
{
	return memcmp(x->digest, y->digest, sizeof(x->digest)) == 0 && strcmp(x->build, y->build) == 0 &&
	       x->threads == y->threads;
}

/* What a measurement of this engine depends on, without its result. */
static struct agent_bench key_of(const struct engine *e)
{
	const struct agent_config *c = &e->agent->config;
	struct agent_bench key = { .threads = e->model.threads };
	size_t n = strlen(e->agent->build);

	if (key.threads == 0 && c->hardware != NULL)
		key.threads = c->hardware->cores; /* the engine's own choice follows them */
	memcpy(key.digest, e->digest, sizeof(key.digest));
	out_reason(key.build, sizeof(key.build) - sizeof(BENCH_FAST), span_mem(e->agent->build, n));
	if (!e->is_exact)
		memcpy(key.build + strlen(key.build), BENCH_FAST, sizeof(BENCH_FAST));
	return key;
}

static bool remember(struct bench *b, const struct agent_bench *known, const struct agent_bench *key)
{
	if (!agent_bench_is_same(known, key))
		return false;
	b->result = *known;
	b->state = BENCH_DONE;
	return true;
}

void bench_loaded(struct engine *e)
{
	const struct agent_config *c = &e->agent->config;
	struct bench *b = &e->bench;
	struct agent_bench key = key_of(e);

	b->at_ms = e->agent->now + REST_MS;
	b->anyway_ms = e->agent->now + c->benchmark_calm_ms;
	if (e->known_digest.n == 0 || b->state == BENCH_GIVEN_UP ||
		(b->state == BENCH_DONE && remember(b, &b->result, &key)))
		return;
	b->state = BENCH_NONE;
	for (size_t i = 0; i < c->n_benches; i++)
		if (remember(b, &c->benches[i], &key))
			return;
	b->result = key;
	if (c->benchmark)
		b->state = BENCH_WANTED;
}

/* Whatever else the box does would be measured, too. */
static bool is_box_at_rest(const struct agent *a)
{
	if (a->phase != AGENT_PHASE_READY || a->n_queued > 0)
		return false;
	for (size_t i = 0; i < a->n_engines; i++) {
		const struct engine *e = &a->engines[i];

		if (engine_n_jobs(e) > 0 || (engine_has_child(e) && e->state != ENGINE_STATE_READY))
			return false;
	}
	return true;
}

static bool is_cpu_wanted(const struct agent *a)
{
	return msg_has(&a->sample.sensors, SENSORS_PSI_CPU) && a->sample.sensors.psi_cpu > PSI_CALM;
}

static bool is_any_measured(const struct agent *a)
{
	for (size_t i = 0; i < a->n_engines; i++)
		if (a->engines[i].bench.run != 0)
			return true;
	return false;
}

static void begin(struct engine *e)
{
	struct sampling s = { .max_tokens = TOKENS_MAX, .ignore_eos = true };
	struct bench *b = &e->bench;
	struct span text = SPAN_NONE;

	msg_set(&s, SAMPLING_MAX_TOKENS);
	msg_set(&s, SAMPLING_TEMPERATURE);
	msg_set(&s, SAMPLING_IGNORE_EOS);
	msg_set(&s, SAMPLING_CACHE_PROMPT); /* false: it is to be computed */
	sampling_defaults(&s);
	text = span_mem(prompt, (size_t)min_u64(sizeof(prompt) - 1, e->n_ctx / 2)); /* no token is less than a byte */
	b->state = BENCH_RUNNING;
	b->began_ms = e->agent->now;
	b->first_ms = 0;
	b->n_tokens = 0;
	b->is_in_the_way = false;
	b->run = engine_generate(e, text, &s);
}

static bool is_enough(const struct engine *e)
{
	const struct bench *b = &e->bench;

	return b->first_ms != 0 && b->n_tokens >= DECODE_MIN && e->agent->now - b->first_ms >= DECODE_MS;
}

static bool is_over(const struct engine *e)
{
	return is_enough(e) || e->agent->now - e->bench.began_ms >= AT_MOST_MS;
}

void bench_tick(struct engine *e)
{
	struct bench *b = &e->bench;
	bool is_at_rest = is_box_at_rest(e->agent);

	if (b->state == BENCH_RUNNING) {
		b->is_in_the_way |= !is_at_rest;
		if (b->is_in_the_way || is_over(e))
			engine_cancel_number(e, b->run);
		return;
	}
	if (b->state != BENCH_WANTED || e->state != ENGINE_STATE_READY)
		return;
	if (is_at_rest && b->was_at_work)
		b->at_ms = max_u64(b->at_ms, e->agent->now + REST_MS);
	b->was_at_work = !is_at_rest;
	if (!is_at_rest || e->agent->now < b->at_ms || is_any_measured(e->agent))
		return;
	if (is_cpu_wanted(e->agent) && e->agent->now < b->anyway_ms)
		b->at_ms = min_u64(e->agent->now + AGAIN_MS, b->anyway_ms);
	else
		begin(e);
}

uint64_t bench_deadline(const struct engine *e)
{
	const struct bench *b = &e->bench;
	uint64_t at = b->began_ms + AT_MOST_MS;

	if (b->state == BENCH_WANTED && e->state == ENGINE_STATE_READY && is_box_at_rest(e->agent) &&
		!is_any_measured(e->agent))
		return b->at_ms;
	if (b->state != BENCH_RUNNING || b->is_in_the_way || is_over(e)) /* told to stop: its end is an event */
		return NEVER;
	return b->first_ms != 0 && b->n_tokens >= DECODE_MIN ? min_u64(at, b->first_ms + DECODE_MS) : at;
}

bool bench_is(const struct engine *e, uint64_t run)
{
	return run != 0 && e->bench.run == run;
}

void bench_tokens(struct engine *e, const struct engine_msg *m)
{
	struct bench *b = &e->bench;

	if (b->first_ms == 0)
		b->first_ms = max_u64(e->agent->now, 1);
	b->n_tokens += m->n_ids;
}

static uint64_t milli_per_s(uint64_t n, uint64_t us)
{
	return us > 0 ? min_u64(n, UINT32_MAX) * 1000000000 / us : 0;
}

static void give_up(struct engine *e, struct span why)
{
	e->bench.run = 0;
	e->bench.state = BENCH_GIVEN_UP;
	OUT_LOG(e->agent, SAY_NOTICE, "engine", "model %s: its speed was not measured: %.*s", e->model.name.p,
		SPAN_FMT(why));
}

void bench_done(struct engine *e, const struct engine_msg *m)
{
	const struct usage *u = &m->usage;
	struct bench *b = &e->bench;
	uint64_t n_read = u->prompt_tokens > u->cached_tokens ? u->prompt_tokens - u->cached_tokens : 0;

	b->run = 0;
	if (b->is_in_the_way) {
		b->state = BENCH_WANTED;
		b->at_ms = e->agent->now + AGAIN_MS;
		return;
	}
	/* The first token is what reading the prompt ends with: the others took the time. */
	b->result.prefill_milli = milli_per_s(n_read, m->timings.prefill_us);
	b->result.decode_milli = u->completion_tokens > 1 ? milli_per_s(u->completion_tokens - 1, m->timings.decode_us) : 0;
	if (u->completion_tokens < DECODE_MIN || b->result.prefill_milli == 0 || b->result.decode_milli == 0) {
		give_up(e, SPAN("it brought too few tokens in time"));
		return;
	}
	b->state = BENCH_DONE;
	out_action(e->agent, AGENT_ACT_BENCHED)->bench = &b->result;
	report_registration(e->agent, 0);
	OUT_LOG(e->agent, SAY_INFO, "engine",
		"model %s: prompts are read at %llu tokens/s, answers written at %llu tokens/s", e->model.name.p,
		(unsigned long long)(b->result.prefill_milli / 1000), (unsigned long long)(b->result.decode_milli / 1000));
}

void bench_failed(struct engine *e, struct span reason)
{
	give_up(e, reason);
}

/* The engine is lost.  One that dies of so little would only die again. */
void bench_lost(struct engine *e)
{
	if (e->bench.run != 0)
		give_up(e, SPAN("the engine died meanwhile"));
}

void bench_dropped(struct engine *e)
{
	e->bench.run = 0;
	e->bench.state = BENCH_WANTED;
}
