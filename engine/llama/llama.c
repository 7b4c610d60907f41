/* llama.c - model.h on llama.cpp; the only file that includes llama.h.
 *
 * Equal tokens from equal input, whatever else is in the batch: llama.cpp's kernels give
 * the same bits for a row however many others are computed with it, with two exceptions
 * that were measured (docs/ENGINE.md): a batch of a single row takes another path, and so
 * does flash attention from 64 rows of one sequence on.  So a single row never goes alone
 * (a second one is computed after it and forgotten), and chunks stay below 64 (MODEL_CHUNK_MAX). */
#include <assert.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <ggml-backend.h>
#include <llama.h>

#include "model.h"

#define PENALTY_WINDOW 64 /* tokens the penalties look back on: llama.cpp's default */
#define PIECE_MAX 256

struct model {
	struct llama_model *llama;
	struct llama_context *ctx;
	const struct llama_vocab *vocab;
	struct model_facts facts;
	struct llama_batch batch;
	size_t n_vocab;
	int32_t *logits_row; /* of rows[i] of the last step: its place in the batch, -1: none */
	size_t n_rows_max;
	bool can_pad; /* rows can be forgotten again: not in recurrent models */
	llama_token_data *scratch;
	struct candidate *candidates;
};

struct picker {
	struct model *model;
	struct llama_sampler *penalties, *chain; /* NULL: none */
	bool ignore_eos;
};

static char build[128];

/* ---- the library ---- */

static void on_log(enum ggml_log_level level, const char *text, void *ctx)
{
	(void)ctx;
	if (level == GGML_LOG_LEVEL_ERROR)
		fprintf(stderr, "<3>llama: %s", text);
}

/* The folder of the file an address belongs to. */
static bool folder_of(void *address, char *ret, size_t size)
{
	Dl_info info;
	const char *slash;

	if (dladdr(address, &info) == 0 || info.dli_fname == NULL)
		return false;
	slash = strrchr(info.dli_fname, '/');
	return slash != NULL && span_copy(span_mem(info.dli_fname, (size_t)(slash - info.dli_fname)), ret, size) == 0;
}

/* "libggml-cpu-zen4.so" is variant "cpu-zen4": another one may round in another way. */
static void name_build(void)
{
	ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
	void *inside = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu), "ggml_backend_set_n_threads");
	const char *file = "", *name;
	Dl_info info;
	int n;

	if (inside != NULL && dladdr(inside, &info) != 0 && info.dli_fname != NULL)
		file = info.dli_fname;
	name = strstr(file, "libggml-");
	name = name != NULL ? name + strlen("libggml-") : "cpu";
	n = (int)strcspn(name, ".");
	(void)snprintf(build, sizeof(build), "llama.cpp %s %.*s", ggml_version(), n, name);
}

int model_init(const char *backends, char reason[MODEL_REASON_MAX])
{
	char beside[4096];

	llama_log_set(on_log, NULL);
	if (backends == NULL && folder_of((void *)(uintptr_t)&ggml_backend_load_all_from_path, beside, sizeof(beside)))
		backends = beside;
	ggml_backend_load_all_from_path(backends);
	if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == NULL) {
		(void)snprintf(reason, MODEL_REASON_MAX, "llama.cpp has no compute backend for this CPU in %.300s.",
			backends != NULL ? backends : "its folder");
		return ERR_STATE;
	}
	llama_backend_init();
	name_build();
	return 0;
}

const char *model_build(void)
{
	return build;
}

size_t model_max_sequences(void)
{
	return llama_max_parallel_sequences();
}

/* ---- a model ---- */

static bool on_progress(float share, void *ctx)
{
	const struct model_config *c = ctx;

	return c->on_progress == NULL || c->on_progress(c->ctx, (double)share);
}

