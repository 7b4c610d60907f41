/* fleet_clients.c - clients: a closed loop or a fixed rate of jobs, and when what came.
 *
 * A job's name has ID_LEN characters: U, 4 digits of the user, A, 5 of the agent that a relay is to give it to, N and 14 of
 * its number.  It is the Correlation Data of its submit, and its prompt begins with it: so all that belongs to it can be
 * told. */
#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <math.h>

#include "json.h"
#include "rng.h"

#define NAME_NUMBER 12 /* where it begins */

static struct link *link_of(struct fleet *f)
{
	return &f->links[f->options.links];
}

/* The job of this name; NULL: none of this run. */
static struct times *find(struct fleet *f, struct span name)
{
	uint64_t n = 0;

	if (name.n < ID_LEN || name.p[0] != 'U' || name.p[NAME_NUMBER - 1] != 'N')
		return NULL;
	for (size_t i = NAME_NUMBER; i < ID_LEN; i++)
		n = n * 10 + (uint64_t)(name.p[i] - '0');
	n -= f->first_number;
	return n < f->n_submitted ? &f->times[n] : NULL;
}

/* ---- what is printed at the end ---- */

static void print_list(const struct fleet *f, const char *title, bool is_hop)
{
	const char *comma = "";

	printf(", \"%s\": [", title);
	for (uint64_t i = 0; i < f->n_submitted; i++) {
		const struct times *t = &f->times[i];
		uint64_t end = is_hop ? t->arrived : t->ended;

		if (end != 0)
			printf("%s%.1f", comma, (double)(end - t->submitted) / 1000);
		comma = end != 0 ? "," : comma;
	}
	printf("]");
}

static void print_counts(const struct counts *c, uint64_t n)
{
	const struct {
		const char *name;
		uint64_t value;
	} all[] = { { "submits", c->submits }, { "jobs", c->jobs }, { "events", c->events }, { "controls", c->controls },
		{ "acks", c->acks }, { "answers", c->answers }, { "submit_bytes", c->submit_bytes },
		{ "job_bytes", c->job_bytes }, { "event_bytes", c->event_bytes }, { "control_bytes", c->control_bytes },
		{ "answer_bytes", c->answer_bytes } };

	printf(", \"each\": {");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		printf("%s\"%s\": %.3f", i > 0 ? ", " : "", all[i].name, (double)all[i].value / (double)(n > 0 ? n : 1));
	printf("}");
}

static void print_result(struct fleet *f)
{
	struct buf error = BUF_INIT(4096);

	json_add_string(&error, span_of(f->error));
	printf("{\"jobs\": %llu, \"ended\": %llu, \"errors\": %llu, \"error\": %.*s, \"seconds\": %.6f",
		(unsigned long long)f->n_submitted, (unsigned long long)f->n_ended, (unsigned long long)f->n_errors,
		SPAN_FMT(buf_span(&error)), (double)(f->ended_ns - f->began_ns) / 1e9);
	print_counts(&f->counts, f->n_submitted);
	print_list(f, "hop_us", true);
	print_list(f, "end_us", false);
	printf("}\n");
	fflush(stdout);
	buf_fini(&error);
}

static void end_run(void *ctx)
{
	struct fleet *f = ctx;

	loop_timer_off(f->submit_timer);
	loop_timer_off(f->end_timer);
	f->is_running = false;
	print_result(f);
}

/* ---- a job ---- */

static struct span encode(struct fleet *f, const char *name)
{
	static char prompt[PROTO_MAX_PROMPT];
	size_t n = f->load.prompt > ID_LEN ? f->load.prompt : ID_LEN;
	struct submit s = { .id = span_mem(name, f->load.key != 0 ? ID_LEN : 0),
		.model = SPAN(FLEET_MODEL),
		.max_tokens = f->load.tokens,
		.stream = f->load.stream != 0 };

	n = n < sizeof(prompt) ? n : sizeof(prompt);
	memset(prompt, 'x', n);
	memcpy(prompt, name, ID_LEN);
	s.prompt = span_mem(prompt, n);
	if (f->load.json == 0)
		return fleet_encode(f, &submit_type, &s, MSG_KEYS_TEXT);
	buf_reset(&f->out);
	if (json_encode(&submit_type, &s, &f->out) < 0)
		fleet_die("no memory");
	return buf_span(&f->out);
}

static void submit(struct fleet *f)
{
	uint64_t number = f->first_number + f->n_submitted;
	size_t user = number % f->load.clients;
	struct times *t = &f->times[f->n_submitted];
	char name[128], user_id[32];
	struct topic topic, reply;
	struct mq_pub pub = { .qos = 1,
		.content_type = f->load.json != 0 ? SPAN("application/json") : SPAN("application/cbor") };
	int rc;

	(void)snprintf(name, sizeof(name), "U%04zuA%05zuN%014llu", user,
		(size_t)(number % f->options.agents + f->options.first), (unsigned long long)number);
	(void)snprintf(user_id, sizeof(user_id), FLEET_USER, user);
	(void)snprintf(reply.s, sizeof(reply.s), "%s/clients/%s/r", f->options.prefix, user_id);
	if (f->n_submitted == 0)
		record_begin(f->record, span_mem(name, ID_LEN));
	pub.payload = encode(f, name);
	rc = topic_make(f->options.prefix, TOPIC_CLIENT_JOBS, span_of(user_id), &topic);
	pub.topic = span_of(topic.s);
	pub.response_topic = span_of(reply.s);
	pub.correlation = span_mem(name, ID_LEN);
	record_note(f->record, RECORD_SUBMIT, pub.correlation, SPAN_NONE, pub.payload);
	*t = (struct times){ .submitted = fleet_now_ns() };
	f->n_submitted++;
	if (rc == 0)
		rc = mq_publish(link_of(f)->mq, &pub, NULL);
	if (rc < 0)
		fleet_die("a job cannot be submitted: %s", err_text(rc));
	f->counts.submits++;
	f->counts.submit_bytes += pub.payload.n;
}

