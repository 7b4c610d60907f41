"""One shoal-agent with a broker and an echo engine of its own, and a hub played by hand."""
import queue
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import cbor
from .broker import Broker
from .cluster import BIN, children, die_with_parent
from .mqtt import PREFIX, Client
from .wait import wait_until

# Key numbers of docs/protocol.cddl.
STATUS = {1: "epoch", 2: "conn", 3: "state", 4: "reason"}
REGISTRATION = {2: "agent", 3: "epoch", 4: "conn", 5: "seq", 6: "nonce", 8: "software", 9: "engine", 10: "slots", 14: "hardware",
                15: "models", 16: "labels"}
MODEL = {1: "name", 2: "digest", 4: "state", 5: "n_ctx", 8: "reason", 9: "percent", 10: "slots", 11: "memory"}
HEARTBEAT = {3: "state", 4: "slots", 5: "running", 6: "queued", 7: "tokens_total", 10: "rss", 14: "bad_messages",
             17: "reason", 18: "requests_total", 19: "errors_total", 20: "p50", 21: "p95", 22: "p99", 23: "sensors", 40: "memory_total", 41: "memory_limit", 42: "memory_used"}
EVENT = {1: "type", 2: "job", 3: "attempt", 4: "epoch", 5: "index", 6: "text", 7: "ids", 8: "finish", 9: "sha256", 10: "usage",
         12: "code", 13: "reason", 15: "percent"}
OFFLINE, ONLINE, DEGRADED, DRAINING = range(4)
HELD, LOADING, READY, FAILED, QUARANTINED = 1, 2, 3, 4, 5
EV_ACCEPTED, EV_REJECTED, EV_PROGRESS, EV_TOKENS, EV_DONE, EV_FAILED = range(6)
PING, CANCEL, ACK, RESEND, END, DRAIN, RESUME, LOAD = range(8)


def named(table, payload):
    return {table.get(k, k): v for k, v in cbor.loads(payload).items()}


