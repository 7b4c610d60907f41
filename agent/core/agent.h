/* agent.h - the agent's decisions, pure: (state, now, event) -> actions.
 *
 * It knows the life cycle of the agent, its job queue, its engines, what the hub has
 * been told and what it still must be.  It does no I/O: the shell (agent/) feeds events
 * and carries out actions, in order.  The simulator runs the same code.
 *
 * Ownership: event spans are borrowed for the call.  The actions of a step and what
 * their spans point at belong to the core and stay valid until the next agent_step().
 * Errors inside a step become actions (REJECTED, FAILED, LOG); out of memory refuses
 * the one job. */
#ifndef SHOAL_AGENT_H
#define SHOAL_AGENT_H

#include "engine_proto.h"
#include "footprint.h"
#include "proto.h"

#define AGENT_MAX_MODELS 16
#define AGENT_MAX_QUARANTINE_DEATHS 16
#define AGENT_MAX_JOBS 1024 /* queued, running and ended ones the hub has not confirmed */

#define AGENT_SESSION_NAME 32 /* characters of a session's file, 0-9 a-f */

struct agent;

struct agent_model {
	struct span name, path;
	struct span digest;  /* 32 bytes expected, or empty */
	uint64_t n_ctx, parallel, keep, batch_tokens, prefill_chunk, threads; /* as of ENGINE_LOAD */
	uint64_t prefill_gap, min_batch, max_batch, batch_wait_ms;
	bool batch_wait_adaptive;
	bool exact; /* else its engine is told to be fast */
	bool embeddings;
	bool is_pinned; /* stays loaded, whoever else needs memory */
	bool is_lazy;   /* loaded when the first job for it comes, not at the start */
};

/* A part of the memory there is (that of the box or that of a cgroup, whichever leaves less
 * room), or bytes of it; both 0: no limit. */
struct agent_limit {
	uint64_t bytes;
	unsigned percent;
};

/* How fast a model is on this box, and what that depends on. */
struct agent_bench {
	uint8_t digest[32];
	char build[128]; /* of the engine, and its mode; no line breaks */
	uint64_t threads;
	uint64_t prefill_milli, decode_milli; /* tokens a second x 1000, of one stream */
};

bool agent_bench_is_same(const struct agent_bench *x, const struct agent_bench *y); /* of the same, whatever the figures */

struct agent_config { /* copied; a time of 0 takes its default */
	struct span id, host, software;
	const struct hardware *hardware; /* lent for the agent's life; NULL: nothing is known */
	uint64_t epoch, nonce; /* epoch was raised and synced before this */
	uint64_t seed;         /* of jitter */
	uint64_t queue_max;    /* waiting jobs */
	bool queue_displaces;  /* when full, a higher job takes the place of the newest of the lowest */
	uint64_t queue_wait_ms, queue_aging_ms; /* 0: without end; never */
	uint64_t heartbeat_idle_ms, heartbeat_busy_ms;
	uint64_t hub_lease_ms;     /* silence of the hub after which work stops */
	uint64_t drain_ms;         /* how long running jobs may go on when stopping */
	uint64_t load_timeout_ms;  /* without any progress */
	/* How long a loaded engine may say nothing, and how much longer for each KiB of prompts it reads. */
	uint64_t token_timeout_ms, prompt_timeout_ms;
	uint64_t engine_backoff_min_ms, engine_backoff_max_ms;
	/* So many deaths of a model's engine inside the window: no more tries for a while. */
	uint64_t quarantine_deaths; /* 0: never */
	uint64_t quarantine_window_ms, quarantine_ms;
	uint64_t keep_ended_ms;    /* an unconfirmed end is kept so long */
	struct agent_limit memory_soft, memory_hard; /* no more low priority jobs; no more of any */
	bool register_when_warm;   /* say nothing before the models to be loaded at the start are */
	bool benchmark;            /* models whose speed is not known are measured */
	uint64_t benchmark_calm_ms; /* … when the CPU is free, but after so long anyway */
	const struct agent_bench *benches; /* what is known; lent for the agent's life */
	size_t n_benches;
	uint64_t session_bytes;    /* of files with computed states; 0: none are kept */
	uint64_t session_rest_ms;  /* from the end of a session's job until its state is saved */
	uint64_t session_file_ms;  /* a slow card may take so long for one: the engine does nothing else meanwhile */
	const struct agent_model *models;
	size_t n_models;
	const struct span *labels;
	size_t n_labels;
	bool metered; /* what goes over its link costs money */
	unsigned rules_off; /* tests only: enum agent_rule bits; without effect in shipped builds */
};

/* The rules of the fence on this side; a build for mutation tests can switch each off. */
enum agent_rule {
	AGENT_RULE_EPOCH = 1 << 0,     /* a job for another epoch is not for this life */
	AGENT_RULE_ATTEMPT = 1 << 1,   /* a lower attempt than known is stale */
	AGENT_RULE_DUPLICATE = 1 << 2, /* a known attempt is not started twice */
	AGENT_RULE_ENGINE_INDEX = 1 << 3, /* the engine's tokens follow each other */
	AGENT_RULE_ENGINE_COUNT = 1 << 4, /* and its DONE counts them */
	AGENT_RULE_ENGINE_PATIENCE = 1 << 5, /* an engine that says nothing has hung */
	AGENT_RULE_MEMORY = 1 << 6,  /* no model is loaded that memory does not suffice for */
	AGENT_RULE_SPARE = 1 << 7,   /* none is unloaded that runs jobs */
};

enum agent_phase { AGENT_PHASE_START, AGENT_PHASE_CONNECTING, AGENT_PHASE_REGISTERING, AGENT_PHASE_READY, AGENT_PHASE_DRAINING,
                   AGENT_PHASE_STOPPED };

