"""apt of this machine, for a suite that need not be its own."""
import os
import re
import subprocess
import sys
from pathlib import Path

from .base import SetupError, host_suite, output, sh

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def _mirrors():
    """(main, security or None): URIs, as this machine's apt has them."""
    code, main, security = host_suite(), None, None
    for line in output("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages").splitlines():
        uri, release = line.split()[:2]
        if release in (code, "stable"):
            main = main or uri
        elif release in (f"{code}-security", "stable-security"):
            security = security or uri
    if main is None:
        raise SetupError(f"apt of this machine has no lists of Debian {code}: run apt-get update")
    return main, security


def _settings_here():
    """This machine's own settings on how old a mirror may be, and by which proxy it is reached."""
    dump = output("apt-config", "dump")
    return re.findall(r'^(Acquire::(?:Check-\S+|https?::Proxy\S*) ".+");$', dump, re.M)


class Apt:
    """Lists and sources in a folder of their own."""

    def __init__(self, suite, folder):
        self.suite, self.folder = suite, folder
        for d in ("lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "etc/trusted.gpg.d"):
            (folder / d).mkdir(parents=True)
        (folder / "status").touch()
        main, security = _mirrors()
        by = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        self.sources = [f"deb {by}{main} {suite} main"]
        self._update()
        if security:
            self.sources.append(f"deb {by}{security} {suite}-security main")
            try:
                self._update()
            except SetupError:  # this suite has none
                self.sources.pop()
                self._update()

    def _update(self):
        (self.folder / "etc/sources.list").write_text("\n".join(self.sources) + "\n")
        done = self.get("update", "-qq", check=False, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SetupError(f"the Debian mirror of this machine's apt does not give its lists: {done.stderr.strip()[-300:]}")

    def _options(self):
        f = self.folder
        o = {"Dir::Etc": f / "etc", "Dir::Etc::sourcelist": f / "etc/sources.list", "Dir::Etc::sourceparts": "/dev/null",
             "Dir::State": f, "Dir::State::lists": f / "lists", "Dir::State::status": f / "status", "Dir::Cache": f / "cache",
             "APT::Sandbox::User": "root", "APT::Update::Error-Mode": "any"}
        return [x for k, v in o.items() for x in ("-o", f"{k}={v}")]

    def get(self, *args, **options):
        return sh("apt-get", *self._options(), *args, **options)

    def field(self, package, name):
        """Of the newest version; "" when there is no such package."""
        shown = output("apt-cache", *self._options(), "show", "--no-all-versions", package, check=False,
                       stderr=subprocess.DEVNULL)
        m = re.search(rf"^{name}: (.*)$", shown, re.M)
        return m[1] if m else ""

    def unpack(self, root, *packages):
        """Without installing them."""
        debs = self.folder / "debs"
        debs.mkdir(exist_ok=True)
        self.get("download", "-qq", *packages, cwd=debs)
        for deb in debs.glob("*.deb"):
            sh("dpkg-deb", "-x", deb, root)
            deb.unlink()


def bootstrap(apt, root, packages, hooks=()):
    """A root file system with those packages, without documentation."""
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(packages),
               '--aptopt=Apt::Install-Recommends "false"', "--dpkgopt=force-unsafe-io"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("doc", "man", "locale", "info")]
    command += [f"--aptopt={o}" for o in _settings_here()]
    command += [f"--customize-hook={h}" for h in hooks]
    sh(*command, apt.suite, root, *apt.sources, stdout=sys.stderr, env=dict(os.environ, LC_ALL="C.UTF-8"))
