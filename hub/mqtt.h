/* mqtt.h - the hub's end of the broker: what it listens to, what it says, and what waits.
 *
 * Nothing here waits without a bound.  Token frames to clients are QoS 0 and dropped when
 * the link is behind: the last message of a job carries its whole text.  What must arrive
 * is QoS 1 and kept in a bounded queue until there is room; what is meant for agents is
 * dropped with the link, because the core repeats it. */
#ifndef HUB_MQTT_H
#define HUB_MQTT_H

#include "hub.h"
#include "loop.h"
#include "settings.h"
#include "topic.h"

struct mqtt;

struct mqtt_handlers {
	void (*event)(void *ctx, const struct hub_event *ev);
	uint64_t (*fleet)(void *ctx); /* agents known, for hub/status */
};

struct mqtt_stats {
	uint64_t received, published, connects, losses;
	uint64_t bad[TOPIC_KIND_COUNT], ignored, refused; /* unreadable; nothing follows; answered with an error */
	uint64_t tokens_dropped, queued, queue_dropped, no_subscriber, publish_failed;
};

SHOAL_CHECK int mqtt_new(struct loop *l, const struct settings *s, uint64_t epoch, uint64_t seed,
	const struct mqtt_handlers *handlers, void *ctx, char *err, size_t err_size, struct mqtt **ret);
void mqtt_start(struct mqtt *m);
/* Connected, and every subscription granted. */
bool mqtt_is_up(const struct mqtt *m);
struct mqtt_stats mqtt_stats(const struct mqtt *m);

void mqtt_dispatch(struct mqtt *m, struct span agent, const struct job_msg *job);
void mqtt_control(struct mqtt *m, struct span agent, const struct control *control);
void mqtt_answer(struct mqtt *m, const struct hub_reply *reply, bool is_stream, const struct answer *answer);

/* Clears what the agent left at the broker: nobody is to take it for one that is there. */
void mqtt_forget(struct mqtt *m, struct span agent);

/* Says that the hub is going, waits for what is unacknowledged at most timeout_ms, then done(). */
void mqtt_close(struct mqtt *m, uint64_t timeout_ms, void (*done)(void *ctx));
struct mqtt *mqtt_free(struct mqtt *m);

#endif
