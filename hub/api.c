#include "api.h"

#include <stdlib.h>

#include "api_proto.h"
#include "doc.h"
#include "openai_proto.h"

#define MAX_MODELS 4096

/* A list that grows while the core is walked.  Out of memory: it is cut short. */
struct list {
	void *items;
	size_t n, cap, size, max;
	const struct server *server;
	uint64_t now_ms, created;
	uint64_t total; /* also those beyond max */
};

static void *list_add(struct list *l)
{
	l->total++;
	if (l->n == l->max)
		return NULL;
	if (l->n == l->cap) {
		size_t cap = l->cap > 0 ? 2 * l->cap : 16;
		void *p = realloc(l->items, cap * l->size);

		if (p == NULL)
			return NULL;
		l->items = p;
		l->cap = cap;
	}
	return memset((char *)l->items + l->n++ * l->size, 0, l->size);
}

static struct list list_of(const struct server *s, size_t size, size_t max)
{
	return (struct list){ .size = size, .max = max, .server = s, .now_ms = loop_now_ms(server_loop(s)) };
}

/* ---- /api/v1/agents ---- */

static void add_models(const struct registration *r, struct api_agent *a)
{
	struct api_held_model *models = r->n_models > 0 ? calloc(r->n_models, sizeof(*models)) : NULL;

	if (models == NULL)
		return;
	for (size_t i = 0; i < r->n_models; i++) {
		const struct model_info *m = &r->models[i];

		models[i] = (struct api_held_model){ .name = m->name,
			.state = m->state,
			.load_percent = m->load_percent,
			.reason = m->reason,
			.slots = m->slots,
			.memory = m->memory,
			.pinned = m->pinned };
		if (m->decode_milli == 0)
			continue; /* not measured */
		models[i].prefill_tokens_per_s = (double)m->prefill_milli / 1000;
		models[i].decode_tokens_per_s = (double)m->decode_milli / 1000;
		msg_set(&models[i], API_HELD_PREFILL);
		msg_set(&models[i], API_HELD_DECODE);
	}
	a->models = models, a->n_models = r->n_models;
}

/* Its own, and those of the configuration. */
static void add_labels(const struct hub_agent_view *v, struct api_agent *a)
{
	size_t own = v->registration != NULL ? v->registration->n_labels : 0, more = v->known != NULL ? v->known->n_labels : 0;
	struct span *labels = own + more > 0 ? calloc(own + more, sizeof(*labels)) : NULL;

	if (labels == NULL)
		return;
	for (size_t i = 0; i < own; i++)
		labels[i] = v->registration->labels[i];
	for (size_t i = 0; i < more; i++)
		labels[own + i] = span_of(v->known->labels[i]);
	a->labels = labels, a->n_labels = own + more;
}

static void agent_fini(struct api_agent *a)
{
	free((void *)(uintptr_t)a->models);
	free((void *)(uintptr_t)a->labels);
}

static void add_rates(const struct server *s, struct api_agent *a)
{
	struct api_held_model *models = (void *)(uintptr_t)a->models; /* of add_models() */
	struct hub_rates_view v;

	for (size_t i = 0; i < a->n_models; i++) {
		if (!hub_rates_of(server_hub(s), a->id, models[i].name, &v))
			continue;
		models[i].seen_prefill_per_s = v.prefill_per_s;
		models[i].seen_decode_per_s = v.decode_per_s;
		models[i].seen_load_ms = v.load_ms;
		models[i].failing = v.errors;
		models[i].in_flight = v.in_flight;
	}
}

static void add_breakers(const struct server *s, struct api_agent *a)
{
	struct api_held_model *models = (void *)(uintptr_t)a->models; /* of add_models() */

	for (size_t i = 0; i < a->n_models; i++) {
		struct hub_breaker_view b = hub_breaker_of(server_hub(s), a->id, models[i].name);

		models[i].breaker = b.state;
		models[i].failures = b.bad;
		models[i].breaker_ms = b.left_ms;
	}
}

static void add_registration(const struct registration *r, struct api_agent *a)
{
	add_models(r, a);
	a->host = r->host, a->software = r->software, a->engine = r->engine;
	a->hardware = r->hardware;
	a->epoch = r->epoch, a->conn = r->conn;
}

