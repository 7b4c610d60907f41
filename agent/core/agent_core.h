/* agent_core.h - the inside of agent/core: what its files share.
 *
 *   agent.c    life cycle, dispatch of events, deadlines, stop
 *   intake.c   dispatches: what is taken, and what refused
 *   queue.c    waiting jobs: classes, aging, who gives way
 *   jobs.c     the job table: ending, forgetting; what the hub asks about jobs
 *   stream.c   tokens of a job: kept, framed, windowed, sent again
 *   engines.c  one state machine a model: start, load, run, die, try again
 *   runs.c     what an engine computes at the moment
 *   patience.c when an engine that says nothing has hung
 *   quarantine.c  an engine that dies too often
 *   memory.c   who may be loaded, who has to go
 *   bench.c    how fast a model is here, measured once
 *   sessions.c conversations whose computed state outlives their engine
 *   report.c   registration, status, heartbeat
 *   alarms.c   what the box's sensors say that someone should know
 *   hwtext.c   apart: reads the texts of /proc and /sys for the shell
 *   figures.c  how requests went, for the heartbeat
 *   prometheus.c  all figures as text
 *   gpio.c     lights and button of the box: apart, knows agent_view() only
 *   metrics.c  how the last requests went
 *   out.c      the actions of a step and the memory they point at */
#ifndef SHOAL_AGENT_CORE_H
#define SHOAL_AGENT_CORE_H

#include <sys/queue.h>

#include "agent.h"
#include "metrics.h"
#include "rng.h"
#include "sha256.h"

#define NEVER UINT64_MAX
#define REASON_SIZE 256 /* a sentence about an engine or the agent, with its NUL */

/* As log.h has them; core/ does not see the logger. */
enum { SAY_ERROR = 3, SAY_WARN, SAY_NOTICE, SAY_INFO, SAY_DEBUG };

#ifdef SHOAL_MUTANTS
#define RULE(a, name) (((a)->config.rules_off & AGENT_RULE_##name) == 0)
#else
#define RULE(a, name) ((void)(a), true)
#endif

/* ---- jobs ---- */

struct piece { /* what the engine said in one message; ends, counted from the attempt's first */
	uint32_t tokens_end, text_end, probs_end;
};

/* The tokens of one attempt. Kept whole until the hub has confirmed the end. */
struct stream {
	struct buf text, ids, pieces;
	struct buf probs; /* logprobs of all tokens, or vectors of all texts, or nothing */
	bool is_vectors;
	uint32_t first; /* index of the first token: the length of the prefix */
	size_t n_sent;  /* pieces sent */
	/* Ends (indices) of frames sent and not acknowledged, oldest first. */
	uint32_t flying[PROTO_FRAME_WINDOW];
	size_t n_flying;
};

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_ENDED };

TAILQ_HEAD(job_list, job);

struct job {
	TAILQ_ENTRY(job) in_list; /* a queue of its engine, or an agent's list of ended ones; none while running */
	struct agent *agent;
	struct job_list *list;
	TAILQ_ENTRY(job) in_unsaid;
	bool is_unsaid;
	struct job *hash_next, *dead_next;

	char id[PROTO_MAX_ID + 1];
	uint64_t attempt;
	struct engine *engine;
	struct run *run; /* while running */
	enum job_state state;
	struct job_msg *msg; /* what to generate; handed over when it starts */
	size_t msg_size;
	uint64_t taken_ms, queue_ms, deadline_ms, ended_ms;
	uint64_t entered_ms, wait_end_ms; /* while waiting: into its class; when it has waited enough */
	struct stream stream;

	/* Owed to the hub. */
	bool say_accepted, say_progress;
	bool is_unwanted; /* told to stop: only the end is said */
	bool is_heard; /* the hub has spoken about this attempt: it knows it was taken */
	bool is_end_said;
	bool is_confirmed; /* the hub knows the end */

	/* How it ended. */
	enum job_event_type end;
	unsigned finish, code;
	uint64_t index;
	uint8_t sha256[SHA256_SIZE];
	struct usage usage;
	struct timings timings;
	struct span reason; /* heap */
};

/* ---- engines ---- */

#define ENGINE_STATE_LIST(X) \
	X(DOWN, "down") X(STARTING, "starting") X(LOADING, "loading") X(READY, "ready") X(STOPPING, "stopping") X(BACKOFF, "backoff") \
	X(QUARANTINED, "quarantined")
