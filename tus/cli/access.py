"""The access log of `tus serve`: one line a request, in the format that nginx and Apache call "combined".

Each line ends with the bytes that the request announced and the seconds that it took. No client can put a character
into it that begins a new line.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable
from logging.handlers import WatchedFileHandler
from typing import Any

log = logging.getLogger("tus")

Environ = dict[str, Any]
App = Callable[..., Iterable[bytes]]

_TOKEN = re.compile(r"([?&]token=)[^&]*")  # who reads the log is no operator yet
_LONGEST = 2000  # characters of a field; a line is written in one piece, also by several processes


class Access:
    """Writes down each request once the application has answered it."""

    def __init__(self, app: App, target: str) -> None:
        """`target` is a file, which may be moved away to begin another one, or - for standard output."""
        self._app = app
        self._handler = logging.StreamHandler(sys.stdout) if target == "-" else WatchedFileHandler(target, "a", "utf-8")

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        began = time.monotonic()
        status, size, returned = "-", "-", False

        def write() -> None:
            self._write(_line(environ, status, size, time.monotonic() - began))

        def started(line: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            nonlocal status, size
            status = line[:3]
            size = next((value for name, value in headers if name.lower() == "content-length"), "-")
            if returned:  # an answer that is asked for before the body has come says its status late
                write()
            return start_response(line, headers, *error)

        try:
            blocks = self._app(environ, started)
        except BaseException:
            write()
            raise
        returned = True
        if status != "-":
            write()
        return blocks

    @property
    def parks(self) -> bool:
        """What the application returns is passed on as it is."""
        return getattr(self._app, "parks", False)

    def close(self) -> None:
        """Let go of the file."""
        self._handler.close()

    def _write(self, line: str) -> None:
        try:
            self._handler.handle(logging.makeLogRecord({"msg": line}))
        except OSError as error:  # the new file is somebody else's, perhaps; the client is not concerned
            log.error("the access log cannot be written: %s", error)


def _line(environ: Environ, status: str, size: str, seconds: float) -> str:
    """As "combined" has it: who, when, what, how it ended, from which page, with which program."""
    target = _TOKEN.sub(r"\1-", environ.get("REQUEST_URI") or environ.get("PATH_INFO", ""))
    request = f"{environ['REQUEST_METHOD']} {target} {environ.get('SERVER_PROTOCOL', '-')}"
    who = f"{_field(environ.get('REMOTE_ADDR'))} - {_field(environ.get('REMOTE_USER')).replace(' ', '_')}"
    when = time.strftime("[%d/%b/%Y:%H:%M:%S %z]")
    pages = f'"{_field(environ.get("HTTP_REFERER"))}" "{_field(environ.get("HTTP_USER_AGENT"))}"'
    received = _field(environ.get("CONTENT_LENGTH"))
    return f'{who} {when} "{_field(request)}" {status} {size} {pages} {received} {seconds:.3f}'


def _field(value: str | None) -> str:
    """The value with \\xHH for everything but visible ASCII; a dash where there is none."""
    if not value:
        return "-"
    plain = value[:_LONGEST].encode("latin-1", "backslashreplace")
    return "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02X}" for c in plain)
