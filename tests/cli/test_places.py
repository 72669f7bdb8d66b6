"""`tus ls`, `show`, `rm`, `sweep` and `watch`: on a directory, on a store, and on a server whose operators we are."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import live
from tests.cli.faulty import Proxy, answer
from tests.cli.terminal import on_terminal
from tests.cli.test_commands import DAYS, aged, command, create, patched, stored
from tests.cli.test_watch import SIZE, Slow, watching

NOWHERE = {"TUS_TOKEN": "", "TUS_STORE": "", "TUS_TMP_FILE_DIR": ""}


@dataclass(frozen=True)
class Site:
    """A server that has an operators' page, and the link to that."""

    link: str
    files: str  # where uploads are created
    process: subprocess.Popen[str]

    @property
    def origin(self) -> str:
        return self.link.partition("/~tus/")[0]

    @property
    def token(self) -> str:
        return self.link.partition("token=")[2]


@contextmanager
def operated(directory: Path, *words: str, port: int = 0) -> Iterator[Site]:
    """`tus serve --operators`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tus", "serve", str(directory), "--port", str(port), "--operators", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout
        said = []
        while not said or "/~tus/operators/" not in said[-1]:
            said.append(process.stdout.readline())
            assert said[-1], said
        yield Site(said[-1].split()[-1], said[0].split()[-1], process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)


@pytest.fixture(params=["directory", "store", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The uploads in `tmp_path`, as each of these."""
    if request.param == "server":
        with operated(tmp_path) as site:
            yield site.link
    else:
        yield str(tmp_path) if request.param == "directory" else tmp_path.as_uri()


def ids(*words: str) -> set[str]:
    """Those that `tus ls` says to programs."""
    said = command("ls", *words, "--json", **NOWHERE)
    assert said.returncode == 0, said.stderr
    return {json.loads(line)["id"] for line in said.stdout.splitlines()}


# What is the same wherever uploads are


def test_ls_and_show_say_the_same_wherever_uploads_are(place: str, tmp_path: Path) -> None:
    """All that is known of an upload, field by field."""
    id = stored(tmp_path, name="a.jpg", content=b"he")

    listed = json.loads(command("ls", place, "--json", **NOWHERE).stdout)
    shown = json.loads(command("show", id, place, "--json", **NOWHERE).stdout)
    lines = command("show", id, place, **NOWHERE).stdout

    here = json.loads(command("show", id, str(tmp_path), "--json", **NOWHERE).stdout)
    assert shown == here == {**listed, "parts": [], "metadata": {"filename": "a.jpg"}}
    assert (listed["id"], listed["offset"], listed["length"], listed["state"]) == (id, 2, 5, "unfinished")
    assert "received     2 of 5 bytes\n" in lines and "filename     a.jpg\n" in lines


@pytest.mark.slow
def test_ls_filters_wherever_uploads_are(place: str, tmp_path: Path) -> None:
    """By name or id, size, age, and what became of them; several filters leave out what any of them does."""
    picture, film = stored(tmp_path, name="a.jpg"), stored(tmp_path, name="film.mp4", content=bytes(2000), length=9000)
    old = stored(tmp_path, name="old.jpg", content=b"h")
    aged(tmp_path, old)

    found = {
        words: ids(place, *words.split())
        for words in ("--name *.jpg", "--name *.jpg --name film*", "--larger 1kB", "--older 1d", "--finished", "--open",
                      "--open --larger 1kB", "--expired", f"--name {film}", "--owner nobody")
    }  # fmt: skip

    assert list(found.values()) == [
        {picture, old}, {picture, old, film}, {film}, {old}, {picture}, {film, old}, {film}, {old}, {film}, set()
    ]  # fmt: skip


def test_sweep_removes_wherever_uploads_are(place: str, tmp_path: Path) -> None:
    """What has expired, and says so; a dry run says it and removes nothing."""
    new, old = stored(tmp_path, content=b"he"), stored(tmp_path, content=b"h")
    aged(tmp_path, old)

    dry = command("sweep", place, "--dry-run", **NOWHERE).stdout
    there = (tmp_path / old).exists()
    swept = command("sweep", place, **NOWHERE).stdout

    assert there and not (tmp_path / old).exists() and (tmp_path / new).exists()
    assert old in dry and dry.endswith("1 upload, 1 bytes would be removed\n")
    assert old in swept and swept.endswith("1 upload, 1 bytes removed\n")


