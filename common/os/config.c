/* config.c - libconfig files read by a schema; the only file that includes libconfig.h.
 *
 * Reading goes twice over the parsed file: once over what is there (is every option
 * known?), once over the schema (is every value right, what is not there has its default).
 * Defaults and overrides are texts and take the same way in as each other. */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_SIZE 128 /* of an option */

__attribute__((format(printf, 2, 3))) static int complain(struct config_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof(err->text), fmt, ap); /* cut if need be: it is a sentence for people */
	va_end(ap);
	return ERR_CONFIG;
}

static void *member(const struct config_option *o, void *config)
{
	return (char *)config + o->offset;
}

static size_t *count(const struct config_option *o, void *config)
{
	return (size_t *)(void *)((char *)config + o->n_offset);
}

/* Where a value stands, for messages: "file:line" or "--set". */
struct place {
	const char *file;
	int line;
};

static const char *place_text(const struct place *p, char *room, size_t size)
{
	if (p->line > 0)
		(void)snprintf(room, size, "%s:%d", p->file, p->line);
	else
		(void)snprintf(room, size, "%s", p->file);
	return room;
}

#define COMPLAIN(err, place, fmt, ...) (complain(err, "%s: " fmt, place_text(place, (char[512]){ 0 }, 512), __VA_ARGS__))

/* ---- values ---- */

static int set_uint(
	const struct config_option *o, const struct place *at, uint64_t v, void *config, struct config_error *err)
{
	uint64_t max = o->max != 0 ? o->max : UINT64_MAX;

	if (v < o->min || v > max)
		return COMPLAIN(err, at, "%s is %" PRIu64 ", it must be from %" PRIu64 " to %" PRIu64 "%s%s", o->path, v,
			o->min, max, o->unit != NULL ? " " : "", o->unit != NULL ? o->unit : "");
	memcpy(member(o, config), &v, sizeof(v));
	return 0;
}

static int check_text(const struct config_option *o, const struct place *at, const char *v, struct config_error *err)
{
	uint64_t max = o->max != 0 ? o->max : UINT64_MAX;
	const char *wrong;

	if (strlen(v) < o->min || strlen(v) > max)
		return COMPLAIN(err, at, "%s has %zu characters, it must have from %" PRIu64 " to %" PRIu64, o->path,
			strlen(v), o->min, max);
	wrong = o->check != NULL ? o->check(v) : NULL;
	return wrong == NULL ? 0 : COMPLAIN(err, at, "%s is \"%s\": %s", o->path, v, wrong);
}

static int set_text(
	const struct config_option *o, const struct place *at, const char *v, void *config, struct config_error *err)
{
	int rc = check_text(o, at, v, err);
	char *copy;

	if (rc < 0)
		return rc;
	copy = strdup(v);
	if (copy == NULL)
		return ERR_NOMEM;
	free(*(char **)member(o, config));
	*(char **)member(o, config) = copy;
	return 0;
}

static int set_enum(
	const struct config_option *o, const struct place *at, const char *v, void *config, struct config_error *err)
{
	char all[256] = "";

	for (unsigned i = 0; o->names[i] != NULL; i++) {
		if (strcmp(v, o->names[i]) == 0) {
			memcpy(member(o, config), &i, sizeof(i));
			return 0;
		}
		(void)snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i > 0 ? ", " : "", o->names[i]);
	}
	return COMPLAIN(err, at, "%s is \"%s\", it must be one of %s", o->path, v, all);
}

static void free_texts(const struct config_option *o, void *config)
{
	char **list = *(char ***)member(o, config);

	for (size_t i = 0; list != NULL && list[i] != NULL; i++)
		free(list[i]);
	free(list);
	*(char ***)member(o, config) = NULL;
	*count(o, config) = 0;
}

