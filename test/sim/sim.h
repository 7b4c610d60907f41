/* sim.h - the shipped hub core and agent cores in a world made from a seed.
 *
 * The world has a clock, a broker, boxes with an agent and an engine each, clients, and
 * faults.  Every message goes through the codec.  Nothing sleeps, nothing is random but
 * by the seed: a seed that fails, fails again.
 *
 *   world.c   clock, what happens next, the broker's links, the hub's surroundings
 *   box.c     a box: its agent's life and connection
 *   engine.c  its engine
 *   client.c  clients and what they must see
 *   sticky.c  conversations and who runs them
 *   operator.c what operators ask of the hub
 *   notebook.c what the hub writes down, and its crashes
 *   fair.c    users that share a fleet
 *   fault.c   what goes wrong, and when it stops
 *   watch.c   counts failures, to hold the hub to its rules about them
 *   main.c    seeds, mutants, the report
 *
 * What is checked, always against what the world knows and never by the cores' own word:
 *   - each address a client gave sees every index once, in order, then exactly one end;
 *     each token continues exactly the tokens that client has seen (client.c)
 *   - a whole answer is made of one coherent chain of tokens; a repeated id never runs twice
 *   - nothing is promised or dispatched before it is recorded
 *   - no engine is started beyond what an agent knew of its box's memory, none told to quit that
 *     runs jobs, but for the end of its agent
 *   - an engine never runs more sequences than it has; an agent never starts work of another
 *     life, an older attempt, or one attempt twice (box.c)
 *   - an engine that has forgotten a run does not live long
 *   - a living connection is never taken for a dead one by a will; what the hub holds of an
 *     agent never goes back (world.c)
 *   - a job that was there when engines died runs alone, then no more; a receipt makes an answer no better than
 *     it is (watch.c)
 *   - an agent that fails at a model again and again gets one job of it at a time (watch.c)
 *   - credits: what agents are said to have in flight is what jobs are assigned; no attempt
 *     begins beyond an agent's slots and credit
 *   - a conversation leaves the agent that computed it only for a cause; what is remembered of
 *     conversations points at living agents of that life, and is bounded in number and time (sticky.c)
 *   - after the last fault every job ends in bounded time; loss alone costs no attempt */
#ifndef SIM_H
#define SIM_H

#include "agent.h"
#include "hub.h"
#include "record.h"
#include "id.h"
#include "rng.h"
#include "topic.h"

#define SIM_MAX_BOXES 5
#define SIM_RETRY_MAX_MS 400
#define SIM_MAX_JOBS 64
#define SIM_MAX_VIEWS 6
#define SIM_MAX_RUNS 3
#define SIM_MAX_TOKENS 64 /* of one answer */
#define SIM_MODELS 2
#define SIM_MEMORY 100 /* of a box; 95 of it may be used */
#define SIM_WEIGHTS 30 /* … by each model that is loaded */

enum fault {
	FAULT_CRASH,
	FAULT_FREEZE,
	FAULT_CUT,
	FAULT_HALF_OPEN,
	FAULT_ENGINE_CRASH,
	FAULT_ENGINE_HANG,
	FAULT_ENGINE_STOP,
	FAULT_ENGINE_NONSENSE,
	FAULT_ENGINE_FORGET,
	FAULT_DRAIN,
	FAULT_HUB_LINK,
	FAULT_BROKER,
	FAULT_HUB_PAUSE,
	FAULT_SLOW_CRASH,
	FAULT_MEMORY,
	FAULT_OPERATOR,
	FAULT_ENGINE_SICK,
	FAULT_HUB_CRASH,
	FAULT_COUNT
};

struct knobs {                          /* what kind of world it is */
	double loss0, loss1, dup, late; /* of QoS 0, of QoS 1, doubled, delayed for long */
	uint64_t fault_ms;              /* mean time between faults; 0: none */
	unsigned faults;                /* bits of enum fault */
	double corrupt;                 /* token frames whose text is altered */
	bool has_hedges;                /* stalled jobs get a second attempt */
	bool has_poison;                /* some jobs kill engines */
	bool has_rogue;                 /* box 0 runs jobs meant for another life */
	bool has_liar;                  /* box 1 forges frames of others' jobs on its own topic */
	size_t n_models;                /* the first loaded at the start, others when jobs come */
	uint64_t others;                /* memory that others on each box take, most of the time */
	bool forgets_sessions;          /* few, and not for long */
	bool is_quiet;                  /* no faults and no lost QoS 1: every job takes one attempt */
};

