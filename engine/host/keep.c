#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "given.h"
#include "kvfile.h"
#include "place.h"

static int refuse_file(struct refusal *r, const char *why)
{
	return refuse(r, CODE_CHECKSUM_MISMATCH, "The saved session %s; its prompt is computed anew.", why);
}

static int no_memory(struct refusal *r)
{
	return refuse(r, CODE_MEMORY_LIMIT_EXCEEDED, "There is no memory for the state of a session.");
}

/* The parts of a file behind its head. */
struct body {
	struct span build;
	const uint32_t *tokens;
	const uint8_t *state;
};

static int checksum(const struct kvfile *k, const struct body *b, uint8_t ret[SHA256_SIZE])
{
	uint8_t head[KVFILE_HEAD];
	struct sha256 *h = sha256_new();

	if (h == NULL)
		return ERR_NOMEM;
	kvfile_encode(k, head);
	sha256_add(h, head, KVFILE_SUMMED);
	sha256_add(h, b->build.p, b->build.n);
	sha256_add(h, b->tokens, (size_t)k->n_tokens * sizeof(uint32_t));
	sha256_add(h, b->state, (size_t)k->n_state);
	sha256_end(h, ret);
	return 0;
}

static struct kvfile describe(const struct keep *k, size_t n_tokens, size_t n_state)
{
	struct kvfile f = { .n_tokens = n_tokens,
		.n_state = n_state,
		.n_sequences = k->n_seqs,
		.n_build = strlen(model_build()),
		.is_exact = model_facts(k->model)->is_exact };

	memcpy(f.digest, k->digest, SHA256_SIZE);
	return f;
}

/* ---- saving ---- */

static const struct seq *find(const struct keep *k, uint64_t job)
{
	for (size_t i = 0; i < k->n_seqs; i++)
		if (k->seqs[i].job == 0 && k->seqs[i].used != 0 && k->seqs[i].last_job == job)
			return &k->seqs[i];
	return NULL;
}

static int write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t done = write(fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

static int write_file(int fd, const struct kvfile *f, const struct body *b)
{
	uint8_t head[KVFILE_HEAD];
	int rc;

	kvfile_encode(f, head);
	rc = write_all(fd, head, sizeof(head));
	if (rc == 0)
		rc = write_all(fd, b->build.p, b->build.n);
	if (rc == 0)
		rc = write_all(fd, b->tokens, (size_t)f->n_tokens * sizeof(uint32_t));
	return rc < 0 ? rc : write_all(fd, b->state, (size_t)f->n_state);
}

static void save(const struct keep *k, const struct seq *s, int fd, uint64_t max_bytes, struct keep_result *ret)
{
	size_t n = model_state_size(k->model, s->number, s->n_computed);
	struct kvfile f = describe(k, s->n_computed, n);
	struct body b = { .build = span_of(model_build()), .tokens = s->tokens };
	uint8_t *state;
	int rc;

	if (n == 0 || kvfile_size(&f) > max_bytes) {
		(void)refuse(&ret->refusal, CODE_TOO_LARGE,
			n == 0 ? "The state of this model cannot be saved."
			       : "The state of the session takes %llu bytes, more than may be saved.",
			(unsigned long long)kvfile_size(&f));
		return;
	}
	state = malloc(n);
	b.state = state;
	if (state == NULL) {
		(void)no_memory(&ret->refusal);
	} else if (model_state_get(k->model, s->number, state, n) < 0) {
		(void)refuse(&ret->refusal, CODE_INTERNAL_ERROR, "The model did not give the state of the session.");
	} else if (checksum(&f, &b, f.checksum) < 0) {
		(void)no_memory(&ret->refusal);
	} else if ((rc = write_file(fd, &f, &b)) < 0) {
		(void)refuse(&ret->refusal, CODE_INTERNAL_ERROR, "The session could not be written: %s.", strerror(-rc));
	} else {
		ret->n_tokens = s->n_computed;
		ret->size = kvfile_size(&f);
	}
	free(state);
}

void keep_save(const struct keep *k, uint64_t job, int fd, uint64_t max_bytes, struct keep_result *ret)
{
	const struct seq *s = find(k, job);
	uint64_t size;
	int rc = given_file(fd, O_WRONLY, &size);

	*ret = (struct keep_result){ .refusal.code = CODE_OK };
	if (rc < 0)
		(void)refuse(
			&ret->refusal, CODE_INTERNAL_ERROR, "The file for a session cannot be written: %s.", given_why(rc));
	else if (s != NULL)
		save(k, s, fd, max_bytes, ret);
}

/* ---- restoring ---- */

static int read_all(int fd, void *p, size_t n, uint64_t from)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = pread(fd, (char *)p + have, n - have, (off_t)(from + have));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		have += (size_t)got;
	}
	return 0;
}

