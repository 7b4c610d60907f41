/* api.h - the hub's HTTP documents, as far as the command line reads them.
 *
 * Tables of msg.h; fields the hub adds later are skipped. */
#ifndef SHOAL_API_H
#define SHOAL_API_H

#include "proto.h"

struct api_error_body {
	uint64_t has;
	struct span message, code;
};

struct api_delta {
	uint64_t has;
	struct span content;
};

struct api_choice {
	uint64_t has;
	struct api_delta delta; /* chat */
	struct span text;       /* completion */
	struct span finish_reason;
};

/* One event of a stream, or a document that is an error. */
struct api_chunk {
	uint64_t has;
	struct api_error_body error;
	const struct api_choice *choices;
	size_t n_choices;
};
enum { API_CHUNK_ERROR = 1, API_CHUNK_CHOICES };

struct api_model {
	uint64_t has;
	struct span id;
};

struct api_models { /* GET /v1/models */
	uint64_t has;
	const struct api_model *data;
	size_t n_data;
};

struct api_agent_model {
	uint64_t has;
	struct span name, state, reason;
	double prefill_tokens_per_s, decode_tokens_per_s; /* 0: not measured */
	uint64_t memory; /* bytes it takes when it is loaded, by estimate; 0: not known */
};

struct api_agent {
	uint64_t has;
	struct span id, state, reason, host, software, engine;
	struct hardware hardware;
	struct sensors sensors;
	const struct figures *figures; /* name empty: of all models */
	size_t n_figures;
	uint64_t mem_available;
	double load;
	uint64_t running, queued, slots;
	const struct api_agent_model *models;
	size_t n_models;
	double tokens_per_s;
	uint64_t seen_ms; /* ago */
};

struct api_agents { /* GET /api/v1/agents */
	uint64_t has;
	const struct api_agent *agents;
	size_t n_agents;
};

extern const struct msg_type api_chunk_type, api_models_type, api_agents_type;

/* Decodes a JSON document; its texts and lists live in *ret_memory, which the caller
 * frees (set also on failure, to NULL or memory). */
SHOAL_CHECK int api_decode(const struct msg_type *t, struct span json, void *ret, void **ret_memory);

#endif
