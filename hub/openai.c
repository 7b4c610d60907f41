#include "openai.h"

#include <stdarg.h>
#include <stdio.h>

#include "doc.h"
#include "format.h"
#include "vectors.h"
#include "sha256.h"

#define KEY_MAX 512

/* ---- faults ---- */

struct openai_fault openai_fault(unsigned code, const char *name, const char *param, const char *fmt, ...)
{
	struct openai_fault f = { .code = code, .name = name, .param = param };
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(f.message, sizeof(f.message), fmt, ap);
	va_end(ap);
	return f;
}

/* Names that clients of that API test for; all others are our own in small letters. */
static struct span fault_name(const struct openai_fault *f, char buf[64])
{
	size_t n = 0;

	if (f->name != NULL)
		return span_of(f->name);
	switch (f->code) {
	case CODE_MODEL_UNKNOWN: return SPAN("model_not_found");
	case CODE_CONTEXT_FULL: return SPAN("context_length_exceeded");
	case CODE_RATE_LIMITED: return SPAN("rate_limit_exceeded");
	default: break;
	}
	for (const char *p = code_name(f->code); *p != '\0' && n < 63; p++)
		buf[n++] = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
	return span_mem(buf, n);
}

void openai_fault_doc(const struct openai_fault *f, struct buf *out)
{
	char name[64];
	struct openai_error_doc doc = { .error = {
						.message = span_of(f->message),
						.type = span_of(code_info(f->code)->openai_type),
						.param = span_of(f->param),
						.code = fault_name(f, name),
					} };

	doc_add(f->param != NULL ? &openai_error_param_type : &openai_error_type, &doc, out);
}

void openai_fault_event(const struct openai_fault *f, struct buf *out)
{
	buf_add_span(out, SPAN("data: "));
	openai_fault_doc(f, out);
	buf_add_span(out, SPAN("\n\n"));
}

struct openai_fault openai_fault_of(const struct answer *error)
{
	const struct code_info *info = code_by_name(error->code);
	struct openai_fault f;

	if (info == NULL)
		info = code_info(CODE_INTERNAL_ERROR);
	f = openai_fault((unsigned)info->number, NULL, info->number == CODE_MODEL_UNKNOWN ? "model" : NULL, "%.*s",
		SPAN_FMT(error->message.n > 0 ? error->message : span_of(info->text)));
	f.retry_after_ms = error->retry_after_ms;
	return f;
}

bool openai_should_retry(const struct openai_fault *f)
{
	int status = code_info(f->code)->http;

	/* The hub has already tried other agents: a 500 or a passed deadline would only be repeated. */
	return status == 429 || status == 503;
}

/* ---- requests ---- */

