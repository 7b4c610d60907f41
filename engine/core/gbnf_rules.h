/* gbnf_rules.h - a grammar's rules, as gbnf_read.c makes them and gbnf.c follows them. */
#ifndef ENGINE_GBNF_RULES_H
#define ENGINE_GBNF_RULES_H

#include "gbnf.h"

enum gbnf_type {
	GBNF_END,  /* of a rule */
	GBNF_OR,   /* another alternative follows */
	GBNF_RULE, /* a: which */
	GBNF_SET,  /* one character of ranges[a] to [a + b - 1] */
	GBNF_NOT   /* one that is in none of them */
};

struct gbnf_element {
	uint32_t type, a, b;
};

struct gbnf_range { /* of characters */
	uint32_t low, high;
};

struct gbnf_rules {
	struct buf elements; /* struct gbnf_element: rule after rule */
	struct buf starts;   /* uint32_t each: where a rule begins; UINT32_MAX: it is named and not there */
	struct buf ranges;
	uint32_t root;
};

static inline const struct gbnf_element *gbnf_elements(const struct gbnf_rules *r)
{
	return (const struct gbnf_element *)(const void *)r->elements.p;
}

static inline const struct gbnf_range *gbnf_ranges(const struct gbnf_rules *r)
{
	return (const struct gbnf_range *)(const void *)r->ranges.p;
}

static inline uint32_t gbnf_start(const struct gbnf_rules *r, uint32_t rule)
{
	return ((const uint32_t *)(const void *)r->starts.p)[rule];
}

/* As gbnf_new(); on failure *r is empty. */
SHOAL_CHECK int gbnf_read(struct span text, struct buf *why, struct gbnf_rules *r);
void gbnf_rules_fini(struct gbnf_rules *r);

#endif
