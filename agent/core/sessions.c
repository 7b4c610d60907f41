/* sessions.c - conversations whose computed state outlives their engine.
 *
 * A session's last job leaves its state in the engine until its place is needed.  When it has
 * rested for a while and the engine has nothing to do, the state is saved to a file, so that no
 * stream waits for it; what is not saved when an engine is told to go is saved then.  Before
 * a job of a session starts the engine is given the file, if there is one: it knows whether it
 * holds all of that still.  The files together stay below a limit, the one not used for longest
 * goes first. */
#include <stdlib.h>

#include "agent_core.h"

#define SESSIONS_MAX 4096
#define DROPS_A_STEP 8
#define SAVES_A_STOP 64

struct session {
	TAILQ_ENTRY(session) in_list;
	char name[AGENT_SESSION_NAME + 1];
	struct engine *engine;      /* that ran its last job; NULL: none since the start */
	uint64_t job, ended_ms;     /* run of that job; when it ended */
	uint64_t saving, restoring; /* runs that SAVE and RESTORE named; 0: none */
	unsigned n_running;
	bool is_unsaved; /* the engine may hold more than the file does */
	uint64_t bytes;  /* of the file; 0: there is none */
};

TAILQ_HEAD(session_list, session);

struct sessions {
	struct session_list list; /* used longest ago first */
	size_t n;
	uint64_t bytes; /* of all files */
};

int sessions_init(struct agent *a)
{
	if (a->config.session_bytes == 0)
		return 0;
	a->sessions = calloc(1, sizeof(*a->sessions));
	if (a->sessions == NULL)
		return ERR_NOMEM;
	TAILQ_INIT(&a->sessions->list);
	return 0;
}

void sessions_fini(struct agent *a)
{
	struct session *s;

	while (a->sessions != NULL && (s = TAILQ_FIRST(&a->sessions->list)) != NULL) {
		TAILQ_REMOVE(&a->sessions->list, s, in_list);
		free(s);
	}
	free(a->sessions);
	a->sessions = NULL;
}

/* ---- the table ---- */

/* Clients choose a session's id; a file's name they do not. */
static void name_of(struct span model, struct span session, char ret[AGENT_SESSION_NAME + 1])
{
	static const char digits[] = "0123456789abcdef";
	struct buf b = BUF_INIT(2 * (PROTO_MAX_NAME + PROTO_MAX_ID));
	uint8_t sum[SHA256_SIZE];

	buf_add_span(&b, model);
	buf_add(&b, "", 1);
	buf_add_span(&b, session);
	sha256_of(buf_span(&b), sum);
	buf_fini(&b);
	for (size_t i = 0; i < AGENT_SESSION_NAME; i++)
		ret[i] = digits[i % 2 == 0 ? sum[i / 2] >> 4 : sum[i / 2] & 15];
	ret[AGENT_SESSION_NAME] = '\0';
}

static struct session *find(const struct agent *a, struct span name)
{
	struct session *s;

	TAILQ_FOREACH(s, &a->sessions->list, in_list)
	{
		if (span_is(name, s->name))
			return s;
	}
	return NULL;
}

static struct agent_action *tell_file(struct agent *a, enum agent_action_type type, const struct session *s)
{
	struct agent_action *act = out_action(a, type);

	act->file = out_dup(a, span_of(s->name));
	return act;
}

static void set_bytes(struct agent *a, struct session *s, uint64_t bytes)
{
	a->sessions->bytes += bytes - s->bytes;
	s->bytes = bytes;
}

static void drop_file(struct agent *a, struct session *s)
{
	if (s->bytes != 0)
		tell_file(a, AGENT_ACT_SESSION_DROP, s);
	set_bytes(a, s, 0);
}

static bool is_idle(const struct session *s)
{
	return s->n_running == 0 && s->saving == 0;
}

static void forget(struct agent *a, struct session *s)
{
	drop_file(a, s);
	TAILQ_REMOVE(&a->sessions->list, s, in_list);
	a->sessions->n--;
	free(s);
}

static struct session *oldest_idle(const struct agent *a)
{
	struct session *s;

