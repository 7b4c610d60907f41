/* report.c - figures, as a table with a column a policy, or as CSV with a line a policy. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

void samples_add(struct samples *s, uint64_t us)
{
	if (s->n == s->cap) {
		s->cap = s->cap > 0 ? 2 * s->cap : 4096;
		s->v = realloc(s->v, s->cap * sizeof(*s->v));
		if (s->v == NULL)
			abort();
	}
	s->v[s->n++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static int compare(const void *a, const void *b)
{
	uint32_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

/* ---- fairness ---- */

static int compare_wants(const void *a, const void *b)
{
	double x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

/* What everyone gets who wants more, when so much is shared fairly (max-min). */
static double fair_level(double *wants, size_t n, double capacity)
{
	qsort(wants, n, sizeof(*wants), compare_wants);
	for (size_t i = 0; i < n; i++) {
		if (wants[i] * (double)(n - i) >= capacity)
			return capacity / (double)(n - i);
		capacity -= wants[i];
	}
	return n > 0 ? wants[n - 1] : 0;
}

/* Jain, Chiu and Hawe's index (DEC-TR-301, 1984) of what each user was served of its fair share
 * of all that was served in the window; windows count by that. */
void report_window(struct figures_of_run *f, size_t n_users)
{
	double *wants = calloc(n_users, sizeof(*wants)), capacity = 0, level, sum = 0, squares = 0;
	size_t n = 0;

	if (wants == NULL)
		abort();
	for (size_t i = 0; i < n_users; i++) {
		double want = f->users[i].waiting + f->users[i].asked;

		capacity += f->users[i].served;
		if (want > 0)
			wants[n++] = want;
	}
	level = fair_level(wants, n, capacity);
	for (size_t i = 0; i < n_users; i++) {
		struct user_window *u = &f->users[i];
		double want = u->waiting + u->asked, share = want < level ? want : level;

		if (want > 0 && share > 0) {
			sum += u->served / share;
			squares += u->served / share * (u->served / share);
		}
		u->waiting = want - u->served - u->dropped > 0 ? want - u->served - u->dropped : 0;
		u->asked = u->served = u->dropped = 0;
	}
	if (squares > 0) {
		f->jain += sum * sum / ((double)n * squares) * capacity;
		f->jain_weight += capacity;
	}
	free(wants);
}

/* ---- the table ---- */

#define ROWS 64
#define MAX_POLICIES 16

struct row {
	const char *name, *unit;
	const char *csv;
	unsigned digits;
	double v[MAX_POLICIES];
};

static struct row rows[ROWS];
static const char *columns[MAX_POLICIES];
static size_t n_rows, n_columns;

static void put(const char *name, const char *csv, const char *unit, unsigned digits, double v)
{
	size_t i = 0;

	while (i < n_rows && strcmp(rows[i].csv, csv) != 0)
		i++;
	if (i == ROWS)
		return;
	if (i == n_rows)
		rows[n_rows++] = (struct row){ .name = name, .csv = csv, .unit = unit, .digits = digits };
	rows[i].v[n_columns] = v;
}

static double share(double part, double of)
{
	return of > 0 ? part / of : 0;
}

static double percentile(const struct samples *s, unsigned percent)
{
	return s->n > 0 ? s->v[(s->n * percent + 99) / 100 - 1] / 1e6 : 0;
}

#define PUT_TIMES(title, name, s)                                                                                           \
	do {                                                                                                                \
		if ((s)->n > 0)                                                                                             \
			qsort((s)->v, (s)->n, sizeof(*(s)->v), compare);                                                    \
		put(title " p50", name "_p50_s", "s", 3, percentile(s, 50));                                                \
		put(title " p90", name "_p90_s", "s", 3, percentile(s, 90));                                                \
		put(title " p95", name "_p95_s", "s", 3, percentile(s, 95));                                                \
		put(title " p99", name "_p99_s", "s", 3, percentile(s, 99));                                                \
	} while (0)

static void put_codes(const struct figures_of_run *f)
{
	static char names[CODE_MAX + 1][64];
	double sum = 0;

	for (unsigned code = 1; code <= CODE_MAX; code++)
		sum += (double)f->by_code[code];
	put("failed", "failed", "", 0, sum);
	for (unsigned code = 1; code <= CODE_MAX; code++) {
		if (f->by_code[code] == 0)
			continue;
		snprintf(names[code], sizeof(names[code]), "%s", code_name(code));
		put(names[code], names[code], "", 0, (double)f->by_code[code]);
	}
}

void report_run(const struct settings *s, const char *policy, struct figures_of_run *f)
{
	double span_s = (double)(f->last_at - f->first_at) / 1e6;

	put("jobs", "jobs", "", 0, (double)f->asked);
	put("done", "done", "", 0, (double)f->done);
	put("lost", "lost", "", 0, (double)f->lost);
	put("wrong", "wrong", "", 0, (double)f->wrong);
	PUT_TIMES("queue", "queue", &f->queue);
	PUT_TIMES("first token", "ttft", &f->first);
	PUT_TIMES("end to end", "e2e", &f->total);
	put("jobs a second asked", "asked_per_s", "", 1, share((double)f->asked, span_s));
	put("tokens a second", "tokens_per_s", "", 1, share((double)f->tokens, span_s));
	put("cached share of prompts", "cached_share", "", 4, share((double)f->cached_tokens, (double)f->prompt_tokens));
	put("fairness", "fairness", "", 4, share(f->jain, f->jain_weight));
	put("slots in use", "utilisation", "", 4, share(f->busy_slot_us, f->slot_us));
	put("busiest box's share", "busiest_share", "", 4, f->busiest);
	put("attempts a job", "attempts_per_job", "", 4, share((double)f->attempts, (double)f->asked));
	put("sessions moved", "sessions_moved", "", 0, (double)f->moved);
	put("turns kept", "turns_kept", "", 0, (double)f->turns_kept);
	put("hub restarts", "hub_restarts", "", 0, (double)f->hub_runs);
	put("hub steps a job", "hub_steps_per_job", "", 2, share((double)f->steps_hub, (double)f->asked));
	put("agent steps a job", "agent_steps_per_job", "", 2, share((double)f->steps_agent, (double)f->asked));
	put("messages a job", "messages_per_job", "", 2, share((double)f->messages, (double)f->asked));
	if (s->is_timing) {
		put("wall seconds", "wall_s", "s", 2, f->wall_s);
		put("CPU seconds", "cpu_s", "s", 2, f->cpu_s);
		put("jobs a wall second", "jobs_per_wall_s", "", 0, share((double)f->asked, f->wall_s));
		put("hub bytes an agent", "hub_bytes_per_agent", "", 0, f->bytes_agent);
		put("hub bytes a session", "hub_bytes_per_session", "", 0, f->bytes_session);
	}
	put_codes(f);
	columns[n_columns++] = policy;
}

static void print_csv(const struct settings *s)
{
	printf("policy,seed,agents");
	for (size_t i = 0; i < n_rows; i++)
		printf(",%s", rows[i].csv);
	putchar('\n');
	for (size_t k = 0; k < n_columns; k++) {
		printf("%s,%llu,%llu", columns[k], (unsigned long long)s->seed, (unsigned long long)s->agents);
		for (size_t i = 0; i < n_rows; i++)
			printf(",%.*f", (int)rows[i].digits, rows[i].v[k]);
		putchar('\n');
	}
}

void report_print(const struct settings *s)
{
	if (s->is_csv) {
		print_csv(s);
		return;
	}
	printf("%-24s", "");
	for (size_t k = 0; k < n_columns; k++)
		printf(" %15s", columns[k]);
	putchar('\n');
	for (size_t i = 0; i < n_rows; i++) {
		printf("%-24s", rows[i].name);
		for (size_t k = 0; k < n_columns; k++)
			printf(" %*.*f%s", rows[i].unit[0] != '\0' ? 13 : 15, (int)rows[i].digits, rows[i].v[k],
				rows[i].unit[0] != '\0' ? " s" : "");
		putchar('\n');
	}
}

void report_fini(struct figures_of_run *f)
{
	free(f->queue.v);
	free(f->first.v);
	free(f->total.v);
	free(f->users);
	*f = (struct figures_of_run){ 0 };
}
