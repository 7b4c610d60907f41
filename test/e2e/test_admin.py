#!/usr/bin/python3
"""Operators: what they ask over the command line, HTTP and MQTT, and what becomes of agents and jobs."""
import json
import signal
import subprocess

from hubtest import Stack, request
from shoaltest.cluster import BIN, run_shoal
from shoaltest.mqtt import PREFIX, Client
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

TOKENS = 200
STACK = ("admin.users=ops", "fleet.will_grace_ms=50", "jobs.no_agent_wait_ms=60000")
stack = Stack(agents=2, parallel=2, echo=f"tokens={TOKENS}\ndelay_us=10000\n", hub=STACK)
client = Client(stack.mqtt_port)
LONG = {"model": "echo", "prompt": "go on", "stream": True, "max_tokens": TOKENS}


def shoal(*args, status=0):
    done = run_shoal(args[0], "--http", f"http://127.0.0.1:{stack.port}", *args[1:])
    equal(done.returncode, status, f"exit status of {args}: {done.stdout}{done.stderr}")
    return done.stdout if status == 0 else done.stdout + done.stderr


def agent(name):
    return next((a for a in stack.list_agents() if a["id"] == name), None)


def state(name):
    return agent(name)["state"]


def jobs(**query):
    text = "&".join(f"{k}={v}" for k, v in query.items())
    return stack.get("/api/v1/jobs?" + text)[1]


def started():
    """A job in mid-stream: (its handle, its id, its agent)."""
    job = client.submit(LONG)
    while not job.frames():
        job.next()
    name = job.frames()[0][1]["job"]
    return job, name, next(j["agent"] for j in jobs()["jobs"] if j["job"] == name)


def other(name):
    return "box-2" if name == "box-1" else "box-1"


def short():
    answer = client.submit({"model": "echo", "prompt": "x", "max_tokens": 2}).end()
    equal(answer["type"], "done", f"{answer}")
    return answer["receipt"]["agent"]


# ---- drain and resume ----

@test
def a_drained_agent_finishes_its_stream_and_the_next_go_elsewhere():
    job, name, box = started()
    check("drains" in shoal("drain", "--reason", "new disk", box), "no word of it")
    equal(state(box), "draining")
    for _ in range(3):
        equal(short(), other(box), "who answers now")
    done = job.end()
    equal((done["type"], done["receipt"]["agent"], done["receipt"]["attempts"]), ("done", box, 1), "the stream over a drain")
    text = "".join(d["text"] for _, d in job.frames())
    equal(text, done["text"], "frames")
    wait_until(lambda: "drained on request" in (stack.dir / f"{box}.log").read_text() or agent(box)["drained"], "the agent was told")
    check("new disk" in shoal("agents", box) and "new disk" in shoal("doctor", box, status=1), "the reason is not shown")
    shoal("resume", box)
    wait_until(lambda: state(box) == "online", "it takes work again")
    shoal("resume", box)  # twice is as once
    shoal("drain", other(box))
    equal(short(), box, "who answers now")
    shoal("resume", other(box))
    wait_until(lambda: state(other(box)) == "online", "both are back")


@test
def a_drain_outlives_hub_and_agent():
    shoal("drain", "box-1")
    shoal("weight", "box-2", "40")
    answer = client.submit({"model": "echo", "prompt": "x", "max_tokens": 2}).end()
    stack.hub.kill()
    stack.start_hub(STACK)
    wait_until(lambda: agent("box-1") and state("box-1") == "draining" and agent("box-2") and state("box-2") == "online",
               "the hub knows again", 30)
    equal(agent("box-2")["weight"], 40)
    story = stack.get(f"/api/v1/jobs/{answer['job']}")[1]
    equal((story["job"]["state"], story["job"]["agent"], story["receipt"]["agent"]), ("done", "box-2", "box-2"), "a job of the last run")
    check("box-2: chosen" in shoal("job", answer["job"]) and "box-1: draining" in shoal("job", answer["job"]), shoal("job", answer["job"]))
    equal(stack.agents[0].stop(), 0)
    wait_until(lambda: agent("box-1")["seen_ms"] > 0 and state("box-1") == "offline", "it is offline")
    stack.agents[0] = stack.start_agent("box-1", 2)
    wait_until(lambda: state("box-1") == "draining", "its next life is told, too")
    shoal("resume", "box-1")
    wait_until(lambda: state("box-1") == "online", "it takes work again")
    shoal("weight", "box-2", "100")
    stack.await_ready(2)


# ---- weight, quarantine, cancel, forget ----

