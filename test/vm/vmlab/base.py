"""What all parts share: errors, the cache, time limits, locks."""
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

GUEST = Path(__file__).resolve().parents[1] / "guest"
KEY_CHARS = 12
OLD_S = 24 * 3600
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class MachineError(Exception):
    """A machine did not do what was asked of it."""


class SetupError(Exception):
    """What a machine needs is not there: a reason to skip, not to fail.  One line, whoever said it."""

    def __init__(self, why):
        super().__init__(" ".join(why.split()))


def cache():
    """The folder that keeps what takes long to make; it may be removed at any time when no test runs."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shoal/vm"
    base.mkdir(parents=True, exist_ok=True)
    return base


def use(path):
    """Notes that a folder of the cache, NAME-KEY, is in use, and removes those with another key that nobody used for a day."""
    os.utime(path)
    for other in path.parent.glob(path.name[:-KEY_CHARS] + "[0-9a-f]" * KEY_CHARS):
        if other != path and time.time() - other.stat().st_mtime > OLD_S:
            sh("rm", "-rf", "--one-file-system", other)


def accel():
    """kvm where the processor's own virtualisation is behind it, else tcg (emulation).

    A /dev/kvm without kvm_intel or kvm_amd (kvm_pvm, for one) runs only kernels made for it: one of Debian's crawls there, and
    dies of an instruction that it cannot emulate.
    """
    is_hardware = any(os.path.isdir(f"/sys/module/{m}") for m in ("kvm_intel", "kvm_amd"))
    return "kvm" if is_hardware and os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg"


def slowness():
    """How much longer things may take than on a virtual machine with KVM; all its time limits are multiplied by it."""
    return float(os.environ.get("VM_SLOW") or (1 if accel() == "kvm" else 4))


def host_suite():
    """This machine's Debian, as in "bookworm"."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=")[1].strip('"')
    raise SetupError("this is no Debian: /etc/os-release has no VERSION_CODENAME")


def sh(*command, **options):
    options.setdefault("check", True)
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([str(c) for c in command], **options)


def output(*command, **options):
    return sh(*command, stdout=subprocess.PIPE, text=True, **options).stdout


def need(package, *tools):
    for tool in tools:
        if not shutil.which(tool):
            raise SetupError(f"{tool} is not installed (Debian package: {package})")


def need_root():
    if os.geteuid() != 0:
        raise SetupError("only root may make images and containers")


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Lock:
    """Held on a file, so that two runs do not make the same thing; waits as long as its owner takes."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.file = open(self.path, "w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()
