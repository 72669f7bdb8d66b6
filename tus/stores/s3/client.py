"""Signed HTTP requests to one bucket, over connections that are kept open.

Every body carries what proves that it came whole: its SHA-256 is signed where the connection is plain, and its CRC32
goes along where TLS protects it. It is sent as it is, with its length: many engines refuse `aws-chunked`.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import http.client
import os
import random
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from ...checksum import Crc
from ...errors import StoreBroken, StoreFull
from .. import Block
from .gathered import Digest, Gathered
from .signing import EMPTY, UNSIGNED, Credentials, Signer, Signs, query_of

T = TypeVar("T")
ATTEMPTS = 4
_PAUSE = 0.05  # seconds before the second attempt; doubled each time
_CONNECT, _ANSWER = 5.0, 60.0  # seconds
_SIGN = 15.0  # seconds without any sign of the other end, not even of its kernel; then it cannot be reached
_KEPT = 64  # connections
RETRIED = frozenset((500, 502, 503, 504, 429, 408))
_FULL = frozenset(("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "EntityTooLargeForQuota"))
_LATER = 5  # seconds


class Unavailable(StoreBroken):
    """The object storage does not answer, or not well. Nothing is lost, and the same request may do better later."""

    status = 503
    retry_after = _LATER


class Failed(Unavailable):
    """The object storage said no."""

    def __init__(
        self, what: str, status: int, code: str, message: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{what}: {status} {code} {message}".rstrip())
        self.answer, self.code, self.detail, self.said = status, code, message, headers or {}

    @property
    def missing(self) -> bool:
        return self.answer == 404


class S3Reply(NamedTuple):
    """What came back, but for bodies that are read later."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def etag(self) -> str:
        return self.headers.get("etag", "").strip('"')

    def xml(self) -> ElementTree.Element:
        try:
            return ElementTree.fromstring(self.body)
        except ElementTree.ParseError as error:
            raise Unavailable(f"the object storage answers what is no XML: {error}") from None


class Far(Protocol):
    """Bytes that are fetched each time when they are needed, since they are too many to be held."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Block]: ...


class Crc32(Crc):
    """zlib's."""

    def __init__(self) -> None:
        super().__init__(zlib.crc32)

    def copy(self) -> Crc32:
        other = Crc32()
        other._value = self._value
        return other


class Blocks:
    """Blocks that are sent one after the other, and what proves them."""

    def __init__(self, blocks: Sequence[Block | Far]) -> None:
        self._blocks = [block for block in blocks if len(block)]
        self.size = sum(map(len, self._blocks))

    def __iter__(self) -> Iterator[Block]:
        for block in self._blocks:
            if isinstance(block, bytes | bytearray | memoryview):
                yield block
            else:
                yield from block

    def sha256(self) -> str:
        return self.digest(hashlib.sha256).hex()

    def crc32(self) -> str:
        return base64.b64encode(self.digest(Crc32)).decode()

    def digest(self, hashes: Callable[[], Digest]) -> bytes:
        """What proves them; it may be known since they came."""
        one = self._blocks[0] if len(self._blocks) == 1 else None
        if isinstance(one, Gathered) and one.hashes is hashes:
            return one.digest()
        hash = hashes()
        for block in self:
            hash.update(block)
        return hash.digest()


NOTHING = Blocks(())


