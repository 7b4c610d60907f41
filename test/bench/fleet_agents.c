/* fleet_agents.c - agents as a hub sees them: registered, alive, answering jobs at once. */
#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>

#include "sha256.h"

#define NOBODY SIZE_MAX
#define TOKEN_TEXT "word "

static const struct span isa[] = { SPAN("sse4.2"), SPAN("avx2"), SPAN("fma"), SPAN("f16c") };

/* An agent keeps what has ended until the hub has it safe; its slot is free by then. */
static size_t max_runs(const struct fleet *f)
{
	return 4 * f->options.slots + 16;
}

/* NULL: none of ours. */
static struct agent *find(struct fleet *f, struct span id)
{
	uint64_t n = 0;

	for (size_t i = 1; i < id.n && id.p[i] >= '0' && id.p[i] <= '9'; i++)
		n = n * 10 + (uint64_t)(id.p[i] - '0');
	n -= f->options.first;
	return n < f->options.agents && span_is(id, f->agents[n].id) ? &f->agents[n] : NULL;
}

static int publish(struct agent *a, enum topic_kind kind, const struct msg_type *t, const void *m, int qos, bool retain)
{
	struct fleet *f = a->link->fleet;
	struct topic topic;
	struct mq_pub pub = { .payload = fleet_encode(f, t, m, MSG_KEYS_INT), .qos = qos, .retain = retain };
	int rc = topic_make(f->options.prefix, kind, span_of(a->id), &topic);

	pub.topic = span_of(topic.s);
	return rc < 0 ? rc : mq_publish(a->link->mq, &pub, NULL);
}

/* ---- presence ---- */

static int say_registration(struct agent *a)
{
	struct fleet *f = a->link->fleet;
	struct model_info model = { .name = SPAN(FLEET_MODEL),
		.size = 400u << 20,
		.state = MODEL_READY,
		.n_ctx = 4096,
		.n_params = 500000000,
		.arch = SPAN("llama"),
		.load_percent = 100,
		.slots = f->options.slots,
		.memory = 600u << 20,
		.prefill_milli = 200000,
		.decode_milli = 20000 };
	struct registration r = { .version = PROTO_VERSION,
		.agent = span_of(a->id),
		.epoch = FLEET_EPOCH,
		.conn = a->link->conn,
		.seq = 1,
		.nonce = 0x5eed00000000 + (uint64_t)(a - f->agents),
		.host = span_of(a->id),
		.software = SPAN("shoal-agent 0.1.0"),
		.engine = SPAN("llama.cpp 0.7.0"),
		.slots = f->options.slots,
		.queue_max = 16,
		.heartbeat_idle_ms = f->options.idle_ms,
		.heartbeat_busy_ms = f->options.busy_ms,
		.hardware = { .arch = SPAN("aarch64"),
			.cpu = SPAN("Cortex-A76"),
			.kernel = SPAN("6.1.0-rpi8-rpi-v8"),
			.cores = 4,
			.mem_total = (uint64_t)8 << 30,
			.machine = SPAN("Raspberry Pi 5 Model B Rev 1.0"),
			.cores_physical = 4,
			.cpu_max_mhz = 2400,
			.isa = isa,
			.n_isa = sizeof(isa) / sizeof(isa[0]),
			.disk_total = (uint64_t)64 << 30 },
		.models = &model,
		.n_models = 1 };

	return publish(a, TOPIC_AGENT_REGISTRATION, &registration_type, &r, 1, true);
}

static int say_status(struct agent *a)
{
	struct status s = { .epoch = FLEET_EPOCH, .conn = a->link->conn, .state = AGENT_ONLINE };

	return publish(a, TOPIC_AGENT_STATUS, &status_type, &s, 1, true);
}

static void say_heartbeat(struct agent *a)
{
	struct fleet *f = a->link->fleet;
	struct figures figures[2] = { { .requests_total = 1000,
		.tokens_total = 100000,
		.latency_min_ms = 40,
		.latency_avg_ms = 400,
		.latency_p50_ms = 380,
		.latency_p95_ms = 900,
		.latency_p99_ms = 1200,
		.latency_max_ms = 1500,
		.prefill_milli = 200000,
		.decode_milli = 20000 } };
	struct heartbeat h = { .epoch = FLEET_EPOCH,
		.conn = a->link->conn,
		.state = AGENT_ONLINE,
		.slots = f->options.slots,
		.running = a->n_running,
		.tokens_total = 100000,
		.mem_available = (uint64_t)4 << 30,
		.rss = 8u << 20,
		.load_milli = 1500,
		.jobs_done = 1000,
		.uptime_ms = 3600000,
		.requests_total = 1000,
		.latency_p50_ms = 380,
		.latency_p95_ms = 900,
		.latency_p99_ms = 1200,
		.sensors = { .temp_milli = 55000, .cpu_mhz = 2400, .psi_cpu = 100, .disk_free = (uint64_t)32 << 30 },
		.figures = figures,
		.n_figures = 2,
		.memory_total = (uint64_t)8 << 30,
		.memory_limit = (uint64_t)7 << 30,
		.memory_used = (uint64_t)4 << 30 };

	figures[1] = figures[0];
	figures[1].name = SPAN(FLEET_MODEL);
	msg_set(&h, HEARTBEAT_SENSORS);
	f->counts.beats += publish(a, TOPIC_AGENT_HEARTBEAT, &heartbeat_type, &h, 0, false) == 0;
}

