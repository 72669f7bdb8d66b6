"""Leases for the processes of one machine, through one small file an upload.

`<id>.lease` holds a number and the address of the owner. Taking the lease raises the number; a turn holds flock on the
file and writes only while the number is still the one it took. So a dead connection can neither block the next request
nor write after it. A claim is flock held for longer, on the same file.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import Interrupted, Locked

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_NUMBER = 12  # digits; a number is raised once a request
_RECORD = 64  # bytes: the number, a space, the owner's address, blanks
_MOMENT = 0.05  # seconds; longer than a turn, shorter than a hand-over
_PATIENCE = 5.0  # seconds to wait for another's turn; a turn is one write


class FileLocker:
    """Keeps its files beside those of the store."""

    def __init__(self, directory: str, *, patience: float = _PATIENCE) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._dir = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._patience = patience

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self._dir)

    def lease(self, id: str) -> FileLease:
        fd = self._locked(id, self._patience)
        try:
            number, owner = _read(fd)
            number += 1
            _write(fd, number, _ear.address())
        except BaseException:
            os.close(fd)
            raise
        fcntl.flock(fd, fcntl.LOCK_UN)
        if owner:
            _ear.tell(owner, id, number)
        return FileLease(self._dir, fd, id, number)

    def _locked(self, id: str, patience: float) -> int:
        """The lease file, opened and locked, and certainly the one that goes by this name."""
        while True:
            fd = os.open(id + ".lease", _FLAGS | os.O_CREAT, 0o600, dir_fd=self._dir)
            try:
                if not _lock(fd, patience):
                    raise Locked("the upload is busy")
                if os.fstat(fd).st_nlink:
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # removed while we waited

    def writing(self, id: str) -> bool:
        try:
            fd = os.open(id + ".lease", _FLAGS, dir_fd=self._dir)
        except OSError:
            return False
        try:
            return bool(_read(fd)[1])
        finally:
            os.close(fd)

    @contextmanager
    def mutex(self, id: str) -> Iterator[None]:
        fd = self._locked(id, self._patience)
        try:
            yield
        finally:
            os.close(fd)

    def claim(self, id: str) -> FileClaim:
        return FileClaim(self._dir, id, self._locked(id, _MOMENT))


class FileLease:
    """Ours until the number in the file changes."""

    def __init__(self, dir_fd: int, fd: int, id: str, number: int) -> None:
        self._dir, self._fd, self._id, self._number = dir_fd, fd, id, number
        self._mark = b"%0*d" % (_NUMBER, number)

    def turn(self) -> FileLease:
        return self

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        if os.pread(self._fd, _NUMBER, 0) != self._mark:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            raise Interrupted("a newer request took over this upload")

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def on_lost(self, end: Callable[[], None]) -> None:
        _ear.listen(self._id, self._number, end)
        if os.pread(self._fd, _NUMBER, 0) != self._mark:
            end()

    def release(self, *, forget: bool = False) -> None:
        if self._fd < 0:
            return
        _ear.forget(self._id, self._number)
        fd, self._fd = self._fd, -1
        try:
            # Not worth waiting for: whoever holds it for longer is newer than we are, or hands the upload over.
            if _lock(fd, _MOMENT) and os.pread(fd, _NUMBER, 0) == self._mark:
                if forget:
                    _unlink(self._dir, self._id)
                else:
                    _write(fd, self._number, "")
        finally:
            os.close(fd)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            self.release()


class FileClaim:
    """Holds flock; the kernel lets go of it when the process dies."""

    def __init__(self, dir_fd: int, id: str, fd: int) -> None:
        self._dir, self._id, self._fd = dir_fd, id, fd

    def release(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            _unlink(self._dir, self._id)
            os.close(fd)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            self.release()


def _lock(fd: int, patience: float) -> bool:
    deadline = None
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            now = time.monotonic()
            deadline = deadline or now + patience
            if now >= deadline:
                return False
            time.sleep(0.001)


def _read(fd: int) -> tuple[int, str]:
    number, _, owner = os.pread(fd, _RECORD, 0).decode("ascii", "replace").partition(" ")
    return int(number) if number.isdigit() else 0, owner.strip()


def _write(fd: int, number: int, owner: str) -> None:
    os.pwrite(fd, b"%0*d %-*s" % (_NUMBER, number, _RECORD - _NUMBER - 1, owner.encode()), 0)


def _unlink(dir_fd: int, id: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(id + ".lease", dir_fd=dir_fd)


class Ear:
    """Where this process is told that it lost a lease, so that it need not find out at its next write.

    A datagram socket in Linux's abstract name space; elsewhere processes are not told, and fencing alone holds.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._guard = threading.Lock()
        self._address = ""
        self._socket: socket.socket | None = None
        self._ends: dict[tuple[str, int], Callable[[], None]] = {}

    def address(self) -> str:
        """Our own, opened at the first lease; a process that never writes needs none."""
        if not self._address:
            with self._guard:
                if not self._address:
                    self._open()
        return self._address

    def _open(self) -> None:
        address = f"tus-{os.getpid()}-{secrets.token_hex(8)}"
        with suppress(OSError):
            ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ear.bind("\0" + address)
            self._socket = ear
            threading.Thread(target=self._hear, args=(ear,), name="tus-leases", daemon=True).start()
        self._address = address

    def _hear(self, ear: socket.socket) -> None:
        while True:
            id, _, number = ear.recv(256).decode("ascii", "replace").partition(" ")
            if number.isdigit():
                self._end(id, int(number))

    def listen(self, id: str, number: int, end: Callable[[], None]) -> None:
        with self._guard:
            self._ends[id, number] = end

    def forget(self, id: str, number: int) -> None:
        with self._guard:
            self._ends.pop((id, number), None)

    def tell(self, owner: str, id: str, newest: int) -> None:
        """Whoever holds an older lease than `newest` has lost it."""
        if owner == self._address:
            self._end(id, newest)
        elif self._socket:
            with suppress(OSError):  # dead, or too busy to listen: it finds out at its next turn
                self._socket.sendto(f"{id} {newest}".encode(), socket.MSG_DONTWAIT, "\0" + owner)

    def _end(self, id: str, newest: int) -> None:
        with self._guard:
            lost = [key for key in self._ends if key[0] == id and key[1] < newest]
            ends = [self._ends.pop(key) for key in lost]
        for end in ends:
            end()


_ear = Ear()
