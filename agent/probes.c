#include "probes.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "hwtext.h"
#include "sysfs.h"

#define MAX_COUNTERS 128 /* of throttling: one a core and package, on boxes beyond that of the first ones */
#define MAX_BRAKES 32
#define MAX_CLOCKS 8
#define SUPPLY_MS 30000 /* asking a battery can take its controller milliseconds */
#define DISK_MS 10000

struct files { /* open ones of one kind */
	int fds[MAX_COUNTERS];
	size_t n, max;
};

struct zone {
	char name[64];
	int fd;
	bool is_cpu;
};

enum { PRESSURE_CPU, PRESSURE_MEMORY, PRESSURE_IO, N_PRESSURES };

struct probes {
	const char *root, *disk;
	struct zone zones[PROTO_MAX_ZONES];
	size_t n_zones;
	struct span zone_names[PROTO_MAX_ZONES];
	struct files counters, brakes, clocks;
	uint64_t n_throttles; /* sum of the counters, last time */
	bool has_throttles;
	int pressure[N_PRESSURES];
	int pi_throttled, undervoltage; /* -1: none */
	uint64_t cpu_max_mhz, disk_total;
	enum power power;
	/* Read more seldom. */
	uint64_t supply_ms, disk_ms;
	struct sensors seldom;
};

/* ---- finding ---- */

static void keep(struct files *f, int fd)
{
	if (fd >= 0 && f->n < f->max)
		f->fds[f->n++] = fd;
	else if (fd >= 0)
		close(fd);
}

static void add_zone(struct probes *p, struct span name, int fd)
{
	struct zone *z = &p->zones[p->n_zones];

	if (fd >= 0 && (p->n_zones == PROTO_MAX_ZONES || !span_is_utf8(name))) {
		close(fd);
		return;
	}
	if (fd < 0)
		return;
	*z = (struct zone){ .fd = fd, .is_cpu = hwtext_is_cpu_zone(name) };
	(void)snprintf(z->name, sizeof(z->name), "%.*s", SPAN_FMT(name));
	p->zone_names[p->n_zones++] = span_of(z->name);
}

static void find_zone(void *ctx, const char *name)
{
	struct probes *p = ctx;
	char buf[SYSFS_MAX];
	struct span type = sysfs_read(buf, p->root, "/sys/class/thermal/%s/type", name);

	if (type.n < sizeof(p->zones[0].name))
		add_zone(p, type, sysfs_open(p->root, "/sys/class/thermal/%s/temp", name));
}

static void find_brake(void *ctx, const char *name)
{
	struct probes *p = ctx;
	char buf[SYSFS_MAX];

	if (hwtext_is_cpu_brake(sysfs_read(buf, p->root, "/sys/class/thermal/%s/type", name)))
		keep(&p->brakes, sysfs_open(p->root, "/sys/class/thermal/%s/cur_state", name));
}

/* Most chips here are thermal zones once more; those of the processor itself are not. */
static void find_hwmon(void *ctx, const char *name)
{
	static const char *const processors[] = { "coretemp", "k10temp", "zenpower", "via_cputemp" };
	struct probes *p = ctx;
	char buf[SYSFS_MAX];
	struct span chip = sysfs_read(buf, p->root, "/sys/class/hwmon/%s/name", name);

	for (size_t i = 0; i < sizeof(processors) / sizeof(processors[0]); i++)
		if (span_is(chip, processors[i])) /* its first input is that of the package */
			add_zone(p, chip, sysfs_open(p->root, "/sys/class/hwmon/%s/temp1_input", name));
	if (span_is(chip, "rpi_volt") && p->undervoltage < 0)
		p->undervoltage = sysfs_open(p->root, "/sys/class/hwmon/%s/in0_lcrit_alarm", name);
}

static void find_counter(void *ctx, const char *name)
{
	struct probes *p = ctx;

	if (name[3] < '0' || name[3] > '9')
		return; /* cpufreq, cpuidle */
	keep(&p->counters, sysfs_open(p->root, "/sys/devices/system/cpu/%s/thermal_throttle/core_throttle_count", name));
	keep(&p->counters, sysfs_open(p->root, "/sys/devices/system/cpu/%s/thermal_throttle/package_throttle_count", name));
}

static void find_clock(void *ctx, const char *name)
{
	struct probes *p = ctx;
	char buf[SYSFS_MAX];
	int64_t khz;

	if (hwtext_int(sysfs_read(buf, p->root, "/sys/devices/system/cpu/cpufreq/%s/cpuinfo_max_freq", name), &khz) &&
		khz > 0 && (uint64_t)khz / 1000 > p->cpu_max_mhz)
		p->cpu_max_mhz = (uint64_t)khz / 1000;
	keep(&p->clocks, sysfs_open(p->root, "/sys/devices/system/cpu/cpufreq/%s/scaling_cur_freq", name));
}

