#!/usr/bin/python3
"""Engines that die, stand still, hang and rave: said within a second, and nobody else notices."""
import os
import queue
import signal
import time

from shoaltest.agent import ACK, EV_ACCEPTED, EV_DONE, EV_FAILED, EV_TOKENS, OFFLINE, READY, Box
from shoaltest.bad_engine import AT
from shoaltest.cluster import SOURCE, Cluster, children, is_sanitized
from shoaltest.jobs import ask
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, note, test
from shoaltest.wait import wait_until

TOO_LARGE, BATCH_TIMEOUT, ENGINE_CRASHED = 6, 36, 41
REPORT_S = 1.0
HANG_S = 0.5 if not is_sanitized() else 1.5  # engine.token_timeout_ms
PROMPT = "the quick brown fox jumps over the lazy dog. " * 2
OTHER = "sphinx of black quartz, judge my vow. " * 5

# Each kind with the code its job fails with.
FAULTS = {"exits": ENGINE_CRASHED, "is_killed": ENGINE_CRASHED, "stands_still": ENGINE_CRASHED, "hangs": BATCH_TIMEOUT,
          "forgets": BATCH_TIMEOUT, "frame_too_long": ENGINE_CRASHED, "frame_of_nothing": ENGINE_CRASHED, "broken_cbor": ENGINE_CRASHED,
          "text_not_utf8": ENGINE_CRASHED, "tokens_of_no_job": ENGINE_CRASHED, "index_jumps": ENGINE_CRASHED,
          "index_repeats": ENGINE_CRASHED, "loaded_twice": ENGINE_CRASHED, "done_counts_wrong": ENGINE_CRASHED,
          "pong_of_no_ping": ENGINE_CRASHED, "leaves_a_child_that_talks": ENGINE_CRASHED}


class FaultyBox(Box):
    """Two models: "m", whose engine does what fault() says, and "other", whose engine is well."""

    def __init__(self):
        super().__init__(engine=SOURCE / "test/e2e/shoaltest/bad_engine.py", agent_id="faulty",
                         models=f', {{ name = "other"; file = "{__file__}"; }}',
                         sets=[f"engine.token_timeout_ms={int(HANG_S * 1000)}", "engine.prompt_timeout_ms=1"])

    def start(self, *args):
        self.model = self.model.rename(self.model.with_suffix(".bad"))
        self.config.write_text(self.config.read_text().replace("model.echo", "model.bad"))
        super().start(*args)

    def fault(self, name):
        self.model.with_name("fault").write_text(name)

    def states(self):
        return [m[4] for m in self.registration["models"]]

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def connects(self):
        return sum("New client connected" in line and "faulty" in line for line in self.broker.log.read_text().splitlines())


box = FaultyBox()
number = 0


def new_id():
    global number
    number += 1
    return f"j{number}"


def text_of(frames):
    return "".join(e.get("text", "") for e in frames)


class Watch:
    """Two jobs, one for each model; events by job, as they come."""

    def __init__(self):
        self.bad, self.good = new_id(), new_id()
        self.frames = {self.bad: [], self.good: []}
        self.ends = {}

    def run_until(self, *jobs):
        while not all(j in self.ends for j in jobs):
            e = box.next_event()
            frames = self.frames.get(e["job"])
            if frames is None or e["type"] == EV_ACCEPTED:
                continue
            e["at"] = time.monotonic()
            if e["type"] == EV_TOKENS:
                frames.append(e)
                if len(frames) % 16 == 0:
                    box.control(ACK, e["job"], e["attempt"], e.get("index", 0) + len(e["ids"]))
            else:
                self.ends[e["job"]] = e
        return self.ends[jobs[0]]


