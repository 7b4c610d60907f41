/* gguf.h - is this file a GGUF that may be shown to libllama?
 *
 * A model file is bytes from a stranger, and llama.cpp's loader trusts a good deal of what
 * they say.  This looks at the whole head first: every count, length and offset against the
 * size of the file, types, names said twice, and the values whose wrongness has led loaders
 * to read or write past their memory.  It reads no weights.
 *
 * Not checked: whether a tensor's kind of numbers is known.  A newer llama.cpp knows more of
 * them than this table; where such a tensor ends is not known then, only that it begins in
 * its place and within the file, and llama.cpp has the last word.
 *
 * Owns nothing.  Borrows the file for the call.  Pure. */
#ifndef SHOAL_GGUF_H
#define SHOAL_GGUF_H

#include "err.h"
#include "span.h"

#define GGUF_MAX_ARCH 64
#define GGUF_MAX_LAYERS 512 /* llama.cpp's tables by layer have that many rows */

struct gguf_facts {
	char arch[GGUF_MAX_ARCH + 1];
	uint32_t version;
	uint64_t n_keys, n_tensors;
	uint64_t n_params;   /* elements of all tensors */
	uint64_t data_start; /* where tensors begin, in bytes from the start of the file */
	/* 0: the file does not say. */
	uint64_t n_layers, n_ctx, n_embd, n_vocab;
	uint64_t n_heads, n_ff; /* the most any layer has */
	uint64_t n_kv_values;   /* numbers that attention keeps of one token, over all layers */
};

/* The whole file, as it lies in memory or is mapped.  On ERR_MALFORMED (or ERR_NOMEM) *why
 * gets sentences: what is wrong, where in the file, what to do. */
SHOAL_CHECK int gguf_check(struct span file, struct gguf_facts *ret, struct buf *why);
/* The same of a file whose first bytes only are at hand.  A head that goes on behind them is
 * refused like one that is cut: try with more. */
SHOAL_CHECK int gguf_check_head(struct span head, uint64_t file_size, struct gguf_facts *ret, struct buf *why);

#endif