@test
def weight_0_gets_nothing():
    check("no new jobs" in shoal("weight", "box-1", "0"), "no word of it")
    for _ in range(3):
        equal(short(), "box-2", "who answers")
    check("weight_zero" in shoal("doctor", "--model", "echo"), "doctor does not tell")
    shoal("weight", "box-1", "101", status=2)
    shoal("weight", "box-1", "100")


@test
def a_quarantine_moves_the_stream_in_the_middle():
    job, name, box = started()
    shoal("quarantine", "--reason", "smells", box)
    done = job.end()
    equal((done["type"], done["receipt"]["agent"]), ("done", other(box)), f"{done}")
    equal("".join(d["text"] for _, d in job.frames()), done["text"], "frames")
    equal(state(box), "quarantined")
    wait_until(lambda: agent(box)["running"] == 0, "it has stopped computing")
    check("smells" in shoal("doctor", box, status=1), "doctor does not tell why")
    shoal("release", box)
    equal(state(box), "online")


@test
def a_cancel_frees_the_slot_at_once():
    job, name, box = started()
    check(name in shoal("jobs") and name in shoal("jobs", "--agent", box, "--model", "echo"), "it is not listed")
    check("running" in shoal("job", name) and "chosen" in shoal("job", name), shoal("job", name))
    check("it is with " + box in shoal("doctor", name), "doctor")
    check("cancelled" in shoal("cancel", name), "no word of it")
    tokens = job.end()
    equal((tokens["type"], tokens["finish_reason"]), ("done", "cancelled"), f"{tokens}")
    wait_until(lambda: agent(box)["running"] == 0, "the slot is free")
    story = stack.get(f"/api/v1/jobs/{name}")[1]["job"]
    equal((story["state"], story["code"]), ("cancelled", "CANCELLED"))
    check(story["tokens"] < TOKENS, "it ran to its end")
    shoal("cancel", name)  # twice is as once
    check("CANCELLED" in shoal("doctor", name, status=1), "doctor")
    check(name in shoal("jobs", "--state", "cancelled") and name not in shoal("jobs"), "its state")
    check("never submitted" in shoal("cancel", "nonesuch", status=66), "a job that is none")


@test
def only_an_offline_agent_is_forgotten():
    stack.agents.append(stack.start_agent("box-3", 1))
    stack.await_ready(3)
    check("online" in shoal("forget", "box-3", status=2), "an agent that is there was forgotten")
    equal(stack.agents.pop().stop(), 0)
    wait_until(lambda: state("box-3") == "offline", "it is offline")
    check("shoal-agent" in shoal("doctor", status=1), "doctor says nothing of it")
    shoal("forget", "box-3")
    equal(agent("box-3"), None)
    shoal("forget", "box-3", status=66)
    retained = []
    watcher = Client(stack.mqtt_port)
    watcher.subscribe(f"{PREFIX}/agents/+/registration", lambda m: retained.append(m.topic.split("/")[-2]))
    wait_until(lambda: {"box-1", "box-2"} <= set(retained), "what is retained")
    check("box-3" not in retained, "its registration is still at the broker")
    watcher.close()


# ---- over MQTT and HTTP ----

def ask_mqtt(user, **request_):
    c = Client(stack.mqtt_port, user=user)
    got = []
    reply = c.topic("r")
    c.subscribe(reply, lambda m: got.append(m))
    c.publish(c.topic("admin"), json.dumps(request_), ResponseTopic=reply, CorrelationData=b"7")
    wait_until(lambda: got, "an answer")
    c.close()
    equal(got[0].correlation, b"7", "correlation")
    return got[0].document()


@test
def over_mqtt_only_those_named_may():
    equal(ask_mqtt("eve", verb="drain", agent="box-1")["code"], "FORBIDDEN")
    equal(state("box-1"), "online")
    equal(ask_mqtt("ops", verb="drain", agent="box-1")["type"], "done")
    equal(state("box-1"), "draining")
    equal(ask_mqtt("ops", verb="resume", agent="box-1")["type"], "done")
    wait_until(lambda: state("box-1") == "online", "it takes work again")
    equal(ask_mqtt("ops", verb="drain", agent="nobody")["code"], "NOT_FOUND")
    equal(ask_mqtt("ops", verb="drain")["code"], "BAD_REQUEST")
    asked = stack.get("/api/v1/admin")[1]["asked"]
    equal((asked[0]["user"], asked[0]["verb"], asked[0]["target"], asked[0]["code"]), ("ops", "drain", "nobody", "NOT_FOUND"))


