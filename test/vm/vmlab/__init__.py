"""Small Debian systems for tests: images, containers, virtual machines, a network between them.

    with Lab() as lab:
        box = lab.container("box", Image("bookworm", "mine", include=("mosquitto",)))
        lab.start()
        box.push(program, "/usr/local/bin/")
        print(box.check("systemctl is-system-running"))

See ../README.md.  Standard library only.
"""
from .base import MachineError, SetupError, host_suite, slowness  # noqa: F401
from .image import Image, packages_of  # noqa: F401
from .lab import Lab  # noqa: F401
