"""The client that applications import and that the command line uses: put and get, which go on where they were cut."""

from __future__ import annotations

import contextlib
import mimetypes
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from . import download, parts, wire
from .brake import Brake
from .connecting import Clock, Trust
from .download import Fetched
from .failures import FileChanged, Stopped, TransferError, Unreachable, Unwanted, UploadGone
from .link import Link
from .pacing import Rate
from .proxies import netrc_login
from .remembered import Remembered, fingerprint, home
from .sources import BlockStream, ByteSource, File, InMemory, Readable, Stream
from .transfer import Pace, Transfer, metadata_header

CHECKED_CHUNK = 16 << 20  # bytes; a checksum makes a cut request worth nothing, so requests are kept small

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Readable | Iterable[bytes]
OnProgress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Uploaded:
    """An upload that the server has."""

    url: str
    size: int  # bytes
    resumed_at: int  # bytes that the server had before
    seconds: float


def _nobody(text: str) -> None:
    """Nobody listens."""


def _unseen(offset: int, length: int | None) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Order:
    """What is asked of one upload."""

    metadata: Mapping[str, bytes]
    headers: Mapping[str, str]
    checksum: str | None
    parallel: int
    show: OnProgress
    say: Callable[[str], None]
    brake: Brake
    key: str = ""  # under which its URL is remembered; empty: not at all


