/* The hub's MQTT side over a broker that this test plays: the functions of mq.h are its own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "hub.h"
#include "mq.h"
#include "mqtt.h"
#include "settings.h"

#define MAX_SENT 256

/* ---- the broker ---- */

static struct {
	const struct mq_callbacks *cb;
	void *ctx;
	bool is_up;
	int room; /* publishes it takes before it says ERR_FULL */
	int last_mid, n_sent;
	struct {
		char topic[TOPIC_MAX], payload[512];
		size_t n_payload;
		int mid, qos;
		bool retain;
	} sent[MAX_SENT];
} broker;

int mq_new(struct loop *l, const struct mq_config *config, const struct mq_callbacks *cb, void *ctx, struct mq **ret)
{
	(void)l, (void)config;
	broker.cb = cb, broker.ctx = ctx;
	*ret = NULL;
	return 0;
}

void mq_start(struct mq *q)
{
	(void)q;
}

int mq_publish(struct mq *q, const struct mq_pub *pub, int *ret_mid)
{
	(void)q;
	if (!broker.is_up)
		return ERR_CLOSED;
	if (broker.room == 0)
		return ERR_FULL;
	broker.room--;
	cr_assert_lt(broker.n_sent, MAX_SENT);
	cr_assert_eq(span_copy(pub->topic, broker.sent[broker.n_sent].topic, TOPIC_MAX), 0);
	broker.sent[broker.n_sent].n_payload = pub->payload.n;
	memcpy(broker.sent[broker.n_sent].payload, pub->payload.p, pub->payload.n < 511 ? pub->payload.n : 511);
	broker.sent[broker.n_sent].qos = pub->qos;
	broker.sent[broker.n_sent].retain = pub->retain;
	broker.sent[broker.n_sent].mid = pub->qos > 0 ? ++broker.last_mid : 0;
	if (ret_mid != NULL)
		*ret_mid = broker.sent[broker.n_sent].mid;
	broker.n_sent++;
	return 0;
}

int mq_subscribe(struct mq *q, const char *filter, int qos, int *ret_mid)
{
	(void)q, (void)filter, (void)qos, (void)ret_mid;
	return 0;
}

bool mq_is_up(const struct mq *q)
{
	(void)q;
	return broker.is_up;
}

struct mq_stats mq_stats(const struct mq *q)
{
	(void)q;
	return (struct mq_stats){ 0 };
}

void mq_close(struct mq *q, uint64_t timeout_ms, void (*done)(void *ctx))
{
	(void)q, (void)timeout_ms;
	done(broker.ctx);
}

struct mq *mq_free(struct mq *q)
{
	(void)q;
	return NULL;
}

/* ---- the hub around it ---- */

static struct loop *loop;
static struct settings settings;
static struct mqtt *mqtt;
static enum hub_event_type events[64];
static char event_agent[PROTO_MAX_ID + 1];
static int n_events;

static void on_event(void *ctx, const struct hub_event *ev)
{
	(void)ctx;
	cr_assert_lt(n_events, 64);
	events[n_events++] = ev->type;
	cr_assert_eq(span_copy(ev->agent, event_agent, sizeof(event_agent)), 0);
}

static uint64_t fleet(void *ctx)
{
	(void)ctx;
	return 3;
}

static void grant(unsigned n, int reason)
{
	for (unsigned i = 0; i < n; i++)
		broker.cb->subscribed(broker.ctx, (int)i, reason);
}

static void connect_now(int room)
{
	broker.is_up = true;
	broker.room = room;
	broker.n_sent = 0;
	broker.cb->up(broker.ctx, 1);
	grant(9, 0);
}

static void lose(void)
{
	broker.is_up = false;
	broker.cb->down(broker.ctx, "test", 0);
}

static void set_up(void)
{
	static const struct mqtt_handlers handlers = { .event = on_event, .fleet = fleet };
	struct config_error config_err;
	char err[256];

	cr_assert_eq(config_load(&settings_schema, NULL, NULL, 0, &settings, &config_err), 0);
	cr_assert_eq(loop_new(NULL, NULL, &loop), 0);
	cr_assert_eq(mqtt_new(loop, &settings, 7, 1, &handlers, NULL, err, sizeof(err), &mqtt), 0, "%s", err);
	mqtt_start(mqtt);
}

static void tear_down(void)
{
	mqtt_free(mqtt);
	loop_free(loop);
	config_free(&settings_schema, &settings);
}

TestSuite(mqtt, .init = set_up, .fini = tear_down);

static void answer(unsigned type, const char *job)
{
	const struct hub_reply reply = { .topic = SPAN("shoal/v1/clients/alice/r") };
	const struct answer a = { .type = type, .job = span_of(job), .text = SPAN("t") };

	mqtt_answer(mqtt, &reply, true, &a);
}

