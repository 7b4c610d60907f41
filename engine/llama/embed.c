#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapter.h"

/* A text is computed in one pass of a context of its own, alone: its vector has the same bits
 * whatever else the engine does.  The model's own way of pooling is taken; one that has none is
 * pooled by the mean of its tokens. */
static struct llama_context *make_context(const struct model *m, size_t n_threads, enum llama_pooling_type pooling)
{
	struct llama_context_params params = llama_context_default_params();
	size_t n = m->facts.n_ctx < MODEL_EMBED_TOKENS ? m->facts.n_ctx : MODEL_EMBED_TOKENS;

	params.n_seq_max = 1;
	params.n_ctx = params.n_batch = params.n_ubatch = (uint32_t)n;
	params.n_threads = params.n_threads_batch = (int32_t)n_threads;
	params.flash_attn_type = m->has_flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
	params.embeddings = true;
	params.pooling_type = pooling;
	params.no_perf = true;
	return llama_init_from_model(m->llama, params);
}

int embed_init(struct model *m, size_t n_threads, char *reason)
{
	m->embed = make_context(m, n_threads, LLAMA_POOLING_TYPE_UNSPECIFIED);
	if (m->embed != NULL && llama_pooling_type(m->embed) == LLAMA_POOLING_TYPE_NONE) {
		llama_free(m->embed);
		m->embed = make_context(m, n_threads, LLAMA_POOLING_TYPE_MEAN);
	}
	if (m->embed == NULL) {
		(void)snprintf(reason, MODEL_REASON_MAX, "There is not enough memory for embeddings beside the sequences.");
		return ERR_NOMEM;
	}
	if (llama_pooling_type(m->embed) == LLAMA_POOLING_TYPE_RANK) {
		(void)snprintf(
			reason, MODEL_REASON_MAX, "The model ranks texts, it has no embeddings: set embeddings = false.");
		return ERR_RANGE;
	}
	m->facts.n_embd = (size_t)llama_model_n_embd(m->llama);
	return 0;
}

void embed_fini(struct model *m)
{
	if (m->embed != NULL)
		llama_free(m->embed);
	m->embed = NULL;
}

/* To length 1, as llama.cpp's server does it. */
static void normalise(const float *v, size_t n, float *ret)
{
	double sum = 0, scale;

	for (size_t i = 0; i < n; i++)
		sum += (double)v[i] * (double)v[i];
	scale = sum > 0 ? 1 / sqrt(sum) : 0;
	for (size_t i = 0; i < n; i++)
		ret[i] = (float)((double)v[i] * scale);
}

int model_embed(struct model *m, const uint32_t *tokens, size_t n, float *ret)
{
	struct llama_batch batch;
	const float *v;
	int rc;

	if (m->embed == NULL || n == 0 || n > llama_n_ubatch(m->embed))
		return ERR_RANGE;
	if (llama_get_memory(m->embed) != NULL)
		llama_memory_clear(llama_get_memory(m->embed), true);
	batch = llama_batch_init((int32_t)n, 0, 1);
	for (size_t i = 0; i < n; i++) {
		batch.token[i] = (llama_token)tokens[i];
		batch.pos[i] = (llama_pos)i;
		batch.n_seq_id[i] = 1;
		batch.seq_id[i][0] = 0;
		batch.logits[i] = 1;
	}
	batch.n_tokens = (int32_t)n;
	rc = llama_decode(m->embed, batch);
	v = rc == 0 ? llama_get_embeddings_seq(m->embed, 0) : NULL;
	if (v != NULL)
		normalise(v, m->facts.n_embd, ret);
	llama_batch_free(batch);
	return v != NULL ? 0 : ERR_STATE;
}
