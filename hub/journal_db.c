#include "journal_db.h"

#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"

#define PRUNE_AT_ONCE 256
#define PRUNE_EVERY_MS 1000
#define APPLICATION_ID 0x73686f61 /* "shoa": what `file` sees */

/* A job's row has what is asked for; its blobs are records (record.h).  While it lives, its records but the first are in
 * `part`, by job and order; with its end they go.  Ids of clients outlive the jobs they named.  `untold` has the ends
 * that no broker has acknowledged. */
static const char schema[] =
	"CREATE TABLE job (n INTEGER PRIMARY KEY, id TEXT NOT NULL, user TEXT NOT NULL, state INTEGER NOT NULL,"
	" submitted INTEGER NOT NULL, ended INTEGER, clock INTEGER NOT NULL, boot INTEGER NOT NULL, submit BLOB, end BLOB);"
	"CREATE INDEX job_live ON job (n) WHERE ended IS NULL;"
	"CREATE INDEX job_ended ON job (ended) WHERE ended IS NOT NULL;"
	"CREATE INDEX job_id ON job (id) WHERE ended IS NOT NULL;"
	"CREATE TABLE part (job INTEGER, seq INTEGER, kind INTEGER NOT NULL, attempt INTEGER NOT NULL, body BLOB NOT NULL,"
	" PRIMARY KEY (job, seq)) WITHOUT ROWID;"
	"CREATE TABLE untold (n INTEGER PRIMARY KEY);"
	"CREATE TABLE key (n INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, wall INTEGER NOT NULL, clock INTEGER NOT NULL,"
	" boot INTEGER NOT NULL);"
	"CREATE TABLE value (kind INTEGER, name BLOB, body BLOB NOT NULL, wall INTEGER NOT NULL, clock INTEGER NOT NULL,"
	" boot INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;";

#define STATEMENT_LIST(X)                                                                                                   \
	X(BEGIN, "BEGIN IMMEDIATE")                                                                                         \
	X(COMMIT, "COMMIT")                                                                                                 \
	X(ROLLBACK, "ROLLBACK")                                                                                             \
	X(SUBMIT, "INSERT INTO job (n, id, user, state, submitted, clock, boot, submit) VALUES (?, ?, ?, 0, ?, ?, ?, ?)")   \
	X(KEY, "INSERT OR IGNORE INTO key (n, name, wall, clock, boot) VALUES (?, ?, ?, ?, ?)")                             \
	X(KEY_FIND, "SELECT n, wall, clock, boot FROM key WHERE name = ?")                                                  \
	X(KEY_DROP, "DELETE FROM key WHERE name = ?")                                                                       \
	X(END_OF, "SELECT end FROM job WHERE n = ?")                                                                        \
	X(PART, "INSERT INTO part (job, seq, kind, attempt, body) VALUES (?, ?, ?, ?, ?)")                                  \
	X(END, "UPDATE job SET state = ?, ended = ?, clock = ?, boot = ?, submit = NULL, end = ? WHERE n = ?")              \
	X(PARTS_DROP, "DELETE FROM part WHERE job = ?")                                                                     \
	X(UNTOLD, "INSERT OR IGNORE INTO untold (n) VALUES (?)")                                                            \
	X(TOLD, "DELETE FROM untold WHERE n = ?")                                                                           \
	X(VALUE, "INSERT OR REPLACE INTO value (kind, name, body, wall, clock, boot) VALUES (?, ?, ?, ?, ?, ?)")            \
	X(VALUE_DROP, "DELETE FROM value WHERE kind = ? AND name = ?")                                                      \
	X(PRUNE_COUNT, "DELETE FROM job WHERE n IN (SELECT n FROM job WHERE ended IS NOT NULL ORDER BY ended LIMIT ?)")     \
	X(PRUNE_AGE, "DELETE FROM job WHERE n IN (SELECT n FROM job WHERE ended IS NOT NULL AND ended < ?1 AND"             \
		     " (boot != ?2 OR clock < ?3) ORDER BY ended LIMIT ?4)")                                                \
	X(KEYS_COUNT, "DELETE FROM key WHERE n IN (SELECT n FROM key ORDER BY n LIMIT ?)")                                  \
	X(KEYS_AGE, "DELETE FROM key WHERE n IN (SELECT n FROM key ORDER BY n LIMIT ?4) AND wall < ?1 AND"                  \
		    " (boot != ?2 OR clock < ?3)")

