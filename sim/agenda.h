/* agenda.h - what is to happen, by time; what falls on one microsecond, in the order it was added. */
#ifndef SIM_AGENDA_H
#define SIM_AGENDA_H

#include <stddef.h>
#include <stdint.h>

struct ev {
	uint64_t at, order; /* microseconds; the queue's */
	void *p;            /* of the type's, owned by the event */
	uint32_t who, gen;
	uint16_t type, sub;
};

struct agenda {
	struct ev *heap;
	size_t n, cap;
	uint64_t order;
};

void agenda_add(struct agenda *q, struct ev ev);
/* When the next one is; UINT64_MAX: there is none. */
static inline uint64_t agenda_next(const struct agenda *q)
{
	return q->n > 0 ? q->heap[0].at : UINT64_MAX;
}
struct ev agenda_take(struct agenda *q); /* there must be one */
void agenda_fini(struct agenda *q);

#endif
