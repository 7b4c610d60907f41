#!/usr/bin/python3
"""shoal-sim: each workload and each fault in small, nothing lost, the same seed gives the same figures."""
import csv
import io
import os
import subprocess
import tempfile

from shoaltest.suite import check, equal, main, note, test

SIM = os.path.join(os.environ["SHOAL_BIN_DIR"], "shoal-sim")
SMALL = ["--agents=24", "--jobs=600"]
WORKLOADS = ["poisson", "bursts", "sessions", "no-session-ids", "long", "users", "priorities", "models"]
FAULTS = ["lossy", "crashes", "partitions", "hub-crashes", "slow", "heat", "mass-loss"]


def sim(*args, status=0):
    p = subprocess.run([SIM, *args], capture_output=True, text=True, timeout=120)
    equal(p.returncode, status, f"exit status of {args}: {p.stderr[-500:]}")
    return p.stdout if status == 0 else p.stderr


def is_sanitized():
    with open(SIM, "rb") as f:
        program = f.read()
    return b"__asan_init" in program or b"__tsan_init" in program


def rows(*args):
    found = list(csv.DictReader(io.StringIO(sim("--csv", *args))))
    check(found, "no line of figures")
    return found


def complete(row, jobs):
    equal(int(row["jobs"]), jobs, "jobs")
    equal(int(row["lost"]), 0, "lost")
    equal(int(row["wrong"]), 0, "wrong")
    equal(int(row["done"]) + int(row["failed"]), jobs, "done and failed")


@test
def each_workload_comes_to_an_end():
    for name in WORKLOADS:
        for row in rows(*SMALL, "--scenario", name):
            complete(row, 600)


@test
def each_fault_loses_nothing():
    for name in FAULTS:
        for row in rows(*SMALL, "--scenario=sessions", "--think=2", "--scenario", name, "--down=5", "--policy=least_loaded,cost"):
            complete(row, 600)


@test
def faults_happen():
    calm, bad = (rows(*SMALL, "--policy=least_loaded", f"--scenario={s}")[0] for s in ("poisson", "crashes"))
    equal(float(calm["attempts_per_job"]), 1.0, "attempts a job without faults")
    check(float(bad["attempts_per_job"]) > 1, "nobody died")
    lost = rows(*SMALL, "--policy=least_loaded", "--loss=0.1")[0]
    check(float(lost["messages_per_job"]) > float(calm["messages_per_job"]) + 0.3, "nothing was asked for again")
    again = rows(*SMALL, "--policy=least_loaded", "--hub-crashes=30")[0]
    check(int(again["hub_restarts"]) > 0 and again["lost"] == "0" and again["wrong"] == "0", "no hub came again")
    slow, = rows(*SMALL, "--policy=round_robin", "--slow=0.3")
    even, = rows(*SMALL, "--policy=round_robin")
    check(float(slow["e2e_p95_s"]) > 1.5 * float(even["e2e_p95_s"]), "slow boxes are not slow")


@test
def the_same_seed_gives_the_same_bytes():
    for extra in ([], ["--scenario=sessions", "--scenario=lossy", "--crashes=20", "--partitions=20", "--heat=20",
                      "--hub-crashes=4", "--down=5", "--policy=cost"]):
        one, two = (sim(*SMALL, *extra) for _ in range(2))
        check(one == two, f"two runs differ with {extra}")
        check(one != sim(*SMALL, *extra, "--seed=2"), "another seed gives the same")
        check(one == sim(*SMALL, *extra, "--wire"), "messages through the codec are other messages")


@test
def conversations_find_what_is_computed():
    short, = rows(*SMALL, "--policy=least_loaded")
    turns, = rows(*SMALL, "--policy=least_loaded", "--scenario=sessions")
    equal(float(short["cached_share"]), 0.0, "of prompts that have nothing in common")
    check(float(turns["cached_share"]) > 0.05, "of conversations")
    check(int(turns["turns_kept"]) + int(turns["sessions_moved"]) > 300, "later turns")


