/* wire.h - CBOR (RFC 8949) from and to untrusted peers: a cursor and a writer.
 *
 * wire.c is the only file that includes cbor.h.  Reading goes item by item
 * through cbor_stream_decode() and allocates nothing; the first error sticks,
 * every later read returns zero, so a decoder checks once, with wire_done().
 * Refused: indefinite lengths, lengths beyond the bytes at hand, nesting past
 * WIRE_MAX_DEPTH, text that is not UTF-8, bytes after the end.
 * Texts and byte strings borrow the input. */
#ifndef SHOAL_WIRE_H
#define SHOAL_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "span.h"

#define WIRE_MAX_DEPTH 8

struct wire_in {
	const uint8_t *p, *end;
	int err;
};

enum wire_type {
	WIRE_NONE, /* at the end, or after an error */
	WIRE_UINT,
	WIRE_NEGINT,
	WIRE_BYTES,
	WIRE_TEXT,
	WIRE_ARRAY,
	WIRE_MAP,
	WIRE_BOOL,
	WIRE_NULL,
	WIRE_FLOAT,
	WIRE_OTHER
};

struct wire_in wire_in(struct span bytes);
/* The type of the next item; consumes nothing. */
enum wire_type wire_peek(struct wire_in *in);
/* Each returns the next item, or 0 / empty and sets err: ERR_TYPE when it is of
 * another type, ERR_RANGE / ERR_TOOBIG when over max. */
uint64_t wire_get_uint(struct wire_in *in, uint64_t max);
int64_t wire_get_int(struct wire_in *in);
double wire_get_real(struct wire_in *in); /* integers count too; NaN and infinities refused */
bool wire_get_bool(struct wire_in *in);
void wire_get_null(struct wire_in *in);
struct span wire_get_text(struct wire_in *in, size_t max);
struct span wire_get_bytes(struct wire_in *in, size_t max);
/* Number of elements or pairs to read next, ≤ max. */
size_t wire_get_array(struct wire_in *in, size_t max);
size_t wire_get_map(struct wire_in *in, size_t max);
/* Skips one whole item; `depth` levels are already open around it. */
void wire_skip(struct wire_in *in, unsigned depth);
/* 0 when all was read without error, else the error (ERR_TRAILING if bytes are left). */
int wire_done(struct wire_in *in);
/* Notes an error unless one is noted already. */
void wire_fail(struct wire_in *in, int err);

/* Writers append to out; out->err tells of any failure.  Lengths and integers
 * take their shortest form, floats are 64 bit. */
void wire_put_uint(struct buf *out, uint64_t v);
void wire_put_int(struct buf *out, int64_t v);
void wire_put_real(struct buf *out, double v);
void wire_put_bool(struct buf *out, bool v);
void wire_put_null(struct buf *out);
void wire_put_text(struct buf *out, struct span s);
void wire_put_bytes(struct buf *out, struct span s);
void wire_put_array(struct buf *out, size_t n);
void wire_put_map(struct buf *out, size_t n);

#endif
