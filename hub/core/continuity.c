/* continuity.c - does an answer that several agents wrote read as if one had.
 *
 * The sampler draws by seed and index, so equal engines that are given equal tokens go on
 * equally, at any temperature.  Equal are engines of one build that run one file (SHA-256)
 * and say that they are exact.  A job that has tokens waits a little for such an agent when
 * there is one; else it goes on elsewhere, and its receipt says what the text then is:
 *
 *   exact        as an undisturbed run would have written it
 *   not_exact    the same build and file, but engines that do not promise equal tokens
 *   other_build  another build or another file wrote on, or the hub forgot which when it restarted */
#include "core.h"

#define KIN_SCAN 64 /* agents looked at for one that is equal */

#define X(name, text) text,
const char *const hub_continuity_names[] = { HUB_CONTINUITY_LIST(X) NULL };
#undef X

/* What makes engines equal; 0: not known. */
static uint64_t kin_of(const struct hub *h, const struct agent *a, const struct model_info *m)
{
	if (m->digest.n == 0 || a->reg->engine.n == 0)
		return 0;
	return table_hash(table_hash(h->hash_seed, a->reg->engine), m->digest) | 1;
}

/* It writes on no worse than the first one did. */
static bool is_kin(const struct hub *h, const struct job *j, const struct hold *o)
{
	return j->kin != 0 && (o->info->exact || !j->is_kin_exact) && kin_of(h, o->agent, o->info) == j->kin;
}

void continuity_tokens(struct hub *h, struct job *j)
{
	const struct hold *o = models_hold(j->agent, j->model);
	uint64_t kin = o != NULL ? kin_of(h, j->agent, o->info) : 0;
	bool is_exact = o != NULL && o->info->exact;
	enum hub_continuity c;

	if (j->has_token || j->is_embedding)
		return; /* not the first of this attempt */
	if (j->first_id == 0) {
		j->kin = kin;
		j->is_kin_exact = is_exact;
		j->continuity = HUB_CONTINUITY_NONE;
		return;
	}
	if (!RULE(h, CONTINUITY) || (kin != 0 && kin == j->kin && is_exact && j->is_kin_exact))
		c = HUB_CONTINUITY_EXACT;
	else
		c = kin != 0 && kin == j->kin ? HUB_CONTINUITY_NOT_EXACT : HUB_CONTINUITY_OTHER_BUILD;
	if (c > j->continuity)
		j->continuity = c;
}

/* Who wrote what came before this attempt is not in the journal. */
void continuity_rejoined(struct hub *h, struct job *j)
{
	const struct hold *o = models_hold(j->agent, j->model);

	if (j->first_id > 0)
		j->continuity = HUB_CONTINUITY_OTHER_BUILD;
	else if (o != NULL) {
		j->kin = kin_of(h, j->agent, o->info);
		j->is_kin_exact = o->info->exact;
	}
}

void continuity_failed(struct hub *h, struct job *j)
{
	size_t n = 0;

	j->kin_until_ms = 0;
	if (j->n_ids == 0 || h->config.exact_wait_ms == 0)
		return;
	LIST_EACH(l, &j->model->holds)
	{
		const struct hold *o = CONTAINER(l, struct hold, of_model);

		if (o->agent->routable && is_kin(h, j, o)) {
			j->kin_until_ms = j->not_before_ms + h->config.exact_wait_ms;
			return;
		}
		if (++n == KIN_SCAN)
			return;
	}
}

bool continuity_lets(const struct hub *h, const struct job *j, const struct hold *o)
{
	return h->now_ms >= j->kin_until_ms || is_kin(h, j, o);
}
