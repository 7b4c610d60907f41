#include "settings.h"

#include "log.h"
#include "topic.h"

_Static_assert(sizeof(enum hub_policy) == sizeof(unsigned), "an enum option is an unsigned");

#define AT(m) offsetof(struct settings, m)
#define UINT(path_, m, min_, max_, def_, unit_, help_)                                                                      \
	{                                                                                                                   \
		.path = (path_), .type = CONFIG_UINT, .offset = AT(m), .min = (min_), .max = (max_), .def = (def_),         \
		.unit = (unit_), .help = (help_)                                                                            \
	}
#define TEXT(path_, m, min_, def_, help_)                                                                                   \
	{                                                                                                                   \
		.path = (path_), .type = CONFIG_TEXT, .offset = AT(m), .min = (min_), .max = 1024, .def = (def_),           \
		.help = (help_)                                                                                             \
	}
#define MS(path_, m, min_, def_, help_) UINT(path_, m, min_, 3600 * 1000, def_, "ms", help_)

#undef AT
#define AT(m) offsetof(struct hub_user_limits, m)
#undef AT
#define AT(m) offsetof(struct hub_variant_config, m)
/* clang-format off */
static const struct config_option variant_options[] = {
	{ .path = "alias", .type = CONFIG_TEXT, .offset = AT(alias), .min = 1, .max = PROTO_MAX_NAME, .help = "the name clients ask for" },
	{ .path = "model", .type = CONFIG_TEXT, .offset = AT(model), .min = 1, .max = PROTO_MAX_NAME, .help = "the model that serves them" },
	{ .path = "label", .type = CONFIG_TEXT, .offset = AT(label), .max = PROTO_MAX_LABEL, .def = "",
	  .help = "only on agents with this label; empty: any" },
	UINT("weight", weight, 0, 1000000, "1", NULL, "share of the alias' requests, against the other variants' weights"),
};
/* clang-format on */
static const struct config_schema variant_schema = { sizeof(struct hub_variant_config), variant_options,
	sizeof(variant_options) / sizeof(variant_options[0]) };
#undef AT
#define AT(m) offsetof(struct hub_user_limits, m)
/* clang-format off */
static const struct config_option user_options[] = {
	{ .path = "name", .type = CONFIG_TEXT, .offset = AT(name), .min = 1, .max = PROTO_MAX_ID,
	  .help = "as it logs in to the broker; http: all who come over HTTP" },
	UINT("weight", weight, 1, 1000, "1", NULL, "share of the fleet, against 1 of others"),
	UINT("requests_per_minute", requests_per_minute, 0, 1000000, "0", NULL, "0: any number"),
	UINT("tokens_per_minute", tokens_per_minute, 0, 1000000000, "0", "tokens", "of prompts and answers; 0: any number"),
	UINT("max_live", max_live, 0, 1000000, "0", NULL, "jobs that run or wait; 0: any number"),
	UINT("max_waiting", max_waiting, 0, 1000000, "0", NULL, "jobs that wait; 0: as many as leave room for others"),
};
/* clang-format on */
static const struct config_schema user_schema = { sizeof(struct hub_user_limits), user_options,
	sizeof(user_options) / sizeof(user_options[0]) };
#undef AT
#define AT(m) offsetof(struct settings, m)
#define IN(T, m) .offset = offsetof(struct T, m)
#define N_IN(T, m) .n_offset = offsetof(struct T, m)

static const char *check_id(const char *value)
{
	return span_is_id(span_of(value))
		       ? NULL
		       : "an id has 1 to 64 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit";
}

/* clang-format off */
static const struct config_option policy_options[] = {
	{ .path = "model", .type = CONFIG_TEXT, IN(hub_model_policy, model), .min = 1, .max = PROTO_MAX_NAME, .help = "whose jobs" },
	{ .path = "policy", .type = CONFIG_ENUM, IN(hub_model_policy, policy), .def = "cost", .names = hub_policy_names,
	  .help = "how an agent is chosen for them" },
};
static const struct config_schema policy_schema = { sizeof(struct hub_model_policy), policy_options, 2 };

static const struct config_option agent_options[] = {
	{ .path = "id", .type = CONFIG_TEXT, IN(hub_known_agent, id), .min = 1, .max = PROTO_MAX_ID, .check = check_id,
	  .help = "its id" },
	{ .path = "labels", .type = CONFIG_TEXTS, IN(hub_known_agent, labels), N_IN(hub_known_agent, n_labels),
	  .max = PROTO_MAX_LABELS, .def = "", .help = "besides those it says itself" },
	{ .path = "metered", .type = CONFIG_BOOL, IN(hub_known_agent, metered), .def = "false",
	  .help = "what goes over its link costs money, whatever it says itself" },
};
static const struct config_schema agent_schema = { sizeof(struct hub_known_agent), agent_options, 3 };

