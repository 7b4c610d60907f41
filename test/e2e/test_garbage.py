#!/usr/bin/python3
"""10,000 bad payloads on every topic that something listens to: counted, and nothing else happens."""
import os
import queue
import random

from shoaltest import cbor
from shoaltest.cluster import Cluster, is_sanitized
from shoaltest.jobs import ask, by_http
from shoaltest.mqtt import PREFIX, Client
from shoaltest.suite import check, equal, main, note, test
from shoaltest.wait import wait_until

N = 10_000
SEED = int(os.environ.get("TEST_SEED", "1"))
# What a process may grow by while it digests them.  A sanitizer keeps freed memory: nothing to learn there.
GROWTH_MAX = float("inf") if is_sanitized() else 2 << 20

cluster = Cluster(agents=1)
client = Client(cluster.mqtt_port, user="mallory")
WATCHED = ("hub", "box-1", "broker")


def rss(name):
    with open(f"/proc/{cluster.pid(name)}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cut(data, r):
    return data[:r.randrange(1, len(data))]


def bad_payloads(r):
    """Without end: bytes that no decoder of ours may take for a message."""
    sample = cbor.dumps({1: 1, 2: "job", 3: [1, 2, 3], 4: {1: "x"}, 5: b"bytes"})
    text = b'{"model":"triage","prompt":"x"}'
    makers = [
        lambda: bytes([r.randrange(0xF8, 0xFF)]) + r.randbytes(r.randrange(1, 64)),  # no map at all
        lambda: b"\x9a\x40\x00\x00\x00",  # an array of a thousand million
        lambda: b"\xba\xff\xff\xff\xff" + r.randbytes(8),
        lambda: b"\xbf" + sample[1:],  # indefinite length
        lambda: b"\x81" * r.randrange(20, 2000),  # deep
        lambda: cut(sample, r),
        lambda: sample + b"\x00",
        lambda: b"\xa2\x01\x01\x01\x01",  # a key twice
        lambda: cbor.dumps({1: "text where a number belongs", 2: {}}),
        lambda: cut(text, r),
        lambda: b'{"model":"a","model":"b","prompt":"x"}',
        lambda: b'{"model":"\xff\xfe"}',
        lambda: b"{" * r.randrange(1, 5000),
        lambda: text + b"x",
        lambda: b"\xa1\x01\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
    ]
    while True:
        yield r.choice(makers)()


def flood(topic):
    payloads = bad_payloads(random.Random(f"{SEED} {topic}"))
    for k in range(N):
        # QoS 1 each thousandth: waits for the broker, so that no queue overflows on the way.
        client.publish(topic, next(payloads), qos=1 if k % 200 == 199 else 0)


def hub_counts():
    return cluster.status()["counters"]


class Agent:
    """Asked, not waited for: a ping is answered with a heartbeat, which counts what came before it."""

    EPOCH, BAD_MESSAGES = 1, 14  # keys of a heartbeat, docs/protocol.cddl

    def __init__(self, name):
        self.name, self.heartbeats = name, queue.Queue()
        client.subscribe(f"{PREFIX}/agents/{name}/heartbeat", lambda m: self.heartbeats.put(cbor.loads(m.payload)))
        self.epoch = self.heartbeats.get(timeout=30)[self.EPOCH]

    def bad_messages(self):
        while not self.heartbeats.empty():
            self.heartbeats.get()
        client.publish(f"{PREFIX}/agents/{self.name}/control", cbor.dumps({1: 0, 2: self.epoch}))
        return self.heartbeats.get(timeout=30).get(self.BAD_MESSAGES, 0)


def settled(read):
    """The number once everything sent was digested: it no longer changes between two looks."""
    last = [None]

    def same():
        now, before = read(), last[0]
        last[0] = now
        return now == before

    wait_until(same, "the count settles", 60, 0.5)
    return last[0]


def unharmed(pids):
    for name in WATCHED:
        equal(cluster.pid(name), pids[name], f"pid of {name}")
    text, _ = by_http(cluster, ask("hello", temperature=0))
    check(text, "no answer any more")


def flooded(topics, read, what):
    """Floods each topic once to warm up, then measures memory over the rest."""
    pids = {name: cluster.pid(name) for name in WATCHED}
    flood(topics[0])
    before_count, before_rss = settled(read), {name: rss(name) for name in WATCHED}
    for topic in topics:
        flood(topic)
    counted = settled(read) - before_count
    grown = {name: rss(name) - before_rss[name] for name in WATCHED}
    note(f"{counted} of {N * len(topics)} counted by {what}; grown by " + ", ".join(f"{n} {g >> 10} KiB" for n, g in grown.items()))
    unharmed(pids)
    equal(counted, N * len(topics), f"counted by {what}")
    for name, g in grown.items():
        check(g <= GROWTH_MAX, f"{name} has grown by {g} bytes")


@test
def the_agent_counts_and_drops_what_is_no_message():
    topics = [f"{PREFIX}/agents/box-1/{leaf}" for leaf in ("jobs", "control", "status")] + [f"{PREFIX}/hub/status"]
    flooded(topics, Agent("box-1").bad_messages, "the agent")


@test
def the_hub_counts_and_drops_what_is_no_message():
    topics = [f"{PREFIX}/agents/stranger/{leaf}" for leaf in ("registration", "status", "heartbeat", "out")]
    topics += [f"{PREFIX}/clients/mallory/{leaf}" for leaf in ("jobs", "cancel", "presence")]
    flooded(topics, lambda: hub_counts()["bad_messages"], "the hub")


main(after=[client.close, cluster.close])
