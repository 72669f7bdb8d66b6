"""`Relay`: a WSGI application on a server of ASGI, which reads bodies and answers in its own way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.asgi.playing import DATA, HALF, PATCH, Client, played
from tus import TusFilter
from tus.adapters.relay import Relay

TUS = {"tus-resumable": "1.0.0"}


def uploads(tmp_path: Path) -> TusFilter:
    return TusFilter(None, tmp_file_dir=str(tmp_path), upload_path="/upload", durable="none")


async def answered(app: Any, method: str, path: str, headers: dict[str, str], *parts: bytes) -> Client:
    """The request of a client that sends these parts of its body."""
    client = Client(Relay(app), method, path, headers)
    for number, part in enumerate(parts, 1):
        client.send(part, more=number < len(parts))
    return await client.run()


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def test_application_reads_a_body_of_any_size() -> None:
    """Small forms have come before it is called, and the rest of a large body is waited for in its thread."""

    async def act() -> list[bytes]:
        small = await answered(echo, "POST", "/", {"content-length": "6"}, b"abc", b"def")
        large = await answered(echo, "POST", "/", {"content-length": str(len(DATA))}, DATA[:HALF], DATA[HALF:])
        chunked = await answered(echo, "PUT", "/", {"transfer-encoding": "chunked"}, b"abc", b"def")
        return [small.body, large.body, chunked.body]

    assert played(act()) == [b"abcdef", DATA, b"abcdef"]


def test_cut_body_is_an_error_to_the_application() -> None:
    """What it would take for the end would be a file that is too short."""
    raised: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return echo(environ, start_response)
        except OSError as error:
            raised.append(error)
            start_response("400 Bad Request", [])
            return [b""]

    async def act() -> int:
        client = Client(Relay(app), "PUT", "/", {"content-length": "10"})
        client.send(b"abc")
        client.leave()
        return (await client.run()).status

    assert played(act()) == 400
    assert isinstance(raised[0], ConnectionResetError)


def test_application_may_say_its_status_with_its_first_block() -> None:
    """As PEP 3333 allows; and what it returned is closed."""
    closed = []

    class Late:
        def __init__(self, start_response: Callable[..., Any]) -> None:
            self._start = start_response

        def __iter__(self) -> Iterator[bytes]:
            self._start("418 I'm a teapot", [("X-Late", "yes")])
            yield b"one"
            yield b"two"

        def close(self) -> None:
            closed.append(True)

    client = played(answered(lambda environ, start_response: Late(start_response), "GET", "/", {}))

    assert (client.status, client.headers, client.body, closed) == (418, {"x-late": "yes"}, b"onetwo", [True])


def test_upload_behind_middleware_that_looks_into_answers_is_stored(tmp_path: Path) -> None:
    """It keeps a thread for each upload, and is as right."""
    inner = uploads(tmp_path)

    def outer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        yield from inner(environ, start_response)

    async def act() -> list[int]:
        made = await answered(outer, "POST", "/upload", {**TUS, "upload-length": str(len(DATA))}, b"")
        path = made.headers["location"]
        headers = {**TUS, **PATCH, "content-length": str(len(DATA))}
        patched = await answered(outer, "PATCH", path, headers, DATA[:HALF], DATA[HALF:])
        return [made.status, patched.status, (tmp_path / path.rpartition("/")[2]).stat().st_size]

    assert played(act()) == [201, 204, len(DATA)]


def test_stop_answers_each_upload_with_what_arrived(tmp_path: Path) -> None:
    """Those that run, and one that begins while it stops."""

    async def act() -> list[int]:
        relay = Relay(uploads(tmp_path))
        made = Client(relay, "POST", "/upload", {**TUS, "upload-length": str(len(DATA))})
        made.send(b"", more=False)
        path = (await made.run()).headers["location"]
        running = Client(relay, "PATCH", path, {**TUS, **PATCH, "content-length": str(len(DATA))})
        running.send(DATA[:HALF])
        task = asyncio.ensure_future(running.run())
        while (tmp_path / path.rpartition("/")[2]).stat().st_size < HALF:  # what is played has an end
            await asyncio.sleep(0.002)

        relay.stop()
        await task
        later = Client(relay, "PATCH", path, {**TUS, **PATCH, "upload-offset": str(HALF), "content-length": str(HALF)})
        await later.run()

        return [running.status, later.status, (tmp_path / path.rpartition("/")[2]).stat().st_size]

    assert played(act()) == [503, 503, HALF]
