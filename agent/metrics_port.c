#include "metrics_port.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "scrape/scrape.h"

#define MODULE "shoal-agent-metrics.so"
#ifndef SHOAL_LIBEXEC
#define SHOAL_LIBEXEC "/usr/libexec/shoal"
#endif

struct metrics_port {
	void *module;
	const struct scrape_api *api;
	struct scrape *scrape;
};

/* Beside this program, as after a build, or where it is installed; nowhere else. */
static void *load_module(void)
{
	char path[PATH_MAX + sizeof(MODULE)];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	if (slash != NULL)
		memcpy(slash + 1, MODULE, sizeof(MODULE));
	if (slash == NULL || access(path, R_OK) != 0)
		(void)snprintf(path, sizeof(path), "%s/" MODULE, SHOAL_LIBEXEC);
	return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static int start(struct metrics_port *p, struct loop *l, const struct scrape_config *c, char *err, size_t err_size)
{
	p->module = load_module();
	p->api = p->module != NULL ? dlsym(p->module, SCRAPE_API) : NULL;
	if (p->api == NULL) {
		(void)snprintf(err, err_size, "%s; it is part of the agent's installation, beside it or in %s", dlerror(),
			SHOAL_LIBEXEC);
		return ERR_CONFIG;
	}
	return p->api->start(l, c, err, err_size, &p->scrape);
}

int metrics_port_new(struct loop *l, const struct settings *s, void (*write)(void *ctx, struct buf *out), void *ctx,
	struct metrics_port **ret)
{
	char host[SETTINGS_HOST_SIZE], err[1024] = "out of memory";
	struct scrape_config c = { .address = host,
		.hosts = (const char *const *)s->metrics.hosts,
		.n_hosts = s->metrics.n_hosts,
		.write = write,
		.ctx = ctx };
	struct metrics_port *p;

	*ret = NULL;
	if (s->metrics.listen[0] == '\0' || !settings_listen(s->metrics.listen, host, &c.port))
		return 0;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return ERR_NOMEM;
	if (start(p, l, &c, err, sizeof(err)) < 0) {
		log_error("metrics", "no figures for Prometheus: %s", err);
		metrics_port_free(p);
		return 0;
	}
	log_info("metrics",
		strchr(host, ':') != NULL ? "figures for Prometheus are at http://[%s]:%d/metrics"
					  : "figures for Prometheus are at http://%s:%d/metrics",
		host, p->api->port(p->scrape));
	*ret = p;
	return 0;
}

struct metrics_port *metrics_port_free(struct metrics_port *p)
{
	if (p == NULL)
		return NULL;
	if (p->scrape != NULL)
		p->api->stop(p->scrape);
	/* The module stays in memory: libraries it brought may have left things behind in this thread. */
	free(p);
	return NULL;
}
