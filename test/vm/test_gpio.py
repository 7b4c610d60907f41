#!/usr/bin/python3
"""The agent's lights, button and power line on simulated GPIO lines, in a virtual machine with the suite's own kernel.

Usage: test_gpio.py SUITE [CASE…]     bookworm: libgpiod 1.6, agent/gpio_v1.c; trixie: libgpiod 2, agent/gpio_v2.c

The real agent with echo engines and a broker runs in the machine as systemd runs it; this program plays the hub, and the board.
Takes minutes where the machine is emulated, so it runs only with VM_TESTS=1 (scripts/test --full).
"""
import os
import re
import statistics
import sys

from boxes import SOURCE, install, show
from build import build
from guestbox import GuestBox
from shoaltest.agent import (CANCEL, DRAIN, DRAINING, EV_DONE, EV_REJECTED, EV_TOKENS, FAILED, LOAD, OFFLINE, ONLINE, QUARANTINED,
                             READY, RESUME)
from shoaltest.broker import free_port
from shoaltest.suite import Skip, check, equal, main, note, skip_all, test
from vmlab import Image, Lab, SetupError

SUITE = sys.argv.pop(1) if len(sys.argv) > 1 else "bookworm"
LINES = ONLINE_LED, BUSY_LED, FAULT_LED, ENABLE, BUTTON = range(5)
DEBOUNCE_MS, LONG_MS = 300, 4000
SLOW_MS, FAST_MS = 1000, 125  # half periods
# As docs/GPIO.md tells users to give it the lines.
UNIT = ("SupplementaryGroups=gpio", "DevicePolicy=closed", "DeviceAllow=char-gpiochip rw")

lab = Lab()
box = chip = None  # once they are there


def gpio(**settings):
    """The agent's configuration of lines."""
    lines = dict(chip=f'"{chip}"', online=ONLINE_LED, busy=BUSY_LED, fault=FAULT_LED, enable=ENABLE, button=BUTTON,
                 debounce_ms=DEBOUNCE_MS, long_press_ms=LONG_MS)
    return "gpio: { " + " ".join(f"{k} = {v};" for k, v in {**lines, **settings}.items()) + " };\n"


def start(*args, **settings):
    box.start(gpio(**settings), *args, properties=UNIT)


def board(*words, background=False):
    command = "gpio-sim " + " ".join(map(str, words))
    return box.machine.check(f"{command} >/dev/null &" if background else command)


def await_level(line, level, seconds=15):
    box.machine.until(f"[ $(gpio-sim value board {line}) = {level} ]", seconds)


def levels(*lines):
    return [int(board("value", "board", n)) for n in lines]


def watch(ms):
    """{line: [(level, for how many ms), …]}"""
    seen = {}
    for row in board("watch", "board", len(LINES), ms).splitlines():
        line, level, length = map(int, row.split())
        seen.setdefault(line, []).append((level, length))
    return seen


def must_blink(line, half_ms, ms):
    """Eight times faster or slower is the other kind; an emulated machine is not exact."""
    halves = [length for _, length in watch(ms)[line]][1:-1]  # the first and last are cut off by the watch
    check(len(halves) >= 2, f"it does not blink: {halves}")
    median = statistics.median(halves)
    note(f"half a period is {median:.0f} ms, in the middle of {len(halves)}; meant are {half_ms}")
    check(half_ms / 2 < median < half_ms * 2, halves)


def must_be_steady(lines, ms=1500):
    """lines: {line: level}"""
    seen = watch(ms)
    for line, level in lines.items():
        equal([v for v, _ in seen[line]], [level], f"levels of line {line}")


def press(*ms):
    """How long the line had its levels: down, up, down, … ms."""
    return [int(row.split()[1]) for row in board("press", "board", BUTTON, *ms).splitlines()]


def up():
    if box is None:
        raise Skip("the machine is not up")


@test
def the_machine_boots_with_a_chip():
    global box, chip
    try:
        programs, packages = build(SUITE, "shoal-agent", "shoal-engine-echo")
        image = Image(SUITE, "gpio", include=("mosquitto", "gpiod", *packages), has_kernel=True, has_gpio_sim=True)
        port = free_port()
        machine = lab.vm("box", image, forward={port: 1883})
        lab.start()
    except SetupError as why:
        raise Skip(why) from None
    install(machine, *programs)
    machine.push(SOURCE / "test/vm/gpio-sim", "/usr/local/bin/")
    machine.check("groupadd gpio")
    box = GuestBox(machine, port, ("m", "n"))
    make_chip()
    note(machine.check("uname -r; gpiodetect --version | head -1").replace("\n", "  "))


def make_chip():
    global chip
    chip = board("create", "board", "ONLINE", "BUSY", "FAULT", "ENABLE", "BUTTON").strip()
    box.machine.check(f"udevadm settle; chgrp gpio /dev/{chip}; chmod 660 /dev/{chip}")
    board("pull", "board", BUTTON, "up")


