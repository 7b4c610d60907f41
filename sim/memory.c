/* memory.c - what the hub core takes, by the allocator's own account: a hub of its own is told of
 * agents, then of sessions, and nothing else is allocated meanwhile. */
#include <malloc.h>
#include <stdio.h>

#include "sha256.h"
#include "sim.h"

#define AGENTS 1000
#define SESSIONS 10000

static double in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return (double)m.uordblks + (double)m.hblkhd;
}

struct given { /* the last dispatch; empty agent: none since it was cleared */
	char agent[PROTO_MAX_ID + 1], job[PROTO_MAX_ID + 1];
	uint64_t attempt, epoch;
};

/* All that is asked to be recorded is safe at once. */
static void feed(struct hub *h, uint64_t now, const struct hub_event *ev, struct given *given)
{
	struct hub_event safe = { .type = HUB_EV_PERSISTED };
	const struct hub_action *acts;

	for (uint64_t before = UINT64_MAX; before != safe.seq; ev = &safe) {
		size_t n = hub_step(h, now, ev, &acts);

		before = safe.seq;
		for (size_t i = 0; i < n; i++) {
			if (acts[i].type == HUB_ACT_PERSIST)
				safe.seq = acts[i].persist.seq;
			if (acts[i].type != HUB_ACT_DISPATCH || given == NULL)
				continue;
			(void)span_copy(acts[i].agent, given->agent, sizeof(given->agent));
			(void)span_copy(acts[i].job.job, given->job, sizeof(given->job));
			given->attempt = acts[i].job.attempt;
			given->epoch = acts[i].job.epoch;
		}
	}
}

static void register_agent(struct hub *h, uint64_t now, unsigned i)
{
	struct model_info models[] = { { .name = SPAN("small"),
					       .state = MODEL_READY,
					       .slots = 4,
					       .n_ctx = 8192,
					       .n_params = 1700000000,
					       .arch = SPAN("llama"),
					       .digest = SPAN(SIM_DIGEST) },
		{ .name = SPAN("mid"),
			.state = MODEL_READY,
			.slots = 4,
			.n_ctx = 8192,
			.n_params = 8000000000,
			.arch = SPAN("llama"),
			.digest = SPAN(SIM_DIGEST) } };
	const struct span labels[] = { SPAN("class=desktop") };
	char id[32];
	struct registration r = { .version = PROTO_VERSION,
		.epoch = 1,
		.conn = 1,
		.seq = 1,
		.nonce = i + 1,
		.slots = 8,
		.software = SPAN("shoal-agent 0.1.0"),
		.engine = SPAN("llama.cpp b1234 avx2"),
		.models = models,
		.n_models = 2,
		.labels = labels,
		.n_labels = 1,
		.hardware = { .cores = 16, .mem_total = (uint64_t)32 << 30 } };
	struct heartbeat b = { .epoch = 1, .conn = 1, .state = AGENT_ONLINE, .slots = 8 };

	models[0].digest.n = models[1].digest.n = 32;
	snprintf(id, sizeof(id), "desktop-%u", i);
	r.agent = r.host = span_of(id);
	for (size_t m = 0; m < 2; m++)
		msg_set(&models[m], MODEL_INFO_SLOTS);
	feed(h, now, &(struct hub_event){ .type = HUB_EV_REGISTRATION, .agent = r.agent, .registration = &r }, NULL);
	feed(h, now, &(struct hub_event){ .type = HUB_EV_HEARTBEAT, .agent = r.agent, .heartbeat = &b }, NULL);
}

static void agents(struct hub *h)
{
	feed(h, 1, &(struct hub_event){ .type = HUB_EV_LINK_UP }, NULL);
	for (unsigned i = 0; i < AGENTS; i++)
		register_agent(h, 2, i);
}

/* A conversation of one turn; its job is forgotten when it has ended (max_ended). */
static void session(struct hub *h, unsigned i)
{
	char id[32], prompt[512];
	struct submit s = { .model = SPAN("small"), .prompt = span_mem(prompt, sizeof(prompt)) };
	uint32_t token = 1;
	uint8_t digest[SHA256_SIZE];
	struct given given = { .epoch = 0 };
	struct job_event e = { .type = JOB_EVENT_TOKENS, .ids = &token, .n_ids = 1, .text = SPAN("x") };
	struct hub_event ev = { .type = HUB_EV_JOB_EVENT, .job_event = &e };

	memset(prompt, 'a', sizeof(prompt));
	snprintf(prompt, sizeof(prompt), "%u", i);
	snprintf(id, sizeof(id), "conversation-%u", i);
	s.session = span_of(id);
	feed(h, 3,
		&(struct hub_event){
			.type = HUB_EV_SUBMIT, .user = SPAN("alice"), .reply = { .topic = SPAN("t") }, .submit = &s },
		&given);
	ev.agent = span_of(given.agent);
	e.job = span_of(given.job);
	e.attempt = given.attempt;
	e.epoch = given.epoch;
	feed(h, 4, &ev, NULL);
	sha256_of(SPAN("x"), digest);
	e = (struct job_event){ .type = JOB_EVENT_DONE,
		.job = e.job,
		.attempt = e.attempt,
		.epoch = e.epoch,
		.index = 1,
		.finish = FINISH_STOP,
		.sha256 = span_mem(digest, sizeof(digest)),
		.usage = { .prompt_tokens = 128, .completion_tokens = 1 } };
	feed(h, 5, &ev, NULL);
}

void memory_measure(enum hub_policy policy, double *ret_agent, double *ret_session)
{
	struct hub_config c;
	struct hub *h;
	double before;

	hub_config_defaults(&c);
	c.policy = policy;
	c.max_ended = 0;
	if (hub_new(&c, &h) < 0)
		return;
	before = in_use();
	agents(h);
	*ret_agent = (in_use() - before) / AGENTS;
	session(h, SESSIONS); /* what the first one brings along */
	before = in_use();
	for (unsigned i = 0; i < SESSIONS; i++)
		session(h, i);
	if (hub_counters(h)->jobs_done == SESSIONS + 1)
		*ret_session = (in_use() - before) / SESSIONS;
	hub_free(h);
}