/* ---- heartbeats: a wheel of ticks ---- */

static void beat_in(struct fleet *f, size_t number, uint64_t ms)
{
	uint64_t ticks = ms / FLEET_TICK_MS;
	struct beat *at = &f->beats[(f->tick + (ticks > 0 ? ticks : 1)) % FLEET_BEATS];

	f->next_beat[number] = at->first;
	at->first = number;
}

static void on_beat(void *ctx)
{
	struct fleet *f = ctx;
	uint64_t now = clock_ms() / FLEET_TICK_MS;

	for (; f->tick < now; f->tick++) {
		struct beat *at = &f->beats[(f->tick + 1) % FLEET_BEATS];
		size_t i = at->first;

		at->first = NOBODY;
		while (i != NOBODY) {
			size_t next = f->next_beat[i];

			say_heartbeat(&f->agents[i]);
			beat_in(f, i,
				(f->agents[i].n_running > 0 ? f->options.busy_ms : f->options.idle_ms) + FLEET_TICK_MS);
			i = next;
		}
	}
	loop_timer_at(f->beat_timer, (now + 1) * FLEET_TICK_MS);
}

/* ---- jobs ---- */

static void count_event(struct fleet *f)
{
	f->counts.events++;
	f->counts.event_bytes += f->out.n;
}

static int say(struct agent *a, const struct run *r, const struct job_event *what, enum record_kind kind)
{
	struct fleet *f = a->link->fleet;
	struct job_event e = *what;
	int rc;

	e.job = span_of(r->id);
	e.attempt = r->attempt;
	e.epoch = FLEET_EPOCH;
	rc = publish(a, TOPIC_AGENT_OUT, &job_event_type, &e,
		e.type == JOB_EVENT_TOKENS || e.type == JOB_EVENT_PROGRESS ? 0 : 1, false);
	if (rc < 0)
		return rc;
	count_event(f);
	if (kind < RECORD_KINDS)
		record_note(f->record, kind, SPAN_NONE, e.job, buf_span(&f->out));
	return 0;
}

static int say_tokens(struct agent *a, struct run *r)
{
	static const uint32_t ids[] = { 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116 };
	static const char text[] = TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT
		TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT TOKEN_TEXT;
	uint64_t n = a->link->fleet->load.frame, left = r->last - r->next;
	int rc;

	n = n < left ? n : left;
	n = n < 16 ? n : 16;
	rc = say(a, r,
		&(struct job_event){ .type = JOB_EVENT_TOKENS,
			.index = r->next,
			.text = span_mem(text, n * strlen(TOKEN_TEXT)),
			.ids = ids,
			.n_ids = n },
		RECORD_TOKENS);
	if (rc == 0)
		r->next += n;
	return rc;
}

/* Of n times the text of a token; all answers have the same few lengths. */
static struct span digest_of(uint64_t n)
{
	static uint8_t digest[SHA256_SIZE];
	static uint64_t n_known = UINT64_MAX;
	struct buf text = BUF_INIT(PROTO_MAX_ANSWER);

	if (n != n_known) {
		for (uint64_t i = 0; i < n; i++)
			buf_add_span(&text, SPAN(TOKEN_TEXT));
		sha256_of(buf_span(&text), digest);
		buf_fini(&text);
		n_known = n;
	}
	return span_mem(digest, sizeof(digest));
}

static int say_done(struct agent *a, const struct run *r)
{
	return say(a, r,
		&(struct job_event){ .type = JOB_EVENT_DONE,
			.index = r->last,
			.finish = FINISH_LENGTH,
			.sha256 = digest_of(r->last - r->first),
			.usage = { .prompt_tokens = 40, .completion_tokens = r->last },
			.timings = { .wait_us = 20, .prefill_us = 2000, .decode_us = 20000 } },
		RECORD_DONE);
}

