"""The protocol of fd 3, spoken with one engine: test_protocol.py's SHOAL_ENGINE is echo or llama.

What both must do alike; what only a real model can show is in test_llama.py.
"""
import atexit
import hashlib
import json
import math
import os
import random
import re
import shutil
import struct
import tempfile
import time
from pathlib import Path

from link import (CANCEL, CANCELLED, DONE, EMBED, EMBEDDING, ERROR, GENERATE, HELLO, LENGTH, LOAD, LOADED, PING, PONG, PROGRESS,
                  QUIT, RESTORE, RESTORED, SAVE, SAVED, STOP, TOKENS, Answer, Closed, Engine, encode)
from shoaltest.suite import Skip, check, equal, main, test
from shoaltest.wait import wait_until

SOURCE = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("SHOAL_BIN_DIR", SOURCE / "build/bin"))
KIND = os.environ.get("SHOAL_ENGINE", "echo")
PROGRAM = BIN / {"echo": "shoal-engine-echo", "llama": "shoal-engine"}[KIND]

BAD_REQUEST, CONFLICT, QUEUE_FULL, MODEL_NOT_LOADED, MODEL_LOAD_FAILED, CONTEXT_FULL = 1, 5, 8, 37, 38, 40
PROMPT = "07:12:44 WARN gateway-3 sshd: login failed for admin from 10.0.4.7"

scratch = Path(tempfile.mkdtemp(prefix="shoal-engine-"))
atexit.register(shutil.rmtree, scratch, ignore_errors=True)


def model_file():
    if KIND == "llama":
        return SOURCE / "models/shoal-triage.gguf"
    path = scratch / "model.echo"
    path.write_text("tokens=40\nn_ctx=512\nload_ms=30\n")
    return path


MODEL = model_file()


def engine(**options):
    """An engine with the model loaded, 4 sequences unless said otherwise."""
    e = Engine(PROGRAM)
    loaded, _ = e.load(MODEL, **dict({"parallel": 4}, **options))
    equal(loaded["type"], LOADED, "answer to LOAD")
    return e


def refused(e, code, **message):
    """The sentence with which a GENERATE is refused."""
    e.next_job += 1
    e.send(type=GENERATE, job=e.next_job, **message)
    m = e.recv()
    equal((m["type"], m.get("job"), m.get("code")), (ERROR, e.next_job, code), "refusal")
    check(len(m["reason"]) > 10 and m["reason"].endswith("."), "the reason is no sentence: %r" % m["reason"])
    return m["reason"]


def ends(e, status):
    """The engine hangs up and exits so; what it said on stderr."""
    try:
        while True:
            e.recv()
    except Closed:
        pass
    got, words = e.wait()
    equal(got, status, "exit status")
    return words


# ---- life ----


@test
def it_says_hello_first_and_tells_how_loading_goes():
    with Engine(PROGRAM) as e:
        loaded, percents = e.load(MODEL, parallel=2)
        equal((e.hello["type"], e.hello["version"]), (HELLO, 1))
        check(e.hello["build"] and e.hello["max_sequences"] >= 16, e.hello)
        equal(loaded["digest"], hashlib.sha256(MODEL.read_bytes()).digest(), "digest")
        check(loaded["n_ctx"] == 512 and loaded["n_params"] > 0 and loaded["size"] > 0 and loaded["arch"], loaded)
        check(loaded["exact"], "the engine says its tokens may differ from another's")
        check(len(percents) > 2 and percents == sorted(set(percents)) and percents[-1] == 100, percents)


@test
def it_leaves_when_told_to_and_when_the_agent_is_gone():
    with engine() as e:
        e.send(type=QUIT)
        equal(ends(e, 0), "", "stderr")
    with engine() as e:
        e.start(PROMPT, ignore_eos=True)
        e.sock.close()
        equal(e.wait()[0], 0, "exit status")
    with Engine(PROGRAM) as e:  # in the middle of LOAD
        e.send_load(MODEL)
        e.sock.close()
        equal(e.wait()[0], 0, "exit status")


