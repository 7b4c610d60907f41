#include "statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct statedir {
	char *path;
	char pid_name[64];
	int dir_fd, pid_fd;
};

static int fail(char *err, size_t err_size, int rc, const char *what, const char *path, const char *name)
{
	(void)snprintf(err, err_size, "cannot %s %s%s%s: %s; see state_dir", what, path, name[0] != '\0' ? "/" : "", name,
		strerror(-rc));
	return rc;
}

/* The directory and its parents. */
static int make_dirs(const char *path)
{
	char *p = strdup(path);
	int rc = p != NULL ? 0 : -ENOMEM;

	for (char *slash = p; rc == 0 && slash != NULL;) {
		slash = strchr(slash + 1, '/');
		if (slash != NULL)
			*slash = '\0';
		if (mkdir(p, 0700) < 0 && errno != EEXIST)
			rc = -errno;
		if (slash != NULL)
			*slash = '/';
	}
	free(p);
	return rc;
}

/* Opens and locks the pid file.  A daemon that just stopped may have removed the file between
 * our open and our lock: then the lock is on a file that is gone, and it is done again. */
static int lock_pid(struct statedir *s)
{
	for (int tries = 0; tries < 10; tries++) {
		struct stat held, named;
		int fd = openat(s->dir_fd, s->pid_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			int rc = -errno;
			(void)close(fd);
			return rc;
		}
		if (fstat(fd, &held) == 0 && fstatat(s->dir_fd, s->pid_name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
			held.st_ino == named.st_ino) {
			s->pid_fd = fd;
			return 0;
		}
		(void)close(fd);
	}
	return -EAGAIN;
}

static int write_all(int fd, const char *text, size_t n)
{
	ssize_t done;

	do
		done = write(fd, text, n);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -errno : (size_t)done == n ? 0 : -ENOSPC;
}

int statedir_open(const char *path, const char *pid_name, char *err, size_t err_size, struct statedir **ret)
{
	struct statedir *s = calloc(1, sizeof(*s));
	char text[32];
	int rc = -ENOMEM, n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

	if (s == NULL || (s->path = strdup(path)) == NULL) {
		free(s);
		return fail(err, err_size, rc, "use", path, "");
	}
	s->dir_fd = s->pid_fd = -1;
	(void)snprintf(s->pid_name, sizeof(s->pid_name), "%s", pid_name);
	if ((rc = make_dirs(path)) < 0 || (s->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		rc = rc < 0 ? rc : -errno;
		(void)fail(err, err_size, rc, "make", path, "");
	} else if ((rc = lock_pid(s)) == -EWOULDBLOCK) {
		(void)snprintf(err, err_size,
			"%s/%s is locked: another process uses this state_dir; stop it or give each its own", path,
			pid_name);
	} else if (rc < 0 || (ftruncate(s->pid_fd, 0) < 0 && (rc = -errno) < 0) ||
		   (rc = write_all(s->pid_fd, text, (size_t)n)) < 0) {
		(void)fail(err, err_size, rc, "write", path, pid_name);
	}
	if (rc < 0) {
		statedir_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

/* 0 with *ret = 0 when there is none yet; a damaged one is an error: to guess would be to repeat a life. */
static int read_epoch(struct statedir *s, uint64_t *ret)
{
	char text[32] = "", *end;
	int fd = openat(s->dir_fd, "epoch", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n;

	*ret = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	if (n <= 0 || text[0] < '0' || text[0] > '9')
		return ERR_MALFORMED;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno == 0 && *end == '\n' && *ret < UINT64_MAX ? 0 : ERR_MALFORMED;
}

static int write_epoch(struct statedir *s, uint64_t epoch)
{
	char text[32];
	int rc = 0, n = snprintf(text, sizeof(text), "%" PRIu64 "\n", epoch);
	int fd = openat(s->dir_fd, "epoch.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	rc = write_all(fd, text, (size_t)n);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	(void)close(fd);
	if (rc == 0 && renameat(s->dir_fd, "epoch.new", s->dir_fd, "epoch") < 0)
		rc = -errno;
	if (rc == 0 && fsync(s->dir_fd) < 0)
		rc = -errno;
	return rc;
}

int statedir_epoch(struct statedir *s, char *err, size_t err_size, uint64_t *ret)
{
	uint64_t epoch;
	int rc = read_epoch(s, &epoch);

	if (rc == ERR_MALFORMED) {
		(void)snprintf(err, err_size,
			"%s/epoch is damaged; write into it a number greater than any that was in use, or remove the "
			"directory and give this daemon a new name",
			s->path);
		return rc;
	}
	if (rc < 0)
		return fail(err, err_size, rc, "read", s->path, "epoch");
	rc = write_epoch(s, epoch + 1);
	if (rc < 0)
		return fail(err, err_size, rc, "write", s->path, "epoch");
	*ret = epoch + 1;
	return 0;
}

int statedir_fd(const struct statedir *s)
{
	return s->dir_fd;
}

struct statedir *statedir_free(struct statedir *s)
{
	if (s == NULL)
		return NULL;
	if (s->pid_fd >= 0) {
		(void)unlinkat(s->dir_fd, s->pid_name, 0); /* a stale file would only be locked and used again */
		(void)close(s->pid_fd);
	}
	if (s->dir_fd >= 0)
		(void)close(s->dir_fd);
	free(s->path);
	free(s);
	return NULL;
}
