#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

enum kind { UINT, REAL, TEXT, FLAG };

struct option {
	const char *name;
	enum kind kind;
	size_t offset;
	double min, max;
	const char *def, *help;
};

#define AT(m) offsetof(struct settings, m)

/* clang-format off */
static const struct option options[] = {
	{ "policy", TEXT, AT(policies), 0, 0, "all", "routing policies, one run each, with the same jobs: names with commas, or all" },
	{ "seed", UINT, AT(seed), 0, 1e15, "1", "what comes by chance follows it; the same seed, the same figures" },
	{ "agents", UINT, AT(agents), 1, 200000, "100", "boxes" },
	{ "fleet", TEXT, AT(fleet), 0, 0, "pi:30,mini:30,laptop:15,desktop:15,server:4,gpu:6", "kinds of boxes, with weights" },
	{ "models", TEXT, AT(models), 0, 0, "small", "models, with weights: how often jobs ask for them" },
	{ "jobs", UINT, AT(jobs), 1, 20e6, "10000", "how many are asked" },
	{ "load", REAL, AT(load), 0.001, 10, "0.6", "of what the fleet can compute, when nothing is cached" },
	{ "rate", REAL, AT(rate), 0, 1e6, "0", "jobs a second; 0: by --load" },
	{ "users", UINT, AT(users), 1, 100000, "50", "who ask" },
	{ "heavy", REAL, AT(heavy_share), 0, 1, "0", "share of the jobs that one user asks; the others share the rest" },
	{ "prompt", UINT, AT(prompt), 1, 16000, "200", "tokens of a prompt, on average; of a later turn: added to it" },
	{ "system", UINT, AT(system), 0, 8000, "0", "tokens before it that all of a group have in common" },
	{ "groups", UINT, AT(groups), 1, 1000, "5", "such beginnings there are" },
	{ "output", UINT, AT(output), 1, 4000, "100", "tokens of an answer, on average" },
	{ "turns", UINT, AT(turns), 1, 50, "1", "of a conversation, on average; 1: there are none" },
	{ "think", REAL, AT(think_s), 0, 3600, "15", "seconds from an answer to the next turn, on average" },
	{ "no-sessions", FLAG, AT(no_sessions), 0, 0, NULL, "conversations do not say that they are one" },
	{ "long", REAL, AT(long_share), 0, 1, "0", "share of the prompts that have 8,000 to 24,000 tokens more" },
	{ "burst", REAL, AT(burst), 1, 100, "1", "times the rate in a burst; between them it is lower, the mean stays" },
	{ "burst-length", REAL, AT(burst_s), 0.1, 3600, "3", "seconds of a burst" },
	{ "burst-every", REAL, AT(burst_every_s), 1, 3600, "30", "seconds from one to the next" },
	{ "high", REAL, AT(high_share), 0, 1, "0", "share of the jobs with priority high" },
	{ "low", REAL, AT(low_share), 0, 1, "0", "share of the jobs with priority low" },
	{ "deadline", UINT, AT(deadline_ms), 0, 86400000, "0", "ms each job has; 0: any" },
	{ "queue", UINT, AT(queue_max), 1, 1e6, "10000", "jobs that may wait at the hub" },
	{ "trace", TEXT, AT(trace), 0, 0, "", "file of jobs instead: CSV, see docs/SIMULATION.md" },
	{ "hop", UINT, AT(hop_us), 1, 1e6, "500", "us a message takes at least, twice that at most" },
	{ "journal", UINT, AT(journal_us), 0, 1e6, "1000", "us of a commit of the hub's journal" },
	{ "frame", UINT, AT(frame), 1, 64, "8", "tokens an engine tells at once after the first; a real one: 1" },
	{ "wire", FLAG, AT(is_wire), 0, 0, NULL, "messages go through the codec" },
	{ "loss", REAL, AT(loss), 0, 0.9, "0", "share of the QoS 0 messages that are lost" },
	{ "duplicate", REAL, AT(duplicate), 0, 0.9, "0", "… that come twice" },
	{ "reorder", REAL, AT(reorder), 0, 0.9, "0", "… that come up to 20 ms late, behind others" },
	{ "crashes", REAL, AT(crashes), 0, 1e5, "0", "agents a minute that are killed" },
	{ "partitions", REAL, AT(partitions), 0, 1e5, "0", "agents a minute that are cut off" },
	{ "heat", REAL, AT(heat), 0, 1e5, "0", "boxes a minute that run hot: half as fast for 30 s, and say so" },
	{ "slow", REAL, AT(slow), 0, 1, "0", "share of the boxes that are ten times slower than they say" },
	{ "hub-crashes", REAL, AT(hub_crashes), 0, 60, "0", "times a minute the hub is killed" },
	{ "hub-down", REAL, AT(hub_down_s), 0.001, 600, "2", "seconds until it runs again" },
	{ "mass-loss", REAL, AT(mass_loss), 0, 1, "0", "share of the boxes that lose power at once" },
	{ "mass-at", REAL, AT(mass_at_s), 0, 1e5, "10", "seconds after the first job when they do" },
	{ "down", REAL, AT(down_s), 0, 3600, "20", "seconds a fault lasts" },
	{ "give-up", REAL, AT(give_up_s), 1, 1e6, "3600", "seconds after the last job was asked: what has no end then is lost" },
	{ "csv", FLAG, AT(is_csv), 0, 0, NULL, "a line a policy" },
	{ "timing", FLAG, AT(is_timing), 0, 0, NULL, "also wall time and memory, which differ from run to run" },
	{ "verbose", FLAG, AT(is_verbose), 0, 0, NULL, "what hub and agents log, on stderr" },
};

