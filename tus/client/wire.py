"""HTTP/1.1 as a client that watches its socket; standard library only.

It sees an answer that arrives while a body is still being sent, waits for a limited time only, and reports every
network problem as a `NetworkError` that says in one sentence what happened. urllib3 and httpx look for an answer only
when the body is sent: a server that refuses 1 GiB at once and reads no more is heard after its time-out. urllib3 takes
a 104 for the final answer.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import os
import re
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from email.message import Message
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from .connecting import Clock, Dial, NetworkError, Trust, connect, explain
from .pacing import Rate
from .proxies import proxy_for

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 20  # bytes a system call may move; more gains nothing
TLS_BLOCK = 1 << 14  # OpenSSL sends one record of 16 KiB a call, whatever it is given
BODY_LIMIT = 64 << 10  # bytes kept of an answer's body; it is only ever shown to a person
HEAD_LIMIT = 64 << 10  # bytes of interim answers (1xx) before we call them nonsense
VERSION = "1.0.0"

INTERIM = re.compile(rb"HTTP/1\.[01] (1\d\d)[^\n]*\n(?:[^\r\n]+\r?\n)*\r?\n")
INTERIM_START = re.compile(rb"HTTP/1\.[01] 1")
NATURAL = re.compile(r"[0-9]{1,18}")  # int() alone would take "+5", "1_0" and digits of other scripts


@dataclass(frozen=True)
class Answer:
    """One final response, with the interim ones that came before it."""

    status: int
    reason: str
    headers: Message
    body: bytes = b""
    interim: tuple[int, ...] = ()
    early: bool = False  # it came before the whole body was sent

    def header(self, name: str) -> str:
        """The header's value, "" when it is missing; several lines are joined as HTTP says."""
        return ", ".join(self.headers.get_all(name, [])).strip()

    def natural(self, name: str) -> int | None:
        """The header as a natural number, or None when it is missing or is none."""
        value = self.header(name)
        return int(value) if NATURAL.fullmatch(value) else None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def __str__(self) -> str:
        text = printable(self.body.decode("utf-8", "replace").strip().partition("\n")[0][:200])
        status = f"{self.status} {printable(self.reason)}".strip()
        return f"{status}: {text}" if text and not text.startswith("<") else status


# Takes the body of an answer with success as it comes, after its headers.
Receiver = Callable[[Answer, Iterator[bytes]], None]


class Payload(Protocol):
    """What a request carries."""

    length: int

    def push(self, sock: socket.socket, sent: int, most: int) -> int:
        """Give the socket at most `most` of what follows the first `sent` bytes; how many it took."""


class Bytes:
    """A body that is in memory."""

    def __init__(self, data: bytes | bytearray | memoryview = b"") -> None:
        self.data = memoryview(data)
        self.length = len(self.data)

    def push(self, sock: socket.socket, sent: int, most: int) -> int:
        return sock.send(self.data[sent : sent + most])


class FileRange:
    """A body that is a part of a file, and never gets into memory as a whole."""

    def __init__(self, fd: int, start: int, length: int) -> None:
        self.fd = fd
        self.start = start
        self.length = length

    def push(self, sock: socket.socket, sent: int, most: int) -> int:
        room = min(self.length - sent, most)
        if isinstance(sock, ssl.SSLSocket):
            data = os.pread(self.fd, min(room, TLS_BLOCK), self.start + sent)
            taken = sock.send(data) if data else 0
        else:
            taken = os.sendfile(sock.fileno(), self.fd, self.start + sent, room)
        if not taken:
            raise EOFError("the file became shorter while it was being sent")
        return taken


def printable(text: str) -> str:
    """`text` without characters that could steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def endpoint(text: str, login: str = "") -> tuple[str, dict[str, str]]:
    """A user's URL made ready for the wire, and the header that a `user:password@` in it asks for, or else `login`."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is not a URL that begins with http:// or https://")
    _ = parts.port  # refuses a port that is no number
    headers = {}
    pair = login
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    if pair:
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    netloc = parts.netloc.rpartition("@")[2].encode("idna").decode("ascii")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return urlunsplit((parts.scheme, netloc, path, query, "")), headers


