/* core.h - what the files of the hub's core share; nobody else includes it.
 *
 *   hub.c      one step: which event goes where, timers, configuration
 *   act.c      building actions; the memory they lend out until the next step
 *   fleet.c    agents: who is there, by lease, and when we are blind
 *   presence.c what agents say: registration, status and will, heartbeat
 *   models.c   which agent holds which model, and which of them have room
 *   submit.c   admission: is a request valid, known already, to be taken
 *   jobs.c     a job's life: states, queueing, cancel, its one end
 *   line.c     in which order jobs wait
 *   variant.c  one name for several models or groups of agents
 *   users.c    what each user may have, and has had
 *   route.c    which agent gets which job
 *   affinity.c which agent has computed how much of a prompt
 *   sessions.c conversations stay where they were computed
 *   session_keep.c … and over another run of the hub
 *   filter.c   may this agent have this job; if not, why
 *   cost.c     how long it would take there
 *   rates.c    how fast agents are, as measured
 *   tier.c     sizes of models, and of boxes
 *   explain.c  the same for people
 *   attempt.c  one try on one agent: the fence, gaps, tokens, failure
 *   admin.c    what an operator asks of agents and jobs
 *   admin_keep.c … over another run, and their answers
 *   forget.c   an agent's record goes
 *   hedge.c    a second attempt at a job that has stalled
 *   continuity.c  does an answer that several agents wrote read as if one had
 *   poison.c   a job that kills engines
 *   breaker.c  an agent that fails too often at a model gets none of it for a while
 *   journal.c  what is written down of a job, and what waits until it is safe
 *   restore.c  a new run: jobs from the records of the last one
 *   page.c     jobs, a page at a time
 *   view.c     what pages and tests may see
 *
 * Objects that go in a step are freed at the start of the next one (act_trash), so
 * spans in actions hold and nothing is freed under a caller's feet. */
#ifndef HUB_CORE_H
#define HUB_CORE_H

#include "fair.h"
#include "variant.h"
#include "hist.h"
#include "hub.h"
#include "id.h"
#include "record.h"
#include "rng.h"
#include "table.h"

#ifdef SHOAL_MUTANTS
#define RULE(h, r) (((h)->config.rules_off & HUB_RULE_##r) == 0)
#else
#define RULE(h, r) ((void)(h), true)
#endif

enum { SAY_ERROR = 3, SAY_WARN = 4, SAY_NOTICE = 5, SAY_INFO = 6, SAY_DEBUG = 7 }; /* as log.h */

enum timer_kind { TIMER_AGENT, TIMER_JOB, TIMER_BLIND, TIMER_SESSIONS, TIMER_BREAKER };

enum warmth { WARMTH_READY, WARMTH_LOADING, WARMTH_HELD, WARMTH_COUNT }; /* what a job has to wait for */

/* Classes of expected times, half an octave each (cost.c). */
#define COST_CLASSES 64

#define TIER_LIST(X) X(BELOW_3B, "<3B") X(3B, "3-7B") X(7B, "7-13B") X(13B, "13-30B") X(30B, "30B+")
enum tier {
#define X(name, text) TIER_##name,
	TIER_LIST(X)
#undef X
	TIER_COUNT
};

struct rates { /* of a model on an agent: milliseconds, averages in which the newest weighs most; 0: not known */
	double prefill_ms;         /* a token */
	double mx, my, mxx, mxy;   /* of decoding: other jobs there, milliseconds a token, and their products */
	double load_ms, service_ms; /* loading; dispatch to end */
	double errors;             /* share of attempts that failed, 0 to 1 */
	unsigned n_prefill, n_decode, n_ends, n_loads;
};

struct model { /* one name; goes when nobody holds it and no job asks for it */
	struct node node;
	struct list all; /* hub.model_list */
	char name[PROTO_MAX_NAME + 1];
	struct list holds;                 /* every agent that listed it */
	struct list rings[WARMTH_COUNT];   /* holds with room now; of ready ones the least recently chosen first */
	struct list classes[COST_CLASSES]; /* the same holds by expected time */
	struct list tiers[TIER_COUNT];     /* the ready ones by size of the box */
	uint64_t class_bits;               /* classes that are not empty */
	uint64_t last_turn;
	enum hub_policy policy;
	struct rates rates;                /* over all agents */
	double prompt_tokens, output_tokens, bytes_per_token; /* of a usual job */
	unsigned n_usual;
	struct queue queue[PRIORITY_COUNT]; /* jobs waiting, the most urgent first */
	size_t refs;
	size_t n_able, n_coming; /* holds of routable agents: ready; loading or loadable */
	size_t n_serving;        /* … that take jobs, if they have to load it first */
	struct paces *paces;     /* hedge.c; NULL: none measured */
};

