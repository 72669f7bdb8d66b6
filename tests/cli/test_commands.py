"""`tus serve`, `ls`, `sweep`, `options` and `--version`, as a person types them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import tus
from tests import live, wire
from tus.http.messages import Request
from tus.options import OPTIONS
from tus.tus import Application, Options

DAYS = 8 * 86400  # seconds; longer than uploads are kept by default


def command(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tus", *words],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **environ},
    )


@contextmanager
def serving(*words: str, **environ: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The URL that `tus serve` prints, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tus", "serve", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("tus: listening on http://"), line + (process.stderr.read() if process.stderr else "")
        yield line.split()[-1], process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)


def create(url: str, length: int = 5, name: str = "a") -> wire.Answer:
    parts = urlsplit(url)
    fields = {"Host": parts.netloc, "Tus-Resumable": "1.0.0", "Upload-Length": str(length)}
    fields["Upload-Metadata"] = f"filename {b64encode(name.encode()).decode()}"
    return wire.ask((parts.hostname or "", parts.port or 0), "POST", parts.path, fields)


def stored(directory: Path, *, content: bytes = b"hello", length: int = 5, name: str = "") -> str:
    """An upload that lies in a directory."""
    engine = Application(Options({"tmp_file_dir": str(directory)}, environ={}), delivers=False).engine
    metadata = tus.Metadata(f"filename {b64encode(name.encode()).decode()}" if name else "")
    with engine.begin(Request("POST"), length=length, metadata=metadata, announced=len(content)) as writer:
        writer.write(content)
        return engine.conclude(writer).id


def aged(directory: Path, id: str) -> None:
    """Make an upload as old as if it had been forgotten for days."""
    then = time.time() - DAYS
    for name in (id, f"{id}.info"):
        os.utime(directory / name, (then, then))


def test_serve_says_where_it_listens_once_it_does(tmp_path: Path) -> None:
    """The line that is printed is an address that takes uploads, and the directory is made."""
    with serving(str(tmp_path / "new" / "uploads"), "--port", "0") as (url, _):
        assert urlsplit(url).path == "/files"
        answer = create(url)

    assert answer.status == 201
    assert answer["Location"].startswith(url + "/")
    assert len(list((tmp_path / "new" / "uploads").glob("*.info"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_says_which_address_is_taken(tmp_path: Path, workers: str) -> None:
    """In one line: the first thing that goes wrong for many."""
    with serving(str(tmp_path), "--port", "0") as (url, _):
        port = str(urlsplit(url).port)
        done = subprocess.run(
            [sys.executable, "-m", "tus", "serve", str(tmp_path), "--port", port, "--workers", workers],
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "already in use" in done.stderr and f"127.0.0.1:{port}" in done.stderr


PASSING = """
import os, socket, sys
sock = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "tus", "serve", *sys.argv[2:]])
"""  # what systemd does


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_uses_the_socket_that_systemd_passes(tmp_path: Path, workers: str) -> None:
    """A directory is served there, as an ini is, where no option says where to listen."""
    port = live.free_port()
    command = [sys.executable, "-c", PASSING, str(port), str(tmp_path), "--workers", workers]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        url = process.stdout.readline().split()[-1]

        answer = create(url)
    finally:
        process.terminate()
        process.communicate(timeout=15)

    assert urlsplit(url).port == port
    assert answer.status == 201


def test_serve_takes_the_options_of_the_application(tmp_path: Path) -> None:
    """Every option is one of the command line, too."""
    with serving(str(tmp_path), "--port", "0", "--upload-path", "/here", "--max-size", "1kB") as (url, _):
        assert urlsplit(url).path == "/here"
        assert create(url, 1001).status == 413
        assert create(url, 1000).status == 201


def test_serve_reads_the_environment(tmp_path: Path) -> None:
    """Containers configure by TUS_… variables; the command line goes before them."""
    environ = {"TUS_MAX_SIZE": "1kB", "TUS_UPLOAD_PATH": "/there", "TUS_TMP_FILE_DIR": str(tmp_path / "env")}
    with serving("--port", "0", "--max-size", "2kB", **environ) as (url, _):
        assert urlsplit(url).path == "/there"
        assert create(url, 2000).status == 201
        assert create(url, 2001).status == 413

    assert len(list((tmp_path / "env").glob("*.info"))) == 1


def test_serve_takes_an_ini(tmp_path: Path) -> None:
    """A paste file, with its server section."""
    port = live.free_port()
    ini = tmp_path / "site.ini"
    ini.write_text(
        f"[app:main]\nuse = egg:tus#main\nupload_path = /ini\ntmp_file_dir = {tmp_path}/up\n"
        f"[server:main]\nuse = egg:tus#server\nlisten = 127.0.0.1:{port}\n"
    )
    with serving(str(ini)) as (url, _):
        assert urlsplit(url).port == port
        assert create(f"{url}/ini").status == 201


def test_serve_with_workers_serves_and_stops(tmp_path: Path) -> None:
    """Several processes say once that they listen, and all end at SIGTERM."""
    with serving(str(tmp_path), "--port", "0", "--workers", "2") as (url, process):
        assert create(url).status == 201
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_wrong_words_are_explained() -> None:
    """An unknown option or a bad value is named, and nothing is started."""
    assert "--max-sise" in command("serve", "--max-sise", "1").stderr
    wrong = command("serve", "--max-size", "1x")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "max_size" in wrong.stderr and "Traceback" not in wrong.stderr
    variable = command("serve", TUS_DURABLE="sometimes")
    assert "TUS_DURABLE" in variable.stderr and "none, finish, always" in variable.stderr


@pytest.mark.parametrize("words", [["--port", "80801"], ["--set", "listen=127.0.0.1:80801"], ["--set", "port=65536"]])
def test_port_that_does_not_exist_is_refused(words: list[str]) -> None:
    """The system would listen on what is left of it, 15265."""
    wrong = command("serve", *words)

    assert wrong.returncode == 2 and wrong.stdout == ""
    assert "is not a port: 0 to 65535" in wrong.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("pair", "said"),
    [("foo=1", "unknown option foo"), ("thread=1", "did you mean threads?"), ("threads=x", "option threads: 'x'")],
)
def test_wrong_option_of_the_server_is_named_in_one_line(pair: str, said: str) -> None:
    """As one of the application is."""
    wrong = command("serve", "--port", "0", "--set", pair)

    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1 and said in wrong.stderr


def test_reader_that_has_enough_is_no_error() -> None:
    """`tus options | head -1` says nothing besides."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tus", "options"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr
    process.stdout.close()

    said = process.stderr.read()

    assert (said, process.wait(30)) == ("", 0)
    process.stderr.close()


