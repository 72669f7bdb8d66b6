"""What `tus serve` says when it starts: where files go, how long they stay, how large they may be, and who may come."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from ..backends import without_password
from ..client.meter import human
from ..options import Options
from .login import Login

LONG_ENOUGH = 10  # characters of a password that nobody guesses by trying
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def opening(urls: list[str], options: Options, *, place: str, page: bool, login: Login | None) -> list[str]:
    """At most four lines; the first one has the addresses that take uploads."""
    bases = [url.rstrip("/") for url in urls]
    lines = ["listening on " + " ".join(base + options.upload_path for base in bases)]
    if page:
        lines.append(f"open {' or '.join(base + '/' for base in bases)} in a browser")
    return [*lines, _kept(options, place), _reach(urls, login)]


def _kept(options: Options, place: str) -> str:
    """Where files go, how long they stay, and how large they may be."""
    duration = options.upload_valid_duration
    if duration is None:
        stay = "everything stays"
    elif options.sweep_finished:
        stay = f"everything is removed {spoken(duration)} after its last byte"
    else:
        stay = f"finished ones stay, unfinished ones are removed {spoken(duration)} after their last byte"
    limit = "any size" if options.max_size is None else f"up to {human(options.max_size)} each"
    place = place or options.tmp_file_dir
    where = without_password(options.store) if options.store else os.path.abspath(place)
    return f"files go to {where}, {limit} (--max-size); {stay} (--upload-valid-duration)"


def _reach(urls: list[str], login: Login | None) -> str:
    """Who can reach it, and what they may do."""
    local = all(map(_local, urls))
    if login:
        weak = "" if local or login.shortest >= LONG_ENOUGH else f"; one of {login.shortest} characters can be guessed"
        here = "only this machine can reach it, and " if local else ""
        return f"{here}nobody uploads or downloads without a password{weak}"
    if local:
        return "only this machine can reach it (--host 0.0.0.0 opens it to the network, --password WORD asks for one)"
    return (
        "ANYBODY who can reach it may upload, and download by link: --password WORD asks for a password, "
        "--host 127.0.0.1 keeps it to this machine"
    )


def _local(url: str) -> bool:
    """Whether only this machine can reach the address."""
    host = urlsplit(url).hostname or ""
    try:
        return url.startswith("unix:") or host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def spoken(seconds: float) -> str:
    """A time as people say it, in the largest unit that divides it."""
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {unit}{'s' * (count != 1)}"
    return f"{seconds:g} seconds"
