/* The check of a model file before libllama sees it: files made here with one thing wrong
 * each, and the bundled model cut and altered. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "gguf.h"
#include "rng.h"

#define MODEL SHOAL_SOURCE_DIR "/models/shoal-triage.gguf"

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

/* ---- a writer that writes whatever it is told ---- */

static void put(struct buf *b, uint64_t x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_add(b, &(uint8_t){ (uint8_t)(i < 8 ? x >> 8 * i : 0) }, 1);
}

static void text(struct buf *b, const char *s)
{
	put(b, strlen(s), 8);
	buf_add_span(b, span_of(s));
}

static void head(struct buf *b, uint64_t n_tensors, uint64_t n_keys)
{
	buf_add(b, "GGUF", 4);
	put(b, 3, 4);
	put(b, n_tensors, 8);
	put(b, n_keys, 8);
}

static void key(struct buf *b, const char *name, uint64_t type)
{
	text(b, name);
	put(b, type, 4);
}

static void arch(struct buf *b)
{
	key(b, "general.architecture", STRING);
	text(b, "llama");
}

static void number(struct buf *b, const char *name, uint64_t x)
{
	key(b, name, U32);
	put(b, x, 4);
}

static void list(struct buf *b, const char *name, uint64_t item, uint64_t n)
{
	key(b, name, ARRAY);
	put(b, item, 4);
	put(b, n, 8);
}

static void tensor(struct buf *b, const char *name, uint64_t x, uint64_t y, uint64_t type, uint64_t offset)
{
	text(b, name);
	put(b, 2, 4);
	put(b, x, 8);
	put(b, y, 8);
	put(b, type, 4);
	put(b, offset, 8);
}

static void data(struct buf *b, size_t n, size_t alignment)
{
	while (b->n % alignment != 0)
		put(b, 0, 1);
	for (size_t i = 0; i < n; i++)
		put(b, 0, 1);
}

/* One key beside the architecture, and a tensor of 4 × 8 F32. */
static void end(struct buf *b)
{
	tensor(b, "a", 4, 8, 0, 0);
	data(b, 128, 32);
}

/* ---- one thing wrong each ---- */

