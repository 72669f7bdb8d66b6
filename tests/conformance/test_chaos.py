"""Bad networks: clients that are cut, reset, doubled and wrong at once, and a file that must be right in the end."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests import wire
from tests.conformance.client import BYTES, Client, checksum

LENGTH = 300_000  # bytes; several blocks of any server, and quick
# Every position has a value of its own kind, so that a byte in the wrong place shows.
CONTENT = bytes((n * n + n // 251) % 256 for n in range(LENGTH))


class Troubled:
    """A client that goes on until the upload is complete, through whatever its random numbers bring."""

    def __init__(self, tus: Client, url: str, seed: int, deferred: bool = False) -> None:
        self.tus, self.url, self.deferred = tus, url, deferred
        self.random = random.Random(seed)
        self.ways: list[Callable[[int, bytes], None]] = [self.whole, self.cut, self.reset, self.half]
        self.ways += [self.chunked, self.cut_chunked, self.summed, self.badly_summed, self.cut_summed, self.displaced]

    def run(self) -> int:
        """How many requests it took."""
        for turn in range(1000):
            answer = self.tus.head(self.url)
            if answer.status == 423:
                continue
            assert answer.status == 200, answer
            offset = int(answer["Upload-Offset"])
            if offset == LENGTH:
                return turn
            size = min(self.random.choice((1, 100, 5_000, 70_000, LENGTH)), LENGTH - offset)
            # Connections break, that is what they do here; the next HEAD tells what came of it.
            with suppress(wire.Broken, OSError):
                self.random.choice(self.ways)(offset, CONTENT[offset : offset + size])
        raise AssertionError("not done after 1000 requests")

    def send(self, offset: int, piece: bytes, **how: object) -> wire.Answer:
        headers = dict(how.pop("headers", None) or {})  # type: ignore[call-overload]
        return self.checked(self.tus.patch(self.url, offset, piece, headers, **how))

    def checked(self, answer: wire.Answer, *expected: int) -> wire.Answer:
        """Nothing but success, another writer, or our own fault."""
        assert answer.status in (expected or (204, 409, 423)) or answer.status >= 500, answer
        return answer

    def whole(self, offset: int, piece: bytes) -> None:
        self.send(offset, piece)

    def chunked(self, offset: int, piece: bytes) -> None:
        own = {"Content-Type": BYTES, "Upload-Offset": str(offset), "Transfer-Encoding": "chunked"}
        size = self.random.choice((10, 4096, 100_000))
        body = b"".join(wire.chunk(piece[at : at + size]) for at in range(0, len(piece), size))
        with self.tus.open("PATCH", self.url, own, body + wire.last_chunk()) as connection:
            self.checked(connection.answer())

    def cut_chunked(self, offset: int, piece: bytes) -> None:
        own = {"Content-Type": BYTES, "Upload-Offset": str(offset), "Transfer-Encoding": "chunked"}
        body = wire.chunk(piece)
        with self.tus.open("PATCH", self.url, own, body[: self.random.randrange(len(body))]):
            pass

    def partly(self, offset: int, piece: bytes, headers: dict[str, str] | None = None) -> wire.Wire:
        return self.tus.begin(self.url, offset, len(piece), piece[: self.random.randrange(len(piece) + 1)], headers)

    def cut(self, offset: int, piece: bytes) -> None:
        self.partly(offset, piece).close()

    def reset(self, offset: int, piece: bytes) -> None:
        self.partly(offset, piece).reset()

    def half(self, offset: int, piece: bytes) -> None:
        with self.partly(offset, piece) as connection:
            connection.half_close()
            answer = connection.answer()
            if self.tus.kind.hears_halves:  # others may say what they like
                self.checked(answer)

    def summed(self, offset: int, piece: bytes) -> None:
        self.send(offset, piece, headers={"Upload-Checksum": checksum("sha1", piece)})

    def badly_summed(self, offset: int, piece: bytes) -> None:
        wrong = bytes(byte ^ 1 for byte in piece)
        own = {"Upload-Checksum": checksum("sha1", piece)}
        self.checked(self.tus.patch(self.url, offset, wrong, own), 460, 409, 423)

    def cut_summed(self, offset: int, piece: bytes) -> None:
        wrong = bytes(byte ^ 1 for byte in piece)
        with self.partly(offset, wrong[:-1] + b"?", {"Upload-Checksum": checksum("sha1", piece)}):
            pass

    def displaced(self, offset: int, piece: bytes) -> None:
        wrong = bytes(byte ^ 1 for byte in piece)
        other = self.random.choice((offset + 1, max(0, offset - 1)))
        if other not in (offset, LENGTH):
            answer = self.tus.patch(self.url, other, b"", {"Upload-Checksum": checksum("sha1", wrong)})
            assert answer.status in (409, 460, 423) or answer.status >= 500, answer


@pytest.mark.slow
@pytest.mark.every_server
@pytest.mark.parametrize("rivals", [1, 3])
def test_every_byte_is_right_in_the_end(tus: Client, rivals: int) -> None:
    """However often a client is cut, and whoever else writes to the same upload, the file is bit-exact, and one."""
    urls = [tus.create(LENGTH) for _ in range(3)]

    with ThreadPoolExecutor(9) as pool:
        clients = [Troubled(tus, url, random.randrange(2**32)) for url in urls for _ in range(rivals)]
        list(pool.map(Troubled.run, clients))
    for url in urls:
        assert tus.patch(url, LENGTH).status == 204

    handed = tus.handed()
    assert sorted(h.upload for h in handed) == sorted(map(tus.id, urls))
    assert [h.file == CONTENT for h in handed] == [True] * 3


@pytest.mark.slow
@pytest.mark.every_server
def test_nobody_loses_an_upload_that_is_just_finishing(tus: Client) -> None:
    """Whoever asks or retries in the very moment of the hand-over is never told that there is no such upload."""
    statuses = set()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(100):
            url = tus.create(5)
            asked = [pool.submit(tus.head, url), pool.submit(tus.patch, url, 0, b"hello")]
            asked += [pool.submit(tus.patch, url, 5), pool.submit(tus.head, url)] * 2
            asked += [pool.submit(tus.patch, url, 0, b"hello"), pool.submit(tus.head, url)]
            statuses |= {answer.result().status for answer in asked}
            if tus.offset(url) < 5:
                tus.patch(url, 0, b"hello")

    assert {status for status in statuses if status < 500} <= {200, 204, 409, 423}
    handed = tus.handed()
    assert len({h.upload for h in handed}) == len(handed) == 100
    assert {h.file for h in handed} == {b"hello"}
