#!/usr/bin/env python3
"""The hub is killed at any moment: what it accepted goes on, once.

SHOAL_KILLS=N kills it so often (25 when not set); SHOAL_JOBS=N is how many jobs lie in the journal when the time
of a start is measured (2000 when not set)."""
import json
import os
import random
import sqlite3
import threading
import time

from hubtest import Stack, request
from shoaltest.mqtt import PREFIX, Client
from shoaltest.suite import check, equal, main, note, test
from shoaltest.wait import wait_until

KILLS = int(os.environ.get("SHOAL_KILLS", "25"))
JOBS = int(os.environ.get("SHOAL_JOBS", "2000"))
USER = "alice"
stack = Stack(agents=2, parallel=8, echo="tokens=30\ndelay_us=5000\n", hub=["log.level=info"])


class Job:
    """What one client sees, held to what it may see."""

    def __init__(self, key, stream):
        self.key, self.stream = key, stream
        self.next, self.text, self.ends, self.repeats = 0, "", [], 0
        self.frames, self.ids, self.wrong = {}, set(), []

    def take(self, doc):
        if doc.get("job"):
            self.ids.add(doc["job"])
        if doc["type"] == "tokens":
            self.tokens(doc)
        elif doc["type"] == "done":
            self.ends.append(doc)
            if self.stream and doc["text"] != self.text:
                self.wrong.append(f"the end has another text than the {self.next} tokens before it")
        elif doc["type"] == "error" and not doc.get("retry_after_ms"):
            self.ends.append(doc)
            self.wrong.append(f"it ended with {doc['code']}")

    def tokens(self, doc):
        index, n = doc["index"], doc["n"]
        if index in self.frames and self.frames[index] == (n, doc["text"]):
            self.repeats += 1
        elif index != self.next:
            self.wrong.append(f"index {index} comes when {self.next} is next")
        else:
            self.frames[index] = (n, doc["text"])
            self.next += n
            self.text += doc["text"]


class Load:
    """Clients that submit, and submit again what nobody has answered, until told to stop."""

    def __init__(self, port):
        self.client = Client(port, USER)
        self.jobs, self.lock, self.stopping = {}, threading.Lock(), False
        self.client.subscribe(f"{PREFIX}/clients/{USER}/r/+", self.heard)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def heard(self, message):
        with self.lock:
            self.jobs[message.topic.rsplit("/", 1)[1]].take(message.document())

    def submit(self, job):
        self.client.publish(f"{PREFIX}/clients/{USER}/jobs",
                            json.dumps({"id": job.key, "model": "echo", "prompt": f"prompt of {job.key}", "stream": job.stream}),
                            wait=False, ResponseTopic=f"{PREFIX}/clients/{USER}/r/{job.key}")

    def open(self):
        with self.lock:
            return [j for j in self.jobs.values() if not j.ends]

    def run(self):
        rng, n, again = random.Random(1), 0, time.monotonic()
        while not self.stopping or self.open():
            if not self.stopping and len(self.open()) < 24:
                job = Job(f"k{n}", rng.random() < 0.7)
                with self.lock:
                    self.jobs[job.key] = job
                self.submit(job)
                n += 1
            if time.monotonic() - again > 0.5:
                again = time.monotonic()
                for job in self.open():
                    self.submit(job)
            time.sleep(0.01)

    def stop(self):
        self.stopping = True
        wait_until(lambda: not self.open(), "every job has its end", 60)
        self.thread.join(10)


def kill_and_start():
    """Returns how long the hub took from its start to its link with the broker."""
    stack.hub.kill()
    began = time.monotonic()
    stack.start_hub(["log.level=info"])
    wait_until(lambda: stack.status()["link"]["up"], "the hub is back")
    return time.monotonic() - began


def journal(sql):
    with sqlite3.connect(f"file:{stack.dir}/hub/journal.db?mode=ro", uri=True) as db:
        return db.execute(sql).fetchall()


@test
def killed_at_random_moments_it_loses_and_repeats_nothing():
    load, rng, rejoined, times = Load(stack.mqtt_port), random.Random(KILLS), 0, []
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.02, 0.4))
        times.append(kill_and_start())
        before = stack.status()["counters"]["jobs_rejoined"]
        rejoined += before
    load.stop()
    jobs = list(load.jobs.values())
    check(len(jobs) > KILLS, f"only {len(jobs)} jobs were submitted")
    for job in jobs:
        check(not job.wrong, f"{job.key}: {job.wrong}")
        equal(len(job.ids), 1, f"{job.key} is so many jobs")
        equal(len({(e["text"], e["finish_reason"]) for e in job.ends}), 1, f"{job.key} has so many different ends")
    # By the journal's own account: each id was one job, and each ended.
    equal(journal("SELECT count(*) FROM job WHERE ended IS NULL"), [(0,)], "jobs left open in the journal")
    equal(journal("SELECT count(*) FROM job"), [(len(jobs),)], "jobs in the journal")
    check(rejoined > 0, "no job was ever under way when the hub was killed")
    attempts = sum(e["receipt"]["attempts"] for j in jobs for e in j.ends[:1])
    note(f"{KILLS} kills, {len(jobs)} jobs, {attempts} attempts, {rejoined} joined again at once, "
         f"{sum(j.repeats for j in jobs)} frames and {sum(len(j.ends) - 1 for j in jobs)} ends told once more; "
         f"back in {sorted(times)[len(times) // 2] * 1000:.0f} ms (median), {max(times) * 1000:.0f} ms at most")


