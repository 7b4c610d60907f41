#!/usr/bin/python3
"""What the hub adds: from a submit's publish until the agent has the job, against the bare broker's two hops.

Bare is publisher -> broker -> relay -> broker -> receiver, with the same load program at both ends, the same payloads and QoS, and the
rest of each job's messages too (wire.py).  Jobs come at random moments, the same on all sides, at a low rate and at half of what
the hub carries.  The hub is measured as it comes, with its journal synced; with ids, which the journal looks for before a job may
leave; and without a journal.  In turn; the medians of the rounds' ratios.
"""
from benchlib import arguments, began, in_turn, median, ratios, say, table, verdict
from wire import Hub, Relay, quantiles

args = arguments(__doc__, rounds=(7, "rounds"), rate=(100, "jobs a second, the low one"), jobs=(300, "of a round at the low rate"),
                 agents=(8, "agents"), prompt=(200, "bytes of a prompt"), tokens=(8, "of an answer, a frame each"), json=(1, "0: CBOR"),
                 settings=("", "of the hub, NAME=VALUE with commas between"))
LOAD = {"prompt": args.prompt, "tokens": args.tokens, "json": args.json}
CLIENTS = 16
BARS = (1.5, 2.0)


def measure(rate, jobs):
    def turn(side, **more):
        return lambda k: side.run(jobs=jobs, clients=CLIENTS, rate=rate, seed=k, **LOAD, **more)

    return in_turn({"hub": turn(hub), "relay": turn(relay), "hub, with ids": turn(hub, key=1), "hub, no journal": turn(bare_hub)}, args.rounds)


def show(title, got):
    first = {name: [quantiles(r["hop_us"]) for r in rounds] for name, rounds in got.items()}
    last = {name: [quantiles(r["end_us"]) for r in rounds] for name, rounds in got.items()}
    base = [[q[i] for q in first["relay"]] for i in (0, 1)]
    say(f"\n{title}: microseconds, medians of {args.rounds} rounds of {got['hub'][0]['jobs']} jobs")
    table(["", "to the agent p50", "ratio", "p99", "ratio", "to the answer p50", "p99", "CPU us/job", "of all"],
          [[name, *(cell for i in (0, 1) for cell in (f"{median(q[i] for q in first[name]):.0f}", f"{ratios([q[i] for q in first[name]], base[i]):.2f}")),
            *(f"{median(q[i] for q in last[name]):.0f}" for i in (0, 1)),
            f"{median(r['cpu_us'] for r in got[name]):.0f}", f"{median(r['all_cpu_us'] for r in got[name]):.0f}"] for name in got])
    for i, p in enumerate(("p50", "p99")):
        verdict(f"hub-added latency, {title}, {p}", ratios([q[i] for q in first["hub"]], base[i]), at_most=BARS[i])


began()
slots = max(4, 4 * CLIENTS // args.agents)
settings = args.settings.split(",") if args.settings else []
hub, bare_hub = (Hub(args.agents, [*settings, *more], slots=slots) for more in ([], ["journal.mode=off"]))
relay = Relay(args.agents, hub.record(**LOAD), slots=slots)
show(f"{args.rate} jobs/s", measure(args.rate, args.jobs))
carried = median(hub.run(jobs=4 * args.jobs, clients=8 * CLIENTS, **LOAD)["rate"] for _ in range(3))
half = max(1, int(carried / 2))
show(f"{half} jobs/s, half of what it carries", measure(half, 2 * args.jobs))
for side in (hub, bare_hub, relay):
    side.close()
