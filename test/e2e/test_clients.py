#!/usr/bin/python3
"""What a client can do: mosquitto_rr, CBOR, streams, repeated ids, cancel, deadlines, curl, the CLI."""
import json
import os
import re
import signal
import subprocess
import uuid

from shoaltest.cluster import BIN, Cluster, run_shoal
from shoaltest.jobs import MODEL, ask, by_cli, by_http, by_mqtt
from shoaltest.mqtt import PREFIX, Client
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

cluster = Cluster(agents=2)
client = Client(cluster.mqtt_port)
SHORT = ask("cold-room-4 door=open temp=11.2:HH", temperature=0)
LONG = ask("tell me about the cold room", ignore_eos=True, max_tokens=440, temperature=0)


def slots_are_free():
    cluster.await_idle()


# ---- MQTT ----

@test
def mosquitto_rr_prints_one_complete_json_answer():
    done = subprocess.run(["mosquitto_rr", "-p", str(cluster.mqtt_port), "-V", "5", "-t", f"{PREFIX}/clients/alice/jobs",
                           "-e", f"{PREFIX}/clients/alice/r", "-W", "30", "-m", json.dumps({"model": MODEL, "prompt": "hello"})],
                          capture_output=True, text=True, timeout=60)
    equal(done.returncode, 0, done.stderr)
    answer = json.loads(done.stdout)
    equal(answer["type"], "done", "type")
    check(answer["text"] and answer["finish_reason"] and answer["usage"]["completion_tokens"] > 0, answer)
    check(answer["receipt"]["agent"] in cluster.agent_names(), answer)


@test
def the_answer_comes_in_the_format_of_the_question():
    for as_cbor in (False, True):
        job = client.submit(SHORT, as_cbor=as_cbor, correlation=b"\x00\x01corr")
        answer = job.end()
        message, _ = job.seen[-1]
        equal(message.content_type, "application/cbor" if as_cbor else "application/json", "content type")
        equal(message.correlation, b"\x00\x01corr", "correlation data")
        equal(message.payload[:1] == b"{", not as_cbor, "first byte")
        equal(answer["type"], "done", "type")


@test
def without_stream_the_only_answer_is_the_last():
    job = client.submit(SHORT)
    job.end()
    equal([d["type"] for _, d in job.seen], ["done"], "answers")


@test
def a_stream_is_accepted_then_tokens_in_order_then_one_end():
    job = client.submit(dict(LONG, stream=True))
    job.end()
    kinds = [d["type"] for _, d in job.seen]
    equal(kinds[0], "accepted", "first")
    equal(kinds.count("done"), 1, "ends")
    index = 0
    for _, frame in job.frames():
        equal(frame["index"], index, "index")
        index += frame["n"]
    done = job.seen[-1][1]
    equal(index, done["usage"]["completion_tokens"], "tokens")
    equal("".join(f["text"] for _, f in job.frames()), done["text"], "text")
    equal(done["finish_reason"], "length", "finish")


@test
def the_same_id_is_the_same_job_and_runs_once():
    submitted = cluster.status()["counters"]["attempts"]
    document = dict(SHORT, id="once-" + uuid.uuid4().hex[:8])
    answers = [client.submit(document).end() for _ in range(3)]
    equal({a["job"] for a in answers}, {answers[0]["job"]}, "job ids")
    equal({a["text"] for a in answers}, {answers[0]["text"]}, "texts")
    equal(cluster.status()["counters"]["attempts"] - submitted, 1, "attempts")


@test
def the_same_id_with_another_request_is_a_conflict():
    document = dict(SHORT, id="twice-" + uuid.uuid4().hex[:8])
    client.submit(document).end()
    answer = client.submit(dict(document, max_tokens=3)).end()
    equal((answer["type"], answer.get("code")), ("error", "CONFLICT"), "answer")


@test
def a_cancelled_job_ends_at_once_and_frees_its_slot():
    job = client.submit(dict(LONG, stream=True, id="stop-" + uuid.uuid4().hex[:8]))
    while not job.frames():
        job.next()
    client.publish(client.topic("cancel"), json.dumps({"id": job.seen[0][1]["id"]} if "id" in job.seen[0][1]
                                                      else {"job": job.seen[0][1]["job"]}))
    end = job.end()
    check(end.get("finish_reason") == "cancelled" or end.get("code") == "CANCELLED", end)
    slots_are_free()


