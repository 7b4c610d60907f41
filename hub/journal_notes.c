/* journal_notes.c - entries that outlive the hub before the disk has them.
 *
 * A commit takes milliseconds and no agent should wait for two of them before it hears of a job.  An entry
 * that asks for it (hub_record.note) is copied into a mapped file before it goes on to the journal: when the hub dies, by
 * whatever signal, the kernel still has those pages.  The next run finds there what the journal had not
 * committed, gives it to the core behind what the journal has, and puts it into the journal.  With the machine the notes
 * are lost, and by their boot id not taken for others: nobody was promised anything on their strength.
 *
 * The file has two halves.  One is written; the other is emptied and taken in its turn when it is full.  All
 * entries of the other are safe by then, since of those that are not there are at most HUB_NOTES_MAX bytes. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "journal.h"
#include "log.h"

#define HEAD_BYTES 4096
#define HALF_BYTES (2 * HUB_NOTES_MAX)
#define FILE_BYTES (HEAD_BYTES + 2 * HALF_BYTES)
#define MAGIC "shoal-notes-1"
#define DRAIN_MS 5000

struct head {
	char magic[16], boot[40];
	uint32_t note_bytes;    /* of struct note: another build may lay it out otherwise */
	uint64_t safe_seq;      /* in the journal are all up to this one */
	uint64_t generation[2]; /* of the halves: the greater is the later */
};

struct note {
	_Atomic uint32_t size; /* with what follows, in eights; 0: there is none, and none behind it.  Written last */
	uint32_t kind, n_body;
	uint16_t n_job, n_user, n_key;
	uint64_t seq, number, attempt, clock_ms;
	char bytes[];
};

struct journal_notes {
	struct journal base;
	struct journal *inner;
	struct journal_events on;
	void *ctx;
	struct head *head; /* the mapped file */
	char boot[40];
	unsigned now; /* half that is written */
	size_t at;    /* where in it */
	uint64_t last_seq[2];
};

static char *half(struct journal_notes *n, unsigned i)
{
	return (char *)n->head + HEAD_BYTES + i * HALF_BYTES;
}

static struct note *note_at(struct journal_notes *n, unsigned i, size_t at)
{
	return (struct note *)(void *)(half(n, i) + at);
}

/* ---- writing ---- */

static void begin_half(struct journal_notes *n, unsigned i)
{
	atomic_store(&note_at(n, i, 0)->size, 0);
	n->head->generation[i] = n->head->generation[1 - i] + 1;
	n->now = i;
	n->at = 0;
}

static char *put(char *p, struct span s)
{
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return p + s.n;
}

static void take_note(struct journal_notes *n, const struct hub_record *r)
{
	size_t size = sizeof(struct note) + r->job.n + r->user.n + r->key.n + r->body.n;
	struct note *note;
	char *p;

	size = (size + 7) & ~(size_t)7;
	if (n->at + size + sizeof(struct note) > HALF_BYTES) {
		if (n->last_seq[1 - n->now] > n->head->safe_seq || size + sizeof(struct note) > HALF_BYTES) {
			log_error("journal", "an entry of job %.*s is not noted: there is no room", SPAN_FMT(r->job));
			return;
		}
		begin_half(n, 1 - n->now);
	}
	note = note_at(n, n->now, n->at);
	note->kind = r->kind;
	note->n_job = (uint16_t)r->job.n;
	note->n_user = (uint16_t)r->user.n;
	note->n_key = (uint16_t)r->key.n;
	note->n_body = (uint32_t)r->body.n;
	note->seq = r->seq;
	note->number = r->number;
	note->attempt = r->attempt;
	note->clock_ms = clock_ms();
	p = put(put(put(put(note->bytes, r->job), r->user), r->key), r->body);
	(void)p;
	atomic_store(&note_at(n, n->now, n->at + size)->size, 0);
	atomic_store(&note->size, (uint32_t)size);
	n->at += size;
	n->last_seq[n->now] = r->seq;
}

static int notes_write(struct journal *j, const struct hub_action *persist)
{
	struct journal_notes *n = (struct journal_notes *)j;

	if (persist->persist.note)
		take_note(n, &persist->persist);
	return n->inner->write(n->inner, persist);
}

/* ---- reading ---- */

struct reading {
	void (*each)(void *ctx, const struct hub_record *r);
	void *ctx;
	uint64_t journal_last, last; /* numbers of jobs */
	size_t n;
};

static void read_note(struct journal_notes *n, const struct note *note, struct reading *to)
{
	const char *p = note->bytes;
	uint64_t now = clock_ms();
	struct hub_action act = { .type = HUB_ACT_PERSIST };

	act.persist = (struct hub_record){ .kind = (enum hub_persist_kind)note->kind,
		.number = note->number,
		.attempt = note->attempt,
		.job = span_mem(p, note->n_job),
		.user = span_mem(p + note->n_job, note->n_user),
		.key = span_mem(p + note->n_job + note->n_user, note->n_key),
		.body = span_mem(p + note->n_job + note->n_user + note->n_key, note->n_body),
		.age_ms = now > note->clock_ms ? now - note->clock_ms : 0 };
	if (note->seq <= n->head->safe_seq || (note->kind == HUB_PERSIST_SUBMIT && note->number <= to->journal_last))
		return; /* the journal has it: jobs are committed in the order of their numbers */
	to->last = note->number > to->last ? note->number : to->last;
	to->n++;
	to->each(to->ctx, &act.persist);
	if (n->inner->write(n->inner, &act) < 0)
		log_error("journal", "a noted entry could not be kept: out of memory");
}

