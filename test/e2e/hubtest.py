"""A hub on its own: broker, shoal-hub with any settings, agents with the echo engine; raw HTTP."""
import atexit
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from shoaltest.broker import Broker
from shoaltest.cluster import BIN, die_with_parent
from shoaltest.wait import wait_until


class Process:
    def __init__(self, directory, name, args, nofile=None):
        self.name, self.log = name, directory / f"{name}.log"

        def before():
            die_with_parent()
            if nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))

        with open(self.log, "ab") as err:
            self.popen = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                                          preexec_fn=before, start_new_session=True)
        atexit.register(self.kill)

    def text(self):
        return self.log.read_text(errors="replace")

    def stop(self, deadline_s=15.0):
        """SIGTERM; returns the exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(deadline_s)

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()

    def rss(self):
        with open(f"/proc/{self.popen.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Stack:
    """`hub` are --set overrides, `config` its configuration file, `nofile` its limit on open files; `echo` the echo engine's settings."""

    model_options = ""
    heartbeat = "idle_ms = 500; busy_ms = 200;"

    def __init__(self, agents=1, parallel=4, echo="tokens=40\n", hub=(), nofile=None, config=None):
        self.dir = Path(tempfile.mkdtemp(prefix="shoal-http-"))
        self.broker = Broker(self.dir)
        self.mqtt_port = self.broker.port
        (self.dir / "echo.cfg").write_text(echo)
        self.config = config
        self.start_hub(hub, nofile)
        self.agents = [self.start_agent(f"box-{k}", parallel) for k in range(1, agents + 1)]
        self.await_ready(agents)

    def start_broker(self):
        self.broker.start()

    def start_hub(self, overrides=(), nofile=None):
        sets = [f"state_dir={self.dir}/hub", f"broker.port={self.mqtt_port}", "http.port=0", "log.level=debug", *overrides]
        args = [BIN / "shoal-hub"]
        if self.config:
            (self.dir / "hub.cfg").write_text(self.config)
            args += ["--config", self.dir / "hub.cfg"]
        for s in sets:
            args += ["--set", s]
        before = len(re.findall(r"listening on", (self.dir / "hub.log").read_text())) if (self.dir / "hub.log").exists() else 0
        self.hub = Process(self.dir, "hub", args, nofile)

        def port():
            assert self.hub.popen.poll() is None, f"the hub ended with {self.hub.popen.poll()}: {self.hub.text()}"
            found = re.findall(r"listening on http://127\.0\.0\.1:(\d+)/", self.hub.text())
            return int(found[-1]) if len(found) > before else None

        self.port = wait_until(port, "the hub listens")

    def start_agent(self, name, parallel):
        conf = self.dir / f"{name}.cfg"
        conf.write_text(f'id = "{name}";\nstate_dir = "{self.dir}/{name}";\nbroker = {{ host = "127.0.0.1"; port = {self.mqtt_port}; }};\n'
                        f'engine = {{ path = "{BIN}/shoal-engine-echo"; }};\nheartbeat = {{ {self.heartbeat} }};\n'
                        f'models = ( {{ name = "echo"; file = "{self.dir}/echo.cfg"; parallel = {parallel}; embeddings = true; {self.model_options} }} );\n')
        return Process(self.dir, name, [BIN / "shoal-agent", "--config", conf])

    # ---- what the hub says ----

    def get(self, path):
        status, _, body = request(self.port, "GET", path)
        return status, json.loads(body)

    def status(self):
        return self.get("/api/v1/status")[1]

    def list_agents(self):
        return self.get("/api/v1/agents")[1]["agents"]

    def running(self):
        return sum(a["running"] + a["queued"] for a in self.list_agents())

    def await_ready(self, n):
        def ready():
            return sum(a["state"] == "online" and any(m["state"] == "ready" for m in a["models"]) for a in self.list_agents()) >= n

        wait_until(ready, f"{n} agents are ready", 30)

    def await_idle(self, deadline_s=10.0):
        def idle():
            status = self.status()
            return status["running"] == 0 and status["queued"] == 0 and self.running() == 0

        wait_until(idle, "nothing runs any more", deadline_s)

    def close(self):
        """A case after the others: everything ends when asked, and no sanitizer complains."""
        try:
            for agent in self.agents:
                assert agent.stop(40) == 0, agent.text()[-2000:]
            assert self.hub.stop() == 0, self.hub.text()[-2000:]
            for log in self.dir.glob("*.log"):
                assert "Sanitizer" not in log.read_text(errors="replace"), log.read_text(errors="replace")[-6000:]
        finally:
            for p in [*self.agents, self.hub, self.broker]:
                p.kill()
            shutil.rmtree(self.dir, ignore_errors=True)


# ---- HTTP, byte by byte ----


class Reader:
    """Answers from a socket, one after the other."""

    def __init__(self, sock):
        self.sock, self.rest = sock, b""

    def more(self):
        data = self.sock.recv(65536)
        self.rest += data
        return bool(data)

    def until(self, mark):
        while mark not in self.rest:
            if not self.more():
                raise EOFError(f"closed, with {self.rest[:200]!r} left over")
        head, _, self.rest = self.rest.partition(mark)
        return head

    def exactly(self, n):
        while len(self.rest) < n:
            if not self.more():
                raise EOFError("closed in the body")
        body, self.rest = self.rest[:n], self.rest[n:]
        return body

    def head(self):
        """(status, headers by lower-case name)"""
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.[01] \d{3}( .*)?", first), first
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(first.split()[1]), headers

    def chunks(self):
        """Parts of a chunked body as they come; EOFError when it breaks off."""
        while True:
            n = int(self.until(b"\r\n").split(b";")[0], 16)
            data = self.exactly(n)
            self.exactly(2)
            if n == 0:
                return
            yield data

    def answer(self, method="GET"):
        status, headers = self.head()
        if status == 100:
            return self.answer(method)
        if method == "HEAD" or status == 304:
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, b"".join(self.chunks())
        return status, headers, self.exactly(int(headers.get("content-length", "0")))


def connect(port, timeout_s=20.0, recv_buffer=None):
    s = socket.socket()
    if recv_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, recv_buffer)
    s.settimeout(timeout_s)
    s.connect(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def raw(method, path, body=b"", headers=(), host="127.0.0.1"):
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def request(port, method, path, body=b"", headers=(), host="127.0.0.1"):
    """(status, headers, body) on a connection of its own."""
    with connect(port) as s:
        s.sendall(raw(method, path, body, headers, host))
        return Reader(s).answer(method)


def events(data):
    """(id or None, data as text) of server-sent events; comments are left out."""
    found = []
    for block in data.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            ids = [line[4:] for line in lines if line.startswith("id: ")]
            found.append((ids[0] if ids else None, "\n".join(line[6:] for line in lines if line.startswith("data: "))))
    return found


def is_closed(sock, deadline_s=15.0):
    """True when the peer closes; whatever comes before is thrown away."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            if not sock.recv(65536):
                return True
        except (ConnectionResetError, BrokenPipeError):
            return True
        except TimeoutError:
            return False
    return False
