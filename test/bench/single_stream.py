#!/usr/bin/python3
"""One stream through client, broker, hub, agent and engine, against the same libllama loop in one bare process.

For each model: tokens a second of the whole answer, prompt included, and after its first token; the two in turn,
the median of the rounds' ratios; CPU time is that of all processes but the client.  Then the same with an engine that is exact (see docs/ENGINE.md, "Equal tokens"),
which computes a lone row with company.
"""
from benchlib import Bare, System, arguments, ask, began, decode_rate, find_model, in_turn, median, prompt, ratios, say, table, verdict, whole_rate

args = arguments(__doc__, models=("triage,35m-f16,90m-q8_0", "which models"), rounds=(5, "rounds"), tokens=(384, "of an answer"),
                 threads=(1, "of the engine, and of the bare loop"), exact=(1, "0: without the exact engine"))
CONTEXT = {"triage": 512}


def measure(name):
    path, context = find_model(name), CONTEXT.get(name, 2048)
    systems = {"shoal": System(path, args.threads, context=context)}
    if args.exact:
        systems["shoal, exact"] = System(path, args.threads, context=context, model="exact = true;")
    bare = Bare(path, args.threads, context)

    def through(system, k):
        return system.mqtt([ask(prompt(k, 120), args.tokens)])[0]

    sides = {"bare loop": lambda k: bare.ask(prompt(k, 120), args.tokens)}
    for title, system in systems.items():
        sides[title] = lambda k, system=system: through(system, k)
    got = in_turn(sides, args.rounds)
    for answers in got.values():
        assert all(a["tokens"] == args.tokens for a in answers)
        assert [a["prompt_tokens"] for a in answers] == [a["prompt_tokens"] for a in got["bare loop"]], "not the same prompts"
    for s in systems.values():
        s.close()
    bare.close()
    return got


def show(name, got):
    say(f"\n{name}: {args.tokens} tokens after a prompt of {got['bare loop'][0]['prompt_tokens']}, {args.threads} thread(s), "
        f"median of {args.rounds}")
    whole = {side: [whole_rate([a]) for a in answers] for side, answers in got.items()}
    decode = {side: [decode_rate(a) for a in answers] for side, answers in got.items()}
    cpu = {side: [a["cpu"] for a in answers] for side, answers in got.items()}
    table(["", "tokens/s", "after the first", "ratio", "after the first", "CPU us/token", "ratio"],
          [[side, f"{median(whole[side]):.1f}", f"{median(decode[side]):.1f}", f"{ratios(whole[side], whole['bare loop']):.3f}",
            f"{ratios(decode[side], decode['bare loop']):.3f}", f"{median(cpu[side]):.0f}", f"{ratios(cpu[side], cpu['bare loop']):.3f}"]
           for side in got])
    verdict(f"single stream, {name}", ratios(whole["shoal"], whole["bare loop"]), at_least=0.97)


began()
for model in args.models.split(","):
    show(model, measure(model))
