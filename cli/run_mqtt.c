/* run_mqtt.c - `shoal run` over the broker: subscribe to a topic of our own under
 * clients/<user>/, submit with it as Response Topic, read the answers.
 *
 * Token frames travel at QoS 0 and may be lost; the last message has the whole text.
 * So a frame is printed only at the next index, and what a gap held back comes at the
 * end.  The link or the hub may go away meanwhile: the job is sent again under the same
 * id, which never runs it twice, and its own seed makes a second run say the same. */
#include "run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "id.h"
#include "json.h"
#include "mq.h"
#include "topic.h"

#define CONNECT_MS 5000  /* to reach the broker at first */
#define LOST_MS 60000    /* to get the link back */
#define SILENCE_MS 10000 /* without a word from the hub the job is sent again */
#define SILENCES_MAX 6   /* then the hub is given up */
#define GOODBYE_MS 1000
#define ANSWER_MAX ((size_t)4 << 20)

struct mqtt_run {
	struct run *run;
	struct loop *loop;
	struct mq *mq;
	struct loop_timer *timer;
	uint64_t give_up_ms; /* while down; UINT64_MAX while up */
	uint64_t deadline_ms, next_send_ms;
	unsigned n_silences;
	int mid_subscribe, mid_submit;
	struct id id;
	struct topic reply, jobs, cancel;
	struct buf request;
	uint64_t next_index;
	bool has_gap, is_over, was_up;
	int rc;
	char why[128]; /* the last reason of a lost link */
};

static void closed(void *ctx)
{
	struct mqtt_run *m = ctx;

	loop_exit(m->loop, m->rc);
}

static void finish(struct mqtt_run *m, int rc)
{
	if (m->is_over)
		return;
	m->is_over = true;
	m->rc = rc;
	run_end_line(m->run);
	loop_timer_off(m->timer);
	mq_close(m->mq, GOODBYE_MS, closed);
}

static void publish(struct mqtt_run *m, const struct topic *topic, struct span payload, struct span reply, int *ret_mid)
{
	struct mq_pub pub = {
		.topic = span_of(topic->s),
		.payload = payload,
		.qos = 1,
		.content_type = SPAN("application/json"),
		.response_topic = reply,
	};

	/* Refused only while the link is down: on_up() and the timer send it again. */
	if (mq_publish(m->mq, &pub, ret_mid) < 0 && ret_mid != NULL)
		*ret_mid = -1;
}

static void cancel_job(struct mqtt_run *m)
{
	struct cancel cancel = { .id = span_of(m->id.s) };
	struct buf json = BUF_INIT(1024);

	if (json_encode(&cancel_type, &cancel, &json) == 0)
		publish(m, &m->cancel, buf_span(&json), SPAN_NONE, NULL);
	buf_fini(&json);
}

static void on_stop(void *ctx, int signo)
{
	struct mqtt_run *m = ctx;

	m->run->signo = signo;
	if (m->is_over) {
		loop_exit(m->loop, CLI_CANCELLED);
		return;
	}
	cancel_job(m);
	finish(m, CLI_CANCELLED);
}

static void arm(struct mqtt_run *m)
{
	uint64_t at = m->give_up_ms < m->deadline_ms ? m->give_up_ms : m->deadline_ms;

	loop_timer_at(m->timer, at < m->next_send_ms ? at : m->next_send_ms);
}

static void submit(struct mqtt_run *m)
{
	publish(m, &m->jobs, buf_span(&m->request), span_of(m->reply.s), &m->mid_submit);
	m->next_send_ms = clock_ms() + SILENCE_MS;
	arm(m);
}

