"""Uploads as files: `<id>` holds the bytes and `<id>.info` the record, in the layout of tusd.

The offset is the size of the data file, so no crash can separate the two; but what lies behind `unverified_from` of the
record belongs to an `exact` draft that was not committed, and does not count. Files are opened relative to a directory
descriptor and never through a symbolic link. An upload that comes in numbered chunks is a sparse file; one byte a chunk
in `<id>.chunks`, written after the chunk, says which are there. Of another upload this file says, where that was
promised, how many bytes are on the disk.

`<id>.new` is a record that will become `<id>.info`; one that stays names what a crash left half made. Who has flock on
the file by this name, and nobody else, may begin an upload by its id, or replace its record; a request that made the
upload, and has not saved it yet, has flock on the data file instead.

The host may take away a file whose path it was given before it says whether it wants it: ZODB does. Meanwhile the data
has a second name, `<id>.kept`, which the host does not know.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import BinaryIO

from ..errors import Changed, Damaged, NotFound, OffsetMismatch, StoreBroken, StoreFull, TusError
from ..upload import Result, Upload, is_random
from . import Draft, Fence, filesystems
from .disk import NEW, OLD, Directory, alone, explained, link, lock, sync
from .drafts import FileDraft, FilePiece
from .records import OPENING, decoded, encoded, same
from .secret import secret

log = logging.getLogger("tus")

_READ = 1 << 16  # a record is smaller than this, nearly always
_MOST = 1 << 24  # bytes; of a larger file we do not want to know
_KEPT = ".kept"
_DATA = (".chunks", _KEPT, "")
_MARKS = (1 << 20) + 1  # bytes; no upload has that many chunks
_DIGITS = 20  # of a number of bytes


class FileStore:
    """A directory, and nothing in it that is not ours is touched. With `certify`, what a durable commit made certain is
    written down, so that every process can tell it from what is not."""

    def __init__(
        self, directory: str, *, file_mode: int = 0o600, directory_mode: int = 0o700, certify: bool = False
    ) -> None:
        self._home = Directory(directory, directory_mode)
        self.directory, self._dir = self._home.path, self._home.fd
        self.certify = certify
        self._file_mode = file_mode
        self._making: set[str] = set()  # what was begun here and is not saved yet
        self._doubted: dict[str, int] = {}  # how much is certain of what could not be synced, and is not yet cut off
        self._secret = b""
        type = filesystems.kind(self.directory)
        filesystems.warn(self.directory, type)
        self._stat = filesystems.stats(type)

    # Beginning

    def create(self, upload: Upload, *, fence: Fence) -> FileDraft:
        id = upload.id
        try:
            try:
                fd = self._begun(id)
            except FileNotFoundError:
                self._home.renew()
                fd = self._begun(id)
        except OSError as error:
            raise explained(error) from None
        self._making.add(id)
        return FileDraft(self, id, fd, 0, fence)

    def _begun(self, id: str) -> int:
        """The new data file. The name of something unfinished comes first: whatever happens then, it tells whose the
        data file is. Only saving the record makes the upload exist."""
        new, made = self._locked(id)
        try:
            if os.access(id + ".info", os.F_OK, dir_fd=self._dir):
                raise FileExistsError(id)
            if made:
                if not is_random(id):  # others may have files by such a name
                    os.write(new, f'{OPENING}"{id}"'.encode())
            elif not self._is_ours(id):
                raise FileExistsError(id)
            return self._data_file(id, made)
        except OSError:
            if made and not self._busy(id):
                self._home.unlink(id + ".new")
            raise
        finally:
            os.close(new)

    def _data_file(self, id: str, made: bool) -> int:
        try:
            fd = os.open(id, os.O_WRONLY | NEW, 0o600, dir_fd=self._dir)
        except FileExistsError:
            if made or self._busy(id):
                raise
            self.drop(id)  # a crash left it
            fd = os.open(id, os.O_WRONLY | NEW, 0o600, dir_fd=self._dir)
        if self._file_mode != 0o600:
            os.fchmod(fd, self._file_mode)
        alone(fd)  # while it is open, nobody takes it for what a crash left
        return fd

    def _locked(self, id: str) -> tuple[int, bool]:
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

    # Records

    def load(self, id: str, *, durable: bool = False) -> Upload:
        with closing(self.hold(id)) as record:
            upload = record.upload
        if durable and not upload.complete and not upload.chunks:
            return upload.evolve(offset=min(upload.offset, self.certain(id)))
        return upload

    def hold(self, id: str) -> FileRecord:
        try:
            fd = os.open(id + ".info", os.O_RDONLY | OLD, dir_fd=self._dir)
        except OSError as error:
            if self._home.gone():
                self._home.renew()
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
        if not os.fstat(fd).st_nlink and self._home.exists(upload.id + ".info"):
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
        if upload.unverified_from is not None:
            size = min(size, upload.unverified_from)
        if self._doubted:
            size = min(size, self._doubted.get(upload.id, size))
        return upload.evolve(offset=size, touched=found.st_mtime)

    def number(self, id: str) -> int:
        """The inode of the record, which is another one each time it is saved."""
        return self._home.number(id + ".info")

    def save(self, upload: Upload, *, since: Upload | None = None, durable: bool = False) -> None:
        try:
            if since is not None:
                self._change(upload.id, lambda now: self._unchanged(now, since, upload), durable=durable)
            else:
                self._replace(upload, durable=durable)
        except OSError as error:
            raise explained(error) from None

    def _unchanged(self, now: Upload, since: Upload, upload: Upload) -> Upload:
        """The upload, if nobody has changed what we saw, but for what an open draft has written down."""
        if now.dropped and not self._home.exists(now.id):  # as `load` found it, whatever the record says
            since = since.evolve(dropped=True)
        if not same(now, since):
            raise Changed("the record was changed meanwhile")
        return upload if upload.complete else upload.evolve(unverified_from=now.unverified_from)

    def _replace(self, upload: Upload, *, durable: bool) -> None:
        id = upload.id
        if id not in self._making:
            self._replace_known(upload, durable=durable)
        else:  # nobody else replaces it: see `alone`
            fd = os.open(id + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OLD, 0o600, dir_fd=self._dir)
            try:
                _write(fd, upload, durable=durable)
            finally:
                os.close(fd)
            self._home.rename(id + ".new", id + ".info")
            self._making.discard(id)
        if durable:
            os.fsync(self._dir)

    def _replace_known(self, upload: Upload, *, durable: bool) -> None:
        with self._renewed(upload.id) as new:
            _write(new, upload, durable=durable)
            self._home.rename(upload.id + ".new", upload.id + ".info")

    @contextmanager
    def _renewed(self, id: str) -> Iterator[int]:
        """The file of a record that replaces another one. If it does not, nothing is left of it."""
        new, made = self._locked(id)
        try:
            if not made:
                os.ftruncate(new, 0)
            yield new
        except BaseException:
            if made:
                self._home.unlink(id + ".new")
            raise
        finally:
            os.close(new)

    def _change(self, id: str, changed: Callable[[Upload], Upload], *, durable: bool) -> None:
        """Replace the record by what is made of it, while nobody else replaces it."""
        while True:
            with self._renewed(id) as new, closing(self.hold(id)) as record:
                upload = changed(record.upload)
                if upload is record.upload:
                    self._home.unlink(id + ".new")
                    return
                _write(new, upload, durable=durable)
                if self._moved(new, record):
                    break
        if durable:
            os.fsync(self._dir)

    def _moved(self, new: int, record: FileRecord) -> bool:
        """Put the new record in its place, unless `delete` has put the old one in its own."""
        id = record.upload.id
        if not self._home.leads(id + ".new", new):
            return False
        try:
            self._home.rename(id + ".new", id + ".info")
        except FileNotFoundError:
            return False
        if record.stays():  # in that moment; so it was brought back
            self._home.unlink(id + ".info")
            return False
        return True

    # Bytes

    def append(
        self, id: str, offset: int, *, fence: Fence, exact: bool = False, known: Upload | None = None
    ) -> FileDraft:
        fd = self._open(id, os.O_WRONLY)
        try:
            if id in self._doubted or os.lseek(fd, 0, os.SEEK_END) != offset:
                self._cut_to(id, offset, fd)
            if exact or (known or self.load(id)).unverified_from is not None:
                self.hide(id, offset if exact else None)
        except OSError as error:
            os.close(fd)
            raise explained(error) from None
        except BaseException:
            os.close(fd)
            raise
        return FileDraft(self, id, fd, offset, fence, exact=exact)

    def _cut_to(self, id: str, offset: int, fd: int) -> None:
        """Forget what lies behind the offset."""
        size = os.lseek(fd, 0, os.SEEK_END)
        size = min(size, self._doubted.get(id, size))
        if offset > size:
            raise OffsetMismatch(f"the upload has {size} bytes, not {offset}", offset=size)
        if id in self._doubted:
            self.cut(id, fd)
        self._shorten(id, offset, fd)

    def _shorten(self, id: str, size: int, fd: int) -> None:
        if os.lseek(fd, 0, os.SEEK_END) > size:
            os.ftruncate(fd, size)
        if size < self.certain(id):
            self.note(id, size)

    def hide(self, id: str, start: int | None) -> None:
        """Write down from where on bytes do not count; or that all do."""
        try:
            self._change(id, lambda now: _hidden(now, start), durable=self.certify)
        except OSError as error:
            raise explained(error) from None

    def doubt(self, id: str, size: int) -> None:
        """No more than that is certain, whatever the file says."""
        self._doubted[id] = size

    def cut(self, id: str, fd: int) -> None:
        """Cut off what is doubtful; or write down that it does not count. If nothing can be written down at all, this
        raises, and it stays in doubt while this process lives. Only in a turn."""
        size = self._doubted.get(id)
        if size is None:  # somebody else has
            return
        try:
            self._shorten(id, size, fd)
        except (OSError, StoreFull, StoreBroken):
            self.hide(id, size)
        self._doubted.pop(id, None)
        with suppress(StoreFull, StoreBroken):  # or a power cut could bring it back
            sync(fd)

    def finish(
        self, upload: Upload, draft: Draft | None = None, *, since: Upload | None = None, durable: bool = False
    ) -> None:
        if isinstance(draft, FileDraft):
            draft.secure(durable=durable)
        elif durable:
            self._sync(upload.id)
        self.save(upload.evolve(unverified_from=None), since=since, durable=durable)
        if isinstance(draft, FileDraft):
            draft.settle()

    def _sync(self, id: str) -> None:
        fd = self._open(id, os.O_WRONLY)
        try:
            sync(fd)
        finally:
            os.close(fd)

    def _open(self, id: str, flags: int) -> int:
        try:
            return os.open(id, flags | OLD, dir_fd=self._dir)
        except OSError as error:
            raise _missing(error) from None

    def open(self, id: str, start: int = 0) -> BinaryIO:
        file = os.fdopen(self._open(id, os.O_RDONLY), "rb")
        if start:
            file.seek(start)
        return file

    # Numbered chunks

    def place(self, id: str, start: int, *, fence: Fence) -> FilePiece:
        return FilePiece(self, id, self._open(id, os.O_WRONLY), start, fence)

    def mark(self, id: str, number: int, *, durable: bool = False) -> None:
        try:
            self._note(id, b"\1", number, durable=durable)
        except (StoreFull, StoreBroken):
            with suppress(StoreFull, StoreBroken):
                self._note(id, b"\0", number)  # who is told of a failure sends it again, and it must be taken then
            raise

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

    def note(self, id: str, size: int) -> None:
        """So many bytes are on the disk; for other processes."""
        self._note(id, b"%0*d" % (_DIGITS, size), 0)

    def certain(self, id: str) -> int:
        """How many bytes were noted, and not cut off since."""
        digits = self.marks(id)[:_DIGITS]
        return int(digits) if digits.isdigit() else 0

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

    # Files of the host

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
        if self._home.exists(id):
            self._home.unlink(id + _KEPT)
            return
        with suppress(FileNotFoundError):
            self._home.rename(id + _KEPT, id)

    def give(self, id: str) -> None:
        self._home.unlink(id + _KEPT)

    # The whole

    def secret(self) -> bytes:
        self._secret = self._secret or secret(self._home)
        return self._secret

    def drop(self, id: str) -> None:
        for suffix in _DATA:
            self._home.unlink(id + suffix)

    def delete(self, id: str) -> None:
        self._making.discard(id)
        self._doubted.pop(id, None)  # another one may come by this name
        try:
            fd = os.open(id + ".info", os.O_RDONLY | OLD, dir_fd=self._dir)
        except OSError:  # never saved, or no file of ours
            self._remove(id)
            return
        try:
            # From here on it is something unfinished: should we die before the end, `tidy` does the rest. And nobody
            # begins another one by this name before we are done.
            lock(fd)
            with suppress(FileNotFoundError):
                self._home.rename(id + ".info", id + ".new")
            self._remove(id)
        finally:
            os.close(fd)

    def _remove(self, id: str) -> None:
        for suffix in (*_DATA, ".new"):
            self._home.unlink(id + suffix)

    def ids(self) -> Iterator[str]:
        return self._home.named(".info")

    def tidy(self, before: float) -> None:
        for suffix, tidied in ((".new", self._tidy_new), (_KEPT, self._tidy_kept)):
            for id in self._home.named(suffix):
                try:
                    tidied(id, before)
                except (OSError, TusError) as error:
                    log.warning("%s%s is left as it is: %s", id, suffix, error)

    def _tidy_new(self, id: str, before: float) -> None:
        # A long creation-with-upload writes to its data file all the time, and to its record only at the end.
        touched = max(self._home.touched(id), self._home.touched(id + ".new"))
        if touched > before or not self._is_ours(id) or self._busy(id):
            return
        if not self._home.exists(id + ".info"):
            self.drop(id)
        self._home.unlink(id + ".new")

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


def _write(fd: int, upload: Upload, *, durable: bool) -> None:
    text = memoryview(encoded(upload).encode())
    while text:
        text = text[os.write(fd, text) :]
    if durable:
        sync(fd)


def _hidden(upload: Upload, start: int | None) -> Upload:
    return upload if upload.unverified_from == start else upload.evolve(unverified_from=start)


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

    def stays(self) -> bool:
        """Whether nobody saved another one since."""
        return os.fstat(self._fd).st_ino == self._store.number(self.upload.id)

    def again(self) -> Upload:
        if self.upload.complete or not self.stays():
            return self._store.load(self.upload.id)
        try:
            return self._store.placed(self.upload)
        except FileNotFoundError:
            return self._store.load(self.upload.id)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _unreadable(error: OSError) -> Damaged:
    return Damaged(f"the record of this upload cannot be read: {error.strerror}")


def _lost() -> Damaged:
    return Damaged("the upload was complete, but its file is gone, and the application has not accepted it")


def _missing(error: OSError) -> Exception:
    """A file that is not there, or is a link somebody put there, is an unknown upload."""
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
        return NotFound("no such upload")
    return explained(error)
