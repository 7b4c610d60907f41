#include "gguf.h"

#include <stdlib.h>

#define MAX_KEYS 4096 /* real models have some dozens; more would only cost time */
#define MAX_TENSORS ((uint64_t)1 << 17)
#define MAX_KEY 1024
#define MAX_TENSOR_NAME 63 /* llama.cpp has 64 bytes with the NUL */
#define MAX_DIMS 4
#define MAX_TYPE 255
#define MIN_KEY_SIZE 13    /* no name, a byte: length, type, value */
#define MIN_TENSOR_SIZE 32 /* no name, one dimension: length, count, size, type, offset */
#define MIN_ALIGNMENT 8
#define MAX_ALIGNMENT ((uint64_t)1 << 20)
#define DEFAULT_ALIGNMENT 32
#define SHOWN 64 /* characters of a name in a sentence */

/* What to do, at the end of each sentence. */
#define CUT "The file is cut short: fetch it again."
#define BROKEN "The file is broken or made to do harm: fetch it again, from a source you trust."
#define CONVERT "Convert the model again with a current llama.cpp."

/* Numbers of the format, never renumbered. */
enum type { T_U8, T_I8, T_U16, T_I16, T_U32, T_I32, T_F32, T_BOOL, T_STRING, T_ARRAY, T_U64, T_I64, T_F64, N_TYPES };

/* Bytes of a value; 0: it says its length itself. */
static const uint8_t type_size[N_TYPES] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

/* Kinds of numbers in a tensor, by ggml's enum ggml_type: elements and bytes of a block.
 * Zeros: unknown here, or one that llama.cpp has given up. */
static const struct block {
	uint16_t n, size;
} blocks[] = {
	[0] = { 1, 4 },      /* F32 */
	[1] = { 1, 2 },      /* F16 */
	[2] = { 32, 18 },    /* Q4_0 */
	[3] = { 32, 20 },    /* Q4_1 */
	[6] = { 32, 22 },    /* Q5_0 */
	[7] = { 32, 24 },    /* Q5_1 */
	[8] = { 32, 34 },    /* Q8_0 */
	[9] = { 32, 36 },    /* Q8_1 */
	[10] = { 256, 84 },  /* Q2_K */
	[11] = { 256, 110 }, /* Q3_K */
	[12] = { 256, 144 }, /* Q4_K */
	[13] = { 256, 176 }, /* Q5_K */
	[14] = { 256, 210 }, /* Q6_K */
	[15] = { 256, 292 }, /* Q8_K */
	[16] = { 256, 66 },  /* IQ2_XXS */
	[17] = { 256, 74 },  /* IQ2_XS */
	[18] = { 256, 98 },  /* IQ3_XXS */
	[19] = { 256, 50 },  /* IQ1_S */
	[20] = { 32, 18 },   /* IQ4_NL */
	[21] = { 256, 110 }, /* IQ3_S */
	[22] = { 256, 82 },  /* IQ2_S */
	[23] = { 256, 136 }, /* IQ4_XS */
	[24] = { 1, 1 },     /* I8 */
	[25] = { 1, 2 },     /* I16 */
	[26] = { 1, 4 },     /* I32 */
	[27] = { 1, 8 },     /* I64 */
	[28] = { 1, 8 },     /* F64 */
	[29] = { 256, 56 },  /* IQ1_M */
	[30] = { 1, 2 },     /* BF16 */
	[34] = { 256, 54 },  /* TQ1_0 */
	[35] = { 256, 66 },  /* TQ2_0 */
	[39] = { 32, 17 },   /* MXFP4 */
	[40] = { 64, 36 },   /* NVFP4 */
	[41] = { 128, 18 },  /* Q1_0 */
	[42] = { 64, 18 },   /* Q2_0 */
};

struct pair {
	struct span key;
	uint32_t type, item; /* item: of an array */
	uint64_t n;          /* items of an array, bytes of a string */
	const uint8_t *at;   /* the value, or the first of its items */
};

struct reader {
	const uint8_t *p;
	uint64_t n, at; /* bytes at hand */
	uint64_t size;  /* of the whole file */
	struct buf *why;
	struct pair *pairs;
	struct gguf_facts f;
	uint64_t alignment;
	uint64_t next; /* where the next tensor's data must begin, from data_start on */
};

/* ---- sentences ---- */

struct shown {
	char text[SHOWN + 4];
};

/* A name of the file in what people can read: no control characters, not endless. */
static struct shown show(struct span s)
{
	struct shown r = { "" };
	size_t n = s.n < SHOWN ? s.n : SHOWN;

