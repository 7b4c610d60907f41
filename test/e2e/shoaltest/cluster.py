"""A whole system: `shoal up` in a directory of its own, its processes by name."""
import atexit
import ctypes
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import http
from .wait import wait_until

SOURCE = Path(__file__).resolve().parents[3]
BIN = Path(os.environ.get("SHOAL_BIN_DIR", SOURCE / "build/bin"))
MODELS = SOURCE / "models"
START_S = 60
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def running(is_wanted):
    """Pids of the running processes (zombies are no longer there) that is_wanted(fields of their
    /proc/PID/stat after the name: state, parent, group, session, …) picks."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX" and is_wanted(fields):
            found.append(int(stat.parent.name))
    return found


def session_members(sid):
    return running(lambda fields: int(fields[3]) == sid)


def children(pid):
    return running(lambda fields: int(fields[1]) == pid)


def memory(pid):
    """(private, resident) bytes of a process."""
    uss = rss = 0
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            field = line.split()
            if field[0] in ("Private_Clean:", "Private_Dirty:"):
                uss += int(field[1]) << 10
            elif field[0] == "Rss:":
                rss += int(field[1]) << 10
    return uss, rss


def is_sanitized():
    return b"__asan_init" in (BIN / "shoal-agent").read_bytes()


class Cluster:
    """Starts at once; close() stops it and complains about anything left running."""

    def __init__(self, agents=3, **options):
        self.dir = Path(tempfile.mkdtemp(prefix="shoal-test-"))
        self.agents = agents
        args = [BIN / "shoal", "up", "--agents", str(agents), "--dir", self.dir, "--mqtt-port", "0", "--http-port", "0"]
        for name, value in options.items():
            args += ["--" + name.replace("_", "-"), str(value)]
        self.stderr_path = self.dir / "up.stderr"
        with open(self.stderr_path, "wb") as err:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err,
                                            start_new_session=True, preexec_fn=die_with_parent)
        atexit.register(self.abandon)
        line = self._ready_line()
        m = re.fullmatch(r"ready http=127\.0\.0\.1:(\d+) mqtt=127\.0\.0\.1:(\d+) agents=(\d+)\n", line)
        if m is None:
            self.kill()
            raise AssertionError(f"shoal up said {line!r} and {self.stderr()!r}\n{self.logs()}")
        self.http_port, self.mqtt_port = int(m[1]), int(m[2])
        self.url = f"http://127.0.0.1:{self.http_port}"

    def _ready_line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        return self.process.stdout.readline().decode() if ready else "nothing"

    def stderr(self):
        return self.stderr_path.read_text()

    def logs(self, lines=15):
        """The ends of all logs: what to look at when something failed."""
        out = []
        for log in sorted(self.dir.glob("*/*.log")):
            tail = log.read_text(errors="replace").splitlines()[-lines:]
            out.append(f"== {log.relative_to(self.dir)}\n" + "\n".join(tail))
        return "\n".join(out)

    # ---- processes, by name: "broker", "hub", "box-1" ----

    def pid_file(self, name):
        base = {"broker": "mosquitto", "hub": "hub"}.get(name, "agent")
        return self.dir / name / f"{base}.pid"

    def pid(self, name):
        """None while it does not run."""
        try:
            return int(self.pid_file(name).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def signal(self, name, signo=signal.SIGKILL):
        """Returns the pid that got it."""
        pid = wait_until(lambda: self.pid(name), f"{name} runs")
        os.kill(pid, signo)
        return pid

    def kill_and_await_next(self, name):
        """kill -9; returns when the supervisor has started it anew."""
        old = self.signal(name)
        return wait_until(lambda: self.pid(name) not in (None, old) and self.pid(name), f"{name} is started again")

    def agent_names(self):
        return [f"box-{k}" for k in range(1, self.agents + 1)]

    # ---- what the hub says ----

    def list_agents(self):
        """{id: agent} or {} while the hub cannot answer."""
        try:
            status, body = http.get(self.url + "/api/v1/agents", timeout_s=5)
        except OSError:
            return {}
        return {a["id"]: a for a in json.loads(body)["agents"]} if status == 200 else {}

    def status(self):
        status, body = http.get(self.url + "/api/v1/status")
        assert status == 200, body
        return json.loads(body)

    def ready_agents(self):
        return [i for i, a in self.list_agents().items()
                if a["state"] == "online" and any(m["state"] == "ready" for m in a["models"])]

    def await_all_ready(self, deadline_s=30.0):
        wait_until(lambda: len(self.ready_agents()) == self.agents, "all agents are ready", deadline_s, 0.02)

    def await_idle(self, deadline_s=30.0):
        wait_until(lambda: all(a["running"] == 0 for a in self.list_agents().values()), "no job runs", deadline_s, 0.02)

    # ---- the end ----

    def stop(self, deadline_s=30.0):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline_s)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def abandon(self):
        """What is left to do when a test broke off."""
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def close(self):
        """A test after the cases: stops cleanly and leaves nothing."""
        sid = self.process.pid
        try:
            code = self.stop()
            left = session_members(sid)
            sanitizer = [log for log in self.dir.glob("*/*.log") if "Sanitizer" in log.read_text(errors="replace")]
            assert code == 0, f"shoal up ended with {code}: {self.stderr()}"
            assert not left, f"processes left: {left}"
            assert not sanitizer, f"a sanitizer complained:\n{self.logs(60)}"
        finally:
            self.kill()
            wait_until(lambda: not session_members(sid), "all processes are gone")
            self.abandon()


def run_shoal(*args, timeout_s=60, **kw):
    """The CLI, to its end: CompletedProcess with text."""
    return subprocess.run([BIN / "shoal", *map(str, args)], stdin=kw.pop("stdin", subprocess.DEVNULL) if "input" not in kw else None,
                          capture_output=True, text=True, timeout=timeout_s, **kw)


def now():
    return time.monotonic()
