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

/* ---- documents no table describes, to be looked through ---- */

struct json_value; /* of a document; NULL: not there, which every function takes */
enum json_kind { JSON_KIND_NONE, JSON_KIND_NULL, JSON_KIND_BOOL, JSON_KIND_INTEGER, JSON_KIND_REAL, JSON_KIND_TEXT, JSON_KIND_LIST,
	JSON_KIND_OBJECT };

/* Any value, as strictly as json_decode(); the caller frees it. */
SHOAL_CHECK int json_parse(struct span text, struct json_value **ret);
void json_value_free(struct json_value *v);
enum json_kind json_kind_of(const struct json_value *v);
const struct json_value *json_member(const struct json_value *object, struct span name);
/* Items or members. */
size_t json_size(const struct json_value *v);
const struct json_value *json_item(const struct json_value *list, size_t i);
/* The next member in the order of the document; *iter is NULL at first.  False: that was the last. */
bool json_next(const struct json_value *object, void **iter, struct span *ret_name, const struct json_value **ret);
struct span json_text(const struct json_value *v);
double json_number(const struct json_value *v);
bool json_truth(const struct json_value *v);
/* Appends it, compact. */
void json_add_value(struct buf *out, const struct json_value *v);

#endif
