#include "code.h"

static const struct code_info table[] = {
#define X(name, number, http, type, retryable, exit, text) { #name, type, text, number, http, exit, retryable },
	CODE_LIST(X)
#undef X
};

#define N_CODES (sizeof(table) / sizeof(table[0]))

const struct code_info *code_info(unsigned number)
{
	for (size_t i = 0; i < N_CODES; i++)
		if ((unsigned)table[i].number == number)
			return &table[i];
	return code_info(CODE_INTERNAL_ERROR);
}

const char *code_name(unsigned number)
{
	return code_info(number)->name;
}

const struct code_info *code_by_name(struct span name)
{
	for (size_t i = 0; i < N_CODES; i++)
		if (span_is(name, table[i].name))
			return &table[i];
	return NULL;
}
