/* load.c - who asks what, and what must come back.
 *
 * A prompt is a beginning that its group has in common (a system prompt), then the words of its
 * conversation; each turn's prompt is the one before, its answer, and some more.  Answers are cut
 * from one long text at a place that is the job's own, so that what a client is shown can be
 * checked by comparing, and an engine that makes them up has nothing to compute. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define POOL ((uint32_t)1 << 18) /* tokens of text */
#define WINDOW_US (10 * SECOND)
#define SETTLE_US SECOND
#define MAX_ANSWER 16384
#define AGAIN_US (5 * SECOND) /* without a word from the hub */
#define LONG_LEAST 8000
#define LONG_MOST 24000

static char pool[POOL * TOKEN_BYTES];
static uint32_t pool_ids[POOL];

void load_init(void)
{
	struct rng r;

	rng_seed(&r, 1);
	for (size_t i = 0; i < sizeof(pool); i++)
		pool[i] = i % TOKEN_BYTES == 0 ? ' ' : (char)('a' + rng_below(&r, 26));
	for (size_t i = 0; i < POOL; i++)
		pool_ids[i] = (uint32_t)rng_below(&r, 32000);
}

/* Where in the pool the words of something begin. */
static uint32_t place_of(uint64_t kind, uint64_t number)
{
	return (uint32_t)(rng_mix(kind, number) % (POOL - PROTO_MAX_TOKENS));
}

struct span load_text(uint32_t job, uint32_t index, uint32_t n)
{
	return span_mem(pool + (size_t)(place_of(1, job) + index) * TOKEN_BYTES, (size_t)n * TOKEN_BYTES);
}

const uint32_t *load_ids(uint32_t job, uint32_t index)
{
	return pool_ids + place_of(1, job) + index;
}

/* ---- asking ---- */

/* Around mean, most between half and twice of it, some far more: as lengths of texts are. */
static uint32_t length(struct rng *r, double mean, uint32_t most)
{
	const double sigma = 0.6;
	double normal = sqrt(-2 * log(1 - rng_real(r))) * cos(6.283185307179586 * rng_real(r)); /* Box and Muller, 1958 */
	double n = exp(log(mean) - sigma * sigma / 2 + sigma * normal);

	return n < 1 ? 1 : n > most ? most : (uint32_t)n;
}

static uint32_t pick_model(struct world *w)
{
	double x = rng_real(&w->load_rng);
	uint32_t m = 0;

	while (m + 1 < w->fleet->n_models && x >= w->fleet->share[m])
		x -= w->fleet->share[m++];
	return m;
}

static uint32_t pick_user(struct world *w)
{
	if (w->set->heavy_share > 0 && rng_real(&w->load_rng) < w->set->heavy_share)
		return 0;
	return (uint32_t)rng_below(&w->load_rng, w->set->users);
}

static uint8_t pick_priority(struct world *w)
{
	double x = w->set->high_share + w->set->low_share > 0 ? rng_real(&w->load_rng) : 1;

	if (x < w->set->high_share)
		return PRIORITY_HIGH;
	return x < w->set->high_share + w->set->low_share ? PRIORITY_LOW : PRIORITY_NORMAL;
}

static uint32_t conv_new(struct world *w)
{
	if (w->n_convs == w->cap_convs) {
		w->cap_convs = w->cap_convs > 0 ? 2 * w->cap_convs : 1024;
		w->convs = realloc(w->convs, w->cap_convs * sizeof(*w->convs));
		if (w->convs == NULL)
			abort();
	}
	w->convs[w->n_convs] = (struct conv){ .agent = SIM_NONE };
	return (uint32_t)w->n_convs++;
}

static struct sim_job *job_new(struct world *w, uint32_t conv)
{
	struct sim_job *j = &w->jobs[w->n_jobs];
	const struct conv *c = &w->convs[conv];

	*j = (struct sim_job){ .at = w->now,
		.user = c->user,
		.conv = conv,
		.prompt = c->prompt,
		.group = c->group,
		.system = (uint32_t)w->set->system < c->prompt ? (uint32_t)w->set->system : c->prompt,
		.model = c->model,
		.deadline_ms = (uint32_t)w->set->deadline_ms };
	return j;
}

