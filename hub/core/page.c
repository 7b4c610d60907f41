/* page.c - jobs, a page at a time.
 *
 * A cursor names the job that was looked at last.  A live one keeps its place in the order of
 * submission: if it has ended meanwhile the next page begins behind its rank.  Ended ones are
 * forgotten oldest first and shown newest first: if it is gone, so is all behind it. */
#include "core.h"

#define SCAN_MAX 20000 /* jobs looked at for one page */

struct walk {
	const struct hub *h;
	const struct hub_job_filter *f;
	size_t left, scan; /* jobs of the page, jobs to look at */
	void (*fn)(void *ctx, const struct hub_job_view *v);
	void *ctx;
	const struct job *last;
};

static bool is_wanted(const struct hub_job_filter *f, const struct job *j)
{
	if ((f->states >> j->state & 1) == 0)
		return false;
	if (f->user.n > 0 && !span_is(f->user, j->user))
		return false;
	if (f->model.n > 0 && !span_is(f->model, j->model_name))
		return false;
	return f->agent.n == 0 || (j->agent != NULL && span_is(f->agent, j->agent->id));
}

/* False: the page is full. */
static bool look(struct walk *w, const struct job *j)
{
	if (w->left == 0 || w->scan == 0)
		return false;
	w->scan--;
	w->last = j;
	if (is_wanted(w->f, j)) {
		struct hub_job_view v = view_of_job(j);

		w->left--;
		w->fn(w->ctx, &v);
	}
	return true;
}

static bool walk_live(struct walk *w, const struct list *from)
{
	for (const struct list *l = from->next; l != &w->h->live; l = l->next)
		if (!look(w, CONTAINER(l, struct job, all)))
			return false;
	return true;
}

static bool walk_ended(struct walk *w, const struct list *from)
{
	for (const struct list *l = from->prev; l != &w->h->ended; l = l->prev)
		if (!look(w, CONTAINER(l, struct job, all)))
			return false;
	return true;
}

/* Behind the job of a cursor that has left the live ones. */
static const struct list *behind_rank(const struct hub *h, uint64_t rank)
{
	const struct list *at = &h->live;

	while (at->next != &h->live && CONTAINER(at->next, struct job, all)->rank <= rank)
		at = at->next;
	return at;
}

#define LIVE_STATES ((1u << HUB_JOB_DONE) - 1)

static bool walk(struct walk *w, bool is_live, const struct list *from)
{
	bool wants_live = (w->f->states & LIVE_STATES) != 0, wants_ended = (w->f->states & ~LIVE_STATES) != 0;

	if (is_live && wants_live && !walk_live(w, from))
		return false;
	return !wants_ended || walk_ended(w, is_live ? &w->h->ended : from);
}

/* "l<rank>.<job>" or "e<rank>.<job>" */
static bool parse(struct span cursor, bool *ret_live, uint64_t *ret_rank, struct span *ret_job)
{
	size_t i = 1;
	uint64_t rank = 0;

	if (cursor.n < 4 || (cursor.p[0] != 'l' && cursor.p[0] != 'e'))
		return false;
	for (; i < cursor.n && i < 20 && cursor.p[i] >= '0' && cursor.p[i] <= '9'; i++)
		rank = rank * 10 + (uint64_t)(cursor.p[i] - '0');
	if (i == 1 || i + 1 >= cursor.n || cursor.p[i] != '.')
		return false;
	*ret_live = cursor.p[0] == 'l';
	*ret_rank = rank;
	*ret_job = span_mem(cursor.p + i + 1, cursor.n - i - 1);
	return true;
}

static bool resume(struct walk *w, struct span cursor, bool *ret_is_whole)
{
	const struct job *j;
	struct span id;
	uint64_t rank;
	bool is_live;

	if (!parse(cursor, &is_live, &rank, &id))
		return false;
	j = jobs_find(w->h, id);
	if (is_live)
		*ret_is_whole = walk(w, true, j != NULL && jobs_is_live(j) ? &j->all : behind_rank(w->h, rank));
	else
		*ret_is_whole = j == NULL || jobs_is_live(j) || walk(w, false, &j->all);
	return true;
}

bool hub_page_jobs(const struct hub *h, const struct hub_job_filter *f, struct span cursor, size_t max,
	void (*fn)(void *ctx, const struct hub_job_view *v), void *ctx, char ret_next[HUB_CURSOR_SIZE])
{
	struct walk w = { .h = h, .f = f, .left = max, .scan = SCAN_MAX, .fn = fn, .ctx = ctx };
	struct buf text = BUF_INIT(HUB_CURSOR_SIZE);
	bool is_whole = true;

	ret_next[0] = '\0';
	if (cursor.n == 0)
		is_whole = walk(&w, true, &h->live);
	else if (!resume(&w, cursor, &is_whole))
		return false;
	if (is_whole || w.last == NULL)
		return true;
	buf_addf(&text, "%c%llu.%s", jobs_is_live(w.last) ? 'l' : 'e', (unsigned long long)w.last->rank, w.last->id.s);
	(void)span_copy(buf_span(&text), ret_next, HUB_CURSOR_SIZE); /* ids are shorter */
	buf_fini(&text);
	return true;
}
