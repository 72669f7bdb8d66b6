"""`tus put` against a real server, with everything that can go wrong on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.cli.conftest import Upstream, certificate, through
from tests.cli.faulty import Faults, Proxy, answer
from tus.client.brake import Brake
from tus.client.failures import TransferError, TryAgain
from tus.client.meter import Meter
from tus.client.remembered import Remembered, fingerprint
from tus.client.sources import Stream
from tus.client.transfer import Pace, retry_after
from tus.client.wire import endpoint, header_line, located

MB = 1 << 20
Start = Callable[..., "subprocess.Popen[str]"]


def kept(tmp_path: Path) -> dict[str, Any]:
    """What the command remembers."""
    return dict(json.loads((tmp_path / "state" / "tus" / "uploads.json").read_text()))


def test_file_arrives_and_its_url_is_printed(run: Any, upstream: Upstream, file: Path, tmp_path: Path) -> None:
    """The only line on standard output is the URL, the file is there bit for bit, nothing is remembered."""
    status, out, err = run(file, upstream.url)

    assert (status, upstream.content(out)) == (0, file.read_bytes())
    assert "100 %" in err
    assert kept(tmp_path) == {}


def test_several_files_and_an_empty_one(run: Any, upstream: Upstream, file: Path, tmp_path: Path) -> None:
    """Each file gets its URL, in the order given."""
    (tmp_path / "empty").touch()

    status, out, _ = run(file, tmp_path / "empty", upstream.url, "--quiet")

    assert status == 0
    assert [upstream.content(url) for url in out.split()] == [file.read_bytes(), b""]


@pytest.mark.parametrize("options", [["--chunk-size", "1MB"], ["--checksum", "sha256", "--chunk-size", "700kB"]])
def test_chunks(run: Any, proxy: Proxy, upstream: Upstream, file: Path, options: list[str]) -> None:
    """A chunk size makes several requests of one file, with or without a checksum."""
    status, out, _ = run(file, through(proxy), *options)

    assert (status, upstream.content(out)) == (0, file.read_bytes())
    assert len([seen for seen in proxy.seen if seen.method == "PATCH"]) >= 4


def test_metadata_and_headers(run: Any, proxy: Proxy, file: Path) -> None:
    """Name and type go along, more metadata and headers if wanted."""
    run(file, through(proxy), "--metadata", "album=Täglich", "--metadata", "flag", "--header", "X-Token: abc")

    head = proxy.seen[0].head.decode()
    assert "Upload-Metadata: filename YSBwaWN0dXJlLnBuZw==,filetype aW1hZ2UvcG5n,album VMOkZ2xpY2g=,flag\r" in head
    assert all(b"X-Token: abc" in seen.head for seen in proxy.seen)


def test_quiet_and_json(run: Any, upstream: Upstream, file: Path) -> None:
    """A program can read the result."""
    status, out, err = run(file, upstream.url, "--json", "--quiet")

    record = json.loads(out)
    assert (status, err, record["bytes"], record["error"]) == (0, "", file.stat().st_size, None)


@pytest.mark.parametrize("size", [0, 1000, 2 * MB, 2 * MB + 5])
def test_stream_of_unknown_length(command: Start, upstream: Upstream, size: int, tmp_path: Path) -> None:
    """Standard input needs no length, also when it ends where a chunk ends."""
    data = random.Random(2).randbytes(size)
    (tmp_path / "input").write_bytes(data)
    with subprocess.Popen(["cat", str(tmp_path / "input")], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        process = command("put", "-", upstream.url, "--chunk-size", "1MiB", stdin=cat.stdout.fileno())
        out, err = process.communicate(timeout=20)

    assert process.returncode == 0, err
    assert upstream.content(out.strip()) == data


def test_killed_client_resumes(command: Start, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """After SIGKILL in the middle, the second run sends only what the server did not have."""
    proxy.faults.stall = MB
    first = command("put", file, through(proxy))
    assert proxy.stalled.wait(10)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    proxy.faults.stall = None
    proxy.go.set()
    arrived = proxy.passed()

    second = command("put", file, through(proxy), "--json")
    out, err = second.communicate(timeout=20)

    record = json.loads(out)
    assert upstream.content(record["url"]) == file.read_bytes()
    assert record["resumed_at"] > 0
    assert [seen.method for seen in proxy.seen].count("POST") == 1
    assert proxy.passed() - arrived == file.stat().st_size - record["resumed_at"]


@pytest.fixture(params=["foreground", "background"])
def started_in(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where a shell started the tests: in the background they ignore Ctrl-C, and what they start would, too."""
    before = signal.getsignal(signal.SIGINT)
    if request.param == "background":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupt_says_how_to_go_on(command: Start, proxy: Proxy, file: Path, started_in: None) -> None:
    """Ctrl-C ends with one line, no traceback, and an upload that can be resumed."""
    proxy.faults.stall = MB
    process = command("put", file, through(proxy))
    assert proxy.stalled.wait(10)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)

    assert process.returncode == 130
    assert "the same command resumes it" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_random_cuts(run: Any, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """However often the connection breaks, every attempt goes on where the server stands."""
    chance = random.Random(3)
    proxy.faults.cuts = [chance.randrange(1, 400_000) for _ in range(12)]

    status, out, err = run(file, through(proxy))

    assert (status, upstream.content(out)) == (0, file.read_bytes()), err
    assert proxy.faults.cuts == []


@pytest.mark.slow
def test_server_restarts_in_the_middle(command: Start, file: Path) -> None:
    """A server that dies and comes back gets the rest; nothing is sent twice that it kept."""
    with live.start(cleanup=False) as server, Proxy(server.address) as proxy:
        proxy.faults.stall = MB
        process = command("put", file, through(proxy), "--json")
        assert proxy.stalled.wait(10)
        server.kill()
        proxy.faults.stall = None
        proxy.go.set()
        server.start()
        out, err = process.communicate(timeout=20)
        record = json.loads(out)

        assert process.returncode == 0, err
        assert Upstream(server.address, server.home / "uploads").content(record["url"]) == file.read_bytes()


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(
    "trouble",
    ["423 Locked", "409 Conflict", "429 Too Many Requests", "500 Oh", "502 Bad Gateway", "460 Mismatch"],
)
def test_passing_trouble(run: Any, proxy: Proxy, upstream: Upstream, file: Path, method: str, trouble: str) -> None:
    """A busy upload, a hasty client or a server in trouble are asked again, and the first time at once."""
    proxy.faults.canned[method] = [answer(trouble)]

    status, out, err = run(file, through(proxy))

    assert (status, upstream.content(out)) == (0, file.read_bytes())
    assert f"{trouble.split()[0]}" in err


def test_retry_after_is_waited_for(run: Any, proxy: Proxy, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server says when to come again."""
    waits: list[float] = []
    monkeypatch.setattr(Brake, "rest", lambda brake, seconds: waits.append(seconds))
    proxy.faults.canned["PATCH"] = [answer("429 Too Many Requests", "Retry-After: 7")]

    assert run(file, through(proxy))[0] == 0

    assert waits == [7.0]


def test_gives_up_after_the_retries(run: Any, proxy: Proxy, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits are those of tus-js-client, and the last answer is what is told."""
    waits: list[float] = []
    monkeypatch.setattr(Brake, "rest", lambda brake, seconds: waits.append(seconds))
    proxy.faults.refused["PATCH"] = answer("503 Service Unavailable")

    status, out, err = run(file, through(proxy), "--retries", "4")

    assert (status, out, waits) == (3, "", [0.0, 1.0, 3.0, 5.0])
    assert "503 Service Unavailable" in err.splitlines()[-1]


@pytest.mark.parametrize("turn", range(8))
def test_refusal_in_mid_body_is_told(run: Any, proxy: Proxy, file: Path, turn: int) -> None:
    """A 413 with a reset right behind it is a 413, and no broken pipe."""
    proxy.faults.limit = turn * 300_000

    status, _, err = run(file, through(proxy), "--chunk-size", "1GB")

    assert status == 1
    assert "413 Request Entity Too Large" in err


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[live.Live]:
    """A server whose hook does not like anything evil."""
    with live.start(hooks="tests.apps:Policy", durable="none") as server:
        yield server


@pytest.mark.parametrize("status", [403, 404, 409, 422])
@pytest.mark.parametrize("size", [0, 5])
def test_refused_file_ends_with_the_reason(run: Any, server: live.Live, tmp_path: Path, status: int, size: int) -> None:
    """The application does not want it: no retry, no second upload, one sentence, and nothing is remembered."""
    name = server.collection()
    (server.home / name / "plan.json").write_text(json.dumps({"status": f"{status} No", "body": "this is no film"}))
    (tmp_path / "film").write_bytes(b"x" * size)

    exit_status, out, err = run(tmp_path / "film", server.origin + server.path(name), "--json")

    handed = list((server.home / name / "handed").iterdir())
    assert (exit_status, len(handed), json.loads(out)["refused"]) == (1, 1, True)
    assert f"{status}" in err and "this is no film; the same command starts a new upload" in err and "again" not in err
    assert not size or kept(tmp_path) == {}


def test_refusal_that_was_missed_is_heard_without_sending(
    run: Any, strict: live.Live, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The last answer got lost: the next run hears the reason and sends nothing; the one after it begins anew."""
    file = tmp_path / "film"
    file.write_bytes(b"evil" * 1000)
    with Proxy(strict.address) as proxy:
        run(file, through(proxy))
        url = f"{through(proxy)}/{next((strict.home / 'uploads').glob('*.info')).stem}"
        memory, key = Remembered.of_user(os.environ), fingerprint(str(file), endpoint(through(proxy))[0])
        memory.keep(key, url)
        proxy.seen.clear()

        status, _, err = run(file, through(proxy))
        asked = [seen.method for seen in proxy.seen]
        proxy.seen.clear()
        run(file, through(proxy))

    assert (status, asked) == (1, ["HEAD", "PATCH"])
    assert "the content is evil; the same command starts a new upload" in err
    assert kept(tmp_path) == {}
    assert [seen.method for seen in proxy.seen] == ["POST", "PATCH"]


def test_login_that_is_missing_at_the_end_costs_nothing(run: Any, server: live.Live, tmp_path: Path) -> None:
    """The application wants a login: that is said, and the same command finishes the upload without sending it."""
    name = server.collection(cleanup=False)
    plan = server.home / name / "plan.json"
    plan.write_text(json.dumps({"status": "401 Unauthorized", "body": "log in"}))
    (tmp_path / "film").write_bytes(b"hello")
    url = server.origin + server.path(name)

    failed = run(tmp_path / "film", url)
    again = run(tmp_path / "film", url)
    plan.unlink()
    status, out, _ = run(tmp_path / "film", url)

    assert [(code, "401" in err, "credentials" in err) for code, _, err in (failed, again)] == [(1, True, True)] * 2
    assert (status, (server.home / name / "uploads" / out.rpartition("/")[2]).read_bytes()) == (0, b"hello")
    assert len(list((server.home / name / "uploads").glob("*.info"))) == 1


def test_redirect_is_refused(run: Any, proxy: Proxy, file: Path) -> None:
    """A redirect is named, not followed."""
    proxy.faults.refused["POST"] = answer("301 Moved", "Location: https://elsewhere.example/upload")

    status, _, err = run(file, through(proxy))

    assert status == 1
    assert "redirects to https://elsewhere.example/upload" in err


@pytest.mark.parametrize("gone", ["404 Not Found", "410 Gone"])
def test_forgotten_upload_begins_again(run: Any, proxy: Proxy, upstream: Upstream, file: Path, gone: str) -> None:
    """An upload that the server has cleaned up is forgotten, and the file sent anew."""
    proxy.faults.refused["PATCH"] = answer("400 Bad Request")
    assert run(file, through(proxy))[0] == 1
    del proxy.faults.refused["PATCH"]
    proxy.faults.canned["HEAD"] = [answer(gone)]

    status, out, err = run(file, through(proxy))

    assert (status, upstream.content(out)) == (0, file.read_bytes())
    assert "beginning again" in err


def test_lost_last_answer_is_success(run: Any, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """Everything arrived and only the answer was lost: nothing is sent again."""
    size = file.stat().st_size
    lost = iter([True])
    proxy.faults.answer = lambda head, method: b"" if method == "PATCH" and next(lost, False) else head

    status, out, _ = run(file, through(proxy))

    assert (status, upstream.content(out), proxy.passed()) == (0, file.read_bytes(), size)


def lose_creation(proxy: Proxy, times: int = 1) -> None:
    """The server makes the upload, and its answer never arrives."""
    lost = iter([True] * times)
    proxy.faults.answer = lambda head, method: b"" if method == "POST" and next(lost, False) else head


def made(upstream: Upstream) -> set[str]:
    return {path.stem for path in upstream.files.glob("*.info")}


def test_lost_answer_to_the_creation_makes_one_upload(run: Any, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """The second creation has the key of the first one."""
    before = made(upstream)
    lose_creation(proxy)

    status, out, _ = run(file, through(proxy))

    assert (status, upstream.content(out)) == (0, file.read_bytes())
    assert len(made(upstream) - before) == 1


def test_next_run_finds_what_a_lost_answer_spoke_of(run: Any, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """The key is remembered before it is sent, and goes when the file is uploaded."""
    before = made(upstream)
    lose_creation(proxy)
    assert run(file, through(proxy), "--retries", "0")[0] == 3

    status, out, _ = run(file, through(proxy))
    again = run(file, through(proxy))[1]

    assert (status, upstream.content(out)) == (0, file.read_bytes())
    assert made(upstream) - before == {out.rpartition("/")[2], again.rpartition("/")[2]}
    assert out != again


def test_other_metadata_is_another_creation(run: Any, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """A run that says something else of the file does not use the key of the one before."""
    lose_creation(proxy)
    assert run(file, through(proxy), "--retries", "0")[0] == 3

    assert run(file, through(proxy), "--metadata", "a=b")[0] == 0


def test_patch_in_disguise(run: Any, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """Where PATCH is blocked, POST with the override header does it."""
    proxy.faults.refused["PATCH"] = answer("405 Method Not Allowed")

    status, out, _ = run(file, through(proxy))

    assert (status, upstream.content(out)) == (0, file.read_bytes())


@pytest.mark.parametrize("form", ["{path}", "http://{netloc}{path}", "//{netloc}{path}"])
def test_every_form_of_location(run: Any, proxy: Proxy, upstream: Upstream, file: Path, form: str) -> None:
    """An absolute URL, an absolute path or one without a scheme: each is understood."""

    def change(head: bytes, method: str) -> bytes:
        before, name, after = head.partition(b"Location: ")
        path = "/upload/" + after.partition(b"\r")[0].decode().rpartition("/")[2]
        new = form.format(path=path, netloc=proxy.netloc).encode()
        return before + name + new + b"\r\n" + after.partition(b"\r\n")[2] if name else head

    proxy.faults.answer = change

    status, out, _ = run(file, through(proxy))

    assert (status, upstream.content(out)) == (0, file.read_bytes())


def test_https(run: Any, upstream: Upstream, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS, also when the server behind it says http:// and the connection is cut."""
    with Proxy(upstream.address, Faults(cuts=[500_000, 2 * MB]), tls=certificate(tmp_path)) as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        status, out, err = run(file, f"https://{proxy.netloc}/upload")

    assert (status, upstream.content(out)) == (0, file.read_bytes()), err
    assert out.startswith(f"https://{proxy.netloc}/")


def test_untrusted_certificate_is_one_sentence(run: Any, upstream: Upstream, file: Path, tmp_path: Path) -> None:
    """A certificate that cannot be verified ends it at once."""
    with Proxy(upstream.address, tls=certificate(tmp_path)) as proxy:
        status, _, err = run(file, f"https://{proxy.netloc}/upload")

    assert status == 3
    assert "certificate" in err
    assert len(err.splitlines()) == 1


def test_no_server_is_one_sentence_each(run: Any, file: Path) -> None:
    """A refused connection and an unknown host are told in words."""
    port = live.free_port()

    refused = run(file, f"http://127.0.0.1:{port}/upload", "--retries", "0")
    unknown = run(file, "http://no-such-host.invalid/upload")

    assert "refuses connections" in refused[2]
    assert "no-such-host.invalid" in unknown[2]
    assert (refused[0], unknown[0]) == (3, 3)


@pytest.mark.parametrize("words", [["nothing-there", "http://a/"], ["nothing-*", "http://a/"], ["-", "-", "http://a/"]])
def test_wrong_use_is_2(run: Any, words: list[str]) -> None:
    """What cannot work is found before anything is sent."""
    assert run(*words)[0] == 2


@pytest.mark.parametrize("url", ["files.example.com", "ftp://a/", "http://", "http://a:b/"])
def test_wrong_url_is_2(run: Any, file: Path, url: str) -> None:
    """A URL that is none is named."""
    assert run(file, url)[0] == 2


@pytest.mark.slow
def test_memory_stays_flat(upstream: Upstream, tmp_path: Path) -> None:
    """A file is never read as a whole."""
    big = tmp_path / "big"
    with open(big, "wb") as out:
        out.truncate(300 * MB)
    # What getrusage tells of a child begins with what its parent had; this figure begins with the program.
    tell = "import sys, tus.cli; c = tus.cli.main(sys.argv[1:]); print(open('/proc/self/status').read()); sys.exit(c)"
    words = ["put", str(big), upstream.url, "--quiet"]
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run([sys.executable, "-c", tell, *words], capture_output=True, text=True, env=environ, timeout=60)

    assert done.returncode == 0, done.stderr
    peak = next(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("VmHWM"))
    assert peak < 60 * 1024  # KiB; the interpreter with ssl takes 25 to 30 MiB


def test_remembered_survives_nonsense_and_many_writers(tmp_path: Path) -> None:
    """A broken file counts as empty, nobody else may read it, and no writer loses what another wrote."""
    (tmp_path / "uploads.json").write_text('{"a": 1')
    memory = Remembered(tmp_path)
    threads = [threading.Thread(target=memory.keep, args=(f"k{n}", f"u{n}")) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory.forget("k3")

    assert [memory.get(f"k{n}") for n in (0, 3, 15)] == ["u0", None, "u15"]
    assert (tmp_path / "uploads.json").stat().st_mode & 0o777 == 0o600


def test_memory_that_cannot_be_written_is_no_trouble(run: Any, upstream: Upstream, file: Path, tmp_path: Path) -> None:
    """An upload does not fail because it cannot be remembered."""
    (tmp_path / "state").write_text("not a directory")

    assert run(file, upstream.url)[0] == 0


def test_fingerprint_tells_files_apart(file: Path) -> None:
    """Another endpoint, size or time makes another upload."""
    first = fingerprint(str(file), "http://a/")
    os.utime(file, ns=(1, 1))

    assert len({first, fingerprint(str(file), "http://a/"), fingerprint(str(file), "http://b/")}) == 3


def test_progress_resets_the_retries() -> None:
    """Only attempts without progress are counted."""
    waits: list[float] = []
    pace = Pace(2, say=lambda text: None, sleep=waits.append)
    for offset in (0, 0, 10, 10):
        pace.wait(TryAgain("cut"), offset)

    with pytest.raises(TransferError):
        pace.wait(TryAgain("cut"), 10)
    assert waits == [0.0, 1.0, 0.0, 1.0]


def test_stream_cannot_go_back(tmp_path: Path) -> None:
    """A server that lost an acknowledged chunk of a stream cannot be helped, and that is said."""
    (tmp_path / "s").write_bytes(b"abcdef")
    with open(tmp_path / "s", "rb") as file:
        stream = Stream(file)
        stream.body(0, 3)
        stream.body(3, 3)
        with pytest.raises(TransferError, match="twice"):
            stream.body(1, 3)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("", None), ("soon", None), ("-1", None), ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0)],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Seconds and dates count, anything else does not."""
    assert retry_after(value, now=10.0) == seconds


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("x", "https://a:8443/x"),
        ("/f/x?y#z", "https://a:8443/f/x?y"),
        ("http://a/f/x", "https://a:8443/f/x"),
        ("http://b/f/x", "http://b/f/x"),
        ("//b/f/ä", "https://b/f/%C3%A4"),
    ],
)
def test_located(location: str, url: str) -> None:
    """https never becomes http on the same host."""
    assert located("https://a:8443/files", location) == url


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://", "javascript:x"])
def test_located_elsewhere_is_refused(location: str) -> None:
    """What is no URL of the web is never opened."""
    with pytest.raises(ValueError, match="URL"):
        located("https://a/files", location)


def test_endpoint_takes_the_credentials_out() -> None:
    """A password in the URL becomes a header and is never shown again."""
    assert endpoint("https://me:s%3Acret@h/f b?q") == (
        "https://h/f%20b?q",
        {"Authorization": "Basic bWU6czpjcmV0"},
    )


@pytest.mark.parametrize("text", ["Name", ": x", "A B: x", "A: x\r\nB: y"])
def test_header_line_is_one_header(text: str) -> None:
    """A header cannot smuggle another one."""
    with pytest.raises(ValueError, match="header|line"):
        header_line(text)


def test_meter_writes_ten_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A log gets a line for every 10 %, and no control characters from a file name."""
    import sys

    meter = Meter("a\x1b[2Jb", out=sys.stderr, quiet=False)
    for offset in range(0, 1001):
        meter.show(offset, 1000)
    meter.done(1000)

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert all(line.startswith("a?[2Jb: ") and "\r" not in line for line in lines)


def test_wrong_password_does_not_lose_an_upload(run: Any, proxy: Proxy, upstream: Upstream, file: Path) -> None:
    """A 403 may mean that an upload is gone, but until there is a new one the old one is not forgotten."""
    proxy.faults.cuts = [MB]
    assert run(file, through(proxy), "--retries", "0")[0] == 3
    live.until(lambda: upstream.content(proxy.seen[-1].target))  # nobody waited for what was cut
    proxy.faults.canned["HEAD"] = [answer("403 Forbidden")]
    proxy.faults.canned["POST"] = [answer("403 Forbidden")]
    assert run(file, through(proxy))[0] == 1

    status, out, _ = run(file, through(proxy), "--json")

    assert (status, json.loads(out)["resumed_at"] > 0) == (0, True)
