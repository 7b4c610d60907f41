#include <criterion/criterion.h>
#include <stdio.h>

#include "intake.h"
#include "json.h"

#define PREFIX "shoal/v1"

static uint8_t memory[2 << 20];
static struct arena arena = { .p = memory, .cap = sizeof(memory) };
static struct intake in;

static enum intake_kind take(struct mq_msg msg)
{
	arena_reset(&arena);
	return intake_take(PREFIX, &msg, &arena, &in);
}

static enum intake_kind take_job(const char *payload, const char *response, const char *correlation)
{
	return take((struct mq_msg){ .topic = SPAN(PREFIX "/clients/alice/jobs"),
		.payload = span_of(payload),
		.response_topic = span_of(response),
		.correlation = span_of(correlation) });
}

static const char *topic_for(const char *job)
{
	static struct topic t;

	cr_assert_eq(reply_topic(&in.ev.reply, span_of(job), &t), 0);
	return t.s;
}

Test(intake, a_submit_in_json_is_answered_in_json_where_it_wishes)
{
	cr_assert_eq(take_job(" {\"model\":\"m\",\"prompt\":\"p\"}", PREFIX "/clients/alice/r", "c1"), INTAKE_EVENT);
	cr_assert(in.ev.type == HUB_EV_SUBMIT && span_is(in.ev.user, "alice") && span_is(in.ev.submit->prompt, "p"));
	cr_assert_str_eq(topic_for("j1"), PREFIX "/clients/alice/r");
	cr_assert(span_is(in.ev.reply.correlation, "c1"));
	cr_assert(span_is(reply_content_type(&in.ev.reply), "application/json"));
}

Test(intake, without_a_wish_the_job_has_a_topic_of_its_own)
{
	cr_assert_eq(take_job("{\"model\":\"m\",\"prompt\":\"p\"}", NULL, NULL), INTAKE_EVENT);
	cr_assert_str_eq(topic_for("j1"), PREFIX "/clients/alice/jobs/j1");
	cr_assert_str_eq(topic_for(""), PREFIX "/clients/alice/jobs/rejected");
}

Test(intake, reply_to_in_the_payload_serves_clients_without_properties)
{
	cr_assert_eq(take_job("{\"model\":\"m\",\"prompt\":\"p\",\"reply_to\":\"" PREFIX
			      "/clients/alice/x\",\"correlation\":\"c\"}",
			     NULL, NULL),
		INTAKE_EVENT);
	cr_assert_str_eq(topic_for("j1"), PREFIX "/clients/alice/x");
	cr_assert(span_is(in.ev.submit->correlation, "c") && in.ev.reply.correlation.n == 0);
}

Test(intake, answers_never_go_to_a_foreign_topic)
{
	static const char *const foreign[] = { PREFIX "/clients/bob/r", PREFIX "/agents/box-1/jobs",
		PREFIX "/clients/alice/jobs", PREFIX "/clients/alice/+", PREFIX "/clients/alice", "elsewhere",
		PREFIX "/clients/alice/../bob/r/#" };
	char body[512];

	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		cr_expect_eq(
			take_job("{\"model\":\"m\",\"prompt\":\"p\"}", foreign[i], "c"), INTAKE_REFUSED, "%s", foreign[i]);
		cr_expect(span_is(in.refusal.code, "FORBIDDEN"));
		cr_expect_str_eq(topic_for(""), PREFIX "/clients/alice/jobs/rejected");
		cr_expect(span_is(in.ev.reply.correlation, "c"));
		(void)snprintf(body, sizeof(body), "{\"model\":\"m\",\"prompt\":\"p\",\"id\":\"k\",\"reply_to\":\"%s\"}",
			foreign[i]);
		cr_expect_eq(take_job(body, NULL, NULL), INTAKE_REFUSED, "%s", foreign[i]);
		cr_expect(span_is(in.refusal.code, "FORBIDDEN") && span_is(in.refusal.id, "k"));
		cr_expect_str_eq(topic_for(""), PREFIX "/clients/alice/jobs/rejected");
	}
}

