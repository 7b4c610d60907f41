#!/usr/bin/python3
"""How fast a model is: measured once at rest, kept over restarts of the agent."""
import signal

from shoaltest.agent import Box
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

PREFILL, DECODE = 14, 15  # of model-info
box = Box(echo="tokens=40\ndelay_us=3000\n", benchmark=True)
kept = box.dir / "state/benchmarks"


def model():
    return box.registration["models"][0]


@test
def it_is_measured_and_told():
    box.await_ready()
    check(DECODE not in model() or model()[DECODE] == 0, "measured before it was at rest")
    wait_until(lambda: model().get(DECODE, 0) > 0, "it is measured")
    # Each step of this engine sleeps 3 ms: not more than 333 tokens in a second, and one with 100 a sleepy box.
    check(1000 < model()[DECODE] < 334000, model())
    check(model()[PREFILL] > model()[DECODE], "prompts are read in chunks")
    check(str(model()[DECODE]) in kept.read_text(), kept.read_text())
    equal(box.events.qsize(), 0, "events of jobs")
    hb = wait_until(lambda: box.heartbeat, "a heartbeat")
    equal((hb["running"], hb.get("tokens_total", 0), hb.get("requests_total", 0)), (0, 0, 0), "figures")


@test
def a_restart_knows_it():
    before, inode, epoch = model()[DECODE], kept.stat().st_ino, box.epoch
    box.process.send_signal(signal.SIGTERM)
    equal(box.process.wait(20), 0, "exit status")
    box.start()
    box.await_ready(epoch)
    equal(model()[DECODE], before, "tokens/s")
    equal(kept.stat().st_ino, inode, "the file was not written again")


@test
def another_file_is_another_model():
    epoch = box.epoch
    box.process.send_signal(signal.SIGTERM)
    box.process.wait(20)
    box.model.write_text("tokens=40\ndelay_us=12000\n")
    box.start()
    box.await_ready(epoch)
    wait_until(lambda: model().get(DECODE, 0) > 0, "it is measured")
    check(model()[DECODE] < 84000, model())
    equal(len(kept.read_text().splitlines()), 2, "lines")


main(after=[box.close])
