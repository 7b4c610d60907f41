/* Every message decoder: the first byte chooses type and kind of keys.  What decodes must
 * encode again, and that must decode to the same. */
#include <stdlib.h>

#include "fuzz.h"
#include "support/msg_gen.h"

#define ARENA (1 << 20)

static void decode_twice(const struct msg_type *t, enum msg_keys keys, struct span bytes, struct arena *arena)
{
	struct buf out = BUF_INIT(4 << 20);
	void *a = malloc(t->size), *b = malloc(t->size);

	if (msg_decode(t, bytes, keys, arena, a, NULL) == 0) {
		if (msg_encode(t, a, keys, &out) != 0 || msg_decode(t, buf_span(&out), keys, arena, b, NULL) != 0 ||
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
	size_t n_types = 0;

	while (msg_gen_types[n_types] != NULL)
		n_types++;
	if (size == 0)
		return 0;
	if (room == NULL)
		room = malloc(ARENA);
	arena.p = room;
	decode_twice(msg_gen_types[data[0] / 2 % n_types], data[0] % 2 == 0 ? MSG_KEYS_INT : MSG_KEYS_TEXT,
		span_mem(data + 1, size - 1), &arena);
	return 0;
}
