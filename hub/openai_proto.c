#include "openai_proto.h"

#define ANY UINT64_MAX
#define NAME_MAX_BYTES 512 /* keys of strangers: hashed when longer than an id */

/* ---- requests ---- */

static const struct msg_type any_type = { .name = "any", .size = sizeof(struct openai_any) };

static const struct msg_field stream_options_fields[] = {
	MSG_F_BOOL(struct openai_stream_options, include_usage, 1, 0),
};
static const struct msg_type stream_options_type =
	MSG_TYPE("stream-options", struct openai_stream_options, stream_options_fields);

/* clang-format off */
#define COMMON_FIELDS                                                                                       \
	MSG_F_TEXT(T, model, OAI_MODEL, 0, PROTO_MAX_NAME),                                                 \
	MSG_F_INT(T, max_tokens, OAI_MAX_TOKENS, 0),                                                        \
	MSG_F_INT(T, max_completion_tokens, OAI_MAX_COMPLETION_TOKENS, 0),                                  \
	MSG_F_REAL(T, temperature, OAI_TEMPERATURE, 0),                                                     \
	MSG_F_REAL(T, top_p, OAI_TOP_P, 0),                                                                 \
	MSG_F_REAL(T, min_p, OAI_MIN_P, 0),                                                                 \
	MSG_F_INT(T, top_k, OAI_TOP_K, 0),                                                                  \
	MSG_F_INT(T, seed, OAI_SEED, 0),                                                                    \
	MSG_F_TEXTS(T, stop, OAI_STOP, MSG_OR_ONE, PROTO_MAX_STOP),                                         \
	MSG_F_BOOL(T, ignore_eos, OAI_IGNORE_EOS, 0),                                                       \
	MSG_F_BOOL(T, cache_prompt, OAI_CACHE_PROMPT, 0),                                                   \
	MSG_F_REAL(T, presence_penalty, OAI_PRESENCE, 0),                                                   \
	MSG_F_REAL(T, frequency_penalty, OAI_FREQUENCY, 0),                                                 \
	MSG_F_REAL(T, repeat_penalty, OAI_REPEAT, 0),                                                       \
	MSG_F_BOOL(T, stream, OAI_STREAM, 0),                                                               \
	MSG_F_SUB(T, stream_options, struct openai_stream_options, OAI_STREAM_OPTIONS, 0, &stream_options_type), \
	MSG_F_UINT(T, n, OAI_N, 0, ANY),                                                                    \
	MSG_F_TEXT(T, session, OAI_SESSION, 0, NAME_MAX_BYTES),                                             \
	MSG_F_TEXT(T, prompt_cache_key, OAI_PROMPT_CACHE_KEY, 0, NAME_MAX_BYTES),                           \
	MSG_F_TEXT(T, user, OAI_USER, 0, NAME_MAX_BYTES),                                                   \
	MSG_F_ENUM(T, priority, OAI_PRIORITY, 0, PRIORITY_COUNT, priority_names),                           \
	MSG_F_UINT(T, deadline_ms, OAI_DEADLINE, 0, PROTO_MAX_DEADLINE_MS),                                 \
	MSG_F_TEXTS(T, require, OAI_REQUIRE, 0, PROTO_MAX_LABELS),                                          \
	MSG_F_TEXTS(T, prefer, OAI_PREFER, 0, PROTO_MAX_LABELS),                                            \
	MSG_F_ENUM(T, policy, OAI_POLICY, 0, HUB_POLICY_COUNT, hub_policy_names),                           \
	MSG_F_WEIGHTS(T, logit_bias, OAI_LOGIT_BIAS, 0, PROTO_MAX_LOGIT_BIAS),                              \
	MSG_F_JSON(T, json_schema, OAI_JSON_SCHEMA, 0, PROTO_MAX_SCHEMA),                                   \
	MSG_F_TEXT(T, grammar, OAI_GRAMMAR, 0, PROTO_MAX_GRAMMAR),                                          \
	MSG_F_SUB(T, response_format, struct response_format, OAI_RESPONSE_FORMAT, 0, &response_format_type)
/* clang-format on */