	TAILQ_FOREACH(s, &a->sessions->list, in_list)
	{
		if (is_idle(s))
			return s;
	}
	return NULL;
}

/* An engine that is restoring it has it open: it may go. */
static struct session *oldest_file(const struct agent *a)
{
	struct session *s;

	TAILQ_FOREACH(s, &a->sessions->list, in_list)
	{
		if (s->bytes != 0)
			return s;
	}
	return NULL;
}

/* NULL: no memory, or all are busy. */
static struct session *add(struct agent *a, struct span name)
{
	struct sessions *all = a->sessions;
	struct session *s;

	if (all->n == SESSIONS_MAX) {
		if ((s = oldest_idle(a)) == NULL)
			return NULL;
		forget(a, s);
	}
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return NULL;
	(void)span_copy(name, s->name, sizeof(s->name)); /* it fits */
	TAILQ_INSERT_TAIL(&all->list, s, in_list);
	all->n++;
	return s;
}

static void used(struct agent *a, struct session *s)
{
	TAILQ_REMOVE(&a->sessions->list, s, in_list);
	TAILQ_INSERT_TAIL(&a->sessions->list, s, in_list);
}

void sessions_found(struct agent *a, struct span name, uint64_t bytes)
{
	struct session *s;

	if (a->sessions == NULL || name.n != AGENT_SESSION_NAME || find(a, name) != NULL)
		return;
	s = add(a, name);
	if (s != NULL)
		set_bytes(a, s, bytes);
}

/* ---- jobs ---- */

struct session *sessions_begin(struct engine *e, const struct job_msg *m, uint64_t run)
{
	struct agent *a = e->agent;
	char name[AGENT_SESSION_NAME + 1];
	struct agent_action *act;
	struct session *s;

	if (a->sessions == NULL || m->session.n == 0 ||
		(msg_has(&m->sampling, SAMPLING_CACHE_PROMPT) && !m->sampling.cache_prompt))
		return NULL;
	name_of(e->model.name, m->session, name);
	s = find(a, span_of(name));
	if (s == NULL)
		s = add(a, span_of(name));
	if (s == NULL)
		return NULL;
	used(a, s);
	s->n_running++;
	if (s->bytes == 0)
		return s;
	act = tell_file(a, AGENT_ACT_ENGINE_SEND, s);
	act->engine = e->index;
	act->engine_msg.type = ENGINE_RESTORE;
	act->engine_msg.job = s->restoring = run;
	e->n_restoring++;
	patience_file(e);
	return s;
}

void sessions_end(struct engine *e, struct session *s, uint64_t run)
{
	s->n_running--;
	s->engine = e;
	s->job = run;
	s->ended_ms = e->agent->now;
	s->is_unsaved = true;
	used(e->agent, s);
}

void sessions_abort(struct session *s)
{
	s->n_running--;
}

void sessions_lost(struct engine *e)
{
	struct session *s;

	if (e->agent->sessions == NULL)
		return;
	TAILQ_FOREACH(s, &e->agent->sessions->list, in_list)
	{
		if (s->engine != e)
			continue;
		if (s->saving != 0)
			tell_file(e->agent, AGENT_ACT_SESSION_DISCARD, s);
		s->is_unsaved = false;
		s->engine = NULL;
		s->saving = 0;
	}
	e->n_saving = e->n_restoring = 0;
}

/* ---- saving ---- */

static void save(struct engine *e, struct session *s)
{
	struct agent_action *act = tell_file(e->agent, AGENT_ACT_ENGINE_SEND, s);

	act->engine = e->index;
	act->engine_msg.type = ENGINE_SAVE;
	act->engine_msg.job = s->saving = s->job;
	act->engine_msg.max_bytes = e->agent->config.session_bytes;
	s->is_unsaved = false;
	e->n_saving++;
	patience_file(e);
}

static bool wants_saving(const struct session *s, const struct engine *e)
{
	return s->engine == e && s->is_unsaved && is_idle(s);
}

/* Its place is needed first. */
static struct session *oldest_unsaved(const struct engine *e)
{
	struct session *s;

	TAILQ_FOREACH(s, &e->agent->sessions->list, in_list)
	{
		if (wants_saving(s, e))
			return s;
	}
	return NULL;
}