@test
def a_missing_chip_is_one_warning_and_it_works_on():
    up()
    start(chip='"gpiochip77"')
    box.await_ready()
    warnings = [line for line in box.logged().splitlines() if "gpio" in line]
    equal(len(warnings), 1, f"warnings {warnings}")
    check("gpiochip77" in warnings[0] and "No such file" in warnings[0], warnings)
    box.dispatch("j1")
    box.await_event(EV_DONE, "j1")
    box.stop()


@test
def a_chip_that_it_may_not_open_is_one_warning():
    up()
    box.start(gpio())  # without the group
    box.await_ready()
    warnings = [line for line in box.logged().splitlines() if "gpio" in line]
    equal(len(warnings), 1, f"warnings {warnings}")
    check("Permission denied" in warnings[0], warnings)
    box.stop()


@test
def a_line_that_another_program_has_or_that_is_not_there_is_a_warning_each():
    up()
    hold = "gpioset --mode=signal " + f"{chip} {BUSY_LED}=1" if SUITE == "bookworm" else f"gpioset --chip {chip} {BUSY_LED}=1"
    box.machine.check(f"systemd-run --quiet --unit=holder {hold}")
    await_level(BUSY_LED, 1)
    start(fault=99)
    box.await_ready()
    warnings = [line for line in box.logged().splitlines() if "cannot be had" in line]
    equal(len(warnings), 2, f"warnings {warnings}")
    check("gpio.busy" in warnings[0] and "another program" in warnings[0], warnings)
    check("gpio.fault" in warnings[1] and "no such line" in warnings[1], warnings)
    await_level(ONLINE_LED, 1)
    equal(levels(BUSY_LED), [1], "the other program's line")
    box.stop()
    box.machine.check("systemctl stop holder")


@test
def looking_for_the_broker_it_blinks_fast():
    up()
    box.stop_broker()
    start()
    await_level(ENABLE, 1)  # engines start meanwhile
    must_blink(ONLINE_LED, FAST_MS, 2000)
    box.start_broker()


@test
def ready_it_is_online_and_nothing_else():
    up()
    box.await_ready()
    must_be_steady({ONLINE_LED: 1, BUSY_LED: 0, FAULT_LED: 0, ENABLE: 1})
    info = box.machine.check(f"gpioinfo {chip}" if SUITE == "bookworm" else f"gpioinfo --chip {chip}")
    equal(len(re.findall("shoal-agent", info)), len(LINES), f"lines with its name: {info}")


@test
def busy_is_lit_while_a_job_runs():
    up()
    box.restart_engines(m="tokens=1000000\ndelay_us=20000\n")
    box.await_models(m=READY, n=READY)
    box.dispatch("j2")
    box.await_event(EV_TOKENS, "j2")
    must_be_steady({ONLINE_LED: 1, BUSY_LED: 1, FAULT_LED: 0})
    box.control(CANCEL, "j2", 1)
    box.await_event(EV_DONE, "j2")
    await_level(BUSY_LED, 0)


@test
def fault_blinks_when_a_model_does_not_work_and_is_lit_when_none_does():
    up()
    box.restart_engines(m="", n="fail_load=1\n")
    box.await_models(m=READY, n=FAILED)
    must_blink(FAULT_LED, SLOW_MS, 4500)
    equal(levels(ONLINE_LED), [1], "what works is online")
    box.restart_engines(m="fail_load=1\n")
    box.await_models(m=FAILED, n=FAILED)
    must_be_steady({FAULT_LED: 1}, 2500)
    box.tell_engine("m", "")
    box.tell_engine("n", "")
    box.await_models(m=READY, n=READY)
    await_level(FAULT_LED, 0)


@test
def drained_by_the_hub_it_blinks_slowly():
    up()
    box.control(DRAIN)
    box.eventually(lambda: box.status["state"] == DRAINING, "draining")
    must_blink(ONLINE_LED, SLOW_MS, 4500)
    box.control(RESUME)
    box.eventually(lambda: box.status["state"] == ONLINE, "online")
    must_be_steady({ONLINE_LED: 1, ENABLE: 1})


@test
def a_bounce_is_no_press():
    up()
    n, took = len(box.statuses), [DEBOUNCE_MS]
    while max(took) >= DEBOUNCE_MS:  # an emulated machine may stall meanwhile
        took = press(*[20] * 12)
    board("pull", "board", BUTTON, "up")
    box.machine.check(f"sleep {2 * DEBOUNCE_MS / 1000}")  # what shall not happen would by then
    equal(box.statuses[n:], [], "what it did")
    check("button was pressed" not in box.logged(), box.logged())


