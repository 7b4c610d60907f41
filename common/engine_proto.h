/* engine_proto.h - what agent and engine say to each other on fd 3.
 *
 * The engine is a child on a stream socketpair at fd 3.  Each message is a
 * 4-byte big-endian length and that many bytes of CBOR: one map with integer
 * keys, key 1 the type.  Engine to agent at most ENGINE_MAX_OUT, agent to engine
 * at most ENGINE_MAX_IN bytes.  docs/ENGINE.md explains the order of things. */
#ifndef SHOAL_ENGINE_PROTO_H
#define SHOAL_ENGINE_PROTO_H

#include "proto.h"

#define ENGINE_FD 3
#define ENGINE_PROTO_VERSION 1
#define ENGINE_MAX_OUT ((size_t)64 << 10)
#define ENGINE_MAX_IN ((size_t)1 << 20)

enum engine_msg_type {
	/* engine -> agent */
	ENGINE_HELLO,    /* first message: version, build, max_sequences, devices */
	ENGINE_PROGRESS, /* percent of LOAD */
	ENGINE_LOADED,   /* n_ctx, n_params, size, digest, arch, exact */
	ENGINE_TOKENS,   /* job, index, ids, text: whole tokens, whole UTF-8 */
	ENGINE_DONE,     /* job, index = count, finish, usage, timings */
	ENGINE_ERROR,    /* code, reason; job when it is about one (0: about LOAD) */
	ENGINE_PONG,
	ENGINE_SAVED,    /* job, tokens, size, code, reason: what came of SAVE; tokens 0: nothing was there */
	ENGINE_RESTORED, /* job, tokens, code, reason: what came of RESTORE */
	ENGINE_STATS,    /* threads, token_us, step_rows, n_kept: about once a second while it computes */
	ENGINE_EMBEDDING = 10, /* job, index of a text, ids: the number of its tokens, vector */
	/* agent -> engine */
	ENGINE_LOAD = 16, /* with a descriptor: path (its name), n_ctx, parallel, batch_tokens, prefill_chunk, threads, fast,
			   * keep, min_batch, max_batch, batch_wait_ms, batch_wait_adaptive, prefill_gap */
	ENGINE_GENERATE,  /* job, prompt | turns, sampling, prefix */
	ENGINE_CANCEL,    /* job: answered by DONE(cancelled) within one decode step */
	ENGINE_PING,
	ENGINE_QUIT,
	ENGINE_SAVE,   /* with a descriptor: job that has ended, max_bytes: what is computed of it, to a file */
	ENGINE_RESTORE, /* with a descriptor: job that is about to come, and is served by that file */
	ENGINE_EMBED = 23 /* job, inputs, index of the first one wanted: an EMBEDDING for each, then DONE */
};

struct engine_msg {
	uint64_t has;
	uint64_t type;
	uint64_t job; /* the agent's number for it, from 1; never reused in a child's life */
	/* HELLO */
	uint64_t version;
	struct span build; /* names engine, version and CPU backend: equal builds give equal tokens */
	uint64_t max_sequences;
	const struct span *devices; /* it could compute on, besides the CPU */
	size_t n_devices;
	/* PROGRESS */
	uint64_t percent;
	/* LOADED; n_ctx also LOAD: tokens one sequence may hold, 0: as trained */
	uint64_t n_ctx, n_params, size;
	struct span digest, arch;
	bool exact; /* a job gives the same tokens on every engine of this build and file */
	uint64_t n_embd; /* numbers of a vector; 0: EMBED is refused */
	/* TOKENS, DONE */
	uint64_t index;
	const uint32_t *ids;
	size_t n_ids;
	struct span text;
	unsigned finish;
	struct usage usage;
	struct timings timings;
	struct span logprobs; /* TOKENS: a sequence of token-prob, one for each id; or empty */
	/* ERROR */
	uint64_t code;
	struct span reason;
	/* LOAD */
	struct span path;
	uint64_t parallel, batch_tokens, prefill_chunk, threads; /* 0: the engine's choice */
	bool fast; /* speed matters more than exact */
	bool embeddings; /* room for EMBED, too */
	uint64_t keep; /* sequences beyond parallel, for prefixes of ended jobs */
	uint64_t min_batch, max_batch; /* sequences in a step; 0: any */
	uint64_t batch_wait_ms;        /* new jobs wait so long for min_batch of them while none runs */
	bool batch_wait_adaptive;      /* only when as many are likely to come */
	uint64_t prefill_gap;          /* percent: a step with a piece of a prompt of one without; 0: the engine's choice */
	/* SAVE, SAVED, RESTORED; the size of the file is in size */
	uint64_t tokens, max_bytes;
	/* STATS, of the time since the last */
	uint64_t token_us;  /* of computing, for each new token; 0: there was none */
	uint64_t step_rows; /* x 1000, in a step */
	uint64_t n_kept;    /* sequences that hold something for prompts to come */
	/* GENERATE */
	struct span prompt;
	const struct turn *turns;
	size_t n_turns;
	struct sampling sampling; /* every field set */
	/* EMBED, EMBEDDING */
	const struct span *inputs;
	size_t n_inputs;
	struct span vector; /* 32-bit floats, little-endian, of length 1 */
	const uint32_t *prefix;
	size_t n_prefix;
};

extern const struct msg_type engine_msg_type;

/* True for messages that come with one descriptor (SCM_RIGHTS, on their first byte); the others
 * come with none. */
bool engine_msg_has_fd(uint64_t type);

#endif
