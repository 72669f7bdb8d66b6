"""The body of one request, on a socket pair: what arrived is handed out, then the cut is told."""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tus.server.body import BodyStream, BodyTooSlow, ConnectionCut
from tus.server.chunks import BadBody, ChunkDecoder

from .conftest import until

splices = pytest.mark.skipif(not hasattr(os, "splice"), reason="needs os.splice")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection over TCP: the client's end and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


@pytest.fixture
def stream(ends: tuple[socket.socket, socket.socket]) -> Iterator[Callable[..., BodyStream]]:
    """Makes attached streams, and detaches them."""
    made: list[BodyStream] = []

    def make(prefix: bytes = b"", *, timeout: float = 10, min_rate: int = 0, say=None, **kw) -> BodyStream:
        made.append(BodyStream(prefix, **kw))
        made[-1].attach(ends[1], timeout, min_rate, say)
        return made[-1]

    yield make
    for one in made:
        if (sock := one.detach()) is not None:
            sock.close()


def by_read(body: BodyStream) -> Iterator[bytes]:
    while data := body.read(70):
        yield data


def by_read1(body: BodyStream) -> Iterator[bytes]:
    while data := body.read1(70):
        yield data


def by_readinto(body: BodyStream) -> Iterator[bytes]:
    buffer = bytearray(70)
    while size := body.readinto(buffer):
        yield bytes(buffer[:size])


def by_lines(body: BodyStream) -> Iterator[bytes]:
    yield from body


def by_splice(body: BodyStream) -> Iterator[bytes]:
    source, sink = os.pipe()
    try:
        while size := body.splice_to(sink, 70):
            yield os.read(source, size)
    finally:
        os.close(source)
        os.close(sink)


WAYS = [by_read, by_read1, by_readinto, by_lines, pytest.param(by_splice, marks=splices)]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_reading_gives_the_body_and_no_more(way, ends, stream) -> None:
    """The prefix, the rest and the end come by every method; the next request is left alone."""
    body = stream(b"prefix\n", remaining=1000)
    ends[0].sendall(bytes(range(250)) * 4 + b"GET / HTTP/1.1\r\n")

    got = b"".join(way(body))

    assert got == b"prefix\n" + bytes(range(250)) * 4
    assert body.finished
    assert body.received == 1007
    assert ends[1].recv(100) == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_every_byte_before_a_cut_is_handed_out(how, way, ends, stream) -> None:
    """FIN or RST: everything that the kernel holds comes first, then an OSError, again and again."""
    body = stream(b"ab", remaining=1_000_000)
    ends[0].sendall(b"x" * 50_001)
    until(lambda: len(ends[1].recv(50_001, socket.MSG_PEEK)) == 50_001)
    if how == "RST":
        ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends[0].close()
    got = b""

    with pytest.raises(ConnectionCut):
        for data in way(body):
            got += data

    assert got == b"ab" + b"x" * 50_001
    assert not body.finished
    with pytest.raises(OSError):
        body.read(1)


@pytest.mark.parametrize("way", [by_read, by_read1, by_readinto, by_lines])
def test_a_chunked_body_gives_its_trailers(way, ends, stream) -> None:
    """Chunks of all sizes, small reads; the trailers are there after the end, and not before."""
    body = stream(b"", chunks=ChunkDecoder())
    parts = [b"a" * size for size in (1, 2, 100, 3000, 70000)]
    raw = b"".join(b"%X;ext=1\r\n%b\r\n" % (len(part), part) for part in parts)
    threading.Thread(target=ends[0].sendall, args=(raw + b"0\r\nX-One: 1\r\nx-one: 2\r\n\r\nGET",)).start()

    assert body.trailers() == {}
    got = b"".join(way(body))

    assert got == b"".join(parts)
    assert body.finished
    assert body.trailers() == {"x-one": "1, 2"}
    assert body.leftover == b"GET"


