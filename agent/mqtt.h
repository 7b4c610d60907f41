/* mqtt.h - the agent's side of the broker: topics to events, actions to publishes.
 *
 * Decides nothing.  Bytes that are no message are counted, said once a second at most,
 * and dropped.  Callbacks run from the loop, never inside a call of this module. */
#ifndef SHOAL_AGENT_MQTT_H
#define SHOAL_AGENT_MQTT_H

#include "agent.h"
#include "loop.h"
#include "settings.h"

struct mqtt;

/* An event for the core: link, congestion, jobs, controls, statuses. */
typedef void (*mqtt_event_fn)(void *ctx, const struct agent_event *ev);

/* settings and core are lent until mqtt_free(). */
SHOAL_CHECK int mqtt_new(struct loop *loop, const struct settings *s, const struct agent *core, uint64_t seed, mqtt_event_fn fn,
	void *ctx, struct mqtt **ret);
void mqtt_start(struct mqtt *m);
/* REGISTER, STATUS, HEARTBEAT and EVENT.  False: it was not sent, the way out is full. */
bool mqtt_publish(struct mqtt *m, const struct agent_action *act);
/* True when so much is on its way out that more should wait. */
bool mqtt_is_full(const struct mqtt *m);
/* True when there is plenty of room again. */
bool mqtt_is_roomy(const struct mqtt *m);
uint64_t mqtt_bad_messages(const struct mqtt *m);
/* Waits for acknowledgements, says goodbye, then calls done. */
void mqtt_close(struct mqtt *m, uint64_t timeout_ms, void (*done)(void *ctx));
struct mqtt *mqtt_free(struct mqtt *m);

#endif
