/* panel.h - the lights and the button of the box: core/gpio.h on real lines.
 *
 * A chip or a line that cannot be had is one warning each; the rest works without.
 * Owns its lines and its sources in the loop.  Threads: loop thread only. */
#ifndef SHOAL_AGENT_PANEL_H
#define SHOAL_AGENT_PANEL_H

#include "gpio.h"
#include "loop.h"
#include "settings.h"

struct panel;

/* *ret is NULL, without an error, when no line is configured or can be had.
 * on_press: the button's verdict; the panel may not be freed in it. */
SHOAL_CHECK int panel_new(struct loop *l, const struct gpio_settings *s, void (*on_press)(void *ctx, enum gpio_press press),
	void *ctx, struct panel **ret);
/* All outputs go to 0. Accepts NULL. */
struct panel *panel_free(struct panel *p);
/* What is true now. Accepts NULL. */
void panel_show(struct panel *p, const struct agent_view *v);

#endif
