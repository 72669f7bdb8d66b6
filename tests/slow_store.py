"""A store for tests that is nothing like a disk: an object store, where bytes wait in memory until a part is full.

What is not committed is lost at a crash, and a new `SlowStore` in the same directory is the process after it. Every
third part fails once; calls take a while; and a request whose token is older than the newest one changes nothing.

The objects are files, `<id>.<start>.<token>`, put in their place at once; what counts is the unbroken row of them from
the beginning. Whatever a server of objects does in one step is done under flock on one file, so that any number of
processes may share the directory.
"""

from __future__ import annotations

import fcntl
import io
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from tus.errors import Changed, Interrupted, NotFound, OffsetMismatch, StoreBroken
from tus.stores import Block, Draft, Fence
from tus.stores.disk import alone
from tus.stores.records import decoded, encoded, same
from tus.upload import Upload

PART = 5 << 20  # bytes that wait in memory until they are put
FAILING = 3  # every so many parts, one fails
ATTEMPTS = 3


class SlowStore:
    """`late`: seconds that a call takes. `stubborn`: a part that failed is not tried again."""

    def __init__(
        self, home: Path | str, *, part: int = PART, late: float = 1e-3, stubborn: bool = False, clock: Any = time.time
    ) -> None:
        self._home = Path(home)
        self._home.mkdir(parents=True, exist_ok=True)
        self.part, self._late, self._stubborn, self._clock, self._puts = part, late, stubborn, clock, 0
        self.took: Callable[[str, int], object] = lambda id, taken: None  # hears of each draft and block

    @contextmanager
    def _served(self) -> Iterator[None]:
        """One call: it takes its time, and then happens at once."""
        time.sleep(self._late)
        with open(self._home / ".server", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _touch(self, id: str) -> None:
        now = self._clock()
        os.utime(self._path(id, "base"), (now, now))

    def _path(self, id: str, *suffixes: object) -> Path:
        return self._home / ".".join(map(str, (id, *suffixes)))

    def _find(self, id: str) -> None:
        if not self._path(id, "base").exists():
            raise NotFound("no such upload")

    def _write(self, path: Path, data: bytes) -> None:
        new = self._home / f".{secrets.token_hex(8)}"
        new.write_bytes(data)
        new.rename(path)

    def _objects(self, id: str) -> list[tuple[int, int, Path]]:
        """Start and token of each, the first ones first, and of those with the same start the newest one first."""
        found = []
        for path in self._home.glob(f"{id}.*.*"):
            _, start, token = path.name.split(".")
            found.append((int(start), int(token), path))
        return sorted(found, key=lambda one: (one[0], -one[1]))

    def _row(self, id: str) -> list[tuple[int, Path]]:
        """The objects that count, and where each ends."""
        row, end = [], 0
        for start, _, path in self._objects(id):
            if start == end:
                end += path.stat().st_size
                row.append((end, path))
        return row

    def _end(self, id: str) -> int:
        return max((end for end, _ in self._row(id)), default=0)

    def _admit(self, id: str, token: int) -> None:
        """Refuse a request that is not the newest; 0 is one beside which there can be no other."""
        path = self._path(id, "token")
        newest = int(path.read_text()) if path.exists() else 0
        if token and token < newest:
            raise Interrupted("a newer request took over this upload")
        if token > newest:
            self._write(path, b"%d" % token)

    def put(self, id: str, token: int, start: int, data: bytes) -> None:
        """One part; tried again, if it fails."""
        for _ in range(1 if self._stubborn else ATTEMPTS):
            with self._served():
                self._admit(id, token)
                self._puts += 1
                if self._puts % FAILING:
                    self._find(id)
                    self._write(self._path(id, start, token), data)
                    self._touch(id)
                    return
        raise StoreBroken("a part was not taken")

    def cut(self, id: str, token: int, size: int) -> None:
        """Forget what lies behind that."""
        with self._served():
            self._admit(id, token)
            self._cut(id, token, size)

    def _cut(self, id: str, token: int, size: int) -> None:
        for start, _, path in reversed(self._objects(id)):
            if start >= size:
                path.unlink()
        row = self._row(id)
        if row and row[-1][0] > size:  # the last one goes on behind it
            path = row[-1][1]
            start = int(path.name.split(".")[1])
            rest = path.read_bytes()[: size - start]
            path.unlink()
            self._write(self._path(id, start, token), rest)
            self._touch(id)

    def create(self, upload: Upload, *, fence: Fence) -> SlowDraft:
        id = upload.id
        with self._served():
            if self._path(id, "record").exists():
                raise FileExistsError(id)
            making = self._path(id, "base").open("ab")
            if not alone(making.fileno()):
                making.close()
                raise FileExistsError(id)
            self._cut(id, 0, 0)
            self._path(id, "token").unlink(missing_ok=True)
            self._admit(id, fence.token)
            self._touch(id)
        draft = SlowDraft(self, id, 0, fence)
        draft.making = making
        return draft

    def load(self, id: str, *, durable: bool = False) -> Upload:
        with self._served():
            return self._load(id)

    def _load(self, id: str) -> Upload:
        try:
            upload, _ = decoded(self._path(id, "record").read_bytes(), id)
        except FileNotFoundError:
            raise NotFound("no such upload") from None
        try:
            touched = self._path(id, "base").stat().st_mtime
        except FileNotFoundError:
            gone = self._path(id, "record").stat().st_mtime
            return upload.evolve(offset=upload.length or 0, touched=gone, dropped=True)
        return upload.evolve(offset=self._end(id), touched=touched)

    def save(self, upload: Upload, *, since: Upload | None = None, durable: bool = False) -> None:
        with self._served():
            self._save(upload, since)

    def _save(self, upload: Upload, since: Upload | None) -> None:
        if since is not None and not same(self._load(upload.id), since):
            raise Changed("the record was changed meanwhile")
        self._write(self._path(upload.id, "record"), encoded(upload).encode())

    def append(
        self, id: str, offset: int, *, fence: Fence, exact: bool = False, known: Upload | None = None
    ) -> SlowDraft:
        with self._served():
            self._find(id)
            self._admit(id, fence.token)
            end = self._end(id)
            if offset > end:
                raise OffsetMismatch(f"the upload has {end} bytes, not {offset}", offset=end)
            if known and known.offset != end:  # until we showed our token, an older request could still commit
                raise Changed("another request added to the upload meanwhile")
            self._cut(id, fence.token, offset)
        self.took(id, offset)
        return SlowDraft(self, id, offset, fence, exact=exact)

    def finish(
        self, upload: Upload, draft: Draft | None = None, *, since: Upload | None = None, durable: bool = False
    ) -> None:
        if draft:
            draft.commit(durable=durable)
        with self._served():
            self._admit(upload.id, getattr(draft, "token", 0))  # also if nothing was left to put
            self._save(upload, since)

    def open(self, id: str, start: int = 0) -> BinaryIO:
        with self._served():
            self._find(id)
            file = io.BytesIO(b"".join(path.read_bytes() for _, path in self._row(id)))
        file.seek(start)
        return file

    def secret(self) -> bytes:
        path = self._home / ".secret"
        with self._served():
            if not path.exists():
                self._write(path, secrets.token_bytes(32))
            return path.read_bytes()

    def drop(self, id: str) -> None:
        with self._served():
            self._drop(id)

    def _drop(self, id: str) -> None:
        self._path(id, "base").unlink(missing_ok=True)
        for _, _, path in self._objects(id):
            path.unlink()

    def delete(self, id: str) -> None:
        with self._served():
            for suffix in ("record", "token"):
                self._path(id, suffix).unlink(missing_ok=True)
            self._drop(id)

    def ids(self) -> Iterator[str]:
        with self._served():
            return iter([path.name.removesuffix(".record") for path in self._home.glob("*.record")])

    def tidy(self, before: float) -> None:
        for base in self._home.glob("*.base"):
            id = base.name.removesuffix(".base")
            with base.open("ab") as file:
                if not self._path(id, "record").exists() and base.stat().st_mtime < before and alone(file.fileno()):
                    self.delete(id)


class SlowDraft:
    """Bytes that wait until there are enough of them for a part. The first part of an `exact` draft waits for the
    commit, and the others lie behind a gap until then."""

    making: BinaryIO | None = None  # open until the draft of a new upload is closed

    def __init__(self, store: SlowStore, id: str, start: int, fence: Fence, *, exact: bool = False) -> None:
        self._store, self._id, self._fence, self._exact = store, id, fence, exact
        self.token = fence.token
        self.taken = self._committed = start
        self._first: bytes | None = None  # the first part of an exact draft
        self._waiting = bytearray()

    def write(self, block: Block) -> None:
        with self._fence.turn():
            self._waiting += block
            self.taken += len(block)
            while len(self._waiting) >= self._store.part:
                self._put(self._store.part)
        self._store.took(self._id, self.taken)

    def _put(self, size: int) -> None:
        part, start = bytes(self._waiting[:size]), self.taken - len(self._waiting)
        if self._exact and start == self._committed:
            self._first = part
        else:
            self._send(start, part)
        del self._waiting[:size]

    def _send(self, start: int, part: bytes) -> None:
        try:
            self._store.put(self._id, self._fence.token, start, part)
        except StoreBroken as error:
            self._forget()
            error.offset = self._committed
            raise

    def _forget(self) -> None:
        self._waiting.clear()
        self._first, self.taken = None, self._committed
        with suppress(Interrupted):  # who took over has done it
            self._store.cut(self._id, self._fence.token, self._committed)

    def commit(self, *, durable: bool = False) -> int:
        if self.taken > self._committed:
            with self._fence.turn():
                if self._waiting:
                    self._put(len(self._waiting))
                if self._first is not None:
                    self._send(self._committed, self._first)
            self._first, self._committed = None, self.taken
        return self.taken

    def abort(self) -> None:
        with self._fence.turn():
            self._forget()

    def close(self) -> None:
        self._waiting.clear()
        if self.making:
            self.making.close()