int openai_key(struct span key, char ret[OPENAI_KEY_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t hash[SHA256_SIZE];

	if (key.n == 0 || key.n > KEY_MAX)
		return ERR_RANGE;
	if (span_is_id(key))
		return span_copy(key, ret, OPENAI_KEY_SIZE);
	sha256_of(key, hash);
	ret[0] = 'k', ret[1] = '-';
	for (size_t i = 0; i < 20; i++) {
		ret[2 + 2 * i] = digits[hash[i] >> 4];
		ret[3 + 2 * i] = digits[hash[i] & 15];
	}
	ret[42] = '\0';
	return 0;
}

static struct openai_fault decode_fault(int rc, const char *field)
{
	if (rc == ERR_UTF8)
		return openai_fault(CODE_BAD_REQUEST, "invalid_json", NULL, "the body is not valid UTF-8");
	if (rc == ERR_NOMEM)
		return openai_fault(CODE_RESOURCE_LIMIT_EXCEEDED, NULL, NULL, "the hub is out of memory; try again later");
	if (field == NULL)
		return openai_fault(CODE_BAD_REQUEST, "invalid_json", NULL,
			"the body is not one JSON object (%s); send Content-Type: application/json and a body like "
			"{\"model\": …, \"messages\": […]}",
			err_text(rc));
	if (rc == ERR_MISSING)
		return openai_fault(CODE_BAD_REQUEST, "missing_required_parameter", field, "\"%s\" is missing", field);
	if (rc == ERR_TOOBIG &&
		(strcmp(field, "content") == 0 || strcmp(field, "prompt") == 0 || strcmp(field, "messages") == 0))
		return openai_fault(CODE_TOO_LARGE, NULL, field, "\"%s\" is over the limit: %d messages, %zu bytes in all",
			field, PROTO_MAX_TURNS, PROTO_MAX_PROMPT);
	if (strcmp(field, "content") == 0 && (rc == ERR_RANGE || rc == ERR_TYPE))
		return openai_fault(CODE_BAD_REQUEST, "unsupported", "messages",
			"\"content\" must be a text, or a list of parts of type \"text\"");
	return openai_fault(CODE_BAD_REQUEST, "invalid_value", field, "\"%s\": %s", field, err_text(rc));
}

/* The first field that asks for what cannot be done, or NULL; *ret_why says what to do instead. */
static const char *unsupported(const struct openai_request *r, const char **ret_why)
{
	const struct {
		const char *field;
		bool is_asked;
		const char *why;
	} cases[] = {
		{ "n", r->n > 1, "one answer a request; send the request again for another" },
		{ "best_of", r->best_of > 1, "one answer a request" },
		{ "tools", r->n_tools > 0, "tool calls are not supported" },
		{ "functions", r->n_functions > 0, "function calls are not supported" },
		{ "suffix", r->suffix.n > 0, "filling in is not supported" },
		{ "echo", r->echo, "the prompt is not repeated in the answer" },
		{ "prompt", r->n_prompt > 1, "one prompt a request" },
		{ "dimensions", r->dimensions > 0, "a vector has as many numbers as the model gives it" },
		{ "encoding_format",
			r->encoding_format.n > 0 && !span_is(r->encoding_format, "float") &&
				!span_is(r->encoding_format, "base64"),
			"float or base64" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!cases[i].is_asked)
			continue;
		*ret_why = cases[i].why;
		return cases[i].field;
	}
	return NULL;
}

/* "developer" is what newer clients call "system"; templates know only the older word. */
static int fix_roles(const struct openai_request *r)
{
	struct turn *turns = (struct turn *)(uintptr_t)r->messages; /* the arena's, so ours to change */
	static const char *const roles[] = { "system", "user", "assistant", "tool" };

	for (size_t i = 0; i < r->n_messages; i++) {
		bool is_known = false;

		if (span_is(turns[i].role, "developer"))
			turns[i].role = SPAN("system");
		for (size_t k = 0; k < sizeof(roles) / sizeof(roles[0]); k++)
			is_known = is_known || span_is(turns[i].role, roles[k]);
		if (!is_known)
			return ERR_RANGE;
	}
	return 0;
}

static void copy_numbers(const struct openai_request *r, struct submit *s)
{
	const struct {
		unsigned from, to;
		double value, *place;
	} reals[] = {
		{ OAI_TEMPERATURE, SUBMIT_TEMPERATURE, r->temperature, &s->temperature },
		{ OAI_TOP_P, SUBMIT_TOP_P, r->top_p, &s->top_p },
		{ OAI_MIN_P, SUBMIT_MIN_P, r->min_p, &s->min_p },
		{ OAI_PRESENCE, SUBMIT_PRESENCE, r->presence_penalty, &s->presence_penalty },
		{ OAI_FREQUENCY, SUBMIT_FREQUENCY, r->frequency_penalty, &s->frequency_penalty },
		{ OAI_REPEAT, SUBMIT_REPEAT, r->repeat_penalty, &s->repeat_penalty },
	};

	for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++) {
		if (!msg_has(r, reals[i].from))
			continue;
		*reals[i].place = reals[i].value;
		msg_set(s, reals[i].to);
	}
}

