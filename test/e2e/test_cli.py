#!/usr/bin/python3
"""`shoal` against a hub that misbehaves: one played by this test, over HTTP and over a real broker."""
import http.server
import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from shoaltest.broker import Broker
from shoaltest.cluster import BIN, run_shoal
from shoaltest.mqtt import PREFIX, Client
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

# ---- a hub over HTTP ----


class FakeHub(http.server.ThreadingHTTPServer):
    """Answers each POST with the pieces of bytes given, one write each, then closes."""

    def __init__(self, pieces, status=200, models=("m",), type_="text/event-stream"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pieces, self.status, self.models, self.type = pieces, status, models, type_
        self.requests, self.hung_up = [], threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        pass  # a client that goes away is what some cases want

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, type_, pieces):
        self.send_response(status)
        self.send_header("Content-Type", type_)
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()

    def do_GET(self):
        if self.path == "/v1/models":
            body = json.dumps({"object": "list", "data": [{"id": m, "object": "model"} for m in self.server.models]})
            self.answer(200, "application/json", [body.encode()])
        else:
            self.answer(self.server.status, self.server.type, self.server.pieces)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, json.loads(body)))
        if self.server.pieces is None:  # an endless stream
            self.answer(200, "text/event-stream", [event("x")])
            if self.connection.recv(1) == b"":
                self.server.hung_up.set()
        else:
            self.answer(self.server.status, self.server.type, self.server.pieces)


def event(text, end="\n\n"):
    return f'id: job:1\ndata: {json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}, ensure_ascii=False)}{end}'.encode()


DONE = b"data: [DONE]\n\n"


def single_bytes(data):
    return [data[i:i + 1] for i in range(len(data))]


def run(hub, *args, **kw):
    return run_shoal("run", "--http", hub.url, "-m", "m", *args, "hi", **kw)


@test
def a_stream_may_be_cut_into_packets_anywhere():
    whole = event("é🐟") + b": a comment\n\n" + event("!\n", "\r\n\r\n") + DONE
    for pieces in ([whole], single_bytes(whole)):
        with FakeHub(pieces) as hub:
            done = run(hub)
            equal((done.returncode, done.stdout), (0, "é🐟!\n"), done.stderr)


@test
def the_request_says_what_the_options_said():
    with FakeHub([event("x") + DONE]) as hub:
        run_shoal("run", "--http", hub.url + "/", "--max-tokens", "7", "--temperature", "0.5", "--seed", "9", "--stop", "a", "--stop", "b",
                  "--timeout", "30", "hi")
        run_shoal("run", "--http", hub.url, "--raw", "hi")
        (path, chat), (raw_path, raw) = hub.requests
        equal((path, raw_path), ("/v1/chat/completions", "/v1/completions"), "paths")
        want = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 7, "temperature": 0.5, "seed": 9,
                "stop": ["a", "b"], "stream": True, "deadline_ms": 30000}
        equal(chat, want, "request")
        equal((raw["prompt"], "messages" in raw), ("hi", False), "raw request")
        check(isinstance(raw["seed"], int), "a seed of its own")


@test
def a_stream_without_its_last_event_is_no_success():
    with FakeHub([event("half")]) as hub:
        done = run(hub)
        equal((done.returncode, done.stdout), (69, "half\n"), "exit status and text")
        check("cut off" in done.stderr, done.stderr)


@test
def an_error_in_mid_stream_is_told_with_its_code():
    error = b'data: {"error":{"message":"the agent was lost","type":"server_error","param":null,"code":"AGENT_LOST"}}\n\n'
    with FakeHub([event("half"), error]) as hub:
        done = run(hub)
        equal((done.returncode, done.stdout), (70, "half\n"), "exit status and text")
        check("the agent was lost (AGENT_LOST)" in done.stderr, done.stderr)


@test
def a_refusal_is_told_by_code_or_by_status():
    for status, code, want in ((429, "QUEUE_FULL", 75), (404, "model_not_found", 66), (503, "x", 69), (418, "y", 70)):
        body = json.dumps({"error": {"message": "no, because", "type": "t", "param": None, "code": code}}).encode()
        with FakeHub([body], status=status, type_="application/json") as hub:
            for args in ((), ("--json",)):
                done = run(hub, *args)
                equal(done.returncode, want, f"exit status of {code}: {done.stderr}")
                check("no, because" in done.stderr, done.stderr)


@test
def what_is_no_hub_is_told_so():
    with FakeHub([b"<html>"], status=502, type_="text/html") as hub:
        done = run(hub)
        equal(done.returncode, 69, "exit status")
        check("502" in done.stderr and "not as a hub" in done.stderr, done.stderr)
        equal(run_shoal("agents", "--http", hub.url).returncode, 69, "exit status of agents")
    with FakeHub([b"data: {not json\n\n"]) as hub:
        equal(run(hub).returncode, 70, "exit status of a bad event")


