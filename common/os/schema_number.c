#include "schema_number.h"

#define DIGITS 16

/* Numbers of n digits from a to b, digit by digit: where the first ones differ, those between them
 * may be followed by anything, and each border by what its own digits allow. */
static void add_same_length(struct buf *out, const char *a, const char *b, size_t n)
{
	static const char zeros[] = "0000000000000000", nines[] = "9999999999999999";
	bool is_from_start = n < 2 || memcmp(a + 1, zeros, n - 1) == 0,
	     is_to_end = n < 2 || memcmp(b + 1, nines, n - 1) == 0;
	char low = a[0], high = b[0];

	if (n == 0) {
		buf_addf(out, "\"\"");
		return;
	}
	if (low == high && !(is_from_start && is_to_end)) {
		buf_addf(out, "\"%c\" (", low);
		add_same_length(out, a + 1, b + 1, n - 1);
		buf_addf(out, ")");
		return;
	}
	if (!is_from_start) {
		buf_addf(out, "\"%c\" (", low++);
		add_same_length(out, a + 1, nines, n - 1);
		buf_addf(out, ")%s", low <= high ? " | " : "");
	}
	if (low <= (is_to_end ? high : high - 1)) {
		buf_addf(out, "[%c-%c]", low, is_to_end ? high : high - 1);
		if (n > 1)
			buf_addf(out, " [0-9]{%zu}", n - 1);
		buf_addf(out, "%s", is_to_end ? "" : " | ");
	}
	if (!is_to_end) {
		buf_addf(out, "\"%c\" (", high);
		add_same_length(out, zeros, b + 1, n - 1);
		buf_addf(out, ")");
	}
}

static size_t write_digits(uint64_t v, char ret[DIGITS + 1])
{
	struct buf b = { .p = (uint8_t *)ret, .cap = DIGITS + 1, .max = DIGITS + 1 };

	buf_addf(&b, "%llu", (unsigned long long)v);
	return b.n;
}

/* From a to b, each length of digits an alternative. */
static void add_natural(struct buf *out, uint64_t a, uint64_t b)
{
	uint64_t power = 10;

	for (bool is_first = true; a <= b; power *= 10) {
		char low[DIGITS + 1], high[DIGITS + 1];
		size_t n;

		if (a >= power)
			continue;
		n = write_digits(a, low);
		(void)write_digits(b < power ? b : power - 1, high);
		buf_addf(out, "%s", is_first ? "" : " | ");
		add_same_length(out, low, high, n);
		is_first = false;
		a = power;
	}
}

void schema_add_integers(struct buf *out, int64_t low, int64_t high)
{
	if (low < 0) {
		buf_addf(out, "\"-\" (");
		add_natural(out, high < 0 ? (uint64_t)-high : 1, (uint64_t)-low);
		buf_addf(out, ")%s", high >= 0 ? " | " : "");
	}
	if (high >= 0)
		add_natural(out, low > 0 ? (uint64_t)low : 0, (uint64_t)high);
}
