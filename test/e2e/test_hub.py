#!/usr/bin/python3
"""The hub's life: starting, stopping, losing its broker; clients over MQTT with stock tools."""
import json
import os
import shutil
import signal
import subprocess
import tempfile

from hubtest import BIN, Reader, Stack, connect, events, raw, request
from shoaltest import cbor
from shoaltest.cluster import children, run_shoal
from shoaltest.mqtt import PREFIX, Client
from shoaltest.suite import Skip, check, equal, main, note, test
from shoaltest.wait import wait_until

stack = Stack(echo="tokens=12\ndelay_us=300\nn_ctx=200000\n")
client = Client(stack.mqtt_port, user="alice")
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}
LONG = dict(CHAT, max_tokens=60000, ignore_eos=True)


def hub(*sets):
    """A second hub that is expected to end by itself: (status, what it said)."""
    args = [BIN / "shoal-hub"]
    for s in sets:
        args += ["--set", s]
    done = subprocess.run(args, capture_output=True, text=True, timeout=20)
    return done.returncode, done.stderr


class Inbox:
    def __init__(self, topic, by=None):
        self.got = []
        (by or client).subscribe(topic, self.got.append)

    def next(self, n=1):
        wait_until(lambda: len(self.got) >= n, f"{n} messages")
        return self.got[n - 1]


# ---- MQTT clients ----


@test
def mosquitto_rr_alone_can_use_the_system():
    rr = shutil.which("mosquitto_rr")
    if not rr:
        raise Skip("mosquitto_rr is not installed")
    done = subprocess.run([rr, "-p", str(stack.mqtt_port), "-V", "5", "-W", "20", "-t", f"{PREFIX}/clients/bob/jobs", "-e",
                           f"{PREFIX}/clients/bob/r", "-m", json.dumps(CHAT)], capture_output=True, text=True, timeout=30)
    equal(done.returncode, 0, done.stderr)
    answer = json.loads(done.stdout)
    equal((answer["type"], answer["finish_reason"], answer["usage"]["completion_tokens"]), ("done", "stop", 12))
    http = json.loads(request(stack.port, "POST", "/v1/chat/completions", CHAT)[2])
    equal(answer["text"], http["choices"][0]["message"]["content"], "the same by both ways")


@test
def an_answer_has_the_format_and_the_correlation_of_the_question():
    inbox = Inbox(f"{PREFIX}/clients/alice/answers")
    for n, (payload, kind) in enumerate([(json.dumps(CHAT).encode(), "application/json"), (cbor.dumps(CHAT), "application/cbor")], 1):
        client.publish(f"{PREFIX}/clients/alice/jobs", payload, ResponseTopic=f"{PREFIX}/clients/alice/answers", CorrelationData=b"\x00c%d" % n)
        m = inbox.next(n)
        equal((m.content_type, m.correlation), (kind, b"\x00c%d" % n))
        equal(m.document()["type"], "done")


@test
def without_a_response_topic_the_payload_or_the_job_names_it():
    inbox = Inbox(f"{PREFIX}/clients/alice/#")
    client.publish(f"{PREFIX}/clients/alice/jobs", json.dumps(dict(CHAT, reply_to=f"{PREFIX}/clients/alice/old", correlation="k")).encode())
    m = wait_until(lambda: next((m for m in inbox.got if m.topic.endswith("/old")), None), "the answer")
    equal(m.document()["correlation"], "k")
    client.publish(f"{PREFIX}/clients/alice/jobs", json.dumps(dict(CHAT, stream=True)).encode())
    wait_until(lambda: any("/jobs/" in m.topic and m.document()["type"] == "done" for m in inbox.got), "the job's end")
    stream = [m for m in inbox.got if "/jobs/" in m.topic]
    docs = [m.document() for m in stream]
    equal({m.topic for m in stream}, {f"{PREFIX}/clients/alice/jobs/{docs[0]['job']}"})
    equal([docs[0]["type"], docs[-1]["type"]], ["accepted", "done"])
    tokens = [d for d in docs if d["type"] == "tokens"]
    equal("".join(d["text"] for d in tokens), docs[-1]["text"])
    client.unsubscribe(f"{PREFIX}/clients/alice/#")


@test
def a_foreign_response_topic_is_refused_and_gets_nothing():
    rejected, foreign = Inbox(f"{PREFIX}/clients/alice/jobs/rejected"), Inbox(f"{PREFIX}/clients/bob/loot")
    client.publish(f"{PREFIX}/clients/alice/jobs", json.dumps(CHAT).encode(), ResponseTopic=f"{PREFIX}/clients/bob/loot")
    equal(rejected.next().document()["code"], "FORBIDDEN")
    client.publish(f"{PREFIX}/clients/alice/jobs", b"{")
    equal(rejected.next(2).document()["code"], "BAD_REQUEST")
    client.publish(f"{PREFIX}/clients/alice/jobs", b"\xff")
    equal(cbor.loads(rejected.next(3).payload)["code"], "BAD_REQUEST")
    equal(foreign.got, [])


