/* affinity.c - which agent has computed how much of a prompt already.
 *
 * An engine keeps what it computed of the last few prompts and takes over the longest beginning
 * a new one has in common with any.  So we remember, by hashes of the beginnings of prompts
 * (L. Zheng et al., "SGLang: Efficient Execution of Structured Language Model Programs", 2024, keep a
 * tree of tokens for it; hashes of blocks take less and need no tokenizer), where each was run.  A prompt is
 * its roles and contents; it is cut every 256 bytes, and from 2 KiB on every eighth of what is behind, so
 * that the longest has some sixty cuts, and a conversation that goes on has the same ones.
 *
 * What is named is a cache: what one engine of one agent holds, from one load of the model to its end.  When the
 * agent restarts or unloads the model, the cache's number names nothing any more, and nothing has to be
 * searched for it.  How much an engine keeps it does not tell: we take it for one beginning for each of its
 * slots, the oldest going first, and correct that by what it said was cached.
 *
 * All of it is an estimate.  It decides where work goes, never what comes of it. */
#include "core.h"

#include <stdlib.h>

#define BLOCK 256
#define MAX_CUTS 64
#define PLACES 4            /* caches remembered of one beginning: enough to choose from */
#define BYTES_PER_TOKEN 4.0 /* until there were jobs */

struct prefix {           /* a beginning of a prompt */
	struct node node; /* hub.prefixes */
	struct list used; /* hub.prefix_used: longest ago first */
	struct place {
		uint64_t cache, fresh_at;
	} places[PLACES]; /* the latest first; 0: none */
};

/* ---- caches ---- */

void affinity_cache_new(struct hub *h, struct hold *o)
{
	table_del(&h->caches, &o->cache.node);
	o->cache = (struct cache){ .id = ++h->last_cache };
	table_add(&h->caches, o->cache.id, &o->cache.node);
	h->affinity_gen++;
}

void affinity_cache_move(struct hub *h, struct hold *from, struct hold *to)
{
	table_del(&h->caches, &from->cache.node);
	to->cache = from->cache;
	to->cache.node = (struct node){ 0 };
	table_add(&h->caches, to->cache.id, &to->cache.node);
}

void affinity_cache_drop(struct hub *h, struct hold *o)
{
	table_del(&h->caches, &o->cache.node);
	h->affinity_gen++;
}

struct hold *affinity_hold(const struct hub *h, uint64_t cache)
{
	struct node *n = cache != 0 ? table_first(&h->caches, cache) : NULL;

	return n != NULL ? CONTAINER(n, struct hold, cache.node) : NULL;
}

void affinity_new_life(struct hub *h, struct agent *a)
{
	for (size_t i = 0; i < a->n_holds; i++)
		if (RULE(h, CACHE))
			affinity_cache_new(h, &a->holds[i]);
}

static uint64_t places_of(const struct hold *o)
{
	uint64_t slots = models_slots(o);

	return o->cache.n_places > slots ? o->cache.n_places : slots;
}

/* Others have taken its place in the engine since. */
static bool is_displaced(const struct hold *o, uint64_t fresh_at)
{
	return o->cache.n_fresh - fresh_at >= places_of(o);
}

/* ---- hashes ---- */

struct chain {
	uint64_t hash, n, next_cut;
	uint8_t word[8];
	uint64_t cuts[MAX_CUTS];
	size_t n_cuts;
};

static uint64_t cut_after(uint64_t cut)
{
	uint64_t step = cut / 8 & ~UINT64_C(7);

	return cut + (step > BLOCK ? step : BLOCK);
}

static void chain_word(struct chain *c)
{
	uint64_t word;

	memcpy(&word, c->word, sizeof(word));
	c->hash = rng_mix(c->hash, word);
	if (c->n != c->next_cut || c->n_cuts == MAX_CUTS)
		return;
	c->cuts[c->n_cuts++] = c->hash;
	c->next_cut = cut_after(c->n);
}

static void chain_add(struct chain *c, struct span s)
{
	while (s.n > 0) {
		size_t at = c->n % sizeof(c->word), n = sizeof(c->word) - at < s.n ? sizeof(c->word) - at : s.n;

		memcpy(c->word + at, s.p, n);
		s.p += n;
		s.n -= n;
		c->n += n;
		if (c->n % sizeof(c->word) == 0)
			chain_word(c);
	}
}

