#!/usr/bin/python3
"""The agent's port for Prometheus: a live agent is asked, and every line is looked at."""
import re
import shutil
import subprocess
import urllib.error
import urllib.request

from shoaltest.agent import END, EV_DONE, Box
from shoaltest.cluster import BIN, SOURCE, is_sanitized
from shoaltest.suite import Skip, check, equal, main, note, test
from shoaltest.wait import wait_until

USS_MAX, RSS_MAX = 5 << 20, 12 << 20
PREFIX = "shoal_agent_"
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'(?:\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)+\})?'

box = Box(echo="tokens=40\n", benchmark=True, config='metrics: { listen = "127.0.0.1:0"; };')


def address():
    return wait_until(lambda: re.search(r"http://127\.0\.0\.1:\d+", box.logged()), "the port is told")[0]


def ask(path="/metrics", method="GET", **headers):
    request = urllib.request.Request(address() + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read().decode()


def parse(text):
    """{series: value} and {family: type}, of a text that obeys the format: each family once, its samples together."""
    check(text.endswith("\n"), "the last line ends")
    series, types, helps, current = {}, {}, set(), None
    for line in text.splitlines():
        m = re.fullmatch(rf"# HELP ({NAME}) (.+)", line)
        if m:
            check(m[1] not in helps, f"HELP of {m[1]} twice")
            helps.add(m[1])
            current = m[1]
            continue
        m = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|summary)", line)
        if m:
            equal((m[1], m[1] in types), (current, False), "TYPE behind its HELP, once")
            types[m[1]] = m[2]
            continue
        m = re.fullmatch(rf"({NAME})({LABELS}) (\S+)", line)
        check(m, f"not a sample: {line!r}")
        family = re.sub("_(sum|count)$", "", m[1]) if types.get(current) == "summary" else m[1]
        equal(family, current, "samples of a family stand together")
        check(m[1] + m[2] not in series, f"{m[1]}{m[2]} twice")
        series[m[1] + m[2]] = float(m[3])
    families = {re.sub(r"\{.*", "", s) for s in series}
    for name, kind in types.items():
        check(name.startswith(PREFIX) and name in helps, name)
        equal(kind == "counter", name.endswith("_total"), f"{name} is a {kind}")
        check(any(f == name or f.startswith(name + "_") for f in families), f"{name} has no sample")
    return series, types


def scrape():
    status, headers, text = ask()
    equal(status, 200)
    check(headers["Content-Type"].startswith("text/plain; version=0.0.4"), headers["Content-Type"])
    return parse(text)[0]


def job(number):
    box.dispatch(f"j{number}", max_tokens=10, temperature=0.0)
    box.await_event(EV_DONE, f"j{number}")
    box.control(END, f"j{number}", 1)


@test
def every_line_obeys_the_format():
    box.await_ready()
    equal(scrape()[PREFIX + "connected"], 1)


@test
def jobs_are_counted_by_model_and_code():
    for i in range(20):
        job(i)
    box.dispatch("j0", attempt=2, epoch=box.epoch + 1)  # of another life
    box.hub.publish(box.topic("jobs"), b"nonsense")
    box.dispatch("big", prompt="x" * 20000)  # its context has 4096 tokens: the engine refuses it
    wait_until(lambda: scrape().get(PREFIX + 'requests_total{model="m",code="CONTEXT_FULL"}') == 1, "the refusal is counted")
    s = scrape()
    equal(s[PREFIX + 'requests_total{model="m",code="OK"}'], 20)
    equal(s[PREFIX + 'generation_tokens_total{model="m"}'], 200)
    equal(s[PREFIX + 'request_duration_seconds_count{model="m"}'], 20)
    check(s[PREFIX + 'request_duration_seconds_sum{model="m"}'] > 0, s)
    quantiles = [s[PREFIX + f'request_duration_seconds{{model="m",quantile="{q}"}}'] for q in ("0.5", "0.95", "0.99")]
    least, greatest = (s[PREFIX + f'request_duration_{k}_seconds{{model="m"}}'] for k in ("min", "max"))
    equal(sorted([least, *quantiles, greatest]), [least, *quantiles, greatest], "in order")
    check(s[PREFIX + 'decode_tokens_per_second{model="m"}'] > 0, s)
    equal(s[PREFIX + "stale_messages_total"], 1)
    wait_until(lambda: scrape()[PREFIX + "bad_messages_total"] == 1, "the sample has the bad message")


