/* gpio_pins.h by libgpiod 1.x (Debian 12). */
#include "gpio_pins.h"

#include <errno.h>
#include <gpiod.h>
#include <stdlib.h>

struct gpio_pin {
	struct gpiod_line *line; /* the chip's */
};

static int failed(void)
{
	return errno != 0 ? -errno : -EIO;
}

int gpio_chip_open(const char *name, struct gpiod_chip **ret)
{
	*ret = name[0] == '/' ? gpiod_chip_open(name) : gpiod_chip_open_by_name(name);
	return *ret != NULL ? 0 : failed();
}

void gpio_chip_close(struct gpiod_chip *c)
{
	if (c != NULL)
		gpiod_chip_close(c);
}

static int request(struct gpiod_chip *c, unsigned offset, int type, int flags, struct gpio_pin **ret)
{
	const struct gpiod_line_request_config config = { .consumer = GPIO_CONSUMER, .request_type = type, .flags = flags };
	struct gpio_pin *p = calloc(1, sizeof(*p));
	int rc;

	if (p == NULL)
		return ERR_NOMEM;
	p->line = gpiod_chip_get_line(c, offset);
	if (p->line != NULL && gpiod_line_request(p->line, &config, 0) == 0) {
		*ret = p;
		return 0;
	}
	rc = failed();
	free(p);
	return rc;
}

int gpio_pin_output(struct gpiod_chip *c, unsigned offset, bool is_active_low, struct gpio_pin **ret)
{
	return request(
		c, offset, GPIOD_LINE_REQUEST_DIRECTION_OUTPUT, is_active_low ? GPIOD_LINE_REQUEST_FLAG_ACTIVE_LOW : 0, ret);
}

int gpio_pin_input(struct gpiod_chip *c, unsigned offset, bool is_active_low, struct gpio_pin **ret)
{
	return request(c, offset, GPIOD_LINE_REQUEST_EVENT_BOTH_EDGES,
		is_active_low ? GPIOD_LINE_REQUEST_FLAG_ACTIVE_LOW | GPIOD_LINE_REQUEST_FLAG_BIAS_PULL_UP
			      : GPIOD_LINE_REQUEST_FLAG_BIAS_PULL_DOWN,
		ret);
}

struct gpio_pin *gpio_pin_free(struct gpio_pin *p)
{
	if (p == NULL)
		return NULL;
	gpiod_line_release(p->line);
	free(p);
	return NULL;
}

int gpio_pin_set(struct gpio_pin *p, bool level)
{
	return gpiod_line_set_value(p->line, level) == 0 ? 0 : failed();
}

int gpio_pin_get(struct gpio_pin *p, bool *ret)
{
	int value = gpiod_line_get_value(p->line);

	if (value < 0)
		return failed();
	*ret = value != 0;
	return 0;
}

int gpio_pin_fd(const struct gpio_pin *p)
{
	return gpiod_line_event_get_fd(p->line);
}

int gpio_pin_edge(struct gpio_pin *p, struct gpio_edge *ret)
{
	const struct timespec at_once = { 0 };
	struct gpiod_line_event e;
	int rc = gpiod_line_event_wait(p->line, &at_once);

	if (rc == 0)
		return 0;
	if (rc < 0 || gpiod_line_event_read(p->line, &e) < 0)
		return failed();
	*ret = (struct gpio_edge){ .ns = (uint64_t)e.ts.tv_sec * 1000000000 + (uint64_t)e.ts.tv_nsec,
		.level = e.event_type == GPIOD_LINE_EVENT_RISING_EDGE };
	return 1;
}
