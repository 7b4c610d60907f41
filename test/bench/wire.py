"""What the benchmarks of the hub share: a broker, a hub or the relay in its place, and the load program's agents and clients.

The load program (fleet.c) plays all agents and clients on a few connections.  The relay (relay.c) answers each message by those the
hub answered a recorded job with: the same number, sizes and QoS, and no thought.  Both sides have a broker of their own.
"""
import atexit
import json
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchlib import BENCH_BIN, BIN, Process, cpu_ns, percentile, request, wait_until
from shoaltest.broker import Broker, free_port
from shoaltest.cluster import die_with_parent, memory

BARE_PREFIX = "bare/v1"


class Fleet:
    """The load program; `options` as of fleet.c."""

    def __init__(self, port, **options):
        words = [f"{name}={value}" for name, value in dict(options, port=port).items()]
        self.popen = subprocess.Popen([BENCH_BIN / "fleet", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                                      preexec_fn=die_with_parent)
        self.pid, self.rest = self.popen.pid, b""
        atexit.register(self.close)
        self.agents = self.answer(60)["ready"]

    def answer(self, deadline_s):
        """The next line it says."""
        end = time.monotonic() + deadline_s
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.popen.stdout], [], [], max(0, end - time.monotonic()))
            assert ready, f"the load program has said nothing for {deadline_s} s"
            data = self.popen.stdout.read(1 << 20)
            assert data, f"the load program ended with {self.popen.wait(10)}"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def tell(self, command):
        self.popen.stdin.write(command.encode() + b"\n")

    def ask(self, command, deadline_s=120.0):
        self.tell(command)
        return self.answer(deadline_s)

    def announce(self):
        """Seconds until the broker has acknowledged all registrations."""
        return self.ask("announce")["seconds"]

    def run(self, **load):
        self.tell("run " + " ".join(f"{name}={value}" for name, value in load.items()))
        got = self.answer(load.get("wait_s", 60) + 30)
        assert got["ended"] == got["jobs"] == load["jobs"] and got["errors"] == 0, \
            f"{got['ended']} of {load['jobs']} jobs ended, {got['errors']} with an error: {got['error']}"
        return got

    def close(self):
        if self.popen.poll() is None:
            self.popen.stdin.close()
            self.popen.wait(20)


class Side:
    """A broker, what is measured, and a fleet whose agents it knows."""

    def __init__(self, agents, **fleet):
        self.dir = Path(tempfile.mkdtemp(prefix="shoal-bench-"))
        atexit.register(shutil.rmtree, self.dir, ignore_errors=True)
        self.broker = Broker(self.dir)
        self.middle = None
        self.options = dict(fleet, agents=agents)

    def begin(self):
        self.fleet = Fleet(self.broker.port, **self.options)
        self.announced_s = self.fleet.announce()

    def cpu(self):
        """Nanoseconds so far, of what is measured, and of all."""
        mine = cpu_ns(self.middle.popen.pid)
        return mine, mine + cpu_ns(self.broker.process.pid) + cpu_ns(self.fleet.pid)

    def run(self, **load):
        """What the fleet says, with the CPU time of a job in microseconds: of hub or relay, and of all."""
        before = self.cpu()
        got = self.fleet.run(**load)
        mine, all_of_it = (b - a for a, b in zip(before, self.cpu()))
        return dict(got, cpu_us=mine / 1000 / got["jobs"], all_cpu_us=all_of_it / 1000 / got["jobs"], rate=got["jobs"] / got["seconds"])

    def close(self):
        self.fleet.close()
        self.middle.stop()
        self.broker.stop()


class Hub(Side):
    def __init__(self, agents, settings=(), **fleet):
        super().__init__(agents, **fleet)
        self.http = free_port()
        self.settings = [f"state_dir={self.dir}/hub", f"broker.port={self.broker.port}", f"http.port={self.http}", *settings]
        self.start()
        self.begin()
        self.await_agents(agents)

    def start(self):
        self.middle = Process(self.dir, "hub", [BIN / "shoal-hub", *(word for s in self.settings for word in ("--set", s))])
        wait_until(self.is_up, f"the hub is up\n{self.middle.text()}", 20, 0.02)

    def restart(self):
        self.middle.kill()
        self.start()

    def is_up(self):
        try:
            return self.get("/api/v1/status")["link"]["up"]
        except (OSError, KeyError):
            return False

    def get(self, path):
        return json.loads(request(self.http, "GET", path)[2])

    def online(self):
        """How many agents are listed so, page by page."""
        n, cursor = 0, ""
        while cursor is not None:
            page = self.get(f"/api/v1/agents{cursor}")
            n += sum(a["state"] == "online" for a in page["agents"])
            cursor = f"?cursor={page['next']}" if page.get("next") else None
        return n

    def await_agents(self, n, deadline_s=60.0):
        wait_until(lambda: self.online() >= n, f"{n} agents are online", deadline_s, 0.02)

    def memory(self):
        """Private and resident bytes of the hub."""
        return memory(self.middle.popen.pid)

    def record(self, **load):
        """A file with what the hub sends for one job of such a load."""
        self.fleet.run(**dict(load, jobs=1, clients=1, rate=0))
        path = self.dir / f"job-{time.monotonic_ns()}"
        self.fleet.ask(f"record {path}")
        return path


class Relay(Side):
    """The bare broker, with the messages of a hub's job."""

    def __init__(self, agents, recorded, **fleet):
        super().__init__(agents, prefix=BARE_PREFIX, **fleet)
        self.middle = Process(self.dir, "relay", [BENCH_BIN / "relay", self.broker.port, BARE_PREFIX, recorded])
        wait_until(lambda: "listening" in self.middle.text(), "the relay listens", 20, 0.02)
        self.begin()


def quantiles(values):
    """(p50, p99)"""
    return percentile(values, 50), percentile(values, 99)
