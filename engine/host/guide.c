#include "guide.h"

#include <stdlib.h>

#define PIECE_MAX 65536

struct guide {
	struct gbnf *gbnf;
	struct buf piece; /* of a token */
	uint8_t *allowed;
	size_t n_allowed;
};

int guide_new(struct span grammar, const struct model *m, struct buf *why, struct guide **ret)
{
	struct guide *g = calloc(1, sizeof(*g));
	int rc = ERR_NOMEM;

	if (g == NULL)
		return rc;
	g->piece = BUF_INIT(PIECE_MAX);
	g->n_allowed = model_n_tokens(m);
	g->allowed = calloc(g->n_allowed, 1);
	if (g->allowed != NULL)
		rc = gbnf_new(grammar, why, &g->gbnf);
	if (rc < 0) {
		guide_free(g);
		return rc;
	}
	*ret = g;
	return 0;
}

struct guide *guide_free(struct guide *g)
{
	if (g == NULL)
		return NULL;
	gbnf_free(g->gbnf);
	buf_fini(&g->piece);
	free(g->allowed);
	free(g);
	return NULL;
}

static struct span piece_of(struct guide *g, const struct model *m, uint32_t id)
{
	buf_reset(&g->piece);
	model_piece(m, id, &g->piece);
	return g->piece.err == 0 ? buf_span(&g->piece) : SPAN_NONE;
}

static int fits(struct guide *g, const struct model *m, uint32_t id)
{
	if (model_is_end(m, id))
		return gbnf_may_end(g->gbnf);
	return gbnf_fits(g->gbnf, piece_of(g, m, id));
}

int guide_fits(struct guide *g, const struct model *m, uint32_t id)
{
	gbnf_begin(g->gbnf);
	return fits(g, m, id);
}

int guide_allowed(struct guide *g, const struct model *m, bool with_ends, const uint8_t **ret)
{
	int any = 0;

	gbnf_begin(g->gbnf);
	for (uint32_t id = 0; id < g->n_allowed; id++) {
		int rc = !with_ends && model_is_end(m, id) ? 0 : fits(g, m, id);

		if (rc < 0)
			return rc;
		g->allowed[id] = (uint8_t)rc;
		any |= rc;
	}
	*ret = g->allowed;
	return any;
}

int guide_accept(struct guide *g, const struct model *m, uint32_t id)
{
	gbnf_begin(g->gbnf);
	return gbnf_accept(g->gbnf, piece_of(g, m, id));
}

bool guide_may_end(const struct guide *g)
{
	return gbnf_may_end(g->gbnf);
}

bool guide_must_end(const struct guide *g)
{
	return gbnf_must_end(g->gbnf);
}
