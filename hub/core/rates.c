/* rates.c - how fast agents are, as measured from the ends of their jobs.
 *
 * Averages in which the newest sample weighs a tenth (more while there are few): a box that
 * gets hot, or busy with something else, is known as slow after some ten jobs, and as fast
 * again as soon.
 *
 * A token takes longer the more jobs decode beside it, on some boxes hardly, on others in
 * proportion.  So decoding is a line, time over the number of other jobs, fitted by least
 * squares to the same kind of averages; where the jobs so far say nothing about its slope, each
 * other job is taken to add a quarter.
 *
 * An agent of which nothing is known yet is taken to be as fast as it measured itself, else as
 * the others are with that model, else as a small box. */
#include "core.h"

#define NEWEST 0.1
#define SHARE 0.25      /* what another job adds, unless known */
#define MIN_SPREAD 0.05 /* variance of the number of others below which a slope is a guess */
#define MIN_PREFILL 8   /* tokens: fewer measure the overhead of a step */
#define GUESS_PREFILL_MS 10.0
#define GUESS_DECODE_MS 100.0
#define GUESS_LOAD_BYTES_PER_MS 200e3
#define GUESS_LOAD_MS 1000.0
#define MILLI_MS 1e6 /* milliseconds a token = this / (tokens a second x 1000) */

static double weight(unsigned n)
{
	return n < 9 ? 1 / (double)(n + 1) : NEWEST;
}

static void average(double *of, double sample, unsigned n)
{
	*of += weight(n) * (sample - *of);
}

static unsigned more(unsigned n)
{
	return n < 1000 ? n + 1 : n;
}

/* ---- decoding ---- */

static void add_decode(struct rates *r, double others, double ms)
{
	average(&r->mx, others, r->n_decode);
	average(&r->my, ms, r->n_decode);
	average(&r->mxx, others * others, r->n_decode);
	average(&r->mxy, others * ms, r->n_decode);
	r->n_decode = more(r->n_decode);
}

static double decode_line(const struct rates *r, double others)
{
	double spread = r->mxx - r->mx * r->mx;
	double guess = SHARE * r->my / (1 + SHARE * r->mx);
	double slope = spread > MIN_SPREAD ? (r->mxy - r->mx * r->my) / spread : guess;
	double alone;

	if (slope < 0)
		slope = 0;
	alone = r->my - slope * r->mx;
	if (alone < r->my / 8) { /* noise: no box does eight jobs in the time of one */
		alone = r->my / 8;
		slope = r->mx > 0 ? (r->my - alone) / r->mx : 0;
	}
	return alone + slope * others;
}

double rates_decode_ms(const struct hold *o, double others)
{
	if (o->rates.n_decode > 0)
		return decode_line(&o->rates, others);
	if (o->info->decode_milli > 0)
		return MILLI_MS / (double)o->info->decode_milli * (1 + SHARE * others);
	if (o->model->rates.n_decode > 0)
		return decode_line(&o->model->rates, others);
	return GUESS_DECODE_MS * (1 + SHARE * others);
}

/* ---- the rest ---- */

double rates_prefill_ms(const struct hold *o)
{
	if (o->rates.n_prefill > 0)
		return o->rates.prefill_ms;
	if (o->info->prefill_milli > 0)
		return MILLI_MS / (double)o->info->prefill_milli;
	return o->model->rates.n_prefill > 0 ? o->model->rates.prefill_ms : GUESS_PREFILL_MS;
}

double rates_load_ms(const struct hold *o)
{
	if (o->rates.n_loads > 0)
		return o->rates.load_ms;
	if (o->model->rates.n_loads > 0)
		return o->model->rates.load_ms;
	return GUESS_LOAD_MS + (double)o->info->size / GUESS_LOAD_BYTES_PER_MS;
}

double rates_service_ms(const struct hold *o)
{
	if (o->rates.n_ends > 0)
		return o->rates.service_ms;
	if (o->model->rates.n_ends > 0)
		return o->model->rates.service_ms;
	return o->model->prompt_tokens * rates_prefill_ms(o) + o->model->output_tokens * rates_decode_ms(o, 0);
}

