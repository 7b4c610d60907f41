#include "cgroup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_LIMIT ((uint64_t)1 << 60) /* version 1 says "none" as the most pages there can be */

struct version {
	const char *type; /* of the file system in mountinfo */
	const char *limit, *high,
		*used;              /* high: above it the group is slowed down until it is unusable; NULL: there is none */
	const char *reclaimable[4]; /* lines of memory.stat */
};

static const struct version versions[] = {
	{ "cgroup2", "memory.max", "memory.high", "memory.current",
		{ "inactive_file ", "active_file ", "slab_reclaimable ", NULL } },
	{ "cgroup", "memory.limit_in_bytes", NULL, "memory.usage_in_bytes",
		{ "total_inactive_file ", "total_active_file ", NULL } },
};

static FILE *open_at(const char *root, const char *dir, const char *name)
{
	char path[2 * PATH_MAX];

	if (snprintf(path, sizeof(path), "%s%s%s%s", root, dir, name[0] != '\0' ? "/" : "", name) >= (int)sizeof(path))
		return NULL;
	return fopen(path, "re");
}

/* 0: it cannot be read.  "max" is NO_LIMIT. */
static uint64_t read_number(const char *root, const char *dir, const char *name)
{
	FILE *f = open_at(root, dir, name);
	char line[64] = "";
	uint64_t n = 0;

	if (f == NULL)
		return 0;
	if (fgets(line, sizeof(line), f) != NULL)
		n = strncmp(line, "max", 3) == 0 ? NO_LIMIT : strtoull(line, NULL, 10);
	fclose(f);
	return n;
}

static uint64_t read_reclaimable(const char *root, const char *dir, const struct version *v)
{
	FILE *f = open_at(root, dir, "memory.stat");
	char line[128];
	uint64_t n = 0;

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL)
		for (size_t i = 0; v->reclaimable[i] != NULL; i++)
			if (strncmp(line, v->reclaimable[i], strlen(v->reclaimable[i])) == 0)
				n += strtoull(line + strlen(v->reclaimable[i]), NULL, 10);
	fclose(f);
	return n;
}

static void look_at(const char *root, const char *dir, const struct version *v, struct cgroup_memory *tightest)
{
	uint64_t limit = read_number(root, dir, v->limit), high = v->high != NULL ? read_number(root, dir, v->high) : 0;
	uint64_t used, reclaimable;

	if (high != 0 && high < limit)
		limit = high;
	if (limit == 0 || limit >= NO_LIMIT)
		return;
	used = read_number(root, dir, v->used);
	reclaimable = read_reclaimable(root, dir, v);
	used = used > reclaimable ? used - reclaimable : 0;
	/* What is over the limit already leaves less than nothing. */
	if (tightest->limit == 0 || (int64_t)(limit - used) < (int64_t)(tightest->limit - tightest->used))
		*tightest = (struct cgroup_memory){ limit, used };
}

/* True when the list of mount options or controllers, with commas, has "memory". */
static bool has_memory(const char *list)
{
	const char *at = list;

	while ((at = strstr(at, "memory")) != NULL) {
		bool begins = at == list || at[-1] == ',', ends = at[6] == '\0' || at[6] == ',' || at[6] == '\n';

		if (begins && ends)
			return true;
		at += 6;
	}
	return false;
}

/* Our path in the hierarchy, from its root.  Lines are "number:controllers:path". */
static bool find_path(const char *root, const struct version *v, char ret[PATH_MAX])
{
	FILE *f = open_at(root, "/proc/self/cgroup", "");
	char line[PATH_MAX + 256], *list, *path;
	bool is_found = false;

	if (f == NULL)
		return false;
	while (!is_found && fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		list = strchr(line, ':');
		path = list != NULL ? strchr(list + 1, ':') : NULL;
		if (path == NULL)
			continue;
		*path++ = '\0';
		is_found = v->high != NULL ? list[1] == '\0' : has_memory(list + 1);
		if (is_found)
			(void)snprintf(ret, PATH_MAX, "%s", path);
	}
	fclose(f);
	return is_found;
}

/* Where it is mounted, and which part of it.  Lines of mountinfo: "id parent device part point
 * options … - type source options". */
static bool find_mount(const char *root, const struct version *v, char ret_part[PATH_MAX], char ret_point[PATH_MAX])
{
	FILE *f = open_at(root, "/proc/self/mountinfo", "");
	char line[3 * PATH_MAX], type[64], options[1024];
	bool is_found = false;

	if (f == NULL)
		return false;
	while (!is_found && fgets(line, sizeof(line), f) != NULL) {
		const char *dash = strstr(line, " - ");

		if (dash == NULL || sscanf(dash, " - %63s %*s %1023s", type, options) != 2 || strcmp(type, v->type) != 0)
			continue;
		if (v->high == NULL && !has_memory(options))
			continue;
		is_found = sscanf(line, "%*s %*s %*s %4095s %4095s", ret_part, ret_point) == 2;
	}
	fclose(f);
	return is_found;
}

/* From our group up to the top of what is mounted. */
static void look_up(const char *root, const struct version *v, struct cgroup_memory *tightest)
{
	char path[PATH_MAX], part[PATH_MAX], point[PATH_MAX], dir[2 * PATH_MAX];
	const char *below = path;
	size_t n;

	if (!find_path(root, v, path) || !find_mount(root, v, part, point))
		return;
	/* In a container only a part of the hierarchy may be mounted: ours is below it. */
	n = strcmp(part, "/") == 0 ? 0 : strlen(part);
	if (n > 0 && strncmp(path, part, n) == 0 && (path[n] == '/' || path[n] == '\0'))
		below = path + n;
	(void)snprintf(dir, sizeof(dir), "%s%s", point, strcmp(below, "/") == 0 ? "" : below);
	for (char *slash = dir + strlen(dir); slash != NULL && strlen(dir) >= strlen(point); slash = strrchr(dir, '/')) {
		*slash = '\0';
		if (strlen(dir) < strlen(point))
			break;
		look_at(root, dir, v, tightest);
	}
}

struct cgroup_memory cgroup_memory(const char *root)
{
	struct cgroup_memory tightest = { 0 };

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		look_up(root, &versions[i], &tightest);
	return tightest;
}

uint64_t cgroup_anon_of(const char *root, pid_t pid)
{
	char dir[64], line[128];
	uint64_t kb = 0;
	FILE *f;

	(void)snprintf(dir, sizeof(dir), "/proc/%d", (int)pid);
	f = open_at(root, dir, "status");
	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "RssAnon:", 8) == 0) {
			kb = strtoull(line + 8, NULL, 10);
			break;
		}
	fclose(f);
	return kb * 1024;
}
