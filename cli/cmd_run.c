#include "run.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "id.h"
#include "json.h"

static const char usage[] = "usage: shoal run [OPTION…] PROMPT\n"
			    "\n"
			    "Sends a prompt and prints the answer as it comes. PROMPT '-' reads standard input.\n"
			    "\n"
			    "  -m, --model NAME      which model; not needed when there is only one\n"
			    "      --http URL        the hub's address (SHOAL_URL, else http://127.0.0.1:8080)\n"
			    "      --mqtt HOST:PORT  go through the broker instead\n"
			    "      --user NAME       who asks, for MQTT (your login name)\n"
			    "      --json            print the whole answer as one JSON document, when done\n"
			    "      --raw             the prompt as it is, without the model's chat template\n"
			    "      --chat            as a chat message (the default)\n"
			    "      --max-tokens N    end after N tokens\n"
			    "      --temperature T   0 takes the likeliest token each time\n"
			    "      --seed N          the same seed gives the same answer\n"
			    "      --stop TEXT       end before TEXT; up to 8 times\n"
			    "      --logit-bias ID=B add B (-100 to 100) to the logit of token ID; up to 300 times\n"
			    "      --grammar FILE    hold the answer to the grammar (GBNF) in FILE\n"
			    "      --schema FILE     hold the answer to the JSON schema in FILE\n"
			    "      --logprobs N      with --json: how likely each token was, and the N likeliest\n"
			    "      --timeout S       give up after S seconds\n"
			    "\n"
			    "Ctrl-C cancels the job. Exit codes: 0 done, 2 not a valid request, 66 no such\n"
			    "model, 69 nobody there to answer, 75 try again later, 130 cancelled.\n";

enum {
	OPT_HTTP = 256,
	OPT_MQTT,
	OPT_USER,
	OPT_JSON,
	OPT_RAW,
	OPT_CHAT,
	OPT_MAX_TOKENS,
	OPT_TEMPERATURE,
	OPT_SEED,
	OPT_STOP,
	OPT_LOGIT_BIAS,
	OPT_LOGPROBS,
	OPT_GRAMMAR,
	OPT_SCHEMA,
	OPT_TIMEOUT
};

static const struct option options[] = {
	{ "model", required_argument, NULL, 'm' },
	{ "http", required_argument, NULL, OPT_HTTP },
	{ "mqtt", required_argument, NULL, OPT_MQTT },
	{ "user", required_argument, NULL, OPT_USER },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "raw", no_argument, NULL, OPT_RAW },
	{ "chat", no_argument, NULL, OPT_CHAT },
	{ "max-tokens", required_argument, NULL, OPT_MAX_TOKENS },
	{ "temperature", required_argument, NULL, OPT_TEMPERATURE },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "stop", required_argument, NULL, OPT_STOP },
	{ "logit-bias", required_argument, NULL, OPT_LOGIT_BIAS },
	{ "logprobs", required_argument, NULL, OPT_LOGPROBS },
	{ "grammar", required_argument, NULL, OPT_GRAMMAR },
	{ "schema", required_argument, NULL, OPT_SCHEMA },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ 0 },
};

/* What the command line gives beside struct run; owns the parts of it that are not argv. */
struct parsed {
	struct run run;
	struct span stop[PROTO_MAX_STOP];
	struct msg_weight biases[PROTO_MAX_LOGIT_BIAS];
	const char *url;
	char *host, *prompt, *grammar, *schema;
	bool is_raw;
};

static void put(struct run *r, struct span text)
{
	if (text.n == 0 || r->is_broken)
		return;
	if (fwrite(text.p, 1, text.n, stdout) != text.n || fflush(stdout) != 0)
		r->is_broken = true;
	r->n_printed += text.n;
	r->last = text.p[text.n - 1];
}

void run_text(struct run *r, struct span text)
{
	if (r->text != NULL)
		buf_add_span(r->text, text);
	put(r, text);
}

void run_end_line(struct run *r)
{
	if (r->n_printed > 0 && r->last != '\n')
		put(r, SPAN("\n"));
}

/* Texts that are too long to be ours stay empty. */
void run_told(struct run *r, const struct receipt *receipt, uint64_t prompt_tokens, uint64_t cached_tokens)
{
	(void)span_copy(receipt->agent, r->report.agent, sizeof(r->report.agent));
	(void)span_copy(receipt->session, r->report.session, sizeof(r->report.session));
	(void)span_copy(receipt->session_why, r->report.session_why, sizeof(r->report.session_why));
	r->report.prompt_tokens = prompt_tokens;
	r->report.cached_tokens = cached_tokens;
}

