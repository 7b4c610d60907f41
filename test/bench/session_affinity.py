#!/usr/bin/python3
"""The second turn of a conversation: time to its first token when the hub sends it where the first one was computed, when
it knows it by its beginning only, and when an agent is drawn at random.

Several agents with an engine each, one request at a time.  Each conversation has words of its own from the first on, so
that nothing is cached but itself.  Random is done with labels: the draw is ours, everything else is the same.
"""
import json
import random

from benchlib import BIN, Process, System, arguments, ask, began, find_model, first_ms, in_turn, median, prompt, request, say, table, verdict
from shoaltest.wait import wait_until

args = arguments(__doc__, model=("35m-q8_0", "model"), agents=(4, "agents"), conversations=(6, "of each kind in a round"),
                 rounds=(2, "measured rounds"), tokens=(1000, "of a first turn, about"), seed=(1, "of the draws"))


class Fleet(System):
    """A system with more agents, each with its name as a label."""

    def __init__(self, path, n, context):
        super().__init__(path, 1, args.conversations, context, agent='labels = [ "box=0" ];\nbenchmark = false;')
        first = (self.dir / "agent.cfg").read_text()
        self.others = []
        for k in range(1, n):
            (self.dir / f"agent-{k}.cfg").write_text(first.replace('id = "box"', f'id = "box-{k}"').replace('"box=0"', f'"box={k}"')
                                                     .replace(f"{self.dir}/box", f"{self.dir}/box-{k}"))
            self.others.append(Process(self.dir, f"agent-{k}", [BIN / "shoal-agent", "--config", self.dir / f"agent-{k}.cfg"]))
        wait_until(lambda: self.n_ready() == n, f"{n} agents are ready", 120, 0.1)

    def n_ready(self):
        agents = json.loads(request(self.http_port, "GET", "/api/v1/agents")[2])["agents"]
        return sum(a["state"] == "online" and a["models"][0]["state"] == "ready" for a in agents)

    def pids(self):
        return dict(super().pids(), **{p.name: p.popen.pid for p in self.others})

    def close(self):
        for p in self.others:
            p.stop()
        super().close()


numbers = iter(range(1, 1 << 20))
draw = random.Random(args.seed)
KINDS = {
    "by session": lambda n: {"session": f"conversation-{n}"},
    "by its beginning": lambda n: {},
    "at random": lambda n: {"require": [f"box={draw.randrange(args.agents)}"]},
}


def conversations(kind, characters):
    """[(first turn, second turn), …] as answered."""
    names = [next(numbers) for _ in range(args.conversations)]
    texts = [prompt(n, characters) for n in names]
    first = fleet.http([ask(t, 4, cache_prompt=True, **KINDS[kind](n)) for n, t in zip(names, texts)])
    second = fleet.http([ask(t + " and now? 11.2:HH", 4, cache_prompt=True, **KINDS[kind](n)) for n, t in zip(names, texts)])
    return list(zip(first, second))


began()
fleet = Fleet(find_model(args.model), args.agents, args.tokens * 2)
probe = fleet.http([ask(prompt(0, args.tokens), 1)])[0]
length = args.tokens * args.tokens // probe["prompt_tokens"]
results = in_turn({kind: (lambda _, kind=kind: conversations(kind, length)) for kind in KINDS}, args.rounds)
sessions = json.loads(request(fleet.http_port, "GET", "/api/v1/status")[2])["sessions"]
fleet.close()

rows, p50 = [], {}
for kind, rounds in results.items():
    pairs = [pair for r in rounds for pair in r]
    p50[kind] = median(first_ms(second) for _, second in pairs)
    cached = sum(s["cached_tokens"] for _, s in pairs) / sum(s["prompt_tokens"] for _, s in pairs)
    rows.append([kind, f"{median(first_ms(f) for f, _ in pairs):.1f}", f"{p50[kind]:.1f}", f"{100 * cached:.0f} %",
                 f"{median(s['prompt_tokens'] for _, s in pairs):.0f}"])
say()
table(["where the second turn goes", "first turn, ms", "second, ms", "cached of it", "tokens of it"], rows)
say(f"  requests kept {sessions['kept']}, moved {sessions['moved']}; tokens expected to be cached {sessions['expected_tokens']}, "
    f"cached {sessions['cached_tokens']}")
verdict("second turn, at random / by session, p50", p50["at random"] / p50["by session"], at_least=5)
verdict("second turn, at random / by its beginning, p50", p50["at random"] / p50["by its beginning"], at_least=5)
