/* record.h - what the journal holds of a job, as CBOR by the tables of msg.h.
 *
 * A record says all it means: to read one, nothing else is needed.  Records of a job come
 * in the order of their sequence; an end needs none of those before it.  Key numbers are
 * the format of the file: never reused, a changed meaning is a new key. */
#ifndef HUB_RECORD_H
#define HUB_RECORD_H

#include "proto.h"

#define RECORD_MAX ((size_t)8 << 20)        /* bytes of a record: an answer with all its probabilities fits */
#define RECORD_MAX_SUBMIT ((size_t)2 << 20) /* of an encoded request */

struct record_reply { /* where a job's answers go */
	uint64_t has;
	bool is_http; /* a connection, which does not outlive the hub */
	bool stream, cancel_on_disconnect;
	uint64_t format;
	struct span topic, mqtt_correlation; /* MQTT's own */
	struct span correlation;             /* to be put into the payload */
	bool is_deaf;                        /* the client is gone */
};

struct record_submit {
	uint64_t has;
	struct span job, user, id, model; /* id: the client's; empty: none */
	struct span digest;               /* of the body: SHA-256, if there is an id */
	struct span body;                 /* struct submit, encoded */
	uint64_t seed;
	uint64_t deadline_ms; /* from the submission; 0: none */
	struct record_reply reply;
};

struct record_attempt { /* this try is about to be told to this life of this agent */
	uint64_t has;
	struct span agent, route;
	uint64_t attempt, epoch;
	uint64_t index, text_bytes, prob_bytes; /* where it begins: what is beyond was taken back */
	uint64_t barren;                        /* attempts in a row that had brought nothing */
	bool may_hedge;                         /* the next number may have gone to a second attempt */
	uint64_t kills, continuity;             /* engines that had died of it; of what was written before */
	struct span engine;                     /* its build */
};

struct record_tokens {
	uint64_t has;
	uint64_t index; /* of the first */
	const uint32_t *ids;
	size_t n_ids;
	struct span text, probs;
	bool joins; /* shown in one frame with those of the record before */
};

struct record_end {
	uint64_t has;
	struct span job, user, id, model, digest;
	uint64_t state; /* enum hub_job_state */
	struct record_reply reply;
	struct span answer; /* struct answer, encoded, without what follows */
	struct span text, probs;
	uint64_t n_ids;
	bool is_embedding; /* probs are vectors */
	uint64_t total_ms; /* from submission to end */
	uint64_t shown_ids, shown_text, shown_probs; /* of a stream, when the end was written: the rest came with it */
	uint64_t last_ids, last_text, last_probs;    /* where the last frame before that began */
};

extern const struct msg_type record_reply_type, record_submit_type, record_attempt_type, record_tokens_type, record_end_type;

#endif
