#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "adapter.h"

/* Weights may be loaded up to three times, and probed: each takes a part of what is left of the bar,
 * so that it always grows.  The agent takes a bar that stands for a dead engine. */
struct progress {
	const struct model_config *config;
	double from, to; /* of the bar: what is being done */
	bool is_over;    /* given up */
};

static void begin(struct progress *p, double part)
{
	p->from = p->to;
	p->to += part * (1 - p->to);
}

static bool on_progress(float share, void *ctx)
{
	struct progress *p = ctx;

	p->is_over = !p->config->on_progress(p->config->ctx, p->from + (double)share * (p->to - p->from));
	return !p->is_over;
}

static bool on_probe(void *ctx, double share)
{
	return on_progress((float)share, ctx);
}

__attribute__((format(printf, 2, 3))) static int refuse(char *reason, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(reason, MODEL_REASON_MAX, fmt, ap);
	va_end(ap);
	if (n > 0 && n < MODEL_REASON_MAX && backend_first_error()[0] != '\0')
		(void)snprintf(reason + n, (size_t)(MODEL_REASON_MAX - n), " llama.cpp says: %s", backend_first_error());
	return ERR_RANGE;
}

/* ---- weights ---- */

static int check_kind(const struct model *m, char *reason)
{
	if (llama_model_has_encoder(m->llama) || !llama_model_has_decoder(m->llama))
		return refuse(reason, "The model does not go on with a text token by token (no pure decoder).");
	if (llama_vocab_type(m->vocab) == LLAMA_VOCAB_TYPE_NONE || m->n_vocab == 0)
		return refuse(reason, "The model has no vocabulary.");
	return 0;
}

/* At its beginning, for llama.cpp to read: it opens no file by name. */
static FILE *open_again(int file)
{
	int fd = fcntl(file, F_DUPFD_CLOEXEC, 0);
	FILE *f = fd >= 0 && lseek(fd, 0, SEEK_SET) == 0 ? fdopen(fd, "rb") : NULL;

	if (f == NULL && fd >= 0)
		close(fd);
	return f;
}

static int load_weights(struct model *m, bool may_repack, struct progress *progress, char *reason)
{
	struct llama_model_params params = llama_model_default_params();
	FILE *f = open_again(progress->config->file);

	if (f == NULL)
		return ERR_NOMEM;
	params.progress_callback = on_progress;
	params.progress_callback_user_data = progress;
	params.use_extra_bufts = may_repack;
	backend_forget_error();
	m->llama = llama_model_load_from_file_ptr(f, params);
	fclose(f);
	if (progress->is_over)
		return ERR_CLOSED;
	if (m->llama == NULL)
		return refuse(reason, "%.200s is not a model that can be loaded.", progress->config->path);
	m->vocab = llama_model_get_vocab(m->llama);
	m->n_vocab = (size_t)llama_vocab_n_tokens(m->vocab);
	return check_kind(m, reason);
}

static void drop_weights(struct model *m)
{
	rows_fini(m);
	embed_fini(m);
	llama_free(m->ctx);
	llama_model_free(m->llama);
	m->ctx = NULL;
	m->llama = NULL;
}

/* ---- context ---- */

static size_t context_size(const struct model *m, size_t asked)
{
	int trained = llama_model_n_ctx_train(m->llama);

	if (trained <= 0)
		return asked != 0 ? asked : 4096;
	return asked == 0 || asked > (size_t)trained ? (size_t)trained : asked;
}

static size_t max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* Every sequence has its own part of the cache: what one computes does not depend on where
 * others' cells lie. */
