/* journal_sqlite.c - the journal on SQLite: a queue, a thread that commits it in groups, and
 * what the loop is told of it.
 *
 * The loop's thread copies entries into a queue; the writer takes what is there (it may wait
 * commit_ms for more), puts it into one transaction and tells by an eventfd how far it is
 * safe.  While one commit waits for the disk the next group gathers by itself.
 *
 * A commit that fails is rolled back and tried again until it succeeds: nothing is ever left
 * out.  With the first failure a file that only takes room is removed, so that jobs under way
 * can go on to their end, and new ones are refused until that file can be made again. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_db.h"
#include "log.h"

#define AGAIN_MS 200 /* after a commit that failed */
#define ROOM_MS 500  /* between looks for room */
#define IDLE_MS 1000 /* between looks for what is too old */
#define BATCH_MAX 4096

struct item {
	struct item *next;
	struct db_entry entry; /* spans point behind the struct */
	size_t size;
};

struct news { /* an id that was used before */
	struct news *next;
	char job[PROTO_MAX_ID + 1];
	struct hub_record end;
	struct span body; /* owned */
};

struct journal_sqlite {
	struct journal base;
	struct journal_options options;
	struct journal_events on;
	void *ctx;
	struct loop_io *io;
	int wake_fd;
	struct journal_db *db; /* the writer's once it runs */
	char reserve[4096];    /* the name of that file */

	pthread_t thread;
	bool is_running, is_overfull; /* the loop's thread only */
	pthread_mutex_t lock;
	pthread_cond_t more, less; /* the queue is longer, shorter */
	/* under the lock */
	struct item *first, **last;
	bool is_stopping, is_full, is_full_told;
	uint64_t safe_seq;
	struct news *news, **last_news;
	struct journal_stats stats;
};

/* ---- the file that only takes room ---- */

static bool has_reserve(const struct journal_sqlite *s)
{
	struct stat st;

	return stat(s->reserve, &st) == 0 && (uint64_t)st.st_size >= s->options.reserve;
}

