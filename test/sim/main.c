/* main.c - sim [--seeds A..B] [--mutant NAME | --mutants] [--verbose]
 *
 * Without a mutant every seed must pass.  With one (a fence rule switched off; only in the
 * program built from the mutants) some seed must fail: the first one is named. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

static const struct {
	const char *name;
	unsigned hub, agent;
} mutants[] = {
	{ "hub:agent", HUB_RULE_AGENT, 0 },
	{ "hub:epoch", HUB_RULE_EPOCH, 0 },
	{ "hub:attempt", HUB_RULE_ATTEMPT, 0 },
	{ "hub:index", HUB_RULE_INDEX, 0 },
	{ "hub:prefix", HUB_RULE_PREFIX, 0 },
	{ "hub:idempotency", HUB_RULE_IDEMPOTENCY, 0 },
	{ "hub:count", HUB_RULE_COUNT, 0 },
	{ "hub:digest", HUB_RULE_DIGEST, 0 },
	{ "hub:status", HUB_RULE_STATUS, 0 },
	{ "hub:registration", HUB_RULE_REGISTRATION, 0 },
	{ "hub:full", HUB_RULE_FULL, 0 },
	{ "hub:journal-dispatch", HUB_RULE_JOURNAL_DISPATCH, 0 },
	{ "hub:journal-accept", HUB_RULE_JOURNAL_ACCEPT, 0 },
	{ "hub:journal-forward", HUB_RULE_JOURNAL_FORWARD, 0 },
	{ "hub:journal-end", HUB_RULE_JOURNAL_END, 0 },
	{ "hub:room", HUB_RULE_ROOM, 0 },
	{ "hub:avoid", HUB_RULE_AVOID, 0 },
	{ "hub:offer", HUB_RULE_OFFER, 0 },
	{ "hub:admin", HUB_RULE_ADMIN, 0 },
	{ "hub:breaker", HUB_RULE_BREAKER, 0 },
	{ "hub:load-cap", HUB_RULE_LOAD_CAP, 0 },
	{ "hub:sticky", HUB_RULE_STICKY, 0 },
	{ "hub:cache", HUB_RULE_CACHE, 0 },
	{ "hub:poison", HUB_RULE_POISON, 0 },
	{ "hub:alone", HUB_RULE_ALONE, 0 },
	{ "hub:continuity", HUB_RULE_CONTINUITY, 0 },
	{ "hub:hedge", HUB_RULE_HEDGE, 0 },
	{ "hub:turns", HUB_RULE_TURNS, 0 },
	{ "hub:aging", HUB_RULE_AGING, 0 },
	{ "hub:cohort", HUB_RULE_COHORT, 0 },
	{ "hub:guard", HUB_RULE_GUARD, 0 },
	{ "hub:look", HUB_RULE_LOOK, 0 },
	{ "agent:epoch", 0, AGENT_RULE_EPOCH },
	{ "agent:attempt", 0, AGENT_RULE_ATTEMPT },
	{ "agent:duplicate", 0, AGENT_RULE_DUPLICATE },
	{ "agent:engine-index", 0, AGENT_RULE_ENGINE_INDEX },
	{ "agent:engine-count", 0, AGENT_RULE_ENGINE_COUNT },
	{ "agent:engine-patience", 0, AGENT_RULE_ENGINE_PATIENCE },
	{ "agent:memory", 0, AGENT_RULE_MEMORY },
	{ "agent:spare", 0, AGENT_RULE_SPARE },
};
#define N_MUTANTS (sizeof(mutants) / sizeof(mutants[0]))

struct options {
	uint64_t first, last;
	size_t mutant; /* N_MUTANTS: none */
	bool all_mutants, is_verbose;
};

struct totals {
	uint64_t done, errors, steps, benched, hedged;
};

