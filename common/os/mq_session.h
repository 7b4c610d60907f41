/* mq_session.h - one MQTT connection: a libmosquitto handle from connect() to loss.
 *
 * Made anew for each connection, so that no queue, packet id or half-read packet of an
 * old session can leak into the next.  mq.c decides when; this file knows how.
 * mq_session.c is the only file that includes mosquitto.h.
 *
 * The library opens and closes its socket inside its own calls, often under the same
 * number.  What the loop watches is therefore a duplicate of our own: it stays in the
 * epoll set until we take it out, and the library's descriptors never get in.
 * The library's callbacks only append to a list: session_take() hands the events on when
 * the library's call is over, so that their receiver may do anything. */
#ifndef SHOAL_MQ_SESSION_H
#define SHOAL_MQ_SESSION_H

#include "mq.h"

enum session_event_type { SESSION_CONNACK, SESSION_MESSAGE, SESSION_ACK, SESSION_SUBSCRIBED };

struct session_event {
	struct session_event *next;
	enum session_event_type type;
	int mid, reason;
	struct mq_msg msg; /* borrows bytes[] */
	char bytes[];
};

struct session_pending; /* a publish the library has not let go of */

struct session {
	struct loop *loop;
	void (*on_io)(void *ctx, uint32_t events);
	void *ctx;

	struct mosquitto *m;
	struct loop_io *io;
	int fd; /* our duplicate, -1: none */
	uint32_t armed;

	struct session_event *events, **events_end;
	struct session_pending *pending; /* n_pending of max_pending */
	size_t n_pending, max_pending, pending_bytes;
	bool is_publishing; /* inside mosquitto_publish_v5(), whose QoS 0 packet may leave at once: */
	int sent_at_once;   /* its packet id */
	bool is_lost;       /* why[] says how; the first reason holds */
	char why[200];
};

/* on_io is called with what is ready on the socket: then session_write(), session_read(). */
SHOAL_CHECK int session_init(
	struct session *s, struct loop *l, size_t max_pending, void (*on_io)(void *ctx, uint32_t events), void *ctx);
void session_fini(struct session *s);

/* Begins to connect; does not block for a numeric host.  will: NULL for none.  False: lost. */
bool session_open(struct session *s, const struct mq_config *c, const char *host, const struct mq_pub *will);
/* Ends it, whatever its state, without a word to the broker. */
void session_close(struct session *s);

void session_write(struct session *s);
/* Reads one packet.  True when more may be waiting. */
bool session_read(struct session *s);
/* Pings, and their timeout: once a second. */
void session_tick(struct session *s);
/* The oldest event, to be freed by the caller; NULL when there is none. */
struct session_event *session_take(struct session *s);
/* A loss found by the caller. */
__attribute__((format(printf, 2, 3))) void session_lose(struct session *s, const char *fmt, ...);

/* Packet id, 0 when a QoS 0 packet has left already, or an error (ERR_CLOSED: lost). */
SHOAL_CHECK int session_publish(struct session *s, const struct mq_pub *pub, size_t size);
SHOAL_CHECK int session_subscribe(struct session *s, const char *filter, int qos);
/* Queues DISCONNECT; what session_is_ended() tells about. */
void session_goodbye(struct session *s);
/* After session_goodbye(): DISCONNECT is written.  Reads what still comes, true when the
 * broker has closed its side, so that it surely has read ours. */
bool session_is_ended(struct session *s);

#endif