static int open_weights(struct model *m, const struct model_config *c, char *reason)
{
	struct llama_model_params p = llama_model_default_params();

	p.progress_callback = on_progress;
	p.progress_callback_user_data = (void *)(uintptr_t)c;
	m->llama = llama_model_load_from_file(c->path, p);
	if (m->llama == NULL) {
		(void)snprintf(reason, MODEL_REASON_MAX,
			"%.300s is not a model that llama.cpp can load: it is broken, cut short or of an unknown kind.",
			c->path);
		return ERR_MALFORMED;
	}
	m->vocab = llama_model_get_vocab(m->llama);
	m->n_vocab = (size_t)llama_vocab_n_tokens(m->vocab);
	m->can_pad = !llama_model_is_recurrent(m->llama) && !llama_model_is_hybrid(m->llama);
	return 0;
}

static void read_facts(struct model *m, const struct model_config *c)
{
	size_t trained = (size_t)llama_model_n_ctx_train(m->llama);

	m->facts.n_ctx = c->n_ctx != 0 && c->n_ctx < trained ? c->n_ctx : trained;
	m->facts.n_params = llama_model_n_params(m->llama);
	m->facts.size = llama_model_size(m->llama);
	if (llama_model_meta_val_str(m->llama, "general.architecture", m->facts.arch, sizeof(m->facts.arch)) < 0)
		m->facts.arch[0] = '\0';
}

static int open_context(struct model *m, const struct model_config *c, char *reason)
{
	struct llama_context_params p = llama_context_default_params();

	p.n_seq_max = (uint32_t)c->n_sequences;
	p.n_ctx = (uint32_t)(m->facts.n_ctx * c->n_sequences);
	p.n_batch = p.n_ubatch = (uint32_t)m->n_rows_max;
	p.n_threads = p.n_threads_batch = (int32_t)c->n_threads;
	p.kv_unified = false; /* a sequence's attention is its own: nothing of others shows in its sums */
	p.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
	m->ctx = llama_init_from_model(m->llama, p);
	if (m->ctx == NULL) {
		(void)snprintf(reason, MODEL_REASON_MAX,
			"There is not enough memory for %zu sequences of %zu tokens. Configure a smaller context or fewer "
			"in parallel.",
			c->n_sequences, m->facts.n_ctx);
		return ERR_NOMEM;
	}
	return 0;
}

static int make_room(struct model *m, size_t n_sequences, char *reason)
{
	m->batch = llama_batch_init((int32_t)m->n_rows_max, 0, 1);
	m->logits_row = calloc(n_sequences, sizeof(*m->logits_row));
	m->scratch = calloc(m->n_vocab, sizeof(*m->scratch));
	m->candidates = calloc(m->n_vocab, sizeof(*m->candidates));
	if (m->batch.token != NULL && m->logits_row != NULL && m->scratch != NULL && m->candidates != NULL)
		return 0;
	(void)snprintf(reason, MODEL_REASON_MAX, "There is not enough memory.");
	return ERR_NOMEM;
}

int model_open(const struct model_config *config, struct model **ret, char reason[MODEL_REASON_MAX])
{
	struct model *m = calloc(1, sizeof(*m));
	int rc = ERR_NOMEM;

	if (m == NULL)
		return rc;
	m->n_rows_max = config->batch_tokens + config->n_sequences * MODEL_CHUNK_MAX +
			1; /* as many as a plan may hold, and the pad */
	rc = open_weights(m, config, reason);
	if (rc == 0) {
		read_facts(m, config);
		rc = open_context(m, config, reason);
	}
	if (rc == 0)
		rc = make_room(m, config->n_sequences, reason);
	if (rc < 0)
		model_close(m);
	else
		*ret = m;
	return rc;
}

struct model *model_close(struct model *m)
{
	if (m == NULL)
		return NULL;
	if (m->batch.token != NULL)
		llama_batch_free(m->batch);
	llama_free(m->ctx);
	llama_model_free(m->llama);
	free(m->logits_row);
	free(m->scratch);
	free(m->candidates);
	free(m);
	return NULL;
}

const struct model_facts *model_facts(const struct model *m)
{
	return &m->facts;
}

/* ---- text to tokens ---- */

