/* logprob.h - how likely the tokens of an answer were, and what else might have come.
 *
 * From the engine to the hub they travel as a sequence of CBOR items (RFC 8742), one for each
 * token in order, which whoever passes them on need not understand; for clients they become
 * the documents of the OpenAI API.  Pure. */
#ifndef SHOAL_LOGPROB_H
#define SHOAL_LOGPROB_H

#include "msg.h"

#define LOGPROB_MAX_TOP 20
#define LOGPROB_MAX_PIECE 256                /* bytes of a token; a longer one is cut */
#define LOGPROB_MAX_BYTES ((size_t)2 << 20)  /* of one answer's sequence */
#define LOGPROB_MAX_FRAME ((size_t)256 << 10) /* of one job event's */
#define LOGPROB_LEAST (-9999.0)              /* stands for minus infinity, as that API's servers have it */

struct alternative { /* a token that might have come */
	uint64_t has;
	uint64_t id;
	double logprob; /* natural logarithm of its probability */
	struct span piece;
};

struct token_prob {
	uint64_t has;
	uint64_t id;
	double logprob;
	struct span piece;
	const struct alternative *top; /* the likeliest first; the token itself may be among them */
	size_t n_top;
};

struct logprob { /* as clients see it */
	uint64_t has;
	struct span token; /* its bytes as text, U+FFFD for what is none */
	uint64_t id;
	double logprob;
	const uint32_t *bytes; /* one number a byte */
	size_t n_bytes;
	const struct logprob *top_logprobs;
	size_t n_top_logprobs;
};

/* What a client is given of an answer; owns its memory. */
struct logprobs {
	void *mem;
	const struct logprob *items;
	size_t n_items;
};

extern const struct msg_type alternative_type, token_prob_type, top_logprob_type, logprob_type;

/* Number of items of a sequence; ERR_MALFORMED when it is none. */
SHOAL_CHECK int logprob_count(struct span sequence, size_t *ret);
/* Makes documents of a sequence.  On failure *ret holds nothing. */
SHOAL_CHECK int logprobs_read(struct span sequence, struct logprobs *ret);
void logprobs_fini(struct logprobs *l);

#endif
