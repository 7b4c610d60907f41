/* The frame reader on fd 3, fed in pieces whose size the input chooses. */
#include <string.h>

#include "frame.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame_in f;
	struct span s;
	size_t at = 1, cap;
	int rc = 0;

	if (size == 0)
		return 0;
	frame_in_init(&f, 4096);
	while (at < size && rc >= 0) {
		size_t n = 1 + data[0] % 64;
		void *p = frame_in_space(&f, &cap);

		n = n > size - at ? size - at : n;
		memcpy(p, data + at, n);
		frame_in_added(&f, n);
		at += n;
		while ((rc = frame_in_next(&f, &s)) == 1) {
			volatile char last = s.n > 0 ? s.p[s.n - 1] : 0;

			(void)last;
		}
	}
	frame_in_fini(&f);
	return 0;
}
