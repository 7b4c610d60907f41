/* hub.h - the hub's decisions, pure: (state, now, event) -> actions.
 *
 * It keeps the fleet (who is there, by lease), the jobs (states of docs/PROTOCOL.md),
 * routes, fences, repairs gaps, moves work when an agent is lost, and is the only
 * writer of what a client sees.  It does no I/O: the shell (hub/) feeds events and
 * carries out actions in order.  The simulator runs the same code.
 *
 * Ownership: event contents are borrowed for the call.  Actions of a step and what
 * their spans point at belong to the core and stay valid until the next hub_step(). */
#ifndef SHOAL_HUB_H
#define SHOAL_HUB_H

#include "proto.h"

struct hub;

/* By how many per cent an agent counts as slower than it is. */
#define HUB_PENALTY_LIST(X) X(heat) X(battery) X(metered) X(errors) X(prefer)
struct hub_penalties {
#define X(name) uint64_t name;
	HUB_PENALTY_LIST(X)
#undef X
};

/* What is written down before it counts.  OFF: nothing outlives the hub, records have no body. */
#define HUB_JOURNAL_LIST(X) X(OFF, "off") X(ASYNC, "async") X(SYNC, "sync")
enum hub_journal {
#define X(name, text) HUB_JOURNAL_##name,
	HUB_JOURNAL_LIST(X)
#undef X
	HUB_JOURNAL_COUNT
};

struct hub_model_policy {
	char *model;
	unsigned policy; /* enum hub_policy */
};

struct hub_known_agent { /* one that is expected: shown before it has ever been there */
	char *id;
	char **labels; /* besides its own */
	size_t n_labels;
	bool metered;
};

struct hub_variant_config { /* the first of an alias is its main one */
	char *alias, *model;
	char *label; /* only on agents that have it; empty: any */
	uint64_t weight;
};

struct hub_user_limits { /* 0: none; of one user, or of each that has none of its own */
	char *name;
	uint64_t weight;              /* share of the fleet, against other users' */
	uint64_t requests_per_minute, tokens_per_minute;
	uint64_t max_live;            /* jobs that run or wait */
	uint64_t max_waiting;
};

struct hub_config { /* copied, but for the lists, which must outlive the hub; times in ms */
	uint64_t seed, epoch;
	enum hub_policy policy;
	struct hub_penalties penalties; /* of policy cost */
	const struct hub_model_policy *policies; /* of models that have one of their own */
	size_t n_policies;
	const struct hub_known_agent *agents;
	size_t n_agents;
	uint64_t max_agents, max_jobs; /* live jobs */
	uint64_t queue_max;            /* waiting jobs: more are refused with QUEUE_FULL */
	uint64_t max_ended;            /* ended jobs remembered for repeated ids */
	uint64_t attempts_max;
	uint64_t will_grace_ms;        /* from a will to LOST */
	uint64_t accept_timeout_ms;    /* a dispatch unanswered so long is repeated */
	uint64_t accept_tries;         /* then the attempt has failed */
	uint64_t silence_ms;           /* a running job silent so long is asked (RESEND) */
	uint64_t first_token_ms, stall_ms; /* a job without a token so long is moved */
	uint64_t ack_frames;           /* acknowledge every so many token frames */
	uint64_t lease_suspect, lease_lost; /* missed heartbeats */
	uint64_t retry_min_ms, retry_max_ms; /* back-off between attempts */
	uint64_t full_wait_ms;         /* a job that met full queues alone for so long is given up */
	uint64_t blind_min_fleet, blind_window_ms;
	uint64_t default_deadline_ms;  /* 0: none */
	uint64_t no_agent_wait_ms;     /* a job nobody could take for so long ends with NO_AGENT */
	uint64_t poison_kills;         /* engines that may die of one job; 0: no such limit */
	uint64_t exact_wait_ms;        /* a job with tokens waits so long for an agent that goes on exactly */
	uint64_t hedge_percent;        /* of the running jobs may have a second attempt; 0: none */
	uint64_t hedge_min_ms;         /* a job waits so long at least before it has */
	uint64_t hedge_samples;        /* a model's waits that must be known */
	uint64_t breaker_min;          /* verdicts on an agent's model before its breaker may open; 0: never */
	uint64_t breaker_percent;      /* … and how many of them failures */
	uint64_t breaker_window_ms;
	uint64_t breaker_open_ms, breaker_open_max_ms; /* the first time; doubles up to */
	uint64_t age_ms;               /* a user not served so long: its job rises a priority; 0: never */
	uint64_t quantum;              /* tokens a user is served at once in its turn */
	uint64_t max_users;            /* remembered without jobs */
	struct hub_variant_config *variants;
	size_t n_variants;
	uint64_t guard_min;            /* jobs of a variant in the window before it is judged; 0: never */
	uint64_t guard_window_ms;
	uint64_t guard_error_percent, guard_latency_percent; /* points above main's; of main's */
	struct hub_user_limits each;
	struct hub_user_limits *users; /* not copied: must outlive the hub */
	size_t n_users;
	uint64_t max_bytes;            /* prompts and answers held, live and ended; 0: no bound */
	uint64_t extra_credit;         /* jobs an agent may have beyond its slots */
	uint64_t max_sessions, session_ttl_ms; /* remembered; unused so long they are forgotten */
	uint64_t session_wait_ms;      /* a request waits for its session's agent at most so long; 0: never */
	uint64_t session_max_load;     /* per cent of its slots an agent is loaded to by sessions */
	uint64_t max_prefixes;         /* beginnings of prompts remembered; 0: none */
	enum hub_journal journal;      /* ASYNC: a stream's tokens are shown before they are safe */
	uint64_t rejoin_ms;            /* after a start an agent has so long to come back to its jobs */
	bool notes;                    /* the shell takes notes: see struct hub_record */
	unsigned rules_off;            /* tests only: enum hub_rule bits; without effect in shipped builds */
};

