/* mq.c - the life of the MQTT link: names, attempts, backoff, bounds, goodbye. */
#include "mq.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "mq_session.h"
#include "resolve.h"
#include "rng.h"

#define TICK_MS 1000    /* of the library's keepalive */
#define READS_A_WAKE 32 /* packets before other sources get their turn */
#define STABLE_MS 10000 /* a connection that lasted this long resets the backoff */
#define GOODBYE_MS 500  /* from DISCONNECT to the broker's end of the connection */

enum state {
	MQ_IDLE,
	MQ_RESOLVING,
	MQ_CONNECTING, /* from connect() to CONNACK */
	MQ_UP,
	MQ_WAITING, /* for the next attempt */
	MQ_GOODBYE, /* DISCONNECT is under way */
	MQ_CLOSED
};

struct mq {
	struct loop *loop;
	struct mq_config config; /* strings are ours */
	struct mq_callbacks cb;
	void *ctx;
	struct rng rng;
	enum state state;

	struct resolve *resolve;
	struct resolve_answer addresses;
	size_t address; /* the one tried now */
	uint64_t conn, up_ms;
	unsigned attempts; /* failed in a row */
	struct session session;

	struct loop_timer *deadline; /* of the state: connect, retry, close */
	struct loop_timer *tick;
	struct loop_timer *kick; /* what was found in a call of the owner's, handled from the loop */

	bool wants_room; /* a publish was refused */
	bool is_closing;
	void (*done)(void *ctx);
	unsigned depth; /* of our frames below a callback */
	bool is_dead;   /* freed in a callback: the struct goes with the last frame */
	struct mq_stats stats;
};

/* Every way in from the loop holds a frame, since any callback may free q. */
static void enter(struct mq *q)
{
	q->depth++;
}

static void leave(struct mq *q)
{
	if (--q->depth == 0 && q->is_dead)
		free(q);
}

/* ---- attempts ---- */

static void wait_for_retry(struct mq *q)
{
	uint64_t ceiling = q->config.backoff_max_ms, retry_ms;

	/* Full jitter (Brooker, "Exponential Backoff and Jitter", 2015). */
	if (q->attempts < 32 && q->config.backoff_min_ms << q->attempts < ceiling)
		ceiling = q->config.backoff_min_ms << q->attempts;
	q->attempts++;
	retry_ms = clock_ms() + 1 + rng_below(&q->rng, ceiling);
	q->state = MQ_WAITING;
	loop_timer_at(q->deadline, retry_ms);
	if (q->cb.down != NULL && !q->is_closing)
		q->cb.down(q->ctx, q->session.why, retry_ms);
}

/* With TLS the certificate is checked against the name, so it is the name that goes in: it
 * was looked up a moment ago, the library does so once more and takes the first address. */
static bool connect_one(struct mq *q)
{
	const char *host = q->config.cafile != NULL ? q->config.host : q->addresses.address[q->address];
	struct mq_pub will = { .qos = 0 };
	bool has_will;

	q->conn++;
	has_will = q->cb.will != NULL && q->cb.will(q->ctx, q->conn, &will);
	if (q->is_dead)
		return false;
	return session_open(&q->session, &q->config, host, has_will ? &will : NULL);
}

/* Tries the addresses in turn, at once; backs off after the last. */
static void connect_next(struct mq *q)
{
	for (; q->address < q->addresses.n; q->address++) {
		q->state = MQ_CONNECTING;
		if (connect_one(q)) {
			loop_timer_at(q->deadline, clock_ms() + q->config.connect_timeout_ms);
			loop_timer_at(q->tick, clock_ms() + TICK_MS);
			return;
		}
		if (q->is_dead)
			return;
		session_close(&q->session);
	}
	wait_for_retry(q);
}

static void lookup_failed(struct mq *q, const char *why)
{
	(void)snprintf(
		q->session.why, sizeof(q->session.why), "the name \"%s\" cannot be looked up: %s", q->config.host, why);
}

