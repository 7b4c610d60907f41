"""What a container and a virtual machine can both do."""
import io
import os
import shlex
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from .base import MachineError


@dataclass
class Result:
    status: int
    output: str  # standard output and error


class Machine:
    """Commands are shell text, run as root.  slow: factor on every time limit."""

    slow = 1

    def __init__(self, lab, name, image, address):
        self.lab, self.name, self.image, self.address = lab, name, image, address
        self.dir = lab.dir / name
        self.dir.mkdir()
        self.console = self.dir / "console.log"

    def check(self, command, seconds=60):
        """run(), and an exception unless it exits with 0; what it printed."""
        r = self.run(command, seconds)
        if r.status:
            raise MachineError(f"{self.name}: exit {r.status} of: {command}\n{r.output}")
        return r.output

    def until(self, condition, seconds=60, every_s=0.1):
        """Returns as soon as a shell command exits with 0; it is tried in the machine."""
        r = self.run(f"until {{ {condition}\n}}; do sleep {every_s}; done", seconds)
        if r.status:
            raise MachineError(f"{self.name}: not within {seconds * self.slow:.0f} s: {condition}\n{r.output}")

    def write(self, path, text):
        self.check(f"mkdir -p {shlex.quote(os.path.dirname(path))}; printf %s {shlex.quote(text)} >{shlex.quote(path)}")

    def hosts(self):
        return "127.0.0.1 localhost\n" + "".join(f"{m.address} {m.name}\n" for m in self.lab.machines.values())


def pack(local, remote):
    """(folder, tar archive) that puts a local file or folder at the path `remote`, or under it where that ends in a slash."""
    folder, _, last = remote.rpartition("/")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(local, arcname=last or Path(local).name)
    return folder or "/", out.getvalue()


def unpack(data, remote, local):
    """Writes the files and folders of an archive of `remote` at `local`; nothing else, and nowhere else."""
    top = os.path.basename(remote.rstrip("/"))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            parts = os.path.normpath(member.name).split("/")
            if parts[0] != top or ".." in parts:
                continue
            to = Path(local, *parts[1:])
            if member.isdir():
                to.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                to.parent.mkdir(parents=True, exist_ok=True)
                with open(to, "wb") as f:
                    shutil.copyfileobj(tar.extractfile(member), f)
