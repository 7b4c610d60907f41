#include "api.h"

#include <stdlib.h>

#include "json.h"

static const struct msg_field error_fields[] = {
	MSG_F_TEXT(struct api_error_body, message, 1, 0, 4096),
	MSG_F_TEXT(struct api_error_body, code, 2, 0, 64),
};
static const struct msg_type error_type = MSG_TYPE("error", struct api_error_body, error_fields);

static const struct msg_field delta_fields[] = {
	MSG_F_TEXT(struct api_delta, content, 1, 0, PROTO_MAX_ANSWER),
};
static const struct msg_type delta_type = MSG_TYPE("delta", struct api_delta, delta_fields);

static const struct msg_field choice_fields[] = {
	MSG_F_SUB(struct api_choice, delta, struct api_delta, 1, 0, &delta_type),
	MSG_F_TEXT(struct api_choice, text, 2, 0, PROTO_MAX_ANSWER),
	MSG_F_TEXT(struct api_choice, finish_reason, 3, 0, 64),
};
static const struct msg_type choice_type = MSG_TYPE("choice", struct api_choice, choice_fields);

static const struct msg_field api_timings_fields[] = {
	MSG_F_UINT(struct api_timings, cache_n, 1, 0, UINT64_MAX),
	MSG_F_UINT(struct api_timings, prompt_n, 2, 0, UINT64_MAX),
};
static const struct msg_type api_timings_type = MSG_TYPE("timings", struct api_timings, api_timings_fields);

static const struct msg_field chunk_fields[] = {
	MSG_F_SUB(struct api_chunk, error, struct api_error_body, API_CHUNK_ERROR, 0, &error_type),
	MSG_F_SUBS(struct api_chunk, choices, struct api_choice, API_CHUNK_CHOICES, 0, 16, &choice_type),
	MSG_F_SUB(struct api_chunk, timings, struct api_timings, API_CHUNK_TIMINGS, 0, &api_timings_type),
	MSG_F_SUB(struct api_chunk, shoal, struct receipt, API_CHUNK_SHOAL, 0, &receipt_type),
};
const struct msg_type api_chunk_type = MSG_TYPE("chunk", struct api_chunk, chunk_fields);

static const struct msg_field model_fields[] = {
	MSG_F_TEXT(struct api_model, id, 1, MSG_REQ, PROTO_MAX_NAME),
};
static const struct msg_type model_type = MSG_TYPE("model", struct api_model, model_fields);

static const struct msg_field models_fields[] = {
	MSG_F_SUBS(struct api_models, data, struct api_model, 1, MSG_REQ, PROTO_MAX_MODELS, &model_type),
};
const struct msg_type api_models_type = MSG_TYPE("models", struct api_models, models_fields);

static const struct msg_field agent_model_fields[] = {
	MSG_F_TEXT(struct api_agent_model, name, 1, MSG_REQ, PROTO_MAX_NAME),
	MSG_F_TEXT(struct api_agent_model, state, 2, 0, 32),
	MSG_F_TEXT(struct api_agent_model, reason, 3, 0, 1024),
	MSG_F_REAL(struct api_agent_model, prefill_tokens_per_s, 4, 0),
	MSG_F_REAL(struct api_agent_model, decode_tokens_per_s, 5, 0),
	MSG_F_UINT(struct api_agent_model, memory, 6, 0, UINT64_MAX),
	MSG_F_TEXT(struct api_agent_model, breaker, 7, 0, 32),
};
static const struct msg_type agent_model_type = MSG_TYPE("agent-model", struct api_agent_model, agent_model_fields);