def test_serve_writes_an_access_log(tmp_path: Path) -> None:
    """Each request, beside what happens to uploads."""
    with serving(str(tmp_path / "up"), "--port", "0", "--access-log", str(tmp_path / "access.log")) as (url, _):
        create(url)

    assert '"POST /files HTTP/1.1" 201 ' in (tmp_path / "access.log").read_text()


def test_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "file").write_text("")

    answer = command("serve", str(tmp_path / "file" / "sub"))

    assert answer.returncode == 2
    assert "tmp_file_dir" in answer.stderr and "file" in answer.stderr and "Traceback" not in answer.stderr


def test_ls_lists_what_is_there(tmp_path: Path) -> None:
    """Finished and unfinished, for people and for programs."""
    whole, half = stored(tmp_path), stored(tmp_path, content=b"he")

    lines = command("ls", str(tmp_path)).stdout.splitlines()
    objects = [json.loads(line) for line in command("ls", str(tmp_path), "--json").stdout.splitlines()]
    unfinished = command("ls", str(tmp_path), "--unfinished", "--json").stdout

    assert any(whole in line and "finished" in line for line in lines)
    assert lines[-1].startswith("2 uploads, 7 bytes")
    assert {(o["id"], o["offset"], o["length"], o["state"]) for o in objects} == {
        (whole, 5, 5, "finished"),
        (half, 2, 5, "unfinished"),
    }
    assert half in unfinished and whole not in unfinished


def test_sweep_removes_expired_uploads_only(tmp_path: Path) -> None:
    """Old unfinished ones go, others stay; a dry run says so and removes nothing."""
    old, new, finished = stored(tmp_path, content=b"he"), stored(tmp_path, content=b"he"), stored(tmp_path)
    aged(tmp_path, old)
    aged(tmp_path, finished)
    (tmp_path / "notes.txt").write_text("not ours")

    dry = command("sweep", str(tmp_path), "--dry-run").stdout
    assert old in dry and (tmp_path / old).exists()
    swept = command("sweep", str(tmp_path)).stdout

    assert old in swept and new not in swept and finished not in swept
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [new, f"{new}.info", finished, f"{finished}.info", "notes.txt"]
    )


def test_sweep_of_nothing_is_an_error(tmp_path: Path) -> None:
    """A directory that is not there is not made, and not silently empty."""
    answer = command("sweep", str(tmp_path / "none"))

    assert answer.returncode == 2 and "not a directory" in answer.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("environ", [False, True])
