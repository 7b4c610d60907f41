/* proto.h - every message of shoal, between agents, hub and clients.
 *
 * The contract is docs/protocol.cddl; docs/PROTOCOL.md explains it.  Key numbers
 * are the wire format: never reused, a changed meaning is a new key.
 * Codec: msg.h with the tables declared at the end.  Spans borrow.
 *
 * Version history: 1 (2026-11) first. */
#ifndef SHOAL_PROTO_H
#define SHOAL_PROTO_H

#include "code.h"
#include "logprob.h"
#include "msg.h"

#define PROTO_VERSION 1

/* Limits, enforced on receive. */
#define PROTO_MAX_MESSAGE ((size_t)1 << 20)
#define PROTO_MAX_PROMPT ((size_t)256 << 10)
#define PROTO_MAX_ANSWER ((size_t)1 << 20) /* text of one answer, bytes */
#define PROTO_MAX_TOKENS 65536             /* tokens of one answer */
#define PROTO_MAX_ID 64
#define PROTO_MAX_NAME 64 /* models, hosts */
#define PROTO_MAX_MODELS 256
#define PROTO_MAX_LABELS 32
#define PROTO_MAX_CODES 32 /* of errors, in a list of them */
#define PROTO_MAX_ISA 32
#define PROTO_MAX_DEVICES 16 /* accelerators of a box */
#define PROTO_MAX_ZONES 16   /* of temperature */
#define PROTO_MAX_LABEL 128 /* "key=value" */
#define PROTO_MAX_STOP 8
#define PROTO_MAX_STOP_LEN 256
#define PROTO_MAX_LOGIT_BIAS 300 /* tokens with a bias */
#define PROTO_MAX_GRAMMAR ((size_t)64 << 10)
#define PROTO_MAX_SCHEMA ((size_t)64 << 10)
#define PROTO_MAX_INPUTS 256 /* texts of one embedding job */
#define PROTO_MAX_EMBD 12288 /* numbers of a vector */
#define PROTO_MAX_TURNS 1024
#define PROTO_MAX_FRAME_TOKENS 4096
#define PROTO_MAX_TOPIC 256
#define PROTO_MAX_CORRELATION 256
#define PROTO_MAX_DEADLINE_MS (24u * 3600 * 1000)
#define PROTO_FRAME_WINDOW 64 /* token frames of a job the hub has not acknowledged yet */

/* ---- enums: numbers are wire format, names are what documents say ---- */

#define AGENT_STATE_LIST(X) X(OFFLINE, "offline") X(ONLINE, "online") X(DEGRADED, "degraded") X(DRAINING, "draining")
enum agent_status_state {
#define X(name, text) AGENT_##name,
	AGENT_STATE_LIST(X)
#undef X
	AGENT_STATE_COUNT
};
extern const char *const agent_state_names[];

#define MODEL_STATE_LIST(X) \
	X(ABSENT, "absent") X(HELD, "held") X(LOADING, "loading") X(READY, "ready") X(FAILED, "failed") X(QUARANTINED, "quarantined")
enum model_state {
#define X(name, text) MODEL_##name,
	MODEL_STATE_LIST(X)
#undef X
	MODEL_STATE_COUNT
};
extern const char *const model_state_names[];

enum priority { PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_COUNT };
extern const char *const priority_names[];

enum finish { FINISH_NONE, FINISH_STOP, FINISH_LENGTH, FINISH_CANCELLED, FINISH_COUNT };
extern const char *const finish_names[];

/* ---- parts used by several messages ---- */

struct turn { /* one chat message */
	uint64_t has;
	struct span role, content;
};

