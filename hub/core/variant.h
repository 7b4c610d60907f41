/* variant.h - what a model alias stands for; see variant.c. */
#ifndef HUB_CORE_VARIANT_H
#define HUB_CORE_VARIANT_H

#include "hist.h"
#include "hub.h"

struct hub;
struct job;
struct model;
struct agent;

struct variant_window { /* this one and the one before */
	uint64_t start_ms, n[2], bad[2];
	struct hist ms[2];
};

struct variant {
	const struct hub_variant_config *config;
	struct variant *main; /* the first of its alias; itself, if it is that */
	uint64_t weight;
	struct variant_window window;
	struct hist total_ms, first_ms;
	uint64_t n_jobs, n_tokens, decode_us, errors[CODE_MAX + 1];
	bool is_off; /* its traffic goes to main until an operator resumes it */
	char reason[160];
};

SHOAL_CHECK int variants_init(struct hub *h);
void variants_fini(struct hub *h);
/* The model that is meant by name: a variant's, where it is an alias.  *ret: the variant; NULL: none. */
struct model *variant_asked(const struct hub *h, struct span user, const struct submit *s, struct variant **ret);
void variant_join(struct hub *h, struct job *j); /* a live one: of the last run, too */
void variant_ended(struct hub *h, struct job *j);
bool variant_lets(const struct job *j, const struct agent *a); /* by its label */
void variant_event(struct hub *h, const struct hub_event *ev);
void variant_restore(struct hub *h, const struct hub_record *r);

#endif