@test
def a_model_is_measured_and_its_state_told():
    wait_until(lambda: scrape().get(PREFIX + 'benchmark_decode_tokens_per_second{model="m"}', 0) > 0, "it is measured")
    s = scrape()
    equal([k for k, v in s.items() if k.startswith(PREFIX + "model_state") and v == 1], [PREFIX + 'model_state{model="m",state="ready"}'])
    equal(s[PREFIX + 'requests_total{model="m",code="OK"}'], 20, "measuring is no request")


@test
def what_the_documents_list_is_what_there_is():
    text = (SOURCE / "docs/AGENT.md").read_text()
    listed = set(re.findall(r"`(shoal_agent_\w+)", text))
    there = set(parse(ask()[2])[1])
    check(there <= listed, f"not in docs/AGENT.md: {sorted(there - listed)}")
    source = (SOURCE / "agent/core/prometheus.c").read_text()
    made_up = [n for n in listed if f'"{n.removeprefix(PREFIX)}"' not in source]
    check(not made_up, f"only in docs/AGENT.md: {made_up}")


@test
def promtool_has_nothing_to_say():
    tool = shutil.which("promtool")
    if tool is None:
        raise Skip("promtool is not installed (Debian package prometheus); the format is checked above all the same")
    done = subprocess.run([tool, "check", "metrics"], input=ask()[2], capture_output=True, text=True)
    equal((done.returncode, done.stdout + done.stderr), (0, ""), "promtool")


@test
def nothing_else_is_answered():
    equal(ask("/")[0], 404)
    equal(ask(method="POST")[0], 405)
    equal(ask(Host="evil.example")[0], 403, "a page that would read it behind a browser's back")


@test
def many_scrapes_leave_it_small():
    if is_sanitized():
        raise Skip("a build with sanitizers says nothing about memory")
    for _ in range(200):
        scrape()
    uss = rss = 0
    for line in open(f"/proc/{box.process.pid}/smaps_rollup"):
        field = line.split()
        uss += int(field[1]) << 10 if field[0] in ("Private_Clean:", "Private_Dirty:") else 0
        rss += int(field[1]) << 10 if field[0] == "Rss:" else 0
    note(f"with the port: {uss / (1 << 20):.2f} MiB private, {rss / (1 << 20):.2f} MiB resident")
    check(uss < USS_MAX and rss < RSS_MAX, (uss, rss))


@test
def other_boxes_are_let_in_only_on_purpose():
    def says(*sets):
        args = [BIN / "shoal-agent", "--check-config", "--config", box.config, *[w for s in sets for w in ("--set", s)]]
        done = subprocess.run(args, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    code, said = says("metrics.listen=0.0.0.0:9464")
    check(code == 78 and "metrics.remote" in said, said)
    equal(says("metrics.listen=0.0.0.0:9464", "metrics.remote=true")[0], 0)
    for bad in ("9464", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", ":9464", "[::1:9464"):
        check(says(f"metrics.listen={bad}")[0] == 78, f"{bad} was accepted")
    for good in ("[::1]:9464", "localhost:0", ""):
        equal(says(f"metrics.listen={good}")[0], 0, good)


@test
def a_port_that_is_taken_costs_no_job():
    port = address().rpartition(":")[2]
    other = Box(echo="tokens=4\n", agent_id="box-2", config=f'metrics: {{ listen = "127.0.0.1:{port}"; }};')
    try:
        other.await_ready()
        check(f"port {port} on 127.0.0.1 is taken" in other.logged(), other.logged())
    finally:
        other.close()


@test
def it_stops_with_the_agent():
    box.process.terminate()
    equal(box.process.wait(20), 0, "exit status")
    check("Sanitizer" not in box.logged(), box.logged())


main(after=[box.close])