	for (size_t i = 0; i < n; i++)
		r.text[i] = s.p[i] >= ' ' && s.p[i] < 0x7f ? s.p[i] : '?';
	memcpy(r.text + n, s.n > n ? "..." : "", s.n > n ? 4 : 1);
	return r;
}

#define REFUSE(r, ...) (buf_addf((r)->why, __VA_ARGS__), ERR_MALFORMED)
#define BYTE "%llu"
#define NUM(x) ((unsigned long long)(x))

/* ---- reading: nothing past the end, ever ---- */

static uint64_t left(const struct reader *r)
{
	return r->n - r->at;
}

static uint64_t number(const uint8_t *p, size_t n)
{
	uint64_t x = 0;

	while (n-- > 0)
		x = x << 8 | p[n];
	return x;
}

static int take(struct reader *r, size_t n, const char *what, uint64_t *ret)
{
	if (left(r) < n)
		return REFUSE(r, "The file ends at byte " BYTE ", within %s. " CUT, NUM(r->n), what);
	*ret = number(r->p + r->at, n);
	r->at += n;
	return 0;
}

static int take_string(struct reader *r, const char *what, uint64_t max, struct span *ret)
{
	uint64_t n, from = r->at;
	int rc = take(r, 8, what, &n);

	if (rc < 0)
		return rc;
	if (n > max)
		return REFUSE(r, "At byte " BYTE " %s is said to be " BYTE " bytes long; " BYTE " are allowed. " BROKEN,
			NUM(from), what, NUM(n), NUM(max));
	if (n > left(r))
		return REFUSE(r,
			"At byte " BYTE " %s is said to be " BYTE " bytes long, but the file has only " BYTE
			" more. " BROKEN,
			NUM(from), what, NUM(n), NUM(left(r)));
	*ret = span_mem(r->p + r->at, (size_t)n);
	r->at += n;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	return x->n > 0 ? memcmp(x->p, y->p, x->n) : 0;
}

/* Sorts them. */
static int check_twice(struct reader *r, struct span *names, uint64_t n, const char *what)
{
	qsort(names, (size_t)n, sizeof(*names), by_name);
	for (uint64_t i = 1; i < n; i++)
		if (span_eq(names[i - 1], names[i]))
			return REFUSE(r, "The %s \"%s\" is there twice, the second time at byte " BYTE ". " BROKEN, what,
				show(names[i]).text,
				NUM((const uint8_t *)(names[i].p > names[i - 1].p ? names[i].p : names[i - 1].p) - r->p));
	return 0;
}

/* ---- the first 24 bytes ---- */

static int read_head(struct reader *r)
{
	uint64_t x = 0;

	if (r->n < 4 || memcmp(r->p, "GGUF", 4) != 0)
		return REFUSE(r,
			"The file does not begin with GGUF. It is not a model file for llama.cpp: give one that is, "
			"or convert the model to GGUF.");
	r->at = 4;
	if (take(r, 4, "its head", &x) < 0)
		return ERR_MALFORMED;
	r->f.version = (uint32_t)x;
	if (x != 0 && (x & 0xffff) == 0)
		return REFUSE(r, "The file is written for machines with the other byte order (byte 4). " CONVERT);
	if (x != 2 && x != 3)
		return REFUSE(
			r, "The file is GGUF version " BYTE " (byte 4); versions 2 and 3 are understood. " CONVERT, NUM(x));
	if (take(r, 8, "its head", &r->f.n_tensors) < 0 || take(r, 8, "its head", &r->f.n_keys) < 0)
		return ERR_MALFORMED;
	if (r->f.n_tensors == 0)
		return REFUSE(r,
			"The file holds no tensors (byte 8): there is nothing to compute with. Give a file with weights.");
	if (r->f.n_tensors > MAX_TENSORS || r->f.n_tensors > left(r) / MIN_TENSOR_SIZE)
		return REFUSE(r,
			"At byte 8 the file says that it holds " BYTE " tensors, more than its " BYTE " bytes can. " BROKEN,
			NUM(r->f.n_tensors), NUM(r->n));
	if (r->f.n_keys > MAX_KEYS)
		return REFUSE(r, "At byte 16 the file says that it holds " BYTE " keys; %d are allowed. " BROKEN,
			NUM(r->f.n_keys), MAX_KEYS);
	if (r->f.n_keys > left(r) / MIN_KEY_SIZE)
		return REFUSE(r,
			"At byte 16 the file says that it holds " BYTE " keys, more than its " BYTE " bytes can. " BROKEN,
			NUM(r->f.n_keys), NUM(r->n));
	return 0;
}

