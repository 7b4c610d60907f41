#!/usr/bin/python3
"""What fails, and what clients see of it: poison, breakers, processes that stand still, other engines."""
import os
import signal
import time

from hubtest import Stack
from shoaltest.cluster import BIN, children, is_sanitized
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

SLOW = 3 if is_sanitized() else 1
DRAWN = {"temperature": 0.9, "seed": 11, "ignore_eos": True}


def question(text="tell me", tokens=20, **more):
    return dict({"model": "echo", "prompt": text, "max_tokens": tokens, "stream": True}, **DRAWN, **more)


def ended(job, code=None):
    end = job.end()
    equal(end["type"], "error" if code else "done", end)
    if code:
        equal(end["code"], code, end)
    frames = [d for _, d in job.frames()]
    if not code:
        equal("".join(f["text"] for f in frames), end["text"], "the frames and the end")
    equal([f["index"] for f in frames], [sum(f["n"] for f in frames[:i]) for i in range(len(frames))], "indices")
    return end


def ended_well(job, want=None):
    end = ended(job)
    if want is not None:
        equal(end["text"], want, "the text")
    return end


class Boxes(Stack):
    """The echo engine, with equal tokens from equal files; jobs over MQTT."""
    model_options = "exact = true;"

    def __init__(self, agents, echo, hub=()):
        super().__init__(agents=agents, echo=echo, hub=hub)
        self.client = Client(self.mqtt_port)

    def named(self, name):
        return next(a for a in self.agents if a.name == name)

    def add(self, name, echo, parallel=4):
        """One more box, whose model file is another."""
        whole = (self.dir / "echo.cfg").read_text()
        agent = self.start_agent(name, parallel)
        agent.kill()
        (self.dir / f"{name}.echo").write_text(echo)
        conf = self.dir / f"{name}.cfg"
        conf.write_text(conf.read_text().replace("echo.cfg", f"{name}.echo"))
        equal((self.dir / "echo.cfg").read_text(), whole)
        self.agents.append(type(agent)(self.dir, name, agent.popen.args))
        self.await_ready(len(self.agents))

    def model(self, name):
        agent = next(a for a in self.list_agents() if a["id"] == name)
        return next(m for m in agent["models"] if m["name"] == "echo")

    def count(self, name):
        return self.status()["counters"][name]

    def speaker(self, job):
        """The box that has the job."""
        jobs = self.get("/api/v1/jobs")[1]["jobs"]
        return next(j["agent"] for j in jobs if j["job"] == job)

    def begin(self, tokens, seen=5, text="tell me", **more):
        """A stream of which some tokens have come: (job, the box it runs on)."""
        job = self.client.submit(question(text, tokens, **more))
        while sum(d["n"] for _, d in job.frames()) < seen:
            job.next()
        return job, self.speaker(job.frames()[0][1]["job"])

    def close(self):
        self.client.close()
        super().close()


@test
def a_poison_job_ends_and_takes_nobody_with_it():
    s = Boxes(3, "tokens=100000\ndelay_us=2000\ncrash_on=POISON\n", hub=["jobs.retry_min_ms=20", "jobs.retry_max_ms=200"])
    want = ended_well(s.client.submit(question("harmless", 200)))["text"]
    others = [s.client.submit(question("harmless", 200)) for _ in range(9)]
    poison = s.client.submit(question("this is POISON"))
    end = ended(poison, "POISON")
    equal(end["receipt"]["attempts"], 3, "engines it was given")
    for job in others:
        ended_well(job, want)
    s.await_ready(3)  # no engine is left alone for one bad job
    equal((s.count("jobs_poison"), s.count("breakers_opened")), (1, 0))
    ended_well(s.client.submit(question("harmless", 200)), want)
    s.close()


@test
def an_agent_that_fails_at_a_model_rests_and_then_tries_one():
    s = Boxes(1, "tokens=20\n", hub=["policy=round_robin", "breaker.min=1", f"breaker.open_ms={1500 * SLOW}"])
    s.add("bad", f"tokens=20\ncrash_at=3\nonce={s.dir}/once\n")
    want = None
    while s.count("breakers_opened") == 0:
        want = ended_well(s.client.submit(question()))["text"]  # whoever is hit, its client sees nothing
    shown = s.model("bad")
    check(shown.get("breaker") in ("open", "half_open"), shown)
    check(s.model("box-1").get("breaker") is None)
    if shown["breaker"] == "open":
        equal(ended_well(s.client.submit(question()), want)["receipt"]["agent"], "box-1")
    wait_until(lambda: s.model("bad").get("breaker") == "half_open", "it may try", 20 * SLOW)
    wait_until(lambda: ended_well(s.client.submit(question()), want) and s.count("breakers_closed") == 1, "a job has tried", 20)
    check(s.model("bad").get("breaker") is None)
    s.close()


