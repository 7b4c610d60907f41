/* code.h - how a request or a job can fail, as everyone outside sees it.
 *
 * One list for MQTT answers, HTTP status and OpenAI error objects, CLI exit
 * codes, metrics labels and docs/PROTOCOL.md.  Numbers are wire format between
 * agents and hub: never reused, never renumbered.
 *
 * X(name, number, http, openai_type, retryable, exit, text)
 *   retryable: another attempt, on another agent, may well succeed.
 *   exit: what `shoal run` exits with. */
#ifndef SHOAL_CODE_H
#define SHOAL_CODE_H

#include <stdbool.h>

#include "span.h"

#define CODE_LIST(X)                                                                                          \
	X(OK, 0, 200, "", false, 0, "no error")                                                               \
	X(BAD_REQUEST, 1, 400, "invalid_request_error", false, 2, "the request is not valid")                 \
	X(UNAUTHORIZED, 2, 401, "authentication_error", false, 77, "who you are is not known")                \
	X(FORBIDDEN, 3, 403, "permission_error", false, 77, "you may not do this")                            \
	X(NOT_FOUND, 4, 404, "invalid_request_error", false, 66, "there is no such thing")                    \
	X(CONFLICT, 5, 409, "invalid_request_error", false, 2, "the same id was used for another request")    \
	X(TOO_LARGE, 6, 413, "invalid_request_error", false, 2, "the request is over a limit")                \
	X(RATE_LIMITED, 7, 429, "rate_limit_error", false, 75, "too many requests")                           \
	X(QUEUE_FULL, 8, 429, "rate_limit_error", true, 75, "the queue is full")                              \
	X(DEADLINE_EXCEEDED, 9, 504, "timeout_error", false, 75, "the deadline passed")                       \
	X(CANCELLED, 10, 499, "cancelled", false, 130, "cancelled")                                           \
	X(NO_AGENT, 11, 503, "service_unavailable", true, 69, "no agent can take this job now")               \
	X(MODEL_UNKNOWN, 12, 404, "invalid_request_error", false, 66, "no agent knows this model")            \
	X(RESOURCE_LIMIT_EXCEEDED, 32, 503, "service_unavailable", true, 69, "a resource limit was reached")  \
	X(MEMORY_LIMIT_EXCEEDED, 33, 503, "service_unavailable", true, 69, "not enough memory")               \
	X(QUEUE_TIMEOUT, 34, 503, "service_unavailable", true, 75, "waited too long in a queue")              \
	X(BATCH_FAILED, 35, 500, "server_error", true, 70, "the engine failed on a batch")                    \
	X(BATCH_TIMEOUT, 36, 500, "server_error", true, 70, "the engine made no progress")                    \
	X(MODEL_NOT_LOADED, 37, 503, "service_unavailable", true, 69, "the model is not loaded on the agent") \
	X(MODEL_LOAD_FAILED, 38, 500, "server_error", true, 70, "the model could not be loaded")              \
	X(MODEL_FETCH_FAILED, 39, 500, "server_error", true, 70, "the model file could not be fetched")       \
	X(CONTEXT_FULL, 40, 400, "invalid_request_error", false, 2, "the prompt does not fit the context")    \
	X(ENGINE_CRASHED, 41, 500, "server_error", true, 70, "the engine died")                               \
	X(AGENT_LOST, 42, 500, "server_error", true, 70, "the agent was lost")                                \
	X(PIPELINE_BROKEN, 43, 500, "server_error", true, 70, "a stage of the pipeline was lost")             \
	X(CHECKSUM_MISMATCH, 44, 500, "server_error", true, 70, "bytes do not match their checksum")          \
	X(INTERNAL_ERROR, 45, 500, "server_error", false, 70, "something inside went wrong")                  \
	X(JOURNAL_FULL, 46, 507, "service_unavailable", true, 75, "the hub has no room to keep the job")      \
	X(RESULT_GONE, 47, 410, "invalid_request_error", false, 66, "this id was answered, its answer is no longer kept") \
	X(STREAM_RESET, 48, 500, "server_error", false, 75, "the hub restarted and cannot continue this stream: submit it anew") \
	X(POISON, 49, 500, "server_error", false, 70, "engines died of this job")

enum code {
#define X(name, number, http, type, retryable, exit, text) CODE_##name = (number),
	CODE_LIST(X)
#undef X
};

#define CODE_MAX 63 /* numbers stay below: they index counters */

struct code_info {
	const char *name, *openai_type, *text;
	int number, http, exit;
	bool retryable;
};

/* An unknown number reads as INTERNAL_ERROR: a newer peer may know more codes. */
const struct code_info *code_info(unsigned number);
const char *code_name(unsigned number);
/* By name; NULL when unknown. */
const struct code_info *code_by_name(struct span name);

#endif