/* What was last heard.  Of an agent that is gone only what stays true is shown. */
static void add_heartbeat(const struct heartbeat *h, bool is_there, struct api_agent *a)
{
	a->tokens_total = h->tokens_total;
	a->jobs_done = h->jobs_done, a->jobs_failed = h->jobs_failed;
	a->bad_messages = h->bad_messages, a->stale_messages = h->stale_messages;
	a->figures = h->figures, a->n_figures = h->n_figures;
	if (!is_there)
		return;
	a->running = h->running, a->queued = h->queued;
	a->mem_available = h->mem_available, a->rss = h->rss;
	a->memory_total = h->memory_total, a->memory_limit = h->memory_limit, a->memory_used = h->memory_used;
	a->sensors = h->sensors;
	a->load = (double)h->load_milli / 1000;
	a->tokens_per_s = (double)h->tokens_per_s / 1000;
	a->uptime_ms = h->uptime_ms;
}

static void fill_agent(const struct server *s, const struct hub_agent_view *v, struct api_agent *a)
{
	uint64_t now_ms = loop_now_ms(server_loop(s));

	*a = (struct api_agent){ .id = v->id,
		.state = v->presence,
		.reason = v->reason,
		.since_ms = now_ms > v->since_ms ? now_ms - v->since_ms : 0,
		.seen_ms = now_ms > v->last_seen_ms ? now_ms - v->last_seen_ms : 0,
		.slots = v->slots,
		.in_flight = v->in_flight,
		.weight = v->weight,
		.metered = v->metered,
		.tier = span_of(v->tier),
		.configured = v->known != NULL,
		.drained = v->is_drained,
		.isolated = v->is_isolated,
		.asked_for = v->is_drained || v->is_isolated ? v->admin_reason : SPAN_NONE };
	if (v->registration != NULL)
		add_registration(v->registration, a);
	add_labels(v, a);
	add_rates(s, a);
	add_breakers(s, a);
	if (v->heartbeat != NULL)
		add_heartbeat(v->heartbeat, v->presence != HUB_PRESENCE_OFFLINE, a);
}

static int compare(struct span x, struct span y)
{
	size_t n = x.n < y.n ? x.n : y.n;
	int rc = n > 0 ? memcmp(x.p, y.p, n) : 0;

	return rc != 0 ? rc : (x.n > y.n) - (x.n < y.n);
}

static int by_id(const void *a, const void *b)
{
	return compare(*(const struct span *)a, *(const struct span *)b);
}

/* The least names behind the cursor: a heap with the greatest of them first, so that a fleet of any
 * size is walked once and never sorted. */
struct least {
	struct span *ids, cursor;
	size_t n, max;
	uint64_t n_behind, total; /* names behind the cursor, all */
};

static void sift_down(struct least *l)
{
	for (size_t i = 0, child; (child = 2 * i + 1) < l->n; i = child) {
		struct span id = l->ids[i];

		if (child + 1 < l->n && compare(l->ids[child + 1], l->ids[child]) > 0)
			child++;
		if (compare(l->ids[child], id) <= 0)
			return;
		l->ids[i] = l->ids[child];
		l->ids[child] = id;
	}
}

static void sift_up(struct least *l)
{
	for (size_t i = l->n - 1; i > 0 && compare(l->ids[i], l->ids[(i - 1) / 2]) > 0; i = (i - 1) / 2) {
		struct span id = l->ids[i];

		l->ids[i] = l->ids[(i - 1) / 2];
		l->ids[(i - 1) / 2] = id;
	}
}

static void note_id(void *ctx, const struct hub_agent_view *v)
{
	struct least *l = ctx;

	l->total++;
	if (compare(v->id, l->cursor) <= 0)
		return;
	l->n_behind++;
	if (l->n < l->max) {
		l->ids[l->n++] = v->id;
		sift_up(l);
	} else if (compare(v->id, l->ids[0]) < 0) {
		l->ids[0] = v->id;
		sift_down(l);
	}
}

