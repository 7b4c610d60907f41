#!/usr/bin/python3
"""`shoal doctor` on real refusals: each code that can be provoked here is, and explained; so is each reason."""
import json
import signal

from hubtest import Process, Stack
from shoaltest.cluster import BIN, SOURCE, run_shoal
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, note, test
from shoaltest.wait import wait_until

MODELS = {  # settings of the echo engine
    "echo": "tokens=20\n",
    "slow": "tokens=4000\ndelay_us=20000\n",
    "slow-too": "tokens=4000\ndelay_us=20000\n",
    "still": "tokens=40\ndelay_us=3000000\n",
    "small": "n_ctx=64\n",
    "dies": "tokens=20\ncrash_at=3\n",
    "hangs": "tokens=20\nhang_at=3\n",
    "broken": "fail_load=1\n",
}


class Ward(Stack):
    """A hub that gives up after one attempt, and one box with all kinds of models."""

    def __init__(self):
        super().__init__(agents=0, hub=("jobs.attempts_max=1", "jobs.no_agent_wait_ms=300", "jobs.queue_max=1", "jobs.stall_ms=700",
                                        "fleet.will_grace_ms=50", "jobs.retry_min_ms=10", "fair.max_live=2"))
        self.agents = [self.start_ward("box-1")]
        wait_until(lambda: self.is_settled(), "the models are loaded, but one", 30)

    def start_ward(self, name):
        rows = []
        for model, settings in MODELS.items():
            path = self.dir / f"{model}.cfg"
            path.write_text(settings)
            rows.append(f'{{ name = "{model}"; file = "{path}"; parallel = 1; }}')
        conf = self.dir / f"{name}.cfg"
        conf.write_text(f'id = "{name}";\nstate_dir = "{self.dir}/{name}";\nbroker = {{ host = "127.0.0.1"; port = {self.mqtt_port}; }};\n'
                        f'engine = {{ path = "{BIN}/shoal-engine-echo"; backoff_min_ms = 50; backoff_max_ms = 200; }};\nbenchmark = false;\n'
                        f'heartbeat = {{ idle_ms = 500; busy_ms = 200; }};\nmodels = ( {", ".join(rows)} );\n')
        return Process(self.dir, name, [BIN / "shoal-agent", "--config", conf])

    def is_settled(self):
        box = next((a for a in self.list_agents() if a["id"] == "box-1"), None)
        states = {m["name"]: m["state"] for m in box["models"]} if box and box["state"] == "online" else {}
        return len(states) == len(MODELS) and all(s == "ready" for m, s in states.items() if m != "broken")


stack = Ward()
client = Client(stack.mqtt_port)
provoked = set()


def shoal(*args, **how):
    return run_shoal(args[0], "--http", f"http://127.0.0.1:{stack.port}", *args[1:], **how)


def advice(word):
    """(what it means, what to do) of a code or a reason; needs no hub."""
    done = run_shoal("doctor", word)
    equal(done.returncode, 0, f"exit status of doctor {word}: {done.stderr}")
    head, means, *mend = done.stdout.splitlines()
    check(head.startswith(word + ":"), head)
    return means, mend[0].removeprefix("What to do: ") if mend else ""


def told(code, said):
    """A refusal's line on stderr names its code; that is what doctor explains."""
    check(f"({code})" in said, f"{said!r} does not name {code}")
    means, mend = advice(code)
    check(len(means) > 20 and len(mend) > 5, f"{code}: {means!r}, {mend!r}")
    provoked.add(code)


def failed(code, **request):
    """A job that ends so: doctor tells of it by its id, in the same words."""
    answer = client.submit({"prompt": "hello", **request}).end(60)
    equal((answer["type"], answer.get("code")), ("error", code), f"the end of {request}: {answer}")
    explained(answer["job"], code, request["model"])


def explained(job, code, model):
    done = shoal("doctor", job)
    equal(done.returncode, 1, done.stdout)
    means, mend = advice(code)
    for words in (f"[{code}]", means, mend.replace("MODEL", model)):
        check(words in done.stdout, f"{words!r} is not in {done.stdout!r}")
    provoked.add(code)


# ---- what `shoal run` and others are told ----

@test
def refusals_of_requests():
    told("BAD_REQUEST", shoal("run", "-m", "echo", "--temperature", "1000", "hi").stderr)
    told("MODEL_UNKNOWN", shoal("run", "-m", "nonesuch", "hi").stderr)
    told("NOT_FOUND", shoal("job", "nonesuch").stderr)
    turns = [{"role": "user", "content": "x" * 200000}] * 2
    told("TOO_LARGE", f'({client.submit({"model": "echo", "messages": turns}).end()["code"]})')
    told("CONFLICT", shoal("forget", "box-1").stderr)


@test
def refusals_of_users():
    ward = Client(stack.mqtt_port)
    got = []
    ward.subscribe(ward.topic("r"), lambda m: got.append(m.document()))
    ward.publish(ward.topic("admin"), json.dumps({"verb": "drain", "agent": "box-1"}), ResponseTopic=ward.topic("r"))
    wait_until(lambda: got, "an answer")
    ward.close()
    told("FORBIDDEN", f'({got[0]["code"]})')