struct cache { /* what an engine has computed and still holds, from one load of the model to its end */
	struct node node;  /* hub.caches, by id */
	uint64_t id;       /* never used again */
	uint64_t n_fresh;  /* prompts that took another's place in it */
	uint64_t n_places; /* so many of them ago it has forgotten; 0: as many as slots */
	bool is_loaded;
};

struct hold { /* one agent lists one model */
	struct list of_model, ring;
	struct agent *agent;
	struct model *model;
	const struct model_info *info; /* in the agent's registration */
	size_t n_jobs;                 /* given to the agent */
	struct cache cache;
	struct job *sole;              /* the only one it may run, or is kept free for; NULL: none */
	struct breaker *breaker;       /* NULL: it has not failed lately */
	struct list class, tier;       /* in the model's classes and tiers while in a ring */
	unsigned class_now, tier_now;
	uint64_t turn;                 /* when it was chosen last, counted by the model */
	uint64_t ready_ms, cold_ms;    /* since when it is loaded; since when a job waits for that; 0: not */
	struct rates rates;
	double read_until_ms; /* when prompts given to it will have been read */
};

enum life { LIFE_OFFLINE, LIFE_ONLINE, LIFE_SUSPECT };
enum gone { GONE_NO, GONE_WILL, GONE_ABSENT }; /* why we think an agent just went */

/* What an operator wants of an agent.  The agent is told to drain, too, so that its own lights and status show
 * it; it follows until its button, or a resume, ends that. */
enum wish { WISH_NONE, WISH_DRAIN, WISH_RESUME };

struct admin_note {
	enum wish wish;
	bool is_followed; /* DRAIN: this life of the agent has said that it drains */
	bool is_isolated;
	unsigned weight;  /* per cent */
	uint64_t told_ms; /* when it was last told of the wish; 0: never */
	char user[PROTO_MAX_ID + 1], reason[ADMIN_MAX_REASON + 1]; /* of the last DRAIN or QUARANTINE */
};

struct agent {
	struct node node;
	struct list all;    /* hub.fleet */
	struct list jobs;   /* live jobs given to it: struct job.place */
	struct list hedges; /* second attempts given to it: struct hedge.place */
	struct list recent; /* hub.recent while lost inside the blind window */
	struct list offer;  /* hub.offers: it has room, look for work at the end of the step */
	struct list waiters; /* jobs that wait for this one: struct job.place */
	size_t n_waiters;
	struct list rejoin; /* jobs of the last run that it may still be at: struct job.place */
	struct timer timer;
	struct registration *reg; /* NULL: only a status was seen; spans in the same block */
	const struct hub_known_agent *known; /* the configuration's; NULL: not in it */
	struct admin_note *note; /* NULL: nobody wanted anything */
	struct hold *holds;
	size_t n_holds, n_jobs;
	uint64_t status_epoch, status_conn; /* the last status, whoever sent it */
	uint64_t since_ms, seen_ms, busy_ms, gone_ms, lost_ms, stray_ms, asked_ms;
	struct heartbeat *heartbeat; /* NULL: none yet; without its reason, which the status has */
	unsigned status_state;
	enum life life;
	enum gone gone;
	bool has_status, will_fired, draining, quarantined, routable, open, stale_told, is_named;
	bool is_behind; /* it tells of a life whose registration is not here yet */
	char id[PROTO_MAX_ID + 1], reason[64];
};

#define JOB_BLAMES 4

struct hedge { /* a second attempt, on another agent */
	struct list place; /* agent.hedges */
	struct agent *agent;
	struct job *job;
	uint64_t attempt, epoch, begun_ms;
	size_t first_id; /* of the job when it began */
};

struct reply { /* a copy of where answers go; spans in mem */
	struct hub_reply to;
	struct span correlation; /* to be put into the payload */
	char *mem;
};

#define SESSION_LOST UINT64_MAX  /* a cache that is no more */
#define SESSION_WHOLE UINT64_MAX /* tokens: as many as its next prompt repeats */

struct origin { /* of a session: where it was in the last run of the hub */
	uint64_t epoch;
	char agent[PROTO_MAX_ID + 1];
};

struct session {
	struct node node;   /* hub.sessions */
	struct list place;  /* hub.idle_sessions or busy_sessions: used longest ago first */
	uint64_t cache;     /* where it belongs; 0: nowhere yet */
	uint64_t epoch;     /* of that agent when it came there */
	uint64_t fresh_at;  /* the cache's n_fresh when it was used last */
	uint64_t tokens, used_ms, n_turns, n_moves;
	size_t n_jobs;      /* live */
	struct origin *origin; /* not found again yet; NULL: nothing to find */
	uint8_t n_user, n_model, n_id;
	char text[];        /* user, model, id */
};

#define AFFINITY_HITS 4
struct affinity_hit {
	uint64_t cache, tokens;
};

