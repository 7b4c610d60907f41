#!/usr/bin/python3
"""The hub's HTTP face: documents, streams, errors, connections, and clients that go away."""
import base64
import json
import struct
import time

from hubtest import Reader, Stack, connect, events, is_closed, raw, request
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, note, test
from shoaltest.wait import wait_until

PROMPT = "canary-7f3a tell me about fish"
stack = Stack(echo="tokens=40\ndelay_us=500\nn_ctx=200000\n", hub=["http.quiet_ms=1000", "http.max_waiting=16384", "http.hosts=hub.test"])
port = stack.port


def chat(**more):
    return dict({"model": "echo", "messages": [{"role": "user", "content": PROMPT}], "temperature": 0}, **more)


def post(path, body, headers=()):
    status, head, data = request(port, "POST", path, body, headers)
    return status, head, json.loads(data)


def long_job(**more):
    return chat(max_tokens=60000, ignore_eos=True, **more)


# ---- answers ----


@test
def a_chat_is_answered_whole():
    status, head, doc = post("/v1/chat/completions", chat())
    equal(status, 200, doc)
    equal(head["content-type"], "application/json")
    equal(doc["object"], "chat.completion")
    check(doc["id"].startswith("chatcmpl-") and abs(doc["created"] - time.time()) < 100 and doc["model"] == "echo", doc)
    choice = doc["choices"][0]
    equal((choice["index"], choice["message"]["role"], choice["message"]["refusal"], choice["logprobs"]), (0, "assistant", None, None))
    equal(choice["finish_reason"], "stop")
    usage = doc["usage"]
    equal(usage["completion_tokens"], 40)
    equal(usage["total_tokens"], usage["prompt_tokens"] + 40)
    check("cached_tokens" in usage["prompt_tokens_details"], usage)
    equal(doc["shoal"]["agent"], "box-1")
    equal(doc["timings"]["predicted_n"], 40)
    equal(head["x-request-id"], doc["id"].removeprefix("chatcmpl-"))


@test
def log_probabilities_come_whole_and_in_parts():
    content = post("/v1/chat/completions", chat(logprobs=True, top_logprobs=3))[2]["choices"][0]["logprobs"]["content"]
    equal(len(content), 40)
    for p in content:
        check(p["logprob"] <= 0 and p["token"].encode() == bytes(p["bytes"]) or "\ufffd" in p["token"], p)
        check(0 < len(p["top_logprobs"]) <= 3 and p["top_logprobs"][0]["logprob"] == p["logprob"], p)
    data = request(port, "POST", "/v1/chat/completions", chat(logprobs=True, top_logprobs=3, stream=True))[2]
    parts = [json.loads(d)["choices"][0] for _, d in events(data)[:-1]]
    equal([p for c in parts if c["logprobs"] for p in c["logprobs"]["content"]], content, "in parts")
    raw_prompt = {"model": "echo", "prompt": PROMPT, "temperature": 0, "logprobs": 2}
    lists = post("/v1/completions", raw_prompt)[2]["choices"][0]
    equal({name: len(items) for name, items in lists["logprobs"].items()},
          {"tokens": 40, "token_logprobs": 40, "top_logprobs": 40, "text_offset": 40})
    for at, token in zip(lists["logprobs"]["text_offset"], lists["logprobs"]["tokens"]):
        check("\ufffd" in "".join(lists["logprobs"]["tokens"]) or lists["text"][at:].startswith(token), (at, token))


