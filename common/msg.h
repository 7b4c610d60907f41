/* msg.h - messages described by tables: one table, three encodings.
 *
 * A struct msg_type lists the fields of a C struct: key number, name, kind,
 * limit.  From it come
 *   - CBOR with integer keys (agents, hub, engine),
 *   - CBOR with text keys (documents to and from clients),
 *   - JSON (json.h; the same documents, and the HTTP face),
 * so a field, its limit and its name are written once and cannot drift.
 *
 * Every message struct begins with `uint64_t has`: bit k is set when the field
 * with key k was there.  Encoding writes a field that is required, non-empty,
 * or has its bit set (say so for an optional zero that means something).
 *
 * Decoding refuses: missing required fields, repeated keys, values over a
 * limit, trailing bytes.  Unknown keys are skipped: a newer peer may send them.
 * In documents (text keys) null means "not there".
 * Texts and bytes borrow the input; lists live in the arena the caller gives. */
#ifndef SHOAL_MSG_H
#define SHOAL_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "span.h"

enum msg_kind {
	MSG_UINT,  /* uint64_t; max = greatest value */
	MSG_INT,   /* int64_t */
	MSG_REAL,  /* double, finite */
	MSG_BOOL,  /* bool */
	MSG_ENUM,  /* unsigned; a number in integer-keyed CBOR, names[] in documents; max = number of names */
	MSG_TEXT,  /* struct span, UTF-8; max = bytes */
	MSG_BYTES, /* struct span; max = bytes.  In JSON: lower-case hex */
	MSG_SUB,   /* struct embedded; sub */
	MSG_UINTS, /* const uint32_t *, size_t count; max = count */
	MSG_TEXTS, /* const struct span *, size_t count; max = count; each ≤ MSG_TEXT_ITEM_MAX bytes */
	MSG_SUBS,  /* const struct *, size_t count; sub; max = count */
	MSG_WEIGHTS, /* const struct msg_weight *, size_t count; max = count.  A map; in documents its keys are texts */
	MSG_FLOATS, /* struct span of 32-bit floats, little-endian; max = bytes.  In JSON: a list of numbers */
	MSG_JSON,  /* struct span, the text of a JSON value, empty for null; max = bytes.  In JSON: the value itself */
	MSG_NULL   /* no member: always written, as null, in documents; ignored on reading */
};

enum {
	MSG_REQ = 1,      /* must be there */
	MSG_OR_ONE = 2,   /* MSG_TEXTS: a single text stands for a list of one (documents) */
	MSG_OR_PARTS = 4, /* MSG_TEXT: a list of {"type":"text","text":…} is joined (documents) */
};

struct msg_weight { /* a number of something, and how much it weighs */
	uint32_t id;
	double value;
};

#define MSG_MAX_FIELDS 63          /* keys are 1..63: bits of `has` */
#define MSG_TEXT_ITEM_MAX ((size_t)1 << 18) /* bytes of one text in a list */

struct msg_type;

struct msg_field {
	const char *name;
	uint8_t key, kind, flags;
	uint16_t offset, n_offset; /* of the member; of its count, for lists */
	uint64_t max;
	const struct msg_type *sub;
	const char *const *names;
};

struct msg_type {
	const char *name; /* as in docs/protocol.cddl */
	size_t size;      /* of the struct */
	const struct msg_field *fields;
	size_t n_fields;
};

/* MSG_CHECK_(T, m, C) is 0, and does not compile unless member m of T has type C. */
#define MSG_CHECK_(T, m, C) (0 * sizeof(_Generic(((T *)NULL)->m, C : (char)0)))
#define MSG_F_(T, m, C, k, kd, fl, mx, sb, nm)                                                        \
	{ .name = #m, .key = (k), .kind = (kd), .flags = (fl) + MSG_CHECK_(T, m, C),                  \
	  .offset = offsetof(T, m), .max = (mx), .sub = (sb), .names = (nm) }
