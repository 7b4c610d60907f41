#include "hw.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "span.h"

static FILE *open_under(const char *root, const char *path)
{
	char full[4096];

	if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
		return NULL;
	return fopen(full, "re");
}

/* The value of "key : value"; NULL when the line is about another key. */
static char *value_of(char *line, const char *key)
{
	size_t n = strlen(key);
	char *colon = strchr(line, ':');

	if (colon == NULL || strncmp(line, key, n) != 0 || strspn(line + n, " \t") != (size_t)(colon - line) - n)
		return NULL;
	colon += 1 + strspn(colon + 1, " \t");
	colon[strcspn(colon, "\n")] = '\0';
	return colon;
}

static void take_text(char *dst, size_t size, const char *text)
{
	if (dst[0] == '\0' && span_is_utf8(span_of(text)))
		(void)snprintf(dst, size, "%s", text);
}

/* x86 says "model name" for each core, arm boards "Model" once for the board, older ones "Hardware". */
static void read_cpuinfo(const char *root, struct hw *ret)
{
	static const char *const keys[] = { "model name", "Model", "Hardware" };
	FILE *f = open_under(root, "/proc/cpuinfo");
	char line[1024], *value;

	if (f == NULL)
		return;
	while (fgets(line, sizeof(line), f) != NULL) {
		ret->cores += value_of(line, "processor") != NULL;
		for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
			if ((value = value_of(line, keys[i])) != NULL)
				take_text(ret->cpu, sizeof(ret->cpu), value);
	}
	fclose(f);
}

/* A line of meminfo, "MemTotal:  123 kB", in bytes. */
static uint64_t meminfo(const char *root, const char *key)
{
	FILE *f = open_under(root, "/proc/meminfo");
	char line[256], *value;
	uint64_t kb = 0;

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL)
		if ((value = value_of(line, key)) != NULL) {
			kb = strtoull(value, NULL, 10);
			break;
		}
	fclose(f);
	return kb * 1024;
}

void hw_read(const char *root, struct hw *ret)
{
	struct utsname u;

	memset(ret, 0, sizeof(*ret));
	if (uname(&u) == 0) {
		take_text(ret->host, sizeof(ret->host), u.nodename);
		take_text(ret->arch, sizeof(ret->arch), u.machine);
		take_text(ret->kernel, sizeof(ret->kernel), u.release);
	}
	read_cpuinfo(root, ret);
	ret->mem_total = meminfo(root, "MemTotal");
}

uint64_t hw_mem_available(const char *root)
{
	return meminfo(root, "MemAvailable");
}

uint64_t hw_load_milli(const char *root)
{
	FILE *f = open_under(root, "/proc/loadavg");
	double load = 0;

	if (f == NULL)
		return 0;
	if (fscanf(f, "%lf", &load) != 1 || !(load >= 0 && load < 1e9))
		load = 0;
	fclose(f);
	return (uint64_t)(load * 1000);
}

uint64_t hw_rss(const char *root, pid_t pid)
{
	char path[64] = "/proc/self/statm";
	unsigned long long pages = 0;
	FILE *f;

	if (pid > 0)
		(void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	f = open_under(root, path);
	if (f == NULL)
		return 0;
	if (fscanf(f, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
