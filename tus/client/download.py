"""The download of one file, which goes on where it was cut, and is compared with what the server says of it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from ..checksum import ALGORITHMS, Hash
from ..errors import InvalidDigest
from ..http.digests import given
from .failures import AlreadyThere, TransferError, TransferRefused, TryAgain, UploadGone, WrongDigest
from .link import Link
from .remembered import Remembered, fetching, holding
from .transfer import Pace, judge
from .wire import BLOCK, Answer, endpoint, located

_PART = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", re.ASCII)
_END = re.compile(r"bytes \*/([0-9]{1,18})", re.ASCII)
_ELSEWHERE = (301, 302, 303, 307, 308)
_HOPS = 5


@dataclass(frozen=True)
class Fetched:
    """A file that is here."""

    path: str  # empty for one that was written into an open file
    size: int  # bytes
    resumed_at: int  # bytes that were here before
    verified: str  # the algorithm of the digest that was right; empty if the server sent none


def fetch(
    link: Link,
    url: str,
    to: str | os.PathLike[str] | BinaryIO,
    *,
    replace: bool | None,
    pace: Pace,
    show: Callable[[int, int | None], None],
    memory: Remembered | None,
) -> Fetched:
    """Fetch it."""
    url = endpoint(url)[0]
    if isinstance(to, (str, os.PathLike)):
        if os.path.exists(to) and not (os.path.isfile(to) or os.path.isdir(to)):  # a device or a pipe stays what it is
            with open(to, "wb") as out:
                return _Download(link, url, show, out).run(pace)
        return _Whole(link, url, show, os.fspath(to), memory=memory, replace=replace).run(pace)
    return _Download(link, url, show, to).run(pace)


class _Download:
    """Into an open file, in which it cannot go back."""

    def __init__(self, link: Link, url: str, show: Callable[[int, int | None], None], out: Any = None) -> None:
        self._link, self._url, self._show = link, url, show
        self._out = out
        self._tag = ""
        self._written = 0
        self._size: int | None = None
        self._resumed_at = 0
        self._hashes: list[tuple[str, Hash, str]] = []  # algorithm, what was computed, what it should be

    def run(self, pace: Pace) -> Fetched:
        """Fetch it to the end."""
        try:
            pace.persist(self._attempt, lambda: self._written)
        except UploadGone as error:
            raise TransferRefused(str(error), 404) from None
        return Fetched("", self._written, self._resumed_at, self._verify())

    def _attempt(self) -> None:
        headers = {"Want-Repr-Digest": "sha-256=10, sha-512=5", "Accept-Encoding": "identity"}
        if self._written:
            headers |= {"Range": f"bytes={self._written}-", "If-Range": self._tag}
        answer = self._follow(headers)
        if answer.status == 416 and (end := _END.fullmatch(answer.header("Content-Range"))):
            if int(end[1]) == self._written:
                return
            self._begin_again()
            raise TryAgain("the file has another size now")
        judge(answer, f"fetching {self._url}")
        if self._size is not None and self._written < self._size:
            raise TryAgain(f"the connection to {urlsplit(self._url).netloc} was cut")

    def _follow(self, headers: dict[str, str]) -> Answer:
        """The answer of the server, or of the storage that it names; which gets no credentials of ours."""
        url = self._url
        for _ in range(_HOPS):
            answer = self._link.request("GET", url, headers, receive=self._receive)
            if answer.status not in _ELSEWHERE or not answer.header("Location"):
                break
            try:
                url = located(url, answer.header("Location"))
            except ValueError as error:
                raise TransferError(f"the server leads to nowhere: {error}") from None
        return answer

    def _receive(self, answer: Answer, blocks: Iterator[bytes]) -> None:
        if answer.status not in (200, 206):
            raise TransferError(f"there is no file at {self._url}: the server answers {answer.status}")
        part = _PART.fullmatch(answer.header("Content-Range")) if answer.status == 206 else None
        if answer.status == 206 and not (part and int(part[1]) == self._written and self._is_same(answer)):
            if not self._written:
                raise TransferError("the server answers with a part that was not asked for")
            self._begin_again()
            raise TryAgain("the server answers with another part than was asked for")
        if answer.status == 200 and self._written:
            self._begin_again()
        if not self._written:
            self._begin(answer)
        self._size = int(part[2]) if part else answer.natural("Content-Length")
        self._show(self._written, self._size)
        for block in blocks:
            self._out.write(block)
            self._count(block)
            self._show(self._written, self._size)

    def _is_same(self, answer: Answer) -> bool:
        """Whether it is a part of the file that was begun: some servers do not look at If-Range."""
        return answer.header("ETag") in ("", self._tag) or not self._tag

    def _begin(self, answer: Answer) -> None:
        """What the first answer says of the file."""
        tag = answer.header("ETag")
        self._tag = tag if tag.startswith('"') else ""  # a weak one does not promise the same bytes
        self._hashes = _hashes(answer.header("Repr-Digest")) or _hashes(answer.header("Content-Digest"))

    def _begin_again(self) -> None:
        raise TransferError("the file changed on the server, and what was written cannot be taken back")

    def _count(self, block: bytes) -> None:
        self._written += len(block)
        for _, hash, _ in self._hashes:
            hash.update(block)

    def _verify(self) -> str:
        for name, hash, digest in self._hashes:
            if hash.digest().hex() != digest:
                raise WrongDigest(f"what arrived has another {name} digest than the server says")
        return ", ".join(name for name, _, _ in self._hashes)


class _Whole(_Download):
    """To a path. What is incomplete lies beside it, and what the server said of it is remembered."""

    def __init__(
        self,
        link: Link,
        url: str,
        show: Callable[[int, int | None], None],
        to: str,
        *,
        memory: Remembered | None,
        replace: bool | None,
    ) -> None:
        super().__init__(link, url, show)
        self._to, self._memory, self._key = to, memory, fetching(url, to)
        self._path = "" if os.path.isdir(to) else to
        self._replace = bool(self._path) if replace is None else replace
        self._part = ""
        self._said = ""  # digests, as the first answer had them

    def run(self, pace: Pace) -> Fetched:
        self._check_free()
        self._find()
        self._check_free()
        try:
            found = super().run(pace)
            self._check_free()
        except WrongDigest:
            self._close()
            os.unlink(self._part)
            raise
        finally:
            self._close()
        os.replace(self._part, self._path)
        if self._memory:
            self._memory.forget(self._key)
            self._memory.forget(holding(self._part))
        return Fetched(self._path, found.size, found.resumed_at, found.verified)

    def _check_free(self) -> None:
        """Nothing is where the file goes, or it may be replaced."""
        if self._path and not self._replace and os.path.lexists(self._path):
            raise AlreadyThere(self._path)

    def _find(self) -> None:
        """What an earlier call has left."""
        kept = (self._memory.get(self._key) or "").split("\n") if self._memory else []
        if not self._memory or len(kept) != 3 or self._memory.get(holding(kept[0] + ".part")) != self._key:
            return
        with contextlib.suppress(FileNotFoundError):
            self._out = open(kept[0] + ".part", "r+b")  # noqa: SIM115
            self._path, self._part, self._tag = kept[0], kept[0] + ".part", kept[1]
            self._hashes = _hashes(kept[2])
            while block := self._out.read(BLOCK):
                self._count(block)
            self._resumed_at = self._written

    def _begin(self, answer: Answer) -> None:
        super()._begin(answer)
        if not self._path:
            self._path = os.path.join(self._to, _name(answer, self._url))
            self._check_free()
        if self._out is None:
            self._part = self._path + ".part"
            if self._memory and os.path.lexists(self._part) and not self._memory.get(holding(self._part)):
                raise TransferError(f"{self._part} is there already, and not of an earlier download")
            self._out = open(self._part, "wb")  # noqa: SIM115
        if self._memory:
            self._memory.keep(holding(self._part), self._key)  # that of another URL may have been there
        if self._memory and self._tag:
            said = answer.header("Repr-Digest")
            self._memory.keep(self._key, "\n".join((self._path, self._tag, said)))

    def _begin_again(self) -> None:
        self._out.seek(0)
        self._out.truncate()
        self._written = self._resumed_at = 0

    def _attempt(self) -> None:
        if self._written and not self._tag:
            self._begin_again()
        super()._attempt()

    def _close(self) -> None:
        if self._out is not None:
            self._out.close()


def _hashes(said: str) -> list[tuple[str, Hash, str]]:
    """Of each digest: the algorithm, what is computed, what it should be."""
    try:
        return [(name, ALGORITHMS[name][1](), digest) for name, digest in given("Repr-Digest", said)]
    except InvalidDigest:
        return []


def _name(answer: Answer, url: str) -> str:
    """A name for the file that leads nowhere else."""
    said = None
    with contextlib.suppress(ValueError):  # of a character set whose name is none
        said = answer.headers.get_filename()
    said = said or unquote(urlsplit(url).path.rpartition("/")[2])
    plain = "".join(c if c.isprintable() else "_" for c in said.replace("\\", "/").rpartition("/")[2])
    return plain.lstrip(".") or "download"