#define MSG_L_(T, m, C, k, kd, fl, mx, sb)                                                            \
	{ .name = #m, .key = (k), .kind = (kd), .flags = (fl) + MSG_CHECK_(T, m, const C *),          \
	  .offset = offsetof(T, m), .n_offset = offsetof(T, n_##m), .max = (mx), .sub = (sb) }

#define MSG_F_UINT(T, m, key, flags, max) MSG_F_(T, m, uint64_t, key, MSG_UINT, flags, max, NULL, NULL)
#define MSG_F_INT(T, m, key, flags) MSG_F_(T, m, int64_t, key, MSG_INT, flags, 0, NULL, NULL)
#define MSG_F_REAL(T, m, key, flags) MSG_F_(T, m, double, key, MSG_REAL, flags, 0, NULL, NULL)
#define MSG_F_BOOL(T, m, key, flags) MSG_F_(T, m, bool, key, MSG_BOOL, flags, 0, NULL, NULL)
#define MSG_F_ENUM(T, m, key, flags, n, names) MSG_F_(T, m, unsigned, key, MSG_ENUM, flags, n, NULL, names)
#define MSG_F_TEXT(T, m, key, flags, max) MSG_F_(T, m, struct span, key, MSG_TEXT, flags, max, NULL, NULL)
#define MSG_F_BYTES(T, m, key, flags, max) MSG_F_(T, m, struct span, key, MSG_BYTES, flags, max, NULL, NULL)
#define MSG_F_SUB(T, m, S, key, flags, type) MSG_F_(T, m, S, key, MSG_SUB, flags, 0, type, NULL)
#define MSG_F_UINTS(T, m, key, flags, max) MSG_L_(T, m, uint32_t, key, MSG_UINTS, flags, max, NULL)
#define MSG_F_TEXTS(T, m, key, flags, max) MSG_L_(T, m, struct span, key, MSG_TEXTS, flags, max, NULL)
#define MSG_F_SUBS(T, m, S, key, flags, max, type) MSG_L_(T, m, S, key, MSG_SUBS, flags, max, type)
#define MSG_F_WEIGHTS(T, m, key, flags, max) MSG_L_(T, m, struct msg_weight, key, MSG_WEIGHTS, flags, max, NULL)
#define MSG_F_JSON(T, m, key, flags, max) MSG_F_(T, m, struct span, key, MSG_JSON, flags, max, NULL, NULL)
#define MSG_F_FLOATS(T, m, key, flags, max) MSG_F_(T, m, struct span, key, MSG_FLOATS, flags, max, NULL, NULL)
#define MSG_F_NULL(label, k) { .name = (label), .key = (k), .kind = MSG_NULL }

#define MSG_TYPE(label, T, table)                                                                     \
	{ .name = (label), .size = sizeof(T), .fields = (table), .n_fields = sizeof(table) / sizeof((table)[0]) }

enum msg_keys { MSG_KEYS_INT, MSG_KEYS_TEXT };

/* True when the field with this key was in the decoded message (or its bit was set by hand). */
static inline bool msg_has(const void *m, unsigned key)
{
	return (*(const uint64_t *)m >> key & 1) != 0;
}

static inline void msg_set(void *m, unsigned key)
{
	*(uint64_t *)m |= (uint64_t)1 << key;
}

/* Bytes of one item of a list. */
size_t msg_item_size(const struct msg_field *f);
/* A number as the documents' maps of weights write it: decimal, no sign, no leading zero. */
bool msg_weight_key(struct span text, uint32_t *ret);

/* True when the encoder would write this field of m. */
bool msg_field_present(const struct msg_field *f, const void *m);

/* Appends the message to out.  0, or out->err. */
SHOAL_CHECK int msg_encode(const struct msg_type *t, const void *m, enum msg_keys keys, struct buf *out);

/* Decodes bytes into *ret (t->size bytes, written only on success).  On failure
 * *ret_field, if given, names the field it was about (static text, may be NULL). */
SHOAL_CHECK int msg_decode(const struct msg_type *t, struct span bytes, enum msg_keys keys, struct arena *arena,
                           void *ret, const char **ret_field);

#endif
