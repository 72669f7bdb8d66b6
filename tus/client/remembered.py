"""What is not finished yet, and where it is: upload URLs, kept between runs in one small JSON file.

If the file is lost, an upload only begins again. So a problem with this file never stops an upload.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

KEEP = 90 * 86400  # seconds; no server known keeps an unfinished upload longer
MOST = 1000  # entries: what is beyond was never resumed, and the file stays small


def fingerprint(path: str, endpoint: str) -> str:
    """What makes a file the same one later: where it lies, its size, its time, and where it goes."""
    path = os.path.realpath(path)
    status = os.stat(path)
    parts = (os.fsencode(path), str(status.st_size), str(status.st_mtime_ns), endpoint)
    data = b"\0".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    return hashlib.sha256(data).hexdigest()


def fetching(url: str, to: str) -> str:
    """What makes a download the same one later: what it fetches, and where it goes."""
    return hashlib.sha256(b"\0".join((b"get", url.encode(), os.fsencode(os.path.realpath(to))))).hexdigest()


def holding(part: str) -> str:
    """Under which it is remembered what lies there, of all that may be fetched to one place."""
    return hashlib.sha256(b"\0".join((b"part", os.fsencode(os.path.realpath(part))))).hexdigest()


def home(environ: Mapping[str, str]) -> Path:
    """Where this user's programs keep what they remember, as the XDG rules say."""
    state = environ.get("XDG_STATE_HOME", "")
    # A path that is not absolute counts as not set.
    return Path(state if state.startswith("/") else os.path.expanduser("~/.local/state")) / "tus"


class Remembered:
    """A map from fingerprint to URL in a file that several processes may use at once."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "uploads.json"

    @classmethod
    def of_user(cls, environ: Mapping[str, str]) -> Remembered:
        """The file of this user."""
        return cls(home(environ))

    def get(self, key: str) -> str | None:
        """The URL, or None."""
        entry = self._load().get(key)
        return entry[0] if entry else None

    def keep(self, key: str, url: str) -> bool:
        """Keep the URL; whether that works."""
        with contextlib.suppress(OSError), self._changed() as entries:
            entries[key] = (url, time.time())
            return True
        return False

    def creation(self, key: str, said: str) -> str:
        """What to call the creation of this upload, which says this: the same each time, until it is forgotten."""
        name, new = f"{key} {hashlib.sha256(said.encode()).hexdigest()}", str(uuid.uuid4())
        with contextlib.suppress(OSError), self._changed() as entries:
            return entries.setdefault(name, (new, time.time()))[0]
        return new

    def forget(self, key: str) -> None:
        """Drop the URL, and what its creation was called."""
        with contextlib.suppress(OSError), self._changed() as entries:
            for name in [name for name in entries if name.partition(" ")[0] == key]:
                del entries[name]

    def _load(self) -> dict[str, tuple[str, float]]:
        try:
            data = json.loads(self.file.read_bytes())
            entries = {key: (str(value["url"]), float(value["time"])) for key, value in data.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}
        fresh = [(k, v) for k, v in entries.items() if v[1] > time.time() - KEEP]
        return dict(sorted(fresh, key=lambda item: item[1][1])[-MOST:])

    @contextlib.contextmanager
    def _changed(self) -> Iterator[dict[str, tuple[str, float]]]:
        """The entries to change; they are written as a whole, one process after the other."""
        directory = self.file.parent
        directory.mkdir(0o700, parents=True, exist_ok=True)
        with open(directory / "lock", "a") as lock:
            os.chmod(lock.name, 0o600)
            _wait_for_others(lock)
            entries = self._load()
            yield entries
            content = {key: {"url": url, "time": when} for key, (url, when) in entries.items()}
            # mkstemp makes it 0600: anyone who knows an upload's URL can write to it.
            fd, name = tempfile.mkstemp(dir=directory)
            try:
                with open(fd, "w", encoding="utf-8") as file:
                    json.dump(content, file, indent=1)
                os.replace(name, self.file)
            except BaseException:
                os.unlink(name)
                raise


def _wait_for_others(lock: IO[str]) -> None:
    """Until no other program has the file; on Windows two at once may forget an upload, which begins again then."""
    with contextlib.suppress(ImportError):
        from fcntl import LOCK_EX, flock

        flock(lock, LOCK_EX)
