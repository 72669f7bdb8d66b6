"""Real Plone: what is uploaded becomes a blob, for which the ZODB renames the file that it is given.

Requests that come together conflict and are repeated, and each upload must be there once all the same.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import live, wire
from tests.zope.conftest import WAYS, Zope, basic, digest, noise

pytestmark = [pytest.mark.zope, pytest.mark.slow]

ADMIN = basic("admin")
PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")  # a GIF
CROWD = 20  # uploads that end together


def finish(plone: Zope, url: str, content: bytes) -> wire.Answer:
    """Send the content, and ask again, as clients do, until there is an answer that says it is done."""
    answer = plone.patch(url, content, **ADMIN)

    def done() -> wire.Answer | None:
        nonlocal answer
        if answer.status not in (423, 500, 503):
            return answer
        answer = plone.patch(url, b"", len(content), **ADMIN)
        return None

    return live.until(done, within=60)


@pytest.mark.parametrize("number", range(3))
def test_a_crowd_in_one_folder_is_stored_once_each(plone: Zope, number: int) -> None:
    """Uploads that end together in one folder: every one that its client was told is done is there, once, as sent."""
    folder = f"{plone.kind.folder}/crowd-{number}"
    contents = {f"{n}.bin": noise(50_000 + n) for n in range(CROWD)}
    urls = {name: plone.create(f"{folder}/@@upload", len(content), name, **ADMIN) for name, content in contents.items()}

    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(lambda name: finish(plone, urls[name], contents[name]).status, contents))

    assert answers == [204] * CROWD
    stored = plone.all_stored(folder)
    assert stored == {name: [len(content), digest(content), 1] for name, content in contents.items()}


def test_a_blob_survives_conflicts(plone: Zope) -> None:
    """Each repetition of the request finds the file again that the one before has given to the ZODB."""
    content = noise(300_000)
    url = plone.create(f"{plone.kind.folder}/@@upload", len(content), "conflicts-2-blob.bin", **ADMIN)

    answer = plone.patch(url, content, **ADMIN)

    assert answer.status == 204
    assert plone.stored("conflicts-2-blob.bin") == [len(content), digest(content), 1]
    assert not plone.kept(url)


@pytest.mark.parametrize("way", ["path", "file"])
def test_a_handed_over_blob_survives_conflicts(plone: Zope, way: str) -> None:
    """Behind the filter, too, a repeated request finds the file that the ZODB has taken before."""
    content, name = noise(300_000), f"conflicts-2-{way}.bin"
    url = plone.create(f"{plone.kind.folder}/@@take-{way}", len(content), name, **ADMIN)

    answer = plone.patch(url, content, **ADMIN)

    assert answer.status == 204
    assert plone.stored(name) == [len(content), digest(content), 1]
    assert not plone.kept(url)


@pytest.mark.parametrize("way", ["adapter", *WAYS])
def test_the_view_of_plone_takes_a_file(plone: Zope, way: str) -> None:
    """`fileUpload` gets it from the adapter, as a path or, with TUS_SEND_FILE, as a file; or from the filter, which has
    three ways to hand it over, and a form is the only one that the view knows."""
    content, name = noise(300_000), f"größe-{way}.bin"
    folder = plone.kind.folder + ("" if way == "adapter" else f"/by-{way}")
    url = plone.create(f"{folder}/fileUpload", len(content), name, **ADMIN)
    plone.patch(url, content[:100_000], **ADMIN)

    answer = plone.patch(url, content[100_000:], 100_000, **ADMIN)

    assert (answer.status, answer["Upload-Offset"]) == (204, "300000")
    assert plone.all_stored(folder)[name] == [len(content), digest(content), 1]
    assert not plone.kept(url)


def test_a_picture_becomes_an_image(plone: Zope) -> None:
    """The view of Plone goes by the name; the ZODB takes the file all the same."""
    url = plone.create(f"{plone.kind.folder}/fileUpload", len(PIXEL), "größe.gif", **ADMIN)

    answer = plone.patch(url, PIXEL, **ADMIN)

    assert answer.status == 204
    assert plone.stored("größe.gif") == [len(PIXEL), digest(PIXEL), 1]


def test_plone_decides_who_may_add(plone: Zope) -> None:
    """Nobody who is not logged in uploads, and nothing is stored."""
    before = list(plone.uploads.glob("*.info"))

    answers = [
        plone.ask("POST", f"{plone.kind.folder}/{view}", {"Upload-Length": "5"}) for view in ("@@upload", "fileUpload")
    ]

    assert [answer.status in (302, 401, 403) for answer in answers] == [True, True]
    assert list(plone.uploads.glob("*.info")) == before
