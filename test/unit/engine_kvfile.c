/* The head of a saved session: what it says is read back, all else is refused. */
#include <criterion/criterion.h>
#include <string.h>

#include "kvfile.h"

static struct kvfile example(void)
{
	struct kvfile k = { .n_tokens = 300, .n_state = 70000, .n_sequences = 4, .n_build = 20, .is_exact = true };

	memset(k.digest, 0xd1, sizeof(k.digest));
	memset(k.checksum, 0xc5, sizeof(k.checksum));
	return k;
}

static const char *refusal(const uint8_t head[KVFILE_HEAD], uint64_t size)
{
	struct kvfile k;
	const char *why = NULL;

	return kvfile_decode(head, size, &k, &why) < 0 ? why : NULL;
}

Test(kvfile, what_is_written_is_read)
{
	struct kvfile want = example(), got;
	uint8_t head[KVFILE_HEAD];
	const char *why;

	kvfile_encode(&want, head);
	cr_assert_eq(kvfile_size(&want), 104 + 20 + 4 * 300 + 70000);
	cr_assert_eq(kvfile_decode(head, kvfile_size(&want), &got, &why), 0);
	cr_assert(got.n_tokens == 300 && got.n_state == 70000 && got.n_sequences == 4 && got.n_build == 20 && got.is_exact);
	cr_assert_eq(memcmp(got.digest, want.digest, SHA256_SIZE), 0);
	cr_assert_eq(memcmp(got.checksum, want.checksum, SHA256_SIZE), 0);
}

/* The bytes of version 1: a file of an older agent is read, or refused for its version. */
Test(kvfile, the_bytes_stay_what_they_are)
{
	static const uint8_t begin[40] = { 's', 'h', 'o', 'a', 'l', 'K', 'V', '\n', 1, 0, 0, 0, 1, 0, 0, 0, 0x2c, 1, 0, 0, 0,
		0, 0, 0, 0x70, 0x11, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 20, 0, 0, 0 };
	struct kvfile k = example();
	uint8_t head[KVFILE_HEAD];

	kvfile_encode(&k, head);
	cr_assert_eq(memcmp(head, begin, sizeof(begin)), 0);
	cr_assert(head[40] == 0xd1 && head[71] == 0xd1 && head[72] == 0xc5 && head[103] == 0xc5);
}

Test(kvfile, a_file_of_another_size_is_refused)
{
	struct kvfile k = example();
	uint8_t head[KVFILE_HEAD], none[KVFILE_HEAD] = { 0 };

	kvfile_encode(&k, head);
	for (uint64_t size = 0; size < 2 * kvfile_size(&k); size++)
		cr_assert(size == kvfile_size(&k) || refusal(head, size) != NULL, "%llu", (unsigned long long)size);
	cr_assert_not_null(refusal(none, 0));
	cr_assert_not_null(refusal(head, UINT64_MAX));
}

/* Digest and checksum are compared elsewhere; any other bit makes it no file, or another size or option. */
Test(kvfile, every_bit_of_the_head_counts)
{
	struct kvfile k = example(), got;
	uint8_t head[KVFILE_HEAD];
	const char *why;

	kvfile_encode(&k, head);
	for (size_t bit = 0; bit < 8 * 72; bit++) {
		bool is_refused;

		head[bit / 8] ^= (uint8_t)(1 << bit % 8);
		is_refused = kvfile_decode(head, kvfile_size(&k), &got, &why) < 0 ||
			     kvfile_check(&got, SPAN("b"), &k, SPAN("b"), &why) < 0;
		cr_assert(is_refused, "bit %zu", bit);
		head[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

Test(kvfile, numbers_that_wrap_are_refused)
{
	static const struct kvfile bad[] = { { .n_tokens = UINT64_MAX / 4 + 2, .n_state = 1 },
		{ .n_tokens = 1, .n_state = UINT64_MAX - 100 }, { .n_tokens = 0, .n_state = 1 },
		{ .n_tokens = 1, .n_state = 0 }, { .n_tokens = 1, .n_state = 1, .n_build = UINT32_MAX } };
	uint8_t head[KVFILE_HEAD];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		kvfile_encode(&bad[i], head);
		cr_assert_not_null(refusal(head, kvfile_size(&bad[i])), "case %zu", i);
	}
}

Test(kvfile, a_stranger_is_told_apart)
{
	struct kvfile mine = example(), other = example();
	const char *why = NULL;

	cr_assert_eq(kvfile_check(&mine, SPAN("build"), &other, SPAN("build"), &why), 0);
	cr_assert(kvfile_check(&mine, SPAN("build"), &other, SPAN("build 2"), &why) < 0 && strstr(why, "build") != NULL);
	other.n_sequences = 5;
	cr_assert(kvfile_check(&mine, SPAN("build"), &other, SPAN("build"), &why) < 0 && strstr(why, "options") != NULL);
	other.digest[31] ^= 1;
	cr_assert(kvfile_check(&mine, SPAN("build"), &other, SPAN("build"), &why) < 0 && strstr(why, "model") != NULL);
}
