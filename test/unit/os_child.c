#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "unit/os_help.h"

/* Runs a shell command and returns what it printed. */
static const char *shell(const char *command, const struct child_spec *base)
{
	static char text[4096];
	struct child_spec spec = *base;
	size_t n = 0;
	ssize_t got;
	pid_t pid;
	int fds[2], status;

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	spec.file = "/bin/sh";
	spec.argv = (const char *const[]){ "sh", "-c", command, NULL };
	spec.out = fds[1];
	cr_assert_eq(child_spawn(&spec, &pid), 0);
	(void)close(fds[1]);
	while ((got = read(fds[0], text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	(void)close(fds[0]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %d", command, status);
	return text;
}

static const struct child_spec plain = { .fd3 = -1, .out = -1, .err = -1 };

static const char list_fds[] = "ls /proc/$$/fd; true"; /* "true" keeps the shell from becoming ls */

Test(child, it_sees_only_the_descriptors_it_is_meant_to_have)
{
	int fds[2];
	struct child_spec with3 = plain;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0); /* no close-on-exec, on purpose */
	cr_assert(dup2(fds[0], 200) == 200);
	cr_assert_str_eq(shell(list_fds, &plain), "0\n1\n2\n");
	with3.fd3 = fds[1];
	cr_assert_str_eq(shell(list_fds, &with3), "0\n1\n2\n3\n");
}

Test(child, fd_3_is_the_other_end_of_the_socket)
{
	int fds[2];
	struct child_spec spec = plain;
	char text[16] = "";

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	spec.fd3 = fds[1];
	(void)shell("echo hello >&3", &spec);
	cr_assert_eq(read(fds[0], text, sizeof(text) - 1), 6);
	cr_assert_str_eq(text, "hello\n");
}

/* err is 3 and fd3 is 2: each is the other's place in the child. */
static int spawn_with_crossed_fds(int report)
{
	pid_t pid;
	int status;

	if (dup2(report, 40) < 0 || dup2(2, 3) < 0 || dup2(40, 2) < 0)
		return 1;
	if (child_spawn(&(struct child_spec){ .file = "/bin/sh",
				.argv = (const char *const[]){ "sh", "-c", "echo three >&3", NULL },
				.fd3 = 2,
				.err = 3,
				.out = -1 },
		    &pid) < 0)
		return 2;
	return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 3;
}

Test(child, the_descriptors_given_may_be_any_numbers_in_any_order)
{
	char text[16] = "";
	int fds[2], status;
	pid_t middle;

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	middle = fork(); /* not here: fd 3 is the test framework's */
	if (middle == 0)
		_exit(spawn_with_crossed_fds(fds[1]));
	cr_assert_eq(waitpid(middle, &status, 0), middle);
	cr_assert_eq(status, 0);
	cr_assert_eq(read(fds[0], text, sizeof(text) - 1), 6);
	cr_assert_str_eq(text, "three\n");
}

Test(child, hazard_05_sigpipe_and_all_other_signals_are_default_in_it)
{
	sigset_t set;

	cr_assert(signal(SIGPIPE, SIG_IGN) != SIG_ERR && signal(SIGHUP, SIG_IGN) != SIG_ERR);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	cr_assert_str_eq(shell("grep -E '^Sig(Blk|Ign)' /proc/self/status", &plain),
		"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

Test(child, its_environment_is_what_was_given)
{
	struct child_spec spec = plain;

	cr_assert_eq(setenv("SECRET", "canary", 1), 0);
	cr_assert_null(strstr(shell("cat /proc/$$/environ", &spec), "SECRET"));
	spec.envp = (const char *const[]){ "A=1", NULL };
	cr_assert_str_eq(shell("echo $A$SECRET", &spec), "1\n");
}

Test(child, an_exec_error_is_told_and_leaves_no_zombie)
{
	struct child_spec spec = plain;
	pid_t pid = -7;

	spec.argv = (const char *const[]){ "x", NULL };
	spec.file = "/nowhere/at-all";
	cr_assert_eq(child_spawn(&spec, &pid), -ENOENT);
	spec.file = "/etc/passwd";
	cr_assert_eq(child_spawn(&spec, &pid), -EACCES);
	cr_assert_eq(pid, -7);
	cr_assert(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

Test(child, no_descriptor_is_left_open_in_the_parent)
{
	int first = dup(0), last;

	(void)close(first);
	for (int i = 0; i < 5; i++) {
		pid_t pid;

		(void)shell("true", &plain);
		cr_assert(child_spawn(&(struct child_spec){ .file = "/nowhere",
					      .argv = (const char *const[]){ "x", NULL },
					      .fd3 = -1,
					      .out = -1,
					      .err = -1 },
				  &pid) < 0);
	}
	last = dup(0);
	cr_assert_eq(first, last);
}

Test(child, a_group_of_its_own_when_asked)
{
	struct child_spec spec = plain;
	char group[32];

	(void)snprintf(group, sizeof(group), "%d\n", (int)getpgrp());
	cr_assert_str_eq(shell("cut -d' ' -f5 /proc/$$/stat", &plain), group);
	spec.new_group = true;
	cr_assert_str_eq(shell("[ $(cut -d' ' -f5 /proc/$$/stat) = $$ ] && echo own", &spec), "own\n");
}

Test(child, it_dies_when_its_parent_does)
{
	int fds[2];
	char c;
	pid_t middle;

	cr_assert_eq(pipe(fds), 0);
	middle = fork();
	if (middle == 0) { /* the parent that dies; the child holds the pipe open while it lives */
		pid_t pid;

		if (child_spawn(&(struct child_spec){ .file = "/bin/sleep",
					.argv = (const char *const[]){ "sleep", "600", NULL },
					.fd3 = fds[1],
					.out = -1,
					.err = -1,
					.die_with_parent = true },
			    &pid) < 0)
			_exit(1);
		_exit(0);
	}
	(void)close(fds[1]);
	cr_assert_eq(waitpid(middle, NULL, 0), middle);
	(void)alarm(HELP_DEADLINE_MS / 1000);
	cr_assert_eq(read(fds[0], &c, 1), 0, "the pipe ends when the child is gone");
}

Test(child, a_program_is_found_beside_ours_then_in_the_fallback_then_in_path)
{
	char *dir = help_dir(), *file, *found;

	found = child_find("unit_os", NULL);
	cr_assert_not_null(found);
	cr_assert_not_null(strstr(found, "/unit_os"));
	free(found);

	cr_assert(asprintf(&file, "%s/shoal-test-program", dir) > 0);
	cr_assert_null(child_find("shoal-test-program", dir));
	cr_assert_eq(close(open(file, O_CREAT | O_WRONLY, 0755)), 0);
	found = child_find("shoal-test-program", dir);
	cr_assert_str_eq(found, file);
	free(found);

	cr_assert_eq(setenv("PATH", "::/nowhere:/bin", 1), 0);
	found = child_find("sh", dir);
	cr_assert_str_eq(found, "/bin/sh");
	free(found);
	(void)unlink(file);
	(void)rmdir(dir);
	free(file);
	free(dir);
}
