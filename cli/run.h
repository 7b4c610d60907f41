/* run.h - one job of `shoal run`, or a turn of `shoal chat`, by HTTP or by MQTT.
 *
 * cmd_run.c reads the command line into a struct run; run_http() or run_mqtt() carries
 * it out on a loop of its own and returns the exit code.  Both print through run_text(),
 * so what the user sees does not depend on the way in. */
#ifndef SHOAL_RUN_H
#define SHOAL_RUN_H

#include "cli.h"
#include "proto.h"

struct run_report { /* what the hub told of it; agent empty: nothing yet */
	char agent[PROTO_MAX_ID + 1], session[32], session_why[32];
	uint64_t prompt_tokens, cached_tokens;
};

struct run {
	struct submit submit; /* borrows the command line; model empty: the only one there is */
	struct turn turn;     /* messages[0] of a chat */
	const char *url;      /* HTTP, or */
	const char *host;     /* MQTT */
	int port;
	const char *user;
	bool is_json; /* one document at the end instead of text as it comes */
	/* what came out */
	struct buf *text; /* a copy of it goes here; NULL: nowhere */
	struct run_report report;
	int signo; /* that ended it; 0: none did */
	size_t n_printed;
	char last;      /* byte printed */
	bool is_broken; /* standard output is gone */
};

/* HOST, HOST:PORT or [ADDRESS]:PORT; *ret_host is to be freed.  False: said on stderr why not. */
bool run_broker(const char *text, char **ret_host, int *ret_port);
/* A seed of our own: should the job have to be sent once more, it gives the same tokens. */
void run_seed(struct submit *s);
void run_told(struct run *r, const struct receipt *receipt, uint64_t prompt_tokens, uint64_t cached_tokens);
int run_http(struct run *r);
int run_mqtt(struct run *r);

/* Prints a piece of the answer at once. */
void run_text(struct run *r, struct span text);
/* Ends the last line, so that nothing follows the answer on it. */
void run_end_line(struct run *r);
/* The exit code for a refusal, said on stderr; code is a name of code.h, http the status
 * to judge by when it is not. */
int run_refused(struct run *r, struct span code, struct span message, long http);

#endif
