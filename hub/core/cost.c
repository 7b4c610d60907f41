/* cost.c - how long a job would take on an agent.
 *
 * Expected milliseconds to its last token = wait for a slot and for prompts that are read
 * before it + load of the model if it is not loaded + prompt tokens not computed there yet / prefill rate + tokens of the answer / decode
 * rate, each from rates.c.  That is what receipts tell.
 *
 * Policy cost compares that time times what speaks against the agent: heat, battery, a metered
 * link, recent errors, an operator's weight, labels that are preferred and not there; a load counts twice, as it also
 * takes memory and time from others.
 *
 * So that no decision looks at a whole fleet, the agents that have room stand in classes by the
 * time of a usual job of the model there, half an octave each. */
#include "core.h"

#define HOP_MS 2.0       /* there and back */
#define USUAL_PROMPT 200 /* tokens, until there were jobs */
#define USUAL_OUTPUT 100
#define USUAL_BYTES 4.0     /* of a token */
#define HOT_MILLI 75000     /* from here on heat counts, */
#define HOTTEST_MILLI 95000 /* in full */
#define LOW_BATTERY 20      /* per cent: counts thrice */

struct ask cost_ask(const struct hub *h, struct job *j)
{
	const struct model *m = j->model;
	double limit = (double)j->sampling.max_tokens;
	double output = m->n_usual > 0 ? m->output_tokens : USUAL_OUTPUT;
	struct ask ask = { .j = j, .policy = route_policy(j) };

	if (limit > 0 && limit < output)
		output = limit;
	output -= (double)j->n_ids;
	ask.output = j->is_embedding ? 0 : output < 1 ? 1 : output;
	ask.prompt = (double)submit_prompt_bytes(j->submit) / (m->bytes_per_token > 0.1 ? m->bytes_per_token : USUAL_BYTES);
	if (!j->is_embedding)
		ask.prompt += (double)j->n_ids; /* they are computed again */
	ask.left_ms = j->deadline_ms == UINT64_MAX ? UINT64_MAX
		      : j->deadline_ms > h->now_ms ? j->deadline_ms - h->now_ms
						   : 0;
	return ask;
}

/* What is left of a load; what began when a first job was sent there counts as begun. */
static double load_left_ms(const struct hub *h, const struct hold *o)
{
	double ms = rates_load_ms(o), gone;

	if (o->info->state == MODEL_READY)
		return 0;
	if (o->info->state == MODEL_LOADING && o->info->load_percent > 0)
		return ms * (double)(100 - o->info->load_percent) / 100;
	if (o->cold_ms == 0)
		return ms;
	gone = (double)(h->now_ms - o->cold_ms);
	return gone < ms ? ms - gone : ms / 10; /* late: it may come any moment */
}

static double wait_ms(const struct hold *o)
{
	uint64_t slots = models_slots(o);

	if (o->n_jobs < slots || slots == 0)
		return 0;
	return rates_service_ms(o) * (double)(o->n_jobs - slots + 1) / (double)slots;
}

static double prefill_ms(const struct hub *h, const struct ask *ask, const struct hold *o)
{
	double cached = ask->j != NULL ? (double)affinity_cached(h, ask->j, o->agent) : 0;

	return cached < ask->prompt ? (ask->prompt - cached) * rates_prefill_ms(o) : 0;
}

/* An engine reads prompts one after the other, also while it has slots: so long for those it was given. */
static double reading_ms(const struct hub *h, const struct hold *o)
{
	return o->read_until_ms > (double)h->now_ms ? o->read_until_ms - (double)h->now_ms : 0;
}

void cost_given(struct hub *h, struct job *j, struct hold *o)
{
	struct ask ask = cost_ask(h, j);

	o->read_until_ms = (double)h->now_ms + reading_ms(h, o) + prefill_ms(h, &ask, o);
}

double cost_first_ms(const struct hub *h, const struct ask *ask, const struct hold *o)
{
	double prefill = o->rates.n_prefill > 0 ? prefill_ms(h, ask, o) : 0; /* nobody is refused for a guess */

	return prefill + (o->rates.n_loads > 0 ? load_left_ms(h, o) : 0);
}

double cost_expected_ms(const struct hub *h, const struct ask *ask, const struct hold *o)
{
	double decode = ask->output > 0 ? ask->output * rates_decode_ms(o, (double)o->agent->n_jobs) : 0;
	double wait = wait_ms(o) + (ask->j != NULL ? reading_ms(h, o) : 0); /* passes: no matter of a class */

	return HOP_MS + wait + load_left_ms(h, o) + prefill_ms(h, ask, o) + decode;
}

/* ---- what speaks against it ---- */

static double heat(const struct sensors *s)
{
	double over = (double)(s->temp_milli - HOT_MILLI) / (HOTTEST_MILLI - HOT_MILLI);

	if (s->throttled || s->undervoltage || over > 1)
		return 1;
	return msg_has(s, SENSORS_TEMP) && over > 0 ? over : 0;
}

static double battery(const struct sensors *s)
{
	if (!msg_has(s, SENSORS_ON_MAINS) || s->on_mains)
		return 0;
	return msg_has(s, SENSORS_BATTERY) && s->battery_percent < LOW_BATTERY ? 3 : 1;
}

bool cost_is_metered(const struct agent *a)
{
	return a->reg->metered || (a->known != NULL && a->known->metered);
}

static double factor(uint64_t percent, double how_much)
{
	return 1 + (double)percent / 100 * how_much;
}

static double box_factor(const struct hub *h, const struct hold *o)
{
	static const struct sensors none;
	const struct hub_penalties *p = &h->config.penalties;
	const struct agent *a = o->agent;
	const struct sensors *s = a->heartbeat != NULL ? &a->heartbeat->sensors : &none;

	return factor(p->heat, heat(s)) * factor(p->metered, cost_is_metered(a)) * factor(p->battery, battery(s)) *
	       factor(p->errors, o->rates.errors);
}

static double prefer_factor(const struct hub *h, const struct ask *ask, const struct agent *a)
{
	const struct submit *s = ask->j->submit;
	size_t n = s->n_prefer;

	if (n == 0)
		return 1;
	return factor(h->config.penalties.prefer, (double)(n - filter_labels(a, s->prefer, n)) / (double)n);
}

double cost_score(const struct hub *h, const struct ask *ask, const struct hold *o, double expected_ms)
{
	bool begins_load = o->info->state == MODEL_HELD && o->n_jobs == 0;
	double ms = expected_ms + (begins_load ? load_left_ms(h, o) : 0);

	if (admin_weight(o->agent) > 0)
		ms *= (double)ADMIN_MAX_WEIGHT / admin_weight(o->agent);
	return ms * box_factor(h, o) * (ask->j != NULL ? prefer_factor(h, ask, o->agent) : 1);
}

/* ---- classes ---- */

unsigned cost_class(const struct hub *h, const struct hold *o)
{
	const struct model *m = o->model;
	struct ask usual = { .prompt = m->n_usual > 0 ? m->prompt_tokens : USUAL_PROMPT,
		.output = m->n_usual > 0 ? m->output_tokens : USUAL_OUTPUT,
		.left_ms = UINT64_MAX };
	double ms = cost_score(h, &usual, o, cost_expected_ms(h, &usual, o));
	uint64_t n = ms < 1 ? 1 : ms > 4e9 ? (uint64_t)4e9 : (uint64_t)ms;
	unsigned octave = 63 - (unsigned)__builtin_clzll(n);

	return 2 * octave + (octave > 0 && (n >> (octave - 1) & 1) != 0);
}
