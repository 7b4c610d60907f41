/* fleet - plays agents and clients on the wire, as many as a hub is to be measured with.
 *
 * Usage: fleet port=PORT [agents=N] [links=N] [slots=N] [first=N] [prefix=P] [idle_ms=N] [busy_ms=N] [beat=0]
 *
 * N agents on that many connections, numbered from `first`; with as many links as agents each has its own, with a will (a
 * broker without access lists lets several share one).  Heartbeats come at the real cadence, with beat=0 none.
 *
 * Commands are lines of stdin, each is answered with one line of JSON:
 *
 *   announce     registers all agents; answered when the broker has acknowledged it
 *   run OPTIONS  jobs=N, by clients=N at once or a rate=N a second at random moments (of seed=N).  Each with a prompt=BYTES
 *                and tokens=N, in frames of frame=N; stream=1, json=1 (else CBOR), key=1 (an id of the client's); hold=1:
 *                agents accept and say no more.  Ends after wait_s=N at the latest.  Answered with how many ended,
 *                seconds, messages and bytes of a job (each), and two lists of microseconds: from a submit until an agent
 *                has it (hop_us), and until its end (end_us)
 *   release      held jobs go on
 *   record FILE  writes the messages of the last run's first job, for relay.c
 *
 * The end of stdin ends it.  Times are taken when the MQTT client is handed a message, and when it hands one over. */
#include "fleet.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define ARENA_SIZE ((size_t)1 << 20)
#define PENDING_TOTAL 4096 /* unacknowledged publishes of all connections */

void fleet_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("fleet: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

uint64_t fleet_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct span fleet_encode(struct fleet *f, const struct msg_type *t, const void *m, enum msg_keys keys)
{
	buf_reset(&f->out);
	if (msg_encode(t, m, keys, &f->out) < 0)
		fleet_die("a %s cannot be written", t->name);
	return buf_span(&f->out);
}

/* ---- names and values ---- */

struct field {
	const char *name;
	uint64_t *value;
};

/* "NAME=VALUE" */
static void set(const struct field *fields, size_t n, const char *text)
{
	const char *eq = strchr(text, '=');

	for (size_t i = 0; eq != NULL && i < n; i++)
		if (span_is(span_mem(text, (size_t)(eq - text)), fields[i].name)) {
			*fields[i].value = strtoull(eq + 1, NULL, 10);
			return;
		}
	fleet_die("what is \"%s\"?", text);
}

static void read_options(struct options *o, int argc, char **argv)
{
	const struct field fields[] = { { "port", &o->port }, { "agents", &o->agents }, { "links", &o->links },
		{ "slots", &o->slots }, { "first", &o->first }, { "idle_ms", &o->idle_ms }, { "busy_ms", &o->busy_ms },
		{ "beat", &o->beat } };

	*o = (struct options){ .agents = 1,
		.links = 1,
		.slots = 4,
		.idle_ms = 5000,
		.busy_ms = 2000,
		.beat = 1,
		.prefix = TOPIC_DEFAULT_PREFIX };
	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "prefix=", 7) == 0)
			o->prefix = argv[i] + 7;
		else
			set(fields, sizeof(fields) / sizeof(fields[0]), argv[i]);
	}
	if (o->port == 0 || o->agents == 0 || o->agents > 99999 || o->links == 0 || o->links > o->agents || o->slots == 0 ||
		o->slots > FLEET_MAX_SLOTS || o->idle_ms >= FLEET_BEATS * FLEET_TICK_MS ||
		o->busy_ms >= FLEET_BEATS * FLEET_TICK_MS)
		fleet_die("see the head of fleet.c for its options");
}

