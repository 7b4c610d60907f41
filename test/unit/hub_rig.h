/* hub_rig.h - a hub core under a clock of our own, and short words to feed it.
 *
 * Every rig_ word that feeds an event forgets the actions of the one before and gathers
 * its own, with those of the PERSISTED steps that follow unless hold_persist is set. */
#ifndef HUB_RIG_H
#define HUB_RIG_H

#include "hub.h"

#define RIG_ACTS 8192
#define RIG_RECORDS 512

struct rig {
	struct hub *h;
	uint64_t now;
	bool hold_persist;
	uint64_t persist_seq;             /* the last one asked for */
	struct hub_action acts[RIG_ACTS]; /* spans copied */
	size_t n;
	char *memory[RIG_ACTS * 8];
	size_t n_memory;
	uint64_t submits;
	struct hub_record records[RIG_RECORDS]; /* all since rig_init(), in order; only with a journal */
	size_t n_records;
};

struct hub_config rig_config(void);
void rig_init(struct rig *r, const struct hub_config *c); /* begins anew if need be: *r is zero or was used */
void rig_fini(struct rig *r);
void rig_event(struct rig *r, struct hub_event ev);
void rig_persisted(struct rig *r, uint64_t seq);
/* The hub dies and starts again with the first n_records of its journal, ms later.  The link is not up yet. */
void rig_crash(struct rig *r, const struct hub_config *c, size_t n_records, uint64_t ms);
void rig_simple(struct rig *r, enum hub_event_type type); /* LINK_UP, LINK_DOWN, TICK */
void rig_pass(struct rig *r, uint64_t ms);                /* to now + ms, with a tick at every deadline on the way */

/* ---- agents: model "m", ready; 1 slot ---- */
struct registration rig_registration(const char *id, uint64_t epoch, uint64_t conn);
void rig_register(struct rig *r, struct registration g);
void rig_agent(struct rig *r, const char *id, uint64_t epoch, uint64_t conn, uint64_t slots);
void rig_status(struct rig *r, const char *id, uint64_t epoch, uint64_t conn, enum agent_status_state state);
void rig_heartbeat(struct rig *r, const char *id, uint64_t epoch, uint64_t conn);
void rig_keep_alive(struct rig *r, const char *id, uint64_t ms); /* epoch 1, conn 1: a heartbeat a second */

/* ---- what agents say; attempt and epoch as the event says ---- */
struct job_event rig_said(enum job_event_type type, const char *job, uint64_t attempt);
void rig_say(struct rig *r, const char *agent, struct job_event e);
void rig_tokens(struct rig *r, const char *agent, const char *job, uint64_t attempt, uint64_t index, const char *text);
void rig_done(struct rig *r, const char *agent, const char *job, uint64_t attempt, uint64_t count, const char *text);
void rig_failed(struct rig *r, const char *agent, const char *job, uint64_t attempt, enum code code);

/* ---- clients ---- */
struct submit rig_request(const char *id, bool stream); /* model "m", prompt "p" */
void rig_submit_to(struct rig *r, const char *user, struct submit s, const char *topic, uint64_t conn);
/* Submits for "alice", answers on "t"; returns the job's id (valid to the end of the test). */
const char *rig_submit(struct rig *r, struct submit s);
const char *rig_goes_to(struct rig *r, struct submit s); /* the agent it is given to; "": it waits */
void rig_cancel(struct rig *r, const char *user, const char *job, const char *id);

/* ---- operators ---- */
/* "ops" asks; reply on "t".  The answer must be there and is returned. */
const struct answer *rig_admin(struct rig *r, struct admin a);

/* ---- what came out ---- */
const struct hub_action *rig_find(const struct rig *r, enum hub_action_type type, size_t nth);
size_t rig_count(const struct rig *r, enum hub_action_type type);
const struct hub_action *rig_answer(const struct rig *r, enum answer_type type); /* the first of the type, or NULL */
size_t rig_answers(const struct rig *r, enum answer_type type);
const struct hub_action *rig_control(const struct rig *r, enum control_verb verb);
size_t rig_controls(const struct rig *r, enum control_verb verb);
const struct job_msg *rig_dispatched(const struct rig *r, const char *agent); /* the first to that agent, or NULL */
/* The only answer must be an error with this code. */
const struct answer *rig_must_refuse(const struct rig *r, enum code code);

struct hub_agent_view rig_agent_view(const struct rig *r, const char *id);
enum hub_presence rig_presence(const struct rig *r, const char *id);
struct hub_job_view rig_job_view(const struct rig *r, const char *job);

#endif
