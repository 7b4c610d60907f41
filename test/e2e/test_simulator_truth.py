#!/usr/bin/python3
"""shoal-sim against the truth: the same jobs, by real processes with the echo engine on 3 boxes.

Counts must agree; times are told, and only held to what a busy machine cannot break."""
import csv
import io
import os
import subprocess
import threading
import time
from statistics import median

from hubtest import Stack
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, note, test

SIM = os.path.join(os.environ["SHOAL_BIN_DIR"], "shoal-sim")
BOXES, SLOTS, TOKENS, STEP_MS = 3, 4, 40, 13  # the kind "echo" of shoal-sim
EVERY_MS, JOBS = 110, 60                      # about two fifths of what the boxes can do
CHATS, TURNS = 6, 6


def predicted(policy, lines, directory):
    trace = directory / "jobs.csv"
    trace.write_text("".join(lines))
    out = subprocess.run([SIM, "--csv", f"--agents={BOXES}", "--fleet=echo", "--models=tiny", "--frame=1", f"--policy={policy}",
                          f"--trace={trace}"], capture_output=True, text=True, timeout=60, check=True).stdout
    row, = csv.DictReader(io.StringIO(out))
    return row


def real(client, sessions):
    """Asks job after job, each at its time; what became of them, and how long each took."""
    took, ends, lock = [], [None] * len(sessions), threading.Lock()

    def ask(i, session):
        began = time.monotonic()
        document = {"model": "echo", "prompt": f"{i} " + "x" * 20, "max_tokens": TOKENS, "ignore_eos": True}
        ends[i] = client.submit(document | ({"session": session} if session else {})).end()
        with lock:
            took.append(time.monotonic() - began)

    threads, began = [], time.monotonic()
    for i, session in enumerate(sessions):
        time.sleep(max(0.0, began + i * EVERY_MS / 1000 - time.monotonic()))  # the rate is the load
        threads.append(threading.Thread(target=ask, args=(i, session)))
        threads[-1].start()
    for t in threads:
        t.join()
    return ends, took


def compare(policy, sessions):
    stack = Stack(agents=BOXES, parallel=SLOTS, echo=f"tokens={TOKENS}\ndelay_us={STEP_MS * 1000}\n", hub=[f"policy={policy}"])
    try:
        want = predicted(policy, [f"{i * EVERY_MS},u,{s},,20,{TOKENS},,\n" for i, s in enumerate(sessions)], stack.dir)
        ends, took = real(Client(stack.mqtt_port), sessions)
        equal([e["type"] for e in ends], ["done"] * len(sessions), "ends")
        receipts = [e["receipt"] for e in ends]
        by_box = [sum(r["agent"] == b for r in receipts) for b in sorted({r["agent"] for r in receipts})]
        attempts = sum(r["attempts"] for r in receipts) / len(receipts)
        note(f"{policy}: attempts {attempts:.2f} (simulated {float(want['attempts_per_job']):.2f}), busiest box "
             f"{max(by_box) / len(ends):.2f} ({float(want['busiest_share']):.2f}), end to end median {median(took):.3f} s "
             f"({float(want['e2e_p50_s']):.3f} s)")
        equal(attempts, float(want["attempts_per_job"]), "attempts a job")
        check(median(took) > 0.9 * float(want["e2e_p50_s"]), "real boxes are quicker than they can be")
        return receipts, max(by_box) / len(ends), want
    finally:
        stack.close()


@test
def jobs_in_turn():
    _, busiest, want = compare("round_robin", [""] * JOBS)
    check(abs(busiest - float(want["busiest_share"])) < 0.05, "share of the busiest box")


@test
def jobs_by_expected_time():
    _, busiest, want = compare("cost", [""] * JOBS)
    check(abs(busiest - float(want["busiest_share"])) < 0.2, "share of the busiest box")


@test
def conversations():
    receipts, _, want = compare("cost", [f"s{i % CHATS}" for i in range(CHATS * TURNS)])
    kept = sum(a["agent"] == b["agent"] for a, b in zip(receipts, receipts[CHATS:]))
    note(f"turns on the agent of the turn before: {kept} of {CHATS * (TURNS - 1)} (simulated {want['turns_kept']})")
    equal(kept, int(want["turns_kept"]), "turns kept")


main()
