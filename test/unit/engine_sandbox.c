/* The engine's sandbox, each time in a process of its own: what it forbids is refused, what a
 * loader and its threads need goes on. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox.h"

#define MODEL SHOAL_SOURCE_DIR "/models/shoal-triage.gguf"
#define EXIT_NO_FILTER 125
#define EXIT_NO_SANDBOX 126

static int opened[2]; /* of a socketpair, from before */
static int file;      /* for reading, from before */
static char path[64]; /* a file that is there */

/* What a case does once it is locked in; its result is the process's exit status: 0 or errno. */
typedef int (*doing)(void);

static int result(long rc)
{
	return rc < 0 ? errno : 0;
}

static void set_up(void)
{
	int fd;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, opened), 0);
	file = open(MODEL, O_RDONLY);
	cr_assert_geq(file, 0);
	snprintf(path, sizeof(path), "/tmp/shoal-sandbox-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	close(fd);
}

static void tear_down(void)
{
	unlink(path);
}

/* A skipped test is not torn down. */
static void skip(const char *why)
{
	tear_down();
	cr_skip_test("%s", why);
}

/* The wait status of a process that does it in the sandbox. */
static int in_sandbox(doing what)
{
	pid_t pid = fork();
	int status;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		int rc = sandbox_enter();

		if (rc < 0)
			_exit(rc == -ENOSYS ? EXIT_NO_FILTER : EXIT_NO_SANDBOX);
		_exit(what());
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NO_FILTER)
		skip("this kernel has no system-call filter");
	return status;
}

TestSuite(sandbox, .init = set_up, .fini = tear_down);

/* ---- refused ---- */

static int internet(void)
{
	return result(socket(AF_INET, SOCK_STREAM, 0));
}

static int local_socket(void)
{
	return result(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int new_pair(void)
{
	int sv[2];

	return result(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
}

static int open_to_read(void)
{
	return result(open(MODEL, O_RDONLY));
}

static int look_at(void)
{
	return result(access(MODEL, R_OK));
}

static int read_link(void)
{
	char to[64];

	return result(readlink("/proc/self/exe", to, sizeof(to)));
}

static int open_to_write(void)
{
	return result(open(path, O_WRONLY));
}

static int open_for_both(void)
{
	return result(open(path, O_RDWR));
}

static int empty_file(void)
{
	return result(open(path, O_RDONLY | O_TRUNC));
}

static int new_file(void)
{
	return result(open("/tmp/shoal-sandbox-new", O_RDONLY | O_CREAT, 0600));
}

static int nameless_file(void)
{
	return result(open("/tmp", O_TMPFILE | O_WRONLY, 0600));
}

static int remove_file(void)
{
	return result(unlink(path));
}

static int rename_file(void)
{
	return result(rename(path, "/tmp/shoal-sandbox-renamed"));
}

static int new_folder(void)
{
	return result(mkdir("/tmp/shoal-sandbox-folder", 0700));
}

static int mode_of_file(void)
{
	return result(chmod(path, 0777));
}

static int signal_parent(void)
{
	return result(kill(getppid(), 0));
}

static int map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}

static int make_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? 1 : result(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int raise_limit(void)
{
	struct rlimit r = { 1024, 1024 };

	return result(setrlimit(RLIMIT_NOFILE, &r));
}

static int new_user(void)
{
	return result(setuid(65534));
}

static int new_namespace(void)
{
	return result(syscall(SYS_unshare, 0x10000000 /* CLONE_NEWUSER */));
}

static int by_ring(void)
{
	return result(syscall(SYS_io_uring_setup, 1, NULL));
}

static int in_memory_file(void)
{
	return result(memfd_create("x", 0));
}

/* Not in builds with sanitizers, which do these themselves. */
static int second_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return result(pid);
}

static int dumpable_again(void)
{
	return result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

struct attempt {
	const char *name;
	doing what;
};

#define ATTEMPT(f)                                                                                                          \
	{                                                                                                                   \
#f, f                                                                                                       \
	}

static void expect_refused(const struct attempt *a, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int status = in_sandbox(a[i].what);

		cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == EPERM, "%s: wait status %#x, not EPERM", a[i].name,
			status);
	}
}

Test(sandbox, what_a_loader_never_needs_is_refused)
{
	static const struct attempt all[] = { ATTEMPT(internet), ATTEMPT(local_socket), ATTEMPT(new_pair),
		ATTEMPT(open_to_write), ATTEMPT(open_for_both), ATTEMPT(empty_file), ATTEMPT(new_file),
		ATTEMPT(nameless_file), ATTEMPT(remove_file), ATTEMPT(rename_file), ATTEMPT(new_folder),
		ATTEMPT(mode_of_file), ATTEMPT(map_code), ATTEMPT(make_code), ATTEMPT(raise_limit), ATTEMPT(new_user),
		ATTEMPT(new_namespace), ATTEMPT(by_ring), ATTEMPT(in_memory_file) };
	static const struct attempt plain[] = { ATTEMPT(open_to_read), ATTEMPT(look_at), ATTEMPT(read_link),
		ATTEMPT(second_process), ATTEMPT(signal_parent), ATTEMPT(dumpable_again) };

	expect_refused(all, sizeof(all) / sizeof(all[0]));
	if (!IS_SANITIZED)
		expect_refused(plain, sizeof(plain) / sizeof(plain[0]));
}

/* ---- deadly ---- */

static int run_program(void)
{
	char *const argv[] = { (char[]){ "/bin/true" }, NULL };

	return result(execve(argv[0], argv, argv + 1));
}

static int trace(void)
{
	return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int look_into_parent(void)
{
	char c;
	struct iovec here = { &c, 1 }, there = { (void *)opened, 1 };

	return result(process_vm_readv(getppid(), &here, 1, &there, 1, 0));
}

Test(sandbox, what_only_an_attacker_does_ends_the_process)
{
	static const struct attempt all[] = { ATTEMPT(run_program), ATTEMPT(trace), ATTEMPT(look_into_parent) };

	if (IS_SANITIZED)
		skip("sanitizers trace at exit: they are let through in their builds");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int status = in_sandbox(all[i].what);

		cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%s: wait status %#x, not SIGSYS", all[i].name,
			status);
	}
}

