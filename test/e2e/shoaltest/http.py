"""HTTP by the standard library: whole documents, and server-sent events as they come."""
import http.client
import json
import time
from urllib.parse import urlsplit


def _open(url, timeout_s):
    u = urlsplit(url)
    return http.client.HTTPConnection(u.hostname, u.port, timeout=timeout_s), u.path + ("?" + u.query if u.query else "")


def get(url, timeout_s=20):
    conn, path = _open(url, timeout_s)
    try:
        conn.request("GET", path)
        r = conn.getresponse()
        return r.status, r.read()
    finally:
        conn.close()


def post(url, document, timeout_s=120):
    """(status, decoded answer)."""
    conn, path = _open(url, timeout_s)
    try:
        conn.request("POST", path, json.dumps(document).encode(), {"Content-Type": "application/json"})
        r = conn.getresponse()
        return r.status, json.loads(r.read())
    finally:
        conn.close()


class Stream:
    """POST with "stream": true.  Iterating yields (time, chunk); `ids` has the event ids, after
    the end `done` tells whether [DONE] was there and `error` holds an error event."""

    def __init__(self, url, document, timeout_s=120):
        self.conn, path = _open(url, timeout_s)
        self.conn.request("POST", path, json.dumps(dict(document, stream=True)).encode(), {"Content-Type": "application/json"})
        self.response = self.conn.getresponse()
        self.done, self.error, self.ids = False, None, []

    def __iter__(self):
        for line in self.response:
            line = line.rstrip(b"\r\n")
            if line.startswith(b"id:"):
                self.ids.append(line[3:].strip().decode())
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                self.done = True
                continue
            assert not self.done, "an event after [DONE]"
            chunk = json.loads(data)
            if "error" in chunk:
                self.error = chunk["error"]
            yield time.monotonic(), chunk

    def close(self):
        self.conn.close()


def text_of(chunk):
    """The text a chunk adds, chat or completion."""
    out = ""
    for choice in chunk.get("choices", []):
        out += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
    return out
