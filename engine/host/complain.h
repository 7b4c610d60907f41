/* complain.h - one line to stderr, where the agent's log is.  Never a prompt or an answer. */
#ifndef ENGINE_COMPLAIN_H
#define ENGINE_COMPLAIN_H

void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
