"""Checksum algorithms against known digests."""

from __future__ import annotations

import base64
import builtins
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tus import checksum
from tus.errors import BadRequest

CHECK = b"123456789"  # what catalogues of CRCs give the digest of
KNOWN = {
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "sha512": "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a"
    "d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
    "crc32": "cbf43926",
    "crc32c": "e3069283",
}


def header(algorithm: str, digest: bytes) -> str:
    return f"{algorithm} {base64.b64encode(digest).decode()}"


@pytest.fixture
def slow_crc32c(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The step in Python, as where google_crc32c is not installed."""
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "google_crc32c":
            raise ImportError(name)
        return real(name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", without)
        return checksum._crc32c.__wrapped__()


@pytest.mark.parametrize("algorithm", checksum.ALGORITHMS)
def test_known_digest_matches(algorithm: str) -> None:
    """Every algorithm that is announced, fed in pieces."""
    announced = checksum.checksum(header(algorithm, bytes.fromhex(KNOWN[algorithm])))
    hash = announced.hash()

    for piece in (CHECK[:2], bytearray(CHECK[2:3]), memoryview(CHECK)[3:], b""):
        hash.update(piece)

    assert announced.matches(hash)


@pytest.mark.parametrize("algorithm", checksum.ALGORITHMS)
def test_other_bytes_do_not_match(algorithm: str) -> None:
    """One that is missing is enough."""
    announced = checksum.checksum(header(algorithm, bytes.fromhex(KNOWN[algorithm])))
    hash = announced.hash()

    hash.update(CHECK[:-1])

    assert not announced.matches(hash)


def test_slow_crc32c_is_right(slow_crc32c: Any) -> None:
    """The table gives what the catalogue says."""
    assert slow_crc32c(CHECK, 0) == 0xE3069283
    assert slow_crc32c(bytes(32), 0) == 0x8A9136AA  # RFC 3720, B.4
    assert slow_crc32c(b"\xff" * 32, 0) == 0x62A8AB43


@given(st.binary(max_size=300), st.integers(0, 300))
def test_slow_crc32c_may_be_fed_in_pieces(data: bytes, cut: int) -> None:
    """And says the same as the C library, where there is one."""
    step = checksum._crc32c()
    crc = checksum.Crc(step)

    crc.update(data[:cut])
    crc.update(memoryview(data)[cut:])

    assert crc.digest() == step(data, 0).to_bytes(4, "big")


def test_slow_crc32c_equals_the_fast_one(slow_crc32c: Any) -> None:
    """On a few thousand bytes, from any start."""
    fast = pytest.importorskip("google_crc32c", reason="google_crc32c is not installed")
    data = bytes(range(256)) * 16

    for start in (0, 1, 0xFFFFFFFF):
        assert slow_crc32c(data, start) == fast.extend(start, data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha1",
        "sha1 ",
        "sha1  2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "SHA1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBw",
        "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk==",
        "sha1 2jmj7l5rSw0yVb_vlWAYkK_YBwk=",
        "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n",
        "sha256 2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "md6 2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "crc32 AAAAAAA=",
        "sha1 é",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """An unknown algorithm, a digest of another length, or what is no Base64."""
    with pytest.raises(BadRequest):
        checksum.checksum(text)
