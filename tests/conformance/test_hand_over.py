"""Finishing: the application gets each file once, and its answer reaches the client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import live, wire
from tests.conformance.client import BYTES, Client, every_manner, metadata

NAMED = {"Upload-Metadata": metadata(filename="hello.txt", filetype="text/x-hello")}


@pytest.mark.every_server
@pytest.mark.on_files("the application gets a path")
@every_manner
def test_application_gets_one_ordinary_request(tus: Client) -> None:
    """A POST at the collection's path, without a word of the protocol, whose body is the file's path."""
    url = tus.uploaded(b"hello", NAMED)

    (handed,) = tus.handed()

    assert (handed.method, handed.path) == ("POST", tus.path)
    assert handed.type.partition(";")[0] == "text/plain"
    assert handed.file == b"hello"
    assert handed.headers["filename"] == "hello.txt"
    assert handed.upload == tus.id(url)
    assert not [name for name in handed.headers if name.startswith(("tus-", "upload-", "x-http-method"))]


@every_manner
@pytest.mark.parametrize("option", [{"send_file": True}, {"hand_over": "file"}])
def test_application_can_get_the_file_itself(collection, option: dict[str, object]) -> None:
    """The body is the file, with its type."""
    tus = collection(**option)
    tus.uploaded(b"hello", NAMED)

    (handed,) = tus.handed()

    assert (handed.method, handed.body, handed.type) == ("POST", b"hello", "text/x-hello")


def test_application_can_get_a_form(collection) -> None:
    """The body is what a browser would have sent."""
    tus = collection(hand_over="form")
    tus.uploaded(b"hello", {"Upload-Metadata": metadata(filename="hello.txt", title="Greeting")})

    (handed,) = tus.handed()

    assert handed.type.startswith("multipart/form-data; boundary=")
    boundary = handed.type.partition("boundary=")[2].strip('"').encode()
    parts = handed.body.split(b"--" + boundary)
    assert parts[0] == b"" and parts[-1].strip() == b"--"
    assert any(b'name="title"' in part and part.endswith(b"\r\n\r\nGreeting\r\n") for part in parts)
    assert any(b'filename="hello.txt"' in part and part.endswith(b"\r\n\r\nhello\r\n") for part in parts)


def test_application_need_not_get_anything(collection) -> None:
    """Uploads can just lie there."""
    tus = collection(hand_over="none")
    url = tus.uploaded(b"hello")

    assert tus.handed() == []
    assert tus.get(url).body == b"hello"


@every_manner
def test_headers_of_the_application_reach_the_client(tus: Client) -> None:
    """The answer to the last PATCH carries what the application said, and stays a 204."""
    tus.plan(headers=[["X-Result", "42"]])
    url = tus.create(5)

    answer = tus.patch(url, 0, b"hello")

    assert (answer.status, answer["Upload-Offset"], answer["X-Result"]) == (204, "5", "42")
    assert answer.body == b""


@every_manner
def test_lost_answer_is_replayed(tus: Client) -> None:
    """The client that asks again hears what the application said, and the application is not asked again."""
    tus.plan(headers=[["X-Result", "42"]])
    url = tus.create(5)
    tus.patch(url, 0, b"hello")
    tus.plan(headers=[["X-Result", "43"]])

    answer = tus.patch(url, 5)

    assert (answer.status, answer["Upload-Offset"], answer["X-Result"]) == (204, "5", "42")
    assert len(tus.handed()) == 1


def test_body_of_the_application_can_be_passed(collection) -> None:
    """An option turns the 204 into a 200 with the application's own words."""
    tus = collection(pass_body=True)
    url = tus.create(5)

    answer = tus.patch(url, 0, b"hello")

    assert (answer.status, answer.body) == (200, b"from the application")
    assert answer["Upload-Offset"] == "5"