Test(intake, bad_bytes_are_answered_in_the_format_of_the_question)
{
	struct buf out = BUF_INIT(4096);

	cr_assert_eq(take_job("{\"model\":7}", PREFIX "/clients/alice/r", NULL), INTAKE_REFUSED);
	cr_assert(span_is(in.refusal.code, "BAD_REQUEST") && in.err == ERR_TYPE);
	cr_assert_str_eq(topic_for(""), PREFIX "/clients/alice/r");
	cr_assert_eq(reply_encode(&in.ev.reply, &in.refusal, &out), 0);
	cr_assert_eq(out.p[0], '{');
	cr_assert_eq(take_job("\xa1\x65model\x07", NULL, NULL), INTAKE_REFUSED);
	buf_reset(&out);
	cr_assert_eq(reply_encode(&in.ev.reply, &in.refusal, &out), 0);
	cr_assert_eq(out.p[0] & 0xe0, 0xa0, "a CBOR map");
	cr_assert(span_is(reply_content_type(&in.ev.reply), "application/cbor"));
	buf_fini(&out);
}

Test(intake, the_content_type_wins_over_the_first_byte)
{
	struct mq_msg msg = { .topic = SPAN(PREFIX "/clients/alice/jobs"),
		.payload = SPAN("{\"model\":\"m\",\"prompt\":\"p\"}"),
		.content_type = SPAN("application/cbor") };

	cr_assert_eq(take(msg), INTAKE_REFUSED);
	msg.content_type = SPAN("application/json; charset=utf-8");
	cr_assert_eq(take(msg), INTAKE_EVENT);
}

Test(intake, a_submit_in_cbor_is_the_same_document)
{
	struct submit s = { .model = SPAN("m"), .prompt = SPAN("p"), .stream = true };
	struct buf b = BUF_INIT(4096);

	cr_assert_eq(msg_encode(&submit_type, &s, MSG_KEYS_TEXT, &b), 0);
	cr_assert_eq(
		take((struct mq_msg){ .topic = SPAN(PREFIX "/clients/alice/jobs"), .payload = buf_span(&b) }), INTAKE_EVENT);
	cr_assert(in.ev.submit->stream && span_is(in.ev.submit->model, "m") && (in.ev.reply.format & REPLY_CBOR) != 0);
	buf_fini(&b);
}

Test(intake, what_an_answer_must_be_becomes_a_grammar_in_both_formats)
{
	struct submit s = { .model = SPAN("m"),
		.prompt = SPAN("p"),
		.response_format = { .type = SPAN("json_schema"), .json_schema.schema = SPAN("{\"const\":41}") } };
	struct buf b = BUF_INIT(4096);
	struct mq_msg msg = { .topic = SPAN(PREFIX "/clients/alice/jobs") };

	cr_assert_eq(msg_encode(&submit_type, &s, MSG_KEYS_TEXT, &b), 0);
	msg.payload = buf_span(&b);
	cr_assert_eq(take(msg), INTAKE_EVENT);
	cr_assert(memmem(in.ev.submit->grammar.p, in.ev.submit->grammar.n, "\"41\"", 4) != NULL);
	cr_assert_eq(in.ev.submit->response_format.type.n, 0);
	buf_fini(&b);
	msg.payload = SPAN("{\"prompt\":\"p\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{"
			   "\"const\":40}}}}");
	cr_assert_eq(take(msg), INTAKE_EVENT);
	cr_assert(memmem(in.ev.submit->grammar.p, in.ev.submit->grammar.n, "\"40\"", 4) != NULL);
	msg.payload = SPAN(
		"{\"id\":\"k7\",\"prompt\":\"p\",\"response_format\":{\"type\":\"json_object\",\"schema\":{\"not\":{}}}}");
	cr_assert_eq(take(msg), INTAKE_REFUSED);
	cr_assert(span_is(in.refusal.id, "k7") && memmem(in.refusal.message.p, in.refusal.message.n, "\"not\"", 5) != NULL);
}

/* It would be run again each time the hub connects. */
Test(intake, a_retained_job_is_not_run)
{
	cr_assert_eq(take((struct mq_msg){ .topic = SPAN(PREFIX "/clients/alice/jobs"),
			     .payload = SPAN("{\"model\":\"m\",\"prompt\":\"p\"}"),
			     .retain = true }),
		INTAKE_IGNORED);
}

