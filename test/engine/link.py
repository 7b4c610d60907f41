"""An agent's end of fd 3, for tests: starts an engine and speaks with it.

The messages are written from docs/ENGINE.md and share nothing with the C codec, so each checks
the other.
"""
import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from shoaltest import cbor  # noqa: E402

HELLO, PROGRESS, LOADED, TOKENS, DONE, ERROR, PONG, SAVED, RESTORED, STATS = range(10)
LOAD, GENERATE, CANCEL, PING, QUIT, SAVE, RESTORE = range(16, 23)
EMBEDDING, EMBED = 10, 23
STOP, LENGTH, CANCELLED = 1, 2, 3

KEYS = {name: key for key, name in enumerate(
    "type job version build max_sequences percent n_ctx n_params size digest arch index ids text finish usage timings code "
    "reason path parallel batch_tokens prefill_chunk threads prompt turns sampling prefix exact fast".split(), 1)}
KEYS.update(min_batch=40, max_batch=41, batch_wait_ms=42, batch_wait_adaptive=43, prefill_gap=44, token_us=45,
            step_rows=46, n_kept=47)
KEYS.update(keep=31, tokens=32, max_bytes=33)
SAMPLING = {name: key for key, name in enumerate(
    "max_tokens temperature top_p min_p top_k seed stop ignore_eos cache_prompt presence_penalty frequency_penalty "
    "repeat_penalty logit_bias logprobs top_logprobs grammar".split(), 1)}
KEYS.update(logprobs=50, embeddings=51, n_embd=52, inputs=53, vector=54)
USAGE = {name: key for key, name in enumerate("prompt_tokens cached_tokens completion_tokens".split(), 1)}
TIMINGS = {name: key for key, name in enumerate("wait_us prefill_us decode_us".split(), 1)}
TURN = {"role": 1, "content": 2}


def keyed(names, values):
    return {names[k]: v for k, v in values.items()}


def encode(message):
    m = dict(message)
    if "sampling" in m:
        m["sampling"] = keyed(SAMPLING, m["sampling"])
    if "turns" in m:
        m["turns"] = [keyed(TURN, t) for t in m["turns"]]
    return cbor.dumps(keyed(KEYS, m))


def prob(item):
    return {"id": item[1], "logprob": item[2], "piece": item[3], "top": [prob(alternative) for alternative in item.get(4, [])]}


def decode(payload):
    raw = cbor.loads(payload)
    m = {name: raw[key] for name, key in KEYS.items() if key in raw}
    m["probs"] = [prob(item) for item in cbor.sequence(m.pop("logprobs", b""))]
    for part, names in (("usage", USAGE), ("timings", TIMINGS)):
        if part in m:
            m[part] = {name: m[part].get(key, 0) for name, key in names.items()}
    return m


class Closed(Exception):
    pass


class Engine:
    """One engine process; a context manager that leaves none behind."""

    def __init__(self, program, *args):
        self.sock, child = socket.socketpair()
        fd = child.fileno()

        def in_child():
            os.dup2(fd, 3)
            os.set_inheritable(3, True)

        # As the agent starts it: an empty environment and no other descriptor.
        self.process = subprocess.Popen([program, *args], env={}, pass_fds=(3,), preexec_fn=in_child,
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        child.close()
        self.bytes = b""
        self.stats = []
        self.next_job = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def send_raw(self, data, fds=()):
        """fds go with the first byte."""
        if fds:
            data = data[socket.send_fds(self.sock, [data], list(fds)):]
        if data:
            self.sock.sendall(data)

    def send(self, fds=(), **message):
        payload = encode(message)
        self.send_raw(struct.pack(">I", len(payload)) + payload, fds)

    def send_load(self, path, **options):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.send([fd], type=LOAD, path=str(path), **options)
        finally:
            os.close(fd)

    def recv(self, timeout=60):
        """The next message; Closed when the engine has hung up."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self.bytes) >= 4:
                n = struct.unpack(">I", self.bytes[:4])[0]
                if n > 1 << 16:
                    raise ValueError("a frame is too long: %d" % n)
                if len(self.bytes) >= 4 + n:
                    payload, self.bytes = self.bytes[4:4 + n], self.bytes[4 + n:]
                    m = decode(payload)
                    if m["type"] != STATS:
                        return m
                    self.stats.append(m)
                    continue
            if not select.select([self.sock], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the engine says nothing")
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed()
            self.bytes += data

    def load(self, path, **options):
        """LOAD; returns LOADED or the ERROR, and the percents seen."""
        hello = self.recv()
        assert hello["type"] == HELLO, hello
        self.hello = hello
        self.send_load(path, **options)
        percents = []
        while True:
            m = self.recv()
            if m["type"] != PROGRESS:
                return m, percents
            percents.append(m["percent"])

    def start(self, prompt, prefix=(), **sampling):
        """GENERATE; prompt is text, or a list of turns.  Returns the job's number."""
        self.next_job += 1
        m = {"type": GENERATE, "job": self.next_job, "sampling": sampling}
        if isinstance(prompt, str):
            m["prompt"] = prompt
        else:
            m["turns"] = prompt
        if prefix:
            m["prefix"] = list(prefix)
        self.send(**m)
        return self.next_job

    def save(self, path, job=None, max_bytes=1 << 40):
        """SAVE of a job that has ended, the last one; the answer."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.send([fd], type=SAVE, job=job or self.next_job, max_bytes=max_bytes)
        os.close(fd)
        return self.recv()

    def restore(self, path):
        """RESTORE for the next job; the answer."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.send([fd], type=RESTORE, job=self.next_job + 1)
        os.close(fd)
        return self.recv()

    def collect(self, jobs):
        """Reads until all jobs have ended: {job: Answer}."""
        answers = {job: Answer() for job in jobs}
        left = set(jobs)
        while left:
            m = self.recv()
            answers[m["job"]].take(m)
            if m["type"] != TOKENS:
                left.remove(m["job"])
        return answers

    def ask(self, prompt, prefix=(), **sampling):
        job = self.start(prompt, prefix, **sampling)
        return self.collect([job])[job]

    def is_asleep(self):
        """True when the engine sleeps at every one of some looks: it waits for something."""
        stat = Path("/proc/%d/stat" % self.process.pid)
        for _ in range(20):
            if stat.read_text().rpartition(")")[2].split()[0] != "S":
                return False
            time.sleep(0.005)
        return True

    def resident(self):
        """Bytes of memory in use."""
        return int(Path("/proc/%d/statm" % self.process.pid).read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def wait(self, timeout=20):
        """Exit status and what was said on stderr."""
        self.process.wait(timeout)
        return self.process.returncode, self.process.stderr.read().decode()


class Answer:
    """What came for one job; checks that frames follow each other."""

    def __init__(self):
        self.ids, self.text, self.frames, self.end, self.probs = [], "", [], None, []

    def take(self, m):
        assert self.end is None, "a message after the end: %r" % m
        if m["type"] == TOKENS:
            if not self.frames:
                self.first = m.get("index", 0)
            assert m.get("index", 0) == self.first + len(self.ids), "frames leave a gap: %r" % m
            assert m["ids"], "an empty frame"
            self.frames.append(m)
            self.ids += m["ids"]
            self.probs += m["probs"]
            self.text += m.get("text", "")
            return
        self.end = m

    @property
    def finish(self):
        assert self.end["type"] == DONE, self.end
        return self.end["finish"]