static const struct {
	const char *name, *text, *options;
} scenarios[] = {
	{ "poisson", "jobs come by chance, at a steady rate", "" },
	{ "bursts", "six times as many for 3 s, each 30 s", "burst=6" },
	{ "sessions", "conversations of 6 turns, a common beginning of 300 tokens", "turns=6 system=300 prompt=150" },
	{ "no-session-ids", "the same, but the clients do not say which turns belong together", "turns=6 system=300 prompt=150 no-sessions" },
	{ "long", "one prompt in ten has 8,000 to 24,000 tokens more", "long=0.1" },
	{ "users", "one of 20 users asks for two thirds of all, more than the fleet can do", "users=20 heavy=0.65 load=1.3" },
	{ "priorities", "a tenth high, a third low, a little too much", "high=0.1 low=0.33 load=1.1" },
	{ "models", "three models of different sizes", "models=tiny:5,small:3,mid:1" },
	{ "lossy", "a broker that drops: 2 % of QoS 0 lost, 1 % twice, 5 % late", "loss=0.02 duplicate=0.01 reorder=0.05" },
	{ "crashes", "a box dies every 4 seconds, for 20", "crashes=15" },
	{ "partitions", "a box is cut off every 4 seconds, for 20", "partitions=15" },
	{ "hub-crashes", "the hub dies every 10 seconds", "hub-crashes=6" },
	{ "slow", "one box in twenty is ten times slower than it says", "slow=0.05" },
	{ "heat", "a box runs hot every 2 seconds", "heat=30" },
	{ "mass-loss", "a third of the fleet loses power", "mass-loss=0.33" },
	{ "scale", "10,000 boxes, 1,000,000 jobs", "agents=10000 jobs=1000000 models=tiny prompt=64 output=32 frame=32 users=1000 load=0.7" },
};
/* clang-format on */

#define N_OPTIONS (sizeof(options) / sizeof(options[0]))
#define N_SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static void *member(struct settings *s, const struct option *o)
{
	return (char *)s + o->offset;
}

static bool set(struct settings *s, const struct option *o, const char *value)
{
	char *end = NULL;
	double x;
	uint64_t n;
	bool yes = true;

	if (o->kind == FLAG) {
		memcpy(member(s, o), &yes, sizeof(yes));
		return true;
	}
	if (o->kind == TEXT) {
		memcpy(member(s, o), &value, sizeof(value));
		return true;
	}
	x = strtod(value, &end);
	if (end == value || *end != '\0' || !isfinite(x) || x < o->min || x > o->max || (o->kind == UINT && x != floor(x))) {
		fprintf(stderr, "shoal-sim: --%s takes a %snumber from %g to %g, not \"%s\"\n", o->name,
			o->kind == UINT ? "whole " : "", o->min, o->max, value);
		return false;
	}
	n = (uint64_t)x;
	if (o->kind == UINT)
		memcpy(member(s, o), &n, sizeof(n));
	else
		memcpy(member(s, o), &x, sizeof(x));
	return true;
}

