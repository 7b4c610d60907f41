#include "proto.h"

#include "sha256.h"

/* ---- names ---- */

#define X(name, text) text,
const char *const agent_state_names[] = { AGENT_STATE_LIST(X) NULL };
const char *const model_state_names[] = { MODEL_STATE_LIST(X) NULL };
const char *const power_names[] = { POWER_LIST(X) NULL };
const char *const hub_policy_names[] = { HUB_POLICY_LIST(X) NULL };
#undef X
const char *const priority_names[] = { "normal", "high", "low", NULL };
const char *const finish_names[] = { "none", "stop", "length", "cancelled", NULL };
const char *const control_names[] = { "ping", "cancel", "ack", "resend", "end", "drain", "resume", "load", NULL };
const char *const job_event_names[] = { "accepted", "rejected", "progress", "tokens", "done", "failed", NULL };
const char *const answer_names[] = { "accepted", "tokens", "progress", "done", "error", NULL };

_Static_assert(sizeof(priority_names) / sizeof(char *) == PRIORITY_COUNT + 1, "a name for each priority");
_Static_assert(sizeof(finish_names) / sizeof(char *) == FINISH_COUNT + 1, "a name for each finish");
_Static_assert(sizeof(control_names) / sizeof(char *) == CONTROL_COUNT + 1, "a name for each verb");
_Static_assert(sizeof(job_event_names) / sizeof(char *) == JOB_EVENT_COUNT + 1, "a name for each job event");
_Static_assert(sizeof(answer_names) / sizeof(char *) == ANSWER_TYPE_COUNT + 1, "a name for each answer");

#define ANY UINT64_MAX
#define REASON_MAX 512 /* sentences to people */
#define HOST_MAX 256

/* ---- parts ---- */

#define T struct turn
static const struct msg_field turn_fields[] = {
	MSG_F_TEXT(T, role, 1, MSG_REQ, 32),
	MSG_F_TEXT(T, content, 2, MSG_REQ | MSG_OR_PARTS, PROTO_MAX_PROMPT),
};
#undef T
const struct msg_type turn_type = MSG_TYPE("turn", struct turn, turn_fields);

#define T struct sampling
static const struct msg_field sampling_fields[] = {
	MSG_F_UINT(T, max_tokens, SAMPLING_MAX_TOKENS, 0, PROTO_MAX_TOKENS),
	MSG_F_REAL(T, temperature, SAMPLING_TEMPERATURE, 0),
	MSG_F_REAL(T, top_p, SAMPLING_TOP_P, 0),
	MSG_F_REAL(T, min_p, SAMPLING_MIN_P, 0),
	MSG_F_UINT(T, top_k, SAMPLING_TOP_K, 0, INT32_MAX),
	MSG_F_UINT(T, seed, SAMPLING_SEED, 0, ANY),
	MSG_F_TEXTS(T, stop, SAMPLING_STOP, 0, PROTO_MAX_STOP),
	MSG_F_BOOL(T, ignore_eos, SAMPLING_IGNORE_EOS, 0),
	MSG_F_BOOL(T, cache_prompt, SAMPLING_CACHE_PROMPT, 0),
	MSG_F_REAL(T, presence_penalty, SAMPLING_PRESENCE, 0),
	MSG_F_REAL(T, frequency_penalty, SAMPLING_FREQUENCY, 0),
	MSG_F_REAL(T, repeat_penalty, SAMPLING_REPEAT, 0),
	MSG_F_WEIGHTS(T, logit_bias, SAMPLING_LOGIT_BIAS, 0, PROTO_MAX_LOGIT_BIAS),
	MSG_F_BOOL(T, logprobs, SAMPLING_LOGPROBS, 0),
	MSG_F_UINT(T, top_logprobs, SAMPLING_TOP_LOGPROBS, 0, LOGPROB_MAX_TOP),
	MSG_F_TEXT(T, grammar, SAMPLING_GRAMMAR, 0, PROTO_MAX_GRAMMAR),
};
#undef T
const struct msg_type sampling_type = MSG_TYPE("sampling", struct sampling, sampling_fields);

#define T struct embedding
static const struct msg_field embedding_fields[] = {
	MSG_F_UINT(T, index, 1, MSG_REQ, PROTO_MAX_INPUTS),
	MSG_F_FLOATS(T, embedding, 2, MSG_REQ, PROTO_MAX_EMBD * sizeof(float)),
};
#undef T
const struct msg_type embedding_type = MSG_TYPE("embedding", struct embedding, embedding_fields);

