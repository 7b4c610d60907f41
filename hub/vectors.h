/* vectors.h - the answer of /v1/embeddings. */
#ifndef HUB_VECTORS_H
#define HUB_VECTORS_H

#include "openai.h"

/* Appends the document. */
void vectors_doc(const struct openai_call *c, const struct answer *done, struct buf *out);
/* Appends bytes in base64 (RFC 4648). */
void vectors_base64(struct span bytes, struct buf *out);

#endif
