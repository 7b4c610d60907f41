#include "span.h"

#include <stdarg.h>
#include <stdlib.h>
#include <stdio.h>

#include "err.h"

char *span_str(struct span s)
{
	char *p = malloc(s.n + 1);

	if (p == NULL)
		return NULL;
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

int span_dup(struct span s, struct span *ret)
{
	char *p = span_str(s);

	if (p == NULL)
		return ERR_NOMEM;
	*ret = span_mem(p, s.n);
	return 0;
}

int span_copy(struct span s, char *dst, size_t dst_size)
{
	if (s.n >= dst_size)
		return ERR_TOOBIG;
	if (s.n > 0)
		memcpy(dst, s.p, s.n);
	dst[s.n] = '\0';
	return 0;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool span_is_id(struct span s)
{
	if (s.n == 0 || s.n > 64 || !is_alnum(s.p[0]))
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (!is_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '_' && s.p[i] != '-')
			return false;
	return true;
}

/* Length of the sequence a lead byte opens, and the range its second byte must lie
 * in (Unicode 15, table 3-7: well-formed UTF-8 byte sequences); 0: no lead byte. */
static size_t utf8_lead(uint8_t c, uint8_t *ret_low, uint8_t *ret_high)
{
	*ret_low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	*ret_high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf)
		return 2;
	if ((c & 0xf0) == 0xe0)
		return 3;
	if (c >= 0xf0 && c <= 0xf4)
		return 4;
	return 0;
}

/* Length of the character at the beginning of s, which is not empty; 0 when there is none. */
static size_t utf8_char(struct span s)
{
	const uint8_t *p = (const uint8_t *)s.p;
	uint8_t low, high;
	size_t n = utf8_lead(p[0], &low, &high);

	if (n == 0 || n > s.n || (n > 1 && (p[1] < low || p[1] > high)))
		return 0;
	for (size_t k = 2; k < n; k++)
		if ((p[k] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* How many bytes at the beginning are ASCII for sure: most texts are, for long stretches. */
static size_t ascii_words(struct span s)
{
	size_t n = 0;

	for (uint64_t word; n + sizeof(word) <= s.n; n += sizeof(word)) {
		memcpy(&word, s.p + n, sizeof(word));
		if ((word & UINT64_C(0x8080808080808080)) != 0)
			break;
	}
	return n;
}

bool span_is_utf8(struct span s)
{
	while (s.n > 0) {
		size_t n = ascii_words(s);

		if (n == 0)
			n = utf8_char(s);

		if (n == 0)
			return false;
		s = span_mem(s.p + n, s.n - n);
	}
	return true;
}

void *buf_reserve(struct buf *b, size_t n)
{
	size_t cap = b->cap;
	uint8_t *p;

	if (b->err != 0)
		return NULL;
	if (n > b->max || b->n > b->max - n) {
		b->err = ERR_TOOBIG;
		return NULL;
	}
	if (cap >= b->n + n)
		return b->p + b->n;
	cap = cap < 64 ? 64 : cap;
	while (cap < b->n + n)
		cap *= 2;
	p = realloc(b->p, cap);
	if (p == NULL) {
		b->err = ERR_NOMEM;
		return NULL;
	}
	b->p = p;
	b->cap = cap;
	return b->p + b->n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	void *at = buf_reserve(b, n);

	if (at == NULL)
		return;
	if (n > 0)
		memcpy(at, p, n);
	b->n += n;
}

void buf_add_span(struct buf *b, struct span s)
{
	buf_add(b, s.p, s.n);
}

void buf_add_utf8(struct buf *b, struct span s)
{
	while (s.n > 0 && b->err == 0) {
		size_t n = utf8_char(s);

		if (n > 0)
			buf_add(b, s.p, n);
		else
			buf_add_span(b, SPAN("\xef\xbf\xbd"));
		n += n == 0;
		s = span_mem(s.p + n, s.n - n);
	}
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;
	char *at;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || (at = buf_reserve(b, (size_t)n + 1)) == NULL)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(at, (size_t)n + 1, fmt, ap); /* its length was just measured */
	va_end(ap);
	b->n += (size_t)n;
}

void buf_consume(struct buf *b, size_t n)
{
	if (n >= b->n) {
		b->n = 0;
		return;
	}
	memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
}

void buf_reset(struct buf *b)
{
	b->n = 0;
	b->err = 0;
}

void buf_fini(struct buf *b)
{
	free(b->p);
	*b = BUF_INIT(b->max);
}

void *arena_alloc(struct arena *a, size_t count, size_t size)
{
	size_t at = (a->n + 15) & ~(size_t)15; /* the block itself is aligned by its owner */
	void *p;

	if (at > a->cap || (size != 0 && count > (a->cap - at) / size))
		return NULL;
	p = a->p + at;
	memset(p, 0, count * size);
	a->n = at + count * size;
	return p;
}
