/* files.h - files the agent opens for an engine, which may open none itself. */
#ifndef SHOAL_AGENT_FILES_H
#define SHOAL_AGENT_FILES_H

#include "err.h"
#include "span.h"

/* A model file for reading: a descriptor, or -errno; -EISDIR and ERR_RANGE: not a regular file.
 * Symbolic links are followed: model collections are full of them, and the operator named it. */
SHOAL_CHECK int files_open_model(struct span path);
/* fd when it is a regular file; else it is closed: -EISDIR, ERR_RANGE or -errno. */
SHOAL_CHECK int files_regular(int fd);
/* A sentence about a model file that could not be opened. */
void files_reason(struct span path, int err, char *ret, size_t size);

#endif
