#include "agent_core.h"

#define FRAME_TEXT ((size_t)32 << 10) /* a coalesced frame's text; one message of the engine may hold more */
#define FRAME_PROBS LOGPROB_MAX_FRAME /* no message of the engine holds more */

void stream_init(struct stream *s, uint32_t first)
{
	*s = (struct stream){
		.text = BUF_INIT(PROTO_MAX_ANSWER),
		.ids = BUF_INIT(PROTO_MAX_TOKENS * sizeof(uint32_t)),
		.pieces = BUF_INIT(PROTO_MAX_TOKENS * sizeof(struct piece)),
		.probs = BUF_INIT(LOGPROB_MAX_BYTES),
		.first = first,
	};
}

void stream_fini(struct stream *s)
{
	buf_fini(&s->text);
	buf_fini(&s->ids);
	buf_fini(&s->pieces);
	buf_fini(&s->probs);
}

static size_t n_pieces(const struct stream *s)
{
	return s->pieces.n / sizeof(struct piece);
}

/* Where piece k ends; piece 0 stands for "before the first". */
static struct piece end_of(const struct stream *s, size_t k)
{
	struct piece p = { 0, 0, 0 };

	if (k > 0)
		memcpy(&p, s->pieces.p + (k - 1) * sizeof(p), sizeof(p));
	return p;
}

uint32_t stream_end(const struct stream *s)
{
	return s->first + end_of(s, n_pieces(s)).tokens_end;
}

size_t stream_bytes(const struct stream *s)
{
	return s->text.cap + s->ids.cap + s->pieces.cap + s->probs.cap;
}

/* ERR_TOOBIG: the answer is over a limit; ERR_NOMEM; nothing was added then. */
int stream_add(struct stream *s, const struct engine_msg *m)
{
	struct piece end = end_of(s, n_pieces(s));
	struct span probs = m->type == ENGINE_EMBEDDING ? m->vector : m->logprobs;

	if (s->first + end.tokens_end + m->n_ids > PROTO_MAX_TOKENS || end.text_end + m->text.n > PROTO_MAX_ANSWER ||
		end.probs_end + probs.n > LOGPROB_MAX_BYTES)
		return ERR_TOOBIG;
	end.tokens_end += (uint32_t)m->n_ids;
	end.text_end += (uint32_t)m->text.n;
	end.probs_end += (uint32_t)probs.n;
	s->is_vectors = m->type == ENGINE_EMBEDDING;
	(void)buf_reserve(&s->text, m->text.n); /* each tells by its err */
	(void)buf_reserve(&s->ids, m->n_ids * sizeof(uint32_t));
	(void)buf_reserve(&s->pieces, sizeof(end));
	if (probs.n > 0)
		(void)buf_reserve(&s->probs, probs.n);
	if (s->text.err != 0 || s->ids.err != 0 || s->pieces.err != 0 || s->probs.err != 0)
		return ERR_NOMEM;
	buf_add_span(&s->text, m->text);
	buf_add(&s->ids, m->ids, m->n_ids * sizeof(uint32_t));
	buf_add(&s->pieces, &end, sizeof(end));
	if (probs.n > 0)
		buf_add_span(&s->probs, probs);
	return 0;
}

/* The greatest k so that the first k pieces end at or before index. */
static size_t pieces_below(const struct stream *s, uint64_t index)
{
	size_t low = 0, high = n_pieces(s);

	while (low < high) {
		size_t mid = (low + high + 1) / 2;

		if (s->first + end_of(s, mid).tokens_end <= index)
			low = mid;
		else
			high = mid - 1;
	}
	return low;
}

void stream_ack(struct stream *s, uint64_t index)
{
	size_t n = 0;

	while (n < s->n_flying && s->flying[n] <= index)
		n++;
	s->n_flying -= n;
	memmove(s->flying, s->flying + n, s->n_flying * sizeof(s->flying[0]));
	/* After a rewind the hub may turn out to have more than it asked for. */
	if (pieces_below(s, index) > s->n_sent)
		s->n_sent = pieces_below(s, index);
}

bool stream_rewind(struct stream *s, uint64_t index)
{
	s->n_sent = pieces_below(s, index);
	s->n_flying = 0;
	return s->n_sent < n_pieces(s);
}

/* ---- telling the hub ---- */

static struct job_event *say(struct agent *a, const struct job *j, enum job_event_type type)
{
	struct job_event *e = &out_action(a, AGENT_ACT_EVENT)->job_event;