enum engine_state {
#define X(name, text) ENGINE_STATE_##name,
	ENGINE_STATE_LIST(X)
#undef X
	ENGINE_STATE_COUNT
};

#define ENGINE_EV_LIST(X) \
	X(START) X(STOP) X(TIMEOUT) X(EXIT) X(HELLO) X(PROGRESS) X(LOADED) X(TOKENS) X(DONE) X(ERROR) X(PONG) X(STATS) \
	X(SAVED) X(RESTORED)
enum engine_ev {
#define X(name) ENGINE_EV_##name,
	ENGINE_EV_LIST(X)
#undef X
	ENGINE_EV_COUNT
};

/* A sequence of the engine: busy from GENERATE until DONE or ERROR. */
struct run {
	uint64_t number;       /* 0: free */
	struct session *session; /* NULL: none, or none that is kept */
	struct job *job;       /* NULL: the job has ended here, the engine is still to say so */
	bool is_cancelled;
	uint64_t due_ms, reading_ms, held_back; /* patience.c */
};

#define QUARANTINE_SUSPECTS 128
#define ENGINE_SAVE_MS 8000 /* for saving sessions, before it goes */

struct suspect { /* a job that ran when the engine died */
	uint64_t hash, ms;
};

#define BENCH_FAST " fast" /* after the build of an engine whose tokens need not be equal */

enum bench_state { BENCH_NONE, BENCH_WANTED, BENCH_RUNNING, BENCH_DONE, BENCH_GIVEN_UP };

struct bench {
	enum bench_state state;
	struct agent_bench result; /* what it depends on; once it is done, the figures */
	uint64_t run;              /* its number while it runs, else 0 */
	uint64_t at_ms;            /* while it is wanted: not before */
	uint64_t anyway_ms;        /* … from then on, however busy the box is */
	uint64_t began_ms, first_ms; /* while it runs: since when, and since when with tokens; 0: none yet */
	uint64_t n_tokens;
	bool is_in_the_way; /* real work has come: it ends without a result */
	bool was_at_work;   /* the box, when it was last looked at */
};

struct engine_stats { /* as of ENGINE_STATS, of the last second it worked; all 0: it has not said */
	uint64_t threads, token_us, step_rows, n_kept;
};

struct engine {
	struct agent *agent;
	size_t index;
	struct bench bench;
	struct agent_model model;
	enum engine_state state;
	bool is_wanted;
	uint64_t timer_ms; /* when EV_TIMEOUT is due */
	uint64_t heard_ms, pinged_ms, due_ms, ready_ms;
	unsigned n_pings; /* without an answer yet */
	unsigned n_idle_progress;
	unsigned failures; /* in a row */
	bool is_quarantined; /* or about to be, when the child is gone */
	uint64_t deaths[AGENT_MAX_QUARANTINE_DEATHS]; /* when, oldest first */
	size_t n_deaths, next_suspect;
	struct suspect suspects[QUARANTINE_SUSPECTS];

	struct engine_stats stats;

	struct run *runs;
	size_t n_runs; /* room: the configured parallel */
	size_t parallel, n_busy;
	size_t n_saving, n_restoring; /* sessions: not answered yet */
	struct job_list queue[PRIORITY_COUNT];
	size_t n_queued;

	/* Memory. */
	struct footprint footprint; /* of its model's file; all 0: not known */
	bool is_asked;              /* to be loaded as soon as there is memory, since: */
	bool is_told;               /* … by an operator */
	uint64_t asked_ms, used_ms; /* used: when it last had something to do */
	uint64_t yield_ms;          /* jobs taken later wait until another model was loaded; NEVER */
	bool is_short;              /* has_failed because there is not enough memory for it */

	/* Of its model, as the registration says it. */
	bool has_failed; /* and was not ready since */
	enum code fail_code;
	uint64_t n_ctx, n_params, size, percent, n_embd;
	bool is_exact;
	uint8_t digest[SHA256_SIZE];
	struct span known_digest; /* points at digest or is empty */
	char arch[PROTO_MAX_NAME + 1];
	char reason[REASON_SIZE];
};

/* ---- the agent ---- */

#define DEVICE_SIZE 96
#define FIGURES_MAX 17

enum { ALARM_THROTTLED, ALARM_UNDERVOLTAGE, ALARM_DISK, ALARM_COUNT };

