/* echo.c - a model for tests: no weights, answers made up, faults on demand.
 *
 * It speaks the engine's whole protocol, since all but this file is the engine's own.  The file
 * that LOAD names is text, one setting a line (# begins a comment; all may be left out):
 *
 *   tokens=N         length of an answer, then it ends by itself (32)
 *   delay_us=N       a step takes so long; a step gives each running job one token (0)
 *   load_ms=N        loading takes so long, with progress (0)
 *   n_ctx=N          "as trained" (4096); LOAD's n_ctx wins
 *   max_sequences=N  LOAD with more parallel ones fails (64)
 *   fail_load=1      LOAD fails
 *   crash_on=TEXT    abort() when a prompt contains TEXT
 *   crash_at=K       abort() before token K of an answer (index K, over all attempts)
 *   hang_at=K        says and reads nothing any more from token K on
 *   garbage_at=K     writes bytes that are no frame to fd 3 before token K
 *   once=PATH        crash, hang and garbage happen only if PATH is not there, and make it:
 *                    of all engines that share PATH, one fails once
 *
 * A token is drawn from four candidates that follow from all tokens before it: the answer is
 * a function of prompt, prefix, seed and temperature, the same on every machine.  Pieces have
 * 1 to 6 characters; some characters come in two tokens. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine_proto.h"
#include "model.h"
#include "rng.h"

#define MAX_SEQUENCES 64
#define N_CANDIDATES 4
#define MAX_PICKED 64 /* rows of a step that want logits */
#define NEVER UINT64_MAX
#define N_EMBD 8
#define LINE_MAX_BYTES 1024

/* Token ids: 0..255 bytes of a prompt, then control tokens, then pieces. */
enum { TOKEN_PROMPT_END = 256, TOKEN_END, TOKEN_PIECE };

static const char *const pieces[] = { " the", " fish", " swims", " a", " in", " shoal", ".", ",", " of", " seven", "s",
	"ing", "\n", " été", " ñandú", " über", " straße", "é", "日本", "語", " 水", "🐟", " 🐠!", " Ω", " – ", "x", " и",
	" рыба", "0", " 42", "\xf0\x9f", "\xe2\x82" };
static const char *const second_halves[] = { "\x90\xa1", "\xac" };

#define N_PIECES (sizeof(pieces) / sizeof(pieces[0]))
#define N_HALVES (sizeof(second_halves) / sizeof(second_halves[0]))
#define FIRST_HALF (TOKEN_PIECE + N_PIECES - N_HALVES)
#define SECOND_HALF (TOKEN_PIECE + N_PIECES)
#define N_TOKENS (SECOND_HALF + N_HALVES)

struct settings {
	uint64_t tokens, delay_us, load_ms, n_ctx, max_sequences, fail_load, crash_at, hang_at, garbage_at;
	char crash_on[LINE_MAX_BYTES], once[LINE_MAX_BYTES];
};

struct sequence {
	uint32_t *tokens; /* n; heap */
	uint64_t hash;    /* of all its tokens */
	size_t n, n_answer;
	uint32_t last;
	bool is_answer;
};

struct model {
	struct settings set;
	struct model_facts facts;
	struct sequence seq[MAX_SEQUENCES];
	struct sequence picked[MAX_PICKED]; /* as after each row of the last step */
	float logits[N_TOKENS];
};

struct picker {
	struct model *m;
	bool ignores_end;
	double temperature;
	struct candidate c[N_CANDIDATES];
};

int model_init(const char *backends, char reason[MODEL_REASON_MAX])
{
	(void)backends;
	(void)reason;
	return 0;
}

size_t model_devices(struct span ret[PROTO_MAX_DEVICES])
{
	ret[0] = SPAN("Echo0 (no computing, 0 MiB)");
	return 1;
}

const char *model_build(void)
{
	return "echo 1";
}

size_t model_max_sequences(void)
{
	return MAX_SEQUENCES;
}

/* Its files are the tests' own, and `once` makes one. */
bool model_needs_sandbox(void)
{
	return false;
}

/* ---- settings ---- */

