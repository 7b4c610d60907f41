/* main.c - the `shoal` command: finds the sub-command and runs it. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_URL "http://127.0.0.1:8080"

static const struct command *const commands[] = { &cmd_up, &cmd_run, &cmd_chat, &cmd_doctor, &cmd_agents, &cmd_jobs, &cmd_job,
	&cmd_sessions, &cmd_cancel, &cmd_load, &cmd_drain, &cmd_resume, &cmd_weight, &cmd_quarantine, &cmd_release, &cmd_forget };
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]), NAME_MAX_LEN = 32 };

static const struct command *current; /* whose name errors begin with */

static void say(const char *fmt, va_list ap)
{
	fprintf(stderr, "shoal%s%s: ", current != NULL ? " " : "", current != NULL ? current->name : "");
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

int cli_fail(int exit_code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	return exit_code;
}

void cli_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

int cli_usage_hint(const struct command *cmd)
{
	fprintf(stderr, "Try 'shoal help %s'.\n", cmd->name);
	return CLI_USAGE;
}

bool cli_uint(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v < min || v > max) {
		cli_note("%s takes a whole number from %llu to %llu, not '%s'", option, (unsigned long long)min,
			(unsigned long long)max, text);
		return false;
	}
	*ret = v;
	return true;
}

bool cli_real(const char *option, const char *text, double *ret)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end != '\0' || !isfinite(v)) {
		cli_note("%s takes a number, not '%s'", option, text);
		return false;
	}
	*ret = v;
	return true;
}

const char *cli_url(const char *option)
{
	const char *env = getenv("SHOAL_URL");

	if (option != NULL)
		return option;
	return env != NULL && env[0] != '\0' ? env : DEFAULT_URL;
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* Edits (insert, delete, replace) from a to b: Wagner and Fischer's table, one row kept. */
static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_LEN + 1], n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[n];
}

static int unknown(const char *name)
{
	const struct command *best = NULL;
	size_t best_distance = 4;

	for (size_t i = 0; i < N_COMMANDS && strlen(name) <= NAME_MAX_LEN; i++) {
		size_t d = distance(name, commands[i]->name);

		if (d < best_distance && d < strlen(commands[i]->name)) {
			best = commands[i];
			best_distance = d;
		}
	}
	if (best != NULL)
		return cli_fail(CLI_USAGE, "there is no command '%s'. Did you mean '%s'?", name, best->name);
	return cli_fail(CLI_USAGE, "there is no command '%s'. 'shoal help' lists them.", name);
}

static void overview(FILE *out)
{
	fputs("usage: shoal COMMAND [OPTION…]\n\n"
	      "Many Linux boxes as one inference service over MQTT.\n\n",
		out);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
	fputs("  help       how a command is used: shoal help run\n\n"
	      "shoal --version tells the version.\n",
		out);
}

static int help(const char *name)
{
	const struct command *cmd;

	if (name == NULL) {
		overview(stdout);
		return CLI_OK;
	}
	cmd = find(name);
	if (cmd == NULL)
		return unknown(name);
	printf("shoal %s - %s\n\n%s", cmd->name, cmd->summary, cmd->usage);
	return CLI_OK;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	char name[NAME_MAX_LEN + 16];
	int rc;

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0)
			return help(cmd->name);
	}
	snprintf(name, sizeof(name), "shoal %s", cmd->name);
	argv[0] = name;
	current = cmd;
	rc = cmd->run(argc, argv);
	if (fflush(stdout) != 0 && rc == CLI_OK)
		rc = cli_fail(74, "cannot write to standard output: %s", strerror(errno));
	return rc;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;
	const struct command *cmd;

	if (word == NULL) {
		overview(stderr);
		return CLI_USAGE;
	}
	if (strcmp(word, "--version") == 0) {
		puts("shoal " SHOAL_VERSION);
		return CLI_OK;
	}
	if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return help(argc > 2 ? argv[2] : NULL);
	cmd = find(word);
	return cmd != NULL ? run(cmd, argc - 1, argv + 1) : unknown(word);
}
