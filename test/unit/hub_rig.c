#include "hub_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "sha256.h"

struct hub_config rig_config(void)
{
	struct hub_config c;

	hub_config_defaults(&c);
	c.seed = 42;
	c.policy = HUB_LEAST_LOADED; /* equals in turn: tests can tell who is next */
	return c;
}

static void forget(struct rig *r)
{
	r->n = 0;
}

static void keep(struct rig *r, struct span *s)
{
	if (s->n == 0)
		return;
	cr_assert_lt(r->n_memory, sizeof(r->memory) / sizeof(r->memory[0]));
	*s = span_mem(r->memory[r->n_memory] = span_str(*s), s->n);
	r->n_memory++;
}

static void keep_candidates(struct rig *r, struct receipt *t)
{
	struct span list = span_mem(t->candidates, t->n_candidates * sizeof(t->candidates[0]));
	struct route_candidate *copy;

	keep(r, &list);
	copy = (struct route_candidate *)(uintptr_t)list.p;
	for (size_t i = 0; i < t->n_candidates; i++) {
		keep(r, &copy[i].agent);
		keep(r, &copy[i].reason);
	}
	t->candidates = copy;
}

static void keep_act(struct rig *r, const struct hub_action *from)
{
	struct hub_action *a = &r->acts[r->n++];
	struct span ids;

	cr_assert_leq(r->n, RIG_ACTS);
	*a = *from;
	keep(r, &a->agent);
	keep(r, &a->reply.topic);
	keep(r, &a->reply.correlation);
	switch (a->type) {
	case HUB_ACT_PERSIST:
		keep(r, &a->persist.job);
		keep(r, &a->persist.user);
		keep(r, &a->persist.key);
		keep(r, &a->persist.body);
		r->persist_seq = a->persist.seq;
		if (a->persist.body.n > 0 || a->persist.kind == HUB_PERSIST_TOLD ||
			(a->persist.kind >= HUB_PERSIST_FIRST_VALUE && a->persist.job.n > 0)) {
			cr_assert_lt(r->n_records, RIG_RECORDS);
			r->records[r->n_records++] = a->persist;
		}
		break;
	case HUB_ACT_DISPATCH:
		keep(r, &a->job.job);
		keep(r, &a->job.model);
		keep(r, &a->job.prompt);
		keep(r, &a->job.session);
		ids = span_mem(a->job.prefix, a->job.n_prefix * sizeof(uint32_t));
		keep(r, &ids);
		a->job.prefix = (const uint32_t *)(const void *)ids.p;
		break;
	case HUB_ACT_CONTROL: keep(r, &a->control.job); break;
	case HUB_ACT_ADMIN:
	case HUB_ACT_ANSWER:
		keep(r, &a->answer.job);
		keep(r, &a->answer.id);
		keep(r, &a->answer.model);
		keep(r, &a->answer.correlation);
		keep(r, &a->answer.state);
		keep(r, &a->answer.text);
		keep(r, &a->answer.probs);
		keep(r, &a->answer.vectors);
		keep(r, &a->answer.code);
		keep(r, &a->answer.message);
		keep(r, &a->answer.receipt.agent);
		keep(r, &a->answer.receipt.route);
		keep(r, &a->answer.receipt.continuity);
		keep_candidates(r, &a->answer.receipt);
		break;
	case HUB_ACT_LOG: keep(r, &a->text); break;
	default: break;
	}
}

static void step(struct rig *r, const struct hub_event *ev)
{
	const struct hub_action *acts;
	uint64_t before = r->persist_seq;
	size_t n = hub_step(r->h, r->now, ev, &acts);

	for (size_t i = 0; i < n; i++)
		keep_act(r, &acts[i]);
	if (r->persist_seq != before && !r->hold_persist)
		step(r, &(struct hub_event){ .type = HUB_EV_PERSISTED, .seq = r->persist_seq });
}

