"""Digest fields (RFC 9530): the digests that a client sends, and those that it asks for. Computes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from ..checksum import ALGORITHMS, Checksum, Hash
from ..errors import InvalidDigest
from ..upload import Digests
from . import fields

# The two that everybody has to know, strongest first, and the two that old clients still send. Others are ignored,
# as RFC 9530 allows.
_NAMES = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}
_FIELD_NAMES = {ours: name for name, ours in _NAMES.items()}


def given(field: str, value: str | None) -> Digests:
    """The digests in `Content-Digest` or `Repr-Digest` that we can verify."""
    found = []
    for name, bare in fields.dictionary(value).items():
        algorithm = _NAMES.get(name)
        digest = fields.octets(bare) if algorithm else None
        if algorithm is None or digest is None:
            continue
        if len(digest) != ALGORITHMS[algorithm][0]:
            raise InvalidDigest(f"a digest by {name} has {ALGORITHMS[algorithm][0]} bytes", algorithm=name, field=field)
        found.append((algorithm, digest.hex()))
    return tuple(found)


def wanted(value: str | None) -> Digests:
    """The algorithm that `Want-Repr-Digest` prefers among those we know, with its digest left open."""
    best, name = 0, ""
    for candidate, bare in fields.dictionary(value).items():
        preference = fields.whole_number(bare) or 0
        if candidate in _NAMES and best < preference <= 10:
            best, name = preference, candidate
    return ((_NAMES[name], ""),) if name else ()


def field_value(digests: Digests) -> str:
    """Digests as the header has them."""
    return fields.listed({_FIELD_NAMES[name]: fields.sequence(bytes.fromhex(digest)) for name, digest in digests})


def expected(digests: Digests) -> Checksum | None:
    """What a body has to match: every one of the digests."""
    return (
        Several("", b"", tuple(Checksum(name, bytes.fromhex(digest)) for name, digest in digests)) if digests else None
    )


@dataclass(frozen=True, slots=True)
class Several(Checksum):
    """Checksums of the same bytes, of which all have to match."""

    checksums: tuple[Checksum, ...] = ()

    def hash(self) -> Hash:
        return _Hashes([checksum.hash() for checksum in self.checksums])

    def matches(self, hash: Hash) -> bool:
        assert isinstance(hash, _Hashes)
        return all(checksum.matches(hash) for checksum, hash in zip(self.checksums, hash.hashes, strict=True))


class _Hashes:
    """Several hashes, fed with the same bytes."""

    def __init__(self, hashes: list[Hash]) -> None:
        self.hashes = hashes

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        for hash in self.hashes:
            hash.update(data)

    def digest(self) -> bytes:
        return b"".join(hash.digest() for hash in self.hashes)