#define T struct json_schema
static const struct msg_field json_schema_fields[] = {
	MSG_F_TEXT(T, name, 1, 0, 256),
	MSG_F_TEXT(T, description, 2, 0, 4096),
	MSG_F_JSON(T, schema, 3, MSG_REQ, PROTO_MAX_SCHEMA),
	MSG_F_BOOL(T, strict, 4, 0),
};
#undef T
const struct msg_type json_schema_type = MSG_TYPE("json-schema", struct json_schema, json_schema_fields);

#define T struct response_format
static const struct msg_field response_format_fields[] = {
	MSG_F_TEXT(T, type, 1, MSG_REQ, 64),
	MSG_F_SUB(T, json_schema, struct json_schema, 2, 0, &json_schema_type),
	MSG_F_JSON(T, schema, 3, 0, PROTO_MAX_SCHEMA),
};
#undef T
const struct msg_type response_format_type = MSG_TYPE("response-format", struct response_format, response_format_fields);

#define T struct usage
static const struct msg_field usage_fields[] = {
	MSG_F_UINT(T, prompt_tokens, 1, MSG_REQ, ANY),
	MSG_F_UINT(T, cached_tokens, 2, MSG_REQ, ANY),
	MSG_F_UINT(T, completion_tokens, 3, MSG_REQ, ANY),
};
#undef T
const struct msg_type usage_type = MSG_TYPE("usage", struct usage, usage_fields);

#define T struct timings
static const struct msg_field timings_fields[] = {
	MSG_F_UINT(T, wait_us, 1, 0, ANY),
	MSG_F_UINT(T, prefill_us, 2, 0, ANY),
	MSG_F_UINT(T, decode_us, 3, 0, ANY),
};
#undef T
const struct msg_type timings_type = MSG_TYPE("timings", struct timings, timings_fields);

#define T struct model_info
static const struct msg_field model_info_fields[] = {
	MSG_F_TEXT(T, name, 1, MSG_REQ, PROTO_MAX_NAME),
	MSG_F_BYTES(T, digest, 2, 0, SHA256_SIZE),
	MSG_F_UINT(T, size, 3, 0, ANY),
	MSG_F_ENUM(T, state, 4, MSG_REQ, MODEL_STATE_COUNT, model_state_names),
	MSG_F_UINT(T, n_ctx, 5, 0, UINT32_MAX),
	MSG_F_UINT(T, n_params, 6, 0, ANY),
	MSG_F_TEXT(T, arch, 7, 0, PROTO_MAX_NAME),
	MSG_F_TEXT(T, reason, 8, 0, REASON_MAX),
	MSG_F_UINT(T, load_percent, 9, 0, 100),
	MSG_F_UINT(T, slots, MODEL_INFO_SLOTS, 0, 4096),
	MSG_F_UINT(T, memory, 11, 0, ANY),
	MSG_F_BOOL(T, pinned, 12, 0),
	MSG_F_UINT(T, prefill_milli, 14, 0, ANY),
	MSG_F_UINT(T, decode_milli, 15, 0, ANY),
	MSG_F_BOOL(T, exact, 18, 0),
	MSG_F_UINT(T, n_embd, 19, 0, PROTO_MAX_EMBD),
};
#undef T
const struct msg_type model_info_type = MSG_TYPE("model-info", struct model_info, model_info_fields);

#define T struct hardware
static const struct msg_field hardware_fields[] = {
	MSG_F_TEXT(T, arch, 1, 0, PROTO_MAX_NAME),
	MSG_F_TEXT(T, cpu, 2, 0, HOST_MAX),
	MSG_F_TEXT(T, kernel, 3, 0, HOST_MAX),
	MSG_F_UINT(T, cores, 4, 0, UINT32_MAX),
	MSG_F_UINT(T, mem_total, 5, 0, ANY),
	MSG_F_TEXT(T, machine, 6, 0, HOST_MAX),
	MSG_F_UINT(T, cores_physical, 7, 0, UINT32_MAX),
	MSG_F_UINT(T, cpu_max_mhz, 8, 0, UINT32_MAX),
	MSG_F_TEXTS(T, isa, 9, 0, PROTO_MAX_ISA),
	MSG_F_TEXTS(T, accelerators, 10, 0, PROTO_MAX_DEVICES),
	MSG_F_UINT(T, disk_total, 11, 0, ANY),
	MSG_F_TEXTS(T, zones, 12, 0, PROTO_MAX_ZONES),
	MSG_F_ENUM(T, power, 13, 0, POWER_COUNT, power_names),
};
#undef T
const struct msg_type hardware_type = MSG_TYPE("hardware", struct hardware, hardware_fields);

