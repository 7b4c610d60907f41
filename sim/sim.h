/* sim.h - the shipped hub core and agent cores at the size of a fleet.
 *
 *   main.c      one run a policy, what is printed, exit status
 *   options.c   options and scenarios
 *   agenda.c    what happens when
 *   mail.c      messages on their way
 *   world.c     the turn of the world, the hub and its surroundings
 *   box.c       a box: its agent core, its connection
 *   engine.c    what its engines compute, and how long that takes
 *   load.c      jobs: who asks what, and what must come back
 *   trace.c     jobs from a file
 *   fault.c     what goes wrong
 *   hardware.c  kinds of boxes and models
 *   report.c    figures
 *   disk.c      the journal of a hub that dies
 *   memory.c    what the hub core takes
 *
 * Time is in microseconds (the cores see milliseconds).  Nothing is random but by the seed. */
#ifndef SIM_H
#define SIM_H

#include "agent.h"
#include "hub.h"
#include "mail.h"
#include "agenda.h"
#include "rng.h"
#include "topic.h"

#define MS ((uint64_t)1000)
#define SECOND ((uint64_t)1000000)
#define SIM_MODELS 4 /* of a fleet */
#define SIM_NONE UINT32_MAX
#define SIM_BUILD "sim"
#define SIM_DIGEST "?ne file on all boxes, 32 bytes.." /* the first byte: the model's */
#define TOKEN_BYTES 4                                  /* of text, each */
#define SIM_MAX_PROMPT (PROTO_MAX_PROMPT / TOKEN_BYTES)

/* ---- options.c ---- */

struct settings {
	uint64_t seed, agents, jobs, users, groups, prompt, output, turns, system, frame, queue_max, deadline_ms;
	double load, rate; /* share of what the fleet can do; jobs a second, 0: by load */
	double think_s, burst, burst_s, burst_every_s, long_share, heavy_share, low_share, high_share;
	uint64_t hop_us, journal_us;
	double hub_crashes, hub_down_s, loss, duplicate, reorder, crashes, partitions, slow, mass_loss, mass_at_s, down_s,
		heat;
	double give_up_s;
	const char *fleet, *models, *policies, *trace;
	bool is_wire, is_csv, is_timing, is_verbose, no_sessions;
};

/* 0: go on; else the exit status + 1, what there is to say has been said. */
int options_parse(struct settings *s, int argc, char **argv);

/* ---- hardware.c ---- */

struct model_kind {
	const char *name;
	double params, bytes;
};

struct box_kind {
	const char *name;
	double bytes_s, flops; /* what it reads of memory and computes, a second */
	uint64_t memory;
	uint64_t slots; /* of each model */
	unsigned power; /* enum power */
	const char *label;
	unsigned cores;
};

struct fleet_kind {
	const struct box_kind *kind;
	uint64_t weight;
	struct hardware hardware;               /* as its agents say it */
	struct agent_bench benches[SIM_MODELS]; /* as its agents have measured it */
	size_t n_benches;
};

struct fleet {
	const struct model_kind *models[SIM_MODELS];
	double share[SIM_MODELS]; /* of jobs */
	size_t n_models;
	struct fleet_kind kinds[16];
	size_t n_kinds;
	uint64_t weight;
};

bool hardware_parse(const struct settings *s, struct fleet *ret);            /* says what is wrong */
const struct fleet_kind *hardware_kind(const struct fleet *f, uint64_t box); /* of that box */
bool hardware_fits(const struct box_kind *k, const struct model_kind *m);
double hardware_pass_us(const struct box_kind *k, const struct model_kind *m); /* of reading the weights once */
double hardware_row_us(const struct box_kind *k, const struct model_kind *m);  /* of computing one more token in it */
double hardware_capacity(const struct fleet *f, uint64_t agents, double prompt, double output); /* jobs a second */
void hardware_list(void);

/* ---- jobs: load.c, trace.c ---- */

enum job_phase { PHASE_ASKED, PHASE_ENDED };

struct sim_job {
	uint64_t at; /* asked */
	uint32_t user, conv /* conversation */, prompt, output, next /* token the client waits for */;
	uint32_t system; /* tokens at the beginning of the prompt that its group has in common */
	uint16_t group;
	uint8_t model, phase, code, priority;
	bool is_heard; /* by the hub: it has said something */
	uint32_t deadline_ms;
};

