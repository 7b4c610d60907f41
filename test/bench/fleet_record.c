/* fleet_record.c - the messages of one job between fleet and hub, with the places of its names in them.
 *
 * A file of lines: "in KIND TYPE OFFSET" is a message that something is sent for: kind "submit" or "event" (with the type
 * of the event, the third byte of its CBOR), and where in it the job's name stands.  The lines "out" behind it are what is
 * sent: to "jobs" or "control" of an agent or to "client", with which QoS, how many places the name goes to and which, and
 * the bytes in hexadecimal. */
#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>

#define NOTES_MAX 512
#define PLACES_MAX 8

struct note {
	enum record_kind kind;
	struct buf bytes;
};

struct record {
	char client_id[ID_LEN + 1], job[PROTO_MAX_ID + 1]; /* the client's name of the job, and the hub's */
	struct note notes[NOTES_MAX];
	size_t n;
};

struct record *record_new(void)
{
	struct record *r = calloc(1, sizeof(*r));

	if (r == NULL)
		fleet_die("no memory");
	return r;
}

static void forget(struct record *r)
{
	while (r->n > 0)
		buf_fini(&r->notes[--r->n].bytes);
	r->job[0] = '\0';
}

void record_free(struct record *r)
{
	forget(r);
	free(r);
}

void record_begin(struct record *r, struct span client_id)
{
	forget(r);
	if (span_copy(client_id, r->client_id, sizeof(r->client_id)) < 0)
		fleet_die("a job's name is too long");
}

void record_note(struct record *r, enum record_kind kind, struct span client_id, struct span job, struct span bytes)
{
	struct note *n = &r->notes[r->n];
	bool is_named =
		span_is(client_id, r->client_id) || memmem(bytes.p, bytes.n, r->client_id, strlen(r->client_id)) != NULL;

	if (!is_named && (r->job[0] == '\0' || !span_is(job, r->job)))
		return; /* another job */
	if (is_named && job.n > 0 && span_copy(job, r->job, sizeof(r->job)) < 0)
		fleet_die("a job's name is too long");
	if (r->n == NOTES_MAX)
		return;
	*n = (struct note){ .kind = kind, .bytes = BUF_INIT(PROTO_MAX_MESSAGE) };
	buf_add_span(&n->bytes, bytes);
	r->n++;
}

/* Places of name in the note, from at[n] on. */
static size_t places(const struct note *note, const char *name, size_t at[PLACES_MAX], size_t n)
{
	const uint8_t *p = note->bytes.p, *end = p + note->bytes.n;

	while (name[0] != '\0' && n < PLACES_MAX && (p = memmem(p, (size_t)(end - p), name, strlen(name))) != NULL) {
		at[n++] = (size_t)(p - note->bytes.p);
		p += strlen(name);
	}
	return n;
}

static const struct note *find(const struct record *r, enum record_kind kind)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->notes[i].kind == kind)
			return &r->notes[i];
	return NULL;
}

static void write_in(const struct record *r, FILE *f, enum record_kind kind)
{
	const struct note *note = find(r, kind);
	size_t at[PLACES_MAX], n;

	if (note == NULL)
		return;
	n = places(note, kind == RECORD_SUBMIT ? r->client_id : r->job, at, 0);
	fprintf(f, "in %s %d %zu\n", kind == RECORD_SUBMIT ? "submit" : "event",
		kind == RECORD_SUBMIT ? 0 : note->bytes.p[2], n > 0 ? at[0] : 0);
}

static void write_out(const struct record *r, FILE *f, enum record_kind kind, const char *where, int qos, bool is_all)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct note *note = &r->notes[i];
		size_t at[PLACES_MAX],
			n = note->kind == kind ? places(note, r->job, at, places(note, r->client_id, at, 0)) : 0;

		if (note->kind != kind)
			continue;
		fprintf(f, "out %s %d %zu", where, qos, n);
		for (size_t k = 0; k < n; k++)
			fprintf(f, " %zu", at[k]);
		fputc(' ', f);
		for (size_t k = 0; k < note->bytes.n; k++)
			fprintf(f, "%02x", note->bytes.p[k]);
		fputc('\n', f);
		if (!is_all)
			return;
	}
}

/* What the hub does, by kind and not by its reasons: acknowledgements of frames go with the end. */
int record_write(const struct record *r, const char *path)
{
	FILE *f = fopen(path, "we");

	if (f == NULL || r->n == 0)
		return ERR_STATE;
	write_in(r, f, RECORD_SUBMIT);
	write_out(r, f, RECORD_JOB, "jobs", 1, false);
	write_out(r, f, RECORD_ANSWER_ACCEPTED, "client", 1, false);
	write_in(r, f, RECORD_ACCEPTED);
	write_in(r, f, RECORD_TOKENS);
	write_out(r, f, RECORD_ANSWER_TOKENS, "client", 0, false);
	write_in(r, f, RECORD_DONE);
	write_out(r, f, RECORD_ANSWER_DONE, "client", 1, false);
	write_out(r, f, RECORD_CONTROL, "control", 1, true);
	write_out(r, f, RECORD_ACK, "control", 0, true);
	return fclose(f) == 0 ? 0 : ERR_STATE;
}
