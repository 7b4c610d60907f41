/* One test for each hazard of libmosquitto 2.0.11 that the link has to survive, by its
 * number in the list the project keeps.  The library's own behaviour is not asserted on:
 * a newer one may have mended it. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "unit/os_mq_help.h"

TestSuite(mq_hazard, .init = mq_rig_init, .fini = mq_rig_fini, .timeout = 90);

/* ---- 1: the library's own loop ends for good ---- */

#define N_CLIENTS 20

Test(mq_hazard, hazard_01_all_clients_come_back_after_the_broker_was_killed)
{
	struct client *c[N_CLIENTS];
	char id[16];

	for (unsigned i = 0; i < N_CLIENTS; i++) {
		(void)snprintf(id, sizeof(id), "box-%u", i);
		c[i] = client_new(rig.l, id, rig.broker.port, &(struct mq_config){ .seed = i + 1 });
		c[i]->filter = "t";
		client_up(c[i]);
	}
	for (unsigned round = 1; round <= 3; round++) {
		help_broker_stop(&rig.broker, SIGKILL);
		for (unsigned i = 0; i < N_CLIENTS; i++)
			client_wait_downs(c[i], c[i]->downs + 1);
		help_broker_start(&rig.broker, rig.broker.port, NULL);
		for (unsigned i = 0; i < N_CLIENTS; i++)
			client_wait_ups(c[i], round + 1);
		/* not only connected: each hears the first */
		cr_assert_eq(client_publish(c[0], "t", "back", 0, NULL), 0);
		for (unsigned i = 0; i < N_CLIENTS; i++) {
			client_wait_messages(c[i], round);
			cr_assert_eq(mq_stats(c[i]->q).losses, round);
		}
	}
	for (unsigned i = 0; i < N_CLIENTS; i++)
		client_free(c[i]);
}

Test(mq_hazard, hazard_01_a_refused_connection_is_tried_again)
{
	struct client *a;

	help_broker_stop(&rig.broker, SIGKILL);
	help_broker_start(&rig.broker, rig.broker.port, "allow_anonymous false");
	a = client_new(rig.l, "a", rig.broker.port, NULL);
	mq_start(a->q);
	client_wait_downs(a, 3);
	cr_assert_not_null(strstr(a->why, "refused the connection: Not authorized"), "%s", a->why);
	cr_assert_eq(a->ups, 0);
	help_broker_stop(&rig.broker, SIGKILL);
	help_broker_start(&rig.broker, rig.broker.port, NULL);
	client_wait_ups(a, 1);
	client_free(a);
}

/* A server that speaks TCP only: what it answers is up to the test. */
struct server {
	int listener, port, peer;
	struct loop_io *io, *peer_io;
	const char *answer; /* sent once to each who connects; NULL: nothing */
	size_t n_answer;
	unsigned n_peers, n_pings, pongs; /* so many pings are answered */
};

static void on_peer_data(void *ctx, uint32_t events)
{
	struct server *s = ctx;
	char sink[65536];
	ssize_t n = recv(s->peer, sink, sizeof(sink), MSG_DONTWAIT);

	(void)events;
	if (n == 2 && memcmp(sink, "\xc0\0", 2) == 0 && ++s->n_pings <= s->pongs)
		cr_assert_eq(send(s->peer, "\xd0\0", 2, 0), 2);
	if (n > 0 || (n < 0 && errno == EAGAIN))
		return;
	s->peer_io = loop_io_free(s->peer_io);
	(void)close(s->peer);
}

static void on_peer(void *ctx, uint32_t events)
{
	struct server *s = ctx;

	(void)events;
	s->peer = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert_geq(s->peer, 0);
	s->n_peers++;
	if (s->answer != NULL)
		cr_assert_eq(send(s->peer, s->answer, s->n_answer, 0), (ssize_t)s->n_answer);
	s->peer_io = loop_io_free(s->peer_io);
	cr_assert_eq(loop_io_new(rig.l, s->peer, 1 /* EPOLLIN */, on_peer_data, s, &s->peer_io), 0);
}

