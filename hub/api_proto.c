#include "api_proto.h"

#include "sha256.h"

#define ANY UINT64_MAX
#define LIST_MAX 1000000
#define TEXT_MAX 1024

#define T struct api_hub
static const struct msg_field hub_fields[] = {
	MSG_F_TEXT(T, version, 1, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, policy, 2, MSG_REQ, TEXT_MAX),
	MSG_F_UINT(T, epoch, 3, MSG_REQ, ANY),
	MSG_F_UINT(T, uptime_ms, 4, MSG_REQ, ANY),
};
static const struct msg_type hub_type = MSG_TYPE("hub", T, hub_fields);
#undef T

#define T struct api_link
static const struct msg_field link_fields[] = {
	MSG_F_BOOL(T, up, 1, MSG_REQ),
	MSG_F_BOOL(T, blind, 2, MSG_REQ),
	MSG_F_TEXT(T, broker, 3, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, reason, 4, MSG_REQ, TEXT_MAX),
	MSG_F_UINT(T, connects, 5, MSG_REQ, ANY),
	MSG_F_UINT(T, losses, 6, MSG_REQ, ANY),
};
static const struct msg_type link_type = MSG_TYPE("link", T, link_fields);
#undef T

#define T struct api_fleet
static const struct msg_field fleet_fields[] = {
	MSG_F_UINT(T, total, 1, MSG_REQ, ANY),
	MSG_F_UINT(T, online, 2, MSG_REQ, ANY),
	MSG_F_UINT(T, suspect, 3, MSG_REQ, ANY),
	MSG_F_UINT(T, draining, 4, MSG_REQ, ANY),
	MSG_F_UINT(T, offline, 5, MSG_REQ, ANY),
	MSG_F_UINT(T, quarantined, 6, MSG_REQ, ANY),
	MSG_F_UINT(T, slots, 7, MSG_REQ, ANY),
	MSG_F_UINT(T, in_flight, 8, MSG_REQ, ANY),
};
static const struct msg_type fleet_type = MSG_TYPE("fleet", T, fleet_fields);
#undef T

#define T struct api_model
static const struct msg_field model_fields[] = {
	MSG_F_TEXT(T, name, 1, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, arch, 2, 0, TEXT_MAX),
	MSG_F_UINT(T, ready, 3, MSG_REQ, ANY),
	MSG_F_UINT(T, size, 4, MSG_REQ, ANY),
	MSG_F_UINT(T, n_ctx, 5, MSG_REQ, ANY),
	MSG_F_UINT(T, n_params, 6, MSG_REQ, ANY),
	MSG_F_BYTES(T, digest, 7, 0, SHA256_SIZE),
};
static const struct msg_type model_type = MSG_TYPE("model", T, model_fields);
#undef T

/* Lists of numbers of one name each; a key is a place in the list. */
#define T struct api_counters
enum {
	COUNTER_0,
#define X(name) COUNTER_##name,
	HUB_COUNTER_LIST(X)
#undef X
		COUNTER_BAD_MESSAGES,
	COUNTER_END
};
_Static_assert(COUNTER_END <= MSG_MAX_FIELDS + 1, "more counters than a table has keys");
static const struct msg_field counters_fields[] = { MSG_F_UINT(T, bad_messages, COUNTER_BAD_MESSAGES, MSG_REQ, ANY),
#define X(name) MSG_F_UINT(T, name, COUNTER_##name, MSG_REQ, ANY),
	HUB_COUNTER_LIST(X)
#undef X
};
static const struct msg_type counters_type = MSG_TYPE("counters", T, counters_fields);
#undef T

#define T struct api_http
enum {
	HTTP_0,
#define X(name) HTTP_##name,
	API_HTTP_LIST(X)
#undef X
};
static const struct msg_field http_fields[] = {
#define X(name) MSG_F_UINT(T, name, HTTP_##name, MSG_REQ, ANY),
	API_HTTP_LIST(X)
#undef X
};
static const struct msg_type http_type = MSG_TYPE("http", T, http_fields);
#undef T

