#include <stdio.h>
#include <stdlib.h>

#include "adapter.h"

#define PIECE_FIRST_TRY 64

/* ---- text to tokens ---- */

struct token_list {
	uint32_t *ids;
	size_t n, cap;
};

/* Appends the tokens of text.  is_start: with what the model wants before every text;
 * with_control: control tokens may be written out in it. */
static int add_text(const struct model *m, struct span text, bool is_start, bool with_control, struct token_list *list)
{
	int32_t need = -llama_tokenize(m->vocab, text.p, (int32_t)text.n, NULL, 0, is_start, with_control);
	uint32_t *p;

	if (need < 0)
		return ERR_RANGE;
	p = realloc(list->ids, (list->n + (size_t)need + 1) * sizeof(*p));
	if (p == NULL)
		return ERR_NOMEM;
	list->ids = p;
	need = llama_tokenize(
		m->vocab, text.p, (int32_t)text.n, (llama_token *)(p + list->n), need + 1, is_start, with_control);
	if (need < 0)
		return ERR_RANGE;
	list->n += (size_t)need;
	return 0;
}

static int give(struct token_list *list, int rc, struct model_tokens *ret)
{
	if (rc < 0) {
		free(list->ids);
		return rc;
	}
	ret->ids = list->ids;
	ret->n = list->n;
	return 0;
}

int model_read_prompt(struct model *m, struct span prompt, struct model_tokens *ret, char reason[MODEL_REASON_MAX])
{
	struct token_list list = { .n = 0 };
	int rc = add_text(m, prompt, true, true, &list);

	if (rc == ERR_RANGE)
		(void)snprintf(reason, MODEL_REASON_MAX, "The prompt cannot be written in the model's tokens.");
	return give(&list, rc, ret);
}

/* ---- conversations ---- */

static void free_messages(struct llama_chat_message *messages, size_t n)
{
	for (size_t i = 0; messages != NULL && i < n; i++) {
		free((void *)(uintptr_t)messages[i].role);
		free((void *)(uintptr_t)messages[i].content);
	}
	free(messages);
}

/* Copies that end in NUL. */
static struct llama_chat_message *copy_messages(const struct turn *turns, size_t n, bool with_marks)
{
	struct llama_chat_message *messages = calloc(n, sizeof(*messages));

	for (size_t i = 0; messages != NULL && i < n; i++) {
		char mark[32];

		(void)snprintf(mark, sizeof(mark), "@@%zu@@", i);
		messages[i].role = span_str(turns[i].role);
		messages[i].content = span_str(with_marks ? span_of(mark) : turns[i].content);
		if (messages[i].role == NULL || messages[i].content == NULL) {
			free_messages(messages, n);
			return NULL;
		}
	}
	return messages;
}

/* The conversation in the model's template, NUL-terminated, heap; with marks ("@@0@@") where the
 * contents would be. */
static int render(const struct model *m, const struct turn *turns, size_t n, bool with_marks, char **ret)
{
	const char *template = llama_model_chat_template(m->llama, NULL);
	struct llama_chat_message *messages = copy_messages(turns, n, with_marks);
	int32_t length = -1;
	char *text = NULL;

	if (messages == NULL)
		return ERR_NOMEM;
	if (template != NULL)
		length = llama_chat_apply_template(template, messages, n, true, NULL, 0);
	if (length >= 0 && (text = calloc((size_t)length + 1, 1)) != NULL)
		llama_chat_apply_template(template, messages, n, true, text, length);
	free_messages(messages, n);
	if (length < 0)
		return ERR_RANGE;
	*ret = text;
	return text != NULL ? 0 : ERR_NOMEM;
}

/* True when the text of a turn, read with control tokens, has one in it: someone wrote out
 * "<|im_end|>" or the like. */
