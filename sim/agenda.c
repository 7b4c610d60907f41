#include "agenda.h"

#include <stdbool.h>
#include <stdlib.h>

#define ARITY 4 /* children of a node lie in few cache lines, and there are half as many levels as with two */

static bool is_before(const struct ev *a, const struct ev *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void agenda_add(struct agenda *q, struct ev ev)
{
	size_t i = q->n++;

	if (q->n > q->cap) {
		q->cap = q->cap > 0 ? q->cap * 2 : 4096;
		q->heap = realloc(q->heap, q->cap * sizeof(*q->heap));
		if (q->heap == NULL)
			abort();
	}
	ev.order = q->order++;
	for (; i > 0 && is_before(&ev, &q->heap[(i - 1) / ARITY]); i = (i - 1) / ARITY)
		q->heap[i] = q->heap[(i - 1) / ARITY];
	q->heap[i] = ev;
}

static size_t first_child(const struct agenda *q, size_t i)
{
	size_t child = i * ARITY + 1, last = child + ARITY < q->n ? child + ARITY : q->n, best = child;

	for (size_t k = child + 1; k < last; k++)
		if (is_before(&q->heap[k], &q->heap[best]))
			best = k;
	return best;
}

struct ev agenda_take(struct agenda *q)
{
	struct ev first = q->heap[0], last = q->heap[--q->n];
	size_t i = 0;

	while (i * ARITY + 1 < q->n) {
		size_t child = first_child(q, i);

		if (!is_before(&q->heap[child], &last))
			break;
		q->heap[i] = q->heap[child];
		i = child;
	}
	q->heap[i] = last;
	return first;
}

void agenda_fini(struct agenda *q)
{
	free(q->heap);
	*q = (struct agenda){ 0 };
}