static bool says(int i, const char *text)
{
	return i < broker.n_sent && strstr(broker.sent[i].payload, text) != NULL;
}

Test(mqtt, is_up_when_every_subscription_is_granted)
{
	broker.is_up = true;
	broker.room = 100;
	broker.cb->up(broker.ctx, 1);
	grant(8, 0);
	cr_assert(!mqtt_is_up(mqtt) && n_events == 0);
	grant(1, 0);
	cr_assert(mqtt_is_up(mqtt) && n_events == 1 && events[0] == HUB_EV_LINK_UP);
	cr_assert_str_eq(broker.sent[0].topic, "shoal/v1/hub/status");
	cr_assert(broker.sent[0].retain && broker.sent[0].qos == 1);
	lose();
	cr_assert(!mqtt_is_up(mqtt) && n_events == 2 && events[1] == HUB_EV_LINK_DOWN);
}

Test(mqtt, a_refused_subscription_leaves_it_down)
{
	broker.is_up = true;
	broker.room = 100;
	broker.cb->up(broker.ctx, 1);
	grant(8, 0);
	grant(1, 0x87);
	cr_assert(!mqtt_is_up(mqtt) && n_events == 0);
}

Test(mqtt, answers_wait_for_room_and_keep_their_order)
{
	connect_now(2); /* one for hub/status */
	answer(ANSWER_ACCEPTED, "j1");
	answer(ANSWER_ACCEPTED, "j2");
	answer(ANSWER_TOKENS, "j2");
	answer(ANSWER_DONE, "j2");
	cr_assert_eq(broker.n_sent, 2);
	cr_assert_eq(mqtt_stats(mqtt).tokens_dropped, 1);
	broker.room = 100;
	answer(ANSWER_ACCEPTED, "j3");
	cr_assert_eq(broker.n_sent, 5);
	cr_assert(says(1, "j1") && says(2, "j2") && says(3, "done") && says(4, "j3"));
	answer(ANSWER_TOKENS, "j3");
	cr_assert(says(5, "tokens") && broker.sent[5].qos == 0);
}

Test(mqtt, room_again_sends_what_waits)
{
	connect_now(1);
	answer(ANSWER_DONE, "j1");
	broker.room = 100;
	broker.cb->writable(broker.ctx);
	cr_assert(says(1, "j1"));
}

Test(mqtt, an_answer_without_acknowledgement_is_sent_again)
{
	connect_now(100);
	answer(ANSWER_DONE, "j1");
	answer(ANSWER_DONE, "j2");
	answer(ANSWER_DONE, "j3");
	broker.cb->ack(broker.ctx, broker.sent[2].mid, 0);
	lose();
	answer(ANSWER_DONE, "j4");
	connect_now(100);
	cr_assert_eq(broker.n_sent, 4);
	cr_assert(says(1, "j1") && says(2, "j3") && says(3, "j4"));
	for (int i = 1; i < 4; i++)
		broker.cb->ack(broker.ctx, broker.sent[i].mid, 0);
	cr_assert_eq(mqtt_stats(mqtt).queued, 0);
}

/* The core knows that the link was down and dispatches anew, perhaps to another agent. */
Test(mqtt, what_was_meant_for_agents_goes_with_the_link)
{
	struct job_msg job = { .job = SPAN("j1"), .attempt = 1, .epoch = 1, .model = SPAN("m"), .prompt = SPAN("p") };

	connect_now(1);
	mqtt_dispatch(mqtt, SPAN("box-1"), &job);
	lose();
	mqtt_dispatch(mqtt, SPAN("box-1"), &job);
	connect_now(100);
	cr_assert_eq(broker.n_sent, 1);
	mqtt_dispatch(mqtt, SPAN("box-1"), &job);
	cr_assert_str_eq(broker.sent[1].topic, "shoal/v1/agents/box-1/jobs");
}

Test(mqtt, an_agent_that_nobody_listens_for_is_told_to_the_core)
{
	struct job_msg job = { .job = SPAN("j1"), .attempt = 1, .epoch = 1, .model = SPAN("m"), .prompt = SPAN("p") };

	connect_now(100);
	mqtt_dispatch(mqtt, SPAN("box-1"), &job);
	mqtt_dispatch(mqtt, SPAN("box-2"), &job);
	broker.cb->ack(broker.ctx, broker.sent[1].mid, 0);
	cr_assert_eq(n_events, 1);
	broker.cb->ack(broker.ctx, broker.sent[2].mid, 0x10);
	cr_assert(n_events == 2 && events[1] == HUB_EV_NO_SUBSCRIBER);
	cr_assert_str_eq(event_agent, "box-2");
	answer(ANSWER_DONE, "j1");
	broker.cb->ack(broker.ctx, broker.sent[3].mid, 0x10);
	cr_assert(n_events == 3 && events[2] == HUB_EV_TOLD, "a client that is not there is no agent");
}

