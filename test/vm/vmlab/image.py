"""Makes images: minimal Debian systems as disks, with a kernel of the suite's own where one is wanted.

Packages come from the mirror that this machine's apt has.
"""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path

from . import kernel
from .apt import Apt, bootstrap
from .base import GUEST, KEY_CHARS, Lock, cache, need, need_root, output, sh, use

# What a minimal installation has and a package may count on.
BASE = ("systemd-sysv", "udev", "dbus", "kmod", "iproute2", "netbase", "procps")
# Consoles and jobs by the clock: they only take time.
MASKED = ("getty@tty1.service serial-getty@.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer "
          "e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer man-db.timer logrotate.timer "
          "systemd-firstboot.service").split()
RECIPE = ("apt.py", "image.py", "kernel.py")


@dataclass(frozen=True)
class Image:
    """include: packages that are installed.  pool: packages that lie in the image, with all they need, as a repository for
    the guest's apt, which knows no other.  A container needs no kernel; gpio-sim is a module of it."""

    suite: str
    name: str
    include: tuple = ()
    pool: tuple = ()
    has_kernel: bool = False
    has_gpio_sim: bool = False
    disk_size: str = "4G"

    def path(self):
        """Its folder, with root.raw and, with a kernel, vmlinuz and initrd; made at first use, then cached."""
        base = cache() / "images"
        base.mkdir(exist_ok=True)
        path = base / f"{self.suite}-{self.name}-{self._key()}"
        with Lock(base / f"{self.suite}-{self.name}.lock"):
            if not path.exists():
                _make(self, path)
            use(path)
        return path

    def _key(self):
        h = hashlib.sha256(repr(astuple(self)).encode())
        for f in [*(Path(__file__).parent / name for name in RECIPE), *sorted(GUEST.iterdir())]:
            h.update(f.read_bytes())
        return h.hexdigest()[:KEY_CHARS]


def packages_of(ldd, root="/"):
    """The packages with the libraries in ldd's list, as far as they are from packages of the system there."""
    libraries = re.findall(r"=> (/\S+) \(", ldd)
    real = [os.path.realpath(f"{root}/{lib}").removeprefix(os.path.realpath(root).rstrip("/")) for lib in libraries]
    names = {n.removeprefix("/usr") for n in (*libraries, *real)}
    names |= {f"/usr{n}" for n in names}  # /lib is /usr/lib; dpkg may know either name
    owners = output("dpkg-query", f"--admindir={root}/var/lib/dpkg", "-S", *names, check=False, stderr=subprocess.DEVNULL)
    return tuple(sorted(set(re.findall(r"^([^:, ]+):", owners, re.M))))


def _make(image, path):
    need_root()
    need("mmdebstrap", "mmdebstrap")
    need("e2fsprogs", "mke2fs")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vm-image-") as work:
        work = Path(work)
        work.chmod(0o755)
        out = path.with_name(path.name + ".part")
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        apt = Apt(image.suite, work / "apt")
        root = work / "root"
        bootstrap(apt, root, BASE + image.include, _pool_hooks(image.pool))
        if image.has_kernel:
            kernel.add(apt, root, out, work, image.has_gpio_sim)
        _finish(image, root)
        sh("mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-d",
           root, out / "root.raw", image.disk_size, stdout=subprocess.DEVNULL)
        out.rename(path)
    print(f"     image {image.suite}-{image.name} made in {time.monotonic() - began:.0f} s", flush=True)


def _pool_hooks(pool):
    if not pool:
        return []
    # Against this root's own dpkg status, so that what is installed is not fetched again.
    return ['APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -y -qq --download-only --no-install-recommends install '
            + " ".join(pool) + ' && mkdir -p "$1/srv/pool" && mv "$1"/var/cache/apt/archives/*.deb "$1/srv/pool/"']


def _finish(image, root):
    """What makes the root a test machine."""
    def write(path, text, mode=0o644):
        p = root / path
        p.parent.mkdir(parents=True, exist_ok=True)
        p.unlink(missing_ok=True)
        p.write_text(text)
        p.chmod(mode)

    for f in GUEST.iterdir():
        if f.suffix == ".service":
            write(f"etc/systemd/system/{f.name}", f.read_text())
        else:
            write(f"usr/local/bin/{f.name}", f.read_text(), 0o755)
    # Packages that a test installs are unpacked whole, and by apt's own defaults.
    for f in [*root.glob("etc/dpkg/dpkg.cfg.d/*mmdebstrap*"), *root.glob("etc/apt/apt.conf.d/*mmdebstrap*"),
              *root.glob("etc/apt/sources.list.d/*")]:
        f.unlink()
    write("etc/dpkg/dpkg.cfg.d/vm", "force-unsafe-io\n")
    write("etc/apt/sources.list", "deb [trusted=yes] file:/srv/pool ./\n" if image.pool else "")
    write("etc/hostname", "vm\n")
    write("etc/hosts", "127.0.0.1 localhost\n")
    for name in ("resolv.conf", "machine-id", "fstab"):
        write(f"etc/{name}", "")
    write("etc/systemd/journald.conf.d/vm.conf", "[Journal]\nStorage=persistent\nSystemMaxUse=64M\n")
    for command in (["mask", *MASKED], ["enable", "vm-agent", "vm-net"], ["set-default", "multi-user.target"]):
        sh("chroot", root, "systemctl", "-q", *command, stderr=subprocess.DEVNULL)
    if image.pool:
        _index(root / "srv/pool")
        sh("chroot", root, "apt-get", "-qq", "update")


def _index(pool):
    """The Packages file that makes a folder of .debs a repository."""
    entries = []
    for deb in sorted(pool.glob("*.deb")):
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        entries.append(output("dpkg-deb", "-f", deb).rstrip("\n")
                       + f"\nFilename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n")
    (pool / "Packages").write_text("\n".join(entries))
