#include "err.h"

const char *err_text(int err)
{
	switch (err) {
#define X(name, num, text)                                                                                                  \
	case num: return text;
		ERR_LIST(X)
#undef X
	case 0: return "no error";
	case ERR_NOMEM: return "out of memory";
	default: return "system error";
	}
}
