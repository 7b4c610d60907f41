#!/usr/bin/python3
"""Parallel streams against llama.cpp's llama-server: a closed loop of clients, streaming.

Same model file, threads, prompts, lengths and greedy sampling; both over HTTP, and shoal over MQTT too.  In turn; the
medians of the rounds' ratios of tokens a second over all streams, and of the 95th percentile of the time to the first
token.  CPU time is that of all processes but the client, prompts included.  llama-server is Debian testing's, in a root directory made by mmdebstrap; without it nothing is compared (exit
status 77).  --same-library 1 adds our engine built against the llama.cpp that llama-server is built with: what is the
library's and what is ours.
"""
import sys

from benchlib import (LlamaServer, Missing, System, arguments, ask, began, engine_on_testing, find_model, first_ms, in_turn, median, percentile, prompt,
                      ratios, say, table, verdict, whole_rate)

args = arguments(__doc__, models=("35m-f16,35m-q8_0", "which models"), rounds=(5, "rounds"), clients=(8, "streams at once"), jobs=(2, "of each client, in a round"),
                 tokens=(96, "of an answer"), characters=(300, "of a prompt"), threads=(1, "of both engines"),
                 server=(1, "0: shoal alone"),
                 same_library=(0, "1: see above"))
CONTEXT = 1024


def measure(name):
    path = find_model(name)
    server = LlamaServer(path, args.threads, args.clients, CONTEXT) if args.server else None
    system = System(path, args.threads, args.clients, CONTEXT)

    twin = System(path, args.threads, args.clients, CONTEXT, engine=engine_on_testing()) if args.same_library else None

    def requests(k):
        n = args.clients * args.jobs
        return [ask(prompt(k * n + i, args.characters), args.tokens) for i in range(n)]

    sides = {"llama-server, HTTP": lambda k: server.http(requests(k), args.clients)} if server else {}
    sides["shoal, HTTP"] = lambda k: system.http(requests(k), args.clients)
    sides["shoal, MQTT"] = lambda k: system.mqtt(requests(k), args.clients)
    if twin:
        sides[f"shoal on {twin.engine()}, HTTP"] = lambda k: twin.http(requests(k), args.clients)
    try:
        got = in_turn(sides, args.rounds)
        for side in got.values():
            assert all(a["tokens"] == args.tokens and a["cached_tokens"] == 0 for answers in side for a in answers)
            assert [[a["prompt_tokens"] for a in answers] for answers in side] == \
                [[a["prompt_tokens"] for a in answers] for answers in got["shoal, HTTP"]], "not the same prompts"
        return server.version if server else "not compared", system.engine(), got
    finally:
        for side in filter(None, (system, twin, server)):
            side.close()


def show(name, server, engine, got):
    first = got["shoal, HTTP"][0][0]
    say(f"\n{name}: {args.clients} streams of {args.tokens} tokens after prompts of {first['prompt_tokens']}, {args.threads} thread(s), median "
        f"of {args.rounds} rounds of {args.clients * args.jobs} requests\n  llama-server {server}; shoal on {engine}")
    rate = {side: [whole_rate(answers) for answers in rounds] for side, rounds in got.items()}
    late = {side: [percentile([first_ms(a) for a in answers], 95) for answers in rounds] for side, rounds in got.items()}
    base = "llama-server, HTTP" if server != "not compared" else "shoal, HTTP"
    cpu = {side: [answers[0]["cpu"] for answers in rounds] for side, rounds in got.items()}
    table(["", "tokens/s", "ratio", "first token p95 ms", "ratio", "CPU us/token", "ratio"],
          [[side, f"{median(rate[side]):.1f}", f"{ratios(rate[side], rate[base]):.3f}", f"{median(late[side]):.0f}",
            f"{ratios(late[side], late[base]):.3f}", f"{median(cpu[side]):.0f}", f"{ratios(cpu[side], cpu[base]):.3f}"] for side in got])
    for way in ("HTTP", "MQTT") if server != "not compared" else ():
        verdict(f"{args.clients} streams over {way}, {name}, tokens/s", ratios(rate[f"shoal, {way}"], rate[base]), at_least=1.0)
        verdict(f"{args.clients} streams over {way}, {name}, first token p95", ratios(late[f"shoal, {way}"], late[base]), at_most=1.0)


began()
try:
    for model in args.models.split(","):
        show(model, *measure(model))
except Missing as why:
    say(f"SKIPPED, nothing was compared: {why}")
    sys.exit(77)