def test_a_cut_inside_a_chunk_loses_nothing(ends, stream) -> None:
    """A thousand bytes of a chunk of a million are handed out before the error."""
    body = stream(b"", chunks=ChunkDecoder())
    ends[0].sendall(b"100000\r\n" + b"x" * 1000)
    ends[0].close()

    assert body.read() == b"x" * 1000
    with pytest.raises(ConnectionCut):
        body.read()


def test_bad_framing_is_told_after_the_data_before_it(ends, stream) -> None:
    """A malformed chunk is an OSError of its own, after what came before."""
    body = stream(b"", chunks=ChunkDecoder())
    ends[0].sendall(b"3\r\nabc\r\nnonsense\r\n")

    assert body.read(10) == b"abc"
    with pytest.raises(BadBody):
        body.read(10)
    assert body.malformed == "Invalid chunk size"


def test_end_wakes_a_reader_that_waits(ends, stream) -> None:
    """Another thread's end() is a cut at once."""
    body = stream(b"", remaining=100)
    threading.Timer(0.05, body.end).start()
    started = time.monotonic()

    with pytest.raises(ConnectionCut):
        body.read1()

    assert time.monotonic() - started < 2


@pytest.mark.parametrize("way", WAYS)
def test_end_hands_out_what_has_arrived_and_nothing_later(way, ends, stream) -> None:
    """A client that goes on sending cannot keep an ended upload alive."""
    body = stream(b"", remaining=1 << 30)
    ends[0].sendall(b"x" * 1000)
    until(lambda: len(ends[1].recv(1000, socket.MSG_PEEK)) == 1000)
    body.end()
    reader = way(body)
    got = next(reader)
    ends[0].sendall(b"y" * 1000)

    with pytest.raises(ConnectionCut):
        for data in reader:
            got += data

    assert got == b"x" * 1000


def test_end_before_a_thread_took_the_request_still_counts(ends) -> None:
    """An upload that waits for a thread is ended when it gets one; what came with the headers is kept."""
    body = BodyStream(b"ab", remaining=10)
    body.end()
    body.attach(ends[1], 10, 0)

    assert body.read1() == b"ab"
    with pytest.raises(ConnectionCut):
        body.read1()
    body.detach().close()


def test_silence_ends_the_body(ends, stream) -> None:
    """After body_timeout without a byte the reader gets a TimeoutError; what came is handed out before."""
    body = stream(b"", remaining=100, timeout=0.05)
    ends[0].sendall(b"abc")

    assert body.read(100) == b"abc"
    with pytest.raises(TimeoutError):
        body.read(100)


def test_a_trickle_below_the_minimum_ends_the_body(ends, stream) -> None:
    """A byte now and then is silence too."""
    body = stream(b"", remaining=1000, timeout=0.1, min_rate=1000)
    done = threading.Event()

    def trickle() -> None:
        while not done.wait(0.02):
            ends[0].sendall(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    with pytest.raises(BodyTooSlow, match="1000 bytes per second"):
        while body.read1():
            pass
    done.set()
    thread.join()


def test_time_that_the_application_takes_is_not_the_clients(ends, stream) -> None:
    """Only waiting counts against the client's rate."""
    body = stream(b"", remaining=3, timeout=0.05, min_rate=10_000)
    for _ in range(3):
        ends[0].sendall(b"x")
        time.sleep(0.06)
        assert body.read1(1) == b"x"

    assert body.finished


def test_the_client_is_told_to_continue_once_and_only_when_asked(ends, stream) -> None:
    """100 Continue goes out with the first read that has to wait."""
    said: list[int] = []
    body = stream(b"", remaining=2, say=lambda: said.append(ends[0].send(b"ab")), expects_continue=True)
    assert not said

    assert body.read() == b"ab"
    assert said == [2]


@splices
@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_WRONLY | os.O_APPEND])
def test_splice_moves_the_body_into_a_file(flags, ends, stream, tmp_path: Path) -> None:
    """Also into a file that was opened for appending, which the kernel cannot splice into."""
    data = os.urandom(300_000)
    body = stream(data[:10], remaining=len(data) - 10)
    assert body.can_splice
    thread = threading.Thread(target=ends[0].sendall, args=(data[10:],))
    thread.start()
    fd = os.open(tmp_path / "file", flags | os.O_CREAT)

    while body.splice_to(fd, 100_000):
        pass

    os.close(fd)
    thread.join()
    assert (tmp_path / "file").read_bytes() == data
    assert body.finished


