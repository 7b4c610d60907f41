#include "hw.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "sysfs.h"

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

static void take_text(char *dst, size_t size, struct span text)
{
	if (dst[0] == '\0' && text.n > 0 && span_is_utf8(text))
		(void)snprintf(dst, size, "%.*s", SPAN_FMT(text));
}

static void read_cpuinfo(const char *root, struct hwtext_cpu *ret)
{
	FILE *f = open_under(root, "/proc/cpuinfo");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (f == NULL)
		return;
	while ((n = getline(&line, &cap, f)) > 0)
		hwtext_cpu_line(ret, span_mem(line, (size_t)n));
	free(line);
	fclose(f);
}

struct topology {
	const char *root;
	uint64_t cores;
};

/* A core is counted with the first of its threads: "0,4", "0-1", or "0" alone. */
static void count_core(void *ctx, const char *name)
{
	struct topology *t = ctx;
	char buf[SYSFS_MAX];
	struct span list = sysfs_read(buf, t->root, "/sys/devices/system/cpu/%s/topology/thread_siblings_list", name);
	size_t n = strlen(name + 3);

	t->cores += n > 0 && list.n >= n && memcmp(list.p, name + 3, n) == 0 &&
		    (list.n == n || list.p[n] == ',' || list.p[n] == '-');
}

static void read_cores(const char *root, struct hw *ret)
{
	struct topology t = { .root = root };

	sysfs_each(root, "/sys/devices/system/cpu", "cpu", count_core, &t);
	ret->said.cores = ret->cpu.processors;
	ret->said.cores_physical = t.cores > 0 ? t.cores : hwtext_cpu_cores(&ret->cpu);
}

/* Boards tell it in their device tree, PCs in what their BIOS says (DMI). */
static void read_machine(const char *root, struct hw *ret)
{
	char buf[SYSFS_MAX], vendor_buf[SYSFS_MAX], both[256];
	struct span product, vendor;

	take_text(ret->machine, sizeof(ret->machine), sysfs_read(buf, root, "/proc/device-tree/model"));
	take_text(ret->machine, sizeof(ret->machine), sysfs_read(buf, root, "/sys/firmware/devicetree/base/model"));
	vendor = sysfs_read(vendor_buf, root, "/sys/class/dmi/id/sys_vendor");
	product = sysfs_read(buf, root, "/sys/class/dmi/id/product_name");
	if (product.n > 0 &&
		snprintf(both, sizeof(both), "%.*s %.*s", SPAN_FMT(vendor), SPAN_FMT(product)) < (int)sizeof(both))
		take_text(ret->machine, sizeof(ret->machine), hwtext_trim(span_of(both)));
	take_text(ret->machine, sizeof(ret->machine), span_of(ret->cpu.board));
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
	struct hardware *h = &ret->said;
	struct utsname u;

	memset(ret, 0, sizeof(*ret));
	if (uname(&u) == 0) {
		take_text(ret->host, sizeof(ret->host), span_of(u.nodename));
		take_text(ret->arch, sizeof(ret->arch), span_of(u.machine));
		take_text(ret->kernel, sizeof(ret->kernel), span_of(u.release));
	}
	read_cpuinfo(root, &ret->cpu);
	read_cores(root, ret);
	read_machine(root, ret);
	h->arch = span_of(ret->arch);
	h->cpu = span_of(hwtext_cpu_name(&ret->cpu));
	h->kernel = span_of(ret->kernel);
	h->machine = span_of(ret->machine);
	h->isa = ret->isa;
	h->n_isa = hwtext_isa(&ret->cpu, ret->isa);
	h->mem_total = meminfo(root, "MemTotal");
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