struct early_end {              /* DONE that came before the last tokens */
	struct job_event event; /* values, and sha256 */
	uint8_t digest[32];
};

struct mark { /* a place in an answer */
	size_t id, byte, prob;
};

struct job {
	struct node by_id, by_key, by_user, by_conn;
	struct list all;     /* hub.live or hub.ended */
	struct variant *variant; /* NULL: it asked for a model */
	uint64_t first_ms;   /* its first token came; 0: none yet */
	struct user *owner;  /* while live; NULL: no memory for it */
	struct flow *flow;   /* NULL: it is in no queue */
	unsigned level;      /* of the queue it is in */
	unsigned n_rises;    /* above its priority */
	uint64_t cost;       /* in expected tokens */
	bool is_paid, is_charged, is_given; /* out of its user's buckets; of its turn; an agent has it */
	struct list place;   /* a flow of a model's queue, an agent's jobs or waiters, or none */
	struct list persist; /* hub.persisting */
	struct list telling; /* hub.telling */
	struct timer timer;
	struct id id;
	char user[PROTO_MAX_ID + 1], key[PROTO_MAX_ID + 1], model_name[PROTO_MAX_NAME + 1];
	uint8_t digest[32]; /* of the request, to know it again */
	struct reply reply;
	bool stream, cancel_on_disconnect;
	bool is_embedding; /* its tokens are texts, its probs their vectors */
	bool is_deaf; /* the client is gone: no answers */
	enum hub_job_state state;
	unsigned priority;
	uint64_t rank;        /* order of submission */
	uint64_t number;      /* in the journal, over all runs */
	uint64_t persist_seq; /* waited for; 0: none */
	uint64_t tell_seq;    /* the client hears nothing more until this is safe; 0: nothing waits */
	uint64_t submitted_ms, deadline_ms /* absolute; UINT64_MAX: none */;
	size_t bytes; /* counted in hub.bytes */

	/* while live */
	struct submit *submit; /* spans in the same block of */
	size_t submit_bytes;
	struct span body; /* the same, encoded, in the same block */
	struct sampling sampling;
	struct model *model;
	uint32_t *ids; /* all tokens so far, over all attempts */
	size_t n_ids, cap_ids;
	struct mark shown; /* what some client has seen */
	struct mark last;  /* where the last frame it has seen began */
	struct mark kept;  /* what is in records */
	bool owes_accepted, owes_confirm; /* to client and agent, when tell_seq is safe */
	bool rejoins;                     /* the agent may still be at it, and has not come back yet */
	bool is_unsure;                   /* a client may have seen more than the journal has */
	bool is_resting; /* QUEUED, but not before: */
	uint64_t not_before_ms, recheck_ms, queued_ms, queue_total_ms;
	struct agent *avoid; /* failed this job last: others first, until */
	uint64_t avoid_until_ms;
	uint64_t barren; /* attempts in a row that brought nothing */
	const struct agent *blamed[JOB_BLAMES]; /* agents that failed it, as breakers count; only compared */
	size_t n_blamed;
	struct hedge *hedge;     /* the second attempt; NULL: none */
	bool is_burned;          /* the next attempt's number belongs to one */
	uint64_t no_hedge_ms;    /* not before */
	uint64_t kills;          /* attempts whose engine died */
	struct hold *sole;       /* it runs alone there, or waits for that */
	uint64_t kin;            /* of the engine that wrote the first tokens */
	uint64_t kin_until_ms;   /* only an equal one may go on, until */
	enum hub_continuity continuity;
	bool is_kin_exact;
	uint64_t n_full, full_ms; /* attempts in a row that found a queue full, since when */
	struct session *session; /* NULL: none */
	struct agent *awaits;    /* its session's, which is full: it waits for that one alone, until */
	uint64_t await_until_ms;
	bool has_waited;
	uint64_t *cuts; /* hashes of the prompt's beginnings */
	size_t n_cuts, n_hits;
	struct affinity_hit hits[AFFINITY_HITS]; /* as of hits_gen */
	uint64_t hits_gen, prompt_bytes;

	/* the attempt; agent stays after the end for the receipt and a CANCEL that must arrive */
	struct agent *agent;
	uint64_t attempt, epoch;
	const char *route;
	enum hub_session_state session_state;
	enum hub_move session_why;
	uint64_t expected_cached; /* tokens of the prompt */
	char route_kept[32]; /* of the last run */
	size_t first_id, first_byte, first_prob; /* where this attempt began */
	uint64_t begun_ms;           /* when it was given */
	uint64_t sent_ms, tries;     /* of the dispatch, or of CANCEL after the end */
	uint64_t heard_ms, token_ms; /* last sign of life, last token (or accepted) */
	uint64_t asked_ms;           /* last RESEND; 0: none */
	uint64_t told_ms;            /* last word to the agent about it */
	size_t asked_index, n_frames;
	struct early_end *early_end; /* NULL: none */
	uint64_t load_percent;       /* the last it told */
	uint64_t load_ms;            /* of its wait there, what the load took */
	uint64_t expected_ms;        /* when it was given */
	struct route_candidate *candidates; /* who else could have had it: spans in the same block; NULL: none */
	size_t n_candidates;
	size_t crowd;                /* jobs its agent had when this one came, itself too */
	bool was_cold, began_load;   /* the model was not loaded there; nobody else's job waited for it */
	bool has_token, is_loading, lingers;     /* lingers: ended here, the agent has not confirmed */

