#include "query.h"

#include <stdarg.h>
#include <stdio.h>

#define LIVE ((1u << HUB_JOB_DONE) - 1)
#define ALL ((1u << HUB_JOB_STATE_COUNT) - 1)

void query_init(struct query *q)
{
	*q = (struct query){ .limit = QUERY_MAX_ROWS };
}

static bool __attribute__((format(printf, 2, 3))) wrong(struct query *q, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(q->why, sizeof(q->why), fmt, ap);
	va_end(ap);
	return false;
}

static bool take_state(struct query *q, struct span value)
{
	unsigned bits = span_is(value, "live")    ? LIVE
			: span_is(value, "ended") ? ALL & ~LIVE
			: span_is(value, "all")   ? ALL
						  : 0;

	for (unsigned s = 0; s < HUB_JOB_STATE_COUNT; s++)
		if (span_is(value, hub_job_state_names[s]))
			bits = 1u << s;
	q->jobs.states |= bits;
	return bits != 0 || wrong(q, "\"state\" is a state of a job, or live, ended, all");
}

static bool take_limit(struct query *q, struct span value)
{
	size_t n = 0;

	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] < '0' || value.p[i] > '9' || n > QUERY_MAX_ROWS)
			return wrong(q, "\"limit\" is a number from 1 to %d", QUERY_MAX_ROWS);
		n = n * 10 + (size_t)(value.p[i] - '0');
	}
	if (n == 0 || n > QUERY_MAX_ROWS)
		return wrong(q, "\"limit\" is a number from 1 to %d", QUERY_MAX_ROWS);
	q->limit = n;
	return true;
}

static bool take_label(struct query *q, struct span value)
{
	if (q->n_labels == PROTO_MAX_LABELS || value.n == 0 || value.n > PROTO_MAX_LABEL)
		return wrong(
			q, "\"label\" is a text of at most %d bytes, at most %d times", PROTO_MAX_LABEL, PROTO_MAX_LABELS);
	q->labels[q->n_labels++] = value;
	return true;
}

bool query_take(void *query, struct span name, struct span value)
{
	struct query *q = query;
	const struct {
		const char *name;
		struct span *value;
	} texts[] = {
		{ "user", &q->jobs.user },
		{ "model", &q->jobs.model },
		{ "agent", &q->jobs.agent },
		{ "cursor", &q->cursor },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (span_is(name, texts[i].name)) {
			*texts[i].value = value;
			return true;
		}
	if (span_is(name, "state"))
		return take_state(q, value);
	if (span_is(name, "limit"))
		return take_limit(q, value);
	if (span_is(name, "label"))
		return take_label(q, value);
	return wrong(q, "\"%.*s\" is not known; there are state, user, model, agent, label, limit, cursor",
		(int)(name.n < 40 ? name.n : 40), name.p);
}