def located(came_by: str, location: str) -> str:
    """The URL that a `Location` names, absolute; ValueError when it cannot be one of an upload."""
    url, _ = endpoint(urljoin(came_by, location))
    asked, given = urlsplit(came_by), urlsplit(url)
    # A server that does not know of the TLS in front of it says http://. Following it would send the file in
    # the clear, so we stay with the address that is known to work.
    if (asked.scheme, given.scheme) == ("https", "http") and asked.hostname == given.hostname:
        return given._replace(scheme="https", netloc=asked.netloc).geturl()
    return url


def same_host(one: str, other: str) -> bool:
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def ready(sock: socket.socket, seconds: float, *, write: bool = False) -> tuple[bool, bool]:
    """Whether the socket can be read, and written if that is wanted, once one of them is so or the time is over."""
    # select() takes no file beyond the 1024th, and a server that sends files may have more.
    with getattr(selectors, "PollSelector", selectors.SelectSelector)() as selector:
        selector.register(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0))
        events = sum(mask for _, mask in selector.select(seconds))
    return bool(events & selectors.EVENT_READ), bool(events & selectors.EVENT_WRITE)


def header_line(text: str) -> tuple[str, str]:
    """`Name: value` from the command line as a pair."""
    name, colon, value = text.partition(":")
    if not (colon and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name.strip())):
        raise ValueError(f"{text!r} is not a header such as 'Authorization: Bearer abc'")
    if re.search(r"[\r\n\0]", value):
        raise ValueError(f"the value of {name.strip()} must be one line")
    return name.strip(), value.strip()


