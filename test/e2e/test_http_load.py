#!/usr/bin/python3
"""Many streams beside many short requests: none is lost, mixed up or left standing.

Streams wait suspended in libmicrohttpd between tokens; versions before 1.0.3 are known to skip
connections that are ready while others are suspended.
"""
import json
import selectors
import threading
import time

from hubtest import Reader, Stack, connect, events, raw, request
from shoaltest.suite import check, equal, main, note, test

STREAMS, TOKENS, FLOODERS = 150, 100, 2
STALL_S = 5.0

stack = Stack(agents=3, parallel=50, echo=f"tokens={TOKENS}\ndelay_us=5000\nn_ctx=10000\n", hub=["log.level=info"])


def ask(k):
    return {"model": "echo", "messages": [{"role": "user", "content": f"stream {k % 5}"}], "temperature": 0, "stream": True}


def flood(stop, counts, i):
    with connect(stack.port) as s:
        reader = Reader(s)
        while not stop.is_set():
            s.sendall(raw("GET", "/healthz") * 10)
            for _ in range(10):
                equal(reader.answer()[0], 200)
            counts[i] += 10


def read_all(streams):
    """Reads from all at once; the longest time in which nothing came from one that was not at its end."""
    chooser, got, heard, worst = selectors.DefaultSelector(), {}, {}, 0.0
    for k, s in streams.items():
        chooser.register(s, selectors.EVENT_READ, k)
        got[k], heard[k] = b"", time.monotonic()
    while chooser.get_map():
        for key, _ in chooser.select(STALL_S):
            k, data = key.data, key.fileobj.recv(65536)
            now = time.monotonic()
            worst, heard[k] = max(worst, now - heard[k]), now
            got[k] += data
            check(data, f"stream {k} was broken off")
            if got[k].endswith(b"0\r\n\r\n"):
                chooser.unregister(key.fileobj)
        stalled = [k.data for k in chooser.get_map().values() if time.monotonic() - heard[k.data] > STALL_S]
        check(not stalled, f"nothing from streams {stalled} for {STALL_S} s")
    return got, worst


def dechunked(data):
    class Source:
        def recv(self, _):
            return b""

    reader = Reader(Source())
    reader.rest = data
    equal(reader.head()[0], 200)
    return b"".join(reader.chunks())


@test
def streams_beside_a_flood_of_short_requests_are_whole_and_in_order():
    want = {}
    for k in range(5):
        body = dict(ask(k), stream=False)
        want[k] = json.loads(request(stack.port, "POST", "/v1/chat/completions", body)[2])["choices"][0]["message"]["content"]
    stop, counts = threading.Event(), [0] * FLOODERS
    threads = [threading.Thread(target=flood, args=(stop, counts, i), daemon=True) for i in range(FLOODERS)]
    for t in threads:
        t.start()
    began = time.monotonic()
    streams = {k: connect(stack.port) for k in range(STREAMS)}
    for k, s in streams.items():
        s.sendall(raw("POST", "/v1/chat/completions", ask(k)))
    got, worst = read_all(streams)
    took = time.monotonic() - began
    stop.set()
    for t in threads:
        t.join()
    for k, data in got.items():
        found = events(dechunked(data))
        equal(found[-1][1], "[DONE]")
        indexes = [int(i.split(":")[1]) for i, _ in found if i]
        equal(indexes, sorted(set(indexes)), f"indexes of stream {k}")
        equal("".join(json.loads(d)["choices"][0]["delta"].get("content", "") for _, d in found[:-1]), want[k % 5], f"text of stream {k}")
    note(f"{STREAMS} streams of {TOKENS} tokens in {took:.1f} s beside {sum(counts) / took:.0f} requests/s; longest silence {worst:.2f} s")
    for s in streams.values():
        s.close()
    stack.await_idle()


main(after=[stack.close])
