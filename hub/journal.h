/* journal.h - where the hub writes down what it must not forget.
 *
 * The core says what to keep (HUB_ACT_PERSIST) and goes on when it is told that it is
 * kept.  Writing is asynchronous: entries are taken in order, and `safe(seq)` tells that
 * everything up to seq will survive a crash; it may come from inside journal_write().
 * Each way of keeping is one file with one constructor; the rest of the hub sees only
 * this interface.
 *
 * Threads: everything here is called, and calls back, on the loop's thread. */
#ifndef HUB_JOURNAL_H
#define HUB_JOURNAL_H

#include "hub.h"
#include "loop.h"

struct journal_events {
	void (*safe)(void *ctx, uint64_t seq);
	/* An entry SUBMIT was not taken: its user had used its id before.  end: how that job ended, as a record
	 * END; without a body when that is no longer known. */
	void (*known)(void *ctx, struct span job, const struct hub_record *end);
	void (*full)(void *ctx, bool is_full); /* no room for new jobs, or there is again */
};

struct journal_stats {
	uint64_t commits, records, bytes; /* bytes: of records */
	uint64_t last_us, max_us;         /* a commit took */
	uint64_t waiting, waiting_bytes;  /* entries not safe yet */
	uint64_t failures;                /* commits that had to be tried again */
	uint64_t jobs, keys;              /* ended ones; ids remembered */
	uint64_t file_bytes;
	bool is_full;
	char set_aside[256]; /* where a damaged file went at the start; empty: it was sound */
};

struct journal {
	/* Takes an entry; its spans are lent for the call. */
	int (*write)(struct journal *j, const struct hub_action *persist);
	/* Before the first write(): gives what was kept, in order.  *ret_last: the highest number of a job there ever was. */
	int (*restore)(struct journal *j, void (*each)(void *ctx, const struct hub_record *r), void *ctx, uint64_t *ret_last);
	void (*stats)(struct journal *j, struct journal_stats *ret);
	/* Waits until all that was taken is safe, or until then. */
	void (*drain)(struct journal *j, uint64_t timeout_ms);
	void (*free)(struct journal *j); /* what was taken is written first, if it can be */
	bool takes_notes;                /* an entry with .note outlives the hub when write() returns */
};

/* Keeps nothing: everything is at once as safe as it gets.  Jobs do not outlive the hub. */
int journal_null_new(void (*safe)(void *ctx, uint64_t seq), void *ctx, struct journal **ret);

struct journal_options {
	char *file;              /* lent */
	uint64_t commit_ms;      /* an entry waits at most so long for others to be committed with it; 0: not at all */
	uint64_t commit_records; /* entries of one commit at most */
	uint64_t max_waiting;    /* bytes of entries not safe yet; with more it is as good as full */
	uint64_t reserve;        /* bytes of disk kept for the jobs that run when it gets full */
	uint64_t keep_ms, keep_jobs; /* ended jobs */
	uint64_t key_ms, max_keys;   /* ids of clients */
	uint64_t restore_max;        /* ended jobs given back by restore() */
};

/* On SQLite, in a thread of its own.  On failure err holds one sentence. */
int journal_sqlite_new(struct loop *l, const struct journal_options *o, const struct journal_events *on, void *ctx, char *err,
	size_t err_size, struct journal **ret);
/* The same, with notes in a file beside it, if it can be made. */
int journal_notes_new(struct loop *l, const struct journal_options *o, const struct journal_events *on, void *ctx, char *err,
	size_t err_size, struct journal **ret);

#endif
