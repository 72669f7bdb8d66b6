"""Uploads as files: `<id>` holds the bytes and `<id>.info` the record, in the layout of tusd.

The offset is the size of the data file and nothing else, so no crash can separate the two. Files are opened relative to
a directory descriptor and never through a symbolic link. An upload that comes in numbered chunks is a sparse file; one
byte a chunk in `<id>.chunks`, written after the chunk, says which are there. Of another upload this file says, where
that was promised, how many bytes are on the disk.

`<id>.new` is a record that will become `<id>.info`; one that stays names what a crash left half made.

The host may take away a file whose path it was given before it says whether it wants it: ZODB does. Meanwhile the data
has a second name, `<id>.kept`, which the host does not know.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from math import inf
from typing import BinaryIO

from ..errors import NO_LINKS, Damaged, NotFound, StoreBroken, StoreFull, TusError
from ..upload import Result, Upload, checked_id, is_random
from . import filesystems
from .places import NEW, OLD, FilePlace, alone, explained, link, sync
from .records import OPENING, decoded, encoded

log = logging.getLogger("tus")

_SECRET = ".secret"  # no id begins with a dot
_SECRET_SIZE = 32  # bytes
_READ = 1 << 16  # a record is smaller than this, nearly always
_MOST = 1 << 24  # bytes; of a larger file we do not want to know
_KEPT = ".kept"
_DATA = ("", ".chunks", _KEPT)
_MARKS = (1 << 20) + 1  # bytes; no upload has that many chunks
_DIGITS = 20  # of a number of bytes

_NEVER = -inf  # when a file was touched that does not exist


class FileStore:
    """A directory, and nothing in it that is not ours is touched."""

    def __init__(self, directory: str, *, file_mode: int = 0o600, directory_mode: int = 0o700) -> None:
        self.directory = os.path.abspath(directory)
        self._file_mode, self._directory_mode = file_mode, directory_mode
        self._make()
        self._dir = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._secret = b""
        type = filesystems.kind(self.directory)
        filesystems.warn(self.directory, type)
        self._stat = filesystems.stats(type)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # At the end of a process, modules and what they imported may be gone already.
        try:  # noqa: SIM105
            close(self._dir)
        except (AttributeError, OSError):
            pass

    def reserve(self, id: str) -> FilePlace:
        # The name of something unfinished comes first: whatever happens then, it tells whose the data file is. Only
        # saving the record makes the upload exist.
        try:
            try:
                self._begin(id)
            except FileNotFoundError:
                self._renew()
                self._begin(id)
            try:
                if self._exists(id + ".info"):
                    raise FileExistsError(id)
                fd = os.open(id, os.O_WRONLY | NEW, 0o600, dir_fd=self._dir)
                if self._file_mode != 0o600:
                    os.fchmod(fd, self._file_mode)
                alone(fd)  # while it is open, no sweep takes it for what a crash left
                return FilePlace(fd, 0)
            except OSError:
                self._unlink(id + ".new")
                raise
        except OSError as error:
            raise explained(error) from None

    def _make(self) -> None:
        if not os.path.isdir(self.directory):
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            os.chmod(self.directory, self._directory_mode)

    def _renew(self) -> None:
        """The directory was removed while we run; all that hold its descriptor get the new one."""
        self._make()
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.dup2(fd, self._dir, inheritable=False)
        os.close(fd)

    def _begin(self, id: str) -> None:
        fd = os.open(id + ".new", os.O_WRONLY | NEW, 0o600, dir_fd=self._dir)
        try:
            if not is_random(id):  # others may have files by such a name
                os.write(fd, f'{OPENING}"{id}"'.encode())
        except OSError:
            self._unlink(id + ".new")
            raise
        finally:
            os.close(fd)

    def load(self, id: str) -> Upload:
        with closing(self.hold(id)) as record:
            return record.upload

    def hold(self, id: str) -> FileRecord:
        try:
            fd = os.open(id + ".info", os.O_RDONLY | OLD, dir_fd=self._dir)
        except OSError as error:
            if not os.fstat(self._dir).st_nlink:
                self._renew()
                return self.hold(id)
            missing = _missing(error)
            raise missing if isinstance(missing, NotFound) else _unreadable(error) from None
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
            for name in (upload.id + _KEPT, upload.id):  # a host has it, or has just given it back
                with suppress(FileNotFoundError):
                    return self.placed(upload, name)
        if not os.fstat(fd).st_nlink and self._exists(upload.id + ".info"):
            raise _Replaced  # between two looks it was finished, handed over and dropped
        if upload.pending:
            raise _lost()
        raise NotFound("no such upload")

    def placed(self, upload: Upload, name: str = "") -> Upload:
        """The record with what the data file says."""
        found = self._stat(name or upload.id, self._dir)
        if not stat.S_ISREG(found.st_mode):
            raise NotFound("no such upload")
        size = found.st_size
        if upload.chunks and not upload.complete:  # a sparse file: its size says nothing
            size = upload.chunks.stored(self.marks(upload.id), upload.length)
        return upload.evolve(offset=size, touched=found.st_mtime)

    def number(self, id: str) -> int:
        """The inode of the record, which is another one each time it is saved."""
        try:
            return os.stat(id + ".info", dir_fd=self._dir, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return 0

    def save(self, upload: Upload, *, durable: bool = False) -> None:
        try:
            self._write_new(upload, durable=durable)
            self._rename(upload.id)
            if durable:
                os.fsync(self._dir)
        except OSError as error:
            raise explained(error) from None

    def _write_new(self, upload: Upload, *, durable: bool) -> None:
        fd = os.open(upload.id + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OLD, 0o600, dir_fd=self._dir)
        try:
            text = memoryview(encoded(upload).encode())
            while text:
                text = text[os.write(fd, text) :]
            if durable:
                sync(fd)
        finally:
            os.close(fd)

    def _rename(self, id: str) -> None:
        os.rename(id + ".new", id + ".info", src_dir_fd=self._dir, dst_dir_fd=self._dir)

    def writer(self, id: str, offset: int) -> FilePlace:
        return FilePlace(self._open(id, os.O_WRONLY), offset)

    def _open(self, id: str, flags: int) -> int:
        try:
            return os.open(id, flags | OLD, dir_fd=self._dir)
        except OSError as error:
            raise _missing(error) from None

    def truncate(self, id: str, size: int) -> None:
        fd = self._open(id, os.O_WRONLY)
        try:
            if size < os.fstat(fd).st_size:
                os.ftruncate(fd, size)
        except OSError as error:
            raise explained(error) from None
        finally:
            os.close(fd)
        if size < self.certain(id):
            self.certify(id, size)

    def open(self, id: str) -> BinaryIO:
        return open(self._open(id, os.O_RDONLY), "rb")

    def path(self, id: str) -> str:
        return os.path.join(self.directory, id)

    def lend(self, id: str) -> str:
        try:
            try:
                link(self._dir, id, id + _KEPT)
            except (FileExistsError, FileNotFoundError):  # somebody died who had it before
                self.regain(id)
                link(self._dir, id, id + _KEPT)
        except FileNotFoundError:
            raise _lost() from None
        except OSError as error:
            raise explained(error) from None
        return self.path(id)

    def regain(self, id: str) -> None:
        if self._exists(id):
            self._unlink(id + _KEPT)
            return
        with suppress(FileNotFoundError):
            os.rename(id + _KEPT, id, src_dir_fd=self._dir, dst_dir_fd=self._dir)

    def give(self, id: str) -> None:
        self._unlink(id + _KEPT)

    def sync(self, id: str) -> None:
        fd = self._open(id, os.O_WRONLY)
        try:
            sync(fd)
        finally:
            os.close(fd)

    def certify(self, id: str, size: int) -> None:
        self._note(id, b"%0*d" % (_DIGITS, size), 0)

    def certain(self, id: str) -> int:
        digits = self.marks(id)[:_DIGITS]
        return int(digits) if digits.isdigit() else 0

    def mark(self, id: str, number: int, *, durable: bool = False) -> None:
        try:
            self._note(id, b"\1", number, durable=durable)
        except (StoreFull, StoreBroken):
            with suppress(StoreFull, StoreBroken):
                self._note(id, b"\0", number)  # who is told of a failure sends it again, and it must be taken then
            raise

    def _note(self, id: str, what: bytes, position: int, *, durable: bool = False) -> None:
        try:
            fd = os.open(id + ".chunks", os.O_WRONLY | os.O_CREAT | OLD, 0o600, dir_fd=self._dir)
            try:
                os.pwrite(fd, what, position)
                if durable:
                    sync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise explained(error) from None

    def marks(self, id: str) -> bytes:
        try:
            fd = os.open(id + ".chunks", os.O_RDONLY | OLD, dir_fd=self._dir)
        except FileNotFoundError:
            return b""
        try:
            return os.read(fd, _MARKS)
        except OSError as error:
            raise Damaged(f"it is not known which chunks are there: {error.strerror}") from None
        finally:
            os.close(fd)

    def secret(self) -> bytes:
        while not self._secret:
            try:
                self._secret = self._read_secret()
            except FileNotFoundError:
                self._make_secret()
            except OSError as error:
                raise explained(error) from None
        return self._secret

    def _read_secret(self) -> bytes:
        with open(os.open(_SECRET, os.O_RDONLY | OLD, dir_fd=self._dir), "rb", buffering=0) as file:
            found = file.read(_SECRET_SIZE)
        if not found or len(found) < _SECRET_SIZE:
            raise StoreBroken(f"{self.directory}/{_SECRET} is incomplete; remove it, and chunked uploads start again")
        return found

    def _make_secret(self) -> None:
        try:
            self._link_secret(f"{_SECRET}.{secrets.token_hex(8)}")
        except OSError as error:
            raise explained(error) from None

    def _link_secret(self, name: str) -> None:
        fd = os.open(name, os.O_WRONLY | NEW, 0o600, dir_fd=self._dir)
        try:
            os.write(fd, secrets.token_bytes(_SECRET_SIZE))
            os.fsync(fd)
            # Linked when it is whole; the first one there is everybody's.
            with suppress(FileExistsError):
                self._name_secret(name)
        finally:
            os.close(fd)
            self._unlink(name)

    def _name_secret(self, name: str) -> None:
        try:
            os.link(name, _SECRET, src_dir_fd=self._dir, dst_dir_fd=self._dir, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            self._rename_secret(name)

    def _rename_secret(self, name: str) -> None:
        """As a link does it: what is there is never replaced, since others know it. One process after the other."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._dir)
        try:
            with suppress(OSError):  # no locks here
                fcntl.flock(fd, fcntl.LOCK_EX)
            if not self._exists(_SECRET):
                os.rename(name, _SECRET, src_dir_fd=self._dir, dst_dir_fd=self._dir)
        finally:
            os.close(fd)

    def drop(self, id: str) -> None:
        for suffix in _DATA:
            self._unlink(id + suffix)

    def delete(self, id: str) -> None:
        # From here on it is something unfinished: should we die before the end, `tidy` does the rest.
        with suppress(FileNotFoundError):
            os.rename(id + ".info", id + ".new", src_dir_fd=self._dir, dst_dir_fd=self._dir)
        for suffix in (*_DATA, ".new"):
            self._unlink(id + suffix)

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._dir)

    def ids(self) -> Iterator[str]:
        return self._named(".info")

    def _named(self, suffix: str) -> Iterator[str]:
        with os.scandir(self.directory) as entries:
            for entry in entries:
                id = entry.name.removesuffix(suffix)
                if id != entry.name:
                    with suppress(NotFound):
                        yield checked_id(id)

    def tidy(self, before: float) -> None:
        for suffix, tidied in ((".new", self._tidy_new), (_KEPT, self._tidy_kept)):
            for id in self._named(suffix):
                try:
                    tidied(id, before)
                except (OSError, TusError) as error:
                    log.warning("%s%s is left as it is: %s", id, suffix, error)

    def _tidy_new(self, id: str, before: float) -> None:
        # A long creation-with-upload writes to its data file all the time, and to its record only at the end.
        if max(self._touched(id), self._touched(id + ".new")) > before or not self._is_ours(id) or self._busy(id):
            return
        if not self._exists(id + ".info"):
            self.drop(id)
        self._unlink(id + ".new")

    def _tidy_kept(self, id: str, before: float) -> None:
        with suppress(NotFound):
            if self.load(id).result:  # the host has answered and no longer uses it
                self.give(id)

    def _is_ours(self, id: str) -> bool:
        """Whether `<id>.new` is certainly the beginning of a record of ours: others may use such names, too."""
        opening = f'{OPENING}"{id}"'.encode()
        try:
            with open(self._open(id + ".new", os.O_RDONLY), "rb", buffering=0) as file:
                found = file.read(len(opening)) or b""
        except (OSError, NotFound):
            return False
        # Of a name that only we give, less will do: the process may have died before it wrote anything.
        return found == opening or opening.startswith(found) and (is_random(id) or self._is_known(id))

    def _is_known(self, id: str) -> bool:
        with suppress(TusError):
            return bool(self.load(id))
        return False

    def _busy(self, id: str) -> bool:
        """Whether somebody is still at this creation, whatever the clock says."""
        try:
            with open(self._open(id, os.O_RDONLY), "rb", buffering=0) as file:
                return not alone(file.fileno())
        except NotFound:
            return False

    def _exists(self, name: str) -> bool:
        return self._touched(name) > _NEVER

    def _touched(self, name: str) -> float:
        try:
            return os.stat(name, dir_fd=self._dir, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return _NEVER


def _rest(fd: int) -> bytes:
    """More of a long record, as far as it is one."""
    return b"".join(iter(lambda: os.read(fd, _READ), b"")) if os.fstat(fd).st_size < _MOST else b""


class _Replaced(Exception):
    """The record that was opened is not the one that goes by this name any more."""


class FileRecord:
    """A record, and the file that it was read from. While that is open, no newer one can have its inode."""

    def __init__(self, store: FileStore, fd: int, upload: Upload) -> None:
        self._store, self._fd = store, fd
        self.upload = upload

    def again(self) -> Upload:
        id = self.upload.id
        if self.upload.complete or os.fstat(self._fd).st_ino != self._store.number(id):
            return self._store.load(id)
        try:
            return self._store.placed(self.upload)
        except FileNotFoundError:
            return self._store.load(id)

    def close(self) -> None:
        os.close(self._fd)


def _unreadable(error: OSError) -> Damaged:
    return Damaged(f"the record of this upload cannot be read: {error.strerror}")


def _lost() -> Damaged:
    return Damaged("the upload was complete, but its file is gone, and the application has not accepted it")


def _missing(error: OSError) -> Exception:
    """A file that is not there, or is a link somebody put there, is an unknown upload."""
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
        return NotFound("no such upload")
    return explained(error)