@test
def a_short_press_drains_and_the_next_resumes():
    up()
    press(20, 20, 20, 20, 2 * DEBOUNCE_MS, 20, 20)
    box.eventually(lambda: box.status["state"] == DRAINING, "draining")
    equal(box.status["reason"], "drained by its button")
    box.dispatch("j3")
    equal(box.next_event()["type"], EV_REJECTED)
    box.machine.check(f"sleep {2 * DEBOUNCE_MS / 1000}")
    press(20, 20, 20, 20, 2 * DEBOUNCE_MS, 20, 20)
    box.eventually(lambda: box.status["state"] == ONLINE, "online")
    equal(box.logged().count("button was pressed"), 2, "presses")


@test
def a_long_press_stops_it_while_it_is_held_and_the_running_job_ends_well():
    up()
    box.restart_engines(m="tokens=300\ndelay_us=20000\n")
    box.await_models(m=READY, n=READY)
    box.dispatch("j4")
    box.await_event(EV_TOKENS, "j4")
    board("pull", "board", BUTTON, "down")
    box.eventually(lambda: box.status["state"] == DRAINING, "it stops while the button is held")
    must_blink(ONLINE_LED, SLOW_MS, 3500)
    done, _ = box.await_event(EV_DONE, "j4")
    equal(done["index"], 300, "tokens")
    equal(box.await_end(), 0, "exit status")
    box.eventually(lambda: box.status["state"] == OFFLINE, "offline")
    equal(levels(ONLINE_LED, BUSY_LED, FAULT_LED, ENABLE), [0, 0, 0, 0], "levels")


@test
def a_button_between_line_and_plus_has_a_resistor_to_ground():
    up()
    box.tell_engine("m", "")
    board("pull", "board", BUTTON, "up")
    start(button_active_low="false")
    box.await_ready()
    equal(levels(BUTTON), [0], "the line, which is not pressed")
    board("pull", "board", BUTTON, "up")
    box.machine.check(f"sleep {2 * DEBOUNCE_MS / 1000}")
    board("pull", "board", BUTTON, "down")
    box.eventually(lambda: box.status["state"] == DRAINING, "draining")
    box.stop()


@test
def the_accelerator_is_off_ten_seconds_after_the_last_engine_and_on_again_with_the_next():
    up()
    start("--set", "engine.quarantine_deaths=1")
    box.await_ready()
    box.await_models(m=READY, n=READY)
    box.kill_engines()
    box.await_models(m=QUARANTINED, n=QUARANTINED)
    equal(levels(ENABLE, FAULT_LED), [1, 1], "enable and fault")
    on = [ms for level, ms in watch(15000)[ENABLE] if level]
    check(len(on) == 1 and 5000 < on[0] < 12000, f"it was on for {on} ms")
    equal(levels(ENABLE), [0])
    box.control(LOAD, model="m")
    box.await_models(m=READY, n=QUARANTINED)
    equal(levels(ENABLE), [1])
    box.stop()


@test
def lights_may_shine_at_low_level():
    up()
    start(leds_active_low="true")
    box.await_ready()
    await_level(ONLINE_LED, 0)
    must_be_steady({ONLINE_LED: 0, BUSY_LED: 1, FAULT_LED: 1, ENABLE: 1})
    box.stop()


@test
def when_the_chip_is_unplugged_it_works_on_at_rest():
    up()

    def lost():
        return sorted(re.findall(r'the line "(\w+)" does not work any more', box.logged()))

    start()
    box.await_ready()
    board("remove", "board")
    box.dispatch("j5")
    box.await_event(EV_DONE, "j5")
    box.control(DRAIN)  # its light blinks: it writes, and looks at the button. A kernel may tell nothing by itself
    box.eventually(lambda: box.status["state"] == DRAINING, "draining")
    box.eventually(lambda: lost() == ["busy", "button", "online"], "it says what it has lost, each once")
    box.control(RESUME)
    box.eventually(lambda: box.status["state"] == ONLINE, "online")
    used = [int(show(box.machine, "shoal-agent", "CPUUsageNSec")["CPUUsageNSec"])]
    box.machine.check("sleep 5")
    used.append(int(show(box.machine, "shoal-agent", "CPUUsageNSec")["CPUUsageNSec"]))
    note(f"{(used[1] - used[0]) / 5e7:.1f} % of the processor, emulated")
    check(used[1] - used[0] < 2.5e9, "it is not at rest")
    equal(lost(), ["busy", "button", "online"], "nothing is said again")
    box.machine.check("systemctl kill -s TERM shoal-agent")
    equal(box.await_end(), 0, "exit status")


if os.environ.get("VM_TESTS") != "1":
    skip_all(f"minutes in an emulated machine, so only when asked for: scripts/test --full vm_gpio_{SUITE}")
main(after=[lab.close])
