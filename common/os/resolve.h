/* resolve.h - names to addresses without stopping the loop: getaddrinfo() has no
 * asynchronous form and can take half a minute, so each lookup is a thread of its own.
 * The thread sees only the name; its answer comes back through the loop. */
#ifndef SHOAL_RESOLVE_H
#define SHOAL_RESOLVE_H

#include <stddef.h>

#include "err.h"
#include "loop.h"

#define RESOLVE_MAX 8  /* addresses; more are left out */
#define RESOLVE_LEN 64 /* an IPv6 address with its scope, and NUL */

struct resolve;

struct resolve_answer {
	char address[RESOLVE_MAX][RESOLVE_LEN]; /* numeric, in the order to try them */
	size_t n;
	const char *error; /* set when n is 0 */
};

/* fn runs once, from the loop; it may free the lookup. */
SHOAL_CHECK int resolve_new(struct loop *l, const char *host, void (*fn)(void *ctx, const struct resolve_answer *answer),
	void *ctx, struct resolve **ret);
/* Also gives up a lookup under way: fn is not called, the thread ends by itself. */
struct resolve *resolve_free(struct resolve *r);

#endif