/* ---- agents ---- */

#define T struct registration
static const struct msg_field registration_fields[] = {
	MSG_F_UINT(T, version, REG_VERSION, MSG_REQ, UINT32_MAX),
	MSG_F_TEXT(T, agent, REG_AGENT, MSG_REQ, PROTO_MAX_ID),
	MSG_F_UINT(T, epoch, REG_EPOCH, MSG_REQ, ANY),
	MSG_F_UINT(T, conn, REG_CONN, MSG_REQ, ANY),
	MSG_F_UINT(T, seq, REG_SEQ, MSG_REQ, ANY),
	MSG_F_UINT(T, nonce, REG_NONCE, MSG_REQ, ANY),
	MSG_F_TEXT(T, host, REG_HOST, 0, HOST_MAX),
	MSG_F_TEXT(T, software, REG_SOFTWARE, 0, HOST_MAX),
	MSG_F_TEXT(T, engine, REG_ENGINE, 0, HOST_MAX),
	MSG_F_UINT(T, slots, REG_SLOTS, MSG_REQ, 4096),
	MSG_F_UINT(T, queue_max, REG_QUEUE_MAX, 0, UINT32_MAX),
	MSG_F_UINT(T, heartbeat_idle_ms, REG_HB_IDLE, 0, 3600 * 1000),
	MSG_F_UINT(T, heartbeat_busy_ms, REG_HB_BUSY, 0, 3600 * 1000),
	MSG_F_SUB(T, hardware, struct hardware, REG_HARDWARE, 0, &hardware_type),
	MSG_F_SUBS(T, models, struct model_info, REG_MODELS, 0, PROTO_MAX_MODELS, &model_info_type),
	MSG_F_TEXTS(T, labels, REG_LABELS, 0, PROTO_MAX_LABELS),
	MSG_F_BOOL(T, metered, REG_METERED, 0),
};
#undef T
const struct msg_type registration_type = MSG_TYPE("registration", struct registration, registration_fields);

#define T struct status
static const struct msg_field status_fields[] = {
	MSG_F_UINT(T, epoch, 1, MSG_REQ, ANY),
	MSG_F_UINT(T, conn, 2, MSG_REQ, ANY),
	MSG_F_ENUM(T, state, 3, MSG_REQ, AGENT_STATE_COUNT, agent_state_names),
	MSG_F_TEXT(T, reason, 4, 0, REASON_MAX),
};
#undef T
const struct msg_type status_type = MSG_TYPE("status", struct status, status_fields);

#define T struct sensors
static const struct msg_field sensors_fields[] = {
	MSG_F_INT(T, temp_milli, SENSORS_TEMP, 0),
	MSG_F_BOOL(T, throttled, SENSORS_THROTTLED, 0),
	MSG_F_BOOL(T, undervoltage, SENSORS_UNDERVOLTAGE, 0),
	MSG_F_UINT(T, cpu_mhz, SENSORS_CPU_MHZ, 0, UINT32_MAX),
	MSG_F_UINT(T, psi_cpu, SENSORS_PSI_CPU, 0, 10000),
	MSG_F_UINT(T, psi_memory, SENSORS_PSI_MEMORY, 0, 10000),
	MSG_F_UINT(T, psi_io, SENSORS_PSI_IO, 0, 10000),
	MSG_F_UINT(T, battery_percent, SENSORS_BATTERY, 0, 100),
	MSG_F_BOOL(T, on_mains, SENSORS_ON_MAINS, 0),
	MSG_F_UINT(T, disk_free, SENSORS_DISK_FREE, 0, ANY),
};
#undef T
const struct msg_type sensors_type = MSG_TYPE("sensors", struct sensors, sensors_fields);

#define T struct code_count
static const struct msg_field code_count_fields[] = {
	MSG_F_TEXT(T, code, 1, MSG_REQ, PROTO_MAX_NAME),
	MSG_F_UINT(T, n, 2, MSG_REQ, ANY),
};
#undef T
const struct msg_type code_count_type = MSG_TYPE("code-count", struct code_count, code_count_fields);

