/* json.h - JSON documents from and to the message tables of msg.h (jansson, strict:
 * RFC 8259, duplicate keys, bad UTF-8, U+0000 and trailing bytes refused).
 * json.c is the only file that includes jansson.h. */
#ifndef SHOAL_JSON_H
#define SHOAL_JSON_H

#include "msg.h"

/* Like msg_decode() with text keys; texts are copied into the arena. */
SHOAL_CHECK int json_decode(const struct msg_type *t, struct span text, struct arena *arena, void *ret, const char **ret_field);
/* Appends the document, compact, without a newline. */
SHOAL_CHECK int json_encode(const struct msg_type *t, const void *m, struct buf *out);
/* Appends s as a JSON string with its quotes. */
void json_add_string(struct buf *out, struct span s);
/* Appends a number in the fewest digits that read back as the same; null for one JSON cannot say. */
void json_add_real(struct buf *out, double v);

#endif
