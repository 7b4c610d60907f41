#include "gbnf.h"

#include <stdlib.h>

#include "gbnf_rules.h"

#define BUCKETS 1024
#define NONE UINT32_MAX
#define DONE 0 /* the frame below all: nothing is to come any more */
#define MAX_CHARACTER 0x10ffffu

/* What is to come: from an element on, and then what its parent says.  Equal ones are one. */
struct frame {
	uint32_t element, parent;
	uint32_t next; /* in its bucket */
	uint32_t seen; /* in the round of this number */
};

/* All ways of having read the text so far: frames before a character, or DONE. */
struct state {
	uint32_t stacks[GBNF_MAX_STACKS];
	size_t n;
	uint8_t part[4]; /* a character that has begun */
	size_t n_part;
};

struct gbnf {
	struct gbnf_rules rules;
	struct frame *frames;
	size_t n_frames, cap_frames;
	uint32_t buckets[BUCKETS];
	uint32_t round;
	size_t steps_left;
	uint32_t *todo; /* frames to be followed */
	size_t n_todo, cap_todo;
	struct state now, trial, next;
};

/* ---- frames ---- */

static size_t bucket_of(uint32_t element, uint32_t parent)
{
	return (element * 2654435761u ^ parent * 2246822519u) >> 7 & (BUCKETS - 1);
}

static bool grow_frames(struct gbnf *g)
{
	size_t cap = g->cap_frames * 2;
	struct frame *p;

	if (g->n_frames < g->cap_frames)
		return true;
	if (g->n_frames == GBNF_MAX_FRAMES)
		return false;
	p = realloc(g->frames, cap * sizeof(*p));
	if (p == NULL)
		return false;
	g->frames = p;
	g->cap_frames = cap;
	return true;
}

/* NONE: over the bounds. */
static uint32_t frame_of(struct gbnf *g, uint32_t element, uint32_t parent)
{
	size_t bucket = bucket_of(element, parent);

	for (uint32_t i = g->buckets[bucket]; i != NONE; i = g->frames[i].next)
		if (g->frames[i].element == element && g->frames[i].parent == parent)
			return i;
	if (!grow_frames(g))
		return NONE;
	g->frames[g->n_frames] = (struct frame){ .element = element, .parent = parent, .next = g->buckets[bucket] };
	g->buckets[bucket] = (uint32_t)g->n_frames;
	return (uint32_t)g->n_frames++;
}

/* Those from `mark` on were only for a trial. */
static void forget_frames(struct gbnf *g, size_t mark)
{
	while (g->n_frames > mark) {
		const struct frame *f = &g->frames[--g->n_frames];

		g->buckets[bucket_of(f->element, f->parent)] = f->next;
	}
}

/* ---- following the rules ---- */

static const struct gbnf_element *element_at(const struct gbnf *g, uint32_t i)
{
	return gbnf_elements(&g->rules) + i;
}

static bool is_end(const struct gbnf_element *e)
{
	return e->type == GBNF_END || e->type == GBNF_OR;
}

/* Every frame once a round. */
static int push(struct gbnf *g, uint32_t frame)
{
	if (frame == NONE || g->steps_left == 0)
		return ERR_TOOBIG;
	g->steps_left--;
	if (g->frames[frame].seen == g->round)
		return 0;
	g->frames[frame].seen = g->round;
	if (g->n_todo == g->cap_todo) {
		uint32_t *p = realloc(g->todo, g->cap_todo * 2 * sizeof(*p));

		if (p == NULL)
			return ERR_NOMEM;
		g->todo = p;
		g->cap_todo *= 2;
	}
	g->todo[g->n_todo++] = frame;
	return 0;
}

/* All alternatives of a rule. */
static int push_rule(struct gbnf *g, uint32_t rule, uint32_t parent)
{
	uint32_t at = gbnf_start(&g->rules, rule);

	for (;;) {
		int rc = push(g, frame_of(g, at, parent));
		while (rc == 0 && !is_end(element_at(g, at)))
			at++;
		if (rc < 0 || element_at(g, at)->type == GBNF_END)
			return rc;
		at++;
	}
}