@pytest.mark.slow
def test_rm_removes_wherever_uploads_are(place: str, tmp_path: Path) -> None:
    """By id, by name, by a pattern, or by a filter; a script has to say `--yes`."""
    one, two, three = stored(tmp_path, name="a.jpg"), stored(tmp_path, name="b.jpg"), stored(tmp_path, name="c.png")
    half, kept = stored(tmp_path, name="half", content=b"h"), stored(tmp_path, name="kept")
    rm = ("rm", "--in", place)

    unasked = command(*rm, one, **NOWHERE)
    dry = command(*rm, "*.jpg", "--dry-run", **NOWHERE)
    before = ids(str(tmp_path))
    done = [command(*rm, *words, "--yes", **NOWHERE) for words in ([one], ["c.png", "b*"], ["--open"])]

    assert (unasked.returncode, "--yes" in unasked.stderr, dry.returncode) == (2, True, 0)
    assert before == {one, two, three, half, kept}
    assert one in dry.stdout and two in dry.stdout and three not in dry.stdout
    assert [set(each.stdout.split()) for each in done] == [{one}, {two, three}, {half}]
    assert ids(str(tmp_path)) == {kept}


def test_rm_removes_nothing_if_a_word_fits_nothing(place: str, tmp_path: Path) -> None:
    """A word that is misspelled is found before the rest is gone."""
    one = stored(tmp_path, name="a.jpg")

    said = command("rm", "--in", place, one, "*.jpeg", "--yes", **NOWHERE)

    assert (said.returncode, said.stderr) == (1, "tus rm: no such upload: *.jpeg\n")
    assert ids(str(tmp_path)) == {one}


def test_pattern_is_one_of_names(tmp_path: Path) -> None:
    """Ids are drawn by lot: a pattern that means a name must not remove what has nothing to do with it."""
    ids_there = {stored(tmp_path, name=name) for name in ("film.mp4", "")}

    said = [command("rm", "--in", str(tmp_path), f"{id[:2]}*", "--yes", **NOWHERE) for id in ids_there]

    assert [each.returncode for each in said] == [1, 1]
    assert ids(str(tmp_path)) == ids_there


def test_rm_of_everything_is_no_accident(place: str) -> None:
    """Without a word there is nothing to do."""
    said = command("rm", "--in", place, "--yes", **NOWHERE)

    assert said.returncode == 2 and "say which uploads" in said.stderr


@pytest.mark.slow
@pytest.mark.parametrize("by", ["directory", "server"])
def test_rm_refuses_what_is_being_written(tmp_path: Path, by: str) -> None:
    """The rest is removed; `--force` ends the request that writes."""
    with operated(tmp_path) as site:
        place = str(tmp_path) if by == "directory" else site.link
        location = create(site.files, SIZE, "film")["Location"]
        other, id = stored(tmp_path, name="other"), location.rpartition("/")[2]
        client = Slow(location)
        client.send(40)
        live.until(lambda: json.loads(command("show", id, str(tmp_path), "--json").stdout)["offset"], within=30)

        refused = command("rm", "--in", place, id, other, "--yes", **NOWHERE)
        between = ids(str(tmp_path))
        forced = command("rm", "--in", place, id, "--yes", "--force", **NOWHERE)
        client.close()

        assert (refused.returncode, refused.stdout) == (1, f"{other}\n")
        assert "is being written; --force ends that" in refused.stderr
        assert between == {id}
        assert (forced.returncode, forced.stdout) == (0, f"{id}\n")
        assert ids(str(tmp_path)) == set()


@pytest.mark.parametrize(("typed", "removed"), [("y\n", True), ("yes\n", True), ("\n", False), ("no\n", False)])
def test_rm_asks_on_a_terminal(tmp_path: Path, typed: str, removed: bool) -> None:
    """After it has shown what would go; only a yes removes."""
    id = stored(tmp_path, name="a film.mp4")

    with on_terminal("rm", "*.mp4", "--in", tmp_path, columns=120) as session:
        session.sees("Remove 1 upload, 5 B, for good? [y/N]")
        before = (session.text, (tmp_path / id).exists())
        session.type(typed)
        status = session.end()

    assert "a film.mp4" in before[0] and "last byte" in before[0] and before[1]
    assert (status, (tmp_path / id).exists()) == ((0, False) if removed else (1, True))
    assert ("1 upload, 5 B removed" if removed else "nothing was removed") in session.text


def test_rm_is_interrupted_by_ctrl_c(tmp_path: Path) -> None:
    """At the question; nothing is removed."""
    id = stored(tmp_path, name="a")
    with on_terminal("rm", id, "--in", tmp_path) as session:
        session.sees("[y/N]").type("\x03")

        assert session.end() == 130

    assert (tmp_path / id).exists()


