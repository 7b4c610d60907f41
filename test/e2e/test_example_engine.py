#!/usr/bin/python3
"""The example engine of the documentation in the place of the real one: the whole system answers with it."""
import json
import os
import signal
import tempfile
from pathlib import Path

from shoaltest import http
from shoaltest.cluster import SOURCE, Cluster, children
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

PROGRAM = SOURCE / "docs/examples/engine.py"
PROMPT = "the quick brown fox jumps over the lazy dog, and die fliegende Forelle über den Fluß. "

scratch = tempfile.TemporaryDirectory(prefix="shoal-example-")
model = Path(scratch.name) / "capitals.gguf"
model.write_text("anything")
cluster = Cluster(agents=2, engine=PROGRAM, model=model)
client = Client(cluster.mqtt_port)


def request(prompt, **sampling):
    return dict({"messages": [{"role": "user", "content": prompt}]}, **sampling)


def answer(prompt, **sampling):
    end = client.submit(request(prompt, **sampling)).end()
    equal(end["type"], "done", str(end))
    return end


@test
def it_answers_over_mqtt():
    cluster.await_all_ready()
    end = answer(PROMPT)
    equal((end["text"], end["finish_reason"]), (PROMPT.upper(), "stop"))
    equal(end["usage"]["completion_tokens"], len(PROMPT.upper()), "tokens")


@test
def it_answers_over_http():
    status, d = http.post(cluster.url + "/v1/chat/completions", request("hello"))
    equal((status, d["choices"][0]["message"]["content"]), (200, "HELLO"))


@test
def it_keeps_to_limits_and_stop_strings():
    end = answer("hello, world", max_tokens=4)
    equal((end["text"], end["finish_reason"]), ("HELL", "length"))
    end = answer("hello, world", stop=["WORD", "WO"])
    equal((end["text"], end["finish_reason"]), ("HELLO, ", "stop"))


@test
def it_answers_many_at_once():
    jobs = [client.submit(request(f"{k} {PROMPT}")) for k in range(12)]
    for k, job in enumerate(jobs):
        equal(job.end()["text"], f"{k} {PROMPT}".upper())


@test
def a_job_can_be_cancelled():
    job = client.submit(request(PROMPT * 20, stream=True))
    _, accepted = job.next()
    client.publish(client.topic("cancel"), json.dumps({"job": accepted["job"]}))
    end = job.end()
    check(end["type"] == "error" or end.get("finish_reason") == "cancelled", str(end)[:300])
    cluster.await_idle()


@test
def a_prompt_that_is_too_long_is_refused():
    end = client.submit(request("x" * 5000)).end()
    equal((end["type"], end["code"]), ("error", "CONTEXT_FULL"))


@test
def what_it_cannot_do_it_refuses():
    status, d = http.post(cluster.url + "/v1/chat/completions", request("hello", logprobs=True, top_logprobs=2))
    equal((status, d["error"]["code"]), (400, "bad_request"))


@test
def what_one_began_another_ends():
    job = client.submit(request(PROMPT * 3, stream=True))
    while len(job.frames()) < 20:
        job.next()
    engines = [pid for name in cluster.agent_names() for pid in children(cluster.pid(name))]
    for pid in engines[:1]:  # whoever it is: a job that is elsewhere goes on there
        os.kill(pid, signal.SIGKILL)
    for pid in engines[1:]:
        os.kill(pid, signal.SIGSTOP)
    end = job.end()
    equal((end["type"], end["text"]), ("done", (PROMPT * 3).upper()), str(end)[:300])
    equal("".join(d["text"] for _, d in job.frames()), end["text"], "frames")
    check(end["receipt"]["attempts"] > 1, "nothing was disturbed")
    cluster.await_all_ready()


@test
def it_ends_with_its_agent():
    pids = children(cluster.pid("box-1"))
    equal(len(pids), 1, "engines")
    cluster.signal("box-1")
    wait_until(lambda: not any(Path(f"/proc/{p}").exists() for p in pids), "the engine is gone")


main(after=[cluster.close, scratch.cleanup])
