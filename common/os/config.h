/* config.h - configuration files (libconfig) read by a table.
 *
 * A schema lists every option once: path, type, range, default, unit, help.  From it
 * come reading, checking, `--print-config` and the manual.  Unknown options, wrong
 * types and values out of range are errors with file and line.  A whole new struct is
 * filled before the caller swaps it in: a bad file changes nothing.
 * config.c is the only file that includes libconfig.h. */
#ifndef SHOAL_CONFIG_H
#define SHOAL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"

enum config_type {
	CONFIG_UINT,  /* uint64_t */
	CONFIG_REAL,  /* double */
	CONFIG_BOOL,  /* bool */
	CONFIG_TEXT,  /* char * (heap) */
	CONFIG_ENUM,  /* unsigned: index into names */
	CONFIG_TEXTS, /* char ** (heap, NULL-terminated) and its count at n_offset */
	CONFIG_GROUPS /* heap array of structs and its count: list of groups with a schema of their own */
};

struct config_schema;

struct config_option {
	const char *path; /* "broker.port"; dots open groups */
	enum config_type type;
	size_t offset, n_offset;
	uint64_t min, max;          /* UINT: range; TEXT: length; TEXTS, GROUPS: count */
	const char *def;            /* default as text, NULL: required */
	const char *unit, *help;    /* for --print-config and the manual */
	const char *const *names;   /* ENUM, NULL-terminated */
	const struct config_schema *groups;
	const char *(*check)(const char *value); /* TEXT: NULL when fine, else what is wrong */
};

struct config_schema {
	size_t size; /* of the struct */
	const struct config_option *options;
	size_t n_options;
};

struct config_error {
	char text[512]; /* one sentence with file, line, what is wrong and what would be right */
};

/* Fills *ret (schema->size bytes) with defaults. Required options stay empty. */
SHOAL_CHECK int config_defaults(const struct config_schema *s, void *ret, struct config_error *err);
/* Reads file over the defaults; NULL file: only defaults and overrides.  overrides are
 * "path=value" strings (from the command line), applied last.  On failure *ret is empty. */
SHOAL_CHECK int config_load(const struct config_schema *s, const char *file, const char *const overrides[], size_t n_overrides,
                            void *ret, struct config_error *err);
void config_free(const struct config_schema *s, void *config);
/* Writes the effective configuration in libconfig's syntax, with help as comments. */
void config_print(const struct config_schema *s, const void *config, FILE *out);

#endif
