/* Configuration read by a schema: good files, bad files, and what is printed is read back. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "rng.h"

struct pet {
	char *name;
	uint64_t legs;
};

struct settings {
	char *title;
	uint64_t port;
	double ratio;
	bool is_on;
	unsigned level;
	char **words;
	size_t n_words;
	struct pet *pets;
	size_t n_pets;
};

static const char *no_x(const char *value)
{
	return strchr(value, 'x') == NULL ? NULL : "an x is not wanted";
}

static const char *const levels[] = { "low", "high", NULL };

static const struct config_option pet_options[] = {
	{ "name", CONFIG_TEXT, offsetof(struct pet, name), .min = 1, .max = 10, .help = "what it is called" },
	{ "legs", CONFIG_UINT, offsetof(struct pet, legs), .max = 100, .def = "4" },
};
static const struct config_schema pet_schema = { sizeof(struct pet), pet_options, 2 };

static const struct config_option options[] = {
	{ "title", CONFIG_TEXT, offsetof(struct settings, title), .max = 20, .def = "none", .check = no_x,
		.help = "a text" },
	{ "net.port", CONFIG_UINT, offsetof(struct settings, port), .min = 1, .max = 5000000000, .def = "1883",
		.unit = "bytes" },
	{ "net.deep.ratio", CONFIG_REAL, offsetof(struct settings, ratio), .def = "0.5" },
	{ "is_on", CONFIG_BOOL, offsetof(struct settings, is_on), .def = "true" },
	{ "level", CONFIG_ENUM, offsetof(struct settings, level), .def = "low", .names = levels },
	{ "words", CONFIG_TEXTS, offsetof(struct settings, words), offsetof(struct settings, n_words), .max = 3, .def = "" },
	{ "pets", CONFIG_GROUPS, offsetof(struct settings, pets), offsetof(struct settings, n_pets), .max = 2, .def = "",
		.groups = &pet_schema },
};
static const struct config_schema schema = { sizeof(struct settings), options, sizeof(options) / sizeof(options[0]) };

static char path[] = "/tmp/shoal-config-XXXXXX";

static int load(const char *text, const char *override, struct settings *ret, struct config_error *err)
{
	int fd, rc;
	FILE *f;

	strcpy(path + strlen(path) - 6, "XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	f = fdopen(fd, "w");
	fputs(text, f);
	fclose(f);
	rc = config_load(&schema, path, &override, override != NULL, ret, err);
	unlink(path);
	return rc;
}

Test(config, what_is_not_there_has_its_default)
{
	struct config_error err;
	struct settings s;

	cr_assert_eq(load("", NULL, &s, &err), 0, "%s", err.text);
	cr_assert_str_eq(s.title, "none");
	cr_assert(s.port == 1883 && s.ratio > 0.49 && s.ratio < 0.51 && s.is_on && s.level == 0 && s.n_words == 0 &&
		  s.n_pets == 0);
	config_free(&schema, &s);
}

Test(config, a_file_says_everything_and_an_override_has_the_last_word)
{
	struct config_error err;
	struct settings s;

	cr_assert_eq(
		load("title = \"t\"; net = { port = 5000000000L; deep : { ratio = 2; }; };\nis_on = false; level = \"high\";"
		     "words = (\"a\", \"b\"); pets = ( { name = \"rex\"; }, { name = \"ant\"; legs = 6; } );",
			"title=o=p", &s, &err),
		0, "%s", err.text);
	cr_assert_str_eq(s.title, "o=p");
	cr_assert(s.port == 5000000000 && s.ratio > 1.9 && !s.is_on && s.level == 1);
	cr_assert(s.n_words == 2 && strcmp(s.words[1], "b") == 0 && s.words[2] == NULL);
	cr_assert(s.n_pets == 2 && s.pets[0].legs == 4 && s.pets[1].legs == 6 && strcmp(s.pets[1].name, "ant") == 0);
	config_free(&schema, &s);
}

Test(config, bad_files_are_refused_with_file_line_and_what_would_be_right)
{
	static const struct {
		const char *text, *override, *says;
	} cases[] = {
		{ "title = \"a\";\nport = 5;", NULL, ":2: there is no option port" },
		{ "net = { prot = 5; };", NULL, ":1: there is no option net.prot; did you mean net.port?" },
		{ "net = 5;", NULL, ":1: net is a group" },
		{ "\nnet = { port = \"5\"; };", NULL, ":2: net.port is a text, it must be a whole number" },
		{ "net = { port = 0; };", NULL, "net.port is 0, it must be from 1 to 5000000000 bytes" },
		{ "net = { port = -1; };", NULL, "net.port is -1, it cannot be negative" },
		{ "title = 5;", NULL, "title is a whole number, it must be a text" },
		{ "title = \"box\";", NULL, "title is \"box\": an x is not wanted" },
		{ "title = \"aaaaaaaaaaaaaaaaaaaaa\";", NULL, "title has 21 characters" },
		{ "is_on = 1;", NULL, "is_on is a whole number, it must be true or false" },
		{ "level = \"middle\";", NULL, "it must be one of low, high" },
		{ "words = \"a\";", NULL, "words is a text, it must be a list" },
		{ "words = (1);", NULL, "words is a whole number" },
		{ "words = (\"a\",\"b\",\"c\",\"d\");", NULL, "words has 4 entries" },
		{ "pets = ( 5 );", NULL, "pets is a whole number, it must be a group" },
		{ "pets = (\n{ legs = 4; } );", NULL, ":2: name is missing here" },
		{ "pets = ( { name = \"a\"; wings = 2; } );", NULL, "there is no option wings" },
		{ "title = ;", NULL, ":1: syntax error" },
		{ "", "port=1", "--set: there is no option port" },
		{ "", "net.port=x", "--set: net.port is \"x\", it must be a number" },
		{ "", "net.deep.ratio=nan", "it must be a number" },
		{ "", "net.port", "write it as option=value" },
		{ "", "pets=a", "pets can only be given in a file" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config_error err;
		struct settings s;

		cr_expect_eq(load(cases[i].text, cases[i].override, &s, &err), ERR_CONFIG, "%s", cases[i].text);
		cr_expect(strstr(err.text, cases[i].says) != NULL, "%s %s: says \"%s\"", cases[i].text,
			cases[i].override != NULL ? cases[i].override : "", err.text);
	}
}

Test(config, a_file_that_is_not_there_is_an_error_that_says_so)
{
	struct config_error err;
	struct settings s;

	cr_assert_eq(config_load(&schema, "/nonexistent/x.cfg", NULL, 0, &s, &err), ERR_CONFIG);
	cr_assert(strstr(err.text, "cannot be read: No such file") != NULL, "%s", err.text);
	/* libconfig alone would end the process here. */
	cr_assert_eq(config_load(&schema, "/tmp", NULL, 0, &s, &err), ERR_CONFIG);
	cr_assert(strstr(err.text, "cannot be read: Is a directory") != NULL, "%s", err.text);
}

