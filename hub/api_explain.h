/* api_explain.h - why agents get a job, or not, as a document. */
#ifndef HUB_API_EXPLAIN_H
#define HUB_API_EXPLAIN_H

#include "api_proto.h"

struct explain { /* lists of doc are its own; texts are the core's until its next step */
	struct api_explain doc;
	struct api_reason reasons[HUB_REASON_COUNT];
	struct api_candidate *candidates;
};

/* At most max candidates.  CODE_OK, or why there is nothing to tell; explain_fini() either way. */
enum code explain_job(const struct hub *h, struct span job, struct span model, size_t max, struct explain *ret);
enum code explain_request(const struct hub *h, const struct submit *s, size_t max, struct explain *ret);
void explain_fini(struct explain *e);

#endif
