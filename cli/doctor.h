/* doctor.h - what is wrong, judged by the hub's documents.  Pure. */
#ifndef SHOAL_DOCTOR_H
#define SHOAL_DOCTOR_H

#include "api.h"

enum doctor_level { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_WRONG };
extern const char *const doctor_levels[];

struct finding { /* texts are its own; code may be NULL */
	enum doctor_level level;
	const char *code;
	char *subject, *text, *mend; /* mend may be empty */
};

#define DOCTOR_MAX 200 /* findings; further ones are counted */

struct doctor {
	struct finding list[DOCTOR_MAX];
	size_t n, n_wrong, n_more;
};

void doctor_unreachable(struct doctor *d, const char *url, const char *why);
/* Hub, broker link, whether there are agents at all; is_brief: only what is wrong. */
void doctor_status(struct doctor *d, const struct api_status *s, bool is_brief);
/* One agent: presence, what operators asked, its models; is_brief: only what is wrong. */
void doctor_agent(struct doctor *d, const struct api_agent *a, bool is_brief);
/* Who could take a job of the model now. */
void doctor_model(struct doctor *d, struct span model, const struct api_explain *e);
/* The same of one agent among the candidates. */
void doctor_candidate(struct doctor *d, struct span agent, struct span model, const struct api_explain *e);
void doctor_job(struct doctor *d, const struct api_story *s);
/* Jobs wait: for lack of slots? */
void doctor_queue(struct doctor *d, const struct api_status *s);
void doctor_fini(struct doctor *d);

#endif
