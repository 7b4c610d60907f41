/* Lights and button of a box: agent/core/gpio.c under a clock of our own. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "gpio.h"
#include "rng.h"

#define DEBOUNCE_MS 30
#define LONG_MS 3000
#define OFF_MS 10000
#define ALL ((1u << GPIO_OUTPUTS) - 1)
#define BIT(i) (1u << (i))

static struct gpio gpio;
static uint64_t now;
static unsigned lit; /* as the changes add up */
static unsigned n_short, n_long, n_ticks;
static bool contact;     /* what the line would read */
static uint64_t told_ms; /* of the last verdict */

static void set_up(unsigned outputs, bool is_pressed)
{
	const struct gpio_config c = { .outputs = outputs,
		.has_button = true,
		.debounce_ms = DEBOUNCE_MS,
		.long_press_ms = LONG_MS,
		.enable_off_ms = OFF_MS };

	gpio_init(&gpio, &c, is_pressed);
	now = 5000;
	lit = n_short = n_long = n_ticks = 0;
	contact = is_pressed;
}

static void step_at(uint64_t at, struct gpio_event ev)
{
	struct gpio_out out = gpio_step(&gpio, at, &ev);

	lit ^= out.changed;
	cr_assert_eq(lit, out.levels, "a change was not told");
	n_short += out.press == GPIO_PRESS_SHORT;
	n_long += out.press == GPIO_PRESS_LONG;
	if (out.press != GPIO_PRESS_NONE)
		told_ms = at;
}

/* As the shell does it: a tick at every deadline. */
static void pass(uint64_t ms)
{
	for (uint64_t end = now + ms;;) {
		uint64_t at = gpio_deadline(&gpio);

		cr_assert_geq(at, now, "the same tick again and again");
		if (at > end) {
			now = end;
			return;
		}
		now = at;
		n_ticks++;
		step_at(now, (struct gpio_event){ .type = GPIO_EV_TICK, .is_pressed = contact });
		cr_assert_gt(gpio_deadline(&gpio), now, "the same tick again and again");
	}
}

static void edge(bool is_pressed)
{
	contact = is_pressed;
	step_at(now, (struct gpio_event){ .type = GPIO_EV_EDGE, .is_pressed = is_pressed });
}

static void view(struct agent_view v)
{
	step_at(now, (struct gpio_event){ .type = GPIO_EV_VIEW, .view = &v });
}

static bool is_lit(enum gpio_output o)
{
	return (lit & BIT(o)) != 0;
}

/* ---- button ---- */

Test(gpio, a_press_shorter_than_the_limit_is_short_and_told_when_it_has_settled)
{
	set_up(0, false);
	edge(true);
	pass(200);
	edge(false);
	pass(DEBOUNCE_MS - 1);
	cr_assert_eq(n_short, 0);
	pass(1);
	cr_assert_eq(n_short, 1);
	pass(60000);
	cr_assert(n_short == 1 && n_long == 0);
	cr_assert_eq(gpio_deadline(&gpio), UINT64_MAX, "nothing is to come");
}