/* A rule, and what comes after it.  When nothing does, its parent is ours: a rule that ends in
 * itself is a loop and takes no memory. */
static int enter(struct gbnf *g, uint32_t element, uint32_t parent)
{
	uint32_t after = element + 1;

	if (!is_end(element_at(g, after)))
		parent = frame_of(g, after, parent);
	return parent != NONE ? push_rule(g, element_at(g, element)->a, parent) : ERR_TOOBIG;
}

static int arrive(struct state *to, uint32_t frame)
{
	if (to->n == GBNF_MAX_STACKS)
		return ERR_TOOBIG;
	to->stacks[to->n++] = frame;
	return 0;
}

/* Follows all that is to do, up to frames that wait for a character. */
static int follow(struct gbnf *g, struct state *to)
{
	int rc = 0;

	while (rc == 0 && g->n_todo > 0) {
		uint32_t i = g->todo[--g->n_todo];
		struct frame f = g->frames[i];
		const struct gbnf_element *e = element_at(g, f.element);

		if (i == DONE || e->type == GBNF_SET || e->type == GBNF_NOT)
			rc = arrive(to, i);
		else if (e->type == GBNF_RULE)
			rc = enter(g, f.element, f.parent);
		else
			rc = push(g, f.parent);
	}
	g->n_todo = 0;
	return rc;
}

/* ---- characters ---- */

/* True when one of low to high may come here. */
static bool meets(const struct gbnf *g, const struct gbnf_element *e, uint32_t low, uint32_t high)
{
	const struct gbnf_range *r = gbnf_ranges(&g->rules) + e->a;

	for (uint32_t i = 0; i < e->b; i++) {
		if (e->type == GBNF_SET && r[i].low <= high && r[i].high >= low)
			return true;
		if (e->type == GBNF_NOT && r[i].low <= low && r[i].high >= high)
			return false;
	}
	return e->type == GBNF_NOT;
}

/* 1, 0 or an error: all stacks of g->trial go on by one character. */
static int step(struct gbnf *g, uint32_t c)
{
	int rc = 0;

	g->round++;
	g->next.n = 0;
	for (size_t i = 0; i < g->trial.n && rc == 0; i++) {
		const struct frame *f = &g->frames[g->trial.stacks[i]];
		uint32_t after = f->element + 1, parent = f->parent;

		if (g->steps_left == 0)
			return ERR_TOOBIG;
		g->steps_left--;
		if (g->trial.stacks[i] == DONE || !meets(g, element_at(g, f->element), c, c))
			continue;
		rc = push(g, is_end(element_at(g, after)) ? parent : frame_of(g, after, parent));
	}
	if (rc == 0)
		rc = follow(g, &g->next);
	g->n_todo = 0;
	if (rc < 0)
		return rc;
	memcpy(g->trial.stacks, g->next.stacks, g->next.n * sizeof(g->next.stacks[0]));
	g->trial.n = g->next.n;
	return g->trial.n > 0;
}

/* The characters that begin with the n bytes at p, which may be all of one: n is what is there of
 * it.  Returns how many bytes it has; 0: none begins so. */
static size_t characters(const uint8_t *p, size_t n, uint32_t *ret_low, uint32_t *ret_high)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t size = p[0] < 0x80                   ? 1
		      : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		      : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
		      : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
						    : 0;
	uint32_t v = size == 1 ? p[0] : p[0] & (0x7fu >> size);

	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3f);
	}
	*ret_low = v << 6 * (size - (size > 0 ? n : 0));
	*ret_high = *ret_low + ((1u << 6 * (size - (size > 0 ? n : 0))) - 1);
	if (size == 0 || *ret_high < least[size] || *ret_low > MAX_CHARACTER || (*ret_low >= 0xd800 && *ret_high <= 0xdfff))
		return 0;
	*ret_low = *ret_low < least[size] ? least[size] : *ret_low;
	*ret_high = *ret_high > MAX_CHARACTER ? MAX_CHARACTER : *ret_high;
	return size;
}