/* How to pick tokens.  Absent fields mean the defaults of sampling_defaults(). */
struct sampling {
	uint64_t has;
	uint64_t max_tokens; /* 0: until the model ends or the context is full */
	double temperature, top_p, min_p;
	uint64_t top_k; /* 0: all */
	uint64_t seed;
	const struct span *stop;
	size_t n_stop;
	bool ignore_eos, cache_prompt;
	double presence_penalty, frequency_penalty, repeat_penalty;
	const struct msg_weight *logit_bias; /* added to the logits of these tokens */
	size_t n_logit_bias;
	bool logprobs;         /* tell how likely each token was */
	uint64_t top_logprobs; /* and the likeliest ones in its place */
	struct span grammar;   /* GBNF the answer is held to; empty: none */
};
enum {
	SAMPLING_MAX_TOKENS = 1, SAMPLING_TEMPERATURE, SAMPLING_TOP_P, SAMPLING_MIN_P, SAMPLING_TOP_K, SAMPLING_SEED,
	SAMPLING_STOP, SAMPLING_IGNORE_EOS, SAMPLING_CACHE_PROMPT, SAMPLING_PRESENCE, SAMPLING_FREQUENCY, SAMPLING_REPEAT,
	SAMPLING_LOGIT_BIAS, SAMPLING_LOGPROBS, SAMPLING_TOP_LOGPROBS, SAMPLING_GRAMMAR
};
/* Fills every absent field: temperature 0.8, top_p 0.95, top_k 40, min_p 0.05
 * (llama.cpp's), cache_prompt true, seed 0 (the hub gives a job without a seed
 * one of its own before this), penalties off. */
void sampling_defaults(struct sampling *s);
/* 0, or ERR_RANGE with *ret_field naming the value that is out of range. */
int sampling_check(const struct sampling *s, const char **ret_field);

/* What an answer must be, as clients say it; the hub makes a grammar of it. */
struct json_schema {
	uint64_t has;
	struct span name, description;
	struct span schema; /* JSON */
	bool strict;        /* it always is */
};

struct response_format {
	uint64_t has;
	struct span type; /* "text", "json_object" or "json_schema" */
	struct json_schema json_schema;
	struct span schema; /* of a json_object: JSON, as llama-server takes it */
};

struct embedding { /* of one text */
	uint64_t has;
	uint64_t index; /* of the text in the request */
	struct span embedding; /* 32-bit floats, little-endian */
};

struct usage {
	uint64_t has;
	uint64_t prompt_tokens, cached_tokens, completion_tokens;
};

struct timings { /* microseconds, in the engine */
	uint64_t has;
	uint64_t wait_us, prefill_us, decode_us;
};

/* ---- agent -> all: agents/<a>/registration (retained) ---- */

struct model_info {
	uint64_t has;
	struct span name;
	struct span digest; /* SHA-256 of the file, 32 bytes; empty until known */
	uint64_t size;      /* bytes */
	unsigned state;     /* enum model_state */
	uint64_t n_ctx;     /* tokens a sequence may hold */
	uint64_t n_params;
	struct span arch;
	struct span reason; /* why failed or quarantined */
	uint64_t load_percent;
	uint64_t slots;  /* jobs of it that run at once, also if it has to be loaded first; 0: none now */
	uint64_t memory; /* bytes it takes when it is loaded, by estimate */
	bool pinned;     /* stays loaded */
	uint64_t prefill_milli, decode_milli; /* tokens a second x 1000 of one stream, measured when first loaded; 0: not yet */
	bool exact; /* equal engines that say so give equal tokens, also after a failover */
	uint64_t n_embd; /* numbers of a vector; 0: it makes none */
};
enum { MODEL_INFO_SLOTS = 10 };

#define POWER_LIST(X) X(UNKNOWN, "unknown") X(MAINS, "mains") X(BATTERY, "battery") X(UPS, "ups")
enum power {
#define X(name, text) POWER_##name,
	POWER_LIST(X)
#undef X
	POWER_COUNT
};
extern const char *const power_names[];

struct hardware { /* what a box is; what it does not say is absent */
	uint64_t has;
	struct span arch, cpu, kernel;
	uint64_t cores, mem_total; /* logical; bytes */
	struct span machine;       /* what its maker calls it */
	uint64_t cores_physical, cpu_max_mhz;
	const struct span *isa; /* instruction sets that llama.cpp has kernels for */
	size_t n_isa;
	const struct span *accelerators; /* devices the engine could compute on, besides the CPU */
	size_t n_accelerators;
	uint64_t disk_total; /* bytes, of the file system of the state directory */
	const struct span *zones; /* where temperature is measured */
	size_t n_zones;
	unsigned power; /* enum power: battery: it has one, and may be on mains */
};

