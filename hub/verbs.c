#include "verbs.h"

#include "json.h"

/* Takes "/<verb>" off the end of *path. */
static bool take_verb(struct span *path, unsigned *ret)
{
	for (unsigned v = 0; v < ADMIN_VERB_COUNT; v++) {
		size_t n = strlen(admin_verb_names[v]);

		if (path->n <= n + 1 || path->p[path->n - n - 1] != '/' ||
			memcmp(path->p + path->n - n, admin_verb_names[v], n) != 0)
			continue;
		path->n -= n + 1;
		*ret = v;
		return true;
	}
	return false;
}

/* The verb is in the address; the table asks for one in the document, too. */
static int read_body(struct span body, struct arena *arena, struct admin *ret)
{
	static const struct msg_field fields[] = {
		MSG_F_TEXT(struct admin, reason, ADMIN_REASON, 0, ADMIN_MAX_REASON),
		MSG_F_UINT(struct admin, value, ADMIN_VALUE, 0, UINT32_MAX),
	};
	static const struct msg_type type = MSG_TYPE("admin", struct admin, fields);

	*ret = (struct admin){ 0 };
	return body.n == 0 ? 0 : json_decode(&type, body, arena, ret, NULL);
}

enum code verbs_read(struct span path, struct span body, struct arena *arena, struct admin *ret, const char **ret_why)
{
	bool is_agent = path.n > strlen(VERBS_AGENTS) && memcmp(path.p, VERBS_AGENTS, strlen(VERBS_AGENTS)) == 0;
	size_t n = strlen(is_agent ? VERBS_AGENTS : VERBS_JOBS);
	struct span id = span_mem(path.p + n, path.n - n);
	unsigned verb = ADMIN_VERB_COUNT;

	if (!take_verb(&id, &verb) || is_agent == (verb == ADMIN_CANCEL) || !span_is_id(id)) {
		*ret_why = is_agent ? "an agent takes drain, resume, weight, quarantine, release, forget and load"
				    : "a job takes cancel";
		return CODE_NOT_FOUND;
	}
	if (read_body(body, arena, ret) < 0) {
		*ret_why =
			"the body may be a document with \"reason\", a text of at most 200 bytes, and \"value\", a number";
		return CODE_BAD_REQUEST;
	}
	ret->verb = verb;
	if (is_agent)
		ret->agent = id;
	else
		ret->job = id;
	return CODE_OK;
}