@test
def a_stranger_cannot_cancel_it():
    job = client.submit(dict(LONG, stream=True))
    _, accepted = job.next()
    mallory = Client(cluster.mqtt_port)
    mallory.publish(mallory.topic("cancel"), json.dumps({"job": accepted["job"]}))
    mallory.close()
    end = job.end()
    equal((end["type"], end.get("finish_reason")), ("done", "length"), "end")


@test
def a_deadline_ends_the_job_with_its_code():
    answer = client.submit(dict(LONG, deadline_ms=20)).end()
    equal((answer["type"], answer.get("code")), ("error", "DEADLINE_EXCEEDED"), "answer")
    slots_are_free()


@test
def a_response_topic_of_another_client_is_refused():
    heard, told = [], []
    victim, sinner = Client(cluster.mqtt_port), Client(cluster.mqtt_port)
    victim.subscribe(victim.topic("#"), heard.append)
    sinner.subscribe(sinner.topic("#"), lambda m: told.append(m.document()) if m.topic != sinner.topic("jobs") else None)
    wrong = (victim.topic("r"), f"{PREFIX}/hub/status", sinner.topic("jobs"))
    for topic in wrong:
        sinner.publish(sinner.topic("jobs"), json.dumps(SHORT), ResponseTopic=topic, ContentType="application/json")
    wait_until(lambda: len(told) == len(wrong), "each submit is refused")
    equal([(d["type"], d["code"]) for d in told], [("error", "FORBIDDEN")] * len(wrong), "answers")
    equal(heard, [], "messages to the victim")
    equal(by_mqtt(sinner, SHORT)[0], by_http(cluster, SHORT)[0], "own jobs work")
    victim.close()
    sinner.close()


@test
def mistakes_are_told_by_code_and_sentence():
    for change, code in (({"model": "nosuch"}, "MODEL_UNKNOWN"), ({"temperature": -1}, "BAD_REQUEST"), ({"messages": []}, "BAD_REQUEST")):
        answer = client.submit(dict(SHORT, **change)).end()
        equal((answer["type"], answer.get("code")), ("error", code), f"answer to {change}")
        check(len(answer["message"]) > 5, answer)


# ---- HTTP, by curl ----

def curl(*args):
    return subprocess.run(["curl", "-sS", "-m", "60", *args], capture_output=True, text=True, timeout=90)


@test
def curl_gets_a_stream_of_events_that_ends_with_done():
    done = curl("-N", cluster.url + "/v1/chat/completions", "-d", json.dumps(dict(SHORT, stream=True)))
    events = [line[6:] for line in done.stdout.splitlines() if line.startswith("data: ")]
    equal(events[-1], "[DONE]", "last event")
    text = "".join(json.loads(e)["choices"][0]["delta"].get("content") or "" for e in events[:-1] if json.loads(e)["choices"])
    equal(text, by_mqtt(client, SHORT)[0], "text")


@test
def a_client_that_hangs_up_cancels_its_job():
    request = subprocess.Popen(["curl", "-sN", cluster.url + "/v1/chat/completions", "-d", json.dumps(dict(LONG, stream=True))],
                               stdout=subprocess.PIPE)
    request.stdout.readline()
    before = cluster.status()["counters"]["jobs_cancelled"]
    request.kill()
    request.wait()
    request.stdout.close()
    wait_until(lambda: cluster.status()["counters"]["jobs_cancelled"] > before or None, "the job is cancelled")
    slots_are_free()


# ---- the command line ----

@test
def shoal_run_says_what_http_says_by_each_way():
    want = by_http(cluster, SHORT)[0]
    for how in ({}, {"stdin": True}, {"mqtt": True}, {"mqtt": True, "stdin": True}):
        equal(by_cli(cluster, SHORT, **how)[0], want, f"shoal run {how}")


@test
def shoal_run_finds_the_only_model_and_the_hub_by_the_environment():
    done = run_shoal("run", "--temperature", "0", SHORT["messages"][0]["content"], env=dict(os.environ, SHOAL_URL=cluster.url))
    equal((done.returncode, done.stdout[:-1]), (0, by_http(cluster, SHORT)[0]), done.stderr)


