#!/usr/bin/python3
"""`shoal chat`: lines in, answers out, one session; with pipes and at a terminal, by HTTP and by MQTT."""
import os
import pty
import re
import select
import signal
import subprocess
import time

from hubtest import Stack
from shoaltest.cluster import BIN, die_with_parent
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

stack = Stack(agents=3, echo="tokens=2000\ndelay_us=5000\n")
HTTP = ("--http", f"http://127.0.0.1:{stack.port}")
MQTT = ("--mqtt", f"127.0.0.1:{stack.mqtt_port}", "--user", "bob")
LINE = re.compile(r"\[(\S+); session (\w+)(?:: (\w+))?; (\d+) of (\d+) tokens of the prompt were cached\]")


def chat(*args, said):
    return subprocess.run([BIN / "shoal", "chat", *args], input=said, text=True, capture_output=True, timeout=60)


def reports(stderr):
    """[(agent, session, why, cached, tokens of the prompt), …]"""
    return [(a, s, w, int(c), int(p)) for a, s, w, c, p in LINE.findall(stderr)]


class Talk:
    """One that goes on while the test does other things; fds of its input and output."""

    def __init__(self, stdin, stdout, in_fd, out_fd, *args):
        self.popen = subprocess.Popen([BIN / "shoal", "chat", *args], stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT,
                                      preexec_fn=die_with_parent)
        self.in_fd, self.out_fd, self.seen = in_fd, out_fd, b""

    def read(self, is_enough, what, deadline_s=30):
        end = time.monotonic() + deadline_s
        while not is_enough(self.seen):
            assert select.select([self.out_fd], [], [], max(0, end - time.monotonic()))[0], f"no {what} in {self.seen[-300:]!r}"
            got = os.read(self.out_fd, 4096)
            assert got, f"no {what}: it ended with {self.seen[-300:]!r}"
            self.seen += got

    def await_text(self, text):
        self.read(lambda seen: text in seen, text)
        self.seen = self.seen.partition(text)[2]

    def say(self, text):
        os.write(self.in_fd, text)

    def end(self):
        return self.popen.wait(30)


def with_pipes(*args):
    r, w = os.pipe()
    out_r, out_w = os.pipe()
    talk = Talk(r, out_w, w, out_r, *args)
    os.close(r)
    os.close(out_w)
    return talk


def at_a_terminal(*args):
    ours, theirs = pty.openpty()

    def before():
        die_with_parent()
        os.setsid()
        os.close(os.open(os.ttyname(theirs), os.O_RDWR))  # the first terminal a session leader opens is its own

    talk = Talk.__new__(Talk)
    talk.popen = subprocess.Popen([BIN / "shoal", "chat", *args], stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=before)
    talk.in_fd = talk.out_fd = ours
    talk.seen = b""
    os.close(theirs)
    return talk


def cancelled():
    return stack.status()["counters"]["jobs_cancelled"]


@test
def each_line_is_a_turn_of_one_session_and_says_all_that_was_said():
    for way, user in ((HTTP, "http"), (MQTT, "bob")):
        done = chat(*way, "-v", "--max-tokens", "6", said="how do you do\nand how is the other box\n/new\nhow do you do")
        equal(done.returncode, 0, done.stderr)
        check(len(done.stdout) > 3, done.stdout)
        first, second, third = reports(done.stderr)
        equal([first[1], second[1], third[1]], ["new", "kept", "new"])
        equal(first[0], second[0], "the agent of both turns")
        check(second[3] >= first[4] - 1, f"what the first turn computed is there for the second: {done.stderr}")
        check(second[4] > first[4] + 6, "the second prompt holds the first turn and its answer")
        equal(third[4], first[4], "tokens of a new conversation's first prompt")
        mine = [s for s in stack.get(f"/api/v1/sessions?user={user}")[1]["sessions"] if s["session"].startswith("chat-")]
        equal(sorted(s["turns"] for s in mine), [1, 2])


@test
def words_of_the_system_come_before_all_and_commands_are_no_prompts():
    said = "/help\nhello\n/system be kind\nhello\n/system\nhello\n//hello\n/nothing\n\n/quit\nnever said\n"
    done = chat(*HTTP, "-v", "--max-tokens", "4", "--system", "be brief", said=said)
    equal(done.returncode, 0, done.stderr)
    check("/system TEXT" in done.stderr and "there is no /nothing" in done.stderr, done.stderr)
    told = reports(done.stderr)
    equal([s for _, s, *_ in told], ["new", "new", "new", "kept"])
    check(told[0][4] > told[2][4] and told[1][4] > told[2][4], f"a system's words are part of the prompt: {told}")


@test
def an_interrupt_ends_the_answer_and_not_the_conversation():
    for way in (HTTP, MQTT):
        before = cancelled()
        talk = with_pipes(*way, "-v")
        talk.say(b"a long one\n")
        talk.read(lambda seen: len(seen) > 20, "beginning of an answer")
        talk.popen.send_signal(signal.SIGINT)
        talk.await_text(b"shoal chat: cancelled")
        wait_until(lambda: cancelled() == before + 1, "the hub has cancelled the job")
        talk.say(b"/new\n/help\n")
        talk.await_text(b"/quit")
        os.close(talk.in_fd)
        equal(talk.end(), 0)


@test
def a_termination_ends_both():
    talk = with_pipes(*HTTP)
    talk.say(b"a long one\n")
    talk.read(lambda seen: len(seen) > 20, "beginning of an answer")
    talk.popen.send_signal(signal.SIGTERM)
    equal(talk.end(), 130)
    idle = with_pipes(*HTTP)
    idle.say(b"/help\n")
    idle.await_text(b"/quit")
    idle.popen.send_signal(signal.SIGTERM)
    equal(idle.end(), 130)


@test
def at_a_terminal_there_is_a_prompt_and_control_keys_do_what_they_say():
    talk = at_a_terminal(*HTTP)
    talk.await_text(b"> ")
    talk.say(b"\x03")
    talk.await_text(b"(/quit or Ctrl-D leaves)")
    talk.await_text(b"> ")
    talk.say(b"a long one\n")
    talk.await_text(b"a long one\r\n")
    talk.read(lambda seen: len(seen) > 20, "beginning of an answer")
    talk.say(b"\x03")
    talk.await_text(b"cancelled")
    talk.await_text(b"> ")
    talk.say(b"\x04")
    equal(talk.end(), 0)


@test
def labels_choose_the_agent_and_mistakes_are_told():
    done = chat(*HTTP, "--require", "colour=blue", "--timeout", "1", said="hello\n")
    check(done.returncode not in (0, 2) and done.stdout == "", done)
    for args, word in ((("prompt",), "no place"), (("--http", "x", "--mqtt", "y"), "--http and --mqtt"), (("--require", ""), "--require")):
        done = chat(*args, said="")
        equal(done.returncode, 2, done.stderr)
        check(word in done.stderr, done.stderr)
    done = chat("--http", "http://127.0.0.1:1", said="hello\nagain\n")
    equal((done.returncode, done.stderr.count("no answer from the hub")), (69, 2), done.stderr)


@test
def nothing_is_left_behind():
    stack.await_idle()
    stack.close()


main()