#define T struct figures
static const struct msg_field figures_fields[] = {
	MSG_F_TEXT(T, name, 1, 0, PROTO_MAX_NAME),
	MSG_F_UINT(T, requests_total, 2, MSG_REQ, ANY),
	MSG_F_UINT(T, errors_total, 3, MSG_REQ, ANY),
	MSG_F_UINT(T, tokens_total, 4, MSG_REQ, ANY),
	MSG_F_UINT(T, latency_min_ms, 5, 0, ANY),
	MSG_F_UINT(T, latency_avg_ms, 6, 0, ANY),
	MSG_F_UINT(T, latency_p50_ms, 7, 0, ANY),
	MSG_F_UINT(T, latency_p95_ms, 8, 0, ANY),
	MSG_F_UINT(T, latency_p99_ms, 9, 0, ANY),
	MSG_F_UINT(T, latency_max_ms, 10, 0, ANY),
	MSG_F_UINT(T, prefill_milli, 11, 0, ANY),
	MSG_F_UINT(T, decode_milli, 12, 0, ANY),
	MSG_F_SUBS(T, errors, struct code_count, 13, 0, PROTO_MAX_CODES, &code_count_type),
};
#undef T
const struct msg_type figures_type = MSG_TYPE("figures", struct figures, figures_fields);

#define T struct heartbeat
static const struct msg_field heartbeat_fields[] = {
	MSG_F_UINT(T, epoch, 1, MSG_REQ, ANY),
	MSG_F_UINT(T, conn, 2, MSG_REQ, ANY),
	MSG_F_ENUM(T, state, 3, MSG_REQ, AGENT_STATE_COUNT, agent_state_names),
	MSG_F_UINT(T, slots, 4, MSG_REQ, 4096),
	MSG_F_UINT(T, running, 5, MSG_REQ, UINT32_MAX),
	MSG_F_UINT(T, queued, 6, MSG_REQ, UINT32_MAX),
	MSG_F_UINT(T, tokens_total, 7, 0, ANY),
	MSG_F_UINT(T, tokens_per_s, 8, 0, ANY),
	MSG_F_UINT(T, mem_available, 9, 0, ANY),
	MSG_F_UINT(T, rss, 10, 0, ANY),
	MSG_F_UINT(T, load_milli, 11, 0, ANY),
	MSG_F_UINT(T, jobs_done, 12, 0, ANY),
	MSG_F_UINT(T, jobs_failed, 13, 0, ANY),
	MSG_F_UINT(T, bad_messages, 14, 0, ANY),
	MSG_F_UINT(T, stale_messages, 15, 0, ANY),
	MSG_F_UINT(T, uptime_ms, 16, 0, ANY),
	MSG_F_TEXT(T, reason, 17, 0, REASON_MAX),
	MSG_F_UINT(T, requests_total, 18, 0, ANY),
	MSG_F_UINT(T, errors_total, 19, 0, ANY),
	MSG_F_UINT(T, latency_p50_ms, 20, 0, ANY),
	MSG_F_UINT(T, latency_p95_ms, 21, 0, ANY),
	MSG_F_UINT(T, latency_p99_ms, 22, 0, ANY),
	MSG_F_SUB(T, sensors, struct sensors, HEARTBEAT_SENSORS, 0, &sensors_type),
	MSG_F_SUBS(T, figures, struct figures, 24, 0, PROTO_MAX_MODELS, &figures_type),
	MSG_F_UINT(T, memory_total, 40, 0, ANY),
	MSG_F_UINT(T, memory_limit, 41, 0, ANY),
	MSG_F_UINT(T, memory_used, 42, 0, ANY),
};
#undef T
const struct msg_type heartbeat_type = MSG_TYPE("heartbeat", struct heartbeat, heartbeat_fields);

#define T struct hub_status
static const struct msg_field hub_status_fields[] = {
	MSG_F_UINT(T, version, 1, MSG_REQ, UINT32_MAX),
	MSG_F_UINT(T, epoch, 2, MSG_REQ, ANY),
	MSG_F_ENUM(T, state, 3, MSG_REQ, AGENT_STATE_COUNT, agent_state_names),
	MSG_F_TEXT(T, software, 4, 0, HOST_MAX),
	MSG_F_UINT(T, fleet, 5, 0, UINT32_MAX),
};
#undef T
const struct msg_type hub_status_type = MSG_TYPE("hub-status", struct hub_status, hub_status_fields);

/* ---- jobs ---- */