#define T struct api_mqtt
enum {
	MQTT_0,
#define X(name) MQTT_##name,
	API_MQTT_LIST(X)
#undef X
};
static const struct msg_field mqtt_fields[] = {
#define X(name) MSG_F_UINT(T, name, MQTT_##name, MSG_REQ, ANY),
	API_MQTT_LIST(X)
#undef X
};
static const struct msg_type mqtt_type = MSG_TYPE("mqtt", T, mqtt_fields);
#undef T

#define T struct api_sessions_status
enum {
	MOVED_0 = 20,
#define X(name, text, sentence) MOVED_##name,
	HUB_MOVE_LIST(X)
#undef X
};
static const struct msg_field sessions_status_fields[] = {
	MSG_F_UINT(T, live, 1, MSG_REQ, ANY),
	MSG_F_UINT(T, created, 2, MSG_REQ, ANY),
	MSG_F_UINT(T, expired, 3, MSG_REQ, ANY),
	MSG_F_UINT(T, displaced, 4, MSG_REQ, ANY),
	MSG_F_UINT(T, kept, 5, MSG_REQ, ANY),
	MSG_F_UINT(T, moved, 6, MSG_REQ, ANY),
	MSG_F_UINT(T, prompt_tokens, 7, MSG_REQ, ANY),
	MSG_F_UINT(T, cached_tokens, 8, MSG_REQ, ANY),
	MSG_F_UINT(T, expected_tokens, 9, MSG_REQ, ANY),
	MSG_F_REAL(T, cached_share, 10, MSG_REQ),
#define X(name, text, sentence) MSG_F_UINT(T, moved_##text, MOVED_##name, MSG_REQ, ANY),
	HUB_MOVE_LIST(X)
#undef X
};
static const struct msg_type sessions_status_type = MSG_TYPE("sessions-status", T, sessions_status_fields);
#undef T

#define T struct api_journal
static const struct msg_field journal_fields[] = {
	MSG_F_TEXT(T, mode, 1, MSG_REQ, TEXT_MAX),
	MSG_F_BOOL(T, full, 2, MSG_REQ),
	MSG_F_UINT(T, commits, 3, MSG_REQ, ANY),
	MSG_F_UINT(T, records, 4, MSG_REQ, ANY),
	MSG_F_UINT(T, bytes, 5, MSG_REQ, ANY),
	MSG_F_UINT(T, failures, 6, MSG_REQ, ANY),
	MSG_F_UINT(T, waiting, 7, MSG_REQ, ANY),
	MSG_F_UINT(T, waiting_bytes, 8, MSG_REQ, ANY),
	MSG_F_UINT(T, jobs, 9, MSG_REQ, ANY),
	MSG_F_UINT(T, ids, 10, MSG_REQ, ANY),
	MSG_F_UINT(T, file_bytes, 11, MSG_REQ, ANY),
	MSG_F_REAL(T, last_ms, 12, MSG_REQ),
	MSG_F_REAL(T, max_ms, 13, MSG_REQ),
	MSG_F_TEXT(T, set_aside, 14, 0, TEXT_MAX),
};
static const struct msg_type journal_type = MSG_TYPE("journal", T, journal_fields);
#undef T

#define T struct api_status
static const struct msg_field status_fields[] = {
	MSG_F_SUB(T, hub, struct api_hub, 1, MSG_REQ, &hub_type),
	MSG_F_SUB(T, link, struct api_link, 2, MSG_REQ, &link_type),
	MSG_F_SUB(T, agents, struct api_fleet, 3, MSG_REQ, &fleet_type),
	MSG_F_UINT(T, models_ready, 4, MSG_REQ, ANY),
	MSG_F_UINT(T, queued, 5, MSG_REQ, ANY),
	MSG_F_UINT(T, running, 6, MSG_REQ, ANY),
	MSG_F_REAL(T, tokens_per_s, 7, MSG_REQ),
	MSG_F_SUBS(T, models, struct api_model, 8, MSG_REQ, LIST_MAX, &model_type),
	MSG_F_SUB(T, counters, struct api_counters, 9, MSG_REQ, &counters_type),
	MSG_F_SUB(T, http, struct api_http, 10, MSG_REQ, &http_type),
	MSG_F_SUB(T, mqtt, struct api_mqtt, 11, MSG_REQ, &mqtt_type),
	MSG_F_SUB(T, sessions, struct api_sessions_status, 20, MSG_REQ, &sessions_status_type),
	MSG_F_SUB(T, journal, struct api_journal, 21, MSG_REQ, &journal_type),
};
const struct msg_type api_status_type = MSG_TYPE("api-status", T, status_fields);
#undef T

