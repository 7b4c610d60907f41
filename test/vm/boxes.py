"""shoal on a machine of the lab: the programs of a build, and services as systemd runs them."""
import re
import shlex
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "test/e2e"))

from vmlab.base import output  # noqa: E402

LIBRARIES, PROGRAMS = "/usr/local/lib/shoal", "/usr/local/bin"


def install(machine, *programs):
    """The programs, and the libraries they load that are from no package: those of llama.cpp."""
    for program in programs:
        machine.push(program, f"{PROGRAMS}/")
    needed = re.findall(r"=> (\S+/libggml-base\.so\S*) ", output("ldd", *programs))
    if needed and not needed[0].startswith(("/lib", "/usr/lib")):
        machine.push(Path(needed[0]).parent, LIBRARIES)
        machine.write("/etc/ld.so.conf.d/shoal.conf", LIBRARIES + "\n")
        machine.check("ldconfig")


def start_service(machine, name, *args, properties=()):
    """Returns when it has told systemd that it is ready.  Its unit is transient; it stays to be asked how it ended."""
    properties = ["Type=notify", "DynamicUser=yes", f"StateDirectory={name}", "RemainAfterExit=yes", *properties]
    command = ["systemd-run", "--quiet", f"--unit={name}", *(f"--property={p}" for p in properties), f"{PROGRAMS}/{name}", *args]
    machine.check(f"{shlex.join(map(str, command))} || {{ journalctl -u {name} --no-pager -n 30; exit 1; }}")


def show(machine, name, *properties):
    """What systemd says of a service, as a dictionary."""
    shown = machine.check(f"systemctl show {name} " + " ".join(f"-p {p}" for p in properties))
    return dict(line.split("=", 1) for line in shown.splitlines())


def logged(machine, name):
    """What it said since its last start."""
    return machine.check(f"journalctl -u {name} --no-pager -o cat").rpartition(f"Starting {name}.service")[2]
