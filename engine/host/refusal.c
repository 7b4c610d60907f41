#include "refusal.h"

#include <stdarg.h>
#include <stdio.h>

int refuse(struct refusal *r, enum code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(r->reason, sizeof(r->reason), fmt, ap);
	va_end(ap);
	r->code = code;
	return ERR_RANGE;
}