#define T struct api_held_model
static const struct msg_field held_model_fields[] = {
	MSG_F_TEXT(T, name, 1, MSG_REQ, TEXT_MAX),
	MSG_F_ENUM(T, state, 2, MSG_REQ, MODEL_STATE_COUNT, model_state_names),
	MSG_F_UINT(T, load_percent, 3, 0, 100),
	MSG_F_TEXT(T, reason, 4, 0, TEXT_MAX),
	MSG_F_UINT(T, slots, 7, 0, ANY),
	MSG_F_UINT(T, memory, 8, 0, ANY),
	MSG_F_BOOL(T, pinned, 9, 0),
	MSG_F_REAL(T, prefill_tokens_per_s, API_HELD_PREFILL, 0),
	MSG_F_REAL(T, decode_tokens_per_s, API_HELD_DECODE, 0),
	MSG_F_REAL(T, seen_prefill_per_s, 30, 0),
	MSG_F_REAL(T, seen_decode_per_s, 31, 0),
	MSG_F_REAL(T, seen_load_ms, 32, 0),
	MSG_F_REAL(T, failing, 33, 0),
	MSG_F_UINT(T, in_flight, 34, 0, ANY),
	MSG_F_ENUM(T, breaker, API_HELD_BREAKER, 0, HUB_BREAKER_COUNT, hub_breaker_names),
	MSG_F_UINT(T, failures, API_HELD_FAILURES, 0, ANY),
	MSG_F_UINT(T, breaker_ms, API_HELD_BREAKER_MS, 0, ANY),
};
static const struct msg_type held_model_type = MSG_TYPE("held-model", T, held_model_fields);
#undef T

#define T struct api_agent
static const struct msg_field agent_fields[] = {
	MSG_F_TEXT(T, id, 1, MSG_REQ, TEXT_MAX),
	MSG_F_ENUM(T, state, 2, MSG_REQ, HUB_PRESENCE_COUNT, hub_presence_names),
	MSG_F_TEXT(T, reason, 3, 0, TEXT_MAX),
	MSG_F_UINT(T, since_ms, 4, MSG_REQ, ANY),
	MSG_F_UINT(T, seen_ms, 5, MSG_REQ, ANY),
	MSG_F_UINT(T, running, 6, MSG_REQ, ANY),
	MSG_F_UINT(T, queued, 7, MSG_REQ, ANY),
	MSG_F_UINT(T, slots, 8, MSG_REQ, ANY),
	MSG_F_UINT(T, in_flight, 9, MSG_REQ, ANY),
	MSG_F_SUBS(T, models, struct api_held_model, 10, MSG_REQ, PROTO_MAX_MODELS, &held_model_type),
	MSG_F_TEXTS(T, labels, 11, MSG_REQ, 2 * PROTO_MAX_LABELS),
	MSG_F_TEXT(T, host, 12, 0, TEXT_MAX),
	MSG_F_TEXT(T, software, 13, 0, TEXT_MAX),
	MSG_F_TEXT(T, engine, 14, 0, TEXT_MAX),
	MSG_F_SUB(T, hardware, struct hardware, 15, 0, &hardware_type),
	MSG_F_SUB(T, sensors, struct sensors, 16, 0, &sensors_type),
	MSG_F_SUBS(T, figures, struct figures, 17, 0, PROTO_MAX_MODELS, &figures_type),
	MSG_F_UINT(T, mem_available, 20, 0, ANY),
	MSG_F_UINT(T, rss, 21, 0, ANY),
	MSG_F_UINT(T, memory_total, 17, 0, ANY),
	MSG_F_UINT(T, memory_limit, 18, 0, ANY),
	MSG_F_UINT(T, memory_used, 19, 0, ANY),
	MSG_F_REAL(T, load, 22, MSG_REQ),
	MSG_F_REAL(T, tokens_per_s, 23, MSG_REQ),
	MSG_F_UINT(T, tokens_total, 24, MSG_REQ, ANY),
	MSG_F_UINT(T, jobs_done, 25, MSG_REQ, ANY),
	MSG_F_UINT(T, jobs_failed, 26, MSG_REQ, ANY),
	MSG_F_UINT(T, bad_messages, 27, MSG_REQ, ANY),
	MSG_F_UINT(T, stale_messages, 28, MSG_REQ, ANY),
	MSG_F_UINT(T, uptime_ms, 29, MSG_REQ, ANY),
	MSG_F_UINT(T, epoch, 30, MSG_REQ, ANY),
	MSG_F_UINT(T, conn, 31, MSG_REQ, ANY),
	MSG_F_BOOL(T, metered, 40, 0),
	MSG_F_BOOL(T, configured, 41, 0),
	MSG_F_TEXT(T, tier, 42, 0, TEXT_MAX),
	MSG_F_UINT(T, weight, 32, MSG_REQ, ADMIN_MAX_WEIGHT),
	MSG_F_BOOL(T, drained, 33, 0),
	MSG_F_BOOL(T, isolated, 34, 0),
	MSG_F_TEXT(T, asked_for, 35, 0, ADMIN_MAX_REASON),
};
static const struct msg_type agent_type = MSG_TYPE("agent", T, agent_fields);
#undef T

