#include "panel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "gpio_pins.h"
#include "log.h"

#define ENABLE_OFF_MS 10000
#define EDGES_A_TURN 64 /* a line that rings without end must not hold the loop */

struct panel {
	struct loop *loop;
	struct gpio logic;
	struct gpiod_chip *chip;
	struct gpio_pin *outputs[GPIO_OUTPUTS], *button;
	struct loop_io *edges;
	struct loop_timer *tick;
	void (*on_press)(void *ctx, enum gpio_press press);
	void *ctx;
};

static const char *const output_names[] = {
	[GPIO_ONLINE] = "online", [GPIO_BUSY] = "busy", [GPIO_FAULT] = "fault", [GPIO_ENABLE] = "enable"
};

static const char *why(int rc)
{
	switch (rc) {
	case -EBUSY: return "another program has it";
	case -EINVAL: return "there is no such line, or it cannot do this";
	default: return strerror(-rc);
	}
}

/* ---- running ---- */

static void give_up(struct gpio_pin **pin, const char *name, int rc)
{
	log_warn("gpio", "the line \"%s\" does not work any more: %s; going on without it", name, why(rc));
	*pin = gpio_pin_free(*pin);
}

static void lose_button(struct panel *p, int rc)
{
	p->edges = loop_io_free(p->edges);
	give_up(&p->button, "button", rc);
	gpio_lose_button(&p->logic);
}

static void arm(struct panel *p)
{
	uint64_t at = gpio_deadline(&p->logic);

	if (at == UINT64_MAX)
		loop_timer_off(p->tick);
	else
		loop_timer_at(p->tick, at);
}

static void step(struct panel *p, uint64_t now, const struct gpio_event *ev)
{
	struct gpio_out out = gpio_step(&p->logic, now, ev);

	for (size_t i = 0; i < GPIO_OUTPUTS; i++) {
		int rc;

		if ((out.changed & 1u << i) == 0 || p->outputs[i] == NULL)
			continue;
		rc = gpio_pin_set(p->outputs[i], (out.levels & 1u << i) != 0);
		if (rc < 0)
			give_up(&p->outputs[i], output_names[i], rc);
	}
	if (out.press != GPIO_PRESS_NONE)
		p->on_press(p->ctx, out.press);
}

/* The kernel stamps edges with a clock that stands while the box sleeps, the loop's does not: by its age. */
static uint64_t loop_time(const struct panel *p, uint64_t ns)
{
	uint64_t now = loop_now_ms(p->loop), age_ms;
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	age_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 - ns / 1000000;
	return age_ms <= now ? now - age_ms : now; /* another clock's: an old kernel */
}

static void read_edges(struct panel *p)
{
	struct gpio_edge e;
	int rc = 1;

	for (size_t i = 0; p->button != NULL && rc > 0 && i < EDGES_A_TURN; i++) {
		rc = gpio_pin_edge(p->button, &e);
		if (rc > 0)
			step(p, loop_time(p, e.ns), &(struct gpio_event){ .type = GPIO_EV_EDGE, .is_pressed = e.level });
		else if (rc < 0)
			lose_button(p, rc);
	}
}

/* Edges come first: the tick must not judge by an old state of the line. */
static void on_time(void *ctx)
{
	struct panel *p = ctx;
	struct gpio_event ev = { .type = GPIO_EV_TICK };
	int rc;

	read_edges(p);
	rc = p->button != NULL ? gpio_pin_get(p->button, &ev.is_pressed) : 0;
	if (rc < 0)
		lose_button(p, rc);
	step(p, loop_now_ms(p->loop), &ev);
	arm(p);
}

static void on_edges(void *ctx, uint32_t events)
{
	struct panel *p = ctx;

	on_time(p);
	if ((events & EPOLLIN) == 0 && p->button != NULL)
		lose_button(p, -ENODEV); /* only an error or the end: it would be told for ever */
}

void panel_show(struct panel *p, const struct agent_view *v)
{
	if (p == NULL)
		return;
	step(p, loop_now_ms(p->loop), &(struct gpio_event){ .type = GPIO_EV_VIEW, .view = v });
	arm(p);
}

/* ---- making ---- */