struct registration {
	uint64_t has;
	uint64_t version;
	struct span agent;
	uint64_t epoch, conn, seq, nonce;
	struct span host, software; /* "shoal-agent 0.1.0" */
	struct span engine;         /* engine build: equal builds give equal tokens */
	uint64_t slots, queue_max;  /* jobs that run at once; that may wait */
	uint64_t heartbeat_idle_ms, heartbeat_busy_ms;
	struct hardware hardware;
	const struct model_info *models;
	size_t n_models;
	const struct span *labels;
	size_t n_labels;
	bool metered; /* what goes over its link costs money */
};
enum { REG_VERSION = 1, REG_AGENT, REG_EPOCH, REG_CONN, REG_SEQ, REG_NONCE, REG_HOST, REG_SOFTWARE, REG_ENGINE, REG_SLOTS,
       REG_QUEUE_MAX, REG_HB_IDLE, REG_HB_BUSY, REG_HARDWARE, REG_MODELS, REG_LABELS, REG_METERED };

/* ---- agent or its will -> all: agents/<a>/status (retained) ---- */

struct status {
	uint64_t has;
	uint64_t epoch, conn;
	unsigned state; /* enum agent_status_state */
	struct span reason;
};

/* ---- agent -> hub: agents/<a>/heartbeat ---- */

struct sensors { /* how a box fares; a field is there iff the box has a source for it (has) */
	uint64_t has;
	int64_t temp_milli; /* thousandths of a degree Celsius, of the hottest zone that is about the CPU */
	bool throttled;     /* slowed down against heat, now */
	bool undervoltage;
	uint64_t cpu_mhz; /* of the fastest core, now */
	uint64_t psi_cpu, psi_memory, psi_io; /* time some task waited, of the last 10 s, per cent x 100 */
	uint64_t battery_percent;
	bool on_mains;
	uint64_t disk_free; /* bytes, of the file system of the state directory */
};
enum { SENSORS_TEMP = 1, SENSORS_THROTTLED, SENSORS_UNDERVOLTAGE, SENSORS_CPU_MHZ, SENSORS_PSI_CPU, SENSORS_PSI_MEMORY,
       SENSORS_PSI_IO, SENSORS_BATTERY, SENSORS_ON_MAINS, SENSORS_DISK_FREE };

struct code_count {
	uint64_t has;
	struct span code; /* its name, as in code.h */
	uint64_t n;
};

struct figures { /* how requests went, of all models (name: empty) or of one */
	uint64_t has;
	struct span name;
	uint64_t requests_total, errors_total, tokens_total; /* since the start; tokens: generated */
	/* Of the last 1,000: those that ended well. */
	uint64_t latency_min_ms, latency_avg_ms, latency_p50_ms, latency_p95_ms, latency_p99_ms, latency_max_ms;
	uint64_t prefill_milli, decode_milli; /* tokens a second x 1000, of one stream */
	const struct code_count *errors;      /* since the start */
	size_t n_errors;
};

struct heartbeat {
	uint64_t has;
	uint64_t epoch, conn;
	unsigned state;
	uint64_t slots, running, queued;
	uint64_t tokens_total;   /* generated since the start of this epoch */
	uint64_t tokens_per_s;   /* x 1000, over the last interval */
	uint64_t mem_available, rss;
	uint64_t load_milli;     /* 1-minute load average x 1000 */
	uint64_t jobs_done, jobs_failed;
	uint64_t bad_messages, stale_messages;
	uint64_t uptime_ms;
	struct span reason; /* of the state, as in the status */
	uint64_t requests_total, errors_total; /* attempts that ended here, refused ones too */
	uint64_t latency_p50_ms, latency_p95_ms, latency_p99_ms; /* of those done among the last 1,000 */
	struct sensors sensors;
	const struct figures *figures; /* of all models, then of each that had requests */
	size_t n_figures;
	uint64_t memory_total, memory_limit, memory_used; /* bytes, of box or cgroup, whichever is tighter; limit: memory.hard */
};
enum { HEARTBEAT_SENSORS = 23 };