/* Head and build; what follows begins at *ret_at. */
static int read_head(const struct keep *k, int fd, struct kvfile *f, char build[KVFILE_MAX_BUILD], struct refusal *ret)
{
	struct kvfile want = describe(k, 0, 0);
	uint8_t head[KVFILE_HEAD] = { 0 };
	const char *why;
	uint64_t size;
	int rc = given_file(fd, O_RDONLY, &size);

	if (rc == 0 && size >= KVFILE_HEAD)
		rc = read_all(fd, head, sizeof(head), 0);
	if (rc < 0)
		return refuse(ret, CODE_CHECKSUM_MISMATCH, "The saved session cannot be read: %s.", given_why(rc));
	if (kvfile_decode(head, size, f, &why) < 0)
		return refuse_file(ret, why);
	if (read_all(fd, build, (size_t)f->n_build, KVFILE_HEAD) < 0)
		return refuse_file(ret, "cannot be read");
	if (kvfile_check(f, span_mem(build, (size_t)f->n_build), &want, span_of(model_build()), &why) < 0)
		return refuse_file(ret, why);
	if (f->n_tokens > model_facts(k->model)->n_ctx)
		return refuse_file(ret, "is longer than a sequence may be");
	return 0;
}

static int read_tokens(const struct keep *k, int fd, const struct kvfile *f, uint32_t *tokens, struct refusal *ret)
{
	if (read_all(fd, tokens, (size_t)f->n_tokens * sizeof(*tokens), KVFILE_HEAD + f->n_build) < 0)
		return refuse_file(ret, "cannot be read");
	for (uint64_t i = 0; i < f->n_tokens; i++)
		if (!model_has_token(k->model, tokens[i]))
			return refuse_file(ret, "names a token that the model does not have");
	return 0;
}

/* The state of those tokens, read and put into the sequence. */
static int load_state(
	const struct keep *k, int fd, const struct kvfile *f, const struct body *b, struct seq *s, struct refusal *ret)
{
	uint8_t sum[SHA256_SIZE], *state = malloc((size_t)f->n_state);
	struct body whole = { .build = b->build, .tokens = b->tokens, .state = state };
	int rc = 0;

	if (state == NULL)
		return no_memory(ret);
	if (read_all(fd, state, (size_t)f->n_state, kvfile_size(f) - f->n_state) < 0)
		rc = refuse_file(ret, "cannot be read");
	else if (checksum(f, &whole, sum) < 0)
		rc = no_memory(ret);
	else if (memcmp(sum, f->checksum, SHA256_SIZE) != 0)
		rc = refuse_file(ret, "is damaged: its checksum differs");
	if (rc == 0) {
		seq_drop(s, k->model);
		if (model_state_set(k->model, s->number, state, (size_t)f->n_state, (size_t)f->n_tokens) < 0)
			rc = refuse_file(ret, "does not fit the model");
	}
	free(state);
	return rc;
}

static void take_tokens(struct seq *s, uint32_t *tokens, size_t n, uint64_t now)
{
	free(s->tokens);
	*s = (struct seq){
		.number = s->number, .tokens = tokens, .n_tokens = n, .tokens_cap = n, .n_computed = n, .used = now
	};
}

void keep_restore(const struct keep *k, int fd, uint64_t now, struct keep_result *ret)
{
	char build[KVFILE_MAX_BUILD];
	struct prefix_choice place;
	struct kvfile f;
	uint32_t *tokens;
	size_t n;

	*ret = (struct keep_result){ .refusal.code = CODE_OK };
	if (!model_facts(k->model)->can_cut || read_head(k, fd, &f, build, &ret->refusal) < 0)
		return;
	n = (size_t)f.n_tokens;
	tokens = calloc(n, sizeof(*tokens));
	if (tokens == NULL) {
		(void)no_memory(&ret->refusal);
		return;
	}
	if (read_tokens(k, fd, &f, tokens, &ret->refusal) == 0 &&
		place_choose(k->seqs, k->n_seqs, k->model, tokens, n, &place) == 0) {
		struct body b = { .build = span_mem(build, (size_t)f.n_build), .tokens = tokens };

		if (place.keep == n) { /* it is there still */
			ret->n_tokens = n;
		} else if (load_state(k, fd, &f, &b, &k->seqs[place.slot], &ret->refusal) == 0) {
			take_tokens(&k->seqs[place.slot], tokens, n, now);
			tokens = NULL;
			ret->n_tokens = n;
		}
	}
	free(tokens);
}
