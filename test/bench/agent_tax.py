#!/usr/bin/python3
"""What the system costs beside the engine: CPU time of agent, hub and broker for each token a client gets.

From the kernel's own account of their threads (/proc/PID/task/*/schedstat), so it counts what they do, not what they wait for;
and how often each went to sleep to be woken again, which does not depend on how busy the machine is: those have bars.  Without a
journal, which is woken as the disk has it.
"""
from benchlib import System, arguments, ask, began, cpu_ns, find_model, median, prompt, say, sleeps, table, verdict, whole_rate

args = arguments(__doc__, models=("triage,35m-f16", "which models"), rounds=(5, "rounds"), tokens=(256, "of an answer"), threads=(1, "of the engine"),
                 streams=("1,8", "streams at once"))
CONTEXT = 512
BARS = {"agent": 1.8, "hub": 1.8, "broker": 3.5}
PARTS = tuple(BARS)


def measure(system, way, streams):
    """Microseconds for each token, by part; and tokens a second."""
    rounds = []
    for k in range(args.rounds + 1):
        requests = [ask(prompt(k * streams + i, 120), args.tokens) for i in range(streams)]
        before = {part: (cpu_ns(pid), sleeps(pid)) for part, pid in system.pids().items()}
        answers = way(requests, streams)
        tokens = sum(a["tokens"] for a in answers)
        got = {"rate": whole_rate(answers)}
        for part, pid in system.pids().items():
            got[part] = (cpu_ns(pid) - before[part][0]) / 1000 / tokens
            got[part, "sleeps"] = (sleeps(pid) - before[part][1]) / tokens
        rounds.append(got)
    return {key: median(r[key] for r in rounds[1:]) for key in rounds[0]}


def rows(name):
    for streams in map(int, args.streams.split(",")):
        system = System(find_model(name), args.threads, streams, CONTEXT, hub=["journal.mode=off"])
        for title, way in (("MQTT", system.mqtt), ("HTTP", system.http)):
            got = measure(system, way, streams)
            most.update({p: max(most[p], got[p, "sleeps"]) for p in PARTS})
            yield [f"{name}, {streams} stream(s), {title}", f"{got['rate']:.0f}", *(f"{got[p]:.1f}" for p in PARTS),
                   f"{sum(got[p] for p in PARTS):.1f}", *(f"{got[p, 'sleeps']:.2f}" for p in PARTS)]
        system.close()


began()
say(f"\nCPU time in microseconds for each token, median of {args.rounds} rounds")
most = dict.fromkeys(PARTS, 0)
table(["", "tokens/s", *PARTS, "together", *(f"{p} sleeps" for p in PARTS)], [row for name in args.models.split(",") for row in rows(name)])
for part in PARTS:
    verdict(f"{part}, times put to sleep for each token", most[part], at_most=BARS[part])
