/* Golden messages: bytes of this version of the protocol must mean the same for ever.
 *
 * test/golden/<type>.hex holds a message with integer keys, <type>.json what it says.  A
 * changed key number, kind or name breaks one of them.  A type with new keys gets another
 * pair, <type>-2 and so on; an old one is never changed.  To write one:
 * GOLDEN_WRITE=<type>-2 unit_os. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine_proto.h"
#include "json.h"
#include "support/msg_gen.h"

static size_t read_file(const char *type, const char *ending, char *ret, size_t size)
{
	char path[512];
	FILE *f;
	size_t n = 0;

	snprintf(path, sizeof(path), SHOAL_SOURCE_DIR "/test/golden/%s.%s", type, ending);
	f = fopen(path, "r");
	if (f != NULL) {
		n = fread(ret, 1, size - 1, f);
		fclose(f);
	}
	ret[n] = '\0';
	while (n > 0 && ret[n - 1] == '\n')
		ret[--n] = '\0';
	return n;
}

static void write_file(const char *type, const char *ending, struct span text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), SHOAL_SOURCE_DIR "/test/golden/%s.%s", type, ending);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	fprintf(f, "%.*s\n", SPAN_FMT(text));
	fclose(f);
}

static struct buf to_hex(struct span s)
{
	struct buf out = BUF_INIT(1 << 20);

	for (size_t i = 0; i < s.n; i++)
		buf_addf(&out, "%02x", (unsigned char)s.p[i]);
	return out;
}

static struct buf from_hex(const char *hex)
{
	struct buf out = BUF_INIT(1 << 20);

	for (size_t i = 0; hex[i] != '\0' && hex[i + 1] != '\0'; i += 2) {
		uint8_t b = (uint8_t)strtoul((char[]){ hex[i], hex[i + 1], '\0' }, NULL, 16);

		buf_add(&out, &b, 1);
	}
	return out;
}

static void write_golden(const struct msg_type *t, const char *name, struct arena *arena)
{
	struct buf bytes = BUF_INIT(1 << 20), json = BUF_INIT(1 << 20), hex;
	void *m = malloc(t->size);
	struct rng rng;

	rng_seed(&rng, 2026);
	do { /* one that says something in most fields */
		buf_reset(&bytes);
		arena_reset(arena);
		msg_gen(&rng, t, arena, m);
		cr_assert_eq(msg_encode(t, m, MSG_KEYS_INT, &bytes), 0);
	} while ((size_t)__builtin_popcountll(*(uint64_t *)m) * 4 < t->n_fields * 3);
	cr_assert_eq(json_encode(t, m, &json), 0);
	hex = to_hex(buf_span(&bytes));
	write_file(name, "hex", buf_span(&hex));
	write_file(name, "json", buf_span(&json));
	buf_fini(&bytes);
	buf_fini(&json);
	buf_fini(&hex);
	free(m);
}

static void check_golden(const struct msg_type *t, const char *name, struct arena *arena)
{
	static char hex[1 << 16], want[1 << 16];
	struct buf bytes, again = BUF_INIT(1 << 20), json = BUF_INIT(1 << 20), hex_again;
	void *m = malloc(t->size);

	cr_assert_gt(read_file(name, "hex", hex, sizeof(hex)), 0, "no golden bytes of %s", name);
	cr_assert_gt(read_file(name, "json", want, sizeof(want)), 0, "no golden text of %s", name);
	bytes = from_hex(hex);
	arena_reset(arena);
	cr_expect_eq(msg_decode(t, buf_span(&bytes), MSG_KEYS_INT, arena, m, NULL), 0, "%s", name);
	cr_assert_eq(json_encode(t, m, &json), 0);
	cr_expect(span_is(buf_span(&json), want), "%s says\n%.*s\nand not\n%s", name, SPAN_FMT(buf_span(&json)), want);
	cr_assert_eq(msg_encode(t, m, MSG_KEYS_INT, &again), 0);
	hex_again = to_hex(buf_span(&again));
	cr_expect(span_is(buf_span(&hex_again), hex), "%s is encoded in another way", name);
	buf_fini(&bytes);
	buf_fini(&again);
	buf_fini(&json);
	buf_fini(&hex_again);
	free(m);
}

/* All pairs of the type there are; the first must be. */
static void check_type(const struct msg_type *t, struct arena *arena)
{
	const char *write = getenv("GOLDEN_WRITE");
	static char hex[1 << 16];
	char name[64];

	for (int version = 1;; version++) {
		snprintf(name, sizeof(name), "%s-%d", t->name, version);
		if (version == 1)
			snprintf(name, sizeof(name), "%s", t->name);
		if (write != NULL && strcmp(write, name) == 0)
			write_golden(t, name, arena);
		if (version > 1 && read_file(name, "hex", hex, sizeof(hex)) == 0)
			return;
		check_golden(t, name, arena);
	}
}

Test(golden, every_message_means_what_it_always_meant)
{
	struct arena arena = { .p = malloc(1 << 20), .cap = 1 << 20 };

	for (const struct msg_type *const *t = msg_gen_types; *t != NULL; t++)
		check_type(*t, &arena);
	free(arena.p);
}