#define T struct openai_request
static const struct msg_field chat_request_fields[] = {
	COMMON_FIELDS,
	MSG_F_SUBS(T, messages, struct turn, OAI_MESSAGES, MSG_REQ, PROTO_MAX_TURNS, &turn_type),
	MSG_F_SUBS(T, tools, struct openai_any, OAI_TOOLS, 0, OPENAI_MAX_TOOLS, &any_type),
	MSG_F_SUBS(T, functions, struct openai_any, OAI_FUNCTIONS, 0, OPENAI_MAX_TOOLS, &any_type),
	{ .name = "logprobs", .key = OAI_LOGPROBS, .kind = MSG_BOOL, .offset = offsetof(T, chat_logprobs) },
	MSG_F_UINT(T, top_logprobs, OAI_TOP_LOGPROBS, 0, LOGPROB_MAX_TOP),
};
static const struct msg_field completion_request_fields[] = {
	COMMON_FIELDS,
	MSG_F_TEXTS(T, prompt, OAI_PROMPT, MSG_REQ | MSG_OR_ONE, OPENAI_MAX_PROMPTS),
	MSG_F_TEXT(T, suffix, OAI_SUFFIX, 0, PROTO_MAX_PROMPT),
	MSG_F_UINT(T, logprobs, OAI_LOGPROBS, 0, LOGPROB_MAX_TOP),
	MSG_F_BOOL(T, echo, OAI_ECHO, 0),
	MSG_F_UINT(T, best_of, OAI_BEST_OF, 0, ANY),
};
static const struct msg_field embedding_request_fields[] = {
	MSG_F_TEXT(T, model, OAI_MODEL, 0, PROTO_MAX_NAME),
	MSG_F_TEXTS(T, input, OAI_INPUT, MSG_REQ | MSG_OR_ONE, PROTO_MAX_INPUTS),
	MSG_F_TEXT(T, encoding_format, OAI_ENCODING_FORMAT, 0, 64),
	MSG_F_UINT(T, dimensions, OAI_DIMENSIONS, 0, ANY),
	MSG_F_TEXT(T, user, OAI_USER, 0, NAME_MAX_BYTES),
	MSG_F_ENUM(T, priority, OAI_PRIORITY, 0, PRIORITY_COUNT, priority_names),
	MSG_F_UINT(T, deadline_ms, OAI_DEADLINE, 0, PROTO_MAX_DEADLINE_MS),
	MSG_F_TEXTS(T, require, OAI_REQUIRE, 0, PROTO_MAX_LABELS),
	MSG_F_TEXTS(T, prefer, OAI_PREFER, 0, PROTO_MAX_LABELS),
	MSG_F_ENUM(T, policy, OAI_POLICY, 0, HUB_POLICY_COUNT, hub_policy_names),
};
#undef T
const struct msg_type openai_embedding_request_type =
	MSG_TYPE("embedding-request", struct openai_request, embedding_request_fields);
const struct msg_type openai_chat_request_type = MSG_TYPE("chat-request", struct openai_request, chat_request_fields);
const struct msg_type openai_completion_request_type =
	MSG_TYPE("completion-request", struct openai_request, completion_request_fields);

/* ---- answers ---- */

static const struct msg_field details_fields[] = {
	MSG_F_UINT(struct openai_details, cached_tokens, 1, MSG_REQ, ANY),
};
static const struct msg_type details_type = MSG_TYPE("details", struct openai_details, details_fields);

#define T struct openai_usage
static const struct msg_field usage_fields[] = {
	MSG_F_UINT(T, prompt_tokens, 1, MSG_REQ, ANY),
	MSG_F_UINT(T, completion_tokens, 2, MSG_REQ, ANY),
	MSG_F_UINT(T, total_tokens, 3, MSG_REQ, ANY),
	MSG_F_SUB(T, prompt_tokens_details, struct openai_details, 4, MSG_REQ, &details_type),
};
#undef T
static const struct msg_type openai_usage_type = MSG_TYPE("usage", struct openai_usage, usage_fields);