/* ---- the future ---- */

enum future_type {
	F_TO_HUB,
	F_TO_BOX,
	F_TO_BROKER_WILL,
	F_PERSISTED, /* gen: seq; who: life of the hub */
	F_TOLD,      /* who: client job; gen: life of the hub */
	F_NO_SUBSCRIBER,
	F_HUB_UP,
	F_HUB_WAKE,
	F_DECODE,
	F_ENGINE_HELLO,
	F_ENGINE_LOADED,
	F_ENGINE_EXIT,
	F_ENGINE_PONG,
	F_ENGINE_CRASH,
	F_ENGINE_SAVED,    /* n: run */
	F_ENGINE_RESTORED, /* n: run */
	F_BOX_START,
	F_BOX_THAW,
	F_BOX_CONNECT,
	F_BOX_NOTICE,
	F_BOX_MEMORY,
	F_BROKER_NOTICE,
	F_CLIENT,
	F_FAULT
};

struct future {
	uint64_t at, order;
	enum future_type type;
	enum topic_kind kind;
	size_t who;   /* box or client job */
	size_t model; /* whose engine */
	uint64_t gen; /* connection, life or engine it is for */
	uint8_t *bytes;
	size_t n;
};

/* ---- boxes ---- */

struct run {
	bool is_job; /* else the box measures its speed */
	bool is_active, is_cancelled, is_forgotten;
	unsigned n_idle; /* steps since it was forgotten */
	size_t job;
	uint64_t number, chain; /* chain: hash of prompt and tokens so far */
	uint64_t index, max_tokens, ready_at;
};

struct engine {
	bool is_alive, is_hung, is_mad; /* mad: its next tokens are nonsense */
	uint64_t gen; /* of the child */
	struct run runs[SIM_MAX_RUNS];
};

struct known { /* what a life was told about a job, by dispatch */
	uint64_t job, attempt_max, generated;
	uint64_t mine; /* bits of the attempts meant for this life */
	uint64_t others;
};

#define SIM_SESSIONS 5 /* of each model */
#define SIM_SESSION_BYTES 1000

struct session_file {
	char name[AGENT_SESSION_NAME + 1];
	uint64_t size, part, job; /* 0: none; of what is written; run whose state it is */
	bool is_writing;
};

#define SIM_BREAKER_MIN 3
#define SIM_POISON 3

struct watch { /* of a box's model */
	unsigned n_given[SIM_MAX_JOBS]; /* attempts of a job */
	unsigned streak, n_good; /* jobs that failed at their first attempt there, since the last that worked; that worked */
	uint64_t failed_at;
	uint64_t failing_at;     /* since when it should have been left alone */
	uint64_t ready_at;       /* since when the hub knows it loaded, with slots; 0: not */
};

struct box {
	char id[8];
	struct agent *agent; /* NULL: not running */
	uint64_t epoch, conn;
	bool is_linked;        /* as the agent sees it */
	bool is_broker_linked; /* as the broker sees it */
	bool is_cut;           /* nothing gets through, nobody knows yet */
	bool is_stopping, was_calm, is_exact;
	char build; /* engines of one letter are equal */
	uint64_t frozen_until, parallel;
	uint64_t slow_until; /* token frames take long */
	uint8_t *last_job;   /* a rogue's: what it was given last */
	size_t n_last_job;
	struct status will;
	struct engine engines[SIM_MODELS];
	uint64_t sick_until[SIM_MODELS]; /* fails every job */
	struct watch watch[SIM_MODELS];
	uint64_t others, others_told; /* memory: now, and when its agent looked last */
	struct known known[SIM_MAX_JOBS];
	struct session_file files[SIM_SESSIONS * SIM_MODELS];
	uint8_t *retained[2]; /* registration, status: at the broker */
	size_t n_retained[2];
	uint64_t held_epoch, held_conn, held_seq; /* by the hub, at the last look */
	enum hub_presence presence;
	uint64_t open_at; /* since when the hub may give it work, as far as was seen; 0: it may not */
	bool is_shut; /* by an operator, at the last look, and what the hub had given it then */
	uint64_t in_flight;
};

/* ---- clients ---- */

