/* race_journal.c - the loop writes, asks how it fares and drains, while the journal's thread
 * commits: they share the queue between them and nothing else. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "journal.h"
#include "log.h"

#define N_RECORDS 2000
#define N_KEYS 50
#define DEADLINE_MS 60000

static uint64_t safe_seq;

static void on_safe(void *ctx, uint64_t seq)
{
	(void)ctx;
	safe_seq = seq;
}

static void on_known(void *ctx, struct span job, const struct hub_record *end)
{
	(void)ctx, (void)job, (void)end;
}

static void on_full(void *ctx, bool is_full)
{
	(void)ctx, (void)is_full;
}

static void on_kept(void *ctx, const struct hub_record *r)
{
	*(size_t *)ctx += r->body.n > 0;
}

static int open_journal(struct loop *l, char *file, struct journal **ret, size_t *ret_kept)
{
	static const struct journal_events events = { .safe = on_safe, .known = on_known, .full = on_full };
	struct journal_options o = { .file = file,
		.commit_records = 16,
		.max_waiting = 16 << 20,
		.reserve = 65536,
		.keep_ms = 3600000,
		.keep_jobs = 1000,
		.key_ms = 3600000,
		.max_keys = 1000,
		.restore_max = 1000 };
	char err[512];
	uint64_t last;

	*ret_kept = 0;
	if (journal_notes_new(l, &o, &events, NULL, err, sizeof(err), ret) < 0) {
		fprintf(stderr, "%s\n", err);
		return -1;
	}
	return (*ret)->restore(*ret, on_kept, ret_kept, &last);
}

/* One value for each of a few keys, again and again. */
static int write_one(struct journal *j, uint64_t seq)
{
	char key[16];
	struct hub_action a = { .type = HUB_ACT_PERSIST };

	(void)snprintf(key, sizeof(key), "key-%llu", (unsigned long long)(seq % N_KEYS));
	a.persist = (struct hub_record){
		.seq = seq, .kind = HUB_PERSIST_FIRST_VALUE, .job = span_of(key), .body = span_of(key)
	};
	a.persist.note = j->takes_notes && seq % 3 == 0;
	return j->write(j, &a);
}

static int write_all(struct loop *l, struct journal *j)
{
	uint64_t end_ms = clock_ms() + DEADLINE_MS;
	struct journal_stats stats;
	int rc = 0;

	for (uint64_t seq = 1; rc == 0 && seq <= N_RECORDS; seq++) {
		rc = write_one(j, seq);
		if (seq % 7 == 0)
			j->stats(j, &stats);
		if (rc == 0 && seq % 10 == 0)
			rc = loop_turn(l, 0) > 0 ? 0 : -1;
	}
	while (rc == 0 && safe_seq < N_RECORDS / 2) /* the rest is drain()'s */
		rc = clock_ms() < end_ms && loop_turn(l, 1) > 0 ? 0 : -1;
	j->drain(j, DEADLINE_MS);
	return rc;
}

static void on_stop(void *ctx, int signo)
{
	(void)signo;
	loop_exit(*(struct loop **)ctx, 1);
}

int main(void)
{
	static struct loop *l;
	char dir[] = "/tmp/shoal-race-XXXXXX", file[64], command[64];
	struct journal *j;
	size_t before = 1, kept = 0;
	int rc = mkdtemp(dir) != NULL ? loop_new(on_stop, &l, &l) : -1;

	log_init("race", LOG_WARN);
	(void)snprintf(file, sizeof(file), "%s/journal.db", dir);
	if (rc == 0 && (rc = open_journal(l, file, &j, &before)) == 0) {
		rc = write_all(l, j);
		j->free(j);
	}
	if (rc == 0 && (rc = open_journal(l, file, &j, &kept)) == 0)
		j->free(j);
	loop_free(l);
	(void)snprintf(command, sizeof(command), "rm -r %s", dir);
	if (system(command) != 0 || rc < 0 || before != 0 || safe_seq != N_RECORDS || kept != N_KEYS) {
		fprintf(stderr, "result %d, %zu kept before and %zu after, safe up to %llu\n", rc, before, kept,
			(unsigned long long)safe_seq);
		return 1;
	}
	return 0;
}