@every_manner
def test_trouble_reaches_the_client_and_a_retry_the_application(tus: Client) -> None:
    """What the application did not take stays here, until it takes it."""
    tus.plan(status="503 Service Unavailable", body="not today")
    url = tus.create(5)

    refused = tus.patch(url, 0, b"hello")
    again = tus.patch(url, 5)
    tus.plan()
    taken = tus.patch(url, 5)
    late = tus.patch(url, 5)

    assert (refused.status, refused.body) == (503, b"not today")
    assert again.status == 503
    assert (taken.status, taken["Upload-Offset"]) == (204, "5")
    assert late.status == 204
    assert [handed.file for handed in tus.handed()] == [b"hello"] * 3


@every_manner
def test_refusal_reaches_the_client_each_time_it_asks(tus: Client) -> None:
    """What the application does not want is not offered to it again, and no question about it gets another answer."""
    tus.plan(status="422 Unprocessable Content", body="not this", headers=[["X-Why", "because"]])
    url = tus.create(5)

    first = tus.patch(url, 0, b"hello")
    tus.plan()
    answers = [first, tus.patch(url, 5), tus.patch(url, 0, b"hello")]
    head = tus.head(url)

    for answer in answers:
        assert (answer.status, answer.body, answer["X-Why"]) == (422, b"not this", "because")
        assert answer["Content-Type"] == "text/plain"
    assert (head.status, head["X-Why"], head.get("Upload-Offset")) == (422, "because", None)
    assert tus.get(url).status == 404
    assert len(tus.handed()) == 1


def test_application_that_fails_loses_nothing(tus: Client) -> None:
    """An exception is a 5xx to the client, and the file is handed over again."""
    tus.plan(raises=True)
    url = tus.create(5)

    failed = tus.patch(url, 0, b"hello")
    tus.plan()
    taken = tus.patch(url, 5)

    assert failed.status >= 500
    assert taken.status == 204
    assert [handed.file for handed in tus.handed()] == [b"hello"] * 2


def test_redirect_is_a_success(tus: Client) -> None:
    """Applications redirect after a POST; a script that uploads has nowhere to go."""
    tus.plan(status="303 See Other", headers=[["Location", "/done"]])
    url = tus.create(5)

    answer = tus.patch(url, 0, b"hello")

    assert (answer.status, answer["Upload-Offset"]) == (204, "5")
    assert tus.patch(url, 5).status == 204
    assert len(tus.handed()) == 1


@every_manner
def test_upload_is_remembered_after_its_file_was_taken(tus: Client) -> None:
    """The bytes are gone from here, the record is not: HEAD and the late PATCH are answered."""
    url = tus.uploaded(b"hello")

    head = tus.head(url)

    assert tus.id(url) not in tus.files()
    assert (head.status, head["Upload-Offset"], head["Upload-Length"]) == (200, "5", "5")
    assert tus.patch(url, 5).status == 204
    assert tus.get(url).status == 404
    assert len(tus.handed()) == 1


def test_file_stays_where_cleaning_is_off(collection) -> None:
    """The application may want to leave it where it is."""
    tus = collection(cleanup=False)
    url = tus.uploaded(b"hello")

    assert tus.stored(url) == 5
    assert tus.patch(url, 5).status == 204
    assert len(tus.handed()) == 1


def test_answer_to_a_creation_that_finishes(tus: Client) -> None:
    """A whole file in the POST is 201 with the application's headers, and a refusal is the application's."""
    tus.plan(headers=[["X-Result", "42"]])
    own = {"Upload-Length": "5", "Content-Type": BYTES}

    taken = tus.post(own, b"hello")
    tus.plan(status="422 Unprocessable Content", body="no")
    refused = tus.post(own, b"hello")

    assert (taken.status, taken["X-Result"], taken["Upload-Offset"]) == (201, "42", "5")
    assert (refused.status, refused.body) == (422, b"no")