/* What a job of this model is like. */
static void add_usual(struct model *m, const struct job *j, const struct usage *u)
{
	double bytes = (double)submit_prompt_bytes(j->submit);

	if (j->is_embedding || u->prompt_tokens == 0)
		return;
	average(&m->prompt_tokens, (double)u->prompt_tokens, m->n_usual);
	average(&m->output_tokens, (double)j->n_ids, m->n_usual);
	if (j->first_id == 0)
		average(&m->bytes_per_token, bytes / (double)u->prompt_tokens, m->n_usual);
	m->n_usual = more(m->n_usual);
}

static void add_load(struct rates *r, double ms)
{
	average(&r->load_ms, ms, r->n_loads);
	r->n_loads = more(r->n_loads);
}

static void add_speeds(const struct hub *h, struct rates *r, const struct job *j, const struct job_event *e)
{
	uint64_t computed = e->usage.prompt_tokens - e->usage.cached_tokens;
	uint64_t n = j->n_ids - j->first_id;
	double others = ((double)(j->crowd > 0 ? j->crowd - 1 : 0) + (double)(j->agent->n_jobs - 1)) / 2;

	if (e->usage.prompt_tokens >= e->usage.cached_tokens + MIN_PREFILL && e->timings.prefill_us > 0) {
		average(&r->prefill_ms, (double)e->timings.prefill_us / 1000 / (double)computed, r->n_prefill);
		r->n_prefill = more(r->n_prefill);
	}
	if (!j->is_embedding && n > 1 && e->timings.decode_us > 0)
		add_decode(r, others, (double)e->timings.decode_us / 1000 / (double)n);
	average(&r->service_ms, (double)(h->now_ms - j->begun_ms), r->n_ends);
	r->n_ends = more(r->n_ends);
	r->errors -= NEWEST * r->errors;
}

/* The registration that says "ready" may have been lost: then all of it. */
uint64_t rates_load_of(const struct job *j, const struct job_event *done)
{
	const struct hold *o = models_hold(j->agent, j->model);
	uint64_t ms = done->queue_ms;

	if (!j->was_cold)
		return 0;
	if (o != NULL && o->ready_ms >= j->begun_ms && o->ready_ms - j->begun_ms < ms)
		ms = o->ready_ms - j->begun_ms;
	return ms;
}

void rates_done(struct hub *h, const struct job *j, const struct job_event *done)
{
	struct hold *o = models_hold(j->agent, j->model);

	if (o == NULL)
		return;
	add_speeds(h, &o->rates, j, done);
	add_speeds(h, &o->model->rates, j, done);
	add_usual(o->model, j, &done->usage);
	if (j->began_load) {
		add_load(&o->rates, (double)j->load_ms);
		add_load(&o->model->rates, (double)j->load_ms);
	}
}

/* A full queue, and what is the job's own fault, tell nothing about the agent. */
void rates_failed(struct hub *h, const struct job *j, enum code code)
{
	struct hold *o = models_hold(j->agent, j->model);

	(void)h;
	if (o == NULL || !code_info(code)->retryable || code == CODE_QUEUE_FULL || code == CODE_QUEUE_TIMEOUT)
		return;
	o->rates.errors += NEWEST * (1 - o->rates.errors);
}

/* ---- for people ---- */

bool hub_rates_of(const struct hub *h, struct span agent, struct span model, struct hub_rates_view *ret)
{
	const struct agent *a = fleet_find(h, agent);
	const struct model *m = a != NULL ? models_find(h, model) : NULL;
	const struct hold *o = m != NULL ? models_hold(a, m) : NULL;

	if (o == NULL)
		return false;
	*ret = (struct hub_rates_view){ .load_ms = o->rates.load_ms, .errors = o->rates.errors, .in_flight = o->n_jobs };
	if (o->rates.n_prefill > 0)
		ret->prefill_per_s = 1000 / o->rates.prefill_ms;
	if (o->rates.n_decode > 0)
		ret->decode_per_s = 1000 / decode_line(&o->rates, 0);
	return true;
}