enum hub_rule {
	HUB_RULE_AGENT = 1 << 0,       /* events only from the agent assigned */
	HUB_RULE_EPOCH = 1 << 1,       /* … of the epoch assigned */
	HUB_RULE_ATTEMPT = 1 << 2,     /* … for the attempt that is current */
	HUB_RULE_INDEX = 1 << 3,       /* … at the next index */
	HUB_RULE_PREFIX = 1 << 4,      /* a new attempt is given what the client was shown */
	HUB_RULE_IDEMPOTENCY = 1 << 5, /* the same id is the same job */
	HUB_RULE_COUNT = 1 << 6,       /* DONE is believed only if its count matches */
	HUB_RULE_DIGEST = 1 << 7,      /* … and its SHA-256 */
	HUB_RULE_STATUS = 1 << 8,      /* a will of another (epoch, conn) does not count */
	HUB_RULE_REGISTRATION = 1 << 9, /* an older registration does not overwrite a newer one */
	HUB_RULE_FULL = 1 << 10,       /* a full queue costs a job no attempt */
	HUB_RULE_ROOM = 1 << 15,       /* no agent has more jobs than its slots and extra_credit */
	HUB_RULE_AVOID = 1 << 16,      /* the agent that just failed a job is not asked while there are others */
	HUB_RULE_OFFER = 1 << 17,      /* an agent that has got room looks for work */
	HUB_RULE_LOAD_CAP = 1 << 18,   /* sessions load no agent beyond its cap */
	HUB_RULE_STICKY = 1 << 19,     /* a session stays while its agent can take it */
	HUB_RULE_CACHE = 1 << 20,      /* … and the agent is what it was: no restart, no unload */
	HUB_RULE_TURNS = 1 << 21,      /* users take turns */
	HUB_RULE_AGING = 1 << 22,      /* who waits long rises */
	HUB_RULE_LOOK = 1 << 23,       /* behind a job that does not fit are others */
	HUB_RULE_COHORT = 1 << 24,     /* a conversation stays with its variant */
	HUB_RULE_GUARD = 1 << 25,      /* a bad variant is taken out, and no good one */
	HUB_RULE_BREAKER = 1 << 26,    /* an agent that fails at a model gets none of it for a while */
	HUB_RULE_JOURNAL_DISPATCH = 1 << 11, /* an attempt is recorded before the agent hears of it */
	HUB_RULE_JOURNAL_ACCEPT = 1 << 12, /* a job is recorded before it is said to be accepted */
	HUB_RULE_JOURNAL_FORWARD = 1 << 13, /* tokens are recorded before a client sees them */
	HUB_RULE_JOURNAL_END = 1 << 14, /* … and ends */
	HUB_RULE_POISON = 1 << 27,     /* a job that kills engines is given up */
	HUB_RULE_ALONE = 1 << 28,      /* … and runs alone before it is */
	HUB_RULE_CONTINUITY = 1 << 29, /* who writes on makes a difference */
	HUB_RULE_HEDGE = 1 << 30       /* of two attempts one has the job */
};

