/* page.h - the files of the status page, which lie in the program. */
#ifndef HUB_PAGE_H
#define HUB_PAGE_H

#include "span.h"

struct page_file {
	const char *path, *type;
	struct span bytes;
	char etag[36]; /* quoted */
};

/* NULL when there is no such file. */
const struct page_file *page_find(struct span path);

#endif