@pytest.mark.every_server
@pytest.mark.slow
def test_restart_does_not_hand_over_again(kind: live.Kind) -> None:
    """What was taken before the process died is not offered to the next one."""
    if not live.available(kind.name):
        pytest.skip(f"{kind.name} is not installed")
    with live.start(kind.name) as server:
        tus = Client(server, server.collection())
        url = tus.uploaded(b"hello")
        server.restart()

        assert tus.patch(url, 5).status == 204
        assert tus.offset(url) == 5
        assert len(tus.handed()) == 1


def test_application_cannot_spoil_the_protocol(tus: Client) -> None:
    """Its headers come along, each line of them, but none that contradicts ours or describes the body it has lost."""
    tus.plan(
        headers=[
            ["Set-Cookie", "a=1"],
            ["Set-Cookie", "b=2"],
            ["Upload-Offset", "77"],
            ["Tus-Resumable", "9.9.9"],
            ["Location", "/elsewhere"],
            ["Vary", "Accept"],
        ]
    )
    url = tus.create(5)

    patched = tus.patch(url, 0, b"hello")
    created = tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"hello")

    assert (patched.status, created.status) == (204, 201)
    for answer in (patched, created):
        assert answer.all("Set-Cookie") == ["a=1", "b=2"]
        assert answer.all("Upload-Offset") == ["5"]
        assert answer.all("Tus-Resumable") == ["1.0.0"]
        assert {name.lower() for name in answer.list("Vary")} >= {"origin", "accept"}
    assert patched.get("Content-Length") in (None, "0")
    assert len(created.all("Location")) == 1
    assert tus.offset(created["Location"]) == 5


def test_refused_upload_does_not_look_finished(tus: Client) -> None:
    """As long as the application has not taken the file, no HEAD makes the client believe that it has."""
    tus.plan(status="503 Service Unavailable")
    url = tus.create(5)
    tus.patch(url, 0, b"hello")

    refused = tus.head(url)
    tus.plan()
    taken = live.until(lambda: (a := tus.head(url)).status == 200 and a)

    assert refused.status == 423
    assert taken["Upload-Offset"] == "5"
    assert {handed.file for handed in tus.handed()} == {b"hello"}
    before = len(tus.handed())
    assert tus.patch(url, 5).status == 204
    assert len(tus.handed()) == before


@pytest.mark.every_server
@every_manner
def test_impatient_client_causes_one_hand_over(tus: Client) -> None:
    """While the application still thinks, retries wait or are put off; it is asked once."""
    if not tus.kind.threads:
        pytest.skip(f"{tus.kind.name} runs one request at a time")
    tus.plan(waits=True)
    url = tus.create(5)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(tus.patch, url, 0, b"hello")
        live.until(tus.handed)
        others = [pool.submit(tus.patch, url, 5), pool.submit(tus.head, url)]
        (tus.home / "go").touch()
        answers = [first.result(), *(other.result() for other in others)]

    assert answers[0].status == 204
    # 503: of two questions at the same moment, the HEAD may be the newer one, and ends the PATCH that came before it.
    assert answers[1].status in (204, 423, 503) and answers[2].status in (200, 423)
    assert tus.patch(url, 5).status == 204
    assert len(tus.handed()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("question", ["head", "patch"])
def test_hand_over_that_a_crash_interrupted_is_made_up_for(question: str) -> None:
    """A server killed while the application had the file offers it again, as soon as somebody asks."""
    with live.start() as server, ThreadPoolExecutor(1) as pool:
        tus = Client(server, server.collection())
        tus.plan(waits=True)
        url = tus.create(5)
        lost = pool.submit(tus.patch, url, 0, b"hello")
        live.until(tus.handed)
        server.kill()
        tus.plan()
        server.start()

        with pytest.raises((wire.Broken, OSError)):
            lost.result()
        answer = tus.patch(url, 5) if question == "patch" else tus.head(url)
        assert answer.status in (200, 204)
        assert [handed.file for handed in tus.handed()] == [b"hello"] * 2
        assert tus.patch(url, 5).status == 204
        assert len(tus.handed()) == 2