/* ---- keys and values ---- */

/* A byte that is neither is undefined behaviour once it is read as a bool. */
static int check_bools(struct reader *r, const struct pair *k, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (k->at[i] > 1)
			return REFUSE(r, "The value of key \"%s\" at byte " BYTE " is neither true nor false. " BROKEN,
				show(k->key).text, NUM(k->at + i - r->p));
	return 0;
}

/* n values of a type that is not an array, from here on. */
static int skip_values(struct reader *r, const struct pair *k, uint32_t type, uint64_t n)
{
	uint64_t size = type == T_STRING ? 8 : type_size[type];
	struct span s;

	if (n > left(r) / size)
		return REFUSE(r, "The value of key \"%s\" at byte " BYTE " takes more bytes than the file has. " BROKEN,
			show(k->key).text, NUM(r->at));
	if (type != T_STRING) {
		r->at += n * size;
		return type == T_BOOL ? check_bools(r, k, n) : 0;
	}
	for (uint64_t i = 0; i < n; i++)
		if (take_string(r, "a text", UINT64_MAX, &s) < 0)
			return ERR_MALFORMED;
	return 0;
}

static int read_array(struct reader *r, struct pair *k)
{
	uint64_t item, from = r->at;

	if (take(r, 4, "the type of a list", &item) < 0 || take(r, 8, "the length of a list", &k->n) < 0)
		return ERR_MALFORMED;
	if (item >= N_TYPES || item == T_ARRAY)
		return REFUSE(r,
			"The list \"%s\" at byte " BYTE " is of type " BYTE "; lists of numbers, truth values and texts "
			"are understood. " BROKEN,
			show(k->key).text, NUM(from), NUM(item));
	k->item = (uint32_t)item;
	k->at = r->p + r->at;
	return skip_values(r, k, k->item, k->n);
}

static int read_pair(struct reader *r, struct pair *k)
{
	uint64_t type, from = r->at;

	if (take_string(r, "the name of a key", MAX_KEY, &k->key) < 0 || take(r, 4, "the type of a value", &type) < 0)
		return ERR_MALFORMED;
	if (k->key.n == 0)
		return REFUSE(r, "The key at byte " BYTE " has no name. " BROKEN, NUM(from));
	if (type >= N_TYPES)
		return REFUSE(r, "The value of key \"%s\" at byte " BYTE " is of type " BYTE ", which there is not. " BROKEN,
			show(k->key).text, NUM(r->at - 4), NUM(type));
	k->type = (uint32_t)type;
	if (type == T_ARRAY)
		return read_array(r, k);
	k->at = r->p + r->at;
	if (skip_values(r, k, k->type, 1) < 0)
		return ERR_MALFORMED;
	if (type == T_STRING) {
		k->n = number(k->at, 8);
		k->at += 8;
	}
	return 0;
}

static int read_pairs(struct reader *r)
{
	uint64_t n = r->f.n_keys;
	struct span *keys;
	int rc = 0;

	r->pairs = calloc((size_t)n + 1, sizeof(*r->pairs));
	keys = calloc((size_t)n + 1, sizeof(*keys));
	if (r->pairs == NULL || keys == NULL)
		rc = ERR_NOMEM;
	for (uint64_t i = 0; rc == 0 && i < n; i++) {
		rc = read_pair(r, &r->pairs[i]);
		keys[i] = r->pairs[i].key;
	}
	if (rc == 0)
		rc = check_twice(r, keys, n, "key");
	free(keys);
	return rc;
}

/* ---- the values that others rely on ---- */

static const struct pair *find(const struct reader *r, struct span prefix, const char *name)
{
	size_t n = strlen(name);

	for (uint64_t i = 0; i < r->f.n_keys; i++) {
		const struct span *k = &r->pairs[i].key;

		if (k->n == prefix.n + n && memcmp(k->p, prefix.p, prefix.n) == 0 && memcmp(k->p + prefix.n, name, n) == 0)
			return &r->pairs[i];
	}
	return NULL;
}

static int refuse_value(struct reader *r, const struct pair *k, const char *must)
{
	return REFUSE(r, "The value of key \"%s\" at byte " BYTE " must be %s. " BROKEN, show(k->key).text,
		NUM(k->at - r->p), must);
}

