/* schema.h - from a JSON schema to a grammar (GBNF) whose texts are documents the schema allows.
 *
 * A part of JSON Schema (2020-12), which docs/PROTOCOL.md lists.  What is not in it is refused
 * with its place, never passed over: an answer held to half of a schema would be taken for one
 * held to all of it.  Not every document a schema allows can come: members keep the order of the
 * schema, and numbers and spaces are kept to a sensible length.  No I/O. */
#ifndef SHOAL_SCHEMA_H
#define SHOAL_SCHEMA_H

#include "err.h"
#include "span.h"

#define SCHEMA_MAX_DEPTH 64

/* Appends the grammar of a schema, JSON text.  On failure why says in a sentence what is wrong,
 * and where, as a JSON pointer. */
SHOAL_CHECK int schema_grammar(struct span schema, struct buf *out, struct buf *why);
/* Appends the grammar of any JSON object. */
void schema_any_object(struct buf *out);

#endif