struct conv {
	uint32_t user, prompt /* of the next turn */, turns /* left */, agent /* that ran its last turn */;
	uint16_t group;
	uint8_t model;
	bool is_short; /* one turn: no session */
};

struct trace_line {
	uint64_t at;
	uint32_t user, conv, prompt, output, deadline_ms;
	uint8_t model, priority;
};

struct trace {
	struct trace_line *lines;
	size_t n, next;
	uint32_t n_users, n_convs;
};

bool trace_read(const char *path, const struct fleet *f, struct trace *ret); /* says what is wrong */
void trace_free(struct trace *t);

/* ---- figures: report.c ---- */

struct samples {
	uint32_t *v;
	size_t n, cap;
};

struct user_window { /* tokens, of one user: not served when the window began; since then */
	double waiting, asked, served, dropped;
};

struct figures_of_run {
	uint64_t asked, done, lost, wrong, by_code[CODE_MAX + 1];
	struct samples queue, first, total; /* microseconds */
	uint64_t prompt_tokens, cached_tokens, tokens;
	uint64_t attempts, moved, turns_kept; /* turns of a session after its first: on another agent; on the same */
	uint64_t first_at, last_at, steps_hub, steps_agent, messages;
	double busy_slot_us, slot_us; /* slots in use; that there are */
	uint64_t hub_runs;            /* after the first */
	struct user_window *users;
	double jain, jain_weight;
	double wall_s, cpu_s;
	double bytes_agent, bytes_session, busiest; /* busiest: share of the jobs done that one box did */
};

void samples_add(struct samples *s, uint64_t us);
void report_window(struct figures_of_run *f, size_t n_users); /* a while has passed */
/* Sorts the samples.  What is reported of each run is printed when all are over. */
void report_run(const struct settings *s, const char *policy, struct figures_of_run *f);
void report_print(const struct settings *s);
void report_fini(struct figures_of_run *f);

/* ---- boxes: box.c, engine.c ---- */

struct seq { /* a place of an engine's KV cache, and what it holds */
	uint32_t conv, n, system;
	uint16_t group;
	bool is_busy;
	uint64_t used;
};

struct run {
	uint64_t number;                                 /* 0: free */
	uint64_t order, at, read_at, decode_at;          /* it came; its prompt was begun; its first token; 0: not yet */
	uint32_t job, seq, prompt, cached, made, target; /* made: tokens of the answer so far, the prefix included */
	double left;                                     /* tokens of the prompt not computed yet */
	double due;                                      /* where of engine.pace its next message is */
	bool is_decoding, is_short, is_cancelled;
};

struct engine {
	const struct model_kind *model;
	struct run *runs;
	struct seq *seqs;
	size_t n_runs, n_seqs, n_active;
	uint32_t gen; /* of the child */
	bool is_alive, is_ready, is_told /* that something ended while it computed */;
	double pass_us, row_us, pace; /* pace: tokens each stream has got, since it was idle */
	uint64_t at, order, due;      /* until when it has computed; when it is looked at again */
	uint32_t look;                /* of the look that is due: others are stale */
};

struct box {
	struct agent *agent; /* NULL: it is down */
	const struct fleet_kind *fleet_kind;
	const struct box_kind *kind;
	struct engine *engines;
	size_t n_engines, n_busy;         /* engines that compute */
	uint32_t index, epoch, conn, cut; /* cut: number of the partition, for the one that ends it */
	bool is_linked, is_broker_linked, is_cut;
	double speed, heat; /* of what it could; 1 */
	uint64_t wake_at, out_at, in_at, n_done;
	struct mail *retained[2]; /* registration, status: at the broker */
	uint64_t will_epoch, will_conn;
	char id[16];
};

/* ---- the world ---- */

