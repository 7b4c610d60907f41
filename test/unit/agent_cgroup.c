/* What control groups and model files say, from folders made up here. */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "model_file.h"
#include "settings.h"

#define MIB ((uint64_t)1 << 20)
#define MODEL SHOAL_SOURCE_DIR "/models/shoal-triage.gguf"

static char root[] = "/tmp/shoal-cgroup-XXXXXX";

static void write_file(const char *path, const char *text)
{
	char full[PATH_MAX];
	FILE *f;

	(void)snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		(void)mkdir(full, 0700);
		*slash = '/';
	}
	f = fopen(full, "w");
	cr_assert_not_null(f);
	cr_assert_geq(fputs(text, f), 0);
	fclose(f);
}

static void init(void)
{
	cr_assert_not_null(mkdtemp(root));
}

static void fini(void)
{
	char command[PATH_MAX];

	(void)snprintf(command, sizeof(command), "rm -r %s", root);
	cr_assert_eq(system(command), 0);
}

TestSuite(cgroup, .init = init, .fini = fini);

#define MOUNT_V2 "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define MOUNT_V1 "33 24 0:29 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"

static void group_v2(const char *dir, const char *max, const char *high, const char *current, const char *stat)
{
	static const char *const names[] = { "memory.max", "memory.high", "memory.current", "memory.stat" };
	const char *const texts[] = { max, high, current, stat };
	char path[PATH_MAX];

	for (size_t i = 0; i < 4; i++) {
		(void)snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s", dir, names[i]);
		write_file(path, texts[i]);
	}
}

Test(cgroup, the_tightest_of_our_group_and_those_above_counts)
{
	struct cgroup_memory m;

	write_file("/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" MOUNT_V2);
	write_file("/proc/self/cgroup", "0::/system.slice/agent.service\n");
	group_v2("/system.slice/agent.service", "1073741824\n", "max\n", "500000000\n",
		"anon 1\nfile 3\ninactive_file 100000000\nactive_file 50000000\nslab_reclaimable 7\n");
	m = cgroup_memory(root);
	cr_expect_eq(m.limit, 1024 * MIB);
	cr_expect_eq(m.used, 500000000 - 150000007);
	group_v2("/system.slice", "2147483648\n", "max\n", "2000000000\n", "inactive_file 0\n");
	m = cgroup_memory(root);
	cr_expect_eq(m.limit, 2048 * MIB, "it leaves less, though its limit is greater");
	cr_expect_eq(m.used, 2000000000);
	group_v2("/system.slice", "2147483648\n", "max\n", "2500000000\n", "");
	m = cgroup_memory(root);
	cr_expect_eq(m.used, 2500000000, "one that is over its limit is the tightest");
	group_v2("/system.slice/agent.service", "1073741824\n", "536870912\n", "10\n", "");
	group_v2("/system.slice", "max\n", "max\n", "2500000000\n", "");
	m = cgroup_memory(root);
	cr_expect_eq(m.limit, 512 * MIB, "a group above memory.high is slowed down until it stands");
}

