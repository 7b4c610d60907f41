#include "wire.h"

#include <cbor.h>
#include <math.h>

#include "err.h"

/* One item as cbor_stream_decode() reported it. */
struct item {
	enum wire_type type;
	uint64_t u; /* value, or count of an array or map */
	double real;
	struct span bytes;
};

/* ---- callbacks: each notes the one item ---- */

static void on_uint8(void *ctx, uint8_t v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_UINT, .u = v };
}

static void on_uint16(void *ctx, uint16_t v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_UINT, .u = v };
}

static void on_uint32(void *ctx, uint32_t v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_UINT, .u = v };
}

static void on_uint64(void *ctx, uint64_t v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_UINT, .u = v };
}

static void on_negint8(void *ctx, uint8_t v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_NEGINT, .u = v };
}

static void on_negint16(void *ctx, uint16_t v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_NEGINT, .u = v };
}

static void on_negint32(void *ctx, uint32_t v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_NEGINT, .u = v };
}

static void on_negint64(void *ctx, uint64_t v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_NEGINT, .u = v };
}

/* Lengths are size_t in libcbor 0.8 and uint64_t in 0.10: one type on amd64 and arm64. */
static void on_bytes(void *ctx, cbor_data p, size_t n)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_BYTES, .bytes = span_mem(p, (size_t)n) };
}

static void on_text(void *ctx, cbor_data p, size_t n)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_TEXT, .bytes = span_mem(p, (size_t)n) };
}

static void on_array(void *ctx, size_t n)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_ARRAY, .u = n };
}

static void on_map(void *ctx, size_t n)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_MAP, .u = n };
}

static void on_float(void *ctx, float v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_FLOAT, .real = (double)v };
}

static void on_double(void *ctx, double v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_FLOAT, .real = v };
}

static void on_bool(void *ctx, bool v)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_BOOL, .u = v };
}

static void on_null(void *ctx)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_NULL };
}

static void on_other(void *ctx)
{
	*(struct item *)ctx = (struct item){ .type = WIRE_OTHER };
}

static void on_tag(void *ctx, uint64_t v)
{
	(void)v;
	on_other(ctx);
}

static const struct cbor_callbacks callbacks = {
	.uint8 = on_uint8,
	.uint16 = on_uint16,
	.uint32 = on_uint32,
	.uint64 = on_uint64,
	.negint8 = on_negint8,
	.negint16 = on_negint16,
	.negint32 = on_negint32,
	.negint64 = on_negint64,
	.byte_string = on_bytes,
	.byte_string_start = on_other,
	.string = on_text,
	.string_start = on_other,
	.array_start = on_array,
	.indef_array_start = on_other,
	.map_start = on_map,
	.indef_map_start = on_other,
	.tag = on_tag,
	.float2 = on_float,
	.float4 = on_float,
	.float8 = on_double,
	.boolean = on_bool,
	.null = on_null,
	.undefined = on_other,
	.indef_break = on_other,
};

struct wire_in wire_in(struct span bytes)
{
	const uint8_t *p = (const uint8_t *)bytes.p;

	return (struct wire_in){ .p = p, .end = bytes.n > 0 ? p + bytes.n : p };
}

void wire_fail(struct wire_in *in, int err)
{
	if (in->err == 0)
		in->err = err;
}

/* Reads one item's head (and all of a string) without consuming; returns its size, 0 on error. */
static size_t read_item(struct wire_in *in, struct item *ret)
{
	struct cbor_decoder_result r;

	*ret = (struct item){ .type = WIRE_NONE };
	if (in->err != 0)
		return 0;
	if (in->p == in->end) {
		wire_fail(in, ERR_MALFORMED);
		return 0;
	}
	r = cbor_stream_decode(in->p, (size_t)(in->end - in->p), &callbacks, ret);
	if (r.status != CBOR_DECODER_FINISHED || r.read == 0 || ret->type == WIRE_OTHER) {
		wire_fail(in, ERR_MALFORMED);
		return 0;
	}
	return r.read;
}

static struct item next(struct wire_in *in, enum wire_type want)
{
	struct item it;
	size_t n = read_item(in, &it);

	if (n > 0 && it.type != want)
		wire_fail(in, ERR_TYPE);
	if (in->err != 0)
		return (struct item){ .type = WIRE_NONE };
	in->p += n;
	return it;
}

enum wire_type wire_peek(struct wire_in *in)
{
	struct item it;

	if (in->err != 0 || in->p == in->end)
		return WIRE_NONE;
	return read_item(in, &it) > 0 ? it.type : WIRE_NONE;
}

uint64_t wire_get_uint(struct wire_in *in, uint64_t max)
{
	struct item it = next(in, WIRE_UINT);

	if (it.u <= max)
		return it.u;
	wire_fail(in, ERR_RANGE);
	return 0;
}

int64_t wire_get_int(struct wire_in *in)
{
	bool is_negative = wire_peek(in) == WIRE_NEGINT;
	struct item it = next(in, is_negative ? WIRE_NEGINT : WIRE_UINT);

	if (it.u > INT64_MAX) {
		wire_fail(in, ERR_RANGE);
		return 0;
	}
	return is_negative && in->err == 0 ? -1 - (int64_t)it.u : (int64_t)it.u;
}

