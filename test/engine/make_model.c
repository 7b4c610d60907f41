/* make_model - small model files for tests, made from the bundled one.
 *
 * Usage: make_model IN OUT KIND [WIDTH LAYERS]
 *
 * KIND f16, q8_0, q4_0, q4_k, iq4_nl: two layers of random weights, wide enough for blocks of 256, stored
 * so, with the tokenizer of IN; other sizes when they are given.  KIND no-template: IN without its chat template.  The
 * numbers are the same each time. */
#include <ggml.h>
#include <gguf.h>
#include <llama.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

enum { HEAD = 64 };
static int width = 256, layers = 2;
#define HEADS (width / HEAD)
#define KV_HEADS (HEADS / 2)
#define HIDDEN (2 * width)

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

static void add_matrix(struct gguf_context *out, struct ggml_context *room, struct rng *rng, const char *name, int64_t in,
	int64_t n, float scale)
{
	struct ggml_tensor *t = ggml_new_tensor_2d(room, GGML_TYPE_F16, in, n);
	ggml_fp16_t *p = t->data;

	ggml_set_name(t, name);
	for (int64_t i = 0; i < in * n; i++)
		p[i] = ggml_fp32_to_fp16(gauss(rng) * scale);
	gguf_add_tensor(out, t);
}

static void add_ones(struct gguf_context *out, struct ggml_context *room, const char *name)
{
	struct ggml_tensor *t = ggml_new_tensor_1d(room, GGML_TYPE_F32, width);
	float *p = t->data;

	ggml_set_name(t, name);
	for (int i = 0; i < width; i++)
		p[i] = 1;
	gguf_add_tensor(out, t);
}

static void add_layer(struct gguf_context *out, struct ggml_context *room, struct rng *rng, int layer)
{
	const struct {
		const char *name;
		int in, n;
	} parts[] = { { "attn_q", width, width }, { "attn_k", width, HEAD * KV_HEADS }, { "attn_v", width, HEAD * KV_HEADS },
		{ "attn_output", width, width }, { "ffn_gate", width, HIDDEN }, { "ffn_up", width, HIDDEN },
		{ "ffn_down", HIDDEN, width } };
	char name[64];

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		(void)snprintf(name, sizeof(name), "blk.%d.%s.weight", layer, parts[i].name);
		add_matrix(out, room, rng, name, parts[i].in, parts[i].n, 1.5f / sqrtf((float)parts[i].in));
	}
	(void)snprintf(name, sizeof(name), "blk.%d.attn_norm.weight", layer);
	add_ones(out, room, name);
	(void)snprintf(name, sizeof(name), "blk.%d.ffn_norm.weight", layer);
	add_ones(out, room, name);
}

/* Of all tensors, as ggml has them in memory; and to spare. */
static size_t room_size(int64_t n_vocab)
{
	size_t w = (size_t)width, layer = w * w * 3 + 3 * w * (size_t)HIDDEN;

	return 2 * (2 * (size_t)n_vocab * w + (size_t)layers * layer) + ((size_t)layers + 1) * ((size_t)64 << 10);
}

static void write_random(const struct gguf_context *in, int64_t n_vocab, const char *path)
{
	struct gguf_context *out = gguf_init_empty();
	struct ggml_context *room = ggml_init((struct ggml_init_params){ .mem_size = room_size(n_vocab) });
	struct rng rng;

	if (out == NULL || room == NULL)
		die("no memory");
	rng_seed(&rng, 1);
	gguf_set_kv(out, in);
	gguf_set_val_u32(out, "llama.block_count", (uint32_t)layers);
	gguf_set_val_u32(out, "llama.embedding_length", (uint32_t)width);
	gguf_set_val_u32(out, "llama.feed_forward_length", (uint32_t)HIDDEN);
	gguf_set_val_u32(out, "llama.attention.head_count", (uint32_t)HEADS);
	gguf_set_val_u32(out, "llama.attention.head_count_kv", (uint32_t)KV_HEADS);
	gguf_set_val_u32(out, "llama.rope.dimension_count", HEAD);
	add_matrix(out, room, &rng, "token_embd.weight", width, n_vocab, 1);
	add_matrix(out, room, &rng, "output.weight", width, n_vocab, 3 / sqrtf((float)width));
	add_ones(out, room, "output_norm.weight");
	for (int i = 0; i < layers; i++)
		add_layer(out, room, &rng, i);
	if (!gguf_write_to_file(out, path, false))
		die("the file cannot be written");
	gguf_free(out);
	ggml_free(room);
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

	if (argc != 4 && argc != 6)
		die("usage: make_model IN OUT KIND [WIDTH LAYERS]");
	if (argc == 6) {
		width = atoi(argv[4]);
		layers = atoi(argv[5]);
	}
	if (width < 2 * HEAD || width % 256 != 0 || width > 8192 || layers < 1 || layers > 128)
		die("WIDTH is a multiple of 256, LAYERS 1 to 128");
	in = gguf_init_from_file(argv[1], (struct gguf_init_params){ .ctx = &tensors });
	if (in == NULL)
		die("the model cannot be read");
	if (strcmp(argv[3], "no-template") == 0) {
		write_without_template(in, tensors, argv[2]);
	} else {
		is_f16 = strcmp(argv[3], "f16") == 0;
		(void)snprintf(random, sizeof(random), "%s%s", argv[2], is_f16 ? "" : ".f16");
		write_random(in, ggml_get_tensor(tensors, "token_embd.weight")->ne[1], random);
		if (!is_f16) {
			quantize(random, argv[2], argv[3]);
			(void)remove(random);
		}
	}
	gguf_free(in);
	ggml_free(tensors);
	return 0;
}
