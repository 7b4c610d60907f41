#include "embed.h"

#include <stdio.h>
#include <stdlib.h>

struct embed_job {
	struct embed_job *next;
	uint64_t job;
	struct span *inputs; /* copies */
	size_t n_inputs, at; /* the next one */
	uint64_t received_us, started_us;
	uint64_t n_tokens; /* of those computed here */
};

static struct embed_job *job_free(struct embed_job *j)
{
	for (size_t i = 0; j != NULL && i < j->n_inputs; i++)
		free((void *)(uintptr_t)j->inputs[i].p);
	if (j != NULL)
		free(j->inputs);
	free(j);
	return NULL;
}

int embeds_add(struct embeds *e, const struct engine_msg *m, uint64_t now_us, char reason[MODEL_REASON_MAX])
{
	struct embed_job *j = calloc(1, sizeof(*j)), **end = &e->first;
	bool is_whole = j != NULL;

	if (m->n_inputs == 0 || m->index >= m->n_inputs) {
		free(j);
		(void)snprintf(reason, MODEL_REASON_MAX, "There is no text to make a vector of.");
		return ERR_RANGE;
	}
	if (is_whole && (j->inputs = calloc(m->n_inputs, sizeof(*j->inputs))) != NULL)
		j->n_inputs = m->n_inputs;
	for (size_t i = 0; is_whole && i < m->n_inputs; i++)
		is_whole = j->n_inputs > 0 && span_dup(m->inputs[i], &j->inputs[i]) == 0;
	if (!is_whole) {
		job_free(j);
		(void)snprintf(reason, MODEL_REASON_MAX, "The engine has no memory for another job.");
		return ERR_NOMEM;
	}
	j->job = m->job;
	j->at = (size_t)m->index;
	j->received_us = now_us;
	while (*end != NULL)
		end = &(*end)->next;
	*end = j;
	e->n++;
	return 0;
}

static struct embed_job **find(struct embeds *e, uint64_t job)
{
	struct embed_job **at = &e->first;

	while (*at != NULL && (*at)->job != job)
		at = &(*at)->next;
	return at;
}

bool embeds_has(const struct embeds *e, uint64_t job)
{
	const struct embed_job *j = e->first;

	while (j != NULL && j->job != job)
		j = j->next;
	return j != NULL;
}

/* The job at *at has ended. */
static void drop(struct embeds *e, struct embed_job **at)
{
	struct embed_job *j = *at;

	*at = j->next;
	e->n--;
	job_free(j);
}

static int say_done(const struct embed_job *j, struct link *l, enum finish finish, uint64_t now_us)
{
	struct engine_msg m = { .type = ENGINE_DONE, .job = j->job, .index = j->at, .finish = finish };

	m.usage.prompt_tokens = j->n_tokens;
	if (j->started_us != 0) {
		m.timings.wait_us = j->started_us - j->received_us;
		m.timings.prefill_us = now_us - j->started_us;
	}
	return link_send(l, &m);
}

int embeds_cancel(struct embeds *e, uint64_t job, struct link *l)
{
	struct embed_job **at = find(e, job);
	int rc = 0;

	if (*at == NULL)
		return 0;
	rc = say_done(*at, l, FINISH_CANCELLED, (*at)->received_us);
	drop(e, at);
	return rc;
}

static enum code compute(
	struct embed_job *j, struct model *m, struct model_tokens *tokens, float *ret, char reason[MODEL_REASON_MAX])
{
	size_t max = model_facts(m)->n_ctx < MODEL_EMBED_TOKENS ? model_facts(m)->n_ctx : MODEL_EMBED_TOKENS;

	(void)snprintf(reason, MODEL_REASON_MAX, "The engine has no memory to go on with this job.");
	if (ret == NULL)
		return CODE_MEMORY_LIMIT_EXCEEDED;
	if (model_read_prompt(m, j->inputs[j->at], tokens, reason) < 0)
		return CODE_BAD_REQUEST;
	if (tokens->n == 0 || tokens->n > max) {
		(void)snprintf(reason, MODEL_REASON_MAX,
			tokens->n == 0 ? "Text %zu of the list is empty."
				       : "Text %zu of the list has %zu tokens; a vector is made of %zu at most.",
			j->at, tokens->n, max);
		return tokens->n == 0 ? CODE_BAD_REQUEST : CODE_CONTEXT_FULL;
	}
	if (model_embed(m, tokens->ids, tokens->n, ret) == 0)
		return CODE_OK;
	(void)snprintf(reason, MODEL_REASON_MAX, "The model could not compute this text.");
	return CODE_BATCH_FAILED;
}

/* One text, which is the first job's; false: the job has ended with an error. */
static bool step(struct embed_job *j, struct model *m, struct link *l, int *ret_rc)
{
	size_t size = model_facts(m)->n_embd * sizeof(float);
	struct model_tokens tokens = { .n = 0 };
	char reason[MODEL_REASON_MAX];
	float *v = malloc(size > 0 ? size : 1);
	enum code code = compute(j, m, &tokens, v, reason);
	uint32_t n_tokens = (uint32_t)tokens.n;

	if (code == CODE_OK)
		*ret_rc = link_send(l, &(struct engine_msg){ .type = ENGINE_EMBEDDING,
					       .job = j->job,
					       .index = j->at,
					       .ids = &n_tokens,
					       .n_ids = 1,
					       .vector = span_mem(v, size) });
	else
		*ret_rc =
			link_send(l, &(struct engine_msg){
					     .type = ENGINE_ERROR, .job = j->job, .code = code, .reason = span_of(reason) });
	free(v);
	free(tokens.ids);
	j->n_tokens += n_tokens;
	j->at++;
	return code == CODE_OK;
}

int embeds_step(struct embeds *e, struct model *m, struct link *l, uint64_t (*clock_us)(void))
{
	struct embed_job *j = e->first, **end;
	int rc = 0;

	if (j == NULL)
		return 0;
	if (j->started_us == 0)
		j->started_us = clock_us();
	if (!step(j, m, l, &rc)) {
		drop(e, &e->first);
		return rc;
	}
	if (rc == 0 && j->at == j->n_inputs) {
		rc = say_done(j, l, FINISH_STOP, clock_us());
		drop(e, &e->first);
		return rc;
	}
	/* Behind the others. */
	e->first = j->next;
	for (end = &e->first; *end != NULL;)
		end = &(*end)->next;
	*end = j;
	j->next = NULL;
	return rc;
}

void embeds_fini(struct embeds *e)
{
	while (e->first != NULL)
		drop(e, &e->first);
}
