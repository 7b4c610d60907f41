/* From a JSON schema to a grammar: refused with a sentence, or a grammar that fits its bounds. */
#include <stdlib.h>

#include "fuzz.h"
#include "schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf grammar = BUF_INIT(1 << 20), why = BUF_INIT(400);
	int rc = schema_grammar(span_mem(data, size), &grammar, &why);

	if (why.err != 0 || (rc == 0) != (why.n == 0) || !span_is_utf8(buf_span(&why)))
		abort();
	if (rc == 0 && (grammar.n > (size_t)64 << 10 || !span_is_utf8(buf_span(&grammar))))
		abort();
	buf_fini(&grammar);
	buf_fini(&why);
	return 0;
}
