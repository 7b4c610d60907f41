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

static const struct figures *figures_of(const struct api_agent *a, struct span model)
{
	static const struct figures none;

	for (size_t i = 0; i < a->n_figures; i++)
		if (span_eq(a->figures[i].name, model))
			return &a->figures[i];
	return &none;
}

/* What the last requests had, else what was measured when it was first loaded. */
static void speed(uint64_t milli, double measured, char *ret, size_t size)
{
	double per_s = milli > 0 ? (double)milli / 1000 : measured;

	if (per_s > 0)
		(void)snprintf(ret, size, "%.*f", per_s < 100 ? 1 : 0, per_s);
	else
		(void)snprintf(ret, size, "–");
}

#define MIB ((uint64_t)1 << 20)

enum { COL_MODEL, COL_STATE, COL_MIB, COL_REQUESTS, COL_ERRORS, COL_P95, COL_READS, COL_WRITES, COL_REASON, N_COLS };

static int add_model(struct table *t, const struct api_agent *a, const struct api_agent_model *m)
{
	const struct figures *f = figures_of(a, m->name);
	char *name = span_str(m->name), *state = span_str(m->state), *reason = span_str(m->reason);
	char takes[32], requests[24], errors[24], p95[32], reads[32], writes[32];
	const char *cells[N_COLS] = { name, state, takes, requests, errors, p95, reads, writes, reason };
	int rc = ERR_NOMEM;

	if (m->memory > 0)
		(void)snprintf(takes, sizeof(takes), "%" PRIu64, (m->memory + MIB - 1) / MIB);
	else
		(void)snprintf(takes, sizeof(takes), "–");
	(void)snprintf(requests, sizeof(requests), "%" PRIu64, f->requests_total);
	(void)snprintf(errors, sizeof(errors), "%" PRIu64, f->errors_total);
	(void)snprintf(p95, sizeof(p95), "%.2f s", (double)f->latency_p95_ms / 1000);
	speed(f->prefill_milli, m->prefill_tokens_per_s, reads, sizeof(reads));
	speed(f->decode_milli, m->decode_tokens_per_s, writes, sizeof(writes));
	if (name != NULL && state != NULL && reason != NULL)
		rc = table_add(t, cells);
	free(name);
	free(state);
	free(reason);
	return rc;
}

static int print_models(const struct api_agent *a)
{
	static const struct table_column columns[N_COLS] = { [COL_MODEL] = { .name = "MODEL" },
		[COL_STATE] = { .name = "STATE" },
		[COL_MIB] = { .name = "MIB", .is_right = true },
		[COL_REQUESTS] = { .name = "REQUESTS", .is_right = true },
		[COL_ERRORS] = { .name = "ERRORS", .is_right = true },
		[COL_P95] = { .name = "P95", .is_right = true },
		[COL_READS] = { .name = "READS/S", .is_right = true },
		[COL_WRITES] = { .name = "WRITES/S", .is_right = true },
		[COL_REASON] = { .name = "REASON", .may_cut = true } };
	struct table *t = NULL;
	int rc = table_new(columns, N_COLS, &t);

	for (size_t i = 0; i < a->n_models && rc == 0; i++)
		rc = add_model(t, a, &a->models[i]);
	if (rc == 0)
		rc = table_print(t);
	table_free(t);
	return rc == 0 ? CLI_OK : cli_fail(CLI_INTERNAL, "cannot print the table: out of memory");
}

static void print_requests(const struct api_agent *a)
{
	const struct figures *f = figures_of(a, SPAN_NONE);
	struct buf b = BUF_INIT(4096);

	if (f->requests_total == 0)
		return;
	buf_addf(&b, "%" PRIu64 ", %" PRIu64 " errors", f->requests_total, f->errors_total);
	for (size_t i = 0; i < f->n_errors; i++)
		buf_addf(&b, "%s%.*s %" PRIu64, i == 0 ? ": " : ", ", SPAN_FMT(f->errors[i].code), f->errors[i].n);
	put("requests", buf_span(&b));
	buf_fini(&b);
	PUT("latency", "mean %.2f s, 50 %% within %.2f s, 95 %% within %.2f s, 99 %% within %.2f s",
		(double)f->latency_avg_ms / 1000, (double)f->latency_p50_ms / 1000, (double)f->latency_p95_ms / 1000,
		(double)f->latency_p99_ms / 1000);
}

int detail_print(const struct api_agent *a)
{
	const struct hardware *h = &a->hardware;
	const struct sensors *s = &a->sensors;
	char seen[32];

	detail_age(a->seen_ms, seen, sizeof(seen));
	put("agent", a->id);
	PUT("state", "%.*s%s%.*s, heard %s ago", SPAN_FMT(a->state), a->reason.n > 0 ? ": " : "", SPAN_FMT(a->reason), seen);
	put("asked for", a->asked_for);
	if (msg_has(a, API_AGENT_WEIGHT) && a->weight < 100)
		PUT("weight", "%" PRIu64 " %% of the work it would get", a->weight);
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
	print_requests(a);
	return a->n_models > 0 ? print_models(a) : CLI_OK;
}
