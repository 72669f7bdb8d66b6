"""What else may go wrong with the client: a Ctrl-C, a full disk, a server that answers with another part."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.cli.conftest import Upstream, certificate, through
from tests.cli.faulty import Proxy, answer, serve_each
from tus.client import AsyncClient, Brake, Client, Stopped, TransferError, Unreachable, wire
from tus.client.connecting import Clock, NetworkError, Trust
from tus.client.link import Link
from tus.doctor import windows
from tus.doctor.visit import Visit

Command = Callable[..., Any]
PATIENCE = 60.0  # seconds until a test gives up
OLD, NEW = b"abcdefghij", b"ABCDEFGHIJ"


def whole(data: bytes, tag: str, sent: int) -> bytes:
    """An answer that is cut after so many bytes."""
    return f'HTTP/1.1 200 OK\r\nETag: "{tag}"\r\nContent-Length: {len(data)}\r\n\r\n'.encode() + data[:sent]


def part(said: str, data: bytes, tag: str) -> bytes:
    head = f'HTTP/1.1 206 Partial Content\r\nETag: "{tag}"\r\nContent-Range: bytes {said}\r\n'
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def test_interrupt_ends_all_parts(command: Command, upstream: Upstream, tmp_path: Path) -> None:
    """One Ctrl-C, and the command is over, although most of the file is still to be sent."""
    (tmp_path / "film").write_bytes(bytes(40 << 20))
    before = len(list(upstream.files.iterdir())) if upstream.files.exists() else 0
    process = command("put", "--parallel", 4, "--limit-rate", "2MB", tmp_path / "film", upstream.url)
    live.until(lambda: len(list(upstream.files.iterdir())) >= before + 4)
    process.send_signal(signal.SIGINT)

    process.communicate(timeout=8)

    assert process.returncode == 130


def test_what_cannot_be_written_is_not_the_network(command: Command, proxy: Proxy, tmp_path: Path) -> None:
    """It is said of the place, at once, and is not tried again."""
    proxy.faults.canned["GET"] = [whole(OLD, "a", 10) for _ in range(9)]

    process = command("get", through(proxy), "-o", tmp_path / "missing/film")
    _, err = process.communicate(timeout=20)

    assert (process.returncode, len(proxy.seen)) == (1, 1)
    assert "trying again" not in err and "missing/film" in err


@pytest.mark.parametrize(
    "second",
    [
        part("4-9/*", OLD[4:], "a"),  # of an unknown size, which RFC 9110 allows
        part("2-9/10", OLD[2:], "a"),  # from another byte on
        part("4-9/10", NEW[4:], "b"),  # of another file, by a server that does not know If-Range
    ],
)
def test_part_that_was_not_asked_for_is_not_written(proxy: Proxy, tmp_path: Path, second: bytes) -> None:
    """The file is fetched from its beginning."""
    proxy.faults.canned["GET"] = [whole(OLD, "a", 4), second, whole(NEW, "b", 10)]

    with Client(through(proxy), state=tmp_path / "state") as client:
        client.get(through(proxy), tmp_path / "film")

    assert (tmp_path / "film").read_bytes() == NEW


def test_part_of_another_url_is_not_gone_on_with(proxy: Proxy, tmp_path: Path) -> None:
    """Two files go to one place, and each is cut: what lies there is of the newer one."""
    refused = answer("403 Forbidden")
    proxy.faults.canned["GET"] = [whole(OLD, "a", 4), refused, whole(NEW, "b", 4), refused, whole(OLD, "a", 10)]
    with Client(through(proxy), state=tmp_path / "state") as client:
        for name in ("old", "new"):
            with pytest.raises(TransferError):
                client.get(f"{through(proxy)}/{name}", tmp_path / "film")
        client.get(f"{through(proxy)}/old", tmp_path / "film")

    assert (tmp_path / "film").read_bytes() == OLD
    assert b"Range" not in proxy.seen[-1].head


def test_task_is_cancelled_while_its_source_gives_nothing(upstream: Upstream, tmp_path: Path) -> None:
    """The thread does not wait for a block that may never come; and the source hears of it."""
    heard = []

    async def blocks() -> Any:
        yield b"first"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            heard.append(True)
            raise

    async def cancelled() -> None:
        async with AsyncClient(upstream.url, state=tmp_path / "state") as client:
            task = asyncio.create_task(client.put(blocks()))
            await asyncio.sleep(0.3)
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=10)
            assert done and task.cancelled()

    asyncio.run(cancelled())
    assert heard


def test_stop_during_a_connect(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent on the connection that comes about afterwards."""
    brake, connect = Brake(), Link.connect

    def slow(link: Link, url: str) -> wire.Connection:
        brake.pull()
        return connect(link, url)

    monkeypatch.setattr(Link, "connect", slow)
    with Client(upstream.url, state=tmp_path / "state") as client, pytest.raises(Stopped):
        client.put(b"abc", brake=brake)


