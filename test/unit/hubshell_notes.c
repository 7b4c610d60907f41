/* What the journal has noted when the hub is killed, and what the next run makes of it.  What runs in a child that is killed
 * asserts nothing: Criterion would hear of it from a process it does not know. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal.h"

#define MAX 64

static char dir[] = "/tmp/shoal-notes-XXXXXX";
static char file[64];
static struct loop *l;

struct seen {
	char what[MAX][96]; /* kind, number, attempt, job, body */
	size_t n;
	uint64_t last, safe;
};

static void on_stop(void *ctx, int signo)
{
	(void)ctx;
	(void)signo;
}

static void begin(void)
{
	cr_assert_not_null(mkdtemp(dir));
	(void)snprintf(file, sizeof(file), "%s/journal.db", dir);
	cr_assert_eq(loop_new(on_stop, NULL, &l), 0);
}

static void end(void)
{
	static const char *const suffixes[] = { "", "-wal", "-shm", "-notes", "-reserve" };
	char path[96];

	loop_free(l);
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", file, suffixes[i]);
		(void)unlink(path);
	}
	(void)rmdir(dir);
}

TestSuite(hubshell_notes, .init = begin, .fini = end, .timeout = 60);

static void on_safe(void *ctx, uint64_t seq)
{
	((struct seen *)ctx)->safe = seq;
}

static void on_known(void *ctx, struct span job, const struct hub_record *record)
{
	(void)ctx;
	(void)job;
	(void)record;
	abort();
}

static void on_full(void *ctx, bool is_full)
{
	(void)ctx;
	if (is_full)
		abort();
}

static void each(void *ctx, const struct hub_record *r)
{
	struct seen *s = ctx;

	if (s->n == MAX)
		abort();
	(void)snprintf(s->what[s->n++], sizeof(s->what[0]), "%s %u %u %.*s %.*s", hub_persist_name(r->kind),
		(unsigned)r->number, (unsigned)r->attempt, SPAN_FMT(r->job), SPAN_FMT(r->body));
}

/* commit_ms: entries wait so long for the disk. */
static struct journal *open_journal(uint64_t commit_ms, struct seen *s)
{
	static const struct journal_events events = { .safe = on_safe, .known = on_known, .full = on_full };
	struct journal_options o = { .file = file,
		.commit_ms = commit_ms,
		.commit_records = 1000,
		.max_waiting = 1 << 20,
		.keep_ms = 3600000,
		.keep_jobs = 100,
		.key_ms = 3600000,
		.max_keys = 100,
		.restore_max = 100 };
	struct journal *j;
	char err[512];

	*s = (struct seen){ 0 };
	if (journal_notes_new(l, &o, &events, s, err, sizeof(err), &j) < 0 || !j->takes_notes ||
		j->restore(j, each, s, &s->last) < 0) {
		fprintf(stderr, "no journal: %s\n", err);
		abort();
	}
	return j;
}

static void write_entry(
	struct journal *j, uint64_t seq, enum hub_persist_kind kind, uint64_t number, uint64_t attempt, const char *body)
{
	struct hub_action act = { .type = HUB_ACT_PERSIST };
	char job[16];

	(void)snprintf(job, sizeof(job), "job-%u", (unsigned)number);
	act.persist = (struct hub_record){ .seq = seq,
		.kind = kind,
		.number = number,
		.attempt = attempt,
		.job = span_of(job),
		.user = SPAN("alice"),
		.body = span_of(body),
		.note = true };
	if (j->write(j, &act) < 0)
		abort();
}

/* A hub that is killed as soon as it has written these, long before they are committed. */
static void killed(void (*writes)(struct journal *j))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct seen s;
		struct journal *j;

		if (loop_new(on_stop, NULL, &l) < 0) /* a loop does not go into a fork */
			abort();
		j = open_journal(1000, &s);
		writes(j);
		(void)raise(SIGKILL);
	}
	cr_assert(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void two_jobs(struct journal *j)
{
	write_entry(j, 1, HUB_PERSIST_SUBMIT, 1, 0, "first");
	write_entry(j, 2, HUB_PERSIST_ATTEMPT, 1, 1, "to a");
	write_entry(j, 3, HUB_PERSIST_SUBMIT, 2, 0, "second");
}

static void assert_two_jobs(const struct seen *s)
{
	bool is_there[3] = { false };
	static const char *const want[3] = { "submit 1 0 job-1 first", "attempt 1 1 job-1 to a", "submit 2 0 job-2 second" };

	for (size_t i = 0; i < s->n; i++)
		for (size_t k = 0; k < 3; k++)
			is_there[k] |= strcmp(s->what[i], want[k]) == 0;
	for (size_t k = 0; k < 3; k++)
		cr_assert(is_there[k], "\"%s\" is lost", want[k]);
	cr_assert_eq(s->n, 3);
	cr_assert_eq(s->last, 2);
}

Test(hubshell_notes, entries_that_were_not_committed_outlive_the_hub_and_are_in_the_journal_afterwards)
{
	struct seen s;
	struct journal *j;

	killed(two_jobs);
	j = open_journal(0, &s);
	assert_two_jobs(&s);
	j->free(j);
	j = open_journal(0, &s); /* once more: now from the journal alone */
	assert_two_jobs(&s);
	j->free(j);
}

static void one_more(struct journal *j)
{
	write_entry(j, 1, HUB_PERSIST_SUBMIT, 3, 0, "third");
}

Test(hubshell_notes, a_hub_killed_twice_has_all_of_both_lives)
{
	struct seen s;
	struct journal *j;

	killed(two_jobs);
	killed(one_more);
	j = open_journal(0, &s);
	cr_assert_eq(s.n, 4);
	cr_assert_eq(s.last, 3);
	j->free(j);
}

static void await_safe(const struct seen *s, uint64_t seq)
{
	for (unsigned i = 0; s->safe < seq; i++) {
		cr_assert_lt(i, 1000);
		cr_assert_eq(loop_turn(l, 1000), 1);
	}
}

Test(hubshell_notes, what_is_committed_is_not_given_twice)
{
	struct seen s;
	struct journal *j = open_journal(0, &s);

	two_jobs(j);
	await_safe(&s, 3);
	j->free(j);
	j = open_journal(0, &s);
	assert_two_jobs(&s);
	j->free(j);
}

/* More than the file holds, committed as the core lets them come. */
Test(hubshell_notes, the_file_is_used_over_and_over)
{
	static char body[20000];
	struct seen s;
	struct journal *j = open_journal(0, &s);

	memset(body, 'x', sizeof(body) - 1);
	for (uint64_t i = 1; i <= 300; i++) {
		write_entry(j, i, HUB_PERSIST_SUBMIT, i, 0, body);
		if (i % (HUB_NOTES_MAX / (sizeof(body) + HUB_NOTE_HEAD)) == 0)
			await_safe(&s, i);
	}
	await_safe(&s, 300);
	j->free(j);
}

Test(hubshell_notes, those_of_a_machine_that_went_down_are_left_alone)
{
	char path[96], other[] = "00000000-0000-0000-0000-000000000000";
	struct seen s;
	struct journal *j;
	FILE *f;

	killed(two_jobs);
	(void)snprintf(path, sizeof(path), "%s-notes", file);
	f = fopen(path, "r+e");
	cr_assert_not_null(f);
	cr_assert_eq(fseek(f, 16, SEEK_SET), 0); /* behind the magic */
	cr_assert_eq(fwrite(other, 1, sizeof(other), f), sizeof(other));
	cr_assert_eq(fclose(f), 0);
	j = open_journal(0, &s);
	cr_assert_eq(s.n, 0);
	j->free(j);
}