enum statement {
#define X(name, sql) S_##name,
	STATEMENT_LIST(X)
#undef X
		S_COUNT
};
static const char *const sql_of[] = {
#define X(name, sql) sql,
	STATEMENT_LIST(X)
#undef X
};

struct journal_db {
	const struct journal_options *options;
	sqlite3 *db;
	sqlite3_stmt *st[S_COUNT];
	int64_t boot, next_part;
	struct db_counts counts, before; /* before: as of the last commit */
	uint64_t pruned_ms;
	bool is_open; /* a transaction */
	char error[256];
};

/* ---- time ---- */

struct db_time db_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (struct db_time){ (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000, clock_ms() };
}

/* A number of this run of the machine; 0: not known, and then like no other. */
static int64_t boot_number(void)
{
	char id[40] = "", hex[17] = "";
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	size_t n = 0;

	if (f == NULL)
		return 0;
	if (fgets(id, sizeof(id), f) == NULL)
		id[0] = '\0';
	(void)fclose(f);
	for (const char *p = id; *p != '\0' && n < 16; p++)
		if (*p != '-')
			hex[n++] = *p;
	return (int64_t)(strtoull(hex, NULL, 16) >> 1);
}

static uint64_t later(uint64_t now, int64_t then)
{
	return then >= 0 && now > (uint64_t)then ? now - (uint64_t)then : 0;
}

static uint64_t age_ms(const struct journal_db *db, struct db_time now, int64_t wall, int64_t clock, int64_t boot)
{
	return boot != 0 && boot == db->boot ? later(now.clock_ms, clock) : later(now.wall_ms, wall);
}

/* ---- statements ---- */

static int failed(struct journal_db *db, int rc)
{
	int primary = rc & 0xff;

	(void)snprintf(db->error, sizeof(db->error), "%s", sqlite3_errmsg(db->db));
	return primary == SQLITE_FULL || primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN ? ERR_FULL : ERR_STATE;
}

static void bind_uint(sqlite3_stmt *st, int at, uint64_t v)
{
	(void)sqlite3_bind_int64(st, at, (int64_t)v); /* fails only where the statement has no such place */
}

static void bind_text(sqlite3_stmt *st, int at, struct span s)
{
	(void)sqlite3_bind_text(st, at, s.p != NULL ? s.p : "", (int)s.n, SQLITE_STATIC);
}

static void bind_blob(sqlite3_stmt *st, int at, struct span s)
{
	(void)sqlite3_bind_blob(st, at, s.p != NULL ? s.p : "", (int)s.n, SQLITE_STATIC);
}

static struct span column(sqlite3_stmt *st, int at)
{
	const void *p = sqlite3_column_blob(st, at);

	return span_mem(p, (size_t)sqlite3_column_bytes(st, at));
}

static sqlite3_stmt *fresh(struct journal_db *db, enum statement s)
{
	(void)sqlite3_reset(db->st[s]);
	return db->st[s];
}

/* Runs one that gives no rows. */
static int run(struct journal_db *db, enum statement s)
{
	int rc = sqlite3_step(db->st[s]);

	(void)sqlite3_reset(db->st[s]);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : failed(db, rc);
}

static int run_of(struct journal_db *db, enum statement s, uint64_t n)
{
	bind_uint(fresh(db, s), 1, n);
	return run(db, s);
}