class S3Client:
    """Requests to one bucket. Any thread may use it; a process that was forked has connections of its own."""

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        credentials: Callable[[], Credentials],
        *,
        region: str = "us-east-1",
        path_style: bool = True,
        ca: str | None = None,
        signer: Signs | None = None,
    ) -> None:
        url = urlsplit(endpoint)
        self.endpoint, self.bucket = endpoint, bucket
        self.secure = url.scheme == "https"
        self.hashes: Callable[[], Digest] = Crc32 if self.secure else hashlib.sha256  # what proves a body
        self._context = ssl.create_default_context(cafile=ca) if self.secure else None
        self.host = url.netloc if path_style else f"{bucket}.{url.netloc}"
        self._base = f"/{bucket}" if path_style else ""
        self.signer: Signs = signer or Signer(credentials, region)
        self._idle: list[http.client.HTTPConnection] = []
        self._lock, self._pid = threading.Lock(), os.getpid()

    def apart(self) -> S3Client:
        """The same, with connections of its own."""
        other = copy.copy(self)
        other._idle, other._lock = [], threading.Lock()
        return other

    def path(self, key: str) -> str:
        path = self._base + (f"/{key}" if key else "")
        return quote(path or "/", safe="/-_.~")

    def ask(
        self,
        method: str,
        key: str = "",
        pairs: Iterable[tuple[str, object]] = (),
        *,
        headers: Mapping[str, str] | None = None,
        body: Blocks = NOTHING,
        attempts: int = ATTEMPTS,
    ) -> S3Reply:
        """The answer; raises Failed, Unavailable or StoreFull. What fails for a while is tried again."""
        how = method, key, query_of(pairs), {**(headers or {}), **self.proof(method, body)}, body
        return self._tried(lambda: self._whole(*self._once(*how)), attempts)

    def stream(self, key: str, *, headers: Mapping[str, str]) -> Incoming:
        """The body of an object, to be read as it comes."""
        how = "GET", key, "", {**headers, **self.proof("GET", NOTHING)}, NOTHING
        return self._tried(lambda: Incoming(self, *self._once(*how)), ATTEMPTS)

    def url(self, key: str, seconds: int, pairs: Iterable[tuple[str, object]] = ()) -> str:
        """Where anybody can read that object for a while."""
        path, scheme = self.path(key), "https" if self.secure else "http"
        return f"{scheme}://{self.host}{path}?{self.signer.presigned('GET', self.host, path, pairs, seconds)}"

    def _whole(self, response: http.client.HTTPResponse, connection: http.client.HTTPConnection) -> S3Reply:
        """The answer, with its body."""
        try:
            data = response.read()
        except BaseException:
            connection.close()
            raise
        self._keep(connection, response)
        return S3Reply(response.status, _lowered(response), data)

    def _tried(self, call: Callable[[], T], attempts: int) -> T:
        pause = _PAUSE
        while True:
            attempts -= 1
            try:
                return call()
            except Failed as error:
                if error.answer not in RETRIED or not attempts:
                    raise
            except (OSError, http.client.HTTPException) as error:
                if not attempts:
                    raise Unavailable(f"the object storage at {self.endpoint} cannot be reached: {error!r}") from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause *= 2

    def proof(self, method: str, body: Blocks) -> dict[str, str]:
        """The headers that say how long the body is, and what it is; by "", what the signature says of it."""
        if not body.size:
            return {"": EMPTY} | ({"content-length": "0"} if method in ("PUT", "POST") else {})
        sized = {"content-length": str(body.size)}
        if self.secure:
            return {"": UNSIGNED, "x-amz-checksum-crc32": body.crc32(), **sized}
        return {"": body.sha256(), **sized}

    def _once(
        self, method: str, key: str, query: str, headers: dict[str, str], body: Blocks
    ) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        path, payload, headers = self.path(key), headers[""], {n: v for n, v in headers.items() if n}
        signed = self.signer.headers(method, path, query, {**headers, "host": self.host}, payload)
        response, connection = self._sent(method, f"{path}?{query}" if query else path, signed, body)
        if response.status >= 300:
            raise self._failure(method, key, response, connection)
        return response, connection

    def _sent(
        self, method: str, target: str, headers: dict[str, str], body: Blocks
    ) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        """A kept connection may have been closed by the other side just now; then a new one is used, at once."""
        while True:
            connection = self._idle_one()
            used = connection is not None
            connection = connection or self._connection()
            try:
                connection.request(method, target, body=iter(body) if body.size else None, headers=headers)
                return connection.getresponse(), connection
            except BaseException as error:
                _give_up(connection)
                if not used or not isinstance(error, OSError | http.client.HTTPException):
                    raise
                if isinstance(error, TimeoutError):  # the engine hangs, and would on each of them
                    self.close()
                    raise

    def _failure(
        self, method: str, key: str, response: http.client.HTTPResponse, connection: http.client.HTTPConnection
    ) -> StoreBroken | StoreFull:
        data = response.read()
        if method in ("GET", "HEAD", "DELETE"):
            self._keep(connection, response)
        else:  # it may have said so before it read the body
            connection.close()
        code, message = _explained(data)
        what = f"the object storage refuses {method} {key or self.bucket}"
        if code in _FULL or response.status == 507:
            return StoreFull(f"{what}: {code or response.status}")
        return Failed(what, response.status, code, message, _lowered(response))

    # Connections

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._context:
            connection = http.client.HTTPSConnection(self.host, timeout=_CONNECT, context=self._context)
        else:
            connection = http.client.HTTPConnection(self.host, timeout=_CONNECT)
        connection.connect()
        connection.sock.settimeout(_ANSWER)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_SIGN * 1000))
        return connection

    def _idle_one(self) -> http.client.HTTPConnection | None:
        with self._lock:
            if self._pid != os.getpid():
                self._idle, self._pid = [], os.getpid()
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        if response.will_close or not response.isclosed():
            connection.close()
            return
        with self._lock:
            if self._pid == os.getpid() and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __del__(self) -> None:
        self.close()


class Incoming:
    """The body of an answer."""

    def __init__(
        self, client: S3Client, response: http.client.HTTPResponse, connection: http.client.HTTPConnection
    ) -> None:
        self._client, self._response, self._connection = client, response, connection

    def read(self, size: int) -> bytes:
        try:
            return self._response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the object storage broke off: {error!r}") from error

    def close(self) -> None:
        self._client._keep(self._connection, self._response)
        self._response.close()


def _give_up(connection: http.client.HTTPConnection) -> None:
    """Close it, so that nothing which is still on its way arrives later."""
    if connection.sock:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _lowered(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _explained(data: bytes) -> tuple[str, str]:
    """Code and message of an error, if there is one."""
    try:
        found = ElementTree.fromstring(data)
    except ElementTree.ParseError:
        return "", ""
    return found.findtext("{*}Code") or found.findtext("Code") or "", found.findtext("Message") or ""
