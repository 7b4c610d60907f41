/* footprint - what common/footprint.h expects of a model.
 *
 * Usage: footprint FILE N_CTX PARALLEL ROWS
 *
 * Prints weights, kv and work in bytes. */
#include <stdio.h>
#include <stdlib.h>

#include "footprint.h"

#define MAX_HEAD ((size_t)1 << 24)

int main(int argc, char **argv)
{
	static char head[MAX_HEAD];
	struct buf why = BUF_INIT(1024);
	struct gguf_facts facts;
	struct footprint_use use;
	struct footprint f;
	FILE *file = argc == 5 ? fopen(argv[1], "rb") : NULL;
	size_t n;

	if (file == NULL)
		return 2;
	use = (struct footprint_use){ strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10),
		strtoull(argv[4], NULL, 10) };
	n = fread(head, 1, sizeof(head), file);
	if (fseek(file, 0, SEEK_END) != 0 || gguf_check_head(span_mem(head, n), (uint64_t)ftell(file), &facts, &why) < 0) {
		fprintf(stderr, "footprint: %.*s\n", SPAN_FMT(buf_span(&why)));
		return 1;
	}
	f = footprint_of(&facts, (uint64_t)ftell(file), &use);
	printf("%llu %llu %llu\n", (unsigned long long)f.weights, (unsigned long long)f.kv, (unsigned long long)f.work);
	fclose(file);
	return 0;
}
