"""`tus serve --access-log`: one line a request, in the format that tools for nginx and Apache read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.site.asking import ask
from tus import Filter
from tus.cli.access import Access

COMBINED = re.compile(
    r'(?P<peer>\S+) - (?P<user>\S+) \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "(?P<request>[^"]*)" '
    r'(?P<status>\d{3}) (?P<size>\d+|-) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)" '
    r"(?P<received>\d+|-) (?P<seconds>\d+\.\d{3})"
)


@pytest.fixture
def access(tmp_path: Path) -> Iterator[Access]:
    """Uploads, and a log of the requests for them."""
    with closing(Access(Filter(None, tmp_file_dir=str(tmp_path / "up")), str(tmp_path / "access.log"))) as app:
        yield app


def test_request_is_one_line_of_the_usual_format(access: Access, tmp_path: Path) -> None:
    """Who, what, how it ended, with which program; then what came, and how long it took."""
    ask(access, "/upload", "OPTIONS", REMOTE_USER="anna", HTTP_USER_AGENT="curl/8", REQUEST_URI="/upload?a%20b")

    line = (tmp_path / "access.log").read_text().removesuffix("\n")
    found = COMBINED.fullmatch(line)
    assert found, line
    assert found["peer"] == "127.0.0.1" and found["user"] == "anna" and found["status"] == "200"
    assert found["request"] == "OPTIONS /upload?a%20b HTTP/1.1" and found["agent"] == "curl/8"


def test_client_cannot_forge_a_line_of_the_access_log(access: Access, tmp_path: Path) -> None:
    """Quotes, line breaks, escapes and what is not ASCII are written as codes."""
    evil = 'x" 200 1 "-"\n127.0.0.1 - root\x1b[2J\u2028é'
    ask(access, "/upload", "OPTIONS", HTTP_USER_AGENT=evil, HTTP_REFERER=evil, REMOTE_USER=evil, REQUEST_URI=evil)

    told = (tmp_path / "access.log").read_text("ascii").splitlines()
    assert len(told) == 1
    assert COMBINED.fullmatch(told[0]), told[0]


def test_access_log_does_not_make_operators_of_its_readers(access: Access, tmp_path: Path) -> None:
    """The token of the operators' page is not in it."""
    ask(access, "/", REQUEST_URI="/~tus/operators/?a=b&token=secret&c=d")

    assert "/~tus/operators/?a=b&token=-&c=d" in (tmp_path / "access.log").read_text()


def test_log_goes_on_in_a_new_file_when_the_old_one_is_moved(access: Access, tmp_path: Path) -> None:
    """As logrotate does it."""
    ask(access, "/upload", "OPTIONS")
    (tmp_path / "access.log").rename(tmp_path / "old.log")

    ask(access, "/upload", "OPTIONS")

    assert len((tmp_path / "old.log").read_text().splitlines()) == 1
    assert len((tmp_path / "access.log").read_text().splitlines()) == 1


def test_log_that_cannot_be_written_fails_no_request(
    access: Access, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What stands by its name after a rotation is not ours to write to; the operator is told, and not the client."""
    ask(access, "/upload", "OPTIONS")
    (tmp_path / "access.log").unlink()
    (tmp_path / "access.log").mkdir()

    answers = [ask(access, "/upload", "OPTIONS") for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert "the access log cannot be written" in caplog.text
