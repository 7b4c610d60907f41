#include "watch.h"

#define SAY_US 1000000

void watch_init(struct watch *w, struct box *box, size_t n_threads)
{
	*w = (struct watch){ .box = box, .is_fixed = n_threads != 0 };
	tuner_init(&w->tuner, box->cores);
	if (w->is_fixed)
		w->tuner.n = n_threads;
}

size_t watch_threads(const struct watch *w)
{
	return w->tuner.n;
}

void watch_took(struct watch *w, const struct plan_seq *seqs, size_t n_seqs, uint64_t chunks_us, uint64_t singles_us,
	uint64_t now_us)
{
	size_t n_tokens = 0, n_singles = 0, n_chunks = 0;
	struct tuner_step s = { .now_us = now_us };

	for (size_t i = 0; i < n_seqs; i++) {
		n_tokens += seqs[i].n > 0 && seqs[i].is_generating;
		n_singles += seqs[i].n == 1;
		n_chunks += seqs[i].n > 1 ? seqs[i].n : 0;
	}
	s.is_prompt = n_tokens == 0;
	s.rows = s.is_prompt ? n_chunks : n_singles;
	s.took_us = s.is_prompt ? chunks_us : singles_us;
	if (!w->is_fixed)
		tuner_took(&w->tuner, &s, box_load(w->box, now_us));
	w->n_steps++;
	w->n_rows += n_singles + n_chunks;
	w->n_tokens += n_tokens;
	w->tokens_us += n_tokens > 0 ? singles_us : 0;
}

int watch_say(struct watch *w, struct link *l, size_t n_kept, uint64_t now_us)
{
	struct engine_msg m = { .type = ENGINE_STATS, .threads = w->tuner.n, .n_kept = n_kept };

	if (now_us - w->said_us < SAY_US || w->n_steps == 0)
		return 0;
	m.step_rows = 1000 * w->n_rows / w->n_steps;
	m.token_us = w->n_tokens > 0 ? w->tokens_us / w->n_tokens : 0;
	w->said_us = now_us;
	w->n_steps = w->n_rows = w->n_tokens = w->tokens_us = 0;
	return link_send(l, &m);
}
