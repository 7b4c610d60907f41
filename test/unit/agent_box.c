/* What boxes are and how they fare: whole trees of /proc and /sys as such boxes have them
 * (test/boxes), and each kind of text by itself, with what does not belong there. */
#include <criterion/criterion.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hw.h"
#include "hwtext.h"
#include "probes.h"
#include "rng.h"

/* ---- a box in a directory ---- */

static char root[] = "/tmp/shoal-box-XXXXXX";

static FILE *make_file(const char *path)
{
	char full[PATH_MAX];
	FILE *f;

	(void)snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		(void)mkdir(full, 0700);
		*p = '/';
	}
	f = fopen(full, "w");
	cr_assert_not_null(f, "%s", full);
	return f;
}

static void write_file(const char *path, const char *text)
{
	FILE *f = make_file(path);

	cr_assert_geq(fputs(text, f), 0);
	fclose(f);
}

/* "== /path", then what the file holds. */
static void build_box(const char *name)
{
	char path[PATH_MAX], line[4096];
	FILE *in, *out = NULL;

	(void)snprintf(path, sizeof(path), SHOAL_SOURCE_DIR "/test/boxes/%s.tree", name);
	in = fopen(path, "r");
	cr_assert_not_null(in, "%s", path);
	while (fgets(line, sizeof(line), in) != NULL) {
		if (strncmp(line, "== ", 3) != 0) {
			cr_assert_not_null(out);
			cr_assert_geq(fputs(line, out), 0);
			continue;
		}
		if (out != NULL)
			fclose(out);
		line[strcspn(line, "\n")] = '\0';
		out = make_file(line + 3);
	}
	fclose(out);
	fclose(in);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static void make_root(void)
{
	cr_assert_not_null(mkdtemp(root));
}

static void drop_root(void)
{
	(void)nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(box, .init = make_root, .fini = drop_root);

static struct hw hw;
static struct probes *probes;
static struct sensors now;

static void look(const char *name)
{
	build_box(name);
	hw_read(root, &hw);
	cr_assert_eq(probes_new(root, root, &probes), 0);
	probes_describe(probes, &hw.said);
	probes_read(probes, 1, &now);
}

static void must_list(const char *what, const struct span *list, size_t n, const char *want)
{
	struct buf b = BUF_INIT(4096);

	for (size_t i = 0; i < n; i++)
		buf_addf(&b, "%s%.*s", i > 0 ? " " : "", SPAN_FMT(list[i]));
	cr_assert(span_is(buf_span(&b), want), "%s: %.*s", what, SPAN_FMT(buf_span(&b)));
	buf_fini(&b);
}

static bool has(unsigned key)
{
	return msg_has(&now, key);
}

Test(box, a_raspberry_pi_is_known_by_its_board_and_tells_that_it_is_throttled)
{
	look("raspberry-pi-4");
	cr_assert(span_is(hw.said.cpu, "Cortex-A72"));
	cr_assert(span_is(hw.said.machine, "Raspberry Pi 4 Model B Rev 1.1"));
	cr_assert(hw.said.cores == 4 && hw.said.cores_physical == 4 && hw.said.cpu_max_mhz == 1500);
	cr_assert_eq(hw.said.power, POWER_UNKNOWN);
	must_list("isa", hw.said.isa, hw.said.n_isa, "neon");
	must_list("zones", hw.said.zones, hw.said.n_zones, "cpu-thermal");
	cr_assert(has(SENSORS_TEMP) && now.temp_milli == 83272);
	cr_assert(has(SENSORS_THROTTLED) && now.throttled);        /* 0x50008: soft temperature limit, now */
	cr_assert(has(SENSORS_UNDERVOLTAGE) && !now.undervoltage); /* it was, which is no matter */
	cr_assert_eq(now.cpu_mhz, 1000);
	cr_assert(has(SENSORS_PSI_MEMORY) && now.psi_cpu == 37 && now.psi_memory == 0 && now.psi_io == 1205);
	cr_assert(!has(SENSORS_BATTERY) && !has(SENSORS_ON_MAINS));
	write_file("/sys/devices/platform/soc/soc:firmware/get_throttled", "50001\n");
	probes_read(probes, 2, &now);
	cr_assert(!now.throttled && now.undervoltage);
	write_file("/sys/devices/platform/soc/soc:firmware/get_throttled", "0\n");
	write_file("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");
	probes_read(probes, 3, &now);
	cr_assert(!now.throttled && now.undervoltage);
	probes_free(probes);
}

Test(box, a_rack_server_throttles_when_its_counters_move)
{
	look("rack-server");
	cr_assert(
		span_is(hw.said.cpu, "Intel(R) Xeon(R) Gold 6430") && span_is(hw.said.machine, "Dell Inc. PowerEdge R760"));
	cr_assert(hw.said.cores == 8 && hw.said.cores_physical == 4 && hw.said.cpu_max_mhz == 3400);
	must_list("isa", hw.said.isa, hw.said.n_isa,
		"sse3 ssse3 sse4.2 avx f16c fma avx2 bmi2 avx_vnni avx512 avx512_vbmi avx512_vnni avx512_bf16 amx_tile "
		"amx_int8 "
		"amx_bf16");
	must_list("zones", hw.said.zones, hw.said.n_zones, "acpitz x86_pkg_temp x86_pkg_temp coretemp");
	cr_assert_eq(now.temp_milli, 64000, "of the CPU's zones, not of the board's, nor of the disk");
	cr_assert_eq(now.cpu_mhz, 3398);
	cr_assert_eq(now.psi_cpu, 10000);
	cr_assert(has(SENSORS_THROTTLED) && !now.throttled, "what was before the agent is no matter");
	cr_assert(!has(SENSORS_UNDERVOLTAGE));
	write_file("/sys/devices/system/cpu/cpu6/thermal_throttle/core_throttle_count", "18\n");
	probes_read(probes, 2, &now);
	cr_assert(now.throttled);
	probes_read(probes, 3, &now);
	cr_assert(!now.throttled);
	write_file("/sys/class/thermal/cooling_device0/cur_state", "3\n");
	probes_read(probes, 4, &now);
	cr_assert(now.throttled);
	probes_free(probes);
}

Test(box, a_laptop_tells_its_battery_and_not_that_of_its_mouse)
{
	look("laptop");
	cr_assert(hw.said.cores == 4 && hw.said.cores_physical == 2 && hw.said.power == POWER_BATTERY);
	cr_assert(has(SENSORS_BATTERY) && now.battery_percent == 62);
	cr_assert(has(SENSORS_ON_MAINS) && !now.on_mains);
	cr_assert_eq(now.temp_milli, 47250, "k10temp, not the board's zone");
	cr_assert(!has(SENSORS_THROTTLED) && !has(SENSORS_PSI_CPU) && !has(SENSORS_CPU_MHZ));
	write_file("/sys/class/power_supply/AC/uevent", "POWER_SUPPLY_TYPE=Mains\nPOWER_SUPPLY_ONLINE=1\n");
	probes_read(probes, 20000, &now);
	cr_assert(!now.on_mains, "asked seldom");
	probes_read(probes, 40000, &now);
	cr_assert(now.on_mains);
	probes_free(probes);
}

Test(box, a_container_without_sys_says_only_what_it_knows)
{
	look("container");
	cr_assert(span_is(hw.said.cpu, "Some Virtual CPU") && hw.said.machine.n == 0);
	cr_assert(
		hw.said.cores == 2 && hw.said.cores_physical == 1 && hw.said.n_zones == 0 && hw.said.power == POWER_UNKNOWN);
	cr_assert_eq(now.has, (uint64_t)1 << SENSORS_DISK_FREE, "%" PRIx64, now.has);
	cr_assert(now.disk_free > 0 && hw.said.disk_total >= now.disk_free);
	probes_free(probes);
}

Test(box, what_goes_away_or_turns_odd_is_absent_and_comes_back)
{
	look("laptop");
	write_file("/sys/class/hwmon/hwmon3/temp1_input", "");
	write_file("/sys/class/thermal/thermal_zone0/temp", "-274000\n");
	probes_read(probes, 2, &now);
	cr_assert(!has(SENSORS_TEMP));
	write_file("/sys/class/thermal/thermal_zone0/temp", "53000\n");
	probes_read(probes, 3, &now);
	cr_assert(has(SENSORS_TEMP) && now.temp_milli == 53000, "the next best zone");
	write_file("/sys/class/hwmon/hwmon3/temp1_input", "47250\n");
	probes_read(probes, 4, &now);
	cr_assert_eq(now.temp_milli, 47250);
	probes_free(probes);
}

Test(box, this_very_box_is_described)
{
	hw_read("", &hw);
	cr_assert_eq(probes_new("", "/", &probes), 0);
	probes_describe(probes, &hw.said);
	probes_read(probes, 1, &now);
	cr_assert(hw.said.n_isa > 0 && hw.said.disk_total > 0 && has(SENSORS_DISK_FREE));
	cr_assert_leq(hw.said.cores_physical, hw.said.cores);
	probes_free(probes);
}

/* ---- texts ---- */

Test(hwtext, numbers_are_whole_or_none)
{
	const struct {
		const char *text;
		bool is_good;
		int64_t value;
	} cases[] = { { "0", true, 0 }, { " 42\n", true, 42 }, { "-7", true, -7 },
		{ "9223372036854775807", true, INT64_MAX }, { "9223372036854775808", false, 0 },
		{ "99999999999999999999999", false, 0 }, { "", false, 0 }, { "-", false, 0 }, { "+1", false, 0 },
		{ "1 2", false, 0 }, { "1e3", false, 0 }, { "0x10", false, 0 }, { "--1", false, 0 },
		{ "<unsupported>", false, 0 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t value = 0;

		cr_assert_eq(hwtext_int(span_of(cases[i].text), &value), cases[i].is_good, "case %zu", i);
		cr_assert_eq(value, cases[i].value, "case %zu", i);
	}
}

Test(hwtext, a_device_tree_ends_its_texts_in_nul)
{
	cr_assert(span_is(hwtext_trim(SPAN("Raspberry Pi 5 Model B Rev 1.0\0")), "Raspberry Pi 5 Model B Rev 1.0"));
	cr_assert_eq(hwtext_trim(SPAN(" \n\0\t")).n, 0);
}

Test(hwtext, pressure_is_read_to_the_hundredth_or_not_at_all)
{
	const struct {
		const char *text;
		bool is_good;
		uint64_t value;
	} cases[] = { { "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", true, 0 },
		{ "some avg10=3.07 avg60=1.00 avg300=0.00 total=9\nfull avg10=1.00 avg60=0 avg300=0 total=0", true, 307 },
		{ "some avg10=100.00 avg60=1.00", true, 10000 }, { "some avg10=100.01 avg60=1.00", false, 0 },
		{ "some avg10=-1.00 avg60", false, 0 }, { "some avg10=1.-5 avg60", false, 0 },
		{ "some avg10=1.5 a", false, 0 }, { "some avg10=1 a", false, 0 }, { "full avg10=1.00 avg60=1.00", false, 0 },
		{ "", false, 0 }, { "some avg10=", false, 0 }, { "some avg10=nan avg60", false, 0 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t value = 0;

		cr_assert_eq(hwtext_pressure(span_of(cases[i].text), &value), cases[i].is_good, "case %zu", i);
		cr_assert_eq(value, cases[i].value, "case %zu", i);
	}
}

Test(hwtext, zones_and_brakes_of_the_cpu_are_told_from_others)
{
	static const char *const yes[] = { "x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc-thermal", "coretemp", "TCPU",
		"bigcore0-thermal", "k10temp" };
	static const char *const no[] = { "acpitz", "iwlwifi_1", "pch_skylake", "INT3400 Thermal", "nvme", "gpu-thermal",
		"" };
	static const char *const brakes[] = { "Processor", "cpufreq-cpu0", "thermal-cpufreq-0", "intel_powerclamp" };
	static const char *const fans[] = { "Fan", "pwm-fan", "gpio-fan", "iwlwifi", "LCD", "" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		cr_assert(hwtext_is_cpu_zone(span_of(yes[i])), "%s", yes[i]);
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		cr_assert(!hwtext_is_cpu_zone(span_of(no[i])), "%s", no[i]);
	for (size_t i = 0; i < sizeof(brakes) / sizeof(brakes[0]); i++)
		cr_assert(hwtext_is_cpu_brake(span_of(brakes[i])), "%s", brakes[i]);
	for (size_t i = 0; i < sizeof(fans) / sizeof(fans[0]); i++)
		cr_assert(!hwtext_is_cpu_brake(span_of(fans[i])), "%s", fans[i]);
}

Test(hwtext, an_arm_core_that_is_not_known_is_called_by_its_board)
{
	static const char *const lines[] = { "processor\t: 0", "Features\t: fp asimd asimdhp asimddp sve i8mm bf16 sve2",
		"CPU implementer\t: 0x61", "CPU part\t: 0x023", "Model\t: Some Board" };
	struct hwtext_cpu c = { 0 };
	struct span isa[PROTO_MAX_ISA];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		hwtext_cpu_line(&c, span_of(lines[i]));
	cr_assert_str_eq(hwtext_cpu_name(&c), "Some Board");
	must_list("isa", isa, hwtext_isa(&c, isa), "neon fp16 dotprod bf16 i8mm sve sve2");
}

/* Bytes of all kinds, and real texts with bytes changed: nothing out of range comes out. */
static void try_texts(struct span s)
{
	struct hwtext_cpu c = { 0 };
	struct hwtext_supply supply;
	struct span isa[PROTO_MAX_ISA], rest = s, value;
	int64_t milli = 0;
	uint64_t n = 0;

	cr_assert(!hwtext_pressure(s, &n) || n <= 10000);
	cr_assert(!hwtext_temperature(s, &milli) || (milli >= -40000 && milli <= 150000));
	hwtext_supply(s, &supply);
	cr_assert(supply.percent <= 100 && supply.kind < POWER_COUNT);
	cr_assert(!hwtext_value(s, "POWER_SUPPLY_TYPE", '=', &value) || value.n <= s.n);
	(void)hwtext_is_cpu_zone(s);
	while (rest.n > 0) {
		const char *end = memchr(rest.p, '\n', rest.n);
		size_t len = end != NULL ? (size_t)(end - rest.p) + 1 : rest.n;

		hwtext_cpu_line(&c, span_mem(rest.p, len));
		rest = span_mem(rest.p + len, rest.n - len);
	}
	cr_assert_leq(hwtext_isa(&c, isa), PROTO_MAX_ISA);
	cr_assert_leq(hwtext_cpu_cores(&c), c.processors);
	cr_assert(span_is_utf8(span_of(hwtext_cpu_name(&c))));
}

Test(hwtext, odd_texts_bring_nothing_odd)
{
	static const char *const texts[] = {
		"processor\t: 0\nmodel name\t: A CPU\nflags\t: fpu avx avx2\nphysical id\t: 0\ncpu cores\t: 4\n",
		"CPU implementer\t: 0x41\nCPU part\t: 0xd08\nModel\t: A Board\nprocessor : 1\n",
		"some avg10=12.34 avg60=0.00 avg300=0.00 total=0\n",
		"POWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_CAPACITY=99\nPOWER_SUPPLY_STATUS=Full\n",
		"48312\n",
	};
	struct rng rng;
	char text[256];

	rng_seed(&rng, 11);
	for (unsigned round = 0; round < 20000; round++) {
		const char *from = texts[rng_below(&rng, sizeof(texts) / sizeof(texts[0]))];
		size_t n = strlen(from);

		memcpy(text, from, n);
		for (uint64_t k = rng_below(&rng, 6); k > 0; k--)
			text[rng_below(&rng, n)] =
				rng_below(&rng, 2) == 0 ? (char)rng_next(&rng) : "0:=.- \n9"[rng_below(&rng, 8)];
		try_texts(span_mem(text, (size_t)rng_below(&rng, n + 1)));
	}
}