#define T struct job_msg
static const struct msg_field job_fields[] = {
	MSG_F_TEXT(T, job, JOB_ID, MSG_REQ, PROTO_MAX_ID),
	MSG_F_UINT(T, attempt, JOB_ATTEMPT, MSG_REQ, UINT32_MAX),
	MSG_F_UINT(T, epoch, JOB_EPOCH, MSG_REQ, ANY),
	MSG_F_TEXT(T, model, JOB_MODEL, MSG_REQ, PROTO_MAX_NAME),
	MSG_F_TEXT(T, prompt, JOB_PROMPT, 0, PROTO_MAX_PROMPT),
	MSG_F_SUBS(T, turns, struct turn, JOB_TURNS, 0, PROTO_MAX_TURNS, &turn_type),
	MSG_F_SUB(T, sampling, struct sampling, JOB_SAMPLING, MSG_REQ, &sampling_type),
	MSG_F_UINTS(T, prefix, JOB_PREFIX, 0, PROTO_MAX_TOKENS),
	MSG_F_UINT(T, deadline_ms, JOB_DEADLINE, 0, PROTO_MAX_DEADLINE_MS),
	MSG_F_ENUM(T, priority, JOB_PRIORITY, 0, PRIORITY_COUNT, priority_names),
	MSG_F_TEXT(T, session, JOB_SESSION, 0, PROTO_MAX_ID),
	MSG_F_TEXTS(T, inputs, 12, 0, PROTO_MAX_INPUTS),
};
#undef T
const struct msg_type job_type = MSG_TYPE("job", struct job_msg, job_fields);

#define T struct control
static const struct msg_field control_fields[] = {
	MSG_F_ENUM(T, verb, 1, MSG_REQ, CONTROL_COUNT, control_names),
	MSG_F_UINT(T, epoch, 2, MSG_REQ, ANY),
	MSG_F_TEXT(T, job, 3, 0, PROTO_MAX_ID),
	MSG_F_UINT(T, attempt, 4, 0, UINT32_MAX),
	MSG_F_UINT(T, index, 5, 0, PROTO_MAX_TOKENS),
	MSG_F_TEXT(T, model, 6, 0, PROTO_MAX_NAME),
};
#undef T
const struct msg_type control_type = MSG_TYPE("control", struct control, control_fields);

#define T struct job_event
static const struct msg_field job_event_fields[] = {
	MSG_F_ENUM(T, type, 1, MSG_REQ, JOB_EVENT_COUNT, job_event_names),
	MSG_F_TEXT(T, job, 2, MSG_REQ, PROTO_MAX_ID),
	MSG_F_UINT(T, attempt, 3, MSG_REQ, UINT32_MAX),
	MSG_F_UINT(T, epoch, 4, MSG_REQ, ANY),
	MSG_F_UINT(T, index, 5, 0, PROTO_MAX_TOKENS),
	MSG_F_TEXT(T, text, 6, 0, PROTO_MAX_ANSWER),
	MSG_F_UINTS(T, ids, 7, 0, PROTO_MAX_FRAME_TOKENS),
	MSG_F_ENUM(T, finish, 8, 0, FINISH_COUNT, finish_names),
	MSG_F_BYTES(T, sha256, 9, 0, SHA256_SIZE),
	MSG_F_SUB(T, usage, struct usage, 10, 0, &usage_type),
	MSG_F_SUB(T, timings, struct timings, 11, 0, &timings_type),
	MSG_F_UINT(T, code, 12, 0, CODE_MAX),
	MSG_F_TEXT(T, reason, 13, 0, REASON_MAX),
	MSG_F_UINT(T, queue_ms, 14, 0, ANY),
	MSG_F_UINT(T, load_percent, 15, 0, 100),
	MSG_F_UINT(T, prefill_percent, 16, 0, 100),
	MSG_F_BYTES(T, logprobs, 17, 0, LOGPROB_MAX_FRAME),
	MSG_F_BYTES(T, vectors, 18, 0, LOGPROB_MAX_FRAME),
};
#undef T
const struct msg_type job_event_type = MSG_TYPE("job-event", struct job_event, job_event_fields);

/* ---- clients ---- */

