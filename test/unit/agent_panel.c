/* The panel's way between the loop and the lines: agent/panel.c on lines of our own, in the place of
 * libgpiod's (which real simulated lines try). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "gpio_pins.h"
#include "panel.h"

#define N_LINES 8
#define BUTTON 4
#define SHORT_WAIT_MS 10000 /* a test fails after so long */

struct gpiod_chip {
	int unused;
};

struct gpio_pin {
	unsigned offset;
};

static struct {
	bool is_there, is_taken[N_LINES], level[N_LINES], is_open[N_LINES], is_broken[N_LINES];
	int edges[2]; /* a pipe of struct gpio_edge */
} board = { .is_there = true };

/* ---- the lines ---- */

int gpio_chip_open(const char *name, struct gpiod_chip **ret)
{
	(void)name;
	if (!board.is_there)
		return -ENOENT;
	*ret = calloc(1, sizeof(**ret));
	return *ret != NULL ? 0 : ERR_NOMEM;
}

void gpio_chip_close(struct gpiod_chip *c)
{
	free(c);
}

int gpio_pin_output(struct gpiod_chip *c, unsigned offset, bool is_active_low, struct gpio_pin **ret)
{
	(void)c;
	(void)is_active_low;
	if (offset >= N_LINES)
		return -EINVAL;
	if (board.is_taken[offset])
		return -EBUSY;
	*ret = calloc(1, sizeof(**ret));
	if (*ret == NULL)
		return ERR_NOMEM;
	(*ret)->offset = offset;
	board.is_open[offset] = true;
	return 0;
}

int gpio_pin_input(struct gpiod_chip *c, unsigned offset, bool is_active_low, struct gpio_pin **ret)
{
	return gpio_pin_output(c, offset, is_active_low, ret);
}

struct gpio_pin *gpio_pin_free(struct gpio_pin *p)
{
	if (p != NULL)
		board.is_open[p->offset] = false;
	free(p);
	return NULL;
}

int gpio_pin_set(struct gpio_pin *p, bool level)
{
	if (board.is_broken[p->offset])
		return -EIO;
	board.level[p->offset] = level;
	return 0;
}

int gpio_pin_get(struct gpio_pin *p, bool *ret)
{
	*ret = board.level[p->offset];
	return 0;
}

int gpio_pin_fd(const struct gpio_pin *p)
{
	(void)p;
	return board.edges[0];
}

int gpio_pin_edge(struct gpio_pin *p, struct gpio_edge *ret)
{
	ssize_t n = read(board.edges[0], ret, sizeof(*ret));

	if (board.is_broken[p->offset])
		return -ENODEV;
	return n == (ssize_t)sizeof(*ret) ? 1 : 0;
}

/* ---- the rig ---- */

static struct loop *loop;
static struct loop_timer *limit;
static struct panel *panel;
static char chip[] = "chip";
static struct gpio_settings set;
static unsigned n_short, n_long;

static void on_stop(void *ctx, int signo)
{
	(void)ctx;
	(void)signo;
}

static void on_limit(void *ctx)
{
	(void)ctx;
	loop_exit(loop, 1);
}

static void on_press(void *ctx, enum gpio_press press)
{
	(void)ctx;
	n_short += press == GPIO_PRESS_SHORT;
	n_long += press == GPIO_PRESS_LONG;
	/* As the daemon does: what it leads to is shown at once. */
	panel_show(panel, &(struct agent_view){ .phase = AGENT_PHASE_DRAINING, .has_engines = true });
}

static void set_up(void)
{
	cr_assert_eq(pipe2(board.edges, O_NONBLOCK | O_CLOEXEC), 0);
	cr_assert_eq(loop_new(on_stop, NULL, &loop), 0);
	cr_assert_eq(loop_timer_new(loop, on_limit, NULL, &limit), 0);
	loop_timer_at(limit, clock_ms() + SHORT_WAIT_MS);
	set = (struct gpio_settings){ .chip = chip,
		.online = 0,
		.busy = 1,
		.fault = 2,
		.enable = 3,
		.button = BUTTON,
		.debounce_ms = 5,
		.long_press_ms = 60 };
}

