/* JSON documents: a submit, one of the answers, what an operator asks.  What decodes must encode and decode to the same. */
#include <stdlib.h>

#include "fuzz.h"
#include "json.h"
#include "proto.h"
#include "support/msg_gen.h"

#define ARENA ((size_t)4 << 20)

static void decode_twice(const struct msg_type *t, struct span text, struct arena *arena)
{
	struct buf out = BUF_INIT(16 << 20);
	void *a = malloc(t->size), *b = malloc(t->size);

	arena_reset(arena);
	if (json_decode(t, text, arena, a, NULL) == 0) {
		if (json_encode(t, a, &out) != 0 || json_decode(t, buf_span(&out), arena, b, NULL) != 0 ||
			!msg_equal(t, a, b))
			abort();
	}
	free(a);
	free(b);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *room;
	struct arena arena = { .cap = ARENA };

	if (room == NULL)
		room = malloc(ARENA);
	arena.p = room;
	decode_twice(&submit_type, span_mem(data, size), &arena);
	decode_twice(&answer_type, span_mem(data, size), &arena);
	decode_twice(&admin_type, span_mem(data, size), &arena);
	return 0;
}
