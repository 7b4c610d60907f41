#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "openai.h"
#include "vectors.h"

static uint8_t memory[1 << 20];
static struct arena arena = { .p = memory, .cap = sizeof(memory) };
static struct openai_call call;
static struct submit sub;
static struct openai_fault fault;
static struct buf out = BUF_INIT(1 << 20);

static int decode(enum openai_kind kind, const char *body)
{
	arena_reset(&arena);
	return openai_decode(kind, span_of(body), &arena, 4096, &call, &sub, &fault);
}

static const char *text(void)
{
	buf_add(&out, "", 1);
	cr_assert_eq(out.err, 0);
	return (const char *)out.p;
}

static void fini(void)
{
	openai_call_fini(&call);
	buf_fini(&out);
}

TestSuite(openai, .fini = fini);

#define CHAT "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

Test(openai, a_chat_request_becomes_a_submit)
{
	cr_assert_eq(decode(OPENAI_CHAT,
			     "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"be "
			     "brief\"},{\"role\":\"user\",\"content\":"
			     "[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}],\"max_completion_"
			     "tokens\":7,\"max_tokens\":9,"
			     "\"temperature\":0,\"top_p\":0.5,\"top_k\":3,\"min_p\":0.1,\"seed\":-5,\"stop\":\"x\",\"ignore_"
			     "eos\":true,"
			     "\"cache_prompt\":false,\"repeat_penalty\":1.1,\"presence_penalty\":0.2,\"frequency_penalty\":"
			     "0.3,\"stream\":true,"
			     "\"stream_options\":{\"include_usage\":true},\"prompt_cache_key\":\"p\",\"user\":\"u\","
			     "\"priority\":\"high\","
			     "\"deadline_ms\":500,\"require\":[\"gpu\"],\"prefer\":[\"fast\"],\"metadata\":{\"x\":[1]},"
			     "\"store\":false,\"n\":1,"
			     "\"tools\":[],\"response_format\":{\"type\":\"text\"},\"logprobs\":false,\"logit_bias\":null}"),
		0, "%s", fault.message);
	cr_assert(span_is(sub.model, "m") && sub.n_messages == 2);
	cr_assert(span_is(sub.messages[0].role, "system") && span_is(sub.messages[1].content, "ab"));
	cr_assert_eq(sub.max_tokens, 7);
	cr_assert(msg_has(&sub, SUBMIT_TEMPERATURE) && sub.temperature == 0);
	cr_assert(sub.top_p == 0.5 && sub.top_k == 3 && sub.min_p == 0.1 && sub.repeat_penalty == 1.1);
	cr_assert(sub.presence_penalty == 0.2 && sub.frequency_penalty == 0.3);
	cr_assert(msg_has(&sub, SUBMIT_SEED) && sub.seed <= INT64_MAX);
	cr_assert(sub.n_stop == 1 && span_is(sub.stop[0], "x"));
	cr_assert(sub.ignore_eos && msg_has(&sub, SUBMIT_CACHE_PROMPT) && !sub.cache_prompt);
	cr_assert(sub.stream && call.stream && call.include_usage && sub.cancel_on_disconnect);
	cr_assert(span_is(sub.session, "p") && sub.priority == PRIORITY_HIGH && sub.deadline_ms == 500);
	cr_assert(sub.n_require == 1 && span_is(sub.require[0], "gpu") && sub.n_prefer == 1);
}

Test(openai, what_is_not_said_stays_not_said)
{
	cr_assert_eq(decode(OPENAI_CHAT, CHAT ",\"temperature\":null,\"seed\":-1}"), 0);
	cr_assert_not(msg_has(&sub, SUBMIT_TEMPERATURE));
	cr_assert_not(msg_has(&sub, SUBMIT_SEED));
	cr_assert_not(msg_has(&sub, SUBMIT_MAX_TOKENS));
	cr_assert_not(msg_has(&sub, SUBMIT_CACHE_PROMPT));
	cr_assert_eq(sub.session.n, 0);
}

