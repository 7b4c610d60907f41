#include "tuner.h"

#include <math.h>

#define WEIGHT 0.2 /* of the newest step in the usual time of a row */
#define ENOUGH 4   /* steps to know what is usual, and of a trial */
#define TRIAL_US 20000
#define MARGIN 0.95 /* of the time before: worth a change */
#define BAD 1.5     /* times the usual: slow */
#define LATE 3.0    /* usual steps lost by slow ones, and LATE_US: something has happened */
#define LATE_US 10000
#define HOPELESS 2.0     /* times the usual, and LATE_US: a trial of more threads ends at once */
#define IDLE 0.6         /* cores, for each thread more */
#define STALLED 0.3      /* share of the time */
#define PAUSE_US 1000000 /* between steps: what was is no measure any more */
#define SOON_US 250000
#define MORE_MIN_US 500000
#define MORE_MAX_US 3000000
#define FEWER_MIN_US 2000000
#define FEWER_MAX_US 60000000
#define PRICE 10 /* a failed trial comes again after so many times what it cost */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void tuner_init(struct tuner *t, size_t most)
{
	*t = (struct tuner){ .n = most > 1 ? most - 1 : 1,
		.kept = most > 1 ? most - 1 : 1,
		.most = most > 0 ? most : 1,
		.stride = 1,
		.more_wait_us = MORE_MIN_US,
		.fewer_wait_us = FEWER_MIN_US };
}

/* ---- trials ---- */

static void settle(struct tuner *t, size_t n, double usual)
{
	t->mood = TUNER_STEADY;
	t->n = t->kept = n;
	t->usual = usual;
	t->n_usual = ENOUGH;
	t->late_us = 0;
}

static void forget(struct tuner *t)
{
	settle(t, t->kept, 0);
	t->n_usual = 0;
}

static void try(struct tuner *t, enum tuner_mood mood, size_t n, double reference)
{
	t->mood = mood;
	t->n = n;
	t->reference = reference;
	t->sum_us = t->sum_rows = 0;
	t->n_steps = 0;
}

static void try_more(struct tuner *t, const struct tuner_load *load)
{
	size_t room = t->most - t->n, idle = load->idle >= 0 ? (size_t)(load->idle + 1 - IDLE) : room;
	size_t by = t->stride < idle ? t->stride : idle;

	try(t, TUNER_MORE, t->n + (by < room ? by : room), t->usual);
}

/* ---- their ends ---- */

static void end_more(struct tuner *t, uint64_t now_us, double row_us)
{
	if (row_us < MARGIN * t->reference) {
		settle(t, t->n, row_us);
		t->stride *= 2;
		t->more_wait_us = MORE_MIN_US;
		t->more_us = now_us;
		return;
	}
	settle(t, t->kept, t->reference);
	t->more_us = now_us + SOON_US;
	if (t->stride == 1) {
		t->more_us = now_us + (uint64_t)fmax((double)t->more_wait_us, PRICE * t->sum_us);
		t->more_wait_us = min_u64(2 * t->more_wait_us, MORE_MAX_US);
	}
	t->stride = 1;
}

/* One less was tried first, then a single one: where many cores have been taken a little less helps
 * nothing, and from one on the way up is quick. */
static void end_fewer(struct tuner *t, uint64_t now_us, double row_us)
{
	if (row_us < MARGIN * t->reference) {
		settle(t, t->n, row_us);
		t->fewer_wait_us = FEWER_MIN_US;
		t->more_us = now_us + SOON_US;
		t->more_wait_us = MORE_MIN_US;
		t->stride = 1;
		if (t->n > 1) /* still fewer may be better still */
			try(t, TUNER_FEWER, t->n - 1, row_us);
		return;
	}
	if (t->n > 1) {
		try(t, TUNER_FEWER, 1, t->reference);
		return;
	}
	settle(t, t->kept, t->reference);
	t->fewer_us = now_us + t->fewer_wait_us;
	t->fewer_wait_us = min_u64(2 * t->fewer_wait_us, FEWER_MAX_US);
}

static void go_on_trying(struct tuner *t, const struct tuner_step *s)
{
	double usual_us, row_us;
	bool is_over;

	t->sum_us += (double)s->took_us;
	t->sum_rows += (double)s->rows;
	t->n_steps++;
	usual_us = t->reference * t->sum_rows;
	row_us = t->sum_us / t->sum_rows;
	is_over = t->n_steps >= ENOUGH && t->sum_us >= TRIAL_US;
	if (t->mood == TUNER_MORE && (is_over || t->sum_us > HOPELESS * usual_us + LATE_US))
		end_more(t, s->now_us, row_us);
	else if (t->mood == TUNER_FEWER && (is_over || t->sum_us > MARGIN * usual_us + LATE_US))
		end_fewer(t, s->now_us, row_us);
}

/* ---- between them ---- */

static void note(struct tuner *t, const struct tuner_step *s)
{
	double row_us = (double)s->took_us / (double)s->rows;

	if (t->n_usual >= ENOUGH && row_us > BAD * t->usual) {
		t->slow = t->late_us > 0 ? t->slow + WEIGHT * (row_us - t->slow) : row_us;
		t->late_us += (row_us - t->usual) * (double)s->rows;
		return;
	}
	t->usual = t->n_usual == 0 ? row_us : t->usual + WEIGHT * (row_us - t->usual);
	t->n_usual += t->n_usual < ENOUGH;
	t->late_us = fmax(t->late_us - (double)s->took_us / 2, 0);
}

static void stay(struct tuner *t, const struct tuner_step *s, const struct tuner_load *load)
{
	bool is_late;

	note(t, s);
	if (t->n_usual < ENOUGH)
		return;
	is_late = t->late_us > LATE_US && t->late_us > LATE * t->usual * (double)s->rows;
	if (is_late && t->n > 1)
		try(t, TUNER_FEWER, t->n - 1, t->slow);
	else if (is_late)
		settle(t, t->n, t->slow);
	else if (t->n > 1 && load->stalled > STALLED && s->now_us >= t->fewer_us)
		try(t, TUNER_FEWER, t->n - 1, t->usual);
	else if (t->n < t->most && s->now_us >= t->more_us && (load->idle < 0 || load->idle >= IDLE))
		try_more(t, load);
}

static bool is_comparable(const struct tuner_step *a, const struct tuner_step *b)
{
	size_t less = a->rows < b->rows ? a->rows : b->rows, more = a->rows < b->rows ? b->rows : a->rows;

	return a->is_prompt == b->is_prompt && 4 * less >= 3 * more && b->now_us - a->now_us < b->took_us + PAUSE_US;
}

void tuner_took(struct tuner *t, const struct tuner_step *s, const struct tuner_load *load)
{
	if (s->rows == 0)
		return;
	if (!is_comparable(&t->last, s))
		forget(t);
	t->last = *s;
	if (t->mood == TUNER_STEADY)
		stay(t, s, load);
	else
		go_on_trying(t, s);
}