/* Appends the tokens of a piece of text. */
static int add_tokens(struct model *m, struct span text, bool add_bos, bool parse_special, struct model_tokens *t)
{
	int32_t n = llama_tokenize(m->vocab, text.p, (int32_t)text.n, NULL, 0, add_bos, parse_special);
	uint32_t *ids;

	if (n == 0)
		return 0;
	if (n == INT32_MIN || n > 0)
		return ERR_RANGE;
	ids = realloc(t->ids, (t->n + (size_t)-n) * sizeof(*ids));
	if (ids == NULL)
		return ERR_NOMEM;
	t->ids = ids;
	n = llama_tokenize(
		m->vocab, text.p, (int32_t)text.n, (llama_token *)(void *)(ids + t->n), -n, add_bos, parse_special);
	if (n < 0)
		return ERR_RANGE;
	t->n += (size_t)n;
	return 0;
}

static int finish_tokens(int rc, struct model_tokens *t, struct model_tokens *ret, char *reason)
{
	if (rc < 0) {
		free(t->ids);
		(void)snprintf(reason, MODEL_REASON_MAX, "The model's tokenizer refuses this text.");
		return rc;
	}
	*ret = *t;
	return 0;
}

int model_read_prompt(struct model *m, struct span prompt, struct model_tokens *ret, char reason[MODEL_REASON_MAX])
{
	struct model_tokens t = { .n = 0 };

	return finish_tokens(add_tokens(m, prompt, true, true, &t), &t, ret, reason);
}

/* True when text holds something that would be read as a control token. */
static bool has_control(struct model *m, struct span text)
{
	struct model_tokens plain = { .n = 0 }, parsed = { .n = 0 };
	bool differs = add_tokens(m, text, false, false, &plain) < 0 || add_tokens(m, text, false, true, &parsed) < 0 ||
		       plain.n != parsed.n ||
		       (plain.n > 0 && memcmp(plain.ids, parsed.ids, plain.n * sizeof(*plain.ids)) != 0);

	free(plain.ids);
	free(parsed.ids);
	return differs;
}

/* The conversation rendered; heap, NULL with a reason. */
static char *render(struct model *m, const struct llama_chat_message *chat, size_t n, char *reason, int *ret_rc)
{
	const char *template = llama_model_chat_template(m->llama, NULL);
	int32_t size = template != NULL ? llama_chat_apply_template(template, chat, n, true, NULL, 0) : -1;
	char *text;

	*ret_rc = ERR_RANGE;
	if (size < 0) {
		(void)snprintf(reason, MODEL_REASON_MAX, "%s Send a prompt instead of messages.",
			template == NULL ? "The model has no chat template."
					 : "The model's chat template is of a kind that llama.cpp cannot apply.");
		return NULL;
	}
	text = malloc((size_t)size + 1);
	*ret_rc = ERR_NOMEM;
	if (text == NULL)
		return NULL;
	(void)llama_chat_apply_template(template, chat, n, true, text, size + 1);
	text[size] = '\0';
	*ret_rc = 0;
	return text;
}

/* Stands for the text of turn i while rendering: private-use characters no sane text has. */
static void mark(char room[32], size_t i)
{
	(void)snprintf(room, 32, "\xee\x80\x80%zu\xee\x80\x81", i);
}

/* A turn holds what looks like control tokens: the template's text and the turns' are made
 * tokens apart, the turns' without control tokens. */
static int read_apart(
	struct model *m, const char *rendered, const struct turn *turns, size_t n_turns, struct model_tokens *t)
{
	bool is_first = true;
	int rc = 0;

	for (size_t i = 0; i <= n_turns && rc == 0; i++, is_first = false) {
		char sign[32];
		const char *end;

		mark(sign, i);
		end = i < n_turns ? strstr(rendered, sign) : rendered + strlen(rendered);
		if (end == NULL) /* the template leaves this turn out */
			continue;
		rc = add_tokens(m, span_mem(rendered, (size_t)(end - rendered)), is_first, true, t);
		if (rc == 0 && i < n_turns)
			rc = add_tokens(m, turns[i].content, false, false, t);
		rendered = i < n_turns ? end + strlen(sign) : end;
	}
	return rc;
}

