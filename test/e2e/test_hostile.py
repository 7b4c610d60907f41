"""Model files that are broken or made to do harm, given to shoal-engine: refused with a sentence,
or at worst the end of that one process, which is locked in all the while."""
import random
import signal
import struct
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from shoaltest.cluster import BIN, SOURCE
from shoaltest.suite import Skip, check, equal, main, note, test

sys.path.insert(0, str(SOURCE / "test/engine"))
from link import ERROR, LOADED, QUIT, Closed, Engine  # noqa: E402

MODEL = (SOURCE / "models/shoal-triage.gguf").read_bytes()
MODEL_LOAD_FAILED = 38
HEAD_END = 24000  # keys and tensors' entries of the bundled model end about there


@contextmanager
def model_file(data):
    with tempfile.NamedTemporaryFile(suffix=".gguf") as f:
        f.write(data)
        f.flush()
        yield Path(f.name)


def refusal(data):
    """The reason that the engine gives; it must end by itself, in order."""
    with model_file(data) as path, Engine(BIN / "shoal-engine") as engine:
        answer, _ = engine.load(path, parallel=1)
        equal((answer["type"], answer.get("job", 0), answer.get("code")), (ERROR, 0, MODEL_LOAD_FAILED), str(answer))
        status, said = engine.wait()
        equal(status, 1, "exit status")
        check(answer["reason"] in said, f"stderr does not hold the reason: {said!r}")
        return answer["reason"]


def status_of(pid):
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


@test
def the_engine_is_locked_in_before_it_is_given_a_model():
    with Engine(BIN / "shoal-engine") as engine:
        engine.recv()  # HELLO
        status = status_of(engine.process.pid)
        if "Seccomp" not in status:
            raise Skip("this kernel has no system-call filter")
        limits = Path(f"/proc/{engine.process.pid}/limits").read_text()
        equal(status["Seccomp"].strip(), "2", "system-call filter")
        equal(status["NoNewPrivs"].strip(), "1", "no new privileges")
        for name, value in (("Max core file size", "0"), ("Max open files", "64")):
            line = next(x for x in limits.splitlines() if x.startswith(name))
            equal(line[len(name):].split()[:2], [value, value], name)


@test
def a_file_cut_short_is_refused_with_what_to_do():
    for n in (0, 3, 20, 5000, HEAD_END, len(MODEL) // 2, len(MODEL) - 1):
        reason = refusal(MODEL[:n])
        check("fetch it again" in reason or "does not begin with GGUF" in reason, f"{n}: {reason}")


@test
def what_llama_cpp_would_trust_is_refused_before_it_sees_it():
    def replaced(old, new):
        check(MODEL.count(old, 0, HEAD_END) == 1, f"{old!r} is not once in the model")
        return MODEL.replace(old, new, 1)

    def key(name, value_type):
        return struct.pack("<Q", len(name)) + name + struct.pack("<I", value_type)

    layers = key(b"llama.block_count", 4)
    tokens = key(b"tokenizer.ggml.tokens", 9)
    at = MODEL.index(layers) + len(layers)
    n_at = MODEL.index(tokens) + len(tokens) + 4
    for data, word in (
            (MODEL[:8] + b"\xff" * 8 + MODEL[16:], "tensors, more than"),
            (MODEL[:16] + b"\xff" * 8 + MODEL[24:], "keys; 4096 are allowed"),
            (MODEL[:at] + struct.pack("<I", 100000) + MODEL[at + 4:], "number of layers"),
            (MODEL[:n_at] + struct.pack("<Q", 1 << 61) + MODEL[n_at + 8:], "more bytes than the file has"),
            (replaced(key(b"tokenizer.ggml.tokens", 9) + struct.pack("<I", 8),
                      key(b"tokenizer.ggml.tokens", 9) + struct.pack("<I", 9)), "is of type 9"),
            (b"#!/bin/sh\nexit\n", "does not begin with GGUF")):
        reason = refusal(data)
        check(word in reason, f"{word!r} is not in {reason!r}")


@test
def what_llama_cpp_refuses_is_told_in_its_words_and_plain_characters():
    name = b"tokenizer.ggml.pre" + struct.pack("<IQ", 8, 6)
    at = MODEL.index(name) + len(name)
    reason = refusal(MODEL[:at] + b"\x1b[2J\x9c\n" + MODEL[at + 6:])
    check("unknown pre-tokenizer type: '?[2J?" in reason, repr(reason))
    check(reason.isprintable(), repr(reason))


@test
def an_altered_byte_is_refused_or_ends_one_process_or_does_nothing():
    chance, ends = random.Random(1), {"loaded": 0, "refused": 0, "died": 0}
    for _ in range(60):
        data, at = bytearray(MODEL), chance.randrange(HEAD_END)
        data[at] ^= 1 << chance.randrange(8)
        with model_file(data) as path, Engine(BIN / "shoal-engine") as engine:
            try:
                answer, _ = engine.load(path, parallel=1)
                ends["loaded" if answer["type"] == LOADED else "refused"] += 1
                if answer["type"] == LOADED:
                    engine.send(type=QUIT)
            except Closed:
                ends["died"] += 1
            status, said = engine.wait()
            check(status in (0, 1) or status < 0, f"bit of byte {at}: exit status {status}, {said!r}")
            check(status != -signal.SIGSYS, f"bit of byte {at}: it tried what only an attacker does")
    check(ends["loaded"] > 0 and ends["refused"] > 0, str(ends))
    note(str(ends))


if __name__ == "__main__":
    sys.exit(main())