void api_agents(const struct server *s, const struct query *q, struct buf *out)
{
	struct least l = { .ids = calloc(q->limit, sizeof(*l.ids)), .cursor = q->cursor, .max = q->limit };
	struct api_agent *agents = calloc(q->limit, sizeof(*agents));
	struct api_agents doc = { .agents = agents };

	if (l.ids == NULL || agents == NULL) {
		out->err = ERR_NOMEM;
		free(l.ids);
		free(agents);
		return;
	}
	hub_each_agent(server_hub(s), note_id, &l);
	qsort(l.ids, l.n, sizeof(*l.ids), by_id);
	for (size_t i = 0; i < l.n; i++) {
		struct hub_agent_view v;

		if (hub_find_agent(server_hub(s), l.ids[i], &v))
			fill_agent(s, &v, &agents[doc.n_agents++]);
	}
	doc.total = l.total;
	if (l.n < l.n_behind)
		doc.next = l.ids[l.n - 1];
	doc_add(&api_agents_type, &doc, out);
	for (size_t i = 0; i < doc.n_agents; i++)
		agent_fini(&agents[i]);
	free(agents);
	free(l.ids);
}

bool api_agent(const struct server *s, struct span id, struct buf *out)
{
	struct hub_agent_view v;
	struct api_agent a;

	if (!hub_find_agent(server_hub(s), id, &v))
		return false;
	fill_agent(s, &v, &a);
	doc_add(&api_agents_type, &(struct api_agents){ .agents = &a, .n_agents = 1, .total = 1 }, out);
	agent_fini(&a);
	return true;
}

/* ---- /api/v1/status ---- */

static void count_agent(void *ctx, const struct hub_agent_view *v)
{
	struct api_fleet *f = ctx;

	f->total++;
	f->offline += v->presence == HUB_PRESENCE_OFFLINE;
	f->online += v->presence == HUB_PRESENCE_ONLINE;
	f->suspect += v->presence == HUB_PRESENCE_SUSPECT;
	f->draining += v->presence == HUB_PRESENCE_DRAINING;
	f->quarantined += v->presence == HUB_PRESENCE_QUARANTINED;
	if (v->presence == HUB_PRESENCE_ONLINE)
		f->slots += v->slots;
	f->in_flight += v->in_flight;
}

static void add_status_model(void *ctx, const struct model_info *m, uint64_t n_ready)
{
	struct api_model *a = list_add(ctx);

	if (a != NULL)
		*a = (struct api_model){ .name = m->name,
			.arch = m->arch,
			.ready = n_ready,
			.size = m->size,
			.n_ctx = m->n_ctx,
			.n_params = m->n_params,
			.digest = m->digest };
}

static void add_link(const struct server *s, struct api_link *ret)
{
	struct mqtt_stats m = mqtt_stats(server_mqtt(s));
	const char *why;

	ret->up = mqtt_is_up(server_mqtt(s));
	ret->blind = hub_is_blind(server_hub(s), &why);
	ret->reason = span_of(why);
	ret->broker = span_of(server_settings(s)->broker.host);
	ret->connects = m.connects, ret->losses = m.losses;
}

static void add_counters(const struct server *s, struct api_status *doc)
{
	const struct hub_counters *c = hub_counters(server_hub(s));
	struct http_stats h = http_stats(server_http(s));
	struct mqtt_stats m = mqtt_stats(server_mqtt(s));
	uint64_t bad = 0;

	for (size_t i = 0; i < TOPIC_KIND_COUNT; i++)
		bad += m.bad[i];
#define X(name) .name = c->name,
	doc->counters = (struct api_counters){ HUB_COUNTER_LIST(X) };
#undef X
#define X(name) .name = h.name,
	doc->counters.bad_messages = bad;
	doc->http = (struct api_http){ API_HTTP_LIST(X) };
#undef X
	doc->mqtt = (struct api_mqtt){ .received = m.received,
		.published = m.published,
		.ignored = m.ignored,
		.refused = m.refused,
		.tokens_dropped = m.tokens_dropped,
		.queued = m.queued,
		.queue_dropped = m.queue_dropped,
		.no_subscriber = m.no_subscriber,
		.publish_failed = m.publish_failed };
	doc->queued = c->queued, doc->running = c->running;
}

static struct api_journal journal_of(const struct server *s, const struct journal_stats *j)
{
	return (struct api_journal){ .mode = span_of(hub_journal_names[server_settings(s)->core.journal]),
		.set_aside = span_of(j->set_aside),
		.full = j->is_full,
		.commits = j->commits,
		.records = j->records,
		.bytes = j->bytes,
		.failures = j->failures,
		.waiting = j->waiting,
		.waiting_bytes = j->waiting_bytes,
		.jobs = j->jobs,
		.ids = j->keys,
		.file_bytes = j->file_bytes,
		.last_ms = (double)j->last_us / 1000,
		.max_ms = (double)j->max_us / 1000 };
}

