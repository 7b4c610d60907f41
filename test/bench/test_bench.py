#!/usr/bin/python3
"""The benchmarks run and say what they are to say.

Times taken beside other tests say nothing, so none is judged; counts are: how often the daemons are woken for a token.
"""
import contextlib
import io
import math
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import benchlib  # noqa: E402
from shoaltest.suite import check, equal, main, test  # noqa: E402


def run(name, *args):
    done = subprocess.run([sys.executable, HERE / f"{name}.py", *args], capture_output=True, text=True, timeout=120)
    equal(done.returncode, 0, f"exit status of {name}; it said:\n{done.stdout}{done.stderr}")
    return done.stdout


def says(out, *words):
    for w in words:
        check(w in out, f"nothing of {w!r} in:\n{out}")


@test
def what_a_busy_machine_hides_is_no_figure_and_no_failure():
    together = {"tokens": 9, "start": 10, "first": 500, "end": 500}  # all pieces at once
    for value in (benchlib.decode_rate(together), benchlib.median([]), benchlib.percentile([], 99), benchlib.ratios([1, 2], [0, 0])):
        check(math.isnan(value), f"{value} came of nothing")
    equal(benchlib.ratios([1, 8], [0, 4]), 2, "ratio of the rounds that can be told")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        check(not benchlib.verdict("a bar", math.nan, at_most=3), "nothing met a bar")
    says(out.getvalue(), "NO FIGURE of a bar")


SMALL = ("--models", "triage", "--rounds", "1", "--tokens", "24")


@test
def a_single_stream_is_compared_with_the_bare_loop():
    says(run("single_stream", *SMALL), "bare loop", "shoal, exact", "single stream, triage")


@test
def parallel_streams_are_measured():
    says(run("parallel_streams", *SMALL, "--jobs", "1", "--server", "0"), "shoal, HTTP", "shoal, MQTT")


@test
def gaps_beside_a_prompt_are_measured():
    says(run("prefill_interference", "--models", "triage", "--rounds", "1", "--tokens", "200", "--after", "10", "--characters", "600", "--server", "0"),
         "prefill interference, triage")


@test
def the_tuner_is_measured():
    says(run("threads", "--model", "triage", "--settle", "0.2", "--seconds", "0.2"), "thread tuner, alone", "thread tuner, after it")


@test
def the_tax_is_measured_and_one_wake_up_a_token_is_enough():
    out = run("agent_tax", *SMALL)
    says(out, "triage, 8 stream(s), HTTP")
    check(out.count("\nmet ") == 3, f"the daemons are woken too often:\n{out}")


@test
def second_turns_are_measured_and_stay_where_the_first_ones_were():
    out = run("session_affinity", "--model", "triage", "--agents", "3", "--conversations", "2", "--rounds", "1", "--tokens", "300")
    says(out, "by session", "by its beginning", "at random", "requests kept 4, moved 0")
    share = [int(line.split()[-3]) for line in out.splitlines() if line.startswith("  by ")]
    check(len(share) == 2 and min(share) >= 90, f"not cached:\n{out}")


@test
def memory_is_measured():
    says(run("footprint", "--jobs", "60", "--warm", "40"), "agent, private memory", "agent, growth")


@test
def modes_of_the_journal_are_compared():
    says(run("hub_journal", "--rounds", "1", "--streams", "2", "--tokens", "20"), "2 streams of 20 tokens", "sync")


@test
def latency_through_the_hub_is_compared_with_the_bare_broker():
    out = run("hub_latency", "--rounds", "1", "--rate", "50", "--jobs", "15", "--agents", "2")
    says(out, "hub-added latency, 50 jobs/s, p50", "half of what it carries, p99")


@test
def throughput_is_compared_with_the_same_messages():
    out = run("hub_throughput", "--rounds", "1", "--jobs", "40", "--clients", "4", "--agents", "2")
    says(out, "job throughput, JSON:", "job throughput, CBOR:", "job throughput, JSON, streams:")
    rows = [line.rsplit(maxsplit=6) for line in out.splitlines() if line.startswith(("  relay ", "  hub, no journal "))]
    equal(len(rows), 6, "rows of relay and hub")
    for relay, hub in zip(rows[::2], rows[1::2]):
        equal(relay[3], hub[3], "messages of a job through the relay, against the hub's")
        check(abs(int(relay[4]) - int(hub[4])) <= 0.01 * int(hub[4]), f"bytes differ: {hub[4]} and {relay[4]}")


@test
def a_fleet_registers_at_once_and_all_its_agents_work():
    out = run("hub_fleet", "--agents", "40", "--seconds", "0.3", "--mass", "300")
    says(out, "private memory with 40 agents", "300 agents that register at once are listed", "after the hub's restart")


@test
def a_fleet_may_have_a_connection_for_each_agent():
    says(run("hub_fleet", "--agents", "2", "--seconds", "0.1", "--mass", "50", "--own", "1"), "a connection each")


main()