static void read_load(struct load *l, char *words)
{
	const struct field fields[] = { { "jobs", &l->jobs }, { "clients", &l->clients }, { "rate", &l->rate },
		{ "stream", &l->stream }, { "prompt", &l->prompt }, { "tokens", &l->tokens }, { "frame", &l->frame },
		{ "hold", &l->hold }, { "json", &l->json }, { "key", &l->key }, { "wait_s", &l->wait_s },
		{ "seed", &l->seed } };

	*l = (struct load){ .jobs = 1, .clients = 1, .prompt = 200, .tokens = 8, .frame = 1, .wait_s = 60 };
	for (char *save = NULL, *w = strtok_r(words, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
		set(fields, sizeof(fields) / sizeof(fields[0]), w);
	if (l->jobs == 0 || l->clients == 0 || l->clients > 9999 || l->tokens == 0 || l->frame == 0)
		fleet_die("jobs, clients, tokens and frame must be at least 1");
}

/* ---- connections ---- */

static bool is_clients(const struct link *l)
{
	return l->number == l->fleet->options.links;
}

static bool on_will(void *ctx, uint64_t conn, struct mq_pub *ret)
{
	struct link *l = ctx;

	return !is_clients(l) && agents_will(l, conn, ret);
}

static void on_up(void *ctx, uint64_t conn)
{
	struct link *l = ctx;

	l->conn = conn;
	l->n_wanted = l->n_granted = 0;
	if (is_clients(l))
		clients_subscribe(l);
	else
		agents_subscribe(l);
}

static void on_down(void *ctx, const char *why, uint64_t retry_ms)
{
	struct link *l = ctx;

	(void)retry_ms;
	fprintf(stderr, "fleet: connection %s: %s\n", l->name, why);
	l->is_ready = false;
	l->next = 0; /* its agents are announced again */
}

/* A connection more can be used: are they all? */
static void look_ready(struct fleet *f)
{
	static bool is_told;

	for (size_t i = 0; i <= f->options.links; i++)
		if (!f->links[i].is_ready)
			return;
	if (!is_told)
		printf("{\"ready\": %llu}\n", (unsigned long long)f->options.agents);
	fflush(stdout);
	is_told = true;
}

static void look_announced(struct fleet *f)
{
	bool is_all = true;

	for (size_t i = 0; i < f->options.links; i++)
		is_all = f->links[i].is_ready && agents_announce(&f->links[i]) && is_all;
	if (!is_all)
		return;
	f->is_announcing = false;
	printf("{\"announced\": %llu, \"seconds\": %.6f}\n", (unsigned long long)f->options.agents,
		(double)(fleet_now_ns() - f->announced_ns) / 1e9);
	fflush(stdout);
}

static void on_subscribed(void *ctx, int mid, int reason)
{
	struct link *l = ctx;

	(void)mid;
	if (reason >= 0x80)
		fleet_die("the broker refuses a subscription");
	if (++l->n_granted < l->n_wanted)
		return;
	l->is_ready = true;
	look_ready(l->fleet);
	if (!is_clients(l) && (l->conn > 1 || l->fleet->is_announcing))
		(void)agents_announce(l);
}

static void on_ack(void *ctx, int mid, int reason)
{
	struct link *l = ctx;

	(void)mid;
	if (reason >= 0x80)
		fleet_die("the broker refuses a message");
	if (l->fleet->is_announcing && !is_clients(l) && mq_stats(l->mq).pending == 0)
		look_announced(l->fleet);
}

static void on_writable(void *ctx)
{
	struct link *l = ctx;

	if (is_clients(l))
		return;
	if (l->fleet->is_announcing)
		(void)agents_announce(l);
	agents_room(l);
}

static void on_message(void *ctx, const struct mq_msg *msg)
{
	struct link *l = ctx;

	arena_reset(&l->fleet->arena);
	if (is_clients(l))
		clients_message(l->fleet, msg);
	else
		agents_message(l, msg);
}

static void connect_all(struct fleet *f)
{
	static const struct mq_callbacks callbacks = { on_will, on_up, on_down, on_message, on_ack, on_subscribed,
		on_writable };
	size_t pending = PENDING_TOTAL / f->options.links;

	for (size_t i = 0; i <= f->options.links; i++) {
		struct link *l = &f->links[i];
		struct mq_config c = { .host = "127.0.0.1",
			.port = (int)f->options.port,
			.client_id = l->name,
			.connect_timeout_ms = 30000,
			.max_pending = i == f->options.links || pending > 1000 ? 1000
				       : pending > 64                          ? pending
									       : 64,
			.seed = i + 1 };

		l->fleet = f;
		l->number = i;
		(void)snprintf(l->name, sizeof(l->name), "fleet-%d-%zu", (int)getpid(), i);
		if (mq_new(f->loop, &c, &callbacks, l, &l->mq) < 0)
			fleet_die("no MQTT client: %s", strerror(errno));
		mq_start(l->mq);
	}
}

/* ---- commands ---- */

static void obey(struct fleet *f, char *line)
{
	if (strcmp(line, "announce") == 0) {
		f->announced_ns = fleet_now_ns();
		f->is_announcing = true;
		look_announced(f);
	} else if (strncmp(line, "run ", 4) == 0) {
		if (f->is_running)
			fleet_die("a run is under way");
		read_load(&f->load, line + 4);
		clients_run(f);
	} else if (strcmp(line, "release") == 0) {
		agents_release(f);
		puts("{\"released\": true}");
	} else if (strncmp(line, "record ", 7) == 0) {
		if (record_write(f->record, line + 7) < 0)
			fleet_die("nothing can be written to %s", line + 7);
		puts("{\"recorded\": true}");
	} else {
		fleet_die("what is \"%s\"?", line);
	}
	fflush(stdout);
}

static void on_input(void *ctx, uint32_t events)
{
	static struct buf in = BUF_INIT(65536);
	struct fleet *f = ctx;
	char part[4096], *nl;
	ssize_t n = read(STDIN_FILENO, part, sizeof(part));

	(void)events;
	if (n <= 0) {
		buf_fini(&in);
		loop_exit(f->loop, 0);
		return;
	}
	buf_add(&in, part, (size_t)n);
	while (in.n > 0 && (nl = memchr(in.p, '\n', in.n)) != NULL) {
		*nl = '\0';
		obey(f, (char *)in.p);
		buf_consume(&in, (size_t)(nl + 1 - (char *)in.p));
	}
}

static void on_stop(void *ctx, int signo)
{
	(void)signo;
	loop_exit(((struct fleet *)ctx)->loop, 1);
}

static void raise_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

int main(int argc, char **argv)
{
	static struct fleet f;
	struct loop_io *in = NULL;
	int rc;

	read_options(&f.options, argc, argv);
	raise_files();
	f.out = BUF_INIT(PROTO_MAX_MESSAGE);
	f.arena = (struct arena){ .p = malloc(ARENA_SIZE), .cap = ARENA_SIZE };
	f.links = calloc(f.options.links + 1, sizeof(*f.links));
	f.record = record_new();
	if (f.arena.p == NULL || f.links == NULL || loop_new(on_stop, &f, &f.loop) < 0 ||
		loop_io_new(f.loop, STDIN_FILENO, EPOLLIN, on_input, &f, &in) < 0)
		fleet_die("cannot begin: stdin must be a pipe or a terminal");
	agents_init(&f);
	clients_init(&f);
	connect_all(&f);
	rc = loop_run(f.loop);
	for (size_t i = 0; i <= f.options.links; i++)
		mq_free(f.links[i].mq);
	agents_fini(&f);
	clients_fini(&f);
	record_free(f.record);
	loop_io_free(in);
	loop_free(f.loop);
	free(f.links);
	free(f.arena.p);
	buf_fini(&f.out);
	return rc == 0 ? 0 : 1;
}
