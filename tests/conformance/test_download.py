"""GET: a finished upload can be fetched, as a file and never as a page of this site."""

from __future__ import annotations

import pytest

from tests.conformance.client import Client, metadata

CONTENT = b"0123456789"


@pytest.fixture
def kept(collection) -> Client:
    """A collection whose files stay after they were handed over."""
    return collection(cleanup=False)


def file(tus: Client, type: str = "", name: str = "", content: bytes = CONTENT) -> str:
    values = {"filetype": type, "filename": name}
    pairs = metadata(**{key: value for key, value in values.items() if value})
    return tus.uploaded(content, {"Upload-Metadata": pairs} if pairs else {})


@pytest.mark.every_server
def test_get_returns_the_file(kept: Client) -> None:
    """All of it, with its length, to be saved and not shown."""
    answer = kept.get(file(kept))

    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer["Content-Length"] == "10"
    assert answer["Accept-Ranges"] == "bytes"
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_get_of_an_unfinished_upload_is_refused(kept: Client) -> None:
    """What is not complete is no file."""
    url = kept.create(10)
    kept.patch(url, 0, b"01234")

    answer = kept.get(url)

    assert 400 <= answer.status < 500
    assert b"01234" not in answer.body
    assert kept.offset(url) == 5


def test_get_does_not_stop_an_upload(kept: Client) -> None:
    """Asking for the file disturbs nobody who writes it."""
    if not kept.kind.streams:
        pytest.skip(f"{kept.kind.name} hands no part of a body on")
    url = kept.create(10)

    with kept.begin(url, 0, 10, b"01234") as connection:
        kept.arrived(url, 5)
        kept.get(url)
        connection.send(b"56789")
        answer = connection.answer()

    assert (answer.status, answer["Upload-Offset"]) == (204, "10")


def test_get_after_the_hand_over_is_404(tus: Client) -> None:
    """The file belongs to the application then, and was removed here."""
    url = tus.uploaded(CONTENT)

    assert tus.get(url).status == 404


def test_get_can_be_switched_off(collection) -> None:
    """A host that serves files itself offers no second way to them."""
    tus = collection(cleanup=False, download=False)
    url = tus.uploaded(CONTENT)

    answer = tus.get(url)

    # The application may have something to show at this address.
    assert answer.status in (404, 405) or answer.body == b"from the application"
    assert tus.offset(url) == 10


@pytest.mark.parametrize(
    "type",
    [
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "application/javascript",
        "text/css",
        "application/pdf; x=y",
        "nonsense",
        "text/html\r\nX-Evil: 1",
        "",
    ],
)
def test_what_could_act_is_an_attachment(kept: Client, type: str) -> None:
    """Types that browsers run, or do not know, are saved; no type makes a header of its own."""
    answer = kept.get(file(kept, type))

    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer["Content-Disposition"].startswith("attachment")
    assert "X-Evil" not in answer


# Every type at which a browser takes a response for a script (WHATWG, MIME Sniffing, 4.6), and what else a page can use
# as a part of itself: styles, documents, modules.
SCRIPTS = [
    *(f"application/{name}" for name in ("ecmascript", "javascript", "x-ecmascript", "x-javascript")),
    *(f"text/{name}" for name in ("ecmascript", "javascript", "jscript", "livescript", "x-ecmascript", "x-javascript")),
    *(f"text/javascript1.{number}" for number in range(6)),
    "text/JavaScript",
    "text/javascript; charset=utf-8",
    "application/json",
    "application/manifest+json",
    "application/wasm",
    "application/xml",
    "application/xslt+xml",
    "application/importmap+json",
    "text/css",
    "text/html",
    "text/event-stream",
    "text/cache-manifest",
    "text/vtt",
    "image/svg+xml",
    "multipart/x-mixed-replace",
    "message/rfc822",
    "font/woff2",
]


@pytest.mark.parametrize("type", SCRIPTS)
def test_no_page_can_run_what_was_uploaded(kept: Client, type: str) -> None:
    """`<script src>` and the like get bytes without a type, which `nosniff` keeps a browser from running."""
    answer = kept.get(file(kept, type))

    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Disposition"].startswith("attachment")
    assert "sandbox" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("type", ["application/pdf", "application/zip", "Application/PDF"])
