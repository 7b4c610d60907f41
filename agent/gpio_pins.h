/* gpio_pins.h - single lines of a GPIO chip, by libgpiod.
 *
 * gpio_v1.c (libgpiod 1.x) and gpio_v2.c (2.x) both do this; the build takes the one
 * that fits, and they are the only files that include gpiod.h.
 * Levels are logical: with is_active_low a line that is low reads as 1.
 * Errors are -errno.  Threads: one. */
#ifndef SHOAL_AGENT_GPIO_PINS_H
#define SHOAL_AGENT_GPIO_PINS_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

#define GPIO_CONSUMER "shoal-agent" /* what gpioinfo shows */

struct gpiod_chip; /* libgpiod's own; both versions have it */
struct gpio_pin;

struct gpio_edge {
	uint64_t ns; /* CLOCK_MONOTONIC */
	bool level;  /* after it */
};

/* name: "gpiochip0" or a path.  The chip outlives its pins. */
SHOAL_CHECK int gpio_chip_open(const char *name, struct gpiod_chip **ret);
void gpio_chip_close(struct gpiod_chip *c); /* accepts NULL */

/* The line is ours alone until it is freed.  An output begins at 0.  An input has the resistor that makes it read 0
 * when nothing drives it, where the chip has one, and queues its edges. */
SHOAL_CHECK int gpio_pin_output(struct gpiod_chip *c, unsigned offset, bool is_active_low, struct gpio_pin **ret);
SHOAL_CHECK int gpio_pin_input(struct gpiod_chip *c, unsigned offset, bool is_active_low, struct gpio_pin **ret);
struct gpio_pin *gpio_pin_free(struct gpio_pin *p);

SHOAL_CHECK int gpio_pin_set(struct gpio_pin *p, bool level);
SHOAL_CHECK int gpio_pin_get(struct gpio_pin *p, bool *ret);
int gpio_pin_fd(const struct gpio_pin *p); /* of an input: readable when there is an edge */
/* 1: *ret is the oldest edge not yet taken, 0: there is none. Does not wait. */
SHOAL_CHECK int gpio_pin_edge(struct gpio_pin *p, struct gpio_edge *ret);

#endif
