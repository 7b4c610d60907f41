/* Configuration files, against a schema with every type of option.  Not with @include: what it
 * names is the administrator's, and libconfig ends the process when that cannot be read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"

struct item {
	char *name;
	uint64_t n;
};

struct all {
	char *text, **texts;
	uint64_t number;
	double real;
	bool flag;
	unsigned choice;
	struct item *items;
	size_t n_texts, n_items;
};

static const char *const names[] = { "a", "b", NULL };
static const struct config_option item_options[] = {
	{ "name", CONFIG_TEXT, offsetof(struct item, name), .max = 10 },
	{ "n", CONFIG_UINT, offsetof(struct item, n), .max = 100, .def = "1" },
};
static const struct config_schema item_schema = { sizeof(struct item), item_options, 2 };
static const struct config_option options[] = {
	{ "text", CONFIG_TEXT, offsetof(struct all, text), .max = 64, .def = "" },
	{ "g.number", CONFIG_UINT, offsetof(struct all, number), .max = 1000, .def = "1" },
	{ "g.real", CONFIG_REAL, offsetof(struct all, real), .def = "1" },
	{ "flag", CONFIG_BOOL, offsetof(struct all, flag), .def = "true" },
	{ "choice", CONFIG_ENUM, offsetof(struct all, choice), .def = "a", .names = names },
	{ "texts", CONFIG_TEXTS, offsetof(struct all, texts), offsetof(struct all, n_texts), .max = 4, .def = "" },
	{ "items", CONFIG_GROUPS, offsetof(struct all, items), offsetof(struct all, n_items), .max = 4, .def = "",
		.groups = &item_schema },
};
static const struct config_schema schema = { sizeof(struct all), options, sizeof(options) / sizeof(options[0]) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char path[32];
	static int fd;
	struct config_error err;
	struct all config;

	if (memmem(data, size, "@include", 8) != NULL)
		return 0;
	if (path[0] == '\0') {
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) < 0)
		abort();
	if (config_load(&schema, path, NULL, 0, &config, &err) < 0)
		return 0;
	config_free(&schema, &config);
	return 0;
}