static void read_half(struct journal_notes *n, unsigned i, struct reading *to)
{
	size_t at = 0, size;

	while (at + sizeof(struct note) <= HALF_BYTES && (size = atomic_load(&note_at(n, i, at)->size)) != 0) {
		const struct note *note = note_at(n, i, at);
		size_t need = sizeof(*note) + note->n_job + note->n_user + note->n_key + note->n_body;

		if (size > HALF_BYTES - at || need > size)
			return; /* not of ours */
		read_note(n, note, to);
		at += size;
	}
}

static bool is_of_this_boot(const struct journal_notes *n)
{
	const struct head *h = n->head;

	return n->boot[0] != '\0' && memcmp(h->magic, MAGIC, sizeof(MAGIC)) == 0 && h->note_bytes == sizeof(struct note) &&
	       memcmp(h->boot, n->boot, sizeof(h->boot)) == 0;
}

static int notes_restore(
	struct journal *j, void (*each)(void *ctx, const struct hub_record *r), void *ctx, uint64_t *ret_last)
{
	struct journal_notes *n = (struct journal_notes *)j;
	struct head *h = n->head;
	struct reading to = { .each = each, .ctx = ctx };
	unsigned older = h->generation[0] < h->generation[1] ? 0 : 1;
	int rc = n->inner->restore(n->inner, each, ctx, ret_last);

	if (rc < 0)
		return rc;
	to.journal_last = to.last = *ret_last;
	if (is_of_this_boot(n)) {
		read_half(n, older, &to);
		read_half(n, 1 - older, &to);
	}
	*ret_last = to.last;
	if (to.n > 0) {
		log_notice("journal", "%zu entries that the hub had noted and not written when it died are taken up", to.n);
		n->inner->drain(n->inner, DRAIN_MS); /* with a full disk they are safe no earlier than others */
	}
	memset(h, 0, sizeof(*h));
	begin_half(n, 1);
	begin_half(n, 0);
	h->note_bytes = sizeof(struct note);
	memcpy(h->boot, n->boot, sizeof(h->boot));
	memcpy(h->magic, MAGIC, sizeof(MAGIC));
	return 0;
}

/* ---- the rest ---- */

static void on_safe(void *ctx, uint64_t seq)
{
	struct journal_notes *n = ctx;

	if (seq > n->head->safe_seq)
		n->head->safe_seq = seq;
	n->on.safe(n->ctx, seq);
}

static void on_known(void *ctx, struct span job, const struct hub_record *end)
{
	struct journal_notes *n = ctx;

	n->on.known(n->ctx, job, end);
}

static void on_full(void *ctx, bool is_full)
{
	struct journal_notes *n = ctx;

	n->on.full(n->ctx, is_full);
}

static void notes_stats(struct journal *j, struct journal_stats *ret)
{
	struct journal_notes *n = (struct journal_notes *)j;

	n->inner->stats(n->inner, ret);
}

static void notes_drain(struct journal *j, uint64_t timeout_ms)
{
	struct journal_notes *n = (struct journal_notes *)j;

	n->inner->drain(n->inner, timeout_ms);
}

static void notes_free(struct journal *j)
{
	struct journal_notes *n = (struct journal_notes *)j;

	if (n->inner != NULL)
		n->inner->free(n->inner);
	if (n->head != NULL)
		(void)munmap(n->head, FILE_BYTES);
	free(n);
}

static void read_boot(char boot[40])
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	memset(boot, 0, 40);
	if (f == NULL)
		return;
	if (fgets(boot, 40, f) == NULL)
		boot[0] = '\0';
	(void)fclose(f);
}

/* The blocks are taken now: a store into a page the disk has no room for would end the hub. */
static int map(struct journal_notes *n, const char *journal_file)
{
	struct buf name = BUF_INIT(4096);
	void *p = MAP_FAILED;
	int fd, rc;

	buf_addf(&name, "%s-notes", journal_file);
	fd = name.err == 0 ? open((const char *)name.p, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	rc = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)FILE_BYTES);
	if (rc == 0)
		p = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		(void)close(fd);
	if (p != MAP_FAILED)
		n->head = p;
	else
		log_warn("journal", "%s-notes cannot be used (%s): every job waits for the disk twice", journal_file,
			strerror(rc != 0 ? rc : errno));
	buf_fini(&name);
	return p != MAP_FAILED ? 0 : ERR_STATE;
}

int journal_notes_new(struct loop *l, const struct journal_options *o, const struct journal_events *on, void *ctx, char *err,
	size_t err_size, struct journal **ret)
{
	static const struct journal_events events = { .safe = on_safe, .known = on_known, .full = on_full };
	struct journal_notes *n = calloc(1, sizeof(*n));
	int rc;

	(void)snprintf(err, err_size, "out of memory");
	if (n == NULL)
		return ERR_NOMEM;
	n->base = (struct journal){ .write = notes_write,
		.restore = notes_restore,
		.stats = notes_stats,
		.drain = notes_drain,
		.free = notes_free,
		.takes_notes = true };
	n->on = *on;
	n->ctx = ctx;
	read_boot(n->boot);
	if (map(n, o->file) < 0) {
		free(n);
		return journal_sqlite_new(l, o, on, ctx, err, err_size, ret);
	}
	rc = journal_sqlite_new(l, o, &events, n, err, err_size, &n->inner);
	if (rc < 0) {
		notes_free(&n->base);
		return rc;
	}
	*ret = &n->base;
	return 0;
}
