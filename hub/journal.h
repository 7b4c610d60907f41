/* journal.h - where the hub writes down what it must not forget.
 *
 * The core says what to keep (HUB_ACT_PERSIST) and goes on when it is told that it is
 * kept.  Writing is asynchronous: entries are taken in order, and `safe(seq)` tells that
 * everything up to seq will survive a crash; it may come from inside journal_write().
 * Each way of keeping is one file with one constructor; the rest of the hub sees only
 * this interface. */
#ifndef HUB_JOURNAL_H
#define HUB_JOURNAL_H

#include "hub.h"

struct journal {
	/* Takes an entry; its spans are lent for the call. */
	int (*write)(struct journal *j, const struct hub_action *persist);
	void (*free)(struct journal *j);
};

/* Keeps nothing: everything is at once as safe as it gets.  Jobs do not outlive the hub. */
int journal_null_new(void (*safe)(void *ctx, uint64_t seq), void *ctx, struct journal **ret);

#endif
