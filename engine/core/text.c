#include "text.h"

#include <stdlib.h>

#define TEXT_MAX_BYTES ((size_t)1 << 20)
#define TEXT_INSIDE UINT32_MAX

int text_init(struct text *t, const struct span *stop, size_t n_stop)
{
	*t = (struct text){
		.bytes = BUF_INIT(TEXT_MAX_BYTES),
		.ids = BUF_INIT(TEXT_MAX_TOKENS * sizeof(uint32_t)),
		.ends = BUF_INIT(TEXT_MAX_TOKENS * sizeof(uint32_t)),
	};
	for (size_t i = 0; i < n_stop && i < PROTO_MAX_STOP; i++) {
		if (stop[i].n == 0)
			continue;
		if (span_dup(stop[i], &t->stop[t->n_stop]) < 0) {
			text_fini(t);
			return ERR_NOMEM;
		}
		t->n_stop++;
	}
	return 0;
}

void text_fini(struct text *t)
{
	for (size_t i = 0; i < t->n_stop; i++)
		free((void *)(uintptr_t)t->stop[i].p);
	buf_fini(&t->bytes);
	buf_fini(&t->ids);
	buf_fini(&t->ends);
	*t = (struct text){ .n_stop = 0 };
}

/* ---- bytes to UTF-8 ---- */

/* Length of the character that begins with b; 0 when none does. */
static size_t char_length(uint8_t b)
{
	if (b < 0x80)
		return 1;
	if (b >= 0xc2 && b <= 0xdf)
		return 2;
	if (b >= 0xe0 && b <= 0xef)
		return 3;
	return b >= 0xf0 && b <= 0xf4 ? 4 : 0;
}

/* True when b may follow the n bytes at p: no overlong forms, surrogates, or beyond U+10FFFF. */
static bool may_follow(const uint8_t *p, size_t n, uint8_t b)
{
	if (n == 1 && p[0] == 0xe0)
		return b >= 0xa0 && b <= 0xbf;
	if (n == 1 && p[0] == 0xed)
		return b >= 0x80 && b <= 0x9f;
	if (n == 1 && p[0] == 0xf0)
		return b >= 0x90 && b <= 0xbf;
	if (n == 1 && p[0] == 0xf4)
		return b >= 0x80 && b <= 0x8f;
	return b >= 0x80 && b <= 0xbf;
}

static void add_replacement(struct text *t)
{
	buf_add_span(&t->bytes, SPAN("\xef\xbf\xbd"));
}

static void add_byte(struct text *t, uint8_t b)
{
	if (t->n_part > 0 && !may_follow(t->part, t->n_part, b)) {
		add_replacement(t);
		t->n_part = 0;
	}
	if (t->n_part == 0 && char_length(b) == 0) {
		add_replacement(t);
		return;
	}
	t->part[t->n_part++] = b;
	if (t->n_part == char_length(t->part[0])) {
		buf_add(&t->bytes, t->part, t->n_part);
		t->n_part = 0;
	}
}

/* ---- stop strings ---- */

static bool matches_at(const struct text *t, size_t at, struct span stop)
{
	size_t n = t->bytes.n - at;

	return memcmp(t->bytes.p + at, stop.p, n < stop.n ? n : stop.n) == 0;
}

/* Where the earliest stop string begins that is there as a whole, or that may still become
 * so; the end of the text when none does. */
static size_t find_stop(const struct text *t, bool is_whole)
{
	for (size_t at = 0; at < t->bytes.n; at++)
		for (size_t i = 0; i < t->n_stop; i++)
			if ((t->bytes.n - at >= t->stop[i].n) == is_whole && matches_at(t, at, t->stop[i]))
				return at;
	return t->bytes.n;
}

/* ---- tokens ---- */

static size_t n_pending(const struct text *t)
{
	return t->ids.n / sizeof(uint32_t);
}

static uint32_t end_of(const struct text *t, size_t i)
{
	uint32_t end;

	memcpy(&end, t->ends.p + i * sizeof(end), sizeof(end));
	return end;
}

static int error_of(const struct text *t)
{
	if (t->bytes.err != 0)
		return t->bytes.err;
	return t->ids.err != 0 ? t->ids.err : t->ends.err;
}

/* All tokens that end at or before `limit`, on the border of a character, are ready. */
static void release(struct text *t, size_t limit)
{
	for (size_t i = t->n_ready; i < n_pending(t) && (end_of(t, i) <= limit || end_of(t, i) == TEXT_INSIDE); i++) {
		if (end_of(t, i) == TEXT_INSIDE)
			continue;
		t->n_ready = i + 1;
		t->ready = end_of(t, i);
	}
}

static void release_all(struct text *t, size_t n_bytes)
{
	t->n_ready = n_pending(t);
	t->ready = n_bytes;
}

int text_add(struct text *t, uint32_t id, struct span piece)
{
	uint32_t end;
	size_t stop;

	for (size_t i = 0; i < piece.n; i++)
		add_byte(t, (uint8_t)piece.p[i]);
	end = t->n_part > 0 ? TEXT_INSIDE : (uint32_t)t->bytes.n;
	buf_add(&t->ids, &id, sizeof(id));
	buf_add(&t->ends, &end, sizeof(end));
	if (error_of(t) != 0)
		return error_of(t);

	stop = find_stop(t, true);
	if (stop < t->bytes.n) {
		release_all(t, stop);
		t->has_stopped = true;
		return 1;
	}
	release(t, find_stop(t, false));
	/* Only tokens without text pile up so: better a stop string missed than no room. */
	if (n_pending(t) == TEXT_MAX_TOKENS)
		return text_end(t);
	return 0;
}

int text_end(struct text *t)
{
	if (t->has_stopped)
		return 0;
	if (t->n_part > 0) {
		add_replacement(t);
		t->n_part = 0;
	}
	release_all(t, t->bytes.n);
	return error_of(t);
}

size_t text_take(struct text *t, const uint32_t **ret_ids, struct span *ret_text)
{
	*ret_ids = (const uint32_t *)(const void *)t->ids.p;
	*ret_text = span_mem(t->bytes.p, t->ready);
	return t->n_ready;
}

/* The ends that stay are counted from the new beginning. */
void text_taken(struct text *t)
{
	size_t n = t->n_ready * sizeof(uint32_t);

	buf_consume(&t->ids, n);
	buf_consume(&t->ends, n);
	for (size_t i = 0; i < n_pending(t); i++) {
		uint32_t end = end_of(t, i);

		if (end != TEXT_INSIDE)
			end -= (uint32_t)t->ready;
		memcpy(t->ends.p + i * sizeof(end), &end, sizeof(end));
	}
	buf_consume(&t->bytes, t->ready);
	t->ready = t->n_ready = 0;
}