Test(intake, only_a_client_that_is_gone_is_an_event)
{
	struct mq_msg msg = { .topic = SPAN(PREFIX "/clients/alice/presence"), .payload = SPAN("{\"state\":\"offline\"}") };

	cr_assert_eq(take(msg), INTAKE_EVENT);
	cr_assert(in.ev.type == HUB_EV_CLIENT_GONE && span_is(in.ev.user, "alice") && in.ev.reply.conn == 0);
	msg.payload = SPAN("{\"state\":\"online\"}");
	cr_assert_eq(take(msg), INTAKE_IGNORED);
	msg.payload = SPAN("{\"state\":\"somewhere\"}");
	cr_assert_eq(take(msg), INTAKE_REFUSED);
}

static enum intake_kind take_admin(const char *payload)
{
	return take((struct mq_msg){ .topic = SPAN(PREFIX "/clients/ops/admin"), .payload = span_of(payload) });
}

Test(intake, what_an_operator_asks_must_say_of_which)
{
	cr_assert_eq(take_admin("{\"verb\":\"weight\",\"agent\":\"box-1\",\"value\":30}"), INTAKE_EVENT);
	cr_assert(in.ev.type == HUB_EV_ADMIN && span_is(in.ev.user, "ops") && in.ev.admin->verb == ADMIN_WEIGHT &&
		  in.ev.admin->value == 30);
	cr_assert_str_eq(topic_for("j1"), PREFIX "/clients/ops/admin/answer");
	cr_assert_eq(take_admin("{\"verb\":\"cancel\",\"job\":\"j1\",\"reply_to\":\"" PREFIX "/clients/ops/r\"}"), INTAKE_EVENT);
	cr_assert_str_eq(topic_for("j1"), PREFIX "/clients/ops/r");
	cr_assert_eq(take_admin("{\"verb\":\"cancel\",\"agent\":\"box-1\",\"correlation\":\"c\"}"), INTAKE_REFUSED);
	cr_assert(span_is(in.refusal.code, "BAD_REQUEST") && span_is(in.refusal.correlation, "c"));
	cr_assert_eq(take_admin("{\"verb\":\"drain\",\"agent\":\"a/b\"}"), INTAKE_REFUSED);
	cr_assert_eq(take_admin("{\"verb\":\"explode\",\"agent\":\"box-1\"}"), INTAKE_REFUSED);
	cr_assert_eq(take_admin("{\"verb\":\"drain\",\"agent\":\"b\",\"reply_to\":\"" PREFIX "/clients/bob/r\"}"),
		INTAKE_REFUSED);
	cr_assert(span_is(in.refusal.code, "FORBIDDEN"));
}

Test(intake, an_agent_speaks_only_for_itself)
{
	struct registration r = {
		.version = PROTO_VERSION, .agent = SPAN("box-1"), .epoch = 1, .conn = 1, .seq = 1, .slots = 2
	};
	struct buf b = BUF_INIT(4096);

	cr_assert_eq(msg_encode(&registration_type, &r, MSG_KEYS_INT, &b), 0);
	cr_assert_eq(take((struct mq_msg){
			     .topic = SPAN(PREFIX "/agents/box-1/registration"), .payload = buf_span(&b), .retain = true }),
		INTAKE_EVENT);
	cr_assert(in.ev.type == HUB_EV_REGISTRATION && in.ev.registration->slots == 2 && span_is(in.ev.agent, "box-1"));
	cr_assert_eq(take((struct mq_msg){ .topic = SPAN(PREFIX "/agents/box-2/registration"), .payload = buf_span(&b) }),
		INTAKE_BAD);
	cr_assert_eq(take((struct mq_msg){ .topic = SPAN(PREFIX "/agents/box-1/out"), .payload = SPAN("\xff\x00garbage") }),
		INTAKE_BAD);
	cr_assert_eq(take((struct mq_msg){ .topic = SPAN(PREFIX "/agents/box-1/out") }), INTAKE_IGNORED);
	cr_assert_eq(take((struct mq_msg){ .topic = SPAN("other/topic"), .payload = SPAN("x") }), INTAKE_IGNORED);
	buf_fini(&b);
}