#define HUB_RULE_ADMIN (1u << 31)     /* operators' wishes count */

void hub_config_defaults(struct hub_config *c);
const char *hub_variants_check(const struct hub_config *c); /* NULL, or a sentence */

/* Where a job's answers go.  Opaque to the core, which keeps a copy with the job. */
struct hub_reply {
	uint64_t conn;     /* HTTP connection number; 0: MQTT */
	unsigned format;   /* the shell's: JSON, CBOR */
	struct span topic, correlation; /* MQTT */
};

enum hub_event_type {
	HUB_EV_LINK_UP,      /* broker link is up, subscriptions in place */
	HUB_EV_LINK_DOWN,    /* leases freeze: it is us who are blind */
	HUB_EV_REGISTRATION, /* agent, registration */
	HUB_EV_STATUS,       /* agent, status */
	HUB_EV_HEARTBEAT,    /* agent, heartbeat */
	HUB_EV_JOB_EVENT,    /* agent, job_event */
	HUB_EV_NO_SUBSCRIBER,/* agent: a dispatch or control found nobody (PUBACK 0x10) */
	HUB_EV_SUBMIT,       /* user, reply, submit */
	HUB_EV_CANCEL,       /* user, cancel */
	HUB_EV_CLIENT_GONE,  /* user: jobs with cancel_on_disconnect end; or reply.conn != 0: jobs of that connection end */
	HUB_EV_ADMIN,        /* user, reply, admin: what an operator asks; answered by HUB_ACT_ADMIN */
	HUB_EV_VARIANT,      /* variant: an operator changes its weight, or resumes it after the guard took it out */
	HUB_EV_LOAD,         /* agent, model: an operator wants it loaded there, whatever was before */
	HUB_EV_PERSISTED,    /* seq: everything up to it is safe */
	HUB_EV_RESTORE,      /* record: of the last run, in order, before the first LINK_UP */
	HUB_EV_RESTORED,     /* that was all of them; seq: the highest number of a job there ever was */
	HUB_EV_KNOWN,        /* job, record: its user has used its id for another job, which ended so; before its PERSISTED */
	HUB_EV_TOLD,         /* job: its end has reached the broker */
	HUB_EV_JOURNAL,      /* is_full: there is no room for new jobs, or there is again */
	HUB_EV_TICK
};

struct hub_event {
	enum hub_event_type type;
	struct span agent; /* topic level: who says it; LOAD: who is to do it */
	struct span model;
	struct span user;
	struct hub_reply reply;
	uint64_t seq;
	struct span job;
	bool is_full;
	union {
		const struct hub_record *record;
		const struct registration *registration;
		const struct status *status;
		const struct heartbeat *heartbeat;
		const struct job_event *job_event;
		const struct submit *submit;
		const struct cancel *cancel;
		const struct admin *admin;
		struct { struct span alias, model; uint64_t weight; bool resumes; } variant;
	};
};

/* What is kept, by numbers that stay as they are: they are in the file.  The first ones are of jobs
 * (record.h); from SESSION on it is a value by its key, where the latest counts and an empty one is none. */
#define HUB_PERSIST_LIST(X) X(SUBMIT, 0, "submit") X(ATTEMPT, 1, "attempt") X(END, 2, "end") X(TOKENS, 3, "tokens") \
	X(REPLY, 4, "reply") X(TOLD, 5, "told") \
	X(SESSION, 16, "session") X(ADMIN, 17, "admin") X(CANARY, 18, "canary") X(AFFINITY, 19, "affinity") X(BREAKER, 20, "breaker")
enum hub_persist_kind {
#define X(name, number, text) HUB_PERSIST_##name = (number),
	HUB_PERSIST_LIST(X)
#undef X
	HUB_PERSIST_FIRST_VALUE = HUB_PERSIST_SESSION
};
const char *hub_persist_name(unsigned kind); /* NULL: none */

/* Of notes whose entries are not safe yet there are never more, each counted with HUB_NOTE_HEAD bytes beside its body. */
#define HUB_NOTES_MAX ((size_t)512 << 10)
#define HUB_NOTE_HEAD 512