int run_refused(struct run *r, struct span code, struct span message, long http)
{
	run_end_line(r);
	return ask_refused_as(code, message, http);
}

bool run_broker(const char *text, char **ret_host, int *ret_port)
{
	const char *colon = strrchr(text, ':');
	bool is_bracketed = text[0] == '[';
	size_t n = colon != NULL ? (size_t)(colon - text) : strlen(text);
	uint64_t port = 1883;

	if (colon != NULL && !cli_uint("--mqtt HOST:PORT", colon + 1, 1, 65535, &port))
		return false;
	if (is_bracketed && (n < 3 || text[n - 1] != ']')) {
		cli_note("--mqtt takes HOST:PORT, not '%s'", text);
		return false;
	}
	free(*ret_host);
	*ret_host = is_bracketed ? strndup(text + 1, n - 2) : strndup(text, n);
	*ret_port = (int)port;
	return *ret_host != NULL && *ret_host[0] != '\0';
}

static bool add_stop(struct parsed *p, const char *text)
{
	struct submit *s = &p->run.submit;

	if (s->n_stop == PROTO_MAX_STOP || text[0] == '\0' || strlen(text) > PROTO_MAX_STOP_LEN) {
		cli_note("--stop takes at most %d texts of 1 to %d bytes", PROTO_MAX_STOP, PROTO_MAX_STOP_LEN);
		return false;
	}
	p->stop[s->n_stop++] = span_of(text);
	s->stop = p->stop;
	return true;
}

static bool add_bias(struct parsed *p, const char *text)
{
	struct submit *s = &p->run.submit;
	const char *eq = strchr(text, '=');
	struct msg_weight w;

	if (s->n_logit_bias == PROTO_MAX_LOGIT_BIAS || eq == NULL ||
		!msg_weight_key(span_mem(text, (size_t)(eq - text)), &w.id) || !cli_real("--logit-bias", eq + 1, &w.value)) {
		cli_note("--logit-bias takes at most %d of ID=BIAS, as in 42=-100", PROTO_MAX_LOGIT_BIAS);
		return false;
	}
	p->biases[s->n_logit_bias++] = w;
	s->logit_bias = p->biases;
	return true;
}