@test
def shoal_run_raw_leaves_the_template_out():
    raw = ["run", "-m", MODEL, "--raw", "--temperature", "0", "--max-tokens", "8", "cold-room-4 door=open"]
    by_way = [run_shoal(*raw, *way) for way in (["--http", cluster.url], ["--mqtt", f"127.0.0.1:{cluster.mqtt_port}"])]
    want = client.submit({"model": MODEL, "prompt": "cold-room-4 door=open", "temperature": 0, "max_tokens": 8}).end()["text"]
    for done in by_way:
        equal((done.returncode, done.stdout.rstrip("\n")), (0, want.rstrip("\n")), done.stderr)


@test
def shoal_run_json_prints_one_document():
    http_done = run_shoal("run", "-m", MODEL, "--json", "--http", cluster.url, "hello")
    equal(json.loads(http_done.stdout)["object"], "chat.completion", "document")
    mqtt_done = run_shoal("run", "-m", MODEL, "--json", "--mqtt", f"127.0.0.1:{cluster.mqtt_port}", "hello")
    equal(json.loads(mqtt_done.stdout)["type"], "done", "document")
    equal((http_done.returncode, mqtt_done.returncode), (0, 0), "exit status")


@test
def shoal_run_tells_each_failure_by_its_exit_status():
    mqtt = f"127.0.0.1:{cluster.mqtt_port}"
    cases = [
        (["--http", cluster.url, "-m", "nosuch", "x"], 66, "nosuch"),
        (["--mqtt", mqtt, "-m", "nosuch", "x"], 66, "nosuch"),
        (["--http", "http://127.0.0.1:1", "-m", MODEL, "x"], 69, "no answer from the hub"),
        (["--mqtt", "127.0.0.1:1", "-m", MODEL, "x"], 69, "cannot reach the broker"),
        (["--mqtt", mqtt, "--user", "a/b", "-m", MODEL, "x"], 2, "--user"),
        (["--http", cluster.url, "--temperature", "-3", "-m", MODEL, "x"], 2, "temperature"),
        (["--http", cluster.url, "-m", MODEL, ""], 2, "empty"),
        (["--http", cluster.url, "-m", MODEL], 2, "no prompt"),
        (["--http", cluster.url, "-m", MODEL, "two", "words"], 2, "quotes"),
        (["--nosuch", "x"], 2, "shoal help run"),
    ]
    for args, status, words in cases:
        done = run_shoal("run", *args)
        equal(done.returncode, status, f"exit status of {args}: {done.stderr!r}")
        check(words in done.stderr, f"{words!r} is not in {done.stderr!r}")
        equal(done.stdout, "", "standard output")


def interrupted(*way):
    """Ctrl-C in mid-stream."""
    p = subprocess.Popen([BIN / "shoal", "run", "-m", MODEL, *way, "--max-tokens", "440", "--temperature", "1.5", "--seed", "3", "--raw",
                          "cold-room"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(p.stdout.read(1), "no output")
    before = cluster.status()["counters"]
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=30)
    return p.returncode, before


@test
def ctrl_c_cancels_the_job():
    for way in (["--http", cluster.url], ["--mqtt", f"127.0.0.1:{cluster.mqtt_port}"]):
        status, _ = interrupted(*way)
        check(status in (0, 130), f"exit status {status}")  # 0: the model ended first
        slots_are_free()


@test
def shoal_agents_prints_a_table_and_json():
    done = run_shoal("agents", "--http", cluster.url)
    lines = done.stdout.splitlines()
    check(re.match(r"AGENT +STATE +RUNNING +QUEUED +SLOTS", lines[0]), done.stdout)
    equal([line.split()[0] for line in lines[1:]], cluster.agent_names(), "rows")
    check(all(line.split()[1] == "online" and line.split()[-1] == MODEL for line in lines[1:]), done.stdout)
    check("\x1b" not in done.stdout, "colours in a pipe")
    listed = json.loads(run_shoal("agents", "--http", cluster.url, "--json").stdout)
    equal(sorted(a["id"] for a in listed["agents"]), cluster.agent_names(), "ids")


main(after=[client.close, cluster.close])
