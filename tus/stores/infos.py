"""The records of the file store: `<id>.info`, and `<id>.new`, which will become one.

Who has flock on the file that goes by the name `<id>.info`, and nobody else, may change this record; a request that
makes the upload has it until the record is saved. A record is written where it is in two cases: when it is new, with a
zero in place of its first character until the rest is there; and when only the one digit changes that says how far the
upload came. Neither can be seen, or left by a crash, half done. Every other change is a new file, `<id>.new`, that
takes the place of the old one. A record that begins with a zero, or is empty, is no upload's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from ..errors import Damaged, NotFound, StoreBroken, StoreFull, TusError
from ..upload import Result, Upload, is_random
from .disk import NEW, OLD, Directory, absent, alone, lock, release, sync, write_back
from .notes import Notes
from .records import OPENING, STATE, STATES, decoded, encoded, state_of
from .wholes import boot

KEPT = ".kept"
_END = b',"complete":0}}'  # of a record, whatever the digit is
_READ = 1 << 16  # a record is smaller than this, nearly always
_MOST = 1 << 24  # bytes; of a larger file we do not want to know


class Making(NotFound):
    """There will be an upload."""


class Infos:
    """Reads records, and changes them one after the other."""

    def __init__(self, home: Directory, notes: Notes, stats: Callable[[str, int], os.stat_result]) -> None:
        self._home, self._dir, self._notes, self._stat = home, home.fd, notes, stats

    # Reading

    def load(self, id: str) -> Upload:
        return self.read(id, self.text(id))

    def hold(self, id: str) -> FileRecord:
        text = self.text(id)
        return FileRecord(self, text, self.read(id, text))

    def text(self, id: str) -> bytes:
        """What the record says; a name without one, or with the beginning of one, is no upload's."""
        try:
            fd = os.open(id + ".info", os.O_RDONLY | OLD, dir_fd=self._dir)
        except OSError as error:
            if self._home.gone():
                self._home.renew()
                return self.text(id)
            reason = absent(error)
            raise reason if isinstance(reason, NotFound) else _unreadable(error) from None
        try:
            text = _text(fd)
        except OSError as error:
            if error.errno in (errno.EISDIR, errno.ESPIPE):
                raise NotFound("no such upload") from None
            raise _unreadable(error) from None
        finally:
            os.close(fd)
        if not text or not text[0]:  # it was only begun
            raise NotFound("no such upload")
        return text

    def read(self, id: str, text: bytes) -> Upload:
        """The upload with this record."""
        upload, ours = decoded(text, id)
        try:
            upload = self.placed(upload)
        except FileNotFoundError:
            return self._without_data(upload, text)
        except OSError as error:
            raise _unreadable(error) from None
        if not ours and upload.filled:  # tusd finished it, and told its host
            return upload.evolve(complete=True, result=Result())
        return upload

    def _without_data(self, upload: Upload, text: bytes) -> Upload:
        """What the record means while there is no data file by its name."""
        if upload.complete and not upload.pending:  # handed over, and moved or removed since
            touched = self._home.touched(upload.id + ".info")
            return upload.evolve(offset=upload.length or 0, touched=touched, dropped=True)
        if upload.pending:
            for name in (upload.id + KEPT, upload.id):  # a host has it, or has just given it back
                with suppress(FileNotFoundError):
                    return self.placed(upload, name)
        newer = self.text(upload.id)
        if newer != text:  # between two looks it was finished, handed over and dropped
            return self.read(upload.id, newer)
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
        if upload.place and upload.place.boot != boot() and not upload.complete:
            size = min(size, self._notes.certain(upload.id))
        if self._notes.doubted:
            size = min(size, self._notes.doubted.get(upload.id, size))
        return upload.evolve(offset=size, touched=found.st_mtime)

    # Beginning

    def begin(self, id: str) -> tuple[int, bool]:
        """The record of an upload that will be, opened and locked; and whether a crash had left it. While it is open,
        nobody else takes it for that."""
        while True:
            try:
                fd = os.open(id + ".info", os.O_RDWR | NEW, 0o600, dir_fd=self._dir)
            except FileExistsError:
                with suppress(FileNotFoundError):
                    return self._left(id), True
                continue
            try:
                if is_random(id):  # only we have files by such a name, so its beginning need not say so
                    taken = not alone(fd)
                else:
                    lock(fd)
                    taken = False
                if taken or os.lseek(fd, 0, os.SEEK_END):  # somebody was quicker
                    raise FileExistsError(id)
                if not is_random(id):
                    os.write(fd, _begun(id))
            except BaseException:
                release(fd)
                raise
            return fd, False

    def _left(self, id: str) -> int:
        """The record that a crash left half made, locked; raises FileExistsError if it is any other."""
        try:
            fd = os.open(id + ".info", os.O_RDWR | OLD, dir_fd=self._dir)
        except FileNotFoundError:
            raise
        except OSError:
            raise FileExistsError(id) from None
        try:
            if alone(fd) and self._home.leads(id + ".info", fd) and _is_ours(_text(fd), id):
                os.ftruncate(fd, len(_opening(id)))
                return fd
            raise FileExistsError(id)
        except OSError:
            release(fd)
            raise FileExistsError(id) from None

    def forget(self, fd: int) -> None:
        """Make the record, which is locked, the beginning of one: there is no upload any more. Should we die before its
        files are gone, `tidy` does the rest."""
        with suppress(OSError):  # on a full disk, removing is what helps
            os.pwrite(fd, b"\0", 0)

    # Changing

    def publish(self, upload: Upload, fd: int, *, durable: bool, first: Callable[[], None] | None = None) -> None:
        """Save the record of an upload that the caller has just made, and whose record it has locked; with something to
        do `first`, before the upload exists."""
        self._put(fd, upload, b"", durable=durable, first=first)

    def replace(self, upload: Upload, *, durable: bool) -> None:
        """Save the record, whatever it was before."""
        try:
            fd, old = self.locked(upload.id)
        except NotFound:
            fd, old = self.begin(upload.id)[0], b""
        try:
            self._put(fd, upload, old, durable=durable)
        finally:
            release(fd)

    def change(self, id: str, changed: Callable[[Upload], Upload], *, durable: bool) -> None:
        """Replace the record by what is made of it, while nobody else replaces it."""
        fd, old = self.locked(id)
        try:
            if _is_begun(old):
                raise NotFound("no such upload")
            now = self.read(id, old)
            upload = changed(now)
            if upload is not now:
                self._put(fd, upload, old, durable=durable)
        finally:
            release(fd)

    def advance(self, upload: Upload, *, durable: bool) -> None:
        """Save a record of which the digit is all that has changed."""
        fd, old = self.locked(upload.id)
        try:
            if old[-len(_END) :].translate(None, STATES) == _END.translate(None, STATES):
                self._turn(fd, len(old) + STATE, old[STATE : STATE + 1], b"%d" % state_of(upload), durable=durable)
            else:  # an earlier version wrote it
                self._put(fd, upload, old, durable=durable)
        finally:
            release(fd)

    def locked(self, id: str) -> tuple[int, bytes]:
        """The record, opened and locked, and its text. Raises NotFound if there is none, and Making if somebody makes
        an upload by this name in this moment."""
        while True:
            try:
                fd = os.open(id + ".info", os.O_RDWR | OLD, dir_fd=self._dir)
            except OSError as error:
                raise absent(error) from None
            try:
                if not alone(fd):
                    if _is_begun(_text(fd)):
                        raise Making("no such upload")
                    lock(fd)
                if self._home.leads(id + ".info", fd):
                    return fd, _text(fd)
            except BaseException:
                release(fd)
                raise
            release(fd)  # replaced while we waited

    def write_back(self, id: str) -> None:
        """Begin to write the record before the data is synced: so one transaction of a journal has the places of both,
        and the sync of the record, which follows, finds nothing left but its one byte."""
        with suppress(OSError):
            fd = os.open(id + ".info", os.O_RDONLY | OLD, dir_fd=self._dir)
            try:
                write_back(fd, 0, _READ)
            finally:
                os.close(fd)

    def _put(
        self, fd: int, upload: Upload, old: bytes, *, durable: bool, first: Callable[[], None] | None = None
    ) -> None:
        """Write the record, which is locked, and was `old`."""
        new = encoded(upload).encode()
        if _is_begun(old):
            if len(old) > len(new):
                os.ftruncate(fd, len(new))
            _write(fd, new[1:], 1)
            if first:
                self._do_first(first, fd, upload.id, durable)
            self._turn(fd, 0, b"\0", new[:1], durable=durable)
        elif len(new) == len(old) and new[:STATE] == old[:STATE] and new[STATE + 1 :] == old[STATE + 1 :]:
            self._turn(fd, len(new) + STATE, old[STATE : STATE + 1], new[STATE : STATE + 1], durable=durable)
            if upload.dropped and not durable:
                # The data will be removed next, and the disk should not hear of that first.
                write_back(fd, 0, len(new))
        else:
            self._replace(upload.id, new, durable=durable)

    def _do_first(self, first: Callable[[], None], fd: int, id: str, durable: bool) -> None:
        if durable:
            write_back(fd, 0, _READ)  # as in `write_back`
        try:
            first()
        except BaseException:
            os.ftruncate(fd, len(_opening(id)))  # there may be another record yet, and a shorter one
            raise

    def _turn(self, fd: int, at: int, old: bytes, new: bytes, *, durable: bool) -> None:
        """Change one byte, which makes all the difference."""
        if durable:
            self._home.sync()
        try:
            os.pwrite(fd, new, at)
            if durable:
                sync(fd)
        except (OSError, StoreFull, StoreBroken):
            with suppress(OSError):  # nobody may be told what is not on the disk
                os.pwrite(fd, old, at)
            raise

    def _replace(self, id: str, text: bytes, *, durable: bool) -> None:
        """Let a new file take the place of the record."""
        try:
            new = os.open(id + ".new", os.O_WRONLY | NEW, 0o600, dir_fd=self._dir)
        except FileExistsError:  # a crash left it; to empty a file that is empty makes some disks write it at once
            new = os.open(id + ".new", os.O_WRONLY | os.O_TRUNC | OLD, dir_fd=self._dir)
        try:
            _write(new, text, 0)
            if durable:
                sync(new)
            self._home.rename(id + ".new", id + ".info")
        except BaseException:
            self._home.unlink(id + ".new")
            raise
        finally:
            os.close(new)
        if durable:
            os.fsync(self._dir)

    # Looking through

    def ids(self, *, begun: bool = False) -> Iterator[str]:
        """Every upload that has a record; or all that was begun, and is no upload."""
        for id in self._home.named(".info"):
            if self._is_begun(id) is begun:
                yield id

    def _is_begun(self, id: str) -> bool:
        try:
            with open(os.open(id + ".info", os.O_RDONLY | OLD, dir_fd=self._dir), "rb", buffering=0) as file:
                return _is_begun(file.read(1) or b"")
        except OSError:
            return False

    def left(self, id: str) -> int:
        """The record of what a crash left half made, locked; or -1, if it is none."""
        try:
            return self._left(id)
        except (FileNotFoundError, FileExistsError):
            return -1

    def is_ours(self, id: str) -> bool:
        """Whether `<id>.new` is certainly the beginning of a record of ours: others may use such names, too."""
        try:
            with open(os.open(id + ".new", os.O_RDONLY | OLD, dir_fd=self._dir), "rb", buffering=0) as file:
                found = file.read(len(_opening(id))) or b""
        except OSError:
            return False
        # Of a name that only we give, less will do: the process may have died before it wrote anything.
        return found == _opening(id) or _opening(id).startswith(found) and (is_random(id) or self._is_known(id))

    def _is_known(self, id: str) -> bool:
        with suppress(TusError):
            return bool(self.load(id))
        return False


