#!/usr/bin/python3
"""One name for two models: a bad canary falls back by itself, and stays out until it is resumed."""
import json

from hubtest import Stack, request
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

CONFIG = """variants = ( { alias = "triage"; model = "echo"; weight = 1; }, { alias = "triage"; model = "slow"; weight = 1; } );
guard: { min = 5; };
"""


class Two(Stack):
    """Each agent holds "slow" besides "echo"."""

    def start_agent(self, name, parallel):
        (self.dir / "slow.cfg").write_text("tokens=4\ndelay_us=100000\n")
        self.model_options = f'}}, {{ name = "slow"; file = "{self.dir}/slow.cfg"; parallel = {parallel}; prewarm = true;'
        return super().start_agent(name, parallel)


def ask(stack, session):
    """The model that served it."""
    before = variant(stack, "slow")["jobs"]
    status, _, body = request(stack.port, "POST", "/v1/chat/completions",
                              {"model": "triage", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "session": session})
    equal(status, 200, body)
    equal(json.loads(body)["model"], "triage", "what was asked for")
    return "slow" if variant(stack, "slow")["jobs"] > before else "echo"


def variant(stack, model):
    status, doc = stack.get("/api/v1/variants")
    equal(status, 200, doc)
    return next(v for v in doc["variants"] if v["model"] == model)


def serves(stack, model):
    status, doc = stack.get("/v1/models")
    equal(status, 200, doc)
    return any(m["id"] == model for m in doc["data"])


@test
def a_slow_canary_falls_back_and_is_resumed_by_an_operator():
    stack = Two(config=CONFIG, echo="tokens=4\n")
    wait_until(lambda: all(m["state"] == "ready" for m in stack.list_agents()[0]["models"]), "both models are ready", 30)
    check(serves(stack, "triage"), "the alias is listed")
    first = {}
    for k in range(60):
        if variant(stack, "slow")["off"]:
            break
        first[k] = ask(stack, f"s{k}")
    check(variant(stack, "slow")["off"], variant(stack, "slow"))
    check("one in 20 takes over" in variant(stack, "slow")["reason"], variant(stack, "slow"))
    check("taken out" in stack.hub.text(), "it is said in the log")
    equal(set(first.values()), {"echo", "slow"}, "both were tried")
    mine = next(k for k, model in first.items() if model == "slow")
    equal(ask(stack, f"s{mine}"), "echo", "main serves")
    equal(request(stack.port, "POST", "/api/v1/variants", {"alias": "triage", "model": "none", "resume": True})[0], 404)
    equal(request(stack.port, "POST", "/api/v1/variants", {"alias": "triage", "model": "slow"})[0], 400)
    equal(request(stack.port, "POST", "/api/v1/variants", {"alias": "triage", "model": "slow", "resume": True})[0], 200)
    equal(ask(stack, f"s{mine}"), "slow", "the conversation is back where it was")
    status, users = stack.get("/api/v1/users")
    equal((status, users["users"][0]["user"], users["users"][0]["running"]), (200, "http", 0))
    stack.close()


main()
