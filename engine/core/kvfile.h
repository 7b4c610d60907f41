/* kvfile.h - the file in which the computed state of a sequence is kept.
 *
 * A head, the build of the engine that wrote it, the tokens, the state as the model gives it;
 * numbers are little-endian, nothing follows.  Only the same model in the same engine, told to
 * compute in the same way, may take it back.  The checksum is over all but itself: against
 * damage, not against malice, which the engine's sandbox is for.  Pure. */
#ifndef ENGINE_KVFILE_H
#define ENGINE_KVFILE_H

#include "err.h"
#include "sha256.h"
#include "span.h"

#define KVFILE_HEAD 104  /* bytes before the build */
#define KVFILE_SUMMED 72 /* of them, before the checksum, in it */
#define KVFILE_MAX_BUILD 256
#define KVFILE_MAX_TOKENS ((uint64_t)1 << 24)

struct kvfile {
	uint8_t digest[SHA256_SIZE]; /* of the model file */
	uint8_t checksum[SHA256_SIZE];
	uint64_t n_tokens, n_state; /* n_state: bytes */
	uint64_t n_sequences;       /* the model was opened with: a state may depend on it */
	uint64_t n_build;           /* bytes of its text */
	bool is_exact;
};

void kvfile_encode(const struct kvfile *k, uint8_t ret[KVFILE_HEAD]);
/* Of a file of that size.  On failure *ret_why says what is wrong, as the end of "it …". */
SHOAL_CHECK int kvfile_decode(const uint8_t head[KVFILE_HEAD], uint64_t size, struct kvfile *ret, const char **ret_why);
/* Whether what it says of model and engine is the same as want's; build is the text of both. */
SHOAL_CHECK int kvfile_check(
	const struct kvfile *k, struct span build, const struct kvfile *want, struct span want_build, const char **ret_why);
/* Bytes of the whole file. */
uint64_t kvfile_size(const struct kvfile *k);

#endif
