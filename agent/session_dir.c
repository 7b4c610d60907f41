#include "session_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "files.h"

#define KEPT ".kv"
#define PART ".part"

struct session_dir {
	int fd;
};

typedef char file_name[AGENT_SESSION_NAME + sizeof(PART)];

static void make_name(struct span name, const char *ending, file_name ret)
{
	(void)snprintf(ret, sizeof(file_name), "%.*s%s", SPAN_FMT(name), ending);
}

/* Whether a file is one of ours, and whose. */
static bool parse_name(const char *file, const char *ending, struct span *ret)
{
	if (strspn(file, "0123456789abcdef") != AGENT_SESSION_NAME || strcmp(file + AGENT_SESSION_NAME, ending) != 0)
		return false;
	*ret = span_mem(file, AGENT_SESSION_NAME);
	return true;
}

/* ---- what is there ---- */

struct entry {
	char name[AGENT_SESSION_NAME];
	uint64_t bytes;
	struct timespec used;
};

struct entries {
	struct entry *list;
	size_t n, cap;
};

static int add_entry(struct entries *all, struct span name, const struct stat *st)
{
	if (all->n == all->cap) {
		size_t cap = all->cap * 2 + 64;
		struct entry *p = realloc(all->list, cap * sizeof(*p));

		if (p == NULL)
			return ERR_NOMEM;
		all->list = p;
		all->cap = cap;
	}
	memcpy(all->list[all->n].name, name.p, AGENT_SESSION_NAME);
	all->list[all->n].bytes = (uint64_t)st->st_size;
	all->list[all->n++].used = st->st_mtim;
	return 0;
}

static int look_at(int dir, const char *file, struct entries *all)
{
	struct span name;
	struct stat st;

	if (parse_name(file, PART, &name))
		(void)unlinkat(dir, file, 0);
	if (!parse_name(file, KEPT, &name) || fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return 0;
	return add_entry(all, name, &st);
}

static int read_entries(int dir, struct entries *all)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (d == NULL) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (rc == 0 && (e = readdir(d)) != NULL)
		rc = look_at(dir, e->d_name, all);
	closedir(d);
	return rc;
}

static int compare(const void *x, const void *y)
{
	const struct entry *a = x, *b = y;

	if (a->used.tv_sec != b->used.tv_sec)
		return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
	if (a->used.tv_nsec != b->used.tv_nsec)
		return a->used.tv_nsec < b->used.tv_nsec ? -1 : 1;
	return memcmp(a->name, b->name, AGENT_SESSION_NAME);
}

int session_dir_list(struct session_dir *d, void (*found)(void *ctx, struct span name, uint64_t bytes), void *ctx)
{
	struct entries all = { .n = 0 };
	int rc = read_entries(d->fd, &all);

	if (rc == 0 && all.n > 0)
		qsort(all.list, all.n, sizeof(*all.list), compare);
	for (size_t i = 0; rc == 0 && i < all.n; i++)
		found(ctx, span_mem(all.list[i].name, AGENT_SESSION_NAME), all.list[i].bytes);
	free(all.list);
	return rc;
}

/* ---- one of them ---- */

int session_dir_write(struct session_dir *d, struct span name)
{
	file_name file;
	int fd;

	make_name(name, PART, file);
	fd = openat(d->fd, file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	return fd < 0 ? -errno : files_regular(fd);
}

int session_dir_read(struct session_dir *d, struct span name)
{
	file_name file;
	int fd;

	make_name(name, KEPT, file);
	fd = openat(d->fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	(void)futimens(fd, NULL); /* the order of use survives a restart */
	return files_regular(fd);
}

int session_dir_keep(struct session_dir *d, struct span name)
{
	file_name part, kept;

	make_name(name, PART, part);
	make_name(name, KEPT, kept);
	return renameat(d->fd, part, d->fd, kept) < 0 ? -errno : 0;
}

void session_dir_discard(struct session_dir *d, struct span name)
{
	file_name file;

	make_name(name, PART, file);
	(void)unlinkat(d->fd, file, 0);
}

void session_dir_drop(struct session_dir *d, struct span name)
{
	file_name file;

	make_name(name, KEPT, file);
	(void)unlinkat(d->fd, file, 0);
}

int session_dir_open(const char *path, struct session_dir **ret)
{
	struct session_dir *d = malloc(sizeof(*d));
	int rc;

	if (d == NULL)
		return ERR_NOMEM;
	d->fd = -1;
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0) {
		rc = -errno;
		session_dir_free(d);
		return rc;
	}
	*ret = d;
	return 0;
}

struct session_dir *session_dir_free(struct session_dir *d)
{
	if (d != NULL && d->fd >= 0)
		close(d->fd);
	free(d);
	return NULL;
}
