/* memory.c - what the hub core takes, by the allocator's own account: a hub of its own is told of
 * agents, then of sessions, and nothing else is allocated meanwhile. */
#include <malloc.h>
#include <stdio.h>

#include "sim.h"

#define AGENTS 1000
#define SESSIONS 10000

static double in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return (double)m.uordblks + (double)m.hblkhd;
}

static void feed(struct hub *h, uint64_t now, const struct hub_event *ev)
{
	const struct hub_action *acts;

	(void)hub_step(h, now, ev, &acts);
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
	feed(h, now, &(struct hub_event){ .type = HUB_EV_REGISTRATION, .agent = r.agent, .registration = &r });
	feed(h, now, &(struct hub_event){ .type = HUB_EV_HEARTBEAT, .agent = r.agent, .heartbeat = &b });
}

static void agents(struct hub *h)
{
	feed(h, 1, &(struct hub_event){ .type = HUB_EV_LINK_UP });
	for (unsigned i = 0; i < AGENTS; i++)
		register_agent(h, 2, i);
}

void memory_measure(enum hub_policy policy, double *ret_agent)
{
	struct hub_config c;
	struct hub *h;
	double before;

	hub_config_defaults(&c);
	c.policy = policy;
	if (hub_new(&c, &h) < 0)
		return;
	before = in_use();
	agents(h);
	*ret_agent = (in_use() - before) / AGENTS;
	hub_free(h);
}