/* clang-format off */
static void good(struct buf *b) { head(b, 1, 1), arch(b), end(b); }
static void empty(struct buf *b) { (void)b; }
static void other_file(struct buf *b) { buf_addf(b, "\x7f" "ELF and so on, a program"); }
static void old_version(struct buf *b) { good(b), b->p[4] = 1; }
static void new_version(struct buf *b) { good(b), b->p[4] = 4; }
static void other_order(struct buf *b) { good(b), b->p[4] = 0, b->p[7] = 3; }
static void only_magic(struct buf *b) { buf_addf(b, "GGUF"); }
static void no_tensors(struct buf *b) { head(b, 0, 1), arch(b), data(b, 0, 32); }
static void many_tensors(struct buf *b) { head(b, 1000, 1), arch(b), end(b); }
static void endless_tensors(struct buf *b) { head(b, UINT64_MAX, 1), arch(b), end(b); }
static void many_keys(struct buf *b) { head(b, 1, 100), arch(b), end(b); }
static void endless_keys(struct buf *b) { head(b, 1, UINT64_C(1) << 63), arch(b), end(b); }
static void no_arch(struct buf *b) { head(b, 1, 1), number(b, "x", 1), end(b); }
static void odd_arch(struct buf *b)
{
	head(b, 1, 1), key(b, "general.architecture", STRING), text(b, "../x"), end(b);
}
static void number_arch(struct buf *b) { head(b, 1, 1), number(b, "general.architecture", 1), end(b); }
static void no_key_name(struct buf *b) { head(b, 1, 2), arch(b), number(b, "", 1), end(b); }
static void key_twice(struct buf *b) { head(b, 1, 3), arch(b), number(b, "x", 1), number(b, "x", 2), end(b); }
static void endless_key(struct buf *b) { head(b, 1, 2), arch(b), put(b, UINT64_MAX, 8), end(b); }
static void value_type(struct buf *b) { head(b, 1, 2), arch(b), key(b, "x", 13), end(b); }
static void endless_text(struct buf *b)
{
	head(b, 1, 2), arch(b), key(b, "x", STRING), put(b, UINT64_MAX - 7, 8), end(b);
}
static void odd_bool(struct buf *b) { head(b, 1, 2), arch(b), key(b, "x", BOOL), put(b, 2, 1), end(b); }
static void list_of_lists(struct buf *b) { head(b, 1, 2), arch(b), list(b, "x", ARRAY, 1), end(b); }
static void list_type(struct buf *b) { head(b, 1, 2), arch(b), list(b, "x", 77, 1), end(b); }
static void endless_list(struct buf *b) { head(b, 1, 2), arch(b), list(b, "x", U64, UINT64_C(1) << 61), end(b); }
static void endless_texts(struct buf *b) { head(b, 1, 2), arch(b), list(b, "x", STRING, UINT64_C(1) << 61), end(b); }
static void zero_alignment(struct buf *b) { head(b, 1, 2), arch(b), number(b, "general.alignment", 0), end(b); }
static void odd_alignment(struct buf *b) { head(b, 1, 2), arch(b), number(b, "general.alignment", 48), end(b); }
static void huge_alignment(struct buf *b)
{
	head(b, 1, 2), arch(b), number(b, "general.alignment", 1u << 31), end(b);
}
static void wide_alignment(struct buf *b)
{
	head(b, 1, 2), arch(b), key(b, "general.alignment", U64), put(b, 32, 8), end(b);
}
static void no_layers(struct buf *b) { head(b, 1, 2), arch(b), number(b, "llama.block_count", 0), end(b); }
static void many_layers(struct buf *b) { head(b, 1, 2), arch(b), number(b, "llama.block_count", 513), end(b); }
static void float_layers(struct buf *b)
{
	head(b, 1, 2), arch(b), key(b, "llama.block_count", F32), put(b, 1, 4), end(b);
}
static void context(struct buf *b) { head(b, 1, 2), arch(b), number(b, "llama.context_length", UINT32_MAX), end(b); }
static void negative(struct buf *b)
{
	head(b, 1, 2), arch(b), key(b, "llama.vocab_size", I64), put(b, UINT64_MAX, 8), end(b);
}
static void split(struct buf *b) { head(b, 1, 2), arch(b), key(b, "split.count", U16), put(b, 3, 2), end(b); }
static void no_shape(struct buf *b)
{
	head(b, 1, 1), arch(b), text(b, "a"), put(b, 0, 4), put(b, 0, 40), data(b, 128, 32);
}
static void five_dims(struct buf *b) { head(b, 1, 1), arch(b), text(b, "a"), put(b, 5, 4), data(b, 128, 32); }
static void zero_dim(struct buf *b) { head(b, 1, 1), arch(b), tensor(b, "a", 4, 0, 0, 0), data(b, 128, 32); }
static void negative_dim(struct buf *b)
{
	head(b, 1, 1), arch(b), tensor(b, "a", 1, UINT64_MAX, 0, 0), data(b, 128, 32);
}
static void wrapping_dims(struct buf *b)
{
	head(b, 1, 1), arch(b), tensor(b, "a", UINT64_C(1) << 32, UINT64_C(1) << 32, 0, 0), data(b, 128, 32);
}
static void wrapping_bytes(struct buf *b)
{
	head(b, 1, 1), arch(b), tensor(b, "a", UINT64_C(1) << 62, 1, 0, 0), data(b, 128, 32);
}
static void part_of_block(struct buf *b) { head(b, 1, 1), arch(b), tensor(b, "a", 40, 8, 8, 0), data(b, 4096, 32); }
static void nonsense_type(struct buf *b)
{
	head(b, 1, 1), arch(b), tensor(b, "a", 4, 8, UINT32_MAX, 0), data(b, 128, 32);
}
static void past_end(struct buf *b) { head(b, 1, 1), arch(b), tensor(b, "a", 4, 8, 0, 0), data(b, 127, 32); }
static void no_data(struct buf *b) { head(b, 1, 1), arch(b), tensor(b, "a", 4, 8, 0, 0); }
static void far_offset(struct buf *b)
{
	head(b, 1, 1), arch(b), tensor(b, "a", 4, 8, 0, UINT64_MAX - 31), data(b, 128, 32);
}
static void odd_offset(struct buf *b) { head(b, 1, 1), arch(b), tensor(b, "a", 4, 8, 0, 8), data(b, 256, 32); }
static void overlap(struct buf *b)
{
	head(b, 2, 1), arch(b), tensor(b, "a", 4, 8, 0, 0), tensor(b, "b", 4, 8, 0, 96), data(b, 512, 32);
}
static void gap(struct buf *b)
{
	head(b, 2, 1), arch(b), tensor(b, "a", 4, 8, 0, 0), tensor(b, "b", 4, 8, 0, 160), data(b, 512, 32);
}
static void unknown_back(struct buf *b)
{
	head(b, 2, 1), arch(b), tensor(b, "a", 4, 8, 99, 0), tensor(b, "b", 4, 8, 0, 0), data(b, 512, 32);
}
static void unknown_out(struct buf *b)
{
	head(b, 2, 1), arch(b), tensor(b, "a", 4, 8, 99, 0), tensor(b, "b", 4, 8, 99, 512), data(b, 512, 32);
}
static void tensor_twice(struct buf *b)
{
	head(b, 2, 1), arch(b), tensor(b, "a", 4, 8, 0, 0), tensor(b, "a", 4, 8, 0, 128), data(b, 256, 32);
}
static void no_tensor_name(struct buf *b) { head(b, 1, 1), arch(b), tensor(b, "", 4, 8, 0, 0), data(b, 128, 32); }

