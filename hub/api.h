/* api.h - the status documents under /api/v1 and the health checks, as JSON. */
#ifndef HUB_API_H
#define HUB_API_H

#include "api_proto.h"
#include "query.h"
#include "server.h"

void api_status(const struct server *s, struct buf *out);
/* A page of agents in the order of their names; q->cursor: the last one of the page before. */
void api_agents(const struct server *s, const struct query *q, struct buf *out);
/* False, and nothing is written: there is no such agent, or job; the cursor is none. */
bool api_agent(const struct server *s, struct span id, struct buf *out);
bool api_jobs(const struct server *s, const struct query *q, struct buf *out);
bool api_job(const struct server *s, struct span id, struct buf *out);
/* Conversations, the last used first; of q user, model, agent and limit count. */
void api_users(const struct server *s, struct buf *out);
void api_variants(const struct server *s, struct buf *out);
/* What an operator asks of a variant; *ret borrows from body and arena.  BAD_REQUEST, NOT_FOUND. */
enum code api_variant_ask(const struct server *s, struct span body, struct arena *arena, struct hub_event *ret);
void api_sessions(const struct server *s, const struct query *q, struct buf *out);
struct api_sessions_status api_sessions_status(const struct server *s);
/* Nothing is written unless CODE_OK. */
enum code api_explain(const struct server *s, const struct query *q, struct buf *out);
void api_admin(const struct server *s, struct buf *out); /* what operators asked of late */
void api_models(const struct server *s, uint64_t created, struct buf *out); /* OpenAI's list */
/* False, and nothing is written, when no agent knows it. */
bool api_model(const struct server *s, struct span id, uint64_t created, struct buf *out);
/* True when healthy (ready); *ret_why is a static sentence. */
bool api_is_healthy(const struct server *s, const char **ret_why);
bool api_is_ready(const struct server *s, const char **ret_why);

#endif
