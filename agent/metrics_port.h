/* metrics_port.h - the port Prometheus asks, where metrics.listen names one: loads the module
 * (scrape/scrape.h) and starts it. */
#ifndef SHOAL_AGENT_METRICS_PORT_H
#define SHOAL_AGENT_METRICS_PORT_H

#include "loop.h"
#include "settings.h"
#include "span.h"

struct metrics_port;

/* *ret is NULL when none is wanted, and when it could not be had: that is said in the log, and
 * no reason for a box to take no jobs.  write adds the text; s is lent. */
SHOAL_CHECK int metrics_port_new(struct loop *l, const struct settings *s, void (*write)(void *ctx, struct buf *out),
	void *ctx, struct metrics_port **ret);
struct metrics_port *metrics_port_free(struct metrics_port *p);

#endif
