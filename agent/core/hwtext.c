#include "hwtext.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\0'; /* device trees end texts in NUL */
}

struct span hwtext_trim(struct span s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s.p++, s.n--;
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

static bool number(struct span s, unsigned base, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;

	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned)digit_of(s.p[i]);

		if (digit >= base || value > (max - digit) / base)
			return false;
		value = value * base + digit;
	}
	if (s.n == 0)
		return false;
	*ret = value;
	return true;
}

bool hwtext_int(struct span s, int64_t *ret)
{
	uint64_t value;
	bool is_negative;

	s = hwtext_trim(s);
	is_negative = s.n > 0 && s.p[0] == '-';
	if (is_negative)
		s.p++, s.n--;
	if (!number(s, 10, INT64_MAX, &value))
		return false;
	*ret = is_negative ? -(int64_t)value : (int64_t)value;
	return true;
}

bool hwtext_hex(struct span s, uint64_t *ret)
{
	s = hwtext_trim(s);
	if (s.n > 2 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'X'))
		s.p += 2, s.n -= 2;
	return number(s, 16, UINT64_MAX, ret);
}

/* Takes what stands before the next `end` off s; all of it when there is none. */
static struct span take_until(struct span *s, char end)
{
	const char *at = s->n > 0 ? memchr(s->p, end, s->n) : NULL;
	size_t n = at != NULL ? (size_t)(at - s->p) : s->n, gone = at != NULL ? n + 1 : n;
	struct span part = span_mem(s->p, n);

	s->p += gone;
	s->n -= gone;
	return part;
}

static bool begins_with(struct span s, const char *text)
{
	size_t n = strlen(text);

	return s.n >= n && memcmp(s.p, text, n) == 0;
}

static bool holds(struct span s, const char *text)
{
	for (; s.n > 0; s.p++, s.n--)
		if (begins_with(s, text))
			return true;
	return false;
}

bool hwtext_value(struct span text, const char *key, char sep, struct span *ret)
{
	while (text.n > 0) {
		struct span line = take_until(&text, '\n');
		size_t before = line.n;
		struct span name = take_until(&line, sep);

		if (name.n == before || !span_is(hwtext_trim(name), key))
			continue;
		*ret = hwtext_trim(line);
		return true;
	}
	return false;
}

/* ---- /proc/cpuinfo ---- */

/* What the kernel calls them, and what llama.cpp's builds and people do. */
static const struct {
	const char *flag, *name;
} sets[] = {
	{ "pni", "sse3" },
	{ "ssse3", "ssse3" },
	{ "sse4_2", "sse4.2" },
	{ "avx", "avx" },
	{ "f16c", "f16c" },
	{ "fma", "fma" },
	{ "avx2", "avx2" },
	{ "bmi2", "bmi2" },
	{ "avx_vnni", "avx_vnni" },
	{ "avx512f", "avx512" },
	{ "avx512_vbmi", "avx512_vbmi" },
	{ "avx512vbmi", "avx512_vbmi" },
	{ "avx512_vnni", "avx512_vnni" },
	{ "avx512_bf16", "avx512_bf16" },
	{ "amx_tile", "amx_tile" },
	{ "amx_int8", "amx_int8" },
	{ "amx_bf16", "amx_bf16" },
	{ "neon", "neon" },
	{ "asimd", "neon" },
	{ "asimdhp", "fp16" },
	{ "asimddp", "dotprod" },
	{ "bf16", "bf16" },
	{ "i8mm", "i8mm" },
	{ "sve", "sve" },
	{ "sve2", "sve2" },
	{ "sme", "sme" },
};
#define N_SETS (sizeof(sets) / sizeof(sets[0]))
_Static_assert(N_SETS <= PROTO_MAX_ISA, "room in the message");

/* Cores of Arm Ltd. (implementer 0x41) that run Linux, by part number: Arm's technical reference
 * manuals, register MIDR_EL1. */
static const struct {
	uint64_t part;
	const char *name;
} arm_cores[] = { { 0xc07, "Cortex-A7" }, { 0xc09, "Cortex-A9" }, { 0xc0f, "Cortex-A15" }, { 0xd03, "Cortex-A53" },
	{ 0xd04, "Cortex-A35" }, { 0xd05, "Cortex-A55" }, { 0xd07, "Cortex-A57" }, { 0xd08, "Cortex-A72" },
	{ 0xd09, "Cortex-A73" }, { 0xd0a, "Cortex-A75" }, { 0xd0b, "Cortex-A76" }, { 0xd0c, "Neoverse-N1" },
	{ 0xd0d, "Cortex-A77" }, { 0xd40, "Neoverse-V1" }, { 0xd41, "Cortex-A78" }, { 0xd44, "Cortex-X1" },
	{ 0xd46, "Cortex-A510" }, { 0xd47, "Cortex-A710" }, { 0xd49, "Neoverse-N2" }, { 0xd4b, "Cortex-A78C" },
	{ 0xd4f, "Neoverse-V2" }, { 0xd80, "Cortex-A520" }, { 0xd81, "Cortex-A720" }, { 0xd8e, "Neoverse-N3" } };
#define ARM_LTD 0x41

static void add_sets(uint64_t *isa, struct span words)
{
	while (words.n > 0) {
		struct span word = take_until(&words, ' ');

		for (size_t i = 0; i < N_SETS; i++)
			if (span_is(word, sets[i].flag))
				*isa |= (uint64_t)1 << i;
	}
}

static void take_name(char *dst, size_t size, struct span s)
{
	if (dst[0] == '\0' && span_is_utf8(s))
		(void)span_copy(s, dst, size); /* one that does not fit is none */
}

