/* serve.h - the engine's life: HELLO, LOAD, then jobs until the agent says QUIT or is gone.
 *
 * One thread, one loop: messages are taken between two steps of the model, so a cancel waits
 * for one step at most.  Idle, it blocks in poll(). */
#ifndef ENGINE_SERVE_H
#define ENGINE_SERVE_H

struct box;

/* Serves the agent on fd.  Returns what the program exits with: 0 after QUIT or when the agent
 * is gone. */
int serve(int fd, struct box *box);
#endif
