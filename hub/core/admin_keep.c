/* admin_keep.c - what operators want, over another run of the hub, and their answers, which
 * wait until it is safe. */
#include "core.h"

#include <stdlib.h>

/* ---- records ---- */

struct kept {
	uint64_t has;
	bool drains, resumes, is_isolated;
	uint64_t weight;
	struct span user, reason;
};
enum { KEPT_WEIGHT = 4 };

static const struct msg_field kept_fields[] = {
	MSG_F_BOOL(struct kept, drains, 1, 0),
	MSG_F_BOOL(struct kept, resumes, 2, 0),
	MSG_F_BOOL(struct kept, is_isolated, 3, 0),
	MSG_F_UINT(struct kept, weight, KEPT_WEIGHT, 0, ADMIN_MAX_WEIGHT),
	MSG_F_TEXT(struct kept, user, 5, 0, PROTO_MAX_ID),
	MSG_F_TEXT(struct kept, reason, 6, 0, ADMIN_MAX_REASON),
};
static const struct msg_type kept_type = MSG_TYPE("record-admin", struct kept, kept_fields);

uint64_t admin_keep(struct hub *h, const struct agent *a)
{
	const struct admin_note *n = a->note;
	struct kept k = { 0 };
	bool is_plain = n == NULL || (n->wish == WISH_NONE && !n->is_isolated && n->weight == ADMIN_MAX_WEIGHT);

	buf_reset(&h->record);
	if (!is_plain) {
		k = (struct kept){ .drains = n->wish == WISH_DRAIN,
			.resumes = n->wish == WISH_RESUME,
			.is_isolated = n->is_isolated,
			.weight = n->weight,
			.user = span_of(n->user),
			.reason = span_of(n->reason) };
		msg_set(&k, KEPT_WEIGHT);
		if (msg_encode(&kept_type, &k, MSG_KEYS_INT, &h->record) < 0)
			buf_reset(&h->record);
	}
	return journal_value(h, HUB_PERSIST_ADMIN, span_of(a->id), buf_span(&h->record));
}

void admin_restore(struct hub *h, const struct hub_record *r)
{
	uint8_t room[sizeof(struct kept) + 64]; /* msg_decode() builds it there */
	struct arena arena = { .p = room, .cap = sizeof(room) };
	struct agent *a = fleet_get(h, r->job); /* the last value of each is all that comes */
	struct admin_note *n;
	struct kept k;

	if (a == NULL || r->body.n == 0 || msg_decode(&kept_type, r->body, MSG_KEYS_INT, &arena, &k, NULL) < 0 ||
		(n = admin_note(a)) == NULL)
		return;
	n->wish = k.drains ? WISH_DRAIN : k.resumes ? WISH_RESUME : WISH_NONE;
	n->is_isolated = k.is_isolated;
	n->weight = msg_has(&k, KEPT_WEIGHT) ? (unsigned)k.weight : ADMIN_MAX_WEIGHT;
	(void)span_copy(k.user, n->user, sizeof(n->user)); /* as long as decoded at most */
	(void)span_copy(k.reason, n->reason, sizeof(n->reason));
}

/* ---- answers ---- */

#define WAITING_MAX 256 /* further ones are told at once */

struct waiting {
	struct list all;
	uint64_t seq;
	struct reply reply;
	enum code code;
	char *text, job[PROTO_MAX_ID + 1];
};

static void tell(struct hub *h, const struct hub_reply *to, struct span correlation, enum code code, struct span job,
	struct span text)
{
	struct hub_action *act = act_new(h, HUB_ACT_ADMIN);

	act->reply = *to;
	act->answer.type = code == CODE_OK ? ANSWER_DONE : ANSWER_ERROR;
	act->answer.job = job;
	act->answer.correlation = correlation;
	act->answer.message = text;
	if (code != CODE_OK)
		act->answer.code = span_of(code_name(code));
}

static bool wait_for(struct hub *h, const struct hub_event *ev, uint64_t seq, enum code code, struct buf *text)
{
	struct waiting *w = h->n_asking < WAITING_MAX ? calloc(1, sizeof(*w)) : NULL;

	if (w == NULL || submit_reply_copy(&ev->reply, ev->admin->correlation, &w->reply) < 0) {
		free(w);
		return false;
	}
	w->seq = seq;
	w->code = code;
	w->text = (char *)text->p;                               /* buf_addf() ends in NUL */
	(void)span_copy(ev->admin->job, w->job, sizeof(w->job)); /* its length was checked */
	list_add_tail(&h->asking, &w->all);
	h->n_asking++;
	return true;
}

void admin_answer(struct hub *h, const struct hub_event *ev, uint64_t seq, enum code code, struct buf *text)
{
	if (seq != 0 && !h->is_journal_full && wait_for(h, ev, seq, code, text))
		return;
	if (seq != 0 && h->is_journal_full)
		buf_addf(text, "; the disk is full, so this does not outlive the hub");
	tell(h, &ev->reply, ev->admin->correlation, code, ev->admin->job, buf_span(text));
	act_trash(h, text->p);
}

static void waiting_free(struct hub *h, struct waiting *w)
{
	list_del(&w->all);
	h->n_asking--;
	act_trash(h, w->reply.mem);
	act_trash(h, w->text);
	act_trash(h, w);
}

void admin_safe(struct hub *h, uint64_t seq)
{
	while (!list_empty(&h->asking)) {
		struct waiting *w = CONTAINER(h->asking.next, struct waiting, all);

		if (w->seq > seq)
			return;
		tell(h, &w->reply.to, w->reply.correlation, w->code, span_of(w->job), span_of(w->text));
		waiting_free(h, w);
	}
}

void admin_free(struct hub *h)
{
	LIST_EACH(l, &h->asking)
	waiting_free(h, CONTAINER(l, struct waiting, all));
}