#define T struct openai_timings
static const struct msg_field openai_timings_fields[] = {
	MSG_F_UINT(T, cache_n, 1, MSG_REQ, ANY),
	MSG_F_UINT(T, prompt_n, 2, MSG_REQ, ANY),
	MSG_F_REAL(T, prompt_ms, 3, MSG_REQ),
	MSG_F_REAL(T, prompt_per_second, 4, MSG_REQ),
	MSG_F_UINT(T, predicted_n, 5, MSG_REQ, ANY),
	MSG_F_REAL(T, predicted_ms, 6, MSG_REQ),
	MSG_F_REAL(T, predicted_per_second, 7, MSG_REQ),
};
#undef T
static const struct msg_type openai_timings_type = MSG_TYPE("timings", struct openai_timings, openai_timings_fields);

#define T struct openai_message
static const struct msg_field message_fields[] = {
	MSG_F_TEXT(T, role, OAI_MESSAGE_ROLE, MSG_REQ, 32),
	MSG_F_TEXT(T, content, OAI_MESSAGE_CONTENT, MSG_REQ, PROTO_MAX_ANSWER),
	MSG_F_NULL("refusal", 3),
};
static const struct msg_field delta_fields[] = {
	MSG_F_TEXT(T, role, OAI_MESSAGE_ROLE, 0, 32),
	MSG_F_TEXT(T, content, OAI_MESSAGE_CONTENT, 0, PROTO_MAX_ANSWER),
};
#undef T
static const struct msg_type message_type = MSG_TYPE("message", struct openai_message, message_fields);
static const struct msg_type delta_type = MSG_TYPE("delta", struct openai_message, delta_fields);

/* finish_reason is null in every part of a stream but the last: a table for each. */
#define T struct openai_choice
#define INDEX MSG_F_UINT(T, index, OAI_CHOICE_INDEX, MSG_REQ, ANY)
#define LOGPROBS MSG_F_JSON(T, logprobs, OAI_CHOICE_LOGPROBS, MSG_REQ, SIZE_MAX)
#define UNFINISHED MSG_F_NULL("finish_reason", OAI_CHOICE_FINISH)
#define FINISHED MSG_F_TEXT(T, finish_reason, OAI_CHOICE_FINISH, MSG_REQ, 32)
static const struct msg_field chat_choice_fields[] = {
	INDEX,
	MSG_F_SUB(T, message, struct openai_message, OAI_CHOICE_MESSAGE, MSG_REQ, &message_type),
	LOGPROBS,
	FINISHED,
};
static const struct msg_field chat_part_choice_fields[] = {
	INDEX,
	MSG_F_SUB(T, delta, struct openai_message, OAI_CHOICE_DELTA, MSG_REQ, &delta_type),
	LOGPROBS,
	UNFINISHED,
};
static const struct msg_field chat_end_choice_fields[] = {
	INDEX,
	MSG_F_SUB(T, delta, struct openai_message, OAI_CHOICE_DELTA, MSG_REQ, &delta_type),
	LOGPROBS,
	FINISHED,
};
static const struct msg_field completion_choice_fields[] = {
	INDEX,
	MSG_F_TEXT(T, text, OAI_CHOICE_TEXT, MSG_REQ, PROTO_MAX_ANSWER),
	LOGPROBS,
	FINISHED,
};
static const struct msg_field completion_part_choice_fields[] = {
	INDEX,
	MSG_F_TEXT(T, text, OAI_CHOICE_TEXT, MSG_REQ, PROTO_MAX_ANSWER),
	LOGPROBS,
	UNFINISHED,
};
static const struct msg_type chat_choice_type = MSG_TYPE("choice", T, chat_choice_fields);
static const struct msg_type chat_part_choice_type = MSG_TYPE("choice", T, chat_part_choice_fields);
static const struct msg_type chat_end_choice_type = MSG_TYPE("choice", T, chat_end_choice_fields);
static const struct msg_type completion_choice_type = MSG_TYPE("choice", T, completion_choice_fields);
static const struct msg_type completion_part_choice_type = MSG_TYPE("choice", T, completion_part_choice_fields);
#undef T

