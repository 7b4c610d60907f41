/* model.h - what the host asks of a model.
 *
 * The seam of the engine: host/ speaks fd 3, schedules and cuts text; an implementation of
 * this header computes.  llama/ is the real one, echo/ makes up its answers for tests; a
 * program links exactly one.
 *
 * Owns: struct model its weights and the computed state of its sequences; struct picker
 * what one job needs to weigh candidates.  Borrows: every span and list, for the call.
 * Threads: the caller's only (an implementation may have workers inside a call). */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "draw.h"
#include "proto.h"

#define MODEL_REASON_MAX 500 /* bytes of a sentence that says why not */

/* Rows of one sequence in a step at most, if they are to come out as if each had been computed in
 * a step of its own: from 64 on llama.cpp's attention takes a faster way, which rounds otherwise. */
#define MODEL_EXACT_ROWS 56

struct model;
struct picker;

struct model_config {
	int file;                      /* for reading; stays the caller's, who may close it after model_open() */
	const char *path;              /* what people call it */
	size_t n_ctx;                  /* tokens one sequence may hold; 0: as trained */
	size_t n_sequences;            /* held at the same time, numbered from 0 */
	size_t n_parallel;             /* of them, with a job; the model need not know */
	size_t batch_tokens;           /* rows of one model_compute() at most */
	size_t chunk;                  /* rows of one sequence in it at most */
	size_t n_threads, max_threads; /* at first; that model_set_threads() may ask for */
	bool embeds;                   /* model_embed() is wanted, too */
	bool is_fast;                  /* speed matters more than the same bits in every attempt */
	bool (*on_progress)(void *ctx, double share); /* while loading, 0..1; false: give up */
	void *ctx;
};

struct model_facts {
	size_t n_ctx;
	uint64_t n_params, size; /* bytes of the file's tensors */
	char arch[PROTO_MAX_NAME];
	bool is_exact; /* a row gives the same bits whatever is computed beside it */
	bool can_cut;  /* a sequence can be cut back to its first tokens */
	size_t n_embd; /* numbers of a vector; 0: model_embed() was not wanted */
};

/* Rows of one sequence: n tokens that follow what the sequence holds. */
struct model_rows {
	size_t seq;
	const uint32_t *tokens;
	size_t n;
	size_t first;     /* position of tokens[0] in the sequence */
	bool want_logits; /* of the last row */
};

/* Tokens a call gives out, heap. */
struct model_tokens {
	uint32_t *ids;
	size_t n;
};

/* Once, at the start.  backends: where to look for compute backends, NULL: beside the library. */
SHOAL_CHECK int model_init(const char *backends, char reason[MODEL_REASON_MAX]);
/* Engine, version and kind of computation: equal builds give equal tokens. */
const char *model_build(void);
/* What it could compute on besides the CPU; returns how many. */
size_t model_devices(struct span ret[PROTO_MAX_DEVICES]);
size_t model_max_sequences(void);
/* False for a model whose files cannot lead it astray, and that does what sandbox.h forbids. */
bool model_needs_sandbox(void);

/* On failure reason says why, in a sentence. */
SHOAL_CHECK int model_open(const struct model_config *config, struct model **ret, char reason[MODEL_REASON_MAX]);
struct model *model_close(struct model *m);
const struct model_facts *model_facts(const struct model *m);

/* A raw prompt: control tokens may be written as text.  ERR_RANGE: it cannot be made tokens. */
SHOAL_CHECK int model_read_prompt(
	struct model *m, struct span prompt, struct model_tokens *ret, char reason[MODEL_REASON_MAX]);
/* A conversation in the model's own template, open for the assistant's answer; the text of
 * a turn never becomes a control token.  ERR_RANGE: the model has no template we can use. */
SHOAL_CHECK int model_read_turns(
	struct model *m, const struct turn *turns, size_t n_turns, struct model_tokens *ret, char reason[MODEL_REASON_MAX]);
size_t model_n_tokens(const struct model *m); /* numbered from 0 */
bool model_has_token(const struct model *m, uint32_t id);
/* Appends the bytes of a token; those of control tokens are none. */
void model_piece(const struct model *m, uint32_t id, struct buf *out);
/* True when the token ends an answer. */
bool model_is_end(const struct model *m, uint32_t id);

/* Computes all rows in one step.  Negative: nothing of it counts, the sequences in it are
 * to be dropped. */
SHOAL_CHECK int model_compute(struct model *m, const struct model_rows *rows, size_t n_rows);
/* How much of the time the last model_compute() took was for sequences with more than one row. */
uint64_t model_chunks_us(const struct model *m);
/* From the next step on; at most max_threads. */
void model_set_threads(struct model *m, size_t n_threads);
#define MODEL_EMBED_TOKENS 512 /* of one text: they are computed in one pass */
/* The vector of a text, n_embd numbers of length 1; no sequence is touched.  ERR_RANGE: too many
 * tokens, or it was not wanted. */
SHOAL_CHECK int model_embed(struct model *m, const uint32_t *tokens, size_t n, float *ret);
/* What the model itself made of all its tokens after rows[i] of the last model_compute(), which
 * wanted logits; they last until the next one. */
const float *model_logits(struct model *m, size_t i, size_t *ret_n);
/* Forgets all a sequence holds. */
void model_drop(struct model *m, size_t seq);
/* Makes a sequence hold the first n tokens of what `from` holds, which stays as it is when it
 * is another one.  Returns n; 0 when that cannot be, and nothing is held then. */
size_t model_keep(struct model *m, size_t seq, size_t from, size_t n);

/* What a sequence holds, n_tokens of them, as bytes that only the same model and build understands.
 * 0: it cannot be had. */
size_t model_state_size(struct model *m, size_t seq, size_t n_tokens);
SHOAL_CHECK int model_state_get(struct model *m, size_t seq, uint8_t *ret, size_t size);
/* Into a sequence that holds nothing, and does so again on failure. */
SHOAL_CHECK int model_state_set(struct model *m, size_t seq, const uint8_t *state, size_t size, size_t n_tokens);

/* How the tokens of one answer are weighed: penalties, top-k, top-p, min-p, temperature. */
SHOAL_CHECK int picker_new(struct model *m, const struct sampling *s, struct picker **ret);
struct picker *picker_free(struct picker *p);
/* A token of the prompt or the answer, in order: penalties see it. */
void picker_saw(struct picker *p, uint32_t id);
/* The candidates after rows[i] of the last model_compute(), which wanted logits, among those that
 * are allowed (a truth value for each token; NULL: all).  They last until the next call.  Returns
 * how many, at least 1 if any is allowed. */
size_t picker_candidates(struct picker *p, size_t i, const uint8_t *allowed, const struct candidate **ret);

#endif
