/* The notation, as llama.cpp's grammars/README.md has it:
 *
 *   rule    name ::= alternatives, to the end of the line
 *   item    "text"  [a-z]  [^a-z]  .  name  (alternatives)
 *   times   item*  item+  item?  item{3}  item{2,}  item{2,5}
 *
 * A line may go on after "|" and inside parentheses; # begins a comment.  Every item becomes
 * one element (a text of several characters and parentheses become rules of their own), so that
 * repeating one is repeating an element. */
#include <stdlib.h>

#include "gbnf_rules.h"

#define NAME_BUCKETS 512
#define NONE UINT32_MAX

struct name {
	struct span text;
	uint32_t rule, next; /* in its bucket; NONE: the last */
};

struct reader {
	struct span text;
	size_t at;
	struct gbnf_rules *r;
	struct buf names;
	uint32_t buckets[NAME_BUCKETS];
	struct buf *why;
	int err;
	unsigned depth;
};

/* ---- faults: the first counts ---- */

static unsigned line_of(const struct reader *p)
{
	unsigned line = 1;

	for (size_t i = 0; i < p->at && i < p->text.n; i++)
		line += p->text.p[i] == '\n';
	return line;
}

static void fail(struct reader *p, int err, const char *what)
{
	if (p->err != 0)
		return;
	p->err = err;
	buf_addf(p->why, "Line %u of the grammar: %s.", line_of(p), what);
}

static void push(struct reader *p, struct buf *to, const void *item, size_t size)
{
	buf_add(to, item, size);
	if (to->err == ERR_TOOBIG)
		fail(p, ERR_TOOBIG, "it has grown over the limit of 100000 elements, repetitions written out");
	else if (to->err != 0)
		fail(p, ERR_NOMEM, "there is not enough memory");
}

/* ---- rules and their names ---- */

static uint32_t new_rule(struct reader *p)
{
	uint32_t rule = (uint32_t)(p->r->starts.n / sizeof(uint32_t)), start = NONE;

	push(p, &p->r->starts, &start, sizeof(start));
	return rule;
}

static struct name *name_at(const struct reader *p, uint32_t i)
{
	return (struct name *)(void *)p->names.p + i;
}

/* FNV-1a (Fowler, Noll, Vo). */
static uint32_t rule_named(struct reader *p, struct span text)
{
	uint32_t h = 2166136261u, i;
	struct name n = { .text = text };

	for (size_t k = 0; k < text.n; k++)
		h = (h ^ (uint8_t)text.p[k]) * 16777619u;
	h %= NAME_BUCKETS;
	for (i = p->buckets[h]; i != NONE; i = name_at(p, i)->next)
		if (span_eq(name_at(p, i)->text, text))
			return name_at(p, i)->rule;
	n.rule = new_rule(p);
	n.next = p->buckets[h];
	i = (uint32_t)(p->names.n / sizeof(n));
	push(p, &p->names, &n, sizeof(n));
	if (p->err == 0)
		p->buckets[h] = i;
	return n.rule;
}

static void set_rule(struct reader *p, uint32_t rule, const struct buf *body)
{
	uint32_t start = (uint32_t)(p->r->elements.n / sizeof(struct gbnf_element));
	struct gbnf_element end = { .type = GBNF_END };

	push(p, &p->r->elements, body->p, body->n);
	push(p, &p->r->elements, &end, sizeof(end));
	if (p->err == 0)
		memcpy(p->r->starts.p + rule * sizeof(start), &start, sizeof(start));
}

static void add(struct reader *p, struct buf *body, uint32_t type, uint32_t a, uint32_t b)
{
	struct gbnf_element e = { .type = type, .a = a, .b = b };

	push(p, body, &e, sizeof(e));
}

/* ---- characters ---- */

static char peek(const struct reader *p)
{
	return p->at < p->text.n ? p->text.p[p->at] : '\0';
}

static bool take(struct reader *p, char c)
{
	if (p->at >= p->text.n || p->text.p[p->at] != c)
		return false;
	p->at++;
	return true;
}

