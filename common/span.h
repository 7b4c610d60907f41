/* span.h - borrowed bytes, a growing buffer with a ceiling, and a fixed arena.
 *
 * struct span borrows: it never owns what it points at and need not end in NUL.
 * struct buf owns its memory; it grows up to `max` and then refuses, for good
 * (`err` sticks), so a chain of appends needs one check at the end.
 * struct arena hands out pieces of one block the caller owns; nothing is freed
 * singly, arena_reset() takes all back at once.
 * Pure: no I/O, no clock.  Not thread-safe. */
#ifndef SHOAL_SPAN_H
#define SHOAL_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const char *p;
	size_t n;
};

#define SPAN(literal) ((struct span){ "" literal, sizeof(literal) - 1 })
#define SPAN_NONE ((struct span){ NULL, 0 })
/* For printf: ("%.*s", SPAN_FMT(s)) */
#define SPAN_FMT(s) (int)(s).n, (s).p != NULL ? (s).p : ""

static inline struct span span_of(const char *str)
{
	return (struct span){ str, str != NULL ? strlen(str) : 0 };
}

static inline struct span span_mem(const void *p, size_t n)
{
	return (struct span){ (const char *)p, n };
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool span_is(struct span a, const char *str)
{
	return span_eq(a, span_of(str));
}

/* Heap copies; NULL when out of memory. span_str() ends in NUL and serves text. */
char *span_str(struct span s);
/* An owned copy of s in *ret (p is freed by the caller); 0 or ERR_NOMEM. */
int span_dup(struct span s, struct span *ret);
/* Copies s and a NUL into dst of dst_size bytes; ERR_TOOBIG when it does not fit. */
int span_copy(struct span s, char *dst, size_t dst_size);
/* True for 1..64 characters of [A-Za-z0-9._-] that begin with a letter or digit:
 * the alphabet of every id that becomes a topic level. */
bool span_is_id(struct span s);
/* True when s is whole, valid UTF-8 (no surrogates, no overlong forms). */
bool span_is_utf8(struct span s);

struct buf {
	uint8_t *p;
	size_t n, cap, max;
	int err; /* 0, ERR_NOMEM or ERR_TOOBIG; sticky until buf_reset() */
};

#define BUF_INIT(limit) ((struct buf){ .max = (limit) })

/* Makes room for n more bytes and returns where they go, or NULL (err is set). */
void *buf_reserve(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_span(struct buf *b, struct span s);
/* Appends bytes as text: U+FFFD for each byte that belongs to no character. */
void buf_add_utf8(struct buf *b, struct span s);
/* printf into the buffer; core/ has no stdio.h. */
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drops n bytes from the front. */
void buf_consume(struct buf *b, size_t n);
/* Empties it, keeps the memory, forgets the error. */
void buf_reset(struct buf *b);
void buf_fini(struct buf *b);

static inline struct span buf_span(const struct buf *b)
{
	return span_mem(b->p, b->n);
}

struct arena {
	uint8_t *p;
	size_t n, cap;
};

/* Zeroed, aligned for any type; NULL when the arena is full. */
void *arena_alloc(struct arena *a, size_t count, size_t size);

static inline void arena_reset(struct arena *a)
{
	a->n = 0;
}

#endif