/* ---- goes on ---- */

static int read_old(void)
{
	char head[4];

	return pread(file, head, sizeof(head), 0) == 4 && memcmp(head, "GGUF", 4) == 0 ? 0 : 1;
}

/* A file that comes over a socket, as an engine's do. */
static int read_given(void)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	char c;
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct stat st;
	char *p;
	int fd;

	if (recvmsg(opened[1], &m, MSG_CMSG_CLOEXEC) != 1 || CMSG_FIRSTHDR(&m) == NULL)
		return 1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	if (fstat(fd, &st) < 0)
		return errno;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	return p == MAP_FAILED || memcmp(p, "GGUF", 4) != 0 || munmap(p, (size_t)st.st_size) < 0 ? 1 : close(fd);
}

static void send_file(void)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	*CMSG_FIRSTHDR(&m) = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &file, sizeof(file));
	cr_assert_eq(sendmsg(opened[0], &m, 0), 1);
}

static void *double_it(void *x)
{
	*(int *)x *= 2;
	return x;
}

static int threads(void)
{
	pthread_t t[4];
	int x[4] = { 1, 2, 3, 4 };

	for (int i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, double_it, &x[i]) != 0)
			return 1;
	for (int i = 0; i < 4; i++)
		if (pthread_join(t[i], NULL) != 0)
			return 2;
	return x[0] + x[1] + x[2] + x[3] == 20 ? 0 : 3;
}

static int memory(void)
{
	size_t n = (size_t)8 << 20;
	char *p = malloc(n), *q;

	if (p == NULL)
		return 1;
	memset(p, 1, n);
	q = realloc(p, 4 * n);
	if (q == NULL || q[n - 1] != 1)
		return 2;
	free(q);
	return 0;
}

static int talk(void)
{
	struct pollfd p = { .fd = opened[1], .events = POLLIN };
	char c = 0;

	return send(opened[0], "x", 1, MSG_NOSIGNAL) == 1 && poll(&p, 1, 1000) == 1 && recv(opened[1], &c, 1, 0) == 1 &&
			       c == 'x'
		       ? 0
		       : errno;
}

static int tell_time(void)
{
	struct timespec t = { .tv_nsec = 1 };

	return clock_gettime(CLOCK_MONOTONIC, &t) < 0 || nanosleep(&(struct timespec){ .tv_nsec = 1 }, NULL) < 0 ? errno : 0;
}

static int say(void)
{
	return result(write(STDERR_FILENO, "", 0));
}

Test(sandbox, what_a_loader_and_its_threads_need_goes_on)
{
	static const struct attempt all[] = { ATTEMPT(read_old), ATTEMPT(read_given), ATTEMPT(threads), ATTEMPT(memory),
		ATTEMPT(talk), ATTEMPT(tell_time), ATTEMPT(say) };

	send_file();
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int status = in_sandbox(all[i].what);

		cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: wait status %#x", all[i].name, status);
	}
}

static int fall(void)
{
	abort();
}

/* A failed assertion of a library must look like one. */
Test(sandbox, abort_still_ends_it_with_sigabrt)
{
	int status = in_sandbox(fall);

	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "wait status %#x", status);
	cr_expect(!WCOREDUMP(status), "it left a core");
}

static int state(void)
{
	struct rlimit core, fds;

	if (getrlimit(RLIMIT_CORE, &core) < 0 || getrlimit(RLIMIT_NOFILE, &fds) < 0)
		return 1;
	if (core.rlim_max != 0 || fds.rlim_max != SANDBOX_MAX_FDS)
		return 2;
	for (int i = 0; i < SANDBOX_MAX_FDS; i++)
		if (fcntl(file, F_DUPFD_CLOEXEC, 0) < 0)
			return errno == EMFILE ? 0 : 3;
	return 4;
}

Test(sandbox, it_has_few_descriptors_and_leaves_no_core)
{
	int status = in_sandbox(state);

	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status %#x", status);
}