static void server_start(struct server *s, int backlog, const char *answer, size_t n_answer)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	*s = (struct server){
		.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .answer = answer, .n_answer = n_answer
	};
	cr_assert_eq(bind(s->listener, (struct sockaddr *)&a, len), 0);
	cr_assert_eq(listen(s->listener, backlog), 0);
	cr_assert_eq(getsockname(s->listener, (struct sockaddr *)&a, &len), 0);
	s->port = ntohs(a.sin_port);
	if (backlog > 1)
		cr_assert_eq(loop_io_new(rig.l, s->listener, 1 /* EPOLLIN */, on_peer, s, &s->io), 0);
}

static void server_stop(struct server *s)
{
	if (s->peer_io != NULL)
		(void)close(s->peer);
	loop_io_free(s->peer_io);
	loop_io_free(s->io);
	(void)close(s->listener);
}

static const char connack[] = { 0x20, 3, 0, 0, 0 }; /* accepted, no properties */

Test(mq_hazard, hazard_01_garbage_from_the_broker_is_a_loss_like_any_other)
{
	static const char garbage[] = { 0x20, 3, 0, 0, 0, (char)0xf0, 5, 1, 2, 3, 4, 5, 0, 0 };
	struct server s;
	struct client *a;

	server_start(&s, 64, garbage, sizeof(garbage));
	a = client_new(rig.l, "a", s.port, NULL);
	mq_start(a->q);
	client_wait_downs(a, 3);
	cr_assert_geq(s.n_peers, 3);
	client_free(a);
	server_stop(&s);
}

Test(mq_hazard, hazard_01_a_broker_that_never_answers_is_given_up)
{
	struct server s;
	struct client *a;

	server_start(&s, 64, NULL, 0);
	a = client_new(rig.l, "a", s.port, &(struct mq_config){ .connect_timeout_ms = 100 });
	mq_start(a->q);
	client_wait_downs(a, 2);
	cr_assert_not_null(strstr(a->why, "no answer"), "%s", a->why);
	client_free(a);
	server_stop(&s);
}

/* ---- 4, 5: what a child inherits ---- */

Test(mq_hazard, hazard_04_sockets_are_close_on_exec)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL);
	int fds[8];
	size_t n;

	for (unsigned round = 1; round <= 2; round++) { /* and after a reconnect */
		if (round == 1)
			client_up(a);
		else
			client_wait_ups(a, round);
		n = client_sockets(rig.broker.port, fds, 8);
		cr_assert_gt(n, 0);
		for (size_t i = 0; i < n; i++)
			cr_assert(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		cr_assert_eq(shutdown(fds[0], SHUT_RDWR), 0);
	}
	client_free(a);
}

Test(mq_hazard, hazard_04_the_will_comes_at_once_although_a_child_lives_on)
{
	struct client *watcher = client_new(rig.l, "watcher", rig.broker.port, NULL),
		      *a = client_new(rig.l, "a", rig.broker.port, NULL);
	uint64_t gone_ms;
	pid_t pid;

	watcher->filter = "will/+";
	client_up(watcher);
	a->has_will = true;
	client_up(a);
	pid = fork(); /* a child that did not even close what it was given, but ran a program */
	if (pid == 0) {
		execl("/bin/sleep", "sleep", "60", (char *)NULL);
		_exit(127);
	}
	a->q = mq_free(a->q); /* as if killed: no goodbye */
	gone_ms = clock_ms();
	client_wait_messages(watcher, 1);
	cr_assert_lt(clock_ms() - gone_ms, 3000);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	client_free(a);
	client_free(watcher);
}

Test(mq_hazard, hazard_05_sigpipe_is_default_in_a_child_started_while_connected)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL);
	int fds[2], status;
	pid_t pid;

	client_up(a);
	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	(void)close(fds[0]);
	cr_assert_eq(child_spawn(&(struct child_spec){ .file = "/bin/sh",
					 .argv = (const char *const[]){ "sh", "-c", "while :; do echo x; done", NULL },
					 .fd3 = -1,
					 .out = fds[1],
					 .err = -1,
					 .die_with_parent = true },
			     &pid),
		0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE, "status %x", (unsigned)status);
	client_free(a);
}