# What only a server can do


@pytest.mark.slow
def test_watch_shows_what_arrives_at_a_server(tmp_path: Path) -> None:
    """And what is removed there."""
    with operated(tmp_path) as site, watching(site.link) as watch:
        location = create(site.files, SIZE, "film")["Location"]
        watch.line("film", "0 %", "unfinished")
        client = Slow(location)
        client.send(40)
        watch.line("film", "40 %", "unfinished")
        client.send(60)
        watch.line("film", "100 %", "finished")
        client.status()
        gone = create(site.files, 10, "gone")["Location"]
        watch.line("gone", "0 %", "unfinished")

        command("rm", "--in", site.link, gone.rpartition("/")[2], "--yes", **NOWHERE)

        watch.line("gone", "0 %", "removed")
        assert watch.interrupt() == (130, "")


@pytest.mark.slow
def test_watch_outlives_a_server_that_dies_and_comes_back(tmp_path: Path) -> None:
    """It says that it cannot be reached, and goes on in the same list."""
    port = live.free_port()
    with operated(tmp_path, port=port) as site:
        create(site.files, SIZE, "first")
        with on_terminal("watch", site.link, "--interval", "0.05", "--retries", "60", columns=100) as session:
            session.sees("first")
            site.process.kill()
            session.sees("trying again in")
            with operated(tmp_path, port=port) as again:
                patched(create(again.files, name="second")["Location"], b"hello")
                session.until(lambda session: re.search(r"100 % .* finished +second", session.text))
                session.type("\x03")

                assert session.end() == 130

    rows = [line for line in session.shown[-3:] if "first" in line or "done" in line]
    assert len(rows) == 2, session.text


@pytest.mark.slow
@pytest.mark.parametrize("by", ["link", "--token", "TUS_TOKEN", "site", "files"])
def test_token_is_taken_from(tmp_path: Path, by: str) -> None:
    """The link that the server prints, an option, or the environment; the address may be that of the site."""
    id = stored(tmp_path)
    with operated(tmp_path) as site:
        words, environ = [site.origin], {"TUS_TOKEN": site.token}
        if by == "link":
            words, environ = [site.link], {}
        elif by == "--token":
            words, environ = [site.origin + "/", "--token", site.token], {}
        elif by == "site":
            words = [site.origin + "/~tus/operators"]
        elif by == "files":
            words = [site.files]

        said = command("ls", *words, **{**NOWHERE, **environ})

    assert id in said.stdout, said.stderr


@pytest.mark.slow
def test_server_may_ask_for_a_password_as_well(tmp_path: Path) -> None:
    """The login and the token go along, each in its place."""
    id = stored(tmp_path)
    with operated(tmp_path, "--password", "a long password") as site:
        without = command("ls", site.link, **NOWHERE)
        said = command("ls", site.link, "--user", "me:a long password", **NOWHERE)

    assert (without.returncode, "--user NAME:PASSWORD" in without.stderr) == (1, True)
    assert id in said.stdout, said.stderr


@pytest.mark.slow
def test_strangers_are_told_what_operators_need(tmp_path: Path) -> None:
    """Without the token, with a wrong one, and where there is no such page: one line each, exit status 1."""
    id = stored(tmp_path)
    with operated(tmp_path) as site:
        refused = [
            command(*words, **NOWHERE)
            for words in (("ls", site.origin), ("rm", id, "--yes", "--in", site.origin, "--token", "wrong"),
                          ("ls", site.origin + "/else/where"))
        ]  # fmt: skip

    assert [(said.returncode, said.stdout, said.stderr.count("\n")) for said in refused] == [(1, "", 1)] * 3
    assert all("only operators may" in said.stderr for said in refused[:2])
    assert "there is no operators' page" in refused[2].stderr
    assert (tmp_path / id).exists()


def test_server_that_is_not_there_is_3(tmp_path: Path) -> None:
    """As for `tus put`."""
    said = command("ls", f"http://127.0.0.1:{live.free_port()}", "--retries", "0", **NOWHERE)

    assert (said.returncode, said.stdout) == (3, "")
    assert "refuses connections" in said.stderr and said.stderr.count("\n") == 1


def test_server_has_its_own_store() -> None:
    """What is said of one contradicts it."""
    for words in (["--store", "memory:"], ["--locker", "memory:"], ["--sweep-finished"]):
        said = command("ls", "http://127.0.0.1:1", *words, **NOWHERE)

        assert (said.returncode, "contradict" in said.stderr) == (2, True)