@test
def a_table_and_csv_say_the_same():
    table = {line[:24].strip(): line[24:].split() for line in sim(*SMALL).splitlines()}
    lines = rows(*SMALL)
    policies = table[""]
    equal([r["policy"] for r in lines], policies, "policies")
    for name, column in (("jobs", "jobs"), ("fairness", "fairness"), ("slots in use", "utilisation")):
        equal(table[name], [r[column] for r in lines], name)
    check(len(policies) >= 2 and len({len(r) for r in lines}) == 1, "a column of its own")
    wanted = ["queue", "ttft", "e2e"]
    check(all(f"{w}_p{p}_s" in lines[0] for w in wanted for p in (50, 90, 95, 99)), "percentiles")
    timed, = rows(*SMALL, "--timing", "--policy=least_loaded")
    check(float(timed["wall_s"]) > 0, "wall time")
    if not is_sanitized():  # their allocators keep no account
        check(500 < float(timed["hub_bytes_per_agent"]) < 20000, "memory of the hub core for an agent")
        check(50 < float(timed["hub_bytes_per_session"]) < 5000, "… for a session")


@test
def a_job_takes_as_many_steps_in_a_larger_fleet():
    small, large = (rows("--scenario=scale", f"--agents={n}", f"--jobs={20 * n}", "--policy=cost")[0] for n in (40, 160))
    for count, most in (("hub_steps_per_job", 12), ("agent_steps_per_job", 14), ("messages_per_job", 12)):
        note(f"{count}: {small[count]} with 40 boxes, {large[count]} with 160")
        check(float(large[count]) < most, f"{count}: {large[count]}, was 5.6 to 8.6 when written")
        check(float(large[count]) < 1.25 * float(small[count]), f"{count} grows with the fleet")


TRACE = """time_ms,user,session,model,prompt_tokens,output_tokens,priority,deadline
# three jobs
0,alice,,small,100,20,,
10,bob,chat-1,,200,30,high,60000

5000,bob,chat-1,,300,30,low,
"""


def with_trace(text, **more):
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as f:
        f.write(text)
        f.flush()
        return sim("--csv", "--agents=4", "--policy=least_loaded", "--trace", f.name, **more)


@test
def jobs_come_from_a_file():
    row, = csv.DictReader(io.StringIO(with_trace(TRACE)))
    complete(row, 3)
    equal(int(row["sessions_moved"]) + int(row["turns_kept"]), 1, "turns after the first")


@test
def a_file_that_is_wrong_is_named_with_line_and_reason():
    head = "0,alice,,,100,20,,\n"
    for line, said in (
        ("1,alice,,,100,20", ":2: 6 columns where 8 belong"),
        ("1,alice,,,100,20,,,,", ":2: more than 8 columns"),
        ("x,alice,,,100,20,,", ':2: time_ms is "x": a whole number'),
        ("1,al ice,,,100,20,,", ':2: user is "al ice"'),
        ("1,alice,,gpt,100,20,,", ':2: no box has the model "gpt"'),
        ("1,alice,,,0,20,,", ':2: prompt_tokens is "0": a whole number from 1 to'),
        ("1,alice,,,100,-5,,", ':2: output_tokens is "-5"'),
        ("1,alice,,,100,20,urgent,", ':2: priority is "urgent"'),
        ("1,alice,,,100,20,,soon", ':2: deadline is "soon"'),
        ("5,a,,,1,1,,\n4,a,,,1,1,,", ":3: time_ms is 4, less than in the line before"),
    ):
        check(said in with_trace(head + line + "\n", status=2), f"{line}: {said}")
    check("there is no job" in with_trace("# nothing\n", status=2), "an empty file")
    check("cannot be read" in sim("--trace=/nonexistent/jobs.csv", status=2), "no file")


@test
def options_that_make_no_sense_are_told():
    for args, said in (
        (["--agents=0"], "--agents takes a whole number from 1"),
        (["--jobs=ten"], "--jobs takes a whole number"),
        (["--policy=best"], 'no policy "best"'),
        (["--scenario=doom"], 'no scenario "doom"'),
        (["--fleet=toaster:3"], "--fleet=toaster:3 cannot be read"),
        (["--models=huge"], "--models=huge cannot be read"),
        (["--fleet=pi:1", "--models=large"], "no box of the fleet has memory for model large"),
        (["--frobnicate"], 'what is "--frobnicate"?'),
        (["--seed"], "--seed takes a value"),
        (["--csv=1"], "--csv takes no value"),
    ):
        check(said in sim(*args, status=2), f"{args}: {said}")
    text = sim("--help")
    check(all(name in text for name in WORKLOADS + FAULTS), "scenarios in --help")
    check("round_robin" in text and "desktop" in text, "policies and boxes in --help")


main()