struct hub_record {
	uint64_t seq; /* of this run, from 1; 0 in a RESTORE */
	enum hub_persist_kind kind;
	uint64_t number;       /* of the job, over all runs; 0: a value */
	struct span job;       /* or the key of a value */
	uint64_t attempt;      /* ATTEMPT */
	struct span user, key; /* SUBMIT, END: whose job, and the id its client gave it */
	unsigned state;        /* END: enum hub_job_state */
	bool has_reader;       /* END: over MQTT, which is to be told */
	struct span body;      /* empty where nothing is kept (HUB_JOURNAL_OFF), and for a value that goes */
	uint64_t age_ms;       /* RESTORE: since it was written */
	bool note;             /* it has to outlive the hub, if not its machine, before the next action is carried out */
};

enum hub_action_type {
	HUB_ACT_PERSIST,  /* persist: commit, then say HUB_EV_PERSISTED(seq) */
	HUB_ACT_DISPATCH, /* agent, job: QoS 1 to agents/<agent>/jobs */
	HUB_ACT_CONTROL,  /* agent, control: QoS 1 to agents/<agent>/control (ACK: 0) */
	HUB_ACT_ANSWER,   /* reply, stream, answer: to the client */
	HUB_ACT_DETACH,   /* reply: another submit with the same id took the job's answers over */
	HUB_ACT_ADMIN,    /* reply, answer: DONE or ERROR with a message, and job where there is one */
	HUB_ACT_FORGET,   /* agent: its retained messages are to go from the broker */
	HUB_ACT_LOG       /* level (log.h), text */
};

struct hub_action {
	enum hub_action_type type;
	struct span agent;
	struct hub_reply reply;
	bool stream; /* ANSWER: the client asked for a stream; if not, only DONE or ERROR comes */
	int level;
	union {
		struct hub_record persist;
		struct job_msg job;
		struct control control;
		struct answer answer;
		struct span text;
	};
};

SHOAL_CHECK int hub_new(const struct hub_config *config, struct hub **ret);
struct hub *hub_free(struct hub *h);
size_t hub_step(struct hub *h, uint64_t now_ms, const struct hub_event *ev, const struct hub_action **ret);
uint64_t hub_deadline(const struct hub *h); /* when a TICK is wanted; UINT64_MAX: never */

/* ---- what the page and the API show; borrowed until the next hub_step() ---- */

#define HUB_PRESENCE_LIST(X) X(OFFLINE, "offline") X(ONLINE, "online") X(SUSPECT, "suspect") X(DRAINING, "draining") \
	X(QUARANTINED, "quarantined")
enum hub_presence {
#define X(name, text) HUB_PRESENCE_##name,
	HUB_PRESENCE_LIST(X)
#undef X
	HUB_PRESENCE_COUNT
};
extern const char *const hub_presence_names[];

struct hub_agent_view {
	struct span id;
	enum hub_presence presence;
	uint64_t since_ms, last_seen_ms; /* absolute, of the core's clock */
	uint64_t slots, in_flight;       /* jobs the hub has given it */
	const struct registration *registration; /* NULL: never seen */
	const struct heartbeat *heartbeat;       /* NULL: none yet */
	struct span reason;
	const struct hub_known_agent *known;     /* NULL: not in the configuration */
	bool metered;
	const char *tier; /* the largest models it serves well; empty: never seen */
	/* what an operator wants of it */
	unsigned weight; /* per cent of the work it would get */
	bool is_drained, is_isolated; /* by an operator; isolated: quarantined */
	struct span admin_reason;
};

#define HUB_JOB_STATE_LIST(X) X(NEW, "new") X(QUEUED, "queued") X(DISPATCHED, "dispatched") X(RUNNING, "running") X(DONE, "done") \
	X(CANCELLED, "cancelled") X(EXPIRED, "expired") X(FAILED, "failed")
enum hub_job_state {
#define X(name, text) HUB_JOB_##name,
	HUB_JOB_STATE_LIST(X)
#undef X
	HUB_JOB_STATE_COUNT
};
extern const char *const hub_job_state_names[];

struct hub_job_view {
	struct span job, user, model, agent;
	enum hub_job_state state;
	uint64_t attempt, tokens, submitted_ms, deadline_ms;
	unsigned priority;
	struct span second_agent; /* of a second attempt; empty: none */
	struct span id, session; /* the client's; session: while it lives */
	uint64_t not_before_ms;  /* waiting after a failed attempt; 0: not */
	bool rejoins;            /* the hub has restarted and waits for the agent that may still be at it */
	/* ended */
	uint64_t ended_ms;
	enum finish finish;
	enum code code; /* of the end; CODE_OK */
	struct span message;
	bool outlives_hub; /* with a journal: a connection does not, but under an id the job is asked for again */
};