/* Says what a job has to say, as far as there is room. */
static void go_on(struct agent *a, struct run *r)
{
	int rc = 0;

	if (!r->is_accepted) {
		rc = say(a, r, &(struct job_event){ .type = JOB_EVENT_ACCEPTED }, RECORD_ACCEPTED);
		r->is_accepted = rc == 0;
	}
	while (rc == 0 && !r->is_held && r->next < r->last)
		rc = say_tokens(a, r);
	if (rc == 0 && !r->is_held && !r->is_over) {
		rc = say_done(a, r);
		r->is_over = rc == 0;
		a->n_running -= rc == 0 && !r->was_over;
		r->was_over = r->was_over || rc == 0;
	}
	a->link->is_owing = a->link->is_owing || rc == ERR_FULL;
}

static struct run *find_run(struct agent *a, struct span id)
{
	for (size_t i = 0; i < max_runs(a->link->fleet); i++)
		if (span_is(id, a->runs[i].id))
			return &a->runs[i];
	return NULL;
}

static void on_job(struct agent *a, const struct mq_msg *msg)
{
	struct fleet *f = a->link->fleet;
	struct job_msg m;
	struct run *r;

	if (msg_decode(&job_type, msg->payload, MSG_KEYS_INT, &f->arena, &m, NULL) < 0)
		fleet_die("a job cannot be read");
	f->counts.jobs++;
	f->counts.job_bytes += msg->payload.n;
	clients_arrived(f, m.prompt);
	record_note(f->record, RECORD_JOB, SPAN_NONE, m.job, msg->payload);
	r = find_run(a, m.job);
	if (r == NULL && (r = find_run(a, SPAN(""))) == NULL)
		fleet_die("agent %s was given more jobs than it can hold", a->id);
	if (r->id[0] != '\0' && m.attempt <= r->attempt) {
		r->is_accepted = r->is_accepted && m.attempt < r->attempt; /* said again */
	} else {
		f->n_running += r->id[0] == '\0';
		a->n_running += r->id[0] == '\0';
		*r = (struct run){ .attempt = m.attempt,
			.first = m.n_prefix,
			.next = m.n_prefix,
			.last = m.sampling.max_tokens,
			.is_held = f->load.hold != 0 };
		if (span_copy(m.job, r->id, sizeof(r->id)) < 0)
			fleet_die("a job's id is too long");
	}
	go_on(a, r);
}

static void forget(struct agent *a, struct run *r)
{
	r->id[0] = '\0';
	a->n_running -= !r->was_over;
	if (--a->link->fleet->n_running == 0)
		clients_agents_idle(a->link->fleet);
}

static void on_control(struct agent *a, const struct mq_msg *msg)
{
	struct fleet *f = a->link->fleet;
	struct control c;
	struct run *r;

	if (msg_decode(&control_type, msg->payload, MSG_KEYS_INT, &f->arena, &c, NULL) < 0)
		fleet_die("a control message cannot be read");
	f->counts.controls += c.verb != CONTROL_ACK;
	f->counts.acks += c.verb == CONTROL_ACK;
	f->counts.control_bytes += msg->payload.n;
	if (c.verb == CONTROL_END || c.verb == CONTROL_ACK)
		record_note(f->record, c.verb == CONTROL_ACK ? RECORD_ACK : RECORD_CONTROL, SPAN_NONE, c.job, msg->payload);
	if (c.verb == CONTROL_PING) {
		(void)(say_registration(a) == 0 && say_status(a) == 0);
		say_heartbeat(a);
	}
	r = c.job.n > 0 ? find_run(a, c.job) : NULL;
	if (r == NULL)
		return;
	if (c.verb == CONTROL_END) {
		forget(a, r);
	} else if (c.verb == CONTROL_CANCEL) {
		(void)say(a, r, &(struct job_event){ .type = JOB_EVENT_FAILED, .code = CODE_CANCELLED }, RECORD_KINDS);
		r->is_held = r->is_over = true;
	} else if (c.verb == CONTROL_RESEND && r->is_held) {
		(void)say(a, r, &(struct job_event){ .type = JOB_EVENT_PROGRESS, .prefill_percent = 50 }, RECORD_KINDS);
	} else if (c.verb == CONTROL_RESEND) {
		r->next = c.index >= r->first && c.index < r->last ? c.index : r->last;
		r->is_over = false;
		go_on(a, r);
	}
}

void agents_message(struct link *l, const struct mq_msg *msg)
{
	struct fleet *f = l->fleet;
	struct span id;
	enum topic_kind kind = topic_parse(f->options.prefix, msg->topic, &id);
	struct agent *a = find(f, id);

	if (a == NULL)
		return;
	if (kind == TOPIC_AGENT_JOBS)
		on_job(a, msg);
	else if (kind == TOPIC_AGENT_CONTROL)
		on_control(a, msg);
}

