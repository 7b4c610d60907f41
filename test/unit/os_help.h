/* os_help.h - what the tests of common/os/ share: waiting for a condition under a loop,
 * free ports, a real broker, programs found on this box. */
#ifndef OS_HELP_H
#define OS_HELP_H

#include <stdbool.h>
#include <sys/types.h>

#include "loop.h"

#define HELP_DEADLINE_MS 20000

/* A loop whose SIGTERM and SIGINT end it with code 128 + signal. */
struct loop *help_loop(void);
/* Turns the loop until is_true(ctx); false when timeout_ms passed before. */
bool help_wait(struct loop *l, bool (*is_true)(void *ctx), void *ctx, unsigned timeout_ms);
/* The same for a plain flag. */
bool help_wait_flag(struct loop *l, const bool *flag);
/* Turns the loop for ms: for showing that something does not happen. */
void help_idle(struct loop *l, unsigned ms);

/* A TCP port nobody listens on at 127.0.0.1, now. */
int help_free_port(void);
/* An empty directory of this test's own; heap string. */
char *help_dir(void);

/* A real mosquitto on 127.0.0.1:port, with `extra` lines in its configuration.  Fails the
 * test when it does not accept within the deadline; skips it when there is no mosquitto. */
struct help_broker {
	int port;
	pid_t pid;
	char *dir;
};
void help_broker_start(struct help_broker *b, int port, const char *extra);
/* Ends it with signo and waits until it is gone. */
void help_broker_stop(struct help_broker *b, int signo);

#endif