#define T struct api_agents
static const struct msg_field agents_fields[] = {
	MSG_F_SUBS(T, agents, struct api_agent, 1, MSG_REQ, LIST_MAX, &agent_type),
	MSG_F_UINT(T, total, 2, MSG_REQ, ANY),
	MSG_F_TEXT(T, next, 3, 0, TEXT_MAX),
};
const struct msg_type api_agents_type = MSG_TYPE("api-agents", T, agents_fields);
#undef T

#define T struct api_job
static const struct msg_field job_fields[] = {
	MSG_F_TEXT(T, job, 1, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, user, 2, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, model, 3, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, agent, 4, MSG_REQ, TEXT_MAX),
	MSG_F_ENUM(T, state, 5, MSG_REQ, HUB_JOB_STATE_COUNT, hub_job_state_names),
	MSG_F_ENUM(T, priority, 6, MSG_REQ, PRIORITY_COUNT, priority_names),
	MSG_F_UINT(T, attempt, 7, MSG_REQ, ANY),
	MSG_F_UINT(T, tokens, 8, MSG_REQ, ANY),
	MSG_F_UINT(T, age_ms, 9, MSG_REQ, ANY),
	MSG_F_UINT(T, deadline_ms, API_JOB_DEADLINE, 0, ANY),
	MSG_F_TEXT(T, id, API_JOB_ID, 0, TEXT_MAX),
	MSG_F_TEXT(T, session, API_JOB_SESSION, 0, TEXT_MAX),
	MSG_F_UINT(T, ended_ms, API_JOB_ENDED, 0, ANY),
	MSG_F_ENUM(T, finish_reason, API_JOB_FINISH, 0, FINISH_COUNT, finish_names),
	MSG_F_TEXT(T, code, API_JOB_CODE, 0, TEXT_MAX),
	MSG_F_TEXT(T, message, API_JOB_MESSAGE, 0, TEXT_MAX),
	MSG_F_UINT(T, rests_ms, API_JOB_RESTS, 0, ANY),
	MSG_F_BOOL(T, rejoins, 40, 0),
};
static const struct msg_type api_job_type = MSG_TYPE("job", T, job_fields);
#undef T

#define T struct api_jobs
static const struct msg_field jobs_fields[] = {
	MSG_F_UINT(T, live, 1, MSG_REQ, ANY),
	MSG_F_SUBS(T, jobs, struct api_job, 2, MSG_REQ, LIST_MAX, &api_job_type),
	MSG_F_TEXT(T, next, 3, 0, TEXT_MAX),
};
const struct msg_type api_jobs_type = MSG_TYPE("api-jobs", T, jobs_fields);
#undef T

#define T struct api_candidate
static const struct msg_field candidate_fields[] = {
	MSG_F_TEXT(T, agent, 1, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, reason, 2, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, text, 3, MSG_REQ, TEXT_MAX),
	MSG_F_REAL(T, expected_ms, 4, 0),
	MSG_F_REAL(T, score, 5, 0),
	MSG_F_UINT(T, cached_tokens, 6, 0, ANY),
};
static const struct msg_type candidate_type = MSG_TYPE("candidate", T, candidate_fields);
#undef T