void rig_init(struct rig *r, const struct hub_config *c)
{
	rig_fini(r);
	memset(r, 0, sizeof(*r));
	r->now = 1000000;
	cr_assert_eq(hub_new(c, &r->h), 0);
	rig_simple(r, HUB_EV_LINK_UP);
}

void rig_fini(struct rig *r)
{
	r->h = hub_free(r->h);
	for (size_t i = 0; i < r->n_memory; i++)
		free(r->memory[i]);
}

void rig_event(struct rig *r, struct hub_event ev)
{
	forget(r);
	step(r, &ev);
}

void rig_crash(struct rig *r, const struct hub_config *c, size_t n_records, uint64_t ms)
{
	struct hub_config again = *c;

	again.epoch++;
	r->h = hub_free(r->h);
	r->now += ms;
	r->persist_seq = 0;
	r->n_records = n_records;
	cr_assert_eq(hub_new(&again, &r->h), 0);
	forget(r);
	for (size_t i = 0; i < n_records; i++) {
		struct hub_record record = r->records[i];

		record.age_ms = ms;
		step(r, &(struct hub_event){ .type = HUB_EV_RESTORE, .record = &record });
	}
	step(r, &(struct hub_event){ .type = HUB_EV_RESTORED });
}

void rig_persisted(struct rig *r, uint64_t seq)
{
	rig_event(r, (struct hub_event){ .type = HUB_EV_PERSISTED, .seq = seq });
}

void rig_simple(struct rig *r, enum hub_event_type type)
{
	rig_event(r, (struct hub_event){ .type = type });
}

static void pass(struct rig *r, uint64_t ms)
{
	uint64_t end = r->now + ms;

	for (uint64_t at; (at = hub_deadline(r->h)) <= end;) {
		r->now = at > r->now ? at : r->now;
		step(r, &(struct hub_event){ .type = HUB_EV_TICK });
	}
	r->now = end;
}

void rig_pass(struct rig *r, uint64_t ms)
{
	forget(r);
	pass(r, ms);
}

/* ---- agents ---- */

struct registration rig_registration(const char *id, uint64_t epoch, uint64_t conn)
{
	static const struct model_info model = { .name = { "m", 1 }, .state = MODEL_READY, .n_ctx = 512 };
	struct registration g = {
		.version = PROTO_VERSION,
		.agent = span_of(id),
		.epoch = epoch,
		.conn = conn,
		.seq = 1,
		.nonce = 99,
		.slots = 1,
		.heartbeat_idle_ms = 5000,
		.heartbeat_busy_ms = 2000,
		.models = &model,
		.n_models = 1,
	};

	return g;
}

void rig_register(struct rig *r, struct registration g)
{
	rig_event(r, (struct hub_event){ .type = HUB_EV_REGISTRATION, .agent = g.agent, .registration = &g });
}

void rig_agent(struct rig *r, const char *id, uint64_t epoch, uint64_t conn, uint64_t slots)
{
	struct registration g = rig_registration(id, epoch, conn);

	g.slots = slots;
	rig_register(r, g);
}

void rig_status(struct rig *r, const char *id, uint64_t epoch, uint64_t conn, enum agent_status_state state)
{
	struct status s = { .epoch = epoch, .conn = conn, .state = state };

	rig_event(r, (struct hub_event){ .type = HUB_EV_STATUS, .agent = span_of(id), .status = &s });
}

static struct hub_event heartbeat_event(const char *id, const struct heartbeat *b)
{
	return (struct hub_event){ .type = HUB_EV_HEARTBEAT, .agent = span_of(id), .heartbeat = b };
}

void rig_heartbeat(struct rig *r, const char *id, uint64_t epoch, uint64_t conn)
{
	struct heartbeat b = { .epoch = epoch, .conn = conn, .state = AGENT_ONLINE, .slots = 1 };

	rig_event(r, heartbeat_event(id, &b));
}

