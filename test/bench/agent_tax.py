#!/usr/bin/python3
"""What the system costs beside the engine: CPU time of agent, hub and broker for each token a client gets.

From the kernel's own account of their threads (/proc/PID/task/*/schedstat), so it counts what they do, not what they wait for.
"""
from benchlib import System, arguments, ask, began, cpu_ns, find_model, median, prompt, say, table, whole_rate

args = arguments(__doc__, models=("triage,35m-f16", "which models"), rounds=(5, "rounds"), tokens=(256, "of an answer"), threads=(1, "of the engine"),
                 streams=("1,8", "streams at once"))
CONTEXT = 512
PARTS = ("agent", "hub", "broker")


def measure(system, way, streams):
    """Microseconds for each token, by part; and tokens a second."""
    rounds = []
    for k in range(args.rounds + 1):
        requests = [ask(prompt(k * streams + i, 120), args.tokens) for i in range(streams)]
        before = {part: cpu_ns(pid) for part, pid in system.pids().items()}
        answers = way(requests, streams)
        tokens = sum(a["tokens"] for a in answers)
        rounds.append({part: (cpu_ns(pid) - before[part]) / 1000 / tokens for part, pid in system.pids().items()} | {"rate": whole_rate(answers)})
    return {key: median(r[key] for r in rounds[1:]) for key in rounds[0]}


def rows(name):
    for streams in map(int, args.streams.split(",")):
        system = System(find_model(name), args.threads, streams, CONTEXT)
        for title, way in (("MQTT", system.mqtt), ("HTTP", system.http)):
            got = measure(system, way, streams)
            yield [f"{name}, {streams} stream(s), {title}", f"{got['rate']:.0f}", *(f"{got[p]:.1f}" for p in PARTS), f"{sum(got[p] for p in PARTS):.1f}"]
        system.close()


began()
say(f"\nCPU time in microseconds for each token, median of {args.rounds} rounds")
table(["", "tokens/s", *PARTS, "together"], [row for name in args.models.split(",") for row in rows(name)])
