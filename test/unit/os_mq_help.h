/* os_mq_help.h - an MQTT client that notes all it is told. */
#ifndef OS_MQ_HELP_H
#define OS_MQ_HELP_H

#include "mq.h"
#include "unit/os_help.h"

#define CLIENT_MESSAGES 4096
#define CLIENT_TEXT 64

struct client {
	struct loop *l;
	struct mq *q;
	char id[32];
	const char *filter; /* subscribed to at QoS 1 in each `up` */
	bool has_will;      /* on topic "will/<id>", payload: the connection number */

	bool is_up, is_subscribed, is_done, is_writable;
	uint64_t conn, retry_in_ms;
	unsigned ups, downs, acks, n_messages, sub_reason;
	int last_ack_mid, last_ack_reason;
	char why[200], will_topic[64], will_text[32];
	char text[CLIENT_MESSAGES][CLIENT_TEXT]; /* payloads, cut */
	struct mq_msg last;                      /* its spans point into the next four */
	char last_topic[256], last_response[256], last_content[256], last_correlation[256];
	void (*on_message)(struct client *c);
};

/* A loop and a broker of the test that runs: .init and .fini of its suite. */
extern struct mq_rig {
	struct loop *l;
	struct help_broker broker;
} rig;
void mq_rig_init(void);
void mq_rig_fini(void);

/* For 127.0.0.1:port; base may be NULL, its set fields win.  Not started. */
struct client *client_new(struct loop *l, const char *id, int port, const struct mq_config *base);
void client_free(struct client *c);
/* Starts it and waits until it is up, and subscribed when it has a filter. */
void client_up(struct client *c);
/* Waits for the n-th message since the start. */
void client_wait_messages(struct client *c, unsigned n);
void client_wait_downs(struct client *c, unsigned n);
void client_wait_ups(struct client *c, unsigned n);
void client_wait_acks(struct client *c, unsigned n);
int client_publish(struct client *c, const char *topic, const char *text, int qos, int *ret_mid);
void client_done(void *ctx); /* for mq_close(): sets is_done */
/* The descriptors of this process that are connected to 127.0.0.1:port; how many. */
size_t client_sockets(int port, int *fds, size_t max);

#endif
