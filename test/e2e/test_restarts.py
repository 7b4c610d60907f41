#!/usr/bin/python3
"""kill -9 the broker or the hub: they come back, the agents too, and new jobs work."""
import threading

from shoaltest import http
from shoaltest.cluster import Cluster, is_sanitized
from shoaltest.jobs import ask, by_http, by_mqtt
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, note, test
from shoaltest.wait import wait_until
from shoaltest.cluster import now

ROUNDS = 3
BACK_S = 60 if is_sanitized() else 30

cluster = Cluster(agents=3)
LONG = ask("tell me about the cold room", ignore_eos=True, max_tokens=400, temperature=0)


class Background:
    """An SSE stream read by a thread of its own: how did it end?"""

    def __init__(self):
        self.text, self.outcome = "", None
        self.begun = threading.Event()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            stream = http.Stream(cluster.url + "/v1/chat/completions", LONG)
            for _, chunk in stream:
                self.text += http.text_of(chunk)
                if self.text:
                    self.begun.set()
            self.outcome = "whole" if stream.done else "error" if stream.error else "cut"
        except (OSError, http.http.client.HTTPException):
            self.outcome = "cut"
        self.begun.set()

    def end(self):
        self.thread.join(120)
        check(not self.thread.is_alive(), "the stream does not end")
        return self.outcome


def undisturbed():
    stream = Background()
    equal(stream.end(), "whole", "an undisturbed stream")
    return stream.text


def new_jobs_work():
    client = Client(cluster.mqtt_port)
    equal(by_mqtt(client, dict(LONG, max_tokens=20))[0], by_http(cluster, dict(LONG, max_tokens=20))[0], "answers after it")
    client.close()


@test
def the_broker_dies_and_comes_back_with_all_agents():
    want = undisturbed()
    for _ in range(ROUNDS):
        stream = Background()
        stream.begun.wait(30)
        began = now()
        cluster.kill_and_await_next("broker")
        outcome = stream.end()
        cluster.await_all_ready(BACK_S)
        note(f"all agents back after {now() - began:.2f} s; the running stream ended {outcome}")
        check(outcome in ("whole", "error"), "the stream was cut without an error")
        if outcome == "whole":
            equal(stream.text, want, "the stream over the broker's death")
        new_jobs_work()


@test
def the_hub_dies_and_comes_back_with_all_agents():
    for _ in range(ROUNDS):
        stream = Background()
        stream.begun.wait(30)
        began = now()
        cluster.kill_and_await_next("hub")
        check(stream.end() != "whole" or undisturbed() == stream.text, "a stream of a dead hub that looks whole but is not")
        cluster.await_all_ready(BACK_S)
        note(f"all agents known to the new hub after {now() - began:.2f} s")
        new_jobs_work()


@test
def what_ran_for_the_dead_hub_does_not_run_for_ever():
    stream = Background()
    stream.begun.wait(30)
    cluster.kill_and_await_next("hub")
    stream.end()
    wait_until(lambda: cluster.list_agents() and all(a["running"] == 0 for a in cluster.list_agents().values()), "slots are free", 60, 0.05)


main(after=[cluster.close])
