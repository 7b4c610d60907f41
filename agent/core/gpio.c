#include "gpio.h"

#define NEVER UINT64_MAX
#define BIT(i) (1u << (i))

enum pattern { OFF, SOLID, SLOW, FAST };

static const uint64_t half_ms[] = { [OFF] = 0, [SOLID] = 0, [SLOW] = 1000, [FAST] = 125 };

/* ---- lights ---- */

static enum pattern online_pattern(enum agent_phase phase)
{
	switch (phase) {
	case AGENT_PHASE_CONNECTING:
	case AGENT_PHASE_REGISTERING: return FAST;
	case AGENT_PHASE_READY: return SOLID;
	case AGENT_PHASE_DRAINING: return SLOW;
	case AGENT_PHASE_START:
	case AGENT_PHASE_STOPPED: break;
	}
	return OFF;
}

static enum pattern fault_pattern(const struct agent_view *v)
{
	if (v->n_failed == 0)
		return OFF;
	return v->n_failed < v->n_models ? SLOW : SOLID;
}

static void show(struct gpio *g, enum gpio_output light, enum pattern p, uint64_t now)
{
	if (g->lights[light].pattern == p)
		return; /* a blink keeps its beat */
	g->lights[light].pattern = p;
	g->lights[light].since_ms = now;
	g->lights[light].beat = 0;
}

static void look(struct gpio *g, const struct agent_view *v, uint64_t now)
{
	show(g, GPIO_ONLINE, online_pattern(v->phase), now);
	show(g, GPIO_BUSY, v->n_running > 0 ? SOLID : OFF, now);
	show(g, GPIO_FAULT, fault_pattern(v), now);
	if (v->has_engines) {
		g->levels |= BIT(GPIO_ENABLE);
		g->enable_off_ms = NEVER;
	} else if ((g->levels & BIT(GPIO_ENABLE)) != 0 && g->enable_off_ms == NEVER) {
		g->enable_off_ms = now + g->config.enable_off_ms;
	}
}

static bool is_lit(struct gpio *g, size_t light, uint64_t now)
{
	uint64_t half = half_ms[g->lights[light].pattern];

	if (half == 0)
		return g->lights[light].pattern != OFF;
	g->lights[light].beat = (now - g->lights[light].since_ms) / half;
	return g->lights[light].beat % 2 == 0;
}

static void light_up(struct gpio *g, uint64_t now)
{
	for (size_t i = 0; i < GPIO_ENABLE; i++)
		g->levels = is_lit(g, i, now) ? g->levels | BIT(i) : g->levels & ~BIT(i);
	if (now >= g->enable_off_ms) {
		g->levels &= ~BIT(GPIO_ENABLE);
		g->enable_off_ms = NEVER;
	}
}

static uint64_t light_deadline(const struct gpio *g, size_t light)
{
	uint64_t half = half_ms[g->lights[light].pattern];

	if (half == 0 || (g->config.outputs & BIT(light)) == 0)
		return NEVER;
	return g->lights[light].since_ms + (g->lights[light].beat + 1) * half;
}

/* ---- button ---- */

static void button_moved(struct gpio *g, bool is_pressed)
{
	g->button.is_raw = is_pressed;
	g->button.moved_ms = g->button.now_ms;
	g->button.is_moving = true;
}

static enum gpio_press button_settled(struct gpio *g)
{
	bool was_told = g->button.long_ms == NEVER;

	g->button.is_moving = false;
	if (g->button.is_raw == g->button.is_pressed)
		return GPIO_PRESS_NONE;
	g->button.is_pressed = g->button.is_raw;
	g->button.long_ms = g->button.is_pressed ? g->button.moved_ms + g->config.long_press_ms : NEVER;
	return g->button.is_pressed || was_told ? GPIO_PRESS_NONE : GPIO_PRESS_SHORT;
}

/* At most one verdict: after one another edge is needed. */
static enum gpio_press button_step(struct gpio *g, uint64_t now, const struct gpio_event *ev)
{
	bool is_edge = ev->type == GPIO_EV_EDGE, has_moved = is_edge || ev->is_pressed != g->button.is_raw;
	enum gpio_press press = GPIO_PRESS_NONE;

	if (now > g->button.now_ms)
		g->button.now_ms = now;
	if (g->button.is_moving && g->button.now_ms - g->button.moved_ms >= g->config.debounce_ms)
		press = button_settled(g);
	/* Held up to now. Not so when the line reads otherwise and no edge says since when; nor when it was let go and
	 * has not settled: the next edge, or none, tells whether that was in time. */
	if ((is_edge || !has_moved) && g->button.is_pressed && g->button.is_raw && g->button.now_ms >= g->button.long_ms) {
		g->button.long_ms = NEVER;
		press = GPIO_PRESS_LONG;
	}
	if (has_moved)
		button_moved(g, ev->is_pressed);
	return press;
}

static uint64_t button_deadline(const struct gpio *g)
{
	uint64_t settled = g->button.is_moving ? g->button.moved_ms + g->config.debounce_ms : NEVER;
	uint64_t held = g->button.is_pressed && g->button.is_raw ? g->button.long_ms : NEVER;

	return settled < held ? settled : held;
}

/* ---- both ---- */

void gpio_init(struct gpio *g, const struct gpio_config *c, bool is_pressed)
{
	*g = (struct gpio){ .config = *c, .enable_off_ms = NEVER };
	g->button.is_raw = g->button.is_pressed = is_pressed;
	g->button.long_ms = NEVER; /* as if this press had been told */
}

void gpio_lose_button(struct gpio *g)
{
	g->config.has_button = false;
}

struct gpio_out gpio_step(struct gpio *g, uint64_t now_ms, const struct gpio_event *ev)
{
	struct gpio_out out = { .press = GPIO_PRESS_NONE };
	unsigned before = g->levels;

	if (g->config.has_button && ev->type != GPIO_EV_VIEW)
		out.press = button_step(g, now_ms, ev);
	if (ev->type == GPIO_EV_VIEW)
		look(g, ev->view, now_ms);
	if (ev->type != GPIO_EV_EDGE)
		light_up(g, now_ms);
	out.levels = g->levels;
	out.changed = g->levels ^ before;
	return out;
}

uint64_t gpio_deadline(const struct gpio *g)
{
	uint64_t at = g->config.has_button ? button_deadline(g) : NEVER;

	for (size_t i = 0; i < GPIO_ENABLE; i++)
		at = light_deadline(g, i) < at ? light_deadline(g, i) : at;
	if ((g->config.outputs & BIT(GPIO_ENABLE)) != 0 && g->enable_off_ms < at)
		at = g->enable_off_ms;
	return at;
}