static int execute(struct journal_db *db, const char *sql)
{
	int rc = sqlite3_exec(db->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : failed(db, rc);
}

static int64_t number(struct journal_db *db, const char *sql, int64_t otherwise)
{
	sqlite3_stmt *st;
	int64_t v = otherwise;

	if (sqlite3_prepare_v2(db->db, sql, -1, &st, NULL) != SQLITE_OK)
		return otherwise;
	if (sqlite3_step(st) == SQLITE_ROW && sqlite3_column_type(st, 0) == SQLITE_INTEGER)
		v = sqlite3_column_int64(st, 0);
	(void)sqlite3_finalize(st);
	return v;
}

/* ---- opening ---- */

static bool is_sound(struct journal_db *db)
{
	sqlite3_stmt *st;
	bool is_ok = false;

	if (sqlite3_prepare_v2(db->db, "PRAGMA quick_check(1)", -1, &st, NULL) != SQLITE_OK) {
		(void)failed(db, SQLITE_CORRUPT);
		return false;
	}
	if (sqlite3_step(st) == SQLITE_ROW)
		is_ok = span_is(column(st, 0), "ok");
	if (!is_ok)
		(void)snprintf(db->error, sizeof(db->error), "it does not pass its check");
	(void)sqlite3_finalize(st);
	return is_ok;
}

/* How this version makes the tables of an older one its own: a step for each version, in one transaction. */
static int migrate(struct journal_db *db, int64_t version)
{
	char sql[64];
	int rc = execute(db, "BEGIN IMMEDIATE");

	if (rc == 0 && version < 1)
		rc = execute(db, schema);
	(void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", JOURNAL_DB_VERSION);
	if (rc == 0)
		rc = execute(db, sql);
	if (rc == 0)
		rc = execute(db, "COMMIT");
	if (rc < 0)
		(void)sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

/* ERR_MALFORMED: the file is damaged; other errors: it may be fine, but cannot be used. */
static int open_file(struct journal_db *db, char *err, size_t err_size)
{
	const char *file = db->options->file;
	char sql[64];
	int64_t version;
	int rc = sqlite3_open_v2(file, &db->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc != SQLITE_OK) {
		(void)snprintf(err, err_size, "%s: the journal cannot be opened: %s", file, sqlite3_errmsg(db->db));
		return ERR_STATE;
	}
	(void)sqlite3_busy_timeout(db->db, 2000);
	rc = sqlite3_exec(db->db,
		"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216", NULL, NULL,
		NULL);
	if ((rc & 0xff) == SQLITE_NOTADB || (rc & 0xff) == SQLITE_CORRUPT || (rc == SQLITE_OK && !is_sound(db)))
		return ERR_MALFORMED;
	if (rc != SQLITE_OK) {
		(void)snprintf(err, err_size, "%s: the journal cannot be written: %s", file, sqlite3_errmsg(db->db));
		return ERR_STATE;
	}
	version = number(db, "PRAGMA user_version", 0);
	if (version > JOURNAL_DB_VERSION) {
		(void)snprintf(err, err_size,
			"%s was written by a newer shoal-hub (format %lld, this one knows %d): start that one, or move the "
			"file away "
			"to begin without its jobs",
			file, (long long)version, JOURNAL_DB_VERSION);
		return ERR_STATE;
	}
	if (version < JOURNAL_DB_VERSION && migrate(db, version) < 0) {
		(void)snprintf(err, err_size, "%s: the journal's tables cannot be made: %s", file, db->error);
		return ERR_STATE;
	}
	(void)snprintf(sql, sizeof(sql), "PRAGMA application_id = %d", APPLICATION_ID);
	return execute(db, sql) == 0 ? 0 : ERR_STATE;
}

static int prepare(struct journal_db *db)
{
	for (size_t i = 0; i < S_COUNT; i++) {
		int rc = sqlite3_prepare_v3(db->db, sql_of[i], -1, SQLITE_PREPARE_PERSISTENT, &db->st[i], NULL);

		if (rc != SQLITE_OK)
			return failed(db, rc);
	}
	return 0;
}

static void load_counts(struct journal_db *db)
{
	int64_t last = number(db, "SELECT max(n) FROM job", 0), last_key = number(db, "SELECT max(n) FROM key", 0);

	db->counts = (struct db_counts){
		.jobs = (uint64_t)number(db, "SELECT count(*) FROM job WHERE ended IS NOT NULL", 0),
		.keys = (uint64_t)number(db, "SELECT count(*) FROM key", 0),
		.last_number = (uint64_t)(last > last_key ? last : last_key),
	};
	db->before = db->counts;
	db->next_part = number(db, "SELECT max(seq) FROM part", 0) + 1;
}

static void close_file(struct journal_db *db)
{
	for (size_t i = 0; i < S_COUNT; i++) {
		(void)sqlite3_finalize(db->st[i]);
		db->st[i] = NULL;
	}
	(void)sqlite3_close(db->db);
	db->db = NULL;
}

static int set_aside(const struct journal_db *db, char *ret, size_t size)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	char from[PATH_MAX], to[PATH_MAX], date[32];
	time_t now = time(NULL);
	struct tm tm;

	if (gmtime_r(&now, &tm) == NULL || strftime(date, sizeof(date), "%Y%m%dT%H%M%SZ", &tm) == 0)
		return ERR_STATE;
	if ((size_t)snprintf(ret, size, "%s.damaged-%s", db->options->file, date) >= size)
		return ERR_TOOBIG;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		if ((size_t)snprintf(from, sizeof(from), "%s%s", db->options->file, suffixes[i]) >= sizeof(from) ||
			(size_t)snprintf(to, sizeof(to), "%s%s", ret, suffixes[i]) >= sizeof(to))
			return ERR_TOOBIG;
		if (rename(from, to) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

int db_open(const struct journal_options *o, char *aside, size_t size, char *err, size_t err_size, struct journal_db **ret)
{
	struct journal_db *db = calloc(1, sizeof(*db));
	int rc;

	aside[0] = '\0';
	(void)snprintf(err, err_size, "out of memory");
	if (db == NULL)
		return ERR_NOMEM;
	db->options = o;
	db->boot = boot_number();
	rc = open_file(db, err, err_size);
	if (rc == ERR_MALFORMED) {
		close_file(db);
		rc = set_aside(db, aside, size);
		if (rc < 0)
			(void)snprintf(err, err_size, "%s is damaged (%s) and cannot be moved away: %s", o->file, db->error,
				rc > -1000 ? strerror(-rc) : err_text(rc));
		else
			rc = open_file(db, err, err_size);
	}
	if (rc == 0 && (rc = prepare(db)) < 0)
		(void)snprintf(err, err_size, "%s: the journal cannot be used: %s", o->file, db->error);
	if (rc < 0) {
		db_close(db);
		return rc;
	}
	load_counts(db);
	*ret = db;
	return 0;
}

struct journal_db *db_close(struct journal_db *db)
{
	if (db == NULL)
		return NULL;
	close_file(db);
	free(db);
	return NULL;
}

struct db_counts db_counts(const struct journal_db *db)
{
	return db->counts;
}

const char *db_error(const struct journal_db *db)
{
	return db->error;
}

/* ---- what comes out ---- */

struct restoring {
	struct journal_db *db;
	struct db_time now;
	void (*each)(void *ctx, const struct hub_record *r);
	void *ctx;
};

static int each_row(struct restoring *r, const char *sql, uint64_t arg, int (*row)(struct restoring *r, sqlite3_stmt *st))
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(r->db->db, sql, -1, &st, NULL), result = 0;

	if (rc != SQLITE_OK)
		return failed(r->db, rc);
	if (sqlite3_bind_parameter_count(st) > 0)
		bind_uint(st, 1, arg);
	while (result == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW)
		result = row(r, st);
	if (result == 0 && rc != SQLITE_DONE)
		result = failed(r->db, rc);
	(void)sqlite3_finalize(st);
	return result;
}

static uint64_t row_age(struct restoring *r, sqlite3_stmt *st, int at)
{
	return age_ms(r->db, r->now, sqlite3_column_int64(st, at), sqlite3_column_int64(st, at + 1),
		sqlite3_column_int64(st, at + 2));
}

/* name, kind, body, attempt, number, then the three columns of a time */
static int record_row(struct restoring *r, sqlite3_stmt *st)
{
	struct hub_record record = {
		.job = column(st, 0),
		.kind = (enum hub_persist_kind)sqlite3_column_int(st, 1),
		.body = column(st, 2),
		.attempt = (uint64_t)sqlite3_column_int64(st, 3),
		.number = (uint64_t)sqlite3_column_int64(st, 4),
		.age_ms = row_age(r, st, 5),
	};

	r->each(r->ctx, &record);
	return 0;
}

int db_restore(struct journal_db *db, void (*each)(void *ctx, const struct hub_record *r), void *ctx)
{
	struct restoring r = { .db = db, .now = db_now(), .each = each, .ctx = ctx };
	int rc = execute(db, "BEGIN; DELETE FROM part WHERE job NOT IN (SELECT n FROM job WHERE ended IS NULL);"
			     "DELETE FROM untold WHERE n NOT IN (SELECT n FROM job WHERE ended IS NOT NULL); COMMIT");

	if (rc < 0)
		(void)sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL); /* a full disk: it only looks untidy */
	/* A clean part is of no job: its beginning was not taken. */
	rc = each_row(&r,
		"SELECT id, 2, end, 0, n, ended, clock, boot FROM (SELECT * FROM job WHERE ended IS NOT NULL ORDER BY ended "
		"DESC"
		" LIMIT ?) ORDER BY ended",
		db->options->restore_max, record_row);
	if (rc == 0)
		rc = each_row(&r,
			"SELECT job.id, 5, NULL, 0, job.n, ended, clock, boot FROM job WHERE ended IS NOT NULL AND n NOT IN "
			"(SELECT n"
			" FROM untold)",
			0, record_row);
	if (rc == 0)
		rc = each_row(&r,
			"SELECT id, 0, submit, 0, n, submitted, clock, boot FROM job WHERE ended IS NULL AND submit IS NOT "
			"NULL ORDER BY n",
			0, record_row);
	if (rc == 0)
		rc = each_row(&r,
			"SELECT id, kind, body, attempt, n, submitted, clock, boot FROM part, job WHERE part.job = job.n "
			"AND ended IS"
			" NULL ORDER BY part.job, seq",
			0, record_row);
	if (rc == 0)
		rc = each_row(&r, "SELECT name, kind, body, 0, 0, wall, clock, boot FROM value", 0, record_row);
	return rc;
}

/* ---- what goes in ---- */

int db_begin(struct journal_db *db)
{
	int rc = run(db, S_BEGIN);

	db->is_open = rc == 0;
	return rc;
}

int db_commit(struct journal_db *db)
{
	int rc = run(db, S_COMMIT);

	if (rc < 0)
		return rc;
	db->is_open = false;
	db->before = db->counts;
	return 0;
}

void db_rollback(struct journal_db *db)
{
	char error[sizeof(db->error)];

	memcpy(error, db->error, sizeof(error));
	if (db->is_open)
		(void)run(db, S_ROLLBACK); /* a full disk has done so already */
	db->is_open = false;
	db->counts = db->before;
	memcpy(db->error, error, sizeof(error));
}

static void bind_time(sqlite3_stmt *st, int at, const struct journal_db *db, struct db_time t)
{
	bind_uint(st, at, t.wall_ms);
	bind_uint(st, at + 1, t.clock_ms);
	(void)sqlite3_bind_int64(st, at + 2, db->boot);
}

/* User and id, which has no NUL, in one. */
static size_t key_name(const struct hub_record *r, char *name)
{
	memcpy(name, r->user.p, r->user.n);
	name[r->user.n] = '\0';
	memcpy(name + r->user.n + 1, r->key.p, r->key.n);
	return r->user.n + 1 + r->key.n;
}

/* The end of the job that has the id; *ret stays empty when it is gone. */
static int find_end(struct journal_db *db, uint64_t n, struct span *ret)
{
	sqlite3_stmt *st = fresh(db, S_END_OF);
	int rc, result = 0;

	bind_uint(st, 1, n);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW && sqlite3_column_bytes(st, 0) > 0)
		result = span_dup(column(st, 0), ret);
	else if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		result = failed(db, rc);
	(void)sqlite3_reset(st);
	return result;
}

/* *ret: the number of the job that has used this id; 0: none that counts. */
static int find_key(struct journal_db *db, struct span name, struct db_time now, uint64_t *ret)
{
	sqlite3_stmt *st = fresh(db, S_KEY_FIND);
	int rc;

	*ret = 0;
	bind_blob(st, 1, name);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW && age_ms(db, now, sqlite3_column_int64(st, 1), sqlite3_column_int64(st, 2),
					sqlite3_column_int64(st, 3)) < db->options->key_ms)
		*ret = (uint64_t)sqlite3_column_int64(st, 0);
	(void)sqlite3_reset(st);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : failed(db, rc);
}

