/* fair.c - greedy users, a fleet that cannot keep up, and what each of them gets.
 *
 * One model, agents that never fail, users that always have more to ask.  By seed one of three
 * worlds, each against what the world itself counts:
 *   shares   each backlogged user gets tokens by its weight (Jain's fairness index), however long
 *            its answers are and whatever it claims they will be
 *   low      others send high priority work without end; low priority work is still done in
 *            bounded time
 *   labels   some work may only run on some agents; no agent that could do something is idle */
#include <stdio.h>
#include <stdlib.h>

#include "sha256.h"
#include "sim.h"

#define USERS 6
#define AGENTS 6
#define BACKLOG 12
#define WARM_MS 20000
#define END_MS 100000
#define AGE_MS 10000
#define QUANTUM 256
#define MAX_COST 600 /* tokens of a job; a millisecond each */
#define MAX_RECORDS 65536
#define MIN_JAIN 0.97

enum kind { SHARES, LOW, LABELS, KINDS };

struct fair_job {
	uint64_t tokens, at, end_ms;
	size_t user, agent;
	bool needs_label, is_low, is_given;
	char id[ID_LEN + 1];
};

struct fair {
	struct sim *s;
	enum kind kind;
	struct hub *h;
	struct rng rng;
	uint64_t now, beat_ms, seq, safe;
	struct hub_user_limits limits[USERS];
	char names[USERS][8];
	uint64_t mean[USERS], taken[USERS];
	size_t n_agents, slots[AGENTS], busy[AGENTS];
	bool has_label[AGENTS];
	struct fair_job *jobs;
	size_t n_jobs, n_running, running[AGENTS * 4];
	size_t waiting[2]; /* by needs_label */
	bool low_waits;
};

static void feed(struct fair *f, const struct hub_event *ev);

static void given(struct fair *f, const struct hub_action *a)
{
	size_t number = 0, agent = (size_t)(a->agent.p[0] - 'a');
	struct fair_job *j;

	for (size_t i = 0; i < a->job.prompt.n; i++)
		number = number * 10 + (size_t)(a->job.prompt.p[i] - '0');
	j = &f->jobs[number];
	if (j->is_given)
		return;
	j->is_given = true;
	j->agent = agent;
	j->end_ms = f->now + j->tokens;
	(void)span_copy(a->job.job, j->id, sizeof(j->id));
	f->waiting[j->needs_label]--;
	f->busy[agent]++;
	if (f->n_running < sizeof(f->running) / sizeof(f->running[0])) /* more than all slots is a violation anyway */
		f->running[f->n_running++] = number;
	if (f->busy[agent] > f->slots[agent] || (j->needs_label && !f->has_label[agent]))
		sim_violation(f->s, "agent %zu is given what it cannot take", agent);
}

static void act(struct fair *f, const struct hub_action *acts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (acts[i].type == HUB_ACT_PERSIST)
			f->seq = acts[i].persist.seq;
		if (acts[i].type == HUB_ACT_DISPATCH)
			given(f, &acts[i]);
		if (acts[i].type == HUB_ACT_ANSWER && acts[i].answer.type == ANSWER_ERROR)
			sim_violation(f->s, "refused: %.*s", SPAN_FMT(acts[i].answer.message));
	}
}

static void feed(struct fair *f, const struct hub_event *ev)
{
	const struct hub_action *acts;
	size_t n = hub_step(f->h, f->now, ev, &acts);

	act(f, acts, n);
	while (f->safe < f->seq) {
		f->safe = f->seq;
		n = hub_step(f->h, f->now, &(struct hub_event){ .type = HUB_EV_PERSISTED, .seq = f->safe }, &acts);
		act(f, acts, n);
	}
}

