#!/usr/bin/python3
"""Held-out prompts through the whole system give what the engine alone gives."""
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

from shoaltest import http
from shoaltest.cluster import MODELS, Cluster
from shoaltest.engine import engine_alone
from shoaltest.jobs import ask, by_cli, by_http, by_mqtt, by_mqtt_stream, by_sse, heldout
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, note, test
from shoaltest.wait import wait_until

N_PROMPTS = 100
IN_FLIGHT = 8
MODEL_FILE = MODELS / "shoal-triage.gguf"

cluster = Cluster(agents=3)
client = Client(cluster.mqtt_port)
examples = heldout(MODELS, N_PROMPTS)


def promised_accuracy():
    """From "200 of 200 answers of `heldout.jsonl` exact" in models/README.md."""
    m = re.search(r"(\d+) of (\d+) answers of `heldout.jsonl` exact", (MODELS / "README.md").read_text())
    return int(m[1]) / int(m[2])


@test
def a_hundred_held_out_prompts_eight_in_flight_over_mqtt_and_http():
    ways = [lambda d: by_mqtt(client, d), lambda d: by_http(cluster, d), lambda d: by_mqtt_stream(client, d),
            lambda d: by_sse(cluster, d)]
    documents = [ask(e["prompt"], temperature=0) for e in examples]
    flying, most, lock = 0, 0, threading.Lock()

    def one(k):
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        got = ways[k % len(ways)](documents[k])
        with lock:
            flying -= 1
        return got

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        got = list(pool.map(one, range(N_PROMPTS)))
    alone = engine_alone(MODEL_FILE, documents)
    for k, e in enumerate(examples):
        equal(got[k][0], alone[k], f"answer to {e['prompt']!r}")
    right = sum(got[k][0] == e["answer"] for k, e in enumerate(examples))
    agents = {agent for _, agent in got if agent}
    note(f"{right} of {N_PROMPTS} exact, promised {promised_accuracy():.1%}; at most {most} in flight; by {sorted(agents)}")
    check(right / N_PROMPTS >= promised_accuracy(), "less accurate than models/README.md says")
    equal(most, IN_FLIGHT, "jobs in flight")
    equal(len(agents), 3, "agents that took part")


def same_by_every_way(document):
    want = engine_alone(MODEL_FILE, [document])[0]
    answers = {
        "HTTP": by_http(cluster, document),
        "SSE": by_sse(cluster, document),
        "MQTT, JSON": by_mqtt(client, document),
        "MQTT, CBOR": by_mqtt(client, document, as_cbor=True),
        "MQTT, stream": by_mqtt_stream(client, document),
        "shoal run": by_cli(cluster, document),
        "shoal run -": by_cli(cluster, document, stdin=True),
        "shoal run --mqtt": by_cli(cluster, document, mqtt=True),
    }
    for way, (text, _) in answers.items():
        equal(text, want, way)


@test
def the_same_prompt_gives_the_same_answer_by_every_way_in():
    same_by_every_way(ask(examples[0]["prompt"], temperature=0))
    same_by_every_way(ask(examples[1]["prompt"], temperature=1.5, seed=7, max_tokens=60))


@test
def the_same_prompt_gives_the_same_answer_on_every_agent():
    for sampling in ({"temperature": 0}, {"temperature": 1.5, "seed": 11, "max_tokens": 60}):
        document = ask(examples[2]["prompt"], **sampling)
        with ThreadPoolExecutor(12) as pool:
            got = list(pool.map(lambda _: by_mqtt(client, dict(document, policy="round_robin")), range(12)))
        by_agent = {}
        for text, agent in got:
            by_agent.setdefault(agent, set()).add(text)
        equal(sorted(by_agent), cluster.agent_names(), "agents that took part")
        equal(set.union(*by_agent.values()), {engine_alone(MODEL_FILE, [document])[0]}, "answers")


@test
def different_seeds_give_different_answers():
    got = {by_http(cluster, ask("hello", temperature=1.5, seed=s, max_tokens=60, ignore_eos=True))[0] for s in range(6)}
    check(len(got) > 1, f"all the same: {got}")


@test
def each_box_says_how_fast_its_model_is():
    def measured():
        agents = cluster.list_agents()
        return len(agents) == cluster.agents and all(a["models"][0].get("decode_tokens_per_s", 0) > 0 for a in agents.values())

    wait_until(measured, "all models are measured", 60.0)
    for a in cluster.list_agents().values():
        m = a["models"][0]
        note(f"{a['id']}: reads {m['prefill_tokens_per_s']:.0f}, writes {m['decode_tokens_per_s']:.0f} tokens/s")
        check(m["prefill_tokens_per_s"] > m["decode_tokens_per_s"] / 10, m)
        equal(a["jobs_done"] + a["jobs_failed"] > 0, a["tokens_total"] > 0, "measuring is in no figure")


@test
def a_text_has_one_vector_whichever_agent_makes_it():
    text = examples[0]["prompt"]
    answers = [http.post(cluster.url + "/v1/embeddings", {"model": "triage", "input": [text, "other", text], "policy": "round_robin"})
               for _ in range(6)]
    equal([status for status, _ in answers], [200] * 6, answers[0])
    vectors = {json.dumps(d["embedding"]) for _, a in answers for d in a["data"] if d["index"] != 1}
    equal(len(vectors), 1, "vectors of one text")
    check(len({a["shoal"]["agent"] for _, a in answers}) > 1, "only one agent was asked")
    over_mqtt = client.submit({"model": "triage", "input": text}).end()
    equal(json.dumps(over_mqtt["embeddings"][0]["embedding"]), vectors.pop(), "over MQTT")


main(after=[cluster.close])
