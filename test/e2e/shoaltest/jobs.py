"""The same question by every way in; each returns the answer's text (and who gave it)."""
import json

from . import http
from .cluster import run_shoal

MODEL = "triage"


def ask(prompt, **sampling):
    """A request document: one chat message."""
    return dict({"model": MODEL, "messages": [{"role": "user", "content": prompt}]}, **sampling)


def by_http(cluster, document):
    status, answer = http.post(cluster.url + "/v1/chat/completions", document)
    assert status == 200, answer
    return answer["choices"][0]["message"]["content"], answer["shoal"]["agent"]


def by_sse(cluster, document):
    stream = http.Stream(cluster.url + "/v1/chat/completions", document)
    text = "".join(http.text_of(chunk) for _, chunk in stream)
    stream.close()
    assert stream.done and stream.error is None, stream.error
    return text, None


def by_mqtt(client, document, **how):
    answer = client.submit(document, **how).end()
    assert answer["type"] == "done", answer
    return answer["text"], answer["receipt"]["agent"]


def by_mqtt_stream(client, document):
    job = client.submit(dict(document, stream=True))
    answer = job.end()
    assert answer["type"] == "done", answer
    pieces = "".join(d["text"] for _, d in job.frames())
    assert pieces == answer["text"], "the frames are not the whole"
    return pieces, answer["receipt"]["agent"]


def by_cli(cluster, document, mqtt=False, stdin=False):
    args = ["run", "--model", document["model"]]
    args += ["--mqtt", f"127.0.0.1:{cluster.mqtt_port}"] if mqtt else ["--http", cluster.url]
    for key in ("temperature", "seed", "max_tokens"):
        if key in document:
            args += ["--" + key.replace("_", "-"), document[key]]
    prompt = document["messages"][0]["content"]
    done = run_shoal(*args, "-" if stdin else prompt, **({"input": prompt} if stdin else {}))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")
    return done.stdout[:-1], None


def heldout(models, n):
    """The first n held-out prompts with their answers."""
    with open(models / "heldout.jsonl") as f:
        return [json.loads(line) for line, _ in zip(f, range(n))]
