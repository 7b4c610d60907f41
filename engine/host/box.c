#include "box.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVERY_US 250000

void box_open(struct box *b)
{
	*b = (struct box){ .pressure = open("/proc/pressure/cpu", O_RDONLY | O_CLOEXEC),
		.stat = open("/proc/stat", O_RDONLY | O_CLOEXEC),
		.hz = (double)sysconf(_SC_CLK_TCK),
		.load = { -1, -1 } };
}

size_t box_cores(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n > 0 ? (size_t)n : 1;
}

/* The beginning of a file as text; false when there is none. */
static bool look(int fd, char *ret, size_t size)
{
	ssize_t n = fd >= 0 ? pread(fd, ret, size - 1, 0) : -1;

	ret[n > 0 ? n : 0] = '\0';
	return n > 0;
}

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