static int add_text(const struct config_option *o, const char *v, size_t n, void *config)
{
	char **list = *(char ***)member(o, config);
	size_t have = *count(o, config);
	char **grown = realloc(list, (have + 2) * sizeof(*list));

	if (grown == NULL)
		return ERR_NOMEM;
	*(char ***)member(o, config) = grown;
	grown[have] = strndup(v, n);
	grown[have + 1] = NULL;
	if (grown[have] == NULL)
		return ERR_NOMEM;
	*count(o, config) = have + 1;
	return 0;
}

static int check_count(const struct config_option *o, const struct place *at, size_t n, struct config_error *err)
{
	if (n >= o->min && (o->max == 0 || n <= o->max))
		return 0;
	return COMPLAIN(
		err, at, "%s has %zu entries, it must have from %" PRIu64 " to %" PRIu64, o->path, n, o->min, o->max);
}

/* "a,b,c", from the command line or a default. */
static int set_texts(
	const struct config_option *o, const struct place *at, const char *v, void *config, struct config_error *err)
{
	free_texts(o, config);
	while (*v != '\0') {
		size_t n = strcspn(v, ",");
		int rc = add_text(o, v, n, config);

		if (rc < 0)
			return rc;
		v += n + (v[n] == ',');
	}
	return check_count(o, at, *count(o, config), err);
}

static int set_from_text(
	const struct config_option *o, const struct place *at, const char *v, void *config, struct config_error *err)
{
	char *end = NULL;
	uint64_t u;
	double d;
	bool b;

	switch (o->type) {
	case CONFIG_UINT:
		errno = 0;
		u = strtoull(v, &end, 10);
		if (!isdigit((unsigned char)*v) || *end != '\0' || errno != 0)
			return COMPLAIN(err, at, "%s is \"%s\", it must be a number", o->path, v);
		return set_uint(o, at, u, config, err);
	case CONFIG_REAL:
		d = strtod(v, &end);
		if (end == v || *end != '\0' || !isfinite(d))
			return COMPLAIN(err, at, "%s is \"%s\", it must be a number", o->path, v);
		memcpy(member(o, config), &d, sizeof(d));
		return 0;
	case CONFIG_BOOL:
		b = strcmp(v, "true") == 0;
		if (!b && strcmp(v, "false") != 0)
			return COMPLAIN(err, at, "%s is \"%s\", it must be true or false", o->path, v);
		memcpy(member(o, config), &b, sizeof(b));
		return 0;
	case CONFIG_TEXT: return set_text(o, at, v, config, err);
	case CONFIG_ENUM: return set_enum(o, at, v, config, err);
	case CONFIG_TEXTS: return set_texts(o, at, v, config, err);
	default: return *v == '\0' ? 0 : COMPLAIN(err, at, "%s can only be given in a file", o->path);
	}
}

/* ---- defaults ---- */

int config_defaults(const struct config_schema *s, void *ret, struct config_error *err)
{
	const struct place at = { "default", 0 };

	memset(ret, 0, s->size);
	for (size_t i = 0; i < s->n_options; i++) {
		const struct config_option *o = &s->options[i];
		int rc = o->def != NULL ? set_from_text(o, &at, o->def, ret, err) : 0;

		if (rc < 0) {
			config_free(s, ret);
			return rc;
		}
	}
	return 0;
}

static void free_groups(const struct config_option *o, void *config)
{
	char *items = *(char **)member(o, config);

	for (size_t i = 0; i < *count(o, config); i++)
		config_free(o->groups, items + i * o->groups->size);
	free(items);
	*(char **)member(o, config) = NULL;
	*count(o, config) = 0;
}

void config_free(const struct config_schema *s, void *config)
{
	for (size_t i = 0; i < s->n_options; i++) {
		const struct config_option *o = &s->options[i];

		if (o->type == CONFIG_TEXT)
			free(*(char **)member(o, config));
		else if (o->type == CONFIG_TEXTS)
			free_texts(o, config);
		else if (o->type == CONFIG_GROUPS)
			free_groups(o, config);
	}
	memset(config, 0, s->size);
}

/* ---- is every option known? ---- */