struct alarm {
	bool is_on;      /* it was told */
	uint64_t bad_ms; /* when it was last so */
};

#define JOB_BUCKETS 256

enum stop_stage { STOP_NO, STOP_DRAINING, STOP_TELLING, STOP_CLOSING };

_Static_assert(METRICS_MODELS >= AGENT_MAX_MODELS, "metrics for each model");

struct agent {
	struct agent_config config; /* its spans point into pool */
	char *pool;
	struct span *labels;
	struct rng rng;
	uint64_t now, start_ms;
	enum agent_phase phase;
	struct agent_counters counters;
	struct metrics metrics;
	struct agent_sample sample;
	bool has_news_of_memory; /* a sample, a footprint: look again who fits */
	bool is_warm;            /* what is loaded at the start was, or failed */

	/* Link. */
	bool is_up, is_congested;
	uint64_t conn, seq;
	uint64_t hub_epoch, heard_ms;

	/* Told, and when to tell again; NEVER: nothing to tell. */
	size_t registered_slots;
	uint64_t registration_ms, registered_at_ms, status_ms, status_at_ms;
	struct model_info *infos; /* of the last registration */
	struct heartbeat beat;    /* the last one, sent at */
	uint64_t beat_ms;
	bool is_beat_wanted; /* before its time */
	uint64_t rate_ms, rate_tokens, rate;
	unsigned told_state;
	char told_reason[REASON_SIZE];
	char build[128]; /* of the engines */
	char device_texts[PROTO_MAX_DEVICES][DEVICE_SIZE]; /* accelerators the engines see */
	struct span devices[PROTO_MAX_DEVICES];
	size_t n_devices;
	struct alarm alarms[ALARM_COUNT];
	struct figures figures[FIGURES_MAX];
	struct code_count error_counts[FIGURES_MAX][PROTO_MAX_CODES];
	size_t n_figures;
	uint64_t n_counted; /* requests that had ended then */

	/* Stop. */
	bool is_drained, is_drained_here; /* by the hub or the button; by the button */
	enum stop_stage stop;
	bool is_stop_hard; /* asked a second time: at once */
	uint64_t stop_ms; /* when this stage ends at the latest */

	/* Jobs. */
	struct job *buckets[JOB_BUCKETS];
	size_t n_jobs, n_queued, n_running;
	size_t queued_bytes, kept_bytes; /* of messages waiting; of streams of ended jobs */
	struct job_list unsaid;          /* jobs with something to tell the hub */
	struct job_list ended, over;     /* not confirmed; confirmed or refused */
	struct job *dead;                /* freed when the next step begins */
	uint64_t next_run;

	struct engine *engines;
	size_t n_engines;
	struct sessions *sessions; /* NULL: they are not kept */

	/* The step. */
	struct agent_action *actions;
	size_t n_actions, cap_actions;
	size_t frames_left, bytes_left; /* what this step may still send of streams */
	struct out_mem *mem;
	struct buf scratch;
};

/* out.c */
struct agent_action *out_action(struct agent *a, enum agent_action_type type);
void out_begin(struct agent *a);
void out_fini(struct agent *a);
/* Lives until the next step; empty when out of memory. */
struct span out_dup(struct agent *a, struct span s);
/* Memory an action may come to point at: kept until the next step begins, then freed. */
void *out_mem_new(size_t n);
void out_mem_free(void *p);
void out_mem_keep(struct agent *a, void *p);
#define OUT_TEXT(a, ...) (buf_reset(&(a)->scratch), buf_addf(&(a)->scratch, __VA_ARGS__), out_dup((a), buf_span(&(a)->scratch)))
#define OUT_LOG(a, level, where, ...) out_log((a), (level), (where), OUT_TEXT((a), __VA_ARGS__))
void out_log(struct agent *a, int level, const char *where, struct span text);
/* Copies text into a sentence's room, cut at a whole character. */
void out_reason(char *dst, size_t size, struct span text);