static bool set_number(struct settings *s, const char *name, const char *value)
{
	struct {
		const char *name;
		uint64_t *value;
	} numbers[] = {
		{ "tokens", &s->tokens },
		{ "delay_us", &s->delay_us },
		{ "load_ms", &s->load_ms },
		{ "n_ctx", &s->n_ctx },
		{ "max_sequences", &s->max_sequences },
		{ "fail_load", &s->fail_load },
		{ "crash_at", &s->crash_at },
		{ "hang_at", &s->hang_at },
		{ "garbage_at", &s->garbage_at },
	};
	char *end;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (strcmp(name, numbers[i].name) != 0)
			continue;
		*numbers[i].value = strtoull(value, &end, 10);
		return end != value && *end == '\0';
	}
	return false;
}

static bool set_line(struct settings *s, char *line)
{
	char *value;

	line[strcspn(line, "\n")] = '\0';
	if (line[0] == '#' || line[0] == '\0')
		return true;
	value = strchr(line, '=');
	if (value == NULL)
		return false;
	*value++ = '\0';
	if (strcmp(line, "crash_on") == 0)
		return strcpy(s->crash_on, value) != NULL;
	if (strcmp(line, "once") == 0)
		return strcpy(s->once, value) != NULL;
	return set_number(s, line, value);
}

static int read_settings(int file, struct settings *s, char *reason)
{
	FILE *f = fdopen(dup(file), "re");
	char line[LINE_MAX_BYTES];
	bool is_good = f != NULL;

	*s = (struct settings){ .tokens = 32,
		.n_ctx = 4096,
		.max_sequences = MAX_SEQUENCES,
		.crash_at = NEVER,
		.hang_at = NEVER,
		.garbage_at = NEVER };
	while (is_good && fgets(line, sizeof(line), f) != NULL)
		is_good = set_line(s, line);
	if (f != NULL)
		fclose(f);
	if (is_good && s->fail_load == 0)
		return 0;
	(void)snprintf(reason, MODEL_REASON_MAX, "The file is no model: %s.",
		is_good ? "it says fail_load" : "a line is no setting");
	return ERR_RANGE;
}

/* ---- faults ---- */

