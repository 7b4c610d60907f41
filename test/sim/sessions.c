#include "sim.h"

#define SAVE_MS 20
#define MAX_SIZE 600
#define FEW 6 /* one in so many goes another way */

static struct session_file *find(struct sim *s, size_t i, struct span name)
{
	struct box *b = &s->boxes[i];

	for (size_t k = 0; k < SIM_SESSIONS * SIM_MODELS; k++) {
		if (b->files[k].name[0] == '\0')
			(void)span_copy(name, b->files[k].name, sizeof(b->files[k].name));
		if (span_is(name, b->files[k].name))
			return &b->files[k];
	}
	sim_violation(s, "%s knows more sessions than there are", b->id);
	return &b->files[0];
}

/* What was not finished the shell has removed. */
void sessions_start(struct sim *s, size_t i)
{
	struct box *b = &s->boxes[i];

	for (size_t k = 0; k < SIM_SESSIONS * SIM_MODELS; k++) {
		struct session_file *f = &b->files[k];

		f->is_writing = false;
		f->job = 0;
		if (f->size > 0)
			box_feed(s, i,
				&(struct agent_event){
					.type = AGENT_EV_SESSION, .name = span_of(f->name), .bytes = f->size });
	}
}

static void answer(struct sim *s, size_t i, const struct agent_action *a, enum future_type type)
{
	struct engine *e = &s->boxes[i].engines[a->engine];

	sim_push(s, sim_between(s, 0, SAVE_MS),
		(struct future){
			.type = type, .who = i, .model = a->engine, .gen = e->gen, .n = (size_t)a->engine_msg.job });
}

static void told(struct sim *s, size_t i, const struct agent_action *a)
{
	struct session_file *f;

	if (a->file.n == 0)
		return;
	f = find(s, i, a->file);
	if (a->engine_msg.type == ENGINE_SAVE) {
		if (f->is_writing)
			sim_violation(s, "%s writes a session twice at once", s->boxes[i].id);
		f->is_writing = true;
		f->job = a->engine_msg.job;
		answer(s, i, a, F_ENGINE_SAVED);
	} else {
		if (f->size == 0)
			sim_violation(s, "%s restores a session that is not there", s->boxes[i].id);
		answer(s, i, a, F_ENGINE_RESTORED);
	}
}

static void written(struct sim *s, size_t i, const struct agent_action *a)
{
	struct session_file *f = find(s, i, a->file);

	if (!f->is_writing)
		sim_violation(s, "%s ends a file that nobody writes", s->boxes[i].id);
	f->is_writing = false;
	if (a->type == AGENT_ACT_SESSION_KEEP)
		f->size = f->part;
}

void sessions_act(struct sim *s, size_t i, const struct agent_action *a)
{
	switch (a->type) {
	case AGENT_ACT_ENGINE_SEND: told(s, i, a); break;
	case AGENT_ACT_SESSION_DROP: find(s, i, a->file)->size = 0; break;
	default: written(s, i, a); break;
	}
}

void sessions_check(struct sim *s, size_t i)
{
	const struct box *b = &s->boxes[i];
	uint64_t sum = 0;

	for (size_t k = 0; k < SIM_SESSIONS * SIM_MODELS; k++)
		sum += b->files[k].size;
	if (sum > SIM_SESSION_BYTES)
		sim_violation(s, "%s keeps %u bytes of sessions", b->id, (unsigned)sum);
}

void sessions_future(struct sim *s, const struct future *f)
{
	struct box *b = &s->boxes[f->who];
	struct engine_msg m = {
		.type = f->type == F_ENGINE_SAVED ? ENGINE_SAVED : ENGINE_RESTORED, .job = f->n, .tokens = 5
	};
	bool is_bad = sim_between(s, 1, FEW) == 1;

	m.code = is_bad ? CODE_CHECKSUM_MISMATCH : CODE_OK;
	for (size_t k = 0; m.type == ENGINE_SAVED && k < SIM_SESSIONS * SIM_MODELS; k++)
		if (b->files[k].is_writing && b->files[k].job == f->n)
			m.size = b->files[k].part = sim_between(s, 1, MAX_SIZE);
	box_feed(s, f->who, &(struct agent_event){ .type = AGENT_EV_ENGINE, .engine = f->model, .engine_msg = &m });
}