	/* the end */
	struct answer *end; /* of one that ended in the last run; spans in the same block; NULL: else */
	bool is_told;       /* it has reached the client's broker */
	struct buf text;  /* grows while live */
	struct buf probs; /* logprobs of all tokens, if asked for */
	enum finish finish;
	enum code code;
	char *message;
	struct usage usage;
	uint64_t n_tokens; /* of an embedding's texts */
	struct timings timings;
	uint64_t agent_wait_ms, ended_ms, retry_after_ms;
};

struct admin_entry {
	uint64_t at_ms, value;
	enum admin_verb verb;
	enum code code;
	char user[PROTO_MAX_ID + 1], target[PROTO_MAX_ID + 1], reason[ADMIN_MAX_REASON + 1];
};

struct hub {
	struct hub_config config;
	struct rng rng;
	uint64_t now_ms, hash_seed;
	struct timers timers;
	/* fleet */
	struct table agents, models;
	struct list fleet, model_list, recent, offers, breakers;
	size_t n_agents, n_up, n_recent;
	bool link_up, is_blind, full_told;
	struct timer blind_timer;
	uint64_t believe_until_ms; /* losses until then are real: we have looked twice */
	/* jobs */
	struct table jobs, by_key, by_user, by_conn;
	struct list live, ended, persisting, telling;
	size_t n_live, n_ended, bytes;
	struct {
		uint64_t old_seq, seq; /* the last of */
		size_t old_bytes, bytes;
	} notes; /* not safe yet */
	bool is_journal_full, has_retold;
	uint64_t settle_until_ms; /* after a restart: who has not announced itself yet may still do so */
	struct buf record; /* to encode into */
	uint64_t persist_seq, last_rank, last_number;
	struct variant *variants;
	size_t n_variants;
	/* fairness */
	struct table users, accounts;
	struct list busy_users, idle_users;
	size_t n_idle_users;
	struct turns turns; /* at the whole queue */
	uint64_t waiting[PRIORITY_COUNT]; /* jobs in queues, by level */
	uint64_t refusals[HUB_REFUSAL_COUNT];
	/* operators */
	struct admin_entry admin_log[HUB_ADMIN_KEPT]; /* a ring: the next is written at n_admin modulo its size */
	uint64_t n_admin;
	struct list asking;    /* whose answers wait for their record */
	size_t n_asking;
	struct list forgotten; /* agents that only ended jobs still name */
	/* sessions and caches */
	struct table sessions, caches, prefixes;
	struct list idle_sessions, busy_sessions, prefix_used;
	size_t n_sessions, n_prefixes;
	uint64_t last_cache, affinity_gen; /* gen: rises when an estimate may have changed */
	struct timer session_timer;
	struct hub_session_stats session_stats;
	/* a step's actions and what they lend */
	struct hub_action *acts;
	size_t n_acts, cap_acts;
	void **trash;
	size_t n_trash, cap_trash;
	struct buf scratch;
	struct hub_counters counters;
};

/* ---- act.c ---- */

struct hub_action *act_new(struct hub *h, enum hub_action_type type);
void act_begin(struct hub *h);          /* a new step: forget the last one's actions, free its trash */
void act_trash(struct hub *h, void *p); /* free() at the start of the next step */
void act_fini(struct hub *h);
void act_log(struct hub *h, int level, struct buf *text); /* takes text */
#define HUB_SAY(h, level, ...)                                                                                              \
	do {                                                                                                                \
		struct buf say_ = BUF_INIT(1024);                                                                           \
		buf_addf(&say_, __VA_ARGS__);                                                                               \
		act_log(h, level, &say_);                                                                                   \
	} while (0)
void act_control(struct hub *h, const struct agent *a, unsigned verb, uint64_t epoch, struct span job, uint64_t attempt,
	uint64_t index);