void api_status(const struct server *s, struct buf *out)
{
	struct journal_stats journal = server_journal_stats(s);

	struct list models = list_of(s, sizeof(struct api_model), MAX_MODELS);
	struct api_status doc = {
		.hub = { .version = SPAN(SHOAL_VERSION),
			.policy = span_of(hub_policy_names[server_settings(s)->core.policy]),
			.epoch = server_epoch(s),
			.uptime_ms = models.now_ms - server_started_ms(s) },
		.tokens_per_s = server_tokens_per_s(s),
	};

	hub_each_agent(server_hub(s), count_agent, &doc.agents);
	hub_each_model(server_hub(s), add_status_model, &models);
	doc.models = models.items, doc.n_models = models.n;
	for (size_t i = 0; i < models.n; i++)
		doc.models_ready += doc.models[i].ready > 0;
	add_link(s, &doc.link);
	add_counters(s, &doc);
	doc.sessions = api_sessions_status(s);
	doc.journal = journal_of(s, &journal);
	doc_add(&api_status_type, &doc, out);
	free(models.items);
}

/* ---- /v1/models ---- */

static struct openai_model openai_model_of(const struct model_info *m, uint64_t n_ready, uint64_t created)
{
	return (struct openai_model){ .id = m->name,
		.object = SPAN("model"),
		.created = created,
		.owned_by = SPAN("shoal"),
		.meta = { .n_ctx = m->n_ctx, .n_params = m->n_params, .size = m->size, .n_ready = n_ready } };
}

static void add_openai_model(void *ctx, const struct model_info *m, uint64_t n_ready)
{
	struct list *l = ctx;
	struct openai_model *a = list_add(l);

	if (a != NULL)
		*a = openai_model_of(m, n_ready, l->created);
}

static void add_alias(void *ctx, const struct hub_variant_view *v)
{
	struct list *l = ctx;
	struct openai_model *a = v->is_main ? list_add(l) : NULL;

	if (a != NULL)
		*a = (struct openai_model){
			.id = v->alias, .object = SPAN("model"), .created = l->created, .owned_by = SPAN("shoal") };
}

void api_models(const struct server *s, uint64_t created, struct buf *out)
{
	struct list l = list_of(s, sizeof(struct openai_model), MAX_MODELS);
	struct openai_models doc = { .object = SPAN("list") };

	l.created = created;
	hub_each_model(server_hub(s), add_openai_model, &l);
	hub_each_variant(server_hub(s), add_alias, &l);
	doc.data = l.items, doc.n_data = l.n;
	doc_add(&openai_models_type, &doc, out);
	free(l.items);
}

struct search {
	struct span id;
	uint64_t created;
	struct buf *out;
	bool is_found;
};

static void find_model(void *ctx, const struct model_info *m, uint64_t n_ready)
{
	struct search *f = ctx;
	struct openai_model a;

	if (!span_eq(m->name, f->id))
		return;
	a = openai_model_of(m, n_ready, f->created);
	f->is_found = true;
	doc_add(&openai_model_type, &a, f->out);
}

bool api_model(const struct server *s, struct span id, uint64_t created, struct buf *out)
{
	struct search f = { .id = id, .created = created, .out = out };

	hub_each_model(server_hub(s), find_model, &f);
	return f.is_found;
}

/* ---- health ---- */

bool api_is_healthy(const struct server *s, const char **ret_why)
{
	if (server_is_stopping(s))
		*ret_why = "the hub is stopping";
	else if (!mqtt_is_up(server_mqtt(s)))
		*ret_why = "no connection to the broker";
	else
		*ret_why = "connected to the broker";
	return !server_is_stopping(s) && mqtt_is_up(server_mqtt(s));
}

bool api_is_ready(const struct server *s, const char **ret_why)
{
	bool is_serving;

	if (!api_is_healthy(s, ret_why) || hub_is_blind(server_hub(s), ret_why))
		return false;
	is_serving = hub_is_serving(server_hub(s));
	*ret_why = is_serving ? "a model is ready" : "no agent has a model ready, or would load one";
	return is_serving;
}