static void on_resolved(void *ctx, const struct resolve_answer *answer)
{
	struct mq *q = ctx;

	enter(q);
	q->addresses = *answer;
	if (q->config.cafile != NULL && answer->n > 1)
		q->addresses.n = 1;
	q->address = 0;
	if (answer->n == 0)
		lookup_failed(q, answer->error);
	q->resolve = resolve_free(q->resolve);
	connect_next(q);
	leave(q);
}

static void begin(struct mq *q)
{
	int rc;

	q->state = MQ_RESOLVING;
	rc = resolve_new(q->loop, q->config.host, on_resolved, q, &q->resolve);
	if (rc < 0) {
		lookup_failed(q, strerror(-rc));
		wait_for_retry(q);
	}
}

static void finish_close(struct mq *q)
{
	void (*done)(void *ctx) = q->done;

	session_close(&q->session);
	q->resolve = resolve_free(q->resolve);
	loop_timer_off(q->deadline);
	loop_timer_off(q->tick);
	q->state = MQ_CLOSED;
	q->done = NULL;
	if (done != NULL)
		done(q->ctx);
}

/* The session is lost; its why[] says how. */
static void drop(struct mq *q)
{
	bool was_up = q->state == MQ_UP;

	if (q->is_closing) {
		finish_close(q);
		return;
	}
	session_close(&q->session);
	loop_timer_off(q->tick);
	if (!was_up) {
		q->address++;
		connect_next(q);
		return;
	}
	q->stats.losses++;
	if (clock_ms() - q->up_ms >= STABLE_MS)
		q->attempts = 0;
	wait_for_retry(q);
}

/* ---- what a session brings ---- */

static void come_up(struct mq *q)
{
	if (q->state != MQ_CONNECTING || q->is_closing)
		return;
	q->state = MQ_UP;
	q->up_ms = clock_ms();
	q->stats.connects++;
	loop_timer_off(q->deadline);
	if (q->cb.up != NULL)
		q->cb.up(q->ctx, q->conn);
}

static void deliver_one(struct mq *q, const struct session_event *e)
{
	switch (e->type) {
	case SESSION_CONNACK: come_up(q); break;
	case SESSION_MESSAGE:
		q->stats.received++;
		if (q->cb.message != NULL && !q->is_closing)
			q->cb.message(q->ctx, &e->msg);
		break;
	case SESSION_ACK:
		q->stats.acked++;
		if (q->cb.ack != NULL)
			q->cb.ack(q->ctx, e->mid, e->reason);
		break;
	case SESSION_SUBSCRIBED:
		if (q->cb.subscribed != NULL && !q->is_closing)
			q->cb.subscribed(q->ctx, e->mid, e->reason);
		break;
	}
}

static void say_goodbye(struct mq *q)
{
	q->state = MQ_GOODBYE;
	loop_timer_at(q->deadline, clock_ms() + GOODBYE_MS);
	session_goodbye(&q->session);
	if (session_is_ended(&q->session))
		finish_close(q);
}

static bool has_room(const struct mq *q)
{
	return q->session.n_pending <= q->config.max_pending / 2 &&
	       q->session.pending_bytes <= q->config.max_pending_bytes / 2;
}

/* After calls of the session: hands on what they brought and draws the consequences.  May
 * end in a new session, or in q being dead. */
static void settle(struct mq *q)
{
	struct session_event *e;

	while (!q->is_dead && (e = session_take(&q->session)) != NULL) {
		deliver_one(q, e);
		free(e);
	}
	if (q->is_dead || (q->state != MQ_CONNECTING && q->state != MQ_UP))
		return;
	if (q->session.is_lost) {
		drop(q);
	} else if (q->is_closing && q->session.n_pending == 0) {
		say_goodbye(q);
	} else if (q->wants_room && q->state == MQ_UP && !q->is_closing && has_room(q)) {
		q->wants_room = false;
		if (q->cb.writable != NULL)
			q->cb.writable(q->ctx);
	}
}