static void long_tensor_name(struct buf *b)
{
	char name[65] = "";

	memset(name, 'n', 64);
	head(b, 1, 1), arch(b), tensor(b, name, 4, 8, 0, 0), data(b, 128, 32);
}

/* Two tokens, and beside them a list of n items of a type. */
static void tokens_and(struct buf *b, const char *name, uint64_t item, uint64_t n, size_t n_bytes)
{
	head(b, 1, 3), arch(b), list(b, "tokenizer.ggml.tokens", STRING, 2), text(b, "a"), text(b, "b");
	list(b, name, item, n);
	for (size_t i = 0; i < n_bytes; i++)
		put(b, 0, 1);
	end(b);
}

static void narrow_scores(struct buf *b) { tokens_and(b, "tokenizer.ggml.scores", U8, 2, 2); }
static void few_scores(struct buf *b) { tokens_and(b, "tokenizer.ggml.scores", F32, 1, 4); }
static void narrow_kinds(struct buf *b) { tokens_and(b, "tokenizer.ggml.token_type", I8, 2, 2); }
static void few_kinds(struct buf *b) { tokens_and(b, "tokenizer.ggml.token_type", I32, 1, 4); }
static void number_merges(struct buf *b) { tokens_and(b, "tokenizer.ggml.merges", U8, 1, 1); }
static void narrow_hidden(struct buf *b) { tokens_and(b, "tokenizer.ggml.suppress_tokens", U16, 2, 4); }
static void short_map(struct buf *b) { tokens_and(b, "tokenizer.ggml.precompiled_charsmap", U8, 3, 3); }
static void number_tokens(struct buf *b)
{
	head(b, 1, 2), arch(b), list(b, "tokenizer.ggml.tokens", U8, 1), put(b, 0, 1), end(b);
}