	e->type = type;
	e->job = span_of(j->id);
	e->attempt = j->attempt;
	e->epoch = a->config.epoch;
	a->frames_left--;
	return e;
}

/* How many pieces the next frame takes: all that is waiting, within bounds. */
static size_t frame_end_piece(const struct stream *s)
{
	struct piece from = end_of(s, s->n_sent);
	size_t k = s->n_sent + 1;

	while (k < n_pieces(s)) {
		struct piece to = end_of(s, k + 1);

		if (to.tokens_end - from.tokens_end > PROTO_MAX_FRAME_TOKENS || to.text_end - from.text_end > FRAME_TEXT ||
			to.probs_end - from.probs_end > FRAME_PROBS)
			break;
		k++;
	}
	return k;
}

static void say_tokens(struct agent *a, struct job *j)
{
	struct stream *s = &j->stream;
	struct job_event *e = say(a, j, JOB_EVENT_TOKENS);
	struct piece from = end_of(s, s->n_sent), to;

	s->n_sent = frame_end_piece(s);
	to = end_of(s, s->n_sent);
	e->index = s->first + from.tokens_end;
	e->ids = (const uint32_t *)(const void *)s->ids.p + from.tokens_end;
	e->n_ids = to.tokens_end - from.tokens_end;
	e->text = span_mem(s->text.p + from.text_end, to.text_end - from.text_end);
	if (to.probs_end > from.probs_end)
		*(s->is_vectors ? &e->vectors : &e->logprobs) =
			span_mem(s->probs.p + from.probs_end, to.probs_end - from.probs_end);
	s->flying[s->n_flying++] = s->first + to.tokens_end;
	a->bytes_left -= min_u64(e->text.n + e->logprobs.n + e->vectors.n, a->bytes_left);
	a->counters.frames++;
}

static void say_progress(struct agent *a, struct job *j)
{
	struct job_event *e = say(a, j, JOB_EVENT_PROGRESS);

	e->index = stream_end(&j->stream);
	if (j->state == JOB_QUEUED && j->engine->state != ENGINE_STATE_READY) {
		e->load_percent = j->engine->percent;
		msg_set(e, JOB_EVENT_LOAD_PERCENT);
	}
	j->say_progress = false;
}

static void say_end(struct agent *a, struct job *j)
{
	struct job_event *e = say(a, j, j->end);

	e->index = j->index;
	e->queue_ms = j->queue_ms;
	e->reason = j->reason;
	e->code = j->code;
	e->finish = j->finish;
	if (j->end == JOB_EVENT_DONE) {
		e->sha256 = span_mem(j->sha256, SHA256_SIZE);
		e->usage = j->usage;
		e->timings = j->timings;
	}
	j->is_end_said = true;
}

/* True when nothing more can be said of this job until the hub acknowledges or more comes. */
static bool flush_job(struct agent *a, struct job *j)
{
	struct stream *s = &j->stream;
	bool with_tokens = j->state == JOB_RUNNING || (j->state == JOB_ENDED && j->end == JOB_EVENT_DONE);

	with_tokens = with_tokens && !j->is_unwanted;

	if (j->say_accepted) {
		say(a, j, JOB_EVENT_ACCEPTED);
		j->say_accepted = false;
	}
	while (with_tokens && s->n_sent < n_pieces(s)) {
		if (s->n_flying == PROTO_FRAME_WINDOW)
			break;
		if (a->frames_left <= 2 || a->bytes_left == 0)
			return false;
		say_tokens(a, j);
	}
	if (j->say_progress)
		say_progress(a, j);
	if (with_tokens && s->n_sent < n_pieces(s))
		return true; /* the window is full */
	if (j->state == JOB_ENDED && !j->is_end_said)
		say_end(a, j);
	return true;
}

/* In turn, each job as much as its window allows; what is over the step's budget waits
 * for the next one, which agent_deadline() asks for at once. */
void stream_flush(struct agent *a)
{
	struct job *j;

	if (!a->is_up || a->is_congested)
		return;
	while ((j = TAILQ_FIRST(&a->unsaid)) != NULL && a->frames_left > 3 && a->bytes_left > 0) {
		bool is_said = flush_job(a, j);

		TAILQ_REMOVE(&a->unsaid, j, in_unsaid);
		if (!is_said)
			TAILQ_INSERT_TAIL(&a->unsaid, j, in_unsaid);
		j->is_unsaid = !is_said;
	}
}