/* Edit distance (Levenshtein), cut at short names: finds "brokr.port". */
static size_t distance(const char *a, const char *b)
{
	size_t row[PATH_SIZE], n = strlen(b);

	if (n >= PATH_SIZE)
		return PATH_SIZE;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = corner + (a[i - 1] != b[j - 1]);

			corner = row[j];
			best = row[j] + 1 < best ? row[j] + 1 : best;
			row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
		}
	}
	return row[n];
}

static int complain_unknown(
	const struct config_schema *s, const struct place *at, const char *path, struct config_error *err)
{
	const char *nearest = NULL;
	size_t best = 3;

	for (size_t i = 0; i < s->n_options; i++) {
		size_t d = distance(path, s->options[i].path);

		if (d < best) {
			best = d;
			nearest = s->options[i].path;
		}
	}
	if (nearest != NULL)
		return COMPLAIN(err, at, "there is no option %s; did you mean %s?", path, nearest);
	return COMPLAIN(err, at, "there is no option %s; --print-config lists them all", path);
}

static const struct config_option *find(const struct config_schema *s, const char *path)
{
	for (size_t i = 0; i < s->n_options; i++)
		if (strcmp(s->options[i].path, path) == 0)
			return &s->options[i];
	return NULL;
}

static bool is_group(const struct config_schema *s, const char *path)
{
	size_t n = strlen(path);

	for (size_t i = 0; i < s->n_options; i++)
		if (strncmp(s->options[i].path, path, n) == 0 && s->options[i].path[n] == '.')
			return true;
	return false;
}

struct reading {
	const struct config_schema *schema;
	const char *file;
	struct config_error *err;
};

static struct place place_of(const struct reading *r, const config_setting_t *s)
{
	const char *file = config_setting_source_file(s);

	return (struct place){ file != NULL ? file : r->file, (int)config_setting_source_line(s) };
}

static int check_known(const struct reading *r, config_setting_t *group, const char *prefix)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		struct place at = place_of(r, s);
		char path[PATH_SIZE];
		int n = snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix != '\0' ? "." : "", config_setting_name(s));
		int rc = 0;

		if (n < 0 || (size_t)n >= sizeof(path))
			return COMPLAIN(r->err, &at, "there is no option with a name as long as %s…", path);
		if (find(r->schema, path) != NULL)
			continue;
		if (!is_group(r->schema, path))
			return complain_unknown(r->schema, &at, path, r->err);
		if (!config_setting_is_group(s))
			return COMPLAIN(r->err, &at, "%s is a group: write %s = { … };", path, path);
		rc = check_known(r, s, path);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- is every value right? ---- */

static int read_group(const struct reading *r, config_setting_t *group, void *config);

static const char *type_text(const config_setting_t *s)
{
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64: return "a whole number";
	case CONFIG_TYPE_FLOAT: return "a number with a fraction";
	case CONFIG_TYPE_STRING: return "a text";
	case CONFIG_TYPE_BOOL: return "true or false";
	case CONFIG_TYPE_GROUP: return "a group";
	default: return "a list";
	}
}

static int wrong_type(const struct reading *r, const struct config_option *o, const config_setting_t *s, const char *want)
{
	struct place at = place_of(r, s);

	return COMPLAIN(r->err, &at, "%s is %s, it must be %s", o->path, type_text(s), want);
}

static bool is_whole(const config_setting_t *s)
{
	return config_setting_type(s) == CONFIG_TYPE_INT || config_setting_type(s) == CONFIG_TYPE_INT64;
}

/* libconfig 1.5 answers 0 for an INT asked as INT64 without auto-conversion. */
static long long whole(const config_setting_t *s)
{
	return config_setting_type(s) == CONFIG_TYPE_INT ? config_setting_get_int(s) : config_setting_get_int64(s);
}

static int read_uint(const struct reading *r, const struct config_option *o, const config_setting_t *s, void *config)
{
	struct place at = place_of(r, s);

	if (!is_whole(s))
		return wrong_type(r, o, s, "a whole number");
	if (whole(s) < 0)
		return COMPLAIN(r->err, &at, "%s is %lld, it cannot be negative", o->path, whole(s));
	return set_uint(o, &at, (uint64_t)whole(s), config, r->err);
}

