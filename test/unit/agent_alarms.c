/* What the sensors of a box make the agent say: in the heartbeat, and once in the log. */
#include <criterion/criterion.h>

#include "agent_rig.h"

static struct rig r;

static void setup(void)
{
	struct agent_config c = rig_config();

	rig_ready(&r, &c);
}

static void teardown(void)
{
	rig_fini(&r);
}

TestSuite(alarms, .init = setup, .fini = teardown);

static void sample(struct sensors s)
{
	struct agent_sample all = { .sensors = s };

	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_SAMPLE, .sample = &all });
}

/* How many lines of the last step hold the words. */
static size_t said(const char *words)
{
	const struct agent_action *act;
	size_t n = 0;

	for (size_t i = 0; (act = rig_find(&r, AGENT_ACT_LOG, i)) != NULL; i++)
		n += memmem(act->text.p, act->text.n, words, strlen(words)) != NULL;
	return n;
}

static struct sensors throttled(bool is)
{
	struct sensors s = { .throttled = is, .temp_milli = 83272 };

	msg_set(&s, SENSORS_THROTTLED);
	msg_set(&s, SENSORS_TEMP);
	return s;
}

static struct sensors disk(uint64_t free_bytes)
{
	struct sensors s = { .disk_free = free_bytes };

	msg_set(&s, SENSORS_DISK_FREE);
	return s;
}

Test(alarms, throttling_is_told_when_it_begins_and_when_it_is_long_over)
{
	sample(throttled(false));
	cr_assert_eq(said("slowed down"), 0);
	sample(throttled(true));
	cr_assert_eq(said("slowed down against heat at 83.3 degrees"), 1);
	for (unsigned i = 0; i < 40; i++) { /* on and off: one story */
		rig_pass(&r, 2000);
		sample(throttled(i % 2 == 0));
		cr_assert_eq(said("slowed down"), 0, "sample %u", i);
	}
	rig_pass(&r, 57000);
	sample(throttled(false));
	cr_assert_eq(said("slowed down"), 0);
	rig_pass(&r, 3000);
	sample(throttled(false));
	cr_assert_eq(said("no longer slowed down"), 1);
	sample(throttled(true));
	cr_assert_eq(said("slowed down against heat"), 1);
}

Test(alarms, low_voltage_is_told_once)
{
	struct sensors s = { .undervoltage = true };

	msg_set(&s, SENSORS_UNDERVOLTAGE);
	sample(s);
	cr_assert_eq(said("voltage is too low"), 1);
	sample(s);
	cr_assert_eq(said("voltage"), 0);
}

Test(alarms, a_disk_is_nearly_full_below_a_twentieth)
{
	sample(disk((uint64_t)820 << 20)); /* of 16 GiB */
	cr_assert_eq(said("nearly full"), 0);
	sample(disk((uint64_t)819 << 20));
	cr_assert_eq(said("nearly full, 819 of 16384 MiB"), 1);
	sample(disk(0));
	cr_assert_eq(said("nearly full"), 0);
	rig_pass(&r, 61000);
	sample(disk((uint64_t)2 << 30));
	cr_assert_eq(said("has room again"), 1);
}

Test(alarms, a_source_that_is_not_there_raises_none)
{
	sample((struct sensors){ 0 });
	cr_assert_eq(rig_count(&r, AGENT_ACT_LOG), 0);
}

Test(alarms, the_heartbeat_has_what_the_box_has_and_nothing_else)
{
	const struct agent_action *act;
	struct sensors s = throttled(true);

	sample(s);
	act = rig_wait_for(&r, AGENT_ACT_HEARTBEAT, 10000);
	cr_assert_not_null(act);
	cr_assert_eq(act->heartbeat.sensors.has, s.has);
	cr_assert(act->heartbeat.sensors.throttled && act->heartbeat.sensors.temp_milli == 83272);
}