void act_job_control(struct hub *h, const struct job *j, unsigned verb, uint64_t index);
uint64_t act_persist(struct hub *h, enum hub_persist_kind kind, const struct job *j);
struct answer *act_answer(struct hub *h, const struct job *j, unsigned type);
void act_tokens(struct hub *h, struct job *j, struct mark to); /* from those shown on */
void act_fill_end(const struct job *j, struct answer *ret);    /* how it ended, but for whom that is told */
void act_loading(struct hub *h, struct job *j); /* how far the agent is with its model */
void act_end(struct hub *h, const struct job *j);
struct receipt act_receipt(const struct job *j);
/* An own copy of a message and what its spans and lists point at, in one block for free().
 * *ret_body: the encoded bytes, in it; ret_body may be NULL. */
SHOAL_CHECK int act_copy(struct hub *h, const struct msg_type *t, const void *m, void **ret, struct span *ret_body);

/* ---- fleet.c ---- */

SHOAL_CHECK int fleet_know(struct hub *h); /* the agents of the configuration */
struct agent *fleet_find(const struct hub *h, struct span id);
struct agent *fleet_get(struct hub *h, struct span id); /* made if need be; NULL: no room, or no id */
void fleet_up(struct hub *h, struct agent *a);
void fleet_down(struct hub *h, struct agent *a, const char *reason); /* its work moves */
void fleet_close(const struct hub *h, struct agent *a);              /* out of all rings, until fleet_refresh() */
void fleet_link_up(struct hub *h);
void fleet_link_down(struct hub *h);
void fleet_restart_leases(struct hub *h);
void fleet_seen(struct hub *h, struct agent *a);    /* a valid frame of its current epoch */
void fleet_refresh(struct hub *h, struct agent *a); /* after anything that changes whether it can take work */
void fleet_tick(struct hub *h, struct agent *a);
void fleet_blind_tick(struct hub *h);
void fleet_arm(struct hub *h, struct agent *a);
void fleet_free(struct hub *h, struct agent *a);
enum hub_presence fleet_presence(const struct agent *a);

static inline unsigned admin_weight(const struct agent *a)
{
	return a->note != NULL ? a->note->weight : ADMIN_MAX_WEIGHT;
}

/* Slots that operators let it have jobs in: its weight of all, and one at least. */
static inline uint64_t admin_slots(const struct agent *a)
{
	uint64_t slots = a->reg->slots * admin_weight(a) / ADMIN_MAX_WEIGHT;

	return slots > 0 ? slots : admin_weight(a) > 0 && a->reg->slots > 0;
}

static inline bool fleet_has_room(const struct hub *h, const struct agent *a)
{
	return a->reg->slots > 0 && (!RULE(h, ROOM) || a->n_jobs < admin_slots(a) + h->config.extra_credit);
}

/* ---- presence.c ---- */

void presence_registration(struct hub *h, const struct hub_event *ev);
void presence_status(struct hub *h, const struct hub_event *ev);
void presence_heartbeat(struct hub *h, const struct hub_event *ev);
void presence_no_subscriber(struct hub *h, const struct hub_event *ev);

/* ---- models.c ---- */

struct model *models_find(const struct hub *h, struct span name);
/* The one a request means: by name, and without a name the only one there is. */
struct model *models_asked(const struct hub *h, struct span name);
struct model *models_ref(struct model *m);
void models_unref(struct hub *h, struct model *m);
struct model *models_get(struct hub *h, struct span name); /* made if need be, and referred to; NULL: no memory */
/* The agent's holds follow its registration; it must be closed. */
SHOAL_CHECK int models_set(struct hub *h, struct agent *a);
void models_drop(struct hub *h, struct agent *a);
void models_count(struct agent *a, bool is_routable); /* in n_able and n_coming, or not */
/* In the rings, or not, each as it has room. */
void models_open(const struct hub *h, struct agent *a, bool is_open);
void models_job(struct agent *a, const struct model *m, bool is_given); /* to it, or over */
struct hold *models_hold(const struct agent *a, const struct model *m); /* NULL: it does not list it */
bool models_has_room(const struct hub *h, const struct hold *o); /* for one more of it; the agent's own room aside */
void models_place(const struct hub *h, struct agent *a); /* its expected times have changed */
uint64_t models_slots(const struct hold *o); /* jobs of this model the agent runs at once */
enum warmth models_warmth(const struct hold *o);

/* ---- submit.c ---- */

size_t submit_prompt_bytes(const struct submit *s);
void submit_event(struct hub *h, const struct hub_event *ev);
/* An own copy of a request, without who asks; *ret_body: its encoded bytes, in the same block. */
SHOAL_CHECK int submit_body_copy(struct hub *h, const struct submit *s, struct submit **ret, struct span *ret_body);
SHOAL_CHECK int submit_reply_copy(const struct hub_reply *r, struct span correlation, struct reply *ret);

/* ---- jobs.c ---- */