/* Integers that may be negative in this API to say "none". */
static const char *copy_limits(const struct openai_request *r, struct submit *s)
{
	bool is_new = msg_has(r, OAI_MAX_COMPLETION_TOKENS);
	int64_t max = is_new ? r->max_completion_tokens : r->max_tokens;

	if (is_new || msg_has(r, OAI_MAX_TOKENS)) {
		if (max == 0 || max > PROTO_MAX_TOKENS)
			return is_new ? "max_completion_tokens" : "max_tokens";
		s->max_tokens = max < 0 ? 0 : (uint64_t)max;
		msg_set(s, SUBMIT_MAX_TOKENS);
	}
	if (msg_has(r, OAI_TOP_K)) {
		if (r->top_k > INT32_MAX)
			return "top_k";
		s->top_k = r->top_k < 0 ? 0 : (uint64_t)r->top_k;
		msg_set(s, SUBMIT_TOP_K);
	}
	if (msg_has(r, OAI_SEED) && r->seed != -1) { /* -1: any seed, as llama-server takes it */
		s->seed = (uint64_t)r->seed & INT64_MAX;
		msg_set(s, SUBMIT_SEED);
	}
	return NULL;
}

static void copy_flag(const struct openai_request *r, unsigned from, bool value, struct submit *s, unsigned to, bool *place)
{
	if (!msg_has(r, from))
		return;
	*place = value;
	msg_set(s, to);
}

/* A chat asks for log probabilities by a truth value and a number, a completion by the number. */
static void copy_probs(enum openai_kind kind, const struct openai_request *r, struct submit *s)
{
	s->grammar = r->grammar;
	s->logit_bias = r->logit_bias, s->n_logit_bias = r->n_logit_bias;
	s->logprobs = kind == OPENAI_CHAT ? r->chat_logprobs : msg_has(r, OAI_LOGPROBS);
	s->top_logprobs = kind == OPENAI_CHAT ? r->top_logprobs : r->logprobs;
}

static int copy_format(const struct openai_request *r, struct arena *arena, struct submit *s, struct openai_fault *ret_fault)
{
	struct buf why = BUF_INIT(400);
	int rc;

	s->response_format = r->response_format;
	if (r->json_schema.n > 0 && r->response_format.type.n == 0)
		s->response_format =
			(struct response_format){ .type = SPAN("json_schema"), .json_schema.schema = r->json_schema };
	rc = format_to_grammar(s, arena, &why);
	if (rc < 0)
		*ret_fault = openai_fault(CODE_BAD_REQUEST, "invalid_value",
			r->response_format.type.n > 0 ? "response_format" : "json_schema", "%.*s", SPAN_FMT(buf_span(&why)));
	buf_fini(&why);
	return rc < 0 ? ERR_MALFORMED : 0;
}

static int copy_session(const struct openai_request *r, struct arena *arena, struct submit *s)
{
	struct span key = r->session.n > 0 ? r->session : r->prompt_cache_key.n > 0 ? r->prompt_cache_key : r->user;
	char *id;

	if (key.n == 0)
		return 0;
	id = arena_alloc(arena, OPENAI_KEY_SIZE, 1);
	if (id == NULL || openai_key(key, id) < 0)
		return ERR_TOOBIG;
	s->session = span_of(id);
	msg_set(s, SUBMIT_SESSION);
	return 0;
}

static int to_submit(enum openai_kind kind, const struct openai_request *r, struct arena *arena, struct submit *s,
	struct openai_fault *ret_fault)
{
	const char *why, *field = unsupported(r, &why);

