/* The journal's file: nothing that was safe is lost wherever a process or its machine stops; a full disk; old ids. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal_db.h"
#include "log.h"

static char dir[64], file[128];
static struct journal_options options;

static void setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/shoal-journal-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	(void)snprintf(file, sizeof(file), "%s/journal.db", dir);
	options = (struct journal_options){ .file = file,
		.commit_records = 64,
		.max_waiting = 1 << 20,
		.reserve = 65536,
		.keep_ms = 3600000,
		.keep_jobs = 1000,
		.key_ms = 3600000,
		.max_keys = 1000,
		.restore_max = 1000 };
	log_init("test", (enum log_level)0);
}

static void clear(void)
{
	static const char *const names[] = { "", "-wal", "-shm", "-reserve", "-journal" };
	char name[160];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(name, sizeof(name), "%s%s", file, names[i]);
		(void)unlink(name);
	}
}

static void teardown(void)
{
	clear();
	(void)rmdir(dir);
}

TestSuite(journal, .init = setup, .fini = teardown);

/* ---- a disk that fails: between SQLite and the one below ---- */

enum failure { FAIL_NOT, FAIL_EXIT, FAIL_POWER, FAIL_FULL };

static struct {
	enum failure how;
	long ops, at; /* writes, truncations and syncs so far; the one at which it fails */
} disk;

#define UNDO_MAX 4096
static struct undo { /* what was there before a write that is not synced */
	struct shim_file *file;
	sqlite3_int64 offset, size; /* size: of the file before */
	int n;
	void *bytes;
} undo[UNDO_MAX];
static size_t n_undo;

struct shim_file {
	sqlite3_file base;
	sqlite3_file *real; /* behind this struct */
};

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct shim_file *)f)->real;
}

#define REAL(f, method, ...) real_of(f)->pMethods->method(real_of(f), ##__VA_ARGS__)

static void power_cut(void)
{
	while (n_undo-- > 0) {
		struct undo *u = &undo[n_undo];

		if (u->n > 0)
			(void)REAL(&u->file->base, xWrite, u->bytes, u->n, u->offset);
		(void)REAL(&u->file->base, xTruncate, u->size);
	}
}

/* True when this one is refused. */
static bool op_fails(void)
{
	disk.ops++;
	if (disk.how == FAIL_FULL)
		return true;
	if (disk.how == FAIL_NOT || disk.ops != disk.at)
		return false;
	if (disk.how == FAIL_POWER)
		power_cut();
	_exit(77);
}

static void remember(sqlite3_file *f, int n, sqlite3_int64 offset)
{
	struct undo *u = &undo[n_undo];
	sqlite3_int64 size = 0;

	if (disk.how != FAIL_POWER || n_undo == UNDO_MAX)
		return;
	(void)REAL(f, xFileSize, &size);
	*u = (struct undo){ .file = (struct shim_file *)f, .offset = offset, .size = size };
	u->n = offset >= size ? 0 : offset + n <= size ? n : (int)(size - offset);
	u->bytes = malloc(u->n > 0 ? (size_t)u->n : 1);
	if (u->n > 0)
		(void)REAL(f, xRead, u->bytes, u->n, offset);
	n_undo++;
}

static int shim_close(sqlite3_file *f)
{
	return REAL(f, xClose);
}

static int shim_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	return REAL(f, xRead, p, n, at);
}

static int shim_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	if (op_fails())
		return SQLITE_FULL;
	remember(f, n, at);
	return REAL(f, xWrite, p, n, at);
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	sqlite3_int64 before = 0;

	(void)op_fails();
	(void)REAL(f, xFileSize, &before);
	if (size < before)
		remember(f, (int)(before - size), size);
	return REAL(f, xTruncate, size);
}

static int shim_sync(sqlite3_file *f, int flags)
{
	size_t left = 0;

	if (op_fails())
		return SQLITE_IOERR_FSYNC;
	for (size_t i = 0; i < n_undo; i++)
		if (undo[i].file != (struct shim_file *)f)
			undo[left++] = undo[i];
	n_undo = left;
	return disk.how == FAIL_NOT ? REAL(f, xSync, flags) : SQLITE_OK; /* the kernel outlives the process */
}

static int shim_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	return REAL(f, xFileSize, ret);
}

static int shim_lock(sqlite3_file *f, int level)
{
	return REAL(f, xLock, level);
}

static int shim_unlock(sqlite3_file *f, int level)
{
	return REAL(f, xUnlock, level);
}

