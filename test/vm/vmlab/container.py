"""An image's system booted in systemd-nspawn: up in half a second, on this machine's kernel, at full speed."""
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

from .base import MachineError, SetupError, die_with_parent, need, need_root
from .machine import Machine, Result, pack, unpack

ALL = ("-n", "-p", "-m", "-u", "-i")  # the namespaces of nsenter that a container is in
START = """
hostname {name}
ip link set lo up
mount -t tmpfs none /run && mkdir /run/lower /run/disk /run/root /run/cgroup &&
mount -t cgroup2 none /run/cgroup &&
mount -o loop,ro,noload {disk} /run/lower &&
mount -t tmpfs none /run/disk && mkdir /run/disk/up /run/disk/work &&
mount -t overlay none -o lowerdir=/run/lower,upperdir=/run/disk/up,workdir=/run/disk/work /run/root || exit
echo {name} >/run/root/etc/hostname
printf %s {hosts} >/run/root/etc/hosts
echo up
exec sleep infinity
"""
TAP = """
import fcntl, os, socket, struct, sys
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH", b"eth0", 0x1002))  # TUNSETIFF: IFF_TAP | IFF_NO_PI
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b"."], [fd])
"""


class Container(Machine):
    """It has this machine's kernel and modules, loses no write in a power cut, and limits of memory and CPU hold only where this
    machine has the controllers for them."""

    def __init__(self, lab, name, image, address):
        super().__init__(lab, name, image, address)
        self.outer = self.inside = self.nspawn = self.init = None
        self.machine_id, self.boots = secrets.token_hex(16), 0

    def start(self):
        need_root()
        need("systemd-container", "systemd-nspawn")
        need("util-linux", "unshare", "nsenter")
        disk = self.image.path() / "root.raw"
        script = START.format(name=self.name, disk=shlex.quote(str(disk)), hosts=shlex.quote(self.hosts()))
        with open(self.console, "ab") as log:
            self.outer = subprocess.Popen(["unshare", "--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child",
                                           "--mount-proc", "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=log, preexec_fn=die_with_parent)
        if self.outer.stdout.readline() != b"up\n":
            raise SetupError(f"this machine gives no namespaces, loop device or overlay for containers: {self._said()}")
        with open(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children") as f:
            self.inside = f.read().split()[0]
        self._plug_in()
        self._boot()

    def _said(self):
        return self.console.read_text(errors="replace").strip()[-2000:]

    def _enter(self, *which):
        return ["nsenter", "-t", self.inside, *which]

    def _plug_in(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            done = subprocess.run([*self._enter("-n"), sys.executable, "-c", TAP, str(theirs.fileno())],
                                  pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                raise SetupError(f"this machine gives no tap device: {done.stderr.strip()}")
            self.lab.switch.plug_tap(self.name, socket.recv_fds(ours, 1, 1)[1][0])
        up = f"ip addr add {self.address}/24 dev eth0 && ip link set eth0 up"
        subprocess.run([*self._enter("-n"), "sh", "-c", up], check=True)

    def _boot(self):
        # A control group of its own at each boot: with a shared one, services of one name in two containers were one to systemd.
        self.boots += 1
        group = f"/run/cgroup/{self.lab.dir.name}.{self.name}.{self.boots}"
        with open(self.console, "ab") as log:
            self.nspawn = subprocess.Popen(
                [*self._enter(*ALL), "sh", "-c", 'mkdir "$0" && echo 0 >"$0/cgroup.procs" && exec "$@"', group,
                 "systemd-nspawn", "-q", "-D", "/run/root", "--register=no", "--keep-unit", "--console=pipe", "--boot",
                 "--network-namespace-path=/proc/self/ns/net", f"--machine={self.name}", f"--uuid={self.machine_id}"],
                env=dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end, state = time.monotonic() + 60, ""
        while not re.search("running|degraded|maintenance", state):
            if time.monotonic() > end or self.nspawn.poll() is not None:
                raise MachineError(f"{self.name}: it did not boot ({state.strip()}):\n{self._said()}")
            time.sleep(0.02)  # nothing tells when its systemd answers
            self.init = self._find_init()
            state = self.run("systemctl is-system-running --wait 2>/dev/null").output if self.init else ""

    def _find_init(self):
        """The first descendant of nspawn in another process namespace, once it is systemd."""
        def space(pid):
            return os.readlink(f"/proc/{pid}/ns/pid")

        todo = [str(self.nspawn.pid)]
        try:
            outer = space(self.inside)
            for pid in todo:  # grows meanwhile
                with open(f"/proc/{pid}/task/{pid}/children") as f:
                    todo += f.read().split()
                if space(pid) != outer and pid != todo[0] and os.readlink(f"/proc/{pid}/exe").endswith("/systemd"):
                    return pid
        except OSError:
            pass  # one has ended meanwhile
        return None

    # ---- working in it ----

    def _within(self):
        return ["nsenter", "-t", self.init, "-a", "-r", "-w", "env", "-i", "-C", "/root", "HOME=/root", "LANG=C.UTF-8",
                "DEBIAN_FRONTEND=noninteractive", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]

    def run(self, command, seconds=60):
        with tempfile.TemporaryFile() as out:  # a pipe stays open as long as what the command leaves running
            p = subprocess.run([*self._within(), "timeout", "-k", "5", str(seconds), "bash", "-c", command],
                               stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=seconds + 20)
            out.seek(0)
            return Result(p.returncode, out.read().decode("utf-8", "replace"))

    def push(self, local, remote):
        folder, data = pack(local, remote)
        subprocess.run([*self._within(), "sh", "-c", 'mkdir -p "$1" && exec tar -x --no-same-owner -C "$1"', "-", folder],
                       input=data, check=True, timeout=60)

    def pull(self, remote, local):
        folder, name = os.path.split(remote.rstrip("/"))
        tar = subprocess.run([*self._within(), "tar", "-c", "-C", folder or "/", name], stdout=subprocess.PIPE, check=True,
                             timeout=60)
        unpack(tar.stdout, remote, local)

    # ---- what befalls it ----

    def reboot(self):
        self.run("systemctl reboot")
        self._again()

    def power_cut(self):
        """Every process is killed at once; what was written stays, as there is no disk of its own to lose it."""
        os.kill(int(self.init), signal.SIGKILL)
        self._again()

    def _again(self):
        self.nspawn.wait(60)
        self.init = None
        self._boot()

    def stop(self):
        if self.outer is None:
            return
        self.outer.kill()  # and with it all of its namespace
        self.outer.wait()
        self.outer.stdout.close()
        self.lab.switch.unplug(self.name)
        if self.nspawn:
            self.nspawn.wait()
        self.outer = None
        self._remove_groups()

    def _remove_groups(self):
        """As soon as the kernel has taken the last process out of them."""
        subprocess.run(["unshare", "--mount", "sh", "-c", """
            mount -t cgroup2 none /run && cd /run || exit
            for i in $(seq 50); do
                find . -depth -type d -path "./$0*" -exec rmdir {} + 2>/dev/null
                set -- "$0"*
                [ -e "$1" ] || exit
                sleep 0.1
            done""", f"{self.lab.dir.name}.{self.name}."], stdin=subprocess.DEVNULL)
