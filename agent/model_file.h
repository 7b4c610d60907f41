/* model_file.h - what a model's file says it will take, looked at before anything loads it.
 *
 * The file is bytes from a stranger: its head is read into memory (never mapped: a file that
 * shrinks would end us), at most MODEL_FILE_MAX_HEAD of it, by the checked parser. */
#ifndef SHOAL_AGENT_MODEL_FILE_H
#define SHOAL_AGENT_MODEL_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "footprint.h"

#define MODEL_FILE_MAX_HEAD ((size_t)64 << 20)

struct model_file {
	const char *path; /* borrowed */
	struct footprint_use use;
	struct stat seen; /* when it was read last */
	bool is_known;
};

void model_file_init(struct model_file *f, const char *path, const struct footprint_use *use);
/* True when the file is another than at the last look: *ret is what it takes now.  Of a file
 * whose head cannot be read only the size counts; of none, nothing. */
bool model_file_look(struct model_file *f, struct footprint *ret);

#endif
