"""How an answer is put together: our headers, the host's, and what a view said."""

from __future__ import annotations

import pytest

from tests import engines
from tus import Request, Result
from tus.exchange import Exchange
from tus.http.headers import bare_utf8, media_type
from tus.http.messages import Response
from tus.protocols import exchange
from tus.upload import Upload


def spoken(method: str, headers: dict[str, str], id: str = "abc") -> Exchange:
    """The exchange of such a request, with an engine that does nothing."""
    return exchange(Request(method, id, headers), engines.build(None, legacy=True, uploaders="form"))


def test_host_says_nothing_that_we_say() -> None:
    """A header that we set holds, however the host writes its name; others may come twice."""
    response = Response(200, {"Content-Type": "text/plain"})

    response.add_extra([("content-type", "text/html"), ("Set-Cookie", "a"), ("Set-Cookie", "b")])

    assert response.extra == (("Set-Cookie", "a"), ("Set-Cookie", "b"))


@pytest.mark.parametrize(("status", "shown"), [(204, 200), (201, 201)])
def test_view_is_shown_where_there_is_room_for_it(status: int, shown: int) -> None:
    """The answer of tus keeps its headers and gets the view's, with a body, which 204 cannot have."""
    tus = spoken("PATCH", {"tus-resumable": "1.0.0"})
    said = Result(200, (("Content-Type", "text/html"),), b"thanks")

    response = tus.shown(Upload("abc", offset=5), Response(status, {"Upload-Offset": "5"}), said)

    assert (response.status, response.body) == (shown, b"thanks")
    assert response.headers == {"Upload-Offset": "5", "Content-Type": "text/html"}


def test_view_is_shown_in_the_words_of_the_client() -> None:
    """A client that needs more than a body gets what its protocol makes of it, all in one set of headers."""
    form = spoken("POST", {}, "form")
    said = Result(200, (("Content-Type", "text/html"),), b"thanks")

    response = form.shown(Upload("abc", offset=5), Response(204, {"Upload-Offset": "5"}), said)

    assert (response.status, response.body, response.extra) == (200, b"thanks", ())
    assert response.headers["Content-Type"] == "text/html"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Upload-Offset" not in response.headers


@pytest.mark.parametrize(
    ("value", "found"),
    [("", ""), ("text/HTML", "text/html"), (" text/plain ; charset=utf-8", "text/plain"), (";", "")],
)
def test_media_type_has_no_parameters(value: str, found: str) -> None:
    """In lower case, and without blanks around it."""
    assert media_type(value) == found


def test_bare_utf8_is_read() -> None:
    """As WSGI carries it; what was no UTF-8 is marked, and raises nothing."""
    assert bare_utf8("grüße".encode().decode("latin-1")) == "grüße"
    assert bare_utf8("gr\xfc\u20ac") == "gr\ufffd?"
