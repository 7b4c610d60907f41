/* table.h - lists, hash tables and timers whose links live inside the objects.
 *
 * None of them owns what it links; an object leaves all of them before it is freed.
 * The table grows by itself; when memory runs out it stays as it is and gets slower.
 * Pure.  Not thread-safe. */
#ifndef HUB_TABLE_H
#define HUB_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "span.h"

#define CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* ---- ring of links; a link that is in no list points at itself ---- */

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_del(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

static inline void list_add_after(struct list *at, struct list *l)
{
	l->prev = at;
	l->next = at->next;
	at->next->prev = l;
	at->next = l;
}

static inline void list_add_head(struct list *head, struct list *l)
{
	list_add_after(head, l);
}

static inline void list_add_tail(struct list *head, struct list *l)
{
	list_add_after(head->prev, l);
}

/* Goes on when the body takes `it` out of the list. */
#define LIST_EACH(it, head)                                                                                                 \
	for (struct list *it = (head)->next, *it##_n = it->next; it != (head); it = it##_n, it##_n = it->next)

/* ---- hash table; several objects may have the same key ---- */

struct node {
	struct node *next, **at; /* at: the pointer that points here; NULL: in no table */
	uint64_t hash;
};

struct table {
	struct node **bucket;
	size_t n, mask;
};

/* Keyed by a seed, so that names chosen by strangers cannot be made to collide. */
uint64_t table_hash(uint64_t seed, struct span key);
SHOAL_CHECK int table_init(struct table *t);
void table_fini(struct table *t);
void table_add(struct table *t, uint64_t hash, struct node *n);
void table_del(struct table *t, struct node *n); /* one that is in no table is left alone */
/* The nodes with this hash, in no order: the caller compares the keys. */
struct node *table_first(const struct table *t, uint64_t hash);
struct node *table_next(const struct node *n);

/* ---- timers: a binary heap by time ---- */

struct timer {
	uint64_t at_ms;
	size_t pos;    /* 1 and up in the heap; 0: not armed */
	unsigned kind; /* the owner's */
};

struct timers {
	struct {
		uint64_t at_ms;
		struct timer *t;
	} * heap; /* from 1 */
	size_t n, cap, reserved;
};

/* Makes room for one more timer to exist, so that arming it never fails; timers_release()
 * when it is gone. */
SHOAL_CHECK int timers_reserve(struct timers *ts);
void timers_release(struct timers *ts, struct timer *t);
void timers_fini(struct timers *ts);
void timer_set(struct timers *ts, struct timer *t, uint64_t at_ms); /* UINT64_MAX: never */
/* Takes out one that is due; NULL: none. */
struct timer *timers_pop(struct timers *ts, uint64_t now_ms);

static inline uint64_t timers_next(const struct timers *ts)
{
	return ts->n > 0 ? ts->heap[1].at_ms : UINT64_MAX;
}

#endif
