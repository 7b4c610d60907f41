/* log.h - one line a fact, to stderr with "<N>" priorities, and to journald with
 * fields when stderr is its stream (JOURNAL_STREAM, sd-daemon(3), systemd.exec(5)).
 *
 * Never a prompt, a token, an answer or a secret: ids only.  Shells log; common/
 * and core/ never do. */
#ifndef SHOAL_LOG_H
#define SHOAL_LOG_H

enum log_level { LOG_ERROR = 3, LOG_WARN = 4, LOG_NOTICE = 5, LOG_INFO = 6, LOG_DBG = 7 };

/* ident: program name.  Lines above max_level are dropped. */
void log_init(const char *ident, enum log_level max_level);
/* "error", "warning", "notice", "info", "debug": the levels from LOG_ERROR on, NULL-terminated,
 * as names of a CONFIG_ENUM. */
extern const char *const log_level_names[];

/* `where`: which part speaks ("mqtt", "engine").  One line, values quoted by the caller. */
void log_at(enum log_level level, const char *where, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* With fields for the journal: pairs of name and value, ended by NULL ("JOB", id, NULL).
 * On plain stderr they are appended as name=value. */
void log_fields(enum log_level level, const char *where, const char *const fields[], const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#define log_error(where, ...) log_at(LOG_ERROR, where, __VA_ARGS__)
#define log_warn(where, ...) log_at(LOG_WARN, where, __VA_ARGS__)
#define log_notice(where, ...) log_at(LOG_NOTICE, where, __VA_ARGS__)
#define log_info(where, ...) log_at(LOG_INFO, where, __VA_ARGS__)
#define log_debug(where, ...) log_at(LOG_DBG, where, __VA_ARGS__)

/* Says true at most once per interval: for lines a stranger can cause.  *ret_dropped
 * counts what was held back since. */
struct log_limit {
	unsigned long long next_ms, dropped;
};
int log_allowed(struct log_limit *l, unsigned long long now_ms, unsigned interval_ms, unsigned long long *ret_dropped);

#endif