/* Why a session's request went to another agent than the one before. */
#define HUB_MOVE_LIST(X)                                                                              \
	X(LOST, lost, "its agent is not online")                                                    \
	X(DRAIN, drain, "its agent is draining, or is to get no new work")                          \
	X(QUARANTINE, quarantine, "its agent is in quarantine")                                     \
	X(CACHE, cache, "its agent restarted or unloaded the model, and what was computed is gone") \
	X(FULL, full, "its agent was at its load cap for longer than computing anew takes")         \
	X(FAILED, failed, "its agent had just failed the request")                                  \
	X(BREAKER, breaker, "its agent fails at the model and is left alone for a while")           \
	X(UNFIT, unfit, "its agent is not one that the request may go to")
enum hub_move {
	HUB_MOVE_NONE,
#define X(name, text, sentence) HUB_MOVE_##name,
	HUB_MOVE_LIST(X)
#undef X
	HUB_MOVE_COUNT
};
extern const char *const hub_move_names[];

#define HUB_SESSION_STATE_LIST(X) X(NONE, "") X(NEW, "new") X(KEPT, "kept") X(MOVED, "moved")
enum hub_session_state { /* of a request */
#define X(name, text) HUB_SESSION_##name,
	HUB_SESSION_STATE_LIST(X)
#undef X
	HUB_SESSION_STATE_COUNT
};
extern const char *const hub_session_state_names[];

struct hub_session_view {
	struct span session, user, model;
	struct span agent; /* that holds it; empty: none does any more */
	uint64_t epoch;    /* of that agent when the session came to it */
	uint64_t tokens, turns, moves, jobs, used_ms; /* jobs: live ones */
};

struct hub_session_stats {
	uint64_t live, created, expired, displaced;
	uint64_t kept, moved, moves[HUB_MOVE_COUNT];                  /* requests */
	uint64_t prompt_tokens, cached_tokens, expected_tokens; /* of all requests that ended well */
};

/* The most recently used first. */
void hub_each_session(const struct hub *h, void (*fn)(void *ctx, const struct hub_session_view *v), void *ctx);
struct hub_session_stats hub_session_stats(const struct hub *h);
void hub_each_agent(const struct hub *h, void (*fn)(void *ctx, const struct hub_agent_view *v), void *ctx);
void hub_each_job(const struct hub *h, void (*fn)(void *ctx, const struct hub_job_view *v), void *ctx);
bool hub_find_agent(const struct hub *h, struct span agent, struct hub_agent_view *ret);
/* ret_receipt->total_ms of a live job is the caller's to say. */
bool hub_find_job(const struct hub *h, struct span job, struct hub_job_view *ret, struct receipt *ret_receipt);

struct hub_job_filter {
	unsigned states;                /* bits of enum hub_job_state */
	struct span user, model, agent; /* empty: any */
};
#define HUB_CURSOR_SIZE (PROTO_MAX_ID + 32)
/* A page of at most `max` jobs: live ones in the order of submission, then ended ones, the last first.  cursor: what the page
 * before gave, or empty; false: it is none.  ret_next is empty when there is no more; a page may be short, as so
 * many jobs are looked at and no more. */
bool hub_page_jobs(const struct hub *h, const struct hub_job_filter *f, struct span cursor, size_t max,
	void (*fn)(void *ctx, const struct hub_job_view *v), void *ctx, char ret_next[HUB_CURSOR_SIZE]);

/* What operators asked of late, the last first; at_ms of the core's clock. */
#define HUB_ADMIN_KEPT 64
struct hub_admin_view {
	uint64_t at_ms, value;
	enum admin_verb verb;
	enum code code; /* how it went */
	struct span user, target, reason; /* target: agent or job */
};
void hub_each_admin(const struct hub *h, void (*fn)(void *ctx, const struct hub_admin_view *v), void *ctx);
/* Distinct models over all agents, once each, with how many hold it ready. */
/* An agent takes jobs of some model, if it has to load it first. */
bool hub_is_serving(const struct hub *h);
void hub_each_model(const struct hub *h, void (*fn)(void *ctx, const struct model_info *m, uint64_t n_ready), void *ctx);
/* Why an agent gets a job, or does not: name, code in receipts, and what it means to people.
 * In the order of the questions: the first that holds is the answer. */
