/* cmd_chat.c - `shoal chat`: lines in, answers out, one conversation.
 *
 * Lines are read from the descriptor itself, as the signals that end an answer must also be
 * seen while nobody types: both are waited for at once.  While an answer comes its own loop takes them. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "chat.h"

static const char usage[] = "usage: shoal chat [OPTION…]\n"
			    "\n"
			    "A conversation: each line is a prompt, the answer is printed as it comes. All of it\n"
			    "goes to the agent that has computed it so far, while that agent can take it.\n"
			    "\n"
			    "  -m, --model NAME      which model; not needed when there is only one\n"
			    "  -s, --system TEXT     what the model is told before all\n"
			    "      --http URL        the hub's address (SHOAL_URL, else http://127.0.0.1:8080)\n"
			    "      --mqtt HOST:PORT  go through the broker instead\n"
			    "      --user NAME       who asks, for MQTT (your login name)\n"
			    "      --require LABEL   only agents with this label; up to 32 times\n"
			    "      --prefer LABEL    rather agents with this label; up to 32 times\n"
			    "      --max-tokens N    end each answer after N tokens\n"
			    "      --temperature T   0 takes the likeliest token each time\n"
			    "      --seed N          the same seed gives the same answers\n"
			    "      --timeout S       give an answer up after S seconds\n"
			    "  -v, --verbose         say which agent answered and what was cached\n"
			    "\n"
			    "In the conversation: /help, /new (another conversation), /system TEXT (another one, with\n"
			    "TEXT before all), /quit. A line that is to begin with / begins with //. Ctrl-C ends the\n"
			    "answer, Ctrl-D the conversation.\n"
			    "\n"
			    "Exit codes: 0 done, else of the last answer that failed, as of 'shoal run'.\n";

static const char help[] = "/new          begin another conversation\n"
			   "/system TEXT  begin another one, with TEXT before all; without TEXT: with nothing\n"
			   "/quit         leave, as Ctrl-D\n"
			   "//…           a line that begins with /\n"
			   "Ctrl-C ends an answer; what has come of it stays in the conversation.\n";

enum { OPT_HTTP = 256, OPT_MQTT, OPT_USER, OPT_REQUIRE, OPT_PREFER, OPT_MAX_TOKENS, OPT_TEMPERATURE, OPT_SEED, OPT_TIMEOUT };

static const struct option options[] = {
	{ "model", required_argument, NULL, 'm' },
	{ "system", required_argument, NULL, 's' },
	{ "http", required_argument, NULL, OPT_HTTP },
	{ "mqtt", required_argument, NULL, OPT_MQTT },
	{ "user", required_argument, NULL, OPT_USER },
	{ "require", required_argument, NULL, OPT_REQUIRE },
	{ "prefer", required_argument, NULL, OPT_PREFER },
	{ "max-tokens", required_argument, NULL, OPT_MAX_TOKENS },
	{ "temperature", required_argument, NULL, OPT_TEMPERATURE },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "verbose", no_argument, NULL, 'v' },
	{ 0 },
};

struct talk {
	struct chat chat;
	const char *url, *system;
	char *host;
	struct span require[PROTO_MAX_LABELS], prefer[PROTO_MAX_LABELS];
	int signals; /* descriptor */
	struct buf line;
	bool is_prompting, has_end; /* a person sits there; no more lines come */
	int rc;
};

/* ---- the command line ---- */

static bool add_label(const char *option, const char *text, struct span *labels, size_t *n)
{
	if (*n == PROTO_MAX_LABELS || text[0] == '\0' || strlen(text) > PROTO_MAX_LABEL) {
		cli_note("%s takes at most %d labels of 1 to %d bytes", option, PROTO_MAX_LABELS, PROTO_MAX_LABEL);
		return false;
	}
	labels[(*n)++] = span_of(text);
	return true;
}

static bool parse_option(struct talk *t, int opt, const char *arg)
{
	struct run *r = &t->chat.run;
	struct submit *s = &r->submit;
	uint64_t seconds;

	switch (opt) {
	case 'm': s->model = span_of(arg); return true;
	case 's': t->system = arg; return true;
	case 'v': t->chat.is_verbose = true; return true;
	case OPT_HTTP: t->url = arg; return true;
	case OPT_MQTT: return run_broker(arg, &t->host, &r->port);
	case OPT_USER: r->user = arg; return true;
	case OPT_REQUIRE: return add_label("--require", arg, t->require, &s->n_require);
	case OPT_PREFER: return add_label("--prefer", arg, t->prefer, &s->n_prefer);
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

static int parse(struct talk *t, int argc, char **argv)
{
	struct run *r = &t->chat.run;
	int opt;

	while ((opt = getopt_long(argc, argv, "m:s:v", options, NULL)) != -1) {
		if (!parse_option(t, opt, optarg))
			return cli_usage_hint(&cmd_chat);
	}
	if (t->host != NULL && t->url != NULL)
		return cli_fail(CLI_USAGE, "--http and --mqtt are two ways to the same place: give one of them");
	if (optind < argc) {
		cli_note("there is no place for '%s': prompts are lines of the conversation", argv[optind]);
		return cli_usage_hint(&cmd_chat);
	}
	r->host = t->host;
	r->url = cli_url(t->url);
	r->submit.require = t->require;
	r->submit.prefer = t->prefer;
	r->submit.stream = true;
	msg_set(&r->submit, SUBMIT_STREAM);
	return CLI_OK;
}

/* ---- lines ---- */

static void prompt(const struct talk *t)
{
	if (t->is_prompting)
		(void)!write(STDOUT_FILENO, "> ", 2);
}

/* True: goes on. */
static bool take_signal(struct talk *t)
{
	struct signalfd_siginfo info;

	if (read(t->signals, &info, sizeof(info)) != sizeof(info))
		return true;
	if (info.ssi_signo != SIGINT || !t->is_prompting) {
		t->rc = CLI_CANCELLED;
		return false;
	}
	(void)!write(STDOUT_FILENO, "\n(/quit or Ctrl-D leaves)\n", 26);
	prompt(t);
	return true;
}

static bool take_bytes(struct talk *t)
{
	uint8_t bytes[4096];
	ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));

	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0)
		t->has_end = true;
	else
		buf_add(&t->line, bytes, (size_t)n);
	if (t->line.err == 0)
		return true;
	t->rc = cli_fail(CLI_USAGE, "a line is longer than a prompt may be (%zu KiB)", PROTO_MAX_PROMPT >> 10);
	return false;
}

