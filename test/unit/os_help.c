#include "unit/os_help.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

static void on_stop(void *ctx, int signo)
{
	loop_exit(*(struct loop **)ctx, 128 + signo);
}

struct loop *help_loop(void)
{
	static struct loop *l; /* one a test: Criterion runs each in its own process */

	cr_assert_eq(loop_new(on_stop, &l, &l), 0);
	return l;
}

bool help_wait(struct loop *l, bool (*is_true)(void *ctx), void *ctx, unsigned timeout_ms)
{
	uint64_t end_ms = clock_ms() + timeout_ms;

	while (!is_true(ctx)) {
		uint64_t now_ms = clock_ms();

		if (now_ms >= end_ms)
			return false;
		if (loop_turn(l, end_ms - now_ms) <= 0)
			return is_true(ctx);
	}
	return true;
}

static bool is_set(void *ctx)
{
	return *(const bool *)ctx;
}

bool help_wait_flag(struct loop *l, const bool *flag)
{
	return help_wait(l, is_set, (void *)(uintptr_t)flag, HELP_DEADLINE_MS);
}

static bool never(void *ctx)
{
	(void)ctx;
	return false;
}

void help_idle(struct loop *l, unsigned ms)
{
	(void)help_wait(l, never, NULL, ms);
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
}

int help_free_port(void)
{
	struct sockaddr_in a = loopback(0);
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, len) == 0 && getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	(void)close(fd);
	return ntohs(a.sin_port);
}

char *help_dir(void)
{
	const char *tmp = getenv("TMPDIR");
	char *dir;

	cr_assert(asprintf(&dir, "%s/shoal-unit-XXXXXX", tmp != NULL ? tmp : "/tmp") > 0);
	cr_assert_not_null(mkdtemp(dir));
	return dir;
}

static bool accepts(int port)
{
	struct sockaddr_in a = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

	(void)close(fd);
	return ok;
}

/* "user root": a broker that changes its user loses the signal of its parent's death. */
static void write_config(const char *path, int port, const char *extra)
{
	FILE *f = fopen(path, "we");

	cr_assert_not_null(f);
	(void)fprintf(f,
		"per_listener_settings false\nlistener %d 127.0.0.1\nallow_anonymous true\npersistence false\n"
		"set_tcp_nodelay true\nmax_queued_messages 20000\nlog_dest none\n%s\n%s\n",
		port, geteuid() == 0 ? "user root" : "", extra != NULL ? extra : "");
	cr_assert_eq(fclose(f), 0);
}

void help_broker_start(struct help_broker *b, int port, const char *extra)
{
	char *file = child_find("mosquitto", "/usr/sbin"), *conf;
	uint64_t end_ms = clock_ms() + HELP_DEADLINE_MS;
	int status, null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (file == NULL)
		cr_skip_test("mosquitto is not installed");
	b->port = port;
	b->dir = help_dir();
	cr_assert(asprintf(&conf, "%s/mosquitto.conf", b->dir) > 0);
	write_config(conf, port, extra);
	cr_assert_eq(child_spawn(&(struct child_spec){ .file = file,
					 .argv = (const char *const[]){ file, "-c", conf, NULL },
					 .fd3 = -1,
					 .out = null,
					 .err = null,
					 .die_with_parent = true },
			     &b->pid),
		0);
	while (!accepts(port)) { /* it has no other way to say that it is ready */
		cr_assert(clock_ms() < end_ms && waitpid(b->pid, &status, WNOHANG) == 0,
			"mosquitto does not accept on port %d", port);
		(void)usleep(5000);
	}
	(void)close(null);
	free(conf);
	free(file);
}

void help_broker_stop(struct help_broker *b, int signo)
{
	char *conf;

	cr_assert_eq(kill(b->pid, signo), 0);
	while (waitpid(b->pid, NULL, 0) < 0)
		cr_assert_eq(errno, EINTR);
	b->pid = 0;
	cr_assert(asprintf(&conf, "%s/mosquitto.conf", b->dir) > 0);
	(void)unlink(conf);
	(void)rmdir(b->dir);
	free(conf);
	free(b->dir);
	b->dir = NULL;
}
