#!/usr/bin/python3
"""An agent with real engines in a control group that does not hold all of its models.

"m" is pinned and always there.  "big" and "other" each fit beside it, not both; "huge" never
does.  What would be too much is refused with figures or makes room, everything else goes on, and
the kernel kills nobody.
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from shoaltest.agent import (ACK, EV_ACCEPTED, EV_DONE, EV_FAILED, EV_PROGRESS, EV_REJECTED, FAILED, HELD, READY, Box)
from shoaltest.cgroup import Group
from shoaltest.cluster import BIN, SOURCE, children, die_with_parent
from shoaltest.suite import Skip, check, equal, main, note, test
from shoaltest.wait import wait_until

sys.path.insert(0, str(SOURCE / "test/engine"))
from link import LOADED, Closed, Engine  # noqa: E402

LIMIT = 160 << 20
RESOURCE_LIMIT_EXCEEDED = 32
BUNDLED = SOURCE / "models/shoal-triage.gguf"
LOW = 2

tmp = tempfile.TemporaryDirectory()
big = Path(tmp.name) / "big.gguf"
state = {}


def box():
    if "box" not in state:
        raise Skip("there is no control group to try it in")
    return state["box"]


def run(job, model, **sampling):
    """Dispatches; the end of it, and the events on the way."""
    seen = []
    box().dispatch(job, model=model, temperature=0.0, **{"max_tokens": 8, **sampling})
    while True:
        e = box().next_event(60)
        if e["job"] != job:
            state.setdefault("others", []).append(e)
            continue
        seen.append(e)
        if e["type"] in (EV_DONE, EV_FAILED, EV_REJECTED):
            return e, seen


def must_run(job, model):
    end, seen = run(job, model)
    equal(end["type"], EV_DONE, f"{job}: {end}")
    return seen


def no_kill():
    equal(state["group"].oom_kills(), 0, "processes that the kernel killed")


@test
def the_agent_starts_and_says_what_fits():
    subprocess.run([BIN.parent / "test/make_model", BUNDLED, big, "f16", "wide"], check=True, capture_output=True)
    state["group"] = Group(LIMIT)
    state["box"] = Box(engine=BIN / "shoal-engine", group=state["group"], only=f'''
        {{ name = "m"; file = "{BUNDLED}"; parallel = 2; pinned = true; }},
        {{ name = "big"; file = "{big}"; parallel = 2; prewarm = false; }},
        {{ name = "other"; file = "{big}"; parallel = 2; prewarm = false; }},
        {{ name = "huge"; file = "{big}"; parallel = 64; prewarm = false; }}''')
    wait_until(lambda: box().models() and box().models()["m"]["state"] == READY, "the first model is ready")
    box().epoch = box().registration["epoch"]
    models = box().models()
    equal({name: m["state"] for name, m in models.items()}, {"m": READY, "big": HELD, "other": HELD, "huge": FAILED})
    equal({name: m["slots"] for name, m in models.items()}, {"m": 2, "big": 2, "other": 2, "huge": 0})
    found = re.search(r"it needs (\d+) MiB \(weights \d+, KV cache (\d+) for 64 x 512 tokens, work \d+\); \d+ MiB are taken and "
                      r"memory.hard is 152 of 160 MiB \(cgroup\): lower context, parallel or keep", models["huge"]["reason"])
    check(found and int(found[1]) > 300 and int(found[2]) > 250, models["huge"]["reason"])
    b = wait_until(lambda: box().heartbeat if box().heartbeat and box().heartbeat.get("memory_total") else None, "a heartbeat")
    equal(b["memory_total"], LIMIT)


@test
def what_can_never_fit_is_refused_with_figures():
    end, _ = run("huge1", "huge")
    equal((end["type"], end["code"]), (EV_REJECTED, RESOURCE_LIMIT_EXCEEDED))
    check("lower context, parallel or keep" in end["reason"], end["reason"])


@test
def a_job_loads_its_model_and_hears_how_far_it_is():
    seen = must_run("big1", "big")
    equal(seen[0]["type"], EV_ACCEPTED)
    percents = [e.get("percent", 0) for e in seen if e["type"] == EV_PROGRESS]
    check(len(percents) > 1 and percents == sorted(percents), f"percents: {percents}")
    no_kill()


@test
def another_model_takes_the_place_of_the_one_used_longest_ago_and_the_rest_goes_on():
    box().dispatch("long", model="m", temperature=0.0, max_tokens=400)
    pids = set(box().engines())
    for i in range(3):
        must_run(f"other{i}", "other")
        wait_until(lambda: box().models()["big"]["state"] == HELD, "big was unloaded")
        equal(len(box().engines()), 2, "engines")
        must_run(f"big{i}x", "big")
        wait_until(lambda: box().models()["other"]["state"] == HELD, "other was unloaded")
        no_kill()
    check(pids & set(box().engines()), "the pinned one was restarted")
    ends = [e for e in state.get("others", []) if e["job"] == "long" and e["type"] in (EV_DONE, EV_FAILED)]
    while not ends:
        e = box().next_event(60)
        ends += [e] if e["job"] == "long" and e["type"] in (EV_DONE, EV_FAILED) else []
        box().control(ACK, "long", 1, e.get("index", 0))
    equal(ends[0]["type"], EV_DONE, str(ends[0]))


@test
def when_others_take_the_memory_jobs_are_refused_until_it_is_back():
    box()
    hog = subprocess.Popen([sys.executable, "-c", "import sys; x = bytearray(70 << 20); print(flush=True); sys.stdin.read()"],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           preexec_fn=lambda: (die_with_parent(), state["group"].enter()))
    try:
        hog.stdout.readline()
        wait_until(lambda: box().models()["big"]["state"] != READY and len(box().engines()) == 1, "what is idle gives back")
        end, _ = run("late1", "other")
        equal((end["type"], end["code"]), (EV_REJECTED, RESOURCE_LIMIT_EXCEEDED), str(end))
        must_run("still", "m")
        no_kill()
    finally:
        hog.kill()
        hog.wait()
    wait_until(lambda: box().models()["other"]["state"] == HELD, "there is room again")
    must_run("late2", "other")


@test
def the_kernel_killed_nobody():
    equal(box().models()["m"]["state"], READY)
    no_kill()
    check("ended by signal" not in box().logged(), box().logged())
    if state["group"].peak() is not None:
        note(f"most the group had, with pages of files: {state['group'].peak() >> 20} of {LIMIT >> 20} MiB")


@test
def without_the_agent_the_same_engine_is_killed():
    if "group" not in state:
        raise Skip("there is no control group to try it in")
    with Group(LIMIT) as group:
        with Engine(BIN / "shoal-engine") as engine:
            (group.path / "cgroup.procs").write_text(str(engine.process.pid))
            try:
                answer, _ = engine.load(big, parallel=64)
                check(answer["type"] != LOADED, "it fits: the other cases show nothing")
            except Closed:
                pass
            engine.process.wait()
        check(group.oom_kills() > 0, "no process was killed: the other cases show nothing")


def leave():
    if "box" in state:
        state["box"].close()
        state["group"].__exit__()
    tmp.cleanup()


if __name__ == "__main__":
    sys.exit(main(after=[leave]))
