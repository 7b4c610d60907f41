/* disk.c - the journal of a hub that dies: what was safe then, for its next run. */
#include <stdlib.h>

#include "sim.h"

struct entry {
	struct hub_record r;
	uint64_t at;
	char *mem; /* what r's spans point at */
};

struct disk {
	struct entry *entries;
	size_t n, cap, n_before; /* n_before: of runs that are over */
	uint64_t last_number;
	bool *is_told; /* by number: the job has ended, its client knows; it needs no records */
	size_t cap_told;
};

static void told(struct disk *d, uint64_t number)
{
	size_t cap = d->cap_told > 0 ? d->cap_told : 1024;

	while (cap <= number)
		cap *= 2;
	if (cap > d->cap_told) {
		d->is_told = realloc(d->is_told, cap * sizeof(*d->is_told));
		if (d->is_told == NULL)
			abort();
		memset(d->is_told + d->cap_told, 0, (cap - d->cap_told) * sizeof(*d->is_told));
		d->cap_told = cap;
	}
	d->is_told[number] = true;
}

static bool is_over(const struct disk *d, const struct entry *e)
{
	return e->r.number != 0 && e->r.number < d->cap_told && d->is_told[e->r.number];
}

static struct span put(char **at, struct span s)
{
	char *p = *at;

	if (s.n > 0)
		memcpy(p, s.p, s.n);
	*at += s.n;
	return span_mem(p, s.n);
}

void disk_add(struct world *w, const struct hub_record *r)
{
	struct disk *d = w->disk != NULL ? w->disk : (w->disk = calloc(1, sizeof(*d)));
	struct entry *e;
	char *at;

	if (d != NULL && d->n == d->cap) {
		d->cap = d->cap > 0 ? 2 * d->cap : 1024;
		d->entries = realloc(d->entries, d->cap * sizeof(*d->entries));
	}
	at = malloc(r->job.n + r->user.n + r->key.n + r->body.n + 1);
	if (d == NULL || d->entries == NULL || at == NULL)
		abort();
	e = &d->entries[d->n++];
	*e = (struct entry){ .r = *r, .at = w->now, .mem = at };
	e->r.job = put(&at, r->job);
	e->r.user = put(&at, r->user);
	e->r.key = put(&at, r->key);
	e->r.body = put(&at, r->body);
	if (r->kind == HUB_PERSIST_TOLD)
		told(d, r->number);
	d->last_number = r->number > d->last_number ? r->number : d->last_number;
}

/* What was not safe yet goes with the hub. */
void disk_crash(struct world *w)
{
	struct disk *d = w->disk;
	size_t kept = 0;

	while (d != NULL && d->n > d->n_before && d->entries[d->n - 1].r.seq > w->journal_safe)
		free(d->entries[--d->n].mem);
	for (size_t i = 0; d != NULL && i < d->n; i++) {
		if (is_over(d, &d->entries[i]))
			free(d->entries[i].mem);
		else
			d->entries[kept++] = d->entries[i];
	}
	if (d != NULL)
		d->n = d->n_before = kept;
}

void disk_restore(struct world *w)
{
	const struct disk *d = w->disk;
	size_t n = d != NULL ? d->n : 0;

	for (size_t i = 0; i < n; i++) {
		struct hub_record r = d->entries[i].r;

		r.seq = 0;
		r.age_ms = (w->now - d->entries[i].at) / MS;
		world_feed_hub(w, &(struct hub_event){ .type = HUB_EV_RESTORE, .record = &r });
	}
	world_feed_hub(w, &(struct hub_event){ .type = HUB_EV_RESTORED, .seq = d != NULL ? d->last_number : 0 });
}

void disk_fini(struct disk *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->n; i++)
		free(d->entries[i].mem);
	free(d->entries);
	free(d->is_told);
	free(d);
}
