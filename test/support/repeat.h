/* repeat.h - long texts for tests of limits. */
#ifndef TEST_REPEAT_H
#define TEST_REPEAT_H

#include "span.h"

/* before, n times part (a format that may take the number of the time, as %zu), after; it ends in
 * NUL and lasts until the next call. */
static inline struct span repeat(const char *before, const char *part, size_t n, const char *after)
{
	static struct buf b;

	buf_fini(&b);
	b = BUF_INIT(1 << 20);
	buf_add_span(&b, span_of(before));
	for (size_t i = 0; i < n; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
		buf_addf(&b, part, i);
#pragma GCC diagnostic pop
	}
	buf_add_span(&b, span_of(after));
	buf_add(&b, "", 1);
	return span_mem(b.p, b.n - 1);
}

#endif