void rig_keep_alive(struct rig *r, const char *id, uint64_t ms)
{
	struct heartbeat b = { .epoch = 1, .conn = 1, .state = AGENT_ONLINE };
	struct hub_event ev = heartbeat_event(id, &b);

	forget(r);
	for (uint64_t end = r->now + ms; r->now < end;) {
		pass(r, end - r->now < 1000 ? end - r->now : 1000);
		step(r, &ev);
	}
}

struct job_event rig_said(enum job_event_type type, const char *job, uint64_t attempt)
{
	return (struct job_event){ .type = type, .job = span_of(job), .attempt = attempt, .epoch = 1 };
}

void rig_say(struct rig *r, const char *agent, struct job_event e)
{
	rig_event(r, (struct hub_event){ .type = HUB_EV_JOB_EVENT, .agent = span_of(agent), .job_event = &e });
}

/* One token a character, its id the character. */
void rig_tokens(struct rig *r, const char *agent, const char *job, uint64_t attempt, uint64_t index, const char *text)
{
	struct job_event e = rig_said(JOB_EVENT_TOKENS, job, attempt);
	uint32_t ids[64];

	e.text = span_of(text);
	e.index = index;
	e.ids = ids;
	e.n_ids = e.text.n;
	for (size_t i = 0; i < e.n_ids; i++)
		ids[i] = (uint8_t)text[i];
	rig_say(r, agent, e);
}

void rig_done(struct rig *r, const char *agent, const char *job, uint64_t attempt, uint64_t count, const char *text)
{
	struct job_event e = rig_said(JOB_EVENT_DONE, job, attempt);
	uint8_t digest[SHA256_SIZE];

	sha256_of(span_of(text), digest);
	e.index = count;
	e.finish = FINISH_STOP;
	e.sha256 = span_mem(digest, sizeof(digest));
	e.usage = (struct usage){ .prompt_tokens = 7, .cached_tokens = 2 };
	e.timings = (struct timings){ .wait_us = 1000, .prefill_us = 2000, .decode_us = 3000 };
	rig_say(r, agent, e);
}

void rig_failed(struct rig *r, const char *agent, const char *job, uint64_t attempt, enum code code)
{
	struct job_event e = rig_said(JOB_EVENT_FAILED, job, attempt);

	e.code = code;
	rig_say(r, agent, e);
}

/* ---- clients ---- */

struct submit rig_request(const char *id, bool stream)
{
	return (struct submit){ .id = span_of(id), .model = SPAN("m"), .prompt = SPAN("p"), .stream = stream };
}

void rig_submit_to(struct rig *r, const char *user, struct submit s, const char *topic, uint64_t conn)
{
	rig_event(r, (struct hub_event){ .type = HUB_EV_SUBMIT,
			     .user = span_of(user),
			     .reply = { .topic = span_of(topic), .conn = conn },
			     .submit = &s });
}

const char *rig_submit(struct rig *r, struct submit s)
{
	rig_submit_to(r, "alice", s, "t", 0);
	cr_assert_not_null(rig_find(r, HUB_ACT_PERSIST, 0), "the submit was refused: %.*s",
		SPAN_FMT(r->n > 0 ? r->acts[0].answer.message : SPAN_NONE));
	return rig_find(r, HUB_ACT_PERSIST, 0)->persist.job.p;
}

const char *rig_goes_to(struct rig *r, struct submit s)
{
	static char id[PROTO_MAX_ID + 1];
	const struct hub_action *a;

	rig_submit(r, s);
	a = rig_find(r, HUB_ACT_DISPATCH, 0);
	id[0] = '\0';
	if (a != NULL)
		cr_assert_eq(span_copy(a->agent, id, sizeof(id)), 0);
	return id;
}

void rig_cancel(struct rig *r, const char *user, const char *job, const char *id)
{
	struct cancel c = { .job = span_of(job), .id = span_of(id) };

	rig_event(r, (struct hub_event){ .type = HUB_EV_CANCEL, .user = span_of(user), .cancel = &c });
}

