#include "seq.h"

#include <stdlib.h>

#define PIECE_MAX 65536

static int refuse_no_memory(struct refusal *r)
{
	return refuse(r, CODE_MEMORY_LIMIT_EXCEEDED, "The engine has no memory for another job.");
}

static bool push_token(struct seq *s, uint32_t id)
{
	if (s->n_tokens == s->tokens_cap) {
		size_t cap = s->tokens_cap * 2 + 256;
		uint32_t *p = realloc(s->tokens, cap * sizeof(*p));

		if (p == NULL)
			return false;
		s->tokens = p;
		s->tokens_cap = cap;
	}
	s->tokens[s->n_tokens++] = id;
	return true;
}

static int read_input(struct seq *s, struct model *m, const struct engine_msg *g, struct refusal *ret)
{
	struct model_tokens t = { .n = 0 };
	int rc;

	ret->code = CODE_BAD_REQUEST;
	ret->reason[0] = '\0';
	if (g->n_turns > 0)
		rc = model_read_turns(m, g->turns, g->n_turns, &t, ret->reason);
	else
		rc = model_read_prompt(m, g->prompt, &t, ret->reason);
	if (rc == ERR_NOMEM)
		return refuse_no_memory(ret);
	if (rc < 0)
		return rc;
	s->tokens = t.ids;
	s->n_tokens = s->tokens_cap = s->n_prompt = t.n;
	if (t.n == 0)
		return refuse(ret, CODE_BAD_REQUEST, "The prompt is empty.");
	return 0;
}

/* The tokens shown so far belong to the sequence as if this engine had drawn them. */
static int read_prefix(struct seq *s, struct model *m, const struct engine_msg *g, struct refusal *ret)
{
	for (size_t i = 0; i < g->n_prefix; i++) {
		if (!model_has_token(m, g->prefix[i]))
			return refuse(
				ret, CODE_BAD_REQUEST, "The model has no token %u, which the prefix names.", g->prefix[i]);
		if (!push_token(s, g->prefix[i]))
			return refuse_no_memory(ret);
	}
	s->n_prefix = s->n_shown = g->n_prefix;
	return 0;
}

/* The tokens shown so far have come under the same grammar. */
static int follow_prefix(struct seq *s, struct model *m, struct refusal *ret)
{
	for (size_t i = s->n_prompt; i < s->n_tokens; i++)
		if (guide_accept(s->guide, m, s->tokens[i]) != 1)
			return refuse(ret, CODE_BAD_REQUEST, "The prefix does not keep to the grammar.");
	return 0;
}

static int read_grammar(struct seq *s, struct model *m, struct span grammar, struct refusal *ret)
{
	struct buf why = BUF_INIT(MODEL_REASON_MAX);
	int rc;

	if (grammar.n == 0)
		return 0;
	rc = guide_new(grammar, m, &why, &s->guide);
	if (rc < 0)
		rc = rc == ERR_NOMEM ? refuse_no_memory(ret)
				     : refuse(ret, CODE_BAD_REQUEST, "%.*s", SPAN_FMT(buf_span(&why)));
	else
		rc = follow_prefix(s, m, ret);
	buf_fini(&why);
	return rc;
}

static int check_biases(const struct seq *s, const struct model *m, struct refusal *ret)
{
	for (size_t i = 0; i < s->sampling.n_logit_bias; i++)
		if (!model_has_token(m, s->sampling.logit_bias[i].id))
			return refuse(ret, CODE_BAD_REQUEST, "The model has no token %u, which logit_bias names.",
				s->sampling.logit_bias[i].id);
	return 0;
}

