#!/usr/bin/python3
"""`shoal up`: every way it can fail is one clear sentence, and nothing is left behind."""
import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from shoaltest.cluster import BIN, MODELS, Cluster, run_shoal, session_members
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

FREE = ("--mqtt-port", "0", "--http-port", "0")


def failing(*args, env=None):
    """Runs `shoal up` that must fail; returns its sentence."""
    with tempfile.TemporaryDirectory(prefix="shoal-test-") as tmp:
        p = subprocess.Popen([BIN / "shoal", "up", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             start_new_session=True, env=dict(env or os.environ, TMPDIR=tmp))
        out, err = p.communicate(timeout=60)
        wait_until(lambda: not session_members(p.pid), "all processes are gone")
        check(p.returncode not in (0, None) and p.returncode > 0, f"exit status {p.returncode}")
        equal(out, "", "standard output")
        equal(len(err.splitlines()), 1, f"lines of {err!r}")
        check(err.startswith("shoal up: "), err)
        equal(os.listdir(tmp), [], "files left")
        return err


@test
def a_taken_port_is_one_sentence():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        port = s.getsockname()[1]
        check(str(port) in failing("--mqtt-port", port, "--http-port", 0), "the port is named")
        check(str(port) in failing("--mqtt-port", 0, "--http-port", port), "the port is named")


@test
def a_missing_program_is_one_sentence():
    check("mosquitto" in failing(*FREE, "--mosquitto", "/nonexistent/mosquitto"), "the program is named")
    check("/nonexistent/engine" in failing(*FREE, "--engine", "/nonexistent/engine"), "the program is named")


@test
def a_missing_or_broken_model_is_one_sentence():
    check("/nonexistent/m.gguf" in failing(*FREE, "--model", "/nonexistent/m.gguf"), "the file is named")
    with tempfile.TemporaryDirectory() as tmp:
        broken = Path(tmp) / "broken.gguf"
        broken.write_bytes((MODELS / "shoal-triage.gguf").read_bytes()[:100_000])
        check("broken.gguf" in failing(*FREE, "--model", broken), "the file is named")


@test
def wrong_options_are_one_sentence():
    for args in (["--agents", "0"], ["--agents", "x"], ["--mqtt-port", "70000"]):
        done = run_shoal("up", *args)
        equal(done.returncode, 2, "exit status")
        check(args[0] in done.stderr, done.stderr)
    equal(run_shoal("up", "more").returncode, 2, "exit status")


@test
def a_directory_in_use_is_one_sentence():
    cluster = Cluster(agents=1)
    check(str(cluster.dir) in failing(*FREE, "--dir", cluster.dir), "the directory is named")
    equal(len(cluster.ready_agents()), 1, "agents of the first one")
    cluster.close()


@test
def the_same_directory_serves_again():
    with tempfile.TemporaryDirectory(prefix="shoal-test-") as tmp:
        for _ in range(2):
            p = subprocess.Popen([BIN / "shoal", "up", "--agents", "1", "--dir", tmp, *FREE], stdout=subprocess.PIPE, text=True,
                                 start_new_session=True)
            check(p.stdout.readline().startswith("ready "), "no ready line")
            p.send_signal(signal.SIGINT)
            equal(p.stdout.read(), "", "more on standard output")
            equal(p.wait(30), 0, "exit status")
            p.stdout.close()
            check((Path(tmp) / "box-1/agent.log").stat().st_size > 0, "no log")
            equal([str(f) for f in Path(tmp).glob("**/*.pid")], [], "pid files left")


@test
def without_a_directory_nothing_is_left():
    with tempfile.TemporaryDirectory(prefix="shoal-test-") as tmp:
        p = subprocess.Popen([BIN / "shoal", "up", "--agents", "2", *FREE], stdout=subprocess.PIPE, text=True, start_new_session=True,
                             env=dict(os.environ, TMPDIR=tmp))
        check(p.stdout.readline().startswith("ready "), "no ready line")
        equal(len(os.listdir(tmp)), 1, "directories while it runs")
        p.send_signal(signal.SIGTERM)
        equal(p.wait(30), 0, "exit status")
        p.stdout.close()
        equal(os.listdir(tmp), [], "files left")
        equal(session_members(p.pid), [], "processes left")


@test
def its_own_violent_death_takes_all_children_along():
    cluster = Cluster(agents=2)
    sid = cluster.process.pid
    check(len(session_members(sid)) >= 5, "broker, hub and agents run")
    cluster.kill()
    wait_until(lambda: not session_members(sid), "all processes are gone")


@test
def a_port_taken_by_default_is_no_obstacle():
    two = [subprocess.Popen([BIN / "shoal", "up", "--agents", "1"], stdout=subprocess.PIPE, text=True, start_new_session=True)
           for _ in range(2)]
    lines = [p.stdout.readline() for p in two]
    for p in two:
        p.send_signal(signal.SIGTERM)
        equal(p.wait(30), 0, "exit status")
        p.stdout.close()
    check(all(line.startswith("ready ") for line in lines), lines)
    equal(len(set(lines)), 2, "different ports")


main()
