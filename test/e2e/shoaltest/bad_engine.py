#!/usr/bin/python3
"""The example engine, gone mad: once a job has five tokens it does what the file `fault` beside its model says.

Only for a model whose file is called *.bad; the file `fault` is gone when it happens, so the next engine is well.
"""
import os
import signal
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "docs/examples"))
from engine import DONE, LOADED, PONG, STOP, TOKENS, Engine  # noqa: E402

AT = 5
FLOOD_IDS = list(range(4096))


class BadEngine(Engine):
    fault = None

    def on_load(self, told):
        if told["path"].endswith(".bad"):
            self.fault = Path(told["path"]).with_name("fault")
        super().on_load(told)

    def step(self):
        super().step()
        for job in list(self.jobs.values()):
            if job.index >= AT and self.fault and self.fault.exists():
                name = self.fault.read_text()
                self.fault.unlink()
                getattr(self, name)(job)

    def raw(self, data):
        self.socket.sendall(data)

    # ---- the faults ----

    def exits(self, job):
        sys.exit(0)

    def is_killed(self, job):
        os.kill(os.getpid(), signal.SIGKILL)

    def stands_still(self, job):
        os.kill(os.getpid(), signal.SIGSTOP)

    def hangs(self, job):
        while True:
            time.sleep(3600)

    def forgets(self, job):
        del self.jobs[job.number]

    def frame_too_long(self, job):
        self.raw(b"\xff\xff\xff\xff" + bytes(100))

    def frame_of_nothing(self, job):
        self.raw(struct.pack(">I", 0))

    def broken_cbor(self, job):
        self.raw(struct.pack(">I", 3) + b"\xa1\x01\x9f")

    def text_not_utf8(self, job):
        text = b"\x62\xc3\x28"
        self.raw(struct.pack(">I", 12 + len(text)) + b"\xa5\x01\x03\x02" + bytes([job.number]) + b"\x0c" + bytes([job.index])
                 + b"\x0d\x81\x07\x0e" + text)

    def tokens_of_no_job(self, job):
        self.say(TOKENS, job=job.number + 1000, index=0, ids=[1], text="x")

    def index_jumps(self, job):
        self.say(TOKENS, job=job.number, index=job.index + 1, ids=[1], text="x")

    def index_repeats(self, job):
        self.say(TOKENS, job=job.number, index=job.index - 1, ids=[1], text="x")

    def loaded_twice(self, job):
        self.say(LOADED, n_ctx=1)

    def done_counts_wrong(self, job):
        self.say(DONE, job=job.number, index=job.index + 1, finish=STOP)

    def pong_of_no_ping(self, job):
        self.say(PONG)

    def leaves_a_child_that_talks(self, job):
        if os.fork() == 0:
            while True:
                self.say(PONG)
        os._exit(0)

    def floods(self, job):
        while True:
            self.say(TOKENS, job=job.number, index=job.index, ids=FLOOD_IDS, text="y" * len(FLOOD_IDS))
            job.index += len(FLOOD_IDS)

    def complains(self, job):
        line = b"<3>" + b"something is wrong " * 10 + b"\n"
        for _ in range((16 << 20) // len(line)):
            os.write(2, line)


if __name__ == "__main__":
    BadEngine().run()