static void chain_turn(struct chain *c, struct span role, struct span content)
{
	chain_add(c, role);
	chain_add(c, SPAN("\x01"));
	chain_add(c, content);
}

static void chain_prompt(const struct hub *h, const struct job *j, struct chain *ret)
{
	const struct submit *s = j->submit;

	*ret = (struct chain){ .hash = table_hash(h->hash_seed, span_of(j->model_name)), .next_cut = BLOCK };
	chain_add(ret, s->prompt);
	for (size_t i = 0; i < s->n_messages; i++) {
		chain_turn(ret, s->messages[i].role, s->messages[i].content);
		chain_add(ret, SPAN("\x02"));
	}
}

/* The answer is what comes behind it in the conversation's next prompt. */
static void chain_answer(const struct job *j, struct chain *c)
{
	if (j->submit->n_messages > 0)
		chain_turn(c, SPAN("assistant"), buf_span(&j->text));
	else
		chain_add(c, buf_span(&j->text));
}

/* ---- what is remembered ---- */

static struct prefix *prefix_find(const struct hub *h, uint64_t hash)
{
	struct node *n = table_first(&h->prefixes, hash);

	return n != NULL ? CONTAINER(n, struct prefix, node) : NULL;
}

static void prefix_free(struct hub *h, struct prefix *p)
{
	table_del(&h->prefixes, &p->node);
	list_del(&p->used);
	h->n_prefixes--;
	free(p);
}

static struct prefix *prefix_get(struct hub *h, uint64_t hash)
{
	struct prefix *p = prefix_find(h, hash);

	if (p != NULL)
		return p;
	while (h->n_prefixes >= h->config.max_prefixes && h->n_prefixes > 0)
		prefix_free(h, CONTAINER(h->prefix_used.next, struct prefix, used));
	p = h->config.max_prefixes > 0 ? calloc(1, sizeof(*p)) : NULL;
	if (p == NULL)
		return NULL; /* one estimate less */
	list_init(&p->used);
	table_add(&h->prefixes, hash, &p->node);
	h->n_prefixes++;
	return p;
}

static void prefix_put(struct prefix *p, const struct hold *o)
{
	size_t i = 0;

	while (i < PLACES - 1 && p->places[i].cache != o->cache.id)
		i++;
	memmove(&p->places[1], &p->places[0], i * sizeof(p->places[0]));
	p->places[0] = (struct place){ o->cache.id, o->cache.n_fresh };
}

static void remember(struct hub *h, const struct hold *o, const uint64_t *cuts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct prefix *p = prefix_get(h, cuts[i]);

		if (p == NULL)
			return;
		prefix_put(p, o);
		list_del(&p->used);
		list_add_tail(&h->prefix_used, &p->used);
	}
	h->affinity_gen++;
}

void affinity_fini(struct hub *h)
{
	LIST_EACH(l, &h->prefix_used)
	prefix_free(h, CONTAINER(l, struct prefix, used));
}

/* ---- tokens ---- */

static uint64_t tokens_of(const struct model *m, uint64_t bytes)
{
	return (uint64_t)((double)bytes / (m->bytes_per_token > 0.1 ? m->bytes_per_token : BYTES_PER_TOKEN));
}

/* ---- a job ---- */

static bool is_reusable(const struct job *j)
{
	return !j->is_embedding && j->sampling.cache_prompt;
}

int affinity_job(struct hub *h, struct job *j)
{
	struct chain c;

	if (!is_reusable(j))
		return 0;
	chain_prompt(h, j, &c);
	j->prompt_bytes = c.n;
	if (c.n_cuts == 0 || h->config.max_prefixes == 0)
		return 0;
	j->cuts = malloc(c.n_cuts * sizeof(*j->cuts));
	if (j->cuts == NULL)
		return ERR_NOMEM;
	memcpy(j->cuts, c.cuts, c.n_cuts * sizeof(*j->cuts));
	j->n_cuts = c.n_cuts;
	return 0;
}

