/* The figures as text: what is there, what is not, and what a label may hold. */
#include <criterion/criterion.h>

#include "agent_rig.h"

static struct rig r;
static struct agent_config c;
static struct buf text;

static void setup(void)
{
	c = rig_config();
	text = BUF_INIT(1 << 20);
}

static void teardown(void)
{
	buf_fini(&text);
	rig_fini(&r);
}

TestSuite(prometheus, .init = setup, .fini = teardown);

/* Lines of the text that begin so. */
static size_t lines(const char *begin)
{
	struct span rest;
	size_t n = 0;

	buf_reset(&text);
	agent_prometheus(r.a, &text);
	cr_assert_eq(text.err, 0);
	for (rest = buf_span(&text); rest.n > 0;) {
		const char *end = memchr(rest.p, '\n', rest.n);

		cr_assert_not_null(end, "the last line ends");
		n += strncmp(rest.p, begin, strlen(begin)) == 0;
		rest.n -= (size_t)(end + 1 - rest.p);
		rest.p = end + 1;
	}
	return n;
}

Test(prometheus, a_label_is_escaped)
{
	c.software = SPAN("a\"b\\c\nd");
	rig_ready(&r, &c);
	cr_assert_eq(lines("shoal_agent_build_info{software=\"a\\\"b\\\\c\\nd\",engine=\"test 1\"} 1\n"), 1);
}

Test(prometheus, what_a_box_has_no_source_for_is_not_there)
{
	struct agent_sample s = { .load_milli = 1500 };

	rig_ready(&r, &c);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_SAMPLE, .sample = &s });
	cr_assert(lines("shoal_agent_temperature") == 0 && lines("# TYPE shoal_agent_temperature") == 0);
	cr_assert(lines("shoal_agent_pressure_ratio") == 0 && lines("# TYPE shoal_agent_pressure_ratio") == 0);
	cr_assert_eq(lines("shoal_agent_load1 1.5\n"), 1);
	s.sensors = (struct sensors){ .temp_milli = -1500, .psi_io = 10000, .cpu_mhz = 1800 };
	msg_set(&s.sensors, SENSORS_TEMP);
	msg_set(&s.sensors, SENSORS_PSI_IO);
	msg_set(&s.sensors, SENSORS_CPU_MHZ);
	msg_set(&s.sensors, SENSORS_THROTTLED);
	rig_event(&r, &(struct agent_event){ .type = AGENT_EV_SAMPLE, .sample = &s });
	cr_assert_eq(lines("shoal_agent_temperature_celsius -1.5\n"), 1);
	cr_assert_eq(lines("shoal_agent_throttled 0\n"), 1, "false is a figure");
	cr_assert_eq(lines("shoal_agent_cpu_frequency_hertz 1800000000\n"), 1);
	cr_assert_eq(lines("shoal_agent_pressure_ratio"), 1);
	cr_assert_eq(lines("shoal_agent_pressure_ratio{resource=\"io\"} 1\n"), 1);
}

Test(prometheus, requests_are_told_by_model_and_code_and_strangers_as_one)
{
	rig_ready(&r, &c);
	cr_assert_eq(lines("shoal_agent_requests_total"), 1);
	cr_assert_eq(lines("shoal_agent_request_duration_min_seconds"), 0, "there is none yet");
	rig_job(&r, "j1", 1);
	rig_tokens(&r, 1, 0, "ab");
	rig_done(&r, 1, 2, FINISH_STOP);
	for (char name[] = "x0"; name[1] <= '9'; name[1]++) {
		char id[] = { 'k', name[1], '\0' };

		rig_job_msg(&r,
			(struct job_msg){ .job = span_of(id), .attempt = 1, .prompt = SPAN("p"), .model = span_of(name) });
	}
	cr_assert_eq(lines("shoal_agent_requests_total{model=\"m\",code=\"OK\"} 1\n"), 1);
	cr_assert_eq(lines("shoal_agent_requests_total{model=\"\",code=\"MODEL_UNKNOWN\"} 10\n"), 1);
	cr_assert_eq(lines("shoal_agent_requests_total"), 2);
	cr_assert_eq(lines("shoal_agent_request_duration_min_seconds{model=\"m\"} 0\n"), 1, "a millisecond has not passed");
	cr_assert_eq(lines("shoal_agent_request_duration_seconds_count{model=\"m\"} 1\n"), 1);
	cr_assert_eq(lines("shoal_agent_prompt_tokens_total{model=\"m\"} 5\n"), 1);
	cr_assert_eq(lines("shoal_agent_generation_tokens_total{model=\"m\"} 2\n"), 1);
}

Test(prometheus, how_an_engine_computes_is_told_when_it_has_said_so)
{
	rig_ready(&r, &c);
	cr_assert_eq(lines("shoal_agent_engine_threads"), 0);
	rig_engine(&r, (struct engine_msg){ .type = ENGINE_STATS, .threads = 3, .token_us = 4100, .step_rows = 7500 });
	cr_assert_eq(lines("shoal_agent_engine_threads{model=\"m\"} 3\n"), 1);
	cr_assert_eq(lines("shoal_agent_engine_token_seconds{model=\"m\"} 0.0041\n"), 1);
	cr_assert_eq(lines("shoal_agent_engine_step_rows{model=\"m\"} 7.5\n"), 1);
	cr_assert_eq(lines("shoal_agent_engine_kept_sequences{model=\"m\"} 0\n"), 1);
}

Test(prometheus, an_agent_without_models_has_no_empty_families)
{
	c.n_models = 0;
	rig_init(&r, &c);
	cr_assert_gt(lines("shoal_agent_"), 10);
	cr_assert_eq(lines("# TYPE shoal_agent_request"), 0);
}