/* When there is no time for all: of older ones the engine is more likely to hold nothing. */
static struct session *newest_unsaved(const struct engine *e)
{
	struct session *s;

	TAILQ_FOREACH_REVERSE(s, &e->agent->sessions->list, session_list, in_list)
	{
		if (wants_saving(s, e))
			return s;
	}
	return NULL;
}

void sessions_save_all(struct engine *e)
{
	size_t most = (size_t)min_u64(e->n_runs + e->model.keep, SAVES_A_STOP);
	struct session *s;

	for (size_t i = 0; e->agent->sessions != NULL && i < most && (s = newest_unsaved(e)) != NULL; i++)
		save(e, s);
}

static bool is_at_rest(const struct engine *e)
{
	return e->state == ENGINE_STATE_READY && e->n_busy == 0 && e->n_queued == 0 && e->n_saving == 0;
}

/* When the next one is to be saved. */
static uint64_t save_at(const struct engine *e, struct session **ret)
{
	*ret = e->agent->sessions != NULL && is_at_rest(e) ? oldest_unsaved(e) : NULL;
	return *ret != NULL ? (*ret)->ended_ms + e->agent->config.session_rest_ms : NEVER;
}

static struct session *find_run(const struct agent *a, uint64_t run, bool is_saving)
{
	struct session *s;

	TAILQ_FOREACH(s, &a->sessions->list, in_list)
	{
		if (run != 0 && (is_saving ? s->saving : s->restoring) == run)
			return s;
	}
	return NULL;
}

int sessions_saved(struct engine *e, const struct engine_msg *m)
{
	struct agent *a = e->agent;
	struct session *s = a->sessions != NULL ? find_run(a, m->job, true) : NULL;

	if (s == NULL || s->engine != e)
		return ERR_MALFORMED;
	s->saving = 0;
	e->n_saving--;
	if (m->code == CODE_OK && m->tokens > 0 && m->size <= a->config.session_bytes) {
		tell_file(a, AGENT_ACT_SESSION_KEEP, s);
		set_bytes(a, s, m->size);
		return 0;
	}
	tell_file(a, AGENT_ACT_SESSION_DISCARD, s);
	if (m->code != CODE_OK)
		OUT_LOG(a, SAY_WARN, "session", "a session of model %s is not saved: %.*s", e->model.name.p,
			SPAN_FMT(m->reason));
	return 0;
}

int sessions_restored(struct engine *e, const struct engine_msg *m)
{
	struct agent *a = e->agent;
	struct session *s = a->sessions != NULL ? find_run(a, m->job, false) : NULL;

	if (e->n_restoring == 0)
		return ERR_MALFORMED;
	e->n_restoring--;
	if (s == NULL || m->code == CODE_OK)
		return 0;
	s->restoring = 0;
	OUT_LOG(a, SAY_WARN, "session", "a session of model %s begins anew: %.*s", e->model.name.p, SPAN_FMT(m->reason));
	if (m->code != CODE_MEMORY_LIMIT_EXCEEDED)
		drop_file(a, s);
	return 0;
}

void sessions_tick(struct agent *a)
{
	struct session *s;

	if (a->sessions == NULL)
		return;
	for (size_t i = 0; i < DROPS_A_STEP && a->sessions->bytes > a->config.session_bytes; i++)
		drop_file(a, oldest_file(a));
	for (size_t i = 0; i < a->n_engines; i++)
		if (a->now >= save_at(&a->engines[i], &s) && s != NULL)
			save(&a->engines[i], s);
}

uint64_t sessions_deadline(const struct agent *a)
{
	uint64_t at = NEVER;
	struct session *s;

	if (a->sessions == NULL)
		return NEVER;
	if (a->sessions->bytes > a->config.session_bytes)
		return a->now;
	for (size_t i = 0; i < a->n_engines; i++)
		at = min_u64(at, save_at(&a->engines[i], &s));
	return at;
}

bool sessions_are_saved(const struct agent *a)
{
	for (size_t i = 0; i < a->n_engines; i++)
		if (a->engines[i].n_saving > 0)
			return false;
	return true;
}
