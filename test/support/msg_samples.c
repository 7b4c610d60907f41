/* Prints random messages of every type, one a line: the rule of docs/protocol.cddl, the bytes in hex. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/msg_gen.h"

/* Types that clients see: the ones with a "-doc" rule. */
static int is_document(const char *name)
{
	static const char *const names[] = { "turn", "usage", "candidate", "receipt", "submit", "cancel", "admin", "presence", "answer",
		"embedding", "json-schema", "response-format", "logprob", "top-logprob" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return 1;
	return 0;
}

/* Types that never go over a wire with integer keys. */
static int is_only_document(const char *name)
{
	return is_document(name) && strcmp(name, "turn") != 0 && strcmp(name, "usage") != 0;
}

static void print(const struct msg_type *t, enum msg_keys keys, const void *m)
{
	struct buf out = BUF_INIT(1 << 20);

	if (msg_encode(t, m, keys, &out) != 0)
		abort();
	printf("%s%s ", t->name, keys == MSG_KEYS_TEXT ? "-doc" : "");
	for (size_t i = 0; i < out.n; i++)
		printf("%02x", out.p[i]);
	putchar('\n');
	buf_fini(&out);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	int count = argc > 2 ? atoi(argv[2]) : 10;
	struct arena arena = { .p = malloc(1 << 20), .cap = 1 << 20 };
	struct rng rng;

	rng_seed(&rng, seed);
	for (const struct msg_type *const *t = msg_gen_types; *t != NULL; t++) {
		void *m = malloc((*t)->size);

		for (int i = 0; i < count; i++) {
			arena_reset(&arena);
			msg_gen(&rng, *t, &arena, m);
			if (!is_only_document((*t)->name))
				print(*t, MSG_KEYS_INT, m);
			if (is_document((*t)->name))
				print(*t, MSG_KEYS_TEXT, m);
		}
		free(m);
	}
	free(arena.p);
	return 0;
}