#define T struct submit
static const struct msg_field submit_fields[] = {
	MSG_F_TEXT(T, id, SUBMIT_ID, 0, PROTO_MAX_ID),
	MSG_F_TEXT(T, model, SUBMIT_MODEL, 0, PROTO_MAX_NAME),
	MSG_F_TEXT(T, prompt, SUBMIT_PROMPT, 0, PROTO_MAX_PROMPT),
	MSG_F_SUBS(T, messages, struct turn, SUBMIT_MESSAGES, 0, PROTO_MAX_TURNS, &turn_type),
	MSG_F_UINT(T, max_tokens, SUBMIT_MAX_TOKENS, 0, PROTO_MAX_TOKENS),
	MSG_F_REAL(T, temperature, SUBMIT_TEMPERATURE, 0),
	MSG_F_REAL(T, top_p, SUBMIT_TOP_P, 0),
	MSG_F_REAL(T, min_p, SUBMIT_MIN_P, 0),
	MSG_F_UINT(T, top_k, SUBMIT_TOP_K, 0, INT32_MAX),
	MSG_F_UINT(T, seed, SUBMIT_SEED, 0, INT64_MAX),
	MSG_F_TEXTS(T, stop, SUBMIT_STOP, MSG_OR_ONE, PROTO_MAX_STOP),
	MSG_F_BOOL(T, ignore_eos, SUBMIT_IGNORE_EOS, 0),
	MSG_F_BOOL(T, cache_prompt, SUBMIT_CACHE_PROMPT, 0),
	MSG_F_REAL(T, presence_penalty, SUBMIT_PRESENCE, 0),
	MSG_F_REAL(T, frequency_penalty, SUBMIT_FREQUENCY, 0),
	MSG_F_REAL(T, repeat_penalty, SUBMIT_REPEAT, 0),
	MSG_F_BOOL(T, stream, SUBMIT_STREAM, 0),
	MSG_F_TEXT(T, session, SUBMIT_SESSION, 0, PROTO_MAX_ID),
	MSG_F_ENUM(T, priority, SUBMIT_PRIORITY, 0, PRIORITY_COUNT, priority_names),
	MSG_F_UINT(T, deadline_ms, SUBMIT_DEADLINE, 0, PROTO_MAX_DEADLINE_MS),
	MSG_F_TEXTS(T, require, SUBMIT_REQUIRE, 0, PROTO_MAX_LABELS),
	MSG_F_TEXTS(T, prefer, SUBMIT_PREFER, 0, PROTO_MAX_LABELS),
	MSG_F_BOOL(T, cancel_on_disconnect, SUBMIT_CANCEL_ON_DISCONNECT, 0),
	MSG_F_TEXT(T, reply_to, SUBMIT_REPLY_TO, 0, PROTO_MAX_TOPIC),
	MSG_F_TEXT(T, correlation, SUBMIT_CORRELATION, 0, PROTO_MAX_CORRELATION),
	MSG_F_WEIGHTS(T, logit_bias, SUBMIT_LOGIT_BIAS, 0, PROTO_MAX_LOGIT_BIAS),
	MSG_F_BOOL(T, logprobs, SUBMIT_LOGPROBS, 0),
	MSG_F_UINT(T, top_logprobs, SUBMIT_TOP_LOGPROBS, 0, LOGPROB_MAX_TOP),
	MSG_F_TEXT(T, grammar, SUBMIT_GRAMMAR, 0, PROTO_MAX_GRAMMAR),
	MSG_F_SUB(T, response_format, struct response_format, SUBMIT_RESPONSE_FORMAT, 0, &response_format_type),
	MSG_F_TEXTS(T, input, SUBMIT_INPUT, MSG_OR_ONE, PROTO_MAX_INPUTS),
	MSG_F_ENUM(T, policy, SUBMIT_POLICY, 0, HUB_POLICY_COUNT, hub_policy_names),
};
#undef T
const struct msg_type submit_type = MSG_TYPE("submit", struct submit, submit_fields);

#define T struct cancel
static const struct msg_field cancel_fields[] = {
	MSG_F_TEXT(T, job, 1, 0, PROTO_MAX_ID),
	MSG_F_TEXT(T, id, 2, 0, PROTO_MAX_ID),
};
#undef T
const struct msg_type cancel_type = MSG_TYPE("cancel", struct cancel, cancel_fields);

#define X(name, text) text,
const char *const admin_verb_names[] = { ADMIN_VERB_LIST(X) NULL };
#undef X

#define T struct admin
static const struct msg_field admin_fields[] = {
	MSG_F_ENUM(T, verb, ADMIN_VERB, MSG_REQ, ADMIN_VERB_COUNT, admin_verb_names),
	MSG_F_TEXT(T, agent, ADMIN_AGENT, 0, PROTO_MAX_ID),
	MSG_F_TEXT(T, job, ADMIN_JOB, 0, PROTO_MAX_ID),
	MSG_F_TEXT(T, reason, ADMIN_REASON, 0, ADMIN_MAX_REASON),
	MSG_F_UINT(T, value, ADMIN_VALUE, 0, UINT32_MAX),
	MSG_F_TEXT(T, reply_to, ADMIN_REPLY_TO, 0, PROTO_MAX_TOPIC),
	MSG_F_TEXT(T, correlation, ADMIN_CORRELATION, 0, PROTO_MAX_CORRELATION),
};
#undef T
const struct msg_type admin_type = MSG_TYPE("admin", struct admin, admin_fields);