/* ---- hub or its will -> all: hub/status (retained) ---- */

struct hub_status {
	uint64_t has;
	uint64_t version, epoch;
	unsigned state; /* AGENT_ONLINE or AGENT_OFFLINE */
	struct span software;
	uint64_t fleet; /* agents known: scales the re-announcement jitter */
};

/* ---- hub -> agent: agents/<a>/jobs ---- */

struct job_msg {
	uint64_t has;
	struct span job;
	uint64_t attempt; /* fence, from 1 */
	uint64_t epoch;   /* of the agent it is meant for */
	struct span model;
	struct span prompt;       /* raw text; or turns */
	const struct turn *turns; /* chat, rendered with the model's template */
	size_t n_turns;
	struct sampling sampling;
	const uint32_t *prefix; /* tokens the client has been shown: go on at index n_prefix */
	size_t n_prefix;
	uint64_t deadline_ms; /* what is left of it; 0: none */
	unsigned priority;
	struct span session;
	const struct span *inputs; /* an embedding job: texts to make vectors of; an index is one of them */
	size_t n_inputs;
};
enum { JOB_ID = 1, JOB_ATTEMPT, JOB_EPOCH, JOB_MODEL, JOB_PROMPT, JOB_TURNS, JOB_SAMPLING, JOB_PREFIX, JOB_DEADLINE, JOB_PRIORITY,
       JOB_SESSION };

/* ---- hub -> agent: agents/<a>/control ---- */

enum control_verb {
	CONTROL_PING,   /* say registration, status and heartbeat again */
	CONTROL_CANCEL, /* job, attempt */
	CONTROL_ACK,    /* job, attempt, index: all frames below index are safe at the hub */
	CONTROL_RESEND, /* job, attempt, index: send again from index; also an ACK below it */
	CONTROL_END,    /* job, attempt: the end is known, forget its tokens */
	CONTROL_DRAIN,
	CONTROL_RESUME,
	CONTROL_LOAD, /* model: start its engine now, also out of quarantine */
	CONTROL_COUNT
};
extern const char *const control_names[];

struct control {
	uint64_t has;
	unsigned verb;
	uint64_t epoch; /* of the agent it is meant for */
	struct span job;
	uint64_t attempt, index;
	struct span model;
};

/* ---- agent -> hub: agents/<a>/out ---- */

enum job_event_type {
	JOB_EVENT_ACCEPTED,
	JOB_EVENT_REJECTED, /* code: this agent will not run it, maybe after all; the attempt is over */
	JOB_EVENT_PROGRESS, /* alive, nothing to show: answer to RESEND with no new token */
	JOB_EVENT_TOKENS,   /* index, n, text, ids */
	JOB_EVENT_DONE,     /* index = count over all attempts, finish, sha256, usage, timings */
	JOB_EVENT_FAILED,   /* code */
	JOB_EVENT_COUNT
};
extern const char *const job_event_names[];

struct job_event {
	uint64_t has;
	unsigned type;
	struct span job;
	uint64_t attempt, epoch;
	uint64_t index;
	struct span text;
	const uint32_t *ids;
	size_t n_ids;
	unsigned finish; /* enum finish */
	struct span sha256; /* DONE: of the text of this attempt's frames, first to last */
	struct usage usage;
	struct timings timings;
	uint64_t code;
	struct span reason;
	uint64_t queue_ms;   /* waited in the agent */
	uint64_t load_percent, prefill_percent; /* PROGRESS */
	struct span logprobs; /* TOKENS: a sequence of token-prob, one for each id; or empty */
	struct span vectors;  /* TOKENS of an embedding job: one for each id, which is the number of its tokens */
};
enum { JOB_EVENT_LOAD_PERCENT = 15 };

#define HUB_POLICY_LIST(X) X(ROUND_ROBIN, "round_robin") X(LEAST_LOADED, "least_loaded") \
	X(HARDWARE_AWARE, "hardware_aware") X(COST, "cost")
