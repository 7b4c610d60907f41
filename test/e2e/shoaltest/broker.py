"""A mosquitto of one's own, for tests of single parts; whole systems have theirs from `shoal up`."""
import os
import shutil
import socket
import subprocess

from .cluster import die_with_parent
from .wait import wait_until

PROGRAM = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """Starts at once; may be killed and started again, on the same port."""

    def __init__(self, directory):
        self.port = free_port()
        self.conf, self.log = directory / "mosquitto.conf", directory / "mosquitto.log"
        self.conf.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
                             "max_inflight_messages 100\nmax_queued_messages 20000\n"
                             # As root it would change to its own user, and by that forget to end with us.
                             + ("user root\n" if os.geteuid() == 0 else ""))
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([PROGRAM, "-c", self.conf], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_parent)
        wait_until(self.answers, "the broker listens")

    def answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(15)
