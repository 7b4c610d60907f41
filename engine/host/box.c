#include "box.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVERY_US 250000

/* The beginning of a file as text; false when there is none. */
static bool look(int fd, char *ret, size_t size)
{
	ssize_t n = fd >= 0 ? pread(fd, ret, size - 1, 0) : -1;

	ret[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* A descriptor of root/path, or -1. */
static int open_at(const char *root, const char *path)
{
	char whole[PATH_MAX];

	return snprintf(whole, sizeof(whole), "%s%s", root, path) < (int)sizeof(whole) ? open(whole, O_RDONLY | O_CLOEXEC)
										       : -1;
}

static bool look_at(const char *root, const char *path, char *ret, size_t size)
{
	int fd = open_at(root, path);
	bool is_there = look(fd, ret, size);

	if (fd >= 0)
		close(fd);
	return is_there;
}

/* ---- cores ---- */

/* "150000 100000": microseconds in each so many; "max 100000": no limit. */
static size_t quota_of(const char *root, const char *group)
{
	char path[PATH_MAX], text[64];
	double quota, period;

	if (snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group) >= (int)sizeof(path) ||
		!look_at(root, path, text, sizeof(text)) || sscanf(text, "%lf %lf", &quota, &period) != 2 || period <= 0)
		return SIZE_MAX;
	return quota > period ? (size_t)(quota / period) : 1;
}

/* The least quota of the process's control group and all above it (version 2). */
static size_t least_quota(const char *root)
{
	char text[PATH_MAX], *group;
	size_t least, quota;

	if (!look_at(root, "/proc/self/cgroup", text, sizeof(text)) || (group = strstr(text, "0::/")) == NULL)
		return SIZE_MAX;
	group += strlen("0::");
	group[strcspn(group, "\n")] = '\0';
	least = quota_of(root, "");
	for (char *end; (end = strrchr(group, '/')) != NULL; *end = '\0') {
		quota = quota_of(root, group);
		least = quota < least ? quota : least;
	}
	return least;
}

static size_t count_cores(const char *root)
{
	cpu_set_t set;
	size_t quota = least_quota(root), n = 1;

	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
		n = (size_t)CPU_COUNT(&set);
	return quota < n ? quota : n;
}

void box_open(struct box *b, const char *root)
{
	*b = (struct box){ .cores = count_cores(root),
		.pressure = open_at(root, "/proc/pressure/cpu"),
		.stat = open_at(root, "/proc/stat"),
		.hz = (double)sysconf(_SC_CLK_TCK),
		.load = { -1, -1 } };
}

/* ---- load ---- */

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234": microseconds; negative: not known. */
static double read_stalled(const struct box *b)
{
	char text[256];
	const char *total;

	if (!look(b->pressure, text, sizeof(text)))
		return -1;
	total = strstr(text, "total=");
	return total != NULL ? strtod(total + strlen("total="), NULL) : -1;
}

/* "cpu  user nice system idle iowait …" of all cores together: seconds; negative: not known. */
static double read_idle(const struct box *b)
{
	char text[256];
	unsigned long long idle, waiting;

	if (!look(b->stat, text, sizeof(text)) || sscanf(text, "cpu %*u %*u %*u %llu %llu", &idle, &waiting) != 2 ||
		b->hz <= 0)
		return -1;
	return (double)(idle + waiting) / b->hz;
}

const struct tuner_load *box_load(struct box *b, uint64_t now_us)
{
	double passed_us = (double)(now_us - b->read_us), stalled_us, idle_s;

	if (b->read_us != 0 && passed_us < EVERY_US)
		return &b->load;
	stalled_us = read_stalled(b);
	idle_s = read_idle(b);
	b->load = (struct tuner_load){ -1, -1 };
	if (b->read_us != 0 && stalled_us >= 0)
		b->load.stalled = (stalled_us - b->stalled_us) / passed_us;
	if (b->read_us != 0 && idle_s >= 0)
		b->load.idle = (idle_s - b->idle_s) * 1e6 / passed_us;
	b->stalled_us = stalled_us;
	b->idle_s = idle_s;
	b->read_us = now_us;
	return &b->load;
}