enum hub_policy {
#define X(name, text) HUB_##name,
	HUB_POLICY_LIST(X)
#undef X
	HUB_POLICY_COUNT
};
extern const char *const hub_policy_names[];

/* ---- client -> hub: clients/<u>/jobs; also what HTTP requests become ---- */

struct submit {
	uint64_t has;
	struct span id; /* client's idempotency key, 1..64 of the id alphabet; empty: none */
	struct span model;
	struct span prompt;
	const struct turn *messages;
	size_t n_messages;
	uint64_t max_tokens; /* from here to grammar: struct sampling, flat */
	double temperature, top_p, min_p;
	uint64_t top_k, seed;
	const struct span *stop;
	size_t n_stop;
	bool ignore_eos, cache_prompt;
	double presence_penalty, frequency_penalty, repeat_penalty;
	const struct msg_weight *logit_bias;
	size_t n_logit_bias;
	bool logprobs;
	uint64_t top_logprobs;
	struct span grammar;
	struct response_format response_format; /* the shell turns it into grammar before the core sees it */
	const struct span *input; /* instead of a prompt: texts to make vectors of */
	size_t n_input;
	bool stream;
	struct span session;
	unsigned priority;
	uint64_t deadline_ms;
	const struct span *require, *prefer; /* labels */
	size_t n_require, n_prefer;
	bool cancel_on_disconnect;
	struct span reply_to; /* MQTT 3.1.1 clients: the Response Topic, and */
	struct span correlation; /* what to echo */
	unsigned policy; /* enum hub_policy, if it is there: how an agent is chosen for this one */
};
enum { SUBMIT_ID = 1, SUBMIT_MODEL, SUBMIT_PROMPT, SUBMIT_MESSAGES, SUBMIT_MAX_TOKENS, SUBMIT_TEMPERATURE, SUBMIT_TOP_P, SUBMIT_MIN_P,
       SUBMIT_TOP_K, SUBMIT_SEED, SUBMIT_STOP, SUBMIT_IGNORE_EOS, SUBMIT_CACHE_PROMPT, SUBMIT_PRESENCE, SUBMIT_FREQUENCY,
       SUBMIT_REPEAT, SUBMIT_STREAM, SUBMIT_SESSION, SUBMIT_PRIORITY, SUBMIT_DEADLINE, SUBMIT_REQUIRE, SUBMIT_PREFER,
       SUBMIT_CANCEL_ON_DISCONNECT, SUBMIT_REPLY_TO, SUBMIT_CORRELATION, SUBMIT_LOGIT_BIAS, SUBMIT_LOGPROBS, SUBMIT_TOP_LOGPROBS,
       SUBMIT_GRAMMAR, SUBMIT_RESPONSE_FORMAT, SUBMIT_INPUT, SUBMIT_POLICY };
/* The sampling part, with presence kept (a field not there stays not there). */
struct sampling submit_sampling(const struct submit *s);

/* client -> hub: clients/<u>/cancel: a job id of the hub, or the client's own id */
struct cancel {
	uint64_t has;
	struct span job, id;
};

/* client -> hub: clients/<u>/admin: what an operator wants of an agent, or of a job */
#define ADMIN_VERB_LIST(X)                                                                                  \
	X(DRAIN, "drain") X(RESUME, "resume") X(WEIGHT, "weight") X(QUARANTINE, "quarantine") X(RELEASE, "release") \
	X(FORGET, "forget") X(CANCEL, "cancel")
enum admin_verb {
#define X(name, text) ADMIN_##name,
	ADMIN_VERB_LIST(X)
#undef X
	ADMIN_VERB_COUNT
};
extern const char *const admin_verb_names[];

#define ADMIN_MAX_REASON 200
#define ADMIN_MAX_WEIGHT 100

