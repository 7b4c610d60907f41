#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef __has_feature
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif

/* At exit LeakSanitizer stops all threads through ptrace, from a process it clones. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_FEATURE(address_sanitizer) ||                      \
	HAS_FEATURE(thread_sanitizer)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

/* By name: a name that the machine's architecture does not have is passed over. */
static const char *const allowed[] = {
	/* the descriptors there are, and fd 3 above all */
	"read",
	"readv",
	"pread64",
	"preadv",
	"write",
	"writev",
	"close",
	"lseek",
	"_llseek",
	"fcntl",
	"fcntl64",
	"poll",
	"ppoll",
	"ppoll_time64",
	"recv",
	"recvfrom",
	"recvmsg",
	"send",
	"sendto",
	"sendmsg",
	"shutdown",
	"fadvise64",
	"fadvise64_64",
	"arm_fadvise64_64",
	"readahead",
	/* the C library asks about descriptors with those that take a name as well */
	"fstat",
	"fstat64",
	"newfstatat",
	"fstatat64",
	"statx",
	/* memory; mapping is below */
	"munmap",
	"mremap",
	"madvise",
	"brk",
	"mincore",
	"mlock",
	"mlock2",
	"munlock",
	"membarrier",
	/* threads; starting one is below */
	"futex",
	"futex_time64",
	"futex_waitv",
	"set_robust_list",
	"rseq",
	"set_tid_address",
	"sched_yield",
	"sched_getaffinity",
	"sched_getparam",
	"sched_getscheduler",
	"sched_get_priority_min",
	"sched_get_priority_max",
	"getcpu",
	"gettid",
	"exit",
	"exit_group",
	/* time, chance, and who am I */
	"clock_gettime",
	"clock_gettime64",
	"clock_getres",
	"clock_getres_time64",
	"clock_nanosleep",
	"clock_nanosleep_time64",
	"nanosleep",
	"gettimeofday",
	"time",
	"times",
	"getrandom",
	"getpid",
	"getppid",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getuid32",
	"geteuid32",
	"getgid32",
	"getegid32",
	"getrusage",
	"getrlimit",
	"ugetrlimit",
	"sysinfo",
	"uname",
	/* signals to itself; sending one is below */
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"sigreturn",
	"sigaltstack",
	"restart_syscall",
	"pause",
};

static const char *const deadly[] = { "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev" };

static const char *const sanitizers_need[] = { "ptrace", "clone", "wait4", "prctl", "tgkill", "kill", "getdents",
	"getdents64", "stat", "stat64", "lstat", "lstat64", "access", "readlink", "readlinkat", "getcwd" };

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static int add(
	scmp_filter_ctx f, uint32_t action, const char *name, unsigned n_conditions, const struct scmp_arg_cmp *conditions)
{
	int number = seccomp_syscall_resolve_name(name);

	return number < 0 ? 0 : seccomp_rule_add_array(f, action, number, n_conditions, conditions);
}

static int add_all(scmp_filter_ctx f, uint32_t action, const char *const *names, size_t n)
{
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++)
		rc = add(f, action, names[i], 0, NULL);
	return rc;
}

/* Calls that are right with some arguments only.  What lies behind a pointer a filter cannot
 * see: clone3() is said not to exist, so that the C library falls back on clone(). */
static int add_conditional(scmp_filter_ctx f)
{
	const scmp_datum_t writing = O_ACCMODE | O_CREAT | O_TRUNC;
	const struct {
		const char *name;
		struct scmp_arg_cmp when;
	} rules[] = {
		{ "open", SCMP_A1(SCMP_CMP_MASKED_EQ, writing, O_RDONLY) },
		{ "openat", SCMP_A2(SCMP_CMP_MASKED_EQ, writing, O_RDONLY) },
		{ "mmap", SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
		{ "mmap2", SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
		{ "mprotect", SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
		{ "clone", SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD) },
		{ "tgkill", SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()) },
		{ "prlimit64", SCMP_A2(SCMP_CMP_EQ, 0) },
		{ "prctl", SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME) },
	};
	int rc = add(f, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);

	/* The first two are a sanitizer's: all that an engine reads it is given. */
	for (size_t i = IS_SANITIZED ? 0 : 2; i < LENGTH(rules) && rc == 0; i++)
		rc = add(f, SCMP_ACT_ALLOW, rules[i].name, 1, &rules[i].when);
	return rc;
}

static int filter_calls(void)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc;

	if (f == NULL)
		return ERR_NOMEM;
	rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	if (rc == 0)
		rc = add_all(f, SCMP_ACT_ALLOW, allowed, LENGTH(allowed));
	if (rc == 0)
		rc = add_conditional(f);
	if (rc == 0)
		rc = IS_SANITIZED ? add_all(f, SCMP_ACT_ALLOW, sanitizers_need, LENGTH(sanitizers_need))
				  : add_all(f, SCMP_ACT_KILL_PROCESS, deadly, LENGTH(deadly));
	if (rc == 0)
		rc = seccomp_load(f);
	seccomp_release(f);
	return rc;
}

static int limit(int what, rlim_t max)
{
	struct rlimit r = { .rlim_cur = max, .rlim_max = max };

	return setrlimit(what, &r) < 0 ? -errno : 0;
}

int sandbox_enter(void)
{
	int rc = limit(RLIMIT_CORE, 0);

	if (rc == 0)
		rc = limit(RLIMIT_NOFILE, SANDBOX_MAX_FDS);
	if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = -errno;
	/* What others asked and were told is in this memory: no debugger of the same user, no dump. */
	if (rc == 0 && !IS_SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		rc = -errno;
	if (rc < 0)
		return rc;
	/* Asking with no filter tells whether the kernel knows filters: EFAULT when it does. */
	if (prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, NULL, 0, 0) < 0 && errno != EFAULT)
		return -ENOSYS;
	return filter_calls();
}
