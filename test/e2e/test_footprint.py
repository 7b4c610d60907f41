#!/usr/bin/python3
"""How much memory the daemons take; only a build without sanitizers can tell."""
from shoaltest.cluster import MODELS, Cluster, is_sanitized
from shoaltest.jobs import ask, by_http, heldout
from shoaltest.suite import Skip, check, main, note, test

AGENT_USS_MAX = 5 << 20
AGENT_RSS_MAX = 12 << 20

cluster = None if is_sanitized() else Cluster(agents=3)


def memory(pid):
    """(private, resident) bytes."""
    uss = rss = 0
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            field = line.split()
            if field[0] in ("Private_Clean:", "Private_Dirty:"):
                uss += int(field[1]) << 10
            elif field[0] == "Rss:":
                rss += int(field[1]) << 10
    return uss, rss


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


main(after=[cluster.close] if cluster else [])