@test
def vectors_of_texts_come_as_numbers_and_in_base64_and_over_mqtt():
    texts = ["cold-room-4", "fish", "cold-room-4"]
    status, _, doc = post("/v1/embeddings", {"model": "echo", "input": texts})
    equal(status, 200, doc)
    equal((doc["object"], doc["model"], [d["index"] for d in doc["data"]]), ("list", "echo", [0, 1, 2]))
    vectors = [struct.pack("<8f", *d["embedding"]) for d in doc["data"]]
    equal((vectors[0] == vectors[2], vectors[0] == vectors[1]), (True, False), "equal texts")
    check(doc["usage"]["prompt_tokens"] == doc["usage"]["total_tokens"] > 20, doc["usage"])
    doc = post("/v1/embeddings", {"input": texts, "encoding_format": "base64"})[2]
    equal([base64.b64decode(d["embedding"]) for d in doc["data"]], vectors, "in base64")
    one = post("/v1/embeddings", {"input": texts[1]})[2]
    equal(struct.pack("<8f", *one["data"][0]["embedding"]), vectors[1], "alone")
    client = Client(stack.mqtt_port)
    done = client.submit({"input": texts}).end()
    equal([struct.pack("<8f", *e["embedding"]) for e in done["embeddings"]], vectors, "over MQTT in JSON")
    equal(done["usage"]["prompt_tokens"], doc["usage"]["prompt_tokens"])
    done = client.submit({"input": texts, "stream": True}, as_cbor=True).end()
    equal([e["embedding"] for e in done["embeddings"]], vectors, "over MQTT in CBOR")
    status, _, doc = post("/v1/embeddings", {"input": ["a", "b " * 2000]})
    equal((status, doc["error"]["code"]), (400, "context_length_exceeded"), doc)
    check("512" in doc["error"]["message"], doc)
    client.close()


@test
def a_stream_tells_the_same_text_token_by_token():
    whole = post("/v1/chat/completions", chat())[2]["choices"][0]["message"]["content"]
    status, head, data = request(port, "POST", "/v1/chat/completions", chat(stream=True, stream_options={"include_usage": True}))
    equal(status, 200, data)
    check(head["content-type"].startswith("text/event-stream"), head)
    found = events(data)
    equal(found[-1], (None, "[DONE]"))
    docs = [(i, json.loads(d)) for i, d in found[:-1]]
    equal(docs[0][1]["choices"][0]["delta"], {"role": "assistant", "content": ""})
    pieces, last = "", -1
    for event_id, doc in docs[1:-2]:
        job, _, index = event_id.partition(":")
        equal("chatcmpl-" + job, doc["id"])
        check(int(index) > last, f"{index} after {last}")
        last = int(index)
        pieces += doc["choices"][0]["delta"]["content"]
        equal(doc["choices"][0]["finish_reason"], None)
    equal(last, 39, "index of the last token")
    equal(pieces, whole)
    end, usage = docs[-2][1], docs[-1][1]
    equal((end["choices"][0]["delta"], end["choices"][0]["finish_reason"]), ({}, "stop"))
    equal((usage["choices"], usage["usage"]["completion_tokens"]), ([], 40))
    equal(len({d["id"] for _, d in docs}), 1, "ids of one answer")


@test
def a_completion_takes_the_raw_prompt():
    body = {"model": "echo", "prompt": PROMPT, "max_tokens": 5, "temperature": 0}
    status, _, doc = post("/v1/completions", body)
    equal((status, doc["object"], doc["choices"][0]["finish_reason"]), (200, "text_completion", "length"), doc)
    check(doc["id"].startswith("cmpl-"), doc["id"])
    equal(post("/v1/completions", dict(body, prompt=[PROMPT]))[2]["choices"], doc["choices"])
    found = events(request(port, "POST", "/v1/completions", dict(body, stream=True))[2])
    equal("".join(json.loads(d)["choices"][0]["text"] for _, d in found[:-1]), doc["choices"][0]["text"])
    equal(json.loads(found[-2][1])["choices"][0]["finish_reason"], "length")


@test
def models_are_listed_and_described():
    status, doc = stack.get("/v1/models")
    equal((status, doc["object"], [m["id"] for m in doc["data"]]), (200, "list", ["echo"]))
    equal(stack.get("/v1/models/echo")[1], doc["data"][0])
    status, doc = stack.get("/v1/models/nobody")
    equal((status, doc["error"]["code"]), (404, "model_not_found"))


@test
def the_status_documents_agree():
    status = stack.status()
    equal((status["link"]["up"], status["link"]["blind"], status["agents"]["online"], status["models_ready"]), (True, False, 1, 1))
    agent = stack.list_agents()[0]
    equal((agent["id"], agent["state"], agent["slots"]), ("box-1", "online", 4))
    equal([(m["name"], m["state"]) for m in agent["models"]], [("echo", "ready")])
    for field in ("running", "queued", "tokens_per_s", "rss", "uptime_ms", "epoch"):
        check(field in agent, f"{field} is not in {agent}")
    with connect(port) as s:
        s.sendall(raw("POST", "/v1/chat/completions", long_job()))
        job = wait_until(lambda: stack.get("/api/v1/jobs")[1]["jobs"], "the job is listed")[0]
        check(job["state"] in ("queued", "dispatched", "running") and job["model"] == "echo" and job["user"] == "http", job)
    stack.await_idle()
    equal(stack.get("/api/v1/jobs")[1], {"live": 0, "jobs": []})


