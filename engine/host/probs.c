#include "probs.h"

#include "likely.h"

#define PIECE_MAX 65536 /* bytes of a token */
#define ITEMS_MAX ((size_t)1 << 20)

/* Appends the bytes of a token, as many as are told; returns how many. */
static size_t add_piece(const struct model *m, uint32_t id, struct buf *out)
{
	size_t begin = out->n;

	model_piece(m, id, out);
	if (out->n > begin + LOGPROB_MAX_PIECE)
		out->n = begin + LOGPROB_MAX_PIECE;
	return out->n - begin;
}

/* The texts of all tokens are in one buffer, which may move while it grows: only then they are lent. */
static int add_item(struct probs *p, const struct model *m, struct token_prob *token, struct alternative *top)
{
	struct buf pieces = BUF_INIT((LOGPROB_MAX_TOP + 1) * (LOGPROB_MAX_PIECE + PIECE_MAX));
	size_t at;
	int rc;

	token->piece.n = add_piece(m, (uint32_t)token->id, &pieces);
	for (size_t k = 0; k < token->n_top; k++)
		top[k].piece.n = add_piece(m, (uint32_t)top[k].id, &pieces);
	token->piece.p = (const char *)pieces.p;
	at = token->piece.n;
	for (size_t k = 0; k < token->n_top; at += top[k++].piece.n)
		top[k].piece.p = (const char *)pieces.p + at;
	token->top = top;
	rc = pieces.err != 0 ? pieces.err : msg_encode(&token_prob_type, token, MSG_KEYS_INT, &p->items);
	buf_fini(&pieces);
	return rc;
}

int probs_add(struct probs *p, struct model *m, size_t i, uint32_t id, size_t n_top)
{
	struct candidate likeliest[LOGPROB_MAX_TOP];
	struct alternative top[LOGPROB_MAX_TOP] = { 0 };
	struct token_prob token = { .id = id };
	size_t n;
	const float *logits = model_logits(m, i, &n);
	double norm = likely_norm(logits, n);
	uint32_t end;
	int rc;

	p->items.max = p->ends.max = ITEMS_MAX;
	if (p->items.n > PROBS_PENDING_MAX)
		n_top = 0;
	token.logprob = likely_log(logits[id], norm);
	token.n_top = likely_top(logits, n, likeliest, n_top < LOGPROB_MAX_TOP ? n_top : LOGPROB_MAX_TOP);
	for (size_t k = 0; k < token.n_top; k++)
		top[k] = (struct alternative){ .id = likeliest[k].id, .logprob = likely_log(likeliest[k].logit, norm) };
	rc = add_item(p, m, &token, top);
	end = (uint32_t)p->items.n;
	buf_add(&p->ends, &end, sizeof(end));
	return rc < 0 ? ERR_NOMEM : p->ends.err != 0 ? ERR_NOMEM : 0;
}

static uint32_t end_of(const struct probs *p, size_t i)
{
	uint32_t end;

	memcpy(&end, p->ends.p + i * sizeof(end), sizeof(end));
	return end;
}

struct span probs_of(const struct probs *p, size_t n)
{
	return n > 0 ? span_mem(p->items.p, end_of(p, n - 1)) : SPAN_NONE;
}

/* The ends that stay are counted from the new beginning. */
void probs_drop(struct probs *p, size_t n)
{
	uint32_t gone = n > 0 ? end_of(p, n - 1) : 0;

	buf_consume(&p->items, gone);
	buf_consume(&p->ends, n * sizeof(uint32_t));
	for (size_t i = 0; i < p->ends.n / sizeof(uint32_t); i++) {
		uint32_t end = end_of(p, i) - gone;

		memcpy(p->ends.p + i * sizeof(end), &end, sizeof(end));
	}
}

void probs_fini(struct probs *p)
{
	buf_fini(&p->items);
	buf_fini(&p->ends);
}
