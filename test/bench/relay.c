/* relay - what a hub costs at the very least: a program that sends a message for a message and thinks nothing.
 *
 * Usage: relay PORT PREFIX FILE
 *
 * FILE is what fleet recorded of one job with a hub (fleet_record.c).  For a message from a client or an agent the recorded
 * ones are sent, of the same sizes and QoS, with the name of the job put in; the name says to which agent and client
 * (fleet_clients.c).  Prints one line when it listens. */
#include <stdio.h>
#include <stdlib.h>

#include "loop.h"
#include "mq.h"
#include "fleet.h"

#define MESSAGES_MAX 256
#define PLACES_MAX 8

struct out {
	char where; /* j, c: an agent's jobs, its control; a: a client's answers */
	int qos;
	size_t n_places, places[PLACES_MAX];
	struct buf bytes;
};

struct in {
	bool is_submit;
	unsigned type;   /* of an event */
	size_t place;    /* of the job's name */
	size_t first, n; /* of the messages sent for it */
};

struct relay {
	struct loop *loop;
	struct mq *mq;
	const char *prefix;
	size_t n_prefix;
	unsigned n_granted;
	struct in ins[8];
	size_t n_ins;
	struct out outs[MESSAGES_MAX];
	size_t n_outs;
	char jobs[TOPIC_MAX], control[TOPIC_MAX], client[TOPIC_MAX];
};

static void die(const char *what)
{
	fprintf(stderr, "relay: %s\n", what);
	exit(1);
}

/* ---- the recorded messages ---- */

static void read_out(struct relay *r, char *line)
{
	struct out *o = &r->outs[r->n_outs];
	char *save = NULL, *word = strtok_r(line, " \n", &save);
	unsigned byte;

	if (r->n_outs == MESSAGES_MAX || r->n_ins == 0 || word == NULL)
		die("the recorded messages are too many");
	*o = (struct out){ .where = strcmp(word, "jobs") == 0      ? 'j'
				    : strcmp(word, "control") == 0 ? 'c'
								   : 'a',
		.bytes = BUF_INIT(PROTO_MAX_MESSAGE) };
	o->qos = atoi(strtok_r(NULL, " ", &save));
	o->n_places = strtoull(strtok_r(NULL, " ", &save), NULL, 10);
	if (o->n_places > PLACES_MAX)
		die("a job's name stands in too many places");
	for (size_t i = 0; i < o->n_places; i++)
		o->places[i] = strtoull(strtok_r(NULL, " ", &save), NULL, 10);
	word = strtok_r(NULL, " \n", &save);
	for (; word != NULL && sscanf(word, "%2x", &byte) == 1; word += 2)
		buf_add(&o->bytes, &(uint8_t){ (uint8_t)byte }, 1);
	r->n_outs++;
	r->ins[r->n_ins - 1].n++;
}

static void read_in(struct relay *r, const char *line)
{
	struct in *in = &r->ins[r->n_ins];
	char kind[16];

	if (r->n_ins == sizeof(r->ins) / sizeof(r->ins[0]) || sscanf(line, "%15s %u %zu", kind, &in->type, &in->place) != 3)
		die("the recorded messages cannot be read");
	in->is_submit = strcmp(kind, "submit") == 0;
	in->first = r->n_outs;
	r->n_ins++;
}

static void read_file(struct relay *r, const char *path)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;

	while (f != NULL && getline(&line, &cap, f) > 0) {
		if (strncmp(line, "in ", 3) == 0)
			read_in(r, line + 3);
		else if (strncmp(line, "out ", 4) == 0)
			read_out(r, line + 4);
	}
	if (f == NULL || r->n_ins == 0)
		die("there are no recorded messages");
	fclose(f);
	free(line);
}

/* ---- a message for a message ---- */

