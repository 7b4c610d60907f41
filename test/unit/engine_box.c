/* What the kernel says of the box, from files of our own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "box.h"

static char root[] = "/tmp/shoal-box-XXXXXX";

static void setup(void)
{
	cr_assert_not_null(mkdtemp(root));
}

static void fini(void)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -r %s", root);
	cr_assert_eq(system(command), 0);
}

TestSuite(box, .init = setup, .fini = fini);

/* With the folders it takes. */
static void put(const char *path, const char *text)
{
	char whole[256];
	FILE *f;

	(void)snprintf(whole, sizeof(whole), "%s%s", root, path);
	for (char *p = whole + sizeof(root); (p = strchr(p, '/')) != NULL; *p++ = '/') {
		*p = '\0';
		(void)mkdir(whole, 0700);
	}
	f = fopen(whole, "w");
	cr_assert_not_null(f, "%s", whole);
	fputs(text, f);
	fclose(f);
}

Test(box, the_tightest_quota_of_its_groups_says_how_many_cores_there_are)
{
	struct box b;
	size_t all;

	box_open(&b, root);
	all = b.cores;
	cr_assert_geq(all, 1);
	put("/proc/self/cgroup", "1:cpu:/x\n0::/a.slice/b.service\n");
	put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
	box_open(&b, root);
	cr_assert_eq(b.cores, all);
	put("/sys/fs/cgroup/a.slice/cpu.max", "50000 100000\n");
	box_open(&b, root);
	cr_assert_eq(b.cores, 1, "half a core is one");
	put("/sys/fs/cgroup/a.slice/cpu.max", "900000000 100000\n");
	box_open(&b, root);
	cr_assert_eq(b.cores, all, "no more than there are");
}

Test(box, idle_cores_and_waiting_are_of_the_time_between_two_looks)
{
	struct box b;

	put("/proc/stat", "cpu  100 0 50 1000 20 0 0 0 0 0\ncpu0 1 2 3 4\n");
	put("/proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000000\nfull total=0\n");
	box_open(&b, root);
	b.hz = 100;
	cr_assert(box_load(&b, 1000000)->idle < 0 && box_load(&b, 1000000)->stalled < 0, "one look says nothing");
	put("/proc/stat", "cpu  200 0 50 1120 30 0 0 0 0 0\n");
	put("/proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5250000\n");
	cr_assert_lt(box_load(&b, 1100000)->idle, 0, "too soon");
	cr_assert_float_eq(box_load(&b, 2000000)->idle, 1.3, 1e-9);
	cr_assert_float_eq(box_load(&b, 2000000)->stalled, 0.25, 1e-9);
}

Test(box, a_kernel_that_says_nothing_is_done_without)
{
	struct box b;

	put("/proc/stat", "garbage");
	box_open(&b, root);
	(void)box_load(&b, 1000000);
	cr_assert(box_load(&b, 2000000)->idle < 0 && box_load(&b, 2000000)->stalled < 0);
}
