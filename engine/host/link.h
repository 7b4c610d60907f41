/* link.h - fd 3: frames to and from the agent, without ever blocking in read or write.
 *
 * Some messages come with a descriptor (engine_msg_has_fd()): exactly one, on their first byte.  One
 * that is missing, or is there without such a message, is a message that is not valid.
 *
 * Bounded both ways: what comes in by ENGINE_MAX_IN, what waits to go out by LINK_MAX_OUT; the
 * caller stops making more while link_is_full().  The agent's end is the only reader, so
 * an error here ends the engine. */
#ifndef ENGINE_LINK_H
#define ENGINE_LINK_H

#include "engine_proto.h"
#include "frame.h"

#define LINK_MAX_OUT ((size_t)4 << 20)
#define LINK_MAX_FDS 4 /* that wait for their messages: one read may bring the end of one and the next */

struct link {
	int fd;
	struct frame_in in;
	struct buf out;
	struct arena arena; /* lists of the message in hand */
	int fds[LINK_MAX_FDS];
	size_t n_fds;
	int in_hand; /* descriptor of the message in hand, or -1 */
};

/* fd stays the caller's. */
SHOAL_CHECK int link_init(struct link *l, int fd);
void link_fini(struct link *l);
/* Waits until something can be read, or written if something waits for it; timeout_ms as
 * of poll(2).  Then writes what goes and reads once: 1 when bytes came in, whose messages are
 * to be taken before the next turn; 0; ERR_CLOSED: the agent is gone. */
SHOAL_CHECK int link_turn(struct link *l, int timeout_ms);
/* 1: *ret is the next message, valid until the next call; 0: none is whole yet. */
SHOAL_CHECK int link_next(struct link *l, struct engine_msg *ret);
/* The descriptor of the message in hand, now the caller's; link_next() closes what is not taken. */
int link_take_fd(struct link *l);
/* Queues a message. */
SHOAL_CHECK int link_send(struct link *l, const struct engine_msg *m);
bool link_is_full(const struct link *l);
/* Only writes what goes, for the middle of long work.  ERR_CLOSED: the agent is gone. */
SHOAL_CHECK int link_push(struct link *l);
/* Waits until all that is queued has gone, at most timeout_ms. */
void link_drain(struct link *l, int timeout_ms);

#endif
