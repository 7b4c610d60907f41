/* given.h - descriptors that come with messages: are they what the message needs? */
#ifndef ENGINE_GIVEN_H
#define ENGINE_GIVEN_H

#include <stdint.h>

#include "err.h"

/* A regular file, open in this mode (O_RDONLY, O_WRONLY) and no other.  -EISDIR, ERR_RANGE: not a
 * regular file; -EACCES: in another mode; -errno. */
SHOAL_CHECK int given_file(int fd, int mode, uint64_t *ret_size);
/* The same in words. */
const char *given_why(int err);

#endif