@test
def without_a_name_the_only_model_is_taken_and_several_are_listed():
    with FakeHub([event("x") + DONE], models=("only",)) as hub:
        equal(run_shoal("run", "--http", hub.url, "hi").returncode, 0, "exit status")
        equal(hub.requests[0][1]["model"], "only", "model")
    for models, status, words in ((("a", "b"), 2, "a, b"), ((), 69, "no agent")):
        with FakeHub([], models=models) as hub:
            done = run_shoal("run", "--http", hub.url, "hi")
            equal(done.returncode, status, "exit status")
            check(words in done.stderr, done.stderr)
            equal(hub.requests, [], "requests")


@test
def json_is_printed_as_it_came():
    body = b'{"object":"chat.completion","choices":[]}'
    with FakeHub(single_bytes(body), type_="application/json") as hub:
        done = run(hub, "--json")
        equal((done.returncode, done.stdout), (0, body.decode() + "\n"), done.stderr)
        equal(hub.requests[0][1]["stream"], False, "stream")


@test
def ctrl_c_hangs_up():
    with FakeHub(None) as hub:
        p = subprocess.Popen([BIN / "shoal", "run", "--http", hub.url, "-m", "m", "hi"], stdout=subprocess.PIPE)
        equal(p.stdout.read(1), b"x", "output")
        p.send_signal(2)
        equal(p.wait(10), 130, "exit status")
        p.stdout.close()
        check(hub.hung_up.wait(10), "the hub sees no end")


