/* What strangers send over HTTP: the bodies of the OpenAI API, and headers for the guard.
 * The first byte chooses. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "http_guard.h"
#include "openai.h"

static void check(bool is_fine)
{
	if (!is_fine)
		abort();
}

/* A request that is taken can be answered in every way. */
static void answer_it(struct openai_call *c)
{
	struct answer tokens = { .type = ANSWER_TOKENS, .n = 1, .text = SPAN("a \"b\"\n") };
	struct answer done = { .type = ANSWER_DONE, .text = SPAN("a \"b\"\n"), .finish_reason = FINISH_LENGTH };
	struct buf out = BUF_INIT(1 << 20);

	openai_call_job(c, SPAN("j"), SPAN("m"));
	check(openai_add(c, &tokens) == 0);
	openai_part(c, &out);
	openai_end(c, &done, &out);
	openai_whole(c, &done, &out);
	check(out.err == 0);
	buf_fini(&out);
}

static void body(enum openai_kind kind, struct span s)
{
	static uint8_t memory[4 << 20];
	struct arena arena = { .p = memory, .cap = sizeof(memory) };
	struct openai_call call;
	struct openai_fault fault;
	struct buf out = BUF_INIT(1 << 20);
	struct submit sub;

	if (openai_decode(kind, s, &arena, 4096, &call, &sub, &fault) == 0) {
		answer_it(&call);
		openai_call_fini(&call);
	} else {
		check(fault.code != CODE_OK && fault.message[0] != '\0');
		openai_fault_doc(&fault, &out);
		check(out.err == 0);
	}
	buf_fini(&out);
}

/* Lines "name:value"; the first is the method. */
static void headers(struct span s)
{
	static const char *const hosts[] = { "hub.test" };
	const struct http_rules rules = { .hosts = hosts, .n_hosts = 1, .max_body = 1000 };
	struct http_header h[32];
	struct span method = SPAN_NONE;
	struct http_verdict v;
	size_t n = 0;

	while (s.n > 0 && n < 32) {
		const char *end = memchr(s.p, '\n', s.n), *colon;
		struct span line = span_mem(s.p, end != NULL ? (size_t)(end - s.p) : s.n);

		s = end != NULL ? span_mem(end + 1, s.n - line.n - 1) : SPAN_NONE;
		if (method.p == NULL) {
			method = line;
			continue;
		}
		colon = line.n > 0 ? memchr(line.p, ':', line.n) : NULL;
		if (colon != NULL)
			h[n++] = (struct http_header){ span_mem(line.p, (size_t)(colon - line.p)),
				span_mem(colon + 1, line.n - (size_t)(colon - line.p) - 1) };
	}
	v = http_guard(&rules, method, SPAN("HTTP/1.1"), h, n);
	check((v.code == CODE_OK) == (v.why == NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_mem(data + 1, size > 0 ? size - 1 : 0);
	char key[OPENAI_KEY_SIZE];

	if (size == 0)
		return 0;
	if (openai_key(s, key) == 0)
		check(span_is_id(span_of(key)));
	switch (data[0] % 4) {
	case 0: body(OPENAI_CHAT, s); break;
	case 1: body(OPENAI_COMPLETION, s); break;
	case 3: body(OPENAI_EMBEDDING, s); break;
	default: headers(s); break;
	}
	return 0;
}
