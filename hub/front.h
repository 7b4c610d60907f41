/* front.h - what each URL does: the OpenAI API, the status documents, the page. */
#ifndef HUB_FRONT_H
#define HUB_FRONT_H

#include "http.h"
#include "hub.h"

struct front;
struct server;

SHOAL_CHECK int front_new(struct server *s, size_t max_connections, char *err, size_t err_size, struct front **ret);
/* An ANSWER of the core for one of our connections; that it is gone is no error. */
void front_answer(struct front *f, const struct hub_action *a);
/* What came of an operator's request. */
void front_admin(struct front *f, const struct hub_action *a);
/* Another request with the same key took the job over. */
void front_detach(struct front *f, uint64_t conn);
/* Sends what can be sent without waiting. */
void front_flush(struct front *f);
const struct http *front_http(const struct front *f);
struct front *front_free(struct front *f);

#endif
