"""A connection to a server, in time or with one sentence that says why there is none; standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import SplitResult

from .proxies import Proxy, ProxyFailed

# What getaddrinfo tells of an address: its family, kind, protocol, canonical name, and itself.
_Address = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


class NetworkError(Exception):
    """The other side cannot be reached or went away; `hopeless` when trying again cannot help."""

    def __init__(self, sentence: str, *, hopeless: bool = False) -> None:
        super().__init__(sentence)
        self.hopeless = hopeless


@dataclass
class Clock:
    """How long one wait may take, and when everything must be over."""

    timeout: float = 60.0  # seconds without any movement
    deadline: float = float("inf")  # time.monotonic()

    def patience(self) -> float:
        left = min(self.timeout, self.deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError
        return left


class Dial:
    """What a connection waits for before it is there, so that another thread can end that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._end: Callable[[], object] | None = None

    @contextlib.contextmanager
    def waiting(self, end: Callable[[], object]) -> Iterator[None]:
        """A wait that `end` makes short; nothing is begun when it was stopped before."""
        with self._lock:
            if self._stopped:
                raise _STOPPED
            self._end = end
        try:
            yield
        finally:
            with self._lock:
                self._end = None

    def stop(self) -> None:
        """For good."""
        with self._lock:
            self._stopped = True
            if self._end:
                self._end()


_STOPPED = ConnectionAbortedError("stopped")


def _shut(sock: socket.socket) -> Callable[[], None]:
    def shut() -> None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    return shut


def _resolve(host: str, port: int, patience: float, dial: Dial) -> Sequence[_Address]:
    """getaddrinfo with an end: the system's resolver may take minutes."""
    found: queue.SimpleQueue[Sequence[_Address] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        with dial.waiting(lambda: found.put(_STOPPED)):
            result = found.get(timeout=patience)
    except queue.Empty:
        raise socket.gaierror(socket.EAI_AGAIN, "the name servers do not answer") from None
    if isinstance(result, Exception):
        raise result
    return result


class WrongCertificate(OSError):
    """The server has another certificate than the one that is trusted."""


@dataclass(frozen=True)
class Trust:
    """Which servers are believed: those of the usual authorities, or those that the user names."""

    cafile: str = ""  # the only authorities, as a file in PEM format
    insecure: bool = False
    fingerprint: str = ""  # SHA-256 of the only certificate, whatever it says of itself

    @cached_property
    def context(self) -> ssl.SSLContext:
        return self.new_context()

    def new_context(self) -> ssl.SSLContext:
        """One that the caller may change."""
        context = ssl.create_default_context(cafile=self.cafile or None)
        if self.insecure or self.fingerprint:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def secured(self, sock: socket.socket, host: str, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """TLS on this connection, before anything was sent."""
        secured = (context or self.context).wrap_socket(sock, server_hostname=host)
        # The handshake has shown that the server has the key.
        found = hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
        if self.fingerprint and found != self.fingerprint:
            secured.close()
            raise WrongCertificate(found)
        return secured


def connect(
    url: SplitResult, clock: Clock, trust: Trust, *, proxy: Proxy | None = None, dial: Dial | None = None
) -> socket.socket:
    """A connection to the server, or to the proxy that stands before it."""
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    dial = dial or Dial()
    sock = _dialled(host, port, clock, dial) if proxy is None else _dial_proxy(proxy, clock, dial)
    try:
        if url.scheme != "https":
            return sock
        # A socket of its own, since TLS takes over the other one.
        with contextlib.closing(sock.dup()) as twin, dial.waiting(_shut(twin)):
            if proxy:
                proxy.tunnel(sock, host, port)
            return trust.secured(sock, host)
    except BaseException:
        sock.close()
        raise


def _dialled(host: str, port: int, clock: Clock, dial: Dial) -> socket.socket:
    failure: OSError = TimeoutError()
    for family, kind, protocol, _, address in _resolve(host, port, clock.patience(), dial):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(clock.patience())
            with dial.waiting(_shut(sock)):
                sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def _dial_proxy(proxy: Proxy, clock: Clock, dial: Dial) -> socket.socket:
    try:
        return _dialled(proxy.url.hostname or "", proxy.url.port or 80, clock, dial)
    except (OSError, UnicodeError) as error:
        clear = proxy.url._replace(netloc=proxy.url.netloc.rpartition("@")[2])
        known = explain(error, clear, clock)
        raise ProxyFailed(f"the proxy cannot be reached: {known}", hopeless=known.hopeless) from error


def explain(error: Exception, url: SplitResult, clock: Clock) -> NetworkError:
    """The error as one sentence for a person."""
    where = url.netloc
    if isinstance(error, ProxyFailed):
        return NetworkError(str(error), hopeless=error.hopeless)
    if isinstance(error, socket.gaierror):
        unknown = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
        return NetworkError(f"the host name {url.hostname} cannot be resolved: {error.strerror}", hopeless=unknown)
    if isinstance(error, UnicodeError):
        return NetworkError(f"{url.hostname} is not a host name", hopeless=True)
    if isinstance(error, WrongCertificate):
        text = f"{where} has another certificate than --fingerprint names: {error}"
        return NetworkError(text, hopeless=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"the TLS certificate of {where} is not accepted: {error.verify_message} (--cacert, --insecure)"
        return NetworkError(text, hopeless=True)
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        hopeless = not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        return NetworkError(f"TLS with {where} fails ({reason}); is it really https there?", hopeless=hopeless)
    if isinstance(error, TimeoutError):
        return NetworkError(f"{where} does not answer in time ({clock.timeout:g} s)")
    if isinstance(error, ConnectionRefusedError):
        return NetworkError(f"{where} refuses connections")
    if isinstance(error, (ConnectionError, http.client.IncompleteRead)):
        return NetworkError(f"the connection to {where} was cut")
    if isinstance(error, http.client.HTTPException):
        return NetworkError(f"what {where} answers is not HTTP")
    return NetworkError(f"{where}: {getattr(error, 'strerror', None) or error}")
