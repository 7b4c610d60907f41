/* settings.h - what an operator may set, as one table (settings.c). */
#ifndef SHOAL_AGENT_SETTINGS_H
#define SHOAL_AGENT_SETTINGS_H

#include <stdbool.h>

#include "agent.h"
#include "broker.h"
#include "proto.h"

struct model_settings {
	char *name, *file, *sha256;
	uint64_t context, parallel, keep, batch_tokens, prefill_chunk, threads;
	uint64_t prefill_gap, min_batch, max_batch, batch_wait_ms;
	bool batch_wait_adaptive;
	bool exact, embeddings;
	bool pinned, prewarm;
};

#define GPIO_NONE UINT32_MAX /* an offset: no such line */

struct gpio_settings {
	char *chip;
	uint64_t online, busy, fault, enable, button; /* offsets */
	bool leds_active_low, button_active_low;
	uint64_t debounce_ms, long_press_ms;
};

enum { QUEUE_REJECT, QUEUE_DISPLACE };

enum { REGISTER_WARMING, REGISTER_WARM };

struct settings {
	char *id, *prefix, *state_dir;
	struct broker_settings broker;
	struct {
		char *path;
		uint64_t load_timeout_ms, token_timeout_ms, prompt_timeout_ms, backoff_min_ms, backoff_max_ms;
		uint64_t quarantine_deaths, quarantine_window_ms, quarantine_ms;
	} engine;
	bool benchmark;
	uint64_t benchmark_calm_ms;
	struct {
		char *listen; /* empty: no port */
		bool remote;
		char **hosts;
		size_t n_hosts;
	} metrics;
	struct model_settings *models;
	size_t n_models;
	unsigned register_when; /* REGISTER_WARMING or REGISTER_WARM */
	struct {
		char *soft, *hard;
	} memory;
	struct {
		uint64_t max, wait_ms, aging_ms;
		unsigned when_full; /* QUEUE_REJECT or QUEUE_DISPLACE */
	} queue;
	struct {
		char *dir;
		uint64_t max_bytes, save_after_ms;
	} sessions;
	struct {
		uint64_t idle_ms, busy_ms;
	} heartbeat;
	uint64_t hub_lease_ms, drain_ms;
	char **labels;
	size_t n_labels;
	bool metered;
	struct gpio_settings gpio;
	struct {
		unsigned level; /* index into log_level_names */
	} log;
};

extern const struct config_schema settings_schema;

/* What no option can know alone, for struct program: NULL, or a sentence. */
const char *settings_check(const void *settings);
/* Fills in what follows from the machine: id, state directory, user name. */
SHOAL_CHECK int settings_complete(struct settings *s);
/* "85%", or bytes with K, M, G or T behind them. */
SHOAL_CHECK int settings_limit(const char *text, struct agent_limit *ret);
/* "127.0.0.1:9464", "[::1]:9464", "localhost:0" as host and port; false: none of these. */
#define SETTINGS_HOST_SIZE 64
bool settings_listen(const char *text, char ret_host[SETTINGS_HOST_SIZE], int *ret_port);
/* The 32 bytes that 64 hex digits stand for. */
SHOAL_CHECK int settings_digest(const char *hex, uint8_t ret[32]);

#endif