Test(cgroup, version_1_and_both_at_once)
{
	struct cgroup_memory m;

	write_file("/proc/self/mountinfo",
		"32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" MOUNT_V1
		"35 24 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
	write_file("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/box/agent\n0::/box\n");
	write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	write_file("/sys/fs/cgroup/memory/memory.usage_in_bytes", "9000000000\n");
	write_file("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n");
	write_file("/sys/fs/cgroup/memory/box/agent/memory.limit_in_bytes", "268435456\n");
	write_file("/sys/fs/cgroup/memory/box/agent/memory.usage_in_bytes", "100000000\n");
	write_file("/sys/fs/cgroup/memory/box/agent/memory.stat",
		"inactive_file 1\nactive_file 1\ntotal_inactive_file 20000000\ntotal_active_file 10000000\n");
	m = cgroup_memory(root);
	cr_expect_eq(m.limit, 256 * MIB);
	cr_expect_eq(m.used, 70000000);
}

/* In a container the path is that of the host, and what is mounted begins at our group. */
Test(cgroup, a_container_that_sees_its_own_part_only)
{
	write_file("/proc/self/mountinfo", "33 24 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
	write_file("/proc/self/cgroup", "4:memory:/docker/abc\n");
	write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
	write_file("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n");
	cr_expect_eq(cgroup_memory(root).limit, 256 * MIB);
	write_file("/proc/self/cgroup", "4:memory:/\n"); /* with a namespace of its own */
	cr_expect_eq(cgroup_memory(root).limit, 256 * MIB);
}

Test(cgroup, where_nothing_is_limited_or_readable_there_is_no_limit)
{
	cr_expect_eq(cgroup_memory(root).limit, 0);
	write_file("/proc/self/mountinfo", "nonsense\n" MOUNT_V2);
	write_file("/proc/self/cgroup", "nonsense\n0:memory\n0::/\n");
	cr_expect_eq(cgroup_memory(root).limit, 0);
	group_v2("", "max\n", "max\n", "5\n", "");
	cr_expect_eq(cgroup_memory(root).limit, 0);
}

Test(cgroup, memory_of_a_process)
{
	write_file("/proc/77/status", "Name:\tx\nRssAnon:\t   2048 kB\nRssFile:\t   9999 kB\n");
	cr_expect_eq(cgroup_anon_of(root, 77), 2 * MIB);
	cr_expect_eq(cgroup_anon_of(root, 78), 0);
	cr_expect_gt(cgroup_anon_of("", getpid()), 0);
}

/* ---- files ---- */

static void copy_model(const char *path, size_t n)
{
	static char bytes[8 << 20];
	FILE *in = fopen(MODEL, "r"), *out = fopen(path, "w");
	size_t have;

	cr_assert(in != NULL && out != NULL);
	have = fread(bytes, 1, sizeof(bytes), in);
	cr_assert_eq(fwrite(bytes, 1, n < have ? n : have, out), n < have ? n : have);
	fclose(in);
	fclose(out);
}

Test(cgroup, a_file_is_read_once_and_again_when_it_is_another)
{
	struct footprint_use use = { .n_ctx = 200, .parallel = 3 };
	struct model_file f;
	struct footprint p = { .weights = 99 };
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/m.gguf", root);
	model_file_init(&f, path, &use);
	cr_assert(model_file_look(&f, &p));
	cr_expect_eq(footprint_total(&p), 0, "there is no file");
	cr_assert(!model_file_look(&f, &p));
	copy_model(path, SIZE_MAX);
	cr_assert(model_file_look(&f, &p));
	cr_expect_gt(p.weights, 2 * MIB);
	cr_expect_gt(p.kv, 0);
	cr_expect_eq(p.kv, p.kv_token * 256 * 3);
	cr_assert(!model_file_look(&f, &p));
	copy_model(path, 1000); /* cut: what can be said is how big it is */
	cr_assert(model_file_look(&f, &p));
	cr_expect_eq(p.weights, 1000);
	cr_expect_eq(p.kv, 0);
	model_file_init(&f, root, &use);
	cr_assert(model_file_look(&f, &p));
	cr_expect_eq(footprint_total(&p), 0, "a folder is no model");
}

/* ---- limits ---- */

Test(cgroup, limits_are_parts_or_bytes)
{
	static const struct {
		const char *text;
		unsigned percent;
		uint64_t bytes;
	} cases[] = { { "85%", 85, 0 }, { "100%", 100, 0 }, { "4096", 0, 4096 }, { "512K", 0, 512 << 10 },
		{ "3M", 0, 3 << 20 }, { "6G", 0, (uint64_t)6 << 30 }, { "1T", 0, (uint64_t)1 << 40 } };
	static const char *const bad[] = { "", "0", "0%", "101%", "-1", " 5", "5X", "5GB", "5%%", "99999999999999999999",
		"%", "G" };
	struct agent_limit limit;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert_eq(settings_limit(cases[i].text, &limit), 0, "%s", cases[i].text);
		cr_expect(limit.percent == cases[i].percent && limit.bytes == cases[i].bytes, "%s", cases[i].text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_lt(settings_limit(bad[i], &limit), 0, "%s", bad[i]);
}