/* Figures the shell measured, for the heartbeat. */
struct agent_sample {
	uint64_t mem_available, rss, load_milli, bad_messages;
	struct sensors sensors;
	/* Of the tightest cgroup we are in; limit 0: none.  used: what cannot be reclaimed. */
	uint64_t cgroup_limit, cgroup_used;
	uint64_t engine_anon[AGENT_MAX_MODELS]; /* anonymous memory of each child, bytes */
};

enum agent_event_type {
	AGENT_EV_START,        /* once, first */
	AGENT_EV_LINK_UP,      /* conn; subscriptions are in place */
	AGENT_EV_LINK_DOWN,
	AGENT_EV_CONGESTED,    /* the out-queue is full: hold token frames, coalesce */
	AGENT_EV_WRITABLE,     /* room again */
	AGENT_EV_HUB_STATUS,   /* hub_status */
	AGENT_EV_OWN_STATUS,   /* status: what the broker holds for us */
	AGENT_EV_JOB,          /* job */
	AGENT_EV_CONTROL,      /* control */
	AGENT_EV_ENGINE,       /* engine, engine_msg: a message from that child; NULL: bytes that are none */
	AGENT_EV_ENGINE_EXIT,  /* engine; wstatus of waitpid, or -errno of a failed start */
	AGENT_EV_ENGINE_STOPPED, /* engine, signo: it stands still, by SIGSTOP or the like */
	AGENT_EV_SAMPLE,       /* sample */
	AGENT_EV_FOOTPRINT,    /* engine, footprint: its model's file was looked at */
	AGENT_EV_SESSION,      /* name, bytes: a file of an earlier life; all before START, oldest first */
	AGENT_EV_BUTTON,       /* a short press of the box's button: drain, or resume whoever drained it */
	AGENT_EV_STOP,         /* SIGTERM: drain, then STOPPED; a second one stops at once */
	AGENT_EV_TICK
};

struct agent_event {
	enum agent_event_type type;
	uint64_t conn;
	size_t engine; /* index of the model */
	int wstatus, signo;
	struct span name;
	uint64_t bytes;
	union {
		const struct hub_status *hub_status;
		const struct status *status;
		const struct job_msg *job;
		const struct control *control;
		const struct engine_msg *engine_msg;
		const struct agent_sample *sample;
		const struct footprint *footprint;
	};
};

enum agent_action_type {
	AGENT_ACT_REGISTER,     /* registration: publish retained, QoS 1 */
	AGENT_ACT_STATUS,       /* status: publish retained, QoS 1 */
	AGENT_ACT_HEARTBEAT,    /* heartbeat: QoS 0 */
	AGENT_ACT_EVENT,        /* job_event: QoS 0 for TOKENS and PROGRESS, 1 for the rest */
	AGENT_ACT_ENGINE_START, /* engine: spawn the child of that model */
	AGENT_ACT_ENGINE_SEND,  /* engine, engine_msg; file: the session that SAVE and RESTORE are about */
	AGENT_ACT_ENGINE_KILL,  /* engine: SIGKILL; ENGINE_EXIT follows */
	AGENT_ACT_BENCHED,      /* bench: to be remembered over restarts */
	AGENT_ACT_SESSION_KEEP,    /* file: what was written for SAVE is whole and takes the old one's place */
	AGENT_ACT_SESSION_DISCARD, /* file: what was written for SAVE is of no use */
	AGENT_ACT_SESSION_DROP,    /* file: goes */
	AGENT_ACT_LOG,          /* level (log.h), where, text */
	AGENT_ACT_STOPPED       /* all is said: close the link, exit */
};

struct agent_action {
	enum agent_action_type type;
	size_t engine;
	int level;
	const char *where;
	struct span file; /* a session's name */
	union {
		struct registration registration;
		struct status status;
		struct heartbeat heartbeat;
		struct job_event job_event;
		struct engine_msg engine_msg;
		const struct agent_bench *bench;
		struct span text;
	};
};

SHOAL_CHECK int agent_new(const struct agent_config *config, struct agent **ret);
struct agent *agent_free(struct agent *a);
/* Carries out one event; *ret lends the actions, the count is returned. */
size_t agent_step(struct agent *a, uint64_t now_ms, const struct agent_event *ev, const struct agent_action **ret);
/* When a TICK is wanted next (absolute); UINT64_MAX: never. */
uint64_t agent_deadline(const struct agent *a);

enum agent_phase agent_phase(const struct agent *a);
struct agent_view { /* what the lights of a box may show */
	enum agent_phase phase;
	size_t n_running; /* jobs */
	size_t n_models, n_failed;
	bool has_engines; /* one runs, or is to run soon: not those in quarantine */
};
struct agent_view agent_view(const struct agent *a);
const char *agent_phase_name(enum agent_phase p);
/* The will for connection number conn: "offline" of this epoch and conn. */
struct status agent_will(const struct agent *a, uint64_t conn);

#define AGENT_COUNTER_LIST(X)                                                                           \
	X(jobs_accepted) X(jobs_rejected) X(jobs_displaced) X(jobs_done) X(jobs_failed) X(jobs_duplicate) X(jobs_stale)   \
	X(jobs_wrong_epoch) X(controls_unknown_job) X(tokens) X(frames) X(resends) X(engine_deaths) X(engine_bad_messages)
struct agent_counters {
#define X(name) uint64_t name;
	AGENT_COUNTER_LIST(X)
#undef X
};
const struct agent_counters *agent_counters(const struct agent *a);
/* All figures in Prometheus' text format (version 0.0.4). */
void agent_prometheus(const struct agent *a, struct buf *out);

#endif