static const struct msg_field agent_fields[] = {
	MSG_F_TEXT(struct api_agent, id, 1, MSG_REQ, PROTO_MAX_ID),
	MSG_F_TEXT(struct api_agent, state, 2, MSG_REQ, 32),
	MSG_F_UINT(struct api_agent, running, 3, 0, UINT64_MAX),
	MSG_F_UINT(struct api_agent, queued, 4, 0, UINT64_MAX),
	MSG_F_UINT(struct api_agent, slots, 5, 0, UINT64_MAX),
	MSG_F_SUBS(struct api_agent, models, struct api_agent_model, 6, 0, PROTO_MAX_MODELS, &agent_model_type),
	MSG_F_REAL(struct api_agent, tokens_per_s, 7, 0),
	MSG_F_UINT(struct api_agent, seen_ms, 8, 0, UINT64_MAX),
	MSG_F_TEXT(struct api_agent, reason, 9, 0, 1024),
	MSG_F_TEXT(struct api_agent, host, 10, 0, 1024),
	MSG_F_TEXT(struct api_agent, software, 11, 0, 1024),
	MSG_F_TEXT(struct api_agent, engine, 12, 0, 1024),
	MSG_F_SUB(struct api_agent, hardware, struct hardware, 13, 0, &hardware_type),
	MSG_F_SUB(struct api_agent, sensors, struct sensors, 14, 0, &sensors_type),
	MSG_F_UINT(struct api_agent, mem_available, 15, 0, UINT64_MAX),
	MSG_F_REAL(struct api_agent, load, 16, 0),
	MSG_F_SUBS(struct api_agent, figures, struct figures, 17, 0, PROTO_MAX_MODELS, &figures_type),
	MSG_F_UINT(struct api_agent, in_flight, 18, 0, UINT64_MAX),
	MSG_F_UINT(struct api_agent, weight, API_AGENT_WEIGHT, 0, UINT64_MAX),
	MSG_F_BOOL(struct api_agent, drained, 20, 0),
	MSG_F_BOOL(struct api_agent, isolated, 21, 0),
	MSG_F_TEXT(struct api_agent, asked_for, 22, 0, 1024),
};
static const struct msg_type agent_type = MSG_TYPE("agent", struct api_agent, agent_fields);

static const struct msg_field agents_fields[] = {
	MSG_F_SUBS(struct api_agents, agents, struct api_agent, 1, MSG_REQ, 100000, &agent_type),
	MSG_F_UINT(struct api_agents, total, 2, 0, UINT64_MAX),
	MSG_F_TEXT(struct api_agents, next, 3, 0, 1024),
};
const struct msg_type api_agents_type = MSG_TYPE("agents", struct api_agents, agents_fields);

#define T struct api_message
static const struct msg_field message_fields[] = { MSG_F_TEXT(T, message, 1, MSG_REQ, 4096) };
#undef T
const struct msg_type api_message_type = MSG_TYPE("message", struct api_message, message_fields);

#define T struct api_job
static const struct msg_field job_fields[] = {
	MSG_F_TEXT(T, job, 1, MSG_REQ, 1024),
	MSG_F_TEXT(T, user, 2, 0, 1024),
	MSG_F_TEXT(T, model, 3, 0, 1024),
	MSG_F_TEXT(T, agent, 4, 0, 1024),
	MSG_F_TEXT(T, state, 5, MSG_REQ, 1024),
	MSG_F_TEXT(T, priority, 6, 0, 1024),
	MSG_F_TEXT(T, id, 7, 0, 1024),
	MSG_F_TEXT(T, session, 8, 0, 1024),
	MSG_F_TEXT(T, finish_reason, 9, 0, 1024),
	MSG_F_TEXT(T, code, 10, 0, 1024),
	MSG_F_TEXT(T, message, 11, 0, 4096),
	MSG_F_UINT(T, attempt, 12, 0, UINT64_MAX),
	MSG_F_UINT(T, tokens, 13, 0, UINT64_MAX),
	MSG_F_UINT(T, age_ms, 14, 0, UINT64_MAX),
	MSG_F_UINT(T, deadline_ms, API_JOB_DEADLINE, 0, UINT64_MAX),
	MSG_F_UINT(T, ended_ms, 16, 0, UINT64_MAX),
	MSG_F_UINT(T, rests_ms, API_JOB_RESTS, 0, UINT64_MAX),
	MSG_F_BOOL(T, rejoins, 18, 0),
};
#undef T
static const struct msg_type api_job_type = MSG_TYPE("job", struct api_job, job_fields);