@test
def posts_of_other_sites_and_other_verbs_are_refused():
    path = "/api/v1/agents/box-1/drain"
    equal(request(stack.port, "POST", path, b"", headers=["Origin: http://evil.example"])[0], 403)
    equal(request(stack.port, "POST", path, b"", host="evil.example")[0], 403)
    equal(request(stack.port, "POST", "/api/v1/agents/box-1/explode", b"")[0], 404)
    status, head, _ = request(stack.port, "GET", path)
    equal((status, head["allow"]), (405, "POST"))
    equal(request(stack.port, "POST", "/api/v1/agents/box-1/weight", {"value": "x"})[0], 400)
    equal(state("box-1"), "online")


@test
def lists_come_in_pages():
    for _ in range(5):
        short()
    seen, cursor = [], ""
    for _ in range(100):
        doc = jobs(state="ended", limit=2, **({"cursor": cursor} if cursor else {}))
        check(len(doc["jobs"]) <= 2, doc)
        seen += [j["job"] for j in doc["jobs"]]
        cursor = doc.get("next")
        if not cursor:
            break
    equal(len(seen), len(set(seen)), "jobs, each once")
    equal(seen, [j["job"] for j in jobs(state="ended")["jobs"]], "page by page and at once")
    equal(stack.get("/api/v1/jobs?cursor=x")[0], 400)
    equal(stack.get("/api/v1/jobs?stat=live")[0], 400)
    doc = stack.get("/api/v1/agents?limit=1")[1]
    equal(([a["id"] for a in doc["agents"]], doc["total"], doc["next"]), (["box-1"], 2, "box-1"))
    doc = stack.get("/api/v1/agents?limit=1&cursor=box-1")[1]
    equal(([a["id"] for a in doc["agents"]], doc.get("next")), (["box-2"], None))
    equal(stack.get("/api/v1/agents/box-2")[1]["agents"][0]["id"], "box-2")
    equal(stack.get("/api/v1/agents/nobody")[0], 404)


@test
def agents_come_in_pages_of_any_size():
    late = Client(stack.mqtt_port)
    for name in [f"x-{k}" for k in (7, 3, 9, 1, 8, 2, 6, 4, 5, 0)]:  # only a will is heard of them
        late.publish(f"{PREFIX}/agents/{name}/status", bytes([0xA3, 1, 1, 2, 1, 3, 0]))
    wait_until(lambda: stack.get("/api/v1/agents?limit=1")[1]["total"] == 12, "all are known")
    want = ["box-1", "box-2"] + [f"x-{k}" for k in range(10)]
    for limit in (1, 3, 5, 12, 1000):
        seen, cursor = [], ""
        while True:
            doc = stack.get(f"/api/v1/agents?limit={limit}&cursor={cursor}")[1]
            seen += [a["id"] for a in doc["agents"]]
            cursor = doc.get("next")
            if not cursor:
                break
        equal(seen, want, f"agents, {limit} at a time")
    late.close()
    for name in want[2:]:
        shoal("forget", name)


@test
def jobs_can_be_watched_and_sessions_listed():
    client.submit({"model": "echo", "prompt": "x", "max_tokens": 2, "session": "talk-1"}).end()
    check("talk-1" in shoal("sessions"), shoal("sessions"))
    watch = subprocess.Popen([BIN / "shoal", "jobs", "--watch", "--http", f"http://127.0.0.1:{stack.port}"], stdout=subprocess.PIPE, text=True)
    equal([watch.stdout.readline() for _ in range(2)], ["no jobs\n"] * 2)
    watch.send_signal(signal.SIGINT)
    equal(watch.wait(10), 130, "exit status")
    watch.stdout.close()


@test
def each_command_has_a_document():
    for words in (["jobs", "--state", "all"], ["agents"], ["agents", "box-1"], ["sessions"], ["doctor"], ["drain", "box-1"], ["resume", "box-1"]):
        json.loads(shoal(*words, "--json"))
    wait_until(lambda: state("box-1") == "online", "it takes work again")
    name = jobs(state="done", limit=1)["jobs"][0]["job"]
    equal(json.loads(shoal("job", "--json", name))["job"]["job"], name)
    equal(json.loads(shoal("doctor", "--json"))["healthy"], True)


@test
def doctor_finds_nothing_wrong_in_what_is_well():
    check("nothing is wrong" in shoal("doctor"), "something is")
    check("2 of 2 agents can take a job now" in shoal("doctor", "--model", "echo"), shoal("doctor", "--model", "echo"))
    check("label_missing" in shoal("doctor", "--model", "echo", "--label", "zone=a", status=1), "a label that none has")
    check("MODEL_UNKNOWN" in shoal("doctor", "--model", "nonesuch", status=66), "a model that none has")
    shoal("doctor", "nonesuch", status=66)


main(after=[client.close, stack.close])