static int start(struct seq *s, struct model *m, const struct engine_msg *g, struct refusal *ret)
{
	size_t n_ctx = model_facts(m)->n_ctx;
	const char *field;
	int rc;

	sampling_defaults(&s->sampling);
	if (sampling_check(&s->sampling, &field) < 0)
		return refuse(ret, CODE_BAD_REQUEST, "The value of %s is out of range.", field);
	rc = read_input(s, m, g, ret);
	if (rc < 0)
		return rc;
	if (s->n_prompt >= n_ctx)
		return refuse(ret, CODE_CONTEXT_FULL, "The prompt has %zu tokens; prompt and answer together may have %zu.",
			s->n_prompt, n_ctx);
	rc = read_prefix(s, m, g, ret);
	if (rc < 0)
		return rc;
	rc = check_biases(s, m, ret);
	if (rc == 0)
		rc = read_grammar(s, m, s->sampling.grammar, ret);
	if (rc < 0)
		return rc;
	s->max_tokens = s->sampling.max_tokens != 0 ? (size_t)s->sampling.max_tokens : PROTO_MAX_TOKENS;
	if (text_init(&s->text, s->sampling.stop, s->sampling.n_stop) < 0 || picker_new(m, &s->sampling, &s->picker) < 0)
		return refuse_no_memory(ret);
	for (size_t i = 0; i < s->n_tokens; i++)
		picker_saw(s->picker, s->tokens[i]);
	return 0;
}

int seq_start(struct seq *s, struct model *m, const struct engine_msg *generate, uint64_t now_us, struct refusal *ret)
{
	int rc;

	*s = (struct seq){ .job = generate->job, .sampling = generate->sampling, .received_us = now_us };
	rc = start(s, m, generate, ret);
	s->sampling.stop = NULL; /* borrowed the message */
	s->sampling.n_stop = 0;
	s->sampling.logit_bias = NULL;
	s->sampling.n_logit_bias = 0;
	s->sampling.grammar = SPAN_NONE;
	if (rc < 0)
		seq_fini(s);
	return rc;
}

void seq_end(struct seq *s, struct model *m, uint64_t now)
{
	struct seq kept = { .number = s->number, .n_computed = s->n_computed, .last_job = s->job };

	if (s->n_computed > 0 && s->sampling.cache_prompt && model_facts(m)->can_cut) {
		kept.used = now;
		kept.tokens = s->tokens;
		kept.n_tokens = s->n_computed;
		s->tokens = NULL;
	}
	seq_fini(s);
	*s = kept;
	if (s->used == 0)
		seq_drop(s, m);
}

void seq_drop(struct seq *s, struct model *m)
{
	if (s->n_computed > 0)
		model_drop(m, s->number);
	s->n_computed = 0;
	s->used = 0;
}

void seq_fini(struct seq *s)
{
	free(s->tokens);
	text_fini(&s->text);
	probs_fini(&s->probs);
	picker_free(s->picker);
	guide_free(s->guide);
	*s = (struct seq){ .number = s->number };
}

size_t seq_n_answer(const struct seq *s)
{
	return s->n_tokens - s->n_prompt;
}

size_t seq_n_brought(const struct seq *s)
{
	return s->n_prompt + s->n_prefix - s->n_cached;
}

bool seq_is_generating(const struct seq *s)
{
	return s->first_us != 0;
}

enum finish seq_finish_reached(const struct seq *s, size_t n_ctx)
{
	bool is_long = seq_n_answer(s) >= s->max_tokens || s->n_tokens >= n_ctx;

	if (s->guide != NULL && guide_must_end(s->guide))
		return FINISH_STOP;
	return is_long ? FINISH_LENGTH : FINISH_NONE;
}

static int take_in(struct seq *s, struct model *m, uint32_t id)
{
	struct buf piece = BUF_INIT(PIECE_MAX);
	int rc;

	if (!push_token(s, id))
		return ERR_NOMEM;
	picker_saw(s->picker, id);
	model_piece(m, id, &piece);
	rc = piece.err != 0 ? piece.err : text_add(&s->text, id, buf_span(&piece));
	buf_fini(&piece);
	return rc;
}

/* 1: *ret is one of the allowed tokens; 0: there is none. */
static int draw_among(struct seq *s, size_t i, const uint8_t *allowed, uint32_t *ret)
{
	const struct candidate *c;
	size_t n = picker_candidates(s->picker, i, allowed, &c);

	if (n == 0)
		return 0;
	*ret = c[s->sampling.temperature <= 0 ? draw_greatest(c, n) : draw(c, n, s->sampling.seed, seq_n_answer(s))].id;
	return 1;
}

