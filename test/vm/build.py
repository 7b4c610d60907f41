"""shoal's programs as a suite's own compiler and libraries make them."""
import hashlib
import re
import tempfile
from pathlib import Path

from boxes import SOURCE
from shoaltest.cluster import BIN
from vmlab import host_suite, packages_of
from vmlab.apt import Apt, bootstrap
from vmlab.base import KEY_CHARS, Lock, cache, need, need_root, output, sh, use

RUN = """
set -e
cd "$0"
mkdir -p src build llama
mount --bind -o ro "$1" src && mount --bind "$2" build && mount --bind -o ro "$3" llama && mount -t proc proc proc
shift 3
chroot . cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DLLAMA_DIR=/llama >&2
chroot . cmake --build /build --target "$@" >&2
for p; do chroot . ldd "/build/bin/$p"; done
"""


def build(suite, *programs):
    """(their paths, packages with the libraries they load).

    This machine's own suite: those of the build under test.  Another one: built in a root of that suite, which is made at first
    use and cached, as is what was compiled."""
    if suite == host_suite():
        paths = [BIN / p for p in programs]
        return paths, packages_of(output("ldd", *paths))
    need_root()
    root, out = _root(suite), SOURCE / f"build-{suite}"
    out.mkdir(exist_ok=True)
    cmake_cache = (BIN.parent / "CMakeCache.txt").read_text()
    llama = re.search("^LLAMA_DIR:PATH=(.+)$", cmake_cache, re.M)
    libraries = output("unshare", "--mount", "sh", "-c", RUN, root, SOURCE, out, llama[1] if llama else "/usr", *programs)
    return [out / "bin" / p for p in programs], packages_of(libraries, root)


def _root(suite):
    """A root file system of the suite with all that a build takes."""
    need("mmdebstrap", "mmdebstrap")
    packages = output(SOURCE / "scripts/setup", "--list").split()
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:KEY_CHARS]
    root = cache() / f"roots/{suite}-{key}"
    root.parent.mkdir(exist_ok=True)
    with Lock(root.with_suffix(".lock")):
        if not root.exists():
            with tempfile.TemporaryDirectory() as work:
                part = root.with_suffix(".part")
                sh("rm", "-rf", "--one-file-system", part)
                bootstrap(Apt(suite, Path(work) / "apt"), part, packages)
                part.rename(root)
        use(root)
    return root