void clients_arrived(struct fleet *f, struct span prompt)
{
	struct times *t = find(f, prompt);

	if (t != NULL && t->arrived == 0)
		t->arrived = fleet_now_ns();
}

static void on_end(struct fleet *f, struct times *t, const struct answer *a)
{
	if (t->ended != 0)
		return; /* QoS 1 may say it twice */
	t->ended = fleet_now_ns();
	f->n_ended++;
	if (a->type == ANSWER_ERROR && f->n_errors++ == 0)
		(void)snprintf(f->error, sizeof(f->error), "%.*s: %.*s", SPAN_FMT(a->code),
			(int)(a->message.n < 200 ? a->message.n : 200), a->message.n > 0 ? a->message.p : "");
	if (f->load.rate == 0 && f->n_submitted < f->load.jobs)
		submit(f);
	f->ended_ns = t->ended;
	if (f->n_ended == f->load.jobs && f->n_running == 0)
		loop_timer_at(f->end_timer, 0);
}

static void note_answer(struct fleet *f, const struct answer *a, const struct mq_msg *msg)
{
	static const enum record_kind kinds[ANSWER_TYPE_COUNT] = { [ANSWER_ACCEPTED] = RECORD_ANSWER_ACCEPTED,
		[ANSWER_TOKENS] = RECORD_ANSWER_TOKENS,
		[ANSWER_PROGRESS] = RECORD_KINDS,
		[ANSWER_DONE] = RECORD_ANSWER_DONE,
		[ANSWER_ERROR] = RECORD_KINDS };

	f->counts.answers++;
	f->counts.answer_bytes += msg->payload.n;
	if (kinds[a->type] < RECORD_KINDS)
		record_note(f->record, kinds[a->type], msg->correlation, a->job, msg->payload);
}

void clients_message(struct fleet *f, const struct mq_msg *msg)
{
	struct answer a;
	struct times *t;
	int rc = f->load.json != 0 ? json_decode(&answer_type, msg->payload, &f->arena, &a, NULL)
				   : msg_decode(&answer_type, msg->payload, MSG_KEYS_TEXT, &f->arena, &a, NULL);

	if (rc < 0)
		fleet_die("an answer cannot be read: %s", err_text(rc));
	t = f->is_running ? find(f, msg->correlation) : NULL;
	if (t == NULL)
		return;
	note_answer(f, &a, msg);
	if (a.type == ANSWER_DONE || a.type == ANSWER_ERROR)
		on_end(f, t, &a);
}

/* Only then all that belongs to a run's jobs was sent. */
void clients_agents_idle(struct fleet *f)
{
	if (f->is_running && f->n_ended == f->load.jobs)
		loop_timer_at(f->end_timer, 0);
}

/* ---- a run ---- */

/* Gaps of a Poisson process, the same for the same seed. */
static uint64_t gap_ns(struct fleet *f)
{
	double u = (double)(rng_mix(f->load.seed, f->n_submitted) >> 11) / (double)(UINT64_C(1) << 53);

	return (uint64_t)(-log(1 - u) * 1e9 / (double)f->load.rate);
}

static void on_submit(void *ctx)
{
	struct fleet *f = ctx;
	uint64_t now = fleet_now_ns();

	while (f->n_submitted < f->load.jobs && f->due_ns <= now) {
		f->due_ns += gap_ns(f);
		submit(f);
	}
	if (f->n_submitted < f->load.jobs)
		loop_timer_at(f->submit_timer, clock_ms() + (f->due_ns > now ? (f->due_ns - now + 999999) / 1000000 : 1));
}

void clients_run(struct fleet *f)
{
	f->first_number += f->n_submitted;
	f->n_submitted = f->n_ended = f->n_errors = 0;
	f->error[0] = '\0';
	f->counts = (struct counts){ .beats = f->counts.beats };
	free(f->times);
	f->times = calloc(f->load.jobs, sizeof(*f->times));
	if (f->times == NULL)
		fleet_die("no memory");
	f->is_running = true;
	f->began_ns = f->due_ns = f->ended_ns = fleet_now_ns();
	loop_timer_at(f->end_timer, clock_ms() + f->load.wait_s * 1000);
	if (f->load.rate > 0)
		on_submit(f);
	while (f->load.rate == 0 && f->n_submitted < f->load.jobs && f->n_submitted < f->load.clients)
		submit(f);
}

void clients_subscribe(struct link *l)
{
	struct topic t;

	(void)snprintf(t.s, sizeof(t.s), "%s/clients/+/r", l->fleet->options.prefix);
	if (mq_subscribe(l->mq, t.s, 1, NULL) < 0)
		fleet_die("cannot subscribe");
	l->n_wanted++;
}

void clients_init(struct fleet *f)
{
	if (loop_timer_new(f->loop, on_submit, f, &f->submit_timer) < 0 ||
		loop_timer_new(f->loop, end_run, f, &f->end_timer) < 0)
		fleet_die("no memory");
}

void clients_fini(struct fleet *f)
{
	loop_timer_free(f->submit_timer);
	loop_timer_free(f->end_timer);
	free(f->times);
}