def suffer(name, code, limit_s):
    """One fault, with a job on either engine; the job of the bad one is then taken up where it stood."""
    box.await_ready()
    wait_until(lambda: box.states() == [READY, READY], "both models are ready")
    w = Watch()
    engines, seq = set(box.engines()), box.registration["seq"]
    box.dispatch(w.good, prompt=OTHER, model="other")
    box.fault(name)
    box.dispatch(w.bad, prompt=PROMPT)
    failed = w.run_until(w.bad)
    equal((failed["type"], failed["code"]), (EV_FAILED, code), f"end of {name}: {failed.get('reason')}")
    took = failed["at"] - w.frames[w.bad][-1]["at"]
    check(took < limit_s, f"{name}: said after {took:.2f} s")
    seen = [i for e in w.frames[w.bad] for i in e["ids"]]
    done = w.run_until(w.good)
    equal((done["type"], text_of(w.frames[w.good])), (EV_DONE, OTHER.upper()), "the other model's job")
    wait_until(lambda: box.registration["seq"] > seq and box.states() == [READY, READY], f"after {name} it is back")
    equal(len(set(box.engines()) & engines), 1, "engines that went on")
    before = text_of(w.frames[w.bad])
    box.dispatch(w.bad, attempt=2, prompt=PROMPT, prefix=seen)
    del w.ends[w.bad]
    w.frames[w.bad] = []
    done = w.run_until(w.bad)
    equal((done["type"], before + text_of(w.frames[w.bad])), (EV_DONE, PROMPT.upper()), "the whole answer")
    return took


@test
def each_fault_is_said_within_a_second_and_mended():
    box.await_ready()
    pid, conn, connects = box.process.pid, box.registration["conn"], box.connects()
    equal(connects, 1, "connections")
    longest = 0
    for name, code in FAULTS.items():
        took = suffer(name, code, REPORT_S + (HANG_S if code == BATCH_TIMEOUT else 0))
        if code != BATCH_TIMEOUT:
            longest = max(longest, took)
    note(f"{len(FAULTS)} kinds, said after at most {longest * 1000:.0f} ms, a hang after its limit of {HANG_S * 1000:.0f} ms")
    equal((box.process.pid, box.process.poll()), (pid, None), "the agent")
    equal((box.registration["conn"], box.connects()), (conn, connects), "its connection")
    check(all(s["state"] != OFFLINE for s in box.statuses), "it was never offline")


@test
def a_flood_of_tokens_is_cut_off_and_does_not_fill_the_agent():
    wait_until(lambda: box.states() == [READY, READY], "both models are ready")
    before, seq = box.resident(), box.registration["seq"]
    w = Watch()
    box.fault("floods")
    box.dispatch(w.bad, prompt=PROMPT)
    failed = w.run_until(w.bad)
    equal((failed["type"], failed["code"]), (EV_FAILED, TOO_LARGE), failed.get("reason"))
    box.dispatch(w.good, prompt=OTHER, model="other")  # beside the flood
    equal(w.run_until(w.good)["type"], EV_DONE, "the other model's job")
    wait_until(lambda: box.registration["seq"] > seq and box.states() == [READY, READY], "it is back")
    grown = box.resident() - before
    note(f"{grown / (1 << 20):.1f} MiB more")
    check(is_sanitized() or grown < 8 << 20, "the agent holds the flood")


@test
def an_engine_that_complains_without_end_does_not_fill_the_log():
    wait_until(lambda: box.states() == [READY, READY], "both models are ready")
    w = Watch()
    before = len(box.logged())
    box.fault("complains")
    box.dispatch(w.bad, prompt=PROMPT)
    done = w.run_until(w.bad)
    equal((done["type"], text_of(w.frames[w.bad])), (EV_DONE, PROMPT.upper()), "its job")
    box.dispatch(w.good, prompt=OTHER, model="other")
    equal(w.run_until(w.good)["type"], EV_DONE, "the other model's job")
    wait_until(lambda: "something is wrong" in box.logged()[before:], "some of it is there")
    grown = len(box.logged()) - before
    check(grown < 64 << 10, f"{grown} bytes of log of 16 MiB")


@test
def an_engine_that_reads_nothing_holds_up_nobody():
    wait_until(lambda: box.states() == [READY, READY], "both models are ready")
    w = Watch()
    seq = box.registration["seq"]
    box.fault("hangs")
    box.dispatch(w.bad, prompt=PROMPT)
    while len(text_of(w.frames[w.bad])) < AT:
        e = box.next_event()
        if e["job"] == w.bad and e["type"] == EV_TOKENS:
            w.frames[w.bad].append(e)
    second = new_id()
    w.frames[second] = []
    box.dispatch(second, prompt="x" * 240000)  # more than the socket takes
    box.dispatch(w.good, prompt=OTHER, model="other")
    for job in (w.bad, second):
        equal(w.run_until(job)["code"], BATCH_TIMEOUT, job)
    equal(w.run_until(w.good)["type"], EV_DONE, "the other model's job")
    wait_until(lambda: box.registration["seq"] > seq and box.states() == [READY, READY], "it is back")


