#include "given.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int given_file(int fd, int mode, uint64_t *ret_size)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : ERR_RANGE;
	if ((flags & O_PATH) != 0 || (flags & O_ACCMODE) != mode)
		return -EACCES;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

const char *given_why(int err)
{
	switch (err) {
	case ERR_RANGE: return "it is no regular file";
	case -EISDIR: return "it is a directory";
	case -EACCES: return "it was opened in another way than it is used";
	default: return err > -1000 ? strerror(-err) : err_text(err);
	}
}