/* jobs.c */
void jobs_init(struct agent *a);
void jobs_fini(struct agent *a);
void jobs_sweep(struct agent *a); /* frees the dead */
void jobs_control(struct agent *a, const struct control *c);
void jobs_tick(struct agent *a);
uint64_t jobs_deadline(const struct agent *a);
void jobs_fail_all(struct agent *a, bool with_running, enum code code, const char *reason);
void jobs_say_again(struct agent *a); /* what may not have been heard */
bool jobs_are_told(const struct agent *a); /* nothing is left to say of ended ones */
void job_started(struct job *j, struct run *run);
void job_unqueue(struct job *j);
void job_done(struct job *j, const struct engine_msg *m);
void job_fail(struct job *j, enum code code, struct span reason);
void job_touch(struct job *j); /* there is something to tell */
void job_remind(struct job *j); /* the hub has not heard what became of it */
struct job *job_find(const struct agent *a, struct span id);
/* NULL: no room or no memory.  A new job is on no list yet. */
struct job *job_new(struct agent *a, struct span id, uint64_t attempt);
void job_move(struct job *j, struct job_list *to);
void job_reason(struct job *j, struct span reason);
/* The attempt is over, as `end` says; the hub is told. */
void job_end(struct job *j, enum job_event_type end, struct job_list *list);
/* Another attempt of it is here: aborted, and out of the table. */
void job_replace(struct agent *a, struct job *j);
/* An event about a job that is not in the table. */
void job_say_unkept(struct agent *a, struct span id, uint64_t attempt, enum job_event_type type, enum code code,
	struct span reason);

/* Another one has its place in the queue. */
void job_displace(struct job *j);

/* queue.c */
void queue_add(struct job *j, enum priority priority);
struct job *queue_next(struct engine *e); /* NULL: none waits */
/* Who gives way to one of this priority: of the lowest class below, the newest; NULL: nobody. */
struct job *queue_victim(struct agent *a, enum priority priority);

/* intake.c */
void jobs_received(struct agent *a, const struct job_msg *m);

/* stream.c */
void stream_init(struct stream *s, uint32_t first);
void stream_fini(struct stream *s);
uint32_t stream_end(const struct stream *s); /* index after its last token */
size_t stream_bytes(const struct stream *s);
SHOAL_CHECK int stream_add(struct stream *s, const struct engine_msg *m);
void stream_ack(struct stream *s, uint64_t index);
/* True when there is something to send again. */
bool stream_rewind(struct stream *s, uint64_t index);
void stream_flush(struct agent *a); /* says what is owed, as far as link, window and budget go */

/* engines.c */
SHOAL_CHECK int engine_init(struct engine *e, struct agent *a, size_t index);
void engine_fini(struct engine *e);
/* 0, or negative: not legal, or not valid: the child must go. */
int engine_step(struct engine *e, enum engine_ev ev, const struct agent_event *in);
void engine_message(struct engine *e, const struct agent_event *in);
void engine_exited(struct engine *e, const struct agent_event *in);
void engine_stopped(struct engine *e, int signo);
void engine_stood_still(struct engine *e, uint64_t ms); /* the agent did: what the engine said meanwhile is not read yet */
void engine_start(struct engine *e);
void engine_ask(struct engine *e); /* to be started as soon as there is memory for it */
void engine_fail_short(struct engine *e, struct span reason); /* there is none; what waits for it fails */
size_t engine_slots(const struct engine *e); /* jobs it runs at once, or would */
void engine_load(struct engine *e); /* an operator wants it: what was before is forgotten */
bool engine_has_child(const struct engine *e);
void engine_tick(struct engine *e);
void engine_stop(struct engine *e, bool at_once);
uint64_t engine_deadline(const struct engine *e);
bool engine_is_settled(const struct engine *e);
enum model_state engine_model_state(const struct engine *e);
struct engine *engine_find(struct agent *a, struct span model);
extern const char *const engine_state_names[];
struct engine_msg *engine_tell(struct engine *e, enum engine_msg_type type); /* a message to fill in */

/* runs.c */
bool engine_has_work(struct engine *e); /* a job waits for it that it may begin before it gives way */
void engine_dispatch(struct engine *e);
void engine_cancel(struct engine *e, struct run *run);
void engine_cancel_number(struct engine *e, uint64_t number);
/* A run without a job, on an engine that has a free sequence; returns its number. */
uint64_t engine_generate(struct engine *e, struct span prompt, const struct sampling *s);
struct run *runs_find(struct engine *e, uint64_t number);
/* Takes the run's job away and frees the sequence; NULL when the job had ended before. */
struct job *runs_end(struct engine *e, struct run *run);
void runs_lose(struct engine *e, enum code code); /* with the engine; what waits for it fails too */
SHOAL_CHECK int runs_tokens(struct engine *e, const struct agent_event *in);
SHOAL_CHECK int runs_done(struct engine *e, const struct agent_event *in);
SHOAL_CHECK int runs_error(struct engine *e, const struct agent_event *in);