static int insert_key(struct journal_db *db, struct span name, const struct db_entry *e)
{
	sqlite3_stmt *st = fresh(db, S_KEY);

	bind_uint(st, 1, e->record.number);
	bind_blob(st, 2, name);
	bind_time(st, 3, db, e->at);
	return run(db, S_KEY);
}

static int put_key(struct journal_db *db, const struct db_entry *e, bool *ret_known, struct span *ret_end)
{
	char name_mem[2 * PROTO_MAX_ID + 1];
	struct span name = span_mem(name_mem, key_name(&e->record, name_mem));
	uint64_t old;
	int rc = insert_key(db, name, e);

	if (rc < 0)
		return rc;
	db->counts.keys++;
	if (sqlite3_changes(db->db) > 0)
		return 0;
	db->counts.keys--;
	rc = find_key(db, name, e->at, &old);
	if (rc < 0)
		return rc;
	if (old != 0) {
		*ret_known = true;
		return find_end(db, old, ret_end);
	}
	bind_blob(fresh(db, S_KEY_DROP), 1, name); /* it is so old that it may be used again */
	rc = run(db, S_KEY_DROP);
	return rc < 0 ? rc : insert_key(db, name, e);
}

static int put_submit(struct journal_db *db, const struct db_entry *e, bool *ret_known, struct span *ret_end)
{
	const struct hub_record *r = &e->record;
	sqlite3_stmt *st;
	int rc = r->key.n > 0 ? put_key(db, e, ret_known, ret_end) : 0;

	if (rc < 0 || *ret_known)
		return rc;
	st = fresh(db, S_SUBMIT);
	bind_uint(st, 1, r->number);
	bind_text(st, 2, r->job);
	bind_text(st, 3, r->user);
	bind_time(st, 4, db, e->at);
	bind_blob(st, 7, r->body);
	if (r->number > db->counts.last_number)
		db->counts.last_number = r->number;
	return run(db, S_SUBMIT);
}

