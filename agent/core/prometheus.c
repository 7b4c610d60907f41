/* prometheus.c - all figures as text, for who keeps them (Prometheus exposition format 0.0.4).
 *
 * Names: base units, _total for what only grows, labels only of what is bounded: models of the
 * configuration, codes, states.  docs/AGENT.md lists them. */
#include "agent_core.h"

#define PREFIX "shoal_agent_"

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_addf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

static void put(struct buf *out, const char *name, const char *labels, double value)
{
	buf_addf(out, PREFIX "%s%s %.15g\n", name, labels, value);
}

static void put_one(struct buf *out, const char *name, const char *type, const char *help, bool is_there, double value)
{
	if (!is_there)
		return;
	head(out, name, type, help);
	put(out, name, "", value);
}

/* Quotes, backslashes and line ends of a label's value are escaped. */
static void put_text(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		const char c = s.p[i];

		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c == '\n')
			buf_addf(out, "\\n");
		else
			buf_add(out, &c, 1);
	}
}

/* ---- of the agent ---- */

static void put_build(const struct agent *a, struct buf *out)
{
	head(out, "build_info", "gauge", "What runs here; always 1.");
	buf_addf(out, PREFIX "build_info{software=\"");
	put_text(out, a->config.software);
	buf_addf(out, "\",engine=\"");
	put_text(out, span_of(a->build));
	buf_addf(out, "\"} 1\n");
}

static void put_state(const struct agent *a, struct buf *out)
{
	head(out, "state", "gauge", "1 for the state the hub was last told.");
	for (unsigned i = 0; i < AGENT_STATE_COUNT; i++)
		buf_addf(out, PREFIX "state{state=\"%s\"} %d\n", agent_state_names[i], a->told_state == i);
}

static void put_memory(const struct agent *a, struct buf *out)
{
	const struct memory_view v = memory_see(a, &a->config.memory_hard);
	const struct agent_sample *s = &a->sample;

	put_one(out, "memory_available_bytes", "gauge", "MemAvailable of the box.", s->mem_available > 0,
		(double)s->mem_available);
	put_one(out, "memory_total_bytes", "gauge", "Memory of the box or of its control group, whichever is tighter.",
		v.is_limited, (double)v.total);
	put_one(out, "memory_limit_bytes", "gauge", "memory.hard of it.", v.is_limited, (double)v.limit);
	put_one(out, "memory_used_bytes", "gauge",
		"What cannot be reclaimed of it, and what loaded models may come to take.", v.is_limited, (double)v.used);
	put_one(out, "resident_memory_bytes", "gauge", "Resident memory of the agent and its engines.", s->rss > 0,
		(double)s->rss);
}

static void put_sensors(const struct agent *a, struct buf *out)
{
	const struct sensors *s = &a->sample.sensors;
	const struct hardware *h = a->config.hardware;
	const struct {
		const char *resource;
		unsigned key;
		uint64_t value;
	} pressures[] = { { "cpu", SENSORS_PSI_CPU, s->psi_cpu }, { "memory", SENSORS_PSI_MEMORY, s->psi_memory },
		{ "io", SENSORS_PSI_IO, s->psi_io } };

#define SENSOR(key, name, help, value) put_one(out, name, "gauge", help, msg_has(s, key), (double)(value))
	SENSOR(SENSORS_TEMP, "temperature_celsius", "The hottest zone that is about the CPU.", (double)s->temp_milli / 1000);
	SENSOR(SENSORS_THROTTLED, "throttled", "1 while the CPU is slowed down against heat.", s->throttled);
	SENSOR(SENSORS_UNDERVOLTAGE, "undervoltage", "1 while the supply voltage is too low.", s->undervoltage);
	SENSOR(SENSORS_CPU_MHZ, "cpu_frequency_hertz", "Clock of the fastest core.", (double)s->cpu_mhz * 1e6);
	SENSOR(SENSORS_BATTERY, "battery_ratio", "Charge of the batteries.", (double)s->battery_percent / 100);
	SENSOR(SENSORS_ON_MAINS, "on_mains", "1 while the box has power from outside.", s->on_mains);
	SENSOR(SENSORS_DISK_FREE, "disk_free_bytes", "Free on the file system of the state directory.", s->disk_free);
#undef SENSOR
	put_one(out, "disk_total_bytes", "gauge", "Size of the file system of the state directory.",
		h != NULL && h->disk_total > 0, h != NULL ? (double)h->disk_total : 0);
	put_one(out, "load1", "gauge", "Load average of one minute.", true, (double)a->sample.load_milli / 1000);
	for (size_t i = 0, n = 0; i < sizeof(pressures) / sizeof(pressures[0]); i++) {
		if (!msg_has(s, pressures[i].key))
			continue;
		if (n++ == 0)
			head(out, "pressure_ratio", "gauge",
				"Part of the last 10 s in which some task waited for it (PSI).");
		buf_addf(out, PREFIX "pressure_ratio{resource=\"%s\"} %.15g\n", pressures[i].resource,
			(double)pressures[i].value / 10000);
	}
}

