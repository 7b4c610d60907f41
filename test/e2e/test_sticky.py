#!/usr/bin/python3
"""Conversations stay with their agent while it can take them, and the hub says so."""
import json
import signal
import threading

from hubtest import Stack, request
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until


def ask(stack, **more):
    """(agent, session, why) as the receipt says."""
    status, _, body = request(stack.port, "POST", "/v1/chat/completions",
                              dict({"model": "echo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}, **more))
    doc = json.loads(body)
    equal(status, 200, doc)
    receipt = doc["shoal"]
    return receipt["agent"], receipt.get("session"), receipt.get("session_why")


def sessions(stack, query=""):
    status, doc = stack.get("/api/v1/sessions" + query)
    equal(status, 200, doc)
    return doc


def counted(stack):
    return stack.status()["sessions"]


@test
def a_conversation_stays_by_any_of_its_names_and_is_listed():
    stack = Stack(agents=3)
    for name in ("session", "prompt_cache_key", "user"):
        key = f"by {name}, a key with spaces"
        home, state, why = ask(stack, **{name: key})
        equal((state, why), ("new", None))
        for _ in range(4):
            ask(stack)
            equal(ask(stack, **{name: key}), (home, "kept", None))
        listed = sessions(stack, f"?agent={home}&user=http&limit=1")
        equal((listed["live"], len(listed["sessions"])), (counted(stack)["live"], 1))
        last = listed["sessions"][0]
        equal((last["agent"], last["model"], last["user"], last["turns"], last["moves"], last["jobs"]), (home, "echo", "http", 5, 0, 0))
    equal(ask(stack)[1], None, "a request without a session")
    equal(sessions(stack)["total"], 3)
    equal(sessions(stack, "?model=none")["total"], 0)
    equal(request(stack.port, "GET", "/api/v1/sessions?colour=red")[0], 400)
    status = counted(stack)
    equal((status["live"], status["created"], status["kept"], status["moved"]), (3, 3, 12, 0))
    stack.close()


@test
def it_moves_when_its_agent_drains_or_is_killed_and_says_why():
    stack = Stack(agents=3, hub=["fleet.will_grace_ms=0"])
    first = ask(stack, session="s")[0]
    equal(request(stack.port, "POST", f"/api/v1/agents/{first}/drain", {})[0], 200)
    wait_until(lambda: {a["id"]: a["state"] for a in stack.list_agents()}[first] == "draining", f"{first} drains")
    second, state, why = ask(stack, session="s")
    equal((state, why), ("moved", "drain"))
    check(second != first)
    stack.agents[int(second[-1]) - 1].popen.send_signal(signal.SIGKILL)
    wait_until(lambda: {a["id"]: a["state"] for a in stack.list_agents()}[second] == "offline", f"{second} is lost")
    third, state, why = ask(stack, session="s")
    equal((state, why), ("moved", "lost"))
    check(third not in (first, second))
    equal(ask(stack, session="s"), (third, "kept", None))
    status = counted(stack)
    equal((status["moved"], status["moved_drain"], status["moved_lost"], status["kept"]), (2, 1, 1, 1))
    equal(sessions(stack)["sessions"][0]["moves"], 2)


@test
def it_is_found_again_after_the_hub_was_killed():
    stack = Stack(agents=3)
    homes = {key: ask(stack, session=key)[0] for key in "abcdef"}
    stack.hub.kill()
    stack.start_hub()
    stack.await_ready(3)
    for key, home in homes.items():
        equal(ask(stack, session=key), (home, "kept", None), key)
    stack.close()


@test
def requests_at_once_spread_when_the_agent_is_full():
    stack = Stack(agents=2, parallel=1, echo="tokens=400\n")
    home = ask(stack, session="s")[0]
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(stack, session="s", max_tokens=400))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    equal(len(answers), 4, "answers")
    check(any(state == "kept" for _, state, _ in answers), answers)
    check(all(why in (None, "full") for _, _, why in answers), answers)
    check({agent for agent, _, _ in answers} <= {"box-1", "box-2"} and home in {agent for agent, _, _ in answers}, answers)
    stack.close()


main()