static int shim_reserved(sqlite3_file *f, int *ret)
{
	return REAL(f, xCheckReservedLock, ret);
}

static int shim_control(sqlite3_file *f, int op, void *arg)
{
	return REAL(f, xFileControl, op, arg);
}

static int shim_sector(sqlite3_file *f)
{
	return REAL(f, xSectorSize);
}

static int shim_traits(sqlite3_file *f)
{
	return REAL(f, xDeviceCharacteristics);
}

static int shim_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
	return REAL(f, xShmMap, page, size, extend, ret);
}

static int shim_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
	return REAL(f, xShmLock, at, n, flags);
}

static void shim_barrier(sqlite3_file *f)
{
	REAL(f, xShmBarrier);
}

static int shim_unmap(sqlite3_file *f, int is_over)
{
	return REAL(f, xShmUnmap, is_over);
}

static const sqlite3_io_methods shim_methods = {
	.iVersion = 2,
	.xClose = shim_close,
	.xRead = shim_read,
	.xWrite = shim_write,
	.xTruncate = shim_truncate,
	.xSync = shim_sync,
	.xFileSize = shim_size,
	.xLock = shim_lock,
	.xUnlock = shim_unlock,
	.xCheckReservedLock = shim_reserved,
	.xFileControl = shim_control,
	.xSectorSize = shim_sector,
	.xDeviceCharacteristics = shim_traits,
	.xShmMap = shim_map,
	.xShmLock = shim_shm_lock,
	.xShmBarrier = shim_barrier,
	.xShmUnmap = shim_unmap,
};

static sqlite3_vfs *below, shim;

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
	struct shim_file *s = (struct shim_file *)f;
	int rc;

	(void)vfs;
	s->real = (sqlite3_file *)(void *)(s + 1);
	rc = below->xOpen(below, name, s->real, flags, ret_flags);
	f->pMethods = s->real->pMethods != NULL ? &shim_methods : NULL;
	return rc;
}

static void use_shim(enum failure how, long at)
{
	disk.how = how;
	disk.at = at;
	disk.ops = 0;
	n_undo = 0;
	if (below != NULL)
		return;
	below = sqlite3_vfs_find(NULL);
	shim = *below;
	shim.zName = "shim";
	shim.szOsFile = (int)sizeof(struct shim_file) + below->szOsFile;
	shim.xOpen = shim_open;
	cr_assert_eq(sqlite3_vfs_register(&shim, 1), SQLITE_OK);
}

/* ---- a run that is always the same ---- */

#define N_JOBS 6

static struct journal_db *open_db(void)
{
	struct journal_db *db = NULL;
	char aside[256], err[512];

	cr_assert_eq(db_open(&options, aside, sizeof(aside), err, sizeof(err), &db), 0, "%s", err);
	cr_assert_str_eq(aside, "", "a sound file was set aside");
	return db;
}

static int put(struct journal_db *db, enum hub_persist_kind kind, unsigned job, const char *body, bool *ret_known)
{
	struct db_entry e = { .record = { .kind = kind, .number = job, .attempt = 1, .user = SPAN("alice"), .state = 4 },
		.at = db_now() };
	char id[32], key[32];
	struct span end;
	bool is_known = false;
	int rc;

	(void)snprintf(id, sizeof(id), "job-%u", job);
	(void)snprintf(key, sizeof(key), "key-%u", job);
	e.record.job = span_of(id);
	e.record.key = span_of(key);
	e.record.body = span_of(body);
	e.record.has_reader = true;
	rc = db_put(db, &e, &is_known, &end);
	free((void *)(uintptr_t)end.p);
	if (ret_known != NULL)
		*ret_known = is_known;
	return rc;
}

/* One commit: a new job, what goes on with those before it, the end of another. */
static int step(struct journal_db *db, unsigned i)
{
	int rc = db_begin(db);

	if (rc == 0 && i <= N_JOBS)
		rc = put(db, HUB_PERSIST_SUBMIT, i, "submit", NULL);
	if (rc == 0 && i > 1 && i <= N_JOBS + 1)
		rc = put(db, HUB_PERSIST_ATTEMPT, i - 1, "attempt", NULL);
	if (rc == 0 && i > 1 && i <= N_JOBS + 1)
		rc = put(db, HUB_PERSIST_TOKENS, i - 1, "tokens", NULL);
	if (rc == 0 && i > 2)
		rc = put(db, HUB_PERSIST_END, i - 2, "end", NULL);
	if (rc == 0 && i > 3)
		rc = put(db, HUB_PERSIST_TOLD, i - 3, "", NULL);
	if (rc == 0)
		rc = put(db, HUB_PERSIST_SESSION, 1 + i % 2, i % 3 == 0 ? "" : "value", NULL);
	if (rc == 0)
		rc = db_prune(db);
	return rc == 0 ? db_commit(db) : rc;
}

