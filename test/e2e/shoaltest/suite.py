"""Counting: each function marked with @test is one case; main() runs them in order.

Last line: N passed, N failed, N skipped.  Exit status 0, 1 when one failed or none ran,
77 when all were skipped.  Arguments name the cases to run (any part of the name).
"""
import os
import signal
import sys
import time
import traceback

_cases = []


class Skip(Exception):
    """This cannot run here; says why."""


def test(fn):
    _cases.append(fn)
    return fn


def check(condition, message="not so"):
    if not condition:
        raise AssertionError(message)


def equal(got, want, what="value"):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def note(text):
    """A measured figure, shown below the case."""
    print(f"     {text}", flush=True)


def _run(fn):
    name = fn.__name__.replace("_", " ")
    began = time.monotonic()
    try:
        fn()
    except Skip as why:
        print(f"skip {name}: {why}", flush=True)
        return "skipped"
    except Exception:  # a failed case must not hide the ones after it
        traceback.print_exc()
        print(f"FAIL {name} ({time.monotonic() - began:.1f} s)", flush=True)
        return "failed"
    print(f"ok   {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return "passed"


def skip_all(why):
    """Instead of main(): counts every case as skipped, with one line."""
    print(f"skip all {len(_cases)} cases: {why}\n0 passed, 0 failed, {len(_cases)} skipped", flush=True)
    sys.exit(77)


def main(after=()):
    """Runs the cases, then each function of `after` (clean-up that may fail the run)."""
    # A runner that gives up sends SIGTERM: leave through the clean-ups.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    count = {"passed": 0, "failed": 0, "skipped": 0}
    wanted = sys.argv[1:]
    try:
        for fn in _cases:
            if not wanted or any(w in fn.__name__ for w in wanted):
                count[_run(fn)] += 1
    finally:
        for fn in after:
            if _run(fn) == "failed":
                count["failed"] += 1
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped", flush=True)
    if count["failed"] or not any(count.values()):
        code = 1
    else:
        code = 0 if count["passed"] else 77
    sys.stdout.flush()
    os._exit(code)  # no thread of a client library may hold us back
