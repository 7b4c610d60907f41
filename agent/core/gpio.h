/* gpio.h - what the lights of a box show and what a press of its button means, pure:
 * (state, now, event) -> levels of the output lines, and a verdict on the button.
 *
 *   light    off              solid            slow blink         fast blink
 *   online   not running      ready            draining           looking for broker, loading models
 *   busy     no job runs      a job runs
 *   fault    all is well      no model works   some models fail
 *
 * slow: 1 s on, 1 s off; fast: 1/8 s on, 1/8 s off; both begin with on.
 * enable is on while an engine runs or is to run soon, and gpio_config.enable_off_ms longer.
 *
 * The button: an edge counts when no other has followed for debounce_ms.  A press is
 * short when it ends before long_press_ms have passed, else long; a long one is told
 * while the button is still held, once.  A button that reads as pressed when all begins
 * says nothing until it was let go: a line that hangs must not stop the agent.
 *
 * Levels are logical: 1 is lit, powered, pressed.  No memory of its own, no errors. */
#ifndef SHOAL_GPIO_H
#define SHOAL_GPIO_H

#include "agent.h"

enum gpio_output { GPIO_ONLINE, GPIO_BUSY, GPIO_FAULT, GPIO_ENABLE, GPIO_OUTPUTS };

struct gpio_config {
	unsigned outputs; /* 1 << enum gpio_output of those there are: others cause no ticks */
	bool has_button;
	uint64_t debounce_ms, long_press_ms;
	uint64_t enable_off_ms;
};

enum gpio_press { GPIO_PRESS_NONE, GPIO_PRESS_SHORT, GPIO_PRESS_LONG };

enum gpio_event_type {
	GPIO_EV_VIEW, /* view */
	GPIO_EV_EDGE, /* is_pressed; the time of the step is the edge's own, which may lie in the past */
	GPIO_EV_TICK  /* is_pressed: as the line reads now, for edges may have been lost */
};

struct gpio_event {
	enum gpio_event_type type;
	const struct agent_view *view; /* borrowed */
	bool is_pressed;
};

struct gpio_out {
	unsigned levels, changed; /* 1 << enum gpio_output; all begin at 0 */
	enum gpio_press press;
};

struct gpio { /* private to gpio.c */
	struct gpio_config config;
	unsigned levels;
	struct {
		unsigned pattern;
		uint64_t since_ms, beat; /* beat: half periods since then, as of the last step */
	} lights[GPIO_ENABLE];
	uint64_t enable_off_ms; /* when enable goes off; UINT64_MAX: not planned */
	struct {
		uint64_t now_ms;         /* apart from that of the lights: edges are told late */
		uint64_t moved_ms;       /* the last edge */
		uint64_t long_ms;        /* when this press becomes a long one; UINT64_MAX: none, or it was told */
		bool is_moving;          /* the last edge is younger than debounce_ms */
		bool is_raw, is_pressed; /* as of the last edge; what counts */
	} button;
};

void gpio_init(struct gpio *g, const struct gpio_config *c, bool is_pressed);
/* The line is gone: no verdict from here on. */
void gpio_lose_button(struct gpio *g);
struct gpio_out gpio_step(struct gpio *g, uint64_t now_ms, const struct gpio_event *ev);
/* When a TICK is wanted next (absolute); UINT64_MAX: never. */
uint64_t gpio_deadline(const struct gpio *g);

#endif
