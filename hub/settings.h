/* settings.h - the hub's configuration: one table for the file, --set, --print-config and
 * the manual. */
#ifndef HUB_SETTINGS_H
#define HUB_SETTINGS_H

#include "broker.h"
#include "hub.h"

struct settings {
	char *prefix;       /* of all topics */
	char *state_dir;    /* hub.pid, epoch */
	unsigned log_level; /* index into log_level_names */
	struct broker_settings broker;
	struct {
		char *address;
		uint64_t port;
		char **hosts;
		size_t n_hosts;
		uint64_t max_connections, max_per_address;
		uint64_t max_header, max_body, max_bodies, max_waiting;
		uint64_t header_ms, body_ms, idle_ms, quiet_ms;
	} http;
	struct {
		char **users; /* whose MQTT requests to clients/<user>/admin count */
		size_t n_users;
	} admin;
	struct {
		char *file; /* empty: journal.db in state_dir */
		uint64_t commit_ms, commit_records, max_waiting, reserve;
		uint64_t keep_hours, keep_jobs, id_hours, max_ids;
	} journal;
	struct hub_config core; /* seed and epoch are not settings */
};

extern const struct config_schema settings_schema;

/* What one option cannot know alone; NULL, or one sentence. */
const char *settings_check(const struct settings *s);

#endif
