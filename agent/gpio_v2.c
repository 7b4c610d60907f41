/* gpio_pins.h by libgpiod 2.x (Debian 13). */
#include "gpio_pins.h"

#include <errno.h>
#include <gpiod.h>
#include <stdio.h>
#include <stdlib.h>

struct gpio_pin {
	unsigned offset;
	struct gpiod_line_request *request;
	struct gpiod_edge_event_buffer *edges; /* of inputs; room for one */
};

static int failed(void)
{
	return errno != 0 ? -errno : -EIO;
}

int gpio_chip_open(const char *name, struct gpiod_chip **ret)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/dev/%s", name);
	*ret = gpiod_chip_open(name[0] == '/' ? name : path);
	return *ret != NULL ? 0 : failed();
}

void gpio_chip_close(struct gpiod_chip *c)
{
	if (c != NULL)
		gpiod_chip_close(c);
}

/* NULL: errno says why. */
static struct gpiod_line_request *request(struct gpiod_chip *c, unsigned offset, struct gpiod_line_settings *settings)
{
	struct gpiod_request_config *who = gpiod_request_config_new();
	struct gpiod_line_config *what = gpiod_line_config_new();
	struct gpiod_line_request *r = NULL;
	int why;

	if (who != NULL && what != NULL && gpiod_line_config_add_line_settings(what, &offset, 1, settings) == 0) {
		gpiod_request_config_set_consumer(who, GPIO_CONSUMER);
		r = gpiod_chip_request_lines(c, who, what);
	}
	why = errno;
	gpiod_line_config_free(what);
	gpiod_request_config_free(who);
	errno = why;
	return r;
}

static bool make_output(struct gpiod_line_settings *s)
{
	return gpiod_line_settings_set_direction(s, GPIOD_LINE_DIRECTION_OUTPUT) == 0 &&
	       gpiod_line_settings_set_output_value(s, GPIOD_LINE_VALUE_INACTIVE) == 0;
}

static bool make_input(struct gpiod_line_settings *s, bool is_active_low)
{
	return gpiod_line_settings_set_direction(s, GPIOD_LINE_DIRECTION_INPUT) == 0 &&
	       gpiod_line_settings_set_bias(s, is_active_low ? GPIOD_LINE_BIAS_PULL_UP : GPIOD_LINE_BIAS_PULL_DOWN) == 0 &&
	       gpiod_line_settings_set_edge_detection(s, GPIOD_LINE_EDGE_BOTH) == 0;
}

static int pin_new(struct gpiod_chip *c, unsigned offset, bool is_input, bool is_active_low, struct gpio_pin **ret)
{
	struct gpiod_line_settings *s = gpiod_line_settings_new();
	struct gpio_pin *p = calloc(1, sizeof(*p));
	int rc = ERR_NOMEM;

	if (s == NULL || p == NULL)
		goto end;
	if (is_input && (p->edges = gpiod_edge_event_buffer_new(1)) == NULL)
		goto end;
	gpiod_line_settings_set_active_low(s, is_active_low);
	if (is_input ? make_input(s, is_active_low) : make_output(s))
		p->request = request(c, offset, s);
	rc = p->request != NULL ? 0 : failed();
	p->offset = offset;
end:
	gpiod_line_settings_free(s);
	if (rc == 0)
		*ret = p;
	else
		gpio_pin_free(p);
	return rc;
}

int gpio_pin_output(struct gpiod_chip *c, unsigned offset, bool is_active_low, struct gpio_pin **ret)
{
	return pin_new(c, offset, false, is_active_low, ret);
}

int gpio_pin_input(struct gpiod_chip *c, unsigned offset, bool is_active_low, struct gpio_pin **ret)
{
	return pin_new(c, offset, true, is_active_low, ret);
}

struct gpio_pin *gpio_pin_free(struct gpio_pin *p)
{
	if (p == NULL)
		return NULL;
	if (p->request != NULL)
		gpiod_line_request_release(p->request);
	if (p->edges != NULL)
		gpiod_edge_event_buffer_free(p->edges);
	free(p);
	return NULL;
}

int gpio_pin_set(struct gpio_pin *p, bool level)
{
	int rc = gpiod_line_request_set_value(
		p->request, p->offset, level ? GPIOD_LINE_VALUE_ACTIVE : GPIOD_LINE_VALUE_INACTIVE);

	return rc == 0 ? 0 : failed();
}

int gpio_pin_get(struct gpio_pin *p, bool *ret)
{
	enum gpiod_line_value value = gpiod_line_request_get_value(p->request, p->offset);

	if (value == GPIOD_LINE_VALUE_ERROR)
		return failed();
	*ret = value == GPIOD_LINE_VALUE_ACTIVE;
	return 0;
}

int gpio_pin_fd(const struct gpio_pin *p)
{
	return gpiod_line_request_get_fd(p->request);
}

int gpio_pin_edge(struct gpio_pin *p, struct gpio_edge *ret)
{
	struct gpiod_edge_event *e;
	int rc = gpiod_line_request_wait_edge_events(p->request, 0);

	if (rc == 0)
		return 0;
	if (rc < 0 || gpiod_line_request_read_edge_events(p->request, p->edges, 1) < 0)
		return failed();
	e = gpiod_edge_event_buffer_get_event(p->edges, 0); /* the buffer's */
	if (e == NULL)
		return failed();
	*ret = (struct gpio_edge){ .ns = gpiod_edge_event_get_timestamp_ns(e),
		.level = gpiod_edge_event_get_event_type(e) == GPIOD_EDGE_EVENT_RISING_EDGE };
	return 1;
}
