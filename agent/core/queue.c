/* Jobs that wait for a sequence of their engine.
 *
 * An engine has a list for each class, in the order in which jobs came into the class.
 * Every aging_ms a job rises a class, as if it had come into it at that moment: so a low
 * one waits for at most twice that and for those who were high before it.  Where it
 * stands is worked out when someone looks; nothing wakes for it. */
#include "agent_core.h"

static const enum priority lowest_first[] = { PRIORITY_LOW, PRIORITY_NORMAL, PRIORITY_HIGH };
#define N_CLASSES (sizeof(lowest_first) / sizeof(lowest_first[0]))

/* Behind all who came into the class no later. */
static void enter(struct job *j, struct job_list *to, uint64_t entered_ms)
{
	struct job *before = TAILQ_LAST(to, job_list);

	j->entered_ms = entered_ms;
	job_move(j, NULL);
	while (before != NULL && before->entered_ms > entered_ms)
		before = TAILQ_PREV(before, job_list, in_list);
	if (before != NULL)
		TAILQ_INSERT_AFTER(to, before, j, in_list);
	else
		TAILQ_INSERT_HEAD(to, j, in_list);
	j->list = to;
}

static void age(struct engine *e)
{
	uint64_t aging = e->agent->config.queue_aging_ms;

	for (size_t i = 0; aging != 0 && i + 1 < N_CLASSES; i++) {
		struct job_list *from = &e->queue[lowest_first[i]], *to = &e->queue[lowest_first[i + 1]];
		struct job *j;

		while ((j = TAILQ_FIRST(from)) != NULL && e->agent->now - j->entered_ms >= aging)
			enter(j, to, j->entered_ms + aging);
	}
}

void queue_add(struct job *j, enum priority priority)
{
	struct agent *a = j->agent;

	age(j->engine);
	enter(j, &j->engine->queue[priority], a->now);
	j->wait_end_ms = a->config.queue_wait_ms != 0 ? a->now + a->config.queue_wait_ms : NEVER;
	j->engine->n_queued++;
	a->n_queued++;
	a->queued_bytes += j->msg_size;
}

struct job *queue_next(struct engine *e)
{
	age(e);
	for (size_t i = N_CLASSES; i-- > 0;)
		if (!TAILQ_EMPTY(&e->queue[lowest_first[i]]))
			return TAILQ_FIRST(&e->queue[lowest_first[i]]);
	return NULL;
}

/* The depth is the agent's, so all its engines are looked at. */
struct job *queue_victim(struct agent *a, enum priority priority)
{
	for (size_t i = 0; i < N_CLASSES && lowest_first[i] != priority; i++) {
		struct job *victim = NULL;

		for (size_t k = 0; k < a->n_engines; k++) {
			struct job *last;

			age(&a->engines[k]);
			last = TAILQ_LAST(&a->engines[k].queue[lowest_first[i]], job_list);
			if (last != NULL && (victim == NULL || last->entered_ms > victim->entered_ms))
				victim = last;
		}
		if (victim != NULL)
			return victim;
	}
	return NULL;
}
