"""Several machines on one switch; close() leaves nothing behind."""
import shutil
import sys
import tempfile
import time
from pathlib import Path

from .container import Container
from .switch import Switch
from .vm import VM


class Lab:
    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="vmlab-"))
        self.machines = {}
        self.switch = Switch()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def container(self, name, image):
        return self._add(Container(self, name, image, self._address()))

    def vm(self, name, image, **options):
        return self._add(VM(self, name, image, self._address(), **options))

    def _address(self):
        return f"10.99.0.{11 + len(self.machines)}"

    def _add(self, machine):
        self.machines[machine.name] = machine
        return machine

    def start(self):
        """All that were added, one after the other; each knows the others by name."""
        for m in self.machines.values():
            m.image.path()
            began = time.monotonic()
            m.start()
            print(f"     {m.name}: {m.image.suite} is up in {time.monotonic() - began:.1f} s", flush=True)

    def close(self):
        for m in self.machines.values():
            try:
                m.stop()
            except Exception as e:  # one machine's trouble must not leave the others running
                print(f"vmlab: {m.name}: {e}", file=sys.stderr)
        self.switch.close()
        shutil.rmtree(self.dir, ignore_errors=True)
