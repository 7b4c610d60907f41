#!/usr/bin/python3
"""Two boxes, several models, not all loaded: a hub, agents and the echo engine."""
import sys

from hubtest import BIN, Process, Stack
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

stack = Stack(agents=0)
client = Client(stack.mqtt_port, "alice")


def agent(name, models):
    """models: (name, prewarm, parallel)."""
    engine = stack.dir / "slow.echo"
    engine.write_text("tokens=1000\ndelay_us=2000\nload_ms=300\n")
    entries = ", ".join(f'{{ name = "{m}"; file = "{engine}"; prewarm = {str(warm).lower()}; parallel = {n}; }}'
                        for m, warm, n in models)
    conf = stack.dir / f"{name}.cfg"
    conf.write_text(f'''id = "{name}"; state_dir = "{stack.dir}/{name}"; broker = {{ host = "127.0.0.1"; port = {stack.mqtt_port}; }};
engine = {{ path = "{BIN}/shoal-engine-echo"; }}; models = ( {entries} );''')
    return Process(stack.dir, name, [BIN / "shoal-agent", "--config", conf])


def state(box, model):
    found = next((a for a in stack.list_agents() if a["id"] == box), {"models": []})
    return next((m["state"] for m in found["models"] if m["name"] == model), None)


def submit(model, **how):
    return client.submit({"model": model, "prompt": "hello", "max_tokens": 50, **how})


boxes = [agent("cold", [("a", False, 2), ("b", False, 2)])]


@test
def a_hub_is_ready_when_somebody_would_load_a_model():
    wait_until(lambda: stack.get("/readyz")[0] == 200, "it is ready")
    boxes.append(agent("warm", [("a", True, 1)]))


@test
def models_that_are_not_loaded_are_held():
    wait_until(lambda: state("warm", "a") == "ready" and state("cold", "b") == "held", "both boxes are there")
    equal(state("cold", "a"), "held")
    cold = next(a for a in stack.list_agents() if a["id"] == "cold")
    equal(cold["slots"], 4)
    equal([m["slots"] for m in cold["models"]], [2, 2])
    check(all(m["memory"] > 0 for m in cold["models"]), str(cold["models"]))


@test
def a_job_loads_its_model_and_its_client_sees_how_far_it_is():
    job = submit("b", stream=True)
    end = job.end()
    equal(end["type"], "done", str(end))
    kinds = [d["type"] for _, d in job.seen]
    percents = [d["percent"] for _, d in job.seen if d["type"] == "progress"]
    check(len(percents) >= 3 and percents == sorted(set(percents)), f"percents: {percents}")
    check(all(d["state"] == "loading" for _, d in job.seen if d["type"] == "progress"), str(job.seen))
    check(kinds.index("accepted") < kinds.index("progress") < kinds.index("tokens"), f"order: {kinds}")
    equal((end["receipt"]["agent"], end["receipt"]["attempts"]), ("cold", 1))
    wait_until(lambda: state("cold", "b") == "ready", "the model stays loaded")
    equal(state("cold", "a"), "held", "nobody asked for it")


@test
def a_box_loads_a_model_only_when_the_one_that_has_it_is_full():
    first = submit("a", max_tokens=1000, stream=True)
    while first.next()[1]["type"] != "tokens":
        pass
    equal(state("cold", "a"), "held")
    second, third = submit("a"), submit("a")
    routes = [(e["receipt"]["agent"], e["receipt"].get("route")) for e in (second.end(), third.end())]
    equal(routes, [("cold", "cold"), ("cold", "cold")])
    equal(first.end()["receipt"]["agent"], "warm")


def leave():
    client.close()
    for p in boxes:
        equal(p.stop(), 0, "exit status")
    stack.close()


if __name__ == "__main__":
    sys.exit(main(after=[leave]))
