"""`tus serve --password` and `--user`: who gets in, as whom, and what is said at the start."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import wire
from tests.site.asking import Answer, ask, upload
from tus import Filter, OptionError, Options
from tus.cli.login import Login, passwords
from tus.cli.opening import opening
from tus.cors import Cors
from tus.site.site import with_uploads

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., "subprocess.Popen[str]"]


def basic(name: str, password: str) -> dict[str, str]:
    """What a browser sends once its user has typed both."""
    return {"HTTP_AUTHORIZATION": "Basic " + b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture
def site(tmp_path: Path) -> Login:
    """The page and its uploads, for anna, for bert, and for whoever knows the word."""
    app = with_uploads(tmp_file_dir=str(tmp_path))
    return Login(app, password="shared", users={"anna": "a:b", "bert": "b"}, cors=Cors(app.options))


@contextmanager
def serving(*words: str, **environ: str) -> Iterator[tuple[list[str], subprocess.Popen[str]]]:
    """What `tus serve` says at its start, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tus", "serve", *words, "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ},
    )  # fmt: skip
    try:
        assert process.stdout
        yield [process.stdout.readline() for _ in range(4)], process
    finally:
        process.terminate()
        process.communicate(timeout=20)


REQUESTS = [
    ("GET", "/"),
    ("GET", "/~tus/upload.js"),
    ("GET", "/~tus/operators/"),
    ("GET", "/files/0123456789abcdef0123456789abcdef"),
    ("HEAD", "/files/0123456789abcdef0123456789abcdef"),
    ("POST", "/files"),
    ("PATCH", "/files/x"),
    ("DELETE", "/files/x"),
    ("OPTIONS", "/files"),
    ("GET", "/files/chunks?flowIdentifier=a"),
    ("POST", "/files/form"),
    ("GET", "/files/progress"),
    ("POST", "/files/filepond"),
]


@pytest.mark.parametrize(("method", "url"), REQUESTS)
def test_nothing_is_served_without_the_password(site: Login, method: str, url: str) -> None:
    """No page, no upload, no download, whatever the protocol; and a browser is told to ask for it."""
    answer = ask(site, url, method)

    assert answer.status == 401
    assert answer.headers["Www-Authenticate"] == 'Basic realm="tus", charset="UTF-8"'


@pytest.mark.parametrize(
    "wrong",
    [
        basic("anna", "shared"),
        basic("anna", "a:b "),
        basic("anna", "A:B"),
        basic("anna", ""),
        basic("bert", "a:b"),
        basic("", ""),
        basic("x", "Shared"),
        {"HTTP_AUTHORIZATION": "Basic"},
        {"HTTP_AUTHORIZATION": "Basic %%%"},
        {"HTTP_AUTHORIZATION": "Basic " + b64encode(b"\xff\xfe").decode()},
        {"HTTP_AUTHORIZATION": "Bearer shared"},
        {"HTTP_AUTHORIZATION": "shared"},
        {"REMOTE_USER": "anna"},
        {"HTTP_REMOTE_USER": "anna"},
    ],
)
def test_wrong_password_is_refused(site: Login, wrong: dict[str, str]) -> None:
    """Nor does a name help, or the password of another user."""
    assert ask(site, "/", **wrong).status == 401


@pytest.mark.parametrize("right", [basic("anna", "a:b"), basic("bert", "b"), basic("", "shared"), basic("x", "shared")])
def test_right_password_opens(site: Login, right: dict[str, str]) -> None:
    """The password of a user by that name, and the shared one by any other."""
    assert ask(site, "/", **right).status == 200


def test_users_without_a_shared_password_are_all(tmp_path: Path) -> None:
    """Where there is none, no name but theirs opens anything."""
    site = Login(Filter(None, tmp_file_dir=str(tmp_path)), password="", users={"anna": "a"})

    assert ask(site, "/upload", "OPTIONS", **basic("bert", "")).status == 401
    assert ask(site, "/upload", "OPTIONS", **basic("", "")).status == 401
    assert ask(site, "/upload", "OPTIONS", **basic("anna", "a")).status == 200


def uploaded(site: Login, by: dict[str, str]) -> str:
    """The path of a finished upload of theirs."""

    def app(environ: dict[str, object], start_response: object) -> object:
        return site({**environ, **by}, start_response)

    return "/files/" + upload(app, "/files", b"hello").headers["Location"].rpartition("/")[2]


def test_upload_belongs_to_its_user(site: Login) -> None:
    """Others with a password of their own see nothing of it, and cannot remove it."""
    url = uploaded(site, basic("anna", "a:b"))

    def status(method: str, by: dict[str, str]) -> int:
        return ask(site, url, method, HTTP_TUS_RESUMABLE="1.0.0", **by).status

    assert (status("GET", basic("bert", "b")), status("DELETE", basic("bert", "b"))) == (404, 404)
    assert status("GET", basic("x", "shared")) == 404
    assert status("GET", basic("anna", "a:b")) == 200


