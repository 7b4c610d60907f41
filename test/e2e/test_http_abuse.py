#!/usr/bin/python3
"""HTTP requests that are none: the hub lives on, says so or closes, counts, and does not grow."""
import json
import os
import random
import re
import socket
import time

from hubtest import Reader, Stack, connect, is_closed, raw, request
from shoaltest.cluster import is_sanitized
from shoaltest.suite import check, equal, main, note, test
from shoaltest.wait import wait_until

N, WARM = 1000, 200
SEED = int(os.environ.get("TEST_SEED", "1"))
# What the hub may grow by over the last 800; a sanitizer keeps freed memory for a while.
GROWTH_MAX = (128 if is_sanitized() else 1) << 20

stack = Stack(echo="tokens=4\n", hub=["http.header_ms=1000", "http.body_ms=1500", "http.idle_ms=3000", "http.max_connections=300"])
port = stack.port
BODY = b'{"model":"echo","prompt":"x","max_tokens":2}'


def head(*lines):
    return b"\r\n".join([line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]) + b"\r\n\r\n"


POST = "POST /v1/completions HTTP/1.1"
HOST = "Host: localhost"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

# Each of these must be refused as a whole: the smuggled request must never be answered.
SMUGGLING = {
    "two lengths": head(POST, HOST, "Content-Length: 0", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED,
    "two equal lengths": head(POST, HOST, "Content-Length: 0", "Content-Length: 0") + SMUGGLED,
    "lengths in a list": head(POST, HOST, f"Content-Length: 0, {len(SMUGGLED)}") + SMUGGLED,
    "length and chunked": head(POST, HOST, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED,
    "chunked and length": head(POST, HOST, "Transfer-Encoding: chunked", f"Content-Length: {len(SMUGGLED) + 5}") + b"0\r\n\r\n" + SMUGGLED,
    "chunked twice": head(POST, HOST, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED,
    "another coding": head(POST, HOST, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n" + SMUGGLED,
    "coding unknown": head(POST, HOST, "Transfer-Encoding: xchunked") + SMUGGLED,
    "blank before the colon": head(POST, HOST, "Content-Length : 40") + SMUGGLED,
    "blank before the colon of the coding": head(POST, HOST, "Transfer-Encoding : chunked") + b"0\r\n\r\n" + SMUGGLED,
    "length with a sign": head(POST, HOST, "Content-Length: +0") + SMUGGLED,
    "length in hex": head(POST, HOST, "Content-Length: 0x0") + SMUGGLED,
    "length negative": head(POST, HOST, "Content-Length: -1") + SMUGGLED,
    "length too great for a number": head(POST, HOST, "Content-Length: 18446744073709551616") + SMUGGLED,
    "body of a GET": head("GET /healthz HTTP/1.1", HOST, f"Content-Length: {len(SMUGGLED)}") + SMUGGLED,
    "chunked body of a GET": head("GET /healthz HTTP/1.1", HOST, "Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED,
    "two hosts": head("GET /healthz HTTP/1.1", HOST, "Host: 127.0.0.1") + SMUGGLED,
    "no host": head("GET /healthz HTTP/1.1") + SMUGGLED,
    "a bare return in a value": head("GET /healthz HTTP/1.1", HOST, b"X: a\rContent-Length: 40") + SMUGGLED,
}


def all_of(data, timeout_s=5.0):
    """Everything that comes back until the hub closes; None when it does not."""
    with connect(port, timeout_s) as s:
        got = b""
        try:
            s.sendall(data)
            while True:
                part = s.recv(65536)
                if not part:
                    return got
                got += part
        except (ConnectionResetError, BrokenPipeError):
            return got
        except TimeoutError:
            return None


@test
def no_request_can_be_smuggled_behind_another():
    for name, data in SMUGGLING.items():
        got = all_of(data)
        check(got is not None, f"{name}: the connection stays open")
        # libmicrohttpd's own refusals may repeat their head; an answer to /smuggled would be a 404.
        statuses = set(re.findall(rb"HTTP/1\.[01] (\d{3})", got))
        check(statuses <= {b"400", b"413", b"501"}, f"{name}: {got}")


def makers(r):
    junk = lambda n: r.randbytes(r.randrange(1, n))  # noqa: E731
    word = lambda: "".join(r.choices("abcdefghijklmnopqrstuvwxyz", k=r.randrange(1, 12)))  # noqa: E731
    post = lambda body: head(POST, HOST, f"Content-Length: {len(body)}") + body  # noqa: E731
    chat = lambda body: head("POST /v1/chat/completions HTTP/1.1", HOST, f"Content-Length: {len(body)}") + body  # noqa: E731
    return [
        lambda: r.choice(list(SMUGGLING.values())),
        lambda: junk(300) + b"\r\n\r\n",
        lambda: head("GET", HOST),
        lambda: head("GET  /healthz  HTTP/1.1", HOST),
        lambda: head("GET /healthz HTTP/9.9", HOST),
        lambda: head("GET /healthz FTP/1.1", HOST),
        lambda: head(f"{word().upper()} /v1/models HTTP/1.1", HOST),
        lambda: head(f"GET /{word()}/{word()} HTTP/1.1", HOST),
        lambda: head("GET /%zz%00%ff/../../etc/passwd HTTP/1.1", HOST),
        lambda: head(b"GET /" + junk(50).replace(b"\n", b"") + b" HTTP/1.1", HOST),
        lambda: head("GET /" + "a" * r.randrange(17000, 40000) + " HTTP/1.1", HOST),
        lambda: head("GET /healthz HTTP/1.1", HOST, "X: " + "b" * r.randrange(17000, 60000)),
        lambda: head("GET /healthz HTTP/1.1", HOST, *[f"X-{k}: {k}" for k in range(r.randrange(110, 600))]),
        lambda: head("GET /healthz HTTP/1.1", HOST, "no colon here"),
        lambda: head("GET /healthz HTTP/1.1", HOST, b"\xff\xfe: x"),
        lambda: head("GET /healthz HTTP/1.1", f"Host: {word()}.example"),
        lambda: head(POST, HOST, "Content-Length: 99999999") + b"x" * 100,
        lambda: head(POST, HOST, "Transfer-Encoding: chunked") + b"zz\r\n" + BODY,
        lambda: head(POST, HOST, "Transfer-Encoding: chunked") + b"ffffffffffffffff1\r\n" + BODY,
        lambda: head(POST, HOST, "Transfer-Encoding: chunked") + b"-5\r\n" + BODY,
        lambda: post(BODY[: r.randrange(1, len(BODY))]),
        lambda: post(BODY + b"x"),
        lambda: post(b""),
        lambda: post(junk(200)),
        lambda: post(b"[" * r.randrange(1, 5000)),
        lambda: post(b'{"a":' * r.randrange(1, 3000)),
        lambda: post(b'{"model":"echo","prompt":"\xc3\x28"}'),
        lambda: post(b'{"model":"echo","prompt":"\\ud800"}'),
        lambda: post(b'{"model":"echo","prompt":"a\\u0000b"}'),
        lambda: post(b'{"model":"echo","prompt":"x","prompt":"y"}'),
        lambda: post(b'{"model":"echo","prompt":"x","temperature":1e999}'),
        lambda: post(b'{"model":"echo","prompt":"x","max_tokens":18446744073709551616}'),
        lambda: post(json.dumps({"model": word(), "prompt": "x"}).encode()),
        lambda: post(json.dumps({"model": "echo", "prompt": "x", "temperature": -r.random() - 0.1}).encode()),
        lambda: post(json.dumps({"model": "echo", "prompt": "x", "stop": ["s"] * 20}).encode()),
        lambda: chat(b'{"model":"echo","messages":[]}'),
        lambda: chat(b'{"model":"echo","messages":[{"role":"king","content":"x"}]}'),
        lambda: chat(b'{"model":"echo","messages":{"role":"user"}}'),
        lambda: chat(b'{"model":"echo","messages":[{"role":"user","content":"x"}],"n":7}'),
        lambda: raw("GET", "/v1/chat/completions"),
    ]


def abuse(data):
    """The first answer's status; 0 when the hub closed without one."""
    with connect(port, 10) as s:
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            return Reader(s).head()[0]
        except TimeoutError:
            raise AssertionError(f"neither answered nor closed: {data[:200]}") from None
        except (EOFError, OSError):  # reset, perhaps before we had sent all
            return 0


def counted():
    """What the hub has counted: requests it took, refused by their headers, or could not read."""
    h = stack.status()["http"]
    return h["requests"] + h["refused"] + h["malformed"], h["requests"]


@test
def a_thousand_bad_requests_are_refused_and_counted():
    r = random.Random(SEED)
    kinds = makers(r)
    statuses, rss = {}, 0
    before, own = counted()
    for k in range(N):
        if k == WARM:
            rss = stack.hub.rss()
        data = r.choice(kinds)()
        status = abuse(data)
        check(status == 0 or 400 <= status < 500 or status in (501, 505), f"request {k} of seed {SEED} was answered {status}: {data[:200]}")
        statuses[status] = statuses.get(status, 0) + 1
    grown = stack.hub.rss() - rss
    wait_until(lambda: stack.status()["http"]["open"] == 1, "all connections are gone")
    after, own_after = counted()
    note(f"statuses {dict(sorted(statuses.items()))} (0: closed); grown by {grown >> 10} KiB")
    check(stack.hub.popen.poll() is None, "the hub has died")
    check(grown <= GROWTH_MAX, f"grown by {grown} bytes")
    # Some bytes hold more than one bad request, none holds less.
    check(after - before >= N, f"{after - before} of {N} counted")
    equal(request(port, "POST", "/v1/completions", json.loads(BODY))[0], 200)


# ---- those who take their time ----


def slow(first, rest, every_s):
    """Sends byte by byte; how long the hub puts up with it."""
    began = time.monotonic()
    with connect(port, 0.05) as s:
        s.sendall(first)
        for byte in rest:
            time.sleep(every_s)  # slowness is what is tested
            try:
                s.sendall(bytes([byte]))
                if not s.recv(1000):
                    break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        else:
            check(False, "the hub waits for ever")
    return time.monotonic() - began


@test
def slow_headers_are_cut():
    before = stack.status()["http"]["timeouts"]
    took = slow(b"GET /healthz HTTP/1.1\r\n", b"X: " + b"a" * 200, 0.1)
    note(f"cut after {took:.1f} s, allowed 1 s")
    check(took < 4, took)
    wait_until(lambda: stack.status()["http"]["timeouts"] > before, "it is counted")


@test
def a_slow_body_is_cut():
    took = slow(raw("POST", "/v1/completions", BODY)[: -len(BODY)], b" " * 200, 0.1)
    note(f"cut after {took:.1f} s, allowed 1.5 s")
    check(took < 5, took)


@test
def a_connection_closed_together_with_its_request_leaves_nothing():
    before = stack.status()["http"]["open"]
    for _ in range(50):
        equal(abuse(raw("GET", "/nothing")), 404)
    wait_until(lambda: stack.status()["http"]["open"] <= before, "all are gone", 2)


@test
def an_idle_connection_is_closed():
    with connect(port, 20) as s:
        check(is_closed(s), "still open")


@test
def when_all_connections_are_taken_the_broker_link_stays_and_others_wait():
    taken = [connect(port) for _ in range(320)]
    late = connect(port, 30)
    late.sendall(raw("GET", "/healthz"))
    for s in taken[:100]:
        s.close()
    equal(Reader(late).answer()[0], 200)
    equal(stack.status()["link"]["up"], True)
    for s in taken[100:]:
        s.close()
    late.close()


@test
def when_descriptors_run_out_the_broker_link_still_comes_back():
    small = Stack(agents=0, nofile=256)
    check("LimitNOFILE" in small.hub.text(), "the lowered limit is not told")
    wait_until(lambda: "connected to the broker" in small.hub.text(), "connected")
    taken = [connect(small.port) for _ in range(300)]
    small.broker.kill()
    wait_until(lambda: "no connection to the broker" in small.hub.text(), "the hub notices")
    small.start_broker()
    wait_until(lambda: small.hub.text().count("connected to the broker at") == 2, "the hub is back", 40)
    for s in taken:
        s.close()
    equal(small.get("/healthz")[0], 200)
    small.close()


main(after=[stack.close])