static int check_arch(struct reader *r)
{
	const struct pair *k = find(r, SPAN(""), "general.architecture");

	if (k == NULL)
		return REFUSE(
			r, "The file does not say what kind of model it is (no key \"general.architecture\"). " CONVERT);
	if (k->type != T_STRING || !span_is_id(span_mem(k->at, (size_t)k->n)))
		return refuse_value(r, k, "a short name");
	return span_copy(span_mem(k->at, (size_t)k->n), r->f.arch, sizeof(r->f.arch));
}

static int check_alignment(struct reader *r)
{
	const struct pair *k = find(r, SPAN(""), "general.alignment");

	r->alignment = DEFAULT_ALIGNMENT;
	if (k == NULL)
		return 0;
	if (k->type == T_U32)
		r->alignment = number(k->at, 4);
	if (k->type != T_U32 || r->alignment < MIN_ALIGNMENT || r->alignment > MAX_ALIGNMENT ||
		(r->alignment & (r->alignment - 1)) != 0)
		return refuse_value(r, k, "a power of two from 8 to 1048576, as a 32-bit number");
	return 0;
}

/* llama.cpp opens the other parts by their names, unseen and outside of any digest. */
static int check_split(struct reader *r)
{
	const struct pair *k = find(r, SPAN(""), "split.count");

	if (k == NULL)
		return 0;
	if (type_size[k->type] == 0 || k->type == T_BOOL)
		return refuse_value(r, k, "a number");
	if (number(k->at, type_size[k->type]) <= 1)
		return 0;
	return REFUSE(r,
		"The file is one part of several (key \"split.count\" at byte " BYTE "). Join them with "
		"llama-gguf-split --merge and give the whole.",
		NUM(k->at - r->p));
}

static bool is_number(uint32_t type)
{
	return type == T_U32 || type == T_I32 || type == T_U64 || type == T_I64;
}

/* Sizes a loader makes tables with. */
static int check_sizes(struct reader *r)
{
	const struct {
		const char *name;
		uint64_t max;
		uint64_t *ret;
		const char *must;
	} sizes[] = {
		{ ".block_count", GGUF_MAX_LAYERS, &r->f.n_layers, "a number of layers, 1 to 512" },
		{ ".context_length", (uint64_t)1 << 30, &r->f.n_ctx, "a number of tokens, 1 to 1073741824" },
		{ ".embedding_length", (uint64_t)1 << 20, &r->f.n_embd, "a size, 1 to 1048576" },
		{ ".vocab_size", (uint64_t)1 << 24, &r->f.n_vocab, "a number of tokens, 1 to 16777216" },
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const struct pair *k = find(r, span_of(r->f.arch), sizes[i].name);
		uint64_t x;

		if (k == NULL)
			continue;
		if (!is_number(k->type))
			return refuse_value(r, k, sizes[i].must);
		x = number(k->at, type_size[k->type]);
		if (x == 0 || x > sizes[i].max)
			return refuse_value(r, k, sizes[i].must);
		*sizes[i].ret = x;
	}
	return 0;
}

/* ---- what attention keeps: facts only, nothing is refused for them ---- */

#define MAX_HEADS ((uint64_t)1 << 16) /* also of numbers in a head: so no product wraps */

/* A number that is one for all layers or a list with one for each; def when the file does not
 * say or what it says makes no sense. */
static uint64_t of_layer(const struct reader *r, const char *name, uint64_t layer, uint64_t def)
{
	const struct pair *k = find(r, span_of(r->f.arch), name);
	bool is_array = k != NULL && k->type == T_ARRAY;
	uint32_t type = k == NULL ? T_STRING : is_array ? k->item : k->type;
	uint64_t x;

	if (!is_number(type) || (is_array && layer >= k->n))
		return def;
	x = number(k->at + (is_array ? layer * type_size[type] : 0), type_size[type]);
	return x <= MAX_HEADS ? x : def;
}

/* Of the heads' width where the file does not give it: the embedding in equal parts. */
static void read_attention(struct reader *r)
{
	for (uint64_t i = 0; i < r->f.n_layers; i++) {
		uint64_t heads = of_layer(r, ".attention.head_count", i, 0);
		uint64_t kv_heads = of_layer(r, ".attention.head_count_kv", i, heads);
		uint64_t width = heads > 0 ? r->f.n_embd / heads : 0;
		uint64_t n_ff = of_layer(r, ".feed_forward_length", i, 0);

		r->f.n_kv_values += kv_heads * (of_layer(r, ".attention.key_length", i, width) +
						       of_layer(r, ".attention.value_length", i, width));
		r->f.n_heads = heads > r->f.n_heads ? heads : r->f.n_heads;
		r->f.n_ff = n_ff > r->f.n_ff ? n_ff : r->f.n_ff;
	}
}

