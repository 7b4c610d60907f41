/* trace.c - jobs from a file: time_ms,user,session,model,prompt_tokens,output_tokens,priority,deadline
 *
 * One job a line, in the order of time_ms (from the first job on).  Empty: no session, the fleet's
 * first model, priority normal, no deadline (in ms).  A first line that names the columns, empty
 * lines and those that begin with # are skipped. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define COLUMNS 8
#define LINE_MAX_BYTES 1024
#define BUCKETS 65536

struct name {
	struct name *next;
	uint32_t number;
	char text[PROTO_MAX_ID + 1];
};

struct names { /* texts, numbered as they come */
	struct name *bucket[BUCKETS];
	uint32_t n;
};

struct reader {
	const char *path;
	const struct fleet *fleet;
	struct trace *trace;
	struct names users, sessions;
	size_t n_line, cap;
};

static bool complain(const struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool complain(const struct reader *r, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "shoal-sim: %s:%zu: ", r->path, r->n_line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return false;
}

static uint32_t number_of(struct names *all, const char *text)
{
	size_t n = strlen(text), at = 5381;
	struct name *x;

	for (size_t i = 0; i < n; i++)
		at = at * 33 + (unsigned char)text[i];
	at %= BUCKETS;
	for (x = all->bucket[at]; x != NULL; x = x->next)
		if (strcmp(x->text, text) == 0)
			return x->number;
	x = calloc(1, sizeof(*x));
	if (x == NULL)
		abort();
	memcpy(x->text, text, n + 1);
	x->number = all->n++;
	x->next = all->bucket[at];
	all->bucket[at] = x;
	return x->number;
}

static void names_fini(struct names *all)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct name *x = all->bucket[i], *next; x != NULL; x = next) {
			next = x->next;
			free(x);
		}
}

static bool get_number(
	const struct reader *r, const char *column, const char *text, uint64_t least, uint64_t most, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (errno == 0 && end != text && *end == '\0' && text[0] != '-' && *ret >= least && *ret <= most)
		return true;
	return complain(r, "%s is \"%s\": a whole number from %llu to %llu belongs there", column, text,
		(unsigned long long)least, (unsigned long long)most);
}

static bool get_model(const struct reader *r, const char *text, uint8_t *ret)
{
	*ret = 0;
	if (text[0] == '\0')
		return true;
	for (size_t m = 0; m < r->fleet->n_models; m++)
		if (strcmp(r->fleet->models[m]->name, text) == 0) {
			*ret = (uint8_t)m;
			return true;
		}
	return complain(r, "no box has the model \"%s\": give --models those that the file names", text);
}

static bool get_priority(const struct reader *r, const char *text, uint8_t *ret)
{
	*ret = PRIORITY_NORMAL;
	if (text[0] == '\0')
		return true;
	for (uint8_t p = 0; p < PRIORITY_COUNT; p++)
		if (strcmp(priority_names[p], text) == 0) {
			*ret = p;
			return true;
		}
	return complain(r, "priority is \"%s\": it is high, normal, low, or empty", text);
}

static bool get_name(const struct reader *r, const char *column, const char *text)
{
	if (span_is_id(span_of(text)))
		return true;
	return complain(r, "%s is \"%s\": 1 to %u of A-Z a-z 0-9 . _ - belong there, a letter or digit first", column, text,
		PROTO_MAX_ID);
}

static size_t split(char *text, char *ret[COLUMNS + 1])
{
	size_t n = 0;

	text[strcspn(text, "\r\n")] = '\0';
	for (char *field; n <= COLUMNS && (field = strsep(&text, ",")) != NULL;)
		ret[n++] = field;
	return n;
}

static bool take(struct reader *r, char *column[COLUMNS])
{
	struct trace *t = r->trace;
	struct trace_line l = { 0 };
	uint64_t at, prompt, output, deadline = 0;

	if (!get_number(r, "time_ms", column[0], 0, UINT32_MAX, &at) || !get_name(r, "user", column[1]) ||
		(column[2][0] != '\0' && !get_name(r, "session", column[2])) || !get_model(r, column[3], &l.model) ||
		!get_number(r, "prompt_tokens", column[4], 1, SIM_MAX_PROMPT, &prompt) ||
		!get_number(r, "output_tokens", column[5], 1, PROTO_MAX_TOKENS / 4, &output) ||
		!get_priority(r, column[6], &l.priority) ||
		(column[7][0] != '\0' && !get_number(r, "deadline", column[7], 1, PROTO_MAX_DEADLINE_MS, &deadline)))
		return false;
	l.at = at * MS;
	if (t->n > 0 && l.at < t->lines[t->n - 1].at)
		return complain(r, "time_ms is %llu, less than in the line before: sort the file by its first column",
			(unsigned long long)at);
	l.user = number_of(&r->users, column[1]);
	l.conv = column[2][0] != '\0' ? number_of(&r->sessions, column[2]) : 0;
	l.prompt = (uint32_t)prompt;
	l.output = (uint32_t)output;
	l.deadline_ms = (uint32_t)deadline;
	if (t->n == r->cap) {
		r->cap = r->cap > 0 ? 2 * r->cap : 1024;
		t->lines = realloc(t->lines, r->cap * sizeof(*t->lines));
		if (t->lines == NULL)
			abort();
	}
	t->lines[t->n++] = l;
	return true;
}

static bool read_line(struct reader *r, char *text)
{
	char *column[COLUMNS + 1];
	size_t n;

	if (text[0] == '#' || text[strspn(text, " \t\r\n")] == '\0' || strncmp(text, "time_ms,", 8) == 0)
		return true;
	n = split(text, column);
	if (n != COLUMNS)
		return complain(r,
			"%s%zu columns where %u belong: "
			"time_ms,user,session,model,prompt_tokens,output_tokens,priority,deadline",
			n > COLUMNS ? "more than " : "", n > COLUMNS ? n - 1 : n, COLUMNS);
	return take(r, column);
}

static bool read_all(struct reader *r, FILE *file)
{
	char text[LINE_MAX_BYTES];

	(void)number_of(&r->sessions, ""); /* number 0: none */
	while (fgets(text, sizeof(text), file) != NULL) {
		r->n_line++;
		if (strlen(text) == sizeof(text) - 1 && text[sizeof(text) - 2] != '\n')
			return complain(r, "a line of more than %zu characters", sizeof(text) - 2);
		if (!read_line(r, text))
			return false;
	}
	if (ferror(file))
		return complain(r, "%s", strerror(errno));
	if (r->trace->n == 0)
		return complain(r, "there is no job in the file");
	r->trace->n_users = r->users.n;
	r->trace->n_convs = r->sessions.n;
	return true;
}

bool trace_read(const char *path, const struct fleet *f, struct trace *ret)
{
	struct reader *r = calloc(1, sizeof(*r));
	FILE *file = fopen(path, "re");
	bool is_ok = false;

	if (r == NULL)
		abort();
	*ret = (struct trace){ 0 };
	*r = (struct reader){ .path = path, .fleet = f, .trace = ret };
	if (file == NULL)
		fprintf(stderr, "shoal-sim: %s cannot be read: %s\n", path, strerror(errno));
	else
		is_ok = read_all(r, file);
	if (file != NULL)
		fclose(file);
	names_fini(&r->users);
	names_fini(&r->sessions);
	free(r);
	if (!is_ok)
		trace_free(ret);
	return is_ok;
}

void trace_free(struct trace *t)
{
	free(t->lines);
	*t = (struct trace){ 0 };
}
