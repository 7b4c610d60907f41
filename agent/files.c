#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Does not wait for the other end of a FIFO, and takes no terminal. */
#define OPEN_FLAGS (O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

static int check_regular(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : ERR_RANGE;
	return 0;
}

int files_regular(int fd)
{
	int rc = check_regular(fd);

	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

int files_open_model(struct span path)
{
	char *name = span_str(path);
	int fd;

	if (name == NULL)
		return ERR_NOMEM;
	fd = open(name, O_RDONLY | OPEN_FLAGS);
	fd = fd < 0 ? -errno : files_regular(fd);
	free(name);
	return fd;
}

void files_reason(struct span path, int err, char *ret, size_t size)
{
	int n = (int)(path.n < 300 ? path.n : 300);
	const char *why = err == ERR_RANGE ? "it is no regular file" : err > -1000 ? strerror(-err) : err_text(err);

	(void)snprintf(ret, size, "The model file %.*s cannot be read: %s.", n, path.p, why);
}
