"""Every option of the server: waitress's own, with defaults that suit uploads, and ours.

A name that neither knows is an error, as in waitress.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from ..errors import OptionError
from ..http.senders import connections, room, share_of
from ..options import unknown
from ._waitress import Adjustments, aslist

OPEN_FILES = 1024  # what a process may open where nothing else is known


def positive(text: Any) -> float:
    """A number greater than zero."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(f"a number greater than zero is needed, not {text!r}")
    return number


def count(text: Any) -> int:
    """A whole number of at least one."""
    number = int(text)
    if number < 1:
        raise ValueError(f"at least 1 is needed, not {text!r}")
    return number


def rate(text: Any) -> int:
    """A whole number of bytes per second; 0 is no limit."""
    number = int(text)
    if number < 0:
        raise ValueError(f"a rate cannot be negative: {text!r}")
    return number


def paths(text: Any) -> tuple[str, ...]:
    """Path prefixes, separated by white space."""
    return tuple(aslist(text))


class Front(Protocol):
    """What deciphers connections."""

    files: int  # open ones that a connection takes

    def __call__(self, connection: socket.socket) -> socket.socket:
        """What speaks plain text in its place."""

    def close(self) -> None:
        """Once the server has closed its ends."""


def deciphers(value: Any) -> Any:
    """A `Front`, which no text names."""
    if not callable(value):
        raise ValueError("tus serve --tls-cert FILE --http1 serves HTTPS")
    return value


class Settings(Adjustments):
    """waitress's adjustments and ours, checked when the server is made."""

    _ours = (
        ("upload_threads", count),
        ("head_timeout", positive),
        ("body_timeout", positive),
        ("body_min_rate", rate),
        ("drain_timeout", positive),
        ("shutdown_timeout", positive),
        ("stream_paths", paths),
        ("workers", count),
        ("uploads_limit", count),
        ("uploads_per_address", count),
        ("tls", deciphers),
    )
    _params = Adjustments._params + _ours
    _param_map = dict(_params)

    upload_threads = 1000  # uploads that are received at the same time; more wait
    head_timeout = 20.0  # seconds from the first byte of a request's head to its last
    body_timeout = 60.0  # seconds of silence after which a body is ended
    body_min_rate = 100  # bytes per second over body_timeout; a slower body is ended
    drain_timeout = 2.0  # seconds in which the rest of a refused body is thrown away
    shutdown_timeout = 10.0  # seconds from SIGTERM to the end
    stream_paths: tuple[str, ...] = ("/",)  # where bodies stream; elsewhere waitress collects them first
    workers = 1  # processes
    uploads_limit: int  # bodies that arrive at the same time
    uploads_per_address: int  # of these from one address
    tls: Front | None = None

    # waitress's own, for uploads: poll() has no limit of 1024 files; small bodies come in one piece.
    asyncore_use_poll = True
    ident = "tus"  # in the header Server: what goes wrong here is not waitress's fault
    recv_bytes = 65536
    backlog = 4096  # a crowd that connects at once; what the system drops tries again a second later

    hold = False  # small bodies wait in the loop until they are whole; set by a loop that has timers

    def __init__(self, **options: Any) -> None:
        self._check(options)
        try:
            super().__init__(**options)
        except OptionError:
            raise
        except ValueError as error:
            raise OptionError(str(error)) from None
        self.open_files = raise_open_files()
        if "connection_limit" not in options:
            self.connection_limit = connections(self.open_files // (self.tls.files if self.tls else 1))
        if "uploads_limit" not in options:
            self.uploads_limit = room(self.connection_limit)
        if "uploads_per_address" not in options:
            self.uploads_per_address = share_of(self.uploads_limit)

    def _check(self, options: dict[str, Any]) -> None:
        """Name what is unknown or makes no sense; waitress would say less."""
        for name, value in options.items():
            if name not in self._param_map:
                raise OptionError(unknown(name, self._param_map))
            try:
                self._param_map[name](value)
            except (TypeError, ValueError) as error:
                raise OptionError(f"option {name}: {value!r} is wrong: {error}") from None
        for place in (*aslist(options.get("listen", "")), f":{options.get('port', 0)}"):
            port = place.rpartition(":")[2]
            # The system would take the rest of the division by 65536.
            if re.fullmatch("[0-9]+", port, re.ASCII) and int(port) > 65535:
                raise OptionError(f"{port} is not a port: 0 to 65535")


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one, and return it."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows has no such limit
        return OPEN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # pragma: no cover - some systems refuse an unlimited soft limit
            hard = soft
    return hard if hard >= 0 else sys.maxsize  # RLIM_INFINITY


@contextmanager
def binding(where: Sequence[Any]) -> Iterator[None]:
    """An address that cannot be used is named in the error."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{where[0]}:{where[1]}") from None
