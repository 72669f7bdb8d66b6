"""`tus put` with many files, one large one, proxies, logins, certificates and limits; and `tus get`."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import http.client
import importlib
import json
import os
import pty
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.cli.conftest import ROOT, Upstream, certificate, through
from tests.cli.faulty import Proxy, answer, serve_each
from tests.cli.terminal import on_terminal as on_screen
from tus.client import AsyncClient, Client, TransferRefused, Unreachable

MB = 1 << 20


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Six files in a directory with two below it."""
    for name in ("a.txt", "b.txt", "trips/c.txt", "trips/d.txt", "trips/far/e.txt", "trips/far/日.txt"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name * 100)
    return tmp_path / "album"


def relative_paths(proxy: Proxy) -> list[str]:
    """What the creations said of the places of their files."""
    found = []
    for seen in proxy.seen:
        line = next((line for line in seen.head.decode().split("\r\n") if line.startswith("Upload-Metadata")), "")
        pairs = dict(pair.split(" ") for pair in line.partition(": ")[2].split(",") if " " in pair)
        found += [base64.b64decode(pairs["relativePath"]).decode()] if "relativePath" in pairs else []
    return sorted(found)


def test_directory_keeps_its_relative_paths(run: Any, proxy: Proxy, upstream: Upstream, album: Path) -> None:
    """Every file below it arrives, in order, and its place goes along as Uppy sends it."""
    status, out, err = run(album, through(proxy), "--transfers", "3")

    paths = sorted(str(path.relative_to(album.parent)) for path in album.rglob("*.txt"))
    arrived = [upstream.content(url).decode()[:5] for url in out.split()]
    assert (status, relative_paths(proxy)) == (0, paths)
    assert arrived == ["a.txt", "b.txt", "trips", "trips", "trips", "trips"]
    assert "6 of 6 files: 100 % of" in err


def test_directory_with_a_link_that_leads_nowhere_is_sent(run: Any, proxy: Proxy, album: Path) -> None:
    """The link is named, and the rest arrives; by its own name, it is an error."""
    (album / "trips" / "lost.txt").symlink_to("nowhere")

    status, out, err = run(album, through(proxy))
    alone = run(album / "trips" / "lost.txt", through(proxy))

    assert (status, len(out.split()), "lost.txt: this link leads nowhere, and is left out" in err) == (0, 6, True)
    assert (alone[0], "lost.txt: no such file" in alone[2]) == (2, True)


def test_file_that_is_named_twice_is_sent_once(run: Any, proxy: Proxy, album: Path) -> None:
    """By the same words or by others; below a directory it has a place of its own."""
    status, out, _ = run(album / "a.txt", album / "a.txt", album / "*.txt", album / "." / "b.txt", through(proxy))

    twice = run(album, album, through(proxy))
    assert (status, len(out.split()), len(twice[1].split())) == (0, 2, 6)


def test_directory_without_files_is_named(run: Any, proxy: Proxy, tmp_path: Path) -> None:
    """Silence could be taken for success with something."""
    (tmp_path / "empty" / "deeper").mkdir(parents=True)

    status, out, err = run(tmp_path / "empty", through(proxy))

    assert (status, out) == (0, "")
    assert "empty: no file is in this directory" in err


def test_pattern_is_filled_in(run: Any, upstream: Upstream, album: Path) -> None:
    """Where no shell does it."""
    status, out, _ = run(album / "*.txt", upstream.url)

    assert (status, len(out.split())) == (0, 2)


def test_manifest_skips_what_is_there(run: Any, proxy: Proxy, album: Path, tmp_path: Path) -> None:
    """The second run sends only what is new or has changed."""
    words = (album, through(proxy), "--manifest", tmp_path / "there.jsonl")
    first = run(*words)
    (album / "b.txt").write_text("another one")
    (album / "z.txt").write_text("new")
    proxy.seen.clear()
    rehearsal = run(*words, "--dry-run")
    asked = len(proxy.seen)

    second = run(*words)

    assert (first[0], len(first[1].split())) == (0, 6)
    assert (asked, rehearsal[1].count("would skip"), rehearsal[1].count("would send")) == (0, 5, 2)
    assert (second[0], relative_paths(proxy)) == (0, ["album/b.txt", "album/z.txt"])
    assert "5 of 7 files are there already" in second[2]


