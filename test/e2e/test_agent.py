#!/usr/bin/python3
"""One agent with a real broker and the echo engine; the hub is played by this program."""
import hashlib
import os
import random
import signal
import subprocess
import time

from shoaltest import cbor
from shoaltest.agent import (ACK, CANCEL, DEGRADED, DRAIN, DRAINING, END, EV_ACCEPTED, EV_DONE, EV_FAILED, EV_REJECTED, EV_TOKENS,
                             FAILED, LOAD, LOADING, OFFLINE, ONLINE, PING, QUARANTINED, READY, RESEND, RESUME, Box)
from shoaltest.cluster import BIN, is_sanitized
from shoaltest.mqtt import PREFIX
from shoaltest.suite import Skip, check, equal, main, note, test
from shoaltest.wait import wait_until

ENGINE_CRASHED, AGENT_LOST, MODEL_UNKNOWN = 41, 42, 12
STOP, CANCELLED = 1, 3
USS_MAX, RSS_MAX = 5 << 20, 12 << 20

box = Box(echo="tokens=40\n")


def engine():
    """Pid of the engine; waits for one that is about to start."""
    wait_until(box.engines, "there is an engine")
    return box.engines()[0]


def await_another(pid, seq):
    wait_until(lambda: box.registration["seq"] > seq and box.model_state() == READY and box.engines() not in ([], [pid]),
               "the engine runs again")


def slow(settings):
    """What the echo engine does from its next start on; restarts it."""
    box.model.write_text(settings)
    pid, seq = engine(), box.registration["seq"]
    os.kill(pid, signal.SIGKILL)
    await_another(pid, seq)


def must_be_whole(done, frames, first=0):
    index, text = first, ""
    for e in frames:
        equal(e.get("index", 0), index, "index")
        index += len(e["ids"])
        text += e.get("text", "")
    equal(done["index"], index, "count")
    equal(done["sha256"], hashlib.sha256(text.encode()).digest(), "SHA-256")
    return text


@test
def it_registers_itself_and_its_model():
    box.await_ready()
    r, m = box.registration, box.registration["models"][0]
    equal((r["agent"], r["epoch"], r["conn"]), ("box-1", 1, 1))
    equal((m[1], m[4]), ("m", READY))
    check(18 not in m, "a model is said to be exact that was not to be")
    equal(m[2], hashlib.sha256(box.model.read_bytes()).digest(), "digest")
    equal(r["slots"], 2)
    check(r["engine"].startswith("echo"), r)
    hardware = r["hardware"]
    check(hardware[4] > 0 and hardware[5] > 1 << 20 and hardware[9] and hardware[11] > 0, f"hardware is known: {hardware}")
    equal(hardware[10], ["Echo0 (no computing, 0 MiB)"], "accelerators, as the engine sees them")
    equal(box.status, {"epoch": 1, "conn": 1, "state": ONLINE})
    equal(int((box.dir / "state/agent.pid").read_text()), box.process.pid)


@test
def the_heartbeat_has_what_this_box_can_measure():
    def sources(keys):
        return [k for k, path in keys.items() if os.path.exists(path)]

    sensors = wait_until(lambda: box.heartbeat and box.heartbeat.get("sensors"), "a heartbeat with sensors")
    for key in sources({5: "/proc/pressure/cpu", 6: "/proc/pressure/memory", 7: "/proc/pressure/io"}):
        check(0 <= sensors[key] <= 10000, f"pressure: {sensors}")
    disk = os.statvfs(box.dir)
    check(0 < sensors[10] <= disk.f_blocks * disk.f_frsize, f"disk: {sensors}")
    if not os.listdir("/sys/class/thermal"):
        check(1 not in sensors, f"no zone, and a temperature: {sensors}")


@test
def it_answers_a_job():
    box.dispatch("j1", temperature=0.0, seed=7)
    equal(box.next_event()["type"], EV_ACCEPTED)
    done, frames = box.await_event(EV_DONE, "j1")
    equal(done["finish"], STOP)
    equal(done["index"], 40)
    must_be_whole(done, frames)
    box.control(RESEND, "j1", 1, 0)
    again, frames_again = box.await_event(EV_DONE, "j1")
    equal(must_be_whole(again, frames_again), must_be_whole(done, frames))
    equal(len(frames_again), 1, "frames")
    box.control(END, "j1", 1)


