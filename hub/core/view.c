/* view.c - what pages, the API and tests may see of the core. */
#include "core.h"

static struct hub_agent_view view_of_agent(const struct agent *a)
{
	return (struct hub_agent_view){
		.id = span_of(a->id),
		.presence = fleet_presence(a),
		.since_ms = a->since_ms,
		.last_seen_ms = a->seen_ms,
		.slots = a->reg != NULL ? a->reg->slots : 0,
		.in_flight = a->n_jobs,
		.registration = a->reg,
		.heartbeat = a->heartbeat,
		.reason = a->reg != NULL ? span_of(a->reason) : SPAN("never seen"),
		.known = a->known,
		.metered = a->reg != NULL && cost_is_metered(a),
		.tier = a->reg != NULL ? tier_names[tier_of_agent(a)] : "",
		.weight = admin_weight(a),
		.is_drained = admin_is_drained(a),
		.is_isolated = admin_is_isolated(a),
		.admin_reason = a->note != NULL ? span_of(a->note->reason) : SPAN_NONE,
	};
}

void hub_each_agent(const struct hub *h, void (*fn)(void *ctx, const struct hub_agent_view *v), void *ctx)
{
	LIST_EACH(l, &h->fleet)
	{
		struct hub_agent_view v = view_of_agent(CONTAINER(l, struct agent, all));

		fn(ctx, &v);
	}
}

bool hub_find_agent(const struct hub *h, struct span agent, struct hub_agent_view *ret)
{
	const struct agent *a = fleet_find(h, agent);

	if (a != NULL)
		*ret = view_of_agent(a);
	return a != NULL;
}

/* One that ended in another run has all in the answer that was told then. */
static void add_kept_end(const struct answer *end, struct hub_job_view *v)
{
	const struct code_info *info = code_by_name(end->code);

	v->attempt = end->receipt.attempts;
	v->finish = (enum finish)end->finish_reason;
	v->code = info != NULL ? (enum code)info->number : v->state == HUB_JOB_CANCELLED ? CODE_CANCELLED : CODE_OK;
	v->message = end->message;
}

struct hub_job_view view_of_job(const struct job *j)
{
	struct hub_job_view v = {
		.job = span_of(j->id.s),
		.user = span_of(j->user),
		.model = span_of(j->model_name),
		.agent = j->agent != NULL ? span_of(j->agent->id) : j->end != NULL ? j->end->receipt.agent : SPAN_NONE,
		.state = j->state,
		.second_agent = j->hedge != NULL ? span_of(j->hedge->agent->id) : SPAN_NONE,
		.attempt = j->attempt,
		.tokens = j->n_ids,
		.submitted_ms = j->submitted_ms,
		.deadline_ms = j->deadline_ms,
		.priority = j->priority,
		.id = span_of(j->key),
		.session = j->submit != NULL ? j->submit->session : SPAN_NONE,
		.not_before_ms = j->is_resting && !j->rejoins ? j->not_before_ms : 0,
		.rejoins = j->rejoins,
		.ended_ms = j->ended_ms,
		.outlives_hub = j->reply.to.conn == 0 || j->key[0] != '\0',
		.finish = j->finish,
		.code = j->code,
		.message = j->message != NULL ? span_of(j->message) : SPAN_NONE,
	};

	if (j->end != NULL)
		add_kept_end(j->end, &v);
	return v;
}

static void job_view(const struct job *j, void (*fn)(void *ctx, const struct hub_job_view *v), void *ctx)
{
	struct hub_job_view v = view_of_job(j);

	fn(ctx, &v);
}

bool hub_find_job(const struct hub *h, struct span job, struct hub_job_view *ret, struct receipt *ret_receipt)
{
	const struct job *j = jobs_find(h, job);

	if (j == NULL)
		return false;
	*ret = view_of_job(j);
	*ret_receipt = act_receipt(j);
	return true;
}

void hub_each_job(const struct hub *h, void (*fn)(void *ctx, const struct hub_job_view *v), void *ctx)
{
	LIST_EACH(l, &h->live)
	job_view(CONTAINER(l, struct job, all), fn, ctx);
	LIST_EACH(l, &h->ended)
	job_view(CONTAINER(l, struct job, all), fn, ctx);
}

/* A hold that is ready tells most about a model (its digest, its context). */
static const struct model_info *model_best(const struct model *m)
{
	const struct model_info *best = NULL;

	LIST_EACH(l, &m->holds)
	{
		const struct hold *o = CONTAINER(l, struct hold, of_model);

		if (o->agent->routable && o->info->state == MODEL_READY)
			return o->info;
		if (best == NULL || o->info->state == MODEL_READY)
			best = o->info;
	}
	return best;
}

void hub_each_model(const struct hub *h, void (*fn)(void *ctx, const struct model_info *m, uint64_t n_ready), void *ctx)
{
	LIST_EACH(l, &h->model_list)
	{
		const struct model *m = CONTAINER(l, struct model, all);
		const struct model_info *info = model_best(m);

		if (info != NULL)
			fn(ctx, info, m->n_able);
	}
}

bool hub_is_serving(const struct hub *h)
{
	LIST_EACH(l, &h->model_list)
	if (CONTAINER(l, struct model, all)->n_serving > 0)
		return true;
	return false;
}

bool hub_is_blind(const struct hub *h, const char **ret_why)
{
	*ret_why = !h->is_blind  ? ""
		   : !h->link_up ? "the hub has no connection to the broker"
				 : "the hub has lost sight of most agents at once";
	return h->is_blind;
}

const struct hub_counters *hub_counters(const struct hub *h)
{
	return &h->counters;
}