@test
def a_client_cancels_its_job_and_a_job_that_wishes_so_ends_with_its_client():
    inbox = Inbox(f"{PREFIX}/clients/alice/long")
    for n, end in enumerate([("cancel", {"id": "mine-0"}), ("presence", {"state": "offline"})]):
        before = len(inbox.got)
        document = dict(LONG, id=f"mine-{n}", cancel_on_disconnect=True)
        client.publish(f"{PREFIX}/clients/alice/jobs", json.dumps(document).encode(), ResponseTopic=f"{PREFIX}/clients/alice/long")
        wait_until(lambda: stack.running() > 0, "it runs")
        client.publish(f"{PREFIX}/clients/alice/{end[0]}", json.dumps(end[1]).encode())
        if end[0] == "cancel":
            answer = inbox.next(before + 1).document()
            equal((answer["type"], answer["finish_reason"]), ("done", "cancelled"))
        stack.await_idle()


@test
def a_retained_job_is_run_by_nobody():
    before = stack.status()["counters"]["jobs_submitted"]
    client.publish(f"{PREFIX}/clients/alice/jobs", json.dumps(CHAT).encode(), retain=True)
    wait_until(lambda: stack.status()["counters"]["jobs_submitted"] == before + 1, "it is run once, when it comes")
    stack.hub.stop()
    stack.start_hub()
    stack.await_ready(1)
    equal(stack.status()["counters"]["jobs_submitted"], 0)
    client.publish(f"{PREFIX}/clients/alice/jobs", b"", retain=True)


# ---- the page ----


def rendered(url):
    """The page's elements after a few seconds of its script, as a browser has them."""
    browser = shutil.which("chromium")
    if not browser:
        raise Skip("chromium is not installed")
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}", "--virtual-time-budget=4000"]
        done = subprocess.run([browser, *flags, "--dump-dom", url], capture_output=True, text=True, timeout=60)
    return done.stdout


@test
def the_page_shows_what_agents_say_as_text_only():
    evil = "<img src=x onerror=document.title='owned'>"
    registration = {1: 1, 2: "evil", 3: 1, 4: 1, 5: 1, 6: 1, 7: evil, 10: 1, 15: [{1: evil[:60], 4: 4, 8: evil}]}
    client.publish(f"{PREFIX}/agents/evil/registration", cbor.dumps(registration))
    client.publish(f"{PREFIX}/agents/evil/status", cbor.dumps({1: 1, 2: 1, 3: 0, 4: evil}))
    wait_until(lambda: "evil" in [a["id"] for a in stack.list_agents()], "the agent is known")
    page = rendered(f"http://127.0.0.1:{stack.port}/")
    check('data-key="box-1"' in page and 'data-key="evil"' in page, page[-3000:])
    check("&lt;img src=x" in page and "<img src=x" not in page and "<title>shoal</title>" in page, page[-3000:])
    check('data-state="up"' in page and "No agent has announced itself" in page, page[:3000])


# ---- a model in quarantine ----


def ask_to_load(agent, body, method="POST"):
    status, _, answer = request(stack.port, method, f"/api/v1/agents/{agent}/load", body)
    return status, json.loads(answer)


def box_1():
    return next(a for a in stack.list_agents() if a["id"] == "box-1")


@test
def a_quarantine_is_shown_with_its_reason_and_lifted_by_hand():
    agent = stack.agents[0].popen.pid
    for _ in range(3):
        engine = wait_until(lambda: box_1()["models"][0]["state"] == "ready" and children(agent), "the engine runs")[0]
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: engine not in children(agent) and box_1()["models"][0]["state"] != "ready", "it is gone")
    model = wait_until(lambda: box_1()["models"][0]["state"] == "quarantined" and box_1()["models"][0], "quarantined")
    check("died 3 times" in model["reason"], model)
    url = f"http://127.0.0.1:{stack.port}"
    shown = run_shoal("agents", "--http", url).stdout
    check("echo (quarantined)" in shown and "died 3 times" in shown, shown)
    page = rendered(url) if shutil.which("chromium") else "died 3 times"
    check("died 3 times" in page, page[-3000:])
    told = run_shoal("load", "--http", url, "box-1", "echo")
    equal((told.returncode, told.stdout.split(";")[0]), (0, "box-1 loads echo"), told.stderr)
    wait_until(lambda: box_1()["models"][0]["state"] == "ready", "it is loaded")
    equal(request(stack.port, "POST", "/v1/chat/completions", CHAT)[0], 200)