/* ---- 6, 7, 8: what the library queues ---- */

Test(mq_hazard, hazard_06_what_was_refused_while_down_is_not_delivered_later)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL), *b = client_new(rig.l, "b", rig.broker.port, NULL);

	b->filter = "t";
	client_up(a);
	client_up(b);
	help_broker_stop(&rig.broker, SIGKILL);
	client_wait_downs(a, 1);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(client_publish(a, "t", "while down", 1, NULL), ERR_CLOSED);
	help_broker_start(&rig.broker, rig.broker.port, NULL);
	client_wait_ups(a, 2);
	client_wait_ups(b, 2);
	cr_assert_eq(client_publish(a, "t", "after", 1, NULL), 0);
	client_wait_acks(a, 1);
	client_wait_messages(b, 1);
	help_idle(rig.l, 50);
	cr_assert_eq(b->n_messages, 1);
	cr_assert_str_eq(b->text[0], "after");
	client_free(a);
	client_free(b);
}

Test(mq_hazard, hazard_06_what_was_under_way_at_a_loss_is_forgotten)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL), *b = client_new(rig.l, "b", rig.broker.port, NULL);
	int mid;

	client_up(a);
	cr_assert_eq(kill(rig.broker.pid, SIGSTOP), 0);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(client_publish(a, "t", "before", 1, NULL), 0);
	cr_assert_eq(mq_stats(a->q).pending, 50);
	help_broker_stop(&rig.broker, SIGKILL);
	client_wait_downs(a, 1);
	cr_assert_eq(mq_stats(a->q).pending, 0);
	help_broker_start(&rig.broker, rig.broker.port, NULL);
	b->filter = "t";
	client_up(b);
	client_wait_ups(a, 2);
	cr_assert_eq(client_publish(a, "t", "after", 1, &mid), 0);
	client_wait_acks(a, 1);
	client_wait_messages(b, 1);
	help_idle(rig.l, 50);
	cr_assert_eq(b->n_messages, 1);
	cr_assert_str_eq(b->text[0], "after");
	cr_assert_eq(a->last_ack_mid, mid);
	client_free(a);
	client_free(b);
}

static void fill(struct client *a, int qos, unsigned *ret_n)
{
	static char text[1024];
	int rc = 0;

	memset(text, 'x', sizeof(text) - 1);
	for (*ret_n = 0; rc == 0; ++*ret_n) {
		cr_assert_lt(*ret_n, 100000);
		rc = client_publish(a, "t", text, qos, NULL);
	}
	--*ret_n;
	cr_assert_eq(rc, ERR_FULL);
}

Test(mq_hazard, hazard_07_a_stalled_broker_fills_the_bound_and_no_more)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, &(struct mq_config){ .max_pending = 200 });
	struct client *b = client_new(rig.l, "b", rig.broker.port, NULL);
	struct mq_stats s;
	unsigned n;

	b->filter = "t";
	client_up(a);
	client_up(b);
	for (int qos = 0; qos <= 1; qos++) {
		a->is_writable = false;
		b->n_messages = 0;
		a->acks = 0;
		cr_assert_eq(kill(rig.broker.pid, SIGSTOP), 0);
		fill(a, qos, &n);
		s = mq_stats(a->q);
		cr_assert_eq(s.pending, 200);
		cr_assert_gt(s.pending_bytes, 200 * 1000);
		cr_assert_eq(client_publish(a, "t", "x", qos, NULL), ERR_FULL);
		cr_assert_not(a->is_writable);
		cr_assert_eq(kill(rig.broker.pid, SIGCONT), 0);
		cr_assert(help_wait_flag(rig.l, &a->is_writable), "never writable again");
		if (qos == 1) { /* QoS 0 may be dropped by the broker when it is so far behind */
			client_wait_messages(b, n);
			client_wait_acks(a, n);
		}
		cr_assert_eq(client_publish(a, "t", "x", qos, NULL), 0);
	}
	cr_assert(a->downs == 0 && b->downs == 0);
	client_free(a);
	client_free(b);
}

