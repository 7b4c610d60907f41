/* schema_number.h - the part of schema.c that writes numbers as grammar. */
#ifndef SHOAL_SCHEMA_NUMBER_H
#define SHOAL_SCHEMA_NUMBER_H

#include <stdint.h>

#include "span.h"

#define SCHEMA_MAX_INTEGER INT64_C(9999999999999999) /* 16 digits, as many as most readers keep */

/* Appends alternatives for the whole numbers from low to high, both within SCHEMA_MAX_INTEGER. */
void schema_add_integers(struct buf *out, int64_t low, int64_t high);

#endif