#define T struct api_reason
static const struct msg_field reason_fields[] = {
	MSG_F_TEXT(T, reason, 1, MSG_REQ, TEXT_MAX),
	MSG_F_UINT(T, agents, 2, MSG_REQ, ANY),
};
static const struct msg_type reason_type = MSG_TYPE("reason", T, reason_fields);
#undef T

#define T struct api_explain
static const struct msg_field explain_fields[] = {
	MSG_F_TEXT(T, model, 1, MSG_REQ, TEXT_MAX),
	MSG_F_UINT(T, total, 2, MSG_REQ, ANY),
	MSG_F_SUBS(T, reasons, struct api_reason, 3, MSG_REQ, HUB_REASON_COUNT, &reason_type),
	MSG_F_SUBS(T, candidates, struct api_candidate, 4, MSG_REQ, LIST_MAX, &candidate_type),
};
const struct msg_type api_explain_type = MSG_TYPE("api-explain", T, explain_fields);
#undef T

#define T struct api_job_story
static const struct msg_field job_story_fields[] = {
	MSG_F_SUB(T, job, struct api_job, 1, MSG_REQ, &api_job_type),
	MSG_F_SUB(T, receipt, struct receipt, 2, MSG_REQ, &receipt_type),
	MSG_F_SUB(T, explain, struct api_explain, API_STORY_EXPLAIN, 0, &api_explain_type),
};
const struct msg_type api_job_story_type = MSG_TYPE("api-job-story", T, job_story_fields);
#undef T

#define T struct api_asked
static const struct msg_field asked_fields[] = {
	MSG_F_UINT(T, asked_ms, 1, MSG_REQ, ANY),
	MSG_F_TEXT(T, user, 2, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, verb, 3, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, target, 4, MSG_REQ, TEXT_MAX),
	MSG_F_UINT(T, value, 5, 0, ANY),
	MSG_F_TEXT(T, reason, 6, 0, TEXT_MAX),
	MSG_F_TEXT(T, code, 7, MSG_REQ, TEXT_MAX),
};
static const struct msg_type asked_type = MSG_TYPE("asked", T, asked_fields);
#undef T

#define T struct api_admin
static const struct msg_field admin_fields[] = {
	MSG_F_SUBS(T, asked, struct api_asked, 1, MSG_REQ, HUB_ADMIN_KEPT, &asked_type),
};
const struct msg_type api_admin_type = MSG_TYPE("api-admin", T, admin_fields);
#undef T

#define T struct api_session
static const struct msg_field session_fields[] = {
	MSG_F_TEXT(T, session, 1, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, user, 2, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, model, 3, MSG_REQ, TEXT_MAX),
	MSG_F_TEXT(T, agent, 4, MSG_REQ, TEXT_MAX),
	MSG_F_UINT(T, tokens, 5, MSG_REQ, ANY),
	MSG_F_UINT(T, turns, 6, MSG_REQ, ANY),
	MSG_F_UINT(T, moves, 7, MSG_REQ, ANY),
	MSG_F_UINT(T, jobs, 8, MSG_REQ, ANY),
	MSG_F_UINT(T, used_ms, 9, MSG_REQ, ANY),
};
static const struct msg_type session_type = MSG_TYPE("session", T, session_fields);
#undef T

#define T struct api_sessions
static const struct msg_field sessions_fields[] = {
	MSG_F_UINT(T, live, 1, MSG_REQ, ANY),
	MSG_F_UINT(T, total, 2, MSG_REQ, ANY),
	MSG_F_SUBS(T, sessions, struct api_session, 3, MSG_REQ, LIST_MAX, &session_type),
};
const struct msg_type api_sessions_type = MSG_TYPE("api-sessions", T, sessions_fields);
#undef T

#define T struct api_load
static const struct msg_field load_fields[] = {
	MSG_F_TEXT(T, agent, 1, 0, TEXT_MAX),
	MSG_F_TEXT(T, model, 2, MSG_REQ, PROTO_MAX_NAME),
};
const struct msg_type api_load_type = MSG_TYPE("api-load", T, load_fields);
#undef T