def test_stop_takes_no_tls_away(tmp_path: Path) -> None:
    """Another thread may be about to send: not in the clear."""
    context = certificate(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepted = threading.Thread(target=lambda: context.wrap_socket(listening.accept()[0], server_side=True).close())
        accepted.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        connection = wire.Connection(url, Clock(10), trust=Trust(insecure=True))
        accepted.join()
    connection.abort()

    assert connection._sock.version()  # type: ignore[attr-defined]
    connection.close()


def test_window_is_asked_for_where_the_certificate_is_the_right_one(tmp_path: Path) -> None:
    """`tus check` sends its login there, too, so the fingerprint is compared on that connection as well."""
    context = certificate(tmp_path)

    def serve() -> None:
        with contextlib.suppress(OSError):
            context.wrap_socket(listening.accept()[0], server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        (accepted := threading.Thread(target=serve)).start()
        link = Link(f"https://127.0.0.1:{listening.getsockname()[1]}/", {}, Clock(10), Trust(fingerprint="0" * 64))
        with pytest.raises(NetworkError, match="another certificate"), windows._connection(Visit(link, "https://a")):
            pass
        accepted.join()


def test_socket_beyond_what_select_takes() -> None:
    """A server with many connections has numbers beyond 1023."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2000:
        pytest.skip("ulimit -n is below 2000")
    one, other = socket.socketpair()
    with one, other, socket.socket(fileno=fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 1100)) as high:
        assert wire.ready(high, 0.0, write=True) == (False, True)
        other.send(b"a")
        assert wire.ready(high, 5.0) == (True, False)


def test_addresses_that_are_none(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server that leads elsewhere, and of a proxy."""
    proxy.faults.canned["GET"] = [answer("302 Found", "Location: ftp://host/file")]
    with Client(through(proxy), state=tmp_path / "state") as client:
        with pytest.raises(TransferError, match="ftp://host/file"):
            client.get(through(proxy), tmp_path / "file")
        monkeypatch.setenv("http_proxy", "http://proxy:port")
        with pytest.raises(Unreachable, match="no URL"):
            client.put(b"abc")


@pytest.mark.parametrize(
    ("other", "same"),
    [("https://host.example:443/b", True), ("https://host.example:444/b", False), ("http://host.example/b", False)],
)
def test_credentials_go_to_the_same_host(other: str, same: bool) -> None:
    """However it is written."""
    assert wire.same_host("https://Host.example/a", other) is same


def test_server_that_is_back_gets_all_retries(proxy: Proxy, upstream: Upstream, file: Path, tmp_path: Path) -> None:
    """After a file that could not be sent, the next one does not wait; but a cut on its way is resumed as ever."""
    with Client(through(proxy), state=tmp_path / "state", retries=1) as client:
        proxy.faults.refused["POST"] = answer("503 Service Unavailable")
        with pytest.raises(Unreachable):
            client.put(b"abc")
        seen = len(proxy.seen)
        with pytest.raises(Unreachable):
            client.put(b"abc")
        assert len(proxy.seen) == seen + 1

        proxy.faults.refused.clear()
        proxy.faults.cuts.append(1 << 20)
        assert upstream.content(client.put(file).url) == file.read_bytes()


def test_stop_does_not_say_that_it_is_tried_again(proxy: Proxy, file: Path, tmp_path: Path) -> None:
    """Nothing is, and nobody wants to read it."""
    proxy.faults.stall = 1 << 20
    brake, said = Brake(), list[str]()
    stopping = threading.Thread(target=lambda: (proxy.stalled.wait(20), brake.pull()))
    stopping.start()
    with Client(through(proxy), state=tmp_path / "state") as client, pytest.raises(Stopped):
        client.put(file, brake=brake, say=said.append)
    stopping.join()
    proxy.go.set()

    assert said == []


def test_digest_that_is_none_does_not_hinder(proxy: Proxy, tmp_path: Path) -> None:
    """Not even the second command, which reads what the first one kept of it."""
    first = whole(OLD, "a", 4).replace(b"ETag", b"Repr-Digest: nonsense\r\nETag")
    proxy.faults.canned["GET"] = [first, answer("403 Forbidden"), part("4-9/10", OLD[4:], "a")]
    with Client(through(proxy), state=tmp_path / "state") as client:
        with pytest.raises(TransferError):
            client.get(through(proxy), tmp_path / "film")
        assert client.get(through(proxy), tmp_path / "film").resumed_at == 4

    assert (tmp_path / "film").read_bytes() == OLD


def test_part_of_somebody_else_is_not_touched(proxy: Proxy, tmp_path: Path) -> None:
    """A browser may call its own downloads so."""
    (tmp_path / "film.part").write_bytes(b"precious")
    proxy.faults.canned["GET"] = [whole(OLD, "a", 10)]
    with Client(through(proxy), state=tmp_path / "state") as client, pytest.raises(TransferError, match="already"):
        client.get(through(proxy), tmp_path / "film")

    assert (tmp_path / "film.part").read_bytes() == b"precious"


def test_name_in_no_character_set(proxy: Proxy, tmp_path: Path) -> None:
    """The file has the name of its URL then."""
    said = b"Content-Disposition: attachment; filename*=a\0b''x\r\nETag"
    proxy.faults.canned["GET"] = [whole(OLD, "a", 10).replace(b"ETag", said)]
    with Client(through(proxy), state=tmp_path / "state") as client:
        found = client.get(through(proxy) + "/film", tmp_path)

    assert found.path == str(tmp_path / "film")


def connecting(port: int) -> int:
    """How many connections to this port wait for an answer."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "02" for line in lines)


@contextlib.contextmanager
def crowded() -> Iterator[int]:
    """A port whose queue is full: nobody is refused there, and nobody gets through."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        port = listener.getsockname()[1]
        while not connecting(port):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


@pytest.mark.parametrize("wait", ["connect", "TLS", "proxy", "name"])
def test_task_is_cancelled_while_it_connects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: str) -> None:
    """At once, and not when the time is over: in a connect, a handshake, a tunnel, a question for the name."""
    begun, go = threading.Event(), threading.Event()

    def unanswered(*_: Any, **__: Any) -> Any:
        begun.set()
        go.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    async def cancelled(url: str, under_way: Callable[[], object]) -> float:
        async with AsyncClient(url, state=tmp_path / "state", timeout=5 * PATIENCE) as client:
            task = asyncio.create_task(client.put(b"abc"))
            await asyncio.to_thread(live.until, under_way, within=PATIENCE)
            task.cancel()
            began = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - began

    with contextlib.ExitStack() as stack:
        port = stack.enter_context(crowded()) if wait == "connect" else live.free_port()
        before = connecting(port)
        url, under_way = f"http://127.0.0.1:{port}", lambda: connecting(port) > before
        if wait in ("TLS", "proxy"):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
            serve_each(listener, lambda client: (client.recv(1), begun.set(), go.wait(PATIENCE), client.close()))
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            url, under_way = f"https://127.0.0.1:{port}", begun.is_set
        if wait == "proxy":
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            url = "https://far.invalid"
        if wait == "name":
            monkeypatch.setattr(socket, "getaddrinfo", unanswered)
            url, under_way = "http://far.invalid", begun.is_set
        stack.callback(go.set)

        seconds = asyncio.run(cancelled(url, under_way))

    assert seconds < PATIENCE