/* A character that has begun must have a way to end. */
static bool can_begin(const struct gbnf *g, uint32_t low, uint32_t high)
{
	for (size_t i = 0; i < g->trial.n; i++)
		if (g->trial.stacks[i] != DONE && meets(g, element_at(g, g->frames[g->trial.stacks[i]].element), low, high))
			return true;
	return false;
}

static int add_byte(struct gbnf *g, uint8_t b)
{
	struct state *s = &g->trial;
	uint32_t low, high;
	size_t size;

	s->part[s->n_part++] = b;
	size = characters(s->part, s->n_part, &low, &high);
	if (size == 0)
		return 0;
	if (s->n_part < size)
		return can_begin(g, low, high);
	s->n_part = 0;
	return step(g, low);
}

static void copy_state(struct state *to, const struct state *from)
{
	memcpy(to->stacks, from->stacks, from->n * sizeof(from->stacks[0]));
	to->n = from->n;
	memcpy(to->part, from->part, sizeof(from->part));
	to->n_part = from->n_part;
}

/* Leaves what comes of it in g->trial, and its frames. */
static int try(struct gbnf *g, struct span piece)
{
	int rc = piece.n > 0;

	copy_state(&g->trial, &g->now);
	for (size_t i = 0; i < piece.n && rc == 1; i++)
		rc = add_byte(g, (uint8_t)piece.p[i]);
	return rc;
}

/* ---- outside ---- */

int gbnf_fits(struct gbnf *g, struct span piece)
{
	size_t mark = g->n_frames;
	int rc = try(g, piece);

	forget_frames(g, mark);
	return rc;
}

int gbnf_accept(struct gbnf *g, struct span piece)
{
	size_t mark = g->n_frames;
	int rc = try(g, piece);

	if (rc == 1)
		copy_state(&g->now, &g->trial);
	else
		forget_frames(g, mark);
	return rc;
}

void gbnf_begin(struct gbnf *g)
{
	g->steps_left = GBNF_MAX_STEPS;
}

bool gbnf_may_end(const struct gbnf *g)
{
	for (size_t i = 0; i < g->now.n; i++)
		if (g->now.stacks[i] == DONE)
			return g->now.n_part == 0;
	return false;
}

bool gbnf_must_end(const struct gbnf *g)
{
	return g->now.n == 1 && g->now.stacks[0] == DONE;
}

static int begin(struct gbnf *g, struct buf *why)
{
	int rc;

	gbnf_begin(g);
	g->frames[g->n_frames++] = (struct frame){ .next = NONE }; /* DONE; in no bucket */
	g->round = 1;
	rc = push_rule(g, g->rules.root, DONE);
	if (rc == 0)
		rc = follow(g, &g->now);
	if (rc == ERR_TOOBIG)
		buf_addf(why,
			"The grammar can be begun in more ways than are followed (%d), or a rule of it begins with itself.",
			GBNF_MAX_STACKS);
	else if (rc == 0 && g->now.n == 0) {
		buf_addf(why, "The grammar has no beginning: its rules only name each other.");
		rc = ERR_MALFORMED;
	}
	return rc;
}

int gbnf_new(struct span text, struct buf *why, struct gbnf **ret)
{
	struct gbnf *g = calloc(1, sizeof(*g));
	int rc;

	if (g == NULL)
		return ERR_NOMEM;
	g->cap_frames = g->cap_todo = 64;
	g->frames = calloc(g->cap_frames, sizeof(*g->frames));
	g->todo = calloc(g->cap_todo, sizeof(*g->todo));
	memset(g->buckets, 0xff, sizeof(g->buckets));
	rc = g->frames == NULL || g->todo == NULL ? ERR_NOMEM : gbnf_read(text, why, &g->rules);
	if (rc == 0)
		rc = begin(g, why);
	if (rc < 0) {
		gbnf_free(g);
		return rc;
	}
	*ret = g;
	return 0;
}

struct gbnf *gbnf_free(struct gbnf *g)
{
	if (g == NULL)
		return NULL;
	gbnf_rules_fini(&g->rules);
	free(g->frames);
	free(g->todo);
	free(g);
	return NULL;
}
