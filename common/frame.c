#include "frame.h"

#define FRAME_READ 16384 /* room offered for one read() */

void frame_in_init(struct frame_in *f, size_t max)
{
	*f = (struct frame_in){ .buf = BUF_INIT(max + FRAME_HEADER + FRAME_READ), .max = max };
}

void frame_in_fini(struct frame_in *f)
{
	buf_fini(&f->buf);
}

void *frame_in_space(struct frame_in *f, size_t *ret_cap)
{
	buf_consume(&f->buf, f->used);
	f->used = 0;
	*ret_cap = FRAME_READ;
	return buf_reserve(&f->buf, FRAME_READ);
}

void frame_in_added(struct frame_in *f, size_t n)
{
	f->buf.n += n;
}

static size_t length_at(const uint8_t *p)
{
	return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

int frame_in_next(struct frame_in *f, struct span *ret)
{
	const uint8_t *p = f->buf.p + f->used;
	size_t left = f->buf.n - f->used, n;

	if (f->buf.err != 0)
		return f->buf.err;
	if (left < FRAME_HEADER)
		return 0;
	n = length_at(p);
	if (n > f->max)
		return ERR_TOOBIG;
	if (left - FRAME_HEADER < n)
		return 0;
	*ret = span_mem(p + FRAME_HEADER, n);
	f->used += FRAME_HEADER + n;
	return 1;
}

size_t frame_begin(struct buf *out)
{
	size_t begin = out->n;

	buf_add(out, "\0\0\0", FRAME_HEADER);
	return begin;
}

void frame_end(struct buf *out, size_t begin)
{
	size_t n;

	if (out->err != 0)
		return;
	n = out->n - begin - FRAME_HEADER;
	out->p[begin] = (uint8_t)(n >> 24);
	out->p[begin + 1] = (uint8_t)(n >> 16);
	out->p[begin + 2] = (uint8_t)(n >> 8);
	out->p[begin + 3] = (uint8_t)n;
}