struct admin {
	uint64_t has;
	unsigned verb;     /* enum admin_verb */
	struct span agent; /* of all verbs but CANCEL */
	struct span job;   /* CANCEL: a job id of the hub, anyone's */
	struct span reason;
	uint64_t value;    /* WEIGHT: per cent of the work it would get */
	struct span reply_to, correlation; /* as of a submit */
};
enum { ADMIN_VERB = 1, ADMIN_AGENT, ADMIN_JOB, ADMIN_REASON, ADMIN_VALUE, ADMIN_REPLY_TO, ADMIN_CORRELATION };

/* client's will -> hub: clients/<u>/presence */
struct presence {
	uint64_t has;
	unsigned state; /* AGENT_ONLINE or AGENT_OFFLINE */
};

/* ---- hub -> client ---- */

enum answer_type { ANSWER_ACCEPTED, ANSWER_TOKENS, ANSWER_PROGRESS, ANSWER_DONE, ANSWER_ERROR, ANSWER_TYPE_COUNT };
extern const char *const answer_names[];

struct route_candidate { /* an agent that the last attempt could have gone to, or why not */
	uint64_t has;
	struct span agent, reason; /* reason: a code, see docs/PROTOCOL.md */
	uint64_t expected_ms;      /* to the end of the answer; 0: no idea */
};
#define PROTO_MAX_CANDIDATES 8

struct receipt { /* how a job went; times in milliseconds */
	uint64_t has;
	struct span agent;
	struct span route; /* why this agent: a policy's name, "session", "only", "cold" */
	uint64_t attempts;
	double queue_ms, load_ms, wait_ms, prefill_ms, decode_ms, total_ms;
	struct span session;      /* "new", "kept", "moved"; absent: it had none */
	struct span session_why;  /* moved: the reason */
	uint64_t expected_cached; /* tokens of the prompt that the agent was thought to have computed */
	struct span continuity; /* of an answer that several attempts wrote: "exact", "not_exact", "other_build" */
	const struct route_candidate *candidates; /* the one that was chosen first */
	size_t n_candidates;
	uint64_t expected_ms;   /* what the last attempt was expected to take when it began */
	uint64_t cached_tokens; /* of the prompt, not computed again */
};
enum { RECEIPT_SESSION = 15, RECEIPT_SESSION_WHY, RECEIPT_EXPECTED_CACHED, RECEIPT_CONTINUITY = 20 };

struct answer {
	uint64_t has;
	unsigned type;
	struct span job, id, model;
	struct span correlation; /* only for clients that put it in the payload */
	struct span state;       /* ACCEPTED: "queued", "running", …  */
	uint64_t index;          /* TOKENS: of its first token */
	uint64_t n;              /* TOKENS: how many */
	struct span text;        /* TOKENS: theirs; DONE: the whole answer */
	unsigned finish_reason;
	struct usage usage;
	struct receipt receipt;
	struct span code, message;
	uint64_t retry_after_ms;
	uint64_t percent; /* PROGRESS: of what state says */
	const struct logprob *logprobs; /* TOKENS, DONE, where asked for */
	size_t n_logprobs;
	struct span probs; /* what logprobs is to be made of, by whoever writes the document */
	const struct embedding *embeddings; /* DONE */
	size_t n_embeddings;
	struct span vectors; /* what they are to be made of: n of one size */
	size_t n_vectors;
};
enum { ANSWER_TYPE = 1, ANSWER_JOB, ANSWER_ID, ANSWER_MODEL, ANSWER_CORRELATION, ANSWER_STATE, ANSWER_INDEX, ANSWER_N, ANSWER_TEXT,
       ANSWER_FINISH, ANSWER_USAGE, ANSWER_RECEIPT, ANSWER_CODE, ANSWER_MESSAGE, ANSWER_RETRY_AFTER,
       ANSWER_LOGPROBS, ANSWER_PERCENT, ANSWER_EMBEDDINGS };

extern const struct msg_type embedding_type, json_schema_type, response_format_type, turn_type, sampling_type, usage_type, timings_type, model_info_type, hardware_type, registration_type,
	status_type, heartbeat_type, hub_status_type, job_type, control_type, job_event_type, submit_type, cancel_type, admin_type, presence_type,
	route_candidate_type, receipt_type, answer_type, sensors_type, code_count_type, figures_type;

#endif