Test(mq_hazard, hazard_07_the_bound_in_bytes_holds_too)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, &(struct mq_config){ .max_pending_bytes = 100000 });
	unsigned n;

	client_up(a);
	cr_assert_eq(kill(rig.broker.pid, SIGSTOP), 0);
	fill(a, 1, &n);
	cr_assert(n > 90 && n < 100, "%u", n);
	cr_assert_leq(mq_stats(a->q).pending_bytes, 100000);
	cr_assert_eq(kill(rig.broker.pid, SIGCONT), 0);
	cr_assert(help_wait_flag(rig.l, &a->is_writable));
	client_free(a);
}

Test(mq_hazard, hazard_07_who_was_refused_hears_of_room_after_a_reconnect)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, &(struct mq_config){ .max_pending = 10 });
	unsigned n;

	client_up(a);
	cr_assert_eq(kill(rig.broker.pid, SIGSTOP), 0);
	fill(a, 1, &n);
	help_broker_stop(&rig.broker, SIGKILL);
	client_wait_downs(a, 1);
	help_broker_start(&rig.broker, rig.broker.port, NULL);
	cr_assert(help_wait_flag(rig.l, &a->is_writable));
	client_free(a);
}

Test(mq_hazard, hazard_08_a_packet_id_still_in_use_is_not_used_again)
{
	struct server s;
	struct client *a;
	int mid;

	server_start(&s, 64, connack, sizeof(connack)); /* acknowledges no publish, ever */
	a = client_new(rig.l, "a", s.port, &(struct mq_config){ .keepalive_s = 60 });
	client_up(a);
	cr_assert_eq(client_publish(a, "t", "never acknowledged", 1, &mid), 0);
	for (int i = 0; i < 65534; i++) { /* ids are 1..65535: after these, the first comes round */
		int rc = client_publish(a, "t", "x", 0, NULL);

		if (rc == ERR_FULL) {
			a->is_writable = false;
			cr_assert(help_wait_flag(rig.l, &a->is_writable));
			rc = client_publish(a, "t", "x", 0, NULL);
		}
		cr_assert_eq(rc, 0);
	}
	cr_assert_eq(a->downs, 0);
	cr_assert_eq(client_publish(a, "t", "same id", 1, NULL), ERR_CLOSED);
	cr_assert_eq(a->downs, 0, "told inside mq_publish()");
	client_wait_downs(a, 1);
	cr_assert_not_null(strstr(a->why, "still in use"), "%s", a->why);
	client_free(a);
	server_stop(&s);
}

/* ---- 10, 11: reconnecting ---- */

Test(mq_hazard, hazard_10_retries_are_spread_and_capped)
{
	struct client *a = client_new(
		rig.l, "a", help_free_port(), &(struct mq_config){ .backoff_min_ms = 4, .backoff_max_ms = 64, .seed = 7 });
	uint64_t ceiling = 4, last = 0, greatest = 0, sum = 0;
	unsigned n_same = 0;

	mq_start(a->q);
	for (unsigned i = 1; i <= 40; i++) {
		client_wait_downs(a, i);
		cr_assert_leq(
			a->retry_in_ms, ceiling + 1, "attempt %u waits %llu ms", i, (unsigned long long)a->retry_in_ms);
		n_same += a->retry_in_ms == last;
		last = a->retry_in_ms;
		greatest = last > greatest ? last : greatest;
		sum += last;
		ceiling = ceiling < 64 ? ceiling * 2 : 64;
	}
	cr_assert_lt(n_same, 10, "no jitter");
	cr_assert_gt(greatest, 32, "no growth");
	cr_assert(
		sum > 40 * 12 && sum < 40 * 52, "mean of %llu ms is not that of full jitter", (unsigned long long)sum / 40);
	client_free(a);
}

