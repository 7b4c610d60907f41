/* notebook.c - what the hub writes down, and its crashes.
 *
 * A record is safe when the hub was told so.  With a crash all safe ones are left, those it had
 * noted, and of the others on their way as many of the first as chance has it.  Lost then is what
 * was promised to someone outside and is not among them. */
#include "sim.h"

#include <stdlib.h>

static size_t client_job(struct sim *s, const struct hub_record *r)
{
	struct record_submit m;
	struct submit body;

	if (r->kind >= HUB_PERSIST_FIRST_VALUE)
		return SIZE_MAX;
	if (r->kind != HUB_PERSIST_SUBMIT) {
		for (size_t i = s->n_records; i-- > 0;)
			if (s->records[i].r.kind == HUB_PERSIST_SUBMIT && span_eq(s->records[i].r.job, r->job))
				return s->records[i].job;
		return SIZE_MAX;
	}
	arena_reset(&s->arena);
	if (msg_decode(&record_submit_type, r->body, MSG_KEYS_INT, &s->arena, &m, NULL) < 0 ||
		msg_decode(&submit_type, m.body, MSG_KEYS_INT, &s->arena, &body, NULL) < 0) {
		sim_violation(s, "a submit was recorded that cannot be read");
		return SIZE_MAX;
	}
	return chain_job(body.prompt);
}

static struct span own(char **p, struct span s)
{
	struct span copy = span_mem(*p, s.n);

	if (s.n > 0)
		memcpy(*p, s.p, s.n);
	*p += s.n;
	return copy;
}

void notebook_keep(struct sim *s, const struct hub_record *r)
{
	struct record *to;
	char *p;

	if (s->n_records == s->cap_records) {
		s->cap_records = s->cap_records > 0 ? 2 * s->cap_records : 256;
		s->records = realloc(s->records, s->cap_records * sizeof(*s->records));
		if (s->records == NULL)
			abort();
	}
	to = &s->records[s->n_records];
	*to = (struct record){ .r = *r, .at = s->now, .life = s->hub_life };
	to->mem = p = malloc(r->job.n + r->user.n + r->key.n + r->body.n + 1);
	if (p == NULL)
		abort();
	to->r.job = own(&p, r->job);
	to->r.user = own(&p, r->user);
	to->r.key = own(&p, r->key);
	to->r.body = own(&p, r->body);
	to->job = s->has_journal ? client_job(s, r) : SIZE_MAX;
	s->n_records++;
}

void notebook_safe(struct sim *s, uint64_t seq)
{
	s->safe_seq = seq > s->safe_seq ? seq : s->safe_seq;
}

static bool is_safe(const struct sim *s, const struct record *r)
{
	return r->life < s->hub_life || r->r.seq <= s->safe_seq;
}

bool notebook_has(const struct sim *s, struct span id, enum hub_persist_kind kind, uint64_t attempt)
{
	for (size_t i = s->n_records; i-- > 0;) {
		const struct record *r = &s->records[i];

		if (r->r.kind == kind && r->r.attempt == attempt && span_eq(r->r.job, id) && (is_safe(s, r) || r->r.note))
			return true;
	}
	return false;
}

/* Was someone promised what this says? */
static void lose(struct sim *s, const struct record *r)
{
	struct cjob *j = r->job != SIZE_MAX ? &s->jobs[r->job] : NULL;

	if (j == NULL)
		return;
	if (r->r.kind == HUB_PERSIST_END && j->is_ended)
		sim_violation(s, "the end of job %zu was told and is lost", r->job);
	if (r->r.kind == HUB_PERSIST_ATTEMPT)
		watch_record_lost(s, r->job, r->r.attempt);
	if (r->r.kind != HUB_PERSIST_SUBMIT)
		return;
	for (size_t k = 0; k < j->n_views; k++)
		if (j->views[k].is_accepted)
			sim_violation(s, "job %zu was accepted and is lost", r->job);
	client_not_heard(s, r->job);
}