@test
def an_agent_that_stood_still_does_not_blame_its_engines():
    wait_until(lambda: box.states() == [READY, READY], "both models are ready")
    w = Watch()
    engines = box.engines()
    box.dispatch(w.good, prompt=OTHER * 5, model="other")
    while not w.frames[w.good]:
        e = box.next_event()
        if e["job"] == w.good and e["type"] == EV_TOKENS:
            w.frames[w.good].append(e)
    box.process.send_signal(signal.SIGSTOP)
    time.sleep(HANG_S + 2)  # the fault's length: longer than any engine may be silent
    box.process.send_signal(signal.SIGCONT)
    equal(w.run_until(w.good)["type"], EV_DONE, "the job")
    equal(text_of(w.frames[w.good]), (OTHER * 5).upper(), "the answer")
    equal(box.engines(), engines, "engines")


# ---- the real engine ----

def document():
    return ask("tell me about the cold room", ignore_eos=True, max_tokens=300, temperature=0.8, seed=4711)


class System:
    """A hub and some agents, and all that they say of jobs and of themselves."""

    def __init__(self, agents):
        self.cluster = Cluster(agents=agents)
        self.client = Client(self.cluster.mqtt_port)
        self.out, self.statuses = queue.Queue(), []
        self.client.subscribe("shoal/v1/agents/+/out", self.out.put)
        self.client.subscribe("shoal/v1/agents/+/status", lambda m: self.statuses.append(m.document()))
        self.cluster.await_all_ready()

    def stream(self, blow=None, after=20):
        """Text and end of a streamed answer; once so many frames are there the blow falls on whoever speaks."""
        job = self.client.submit(dict(document(), stream=True))
        while True:
            _, d = job.next()
            if d["type"] in ("done", "error"):
                return "".join(f["text"] for _, f in job.frames()), d
            if blow and not blow.agent and len(job.frames()) >= after:
                while not self.out.empty():
                    speaker = self.out.get().topic.split("/")[-2]
                blow.strike(speaker)

    def failed_at(self):
        """When the first failure since the blow was said."""
        while True:
            m = self.out.get(timeout=20)
            if m.document()[1] == EV_FAILED:
                equal(m.document()[12], ENGINE_CRASHED, "code")
                return m.at

    def suffer(self, signo):
        """The signal hits the engine in mid-answer; nobody sees more of it than a pause."""
        want, _ = self.stream()
        for _ in range(2):  # more of them, and the model is quarantined
            blow = Blow(self.cluster, signo)
            text, end = self.stream(blow)
            equal((end["type"], text), ("done", want), f"the answer, {signo.name} in its midst")
            if end["receipt"]["attempts"] > 1:
                break
        equal(end["receipt"]["attempts"], 2, "attempts")
        took = self.failed_at() - blow.at
        note(f"{signo.name}: said after {took * 1000:.0f} ms")
        check(took < (5 if is_sanitized() else 1) * REPORT_S, "too late")
        equal(self.cluster.pid(blow.agent), blow.pid, "the agent's pid")
        check(all(s.get(3, 0) != OFFLINE for s in self.statuses), "it was never offline")
        return blow.agent, end["receipt"]["agent"]

    def close(self):
        self.client.close()
        self.cluster.close()


class Blow:
    def __init__(self, cluster, signo):
        self.cluster, self.signo, self.agent = cluster, signo, None

    def strike(self, agent):
        self.agent, self.pid = agent, self.cluster.pid(agent)
        self.at = time.monotonic()
        os.kill(children(self.pid)[0], self.signo)


@test
def a_stream_goes_on_elsewhere_when_its_engine_is_stopped_or_killed():
    system = System(agents=2)
    for signo in (signal.SIGSTOP, signal.SIGKILL):
        system.cluster.await_all_ready()
        victim, saviour = system.suffer(signo)
        check(victim != saviour, "the one that was hit goes on by itself")
    system.close()


@test
def with_one_box_it_goes_on_on_the_engine_started_again():
    system = System(agents=1)
    system.suffer(signal.SIGKILL)
    system.close()


@test
def sanitizers_have_nothing_to_say():
    check("Sanitizer" not in box.logged(), box.logged()[-3000:])


main(after=[box.close])