/* All of a text file; the caller frees.  NULL: said on stderr why not. */
static char *read_text(const char *option, const char *path, size_t max)
{
	char *text = malloc(max + 2);
	FILE *f = text != NULL ? fopen(path, "re") : NULL;
	size_t n = f != NULL ? fread(text, 1, max + 1, f) : 0;
	bool is_read = f != NULL && ferror(f) == 0;
	bool is_text = is_read && n <= max && memchr(text, '\0', n) == NULL && span_is_utf8(span_mem(text, n));

	if (!is_read)
		cli_note("cannot read %s: %s", path, strerror(errno));
	else if (!is_text)
		cli_note("%s takes a text file of at most %zu KiB, which %s is not", option, max >> 10, path);
	if (f != NULL)
		fclose(f);
	if (!is_text) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static bool set_grammar(struct parsed *p, const char *path)
{
	free(p->grammar);
	p->grammar = read_text("--grammar", path, PROTO_MAX_GRAMMAR);
	p->run.submit.grammar = span_of(p->grammar);
	return p->grammar != NULL;
}

static bool set_schema(struct parsed *p, const char *path)
{
	struct json_value *doc = NULL;

	free(p->schema);
	p->schema = read_text("--schema", path, PROTO_MAX_SCHEMA);
	if (p->schema == NULL)
		return false;
	if (json_parse(span_of(p->schema), &doc) < 0) {
		cli_note("%s is not valid JSON", path);
		return false;
	}
	json_value_free(doc);
	p->run.submit.response_format = (struct response_format){ .type = SPAN("json_schema"),
		.json_schema = { .name = SPAN("answer"), .schema = span_of(p->schema) } };
	return true;
}

static bool parse_option(struct parsed *p, int opt, const char *arg)
{
	struct submit *s = &p->run.submit;
	uint64_t seconds;

	switch (opt) {
	case 'm': s->model = span_of(arg); return true;
	case OPT_HTTP: p->url = arg; return true;
	case OPT_MQTT: return run_broker(arg, &p->host, &p->run.port);
	case OPT_USER: p->run.user = arg; return true;
	case OPT_JSON: p->run.is_json = true; return true;
	case OPT_RAW: p->is_raw = true; return true;
	case OPT_CHAT: p->is_raw = false; return true;
	case OPT_STOP: return add_stop(p, arg);
	case OPT_LOGIT_BIAS: return add_bias(p, arg);
	case OPT_GRAMMAR: return set_grammar(p, arg);
	case OPT_SCHEMA: return set_schema(p, arg);
	case OPT_LOGPROBS: s->logprobs = true; return cli_uint("--logprobs", arg, 0, LOGPROB_MAX_TOP, &s->top_logprobs);
	case OPT_MAX_TOKENS: return cli_uint("--max-tokens", arg, 1, PROTO_MAX_TOKENS, &s->max_tokens);
	case OPT_TEMPERATURE: msg_set(s, SUBMIT_TEMPERATURE); return cli_real("--temperature", arg, &s->temperature);
	case OPT_SEED: msg_set(s, SUBMIT_SEED); return cli_uint("--seed", arg, 0, INT64_MAX, &s->seed);
	case OPT_TIMEOUT:
		if (!cli_uint("--timeout", arg, 1, PROTO_MAX_DEADLINE_MS / 1000, &seconds))
			return false;
		s->deadline_ms = seconds * 1000;
		return true;
	default: return false;
	}
}

/* All of standard input, without the newline a shell's echo puts at its end. */
static char *read_stdin(void)
{
	char *text = malloc(PROTO_MAX_PROMPT + 2);
	size_t n;

	if (text == NULL) {
		cli_note("out of memory");
		return NULL;
	}
	n = fread(text, 1, PROTO_MAX_PROMPT + 1, stdin);
	if (ferror(stdin) || n > PROTO_MAX_PROMPT || memchr(text, '\0', n) != NULL) {
		cli_note(ferror(stdin)          ? "cannot read standard input"
			 : n > PROTO_MAX_PROMPT ? "standard input is longer than a prompt may be (256 KiB)"
						: "standard input is not text: it has a zero byte");
		free(text);
		return NULL;
	}
	if (n > 0 && text[n - 1] == '\n')
		n--;
	text[n] = '\0';
	return text;
}

static int set_prompt(struct parsed *p, const char *arg)
{
	struct submit *s = &p->run.submit;
	struct span prompt;

	if (strcmp(arg, "-") == 0) {
		p->prompt = read_stdin();
		if (p->prompt == NULL)
			return CLI_USAGE;
		arg = p->prompt;
	}
	prompt = span_of(arg);
	if (prompt.n == 0)
		return cli_fail(CLI_USAGE, "the prompt is empty");
	if (prompt.n > PROTO_MAX_PROMPT || !span_is_utf8(prompt))
		return cli_fail(CLI_USAGE,
			prompt.n > PROTO_MAX_PROMPT ? "the prompt is longer than 256 KiB" : "the prompt is not UTF-8 text");
	if (p->is_raw) {
		s->prompt = prompt;
		return 0;
	}
	p->run.turn = (struct turn){ .role = SPAN("user"), .content = prompt };
	s->messages = &p->run.turn;
	s->n_messages = 1;
	return 0;
}

void run_seed(struct submit *s)
{
	uint32_t seed;

	if (msg_has(s, SUBMIT_SEED) || getentropy(&seed, sizeof(seed)) < 0)
		return;
	msg_set(s, SUBMIT_SEED);
	s->seed = seed;
}

static int parse(struct parsed *p, int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "m:", options, NULL)) != -1) {
		if (!parse_option(p, opt, optarg))
			return cli_usage_hint(&cmd_run);
	}
	p->run.host = p->host;
	if (p->run.host != NULL && p->url != NULL)
		return cli_fail(CLI_USAGE, "--http and --mqtt are two ways to the same place: give one of them");
	if (p->run.submit.logprobs && (!p->run.is_json || (p->is_raw && p->run.host == NULL)))
		return cli_fail(CLI_USAGE, p->run.is_json ? "--logprobs of a --raw prompt needs --mqtt"
							  : "--logprobs needs --json: nothing else shows them");
	if (optind == argc) {
		cli_note("there is no prompt");
		return cli_usage_hint(&cmd_run);
	}
	if (optind + 1 < argc)
		return cli_fail(CLI_USAGE, "the prompt is one argument: put it in quotes");
	p->run.url = cli_url(p->url);
	p->run.submit.stream = !p->run.is_json;
	msg_set(&p->run.submit, SUBMIT_STREAM);
	run_seed(&p->run.submit);
	return set_prompt(p, argv[optind]);
}

static int run_main(int argc, char **argv)
{
	struct parsed p = { 0 };
	int rc = parse(&p, argc, argv);

	if (rc == 0)
		rc = p.run.host != NULL ? run_mqtt(&p.run) : run_http(&p.run);
	free(p.host);
	free(p.prompt);
	free(p.grammar);
	free(p.schema);
	return rc;
}

const struct command cmd_run = { "run", "send a prompt, print the answer", usage, run_main };
