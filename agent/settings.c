#include "settings.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "log.h"
#include "sha256.h"
#include "topic.h"

#define HOUR_MS (3600 * 1000)
#define GPIO_NONE_TEXT "4294967295"

/* ---- checks ---- */

static const char *check_id(const char *value)
{
	if (*value == '\0' || span_is_id(span_of(value)))
		return NULL;
	return "an id has 1 to 64 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit";
}

static const char *check_name(const char *value)
{
	return span_is_id(span_of(value))
		       ? NULL
		       : "a model's name has 1 to 64 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit";
}

static const char *check_digest(const char *value)
{
	uint8_t digest[SHA256_SIZE];

	return *value == '\0' || settings_digest(value, digest) == 0 ? NULL : "a SHA-256 has 64 hexadecimal digits";
}

static const char *check_limit(const char *value)
{
	struct agent_limit limit;

	return settings_limit(value, &limit) == 0 ? NULL : "a limit is a part (\"90%\") or bytes (\"6G\", \"512M\")";
}

bool settings_listen(const char *text, char ret_host[SETTINGS_HOST_SIZE], int *ret_port)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon != NULL ? (size_t)(colon - text) : 0;
	char *end;
	long port;

	if (n == 0 || colon[1] < '0' || colon[1] > '9')
		return false;
	port = strtol(colon + 1, &end, 10);
	if (*end != '\0' || port > 65535)
		return false;
	if (text[0] == '[' && text[n - 1] == ']' && n > 2)
		text++, n -= 2;
	if (n >= SETTINGS_HOST_SIZE)
		return false;
	memcpy(ret_host, text, n);
	ret_host[n] = '\0';
	*ret_port = (int)port;
	return true;
}

static const char *check_listen(const char *value)
{
	char host[SETTINGS_HOST_SIZE];
	int port;

	return *value == '\0' || settings_listen(value, host, &port)
		       ? NULL
		       : "an address and a port are written 127.0.0.1:9464 or [::1]:9464";
}

/* ---- the table ---- */

static const char *const register_names[] = { "warming", "warm", NULL };
static const char *const when_full_names[] = { "reject", "displace", NULL };

#define T struct model_settings
#define MODEL(m) offsetof(T, m)
static const struct config_option model_options[] = {
	{ "name", CONFIG_TEXT, MODEL(name), .max = PROTO_MAX_NAME, .check = check_name, .help = "what clients call it" },
	{ "file", CONFIG_TEXT, MODEL(file), .max = 4095, .help = "the model file (GGUF)" },
	{ "sha256", CONFIG_TEXT, MODEL(sha256), .max = 64, .def = "", .check = check_digest,
		.help = "its SHA-256 in hex: a file with another one is not used; empty: any" },
	{ "context", CONFIG_UINT, MODEL(context), .max = 1 << 24, .def = "0", .unit = "tokens",
		.help = "how many tokens one job may hold; 0: as trained" },
	{ "parallel", CONFIG_UINT, MODEL(parallel), .min = 1, .max = 64, .def = "4", .help = "jobs that run at once" },
	{ "keep", CONFIG_UINT, MODEL(keep), .max = 64, .def = "0",
		.help = "places beyond parallel for computed prompts of ended jobs; each costs the memory of one more job" },
	{ "batch_tokens", CONFIG_UINT, MODEL(batch_tokens), .max = 65536, .def = "0", .unit = "tokens",
		.help = "in one step of the engine; 0: the engine's choice" },
	{ "prefill_chunk", CONFIG_UINT, MODEL(prefill_chunk), .max = 65536, .def = "0", .unit = "tokens",
		.help = "of one prompt in one step; 0: the engine's choice" },
	{ "prefill_gap", CONFIG_UINT, MODEL(prefill_gap), .min = 100, .max = 1000000, .def = "250", .unit = "percent",
		.help = "how long a step with a piece of a long prompt may take, of one without, while others read "
			"answers" },
	{ "max_batch", CONFIG_UINT, MODEL(max_batch), .max = 64, .def = "0",
		.help = "jobs in one step, which take turns if there are more; 0: all that run" },
	{ "min_batch", CONFIG_UINT, MODEL(min_batch), .max = 64, .def = "2",
		.help = "so many new jobs begin without waiting for company" },
	{ "batch_wait_ms", CONFIG_UINT, MODEL(batch_wait_ms), .max = 60000, .def = "0", .unit = "ms",
		.help = "new jobs wait so long for min_batch of them while none runs; 0: they begin at once" },
	{ "batch_wait_adaptive", CONFIG_BOOL, MODEL(batch_wait_adaptive), .def = "true",
		.help = "they wait only if by the last arrivals another is likely to come in time" },
	{ "threads", CONFIG_UINT, MODEL(threads), .max = 1024, .def = "0",
		.help = "that compute; 0: as many as turn out to be fastest, beside what else the box does" },
	{ "prewarm", CONFIG_BOOL, MODEL(prewarm), .def = "true",
		.help = "loaded when the agent starts; false: when the first job for it comes" },
	{ "pinned", CONFIG_BOOL, MODEL(pinned), .def = "false",
		.help = "once loaded it stays so, though other models need memory" },
	{ "exact", CONFIG_BOOL, MODEL(exact), .def = "false",
		.help = "the same tokens from every agent, also after a failover; costs speed, see docs/ENGINE.md" },
	{ "embeddings", CONFIG_BOOL, MODEL(embeddings), .def = "false",
		.help = "vectors of texts, too; costs the memory of one more job or less" },
};
#undef T
static const struct config_schema model_schema = { sizeof(struct model_settings), model_options,
	sizeof(model_options) / sizeof(model_options[0]) };