static int put_part(struct journal_db *db, const struct hub_record *r)
{
	sqlite3_stmt *st = fresh(db, S_PART);

	bind_uint(st, 1, r->number);
	bind_uint(st, 2, (uint64_t)db->next_part++);
	bind_uint(st, 3, r->kind);
	bind_uint(st, 4, r->attempt);
	bind_blob(st, 5, r->body);
	return run(db, S_PART);
}

static int put_end(struct journal_db *db, const struct db_entry *e)
{
	const struct hub_record *r = &e->record;
	sqlite3_stmt *st = fresh(db, S_END);
	int rc;

	bind_uint(st, 1, r->state);
	bind_time(st, 2, db, e->at);
	bind_blob(st, 5, r->body);
	bind_uint(st, 6, r->number);
	rc = run(db, S_END);
	if (rc < 0 || sqlite3_changes(db->db) == 0)
		return rc; /* its beginning was never taken */
	db->counts.jobs++;
	rc = run_of(db, S_PARTS_DROP, r->number);
	return rc < 0 || !r->has_reader ? rc : run_of(db, S_UNTOLD, r->number);
}

static int put_value(struct journal_db *db, const struct db_entry *e)
{
	const struct hub_record *r = &e->record;
	enum statement s = r->body.n > 0 ? S_VALUE : S_VALUE_DROP;
	sqlite3_stmt *st = fresh(db, s);

	bind_uint(st, 1, r->kind);
	bind_blob(st, 2, r->job);
	if (s == S_VALUE) {
		bind_blob(st, 3, r->body);
		bind_time(st, 4, db, e->at);
	}
	return run(db, s);
}

