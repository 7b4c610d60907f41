#include "vectors.h"

#include "doc.h"
#include "intake.h"

void vectors_base64(struct span bytes, struct buf *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < bytes.n; i += 3) {
		uint32_t v = 0;
		char four[4];

		for (size_t k = 0; k < 3; k++)
			v = v << 8 | (i + k < bytes.n ? (uint8_t)bytes.p[i + k] : 0u);
		for (size_t k = 0; k < 4; k++)
			four[k] = i + k <= bytes.n ? digits[v >> (18 - 6 * k) & 63] : '=';
		buf_add(out, four, sizeof(four));
	}
}

/* All texts in one buffer, which may move while it grows: only then they are lent. */
static void add_base64(struct openai_vector *v, size_t n, struct buf *text)
{
	size_t size;

	for (size_t i = 0; i < n; i++)
		vectors_base64(v[i].embedding, text);
	size = n > 0 ? text->n / n : 0;
	for (size_t i = 0; i < n && text->err == 0; i++)
		v[i].base64 = span_mem(text->p + i * size, size);
}

void vectors_doc(const struct openai_call *c, const struct answer *done, struct buf *out)
{
	struct embedding each[PROTO_MAX_INPUTS];
	struct openai_vector vectors[PROTO_MAX_INPUTS];
	struct buf text = BUF_INIT(2 * LOGPROB_MAX_BYTES);
	size_t n = reply_vectors(done, each);
	struct openai_embeddings doc = { .object = SPAN("list"),
		.model = span_of(c->model),
		.data = vectors,
		.n_data = n,
		.usage = { .prompt_tokens = done->usage.prompt_tokens, .total_tokens = done->usage.prompt_tokens },
		.shoal = done->receipt };

	for (size_t i = 0; i < n; i++)
		vectors[i] = (struct openai_vector){
			.object = SPAN("embedding"), .index = each[i].index, .embedding = each[i].embedding
		};
	if (c->base64)
		add_base64(vectors, n, &text);
	doc_add(c->base64 ? &openai_embeddings_base64_type : &openai_embeddings_type, &doc, out);
	if (text.err != 0 && out->err == 0)
		out->err = text.err;
	buf_fini(&text);
}
