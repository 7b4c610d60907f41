#!/usr/bin/python3
"""A broker's box and an agent's box, each a small Debian with systemd booted in a container, joined by a network.

The programs of this build run there as services with users of their own, with no other packages than those their libraries
are in.  Needs root, systemd-container and mmdebstrap (scripts/setup --test).
"""
import json
import re

from boxes import SOURCE, install, logged, show, start_service
from shoaltest.cluster import BIN
from shoaltest.suite import Skip, check, equal, main, note, test
from shoaltest.wait import wait_until
from vmlab import Image, Lab, SetupError, host_suite, packages_of
from vmlab.base import output

PROGRAMS = [BIN / name for name in ("shoal-agent", "shoal-engine", "shoal-hub", "shoal")]
QUESTION = {"model": "triage", "messages": [{"role": "user", "content": "cold-room-4 door=open temp=11.2:HH"}]}

lab = Lab()
box = broker = None  # once they are up


def start_agent():
    start_service(box, "shoal-agent", "--set", "heartbeat.idle_ms=500")


def await_agent(row):
    """In the hub's list; a model is listed when it is ready."""
    wait_until(lambda: re.search(f"^{row}", broker.check("shoal agents"), re.M), f"the hub has {row!r}", 40, 0.1)


def must_answer():
    answer = json.loads(broker.check("mosquitto_rr -V 5 -W 30 -t shoal/v1/clients/alice/jobs -e shoal/v1/clients/alice/r "
                                     f"-m '{json.dumps(QUESTION)}'"))
    note(answer.get("text", answer))
    check("door open" in json.dumps(answer), answer)


def up():
    if box is None:
        raise Skip("the boxes are not up")


@test
def two_boxes_boot():
    global box, broker
    try:
        needed = packages_of(output("ldd", *PROGRAMS))
        image = Image(host_suite(), "boxes", include=("mosquitto", *needed), pool=("mosquitto-clients",))
        boxes = [lab.container(name, image) for name in ("broker", "box")]
        lab.start()
    except SetupError as why:
        raise Skip(why) from None
    broker, box = boxes
    for b in boxes:
        equal(b.check("systemctl --failed --no-legend"), "", f"failed units of {b.name}")


@test
def hub_and_agent_start_as_services():
    up()
    broker.write("/etc/mosquitto/conf.d/test.conf", "listener 1883\nallow_anonymous true\n")
    broker.check("systemctl restart mosquitto")
    install(broker, BIN / "shoal-hub", BIN / "shoal")
    install(box, BIN / "shoal-agent", BIN / "shoal-engine")
    box.push(SOURCE / "models/shoal-triage.gguf", "/usr/local/share/shoal/")
    start_service(broker, "shoal-hub", "--set", "broker.host=localhost")
    box.write("/etc/shoal/agent.cfg", 'broker: { host = "broker"; };\n'
              'models = ( { name = "triage"; file = "/usr/local/share/shoal/shoal-triage.gguf"; } );\n')
    start_agent()
    await_agent("box +online.* triage")
    uids = box.check("ps -o uid= -C shoal-agent,shoal-engine").split()
    check(len(uids) == 2 and "0" not in uids, f"user ids {uids}")


@test
def a_job_over_mqtt_is_answered():
    up()
    broker.check("apt-get -q -y install mosquitto-clients")
    must_answer()


@test
def a_silent_cut_is_noticed_and_nothing_remains_of_it_when_it_is_healed():
    up()
    lab.switch.cut("broker", "box")  # silent: both ends still have their connection
    await_agent(r"box\s+(?!online|\s)")
    lab.switch.heal()
    must_answer()
    await_agent("box +online.* triage")


@test
def a_box_that_lost_its_power_is_there_again_in_its_next_life():
    up()
    box.power_cut()
    await_agent(r"box\s+(?!online|\s)")
    start_agent()
    await_agent("box +online.* triage")
    must_answer()


@test
def a_box_that_is_rebooted_says_goodbye_first():
    up()
    box.reboot()
    check("STOPPED" in logged(box, "shoal-agent"), logged(box, "shoal-agent"))
    await_agent("box +offline")
    start_agent()
    await_agent("box +online.* triage")


@test
def stopped_by_systemd_the_agent_ends_in_good_order():
    up()
    box.check("systemctl stop shoal-agent")
    equal(show(box, "shoal-agent", "Result", "ExecMainStatus"), {"Result": "success", "ExecMainStatus": "0"})
    equal(box.run("pgrep shoal-").output, "", "processes left")
    wait_until(lambda: "offline" in broker.check("shoal agents"), "the hub has its goodbye", 10, 0.1)
    check("stopping" in logged(box, "shoal-agent"), logged(box, "shoal-agent"))


@test
def and_the_hub():
    up()
    broker.check("systemctl stop shoal-hub")
    equal(show(broker, "shoal-hub", "Result", "ExecMainStatus"), {"Result": "success", "ExecMainStatus": "0"})


main(after=[lab.close])