static const struct config_option options[] = {
	{ .path = "prefix", .type = CONFIG_TEXT, .offset = AT(prefix), .min = 1, .max = 128, .def = TOPIC_DEFAULT_PREFIX,
	  .help = "first levels of every topic; the same on every box", .check = broker_check_prefix },
	TEXT("state_dir", state_dir, 1, "/var/lib/shoal-hub", "where hub.pid and the epoch are kept; one hub at a time"),
	{ .path = "log.level", .type = CONFIG_ENUM, .offset = AT(log_level), .def = "info", .names = log_level_names,
	  .help = "lines above this are dropped" },

	BROKER_OPTIONS(struct settings, broker, "MQTT user; empty: none"),

	TEXT("http.address", http.address, 1, "127.0.0.1", "address to listen on; 0.0.0.0 or :: opens it to other boxes"),
	UINT("http.port", http.port, 0, 65535, "8080", NULL, "port to listen on; 0: any free one"),
	{ .path = "http.hosts", .type = CONFIG_TEXTS, .offset = AT(http.hosts), .n_offset = AT(http.n_hosts), .max = 64, .def = "",
	  .help = "names under which browsers and clients may reach us; loopback's are always fine" },
	UINT("http.max_connections", http.max_connections, 1, 60000, "2048", NULL, "more wait to be accepted"),
	UINT("http.max_per_address", http.max_per_address, 0, 60000, "0", NULL, "of one client address; 0: no such limit"),
	UINT("http.max_header", http.max_header, 4096, 65536, "16384", "bytes", "request line and headers of a request"),
	UINT("http.max_body", http.max_body, 1024, 4 << 20, "1048576", "bytes", "body of a request"),
	UINT("http.max_bodies", http.max_bodies, 1 << 20, 1 << 30, "67108864", "bytes", "all bodies being received"),
	UINT("http.max_waiting", http.max_waiting, 4096, 16 << 20, "262144", "bytes",
	     "what may wait for a slow reader of a stream; past it the reader is cut and its job cancelled"),
	MS("http.header_ms", http.header_ms, 100, "5000", "from the request line to the last header"),
	MS("http.body_ms", http.body_ms, 100, "30000", "for the body of a request"),
	MS("http.idle_ms", http.idle_ms, 1000, "60000", "an unused connection is closed after"),
	MS("http.quiet_ms", http.quiet_ms, 1000, "15000", "a stream without news gets a comment after"),

	{ .path = "admin.users", .type = CONFIG_TEXTS, .offset = AT(admin.users), .n_offset = AT(admin.n_users), .max = 64, .def = "",
	  .help = "MQTT users who may drain, weight, quarantine and forget agents and cancel anyone's jobs" },

	{ .path = "policy", .type = CONFIG_ENUM, .offset = AT(core.policy), .def = "cost", .names = hub_policy_names,
	  .help = "how an agent is chosen among those that can take a job: by expected time, load, size of the box, or in turn" },
	{ .path = "policies", .type = CONFIG_GROUPS, .offset = AT(core.policies), .n_offset = AT(core.n_policies), .max = 1024, .def = "",
	  .groups = &policy_schema, .help = "of models that have one of their own" },
	{ .path = "agents", .type = CONFIG_GROUPS, .offset = AT(core.agents), .n_offset = AT(core.n_agents), .max = 100000, .def = "",
	  .groups = &agent_schema, .help = "agents that are expected: shown as offline until they come" },
	UINT("penalties.heat", core.penalties.heat, 0, 10000, "100", "percent", "cost: a hot or throttled box counts as so much slower"),
	UINT("penalties.battery", core.penalties.battery, 0, 10000, "50", "percent", "cost: … one on its battery; thrice when that is low"),
	UINT("penalties.metered", core.penalties.metered, 0, 10000, "100", "percent", "cost: … one behind a metered link"),
	UINT("penalties.errors", core.penalties.errors, 0, 10000, "400", "percent", "cost: … one whose last attempts all failed"),
	UINT("penalties.prefer", core.penalties.prefer, 0, 10000, "100", "percent", "cost: … one that has none of the preferred labels"),
	UINT("fleet.max_agents", core.max_agents, 1, 1000000, "100000", NULL, "more are not registered"),
	UINT("fleet.lease_suspect", core.lease_suspect, 1, 100, "3", "heartbeats", "missed: no new work"),
	UINT("fleet.lease_lost", core.lease_lost, 2, 100, "4", "heartbeats", "missed: its work moves"),
	MS("fleet.will_grace_ms", core.will_grace_ms, 0, "250", "from an agent's will to its work moving: time for an orderly reconnect"),
	UINT("fleet.blind_min_fleet", core.blind_min_fleet, 2, 100000, "8", "agents",
	     "half of a fleet at least so great, gone at once, means that we are blind"),
	MS("fleet.blind_window_ms", core.blind_window_ms, 100, "10000", "how soon is at once"),

	UINT("sessions.max", core.max_sessions, 0, 10000000, "50000", NULL,
	     "conversations remembered; the one unused for longest goes first; 0: none"),
	UINT("sessions.ttl_ms", core.session_ttl_ms, 1000, 24 * 3600 * 1000, "1800000", "ms", "one that is not used is forgotten after"),
	MS("sessions.wait_ms", core.session_wait_ms, 0, "1000",
	   "a request waits for its conversation's agent when that is full, at most so long; 0: never"),
	UINT("sessions.max_load", core.session_max_load, 1, 100, "100", "per cent",
	     "of its slots an agent is loaded to by requests of conversations that are there"),
	UINT("sessions.prefixes", core.max_prefixes, 0, 10000000, "32768", NULL,
	     "beginnings of prompts remembered, to know what is cached where; 0: none"),

	UINT("jobs.max", core.max_jobs, 1, 1000000, "100000", NULL, "live jobs"),
	UINT("jobs.queue_max", core.queue_max, 1, 1000000, "10000", NULL, "waiting jobs; more are refused with QUEUE_FULL"),
	UINT("jobs.max_ended", core.max_ended, 0, 1000000, "10000", NULL, "ended jobs remembered for repeated ids"),
	UINT("jobs.attempts_max", core.attempts_max, 1, 100, "4", NULL, "agents tried for a job"),
	UINT("jobs.extra_credit", core.extra_credit, 0, 64, "0", NULL, "jobs an agent may be given beyond its slots"),
	UINT("jobs.ack_frames", core.ack_frames, 1, PROTO_FRAME_WINDOW / 2, "16", "frames", "token frames between acknowledgements"),
	MS("jobs.accept_timeout_ms", core.accept_timeout_ms, 10, "1000", "a dispatch without an answer is repeated after"),
	UINT("jobs.accept_tries", core.accept_tries, 1, 100, "3", NULL, "dispatches before another agent is tried"),
	MS("jobs.silence_ms", core.silence_ms, 10, "2000", "a running job without news is asked after"),
	MS("jobs.first_token_ms", core.first_token_ms, 100, "120000", "a job without a first token is moved after"),
	MS("jobs.stall_ms", core.stall_ms, 100, "15000", "a job without a next token is moved after"),
	MS("jobs.retry_min_ms", core.retry_min_ms, 1, "100", "wait before a second attempt; doubles"),
	MS("jobs.retry_max_ms", core.retry_max_ms, 1, "5000", "the longest such wait"),
	MS("jobs.full_wait_ms", core.full_wait_ms, 0, "300000", "a job that agents refuse or displace for so long, as their queues are full, ends"),
	MS("jobs.no_agent_wait_ms", core.no_agent_wait_ms, 0, "30000", "a job that no agent can take for so long ends with NO_AGENT"),
	UINT("jobs.poison_kills", core.poison_kills, 0, 100, "3", "engines",
	     "that may die of one job before it ends with POISON; 0: no such limit"),
	MS("jobs.exact_wait_ms", core.exact_wait_ms, 0, "2000",
	   "a job that moves in mid-answer waits so long for an agent that writes on exactly; then any may"),
	MS("jobs.rejoin_ms", core.rejoin_ms, 100, "20000", "after a start of the hub an agent has so long to come back to its jobs"),
	UINT("jobs.max_bytes", core.max_bytes, 0, UINT64_MAX >> 1, "268435456", "bytes",
	     "prompts and answers held, of live and ended jobs; 0: no bound"),
	UINT("jobs.default_deadline_ms", core.default_deadline_ms, 0, PROTO_MAX_DEADLINE_MS, "0", "ms",
	     "for jobs that name none; 0: none"),

	UINT("hedge.percent", core.hedge_percent, 0, 100, "0", "%",
	     "of the running jobs may have a second attempt on another agent; 0: none"),
	MS("hedge.min_ms", core.hedge_min_ms, 1, "500", "… that have waited for their next token so long at least, and"),
	UINT("hedge.samples", core.hedge_samples, 10, 1000000, "100", "waits", "… longer than 99 of 100 of that model did, once so many are known"),
	UINT("breaker.min", core.breaker_min, 0, 1000000, "5", "attempts",
	     "of a model on an agent, ended within the window, before it may be left alone; 0: never"),
	UINT("breaker.percent", core.breaker_percent, 1, 100, "50", "%", "of them failed: it gets none of that model for a while"),
	MS("breaker.window_ms", core.breaker_window_ms, 1000, "60000", "how long an attempt counts"),
	MS("breaker.open_ms", core.breaker_open_ms, 10, "5000", "for how long at first; doubles each time one job to try fails, too"),
	MS("breaker.open_max_ms", core.breaker_open_max_ms, 10, "300000", "… up to"),

	{ .path = "variants", .type = CONFIG_GROUPS, .offset = AT(core.variants), .n_offset = AT(core.n_variants), .max = 64, .def = "",
	  .groups = &variant_schema, .help = "names that stand for several models or groups of agents; the first of a name is its main one" },
	UINT("guard.min", core.guard_min, 0, 1000000, "50", "jobs", "of a variant in the window before it is judged; 0: never"),
	MS("guard.window_ms", core.guard_window_ms, 1000, "300000", "how long a job counts, up to twice that"),
	UINT("guard.error_percent", core.guard_error_percent, 0, 100, "5", "points", "a variant that fails so much more often than the main one is taken out"),
	UINT("guard.latency_percent", core.guard_latency_percent, 100, 10000, "200", "%",
	     "… or whose slowest twentieth takes so much of the main one's time"),

	MS("fair.age_ms", core.age_ms, 0, "30000", "a user with nothing served at a priority for so long: its first job there rises by one; 0: never"),
	UINT("fair.quantum", core.quantum, 1, 1 << 20, "1024", "tokens", "of work a user's jobs are given in one turn, times its weight"),
	UINT("fair.max_users", core.max_users, 0, 1000000, "10000", NULL, "remembered while they have no jobs"),
	UINT("fair.requests_per_minute", core.each.requests_per_minute, 0, 1000000, "0", NULL, "of each user; 0: any number"),
	UINT("fair.tokens_per_minute", core.each.tokens_per_minute, 0, 1000000000, "0", "tokens",
	     "of prompts and answers of each user; 0: any number"),
	UINT("fair.max_live", core.each.max_live, 0, 1000000, "0", NULL, "jobs of each user that run or wait; 0: any number"),
	UINT("fair.max_waiting", core.each.max_waiting, 0, 1000000, "0", NULL,
	     "jobs of each user that wait; 0: as many as leave room for others"),
	{ .path = "fair.users", .type = CONFIG_GROUPS, .offset = AT(core.users), .n_offset = AT(core.n_users), .max = 10000, .def = "",
	  .groups = &user_schema, .help = "users with limits of their own, and none of those of all" },

	{ .path = "journal.mode", .type = CONFIG_ENUM, .offset = AT(core.journal), .def = "sync", .names = hub_journal_names,
	  .help = "sync: a stream's tokens are on disk before they are shown; async: a moment later; off: jobs end with the hub" },
	TEXT("journal.file", journal.file, 0, "", "where jobs are written down; empty: journal.db in state_dir"),
	UINT("journal.commit_ms", journal.commit_ms, 0, 1000, "0", "ms",
	     "an entry waits at most so long for others to be written with it, besides those that come while the disk is busy"),
	UINT("journal.commit_records", journal.commit_records, 1, 4096, "256", "entries", "written together at most"),
	UINT("journal.max_waiting", journal.max_waiting, 1 << 20, 1 << 30, "67108864", "bytes",
	     "entries that wait for a slow disk; with more new jobs are refused"),
	UINT("journal.reserve", journal.reserve, 0, 1 << 30, "8388608", "bytes",
	     "of disk put by, so that running jobs can end when it is full"),
	UINT("journal.keep_hours", journal.keep_hours, 1, 24 * 366, "168", "hours", "ended jobs are kept for"),
	UINT("journal.keep_jobs", journal.keep_jobs, 0, 10000000, "10000", NULL, "ended jobs kept at most, with their answers"),
	UINT("journal.id_hours", journal.id_hours, 1, 24 * 366, "24", "hours", "an id is not run again for, even if its answer is gone"),
	UINT("journal.max_ids", journal.max_ids, 1, 100000000, "1000000", NULL, "ids remembered at most"),
};
/* clang-format on */

const struct config_schema settings_schema = {
	.size = sizeof(struct settings),
	.options = options,
	.n_options = sizeof(options) / sizeof(options[0]),
};

const char *settings_check(const struct settings *s)
{
	if (s->core.n_agents > s->core.max_agents)
		return "agents: there are more than fleet.max_agents";
	if (s->core.lease_lost <= s->core.lease_suspect)
		return "fleet.lease_lost must be greater than fleet.lease_suspect";
	if (s->core.retry_max_ms < s->core.retry_min_ms)
		return "jobs.retry_max_ms must not be less than jobs.retry_min_ms";
	if (s->core.breaker_open_max_ms < s->core.breaker_open_ms)
		return "breaker.open_max_ms must not be less than breaker.open_ms";
	if (hub_variants_check(&s->core) != NULL)
		return hub_variants_check(&s->core);
	return broker_check(&s->broker);
}
