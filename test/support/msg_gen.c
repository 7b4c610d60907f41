#include "msg_gen.h"

#include <stdlib.h>

#include "engine_proto.h"
#include "proto.h"

const struct msg_type *const msg_gen_types[] = { &turn_type, &sampling_type, &usage_type, &timings_type, &model_info_type,
	&hardware_type, &registration_type, &status_type, &heartbeat_type, &hub_status_type, &job_type, &control_type,
	&job_event_type, &submit_type, &cancel_type, &presence_type, &route_candidate_type, &receipt_type, &answer_type, &engine_msg_type,
	&code_count_type, &figures_type, &sensors_type, &embedding_type, &json_schema_type, &response_format_type,
	&alternative_type, &token_prob_type, &top_logprob_type, &logprob_type, &admin_type, NULL };

static void *must(void *p)
{
	if (p == NULL)
		abort(); /* the test's arena is too small */
	return p;
}

static void set(void *m, size_t offset, const void *v, size_t n)
{
	memcpy((char *)m + offset, v, n);
}

static uint64_t gen_uint(struct rng *rng, uint64_t max)
{
	switch (rng_below(rng, 4)) {
	case 0: return rng_below(rng, max < 30 ? max + 1 : 30);
	case 1: return max;
	case 2: return max == UINT64_MAX ? rng_next(rng) : rng_below(rng, max + 1);
	default: return rng_next(rng) >> rng_below(rng, 64) & max;
	}
}

static struct span gen_bytes(struct rng *rng, struct arena *arena, uint64_t max)
{
	size_t n = (size_t)rng_below(rng, max < 40 ? max + 1 : 40);
	char *p = must(arena_alloc(arena, n, 1));

	for (size_t i = 0; i < n; i++)
		p[i] = (char)rng_next(rng);
	return span_mem(p, n);
}

static struct span gen_text(struct rng *rng, struct arena *arena, uint64_t max)
{
	static const char *const pieces[] = { "a", "Z", "\"", "\\", "\n", "é", "€", "😀", "\x01", "/", " " };
	char *p = must(arena_alloc(arena, 64, 1));
	size_t n = 0;

	for (uint64_t k = rng_below(rng, 16); k > 0; k--) {
		struct span s = span_of(pieces[rng_below(rng, sizeof(pieces) / sizeof(pieces[0]))]);

		if (n + s.n > max)
			break;
		memcpy(p + n, s.p, s.n);
		n += s.n;
	}
	return span_mem(p, n);
}

static double gen_real(struct rng *rng)
{
	switch (rng_below(rng, 4)) {
	case 0: return (double)rng_below(rng, 100);
	case 1: return -1.5;
	case 2: return rng_real(rng) * 1e300;
	default: return rng_real(rng);
	}
}

static struct span gen_floats(struct rng *rng, struct arena *arena)
{
	size_t n = (size_t)rng_below(rng, 5);
	float *v = must(arena_alloc(arena, n, sizeof(*v)));

	for (size_t i = 0; i < n; i++)
		v[i] = (float)(rng_real(rng) * 2 - 1);
	return span_mem(v, n * sizeof(*v));
}

static size_t gen_list(struct rng *rng, const struct msg_field *f, struct arena *arena, const void **ret)
{
	size_t n = (size_t)rng_below(rng, f->max < 6 ? f->max + 1 : 6);
	size_t size = msg_item_size(f);
	char *items = must(arena_alloc(arena, n, size));

	for (size_t i = 0; i < n; i++) {
		uint32_t v = (uint32_t)rng_next(rng);
		struct span s;

		if (f->kind == MSG_WEIGHTS) {
			struct msg_weight w = { .id = (uint32_t)i << 28 | v >> 4, .value = gen_real(rng) };

			set(items, i * size, &w, sizeof(w));
		} else if (f->kind == MSG_UINTS) {
			set(items, i * size, &v, sizeof(v));
		} else if (f->kind == MSG_TEXTS) {
			s = gen_text(rng, arena, MSG_TEXT_ITEM_MAX);
			set(items, i * size, &s, sizeof(s));
		} else {
			msg_gen(rng, f->sub, arena, items + i * size);
		}
	}
	*ret = items;
	return n;
}

