/* openai_proto.h - the documents of the OpenAI API, as message tables.
 *
 * What clients of that API send and expect; field names are theirs.  Requests keep
 * fields that cannot be honoured only to refuse them by name: everything else that is
 * unknown is ignored, as that API's servers do.  Codec: json.h. */
#ifndef HUB_OPENAI_PROTO_H
#define HUB_OPENAI_PROTO_H

#include "proto.h"

#define OPENAI_MAX_PROMPTS 8 /* read so that a list can be refused by a sentence, not by its length */
#define OPENAI_MAX_TOOLS 256

/* ---- requests ---- */

struct openai_any { /* an object of which only the presence matters */
	uint64_t has;
};

struct openai_stream_options {
	uint64_t has;
	bool include_usage;
};

/* Both kinds of request; each has its own table. */
struct openai_request {
	uint64_t has;
	struct span model;
	const struct turn *messages; /* chat */
	size_t n_messages;
	const struct span *prompt; /* completion */
	size_t n_prompt;
	int64_t max_tokens, max_completion_tokens; /* negative: no limit, as llama-server takes it */
	double temperature, top_p, min_p;
	int64_t top_k, seed; /* -1: all; any */
	const struct span *stop;
	size_t n_stop;
	bool ignore_eos, cache_prompt;
	double presence_penalty, frequency_penalty, repeat_penalty;
	bool stream;
	struct openai_stream_options stream_options;
	uint64_t n;
	/* ours, and what stands for a session */
	struct span session, prompt_cache_key, user;
	unsigned priority;
	uint64_t deadline_ms;
	const struct span *require, *prefer;
	size_t n_require, n_prefer;
	unsigned policy; /* enum hub_policy */
	/* refused when they ask for something */
	const struct openai_any *tools, *functions;
	size_t n_tools, n_functions;
	struct span suffix;
	bool echo;
	uint64_t best_of;
	/* what the answer must be; json_schema: JSON, as llama-server takes it */
	struct span grammar, json_schema;
	struct response_format response_format;
	/* each kind of request asks for log probabilities in its own way */
	const struct msg_weight *logit_bias;
	size_t n_logit_bias;
	bool chat_logprobs;
	uint64_t top_logprobs, logprobs;
	/* embeddings */
	const struct span *input;
	size_t n_input;
	struct span encoding_format;
	uint64_t dimensions;
};
enum {
	OAI_MODEL = 1,
	OAI_MESSAGES,
	OAI_PROMPT,
	OAI_MAX_TOKENS,
	OAI_MAX_COMPLETION_TOKENS,
	OAI_TEMPERATURE,
	OAI_TOP_P,
	OAI_MIN_P,
	OAI_TOP_K,
	OAI_SEED,
	OAI_STOP,
	OAI_IGNORE_EOS,
	OAI_CACHE_PROMPT,
	OAI_PRESENCE,
	OAI_FREQUENCY,
	OAI_REPEAT,
	OAI_STREAM,
	OAI_STREAM_OPTIONS,
	OAI_N,
	OAI_SESSION,
	OAI_PROMPT_CACHE_KEY,
	OAI_USER,
	OAI_PRIORITY,
	OAI_DEADLINE,
	OAI_REQUIRE,
	OAI_PREFER,
	OAI_TOOLS,
	OAI_FUNCTIONS,
	OAI_RESPONSE_FORMAT,
	OAI_LOGIT_BIAS,
	OAI_JSON_SCHEMA,
	OAI_GRAMMAR,
	OAI_SUFFIX,
	OAI_LOGPROBS,
	OAI_ECHO,
	OAI_BEST_OF,
	OAI_TOP_LOGPROBS,
	OAI_INPUT,
	OAI_ENCODING_FORMAT,
	OAI_DIMENSIONS,
	OAI_POLICY
};

/* ---- answers ---- */

struct openai_details {
	uint64_t has;
	uint64_t cached_tokens;
};

struct openai_usage {
	uint64_t has;
	uint64_t prompt_tokens, completion_tokens, total_tokens;
	struct openai_details prompt_tokens_details;
};

/* llama-server's figures, for clients that show speed. */
struct openai_timings {
	uint64_t has;
	uint64_t cache_n, prompt_n;
	double prompt_ms, prompt_per_second;
	uint64_t predicted_n;
	double predicted_ms, predicted_per_second;
};

struct openai_message { /* role and content; a delta may have neither */
	uint64_t has;
	struct span role, content;
};
enum { OAI_MESSAGE_ROLE = 1, OAI_MESSAGE_CONTENT };

struct openai_choice {
	uint64_t has;
	uint64_t index;
	struct openai_message message, delta;
	struct span text;
	struct span finish_reason;
	struct span logprobs; /* JSON: the two kinds of answers have them in two forms */
};
enum { OAI_CHOICE_INDEX = 1, OAI_CHOICE_MESSAGE, OAI_CHOICE_DELTA, OAI_CHOICE_TEXT, OAI_CHOICE_FINISH, OAI_CHOICE_LOGPROBS };

struct openai_chat_logprobs {
	uint64_t has;
	const struct logprob *content;
	size_t n_content;
};

struct openai_answer {
	uint64_t has;
	struct span id, object;
	uint64_t created; /* seconds since 1970 */
	struct span model, system_fingerprint;
	const struct openai_choice *choices;
	size_t n_choices;
	struct openai_usage usage;
	struct openai_timings timings;
	struct receipt shoal;
};
enum {
	OAI_ANSWER_ID = 1,
	OAI_ANSWER_OBJECT,
	OAI_ANSWER_CREATED,
	OAI_ANSWER_MODEL,
	OAI_ANSWER_FINGERPRINT,
	OAI_ANSWER_CHOICES,
	OAI_ANSWER_USAGE,
	OAI_ANSWER_TIMINGS,
	OAI_ANSWER_SHOAL
};

struct openai_vector { /* embedding or base64 */
	uint64_t has;
	struct span object;
	uint64_t index;
	struct span embedding, base64;
};

struct openai_embedding_usage {
	uint64_t has;
	uint64_t prompt_tokens, total_tokens;
};

struct openai_embeddings {
	uint64_t has;
	struct span object, model;
	const struct openai_vector *data;
	size_t n_data;
	struct openai_embedding_usage usage;
	struct receipt shoal;
};

struct openai_error {
	uint64_t has;
	struct span message, type, param, code;
};
struct openai_error_doc {
	uint64_t has;
	struct openai_error error;
};

struct openai_model_meta {
	uint64_t has;
	uint64_t n_ctx, n_params, size, n_ready; /* n_ready: agents that hold it loaded */
};
struct openai_model {
	uint64_t has;
	struct span id, object;
	uint64_t created;
	struct span owned_by;
	struct openai_model_meta meta;
};
struct openai_models {
	uint64_t has;
	struct span object;
	const struct openai_model *data;
	size_t n_data;
};

extern const struct msg_type openai_chat_request_type, openai_completion_request_type, openai_embedding_request_type;
/* Vectors as lists of numbers; as text. */
extern const struct msg_type openai_embeddings_type, openai_embeddings_base64_type;
/* Whole answers; parts of a stream, before and at its end; the part with the usage only. */
extern const struct msg_type openai_chat_type, openai_completion_type, openai_chat_part_type, openai_chat_end_type,
	openai_completion_part_type;
extern const struct msg_type openai_chat_logprobs_type, openai_error_type, openai_error_param_type, openai_model_type, openai_models_type;

#endif