static void put_agent(const struct agent *a, struct buf *out)
{
	const struct agent_counters *c = &a->counters;

	put_build(a, out);
	put_state(a, out);
#define GAUGE(name, help, value) put_one(out, name, "gauge", help, true, (double)(value))
#define COUNTER(name, help, value) put_one(out, name, "counter", help, true, (double)(value))
	GAUGE("uptime_seconds", "Since this life of the agent began.", (double)(a->now - a->start_ms) / 1000);
	GAUGE("connected", "1 while there is a connection to the broker.", a->is_up);
	GAUGE("queue_capacity", "Jobs that may wait here.", a->config.queue_max);
	COUNTER("jobs_accepted_total", "Attempts at jobs that were taken.", c->jobs_accepted);
	COUNTER("jobs_rejected_total", "Attempts that were refused.", c->jobs_rejected);
	COUNTER("jobs_displaced_total", "Waiting jobs that gave way to others.", c->jobs_displaced);
	COUNTER("frames_total", "Token frames sent to the hub.", c->frames);
	COUNTER("resends_total", "Times the hub asked for frames again.", c->resends);
	COUNTER("bad_messages_total", "Messages over MQTT that were not valid.", a->sample.bad_messages);
	COUNTER("stale_messages_total", "Messages of an earlier attempt or for another life.",
		c->jobs_stale + c->jobs_wrong_epoch);
	COUNTER("engine_deaths_total", "Engines that ended by themselves.", c->engine_deaths);
	COUNTER("engine_bad_messages_total", "Messages of engines that were not valid.", c->engine_bad_messages);
#undef GAUGE
#undef COUNTER
}

/* ---- of each model ---- */

struct one { /* what the figures of a model come from */
	const struct engine *e;
	const struct metrics_view *v;
};

static double running(const struct one *o)
{
	return (double)engine_n_jobs(o->e);
}

static double waiting(const struct one *o)
{
	return (double)o->e->n_queued;
}

static double slots(const struct one *o)
{
	return o->e->state == ENGINE_STATE_READY ? (double)o->e->parallel : 0;
}

static double written(const struct one *o)
{
	return (double)o->v->total.tokens;
}

static double read_tokens(const struct one *o)
{
	return (double)o->v->total.prompt_tokens;
}

static double cached(const struct one *o)
{
	return (double)o->v->total.cached_tokens;
}

#define NONE (-1) /* there is no such figure yet */

static double of_window(const struct one *o, uint64_t ms)
{
	return o->v->ok > 0 ? (double)ms / 1000 : NONE;
}

static double per_second(uint64_t milli)
{
	return milli > 0 ? (double)milli / 1000 : NONE;
}

static double least(const struct one *o)
{
	return of_window(o, o->v->latency_min);
}

static double mean(const struct one *o)
{
	return of_window(o, o->v->latency_avg);
}

static double greatest(const struct one *o)
{
	return of_window(o, o->v->latency_max);
}

static double reading(const struct one *o)
{
	return per_second(o->v->prefill_milli);
}

static double writing(const struct one *o)
{
	return per_second(o->v->decode_milli);
}

static double bench_reading(const struct one *o)
{
	return o->e->bench.state == BENCH_DONE ? per_second(o->e->bench.result.prefill_milli) : NONE;
}

static double bench_writing(const struct one *o)
{
	return o->e->bench.state == BENCH_DONE ? per_second(o->e->bench.result.decode_milli) : NONE;
}

/* What an engine has said of its last second of work. */
static double of_stats(const struct one *o, uint64_t value, double unit)
{
	return o->e->stats.threads > 0 ? (double)value * unit : NONE;
}

static double threads(const struct one *o)
{
	return of_stats(o, o->e->stats.threads, 1);
}

static double token_time(const struct one *o)
{
	return of_stats(o, o->e->stats.token_us, 1e-6);
}

static double step_rows(const struct one *o)
{
	return of_stats(o, o->e->stats.step_rows, 1e-3);
}

static double kept(const struct one *o)
{
	return of_stats(o, o->e->stats.n_kept, 1);
}