@splices
def test_a_full_disk_is_told_as_it_is_and_ends_the_body(ends, stream) -> None:
    """The error of the file reaches the writer; reading on behind the hole is refused."""
    body = stream(b"", remaining=100)
    ends[0].sendall(b"x" * 50)
    fd = os.open("/dev/full", os.O_WRONLY)

    try:
        with pytest.raises(OSError, match="No space"):
            body.splice_to(fd, 100)
    finally:
        os.close(fd)

    with pytest.raises(ConnectionCut):
        body.read(1)


def test_a_whole_body_is_a_file_like_any_other() -> None:
    """io.BufferedReader and readlines work on it, and reading on at the end gives nothing."""
    assert BodyStream(b"a\nb\nc").readlines() == [b"a\n", b"b\n", b"c"]
    body = BodyStream(b"abc")
    assert (body.readline(2), body.read(-1), body.read(5), body.readinto(bytearray(5))) == (b"ab", b"c", b"", 0)
    assert body.finished
    assert io.BytesIO(BodyStream(b"x").read(None)).read() == b"x"


def test_a_stream_keeps_no_frame_alive(ends, stream) -> None:
    """The error that was raised is not remembered: it would hold the application's open files."""
    body = stream(b"", remaining=5)
    ends[0].close()

    class Held:
        pass

    def application() -> object:
        import weakref

        held = Held()
        reference = weakref.ref(held)
        with pytest.raises(ConnectionCut):
            body.read()
        return reference

    reference = application()
    import gc

    gc.collect()
    assert reference() is None


def test_crowded_body_comes_in_larger_blocks_and_whole() -> None:
    """Where many upload at once, the kernel gathers what trickles in; a cut and the end are still seen at once."""
    ours, theirs = socket.socketpair()
    stream = BodyStream(remaining=200_000)
    stream.attach(ours, 5, 0, crowded=True)
    got: list[int] = []
    reader = threading.Thread(target=lambda: read_all(stream, got))
    reader.start()

    with theirs:
        for _ in range(200):
            theirs.sendall(bytes(1000))
        reader.join(5)

    stream.detach().close()
    ours.close()
    assert not reader.is_alive()
    assert sum(got) == 200_000 and stream.finished


def test_crowded_body_that_is_cut_hands_out_all() -> None:
    """What was gathered when the client left is not lost."""
    ours, theirs = socket.socketpair()
    stream = BodyStream(remaining=200_000)
    stream.attach(ours, 5, 0, crowded=True)
    theirs.sendall(bytes(1234))
    theirs.close()
    got: list[int] = []

    with pytest.raises(OSError):
        read_all(stream, got)

    stream.detach().close()
    ours.close()
    assert sum(got) == 1234


def test_crowded_body_that_pauses_is_handed_out_soon() -> None:
    """A little that has arrived does not wait for much more."""
    ours, theirs = socket.socketpair()
    stream = BodyStream(remaining=200_000)
    stream.attach(ours, 30, 0, crowded=True)
    with theirs:
        theirs.sendall(bytes(1234))
        buffer = bytearray(4096)
        started = time.monotonic()

        assert stream.readinto(buffer) == 1234
        assert time.monotonic() - started < 5

    stream.detach().close()
    ours.close()


def read_all(stream: BodyStream, got: list[int]) -> None:
    buffer = bytearray(1 << 16)
    while size := stream.readinto(buffer):
        got.append(size)
