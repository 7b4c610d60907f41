/* bare_loop - the least a program can do with libllama: what the system is measured against.
 *
 * Usage: bare_loop MODEL THREADS CONTEXT [BACKENDS]
 *
 * Each line of stdin, "TOKENS PROMPT", is answered greedily with so many tokens, none of them an
 * end, and by one line of JSON on stdout: prompt_tokens, tokens and, in microseconds of
 * CLOCK_BOOTTIME, start, first and end.  A blank line ends it.  The prompt is raw text; the answer's text goes nowhere,
 * by one write() a token.  BACKENDS: where ggml's lie, if not beside its library. */
#include <dlfcn.h>
#include <fcntl.h>
#include <ggml-backend.h>
#include <libgen.h>
#include <llama.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct llama_context *context;
static const struct llama_vocab *vocab;
static struct llama_sampler *sampler;
static int nowhere;

static void die(const char *what)
{
	fprintf(stderr, "bare_loop: %s\n", what);
	exit(1);
}

static void log_errors(enum ggml_log_level level, const char *text, void *ctx)
{
	(void)ctx;
	if (level == GGML_LOG_LEVEL_ERROR)
		fputs(text, stderr);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void load_backends(const char *dir)
{
	Dl_info lib;
	char path[4096];

	if (dir == NULL && dladdr((void *)(uintptr_t)ggml_backend_load_all, &lib) != 0) {
		(void)snprintf(path, sizeof(path), "%s", lib.dli_fname);
		dir = dirname(path);
	}
	if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == NULL)
		ggml_backend_load_all_from_path(dir);
	if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == NULL)
		ggml_backend_load_all();
}

/* Greedy, and never an end. */
static struct llama_sampler *make_sampler(void)
{
	int32_t n_vocab = llama_vocab_n_tokens(vocab), n = 0;
	struct llama_logit_bias *ends = calloc((size_t)n_vocab, sizeof(*ends));
	struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());

	if (ends == NULL || chain == NULL)
		die("no memory");
	for (llama_token t = 0; t < n_vocab; t++)
		if (llama_vocab_is_eog(vocab, t))
			ends[n++] = (struct llama_logit_bias){ .token = t, .bias = -INFINITY };
	llama_sampler_chain_add(chain, llama_sampler_init_logit_bias(n_vocab, n, ends));
	llama_sampler_chain_add(chain, llama_sampler_init_greedy());
	free(ends);
	return chain;
}

static void open_model(const char *path, int threads, int n_ctx)
{
	struct llama_context_params params = llama_context_default_params();
	struct llama_model *model = llama_model_load_from_file(path, llama_model_default_params());

	if (model == NULL)
		die("the model cannot be loaded");
	params.n_ctx = (uint32_t)n_ctx;
	params.n_seq_max = 1;
	params.n_threads = params.n_threads_batch = threads;
	params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
	params.no_perf = true;
	context = llama_init_from_model(model, params);
	if (context == NULL)
		die("no context");
	vocab = llama_model_get_vocab(model);
	sampler = make_sampler();
}

static void compute(llama_token *tokens, int32_t n)
{
	int32_t most = (int32_t)llama_n_batch(context);

	for (int32_t at = 0; at < n; at += most)
		if (llama_decode(context, llama_batch_get_one(tokens + at, n - at < most ? n - at : most)) != 0)
			die("llama_decode() failed");
}

static llama_token draw(void)
{
	llama_token t = llama_sampler_sample(sampler, context, -1);
	char piece[256];
	int32_t n = llama_token_to_piece(vocab, t, piece, sizeof(piece), 0, false);

	if (n > 0 && write(nowhere, piece, (size_t)n) < 0)
		die("write() failed");
	return t;
}

static void answer(const char *prompt, int n_wanted)
{
	uint64_t start = now_us(), first;
	int32_t size = (int32_t)strlen(prompt), n = -llama_tokenize(vocab, prompt, size, NULL, 0, true, true);
	llama_token *tokens = calloc((size_t)n + 1, sizeof(*tokens)), t;

	if (tokens == NULL || llama_tokenize(vocab, prompt, size, tokens, n, true, true) != n || n == 0)
		die("the prompt cannot be tokenized");
	llama_memory_clear(llama_get_memory(context), false);
	llama_sampler_reset(sampler);
	compute(tokens, n);
	t = draw();
	first = now_us();
	for (int i = 1; i < n_wanted; i++) {
		compute(&t, 1);
		t = draw();
	}
	printf("{\"prompt_tokens\": %d, \"tokens\": %d, \"start\": %llu, \"first\": %llu, \"end\": %llu}\n", n, n_wanted,
		(unsigned long long)start, (unsigned long long)first, (unsigned long long)now_us());
	fflush(stdout);
	free(tokens);
}

int main(int argc, char **argv)
{
	char *line = NULL, *prompt;
	size_t cap = 0;
	long n;

	if (argc != 4 && argc != 5)
		die("usage: bare_loop MODEL THREADS CONTEXT [BACKENDS]");
	nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	llama_log_set(log_errors, NULL);
	load_backends(argc == 5 ? argv[4] : NULL);
	llama_backend_init();
	open_model(argv[1], atoi(argv[2]), atoi(argv[3]));
	printf("{\"ready\": \"%s\"}\n", llama_print_system_info());
	fflush(stdout);
	while (getline(&line, &cap, stdin) > 1) {
		line[strcspn(line, "\n")] = '\0';
		n = strtol(line, &prompt, 10);
		if (n > 0 && *prompt == ' ')
			answer(prompt + 1, (int)n);
	}
	free(line);
	return 0;
}
