"""`tus serve --http3`: the same uploads over QUIC."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
from base64 import b64encode
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

for module in ("granian", "h2", "cryptography", "aioquic"):
    pytest.importorskip(module, reason=f"{module} is not installed (pip install 'tus[http3,test]')")

from tests import live  # noqa: E402
from tests.https.conftest import Secure, replace  # noqa: E402
from tests.https.datagrams import PATCH, TUS, Flow, Quic, connected  # noqa: E402

SIZE = 300_000
HALF = SIZE // 2
NO_ERROR = 0x100

pytestmark = pytest.mark.slow


def played(act: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(act, 90))


async def created(quic: Quic, size: int = SIZE) -> str:
    """The path of a new upload."""
    answer = await quic.ask("POST", "/files", {**TUS, "upload-length": str(size)})
    assert answer.status == 201, answer
    return "/" + answer.headers["location"].split("/", 3)[3]


async def begun(server: Secure, quic: Quic) -> tuple[str, Flow]:
    """A new upload, and the request that has sent half of it and says nothing more."""
    path = await created(quic)
    flow = quic.begin("PATCH", path, {**PATCH, "content-length": str(SIZE)})
    await quic.send(flow, bytes(HALF))
    while server.stored(path) < HALF:  # what is played has an end
        await asyncio.sleep(live.POLL)
    return path, flow


def test_upload_and_page_come_over_http3(serve: Callable[..., Secure]) -> None:
    """A client that came by HTTP/2 is told where; there the page and the whole of an upload are the same."""
    server = serve("--tls-self-signed", "--http3", "--access-log", "-")
    data = os.urandom(SIZE)

    async def act() -> tuple[str, Flow, Flow, Flow]:
        async with connected(server.address) as quic:
            path = await created(quic)
            patched = await quic.ask("PATCH", path, PATCH, body=data)
            return path, patched, await quic.ask("GET", path, {}), await quic.ask("GET", "/", {})

    with server.connect() as connection:
        told = connection.ask("GET", "/", {})
    path, patched, got, page = played(act())

    assert told.headers["alt-svc"] == f'h3=":{server.address[1]}"; ma=86400'
    assert (patched.status, patched.headers["upload-offset"]) == (204, str(SIZE))
    assert (got.status, got.body == data) == (200, True)
    assert page.status == 200 and b"<script" in page.body
    assert f'"PATCH {path} HTTP/3" 204' in server.said(f"PATCH {path}")


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "PATCH"])
def test_request_that_takes_over_stops_the_old_stream(serve: Callable[..., Secure], method: str) -> None:
    """The old one is answered 503, and its client is asked for no more; the connection goes on."""
    server = serve("--tls-self-signed", "--http3")

    async def act() -> tuple[Flow, Flow, Flow]:
        async with connected(server.address) as quic:
            path, flow = await begun(server, quic)
            headers = {**PATCH, "upload-offset": str(HALF)} if method == "PATCH" else TUS
            answer = await quic.ask(method, path, headers, body=b"rest" if method == "PATCH" else b"")
            await quic.until(lambda: flow.stopped is not None and flow.ended)
            return answer, flow, await quic.ask("OPTIONS", "/files")

    answer, flow, after = played(act())

    assert answer.status == (200 if method == "HEAD" else 204)
    assert (flow.status, flow.stopped) == (503, NO_ERROR)
    assert after.headers["tus-version"] == "1.0.0"


def test_client_that_gives_a_stream_up_loses_nothing(serve: Callable[..., Secure]) -> None:
    """What arrived is stored, and the upload goes on over the same connection."""
    server = serve("--tls-self-signed", "--http3")

    async def act() -> tuple[Flow, Flow]:
        async with connected(server.address) as quic:
            path, flow = await begun(server, quic)
            quic.give_up(flow)
            head = await quic.ask("HEAD", path)
            rest = {**PATCH, "upload-offset": str(HALF)}
            return head, await quic.ask("PATCH", path, rest, body=bytes(HALF))

    head, answer = played(act())

    assert head.headers["upload-offset"] == str(HALF)
    assert (answer.status, answer.headers["upload-offset"]) == (204, str(SIZE))


def test_renewed_certificate_cuts_no_upload_over_http3(
    serve: Callable[..., Secure], pair: Callable[[str], tuple[str, str]]
) -> None:
    """SIGHUP: a new connection gets the new one, and the old connection goes on."""
    files, renewed = pair("first"), pair("second")
    server = serve("--tls-cert", files[0], "--tls-key", files[1], "--http3")

    async def act() -> Flow:
        async with connected(server.address) as quic:
            _, flow = await begun(server, quic)
            replace(files, renewed)
            server.process.send_signal(signal.SIGHUP)
            while await certificate(server) == quic.certificate:
                await asyncio.sleep(live.POLL)  # what is played has an end
            await quic.send(flow, bytes(HALF), end=True)
            await quic.until(lambda: flow.ended)
            return flow

    flow = played(act())

    assert (flow.status, flow.headers["upload-offset"]) == (204, str(SIZE))


async def certificate(server: Secure) -> bytes:
    async with connected(server.address) as quic:
        return quic.certificate


def test_stop_keeps_what_arrived_over_http3(serve: Callable[..., Secure]) -> None:
    """SIGTERM: the upload is stored as far as it came, its client is told so, and the process ends by itself."""
    server = serve("--tls-self-signed", "--http3", "--workers", "2")

    async def act() -> tuple[str, Flow]:
        async with connected(server.address) as quic:
            path, flow = await begun(server, quic)
            server.process.send_signal(signal.SIGTERM)
            await quic.until(lambda: flow.ended)
            return path, flow

    path, flow = played(act())

    assert (flow.status, server.process.wait(live.STOP), server.stored(path)) == (503, 0, HALF)


def test_taken_port_of_udp_is_named(serve: Callable[..., Secure]) -> None:
    """Another server may have it, though that of TCP is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])

        server = serve("--tls-self-signed", "--http3", "--port", port)
        status = server.process.wait(30)

    assert status == 2 and f"UDP 127.0.0.1:{port}" in server.complaint


