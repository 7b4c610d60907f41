/* footprint.h - how much memory a model will take when an engine has loaded it.
 *
 * An estimate from the head of its file, made before anything is loaded:
 *
 *   weights   the file's size.  Pages of a mapped file can be dropped by the kernel, but a
 *             model that has to read them again for each token does not serve; and kinds of
 *             weights that are laid out anew on the CPU are copied whole.
 *   kv        what attention keeps of every token, in 16-bit numbers, for all sequences at
 *             their full length.  llama.cpp takes it when the model is loaded.
 *   work      the program, its libraries, and the buffers of one step.
 *
 * What attention keeps is exact for attention models and 0 for others (recurrent state is
 * small).  docs/AGENT.md says how far estimates and measured memory were apart. */
#ifndef SHOAL_FOOTPRINT_H
#define SHOAL_FOOTPRINT_H

#include "gguf.h"

struct footprint_use {                  /* as in ENGINE_LOAD; 0: the engine's choice */
	uint64_t n_ctx, parallel, rows; /* rows: tokens in one pass */
};

struct footprint {
	uint64_t weights, kv, work; /* bytes; all 0: not known */
	uint64_t kv_token;          /* of kv, for one token of one sequence */
	uint64_t n_ctx, parallel;   /* what kv is for: tokens of a sequence, sequences */
};

/* facts: all 0 when the head could not be read; then only the weights are known. */
struct footprint footprint_of(const struct gguf_facts *facts, uint64_t file_size, const struct footprint_use *use);

static inline uint64_t footprint_total(const struct footprint *f)
{
	return f->weights + f->kv + f->work;
}

#endif