static void lose_some(struct sim *s)
{
	size_t first = s->n_records, n, n_noted = 0;

	while (first > 0 && !is_safe(s, &s->records[first - 1]))
		first--;
	n = first + rng_below(&s->rng, s->n_records - first + 1);
	for (size_t i = n; i < s->n_records; i++) {
		if (s->records[i].r.note) {
			s->records[n + n_noted++] = s->records[i];
			continue;
		}
		lose(s, &s->records[i]);
		free(s->records[i].mem);
	}
	sim_trace(s, "FAULT hub crash: %zu records, %zu noted, %zu lost", n, n_noted, s->n_records - n - n_noted);
	s->n_records = n + n_noted;
}

/* A value that another has replaced since. */
static bool is_replaced(const struct sim *s, size_t at)
{
	const struct hub_record *r = &s->records[at].r;

	if (r->kind < HUB_PERSIST_FIRST_VALUE)
		return false;
	for (size_t i = at + 1; i < s->n_records; i++)
		if (s->records[i].r.kind == r->kind && span_eq(s->records[i].r.job, r->job))
			return true;
	return r->body.n == 0;
}

/* What the world counts and the hub has forgotten. */
static void forget(struct sim *s)
{
	memset(s->homes, 0, sizeof(s->homes));
	s->lost_seen = s->rejoined_seen = 0;
	for (size_t i = 0; i < s->n_boxes; i++) {
		struct box *b = &s->boxes[i];

		b->held_epoch = b->held_conn = b->held_seq = b->in_flight = 0;
		b->is_shut = false;
		b->presence = HUB_PRESENCE_OFFLINE;
		memset(b->watch, 0, sizeof(b->watch));
	}
	for (size_t i = 0; i < s->n_jobs; i++)
		s->jobs[i].kills = 0;
}

static void restore(struct sim *s)
{
	uint64_t last = 0;

	for (size_t i = 0; i < s->n_records; i++) {
		struct hub_record r = s->records[i].r;
		struct record_attempt m;

		r.age_ms = s->now - s->records[i].at;
		last = r.number > last ? r.number : last;
		arena_reset(&s->arena);
		if (r.kind == HUB_PERSIST_ATTEMPT && s->records[i].job != SIZE_MAX &&
			msg_decode(&record_attempt_type, r.body, MSG_KEYS_INT, &s->arena, &m, NULL) == 0)
			s->jobs[s->records[i].job].kills = (unsigned)m.kills;
		if (!is_replaced(s, i))
			sim_feed_hub(s, &(struct hub_event){ .type = HUB_EV_RESTORE, .record = &r });
	}
	sim_feed_hub(s, &(struct hub_event){ .type = HUB_EV_RESTORED, .seq = last });
}

void notebook_crash(struct sim *s)
{
	lose_some(s);
	s->hub = hub_free(s->hub);
	s->is_hub_linked = false;
	s->hub_gen++;
	s->safe_seq = 0;
	s->n_hub_crashes++;
	forget(s);
	client_hub_crashed(s);
	sim_hub_begin(s);
	restore(s);
	s->hub_paused_until = s->now + sim_between(s, 0, 1500);
	sim_push(s, sim_between(s, 20, 2000), (struct future){ .type = F_HUB_UP });
}

void notebook_tempt(struct sim *s)
{
	const struct record *last = s->n_records > 0 ? &s->records[s->n_records - 1] : NULL;
	bool is_writing = last != NULL && !is_safe(s, last);

	if (s->crash_by == 0 || !(s->now >= s->crash_by || (is_writing && sim_chance(s, 0.1))))
		return;
	s->crash_by = 0;
	notebook_crash(s);
}

void notebook_fini(struct sim *s)
{
	for (size_t i = 0; i < s->n_records; i++)
		free(s->records[i].mem);
	free(s->records);
}
