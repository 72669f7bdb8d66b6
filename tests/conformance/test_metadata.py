"""Upload-Metadata: it comes back exactly as it was sent, and must hurt nobody on its way."""

from __future__ import annotations

import pytest

from tests.conformance.client import Client, every_method, metadata

GOOD = [
    "filename aGVsbG8udHh0",
    "filename aGVsbG8udHh0,is_confidential",
    "is_confidential,filename aGVsbG8udHh0",
    "empty ,filename aGVsbG8udHh0",
    "empty",
    "empty ",
    "b Yg==,a YQ==,B Qg==",
    "a YQ==, b Yg==",
    "a YQ== ,b Yg==",
    "a YQ==  ,  b Yg==",
    "bytes AP8=",
    "odd-key_!#$%&'*+.^`|~:/?@[](){}<>=\"; YQ==",
]

BAD = [
    "a YQ==,a Yg==",
    "a,a",
    "a YQ== Yg==",
    "a b c",
    "a YQ",
    "a YQ=",
    "a Y",
    "a ====",
    "a Y_-=",
    "a YQ==YQ==",
    "a *",
    "a  YQ==",
    ",",
    "a YQ==,",
    ",a YQ==",
    "a YQ==,,b Yg==",
    "a\tYQ==",
]


@every_method
@pytest.mark.parametrize("value", GOOD)
def test_metadata_comes_back_byte_for_byte(tus: Client, value: str) -> None:
    """HEAD gives the header as the client wrote it, blanks and order and empty values included."""
    url = tus.create(5, {"Upload-Metadata": value})

    before = tus.head(url)
    tus.patch(url, 0, b"hello")
    after = tus.head(url)

    # A server may cut blanks off the end of any header; within it nothing changes.
    assert before["Upload-Metadata"].rstrip() == value.rstrip()
    assert after["Upload-Metadata"] == before["Upload-Metadata"]


@pytest.mark.parametrize("value", BAD)
def test_metadata_that_breaks_the_grammar_is_400(tus: Client, value: str) -> None:
    """Doubled keys, empty keys, surplus words and what is not Base64 are refused, and nothing is created."""
    answer = tus.post({"Upload-Length": "5", "Upload-Metadata": value})

    assert answer.status == 400, value
    assert "Location" not in answer
    assert tus.files() == []


@every_method
def test_no_metadata_means_no_header(tus: Client) -> None:
    """An upload without metadata, or with an empty header, has none to show."""
    for headers in ({}, {"Upload-Metadata": ""}):
        answer = tus.head(tus.create(5, headers))

        assert answer.status == 200
        assert "Upload-Metadata" not in answer


def test_keys_differ_by_case(tus: Client) -> None:
    """Two keys that differ in case only are two keys."""
    value = "name YQ==,Name Yg==,NAME Yw=="

    assert tus.head(tus.create(5, {"Upload-Metadata": value}))["Upload-Metadata"] == value


def test_values_are_bytes(tus: Client) -> None:
    """A value need not be text; nothing fails when a name is none."""
    url = tus.create(5, {"Upload-Metadata": metadata(filename=b"\xff\xfe\x00", filetype=b"\x80")})

    assert tus.patch(url, 0, b"hello").status == 204
    assert [handed.file for handed in tus.handed()] == [b"hello"]


def test_the_application_hears_the_file_name(tus: Client) -> None:
    """The name that the client gave reaches the application with the file."""
    tus.uploaded(b"hello", {"Upload-Metadata": metadata(filename="hello.txt")})

    assert [handed.headers["filename"] for handed in tus.handed()] == ["hello.txt"]


@pytest.mark.parametrize(
    "name",
    [
        "a\r\nX-Evil: 1",
        "a\nb",
        "a\x00b",
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\boot.ini",
        "C:\\x.txt",
        "\x7f\x1b[31m",
        "..",
        '"; filename="x',
        "<script>alert(1)</script>",
        "n" * 3000,
    ],
)
def test_hostile_file_name_does_no_harm(collection, name: str) -> None:
    """A name with line ends, zeros or paths makes no header of its own and no path, and the upload works."""
    tus = collection(cleanup=False)
    url = tus.uploaded(b"hello", {"Upload-Metadata": metadata(filename=name)})

    (handed,) = tus.handed()
    answer = tus.get(url)

    assert handed.file == b"hello"
    for value in handed.headers.values():
        assert not set(value) & set("\r\n\x00")
    told = handed.headers.get("filename", "")
    assert "/" not in told and "\\" not in told and told not in (".", "..")
    assert "x-evil" not in handed.headers
    assert (answer.status, answer.body) == (200, b"hello")
    assert "X-Evil" not in answer
    disposition = answer["Content-Disposition"]
    assert disposition.isprintable() and "/" not in disposition and "\\" not in disposition
    assert disposition.count('filename="') <= 1


def test_endless_metadata_is_refused(tus: Client) -> None:
    """Metadata has a limit, and what is above it is the client's fault."""
    value = ",".join(f"key{n} YWJjZGVmZ2hpamts" for n in range(3000))  # 70 kB

    answer = tus.post({"Upload-Length": "5", "Upload-Metadata": value})

    assert answer.status in (400, 413, 431)
    assert tus.files() == []


def test_metadata_of_a_few_kilobytes_is_taken(tus: Client) -> None:
    """What fits through proxies fits here."""
    value = ",".join(f"key{n} YWJjZGVmZ2hpamts" for n in range(250))  # 6 kB

    assert tus.head(tus.create(5, {"Upload-Metadata": value}))["Upload-Metadata"] == value
