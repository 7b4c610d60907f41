/* The check of a model file, on whole files. */
#include <stdlib.h>

#include "footprint.h"
#include "fuzz.h"

#define BEYOND 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf why = BUF_INIT(500);
	struct gguf_facts facts;
	int rc = gguf_check(span_mem(data, size), &facts, &why);

	/* It says why exactly when it refuses, and the sentence fits. */
	if (why.err != 0 || (rc == 0) != (why.n == 0))
		abort();
	/* What passes is whole: the loader is told of nothing beyond the file. */
	if (rc == 0 && (facts.data_start > size || facts.n_tensors > size || facts.n_keys > size))
		abort();
	/* As the head of a longer file; what it says may be anything, the estimate does not mind. */
	buf_reset(&why);
	if (gguf_check_head(span_mem(data, size), size + BEYOND, &facts, &why) == 0) {
		struct footprint f = footprint_of(&facts, size + BEYOND, &(struct footprint_use){ .parallel = size });

		if (facts.data_start > size + BEYOND || footprint_total(&f) < size)
			abort();
	}
	buf_fini(&why);
	return 0;
}
