"""What is known of an upload: for those who run the server, on the command line and over the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import OptionError
from ..upload import State, Upload, name_of
from .core import Core
from .delivering import link_to

_LATELY = 10.0  # seconds; chunks with numbers have leases of their own, but each of them touches the upload


@dataclass(frozen=True)
class Summary:
    """What programs and people want to know of an upload; the names are those of `tus ls --json`."""

    id: str
    offset: int
    length: int | None
    state: str
    complete: bool  # one that has expired may be complete, too
    reason: str | None
    created: float  # seconds since the epoch, as the other times
    touched: float
    expires: float | None
    owner: str | None
    filename: str
    stored_at: str | None
    parts: tuple[str, ...]
    metadata: Mapping[str, str]

    @property
    def kept(self) -> int:
        """The bytes that are here."""
        return 0 if self.state == State.DROPPED.value else self.offset

    @property
    def expired(self) -> bool:
        return self.state == State.EXPIRED.value

    def brief(self) -> dict[str, Any]:
        """Without what can be long."""
        return {name: value for name, value in vars(self).items() if name not in ("parts", "metadata")}

    def full(self) -> dict[str, Any]:
        return asdict(self)


def known(core: Core, upload: Upload) -> Summary:
    """What is known of it now."""
    return Summary(
        id=upload.id,
        offset=upload.offset,
        length=upload.length,
        state=core.state(upload).value,
        complete=upload.complete,
        reason=upload.result.reason or str(upload.result.status) if upload.result and upload.refused else None,
        created=upload.created,
        touched=upload.touched,
        expires=core.expires(upload),
        owner=upload.owner,
        filename=upload.metadata.filename,
        stored_at=upload.stored_at or None,
        parts=upload.parts,
        metadata={name_of(key): value.decode("utf-8", "replace") for key, value in upload.metadata.items()},
    )


def being_written(core: Core, upload: Upload) -> bool:
    """Whether a request writes to it."""
    if core.locker.lives(upload.id):
        return True
    return upload.chunks is not None and not upload.complete and core.now() - upload.touched < _LATELY


def link_for_all(core: Core, upload: Upload) -> str:
    """A URL that gives the finished file to anybody; OptionError says why there is none."""
    if not upload.readable:
        raise OptionError(f"upload {upload.id} is {core.state(upload).value}: there is no file to fetch")
    try:
        return link_to(core, upload)
    except NotImplementedError as error:
        raise OptionError(f"option store: {error}") from None
