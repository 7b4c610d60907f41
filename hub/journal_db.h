/* journal_db.h - the journal's file: tables, what goes in, what comes out.
 *
 * One thread at a time.  journal_db.c is the only file of the writing side that knows SQLite. */
#ifndef HUB_JOURNAL_DB_H
#define HUB_JOURNAL_DB_H

#include "journal.h"

#define JOURNAL_DB_VERSION 1

struct journal_db;

struct db_time { /* on both clocks: one jumps, the other ends with the machine */
	uint64_t wall_ms, clock_ms;
};
struct db_time db_now(void);

struct db_entry {
	struct hub_record record;
	struct db_time at;
};

struct db_counts {
	uint64_t jobs, keys, last_number;
};

/* Opens or makes the file.  One that is damaged is set aside under the name in set_aside and a new one is begun; one of a
 * newer version is refused.  options are lent for the file's life. */
SHOAL_CHECK int db_open(
	const struct journal_options *o, char *set_aside, size_t size, char *err, size_t err_size, struct journal_db **ret);
struct journal_db *db_close(struct journal_db *db);

SHOAL_CHECK int db_restore(struct journal_db *db, void (*each)(void *ctx, const struct hub_record *r), void *ctx);
struct db_counts db_counts(const struct journal_db *db);

/* A commit: begin, put what belongs together, commit; after any error roll back.  ERR_FULL: there is no room; others are
 * as bad for this commit and may pass. */
SHOAL_CHECK int db_begin(struct journal_db *db);
/* *ret_known: the entry is a job whose id was used before and was left out; ret_end is what is known of that job (for the
 * caller to free; empty: nothing). */
SHOAL_CHECK int db_put(struct journal_db *db, const struct db_entry *e, bool *ret_known, struct span *ret_end);
/* Forgets a little of what is too old or too much. */
SHOAL_CHECK int db_prune(struct journal_db *db);
SHOAL_CHECK int db_commit(struct journal_db *db);
void db_rollback(struct journal_db *db);
const char *db_error(const struct journal_db *db); /* of the last call that failed */

#endif
