#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "adapter.h"
#include "gguf.h"

static int cannot_read(const char *path, int err, char *reason)
{
	(void)snprintf(reason, MODEL_REASON_MAX, "The model file %.300s cannot be read: %s.", path, strerror(err));
	return -err;
}

static int check_bytes(struct span file, char *reason)
{
	struct buf why = BUF_INIT(MODEL_REASON_MAX);
	struct gguf_facts facts;
	int rc = gguf_check(file, &facts, &why);

	if (rc < 0)
		(void)snprintf(reason, MODEL_REASON_MAX, "%.*s", SPAN_FMT(buf_span(&why)));
	buf_fini(&why);
	return rc;
}

/* Mapped, not read: of a file of many gigabytes only the head's pages are touched. */
int precheck(int fd, const char *path, char *reason)
{
	struct stat st;
	void *p;
	int rc;

	if (fstat(fd, &st) < 0)
		return cannot_read(path, errno, reason);
	if (st.st_size == 0)
		return check_bytes(SPAN_NONE, reason);
	if ((uintmax_t)st.st_size > SIZE_MAX)
		return cannot_read(path, EFBIG, reason);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return cannot_read(path, errno, reason);
	rc = check_bytes(span_mem(p, (size_t)st.st_size), reason);
	(void)munmap(p, (size_t)st.st_size);
	return rc;
}
