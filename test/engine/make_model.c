/* make_model - model files for tests and benchmarks, made from the bundled one.
 *
 * Usage: make_model IN OUT KIND [SIZE]
 *
 * KIND f16, q8_0, q4_0, q4_k, iq4_nl: random weights stored so, with the tokenizer of IN.  KIND no-template:
 * IN without its chat template.  SIZE tiny (the default): two layers, just wide enough for blocks of
 * 256.  SIZE wide: 20 million parameters.  SIZE 35m, 90m: so many, 4,096 tokens of context, and
 * 32,000 tokens, as models people use have: those that IN lacks are words that only answers
 * have.  The numbers are the same each time. */
#include <ggml.h>
#include <gguf.h>
#include <llama.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

struct shape {
	const char *name;
	unsigned width, layers, heads, kv_heads, hidden;
	unsigned n_vocab, n_ctx; /* 0: as IN has them */
	bool is_tied;            /* the embedding is the output matrix too */
};

static const struct shape shapes[] = {
	{ "tiny", 256, 2, 4, 2, 512, 0, 0, false },
	{ "wide", 768, 4, 12, 6, 1536, 0, 0, false },
	{ "35m", 512, 6, 8, 4, 1536, 32000, 4096, true },
	{ "90m", 768, 10, 12, 4, 2048, 32000, 4096, true },
};

struct writer {
	const struct shape *shape;
	struct gguf_context *out;
	struct ggml_context *room;
	struct rng rng;
};

static void die(const char *what)
{
	fprintf(stderr, "make_model: %s\n", what);
	exit(1);
}

/* About normal, unit variance: the sum of twelve uniform numbers. */
static float gauss(struct rng *rng)
{
	double sum = -6;

	for (int i = 0; i < 12; i++)
		sum += rng_real(rng);
	return (float)sum;
}

static void add_matrix(struct writer *w, const char *name, int64_t in, int64_t n, float scale)
{
	struct ggml_tensor *t = ggml_new_tensor_2d(w->room, GGML_TYPE_F16, in, n);
	ggml_fp16_t *p = t->data;

	ggml_set_name(t, name);
	for (int64_t i = 0; i < in * n; i++)
		p[i] = ggml_fp32_to_fp16(gauss(&w->rng) * scale);
	gguf_add_tensor(w->out, t);
}

static void add_ones(struct writer *w, const char *name)
{
	struct ggml_tensor *t = ggml_new_tensor_1d(w->room, GGML_TYPE_F32, w->shape->width);
	float *p = t->data;

	ggml_set_name(t, name);
	for (unsigned i = 0; i < w->shape->width; i++)
		p[i] = 1;
	gguf_add_tensor(w->out, t);
}

static void add_layer(struct writer *w, unsigned layer)
{
	const struct shape *s = w->shape;
	const struct {
		const char *name;
		unsigned in, n;
	} parts[] = { { "attn_q", s->width, s->width }, { "attn_k", s->width, s->width / s->heads * s->kv_heads },
		{ "attn_v", s->width, s->width / s->heads * s->kv_heads }, { "attn_output", s->width, s->width },
		{ "ffn_gate", s->width, s->hidden }, { "ffn_up", s->width, s->hidden },
		{ "ffn_down", s->hidden, s->width } };
	char name[64];

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		(void)snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, parts[i].name);
		add_matrix(w, name, parts[i].in, parts[i].n, 1.5f / sqrtf((float)parts[i].in));
	}
	(void)snprintf(name, sizeof(name), "blk.%u.attn_norm.weight", layer);
	add_ones(w, name);
	(void)snprintf(name, sizeof(name), "blk.%u.ffn_norm.weight", layer);
	add_ones(w, name);
}

/* Tokens up to n: those of in, then words " w768", " w769", … ("\u0120" stands for a blank there). */
static void add_words(struct gguf_context *out, const struct gguf_context *in, size_t n)
{
	int64_t key = gguf_find_key(in, "tokenizer.ggml.tokens"), types = gguf_find_key(in, "tokenizer.ggml.token_type");
	size_t had = gguf_get_arr_n(in, key);
	const char **tokens = calloc(n, sizeof(*tokens));
	int32_t *type = calloc(n, sizeof(*type));
	char *words = calloc(n, 16);

	if (tokens == NULL || type == NULL || words == NULL)
		die("no memory");
	memcpy(type, gguf_get_arr_data(in, types), had * sizeof(*type));
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(words + i * 16, 16, "\xc4\xa0w%zu", i);
		tokens[i] = i < had ? gguf_get_arr_str(in, key, i) : words + i * 16;
		type[i] = i < had ? type[i] : LLAMA_TOKEN_TYPE_NORMAL;
	}
	gguf_set_arr_str(out, "tokenizer.ggml.tokens", tokens, n);
	gguf_set_arr_data(out, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, type, n);
	free(tokens);
	free(type);
	free(words);
}