#define HUB_REASON_LIST(X)                                                                             \
	X(CHOSEN, "chosen", "it has the job, or would be given it")                                    \
	X(OUTRANKED, "outranked", "it could take the job, but another one is a better choice")         \
	X(BLIND, "hub_blind", "the hub does not see the fleet at the moment and gives nobody work")    \
	X(NEVER_SEEN, "never_seen", "it has not registered since the hub started")                     \
	X(QUARANTINED, "quarantined", "two boxes have its id; give one of them another and restart both") \
	X(ISOLATED, "isolated", "an operator has put it in quarantine")                                \
	X(OFFLINE, "offline", "it is not connected")                                                   \
	X(STALE_EPOCH, "stale_epoch", "it has been restarted and its new registration is not here yet") \
	X(SUSPECT, "suspect", "its heartbeats are missing")                                            \
	X(DRAINING, "draining", "it finishes what it has and takes nothing new")                       \
	X(WEIGHT_ZERO, "weight_zero", "an operator has given it the weight 0")                         \
	X(MODEL_ABSENT, "model_absent", "it does not have the model")                                  \
	X(MODEL_FAILED, "model_failed", "it could not load the model")                                 \
	X(MODEL_QUARANTINED, "model_quarantined", "the model's engine died too often there")           \
	X(BREAKER_OPEN, "breaker_open", "the model failed too often there and rests for a while")      \
	X(LABEL_MISSING, "label_missing", "it lacks a label that the job requires")                    \
	X(TOO_BIG, "too_big", "the model needs more memory than the box may use")                      \
	X(DEADLINE, "deadline", "it could not begin to answer before the deadline")                    \
	X(JUST_FAILED, "just_failed", "it has just failed this job: others are asked first")           \
	X(KEPT_FREE, "kept_free", "it runs, or waits for, a job that has to run alone")                \
	X(NOT_ALONE, "not_alone", "the job was there when engines died and runs alone, where nothing else does") \
	X(OTHER_BUILD, "other_build", "it would not write on in the same words; one that does is waited for a little") \
	X(NO_SLOTS, "no_slots", "it offers no slots for the model at the moment")                      \
	X(SLOTS_FULL, "slots_full", "all its slots are taken")                                         \
	X(MODEL_FULL, "model_full", "all its slots for the model are taken")
enum hub_reason {
#define X(name, code, text) HUB_REASON_##name,
	HUB_REASON_LIST(X)
#undef X
	HUB_REASON_COUNT
};
extern const char *const hub_reason_codes[], *const hub_reason_texts[];

struct hub_route_view { /* one agent, seen by one job */
	struct span agent;
	enum hub_reason reason;
	double expected_ms; /* to the end of the answer; 0: no idea, as it has not the model */
	double score;       /* what the policy compares: the least is chosen */
	uint64_t cached;    /* prompt tokens it is thought to have computed */
};

struct hub_rates_view { /* of a model on an agent, as measured by the hub; 0: not yet */
	double prefill_per_s, decode_per_s; /* tokens; decode: of one job alone */
	double load_ms;
	double errors; /* share of the latest attempts that failed */
	uint64_t in_flight;
};
/* False: no such agent, or it does not list the model. */
bool hub_rates_of(const struct hub *h, struct span agent, struct span model, struct hub_rates_view *ret);

/* Asks every agent of the fleet; not for each job.  NOT_FOUND: no such job, or it has ended;
 * MODEL_UNKNOWN.  Of a request: as if it were made now. */
enum code hub_explain_job(
	const struct hub *h, struct span job, void (*fn)(void *ctx, const struct hub_route_view *v), void *ctx);
enum code hub_explain_submit(const struct hub *h, const struct submit *s,
	void (*fn)(void *ctx, const struct hub_route_view *v), void *ctx);

/* Whether HUB_EV_LOAD would reach anyone: CODE_OK; NOT_FOUND: no such agent; NO_AGENT: it, or the hub, is not
 * connected; MODEL_UNKNOWN: it is not configured for that model. */
enum code hub_can_load(const struct hub *h, struct span agent, struct span model);

/* Whether an answer that several attempts wrote reads as if one had; the worst counts. */
#define HUB_CONTINUITY_LIST(X) X(NONE, "") X(EXACT, "exact") X(NOT_EXACT, "not_exact") X(OTHER_BUILD, "other_build")
enum hub_continuity {
#define X(name, text) HUB_CONTINUITY_##name,
	HUB_CONTINUITY_LIST(X)
#undef X
	HUB_CONTINUITY_COUNT
};
extern const char *const hub_continuity_names[];