@test
def a_load_that_reaches_nobody_is_refused_in_a_sentence():
    equal(ask_to_load("box-1", {"model": "echo"}), (202, {"agent": "box-1", "model": "echo"}))
    for agent, body, status, code in [("nobody", {"model": "echo"}, 404, "not_found"), ("box-1", {"model": "x"}, 404, "model_not_found"),
                                      ("box-1", {}, 400, "bad_request"), ("box-1", b"{", 400, "bad_request")]:
        got, answer = ask_to_load(agent, body)
        equal((got, answer["error"]["code"]), (status, code), f"{agent} {body}")
    equal(ask_to_load("box-1", b"", method="GET")[0], 405)
    refused = run_shoal("load", "--http", f"http://127.0.0.1:{stack.port}", "nobody", "echo")
    equal(refused.returncode, 66, refused.stderr)
    check("no such agent" in refused.stderr, refused.stderr)


# ---- the hub and its broker ----


@test
def without_its_broker_the_hub_says_so_and_comes_back():
    with connect(stack.port) as s:
        s.sendall(raw("POST", "/v1/chat/completions", dict(LONG, stream=True)))
        reader = Reader(s)
        equal(reader.head()[0], 200)
        next(reader.chunks())
        stack.broker.kill()
        wait_until(lambda: stack.get("/healthz")[0] == 503, "the hub notices")
        equal(stack.status()["link"]["up"], False)
        status, head, body = request(stack.port, "POST", "/v1/chat/completions", CHAT)
        equal((status, head["x-should-retry"], json.loads(body)["error"]["code"]), (503, "true", "no_agent"))
        check(int(head["retry-after"]) >= 1, head)
        stack.start_broker()
        wait_until(lambda: stack.get("/readyz")[0] == 200, "the hub is back", 40)
    equal(wait_until(lambda: request(stack.port, "POST", "/v1/chat/completions", CHAT)[0] == 200, "it works again", 40), True)
    stack.await_idle(40)


# ---- starting and stopping ----


@test
def what_keeps_a_hub_from_starting_is_one_sentence():
    common = [f"broker.port={stack.mqtt_port}", "http.port=0"]
    code, said = hub(f"state_dir={stack.dir}/hub", *common)
    check(code == 69 and "another process uses this state_dir" in said and len(said.splitlines()) == 1, said)
    code, said = hub(f"state_dir={stack.dir}/hub2", common[0], f"http.port={stack.port}")
    check(code == 69 and "taken by another program" in said and len(said.splitlines()) == 1, said)
    code, said = hub(f"state_dir={stack.dir}/hub2", common[0], "http.port=0", "http.address=nowhere")
    check(code == 69 and "http.address" in said, said)
    code, said = hub("no.such=option")
    check(code == 78 and "no.such" in said, said)
    code, said = hub("fleet.lease_lost=2")
    check(code == 78 and "lease_suspect" in said, said)


@test
def the_configuration_can_be_shown_and_checked():
    shown = subprocess.run([BIN / "shoal-hub", "--set", "http.port=1234", "--print-config"], capture_output=True, text=True, timeout=20)
    check(shown.returncode == 0 and "1234" in shown.stdout, shown)
    conf = stack.dir / "shown.cfg"
    conf.write_text(shown.stdout)
    checked = subprocess.run([BIN / "shoal-hub", "--config", conf, "--check-config"], capture_output=True, text=True, timeout=20)
    equal(checked.returncode, 0, checked.stderr)
    again = subprocess.run([BIN / "shoal-hub", "--config", conf, "--print-config"], capture_output=True, text=True, timeout=20)
    equal(again.stdout, shown.stdout)


@test
def told_to_stop_it_ends_what_runs_and_says_so():
    epoch = stack.status()["hub"]["epoch"]
    seen = Inbox(f"{PREFIX}/hub/status", Client(stack.mqtt_port))  # the other one lost its connection with the broker
    seen.next()
    with connect(stack.port) as s, connect(stack.port) as t:
        s.sendall(raw("POST", "/v1/chat/completions", dict(LONG, stream=True)))
        reader = Reader(s)
        equal(reader.head()[0], 200)
        chunks = reader.chunks()
        next(chunks)
        t.sendall(raw("POST", "/v1/chat/completions", LONG))
        wait_until(lambda: stack.status()["running"] == 2, "both run")
        equal(stack.hub.stop(), 0, "exit status")
        rest = b""
        try:
            for data in chunks:
                rest += data
            check(False, "the stream ended as if it were whole")
        except EOFError:
            pass
        equal(json.loads(events(rest)[-1][1])["error"]["code"], "cancelled")
        equal(Reader(t).answer()[0], 499)
    check(not (stack.dir / "hub/hub.pid").exists(), "the pid file is left")
    wait_until(lambda: cbor.loads(seen.got[-1].payload)[3] == 0, "hub/status says offline")
    stack.start_hub()
    stack.await_ready(1)
    equal(stack.status()["hub"]["epoch"], epoch + 1)
    note(f"epoch {epoch + 1}")
    stack.await_idle()


main(after=[stack.close])