static void send(struct relay *r, struct out *o, const char *name)
{
	char *topic = o->where == 'j' ? r->jobs : o->where == 'c' ? r->control : r->client;
	struct mq_pub pub = { .payload = buf_span(&o->bytes), .qos = o->qos };

	for (size_t i = 0; i < o->n_places; i++)
		memcpy(o->bytes.p + o->places[i], name, ID_LEN);
	if (o->where == 'a') {
		pub.correlation = span_mem(name, ID_LEN);
		memcpy(strstr(topic, "/clients/u") + 10, name + 1, FLEET_USER_LEN - 1);
	} else
		memcpy(strstr(topic, "/agents/a") + 9, name + 1 + FLEET_USER_LEN, FLEET_ID_LEN - 1);
	pub.topic = span_of(topic);
	if (mq_publish(r->mq, &pub, NULL) < 0 && o->qos > 0)
		die("the broker is slower than what it brings");
}

static void on_message(void *ctx, const struct mq_msg *msg)
{
	struct relay *r = ctx;
	bool is_submit = msg->topic.p[r->n_prefix + 1] == 'c'; /* "clients", "agents" */

	for (size_t i = 0; i < r->n_ins; i++) {
		const struct in *in = &r->ins[i];
		char name[ID_LEN];

		if (in->is_submit != is_submit || (!is_submit && (uint8_t)msg->payload.p[2] != in->type))
			continue;
		if (msg->payload.n < in->place + ID_LEN)
			die("a message is shorter than the recorded one");
		memcpy(name, msg->payload.p + in->place, ID_LEN);
		for (size_t k = 0; k < in->n; k++)
			send(r, &r->outs[in->first + k], name);
		return;
	}
}

static void on_up(void *ctx, uint64_t conn)
{
	struct relay *r = ctx;
	struct topic jobs, events;

	if (conn > 1 || topic_make(r->prefix, TOPIC_CLIENT_JOBS, SPAN("+"), &jobs) < 0 ||
		topic_make(r->prefix, TOPIC_AGENT_OUT, SPAN("+"), &events) < 0 || mq_subscribe(r->mq, jobs.s, 1, NULL) < 0 ||
		mq_subscribe(r->mq, events.s, 1, NULL) < 0)
		die("cannot subscribe");
}

static void on_subscribed(void *ctx, int mid, int reason)
{
	struct relay *r = ctx;

	(void)mid;
	if (reason >= 0x80)
		die("the broker refuses a subscription");
	if (++r->n_granted == 2)
		puts("listening");
	fflush(stdout);
}

static void on_stop(void *ctx, int signo)
{
	(void)signo;
	loop_exit(((struct relay *)ctx)->loop, 0);
}

int main(int argc, char **argv)
{
	static const struct mq_callbacks callbacks = { .up = on_up, .message = on_message, .subscribed = on_subscribed };
	static struct relay r;

	if (argc != 4)
		die("usage: relay PORT PREFIX FILE");
	r.prefix = argv[2];
	r.n_prefix = strlen(argv[2]);
	(void)snprintf(r.jobs, sizeof(r.jobs), "%s/agents/" FLEET_ID "/jobs", r.prefix, (size_t)0);
	(void)snprintf(r.control, sizeof(r.control), "%s/agents/" FLEET_ID "/control", r.prefix, (size_t)0);
	(void)snprintf(r.client, sizeof(r.client), "%s/clients/" FLEET_USER "/r", r.prefix, (size_t)0);
	read_file(&r, argv[3]);
	if (loop_new(on_stop, &r, &r.loop) < 0 ||
		mq_new(r.loop, &(struct mq_config){ .host = "127.0.0.1", .port = atoi(argv[1]), .client_id = "relay" },
			&callbacks, &r, &r.mq) < 0)
		die("no MQTT client");
	mq_start(r.mq);
	(void)loop_run(r.loop);
	mq_free(r.mq);
	loop_free(r.loop);
	for (size_t i = 0; i < r.n_outs; i++)
		buf_fini(&r.outs[i].bytes);
	return 0;
}