static bool fill_chat(
	struct llama_chat_message *chat, char (*signs)[32], const struct turn *turns, size_t n_turns, bool with_signs)
{
	for (size_t i = 0; i < n_turns; i++) {
		mark(signs[i], i);
		chat[i].role = span_str(turns[i].role);
		chat[i].content = with_signs ? strdup(signs[i]) : span_str(turns[i].content);
		if (chat[i].role == NULL || chat[i].content == NULL)
			return false;
	}
	return true;
}

static bool needs_apart(struct model *m, const struct turn *turns, size_t n_turns)
{
	for (size_t i = 0; i < n_turns; i++)
		if (has_control(m, turns[i].content) || memchr(turns[i].content.p, '\0', turns[i].content.n) != NULL)
			return true;
	return false;
}

static int check_roles(struct model *m, const struct turn *turns, size_t n_turns, char *reason)
{
	for (size_t i = 0; i < n_turns; i++) {
		if (span_is_id(turns[i].role) && !has_control(m, turns[i].role))
			continue;
		(void)snprintf(
			reason, MODEL_REASON_MAX, "Message %zu has a role that is none: use system, user or assistant.", i);
		return ERR_RANGE;
	}
	return 0;
}

int model_read_turns(
	struct model *m, const struct turn *turns, size_t n_turns, struct model_tokens *ret, char reason[MODEL_REASON_MAX])
{
	struct llama_chat_message *chat = calloc(n_turns, sizeof(*chat));
	char(*signs)[32] = calloc(n_turns, sizeof(*signs));
	bool is_apart = needs_apart(m, turns, n_turns);
	struct model_tokens t = { .n = 0 };
	char *text = NULL;
	int rc = check_roles(m, turns, n_turns, reason);

	if (rc == 0 && (chat == NULL || signs == NULL || !fill_chat(chat, signs, turns, n_turns, is_apart)))
		rc = ERR_NOMEM;
	if (rc == 0 && (text = render(m, chat, n_turns, reason, &rc)) != NULL) {
		rc = is_apart ? read_apart(m, text, turns, n_turns, &t) : add_tokens(m, span_of(text), true, true, &t);
		rc = finish_tokens(rc, &t, ret, reason);
	}
	for (size_t i = 0; chat != NULL && i < n_turns; i++) {
		free((char *)(uintptr_t)chat[i].role);
		free((char *)(uintptr_t)chat[i].content);
	}
	free(chat);
	free(signs);
	free(text);
	return rc;
}

bool model_has_token(const struct model *m, uint32_t id)
{
	return id < m->n_vocab;
}

void model_piece(const struct model *m, uint32_t id, struct buf *out)
{
	char room[PIECE_MAX], *p = room;
	int32_t n = llama_token_to_piece(m->vocab, (llama_token)id, room, sizeof(room), 0, false);

	if (n < 0) { /* that many it takes */
		p = malloc((size_t)-n);
		n = p != NULL ? llama_token_to_piece(m->vocab, (llama_token)id, p, -n, 0, false) : 0;
	}
	if (n > 0)
		buf_add(out, p, (size_t)n);
	if (p != room)
		free(p);
}

bool model_is_end(const struct model *m, uint32_t id)
{
	return llama_vocab_is_eog(m->vocab, (llama_token)id);
}

/* ---- computing ---- */

static void add_row(struct llama_batch *b, uint32_t token, size_t position, size_t seq, bool want_logits)
{
	int32_t i = b->n_tokens++;

	b->token[i] = (llama_token)token;
	b->pos[i] = (llama_pos)position;
	b->n_seq_id[i] = 1;
	b->seq_id[i][0] = (llama_seq_id)seq;
	b->logits[i] = want_logits;
}