struct firmware {
	struct probes *p;
	const char *soc;
};

static void find_firmware(void *ctx, const char *name)
{
	struct firmware *f = ctx;

	if (f->p->pi_throttled < 0)
		f->p->pi_throttled = sysfs_open(f->p->root, "/sys/devices/platform/%s/%s/get_throttled", f->soc, name);
}

/* A Raspberry Pi's firmware: …/soc/soc:firmware/get_throttled, the kernel of its maker has it. */
static void find_soc(void *ctx, const char *name)
{
	struct firmware f = { .p = ctx, .soc = name };
	char dir[512];

	if (snprintf(dir, sizeof(dir), "/sys/devices/platform/%s", name) < (int)sizeof(dir))
		sysfs_each(f.p->root, dir, "", find_firmware, &f);
}

/* ---- power ---- */

struct supplies {
	struct probes *p;
	uint64_t percent_sum, n_percent;
	bool has_line, is_online, is_discharging, has_battery;
	enum power power;
};

static void read_supply(void *ctx, const char *name)
{
	struct supplies *s = ctx;
	struct hwtext_supply one;
	char buf[SYSFS_MAX];

	hwtext_supply(sysfs_read(buf, s->p->root, "/sys/class/power_supply/%s/uevent", name), &one);
	if (one.kind > s->power)
		s->power = one.kind;
	if (one.kind == POWER_MAINS && one.has_online) {
		s->has_line = true;
		s->is_online |= one.is_online;
	}
	if (one.kind != POWER_BATTERY && one.kind != POWER_UPS)
		return;
	s->has_battery = true;
	s->is_discharging |= one.is_discharging;
	s->percent_sum += one.percent;
	s->n_percent += one.has_percent;
}

static void read_supplies(struct probes *p)
{
	struct supplies s = { .p = p };

	sysfs_each(p->root, "/sys/class/power_supply", "", read_supply, &s);
	p->power = s.power;
	p->seldom.has &= ~((uint64_t)1 << SENSORS_BATTERY | (uint64_t)1 << SENSORS_ON_MAINS);
	if (s.n_percent > 0) {
		p->seldom.battery_percent = s.percent_sum / s.n_percent;
		msg_set(&p->seldom, SENSORS_BATTERY);
	}
	if (s.has_line || s.has_battery) { /* a battery alone knows whether it is being emptied */
		p->seldom.on_mains = s.has_line ? s.is_online : !s.is_discharging;
		msg_set(&p->seldom, SENSORS_ON_MAINS);
	}
}

static void read_disk(struct probes *p)
{
	struct statvfs fs;

	p->seldom.has &= ~((uint64_t)1 << SENSORS_DISK_FREE);
	if (statvfs(p->disk, &fs) < 0)
		return;
	p->disk_total = (uint64_t)fs.f_blocks * fs.f_frsize;
	p->seldom.disk_free = (uint64_t)fs.f_bavail * fs.f_frsize;
	msg_set(&p->seldom, SENSORS_DISK_FREE);
}

/* ---- reading ---- */

static bool read_int(int fd, int64_t *ret)
{
	char buf[SYSFS_MAX];

	return hwtext_int(sysfs_pread(fd, buf), ret);
}

/* The hottest of the zones that are about the CPU; of a box that has none such, of all. */
static void read_zones(const struct probes *p, struct sensors *ret)
{
	int64_t milli, hottest[2] = { INT64_MIN, INT64_MIN };
	char buf[SYSFS_MAX];

	for (size_t i = 0; i < p->n_zones; i++) {
		int64_t *to = &hottest[p->zones[i].is_cpu];

		if (hwtext_temperature(sysfs_pread(p->zones[i].fd, buf), &milli) && milli > *to)
			*to = milli;
	}
	ret->temp_milli = hottest[1] != INT64_MIN ? hottest[1] : hottest[0];
	if (ret->temp_milli != INT64_MIN)
		msg_set(ret, SENSORS_TEMP);
	else
		ret->temp_milli = 0;
}

static void set_throttled(struct sensors *ret, bool is_throttled)
{
	ret->throttled |= is_throttled;
	msg_set(ret, SENSORS_THROTTLED);
}

/* Counters count since boot: what counts is whether they have moved. */
static void read_counters(struct probes *p, struct sensors *ret)
{
	uint64_t sum = 0;
	int64_t n;

	for (size_t i = 0; i < p->counters.n; i++)
		sum += read_int(p->counters.fds[i], &n) && n > 0 ? (uint64_t)n : 0;
	if (p->counters.n > 0)
		set_throttled(ret, p->has_throttles && sum > p->n_throttles);
	p->n_throttles = sum;
	p->has_throttles = true;
}

/* Bits of get_throttled, of the Raspberry Pi's documentation (vcgencmd): 0 undervoltage, 1 frequency
 * capped, 2 throttled, 3 soft temperature limit; 16 and up: has happened since boot. */
