"""What the benchmarks share: models, the system and what it is measured against, turns, figures.

Programs come from SHOAL_BIN_DIR (default build-release/bin, else build/bin).  Files that take time to make
(models, llama.cpp's tools) are kept in ${XDG_CACHE_HOME:-~/.cache}/shoal/bench.
"""
import argparse
import atexit
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
if "SHOAL_BIN_DIR" not in os.environ:
    _built = [SOURCE / f"{b}/bin" for b in ("build-release", "build") if (SOURCE / f"{b}/bin/shoal-hub").exists()]
    if not _built:
        sys.exit("bench: nothing is built; run scripts/build release")
    os.environ["SHOAL_BIN_DIR"] = str(_built[0])
sys.path.insert(0, str(SOURCE / "test/e2e"))
from hubtest import Process, request  # noqa: E402
from shoaltest.broker import Broker, free_port  # noqa: E402
from shoaltest.cluster import BIN, MODELS, children, die_with_parent  # noqa: E402
from shoaltest.wait import wait_until  # noqa: E402

BENCH_BIN = BIN.parent / "bench"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shoal/bench"
BUNDLED = MODELS / "shoal-triage.gguf"
# Prompts are raw text in the bundled model's words: each model answers the same tokens by every way in.
TEXT = "07:12:44 WARN gateway-3 sshd: login failed for admin from 10.0.4.7; cold-room-4 door=open temp=11.2:HH "


def say(text=""):
    print(text, flush=True)


# ---- figures ----

# What a busy machine leaves no figure of (no value at all, pieces that arrive in the same microsecond) is NaN.

def measured(values):
    return [v for v in values if not math.isnan(v)]


def median(values):
    known = measured(values)
    return statistics.median(known) if known else math.nan