int model_compute(struct model *m, const struct model_rows *rows, size_t n_rows)
{
	struct llama_batch *b = &m->batch;
	bool is_padded;
	int rc;

	b->n_tokens = 0;
	for (size_t i = 0; i < n_rows; i++) {
		const struct model_rows *r = &rows[i];

		for (size_t k = 0; k < r->n; k++)
			add_row(b, r->tokens[k], r->first + k, r->seq, r->want_logits && k + 1 == r->n);
		m->logits_row[i] = r->want_logits ? b->n_tokens - 1 : -1;
	}
	is_padded = b->n_tokens == 1 && m->can_pad;
	if (is_padded)
		add_row(b, rows[0].tokens[0], rows[0].first + 1, rows[0].seq, false);
	rc = llama_decode(m->ctx, *b);
	if (rc == 0 && is_padded)
		(void)llama_memory_seq_rm(llama_get_memory(m->ctx), b->seq_id[0][0], b->pos[1], -1);
	return rc == 0 ? 0 : ERR_STATE;
}

void model_drop(struct model *m, size_t seq)
{
	(void)llama_memory_seq_rm(llama_get_memory(m->ctx), (llama_seq_id)seq, -1, -1); /* all of a sequence always goes */
}

/* ---- picking ---- */

static bool add_sampler(struct llama_sampler *chain, struct llama_sampler *s)
{
	if (s == NULL)
		return false;
	llama_sampler_chain_add(chain, s);
	return true;
}

static bool make_samplers(struct picker *p, const struct sampling *s)
{
	p->penalties = llama_sampler_init_penalties((int32_t)p->model->n_vocab, PENALTY_WINDOW,
		s->repeat_penalty > 0 ? (float)s->repeat_penalty : 1.0f, (float)s->frequency_penalty,
		(float)s->presence_penalty);
	if (p->penalties == NULL)
		return false;
	if (s->temperature <= 0)
		return true; /* the greatest is taken: nothing to cut away */
	p->chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
	return p->chain != NULL && add_sampler(p->chain, llama_sampler_init_top_k((int32_t)s->top_k)) &&
	       add_sampler(p->chain, llama_sampler_init_top_p((float)s->top_p, 1)) &&
	       add_sampler(p->chain, llama_sampler_init_min_p((float)s->min_p, 1)) &&
	       add_sampler(p->chain, llama_sampler_init_temp((float)s->temperature));
}

int picker_new(struct model *m, const struct sampling *s, struct picker **ret)
{
	struct picker *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return ERR_NOMEM;
	p->model = m;
	p->ignore_eos = s->ignore_eos;
	if (!make_samplers(p, s)) {
		picker_free(p);
		return ERR_NOMEM;
	}
	*ret = p;
	return 0;
}

struct picker *picker_free(struct picker *p)
{
	if (p == NULL)
		return NULL;
	if (p->penalties != NULL)
		llama_sampler_free(p->penalties);
	if (p->chain != NULL)
		llama_sampler_free(p->chain);
	free(p);
	return NULL;
}

void picker_saw(struct picker *p, uint32_t id)
{
	llama_sampler_accept(p->penalties, (llama_token)id);
}

size_t picker_candidates(struct picker *p, size_t i, const struct candidate **ret)
{
	struct model *m = p->model;
	const float *logits = llama_get_logits_ith(m->ctx, m->logits_row[i]);
	llama_token_data_array all = { .data = m->scratch, .size = m->n_vocab, .selected = -1, .sorted = false };

	assert(logits != NULL);
	for (size_t k = 0; k < m->n_vocab; k++) {
		bool is_masked = p->ignore_eos && llama_vocab_is_eog(m->vocab, (llama_token)k);

		m->scratch[k] = (llama_token_data){ .id = (llama_token)k, .logit = is_masked ? -INFINITY : logits[k] };
	}
	llama_sampler_apply(p->penalties, &all);
	if (p->chain != NULL)
		llama_sampler_apply(p->chain, &all);
	for (size_t k = 0; k < all.size; k++)
		m->candidates[k] = (struct candidate){ (uint32_t)all.data[k].id, all.data[k].logit };
	*ret = m->candidates;
	return all.size;
}
