/* up_files.c - the state directory of `shoal up`:
 *
 *   DIR/up.pid                              locked as long as we run
 *   DIR/broker/mosquitto.{conf,log,pid}
 *   DIR/hub/hub.{cfg,log,pid}
 *   DIR/box-K/agent.{cfg,log,pid}           and what the agent keeps (its epoch) */
#include "up.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto.h"
#include "statedir.h"

#define DRAIN_MS 3000

/* ---- the directory ---- */

static int make_temporary(struct up_options *o)
{
	const char *base = getenv("TMPDIR");

	if (asprintf(&o->dir, "%s/shoal-up-XXXXXX", base != NULL && base[0] == '/' ? base : "/tmp") < 0)
		return cli_fail(CLI_INTERNAL, "out of memory");
	if (mkdtemp(o->dir) == NULL)
		return cli_fail(CLI_UNAVAILABLE, "cannot make a temporary directory %s: %s", o->dir, strerror(errno));
	o->is_temporary = true;
	return CLI_OK;
}

static int make_given(const char *dir, struct up_options *o)
{
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return cli_fail(CLI_UNAVAILABLE, "cannot make the directory %s: %s", dir, strerror(errno));
	o->dir = realpath(dir, NULL);
	if (o->dir == NULL)
		return cli_fail(CLI_UNAVAILABLE, "cannot use the directory %s: %s", dir, strerror(errno));
	if (strpbrk(o->dir, "\"\\\n") != NULL)
		return cli_fail(
			CLI_USAGE, "the directory's name has a quote, a backslash or a newline in it: choose another");
	return CLI_OK;
}

int up_dir_take(const char *dir, struct up_options *o)
{
	int rc = dir == NULL ? make_temporary(o) : make_given(dir, o);
	char err[512];

	if (rc != CLI_OK)
		return rc;
	rc = statedir_open(o->dir, "up.pid", err, sizeof(err), &o->lock);
	if (rc == -EWOULDBLOCK)
		return cli_fail(CLI_UNAVAILABLE, "another 'shoal up' is using %s", o->dir);
	return rc < 0 ? cli_fail(CLI_UNAVAILABLE, "cannot write in the directory %s: %s", o->dir, strerror(-rc)) : CLI_OK;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st, (void)type, (void)where;
	return remove(path);
}