int db_put(struct journal_db *db, const struct db_entry *e, bool *ret_known, struct span *ret_end)
{
	const struct hub_record *r = &e->record;

	*ret_known = false;
	*ret_end = SPAN_NONE;
	if (r->kind >= HUB_PERSIST_FIRST_VALUE)
		return put_value(db, e);
	if (r->kind == HUB_PERSIST_TOLD)
		return run_of(db, S_TOLD, r->number);
	if (r->body.n == 0)
		return 0; /* the core had no memory for it, and said so */
	switch (r->kind) {
	case HUB_PERSIST_SUBMIT: return put_submit(db, e, ret_known, ret_end);
	case HUB_PERSIST_END: return put_end(db, e);
	default: return put_part(db, r);
	}
}

/* ---- what goes ---- */

static uint64_t excess(uint64_t n, uint64_t max)
{
	return n <= max ? 0 : n - max < PRUNE_AT_ONCE ? n - max : PRUNE_AT_ONCE;
}

static int prune(struct journal_db *db, enum statement s, uint64_t *count)
{
	int rc = run(db, s), n = rc == 0 ? sqlite3_changes(db->db) : 0;

	*count -= (uint64_t)n < *count ? (uint64_t)n : *count;
	return rc;
}

static int prune_age(struct journal_db *db, enum statement s, uint64_t keep_ms, struct db_time now, uint64_t *count)
{
	sqlite3_stmt *st = fresh(db, s);

	bind_uint(st, 1, now.wall_ms > keep_ms ? now.wall_ms - keep_ms : 0);
	(void)sqlite3_bind_int64(st, 2, db->boot);
	(void)sqlite3_bind_int64(st, 3, (int64_t)now.clock_ms - (int64_t)keep_ms);
	bind_uint(st, 4, PRUNE_AT_ONCE);
	return prune(db, s, count);
}

int db_prune(struct journal_db *db)
{
	const struct journal_options *o = db->options;
	struct db_time now = db_now();
	uint64_t n;
	int rc = 0;

	if ((n = excess(db->counts.jobs, o->keep_jobs)) > 0) {
		bind_uint(fresh(db, S_PRUNE_COUNT), 1, n);
		rc = prune(db, S_PRUNE_COUNT, &db->counts.jobs);
	}
	if (rc == 0 && (n = excess(db->counts.keys, o->max_keys)) > 0) {
		bind_uint(fresh(db, S_KEYS_COUNT), 1, n);
		rc = prune(db, S_KEYS_COUNT, &db->counts.keys);
	}
	if (rc < 0 || now.clock_ms < db->pruned_ms + PRUNE_EVERY_MS)
		return rc;
	db->pruned_ms = now.clock_ms;
	rc = prune_age(db, S_PRUNE_AGE, o->keep_ms, now, &db->counts.jobs);
	return rc < 0 ? rc : prune_age(db, S_KEYS_AGE, o->key_ms, now, &db->counts.keys);
}