def percentile(values, p):
    """Nearest rank."""
    known = sorted(measured(values))
    return known[max(0, -(-len(known) * p // 100) - 1)] if known else math.nan


def ratio(a, b):
    return a / b if b else math.nan


def verdict(name, value, at_least=None, at_most=None):
    """One line of the result: a ratio and its bar."""
    if math.isnan(value):
        say(f"NO FIGURE of {name}: nothing came, or too fast to be told apart")
        return False
    bar = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    met = value >= at_least if at_least is not None else value <= at_most
    say(f"{'met   ' if met else 'MISSED'} {name}: {value:.3f} (bar: {bar})")
    return met


def table(head, rows):
    cells = [[str(c) for c in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        say("  " + "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))))


def in_turn(sides, rounds):
    """{name: function(round)} -> {name: [what it returned, …]}: A B A B, after one round that does not count."""
    results = {name: [] for name in sides}
    for k in range(rounds + 1):
        for name, fn in sides.items():
            got = fn(k)
            if k > 0:
                results[name].append(got)
    return results


def ratios(a, b):
    """Median of the ratios of each round: what slows the machine down for a while slows both."""
    return median(ratio(x, y) for x, y in zip(a, b))


def cpu_ns(*pids):
    """Time the threads of processes were on a CPU: what else runs on the machine hardly moves it."""
    return sum(int(p.read_text().split()[0]) for pid in pids for p in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def sleeps(pid):
    """How often the threads of a process gave up the CPU to wait."""
    return sum(int(line.split()[1]) for p in Path(f"/proc/{pid}/task").glob("*/status") for line in p.read_text().splitlines()
               if line.startswith("voluntary_ctxt_switches"))


def with_cpu(pids, fn):
    """Answers of fn(), each with `cpu`: the time the processes took, in microseconds for each token of all answers."""
    before = cpu_ns(*pids)
    answers = fn()
    spent = (cpu_ns(*pids) - before) / 1000 / sum(a["tokens"] for a in answers)
    return [dict(a, cpu=spent) for a in answers]


# ---- files that are made once ----

def random_model(size, kind):
    """A llama of random weights: size 35m or 90m, kind f16, q8_0, q4_0 …"""
    path = CACHE / f"random-{size}-{kind}-1.gguf"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        tmp = path.with_suffix(f".{os.getpid()}")
        subprocess.run([BIN.parent / "test/make_model", BUNDLED, tmp, kind, size], check=True, stderr=subprocess.DEVNULL)
        tmp.rename(path)
    return path


def find_model(name):
    """"triage", "35m-q8_0", or a path."""
    if name == "triage":
        return BUNDLED
    if name.count("-") == 1 and name.split("-")[0] in ("35m", "90m"):
        return random_model(*name.split("-"))
    return Path(name)


# ---- what is measured ----

class System:
    """Broker, hub, one agent, one engine, with one model; `model` are settings of it, `agent` lines of the agent's, `hub` NAME=VALUE."""

    def __init__(self, path, threads=1, parallel=1, context=0, model="", agent="", engine=None, hub=()):
        self.dir = Path(tempfile.mkdtemp(prefix="shoal-bench-"))
        atexit.register(shutil.rmtree, self.dir, ignore_errors=True)
        self.broker = Broker(self.dir)
        self.mqtt_port, self.http_port = self.broker.port, free_port()
        (self.dir / "agent.cfg").write_text(
            f'id = "box";\nstate_dir = "{self.dir}/box";\nbroker = {{ host = "127.0.0.1"; port = {self.mqtt_port}; }};\n'
            f'engine = {{ path = "{engine or BIN / "shoal-engine"}"; }};\n{agent}\n'
            f'models = ( {{ name = "m"; file = "{path}"; parallel = {parallel}; threads = {threads}; context = {context}; {model} }} );\n')
        self.hub = Process(self.dir, "hub", [BIN / "shoal-hub", "--set", f"state_dir={self.dir}/hub", "--set", f"broker.port={self.mqtt_port}",
                                             "--set", f"http.port={self.http_port}", *(word for s in hub for word in ("--set", s))])
        self.agent = Process(self.dir, "agent", [BIN / "shoal-agent", "--config", self.dir / "agent.cfg"])
        self.url = f"http://127.0.0.1:{self.http_port}/v1/completions"
        wait_until(self.is_ready, f"the model is loaded\n{self.agent.text()}", 120, 0.05)

    def is_ready(self):
        try:
            return request(self.http_port, "GET", "/readyz")[0] == 200
        except OSError:
            return False

    def engine(self):
        """What computes, as the agent registered it."""
        return json.loads(request(self.http_port, "GET", "/api/v1/agents")[2])["agents"][0].get("engine", "?")

    def pids(self):
        return {"agent": self.agent.popen.pid, "hub": self.hub.popen.pid, "broker": self.broker.process.pid}

    def engine_pid(self):
        return children(self.agent.popen.pid)[0]

    def load(self, how, where, requests, clients, after):
        return with_cpu([self.engine_pid(), *self.pids().values()], lambda: run_load(how, where, clients, requests, after))

    def http(self, requests, clients=1, after=0):
        return self.load("http", self.url, requests, clients, after)

    def mqtt(self, requests, clients=1, after=0):
        return self.load("mqtt", self.mqtt_port, requests, clients, after)

    def close(self):
        for p in (self.agent, self.hub):
            p.stop()
        self.broker.stop()


class Bare:
    """The same model in one process and nothing else."""

    def __init__(self, path, threads, context):
        self.popen = subprocess.Popen([BENCH_BIN / "bare_loop", path, str(threads), str(context)], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True, bufsize=1, preexec_fn=die_with_parent)
        assert "ready" in json.loads(self.popen.stdout.readline())

    def ask(self, prompt, tokens):
        self.popen.stdin.write(f"{tokens} {prompt}\n")
        return with_cpu([self.popen.pid], lambda: [json.loads(self.popen.stdout.readline())])[0]

    def close(self):
        self.popen.stdin.close()
        self.popen.wait(20)


def ask(prompt, tokens, **more):
    """A request for so many tokens, greedily and to the end."""
    return dict({"model": "m", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False,
                 "stream": True}, **more)


def prompt(number, characters):
    """Text that no other number's begins with."""
    return (f"{number:06d} " + TEXT * (characters // len(TEXT) + 1))[:characters]


def run_load(how, where, clients, requests, after=0):
    """Answers of a closed loop, in the order of the requests; `after`: see load.c."""
    if how == "http":
        requests = [dict(r, stream_options={"include_usage": True}) for r in requests]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        f.writelines(json.dumps(r) + "\n" for r in requests)
        f.flush()
        done = subprocess.run([BENCH_BIN / "load", how, str(where), str(clients), f.name, str(after)], stdout=subprocess.PIPE, text=True,
                              preexec_fn=die_with_parent)
    assert done.returncode == 0, f"load ended with {done.returncode}"
    answers = sorted((json.loads(line) for line in done.stdout.splitlines()), key=lambda a: a["line"])
    wrong = [a["error"] for a in answers if a["error"] is not None]
    assert not wrong and len(answers) == len(requests), f"{len(wrong)} of {len(requests)} requests failed: {wrong[:1]}"
    return answers


def whole_rate(answers):
    """Tokens a second from the first start to the last end."""
    return ratio(sum(a["tokens"] for a in answers) * 1e6, max(a["end"] for a in answers) - min(a["start"] for a in answers))


def decode_rate(a):
    """Tokens a second of one stream after its first."""
    return ratio((a["tokens"] - 1) * 1e6, a["end"] - a["first"])


def first_ms(a):
    return (a["first"] - a["start"]) / 1000


def arguments(doc, **defaults):
    """--NAME VALUE for each default, of its type; a tuple's first item is the default, the second the help."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (value, text) in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value, help=f"{text} ({value})")
    return parser.parse_args()


def began():
    load = os.getloadavg()[0]
    say(f"programs: {BIN.relative_to(SOURCE) if BIN.is_relative_to(SOURCE) else BIN}; CPUs: {os.cpu_count()}; load before: {load:.1f}")
    return time.monotonic()


# ---- llama.cpp's own server ----

TOOLS = CACHE / "llama-tools-forky"
DEVELOPMENT = CACHE / "llama-dev-forky"
NEEDED = "gcc,libc6-dev,pkgconf,libllama-dev,libcbor-dev,libseccomp-dev,libssl-dev"  # to build the engine


class Missing(Exception):
    """Cannot be had here; says why."""


def _mirror():
    """The address of Debian that this machine's package manager uses."""
    out = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"], capture_output=True, text=True)
    found = [uri for uri in out.stdout.split() if uri.rstrip("/").endswith("/debian")]
    if not found:
        raise Missing("apt knows no Debian archive")
    return found[0]


def _debian_testing(root, packages):
    """A root directory with packages of Debian testing, which want a newer C library than Debian 12's."""
    if root.exists():
        return root
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        raise Missing("making a root directory for llama-server takes root and the package mmdebstrap")
    CACHE.mkdir(parents=True, exist_ok=True)
    tmp = root.with_suffix(f".{os.getpid()}")
    made = subprocess.run(["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={packages}",
                           '--aptopt=Acquire::Check-Valid-Until "false"', "forky", tmp, _mirror()], capture_output=True, text=True)
    if made.returncode != 0:
        shutil.rmtree(tmp, ignore_errors=True)
        raise Missing(f"mmdebstrap failed: {made.stderr.strip().splitlines()[-1:]}")
    tmp.rename(root)
    return root


def engine_on_testing():
    """Our engine, built against the llama.cpp that llama-server there uses: a program that runs it in its root directory."""
    root = _debian_testing(DEVELOPMENT, NEEDED)
    shutil.rmtree(root / "src", ignore_errors=True)
    for part in ("common", "engine"):
        shutil.copytree(SOURCE / part, root / "src" / part)
    subprocess.run(["chroot", root, "sh", "-c", "cd /src && gcc -std=c11 -O2 -D_GNU_SOURCE -DSHOAL_VERSION='\"bench\"' -Icommon -Iengine/core "
                    "-Iengine/host -Iengine/llama common/*.c engine/core/*.c engine/host/*.c engine/llama/*.c engine/main.c -o /shoal-engine "
                    "$(pkg-config --cflags --libs llama libcbor libseccomp libcrypto) -lm"], check=True)
    wrapper = root / "run-engine"
    wrapper.write_text(f"#!/bin/sh\nexec /usr/sbin/chroot {root} /shoal-engine\n")
    wrapper.chmod(0o755)
    return wrapper


class LlamaServer:
    """llama-server with one model; its options are its defaults but for what makes both sides equal."""

    def __init__(self, path, threads, parallel, context, *options):
        root = _debian_testing(TOOLS, "llama.cpp-tools")
        self.dir = Path(tempfile.mkdtemp(prefix="shoal-bench-"))
        atexit.register(shutil.rmtree, self.dir, ignore_errors=True)
        model = root / "model.gguf"
        model.unlink(missing_ok=True)
        shutil.copyfile(path, model)
        version = subprocess.run(["chroot", root, "llama-server", "--version"], capture_output=True, text=True)
        self.version = (version.stdout + version.stderr).split("\n")[0].removeprefix("version: ")
        self.port = free_port()
        self.process = Process(self.dir, "llama-server", ["chroot", root, "llama-server", "-m", "/model.gguf", "--host", "127.0.0.1", "--port",
                                                          self.port, "-t", threads, "-np", parallel, "-c", context * parallel, *options])
        self.url = f"http://127.0.0.1:{self.port}/v1/completions"
        wait_until(self.is_ready, "llama-server has loaded the model", 120, 0.05)

    def is_ready(self):
        assert self.process.popen.poll() is None, self.process.text()
        try:
            return request(self.port, "GET", "/health")[0] == 200
        except OSError:
            return False

    def http(self, requests, clients=1, after=0):
        return with_cpu([self.process.popen.pid], lambda: run_load("http", self.url, clients, requests, after))

    def close(self):
        self.process.stop()