static void ask(struct world *w, struct sim_job *j)
{
	struct figures_of_run *f = &w->fig;
	uint64_t us = w->set->hop_us + rng_below(&w->rng, w->set->hop_us + 1);

	f->asked++;
	f->users[j->user].asked += j->prompt + j->output;
	w->n_open++;
	world_push(w, us, (struct ev){ .type = EV_SUBMIT, .who = (uint32_t)(j - w->jobs) });
	w->n_jobs++;
	w->is_all_asked = w->n_jobs == w->set->jobs;
	if (w->is_all_asked)
		f->last_at = w->now;
}

static void turn(struct world *w, uint32_t conv)
{
	struct sim_job *j;

	if (w->is_all_asked)
		return;
	j = job_new(w, conv);
	j->output = length(&w->load_rng, (double)w->set->output, MAX_ANSWER);
	j->priority = pick_priority(w);
	ask(w, j);
}

static uint32_t turns_of(struct world *w)
{
	uint32_t n = 1;

	while (n < 64 && rng_real(&w->load_rng) >= 1.0 / (double)w->set->turns)
		n++; /* geometric */
	return w->set->turns > 1 ? n : 1;
}

static void conversation(struct world *w)
{
	uint32_t i = conv_new(w);
	struct conv *c = &w->convs[i];

	c->user = pick_user(w);
	c->group = (uint16_t)rng_below(&w->load_rng, w->set->groups);
	c->model = (uint8_t)pick_model(w);
	c->turns = turns_of(w);
	c->is_short = w->set->turns <= 1;
	c->prompt = (uint32_t)w->set->system + length(&w->load_rng, (double)w->set->prompt, SIM_MAX_PROMPT / 4);
	if (w->set->long_share > 0 && rng_real(&w->load_rng) < w->set->long_share)
		c->prompt += LONG_LEAST + (uint32_t)rng_below(&w->load_rng, LONG_MOST - LONG_LEAST);
	turn(w, i);
}

/* Bursts: so many times the rate for a while, and less between them, with the same mean. */
static double rate_now(const struct world *w)
{
	const struct settings *s = w->set;
	double at, share = s->burst_s / s->burst_every_s;

	if (s->burst <= 1)
		return w->rate;
	at = fmod((double)(w->now - w->begin) / 1e6, s->burst_every_s);
	if (at >= s->burst_every_s - s->burst_s)
		return w->rate * s->burst;
	return w->rate * fmax(0.02, (1 - share * s->burst) / (1 - share));
}

static void next_arrival(struct world *w)
{
	uint64_t us = (uint64_t)(world_exp(&w->load_rng, 1e6 / rate_now(w)));

	if (w->set->burst > 1 && us > SECOND) /* the rate may be another by then: look again (it has no memory) */
		world_push(w, SECOND, (struct ev){ .type = EV_ARRIVAL, .sub = 1 });
	else
		world_push(w, us, (struct ev){ .type = EV_ARRIVAL });
}

static void next_line(struct world *w)
{
	const struct trace *t = w->trace;

	if (t->next < t->n)
		world_push(w, w->begin + t->lines[t->next].at - w->now, (struct ev){ .type = EV_ARRIVAL });
}

static void line(struct world *w)
{
	const struct trace_line *l = &w->trace->lines[w->trace->next++];
	struct conv *c = &w->convs[l->conv];
	struct sim_job *j;

	c->user = l->user;
	c->model = l->model;
	c->prompt = l->prompt;
	j = job_new(w, l->conv);
	j->output = l->output;
	j->priority = l->priority;
	j->deadline_ms = l->deadline_ms;
	j->system = 0;
	ask(w, j);
	next_line(w);
}

static void arrival(struct world *w, const struct ev *ev)
{
	if (w->is_all_asked)
		return;
	if (w->trace != NULL) {
		line(w);
		return;
	}
	if (ev->sub == 0)
		conversation(w);
	next_arrival(w);
}

static void begin_trace(struct world *w)
{
	for (uint32_t i = 0; i < w->trace->n_convs; i++) {
		struct conv *c;

		(void)conv_new(w);
		c = &w->convs[i];
		c->group = (uint16_t)i; /* nothing in common with others: system is 0 */
		c->is_short = i == 0;   /* number 0 is "no session" */
	}
	w->trace->next = 0;
	next_line(w);
}