static int read_texts(const struct reading *r, const struct config_option *o, config_setting_t *s, void *config)
{
	struct place at = place_of(r, s);

	if (!config_setting_is_list(s) && !config_setting_is_array(s))
		return wrong_type(r, o, s, "a list of texts: ( \"a\", \"b\" )");
	free_texts(o, config);
	for (int i = 0; i < config_setting_length(s); i++) {
		const char *v = config_setting_get_string_elem(s, i);
		int rc = v != NULL ? add_text(o, v, strlen(v), config)
				   : wrong_type(r, o, config_setting_get_elem(s, (unsigned)i), "a text in quotes");

		if (rc < 0)
			return rc;
	}
	return check_count(o, &at, *count(o, config), r->err);
}

static int read_groups(const struct reading *r, const struct config_option *o, config_setting_t *s, void *config)
{
	struct reading inner = { o->groups, r->file, r->err };
	struct place at = place_of(r, s);
	size_t n = config_setting_is_list(s) ? (size_t)config_setting_length(s) : 0;
	char *items;
	int rc = check_count(o, &at, n, r->err);

	if (!config_setting_is_list(s))
		return wrong_type(r, o, s, "a list of groups: ( { … }, { … } )");
	if (rc < 0)
		return rc;
	free_groups(o, config);
	items = calloc(n + 1, o->groups->size);
	if (items == NULL)
		return ERR_NOMEM;
	*(char **)member(o, config) = items;
	for (size_t i = 0; i < n; i++) {
		config_setting_t *group = config_setting_get_elem(s, (unsigned)i);

		if (!config_setting_is_group(group))
			return wrong_type(r, o, group, "a group: { … }");
		rc = check_known(&inner, group, "");
		if (rc == 0)
			rc = config_defaults(o->groups, items + i * o->groups->size, r->err);
		if (rc < 0)
			return rc;
		*count(o, config) = i + 1;
		rc = read_group(&inner, group, items + i * o->groups->size);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_value(const struct reading *r, const struct config_option *o, config_setting_t *s, void *config)
{
	struct place at = place_of(r, s);
	double d;
	bool b;

	switch (o->type) {
	case CONFIG_UINT: return read_uint(r, o, s, config);
	case CONFIG_REAL:
		if (!is_whole(s) && config_setting_type(s) != CONFIG_TYPE_FLOAT)
			return wrong_type(r, o, s, "a number");
		d = is_whole(s) ? (double)whole(s) : config_setting_get_float(s);
		memcpy(member(o, config), &d, sizeof(d));
		return 0;
	case CONFIG_BOOL:
		if (config_setting_type(s) != CONFIG_TYPE_BOOL)
			return wrong_type(r, o, s, "true or false");
		b = config_setting_get_bool(s) != 0;
		memcpy(member(o, config), &b, sizeof(b));
		return 0;
	case CONFIG_TEXT:
	case CONFIG_ENUM:
		if (config_setting_type(s) != CONFIG_TYPE_STRING)
			return wrong_type(r, o, s, "a text in quotes");
		return o->type == CONFIG_TEXT ? set_text(o, &at, config_setting_get_string(s), config, r->err)
					      : set_enum(o, &at, config_setting_get_string(s), config, r->err);
	case CONFIG_TEXTS: return read_texts(r, o, s, config);
	default: return read_groups(r, o, s, config);
	}
}

static int read_group(const struct reading *r, config_setting_t *group, void *config)
{
	for (size_t i = 0; i < r->schema->n_options; i++) {
		const struct config_option *o = &r->schema->options[i];
		config_setting_t *s = config_setting_lookup(group, o->path);
		struct place at = place_of(r, group);
		int rc = 0;

		if (s != NULL)
			rc = read_value(r, o, s, config);
		else if (o->def == NULL && !config_setting_is_root(group)) /* the root's may come by --set */
			rc = COMPLAIN(r->err, &at, "%s is missing here", o->path);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* libconfig's scanner ends the whole process when a file cannot be read, as a directory cannot. */
static bool is_readable(const char *file)
{
	struct stat st;

	if (stat(file, &st) < 0)
		return false;
	errno = EISDIR;
	return !S_ISDIR(st.st_mode);
}

static int read_file(const struct reading *r, void *config)
{
	config_t parsed;
	int rc;

	if (!is_readable(r->file))
		return complain(r->err, "%s: cannot be read: %s", r->file, strerror(errno));
	config_init(&parsed);
	if (config_read_file(&parsed, r->file) == CONFIG_TRUE) {
		rc = check_known(r, config_root_setting(&parsed), "");
		if (rc == 0)
			rc = read_group(r, config_root_setting(&parsed), config);
	} else if (config_error_type(&parsed) == CONFIG_ERR_FILE_IO) {
		rc = complain(r->err, "%s: cannot be read: %s", r->file, strerror(errno));
	} else {
		rc = complain(r->err, "%s:%d: %s", config_error_file(&parsed) != NULL ? config_error_file(&parsed) : r->file,
			config_error_line(&parsed), config_error_text(&parsed));
	}
	config_destroy(&parsed);
	return rc;
}

/* ---- overrides, and what is still missing ---- */

static int override(const struct reading *r, const char *assignment, void *config)
{
	const struct place at = { "--set", 0 };
	const char *eq = strchr(assignment, '=');
	const struct config_option *o;
	char path[PATH_SIZE];

	if (eq == NULL || eq == assignment || (size_t)(eq - assignment) >= sizeof(path))
		return complain(r->err, "--set %s: write it as option=value", assignment);
	memcpy(path, assignment, (size_t)(eq - assignment));
	path[eq - assignment] = '\0';
	o = find(r->schema, path);
	if (o == NULL)
		return complain_unknown(r->schema, &at, path, r->err);
	return set_from_text(o, &at, eq + 1, config, r->err);
}

static int check_required(const struct reading *r, void *config)
{
	for (size_t i = 0; i < r->schema->n_options; i++) {
		const struct config_option *o = &r->schema->options[i];

		if (o->def == NULL && o->type == CONFIG_TEXT && *(char **)member(o, config) == NULL)
			return complain(r->err, "%s: %s must be set: %s", r->file != NULL ? r->file : "configuration",
				o->path, o->help != NULL ? o->help : "");
	}
	return 0;
}

int config_load(const struct config_schema *s, const char *file, const char *const overrides[], size_t n_overrides,
	void *ret, struct config_error *err)
{
	struct reading r = { s, file, err };
	int rc;

	err->text[0] = '\0';
	rc = config_defaults(s, ret, err);
	if (rc < 0)
		return rc;
	if (file != NULL)
		rc = read_file(&r, ret);
	for (size_t i = 0; rc == 0 && i < n_overrides; i++)
		rc = override(&r, overrides[i], ret);
	if (rc == 0)
		rc = check_required(&r, ret);
	if (rc == ERR_NOMEM)
		(void)complain(err, "out of memory");
	if (rc < 0)
		config_free(s, ret);
	return rc;
}

/* ---- printing ---- */

static void print_text(const char *v, FILE *out)
{
	fputc('"', out);
	for (; *v != '\0'; v++) {
		unsigned char c = (unsigned char)*v;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20)
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void indent(int depth, FILE *out)
{
	for (int i = 0; i < depth; i++)
		fputc('\t', out);
}

static void print_options(const struct config_schema *s, const void *config, int depth, bool with_help, FILE *out);

static void print_real(double v, FILE *out)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%.17g", v);
	/* libconfig takes a number for real only with a point. */
	if (strpbrk(text, ".e") == NULL)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), ".0");
	else if (strchr(text, '.') == NULL)
		(void)snprintf(text, sizeof(text), "%.17f", v);
	fputs(text, out);
}

static void print_groups(const struct config_option *o, const void *config, int depth, FILE *out)
{
	const char *items;
	size_t n;

	memcpy(&items, (const char *)config + o->offset, sizeof(items));
	memcpy(&n, (const char *)config + o->n_offset, sizeof(n));
	fputs(n > 0 ? "(\n" : "( )", out);
	for (size_t i = 0; i < n; i++) {
		indent(depth + 1, out);
		fputs("{\n", out);
		print_options(o->groups, items + i * o->groups->size, depth + 2, i == 0, out);
		indent(depth + 1, out);
		fprintf(out, "}%s\n", i + 1 < n ? "," : "");
	}
	if (n > 0) {
		indent(depth, out);
		fputc(')', out);
	}
}

static void print_value(const struct config_option *o, const void *config, int depth, FILE *out)
{
	const char *at = (const char *)config + o->offset;
	uint64_t u;
	unsigned e;
	double d;
	bool b;
	char *text, **texts;

	switch (o->type) {
	case CONFIG_UINT:
		memcpy(&u, at, sizeof(u));
		fprintf(out, "%" PRIu64 "%s", u, u > INT32_MAX ? "L" : "");
		break;
	case CONFIG_REAL:
		memcpy(&d, at, sizeof(d));
		print_real(d, out);
		break;
	case CONFIG_BOOL:
		memcpy(&b, at, sizeof(b));
		fputs(b ? "true" : "false", out);
		break;
	case CONFIG_TEXT:
		memcpy(&text, at, sizeof(text));
		print_text(text != NULL ? text : "", out);
		break;
	case CONFIG_ENUM:
		memcpy(&e, at, sizeof(e));
		print_text(o->names[e], out);
		break;
	case CONFIG_TEXTS:
		memcpy(&texts, at, sizeof(texts));
		fputs("(", out);
		for (size_t i = 0; texts != NULL && texts[i] != NULL; i++) {
			fputs(i > 0 ? ", " : " ", out);
			print_text(texts[i], out);
		}
		fputs(" )", out);
		break;
	default: print_groups(o, config, depth, out); break;
	}
}

static void print_help(const struct config_option *o, int depth, FILE *out)
{
	if (o->help == NULL)
		return;
	indent(depth, out);
	fprintf(out, "# %s%s%s%s\n", o->help, o->unit != NULL ? " (" : "", o->unit != NULL ? o->unit : "",
		o->unit != NULL ? ")" : "");
}

/* Closes and opens groups on the way from one option's path to the next one's. */
static int go_to_group(const char *from, const char *to, int depth, FILE *out)
{
	size_t same = 0;

	for (size_t i = 0; from[i] == to[i] && from[i] != '\0'; i++)
		if (from[i] == '.')
			same = i + 1;
	for (const char *p = from + same; (p = strchr(p, '.')) != NULL; p++) {
		indent(--depth, out);
		fputs("};\n", out);
	}
	for (const char *p = to + same, *dot; (dot = strchr(p, '.')) != NULL; p = dot + 1) {
		indent(depth++, out);
		fprintf(out, "%.*s = {\n", (int)(dot - p), p);
	}
	return depth;
}

static void print_options(const struct config_schema *s, const void *config, int depth, bool with_help, FILE *out)
{
	const char *group = "";

	for (size_t i = 0; i < s->n_options; i++) {
		const struct config_option *o = &s->options[i];
		const char *name = strrchr(o->path, '.');

		depth = go_to_group(group, o->path, depth, out);
		group = o->path;
		if (with_help)
			print_help(o, depth, out);
		indent(depth, out);
		fprintf(out, "%s = ", name != NULL ? name + 1 : o->path);
		print_value(o, config, depth, out);
		fputs(";\n", out);
	}
	(void)go_to_group(group, "", depth, out);
}

void config_print(const struct config_schema *s, const void *config, FILE *out)
{
	print_options(s, config, 0, true, out);
}
