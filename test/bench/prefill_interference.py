#!/usr/bin/python3
"""What a long prompt does to a running stream: its inter-token gaps while the prompt is computed.

One client streams; when it has its first tokens a second one sends a long prompt and wants one token.  Shown are the stream's
gaps without the prompt, and their 99th percentile from the prompt's arrival to its first token, as a multiple of the median
without it.  llama-server, where it can be had, does the same in turn.
"""
from benchlib import (LlamaServer, Missing, System, arguments, ask, began, find_model, first_ms, in_turn, median, percentile, prompt, ratio, say,
                      table, verdict)

args = arguments(__doc__, models=("35m-f16,90m-q8_0", "which models"), rounds=(4, "rounds"), threads=(1, "of the engine"),
                 characters=(4140, "of the prompt"), tokens=(900, "of the stream"), after=(100, "tokens before the prompt comes"), server=(1, "0: without llama-server"),
                 gap=(0, "prefill_gap of the model, 0: the engine's choice"))
CONTEXT = 4096


def gaps(stream, long):
    """(milliseconds between pieces of the stream without the prompt, and with it)."""
    at = [stream["start"] + t for t in stream["at"]]
    pairs = [(b, (b - a) / 1000) for a, b in zip(at, at[1:])]
    without = [gap for b, gap in pairs if b <= long["start"] or b > long["first"] + 50000]
    beside = [gap for b, gap in pairs if long["start"] < b <= long["first"] + 1000]
    return without, beside


def judge(answers):
    stream, long = answers
    without, beside = gaps(stream, long)
    if not beside:  # not a piece while the prompt was computed
        beside = [first_ms(long)]
    return {"median": median(without), "p99 without": percentile(without, 99), "median beside": median(beside),
            "p99 beside": percentile(beside, 99), "long": first_ms(long), "prompt": long["prompt_tokens"],
            "ratio": ratio(percentile(beside, 99), median(without))}


def measure(name):
    path = find_model(name)
    system = System(path, args.threads, 2, CONTEXT, model=f"prefill_gap = {args.gap};" if args.gap else "")
    sides = {"shoal": system}
    try:
        if args.server:
            sides["llama-server"] = LlamaServer(path, args.threads, 2, CONTEXT)
    except Missing as why:
        say(f"SKIPPED, nothing to compare with: {why}")

    def round_of(side):
        return lambda k: judge(side.http([ask(prompt(k, 100), args.tokens), ask(prompt(1000 + k, args.characters), 1)], 2, args.after))

    got = in_turn({title: round_of(side) for title, side in sides.items()}, args.rounds)
    for side in sides.values():
        side.close()
    return got


def show(name, got):
    say(f"\n{name}: a prompt of {got['shoal'][0]['prompt']} tokens beside a stream, {args.threads} thread(s), medians of {args.rounds} rounds")
    table(["", "gap ms", "its p99", "beside the prompt", "its p99", "ratio", "prompt took ms"],
          [[side, *(f"{median(r[key] for r in rounds):.2f}" for key in ("median", "p99 without", "median beside", "p99 beside", "ratio")),
            f"{median(r['long'] for r in rounds):.0f}"] for side, rounds in got.items()])
    verdict(f"prefill interference, {name}", median(r["ratio"] for r in got["shoal"]), at_most=3)


began()
for model in args.models.split(","):
    show(model, measure(model))