#define T struct openai_chat_logprobs
static const struct msg_field chat_logprobs_fields[] = {
	MSG_F_SUBS(T, content, struct logprob, 1, MSG_REQ, PROTO_MAX_TOKENS, &logprob_type),
	MSG_F_NULL("refusal", 2),
};
const struct msg_type openai_chat_logprobs_type = MSG_TYPE("logprobs", T, chat_logprobs_fields);
#undef T

/* clang-format off */
#define T struct openai_answer
#define ANSWER_FIELDS(choice)                                                                   \
	{                                                                                       \
		MSG_F_TEXT(T, id, OAI_ANSWER_ID, MSG_REQ, 128),                                 \
		MSG_F_TEXT(T, object, OAI_ANSWER_OBJECT, MSG_REQ, 64),                          \
		MSG_F_UINT(T, created, OAI_ANSWER_CREATED, MSG_REQ, ANY),                       \
		MSG_F_TEXT(T, model, OAI_ANSWER_MODEL, MSG_REQ, PROTO_MAX_NAME),                \
		MSG_F_TEXT(T, system_fingerprint, OAI_ANSWER_FINGERPRINT, 0, 64),               \
		MSG_F_SUBS(T, choices, struct openai_choice, OAI_ANSWER_CHOICES, MSG_REQ, 1, &(choice)), \
		MSG_F_SUB(T, usage, struct openai_usage, OAI_ANSWER_USAGE, 0, &openai_usage_type), \
		MSG_F_SUB(T, timings, struct openai_timings, OAI_ANSWER_TIMINGS, 0, &openai_timings_type), \
		MSG_F_SUB(T, shoal, struct receipt, OAI_ANSWER_SHOAL, 0, &receipt_type),        \
	}
/* clang-format on */
static const struct msg_field chat_fields[] = ANSWER_FIELDS(chat_choice_type);
static const struct msg_field completion_fields[] = ANSWER_FIELDS(completion_choice_type);
static const struct msg_field chat_part_fields[] = ANSWER_FIELDS(chat_part_choice_type);
static const struct msg_field chat_end_fields[] = ANSWER_FIELDS(chat_end_choice_type);
static const struct msg_field completion_part_fields[] = ANSWER_FIELDS(completion_part_choice_type);
const struct msg_type openai_chat_type = MSG_TYPE("chat.completion", T, chat_fields);
const struct msg_type openai_completion_type = MSG_TYPE("text_completion", T, completion_fields);
const struct msg_type openai_chat_part_type = MSG_TYPE("chat.completion.chunk", T, chat_part_fields);
const struct msg_type openai_chat_end_type = MSG_TYPE("chat.completion.chunk", T, chat_end_fields);
const struct msg_type openai_completion_part_type = MSG_TYPE("text_completion", T, completion_part_fields);
#undef T

/* A vector is told in one of two forms: a table for each. */
/* clang-format off */
#define T struct openai_vector
#define VECTOR_FIELDS MSG_F_TEXT(T, object, 1, MSG_REQ, 16), MSG_F_UINT(T, index, 2, MSG_REQ, ANY)
static const struct msg_field vector_fields[] = {
	VECTOR_FIELDS,
	MSG_F_FLOATS(T, embedding, 3, MSG_REQ, SIZE_MAX),
};
static const struct msg_field vector_base64_fields[] = {
	VECTOR_FIELDS,
	{ .name = "embedding", .key = 3, .kind = MSG_TEXT, .flags = MSG_REQ, .offset = offsetof(T, base64), .max = SIZE_MAX },
};
static const struct msg_type vector_type = MSG_TYPE("vector", T, vector_fields);
static const struct msg_type vector_base64_type = MSG_TYPE("vector", T, vector_base64_fields);
#undef T
static const struct msg_field embedding_usage_fields[] = {
	MSG_F_UINT(struct openai_embedding_usage, prompt_tokens, 1, MSG_REQ, ANY),
	MSG_F_UINT(struct openai_embedding_usage, total_tokens, 2, MSG_REQ, ANY),
};
static const struct msg_type embedding_usage_type =
	MSG_TYPE("usage", struct openai_embedding_usage, embedding_usage_fields);
