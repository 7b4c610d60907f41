#!/usr/bin/python3
"""Who gets which job, with a real hub, agents and the echo engine: counts with wide margins."""
import json
import sys

from hubtest import BIN, Process, Stack, request
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

N = 24
stack = Stack(agents=0, config='''
agents = ( { id = "attic"; labels = ("place=attic"); }, { id = "dear"; labels = ("place=dear"); metered = true; } );
policies = ( { model = "turns"; policy = "round_robin"; } );
''')
client = Client(stack.mqtt_port, "alice")
boxes = []


def agent(name, delay_us, models, more=""):
    engine = stack.dir / f"{name}.echo"
    engine.write_text(f"tokens=20\ndelay_us={delay_us}\n")
    entries = ", ".join(f'{{ name = "{m}"; file = "{engine}"; parallel = 4; }}' for m in models)
    conf = stack.dir / f"{name}.cfg"
    conf.write_text(f'''id = "{name}"; state_dir = "{stack.dir}/{name}"; broker = {{ host = "127.0.0.1"; port = {stack.mqtt_port}; }};
engine = {{ path = "{BIN}/shoal-engine-echo"; }}; heartbeat = {{ idle_ms = 500; busy_ms = 200; }}; {more}
models = ( {entries} );''')
    return Process(stack.dir, name, [BIN / "shoal-agent", "--config", conf])


def known(name):
    return next((a for a in stack.list_agents() if a["id"] == name), None)


def ready(name):
    a = known(name)
    return a is not None and a["state"] == "online" and all(m["state"] == "ready" for m in a["models"])


def receipts(model, n=N, **how):
    """Of jobs one after the other."""
    found = []
    for _ in range(n):
        end = client.submit({"model": model, "prompt": "hello", "max_tokens": 20, **how}).end()
        equal(end["type"], "done", str(end))
        found.append(end["receipt"])
    return found


def shares(found):
    names = [r["agent"] for r in found]
    return {n: names.count(n) for n in set(names)}


@test
def agents_of_the_configuration_are_shown_before_they_come():
    attic = known("attic")
    equal((attic["state"], attic["reason"], attic["labels"]), ("offline", "never seen", ["place=attic"]))
    check(attic["configured"], str(attic))


@test
def the_faster_one_of_two_gets_most_jobs():
    boxes[:] = [agent("fast", 1000, ["speed", "turns"]), agent("slow", 20000, ["speed", "turns"])]
    wait_until(lambda: ready("fast") and ready("slow"), "both boxes are ready", 30)
    receipts("speed", 4, policy="round_robin")  # whoever they begin with, both have been measured then
    found = receipts("speed")
    check(shares(found).get("fast", 0) >= N * 3 // 4, str(shares(found)))
    last = found[-1]
    equal((last["route"], last["attempts"], last["candidates"][0]["reason"]), ("cost", 1, "chosen"))
    equal(last["candidates"][0]["agent"], last["agent"])
    check({"agent": "slow", "reason": "outranked"}.items() <= last["candidates"][1].items(), str(last))
    check(last["candidates"][1]["expected_ms"] > 2 * last["expected_ms"], str(last))


@test
def what_the_hub_has_measured_is_shown():
    fast, slow = (next(m for m in known(n)["models"] if m["name"] == "speed") for n in ("fast", "slow"))
    check(fast["seen_decode_per_s"] > 2 * slow["seen_decode_per_s"] > 0, f"{fast} {slow}")


@test
def a_policy_may_be_the_jobs_or_the_models():
    for found in (receipts("speed", policy="round_robin"), receipts("turns")):
        equal({r["route"] for r in found}, {"round_robin"})
        check(min(shares(found).get(n, 0) for n in ("fast", "slow")) >= N // 3, str(shares(found)))


@test
def http_has_the_receipt_too():
    body = b'{"model":"speed","messages":[{"role":"user","content":"hello"}],"policy":"least_loaded","max_tokens":5}'
    status, _, answer = request(stack.port, "POST", "/v1/chat/completions", body, ["Content-Type: application/json"])
    equal(status, 200, str(answer))
    shoal = json.loads(answer)["shoal"]
    equal((shoal["route"], shoal["candidates"][0]["reason"], len(shoal["candidates"])), ("least_loaded", "chosen", 2))


@test
def a_label_of_the_configuration_counts_and_a_metered_link_is_the_second_choice():
    boxes[len(boxes):] = [agent("dear", 5000, ["links"]), agent("cheap", 5000, ["links"]), agent("paid", 5000, ["links"], "metered = true;")]
    wait_until(lambda: ready("dear") and ready("cheap") and ready("paid"), "all are ready", 30)
    equal([known(n)["metered"] if "metered" in known(n) else False for n in ("dear", "cheap", "paid")], [True, False, True])
    check(shares(receipts("links")).get("cheap", 0) >= N * 3 // 4, "the link that costs nothing")
    equal(shares(receipts("links", 3, require=["place=dear"])), {"dear": 3})


def leave():
    stack.agents = boxes
    client.close()
    stack.close()


if __name__ == "__main__":
    sys.exit(main(after=[leave]))
