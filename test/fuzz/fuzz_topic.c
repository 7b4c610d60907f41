/* Topics from the broker: what is parsed as a known kind is built back to the same bytes. */
#include <stdlib.h>

#include "fuzz.h"
#include "topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span topic = span_mem(data, size), id;
	enum topic_kind kind = topic_parse("shoal/v1", topic, &id);
	struct topic back;

	if (kind != TOPIC_OTHER && (topic_make("shoal/v1", kind, id, &back) != 0 || !span_is(topic, back.s)))
		abort();
	(void)topic_is_reply_for("shoal/v1", SPAN("alice"), topic);
	return 0;
}