@test
def a_reader_that_goes_away_ends_it():
    with FakeHub([event("y" * 50000) for _ in range(200)]) as hub:
        p = subprocess.Popen([BIN / "shoal", "run", "--http", hub.url, "-m", "m", "hi"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        p.stdout.read(1)
        p.stdout.close()
        check(p.wait(10) not in (0, None), "a success")


# ---- a hub over MQTT, on a real broker ----

scratch = tempfile.TemporaryDirectory(prefix="shoal-cli-")
broker = Broker(Path(scratch.name))


class MqttHub:
    """Answers each submit with play(self, submit, reply topic)."""

    def __init__(self, play):
        self.client = Client(broker.port, user="hub")
        self.submits, self.cancels = [], []
        self.play = play
        self.client.subscribe(f"{PREFIX}/clients/+/jobs", self.submit)
        self.client.subscribe(f"{PREFIX}/clients/+/cancel", lambda m: self.cancels.append(m.document()))

    def submit(self, message):
        self.submits.append(message.document())
        self.play(self, message.document(), message.response_topic)

    def say(self, topic, **document):
        self.client.publish(topic, json.dumps(dict(document, job="j")), wait=False, ContentType="application/json")

    def tokens(self, topic, index, text, n=1):
        self.say(topic, type="tokens", index=index, n=n, text=text)

    def done(self, topic, text, finish="stop"):
        self.say(topic, type="done", text=text, finish_reason=finish)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()


def run_mqtt(*args):
    return run_shoal("run", "--mqtt", f"127.0.0.1:{broker.port}", "-m", "m", *args, "hi")


@test
def lost_doubled_and_late_frames_leave_a_whole_answer():
    def play(hub, submit, topic):
        hub.say(topic, type="accepted", state="queued")
        hub.tokens(topic, 0, "a")
        hub.tokens(topic, 1, "bc", n=2)
        hub.tokens(topic, 1, "bc", n=2)  # twice
        hub.tokens(topic, 4, "e")  # 3 is lost
        hub.tokens(topic, 3, "d")  # and late
        hub.done(topic, "abcdef")

    with MqttHub(play):
        done = run_mqtt()
        equal((done.returncode, done.stdout), (0, "abcdef\n"), done.stderr)


@test
def a_silent_hub_is_asked_again_under_the_same_id():
    def play(hub, submit, topic):
        if len(hub.submits) == 2:
            hub.done(topic, "late")

    with MqttHub(play) as hub:
        done = run_mqtt()
        equal((done.returncode, done.stdout), (0, "late\n"), done.stderr)
        equal(hub.submits[0], hub.submits[1], "both requests")
        check(hub.submits[0]["id"] and "seed" in hub.submits[0], hub.submits[0])


@test
def a_job_over_its_time_is_cancelled():
    with MqttHub(lambda *_: None) as hub:
        done = run_mqtt("--timeout", "1")
        equal(done.returncode, 75, done.stderr)
        wait_until(lambda: hub.cancels, "a cancel is heard")
        equal(hub.cancels[0]["id"], hub.submits[0]["id"], "id")


@test
def an_error_over_mqtt_is_told_with_its_code():
    with MqttHub(lambda hub, submit, topic: hub.say(topic, type="error", code="QUEUE_FULL", message="come back later")):
        done = run_mqtt()
        equal((done.returncode, done.stdout), (75, ""), done.stderr)
        check("come back later (QUEUE_FULL)" in done.stderr and "shoal doctor QUEUE_FULL" in done.stderr, done.stderr)


@test
def a_broker_without_a_hub_is_told_at_once():
    began = time.monotonic()
    done = run_mqtt()
    equal(done.returncode, 69, done.stderr)
    check("no hub" in done.stderr, done.stderr)
    check(time.monotonic() - began < 5, "it waited")


@test
def ctrl_c_sends_a_cancel():
    with MqttHub(lambda hub, submit, topic: hub.tokens(topic, 0, "x")) as hub:
        p = subprocess.Popen([BIN / "shoal", "run", "--mqtt", f"127.0.0.1:{broker.port}", "-m", "m", "hi"], stdout=subprocess.PIPE)
        equal(p.stdout.read(1), b"x", "output")
        p.send_signal(2)
        equal(p.wait(10), 130, "exit status")
        p.stdout.close()
        wait_until(lambda: hub.cancels, "a cancel is heard")


# ---- the table, help, mistakes ----

@test
def agents_are_a_table():
    agents = {"agents": [{"id": "box-1", "state": "online", "running": 2, "queued": 1, "slots": 4, "tokens_per_s": 812.4, "seen_ms": 340,
                          "models": [{"name": "triage", "state": "ready"}, {"name": "big", "state": "loading"}], "later": {"x": 1}}]}
    with FakeHub([json.dumps(agents).encode()], type_="application/json") as hub:
        done = run_shoal("agents", "--http", hub.url)
        equal(done.stdout.splitlines()[1].split(None, 7), ["box-1", "online", "2", "1", "4", "812", "0.3", "s triage, big (loading)"], "row")
    with FakeHub([b'{"agents":[]}'], type_="application/json") as hub:
        equal(run_shoal("agents", "--http", hub.url).stdout, "no agents yet\n", "table")


@test
def an_agent_by_name_is_told_whole():
    box = {"id": "box-1", "state": "online", "running": 1, "queued": 0, "slots": 4, "tokens_per_s": 12.0, "seen_ms": 340, "load": 0.5,
           "host": "box-1.example", "software": "shoal-agent 0.1", "engine": "llama.cpp x", "mem_available": 1 << 30,
           "models": [{"name": "triage", "state": "failed", "reason": "no \x1b[31mfile", "prefill_tokens_per_s": 812.4,
                       "decode_tokens_per_s": 9.96}],
           "hardware": {"arch": "aarch64", "cpu": "Cortex-A72", "kernel": "6.1", "cores": 4, "mem_total": 4 << 30, "power": "battery",
                        "machine": "Raspberry Pi 4", "isa": ["neon", "dotprod"], "zones": ["cpu-thermal"], "disk_total": 8 << 30},
           "figures": [{"requests_total": 1030, "errors_total": 30, "tokens_total": 9, "latency_p95_ms": 1900,
                        "errors": [{"code": "QUEUE_FULL", "n": 30}]},
                       {"name": "triage", "requests_total": 1029, "errors_total": 29, "tokens_total": 9, "latency_p95_ms": 1950,
                        "decode_milli": 45678}],
           "sensors": {"temp_milli": -1500, "throttled": True, "psi_cpu": 307, "battery_percent": 0, "on_mains": False,
                       "disk_free": 2 << 30}}
    bare = {"id": "box-2", "state": "offline", "running": 0, "queued": 0, "slots": 0, "models": []}
    with FakeHub([json.dumps({"agents": [box, bare]}).encode()], type_="application/json") as hub:
        out = run_shoal("agents", "--http", hub.url, "box-1").stdout
        for words in ("Raspberry Pi 4", "Cortex-A72, 4 threads on 4 cores", "neon dotprod", "1.0 of 4.0 GiB free", "2.0 of 8.0 GiB free",
                      "-1.5 °C, throttled", "battery, 0 %, mains are off", "3.07 % for the CPU", "triage", "812 ", "45.7 ", "1029",
                      "1030, 30 errors: QUEUE_FULL 30", "95 % within 1.90 s", "1.95 s"):
            check(words in out, f"{words!r} is not in:\n{out}")
        check("\x1b" not in out, f"an escape reached the terminal: {out!r}")
        out = run_shoal("agents", "--http", hub.url, "box-2").stdout
        check("offline" in out and "°C" not in out and "throttled" not in out and "power" not in out, out)
        done = run_shoal("agents", "--http", hub.url, "box-3")
        equal(done.returncode, 66, "exit status")
        check('no agent "box-3"' in done.stderr, done.stderr)


@test
def help_and_mistakes():
    check("shoal run" in run_shoal("help", "run").stdout, "no usage")
    equal(run_shoal("help", "run").stdout, run_shoal("run", "--help").stdout, "both ways to help")
    check(run_shoal("--version").stdout.startswith("shoal 0."), "no version")
    done = run_shoal("agnets")
    equal(done.returncode, 2, "exit status")
    check("Did you mean 'agents'?" in done.stderr, done.stderr)
    check("shoal help" in run_shoal("frobnicate").stderr, "no advice")
    equal(run_shoal().returncode, 2, "exit status without a command")


main(after=[broker.stop, scratch.cleanup])
