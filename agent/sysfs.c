#include "sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hwtext.h"

static int open_at(const char *root, const char *fmt, va_list args)
{
	char path[SYSFS_MAX];
	size_t n = strlen(root);
	int rest;

	if (n >= sizeof(path))
		return -1;
	memcpy(path, root, n);
	rest = vsnprintf(path + n, sizeof(path) - n, fmt, args);
	return rest >= 0 && (size_t)rest < sizeof(path) - n ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

int sysfs_open(const char *root, const char *fmt, ...)
{
	va_list args;
	int fd;

	va_start(args, fmt);
	fd = open_at(root, fmt, args);
	va_end(args);
	return fd;
}

struct span sysfs_pread(int fd, char buf[SYSFS_MAX])
{
	ssize_t n = fd >= 0 ? pread(fd, buf, SYSFS_MAX, 0) : -1;

	return n > 0 ? hwtext_trim(span_mem(buf, (size_t)n)) : SPAN_NONE;
}

struct span sysfs_read(char buf[SYSFS_MAX], const char *root, const char *fmt, ...)
{
	struct span text;
	va_list args;
	int fd;

	va_start(args, fmt);
	fd = open_at(root, fmt, args);
	va_end(args);
	text = sysfs_pread(fd, buf);
	if (fd >= 0)
		close(fd);
	return text;
}

void sysfs_each(const char *root, const char *dir, const char *prefix, void (*fn)(void *ctx, const char *name), void *ctx)
{
	struct dirent **names = NULL;
	char path[SYSFS_MAX];
	int n = -1;

	if (snprintf(path, sizeof(path), "%s%s", root, dir) < (int)sizeof(path))
		n = scandir(path, &names, NULL, versionsort);
	for (int i = 0; i < n; i++) {
		if (strncmp(names[i]->d_name, prefix, strlen(prefix)) == 0 && names[i]->d_name[0] != '.')
			fn(ctx, names[i]->d_name);
		free(names[i]);
	}
	free(names);
}
