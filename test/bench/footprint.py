#!/usr/bin/python3
"""Memory of the agent: private (USS) and resident, idle and after many short jobs.

The agent keeps figures of its last 1,000 requests, so what it grows to is looked for from there on.
"""
from benchlib import BUNDLED, System, arguments, ask, began, prompt, say, table, verdict
from shoaltest.cluster import memory

args = arguments(__doc__, jobs=(10000, "jobs"), clients=(8, "at once"), warm=(1500, "jobs before it is looked at for growth"))

began()
system = System(BUNDLED, 1, args.clients, 256)
seen = {"idle": {part: memory(pid) for part, pid in system.pids().items()}}
for title, n in ((f"after {args.warm} jobs", args.warm), (f"after {args.jobs} jobs", args.jobs - args.warm)):
    answers = system.mqtt([ask(prompt(k, 60), 2) for k in range(n)], args.clients)
    assert all(a["tokens"] == 2 for a in answers)
    seen[title] = {part: memory(pid) for part, pid in system.pids().items()}
system.close()
MIB = 1 << 20
say()
table(["MiB, private / resident", *seen["idle"]], [[title, *(f"{uss / MIB:.2f} / {rss / MIB:.2f}" for uss, rss in parts.values())]
                                                  for title, parts in seen.items()])
last = seen[f"after {args.jobs} jobs"]["agent"]
verdict("agent, private memory in MB", max(uss for parts in seen.values() for uss, _ in [parts["agent"]]) / 1e6, at_most=5)
verdict("agent, resident memory in MB", max(rss for parts in seen.values() for _, rss in [parts["agent"]]) / 1e6, at_most=12)
verdict(f"agent, growth from {args.warm} to {args.jobs} jobs in MB", (last[0] - seen[f'after {args.warm} jobs']["agent"][0]) / 1e6, at_most=0.3)
