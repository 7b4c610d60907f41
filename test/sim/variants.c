/* variants.c - an alias of two models on one agent: conversations stay with theirs, one that fails
 * is taken out, one that does not is left alone. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define JOBS 400
#define SESSIONS 80
#define GUARD_MIN 20

struct world {
	struct sim *s;
	struct hub *h;
	uint64_t now;
	int served[SESSIONS]; /* by which; 0: not yet */
	int last;
	char job[ID_LEN + 1];
};

static void feed(struct world *w, const struct hub_event *ev)
{
	const struct hub_action *acts;
	size_t n = hub_step(w->h, w->now, ev, &acts);
	uint64_t seq = 0;

	for (size_t i = 0; i < n; i++) {
		if (acts[i].type == HUB_ACT_PERSIST)
			seq = acts[i].persist.seq;
		if (acts[i].type != HUB_ACT_DISPATCH)
			continue;
		w->last = span_is(acts[i].job.model, "v2") ? 2 : 1;
		(void)span_copy(acts[i].job.job, w->job, sizeof(w->job));
	}
	if (seq > 0)
		feed(w, &(struct hub_event){ .type = HUB_EV_PERSISTED, .seq = seq });
}

static void one(struct world *w, size_t session, bool fails)
{
	char name[16];
	struct submit m = { .model = SPAN("x"), .prompt = SPAN("p") };
	struct job_event e = { .type = JOB_EVENT_FAILED, .attempt = 1, .epoch = 1 };

	(void)snprintf(name, sizeof(name), "s%zu", session);
	m.session = span_of(name);
	w->last = 0;
	w->job[0] = '\0';
	feed(w, &(struct hub_event){
			.type = HUB_EV_SUBMIT, .user = SPAN("u"), .reply = { .topic = SPAN("t") }, .submit = &m });
	e.job = span_of(w->job);
	e.code = fails && w->last == 2 ? CODE_INTERNAL_ERROR : CODE_CONTEXT_FULL; /* the latter is the client's */
	feed(w, &(struct hub_event){ .type = HUB_EV_JOB_EVENT, .agent = SPAN("a"), .job_event = &e });
}

static void run(struct world *w, bool is_bad, struct rng *rng)
{
	size_t n_second = 0, n_late = 0;

	for (size_t i = 0; i < JOBS && w->s->why[0] == '\0'; i++) {
		size_t session = (size_t)rng_below(rng, SESSIONS);

		one(w, session, is_bad);
		n_second += w->last == 2;
		n_late += w->last == 2 && i >= JOBS / 2;
		if (!is_bad && w->served[session] != 0 && w->served[session] != w->last)
			sim_violation(w->s, "session %zu goes from variant %d to %d", session, w->served[session], w->last);
		w->served[session] = w->last;
	}
	if (is_bad && n_late > 0)
		sim_violation(w->s, "a variant that always fails got %zu jobs, %zu of them late", n_second, n_late);
	if (is_bad && n_second > GUARD_MIN)
		sim_violation(w->s, "a variant that always fails got %zu jobs", n_second);
}

bool variants_run(struct sim *s)
{
	static const struct model_info models[] = { { .name = { "v1", 2 }, .state = MODEL_READY },
		{ .name = { "v2", 2 }, .state = MODEL_READY } };
	struct hub_variant_config variants[] = { { .alias = "x", .model = "v1", .weight = 1 },
		{ .alias = "x", .model = "v2", .weight = 1 } };
	struct registration g = { .version = PROTO_VERSION,
		.agent = SPAN("a"),
		.epoch = 1,
		.conn = 1,
		.seq = 1,
		.nonce = 1,
		.slots = 4,
		.heartbeat_idle_ms = 5000,
		.heartbeat_busy_ms = 2000,
		.models = models,
		.n_models = 2 };
	struct world w = { .s = s, .now = 1000 };
	struct hub_config c;
	struct rng rng;

	hub_config_defaults(&c);
	c.seed = s->seed;
	c.breaker_min = 0;
	c.variants = variants;
	c.n_variants = 2;
	c.guard_min = GUARD_MIN;
	c.rules_off = s->hub_rules_off;
	if (hub_new(&c, &w.h) < 0)
		abort();
	rng_seed(&rng, s->seed);
	feed(&w, &(struct hub_event){ .type = HUB_EV_LINK_UP });
	feed(&w, &(struct hub_event){ .type = HUB_EV_REGISTRATION, .agent = SPAN("a"), .registration = &g });
	run(&w, s->seed / FAIR_EVERY % 2 == 1, &rng);
	hub_free(w.h);
	return s->why[0] == '\0';
}
