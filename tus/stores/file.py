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

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BufferedReader
from typing import BinaryIO

from ..errors import Changed, Locked, NotFound, OffsetMismatch, StoreBroken, StoreFull
from ..upload import PartPlace, Upload
from . import Draft, Fence, filesystems
from .disk import NEW, OLD, Directory, absent, explained, link, release, sync
from .drafts import FileDraft, FilePiece, NewDraft
from .infos import KEPT, FileRecord, Infos, Making, lost
from .notes import NOTES, Notes
from .placed import CopySource, PlacedDraft, PlaceFile, WholeDraft
from .records import advanced, part_place_of, same
from .secret import secret
from .tidying import Tidier, is_busy
from .wholes import PLACE, Wholes, Window, boot


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
        self._making: dict[str, NewDraft] = {}  # what was begun here and is not saved yet
        self._secret = b""
        type = filesystems.kind(self.directory)
        filesystems.warn(self.directory, type)
        self.prompt = not filesystems.shared(type)
        self._home.ordered = filesystems.ordered(type)
        self._notes = Notes(self._home)
        self._infos = Infos(self._home, self._notes, filesystems.stats(type))
        self._wholes = Wholes(self._home, type, file_mode)

    # Beginning

    def create(self, upload: Upload, *, fence: Fence) -> NewDraft:
        id = upload.id
        try:
            try:
                draft = self._begun(upload, fence)
            except FileNotFoundError:
                self._home.renew()
                draft = self._begun(upload, fence)
        except OSError as error:
            raise explained(error) from None
        self._making[id] = draft
        self._notes.doubted.pop(id, None)
        return draft

    def _begun(self, upload: Upload, fence: Fence) -> NewDraft:
        """The new data file. The beginning of a record comes first: whatever happens then, it tells whose the data file
        is. Only saving the record makes the upload exist."""
        id = upload.id
        record, left = self._infos.begin(id)
        try:
            fd = self._data_file(id, left)
            if upload.place:
                self._wholes.link(id, upload.place, fd)
            return NewDraft(self, id, fd, fence, record)
        except OSError:
            self._home.unlink(id + ".info")
            release(record)
            raise

    def _data_file(self, id: str, left: bool) -> int:
        try:
            fd = os.open(id, os.O_WRONLY | NEW, 0o600, dir_fd=self._dir)
        except FileExistsError:
            # A crash left it, perhaps of an older version, whose half-made records have another name.
            if not left and (not self._infos.is_ours(id) or is_busy(self._home, id)):
                raise
            self.drop(id)
            fd = os.open(id, os.O_WRONLY | NEW, 0o600, dir_fd=self._dir)
        if self._file_mode != 0o600:
            os.fchmod(fd, self._file_mode)
        return fd

    def leave(self, id: str, draft: NewDraft) -> None:
        """This creation is over."""
        if self._making.get(id) is draft:
            del self._making[id]
        draft.settled()

    # Records

    def load(self, id: str, *, durable: bool = False) -> Upload:
        upload = self._infos.load(id)
        if durable and not upload.complete and not upload.chunks:
            return upload.evolve(offset=min(upload.offset, self.certain(id)))
        return upload

    def hold(self, id: str) -> FileRecord:
        return self._infos.hold(id)

    def save(self, upload: Upload, *, since: Upload | None = None, durable: bool = False) -> None:
        try:
            if since is not None:
                self._infos.change(upload.id, lambda now: _unchanged(now, since, upload), durable=durable)
            elif draft := self._making.get(upload.id):
                self._infos.publish(upload, draft.record, durable=durable)
                self.leave(upload.id, draft)
            else:
                self._infos.replace(upload, durable=durable)
        except OSError as error:
            raise explained(error) from None

    # Bytes

    def append(
        self, id: str, offset: int, *, fence: Fence, exact: bool = False, known: Upload | None = None
    ) -> FileDraft:
        fd = self._open(id, os.O_WRONLY)
        try:
            if id in self._notes.doubted or os.lseek(fd, 0, os.SEEK_END) != offset:
                self._cut_to(id, offset, fd)
            found = known or self.load(id)
            if exact or found.unverified_from is not None:
                self.hide(id, offset if exact else None, durable=self.certify)
            if found.place:
                target = self._target(id, found.place)
                return PlacedDraft(self, id, fd, offset, fence, exact=exact, to=target)
        except OSError as error:
            os.close(fd)
            raise explained(error) from None
        except BaseException:
            os.close(fd)
            raise
        return FileDraft(self, id, fd, offset, fence, exact=exact, known=None if exact else known)

    def reopen(self, id: str) -> int:
        return self._open(id, os.O_WRONLY)

    def _cut_to(self, id: str, offset: int, fd: int) -> None:
        """Forget what lies behind the offset."""
        size = os.lseek(fd, 0, os.SEEK_END)
        size = min(size, self._notes.doubted.get(id, size))
        if offset > size:
            raise OffsetMismatch(f"the upload has {size} bytes, not {offset}", offset=size)
        if id in self._notes.doubted:
            self.cut(id, fd)
        self._shorten(id, offset, fd)

    def _shorten(self, id: str, size: int, fd: int) -> None:
        if os.lseek(fd, 0, os.SEEK_END) > size:
            os.ftruncate(fd, size)
        if size < self.certain(id):
            self.note(id, size)

    def certain(self, id: str) -> int:
        return self._notes.certain(id)

    def note(self, id: str, size: int) -> None:
        self._notes.note(id, size)

    def hide(self, id: str, start: int | None, *, durable: bool = False) -> None:
        """Write down from where on bytes do not count; or that all do."""
        try:
            self._infos.change(id, lambda now: _hidden(now, start), durable=durable)
        except OSError as error:
            raise explained(error) from None

    def doubt(self, id: str, size: int) -> None:
        """No more than that is certain, whatever the file says."""
        self._notes.doubted[id] = size

    def cut(self, id: str, fd: int) -> None:
        """Cut off what is doubtful; or write down that it does not count. If nothing can be written down at all, this
        raises, and it stays in doubt while this process lives. Only in a turn."""
        size = self._notes.doubted.get(id)
        if size is None:  # somebody else has
            return
        try:
            self._shorten(id, size, fd)
        except (OSError, StoreFull, StoreBroken):
            self.hide(id, size)
        self._notes.doubted.pop(id, None)
        with suppress(StoreFull, StoreBroken):  # or a power cut could bring it back
            sync(fd)

    def finish(
        self, upload: Upload, draft: Draft | None = None, *, since: Upload | None = None, durable: bool = False
    ) -> None:
        upload = upload.evolve(unverified_from=None)
        if since is None and isinstance(draft, NewDraft) and self._making.get(upload.id) is draft:
            self._publish(upload, draft, durable)
        else:
            if durable:
                self._infos.write_back(upload.id)
            self._secure(upload.id, draft, durable)
            known = draft.known if isinstance(draft, FileDraft) else None
            if known and since is None and advanced(known, upload):
                self._advance(upload, durable)
            else:
                self.save(upload, since=since, durable=durable)
        if isinstance(draft, FileDraft):
            draft.settle()

    def _publish(self, upload: Upload, draft: NewDraft, durable: bool) -> None:
        """Save the record of an upload that is complete as soon as it exists."""
        try:
            self._infos.publish(
                upload, draft.record, durable=durable, first=lambda: self._secure(upload.id, draft, durable)
            )
        except OSError as error:
            raise explained(error) from None
        self.leave(upload.id, draft)

    def _secure(self, id: str, draft: Draft | None, durable: bool) -> None:
        """Have the data on the disk before the record says that it is whole."""
        if isinstance(draft, FileDraft):
            draft.secure(durable=durable)
        elif durable:
            self._sync(id)

    def _advance(self, upload: Upload, durable: bool) -> None:
        try:
            self._infos.advance(upload, durable=durable)
        except OSError as error:
            raise explained(error) from None

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
            raise absent(error) from None

    def open(self, id: str, start: int = 0) -> BinaryIO:
        fd = self._open(id, os.O_RDONLY)
        file: BinaryIO = os.fdopen(fd, "rb")
        if self._home.exists(id + PLACE) and (place := self._infos.load(id).place):
            with file:
                whole = self._wholes.open(id, os.O_RDONLY)
                file = BufferedReader(Window(whole, place.start, os.fstat(fd).st_size))
        if start:
            file.seek(start)
        return file

    # Parts in their places

    def reserve(self, whole: str, start: int, total: int) -> PartPlace | None:
        return self._wholes.reserve(whole, start, total)

    def gather(self, id: str, parts: Sequence[Upload], *, fence: Fence) -> WholeDraft | None:
        fd = self._wholes.gathered(id, parts)
        if fd < 0:
            return None
        draft = WholeDraft(self, id, fd, sum(part.offset for part in parts), fence, self._wholes)
        try:
            if not all(self.load(part.id).complete for part in parts):  # until a moment ago, that could change
                raise Locked("a part of this upload was replaced")
        except BaseException:
            draft.close()
            raise
        return draft

    def source(self, id: str) -> CopySource:
        place = self._infos.load(id).place
        fd = self._wholes.open(id, os.O_RDONLY) if place else self._open(id, os.O_RDONLY)
        return CopySource(fd, self._wholes, place)

    def _target(self, id: str, place: PartPlace) -> PlaceFile:
        """Where the bytes of a part go, from now on under this boot."""
        if place.boot != boot():
            self._infos.change(id, lambda now: now.evolve(place=place._replace(boot=boot())), durable=False)
        target = PlaceFile(self._wholes, id, place)
        if target.doubtful:
            target.close()
            self.delete(id)
            raise NotFound("the disk failed, and bytes of this part may be lost: begin again")
        return target

    # Numbered chunks

    def place(self, id: str, start: int, *, fence: Fence) -> FilePiece:
        return FilePiece(self, id, self._open(id, os.O_WRONLY), start, fence)

    def mark(self, id: str, number: int, *, durable: bool = False) -> None:
        self._notes.mark(id, number, durable=durable)

    def marks(self, id: str) -> bytes:
        return self._notes.marks(id)

    # Files of the host

    def path(self, id: str) -> str:
        return os.path.join(self.directory, id)

    def lend(self, id: str) -> str:
        try:
            try:
                link(self._dir, id, id + KEPT)
            except (FileExistsError, FileNotFoundError):  # somebody died who had it before
                self.regain(id)
                link(self._dir, id, id + KEPT)
        except FileNotFoundError:
            raise lost() from None
        except OSError as error:
            raise explained(error) from None
        return self.path(id)

    def regain(self, id: str) -> None:
        if self._home.exists(id):
            self._home.unlink(id + KEPT)
            return
        with suppress(FileNotFoundError):
            self._home.rename(id + KEPT, id)

    def give(self, id: str) -> None:
        self._home.unlink(id + KEPT)

    # The whole

    def secret(self) -> bytes:
        self._secret = self._secret or secret(self._home)
        return self._secret

    def drop(self, id: str) -> None:
        self._home.clear(id + NOTES, id + KEPT, id + PLACE)
        self._home.unlink(id)  # the data last: what is left without it belongs to nobody

    def delete(self, id: str) -> None:
        self._notes.doubted.pop(id, None)  # another one may come by this name
        draft, text = self._making.pop(id, None), b""
        if draft:
            record, draft.record = draft.record, -1
        else:
            try:
                record, text = self._infos.locked(id)
            except Making:
                return
            except NotFound:
                record = -1
        self.forget(id, record, place=part_place_of(text, id))

    def forget(self, id: str, record: int, *, place: PartPlace | None = None) -> None:
        """Remove everything; nobody begins another upload by this id before we are done, if there is a record."""
        try:
            if record >= 0:
                self._infos.forget(record)
            if place:
                self._wholes.leave(id, place)
            self.drop(id)
            self._home.clear(id + ".new")
            self._home.unlink(id + ".info")
        finally:
            if record >= 0:
                release(record)

    def ids(self) -> Iterator[str]:
        return self._infos.ids()

    def tidy(self, before: float) -> None:
        Tidier(self, self._home, self._infos, self._wholes).tidy(before)
        self._wholes.tidy(before)


def _unchanged(now: Upload, since: Upload, upload: Upload) -> Upload:
    """The upload, if nobody has changed what we saw, but for what an open draft has written down."""
    if not same(now, since):
        raise Changed("the record was changed meanwhile")
    return upload if upload.complete else upload.evolve(unverified_from=now.unverified_from)


def _hidden(upload: Upload, start: int | None) -> Upload:
    return upload if upload.unverified_from == start else upload.evolve(unverified_from=start)