@test
def a_file_that_is_no_model_is_refused_with_a_sentence():
    good = MODEL.read_bytes()
    files = {"empty": b"", "garbage": random.Random(1).randbytes(100000)}
    if KIND == "llama":
        files.update(cut=good[:len(good) // 2], head=good[:200], version=good[:4] + b"\xff" * 4 + good[8:],
                     counts=good[:8] + b"\xff" * 16 + good[24:])
    else:
        del files["empty"]
        files.update(word=b"no setting\n", number=b"tokens=many\n", told=b"fail_load=1\n")
    for name, data in files.items():
        path = scratch / ("broken-" + name)
        path.write_bytes(data)
        with Engine(PROGRAM) as e:
            m, _ = e.load(path)
            equal((m["type"], m.get("job", 0), m.get("code")), (ERROR, 0, MODEL_LOAD_FAILED), name)
            check(len(m["reason"]) > 20, "%s: %r" % (name, m["reason"]))
            ends(e, 1)


# ---- descriptors ----


def given():
    """What is no model file to be read, with a word of what the engine says of it."""
    fifo, writable = scratch / "fifo", scratch / "writable"
    if not fifo.exists():
        os.mkfifo(fifo)
    shutil.copy(MODEL, writable)
    return [(os.open(scratch, os.O_RDONLY), "directory"), (os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "regular"),
            (os.open(writable, os.O_RDWR), "opened"), (os.open(writable, os.O_WRONLY), "opened"),
            (os.open(MODEL, os.O_PATH), "opened"), (os.open("/dev/zero", os.O_RDONLY), "regular")]


@test
def the_model_is_the_descriptor_and_its_path_only_a_name():
    fd = os.open(MODEL, os.O_RDONLY)
    os.lseek(fd, 100, os.SEEK_SET)  # where it stands does not matter
    with Engine(PROGRAM) as e:
        e.recv()
        e.send([fd], type=LOAD, path="/nowhere", parallel=1)
        while (m := e.recv())["type"] == PROGRESS:
            pass
        equal((m["type"], m["digest"]), (LOADED, hashlib.sha256(MODEL.read_bytes()).digest()))
        check(e.ask(PROMPT, max_tokens=3, ignore_eos=True).ids, "no answer")
    os.close(fd)


@test
def a_descriptor_that_is_no_file_to_be_read_is_refused_with_a_sentence():
    for fd, word in given():
        with Engine(PROGRAM) as e:
            e.recv()
            e.send([fd], type=LOAD, path="some name")
            m = e.recv()
            equal((m["type"], m.get("job", 0), m.get("code")), (ERROR, 0, MODEL_LOAD_FAILED), word)
            check("some name" in m["reason"] and word in m["reason"], m["reason"])
            ends(e, 1)
        os.close(fd)


@test
def a_descriptor_too_many_or_one_missing_ends_the_engine():
    fd = os.open(MODEL, os.O_RDONLY)
    frames = lambda **m: struct.pack(">I", len(encode(m))) + encode(m)  # noqa: E731
    load, ping = frames(type=LOAD, path="m"), frames(type=PING)
    wrong = {"none": [(load, 0)], "two": [(load, 2)], "many": [(load, 50)], "a PING's": [(ping, 1)],
             "a PING's, in two parts": [(ping[:3], 1), (ping[3:], 0)], "one on each part": [(load[:9], 1), (load[9:], 1)],
             "before a PING that is whole": [(ping + load[:5], 1), (load[5:] + ping, 1)]}
    for name, parts in wrong.items():
        with Engine(PROGRAM) as e:
            e.recv()
            try:
                for data, n in parts:
                    e.send_raw(data, [fd] * n)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it did not wait for the rest
            words = ends(e, 1)
            check("the talk with the agent ended" in words, "%s: %r" % (name, words))
    os.close(fd)


@test
def a_descriptor_comes_with_its_message_whatever_the_pieces():
    fd = os.open(MODEL, os.O_RDONLY)
    payload = encode(dict(type=LOAD, path=str(MODEL), parallel=1))
    ping = encode(dict(type=PING))
    load, ping = struct.pack(">I", len(payload)) + payload, struct.pack(">I", len(ping)) + ping
    for parts in ([(ping, 0), (load, 1), (ping, 0)], [(ping[:3], 0), (ping[3:], 0), (load[:1], 1), (load[1:] + ping, 0)]):
        with Engine(PROGRAM) as e:
            e.recv()
            for data, n in parts:
                e.send_raw(data, [fd] * n)
            got = []
            while got.count(PONG) < 2 or LOADED not in got:
                got.append(e.recv()["type"])
            check(os.readlink("/proc/self/fd/%d" % fd), "the sender's own is closed")
    os.close(fd)


# ---- sessions ----

FIRST = [{"role": "user", "content": PROMPT + "; " + PROMPT}]


def second(answer):
    return FIRST + [{"role": "assistant", "content": answer}, {"role": "user", "content": "and now?"}]


def usage(answer):
    return answer.end["usage"]["prompt_tokens"], answer.end["usage"]["cached_tokens"]


def saved_session(path, **options):
    """A first turn, saved; its text and the number of tokens."""
    with engine(**options) as e:
        a = e.ask(FIRST, temperature=0.0, max_tokens=30)
        m = e.save(path)
        equal((m["type"], m["job"], m.get("code", 0)), (SAVED, e.next_job, 0), repr(m))
        equal(m["size"], path.stat().st_size, "size")
        return a.text, m["tokens"]


@test
def a_session_saved_and_restored_after_a_kill_goes_on_as_if_nothing_had_happened():
    path = scratch / "session"
    for sampling in (dict(temperature=0.0), dict(temperature=1.2, seed=4)):
        args = dict(sampling, max_tokens=40, ignore_eos=True)
        with engine() as e:
            text = e.ask(FIRST, temperature=0.0, max_tokens=30).text
            n = e.save(path)["tokens"]
            want = e.ask(second(text), **args)
            e.process.kill()
        with engine() as e:
            others = [e.start("other %d" % i, ignore_eos=True) for i in range(2)]
            equal(e.recv()["type"], TOKENS)
            with open(path, "rb") as f:
                e.send([f.fileno()], type=RESTORE, job=e.next_job + 1)
            job = e.start(second(text), **args)
            for other in others:
                e.send(type=CANCEL, job=other)
            got, restored, left = Answer(), None, {job, *others}
            while left:
                m = e.recv()
                if m["type"] == RESTORED:
                    restored = m
                elif m["job"] == job:
                    got.take(m)
                if m["type"] == DONE:
                    left.remove(m["job"])
        equal((restored["tokens"], restored.get("code", 0)), (n, 0), repr(restored))
        equal((got.ids, got.text, usage(got)), (want.ids, want.text, usage(want)), "the second turn, %r" % sampling)
        # Of echo's tokens an answer's never come back in a prompt.
        check(usage(got)[1] >= (0.8 if KIND == "llama" else 0.4) * usage(got)[0], usage(got))


@test
def what_is_there_already_is_not_read_again():
    path = scratch / "held"
    with engine() as e:
        e.ask(FIRST, temperature=0.0, max_tokens=30)
        n = e.save(path)["tokens"]
        data = bytearray(path.read_bytes())
        data[-1] ^= 1  # the state: nobody looks
        path.write_bytes(data)
        m = e.restore(path)
        equal((m["type"], m["tokens"], m.get("code", 0)), (RESTORED, n, 0), repr(m))
        asked, found = usage(e.ask(FIRST, max_tokens=2))
        equal(found, asked - 1, "cached")


@test
def a_saved_session_that_is_not_whole_is_refused_and_changes_nothing():
    path, bad = scratch / "whole", scratch / "bad"
    text, n = saved_session(path)
    data = path.read_bytes()
    chance = random.Random(5)
    spoilt = [data[:k] for k in {0, 1, 103, 104, 105, len(data) // 2, len(data) - 1}] + [data + b"x", bytes(len(data))]
    for at in list(range(0, 140, 3)) + [chance.randrange(len(data)) for _ in range(20)]:
        spoilt.append(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1:])
    with engine() as e:
        for i, d in enumerate(spoilt):
            bad.write_bytes(d)
            m = e.restore(bad)
            equal((m["type"], m.get("tokens", 0)), (RESTORED, 0), "%d: %r" % (i, m))
            check(m.get("code") and m["reason"].endswith("."), "%d: %r" % (i, m))
        equal(usage(e.ask(second(text), max_tokens=2))[1], 0, "cached after refusals")
        m = e.restore(path)
        equal(m["tokens"], n, "the good one: %r" % m)


@test
def a_session_of_another_model_or_engine_is_refused():
    path = scratch / "foreign"
    _, n = saved_session(path)
    data = path.read_bytes()
    for at, word in ((40, "model"), (104, "build"), (8, "version")):
        bad = scratch / "bad"
        bad.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        with engine() as e:
            m = e.restore(bad)
            check(word in m["reason"], m["reason"])
    for options in (dict(parallel=3), dict(fast=True), dict(n_ctx=n - 1)):
        with engine(**options) as e:
            m = e.restore(path)
            equal(m.get("tokens", 0), 0, "%r: %r" % (options, m))
            check(m["code"], m)


@test
def what_cannot_be_saved_is_said_and_writes_nothing():
    path = scratch / "none"
    with engine(parallel=1) as e:
        m = e.save(path, job=77)
        equal((m["type"], m["job"], m.get("tokens", 0), m.get("code", 0)), (SAVED, 77, 0, 0), "of a job that never was")
        job = e.start(PROMPT, ignore_eos=True, max_tokens=50)
        e.recv()
        with open(path, "wb") as f:
            e.send([f.fileno()], type=SAVE, job=job, max_bytes=1 << 30)
        while (m := e.recv())["type"] != SAVED:
            pass
        equal(m.get("tokens", 0), 0, "of a job that runs")
        while e.recv()["type"] != DONE:
            pass
        m = e.save(path, max_bytes=200)
        check(m["code"] and "more than may be saved" in m["reason"], m)
        e.ask("something else")  # in its place
        equal(e.save(path, job=job).get("tokens", 0), 0, "of a job whose place was taken")
        equal(path.stat().st_size, 0, "bytes written")
        for kind, fd, word in ((SAVE, os.open(MODEL, os.O_RDONLY), "opened"), (SAVE, os.open(scratch, os.O_RDONLY), "directory"),
                               (RESTORE, os.open(path, os.O_RDWR), "opened"), (RESTORE, os.open("/dev/zero", os.O_RDONLY), "regular")):
            e.send([fd], type=kind, job=5, max_bytes=1 << 30)
            os.close(fd)
            m = e.recv()
            check(m["code"] and word in m["reason"], m)


@test
def it_keeps_no_descriptor_it_was_given():
    with engine() as e:
        folder = Path("/proc/%d/fd" % e.process.pid)
        left = sorted(os.readlink(f) for f in folder.iterdir() if int(f.name) > 3)
        equal(set(left) - {"/proc/pressure/cpu", "/proc/stat"}, set(), "descriptors after LOAD")
        e.ask(PROMPT, max_tokens=3)
        e.save(scratch / "kept")
        e.restore(scratch / "kept")
        equal(sorted(os.readlink(f) for f in folder.iterdir() if int(f.name) > 3), left, "descriptors after SAVE and RESTORE")


@test
def more_sequences_than_it_can_hold_are_refused():
    with Engine(PROGRAM) as e:
        m, _ = e.load(MODEL, parallel=4000)
        equal((m["type"], m.get("code")), (ERROR, MODEL_LOAD_FAILED))
        check("4000" in m["reason"], m["reason"])


@test
def it_answers_pings_idle_and_busy():
    with engine() as e:
        e.send(type=PING)
        equal(e.recv()["type"], PONG)
        job = e.start(PROMPT, ignore_eos=True)
        e.send(type=PING)
        while e.recv()["type"] != PONG:
            pass
        e.send(type=CANCEL, job=job)


# ---- answers ----


@test
def an_answer_comes_in_frames_and_ends_with_its_count():
    with engine() as e:
        a = e.ask(PROMPT, ignore_eos=True, max_tokens=50, temperature=0.0)
        equal(a.finish, LENGTH)
        equal((len(a.ids), a.end["index"]), (50, 50))
        check(len(a.frames) > 10, "the answer did not come bit by bit")
        equal(a.end["usage"]["completion_tokens"], 50)
        check(a.end["usage"]["prompt_tokens"] > 1 and a.end["timings"]["decode_us"] > 0, a.end)
        a = e.ask([{"role": "user", "content": PROMPT}], temperature=0.0)
        equal(a.finish, STOP)
        check(a.text, "no text")


@test
def the_same_job_gives_the_same_answer_and_another_seed_another():
    with engine() as e, engine(parallel=1) as other:
        args = dict(ignore_eos=True, max_tokens=60, temperature=0.9, seed=5)
        a = e.ask(PROMPT, **args)
        equal(e.ask(PROMPT, **args).ids, a.ids)
        equal(other.ask(PROMPT, **args).ids, a.ids, "another engine's tokens")
        check(e.ask(PROMPT, **dict(args, seed=6)).ids != a.ids, "the seed has no say")
        check(e.ask(PROMPT, **dict(args, temperature=0.0)).ids != a.ids, "the temperature has no say")


@test
def jobs_that_run_together_give_what_each_gives_alone():
    jobs = [("word %d " % i * (1 + 13 * i % 60), dict(ignore_eos=True, max_tokens=30, temperature=0.7 * (i % 2), seed=i))
            for i in range(16)]
    with engine(parallel=8) as e:
        alone = [e.ask(p, **s).ids for p, s in jobs]
        numbers = [e.start(p, **s) for p, s in jobs[:8]]
        together = e.collect(numbers)
        equal([together[n].ids for n in numbers], alone[:8], "tokens of the first eight")
        # Of the rest, each begins when another ends.
        todo, order, got, left = list(jobs[8:]), [], {}, 8
        while left:
            while todo and len(order) - (8 - left) < 3:
                p, s = todo.pop(0)
                order.append(e.start(p, **s))
            m = e.recv()
            got.setdefault(m["job"], []).extend(m.get("ids", []))
            left -= m["type"] == DONE
        equal([got[n] for n in order], alone[8:], "tokens of the others")


@test
def new_jobs_wait_for_company_when_told_to():
    with engine(min_batch=2, batch_wait_ms=60000) as e:
        first = e.start(PROMPT, max_tokens=5, ignore_eos=True)
        e.send(type=PING)
        equal(e.recv()["type"], PONG, "the first word")
        second = e.start(PROMPT, max_tokens=500, ignore_eos=True)
        ids = []
        while not ids:
            m = e.recv()
            ids += m["ids"] if m["job"] == first else []
        third = e.start(PROMPT, max_tokens=5, ignore_eos=True)  # others run: it does not wait
        while True:
            m = e.recv()
            check(m["type"] != DONE or m["job"] != second, "the third waited for the second to end")
            if (m["type"], m["job"]) == (DONE, third):
                break
    with engine(min_batch=2, batch_wait_ms=50) as e:  # nobody comes
        check(e.ask(PROMPT, max_tokens=5).end["timings"]["wait_us"] >= 50000, "it did not wait")
    with engine(min_batch=2, batch_wait_ms=60000, batch_wait_adaptive=True) as e:  # nobody is likely to come
        check(e.ask(PROMPT, max_tokens=5).end["timings"]["wait_us"] < 30000000, "it waited")


@test
def more_jobs_than_may_be_in_a_step_take_turns():
    with engine(max_batch=2) as e, engine() as other:
        jobs = {e.start(PROMPT, max_tokens=60, ignore_eos=True, seed=i): i for i in range(4)}
        begun = []
        answers = {job: [] for job in jobs}
        while len(begun) < 4 or min(len(a) for a in answers.values()) < 60:
            m = e.recv()
            if m["type"] == TOKENS:
                begun += [m["job"]] if m["job"] not in begun else []
                answers[m["job"]] += m["ids"]
            else:
                check(len(begun) == 4, "one ended before all had begun")
        for job, seed in jobs.items():
            equal(answers[job], other.ask(PROMPT, max_tokens=60, ignore_eos=True, seed=seed).ids, "tokens")


@test
def it_tells_how_steps_go_while_it_works():
    with engine(threads=1) as e:
        deadline = time.monotonic() + 30
        while len(e.stats) < 2:
            check(time.monotonic() < deadline, "it says no STATS")
            e.ask(PROMPT, max_tokens=100, ignore_eos=True, cache_prompt=False)
            e.ask(PROMPT + "again", max_tokens=10, ignore_eos=True)
        for m in e.stats:
            equal(m["threads"], 1, "threads, as told to use")
            check(m["step_rows"] >= 1000 and m.get("n_kept", 0) <= 4, m)
        check(any(m.get("token_us") for m in e.stats), e.stats)
        check(any(m.get("n_kept") for m in e.stats), e.stats)
        n = len(e.stats)
        e.send(type=PING)
        equal(e.recv()["type"], PONG)
        equal(len(e.stats), n, "figures while it does nothing")


@test
def their_frames_interleave():
    with engine() as e:
        a, b = (e.start(PROMPT, ignore_eos=True, max_tokens=100, seed=s) for s in (1, 2))
        order, left = [], 2
        while left:
            m = e.recv()
            order.append(m["job"])
            left -= m["type"] == DONE
        changes = sum(x != y for x, y in zip(order, order[1:]))
        check(changes > 50, "one job waited for the other: %d changes" % changes)


@test
def an_attempt_goes_on_after_any_frame_with_the_same_tokens():
    with engine() as e:
        for temperature in (0.0, 0.9):
            args = dict(ignore_eos=True, max_tokens=80, temperature=temperature, seed=3, repeat_penalty=1.1)
            a = e.ask(PROMPT, **args)
            shown, text = 0, ""
            for frame in a.frames:
                b = e.ask(PROMPT, prefix=a.ids[:shown], **args)
                equal(a.ids[:shown] + b.ids, a.ids, "tokens from %d on" % shown)
                equal(text + b.text, a.text, "text from %d on" % shown)
                equal((b.finish, b.end["index"]), (LENGTH, 80))
                shown, text = shown + len(frame["ids"]), text + frame.get("text", "")


@test
def an_answer_that_is_complete_already_just_ends():
    with engine() as e:
        a = e.ask(PROMPT, ignore_eos=True, max_tokens=20)
        b = e.ask(PROMPT, prefix=a.ids, ignore_eos=True, max_tokens=20)
        equal((b.ids, b.finish, b.end["index"]), ([], LENGTH, 20))


@test
def stop_strings_end_an_answer_wherever_they_lie():
    with engine() as e:
        args = dict(ignore_eos=True, max_tokens=60, temperature=0.0)
        whole = e.ask(PROMPT, **args)
        tried = 0
        for n in (1, 2, 5, 9):
            for at in range(3, min(len(whole.text), 60) - n, 4):
                stop = whole.text[at:at + n]
                if "\ufffd" in stop:
                    continue
                a = e.ask(PROMPT, stop=["never to be found", stop], **args)
                equal((a.text, a.finish), (whole.text.split(stop)[0], STOP), "text before %r" % stop)
                equal(a.ids, whole.ids[:len(a.ids)], "tokens")
                equal(a.end["index"], len(a.ids), "index of DONE")
                tried += 1
        check(tried > 20)


@test
def the_context_bounds_prompt_and_answer():
    with engine(n_ctx=64, parallel=2) as e:
        a = e.ask("abc", ignore_eos=True)
        equal(a.finish, LENGTH)
        equal(a.end["usage"]["prompt_tokens"] + len(a.ids), 64, "tokens at the end")
        other = e.ask("abc", prefix=a.ids[:30], ignore_eos=True)
        equal(a.ids[:30] + other.ids, a.ids)
        reason = refused(e, CONTEXT_FULL, prompt="many words " * 50, sampling={})
        check("64" in reason, reason)


# ---- jobs that do not run to their end ----


@test
def a_cancelled_job_ends_at_once_and_others_go_on():
    with engine() as e:
        other = e.ask(PROMPT, ignore_eos=True, max_tokens=100, seed=2).ids
        a = e.start(PROMPT, ignore_eos=True, seed=1)
        b = e.start(PROMPT, ignore_eos=True, max_tokens=100, seed=2)
        n, m = 0, {}
        while n < 10:
            n += e.recv()["job"] == a
        e.send(type=CANCEL, job=a)
        e.send(type=PING)
        got, seen_b = [], 0
        while m.get("type") != PONG:  # CANCEL came before PING: it is answered before
            m = e.recv()
            got.append((m.get("job"), m["type"]))
        check((a, DONE) in got, "no DONE before the PONG: %r" % got)
        ids = []
        while True:
            m = e.recv()
            check(m["job"] == b, "a word of a job that has ended")
            ids += m.get("ids", [])
            if m["type"] == DONE:
                break
        equal((m["finish"], m["index"], other[-len(ids):] if ids else []), (LENGTH, 100, ids))


@test
def a_cancel_counts_what_was_shown_and_one_too_late_is_nothing():
    with engine() as e:
        job = e.start(PROMPT, ignore_eos=True)
        frames = [e.recv() for _ in range(5)]
        e.send(type=CANCEL, job=job)
        e.send(type=CANCEL, job=job)
        e.send(type=CANCEL, job=12345)
        while frames[-1]["type"] != DONE:
            frames.append(e.recv())
        equal((frames[-1]["finish"], frames[-1]["index"]), (CANCELLED, sum(len(f["ids"]) for f in frames[:-1])))
        e.send(type=PING)
        equal(e.recv()["type"], PONG, "what follows")


@test
def a_job_beyond_the_sequences_is_refused_and_fits_when_one_is_free():
    with engine(parallel=2) as e:
        running = [e.start(PROMPT, ignore_eos=True) for _ in range(2)]
        third = e.start(PROMPT)
        while True:
            m = e.recv()
            if m["job"] == third:
                break
        equal((m["type"], m["code"]), (ERROR, QUEUE_FULL))
        e.send(type=CANCEL, job=running[0])
        while m.get("job") != running[0] or m["type"] != DONE:
            m = e.recv()
        fourth = e.start(PROMPT, max_tokens=3, ignore_eos=True)
        while m.get("job") != fourth or m["type"] != DONE:
            m = e.recv()
        equal(m["finish"], LENGTH)


@test
def requests_that_make_no_sense_are_refused_with_a_sentence():
    with Engine(PROGRAM) as e:
        e.recv()
        refused(e, MODEL_NOT_LOADED, prompt="x", sampling={})
    with engine() as e:
        reason = refused(e, BAD_REQUEST, prompt="x", sampling={"temperature": -1.0})
        check("temperature" in reason, reason)
        refused(e, BAD_REQUEST, prompt="x", sampling={"stop": [""]})
        reason = refused(e, BAD_REQUEST, prompt="x", sampling={}, prefix=[4000000])
        check("4000000" in reason, reason)
        job = e.start(PROMPT, ignore_eos=True)
        e.send(type=GENERATE, job=job, prompt="x", sampling={})
        m = e.recv()
        while m["type"] == TOKENS:
            m = e.recv()
        equal((m["type"], m["job"], m["code"]), (ERROR, job, CONFLICT))


# ---- the stream ----


@test
def bytes_that_are_no_message_end_the_engine():
    rng = random.Random(7)
    streams = [b"\xff\xff\xff\xff", struct.pack(">I", (1 << 20) + 1), struct.pack(">I", 0),
               struct.pack(">I", 4) + b"\xa1\x01\x10\x00", struct.pack(">I", 2) + b"\xa2\x01"]
    streams += [struct.pack(">I", 64) + rng.randbytes(64) for _ in range(5)]
    for data in streams:
        with engine() as e:
            e.start(PROMPT, ignore_eos=True)
            e.send_raw(data)
            check("the talk with the agent ended" in ends(e, 1), "it said nothing")


@test
def a_second_load_and_a_job_without_number_end_it_too():
    with engine() as e:
        e.send_load(MODEL)
        ends(e, 1)
    with engine() as e:
        e.send(type=GENERATE, prompt="x", sampling={})
        ends(e, 1)


@test
def a_stream_that_breaks_off_in_a_message_is_an_end_like_any():
    with engine() as e:
        payload = encode({"type": GENERATE, "job": 1, "prompt": PROMPT})
        e.send_raw(struct.pack(">I", len(payload)) + payload[:-3])
        e.sock.close()
        equal(e.wait()[0], 0, "exit status")


@test
def messages_and_fields_of_a_newer_agent_are_skipped():
    with engine() as e:
        e.send_raw(struct.pack(">I", 4) + b"\xa1\x01\x18\x63")  # type 99
        e.send_raw(struct.pack(">I", 7) + b"\xa2\x01\x13\x18\x3e\x81\x01")  # a ping with a key 62
        equal(e.recv()["type"], PONG)


@test
def messages_may_come_in_any_pieces():
    with engine() as e:
        for job in (1, 2):
            payload = encode({"type": GENERATE, "job": job, "prompt": PROMPT, "sampling": {"max_tokens": 5, "ignore_eos": True}})
            for b in struct.pack(">I", len(payload)) + payload:
                e.send_raw(bytes([b]))
        answers = e.collect([1, 2])
        equal(answers[1].ids, answers[2].ids)


@test
def a_long_prompt_and_a_long_prefix_arrive():
    with engine() as e:
        refused(e, CONTEXT_FULL, prompt="0123456789abcdef" * 16384, sampling={})
        e.next_job += 1
        e.send(type=GENERATE, job=e.next_job, prompt="x", sampling={}, prefix=[65] * 65536)
        m = e.recv()
        equal((m["type"], m["finish"], m["index"]), (DONE, LENGTH, 65536))


# ---- log probabilities ----


def check_probs(answer, n_top):
    equal([p["id"] for p in answer.probs], answer.ids, "tokens told of")
    for f in answer.frames:
        equal(len(f["probs"]), len(f["ids"]), "items of a frame")
    for p in answer.probs:
        check(p["logprob"] <= 0 and len(p["top"]) <= n_top, p)
        likeliest = [t["logprob"] for t in p["top"]]
        equal(likeliest, sorted(likeliest, reverse=True), "order")
        check(sum(math.exp(l) for l in likeliest) < 1 + 1e-6, "more than one in all: %r" % p)
        for t in p["top"]:
            if t["id"] == p["id"]:
                equal((t["logprob"], t["piece"]), (p["logprob"], p["piece"]), "the token among the likeliest")


@test
def log_probabilities_come_with_their_tokens_and_only_where_asked_for():
    with engine() as e:
        turns = [{"role": "user", "content": PROMPT}]
        args = dict(max_tokens=30, temperature=0.0)
        plain = e.ask(turns, **args)
        equal(plain.probs, [], "log probabilities nobody asked for")
        own = e.ask(turns, logprobs=True, **args)
        check_probs(own, 0)
        top = e.ask(turns, logprobs=True, top_logprobs=3, **args)
        check_probs(top, 3)
        check(all(p["top"][0]["id"] == p["id"] for p in top.probs), "the likeliest is not the one drawn")
        check(any(len(p["top"]) == 3 for p in top.probs), "never three")
        equal([p["logprob"] for p in own.probs], [p["logprob"] for p in top.probs])
        equal((plain.ids, plain.text), (top.ids, top.text), "the answer")
        equal(b"".join(p["piece"] for p in top.probs).decode(errors="replace"), top.text, "the pieces are the text")


@test
def they_are_the_models_own_whatever_the_draw():
    with engine() as e:
        cold = e.ask(PROMPT, logprobs=True, top_logprobs=4, ignore_eos=True, max_tokens=20, temperature=0.0)
        for sampling in (dict(temperature=1.7, top_k=2, seed=5), dict(top_p=0.1, seed=6), dict(repeat_penalty=1.5, seed=7)):
            hot = e.ask(PROMPT, logprobs=True, top_logprobs=4, ignore_eos=True, max_tokens=20, **sampling)
            check_probs(hot, 4)
            equal(hot.probs[0]["top"], cold.probs[0]["top"], "the likeliest of the first token, %r" % sampling)


@test
def an_attempt_that_goes_on_has_the_same_log_probabilities():
    with engine() as e:
        args = dict(logprobs=True, top_logprobs=2, ignore_eos=True, max_tokens=24, seed=8, temperature=1.2)
        whole = e.ask(PROMPT, **args)
        first = 0
        for f in whole.frames:
            rest = e.ask(PROMPT, prefix=whole.ids[:first], **args)
            equal(whole.probs[:first] + rest.probs, whole.probs, "from %d on" % first)
            first += len(f["ids"])


@test
def tokens_held_back_are_told_with_theirs_in_a_frame_that_fits():
    with engine() as e:
        args = dict(logprobs=True, top_logprobs=20, ignore_eos=True, max_tokens=200, temperature=0.9, seed=9)
        whole = e.ask(PROMPT, **args)
        begin = whole.text.encode()[:240].decode(errors="ignore")
        held = e.ask(PROMPT, stop=[begin + "\x01 is never said"], **args)
        equal((held.text, held.ids), (whole.text, whole.ids), "the answer")
        check(len(held.frames[0]["ids"]) > 20, "nothing was held back")
        check_probs(held, 20)
        equal([p["logprob"] for p in held.probs], [p["logprob"] for p in whole.probs])


# ---- grammars ----

JSON = r'''root ::= object
object ::= "{" ws (member ("," ws member){0,2})? "}"
member ::= string ":" ws value
value ::= object | array | string | number | "true" | "false" | "null"
array ::= "[" ws (value ("," ws value){0,2})? "]"
string ::= "\"" ([^"\\\x00-\x1F\x7F] | "\\" ["\\bfnrt]){0,8} "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,6}) ("." [0-9]{1,6})?
ws ::= " "?
'''
AMBIGUOUS = 'root ::= "a" root x | "a" root y | "b"\nx ::= "b"\ny ::= "c"\n'


@test
def a_short_answer_ends_where_its_grammar_does():
    with engine() as e:
        seen = set()
        for seed in range(12):
            a = e.ask(PROMPT, grammar='root ::= "yes" | "no, " [0-9]{3} "!"', seed=seed, temperature=1.5)
            equal(a.finish, STOP, a.text)
            check(re.fullmatch("yes|no, [0-9]{3}!", a.text), a.text)
            seen.add(a.text)
        equal(e.ask(PROMPT, grammar='root ::= "yes"', ignore_eos=True).text, "yes", "although ends are ignored")


@test
def answers_under_a_grammar_are_documents_and_go_on_at_every_index():
    with engine() as e:
        n_whole = 0
        for seed in range(8):
            args = dict(grammar=JSON, seed=seed, temperature=1.2, max_tokens=100)
            whole = e.ask(PROMPT, **args)
            if whole.finish == STOP:
                check(isinstance(json.loads(whole.text), dict), whole.text)
                n_whole += 1
            ends = [0]
            for f in whole.frames:
                ends.append(ends[-1] + len(f["ids"]))
            for k in ends[::1 + len(ends) // 6]:
                equal(whole.ids[:k] + e.ask(PROMPT, prefix=whole.ids[:k], **args).ids, whole.ids, "from %d on" % k)
        check(n_whole > 0, "none came to its end")


@test
def a_grammar_that_is_none_is_refused():
    with engine() as e:
        for text, word in (("root ::= (", ")"), ("x ::= y", "root"), ("root ::= root | root", "beginning"),
                           ('root ::= root "a" | "b"', "itself"), ("root ::= " + "(" * 60000, "64"),
                           ('root ::= ("a"{9999}){9999} ("b"{9999}){9999} ' * 12, "Line")):
            check(word in refused(e, BAD_REQUEST, prompt="x", sampling={"grammar": text}), text[:80])
        prefix = e.ask(PROMPT, max_tokens=3, ignore_eos=True).ids
        check("prefix" in refused(e, BAD_REQUEST, prompt="x", prefix=prefix, sampling={"grammar": 'root ::= "\\x01"'}), "the sentence")


@test
def a_grammar_made_to_do_harm_costs_only_its_own_job():
    with engine() as e:
        args = dict(max_tokens=40, ignore_eos=True, temperature=0.0)
        want = e.ask(PROMPT, **args)
        good = [e.start(PROMPT, **args) for _ in range(2)]
        bad = e.start(PROMPT, grammar=AMBIGUOUS, ignore_eos=True, logit_bias={})
        answers = e.collect(good + [bad])
        for job in good:
            equal(answers[job].ids, want.ids, "the answer beside it")
        if answers[bad].end["type"] == ERROR:
            equal(answers[bad].end["code"], BAD_REQUEST)
        equal(e.ask(PROMPT, **args).ids, want.ids, "the answer afterwards")


# ---- embeddings ----


def embed(e, texts, first=0):
    """The vectors of texts[first:], their numbers of tokens, and the end."""
    e.next_job += 1
    e.send(type=EMBED, job=e.next_job, inputs=texts, index=first)
    vectors, counts = [], []
    while True:
        m = e.recv()
        if m["type"] != EMBEDDING:
            return vectors, counts, m
        equal((m["job"], m.get("index", 0)), (e.next_job, first + len(vectors)), "which")
        counts += m["ids"]
        vectors.append(m["vector"])


def numbers(vector):
    return struct.unpack("<%df" % (len(vector) // 4), vector)


@test
def a_text_has_one_vector_in_whatever_company():
    with Engine(PROGRAM) as e:
        loaded, _ = e.load(MODEL, parallel=4, embeddings=True)
        texts = ["cold-room-4 door=open", "a", "cold-room-4 door=open", "fish " * 60]
        vectors, counts, end = embed(e, texts)
        equal((end["type"], end["finish"], end["index"]), (DONE, STOP, 4), "the end")
        equal(end["usage"]["prompt_tokens"], sum(counts))
        equal([len(v) for v in vectors], [4 * loaded["n_embd"]] * 4, "sizes")
        equal(vectors[0], vectors[2], "the same text")
        equal(len(set(vectors)), 3, "other texts")
        for v in vectors:
            check(abs(math.sqrt(sum(x * x for x in numbers(v))) - 1) < 1e-5, "its length")
        for k, text in enumerate(texts):
            equal(embed(e, [text])[0], [vectors[k]], "alone")
        equal(embed(e, texts, first=2)[0], vectors[2:], "from the third on")
        args = dict(max_tokens=60, ignore_eos=True, temperature=0.0)
        want = e.ask(PROMPT, **args)
        job = e.start(PROMPT, **args)
        e.next_job += 1
        e.send(type=EMBED, job=e.next_job, inputs=texts)
        beside, answer, left = [], Answer(), {job, e.next_job}
        while left:
            m = e.recv()
            if m["type"] == EMBEDDING:
                beside.append(m["vector"])
            elif m["job"] == job:
                answer.take(m)
            if m["type"] == DONE:
                left.remove(m["job"])
        equal(beside, vectors, "beside an answer")
        equal(answer.ids, want.ids, "the answer beside it")


@test
def texts_that_have_no_vector_are_refused():
    with Engine(PROGRAM) as e:
        e.load(MODEL, parallel=4, embeddings=True)
        for texts, code, word in (([], BAD_REQUEST, "no text"), (["a", "b " * 4000], CONTEXT_FULL, "512")):
            vectors, _, end = embed(e, texts)
            equal((end["type"], end.get("code")), (ERROR, code), end)
            check(word in end["reason"], end["reason"])
        equal(len(vectors), 1, "the one before the fault")
        equal(embed(e, ["a"], first=1)[2]["code"], BAD_REQUEST)
    with engine() as e:
        end = embed(e, ["a"])[2]
        equal((end["type"], end["code"]), (ERROR, BAD_REQUEST))
        check("without embeddings" in end["reason"], end["reason"])


@test
def an_embedding_job_can_be_cancelled():
    with Engine(PROGRAM) as e:
        e.load(MODEL, parallel=4, embeddings=True)
        e.next_job += 1
        e.send(type=EMBED, job=e.next_job, inputs=["text %d" % i for i in range(256)])
        e.send(type=CANCEL, job=e.next_job)
        seen = 0
        while (m := e.recv())["type"] == EMBEDDING:
            seen += 1
        equal((m["type"], m["finish"], m.get("index", 0)), (DONE, CANCELLED, seen), "the end")
        check(seen < 256, "nothing was cancelled")


@test
def an_agent_that_does_not_read_loses_nothing_and_costs_no_memory():
    if KIND != "echo":
        raise Skip("the real model's context is too short to fill the engine's buffer")
    path = scratch / "long.echo"
    path.write_text("n_ctx=65536\n")
    with Engine(PROGRAM) as e:
        e.load(path, parallel=4)
        args = dict(ignore_eos=True, max_tokens=20000, temperature=0.0)
        want = e.ask(PROMPT, **args)
        jobs = [e.start(PROMPT, **args) for _ in range(4)]
        wait_until(lambda: e.is_asleep(), "the engine waits for its reader")
        check(e.resident() < 30 << 20, "it holds %d bytes" % e.resident())
        answers = e.collect(jobs)
        for job in jobs:
            check(answers[job].ids == want.ids and answers[job].text == want.text, "the answer is another")


main()