def test_what_can_only_be_saved_keeps_its_type(kept: Client, type: str) -> None:
    """An attachment all the same."""
    answer = kept.get(file(kept, type))

    assert answer["Content-Type"] == type
    assert answer["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize("type", ["image/png", "image/jpeg", "image/gif", "video/mp4"])
def test_what_can_only_be_looked_at_may_be_shown(kept: Client, type: str) -> None:
    """Pictures and films keep their type, and are not forced into a download."""
    answer = kept.get(file(kept, type))

    assert answer["Content-Type"] == type
    assert not (answer.get("Content-Disposition") or "inline").startswith("attachment")


def test_file_name_is_told(kept: Client) -> None:
    """The name of the upload is the name to save it by, also beyond ASCII."""
    plain = kept.get(file(kept, name="report.txt"))["Content-Disposition"]
    odd = kept.get(file(kept, name="naïve ☃.txt"))["Content-Disposition"]

    assert 'filename="report.txt"' in plain or "filename=report.txt" in plain
    assert "filename*=UTF-8''na%C3%AFve%20%E2%98%83.txt" in odd
    assert odd.isascii()


@pytest.mark.parametrize(
    ("range", "part", "content_range"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
    ],
)
@pytest.mark.every_server
def test_a_range_is_206(kept: Client, range: str, part: bytes, content_range: str) -> None:
    """A player or a resumed download gets the part that it asks for."""
    answer = kept.get(file(kept), {"Range": range})

    assert (answer.status, answer.body) == (206, part)
    assert answer["Content-Range"] == content_range
    assert answer["Content-Length"] == str(len(part))


@pytest.mark.parametrize("range", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_behind_the_end_is_416(kept: Client, range: str) -> None:
    """There is nothing there, and the answer says how much there is."""
    answer = kept.get(file(kept), {"Range": range})

    assert answer.status == 416
    assert answer["Content-Range"] == "bytes */10"


@pytest.mark.parametrize(
    "range", ["bytes=4-2", "bytes=a-b", "bytes", "lines=1-2", "bytes=+1-2", "bytes=1_0-", "bytes=٣-"]
)
def test_a_range_that_is_none_is_ignored(kept: Client, range: str) -> None:
    """What cannot be understood changes nothing: the whole file comes."""
    answer = kept.get(file(kept), {"Range": range.encode().decode("latin-1")})

    assert (answer.status, answer.body) in ((200, CONTENT), (400, answer.body), (416, answer.body))


def test_several_ranges_do_no_harm(kept: Client) -> None:
    """The whole file is a right answer to a list of ranges; so are its parts."""
    answer = kept.get(file(kept), {"Range": "bytes=0-1,4-5," + ",".join(["0-"] * 500)})

    assert answer.status in (200, 206, 416)
    assert len(answer.body) < 10_000


def test_the_same_file_is_304(kept: Client) -> None:
    """Whoever has the file already is told so, and gets it when it is another."""
    url = file(kept)
    tag = kept.get(url)["ETag"]

    for value in (tag, f'"other", {tag}', "*", f"W/{tag}"):
        answer = kept.get(url, {"If-None-Match": value})
        assert (answer.status, answer.body) == (304, b"")
        assert answer["ETag"] == tag
    assert kept.get(url, {"If-None-Match": '"other"'}).status == 200


def test_tags_differ(kept: Client) -> None:
    """Two uploads are two files."""
    assert kept.get(file(kept))["ETag"] != kept.get(file(kept, content=b"other bytes"))["ETag"]


def test_a_date_is_a_condition_too(kept: Client) -> None:
    """Where the file has a date, asking by that date is 304."""
    url = file(kept)
    date = kept.get(url).get("Last-Modified")
    if date is None:
        pytest.skip("no date is told, and tags are enough")

    assert kept.get(url, {"If-Modified-Since": date}).status == 304
    assert kept.get(url, {"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}).status == 200
    assert kept.get(url, {"If-Modified-Since": "yesterday"}).status == 200


def test_a_range_of_another_file_is_the_whole(kept: Client) -> None:
    """If-Range: the part is given only of the very file that the client has begun with."""
    url = file(kept)
    tag = kept.get(url)["ETag"]

    same = kept.get(url, {"Range": "bytes=5-", "If-Range": tag})
    other = kept.get(url, {"Range": "bytes=5-", "If-Range": '"other"'})

    assert (same.status, same.body) == (206, b"56789")
    assert (other.status, other.body) == (200, CONTENT)


def test_head_stays_the_question_for_the_offset(kept: Client) -> None:
    """HEAD knows no ranges and no conditions: it tells how far the upload is."""
    url = file(kept)
    tag = kept.get(url)["ETag"]

    for headers in ({"Range": "bytes=2-4"}, {"If-None-Match": tag}, {"If-None-Match": "*"}):
        answer = kept.head(url, headers)
        assert (answer.status, answer["Upload-Offset"], answer["Upload-Length"]) == (200, "10", "10")
        assert "Content-Range" not in answer


def test_empty_file_can_be_fetched(kept: Client) -> None:
    """A file without bytes is one all the same, and has no ranges."""
    url = kept.create(0)

    answer = kept.get(url)

    assert answer.status in (200, 204)
    assert answer.body == b""
    assert kept.get(url, {"Range": "bytes=0-"}).status in (200, 204, 416)


def test_joined_file_can_be_fetched(kept: Client) -> None:
    """A file made of parts is a file like any other."""
    final = kept.final(kept.part(b"ab"), kept.part(b"cd"))["Location"]

    assert kept.get(final).body == b"abcd"
    assert kept.get(final, {"Range": "bytes=1-2"}).body == b"bc"


@pytest.mark.every_server
def test_large_file_comes_back_bit_for_bit(kept: Client) -> None:
    """A file of many blocks, whole and in part."""
    content = bytes(range(251)) * 20_011
    url = file(kept, content=content)

    assert kept.get(url).body == content
    assert kept.get(url, {"Range": "bytes=1000001-4999999"}).body == content[1000001:5000000]