def test_large_file_goes_in_parts(run: Any, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """Three parts at once, of which one is cut and resumed, become one upload with the name of the file."""
    proxy.faults.cuts = [300_000]

    status, out, err = run(file, through(proxy), "--parallel", "3", "--json")

    record = json.loads(out)
    heads = [seen.head.decode() for seen in proxy.seen if seen.method == "POST"]
    assert (status, record["bytes"]) == (0, file.stat().st_size), err
    assert upstream.content(record["url"]) == file.read_bytes()
    assert [head.count("Upload-Concat: partial") for head in heads] == [1, 1, 1, 0]
    assert "Upload-Concat: final;" in heads[-1] and "filename" in heads[-1]


def test_parts_are_resumed_by_the_next_command(run: Any, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """Parts that arrived before are not sent again."""
    proxy.faults.cuts = [300_000]
    failed = run(file, through(proxy), "--parallel", "3", "--retries", "0")
    passed = proxy.passed()

    status, out, _ = run(file, through(proxy), "--parallel", "3", "--json")

    assert (failed[0], status) == (3, 0)
    assert json.loads(out)["resumed_at"] >= 2 * MB - 3
    assert proxy.passed() - passed <= MB + 17
    assert upstream.content(json.loads(out)["url"]) == file.read_bytes()


def test_chunk_size_is_found_after_a_413_and_remembered(run: Any, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """A proxy takes no request of more than 1 MiB: the file arrives, and the next one meets no 413."""
    proxy.faults.announced_limit = MB
    first = run(file, through(proxy))
    requests = len(proxy.seen)

    second = run(file, through(proxy))

    assert (first[0], upstream.content(first[1])) == (0, file.read_bytes())
    assert "too large there; trying 1.0 MB" in first[2]
    assert (second[0], "too large" in second[2]) == (0, False)
    assert len(proxy.seen) - requests == 5


def test_file_that_changes_is_no_success(run: Any, proxy: Proxy, file: Path) -> None:
    """It is sent, and the exit status says that it may be a mixture."""

    def change(head: bytes, method: str) -> bytes:
        os.utime(file, ns=(1, 1))
        return head

    proxy.faults.answer = change

    status, out, err = run(file, through(proxy), "--json")

    assert (status, "changed while it was being sent" in err) == (4, True)
    assert json.loads(out)["error"]


def test_refused_is_told_at_once_and_apart_from_unreachable(run: Any, proxy: Proxy, file: Path) -> None:
    """A 4xx is asked once; its exit status is another one than that of a server which is not there."""
    proxy.faults.refused["POST"] = answer("403 Forbidden")

    status, _, err = run(file, through(proxy))

    assert (status, len(proxy.seen), "403 Forbidden" in err) == (1, 1, True)


def test_rate_is_limited(proxy: Proxy, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits add up to what the bytes cost."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)

    with Client(through(proxy), limit_rate=10_000, state=tmp_path, timeout=20) as client:
        found = client.put(b"x" * 50_000)

    assert upstream.content(found.url) == b"x" * 50_000
    assert 5.0 <= waits[-1] <= 5.5  # the heads of the requests count, too
    assert len(waits) >= 50


@pytest.mark.parametrize(("words", "status"), [([], 3), (["--cacert", "cert.pem"], 0), (["--insecure"], 0)])
def test_certificates(
    run: Any, upstream: Upstream, file: Path, tmp_path: Path, words: list[str], status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One of a strange authority is refused, unless that authority, or any, is trusted."""
    monkeypatch.chdir(tmp_path)
    with Proxy(upstream.address, tls=certificate(tmp_path)) as tls:
        found = run(file, f"https://{tls.netloc}/upload", *words)

    assert found[0] == status


def test_login_of_netrc(run: Any, proxy: Proxy, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used for the host that it names, and --user goes before it."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\ndefault login no password no\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    run(file, through(proxy))
    run(file, through(proxy), "--user", "you:other")

    said = [seen.head.partition(b"Basic ")[2].partition(b"\r")[0] for seen in proxy.seen if seen.method == "POST"]
    assert [base64.b64decode(word) for word in said] == [b"me:secret", b"you:other"]


class Relay:
    """A forward proxy: what it was asked first on each connection, passed on to one server."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.asked: list[bytes] = []
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://me:word@127.0.0.1:{self._listener.getsockname()[1]}"
        serve_each(self._listener, self._serve)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._upstream) as server:
            head = client.recv(65536)
            self.asked.append(head)
            if head.startswith(b"CONNECT"):
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                server.sendall(head.replace(b"http://far.invalid", b"", 1))
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump(client, server)
            back.join(20)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def relay(upstream: Upstream) -> Iterator[Relay]:
    running = Relay(upstream.address)
    yield running
    running.close()


def test_http_goes_through_the_proxy(run: Any, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is resolved there, and the login of the proxy is said to the proxy."""
    (tmp_path / "small").write_bytes(b"")
    monkeypatch.setenv("http_proxy", relay.url)

    status, out, err = run(tmp_path / "small", "http://far.invalid/upload")

    assert status == 0, err
    assert relay.asked[0].startswith(b"POST http://far.invalid/upload HTTP/1.1\r\nHost: far.invalid\r\n")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:word") in relay.asked[0]


def test_https_goes_through_a_tunnel(
    run: Any, upstream: Upstream, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees where it goes, and nothing else."""
    with Proxy(upstream.address, tls=certificate(tmp_path)) as tls:
        relay = Relay(("127.0.0.1", tls.port))
        monkeypatch.setenv("https_proxy", relay.url)
        status, out, err = run(file, f"https://{tls.netloc}/upload", "--insecure")
        relay.close()

    assert (status, upstream.content(out)) == (0, file.read_bytes()), err
    assert all(head.startswith(f"CONNECT {tls.netloc} HTTP/1.1\r\n".encode()) for head in relay.asked)


def test_no_proxy_is_obeyed(
    run: Any, relay: Relay, upstream: Upstream, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts that it names are reached directly."""
    monkeypatch.setenv("http_proxy", relay.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    status, _, _ = run(file, upstream.url)

    assert (status, relay.asked) == (0, [])


def on_terminal(words: list[object], tmp_path: Path, **environ: str) -> tuple[int, str]:
    """Exit status and what a terminal of 80 columns shows."""
    far, near = pty.openpty()
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "TERM": "xterm", "COLUMNS": "80", **environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "tus", *map(str, words)], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=near,
    )  # fmt: skip
    os.close(near)
    said = b""
    while True:
        try:
            data = os.read(far, 65536)
        except OSError:  # everything was said
            break
        if not data:
            break
        said += data
    os.close(far)
    return process.wait(), said.decode()


@pytest.mark.slow
@pytest.mark.parametrize("installed", [True, False])
def test_terminal_shows_the_total(proxy: Proxy, album: Path, tmp_path: Path, installed: bool) -> None:
    """With rich, and without it."""
    if installed:
        pytest.importorskip("rich", reason="rich is not installed")
    (tmp_path / "hidden" / "rich").mkdir(parents=True)
    (tmp_path / "hidden" / "rich" / "__init__.py").write_text("raise ImportError")
    environ = {} if installed else {"PYTHONPATH": str(tmp_path / "hidden")}

    status, said = on_terminal(["put", album, through(proxy)], tmp_path, **environ)

    assert status == 0, said
    assert "of 6 files" in said
    assert ("\x1b[" in said) == installed


def test_simple_terminal_sees_how_far_it_is(upstream: Upstream, tmp_path: Path) -> None:
    """rich would show nothing on one until the end, so that it is left alone there."""
    (tmp_path / "film.mp4").write_bytes(bytes(3_000_000))
    words = ["put", "--limit-rate", "3MB", tmp_path / "film.mp4", upstream.url]

    status, said = on_terminal(words, tmp_path, TERM="dumb")

    assert status == 0, said
    assert re.search(r"\b\d\d(\.\d)? ?%", said), said


@pytest.mark.parametrize("source", ["bytes", "stream", "blocks"])
def test_client_sends_what_is_no_file(upstream: Upstream, tmp_path: Path, source: str) -> None:
    """Bytes, a pipe of unknown length, blocks of a generator."""
    data = random.Random(4).randbytes(300_000)
    (tmp_path / "input").write_bytes(data)
    shown: list[tuple[int, int | None]] = []

    with (
        Client(upstream.url, state=tmp_path) as client,
        subprocess.Popen(["cat", tmp_path / "input"], stdout=subprocess.PIPE) as cat,
    ):
        blocks = (data[start : start + 7000] for start in range(0, len(data), 7000))
        given: Any = {"bytes": data, "stream": cat.stdout, "blocks": blocks}[source]
        found = client.put(given, name="x.png", progress=lambda sent, size: shown.append((sent, size)))
        cat.communicate()

    assert (upstream.content(found.url), found.size) == (data, 300_000)
    assert shown[-1] == (300_000, 300_000)


def test_client_says_why_it_did_not_work(proxy: Proxy, tmp_path: Path) -> None:
    """A refusal has its status, and a server that is not there is another exception."""
    proxy.faults.refused["POST"] = answer("403 Forbidden")

    with Client(through(proxy), state=tmp_path) as client, pytest.raises(TransferRefused) as refused:
        client.put(b"x")
    with Client("http://no-such-host.invalid/", state=tmp_path) as client, pytest.raises(Unreachable):
        client.put(b"x")

    assert refused.value.status == 403


def test_async_client_puts_and_gets(upstream: Upstream, tmp_path: Path) -> None:
    """Blocks that are made in the loop go up, and come back."""

    async def blocks() -> Any:
        for _ in range(30):
            await asyncio.sleep(0)
            yield b"0123456789" * 100

    async def both() -> Any:
        async with AsyncClient(upstream.url, state=tmp_path / "state") as client:
            sent = await client.put(blocks(), name="digits.txt")
            return await client.get(sent.url, tmp_path)

    found = asyncio.run(both())

    assert (Path(found.path).name, Path(found.path).read_bytes()) == ("digits.txt", b"0123456789" * 3000)


def test_task_that_is_cancelled_stops_its_upload(proxy: Proxy, upstream: Upstream, file: Path, tmp_path: Path) -> None:
    """It ends although nothing moves, and can be resumed."""
    proxy.faults.stall = MB

    async def cancelled() -> None:
        async with AsyncClient(through(proxy), state=tmp_path / "state") as client:
            task = asyncio.create_task(client.put(file))
            await asyncio.to_thread(proxy.stalled.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    live.until(lambda: upstream.content(proxy.seen[-1].target))  # nobody waited for what was cut
    proxy.faults.stall = None
    proxy.go.set()

    with Client(through(proxy), state=tmp_path / "state") as client:
        assert client.put(file).resumed_at > 0


@pytest.fixture
def fetched(upstream: Upstream, file: Path, tmp_path: Path) -> str:
    """The URL of an upload of the file."""
    with Client(upstream.url, state=tmp_path / "earlier") as client:
        return client.put(file, name="photo.png").url.rpartition("/")[2]


Command = Callable[..., "subprocess.Popen[str]"]


def test_get_goes_on_where_it_was_cut(
    command: Command, proxy: Proxy, upstream: Upstream, fetched: str, file: Path, tmp_path: Path
) -> None:
    """The first command is refused after a part arrived; the second one asks for the rest, and has the right file."""
    url, data = f"{through(proxy)}/{fetched}", file.read_bytes()
    head = f"HTTP/1.1 200 OK\r\nETag: {etag(upstream, fetched)}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    proxy.faults.canned["GET"] = [head + data[:MB], answer("403 Forbidden")]
    first = command("get", url, "-o", tmp_path / "photo.png")
    first.communicate(timeout=20)
    half = (tmp_path / "photo.png.part").stat().st_size

    second = command("get", url, "-o", tmp_path / "photo.png", "--json")
    out, err = second.communicate(timeout=20)

    record = json.loads(out)
    assert (first.returncode, half) == (1, MB)
    assert (second.returncode, record["resumed_at"]) == (0, MB), err
    assert (tmp_path / "photo.png").read_bytes() == data
    assert b"Range: bytes=1048576-" in proxy.seen[-1].head and b"If-Range: " in proxy.seen[-1].head


def etag(upstream: Upstream, id: str) -> str:
    """What the server calls this content."""
    connection = http.client.HTTPConnection(*upstream.address)
    connection.request("GET", f"/upload/{id}", headers={"Range": "bytes=0-0"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.headers["ETag"]


def test_get_has_the_name_that_was_sent(command: Command, upstream: Upstream, fetched: str, tmp_path: Path) -> None:
    """In the directory that is named; a file that is there already is not touched."""
    words = ("get", f"{upstream.url}/{fetched}", "-o", tmp_path)
    first = command(*words)
    out, err = first.communicate(timeout=20)
    second = command(*words)
    _, complaint = second.communicate(timeout=20)

    assert (first.returncode, out.strip()) == (0, str(tmp_path / "photo.png")), err
    assert (second.returncode, "is there already (--force replaces it)" in complaint) == (1, True)


@pytest.mark.parametrize("force", [False, True])
def test_get_replaces_a_file_if_it_is_told_to(
    command: Command, proxy: Proxy, fetched: str, file: Path, tmp_path: Path, force: bool
) -> None:
    """Where nobody can be asked, that is `--force`; without it the server is not even asked."""
    old = tmp_path / "old.png"
    old.write_text("precious")

    process = command("get", f"{through(proxy)}/{fetched}", "-o", old, *["--force"] * force)
    _, err = process.communicate(timeout=20)

    if force:
        assert (process.returncode, old.read_bytes()) == (0, file.read_bytes()), err
    else:
        assert (process.returncode, old.read_text(), len(proxy.seen)) == (1, "precious", 0)
        assert err.endswith("old.png is there already (--force replaces it)\n")
        assert sorted(path.name for path in tmp_path.iterdir() if "old" in path.name) == ["old.png"]


@pytest.mark.parametrize(("typed", "replaced"), [("y\n", True), ("\n", False)])
def test_get_asks_on_a_terminal(upstream: Upstream, fetched: str, tmp_path: Path, typed: str, replaced: bool) -> None:
    """Whether the name is that of the user or of the server."""
    (tmp_path / "photo.png").write_text("precious")
    for output in (tmp_path, tmp_path / "photo.png"):
        with on_screen("get", f"{upstream.url}/{fetched}", "-o", output, XDG_STATE_HOME=str(tmp_path)) as session:
            session.until(lambda session: "photo.png is there already. Replace it? [y/N]" in "".join(session.shown))
            session.type(typed)

            assert session.end() == (0 if replaced else 1), session.text

    assert ((tmp_path / "photo.png").read_bytes() == b"precious") == (not replaced)


def test_get_leaves_a_device_what_it_is(command: Command, upstream: Upstream, fetched: str, tmp_path: Path) -> None:
    """A pipe is written into, and not replaced by a file."""
    os.mkfifo(tmp_path / "pipe")
    process = command("get", f"{upstream.url}/{fetched}", "-o", tmp_path / "pipe")
    with open(tmp_path / "pipe", "rb") as pipe:
        size = len(pipe.read())

    assert process.wait(20) == 0
    assert (size, (tmp_path / "pipe").is_fifo()) == (3 * MB + 17, True)


def test_get_writes_to_standard_output(command: Command, proxy: Proxy, tmp_path: Path) -> None:
    """Also when it was cut on the way: what was written is not written again."""
    proxy.faults.canned["GET"] = [
        b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 10\r\n\r\n01234',
        b'HTTP/1.1 206 Partial Content\r\nETag: "a"\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789',
    ]

    process = command("get", through(proxy), "-o", "-")
    out, err = process.communicate(timeout=20)

    assert (process.returncode, out) == (0, "0123456789"), err


@pytest.mark.parametrize(("digest", "status"), [("wrong", 1), ("right", 0)])
def test_get_checks_the_digest(command: Command, proxy: Proxy, tmp_path: Path, digest: str, status: int) -> None:
    """What is wrong does not stay."""
    right = base64.b64encode(hashlib.sha256(b"01234").digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    said = f"Repr-Digest: sha-256=:{wrong if status else right}:"
    proxy.faults.canned["GET"] = [f"HTTP/1.1 200 OK\r\n{said}\r\nContent-Length: 5\r\n\r\n01234".encode()]

    process = command("get", through(proxy), "-o", tmp_path / "file", "--json")
    out, _ = process.communicate(timeout=20)

    assert (process.returncode, (tmp_path / "file").exists()) == (status, not status)
    assert json.loads(out).get("verified") == (None if status else "sha256")
    assert not (tmp_path / "file.part").exists()


@pytest.mark.parametrize("module", ["put", "get", "ls", "show", "rm", "sweep", "watch"])
def test_page_names_every_option(module: str) -> None:
    """What `--help` shows stands on the page of the command line."""
    page = (ROOT / "docs" / "command-line.rst").read_text("utf-8")
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(f"tus.cli.{module}").add_arguments(parser)

    options = [option for action in parser._actions for option in action.option_strings]

    assert options and [option for option in options if f"``{option}" not in page] == []
