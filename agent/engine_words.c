#include "engine_words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "log.h"

#define LINE_BYTES 512
#define READ_BYTES 16384
#define LAST_READS 8       /* of READ_BYTES, after its end: more than a pipe holds */
#define LINES_MAX 60       /* at once, */
#define LINE_EVERY_MS 1000 /* and one more each time this has passed */

struct engine_words {
	struct loop *loop;
	struct loop_io *io;
	int fd;
	engine_words_fn fn;
	void *ctx;
	char line[LINE_BYTES];
	size_t n;
	bool is_cut; /* the rest of this line is not kept */
	uint64_t n_allowed, allowed_ms;
	uint64_t n_dropped;
};

/* "<4>text" is a warning; what says no level is information. */
static int take_level(struct span *line)
{
	int level;

	if (line->n < 3 || line->p[0] != '<' || line->p[1] < '0' || line->p[1] > '7' || line->p[2] != '>')
		return LOG_INFO;
	level = line->p[1] - '0';
	*line = span_mem(line->p + 3, line->n - 3);
	return level < LOG_ERROR ? LOG_ERROR : level;
}

static bool is_allowed(struct engine_words *w)
{
	uint64_t now = loop_now_ms(w->loop), more = (now - w->allowed_ms) / LINE_EVERY_MS;

	w->n_allowed = w->n_allowed + more > LINES_MAX ? LINES_MAX : w->n_allowed + more;
	w->allowed_ms += more * LINE_EVERY_MS;
	if (w->n_allowed == 0)
		return false;
	w->n_allowed--;
	return true;
}

static void say_dropped(struct engine_words *w)
{
	struct buf text = BUF_INIT(128);

	if (w->n_dropped == 0)
		return;
	buf_addf(&text, "%llu more lines, which are left out", (unsigned long long)w->n_dropped);
	w->n_dropped = 0;
	w->fn(w->ctx, LOG_WARN, buf_span(&text));
	buf_fini(&text);
}

static void end_line(struct engine_words *w)
{
	struct span line = span_mem(w->line, w->n);
	int level = take_level(&line);

	w->n = 0;
	w->is_cut = false;
	if (line.n == 0)
		return;
	if (!is_allowed(w)) {
		w->n_dropped++;
		return;
	}
	say_dropped(w);
	w->fn(w->ctx, level, line);
}

static void take(struct engine_words *w, const char *p, size_t n)
{
	while (n > 0) {
		const char *end = memchr(p, '\n', n);
		size_t len = end != NULL ? (size_t)(end - p) : n, room = w->is_cut ? 0 : LINE_BYTES - w->n;

		memcpy(w->line + w->n, p, len < room ? len : room);
		w->n += len < room ? len : room;
		w->is_cut |= len > room;
		if (end == NULL)
			return;
		end_line(w);
		n -= len + 1;
		p = end + 1;
	}
}

/* False when there is no more now, or ever. */
static bool read_some(struct engine_words *w)
{
	char bytes[READ_BYTES];
	ssize_t n = read(w->fd, bytes, sizeof(bytes));

	if (n > 0)
		take(w, bytes, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		w->io = loop_io_free(w->io);
	return n > 0;
}

static void on_readable(void *ctx, uint32_t events)
{
	(void)events;
	(void)read_some(ctx);
}

int engine_words_new(struct loop *loop, engine_words_fn fn, void *ctx, int *ret_fd, struct engine_words **ret)
{
	struct engine_words *w = calloc(1, sizeof(*w));
	int fds[2], rc;

	if (w == NULL)
		return ERR_NOMEM;
	*w = (struct engine_words){
		.loop = loop, .fn = fn, .ctx = ctx, .fd = -1, .n_allowed = LINES_MAX, .allowed_ms = loop_now_ms(loop)
	};
	if (pipe2(fds, O_CLOEXEC) < 0) {
		rc = -errno;
		free(w);
		return rc;
	}
	w->fd = fds[0];
	/* Ours alone does not wait: the engine's end is as any program expects its standard error. */
	rc = fcntl(w->fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : loop_io_new(loop, w->fd, EPOLLIN, on_readable, w, &w->io);
	if (rc < 0) {
		engine_words_free(w);
		close(fds[1]);
		return rc;
	}
	*ret_fd = fds[1];
	*ret = w;
	return 0;
}

struct engine_words *engine_words_free(struct engine_words *w)
{
	if (w == NULL)
		return NULL;
	for (int i = 0; i < LAST_READS && read_some(w); i++)
		;
	end_line(w);
	say_dropped(w);
	loop_io_free(w->io);
	close(w->fd);
	free(w);
	return NULL;
}