#define T struct settings
#define AT(m) offsetof(T, m)
static const struct config_option options[] = {
	{ "id", CONFIG_TEXT, AT(id), .max = PROTO_MAX_ID, .def = "", .check = check_id,
		.help = "name of this agent in the fleet, each one's own; empty: the host name" },
	{ "prefix", CONFIG_TEXT, AT(prefix), .max = 128, .def = TOPIC_DEFAULT_PREFIX, .check = broker_check_prefix,
		.help = "of all topics; the same on hub and agents" },
	{ "state_dir", CONFIG_TEXT, AT(state_dir), .max = 4095, .def = "",
		.help = "epoch and pid file; empty: what systemd gives, else /var/lib/shoal-agent" },
	BROKER_OPTIONS(T, broker, "empty: the id when there is a password, else none"),
	{ "engine.path", CONFIG_TEXT, AT(engine.path), .max = 4095, .def = "",
		.help = "the engine program; empty: shoal-engine beside this program, in libexec or in PATH" },
	{ "engine.load_timeout_ms", CONFIG_UINT, AT(engine.load_timeout_ms), .min = 1000, .max = HOUR_MS, .def = "60000",
		.unit = "ms", .help = "loading may take that long without any progress" },
	{ "engine.token_timeout_ms", CONFIG_UINT, AT(engine.token_timeout_ms), .min = 100, .max = HOUR_MS, .def = "10000",
		.unit = "ms", .help = "an engine that is silent so long, or brings a running job no token, has hung" },
	{ "engine.prompt_timeout_ms", CONFIG_UINT, AT(engine.prompt_timeout_ms), .min = 1, .max = HOUR_MS, .def = "20000",
		.unit = "ms", .help = "so much longer for each KiB of the prompts it is reading" },
	{ "engine.backoff_min_ms", CONFIG_UINT, AT(engine.backoff_min_ms), .min = 1, .max = HOUR_MS, .def = "250",
		.unit = "ms", .help = "before an engine that died starts again; doubles each time" },
	{ "engine.backoff_max_ms", CONFIG_UINT, AT(engine.backoff_max_ms), .min = 1, .max = HOUR_MS, .def = "30000",
		.unit = "ms", .help = "and never takes longer" },
	{ "engine.quarantine_deaths", CONFIG_UINT, AT(engine.quarantine_deaths), .max = AGENT_MAX_QUARANTINE_DEATHS,
		.def = "3", .help = "deaths of a model's engine after which it is left alone for a while; 0: never" },
	{ "engine.quarantine_window_ms", CONFIG_UINT, AT(engine.quarantine_window_ms), .min = 1000, .max = 24 * HOUR_MS,
		.def = "300000", .unit = "ms", .help = "deaths further apart do not count together" },
	{ "engine.quarantine_ms", CONFIG_UINT, AT(engine.quarantine_ms), .min = 1000, .max = 24 * HOUR_MS, .def = "900000",
		.unit = "ms", .help = "until it is tried once more" },
	{ "benchmark", CONFIG_BOOL, AT(benchmark), .def = "true",
		.help = "measure how fast a model is when its engine is first at rest; never in the way of a job" },
	{ "benchmark_calm_ms", CONFIG_UINT, AT(benchmark_calm_ms), .max = 24 * HOUR_MS, .def = "600000", .unit = "ms",
		.help = "it waits so long at most until nothing else on the box wants the CPU" },
	{ "metrics.listen", CONFIG_TEXT, AT(metrics.listen), .max = 128, .def = "", .check = check_listen,
		.help = "\"127.0.0.1:9464\": address and port for Prometheus, at /metrics; empty: none" },
	{ "metrics.remote", CONFIG_BOOL, AT(metrics.remote), .def = "false",
		.help = "metrics.listen may be an address that other boxes reach; whoever does sees the figures" },
	{ "metrics.hosts", CONFIG_TEXTS, AT(metrics.hosts), AT(metrics.n_hosts), .max = 64, .def = "",
		.help = "names by which it may be asked, besides addresses and localhost" },
	{ "models", CONFIG_GROUPS, AT(models), AT(n_models), .max = AGENT_MAX_MODELS, .def = "", .groups = &model_schema,
		.help = "what this agent serves" },
	{ "register_when", CONFIG_ENUM, AT(register_when), .def = "warming", .names = register_names,
		.help = "when the hub gets to know the agent: warming, while models load, or warm, when those with prewarm "
			"are ready" },
	{ "memory.soft", CONFIG_TEXT, AT(memory.soft), .max = 32, .def = "85%", .check = check_limit,
		.help = "of the box or its cgroup, or bytes: above it no low priority jobs are taken" },
	{ "memory.hard", CONFIG_TEXT, AT(memory.hard), .max = 32, .def = "95%", .check = check_limit,
		.help = "and above it none at all, and no model is loaded" },
	{ "queue.max", CONFIG_UINT, AT(queue.max), .max = AGENT_MAX_JOBS / 2, .def = "16",
		.help = "jobs that may wait here; the hub holds the others" },
	{ "queue.when_full", CONFIG_ENUM, AT(queue.when_full), .def = "reject", .names = when_full_names,
		.help = "reject what comes, or displace the newest of the lowest priority for a higher one" },
	{ "queue.wait_ms", CONFIG_UINT, AT(queue.wait_ms), .max = 24 * HOUR_MS, .def = "300000", .unit = "ms",
		.help = "a job may wait here for so long; 0: as long as its deadline allows" },
	{ "queue.aging_ms", CONFIG_UINT, AT(queue.aging_ms), .max = 24 * HOUR_MS, .def = "10000", .unit = "ms",
		.help = "a waiting job rises a priority each time this has passed; 0: never" },
	{ "sessions.dir", CONFIG_TEXT, AT(sessions.dir), .max = 4095, .def = "",
		.help = "folder for the computed states of conversations, which then outlive their engine; empty: they do not" },
	{ "sessions.max_bytes", CONFIG_UINT, AT(sessions.max_bytes), .min = 1 << 20, .max = (uint64_t)1 << 50,
		.def = "1073741824", .unit = "bytes", .help = "of all these together; the one not used for longest goes first" },
	{ "sessions.save_after_ms", CONFIG_UINT, AT(sessions.save_after_ms), .min = 1, .max = HOUR_MS, .def = "5000",
		.unit = "ms", .help = "a conversation rests for so long before it is saved, when the engine has nothing to do" },
	{ "heartbeat.idle_ms", CONFIG_UINT, AT(heartbeat.idle_ms), .min = 100, .max = HOUR_MS, .def = "5000", .unit = "ms",
		.help = "between heartbeats without work" },
	{ "heartbeat.busy_ms", CONFIG_UINT, AT(heartbeat.busy_ms), .min = 100, .max = HOUR_MS, .def = "2000", .unit = "ms",
		.help = "and with work" },
	{ "hub_lease_ms", CONFIG_UINT, AT(hub_lease_ms), .min = 1000, .max = HOUR_MS, .def = "20000", .unit = "ms",
		.help = "work stops when the hub has been silent for so long" },
	{ "drain_ms", CONFIG_UINT, AT(drain_ms), .min = 1, .max = HOUR_MS, .def = "30000", .unit = "ms",
		.help = "running jobs may go on for so long when the agent is told to stop" },
	{ "labels", CONFIG_TEXTS, AT(labels), AT(n_labels), .max = PROTO_MAX_LABELS, .def = "",
		.help = "\"key=value\": what jobs may require or prefer" },
	{ "metered", CONFIG_BOOL, AT(metered), .def = "false",
		.help = "what goes over the link of this box costs money: the hub prefers others" },
	{ "gpio.chip", CONFIG_TEXT, AT(gpio.chip), .max = 63, .def = "",
		.help = "\"gpiochip0\", or a path: whose lines the following are; empty: no lights, no button" },
	{ "gpio.online", CONFIG_UINT, AT(gpio.online), .max = GPIO_NONE, .def = GPIO_NONE_TEXT,
		.help = "line of the light that is on when ready, blinks slowly when draining; 4294967295: none" },
	{ "gpio.busy", CONFIG_UINT, AT(gpio.busy), .max = GPIO_NONE, .def = GPIO_NONE_TEXT,
		.help = "line of the light that is on while jobs run" },
	{ "gpio.fault", CONFIG_UINT, AT(gpio.fault), .max = GPIO_NONE, .def = GPIO_NONE_TEXT,
		.help = "line of the light that is on when no model works, blinks when some do not" },
	{ "gpio.enable", CONFIG_UINT, AT(gpio.enable), .max = GPIO_NONE, .def = GPIO_NONE_TEXT,
		.help = "line of an accelerator's power: on while engines run" },
	{ "gpio.leds_active_low", CONFIG_BOOL, AT(gpio.leds_active_low), .def = "false",
		.help = "lights that shine at low level" },
	{ "gpio.button", CONFIG_UINT, AT(gpio.button), .max = GPIO_NONE, .def = GPIO_NONE_TEXT,
		.help = "line of the button: a short press drains or resumes, a long one stops" },
	{ "gpio.button_active_low", CONFIG_BOOL, AT(gpio.button_active_low), .def = "true",
		.help = "pressed is low, with a pull-up resistor; false: pressed is high, with a pull-down" },
	{ "gpio.debounce_ms", CONFIG_UINT, AT(gpio.debounce_ms), .min = 1, .max = 400, .def = "30", .unit = "ms",
		.help = "the button must be steady for so long" },
	{ "gpio.long_press_ms", CONFIG_UINT, AT(gpio.long_press_ms), .min = 500, .max = 60000, .def = "3000", .unit = "ms",
		.help = "a press is long from here on" },
	{ "log.level", CONFIG_ENUM, AT(log.level), .def = "info", .names = log_level_names,
		.help = "error, warning, notice, info or debug" },
};
#undef T
const struct config_schema settings_schema = { sizeof(struct settings), options, sizeof(options) / sizeof(options[0]) };

