"""Whose chunk is it, where nobody logs in: visitors at one address, with one browser, one file name and one size, on
real sockets; and what a stranger can do who knows all of these.
"""

from __future__ import annotations

import base64
import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from tests import live, wire
from tests.chunks.conftest import MakePage, Page, form
from tests.chunks.visitor import SIZE, Visitor
from tus import Hooks

CALM = {"durable": "none", "sweep_interval": "none"}
BYTES = "application/octet-stream"
MANY = 6
OURS, THEIRS = (random.Random(seed).randbytes(MANY * SIZE) for seed in (1, 2))
WORDS = {
    "flowChunkSize": SIZE,
    "flowTotalSize": len(OURS),
    "flowTotalChunks": MANY,
    "flowIdentifier": f"{len(OURS)}-photo.jpg",
    "flowFilename": "photo.jpg",
}


class Place:
    """A collection on a live server, and visitors of it."""

    def __init__(self, server: live.Live, **options: Any) -> None:
        self.server, self.name = server, server.collection(**CALM, **options)
        self.home = server.home / self.name

    def visitor(self, data: bytes = OURS, **more: Any) -> Visitor:
        return Visitor(self.server.address, f"{self.server.path(self.name)}/chunks", data, **more)

    def handed(self) -> list[bytes]:
        """Each file that the application got."""
        records = sorted((self.home / "handed").glob("*.json"))
        return [base64.b64decode(json.loads(record.read_text())["file"]) for record in records]


@pytest.fixture(params=["server", "workers"])
def place(request: pytest.FixtureRequest) -> Place:
    return Place(request.getfixturevalue(request.param))


