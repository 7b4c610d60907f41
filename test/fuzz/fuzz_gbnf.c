/* A grammar, and after a NUL the answer that is to keep to it. */
#include <stdlib.h>

#include "fuzz.h"
#include "gbnf.h"

#define ANSWER_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
	size_t n = nul != NULL ? (size_t)(nul - data) : size;
	struct buf why = BUF_INIT(500);
	struct gbnf *g = NULL;
	int rc = gbnf_new(span_mem(data, n), &why, &g);

	/* It says why exactly when it refuses, and the sentence fits. */
	if (why.err != 0 || (rc == 0) != (why.n == 0))
		abort();
	for (size_t i = n + 1; rc == 0 && i < size && i < n + ANSWER_MAX; i++) {
		struct span byte = span_mem(data + i, 1);
		int fits;

		gbnf_begin(g);
		fits = gbnf_fits(g, byte);
		if (gbnf_accept(g, byte) != fits || fits > 1)
			abort();
		if (fits != 1)
			break;
	}
	gbnf_free(g);
	buf_fini(&why);
	return 0;
}
