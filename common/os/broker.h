/* broker.h - the options under "broker.", the same for every daemon, and what they mean for
 * the MQTT link. */
#ifndef SHOAL_BROKER_H
#define SHOAL_BROKER_H

#include "config.h"
#include "mq.h"

struct broker_settings {
	char *host, *username, *password_file, *cafile, *certfile, *keyfile;
	uint64_t port, keepalive_s;
};

/* Entries of an options table; T: the settings' struct, m: its struct broker_settings. */
/* clang-format off */
#define BROKER_OPTIONS(T, m, username_help)                                                                      \
	{ .path = "broker.host", .type = CONFIG_TEXT, .offset = offsetof(T, m.host), .min = 1, .max = 255,       \
	  .def = "localhost", .help = "name or address of the MQTT broker" },                                    \
	{ .path = "broker.port", .type = CONFIG_UINT, .offset = offsetof(T, m.port), .min = 1, .max = 65535,     \
	  .def = "1883", .help = "its port" },                                                                   \
	{ .path = "broker.username", .type = CONFIG_TEXT, .offset = offsetof(T, m.username), .max = 255,         \
	  .def = "", .help = (username_help) },                                                                  \
	{ .path = "broker.password_file", .type = CONFIG_TEXT, .offset = offsetof(T, m.password_file),           \
	  .max = 4095, .def = "", .help = "a file whose first line is the password" },                           \
	{ .path = "broker.cafile", .type = CONFIG_TEXT, .offset = offsetof(T, m.cafile), .max = 4095, .def = "", \
	  .help = "certificates of those who may sign the broker's; empty: no TLS" },                            \
	{ .path = "broker.certfile", .type = CONFIG_TEXT, .offset = offsetof(T, m.certfile), .max = 4095,        \
	  .def = "", .help = "own certificate, its CN the user's name" },                                        \
	{ .path = "broker.keyfile", .type = CONFIG_TEXT, .offset = offsetof(T, m.keyfile), .max = 4095,          \
	  .def = "", .help = "its key" },                                                                        \
	{ .path = "broker.keepalive_s", .type = CONFIG_UINT, .offset = offsetof(T, m.keepalive_s), .min = 5,     \
	  .max = 60, .def = "10", .unit = "s", .help = "how soon broker and daemon miss each other" }
/* clang-format on */

/* What no option can know alone: NULL, or a sentence. */
const char *broker_check(const struct broker_settings *b);
/* For an option "prefix": NULL, or what is wrong with it. */
const char *broker_check_prefix(const char *value);

/* mq_new() with these settings; base gives the rest (client id, bounds, seed).  On failure
 * err holds one sentence. */
SHOAL_CHECK int broker_link_new(struct loop *l, const struct broker_settings *b, const struct mq_config *base,
	const struct mq_callbacks *cb, void *ctx, char *err, size_t err_size, struct mq **ret);

#endif
