/* log.c - lines for people, to stderr or to the journal. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* We send the caller's place ourselves (SHOAL_PART), not this file's. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define LINE_MAX_BYTES 2048
#define FIELDS_MAX 16

/* The one global state of the program beside its options; set once by log_init(). */
static struct {
	char ident[64];
	enum log_level max_level;
	bool is_journal, is_tty;
} out = { "shoal", LOG_INFO, false, false };

const char *const log_level_names[] = { "error", "warning", "notice", "info", "debug", NULL };
_Static_assert(sizeof(log_level_names) / sizeof(char *) == LOG_DBG - LOG_ERROR + 2, "a name for each level");

/* A line under construction.  Control characters become spaces: nothing that came from
 * outside can begin a line of its own or move a terminal's cursor. */
struct line {
	char text[LINE_MAX_BYTES];
	size_t n;
};

static void line_add(struct line *l, const char *s)
{
	for (; *s != '\0' && l->n < sizeof(l->text) - 2; s++)
		l->text[l->n++] = (unsigned char)*s < 0x20 || *s == 0x7f ? ' ' : *s;
}

static void line_write(struct line *l)
{
	size_t done = 0;
	ssize_t n;

	l->text[l->n++] = '\n'; /* one write() a line: lines of several processes do not mix */
	while (done < l->n) {
		n = write(STDERR_FILENO, l->text + done, l->n - done);
		if (n < 0 && errno != EINTR)
			return; /* nobody listens, and nobody is left to be told */
		done += n > 0 ? (size_t)n : 0;
	}
}

/* systemd names the stream it gave us: sd-journal is used only when stderr is still it,
 * and its socket is within reach (sd_journal_sendv() is silent about a missing one). */
static bool is_journal_stream(void)
{
	const char *env = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return env != NULL && sscanf(env, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino && access("/run/systemd/journal/socket", W_OK) == 0;
}

void log_init(const char *ident, enum log_level max_level)
{
	(void)snprintf(out.ident, sizeof(out.ident), "%s", ident);
	out.max_level = max_level;
	out.is_journal = is_journal_stream();
	out.is_tty = isatty(STDERR_FILENO) != 0;
}

static void to_stderr(enum log_level level, const char *where, const char *const fields[], const char *text)
{
	struct line l = { .n = 0 };
	char prefix[8];

	(void)snprintf(prefix, sizeof(prefix), "<%d>", (int)level);
	line_add(&l, out.is_tty ? "" : prefix);
	line_add(&l, out.ident);
	line_add(&l, ": ");
	if (out.is_tty && level <= LOG_WARN) {
		line_add(&l, log_level_names[level - LOG_ERROR]);
		line_add(&l, ": ");
	}
	line_add(&l, where);
	line_add(&l, ": ");
	line_add(&l, text);
	for (; fields != NULL && fields[0] != NULL; fields += 2) {
		line_add(&l, " ");
		line_add(&l, fields[0]);
		line_add(&l, "=");
		line_add(&l, fields[1]);
	}
	line_write(&l);
}

static bool add_field(struct iovec *iov, const char *name, const char *value)
{
	char *s;
	int n = asprintf(&s, "%s=%s", name, value);

	if (n < 0)
		return false;
	*iov = (struct iovec){ s, (size_t)n };
	return true;
}

/* False when the journal did not take it. */
static bool to_journal(enum log_level level, const char *where, const char *const fields[], const char *text)
{
	struct iovec iov[FIELDS_MAX + 4];
	char priority[4];
	int n = 0, rc;

	(void)snprintf(priority, sizeof(priority), "%d", (int)level);
	n += add_field(&iov[n], "PRIORITY", priority);
	n += add_field(&iov[n], "SYSLOG_IDENTIFIER", out.ident);
	n += add_field(&iov[n], "SHOAL_PART", where);
	n += add_field(&iov[n], "MESSAGE", text);
	for (; fields != NULL && fields[0] != NULL && n < FIELDS_MAX + 4; fields += 2)
		n += add_field(&iov[n], fields[0], fields[1]);
	rc = sd_journal_sendv(iov, n);
	while (n > 0)
		free(iov[--n].iov_base);
	return rc >= 0;
}

static void emit(enum log_level level, const char *where, const char *const fields[], const char *fmt, va_list ap)
{
	int saved = errno;
	char text[LINE_MAX_BYTES / 2];

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	if (!out.is_journal || !to_journal(level, where, fields, text))
		to_stderr(level, where, fields, text);
	errno = saved;
}

void log_at(enum log_level level, const char *where, const char *fmt, ...)
{
	va_list ap;

	if (level > out.max_level)
		return;
	va_start(ap, fmt);
	emit(level, where, NULL, fmt, ap);
	va_end(ap);
}

void log_fields(enum log_level level, const char *where, const char *const fields[], const char *fmt, ...)
{
	va_list ap;

	if (level > out.max_level)
		return;
	va_start(ap, fmt);
	emit(level, where, fields, fmt, ap);
	va_end(ap);
}

int log_allowed(struct log_limit *l, unsigned long long now_ms, unsigned interval_ms, unsigned long long *ret_dropped)
{
	if (now_ms < l->next_ms) {
		l->dropped++;
		return 0;
	}
	l->next_ms = now_ms + interval_ms;
	*ret_dropped = l->dropped;
	l->dropped = 0;
	return 1;
}
