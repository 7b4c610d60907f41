/* The shell's parts that can be tried alone: /proc, settings, the engine's process. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine_link.h"
#include "files.h"
#include "hw.h"
#include "log.h"
#include "settings.h"

/* ---- /proc ---- */

static char root[] = "/tmp/shoal-hw-XXXXXX";

static void write_file(const char *path, const char *text)
{
	char full[PATH_MAX];
	FILE *f;

	(void)snprintf(full, sizeof(full), "%s%s", root, path);
	f = fopen(full, "w");
	cr_assert_not_null(f);
	cr_assert_geq(fputs(text, f), 0);
	fclose(f);
}

static void make_proc(void)
{
	char proc[PATH_MAX];

	cr_assert_not_null(mkdtemp(root));
	(void)snprintf(proc, sizeof(proc), "%s/proc", root);
	cr_assert_eq(mkdir(proc, 0700), 0);
	(void)snprintf(proc, sizeof(proc), "%s/proc/self", root);
	cr_assert_eq(mkdir(proc, 0700), 0);
}

static void drop_proc(void)
{
	static const char *const names[] = { "/proc/cpuinfo", "/proc/meminfo", "/proc/loadavg", "/proc/self/statm",
		"/proc/self", "/proc", "" };
	char full[PATH_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(full, sizeof(full), "%s%s", root, names[i]);
		(void)remove(full); /* not each test made each */
	}
}

TestSuite(hw, .init = make_proc, .fini = drop_proc);

Test(hw, processors_are_counted_and_named)
{
	const struct {
		const char *text, *cpu;
		uint64_t cores;
	} cases[] = {
		{ "processor\t: 0\nmodel name\t: Big CPU @ 3 GHz\n\nprocessor\t: 1\nmodel name\t: Big CPU @ 3 GHz\n",
			"Big CPU @ 3 GHz", 2 },
		{ "processor\t: 0\nBogoMIPS\t: 108.00\n\nprocessor\t: 1\n\nModel\t\t: Raspberry Pi 4 Model B\n",
			"Raspberry Pi 4 Model B", 2 },
		{ "processor : 0\nHardware : BCM2835\n", "BCM2835", 1 },
		{ "processor\t: 0\nmodel name\t: \xff\xfe\n", "", 1 }, /* not UTF-8: could not be published */
		{ "", "", 0 },
	};
	struct hw hw;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		write_file("/proc/cpuinfo", cases[i].text);
		hw_read(root, &hw);
		cr_assert_eq(hw.said.cores, cases[i].cores, "case %zu: %" PRIu64, i, hw.said.cores);
		cr_assert(span_is(hw.said.cpu, cases[i].cpu), "case %zu", i);
		cr_assert_gt(hw.said.kernel.n, 0);
	}
}

Test(hw, memory_load_and_size_are_read)
{
	struct hw hw;

	write_file("/proc/meminfo", "MemTotal:        2048 kB\nMemFree:   1 kB\nMemAvailable:    1024 kB\n");
	write_file("/proc/loadavg", "1.25 0.50 0.10 1/234 5678\n");
	write_file("/proc/self/statm", "100 7 3 1 0 5 0\n");
	hw_read(root, &hw);
	cr_assert_eq(hw.said.mem_total, 2048u * 1024);
	cr_assert_eq(hw_mem_available(root), 1024u * 1024);
	cr_assert_eq(hw_load_milli(root), 1250);
	cr_assert_eq(hw_rss(root, 0), 7u * (uint64_t)sysconf(_SC_PAGESIZE));
}

Test(hw, what_is_not_there_or_not_a_number_is_zero)
{
	cr_assert_eq(hw_mem_available(root), 0);
	cr_assert_eq(hw_load_milli(root), 0);
	cr_assert_eq(hw_rss(root, 0), 0);
	write_file("/proc/loadavg", "nan x\n");
	write_file("/proc/self/statm", "x\n");
	cr_assert_eq(hw_load_milli(root), 0);
	cr_assert_eq(hw_rss(root, 0), 0);
}