@test
def another_attempt_goes_on_with_the_same_tokens():
    box.dispatch("j2", temperature=1.0, seed=9)
    done, frames = box.await_event(EV_DONE, "j2")
    ids = [i for e in frames for i in e["ids"]]
    box.dispatch("j2", attempt=2, temperature=1.0, seed=9, prefix=ids[:17])
    done, frames = box.await_event(EV_DONE, "j2")
    must_be_whole(done, frames, first=17)
    equal(ids[:17] + [i for e in frames for i in e["ids"]], ids, "tokens")


@test
def a_job_for_another_life_is_dropped():
    box.dispatch("j3", epoch=99)
    box.dispatch("j4")
    equal(box.next_event()["job"], "j4")
    box.await_event(EV_DONE, "j4")


@test
def a_job_for_a_model_it_has_not_got_is_refused():
    box.hub.publish(box.topic("jobs"), cbor.dumps({1: "j5", 2: 1, 3: box.epoch, 4: "other", 5: "x", 7: {}}))
    e = box.next_event()
    equal((e["type"], e["code"]), (EV_REJECTED, MODEL_UNKNOWN))


@test
def garbage_on_its_topics_is_counted_and_harms_nothing():
    rng = random.Random(1)
    pid, n = box.process.pid, 2000
    before = box.heartbeat.get("bad_messages", 0) if box.heartbeat else 0
    topics = [box.topic("jobs"), box.topic("control"), box.topic("status"), f"{PREFIX}/hub/status"]
    for i in range(n):
        payload = b"\xff" + rng.randbytes(rng.choice([0, 1, 5, 40, 2000]))
        box.hub.publish(topics[i % 4], payload, qos=0)
    wait_until(lambda: box.heartbeat.get("bad_messages", 0) >= before + n, "all of it is counted")
    lines = box.logged().count("is not valid")
    check(lines < 60, f"{lines} lines of log")
    box.dispatch("j6")
    box.await_event(EV_DONE, "j6")
    equal(box.process.pid, pid)
    check(box.process.poll() is None, "it lives")


@test
def a_stale_will_on_its_status_is_overwritten():
    box.hub.publish(box.topic("status"), cbor.dumps({1: box.epoch, 2: 0, 3: OFFLINE}), retain=True)
    wait_until(lambda: box.status["state"] == OFFLINE, "the forgery is there")
    wait_until(lambda: box.status == {"epoch": box.epoch, "conn": box.registration["conn"], "state": ONLINE}, "the truth is back", 3)


@test
def another_hub_is_told_everything():
    for epoch in (5, 6):
        seq = box.registration["seq"]
        box.hub.publish(f"{PREFIX}/hub/status", cbor.dumps({1: 1, 2: epoch, 3: ONLINE, 5: 1}), retain=True)
        wait_until(lambda: box.registration["seq"] > seq, "it registers anew", 3)


@test
def a_cancel_stops_the_engine():
    slow("tokens=1000\ndelay_us=20000\n")
    box.dispatch("j7")
    box.await_event(EV_TOKENS, "j7")
    box.control(CANCEL, "j7", 1)
    began = time.monotonic()
    done, _ = box.await_event(EV_DONE, "j7")
    equal(done["finish"], CANCELLED)
    check(time.monotonic() - began < 2, "soon")


@test
def when_the_engine_is_killed_its_jobs_fail_and_it_comes_back():
    pid = box.process.pid
    box.dispatch("j8")
    box.await_event(EV_TOKENS, "j8")
    engine = box.engines()[0]
    os.kill(engine, signal.SIGKILL)
    began = time.monotonic()
    failed, _ = box.await_event(EV_FAILED, "j8")
    check(time.monotonic() - began < 1, "at once")
    equal(failed["code"], ENGINE_CRASHED)
    wait_until(lambda: box.model_state() == READY and box.engines() not in ([], [engine]), "it is back")
    equal(box.process.pid, pid)
    box.dispatch("j8", attempt=2)
    box.await_event(EV_TOKENS, "j8")
    box.control(CANCEL, "j8", 2)
    box.await_event(EV_DONE, "j8")


