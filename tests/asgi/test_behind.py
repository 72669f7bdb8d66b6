"""The application behind `TusASGI`: its own requests as they are, and each upload as one more of them."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.asgi.playing import DATA, PATCH, Site, played, scope_for
from tus import Hooks, Refused, TusFilter
from tus.adapters.handover import call


class Host:
    """An application that notes each request, and answers all alike."""

    def __init__(self, status: int = 200, headers: Any = ((b"x-said", b"yes"),)) -> None:
        self.calls: list[tuple[Any, Any, Any]] = []
        self.blocks: list[bytes] = []
        self.status, self.headers = status, headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls.append((scope, receive, send))
        if scope["type"] != "http":
            return
        more = True
        while more:
            message = await receive()
            self.blocks.append(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": b"thank ", "more_body": True})
        await send({"type": "http.response.body", "body": b"you"})


@pytest.mark.parametrize("kind", ["http", "websocket", "other"])
def test_what_is_not_ours_reaches_the_application_untouched(tmp_path: Path, kind: str) -> None:
    """The very same scope, and the very same receive and send."""
    host = Host()
    site = Site(tmp_path, host)
    scope = {**scope_for("GET", "/page", {}), "type": kind}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        pass

    played(site.app(scope, receive, send))

    ((seen, *functions),) = host.calls
    assert seen is scope
    assert functions == [receive, send]


def test_form_at_our_own_path_is_the_applications(tmp_path: Path) -> None:
    """It sees every byte: nothing was received to find that out."""
    host = Host()
    site = Site(tmp_path, host)

    async def play() -> Any:
        client = site.client("POST", "/upload", {"content-type": "multipart/form-data; boundary=x"})
        client.scope["headers"] = client.scope["headers"][1:]  # without Tus-Resumable
        client.send(b"--x--", more=False)
        return await client.run()

    answer = played(play())

    assert (answer.body, host.blocks) == (b"thank you", [b"--x--"])


def test_upload_is_handed_over_as_one_request(tmp_path: Path) -> None:
    """A POST with the path of the file; its headers reach the client, and it knows the upload."""
    host = Host()
    site = Site(tmp_path, host, cleanup=False)

    answer = played(site.whole())

    ((scope, *_),) = host.calls
    assert (answer.status, answer.headers["x-said"]) == (204, "yes")
    assert (scope["method"], scope["path"], scope["type"]) == ("POST", "/upload", "http")
    assert scope["tus.upload"].offset == len(DATA)
    assert Path(b"".join(host.blocks).decode()).parent == tmp_path
    assert not [name for name, _ in scope["headers"] if name.startswith((b"tus-", b"upload-"))]


def test_file_is_handed_over_in_blocks(tmp_path: Path) -> None:
    """It is never in memory as a whole."""
    host = Host()
    site = Site(tmp_path, host, hand_over="file")

    played(site.whole(DATA * 10))

    assert b"".join(host.blocks) == DATA * 10
    assert max(map(len, host.blocks)) <= 1 << 18


def test_upload_in_any_store_is_handed_over(tmp_path: Path) -> None:
    """One without files gives the application the file itself."""
    host = Host()
    site = Site(tmp_path, host, store="memory:")

    answer = played(site.whole())

    assert (answer.status, b"".join(host.blocks)) == (204, DATA)


def test_refusal_of_the_application_is_the_answer(tmp_path: Path) -> None:
    """As under WSGI: with its status and its words, each time that the client asks."""
    site = Site(tmp_path, Host(422))

    answer = played(site.whole())

    assert (answer.status, answer.body) == (422, b"thank you")


def test_target_of_the_application_gets_its_own_request(tmp_path: Path) -> None:
    """A resumable upload to `/photos`, by the IETF draft, arrives there as the PUT that it was."""
    host = Host(201)
    site = Site(tmp_path, host, draft_targets="/photos")

    async def play() -> Any:
        fields = {"upload-complete": "?1", "upload-draft-interop-version": "8", "content-length": "5", "x-album": "7"}
        client = site.client("PUT", "/photos", fields)
        client.scope["headers"] = client.scope["headers"][1:]
        client.send(b"hello", more=False)
        return await client.run()

    answer = played(play())

    ((scope, *_),) = host.calls
    assert (answer.status, answer.body) == (201, b"thank you")
    assert (scope["method"], scope["path"], host.blocks) == ("PUT", "/photos", [b"hello"])
    assert (b"x-album", b"7") in scope["headers"]


def test_options_of_a_target_tell_what_can_be_uploaded(tmp_path: Path) -> None:
    """The application's own answer, with our limits in it."""
    site = Site(tmp_path, Host(), draft_targets="/photos", max_size=1000)

    async def play() -> Any:
        client = site.client("OPTIONS", "/photos", {})
        client.scope["headers"] = []
        client.send(b"", more=False)
        return await client.run()

    answer = played(play())

    assert answer.headers["x-said"] == "yes"
    assert "max-size=1000" in answer.headers["upload-limit"]