struct view { /* one address a client gave */
	bool stream, is_used, is_accepted, is_detached, is_tainted;
	uint64_t next, chain;
	unsigned n_ends, ends_due;
	char text[SIM_MAX_TOKENS * 8];
	size_t n_text;
	size_t frame_ends[SIM_MAX_TOKENS + 1]; /* 1 + bytes of text before that index; 0: no frame ended there */
};

struct given { /* an attempt, and who wrote before it */
	size_t to; /* box */
	uint64_t at, epoch, prefix, attempt;
	size_t writer; /* box that brought the first tokens */
	bool has_writer;
	enum hub_continuity continuity; /* what the receipt must not be better than */
};

struct cjob {
	bool has_id, is_ended, is_cancelled, is_given_up, is_too_late;
	char id[16], hub_id[ID_LEN + 8];
	uint64_t max_tokens, deadline_ms, at, ended_at;
	enum priority priority;
	bool stream;
	struct view views[SIM_MAX_VIEWS];
	size_t n_views;
	unsigned end_type, finish;
	char end_text[SIM_MAX_TOKENS * 8];
	size_t n_end_text;
	uint64_t attempts;
	unsigned n_submits; /* sent */
	struct given given;      /* the last attempt */
	struct given given_last; /* the one it took over from beside it */
	uint64_t failed_at; /* of the last attempt, there; 0: not */
	size_t second_to; /* box of a second attempt beside it; attempt 0: none */
	uint64_t second_attempt, second_epoch, second_prefix, second_at;
	uint64_t poison_at; /* kills the engine that computes this token; 0: none */
	unsigned kills;     /* deaths of engines that the hub was told it had part in */
};

/* ---- the world ---- */

struct home { /* of a conversation */
	bool is_known, is_unloaded; /* unloaded: the model was, since */
	size_t box;
	uint64_t epoch;
};

struct record { /* of the journal */
	struct hub_record r; /* with spans of its own */
	uint64_t at, life;   /* life: of the hub */
	size_t job;          /* the client's; SIZE_MAX: a value */
	void *mem;
};

struct sim {
	uint64_t seed, now, order, calm_at, give_up_at;
	struct rng rng;
	struct knobs knobs;
	struct future *heap;
	size_t n_heap, cap_heap;
	struct hub *hub;
	bool is_hub_linked, is_calm;
	uint64_t hub_gen, hub_paused_until, persist_delay, lost_seen, rejoined_seen, steps;
	struct box boxes[SIM_MAX_BOXES];
	size_t n_boxes;
	struct cjob jobs[SIM_MAX_JOBS];
	size_t n_jobs, n_open;
	struct record *records;
	size_t n_records, cap_records;
	uint64_t safe_seq, hub_life; /* safe: of this life of the hub; all of those before is */
	bool has_journal;
	uint64_t crash_by; /* the hub is to crash until then; 0: it is not */
	unsigned n_hub_crashes;
	struct home homes[SIM_SESSIONS * SIM_MODELS];
	uint64_t extra_credit, max_sessions, session_ttl_ms;
	unsigned answers_due; /* to the operator */
	unsigned hub_rules_off, agent_rules_off;
	bool is_verbose;
	char why[256];      /* the violation; empty: none */
	struct arena arena; /* of decoded messages */
	uint64_t n_done, n_error, n_benched, n_hedged;
};