#define T struct presence
static const struct msg_field presence_fields[] = {
	MSG_F_ENUM(T, state, 1, MSG_REQ, AGENT_STATE_COUNT, agent_state_names),
};
#undef T
const struct msg_type presence_type = MSG_TYPE("presence", struct presence, presence_fields);

#define T struct route_candidate
static const struct msg_field candidate_fields[] = {
	MSG_F_TEXT(T, agent, 1, MSG_REQ, PROTO_MAX_ID),
	MSG_F_TEXT(T, reason, 2, MSG_REQ, PROTO_MAX_NAME),
	MSG_F_UINT(T, expected_ms, 3, 0, ANY),
};
#undef T
const struct msg_type route_candidate_type = MSG_TYPE("candidate", struct route_candidate, candidate_fields);

#define T struct receipt
static const struct msg_field receipt_fields[] = {
	MSG_F_TEXT(T, agent, 1, 0, PROTO_MAX_ID),
	MSG_F_TEXT(T, route, 2, 0, PROTO_MAX_NAME),
	MSG_F_UINT(T, attempts, 3, 0, ANY),
	MSG_F_REAL(T, queue_ms, 4, 0),
	MSG_F_REAL(T, load_ms, 5, 0),
	MSG_F_REAL(T, wait_ms, 6, 0),
	MSG_F_REAL(T, prefill_ms, 7, 0),
	MSG_F_REAL(T, decode_ms, 8, 0),
	MSG_F_REAL(T, total_ms, 9, 0),
	MSG_F_SUBS(T, candidates, struct route_candidate, 10, 0, PROTO_MAX_CANDIDATES, &route_candidate_type),
	MSG_F_UINT(T, expected_ms, 11, 0, ANY),
	MSG_F_UINT(T, cached_tokens, 12, 0, ANY),
	MSG_F_TEXT(T, session, RECEIPT_SESSION, 0, PROTO_MAX_NAME),
	MSG_F_TEXT(T, session_why, RECEIPT_SESSION_WHY, 0, PROTO_MAX_NAME),
	MSG_F_UINT(T, expected_cached, RECEIPT_EXPECTED_CACHED, 0, ANY),
	MSG_F_TEXT(T, continuity, RECEIPT_CONTINUITY, 0, PROTO_MAX_NAME),
};
#undef T
const struct msg_type receipt_type = MSG_TYPE("receipt", struct receipt, receipt_fields);

#define T struct answer
static const struct msg_field answer_fields[] = {
	MSG_F_ENUM(T, type, ANSWER_TYPE, MSG_REQ, ANSWER_TYPE_COUNT, answer_names),
	MSG_F_TEXT(T, job, ANSWER_JOB, 0, PROTO_MAX_ID),
	MSG_F_TEXT(T, id, ANSWER_ID, 0, PROTO_MAX_ID),
	MSG_F_TEXT(T, model, ANSWER_MODEL, 0, PROTO_MAX_NAME),
	MSG_F_TEXT(T, correlation, ANSWER_CORRELATION, 0, PROTO_MAX_CORRELATION),
	MSG_F_TEXT(T, state, ANSWER_STATE, 0, PROTO_MAX_NAME),
	MSG_F_UINT(T, index, ANSWER_INDEX, 0, PROTO_MAX_TOKENS),
	MSG_F_UINT(T, n, ANSWER_N, 0, PROTO_MAX_TOKENS),
	MSG_F_TEXT(T, text, ANSWER_TEXT, 0, PROTO_MAX_ANSWER),
	MSG_F_ENUM(T, finish_reason, ANSWER_FINISH, 0, FINISH_COUNT, finish_names),
	MSG_F_SUB(T, usage, struct usage, ANSWER_USAGE, 0, &usage_type),
	MSG_F_SUB(T, receipt, struct receipt, ANSWER_RECEIPT, 0, &receipt_type),
	MSG_F_TEXT(T, code, ANSWER_CODE, 0, 64),
	MSG_F_TEXT(T, message, ANSWER_MESSAGE, 0, REASON_MAX),
	MSG_F_UINT(T, retry_after_ms, ANSWER_RETRY_AFTER, 0, UINT32_MAX),
	MSG_F_SUBS(T, logprobs, struct logprob, ANSWER_LOGPROBS, 0, PROTO_MAX_TOKENS, &logprob_type),
	MSG_F_UINT(T, percent, ANSWER_PERCENT, 0, 100),
	MSG_F_SUBS(T, embeddings, struct embedding, ANSWER_EMBEDDINGS, 0, PROTO_MAX_INPUTS, &embedding_type),
};
#undef T
const struct msg_type answer_type = MSG_TYPE("answer", struct answer, answer_fields);

