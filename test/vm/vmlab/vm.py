"""An image's system in a virtual machine (qemu), with the suite's own kernel."""
import base64
import hashlib
import inspect
import json
import secrets
import select
import shlex
import shutil
import socket
import subprocess
import time
import uuid

from .base import Lock, MachineError, accel, die_with_parent, need, output, sh, slowness
from .machine import Machine, Result, pack, unpack

QEMU = "qemu-system-x86_64"


class VM(Machine):
    """Warm: loaded from the state of a machine that has just booted.  forward: {port of this machine's 127.0.0.1: port of the
    guest's}; the guest reaches only the other machines of the lab."""

    def __init__(self, lab, name, image, address, mem_mib=384, is_warm=True, forward=None):
        super().__init__(lab, name, image, address)
        self.mem_mib, self.is_warm, self.forward, self.slow = mem_mib, is_warm, forward or {}, slowness()
        self.disk, self.qemu_log = self.dir / "disk.qcow2", self.dir / "qemu.log"
        self.machine_id = secrets.token_hex(16)
        self.mac = "02:00:00:" + ":".join(f"{b:02x}" for b in secrets.token_bytes(3))
        self.boot_id = self.qemu = None
        self.serial = 0

    # ---- the process ----

    def command(self, fds, incoming=None):
        """A change here makes warm states anew."""
        is_kvm = accel() == "kvm"
        kernel = ("root=/dev/vda rw rootfstype=ext4 console=ttyS0 quiet loglevel=4 net.ifnames=0 mitigations=off panic=-1 "
                  f"systemd.machine_id={self.machine_id} systemd.show_status=0")
        if not is_kvm:  # the clock of an emulated processor stalls now and then; the kernel need not say so
            kernel += " tsc=reliable no_timer_check clocksource=tsc nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
        image, disk = self.image.path(), str(self.disk).replace(",", ",,")
        args = [QEMU, "-name", f"vm-{self.name}", "-machine", "q35,usb=off,vmport=off",
                "-accel", "kvm" if is_kvm else "tcg,thread=multi,tb-size=128", "-cpu", "host" if is_kvm else "Nehalem",
                "-m", str(self.mem_mib), "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none",
                "-uuid", str(uuid.UUID(self.machine_id)), "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd"),
                "-append", kernel, "-drive", f"if=none,id=root,file={disk},format=qcow2,cache=unsafe,discard=unmap",
                "-device", "virtio-blk-pci,drive=root", "-device", "vmgenid,guid=auto", "-device", "virtio-rng-pci",
                "-device", "virtio-serial-pci,max_ports=8", "-chardev", f"socket,id=qmp,fd={fds['qmp']}",
                "-mon", "chardev=qmp,mode=control", "-serial", f"file:{self.console}"]
        for p in ("ctl", "out", "dat"):
            args += ["-chardev", f"socket,id={p},fd={fds[p]}", "-device", f"virtserialport,chardev={p},name=vm.{p}"]
        user = "user,id=host,restrict=on,ipv6=off" + "".join(
            f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in self.forward.items())
        args += ["-netdev", f"socket,id=lan,fd={fds['lan']}",
                 "-device", f"virtio-net-pci,netdev=lan,id=nic0,mac={self.mac},romfile=",
                 "-netdev", user, "-device", "virtio-net-pci,netdev=host,id=nic1,mac=02:00:01:00:00:01,romfile="]
        return args + (["-incoming", f"exec:cat {shlex.quote(str(incoming))}"] if incoming else [])

    def _spawn(self, incoming=None):
        ours, theirs = {}, {}
        for p in ("qmp", "ctl", "out", "dat"):
            ours[p], theirs[p] = socket.socketpair()
        theirs["lan"] = self.lab.switch.plug(self.name)
        fds = {name: s.fileno() for name, s in theirs.items()}
        with open(self.qemu_log, "ab") as log:
            self.qemu = subprocess.Popen(self.command(fds, incoming), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         pass_fds=list(fds.values()), preexec_fn=die_with_parent)
        for s in theirs.values():
            s.close()
        self.sockets, self.buffers = ours, {p: bytearray() for p in ("qmp", "ctl", "out")}
        self._qmp("qmp_capabilities")

    def start(self):
        """Returns when its systemd has finished booting."""
        need("qemu-system-x86", QEMU)
        need("qemu-utils", "qemu-img")
        warm = self._warm_state() if self.is_warm else None
        try:
            if warm:
                self._start_warm(warm)
        except MachineError as e:  # saved on another processor, say
            print(f"     {self.name}: no warm start, so a cold one: {e}", flush=True)
            self.stop()
            warm = None
        if not warm:
            self.disk.unlink(missing_ok=True)
            _overlay(self.disk, self.image.path() / "root.raw", "raw")
            self._spawn()
            self._await_boot()
        self._settle(bool(warm))

    def _start_warm(self, folder):
        _overlay(self.disk, folder / "disk.qcow2", "qcow2")
        self._spawn(folder / "state")
        end = time.monotonic() + 60 * self.slow
        while (state := self._qmp("query-status")["status"]) != "running":
            if state == "paused":
                self._qmp("cont")
            elif state not in ("inmigrate", "prelaunch", "postmigrate", "finish-migrate") or time.monotonic() > end:
                raise MachineError(f"{self.name}: {state} while its warm state was loaded: {self._diagnosis()}")
            time.sleep(0.02)  # between two looks at it
        self.check("true", 20)

    def _await_boot(self):
        """Until the agent in it says READY of a new boot, and the boot is finished."""
        end = time.monotonic() + 60 * self.slow
        while True:
            word, _, boot = self._line("ctl", end).partition(" ")
            if word == "READY" and boot != self.boot_id:
                self.boot_id = boot
                break
        self.check("systemctl is-system-running --wait || systemctl list-jobs --no-pager")

    def _settle(self, is_warm):
        """Makes this machine itself: name, addresses, identity, clock."""
        steps = [f"date -s @{time.time():.3f} >/dev/null"]
        if is_warm:  # a copy of a running machine has its twin's identity until it is given its own
            self.boot_id = str(uuid.uuid4())
            steps += [f"echo {self.machine_id} >/etc/machine-id",
                      f"echo {self.boot_id} >/run/boot-id; mount --bind -r /run/boot-id /proc/sys/kernel/random/boot_id",
                      "rm -rf /var/log/journal/*; systemctl restart systemd-journald"]
        steps += [f"hostname {self.name}; echo {self.name} >/etc/hostname", f"printf %s {shlex.quote(self.hosts())} >/etc/hosts",
                  f"printf 'MAC=%s\\nADDR=%s\\n' {self.mac} {self.address} >/etc/vm-net", "systemctl restart vm-net", "sync"]
        self.check("set -e\n" + "\n".join(steps), 20)

    def _warm_state(self):
        """The folder with memory and disk of a machine that has just booted; made at first use, then cached.

        It fits one version of qemu, one size and one set of devices."""
        version = output(QEMU, "--version").split("version ")[1].split()[0]
        devices = hashlib.sha256(inspect.getsource(VM.command).encode()).hexdigest()[:8]
        folder = self.image.path() / f"warm-{accel()}-{self.mem_mib}-{version}-{devices}"
        with Lock(folder.with_name(folder.name + ".lock")):
            if not folder.is_dir():
                self._make_warm_state(folder)
        return folder

    def _make_warm_state(self, folder):
        began = time.monotonic()
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        twin = VM(self.lab, f"{self.name}-warm", self.image, self.address, self.mem_mib, is_warm=False)
        twin.disk = part / "disk.qcow2"
        try:
            _overlay(twin.disk, "../root.raw", "raw")  # seen from the disk: the cache may be moved
            twin._spawn()
            twin._await_boot()
            twin.check("udevadm settle; sync; echo 3 >/proc/sys/vm/drop_caches; fstrim / || true")
            twin._qmp("stop")
            twin._qmp("migrate", uri=f"exec:cat >{shlex.quote(str(part / 'state'))}")
            end = time.monotonic() + 60 * self.slow
            while (state := twin._qmp("query-migrate").get("status")) != "completed":
                if state in ("failed", "cancelled") or time.monotonic() > end:
                    raise MachineError(f"the warm state could not be saved: {state}")
                time.sleep(0.1)  # between two looks at it
        finally:
            twin.stop()
        part.rename(folder)
        print(f"     warm state of {self.image.suite} made in {time.monotonic() - began:.0f} s", flush=True)

    def _diagnosis(self):
        tail = [line for f in (self.qemu_log, self.console) if f.exists()
                for line in f.read_text(errors="replace").splitlines()[-15:]]
        return f"qemu's exit status {self.qemu.poll() if self.qemu else None}\n" + "\n".join(tail)

    # ---- talking to qemu and to the agent in the guest ----

    def _line(self, port, end):
        buf = self.buffers[port]
        while b"\n" not in buf:
            self._more((port,), end)
        line, _, rest = bytes(buf).partition(b"\n")
        buf[:] = rest
        return line.decode("utf-8", "replace").rstrip("\r")

    def _send(self, port, data, seconds):
        try:
            self.sockets[port].settimeout(seconds)
            self.sockets[port].sendall(data)
        except OSError as e:
            raise MachineError(f"{self.name}: {e} ({self._diagnosis()})") from None

    def _more(self, ports, end):
        """Waits until one of the ports has said something more."""
        ready, _, _ = select.select([self.sockets[p] for p in ports], [], [], max(0, end - time.monotonic()))
        if not ready:
            raise MachineError(f"{self.name}: no answer in time on {ports[0]} ({self._diagnosis()})")
        for p in ports:
            if self.sockets[p] not in ready:
                continue
            try:
                data = self.sockets[p].recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise MachineError(f"{self.name}: the machine is gone ({self._diagnosis()})")
            self.buffers[p] += data

    def _qmp(self, command, seconds=30, **arguments):
        end = time.monotonic() + seconds
        self._send("qmp", json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n", 5)
        while True:
            m = json.loads(self._line("qmp", end))
            if "return" in m:
                return m["return"]
            if "error" in m:
                raise MachineError(f"{self.name}: {command}: {m['error']['desc']}")

    def _ask(self, verb, a, b):
        """The request's number."""
        self.serial += 1
        self._send("ctl", f"{self.serial} {verb} {a} {base64.b64encode(b.encode()).decode()}\n".encode(), 10 * self.slow)
        return str(self.serial)

    def _answer(self, number, end):
        while True:
            self._notice_boot()
            words = self._line("ctl", end).split(" ")
            if words[0] == number:
                return words[1:]

    def _notice_boot(self):
        """An exception when it has started anew while something else was waited for."""
        buf = self.buffers["ctl"]
        if buf.startswith(b"READY ") and b"\n" in buf:
            boot = self._line("ctl", time.monotonic())[6:]
            if boot != self.boot_id:
                self.boot_id = boot
                raise MachineError(f"{self.name}: it has restarted by itself ({self._diagnosis()})")

    # ---- working in it ----

    def run(self, command, seconds=60):
        seconds *= self.slow
        number = self._ask("run", f"{seconds:.1f}", command)
        end = time.monotonic() + seconds + 10 * self.slow
        mark, out, seen = f"\0END {number}\n".encode(), self.buffers["out"], 0
        while (n := out.find(mark, max(0, seen - len(mark)))) < 0:
            seen = len(out)
            self._more(("out", "ctl"), end)
            self._notice_boot()
        text = bytes(out[:n]).decode("utf-8", "replace")
        del out[:n + len(mark)]
        return Result(int(self._answer(number, end)[0]), text)

    def push(self, local, remote):
        folder, data = pack(local, remote)
        number = self._ask("push", len(data), folder)
        self._send("dat", data, 60 * self.slow)
        if self._answer(number, time.monotonic() + 60 * self.slow)[0] != "0":
            raise MachineError(f"{self.name}: could not copy {local} to {remote}")

    def pull(self, remote, local):
        number, end, data = self._ask("pull", "-", remote), time.monotonic() + 60 * self.slow, bytearray()
        size = int(self._answer(number, end)[1])
        self.sockets["dat"].settimeout(60 * self.slow)
        while len(data) < size:
            part = self.sockets["dat"].recv(min(1 << 18, size - len(data)))
            if not part:
                raise MachineError(f"{self.name}: the machine is gone ({self._diagnosis()})")
            data += part
        if self._answer(number, end)[0] != "0":
            raise MachineError(f"{self.name}: could not copy {remote} out")
        unpack(bytes(data), remote, local)

    # ---- what befalls it ----

    def reboot(self):
        self.check("systemctl reboot", 30)
        self._await_boot()

    def power_cut(self):
        """The plug is pulled: nothing in the guest is told, what it had not written is lost."""
        self.stop()
        self._spawn()
        self._await_boot()

    def stop(self):
        if self.qemu is None:
            return
        self.qemu.kill()
        self.qemu.wait()
        self.qemu = None
        self.lab.switch.unplug(self.name)
        for s in self.sockets.values():
            s.close()


def _overlay(path, base, kind):
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", kind, path)
