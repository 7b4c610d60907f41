#include "record.h"

#include "hub.h"
#include "sha256.h"

#define ANY UINT64_MAX

#define T struct record_reply
static const struct msg_field reply_fields[] = {
	MSG_F_BOOL(T, is_http, 1, 0),
	MSG_F_BOOL(T, stream, 2, 0),
	MSG_F_BOOL(T, cancel_on_disconnect, 3, 0),
	MSG_F_UINT(T, format, 4, 0, UINT32_MAX),
	MSG_F_BYTES(T, topic, 5, 0, PROTO_MAX_TOPIC),
	MSG_F_BYTES(T, mqtt_correlation, 6, 0, UINT16_MAX),
	MSG_F_BYTES(T, correlation, 7, 0, PROTO_MAX_CORRELATION),
	MSG_F_BOOL(T, is_deaf, 8, 0),
};
#undef T
const struct msg_type record_reply_type = MSG_TYPE("record-reply", struct record_reply, reply_fields);

#define T struct record_submit
static const struct msg_field submit_fields[] = {
	MSG_F_TEXT(T, job, 1, MSG_REQ, PROTO_MAX_ID),
	MSG_F_TEXT(T, user, 2, MSG_REQ, PROTO_MAX_ID),
	MSG_F_TEXT(T, id, 3, 0, PROTO_MAX_ID),
	MSG_F_TEXT(T, model, 4, MSG_REQ, PROTO_MAX_NAME),
	MSG_F_BYTES(T, digest, 5, 0, SHA256_SIZE),
	MSG_F_BYTES(T, body, 6, MSG_REQ, RECORD_MAX_SUBMIT),
	MSG_F_UINT(T, seed, 7, 0, ANY),
	MSG_F_UINT(T, deadline_ms, 8, 0, ANY),
	MSG_F_SUB(T, reply, struct record_reply, 9, 0, &record_reply_type),
};
#undef T
const struct msg_type record_submit_type = MSG_TYPE("record-submit", struct record_submit, submit_fields);

#define T struct record_attempt
static const struct msg_field attempt_fields[] = {
	MSG_F_TEXT(T, agent, 1, MSG_REQ, PROTO_MAX_ID),
	MSG_F_TEXT(T, route, 2, 0, PROTO_MAX_NAME),
	MSG_F_UINT(T, attempt, 3, MSG_REQ, ANY),
	MSG_F_UINT(T, epoch, 4, MSG_REQ, ANY),
	MSG_F_UINT(T, index, 5, 0, PROTO_MAX_TOKENS),
	MSG_F_UINT(T, text_bytes, 6, 0, RECORD_MAX),
	MSG_F_UINT(T, prob_bytes, 7, 0, RECORD_MAX),
	MSG_F_UINT(T, barren, 8, 0, ANY),
	MSG_F_UINT(T, kills, 20, 0, ANY),
	MSG_F_BOOL(T, may_hedge, 22, 0),
	MSG_F_UINT(T, continuity, 21, 0, HUB_CONTINUITY_COUNT - 1),
	MSG_F_TEXT(T, engine, 9, 0, 256),
};
#undef T
const struct msg_type record_attempt_type = MSG_TYPE("record-attempt", struct record_attempt, attempt_fields);

#define T struct record_tokens
static const struct msg_field tokens_fields[] = {
	MSG_F_UINT(T, index, 1, 0, PROTO_MAX_TOKENS),
	MSG_F_UINTS(T, ids, 2, MSG_REQ, PROTO_MAX_TOKENS),
	MSG_F_TEXT(T, text, 3, 0, PROTO_MAX_ANSWER),
	MSG_F_BYTES(T, probs, 4, 0, RECORD_MAX),
	MSG_F_BOOL(T, joins, 5, 0),
};
#undef T
const struct msg_type record_tokens_type = MSG_TYPE("record-tokens", struct record_tokens, tokens_fields);

#define T struct record_end
static const struct msg_field end_fields[] = {
	MSG_F_TEXT(T, job, 1, MSG_REQ, PROTO_MAX_ID),
	MSG_F_TEXT(T, user, 2, MSG_REQ, PROTO_MAX_ID),
	MSG_F_TEXT(T, id, 3, 0, PROTO_MAX_ID),
	MSG_F_TEXT(T, model, 4, MSG_REQ, PROTO_MAX_NAME),
	MSG_F_BYTES(T, digest, 5, 0, SHA256_SIZE),
	MSG_F_UINT(T, state, 6, MSG_REQ, HUB_JOB_STATE_COUNT - 1),
	MSG_F_SUB(T, reply, struct record_reply, 7, 0, &record_reply_type),
	MSG_F_BYTES(T, answer, 8, MSG_REQ, RECORD_MAX),
	MSG_F_TEXT(T, text, 9, 0, PROTO_MAX_ANSWER),
	MSG_F_BYTES(T, probs, 10, 0, RECORD_MAX),
	MSG_F_UINT(T, n_ids, 11, 0, PROTO_MAX_TOKENS),
	MSG_F_BOOL(T, is_embedding, 12, 0),
	MSG_F_UINT(T, total_ms, 13, 0, ANY),
	MSG_F_UINT(T, shown_ids, 14, 0, PROTO_MAX_TOKENS),
	MSG_F_UINT(T, shown_text, 15, 0, PROTO_MAX_ANSWER),
	MSG_F_UINT(T, shown_probs, 16, 0, RECORD_MAX),
	MSG_F_UINT(T, last_ids, 17, 0, PROTO_MAX_TOKENS),
	MSG_F_UINT(T, last_text, 18, 0, PROTO_MAX_ANSWER),
	MSG_F_UINT(T, last_probs, 19, 0, RECORD_MAX),
};
#undef T
const struct msg_type record_end_type = MSG_TYPE("record-end", struct record_end, end_fields);