static void on_timer(void *ctx)
{
	struct mqtt_run *m = ctx;
	uint64_t now = clock_ms();

	if (now >= m->deadline_ms) {
		cancel_job(m);
		finish(m, cli_fail(code_info(CODE_DEADLINE_EXCEEDED)->exit, "no answer in time"));
	} else if (now >= m->give_up_ms) {
		finish(m, cli_fail(CLI_UNAVAILABLE, "%s the broker at %s:%d: %s", m->was_up ? "lost" : "cannot reach",
				  m->run->host, m->run->port, m->why));
	} else if (now >= m->next_send_ms && ++m->n_silences > SILENCES_MAX) {
		finish(m, cli_fail(CLI_UNAVAILABLE, "the hub does not answer, though the broker at %s:%d does", m->run->host,
				  m->run->port));
	} else if (now >= m->next_send_ms) {
		submit(m);
	} else {
		arm(m);
	}
}

static void on_up(void *ctx, uint64_t conn)
{
	struct mqtt_run *m = ctx;

	(void)conn;
	m->was_up = true;
	m->give_up_ms = UINT64_MAX;
	arm(m);
	if (mq_subscribe(m->mq, m->reply.s, 1, &m->mid_subscribe) < 0)
		finish(m, cli_fail(CLI_INTERNAL, "cannot subscribe to %s", m->reply.s));
}

static void on_down(void *ctx, const char *why, uint64_t retry_ms)
{
	struct mqtt_run *m = ctx;

	(void)retry_ms;
	snprintf(m->why, sizeof(m->why), "%s", why);
	if (m->give_up_ms == UINT64_MAX)
		m->give_up_ms = clock_ms() + LOST_MS;
	m->next_send_ms = UINT64_MAX;
	arm(m);
}

static void on_subscribed(void *ctx, int mid, int reason)
{
	struct mqtt_run *m = ctx;

	if (m->is_over || mid != m->mid_subscribe)
		return;
	if (reason >= 0x80)
		finish(m, cli_fail(code_info(CODE_FORBIDDEN)->exit, "the broker does not let us read %s", m->reply.s));
	else
		submit(m);
}

static void on_ack(void *ctx, int mid, int reason)
{
	struct mqtt_run *m = ctx;

	if (m->is_over || mid != m->mid_submit)
		return;
	if (reason >= 0x80)
		finish(m, cli_fail(code_info(CODE_FORBIDDEN)->exit, "the broker does not let us write to %s", m->jobs.s));
	else if (reason == 0x10 && m->n_silences == 0)
		finish(m, cli_fail(CLI_UNAVAILABLE, "no hub listens at the broker %s:%d", m->run->host, m->run->port));
}

static void on_tokens(struct mqtt_run *m, const struct answer *a)
{
	if (m->has_gap || a->index != m->next_index) {
		m->has_gap = m->has_gap || a->index > m->next_index;
		return;
	}
	run_text(m->run, a->text);
	m->next_index = a->index + a->n;
}

static void on_end(struct mqtt_run *m, const struct answer *a)
{
	if (a->text.n < m->run->n_printed) {
		finish(m, cli_fail(CLI_INTERNAL, "the whole answer is shorter than its parts"));
		return;
	}
	run_told(m->run, &a->receipt, a->usage.prompt_tokens, a->usage.cached_tokens);
	run_text(m->run, span_mem(a->text.p + m->run->n_printed, a->text.n - m->run->n_printed));
	finish(m, a->finish_reason == FINISH_CANCELLED ? CLI_CANCELLED : CLI_OK);
}

static void on_answer(struct mqtt_run *m, const struct answer *a, struct span document)
{
	m->n_silences = 0;
	m->next_send_ms = clock_ms() + SILENCE_MS;
	if (a->type == ANSWER_TOKENS) {
		on_tokens(m, a);
	} else if (a->type == ANSWER_DONE || a->type == ANSWER_ERROR) {
		if (m->run->is_json) {
			run_text(m->run, document);
			run_end_line(m->run);
		}
		if (a->type == ANSWER_ERROR)
			finish(m, run_refused(m->run, a->code, a->message, 0));
		else if (m->run->is_json)
			finish(m, CLI_OK);
		else
			on_end(m, a);
	}
	if (m->run->is_broken && !m->is_over) {
		cancel_job(m);
		finish(m, CLI_CANCELLED);
	}
	if (!m->is_over)
		arm(m);
}