void up_dir_release(struct up_options *o)
{
	o->lock = statedir_free(o->lock);
	if (o->is_temporary && nftw(o->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0)
		cli_note("cannot remove %s: %s", o->dir, strerror(errno));
}

/* ---- the configurations ---- */

static FILE *open_config(const struct up_options *o, const char *dir, const char *file)
{
	char path[PATH_MAX];
	FILE *f = NULL;

	if (snprintf(path, sizeof(path), "%s/%s", o->dir, dir) < (int)sizeof(path) &&
		(mkdir(path, 0700) == 0 || errno == EEXIST) &&
		snprintf(path, sizeof(path), "%s/%s/%s", o->dir, dir, file) < (int)sizeof(path))
		f = fopen(path, "we");
	if (f == NULL)
		cli_note("cannot write %s/%s/%s: %s", o->dir, dir, file, strerror(errno));
	else
		fputs("# Written by 'shoal up' at each start.\n", f);
	return f;
}

static int close_config(FILE *f)
{
	bool is_bad = ferror(f) != 0;

	if (fclose(f) != 0 || is_bad)
		return cli_fail(CLI_UNAVAILABLE, "cannot write a configuration: %s", strerror(errno));
	return CLI_OK;
}

static int write_broker(const struct up_options *o)
{
	FILE *f = open_config(o, "broker", "mosquitto.conf");

	if (f == NULL)
		return CLI_UNAVAILABLE;
	fprintf(f,
		"per_listener_settings false\n"
		"listener %" PRIu64 " 127.0.0.1\n"
		"allow_anonymous true\n"
		"persistence false\n"
		"set_tcp_nodelay true\n"
		"max_packet_size %zu\n"
		"max_inflight_messages 100\n"
		"max_queued_messages 20000\n"
		"max_queued_bytes 67108864\n"
		"max_connections 1000\n"
		"max_keepalive 60\n"
		"memory_limit 536870912\n"
		"connection_messages true\n"
		"log_dest stderr\n"
		"log_timestamp_format %%Y-%%m-%%dT%%H:%%M:%%S\n"
		"log_type error\n"
		"log_type warning\n"
		"log_type notice\n",
		o->mqtt.number, PROTO_MAX_MESSAGE + 4096 /* topic and properties */);
	/* As root it would change to its own user, and by that lose the order to end with us
	 * (prctl(2), PR_SET_PDEATHSIG); its peers here run as root too. */
	if (geteuid() == 0)
		fputs("user root\n", f);
	return close_config(f);
}

static int write_hub(const struct up_options *o)
{
	FILE *f = open_config(o, "hub", "hub.cfg");

	if (f == NULL)
		return CLI_UNAVAILABLE;
	fprintf(f,
		"state_dir = \"%s/hub\";\n"
		"broker = { host = \"127.0.0.1\"; port = %" PRIu64 "; };\n"
		"http = { address = \"127.0.0.1\"; port = %" PRIu64 "; };\n"
		"journal = { mode = \"off\"; }; // for a trial; without it jobs outlive the hub\n",
		o->dir, o->mqtt.number, o->http.number);
	return close_config(f);
}

static int write_agent(const struct up_options *o, uint64_t k)
{
	char name[32];
	FILE *f;

	snprintf(name, sizeof(name), "box-%" PRIu64, k);
	f = open_config(o, name, "agent.cfg");
	if (f == NULL)
		return CLI_UNAVAILABLE;
	fprintf(f,
		"id = \"%s\";\n"
		"state_dir = \"%s/%s\";\n"
		"broker = { host = \"127.0.0.1\"; port = %" PRIu64 "; };\n"
		"engine = { path = \"%s\"; };\n"
		"drain_ms = %d;\n"
		"benchmark_calm_ms = 10000;\n" /* they are each other's noise */
		"models = ( { name = \"%s\"; file = \"%s\"; exact = true; embeddings = true; } );\n",
		name, o->dir, name, o->mqtt.number, o->engine, DRAIN_MS, o->model_name, o->model);
	return close_config(f);
}

int up_write_configs(const struct up_options *o)
{
	int rc = write_broker(o);

	if (rc == CLI_OK)
		rc = write_hub(o);
	for (uint64_t k = 1; k <= o->n_agents && rc == CLI_OK; k++)
		rc = write_agent(o, k);
	return rc;
}

/* ---- ports ---- */

/* Two that start at once would both find a port free before either's server has opened it.
 * So each claims it first, by a socket name that only one process can hold and that goes
 * with the process: an abstract one, which like a port belongs to the network namespace. */
static int claim(uint64_t port)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "shoal-up-%" PRIu64, port);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 &&
		bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0)
		return fd;
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

/* Opens it as a server would, to see that it can be; then it is only claimed. */
static bool try_port(uint64_t port, struct up_port *ret)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)
	};
	socklen_t n = sizeof(a);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ret->claim_fd = -1;
	if (fd < 0)
		return false;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 1) == 0 &&
		getsockname(fd, (struct sockaddr *)&a, &n) == 0) {
		ret->number = ntohs(a.sin_port);
		ret->claim_fd = claim(ret->number);
	}
	(void)close(fd);
	return ret->claim_fd >= 0;
}

int up_port_take(const char *option, uint64_t wanted, struct up_port *ret)
{
	if (try_port(wanted, ret))
		return CLI_OK;
	if (wanted == 0)
		return cli_fail(CLI_UNAVAILABLE, "there is no free port on 127.0.0.1");
	return cli_fail(CLI_UNAVAILABLE,
		"port %" PRIu64 " of %s is taken by another program or not ours to open; 0 chooses a free one", wanted,
		option);
}

int up_port_take_or_any(uint64_t preferred, struct up_port *ret)
{
	return try_port(preferred, ret) ? CLI_OK : up_port_take("", 0, ret);
}

void up_port_release(struct up_port *p)
{
	if (p->claim_fd >= 0)
		(void)close(p->claim_fd);
	p->claim_fd = -1;
}

bool up_port_answers(uint64_t port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool answers;

	if (fd < 0)
		return false;
	answers = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0; /* loopback: an answer comes at once */
	(void)close(fd);
	return answers;
}
