"""The records of the file store: `<id>.info`, and `<id>.new`, which will become one.

Who has flock on the file that goes by the name `<id>.new`, and nobody else, may begin an upload by this id or replace
its record. Only a request that has made the upload, and not saved it yet, may do that without: it has flock on the data
file instead.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from ..errors import Damaged, NotFound, TusError
from ..upload import Result, Upload, is_random
from .disk import NEW, OLD, Directory, absent, alone, lock, sync
from .notes import Notes
from .records import OPENING, decoded, encoded

KEPT = ".kept"
_READ = 1 << 16  # a record is smaller than this, nearly always
_MOST = 1 << 24  # bytes; of a larger file we do not want to know


class Infos:
    """Reads records, and replaces them one after the other."""

    def __init__(self, home: Directory, notes: Notes, stats: Callable[[str, int], os.stat_result]) -> None:
        self._home, self._dir, self._notes, self._stat = home, home.fd, notes, stats

    def load(self, id: str) -> Upload:
        with closing(self.hold(id)) as record:
            return record.upload

    def hold(self, id: str) -> FileRecord:
        try:
            fd = os.open(id + ".info", os.O_RDONLY | OLD, dir_fd=self._dir)
        except OSError as error:
            if self._home.gone():
                self._home.renew()
                return self.hold(id)
            reason = absent(error)
            raise reason if isinstance(reason, NotFound) else _unreadable(error) from None
        try:
            return FileRecord(self, fd, self._read(id, fd))
        except _Replaced:
            os.close(fd)
            return self.hold(id)
        except BaseException:
            os.close(fd)
            raise

    def _read(self, id: str, fd: int) -> Upload:
        try:
            text = os.read(fd, _READ)
            upload, ours = decoded(text if len(text) < _READ else text + _rest(fd), id)
            upload = self.placed(upload)
        except FileNotFoundError:
            return self._without_data(upload, fd)
        except (IsADirectoryError, BlockingIOError):
            raise NotFound("no such upload") from None
        except OSError as error:
            raise _unreadable(error) from None
        if not ours and upload.filled:  # tusd finished it, and told its host
            return upload.evolve(complete=True, result=Result())
        return upload

    def _without_data(self, upload: Upload, fd: int) -> Upload:
        """What the record means while there is no data file by its name."""
        if upload.complete and not upload.pending:  # handed over, and moved or removed since
            return upload.evolve(offset=upload.length or 0, touched=os.fstat(fd).st_mtime, dropped=True)
        if upload.pending:
            for name in (upload.id + KEPT, upload.id):  # a host has it, or has just given it back
                with suppress(FileNotFoundError):
                    return self.placed(upload, name)
        if not os.fstat(fd).st_nlink and self._home.exists(upload.id + ".info"):
            raise _Replaced  # between two looks it was finished, handed over and dropped
        if upload.pending:
            raise lost()
        raise NotFound("no such upload")

    def placed(self, upload: Upload, name: str = "") -> Upload:
        """The record with what the data file says."""
        found = self._stat(name or upload.id, self._dir)
        if not stat.S_ISREG(found.st_mode):
            raise NotFound("no such upload")
        size = found.st_size
        if upload.chunks and not upload.complete:  # a sparse file: its size says nothing
            size = upload.chunks.stored(self._notes.marks(upload.id), upload.length)
        if upload.unverified_from is not None:
            size = min(size, upload.unverified_from)
        if self._notes.doubted:
            size = min(size, self._notes.doubted.get(upload.id, size))
        return upload.evolve(offset=size, touched=found.st_mtime)

    def number(self, id: str) -> int:
        """The inode of the record, which is another one each time it is saved."""
        return self._home.number(id + ".info")

    def publish(self, upload: Upload, *, durable: bool) -> None:
        """Save the record of an upload that the caller has just made."""
        id = upload.id
        fd = os.open(id + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OLD, 0o600, dir_fd=self._dir)
        try:
            if not alone(fd):  # another request looks whether there is such an upload
                self.replace(upload, durable=durable)
                return
            _write(fd, upload, durable=durable)
            self._home.rename(id + ".new", id + ".info")
        except FileNotFoundError:
            self.replace(upload, durable=durable)
        finally:
            os.close(fd)
        if durable:
            os.fsync(self._dir)

    def replace(self, upload: Upload, *, durable: bool) -> None:
        """Save the record, whatever it was before."""

        def put(new: int, made: bool) -> bool:
            _write(new, upload, durable=durable, over=not made)
            self._home.rename(upload.id + ".new", upload.id + ".info")
            return True

        self._replace(upload.id, put, durable)

    def change(self, id: str, changed: Callable[[Upload], Upload], *, durable: bool) -> None:
        """Replace the record by what is made of it, while nobody else replaces it."""

        def put(new: int, made: bool) -> bool:
            with closing(self.hold(id)) as record:
                stays = record.lock()  # from here on, `delete` waits
                try:
                    upload = changed(record.upload) if stays else record.upload
                    if upload is not record.upload:
                        _write(new, upload, durable=durable, over=not made)
                        self._home.rename(id + ".new", id + ".info")
                except FileNotFoundError:  # removed by a request that began before
                    return False
                finally:
                    self._remove(id, new)  # if it is still there
                return stays

        self._replace(id, put, durable)

    def _replace(self, id: str, put: Callable[[int, bool], bool], durable: bool) -> None:
        """Have a file put in the place of the record, and tried again if it was in vain; nothing is left of one that
        cannot be."""
        done = False
        while not done:
            new, made = self.locked(id)
            try:
                done = put(new, made)
            except BaseException:
                if made:
                    self._remove(id, new)
                raise
            finally:
                os.close(new)
        if durable:
            os.fsync(self._dir)

    def _remove(self, id: str, new: int) -> None:
        if self._home.leads(id + ".new", new):
            self._home.unlink(id + ".new")

    def locked(self, id: str) -> tuple[int, bool]:
        """The file of the record that will be, while nobody else has it; and whether it is new."""
        while True:
            try:
                fd, made = os.open(id + ".new", os.O_RDWR | NEW, 0o600, dir_fd=self._dir), True
            except FileExistsError:
                try:
                    fd, made = os.open(id + ".new", os.O_RDWR | OLD, dir_fd=self._dir), False
                except FileNotFoundError:
                    continue
            try:
                lock(fd)
                # Another one may have had it before us, and is done with it.
                if not os.lseek(fd, 0, os.SEEK_END) if made else self._home.leads(id + ".new", fd):
                    return fd, made
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    @contextmanager
    def ended(self, id: str) -> Iterator[None]:
        """Make the record one of something unfinished: should we die before the end, `tidy` does the rest. And nobody
        begins another upload by this id before we are done."""
        fd = self._last(id)
        try:
            with suppress(FileNotFoundError):
                self._home.rename(id + ".info", id + ".new")
            yield
        finally:
            if fd >= 0:
                os.close(fd)

    def _last(self, id: str) -> int:
        """The record, and nobody replaces it any more; -1, if there is none, or it is a link."""
        while True:
            try:
                fd = os.open(id + ".info", os.O_RDONLY | OLD, dir_fd=self._dir)
            except OSError:
                return -1
            lock(fd)
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)  # replaced while we waited

    def is_ours(self, id: str) -> bool:
        """Whether `<id>.new` is certainly the beginning of a record of ours: others may use such names, too."""
        opening = f'{OPENING}"{id}"'.encode()
        try:
            with open(os.open(id + ".new", os.O_RDONLY | OLD, dir_fd=self._dir), "rb", buffering=0) as file:
                found = file.read(len(opening)) or b""
        except OSError:
            return False
        # Of a name that only we give, less will do: the process may have died before it wrote anything.
        return found == opening or opening.startswith(found) and (is_random(id) or self._is_known(id))

    def _is_known(self, id: str) -> bool:
        with suppress(TusError):
            return bool(self.load(id))
        return False


def _write(fd: int, upload: Upload, *, durable: bool, over: bool = False) -> None:
    """Write the record, `over` what a crash may have left there."""
    if over:
        os.ftruncate(fd, 0)
    text = memoryview(encoded(upload).encode())
    while text:
        text = text[os.write(fd, text) :]
    if durable:
        sync(fd)


def _rest(fd: int) -> bytes:
    """More of a long record, as far as it is one."""
    return b"".join(iter(lambda: os.read(fd, _READ), b"")) if os.fstat(fd).st_size < _MOST else b""


class _Replaced(Exception):
    """The record that was opened is not the one that goes by this name any more."""


class FileRecord:
    """A record, and the file that it was read from. While that is open, no newer one can have its inode."""

    def __init__(self, infos: Infos, fd: int, upload: Upload) -> None:
        self._infos, self._fd = infos, fd
        self.upload = upload

    def stays(self) -> bool:
        """Whether nobody saved another one since."""
        return os.fstat(self._fd).st_ino == self._infos.number(self.upload.id)

    def lock(self) -> bool:
        """Keep it from being removed until this is closed; return whether it is still the one that counts."""
        lock(self._fd)
        return self.stays()

    def again(self) -> Upload:
        if self.upload.complete or not self.stays():
            return self._infos.load(self.upload.id)
        try:
            return self._infos.placed(self.upload)
        except FileNotFoundError:
            return self._infos.load(self.upload.id)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _unreadable(error: OSError) -> Damaged:
    return Damaged(f"the record of this upload cannot be read: {error.strerror}")


def lost() -> Damaged:
    return Damaged("the upload was complete, but its file is gone, and the application has not accepted it")