struct job *jobs_find(const struct hub *h, struct span id);
struct job *jobs_find_key(const struct hub *h, struct span user, struct span key);
static inline bool jobs_is_live(const struct job *j)
{
	return j->state <= HUB_JOB_RUNNING;
}
void jobs_add(struct hub *h, struct job *j); /* a new one, filled in, timer reserved */
void jobs_link(struct hub *h, struct job *j); /* into tables and lists */
void jobs_link_ended(struct hub *h, struct job *j); /* one of the last run */
void jobs_go_on(struct hub *h, struct job *j); /* what it waited for is safe */
void jobs_forget_old(struct hub *h);           /* ended ones beyond max_ended */
void jobs_cancel(struct hub *h, struct job *j);
static inline bool jobs_is_assigned(const struct job *j)
{
	return j->state == HUB_JOB_DISPATCHED || j->state == HUB_JOB_RUNNING;
}
void jobs_free(struct hub *h, struct job *j);
void jobs_set_conn(struct hub *h, struct job *j); /* its reply changed */
void jobs_weigh(struct hub *h, struct job *j);    /* its memory changed */
void jobs_make_room(struct hub *h, size_t bytes); /* forget ended ones until so much fits */
void jobs_persisted(struct hub *h, const struct hub_event *ev);
void jobs_await(struct hub *h, struct job *j, enum hub_persist_kind kind);
void jobs_cancel_event(struct hub *h, const struct hub_event *ev);
void jobs_client_gone(struct hub *h, const struct hub_event *ev);
void jobs_wake(struct hub *h, struct job *j);
void jobs_arm(struct hub *h, struct job *j);
void jobs_link_up(struct hub *h);
void jobs_restart_clocks(struct hub *h);
void jobs_enqueue(struct hub *h, struct job *j); /* NEW or between attempts: into its model's queue, or to an agent */
void jobs_unplace(struct hub *h, struct job *j); /* out of queue or agent; state is the caller's */
/* Its one end: tells the client, forgets what only a live job needs. */
void jobs_done(struct hub *h, struct job *j, enum finish finish);
void jobs_fail(struct hub *h, struct job *j, enum code code, struct span reason);
void jobs_abort(struct hub *h, struct job *j, enum code code, struct span reason); /* … while an agent is at it */
void jobs_cancel(struct hub *h, struct job *j);

/* ---- journal.c ---- */

static inline struct mark journal_mark(const struct job *j)
{
	return (struct mark){ j->n_ids, j->text.n, j->probs.n };
}
/* Of the entry just asked for: true when it is noted, and the job goes on; only its client waits until it is safe. */
bool journal_note(struct hub *h, const struct job *j);
void journal_go_ahead(struct hub *h, struct job *j);
void journal_body(struct hub *h, const struct job *j, struct hub_record *r);
void journal_rest(struct hub *h, struct job *j);      /* tokens that are in no record yet */
void journal_take_back(struct hub *h, struct job *j); /* its tokens were cut */
void journal_show(struct hub *h, struct job *j);      /* what has come, to the client: when it is safe */
bool journal_end(struct hub *h, struct job *j);       /* true: the client is told later */
bool journal_took_over(struct hub *h, struct job *j); /* as above, of a new address */
void journal_safe(struct hub *h, uint64_t seq);
void journal_told(struct hub *h, const struct hub_event *ev);
void journal_known(struct hub *h, const struct hub_event *ev);
/* A value by its key, for whatever part: kept, replaced, or gone when it is empty. */
uint64_t journal_value(struct hub *h, enum hub_persist_kind kind, struct span key, struct span value);

/* ---- restore.c ---- */

void restore_event(struct hub *h, const struct hub_event *ev);
void restore_done(struct hub *h, const struct hub_event *ev);
void restore_link_up(struct hub *h);
struct job *restore_end(struct hub *h, const struct hub_record *r); /* an ended job; NULL: none */
void restore_agent_up(struct hub *h, struct agent *a);
void restore_agent_gone(struct hub *h, struct agent *a);
void restore_agent_forgotten(struct hub *h, struct agent *a);
void restore_give_up(struct hub *h, struct job *j);

/* ---- filter.c ---- */

/* A job that looks for an agent, with what it will take. */
struct ask {
	struct job *j; /* NULL: a usual one of the model */
	enum hub_policy policy;
	double prompt, output; /* tokens, as expected */
	uint64_t left_ms;      /* to its deadline; UINT64_MAX: none */
};

/* Whether the agent could have the job, its room aside, and if not why: HUB_REASON_OUTRANKED is yes.
 * filter_job() is for one that stands in its model's rings; filter_all() for any, o NULL where it
 * does not list the model. */
enum hub_reason filter_job(const struct hub *h, const struct ask *ask, const struct hold *o);
enum hub_reason filter_all(const struct hub *h, const struct ask *ask, const struct agent *a, const struct hold *o);
bool filter_is_routable(const struct hub *h, const struct agent *a);
size_t filter_labels(const struct agent *a, const struct span *labels, size_t n); /* how many it has */

