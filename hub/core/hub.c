/* hub.c - one step of the hub: an event and the time in, actions out. */
#include "core.h"

#include <stdlib.h>

#define LATE_MS 2000 /* a step so long after the time asked for: it was us who stood still */

#define X(name, text) text,
const char *const hub_refusal_names[] = { HUB_REFUSAL_LIST(X) NULL };
const char *const hub_presence_names[] = { HUB_PRESENCE_LIST(X) NULL };
const char *const hub_job_state_names[] = { HUB_JOB_STATE_LIST(X) NULL };
const char *const hub_journal_names[] = { HUB_JOURNAL_LIST(X) NULL };
const char *const hub_session_state_names[] = { HUB_SESSION_STATE_LIST(X) NULL };
#undef X
#define X(name, text, sentence) #text,
const char *const hub_move_names[] = { "", HUB_MOVE_LIST(X) NULL };
#undef X

const char *hub_persist_name(unsigned kind)
{
	switch (kind) {
#define X(name, number, text) \
	case HUB_PERSIST_##name: return text;
		HUB_PERSIST_LIST(X)
#undef X
	default: return NULL;
	}
}

void hub_config_defaults(struct hub_config *c)
{
	*c = (struct hub_config){
		.epoch = 1,
		.policy = HUB_COST,
		.penalties = { .heat = 100, .battery = 50, .metered = 100, .errors = 400, .prefer = 100 },
		.max_agents = 100000,
		.max_jobs = 100000,
		.queue_max = 10000,
		.max_ended = 10000,
		.attempts_max = 4,
		.will_grace_ms = 250,
		.accept_timeout_ms = 1000,
		.accept_tries = 3,
		.silence_ms = 2000,
		.first_token_ms = 120000,
		.stall_ms = 15000,
		.ack_frames = 16,
		.lease_suspect = 3,
		.lease_lost = 4,
		.retry_min_ms = 100,
		.retry_max_ms = 5000,
		.full_wait_ms = 300000,
		.blind_min_fleet = 8,
		.blind_window_ms = 10000,
		.no_agent_wait_ms = 30000,
		.poison_kills = 3,
		.exact_wait_ms = 2000,
		.hedge_min_ms = 500,
		.hedge_samples = 100,
		.breaker_min = 5,
		.breaker_percent = 50,
		.breaker_window_ms = 60000,
		.breaker_open_ms = 5000,
		.breaker_open_max_ms = 300000,
		.guard_min = 50,
		.guard_window_ms = 300000,
		.guard_error_percent = 5,
		.guard_latency_percent = 200,
		.age_ms = 30000,
		.quantum = 1024,
		.max_users = 10000,
		.max_bytes = (uint64_t)256 << 20,
		.max_sessions = 50000,
		.session_ttl_ms = 30 * 60 * 1000,
		.session_wait_ms = 1000,
		.session_max_load = 100,
		.max_prefixes = 32768,
		.rejoin_ms = 20000,
	};
}