static void warn_line(const char *name, uint64_t offset, const char *chip, int rc)
{
	log_warn("gpio", "gpio.%s: line %u of %s cannot be had: %s; going on without it", name, (unsigned)offset, chip,
		why(rc));
}

static void open_outputs(struct panel *p, const struct gpio_settings *s)
{
	const uint64_t offsets[GPIO_OUTPUTS] = {
		[GPIO_ONLINE] = s->online, [GPIO_BUSY] = s->busy, [GPIO_FAULT] = s->fault, [GPIO_ENABLE] = s->enable
	};

	for (size_t i = 0; i < GPIO_OUTPUTS; i++) {
		bool is_active_low = i != GPIO_ENABLE && s->leds_active_low;
		int rc;

		if (offsets[i] == GPIO_NONE)
			continue;
		rc = gpio_pin_output(p->chip, (unsigned)offsets[i], is_active_low, &p->outputs[i]);
		if (rc < 0)
			warn_line(output_names[i], offsets[i], s->chip, rc);
	}
}

static void open_button(struct panel *p, const struct gpio_settings *s)
{
	int rc;

	if (s->button == GPIO_NONE)
		return;
	rc = gpio_pin_input(p->chip, (unsigned)s->button, s->button_active_low, &p->button);
	if (rc == 0)
		rc = loop_io_new(p->loop, gpio_pin_fd(p->button), EPOLLIN, on_edges, p, &p->edges);
	if (rc == 0)
		return;
	p->button = gpio_pin_free(p->button);
	warn_line("button", s->button, s->chip, rc);
}

static void begin(struct panel *p, const struct gpio_settings *s)
{
	struct gpio_config c = { .has_button = p->button != NULL,
		.debounce_ms = s->debounce_ms,
		.long_press_ms = s->long_press_ms,
		.enable_off_ms = ENABLE_OFF_MS };
	bool is_pressed = false;

	for (size_t i = 0; i < GPIO_OUTPUTS; i++)
		c.outputs |= p->outputs[i] != NULL ? 1u << i : 0;
	if (p->button != NULL && gpio_pin_get(p->button, &is_pressed) == 0 && is_pressed)
		log_warn("gpio", "the button reads as pressed, so it is ignored until it is let go; is "
				 "gpio.button_active_low right?");
	gpio_init(&p->logic, &c, is_pressed);
}

static bool is_wanted(const struct gpio_settings *s)
{
	return s->chip[0] != '\0' && (s->online != GPIO_NONE || s->busy != GPIO_NONE || s->fault != GPIO_NONE ||
					     s->enable != GPIO_NONE || s->button != GPIO_NONE);
}

int panel_new(struct loop *l, const struct gpio_settings *s, void (*on_press)(void *ctx, enum gpio_press press), void *ctx,
	struct panel **ret)
{
	struct panel *p;
	int rc;

	*ret = NULL;
	if (!is_wanted(s))
		return 0;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return ERR_NOMEM;
	*p = (struct panel){ .loop = l, .on_press = on_press, .ctx = ctx };
	rc = gpio_chip_open(s->chip, &p->chip);
	if (rc < 0) {
		log_warn("gpio", "gpio.chip: \"%s\" cannot be opened: %s; going on without lights and button", s->chip,
			why(rc));
		panel_free(p);
		return 0;
	}
	rc = loop_timer_new(l, on_time, p, &p->tick);
	if (rc < 0) {
		panel_free(p);
		return rc;
	}
	open_outputs(p, s);
	open_button(p, s);
	begin(p, s);
	*ret = p;
	return 0;
}

struct panel *panel_free(struct panel *p)
{
	if (p == NULL)
		return NULL;
	loop_io_free(p->edges);
	loop_timer_free(p->tick);
	for (size_t i = 0; i < GPIO_OUTPUTS; i++) {
		if (p->outputs[i] != NULL && gpio_pin_set(p->outputs[i], false) < 0)
			log_warn("gpio", "the line \"%s\" could not be set to 0 at the end", output_names[i]);
		gpio_pin_free(p->outputs[i]);
	}
	gpio_pin_free(p->button);
	gpio_chip_close(p->chip);
	free(p);
	return NULL;
}
