#!/usr/bin/python3
"""Everything the encoder writes obeys docs/protocol.cddl, and the check can fail.

Usage: test_cddl.py MSG_SAMPLES SCHEMA
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from cddl import Schema
from shoaltest import cbor


def spoiled(value):
    """Copies of a map with one thing wrong each."""
    for key in value:
        without = dict(value)
        del without[key]
        yield "without", key, without
        yield "of another type", key, dict(value, **{key: object()}) if isinstance(key, str) else {**value, key: object()}
    yield "with a key too many", None, {**value, (62 if all(isinstance(k, int) for k in value) else "surplus"): 1}


def main():
    samples, schema_path = sys.argv[1:3]
    with open(schema_path) as f:
        schema = Schema(f.read())
    lines = subprocess.run([samples, "1", "40"], check=True, capture_output=True, text=True).stdout.splitlines()
    problems = {}  # (rule, which question): sentences

    def verdict(rule, question, good, *what):
        problems.setdefault((rule, question), [])
        if not good:
            problems[rule, question].append(" ".join(map(str, what)))

    for line in lines:
        rule, data = line.split(" ")
        value = cbor.loads(bytes.fromhex(data))
        found = schema.problem(rule, value)
        verdict(rule, "obeys", found is None, found)
        required = {k for k, (optional, _) in schema.rules[rule][1].items() if not optional}
        for how, key, bad in spoiled(value):
            if how == "without" and key not in required:
                continue
            verdict(rule, "spoiled copies are refused", schema.problem(rule, bad) is not None, how, key, "was let pass")
    seen = {rule for rule, _ in problems}
    maps = {name for name, node in schema.rules.items() if node[0] == "map"} - {"part-doc"}
    verdict("all", "rules and messages match", seen == maps, "one without the other:", sorted(seen ^ maps))
    failed = [case for case, sentences in problems.items() if sentences]
    for case in failed:
        print("FAIL", *case, problems[case][0], "(and %d more)" % (len(problems[case]) - 1))
    print("%d passed, %d failed, 0 skipped" % (len(problems) - len(failed), len(failed)))
    return len(failed) != 0


sys.exit(main())
