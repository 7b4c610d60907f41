#include "id.h"

struct id id_new(struct rng *rng)
{
	static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
	uint64_t hi = rng_next(rng), lo = rng_next(rng);
	struct id id;

	for (size_t i = 0; i < ID_LEN; i++) {
		id.s[ID_LEN - 1 - i] = alphabet[lo & 31];
		lo = lo >> 5 | hi << 59;
		hi >>= 5;
	}
	id.s[ID_LEN] = '\0';
	return id;
}
