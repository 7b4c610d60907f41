/* frame.h - length-prefixed messages on a byte stream (fd 3 of the engine).  Pure. */
#ifndef SHOAL_FRAME_H
#define SHOAL_FRAME_H

#include <stdbool.h>

#include "err.h"
#include "span.h"

#define FRAME_HEADER 4 /* big-endian length */

/* Reader: bytes go in with buf_add(), whole frames come out. */
struct frame_in {
	struct buf buf;
	size_t max;  /* greatest payload */
	size_t used; /* of buf: frames already handed out */
};

void frame_in_init(struct frame_in *f, size_t max);
void frame_in_fini(struct frame_in *f);
/* Room for the next read(): returns the place and its size in *ret_cap. */
void *frame_in_space(struct frame_in *f, size_t *ret_cap);
void frame_in_added(struct frame_in *f, size_t n);
/* 1: *ret is the next payload (valid until the next frame_in_space());
 * 0: more bytes are needed; ERR_TOOBIG or ERR_NOMEM: the stream is lost. */
SHOAL_CHECK int frame_in_next(struct frame_in *f, struct span *ret);

/* True when a frame has begun to come in and is not whole. */
static inline bool frame_in_has_part(const struct frame_in *f)
{
	return f->buf.n > f->used;
}

/* Writer: opens a frame at the end of out, to be closed when its payload is there. */
size_t frame_begin(struct buf *out);
void frame_end(struct buf *out, size_t begin);

#endif
