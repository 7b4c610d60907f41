/* doc.h - appends a document to a buffer whose error sticks, so that only the end is checked. */
#ifndef HUB_DOC_H
#define HUB_DOC_H

#include "json.h"

static inline void doc_add(const struct msg_type *t, const void *m, struct buf *out)
{
	int rc = json_encode(t, m, out);

	if (rc < 0 && out->err == 0)
		out->err = rc;
}

#endif