static void make(void)
{
	cr_assert_eq(panel_new(loop, &set, on_press, NULL, &panel), 0);
}

static void tear_down(void)
{
	panel_free(panel);
	for (unsigned i = 0; i < N_LINES; i++)
		cr_assert(!board.is_open[i] && (i == BUTTON || board.is_broken[i] || !board.level[i]), "line %u", i);
	loop_timer_free(limit);
	loop_free(loop);
	close(board.edges[0]);
	close(board.edges[1]);
}

TestSuite(panel, .init = set_up, .fini = tear_down);

static void turn_button(bool is_pressed)
{
	struct timespec t;
	struct gpio_edge e = { .level = is_pressed };

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	e.ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	board.level[BUTTON] = is_pressed;
	cr_assert_eq(write(board.edges[1], &e, sizeof(e)), (ssize_t)sizeof(e));
}

#define LOOP_UNTIL(condition)                                                                                               \
	while (!(condition))                                                                                                \
	cr_assert_eq(loop_turn(loop, UINT64_MAX), 1, "it did not come to: " #condition)

/* ---- the tests ---- */

Test(panel, what_is_shown_is_on_the_lines)
{
	make();
	panel_show(panel,
		&(struct agent_view){ .phase = AGENT_PHASE_READY, .n_running = 1, .n_models = 1, .has_engines = true });
	cr_assert(board.level[0] && board.level[1] && !board.level[2] && board.level[3]);
	panel_show(panel,
		&(struct agent_view){ .phase = AGENT_PHASE_READY, .n_models = 1, .n_failed = 1, .has_engines = true });
	cr_assert(board.level[0] && !board.level[1] && board.level[2] && board.level[3]);
}

Test(panel, a_light_blinks_by_itself)
{
	make();
	panel_show(panel, &(struct agent_view){ .phase = AGENT_PHASE_CONNECTING });
	cr_assert(board.level[0]);
	LOOP_UNTIL(!board.level[0]);
	LOOP_UNTIL(board.level[0]);
}

Test(panel, a_press_is_told_and_what_it_leads_to_is_shown)
{
	make();
	turn_button(true);
	turn_button(false);
	turn_button(true);
	LOOP_UNTIL(n_long == 1);
	cr_assert(board.level[0] && board.level[3]);
	turn_button(false);
	board.level[BUTTON] = false;
	for (uint64_t end = clock_ms() + 20; clock_ms() < end;)
		cr_assert_eq(loop_turn(loop, 5), 1);
	set.long_press_ms = 60000;
	panel_free(panel);
	make();
	n_short = n_long = 0;
	turn_button(true);
	for (uint64_t end = clock_ms() + 10; clock_ms() < end;)
		cr_assert_eq(loop_turn(loop, 5), 1);
	turn_button(false);
	LOOP_UNTIL(n_short == 1);
	cr_assert_eq(n_long, 0);
}

Test(panel, it_does_without_the_chip)
{
	board.is_there = false;
	make();
	cr_assert_null(panel);
	panel_show(panel, &(struct agent_view){ .phase = AGENT_PHASE_READY });
}

Test(panel, it_does_without_a_line)
{
	board.is_taken[1] = board.is_taken[BUTTON] = true;
	set.fault = N_LINES; /* the chip has no such line */
	make();
	cr_assert_not_null(panel);
	panel_show(panel, &(struct agent_view){ .phase = AGENT_PHASE_READY, .n_running = 1, .n_models = 1, .n_failed = 1 });
	cr_assert(board.level[0] && !board.level[1]);
}

Test(panel, lines_that_break_later_are_let_go)
{
	make();
	board.is_broken[0] = board.is_broken[BUTTON] = true;
	panel_show(panel, &(struct agent_view){ .phase = AGENT_PHASE_READY, .n_running = 1 });
	cr_assert(!board.is_open[0] && board.level[1]);
	turn_button(true);
	LOOP_UNTIL(!board.is_open[BUTTON]);
	cr_assert(n_short + n_long == 0);
}

Test(panel, without_lines_there_is_none)
{
	set.online = set.busy = set.fault = set.enable = set.button = GPIO_NONE;
	make();
	cr_assert_null(panel);
}
