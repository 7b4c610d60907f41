/* proc.h - a program that is kept running: started, its pid written down, its death
 * noticed, started again with a growing pause.
 *
 * Owns: the child (killed by proc_free() if it still runs) and, if asked for, its pid file.
 * Borrows: the spec's strings, for its whole life. */
#ifndef SHOAL_PROC_H
#define SHOAL_PROC_H

#include <stdbool.h>

#include "err.h"
#include "loop.h"

struct proc;

struct proc_spec {
	const char *name;        /* in messages: "box-1" */
	const char *const *argv; /* argv[0] is the path of the program */
	const char *dir, *base;  /* output goes to DIR/BASE.log */
	bool wants_pid_file;     /* DIR/BASE.pid, for a program that writes none itself */
	/* It ended.  True: start it again, after a pause of 100 ms that doubles up to 2 s with
	 * each death inside 10 s. */
	bool (*ended)(void *ctx, struct proc *p, int wstatus);
	void *ctx;
};

SHOAL_CHECK int proc_new(struct loop *l, const struct proc_spec *spec, struct proc **ret);
SHOAL_CHECK int proc_start(struct proc *p);
/* No-op when it does not run; a pending new start is called off. */
void proc_stop(struct proc *p, int signo);
bool proc_is_running(const struct proc *p);
const char *proc_name(const struct proc *p);
/* "exit status 1" or "signal 9 (Killed)". */
void proc_describe(int wstatus, char *ret, size_t size);
/* The last line it wrote that says something, without its priority; "" if none. */
void proc_last_words(const struct proc *p, char *ret, size_t size);
struct proc *proc_free(struct proc *p);

#endif
