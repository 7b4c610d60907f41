#!/usr/bin/python3
"""An engine for shoal in a hundred lines of plain Python, by what docs/ENGINE.md says.

Its "model" says the last thing it was told again, in capitals, one character a token: the id of a token is the
number of its character.  So an answer follows from its prompt alone, and what one engine began another can end.

    shoal-agent --config FILE --set engine.path=/where/it/is/engine.py
"""
import hashlib
import io
import os
import select
import socket
import struct
import sys
import time

HELLO, PROGRESS, LOADED, TOKENS, DONE, ERROR, PONG, SAVED, RESTORED = range(9)  # what an engine says
LOAD, GENERATE, CANCEL, PING, QUIT, SAVE, RESTORE = range(16, 23)  # what it is told
STOP, LENGTH, CANCELLED = 1, 2, 3  # how a job finishes
BAD_REQUEST, MODEL_LOAD_FAILED, CONTEXT_FULL = 1, 38, 40  # error codes, by number

# The keys of a message, of a turn and of the sampling have numbers (docs/protocol.cddl), counted from 1.
KEYS = ("type job version build max_sequences percent n_ctx n_params size digest arch index ids text finish usage timings code "
        "reason path parallel batch_tokens prefill_chunk threads prompt turns sampling prefix exact fast").split()
ROLE, CONTENT = 1, 2
MAX_TOKENS, STOPS, SIMPLE = 1, 7, range(1, 13)  # SIMPLE: what this engine can do, or what makes no difference to it

STEP_S = 0.002  # for one token of every job: a model would compute
CONTEXT = 4096  # tokens of prompt and answer of one job


# ---- CBOR: what the protocol uses of RFC 8949 ----


def dump(value):
    def head(kind, n):
        return struct.pack(">BQ", kind << 5 | 27, n)  # all numbers in 8 bytes: short would do, too

    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(dump, value))
    return head(5, len(value)) + b"".join(dump(k) + dump(v) for k, v in value.items())


def load(data):
    """The next value of a binary file."""
    kind, n = divmod(data.read(1)[0], 32)
    if kind == 7 and n < 24:
        return n == 21  # true; else false or null
    if kind == 7:
        return struct.unpack({25: ">e", 26: ">f", 27: ">d"}[n], data.read(1 << n - 24))[0]
    if n >= 24:
        n = int.from_bytes(data.read(1 << n - 24), "big")
    return {0: lambda: n, 1: lambda: -1 - n, 2: lambda: data.read(n), 3: lambda: data.read(n).decode(),
            4: lambda: [load(data) for _ in range(n)], 5: lambda: {load(data): load(data) for _ in range(n)}}[kind]()


# ---- the engine ----


class Job:
    def __init__(self, told):
        sampling = told.get("sampling", {})
        self.number, self.index = told["job"], len(told.get("prefix", []))  # a prefix was said elsewhere: go on behind it
        self.prompt = told["turns"][-1][CONTENT] if told.get("turns") else told.get("prompt", "")
        text = self.prompt.upper()
        # A stop string ends the answer: its tokens are said, its text is not.
        found = [(text.find(s), text.find(s) + len(s)) for s in sampling.get(STOPS, []) if s in text]
        n_text, n = min(found, key=lambda at: at[1], default=(len(text), len(text)))
        limit = sampling.get(MAX_TOKENS, 0) or CONTEXT - len(self.prompt)
        self.finish = STOP if n <= limit else LENGTH
        self.n_text = n_text if n <= limit else limit
        self.ids = [ord(c) for c in text[:min(n, limit)]]

    def next(self):
        """The next tokens and their text.  What may become a stop string is kept back until that is known."""
        n = 1 if self.index < self.n_text else len(self.ids)
        ids = self.ids[self.index:self.index + n]
        return ids, "".join(map(chr, ids)) if self.index < self.n_text else ""


class Engine:
    def __init__(self):
        self.socket = socket.socket(fileno=3)
        self.jobs, self.fds = {}, []

    def say(self, kind, **keys):
        message = dump({KEYS.index(k) + 1: v for k, v in dict(keys, type=kind).items()})
        self.socket.sendall(struct.pack(">I", len(message)) + message)

    def read(self, n):
        data = b""
        while len(data) < n:
            more, fds, _, _ = socket.recv_fds(self.socket, n - len(data), 1)
            self.fds += fds  # the model file comes with LOAD
            if not more:
                sys.exit(0)  # the agent has hung up: that means QUIT, too
            data += more
        return data

    def hear(self):
        message = load(io.BytesIO(self.read(struct.unpack(">I", self.read(4))[0])))
        return {KEYS[k - 1]: v for k, v in message.items() if k <= len(KEYS)}  # others are of a newer agent

    def on_load(self, told):
        try:
            with open(self.fds.pop(), "rb") as file:
                file.seek(0)
                data = file.read()
        except OSError as why:
            self.say(ERROR, code=MODEL_LOAD_FAILED, reason=f"{told['path']} cannot be read: {why.strerror}.")
            sys.exit(1)
        self.say(PROGRESS, percent=50)
        self.say(LOADED, n_ctx=CONTEXT, size=len(data), digest=hashlib.sha256(data).digest(), arch="capitals", exact=True)

    def on_generate(self, told):
        job = Job(told)
        if any(value for key, value in told.get("sampling", {}).items() if key not in SIMPLE):
            self.say(ERROR, job=job.number, code=BAD_REQUEST, reason="This engine knows no such way of sampling.")
        elif len(job.prompt) >= CONTEXT:
            self.say(ERROR, job=job.number, code=CONTEXT_FULL, reason=f"The prompt has more than {CONTEXT} characters.")
        else:
            self.jobs[job.number] = job

    def on_keep(self, told):
        """Sessions in files, which are of no use here: nothing is held, and nothing can be taken."""
        os.close(self.fds.pop())
        if told["type"] == SAVE:
            self.say(SAVED, job=told["job"])
        else:
            self.say(RESTORED, job=told["job"], code=BAD_REQUEST, reason="This engine keeps no sessions.")

    def on_cancel(self, told):
        if told["job"] in self.jobs:  # else it has ended, and the agent will hear so
            self.end(self.jobs[told["job"]], CANCELLED)

    def end(self, job, finish):
        usage = {1: len(job.prompt), 2: 0, 3: job.index}  # tokens of the prompt, computed before, of the answer
        self.say(DONE, job=job.number, index=job.index, finish=finish, usage=usage)
        del self.jobs[job.number]

    def step(self):
        time.sleep(STEP_S)
        for job in list(self.jobs.values()):
            ids, text = job.next()
            if ids:
                self.say(TOKENS, job=job.number, index=job.index, ids=ids, text=text)
                job.index += len(ids)
            if job.index >= len(job.ids):
                self.end(job, job.finish)

    def run(self):
        acts = {LOAD: self.on_load, GENERATE: self.on_generate, CANCEL: self.on_cancel,
                SAVE: self.on_keep, RESTORE: self.on_keep,
                PING: lambda told: self.say(PONG), QUIT: lambda told: sys.exit(0)}
        self.say(HELLO, version=1, build="capitals 1", max_sequences=16)
        while True:
            # All that was said counts before the next step; without a job there is nothing to do but listen.
            while select.select([self.socket], [], [], 0 if self.jobs else None)[0]:
                told = self.hear()
                acts.get(told["type"], lambda told: None)(told)  # whatever else it is, a newer agent can do without
            self.step()


if __name__ == "__main__":
    Engine().run()