static int has_control(const struct model *m, struct span text, bool *ret)
{
	struct token_list parsed = { .n = 0 }, plain = { .n = 0 };
	int rc = add_text(m, text, false, true, &parsed);

	if (rc == 0)
		rc = add_text(m, text, false, false, &plain);
	*ret = rc == 0 && (parsed.n != plain.n || memcmp(parsed.ids, plain.ids, plain.n * sizeof(*plain.ids)) != 0);
	free(parsed.ids);
	free(plain.ids);
	return rc;
}

/* The template's own text with control tokens, each turn's without.  The turns' places are
 * found by marks in a text that holds no word of theirs, so they cannot forge one. */
static int add_by_parts(const struct model *m, const struct turn *turns, size_t n, struct token_list *list)
{
	char *text, *at;
	int rc = render(m, turns, n, true, &text);

	if (rc < 0)
		return rc;
	at = text;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		char mark[32];
		char *end;

		(void)snprintf(mark, sizeof(mark), "@@%zu@@", i);
		end = strstr(at, mark);
		if (end == NULL)
			continue; /* a template may leave a turn out */
		rc = add_text(m, span_mem(at, (size_t)(end - at)), at == text, true, list);
		if (rc == 0)
			rc = add_text(m, turns[i].content, false, false, list);
		at = end + strlen(mark);
	}
	if (rc == 0)
		rc = add_text(m, span_of(at), at == text, true, list);
	free(text);
	return rc;
}

/* In one go, as every other program does, so that tokens may span the border of a turn. */
static int add_whole(const struct model *m, const struct turn *turns, size_t n, struct token_list *list)
{
	char *text;
	int rc = render(m, turns, n, false, &text);

	if (rc < 0)
		return rc;
	rc = add_text(m, span_of(text), true, true, list);
	free(text);
	return rc;
}

/* True when the turns' texts have to be read apart from the template's: one has control tokens
 * in it, or a NUL, which would end it. */
static int needs_parts(const struct model *m, const struct turn *turns, size_t n, bool *ret)
{
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0 && !*ret; i++) {
		rc = has_control(m, turns[i].content, ret);
		if (turns[i].content.n > 0 && memchr(turns[i].content.p, '\0', turns[i].content.n) != NULL)
			*ret = true;
	}
	return rc;
}

static bool are_words(const struct turn *turns, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!span_is_id(turns[i].role))
			return false;
	return true;
}

int model_read_turns(
	struct model *m, const struct turn *turns, size_t n_turns, struct model_tokens *ret, char reason[MODEL_REASON_MAX])
{
	struct token_list list = { .n = 0 };
	bool in_parts = false;
	int rc;

	if (!are_words(turns, n_turns)) {
		(void)snprintf(reason, MODEL_REASON_MAX, "The role of a message is none: use system, user or assistant.");
		return ERR_RANGE;
	}
	rc = needs_parts(m, turns, n_turns, &in_parts);
	if (rc == 0)
		rc = in_parts ? add_by_parts(m, turns, n_turns, &list) : add_whole(m, turns, n_turns, &list);
	if (rc == ERR_RANGE)
		(void)snprintf(reason, MODEL_REASON_MAX,
			"The model has no chat template, or one the engine does not know: "
			"send a raw prompt instead of messages.");
	return give(&list, rc, ret);
}

/* ---- tokens to text ---- */

size_t model_n_tokens(const struct model *m)
{
	return m->n_vocab;
}

bool model_has_token(const struct model *m, uint32_t id)
{
	return id < m->n_vocab;
}

bool model_is_end(const struct model *m, uint32_t id)
{
	return llama_vocab_is_eog(m->vocab, (llama_token)id);
}

void model_piece(const struct model *m, uint32_t id, struct buf *out)
{
	int32_t size = PIECE_FIRST_TRY, n = 0;

	for (int i = 0; i < 2; i++) {
		char *at = buf_reserve(out, (size_t)size);

		if (at == NULL)
			return;
		n = llama_token_to_piece(m->vocab, (llama_token)id, at, size, 0, false);
		if (n >= 0)
			break;
		size = -n; /* it needs so much */
	}
	if (n > 0)
		out->n += (size_t)n;
}