static bool is_connecting_or_up(const struct mq *q, uint64_t conn)
{
	return !q->is_dead && q->conn == conn && (q->state == MQ_CONNECTING || q->state == MQ_UP);
}

static void read_and_write(struct mq *q, uint32_t events)
{
	uint64_t conn = q->conn;
	bool more = true;

	if (events & EPOLLOUT) {
		session_write(&q->session);
		settle(q);
	}
	/* The library reads one packet a call; a TLS handshake, too, goes on in its read. */
	for (int i = 0; i < READS_A_WAKE && more && is_connecting_or_up(q, conn); i++) {
		more = session_read(&q->session);
		settle(q);
	}
	/* In a TLS handshake the library takes no notice of a refused or reset connection. */
	if ((events & (EPOLLERR | EPOLLHUP)) != 0 && is_connecting_or_up(q, conn) && q->state == MQ_CONNECTING) {
		session_lose(&q->session, "the connection was refused or cut before the broker answered");
		settle(q);
	}
}

static void on_io(void *ctx, uint32_t events)
{
	struct mq *q = ctx;

	enter(q);
	if (q->state != MQ_GOODBYE) {
		read_and_write(q, events);
	} else {
		if (!q->session.is_lost)
			session_write(&q->session);
		if (session_is_ended(&q->session))
			finish_close(q);
	}
	leave(q);
}

static void on_tick(void *ctx)
{
	struct mq *q = ctx;

	enter(q);
	loop_timer_at(q->tick, clock_ms() + TICK_MS);
	session_tick(&q->session);
	settle(q);
	leave(q);
}

static void on_deadline(void *ctx)
{
	struct mq *q = ctx;

	enter(q);
	if (q->state == MQ_WAITING) {
		begin(q);
	} else if (q->state == MQ_CONNECTING) {
		session_lose(&q->session, "no answer from %s port %d within %llu ms", q->addresses.address[q->address],
			q->config.port, (unsigned long long)q->config.connect_timeout_ms);
		settle(q);
	} else if (q->state == MQ_UP && q->is_closing) {
		say_goodbye(q); /* acks or not */
	} else if (q->state == MQ_GOODBYE) {
		finish_close(q);
	}
	leave(q);
}

static void on_kick(void *ctx)
{
	struct mq *q = ctx;

	enter(q);
	if (q->is_closing && q->state != MQ_UP && q->state != MQ_GOODBYE && q->state != MQ_CLOSED)
		finish_close(q);
	else if (q->state == MQ_IDLE)
		begin(q);
	else
		settle(q);
	leave(q);
}

/* ---- for the owner ---- */

static char *copy_text(const char *s, bool *is_ok)
{
	char *copy = s != NULL ? strdup(s) : NULL;

	*is_ok = *is_ok && (copy != NULL || s == NULL);
	return copy;
}

static bool copy_config(struct mq_config *to, const struct mq_config *from)
{
	bool ok = true;

	*to = *from;
	to->host = copy_text(from->host, &ok);
	to->client_id = copy_text(from->client_id, &ok);
	to->username = copy_text(from->username, &ok);
	to->password = copy_text(from->password, &ok);
	to->cafile = copy_text(from->cafile, &ok);
	to->certfile = copy_text(from->certfile, &ok);
	to->keyfile = copy_text(from->keyfile, &ok);
	to->keepalive_s = from->keepalive_s != 0 ? from->keepalive_s : 10;
	to->backoff_min_ms = from->backoff_min_ms != 0 ? from->backoff_min_ms : 250;
	to->backoff_max_ms = from->backoff_max_ms != 0 ? from->backoff_max_ms : 30000;
	to->connect_timeout_ms = from->connect_timeout_ms != 0 ? from->connect_timeout_ms : 10000;
	to->max_pending = from->max_pending != 0 ? from->max_pending : 1000;
	to->max_pending_bytes = from->max_pending_bytes != 0 ? from->max_pending_bytes : (size_t)4 << 20;
	return ok;
}

