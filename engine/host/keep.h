/* keep.h - SAVE and RESTORE: what the model holds of an ended job, to a file and back.
 *
 * A file that is not whole, or of another model or engine, is refused with a sentence and
 * changes nothing. */
#ifndef ENGINE_KEEP_H
#define ENGINE_KEEP_H

#include "refusal.h"
#include "seq.h"
#include "sha256.h"

struct keep {
	struct model *model;
	struct seq *seqs;
	size_t n_seqs;
	uint8_t digest[SHA256_SIZE]; /* of the model file */
};

struct keep_result {
	size_t n_tokens; /* saved, or held now; 0: nothing */
	uint64_t size;   /* of the file written */
	struct refusal refusal;
};

/* The sequence in which that job ran last, if it is there still.  Writes at most max_bytes. */
void keep_save(const struct keep *k, uint64_t job, int fd, uint64_t max_bytes, struct keep_result *ret);
/* now: the host's count, as of seq_end(). */
void keep_restore(const struct keep *k, int fd, uint64_t now, struct keep_result *ret);

#endif
