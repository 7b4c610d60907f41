#include "chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "id.h"

static void drop(struct chat *c, size_t n)
{
	while (c->n_turns > n)
		free((void *)(uintptr_t)c->turns[--c->n_turns].content.p);
}

void chat_fini(struct chat *c)
{
	drop(c, 0);
}

static int add(struct chat *c, struct span role, struct span text)
{
	struct span own;
	int rc = c->n_turns < PROTO_MAX_TURNS ? span_dup(text, &own) : ERR_FULL;

	if (rc == 0)
		c->turns[c->n_turns++] = (struct turn){ .role = role, .content = own };
	return rc;
}

int chat_begin(struct chat *c)
{
	struct rng rng;
	uint64_t seed;

	if (getentropy(&seed, sizeof(seed)) < 0)
		return ERR_STATE;
	rng_seed(&rng, seed);
	snprintf(c->session, sizeof(c->session), "chat-%s", id_new(&rng).s);
	drop(c, c->has_system ? 1 : 0);
	return 0;
}

int chat_system(struct chat *c, struct span text)
{
	int rc;

	drop(c, 0);
	c->has_system = false;
	if (text.n > 0) {
		rc = add(c, SPAN("system"), text);
		if (rc < 0)
			return rc;
		c->has_system = true;
	}
	return chat_begin(c);
}

static void tell(const struct chat *c)
{
	const struct run_report *r = &c->run.report;

	if (!c->is_verbose || r->agent[0] == '\0')
		return;
	fprintf(stderr, "[%s; session %s%s%s; %llu of %llu tokens of the prompt were cached]\n", r->agent,
		r->session[0] != '\0' ? r->session : "none", r->session_why[0] != '\0' ? ": " : "", r->session_why,
		(unsigned long long)r->cached_tokens, (unsigned long long)r->prompt_tokens);
}

static int ask(struct chat *c, struct buf *answer)
{
	struct run r = c->run;
	int rc;

	r.submit.session = span_of(c->session);
	r.submit.messages = c->turns;
	r.submit.n_messages = c->n_turns;
	r.text = answer;
	run_seed(&r.submit);
	rc = r.host != NULL ? run_mqtt(&r) : run_http(&r);
	c->run.report = r.report;
	c->run.signo = r.signo;
	c->run.is_broken = r.is_broken;
	return rc;
}

int chat_say(struct chat *c, struct span text)
{
	struct buf answer = BUF_INIT(PROTO_MAX_ANSWER);
	size_t before = c->n_turns;
	int rc;

	if (add(c, SPAN("user"), text) < 0)
		return cli_fail(CLI_USAGE, "the conversation has as many turns as it may: /new begins another");
	c->run.report = (struct run_report){ 0 };
	rc = ask(c, &answer);
	if ((rc != CLI_OK && answer.n == 0) || answer.err < 0 || add(c, SPAN("assistant"), buf_span(&answer)) < 0)
		drop(c, before);
	buf_fini(&answer);
	tell(c);
	return rc;
}
