#include <stdlib.h>

#include "journal.h"

struct journal_null {
	struct journal base;
	void (*safe)(void *ctx, uint64_t seq);
	void *ctx;
};

static int null_write(struct journal *j, const struct hub_action *persist)
{
	struct journal_null *n = (struct journal_null *)j;

	n->safe(n->ctx, persist->persist.seq);
	return 0;
}

static int null_restore(
	struct journal *j, void (*each)(void *ctx, const struct hub_record *r), void *ctx, uint64_t *ret_last)
{
	(void)j, (void)each, (void)ctx;
	*ret_last = 0;
	return 0;
}

static void null_stats(struct journal *j, struct journal_stats *ret)
{
	(void)j;
	*ret = (struct journal_stats){ 0 };
}

static void null_drain(struct journal *j, uint64_t timeout_ms)
{
	(void)j, (void)timeout_ms;
}

static void null_free(struct journal *j)
{
	free(j);
}

int journal_null_new(void (*safe)(void *ctx, uint64_t seq), void *ctx, struct journal **ret)
{
	struct journal_null *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return ERR_NOMEM;
	*n = (struct journal_null){
		.base = { .write = null_write,
			.restore = null_restore,
			.stats = null_stats,
			.drain = null_drain,
			.free = null_free },
		.safe = safe,
		.ctx = ctx,
	};
	*ret = &n->base;
	return 0;
}