/* True when nothing was violated; else the seed and what it was are printed. */
static bool run(uint64_t seed, const struct options *o, struct totals *t)
{
	struct sim *s = calloc(1, sizeof(*s));
	bool is_right;

	if (s == NULL)
		abort();
	s->seed = seed;
	s->is_verbose = o->is_verbose;
	if (o->mutant < N_MUTANTS) {
		s->hub_rules_off = mutants[o->mutant].hub;
		s->agent_rules_off = mutants[o->mutant].agent;
	}
	is_right = sim_run(s) && (seed % FAIR_EVERY != 0 || (fair_run(s) && variants_run(s)));
	t->done += s->n_done;
	t->errors += s->n_error;
	t->benched += s->n_benched;
	t->hedged += s->n_hedged;
	t->steps += s->steps;
	if (!is_right)
		printf("seed %llu: %s (at %llu ms)\n", (unsigned long long)seed, s->why, (unsigned long long)s->now);
	sim_fini(s);
	free(s);
	return is_right;
}

static int check_seeds(const struct options *o)
{
	struct totals t = { 0 };
	uint64_t failed = 0;

	for (uint64_t seed = o->first; seed <= o->last; seed++)
		failed += !run(seed, o, &t);
	printf("%llu seeds, %llu violations; %llu jobs done, %llu ended with an error, %llu speeds measured, %llu second attempts, %llu steps\n",
		(unsigned long long)(o->last - o->first + 1), (unsigned long long)failed, (unsigned long long)t.done,
		(unsigned long long)t.errors, (unsigned long long)t.benched, (unsigned long long)t.hedged, (unsigned long long)t.steps);
	return failed == 0 ? 0 : 1;
}

/* All seeds, or up to the first that fails. */
static int check_mutant(struct options *o, size_t mutant)
{
	struct totals t = { 0 };
	uint64_t caught = 0;

	o->mutant = mutant;
	printf("%s: ", mutants[mutant].name);
	fflush(stdout);
	for (uint64_t seed = o->first; seed <= o->last && (caught == 0 || !o->all_mutants); seed++)
		caught += !run(seed, o, &t);
	if (!o->all_mutants || caught == 0)
		printf("%s: %s by %llu of seeds %llu..%llu\n", mutants[mutant].name, caught > 0 ? "caught" : "NOT CAUGHT",
			(unsigned long long)caught, (unsigned long long)o->first, (unsigned long long)o->last);
	return caught > 0 ? 0 : 1;
}

static int check_mutants(struct options *o)
{
	int rc = 0;

	for (size_t i = 0; i < N_MUTANTS; i++)
		rc |= check_mutant(o, i);
	return rc;
}

static int usage(void)
{
	fprintf(stderr, "usage: sim [--seeds A..B] [--mutant NAME | --mutants] [--verbose]\nmutants:");
	for (size_t i = 0; i < N_MUTANTS; i++)
		fprintf(stderr, " %s", mutants[i].name);
	fprintf(stderr, "\n");
	return 2;
}

static bool parse_seeds(const char *arg, struct options *o)
{
	char *end;

	o->first = o->last = strtoull(arg, &end, 10);
	if (end[0] == '.' && end[1] == '.')
		o->last = strtoull(end + 2, &end, 10);
	return end != arg && *end == '\0' && o->first <= o->last;
}

static bool parse_mutant(const char *arg, struct options *o)
{
	for (o->mutant = 0; o->mutant < N_MUTANTS; o->mutant++)
		if (strcmp(arg, mutants[o->mutant].name) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	struct options o = { .first = 1, .last = 1000, .mutant = N_MUTANTS };
	bool is_ok = true;

	for (int i = 1; i < argc && is_ok; i++) {
		if (strcmp(argv[i], "--verbose") == 0)
			o.is_verbose = true;
		else if (strcmp(argv[i], "--mutants") == 0)
			o.all_mutants = true;
		else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
			is_ok = parse_seeds(argv[++i], &o);
		else if (strcmp(argv[i], "--mutant") == 0 && i + 1 < argc)
			is_ok = parse_mutant(argv[++i], &o);
		else
			is_ok = false;
	}
	if (!is_ok)
		return usage();
#ifndef SIM_MUTANTS
	if (o.all_mutants || o.mutant < N_MUTANTS) {
		fprintf(stderr, "sim: the shipped cores have no mutants: use sim_mutant\n");
		return 2;
	}
#endif
	if (o.all_mutants)
		return check_mutants(&o);
	return o.mutant < N_MUTANTS ? check_mutant(&o, o.mutant) : check_seeds(&o);
}