class Client:
    """Sends files to one tus server, and fetches them; several threads may use it at once.

    It takes proxies from the environment, and a login from ~/.netrc if none is given.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        login: str = "",
        cafile: str = "",
        insecure: bool = False,
        fingerprint: str = "",
        timeout: float = 60.0,
        retries: int = 6,
        chunk_size: int | None = None,
        limit_rate: int | None = None,
        state: str | os.PathLike[str] | None = None,
    ) -> None:
        """`url` is where uploads are created; `login` is `name:password`; `timeout` is the longest silence in seconds,
        `retries` how many attempts without progress are made; `chunk_size` is in bytes a request, `limit_rate` in bytes
        a second; in the directory `state` it remembers what is unfinished (default: that of the user)."""
        self.url, self.headers = authorised(url, headers or {}, login)
        if fingerprint and not self.url.startswith("https:"):
            raise ValueError("a fingerprint needs a URL that begins with https://")
        self._trust = Trust(cafile, insecure, fingerprint)
        self._timeout, self._retries = timeout, retries
        self._rate = Rate(limit_rate) if limit_rate else None
        self._memory = Remembered(Path(state) if state else home(os.environ))
        self._down = False  # it could not be reached: the next file does not wait for it again
        self._fixed, self._idle = chunk_size is not None, list[Link]()
        self._limit = f"limit {'://'.join(urlsplit(self.url)[:2])}"
        self._chunk = chunk_size or int(self._memory.get(self._limit) or 0) or None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that wait for another request."""
        while self._idle:
            self._idle.pop().close()

    def put(
        self,
        source: Source,
        *,
        name: str = "",
        metadata: Mapping[str, str | bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        checksum: str | None = None,
        parallel: int = 1,
        resume: bool = True,
        progress: OnProgress | None = None,
        say: Callable[[str], None] | None = None,
        brake: Brake | None = None,
    ) -> Uploaded:
        """Upload a file, bytes, or a stream; `TransferError` says why it cannot be done.

        `source` is a path, bytes, a file, or anything that gives blocks of bytes. A file that lies at a path is resumed
        if an earlier call did not finish; a file object is sent from where it stands. `headers` go with the creation,
        `progress` is called with the bytes sent and the size or None, `say` with sentences for a person; `parallel`
        sends a file as so many parts, if the server can put them together."""
        began = time.monotonic()
        with _opened(source) as (content, path):
            key = fingerprint(path, self.url) if path and resume and content.length else ""
            described = _described(name or path, metadata or {})
            order = Order(
                described, headers or {}, checksum, parallel, progress or _unseen, say or _nobody, brake or Brake(), key
            )
            url, resumed_at = self._deliver(content, order)
        return Uploaded(url, content.length or 0, resumed_at, time.monotonic() - began)

    def get(
        self,
        url: str,
        to: str | os.PathLike[str] | BinaryIO,
        *,
        resume: bool = True,
        replace: bool | None = None,
        progress: OnProgress | None = None,
        say: Callable[[str], None] | None = None,
        brake: Brake | None = None,
    ) -> Fetched:
        """Fetch a file to a path, into a directory under the name that the server says, or into an open file.

        A path is written when everything is there; until then it lies beside it as `….part`, where the next call goes
        on if the server still has the same file. A digest that the server sends is checked. With `replace`, a file that
        is there is replaced; without, `AlreadyThere` says so; if you say nothing, only a path that you named is."""
        brake = brake or Brake()
        pace = Pace(self._retries, say=say or _nobody, sleep=brake.rest)
        memory = self._memory if resume else None
        with self._lent(brake) as link:
            try:
                return download.fetch(
                    link, url, to, replace=replace, pace=pace, show=progress or _unseen, memory=memory
                )
            except Unreachable:
                if brake.pulled:
                    raise Stopped("stopped") from None
                raise

    @contextlib.contextmanager
    def _lent(self, brake: Brake) -> Iterator[Link]:
        link = self._idle.pop() if self._idle else self.link()
        try:
            with brake.on(link):
                yield link
        finally:
            # A link is whole whatever happened, but one that was stopped.
            link.close() if brake.pulled else self._idle.append(link)

    def link(self) -> Link:
        """A way of its own to the server, with the login and the certificates of this client."""
        return Link(self.url, self.headers, Clock(self._timeout or 60), self._trust, self._rate)

    def _deliver(self, content: ByteSource, order: Order) -> tuple[str, int]:
        try:
            url, resumed_at = self._send(content, order)
        except EOFError as error:
            raise FileChanged(str(error)) from None
        except Unreachable:
            if order.brake.pulled:
                raise Stopped("stopped") from None
            self._down = True
            raise
        if isinstance(content, File) and content.changed:
            failure = FileChanged("it changed while it was being sent: what arrived may be a mixture")
            failure.url, failure.offset = url, content.length or 0
            raise failure
        return url, resumed_at

    def _send(self, content: ByteSource, order: Order) -> tuple[str, int]:
        """The URL, and how many bytes the server had before."""
        if order.parallel > 1 and isinstance(content, File) and content.length:
            with self._lent(order.brake) as link:
                if self._pace(order).persist(lambda: parts.takes_parts(link)):
                    return self._send_parts(link, content, order)
            order.say("the server cannot put parts together; sending one after the other")
        with self._lent(order.brake) as link:
            transfer = self._transfer(link, content, order)
            try:
                return transfer.run(), transfer.resumed_at
            except TransferError as error:
                error.url, error.offset = transfer.url, transfer.offset
                raise

    def _send_parts(self, link: Link, file: File, order: Order) -> tuple[str, int]:
        bounds, resumed = parts.ranges(file.length or 0, order.parallel), []
        shown = parts.Sum(file.length or 0, order.show)
        keys = [f"{order.key}:{n}/{len(bounds)}" if order.key else "" for n in range(len(bounds))]
        name = self._memory.creation(keys[0], "whole") if order.key else str(uuid.uuid4())
        said = {"Upload-Concat": "partial", **parts.whole_header(name, [length for _, length in bounds])}

        def send(n: int) -> str:
            each = replace(order, metadata={}, headers=said, show=shown.of(n), key=keys[n])
            with self._lent(order.brake) as own:
                transfer = self._transfer(own, file.part(*bounds[n]), each)
                transfer.forget = lambda: None  # until all of them are there
                url = transfer.run()
                resumed.append(transfer.resumed_at)
                return url

        try:
            urls = parts.at_once([partial(send, n) for n in range(len(bounds))], order.brake)
            url = self._pace(order).persist(lambda: parts.whole_of(link, urls, order.metadata, order.headers))
        except (Unwanted, UploadGone) as error:
            self._forget(keys)
            raise error if isinstance(error, Unwanted) else TransferError(str(error)) from None
        self._forget(keys)
        return url, sum(resumed)

    def _forget(self, keys: list[str]) -> None:
        for key in filter(None, keys):
            self._memory.forget(key)

    def _pace(self, order: Order) -> Pace:
        return Pace(lambda: 0 if self._down else self._retries, say=order.say, sleep=order.brake.rest)

    def _transfer(self, link: Link, content: ByteSource, order: Order) -> Transfer:
        def show(offset: int, length: int | None) -> None:
            self._down = False  # it has answered
            order.show(offset, length)

        transfer = Transfer(
            link, content, order.metadata, self._pace(order), show, order.say, order.headers,
            chunk=self._chunk or (CHECKED_CHUNK if order.checksum else None), fixed=self._fixed,
            checksum=order.checksum, learned=self._learn,
        )  # fmt: skip
        if order.key:
            transfer.url = self._memory.get(order.key)
            if not transfer.url:
                transfer.key = self._memory.creation(order.key, metadata_header(order.metadata))
            transfer.remember = partial(self._remember, order)
            transfer.forget = lambda: self._memory.forget(order.key)
        return transfer

    def _remember(self, order: Order, url: str) -> None:
        if not self._memory.keep(order.key, url):
            order.say(f"{self._memory.file} cannot be written: if this is cut, it cannot be resumed later")

    def _learn(self, chunk: int) -> None:
        """A larger request is too large there: neither this client nor the next one tries again."""
        self._chunk = chunk
        self._memory.keep(self._limit, str(chunk))


def authorised(url: str, headers: Mapping[str, str], login: str) -> tuple[str, dict[str, str]]:
    """The URL for the wire, and the headers with the login: of a header, the URL, the caller, or ~/.netrc."""
    given = {name.lower() for name in headers}
    if "authorization" not in given and not login and "@" not in urlsplit(url).netloc:
        login = netrc_login(urlsplit(url).hostname or "")
    address, own = wire.endpoint(url, login)
    return address, dict(headers) if "authorization" in given else {**own, **headers}


@contextlib.contextmanager
def _opened(source: Any) -> Iterator[tuple[ByteSource, str]]:
    """Where bytes come from, and the path where they lie, if they do."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield InMemory(source), ""
    elif isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            yield (File(file), os.fspath(source)) if regular else (Stream(file), "")
    elif not hasattr(source, "read"):
        yield Stream(BlockStream(source)), ""
    elif _is_regular(source):
        yield File(source, source.tell()), ""
    else:
        yield Stream(source), ""


def _is_regular(file: Any) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError):
        return False


def _described(name: str, metadata: Mapping[str, str | bytes]) -> dict[str, bytes]:
    """The usual two keys, unless the caller says otherwise."""
    found = {}
    if name:
        found["filename"] = os.fsencode(os.path.basename(name))
        kind, encoding = mimetypes.guess_type(name)
        if kind and not encoding:
            found["filetype"] = kind.encode()
    given = {key: os.fsencode(value) if isinstance(value, str) else value for key, value in metadata.items()}
    return {**found, **given}