static void add_hits(const struct hub *h, struct job *j, const struct prefix *p, uint64_t bytes)
{
	for (size_t i = 0; i < PLACES && j->n_hits < AFFINITY_HITS; i++) {
		const struct hold *o = affinity_hold(h, p->places[i].cache);
		size_t k = 0;

		while (k < j->n_hits && j->hits[k].cache != p->places[i].cache)
			k++;
		if (o == NULL || k < j->n_hits || is_displaced(o, p->places[i].fresh_at))
			continue;
		j->hits[j->n_hits++] = (struct affinity_hit){ o->cache.id, tokens_of(j->model, bytes) };
	}
}

/* The longest beginnings first. */
static void look(const struct hub *h, struct job *j)
{
	uint64_t bytes[MAX_CUTS], at = BLOCK;

	if (j->hits_gen == h->affinity_gen)
		return;
	j->hits_gen = h->affinity_gen;
	j->n_hits = 0;
	for (size_t i = 0; i < j->n_cuts; i++, at = cut_after(at))
		bytes[i] = at;
	for (size_t i = j->n_cuts; i-- > 0 && j->n_hits < AFFINITY_HITS;) {
		const struct prefix *p = prefix_find(h, j->cuts[i]);

		if (p != NULL)
			add_hits(h, j, p, bytes[i]);
	}
}

/* A prompt too short for a cut is known by its session alone. */
static uint64_t cached_by_session(const struct hub *h, const struct job *j, const struct hold *o)
{
	const struct session *s = j->session;
	uint64_t tokens = tokens_of(j->model, j->prompt_bytes);

	if (s == NULL || (j->n_cuts > 0 && h->config.max_prefixes > 0 && s->tokens != SESSION_WHOLE) ||
		s->cache != o->cache.id || is_displaced(o, s->fresh_at))
		return 0;
	return s->tokens < tokens ? s->tokens : tokens;
}

uint64_t affinity_cached(const struct hub *h, struct job *j, const struct agent *a)
{
	const struct hold *o = models_hold(a, j->model);

	if (o == NULL)
		return 0;
	look(h, j);
	for (size_t i = 0; i < j->n_hits; i++)
		if (j->hits[i].cache == o->cache.id)
			return j->hits[i].tokens;
	return cached_by_session(h, j, o);
}

size_t affinity_holds(const struct hub *h, struct job *j, struct hold *ret[AFFINITY_HITS])
{
	size_t n = 0;

	look(h, j);
	for (size_t i = 0; i < j->n_hits; i++)
		if ((ret[n] = affinity_hold(h, j->hits[i].cache)) != NULL)
			n++;
	return n;
}

void affinity_prefilled(struct hub *h, const struct job *j)
{
	const struct hold *o = models_hold(j->agent, j->model);

	if (o != NULL)
		remember(h, o, j->cuts, j->n_cuts);
}

/* It kept more than we thought, or less. */
static void learn_places(struct hold *o, const struct job *j)
{
	const struct session *s = j->session;
	uint64_t cached = j->usage.cached_tokens, ago;

	if (s == NULL || s->cache != o->cache.id || j->session_state != HUB_SESSION_KEPT)
		return;
	ago = o->cache.n_fresh - s->fresh_at;
	if (cached * 2 > j->usage.prompt_tokens && ago >= places_of(o))
		o->cache.n_places = ago + 1;
	else if (cached * 4 < j->expected_cached && ago < o->cache.n_places)
		o->cache.n_places = ago;
}

void affinity_done(struct hub *h, struct job *j)
{
	struct hold *o = models_hold(j->agent, j->model);
	struct chain c;

	h->session_stats.prompt_tokens += j->usage.prompt_tokens;
	h->session_stats.cached_tokens += j->usage.cached_tokens;
	h->session_stats.expected_tokens += j->expected_cached;
	if (o == NULL || !is_reusable(j))
		return;
	learn_places(o, j);
	if (j->usage.cached_tokens * 2 < j->usage.prompt_tokens)
		o->cache.n_fresh++;
	h->affinity_gen++;
	if (h->config.max_prefixes == 0 || j->prompt_bytes + j->text.n < BLOCK)
		return;
	chain_prompt(h, j, &c);
	chain_answer(j, &c);
	remember(h, o, c.cuts, c.n_cuts);
}
