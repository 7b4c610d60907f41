#!/usr/bin/python3
"""The first command of the README does what it says, also twice at once, and leaves nothing."""
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from shoaltest.cluster import SOURCE
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

ANSWERS = ["warning: gateway 3 failed login by admin", "critical: cold-room 4 door open", '"content":"warning', "shoal-triage",
           "tank 8 level 81"]


class Demo:
    def __init__(self, *args):
        self.tmp = tempfile.TemporaryDirectory(prefix="shoal-demo-")
        self.process = subprocess.Popen([SOURCE / "scripts/demo", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                        env=dict(os.environ, TMPDIR=self.tmp.name))
        self.out = ""

    def read_to(self, mark):
        for line in self.process.stdout:
            self.out += line
            if mark and mark in line:
                return
        check(not mark, f"the demo ended without {mark!r}:\n{self.out}")

    def members(self):
        """Processes that were given its TMPDIR, in whatever session."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"TMPDIR={self.tmp.name}\0".encode() in environ.read_bytes():
                    found.append(environ.parent.name)
            except OSError:
                pass
        return found

    def end(self):
        """Exit status; what it printed is in `out`."""
        self.read_to(None)
        status = self.process.wait(60)
        self.process.stdout.close()
        wait_until(lambda: not self.members(), "all its processes are gone")
        equal(os.listdir(self.tmp.name), [], "files left")
        self.tmp.cleanup()
        return status


def worked(demo):
    for answer in ANSWERS:
        check(answer in demo.out, f"{answer!r} is not in:\n{demo.out}")
    equal(len(re.findall(r"^box-\d online", demo.out, re.M)), 3, "agents in the table")
    check(re.search(r"The page: http://127\.0\.0\.1:\d+/", demo.out), demo.out)
    check("\x1b" not in demo.out, "colours in a pipe")


@test
def the_demo_runs_twice_at_once():
    two = [Demo(), Demo()]
    for demo in two:
        equal(demo.end(), 0, f"exit status:\n{demo.out}")
    for demo in two:
        worked(demo)


@test
def kept_it_runs_until_ctrl_c():
    demo = Demo("--keep")
    demo.read_to("until Ctrl-C")
    os.killpg(demo.process.pid, signal.SIGINT)  # as a terminal does
    equal(demo.end(), 130, "exit status")
    worked(demo)


@test
def its_violent_death_stops_all_the_same():
    demo = Demo("--keep")
    demo.read_to("until Ctrl-C")
    demo.process.kill()
    equal(demo.end(), -signal.SIGKILL, "exit status")


main()
