/* openai.h - the OpenAI API's requests and answers, to and from shoal's own.
 *
 * Pure text work: no HTTP here, no clock.  A request becomes a struct submit; the
 * answers of its job become documents or server-sent events.  Nothing is refused in
 * silence: what cannot be honoured and would change the answer is an error that names
 * the field; what is only advice is ignored. */
#ifndef HUB_OPENAI_H
#define HUB_OPENAI_H

#include "id.h"
#include "openai_proto.h"

enum openai_kind { OPENAI_CHAT, OPENAI_COMPLETION, OPENAI_EMBEDDING };

/* Why a request is refused or a job ended badly, as these clients are told. */
struct openai_fault {
	unsigned code;     /* enum code: HTTP status and error type */
	const char *name;  /* their "code"; NULL: from code */
	const char *param; /* the field, or NULL */
	char message[512];
	uint64_t retry_after_ms; /* 0: none */
};

/* One request and how its answers look.  Owner: whoever called _init(). */
struct openai_call {
	enum openai_kind kind;
	bool stream, include_usage;
	bool opened;      /* the part with the role was made */
	uint64_t created; /* seconds since 1970 */
	uint64_t index;   /* of the last token added */
	bool has_index;   /* any token was added */
	char job[ID_LEN + 1];
	char model[PROTO_MAX_NAME + 1];
	char fingerprint[64];
	bool logprobs, base64;
	uint64_t text_offset; /* characters of text that were told with logprobs, for completions */
	struct buf pending;   /* text not yet made into a part */
	struct buf probs;     /* and what its logprobs are made of */
};

/* Long keys and keys of other letters become an id of their hash: 0, or ERR_RANGE for an
 * empty one and one over 512 bytes. */
#define OPENAI_KEY_SIZE (PROTO_MAX_ID + 1)
int openai_key(struct span key, char ret[OPENAI_KEY_SIZE]);

/* Decodes body into *ret, which borrows arena and body, and fills what *ret_call must know;
 * pending_max bounds the text that waits for a slow reader.  ERR_MALFORMED: *ret_fault says why. */
SHOAL_CHECK int openai_decode(enum openai_kind kind, struct span body, struct arena *arena, size_t pending_max,
	struct openai_call *ret_call, struct submit *ret, struct openai_fault *ret_fault);
void openai_call_fini(struct openai_call *c);

/* The job is known: answers carry its id, and its model where the request named none. */
void openai_call_job(struct openai_call *c, struct span job, struct span model);
/* Adds tokens to what waits; ERR_TOOBIG: the reader is too slow. */
SHOAL_CHECK int openai_add(struct openai_call *c, const struct answer *tokens);
/* Appends the events for all that waits (nothing when nothing does). */
void openai_part(struct openai_call *c, struct buf *out);
/* Appends all that waits and the end of the stream: finish, usage if asked for, [DONE].  A job
 * that had ended before it was asked for again has no tokens to tell, only its text. */
void openai_end(struct openai_call *c, const struct answer *done, struct buf *out);
/* Appends the whole answer of a job that was not streamed. */
void openai_whole(struct openai_call *c, const struct answer *done, struct buf *out);

/* An ERROR answer as a fault. */
struct openai_fault openai_fault_of(const struct answer *error);
struct openai_fault openai_fault(unsigned code, const char *name, const char *param, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void openai_fault_doc(const struct openai_fault *f, struct buf *out);
/* The same as an event in mid-stream. */
void openai_fault_event(const struct openai_fault *f, struct buf *out);
/* What x-should-retry says: false where another try would only add load. */
bool openai_should_retry(const struct openai_fault *f);

#endif