static void free_config(struct mq_config *c)
{
	free((char *)c->host);
	free((char *)c->client_id);
	free((char *)c->username);
	free((char *)c->password);
	free((char *)c->cafile);
	free((char *)c->certfile);
	free((char *)c->keyfile);
}

int mq_new(struct loop *l, const struct mq_config *config, const struct mq_callbacks *cb, void *ctx, struct mq **ret)
{
	struct mq *q = calloc(1, sizeof(*q));
	int rc;

	if (q == NULL)
		return ERR_NOMEM;
	q->loop = l;
	q->cb = *cb;
	q->ctx = ctx;
	rng_seed(&q->rng, config->seed);
	rc = copy_config(&q->config, config) ? 0 : ERR_NOMEM;
	if (rc == 0)
		rc = loop_timer_new(l, on_deadline, q, &q->deadline);
	if (rc == 0)
		rc = loop_timer_new(l, on_tick, q, &q->tick);
	if (rc == 0)
		rc = loop_timer_new(l, on_kick, q, &q->kick);
	if (rc == 0)
		rc = session_init(&q->session, l, q->config.max_pending, on_io, q);
	if (rc < 0)
		mq_free(q);
	else
		*ret = q;
	return rc;
}

void mq_start(struct mq *q)
{
	loop_timer_at(q->kick, 0);
}

int mq_publish(struct mq *q, const struct mq_pub *pub, int *ret_mid)
{
	size_t size = pub->topic.n + pub->payload.n + pub->correlation.n + pub->content_type.n + pub->response_topic.n;
	int mid;

	if (!mq_is_up(q))
		return ERR_CLOSED;
	if (pub->qos != 0 && pub->qos != 1)
		return ERR_RANGE;
	if (size > q->config.max_pending_bytes)
		return ERR_TOOBIG;
	if (q->session.n_pending >= q->config.max_pending || size > q->config.max_pending_bytes - q->session.pending_bytes) {
		q->wants_room = true;
		q->stats.refused_full++;
		return ERR_FULL;
	}
	mid = session_publish(&q->session, pub, size);
	if (q->session.is_lost || q->wants_room) /* it may also have pushed out what was before it */
		loop_timer_at(q->kick, 0);
	if (mid < 0)
		return mid;
	q->stats.published++;
	if (ret_mid != NULL)
		*ret_mid = mid;
	return 0;
}

int mq_subscribe(struct mq *q, const char *filter, int qos, int *ret_mid)
{
	int mid;

	if (!mq_is_up(q))
		return ERR_CLOSED;
	mid = session_subscribe(&q->session, filter, qos);
	if (q->session.is_lost)
		loop_timer_at(q->kick, 0);
	if (mid < 0)
		return mid;
	if (ret_mid != NULL)
		*ret_mid = mid;
	return 0;
}

bool mq_is_up(const struct mq *q)
{
	return q->state == MQ_UP && !q->session.is_lost && !q->is_closing;
}

struct mq_stats mq_stats(const struct mq *q)
{
	struct mq_stats s = q->stats;

	s.pending = q->session.n_pending;
	s.pending_bytes = q->session.pending_bytes;
	return s;
}

void mq_close(struct mq *q, uint64_t timeout_ms, void (*done)(void *ctx))
{
	if (q->is_closing)
		return;
	q->is_closing = true;
	q->done = done;
	if (q->state == MQ_UP)
		loop_timer_at(q->deadline, clock_ms() + timeout_ms);
	loop_timer_at(q->kick, 0);
}

struct mq *mq_free(struct mq *q)
{
	if (q == NULL || q->is_dead)
		return NULL;
	q->is_dead = true;
	q->resolve = resolve_free(q->resolve);
	if (q->session.loop != NULL)
		session_fini(&q->session);
	q->deadline = loop_timer_free(q->deadline);
	q->tick = loop_timer_free(q->tick);
	q->kick = loop_timer_free(q->kick);
	free_config(&q->config);
	if (q->depth == 0)
		free(q);
	return NULL;
}
