#include <math.h>
#include <stdlib.h>

#include "adapter.h"

#define PENALTY_WINDOW 64 /* tokens back, as in llama.cpp's own programs */

struct picker {
	struct model *m;
	struct llama_sampler *chain;
	bool is_plain; /* at most ends are forbidden, and the greatest logit wins: no need to weigh them all */
	bool has_no_end;
};

static bool add(struct llama_sampler *chain, struct llama_sampler *s)
{
	if (s != NULL)
		llama_sampler_chain_add(chain, s);
	return s != NULL;
}

static bool has_penalties(const struct sampling *s)
{
	return s->presence_penalty != 0 || s->frequency_penalty != 0 || (s->repeat_penalty != 1 && s->repeat_penalty > 0);
}

static bool add_biases(struct llama_sampler *chain, const struct model *m, const struct sampling *s)
{
	struct llama_logit_bias biases[PROTO_MAX_LOGIT_BIAS];

	for (size_t i = 0; i < s->n_logit_bias; i++)
		biases[i] = (struct llama_logit_bias){ .token = (llama_token)s->logit_bias[i].id,
			.bias = (float)s->logit_bias[i].value };
	return add(chain, llama_sampler_init_logit_bias((int32_t)m->n_vocab, (int32_t)s->n_logit_bias, biases));
}

/* At temperature 0 the greatest logit wins: no sampler that leaves it in place is needed. */
static bool fill(struct llama_sampler *chain, const struct model *m, const struct sampling *s)
{
	double repeat = s->repeat_penalty > 0 ? s->repeat_penalty : 1;

	if (s->ignore_eos && !add(chain, llama_sampler_init_logit_bias((int32_t)m->n_vocab, (int32_t)m->n_end, m->no_end)))
		return false;
	if (s->n_logit_bias > 0 && !add_biases(chain, m, s))
		return false;
	if (has_penalties(s) && !add(chain, llama_sampler_init_penalties((int32_t)m->n_vocab, PENALTY_WINDOW, (float)repeat,
						    (float)s->frequency_penalty, (float)s->presence_penalty)))
		return false;
	if (s->temperature <= 0)
		return true;
	if (s->top_k > 0 && s->top_k < m->n_vocab && !add(chain, llama_sampler_init_top_k((int32_t)s->top_k)))
		return false;
	if (s->top_p < 1 && !add(chain, llama_sampler_init_top_p((float)s->top_p, 1)))
		return false;
	if (s->min_p > 0 && !add(chain, llama_sampler_init_min_p((float)s->min_p, 1)))
		return false;
	return add(chain, llama_sampler_init_temp((float)s->temperature));
}

int picker_new(struct model *m, const struct sampling *s, struct picker **ret)
{
	struct picker *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return ERR_NOMEM;
	p->m = m;
	p->chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
	if (p->chain == NULL || !fill(p->chain, m, s)) {
		picker_free(p);
		return ERR_NOMEM;
	}
	p->has_no_end = s->ignore_eos;
	p->is_plain = s->temperature <= 0 && llama_sampler_chain_n(p->chain) == (s->ignore_eos ? 1 : 0);
	*ret = p;
	return 0;
}

struct picker *picker_free(struct picker *p)
{
	if (p == NULL)
		return NULL;
	if (p->chain != NULL)
		llama_sampler_free(p->chain);
	free(p);
	return NULL;
}

void picker_saw(struct picker *p, uint32_t id)
{
	llama_sampler_accept(p->chain, (llama_token)id);
}

/* What draw_greatest() would find among all. */
static struct candidate greatest(const struct picker *p, const float *logits)
{
	struct candidate best = { .logit = NAN };

	for (size_t k = 0; k < p->m->n_vocab; k++)
		if ((logits[k] > best.logit || isnan(best.logit)) && !(p->has_no_end && model_is_end(p->m, (uint32_t)k)))
			best = (struct candidate){ .id = (uint32_t)k, .logit = logits[k] };
	return best;
}

size_t picker_candidates(struct picker *p, size_t i, const uint8_t *allowed, const struct candidate **ret)
{
	struct model *m = p->m;
	const float *logits = m->logits[i];
	llama_token_data_array all = { .data = m->data, .selected = -1, .sorted = false };

	*ret = m->candidates;
	if (p->is_plain && allowed == NULL) {
		m->candidates[0] = greatest(p, logits);
		return 1;
	}
	for (size_t k = 0; k < m->n_vocab; k++)
		if (allowed == NULL || allowed[k])
			m->data[all.size++] = (llama_token_data){ .id = (llama_token)k, .logit = logits[k], .p = 0 };
	if (all.size == 0)
		return 0;
	llama_sampler_apply(p->chain, &all);
	for (size_t k = 0; k < all.size; k++)
		m->candidates[k] = (struct candidate){ .id = (uint32_t)all.data[k].id, .logit = all.data[k].logit };
	return all.size;
}