static void submit(struct fair *f, size_t user, bool is_low)
{
	static const struct span label = SPAN("gpu=yes");
	struct fair_job *j = &f->jobs[f->n_jobs];
	struct submit m = { .model = SPAN("m") };
	char prompt[16];

	if (f->n_jobs == MAX_RECORDS)
		return;
	*j = (struct fair_job){ .user = user, .is_low = is_low, .at = f->now };
	j->tokens = 1 + rng_below(&f->rng, 2 * f->mean[user]);
	j->needs_label = f->kind == LABELS && rng_below(&f->rng, 2) == 0;
	(void)snprintf(prompt, sizeof(prompt), "%zu", f->n_jobs++);
	m.prompt = span_of(prompt);
	m.max_tokens = f->kind == SHARES && user % 2 ? 0 : j->tokens; /* some do not say how long it gets */
	m.priority = is_low ? PRIORITY_LOW : f->kind == LOW ? PRIORITY_HIGH : PRIORITY_NORMAL;
	m.require = &label;
	m.n_require = j->needs_label;
	f->waiting[j->needs_label]++;
	feed(f, &(struct hub_event){ .type = HUB_EV_SUBMIT,
			.user = span_of(f->names[user]),
			.reply = { .topic = SPAN("t") },
			.submit = &m });
}

static void end(struct fair *f, size_t at)
{
	struct fair_job *j = &f->jobs[f->running[at]];
	char agent[2] = { (char)('a' + j->agent), '\0' };
	uint32_t ids[PROTO_MAX_FRAME_TOKENS] = { 0 };
	uint8_t digest[SHA256_SIZE];
	struct job_event e = { .type = JOB_EVENT_TOKENS, .job = span_of(j->id), .attempt = 1, .epoch = 1, .ids = ids };
	struct hub_event ev = { .type = HUB_EV_JOB_EVENT, .agent = span_of(agent), .job_event = &e };

	f->running[at] = f->running[--f->n_running];
	f->busy[j->agent]--;
	if (f->now >= WARM_MS)
		f->taken[j->user] += j->tokens;
	for (; e.index < j->tokens; e.index += e.n_ids) {
		e.n_ids = j->tokens - e.index < PROTO_MAX_FRAME_TOKENS ? j->tokens - e.index : PROTO_MAX_FRAME_TOKENS;
		feed(f, &ev);
	}
	sha256_of(SPAN_NONE, digest);
	e.type = JOB_EVENT_DONE;
	e.n_ids = 0;
	e.finish = FINISH_LENGTH;
	e.sha256 = span_mem(digest, sizeof(digest));
	e.usage.prompt_tokens = 1;
	feed(f, &ev);
	if (j->is_low)
		f->low_waits = false;
	else
		submit(f, j->user, false);
}

/* ---- the rules ---- */

static void check_idle(struct fair *f)
{
	for (size_t i = 0; i < f->n_agents; i++)
		if (f->busy[i] < f->slots[i] && (f->waiting[0] > 0 || (f->has_label[i] && f->waiting[1] > 0)))
			sim_violation(
				f->s, "agent %zu has room while %zu and %zu jobs wait", i, f->waiting[0], f->waiting[1]);
}

/* Risen to the top it waits for one turn of each other user, at the pace of the slowest fleet. */
static void check_low(struct fair *f)
{
	uint64_t most = 2 * AGE_MS + USERS * (QUANTUM + 2 * MAX_COST);
	const struct fair_job *j = &f->jobs[f->n_jobs - 1];

	for (size_t i = f->n_jobs; f->low_waits && i-- > 0;) {
		j = &f->jobs[i];
		if (j->is_low)
			break;
	}
	if (f->low_waits && !j->is_given && f->now - j->at > most)
		sim_violation(f->s, "low priority work waits for %u ms", (unsigned)(f->now - j->at));
}

static void check_shares(struct fair *f)
{
	double sum = 0, squares = 0;

	for (size_t i = 0; i < USERS; i++) {
		double x = (double)f->taken[i] / (double)f->limits[i].weight;

		sum += x;
		squares += x * x;
	}
	if (sum * sum < MIN_JAIN * USERS * squares)
		sim_violation(f->s, "users share with Jain's index %.3f", sum * sum / (USERS * squares));
}

/* ---- the world ---- */