def _opening(id: str) -> bytes:
    """How a record of ours begins."""
    return f'{OPENING}"{id}"'.encode()


def _begun(id: str) -> bytes:
    """The same, while the rest is not there."""
    return b"\0" + _opening(id)[1:]


def _is_begun(text: bytes) -> bool:
    """Whether this is not a record yet, or no more."""
    return not text or not text[0]


def _is_ours(text: bytes, id: str) -> bool:
    """Whether what was begun is certainly ours: others may use such names, too."""
    return _is_begun(text) and (is_random(id) or text.startswith(_begun(id)))


def _text(fd: int) -> bytes:
    text = os.pread(fd, _READ, 0)
    if len(text) < _READ or os.fstat(fd).st_size > _MOST:
        return text
    while more := os.pread(fd, _READ, len(text)):
        text += more
    return text


def _write(fd: int, text: bytes, start: int) -> None:
    while text:
        written = os.pwrite(fd, text, start)
        text, start = text[written:], start + written


class FileRecord:
    """A record as it was read."""

    def __init__(self, infos: Infos, text: bytes, upload: Upload) -> None:
        self._infos, self._text = infos, text
        self.upload = upload

    def again(self) -> Upload:
        text = self._infos.text(self.upload.id)
        if text == self._text and not self.upload.complete:
            with suppress(FileNotFoundError):
                return self._infos.placed(self.upload)
        return self._infos.read(self.upload.id, text)

    def close(self) -> None:
        """Nothing is held."""


def _unreadable(error: OSError) -> Damaged:
    return Damaged(f"the record of this upload cannot be read: {error.strerror}")


def lost() -> Damaged:
    return Damaged("the upload was complete, but its file is gone, and the application has not accepted it")
