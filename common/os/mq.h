/* mq.h - MQTT 5 over libmosquitto, driven by our loop.
 *
 * What it adds to the library, each for a hazard measured on libmosquitto 2.0.11:
 * own reconnect with full jitter and a cap (the library's loop threads end for good);
 * close-on-exec on the socket (a child would keep a dead session alive); a will that
 * carries the connection number, set anew before each connect; TCP_NODELAY; a bound
 * on what is in flight (the library's queues have none); SIGPIPE left to the loop;
 * names resolved on a helper thread and connects that do not block; nothing published
 * while down (the library would queue it and answer "no connection"); a close that
 * waits for acknowledgements.
 *
 * Each connection is a session of its own (clean start, no expiry): when it is lost,
 * publishes without an ack are forgotten - whether they arrived is not known - and
 * nothing is sent again by itself.
 *
 * Callbacks run from the loop, never inside a call of the owner's, and may call
 * anything here, mq_free() too.  Any of them may be NULL. */
#ifndef SHOAL_MQ_H
#define SHOAL_MQ_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "loop.h"
#include "span.h"

struct mq;

/* A message that came in; borrowed for the call. */
struct mq_msg {
	struct span topic, payload;
	struct span response_topic, correlation, content_type; /* MQTT 5 properties, empty when absent */
	bool retain;
};

struct mq_pub {
	struct span topic, payload;
	int qos; /* 0 or 1 */
	bool retain;
	struct span correlation, content_type; /* empty: not sent */
	struct span response_topic;
	uint32_t expiry_s; /* 0: none */
};

struct mq_callbacks {
	/* Before each connect: conn counts up from 1.  Fill *ret and what its spans
	 * point at stays valid until the next call; return false for no will. */
	bool (*will)(void *ctx, uint64_t conn, struct mq_pub *ret);
	void (*up)(void *ctx, uint64_t conn);
	/* The link is gone, or an attempt failed (all addresses of the host were tried); a
	 * new one follows by itself at retry_ms, on the loop's clock. */
	void (*down)(void *ctx, const char *why, uint64_t retry_ms);
	void (*message)(void *ctx, const struct mq_msg *msg);
	/* A QoS 1 publish was acknowledged (reason 0x00, 0x10 = nobody subscribes, ≥ 0x80 refused). */
	void (*ack)(void *ctx, int mid, int reason);
	/* A subscription was granted (qos 0..2) or refused (≥ 0x80). */
	void (*subscribed)(void *ctx, int mid, int reason);
	/* Room again after mq_publish() said ERR_FULL: at most half of the bound is in use. */
	void (*writable)(void *ctx);
};

struct mq_config {
	const char *host; /* name or address */
	int port;
	const char *client_id;
	const char *username, *password;             /* NULL: none */
	const char *cafile, *certfile, *keyfile;     /* NULL: no TLS.  With it, one address of the host is tried */
	int keepalive_s;                             /* 0: 10 */
	uint64_t backoff_min_ms, backoff_max_ms;     /* 0: 250 and 30,000; full jitter below them */
	uint64_t connect_timeout_ms;                 /* from TCP to CONNACK, an address; 0: 10,000 */
	size_t max_pending;                          /* unacknowledged publishes; 0: 1000 */
	size_t max_pending_bytes;                    /* 0: 4 MiB */
	uint64_t seed;                               /* of the jitter */
};

struct mq_stats {
	uint64_t connects, losses, published, received, refused_full, acked;
	size_t pending, pending_bytes;
};

/* Copies config.  Nothing connects before mq_start(). */
SHOAL_CHECK int mq_new(struct loop *l, const struct mq_config *config, const struct mq_callbacks *cb, void *ctx, struct mq **ret);
void mq_start(struct mq *q);
/* ERR_CLOSED while down, ERR_FULL past the bound, ERR_TOOBIG when it can never fit,
 * ERR_RANGE for a topic or property MQTT does not allow; then nothing was sent nor
 * queued.  *ret_mid (may be NULL) names the ack to come, for QoS 1. */
SHOAL_CHECK int mq_publish(struct mq *q, const struct mq_pub *pub, int *ret_mid);
/* Subscriptions are the caller's to renew in `up`.  ERR_CLOSED, ERR_RANGE. */
SHOAL_CHECK int mq_subscribe(struct mq *q, const char *filter, int qos, int *ret_mid);
bool mq_is_up(const struct mq *q);
struct mq_stats mq_stats(const struct mq *q);
/* Says goodbye: waits for pending acks at most timeout_ms, disconnects without firing the
 * will, then calls done (may be NULL).  No callback but done and ack follows. */
void mq_close(struct mq *q, uint64_t timeout_ms, void (*done)(void *ctx));
/* Without mq_close() before, the broker takes it for a crash and sends the will. */
struct mq *mq_free(struct mq *q);

#endif