/* world.c */
bool sim_run(struct sim *s); /* true: nothing was violated */
void sim_fini(struct sim *s);
void sim_violation(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(const struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_push(struct sim *s, uint64_t in_ms, struct future f);
bool sim_chance(struct sim *s, double p);
uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high);
void sim_to_hub(struct sim *s, size_t who, enum topic_kind kind, const struct msg_type *t, const void *m, unsigned qos);
void sim_feed_hub(struct sim *s, const struct hub_event *ev);
void sim_hub_link(struct sim *s, bool is_up);
void sim_hub_begin(struct sim *s);
size_t sim_job_of(const struct sim *s, struct span hub_id); /* SIZE_MAX: none */

/* box.c */
void box_init(struct sim *s, size_t i);
void box_fini(struct box *b);
void box_start(struct sim *s, size_t i);
void box_kill(struct sim *s, size_t i);
void box_stop(struct sim *s, size_t i);
void box_memory(struct sim *s, size_t i, uint64_t others); /* others take so much of it; its agent looks */
void box_break(struct sim *s, size_t i, bool is_noticed); /* its connection; not noticed: half open */
void box_future(struct sim *s, struct future *f);
void box_tick(struct sim *s, size_t i);
void box_message(struct sim *s, struct future *f);
void box_feed(struct sim *s, size_t i, const struct agent_event *ev);
bool box_is_rogue(const struct sim *s, size_t i);
uint64_t box_deadline(const struct sim *s, size_t i);

/* engine.c: a fake engine, and its tokens: the upper half of an id is a hash of what it
 * continues, the lower is random; some have no text. */
extern const char *const sim_models[SIM_MODELS];
void fake_start(struct sim *s, size_t i, size_t model);
void fake_told(struct sim *s, size_t i, size_t model, const struct engine_msg *m);
void fake_dies(struct sim *s, size_t i, size_t model);
void fake_stops(struct sim *s, size_t i, size_t model);   /* SIGSTOP */
void fake_forgets(struct sim *s, size_t i, size_t model); /* one of its runs, for ever */
void fake_future(struct sim *s, struct future *f);
uint64_t chain_start(const struct sim *s, uint64_t job);
uint32_t chain_token(struct sim *s, uint64_t chain);
bool chain_follows(uint64_t chain, uint32_t id);
uint64_t chain_add(uint64_t chain, uint32_t id);
bool chain_has_text(uint32_t id);
void chain_text(uint32_t id, char *ret); /* 8 bytes */
size_t chain_job(struct span prompt);    /* "job 12" */

/* sessions.c: files of saved sessions */
void sessions_start(struct sim *s, size_t i); /* a new life of its agent */
void sessions_act(struct sim *s, size_t i, const struct agent_action *a);
void sessions_check(struct sim *s, size_t i);
void sessions_future(struct sim *s, const struct future *f);

/* sticky.c */
void sticky_begun(struct sim *s, const struct hub_action *acts, size_t n); /* an attempt: the first of what a step did */
void sticky_registered(struct sim *s, const struct hub_agent_view *v);     /* the hub may have heard of a change */
void sticky_check(struct sim *s);

/* client.c */
void client_init(struct sim *s);
void client_hub_crashed(struct sim *s); /* what it says next may be what it said before */
void client_future(struct sim *s, struct future *f);
void client_not_heard(struct sim *s, size_t i); /* a submit found no hub */
void client_submit_arrives(struct sim *s, struct future *f);
void client_answer(struct sim *s, const struct hub_action *act);
void client_detached(struct sim *s, struct hub_reply reply);
void client_check_end(struct sim *s); /* when all is over */

/* operator.c */
void operator_strikes(struct sim *s, size_t i);
void operator_goes(struct sim *s); /* takes back what was asked */
void operator_answered(struct sim *s);
void operator_forgot(struct sim *s, struct span agent);
void operator_check(struct sim *s, struct box *b, const struct hub_agent_view *v);

/* watch.c */
void watch_dispatched(struct sim *s, const struct hub_action *act, size_t job);
void watch_recorded(struct sim *s, struct span id, uint64_t attempt);
void watch_record_lost(struct sim *s, size_t job, uint64_t attempt); /* of an attempt */
void watch_registration(struct sim *s, size_t who, const struct registration *r);
void watch_event(struct sim *s, size_t who, const struct job_event *e); /* before the hub hears it */
bool watch_has_suspects(const struct sim *s, size_t model); /* jobs that have to run alone */
void watch_done(struct sim *s, size_t job, const struct answer *a);

/* notebook.c */
void notebook_keep(struct sim *s, const struct hub_record *r);
bool notebook_has(const struct sim *s, struct span id, enum hub_persist_kind kind, uint64_t attempt); /* safe, or noted */
void notebook_safe(struct sim *s, uint64_t seq);
void notebook_tempt(struct sim *s); /* after each turn: is this the moment to crash */
void notebook_crash(struct sim *s); /* the hub dies, and starts again with what was written */
void notebook_fini(struct sim *s);

/* fair.c: another world from the same seed */
#define FAIR_EVERY 8 /* seeds */
bool fair_run(struct sim *s);
bool variants_run(struct sim *s); /* variants.c */

/* fault.c */
void fault_plan(struct sim *s);
void fault_happen(struct sim *s);
void fault_stop(struct sim *s); /* from now on nothing goes wrong */

#endif