/* clang-format on */
static const struct {
	const char *name;
	void (*make)(struct buf *b);
	const char *says;
} bad[] = {
#define CASE(f, says)                                                                                                       \
	{                                                                                                                   \
#f, f, says                                                                                                 \
	}
	CASE(empty, "does not begin with GGUF"),
	CASE(other_file, "does not begin with GGUF"),
	CASE(only_magic, "ends at byte 4, within its head. The file is cut short"),
	CASE(old_version, "GGUF version 1 (byte 4)"),
	CASE(new_version, "GGUF version 4 (byte 4)"),
	CASE(other_order, "other byte order (byte 4)"),
	CASE(no_tensors, "holds no tensors (byte 8)"),
	CASE(many_tensors, "holds 1000 tensors, more than"),
	CASE(endless_tensors, "holds 18446744073709551615 tensors, more than"),
	CASE(many_keys, "holds 100 keys, more than"),
	CASE(endless_keys, "holds 9223372036854775808 keys; 4096 are allowed"),
	CASE(no_arch, "no key \"general.architecture\""),
	CASE(odd_arch, "\"general.architecture\" at byte 64 must be a short name"),
	CASE(number_arch, "\"general.architecture\" at byte 56 must be a short name"),
	CASE(no_key_name, "key at byte 69 has no name"),
	CASE(key_twice, "The key \"x\" is there twice, the second time at byte 94"),
	CASE(endless_key, "At byte 69 the name of a key is said to be 18446744073709551615 bytes long"),
	CASE(value_type, "is of type 13, which there is not"),
	CASE(endless_text, "is said to be 18446744073709551608 bytes long, but the file has only"),
	CASE(odd_bool, "neither true nor false"),
	CASE(list_of_lists, "is of type 9; lists of numbers"),
	CASE(list_type, "is of type 77; lists of numbers"),
	CASE(endless_list, "takes more bytes than the file has"),
	CASE(endless_texts, "takes more bytes than the file has"),
	CASE(zero_alignment, "must be a power of two"),
	CASE(odd_alignment, "must be a power of two"),
	CASE(huge_alignment, "must be a power of two"),
	CASE(wide_alignment, "as a 32-bit number"),
	CASE(no_layers, "must be a number of layers, 1 to 512"),
	CASE(many_layers, "must be a number of layers, 1 to 512"),
	CASE(float_layers, "must be a number of layers, 1 to 512"),
	CASE(context, "must be a number of tokens"),
	CASE(negative, "must be a number of tokens"),
	CASE(split, "is one part of several"),
	CASE(number_tokens, "\"tokenizer.ggml.tokens\" at byte"),
	CASE(narrow_scores, "\"tokenizer.ggml.scores\" at byte"),
	CASE(few_scores, "\"tokenizer.ggml.scores\" at byte"),
	CASE(narrow_kinds, "\"tokenizer.ggml.token_type\" at byte"),
	CASE(few_kinds, "\"tokenizer.ggml.token_type\" at byte"),
	CASE(number_merges, "must be a list of texts"),
	CASE(narrow_hidden, "must be a list of 32-bit numbers"),
	CASE(short_map, "four at least"),
	CASE(no_shape, "has 0 dimensions"),
	CASE(five_dims, "has 5 dimensions"),
	CASE(zero_dim, "has a dimension of 0 elements"),
	CASE(negative_dim, "has a dimension of 18446744073709551615 elements"),
	CASE(wrapping_dims, "has a dimension of 4294967296 elements"),
	CASE(wrapping_bytes, "ends past the end of the file"),
	CASE(part_of_block, "has rows of 40 elements, but they come in blocks of 32"),
	CASE(nonsense_type, "is of type 4294967295"),
	CASE(past_end, "ends past the end of the file"),
	CASE(no_data, "before the weights"),
	CASE(far_offset, "not behind the one before"),
	CASE(odd_offset, "no multiple of 32"),
	CASE(overlap, "lies at 96 of the data and not behind the one before it, at 128"),
	CASE(gap, "lies at 160 of the data and not behind the one before it, at 128"),
	CASE(unknown_back, "not behind the one before"),
	CASE(unknown_out, "ends past the end of the file"),
	CASE(tensor_twice, "The tensor \"a\" is there twice"),
	CASE(no_tensor_name, "has no name"),
	CASE(long_tensor_name, "is said to be 64 bytes long; 63 are allowed"),
#undef CASE
};

