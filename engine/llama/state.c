/* The computed state of a sequence as bytes. */
#include "adapter.h"

static bool is_whole(const struct model *m, size_t seq, size_t n)
{
	llama_memory_t memory = llama_get_memory(m->ctx);

	return llama_memory_seq_pos_min(memory, (llama_seq_id)seq) == 0 &&
	       llama_memory_seq_pos_max(memory, (llama_seq_id)seq) == (llama_pos)n - 1;
}

/* llama.cpp leaves out what lies before an attention window: a state that cannot be cut back
 * is of no use for a prompt that differs somewhere. */
static bool has_window(const struct model *m)
{
	return llama_model_n_swa(m->llama) > 0;
}

size_t model_state_size(struct model *m, size_t seq, size_t n_tokens)
{
	if (has_window(m) || !is_whole(m, seq, n_tokens) || rows_finish_copies(m, seq, n_tokens) < 0)
		return 0;
	return llama_state_seq_get_size(m->ctx, (llama_seq_id)seq);
}

int model_state_get(struct model *m, size_t seq, uint8_t *ret, size_t size)
{
	return llama_state_seq_get_data(m->ctx, ret, size, (llama_seq_id)seq) == size ? 0 : ERR_STATE;
}

int model_state_set(struct model *m, size_t seq, const uint8_t *state, size_t size, size_t n_tokens)
{
	if (rows_finish_copies(m, seq, 0) == 0 && llama_state_seq_set_data(m->ctx, state, size, (llama_seq_id)seq) == size &&
		is_whole(m, seq, n_tokens))
		return 0;
	model_drop(m, seq);
	return ERR_RANGE;
}
