/* The system's resolver is replaced here, for the whole test program, by one that knows a
 * few names of its own: what a box's own would say cannot be relied on. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "resolve.h"
#include "unit/os_mq_help.h"

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static int gate[2] = { -1, -1 }; /* "slow.test" waits for a byte here */

static int system_lookup(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	lookup *real;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(name, service, hints, ret);
}

/* Both of two addresses, in their order. */
static int two(const char *first, const char *second, const struct addrinfo *hints, struct addrinfo **ret)
{
	struct addrinfo *rest = NULL;
	int rc = system_lookup(first, NULL, hints, ret);

	if (rc == 0)
		rc = system_lookup(second, NULL, hints, &rest);
	if (rc == 0)
		(*ret)->ai_next = rest;
	return rc;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	char c;

	if (strcmp(name, "two.test") == 0 && (hints->ai_flags & AI_NUMERICHOST) == 0)
		return two("127.0.0.2", "127.0.0.1", hints, ret);
	if (strcmp(name, "slow.test") == 0 && (hints->ai_flags & AI_NUMERICHOST) == 0) {
		(void)!read(gate[0], &c, 1);
		return system_lookup("127.0.0.1", service, hints, ret);
	}
	if (strcmp(name, "broker.test") == 0)
		return system_lookup("127.0.0.1", service, hints, ret);
	if (strstr(name, ".test") != NULL)
		return EAI_NONAME;
	return system_lookup(name, service, hints, ret);
}

struct asked {
	struct resolve *r;
	struct resolve_answer answer;
	bool is_answered;
};

static void on_answer(void *ctx, const struct resolve_answer *answer)
{
	struct asked *a = ctx;

	a->answer = *answer;
	a->is_answered = true;
	a->r = resolve_free(a->r);
}

TestSuite(resolve, .timeout = 30);

Test(resolve, addresses_come_in_the_order_to_try_them)
{
	struct loop *l = help_loop();
	struct asked a = { .r = NULL };

	cr_assert_eq(resolve_new(l, "two.test", on_answer, &a, &a.r), 0);
	cr_assert_not(a.is_answered, "answered inside the call");
	cr_assert(help_wait_flag(l, &a.is_answered));
	cr_assert_eq(a.answer.n, 2);
	cr_assert_str_eq(a.answer.address[0], "127.0.0.2");
	cr_assert_str_eq(a.answer.address[1], "127.0.0.1");
	loop_free(l);
}

Test(resolve, an_address_is_its_own_answer)
{
	static const char *const addresses[] = { "127.0.0.1", "::1" };
	struct loop *l = help_loop();

	for (size_t i = 0; i < 2; i++) {
		struct asked a = { .r = NULL };

		cr_assert_eq(resolve_new(l, addresses[i], on_answer, &a, &a.r), 0);
		cr_assert(help_wait_flag(l, &a.is_answered));
		cr_assert_eq(a.answer.n, 1);
		cr_assert_str_eq(a.answer.address[0], addresses[i]);
	}
	loop_free(l);
}

Test(resolve, an_unknown_name_is_an_error_with_its_reason)
{
	struct loop *l = help_loop();
	struct asked a = { .r = NULL };

	cr_assert_eq(resolve_new(l, "none.test", on_answer, &a, &a.r), 0);
	cr_assert(help_wait_flag(l, &a.is_answered));
	cr_assert_eq(a.answer.n, 0);
	cr_assert_str_eq(a.answer.error, gai_strerror(EAI_NONAME));
	loop_free(l);
}

Test(resolve, a_slow_lookup_stops_nobody_and_can_be_given_up)
{
	struct loop *l = help_loop();
	struct asked slow = { .r = NULL }, given_up = { .r = NULL }, quick = { .r = NULL };

	cr_assert_eq(pipe(gate), 0);
	cr_assert_eq(resolve_new(l, "slow.test", on_answer, &slow, &slow.r), 0);
	cr_assert_eq(resolve_new(l, "slow.test", on_answer, &given_up, &given_up.r), 0);
	cr_assert_eq(resolve_new(l, "two.test", on_answer, &quick, &quick.r), 0);
	cr_assert(help_wait_flag(l, &quick.is_answered));
	cr_assert_not(slow.is_answered);
	given_up.r = resolve_free(given_up.r);
	cr_assert_eq(write(gate[1], "xx", 2), 2);
	cr_assert(help_wait_flag(l, &slow.is_answered));
	cr_assert_str_eq(slow.answer.address[0], "127.0.0.1");
	help_idle(l, 20);
	cr_assert_not(given_up.is_answered);
	loop_free(l);
}

Test(resolve, the_link_tries_the_next_address_at_once)
{
	struct loop *l = help_loop();
	struct help_broker broker;
	struct client *a;

	help_broker_start(&broker, help_free_port(), NULL); /* at 127.0.0.1 only */
	a = client_new(l, "a", broker.port, &(struct mq_config){ .host = "two.test", .backoff_min_ms = 60000 });
	client_up(a);
	cr_assert_eq(a->downs, 0, "%s", a->why);
	cr_assert_eq(a->conn, 2, "each connect has a number of its own");
	client_free(a);
	help_broker_stop(&broker, SIGKILL);
	loop_free(l);
}

Test(resolve, the_link_tries_the_next_address_when_one_does_not_answer)
{
	struct loop *l = help_loop();
	int port = help_free_port(), silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(0x7f000002)
	};
	struct help_broker broker;
	struct client *a;

	cr_assert_eq(bind(silent, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_assert_eq(listen(silent, 8), 0);
	help_broker_start(&broker, port, NULL);
	a = client_new(
		l, "a", port, &(struct mq_config){ .host = "two.test", .backoff_min_ms = 60000, .connect_timeout_ms = 100 });
	client_up(a);
	cr_assert(a->downs == 0 && a->conn == 2, "%s", a->why);
	client_free(a);
	help_broker_stop(&broker, SIGKILL);
	loop_free(l);
}

Test(resolve, the_link_may_go_while_its_name_is_looked_up)
{
	struct loop *l = help_loop();
	struct client *a = client_new(l, "a", help_free_port(), &(struct mq_config){ .host = "slow.test" });
	struct client *b = client_new(l, "b", help_free_port(), &(struct mq_config){ .host = "slow.test" });

	cr_assert_eq(pipe(gate), 0);
	mq_start(a->q);
	mq_start(b->q);
	help_idle(l, 20);
	client_free(a);
	mq_close(b->q, 1000, client_done);
	cr_assert(help_wait_flag(l, &b->is_done));
	client_free(b);
	cr_assert_eq(write(gate[1], "xx", 2), 2);
	help_idle(l, 20);
	loop_free(l);
}
