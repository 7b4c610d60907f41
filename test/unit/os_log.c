#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

static int tap = -1;

static void tap_stderr(void)
{
	int fds[2];

	cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	cr_assert_eq(dup2(fds[1], 2), 2);
	(void)close(fds[1]);
	tap = fds[0];
}

static const char *tapped(void)
{
	static char text[8192];
	ssize_t n = read(tap, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

Test(log, a_line_has_priority_program_part_text_and_fields, .init = tap_stderr)
{
	log_init("shoal-test", LOG_INFO);
	log_warn("mqtt", "lost \"%s\" after %d ms", "box-1", 7);
	cr_assert_str_eq(tapped(), "<4>shoal-test: mqtt: lost \"box-1\" after 7 ms\n");
	log_fields(LOG_INFO, "jobs", (const char *const[]){ "JOB", "01ABC", "AGENT", "box-1", NULL }, "done");
	cr_assert_str_eq(tapped(), "<6>shoal-test: jobs: done JOB=01ABC AGENT=box-1\n");
}

Test(log, lines_above_the_level_are_dropped, .init = tap_stderr)
{
	log_init("shoal-test", LOG_NOTICE);
	log_info("a", "no");
	log_debug("a", "no");
	log_notice("a", "yes");
	cr_assert_str_eq(tapped(), "<5>shoal-test: a: yes\n");
}

Test(log, a_text_from_outside_cannot_begin_a_line_or_move_the_cursor, .init = tap_stderr)
{
	log_init("shoal-test", LOG_INFO);
	log_info("a", "name \"%s\"", "x\n<0>fake: y\r\033[2J");
	cr_assert_str_eq(tapped(), "<6>shoal-test: a: name \"x <0>fake: y  [2J\"\n");
}

Test(log, an_endless_text_is_cut_and_still_one_line, .init = tap_stderr)
{
	char big[6000];
	const char *text;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_init("shoal-test", LOG_INFO);
	log_fields(LOG_INFO, "a", (const char *const[]){ "F", big, NULL }, "%s", big);
	text = tapped();
	cr_assert_lt(strlen(text), 2100);
	cr_assert_eq(strchr(text, '\n'), text + strlen(text) - 1);
}

Test(log, errno_survives_a_line, .init = tap_stderr)
{
	errno = EXDEV;
	log_info("a", "text");
	cr_assert_eq(errno, EXDEV);
}

Test(log, a_journal_stream_that_is_not_our_stderr_changes_nothing, .init = tap_stderr)
{
	cr_assert_eq(setenv("JOURNAL_STREAM", "1:2", 1), 0);
	log_init("shoal-test", LOG_INFO);
	log_info("a", "text");
	cr_assert_str_eq(tapped(), "<6>shoal-test: a: text\n");
}

Test(log, without_a_journal_to_take_it_the_line_goes_to_stderr, .init = tap_stderr)
{
	struct stat st;
	char stream[64];

	if (access("/run/systemd/journal/socket", F_OK) == 0)
		cr_skip_test("a journal runs here and would take the line");
	cr_assert_eq(fstat(2, &st), 0);
	(void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	cr_assert_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
	log_init("shoal-test", LOG_INFO);
	log_info("a", "text");
	cr_assert_str_eq(tapped(), "<6>shoal-test: a: text\n");
}

/* A journal of our own where libsystemd looks for it, seen by this process alone; -1: not allowed here. */
static int fake_journal(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };
	int fd;

	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWNS | CLONE_NEWUSER) < 0)
		return -1;
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("tmpfs", "/run", "tmpfs", 0, "mode=0755") < 0)
		return -1;
	cr_assert(mkdir("/run/systemd", 0755) == 0 && mkdir("/run/systemd/journal", 0755) == 0);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	cr_assert_eq(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Its environment is that of a unit whose standard error the journal reads. */
static int under_journal(void)
{
	char stream[64];
	struct stat st;
	int fd = fake_journal();

	if (fd < 0)
		cr_skip_test("no mount namespace may be made here: the journal's path is not tested");
	cr_assert_eq(fstat(2, &st), 0);
	(void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	cr_assert_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
	log_init("shoal-test", LOG_INFO);
	return fd;
}

/* One entry of the journal's native protocol: lines NAME=value; a value with line breaks is NAME, its length, itself. */
static const char *entry(int fd, size_t *ret_n)
{
	static char text[8192];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	*ret_n = n > 0 ? (size_t)n : 0;
	return text;
}

Test(log, the_journal_gets_a_line_with_its_fields_and_stderr_nothing, .init = tap_stderr)
{
	int fd = under_journal();
	const char *text;
	size_t n;

	log_fields(LOG_WARN, "jobs", (const char *const[]){ "JOB", "01ABC", "AGENT", "box-1", NULL }, "moved %d", 7);
	text = entry(fd, &n);
	cr_assert(strstr(text, "PRIORITY=4\n") != NULL, "%s", text);
	cr_assert(strstr(text, "SYSLOG_IDENTIFIER=shoal-test\n") != NULL, "%s", text);
	cr_assert(strstr(text, "SHOAL_PART=jobs\n") != NULL, "%s", text);
	cr_assert(strstr(text, "MESSAGE=moved 7\n") != NULL, "%s", text);
	cr_assert(strstr(text, "JOB=01ABC\nAGENT=box-1\n") != NULL, "%s", text);
	cr_assert_null(strstr(text, "CODE_FILE"), "%s", text);
	cr_assert_str_eq(tapped(), "");
	log_info("a", "another");
	cr_assert(strstr(entry(fd, &n), "MESSAGE=another\n") != NULL);
}

Test(log, a_text_from_outside_cannot_make_a_field_of_its_own, .init = tap_stderr)
{
	static const char want[] = "MESSAGE\n\x0d\0\0\0\0\0\0\0x\nPRIORITY=0\n\n";
	int fd = under_journal();
	const char *text;
	size_t n;

	log_info("a", "%s", "x\nPRIORITY=0\n");
	text = entry(fd, &n);
	cr_assert_not_null(memmem(text, n, want, sizeof(want) - 1), "the message is not one field");
}

Test(log, when_the_journal_has_gone_lines_go_to_stderr, .init = tap_stderr)
{
	int fd = under_journal();

	close(fd);
	log_info("a", "text");
	cr_assert_str_eq(tapped(), "<6>shoal-test: a: text\n");
}

Test(log, a_limit_says_once_per_interval_and_counts_the_rest)
{
	struct log_limit l = { 0 };
	unsigned long long dropped = 99;

	cr_assert(log_allowed(&l, 1000, 500, &dropped) && dropped == 0);
	for (unsigned i = 0; i < 7; i++)
		cr_assert_not(log_allowed(&l, 1000 + i, 500, &dropped));
	cr_assert(log_allowed(&l, 1500, 500, &dropped) && dropped == 7);
	cr_assert(log_allowed(&l, 2500, 500, &dropped) && dropped == 0);
}
