"""A suite's own kernel for an image: pruned modules, an initrd of our own, and gpio-sim where Debian has it not."""
import glob
import gzip
import lzma
import os
import re
import shutil
import subprocess
import sys

from .apt import bootstrap
from .base import cache, output, sh

# Loaded before the root file system is there.
EARLY = "virtio_pci virtio_blk virtio_console virtio_net virtio_rng crc32c_generic ext4".split()
# Of no use in a virtual machine, and most of the modules' size.
PRUNED = ("drivers/gpu drivers/media drivers/infiniband drivers/isdn drivers/staging drivers/iio drivers/hid "
          "drivers/net/ethernet drivers/net/wireless drivers/net/wwan drivers/scsi drivers/target drivers/video "
          "drivers/bluetooth drivers/thunderbolt drivers/edac drivers/hwmon drivers/platform drivers/ata "
          "drivers/atm drivers/comedi drivers/crypto drivers/accel drivers/ufs drivers/power sound "
          "net/bluetooth net/wireless net/mac80211 net/nfc net/atm net/can "
          "fs/ocfs2 fs/gfs2 fs/ceph fs/nfs fs/nfsd fs/smb fs/cifs fs/btrfs fs/xfs fs/jfs fs/reiserfs fs/bcachefs "
          "fs/afs fs/ubifs fs/f2fs").split()
INIT = b"""#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for m in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$m; done
n=0
until [ -b /dev/vda ] || [ $n = 100 ]; do /bin/busybox usleep 20000; n=$((n + 1)); done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root || exec /bin/busybox poweroff -f
/bin/busybox umount /proc
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""


def add(apt, root, out, work, has_gpio_sim):
    """Puts vmlinuz and initrd in out, the modules in root.

    The package is only unpacked: installed with its initramfs-tools it takes a minute more, and boots more slowly.
    """
    packages, release = _packages(apt)
    unpacked = work / "kernel"
    apt.unpack(unpacked, *packages, "busybox-static")
    shutil.move(next(unpacked.glob("**/vmlinuz*")), out / "vmlinuz")
    modules = next(d for d in (unpacked / "usr/lib/modules" / release, unpacked / "lib/modules" / release) if d.exists())
    for p in PRUNED:
        shutil.rmtree(modules / "kernel" / p, ignore_errors=True)
    if has_gpio_sim and not glob.glob(f"{modules}/kernel/drivers/gpio/gpio-sim.ko*"):
        (modules / "extra").mkdir()
        shutil.copy(_gpio_sim(apt, release, work), modules / "extra/gpio-sim.ko")
    (root / "usr/lib/modules").mkdir(exist_ok=True)
    shutil.move(modules, root / "usr/lib/modules" / release)
    sh("chroot", root, "depmod", release)
    busybox = next(unpacked.glob("**/bin/busybox"))
    (out / "initrd").write_bytes(_initrd(root, release, busybox))


def _packages(apt):
    """The packages with the kernel's image and modules, which some suites split, and its release."""
    todo, seen = ["linux-image-amd64"], []
    while todo:
        for d in apt.field(todo.pop(), "Depends").split(","):
            name = re.split(r"[ (|]", d.strip())[0]
            if re.match(r"linux-(image|binary|modules|base)-\d", name) and name not in seen:
                seen.append(name)
                todo.append(name)
    return seen, re.sub(r"^linux-[a-z]+-", "", seen[0])


def _cpio(entries):
    """A newc archive of (name, mode, data)."""
    out = bytearray()
    for i, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")]):
        n = name.encode() + b"\0"
        fields = (i + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(n), 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + n
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def _decompress(path):
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return sh("zstd", "-dc", path, stdout=subprocess.PIPE).stdout
    return data


def _initrd(root, release, busybox):
    files = {}
    for m in EARLY:  # one that is built in has no insmod line
        shown = output("chroot", root, "modprobe", "-S", release, "--show-depends", m, check=False, stderr=subprocess.DEVNULL)
        for path in re.findall(r"^insmod /(\S+)", shown, re.M):
            files.setdefault(re.sub(r"\.(xz|zst|gz)$", "", os.path.basename(path)), root / path)
    entries = [(d, 0o40755, b"") for d in ("bin", "dev", "proc", "root", "modules")]
    entries += [(f"modules/{name}", 0o100644, _decompress(path)) for name, path in files.items()]
    entries += [("modules/order", 0o100644, " ".join(files).encode()), ("bin/busybox", 0o100755, busybox.read_bytes()),
                ("init", 0o100755, INIT)]
    return _cpio(entries)


def _gpio_sim(apt, release, work):
    """gpio-sim.ko, built from the kernel's own source package, as Debian 12 and 13 do not ship it; cached for each kernel."""
    headers = f"linux-headers-{release}"
    version = apt.field(headers, "Version")
    module = cache() / f"modules/gpio-sim-{release}-{version}.ko"
    if module.exists():
        return module
    module.parent.mkdir(exist_ok=True)
    source = "linux-source-" + ".".join(version.split(".")[:2])
    if apt.field(source, "Version") != version:
        raise RuntimeError(f"the kernel is {version}, but {source} is {apt.field(source, 'Version')!r}")
    root = work / "module-root"
    bootstrap(apt, root, ["make", "xz-utils", "libc6-dev", headers, source])
    tree, build = root / "tree", root / "build"
    tree.mkdir()
    build.mkdir()
    # A wildcard that finds nothing, as in older sources, makes tar exit with 2.
    sh("tar", "-xJ", "-f", root / f"usr/src/{source}.tar.xz", "-C", tree, "--strip-components=1", "--wildcards",
       "*/drivers/gpio/gpio-sim.c", "*/drivers/gpio/gpiolib.h", "*/drivers/gpio/dev-sync-probe.*", "*/kernel/irq/irq_sim.c",
       check=False, stderr=subprocess.DEVNULL)
    for f in tree.glob("**/*.[ch]"):
        # irq_to_desc is not exported to modules; the other is the same call by number.
        text = f.read_text().replace("handle_simple_irq(irq_to_desc(irqnum))", "generic_handle_irq(irqnum)")
        (build / ("gpio-sim-core.c" if f.name == "gpio-sim.c" else f.name)).write_text(text)
    objects = " ".join(f.with_suffix(".o").name for f in build.glob("*.c"))
    (build / "Kbuild").write_text(f"obj-m := gpio-sim.o\ngpio-sim-y := {objects}\n")
    sh("chroot", root, "make", "-s", "-C", f"/usr/src/linux-headers-{release}", "M=/build", "modules", stdout=sys.stderr,
       env=dict(os.environ, LC_ALL="C.UTF-8"))
    sh("chroot", root, "strip", "--strip-debug", "/build/gpio-sim.ko", check=False)
    part = module.with_suffix(".part")
    shutil.copy(build / "gpio-sim.ko", part)
    part.rename(module)
    return module
