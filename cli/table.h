/* table.h - tables on standard output; table.c alone includes libsmartcols.h.
 * Aligned to the terminal's width, bold heads on a terminal, plain text into a pipe. */
#ifndef SHOAL_TABLE_H
#define SHOAL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

struct table;

struct table_column {
	const char *name;
	bool is_right; /* numbers */
	bool may_cut;  /* the column that gives way when the terminal is narrow */
};

SHOAL_CHECK int table_new(const struct table_column columns[], size_t n, struct table **ret);
/* n texts, copied; NULL is an empty cell. */
SHOAL_CHECK int table_add(struct table *t, const char *const cells[]);
bool table_has_rows(const struct table *t);
SHOAL_CHECK int table_print(struct table *t);
struct table *table_free(struct table *t);

#endif
