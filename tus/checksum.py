"""Checksum algorithms, and the check of what arrived."""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .errors import BadRequest

Bytes = bytes | bytearray | memoryview


class Hash(Protocol):
    """What hashlib's objects do."""

    def update(self, data: Bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class Crc:
    """A 32-bit checksum with the face of a hash; its digest is big-endian."""

    def __init__(self, step: Callable[[Bytes, int], int]) -> None:
        self._step = step
        self._value = 0

    def update(self, data: Bytes, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


@functools.cache
def _crc32c() -> Callable[[Bytes, int], int]:
    """The C library where it is installed; else a table, which is right but a hundred times slower."""
    try:
        from google_crc32c import extend
    except ImportError:
        table = _crc32c_table()

        def step(data: Bytes, value: int) -> int:
            value ^= 0xFFFFFFFF
            for byte in memoryview(data):
                value = value >> 8 ^ table[(value ^ byte) & 255]
            return value ^ 0xFFFFFFFF

        return step
    return lambda data, value: int(extend(value, bytes(data)))


ALGORITHMS: dict[str, tuple[int, Callable[[], Hash]]] = {
    "sha1": (20, lambda: hashlib.sha1(usedforsecurity=False)),
    "md5": (16, lambda: hashlib.md5(usedforsecurity=False)),
    "sha256": (32, hashlib.sha256),
    "sha512": (64, hashlib.sha512),
    "crc32": (4, lambda: Crc(zlib.crc32)),
    "crc32c": (4, lambda: Crc(_crc32c())),
}


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest that the client announced."""

    algorithm: str
    digest: bytes

    def hash(self) -> Hash:
        """A new hash of this algorithm."""
        return ALGORITHMS[self.algorithm][1]()

    def matches(self, hash: Hash) -> bool:
        """Whether it is the digest of what was hashed."""
        return hmac.compare_digest(self.digest, hash.digest())


def checksum(value: str) -> Checksum:
    """`sha1 <Base64>` as a value; raises BadRequest where we don't know the algorithm or can't read the digest."""
    match = re.fullmatch(r"([a-z0-9-]+) ([A-Za-z0-9+/]+=*)", value)
    if not match:
        raise BadRequest("Upload-Checksum is not an algorithm, a space and a Base64 digest")
    algorithm, encoded = match.groups()
    if algorithm not in ALGORITHMS:
        raise BadRequest(f"checksum algorithm {algorithm[:40]!a} is not one of {', '.join(ALGORITHMS)}")
    try:
        digest = b64decode(encoded, validate=True)
    except Base64Error:
        digest = b""
    if len(digest) != ALGORITHMS[algorithm][0]:
        raise BadRequest(f"Upload-Checksum does not hold {ALGORITHMS[algorithm][0]} bytes of {algorithm} in Base64")
    return Checksum(algorithm, digest)
