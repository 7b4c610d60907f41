#!/usr/bin/python3
"""The thread tuner against every fixed count of threads, alone on the box and beside a program that keeps one core busy.

One engine each, one stream; a busy process of the bench's own is started and ended in between.  The tuner's rate counts from
`settle` seconds after each change on.  Shown are tokens a second, and the tuner's as a share of the best fixed count's.
"""
import os
import subprocess
import sys
import time
from pathlib import Path

from benchlib import BIN, arguments, began, die_with_parent, find_model, ratio, say, table, verdict

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
from link import DONE, LOADED, TOKENS, Engine  # noqa: E402

args = arguments(__doc__, model=("35m-q8_0", "which model"), settle=(5.0, "seconds the tuner has"), seconds=(5.0, "of each measure"))
CORES = len(os.sched_getaffinity(0))


class Stream:
    """One answer after the other, for as long as somebody reads."""

    def __init__(self, threads):
        self.engine = Engine(BIN / "shoal-engine")
        loaded, _ = self.engine.load(find_model(args.model), parallel=1, n_ctx=1024, fast=True, threads=threads)
        assert loaded["type"] == LOADED, loaded
        self.is_idle = True

    def read(self, seconds):
        """Tokens a second in that time, however it began."""
        n, end = 0, time.monotonic() + seconds
        begin = time.monotonic()
        while time.monotonic() < end:
            if self.is_idle:
                self.engine.start("one two three", ignore_eos=True, temperature=0.0, max_tokens=200, cache_prompt=False)
                self.is_idle = False
            m = self.engine.recv()
            n += len(m["ids"]) if m["type"] == TOKENS else 0
            self.is_idle = m["type"] == DONE
        return n / (time.monotonic() - begin)

    def rate(self):
        self.read(args.settle)
        self.engine.stats.clear()
        return self.read(args.seconds)

    def threads(self):
        return "/".join(sorted({str(m["threads"]) for m in self.engine.stats}))


class Busy:
    """A process that computes all the time."""

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=die_with_parent)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def measure(threads):
    """(alone, beside a busy process, alone again), each with the counts of threads in use."""
    stream = Stream(threads)
    with stream.engine:
        got = [(stream.rate(), stream.threads())]
        with Busy():
            got.append((stream.rate(), stream.threads()))
        got.append((stream.rate(), stream.threads()))
    return got


began()
fixed = {n: measure(n) for n in sorted({1, max(1, CORES - 1), CORES})}
tuned = measure(0)
say(f"\n{args.model} on {CORES} cores: tokens a second of one stream")
table(["threads", "alone", "beside a busy process", "alone again"],
      [[n, *(f"{rate:.1f}" for rate, _ in got)] for n, got in fixed.items()] +
      [["tuner", *(f"{rate:.1f} with {threads}" for rate, threads in tuned)]])
for k, when in enumerate(("alone", "beside a busy process", "after it")):
    verdict(f"thread tuner, {when}", ratio(tuned[k][0], max(got[k][0] for got in fixed.values())), at_least=0.8)