static void take_max(uint64_t *dst, struct span s, uint64_t add)
{
	int64_t value;

	if (hwtext_int(s, &value) && value >= 0 && value < UINT32_MAX && (uint64_t)value + add > *dst)
		*dst = (uint64_t)value + add;
}

/* Of unlike cores the one with the greatest part number is shown: the big one. */
static void take_hex(uint64_t *dst, struct span s)
{
	uint64_t value;

	if (hwtext_hex(s, &value) && value > *dst)
		*dst = value;
}

void hwtext_cpu_line(struct hwtext_cpu *c, struct span line)
{
	size_t before = line.n;
	struct span key = take_until(&line, ':'), value = hwtext_trim(line);

	if (key.n == before)
		return;
	key = hwtext_trim(key);
	c->processors += span_is(key, "processor");
	if (span_is(key, "model name"))
		take_name(c->name, sizeof(c->name), value);
	else if (span_is(key, "Model") || span_is(key, "Hardware"))
		take_name(c->board, sizeof(c->board), value);
	else if (span_is(key, "physical id"))
		take_max(&c->packages, value, 1);
	else if (span_is(key, "cpu cores"))
		take_max(&c->package_cores, value, 0);
	else if (span_is(key, "CPU implementer"))
		take_hex(&c->implementer, value);
	else if (span_is(key, "CPU part"))
		take_hex(&c->part, value);
	else if (span_is(key, "flags") || span_is(key, "Features"))
		add_sets(&c->isa, value);
}

uint64_t hwtext_cpu_cores(const struct hwtext_cpu *c)
{
	uint64_t n = c->packages * c->package_cores;

	return n <= c->processors ? n : 0; /* the two do not fit each other */
}

const char *hwtext_cpu_name(const struct hwtext_cpu *c)
{
	for (size_t i = 0; c->implementer == ARM_LTD && i < sizeof(arm_cores) / sizeof(arm_cores[0]); i++)
		if (c->part == arm_cores[i].part)
			return arm_cores[i].name;
	return c->name[0] != '\0' ? c->name : c->board;
}

size_t hwtext_isa(const struct hwtext_cpu *c, struct span ret[PROTO_MAX_ISA])
{
	size_t n = 0;

	for (size_t i = 0; i < N_SETS; i++)
		if ((c->isa >> i & 1) != 0 && (n == 0 || !span_is(ret[n - 1], sets[i].name)))
			ret[n++] = span_of(sets[i].name);
	return n;
}

/* ---- how it fares ---- */

bool hwtext_pressure(struct span s, uint64_t *ret)
{
	struct span line = take_until(&s, '\n'), value;
	int64_t whole, hundredths;

	if (!begins_with(line, "some avg10="))
		return false;
	(void)take_until(&line, '=');
	value = take_until(&line, ' ');
	if (!hwtext_int(take_until(&value, '.'), &whole) || value.n != 2 || !hwtext_int(value, &hundredths))
		return false;
	if (whole < 0 || whole > 100 || hundredths < 0 || whole * 100 + hundredths > 10000)
		return false;
	*ret = (uint64_t)(whole * 100 + hundredths);
	return true;
}

bool hwtext_temperature(struct span s, int64_t *ret)
{
	int64_t milli;

	if (!hwtext_int(s, &milli) || milli < -40000 || milli > 150000)
		return false;
	*ret = milli;
	return true;
}

static bool holds_one_of(struct span s, const char *const words[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (holds(s, words[i]))
			return true;
	return false;
}

/* "x86_pkg_temp", "cpu-thermal", "soc_thermal", "bigcore0-thermal", "center-thermal" */
bool hwtext_is_cpu_zone(struct span type)
{
	static const char *const words[] = { "cpu", "CPU", "x86_pkg", "soc", "core", "package", "littlecore",
		"center-thermal", "k10temp", "zenpower" };

	return holds_one_of(type, words, sizeof(words) / sizeof(words[0]));
}

/* "Processor" of ACPI, "cpufreq-cpu0" and its like of device trees, powerclamp and idle injection */
bool hwtext_is_cpu_brake(struct span type)
{
	static const char *const words[] = { "Processor", "cpufreq", "powerclamp", "idle" };

	return holds_one_of(type, words, sizeof(words) / sizeof(words[0]));
}

static enum power kind_of(struct span type, struct span scope)
{
	if (span_is(scope, "Device"))
		return POWER_UNKNOWN;
	if (span_is(type, "Battery"))
		return POWER_BATTERY;
	if (span_is(type, "UPS"))
		return POWER_UPS;
	return span_is(type, "Mains") || begins_with(type, "USB") ? POWER_MAINS : POWER_UNKNOWN;
}

static struct span property(struct span uevent, const char *key)
{
	struct span value = SPAN_NONE;

	(void)hwtext_value(uevent, key, '=', &value); /* it stays empty */
	return value;
}

void hwtext_supply(struct span uevent, struct hwtext_supply *ret)
{
	struct span type = property(uevent, "POWER_SUPPLY_TYPE"), scope = property(uevent, "POWER_SUPPLY_SCOPE");
	struct span status = property(uevent, "POWER_SUPPLY_STATUS");
	int64_t value;

	*ret = (struct hwtext_supply){ .kind = kind_of(type, scope), .is_discharging = span_is(status, "Discharging") };
	if (hwtext_int(property(uevent, "POWER_SUPPLY_CAPACITY"), &value) && value >= 0 && value <= 100) {
		ret->has_percent = true;
		ret->percent = (uint64_t)value;
	}
	if (hwtext_int(property(uevent, "POWER_SUPPLY_ONLINE"), &value)) {
		ret->has_online = true;
		ret->is_online = value != 0;
	}
}