static int tables_init(struct hub *h)
{
	struct table *all[] = { &h->agents, &h->models, &h->jobs, &h->by_key, &h->by_user, &h->by_conn, &h->sessions,
		&h->caches, &h->prefixes, &h->users, &h->accounts };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int rc = table_init(all[i]);

		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < 2; i++) { /* of the hub itself: blind, sessions */
		int rc = timers_reserve(&h->timers);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static void sane(struct hub_config *c)
{
	uint64_t *at_least_one[] = { &c->attempts_max, &c->accept_timeout_ms, &c->accept_tries, &c->silence_ms,
		&c->first_token_ms, &c->stall_ms, &c->ack_frames, &c->lease_suspect, &c->retry_min_ms,
		&c->no_agent_wait_ms, &c->quantum };

	for (size_t i = 0; i < sizeof(at_least_one) / sizeof(at_least_one[0]); i++)
		if (*at_least_one[i] == 0)
			*at_least_one[i] = 1;
	if (c->lease_lost <= c->lease_suspect)
		c->lease_lost = c->lease_suspect + 1;
	if (c->retry_max_ms < c->retry_min_ms)
		c->retry_max_ms = c->retry_min_ms;
	if (c->hedge_min_ms == 0)
		c->hedge_min_ms = 1;
	if (c->breaker_open_max_ms < c->breaker_open_ms)
		c->breaker_open_max_ms = c->breaker_open_ms;
	if (c->policy >= HUB_POLICY_COUNT)
		c->policy = HUB_COST;
}

int hub_new(const struct hub_config *config, struct hub **ret)
{
	struct hub *h = calloc(1, sizeof(*h));
	struct list *lists[] = { &h->fleet, &h->model_list, &h->recent, &h->offers, &h->live, &h->ended, &h->persisting,
		&h->forgotten, &h->asking, &h->idle_sessions, &h->busy_sessions, &h->prefix_used, &h->breakers,
		&h->telling, &h->busy_users, &h->idle_users };
	int rc;

	if (h == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	h->config = *config;
	sane(&h->config);
	rng_seed(&h->rng, rng_mix(config->seed, config->epoch)); /* job ids must differ from the last run's */
	h->hash_seed = rng_next(&h->rng);
	h->scratch = BUF_INIT(2 * PROTO_MAX_MESSAGE);
	h->record = BUF_INIT(RECORD_MAX);
	h->blind_timer.kind = TIMER_BLIND;
	h->session_timer.kind = TIMER_SESSIONS;
	h->is_blind = true; /* until the link is up */
	rc = tables_init(h);
	if (rc == 0)
		rc = variants_init(h);
	if (rc < 0) {
		hub_free(h);
		return rc;
	}
	rc = fleet_know(h);
	if (rc < 0) {
		hub_free(h);
		return rc;
	}
	*ret = h;
	return 0;
}

struct hub *hub_free(struct hub *h)
{
	if (h == NULL)
		return NULL;
	LIST_EACH(l, &h->live)
	jobs_free(h, CONTAINER(l, struct job, all));
	LIST_EACH(l, &h->ended)
	jobs_free(h, CONTAINER(l, struct job, all));
	LIST_EACH(l, &h->fleet)
	fleet_free(h, CONTAINER(l, struct agent, all));
	admin_free(h);
	LIST_EACH(l, &h->forgotten)
	fleet_free(h, CONTAINER(l, struct agent, all));
	session_drop_all(h);
	affinity_fini(h);
	table_fini(&h->sessions);
	table_fini(&h->caches);
	table_fini(&h->prefixes);
	users_fini(h);
	variants_fini(h);
	table_fini(&h->agents);
	table_fini(&h->models);
	table_fini(&h->jobs);
	table_fini(&h->by_key);
	table_fini(&h->by_user);
	table_fini(&h->by_conn);
	timers_fini(&h->timers);
	act_fini(h);
	free(h);
	return NULL;
}

static void handle(struct hub *h, const struct hub_event *ev)
{
	switch (ev->type) {
	case HUB_EV_LINK_UP: fleet_link_up(h); break;
	case HUB_EV_LINK_DOWN: fleet_link_down(h); break;
	case HUB_EV_REGISTRATION: presence_registration(h, ev); break;
	case HUB_EV_STATUS: presence_status(h, ev); break;
	case HUB_EV_HEARTBEAT: presence_heartbeat(h, ev); break;
	case HUB_EV_JOB_EVENT: attempt_event(h, ev); break;
	case HUB_EV_NO_SUBSCRIBER: presence_no_subscriber(h, ev); break;
	case HUB_EV_SUBMIT: submit_event(h, ev); break;
	case HUB_EV_CANCEL: jobs_cancel_event(h, ev); break;
	case HUB_EV_CLIENT_GONE: jobs_client_gone(h, ev); break;
	case HUB_EV_ADMIN: admin_event(h, ev); break;
	case HUB_EV_VARIANT: variant_event(h, ev); break;
	case HUB_EV_LOAD: admin_load(h, ev); break;
	case HUB_EV_PERSISTED:
		jobs_persisted(h, ev);
		admin_safe(h, ev->seq);
		break;
	case HUB_EV_RESTORE: restore_event(h, ev); break;
	case HUB_EV_RESTORED: restore_done(h, ev); break;
	case HUB_EV_KNOWN: journal_known(h, ev); break;
	case HUB_EV_TOLD: journal_told(h, ev); break;
	case HUB_EV_JOURNAL: h->is_journal_full = ev->is_full; break;
	case HUB_EV_TICK: break;
	}
}

/* A process that was stopped, or starved, finds all leases ended and the proof of life
 * still unread in its socket. */
static void notice_sleep(struct hub *h, uint64_t now_ms)
{
	uint64_t wanted = timers_next(&h->timers);

	if (h->is_blind || wanted == UINT64_MAX || now_ms < wanted + LATE_MS)
		return;
	HUB_SAY(h, SAY_WARN, "the hub stood still for %llu ms: leases start anew", (unsigned long long)(now_ms - wanted));
	fleet_restart_leases(h);
}

static void run_timers(struct hub *h)
{
	for (struct timer *t; (t = timers_pop(&h->timers, h->now_ms)) != NULL;) {
		switch (t->kind) {
		case TIMER_AGENT: fleet_tick(h, CONTAINER(t, struct agent, timer)); break;
		case TIMER_JOB: jobs_wake(h, CONTAINER(t, struct job, timer)); break;
		case TIMER_SESSIONS: session_expire(h); break;
		case TIMER_BREAKER: breaker_tick(h, t); break;
		default: fleet_blind_tick(h); break;
		}
	}
}

size_t hub_step(struct hub *h, uint64_t now_ms, const struct hub_event *ev, const struct hub_action **ret)
{
	act_begin(h);
	if (now_ms > h->now_ms) {
		h->now_ms = now_ms;
		notice_sleep(h, now_ms);
	}
	handle(h, ev);
	run_timers(h);
	route_offers(h);
	*ret = h->acts;
	return h->n_acts;
}

uint64_t hub_deadline(const struct hub *h)
{
	return timers_next(&h->timers);
}
