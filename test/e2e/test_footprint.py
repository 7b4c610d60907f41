#!/usr/bin/python3
"""How much memory the daemons take; only a build without sanitizers can tell."""
import json
import subprocess
import tempfile

from shoaltest.cluster import BIN, MODELS, Cluster, is_sanitized, memory
from shoaltest.jobs import ask, by_http, heldout
from shoaltest.suite import Skip, check, main, note, test

AGENT_USS_MAX = 5 << 20
AGENT_RSS_MAX = 12 << 20

GROWTH_MAX = 256 << 10
JOBS = 1500  # the agent keeps figures of its last 1,000

cluster = None if is_sanitized() else Cluster(agents=3)


def mb(n):
    return f"{n / (1 << 20):.2f} MiB"


@test
def an_agent_that_has_worked_is_small():
    if cluster is None:
        raise Skip("a build with sanitizers says nothing about memory")
    for example in heldout(MODELS, 30):
        by_http(cluster, ask(example["prompt"]))
    for name in cluster.agent_names():
        uss, rss = memory(cluster.pid(name))
        note(f"{name}: {mb(uss)} private, {mb(rss)} resident")
        check(uss < AGENT_USS_MAX, f"{name} has {uss} private bytes")
        check(rss < AGENT_RSS_MAX, f"{name} has {rss} resident bytes")
    for name in ("hub", "broker"):
        uss, rss = memory(cluster.pid(name))
        note(f"{name}: {mb(uss)} private, {mb(rss)} resident")


def run_jobs(port, first):
    """JOBS answers of two tokens, eight at a time."""
    documents = [dict(ask(f"{first + k} door=open"), max_tokens=2, temperature=0) for k in range(JOBS)]
    with tempfile.NamedTemporaryFile("w") as f:
        f.writelines(json.dumps(d) + "\n" for d in documents)
        f.flush()
        out = subprocess.run([BIN.parent / "bench/load", "mqtt", str(port), "8", f.name], capture_output=True, text=True, check=True).stdout
    answers = [json.loads(line) for line in out.splitlines()]
    check(len(answers) == JOBS and all(a["error"] is None for a in answers), f"not all of {JOBS} jobs were answered")


@test
def an_agent_does_not_grow_with_its_jobs():
    if cluster is None:
        raise Skip("a build with sanitizers says nothing about memory")
    one = Cluster(agents=1)
    try:
        run_jobs(one.mqtt_port, 0)
        before, _ = memory(one.pid("box-1"))
        run_jobs(one.mqtt_port, JOBS)
        after, _ = memory(one.pid("box-1"))
    finally:
        one.close()
    note(f"after {JOBS} jobs {mb(before)} private, after {2 * JOBS} {mb(after)}")
    check(after - before <= GROWTH_MAX, f"grown by {after - before} bytes")


main(after=[cluster.close] if cluster else [])
