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

struct api_timings {
	uint64_t has;
	uint64_t cache_n, prompt_n; /* tokens of the prompt: cached, computed */
};

/* One event of a stream, or a document that is an error. */
struct api_chunk {
	uint64_t has;
	struct api_error_body error;
	const struct api_choice *choices;
	size_t n_choices;
	struct api_timings timings; /* with the end */
	struct receipt shoal;
};
enum { API_CHUNK_ERROR = 1, API_CHUNK_CHOICES, API_CHUNK_TIMINGS, API_CHUNK_SHOAL };

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
	struct span name, state, reason, breaker;
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
	uint64_t in_flight, weight;
	bool drained, isolated;
	struct span asked_for;
};
enum { API_AGENT_WEIGHT = 19 };

struct api_agents { /* GET /api/v1/agents */
	uint64_t has;
	const struct api_agent *agents;
	size_t n_agents;
	uint64_t total;
	struct span next;
};

struct api_message { /* what came of a POST */
	uint64_t has;
	struct span message;
};

struct api_job {
	uint64_t has;
	struct span job, user, model, agent, state, priority, id, session, finish_reason, code, message;
	uint64_t attempt, tokens, age_ms, deadline_ms, ended_ms, rests_ms;
	bool rejoins;
};
enum { API_JOB_DEADLINE = 15, API_JOB_RESTS = 17 };

struct api_jobs { /* GET /api/v1/jobs */
	uint64_t has;
	uint64_t live;
	const struct api_job *jobs;
	size_t n_jobs;
	struct span next;
};

struct api_candidate {
	uint64_t has;
	struct span agent, reason, text;
	double expected_ms;
	uint64_t cached_tokens;
};

struct api_reason {
	uint64_t has;
	struct span reason;
	uint64_t agents;
};

struct api_explain { /* GET /api/v1/explain */
	uint64_t has;
	struct span model;
	uint64_t total;
	const struct api_reason *reasons;
	size_t n_reasons;
	const struct api_candidate *candidates;
	size_t n_candidates;
};

struct api_story { /* GET /api/v1/jobs/<job> */
	uint64_t has;
	struct api_job job;
	struct receipt receipt;
	struct api_explain explain;
};

struct api_link {
	uint64_t has;
	bool up, blind;
	struct span broker, reason;
};

struct api_hub {
	uint64_t has;
	struct span version, policy;
	uint64_t uptime_ms;
};

struct api_status_model {
	uint64_t has;
	struct span name;
	uint64_t ready;
};

struct api_fleet {
	uint64_t has;
	uint64_t total, online, suspect, draining, offline, quarantined, slots, in_flight;
};

struct api_journal {
	uint64_t has;
	struct span mode;
	bool full;
	struct span set_aside; /* where a damaged file went; empty: it was sound */
};

struct api_status { /* GET /api/v1/status */
	uint64_t has;
	struct api_hub hub;
	struct api_link link;
	struct api_fleet agents;
	uint64_t queued, running;
	const struct api_status_model *models;
	size_t n_models;
	struct api_journal journal;
};

struct api_session {
	uint64_t has;
	struct span session, user, model, agent;
	uint64_t tokens, turns, moves, jobs, used_ms;
};

struct api_sessions { /* GET /api/v1/sessions */
	uint64_t has;
	const struct api_session *sessions;
	size_t n_sessions;
	uint64_t total;
};

extern const struct msg_type api_chunk_type, api_models_type, api_agents_type, api_message_type, api_jobs_type, api_explain_type,
	api_story_type, api_status_type, api_sessions_type;

/* Decodes a JSON document; its texts and lists live in *ret_memory, which the caller
 * frees (set also on failure, to NULL or memory). */
SHOAL_CHECK int api_decode(const struct msg_type *t, struct span json, void *ret, void **ret_memory);

#endif