Test(hw, this_very_box_has_all_of_it)
{
	struct hw hw;

	hw_read("", &hw);
	cr_assert_gt(hw.said.cores, 0);
	cr_assert_gt(hw.said.mem_total, hw_rss("", 0));
	cr_assert_gt(hw_rss("", 0), 0);
}

/* ---- settings ---- */

static const char *set_all(const char *const sets[], size_t n, struct settings *s)
{
	struct config_error err;

	cr_assert_eq(config_load(&settings_schema, NULL, sets, n, s, &err), 0, "%s", err.text);
	return settings_check(s);
}

Test(settings, combinations_that_make_no_sense_are_named)
{
	const struct {
		const char *set, *says;
	} cases[] = {
		{ "broker.certfile=/c", "keyfile" },
		{ "broker.keyfile=/k", "certfile" },
		{ "engine.backoff_min_ms=60000", "backoff" },
		{ "gpio.online=3", "gpio.chip" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *sets[] = { "id=box-1", cases[i].set };
		struct settings s;
		const char *why = set_all(sets, 2, &s);

		cr_assert(why != NULL && strstr(why, cases[i].says) != NULL, "%s: %s", cases[i].set, why);
		config_free(&settings_schema, &s);
	}
}

Test(settings, a_line_serves_one_thing)
{
	const char *sets[] = { "gpio.chip=gpiochip0", "gpio.online=3", "gpio.button=4", "gpio.fault=3" };
	struct settings s;

	cr_assert_null(set_all(sets, 3, &s));
	cr_assert(s.gpio.fault == GPIO_NONE && s.gpio.button == 4 && s.gpio.button_active_low);
	config_free(&settings_schema, &s);
	cr_assert(strstr(set_all(sets, 4, &s), "same line") != NULL);
	config_free(&settings_schema, &s);
}

Test(settings, values_out_of_their_range_are_refused)
{
	static const char *const bad[] = { "id=a/b", "id=-x", "prefix=", "prefix=a/+", "prefix=/a", "broker.port=0",
		"broker.port=65536", "log.level=loud", "queue.max=100000", "drain_ms=0", "nonsense=1",
		"gpio.button=4294967296", "gpio.debounce_ms=0", "gpio.long_press_ms=499" };
	struct config_error err;
	struct settings s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_lt(config_load(&settings_schema, NULL, &bad[i], 1, &s, &err), 0, "%s is taken", bad[i]);
}

Test(settings, what_is_left_open_follows_from_the_box)
{
	const char *sets[] = { "broker.password_file=/p", "id=box-7" };
	struct settings s;

	(void)unsetenv("STATE_DIRECTORY");
	cr_assert_null(set_all(sets, 2, &s));
	cr_assert_eq(settings_complete(&s), 0);
	cr_assert_str_eq(s.broker.username, "box-7");
	cr_assert_str_eq(s.state_dir, "/var/lib/shoal-agent");
	config_free(&settings_schema, &s);
	(void)setenv("STATE_DIRECTORY", "/run/x", 1);
	cr_assert_null(set_all(sets + 1, 1, &s));
	cr_assert_eq(settings_complete(&s), 0);
	cr_assert_str_eq(s.state_dir, "/run/x");
	cr_assert_str_eq(s.broker.username, "");
	config_free(&settings_schema, &s);
}

Test(settings, digests_are_64_hex_digits)
{
	uint8_t d[32];

	cr_assert_eq(settings_digest("00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF", d), 0);
	cr_assert(d[1] == 0x11 && d[31] == 0xff);
	cr_assert_lt(settings_digest("", d), 0);
	cr_assert_lt(settings_digest("0011", d), 0);
	cr_assert_lt(settings_digest("x0112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF", d), 0);
}

/* ---- the engine's process ---- */

#define ECHO SHOAL_BIN_DIR "/shoal-engine-echo"

static struct loop *loop;
static struct engine_link *link_;
static struct {
	uint64_t types[8];
	size_t n, n_bad;
	bool exited, kill_on_first, loads;
	int wstatus, stopped_by;
	size_t n_lines;
	struct {
		int level;
		char text[600];
	} lines[80];
} heard;

static void on_stop(void *ctx, int signo)
{
	(void)ctx;
	(void)signo;
}

static char folder[] = "/tmp/shoal-files-XXXXXX";

static const char *in_folder(const char *name)
{
	static char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* A descriptor among messages without one. */
static void load_a_model(const struct engine_msg *m)
{
	if (m->type == ENGINE_HELLO) {
		struct span path = span_of(in_folder("model"));

		engine_link_send(link_, &(struct engine_msg){ .type = ENGINE_PING }, -1);
		engine_link_send(link_, &(struct engine_msg){ .type = ENGINE_LOAD, .path = path }, files_open_model(path));
		engine_link_send(link_, &(struct engine_msg){ .type = ENGINE_PING }, -1);
	} else if (m->type == ENGINE_LOADED) {
		engine_link_send(link_, &(struct engine_msg){ .type = ENGINE_QUIT }, -1);
	}
}

static void on_message(void *ctx, size_t index, const struct engine_msg *m)
{
	(void)ctx;
	cr_assert_eq(index, 3);
	if (m == NULL) {
		heard.n_bad++;
		engine_link_kill(link_);
		return;
	}
	if (heard.n < 8)
		heard.types[heard.n++] = m->type;
	if (heard.kill_on_first)
		engine_link_kill(link_);
	else if (heard.loads)
		load_a_model(m);
	else if (m->type == ENGINE_HELLO)
		engine_link_send(link_, &(struct engine_msg){ .type = ENGINE_PING }, -1);
	else if (m->type == ENGINE_PONG)
		engine_link_send(link_, &(struct engine_msg){ .type = ENGINE_QUIT }, -1);
}

static void on_exit_of_engine(void *ctx, size_t index, int wstatus)
{
	(void)ctx;
	(void)index;
	heard.exited = true;
	heard.wstatus = wstatus;
	loop_exit(loop, 0);
}

static void on_stop_of_engine(void *ctx, size_t index, int signo)
{
	(void)ctx;
	(void)index;
	heard.stopped_by = signo;
	engine_link_kill(link_);
}

static void on_words_of_engine(void *ctx, size_t index, int level, struct span line)
{
	(void)ctx;
	(void)index;
	cr_assert_lt(heard.n_lines, sizeof(heard.lines) / sizeof(heard.lines[0]), "it is not held back");
	heard.lines[heard.n_lines].level = level;
	cr_assert_eq(span_copy(line, heard.lines[heard.n_lines].text, sizeof(heard.lines[0].text)), 0);
	heard.n_lines++;
}

static void too_long(void *ctx)
{
	(void)ctx;
	loop_exit(loop, 1);
}

/* Starts the program and runs the loop to its end. */
static void live(const char *path)
{
	static const struct engine_link_callbacks cb = { on_message, on_exit_of_engine, on_stop_of_engine,
		on_words_of_engine };
	struct loop_timer *limit;

	cr_assert_eq(loop_new(on_stop, NULL, &loop), 0);
	cr_assert_eq(loop_timer_new(loop, too_long, NULL, &limit), 0);
	loop_timer_at(limit, clock_ms() + 20000);
	cr_assert_eq(engine_link_new(loop, 3, path, &cb, NULL, &link_), 0);
	cr_assert_eq(engine_link_start(link_), 0);
	cr_assert_gt(engine_link_pid(link_), 0);
	cr_assert_eq(engine_link_start(link_), ERR_STATE);
	cr_assert_eq(loop_run(loop), 0, "it did not end");
	cr_assert(heard.exited);
	cr_assert_eq(engine_link_pid(link_), 0);
	engine_link_free(link_);
	loop_timer_free(limit);
	loop_free(loop);
}

static bool is_there(const char *path)
{
	return access(path, X_OK) == 0;
}

Test(engine_link, it_speaks_with_an_engine_and_sees_it_end)
{
	if (!is_there(ECHO))
		cr_skip("%s is not built", ECHO);
	live(ECHO);
	cr_assert_eq(heard.n, 2);
	cr_assert(heard.types[0] == ENGINE_HELLO && heard.types[1] == ENGINE_PONG);
	cr_assert(WIFEXITED(heard.wstatus) && WEXITSTATUS(heard.wstatus) == 0);
}

static int count_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void make_files(void)
{
	FILE *f;

	cr_assert_not_null(mkdtemp(folder));
	f = fopen(in_folder("model"), "w");
	cr_assert(f != NULL && fputs("tokens=3\n", f) >= 0 && fclose(f) == 0);
	cr_assert_eq(symlink("model", in_folder("link")), 0);
	cr_assert_eq(mkfifo(in_folder("fifo"), 0600), 0);
}

static void drop_files(void)
{
	static const char *const names[] = { "model", "link", "fifo", "" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)remove(in_folder(names[i]));
}

Test(engine_link, a_model_file_goes_with_its_message, .init = make_files, .fini = drop_files)
{
	int before = count_descriptors();

	if (!is_there(ECHO))
		cr_skip("%s is not built", ECHO);
	heard.loads = true;
	live(ECHO);
	cr_assert(WIFEXITED(heard.wstatus) && WEXITSTATUS(heard.wstatus) == 0);
	cr_assert(heard.types[0] == ENGINE_HELLO && heard.types[1] == ENGINE_PONG && heard.types[2] == ENGINE_PROGRESS);
	cr_assert_eq(count_descriptors(), before);
}

Test(files, only_a_regular_file_is_opened_as_a_model, .init = make_files, .fini = drop_files)
{
	const struct {
		const char *name;
		int rc;
		const char *word;
	} cases[] = { { "nothing", -ENOENT, "No such file" }, { "fifo", ERR_RANGE, "no regular file" },
		{ "", -EISDIR, "directory" }, { "model", 0, "" }, { "link", 0, "" } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct span path = span_of(in_folder(cases[i].name));
		int fd = files_open_model(path);
		char reason[512];

		cr_assert_eq(fd < 0 ? fd : 0, cases[i].rc, "\"%s\": %d", cases[i].name, fd);
		if (fd >= 0) {
			cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
			close(fd);
			continue;
		}
		files_reason(path, fd, reason, sizeof(reason));
		cr_assert(strstr(reason, cases[i].word) != NULL && strstr(reason, folder) != NULL, "%s", reason);
	}
}

Test(engine_link, a_kill_ends_it)
{
	if (!is_there(ECHO))
		cr_skip("%s is not built", ECHO);
	heard.kill_on_first = true;
	live(ECHO);
	cr_assert(WIFSIGNALED(heard.wstatus) && WTERMSIG(heard.wstatus) == SIGKILL);
}

static void make_script(char *path, const char *body)
{
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	cr_assert_gt(dprintf(fd, "#!/bin/sh\n%s\n", body), 0);
	cr_assert_eq(fchmod(fd, 0700), 0);
	close(fd);
}

static void live_script(const char *body)
{
	char path[] = "/tmp/shoal-engine-XXXXXX";

	make_script(path, body);
	live(path);
	(void)unlink(path);
}

Test(engine_link, bytes_that_are_no_message_are_told_once)
{
	live_script("printf '\\000\\000\\000\\003abc\\000\\000\\000\\003abc' >&3; sleep 20");
	cr_assert_eq(heard.n_bad, 1);
	cr_assert(WIFSIGNALED(heard.wstatus));
}

Test(engine_link, a_frame_that_is_too_long_is_told_once)
{
	live_script("printf '\\377\\377\\377\\377abc' >&3; sleep 20");
	cr_assert_eq(heard.n_bad, 1);
}

Test(engine_link, one_that_closes_its_end_is_ended)
{
	live_script("exec 3>&-; sleep 20");
	cr_assert_eq(heard.n_bad, 0);
	cr_assert(WIFSIGNALED(heard.wstatus) && WTERMSIG(heard.wstatus) == SIGKILL);
}

Test(engine_link, one_that_is_stopped_is_told_at_once)
{
	live_script("kill -STOP $$; sleep 20");
	cr_assert_eq(heard.stopped_by, SIGSTOP);
	cr_assert(WIFSIGNALED(heard.wstatus) && WTERMSIG(heard.wstatus) == SIGKILL);
}

/* Dead and not reaped yet is dead. */
static bool is_alive(int pid)
{
	char path[64], line[512] = "", *state;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	(void)!fgets(line, sizeof(line), f);
	fclose(f);
	state = strrchr(line, ')');
	return state != NULL && strncmp(state, ") Z", 3) != 0;
}

/* It writes for ever to the end that the engine left it; PONGs, as valid as can be. */
Test(engine_link, what_the_engine_started_ends_with_it)
{
	char path[] = "/tmp/shoal-pid-XXXXXX", body[256], text[32] = "";
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	(void)snprintf(body, sizeof(body),
		"while printf '\\000\\000\\000\\003\\241\\001\\006' >&3; do :; done & echo $! >%s; exit 0", path);
	live_script(body);
	cr_assert(WIFEXITED(heard.wstatus) && WEXITSTATUS(heard.wstatus) == 0);
	cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
	for (int i = 0; i < 5000 && is_alive(atoi(text)); i++)
		(void)usleep(1000); /* it is not our child: nobody tells us */
	cr_assert_not(is_alive(atoi(text)), "it lives on");
	close(fd);
	(void)unlink(path);
}

Test(engine_link, its_words_are_lines_with_levels)
{
	live_script("echo '<4>careful' >&2; echo plain; printf '<0>worst\\n\\n<9>odd\\nno end' >&2");
	cr_assert_eq(heard.n_lines, 5);
	cr_assert(heard.lines[0].level == LOG_WARN && strcmp(heard.lines[0].text, "careful") == 0);
	cr_assert(heard.lines[1].level == LOG_INFO && strcmp(heard.lines[1].text, "plain") == 0);
	cr_assert(heard.lines[2].level == LOG_ERROR && strcmp(heard.lines[2].text, "worst") == 0);
	cr_assert_str_eq(heard.lines[3].text, "<9>odd");
	cr_assert_str_eq(heard.lines[4].text, "no end");
}

Test(engine_link, many_words_are_counted_and_long_ones_cut)
{
	live_script("head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; yes nonsense | head -n 200000 >&2");
	cr_assert_eq(strlen(heard.lines[0].text), 512);
	cr_assert_str_eq(heard.lines[1].text, "nonsense");
	cr_assert(heard.n_lines > 50 && heard.n_lines < 80, "%zu lines", heard.n_lines);
	cr_assert_eq(heard.lines[heard.n_lines - 1].level, LOG_WARN);
	cr_assert(strstr(heard.lines[heard.n_lines - 1].text, "more lines, which are left out") != NULL);
}

Test(engine_link, its_own_exit_status_is_seen)
{
	live_script("exit 7");
	cr_assert(WIFEXITED(heard.wstatus) && WEXITSTATUS(heard.wstatus) == 7);
}

Test(engine_link, a_program_that_is_not_there_is_an_error_at_once)
{
	static const struct engine_link_callbacks cb = { on_message, on_exit_of_engine, on_stop_of_engine,
		on_words_of_engine };

	cr_assert_eq(loop_new(on_stop, NULL, &loop), 0);
	cr_assert_eq(engine_link_new(loop, 3, "/nonexistent/engine", &cb, NULL, &link_), 0);
	cr_assert_lt(engine_link_start(link_), 0);
	cr_assert_eq(engine_link_pid(link_), 0);
	engine_link_free(link_);
	loop_free(loop);
}
