#include "benchfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hwtext.h"
#include "log.h"

#define NAME "benchmarks"
#define LINE_SIZE 512

static struct span next_word(struct span *rest)
{
	const char *at = rest->n > 0 ? memchr(rest->p, ' ', rest->n) : NULL;
	size_t n = at != NULL ? (size_t)(at - rest->p) : rest->n;
	struct span word = span_mem(rest->p, n);

	rest->p += at != NULL ? n + 1 : n;
	rest->n -= at != NULL ? n + 1 : n;
	return word;
}

static bool take_number(struct span *rest, uint64_t *ret)
{
	int64_t value;

	if (!hwtext_int(next_word(rest), &value) || value < 0)
		return false;
	*ret = (uint64_t)value;
	return true;
}

static bool take_digest(struct span *rest, uint8_t ret[32])
{
	struct span hex = next_word(rest);
	uint64_t byte;

	if (hex.n != 64)
		return false;
	for (size_t i = 0; i < 32; i++) {
		if (!hwtext_hex(span_mem(hex.p + 2 * i, 2), &byte))
			return false;
		ret[i] = (uint8_t)byte;
	}
	return true;
}

/* "<digest> <threads> <prefill> <decode> <build>" */
static bool parse(struct span line, struct agent_bench *ret)
{
	memset(ret, 0, sizeof(*ret));
	return take_digest(&line, ret->digest) && take_number(&line, &ret->threads) &&
	       take_number(&line, &ret->prefill_milli) && take_number(&line, &ret->decode_milli) && ret->prefill_milli > 0 &&
	       ret->decode_milli > 0 && line.n > 0 && span_is_utf8(line) &&
	       span_copy(line, ret->build, sizeof(ret->build)) == 0;
}

void benchfile_read(int dir_fd, struct benchfile *ret)
{
	int fd = openat(dir_fd, NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
	char line[LINE_SIZE];
	size_t n_bad = 0;

	*ret = (struct benchfile){ .dir_fd = dir_fd };
	if (f == NULL && fd >= 0)
		close(fd);
	if (f == NULL)
		return;
	while (ret->n < BENCHFILE_MAX && fgets(line, sizeof(line), f) != NULL) {
		bool is_good = parse(hwtext_trim(span_of(line)), &ret->list[ret->n]);

		ret->n += is_good;
		n_bad += !is_good;
	}
	fclose(f);
	if (n_bad > 0)
		log_warn("agent",
			"%zu lines of the file \"" NAME
			"\" in state_dir are not understood: those models are measured again",
			n_bad);
}

static int write_line(FILE *f, const struct agent_bench *b)
{
	for (size_t i = 0; i < sizeof(b->digest); i++)
		if (fprintf(f, "%02x", b->digest[i]) < 0)
			return -EIO;
	return fprintf(f, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n", b->threads, b->prefill_milli, b->decode_milli,
		       b->build) < 0
		       ? -EIO
		       : 0;
}

/* Not synced: after a power cut it is the old one, the new one, or measured again. */
static int write_file(const struct benchfile *f)
{
	int rc = 0, fd = openat(f->dir_fd, NAME ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;

	if (out == NULL) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	for (size_t i = 0; i < f->n && rc == 0; i++)
		rc = write_line(out, &f->list[i]);
	if (fclose(out) != 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && renameat(f->dir_fd, NAME ".new", f->dir_fd, NAME) < 0)
		rc = -errno;
	return rc;
}

int benchfile_add(struct benchfile *f, const struct agent_bench *b)
{
	size_t at = 0;

	while (at < f->n && !agent_bench_is_same(&f->list[at], b))
		at++;
	if (at == BENCHFILE_MAX)
		at--;
	if (at == f->n)
		f->n++;
	memmove(&f->list[1], &f->list[0], at * sizeof(f->list[0]));
	f->list[0] = *b;
	return write_file(f);
}