/* ---- cost.c ---- */

struct ask cost_ask(const struct hub *h, struct job *j);
double cost_first_ms(const struct hub *h, const struct ask *ask, const struct hold *o);    /* at best, to the first token */
double cost_expected_ms(const struct hub *h, const struct ask *ask, const struct hold *o); /* to the last */
/* The same with what speaks against the agent: what policy cost compares. */
double cost_score(const struct hub *h, const struct ask *ask, const struct hold *o, double expected_ms);
bool cost_is_metered(const struct agent *a);
unsigned cost_class(const struct hub *h, const struct hold *o); /* of a usual job of the model */
void cost_given(struct hub *h, struct job *j, struct hold *o);   /* it is about to get that job */

/* ---- rates.c ---- */

uint64_t rates_load_of(const struct job *j, const struct job_event *done); /* of its wait at the agent the load's part */
void rates_done(struct hub *h, const struct job *j, const struct job_event *done);
void rates_failed(struct hub *h, const struct job *j, enum code code);
double rates_prefill_ms(const struct hold *o);
double rates_decode_ms(const struct hold *o, double others); /* a token, beside so many other jobs */
double rates_load_ms(const struct hold *o);
double rates_service_ms(const struct hold *o);

/* ---- tier.c ---- */

extern const char *const tier_names[];
enum tier tier_of_model(const struct model_info *m);
enum tier tier_of_agent(const struct agent *a);

/* ---- route.c ---- */

/* The one the job names, else its model's, else that of all. */
enum hub_policy route_policy(const struct job *j);
/* What the job's policy compares: the least is chosen. */
double route_score(const struct hub *h, const struct ask *ask, const struct hold *o, double expected_ms);

struct hold *route_second(struct hub *h, struct job *j); /* for a second attempt beside the first; NULL: nobody */
bool route_job(struct hub *h, struct job *j); /* finds an agent with room, or false */
void route_offers(struct hub *h);             /* agents that have got room look for work */
bool route_is_possible(const struct job *j);  /* is there anyone it may wait for */
bool route_fits(const struct hub *h, struct job *j, const struct agent *a); /* room aside */

/* ---- affinity.c ---- */

/* Its cache is another one from now on: empty. */
void affinity_cache_new(struct hub *h, struct hold *o);
void affinity_cache_move(struct hub *h, struct hold *from, struct hold *to); /* the same one, in a new record */
void affinity_cache_drop(struct hub *h, struct hold *o);
void affinity_new_life(struct hub *h, struct agent *a);
struct hold *affinity_hold(const struct hub *h, uint64_t cache); /* NULL: it is gone */
SHOAL_CHECK int affinity_job(struct hub *h, struct job *j); /* a new one: hashes its prompt */
/* Tokens of the job's prompt that the agent is thought to have computed already. */
uint64_t affinity_cached(const struct hub *h, struct job *j, const struct agent *a);
/* Who has most of it, room and fitness aside; returns how many. */
size_t affinity_holds(const struct hub *h, struct job *j, struct hold *ret[AFFINITY_HITS]);
void affinity_prefilled(struct hub *h, const struct job *j); /* its first token is there */
void affinity_done(struct hub *h, struct job *j);
void affinity_fini(struct hub *h);

/* ---- sessions.c, session_keep.c ---- */

struct session *session_get(struct hub *h, struct span user, struct span model, struct span id); /* NULL: no room */
void session_idle(struct hub *h, struct session *s);                                       /* nobody uses it now */
void session_keep(struct hub *h, const struct session *s, const struct agent *a); /* a NULL: it has ended */
void session_restore(struct hub *h, const struct hub_record *r);
void session_look(const struct hub *h, struct session *s, const struct model *m); /* for where it was */

void session_join(struct hub *h, struct job *j);  /* a new one */
void session_leave(struct hub *h, struct job *j); /* its end */
void session_begun(struct hub *h, struct job *j); /* an attempt, at j->agent */
void session_done(struct hub *h, struct job *j);
void session_receipt(const struct job *j, struct receipt *r); /* its part of it */
/* Where the job's session belongs, when that can take it now; else NULL. */
struct hold *session_hold(const struct hub *h, struct job *j);
/* Lets the job wait for its session's agent alone, if that is worth it. */
bool session_wait(struct hub *h, struct job *j);
void session_unwait(struct job *j); /* no longer; it is in no list then */
struct job *session_waiting(const struct hub *h, const struct agent *a); /* who is next; NULL: none that fits */
void session_release(struct hub *h, struct agent *a);                    /* nobody waits for it any more */
void session_expire(struct hub *h);
void session_drop_all(struct hub *h);

/* ---- attempt.c ---- */