@test
def when_the_engine_talks_garbage_it_is_ended():
    slow("tokens=40\ngarbage_at=5\n")
    pid, seq = engine(), box.registration["seq"]
    box.model.write_text("tokens=40\n")
    box.dispatch("j9")
    failed, _ = box.await_event(EV_FAILED, "j9")
    equal(failed["code"], ENGINE_CRASHED)
    await_another(pid, seq)


@test
def a_file_that_cannot_be_loaded_makes_it_degraded_until_it_can():
    box.model.write_text("fail_load=1\n")
    os.kill(engine(), signal.SIGKILL)
    wait_until(lambda: box.model_state() == FAILED and box.status["state"] == DEGRADED, "degraded")
    check(box.status["reason"], "a reason is given")
    box.model.write_text("tokens=40\n")
    wait_until(lambda: box.model_state() == READY and box.status["state"] == ONLINE, "online again")


@test
def the_hub_may_drain_it_and_take_that_back():
    box.control(DRAIN)
    wait_until(lambda: box.status["state"] == DRAINING, "draining")
    box.dispatch("j10")
    equal(box.next_event()["type"], EV_REJECTED)
    box.control(RESUME)
    wait_until(lambda: box.status["state"] == ONLINE, "online")


@test
def a_second_agent_on_its_state_directory_is_refused():
    done = subprocess.run([BIN / "shoal-agent", "--config", box.config], capture_output=True, text=True, timeout=20)
    check(done.returncode == 73, done)
    check(str(box.process.pid) in done.stderr or "state" in done.stderr, done.stderr)
    check(box.process.poll() is None and box.status["state"] == ONLINE, "the first one is not disturbed")


@test
def it_comes_back_when_the_broker_is_killed_and_started_again():
    conn, pid = box.registration["conn"], box.process.pid
    box.hub.close()
    box.broker.kill()
    box.registration = box.status = None
    box.broker.start()
    box.watch()
    wait_until(lambda: box.registration and box.registration["conn"] > conn and box.status and box.status["state"] == ONLINE,
               "it is back", 20)
    equal(box.process.pid, pid)
    box.dispatch("j11")
    box.await_event(EV_DONE, "j11")


@test
def a_broker_that_stands_still_delays_tokens_and_loses_none():
    slow("tokens=600\ndelay_us=2000\n")

    def stand_still():
        box.broker.process.send_signal(signal.SIGSTOP)
        time.sleep(2)  # the fault's length: longer than the engine takes for the whole answer
        box.broker.process.send_signal(signal.SIGCONT)

    box.dispatch("j16")
    done, frames = box.follow("j16", at=20, then=stand_still)
    must_be_whole(done, frames)
    equal(done["index"], 600)
    slow("tokens=40\n")


@test
def it_is_small():
    if is_sanitized():
        raise Skip("a build with sanitizers says nothing about memory")
    uss = rss = 0
    with open(f"/proc/{box.process.pid}/smaps_rollup") as f:
        for line in f:
            field = line.split()
            uss += int(field[1]) << 10 if field[0] in ("Private_Clean:", "Private_Dirty:") else 0
            rss += int(field[1]) << 10 if field[0] == "Rss:" else 0
    note(f"{uss / (1 << 20):.2f} MiB private, {rss / (1 << 20):.2f} MiB resident")
    check(uss < USS_MAX and rss < RSS_MAX, "too big")


@test
def sigterm_lets_the_running_job_finish_and_says_goodbye():
    slow("tokens=60\ndelay_us=20000\n")
    box.dispatch("j12")
    _, frames = box.await_event(EV_TOKENS, "j12")
    engine = box.engines()[0]
    box.process.send_signal(signal.SIGTERM)
    wait_until(lambda: box.status["state"] == DRAINING, "draining")
    box.dispatch("j13")
    e, frames = box.await_event(EV_REJECTED, "j13")
    done, more = box.await_event(EV_DONE, "j12")
    equal(done["index"], 60)
    equal(box.process.wait(10), 0, "exit status")
    wait_until(lambda: box.status["state"] == OFFLINE, "offline")
    equal(box.status["reason"], "stopped")
    check(not os.path.exists(f"/proc/{engine}"), "no engine is left")


@test
def the_next_life_has_the_next_epoch():
    last = box.epoch
    box.start()
    box.await_ready(after_epoch=last)
    equal(box.epoch, last + 1)