static bool make_reserve(const struct journal_sqlite *s)
{
	int fd, rc;

	if (has_reserve(s))
		return true;
	fd = open(s->reserve, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	rc = s->options.reserve > 0 ? posix_fallocate(fd, 0, (off_t)s->options.reserve) : 0;
	(void)close(fd);
	if (rc != 0)
		(void)unlink(s->reserve);
	return rc == 0;
}

/* ---- the writer ---- */

static void tell_loop(struct journal_sqlite *s)
{
	uint64_t one = 1;

	if (write(s->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_error("journal", "the loop cannot be told: %s", strerror(errno));
}

static void news_free(struct news *n)
{
	while (n != NULL) {
		struct news *next = n->next;

		free((void *)(uintptr_t)n->body.p);
		free(n);
		n = next;
	}
}

static int note_known(struct news ***last, const struct hub_record *r, struct span end)
{
	struct news *n = calloc(1, sizeof(*n));

	if (n == NULL) {
		free((void *)(uintptr_t)end.p);
		return ERR_NOMEM;
	}
	(void)span_copy(r->job, n->job, sizeof(n->job));
	n->body = end;
	n->end = (struct hub_record){ .kind = HUB_PERSIST_END, .body = end };
	**last = n;
	*last = &n->next;
	return 0;
}

static int put_all(struct journal_sqlite *s, const struct item *batch, struct news **ret)
{
	struct news **last = ret;
	int rc = 0;

	for (const struct item *i = batch; i != NULL && rc == 0; i = i->next) {
		struct span end;
		bool is_known;

		rc = db_put(s->db, &i->entry, &is_known, &end);
		if (rc == 0 && is_known)
			rc = note_known(&last, &i->entry.record, end);
	}
	return rc;
}

/* One transaction; *ret: what it found out. */
static int commit(struct journal_sqlite *s, const struct item *batch, struct news **ret)
{
	int rc = db_begin(s->db);

	*ret = NULL;
	if (rc == 0)
		rc = put_all(s, batch, ret);
	if (rc == 0)
		rc = db_prune(s->db);
	if (rc == 0)
		rc = db_commit(s->db);
	if (rc == 0)
		return 0;
	db_rollback(s->db);
	news_free(*ret);
	*ret = NULL;
	return rc;
}

static void set_full(struct journal_sqlite *s, bool is_full)
{
	(void)pthread_mutex_lock(&s->lock);
	s->is_full = s->stats.is_full = is_full;
	(void)pthread_mutex_unlock(&s->lock);
	tell_loop(s);
}

static void no_room(struct journal_sqlite *s, int rc)
{
	log_error("journal", "%s cannot be written (%s): new jobs are refused, those that run go on%s; %s", s->options.file,
		db_error(s->db), has_reserve(s) ? " on what was put by" : " as far as they can",
		rc == ERR_FULL ? "free some disk space, all goes on by itself then"
			       : "if it stays so, restart the hub: it checks the file");
	(void)unlink(s->reserve);
	set_full(s, true);
}

static void look_for_room(struct journal_sqlite *s)
{
	if (!make_reserve(s))
		return;
	log_notice("journal", "there is room again: jobs are taken");
	set_full(s, false);
}

static int wait_for(struct journal_sqlite *s, pthread_cond_t *what, uint64_t ms)
{
	struct timespec t;
	uint64_t at;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	at = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 + ms;
	t.tv_sec = (time_t)(at / 1000);
	t.tv_nsec = (long)(at % 1000) * 1000000;
	return pthread_cond_timedwait(what, &s->lock, &t);
}

/* Takes a group off the queue, under the lock. */
static struct item *take(struct journal_sqlite *s, size_t *ret_n)
{
	struct item *batch = s->first, **at = &s->first;
	size_t n = 0;

	for (; *at != NULL && n < s->options.commit_records; n++)
		at = &(*at)->next;
	s->first = *at;
	*at = NULL;
	if (s->first == NULL)
		s->last = &s->first;
	*ret_n = n;
	return batch;
}

static void batch_free(struct item *batch)
{
	while (batch != NULL) {
		struct item *next = batch->next;

		free(batch);
		batch = next;
	}
}

static void committed(struct journal_sqlite *s, const struct item *batch, struct news *news, uint64_t us)
{
	struct db_counts counts = db_counts(s->db);
	uint64_t safe = 0;

	(void)pthread_mutex_lock(&s->lock);
	for (const struct item *i = batch; i != NULL; i = i->next) {
		safe = i->entry.record.seq > safe ? i->entry.record.seq : safe;
		s->stats.records++;
		s->stats.bytes += i->entry.record.body.n;
		s->stats.waiting--;
		s->stats.waiting_bytes -= i->size;
	}
	s->safe_seq = safe > s->safe_seq ? safe : s->safe_seq;
	s->stats.commits++;
	s->stats.last_us = us;
	s->stats.max_us = us > s->stats.max_us ? us : s->stats.max_us;
	s->stats.jobs = counts.jobs;
	s->stats.keys = counts.keys;
	*s->last_news = news;
	while (*s->last_news != NULL)
		s->last_news = &(*s->last_news)->next;
	(void)pthread_cond_broadcast(&s->less);
	(void)pthread_mutex_unlock(&s->lock);
	tell_loop(s);
}

/* False: the hub stops and this cannot be written. */
static bool commit_surely(struct journal_sqlite *s, const struct item *batch)
{
	for (;;) {
		struct news *news;
		uint64_t begun = clock_us();
		int rc = commit(s, batch, &news);
		bool is_stopping;

		if (rc == 0) {
			committed(s, batch, news, clock_us() - begun);
			return true;
		}
		(void)pthread_mutex_lock(&s->lock);
		s->stats.failures++;
		is_stopping = s->is_stopping && s->is_full;
		if (s->is_full && !is_stopping)
			(void)wait_for(s, &s->more, AGAIN_MS);
		(void)pthread_mutex_unlock(&s->lock);
		if (is_stopping)
			return false;
		if (!s->is_full)
			no_room(s, rc);
	}
}

static void idle(struct journal_sqlite *s)
{
	struct news *news;

	if (commit(s, NULL, &news) < 0)
		log_debug("journal", "what is too old stays for now: %s", db_error(s->db));
}

static struct item *next_batch(struct journal_sqlite *s, size_t *ret_n, bool *ret_stop)
{
	struct item *batch;

	(void)pthread_mutex_lock(&s->lock);
	if (s->first == NULL && !s->is_stopping)
		(void)wait_for(s, &s->more, s->is_full ? ROOM_MS : IDLE_MS);
	if (s->first != NULL && s->options.commit_ms > 0 && !s->is_stopping && s->stats.waiting < s->options.commit_records)
		(void)wait_for(s, &s->more, s->options.commit_ms);
	batch = take(s, ret_n);
	*ret_stop = batch == NULL && s->is_stopping;
	(void)pthread_mutex_unlock(&s->lock);
	return batch;
}

static void *writer(void *arg)
{
	struct journal_sqlite *s = arg;
	bool is_over = false;

	for (size_t n; !is_over;) {
		struct item *batch = next_batch(s, &n, &is_over);

		if (batch != NULL && !commit_surely(s, batch)) {
			log_error("journal", "the hub stops and %zu entries could not be written: what they say is lost", n);
			is_over = true;
		} else if (batch == NULL && !is_over) {
			idle(s);
		}
		batch_free(batch);
		if (s->is_full && !is_over)
			look_for_room(s);
	}
	return NULL;
}

/* ---- the loop's side ---- */

static struct span keep(char **p, struct span s)
{
	struct span copy = span_mem(*p, s.n);

	if (s.n > 0)
		memcpy(*p, s.p, s.n);
	*p += s.n;
	return copy;
}

static struct item *item_new(const struct hub_record *r)
{
	size_t size = sizeof(struct item) + r->job.n + r->user.n + r->key.n + r->body.n;
	struct item *i = malloc(size);
	char *p = (char *)(i + 1);

	if (i == NULL)
		return NULL;
	*i = (struct item){ .size = size, .entry = { .record = *r, .at = db_now() } };
	i->entry.record.job = keep(&p, r->job);
	i->entry.record.user = keep(&p, r->user);
	i->entry.record.key = keep(&p, r->key);
	i->entry.record.body = keep(&p, r->body);
	return i;
}

static void tell_full(struct journal_sqlite *s)
{
	bool is_full;

	(void)pthread_mutex_lock(&s->lock);
	if (s->stats.waiting_bytes > s->options.max_waiting)
		s->is_overfull = true;
	else if (s->stats.waiting_bytes < s->options.max_waiting / 2)
		s->is_overfull = false;
	is_full = s->is_full || s->is_overfull;
	(void)pthread_mutex_unlock(&s->lock);
	if (is_full == s->is_full_told)
		return;
	s->is_full_told = is_full;
	s->on.full(s->ctx, is_full);
}

static int sqlite_write(struct journal *j, const struct hub_action *persist)
{
	struct journal_sqlite *s = (struct journal_sqlite *)j;
	struct item *i = item_new(&persist->persist);

	if (i == NULL)
		return ERR_NOMEM;
	(void)pthread_mutex_lock(&s->lock);
	*s->last = i;
	s->last = &i->next;
	s->stats.waiting++;
	s->stats.waiting_bytes += i->size;
	if (i == s->first)
		(void)pthread_cond_signal(&s->more);
	(void)pthread_mutex_unlock(&s->lock);
	return 0;
}

static void deliver(struct journal_sqlite *s)
{
	struct news *news;
	uint64_t safe;

	(void)pthread_mutex_lock(&s->lock);
	news = s->news;
	s->news = NULL;
	s->last_news = &s->news;
	safe = s->safe_seq;
	(void)pthread_mutex_unlock(&s->lock);
	for (const struct news *k = news; k != NULL; k = k->next)
		s->on.known(s->ctx, span_of(k->job), &k->end);
	news_free(news);
	if (safe > 0)
		s->on.safe(s->ctx, safe);
	tell_full(s);
}

static void on_wake(void *ctx, uint32_t events)
{
	struct journal_sqlite *s = ctx;
	uint64_t n;

	(void)events;
	if (read(s->wake_fd, &n, sizeof(n)) > 0)
		deliver(s);
}

static int start(struct journal_sqlite *s)
{
	sigset_t all, before;
	int rc;

	(void)sigfillset(&all); /* signals are the loop's */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&s->thread, NULL, writer, s);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	s->is_running = rc == 0;
	return -rc;
}

static int sqlite_restore(
	struct journal *j, void (*each)(void *ctx, const struct hub_record *r), void *ctx, uint64_t *ret_last)
{
	struct journal_sqlite *s = (struct journal_sqlite *)j;
	struct db_counts counts = db_counts(s->db);
	int rc = db_restore(s->db, each, ctx);

	*ret_last = counts.last_number;
	s->stats.jobs = counts.jobs;
	s->stats.keys = counts.keys;
	if (rc < 0) {
		log_error("journal", "%s cannot be read: %s", s->options.file, db_error(s->db));
		return rc;
	}
	if (!make_reserve(s)) {
		log_error("journal", "%s: there is no room left on this disk: new jobs are refused until there is",
			s->options.file);
		s->is_full = s->stats.is_full = true;
		tell_loop(s);
	}
	return start(s);
}

static void sqlite_drain(struct journal *j, uint64_t timeout_ms)
{
	struct journal_sqlite *s = (struct journal_sqlite *)j;
	int rc = 0;

	(void)pthread_mutex_lock(&s->lock);
	while (s->stats.waiting > 0 && rc == 0)
		rc = wait_for(s, &s->less, timeout_ms);
	(void)pthread_mutex_unlock(&s->lock);
	deliver(s); /* the writer may not have come to wake us */
}

static void sqlite_stats(struct journal *j, struct journal_stats *ret)
{
	struct journal_sqlite *s = (struct journal_sqlite *)j;
	struct stat st;

	(void)pthread_mutex_lock(&s->lock);
	*ret = s->stats;
	(void)pthread_mutex_unlock(&s->lock);
	ret->file_bytes = stat(s->options.file, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void sqlite_free(struct journal *j)
{
	struct journal_sqlite *s = (struct journal_sqlite *)j;

	if (s->is_running) {
		(void)pthread_mutex_lock(&s->lock);
		s->is_stopping = true;
		(void)pthread_cond_signal(&s->more);
		(void)pthread_mutex_unlock(&s->lock);
		(void)pthread_join(s->thread, NULL);
	}
	db_close(s->db);
	loop_io_free(s->io);
	if (s->wake_fd >= 0)
		(void)close(s->wake_fd);
	batch_free(s->first);
	news_free(s->news);
	(void)pthread_cond_destroy(&s->more);
	(void)pthread_cond_destroy(&s->less);
	(void)pthread_mutex_destroy(&s->lock);
	free(s->options.file);
	free(s);
}

static int prepare(struct journal_sqlite *s, struct loop *l, char *err, size_t err_size)
{
	pthread_condattr_t monotonic;
	int rc;

	s->last = &s->first;
	s->last_news = &s->news;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&s->more, &monotonic);
	(void)pthread_cond_init(&s->less, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	(void)snprintf(err, err_size, "the journal has no memory or no descriptor left");
	if (s->options.file == NULL ||
		(size_t)snprintf(s->reserve, sizeof(s->reserve), "%s-reserve", s->options.file) >= sizeof(s->reserve))
		return ERR_NOMEM;
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0)
		return -errno;
	rc = loop_io_new(l, s->wake_fd, EPOLLIN, on_wake, s, &s->io);
	if (rc < 0)
		return rc;
	rc = db_open(&s->options, s->stats.set_aside, sizeof(s->stats.set_aside), err, err_size, &s->db);
	if (s->stats.set_aside[0] != '\0')
		log_error("journal",
			"%s was DAMAGED: it lies now under %s and the hub begins without its jobs; look at the disk before "
			"you go on",
			s->options.file, s->stats.set_aside);
	return rc;
}

int journal_sqlite_new(struct loop *l, const struct journal_options *o, const struct journal_events *on, void *ctx,
	char *err, size_t err_size, struct journal **ret)
{
	struct journal_sqlite *s = calloc(1, sizeof(*s));
	int rc;

	(void)snprintf(err, err_size, "out of memory");
	if (s == NULL)
		return ERR_NOMEM;
	s->base = (struct journal){
		.write = sqlite_write,
		.restore = sqlite_restore,
		.stats = sqlite_stats,
		.drain = sqlite_drain,
		.free = sqlite_free,
	};
	s->options = *o;
	s->options.file = span_str(span_of(o->file));
	if (s->options.commit_records == 0 || s->options.commit_records > BATCH_MAX)
		s->options.commit_records = BATCH_MAX;
	s->on = *on;
	s->ctx = ctx;
	s->wake_fd = -1;
	rc = prepare(s, l, err, err_size);
	if (rc < 0) {
		sqlite_free(&s->base);
		return rc;
	}
	*ret = &s->base;
	return 0;
}
