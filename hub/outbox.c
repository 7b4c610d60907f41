#include "outbox.h"

#include <stdlib.h>

static void push(struct letters *list, struct letter *l)
{
	l->next = NULL;
	*list->last = l;
	list->last = &l->next;
}

static struct letter *take(struct letters *list, struct letter **at)
{
	struct letter *l = *at;

	*at = l->next;
	if (l->next == NULL)
		list->last = at;
	return l;
}

static void drop(struct outbox *o, struct letters *list, struct letter **at)
{
	struct letter *l = take(list, at);

	o->n--;
	o->bytes -= l->size;
	free(l);
}

void outbox_init(struct outbox *o, size_t max, size_t max_bytes)
{
	*o = (struct outbox){ .max = max, .max_bytes = max_bytes };
	o->waiting.last = &o->waiting.first;
	o->sent.last = &o->sent.first;
}

void outbox_fini(struct outbox *o)
{
	while (o->waiting.first != NULL)
		drop(o, &o->waiting, &o->waiting.first);
	while (o->sent.first != NULL)
		drop(o, &o->sent, &o->sent.first);
}

static struct span keep(char **p, struct span s)
{
	struct span copy = span_mem(*p, s.n);

	if (s.n > 0)
		memcpy(*p, s.p, s.n);
	*p += s.n;
	return copy;
}

int outbox_add(struct outbox *o, const struct mq_pub *pub, struct span agent, struct span job)
{
	size_t size = sizeof(struct letter) + pub->topic.n + pub->payload.n + pub->correlation.n;
	struct letter *l;
	char *p;

	if (o->n >= o->max || o->bytes + size > o->max_bytes)
		return ERR_FULL;
	l = malloc(size);
	if (l == NULL)
		return ERR_NOMEM;
	*l = (struct letter){ .size = size, .pub = *pub };
	p = (char *)(l + 1);
	l->pub.topic = keep(&p, pub->topic);
	l->pub.payload = keep(&p, pub->payload);
	l->pub.correlation = keep(&p, pub->correlation);
	(void)span_copy(agent, l->agent, sizeof(l->agent)); /* ids: they fit */
	(void)span_copy(job, l->job, sizeof(l->job));
	o->n++;
	o->bytes += size;
	push(&o->waiting, l);
	return 0;
}

const struct letter *outbox_first(const struct outbox *o)
{
	return o->waiting.first;
}

void outbox_sent(struct outbox *o, int mid)
{
	if (o->waiting.first->agent[0] != '\0') {
		drop(o, &o->waiting, &o->waiting.first);
		return;
	}
	o->waiting.first->mid = mid;
	push(&o->sent, take(&o->waiting, &o->waiting.first));
}

void outbox_drop(struct outbox *o)
{
	drop(o, &o->waiting, &o->waiting.first);
}

void outbox_acked(struct outbox *o, int mid, char *ret_job)
{
	ret_job[0] = '\0';
	for (struct letter **at = &o->sent.first; *at != NULL; at = &(*at)->next) {
		if ((*at)->mid == mid) { /* nearly always the first */
			memcpy(ret_job, (*at)->job, sizeof((*at)->job));
			drop(o, &o->sent, at);
			return;
		}
	}
}

void outbox_link_lost(struct outbox *o)
{
	for (struct letter **at = &o->waiting.first; *at != NULL;) {
		if ((*at)->agent[0] != '\0')
			drop(o, &o->waiting, at);
		else
			at = &(*at)->next;
	}
	if (o->sent.first == NULL)
		return;
	*o->sent.last = o->waiting.first;
	if (o->waiting.first == NULL)
		o->waiting.last = o->sent.last;
	o->waiting.first = o->sent.first;
	o->sent = (struct letters){ .last = &o->sent.first };
}