static int make_context(struct model *m, const struct model_config *config, char *reason)
{
	struct llama_context_params params = llama_context_default_params();
	size_t rows = max_size(max_size(config->chunk, MODEL_EXACT_ROWS), config->n_sequences + ROWS_PAD);

	m->facts.n_ctx = context_size(m, config->n_ctx);
	params.n_seq_max = (uint32_t)config->n_sequences;
	params.n_ctx = (uint32_t)((m->facts.n_ctx + ROWS_PAD) * config->n_sequences);
	params.n_batch = params.n_ubatch = (uint32_t)rows;
	params.n_outputs_max = (uint32_t)max_size(config->n_sequences + ROWS_PAD, ROWS_PROBE);
	params.n_threads = params.n_threads_batch = (int32_t)config->n_threads;
	params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
	params.kv_unified = false;
	params.swa_full = true;
	params.no_perf = true;
	m->ctx = llama_init_from_model(m->llama, params);
	m->has_flash = m->ctx != NULL;
	if (m->ctx == NULL) {
		params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
		m->ctx = llama_init_from_model(m->llama, params);
	}
	if (m->ctx != NULL && rows_init(m, rows) == 0)
		return 0;
	return refuse(
		reason, "There is not enough memory for %zu sequences of %zu tokens.", config->n_sequences, m->facts.n_ctx);
}

/* Weights that are laid out anew for wide passes are faster there, but some kinds then give
 * other bits in narrow ones.  Where that is so they stay as they are in the file, if that helps. */
static int load(struct model *m, const struct model_config *config, char *reason)
{
	static const struct {
		bool may_repack, must_be_exact;
	} ways[] = { { true, true }, { false, true }, { true, false } };
	struct progress progress = { .config = config };
	int rc = ERR_RANGE;

	for (size_t i = config->is_fast ? 2 : 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		begin(&progress, ways[i].must_be_exact ? 0.6 : 0.9);
		rc = load_weights(m, ways[i].may_repack, &progress, reason);
		if (rc == 0)
			rc = make_context(m, config, reason);
		if (rc < 0 || !ways[i].must_be_exact)
			break;
		begin(&progress, 0.5);
		rc = rows_probe(m, on_probe, &progress);
		if (rc == 0 || rc == ERR_CLOSED)
			break;
		drop_weights(m);
	}
	if (rc < 0)
		return rc;
	begin(&progress, 1);
	rc = rows_measure(m, on_probe, &progress);
	if (rc < 0)
		return rc;
	return on_progress(1, &progress) ? 0 : ERR_CLOSED;
}

static int list_ends(struct model *m)
{
	m->no_end = calloc(m->n_vocab, sizeof(*m->no_end));
	if (m->no_end == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < m->n_vocab; i++)
		if (llama_vocab_is_eog(m->vocab, (llama_token)i))
			m->no_end[m->n_end++] = (struct llama_logit_bias){ .token = (llama_token)i, .bias = -INFINITY };
	return 0;
}

static void read_facts(struct model *m)
{
	m->facts.n_params = llama_model_n_params(m->llama);
	m->facts.size = llama_model_size(m->llama);
	m->facts.is_exact = m->exact.is_exact;
	m->facts.can_cut = rows_can_cut(m);
	if (llama_model_meta_val_str(m->llama, "general.architecture", m->facts.arch, sizeof(m->facts.arch)) < 0)
		m->facts.arch[0] = '\0';
}

int model_open(const struct model_config *config, struct model **ret, char reason[MODEL_REASON_MAX])
{
	struct model *m = calloc(1, sizeof(*m));
	int rc;

	if (m == NULL)
		return ERR_NOMEM;
	m->n_sequences = config->n_sequences;
	m->max_threads = config->max_threads;
	m->exact.pad_from = SIZE_MAX;
	rc = precheck(config->file, config->path, reason);
	if (rc == 0)
		rc = load(m, config, reason);
	if (rc == 0 && config->embeds)
		rc = embed_init(m, config->n_threads, reason);
	if (rc == 0)
		rc = list_ends(m);
	if (rc == 0 && ((m->data = calloc(m->n_vocab, sizeof(*m->data))) == NULL ||
			       (m->candidates = calloc(m->n_vocab, sizeof(*m->candidates))) == NULL))
		rc = ERR_NOMEM;
	if (rc < 0) {
		model_close(m);
		return rc;
	}
	read_facts(m);
	*ret = m;
	return 0;
}

struct model *model_close(struct model *m)
{
	if (m == NULL)
		return NULL;
	drop_weights(m);
	free(m->no_end);
	free(m->data);
	free(m->candidates);
	free(m);
	return NULL;
}

const struct model_facts *model_facts(const struct model *m)
{
	return &m->facts;
}