Test(mqtt, a_late_will_of_our_own_is_corrected)
{
	struct mq_pub will;
	struct mq_msg msg = { .topic = SPAN("shoal/v1/hub/status") };

	cr_assert(broker.cb->will(broker.ctx, 1, &will));
	cr_assert(will.retain && span_is(will.topic, "shoal/v1/hub/status"));
	connect_now(100);
	msg.payload = span_mem(broker.sent[0].payload, broker.sent[0].n_payload);
	broker.cb->message(broker.ctx, &msg);
	cr_assert_eq(broker.n_sent, 1, "the truth needs no correction");
	msg.payload = will.payload;
	broker.cb->message(broker.ctx, &msg);
	cr_assert_eq(broker.n_sent, 2);
	cr_assert(broker.sent[1].n_payload == broker.sent[0].n_payload &&
		  memcmp(broker.sent[1].payload, broker.sent[0].payload, broker.sent[0].n_payload) == 0);
}

Test(mqtt, an_answer_longer_than_a_message_is_an_error_or_left_to_the_frames)
{
	static char text[1 << 20];
	const struct hub_reply reply = { .topic = SPAN("shoal/v1/clients/alice/r") };
	struct answer a = {
		.type = ANSWER_DONE, .job = SPAN("j1"), .text = { text, sizeof(text) }, .finish_reason = FINISH_STOP
	};

	memset(text, 'x', sizeof(text));
	msg_set(&a, ANSWER_TEXT);
	connect_now(100);
	mqtt_answer(mqtt, &reply, false, &a);
	cr_assert(says(1, "TOO_LARGE") && says(1, "j1"), "%s", broker.sent[1].payload);
	mqtt_answer(mqtt, &reply, true, &a);
	cr_assert(says(2, "\"done\"") && says(2, "\"stop\"") && broker.sent[2].n_payload < 512);
}

Test(mqtt, unreadable_messages_are_counted_and_answered_where_that_can_be)
{
	struct mq_msg bad = { .topic = SPAN("shoal/v1/agents/box-1/out"), .payload = SPAN("\xff") };
	struct mq_msg job = { .topic = SPAN("shoal/v1/clients/alice/jobs"), .payload = SPAN("{") };

	connect_now(100);
	broker.cb->message(broker.ctx, &bad);
	broker.cb->message(broker.ctx, &job);
	cr_assert_eq(n_events, 1);
	cr_assert_eq(mqtt_stats(mqtt).bad[TOPIC_AGENT_OUT], 1);
	cr_assert_eq(mqtt_stats(mqtt).bad[TOPIC_CLIENT_JOBS], 1);
	cr_assert_eq(broker.n_sent, 2);
	cr_assert_str_eq(broker.sent[1].topic, "shoal/v1/clients/alice/jobs/rejected");
	cr_assert(says(1, "BAD_REQUEST"));
}

Test(mqtt, only_users_of_admin_users_administer)
{
	static char *users[] = { "ops", NULL };
	struct mq_msg msg = { .topic = SPAN("shoal/v1/clients/alice/admin"),
		.payload = SPAN("{\"verb\":\"drain\",\"agent\":\"box-1\"}") };

	connect_now(100);
	broker.cb->message(broker.ctx, &msg);
	cr_assert_eq(n_events, 1, "by default nobody may");
	cr_assert_str_eq(broker.sent[1].topic, "shoal/v1/clients/alice/admin/answer");
	cr_assert(says(1, "FORBIDDEN"));
	settings.admin.users = users, settings.admin.n_users = 1;
	broker.cb->message(broker.ctx, &msg);
	cr_assert(n_events == 1 && says(2, "FORBIDDEN"));
	msg.topic = SPAN("shoal/v1/clients/ops/admin");
	broker.cb->message(broker.ctx, &msg);
	cr_assert(n_events == 2 && events[1] == HUB_EV_ADMIN);
	settings.admin.users = NULL, settings.admin.n_users = 0;
}

Test(mqtt, what_a_forgotten_agent_retained_is_cleared)
{
	connect_now(100);
	mqtt_forget(mqtt, SPAN("box-1"));
	cr_assert_str_eq(broker.sent[1].topic, "shoal/v1/agents/box-1/registration");
	cr_assert_str_eq(broker.sent[2].topic, "shoal/v1/agents/box-1/status");
	for (int i = 1; i < 3; i++)
		cr_assert(broker.sent[i].retain && broker.sent[i].qos == 1 && broker.sent[i].n_payload == 0);
}