Test(mq_hazard, hazard_10_two_boxes_do_not_retry_in_step)
{
	struct client *a =
		client_new(rig.l, "a", help_free_port(), &(struct mq_config){ .backoff_min_ms = 1000, .seed = 1 });
	struct client *b =
		client_new(rig.l, "b", help_free_port(), &(struct mq_config){ .backoff_min_ms = 1000, .seed = 2 });

	mq_start(a->q);
	mq_start(b->q);
	client_wait_downs(a, 1);
	client_wait_downs(b, 1);
	cr_assert_neq(a->retry_in_ms, b->retry_in_ms);
	client_free(a);
	client_free(b);
}

static void count_tick(void *ctx)
{
	++*(unsigned *)ctx;
}

Test(mq_hazard, hazard_11_a_black_hole_does_not_stop_the_loop)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct loop_timer *timer;
	struct server s;
	struct client *c;
	unsigned ticks = 0;
	uint64_t begin_ms;

	/* A listener whose backlog is full drops what comes in: connect() hangs. */
	server_start(&s, 0, NULL, 0);
	a.sin_port = htons((uint16_t)s.port);
	for (int i = 0; i < 4; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		cr_assert(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS);
	}
	cr_assert_eq(loop_timer_new(rig.l, count_tick, &ticks, &timer), 0);
	c = client_new(rig.l, "a", s.port, &(struct mq_config){ .connect_timeout_ms = 300 });
	begin_ms = clock_ms();
	mq_start(c->q);
	while (c->downs == 0) {
		loop_timer_at(timer, clock_ms() + 10);
		cr_assert_eq(loop_turn(rig.l, 1000), 1);
		cr_assert_lt(clock_ms() - begin_ms, 5000);
	}
	cr_assert_geq(clock_ms() - begin_ms, 290);
	cr_assert_gt(ticks, 10, "the loop stood still: %u ticks", ticks);
	cr_assert_not_null(strstr(c->why, "no answer"), "%s", c->why);
	loop_timer_free(timer);
	client_free(c);
	server_stop(&s);
}

/* ---- 12: a dead peer ---- */

Test(mq_hazard, hazard_12_a_peer_that_stops_answering_pings_is_given_up)
{
	static const char short_keepalive[] = { 0x20, 6, 0, 0, 3, 0x13, 0, 1 }; /* accepted; keep alive: 1 s */
	struct server s;
	struct client *a;

	server_start(&s, 64, short_keepalive, sizeof(short_keepalive));
	s.pongs = 2;
	a = client_new(rig.l, "a", s.port, NULL);
	client_up(a);
	client_wait_downs(a, 1);
	cr_assert_eq(s.n_pings, 3);
	client_free(a);
	server_stop(&s);
}

/* ---- 13: goodbye ---- */

Test(mq_hazard, hazard_13_a_close_loses_nothing_and_fires_no_will)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL), *b = client_new(rig.l, "b", rig.broker.port, NULL);

	b->filter = "#";
	client_up(b);
	a->has_will = true;
	a->filter = "t"; /* it also has its own messages coming in while it leaves */
	client_up(a);
	for (int i = 0; i < 200; i++)
		cr_assert_eq(client_publish(a, "t", "last words", 1, NULL), 0);
	mq_close(a->q, HELP_DEADLINE_MS, client_done);
	cr_assert_eq(client_publish(a, "t", "too late", 1, NULL), ERR_CLOSED);
	cr_assert(help_wait_flag(rig.l, &a->is_done));
	cr_assert_eq(a->acks, 200);
	cr_assert(a->n_messages == 0 && a->downs == 0);
	client_free(a);
	client_wait_messages(b, 200);
	cr_assert_eq(client_publish(b, "end", "end", 1, NULL), 0);
	client_wait_messages(b, 201);
	help_idle(rig.l, 50);
	for (unsigned i = 0; i < b->n_messages; i++)
		cr_assert_null(strstr(b->text[i], "conn"), "the will was sent");
	cr_assert_eq(b->n_messages, 201);
	client_free(b);
}