void load_begin(struct world *w)
{
	const struct settings *s = w->set;
	/* Lengths of conversations have no memory: before any turn lie turns - 1, on average. */
	double before = (double)(s->turns - 1) * (double)(s->prompt + s->output);
	double prompt = (double)(s->prompt + s->system) + before + s->long_share * (LONG_LEAST + LONG_MOST) / 2;

	w->now += SETTLE_US;
	w->begin = w->now;
	w->rate = (s->rate > 0 ? s->rate : s->load * hardware_capacity(w->fleet, s->agents, prompt, (double)s->output)) /
		  (double)s->turns;
	w->jobs = calloc(s->jobs, sizeof(*w->jobs));
	w->n_users = w->trace != NULL ? w->trace->n_users : s->users;
	w->fig.users = calloc(w->n_users, sizeof(*w->fig.users));
	if (w->jobs == NULL || w->fig.users == NULL)
		abort();
	w->is_recording = true;
	w->fig.first_at = w->now;
	world_push(w, WINDOW_US, (struct ev){ .type = EV_WINDOW });
	if (w->trace != NULL)
		begin_trace(w);
	else
		next_arrival(w);
}

/* ---- at the hub ---- */

static struct span prompt_of(const struct sim_job *j)
{
	static char text[SIM_MAX_PROMPT * TOKEN_BYTES];
	size_t system = (size_t)j->system * TOKEN_BYTES, all = (size_t)j->prompt * TOKEN_BYTES;

	memcpy(text, pool + (size_t)place_of(2, j->group) * TOKEN_BYTES, system);
	memcpy(text + system, pool + (size_t)place_of(3, j->conv) * TOKEN_BYTES, all - system);
	return span_mem(text, all);
}

static void submit(struct world *w, uint32_t job)
{
	const struct sim_job *j = &w->jobs[job];
	char user[24], session[24], topic[64], id[24];
	struct hub_event ev = { .type = HUB_EV_SUBMIT };
	struct submit s = { .model = span_of(w->fleet->models[j->model]->name),
		.prompt = prompt_of(j),
		.seed = job, /* what the engine knows the job by */
		.max_tokens = 4 * w->set->output > j->output ? 4 * w->set->output : j->output,
		.stream = true,
		.priority = j->priority,
		.deadline_ms = j->deadline_ms };

	if (j->is_heard || j->phase == PHASE_ENDED)
		return;
	if (w->set->hub_crashes > 0) { /* it may not be there, or forget: asked again, under the same id */
		snprintf(id, sizeof(id), "j%u", job);
		s.id = span_of(id);
		world_push(w, AGAIN_US, (struct ev){ .type = EV_SUBMIT, .who = job });
	}
	msg_set(&s, SUBMIT_SEED);
	msg_set(&s, SUBMIT_MAX_TOKENS);
	snprintf(user, sizeof(user), "u%u", j->user);
	snprintf(topic, sizeof(topic), "clients/%s/r/%u", user, job);
	if (!w->convs[j->conv].is_short && !w->set->no_sessions) {
		snprintf(session, sizeof(session), "s%u", j->conv);
		s.session = span_of(session);
	}
	ev.user = span_of(user);
	ev.reply.topic = span_of(topic);
	ev.submit = &s;
	world_feed_hub(w, &ev);
}

/* ---- what comes back ---- */

static uint32_t number_at_end(struct span s)
{
	uint32_t n = 0, unit = 1;

	for (size_t k = s.n; k > 0 && s.p[k - 1] >= '0' && s.p[k - 1] <= '9'; k--, unit *= 10)
		n += (uint32_t)(s.p[k - 1] - '0') * unit;
	return n;
}

static void wrong(struct world *w, uint32_t job, const char *what)
{
	if (w->fig.wrong++ == 0)
		fprintf(stderr, "shoal-sim: job %u, at %.3f s: %s\n", job, (double)w->now / 1e6, what);
}

static void on_tokens(struct world *w, struct sim_job *j, const struct answer *a)
{
	uint32_t job = (uint32_t)(j - w->jobs);
	struct user_window *u = &w->fig.users[j->user];
	/* A new run of the hub does not know all that the last one has shown. */
	uint64_t n = a->n, known = a->index < j->next ? j->next - a->index : 0;

	if (a->index > j->next || a->index + n > j->output || (known > 0 && w->fig.hub_runs == 0) ||
		!span_eq(a->text, load_text(job, (uint32_t)a->index, (uint32_t)n)))
		wrong(w, job, "tokens that are not the next ones of its answer");
	n = n > known ? n - known : 0;
	if (j->next == 0) {
		samples_add(&w->fig.first, w->now + w->set->hop_us - j->at);
		u->served += j->prompt;
	}
	u->served += (double)n;
	j->next += (uint32_t)n;
}

