/* daemon.h - the agent's shell: feeds the core with events and carries out its actions. */
#ifndef SHOAL_AGENT_DAEMON_H
#define SHOAL_AGENT_DAEMON_H

#include "settings.h"

/* Runs until told to stop.  0, or what the program should exit with; errors are logged. */
int daemon_run(const struct settings *s, const char *engine_path);

#endif
