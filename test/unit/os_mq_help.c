#include "unit/os_mq_help.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct mq_rig rig;

void mq_rig_init(void)
{
	rig.l = help_loop();
	help_broker_start(&rig.broker, help_free_port(), NULL);
}

void mq_rig_fini(void)
{
	if (rig.broker.pid > 0)
		help_broker_stop(&rig.broker, SIGKILL);
	loop_free(rig.l);
}

static void copy(struct span s, char *to, size_t size, struct span *ret)
{
	cr_assert_lt(s.n, size);
	if (s.n > 0)
		memcpy(to, s.p, s.n);
	to[s.n] = '\0';
	*ret = span_mem(to, s.n);
}

static bool on_will(void *ctx, uint64_t conn, struct mq_pub *ret)
{
	struct client *c = ctx;

	(void)snprintf(c->will_topic, sizeof(c->will_topic), "will/%s", c->id);
	(void)snprintf(c->will_text, sizeof(c->will_text), "conn %llu", (unsigned long long)conn);
	*ret = (struct mq_pub){ .topic = span_of(c->will_topic), .payload = span_of(c->will_text), .qos = 1 };
	return c->has_will;
}

static void on_up(void *ctx, uint64_t conn)
{
	struct client *c = ctx;

	c->is_up = true;
	c->is_subscribed = false;
	c->conn = conn;
	c->ups++;
	if (c->filter != NULL)
		cr_assert_eq(mq_subscribe(c->q, c->filter, 1, NULL), 0);
}

static void on_down(void *ctx, const char *why, uint64_t retry_ms)
{
	struct client *c = ctx;
	uint64_t now_ms = clock_ms();

	c->is_up = false;
	c->downs++;
	c->retry_in_ms = retry_ms > now_ms ? retry_ms - now_ms : 0;
	(void)snprintf(c->why, sizeof(c->why), "%s", why);
}

static void on_message(void *ctx, const struct mq_msg *msg)
{
	struct client *c = ctx;

	cr_assert_lt(c->n_messages, CLIENT_MESSAGES);
	(void)snprintf(c->text[c->n_messages++], CLIENT_TEXT, "%.*s", SPAN_FMT(msg->payload));
	copy(msg->topic, c->last_topic, sizeof(c->last_topic), &c->last.topic);
	copy(msg->response_topic, c->last_response, sizeof(c->last_response), &c->last.response_topic);
	copy(msg->content_type, c->last_content, sizeof(c->last_content), &c->last.content_type);
	copy(msg->correlation, c->last_correlation, sizeof(c->last_correlation), &c->last.correlation);
	c->last.retain = msg->retain;
	if (c->on_message != NULL)
		c->on_message(c);
}

static void on_ack(void *ctx, int mid, int reason)
{
	struct client *c = ctx;

	c->acks++;
	c->last_ack_mid = mid;
	c->last_ack_reason = reason;
}

static void on_subscribed(void *ctx, int mid, int reason)
{
	struct client *c = ctx;

	(void)mid;
	c->is_subscribed = true;
	c->sub_reason = (unsigned)reason;
}

static void on_writable(void *ctx)
{
	((struct client *)ctx)->is_writable = true;
}

void client_done(void *ctx)
{
	((struct client *)ctx)->is_done = true;
}

static const struct mq_callbacks callbacks = {
	.will = on_will,
	.up = on_up,
	.down = on_down,
	.message = on_message,
	.ack = on_ack,
	.subscribed = on_subscribed,
	.writable = on_writable,
};

struct client *client_new(struct loop *l, const char *id, int port, const struct mq_config *base)
{
	struct client *c = calloc(1, sizeof(*c));
	struct mq_config config = base != NULL ? *base : (struct mq_config){ .seed = 1 };

	cr_assert_not_null(c);
	c->l = l;
	(void)snprintf(c->id, sizeof(c->id), "%s", id);
	config.host = config.host != NULL ? config.host : "127.0.0.1";
	config.port = port;
	config.client_id = c->id;
	config.backoff_min_ms = config.backoff_min_ms != 0 ? config.backoff_min_ms : 20;
	config.backoff_max_ms = config.backoff_max_ms != 0 ? config.backoff_max_ms : 200;
	cr_assert_eq(mq_new(l, &config, &callbacks, c, &c->q), 0);
	return c;
}

void client_free(struct client *c)
{
	mq_free(c->q);
	free(c);
}

static bool is_ready(void *ctx)
{
	const struct client *c = ctx;

	return c->is_up && (c->filter == NULL || c->is_subscribed);
}

void client_up(struct client *c)
{
	mq_start(c->q);
	cr_assert(help_wait(c->l, is_ready, c, HELP_DEADLINE_MS), "%s is not up: %s", c->id, c->why);
}

struct count {
	const unsigned *value;
	unsigned want;
};

static bool is_counted(void *ctx)
{
	const struct count *n = ctx;

	return *n->value >= n->want;
}

static void wait_count(struct client *c, const unsigned *value, unsigned want, const char *what)
{
	struct count n = { value, want };

	cr_assert(help_wait(c->l, is_counted, &n, HELP_DEADLINE_MS), "%s: %u of %u %s", c->id, *value, want, what);
}

void client_wait_messages(struct client *c, unsigned n)
{
	wait_count(c, &c->n_messages, n, "messages");
}

void client_wait_downs(struct client *c, unsigned n)
{
	wait_count(c, &c->downs, n, "losses");
}

void client_wait_ups(struct client *c, unsigned n)
{
	wait_count(c, &c->ups, n, "connections");
	cr_assert(help_wait(c->l, is_ready, c, HELP_DEADLINE_MS), "%s is not subscribed", c->id);
}

void client_wait_acks(struct client *c, unsigned n)
{
	wait_count(c, &c->acks, n, "acks");
}

int client_publish(struct client *c, const char *topic, const char *text, int qos, int *ret_mid)
{
	return mq_publish(c->q, &(struct mq_pub){ .topic = span_of(topic), .payload = span_of(text), .qos = qos }, ret_mid);
}

size_t client_sockets(int port, int *fds, size_t max)
{
	size_t n = 0;

	for (int fd = 3; fd < 1024 && n < max; fd++) {
		struct sockaddr_in a;
		socklen_t len = sizeof(a);

		if (getpeername(fd, (struct sockaddr *)&a, &len) == 0 && a.sin_family == AF_INET &&
			ntohs(a.sin_port) == port)
			fds[n++] = fd;
	}
	return n;
}