static void end(struct world *w, struct sim_job *j, const struct answer *a)
{
	struct conv *c = &w->convs[j->conv];
	struct figures_of_run *f = &w->fig;
	double served = j->next > 0 ? (double)(j->prompt + j->next) : 0;

	j->phase = PHASE_ENDED;
	w->n_open--;
	w->last_end = w->now;
	f->users[j->user].dropped += (double)(j->prompt + j->output) - served;
	f->attempts += a->receipt.attempts;
	if (c->turns > 1) {
		c->turns--;
		c->prompt = j->prompt + j->output + length(&w->load_rng, (double)w->set->prompt, SIM_MAX_PROMPT / 4);
		if (c->prompt < SIM_MAX_PROMPT)
			world_push(w, (uint64_t)world_exp(&w->load_rng, w->set->think_s * 1e6),
				(struct ev){ .type = EV_TURN, .who = j->conv });
	}
}

static void on_done(struct world *w, struct sim_job *j, const struct answer *a)
{
	uint32_t job = (uint32_t)(j - w->jobs), agent = number_at_end(a->receipt.agent);
	struct conv *c = &w->convs[j->conv];
	struct figures_of_run *f = &w->fig;

	if (j->next != j->output || !span_eq(a->text, load_text(job, 0, j->output)))
		wrong(w, job, "an end that is not that of its answer");
	f->done++;
	samples_add(&f->total, w->now + w->set->hop_us - j->at);
	samples_add(&f->queue, (uint64_t)((a->receipt.queue_ms + a->receipt.wait_ms) * 1000));
	f->prompt_tokens += a->usage.prompt_tokens;
	f->cached_tokens += a->usage.cached_tokens;
	f->tokens += j->output;
	if (!c->is_short && c->agent != SIM_NONE)
		*(c->agent == agent ? &f->turns_kept : &f->moved) += 1;
	c->agent = agent;
	if (agent < w->n_boxes)
		w->boxes[agent].n_done++;
	end(w, j, a);
}

static void on_error(struct world *w, struct sim_job *j, const struct answer *a)
{
	const struct code_info *code = code_by_name(a->code);

	j->code = (uint8_t)(code != NULL ? code->number : CODE_INTERNAL_ERROR);
	w->fig.by_code[j->code]++;
	end(w, j, a);
}

/* The end has reached the broker. */
static void told(struct world *w, const struct answer *a)
{
	char *id = w->set->hub_crashes > 0 ? span_str(a->job) : NULL;

	if (id != NULL)
		world_push(w, w->set->hop_us, (struct ev){ .type = EV_TOLD, .p = id, .gen = w->hub_gen });
}

void load_answer(struct world *w, const struct hub_action *act)
{
	uint32_t job = number_at_end(act->reply.topic);
	struct sim_job *j = &w->jobs[job];
	const struct answer *a = &act->answer;

	if (j->phase == PHASE_ENDED && w->fig.hub_runs == 0)
		wrong(w, job, "an answer after its end");
	if (a->type == ANSWER_DONE || a->type == ANSWER_ERROR)
		told(w, a);
	if (j->phase == PHASE_ENDED)
		return; /* a new run of the hub could not know that it was told */
	j->is_heard = true;
	switch (a->type) {
	case ANSWER_TOKENS: on_tokens(w, j, a); break;
	case ANSWER_DONE: on_done(w, j, a); break;
	case ANSWER_ERROR: on_error(w, j, a); break;
	default: break;
	}
}

void load_event(struct world *w, const struct ev *ev)
{
	switch (ev->type) {
	case EV_SUBMIT: submit(w, ev->who); break;
	case EV_ARRIVAL: arrival(w, ev); break;
	case EV_TURN: turn(w, ev->who); break;
	case EV_TOLD:
		if (ev->gen == w->hub_gen)
			world_feed_hub(w, &(struct hub_event){ .type = HUB_EV_TOLD, .job = span_of(ev->p) });
		free(ev->p);
		break;
	default:
		report_window(&w->fig, w->n_users);
		if (!w->is_all_asked)
			world_push(w, WINDOW_US, (struct ev){ .type = EV_WINDOW });
		break;
	}
}