Test(openai, a_completion_takes_one_prompt)
{
	cr_assert_eq(decode(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"p\",\"max_tokens\":-1,\"top_k\":-1}"), 0);
	cr_assert(span_is(sub.prompt, "p") && sub.max_tokens == 0 && msg_has(&sub, SUBMIT_MAX_TOKENS) && sub.top_k == 0);
	cr_assert_eq(decode(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[\"q\"],\"logprobs\":0}"), 0);
	cr_assert(span_is(sub.prompt, "q"));
	cr_assert(sub.logprobs && sub.top_logprobs == 0, "the number 0 asks for the tokens' own");
	cr_assert_eq(decode(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[\"q\"],\"logprobs\":3}"), 0);
	cr_assert(sub.logprobs && sub.top_logprobs == 3);
}

static bool contains(struct span text, const char *words)
{
	return text.n > 0 && memmem(text.p, text.n, words, strlen(words)) != NULL;
}

Test(openai, what_an_answer_must_be_becomes_a_grammar)
{
	cr_assert_eq(decode(OPENAI_CHAT, CHAT
			     ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"strict\":"
			     "true,\"schema\":{\"type\":\"object\",\"properties\":{\"level\":{\"enum\":[\"ok\"]}}}}}}"),
		0);
	cr_assert(
		contains(sub.grammar, "root ::=") && contains(sub.grammar, "\\\"level\\\""), "%.*s", SPAN_FMT(sub.grammar));
	cr_assert(sub.response_format.type.n == 0 && !msg_has(&sub, SUBMIT_RESPONSE_FORMAT));
	cr_assert_eq(decode(OPENAI_CHAT, CHAT ",\"response_format\":{\"type\":\"json_object\"}}"), 0);
	cr_assert(contains(sub.grammar, "root ::= object"));
	cr_assert_eq(
		decode(OPENAI_CHAT, CHAT ",\"response_format\":{\"type\":\"json_object\",\"schema\":{\"const\":42}}}"), 0);
	cr_assert(contains(sub.grammar, "\"42\""));
	cr_assert_eq(decode(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"p\",\"json_schema\":{\"const\":43}}"), 0);
	cr_assert(contains(sub.grammar, "\"43\""));
	cr_assert_eq(decode(OPENAI_CHAT, CHAT ",\"grammar\":\"root ::= \\\"x\\\"\"}"), 0);
	cr_assert(span_is(sub.grammar, "root ::= \"x\""));
}

Test(openai, biases_and_log_probabilities_are_asked_for)
{
	cr_assert_eq(
		decode(OPENAI_CHAT, CHAT ",\"logprobs\":true,\"top_logprobs\":2,\"logit_bias\":{\"5\":-100,\"7\":1.5}}"), 0);
	cr_assert(sub.logprobs && sub.top_logprobs == 2 && sub.n_logit_bias == 2);
	cr_assert(sub.logit_bias[0].id == 5 && sub.logit_bias[0].value == -100 && sub.logit_bias[1].value == 1.5);
	cr_assert_eq(decode(OPENAI_CHAT, CHAT ",\"logprobs\":false,\"logit_bias\":null}"), 0);
	cr_assert(!sub.logprobs && sub.n_logit_bias == 0);
}

Test(openai, what_cannot_be_done_is_refused_by_name)
{
	static const struct {
		enum openai_kind kind;
		const char *body, *param, *code;
	} cases[] = {
		{ OPENAI_CHAT, CHAT ",\"n\":2}", "n", "unsupported" },
		{ OPENAI_CHAT, CHAT ",\"tools\":[{\"type\":\"function\"}]}", "tools", "unsupported" },
		{ OPENAI_CHAT, CHAT ",\"functions\":[{\"name\":\"f\"}]}", "functions", "unsupported" },
		{ OPENAI_CHAT, CHAT ",\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs", "invalid_value" },
		{ OPENAI_CHAT, CHAT ",\"top_logprobs\":2}", "top_logprobs", "invalid_value" },
		{ OPENAI_CHAT, CHAT ",\"logit_bias\":{\"the\":2}}", "logit_bias", "invalid_value" },
		{ OPENAI_CHAT, CHAT ",\"logit_bias\":{\"1\":\"2\"}}", "logit_bias", "invalid_value" },
		{ OPENAI_CHAT, CHAT ",\"logit_bias\":[[1,2]]}", "logit_bias", "invalid_value" },
		{ OPENAI_CHAT, CHAT ",\"response_format\":{\"type\":\"xml\"}}", "response_format", "invalid_value" },
		{ OPENAI_CHAT, CHAT ",\"response_format\":{\"type\":\"json_schema\"}}", "response_format", "invalid_value" },
		{ OPENAI_CHAT,
			CHAT ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"not\":{}}}}}",
			"response_format", "invalid_value" },
		{ OPENAI_CHAT, CHAT ",\"json_schema\":{\"pattern\":\"a\"}}", "json_schema", "invalid_value" },
		{ OPENAI_CHAT, CHAT ",\"grammar\":\"x\",\"response_format\":{\"type\":\"json_object\"}}", "response_format",
			"invalid_value" },
		{ OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"]}", "prompt", "unsupported" },
		{ OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"a\",\"echo\":true}", "echo", "unsupported" },
		{ OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"a\",\"best_of\":2}", "best_of", "unsupported" },
		{ OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"a\",\"suffix\":\"b\"}", "suffix", "unsupported" },
		{ OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"a\",\"logprobs\":21}", "logprobs", "invalid_value" },
		{ OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[1,2]}", "prompt", "invalid_value" },
		{ OPENAI_CHAT, "{\"model\":\"m\"}", "messages", "missing_required_parameter" },
		{ OPENAI_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"bishop\",\"content\":\"x\"}]}", "messages",
			"invalid_value" },
		{ OPENAI_CHAT,
			"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"text\":"
			"\"x\"}]}]}",
			"messages", "unsupported" },
		{ OPENAI_CHAT, CHAT ",\"max_tokens\":0}", "max_tokens", "invalid_value" },
		{ OPENAI_CHAT, CHAT ",\"temperature\":\"hot\"}", "temperature", "invalid_value" },
		{ OPENAI_CHAT, CHAT ",\"priority\":\"best\"}", "priority", "invalid_value" },
		{ OPENAI_CHAT, "{\"model\":", NULL, "invalid_json" },
		{ OPENAI_CHAT, "[]", NULL, "invalid_json" },
		{ OPENAI_CHAT, "", NULL, "invalid_json" },
		{ OPENAI_CHAT, "\xff", NULL, "invalid_json" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fault = (struct openai_fault){ 0 };
		cr_expect_eq(decode(cases[i].kind, cases[i].body), ERR_MALFORMED, "case %zu: %s", i, cases[i].body);
		cr_expect_eq(fault.code, CODE_BAD_REQUEST, "case %zu", i);
		cr_expect(span_eq(span_of(fault.param), span_of(cases[i].param)), "case %zu: param %s", i, fault.param);
		cr_expect(span_eq(span_of(fault.name), span_of(cases[i].code)), "case %zu: code %s", i, fault.name);
		cr_expect_gt(strlen(fault.message), 0);
	}
}

Test(openai, keys_of_other_letters_become_ids)
{
	char a[OPENAI_KEY_SIZE], b[OPENAI_KEY_SIZE], big[600];

	cr_assert_eq(openai_key(SPAN("plain-Key.1"), a), 0);
	cr_assert_str_eq(a, "plain-Key.1");
	cr_assert_eq(openai_key(SPAN("stra\xc3\x9f"
				     "e / 7"),
			     a),
		0);
	cr_assert_eq(openai_key(SPAN("stra\xc3\x9f"
				     "e / 8"),
			     b),
		0);
	cr_assert(span_is_id(span_of(a)) && span_is_id(span_of(b)) && strcmp(a, b) != 0);
	memset(big, 'x', sizeof(big));
	cr_assert_eq(openai_key(span_mem(big, 512), a), 0);
	cr_assert(span_is_id(span_of(a)));
	cr_assert_eq(openai_key(span_mem(big, 513), a), ERR_RANGE);
	cr_assert_eq(openai_key(SPAN_NONE, a), ERR_RANGE);
}

static struct answer done_answer(void)
{
	return (struct answer){ .type = ANSWER_DONE,
		.text = SPAN("ok \"q\""),
		.finish_reason = FINISH_STOP,
		.usage = { .prompt_tokens = 10, .cached_tokens = 4, .completion_tokens = 2 },
		.receipt = { .agent = SPAN("box-1"), .attempts = 1, .prefill_ms = 3, .decode_ms = 4 } };
}

Test(openai, a_whole_answer_has_what_clients_look_for)
{
	static const char *const parts[] = { "\"id\":\"chatcmpl-j1\"", "\"object\":\"chat.completion\"",
		"\"created\":1700000000", "\"model\":\"m\"", "\"index\":0",
		"\"message\":{\"role\":\"assistant\",\"content\":\"ok \\\"q\\\"\",\"refusal\":null}", "\"logprobs\":null",
		"\"finish_reason\":\"stop\"",
		"\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2,\"total_tokens\":12,\"prompt_tokens_details\":{"
		"\"cached_tokens\":4}}",
		"\"prompt_n\":6", "\"predicted_per_second\":500", "\"system_fingerprint\":\"fp_x\"",
		"\"shoal\":{\"agent\":\"box-1\"" };
	struct answer done = done_answer();

	cr_assert_eq(decode(OPENAI_CHAT, CHAT "}"), 0);
	call.created = 1700000000;
	(void)snprintf(call.fingerprint, sizeof(call.fingerprint), "fp_x");
	openai_call_job(&call, SPAN("j1"), SPAN("m"));
	openai_whole(&call, &done, &out);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		cr_expect(strstr(text(), parts[i]) != NULL, "%s is not in %s", parts[i], text());
}

static struct answer tokens(uint64_t index, uint64_t n, const char *s)
{
	return (struct answer){ .type = ANSWER_TOKENS, .index = index, .n = n, .text = span_of(s) };
}

Test(openai, a_stream_begins_with_the_role_and_ends_with_done)
{
	struct answer a = tokens(0, 1, "ok"), b = tokens(1, 2, " \n"), c = tokens(3, 1, "!"), done = done_answer();
	const char *s, *p;

	cr_assert_eq(decode(OPENAI_CHAT, CHAT ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"), 0);
	openai_call_job(&call, SPAN("j1"), SPAN("m"));
	openai_part(&call, &out);
	cr_assert_eq(out.n, 0);
	cr_assert_eq(openai_add(&call, &a), 0);
	openai_part(&call, &out);
	cr_assert(openai_add(&call, &b) == 0 && openai_add(&call, &c) == 0);
	openai_part(&call, &out);
	openai_end(&call, &done, &out);
	s = text();
	p = strstr(s, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}");
	cr_assert(strncmp(s, "data: {\"id\":\"chatcmpl-j1\",\"object\":\"chat.completion.chunk\"", 55) == 0 && p != NULL,
		"%s", s);
	p = strstr(p, "id: j1:0\ndata: ");
	cr_assert(p != NULL && strstr(p, "\"delta\":{\"content\":\"ok\"}") != NULL, "%s", s);
	p = strstr(p, "id: j1:3\ndata: ");
	cr_assert(p != NULL && strstr(p, "\"delta\":{\"content\":\" \\n!\"}") != NULL,
		"two frames that waited are one event: %s", s);
	p = strstr(p, "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}");
	cr_assert(p != NULL && strstr(p, "\"timings\":{") != NULL, "%s", s);
	p = strstr(p, "\"choices\":[],\"usage\":{\"prompt_tokens\":10");
	cr_assert_not_null(p, "%s", s);
	cr_assert_str_eq(strstr(p, "\n\n"), "\n\ndata: [DONE]\n\n");
}

/* A repeated id: the answer is there already. */
Test(openai, a_stream_of_an_ended_job_tells_its_text)
{
	struct answer done = done_answer();

	cr_assert_eq(decode(OPENAI_CHAT, CHAT ",\"stream\":true}"), 0);
	openai_end(&call, &done, &out);
	cr_assert_not_null(
		strstr(text(), "\"delta\":{\"content\":\"ok \\\"q\\\"\"},\"logprobs\":null,\"finish_reason\":\"stop\""));
}

/* Two tokens, as an engine tells of them. */
static struct span two_probs(struct buf *b)
{
	const struct alternative top[] = { { .id = 8, .logprob = -0.25, .piece = SPAN(" a") },
		{ .id = 9, .logprob = -2, .piece = SPAN(" a") }, { .id = 5, .logprob = -2.5, .piece = SPAN("é") } };
	const struct token_prob tokens[] = { { .id = 5, .logprob = -2.5, .piece = SPAN("é"), .top = top, .n_top = 3 },
		{ .id = 6, .logprob = -1, .piece = SPAN("!") } };

	for (size_t i = 0; i < 2; i++)
		cr_assert_eq(msg_encode(&token_prob_type, &tokens[i], MSG_KEYS_INT, b), 0);
	return buf_span(b);
}

#define PROB_E "\"token\":\"é\",\"id\":5,\"logprob\":-2.5,\"bytes\":[195,169]"
#define PROB_A(id, p) "{\"token\":\" a\",\"id\":" #id ",\"logprob\":" p ",\"bytes\":[32,97]}"
#define CHAT_PROBS                                                                                                          \
	"\"logprobs\":{\"content\":[{" PROB_E ",\"top_logprobs\":[" PROB_A(8, "-0.25") "," PROB_A(9,                        \
		"-2") ",{" PROB_E                                                                                           \
		      "}]},{\"token\":\"!\",\"id\":6,\"logprob\":-1,\"bytes\":[33],\"top_logprobs\":[]}],\"refusal\":null}"

Test(openai, log_probabilities_of_a_chat_stand_in_its_choice)
{
	struct buf probs = BUF_INIT(4096);
	struct answer done = done_answer(), part = tokens(0, 2, "é!");

	done.probs = part.probs = two_probs(&probs);
	cr_assert_eq(decode(OPENAI_CHAT, CHAT ",\"logprobs\":true,\"top_logprobs\":3}"), 0);
	openai_whole(&call, &done, &out);
	cr_expect_not_null(strstr(text(), CHAT_PROBS), "%s", text());
	buf_reset(&out);
	cr_assert_eq(decode(OPENAI_CHAT, CHAT ",\"logprobs\":true,\"top_logprobs\":3,\"stream\":true}"), 0);
	cr_assert_eq(openai_add(&call, &part), 0);
	openai_end(&call, &done, &out);
	cr_expect_not_null(
		strstr(text(), "\"delta\":{\"content\":\"é!\"}," CHAT_PROBS ",\"finish_reason\":null"), "%s", text());
	cr_expect_not_null(strstr(text(), "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\""));
	buf_fini(&probs);
}

Test(openai, log_probabilities_of_a_completion_are_lists)
{
	struct buf probs = BUF_INIT(4096);
	struct answer part = tokens(0, 2, "é!");

	part.probs = two_probs(&probs);
	cr_assert_eq(decode(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"p\",\"logprobs\":3,\"stream\":true}"), 0);
	cr_assert_eq(openai_add(&call, &part), 0);
	openai_part(&call, &out);
	cr_assert_eq(openai_add(&call, &part), 0);
	openai_part(&call, &out);
	cr_expect_not_null(strstr(text(), "\"logprobs\":{\"tokens\":[\"é\",\"!\"],\"token_logprobs\":[-2.5,-1],"
					  "\"top_logprobs\":[{\" a\":-0.25,\"é\":-2.5},{}],\"text_offset\":[0,1]}"),
		"%s", text());
	cr_expect_not_null(strstr(text(), "\"text_offset\":[2,3]"), "offsets go on: %s", text());
	buf_fini(&probs);
}

Test(openai, usage_is_streamed_only_when_asked_for)
{
	struct answer done = done_answer(), a = tokens(0, 1, "ok");

	cr_assert_eq(decode(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"p\",\"stream\":true}"), 0);
	cr_assert_eq(openai_add(&call, &a), 0);
	openai_end(&call, &done, &out);
	cr_assert_null(strstr(text(), "usage"));
	cr_assert_not_null(strstr(text(), "\"object\":\"text_completion\""));
	cr_assert_not_null(strstr(text(), "\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"stop\""));
}

Test(openai, a_reader_that_is_too_slow_is_noticed)
{
	static char big[4096];
	struct answer a;

	memset(big, 'x', sizeof(big) - 1);
	a = tokens(0, 1, big);
	cr_assert_eq(decode(OPENAI_CHAT, CHAT ",\"stream\":true}"), 0);
	cr_assert_eq(openai_add(&call, &a), 0);
	cr_assert_eq(openai_add(&call, &a), ERR_TOOBIG);
}

Test(openai, every_code_is_an_error_object_of_that_api)
{
	static const unsigned codes[] = {
#define X(name, number, http, type, retryable, exit, text) CODE_##name,
		CODE_LIST(X)
#undef X
	};

	for (size_t i = 1; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct answer a = { .type = ANSWER_ERROR, .code = span_of(code_name(codes[i])), .retry_after_ms = 1500 };
		struct openai_fault f = openai_fault_of(&a);

		cr_assert_eq(f.code, codes[i]);
		cr_assert_eq(f.retry_after_ms, 1500);
		buf_reset(&out);
		openai_fault_doc(&f, &out);
		cr_assert(strncmp(text(), "{\"error\":{\"message\":\"", 21) == 0, "%s", text());
		cr_assert(strstr(text(), "\"type\":\"") != NULL && strstr(text(), "\"param\":") != NULL &&
			  strstr(text(), "\"code\":\"") != NULL);
	}
}

Test(openai, clients_are_told_to_try_again_only_where_it_helps)
{
	struct openai_fault full = openai_fault(CODE_QUEUE_FULL, NULL, NULL, "x"),
			    lost = openai_fault(CODE_AGENT_LOST, NULL, NULL, "x"),
			    none = openai_fault(CODE_NO_AGENT, NULL, NULL, "x"),
			    twice = openai_fault(CODE_CONFLICT, NULL, NULL, "x");

	cr_assert(openai_should_retry(&full) && openai_should_retry(&none));
	cr_assert(!openai_should_retry(&lost) && !openai_should_retry(&twice));
	buf_reset(&out);
	full.code = CODE_MODEL_UNKNOWN, full.param = "model";
	openai_fault_event(&full, &out);
	cr_assert_str_eq(text(), "data: "
				 "{\"error\":{\"message\":\"x\",\"type\":\"invalid_request_error\",\"param\":\"model\","
				 "\"code\":\"model_not_found\"}}\n\n");
}

/* ---- embeddings ---- */

Test(openai, texts_are_sent_for_vectors)
{
	cr_assert_eq(decode(OPENAI_EMBEDDING, "{\"model\":\"m\",\"input\":\"a\"}"), 0);
	cr_assert(sub.n_input == 1 && span_is(sub.input[0], "a") && !call.base64 && !sub.stream);
	cr_assert_eq(
		decode(OPENAI_EMBEDDING, "{\"model\":\"m\",\"input\":[\"a\",\"b\"],\"encoding_format\":\"base64\"}"), 0);
	cr_assert(sub.n_input == 2 && call.base64);
	cr_assert_lt(decode(OPENAI_EMBEDDING, "{\"model\":\"m\",\"input\":\"a\",\"dimensions\":256}"), 0);
	cr_assert_str_eq(fault.param, "dimensions");
	cr_assert_lt(decode(OPENAI_EMBEDDING, "{\"model\":\"m\",\"input\":\"a\",\"encoding_format\":\"int8\"}"), 0);
	cr_assert_str_eq(fault.param, "encoding_format");
	cr_assert_lt(decode(OPENAI_EMBEDDING, "{\"model\":\"m\",\"input\":[1,2]}"), 0);
	cr_assert_str_eq(fault.param, "input");
	cr_assert_lt(decode(OPENAI_EMBEDDING, "{\"model\":\"m\"}"), 0);
}

Test(openai, vectors_are_told_as_numbers_or_in_base64)
{
	static const float v[] = { 0.5f, -0.25f, 0.1f, 1 };
	struct answer done = done_answer();

	done.vectors = span_mem(v, sizeof(v));
	done.n_vectors = 2;
	done.usage = (struct usage){ .prompt_tokens = 9 };
	cr_assert_eq(decode(OPENAI_EMBEDDING, "{\"model\":\"m\",\"input\":[\"a\",\"b\"]}"), 0);
	openai_whole(&call, &done, &out);
	cr_expect_eq(
		strncmp(text(),
			"{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.5,-0.25]},"
			"{\"object\":\"embedding\",\"index\":1,\"embedding\":[0.1,1]}],\"model\":\"m\",\"usage\":"
			"{\"prompt_tokens\":9,\"total_tokens\":9},\"shoal\":",
			200),
		0, "%s", text());
	buf_reset(&out);
	cr_assert_eq(
		decode(OPENAI_EMBEDDING, "{\"model\":\"m\",\"input\":[\"a\",\"b\"],\"encoding_format\":\"base64\"}"), 0);
	openai_whole(&call, &done, &out);
	cr_expect_not_null(strstr(text(), "\"index\":0,\"embedding\":\"AAAAPwAAgL4=\"}"), "%s", text());
	cr_expect_not_null(strstr(text(), "\"index\":1,\"embedding\":\"zczMPQAAgD8=\"}"), "%s", text());
}

/* The examples of RFC 4648, section 10. */
Test(openai, base64_is_that_of_the_standard)
{
	static const char *const cases[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		buf_reset(&out);
		vectors_base64(span_of(cases[i][0]), &out);
		cr_expect(span_is(buf_span(&out), cases[i][1]), "%s", cases[i][0]);
	}
}
