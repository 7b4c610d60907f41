/* cli.h - what the commands of `shoal` share.
 *
 * A command is a row of the table in main.c: it gets its own argv (argv[0] is
 * "shoal NAME", so that getopt's complaints read well) and returns the exit code.
 * Exit codes: 0, 2 for wrong usage, else those of code.h. */
#ifndef SHOAL_CLI_H
#define SHOAL_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "span.h"

enum { CLI_OK = 0, CLI_USAGE = 2, CLI_NOT_FOUND = 66, CLI_UNAVAILABLE = 69, CLI_INTERNAL = 70, CLI_CANCELLED = 130 };

struct command {
	const char *name, *summary, *usage;
	int (*run)(int argc, char **argv);
};

extern const struct command cmd_up, cmd_run, cmd_agents, cmd_load, cmd_drain, cmd_resume, cmd_weight, cmd_quarantine, cmd_release,
	cmd_forget, cmd_jobs, cmd_job, cmd_cancel, cmd_sessions, cmd_doctor, cmd_chat;

/* "shoal CMD: sentence" on stderr; returns exit_code. */
int cli_fail(int exit_code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same without an end: what a person should know while it goes on. */
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Says how the command is used, after getopt complained; returns CLI_USAGE. */
int cli_usage_hint(const struct command *cmd);
/* The whole number in text within min..max, or a failure that names the option. */
bool cli_uint(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret);
bool cli_real(const char *option, const char *text, double *ret);

/* --http URL, else SHOAL_URL, else the default of `shoal up`. */
const char *cli_url(const char *option);

#endif
