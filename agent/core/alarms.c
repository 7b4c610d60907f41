/* What the box's sensors say that someone should know: told once when it begins, and once when
 * it has been over for a while, for such things come and go. */
#include "agent_core.h"

#define OVER_MS 60000
#define DISK_SHARE 20                   /* nearly full: less than this part free, */
#define DISK_ENOUGH ((uint64_t)2 << 30) /* … unless that is more than this many bytes */

static bool begins(struct agent *a, struct alarm *alarm, bool is_bad)
{
	if (is_bad)
		alarm->bad_ms = a->now;
	if (!is_bad || alarm->is_on)
		return false;
	alarm->is_on = true;
	return true;
}

static bool ends(struct agent *a, struct alarm *alarm, bool is_bad)
{
	if (is_bad || !alarm->is_on || a->now - alarm->bad_ms < OVER_MS)
		return false;
	alarm->is_on = false;
	return true;
}

static struct span degrees(struct agent *a, const struct sensors *s)
{
	int64_t tenths = (s->temp_milli + 50) / 100;

	if (!msg_has(s, SENSORS_TEMP) || tenths < 0)
		return SPAN_NONE;
	return OUT_TEXT(a, " at %u.%u degrees Celsius", (unsigned)(tenths / 10), (unsigned)(tenths % 10));
}

static void look_at_throttling(struct agent *a, const struct sensors *s)
{
	struct alarm *alarm = &a->alarms[ALARM_THROTTLED];

	if (begins(a, alarm, s->throttled)) {
		struct span at = degrees(a, s);

		OUT_LOG(a, SAY_WARN, "box",
			"the CPU is slowed down against heat%.*s: answers take longer; look at its cooling", SPAN_FMT(at));
	} else if (ends(a, alarm, s->throttled)) {
		OUT_LOG(a, SAY_NOTICE, "box", "the CPU is no longer slowed down");
	}
}

static void look_at_voltage(struct agent *a, const struct sensors *s)
{
	struct alarm *alarm = &a->alarms[ALARM_UNDERVOLTAGE];

	if (begins(a, alarm, s->undervoltage))
		OUT_LOG(a, SAY_WARN, "box",
			"the supply voltage is too low: the box slows down and may crash; use a stronger power supply or a "
			"shorter cable");
	else if (ends(a, alarm, s->undervoltage))
		OUT_LOG(a, SAY_NOTICE, "box", "the supply voltage is good again");
}

static void look_at_disk(struct agent *a, const struct sensors *s)
{
	struct alarm *alarm = &a->alarms[ALARM_DISK];
	uint64_t total = a->config.hardware != NULL ? a->config.hardware->disk_total : 0;
	bool is_bad = msg_has(s, SENSORS_DISK_FREE) && s->disk_free < min_u64(total / DISK_SHARE, DISK_ENOUGH);

	if (begins(a, alarm, is_bad))
		OUT_LOG(a, SAY_WARN, "box",
			"the disk of the state directory is nearly full, %llu of %llu MiB are free: make room, the agent "
			"cannot "
			"start without",
			(unsigned long long)(s->disk_free >> 20), (unsigned long long)(total >> 20));
	else if (ends(a, alarm, is_bad))
		OUT_LOG(a, SAY_NOTICE, "box", "the disk of the state directory has room again");
}

void alarms_look(struct agent *a)
{
	const struct sensors *s = &a->sample.sensors;

	look_at_throttling(a, s);
	look_at_voltage(a, s);
	look_at_disk(a, s);
}
