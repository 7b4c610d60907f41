#include "place.h"

#include <stdlib.h>

/* What a job that wants no cache holds is not for others either. */
static bool may_be_kept(const struct seq *s, const struct model *m)
{
	return model_facts(m)->can_cut && (s->job == 0 || s->sampling.cache_prompt);
}

int place_choose(const struct seq *seqs, size_t n_seqs, const struct model *m, const uint32_t *tokens, size_t max_keep,
	struct prefix_choice *ret)
{
	struct prefix_slot *slots = calloc(n_seqs, sizeof(*slots));
	int rc;

	if (slots == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < n_seqs; i++)
		slots[i] = (struct prefix_slot){ .tokens = seqs[i].tokens,
			.n = may_be_kept(&seqs[i], m) ? seqs[i].n_computed : 0,
			.used = seqs[i].used,
			.is_busy = seqs[i].job != 0 };
	rc = prefix_choose(slots, n_seqs, tokens, max_keep, prefix_min_copy(model_facts(m)->n_ctx), ret);
	free(slots);
	return rc;
}

int place_take(struct seq *seqs, size_t n_seqs, struct model *m, struct seq *fresh, struct seq **ret)
{
	struct prefix_choice c;
	struct seq *s;
	size_t max_keep = may_be_kept(fresh, m) ? fresh->n_tokens - 1 : 0;
	int rc = place_choose(seqs, n_seqs, m, fresh->tokens, max_keep, &c);

	if (rc < 0)
		return rc;
	s = &seqs[c.slot];
	if (c.keep == 0)
		seq_drop(s, m);
	else
		fresh->n_computed = fresh->n_cached = model_keep(m, s->number, seqs[c.from].number, c.keep);
	fresh->number = s->number;
	free(s->tokens);
	*s = *fresh;
	*ret = s;
	return 0;
}