#define N_STEPS (N_JOBS + 3)

static void run(int tell_fd)
{
	struct journal_db *db = open_db();

	for (unsigned i = 1; i <= N_STEPS; i++) {
		char done = (char)i;

		cr_assert_eq(step(db, i), 0, "%s", db_error(db));
		cr_assert_eq(write(tell_fd, &done, 1), 1);
	}
	db_close(db);
}

struct found {
	unsigned submits, attempts, tokens, ends, told, values;
};

static void count(void *ctx, const struct hub_record *r)
{
	struct found *f = ctx;

	switch (r->kind) {
	case HUB_PERSIST_SUBMIT: f->submits++; break;
	case HUB_PERSIST_ATTEMPT: f->attempts++; break;
	case HUB_PERSIST_TOKENS: f->tokens++; break;
	case HUB_PERSIST_END: f->ends++; break;
	case HUB_PERSIST_TOLD: f->told++; break;
	default: f->values++; break;
	}
}

static unsigned within(unsigned from, unsigned n, unsigned max)
{
	unsigned x = n > from ? n - from : 0;

	return x < max ? x : max;
}

/* What there is after so many whole steps, and nothing of another. */
static bool is_after(const struct found *f, unsigned steps)
{
	unsigned submits = within(0, steps, N_JOBS), ends = within(2, steps, N_JOBS), tried = within(1, steps, N_JOBS);

	return f->submits == submits - ends && f->ends == ends && f->attempts == tried - ends && f->tokens == tried - ends &&
	       f->told == within(3, steps, N_JOBS);
}

static void check_left(long at, unsigned acked)
{
	struct journal_db *db = open_db();
	struct found f = { 0 };

	cr_assert_eq(db_restore(db, count, &f), 0, "%s", db_error(db));
	cr_assert(is_after(&f, acked) || is_after(&f, acked + 1),
		"stopped at %ld with %u steps safe: %u submits, %u attempts, %u tokens, %u ends, %u told", at, acked,
		f.submits, f.attempts, f.tokens, f.ends, f.told);
	db_close(db);
}

/* The process ends at the Nth write, truncation or sync, for every N. */
static long every_point(enum failure how)
{
	long at = 0;

	for (bool is_over = false; !is_over; clear()) { /* a run without an end in it is the last */
		unsigned acked = 0;
		int fds[2], status;
		char last;
		pid_t child;

		at++;
		cr_assert_eq(pipe(fds), 0);
		child = fork();
		cr_assert_geq(child, 0);
		if (child == 0) {
			use_shim(how, at);
			run(fds[1]);
			_exit(0);
		}
		(void)close(fds[1]);
		while (read(fds[0], &last, 1) == 1)
			acked = (unsigned)last;
		(void)close(fds[0]);
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 0));
		is_over = WEXITSTATUS(status) == 0;
		check_left(at, acked);
	}
	return at;
}

Test(journal, whatever_was_safe_is_there_wherever_the_process_ends, .timeout = 120)
{
	cr_assert_gt(every_point(FAIL_EXIT), 30);
}

Test(journal, whatever_was_safe_is_there_wherever_the_power_goes, .timeout = 120)
{
	cr_assert_gt(every_point(FAIL_POWER), 30);
}

/* ---- ids ---- */

Test(journal, an_id_is_known_as_long_as_it_was_promised)
{
	struct journal_db *db = open_db();
	bool is_known;

	cr_assert_eq(db_begin(db), 0);
	cr_assert_eq(put(db, HUB_PERSIST_SUBMIT, 1, "submit", &is_known), 0);
	cr_assert(!is_known);
	cr_assert_eq(db_commit(db), 0);
	db_close(db);
	for (int i = 0; i < 2; i++) {
		struct db_entry e = {
			.record = { .kind = HUB_PERSIST_SUBMIT,
				.number = 9,
				.job = SPAN("job-9"),
				.user = SPAN("alice"),
				.key = SPAN("key-1"),
				.body = SPAN("x") },
			.at = db_now(),
		};
		struct span end = SPAN_NONE;

		e.at.clock_ms += i > 0 ? options.key_ms : 0;
		db = open_db();
		cr_assert_eq(db_begin(db), 0);
		cr_assert_eq(db_put(db, &e, &is_known, &end), 0);
		cr_assert_eq(is_known, i == 0, "after %d hours", i);
		db_rollback(db);
		db_close(db);
	}
}