@test
def health_is_told():
    equal(stack.get("/healthz")[0], 200)
    equal(stack.get("/readyz")[0], 200)


@test
def the_page_comes_with_a_policy_and_a_tag():
    status, head, body = request(port, "GET", "/")
    equal((status, head["content-type"]), (200, "text/html; charset=utf-8"))
    check(b"<title>shoal</title>" in body, body)
    check("default-src 'self'" in head["content-security-policy"] and "unsafe" not in head["content-security-policy"], head)
    equal(head["x-content-type-options"], "nosniff")
    status, _, body = request(port, "GET", "/", headers=[f"If-None-Match: {head['etag']}"])
    equal((status, body), (304, b""))
    for path in ("/page.js", "/page.css", "/icon.svg"):
        equal(request(port, "GET", path)[0], 200, path)
    status, head, body = request(port, "HEAD", "/")
    equal((status, body), (200, b""))


# ---- errors ----


@test
def errors_are_objects_with_the_right_status():
    cases = [
        ("GET", "/nothing", b"", 404, "not_found"),
        ("POST", "/v1/chat/completions", chat(model="nobody"), 404, "model_not_found"),
        ("POST", "/v1/chat/completions", chat(n=2), 400, "unsupported"),
        ("POST", "/v1/chat/completions", chat(temperature=-1), 400, "bad_request"),
        ("POST", "/v1/chat/completions", b"{", 400, "invalid_json"),
        ("POST", "/v1/chat/completions", b"", 400, "invalid_json"),
        ("POST", "/v1/chat/completions", {"model": "echo"}, 400, "missing_required_parameter"),
        ("POST", "/v1/completions", {"model": "echo", "prompt": "x" * 300000}, 413, "too_large"),
        ("POST", "/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "x" * 200000}] * 2}, 413, "too_large"),
        ("POST", "/v1/chat/completions", chat(require=["gpu=none"]), 503, "no_agent"),
    ]
    for method, path, body, status, code in cases:
        if code == "no_agent":
            body["deadline_ms"] = 300
            code, status = "deadline_exceeded", 504
        got, head, data = request(port, method, path, body)
        error = json.loads(data)["error"]
        equal((got, error["code"]), (status, code), f"{method} {path} {str(body)[:80]}: {error}")
        check(error["message"] and error["type"] and "param" in error, error)


@test
def a_wrong_method_is_told_the_right_one():
    status, head, _ = request(port, "GET", "/v1/chat/completions")
    equal((status, head["allow"]), (405, "POST"))
    for method in ("DELETE", "PUT", "OPTIONS", "BREW"):
        status, head, _ = request(port, method, "/v1/models")
        equal((status, head.get("allow")), (405, "GET, HEAD"), method)


@test
def only_our_own_names_and_pages_are_served():
    for host in ("127.0.0.1", f"localhost:{port}", "[::1]", "hub.test"):
        equal(request(port, "GET", "/healthz", host=host)[0], 200, host)
    for host in ("evil.example", "127.0.0.1.evil.example", "10.1.2.3", ""):
        status, head, body = request(port, "GET", "/healthz", host=host)
        equal((status, head["connection"]), (403, "close"), host)
        equal(json.loads(body)["error"]["type"], "permission_error")
    equal(request(port, "POST", "/v1/chat/completions", chat(), ["Origin: http://evil.example"])[0], 403)
    equal(request(port, "POST", "/v1/chat/completions", chat(), [f"Origin: http://localhost:{port}"])[0], 200)


@test
def the_same_key_is_the_same_job():
    key = ["Idempotency-Key: order 66 / \u00e9"]
    first = post("/v1/chat/completions", chat(), key)[2]
    before = stack.status()["counters"]["attempts"]
    again = post("/v1/chat/completions", chat(), key)[2]
    equal((again["id"], again["choices"]), (first["id"], first["choices"]))
    found = events(request(port, "POST", "/v1/chat/completions", chat(stream=True), key)[2])
    equal("".join(json.loads(d)["choices"][0]["delta"].get("content", "") for _, d in found[:-1]), first["choices"][0]["message"]["content"])
    equal(stack.status()["counters"]["attempts"], before, "attempts made for the repeats")
    status, head, doc = post("/v1/chat/completions", chat(max_tokens=3), key)
    equal((status, doc["error"]["code"], head["x-should-retry"]), (409, "conflict", "false"))


@test
def a_live_job_goes_to_whoever_asked_last():
    key = ["Idempotency-Key: twice"]
    with connect(port) as first, connect(port) as second:
        first.sendall(raw("POST", "/v1/chat/completions", long_job(stream=True), key))
        one = Reader(first)
        equal(one.head()[0], 200)
        chunks = one.chunks()
        next(chunks)
        second.sendall(raw("POST", "/v1/chat/completions", long_job(stream=True), key))
        two = Reader(second)
        equal(two.head()[0], 200)
        check(b'"index":0' in next(two.chunks()), "the second stream begins at the start")
        rest = b""
        try:
            for data in chunks:
                rest += data
            check(False, "the first stream ended as if it were whole")
        except EOFError:
            pass
        equal(json.loads(events(rest)[-1][1])["error"]["code"], "conflict")
    stack.await_idle()


# ---- connections ----


@test
def a_connection_is_used_again():
    with connect(port) as s:
        reader = Reader(s)
        for k in range(20):
            s.sendall(raw("POST", "/v1/completions", {"model": "echo", "prompt": f"{k}", "max_tokens": 2, "stream": k % 2 == 1}))
            equal(reader.answer()[0], 200)
        s.sendall(raw("GET", "/nothing"))
        equal(reader.answer()[0], 404)
        s.sendall(raw("GET", "/healthz"))
        equal(reader.answer()[0], 200)


@test
def pipelined_requests_are_answered_in_order():
    n = 8
    with connect(port) as s:
        s.sendall(b"".join(raw("POST", "/v1/completions", {"model": "echo", "prompt": "p", "max_tokens": k + 1}) for k in range(n)))
        reader = Reader(s)
        for k in range(n):
            equal(json.loads(reader.answer()[2])["usage"]["completion_tokens"], k + 1)


@test
def a_chunked_body_is_a_body():
    body = json.dumps(chat(max_tokens=3)).encode()
    cut = len(body) // 2
    with connect(port) as s:
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (body[:cut], body[cut:], b""):
            s.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        status, _, data = Reader(s).answer()
        equal(status, 200, data)


@test
def a_client_that_waits_for_the_go_ahead_gets_it():
    body = json.dumps(chat(max_tokens=3)).encode()
    with connect(port) as s:
        s.sendall(raw("POST", "/v1/chat/completions", body, ["Expect: 100-continue"])[: -len(body)])
        reader = Reader(s)
        equal(reader.head()[0], 100)
        s.sendall(body)
        equal(reader.answer()[0], 200)


@test
def two_hundred_idle_connections_cost_nothing_and_disturb_nobody():
    idle = [connect(port) for _ in range(200)]
    wait_until(lambda: stack.status()["http"]["open"] >= 200, "all are accepted")
    used = cpu_ticks()
    began = time.monotonic()
    equal(post("/v1/chat/completions", chat())[0], 200)
    took = time.monotonic() - began
    time.sleep(1)  # the figure is the work of a second in which nothing happens
    note(f"an answer beside them took {took * 1000:.0f} ms; {cpu_ticks() - used} ticks of CPU in that second")
    check(cpu_ticks() - used < 20, "the hub works though nothing happens")
    for s in idle:
        s.close()
    wait_until(lambda: stack.status()["http"]["open"] < 10, "all are gone")


def cpu_ticks():
    with open(f"/proc/{stack.hub.popen.pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# ---- clients that go away ----


def hang_up(body, wait):
    """Sends, waits for something, closes; the agent's slot must come free."""
    before = stack.status()["counters"]["jobs_cancelled"]
    with connect(port) as s:
        s.sendall(raw("POST", "/v1/chat/completions", body))
        wait(Reader(s))
        wait_until(lambda: stack.running() > 0, "the agent runs it")
    began = time.monotonic()
    stack.await_idle()
    note(f"free again after {(time.monotonic() - began) * 1000:.0f} ms")
    equal(stack.status()["counters"]["jobs_cancelled"], before + 1, "jobs cancelled")


@test
def hanging_up_in_mid_stream_cancels():
    hang_up(long_job(stream=True), lambda reader: (reader.head(), next(reader.chunks())))


@test
def hanging_up_before_an_unstreamed_answer_cancels():
    hang_up(long_job(), lambda reader: None)


@test
def hanging_up_while_queued_cancels():
    blockers = [connect(port) for _ in range(4)]
    for s in blockers:
        s.sendall(raw("POST", "/v1/chat/completions", long_job()))
    wait_until(lambda: stack.running() >= 4, "all slots are taken")
    with connect(port) as s:
        s.sendall(raw("POST", "/v1/chat/completions", long_job(stream=True)))
        wait_until(lambda: stack.status()["queued"] + stack.status()["running"] == 5, "the fifth is there")
    wait_until(lambda: stack.status()["queued"] + stack.status()["running"] == 4, "the fifth is gone")
    for s in blockers:
        s.close()
    stack.await_idle()


@test
def closing_after_the_answer_cancels_nothing():
    before = stack.status()["counters"]["jobs_cancelled"]
    for stream in (False, True):
        with connect(port) as s:
            s.sendall(raw("POST", "/v1/chat/completions", chat(stream=stream)))
            Reader(s).answer()
    equal(stack.status()["counters"]["jobs_cancelled"], before)


@test
def a_reader_that_does_not_read_is_cut_and_its_job_cancelled():
    before = stack.status()
    rss = stack.hub.rss()
    with connect(port, recv_buffer=4096) as s:
        s.sendall(raw("POST", "/v1/chat/completions", long_job(stream=True)))
        wait_until(lambda: stack.status()["http"]["slow_readers"] > before["http"]["slow_readers"], "the reader is cut", 60)
        check(is_closed(s), "the connection is still open")
    stack.await_idle()
    equal(stack.status()["counters"]["jobs_cancelled"], before["counters"]["jobs_cancelled"] + 1)
    note(f"the hub grew by {(stack.hub.rss() - rss) >> 10} KiB meanwhile")


@test
def a_slow_reader_gets_fewer_but_longer_events_and_all_the_text():
    whole = post("/v1/chat/completions", chat(max_tokens=3000, ignore_eos=True))[2]["choices"][0]["message"]["content"]
    with connect(port, recv_buffer=4096) as s:
        s.sendall(raw("POST", "/v1/chat/completions", chat(max_tokens=3000, ignore_eos=True, stream=True)))
        reader = Reader(s)
        reader.head()
        wait_until(lambda: stack.status()["running"] == 0, "the answer is complete before it is read", 30)
        found = events(b"".join(reader.chunks()))
    equal("".join(json.loads(d)["choices"][0]["delta"].get("content", "") for _, d in found[:-1]), whole)
    check(len(found) < 2900, f"{len(found)} events")


@test
def a_quiet_stream_shows_that_it_lives():
    blockers = [connect(port) for _ in range(4)]
    for s in blockers:
        s.sendall(raw("POST", "/v1/chat/completions", long_job()))
    wait_until(lambda: stack.running() >= 4, "all slots are taken")
    with connect(port) as s:
        s.sendall(raw("POST", "/v1/chat/completions", chat(stream=True)))
        reader = Reader(s)
        equal(reader.head()[0], 200)
        equal(next(reader.chunks())[:1], b":", "first byte of a comment")
        for b in blockers:
            b.close()
        rest = b"".join(reader.chunks())
        check(rest.endswith(b"data: [DONE]\n\n"), rest[-100:])
    stack.await_idle()


# ---- what must not be ----


@test
def no_prompt_and_no_answer_is_in_any_log():
    for log in stack.dir.glob("*.log"):
        text = log.read_text(errors="replace")
        check("canary-7f3a" not in text, log)
        check(" seven fish" not in text and "ñandú" not in text, log)


main(after=[stack.close])