#define T struct api_jobs
static const struct msg_field jobs_fields[] = {
	MSG_F_UINT(T, live, 1, 0, UINT64_MAX),
	MSG_F_SUBS(T, jobs, struct api_job, 2, MSG_REQ, 100000, &api_job_type),
	MSG_F_TEXT(T, next, 3, 0, 1024),
};
#undef T
const struct msg_type api_jobs_type = MSG_TYPE("jobs", struct api_jobs, jobs_fields);

#define T struct api_candidate
static const struct msg_field candidate_fields[] = {
	MSG_F_TEXT(T, agent, 1, MSG_REQ, 1024),
	MSG_F_TEXT(T, reason, 2, MSG_REQ, 1024),
	MSG_F_TEXT(T, text, 3, 0, 4096),
	MSG_F_REAL(T, expected_ms, 4, 0),
	MSG_F_UINT(T, cached_tokens, 5, 0, UINT64_MAX),
};
#undef T
static const struct msg_type candidate_type = MSG_TYPE("candidate", struct api_candidate, candidate_fields);

#define T struct api_reason
static const struct msg_field reason_fields[] = {
	MSG_F_TEXT(T, reason, 1, MSG_REQ, 1024),
	MSG_F_UINT(T, agents, 2, MSG_REQ, UINT64_MAX),
};
#undef T
static const struct msg_type reason_type = MSG_TYPE("reason", struct api_reason, reason_fields);

#define T struct api_explain
static const struct msg_field explain_fields[] = {
	MSG_F_TEXT(T, model, 1, 0, 1024),
	MSG_F_UINT(T, total, 2, 0, UINT64_MAX),
	MSG_F_SUBS(T, reasons, struct api_reason, 3, MSG_REQ, 1024, &reason_type),
	MSG_F_SUBS(T, candidates, struct api_candidate, 4, MSG_REQ, 100000, &candidate_type),
};
#undef T
const struct msg_type api_explain_type = MSG_TYPE("explain", struct api_explain, explain_fields);

#define T struct api_story
static const struct msg_field story_fields[] = {
	MSG_F_SUB(T, job, struct api_job, 1, MSG_REQ, &api_job_type),
	MSG_F_SUB(T, receipt, struct receipt, 2, 0, &receipt_type),
	MSG_F_SUB(T, explain, struct api_explain, 3, 0, &api_explain_type),
};
#undef T
const struct msg_type api_story_type = MSG_TYPE("story", struct api_story, story_fields);

#define T struct api_link
static const struct msg_field link_fields[] = {
	MSG_F_BOOL(T, up, 1, MSG_REQ),
	MSG_F_BOOL(T, blind, 2, MSG_REQ),
	MSG_F_TEXT(T, broker, 3, 0, 1024),
	MSG_F_TEXT(T, reason, 4, 0, 4096),
};
#undef T
static const struct msg_type link_type = MSG_TYPE("link", struct api_link, link_fields);

#define T struct api_hub
static const struct msg_field hub_fields[] = {
	MSG_F_TEXT(T, version, 1, MSG_REQ, 1024),
	MSG_F_TEXT(T, policy, 2, 0, 1024),
	MSG_F_UINT(T, uptime_ms, 3, 0, UINT64_MAX),
};
#undef T
static const struct msg_type hub_type = MSG_TYPE("hub", struct api_hub, hub_fields);

#define T struct api_status_model
static const struct msg_field status_model_fields[] = {
	MSG_F_TEXT(T, name, 1, MSG_REQ, 1024),
	MSG_F_UINT(T, ready, 2, 0, UINT64_MAX),
};
#undef T
static const struct msg_type status_model_type = MSG_TYPE("status-model", struct api_status_model, status_model_fields);