#define HUB_BREAKER_LIST(X) X(CLOSED, "closed") X(OPEN, "open") X(HALF_OPEN, "half_open")
enum hub_breaker {
#define X(name, text) HUB_BREAKER_##name,
	HUB_BREAKER_LIST(X)
#undef X
	HUB_BREAKER_COUNT
};
extern const char *const hub_breaker_names[];

struct hub_breaker_view { /* of an agent's model that has failed lately */
	struct span agent, model;
	enum hub_breaker state;
	uint64_t good, bad; /* attempts in the window, since the first failure */
	uint64_t left_ms;   /* OPEN: until it may try */
};

void hub_each_breaker(const struct hub *h, void (*fn)(void *ctx, const struct hub_breaker_view *v), void *ctx);
struct hub_breaker_view hub_breaker_of(const struct hub *h, struct span agent, struct span model);

#define HUB_REFUSAL_LIST(X)                                                                                        \
	X(INVALID, "invalid") X(CONFLICT, "conflict") X(NO_AGENT, "no_agent") X(MODEL_UNKNOWN, "model_unknown")     \
	X(QUEUE, "queue") X(USER_QUEUE, "user_queue") X(USER_JOBS, "user_jobs") X(REQUESTS, "requests_per_minute") \
	X(TOKENS, "tokens_per_minute") X(DEADLINE, "deadline") X(MEMORY, "memory")
enum hub_refusal { /* why a request was not taken */
#define X(name, text) HUB_REFUSAL_##name,
	HUB_REFUSAL_LIST(X)
#undef X
	HUB_REFUSAL_COUNT
};
extern const char *const hub_refusal_names[];

struct hub_variant_view {
	struct span alias, model, label, reason; /* reason: why it was taken out */
	uint64_t weight, jobs, ended, tokens;
	const uint64_t *errors; /* by code: CODE_MAX + 1 */
	uint64_t p50_ms, p95_ms, first_p50_ms, first_p95_ms; /* end to end, to the first token */
	double tokens_per_s;
	bool is_main, is_off;
};

void hub_each_variant(const struct hub *h, void (*fn)(void *ctx, const struct hub_variant_view *v), void *ctx);

struct hub_user_view {
	struct span user;
	const struct hub_user_limits *limits;
	uint64_t waiting, running;
	uint64_t jobs, refused, tokens; /* since it was first seen, or seen again after long */
	uint64_t recent_tokens;         /* of the last METER_MS or so */
};

/* Those with live jobs, then others, the last seen first. */
void hub_each_user(const struct hub *h, void (*fn)(void *ctx, const struct hub_user_view *v), void *ctx);
struct hub_waiting { uint64_t jobs[PRIORITY_COUNT]; }; /* for an agent, the most urgent first, as they have risen */
struct hub_waiting hub_waiting(const struct hub *h);
uint64_t hub_refusals(const struct hub *h, enum hub_refusal why);

/* True while leases are frozen; *ret_why is a static sentence. */
bool hub_is_blind(const struct hub *h, const char **ret_why);

#define HUB_COUNTER_LIST(X)                                                                                      \
	X(jobs_submitted) X(jobs_repeated) X(jobs_refused) X(jobs_done) X(jobs_failed) X(jobs_cancelled)         \
	X(jobs_expired) X(attempts) X(attempts_failed) X(failovers) X(dispatch_repeats) X(tokens)                \
	X(frames) X(frames_fenced_agent) X(frames_fenced_epoch) X(frames_fenced_attempt) X(frames_fenced_index)  \
	X(frames_unknown_job) X(gaps) X(done_mismatch) X(status_stale) X(registrations_stale) X(agents_lost)     \
	X(clones) X(frames_malformed) X(breakers_opened) X(breakers_closed) X(variants_fallen) \
	X(jobs_restored) X(jobs_rejoined) X(jobs_poison) X(hedges) X(hedges_won)
struct hub_counters {
#define X(name) uint64_t name;
	HUB_COUNTER_LIST(X)
#undef X
	uint64_t queued, running, breakers_open, hedging; /* gauges */
};
const struct hub_counters *hub_counters(const struct hub *h);
extern const char *const hub_journal_names[]; /* NULL-terminated */

#endif