/* In a block of its own size, so that the sanitizer sees a read past the end. */
static int check(const void *p, size_t n, struct gguf_facts *facts, char *why, size_t why_size)
{
	char *copy = malloc(n > 0 ? n : 1);
	struct buf b = BUF_INIT(500);
	int rc;

	if (n > 0)
		memcpy(copy, p, n);
	rc = gguf_check(span_mem(copy, n), facts, &b);
	cr_assert_eq(b.err, 0, "a sentence is too long");
	snprintf(why, why_size, "%.*s", SPAN_FMT(buf_span(&b)));
	cr_assert_eq(rc == 0, b.n == 0, "%d with \"%s\"", rc, why);
	buf_fini(&b);
	free(copy);
	return rc;
}

Test(gguf, each_wrong_file_is_refused_with_its_sentence)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct buf b = BUF_INIT(1 << 20);
		struct gguf_facts facts;
		char why[512];

		bad[i].make(&b);
		cr_expect_eq(check(b.p, b.n, &facts, why, sizeof(why)), ERR_MALFORMED, "%s", bad[i].name);
		cr_expect(strstr(why, bad[i].says) != NULL, "%s: \"%s\" does not say \"%s\"", bad[i].name, why, bad[i].says);
		buf_fini(&b);
	}
}

