#!/usr/bin/python3
"""The estimate of a model's memory against what engines take.

Random weights wide enough that they count; each case loads a model, runs a job on every sequence
and reads what the kernel says of the process.  Weights that are mapped count once, whether the
kernel has them in the file's pages, or the engine a copy of its own.
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import link  # noqa: E402

BIN = Path(os.environ["SHOAL_BIN_DIR"])
TOOLS = Path(os.environ["SHOAL_TEST_BIN"])
BUNDLED = Path(__file__).resolve().parents[2] / "models" / "shoal-triage.gguf"
MIB = 1 << 20
FAST_ROWS = 256
COUNTS = [0, 0]


def case(name, good, told):
    COUNTS[not good] += 1
    print(f"     {name}: {told}" if good else f"FAIL {name}: {told}", flush=True)


def make(path, kind):
    subprocess.run([TOOLS / "make_model", BUNDLED, path, kind, "wide"], check=True, capture_output=True)
    return path


def expected(path, n_ctx, parallel, rows):
    out = subprocess.run([TOOLS / "footprint", path, str(n_ctx), str(parallel), str(rows)], check=True, capture_output=True, text=True)
    return dict(zip(("weights", "kv", "work"), map(int, out.stdout.split())))


def measured(path, n_ctx, parallel, fast):
    with link.Engine(BIN / "shoal-engine") as e:
        loaded, _ = e.load(path, n_ctx=n_ctx, parallel=parallel, threads=1, fast=fast)
        assert loaded["type"] == link.LOADED, loaded
        jobs = [e.start("door=open " * 30, max_tokens=4, ignore_eos=True) for _ in range(parallel)]
        e.collect(jobs)
        lines = Path(f"/proc/{e.process.pid}/status").read_text().splitlines()
    fields = {k: v for k, _, v in (line.partition(":") for line in lines)}
    return {k: int(fields[k].split()[0]) * 1024 for k in ("RssAnon", "RssFile")}


def sizes(path, n_ctx, parallel, fast=False):
    """(estimated, measured) of all the memory it needs."""
    want, have = expected(path, n_ctx, parallel, FAST_ROWS if fast else 0), measured(path, n_ctx, parallel, fast)
    is_copied = have["RssAnon"] > want["kv"] + want["weights"]
    return want, have["RssAnon"] + have["RssFile"] - (want["weights"] if is_copied else 0)


def main():
    with tempfile.TemporaryDirectory() as tmp:
        models = [BUNDLED] + [make(Path(tmp) / f"{kind}.gguf", kind) for kind in ("f16", "q4_0", "q4_k")]
        for path in models:
            took = {}
            for parallel in (2, 8):
                want, have = sizes(path, 512, parallel)
                total = sum(want.values())
                took[parallel] = have, want["kv"]
                # What is not there yet when a job comes is what kills: never less than it takes.
                case(f"{path.stem}, {parallel} sequences: enough, and not much more", 0 <= total - have <= 16 * MIB + total // 10,
                     f"{total / MIB:.1f} MiB expected, {have / MIB:.1f} MiB taken")
            grown, kv = took[8][0] - took[2][0], took[8][1] - took[2][1]
            case(f"{path.stem}: six sequences more", 0.8 * kv <= grown <= kv + 4 * MIB,
                 f"{kv / MIB:.1f} MiB expected, {grown / MIB:.1f} MiB taken")
        for path in models[1:]:
            want, have = sizes(path, 512, 4, fast=True)
            total = sum(want.values())
            case(f"{path.stem}, not exact: enough, and not much more", 0 <= total - have <= 16 * MIB + total // 10,
                 f"{total / MIB:.1f} MiB expected, {have / MIB:.1f} MiB taken")
    print("%d passed, %d failed, 0 skipped" % tuple(COUNTS))
    return COUNTS[1] != 0


sys.exit(main())