def test_checksum_may_follow_the_body_over_http3(serve: Callable[..., Secure]) -> None:
    """aioquic shows trailers, so `checksum-trailer` is announced there, and what does not match is refused."""
    server = serve("--tls-self-signed", "--http3")
    right = "sha1 " + b64encode(hashlib.sha1(b"abc").digest()).decode()

    async def act() -> tuple[Flow, list[int]]:
        async with connected(server.address) as quic:
            told = await quic.ask("OPTIONS", "/files")
            answers = []
            for body in (b"abc", b"abd"):
                path = await created(quic, 3)
                flow = quic.begin("PATCH", path, {**PATCH, "trailer": "upload-checksum"})
                await quic.send(flow, body)
                quic.trail(flow, {"upload-checksum": right})
                await quic.until(lambda flow=flow: flow.ended)
                answers.append(flow.status)
            return told, answers

    told, answers = played(act())

    assert "checksum-trailer" in told.headers["tus-extension"]
    assert answers == [204, 460]


def test_creation_of_the_draft_is_told_its_address_before_the_body_has_come(serve: Callable[..., Secure]) -> None:
    """104 over HTTP/3, with the place of the upload, while its body is on its way."""
    server = serve("--tls-self-signed", "--http3")
    headers = {"upload-draft-interop-version": "8", "upload-complete": "?1", "content-length": str(SIZE)}

    async def act() -> Flow:
        async with connected(server.address) as quic:
            flow = quic.begin("POST", "/files", headers)
            await quic.send(flow, bytes(HALF))
            await quic.until(lambda: flow.interim)
            await quic.send(flow, bytes(HALF), end=True)
            await quic.until(lambda: flow.ended)
            return flow

    flow = played(act())

    assert flow.interim[0][":status"] == "104" and "/files/" in flow.interim[0]["location"]
    assert 200 <= flow.status < 300