/* ---- what the table cannot say ---- */

int settings_limit(const char *text, struct agent_limit *ret)
{
	static const char units[] = "KMGT";
	char *end = NULL;
	const char *unit;
	uint64_t n;

	if (*text < '0' || *text > '9')
		return ERR_RANGE;
	n = strtoull(text, &end, 10);
	if (n == 0 || n > (uint64_t)1 << 50)
		return ERR_RANGE;
	if (strcmp(end, "%") == 0) {
		*ret = (struct agent_limit){ .percent = (unsigned)n };
		return n <= 100 ? 0 : ERR_RANGE;
	}
	unit = *end != '\0' ? strchr(units, *end) : NULL;
	if (*end != '\0' && (unit == NULL || end[1] != '\0'))
		return ERR_RANGE;
	for (const char *u = units; unit != NULL && u <= unit; u++)
		n = n < (uint64_t)1 << 50 ? n * 1024 : n;
	*ret = (struct agent_limit){ .bytes = n };
	return 0;
}

static bool is_soft_above_hard(const struct settings *s)
{
	struct agent_limit soft, hard;

	if (settings_limit(s->memory.soft, &soft) < 0 || settings_limit(s->memory.hard, &hard) < 0)
		return false; /* said already */
	return (soft.percent != 0 && hard.percent != 0 && soft.percent > hard.percent) ||
	       (soft.bytes != 0 && hard.bytes != 0 && soft.bytes > hard.bytes);
}