class Box:
    """Starts the agent at once.  What it publishes is kept: the last status, registration and
    heartbeat, and all job events in a queue."""

    def __init__(self, echo="", config="", agent_id="box-1", engine=None, models="", sets=(), only=None, group=None, benchmark=False):
        """engine: a program instead of the echo engine; models: more of them, as the configuration has them; only:
        these and not "m".  group: a control group to live in."""
        self.dir = Path(tempfile.mkdtemp(prefix="shoal-agent-"))
        self.id, self.epoch, self.process = agent_id, None, None
        self.status, self.registration, self.heartbeat, self.statuses = None, None, None, []
        self.events = queue.Queue()
        self.group = group
        self.broker = Broker(self.dir)
        self.model = self.dir / "model.echo"
        self.model.write_text(echo)
        self.config = self.dir / "agent.cfg"
        self.config.write_text(f'''
id = "{agent_id}";
state_dir = "{self.dir}/state";
benchmark = {"true" if benchmark else "false"};
benchmark_calm_ms = 0;
broker: {{ host = "127.0.0.1"; port = {self.broker.port}; }};
engine: {{ path = "{engine or BIN / 'shoal-engine-echo'}"; backoff_min_ms = 50; backoff_max_ms = 500;
           quarantine_deaths = 0; }}; # tests kill it to make it read its file again
models = ( {only or f'{{ name = "m"; file = "{self.model}"; parallel = 2; }} {models}'} );
{config}''')
        self.watch()
        self.start(*[word for s in sets for word in ("--set", s)])

    def watch(self):
        self.hub = Client(self.broker.port)
        self.hub.subscribe(self.topic("status"), self._status)
        self.hub.subscribe(self.topic("registration"), lambda m: self._keep("registration", named(REGISTRATION, m.payload)))
        self.hub.subscribe(self.topic("heartbeat"), lambda m: self._keep("heartbeat", named(HEARTBEAT, m.payload)))
        self.hub.subscribe(self.topic("out"), lambda m: self.events.put(named(EVENT, m.payload)))

    def _keep(self, name, value):
        setattr(self, name, value)

    def _status(self, m):
        try:
            self.status = named(STATUS, m.payload)
        except (ValueError, AttributeError):
            return  # a test's garbage: the agent reads this topic, too
        self.statuses.append(self.status)

    def topic(self, leaf):
        return f"{PREFIX}/agents/{self.id}/{leaf}"

    # ---- the process ----

    def start(self, *args):
        self.log = open(self.dir / "agent.log", "ab")
        self.process = subprocess.Popen([BIN / "shoal-agent", "--config", self.config, *args], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, preexec_fn=self._in_child)

    def _in_child(self):
        die_with_parent()
        if self.group:
            self.group.enter()

    def logged(self):
        return (self.dir / "agent.log").read_text()

    def model_state(self):
        return self.registration and self.registration["models"][0][4]

    def models(self):
        """By name, as it says them."""
        return {m[1]: {MODEL.get(k, k): v for k, v in m.items()} for m in (self.registration or {}).get("models", [])}

    def is_ready(self, after_epoch):
        r, st = self.registration, self.status
        return (r and st and r["epoch"] > after_epoch and st["epoch"] == r["epoch"] and st["state"] == ONLINE
                and self.model_state() == READY)

    def await_ready(self, after_epoch=0):
        try:
            wait_until(lambda: self.is_ready(after_epoch), "the agent is ready")
        except AssertionError as why:
            raise AssertionError(f"{why}; it said:\n{self.logged()}") from None
        self.epoch = self.registration["epoch"]

    def engines(self):
        return children(self.process.pid)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.hub.close()
        self.broker.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- the hub's part ----

    def dispatch(self, job, attempt=1, epoch=None, prompt="hello", prefix=(), model="m", **sampling):
        keys = {"max_tokens": 1, "temperature": 2, "seed": 6}
        m = {1: job, 2: attempt, 3: epoch or self.epoch, 4: model, 5: prompt, 7: {keys[k]: v for k, v in sampling.items()}}
        if prefix:
            m[8] = list(prefix)
        self.hub.publish(self.topic("jobs"), cbor.dumps(m))

    def control(self, verb, job="", attempt=0, index=0, epoch=None, model=""):
        m = {1: verb, 2: epoch or self.epoch, 3: job, 4: attempt, 5: index, 6: model}
        self.hub.publish(self.topic("control"), cbor.dumps(m))

    def next_event(self, deadline_s=20):
        try:
            return self.events.get(timeout=deadline_s)
        except queue.Empty:
            raise AssertionError(f"no event in {deadline_s} s; the agent said:\n{self.logged()}") from None

    def await_event(self, kind, job):
        """Skips others; returns it and the tokens' events on the way, and acknowledges those as a hub does."""
        frames = []
        while True:
            e = self.next_event()
            if e["job"] != job:
                continue
            if e["type"] == kind:
                return e, frames
            if e["type"] == EV_TOKENS:
                frames.append(e)
                if len(frames) % 16 == 0:
                    self.control(ACK, job, e["attempt"], e.get("index", 0) + len(e["ids"]))

    def follow(self, job, at=None, then=lambda: None):
        """As the hub does it: takes the next index, asks for a gap, drops what it has.  Calls then()
        when `at` tokens are there.  Returns the end and the frames that count."""
        frames, index = [], 0
        while True:
            e = self.next_event()
            if e["job"] != job or e["type"] not in (EV_TOKENS, EV_DONE, EV_FAILED):
                continue
            if e["type"] == EV_FAILED or (e["type"] == EV_DONE and e["index"] == index):
                return e, frames
            if e.get("index", 0) > index:
                self.control(RESEND, job, e["attempt"], index)
            elif e["type"] == EV_TOKENS and e.get("index", 0) == index:
                frames.append(e)
                index += len(e["ids"])
                if len(frames) % 16 == 0:
                    self.control(ACK, job, e["attempt"], index)
                if at is not None and index >= at:
                    at = None
                    then()
