#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "statedir.h"

static char dir[64];
static char err[512];

static void set_up(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/shoal-statedir-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL);
}

static void tear_down(void)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	cr_assert_eq(system(cmd), 0);
}

static struct statedir *open_in(const char *sub)
{
	struct statedir *s = NULL;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s%s", dir, sub);
	cr_assert_eq(statedir_open(path, "x.pid", err, sizeof(err), &s), 0, "%s", err);
	return s;
}

static void put(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	cr_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

TestSuite(statedir, .init = set_up, .fini = tear_down);

Test(statedir, each_life_has_a_greater_epoch)
{
	for (uint64_t want = 1; want <= 3; want++) {
		struct statedir *s = open_in("/a/b");
		uint64_t epoch = 0;

		cr_assert_eq(statedir_epoch(s, err, sizeof(err), &epoch), 0, "%s", err);
		cr_assert_eq(epoch, want);
		statedir_free(s);
	}
}

Test(statedir, a_second_process_is_told_that_the_directory_is_in_use)
{
	struct statedir *first = open_in("");
	char line[32] = "", path[128];
	FILE *f;
	int status;
	pid_t pid;

	(void)snprintf(path, sizeof(path), "%s/x.pid", dir);
	f = fopen(path, "r");
	cr_assert(f != NULL && fgets(line, sizeof(line), f) != NULL);
	(void)fclose(f);
	cr_assert_eq(strtol(line, NULL, 10), (long)getpid());
	pid = fork();
	if (pid == 0) {
		struct statedir *s = NULL;

		_exit(statedir_open(dir, "x.pid", err, sizeof(err), &s) < 0 && strstr(err, "another process") != NULL ? 0
														      : 1);
	}
	cr_assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0);
	statedir_free(first);
	cr_assert_eq(access(path, F_OK), -1);
	statedir_free(open_in(""));
}

Test(statedir, a_damaged_epoch_is_refused_never_guessed)
{
	static const char *const bad[] = { "", "x\n", "12", "-3\n", "1 2\n", "99999999999999999999999\n" };
	struct statedir *s = open_in("");
	uint64_t epoch = 77;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put("epoch", bad[i]);
		cr_assert_eq(statedir_epoch(s, err, sizeof(err), &epoch), ERR_MALFORMED, "case %zu", i);
		cr_assert_eq(epoch, 77);
	}
	put("epoch", "41\n");
	cr_assert_eq(statedir_epoch(s, err, sizeof(err), &epoch), 0);
	cr_assert_eq(epoch, 42);
	statedir_free(s);
}

Test(statedir, a_stale_pid_file_does_not_keep_a_daemon_from_starting)
{
	put("x.pid", "1\n");
	statedir_free(open_in(""));
}

Test(statedir, a_directory_that_cannot_be_is_said_in_a_sentence)
{
	struct statedir *s = NULL;

	cr_assert_lt(statedir_open("/proc/nowhere/x", "x.pid", err, sizeof(err), &s), 0);
	cr_assert(strstr(err, "/proc/nowhere/x") != NULL && strstr(err, "state_dir") != NULL, "%s", err);
}
