"""A finished upload that is downloaded, by a server that can send a file by itself, and by one that cannot."""

from __future__ import annotations

from typing import Any

import pytest

from tests import live
from tests.asgi.playing import DATA, PATCH, Site, played
from tests.conformance.client import Client

PATHS = {"http.response.pathsend": {}}


async def told(site: Site, path: str, **more: Any) -> list[dict[str, Any]]:
    """What the server is told in answer to a GET."""
    client = site.client("GET", path, more.pop("headers", {}), **more)
    client.send(b"", more=False)
    seen: list[dict[str, Any]] = []

    async def keep(message: dict[str, Any]) -> None:
        seen.append(message)

    client.told = keep  # type: ignore[method-assign]
    await client.run()
    return seen


async def finished(site: Site) -> str:
    kind = PATCH["content-type"]
    answer = await site.ask("POST", body=DATA, upload_length=str(len(DATA)), content_type=kind)
    assert answer.headers["upload-offset"] == str(len(DATA))
    return answer.headers["location"]


def bodies(messages: list[dict[str, Any]]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


def test_server_that_sends_files_gets_the_name(site: Site) -> None:
    """Of the whole file; nothing of it passes through Python."""

    async def play() -> None:
        path = await finished(site)

        start, file = await told(site, path, extensions=PATHS)

        assert (start["status"], dict(start["headers"])[b"content-length"]) == (200, b"%d" % len(DATA))
        assert (file["type"], file["path"]) == ("http.response.pathsend", str(site.file(path).resolve()))

    played(play())


@pytest.mark.parametrize("extensions", [None, {}, PATHS])
def test_range_comes_in_blocks(site: Site, extensions: dict[str, Any] | None) -> None:
    """A server could only send all of the file."""

    async def play() -> None:
        path = await finished(site)

        messages = await told(site, path, headers={"range": "bytes=5-14"}, extensions=extensions)

        assert (messages[0]["status"], bodies(messages)) == (206, DATA[5:15])

    played(play())


def test_file_without_a_name_comes_in_blocks(site: Site) -> None:
    """It is removed after it was opened; and a server without the extension never hears a name."""

    async def play() -> None:
        path = await finished(site)
        plain = await told(site, path)
        found = site.engine.store.open

        def opened(id: str, start: int = 0) -> Any:
            file = found(id, start)
            site.file(path).unlink()
            return file

        site.engine.store.open = opened  # type: ignore[method-assign]
        unnamed = await told(site, path, extensions=PATHS)

        assert bodies(plain) == bodies(unnamed) == DATA

    played(play())


@pytest.mark.slow
def test_granian_sends_the_file_by_itself() -> None:
    """Byte by byte what was uploaded, on a connection that serves the next request, too."""
    if not live.available("asgi-granian"):
        pytest.skip("granian is not installed (pip install granian)")
    with live.start("asgi-granian", durable="none", hand_over="none") as server:
        tus = Client(server, "")
        url = tus.create(len(DATA))
        assert tus.patch(url, 0, DATA).status == 204

        answers = [tus.ask("GET", url) for _ in range(2)]

        assert [(answer.status, answer.body == DATA) for answer in answers] == [(200, True)] * 2