/* True when a fault is to happen; with `once`, to the first who comes. */
static bool may_fail(const struct settings *s)
{
	int fd;

	if (s->once[0] == '\0')
		return true;
	fd = open(s->once, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void fail_at(const struct settings *s, uint64_t index)
{
	if (index == s->crash_at && may_fail(s))
		abort();
	if (index == s->garbage_at && may_fail(s) && write(ENGINE_FD, "\xff\xff\xff\xffgarbage", 11) < 0)
		abort();
	if (index == s->hang_at && may_fail(s))
		for (;;)
			pause();
}

static void sleep_us(uint64_t us)
{
	struct timespec t = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

/* ---- the model ---- */

int model_open(const struct model_config *config, struct model **ret, char reason[MODEL_REASON_MAX])
{
	struct model *m = calloc(1, sizeof(*m));
	int rc = m == NULL ? ERR_NOMEM : read_settings(config->file, &m->set, reason);

	if (rc == 0 && config->n_sequences > m->set.max_sequences) {
		(void)snprintf(reason, MODEL_REASON_MAX, "The file says max_sequences=%llu.",
			(unsigned long long)m->set.max_sequences);
		rc = ERR_RANGE;
	}
	for (unsigned k = 0; rc == 0 && k <= 10; k++) {
		if (!config->on_progress(config->ctx, k / 10.0))
			rc = ERR_CLOSED;
		else
			sleep_us(k < 10 ? m->set.load_ms * 100 : 0);
	}
	if (rc < 0)
		return model_close(m), rc;
	m->facts = (struct model_facts){ .n_ctx = config->n_ctx != 0 ? config->n_ctx : m->set.n_ctx,
		.n_params = N_TOKENS,
		.size = sizeof(pieces),
		.arch = "echo",
		.n_embd = config->embeds ? N_EMBD : 0,
		.is_exact = !config->is_fast,
		.can_cut = true };
	*ret = m;
	return 0;
}

struct model *model_close(struct model *m)
{
	for (size_t i = 0; m != NULL && i < MAX_SEQUENCES; i++)
		free(m->seq[i].tokens);
	free(m);
	return NULL;
}

const struct model_facts *model_facts(const struct model *m)
{
	return &m->facts;
}

/* Bytes, one token each, and a mark that the answer follows. */
static int to_tokens(const struct model *m, struct span text, struct model_tokens *ret)
{
	size_t n_crash = strlen(m->set.crash_on);

	if (n_crash > 0 && memmem(text.p, text.n, m->set.crash_on, n_crash) != NULL && may_fail(&m->set))
		abort();
	ret->n = text.n + 1;
	ret->ids = calloc(ret->n, sizeof(uint32_t));
	if (ret->ids == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < text.n; i++)
		ret->ids[i] = (uint8_t)text.p[i];
	ret->ids[text.n] = TOKEN_PROMPT_END;
	return 0;
}

int model_read_prompt(struct model *m, struct span prompt, struct model_tokens *ret, char reason[MODEL_REASON_MAX])
{
	(void)reason;
	return to_tokens(m, prompt, ret);
}

int model_read_turns(
	struct model *m, const struct turn *turns, size_t n_turns, struct model_tokens *ret, char reason[MODEL_REASON_MAX])
{
	struct buf b = BUF_INIT(PROTO_MAX_MESSAGE * 2);
	int rc;

	(void)reason;
	for (size_t i = 0; i < n_turns; i++)
		buf_addf(&b, "%.*s: %.*s\n", SPAN_FMT(turns[i].role), SPAN_FMT(turns[i].content));
	rc = b.err != 0 ? ERR_NOMEM : to_tokens(m, buf_span(&b), ret);
	buf_fini(&b);
	return rc;
}

size_t model_n_tokens(const struct model *m)
{
	(void)m;
	return N_TOKENS;
}

bool model_has_token(const struct model *m, uint32_t id)
{
	(void)m;
	return id < N_TOKENS;
}

void model_piece(const struct model *m, uint32_t id, struct buf *out)
{
	(void)m;
	if (id < TOKEN_PROMPT_END)
		buf_add(out, &(uint8_t){ (uint8_t)id }, 1);
	else if (id >= SECOND_HALF)
		buf_add_span(out, span_of(second_halves[id - SECOND_HALF]));
	else if (id >= TOKEN_PIECE)
		buf_add_span(out, span_of(pieces[id - TOKEN_PIECE]));
}

bool model_is_end(const struct model *m, uint32_t id)
{
	(void)m;
	return id == TOKEN_END;
}

static int take_token(struct model *m, struct sequence *q, uint32_t id)
{
	if (q->tokens == NULL && (q->tokens = calloc(m->facts.n_ctx, sizeof(*q->tokens))) == NULL)
		return ERR_NOMEM;
	q->tokens[q->n++] = id;
	q->last = id;
	q->hash = rng_mix(q->hash, id);
	q->n_answer += q->is_answer;
	q->is_answer = q->is_answer || id == TOKEN_PROMPT_END;
	return 0;
}

/* Made up from the tokens, of length 1. */
int model_embed(struct model *m, const uint32_t *tokens, size_t n, float *ret)
{
	uint64_t hash = 0;
	double sum = 0;

	if (m->facts.n_embd == 0 || n == 0 || n > MODEL_EMBED_TOKENS)
		return ERR_RANGE;
	for (size_t i = 0; i < n; i++)
		hash = rng_mix(hash, tokens[i]);
	for (size_t i = 0; i < N_EMBD; i++) {
		ret[i] = (float)(rng_mix(hash, i) >> 40) - 0x800000;
		sum += (double)ret[i] * (double)ret[i];
	}
	for (size_t i = 0; i < N_EMBD; i++)
		ret[i] = (float)((double)ret[i] / sqrt(sum));
	sleep_us(m->set.delay_us);
	return 0;
}

int model_compute(struct model *m, const struct model_rows *rows, size_t n_rows)
{
	for (size_t i = 0; i < n_rows; i++) {
		struct sequence *q = &m->seq[rows[i].seq];

		/* The host must go on where the sequence ends, and never past its context. */
		if (rows[i].first != q->n || q->n + rows[i].n > m->facts.n_ctx)
			abort();
		for (size_t k = 0; k < rows[i].n; k++)
			if (take_token(m, q, rows[i].tokens[k]) < 0)
				return ERR_NOMEM;
		m->picked[i] = *q;
	}
	sleep_us(m->set.delay_us);
	return 0;
}

void model_set_threads(struct model *m, size_t n_threads)
{
	(void)m;
	(void)n_threads;
}

uint64_t model_chunks_us(const struct model *m)
{
	(void)m;
	return 0;
}

void model_drop(struct model *m, size_t seq)
{
	m->seq[seq] = (struct sequence){ .tokens = m->seq[seq].tokens };
}

/* The same state as if its tokens had just come; one that is not there would be a different answer. */
size_t model_keep(struct model *m, size_t seq, size_t from, size_t n)
{
	const struct sequence *f = &m->seq[from];

	if (n > f->n)
		abort();
	model_drop(m, seq);
	for (size_t i = 0; i < n; i++)
		if (take_token(m, &m->seq[seq], f->tokens[i]) < 0)
			return model_drop(m, seq), 0;
	return n;
}

size_t model_state_size(struct model *m, size_t seq, size_t n_tokens)
{
	return m->seq[seq].n == n_tokens ? n_tokens * sizeof(uint32_t) : 0;
}

int model_state_get(struct model *m, size_t seq, uint8_t *ret, size_t size)
{
	memcpy(ret, m->seq[seq].tokens, size);
	return 0;
}

int model_state_set(struct model *m, size_t seq, const uint8_t *state, size_t size, size_t n_tokens)
{
	if (m->seq[seq].n != 0)
		abort();
	for (size_t i = 0; i < n_tokens; i++) {
		uint32_t id;

		memcpy(&id, state + i * sizeof(id), sizeof(id));
		if (size != n_tokens * sizeof(id) || take_token(m, &m->seq[seq], id) < 0)
			return model_drop(m, seq), ERR_RANGE;
	}
	return 0;
}

/* ---- picking ---- */

/* The tokens that may follow, each a little less likely than the one before.  No character
 * begins with the last token, which would never see its other half. */
static uint32_t follower(const struct model *m, const struct sequence *q, uint32_t k)
{
	size_t n_usable = N_PIECES - (q->n_answer + 1 == m->set.tokens ? N_HALVES : 0);

	return TOKEN_PIECE + (uint32_t)(rng_mix(q->hash, k) % n_usable);
}

/* A character has begun: only its other half may follow. */
static bool is_half(const struct sequence *q)
{
	return q->last >= FIRST_HALF && q->last < SECOND_HALF;
}

static uint32_t second_half(const struct sequence *q)
{
	return q->last - FIRST_HALF + SECOND_HALF;
}

const float *model_logits(struct model *m, size_t i, size_t *ret_n)
{
	const struct sequence *q = &m->picked[i];

	for (uint32_t k = 0; k < N_TOKENS; k++)
		m->logits[k] = -INFINITY;
	if (is_half(q))
		m->logits[second_half(q)] = 0;
	for (uint32_t k = N_CANDIDATES; k-- > 0 && !is_half(q);)
		m->logits[follower(m, q, k)] = -(float)k;
	*ret_n = N_TOKENS;
	return m->logits;
}

int picker_new(struct model *m, const struct sampling *s, struct picker **ret)
{
	struct picker *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return ERR_NOMEM;
	p->m = m;
	p->ignores_end = s->ignore_eos;
	p->temperature = s->temperature;
	*ret = p;
	return 0;
}

struct picker *picker_free(struct picker *p)
{
	free(p);
	return NULL;
}

void picker_saw(struct picker *p, uint32_t id)
{
	(void)p;
	(void)id;
}

/* Held to a grammar, which its few candidates would hardly fit: any of the allowed ones. */
static size_t pick_allowed(struct picker *p, const struct sequence *q, const uint8_t *allowed)
{
	size_t n = 0;

	for (uint32_t k = 0; k < N_TOKENS && n < N_CANDIDATES; k++) {
		uint32_t id = (uint32_t)((rng_mix(q->hash, 99) + k) % N_TOKENS);

		if (allowed[id])
			p->c[n++] = (struct candidate){ .id = id };
	}
	return n;
}

size_t picker_candidates(struct picker *p, size_t i, const uint8_t *allowed, const struct candidate **ret)
{
	const struct sequence *q = &p->m->picked[i];

	fail_at(&p->m->set, q->n_answer);
	*ret = p->c;
	if (allowed != NULL)
		return pick_allowed(p, q, allowed);
	p->c[0] = (struct candidate){ .id = TOKEN_END };
	if (!p->ignores_end && q->n_answer >= p->m->set.tokens)
		return 1;
	p->c[0].id = second_half(q);
	if (is_half(q))
		return 1;
	for (uint32_t k = 0; k < N_CANDIDATES; k++)
		p->c[k] = (struct candidate){ .id = follower(p->m, q, k),
			.logit = p->temperature > 0 ? (float)(-(double)k / p->temperature) : -(float)k };
	return N_CANDIDATES;
}