static void each_run(struct fleet *f, const struct link *l, void (*fn)(struct agent *a, struct run *r))
{
	for (size_t i = 0; i < f->options.agents; i++)
		for (size_t k = 0; (l == NULL || f->agents[i].link == l) && k < max_runs(f); k++)
			if (f->agents[i].runs[k].id[0] != '\0')
				fn(&f->agents[i], &f->agents[i].runs[k]);
}

void agents_room(struct link *l)
{
	if (!l->is_owing)
		return;
	l->is_owing = false;
	each_run(l->fleet, l, go_on);
}

static void let_go(struct agent *a, struct run *r)
{
	r->is_held = false;
	go_on(a, r);
}

void agents_release(struct fleet *f)
{
	f->load.hold = 0;
	each_run(f, NULL, let_go);
}

/* ---- connections ---- */

/* Agents are dealt out to the links in turn. */
static struct agent *agent_of(const struct link *l, size_t k)
{
	size_t number = l->number + k * l->fleet->options.links;

	return number < l->fleet->options.agents ? &l->fleet->agents[number] : NULL;
}

void agents_subscribe(struct link *l)
{
	static const enum topic_kind kinds[] = { TOPIC_AGENT_JOBS, TOPIC_AGENT_CONTROL };
	struct agent *a;
	struct topic t;

	for (size_t k = 0; (a = agent_of(l, k)) != NULL; k++)
		for (size_t i = 0; i < 2; i++, l->n_wanted++)
			if (topic_make(l->fleet->options.prefix, kinds[i], span_of(a->id), &t) < 0 ||
				mq_subscribe(l->mq, t.s, 1, NULL) < 0)
				fleet_die("cannot subscribe");
}

bool agents_announce(struct link *l)
{
	struct fleet *f = l->fleet;
	struct agent *a;

	for (; (a = agent_of(l, l->next)) != NULL; l->next++) {
		size_t number = (size_t)(a - f->agents);

		if (say_registration(a) < 0 || say_status(a) < 0)
			return false; /* both are said again */
		if (!a->is_announced && f->options.beat != 0)
			beat_in(f, number, 1 + rng_mix(f->options.first, number) % f->options.idle_ms);
		a->is_announced = true;
	}
	return mq_stats(l->mq).pending == 0;
}

bool agents_will(struct link *l, uint64_t conn, struct mq_pub *ret)
{
	struct status s = {
		.epoch = FLEET_EPOCH, .conn = conn, .state = AGENT_OFFLINE, .reason = SPAN("the connection was lost")
	};
	struct span bytes = fleet_encode(l->fleet, &status_type, &s, MSG_KEYS_INT);
	const struct agent *a = agent_of(l, 0);

	if (l->fleet->options.links < l->fleet->options.agents || a == NULL || bytes.n > sizeof(l->will) ||
		topic_make(l->fleet->options.prefix, TOPIC_AGENT_STATUS, span_of(a->id), &l->will_topic) < 0)
		return false; /* one connection cannot have several */
	memcpy(l->will, bytes.p, bytes.n);
	*ret = (struct mq_pub){
		.topic = span_of(l->will_topic.s), .payload = span_mem(l->will, bytes.n), .qos = 1, .retain = true
	};
	return true;
}

void agents_init(struct fleet *f)
{
	size_t n = f->options.agents;

	f->agents = calloc(n + 1, sizeof(*f->agents));
	f->next_beat = calloc(n + 1, sizeof(*f->next_beat));
	if (f->agents == NULL || f->next_beat == NULL || loop_timer_new(f->loop, on_beat, f, &f->beat_timer) < 0)
		fleet_die("no memory");
	for (size_t i = 0; i < n; i++) {
		struct agent *a = &f->agents[i];

		(void)snprintf(a->id, sizeof(a->id), FLEET_ID, i + f->options.first);
		a->link = &f->links[i % f->options.links];
		a->runs = calloc(max_runs(f), sizeof(*a->runs));
		if (a->runs == NULL)
			fleet_die("no memory");
	}
	for (size_t i = 0; i < FLEET_BEATS; i++)
		f->beats[i].first = NOBODY;
	f->tick = clock_ms() / FLEET_TICK_MS;
	on_beat(f);
}

void agents_fini(struct fleet *f)
{
	loop_timer_free(f->beat_timer);
	for (size_t i = 0; i < f->options.agents; i++)
		free(f->agents[i].runs);
	free(f->agents);
	free(f->next_beat);
}
