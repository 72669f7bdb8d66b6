"""A refusal in the words of each browser library: heard each time, and never in the way of another file."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chunks.conftest import MakePage, Page, form
from tests.chunks.test_filepond import begin, patch
from tests.chunks.test_form import BROWSER, KEY, progress
from tus import Hooks, Refused

DATA = b"evil" * 500
REASON = "the content is evil"


class Strict(Hooks):
    """Refuses evil content."""

    def before_finish(self, upload: Any, file: Any) -> None:
        if b"evil" in file.read():
            raise Refused(REASON, status=422)


@pytest.fixture
def strict(make_page: MakePage) -> Page:
    """A page whose files a hook looks at."""
    return make_page(hooks=Strict(), cleanup=False)


def test_form_hears_the_reason_and_so_does_whoever_asks(strict: Page) -> None:
    """The answer, and then the progress: `refused`, with status and reason."""
    answer = strict("POST", f"/form?uploadKey={KEY}", *form({}, DATA, filename="a.bin"))
    told = progress(strict)

    assert (answer.status_int, answer.text) == (422, REASON + "\n")
    assert (told["state"], told["status"], told["reason"]) == ("refused", 422, REASON)
    assert strict.handed == []


def test_browser_without_a_script_sees_the_reason(strict: Page) -> None:
    """As a page that runs nothing."""
    answer = strict("POST", "/form", *form({}, DATA, filename="a.bin"), **BROWSER)

    assert (answer.status_int, answer.content_type) == (422, "text/html")
    assert REASON in answer.text


def test_key_of_a_refused_form_may_be_used_again(strict: Page) -> None:
    """Who chose a wrong file sends the right one."""
    strict("POST", f"/form?uploadKey={KEY}", *form({}, DATA, filename="a.bin"))

    answer = strict("POST", f"/form?uploadKey={KEY}", *form({}, b"good", filename="a.bin"))

    assert answer.status_int == 200
    assert (progress(strict)["state"], strict.handed) == ("finished", [b"good"])


def test_filepond_hears_the_reason_each_time(strict: Page) -> None:
    """With the last chunk, when it asks where to go on, and when it sends that chunk again; and nothing is shown."""
    id = begin(strict, len(DATA))

    answers = [patch(strict, id, 0, DATA, size=len(DATA)) for _ in range(2)]
    head = strict("HEAD", f"/filepond?patch={id}")
    shown = strict("GET", f"/filepond?load={id}")

    assert [(answer.status_int, answer.text) for answer in answers] == [(422, REASON + "\n")] * 2
    assert (head.status_int, head.headers.get("Upload-Offset")) == (422, None)
    assert shown.status_int == 404


def test_filepond_hears_what_the_application_refuses(page: Page) -> None:
    """The application looks at the file only after the last chunk."""
    page.status, page.body = "422 No", b"not this"
    id = begin(page, len(DATA))

    first = patch(page, id, 0, DATA, size=len(DATA))
    page.status = "200 OK"
    head = page("HEAD", f"/filepond?patch={id}")

    assert (first.status_int, first.text, head.status_int) == (422, "not this", 422)
    assert page.handed == [DATA]


class Busy(Hooks):
    """Cannot take anything now."""

    def finished(self, upload: Any) -> Any:
        raise Refused("come back later", status=503)


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_trouble_at_the_end_of_a_form_is_told_in_the_words_of_forms(make_page: MakePage, kind: str) -> None:
    """A browser sees a page and a script a text, with the word when to try again, and no header of tus."""
    busy = make_page(hooks=Busy())

    answer = busy("POST", "/form", *form({}, b"good", filename="a.bin"), Accept=kind)

    assert (answer.status_int, "Tus-Resumable" in answer.headers) == (503, False)
    assert answer.content_type == ("text/html" if kind == "text/html" else "text/plain")
    assert "come back later" in answer.text


def test_trouble_at_the_end_of_a_chunk_is_told_in_the_words_of_filepond(make_page: MakePage) -> None:
    """Who asks how far it is hears 423 without any header of tus."""
    busy = make_page(hooks=Busy())
    id = begin(busy, 4)
    patch(busy, id, 0, b"good", size=4)

    answer = busy("HEAD", f"/filepond?patch={id}")

    assert (answer.status_int, answer.headers["Retry-After"]) == (423, "1")
    assert "Tus-Resumable" not in answer.headers
