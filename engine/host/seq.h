/* seq.h - one answer in the making: its tokens, its text, its place in the model.
 *
 * Owns everything a GENERATE asked for, copied.  Each sequence of the model has one struct seq:
 * live while a job runs in it, afterwards the record of what the model still holds, for a
 * prompt that begins the same (place.h). */
#ifndef ENGINE_SEQ_H
#define ENGINE_SEQ_H

#include "guide.h"
#include "link.h"
#include "model.h"
#include "probs.h"
#include "refusal.h"
#include "text.h"

struct seq {
	uint64_t job;     /* 0: none is running */
	uint64_t last_job; /* that ran, when none is running */
	uint64_t used;    /* when the last one ended, on the host's count; 0: nothing is held */
	size_t number;    /* of the model's sequence */
	uint32_t *tokens; /* prompt, prefix, answer */
	size_t n_tokens, tokens_cap;
	size_t n_prompt, n_prefix;
	size_t n_computed;        /* tokens the model holds */
	size_t n_cached;          /* of them, held before the job began */
	size_t max_tokens;        /* of the answer, all attempts together */
	size_t n_shown;           /* index of the next token to show */
	size_t n_waited;          /* steps since it was last in one */
	struct sampling sampling; /* its stop strings are in text */
	struct text text;
	struct probs probs; /* of the tokens in text, where they are asked for */
	struct picker *picker;
	struct guide *guide; /* NULL: no grammar */
	const char *fault;   /* a sentence: why seq_draw() failed with ERR_RANGE */
	uint64_t received_us, started_us, first_us; /* 0: not yet */
};

/* Fills s, which has no sequence of the model yet: place_take() gives it one.  Negative: refused,
 * s holds nothing. */
SHOAL_CHECK int seq_start(
	struct seq *s, struct model *m, const struct engine_msg *generate, uint64_t now_us, struct refusal *ret);
/* The job has ended: only what the model holds is kept, unless the job or the model forbids. */
void seq_end(struct seq *s, struct model *m, uint64_t now);
/* What the model holds is of no use, or its place is needed. */
void seq_drop(struct seq *s, struct model *m);
/* Frees all but what the model holds; s->number stays. */
void seq_fini(struct seq *s);
/* Tokens of the answer so far, those of earlier attempts included. */
size_t seq_n_answer(const struct seq *s);
/* Tokens the model had to compute before the first new one. */
size_t seq_n_brought(const struct seq *s);
/* True when the model waits for one token only, the last one drawn. */
bool seq_is_generating(const struct seq *s);
/* The finish the answer has reached by its length, or because its grammar has nothing more to
 * come, else FINISH_NONE. */
enum finish seq_finish_reached(const struct seq *s, size_t n_ctx);
/* Draws the next token after rows[i] of the last step, and takes it in.  *ret_finish says
 * whether the answer ends with it.  ERR_RANGE: the grammar and the model do not get on. */
SHOAL_CHECK int seq_draw(struct seq *s, struct model *m, size_t i, enum finish *ret_finish);
/* Queues what may be shown, if anything. */
SHOAL_CHECK int seq_show(struct seq *s, struct link *l);
/* Queues what is left and DONE. */
SHOAL_CHECK int seq_finish(struct seq *s, struct link *l, enum finish finish, uint64_t now_us);

#endif