#define T struct openai_embeddings
#define EMBEDDINGS_FIELDS(vector)                                                                       \
	{                                                                                               \
		MSG_F_TEXT(T, object, 1, MSG_REQ, 16),                                                  \
		MSG_F_SUBS(T, data, struct openai_vector, 2, MSG_REQ, PROTO_MAX_INPUTS, &(vector)),     \
		MSG_F_TEXT(T, model, 3, MSG_REQ, PROTO_MAX_NAME),                                       \
		MSG_F_SUB(T, usage, struct openai_embedding_usage, 4, MSG_REQ, &embedding_usage_type),  \
		MSG_F_SUB(T, shoal, struct receipt, 5, 0, &receipt_type),                               \
	}
static const struct msg_field embeddings_fields[] = EMBEDDINGS_FIELDS(vector_type);
static const struct msg_field embeddings_base64_fields[] = EMBEDDINGS_FIELDS(vector_base64_type);
const struct msg_type openai_embeddings_type = MSG_TYPE("embeddings", T, embeddings_fields);
const struct msg_type openai_embeddings_base64_type = MSG_TYPE("embeddings", T, embeddings_base64_fields);
#undef T
/* clang-format on */

/* "param" is null, not absent, when the fault is not about one field: a table for each. */
#define T struct openai_error
#define ERROR_FIELDS(param_field)                                                                                           \
	{                                                                                                                   \
		MSG_F_TEXT(T, message, 1, MSG_REQ, 4096), MSG_F_TEXT(T, type, 2, MSG_REQ, 64), param_field,                 \
			MSG_F_TEXT(T, code, 4, MSG_REQ, 64),                                                                \
	}
static const struct msg_field error_fields[] = ERROR_FIELDS(MSG_F_NULL("param", 3));
static const struct msg_field error_param_fields[] = ERROR_FIELDS(MSG_F_TEXT(T, param, 3, MSG_REQ, 64));
static const struct msg_type error_body_type = MSG_TYPE("error", T, error_fields);
static const struct msg_type error_param_body_type = MSG_TYPE("error", T, error_param_fields);
#undef T
#define T struct openai_error_doc
static const struct msg_field error_doc_fields[] = {
	MSG_F_SUB(T, error, struct openai_error, 1, MSG_REQ, &error_body_type),
};
static const struct msg_field error_param_doc_fields[] = {
	MSG_F_SUB(T, error, struct openai_error, 1, MSG_REQ, &error_param_body_type),
};
const struct msg_type openai_error_type = MSG_TYPE("error-document", T, error_doc_fields);
const struct msg_type openai_error_param_type = MSG_TYPE("error-document", T, error_param_doc_fields);
#undef T

#define T struct openai_model_meta
static const struct msg_field meta_fields[] = {
	MSG_F_UINT(T, n_ctx, 1, MSG_REQ, ANY),
	MSG_F_UINT(T, n_params, 2, MSG_REQ, ANY),
	MSG_F_UINT(T, size, 3, MSG_REQ, ANY),
	MSG_F_UINT(T, n_ready, 4, MSG_REQ, ANY),
};
#undef T
static const struct msg_type meta_type = MSG_TYPE("meta", struct openai_model_meta, meta_fields);

#define T struct openai_model
static const struct msg_field model_fields[] = {
	MSG_F_TEXT(T, id, 1, MSG_REQ, PROTO_MAX_NAME),
	MSG_F_TEXT(T, object, 2, MSG_REQ, 16),
	MSG_F_UINT(T, created, 3, MSG_REQ, ANY),
	MSG_F_TEXT(T, owned_by, 4, MSG_REQ, 64),
	MSG_F_SUB(T, meta, struct openai_model_meta, 5, MSG_REQ, &meta_type),
};
#undef T
const struct msg_type openai_model_type = MSG_TYPE("model", struct openai_model, model_fields);

#define T struct openai_models
static const struct msg_field models_fields[] = {
	MSG_F_TEXT(T, object, 1, MSG_REQ, 16),
	MSG_F_SUBS(T, data, struct openai_model, 2, MSG_REQ, 4096, &openai_model_type),
};
#undef T
const struct msg_type openai_models_type = MSG_TYPE("models", struct openai_models, models_fields);
