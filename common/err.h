/* err.h - results of functions: 0 or a negative number.
 *
 * System errors travel as -errno; our own start at -1000.  What a job ended
 * with, as clients see it, is another list: code.h. */
#ifndef SHOAL_ERR_H
#define SHOAL_ERR_H

#define ERR_LIST(X)                                             \
	X(MALFORMED, -1000, "malformed message")                \
	X(TOOBIG, -1001, "over a limit")                        \
	X(STATE, -1002, "not valid in this state")              \
	X(MISSING, -1003, "a required field is missing")        \
	X(DUPLICATE, -1004, "a field is there twice")           \
	X(RANGE, -1005, "a value is out of range")              \
	X(TYPE, -1006, "a value has the wrong type")            \
	X(TRAILING, -1007, "bytes after the end of a message")  \
	X(DEPTH, -1008, "nested too deep")                      \
	X(CLOSED, -1009, "the other end is gone")               \
	X(FULL, -1010, "no room left")                          \
	X(CONFIG, -1011, "the configuration is not valid")      \
	X(UTF8, -1012, "text that is not valid UTF-8")

enum {
#define X(name, num, text) ERR_##name = (num),
	ERR_LIST(X)
#undef X
	ERR_NOMEM = -12 /* -ENOMEM, named because core/ sees no errno.h */
};

/* Text for any result; system errors read "system error" (the shell, which
 * has strerror, says it better). */
const char *err_text(int err);

#if defined(__GNUC__)
#define SHOAL_CHECK __attribute__((warn_unused_result))
#else
#define SHOAL_CHECK
#endif

#endif
