/* topic.h - the names of MQTT topics, built and taken apart.  Pure.
 *
 * A prefix ("shoal/v1"), then agents/<a>/<leaf>, clients/<u>/<leaf>, hub/status,
 * models/<name>.  Ids are checked against the id alphabet both ways. */
#ifndef SHOAL_TOPIC_H
#define SHOAL_TOPIC_H

#include "span.h"

#define TOPIC_DEFAULT_PREFIX "shoal/v1"
#define TOPIC_MAX 256 /* bytes, with the NUL */

#define TOPIC_LEAF_LIST(X)                                                                                \
	X(AGENT_REGISTRATION, "agents", "registration") X(AGENT_STATUS, "agents", "status")               \
	X(AGENT_HEARTBEAT, "agents", "heartbeat") X(AGENT_OUT, "agents", "out")                           \
	X(AGENT_JOBS, "agents", "jobs") X(AGENT_CONTROL, "agents", "control")                             \
	X(CLIENT_JOBS, "clients", "jobs") X(CLIENT_CANCEL, "clients", "cancel")                           \
	X(CLIENT_PRESENCE, "clients", "presence") X(CLIENT_ADMIN, "clients", "admin")                     \
	X(HUB_STATUS, "hub", "status")

enum topic_kind {
	TOPIC_OTHER,
#define X(name, group, leaf) TOPIC_##name,
	TOPIC_LEAF_LIST(X)
#undef X
	TOPIC_KIND_COUNT
};

struct topic {
	char s[TOPIC_MAX];
};

/* "<prefix>/<group>/<id>/<leaf>"; id "+" gives a subscription filter; HUB_STATUS takes no id.
 * ERR_RANGE when id is not an id, ERR_TOOBIG when it does not fit. */
int topic_make(const char *prefix, enum topic_kind kind, struct span id, struct topic *ret);
/* What a received topic is; *ret_id borrows from it.  TOPIC_OTHER for all else. */
enum topic_kind topic_parse(const char *prefix, struct span topic, struct span *ret_id);
/* True when topic lies under <prefix>/clients/<user>/, is not one of the client's
 * own write topics, and has no wildcard: where answers for this user may go. */
bool topic_is_reply_for(const char *prefix, struct span user, struct span topic);

#endif