double wire_get_real(struct wire_in *in)
{
	enum wire_type type = wire_peek(in);
	double v;

	if (type == WIRE_UINT || type == WIRE_NEGINT)
		return (double)wire_get_int(in);
	v = next(in, WIRE_FLOAT).real;
	if (isfinite(v))
		return v;
	wire_fail(in, ERR_RANGE);
	return 0;
}

bool wire_get_bool(struct wire_in *in)
{
	return next(in, WIRE_BOOL).u != 0;
}

void wire_get_null(struct wire_in *in)
{
	(void)next(in, WIRE_NULL);
}

static struct span get_string(struct wire_in *in, enum wire_type type, size_t max)
{
	struct item it = next(in, type);

	if (it.bytes.n <= max)
		return it.bytes;
	wire_fail(in, ERR_TOOBIG);
	return SPAN_NONE;
}

struct span wire_get_text(struct wire_in *in, size_t max)
{
	struct span s = get_string(in, WIRE_TEXT, max);

	if (span_is_utf8(s))
		return s;
	wire_fail(in, ERR_UTF8);
	return SPAN_NONE;
}

struct span wire_get_bytes(struct wire_in *in, size_t max)
{
	return get_string(in, WIRE_BYTES, max);
}

/* Every element takes at least a byte: a count beyond the bytes at hand is a lie. */
static size_t get_count(struct wire_in *in, enum wire_type type, size_t max, size_t least)
{
	struct item it = next(in, type);

	if (it.u > (uint64_t)(in->end - in->p) / least)
		wire_fail(in, ERR_MALFORMED);
	else if (it.u > max)
		wire_fail(in, ERR_TOOBIG);
	return in->err == 0 ? (size_t)it.u : 0;
}

size_t wire_get_array(struct wire_in *in, size_t max)
{
	return get_count(in, WIRE_ARRAY, max, 1);
}

size_t wire_get_map(struct wire_in *in, size_t max)
{
	return get_count(in, WIRE_MAP, max, 2);
}

void wire_skip(struct wire_in *in, unsigned depth)
{
	struct item it;
	size_t n = read_item(in, &it);
	uint64_t left;

	if (n == 0)
		return;
	in->p += n;
	if (it.type == WIRE_TEXT && !span_is_utf8(it.bytes))
		wire_fail(in, ERR_UTF8);
	if (it.type != WIRE_ARRAY && it.type != WIRE_MAP)
		return;
	if (depth >= WIRE_MAX_DEPTH) {
		wire_fail(in, ERR_DEPTH);
		return;
	}
	left = (uint64_t)(in->end - in->p);
	if (it.u > left || (it.type == WIRE_MAP && it.u > left / 2)) {
		wire_fail(in, ERR_MALFORMED);
		return;
	}
	for (uint64_t i = it.type == WIRE_MAP ? 2 * it.u : it.u; i > 0 && in->err == 0; i--)
		wire_skip(in, depth + 1);
}

int wire_done(struct wire_in *in)
{
	if (in->err == 0 && in->p != in->end)
		in->err = ERR_TRAILING;
	return in->err;
}

/* ---- writing ---- */

#define HEAD_MAX 9 /* longest head or number */

/* Calls one of libcbor's encoders on room that is surely there. */
#define PUT(out, call)                                                                                                      \
	do {                                                                                                                \
		unsigned char *at = buf_reserve(out, HEAD_MAX);                                                             \
		size_t room = HEAD_MAX;                                                                                     \
		if (at != NULL)                                                                                             \
			(out)->n += (call);                                                                                 \
	} while (0)

void wire_put_uint(struct buf *out, uint64_t v)
{
	PUT(out, cbor_encode_uint(v, at, room));
}

void wire_put_int(struct buf *out, int64_t v)
{
	if (v >= 0)
		wire_put_uint(out, (uint64_t)v);
	else
		PUT(out, cbor_encode_negint((uint64_t)(-1 - v), at, room));
}

void wire_put_real(struct buf *out, double v)
{
	PUT(out, cbor_encode_double(v, at, room));
}

void wire_put_bool(struct buf *out, bool v)
{
	PUT(out, cbor_encode_bool(v, at, room));
}

void wire_put_null(struct buf *out)
{
	PUT(out, cbor_encode_null(at, room));
}

void wire_put_text(struct buf *out, struct span s)
{
	PUT(out, cbor_encode_string_start(s.n, at, room));
	buf_add_span(out, s);
}

void wire_put_bytes(struct buf *out, struct span s)
{
	PUT(out, cbor_encode_bytestring_start(s.n, at, room));
	buf_add_span(out, s);
}

void wire_put_array(struct buf *out, size_t n)
{
	PUT(out, cbor_encode_array_start(n, at, room));
}

void wire_put_map(struct buf *out, size_t n)
{
	PUT(out, cbor_encode_map_start(n, at, room));
}
