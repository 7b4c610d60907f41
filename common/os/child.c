/* child.c - fork and exec.  Between the two only async-signal-safe calls. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FD_FIRST_CLOSED 4

/* Descriptors of the child, all moved out of the way of 0..3 first: the ones the
 * caller gave may themselves carry those numbers. */
struct child_fds {
	int null, out, err, fd3, report;
};

static int move_up(int fd)
{
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FD_FIRST_CLOSED);
}

static int settle_fds(const struct child_spec *spec, struct child_fds *fds)
{
	int report = move_up(fds->report);

	if (report < 0)
		return -1;
	fds->report = report;
	fds->null = move_up(open("/dev/null", O_RDWR | O_CLOEXEC));
	fds->out = move_up(spec->out);
	fds->err = move_up(spec->err);
	fds->fd3 = move_up(spec->fd3);
	if (fds->null < 0 || (spec->out >= 0 && fds->out < 0) || (spec->err >= 0 && fds->err < 0) ||
		(spec->fd3 >= 0 && fds->fd3 < 0))
		return -1;
	if (dup2(fds->null, STDIN_FILENO) < 0)
		return -1;
	if (fds->out >= 0 && dup2(fds->out, STDOUT_FILENO) < 0)
		return -1;
	if (fds->err >= 0 && dup2(fds->err, STDERR_FILENO) < 0)
		return -1;
	if (fds->fd3 >= 0)
		return dup2(fds->fd3, 3) < 0 ? -1 : close_range(FD_FIRST_CLOSED, UINT_MAX, CLOSE_RANGE_CLOEXEC);
	/* On exec, not at once: the report still has to get out. */
	return close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC);
}

static void default_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	/* Ignored signals stay ignored through exec, SIGPIPE first among them. */
	for (int s = 1; s < NSIG; s++)
		(void)sigaction(s, &dfl, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become(const struct child_spec *spec, pid_t parent, int report)
{
	static char *const no_env[] = { NULL };
	struct child_fds fds = { .report = report };
	int err;

	if (spec->die_with_parent) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
			goto fail;
		if (getppid() != parent) /* it died before the request was in place */
			_exit(127);
	}
	if (spec->new_group && setpgid(0, 0) < 0)
		goto fail;
	if (settle_fds(spec, &fds) < 0)
		goto fail;
	default_signals();
	/* execve() takes the strings as char *const[] but does not write to them. */
	execve(spec->file, (char *const *)spec->argv, spec->envp != NULL ? (char *const *)spec->envp : no_env);
fail:
	err = errno;
	(void)!write(fds.report, &err, sizeof(err));
	_exit(127);
}

/* What the child reports: 0 when exec closed the pipe, else its errno. */
static int await_exec(int fd)
{
	int err = 0;
	ssize_t n;

	do
		n = read(fd, &err, sizeof(err));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(err) ? err : 0;
}

int child_spawn(const struct child_spec *spec, pid_t *ret_pid)
{
	sigset_t all, old;
	pid_t parent = getpid(), pid;
	int report[2], err;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	(void)sigfillset(&all); /* no handler of ours may run in the child */
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		become(spec, parent, report[1]);
	err = errno;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)close(report[1]);
	if (pid > 0) {
		err = await_exec(report[0]);
		if (err != 0)
			while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
				;
	}
	(void)close(report[0]);
	if (pid < 0 || err != 0)
		return -err;
	*ret_pid = pid;
	return 0;
}

/* dir/name as a heap string when it is a program; NULL otherwise. */
static char *program_in(const char *dir, size_t dir_len, const char *name)
{
	struct stat st;
	char *path;

	if (dir_len == 0 || asprintf(&path, "%.*s/%s", (int)dir_len, dir, name) < 0)
		return NULL;
	if (access(path, X_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode))
		return path;
	free(path);
	return NULL;
}

char *child_find(const char *name, const char *fallback_dir)
{
	char self[PATH_MAX], *slash, *path = NULL;
	const char *dirs = getenv("PATH");
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		path = program_in(self, (size_t)(slash - self), name);
	}
	if (path == NULL && fallback_dir != NULL)
		path = program_in(fallback_dir, strlen(fallback_dir), name);
	while (path == NULL && dirs != NULL && *dirs != '\0') {
		size_t len = strcspn(dirs, ":");

		path = program_in(dirs, len, name);
		dirs += len + (dirs[len] == ':');
	}
	return path;
}
