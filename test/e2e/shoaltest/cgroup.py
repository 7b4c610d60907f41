"""A control group with a memory limit, version 1 or 2, for processes of a test."""
import os
import time
from pathlib import Path

from .suite import Skip

ROOT = Path("/sys/fs/cgroup")


def _own(controllers):
    """Our path in the hierarchy with that controller ("": version 2)."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controllers in names.split(","):
            return path.strip("/")
    return None


def _number(path):
    return int(path.read_text())


class Group:
    """A context manager.  Skips the case where none can be made."""

    def __init__(self, limit):
        self.limit, self.path, why = limit, None, []
        for version, top, own in ((1, ROOT / "memory", _own("memory")), (2, ROOT, _own(""))):
            for parent in [top / own, top] if own else [top] if own is not None else []:
                try:
                    self.path, self.version = self._make(version, parent, limit), version
                    return
                except OSError as e:
                    why.append(f"{parent}: {e.strerror}")
        raise Skip("no control group with a memory limit can be made here (" + ("; ".join(why) or "none is mounted") + ")")

    @staticmethod
    def _make(version, parent, limit):
        path = parent / f"shoal-test-{os.getpid()}-{time.monotonic_ns()}"
        path.mkdir()
        try:
            if version == 1:
                (path / "memory.limit_in_bytes").write_text(str(limit))
            else:
                (path / "memory.max").write_text(str(limit))
        except OSError:
            path.rmdir()
            raise
        for swap, text in (("memory.memsw.limit_in_bytes", str(limit)), ("memory.swap.max", "0")):
            try:
                (path / swap).write_text(text)
            except OSError:
                pass  # no swap accounting: nothing to forbid
        return path

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def oom_kills(self):
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        words = (line.split() for line in (self.path / name).read_text().splitlines())
        return next(int(n) for key, n in words if key == "oom_kill")

    def peak(self):
        """Bytes, pages of files included; None: the kernel does not keep it."""
        path = self.path / ("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")
        return _number(path) if path.exists() else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _ in range(500):  # the last process may take a moment to vanish
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.01)