static void agent(struct fair *f, size_t i)
{
	static const struct model_info model = { .name = { "m", 1 }, .state = MODEL_READY, .n_ctx = 512 };
	static const struct span label = SPAN("gpu=yes");
	char id[2] = { (char)('a' + i), '\0' };
	struct registration g = { .version = PROTO_VERSION,
		.agent = span_of(id),
		.epoch = 1,
		.conn = 1,
		.seq = 1,
		.nonce = 1,
		.heartbeat_idle_ms = 5000,
		.heartbeat_busy_ms = 2000,
		.models = &model,
		.n_models = 1 };

	g.slots = f->slots[i] = 1 + rng_below(&f->rng, 3);
	f->has_label[i] = i % 2 == 0;
	g.labels = &label;
	g.n_labels = f->has_label[i];
	feed(f, &(struct hub_event){ .type = HUB_EV_REGISTRATION, .agent = span_of(id), .registration = &g });
}

static void beat(struct fair *f)
{
	for (size_t i = 0; i < f->n_agents; i++) {
		char id[2] = { (char)('a' + i), '\0' };
		struct heartbeat b = { .epoch = 1, .conn = 1, .state = AGENT_ONLINE };

		feed(f, &(struct hub_event){ .type = HUB_EV_HEARTBEAT, .agent = span_of(id), .heartbeat = &b });
	}
	f->beat_ms = f->now + 1000;
	if (f->kind == LOW && !f->low_waits) {
		f->low_waits = true;
		submit(f, 0, true);
	}
}

static void begin(struct fair *f)
{
	struct hub_config c;

	hub_config_defaults(&c);
	c.seed = f->s->seed;
	c.policy = HUB_LEAST_LOADED;
	c.age_ms = AGE_MS;
	c.quantum = QUANTUM;
	c.accept_timeout_ms = c.silence_ms = c.first_token_ms = c.stall_ms = END_MS;
	c.rules_off = f->s->hub_rules_off;
	for (size_t i = 0; i < USERS; i++) {
		(void)snprintf(f->names[i], sizeof(f->names[i]), "u%zu", i);
		f->limits[i] = (struct hub_user_limits){ .name = f->names[i], .weight = 1 + rng_below(&f->rng, 3) };
		f->mean[i] = 100 + rng_below(&f->rng, MAX_COST / 2 - 100); /* a backlog outlasts a turn */
	}
	c.users = f->limits;
	c.n_users = USERS;
	if (hub_new(&c, &f->h) < 0)
		abort();
	feed(f, &(struct hub_event){ .type = HUB_EV_LINK_UP });
	f->n_agents = 2 + rng_below(&f->rng, f->kind == SHARES ? 2 : AGENTS - 1);
	for (size_t i = 0; i < f->n_agents; i++)
		agent(f, i);
	for (size_t n = 0; n < BACKLOG; n++)
		for (size_t i = f->kind == LOW; i < USERS; i++)
			submit(f, i, false);
}

static void turn(struct fair *f)
{
	uint64_t at = f->beat_ms, due = hub_deadline(f->h);
	size_t which = SIZE_MAX;

	for (size_t i = 0; i < f->n_running; i++)
		if (f->jobs[f->running[i]].end_ms <= at) {
			at = f->jobs[f->running[i]].end_ms;
			which = i;
		}
	if (due < at) {
		f->now = due > f->now ? due : f->now;
		feed(f, &(struct hub_event){ .type = HUB_EV_TICK });
		return;
	}
	f->now = at;
	if (which != SIZE_MAX)
		end(f, which);
	else
		beat(f);
	check_idle(f);
	check_low(f);
}

bool fair_run(struct sim *s)
{
	struct fair f = { .s = s, .kind = (enum kind)(s->seed / FAIR_EVERY % KINDS), .now = 1000, .beat_ms = 1000 };

	f.jobs = calloc(MAX_RECORDS, sizeof(*f.jobs));
	if (f.jobs == NULL)
		abort();
	rng_seed(&f.rng, s->seed);
	begin(&f);
	while (f.now < END_MS && s->why[0] == '\0')
		turn(&f);
	if (f.kind == SHARES && s->why[0] == '\0')
		check_shares(&f);
	s->now = f.now;
	hub_free(f.h);
	free(f.jobs);
	return s->why[0] == '\0';
}