@test
def killed_it_is_offline_by_its_will_at_once():
    box.dispatch("j14")
    box.await_event(EV_TOKENS, "j14")  # the engine runs, and holds no copy of the connection
    engine = box.engines()[0]
    conn = box.registration["conn"]
    began = time.monotonic()
    box.process.kill()
    wait_until(lambda: box.status["state"] == OFFLINE, "the will is there", 5, 0.001)
    took = time.monotonic() - began
    note(f"after {took * 1000:.0f} ms")
    check(took < 1, f"{took:.2f} s")
    equal((box.status["epoch"], box.status["conn"]), (box.epoch, conn))
    box.process.wait()
    wait_until(lambda: not os.path.exists(f"/proc/{engine}"), "the engine ends with its agent")


@test
def two_sigterms_end_it_at_once():
    last = box.epoch
    box.start()
    box.await_ready(after_epoch=last)
    box.dispatch("j15")
    box.await_event(EV_TOKENS, "j15")
    box.process.send_signal(signal.SIGTERM)
    wait_until(lambda: box.status["state"] == DRAINING, "draining")
    box.process.send_signal(signal.SIGTERM)
    failed, _ = box.await_event(EV_FAILED, "j15")
    equal(failed["code"], AGENT_LOST)
    equal(box.process.wait(5), 0, "exit status")


@test
def the_third_death_quarantines_the_model_until_it_is_told_to_load():
    last = box.epoch
    box.model.write_text("tokens=5\ndelay_us=5000\n")
    box.start("--set", "engine.quarantine_deaths=3")
    box.await_ready(after_epoch=last)
    box.dispatch("j17")
    box.await_event(EV_DONE, "j17")
    for death in range(3):
        pid, seq = engine(), box.registration["seq"]
        os.kill(pid, signal.SIGKILL)
        if death < 2:
            await_another(pid, seq)
    wait_until(lambda: box.model_state() == QUARANTINED and box.status["state"] == DEGRADED, "quarantined")
    equal(box.engines(), [], "engines")
    check("died 3 times" in box.registration["models"][0][8], "the registration says why")
    wait_until(lambda: "died 3 times" in box.heartbeat.get("reason", ""), "the heartbeat says why")
    box.dispatch("j18")
    refused, _ = box.await_event(EV_REJECTED, "j18")
    equal(refused["code"], ENGINE_CRASHED)
    box.control(LOAD, model="m")
    wait_until(lambda: box.model_state() == READY and box.status["state"] == ONLINE, "online again")
    box.dispatch("j18", attempt=2)
    box.await_event(EV_DONE, "j18")
    wait_until(lambda: box.heartbeat.get("requests_total") == 3 and box.heartbeat.get("errors_total") == 1, "figures")
    check(0 < box.heartbeat["p50"] <= box.heartbeat["p95"] <= box.heartbeat["p99"], box.heartbeat)
    box.process.send_signal(signal.SIGTERM)
    equal(box.process.wait(10), 0, "exit status")


@test
def what_cannot_work_is_said_in_a_sentence():
    state = box.dir / "state-2"
    (box.dir / "file").write_text("")
    cases = [
        (["--set", "broker.port=0"], 78, "port"),
        (["--set", "nonsense=1"], 78, "nonsense"),
        (["--config", "/nonexistent.cfg"], 78, "nonexistent.cfg"),
        (["--set", f"engine.path={box.dir}/none"], 69, "engine.path"),
        (["--set", f"state_dir={box.dir}/file"], 73, "file"),
        (["--set", f"state_dir={state}", "--set", "broker.password_file=/nonexistent"], 70, "broker.password_file"),
    ]
    for args, status, says in cases:
        args = args if args[0] == "--config" else ["--config", box.config, *args]
        done = subprocess.run([BIN / "shoal-agent", *args], capture_output=True, text=True, timeout=20)
        equal(done.returncode, status, f"exit status of {args}: {done.stderr}")
        check(says in done.stderr, f"{args}: {done.stderr!r}")


@test
def no_prompt_or_answer_is_logged():
    check("hello" not in box.logged(), "a prompt is in the log")


@test
def sanitizers_have_nothing_to_say():
    check("Sanitizer" not in box.logged(), box.logged()[-3000:])


main(after=[box.close])
