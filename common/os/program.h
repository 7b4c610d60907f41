/* program.h - how every daemon begins: its options and its configuration.
 *
 *   --config FILE   --set path=value …   --print-config   --check-config   --help   --version
 */
#ifndef SHOAL_PROGRAM_H
#define SHOAL_PROGRAM_H

#include "config.h"

struct program {
	const char *name, *summary;
	const char *default_file; /* read when it exists and --config is not given */
	const struct config_schema *schema;
	/* What one option cannot know alone: NULL, or one sentence.  May be NULL. */
	const char *(*check)(const void *config);
};

/* Fills *ret_config (the schema's size; to be given to config_free()).
 * 1: go on; 0: all that was asked is done; negative: it was said on stderr what is wrong.
 * The last two leave *ret_config empty. */
SHOAL_CHECK int program_begin(const struct program *p, int argc, char **argv, void *ret_config);

#endif
