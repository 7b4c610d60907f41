#include "table.h"

#include <stdlib.h>

#include "rng.h"

#define TABLE_MIN 64

uint64_t table_hash(uint64_t seed, struct span key)
{
	uint64_t h = rng_mix(seed, key.n), word;

	for (size_t i = 0; i < key.n; i += sizeof(word)) {
		size_t n = key.n - i < sizeof(word) ? key.n - i : sizeof(word);

		word = 0;
		memcpy(&word, key.p + i, n);
		h = rng_mix(h, word);
	}
	return h;
}

int table_init(struct table *t)
{
	t->bucket = calloc(TABLE_MIN, sizeof(struct node *));
	if (t->bucket == NULL)
		return ERR_NOMEM;
	t->n = 0;
	t->mask = TABLE_MIN - 1;
	return 0;
}

void table_fini(struct table *t)
{
	free(t->bucket);
	*t = (struct table){ 0 };
}

static void bucket_push(struct node **at, struct node *n)
{
	n->next = *at;
	n->at = at;
	if (n->next != NULL)
		n->next->at = &n->next;
	*at = n;
}

static void table_grow(struct table *t)
{
	size_t mask = t->mask * 2 + 1;
	struct node **bucket = calloc(mask + 1, sizeof(struct node *));

	if (bucket == NULL)
		return;
	for (size_t i = 0; i <= t->mask; i++) {
		for (struct node *n = t->bucket[i], *next; n != NULL; n = next) {
			next = n->next;
			bucket_push(&bucket[n->hash & mask], n);
		}
	}
	free(t->bucket);
	t->bucket = bucket;
	t->mask = mask;
}

void table_add(struct table *t, uint64_t hash, struct node *n)
{
	if (t->n > t->mask)
		table_grow(t);
	n->hash = hash;
	bucket_push(&t->bucket[hash & t->mask], n);
	t->n++;
}

void table_del(struct table *t, struct node *n)
{
	if (n->at == NULL)
		return;
	*n->at = n->next;
	if (n->next != NULL)
		n->next->at = n->at;
	n->at = NULL;
	t->n--;
}

static struct node *same_hash(struct node *n, uint64_t hash)
{
	while (n != NULL && n->hash != hash)
		n = n->next;
	return n;
}

struct node *table_first(const struct table *t, uint64_t hash)
{
	return same_hash(t->bucket[hash & t->mask], hash);
}

struct node *table_next(const struct node *n)
{
	return same_hash(n->next, n->hash);
}

int timers_reserve(struct timers *ts)
{
	size_t cap = ts->cap > 0 ? ts->cap * 2 : TABLE_MIN;
	void *p;

	if (ts->reserved + 2 <= ts->cap) { /* slot 0 is not used */
		ts->reserved++;
		return 0;
	}
	p = realloc(ts->heap, cap * sizeof(ts->heap[0]));
	if (p == NULL)
		return ERR_NOMEM;
	ts->heap = p;
	ts->cap = cap;
	ts->reserved++;
	return 0;
}

void timers_release(struct timers *ts, struct timer *t)
{
	timer_set(ts, t, UINT64_MAX);
	ts->reserved--;
}

void timers_fini(struct timers *ts)
{
	free(ts->heap);
	*ts = (struct timers){ 0 };
}

static void heap_put(struct timers *ts, size_t pos, struct timer *t)
{
	ts->heap[pos].t = t;
	ts->heap[pos].at_ms = t->at_ms;
	t->pos = pos;
}

static void heap_up(struct timers *ts, size_t pos, struct timer *t)
{
	while (pos > 1 && ts->heap[pos / 2].at_ms > t->at_ms) {
		heap_put(ts, pos, ts->heap[pos / 2].t);
		pos /= 2;
	}
	heap_put(ts, pos, t);
}

static void heap_down(struct timers *ts, size_t pos, struct timer *t)
{
	for (size_t child; (child = pos * 2) <= ts->n; pos = child) {
		if (child < ts->n && ts->heap[child + 1].at_ms < ts->heap[child].at_ms)
			child++;
		if (ts->heap[child].at_ms >= t->at_ms)
			break;
		heap_put(ts, pos, ts->heap[child].t);
	}
	heap_put(ts, pos, t);
}

static void heap_place(struct timers *ts, size_t pos, struct timer *t)
{
	if (pos > 1 && ts->heap[pos / 2].at_ms > t->at_ms)
		heap_up(ts, pos, t);
	else
		heap_down(ts, pos, t);
}

static void heap_remove(struct timers *ts, struct timer *t)
{
	size_t pos = t->pos;
	struct timer *last = ts->heap[ts->n].t;

	t->pos = 0;
	ts->n--;
	if (last != t)
		heap_place(ts, pos, last);
}

void timer_set(struct timers *ts, struct timer *t, uint64_t at_ms)
{
	if (at_ms == UINT64_MAX) {
		if (t->pos != 0)
			heap_remove(ts, t);
		return;
	}
	t->at_ms = at_ms;
	if (t->pos == 0)
		heap_up(ts, ++ts->n, t);
	else
		heap_place(ts, t->pos, t);
}

struct timer *timers_pop(struct timers *ts, uint64_t now_ms)
{
	struct timer *t;

	if (timers_next(ts) > now_ms)
		return NULL;
	t = ts->heap[1].t;
	heap_remove(ts, t);
	return t;
}
