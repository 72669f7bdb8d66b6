"""What is wrong with a certificate is said at the start, in one line, with the option and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

for module in ("granian", "h2", "cryptography"):
    pytest.importorskip(module, reason=f"{module} is not installed (pip install 'tus[asgi,test]')")

from tests import live  # noqa: E402
from tests.https.conftest import Secure  # noqa: E402
from tus.https.certificates import _made  # noqa: E402

pytestmark = pytest.mark.slow

NOW = datetime.now(timezone.utc)


def said(*words: str) -> str:
    """The one line that `tus serve` ends with."""
    done = subprocess.run(
        [sys.executable, "-m", "tus", "serve", "--port", "0", *words], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return done.stderr


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The option, the path and the reason."""
    text = said("--tls-cert", str(tmp_path / "none.pem"))

    assert text == f"tus: option tls_cert: {tmp_path / 'none.pem'}: no such file or directory\n"


def test_key_of_another_certificate_is_refused(pair: Callable[[str], tuple[str, str]]) -> None:
    """Before the first client finds out."""
    text = said("--tls-cert", pair("one")[0], "--tls-key", pair("two")[1])

    assert "option tls_key" in text and "is not the key of" in text


def test_expired_certificate_is_refused(tmp_path: Path) -> None:
    """With the day on which it ended."""
    old = tmp_path / "old.pem"
    old.write_bytes(_made(["localhost"], NOW - timedelta(days=366)))

    text = said("--tls-cert", str(old))

    assert "option tls_cert" in text and f"expired on {NOW - timedelta(days=1):%Y-%m-%d}; renew it" in text


def test_file_without_a_certificate_is_refused(tmp_path: Path) -> None:
    """Any other file by mistake."""
    (tmp_path / "x").write_text("x")

    assert "has no certificate in PEM" in said("--tls-cert", str(tmp_path / "x"))


def test_certificate_alone_needs_its_key(pair: Callable[[str], tuple[str, str]]) -> None:
    """Without --tls-key the key is looked for in the same file."""
    text = said("--tls-cert", pair("one")[0])

    assert "option tls_key" in text and "has no private key in PEM" in text


@pytest.mark.parametrize(
    "words, told",
    [
        (["--tls-key", "k"], "option --tls-key: a key needs its certificate: --tls-cert FILE"),
        (["--tls-self-signed", "--tls-cert", "c"], "option --tls-self-signed: there is a certificate already"),
        (["--asgi", "--set", "threads=3"], "option threads: the server of --asgi has none"),
        (["--http1"], "option --http1: without TLS that is what is served"),
        (["--http1", "--http3", "--tls-self-signed"], "option --http1: it excludes --http3; choose one"),
        (["--set", "tls=x"], "option tls: 'x' is wrong: tus serve --tls-cert FILE --http1 serves HTTPS"),
        (["--http3"], "option --http3: QUIC is always encrypted: add --tls-cert FILE, or --tls-self-signed"),
    ],
)
def test_options_that_exclude_each_other_are_named(words: list[str], told: str) -> None:
    """In words of the command line."""
    assert told in said(*words)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_port_that_is_taken_is_named(serve: Callable[..., Secure], workers: str) -> None:
    """As without a certificate."""
    port = str(serve("--tls-self-signed").address[1])

    text = said("--tls-self-signed", "--port", port, "--workers", workers)

    assert "already in use" in text and f"127.0.0.1:{port}" in text


@pytest.mark.parametrize("module", ["granian", "cryptography"])
def test_missing_extra_is_told_with_the_line_for_pip(tmp_path: Path, module: str) -> None:
    """And which option asked for it."""
    hidden = f"import sys; sys.modules[{module!r}] = None; import tus.cli; sys.exit(tus.cli.main())"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "serve", str(tmp_path), "--tls-cert", "x"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert done.stderr == f"tus: option --tls-cert: {module} is not installed: pip install 'tus[asgi]'\n"


def test_http3_without_its_extra_is_told_with_the_line_for_pip(
    tmp_path: Path, pair: Callable[[str], tuple[str, str]]
) -> None:
    """The rest of HTTPS needs less."""
    hidden = "import sys; sys.modules['aioquic'] = None; import tus.cli; sys.exit(tus.cli.main())"
    certificate, key = pair("one")
    done = subprocess.run(
        [sys.executable, "-c", hidden, "serve", str(tmp_path), "--http3", "--tls-cert", certificate, "--tls-key", key],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert done.stderr == "tus: option --http3: aioquic is not installed: pip install 'tus[http3]'\n"


def test_http3_at_a_unix_socket_is_refused(tmp_path: Path) -> None:
    """There is no port of UDP beside it."""
    words = ["--tls-self-signed", "--http3", "--set", f"unix_socket={tmp_path / 's'}", str(tmp_path / "up")]
    done = subprocess.run(
        [sys.executable, "-m", "tus", "serve", *words],
        capture_output=True, text=True, timeout=30, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (2, "tus: option http3: a unix socket has none; say a port\n")


def test_self_signed_certificate_stays_the_same(serve: Callable[..., Secure]) -> None:
    """So that a fingerprint that somebody noted is right after a restart; a new host gets a new one."""
    first = serve("--tls-self-signed").fingerprint

    again = serve("--tls-self-signed").fingerprint
    other = serve("--tls-self-signed", "--host", "127.0.0.2").fingerprint

    assert first == again != other


def test_self_signed_key_is_for_nobody_else(serve: Callable[..., Secure], tmp_path: Path) -> None:
    """The file has the key of the server in it."""
    serve("--tls-self-signed").said("--fingerprint")

    assert (tmp_path / "state/tus/self-signed.pem").stat().st_mode & 0o777 == 0o600


def test_put_trusts_the_fingerprint_and_no_other(
    serve: Callable[..., Secure], command: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """`tus put --fingerprint` sends to the server whose certificate was printed, and nothing to any other."""
    server = serve("--tls-self-signed")
    file = tmp_path / "film"
    file.write_bytes(b"x" * 100_000)
    digits = server.fingerprint
    colons = ":".join(digits[at : at + 2] for at in range(0, 64, 2)).upper()
    wrong = digits[:-1] + ("0" if digits[-1] != "0" else "1")

    plain = command("put", file, server.url)
    other = command("put", "--fingerprint", wrong, file, server.url)
    right = command("put", "--fingerprint", colons, file, server.url)
    texts = [process.communicate(timeout=30) for process in (plain, other, right)]

    assert [plain.returncode, other.returncode, right.returncode] == [3, 3, 0]
    assert "is not accepted" in texts[0][1]
    assert f"has another certificate than --fingerprint names: {digits}" in texts[1][1]
    assert [info.with_suffix("").read_bytes() for info in server.files.glob("*.info")] == [b"x" * 100_000]


def test_put_refuses_a_fingerprint_where_there_is_no_certificate(command: Callable[..., subprocess.Popen[str]]) -> None:
    """http:// has none, and nothing is sent."""
    process = command("put", "--fingerprint", "0" * 64, __file__, f"http://127.0.0.1:{live.free_port()}/files")

    _, text = process.communicate(timeout=30)

    assert (process.returncode, text) == (2, "tus put: a fingerprint needs a URL that begins with https://\n")