def test_shared_password_makes_no_users(site: Login) -> None:
    """A name that anybody may type says nothing, so uploads are found by link, as without a password."""
    url = uploaded(site, basic("carl", "shared"))

    assert ask(site, url, **basic("dora", "shared")).status == 200
    assert ask(site, url, **basic("anna", "a:b")).status == 200


def preflight(site: Login) -> Answer:
    return ask(
        site, "/files", "OPTIONS", HTTP_ORIGIN="https://a.example", HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST",
        HTTP_ACCESS_CONTROL_REQUEST_HEADERS="authorization,tus-resumable",
    )  # fmt: skip


def test_page_of_another_origin_can_log_in(site: Login) -> None:
    """Browsers ask for leave without a password; and a refusal can be read, so that clients do not try for ever."""
    asked = preflight(site)
    refused = ask(site, "/files", "POST", HTTP_ORIGIN="https://a.example")

    assert asked.status == 200
    assert "authorization" in asked.headers["Access-Control-Allow-Headers"].lower()
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, "*")


def test_password_comes_from_the_environment(tmp_path: Path) -> None:
    """Where the list of processes does not show it; what is said explicitly wins."""
    environ = {"TUS_PASSWORD": "one", "TUS_USER": "anna:two:three"}

    assert passwords(None, [], environ) == ("one", {"anna": "two:three"})
    assert passwords("four", ["bert:five"], environ) == ("four", {"bert": "five"})


@pytest.mark.parametrize(
    ("word", "users", "environ"),
    [("", [], {}), (None, [], {"TUS_PASSWORD": ""}), (None, ["anna"], {}), (None, ["anna:"], {}), (None, [":x"], {})],
)
def test_empty_password_opens_nothing(word: str | None, users: list[str], environ: dict[str, str]) -> None:
    """A variable that was not set must not leave the door open."""
    with pytest.raises(OptionError):
        passwords(word, users, environ)


def test_server_asks_for_the_password_of_its_environment(tmp_path: Path) -> None:
    """The whole command; its words do not hold it."""
    with serving(str(tmp_path), TUS_PASSWORD="a long word", TUS_USER="anna:b") as (said, process):
        parts = urlsplit(said[0].split()[-1])
        answer = wire.ask((parts.hostname or "", parts.port or 0), "GET", "/", {"Host": parts.netloc})
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes()

    assert answer.status == 401
    assert "password" in said[3]
    assert b"long" not in words


@pytest.mark.slow
def test_put_logs_in(command: Start, tmp_path: Path) -> None:
    """By its URL, or by the environment; and a wrong password is a refusal that says what to do."""
    file = tmp_path / "a.txt"
    file.write_bytes(b"hello")
    with serving(str(tmp_path / "up"), "--user", "anna:long word") as (said, _):
        url = said[0].split()[-1]
        named = command("put", file, url.replace("//", "//anna:long%20word@")).communicate(timeout=30)
        file.write_bytes(b"hello again")
        known = command("put", file, url, TUS_LOGIN="anna:long word").communicate(timeout=30)
        unknown = command("put", file, url, "--retries", "0", TUS_LOGIN="anna:x").communicate(timeout=30)

    assert named[0].startswith(url + "/") and known[0].startswith(url + "/"), (named, known)
    assert unknown[0] == "" and "401" in unknown[1] and "TUS_LOGIN" in unknown[1]


def test_start_says_where_how_long_and_who(tmp_path: Path) -> None:
    """In four lines: addresses, the directory, how long files stay and how large they may be, who can reach it."""
    with serving(str(tmp_path), "--max-size", "5GB") as (said, _):
        pass

    assert said[1].startswith("tus: open http://127.0.0.1:")
    assert str(tmp_path) in said[2] and "up to 5.0 GB" in said[2] and "7 days" in said[2]
    assert "only this machine" in said[3] and "--host" in said[3] and "--password" in said[3]


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.7", "files.example"])
def test_start_says_that_anybody_may_upload(host: str) -> None:
    """Wherever others can reach it; and how to change that."""
    *_, said = opening([f"http://{host}:8080"], Options(), place="up", page=True, login=None)

    assert "ANYBODY" in said and "--password" in said and "--host 127.0.0.1" in said


def test_start_says_that_a_password_is_short() -> None:
    """Where the network can guess it."""
    login = Login(Filter(None), password="word", users={})
    urls = ["http://0.0.0.0:8080"]

    lines = opening(urls, Options(), place="up", page=True, login=login)

    assert len(lines) == 4
    assert "without a password" in lines[3] and "4 characters can be guessed" in lines[3]
    assert "ANYBODY" not in lines[3]
