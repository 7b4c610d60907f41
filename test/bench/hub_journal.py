#!/usr/bin/python3
"""What the journal costs a stream, by its mode.

Clients over MQTT stream answers of the echo engine through the hub; in turn with journal.mode off, async and sync.  The gap is
between two token frames of one stream as the client gets them; frames tell how often tokens came together.  Gaps and rates are the medians
of the rounds.
"""
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from benchlib import arguments, began, in_turn, median, say, table  # noqa: E402

args = arguments(__doc__, rounds=(3, "rounds"), streams=("1,16", "at once"), tokens=(200, "of an answer"), delay_us=(4000, "of a token"))

from hubtest import Stack  # noqa: E402
from shoaltest.mqtt import PREFIX, Client  # noqa: E402


class Streams:
    def __init__(self, mode):
        self.stack = Stack(agents=1, parallel=16, echo=f"tokens={args.tokens}\ndelay_us={args.delay_us}\n",
                           hub=["log.level=info", f"journal.mode={mode}"])
        self.client = Client(self.stack.mqtt_port, "alice")
        self.client.subscribe(f"{PREFIX}/clients/alice/r/+", self.heard)
        self.changed, self.runs = threading.Condition(), 0

    def heard(self, message):
        doc = message.document()
        with self.changed:
            if doc["type"] == "tokens":
                self.at.setdefault(message.topic, []).append(message.at)
                self.n_tokens += doc["n"]
            elif doc["type"] in ("done", "error"):
                self.open -= 1
                self.changed.notify_all()

    def run(self, n):
        self.at, self.n_tokens, self.open = {}, 0, n
        self.runs += 1
        before, start = self.stack.status()["journal"], time.monotonic()
        for k in range(n):
            self.client.publish(f"{PREFIX}/clients/alice/jobs",
                                json.dumps({"model": "echo", "prompt": f"prompt {k}", "stream": True, "ignore_eos": True, "max_tokens": args.tokens}), wait=False,
                                ResponseTopic=f"{PREFIX}/clients/alice/r/{self.runs}-{k}")
        with self.changed:
            assert self.changed.wait_for(lambda: self.open == 0, 60), "not all streams have ended"
        took, after = time.monotonic() - start, self.stack.status()["journal"]
        gaps = sorted((b - a) * 1000 for at in self.at.values() for a, b in zip(at, at[1:]))
        return {"rate": self.n_tokens / took, "p50": gaps[len(gaps) // 2], "p99": gaps[len(gaps) * 99 // 100],
                "frames": sum(len(at) for at in self.at.values()) / self.n_tokens, "commits": after["commits"] - before["commits"],
                "records": after["records"] - before["records"], "last": after["last_ms"]}


began()
sides = {mode: Streams(mode) for mode in ("off", "async", "sync")}
for n in (int(n) for n in str(args.streams).split(",")):
    got = in_turn({mode: lambda k, s=s: s.run(n) for mode, s in sides.items()}, args.rounds)
    say(f"\n{n} streams of {args.tokens} tokens, one each {args.delay_us / 1000:g} ms")
    table(["journal.mode", "tokens/s", "gap p50 ms", "p99", "frames/token", "records", "commits", "a commit, ms"],
          [[mode, f"{median(r['rate'] for r in rounds):.0f}", *(f"{median(r[p] for r in rounds):.2f}" for p in ("p50", "p99", "frames")),
            *(f"{median(r[p] for r in rounds):.0f}" for p in ("records", "commits")), f"{median(r['last'] for r in rounds):.2f}"]
           for mode, rounds in got.items()])
for s in sides.values():
    s.stack.close()