static void add_keys(const struct writer *w, const struct gguf_context *in)
{
	const struct shape *s = w->shape;

	gguf_set_kv(w->out, in);
	gguf_set_val_u32(w->out, "llama.block_count", s->layers);
	gguf_set_val_u32(w->out, "llama.embedding_length", s->width);
	gguf_set_val_u32(w->out, "llama.feed_forward_length", s->hidden);
	gguf_set_val_u32(w->out, "llama.attention.head_count", s->heads);
	gguf_set_val_u32(w->out, "llama.attention.head_count_kv", s->kv_heads);
	gguf_set_val_u32(w->out, "llama.rope.dimension_count", s->width / s->heads);
	if (s->n_ctx != 0)
		gguf_set_val_u32(w->out, "llama.context_length", s->n_ctx);
	if (s->n_vocab != 0) {
		gguf_set_val_u32(w->out, "llama.vocab_size", s->n_vocab);
		add_words(w->out, in, s->n_vocab);
	}
}

static size_t room_for(const struct shape *s, int64_t n_vocab)
{
	size_t layer = (size_t)s->width * (4 * s->width + 3 * s->hidden);

	return 2 * ((size_t)n_vocab * s->width * 2 + s->layers * layer) + ((size_t)1 << 20);
}

/* A tied embedding is small beside what the layers add, or each token would be followed by itself. */
static void write_random(const struct gguf_context *in, int64_t had_vocab, const struct shape *shape, const char *path)
{
	int64_t n_vocab = shape->n_vocab != 0 ? shape->n_vocab : had_vocab;
	struct writer w = { .shape = shape, .out = gguf_init_empty() };

	w.room = ggml_init((struct ggml_init_params){ .mem_size = room_for(shape, n_vocab) });
	if (w.out == NULL || w.room == NULL)
		die("no memory");
	rng_seed(&w.rng, 1);
	add_keys(&w, in);
	add_matrix(&w, "token_embd.weight", shape->width, n_vocab, shape->is_tied ? 0.3f : 1);
	if (!shape->is_tied)
		add_matrix(&w, "output.weight", shape->width, n_vocab, 3 / sqrtf((float)shape->width));
	add_ones(&w, "output_norm.weight");
	for (unsigned i = 0; i < shape->layers; i++)
		add_layer(&w, i);
	if (!gguf_write_to_file(w.out, path, false))
		die("the file cannot be written");
	gguf_free(w.out);
	ggml_free(w.room);
}

static const struct shape *find_shape(const char *name)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (strcmp(name, shapes[i].name) == 0)
			return &shapes[i];
	die("unknown size");
	return NULL;
}

static enum llama_ftype find_type(const char *kind)
{
	static const struct {
		const char *name;
		enum llama_ftype type;
	} types[] = { { "q8_0", LLAMA_FTYPE_MOSTLY_Q8_0 }, { "q4_0", LLAMA_FTYPE_MOSTLY_Q4_0 },
		{ "q4_k", LLAMA_FTYPE_MOSTLY_Q4_K_M }, { "iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL } };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(kind, types[i].name) == 0)
			return types[i].type;
	die("unknown kind");
	return LLAMA_FTYPE_ALL_F32;
}

static void quantize(const char *from, const char *to, const char *kind)
{
	struct llama_model_quantize_params params = llama_model_quantize_default_params();

	params.ftype = find_type(kind);
	params.nthread = 1;
	if (llama_model_quantize(from, to, &params) != 0)
		die("it cannot be quantized");
}

static void write_without_template(struct gguf_context *in, struct ggml_context *tensors, const char *path)
{
	struct gguf_context *out = gguf_init_empty();

	gguf_set_kv(out, in);
	gguf_remove_key(out, "tokenizer.chat_template");
	for (struct ggml_tensor *t = ggml_get_first_tensor(tensors); t != NULL; t = ggml_get_next_tensor(tensors, t))
		if (gguf_find_tensor(in, ggml_get_name(t)) >= 0)
			gguf_add_tensor(out, t);
	if (!gguf_write_to_file(out, path, false))
		die("the file cannot be written");
	gguf_free(out);
}

int main(int argc, char **argv)
{
	struct ggml_context *tensors = NULL;
	struct gguf_context *in;
	char random[4096];
	bool is_f16;

	if (argc != 4 && argc != 5)
		die("usage: make_model IN OUT KIND [SIZE]");
	in = gguf_init_from_file(argv[1], (struct gguf_init_params){ .ctx = &tensors });
	if (in == NULL)
		die("the model cannot be read");
	if (strcmp(argv[3], "no-template") == 0) {
		write_without_template(in, tensors, argv[2]);
	} else {
		is_f16 = strcmp(argv[3], "f16") == 0;
		(void)snprintf(random, sizeof(random), "%s%s", argv[2], is_f16 ? "" : ".f16");
		write_random(in, ggml_get_tensor(tensors, "token_embd.weight")->ne[1],
			find_shape(argc == 5 ? argv[4] : "tiny"), random);
		if (!is_f16) {
			quantize(random, argv[2], argv[3]);
			(void)remove(random);
		}
	}
	gguf_free(in);
	ggml_free(tensors);
	return 0;
}
