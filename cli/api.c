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

static const struct msg_field chunk_fields[] = {
	MSG_F_SUB(struct api_chunk, error, struct api_error_body, API_CHUNK_ERROR, 0, &error_type),
	MSG_F_SUBS(struct api_chunk, choices, struct api_choice, API_CHUNK_CHOICES, 0, 16, &choice_type),
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
};
static const struct msg_type agent_type = MSG_TYPE("agent", struct api_agent, agent_fields);

static const struct msg_field agents_fields[] = {
	MSG_F_SUBS(struct api_agents, agents, struct api_agent, 1, MSG_REQ, 100000, &agent_type),
};
const struct msg_type api_agents_type = MSG_TYPE("agents", struct api_agents, agents_fields);

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