static char *random_text(struct rng *rng)
{
	static const char *const pieces[] = { "a", "\"", "\\", "é", " ", "\n", "#", ";" };
	char text[64] = "";

	for (uint64_t n = rng_below(rng, 6); n > 0; n--)
		strcat(text, pieces[rng_below(rng, 8)]);
	return strdup(text);
}

static bool equal(const struct settings *a, const struct settings *b)
{
	bool same = strcmp(a->title, b->title) == 0 && a->port == b->port && !(a->ratio < b->ratio) &&
		    !(a->ratio > b->ratio) && a->is_on == b->is_on && a->level == b->level && a->n_words == b->n_words &&
		    a->n_pets == b->n_pets;

	for (size_t i = 0; same && i < a->n_words; i++)
		same = strcmp(a->words[i], b->words[i]) == 0;
	for (size_t i = 0; same && i < a->n_pets; i++)
		same = strcmp(a->pets[i].name, b->pets[i].name) == 0 && a->pets[i].legs == b->pets[i].legs;
	return same;
}

Test(config, what_is_printed_is_read_back_the_same)
{
	struct config_error err;
	struct rng rng;

	rng_seed(&rng, 5);
	for (int round = 0; round < 200; round++) {
		struct settings s = { .port = 1 + rng_below(&rng, 5000000000),
			.ratio = rng_real(&rng) * 1e6,
			.is_on = rng_below(&rng, 2) != 0,
			.level = (unsigned)rng_below(&rng, 2),
			.n_words = rng_below(&rng, 4),
			.n_pets = rng_below(&rng, 3) },
				back;
		char *text = NULL;
		size_t size;
		FILE *out = open_memstream(&text, &size);

		s.title = random_text(&rng);
		s.words = calloc(s.n_words + 1, sizeof(char *));
		s.pets = calloc(s.n_pets + 1, sizeof(struct pet));
		for (size_t i = 0; i < s.n_words; i++)
			s.words[i] = random_text(&rng);
		for (size_t i = 0; i < s.n_pets; i++)
			s.pets[i] = (struct pet){ strdup("p"), rng_below(&rng, 101) };
		config_print(&schema, &s, out);
		fclose(out);
		cr_assert_eq(load(text, NULL, &back, &err), 0, "%s\n%s", err.text, text);
		cr_assert(equal(&s, &back), "%s", text);
		config_free(&schema, &s);
		config_free(&schema, &back);
		free(text);
	}
}