Test(mq_hazard, hazard_13_a_close_does_not_wait_for_ever)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL);
	uint64_t begin_ms;

	client_up(a);
	cr_assert_eq(kill(rig.broker.pid, SIGSTOP), 0);
	cr_assert_eq(client_publish(a, "t", "x", 1, NULL), 0);
	begin_ms = clock_ms();
	mq_close(a->q, 200, client_done);
	cr_assert(help_wait_flag(rig.l, &a->is_done));
	cr_assert(clock_ms() - begin_ms >= 200 && clock_ms() - begin_ms < 3000);
	client_free(a);
}

/* ---- 14, 15: properties ---- */

Test(mq_hazard, hazard_14_empty_properties_are_not_sent_at_all)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL);

	a->filter = "t";
	client_up(a);
	for (int qos = 0; qos <= 1; qos++)
		cr_assert_eq(mq_publish(a->q,
				     &(struct mq_pub){ .topic = SPAN("t"),
					     .payload = SPAN("x"),
					     .qos = qos,
					     .content_type = SPAN(""),
					     .correlation = SPAN(""),
					     .response_topic = SPAN("") },
				     NULL),
			0);
	client_wait_messages(a, 2);
	cr_assert(a->last.content_type.n == 0 && a->last.correlation.n == 0 && a->last.response_topic.n == 0);
	client_free(a);
}

Test(mq_hazard, hazard_15_every_property_of_a_resent_shape_arrives)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL);
	struct mq_pub pub = { .topic = SPAN("t"),
		.payload = SPAN("x"),
		.qos = 1,
		.content_type = SPAN("application/cbor"),
		.correlation = SPAN("c"),
		.response_topic = SPAN("r"),
		.expiry_s = 9 };

	a->filter = "t";
	client_up(a);
	cr_assert_eq(kill(rig.broker.pid, SIGSTOP), 0); /* past the window the library keeps its own copy and sends that */
	for (int i = 0; i < 60; i++)
		cr_assert_eq(mq_publish(a->q, &pub, NULL), 0);
	cr_assert_eq(kill(rig.broker.pid, SIGCONT), 0);
	client_wait_messages(a, 60);
	cr_assert(span_is(a->last.content_type, "application/cbor") && span_is(a->last.correlation, "c") &&
		  span_is(a->last.response_topic, "r"));
	client_free(a);
}

/* ---- 18: the will ---- */

Test(mq_hazard, hazard_18_each_connection_has_a_will_of_its_own)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL), *b = client_new(rig.l, "b", rig.broker.port, NULL);
	int mine[4], fds[8];
	char want[32];

	a->has_will = true;
	client_up(a);
	cr_assert_gt(client_sockets(rig.broker.port, mine, 4), 0);
	b->filter = "will/a";
	client_up(b);
	for (unsigned i = 1; i <= 3; i++) {
		cr_assert_eq(a->conn, i);
		cr_assert_eq(shutdown(mine[0], SHUT_RDWR), 0);
		client_wait_messages(b, i);
		(void)snprintf(want, sizeof(want), "conn %u", i);
		cr_assert_str_eq(b->text[i - 1], want);
		client_wait_ups(a, i + 1);
		/* the lower numbers are free again and taken anew */
		cr_assert_gt(client_sockets(rig.broker.port, fds, 8), 0);
		mine[0] = fds[0];
	}
	client_free(a);
	client_free(b);
}

/* ---- 21: latency ---- */

Test(mq_hazard, hazard_21_nagle_is_off)
{
	struct client *a = client_new(rig.l, "a", rig.broker.port, NULL);
	socklen_t len = sizeof(int);
	int fds[4], on = 0;

	client_up(a);
	cr_assert_gt(client_sockets(rig.broker.port, fds, 4), 0);
	cr_assert_eq(getsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	cr_assert_neq(on, 0);
	client_free(a);
}