static const struct {
	const char *name, *type, *help;
	double (*of)(const struct one *o);
} rows[] = {
	{ "engine_threads", "gauge", "That compute, as the tuner has found.", threads },
	{ "engine_token_seconds", "gauge", "Of computing for each new token, in the last second of work.", token_time },
	{ "engine_step_rows", "gauge", "Tokens computed in one step, mean of the last second of work.", step_rows },
	{ "engine_kept_sequences", "gauge", "Sequences that hold something for prompts to come.", kept },
	{ "requests_running", "gauge", "Jobs whose tokens are being computed.", running },
	{ "requests_waiting", "gauge", "Jobs that wait for a sequence.", waiting },
	{ "slots", "gauge", "Jobs that can run at once, now.", slots },
	{ "prompt_tokens_total", "counter", "Tokens of prompts that were computed.", read_tokens },
	{ "prompt_tokens_cached_total", "counter", "Tokens of prompts that were there already.", cached },
	{ "generation_tokens_total", "counter", "Tokens of answers.", written },
	{ "request_duration_min_seconds", "gauge", "Least of the last 1000 requests that ended well.", least },
	{ "request_duration_avg_seconds", "gauge", "Mean of the last 1000 requests that ended well.", mean },
	{ "request_duration_max_seconds", "gauge", "Greatest of the last 1000 requests that ended well.", greatest },
	{ "prefill_tokens_per_second", "gauge", "Of one stream, mean of the last 1000 requests.", reading },
	{ "decode_tokens_per_second", "gauge", "Of one stream, mean of the last 1000 requests.", writing },
	{ "benchmark_prefill_tokens_per_second", "gauge", "Of one stream, measured when first loaded.", bench_reading },
	{ "benchmark_decode_tokens_per_second", "gauge", "Of one stream, measured when first loaded.", bench_writing },
};

static const char *name_of(const struct agent *a, size_t i)
{
	return a->engines[i].model.name.p; /* of the alphabet of ids: nothing to escape */
}

static void put_row(const struct agent *a, const struct metrics_view *views, size_t row, struct buf *out)
{
	bool is_told = false;

	for (size_t i = 0; i < a->n_engines; i++) {
		const struct one o = { &a->engines[i], &views[i] };
		double value = rows[row].of(&o);

		if (value < 0)
			continue;
		if (!is_told)
			head(out, rows[row].name, rows[row].type, rows[row].help);
		is_told = true;
		buf_addf(out, PREFIX "%s{model=\"%s\"} %.15g\n", rows[row].name, name_of(a, i), value);
	}
}

static void put_states(const struct agent *a, struct buf *out)
{
	head(out, "model_state", "gauge", "1 for the state the model is in.");
	for (size_t i = 0; i < a->n_engines; i++)
		for (unsigned k = MODEL_HELD; k < MODEL_STATE_COUNT; k++)
			buf_addf(out, PREFIX "model_state{model=\"%s\",state=\"%s\"} %d\n", name_of(a, i),
				model_state_names[k], engine_model_state(&a->engines[i]) == k);
}

static void put_codes(struct buf *out, const char *model, const struct metrics_total *t)
{
	for (unsigned code = 0; code <= CODE_MAX; code++)
		if (t->by_code[code] > 0 || (code == CODE_OK && *model != '\0'))
			buf_addf(out, PREFIX "requests_total{model=\"%s\",code=\"%s\"} %llu\n", model, code_name(code),
				(unsigned long long)t->by_code[code]);
}

/* Requests for models that are not configured have an empty name: those are not bounded. */
static void put_requests(const struct agent *a, const struct metrics_view *views, struct buf *out)
{
	struct metrics_total others = a->metrics.all;

	head(out, "requests_total", "counter", "Attempts at jobs that ended here, by how (OK: well).");
	for (size_t i = 0; i < a->n_engines; i++) {
		put_codes(out, name_of(a, i), &views[i].total);
		for (unsigned code = 0; code <= CODE_MAX; code++)
			others.by_code[code] -= views[i].total.by_code[code];
	}
	put_codes(out, "", &others);
}

static void put_latency(const struct agent *a, const struct metrics_view *views, struct buf *out)
{
	static const char *const quantiles[] = { "0.5", "0.95", "0.99" };

	head(out, "request_duration_seconds", "summary",
		"From arrival to end of requests that ended well; quantiles of the last 1000.");
	for (size_t i = 0; i < a->n_engines; i++) {
		const struct metrics_view *v = &views[i];
		const uint64_t ms[] = { v->latency_p50, v->latency_p95, v->latency_p99 };

		for (size_t q = 0; q < 3 && v->ok > 0; q++)
			buf_addf(out, PREFIX "request_duration_seconds{model=\"%s\",quantile=\"%s\"} %.15g\n", name_of(a, i),
				quantiles[q], (double)ms[q] / 1000);
		buf_addf(out, PREFIX "request_duration_seconds_sum{model=\"%s\"} %.15g\n", name_of(a, i),
			(double)v->total.latency_ms / 1000);
		buf_addf(out, PREFIX "request_duration_seconds_count{model=\"%s\"} %llu\n", name_of(a, i),
			(unsigned long long)v->total.by_code[CODE_OK]);
	}
}

void agent_prometheus(const struct agent *a, struct buf *out)
{
	struct metrics_view views[AGENT_MAX_MODELS];

	for (size_t i = 0; i < a->n_engines; i++)
		metrics_view(&a->metrics, i, &views[i]);
	put_agent(a, out);
	put_memory(a, out);
	put_sensors(a, out);
	if (a->n_engines == 0)
		return;
	put_states(a, out);
	put_requests(a, views, out);
	put_latency(a, views, out);
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++)
		put_row(a, views, row, out);
}
