#!/usr/bin/python3
"""A large fleet: the hub's memory and what heartbeats cost it; all agents registering at once.

The load program plays the agents, on a few connections; --own 1 gives each of those that register at once a connection of its own, from
several processes (each needs four descriptors there).  CPU time is the kernel's account of the hub's threads.
"""
import time

from benchlib import arguments, began, cpu_ns, say, table, verdict, wait_until
from wire import Fleet, Hub

args = arguments(__doc__, agents=(1000, "agents"), seconds=(20.0, "of each measure of CPU time"), mass=(10000, "agents that register at once"),
                 own=(0, "1: a connection for each of them"), settings=("", "of the hub, NAME=VALUE with commas between"))
SETTINGS = args.settings.split(",") if args.settings else ()
MB = 1e6
OWN_MOST = 3500  # connections of one process


def core_share(hub):
    """Of one core, over some seconds."""
    pid, begin = hub.middle.popen.pid, time.monotonic()
    before = cpu_ns(pid)
    time.sleep(args.seconds)
    return (cpu_ns(pid) - before) / 1e9 / (time.monotonic() - begin)


def steady():
    empty = Hub(1, SETTINGS, links=1)
    base = {"CPU": core_share(empty), "memory": empty.memory()}
    empty.close()
    hub = Hub(args.agents, SETTINGS, links=min(4, args.agents), slots=1)
    idle = {"CPU": core_share(hub), "memory": hub.memory()}
    clients = min(args.agents, 1000)
    hub.fleet.tell(f"run jobs={args.agents} clients={clients} rate={args.agents} hold=1 prompt=1000 wait_s=600")
    wait_until(lambda: hub.get("/api/v1/status")["running"] == args.agents, "all agents are busy", 60, 0.1)
    busy = {"CPU": core_share(hub), "memory": hub.memory()}
    hub.fleet.tell("release")
    answers = [hub.fleet.answer(60), hub.fleet.answer(60)]
    assert any(a.get("ended") == args.agents for a in answers), answers
    after = {"CPU": core_share(hub), "memory": hub.memory()}
    hub.close()
    say(f"\n{args.agents} agents, heartbeats every 5 s, with work every 2 s")
    table(["", "hub, % of a core", "private MB", "resident MB"],
          [[title, f"{100 * got['CPU']:.2f}", *(f"{n / MB:.2f}" for n in got["memory"])]
           for title, got in (("1 agent", base), ("idle", idle), ("all busy", busy), ("idle again", after))])
    verdict(f"hub, private memory with {args.agents} agents in MB", max(got["memory"][0] for got in (idle, busy, after)) / MB, at_most=20)
    verdict(f"hub, per cent of a core for {args.agents} agents, idle", 100 * idle["CPU"], at_most=5)
    verdict(f"hub, per cent of a core for {args.agents} agents, all busy", 100 * busy["CPU"], at_most=5)


def fleets(hub):
    """Load programs of all agents, connected and not registered; the hub's first agent is another."""
    if not args.own:
        return [Fleet(hub.broker.port, agents=args.mass, links=min(8, args.mass), first=1)]
    parts = -(-args.mass // OWN_MOST)
    sizes = [args.mass // parts + (k < args.mass % parts) for k in range(parts)]
    return [Fleet(hub.broker.port, agents=n, links=n, first=1 + sum(sizes[:k])) for k, n in enumerate(sizes)]


def seconds_until_seen(hub, n, begin):
    wait_until(lambda: hub.get("/api/v1/status")["agents"]["online"] >= n, f"{n} agents are online", 120, 0.05)
    took = time.monotonic() - begin
    listed = hub.online()
    assert listed >= n, f"{listed} of {n} are listed"
    return took


def mass():
    hub = Hub(1, SETTINGS, links=1)
    loads = fleets(hub)
    before, begin = cpu_ns(hub.middle.popen.pid), time.monotonic()
    for load in loads:
        load.tell("announce")
    took = seconds_until_seen(hub, args.mass + 1, begin)
    spent = (cpu_ns(hub.middle.popen.pid) - before) / 1e9
    for load in loads:
        load.answer(60)
    uss, rss = hub.memory()
    begin = time.monotonic()
    hub.restart()
    again = seconds_until_seen(hub, args.mass + 1, begin)
    for load in loads:
        load.close()
    hub.close()
    say(f"\n{args.mass} agents at once, {'a connection each' if args.own else 'on 8 connections'}")
    table(["", "seconds", "hub, CPU s", "private MB", "resident MB"], [["they register", f"{took:.2f}", f"{spent:.2f}", f"{uss / MB:.1f}", f"{rss / MB:.1f}"],
                                                                   ["the hub restarts", f"{again:.2f}", "", "", ""]])
    verdict(f"seconds until {args.mass} agents that register at once are listed", took, at_most=30)
    verdict(f"seconds until {args.mass} agents are listed after the hub's restart", again, at_most=30)


began()
steady()
mass()
