"""`AsyncTus` in endpoints: of FastAPI, of Starlette, and of nobody's framework."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from tests.asgi.playing import DATA, HALF, PATCH, Client, played
from tus import AsyncTus

fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed (pip install -e .[examples])")

METHODS = ["OPTIONS", "POST", "HEAD", "PATCH", "GET", "DELETE"]


class Server:
    """An application of FastAPI with an endpoint at /files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.app = app = fastapi.FastAPI()
        self.finished: Callable[[AsyncTus], Any] = self.keep
        self.kept: list[bytes] = []

        def user(authorization: Annotated[str, fastapi.Header()] = "") -> str:
            if not authorization:
                raise fastapi.HTTPException(401, "who are you?")
            return authorization

        def upload(request: fastapi.Request) -> AsyncTus:
            return AsyncTus(request, tmp_file_dir=str(directory), upload_path="/files", durable="none")

        @app.api_route("/files", methods=METHODS, dependencies=[fastapi.Depends(user)])
        @app.api_route("/files/{id:path}", methods=METHODS, dependencies=[fastapi.Depends(user)])
        async def files(tus: AsyncTus = fastapi.Depends(upload)) -> Any:  # noqa: B008
            await tus.handle()
            if tus.upload_finished:
                await self.finished(tus)
            return tus.response

    async def keep(self, tus: AsyncTus) -> None:
        self.kept.append(Path(await tus.get_filepath()).read_bytes())
        await tus.cleanup()

    def client(self, method: str, path: str = "/files", **headers: str) -> Client:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return Client(self.app, method, path, {"tus-resumable": "1.0.0", "authorization": "Basic x", **fields})

    async def ask(self, method: str, path: str = "/files", body: bytes = b"", **headers: str) -> Client:
        client = self.client(method, path, **headers, content_length=str(len(body)))
        client.send(body, more=False)
        return await client.run()

    async def created(self, size: int = len(DATA)) -> str:
        return (await self.ask("POST", upload_length=str(size))).headers["location"]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "uploads")


def test_endpoint_takes_an_upload(server: Server) -> None:
    """It gets the file once, and removes it."""

    async def play() -> None:
        path = await server.created()

        answer = await server.ask("PATCH", path, DATA, **PATCH)

        assert (answer.status, answer.headers["upload-offset"]) == (204, str(len(DATA)))
        assert server.kept == [DATA]
        assert not (server.directory / path.rpartition("/")[2]).exists()
        assert (await server.ask("HEAD", path)).headers["upload-offset"] == str(len(DATA))

    played(play())


def test_dependency_refuses_before_a_byte_is_read(server: Server) -> None:
    """Somebody who is not logged in is told so, and the server is never asked for the body."""

    async def play() -> Client:
        path = await server.created()
        client = server.client("PATCH", path, authorization="", content_length=str(len(DATA)), **PATCH)
        return await client.run()

    answer = played(play())

    assert (answer.status, answer.most) == (401, 0)


def test_body_of_an_endpoint_is_stored_as_it_comes(server: Server) -> None:
    """What came before the client left is there."""

    async def play() -> None:
        path = await server.created()
        client = server.client("PATCH", path, content_length=str(len(DATA)), **PATCH)
        client.send(DATA[:HALF])
        client.leave()

        await client.run()

        assert (await server.ask("HEAD", path)).headers["upload-offset"] == str(HALF)

    played(play())


def test_endpoint_may_say_something(server: Server) -> None:
    """In the body of the answer, which then is a 200."""

    async def finished(tus: AsyncTus) -> None:
        with await tus.open() as file:
            server.kept.append(file.read())
        tus.response.body = b"number 7"
        tus.response.raw_headers.append((b"x-number", b"7"))

    server.finished = finished

    async def play() -> Client:
        return await server.ask("PATCH", await server.created(5), b"hello", **PATCH)

    answer = played(play())

    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"number 7", "8")
    assert (answer.headers["upload-offset"], answer.headers["x-number"]) == ("5", "7")
    assert server.kept == [b"hello"]


def test_upload_waits_for_an_endpoint_that_failed(server: Server) -> None:
    """A HEAD gets 423, since nobody has taken the file; the next request hands it over again."""

    async def broken(tus: AsyncTus) -> None:
        raise RuntimeError("as planned")

    async def play() -> None:
        path = await server.created(5)
        server.finished = broken
        with pytest.raises(RuntimeError, match="as planned"):
            await server.ask("PATCH", path, b"hello", **PATCH)
        gc.collect()
        server.finished = server.keep

        answer = await server.ask("PATCH", path, b"", **{**PATCH, "upload-offset": "5"})

        assert answer.status == 204
        assert server.kept == [b"hello"]

    played(play())


def test_download_is_sent_in_blocks(server: Server) -> None:
    """The endpoint returns it like every other answer."""

    async def left(tus: AsyncTus) -> None:
        pass

    server.finished = left

    async def play() -> Client:
        path = await server.created(len(DATA) * 10)
        await server.ask("PATCH", path, DATA * 10, **PATCH)
        return await server.ask("GET", path)

    answer = played(play())

    assert (answer.status, answer.body) == (200, DATA * 10)


def test_routes_are_in_the_documentation(server: Server) -> None:
    """FastAPI lists an endpoint with uploads like any other."""
    with pytest.warns(UserWarning, match="Duplicate Operation ID"):  # FastAPI: one function, several methods
        paths = server.app.openapi()["paths"]

    assert set(paths["/files"]) == {method.lower() for method in METHODS}


def test_bare_application_takes_uploads(tmp_path: Path) -> None:
    """Scope and receive are enough, and the answer is an application."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        tus = AsyncTus(scope, receive, tmp_file_dir=str(tmp_path), durable="none")
        assert tus.valid
        await tus.handle()
        await tus.response(scope, receive, send)

    async def play() -> Client:
        client = Client(application, "POST", "/upload", {"tus-resumable": "1.0.0", "upload-length": "5"})
        return await client.run()

    answer = played(play())

    assert (answer.status, answer.headers["location"][:8]) == (201, "/upload/")


def test_endpoint_opens_an_upload_in_any_store() -> None:
    """One without files has no path for it."""
    seen: list[bytes] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        tus = AsyncTus(scope, receive, store="memory:")
        await tus.handle()
        if tus.upload_finished:
            with await tus.open() as file:
                seen.append(file.read())
        await tus.response(scope, receive, send)

    async def play() -> Client:
        fields = {"tus-resumable": "1.0.0", "upload-length": "5", "content-type": PATCH["content-type"]}
        client = Client(application, "POST", "/upload", {**fields, "content-length": "5"})
        client.send(b"hello", more=False)
        return await client.run()

    assert (played(play()).status, seen) == (201, [b"hello"])


def test_request_of_a_filter_in_front_is_not_ours(tmp_path: Path) -> None:
    """What is handed over is the endpoint's, like a form."""
    scope = Client(None, "POST", "/upload", {}).scope
    tus = AsyncTus({**scope, "tus.upload": object()}, lambda: asyncio.sleep(0), tmp_file_dir=str(tmp_path))

    assert not tus.valid