	if (field != NULL) {
		*ret_fault = openai_fault(CODE_BAD_REQUEST, "unsupported", field, "\"%s\": %s", field, why);
		return ERR_MALFORMED;
	}
	if (fix_roles(r) < 0) {
		*ret_fault = openai_fault(CODE_BAD_REQUEST, "invalid_value", "messages",
			"\"role\" of a message must be system, developer, user, assistant or tool");
		return ERR_MALFORMED;
	}
	field = copy_limits(r, s);
	if (field != NULL) {
		*ret_fault = openai_fault(CODE_BAD_REQUEST, "invalid_value", field, "\"%s\" must be from 1 to %d", field,
			strcmp(field, "top_k") == 0 ? INT32_MAX : PROTO_MAX_TOKENS);
		return ERR_MALFORMED;
	}
	copy_probs(kind, r, s);
	if (s->top_logprobs > 0 && !s->logprobs) {
		*ret_fault = openai_fault(CODE_BAD_REQUEST, "invalid_value", "top_logprobs",
			"\"top_logprobs\" needs \"logprobs\": true beside it");
		return ERR_MALFORMED;
	}
	if (copy_format(r, arena, s, ret_fault) < 0)
		return ERR_MALFORMED;
	if (copy_session(r, arena, s) < 0) {
		*ret_fault = openai_fault(CODE_BAD_REQUEST, "invalid_value", "session", "the session's key is too long");
		return ERR_MALFORMED;
	}
	s->model = r->model;
	s->messages = r->messages, s->n_messages = r->n_messages;
	if (r->n_prompt == 1) {
		s->prompt = r->prompt[0];
		msg_set(s, SUBMIT_PROMPT); /* an empty one is a prompt too */
	}
	s->input = r->input, s->n_input = r->n_input;
	copy_numbers(r, s);
	copy_flag(r, OAI_IGNORE_EOS, r->ignore_eos, s, SUBMIT_IGNORE_EOS, &s->ignore_eos);
	copy_flag(r, OAI_CACHE_PROMPT, r->cache_prompt, s, SUBMIT_CACHE_PROMPT, &s->cache_prompt);
	s->stop = r->stop, s->n_stop = r->n_stop;
	s->stream = r->stream;
	s->priority = r->priority;
	s->deadline_ms = r->deadline_ms;
	s->require = r->require, s->n_require = r->n_require;
	s->prefer = r->prefer, s->n_prefer = r->n_prefer;
	if (msg_has(r, OAI_POLICY)) {
		s->policy = r->policy;
		msg_set(s, SUBMIT_POLICY);
	}
	s->cancel_on_disconnect = true;
	return 0;
}

int openai_decode(enum openai_kind kind, struct span body, struct arena *arena, size_t pending_max,
	struct openai_call *ret_call, struct submit *ret, struct openai_fault *ret_fault)
{
	static const struct msg_type *const types[] = { &openai_chat_request_type, &openai_completion_request_type,
		&openai_embedding_request_type };
	struct openai_request r;
	struct submit s = { 0 };
	const char *field;
	int rc = json_decode(types[kind], body, arena, &r, &field);

	if (rc < 0) {
		*ret_fault = decode_fault(rc, field);
		return ERR_MALFORMED;
	}
	rc = to_submit(kind, &r, arena, &s, ret_fault);
	if (rc < 0)
		return rc;
	*ret_call = (struct openai_call){ .kind = kind,
		.stream = r.stream,
		.include_usage = r.stream_options.include_usage,
		.logprobs = s.logprobs,
		.base64 = span_is(r.encoding_format, "base64"),
		.pending = BUF_INIT(pending_max),
		.probs = BUF_INIT(pending_max) };
	(void)span_copy(r.model, ret_call->model, sizeof(ret_call->model)); /* its length was checked */
	*ret = s;
	return 0;
}

void openai_call_fini(struct openai_call *c)
{
	buf_fini(&c->pending);
	buf_fini(&c->probs);
}

/* ---- answers ---- */

/* Longer names than ours are not ours: they stay empty. */
void openai_call_job(struct openai_call *c, struct span job, struct span model)
{
	if (c->job[0] == '\0')
		(void)span_copy(job, c->job, sizeof(c->job));
	if (c->model[0] == '\0')
		(void)span_copy(model, c->model, sizeof(c->model));
}

struct names {
	char id[ID_LEN + 16];
};

static struct openai_answer answer_head(const struct openai_call *c, bool is_part, struct names *names)
{
	bool is_chat = c->kind == OPENAI_CHAT;
	int n = snprintf(names->id, sizeof(names->id), "%s-%s", is_chat ? "chatcmpl" : "cmpl", c->job);

	return (struct openai_answer){
		.id = span_mem(names->id, (size_t)n),
		.object = !is_chat  ? SPAN("text_completion")
			  : is_part ? SPAN("chat.completion.chunk")
				    : SPAN("chat.completion"),
		.created = c->created,
		.model = span_of(c->model),
		.system_fingerprint = span_of(c->fingerprint),
	};
}

static double per_second(uint64_t n, double ms)
{
	return ms > 0 ? (double)n * 1000 / ms : 0;
}