static void read_pi(const struct probes *p, struct sensors *ret)
{
	char buf[SYSFS_MAX];
	uint64_t bits;
	int64_t alarm;

	if (hwtext_hex(sysfs_pread(p->pi_throttled, buf), &bits)) {
		set_throttled(ret, (bits & 0xe) != 0);
		ret->undervoltage = (bits & 1) != 0;
		msg_set(ret, SENSORS_UNDERVOLTAGE);
	}
	if (read_int(p->undervoltage, &alarm)) {
		ret->undervoltage |= alarm != 0;
		msg_set(ret, SENSORS_UNDERVOLTAGE);
	}
}

static void read_brakes(const struct probes *p, struct sensors *ret)
{
	int64_t state;

	for (size_t i = 0; i < p->brakes.n; i++)
		if (read_int(p->brakes.fds[i], &state))
			set_throttled(ret, state > 0);
}

static void read_clocks(const struct probes *p, struct sensors *ret)
{
	int64_t khz;

	for (size_t i = 0; i < p->clocks.n; i++) {
		if (!read_int(p->clocks.fds[i], &khz) || khz <= 0 || khz / 1000 > UINT32_MAX)
			continue;
		if ((uint64_t)khz / 1000 > ret->cpu_mhz)
			ret->cpu_mhz = (uint64_t)khz / 1000;
		msg_set(ret, SENSORS_CPU_MHZ);
	}
}

static void read_pressure(const struct probes *p, struct sensors *ret)
{
	uint64_t *const to[N_PRESSURES] = { &ret->psi_cpu, &ret->psi_memory, &ret->psi_io };
	char buf[SYSFS_MAX];

	for (unsigned i = 0; i < N_PRESSURES; i++)
		if (hwtext_pressure(sysfs_pread(p->pressure[i], buf), to[i]))
			msg_set(ret, SENSORS_PSI_CPU + i);
}

void probes_read(struct probes *p, uint64_t now_ms, struct sensors *ret)
{
	if (now_ms >= p->supply_ms) {
		read_supplies(p);
		p->supply_ms = now_ms + SUPPLY_MS;
	}
	if (now_ms >= p->disk_ms) {
		read_disk(p);
		p->disk_ms = now_ms + DISK_MS;
	}
	*ret = p->seldom;
	read_zones(p, ret);
	read_counters(p, ret);
	read_brakes(p, ret);
	read_pi(p, ret);
	read_clocks(p, ret);
	read_pressure(p, ret);
}

void probes_describe(const struct probes *p, struct hardware *ret)
{
	ret->zones = p->zone_names;
	ret->n_zones = p->n_zones;
	ret->cpu_max_mhz = p->cpu_max_mhz;
	ret->power = p->power;
	ret->disk_total = p->disk_total;
}

/* ---- making ---- */

int probes_new(const char *root, const char *disk, struct probes **ret)
{
	static const char *const pressures[N_PRESSURES] = { "cpu", "memory", "io" };
	struct probes *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return ERR_NOMEM;
	p->root = root;
	p->disk = disk;
	p->counters.max = MAX_COUNTERS;
	p->brakes.max = MAX_BRAKES;
	p->clocks.max = MAX_CLOCKS;
	p->pi_throttled = p->undervoltage = -1;
	sysfs_each(root, "/sys/class/thermal", "thermal_zone", find_zone, p);
	sysfs_each(root, "/sys/class/thermal", "cooling_device", find_brake, p);
	sysfs_each(root, "/sys/class/hwmon", "hwmon", find_hwmon, p);
	sysfs_each(root, "/sys/devices/system/cpu", "cpu", find_counter, p);
	sysfs_each(root, "/sys/devices/system/cpu/cpufreq", "policy", find_clock, p);
	sysfs_each(root, "/sys/devices/platform", "soc", find_soc, p);
	for (size_t i = 0; i < N_PRESSURES; i++)
		p->pressure[i] = sysfs_open(root, "/proc/pressure/%s", pressures[i]);
	read_supplies(p);
	read_disk(p);
	*ret = p;
	return 0;
}

static void close_files(const struct files *f)
{
	for (size_t i = 0; i < f->n; i++)
		close(f->fds[i]);
}

static void close_one(int fd)
{
	if (fd >= 0)
		close(fd);
}

struct probes *probes_free(struct probes *p)
{
	if (p == NULL)
		return NULL;
	for (size_t i = 0; i < p->n_zones; i++)
		close(p->zones[i].fd);
	close_files(&p->counters);
	close_files(&p->brakes);
	close_files(&p->clocks);
	for (size_t i = 0; i < N_PRESSURES; i++)
		close_one(p->pressure[i]);
	close_one(p->pi_throttled);
	close_one(p->undervoltage);
	free(p);
	return NULL;
}
