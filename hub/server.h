/* server.h - the hub put together: one place where events go into the core and its actions
 * are carried out. */
#ifndef HUB_SERVER_H
#define HUB_SERVER_H

#include "hub.h"
#include "http.h"
#include "journal.h"
#include "mqtt.h"
#include "settings.h"

struct server;

/* settings are lent for the server's life.  On failure err holds one sentence. */
SHOAL_CHECK int server_new(struct loop *l, const struct settings *settings, uint64_t epoch, uint64_t seed, char *err,
	size_t err_size, struct server **ret);
/* SIGTERM: ends the jobs that nothing would remember (all of them without a journal), says goodbye, leaves
 * the loop.  A second time: leaves at once. */
void server_stop(struct server *s);
struct server *server_free(struct server *s);

/* ---- for the parts of the hub ---- */

/* Gives an event to the core and carries out what follows.  Not from inside an action. */
void server_event(struct server *s, const struct hub_event *ev);

const struct settings *server_settings(const struct server *s);
struct loop *server_loop(const struct server *s);
const struct hub *server_hub(const struct server *s);
const struct mqtt *server_mqtt(const struct server *s);
const struct http *server_http(const struct server *s);
uint64_t server_epoch(const struct server *s);
uint64_t server_started_ms(const struct server *s);
double server_tokens_per_s(const struct server *s); /* over the last seconds */
struct journal_stats server_journal_stats(const struct server *s);
/* The journal's file, for whoever reads it; NULL: there is none. */
const char *server_journal_file(const struct server *s);
bool server_is_stopping(const struct server *s);

#endif