static void add_usage(const struct answer *done, struct openai_answer *ret)
{
	const struct usage *u = &done->usage;

	ret->usage = (struct openai_usage){ .prompt_tokens = u->prompt_tokens,
		.completion_tokens = u->completion_tokens,
		.total_tokens = u->prompt_tokens + u->completion_tokens,
		.prompt_tokens_details.cached_tokens = u->cached_tokens };
	msg_set(ret, OAI_ANSWER_USAGE);
}

/* llama-server's figures, and our own account of how the job went. */
static void add_timings(const struct answer *done, struct openai_answer *ret)
{
	const struct usage *u = &done->usage;
	uint64_t computed = u->cached_tokens < u->prompt_tokens ? u->prompt_tokens - u->cached_tokens : 0;

	ret->timings = (struct openai_timings){ .cache_n = u->cached_tokens,
		.prompt_n = computed,
		.prompt_ms = done->receipt.prefill_ms,
		.prompt_per_second = per_second(computed, done->receipt.prefill_ms),
		.predicted_n = u->completion_tokens,
		.predicted_ms = done->receipt.decode_ms,
		.predicted_per_second = per_second(u->completion_tokens, done->receipt.decode_ms) };
	msg_set(ret, OAI_ANSWER_TIMINGS);
	ret->shoal = done->receipt;
	msg_set(ret, OAI_ANSWER_SHOAL);
}

static struct span finish_text(const struct answer *done)
{
	return span_of(done->finish_reason == FINISH_LENGTH ? "length" : "stop");
}

/* ---- log probabilities ---- */

static uint64_t count_characters(struct span text)
{
	uint64_t n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += ((uint8_t)text.p[i] & 0xc0) != 0x80;
	return n;
}

/* Several tokens may be written alike: the likeliest stands for them. */
static void add_top(const struct logprob *l, struct buf *out)
{
	buf_add_span(out, SPAN("{"));
	for (size_t i = 0; i < l->n_top_logprobs; i++) {
		const struct logprob *top = &l->top_logprobs[i];
		size_t k = 0;

		while (k < i && !span_eq(l->top_logprobs[k].token, top->token))
			k++;
		if (k < i)
			continue;
		if (i > 0)
			buf_add_span(out, SPAN(","));
		json_add_string(out, top->token);
		buf_add_span(out, SPAN(":"));
		json_add_real(out, top->logprob);
	}
	buf_add_span(out, SPAN("}"));
}

/* The older API's form: a list for each thing that is told of a token. */
static void add_lists(struct openai_call *c, const struct logprobs *all, struct buf *out)
{
	static const char *const names[] = { "{\"tokens\":[", "],\"token_logprobs\":[", "],\"top_logprobs\":[",
		"],\"text_offset\":[" };

	for (size_t list = 0; list < sizeof(names) / sizeof(names[0]); list++) {
		buf_addf(out, "%s", names[list]);
		for (size_t i = 0; i < all->n_items; i++) {
			const struct logprob *l = &all->items[i];

			buf_addf(out, "%s", i > 0 ? "," : "");
			switch (list) {
			case 0: json_add_string(out, l->token); break;
			case 1: json_add_real(out, l->logprob); break;
			case 2: add_top(l, out); break;
			default:
				buf_addf(out, "%llu", (unsigned long long)c->text_offset);
				c->text_offset += count_characters(l->token);
				break;
			}
		}
	}
	buf_add_span(out, SPAN("]}"));
}

/* The value of "logprobs" as *ret, for buf_fini(); empty, so null, where they were not asked for. */
static struct span logprobs_doc(struct openai_call *c, struct span probs, struct buf *ret)
{
	struct logprobs all;
	struct openai_chat_logprobs chat = { 0 };
	int rc;

	*ret = BUF_INIT(SIZE_MAX / 2);
	if (!c->logprobs)
		return SPAN_NONE;
	rc = logprobs_read(probs, &all); /* the core has let nothing else pass */
	if (rc < 0)
		return SPAN_NONE;
	chat.content = all.items, chat.n_content = all.n_items;
	if (c->kind == OPENAI_CHAT)
		doc_add(&openai_chat_logprobs_type, &chat, ret);
	else
		add_lists(c, &all, ret);
	logprobs_fini(&all);
	return ret->err == 0 ? buf_span(ret) : SPAN_NONE;
}

