#!/usr/bin/python3
"""The second turn of a conversation finds the first one computed, seen from where clients are."""
from shoaltest import http
from shoaltest.cluster import MODELS, Cluster
from shoaltest.jobs import ask, heldout
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, note, test

cluster = Cluster(agents=1)
client = Client(cluster.mqtt_port)
prompts = [e["prompt"] for e in heldout(MODELS, 60)]


def turns(first, answer, second):
    return [{"role": "user", "content": first}, {"role": "assistant", "content": answer}, {"role": "user", "content": second}]


def chat(messages, **more):
    status, doc = http.post(cluster.url + "/v1/chat/completions", dict(ask("", temperature=0, **more), messages=messages))
    equal(status, 200, doc)
    return doc["choices"][0]["message"]["content"], doc["usage"]


@test
def an_openai_client_sees_nine_tenths_of_the_second_prompt_cached():
    found = asked = 0
    for i in range(4):
        first = " ".join(prompts[12 * i:12 * i + 11])
        answer, usage = chat([{"role": "user", "content": first}])
        text, usage = chat(turns(first, answer, "and now?"))
        found += usage["prompt_tokens_details"]["cached_tokens"]
        asked += usage["prompt_tokens"]
        without, usage = chat(turns(first, answer, "and now?"), cache_prompt=False)
        equal((text, usage["prompt_tokens_details"]["cached_tokens"]), (without, 0), "the answer without the cache")
    note(f"{found} of {asked} tokens of the second prompts were cached")
    check(found >= 0.9 * asked, f"only {found} of {asked}")


@test
def a_client_over_mqtt_sees_it_too():
    first = " ".join(prompts[48:59])
    answer = client.submit(ask(first, temperature=0)).end()
    end = client.submit(dict(ask("", temperature=0), messages=turns(first, answer["text"], "and now?"))).end()
    equal(end["type"], "done", end)
    usage = end["usage"]
    check(usage["cached_tokens"] >= 0.9 * usage["prompt_tokens"], usage)


main(after=[cluster.close])
