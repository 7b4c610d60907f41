/* scrape.h - the agent's figures over HTTP, as Prometheus reads them.
 *
 * A module of its own, loaded only where the option asks for it: the HTTP library brings others
 * with it that would cost every agent some 3 MB of private memory.  What it uses of the loop and
 * of spans is the program's (CMakeLists.txt exports it). */
#ifndef SHOAL_AGENT_SCRAPE_H
#define SHOAL_AGENT_SCRAPE_H

#include "loop.h"
#include "span.h"

struct scrape;

struct scrape_config {
	const char *address; /* numeric; "localhost" */
	int port;            /* 0: any free one */
	const char *const *hosts;
	size_t n_hosts;
	void (*write)(void *ctx, struct buf *out); /* adds the text */
	void *ctx;
};

/* What the module is found by: a struct scrape_api with this name. */
#define SCRAPE_API "shoal_scrape_api"
struct scrape_api {
	/* On failure err holds one sentence that says what to do.  config is copied, but for hosts. */
	int (*start)(struct loop *l, const struct scrape_config *config, char *err, size_t err_size, struct scrape **ret);
	int (*port)(const struct scrape *s);
	struct scrape *(*stop)(struct scrape *s);
};

#endif