static void on_message(void *ctx, const struct mq_msg *msg)
{
	struct mqtt_run *m = ctx;
	struct arena arena = { .cap = 65536 + msg->payload.n * 2 };
	struct answer answer = { 0 };

	if (m->is_over || !span_is(msg->topic, m->reply.s))
		return;
	arena.p = malloc(arena.cap);
	if (arena.p == NULL || json_decode(&answer_type, msg->payload, &arena, &answer, NULL) < 0)
		finish(m, cli_fail(CLI_INTERNAL, "the hub's answer is not a valid document"));
	else
		on_answer(m, &answer, msg->payload);
	free(arena.p);
}

/* Who asks: --user, else the login name if it can be a topic level. */
static struct span user_of(const struct run *r)
{
	struct span login = span_of(getenv("USER"));

	if (r->user != NULL)
		return span_of(r->user);
	return span_is_id(login) ? login : SPAN("cli");
}

static int make_topics(struct mqtt_run *m)
{
	struct span user = user_of(m->run);

	if (topic_make(TOPIC_DEFAULT_PREFIX, TOPIC_CLIENT_JOBS, user, &m->jobs) < 0 ||
		topic_make(TOPIC_DEFAULT_PREFIX, TOPIC_CLIENT_CANCEL, user, &m->cancel) < 0)
		return cli_fail(CLI_USAGE, "--user takes 1 to 64 of A-Z a-z 0-9 . _ -, not '%.*s'", SPAN_FMT(user));
	snprintf(m->reply.s, sizeof(m->reply.s), TOPIC_DEFAULT_PREFIX "/clients/%.*s/%s", SPAN_FMT(user), m->id.s);
	return CLI_OK;
}

/* The job's id is ours: whoever sends it twice means one job. */
static int make_request(struct mqtt_run *m, uint64_t seed)
{
	struct rng rng;
	int rc;

	rng_seed(&rng, seed);
	m->id = id_new(&rng);
	m->run->submit.id = span_of(m->id.s);
	rc = json_encode(&submit_type, &m->run->submit, &m->request);
	return rc < 0 ? cli_fail(CLI_INTERNAL, "cannot write the request: %s", err_text(rc)) : CLI_OK;
}

static int go(struct mqtt_run *m)
{
	static const struct mq_callbacks callbacks = {
		.up = on_up,
		.down = on_down,
		.message = on_message,
		.ack = on_ack,
		.subscribed = on_subscribed,
	};
	struct mq_config config = {
		.host = m->run->host,
		.port = m->run->port,
		.client_id = m->id.s,
		.backoff_max_ms = 2000,
	};
	int rc;

	if (getentropy(&config.seed, sizeof(config.seed)) < 0)
		return cli_fail(CLI_INTERNAL, "no random numbers");
	rc = make_request(m, config.seed);
	if (rc == CLI_OK)
		rc = make_topics(m);
	if (rc != CLI_OK)
		return rc;
	if (loop_new(on_stop, m, &m->loop) < 0 || loop_timer_new(m->loop, on_timer, m, &m->timer) < 0 ||
		mq_new(m->loop, &config, &callbacks, m, &m->mq) < 0)
		return cli_fail(CLI_INTERNAL, "cannot set up the event loop");
	m->give_up_ms = clock_ms() + CONNECT_MS;
	if (m->run->submit.deadline_ms > 0)
		m->deadline_ms = clock_ms() + m->run->submit.deadline_ms + GOODBYE_MS;
	arm(m);
	mq_start(m->mq);
	return loop_run(m->loop);
}

int run_mqtt(struct run *r)
{
	struct mqtt_run m = {
		.run = r,
		.request = BUF_INIT(ANSWER_MAX),
		.deadline_ms = UINT64_MAX,
		.next_send_ms = UINT64_MAX,
		.why = "no answer",
	};
	int rc = go(&m);

	mq_free(m.mq);
	loop_timer_free(m.timer);
	loop_free(m.loop);
	buf_fini(&m.request);
	return rc < 0 ? cli_fail(CLI_INTERNAL, "the event loop failed: %s", err_text(rc)) : rc;
}
