#include "pace.h"

#include <math.h>

#define WEIGHT 0.25 /* of the newest measure */
#define OUTLIER 2   /* so many times the mean is what the machine did, not the model */
#define LEAST_US 0.01
#define RETRY_MIN 8 /* steps with a single row until two are tried again */
#define RETRY_MAX 512

void pace_init(struct pace *p, double gap)
{
	*p = (struct pace){ .gap = gap > 0 ? gap : PACE_GAP, .beside = 1, .credit = PACE_CREDIT, .retry = RETRY_MIN };
}

void pace_limit(const struct pace *p, struct plan_limits *limits)
{
	limits->beside = p->beside;
	limits->whole = p->credit;
}

static void average(double *mean, double sample, bool is_known)
{
	if (is_known)
		sample = *mean + WEIGHT * (fmin(sample, *mean * OUTLIER + LEAST_US) - *mean);
	*mean = sample;
}

/* A single row says nothing about the price of more; the last price may be one of other times.
 * So it is asked again, the less often the more often the answer was the same. */
static void note_least(struct pace *p, size_t before)
{
	if (before > 1 && p->beside > 1) {
		p->n_same++;
	} else if (before > 1) {
		p->retry = p->n_same < RETRY_MIN ? p->retry * 2 : RETRY_MIN;
		p->retry = p->retry < RETRY_MAX ? p->retry : RETRY_MAX;
		p->n_same = 0;
	} else if (p->beside > 1) {
		p->n_same = 0;
	} else if (++p->n_same >= p->retry) {
		p->has_price = false;
		p->beside = 2;
		p->n_same = 0;
	}
}

static void next_size(struct pace *p, size_t n_last, size_t n_generating)
{
	size_t before = p->beside;
	double most = (double)(n_last < before ? before : 2 * before); /* less went in: the end of a prompt */
	/* Next tokens take longer between pieces of a prompt, which push weights out of caches. */
	double without_us = p->n_alone == n_generating ? fmin(p->alone_us, p->decode_us) : p->decode_us;
	double left_us = p->gap * without_us - p->decode_us;
	double rows = p->has_price ? left_us / fmax(p->row_us, LEAST_US) : 2;

	p->beside = rows < 1 ? 1 : (size_t)fmin(rows, most);
	note_least(p, before);
}

void pace_took(struct pace *p, const struct plan_seq *seqs, size_t n_seqs, uint64_t chunks_us, uint64_t singles_us)
{
	size_t n_generating = 0, n_joined = 0, n_chunks = 0;

	for (size_t i = 0; i < n_seqs; i++) {
		n_generating += seqs[i].n > 0 && seqs[i].is_generating;
		n_joined += seqs[i].n == 1 && !seqs[i].is_generating;
		n_chunks += seqs[i].n > 1 ? seqs[i].n : 0;
	}
	if (n_generating == 0) {
		p->credit = PACE_CREDIT;
		return;
	}
	p->credit = p->credit + PACE_REFILL < PACE_CREDIT ? p->credit + PACE_REFILL : PACE_CREDIT;
	if (n_joined + n_chunks == 0) {
		average(&p->alone_us, (double)singles_us, p->n_alone == n_generating);
		p->n_alone = n_generating;
	}
	if (n_joined == 0)
		average(&p->decode_us, (double)singles_us, p->decode_us > 0);
	if (n_joined + n_chunks > p->beside) { /* some went in whole: nothing to learn for small ones */
		p->credit -= n_joined + n_chunks < p->credit ? n_joined + n_chunks : p->credit;
		return;
	}
	if (n_chunks > 0) {
		average(&p->row_us, (double)chunks_us / (double)n_chunks, p->has_price);
		p->has_price = true;
	}
	if (n_chunks + n_joined > 0)
		next_size(p, n_chunks + n_joined, n_generating);
}
