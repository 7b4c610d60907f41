/* The link over TLS, against a real broker with a certificate made for the test. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "unit/os_mq_help.h"

static struct loop *l;
static struct help_broker broker;
static char *dir, cert[256], key[256], other_cert[256], other_key[256], broker_lines[1024];

/* A certificate for broker.test, its own authority. */
static void make_certificate(const char *openssl, const char *cert_file, const char *key_file)
{
	int status, null = dup(0);
	pid_t pid;

	cr_assert_eq(child_spawn(&(struct child_spec){ .file = openssl,
					 .argv = (const char *const[]){ "openssl", "req", "-x509", "-newkey", "ec",
						 "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
						 "/CN=broker.test", "-addext", "subjectAltName=DNS:broker.test", "-keyout",
						 key_file, "-out", cert_file, NULL },
					 .fd3 = -1,
					 .out = -1,
					 .err = null,
					 .die_with_parent = true },
			     &pid),
		0);
	(void)close(null);
	cr_assert(waitpid(pid, &status, 0) == pid && status == 0, "openssl could not make a certificate");
}

static void with_tls_broker(void)
{
	char *openssl = child_find("openssl", "/usr/bin");

	l = help_loop();
	if (openssl == NULL)
		cr_skip_test("openssl is not installed");
	dir = help_dir();
	(void)snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
	(void)snprintf(key, sizeof(key), "%s/key.pem", dir);
	(void)snprintf(other_cert, sizeof(other_cert), "%s/other-cert.pem", dir);
	(void)snprintf(other_key, sizeof(other_key), "%s/other-key.pem", dir);
	make_certificate(openssl, cert, key);
	make_certificate(openssl, other_cert, other_key);
	free(openssl);
	(void)snprintf(broker_lines, sizeof(broker_lines), "cafile %s\ncertfile %s\nkeyfile %s", cert, cert, key);
	help_broker_start(&broker, help_free_port(), broker_lines);
}

static void without(void)
{
	if (broker.pid > 0)
		help_broker_stop(&broker, SIGKILL);
	(void)unlink(cert);
	(void)unlink(key);
	(void)unlink(other_cert);
	(void)unlink(other_key);
	(void)rmdir(dir);
	free(dir);
	loop_free(l);
}

TestSuite(mq_tls, .init = with_tls_broker, .fini = without, .timeout = 60);

#define N_CLIENTS 8

Test(mq_tls, hazard_01_all_clients_come_back_after_the_broker_was_killed)
{
	struct client *c[N_CLIENTS];
	char id[16];

	for (unsigned i = 0; i < N_CLIENTS; i++) {
		(void)snprintf(id, sizeof(id), "box-%u", i);
		c[i] = client_new(
			l, id, broker.port, &(struct mq_config){ .host = "broker.test", .cafile = cert, .seed = i + 1 });
		c[i]->filter = "t";
		client_up(c[i]);
	}
	for (unsigned round = 1; round <= 2; round++) {
		help_broker_stop(&broker, SIGKILL);
		for (unsigned i = 0; i < N_CLIENTS; i++)
			client_wait_downs(c[i], c[i]->downs + 1);
		help_broker_start(&broker, broker.port, broker_lines);
		for (unsigned i = 0; i < N_CLIENTS; i++)
			client_wait_ups(c[i], round + 1);
		cr_assert_eq(client_publish(c[0], "t", "back", 1, NULL), 0);
		for (unsigned i = 0; i < N_CLIENTS; i++)
			client_wait_messages(c[i], round);
	}
	for (unsigned i = 0; i < N_CLIENTS; i++)
		client_free(c[i]);
}

Test(mq_tls, a_close_waits_and_fires_no_will)
{
	struct client *a = client_new(l, "a", broker.port, &(struct mq_config){ .host = "broker.test", .cafile = cert });
	struct client *b = client_new(l, "b", broker.port, &(struct mq_config){ .host = "broker.test", .cafile = cert });

	b->filter = "#";
	client_up(b);
	a->has_will = true;
	client_up(a);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(client_publish(a, "t", "last words", 1, NULL), 0);
	mq_close(a->q, HELP_DEADLINE_MS, client_done);
	cr_assert(help_wait_flag(l, &a->is_done));
	cr_assert_eq(a->acks, 50);
	client_free(a);
	client_wait_messages(b, 50);
	help_idle(l, 100);
	cr_assert_eq(b->n_messages, 50, "\"%s\" came after", b->text[50]);
	client_free(b);
}

static void refused(const struct mq_config *config, const char *what)
{
	struct client *a = client_new(l, "a", broker.port, config);

	mq_start(a->q);
	client_wait_downs(a, 2);
	cr_assert_eq(a->ups, 0, "%s was accepted", what);
	cr_assert_gt(strlen(a->why), 0);
	client_free(a);
}

Test(mq_tls, hazard_22_only_the_right_name_and_authority_are_trusted)
{
	refused(&(struct mq_config){ .host = "127.0.0.1", .cafile = cert, .connect_timeout_ms = 500 }, "another name");
	refused(&(struct mq_config){ .host = "broker.test", .cafile = other_cert, .connect_timeout_ms = 500 },
		"another authority");
	refused(&(struct mq_config){ .host = "broker.test", .cafile = "/nowhere.pem", .connect_timeout_ms = 500 },
		"no authority");
	refused(&(struct mq_config){ .host = "broker.test", .connect_timeout_ms = 500 }, "no TLS at all");
}

static uint64_t cpu_ms(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

Test(mq_tls, a_handshake_that_hangs_costs_no_time)
{
	struct client *a = client_new(l, "a", broker.port,
		&(struct mq_config){ .host = "broker.test", .cafile = cert, .connect_timeout_ms = 1000 });
	uint64_t begin_ms;

	cr_assert_eq(kill(broker.pid, SIGSTOP), 0);
	begin_ms = cpu_ms();
	mq_start(a->q);
	client_wait_downs(a, 1);
	cr_assert_lt(cpu_ms() - begin_ms, 200, "%llu ms of CPU time", (unsigned long long)(cpu_ms() - begin_ms));
	client_free(a);
}
