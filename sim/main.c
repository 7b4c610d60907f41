/* main.c - one run a policy, with the same jobs; the figures side by side. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sim.h"

static bool is_asked_for(const char *list, const char *policy)
{
	size_t n = strlen(policy);

	if (strcmp(list, "all") == 0)
		return true;
	for (const char *at = list; *at != '\0'; at += strcspn(at, ","), at += *at == ',')
		if (strcspn(at, ",") == n && memcmp(at, policy, n) == 0)
			return true;
	return false;
}

static bool are_known(const char *list)
{
	for (const char *at = list; *at != '\0'; at += strcspn(at, ","), at += *at == ',') {
		size_t n = strcspn(at, ","), i = 0;

		while (hub_policy_names[i] != NULL &&
			(strlen(hub_policy_names[i]) != n || memcmp(at, hub_policy_names[i], n) != 0))
			i++;
		if (hub_policy_names[i] == NULL && strcmp(list, "all") != 0) {
			fprintf(stderr, "shoal-sim: there is no policy \"%.*s\": --help lists them\n", (int)n, at);
			return false;
		}
	}
	return list[0] != '\0';
}

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double slots(const struct world *w)
{
	double n = 0;

	for (size_t i = 0; i < w->n_boxes; i++)
		for (size_t k = 0; k < w->boxes[i].n_engines; k++)
			n += (double)w->boxes[i].engines[k].n_runs;
	return n;
}

static double busiest(const struct world *w)
{
	uint64_t most = 0;

	for (size_t i = 0; i < w->n_boxes; i++)
		most = w->boxes[i].n_done > most ? w->boxes[i].n_done : most;
	return w->fig.done > 0 ? (double)most / (double)w->fig.done : 0;
}

/* Returns whether all jobs ended as they should. */
static bool run(const struct settings *s, const struct fleet *fleet, struct trace *trace, enum hub_policy policy)
{
	struct world *w = calloc(1, sizeof(*w));
	const char *name = hub_policy_names[policy];
	double began = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	bool is_right;

	if (w == NULL)
		abort();
	w->set = s;
	w->fleet = fleet;
	w->trace = trace;
	if (s->is_timing)
		memory_measure(policy, &w->fig.bytes_agent, &w->fig.bytes_session);
	world_run(w, policy);
	w->fig.busiest = busiest(w);
	w->fig.slot_us = slots(w) * (double)(w->last_end - w->begin);
	w->fig.wall_s = seconds(CLOCK_MONOTONIC) - began;
	w->fig.cpu_s = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	is_right = w->fig.lost == 0 && w->fig.wrong == 0;
	if (!is_right)
		fprintf(stderr, "shoal-sim: %s: %llu jobs have no end, %llu answers were wrong\n", name,
			(unsigned long long)w->fig.lost, (unsigned long long)w->fig.wrong);
	if (!s->is_timing)
		fprintf(stderr, "%s: %.1f s of wall time, %.1f us of CPU time a job\n", name, w->fig.wall_s,
			w->fig.cpu_s * 1e6 / (double)w->fig.asked);
	report_run(s, name, &w->fig);
	report_fini(&w->fig);
	world_fini(w);
	free(w);
	return is_right;
}

int main(int argc, char **argv)
{
	struct settings s;
	struct fleet fleet;
	struct trace trace = { 0 };
	int rc = options_parse(&s, argc, argv);
	bool is_right = true;

	if (rc > 0)
		return rc - 1;
	if (!are_known(s.policies) || !hardware_parse(&s, &fleet))
		return 2;
	if (s.trace[0] != '\0' && !trace_read(s.trace, &fleet, &trace))
		return 2;
	if (s.trace[0] != '\0')
		s.jobs = trace.n;
	load_init();
	for (unsigned p = 0; p < HUB_POLICY_COUNT; p++)
		if (is_asked_for(s.policies, hub_policy_names[p]))
			is_right &= run(&s, &fleet, trace.n > 0 ? &trace : NULL, (enum hub_policy)p);
	report_print(&s);
	trace_free(&trace);
	return is_right ? 0 : 1;
}
