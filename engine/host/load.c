#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "given.h"

#define READ_SIZE ((size_t)1 << 20)
#define HASH_SHARE 0.4 /* of the progress bar: reading and hashing; it also warms the page cache */

#define DEFAULT_BATCH_TOKENS 512
#define DEFAULT_FAST_CHUNK 256
#define DEFAULT_SEQUENCES 4

struct progress {
	struct link *link;
	double from, share; /* of the whole bar */
	uint64_t percent;   /* last said */
	int rc;
};

static bool say_progress(void *ctx, double share)
{
	struct progress *p = ctx;
	struct engine_msg m = { .type = ENGINE_PROGRESS, .percent = (uint64_t)(100 * (p->from + share * p->share)) };

	if (m.percent > p->percent && m.percent <= 100) {
		p->percent = m.percent;
		p->rc = link_send(p->link, &m);
	}
	if (p->rc == 0)
		p->rc = link_push(p->link);
	return p->rc == 0;
}

static size_t or_default(uint64_t asked, size_t def)
{
	return asked != 0 ? (size_t)asked : def;
}

void load_config(const struct engine_msg *load, size_t n_cores, struct model_config *config)
{
	config->n_ctx = (size_t)load->n_ctx;
	config->n_parallel = or_default(load->parallel, DEFAULT_SEQUENCES);
	config->n_sequences = config->n_parallel + (size_t)load->keep;
	config->is_fast = load->fast;
	config->embeds = load->embeddings;
	config->chunk = or_default(load->prefill_chunk, load->fast ? DEFAULT_FAST_CHUNK : MODEL_EXACT_ROWS);
	if (!load->fast && config->chunk > MODEL_EXACT_ROWS)
		config->chunk = MODEL_EXACT_ROWS;
	config->batch_tokens = or_default(load->batch_tokens, DEFAULT_BATCH_TOKENS);
	if (config->batch_tokens < config->chunk)
		config->batch_tokens = config->chunk;
	config->max_threads = or_default(load->threads, n_cores);
	/* One core is left to the rest of the box: two busy threads on a core wait for each other. */
	config->n_threads = or_default(load->threads, config->max_threads > 1 ? config->max_threads - 1 : 1);
}

static int hash_fd(int fd, uint64_t size, struct progress *p, uint8_t ret_digest[SHA256_SIZE])
{
	struct sha256 *h = sha256_new();
	uint8_t *block = malloc(READ_SIZE);
	uint64_t done = 0;
	ssize_t n = -1;

	errno = ENOMEM;
	while (h != NULL && block != NULL && (n = pread(fd, block, READ_SIZE, (off_t)done)) > 0) {
		sha256_add(h, block, (size_t)n);
		done += (uint64_t)n;
		if (!say_progress(p, done < size ? (double)done / (double)size : 1))
			break;
	}
	free(block);
	if (n < 0 || p->rc < 0) {
		sha256_free(h);
		return p->rc < 0 ? p->rc : -errno;
	}
	sha256_end(h, ret_digest);
	return 0;
}

static int hash_file(const struct model_config *config, struct progress *p, uint8_t ret_digest[SHA256_SIZE], char *reason)
{
	uint64_t size;
	int rc = given_file(config->file, O_RDONLY, &size);

	if (rc == 0)
		rc = hash_fd(config->file, size, p, ret_digest);
	if (rc < 0 && rc != ERR_CLOSED)
		(void)snprintf(
			reason, MODEL_REASON_MAX, "The model file %.300s cannot be read: %s.", config->path, given_why(rc));
	return rc;
}

int load_model(struct link *l, struct model_config *config, struct model **ret, uint8_t ret_digest[SHA256_SIZE],
	char reason[MODEL_REASON_MAX])
{
	struct progress p = { .link = l, .share = HASH_SHARE };
	int rc = hash_file(config, &p, ret_digest, reason);

	if (rc < 0)
		return rc;
	p.from = HASH_SHARE;
	p.share = 1 - HASH_SHARE;
	config->on_progress = say_progress;
	config->ctx = &p;
	rc = model_open(config, ret, reason);
	return p.rc < 0 ? p.rc : rc;
}
