/* adapter.h - shared by the files of this folder, the only ones that include llama.h.
 *
 * backend.c: which library and CPU kernels.  precheck.c: is the file one that llama.cpp may see.
 * open.c: from a model file to a context.  rows.c: steps,
 * and what makes them exact.  words.c: text and tokens.  picker.c: llama.cpp's samplers. */
#ifndef ENGINE_ADAPTER_H
#define ENGINE_ADAPTER_H

#include <llama.h>

#include "model.h"

#define ROWS_PROBE 17 /* rows of the widest pass of rows_probe() */
#define ROWS_PAD 1    /* cells beyond its context that a sequence may need for a moment */

/* How rows are computed so that each gives the same bits whatever is computed beside it;
 * docs/ENGINE.md, "Equal tokens", says why it takes this. */
struct exactness {
	bool is_exact;   /* false: no way was found, or none was wanted */
	size_t pad_from; /* position from which a row that is alone in a pass gets company */
};

struct model {
	struct llama_model *llama;
	struct llama_context *ctx;
	struct llama_context *embed; /* NULL: not wanted */
	const struct llama_vocab *vocab;
	struct model_facts facts;
	size_t n_vocab, n_sequences, max_threads;
	bool has_flash;
	bool has_copies; /* model_keep() asked for, that the next pass carries out */
	struct exactness exact;
	struct llama_batch batch;
	size_t batch_cap;
	uint64_t chunks_us;              /* of the last step */
	size_t lone_rows;                /* so many are faster each in a pass of its own than in one */
	const float **logits;            /* of each struct model_rows of the last step */
	size_t *order;                   /* scratch of a step */
	float **kept;                    /* of each sequence: logits of a chunk, which later passes overwrite */
	struct llama_logit_bias *no_end; /* forbids the tokens that end an answer */
	size_t n_end;
	llama_token_data *data; /* scratch of the pickers, n_vocab each */
	struct candidate *candidates;
};

/* The first error llama.cpp logged since it was told to forget, in plain characters, or "". */
const char *backend_first_error(void);
void backend_forget_error(void);

/* The context of model_embed(); the other one is there.  On failure reason says why. */
SHOAL_CHECK int embed_init(struct model *m, size_t n_threads, char *reason);
void embed_fini(struct model *m);

/* gguf_check() on a file; on failure reason says why, in sentences. */
SHOAL_CHECK int precheck(int fd, const char *path, char *reason);

/* Room for passes of max_rows. */
SHOAL_CHECK int rows_init(struct model *m, size_t max_rows);
void rows_fini(struct model *m);
/* Makes llama.cpp carry out the copies it has put off to the next pass, by one over a row behind
 * the n tokens of seq. */
SHOAL_CHECK int rows_finish_copies(struct model *m, size_t seq, size_t n);
/* False for models with one state for all tokens. */
bool rows_can_cut(const struct model *m);
/* Tries which way of computing is exact, by a few small passes; fills m->exact and leaves the
 * context empty.  ERR_RANGE: none is, with the weights as they lie in memory; ERR_CLOSED:
 * on_progress said to give up. */
SHOAL_CHECK int rows_probe(struct model *m, bool (*on_progress)(void *ctx, double share), void *ctx);
/* Fills m->lone_rows: kernels for a few rows may be worse than those for one.  ERR_CLOSED as above. */
SHOAL_CHECK int rows_measure(struct model *m, bool (*on_progress)(void *ctx, double share), void *ctx);

#endif
