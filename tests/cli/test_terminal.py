"""What a person at a terminal sees of `tus put` and `tus get`, where a server is slow, refuses, dies and comes back.

Every progress is drawn twice: by `rich`, and by ourselves where that is not installed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.cli.conftest import certificate, through
from tests.cli.faulty import Faults, Proxy, answer
from tests.cli.terminal import PATIENCE, Session, on_terminal, typed_into
from tests.cli.test_commands import serving
from tus.client import Client

pytestmark = pytest.mark.slow  # each test starts some commands

MB = 1 << 20
REST = r"━|(?<!\d)\d\d? %|/s, "  # of a progress that was not taken away
WIDE = "東京の夜景と富士山の写真 🎉 é.jpg"
Show = Callable[..., AbstractContextManager[Session]]


@pytest.fixture(params=["rich", "ours"])
def show(request: pytest.FixtureRequest, tmp_path: Path) -> Show:
    """Runs a command on a terminal, whose progress is drawn by this."""
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    if request.param == "rich":
        pytest.importorskip("rich", reason="rich is not installed")
    else:
        (tmp_path / "hidden" / "rich").mkdir(parents=True)
        (tmp_path / "hidden" / "rich" / "__init__.py").write_text("raise ImportError")
        environ["PYTHONPATH"] = str(tmp_path / "hidden")

    def run(*words: object, **more: Any) -> AbstractContextManager[Session]:
        return on_terminal(*words, **{**environ, **more})

    return run


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A file of 3 MiB."""
    path = tmp_path / "film.mp4"
    path.write_bytes(random.Random(2).randbytes(3 * MB))
    return path


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Where the server of a test keeps its uploads."""
    return tmp_path / "there"


@pytest.fixture
def url(there: Path) -> Iterator[str]:
    """A server that serves downloads as well."""
    with serving(there, "--port", "0", "--quiet") as (url, _):
        yield url


def address(url: str) -> tuple[str, int]:
    host, _, port = url.partition("://")[2].partition("/")[0].partition(":")
    return host, int(port)


def url_on(session: Session) -> str:
    """The URL that the command printed, put together where the terminal broke it."""
    found = re.search(r"http://127\.0\.0\.1:\d+/\w+/[0-9a-f]{32}", "".join(session.shown))
    assert found, session.text
    return found[0]


def content(there: Path, session: Session) -> bytes:
    """What the server has of it."""
    return (there / url_on(session).rpartition("/")[2]).read_bytes()


# How far it is


@pytest.mark.parametrize("columns", [30, 80, 200])
@pytest.mark.parametrize("name", ["film.mp4", WIDE, "a name that is longer than a terminal " * 5 + ".mp4"])
def test_progress_is_one_line_of_any_terminal(
    show: Show, url: str, there: Path, tmp_path: Path, columns: int, name: str
) -> None:
    """It is drawn again in its place, however wide the characters are; in the end the URL stays, and no rest of it."""
    path = tmp_path / name
    path.write_bytes(bytes(400_000))
    drawn: list[list[str]] = []

    def keep(session: Session) -> bool:
        drawn.append(session.shown)
        return "http://" in session.text

    with show("put", path, url, "--limit-rate", "200kB", columns=columns) as session:
        session.until(keep)
        assert session.end() == 0

    # The terminal may have broken the last word, which stays.
    progress = [lines for lines in drawn if lines and not re.search(r"http|100 ?% of", "".join(lines))]
    assert progress
    assert all(len(lines) == 1 for lines in progress), progress
    size = re.compile(r"\d+(\.\d+)?(/400\.0)? ?kB")
    assert any(size.search(line) for (line,) in progress) or columns == 30, progress
    assert len(content(there, session)) == 400_000
    assert not re.search(REST, session.text), session.text


def test_total_of_several_files_has_the_time_that_is_left(show: Show, url: str, tmp_path: Path) -> None:
    """One line counts the files, and says how much of all bytes is there and how long the rest takes."""
    for n in range(4):
        (tmp_path / "album").mkdir(exist_ok=True)
        (tmp_path / "album" / f"{n}.jpg").write_bytes(bytes(300_000))

    with Proxy(address(url)) as proxy:
        proxy.faults.stall = 100_000
        with show("put", tmp_path / "album", through_files(proxy), "--transfers", "2", columns=100) as session:
            session.until(lambda session: re.search(r"0 of 4 files.*(left|beginning|\d:\d\d|-:--)", session.text))
            go_on(proxy)

            assert session.end() == 0

    assert "".join(session.shown).count("http://") == 4


def test_standard_input_is_what_is_typed(show: Show, url: str, there: Path) -> None:
    """Until Ctrl-D."""
    with show("put", "-", url, "--metadata", "filename=note.txt", columns=120) as session:
        session.type("hello\nworld\n\x04")

        assert session.end() == 0

    assert content(there, session) == b"hello\nworld\n"


def test_pattern_and_rehearsal_are_shown(show: Show, url: str, there: Path, tmp_path: Path) -> None:
    """What would be sent, with sizes; and nothing is sent."""
    for name in ("a.jpg", "b.jpg", "c.txt"):
        (tmp_path / name).write_bytes(bytes(1500))

    with show("put", tmp_path / "*.jpg", url, "--dry-run", columns=120) as session:
        status = session.end()

    lines = session.shown
    assert (status, len(lines)) == (0, 3)
    assert re.search(r"would send +1\.5 kB +a\.jpg", lines[0]) and lines[-1].startswith("2 files, 3.0 kB, would go to")
    assert list(there.iterdir()) == []


def test_manifest_says_what_is_there(show: Show, url: str, film: Path, tmp_path: Path) -> None:
    """The second command sends nothing."""
    words = ("put", film, url, "--manifest", tmp_path / "sent.jsonl")
    with show(*words, columns=120) as session:
        first = (session.end(), "http://" in session.text)

    with show(*words, columns=120) as session:
        second = (session.end(), session.shown)

    assert first == (0, True)
    assert second == (0, ["tus put: 1 of 1 file is there already"])


def test_json_on_a_terminal_is_whole(show: Show, url: str, film: Path) -> None:
    """One object, also below a progress that was drawn."""
    with show("put", film, url, "--json", columns=1000) as session:
        assert session.end() == 0

    record = json.loads(next(line for line in session.shown if line.startswith("{")))
    assert (record["bytes"], record["error"]) == (3 * MB, None)


# A server that is slow


def test_ctrl_c_ends_what_stands_still_and_says_how_to_go_on(show: Show, url: str, there: Path, film: Path) -> None:
    """At once; the same command resumes."""
    with Proxy(address(url)) as proxy:
        proxy.faults.stall = MB
        with show("put", film, through_files(proxy), columns=100) as session:
            assert proxy.stalled.wait(PATIENCE)
            session.sees("film.mp4").type("\x03")
            first = session.end()
        said = session.text
        go_on(proxy)
        with show("put", film, through_files(proxy), "--json", columns=1000) as session:
            second = session.end()

    record = json.loads(next(line for line in session.shown if line.startswith("{")))
    assert (first, second) == (130, 0), said
    assert re.search(r"film\.mp4: stopped after .* of 3\.1 MB; the same command resumes it", said)
    assert record["resumed_at"] > 0
    assert (there / record["url"].rpartition("/")[2]).read_bytes() == film.read_bytes()


def go_on(proxy: Proxy) -> None:
    """What stands still is cut, and nothing stands still any more."""
    assert proxy.stalled.wait(PATIENCE)
    proxy.faults.stall = None
    proxy.go.set()


def through_files(proxy: Proxy) -> str:
    """Where uploads are created behind the proxy, on `tus serve`."""
    return f"http://{proxy.netloc}/files"


def test_silence_ends_by_itself(show: Show, url: str, film: Path) -> None:
    """After --timeout, with the reason."""
    with Proxy(address(url)) as proxy:
        proxy.faults.stall, proxy.faults.deaf_while_stalled = MB, True
        words = ("put", film, through_files(proxy), "--timeout", "1", "--retries", "0")
        with show(*words, columns=120) as session:
            assert session.end() == 3

    assert "does not answer in time (1 s)" in session.text


def test_parts_of_one_file_are_one_line(show: Show, url: str, there: Path, film: Path) -> None:
    """--parallel: a sum, and one upload."""
    with Proxy(address(url)) as proxy:
        proxy.faults.stall = 300_000
        with show("put", film, through_files(proxy), "--parallel", "3", columns=100) as session:
            assert proxy.stalled.wait(PATIENCE)
            live_lines = len(session.sees("film.mp4").shown)
            go_on(proxy)

            assert session.end() == 0

    assert live_lines == 1
    assert content(there, session) == film.read_bytes()


# A server that refuses


@pytest.mark.parametrize(
    ("served", "words", "said"),
    [
        (["--max-size", "1MB"], [], "413"),
        (["--password", "a long password"], [], "--user NAME:PASSWORD"),
        (["--password", "a long password"], ["--user", "me:wrong"], "401"),
    ],
)
def test_refusal_is_one_sentence_at_once(
    show: Show, film: Path, tmp_path: Path, served: list[str], words: list[str], said: str
) -> None:
    """With what helps; exit status 1."""
    with (
        serving(tmp_path / "refusing", "--port", "0", "--quiet", *served) as (url, _),
        show("put", film, url, *words, columns=200) as session,
    ):
        status = session.end()

    complaints = [line for line in session.shown if line.startswith("tus put: film.mp4: ")]
    assert (status, len(complaints)) == (1, 1), session.text
    assert said in complaints[0] and "trying again" not in session.text


def test_login_opens_what_was_refused(show: Show, film: Path, tmp_path: Path) -> None:
    """By --user, by -H, by ~/.netrc."""
    home = tmp_path / "refusing"
    secret = base64.b64encode(b"me:a long password").decode()
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password 'a long password'\n".replace("'", '"'))
    with serving(home, "--port", "0", "--quiet", "--password", "a long password") as (url, _):
        for words, environ in (
            (["--user", "me:a long password"], {}),
            (["-H", f"Authorization: Basic {secret}"], {}),
            ([], {"NETRC": str(tmp_path / "netrc")}),
            ([], {"TUS_LOGIN": "me:a long password"}),
        ):
            with show("put", film, url, *words, columns=120, **environ) as session:
                assert session.end() == 0, session.text


def test_smaller_requests_are_found_after_a_413(show: Show, url: str, there: Path, film: Path) -> None:
    """It is said once, and the file arrives."""
    with Proxy(address(url)) as proxy:
        proxy.faults.announced_limit = MB
        with show("put", film, through_files(proxy), columns=120) as session:
            assert session.end() == 0

    assert session.text.count("too large there; trying 1.0 MB") == 1
    assert content(there, session) == film.read_bytes()


def test_certificate_of_a_stranger_is_refused_with_what_helps(show: Show, url: str, film: Path, tmp_path: Path) -> None:
    """--cacert or --insecure, which the sentence names, opens the way."""
    with Proxy(address(url), tls=certificate(tmp_path)) as proxy:
        found = []
        for words in ([], ["--cacert", tmp_path / "cert.pem"], ["--insecure"]):
            with show("put", film, f"https://{proxy.netloc}/files", *words, columns=200) as session:
                found.append((session.end(), "--cacert, --insecure" in session.text))

    assert found == [(3, True), (0, False), (0, False)]


def test_file_that_changes_is_told(show: Show, url: str, film: Path) -> None:
    """While it is sent; exit status 4."""
    with Proxy(address(url)) as proxy:
        proxy.faults.stall = MB
        with show("put", film, through_files(proxy), columns=120) as session:
            assert proxy.stalled.wait(PATIENCE)
            os.utime(film, ns=(1, 1))
            go_on(proxy)

            assert session.end() == 4

    assert "film.mp4: it changed while it was being sent" in session.text


def test_checksum_that_is_wrong_on_the_way_is_sent_again(show: Show, url: str, there: Path, film: Path) -> None:
    """The server says 460 once."""
    with Proxy(address(url)) as proxy:
        proxy.faults.canned["PATCH"] = [answer("460 Checksum Mismatch")]
        with show("put", film, through_files(proxy), "--checksum", "sha256", columns=120) as session:
            assert session.end() == 0

    assert "460 Checksum Mismatch; trying again" in session.text
    assert content(there, session) == film.read_bytes()


# A server that is not there, dies, and comes back


def test_nobody_there_is_told_at_once(show: Show, film: Path) -> None:
    """Apart from a refusal: exit status 3."""
    with show("put", film, f"http://127.0.0.1:{live.free_port()}/files", "--retries", "0", columns=120) as session:
        assert session.end() == 3

    assert [line for line in session.shown if "refuses connections" in line] == session.shown


def test_server_that_dies_and_comes_back_gets_the_rest(show: Show, there: Path, film: Path) -> None:
    """It is said that it is away, and when it is tried again; the progress goes on in one line."""
    port = live.free_port()
    with (
        serving(there, "--port", str(port), "--quiet") as (_, process),
        Proxy(("127.0.0.1", port), Faults(stall=MB)) as proxy,
        show("put", film, through_files(proxy), columns=120) as session,
    ):
        assert proxy.stalled.wait(PATIENCE)
        process.kill()
        process.wait()
        go_on(proxy)
        session.sees("trying again in")
        with serving(there, "--port", str(port), "--quiet"):
            assert session.end() == 0

    assert "film.mp4: 127.0.0.1" in session.text or "film.mp4: the connection to 127.0.0.1" in session.text
    assert not re.search(REST, session.text), session.text
    assert content(there, session) == film.read_bytes()


def test_get_outlives_its_server(show: Show, there: Path, film: Path, tmp_path: Path) -> None:
    """A download goes on where it was, in one command."""
    port = live.free_port()
    with serving(there, "--port", str(port), "--quiet") as (url, process):
        with Client(url, state=tmp_path / "other") as client:
            source = client.put(film).url
        with Proxy(("127.0.0.1", port)) as proxy:
            proxy.faults.answer = cut_once(proxy, process)
            with show(
                "get", source.replace(f":{port}/", f":{proxy.port}/"), "-o", tmp_path / "again.mp4", columns=120
            ) as session:
                session.sees("trying again in")
                with serving(there, "--port", str(port), "--quiet"):
                    assert session.end() == 0

    assert (tmp_path / "again.mp4").read_bytes() == film.read_bytes()
    assert "again.mp4" in session.shown[-1]


def cut_once(proxy: Proxy, process: Any) -> Callable[[bytes, str], bytes]:
    """The server dies before its first answer has gone on."""

    def die(head: bytes, method: str) -> bytes:
        if process.poll() is None:
            process.kill()
            process.wait()
            raise ConnectionResetError
        return head

    return die


@pytest.mark.parametrize("right", [True, False])
def test_get_checks_what_the_server_says_of_the_file(show: Show, proxy: Proxy, tmp_path: Path, right: bool) -> None:
    """A wrong digest is told, and nothing stays."""
    digest = base64.b64encode(hashlib.sha256(b"01234" if right else b"other").digest()).decode()
    head = f"HTTP/1.1 200 OK\r\nRepr-Digest: sha-256=:{digest}:\r\nContent-Length: 5\r\n\r\n"
    proxy.faults.canned["GET"] = [head.encode() + b"01234"]

    with show("get", through(proxy), "-o", tmp_path / "file", columns=120) as session:
        status = session.end()

    assert (status, (tmp_path / "file").exists()) == ((0, True) if right else (1, False))
    assert right or "has another sha256 digest than the server says" in session.text


# Shells


def test_bash_completes_at_the_prompt(tmp_path: Path) -> None:
    """Tab, as a person types it: the command, and an option of it."""
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    tus = f"{sys.executable} -m tus"
    (tmp_path / "rc").write_text(f'PS1="> "\ntus() {{ {tus} "$@"; }}\neval "$({tus} completion bash)"\necho ready\n')
    words = ["bash", "--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"]

    with typed_into(Session(words, HOME=str(tmp_path))) as session:
        session.sees("ready\n>")
        session.type("tus swe\t")
        session.sees("tus sweep")
        session.type("--dry\t")
        session.sees("tus sweep --dry-run")


def test_help_fits_a_narrow_terminal() -> None:
    """Of each command for files."""
    for name in ("put", "get", "ls", "rm", "watch"):
        with on_terminal(name, "--help", columns=50, lines=200) as session:
            assert session.end() == 0

        assert session.shown[0].startswith("usage: tus")
        assert len(session.written.splitlines()) <= len(session.shown) + session.written.count(b"\r\n\r\n") + 1