static void add_answer(struct openai_call *c, const struct answer *done, struct buf *out)
{
	struct buf logprobs;
	struct names names;
	struct openai_answer a = answer_head(c, false, &names);
	struct openai_choice choice = { .message = { .role = SPAN("assistant"), .content = done->text },
		.text = done->text,
		.finish_reason = finish_text(done),
		.logprobs = logprobs_doc(c, done->probs, &logprobs) };

	a.choices = &choice, a.n_choices = 1;
	add_usage(done, &a);
	add_timings(done, &a);
	doc_add(c->kind == OPENAI_CHAT ? &openai_chat_type : &openai_completion_type, &a, out);
	buf_fini(&logprobs);
}

void openai_whole(struct openai_call *c, const struct answer *done, struct buf *out)
{
	if (c->kind == OPENAI_EMBEDDING)
		vectors_doc(c, done, out);
	else
		add_answer(c, done, out);
}

static void add_event(
	const struct openai_call *c, const struct msg_type *t, const struct openai_answer *a, bool with_id, struct buf *out)
{
	if (with_id && c->has_index)
		buf_addf(out, "id: %s:%llu\n", c->job, (unsigned long long)c->index);
	buf_add_span(out, SPAN("data: "));
	doc_add(t, a, out);
	buf_add_span(out, SPAN("\n\n"));
}

/* A part of an unfinished answer. */
static void add_choice(const struct openai_call *c, const struct openai_choice *choice, bool with_id, struct buf *out)
{
	struct names names;
	struct openai_answer a = answer_head(c, true, &names);

	a.choices = choice, a.n_choices = 1;
	add_event(c, c->kind == OPENAI_CHAT ? &openai_chat_part_type : &openai_completion_part_type, &a, with_id, out);
}

/* A chat begins with a part that only says who speaks. */
static void add_role(struct openai_call *c, struct buf *out)
{
	struct openai_choice choice = { .delta = { .has = 1u << OAI_MESSAGE_CONTENT, .role = SPAN("assistant") } };

	if (c->kind == OPENAI_CHAT && !c->opened)
		add_choice(c, &choice, false, out);
	c->opened = true;
}

int openai_add(struct openai_call *c, const struct answer *tokens)
{
	buf_add_span(&c->pending, tokens->text);
	if (c->logprobs)
		buf_add_span(&c->probs, tokens->probs);
	c->index = tokens->index + (tokens->n > 0 ? tokens->n - 1 : 0);
	c->has_index = true;
	return c->pending.err != 0 ? c->pending.err : c->probs.err;
}

void openai_part(struct openai_call *c, struct buf *out)
{
	struct openai_choice choice = { .delta = { .content = buf_span(&c->pending) }, .text = buf_span(&c->pending) };
	struct buf logprobs;

	if (c->pending.n == 0 && c->probs.n == 0)
		return;
	choice.logprobs = logprobs_doc(c, buf_span(&c->probs), &logprobs);
	add_role(c, out);
	add_choice(c, &choice, true, out);
	buf_fini(&logprobs);
	buf_reset(&c->pending);
	buf_reset(&c->probs);
}

void openai_end(struct openai_call *c, const struct answer *done, struct buf *out)
{
	struct openai_choice choice = { .finish_reason = finish_text(done) };
	struct names names;
	struct openai_answer end = answer_head(c, true, &names), usage = end;
	struct buf logprobs = BUF_INIT(0);

	if (!c->has_index) {
		choice.delta.content = choice.text = done->text;
		choice.logprobs = logprobs_doc(c, done->probs, &logprobs);
	}
	openai_part(c, out);
	add_role(c, out);
	end.choices = &choice, end.n_choices = 1;
	add_timings(done, &end);
	add_event(c, c->kind == OPENAI_CHAT ? &openai_chat_end_type : &openai_completion_type, &end, false, out);
	buf_fini(&logprobs);
	if (c->include_usage) {
		add_usage(done, &usage);
		add_event(c, &openai_chat_part_type, &usage, false, out);
	}
	buf_add_span(out, SPAN("data: [DONE]\n\n"));
}