Test(journal, what_is_too_much_goes_and_ids_stay)
{
	struct journal_db *db;
	bool is_known;

	options.keep_jobs = 2;
	db = open_db();
	for (unsigned i = 1; i <= N_STEPS; i++)
		cr_assert_eq(step(db, i), 0);
	cr_assert_eq(db_counts(db).jobs, 2);
	cr_assert_eq(db_counts(db).keys, N_JOBS);
	cr_assert_eq(db_begin(db), 0);
	cr_assert_eq(put(db, HUB_PERSIST_SUBMIT, 1, "again", &is_known), 0);
	cr_assert(is_known);
	db_rollback(db);
	db_close(db);
}

/* ---- the thread, and a full disk ---- */

static struct {
	uint64_t safe;
	bool is_full;
	unsigned n_full;
} told;

static void on_safe(void *ctx, uint64_t seq)
{
	(void)ctx;
	told.safe = seq;
}

static void on_known(void *ctx, struct span job, const struct hub_record *end)
{
	(void)ctx, (void)job, (void)end;
}

static void on_full(void *ctx, bool is_full)
{
	(void)ctx;
	told.is_full = is_full;
	told.n_full++;
}

static void on_stop(void *ctx, int signo)
{
	(void)ctx, (void)signo;
}

static void write_job(struct journal *j, uint64_t seq)
{
	struct hub_action act = { .type = HUB_ACT_PERSIST,
		.persist = { .seq = seq,
			.kind = HUB_PERSIST_SUBMIT,
			.number = seq,
			.job = SPAN("j"),
			.user = SPAN("u"),
			.body = SPAN("b") } };

	cr_assert_eq(j->write(j, &act), 0);
}

#define AWAIT(l, condition)                                                                                                 \
	for (uint64_t end_ = clock_ms() + 20000; !(condition);) {                                                           \
		cr_assert_lt(clock_ms(), end_, "not in time: " #condition);                                                 \
		cr_assert_geq(loop_turn(l, 100), 0);                                                                        \
	}

Test(journal, a_full_disk_refuses_jobs_and_loses_nothing, .timeout = 60)
{
	static const struct journal_events events = { .safe = on_safe, .known = on_known, .full = on_full };
	struct journal_stats stats;
	struct journal *j;
	struct loop *l;
	struct found f = { 0 };
	struct stat st;
	char err[256], reserve[160];
	uint64_t last;

	(void)snprintf(reserve, sizeof(reserve), "%s-reserve", file);
	use_shim(FAIL_NOT, 0);
	cr_assert_eq(loop_new(on_stop, NULL, &l), 0);
	cr_assert_eq(journal_sqlite_new(l, &options, &events, NULL, err, sizeof(err), &j), 0, "%s", err);
	cr_assert_eq(j->restore(j, count, &f, &last), 0);
	cr_assert_eq(stat(reserve, &st), 0);
	write_job(j, 1);
	AWAIT(l, told.safe == 1);
	disk.how = FAIL_FULL;
	write_job(j, 2);
	AWAIT(l, told.is_full);
	cr_assert_neq(stat(reserve, &st), 0, "what was put by is not given up");
	write_job(j, 3);
	cr_assert_eq(told.safe, 1);
	disk.how = FAIL_NOT;
	AWAIT(l, told.safe == 3 && !told.is_full);
	cr_assert_eq(told.n_full % 2, 0);
	cr_assert_eq(stat(reserve, &st), 0);
	j->stats(j, &stats);
	cr_assert(stats.failures > 0 && stats.waiting == 0 && stats.records == 3);
	for (uint64_t i = 4; i < 1000; i++)
		write_job(j, i);
	j->drain(j, 10000);
	cr_assert_eq(told.safe, 999);
	j->free(j);
	loop_free(l);
	{
		struct journal_db *db = open_db();

		cr_assert_eq(db_restore(db, count, &f), 0);
		cr_assert_eq(f.submits, 999);
		db_close(db);
	}
}