int settings_digest(const char *hex, uint8_t ret[SHA256_SIZE])
{
	if (strlen(hex) != 2 * SHA256_SIZE || strspn(hex, "0123456789abcdefABCDEF") != 2 * SHA256_SIZE)
		return ERR_RANGE;
	for (size_t i = 0; i < SHA256_SIZE; i++) {
		const char byte[] = { hex[2 * i], hex[2 * i + 1], '\0' };

		ret[i] = (uint8_t)strtoul(byte, NULL, 16);
	}
	return 0;
}

static int replace(char **text, const char *with)
{
	char *copy = strdup(with);

	if (copy == NULL)
		return ERR_NOMEM;
	free(*text);
	*text = copy;
	return 0;
}

/* "box-1.example.org" is box-1; what cannot be an id is empty. */
static void id_from_host(char *ret, size_t size)
{
	ret[0] = ret[size - 1] = '\0';
	if (gethostname(ret, size - 1) < 0)
		ret[0] = '\0';
	ret[strcspn(ret, ".")] = '\0';
	if (check_id(ret) != NULL)
		ret[0] = '\0';
}

static bool has_twins(const struct settings *s)
{
	for (size_t i = 0; i < s->n_models; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(s->models[i].name, s->models[k].name) == 0)
				return true;
	return false;
}

