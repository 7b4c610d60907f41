#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit/os_mq_help.h"

TestSuite(mq, .init = mq_rig_init, .fini = mq_rig_fini, .timeout = 60);

Test(mq, a_message_arrives_with_all_it_carries)
{
	for (int qos = 0; qos <= 1; qos++) {
		struct client *a = client_new(rig.l, "a", rig.broker.port, NULL),
			      *b = client_new(rig.l, "b", rig.broker.port, NULL);
		struct mq_pub pub = { .topic = SPAN("t/x"),
			.payload = SPAN("hello"),
			.qos = qos,
			.correlation = { "\0\1\2", 3 },
			.content_type = SPAN("application/json"),
			.response_topic = SPAN("clients/b/r"),
			.expiry_s = 60 };

		b->filter = "t/+";
		client_up(a);
		client_up(b);
		cr_assert_eq(mq_publish(a->q, &pub, NULL), 0);
		client_wait_messages(b, 1);
		cr_assert_str_eq(b->text[0], "hello");
		cr_assert(span_eq(b->last.topic, pub.topic));
		cr_assert(span_eq(b->last.correlation, pub.correlation));
		cr_assert(span_eq(b->last.content_type, pub.content_type));
		cr_assert(span_eq(b->last.response_topic, pub.response_topic));
		cr_assert_not(b->last.retain);
		client_free(a);
		client_free(b);
	}
}

Test(mq, a_retained_message_and_an_empty_payload_are_what_they_are)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL), *b = client_new(rig.l, "b", rig.broker.port, NULL);

	client_up(a);
	cr_assert_eq(
		mq_publish(a->q, &(struct mq_pub){ .topic = SPAN("r"), .payload = SPAN("kept"), .qos = 1, .retain = true },
			NULL),
		0);
	client_wait_acks(a, 1);
	b->filter = "r";
	client_up(b);
	client_wait_messages(b, 1);
	cr_assert(b->last.retain);
	cr_assert_str_eq(b->text[0], "kept");
	cr_assert_eq(client_publish(a, "r", "", 0, NULL), 0);
	client_wait_messages(b, 2);
	cr_assert_str_eq(b->text[1], "");
	cr_assert_not(b->last.retain);
	client_free(a);
	client_free(b);
}

Test(mq, an_ack_names_its_publish_and_says_when_nobody_listens)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL), *b = client_new(rig.l, "b", rig.broker.port, NULL);
	int mid = -1;

	b->filter = "t";
	client_up(a);
	client_up(b);
	cr_assert_eq(client_publish(a, "t", "x", 1, &mid), 0);
	client_wait_acks(a, 1);
	cr_assert_eq(a->last_ack_mid, mid);
	cr_assert_eq(a->last_ack_reason, 0);
	cr_assert_eq(client_publish(a, "nobody", "x", 1, &mid), 0);
	client_wait_acks(a, 2);
	cr_assert_eq(a->last_ack_mid, mid);
	cr_assert_eq(a->last_ack_reason, 0x10);
	client_free(a);
	client_free(b);
}

Test(mq, a_qos_0_publish_leaves_nothing_pending_and_has_no_ack)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL);

	client_up(a);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(client_publish(a, "t", "x", 0, NULL), 0);
	cr_assert_eq(mq_stats(a->q).pending, 0);
	cr_assert_eq(mq_stats(a->q).published, 100);
	help_idle(rig.l, 30);
	cr_assert_eq(a->acks, 0);
	client_free(a);
}

Test(mq, messages_of_one_sender_keep_their_order)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL), *b = client_new(rig.l, "b", rig.broker.port, NULL);
	char text[16];

	b->filter = "t";
	client_up(a);
	client_up(b);
	for (int i = 0; i < 900; i++) {
		(void)snprintf(text, sizeof(text), "%d", i);
		cr_assert_eq(client_publish(a, "t", text, i % 2, NULL), 0);
	}
	client_wait_messages(b, 900);
	client_wait_acks(a, 450);
	/* MQTT orders within a quality of service. */
	for (int qos = 0, next; qos <= 1; qos++) {
		next = qos;
		for (unsigned i = 0; i < 900; i++)
			if (atoi(b->text[i]) % 2 == qos) {
				cr_assert_eq(atoi(b->text[i]), next);
				next += 2;
			}
	}
	cr_assert_eq(mq_stats(b->q).received, 900);
	client_free(a);
	client_free(b);
}

