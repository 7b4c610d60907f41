/* fleet.h - what the files of the load program share: many agents and clients on a few MQTT connections.
 *
 *   fleet.c         connections, commands, what is printed
 *   fleet_agents.c  agents as a hub sees them: registered, alive, answering jobs
 *   fleet_clients.c clients: a closed loop or a fixed rate of jobs, and when what came
 *   fleet_record.c  the messages of one job, for relay.c to send alike
 *
 * Agents and clients speak by the codec of common/, as the real ones do.  One thread. */
#ifndef FLEET_H
#define FLEET_H

#include "id.h"
#include "loop.h"
#include "mq.h"
#include "proto.h"
#include "topic.h"

#define FLEET_MODEL "m"
#define FLEET_EPOCH 1
#define FLEET_ID "a%05zu" /* of an agent, FLEET_ID_LEN characters */
#define FLEET_ID_LEN 6
#define FLEET_USER "u%04zu"
#define FLEET_USER_LEN 5
#define FLEET_MAX_SLOTS 64

struct fleet;

struct run {                       /* a job an agent has */
	char id[PROTO_MAX_ID + 1]; /* empty: free */
	uint64_t attempt;
	uint64_t first, last;                         /* tokens of this attempt: last is behind the last */
	uint64_t next;                                /* token to be sent next */
	bool is_accepted, is_held, is_over, was_over; /* over: DONE is said; was: its slot is free */
};

struct agent {
	struct link *link;
	char id[32];
	size_t n_running;
	struct run *runs;
	bool is_announced;
};

struct link { /* a connection of some agents, or that of all clients */
	struct fleet *fleet;
	struct mq *mq;
	size_t number, n_wanted, n_granted;
	size_t next; /* of its agents, to be announced */
	uint64_t conn;
	bool is_ready, is_owing; /* owing: some run waits for room */
	char name[32];
	struct topic will_topic;
	uint8_t will[64];
};

struct beat { /* agents whose heartbeat is due in the same tick: a list, by number */
	size_t first;
};
#define FLEET_TICK_MS 10
#define FLEET_BEATS 1024 /* ticks that the wheel goes around in: more than the longest interval */

struct options {
	uint64_t port, agents, links, slots, first, idle_ms, busy_ms, beat;
	const char *prefix;
};

struct load { /* of one command "run" */
	uint64_t jobs, clients, rate, stream, prompt, tokens, frame, hold, json, key, wait_s, seed;
};

struct counts { /* messages and their payloads' bytes, as agents and clients see them */
	uint64_t submits, jobs, events, controls, acks, answers, beats;
	uint64_t submit_bytes, job_bytes, event_bytes, control_bytes, answer_bytes;
};

struct times { /* of one job, in nanoseconds of CLOCK_MONOTONIC; 0: not yet */
	uint64_t submitted, arrived, ended;
	bool is_error;
};

struct fleet {
	struct options options;
	struct load load;
	struct loop *loop;
	struct arena arena;
	struct buf out; /* a message being made */
	/* agents */
	struct agent *agents;
	size_t *next_beat; /* of each agent: the next in its tick's list */
	size_t n_running;
	struct beat beats[FLEET_BEATS];
	uint64_t tick; /* the last that was done */
	struct loop_timer *beat_timer;
	struct link *links; /* options.links of agents, then that of the clients */
	bool is_announcing;
	uint64_t announced_ns;
	/* clients */
	struct times *times;                                   /* of the run's jobs */
	uint64_t first_number, n_submitted, n_ended, n_errors; /* numbers of jobs go on over all runs */
	uint64_t began_ns, due_ns, ended_ns;                   /* ended: the last answer came */
	struct loop_timer *submit_timer, *end_timer;
	bool is_running;
	char error[256]; /* of the first job that ended with one */
	struct counts counts;
	struct record *record;
};

uint64_t fleet_now_ns(void);
void fleet_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Encodes into f->out. */
struct span fleet_encode(struct fleet *f, const struct msg_type *t, const void *m, enum msg_keys keys);

/* fleet_agents.c */
void agents_init(struct fleet *f);
void agents_fini(struct fleet *f);
void agents_subscribe(struct link *l);
/* As far as there is room; goes on when there is more.  True when all of them are. */
bool agents_announce(struct link *l);
void agents_message(struct link *l, const struct mq_msg *msg);
void agents_room(struct link *l);
bool agents_will(struct link *l, uint64_t conn, struct mq_pub *ret);
void agents_release(struct fleet *f); /* held jobs end */

/* fleet_clients.c */
void clients_init(struct fleet *f);
void clients_fini(struct fleet *f);
void clients_subscribe(struct link *l);
void clients_run(struct fleet *f);
void clients_message(struct fleet *f, const struct mq_msg *msg);
/* An agent has got the job with this prompt; no agent has a job any more. */
void clients_arrived(struct fleet *f, struct span prompt);
void clients_agents_idle(struct fleet *f);

/* fleet_record.c: the first job of each run is noted. */
enum record_kind {
	RECORD_SUBMIT,   /* client -> hub */
	RECORD_ACCEPTED, /* agent -> hub */
	RECORD_TOKENS,
	RECORD_DONE,
	RECORD_JOB,             /* hub -> agent, for a submit */
	RECORD_CONTROL,         /* …, for the end */
	RECORD_ACK,             /* …, QoS 0 */
	RECORD_ANSWER_ACCEPTED, /* hub -> client */
	RECORD_ANSWER_TOKENS,
	RECORD_ANSWER_DONE,
	RECORD_KINDS
};
struct record *record_new(void);
void record_free(struct record *r);
void record_begin(struct record *r, struct span client_id);
/* client_id: of the client's job, if it is known; it may stand in the bytes, too.  job: the hub's id of it, or the relay's.
 */
void record_note(struct record *r, enum record_kind kind, struct span client_id, struct span job, struct span bytes);
int record_write(const struct record *r, const char *path);

#endif