static bool is_list(const struct pair *k, uint8_t item_size)
{
	return k->type == T_ARRAY && type_size[k->item] == item_size;
}

/* Lists that loaders read through a pointer of the type they expect, as long as the list of
 * tokens is. */
static int check_tokens(struct reader *r)
{
	const struct pair *tokens = find(r, SPAN(""), "tokenizer.ggml.tokens");
	const struct pair *scores = find(r, SPAN(""), "tokenizer.ggml.scores");
	const struct pair *kinds = find(r, SPAN(""), "tokenizer.ggml.token_type");
	const struct pair *merges = find(r, SPAN(""), "tokenizer.ggml.merges");
	const struct pair *hidden = find(r, SPAN(""), "tokenizer.ggml.suppress_tokens");
	const struct pair *map = find(r, SPAN(""), "tokenizer.ggml.precompiled_charsmap");
	uint64_t n = tokens != NULL ? tokens->n : 0;

	if (tokens != NULL && (tokens->type != T_ARRAY || tokens->item != T_STRING || n == 0 || n > (uint64_t)1 << 24))
		return refuse_value(r, tokens, "a list of 1 to 16777216 texts");
	if (scores != NULL && (!is_list(scores, 4) || scores->n < n))
		return refuse_value(r, scores, "a list of 32-bit numbers, one for each token");
	if (kinds != NULL && (!is_list(kinds, 4) || kinds->n < n))
		return refuse_value(r, kinds, "a list of 32-bit numbers, one for each token");
	if (merges != NULL && (merges->type != T_ARRAY || merges->item != T_STRING))
		return refuse_value(r, merges, "a list of texts");
	if (hidden != NULL && !is_list(hidden, 4))
		return refuse_value(r, hidden, "a list of 32-bit numbers");
	if (map != NULL && (!is_list(map, 1) || (map->n > 0 && map->n < 4)))
		return refuse_value(r, map, "a list of bytes, four at least");
	if (n > 0)
		r->f.n_vocab = n;
	return 0;
}

static int check_values(struct reader *r)
{
	int rc = check_arch(r);

	if (rc == 0)
		rc = check_alignment(r);
	if (rc == 0)
		rc = check_split(r);
	if (rc == 0)
		rc = check_sizes(r);
	if (rc == 0)
		rc = check_tokens(r);
	if (rc == 0)
		read_attention(r);
	return rc;
}

/* ---- tensors ---- */

struct tensor {
	struct span name;
	uint64_t from, row, n, type, offset; /* from: of its entry; row, n: elements of a row, of all */
};

static int read_dims(struct reader *r, struct tensor *t)
{
	uint64_t n_dims, x;

	if (take(r, 4, "the shape of a tensor", &n_dims) < 0)
		return ERR_MALFORMED;
	if (n_dims < 1 || n_dims > MAX_DIMS)
		return REFUSE(r, "Tensor \"%s\" at byte " BYTE " has " BYTE " dimensions; 1 to 4 are understood. " BROKEN,
			show(t->name).text, NUM(t->from), NUM(n_dims));
	t->n = 1;
	for (uint64_t i = 0; i < n_dims; i++) {
		if (take(r, 8, "the shape of a tensor", &x) < 0)
			return ERR_MALFORMED;
		if (x == 0 || x > INT64_MAX / t->n)
			return REFUSE(r,
				"Tensor \"%s\" at byte " BYTE " has a dimension of " BYTE
				" elements, which cannot be. " BROKEN,
				show(t->name).text, NUM(t->from), NUM(x));
		if (i == 0)
			t->row = x;
		t->n *= x;
	}
	return 0;
}

static int read_tensor(struct reader *r, struct tensor *t)
{
	t->from = r->at;
	if (take_string(r, "the name of a tensor", MAX_TENSOR_NAME, &t->name) < 0 || read_dims(r, t) < 0 ||
		take(r, 4, "the type of a tensor", &t->type) < 0 || take(r, 8, "the place of a tensor", &t->offset) < 0)
		return ERR_MALFORMED;
	if (t->name.n == 0)
		return REFUSE(r, "The tensor at byte " BYTE " has no name. " BROKEN, NUM(t->from));
	if (t->type > MAX_TYPE)
		return REFUSE(r, "Tensor \"%s\" at byte " BYTE " is of type " BYTE ", which there is not. " BROKEN,
			show(t->name).text, NUM(t->from), NUM(t->type));
	if (t->offset % r->alignment != 0)
		return REFUSE(r, "Tensor \"%s\" at byte " BYTE " begins at a place that is no multiple of " BYTE ". " BROKEN,
			show(t->name).text, NUM(t->from), NUM(r->alignment));
	r->f.n_params = t->n > UINT64_MAX - r->f.n_params ? UINT64_MAX : r->f.n_params + t->n;
	return 0;
}

