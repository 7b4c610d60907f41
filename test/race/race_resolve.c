/* race_resolve.c - many lookups at once, some given up at any moment: the loop's side and
 * the threads share nothing but the job, and whoever lets go last frees it. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#include "resolve.h"

#define ROUNDS 50
#define N_AT_ONCE 16
#define DEADLINE_MS 60000

struct asked {
	struct resolve *r;
	bool is_over;
};

static unsigned n_answers, n_given_up;

static void on_answer(void *ctx, const struct resolve_answer *answer)
{
	struct asked *a = ctx;

	if (answer->n == 0 || answer->address[0][0] == '\0') {
		fprintf(stderr, "localhost has no address: %s\n", answer->error);
		exit(1);
	}
	n_answers++;
	a->is_over = true;
	a->r = resolve_free(a->r);
}

static void on_stop(void *ctx, int signo)
{
	(void)signo;
	loop_exit(*(struct loop **)ctx, 1);
}

static bool is_all_over(const struct asked *a)
{
	for (size_t i = 0; i < N_AT_ONCE; i++)
		if (!a[i].is_over)
			return false;
	return true;
}

static int round_of(struct loop *l, unsigned round)
{
	struct asked a[N_AT_ONCE] = { { .r = NULL } };
	uint64_t end_ms = clock_ms() + DEADLINE_MS;

	for (size_t i = 0; i < N_AT_ONCE; i++)
		if (resolve_new(l, "localhost", on_answer, &a[i], &a[i].r) < 0)
			return -1;
	for (unsigned turn = 0; !is_all_over(a); turn++) {
		size_t victim = (round + turn) % N_AT_ONCE;

		if (!a[victim].is_over && turn % 3 == round % 3) {
			a[victim].r = resolve_free(a[victim].r);
			a[victim].is_over = true;
			n_given_up++;
		}
		if (clock_ms() > end_ms || loop_turn(l, 1) <= 0)
			return -1;
	}
	return 0;
}

int main(void)
{
	static struct loop *l;
	int rc = loop_new(on_stop, &l, &l);

	for (unsigned round = 0; rc == 0 && round < ROUNDS; round++)
		rc = round_of(l, round);
	if (rc < 0 || n_answers + n_given_up != ROUNDS * N_AT_ONCE || n_answers == 0 || n_given_up == 0) {
		fprintf(stderr, "%u answers and %u given up of %u\n", n_answers, n_given_up, ROUNDS * N_AT_ONCE);
		return 1;
	}
	loop_free(l);
	return 0;
}
