/* session_keep.c - conversations over another run of the hub.
 *
 * What is kept of one is the agent it is on and that agent's life, written when it comes there and
 * dropped when it ends: as often as conversations begin and move, not with each request.  In the next run
 * it is looked for when it is asked for, as agents come back one by one: the same life of the agent, which
 * has the model loaded, is taken to have all of it still. */
#include "core.h"

#include <stdlib.h>

struct kept {
	uint64_t has;
	struct span agent;
	uint64_t epoch;
};

static const struct msg_field kept_fields[] = {
	MSG_F_TEXT(struct kept, agent, 1, MSG_REQ, PROTO_MAX_ID),
	MSG_F_UINT(struct kept, epoch, 2, MSG_REQ, UINT64_MAX),
};
static const struct msg_type kept_type = MSG_TYPE("record-session", struct kept, kept_fields);

/* The lengths of user and model, and the texts. */
static struct span key_of(const struct session *s, char room[2 + 3 * PROTO_MAX_ID])
{
	size_t n = (size_t)s->n_user + s->n_model + s->n_id;

	room[0] = (char)s->n_user;
	room[1] = (char)s->n_model;
	memcpy(room + 2, s->text, n);
	return span_mem(room, 2 + n);
}

void session_keep(struct hub *h, const struct session *s, const struct agent *a)
{
	struct kept k = { .epoch = s->epoch };
	char room[2 + 3 * PROTO_MAX_ID];

	if (h->config.journal == HUB_JOURNAL_OFF)
		return;
	buf_reset(&h->record);
	if (a != NULL) {
		k.agent = span_of(a->id);
		if (msg_encode(&kept_type, &k, MSG_KEYS_INT, &h->record) < 0)
			return; /* no memory: the one before stays */
	}
	(void)journal_value(h, HUB_PERSIST_SESSION, key_of(s, room), buf_span(&h->record)); /* nobody waits for it */
}

void session_restore(struct hub *h, const struct hub_record *r)
{
	uint8_t room[sizeof(struct kept) + 64]; /* msg_decode() builds it there */
	struct arena arena = { .p = room, .cap = sizeof(room) };
	size_t n_user = r->job.n > 2 ? (uint8_t)r->job.p[0] : 0, n_model = r->job.n > 2 ? (uint8_t)r->job.p[1] : 0;
	struct span text = r->job.n > 2 ? span_mem(r->job.p + 2, r->job.n - 2) : SPAN_NONE;
	struct session *s;
	struct origin *o;
	struct kept k;

	if (n_user > PROTO_MAX_ID || n_model > PROTO_MAX_NAME || n_user + n_model >= text.n ||
		text.n - n_user - n_model > PROTO_MAX_ID || h->n_sessions >= h->config.max_sessions ||
		msg_decode(&kept_type, r->body, MSG_KEYS_INT, &arena, &k, NULL) < 0)
		return;
	o = malloc(sizeof(*o));
	s = o != NULL ? session_get(h, span_mem(text.p, n_user), span_mem(text.p + n_user, n_model),
				span_mem(text.p + n_user + n_model, text.n - n_user - n_model))
		      : NULL;
	if (s == NULL) {
		free(o);
		return;
	}
	o->epoch = k.epoch;
	(void)span_copy(k.agent, o->agent, sizeof(o->agent)); /* as long as decoded at most */
	free(s->origin); /* the latest counts */
	s->origin = o;
	if (s->n_jobs == 0) /* else a job that was restored before it is in it */
		session_idle(h, s);
}

void session_look(const struct hub *h, struct session *s, const struct model *m)
{
	const struct origin *o = s->origin;
	const struct agent *a = o != NULL ? fleet_find(h, span_of(o->agent)) : NULL;
	const struct hold *hold;

	if (a == NULL || a->reg == NULL || a->reg->epoch < o->epoch)
		return; /* it may come yet */
	hold = a->reg->epoch == o->epoch ? models_hold(a, m) : NULL;
	if (hold != NULL && hold->info->state == MODEL_READY) {
		s->cache = hold->cache.id;
		s->fresh_at = hold->cache.n_fresh;
		s->epoch = o->epoch;
		s->tokens = SESSION_WHOLE;
	} else {
		s->cache = SESSION_LOST;
	}
	free(s->origin);
	s->origin = NULL;
}