static void every_type(struct buf *b)
{
	static const uint8_t size[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
	char name[16];

	head(b, 1, 1 + 11 + 12);
	arch(b);
	for (uint64_t t = U8; t <= F64; t++) {
		snprintf(name, sizeof(name), "k%d", (int)t);
		if (t != STRING && t != ARRAY)
			key(b, name, t), put(b, 1, size[t]);
		snprintf(name, sizeof(name), "l%d", (int)t);
		if (t != ARRAY)
			list(b, name, t, 2),
				t == STRING ? (text(b, ""), text(b, "é")) : (put(b, 1, size[t]), put(b, 0, size[t]));
	}
	end(b);
}

static void own_alignment(struct buf *b)
{
	head(b, 2, 2), arch(b), number(b, "general.alignment", 64);
	tensor(b, "a", 4, 1, 0, 0), tensor(b, "b", 4, 8, 0, 64), data(b, 192, 64);
}

static void unknown_type(struct buf *b)
{
	head(b, 2, 1), arch(b), tensor(b, "a", 4, 8, 99, 0), tensor(b, "b", 4, 8, 0, 64), data(b, 192, 32);
}

static void one_part(struct buf *b)
{
	head(b, 1, 2), arch(b), key(b, "split.count", U16), put(b, 1, 2), end(b);
}

/* Some converters write whole numbers there. */
static void whole_scores(struct buf *b)
{
	tokens_and(b, "tokenizer.ggml.scores", I32, 2, 8);
}

static void version_2(struct buf *b)
{
	good(b), b->p[4] = 2;
}

Test(gguf, what_is_odd_but_right_passes)
{
	void (*const makes[])(
		struct buf *) = { good, version_2, every_type, own_alignment, unknown_type, one_part, whole_scores };

	for (size_t i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
		struct buf b = BUF_INIT(1 << 20);
		struct gguf_facts facts;
		char why[512];

		makes[i](&b);
		cr_expect_eq(check(b.p, b.n, &facts, why, sizeof(why)), 0, "%zu: %s", i, why);
		buf_fini(&b);
	}
}

Test(gguf, a_name_of_the_file_is_shown_in_plain_characters)
{
	struct buf b = BUF_INIT(1 << 20);
	struct gguf_facts facts;
	char why[512];

	head(&b, 1, 2), arch(&b), key(&b, "\x1b[31m\n\xff", 13), end(&b);
	cr_assert_eq(check(b.p, b.n, &facts, why, sizeof(why)), ERR_MALFORMED);
	cr_expect(strstr(why, "\"?[31m??\"") != NULL, "%s", why);
	buf_fini(&b);
}

/* ---- the bundled model ---- */

static char *read_model(size_t *ret_n)
{
	FILE *f = fopen(MODEL, "rb");
	long n;
	char *p;

	cr_assert_not_null(f);
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	p = malloc((size_t)n);
	cr_assert_eq(fread(p, 1, (size_t)n, f), (size_t)n);
	fclose(f);
	*ret_n = (size_t)n;
	return p;
}

Test(gguf, the_bundled_model_passes_and_says_what_it_is)
{
	size_t n;
	char *p = read_model(&n), why[512];
	struct gguf_facts f;

	cr_assert_eq(check(p, n, &f, why, sizeof(why)), 0, "%s", why);
	cr_expect_str_eq(f.arch, "llama");
	cr_expect(f.n_layers > 0 && f.n_ctx > 0 && f.n_embd > 0 && f.n_vocab > 0);
	cr_expect_eq(f.n_tensors, 57);
	cr_expect(f.n_params > 1000000 && f.n_params < 10000000);
	cr_expect(f.data_start > 0 && f.data_start % 32 == 0 && f.data_start < n);
	cr_expect_gt(f.n_heads, 0);
	cr_expect_gt(f.n_ff, 0);
	cr_expect_gt(f.n_kv_values, 0);
	free(p);
}

Test(gguf, the_head_alone_says_the_same_and_a_part_of_it_does_not_pass)
{
	size_t n;
	char *p = read_model(&n), why[512];
	struct gguf_facts whole, f = { .n_keys = 0 };
	struct buf b = BUF_INIT(500);

	cr_assert_eq(check(p, n, &whole, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(gguf_check_head(span_mem(p, whole.data_start), n, &f, &b), 0);
	cr_expect_eq(memcmp(&f, &whole, sizeof(f)), 0);
	cr_expect_eq(gguf_check_head(span_mem(p, whole.data_start / 2), n, &f, &b), ERR_MALFORMED);
	buf_reset(&b);
	cr_expect_eq(gguf_check_head(span_mem(p, whole.data_start), n - 1000, &f, &b), ERR_MALFORMED, "a tensor ends later");
	buf_fini(&b);
	free(p);
}

/* ---- what attention keeps ---- */

static void kv(struct buf *b, const char *name, uint64_t x)
{
	char full[64];

	(void)snprintf(full, sizeof(full), "llama.%s", name);
	number(b, full, x);
}

static void kv_list(struct buf *b, const char *name, const uint64_t *x, size_t n)
{
	char full[64];

	(void)snprintf(full, sizeof(full), "llama.%s", name);
	list(b, full, U32, n);
	for (size_t i = 0; i < n; i++)
		put(b, x[i], 4);
}

/* clang-format off */
static void plain(struct buf *b)
{
	head(b, 1, 4), arch(b), kv(b, "block_count", 3), kv(b, "embedding_length", 64), kv(b, "attention.head_count", 4), end(b);
}
static void grouped(struct buf *b)
{
	head(b, 1, 6), arch(b), kv(b, "block_count", 3), kv(b, "embedding_length", 64), kv(b, "attention.head_count", 4),
	kv(b, "attention.head_count_kv", 2), kv(b, "attention.key_length", 24), end(b);
}
static void hybrid(struct buf *b)
{
	head(b, 1, 5), arch(b), kv(b, "block_count", 3), kv(b, "embedding_length", 64), kv(b, "attention.head_count", 4),
	kv_list(b, "attention.head_count_kv", (uint64_t[]){ 0, 4, 1 }, 3), end(b);
}
static void short_list(struct buf *b)
{
	head(b, 1, 5), arch(b), kv(b, "block_count", 3), kv(b, "embedding_length", 64), kv(b, "attention.head_count", 4),
	kv_list(b, "attention.head_count_kv", (uint64_t[]){ 1 }, 1), end(b);
}
static void recurrent(struct buf *b) { head(b, 1, 3), arch(b), kv(b, "block_count", 3), kv(b, "embedding_length", 64), end(b); }
static void huge_heads(struct buf *b)
{
	head(b, 1, 5), arch(b), kv(b, "block_count", 512), kv(b, "embedding_length", 64), kv(b, "attention.head_count", 4),
	kv(b, "attention.key_length", UINT32_MAX), end(b);
}
/* clang-format on */

Test(gguf, what_attention_keeps_of_a_token_is_counted_by_layer)
{
	static const struct {
		void (*make)(struct buf *b);
		uint64_t values;
	} cases[] = {
		{ plain, 3 * 4 * (16 + 16) }, { grouped, 3 * 2 * (24 + 16) }, { hybrid, (0 + 4 + 1) * (16 + 16) },
		{ short_list, (1 + 4 + 4) * (16 + 16) }, { recurrent, 0 },
		{ huge_heads, 512 * 4 * (16 + 16) }, /* nonsense counts as not said */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf b = BUF_INIT(1 << 16);
		struct gguf_facts f;
		char why[512];

		cases[i].make(&b);
		cr_assert_eq(check(b.p, b.n, &f, why, sizeof(why)), 0, "%zu: %s", i, why);
		cr_expect_eq(f.n_kv_values, cases[i].values, "%zu: %llu", i, (unsigned long long)f.n_kv_values);
		buf_fini(&b);
	}
}

/* At every byte of the head, at strides through the weights. */
Test(gguf, a_cut_model_is_refused_wherever_it_is_cut)
{
	size_t n;
	char *p = read_model(&n), why[512];
	struct gguf_facts f;

	cr_assert_eq(check(p, n, &f, why, sizeof(why)), 0);
	for (size_t at = 0; at < n; at += at < 4096 ? 1 : at < f.data_start ? 61 : 65521) {
		struct gguf_facts none;
		struct buf b = BUF_INIT(500);

		cr_assert_eq(gguf_check(span_mem(p, at), &none, &b), ERR_MALFORMED, "cut at %zu", at);
		buf_fini(&b);
	}
	cr_assert_eq(check(p, n - 1, &f, why, sizeof(why)), ERR_MALFORMED);
	free(p);
}

/* The head in a block of its own with nothing behind it, as if the weights were there. */
Test(gguf, no_altered_byte_makes_it_read_past_the_file)
{
	size_t n, n_head, n_refused = 0;
	char *p = read_model(&n), *small, why[512];
	struct gguf_facts f;
	struct rng rng;

	cr_assert_eq(check(p, n, &f, why, sizeof(why)), 0);
	n_head = (size_t)f.data_start;
	small = malloc(n_head);
	rng_seed(&rng, 1);
	for (int i = 0; i < 3000; i++) {
		size_t at = (size_t)rng_below(&rng, n_head);
		struct buf b = BUF_INIT(500);

		memcpy(small, p, n_head);
		small[at] = (char)rng_next(&rng);
		n_refused += gguf_check(span_mem(small, i % 2 != 0 ? n_head : 1 + at), &f, &b) < 0;
		cr_assert_eq(b.err, 0);
		buf_fini(&b);
	}
	cr_expect_eq(n_refused, 3000, "a head without weights is never a model");
	free(small);
	free(p);
}
