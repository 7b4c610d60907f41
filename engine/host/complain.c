#include "complain.h"

#include <stdarg.h>
#include <stdio.h>

void complain(const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "<3>engine: %s\n", line);
}