def test_token_stays_with_its_host(tmp_path: Path) -> None:
    """It is no part of what the request asks for, where a log of a proxy would keep it."""
    stored(tmp_path)
    with operated(tmp_path) as site, Proxy(("127.0.0.1", urlsplit(site.link).port or 0)) as proxy:
        said = command("ls", site.link.replace(urlsplit(site.link).netloc, proxy.netloc), **NOWHERE)

    assert said.returncode == 0, said.stderr
    assert site.token not in proxy.seen[0].target and site.token.encode() in proxy.seen[0].head


def _lost(proxy: Proxy) -> Callable[[bytes, str], bytes]:
    """The first answer to a POST never comes."""

    def lose(head: bytes, method: str) -> bytes:
        if method == "POST" and not lost:
            lost.append(True)
            raise ConnectionResetError
        return head

    lost: list[bool] = []
    return lose


def test_removal_whose_answer_is_lost_is_no_error(tmp_path: Path) -> None:
    """It is asked for again; that the upload is gone then is what was wanted."""
    id = stored(tmp_path)
    with operated(tmp_path) as site, Proxy(("127.0.0.1", urlsplit(site.link).port or 0)) as proxy:
        proxy.faults.answer = _lost(proxy)
        link = site.link.replace(urlsplit(site.link).netloc, proxy.netloc)
        said = command("rm", id, "--in", link, "--yes", **NOWHERE)

    assert (said.returncode, said.stdout) == (0, f"{id}\n"), said.stderr
    assert [seen.method for seen in proxy.seen].count("POST") == 2


def test_server_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    """A 503 passes."""
    id = stored(tmp_path)
    with operated(tmp_path) as site, Proxy(("127.0.0.1", urlsplit(site.link).port or 0)) as proxy:
        proxy.faults.canned["GET"] = [answer("503 Service Unavailable")]
        said = command("ls", site.link.replace(urlsplit(site.link).netloc, proxy.netloc), **NOWHERE)

    assert id in said.stdout and "trying again" in said.stderr


def heard(*words: str, body: str, head: str = "HTTP/1.1 200 OK") -> tuple[int, str, str]:
    """Exit status, output and complaint of a command whose server answers with this and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "tus", *words, f"http://127.0.0.1:{listener.getsockname()[1]}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **NOWHERE},
        )  # fmt: skip
        listener.settimeout(30)
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        out, complaint = process.communicate(timeout=30)
    return process.returncode, out, complaint


@pytest.mark.parametrize(
    "said",
    ["", "[]\n", "<p>hello</p>\n", '{"id": "a"}\n', '{"count": 1, "unreadable": []}\n', '{"id": "a"}\n{"count": 1}\n'],
)
def test_list_that_is_not_whole_is_no_list(said: str) -> None:
    """Of a server that is something else, or was cut without HTTP seeing it."""
    status, out, complaint = heard("ls", body=said)

    assert (status, out) == (1, "")
    assert complaint.count("\n") == 1 and "Traceback" not in complaint


def test_words_of_a_server_steer_no_terminal() -> None:
    """Names may be anything there."""
    wild = {"id": "a\x1b[2J", "filename": "\x1b]0;x\x07\nb", "state": "\x1bc", "reason": "\x1b[1m"}
    record = {"offset": 1, "length": 2, "complete": False, "created": 1, "touched": 1, "expires": None, "owner": "",
              "stored_at": None, "parts": [], "metadata": {"\x1b": "\x1b"}, **wild}  # fmt: skip

    _, out, complaint = heard("ls", body=f'{json.dumps(record)}\n{{"count": 1, "unreadable": ["\\u001b"]}}\n')

    assert out.count("\n") == 2 and "\x1b" not in out + complaint


def test_errors_of_a_server_steer_no_terminal() -> None:
    """They are what it says."""
    body = json.dumps({"error": "no such upload \x1b]0;x\x07"})

    _, _, complaint = heard("show", "x", body=body, head="HTTP/1.1 404 Not Found\r\nContent-Type: application/json")

    assert "no such upload" in complaint
    assert "\x1b" not in complaint and "\x07" not in complaint


def test_expiry_is_the_servers_own(tmp_path: Path) -> None:
    """`--expired` means what the server would sweep."""
    id = stored(tmp_path, content=b"h")
    then = DAYS
    assert then > 7 * 86400
    aged(tmp_path, id)
    with operated(tmp_path, "--upload-valid-duration", "30d") as site:
        there, here = ids(site.link, "--expired"), ids(str(tmp_path), "--expired")

    assert (there, here) == (set(), {id})
