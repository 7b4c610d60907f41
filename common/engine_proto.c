#include "engine_proto.h"

#include "sha256.h"

#define ANY UINT64_MAX
#define T struct engine_msg
static const struct msg_field engine_msg_fields[] = {
	MSG_F_UINT(T, type, 1, MSG_REQ, UINT32_MAX),
	MSG_F_UINT(T, job, 2, 0, ANY),
	MSG_F_UINT(T, version, 3, 0, UINT32_MAX),
	MSG_F_TEXT(T, build, 4, 0, 256),
	MSG_F_UINT(T, max_sequences, 5, 0, 4096),
	MSG_F_UINT(T, percent, 6, 0, 100),
	MSG_F_UINT(T, n_ctx, 7, 0, UINT32_MAX),
	MSG_F_UINT(T, n_params, 8, 0, ANY),
	MSG_F_UINT(T, size, 9, 0, ANY),
	MSG_F_BYTES(T, digest, 10, 0, SHA256_SIZE),
	MSG_F_TEXT(T, arch, 11, 0, PROTO_MAX_NAME),
	MSG_F_UINT(T, index, 12, 0, PROTO_MAX_TOKENS),
	MSG_F_UINTS(T, ids, 13, 0, PROTO_MAX_FRAME_TOKENS),
	MSG_F_TEXT(T, text, 14, 0, ENGINE_MAX_OUT),
	MSG_F_ENUM(T, finish, 15, 0, FINISH_COUNT, finish_names),
	MSG_F_SUB(T, usage, struct usage, 16, 0, &usage_type),
	MSG_F_SUB(T, timings, struct timings, 17, 0, &timings_type),
	MSG_F_UINT(T, code, 18, 0, CODE_MAX),
	MSG_F_TEXT(T, reason, 19, 0, 512),
	MSG_F_TEXT(T, path, 20, 0, 4096),
	MSG_F_UINT(T, parallel, 21, 0, 4096),
	MSG_F_UINT(T, batch_tokens, 22, 0, 65536),
	MSG_F_UINT(T, prefill_chunk, 23, 0, 65536),
	MSG_F_UINT(T, threads, 24, 0, 4096),
	MSG_F_TEXT(T, prompt, 25, 0, PROTO_MAX_PROMPT),
	MSG_F_SUBS(T, turns, struct turn, 26, 0, PROTO_MAX_TURNS, &turn_type),
	MSG_F_SUB(T, sampling, struct sampling, 27, 0, &sampling_type),
	MSG_F_UINTS(T, prefix, 28, 0, PROTO_MAX_TOKENS),
	MSG_F_BOOL(T, exact, 29, 0),
	MSG_F_BOOL(T, fast, 30, 0),
	MSG_F_UINT(T, keep, 31, 0, 4096),
	MSG_F_UINT(T, tokens, 32, 0, UINT32_MAX),
	MSG_F_UINT(T, max_bytes, 33, 0, ANY),
	MSG_F_UINT(T, min_batch, 40, 0, 4096),
	MSG_F_UINT(T, max_batch, 41, 0, 4096),
	MSG_F_UINT(T, batch_wait_ms, 42, 0, 60000),
	MSG_F_BOOL(T, batch_wait_adaptive, 43, 0),
	MSG_F_UINT(T, prefill_gap, 44, 0, 1000000),
	MSG_F_UINT(T, token_us, 45, 0, ANY),
	MSG_F_UINT(T, step_rows, 46, 0, ANY),
	MSG_F_UINT(T, n_kept, 47, 0, 4096),
	MSG_F_BYTES(T, logprobs, 50, 0, ENGINE_MAX_OUT),
	MSG_F_BOOL(T, embeddings, 51, 0),
	MSG_F_UINT(T, n_embd, 52, 0, PROTO_MAX_EMBD),
	MSG_F_TEXTS(T, inputs, 53, 0, PROTO_MAX_INPUTS),
	MSG_F_BYTES(T, vector, 54, 0, PROTO_MAX_EMBD * sizeof(float)),
	MSG_F_TEXTS(T, devices, 63, 0, PROTO_MAX_DEVICES),
};
#undef T
bool engine_msg_has_fd(uint64_t type)
{
	return type == ENGINE_LOAD || type == ENGINE_SAVE || type == ENGINE_RESTORE;
}

const struct msg_type engine_msg_type = MSG_TYPE("engine-msg", struct engine_msg, engine_msg_fields);
