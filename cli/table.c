#include "table.h"

#include <libsmartcols.h>
#include <stdlib.h>
#include <unistd.h>

struct table {
	struct libscols_table *lib;
	size_t n;
};

int table_new(const struct table_column columns[], size_t n, struct table **ret)
{
	struct table *t = calloc(1, sizeof(*t));

	if (t == NULL || (t->lib = scols_new_table()) == NULL) {
		free(t);
		return ERR_NOMEM;
	}
	t->n = n;
	scols_table_enable_colors(t->lib, isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL);
	for (size_t i = 0; i < n; i++) {
		int flags = (columns[i].is_right ? SCOLS_FL_RIGHT : 0) | (columns[i].may_cut ? SCOLS_FL_TRUNC : 0);
		struct libscols_column *c = scols_table_new_column(t->lib, columns[i].name, 0, flags);

		if (c == NULL) {
			table_free(t);
			return ERR_NOMEM;
		}
		(void)scols_cell_set_color(scols_column_get_header(c), "bold");
	}
	*ret = t;
	return 0;
}

int table_add(struct table *t, const char *const cells[])
{
	struct libscols_line *line = scols_table_new_line(t->lib, NULL);
	int rc = line != NULL ? 0 : ERR_NOMEM;

	for (size_t i = 0; i < t->n && rc == 0; i++)
		rc = cells[i] != NULL ? scols_line_set_data(line, i, cells[i]) : 0;
	return rc;
}

bool table_has_rows(const struct table *t)
{
	return t != NULL && scols_table_get_nlines(t->lib) > 0;
}

int table_print(struct table *t)
{
	return scols_print_table(t->lib);
}

struct table *table_free(struct table *t)
{
	if (t == NULL)
		return NULL;
	scols_unref_table(t->lib);
	free(t);
	return NULL;
}
