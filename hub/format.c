#include "format.h"

#include "schema.h"

/* The schema a format holds an answer to; SPAN_NONE: any object. */
static int find_schema(const struct response_format *f, struct buf *why, struct span *ret)
{
	*ret = SPAN_NONE;
	if (span_is(f->type, "json_object")) {
		*ret = f->schema;
		return 0;
	}
	if (!span_is(f->type, "json_schema")) {
		buf_addf(why, "\"type\" of \"response_format\" must be text, json_object or json_schema");
		return ERR_RANGE;
	}
	*ret = f->json_schema.schema.n > 0 ? f->json_schema.schema : f->schema;
	if (ret->n > 0)
		return 0;
	buf_addf(why, "\"response_format\" of type json_schema needs {\"json_schema\": {\"schema\": …}}");
	return ERR_MISSING;
}

static int keep(struct buf *grammar, struct arena *arena, struct submit *s)
{
	char *text = arena_alloc(arena, grammar->n, 1);

	if (text == NULL || grammar->err != 0)
		return ERR_NOMEM;
	memcpy(text, grammar->p, grammar->n);
	s->grammar = span_mem(text, grammar->n);
	msg_set(s, SUBMIT_GRAMMAR);
	return 0;
}

static int write_grammar(struct submit *s, struct arena *arena, struct buf *why)
{
	struct buf grammar = BUF_INIT(2 * PROTO_MAX_GRAMMAR);
	struct span schema;
	int rc = find_schema(&s->response_format, why, &schema);

	if (rc == 0 && schema.n > 0)
		rc = schema_grammar(schema, &grammar, why);
	else if (rc == 0)
		schema_any_object(&grammar);
	if (rc == 0 && (rc = keep(&grammar, arena, s)) < 0)
		buf_addf(why, "the hub is out of memory for the grammar of \"response_format\"");
	buf_fini(&grammar);
	return rc;
}

int format_to_grammar(struct submit *s, struct arena *arena, struct buf *why)
{
	bool is_asked = s->response_format.type.n > 0 && !span_is(s->response_format.type, "text");
	int rc = 0;

	if (is_asked && s->grammar.n > 0) {
		buf_addf(why, "there are both a grammar and a \"response_format\": send one of the two");
		rc = ERR_RANGE;
	} else if (is_asked) {
		rc = write_grammar(s, arena, why);
	}
	s->response_format = (struct response_format){ .has = 0 };
	s->has &= ~(UINT64_C(1) << SUBMIT_RESPONSE_FORMAT);
	return rc;
}
