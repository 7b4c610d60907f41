#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 2000
#define LONG_LIFE_MS 10000

struct proc {
	struct loop *loop;
	struct proc_spec spec;
	struct loop_child *child; /* NULL: not running */
	struct loop_timer *again;
	uint64_t started_ms, pause_ms;
};

static bool path_of(const struct proc *p, const char *suffix, char ret[PATH_MAX])
{
	return snprintf(ret, PATH_MAX, "%s/%s%s", p->spec.dir, p->spec.base, suffix) < PATH_MAX;
}

/* Whole or not at all: someone may read it at any moment. */
static int write_pid(const struct proc *p, pid_t pid)
{
	char path[PATH_MAX], temporary[PATH_MAX];
	FILE *f;

	if (!p->spec.wants_pid_file)
		return 0;
	if (!path_of(p, ".pid", path) || !path_of(p, ".pid.new", temporary))
		return -ENAMETOOLONG;
	f = fopen(temporary, "we");
	if (f == NULL)
		return -errno;
	fprintf(f, "%ld\n", (long)pid);
	if (fclose(f) != 0 || rename(temporary, path) < 0)
		return -errno;
	return 0;
}

static void remove_pid(const struct proc *p)
{
	char path[PATH_MAX];

	if (p->spec.wants_pid_file && path_of(p, ".pid", path))
		(void)unlink(path);
}

static void on_exit_of(void *ctx, int wstatus)
{
	struct proc *p = ctx;

	p->child = loop_child_free(p->child);
	remove_pid(p);
	if (!p->spec.ended(p->spec.ctx, p, wstatus))
		return;
	if (clock_ms() - p->started_ms >= LONG_LIFE_MS)
		p->pause_ms = PAUSE_MIN_MS;
	loop_timer_at(p->again, clock_ms() + p->pause_ms);
	p->pause_ms = p->pause_ms * 2 < PAUSE_MAX_MS ? p->pause_ms * 2 : PAUSE_MAX_MS;
}

static void start_again(void *ctx)
{
	struct proc *p = ctx;

	if (proc_start(p) < 0) /* no memory or no processes left: later */
		loop_timer_at(p->again, clock_ms() + PAUSE_MAX_MS);
}

int proc_new(struct loop *l, const struct proc_spec *spec, struct proc **ret)
{
	struct proc *p = calloc(1, sizeof(*p));

	if (p == NULL || loop_timer_new(l, start_again, p, &p->again) < 0) {
		free(p);
		return ERR_NOMEM;
	}
	p->loop = l;
	p->spec = *spec;
	p->pause_ms = PAUSE_MIN_MS;
	*ret = p;
	return 0;
}

int proc_start(struct proc *p)
{
	struct child_spec spec = {
		.file = p->spec.argv[0],
		.argv = p->spec.argv,
		.envp = (const char *const *)environ,
		.fd3 = -1,
		.die_with_parent = true,
		.new_group = true,
	};
	char log[PATH_MAX];
	pid_t pid;
	int fd, rc;

	if (!path_of(p, ".log", log))
		return -ENAMETOOLONG;
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	spec.out = spec.err = fd;
	rc = child_spawn(&spec, &pid);
	(void)close(fd);
	if (rc < 0)
		return rc;
	p->started_ms = clock_ms();
	rc = loop_child_new(p->loop, pid, &(struct loop_child_callbacks){ .exited = on_exit_of }, p, &p->child);
	if (rc == 0)
		rc = write_pid(p, pid);
	if (rc < 0 && p->child == NULL) {
		(void)kill(pid, SIGKILL); /* ours and not waited for yet: nobody else has this number */
		(void)waitpid(pid, NULL, 0);
	}
	return rc;
}

void proc_stop(struct proc *p, int signo)
{
	loop_timer_off(p->again);
	if (p->child != NULL)
		loop_child_kill(p->child, signo);
}

bool proc_is_running(const struct proc *p)
{
	return p->child != NULL;
}

const char *proc_name(const struct proc *p)
{
	return p->spec.name;
}

void proc_describe(int wstatus, char *ret, size_t size)
{
	if (WIFSIGNALED(wstatus))
		snprintf(ret, size, "signal %d (%s)", WTERMSIG(wstatus), strsignal(WTERMSIG(wstatus)));
	else
		snprintf(ret, size, "exit status %d", WEXITSTATUS(wstatus));
}

/* Without a "<3>" in front. */
static const char *message_of(const char *line)
{
	return line[0] == '<' && line[1] >= '0' && line[1] <= '7' && line[2] == '>' ? line + 3 : line;
}

void proc_last_words(const struct proc *p, char *ret, size_t size)
{
	char path[PATH_MAX], line[1024];
	bool is_error = false;
	FILE *f;

	ret[0] = '\0';
	f = path_of(p, ".log", path) ? fopen(path, "re") : NULL;
	if (f == NULL)
		return;
	while (fgets(line, sizeof(line), f) != NULL) {
		bool says_error = strncmp(line, "<3>", 3) == 0 || strncmp(line, "<2>", 3) == 0;

		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '\0' || (is_error && !says_error))
			continue;
		is_error = says_error;
		snprintf(ret, size, "%s", message_of(line));
	}
	(void)fclose(f);
}

struct proc *proc_free(struct proc *p)
{
	if (p == NULL)
		return NULL;
	if (p->child != NULL) {
		loop_child_kill(p->child, SIGKILL);
		loop_child_free(p->child);
		remove_pid(p);
	}
	loop_timer_free(p->again);
	free(p);
	return NULL;
}
