#include "agent_core.h"

#include <assert.h>
#include <stdlib.h>

/* Stands before memory that an action may point at, so that keeping it cannot fail. */
struct out_mem {
	_Alignas(16) struct out_mem *next;
};

void *out_mem_new(size_t n)
{
	struct out_mem *m = n <= SIZE_MAX - sizeof(*m) ? malloc(sizeof(*m) + n) : NULL;

	return m != NULL ? m + 1 : NULL;
}

void out_mem_free(void *p)
{
	if (p != NULL)
		free((struct out_mem *)p - 1);
}

void out_mem_keep(struct agent *a, void *p)
{
	struct out_mem *m;

	if (p == NULL)
		return;
	m = (struct out_mem *)p - 1;
	m->next = a->mem;
	a->mem = m;
}

void out_begin(struct agent *a)
{
	while (a->mem != NULL) {
		struct out_mem *m = a->mem;

		a->mem = m->next;
		free(m);
	}
	a->n_actions = 0;
}

void out_fini(struct agent *a)
{
	out_begin(a);
	free(a->actions);
	buf_fini(&a->scratch);
}

struct span out_dup(struct agent *a, struct span s)
{
	char *copy = out_mem_new(s.n);

	if (copy == NULL)
		return SPAN_NONE;
	if (s.n > 0)
		memcpy(copy, s.p, s.n);
	out_mem_keep(a, copy);
	return span_mem(copy, s.n);
}

/* cap_actions is what a step can need at most (agent_new): there is always room. */
struct agent_action *out_action(struct agent *a, enum agent_action_type type)
{
	struct agent_action *act;

	assert(a->n_actions < a->cap_actions);
	act = &a->actions[a->n_actions++];
	*act = (struct agent_action){ .type = type };
	return act;
}

void out_log(struct agent *a, int level, const char *where, struct span text)
{
	struct agent_action *act = out_action(a, AGENT_ACT_LOG);

	act->level = level;
	act->where = where;
	act->text = text;
}

void out_reason(char *dst, size_t size, struct span text)
{
	if (text.n >= size)
		text.n = size - 1;
	while (text.n > 0 && !span_is_utf8(text))
		text.n--;
	(void)span_copy(text, dst, size); /* it was cut to fit */
}