const struct answer *rig_admin(struct rig *r, struct admin a)
{
	rig_event(r, (struct hub_event){
			     .type = HUB_EV_ADMIN, .user = SPAN("ops"), .reply = { .topic = SPAN("t") }, .admin = &a });
	cr_assert_eq(rig_count(r, HUB_ACT_ADMIN), 1);
	return &rig_find(r, HUB_ACT_ADMIN, 0)->answer;
}

/* ---- what came out ---- */

const struct hub_action *rig_find(const struct rig *r, enum hub_action_type type, size_t nth)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->acts[i].type == type && nth-- == 0)
			return &r->acts[i];
	return NULL;
}

size_t rig_count(const struct rig *r, enum hub_action_type type)
{
	size_t n = 0;

	while (rig_find(r, type, n) != NULL)
		n++;
	return n;
}

static const struct hub_action *find_kind(const struct rig *r, enum hub_action_type type, unsigned kind, size_t nth)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct hub_action *a = &r->acts[i];

		if (a->type == type && (type == HUB_ACT_ANSWER ? a->answer.type : a->control.verb) == kind && nth-- == 0)
			return a;
	}
	return NULL;
}

static size_t count_kind(const struct rig *r, enum hub_action_type type, unsigned kind)
{
	size_t n = 0;

	while (find_kind(r, type, kind, n) != NULL)
		n++;
	return n;
}

const struct hub_action *rig_answer(const struct rig *r, enum answer_type type)
{
	return find_kind(r, HUB_ACT_ANSWER, type, 0);
}

size_t rig_answers(const struct rig *r, enum answer_type type)
{
	return count_kind(r, HUB_ACT_ANSWER, type);
}

const struct hub_action *rig_control(const struct rig *r, enum control_verb verb)
{
	return find_kind(r, HUB_ACT_CONTROL, verb, 0);
}

size_t rig_controls(const struct rig *r, enum control_verb verb)
{
	return count_kind(r, HUB_ACT_CONTROL, verb);
}

const struct job_msg *rig_dispatched(const struct rig *r, const char *agent)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->acts[i].type == HUB_ACT_DISPATCH && span_is(r->acts[i].agent, agent))
			return &r->acts[i].job;
	return NULL;
}

const struct answer *rig_must_refuse(const struct rig *r, enum code code)
{
	const struct hub_action *a = rig_answer(r, ANSWER_ERROR);

	cr_assert_eq(rig_count(r, HUB_ACT_ANSWER), 1);
	cr_assert_not_null(a);
	cr_assert(span_is(a->answer.code, code_name(code)), "%.*s instead of %s", SPAN_FMT(a->answer.code), code_name(code));
	cr_assert_gt(a->answer.message.n, 0);
	return &a->answer;
}

struct wanted {
	const char *id;
	struct hub_agent_view agent;
	struct hub_job_view job;
	bool is_found;
};

static void match_agent(void *ctx, const struct hub_agent_view *v)
{
	struct wanted *w = ctx;

	if (!span_is(v->id, w->id))
		return;
	w->agent = *v;
	w->is_found = true;
}

static void match_job(void *ctx, const struct hub_job_view *v)
{
	struct wanted *w = ctx;

	if (!span_is(v->job, w->id))
		return;
	w->job = *v;
	w->is_found = true;
}

struct hub_agent_view rig_agent_view(const struct rig *r, const char *id)
{
	struct wanted w = { .id = id };

	hub_each_agent(r->h, match_agent, &w);
	cr_assert(w.is_found, "no agent %s", id);
	return w.agent;
}

enum hub_presence rig_presence(const struct rig *r, const char *id)
{
	return rig_agent_view(r, id).presence;
}

struct hub_job_view rig_job_view(const struct rig *r, const char *job)
{
	struct wanted w = { .id = job };

	hub_each_job(r->h, match_job, &w);
	cr_assert(w.is_found, "no job %s", job);
	return w.job;
}
