#include "program.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct wishes {
	const char *file;
	const char **overrides;
	size_t n_overrides;
	bool print, check;
};

static void help(const struct program *p)
{
	printf("%s: %s\n\n"
	       "usage: %s [options]\n"
	       "  --config FILE      read this configuration (default: %s, if it exists)\n"
	       "  --set PATH=VALUE   override one option; may be repeated\n"
	       "  --print-config     print the effective configuration, with what each option means\n"
	       "  --check-config     only say whether the configuration is valid\n"
	       "  --version          print the version\n"
	       "  --help             print this\n",
		p->name, p->summary, p->name, p->default_file);
}

/* 1, 0 or negative, as program_begin(). */
static int parse(const struct program *p, int argc, char **argv, struct wishes *w)
{
	enum { CONFIG = 1, SET, PRINT, CHECK, HELP, VERSION };
	static const struct option options[] = {
		{ "config", required_argument, NULL, CONFIG },
		{ "set", required_argument, NULL, SET },
		{ "print-config", no_argument, NULL, PRINT },
		{ "check-config", no_argument, NULL, CHECK },
		{ "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },
		{ NULL, 0, NULL, 0 },
	};

	optind = 0; /* glibc: begin anew, so that tests may call this twice */
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case CONFIG: w->file = optarg; break;
		case SET: w->overrides[w->n_overrides++] = optarg; break;
		case PRINT: w->print = true; break;
		case CHECK: w->check = true; break;
		case HELP: help(p); return 0;
		case VERSION: printf("%s %s\n", p->name, SHOAL_VERSION); return 0;
		default: return ERR_CONFIG; /* getopt has said why */
		}
	}
	if (optind == argc)
		return 1;
	fprintf(stderr, "%s: \"%s\" is not an option; see --help\n", p->name, argv[optind]);
	return ERR_CONFIG;
}

static int load(const struct program *p, const struct wishes *w, void *ret_config)
{
	const char *file = w->file != NULL ? w->file : access(p->default_file, F_OK) == 0 ? p->default_file : NULL;
	struct config_error err;
	const char *why;
	int rc = config_load(p->schema, file, w->overrides, w->n_overrides, ret_config, &err);

	if (rc < 0) {
		fprintf(stderr, "%s: %s\n", p->name, err.text);
		return rc;
	}
	why = p->check != NULL ? p->check(ret_config) : NULL;
	if (why != NULL) {
		fprintf(stderr, "%s: %s\n", p->name, why);
		config_free(p->schema, ret_config);
		return ERR_CONFIG;
	}
	if (!w->print && !w->check)
		return 1;
	if (w->print)
		config_print(p->schema, ret_config, stdout);
	else
		printf("%s: the configuration is valid\n", p->name);
	config_free(p->schema, ret_config);
	return 0;
}

int program_begin(const struct program *p, int argc, char **argv, void *ret_config)
{
	struct wishes w = { .overrides = calloc((size_t)argc + 1, sizeof(char *)) };
	int rc = w.overrides != NULL ? parse(p, argc, argv, &w) : ERR_NOMEM;

	if (rc > 0)
		rc = load(p, &w, ret_config);
	free(w.overrides);
	return rc;
}