/* The length of the next line in t->line, without its end; false: none comes. */
static bool next_line(struct talk *t, size_t *ret_n)
{
	for (;;) {
		struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = t->signals, .events = POLLIN } };
		const uint8_t *end = t->line.n > 0 ? memchr(t->line.p, '\n', t->line.n) : NULL;

		if (end != NULL || (t->has_end && t->line.n > 0)) {
			*ret_n = end != NULL ? (size_t)(end - t->line.p) : t->line.n;
			return true;
		}
		if (t->has_end)
			return false;
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return false;
		if (fds[1].revents != 0 && !take_signal(t))
			return false;
		if (fds[0].revents != 0 && !take_bytes(t))
			return false;
	}
}

/* ---- what a line means ---- */

static bool begins(struct span line, struct span with, struct span *ret_rest)
{
	if (line.n < with.n || memcmp(line.p, with.p, with.n) != 0 || (line.n > with.n && line.p[with.n] != ' '))
		return false;
	*ret_rest = line.n > with.n ? span_mem(line.p + with.n + 1, line.n - with.n - 1) : SPAN_NONE;
	return true;
}

/* True: goes on. */
static bool command(struct talk *t, struct span line)
{
	struct span rest;
	int rc = 0;

	if (begins(line, SPAN("/quit"), &rest) || begins(line, SPAN("/exit"), &rest))
		return false;
	if (begins(line, SPAN("/help"), &rest))
		fputs(help, stderr);
	else if (begins(line, SPAN("/new"), &rest))
		rc = chat_begin(&t->chat);
	else if (begins(line, SPAN("/system"), &rest))
		rc = chat_system(&t->chat, rest);
	else
		cli_note("there is no %.*s; /help tells what there is", SPAN_FMT(line));
	if (rc < 0)
		t->rc = cli_fail(CLI_INTERNAL, "cannot begin a conversation: %s", err_text(rc));
	return rc == 0;
}

/* True: goes on. */
static bool say(struct talk *t, struct span line)
{
	int rc = chat_say(&t->chat, line);

	if (rc == CLI_CANCELLED && t->chat.run.signo == SIGINT) {
		cli_note("cancelled");
		return true;
	}
	if (rc != CLI_OK)
		t->rc = rc;
	return rc != CLI_CANCELLED;
}

static bool obey(struct talk *t, struct span line)
{
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	if (line.n == 0)
		return true;
	if (!span_is_utf8(line) || memchr(line.p, '\0', line.n) != NULL) {
		t->rc = cli_fail(CLI_USAGE, "that line is not UTF-8 text");
		return true;
	}
	if (line.p[0] != '/')
		return say(t, line);
	return line.n > 1 && line.p[1] == '/' ? say(t, span_mem(line.p + 1, line.n - 1)) : command(t, line);
}

static void talk(struct talk *t)
{
	struct span line;
	bool goes_on = true;
	size_t n;

	prompt(t);
	while (goes_on && next_line(t, &n)) {
		char *copy = span_str(span_mem(t->line.p, n)); /* more may come while it is answered */

		buf_consume(&t->line, n < t->line.n ? n + 1 : n);
		line = span_of(copy);
		line.n = copy != NULL ? n : 0;
		goes_on = obey(t, line);
		free(copy);
		if (goes_on && !t->has_end)
			prompt(t);
	}
	if (t->is_prompting && t->has_end)
		(void)!write(STDOUT_FILENO, "\n", 1);
}

static int begin(struct talk *t)
{
	sigset_t set;
	int rc;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	t->is_prompting = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
	t->line = BUF_INIT(PROTO_MAX_PROMPT);
	rc = chat_system(&t->chat, span_of(t->system));
	if (rc < 0 || t->signals < 0)
		return cli_fail(CLI_INTERNAL, "cannot begin a conversation: %s", rc < 0 ? err_text(rc) : strerror(errno));
	if (t->is_prompting)
		fputs("/help tells what else there is than to talk.\n", stderr);
	return CLI_OK;
}

static int chat_main(int argc, char **argv)
{
	struct talk *t = calloc(1, sizeof(*t));
	int rc;

	if (t == NULL)
		return cli_fail(CLI_INTERNAL, "out of memory");
	t->signals = -1;
	rc = parse(t, argc, argv);
	if (rc == CLI_OK)
		rc = begin(t);
	if (rc == CLI_OK) {
		talk(t);
		rc = t->rc;
	}
	if (t->signals >= 0)
		close(t->signals);
	chat_fini(&t->chat);
	buf_fini(&t->line);
	free(t->host);
	free(t);
	return rc;
}

const struct command cmd_chat = { "chat", "talk with a model, line by line", usage, chat_main };
