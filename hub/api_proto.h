/* api_proto.h - the documents under /api/v1, as message tables.  Times are milliseconds
 * ago or from now, so that no two clocks need to agree. */
#ifndef HUB_API_PROTO_H
#define HUB_API_PROTO_H

#include "hub.h"

struct api_hub {
	uint64_t has;
	struct span version, policy;
	uint64_t epoch, uptime_ms;
};

struct api_link {
	uint64_t has;
	bool up, blind;
	struct span broker, reason;
	uint64_t connects, losses;
};

struct api_fleet {
	uint64_t has;
	uint64_t total, online, suspect, draining, offline, quarantined;
	uint64_t slots, in_flight;
};

struct api_model {
	uint64_t has;
	struct span name, arch;
	uint64_t ready, size, n_ctx, n_params; /* ready: agents that can run it now */
	struct span digest;
};

struct api_counters {
	uint64_t has;
	uint64_t bad_messages; /* over MQTT, from anyone */
#define X(name) uint64_t name;
	HUB_COUNTER_LIST(X)
#undef X
};

#define API_HTTP_LIST(X) X(open) X(connections) X(requests) X(refused) X(malformed) X(timeouts) X(hung_up) X(slow_readers)
struct api_http {
	uint64_t has;
#define X(name) uint64_t name;
	API_HTTP_LIST(X)
#undef X
};

#define API_MQTT_LIST(X)                                                                                                    \
	X(received)                                                                                                         \
	X(published)                                                                                                        \
	X(bad) X(ignored) X(refused) X(tokens_dropped) X(queued) X(queue_dropped) X(no_subscriber) X(publish_failed)
struct api_mqtt {
	uint64_t has;
#define X(name) uint64_t name;
	API_MQTT_LIST(X)
#undef X
};

struct api_sessions_status { /* created, expired, displaced: sessions; kept, moved: their requests; tokens: of all requests */
	uint64_t has;
	uint64_t live, created, expired, displaced, kept, moved, prompt_tokens, cached_tokens, expected_tokens;
	double cached_share;
#define X(name, text, sentence) uint64_t moved_##text;
	HUB_MOVE_LIST(X)
#undef X
};

struct api_journal { /* commits, records, bytes, failures: since the start; waiting: entries that are not safe yet */
	uint64_t has;
	struct span mode, set_aside; /* set_aside: where a damaged file went at the start */
	bool full;
	uint64_t commits, records, bytes, failures, waiting, waiting_bytes, jobs, ids, file_bytes;
	double last_ms, max_ms; /* of a commit */
};

struct api_status {
	uint64_t has;
	struct api_hub hub;
	struct api_link link;
	struct api_fleet agents;
	uint64_t models_ready, queued, running;
	double tokens_per_s;
	const struct api_model *models;
	size_t n_models;
	struct api_counters counters;
	struct api_http http;
	struct api_mqtt mqtt;
	struct api_sessions_status sessions;
	struct api_journal journal;
};

struct api_held_model { /* of one agent */
	uint64_t has;
	struct span name;
	unsigned state;
	uint64_t load_percent;
	struct span reason;
	uint64_t slots, memory;
	bool pinned;
	double prefill_tokens_per_s, decode_tokens_per_s; /* of one stream, measured when it was first loaded */
	unsigned breaker; /* enum hub_breaker; absent: the agent has not failed at it lately */
	double seen_prefill_per_s, seen_decode_per_s, seen_load_ms; /* by the hub, lately; 0: not yet */
	double failing;                                             /* share of the latest attempts */
	uint64_t in_flight;
	uint64_t failures, breaker_ms; /* within the window; until one job may try */
};
enum { API_HELD_PREFILL = 5, API_HELD_DECODE, API_HELD_BREAKER = 20, API_HELD_FAILURES, API_HELD_BREAKER_MS };

struct api_agent {
	uint64_t has;
	struct span id;
	unsigned state;
	struct span reason;
	uint64_t since_ms, seen_ms; /* ago */
	uint64_t running, queued, slots, in_flight;
	const struct api_held_model *models;
	size_t n_models;
	const struct span *labels;
	size_t n_labels;
	struct span host, software, engine;
	struct hardware hardware;
	struct sensors sensors;
	const struct figures *figures;
	size_t n_figures;
	uint64_t mem_available, rss;
	uint64_t memory_total, memory_limit, memory_used; /* as the agent counts it before it loads a model */
	double load, tokens_per_s;
	uint64_t tokens_total, jobs_done, jobs_failed, bad_messages, stale_messages, uptime_ms, epoch, conn;
	bool metered, configured; /* configured: expected, by the configuration */
	struct span tier;         /* the largest models it serves well */
	uint64_t weight;
	bool drained, isolated; /* by an operator */
	struct span asked_for;  /* why */
};

struct api_agents {
	uint64_t has;
	const struct api_agent *agents;
	size_t n_agents;
	uint64_t total;   /* agents known */
	struct span next; /* the cursor of the next page */
};

struct api_job {
	uint64_t has;
	struct span job, user, model, agent;
	unsigned state, priority;
	uint64_t attempt, tokens, age_ms, deadline_ms; /* deadline_ms: left; absent: none */
	struct span id, session; /* the client's */
	uint64_t ended_ms;       /* ago */
	unsigned finish_reason;
	struct span code, message;
	uint64_t rests_ms; /* after a failed attempt, from now */
	bool rejoins;      /* the hub has restarted and waits for its agent */
};
enum { API_JOB_DEADLINE = 10, API_JOB_ID, API_JOB_SESSION, API_JOB_ENDED, API_JOB_FINISH, API_JOB_CODE, API_JOB_MESSAGE, API_JOB_RESTS };

struct api_jobs {
	uint64_t has;
	uint64_t live; /* all of them, whatever is asked for */
	const struct api_job *jobs;
	size_t n_jobs;
	struct span next; /* the cursor of the next page */
};

struct api_candidate { /* an agent, seen by a job */
	uint64_t has;
	struct span agent, reason, text;
	double expected_ms, score; /* 0: no idea */
	uint64_t cached_tokens;
};

struct api_reason {
	uint64_t has;
	struct span reason;
	uint64_t agents;
};

struct api_explain {
	uint64_t has;
	struct span model;
	uint64_t total;
	const struct api_reason *reasons; /* how many agents each holds of */
	size_t n_reasons;
	const struct api_candidate *candidates; /* the best first, then those that cannot */
	size_t n_candidates;
};

struct api_job_story {
	uint64_t has;
	struct api_job job;
	struct receipt receipt;
	struct api_explain explain; /* of a live one */
};
enum { API_STORY_EXPLAIN = 3 };

struct api_asked { /* by an operator */
	uint64_t has;
	uint64_t asked_ms; /* ago */
	struct span user, verb, target, reason, code;
	uint64_t value;
};

struct api_admin {
	uint64_t has;
	const struct api_asked *asked;
	size_t n_asked;
};

struct api_session {
	uint64_t has;
	struct span session, user, model, agent; /* agent: that has computed it; empty: none any more */
	uint64_t tokens, turns, moves, jobs, used_ms; /* tokens: it holds; jobs: live; used_ms: ago */
};

struct api_sessions {
	uint64_t has;
	uint64_t live, total; /* all; those that were asked for, of which the list may be a part */
	const struct api_session *sessions;
	size_t n_sessions;
};

struct api_load { /* what is asked, and the answer: that it was passed on */
	uint64_t has;
	struct span agent, model;
};

extern const struct msg_type api_status_type, api_agents_type, api_jobs_type, api_sessions_type, api_load_type, api_job_story_type,
	api_explain_type, api_admin_type;

#endif