void attempt_event(struct hub *h, const struct hub_event *ev);
void attempt_begin(struct hub *h, struct job *j, struct agent *a, const char *route);
void attempt_assign(struct hub *h, struct job *j, struct agent *a); /* counted as this agent's */
void attempt_dispatch(struct hub *h, struct job *j);
void attempt_dispatch_to(struct hub *h, const struct job *j, const struct agent *a, uint64_t attempt, uint64_t epoch);
void attempt_reset(struct hub *h, struct job *j);
void attempt_failed(struct hub *h, struct job *j, enum code code, struct span reason);
void attempt_resend(struct hub *h, struct job *j);
uint64_t attempt_next(const struct hub *h, const struct job *j); /* when attempt_tick() is wanted */
void attempt_tick(struct hub *h, struct job *j);

/* ---- hedge.c ---- */

void hedge_measure(struct hub *h, struct job *j); /* tokens have come; before has_token and token_ms are set */
uint64_t hedge_at(const struct hub *h, const struct job *j); /* when it has waited too long */
void hedge_try(struct hub *h, struct job *j);
void hedge_win(struct hub *h, struct job *j);
bool hedge_inherits(struct hub *h, struct job *j); /* the first attempt has failed: true: the second has the job */
void hedge_drop(struct hub *h, struct job *j, bool is_told);
void hedge_agent_down(struct hub *h, struct agent *a);
bool hedge_is(const struct job *j, const struct agent *a, const struct job_event *e);

/* ---- continuity.c ---- */

void continuity_tokens(struct hub *h, struct job *j); /* the attempt brings tokens; before has_token is set */
void continuity_rejoined(struct hub *h, struct job *j); /* after a restart of ours */
void continuity_failed(struct hub *h, struct job *j); /* after the pause is known */
bool continuity_lets(const struct hub *h, const struct job *j, const struct hold *o);

/* ---- poison.c ---- */

bool poison_killed(struct hub *h, struct job *j, enum code code); /* true: it is to end */
void poison_end(struct hub *h, struct job *j, struct span reason);
void poison_begin(const struct hub *h, struct job *j); /* an attempt, on j->agent */
void poison_wait(struct hub *h, struct job *j);        /* it is queued: keep an agent free for it, if need be */
void poison_release(struct hub *h, struct job *j);
bool poison_lets(const struct hub *h, const struct job *j, const struct hold *o);
bool poison_has_room(const struct hold *o);
void poison_move(struct hold *from, struct hold *to);
void poison_drop(struct hold *o);

/* ---- breaker.c ---- */

/* An attempt (on j->agent) has failed, was never answered, or is done; before jobs_unplace(). */
void breaker_failed(struct hub *h, struct job *j, const struct agent *a, uint64_t begun_ms, enum code code);
void breaker_unanswered(struct hub *h, struct job *j);
void breaker_worked(struct hub *h, const struct job *j);
bool breaker_lets(const struct hold *o); /* one more job of this model to this agent */
void breaker_reset(struct hub *h, struct hold *o);
void breaker_move(struct hold *from, struct hold *to);
void breaker_free(struct hub *h, struct hold *o);
void breaker_tick(struct hub *h, struct timer *t);

/* ---- view.c ---- */

struct hub_job_view view_of_job(const struct job *j);

/* ---- admin.c ---- */

void admin_load(struct hub *h, const struct hub_event *ev);
void admin_event(struct hub *h, const struct hub_event *ev);
struct admin_note *admin_note(struct agent *a); /* made if need be; NULL: no memory */
/* The agent has said whether it drains; is_beat: in a heartbeat, which is the later word than its status. */
void admin_heard(struct hub *h, struct agent *a, bool is_draining, bool is_beat);
void admin_new_life(struct hub *h, struct agent *a); /* it has registered with another epoch */

static inline bool admin_is_drained(const struct agent *a)
{
	return a->note != NULL && a->note->wish == WISH_DRAIN;
}

static inline bool admin_is_isolated(const struct agent *a)
{
	return a->note != NULL && a->note->is_isolated;
}

/* admin_keep.c */
uint64_t admin_keep(struct hub *h, const struct agent *a); /* the record's number */
void admin_restore(struct hub *h, const struct hub_record *r);
/* Takes text.  When seq is safe; 0: now. */
void admin_answer(struct hub *h, const struct hub_event *ev, uint64_t seq, enum code code, struct buf *text);
void admin_safe(struct hub *h, uint64_t seq);
void admin_free(struct hub *h);

/* forget.c: an offline agent's record goes; jobs that name it still may */
void forget_agent(struct hub *h, struct agent *a);

/* Whether operators let it have new work. */
static inline bool admin_allows(const struct hub *h, const struct agent *a)
{
	return !RULE(h, ADMIN) || a->note == NULL || (a->note->wish != WISH_DRAIN && !a->note->is_isolated && a->note->weight > 0);
}

#endif