def at_once(*deeds: Callable[[], Any]) -> None:
    """Begun in the same moment, and waited for."""
    gate = threading.Barrier(len(deeds))

    def run(deed: Callable[[], Any]) -> None:
        gate.wait(5)
        deed()

    threads = [threading.Thread(target=run, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def query(number: int, **more: Any) -> str:
    return "?" + urlencode({**WORDS, "flowChunkNumber": number + 1, **more})


def piece(data: bytes, number: int) -> bytes:
    return data[number * SIZE :] if number == MANY - 1 else data[number * SIZE :][:SIZE]


def send(page: Page, number: int, data: bytes = OURS, **more: Any) -> Any:
    headers = {name: more.pop(name) for name in list(more) if name[0].isupper()}
    return page("POST", f"/chunks{query(number, **more)}", piece(data, number), BYTES, **headers)


def ask(page: Page, number: int, **more: Any) -> Any:
    return page("GET", f"/chunks{query(number, **more)}")


# Strangers


@pytest.mark.parametrize("tests", [True, False], ids=["asking", "not asking"])
@pytest.mark.parametrize("round", range(5))
def test_two_visitors_with_one_name_and_size_get_a_file_each(place: Place, tests: bool, round: int) -> None:
    """flow.js, from one address, with one browser, in one moment, three chunks each before any cookie came back."""
    one, two = place.visitor(OURS, tests=tests), place.visitor(THEIRS, tests=tests)

    at_once(one.flow, two.flow)

    assert (one.outcome, two.outcome) == ("arrived", "arrived")
    assert sorted(place.handed()) == sorted([OURS, THEIRS])


@pytest.mark.parametrize("round", range(5))
def test_two_telephones_that_call_every_photo_the_same(place: Place, round: int) -> None:
    """plupload has nothing but the file's name, which is image.jpg on every telephone."""
    one, two = place.visitor(OURS, name="image.jpg"), place.visitor(THEIRS, name="image.jpg")

    at_once(one.plupload, two.plupload)

    assert (one.outcome, two.outcome) == ("arrived", "arrived")
    assert sorted(place.handed()) == sorted([OURS, THEIRS])


@pytest.mark.parametrize("library", ["flow", "plupload"])
@pytest.mark.parametrize("tests", [True, False], ids=["asking", "not asking"])
def test_browsers_that_keep_no_cookies_are_refused(place: Place, library: str, tests: bool) -> None:
    """Nothing tells them apart, so neither gets a file, and both hear why."""
    one, two = (place.visitor(data, cookies=False, tests=tests) for data in (OURS, THEIRS))

    at_once(*(getattr(visitor, library) for visitor in (one, two)))

    assert "cookie" in one.outcome and "uploadKey" in two.outcome
    assert place.handed() == []


@pytest.mark.parametrize("library", ["flow", "plupload"])
def test_key_of_the_page_stands_for_a_cookie(place: Place, library: str) -> None:
    """A page of another site, or a program, sends a random key with each chunk, in the URL or in a field."""
    visitors = [place.visitor(data, cookies=False, said={"uploadKey": str(uuid4())}) for data in (OURS, THEIRS)]

    at_once(*(getattr(visitor, library) for visitor in visitors))

    assert [visitor.outcome for visitor in visitors] == ["arrived", "arrived"]
    assert sorted(place.handed()) == sorted([OURS, THEIRS])
    assert not any(visitor.jar for visitor in visitors)


def test_two_people_who_share_an_account_get_a_file_each(make_page: MakePage) -> None:
    """One password for everybody makes one user of all; their browsers still are two."""

    class Everybody(Hooks):
        def user(self, request: Any) -> str:
            return "everybody"

    one = make_page(hooks=Everybody())
    two = one.visitor()
    for page in (one, two):
        ask(page, 0)

    for number in range(MANY):
        assert (send(one, number).status_int, send(two, number, THEIRS).status_int) == (200, 200)

    assert one.handed == [OURS, THEIRS]


def test_hook_is_asked_once_who_it_is(make_page: MakePage) -> None:
    """It may take its time, and may make another name of the server's; however many cookies the visitor has."""

    class Directory(Hooks):
        def user(self, request: Any) -> str:
            asked.append(1)
            return f"ldap:{request.user}"

    asked: list[int] = []
    page = make_page(hooks=Directory())
    for _ in range(3):
        other = page.visitor()
        ask(other, 0)
        page.cookies += other.cookies
    asked.clear()

    assert [send(page, number).status_int for number in range(MANY)] == [200] * MANY
    assert page.uploads[0].owner == "ldap:None"
    assert len(asked) == MANY


def test_page_that_is_reloaded_goes_on_with_its_cookie(place: Place) -> None:
    """What is stored is not sent again, while another visitor with the same words begins at nothing."""
    first = place.visitor()
    first.ask("GET", f"?{urlencode(first.words(0))}")
    for number in (0, 1):
        first.ask("POST", "", *form(first.words(number), first.piece(number)))
    reloaded, stranger = place.visitor(jar=first.jar), place.visitor()

    reloaded.flow()
    stranger.ask("GET", f"?{urlencode(stranger.words(0))}")

    assert reloaded.outcome == "arrived"
    assert sorted(reloaded.heard) == [200] * MANY + [204] * (MANY - 2)
    assert stranger.heard == [204]
    assert place.handed() == [OURS]


def test_stranger_who_knows_everything_but_the_cookie_finds_nothing(make_page: MakePage) -> None:
    """He neither learns the URL of a finished upload, nor writes into one that runs."""
    page = make_page(cleanup=False)
    ask(page, 0)
    ids = {send(page, number).json["id"] for number in range(MANY)}
    running = {"flowIdentifier": "other"}
    send(page, 0, **running)
    stranger = page.visitor()

    seen = [ask(stranger, number) for number in range(MANY)]
    theirs = {send(stranger, number, THEIRS).json["id"] for number in range(MANY)}
    for number in range(1, MANY):
        send(stranger, number, THEIRS, **running)
        send(page, number, **running)

    assert {answer.status_int for answer in seen} == {204}
    assert not ids & theirs
    assert page.handed == [OURS, THEIRS, OURS]


def test_first_cookie_counts_while_others_arrive(page: Page) -> None:
    """Three requests at once bring three cookies, of which the browser sends one, then two, then three."""
    for number in range(3):
        browser = page.visitor()
        ask(browser, number)
        page.cookies += browser.cookies
    every, page.cookies = page.cookies, []

    for number in range(MANY):
        page.cookies = every[: number + 1]
        assert send(page, number).status_int == 200

    assert page.handed == [OURS]


def test_order_of_cookies_does_not_part_the_chunks(page: Page) -> None:
    """A browser that sorts them otherwise goes on with what it began under one of them."""
    for _ in range(3):
        browser = page.visitor()
        ask(browser, 0)
        page.cookies += browser.cookies

    for number in range(MANY):
        send(page, number)
        page.cookies.reverse()

    assert page.handed == [OURS]


@pytest.mark.parametrize("mark", ["; ", ";", ",", ", "])
def test_cookie_is_found_among_others(page: Page, mark: str) -> None:
    """HTTP/2 has a field for each, which servers join as they like."""
    ask(page, 0)
    (own,) = page.cookies
    for number, cookies in enumerate([["a=1", own], [own, "b=2"], ["a=1", own, "b=2"]] * 2):
        page.cookies = [mark.join(cookies)]
        assert send(page, number).status_int == 200

    assert page.handed == [OURS]


def test_cookie_is_nobody_elses_business(page: Page) -> None:
    """No script reads it, no other site sends it, it is set once, and only where it is needed."""
    first = ask(page, 0)
    again = ask(page, 0)
    keyed = page.visitor()("GET", f"/chunks{query(0, uploadKey='k' * 20)}")
    secure = page.visitor()("GET", f"/chunks{query(0)}", Host="photos.example")

    (cookie,) = first.headers.getall("Set-Cookie")
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Domain" not in cookie
    assert "Set-Cookie" not in again.headers
    assert "Set-Cookie" not in keyed.headers
    assert "Secure" not in secure.headers["Set-Cookie"]


def test_cookie_of_a_secure_site_is_secure(make_page: MakePage) -> None:
    """Who listens to a request without TLS must not learn it, and no neighbour can choose it."""
    page = make_page(public_url="https://photos.example/upload")

    cookie = ask(page, 0).headers["Set-Cookie"]

    assert cookie.startswith("__Host-")
    assert "; Secure" in cookie and "; Path=/" in cookie


@pytest.mark.parametrize("many", [1, 20])
def test_cookie_that_a_neighbour_put_there_does_not_count(make_page: MakePage, many: int) -> None:
    """It comes first, with a longer path, and he knows what is in it; the one for this host alone is not his."""
    page = make_page(public_url="https://photos.example/upload")
    ask(page, 0)
    (own,) = page.cookies
    planted = [f"tus-visitor-{number:08}={'0' * 32}" for number in range(many)]
    page.cookies = [*planted, own]
    send(page, 0)

    neighbour = page.visitor()
    neighbour.cookies = planted

    assert ask(page, 0).status_int == 200
    assert ask(neighbour, 0).status_int == 204


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_another_site_need_a_key(page: Page, site: str) -> None:
    """Cookies don't go there, or go there in somebody else's name; the reason is told at once."""
    ask(page, 0)
    page.cookies += ["a=b"]
    sent = {"Sec-Fetch-Site": site, "Origin": "http://other.example"}

    asked = page.visitor()("GET", f"/chunks{query(0)}", **sent)
    keyed = page.visitor()("POST", f"/chunks{query(0, uploadKey='k' * 20)}", piece(OURS, 0), BYTES, Host="h", **sent)

    assert (asked.status_int, "uploadKey" in asked.text) == (415, True)
    assert "Set-Cookie" not in asked.headers
    assert keyed.status_int == 200


def test_cookie_in_the_hands_of_a_neighbours_page_counts_for_nothing(make_page: MakePage) -> None:
    """A page of another host of the same site may send our cookie, and still meets none of our uploads."""
    page = make_page(cors_origins="http://b.site.example", cors_credentials=True)
    ask(page, 0)
    send(page, 0)

    answer = page(
        "POST", f"/chunks{query(1)}", piece(THEIRS, 1), BYTES, Origin="http://b.site.example",
        Sec_Fetch_Site="same-site",
    )  # fmt: skip

    assert answer.status_int == 415
    assert ask(page, 1).status_int == 204


def test_random_name_of_a_file_is_enough(page: Page) -> None:
    """Dropzone thinks of a random name for each file; a page can for flow.js."""
    name = str(uuid4())
    for number in range(MANY):
        page.cookies.clear()
        assert send(page, number, flowIdentifier=name).status_int == 200

    assert page.handed == [OURS]
    assert page.cookies == []


@pytest.mark.parametrize("name", ["00000000-0000-0000-0000-000000000000", "photo-" + "0" * 36, "1" * 36])
def test_name_that_only_looks_random_is_not(page: Page, name: str) -> None:
    """Nothing but a random UUID, which says of itself that it is one."""
    assert send(page, 0, flowIdentifier=name).status_int == 503


def test_random_name_that_a_file_has_is_not_enough(place: Place) -> None:
    """plupload sends the name of the file itself, and two visitors may have got it from the same place."""
    name = str(uuid4())
    one, two = place.visitor(OURS, name=name), place.visitor(THEIRS, name=name)
    steps = one.plupload_steps()
    next(steps)

    two.plupload()
    for _ in steps:
        pass

    assert (one.outcome, two.outcome) == ("arrived", "arrived")
    assert sorted(place.handed()) == sorted([OURS, THEIRS])


def test_key_must_be_one(page: Page) -> None:
    """A short key could be guessed."""
    answer = send(page, 0, uploadKey="1234567")

    assert (answer.status_int, "uploadKey" in answer.text) == (415, True)


def test_key_is_no_metadata(page: Page) -> None:
    """It opens an upload, so nobody who sees the metadata may learn it."""
    for number in range(MANY):
        send(page, number, uploadKey="k" * 20)

    assert list(page.uploads[0].metadata) == ["filename"]


# One visitor, two files


def test_file_that_changed_is_another_file_where_the_page_tells(make_page: MakePage) -> None:
    """Name and size are as they were; `lastModified` or `digest` is not."""
    page = make_page(cleanup=False)
    ask(page, 0)
    for number in range(MANY):
        send(page, number, lastModified=1)

    asked = ask(page, 0, lastModified=2).status_int, ask(page, 0, lastModified=1).status_int
    for number in range(MANY):
        send(page, number, THEIRS, lastModified=2)

    assert asked == (204, 200)
    assert page.handed == [OURS, THEIRS]


@pytest.mark.parametrize("how", ["form", "raw"])
def test_other_bytes_for_a_stored_chunk_are_no_success(page: Page, how: str) -> None:
    """Two files by one name are refused, both of them, and neither is finished; a minute later the name is free."""
    ask(page, 0)
    send(page, 0)
    send(page, 1, THEIRS)

    if how == "raw":
        clash = send(page, 1)
    else:
        words = {**WORDS, "flowChunkNumber": 2}
        clash = page("POST", "/chunks", *form(words, piece(OURS, 1)))
    later = [send(page, number, data).status_int for number in range(2, MANY) for data in (OURS, THEIRS)]
    asked = ask(page, 0)

    assert (clash.status_int, "another file" in clash.text) == (415, True)
    assert set(later) == {415}
    assert (asked.status_int, "two different files" in asked.text) == (415, True)
    assert page.handed == []
    now = page.filter.engine.now()
    page.filter.engine.now = lambda: now + 61
    for number in range(MANY):
        assert send(page, number).status_int == 200
    assert page.handed == [OURS]


def test_other_bytes_for_a_finished_file_are_no_success(make_page: MakePage) -> None:
    """A file that changed and kept its name and size was told to have arrived, and had not been looked at."""
    page = make_page(cleanup=False)
    ask(page, 0)
    for number in range(MANY):
        send(page, number)

    same, other = send(page, 0), send(page, 0, THEIRS)

    assert same.status_int == 200
    assert (other.status_int, "finished file" in other.text) == (415, True)


def test_changed_file_is_taken_again_where_the_first_was_taken_away(page: Page) -> None:
    """The application has the old one, and a page that does not ask sends the new one two minutes later."""
    ask(page, 0)
    for number in range(MANY):
        send(page, number)
    now = page.filter.engine.now()
    page.filter.engine.now = lambda: now + 121

    for number in range(MANY):
        assert send(page, number, THEIRS).status_int == 200

    assert page.handed == [OURS, THEIRS]


def slowly(visitor: Visitor, words: dict[str, Any], content: bytes) -> tuple[wire.Wire, bytes]:
    """A chunk of which half was sent; and its rest."""
    body, kind = form(words, content)
    headers = {"Host": "localhost", "Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    connection = wire.Wire(visitor.address)
    whole = wire.head("POST", visitor.path, headers | {"Cookie": "; ".join(visitor.jar)}) + body
    connection.send(whole[: -len(content) // 2])
    return connection, whole[-len(content) // 2 :]


def test_two_writers_of_one_chunk_exclude_each_other(place: Place) -> None:
    """The newer one has it; the older one is told to come again, and finds that the chunk is another one."""
    visitor = place.visitor()
    visitor.ask("GET", f"?{urlencode(visitor.words(0))}")
    older, rest = slowly(visitor, visitor.words(0), piece(THEIRS, 0))
    live.until(lambda: list((place.home / "uploads").glob("*-0.lease")))

    newer = visitor.ask("POST", "", *form(visitor.words(0), piece(OURS, 0)))
    older.offer(rest)
    try:
        loser = older.answer().status
    except (wire.Broken, OSError):  # its connection was ended: libraries send the chunk again then, too
        loser = 503
    again = visitor.ask("POST", "", *form(visitor.words(0), piece(THEIRS, 0)))
    older.close()

    assert (newer.status, loser, again.status) == (200, 503, 415)
    (data,) = [path for path in (place.home / "uploads").iterdir() if "." not in path.name]
    assert data.read_bytes()[:SIZE] == piece(OURS, 0)


def test_two_windows_of_one_visitor_never_make_one_file(place: Place) -> None:
    """plupload in two windows, with one name for two files: the second hears that the first is on its way."""
    first = place.visitor(OURS, name="image.jpg")
    steps = first.plupload_steps()
    next(steps)
    words = {"name": "image.jpg", "chunk": 1, "chunks": MANY}
    connection, rest = slowly(first, words, piece(OURS, 1))
    leases = (place.home / "uploads").glob
    live.until(lambda: any(lease.stat().st_size for lease in leases("*-1.lease")))  # written down, not only begun
    second = place.visitor(THEIRS, name="image.jpg", jar=list(first.jar))

    second.plupload(tries=2)
    connection.send(rest)
    stored = connection.answer().status
    connection.close()
    for _ in steps:
        pass

    assert (stored, first.outcome) == (200, "arrived")
    assert "on its way" in second.outcome
    assert set(second.heard) == {503}
    assert place.handed() == [OURS]


def test_window_that_begins_anew_gets_its_file(page: Page) -> None:
    """The user reloads the page of plupload and chooses another file by the same name."""
    for data, numbers in ((THEIRS, [0]), (OURS, range(MANY))):
        for number in numbers:
            words = {"name": "image.jpg", "chunk": number, "chunks": MANY}
            for _ in range(2):  # the second time, if the first bytes of another file had to go
                answer = page("POST", "/chunks", *form(words, piece(data, number)))
                if answer.status_int == 200:
                    break
            assert answer.status_int == 200

    assert page.handed == [OURS]


@pytest.mark.on_files("it writes the file of a lease")
def test_crash_of_a_writer_leaves_the_chunk_free(page: Page, tmp_path: Path) -> None:
    """What a process left that died is taken over at once."""
    ask(page, 0)
    id = send(page, 1).json["id"]
    left = tmp_path / "uploads" / f"{id}-0.lease"
    left.write_text("000000000007 tus-1-dead".ljust(64))

    for number in range(MANY):
        assert send(page, number).status_int == 200

    assert page.handed == [OURS]
    assert not left.exists()
