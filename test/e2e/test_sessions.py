#!/usr/bin/python3
"""Conversations outlive their engine: saved by the agent, found by the next one, bounded, never believed."""
import json
import signal
import threading

from hubtest import Process, Stack, request
from shoaltest.cluster import BIN, MODELS
from shoaltest.jobs import heldout
from shoaltest.suite import check, equal, main, note, test
from shoaltest.wait import wait_until

MIB = 1 << 20
prompts = [e["prompt"] for e in heldout(MODELS, 200)]


class Sessions(Stack):
    """One agent with the real engine; `options` is the inside of its `sessions` group."""

    def __init__(self, options, parallel=2):
        self.options = options
        super().__init__(agents=1, parallel=parallel)
        self.folder = self.dir / "sessions"

    def start_agent(self, name, parallel):
        conf = self.dir / f"{name}.cfg"
        conf.write_text(f'id = "{name}";\nstate_dir = "{self.dir}/{name}";\nbroker = {{ host = "127.0.0.1"; port = {self.mqtt_port}; }};\n'
                        f'engine = {{ path = "{BIN}/shoal-engine"; }};\nheartbeat = {{ idle_ms = 500; busy_ms = 200; }};\n'
                        f'benchmark = false;\nsessions = {{ dir = "{self.dir}/sessions"; {self.options} }};\n'
                        f'models = ( {{ name = "triage"; file = "{MODELS}/shoal-triage.gguf"; parallel = {parallel}; exact = true; }} );\n')
        return Process(self.dir, name, [BIN / "shoal-agent", "--config", conf])

    def restart(self, signo=signal.SIGKILL):
        agent = self.agents.pop()
        agent.popen.send_signal(signo)
        status = agent.popen.wait(30)
        if signo != signal.SIGKILL:
            equal(status, 0, agent.text()[-2000:])
        epoch = self.list_agents()[0]["epoch"]
        self.agents.append(self.start_agent("box-1", 2))
        wait_until(lambda: any(a["epoch"] != epoch and a["state"] == "online" and a["models"][0]["state"] == "ready"
                               for a in self.list_agents()), "the agent is back", 30)

    def ask(self, messages, session, **more):
        status, _, body = request(self.port, "POST", "/v1/chat/completions",
                                  dict(dict(model="triage", messages=messages, temperature=0), session=session, **more))
        doc = json.loads(body)
        equal(status, 200, doc)
        usage = doc["usage"]
        return doc["choices"][0]["message"]["content"], usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]

    def files(self):
        return sorted(self.folder.glob("*.kv"))

    def await_saved(self, n):
        wait_until(lambda: len(self.files()) >= n and not list(self.folder.glob("*.part")), f"{n} sessions are saved", 30)


def first(k):
    return [{"role": "user", "content": " ".join(prompts[10 * k:10 * k + 8])}]


def second(k, answer):
    return first(k) + [{"role": "assistant", "content": answer}, {"role": "user", "content": "and now?"}]


@test
def a_conversation_goes_on_after_a_kill_and_after_a_stop():
    for signo, options in ((signal.SIGKILL, "save_after_ms = 50;"), (signal.SIGTERM, "save_after_ms = 3600000;")):
        stack = Sessions(options)
        text, _, cached = stack.ask(first(0), "alice")
        equal(cached, 0, "cached of the first turn")
        if signo == signal.SIGKILL:
            stack.await_saved(1)
        stack.restart(signo)
        for path in stack.files():
            equal(path.stat().st_mode & 0o777, 0o600, path)
            equal(path.parent.stat().st_mode & 0o777, 0o700, "the folder's mode")
        want, asked, cached = stack.ask(second(0, text), "bob", cache_prompt=False)
        equal(cached, 0, "cached of who asked without")
        got, asked, cached = stack.ask(second(0, text), "alice")
        note(f"signal {signo}: {cached} of {asked} tokens of the second prompt were in the file")
        equal(got, want, "the answer")
        check(cached >= 0.9 * asked, f"{cached} of {asked}")
        stack.close()


@test
def a_damaged_file_costs_no_more_than_the_prefill():
    stack = Sessions("save_after_ms = 50;")
    text, _, _ = stack.ask(first(1), "alice")
    stack.await_saved(1)
    path = stack.files()[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    stack.restart()
    want, _, _ = stack.ask(second(1, text), "bob", cache_prompt=False)
    got, _, cached = stack.ask(second(1, text), "alice")
    equal((got, cached), (want, 0), "answer and cached tokens")
    check("begins anew" in stack.agents[0].text(), "the log says nothing of it")
    stack.await_saved(1)  # a good one in its place
    stack.restart()
    check(stack.ask(second(1, text), "alice")[2] > 0, "the new one is not used")
    stack.close()


@test
def the_folder_stays_below_its_limit():
    stack = Sessions(f"save_after_ms = 1; max_bytes = {2 * MIB};")
    most, ended = 0, threading.Event()

    def watch():
        nonlocal most
        while not ended.is_set():
            sizes = []
            for p in stack.files():
                try:
                    sizes.append(p.stat().st_size)
                except FileNotFoundError:
                    pass
            most = max(most, sum(sizes))
            ended.wait(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    seen = set()
    for k in range(12):
        stack.ask(first(k), f"session {k}")
        wait_until(lambda: set(stack.files()) - seen or len(seen) > 11, f"session {k} is saved", 30)
        seen |= set(stack.files())
    ended.set()
    watcher.join()
    left = stack.files()
    note(f"{len(seen)} sessions were saved, {len(left)} are left; at most {most} bytes of {2 * MIB}")
    check(len(seen) == 12 and 0 < len(left) < 12, f"{len(seen)} seen, {len(left)} left")
    # A new file is there for a moment before an old one goes.
    check(sum(p.stat().st_size for p in left) <= 2 * MIB, "over the limit")
    stack.restart()
    check(stack.ask(first(11), "session 11")[2] > 0, "the newest was dropped")
    _, asked, cached = stack.ask(first(0), "session 0")
    check(cached < 0.1 * asked, f"the oldest is still there: {cached} of {asked}")  # all begin with the template's words
    stack.close()


@test
def a_folder_that_cannot_be_used_is_one_loud_line():
    stack = Sessions("save_after_ms = 1;")
    agent = stack.agents.pop()
    agent.stop()
    for p in stack.folder.iterdir():
        p.unlink()
    stack.folder.rmdir()
    stack.folder.write_text("in the way")
    stack.agents.append(stack.start_agent("box-1", 2))
    wait_until(lambda: "cannot be used" in stack.agents[0].text(), "it says so", 20)
    stack.await_ready(1)
    check(stack.ask(first(2), "alice")[0], "no answer")
    stack.close()


main()