Test(mq, what_cannot_be_sent_is_refused_and_the_link_stays)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, &(struct mq_config){ .max_pending_bytes = 1000 });
	static char big[2000];

	client_up(a);
	memset(big, 'x', sizeof(big) - 1);
	cr_assert_eq(client_publish(a, "t", big, 0, NULL), ERR_TOOBIG);
	cr_assert_eq(client_publish(a, "t/#", "x", 0, NULL), ERR_RANGE);
	cr_assert_eq(client_publish(a, "", "x", 0, NULL), ERR_RANGE);
	cr_assert_eq(client_publish(a, "t\xff", "x", 1, NULL), ERR_RANGE);
	cr_assert_eq(client_publish(a, "t", "x", 2, NULL), ERR_RANGE);
	cr_assert_eq(mq_publish(a->q, &(struct mq_pub){ .topic = { "a\0b", 3 } }, NULL), ERR_RANGE);
	cr_assert_eq(mq_subscribe(a->q, "a/#/b", 1, NULL), ERR_RANGE);
	cr_assert_eq(client_publish(a, "t", "x", 1, NULL), 0);
	client_wait_acks(a, 1);
	cr_assert(a->downs == 0 && mq_stats(a->q).pending == 0);
	client_free(a);
}

Test(mq, a_payload_over_the_brokers_limit_is_refused)
{
	struct client *a;
	static char big[4000];

	help_broker_stop(&rig.broker, SIGTERM);
	help_broker_start(&rig.broker, rig.broker.port, "max_packet_size 2000");
	a = client_new(rig.l, "a", rig.broker.port, NULL);
	client_up(a);
	memset(big, 'x', sizeof(big) - 1);
	cr_assert_eq(client_publish(a, "t", big, 0, NULL), ERR_TOOBIG);
	cr_assert_eq(client_publish(a, "t", big, 1, NULL), ERR_TOOBIG);
	cr_assert_eq(client_publish(a, "t", "small", 1, NULL), 0);
	client_wait_acks(a, 1);
	client_free(a);
}

Test(mq, a_name_that_does_not_exist_is_told_and_tried_again)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, &(struct mq_config){ .host = "none.test" });

	mq_start(a->q);
	client_wait_downs(a, 2);
	cr_assert_not_null(strstr(a->why, "none.test"));
	client_free(a);
}

static void free_in_message(struct client *c)
{
	c->q = mq_free(c->q);
	c->is_done = true;
}

static void publish_in_message(struct client *c)
{
	if (c->n_messages < 50)
		cr_assert_eq(client_publish(c, "t", "again", c->n_messages % 2, NULL), 0);
}

static void close_in_message(struct client *c)
{
	mq_close(c->q, 1000, client_done);
}

Test(mq, callbacks_may_publish_close_and_free)
{
	struct client *a;

	a = client_new(rig.l, "a", rig.broker.port, NULL);
	a->filter = "t";
	a->on_message = publish_in_message;
	client_up(a);
	cr_assert_eq(client_publish(a, "t", "first", 1, NULL), 0);
	client_wait_messages(a, 50);

	a->on_message = close_in_message;
	cr_assert_eq(client_publish(a, "t", "close", 1, NULL), 0);
	cr_assert(help_wait_flag(rig.l, &a->is_done));
	client_free(a);

	a = client_new(rig.l, "a", rig.broker.port, NULL);
	a->filter = "t";
	a->on_message = free_in_message;
	client_up(a);
	for (int i = 0; i < 5; i++) /* more than one is in the socket when it goes */
		cr_assert_eq(client_publish(a, "t", "free", 0, NULL), 0);
	cr_assert(help_wait_flag(rig.l, &a->is_done));
	help_idle(rig.l, 20);
	cr_assert_eq(a->n_messages, 1);
	client_free(a);
}

struct freed {
	struct mq *q;
	bool is_done;
};

static void free_it(struct freed *f)
{
	f->q = mq_free(f->q);
	f->is_done = true;
}

