#include "logprob.h"

#include <stdlib.h>

#include "wire.h"

#define ANY UINT64_MAX

#define T struct alternative
static const struct msg_field alternative_fields[] = {
	MSG_F_UINT(T, id, 1, MSG_REQ, UINT32_MAX),
	MSG_F_REAL(T, logprob, 2, MSG_REQ),
	MSG_F_BYTES(T, piece, 3, MSG_REQ, LOGPROB_MAX_PIECE),
};
#undef T
const struct msg_type alternative_type = MSG_TYPE("alternative", struct alternative, alternative_fields);

#define T struct token_prob
static const struct msg_field token_prob_fields[] = {
	MSG_F_UINT(T, id, 1, MSG_REQ, UINT32_MAX),
	MSG_F_REAL(T, logprob, 2, MSG_REQ),
	MSG_F_BYTES(T, piece, 3, MSG_REQ, LOGPROB_MAX_PIECE),
	MSG_F_SUBS(T, top, struct alternative, 4, 0, LOGPROB_MAX_TOP, &alternative_type),
};
#undef T
const struct msg_type token_prob_type = MSG_TYPE("token-prob", struct token_prob, token_prob_fields);

#define T struct logprob
#define PROB_FIELDS                                                                                                         \
	MSG_F_TEXT(T, token, 1, MSG_REQ, 3 * LOGPROB_MAX_PIECE), MSG_F_UINT(T, id, 2, MSG_REQ, UINT32_MAX),                 \
		MSG_F_REAL(T, logprob, 3, MSG_REQ), MSG_F_UINTS(T, bytes, 4, MSG_REQ, LOGPROB_MAX_PIECE)
static const struct msg_field top_logprob_fields[] = { PROB_FIELDS };
const struct msg_type top_logprob_type = MSG_TYPE("top-logprob", T, top_logprob_fields);
static const struct msg_field logprob_fields[] = {
	PROB_FIELDS,
	MSG_F_SUBS(T, top_logprobs, struct logprob, 5, MSG_REQ, LOGPROB_MAX_TOP, &top_logprob_type),
};
#undef T
const struct msg_type logprob_type = MSG_TYPE("logprob", struct logprob, logprob_fields);

/* The next item's bytes; false at the end or at a fault. */
static bool next_item(struct wire_in *in, struct span *ret)
{
	const uint8_t *begin = in->p;

	if (in->err != 0 || in->p == in->end)
		return false;
	wire_skip(in, 0);
	*ret = span_mem(begin, (size_t)(in->p - begin));
	return in->err == 0;
}

int logprob_count(struct span sequence, size_t *ret)
{
	struct wire_in in = wire_in(sequence);
	struct span item;
	size_t n = 0;

	while (next_item(&in, &item))
		n++;
	if (in.err != 0)
		return ERR_MALFORMED;
	*ret = n;
	return 0;
}

/* ---- documents ---- */

static int to_doc(struct arena *a, uint64_t id, double logprob, struct span piece, struct logprob *ret)
{
	uint32_t *bytes = arena_alloc(a, piece.n, sizeof(*bytes));
	char *text = arena_alloc(a, 3 * piece.n, 1);
	struct buf token = { .p = (uint8_t *)text, .cap = 3 * piece.n, .max = 3 * piece.n };

	if (piece.n > 0 && (bytes == NULL || text == NULL))
		return ERR_NOMEM;
	for (size_t i = 0; i < piece.n; i++)
		bytes[i] = (uint8_t)piece.p[i];
	buf_add_utf8(&token, piece);
	*ret = (struct logprob){
		.token = buf_span(&token), .id = id, .logprob = logprob, .bytes = bytes, .n_bytes = piece.n
	};
	return 0;
}

static int read_item(struct arena *a, struct span item, struct logprob *ret)
{
	union {
		struct alternative aligned;
		uint8_t bytes[2 * sizeof(struct token_prob) + (LOGPROB_MAX_TOP + 1) * sizeof(struct alternative)];
	} room;
	struct arena lists = { .p = room.bytes, .cap = sizeof(room) };
	struct token_prob p;
	struct logprob *top;
	int rc = msg_decode(&token_prob_type, item, MSG_KEYS_INT, &lists, &p, NULL);

	if (rc < 0)
		return rc;
	rc = to_doc(a, p.id, p.logprob, p.piece, ret);
	top = arena_alloc(a, p.n_top, sizeof(*top));
	if (rc == 0 && p.n_top > 0 && top == NULL)
		rc = ERR_NOMEM;
	for (size_t i = 0; rc == 0 && i < p.n_top; i++)
		rc = to_doc(a, p.top[i].id, p.top[i].logprob, p.top[i].piece, &top[i]);
	ret->top_logprobs = top;
	ret->n_top_logprobs = p.n_top;
	return rc;
}

int logprobs_read(struct span sequence, struct logprobs *ret)
{
	/* A token takes 15 bytes and those of its piece here, and 120 and seven times its piece there. */
	struct arena a = { .cap = 9 * sequence.n + 1024 };
	struct wire_in in = wire_in(sequence);
	struct logprob *items;
	struct span item;
	size_t n = 0;
	int rc = logprob_count(sequence, &n);

	if (rc < 0)
		return rc;
	a.p = malloc(a.cap);
	items = a.p != NULL ? arena_alloc(&a, n, sizeof(*items)) : NULL;
	if (a.p == NULL || (n > 0 && items == NULL))
		rc = ERR_NOMEM;
	for (size_t i = 0; rc == 0 && next_item(&in, &item); i++)
		rc = read_item(&a, item, &items[i]);
	if (rc < 0) {
		free(a.p);
		return rc;
	}
	*ret = (struct logprobs){ .mem = a.p, .items = items, .n_items = n };
	return 0;
}

void logprobs_fini(struct logprobs *l)
{
	free(l->mem);
	*l = (struct logprobs){ .n_items = 0 };
}