/* patience.c */
void patience_begin(struct engine *e, struct run *run, size_t prompt_bytes, const struct sampling *s);     /* it was told to generate */
void patience_cancelled(struct engine *e, struct run *run); /* … to stop */
void patience_spoke(struct engine *e, struct run *run);     /* tokens came */
void patience_heard(struct engine *e);                      /* anything came */
void patience_file(struct engine *e);                       /* … to save or restore a session */
void patience_stood_still(struct engine *e, uint64_t ms);   /* it was the agent that heard nothing */
bool patience_wants_ping(const struct engine *e);
uint64_t patience_end(const struct engine *e); /* when to look again: a ping, or the end of it */
bool patience_is_over(const struct engine *e); /* with the engine, or with a cancelled run */
struct run *patience_overdue(struct engine *e); /* a run without tokens for too long; NULL: none */

/* memory.c */
struct memory_view {
	uint64_t total, limit, used; /* bytes: of the scope that leaves least room; used: what engines may come to take, too */
	bool is_cgroup;
	bool is_limited; /* false: nothing is known, or nothing is limited */
};
struct memory_view memory_see(const struct agent *a, const struct agent_limit *limit);
/* May a job of that priority run on e, or be what e is loaded for?  false: *ret_why says why not. */
bool memory_admits(struct agent *a, const struct engine *e, enum priority priority, struct span *ret_why);
void memory_tick(struct agent *a); /* loads who is asked for, unloads who has to go */
/* bench.c */
void bench_loaded(struct engine *e);
void bench_tick(struct engine *e);
uint64_t bench_deadline(const struct engine *e);
bool bench_is(const struct engine *e, uint64_t run);
void bench_tokens(struct engine *e, const struct engine_msg *m);
void bench_done(struct engine *e, const struct engine_msg *m);
void bench_failed(struct engine *e, struct span reason);
void bench_lost(struct engine *e);    /* the engine is gone */
void bench_dropped(struct engine *e); /* … and was told to go */

/* sessions.c */
SHOAL_CHECK int sessions_init(struct agent *a);
void sessions_fini(struct agent *a);
void sessions_found(struct agent *a, struct span name, uint64_t bytes); /* a file of an earlier life; oldest first */
/* Before a job is given to the engine as that run: tells the engine to restore.  NULL: it has no session to keep. */
struct session *sessions_begin(struct engine *e, const struct job_msg *m, uint64_t run);
void sessions_end(struct engine *e, struct session *s, uint64_t run);
void sessions_abort(struct session *s);  /* the run is lost with its engine */
void sessions_lost(struct engine *e);    /* with all it held */
void sessions_save_all(struct engine *e); /* it is about to go */
SHOAL_CHECK int sessions_saved(struct engine *e, const struct engine_msg *m);
SHOAL_CHECK int sessions_restored(struct engine *e, const struct engine_msg *m);
void sessions_tick(struct agent *a);
uint64_t sessions_deadline(const struct agent *a);
bool sessions_are_saved(const struct agent *a); /* no engine is at it */

/* quarantine.c */
void quarantine_note(struct engine *e);   /* it died, its runs are still known; may set is_quarantined */
void quarantine_try(struct engine *e);    /* the half-open try begins */
void quarantine_forget(struct engine *e); /* as if it had never died */

/* report.c */
void report_init(struct agent *a);
void report_registration(struct agent *a, uint64_t in_ms); /* to be published again, no later than that */
void report_all(struct agent *a);                          /* all of it, now */
void report_own_status(struct agent *a, const struct status *s);
void report_tick(struct agent *a);
void report_offline(struct agent *a, const char *reason);
uint64_t report_deadline(const struct agent *a);
size_t report_busy(const struct agent *a); /* sequences of all engines that are not free */

/* figures.c */
void figures_look(struct agent *a); /* brings a->figures up to date */

/* alarms.c */
void alarms_look(struct agent *a); /* at a new sample */

/* Sequences that jobs have. */
static inline size_t engine_n_jobs(const struct engine *e)
{
	return e->n_busy - (e->bench.run != 0);
}

static inline uint64_t min_u64(uint64_t x, uint64_t y)
{
	return x < y ? x : y;
}

static inline uint64_t max_u64(uint64_t x, uint64_t y)
{
	return x > y ? x : y;
}

#endif