/* ---- sampling ---- */

void sampling_defaults(struct sampling *s)
{
	struct {
		unsigned key;
		double *value, def;
	} reals[] = {
		{ SAMPLING_TEMPERATURE, &s->temperature, 0.8 },
		{ SAMPLING_TOP_P, &s->top_p, 0.95 },
		{ SAMPLING_MIN_P, &s->min_p, 0.05 },
		{ SAMPLING_REPEAT, &s->repeat_penalty, 1.0 },
	};

	for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++)
		if (!msg_has(s, reals[i].key))
			*reals[i].value = reals[i].def;
	if (!msg_has(s, SAMPLING_TOP_K))
		s->top_k = 40;
	if (!msg_has(s, SAMPLING_CACHE_PROMPT))
		s->cache_prompt = true;
	for (unsigned key = SAMPLING_MAX_TOKENS; key <= SAMPLING_REPEAT; key++)
		msg_set(s, key);
}

/* The field of what belongs to the probabilities of tokens that is out of range, or NULL. */
static const char *check_probs(const struct sampling *s)
{
	if (s->n_logit_bias > PROTO_MAX_LOGIT_BIAS)
		return "logit_bias";
	for (size_t i = 0; i < s->n_logit_bias; i++)
		if (!(s->logit_bias[i].value >= -100 && s->logit_bias[i].value <= 100))
			return "logit_bias";
	if (s->top_logprobs > (s->logprobs ? LOGPROB_MAX_TOP : 0))
		return "top_logprobs";
	return NULL;
}

int sampling_check(const struct sampling *s, const char **ret_field)
{
	struct {
		const char *name;
		double value, min, max;
	} ranges[] = {
		{ "temperature", s->temperature, 0, 100 },
		{ "top_p", s->top_p, 0, 1 },
		{ "min_p", s->min_p, 0, 1 },
		{ "presence_penalty", s->presence_penalty, -2, 2 },
		{ "frequency_penalty", s->frequency_penalty, -2, 2 },
		{ "repeat_penalty", s->repeat_penalty, 0, 10 },
		{ "max_tokens", (double)s->max_tokens, 0, PROTO_MAX_TOKENS },
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		if (ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max)
			continue;
		*ret_field = ranges[i].name;
		return ERR_RANGE;
	}
	for (size_t i = 0; i < s->n_stop; i++) {
		if (s->stop[i].n > 0 && s->stop[i].n <= PROTO_MAX_STOP_LEN)
			continue;
		*ret_field = "stop";
		return ERR_RANGE;
	}
	*ret_field = check_probs(s);
	return *ret_field != NULL ? ERR_RANGE : 0;
}

struct sampling submit_sampling(const struct submit *s)
{
	/* Keys of the same fields in the two messages, in the order of struct sampling. */
	static const unsigned from[] = { SUBMIT_MAX_TOKENS, SUBMIT_TEMPERATURE, SUBMIT_TOP_P, SUBMIT_MIN_P, SUBMIT_TOP_K,
		SUBMIT_SEED, SUBMIT_STOP, SUBMIT_IGNORE_EOS, SUBMIT_CACHE_PROMPT, SUBMIT_PRESENCE, SUBMIT_FREQUENCY,
		SUBMIT_REPEAT, SUBMIT_LOGIT_BIAS, SUBMIT_LOGPROBS, SUBMIT_TOP_LOGPROBS, SUBMIT_GRAMMAR };
	struct sampling r = {
		.max_tokens = s->max_tokens,
		.temperature = s->temperature,
		.top_p = s->top_p,
		.min_p = s->min_p,
		.top_k = s->top_k,
		.seed = s->seed,
		.stop = s->stop,
		.n_stop = s->n_stop,
		.ignore_eos = s->ignore_eos,
		.cache_prompt = s->cache_prompt,
		.presence_penalty = s->presence_penalty,
		.frequency_penalty = s->frequency_penalty,
		.repeat_penalty = s->repeat_penalty,
		.logit_bias = s->logit_bias,
		.n_logit_bias = s->n_logit_bias,
		.logprobs = s->logprobs,
		.top_logprobs = s->top_logprobs,
		.grammar = s->grammar,
	};

	for (unsigned i = 0; i < sizeof(from) / sizeof(from[0]); i++)
		if (msg_has(s, from[i]))
			msg_set(&r, SAMPLING_MAX_TOKENS + i);
	return r;
}
