#!/usr/bin/python3
"""Jobs a second through the hub, against what the broker alone carries of the same messages.

The load program's clients submit in a closed loop, its agents answer at once; the hub is measured as it comes, with its journal
synced, and without one.  In the hub's place the relay sends the same number of
messages, of the same sizes and QoS, without any thought (wire.py).  In turn; the medians of the rounds' ratios.  CPU time is the kernel's
account of hub or relay, and of all three processes of a side.
"""
from benchlib import arguments, began, in_turn, median, ratios, say, table, verdict
from wire import Hub, Relay

args = arguments(__doc__, rounds=(5, "rounds"), jobs=(3000, "of a round"), clients=(128, "jobs at once"), agents=(32, "agents"),
                 prompt=(200, "bytes of a prompt"), tokens=(8, "of an answer, a frame each"),
                 settings=("", "of the hub, NAME=VALUE with commas between"))
SLOTS = 8
KINDS = {"JSON": {"json": 1, "stream": 0}, "CBOR": {"json": 0, "stream": 0}, "JSON, streams": {"json": 1, "stream": 1}}
MESSAGES = ("submits", "jobs", "events", "controls", "acks", "answers")


def measure(load):
    relay = Relay(args.agents, (bare_hub if load["stream"] else hub).record(**load), slots=SLOTS)
    both = {"hub": hub, "relay": relay, "hub, no journal": bare_hub}
    got = in_turn({name: lambda k, side=side: side.run(jobs=args.jobs, clients=args.clients, **load) for name, side in both.items()}, args.rounds)
    relay.close()
    return got


def show(title, got):
    say(f"\n{title}: {args.clients} jobs at once, medians of {args.rounds} rounds of {args.jobs}; messages of a job: "
        + ", ".join(f"{median(r['each'][kind] for r in got['hub']):g} {kind}" for kind in MESSAGES))
    base = [r["rate"] for r in got["relay"]]
    table(["", "jobs/s", "ratio", "messages of a job", "bytes", "CPU us/job", "of all"],
          [[name, f"{median(r['rate'] for r in rounds):.0f}", f"{ratios([r['rate'] for r in rounds], base):.3f}",
            f"{median(sum(r['each'][kind] for kind in MESSAGES) for r in rounds):.2f}",
            f"{median(sum(n for kind, n in r['each'].items() if kind.endswith('bytes')) for r in rounds):.0f}",
            f"{median(r['cpu_us'] for r in rounds):.0f}", f"{median(r['all_cpu_us'] for r in rounds):.0f}"] for name, rounds in got.items()])
    # With a journal tokens that come while the disk is busy go into one message: not the relay's pattern.
    same = "hub, no journal" if "streams" in title else "hub"
    verdict(f"job throughput, {title}", ratios([r["rate"] for r in got[same]], base), at_least=0.7)


began()
settings = args.settings.split(",") if args.settings else []
hub, bare_hub = (Hub(args.agents, [*settings, *more], slots=SLOTS) for more in ([], ["journal.mode=off"]))
for title, load in KINDS.items():
    show(title, measure(dict(load, prompt=args.prompt, tokens=args.tokens)))
hub.close()
bare_hub.close()
