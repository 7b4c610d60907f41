#include "topic.h"

#include "err.h"

static const struct {
	const char *group, *leaf;
} names[TOPIC_KIND_COUNT] = {
#define X(name, group, leaf) [TOPIC_##name] = { group, leaf },
	TOPIC_LEAF_LIST(X)
#undef X
};

struct out {
	struct topic *t;
	size_t n;
	bool is_full;
};

static void add(struct out *o, struct span s)
{
	if (s.n >= TOPIC_MAX - o->n) {
		o->is_full = true;
		return;
	}
	memcpy(o->t->s + o->n, s.p, s.n);
	o->n += s.n;
	o->t->s[o->n] = '\0';
}

int topic_make(const char *prefix, enum topic_kind kind, struct span id, struct topic *ret)
{
	struct out o = { .t = ret };

	if (kind <= TOPIC_OTHER || kind >= TOPIC_KIND_COUNT)
		return ERR_RANGE;
	if (kind != TOPIC_HUB_STATUS && !span_is_id(id) && !span_is(id, "+"))
		return ERR_RANGE;
	add(&o, span_of(prefix));
	add(&o, SPAN("/"));
	add(&o, span_of(names[kind].group));
	add(&o, SPAN("/"));
	if (kind != TOPIC_HUB_STATUS) {
		add(&o, id);
		add(&o, SPAN("/"));
	}
	add(&o, span_of(names[kind].leaf));
	return o.is_full ? ERR_TOOBIG : 0;
}

/* Takes "<want>/" off the front of *s. */
static bool take(struct span *s, struct span want)
{
	if (s->n <= want.n || memcmp(s->p, want.p, want.n) != 0 || s->p[want.n] != '/')
		return false;
	*s = span_mem(s->p + want.n + 1, s->n - want.n - 1);
	return true;
}

/* Takes the first level off *s; empty when there is no further one. */
static struct span take_level(struct span *s)
{
	const char *slash = s->n > 0 ? memchr(s->p, '/', s->n) : NULL;
	struct span level = SPAN_NONE;

	if (slash == NULL)
		return level;
	level = span_mem(s->p, (size_t)(slash - s->p));
	*s = span_mem(slash + 1, s->n - level.n - 1);
	return level;
}

enum topic_kind topic_parse(const char *prefix, struct span topic, struct span *ret_id)
{
	struct span group, id;

	*ret_id = SPAN_NONE;
	if (!take(&topic, span_of(prefix)))
		return TOPIC_OTHER;
	group = take_level(&topic);
	if (span_is(group, "hub"))
		return span_is(topic, names[TOPIC_HUB_STATUS].leaf) ? TOPIC_HUB_STATUS : TOPIC_OTHER;
	id = take_level(&topic);
	if (!span_is_id(id))
		return TOPIC_OTHER;
	for (int k = TOPIC_OTHER + 1; k < TOPIC_KIND_COUNT; k++) {
		if (!span_is(group, names[k].group) || !span_is(topic, names[k].leaf))
			continue;
		*ret_id = id;
		return (enum topic_kind)k;
	}
	return TOPIC_OTHER;
}

bool topic_is_reply_for(const char *prefix, struct span user, struct span topic)
{
	struct span rest = topic;

	if (topic.n >= TOPIC_MAX || !span_is_id(user) || !span_is_utf8(topic))
		return false;
	if (!take(&rest, span_of(prefix)) || !take(&rest, SPAN("clients")) || !take(&rest, user))
		return false;
	if (rest.n == 0 || memchr(rest.p, '+', rest.n) != NULL || memchr(rest.p, '#', rest.n) != NULL ||
		memchr(rest.p, '\0', rest.n) != NULL)
		return false;
	return !span_is(rest, "jobs") && !span_is(rest, "cancel") && !span_is(rest, "presence") && !span_is(rest, "admin");
}