enum ev_type {
	EV_TO_HUB, /* p: mail, who: box, sub: topic; gen: hub_gen */
	EV_TO_BOX, /* the same; gen: conn */
	EV_NO_SUBSCRIBER,
	EV_JOURNAL, /* p: sequence number; gen: hub_gen */
	EV_TOLD,    /* p: a job's id; gen: hub_gen */
	EV_HUB_START,
	EV_SUBMIT, /* who: job */
	EV_ARRIVAL,
	EV_TURN, /* who: conversation */
	EV_WINDOW,
	EV_FAULT, /* sub: which */
	/* of boxes */
	EV_BOX_START,
	EV_BOX_CONNECT, /* gen: epoch */
	EV_BOX_NOTICE,  /* gen: conn: it sees its link gone */
	EV_BOX_WILL,    /* gen: conn: the broker does */
	EV_BOX_HEALED,  /* gen: cut */
	EV_BOX_COOL,
	EV_BOX_WAKE,
	/* of engines; sub: which, gen: of the child */
	EV_ENGINE_HELLO,
	EV_ENGINE_LOADED,
	EV_ENGINE_EXIT,
	EV_ENGINE_PONG,
	EV_ENGINE /* gen: look */
};

struct world {
	const struct settings *set;
	const struct fleet *fleet;
	struct rng rng, load_rng; /* of links and faults; of the workload, which is the same for each policy */
	struct agenda agenda;
	struct post post;
	uint64_t now;
	struct hub *hub;
	bool is_recording;
	uint32_t hub_gen;  /* runs of the hub, from 1; w->hub is NULL between two */
	struct disk *disk; /* NULL: nothing is on it */
	enum hub_policy policy;
	uint64_t journal_asked, journal_safe;
	bool is_journal_busy;
	struct box *boxes;
	size_t n_boxes, n_ready /* boxes that have started */;
	struct sim_job *jobs;
	size_t n_jobs, n_open;
	struct conv *convs;
	size_t n_convs, cap_convs;
	struct trace *trace;
	double rate;              /* arrivals a second */
	uint64_t begin, last_end; /* of the workload */
	size_t n_users;
	bool is_all_asked;
	struct figures_of_run fig;
};

/* world.c */
void world_run(struct world *w, enum hub_policy policy);
void world_fini(struct world *w);
void world_push(struct world *w, uint64_t in_us, struct ev ev);
uint64_t world_ms(const struct world *w);
bool world_chance(struct world *w, double p);
uint64_t world_between(struct world *w, uint64_t low, uint64_t high);
double world_exp(struct rng *r, double mean);
void world_hub_crash(struct world *w);
void world_feed_hub(struct world *w, const struct hub_event *ev);
void world_to_hub(
	struct world *w, struct box *b, enum topic_kind kind, const struct msg_type *t, const void *m, unsigned qos);

/* box.c */
void box_init(struct world *w, size_t i);
void box_fini(struct box *b);
void box_kill(struct world *w, struct box *b);
void box_cut(struct world *w, struct box *b, uint64_t us);
void box_hot(struct world *w, struct box *b, uint64_t us);
void box_feed(struct world *w, struct box *b, const struct agent_event *ev);
void box_event(struct world *w, const struct ev *ev);
void box_mail(struct world *w, struct box *b, enum topic_kind kind, struct mail *m);

/* engine.c */
int engine_make(struct box *b, const struct fleet *f);
void engine_unmake(struct box *b);
void engine_begin(struct world *w, struct box *b, size_t i);
void engine_told(struct world *w, struct box *b, size_t i, const struct engine_msg *m);
void engine_dies(struct world *w, struct box *b, size_t i);
void engine_event(struct world *w, struct box *b, const struct ev *ev);
void engine_pace_changes(struct world *w, struct box *b); /* before speed changes: what was computed counts as it was */
void engine_pace_changed(struct world *w, struct box *b);

/* load.c */
void load_init(void);
void load_begin(struct world *w);
void load_event(struct world *w, const struct ev *ev);
void load_answer(struct world *w, const struct hub_action *act);
struct span load_text(uint32_t job, uint32_t index, uint32_t n);
const uint32_t *load_ids(uint32_t job, uint32_t index);

/* disk.c */
void disk_add(struct world *w, const struct hub_record *r);
void disk_crash(struct world *w);
void disk_restore(struct world *w);
void disk_fini(struct disk *d); /* accepts NULL */

/* fault.c */
void fault_begin(struct world *w);
void fault_event(struct world *w, const struct ev *ev);

/* memory.c */
/* Bytes of each; 0: not known. */
void memory_measure(enum hub_policy policy, double *ret_agent, double *ret_session);

#endif