#define T struct api_fleet
static const struct msg_field fleet_fields[] = {
	MSG_F_UINT(T, total, 1, MSG_REQ, UINT64_MAX),
	MSG_F_UINT(T, online, 2, MSG_REQ, UINT64_MAX),
	MSG_F_UINT(T, suspect, 3, 0, UINT64_MAX),
	MSG_F_UINT(T, draining, 4, 0, UINT64_MAX),
	MSG_F_UINT(T, offline, 5, 0, UINT64_MAX),
	MSG_F_UINT(T, quarantined, 6, 0, UINT64_MAX),
	MSG_F_UINT(T, slots, 7, 0, UINT64_MAX),
	MSG_F_UINT(T, in_flight, 8, 0, UINT64_MAX),
};
#undef T
static const struct msg_type fleet_type = MSG_TYPE("fleet", struct api_fleet, fleet_fields);

#define T struct api_journal
static const struct msg_field journal_fields[] = {
	MSG_F_TEXT(T, mode, 1, 0, 1024),
	MSG_F_BOOL(T, full, 2, 0),
	MSG_F_TEXT(T, set_aside, 3, 0, 1024),
};
#undef T
static const struct msg_type journal_type = MSG_TYPE("journal", struct api_journal, journal_fields);

#define T struct api_status
static const struct msg_field status_fields[] = {
	MSG_F_SUB(T, hub, struct api_hub, 1, MSG_REQ, &hub_type),
	MSG_F_SUB(T, link, struct api_link, 2, MSG_REQ, &link_type),
	MSG_F_SUB(T, agents, struct api_fleet, 3, MSG_REQ, &fleet_type),
	MSG_F_UINT(T, queued, 4, 0, UINT64_MAX),
	MSG_F_UINT(T, running, 5, 0, UINT64_MAX),
	MSG_F_SUBS(T, models, struct api_status_model, 6, 0, 100000, &status_model_type),
	MSG_F_SUB(T, journal, struct api_journal, 7, 0, &journal_type),
};
#undef T
const struct msg_type api_status_type = MSG_TYPE("status", struct api_status, status_fields);

#define T struct api_session
static const struct msg_field session_fields[] = {
	MSG_F_TEXT(T, session, 1, MSG_REQ, 1024),
	MSG_F_TEXT(T, user, 2, 0, 1024),
	MSG_F_TEXT(T, model, 3, 0, 1024),
	MSG_F_TEXT(T, agent, 4, 0, 1024),
	MSG_F_UINT(T, tokens, 5, 0, UINT64_MAX),
	MSG_F_UINT(T, turns, 6, 0, UINT64_MAX),
	MSG_F_UINT(T, moves, 7, 0, UINT64_MAX),
	MSG_F_UINT(T, jobs, 8, 0, UINT64_MAX),
	MSG_F_UINT(T, used_ms, 9, 0, UINT64_MAX),
};
#undef T
static const struct msg_type session_type = MSG_TYPE("session", struct api_session, session_fields);

#define T struct api_sessions
static const struct msg_field sessions_fields[] = {
	MSG_F_SUBS(T, sessions, struct api_session, 1, MSG_REQ, 100000, &session_type),
	MSG_F_UINT(T, total, 2, 0, UINT64_MAX),
};
#undef T
const struct msg_type api_sessions_type = MSG_TYPE("sessions", struct api_sessions, sessions_fields);

int api_decode(const struct msg_type *t, struct span json, void *ret, void **ret_memory)
{
	/* Every element of a list costs at least a few bytes of text, a struct at most some
	 * 25 times that: this holds any document that is not made to break it. */
	struct arena arena = { .cap = 65536 + 32 * json.n };

	*ret_memory = arena.p = malloc(arena.cap);
	if (arena.p == NULL)
		return ERR_NOMEM;
	return json_decode(t, json, &arena, ret, NULL);
}
