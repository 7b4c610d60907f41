#include "model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_HEAD ((size_t)1 << 20) /* most heads fit; the others are read four times as long, and so on */

void model_file_init(struct model_file *f, const char *path, const struct footprint_use *use)
{
	*f = (struct model_file){ .path = path, .use = *use };
}

static size_t read_at_start(int fd, char *p, size_t n)
{
	size_t have = 0;
	ssize_t got;

	while (have < n && ((got = pread(fd, p + have, n - have, (off_t)have)) > 0 || (got < 0 && errno == EINTR)))
		have += got > 0 ? (size_t)got : 0;
	return have;
}

static int check(int fd, size_t n, uint64_t size, struct gguf_facts *ret)
{
	struct buf why = BUF_INIT(1024);
	char *p = malloc(n);
	int rc = p != NULL ? gguf_check_head(span_mem(p, read_at_start(fd, p, n)), size, ret, &why) : ERR_NOMEM;

	free(p);
	buf_fini(&why); /* the engine says it when it is asked to load the file */
	return rc;
}

static void read_facts(const char *path, uint64_t size, struct gguf_facts *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = -1;

	if (fd < 0)
		return;
	for (size_t n = FIRST_HEAD; rc < 0 && n <= MODEL_FILE_MAX_HEAD && (n == FIRST_HEAD || n / 4 < size); n *= 4)
		rc = check(fd, n < size ? n : (size_t)size + 1, size, ret);
	close(fd);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool model_file_look(struct model_file *f, struct footprint *ret)
{
	struct gguf_facts facts = { .n_keys = 0 };
	struct stat now;

	if (stat(f->path, &now) < 0 || !S_ISREG(now.st_mode))
		memset(&now, 0, sizeof(now));
	if (f->is_known && is_same(&now, &f->seen))
		return false;
	f->seen = now;
	f->is_known = true;
	*ret = (struct footprint){ 0 };
	if (now.st_size == 0)
		return true;
	read_facts(f->path, (uint64_t)now.st_size, &facts);
	*ret = footprint_of(&facts, (uint64_t)now.st_size, &f->use);
	return true;
}
