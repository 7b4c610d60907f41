#!/usr/bin/python3
"""Answers held to a grammar or a schema, through the whole system and the real engine.

The bundled model was not made for any of it, so what it says is noise: each answer that came to
its end must be a document that the schema allows all the same.
"""
import json
import re
import tempfile
from pathlib import Path

from shoaltest.cluster import Cluster, run_shoal
from shoaltest.jobs import ask
from shoaltest.http import post
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, note, test

cluster = Cluster(agents=2)
client = Client(cluster.mqtt_port)

ALERT = {"type": "object", "additionalProperties": False, "required": ["level", "sensor", "value"], "properties": {
    "level": {"enum": ["ok", "warning", "critical"]}, "sensor": {"type": "string", "minLength": 1, "maxLength": 12},
    "value": {"type": "number", "minimum": 0, "maximum": 100}, "since": {"type": "string", "format": "date-time"},
    "codes": {"type": "array", "items": {"type": "integer", "minimum": -5, "maximum": 120}, "maxItems": 3}}}
LIST = {"type": "array", "minItems": 1, "maxItems": 3, "items": {"anyOf": [
    {"type": "boolean"}, {"const": None}, {"type": "object", "properties": {"n": {"type": "integer", "exclusiveMaximum": 0}},
                                           "required": ["n"]}]}}
TREE = {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["v"], "properties": {
    "v": {"type": ["string", "null"], "maxLength": 4}, "next": {"$ref": "#/$defs/node"}}}}}
MAP = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1, "maximum": 9}}
SCHEMAS = {"ALERT": ALERT, "LIST": LIST, "TREE": TREE, "MAP": MAP}


def is_type(v, name):
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int, "number": (int, float)}
    return isinstance(v, kinds[name]) and not (isinstance(v, bool) and name in ("integer", "number"))


def allows(s, v, doc):
    """As much of JSON Schema as stands above, read from the standard and not from our code."""
    if "$ref" in s:
        return allows(doc["$defs"][s["$ref"].rpartition("/")[2]], v, doc)
    if "anyOf" in s:
        return any(allows(x, v, doc) for x in s["anyOf"])
    if "const" in s or "enum" in s:
        return v in s.get("enum", [s.get("const")])
    types = s["type"] if isinstance(s["type"], list) else [s["type"]]
    if not any(is_type(v, t) for t in types):
        return False
    if isinstance(v, str):
        return s.get("minLength", 0) <= len(v) <= s.get("maxLength", 10**9) and (
            "format" not in s or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", v))
    if isinstance(v, (int, float)) and not isinstance(v, bool):
        return s.get("minimum", -1e300) <= v <= s.get("maximum", 1e300) and v < s.get("exclusiveMaximum", 1e300)
    if isinstance(v, list):
        return s.get("minItems", 0) <= len(v) <= s.get("maxItems", 10**9) and all(allows(s["items"], x, doc) for x in v)
    if isinstance(v, dict):
        known, more = s.get("properties", {}), s.get("additionalProperties", False)
        return all(k in v for k in s.get("required", [])) and all(
            allows(known[k], x, doc) if k in known else isinstance(more, dict) and allows(more, x, doc)
            for k, x in v.items())
    return True


def document(schema, seed, **more):
    return ask("cold-room-4 door=open temp=11.2:HH", temperature=1.3, seed=seed, max_tokens=250,
               response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}, **more)


def as_cbor(d):
    """In CBOR a schema is the text of one."""
    d = json.loads(json.dumps(d))
    d["response_format"]["json_schema"]["schema"] = json.dumps(d["response_format"]["json_schema"]["schema"])
    return d


def by_http(d):
    status, doc = post(cluster.url + "/v1/chat/completions", d)
    equal(status, 200, doc)
    return doc["choices"][0]["message"]["content"], doc["choices"][0]["finish_reason"]


def by_mqtt(d, cbor=False):
    end = client.submit(as_cbor(d) if cbor else d, as_cbor=cbor).end()
    equal(end["type"], "done", end)
    return end["text"], end["finish_reason"]


@test
def answers_are_documents_that_the_schema_allows_by_every_way_in():
    n_ended = 0
    for name, schema in SCHEMAS.items():
        for seed in range(6):
            text, finish = by_http(document(schema, seed))
            equal(by_mqtt(document(schema, seed), cbor=seed % 2 == 1), (text, finish), "by MQTT")
            if finish == "stop":
                n_ended += 1
                check(allows(schema, json.loads(text), schema), "%s does not allow %s" % (name, text))
    note("%d of %d answers came to their end" % (n_ended, 6 * len(SCHEMAS)))
    check(n_ended > 3 * len(SCHEMAS), "hardly any came to its end")


@test
def an_answer_under_a_schema_goes_on_when_its_agent_dies():
    # Long enough to be disturbed.
    d = dict(document({"type": "string", "minLength": 400, "maxLength": 500}, 11), stream=True)
    want = client.submit(d).end()
    for _ in range(5):
        cluster.await_all_ready()
        job, heard = client.submit(d), []
        client.subscribe("shoal/v1/agents/+/out", lambda m: heard.append(m.topic.split("/")[-2]), qos=0)
        while len(job.frames()) < 20:
            job.next()
        cluster.signal(heard[-1])
        end = job.end()
        client.unsubscribe("shoal/v1/agents/+/out")
        equal((end["text"], end["finish_reason"]), (want["text"], want["finish_reason"]), "the answer")
        if end["receipt"]["attempts"] > 1:
            return
    check(False, "no kill hit a running stream")


@test
def what_cannot_be_kept_to_is_refused_with_its_place():
    cluster.await_all_ready()
    bad = document({"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}, 1)
    status, doc = post(cluster.url + "/v1/chat/completions", bad)
    equal((status, doc["error"]["param"]), (400, "response_format"), doc)
    check("#/properties/a" in doc["error"]["message"] and "pattern" in doc["error"]["message"], doc)
    end = client.submit(bad).end()
    equal((end["type"], end["code"]), ("error", "BAD_REQUEST"), end)
    end = client.submit(ask("hello", grammar="root ::= (")).end()
    equal((end["type"], end["code"]), ("error", "BAD_REQUEST"), end)
    check("Line 1" in end["message"], end)


@test
def the_command_line_takes_schemas_and_grammars_from_files():
    with tempfile.TemporaryDirectory() as scratch:
        schema, grammar = Path(scratch) / "s.json", Path(scratch) / "g.gbnf"
        schema.write_text(json.dumps(ALERT))
        grammar.write_text('root ::= "up" | "down"\n')
        for way in (["--http", cluster.url], ["--mqtt", "127.0.0.1:%d" % cluster.mqtt_port, "-m", "triage"]):
            r = run_shoal("run", *way, "--grammar", str(grammar), "hello")
            check(r.returncode == 0 and r.stdout.strip() in ("up", "down"), r)
            r = run_shoal("run", *way, "--schema", str(schema), "--seed", "3", "hello")
            check(r.returncode == 0 and allows(ALERT, json.loads(r.stdout), ALERT), r)
        r = run_shoal("run", "--http", cluster.url, "--schema", str(grammar), "hello")
        equal(r.returncode, 2, r.stderr)


main(after=[cluster.close])