@test
def refusals_of_a_full_queue():
    jobs = [client.submit({"model": "slow", "prompt": "a", "stream": True})]
    wait_until(lambda: stack.status()["running"] == 1, "one runs")
    jobs.append(client.submit({"model": "slow", "prompt": "a", "stream": True}))
    wait_until(lambda: stack.status()["queued"] == 1 and stack.status()["running"] == 1, "one runs, one waits")
    told("QUEUE_FULL", shoal("run", "-m", "slow", "hi").stderr)
    waiting = next(j["job"] for j in stack.get("/api/v1/jobs?state=queued")[1]["jobs"])
    done = shoal("doctor", waiting)
    equal(done.returncode, 1, done.stdout)
    check("[model_full]" in done.stdout and advice("model_full")[0] in done.stdout, done.stdout)
    for j in stack.get("/api/v1/jobs")[1]["jobs"]:
        shoal("cancel", j["job"])
    for j in jobs:
        equal(j.end()["finish_reason"], "cancelled")
        explained(j.seen[-1][1]["job"], "CANCELLED", "slow")
    stack.await_idle()


@test
def jobs_that_end_otherwise_than_well():
    failed("DEADLINE_EXCEEDED", model="slow", deadline_ms=300)
    failed("CONTEXT_FULL", model="small", prompt="many words " * 100)
    failed("MODEL_NOT_LOADED", model="echo", prompt=None, input="a text")
    failed("BATCH_TIMEOUT", model="hangs")
    failed("ENGINE_CRASHED", model="dies")


@test
def refusals_of_a_user_who_has_too_many():
    jobs = []
    for model in ("slow", "slow-too"):
        jobs.append(client.submit({"model": model, "prompt": "a", "stream": True}))
        wait_until(lambda: stack.status()["running"] == len(jobs), f"{len(jobs)} run")
    told("RATE_LIMITED", f'({client.submit({"model": "echo", "prompt": "a"}).end()["code"]})')
    for j in stack.get("/api/v1/jobs")[1]["jobs"]:
        shoal("cancel", j["job"])
    for j in jobs:
        j.end()
    wait_until(lambda: stack.status()["running"] + stack.status()["queued"] == 0, "all have ended")


@test
def a_model_that_cannot_be_loaded():
    job = client.submit({"model": "broken", "prompt": "x"}).end()
    equal(job["code"], "NO_AGENT", f"{job}")
    explained(job["job"], "NO_AGENT", "broken")
    done = shoal("doctor", "--model", "broken")
    equal(done.returncode, 1)
    check("[model_failed]" in done.stdout or "[model_quarantined]" in done.stdout, done.stdout)
    check("shoal load box-1 broken" in done.stdout, done.stdout)
    check("broken" in shoal("doctor").stdout, "the general check does not tell")


@test
def an_agent_that_goes():
    job = client.submit({"model": "still", "prompt": "x"})
    wait_until(lambda: any(j["state"] == "running" for j in stack.get("/api/v1/jobs")[1]["jobs"]), "it runs")
    stack.agents[0].popen.send_signal(signal.SIGKILL)
    stack.agents[0].popen.wait()
    answer = job.end()
    equal(answer.get("code"), "AGENT_LOST", f"{answer}")
    explained(answer["job"], "AGENT_LOST", "still")
    done = shoal("doctor", "box-1")
    equal(done.returncode, 1)
    check("[offline]" in done.stdout and "systemctl" in done.stdout, done.stdout)
    told("NO_AGENT", shoal("run", "-m", "echo", "hi").stderr)


@test
def what_an_operator_did_is_the_reason_then():
    stack.agents[0] = stack.start_ward("box-1")
    wait_until(stack.is_settled, "it is back", 30)
    for verb, end, reason in ((["drain"], ["resume"], "draining"), (["quarantine"], ["release"], "isolated"), (["weight", "0"], ["weight", "100"], "weight_zero")):
        shoal(verb[0], "box-1", *verb[1:])
        done = shoal("doctor", "--model", "echo")
        equal(done.returncode, 1, done.stdout)
        check(f"[{reason}]" in done.stdout and advice(reason)[1].replace("AGENT", "box-1") in done.stdout, done.stdout)
        shoal(end[0], "box-1", *end[1:])
        wait_until(lambda: shoal("doctor", "--model", "echo").returncode == 0, f"it is chosen again after {end}")


@test
def a_hub_without_a_broker_and_no_hub():
    stack.broker.kill()
    wait_until(lambda: not stack.status()["link"]["up"], "the hub notices")
    done = shoal("doctor")
    equal(done.returncode, 1)
    check("broker" in done.stdout and "mosquitto" in done.stdout, done.stdout)
    stack.start_broker()
    wait_until(lambda: stack.status()["link"]["up"], "the hub is back", 40)
    done = run_shoal("doctor", "--http", "http://127.0.0.1:1")
    equal((done.returncode, "no answer" in done.stdout), (1, True), done.stdout)


@test
def every_code_there_is_can_be_asked_about():
    table = (SOURCE / "docs/PROTOCOL.md").read_text().split("## Error codes")[1].split("\n## ")[0]
    codes = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    check(len(codes) > 25, codes)
    for code in codes:
        means, mend = advice(code)
        check(len(means) > 20 and len(mend) > 5, f"{code}: {means!r}, {mend!r}")
    note(f"provoked: {', '.join(sorted(provoked))}")
    note(f"explained, not provoked here: {', '.join(sorted(set(codes) - provoked))}")


main(after=[client.close, stack.close])
