/* id.h - job ids: 128 random bits as 26 characters of Crockford's base 32, lower case.  Pure. */
#ifndef SHOAL_ID_H
#define SHOAL_ID_H

#include "rng.h"
#include "span.h"

#define ID_LEN 26

struct id {
	char s[ID_LEN + 1];
};

struct id id_new(struct rng *rng);

#endif
