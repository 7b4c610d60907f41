/* The CBOR cursor against hostile and odd bytes (RFC 8949). */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "err.h"
#include "wire.h"

static struct wire_in bytes(const char *hex, uint8_t *room)
{
	size_t n = strlen(hex) / 2;

	for (size_t i = 0; i < n; i++)
		room[i] = (uint8_t)strtoul((char[]){ hex[2 * i], hex[2 * i + 1], 0 }, NULL, 16);
	return wire_in(span_mem(room, n));
}

Test(wire, bombs_and_malformed_items_are_refused_without_reading_past_the_end)
{
	static const struct {
		const char *name, *hex;
		int err;
	} cases[] = {
		{ "nothing", "", ERR_MALFORMED },
		{ "array of 2^30 elements in five bytes", "9a40000000", ERR_MALFORMED },
		{ "array of 2^64-1 elements", "9bffffffffffffffff", ERR_MALFORMED },
		{ "map of 2^63 pairs", "bb8000000000000000", ERR_MALFORMED },
		{ "text longer than the bytes", "7a7fffffff61", ERR_MALFORMED },
		{ "bytes of length 2^64-1", "5bffffffffffffffff00", ERR_MALFORMED },
		{ "indefinite array", "9fff", ERR_MALFORMED },
		{ "indefinite map", "bfff", ERR_MALFORMED },
		{ "indefinite text", "7f6161ff", ERR_MALFORMED },
		{ "indefinite bytes", "5f4161ff", ERR_MALFORMED },
		{ "lone break", "ff", ERR_MALFORMED },
		{ "reserved length 28", "1c", ERR_MALFORMED },
		{ "tag", "c000", ERR_MALFORMED },
		{ "undefined", "f7", ERR_MALFORMED },
		{ "ten levels of arrays", "81818181818181818180", ERR_DEPTH },
		{ "array short of an element", "820a", ERR_MALFORMED },
		{ "map without a value", "a101", ERR_MALFORMED },
		{ "text that is not UTF-8", "62c3c3", ERR_UTF8 },
		{ "surrogate in text", "63eda080", ERR_UTF8 },
		{ "trailing byte", "0a0b", ERR_TRAILING },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *room = malloc(strlen(cases[i].hex) / 2 + 1);
		struct wire_in in = bytes(cases[i].hex, room);

		wire_skip(&in, 0);
		cr_expect_eq(wire_done(&in), cases[i].err, "%s: %s", cases[i].name, err_text(wire_done(&in)));
		free(room);
	}
}

Test(wire, the_first_error_sticks_and_later_reads_are_empty)
{
	uint8_t room[8];
	struct wire_in in = bytes("0a6161", room);

	cr_assert_eq(wire_get_text(&in, 10).n, 0);
	cr_assert_eq(wire_get_uint(&in, 100), 0);
	cr_assert_eq(wire_get_map(&in, 10), 0);
	cr_assert_eq(wire_peek(&in), WIRE_NONE);
	cr_assert_eq(wire_done(&in), ERR_TYPE);
}

Test(wire, integers_take_their_shortest_form_and_come_back)
{
	static const struct {
		int64_t v;
		size_t n;
	} cases[] = { { 0, 1 }, { 23, 1 }, { 24, 2 }, { 255, 2 }, { 256, 3 }, { 65535, 3 }, { 65536, 5 }, { 4294967295, 5 },
		{ 4294967296, 9 }, { INT64_MAX, 9 }, { -1, 1 }, { -24, 1 }, { -25, 2 }, { -256, 2 }, { -257, 3 },
		{ INT64_MIN, 9 } };
	struct buf out = BUF_INIT(64);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wire_in in;

		buf_reset(&out);
		wire_put_int(&out, cases[i].v);
		cr_expect_eq(out.n, cases[i].n, "%lld", (long long)cases[i].v);
		in = wire_in(buf_span(&out));
		cr_expect_eq(wire_get_int(&in), cases[i].v);
		cr_expect_eq(wire_done(&in), 0);
	}
	buf_fini(&out);
}

Test(wire, reals_of_any_width_and_integers_are_read_and_nan_is_refused)
{
	static const struct {
		const char *hex;
		double v;
		int err;
	} cases[] = { { "f93c00", 1, 0 }, { "fa3fc00000", 1.5, 0 }, { "fb3ff199999999999a", 1.1, 0 }, { "05", 5, 0 },
		{ "24", -5, 0 }, { "f97e00", 0, ERR_RANGE }, { "f97c00", 0, ERR_RANGE },
		{ "fb7ff0000000000000", 0, ERR_RANGE }, { "6131", 0, ERR_TYPE } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t room[16];
		struct wire_in in = bytes(cases[i].hex, room);
		double v = wire_get_real(&in);

		cr_expect(fabs(v - cases[i].v) < 1e-12, "%s", cases[i].hex);
		cr_expect_eq(wire_done(&in), cases[i].err, "%s", cases[i].hex);
	}
}

Test(wire, integers_beyond_63_bits_are_out_of_range_for_a_signed_field)
{
	static const char *const cases[] = { "1bffffffffffffffff", "3bffffffffffffffff" };

	for (size_t i = 0; i < 2; i++) {
		uint8_t room[16];
		struct wire_in in = bytes(cases[i], room);

		cr_assert_eq(wire_get_int(&in), 0);
		cr_assert_eq(wire_done(&in), ERR_RANGE);
	}
}

Test(wire, a_full_buffer_is_a_sticky_error)
{
	struct buf out = BUF_INIT(12);

	wire_put_text(&out, SPAN("hello, buffer"));
	cr_assert_eq(out.err, ERR_TOOBIG);
	wire_put_uint(&out, 1);
	cr_assert_eq(out.err, ERR_TOOBIG);
	buf_fini(&out);
}