Test(gpio, presses_around_the_limit)
{
	const struct {
		uint64_t held_ms;
		unsigned n_short, n_long;
	} cases[] = {
		{ 1, 0, 0 }, /* a glitch */
		{ DEBOUNCE_MS - 1, 0, 0 },
		{ DEBOUNCE_MS, 1, 0 },
		{ DEBOUNCE_MS + 1, 1, 0 },
		{ LONG_MS - DEBOUNCE_MS, 1, 0 },
		{ LONG_MS - 1, 1, 0 }, /* the limit passes while the release settles */
		{ LONG_MS, 0, 1 },
		{ LONG_MS + 1, 0, 1 },
		{ 100 * LONG_MS, 0, 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		set_up(0, false);
		edge(true);
		pass(cases[i].held_ms);
		edge(false);
		pass(2 * LONG_MS);
		cr_assert(n_short == cases[i].n_short && n_long == cases[i].n_long, "held %" PRIu64 " ms: %u short, %u long",
			cases[i].held_ms, n_short, n_long);
	}
}

Test(gpio, a_long_press_is_told_while_it_is_held_and_once)
{
	uint64_t began;

	set_up(0, false);
	began = now;
	edge(true);
	pass(LONG_MS);
	cr_assert_eq(n_long, 1);
	cr_assert_eq(told_ms, began + LONG_MS);
	pass(20 * LONG_MS);
	cr_assert_eq(n_long, 1);
	edge(false);
	pass(1000);
	cr_assert(n_long == 1 && n_short == 0, "letting go says nothing");
	edge(true);
	pass(100);
	edge(false);
	pass(100);
	cr_assert_eq(n_short, 1, "the next press counts again");
}

/* Toggles for less than the debounce time, ending at is_pressed; returns when it ended. */
static void bounce(struct rng *rng, bool is_pressed)
{
	edge(is_pressed);
	for (size_t i = rng_below(rng, 12); i > 0; i--) {
		pass(rng_below(rng, DEBOUNCE_MS / 2));
		edge(rng_below(rng, 4) == 0 ? contact : !contact); /* some edges are told twice the same way */
	}
	if (contact != is_pressed)
		edge(is_pressed);
}

Test(gpio, contacts_that_bounce_give_one_verdict_a_press)
{
	for (uint64_t seed = 1; seed <= 2000; seed++) {
		unsigned want_short = 0, want_long = 0;
		struct rng rng;

		rng_seed(&rng, seed);
		set_up(0, false);
		for (size_t i = 0; i < 8; i++) {
			bool is_long = rng_below(&rng, 3) == 0;

			bounce(&rng, true);
			/* The bounces of the release take less than 12 * DEBOUNCE_MS / 2. */
			pass(is_long ? LONG_MS + rng_below(&rng, 1000)
				     : DEBOUNCE_MS + rng_below(&rng, LONG_MS - 8 * DEBOUNCE_MS));
			bounce(&rng, false);
			pass(DEBOUNCE_MS + rng_below(&rng, 500));
			is_long ? want_long++ : want_short++;
			cr_assert(n_short == want_short && n_long == want_long, "seed %" PRIu64 ", press %zu: %u/%u, %u/%u",
				seed, i, n_short, want_short, n_long, want_long);
		}
	}
}

Test(gpio, edges_that_are_told_late_count_as_of_their_own_time)
{
	set_up(0, false);
	step_at(9000, (struct gpio_event){ .type = GPIO_EV_VIEW, .view = &(struct agent_view){ 0 } });
	step_at(6000, (struct gpio_event){ .type = GPIO_EV_EDGE, .is_pressed = true });
	step_at(6100, (struct gpio_event){ .type = GPIO_EV_EDGE, .is_pressed = false });
	now = 9000;
	step_at(now, (struct gpio_event){ .type = GPIO_EV_TICK, .is_pressed = false });
	cr_assert(n_short == 1 && n_long == 0);
	step_at(10000, (struct gpio_event){ .type = GPIO_EV_EDGE, .is_pressed = true });
	step_at(10000 + LONG_MS, (struct gpio_event){ .type = GPIO_EV_EDGE, .is_pressed = false });
	step_at(20000, (struct gpio_event){ .type = GPIO_EV_TICK, .is_pressed = false });
	cr_assert(n_short == 1 && n_long == 1);
}

Test(gpio, a_lost_release_does_not_become_a_long_press)
{
	set_up(0, false);
	edge(true);
	pass(100);
	contact = false; /* and no edge */
	pass(2 * LONG_MS);
	cr_assert_eq(n_long, 0);
	cr_assert_eq(n_short, 1);
}

Test(gpio, a_lost_press_is_found_when_its_bounces_were_told)
{
	set_up(0, false);
	edge(true);
	edge(false);
	contact = true; /* the edges after these did not fit the kernel's queue */
	pass(300);
	edge(false);
	pass(300);
	cr_assert_eq(n_short, 1);
}

Test(gpio, a_button_that_hangs_from_the_beginning_says_nothing)
{
	set_up(0, true);
	cr_assert_eq(gpio_deadline(&gpio), UINT64_MAX);
	pass(10 * LONG_MS);
	edge(false);
	pass(1000);
	cr_assert(n_short == 0 && n_long == 0);
	edge(true);
	pass(LONG_MS);
	cr_assert_eq(n_long, 1);
}

/* ---- lights ---- */

Test(gpio, each_phase_has_its_light)
{
	static const struct {
		enum agent_phase phase;
		uint64_t half_ms; /* 0: steady */
		bool is_on;
	} cases[] = {
		{ AGENT_PHASE_START, 0, false },
		{ AGENT_PHASE_CONNECTING, 125, true },
		{ AGENT_PHASE_REGISTERING, 125, true },
		{ AGENT_PHASE_READY, 0, true },
		{ AGENT_PHASE_DRAINING, 1000, true },
		{ AGENT_PHASE_STOPPED, 0, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		set_up(ALL, false);
		view((struct agent_view){ .phase = cases[i].phase });
		cr_assert_eq(is_lit(GPIO_ONLINE), cases[i].is_on, "%s", agent_phase_name(cases[i].phase));
		if (cases[i].half_ms == 0)
			cr_assert_eq(gpio_deadline(&gpio), UINT64_MAX, "%s ticks", agent_phase_name(cases[i].phase));
		for (unsigned beat = 1; cases[i].half_ms > 0 && beat < 10; beat++) {
			pass(cases[i].half_ms - 1);
			cr_assert_eq(is_lit(GPIO_ONLINE), beat % 2 != 0);
			pass(1);
			cr_assert_eq(is_lit(GPIO_ONLINE), beat % 2 == 0);
			cr_assert_eq(n_ticks, beat, "one tick a change");
		}
		cr_assert_eq(lit & ~BIT(GPIO_ONLINE), 0);
	}
}

Test(gpio, the_same_view_again_keeps_the_beat)
{
	set_up(ALL, false);
	view((struct agent_view){ .phase = AGENT_PHASE_DRAINING });
	for (unsigned i = 0; i < 40; i++) {
		cr_assert_eq(is_lit(GPIO_ONLINE), i / 4 % 2 == 0, "after %u ms", i * 250);
		pass(250);
		view((struct agent_view){ .phase = AGENT_PHASE_DRAINING, .n_running = i % 2 });
	}
}

Test(gpio, busy_and_fault)
{
	static const struct {
		struct agent_view view;
		bool is_busy, is_fault, is_blinking;
	} cases[] = {
		{ { .n_models = 2 }, false, false, false },
		{ { .n_models = 2, .n_running = 3 }, true, false, false },
		{ { .n_models = 2, .n_failed = 1, .n_running = 1 }, true, true, true },
		{ { .n_models = 2, .n_failed = 2 }, false, true, false },
		{ { .n_models = 2, .n_failed = 0 }, false, false, false },
	};

	set_up(ALL, false);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		view(cases[i].view);
		cr_assert_eq(is_lit(GPIO_BUSY), cases[i].is_busy, "case %zu", i);
		cr_assert_eq(is_lit(GPIO_FAULT), cases[i].is_fault, "case %zu", i);
		cr_assert_eq(gpio_deadline(&gpio) != UINT64_MAX, cases[i].is_blinking, "case %zu", i);
		pass(1000);
		cr_assert_eq(is_lit(GPIO_FAULT), cases[i].is_fault && !cases[i].is_blinking, "case %zu", i);
	}
}

Test(gpio, lights_that_are_not_there_cause_no_ticks)
{
	set_up(BIT(GPIO_BUSY), false);
	view((struct agent_view){ .phase = AGENT_PHASE_DRAINING, .n_models = 2, .n_failed = 1, .has_engines = true });
	view((struct agent_view){ .phase = AGENT_PHASE_DRAINING, .n_models = 2, .n_failed = 1 });
	cr_assert_eq(gpio_deadline(&gpio), UINT64_MAX);
}

/* ---- power ---- */

Test(gpio, power_is_on_while_engines_run_and_a_while_longer)
{
	const struct agent_view on = { .has_engines = true }, off = { .has_engines = false };

	set_up(ALL, false);
	view(off);
	cr_assert(!is_lit(GPIO_ENABLE) && gpio_deadline(&gpio) == UINT64_MAX);
	view(on);
	cr_assert(is_lit(GPIO_ENABLE), "before the engine is started");
	pass(60000);
	view(off);
	pass(OFF_MS / 2);
	view(off); /* does not begin anew */
	pass(OFF_MS / 2 - 1);
	cr_assert(is_lit(GPIO_ENABLE));
	pass(1);
	cr_assert(!is_lit(GPIO_ENABLE));
	view(on);
	view(off);
	pass(OFF_MS - 1);
	view(on);
	pass(10 * OFF_MS);
	cr_assert(is_lit(GPIO_ENABLE), "wanted again in time: it never went off");
}
