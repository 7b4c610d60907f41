/* agent_rig.h - an agent core under a clock of our own, and short words to feed it. */
#ifndef AGENT_RIG_H
#define AGENT_RIG_H

#include "agent.h"

#define RIG_EPOCH 7
#define RIG_DIGEST "0123456789abcdef0123456789abcdef"

struct rig {
	struct agent *a;
	uint64_t now, conn;
	const struct agent_action *acts; /* of the last step */
	size_t n;
	bool is_engine_mute; /* it does not answer pings */
};

/* One model "m", two sequences, two waiting jobs; change what the test is about. */
struct agent_config rig_config(void);
void rig_init(struct rig *r, const struct agent_config *c);
void rig_fini(struct rig *r);
/* Up to READY: link up, engine loaded. */
void rig_ready(struct rig *r, const struct agent_config *c);

void rig_event(struct rig *r, const struct agent_event *ev);
void rig_simple(struct rig *r, enum agent_event_type type); /* START, LINK_DOWN, CONGESTED, WRITABLE, STOP, TICK */
void rig_link_up(struct rig *r);
/* To now + ms, with a tick at every deadline on the way.  The actions of all these steps
 * are gone but for the last one's; rig_wait_for stops at the first step with such an action. */
void rig_pass(struct rig *r, uint64_t ms);
const struct agent_action *rig_wait_for(struct rig *r, enum agent_action_type type, uint64_t at_most_ms);

void rig_job(struct rig *r, const char *id, uint64_t attempt); /* model "m", prompt "p" */
void rig_job_msg(struct rig *r, struct job_msg m);             /* epoch 0: ours */
void rig_control(struct rig *r, enum control_verb verb, const char *id, uint64_t attempt, uint64_t index);
void rig_engine(struct rig *r, struct engine_msg m);
void rig_hello(struct rig *r);
void rig_loaded(struct rig *r);
void rig_tokens(struct rig *r, uint64_t run, uint64_t index, const char *text); /* one token a character */
void rig_done(struct rig *r, uint64_t run, uint64_t count, enum finish finish);
void rig_exit(struct rig *r, int wstatus);

/* The nth action (from 0) of the type in the last step; NULL when there is none. */
const struct agent_action *rig_find(const struct rig *r, enum agent_action_type type, size_t nth);
const struct engine_msg *rig_sent(const struct rig *r, enum engine_msg_type type); /* to the engine */
const struct job_event *rig_said(const struct rig *r, enum job_event_type type);   /* to the hub */
size_t rig_count(const struct rig *r, enum agent_action_type type);
/* The event must be there, for this job and attempt. */
const struct job_event *rig_must_say(const struct rig *r, enum job_event_type type, const char *id, uint64_t attempt);

#endif