static const struct option *find(const char *name, size_t n)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (strlen(options[i].name) == n && memcmp(options[i].name, name, n) == 0)
			return &options[i];
	return NULL;
}

/* Ours: they are right. */
static void apply(struct settings *s, const char *text)
{
	static char copies[16][256];
	static size_t n_copies;
	char *at = copies[n_copies++ % 16], *word;

	snprintf(at, sizeof(copies[0]), "%s", text);
	while ((word = strsep(&at, " ")) != NULL) {
		size_t n = strcspn(word, "=");

		if (n > 0)
			(void)set(s, find(word, n), word[n] == '=' ? word + n + 1 : "");
	}
}

static bool apply_scenario(struct settings *s, const char *name)
{
	for (size_t i = 0; i < N_SCENARIOS; i++)
		if (strcmp(scenarios[i].name, name) == 0) {
			apply(s, scenarios[i].options);
			return true;
		}
	fprintf(stderr, "shoal-sim: there is no scenario \"%s\": --help lists them\n", name);
	return false;
}

static void help(void)
{
	printf("usage: shoal-sim [--OPTION=VALUE…]\n\n"
	       "Runs the hub's and the agents' own code in a simulated fleet, one run a policy, and tells how jobs went.\n"
	       "Exit status 1 when a job was lost, or answered wrongly.\n\noptions:\n");
	for (size_t i = 0; i < N_OPTIONS; i++)
		printf("  --%-13s %s%s%s%s\n", options[i].name, options[i].help, options[i].def != NULL ? " (" : "",
			options[i].def != NULL ? options[i].def[0] != '\0' ? options[i].def : "none" : "",
			options[i].def != NULL ? ")" : "");
	printf("  --%-13s sets some of these; may come several times, and options behind it count\n\nscenarios:\n",
		"scenario");
	for (size_t i = 0; i < N_SCENARIOS; i++)
		printf("  %-14s %s%s%s\n", scenarios[i].name, scenarios[i].text, scenarios[i].options[0] != '\0' ? ": " : "",
			scenarios[i].options);
	hardware_list();
	printf("\npolicies:");
	for (size_t i = 0; hub_policy_names[i] != NULL; i++)
		printf(" %s", hub_policy_names[i]);
	printf("\n");
}

static bool take(struct settings *s, const char *arg, const char *next, int *ret_used)
{
	const char *name = arg + 2, *value;
	size_t n = strcspn(name, "=");
	const struct option *o = find(name, n);
	bool is_scenario = n == 8 && memcmp(name, "scenario", 8) == 0;

	*ret_used = 1;
	if (strncmp(arg, "--", 2) != 0 || (o == NULL && !is_scenario)) {
		fprintf(stderr, "shoal-sim: what is \"%s\"? --help lists the options\n", arg);
		return false;
	}
	if (o != NULL && o->kind == FLAG && name[n] == '\0')
		return set(s, o, "");
	value = name[n] == '=' ? name + n + 1 : next;
	*ret_used += name[n] != '=';
	if (value == NULL || (o != NULL && o->kind == FLAG)) {
		fprintf(stderr, "shoal-sim: --%.*s takes %s value\n", (int)n, name, value == NULL ? "a" : "no");
		return false;
	}
	return is_scenario ? apply_scenario(s, value) : set(s, o, value);
}

static bool check(const struct settings *s)
{
	if (s->burst > 1 && s->burst_s >= s->burst_every_s) {
		fprintf(stderr, "shoal-sim: --burst-length must be less than --burst-every\n");
		return false;
	}
	return true;
}

int options_parse(struct settings *s, int argc, char **argv)
{
	*s = (struct settings){ 0 };
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (options[i].def != NULL)
			(void)set(s, &options[i], options[i].def);
	for (int i = 1, used; i < argc; i += used) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			help();
			return 1;
		}
		if (strcmp(argv[i], "--version") == 0) {
			printf("shoal-sim %s\n", SHOAL_VERSION);
			return 1;
		}
		if (!take(s, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &used))
			return 3;
	}
	return check(s) ? 0 : 3;
}
