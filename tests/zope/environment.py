"""Environments with a real Zope or Plone, made once below `.cache` of the checkout and used again by every later run.

Nothing here may touch the environment that runs the tests; and where pip cannot install, tests are skipped and say so.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache"
INSTALL = 1200.0  # seconds that pip may take
COMMON = ("gunicorn>=23", "plone.protect==6.0.0")


class Uninstallable(Exception):
    """pip could not make the environment; the message says why."""


@dataclass(frozen=True)
class Zope:
    """One version of Zope or Plone, with what has to stand beside it."""

    version: str
    packages: tuple[str, ...]

    @property
    def home(self) -> Path:
        return CACHE / f"zope-{self.version}-py{sys.version_info[0]}{sys.version_info[1]}"

    def program(self, name: str) -> Path:
        return self.home / "bin" / name

    def install(self) -> None:
        """Make the environment, unless it is there as it should be."""
        CACHE.mkdir(exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n")
        with open(f"{self.home}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes ask at the same time
            stamp, wanted = self.home / ".installed", "\n".join((str(ROOT), *self.packages))
            if not stamp.exists() or stamp.read_text() != wanted:
                self._made()
                stamp.write_text(wanted)

    def _made(self) -> None:
        venv.create(self.home, clear=True, with_pip=True)
        self._pip(*self.packages)
        self._pip("--no-deps", "--editable", str(ROOT))

    def _pip(self, *what: str) -> None:
        command = [str(self.program("python")), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *what]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL)
        except subprocess.TimeoutExpired:
            raise Uninstallable(f"pip did not install {what[0]} in {INSTALL:.0f} seconds") from None
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise Uninstallable(f"pip cannot install {what[0]}: {last[0]}")


ZOPES = {
    "6.3": Zope("6.3", ("Zope[wsgi]==6.3", *COMMON)),
    # Zope 5 does not start with ZODB 6.3 and newer.
    "5.14.2": Zope("5.14.2", ("Zope[wsgi]==5.14.2", "ZODB==6.2", *COMMON)),
    # The newer layout asks for what only the next Plone has.
    "plone-6.2.2": Zope("plone-6.2.2", ("Products.CMFPlone==6.2.2", "plone.app.layout<7", "gunicorn>=23")),
}