def test_requests_that_wait_for_the_application_finish(tmp_path: Path) -> None:
    """A hundred at once, whose application asks for another upload before it answers: no thread of ours is missing."""

    async def curious(scope: Any, receive: Any, send: Any) -> None:
        assert (await site.ask("HEAD", other[0])).status == 200
        await Host()(scope, receive, send)

    site, other = Site(tmp_path, curious), [""]

    async def play() -> list[Any]:
        other[0] = await site.created()
        return await asyncio.gather(*(site.whole(b"hello") for _ in range(100)))

    assert {answer.status for answer in played(play())} == {204}


def test_error_of_the_application_is_the_servers(tmp_path: Path) -> None:
    """What it raises is raised to what reports errors outside, and the upload is still there."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("as planned")

    site = Site(tmp_path, broken)

    async def play() -> None:
        path = await site.created(5)
        client = site.client("PATCH", path, {**PATCH, "content-length": "5"})
        client.send(b"hello", more=False)
        with pytest.raises(RuntimeError, match="as planned"):
            await client.run()
        await asyncio.sleep(0)
        assert client.asking == 0
        assert site.file(path).read_bytes() == b"hello"

    played(play())


def test_cancelled_request_lets_the_next_one_hand_over(tmp_path: Path) -> None:
    """The server gives a request up while a hook works: nobody has the upload then, and the next request does it."""
    begun, free = threading.Event(), threading.Event()

    class Slow(Hooks):
        def finished(self, upload: Any) -> None:
            begun.set()
            assert free.wait(5)

    host = Host()
    site = Site(tmp_path, host, hooks=Slow())

    async def play() -> Any:
        path = await site.created(5)
        task = asyncio.ensure_future(site.ask("PATCH", path, body=b"hello", **PATCH))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0)
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert host.calls == []
        return await site.ask("PATCH", path, **{**PATCH, "upload-offset": "5"})

    answer = played(play())

    assert (answer.status, len(host.calls)) == (204, 1)


class Gate(Hooks):
    """Hooks of both kinds, which note where they ran."""

    def __init__(self) -> None:
        self.ran: dict[str, tuple[threading.Thread, bool]] = {}

    def _note(self, name: str) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.ran[name] = threading.current_thread(), False
        else:
            self.ran[name] = threading.current_thread(), True

    async def user(self, request: Any) -> str:  # type: ignore[override]
        await asyncio.sleep(0)
        self._note("user")
        return "anne"

    async def authorise(self, request: Any, intent: str, upload: Any) -> None:  # type: ignore[override]
        if intent == "terminate":
            raise Refused("not so", status=403)

    def created(self, upload: Any) -> None:
        self._note("created")


def test_hooks_may_be_coroutines(tmp_path: Path) -> None:
    """They run in the loop of their request, and the others in a thread; what they raise is the answer."""
    hooks = Gate()
    site = Site(tmp_path, hooks=hooks)

    async def play() -> int:
        path = await site.created()
        return (await site.ask("DELETE", path)).status

    status = played(play())

    assert hooks.ran["user"] == (threading.main_thread(), True)
    assert hooks.ran["created"][0] is not threading.main_thread()
    assert status == 403


def test_hook_that_is_a_coroutine_runs_where_there_is_no_loop(tmp_path: Path) -> None:
    """Under WSGI the thread of the request runs it."""
    filter = TusFilter(None, tmp_file_dir=str(tmp_path), hooks=Gate())
    asked = {"REQUEST_METHOD": "POST", "PATH_INFO": "/upload", "HTTP_TUS_RESUMABLE": "1.0.0", "HTTP_UPLOAD_LENGTH": "5"}

    status, _, _ = call(filter, {**asked, "wsgi.input": io.BytesIO()})

    assert status == 201
    assert [upload.owner for upload in filter.engine.uploads()] == ["anne"]


def test_loop_goes_on_while_a_hook_blocks(tmp_path: Path) -> None:
    """What waits for a disk, a lock or the host does so in another thread."""
    begun, free = threading.Event(), threading.Event()

    class Slow(Hooks):
        def before_create(self, request: Any, upload: Any) -> None:
            begun.set()
            assert free.wait(5)

    site = Site(tmp_path, hooks=Slow())

    async def play() -> None:
        creating = asyncio.ensure_future(site.ask("POST", upload_length="10"))
        while not begun.is_set():
            await asyncio.sleep(0.002)
        options = await site.ask("OPTIONS")  # answered meanwhile
        free.set()
        assert (options.status, (await creating).status) == (200, 201)

    played(play())