@test
def another_file_writes_on_only_if_nobody_else_can_and_the_receipt_says_so():
    same, other = "tokens=100000\ndelay_us=4000\n", "# another file\ntokens=100000\ndelay_us=4000\n"
    s = Boxes(2, same, hub=["jobs.exact_wait_ms=1000"])
    s.add("other", other)
    want = ended_well(s.client.submit(question(tokens=300)))["text"]
    job, victim = s.begin(300)
    while victim == "other":  # it began where there is no equal
        ended_well(job)
        job, victim = s.begin(300)
    s.named(victim).kill()
    end = ended_well(job, want)
    equal((end["receipt"]["continuity"], end["receipt"]["agent"]), ("exact", {"box-1": "box-2", "box-2": "box-1"}[victim]))
    job, victim = s.begin(300)
    while victim == "other":
        ended_well(job)
        job, victim = s.begin(300)
    s.named(victim).kill()
    end = ended_well(job)
    equal((end["receipt"]["continuity"], end["receipt"]["agent"]), ("other_build", "other"))
    check("continuity" not in ended_well(s.client.submit(question()))["receipt"], "an undisturbed answer")
    s.agents = [s.named("other")]
    s.close()


STREAM = 600
STILL_S = 4  # longer than silences are borne, shorter than a lease
ECHO = "tokens=100000\ndelay_us=3000\n"


def thaw(pid):
    os.kill(pid, signal.SIGCONT)


@test
def an_agent_that_stood_still_is_fenced_off():
    s = Boxes(2, ECHO)
    want = ended_well(s.client.submit(question(tokens=STREAM)))["text"]
    job, victim = s.begin(STREAM)
    pid = s.named(victim).popen.pid
    os.kill(pid, signal.SIGSTOP)
    end = ended_well(job, want)
    equal((end["receipt"]["attempts"], end["receipt"]["continuity"]), (2, "exact"))
    before = sum(n for name, n in s.status()["counters"].items() if name.startswith("frames_"))
    thaw(pid)
    wait_until(lambda: sum(n for name, n in s.status()["counters"].items() if name.startswith("frames_")) > before,
               "what it still says is refused", 20)
    s.await_ready(2)
    s.await_idle()
    ended_well(s.client.submit(question(tokens=STREAM)), want)
    s.close()


@test
def an_engine_that_stood_still_is_ended_and_its_jobs_move():
    s = Boxes(2, ECHO)
    want = ended_well(s.client.submit(question(tokens=STREAM)))["text"]
    job, victim = s.begin(STREAM)
    agent = s.named(victim)
    os.kill(children(agent.popen.pid)[0], signal.SIGSTOP)
    ended_well(job, want)
    check(agent.popen.poll() is None, "the agent lives")
    s.await_ready(2)
    s.close()


class CalmBoxes(Boxes):
    heartbeat = "idle_ms = 5000; busy_ms = 2000;"


@test
def a_hub_or_broker_that_stood_still_costs_nothing():
    s = CalmBoxes(2, ECHO)
    want = ended_well(s.client.submit(question(tokens=STREAM)))["text"]
    for pid in (s.hub.popen.pid, s.broker.process.pid):
        jobs = [s.begin(STREAM)[0] for _ in range(2)]
        lost = s.count("agents_lost")
        os.kill(pid, signal.SIGSTOP)
        time.sleep(STILL_S)  # the fault itself, not a wait for something
        thaw(pid)
        for job in jobs:
            equal(ended_well(job, want)["receipt"]["attempts"], 1, "attempts")
        equal(s.count("agents_lost"), lost, "agents taken for dead")
    s.close()


@test
def a_broker_that_is_killed_loses_no_job():
    s = Boxes(2, ECHO)
    want = ended_well(s.client.submit(question(tokens=STREAM)))["text"]
    jobs = [s.begin(STREAM)[0] for _ in range(2)]
    s.broker.kill()
    s.start_broker()
    s.await_ready(2)
    for job in jobs:
        equal(job.frames()[0][1]["index"], 0)
    s.await_idle(60)
    equal((s.count("jobs_failed"), s.count("jobs_done")), (0, 3))
    ended_well(Client(s.mqtt_port).submit(question(tokens=STREAM)), want)
    s.close()


@test
def two_boxes_with_one_id_get_no_work_until_one_is_gone():
    s = Boxes(2, "tokens=20\n")
    conf = s.dir / "clone.cfg"
    conf.write_text((s.dir / "box-1.cfg").read_text().replace(f'"{s.dir}/box-1"', f'"{s.dir}/clone"'))
    process = type(s.hub)
    clone = process(s.dir, "clone", [BIN / "shoal-agent", "--config", conf])
    wait_until(lambda: {a["id"]: a["state"] for a in s.list_agents()}["box-1"] == "quarantined", "the clone is noticed", 10 * SLOW)
    check("CLONE" in s.hub.text(), "and told")
    for _ in range(6):
        equal(ended_well(s.client.submit(question()))["receipt"]["agent"], "box-2")
    for agent in (clone, s.agents[0]):
        agent.kill()
    s.agents[0] = process(s.dir, "box-1", s.agents[0].popen.args)
    s.await_ready(2)
    s.close()


if __name__ == "__main__":
    main()