def test_uploads_are_found_by_the_url_of_their_store(tmp_path: Path, environ: bool) -> None:
    """As the server was started; the variable says it for all commands."""
    place = tmp_path / "a b"
    old = stored(place, content=b"he")
    aged(place, old)
    words, variables = (), {"TUS_STORE": place.as_uri()}
    if not environ:
        words, variables = ("--store", place.as_uri(), "--locker", "file:"), {}

    listed = command("ls", *words, **variables).stdout
    swept = command("sweep", *words, **variables).stdout

    assert old in listed and old in swept
    assert not list(place.iterdir())


def test_two_places_are_a_contradiction(tmp_path: Path) -> None:
    """A directory and a store in another one."""
    answer = command("ls", str(tmp_path), "--store", "file:///elsewhere")

    assert answer.returncode == 2 and "contradict each other" in answer.stderr


def test_serve_keeps_uploads_where_the_url_says(tmp_path: Path) -> None:
    """And says so when it starts; nothing is made where uploads go by default."""
    said: list[str] = []
    with serving("--store", "memory:", "--port", "0", TUS_TMP_FILE_DIR=str(tmp_path / "unused")) as (url, process):
        assert process.stdout
        said += [process.stdout.readline(), process.stdout.readline()]
        answer = create(url)

    assert answer.status == 201
    assert "files go to memory:" in "".join(said)
    assert not (tmp_path / "unused").exists()


def test_processes_do_not_share_a_memory() -> None:
    """Each would have uploads of its own."""
    answer = command("serve", "--store", "memory:", "--workers", "2", "--port", "0")

    assert answer.returncode == 2
    assert "option locker" in answer.stderr and "--workers 1" in answer.stderr


def test_options_names_all() -> None:
    """Every option with its default."""
    listed = command("options").stdout

    assert all(f"{option.name} = {option.default}".rstrip() in listed for option in OPTIONS)
    assert "One of auto, url and path." in " ".join(listed.split())
    assert "One of path, file, form, url and none." in " ".join(listed.split())


def test_version_is_the_one_of_the_package() -> None:
    """`tus --version`."""
    assert command("--version").stdout.strip() == f"tus {tus.__version__}"


def patched(url: str, body: bytes, *, offset: int = 0) -> wire.Answer:
    parts = urlsplit(url)
    fields = {"Host": parts.netloc, "Tus-Resumable": "1.0.0", "Upload-Offset": str(offset)}
    fields |= {"Content-Type": "application/offset+octet-stream", "Content-Length": str(len(body))}
    return wire.ask((parts.hostname or "", parts.port or 0), "PATCH", parts.path, fields, body)


def test_serve_tells_what_happens(tmp_path: Path) -> None:
    """One line an event, for people: time, event, name, size; and a name cannot begin a line of its own."""
    with serving(str(tmp_path), "--port", "0") as (url, process):
        patched(create(url, name="a film\nforged")["Location"], b"hello")
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=15)

    created, finished = told.splitlines()
    assert re.match(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  created      a filmforged  5 B  \([0-9a-f]{32}, 127.0.0.1\)$", created
    )
    assert re.search(r"  finished     a filmforged  5 B  in \d+\.\d s, .+/s  \(", finished)


def test_quiet_server_tells_nothing_that_went_well(tmp_path: Path) -> None:
    """`--quiet` is for servers that others watch."""
    with serving(str(tmp_path), "--port", "0", "--quiet") as (url, process):
        patched(create(url)["Location"], b"hello")
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=15)

    assert told == ""


def test_show_says_what_is_known_of_one_upload(tmp_path: Path) -> None:
    """For people and for programs."""
    id = stored(tmp_path, content=b"he")

    shown = command("show", id, str(tmp_path)).stdout
    known = json.loads(command("show", id, str(tmp_path), "--json").stdout)

    assert "state        unfinished\n" in shown and "received     2 of 5 bytes\n" in shown
    assert (known["id"], known["offset"], known["state"]) == (id, 2, "unfinished")


@pytest.mark.parametrize(
    "words, said",
    [
        (("f" * 32,), "no such upload"),
        (("../x",), "no such upload"),
        (("{id}", "--url"), "is unfinished: there is no file to fetch"),
        (("{whole}", "--url"), "option store: nobody else can fetch from this store"),
    ],
)
def test_show_says_what_it_cannot_do(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """In one line."""
    ids = {"id": stored(tmp_path, content=b"he"), "whole": stored(tmp_path)}

    answer = command("show", words[0].format(**ids), str(tmp_path), *words[1:])

    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr and answer.stderr.count("\n") == 1