static void free_in_up(void *ctx, uint64_t conn)
{
	(void)conn;
	free_it(ctx);
}

static void free_in_down(void *ctx, const char *why, uint64_t retry_ms)
{
	(void)why;
	(void)retry_ms;
	free_it(ctx);
}

static bool free_in_will(void *ctx, uint64_t conn, struct mq_pub *ret)
{
	(void)conn;
	(void)ret;
	free_it(ctx);
	return false;
}

static void free_in_done(void *ctx)
{
	free_it(ctx);
}

Test(mq, each_callback_may_free)
{
	struct mq_config config = { .host = "127.0.0.1", .port = rig.broker.port, .client_id = "a" };
	struct freed f = { NULL, false };

	cr_assert_eq(mq_new(rig.l, &config, &(struct mq_callbacks){ .up = free_in_up }, &f, &f.q), 0);
	mq_start(f.q);
	cr_assert(help_wait_flag(rig.l, &f.is_done));

	f.is_done = false;
	cr_assert_eq(mq_new(rig.l, &config, &(struct mq_callbacks){ .will = free_in_will }, &f, &f.q), 0);
	mq_start(f.q);
	cr_assert(help_wait_flag(rig.l, &f.is_done));

	f.is_done = false;
	cr_assert_eq(mq_new(rig.l, &config, &(struct mq_callbacks){ NULL }, &f, &f.q), 0);
	mq_start(f.q);
	help_idle(rig.l, 50);
	mq_close(f.q, 1000, free_in_done);
	cr_assert(help_wait_flag(rig.l, &f.is_done));

	f.is_done = false;
	config.port = help_free_port();
	cr_assert_eq(mq_new(rig.l, &config, &(struct mq_callbacks){ .down = free_in_down }, &f, &f.q), 0);
	mq_start(f.q);
	cr_assert(help_wait_flag(rig.l, &f.is_done));
	help_idle(rig.l, 20);
}

Test(mq, closing_while_down_is_done_at_once_and_while_waiting_too)
{
	struct client *a = client_new(
		rig.l, "a", help_free_port(), &(struct mq_config){ .backoff_min_ms = 60000, .backoff_max_ms = 60000 });

	mq_close(a->q, 1000, client_done); /* never started */
	cr_assert(help_wait_flag(rig.l, &a->is_done));
	client_free(a);

	a = client_new(
		rig.l, "a", help_free_port(), &(struct mq_config){ .backoff_min_ms = 60000, .backoff_max_ms = 60000 });
	mq_start(a->q);
	client_wait_downs(a, 1);
	mq_close(a->q, 1000, client_done);
	cr_assert(help_wait_flag(rig.l, &a->is_done));
	help_idle(rig.l, 20);
	cr_assert_eq(a->downs, 1);
	client_free(a);
}

Test(mq, a_stopped_broker_is_a_loss_with_its_reason)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL);

	client_up(a);
	help_broker_stop(&rig.broker, SIGTERM);
	client_wait_downs(a, 1);
	cr_assert_not_null(strstr(a->why, "connection was lost"), "%s", a->why);
	client_wait_downs(a, 2);
	cr_assert_not_null(strstr(a->why, "refused"), "%s", a->why);
	cr_assert_eq(mq_stats(a->q).losses, 1);
	cr_assert_eq(client_publish(a, "t", "x", 1, NULL), ERR_CLOSED);
	cr_assert_eq(mq_subscribe(a->q, "t", 1, NULL), ERR_CLOSED);
	client_free(a);
}

Test(mq, descriptors_do_not_grow_with_connections)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL);
	int before, after, fds[4];

	client_up(a);
	before = dup(0);
	(void)close(before);
	for (unsigned i = 0; i < 10; i++) {
		cr_assert_gt(client_sockets(rig.broker.port, fds, 4), 0);
		cr_assert_eq(shutdown(fds[0], SHUT_RDWR), 0);
		client_wait_ups(a, i + 2);
	}
	after = dup(0);
	cr_assert_eq(before, after);
	client_free(a);
	cr_assert_eq(client_sockets(rig.broker.port, fds, 4), 0);
}
