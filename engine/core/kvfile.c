#include "kvfile.h"

#include <string.h>

static const char magic[8] = { 's', 'h', 'o', 'a', 'l', 'K', 'V', '\n' };

#define VERSION 1
#define FLAG_EXACT 1

/* Where things are in the head. */
enum { AT_VERSION = 8, AT_FLAGS = 12, AT_TOKENS = 16, AT_STATE = 24, AT_SEQUENCES = 32, AT_BUILD = 36, AT_DIGEST = 40 };

static void put(uint8_t *p, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

void kvfile_encode(const struct kvfile *k, uint8_t ret[KVFILE_HEAD])
{
	memcpy(ret, magic, sizeof(magic));
	put(ret + AT_VERSION, VERSION, 4);
	put(ret + AT_FLAGS, k->is_exact ? FLAG_EXACT : 0, 4);
	put(ret + AT_TOKENS, k->n_tokens, 8);
	put(ret + AT_STATE, k->n_state, 8);
	put(ret + AT_SEQUENCES, k->n_sequences, 4);
	put(ret + AT_BUILD, k->n_build, 4);
	memcpy(ret + AT_DIGEST, k->digest, SHA256_SIZE);
	memcpy(ret + KVFILE_SUMMED, k->checksum, SHA256_SIZE);
}

uint64_t kvfile_size(const struct kvfile *k)
{
	return KVFILE_HEAD + k->n_build + k->n_tokens * sizeof(uint32_t) + k->n_state;
}

static int refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return ERR_RANGE;
}

int kvfile_decode(const uint8_t head[KVFILE_HEAD], uint64_t size, struct kvfile *ret, const char **ret_why)
{
	struct kvfile k = { .n_tokens = get(head + AT_TOKENS, 8),
		.n_state = get(head + AT_STATE, 8),
		.n_sequences = get(head + AT_SEQUENCES, 4),
		.n_build = get(head + AT_BUILD, 4),
		.is_exact = (head[AT_FLAGS] & FLAG_EXACT) != 0 };

	if (size < KVFILE_HEAD || memcmp(head, magic, sizeof(magic)) != 0)
		return refuse(ret_why, "is no saved session");
	if (get(head + AT_VERSION, 4) != VERSION || (get(head + AT_FLAGS, 4) & ~(uint64_t)FLAG_EXACT) != 0)
		return refuse(ret_why, "is of another version of the engine");
	if (k.n_tokens == 0 || k.n_tokens > KVFILE_MAX_TOKENS || k.n_build > KVFILE_MAX_BUILD || k.n_state == 0 ||
		k.n_state > size || kvfile_size(&k) != size)
		return refuse(ret_why, "has not the size that its head says: it is cut short or damaged");
	memcpy(k.digest, head + AT_DIGEST, SHA256_SIZE);
	memcpy(k.checksum, head + KVFILE_SUMMED, SHA256_SIZE);
	*ret = k;
	return 0;
}

int kvfile_check(
	const struct kvfile *k, struct span build, const struct kvfile *want, struct span want_build, const char **ret_why)
{
	if (memcmp(k->digest, want->digest, SHA256_SIZE) != 0)
		return refuse(ret_why, "is of another model");
	if (!span_eq(build, want_build))
		return refuse(ret_why, "was written by another build of the engine");
	if (k->n_sequences != want->n_sequences || k->is_exact != want->is_exact)
		return refuse(ret_why, "was written by an engine with other options");
	return 0;
}