static uint64_t align_up(uint64_t x, uint64_t alignment)
{
	return (x + alignment - 1) & ~(alignment - 1);
}

static struct block block_of(uint64_t type)
{
	return type < sizeof(blocks) / sizeof(blocks[0]) ? blocks[type] : (struct block){ 0, 0 };
}

/* Tensors lie one after the other, in the order they are listed: so none lies on another.
 * room: bytes of the file from data_start on. */
static int place_tensor(struct reader *r, const struct tensor *t, bool is_after_unknown, uint64_t room)
{
	struct block b = block_of(t->type);

	if (is_after_unknown ? t->offset <= r->next : t->offset != r->next)
		return REFUSE(r,
			"Tensor \"%s\" (entry at byte " BYTE ") lies at " BYTE " of the data and not behind the one before "
			"it, at " BYTE ". " BROKEN,
			show(t->name).text, NUM(t->from), NUM(t->offset), NUM(r->next));
	if (b.n != 0 && t->row % b.n != 0)
		return REFUSE(r,
			"Tensor \"%s\" (entry at byte " BYTE ") has rows of " BYTE " elements, but they come in blocks "
			"of %u. " BROKEN,
			show(t->name).text, NUM(t->from), NUM(t->row), b.n);
	if (t->offset >= room || (b.n != 0 && t->n / b.n > (room - t->offset) / b.size))
		return REFUSE(r,
			"Tensor \"%s\" (entry at byte " BYTE ") begins at byte " BYTE " and ends past the end of the file, "
			"which has " BYTE " bytes. " CUT,
			show(t->name).text, NUM(t->from), NUM(r->f.data_start + t->offset), NUM(r->size));
	r->next = b.n != 0 ? align_up(t->offset + t->n / b.n * b.size, r->alignment) : t->offset;
	return 0;
}

static int place_tensors(struct reader *r, const struct tensor *tensors)
{
	bool is_after_unknown = false;

	r->f.data_start = align_up(r->at, r->alignment);
	if (r->f.data_start > r->size)
		return REFUSE(r, "The file ends at byte " BYTE ", before the weights. " CUT, NUM(r->size));
	for (uint64_t i = 0; i < r->f.n_tensors; i++) {
		if (place_tensor(r, &tensors[i], is_after_unknown, r->size - r->f.data_start) < 0)
			return ERR_MALFORMED;
		is_after_unknown = block_of(tensors[i].type).n == 0;
	}
	return 0;
}

static int read_tensors(struct reader *r)
{
	uint64_t n = r->f.n_tensors;
	struct tensor *tensors = calloc((size_t)n, sizeof(*tensors));
	struct span *names = calloc((size_t)n, sizeof(*names));
	int rc = tensors == NULL || names == NULL ? ERR_NOMEM : 0;

	for (uint64_t i = 0; rc == 0 && i < n; i++) {
		rc = read_tensor(r, &tensors[i]);
		names[i] = tensors[i].name;
	}
	if (rc == 0)
		rc = check_twice(r, names, n, "tensor");
	if (rc == 0)
		rc = place_tensors(r, tensors);
	free(tensors);
	free(names);
	return rc;
}

int gguf_check(struct span file, struct gguf_facts *ret, struct buf *why)
{
	return gguf_check_head(file, file.n, ret, why);
}

int gguf_check_head(struct span head, uint64_t file_size, struct gguf_facts *ret, struct buf *why)
{
	struct reader r = { .p = (const uint8_t *)head.p, .n = head.n, .size = file_size, .why = why };
	int rc = read_head(&r);

	if (rc == 0)
		rc = read_pairs(&r);
	if (rc == 0)
		rc = check_values(&r);
	if (rc == 0)
		rc = read_tensors(&r);
	free(r.pairs);
	if (rc == ERR_NOMEM)
		buf_addf(why, "There is not enough memory to look at the model file.");
	if (rc == 0)
		*ret = r.f;
	return rc;
}