static void gen_field(struct rng *rng, const struct msg_field *f, struct arena *arena, void *m)
{
	static const char *const values[] = { "1", "\"a\"", "{\"b\":[true,null],\"a\":1}", "[]" };
	uint64_t u = gen_uint(rng, f->kind == MSG_ENUM ? f->max - 1 : f->max);
	int64_t i = (int64_t)rng_next(rng) >> rng_below(rng, 63);
	double d = gen_real(rng);
	bool b = (u & 1) != 0;
	unsigned e = (unsigned)u;
	struct span s;
	const void *items;
	size_t n;

	switch (f->kind) {
	case MSG_UINT: set(m, f->offset, &u, sizeof(u)); break;
	case MSG_INT: set(m, f->offset, &i, sizeof(i)); break;
	case MSG_REAL: set(m, f->offset, &d, sizeof(d)); break;
	case MSG_BOOL: set(m, f->offset, &b, sizeof(b)); break;
	case MSG_ENUM: set(m, f->offset, &e, sizeof(e)); break;
	case MSG_TEXT:
		s = gen_text(rng, arena, f->max);
		set(m, f->offset, &s, sizeof(s));
		break;
	case MSG_FLOATS:
		s = gen_floats(rng, arena);
		set(m, f->offset, &s, sizeof(s));
		break;
	case MSG_JSON:
		s = span_of(values[rng_below(rng, sizeof(values) / sizeof(values[0]))]);
		set(m, f->offset, &s, sizeof(s));
		break;
	case MSG_BYTES:
		s = gen_bytes(rng, arena, f->max);
		set(m, f->offset, &s, sizeof(s));
		break;
	case MSG_SUB: msg_gen(rng, f->sub, arena, (char *)m + f->offset); break;
	case MSG_NULL: return;
	default:
		n = gen_list(rng, f, arena, &items);
		set(m, f->offset, &items, sizeof(items));
		set(m, f->n_offset, &n, sizeof(n));
		break;
	}
	msg_set(m, f->key);
}

void msg_gen(struct rng *rng, const struct msg_type *t, struct arena *arena, void *ret)
{
	memset(ret, 0, t->size);
	for (size_t i = 0; i < t->n_fields; i++)
		if ((t->fields[i].flags & MSG_REQ) != 0 || rng_below(rng, 2) == 0)
			gen_field(rng, &t->fields[i], arena, ret);
}

static bool weight_equal(const void *a, const void *b, size_t i)
{
	const struct msg_weight *x = a, *y = b;

	return x[i].id == y[i].id && memcmp(&x[i].value, &y[i].value, sizeof(x[i].value)) == 0;
}

static bool list_equal(const struct msg_field *f, const char *a, const char *b)
{
	size_t na, nb;
	const char *pa, *pb;

	memcpy(&na, a + f->n_offset, sizeof(na));
	memcpy(&nb, b + f->n_offset, sizeof(nb));
	memcpy(&pa, a + f->offset, sizeof(pa));
	memcpy(&pb, b + f->offset, sizeof(pb));
	if (na != nb)
		return false;
	for (size_t i = 0; i < na; i++) {
		if (f->kind == MSG_UINTS && memcmp(pa + 4 * i, pb + 4 * i, 4) != 0)
			return false;
		if (f->kind == MSG_TEXTS &&
			!span_eq(((const struct span *)(const void *)pa)[i], ((const struct span *)(const void *)pb)[i]))
			return false;
		if (f->kind == MSG_WEIGHTS && !weight_equal(pa, pb, i))
			return false;
		if (f->kind == MSG_SUBS && !msg_equal(f->sub, pa + i * f->sub->size, pb + i * f->sub->size))
			return false;
	}
	return true;
}

static bool field_equal(const struct msg_field *f, const char *a, const char *b)
{
	struct span sa, sb;

	switch (f->kind) {
	case MSG_UINT:
	case MSG_INT:
	case MSG_REAL: return memcmp(a + f->offset, b + f->offset, 8) == 0;
	case MSG_BOOL: return memcmp(a + f->offset, b + f->offset, sizeof(bool)) == 0;
	case MSG_ENUM: return memcmp(a + f->offset, b + f->offset, sizeof(unsigned)) == 0;
	case MSG_TEXT:
	case MSG_JSON:
	case MSG_FLOATS:
	case MSG_BYTES:
		memcpy(&sa, a + f->offset, sizeof(sa));
		memcpy(&sb, b + f->offset, sizeof(sb));
		return span_eq(sa, sb);
	case MSG_SUB: return msg_equal(f->sub, a + f->offset, b + f->offset);
	case MSG_NULL: return true;
	default: return list_equal(f, a, b);
	}
}

bool msg_equal(const struct msg_type *t, const void *a, const void *b)
{
	for (size_t i = 0; i < t->n_fields; i++) {
		const struct msg_field *f = &t->fields[i];

		if (msg_field_present(f, a) != msg_field_present(f, b) || !field_equal(f, a, b))
			return false;
	}
	return true;
}