/* Under a grammar: most of the time the model says of itself what fits, and to ask for one token is
 * little work; only when it does not, all are asked for.  1; 0: none may come; or ERR_TOOBIG. */
static int draw_token(struct seq *s, struct model *m, size_t i, uint32_t *ret)
{
	const uint8_t *allowed = NULL;
	int rc = draw_among(s, i, NULL, ret);

	if (rc <= 0 || s->guide == NULL)
		return rc;
	rc = guide_fits(s->guide, m, *ret);
	if (rc != 0)
		return rc;
	rc = guide_allowed(s->guide, m, !s->sampling.ignore_eos, &allowed);
	return rc == 1 ? draw_among(s, i, allowed, ret) : rc;
}

/* The grammar's word on a token; it must be asked of every one that comes. */
static int follow_grammar(struct seq *s, struct model *m, uint32_t id)
{
	return s->guide != NULL ? guide_accept(s->guide, m, id) : 1;
}

static int fault(struct seq *s, int rc)
{
	s->fault = rc == ERR_TOOBIG ? "The grammar can be read in too many ways at once: make it less ambiguous."
				    : "The grammar asks for something that none of the model's tokens can go on with.";
	return ERR_RANGE;
}

int seq_draw(struct seq *s, struct model *m, size_t i, enum finish *ret_finish)
{
	uint32_t id = 0;
	int rc = draw_token(s, m, i, &id);

	*ret_finish = FINISH_NONE;
	if (rc == 0 && s->guide != NULL && guide_may_end(s->guide)) {
		*ret_finish = FINISH_STOP;
		return 0;
	}
	if (rc != 1)
		return rc == ERR_NOMEM ? rc : fault(s, rc);
	if (model_is_end(m, id)) {
		*ret_finish = FINISH_STOP;
		return 0;
	}
	if (s->sampling.logprobs && (rc = probs_add(&s->probs, m, i, id, (size_t)s->sampling.top_logprobs)) < 0)
		return rc;
	rc = follow_grammar(s, m, id);
	if (rc != 1)
		return rc == ERR_NOMEM ? rc : fault(s, rc);
	rc = take_in(s, m, id);
	if (rc < 0)
		return rc;
	*ret_finish = rc > 0 ? FINISH_STOP : seq_finish_reached(s, model_facts(m)->n_ctx);
	return 0;
}

int seq_show(struct seq *s, struct link *l)
{
	struct engine_msg m = { .type = ENGINE_TOKENS, .job = s->job, .index = s->n_shown };
	int rc;

	m.n_ids = text_take(&s->text, &m.ids, &m.text);
	if (m.n_ids == 0)
		return 0;
	if (s->sampling.logprobs)
		m.logprobs = probs_of(&s->probs, m.n_ids);
	rc = link_send(l, &m);
	s->n_shown += m.n_ids;
	text_taken(&s->text);
	if (s->sampling.logprobs)
		probs_drop(&s->probs, m.n_ids);
	return rc;
}

static uint64_t between(uint64_t from_us, uint64_t to_us)
{
	return from_us != 0 && to_us > from_us ? to_us - from_us : 0;
}

int seq_finish(struct seq *s, struct link *l, enum finish finish, uint64_t now_us)
{
	uint64_t started = s->started_us != 0 ? s->started_us : now_us;
	uint64_t first = s->first_us != 0 ? s->first_us : now_us;
	struct engine_msg m = { .type = ENGINE_DONE, .job = s->job, .index = seq_n_answer(s), .finish = finish };
	int rc = text_end(&s->text);

	m.usage.prompt_tokens = s->n_prompt;
	m.usage.cached_tokens = s->n_cached < s->n_prompt ? s->n_cached : s->n_prompt;
	m.usage.completion_tokens = seq_n_answer(s);
	m.timings.wait_us = between(s->received_us, started);
	m.timings.prefill_us = between(started, first);
	m.timings.decode_us = between(first, now_us);
	if (rc == 0)
		rc = seq_show(s, l);
	return rc < 0 ? rc : link_send(l, &m);
}