@test
def a_repeated_id_is_answered_from_the_last_run():
    load = Load(stack.mqtt_port)
    wait_until(lambda: any(j.ends for j in list(load.jobs.values())), "one has ended", 30)
    load.stop()
    job = next(iter(load.jobs.values()))
    first, n = job.ends[0], len(job.ends)
    kill_and_start()
    load.submit(job)
    wait_until(lambda: len(job.ends) > n, "it is answered again")
    equal(job.ends[-1], first, "the answer")
    equal(stack.status()["counters"]["attempts"], 0, "attempts since")


@test
def http_jobs_with_an_id_go_on_over_a_stop():
    body = {"model": "echo", "prompt": "over http", "max_tokens": 200}
    slow = threading.Thread(target=lambda: gone(body), daemon=True)
    slow.start()
    wait_until(lambda: stack.status()["running"] == 1, "it runs")
    equal(stack.hub.stop(), 0, "exit status")
    slow.join(10)
    check(not slow.is_alive(), "the connection outlives the hub")
    stack.start_hub(["log.level=info"])
    status, _, answer = request(stack.port, "POST", "/v1/completions", body, headers=KEY)
    equal(status, 200, answer)
    equal(stack.status()["counters"]["jobs_restored"], 1, "jobs taken up")
    equal(json.loads(answer)["choices"][0]["finish_reason"], "stop")


KEY = ["Idempotency-Key: http-1"]


def gone(body):
    try:
        request(stack.port, "POST", "/v1/completions", body, headers=KEY)
    except (EOFError, OSError):
        pass


@test
def a_damaged_journal_is_set_aside_and_a_newer_one_refused():
    stack.hub.kill()
    file = stack.dir / "hub/journal.db"
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    stack.hub = stack.hub.__class__(stack.dir, "newer", stack.hub.popen.args)
    check(stack.hub.popen.wait(20) != 0, "it started")
    check("newer shoal-hub" in stack.hub.text(), stack.hub.text())
    for suffix in ("-wal", "-shm"):
        (stack.dir / f"hub/journal.db{suffix}").unlink(missing_ok=True)
    data = bytearray(file.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 16] = b"\xff" * 16
    file.write_bytes(data)
    stack.start_hub(["log.level=info"])
    check("DAMAGED" in stack.hub.text(), stack.hub.text()[-2000:])
    check(list((stack.dir / "hub").glob("journal.db.damaged-*")), "it is not set aside")
    stack.await_ready(2)


@test
def it_is_soon_ready_with_many_jobs_in_the_journal():
    stack.hub.kill()
    file = stack.dir / "hub/journal.db"
    # As many as are wanted, by copies of one that really ended; half of them wait.
    stack.start_hub(["log.level=info"])
    stack.await_ready(2)
    status, _, body = request(stack.port, "POST", "/v1/completions", {"model": "echo", "prompt": "x" * 1000, "max_tokens": 200})
    equal(status, 200, body)
    wait_until(lambda: journal("SELECT count(*) FROM job WHERE ended IS NOT NULL")[0][0] >= 1, "it is written")
    equal(stack.hub.stop(), 0, "exit status")
    for agent in stack.agents:
        agent.stop(30)
    stack.agents = []
    with sqlite3.connect(file) as db:
        n = db.execute("SELECT max(n) FROM job").fetchone()[0]
        row = db.execute(f"SELECT id, user, state, submitted, ended, clock, boot, end FROM job WHERE n = {n}").fetchone()
        old = row[0].encode()
        for i in range(1, JOBS + 1):
            name = f"{i:026d}"
            db.execute("INSERT INTO job (n, id, user, state, submitted, ended, clock, boot, end) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                       (n + i, name, *row[1:7], row[7].replace(old, name.encode())))
    db.close()
    began = time.monotonic()
    stack.start_hub(["log.level=info"])
    wait_until(lambda: stack.status()["link"]["up"], "the hub is back")
    took = time.monotonic() - began
    check(f"{min(JOBS + 1, 10000)} ended ones are known" in stack.hub.text(), stack.hub.text()[-600:])
    note(f"ready {took * 1000:.0f} ms after its start with {JOBS} jobs in the journal ({file.stat().st_size >> 20} MiB)")
    check(took < 20, f"it took {took:.1f} s")


main(after=[stack.close])