static const char *check_gpio(const struct gpio_settings *g)
{
	const uint64_t lines[] = { g->online, g->busy, g->fault, g->enable, g->button };
	const size_t n = sizeof(lines) / sizeof(lines[0]);

	for (size_t i = 0; i < n; i++) {
		if (lines[i] != GPIO_NONE && g->chip[0] == '\0')
			return "gpio: lines without a chip; set gpio.chip";
		for (size_t k = 0; k < i; k++)
			if (lines[i] != GPIO_NONE && lines[i] == lines[k])
				return "gpio: two things have the same line";
	}
	return NULL;
}

static bool is_loopback(const char *host)
{
	struct in6_addr v6;
	struct in_addr v4;

	if (strcmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static const char *check_metrics(const struct settings *s)
{
	char host[SETTINGS_HOST_SIZE];
	int port;

	if (s->metrics.remote || !settings_listen(s->metrics.listen, host, &port) || is_loopback(host))
		return NULL;
	return "metrics.listen: other boxes could reach this address and see how the box fares; set metrics.remote = true if "
	       "they shall";
}

const char *settings_check(const void *settings)
{
	const struct settings *s = settings;
	const char *why;
	char host[256];

	id_from_host(host, sizeof(host));
	if (s->id[0] == '\0' && host[0] == '\0')
		return "the host name cannot serve as the agent's id; set \"id\"";
	if (s->engine.backoff_min_ms > s->engine.backoff_max_ms)
		return "engine.backoff_min_ms is greater than engine.backoff_max_ms";
	if (is_soft_above_hard(s))
		return "memory.soft is greater than memory.hard";
	if (has_twins(s))
		return "models: two of them have the same name";
	for (size_t i = 0; i < s->n_labels; i++)
		if (strlen(s->labels[i]) > PROTO_MAX_LABEL || !span_is_utf8(span_of(s->labels[i])))
			return "labels: a label is UTF-8 text of at most 128 bytes";
	why = check_metrics(s);
	if (why == NULL)
		why = broker_check(&s->broker);
	return why != NULL ? why : check_gpio(&s->gpio);
}

int settings_complete(struct settings *s)
{
	const char *dir = getenv("STATE_DIRECTORY");
	char host[256];
	int rc = 0;

	id_from_host(host, sizeof(host));
	if (s->id[0] == '\0')
		rc = replace(&s->id, host);
	if (rc == 0 && s->state_dir[0] == '\0')
		rc = replace(&s->state_dir, dir != NULL && *dir != '\0' ? dir : "/var/lib/shoal-agent");
	if (rc == 0 && s->broker.username[0] == '\0' && s->broker.password_file[0] != '\0')
		rc = replace(&s->broker.username, s->id);
	return rc;
}