static void skip_space(struct reader *p, bool with_lines)
{
	for (; p->at < p->text.n; p->at++) {
		char c = p->text.p[p->at];

		if (c == '#')
			while (p->at + 1 < p->text.n && p->text.p[p->at + 1] != '\n')
				p->at++;
		else if (c != ' ' && c != '\t' && !(with_lines && (c == '\n' || c == '\r')))
			return;
	}
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static struct span take_name(struct reader *p)
{
	size_t begin = p->at;

	while (is_word(peek(p)))
		p->at++;
	return span_mem(p->text.p + begin, p->at - begin);
}

static uint32_t take_hex(struct reader *p, unsigned digits)
{
	uint32_t v = 0;

	for (; digits > 0; digits--) {
		char c = peek(p);
		int d = c >= '0' && c <= '9'   ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
			: c >= 'A' && c <= 'F' ? c - 'A' + 10
					       : -1;

		if (d < 0) {
			fail(p, ERR_MALFORMED, "\\x, \\u and \\U want 2, 4 and 8 hexadecimal digits");
			return 0;
		}
		v = v << 4 | (uint32_t)d;
		p->at++;
	}
	return v;
}

/* The text is UTF-8: that has been checked. */
static uint32_t take_character(struct reader *p)
{
	uint8_t c = (uint8_t)p->text.p[p->at++];
	unsigned more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	uint32_t v = more == 0 ? c : c & (0x3fu >> more);

	for (; more > 0; more--)
		v = v << 6 | ((uint8_t)p->text.p[p->at++] & 0x3f);
	return v;
}

/* One character of a text or a set, which may be written in other ways. */
static uint32_t take_letter(struct reader *p)
{
	static const char names[] = "nrt\\\"[]-^", values[] = "\n\r\t\\\"[]-^";
	const char *at;
	char c;

	if (!take(p, '\\'))
		return take_character(p);
	c = peek(p);
	p->at++;
	if (c == 'x')
		return take_hex(p, 2);
	if (c == 'u')
		return take_hex(p, 4);
	if (c == 'U')
		return take_hex(p, 8);
	at = c != '\0' ? strchr(names, c) : NULL;
	if (at == NULL)
		fail(p, ERR_MALFORMED, "after \\ comes one of n r t \\ \" [ ] - ^ x u U");
	return at != NULL ? (uint8_t)values[at - names] : 0;
}

/* ---- items ---- */

static void add_set(struct reader *p, struct buf *body, uint32_t type, uint32_t first)
{
	add(p, body, type, first, (uint32_t)(p->r->ranges.n / sizeof(struct gbnf_range)) - first);
}

static void add_range(struct reader *p, uint32_t low, uint32_t high)
{
	struct gbnf_range range = { .low = low, .high = high };

	if (high < low)
		fail(p, ERR_MALFORMED, "a range of characters ends before it begins");
	push(p, &p->r->ranges, &range, sizeof(range));
}

static uint32_t n_ranges(const struct reader *p)
{
	return (uint32_t)(p->r->ranges.n / sizeof(struct gbnf_range));
}

/* A rule of its own, if it is not one element anyway. */
static void add_body(struct reader *p, struct buf *to, const struct buf *body)
{
	uint32_t rule;

	if (body->n == sizeof(struct gbnf_element)) {
		push(p, to, body->p, body->n);
		return;
	}
	rule = new_rule(p);
	set_rule(p, rule, body);
	add(p, to, GBNF_RULE, rule, 0);
}

static struct buf body_init(void)
{
	return BUF_INIT(GBNF_MAX_ELEMENTS * sizeof(struct gbnf_element));
}

static void read_text(struct reader *p, struct buf *to)
{
	struct buf body = body_init();

	while (p->err == 0 && !take(p, '"')) {
		uint32_t first = n_ranges(p), c;

		if (p->at >= p->text.n) {
			fail(p, ERR_MALFORMED, "a text has no end: a \" is missing");
			break;
		}
		c = take_letter(p);
		add_range(p, c, c);
		add_set(p, &body, GBNF_SET, first);
	}
	add_body(p, to, &body);
	buf_fini(&body);
}

static void read_set(struct reader *p, struct buf *to)
{
	uint32_t type = take(p, '^') ? GBNF_NOT : GBNF_SET, first = n_ranges(p);

	while (p->err == 0 && !take(p, ']')) {
		uint32_t low, high;

		if (p->at >= p->text.n) {
			fail(p, ERR_MALFORMED, "a set of characters has no end: a ] is missing");
			return;
		}
		low = high = take_letter(p);
		if (peek(p) == '-' && p->at + 1 < p->text.n && p->text.p[p->at + 1] != ']') {
			p->at++;
			high = take_letter(p);
		}
		add_range(p, low, high);
	}
	add_set(p, to, type, first);
}

static void read_alternatives(struct reader *p, struct buf *body, bool is_nested);

static void read_group(struct reader *p, struct buf *to)
{
	struct buf body = body_init();

	if (++p->depth > GBNF_MAX_NESTING)
		fail(p, ERR_TOOBIG, "parentheses nest deeper than 64");
	skip_space(p, true);
	if (p->err == 0)
		read_alternatives(p, &body, true);
	if (!take(p, ')'))
		fail(p, ERR_MALFORMED, "a ) is missing");
	p->depth--;
	add_body(p, to, &body);
	buf_fini(&body);
}

/* False when no item begins here. */
static bool read_item(struct reader *p, struct buf *to)
{
	if (take(p, '"'))
		read_text(p, to);
	else if (take(p, '['))
		read_set(p, to);
	else if (take(p, '('))
		read_group(p, to);
	else if (take(p, '.'))
		add_set(p, to, GBNF_NOT, n_ranges(p));
	else if (is_word(peek(p)))
		add(p, to, GBNF_RULE, rule_named(p, take_name(p)), 0);
	else
		return false;
	return true;
}

/* ---- how often ---- */

static uint32_t take_number(struct reader *p)
{
	uint32_t v = 0;

	if (peek(p) < '0' || peek(p) > '9')
		fail(p, ERR_MALFORMED, "a number is missing in {}");
	while (peek(p) >= '0' && peek(p) <= '9' && v <= GBNF_MAX_REPEAT)
		v = v * 10 + (uint32_t)(p->text.p[p->at++] - '0');
	if (v > GBNF_MAX_REPEAT)
		fail(p, ERR_TOOBIG, "an item may be repeated 10000 times at most");
	return v;
}

/* How often the item before may come; *ret_max NONE: without end.  False: just once. */
static bool read_times(struct reader *p, uint32_t *ret_min, uint32_t *ret_max)
{
	*ret_min = 0;
	*ret_max = NONE;
	if (take(p, '*'))
		return true;
	if (take(p, '?')) {
		*ret_max = 1;
		return true;
	}
	if (take(p, '+')) {
		*ret_min = 1;
		return true;
	}
	if (!take(p, '{'))
		return false;
	skip_space(p, true);
	*ret_min = *ret_max = take_number(p);
	skip_space(p, true);
	if (take(p, ',')) {
		skip_space(p, true);
		*ret_max = peek(p) == '}' ? NONE : take_number(p);
		skip_space(p, true);
	}
	if (!take(p, '}'))
		fail(p, ERR_MALFORMED, "a } is missing");
	if (*ret_max < *ret_min)
		fail(p, ERR_MALFORMED, "an item's greatest number is below its least");
	return true;
}

/* A rule: item and then `next`, if there is one, or nothing. */
static void set_optional(struct reader *p, uint32_t rule, const struct gbnf_element *item, uint32_t next)
{
	struct buf body = body_init();

	push(p, &body, item, sizeof(*item));
	if (next != NONE)
		add(p, &body, GBNF_RULE, next, 0);
	add(p, &body, GBNF_OR, 0, 0);
	set_rule(p, rule, &body);
	buf_fini(&body);
}

/* The last element of body becomes as many as asked for: x{2,4} is x x (x (x)?)?. */
static void repeat(struct reader *p, struct buf *body, uint32_t min, uint32_t max)
{
	struct gbnf_element item;
	uint32_t rest = NONE;

	body->n -= sizeof(item);
	memcpy(&item, body->p + body->n, sizeof(item));
	for (uint32_t i = 0; i < min && p->err == 0; i++)
		push(p, body, &item, sizeof(item));
	if (max == NONE) {
		rest = new_rule(p);
		set_optional(p, rest, &item, rest);
	}
	for (uint32_t i = min; max != NONE && i < max && p->err == 0; i++) {
		uint32_t rule = new_rule(p);

		set_optional(p, rule, &item, rest);
		rest = rule;
	}
	if (rest != NONE)
		add(p, body, GBNF_RULE, rest, 0);
}

/* ---- rules ---- */

static void read_sequence(struct reader *p, struct buf *body, bool is_nested)
{
	uint32_t min, max;

	while (p->err == 0 && read_item(p, body)) {
		skip_space(p, is_nested);
		if (p->err != 0 || !read_times(p, &min, &max))
			continue;
		if (p->err == 0)
			repeat(p, body, min, max);
		skip_space(p, is_nested);
	}
}

static void read_alternatives(struct reader *p, struct buf *body, bool is_nested)
{
	read_sequence(p, body, is_nested);
	while (p->err == 0 && take(p, '|')) {
		add(p, body, GBNF_OR, 0, 0);
		skip_space(p, true);
		read_sequence(p, body, is_nested);
	}
}

static void read_rule(struct reader *p)
{
	struct span name = take_name(p);
	struct buf body = body_init();
	uint32_t rule;

	if (name.n == 0) {
		fail(p, ERR_MALFORMED, "a rule begins with its name, of letters, digits, - and _");
		return;
	}
	rule = rule_named(p, name);
	skip_space(p, false);
	if (p->err == 0 && gbnf_start(p->r, rule) != NONE)
		fail(p, ERR_MALFORMED, "a rule of this name is there already");
	if (!(take(p, ':') && take(p, ':') && take(p, '=')))
		fail(p, ERR_MALFORMED, "after a rule's name comes ::=");
	skip_space(p, true);
	if (p->err == 0)
		read_alternatives(p, &body, false);
	if (p->at < p->text.n && peek(p) != '\n' && peek(p) != '\r')
		fail(p, ERR_MALFORMED, "here no item begins");
	set_rule(p, rule, &body);
	buf_fini(&body);
}

/* Everything that is named must be there. */
static void check_names(struct reader *p)
{
	for (uint32_t i = 0; p->err == 0 && i < p->names.n / sizeof(struct name); i++) {
		const struct name *n = name_at(p, i);

		if (gbnf_start(p->r, n->rule) != NONE)
			continue;
		p->err = ERR_MALFORMED;
		buf_addf(p->why, "The grammar has no rule \"%.*s\", which it names.",
			SPAN_FMT(span_mem(n->text.p, n->text.n < 64 ? n->text.n : 64)));
	}
}

int gbnf_read(struct span text, struct buf *why, struct gbnf_rules *r)
{
	struct reader p = { .text = text, .r = r, .why = why, .names = BUF_INIT(GBNF_MAX_ELEMENTS * sizeof(struct name)) };

	*r = (struct gbnf_rules){ .elements = body_init(),
		.starts = BUF_INIT(GBNF_MAX_ELEMENTS * sizeof(uint32_t)),
		.ranges = BUF_INIT(GBNF_MAX_ELEMENTS * sizeof(struct gbnf_range)) };
	memset(p.buckets, 0xff, sizeof(p.buckets));
	if (!span_is_utf8(text))
		fail(&p, ERR_MALFORMED, "it is not UTF-8");
	r->root = rule_named(&p, SPAN("root"));
	skip_space(&p, true);
	while (p.err == 0 && p.at < text.n) {
		read_rule(&p);
		skip_space(&p, true);
	}
	check_names(&p);
	buf_fini(&p.names);
	if (p.err != 0)
		gbnf_rules_fini(r);
	return p.err;
}

void gbnf_rules_fini(struct gbnf_rules *r)
{
	buf_fini(&r->elements);
	buf_fini(&r->starts);
	buf_fini(&r->ranges);
}
