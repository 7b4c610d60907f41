#include "agent_detail.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "table.h"

void detail_age(uint64_t ms, char *ret, size_t size)
{
	uint64_t s = ms / 1000;

	if (s < 10)
		snprintf(ret, size, "%" PRIu64 ".%" PRIu64 " s", s, ms / 100 % 10);
	else if (s < 120)
		snprintf(ret, size, "%" PRIu64 " s", s);
	else if (s < 2 * 3600)
		snprintf(ret, size, "%" PRIu64 " min", s / 60);
	else if (s < 48 * 3600)
		snprintf(ret, size, "%" PRIu64 " h", s / 3600);
	else
		snprintf(ret, size, "%" PRIu64 " d", s / 86400);
}

void detail_text(struct span text)
{
	for (size_t i = 0; i < text.n; i++)
		putchar((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f ? '?' : text.p[i]);
	putchar('\n');
}

static void put(const char *label, struct span text)
{
	if (text.n == 0)
		return;
	printf("%-12s", label);
	detail_text(text);
}

static void put_list(const char *label, const struct span *list, size_t n, const char *sep)
{
	struct buf b = BUF_INIT(4096);

	for (size_t i = 0; i < n; i++)
		buf_addf(&b, "%s%.*s", i > 0 ? sep : "", SPAN_FMT(list[i]));
	put(label, buf_span(&b));
	buf_fini(&b);
}

#define PUT(label, ...)                                                                                                     \
	do {                                                                                                                \
		char text_[1024];                                                                                           \
		(void)snprintf(text_, sizeof(text_), __VA_ARGS__);                                                          \
		put(label, span_of(text_));                                                                                 \
	} while (0)

static double gib(uint64_t bytes)
{
	return (double)bytes / (1 << 30);
}

static void print_cpu(const struct hardware *h, const struct sensors *s)
{
	char clock[64] = "";

	if (h->cpu_max_mhz > 0 && msg_has(s, SENSORS_CPU_MHZ))
		(void)snprintf(clock, sizeof(clock), ", %" PRIu64 " of %" PRIu64 " MHz", s->cpu_mhz, h->cpu_max_mhz);
	PUT("cpu", "%.*s, %" PRIu64 " threads on %" PRIu64 " cores%s", SPAN_FMT(h->cpu), h->cores,
		h->cores_physical > 0 ? h->cores_physical : h->cores, clock);
	put_list("isa", h->isa, h->n_isa, " ");
	put_list("devices", h->accelerators, h->n_accelerators, ", ");
}

static void print_heat(const struct hardware *h, const struct sensors *s)
{
	const char *throttled = !msg_has(s, SENSORS_THROTTLED) ? "" : s->throttled ? ", throttled" : ", not throttled";

	if (msg_has(s, SENSORS_TEMP))
		PUT("heat", "%.1f °C%s", (double)s->temp_milli / 1000, throttled);
	else if (*throttled != '\0')
		PUT("heat", "%s", throttled + 2);
	put_list("zones", h->zones, h->n_zones, ", ");
}

static void print_power(const struct hardware *h, const struct sensors *s)
{
	char battery[64] = "";

	if (msg_has(s, SENSORS_BATTERY))
		(void)snprintf(battery, sizeof(battery), ", %" PRIu64 " %%", s->battery_percent);
	if (h->power != POWER_UNKNOWN)
		PUT("power", "%s%s%s", power_names[h->power], battery,
			!msg_has(s, SENSORS_ON_MAINS) ? ""
			: s->on_mains                 ? ", on mains"
						      : ", mains are off");
	if (msg_has(s, SENSORS_UNDERVOLTAGE) && s->undervoltage)
		PUT("", "the supply voltage is too low");
}

static void print_pressure(const struct sensors *s)
{
	if (msg_has(s, SENSORS_PSI_CPU))
		PUT("waiting", "%.2f %% for the CPU, %.2f %% for memory, %.2f %% for the disk", (double)s->psi_cpu / 100,
			(double)s->psi_memory / 100, (double)s->psi_io / 100);
}

static void speed(double tokens_per_s, char *ret, size_t size)
{
	if (tokens_per_s > 0)
		(void)snprintf(ret, size, "%.*f", tokens_per_s < 100 ? 1 : 0, tokens_per_s);
	else
		(void)snprintf(ret, size, "–");
}

#define MIB ((uint64_t)1 << 20)

static int print_models(const struct api_agent *a)
{
	static const struct table_column columns[] = { { .name = "MODEL" }, { .name = "STATE" },
		{ .name = "MIB", .is_right = true }, { .name = "READS/S", .is_right = true },
		{ .name = "WRITES/S", .is_right = true }, { .name = "REASON", .may_cut = true } };
	struct table *t = NULL;
	int rc = table_new(columns, sizeof(columns) / sizeof(columns[0]), &t);

	for (size_t i = 0; i < a->n_models && rc == 0; i++) {
		const struct api_agent_model *m = &a->models[i];
		char *name = span_str(m->name), *state = span_str(m->state), *reason = span_str(m->reason);
		char takes[32], reads[32], writes[32];
		const char *cells[] = { name, state, takes, reads, writes, reason };

		if (m->memory > 0)
			(void)snprintf(takes, sizeof(takes), "%" PRIu64, (m->memory + MIB - 1) / MIB);
		else
			(void)snprintf(takes, sizeof(takes), "–");
		speed(m->prefill_tokens_per_s, reads, sizeof(reads));
		speed(m->decode_tokens_per_s, writes, sizeof(writes));
		rc = name != NULL && state != NULL && reason != NULL ? table_add(t, cells) : ERR_NOMEM;
		free(name);
		free(state);
		free(reason);
	}
	if (rc == 0)
		rc = table_print(t);
	table_free(t);
	return rc == 0 ? CLI_OK : cli_fail(CLI_INTERNAL, "cannot print the table: out of memory");
}

int detail_print(const struct api_agent *a)
{
	const struct hardware *h = &a->hardware;
	const struct sensors *s = &a->sensors;
	char seen[32];

	detail_age(a->seen_ms, seen, sizeof(seen));
	put("agent", a->id);
	PUT("state", "%.*s%s%.*s, heard %s ago", SPAN_FMT(a->state), a->reason.n > 0 ? ": " : "", SPAN_FMT(a->reason), seen);
	put("host", a->host);
	put("machine", h->machine);
	PUT("system", "Linux %.*s, %.*s", SPAN_FMT(h->kernel), SPAN_FMT(h->arch));
	put("software", a->software);
	put("engine", a->engine);
	print_cpu(h, s);
	PUT("memory", "%.1f of %.1f GiB free", gib(a->mem_available), gib(h->mem_total));
	if (msg_has(s, SENSORS_DISK_FREE))
		PUT("disk", "%.1f of %.1f GiB free", gib(s->disk_free), gib(h->disk_total));
	PUT("load", "%.2f", a->load);
	print_heat(h, s);
	print_power(h, s);
	print_pressure(s);
	PUT("jobs", "%" PRIu64 " of %" PRIu64 " running, %" PRIu64 " waiting, %.0f tokens/s", a->running, a->slots,
		a->queued, a->tokens_per_s);
	return a->n_models > 0 ? print_models(a) : CLI_OK;
}