class _Source(io.RawIOBase):
    """What http.client takes for a socket: it reads what a connection has received, then waits for more."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._connection.read_pending(memoryview(buffer))


def _shown(response: http.client.HTTPResponse) -> bytes:
    """An error page that never ends, or breaks off, must not hide the status."""
    with contextlib.suppress(OSError, http.client.HTTPException, NetworkError):
        return response.read(BODY_LIMIT)
    return b""


class Connection:
    """One connection; `request` does everything, `begin`, `send` and `answer` are its steps."""

    def __init__(
        self, url: str, clock: Clock, *, trust: Trust | None = None, rate: Rate | None = None, dial: Dial | None = None
    ) -> None:
        self._url = urlsplit(url)
        self._clock = clock
        self._rate = rate
        self._pending = bytearray()  # arrived, not yet parsed
        self._ended = False  # the other side sends no more
        self._unsent = False  # a body was left unfinished: nothing can follow it
        self._interim: list[int] = []
        try:
            self._proxy = proxy_for(self._url)
            self._sock = connect(self._url, clock, trust or Trust(), proxy=self._proxy, dial=dial)
        except (OSError, UnicodeError) as error:
            raise explain(error, self._url, clock) from error
        self._sock.setblocking(False)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: Payload | None = None,
        progress: Callable[[int], None] | None = None,
        receive: Receiver | None = None,
    ) -> Answer:
        """Send one request and return its answer, which may come before the body is all sent."""
        if body is not None:
            headers = {**headers, "Content-Length": str(body.length)}
        self.begin(method, url, headers)
        self.send(body or Bytes(), progress=progress)
        return self.answer(method, receive)

    def begin(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        """Send the head of a request."""
        parts = urlsplit(url)
        # A proxy that sees the request, and not only the TLS around it, wants to know where it goes.
        origin = parts[:2] if self._proxy and parts.scheme == "http" else ("", "")
        target = urlunsplit((*origin, parts.path or "/", parts.query, ""))
        if origin[1] and self._proxy:
            headers = {**headers, **self._proxy.headers}
        lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._interim = []
        self.send(Bytes("\r\n".join([*lines, "", ""]).encode("utf-8")))

    def send(self, body: Payload, *, progress: Callable[[int], None] | None = None) -> None:
        """Send the body, and stop at once when the final answer comes meanwhile."""
        sent = 0
        most = self._rate.block if self._rate else BLOCK
        while sent < body.length and not self._final():
            readable, writable = self._wait(write=True)
            if readable and self._take() and self._ended:
                break
            if self._final() or not writable:
                continue
            try:
                sent += (taken := body.push(self._sock, sent, most))
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                continue
            except OSError:
                # Closed to us, but the reason may still lie in the receive queue: `answer` looks.
                break
            if progress:
                progress(sent)
            if self._rate:
                self._rate.spend(taken)
        self._unsent = self._unsent or sent < body.length

    def interim(self, seconds: float) -> int | None:
        """The first interim or final status that comes within `seconds`, or None."""
        end = time.monotonic() + seconds
        while not self._final() and not self._interim and not self._ended:
            if (left := end - time.monotonic()) <= 0:
                return None
            if self._readable(left):
                self._take()
        if self._interim:
            return self._interim[0]
        return int(self._pending[9:12]) if self._pending[9:12].isdigit() else None

    def answer(self, method: str, receive: Receiver | None = None) -> Answer:
        """Wait for the final answer; the body of one with success goes to `receive`, if there is one."""
        early = self._unsent
        try:
            while not self._final():
                if self._ended:
                    raise ConnectionResetError
                self._wait()
                self._take()
            # http.client asks its socket for no more than makefile().
            response = http.client.HTTPResponse(_Source(self), method=method)  # type: ignore[arg-type]
            response.begin()
        except (OSError, http.client.HTTPException) as error:
            raise explain(error, self._url, self._clock) from error
        answer = Answer(response.status, response.reason, response.headers, interim=tuple(self._interim), early=early)
        if receive and answer.ok:
            receive(answer, self._blocks(response))  # what fails there, as a full disk, is not the network's
        else:
            answer = replace(answer, body=_shown(response))
        self._unsent = self._unsent or response.will_close or not response.isclosed()
        response.close()
        return answer

    def _blocks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while block := response.read(BODY_LIMIT):
                yield block
        except (OSError, http.client.HTTPException) as error:
            raise explain(error, self._url, self._clock) from error

    @property
    def reusable(self) -> bool:
        """Whether another request can follow on this connection."""
        return not (self._unsent or self._ended or self._pending or self._readable(0))

    def abort(self) -> None:
        """End the connection while another thread uses it."""
        # That of SSLSocket takes TLS away first, and what the other thread sends then would go in the clear.
        socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self._sock.close()

    def read_pending(self, buffer: memoryview) -> int:
        while not self._pending and not self._ended:
            self._wait()
            self._take()
        taken = min(len(buffer), len(self._pending))
        buffer[:taken] = self._pending[:taken]
        del self._pending[:taken]
        return taken

    def _final(self) -> bool:
        """Whether a final answer has begun; interim ones are counted and dropped."""
        while match := INTERIM.match(self._pending):
            self._interim.append(int(match[1]))
            del self._pending[: match.end()]
        if len(self._pending) < len("HTTP/1.1 200"):
            return bool(self._pending) and self._ended
        return not INTERIM_START.match(self._pending) or len(self._pending) > HEAD_LIMIT

    def _readable(self, seconds: float) -> bool:
        # Decrypted bytes inside OpenSSL are invisible to select.
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        return ready(self._sock, seconds)[0]

    def _wait(self, *, write: bool = False) -> tuple[bool, bool]:
        """Wait until the socket can be read (or written), while the clock allows."""
        try:
            patience = self._clock.patience()
            if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
                return True, False
            readable, writable = ready(self._sock, patience, write=write)
            if not readable and not writable:
                raise TimeoutError
        except TimeoutError as error:
            raise explain(error, self._url, self._clock) from error
        return readable, writable

    def _take(self) -> bool:
        """Move what has arrived to `_pending`; False when there was nothing (TLS has messages of its own)."""
        try:
            data = self._sock.recv(1 << 16)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            data = b""
        self._pending += data
        self._ended = not data
        return True
