/* up.h - the parts of `shoal up`: cmd_up.c reads the command line, up_files.c lays out
 * the state directory with a configuration for every program, up.c runs them.
 * Functions that can fail say why on stderr themselves and return an exit code. */
#ifndef SHOAL_UP_H
#define SHOAL_UP_H

#include <stdbool.h>
#include <stdint.h>

#include "cli.h"

#define UP_MAX_AGENTS 64

struct up_port {
	uint64_t number;
	int claim_fd; /* keeps another `shoal up` from it; -1: none */
};

struct up_options { /* paths are absolute; all owned by cmd_up.c */
	uint64_t n_agents;
	struct up_port mqtt, http;
	char *mosquitto, *hub, *agent, *engine;
	char *model;      /* .gguf */
	char *model_name; /* what clients call it */
	char *dir;
	bool is_temporary; /* dir goes when we end */
	struct statedir *lock;
};

/* Makes dir (or, if NULL, a temporary one) and takes it for this process alone. */
int up_dir_take(const char *dir, struct up_options *o);
/* Gives it back; a temporary one is removed with all that is in it. */
void up_dir_release(struct up_options *o);
/* Writes a configuration for the broker, the hub and each agent. */
int up_write_configs(const struct up_options *o);
/* A port to listen on at 127.0.0.1: `wanted` if it is free, else an error; 0 takes any. */
int up_port_take(const char *option, uint64_t wanted, struct up_port *ret);
/* The same for a default that may well be taken: then any other. */
int up_port_take_or_any(uint64_t preferred, struct up_port *ret);
void up_port_release(struct up_port *p);
bool up_port_answers(uint64_t port);

/* Runs all of it until told to stop. */
int up_run(const struct up_options *o);

#endif
