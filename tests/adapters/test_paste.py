"""PasteDeploy: every way to put the filter into an ini, and what happens to a wrong one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import webob

from tests import live, wire

paste = pytest.importorskip("paste.deploy", reason="PasteDeploy is not installed")

from tus import OptionError, TusFilter  # noqa: E402

ECHO = "use = call:tests.adapters.test_paste:echo_factory"
FILTER = "use = egg:tus#main\ntmp_file_dir = %(here)s/uploads"
INIS = {
    "filter-with": f"[app:main]\n{ECHO}\nfilter-with = tus\n[filter:tus]\n{FILTER}\n",
    "pipeline": f"[pipeline:main]\npipeline = tus app\n[app:app]\n{ECHO}\n[filter:tus]\n{FILTER}\n",
    "filter-app": f"[filter-app:main]\n{FILTER}\nnext = app\n[app:app]\n{ECHO}\n",
    "inherited": f"[app:main]\n{ECHO}\nfilter-with = mine\n[filter:tus]\n{FILTER}\n[filter:mine]\nuse = tus\n",
    "factory": f"[app:main]\n{ECHO}\nfilter-with = tus\n[filter:tus]\n"
    "paste.filter_factory = tus.adapters.wsgi:filter_factory\ntmp_file_dir = %(here)s/uploads\n",
    "copied global": f"[DEFAULT]\nplace = %(here)s/uploads\n[app:main]\n{ECHO}\nfilter-with = tus\n"
    "[filter:tus]\nuse = egg:tus\nget tmp_file_dir = place\n",
}
SERVER = "[server:main]\nuse = egg:tus#server\n"


def echo_factory(global_conf: dict[str, str], **_: str) -> Callable[..., Iterable[bytes]]:
    """An application that says what it got."""

    def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = webob.Request(environ)
        upload = environ.get("tus.upload")
        said = f"{request.method} {request.path} {request.headers.get('Filename')} {upload and upload.offset}"
        return webob.Response(text=request.text, headers={"X-Said": said})(environ, start_response)

    return echo


def loaded(directory: Path, ini: str, **options: Any) -> Callable[..., Iterable[bytes]]:
    file = directory / "tus.ini"
    file.write_text(ini)
    return paste.loadapp(f"config:{file}", **options)


def ask(app: Any, method: str, path: str, body: bytes = b"", **headers: str) -> webob.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return webob.Request.blank(path, method=method, body=body, headers=fields).get_response(app)


def uploaded(app: Any, path: str = "/upload") -> webob.Response:
    """A finished upload; the answer to its last request."""
    created = ask(app, "POST", path, Tus_Resumable="1.0.0", Upload_Length="5", Upload_Metadata="filename aGVsbG8udHh0")
    assert created.status_int == 201, created
    return ask(
        app,
        "PATCH",
        created.location.replace("http://localhost", ""),
        b"hello",
        Tus_Resumable="1.0.0",
        Upload_Offset="0",
        Content_Type="application/offset+octet-stream",
    )


@pytest.mark.parametrize("ini", INIS.values(), ids=INIS)
def test_filter_in_an_ini(tmp_path: Path, ini: str) -> None:
    """Uploads are taken and handed over, and everything else goes to the application."""
    app = loaded(tmp_path, ini)

    answer = uploaded(app)
    other = ask(app, "GET", "/elsewhere")

    assert answer.status_int == 204
    assert answer.headers["X-Said"] == "POST /upload hello.txt 5"
    assert other.headers["X-Said"] == "GET /elsewhere None None"


def test_options_are_strings(tmp_path: Path) -> None:
    """Sizes, times and switches come as an ini has them."""
    options = "upload_path = /files/\nmax_size = 1GB\nupload_valid_duration = 2h\npass_body = on\nsend_file = true\n"
    app = loaded(tmp_path, INIS["filter-with"] + options)

    answer = uploaded(app, "/files")
    described = ask(app, "OPTIONS", "/files", Tus_Resumable="1.0.0")

    assert (answer.status_int, answer.body) == (200, b"hello")
    assert described.headers["Tus-Max-Size"] == "1000000000"


def test_composite(tmp_path: Path) -> None:
    """Under urlmap, and so under a SCRIPT_NAME, locations are right; two filters do not know each other."""
    pytest.importorskip("paste.urlmap", reason="Paste is not installed (pip install Paste)")
    ini = (
        f"[composite:main]\nuse = egg:Paste#urlmap\n/one = one\n/two = two\n/ = app\n[app:app]\n{ECHO}\n"
        f"[filter-app:one]\n{FILTER}/one\nnext = app\n[filter-app:two]\n{FILTER}/two\nnext = app\n"
    )
    app = loaded(tmp_path, ini)

    assert uploaded(app, "/one/upload").headers["X-Said"] == "POST /one/upload hello.txt 5"
    created = ask(app, "POST", "/two/upload", Tus_Resumable="1.0.0", Upload_Length="5")
    assert "/two/upload/" in created.location
    assert ask(app, "HEAD", "/one" + created.location.partition("/two")[2]).status_int == 404


def test_application_of_uploads_alone(tmp_path: Path) -> None:
    """`use = egg:tus#main` as an application keeps what is uploaded, and has nothing else."""
    app = loaded(tmp_path, f"[app:main]\n{FILTER}\n")

    assert uploaded(app).status_int == 204
    assert len(list((tmp_path / "uploads").glob("*.info"))) == 1
    assert ask(app, "GET", "/elsewhere").status_int == 404


def test_egg_without_an_ini(tmp_path: Path) -> None:
    """loadapp and loadfilter find both by the name of the distribution."""
    app = paste.loadapp("egg:tus", global_conf={})
    make = paste.loadfilter("egg:tus#main", global_conf={})

    assert isinstance(app, TusFilter) and isinstance(make(app), TusFilter)


WRONG = {
    "upload_pth = /upload": ("upload_pth", "upload_path"),
    "max-size = 5": ("max-size", "max_size"),
    "max_size = lots": ("max_size", "'lots'"),
    "upload_valid_duration = 5 parsecs": ("upload_valid_duration", "2h"),
    "send_file = perhaps": ("send_file", "true nor false"),
    "hand_over = by post": ("hand_over", "path, file, form"),
    "upload_path = upload": ("upload_path", "slash"),
    "hooks = no.such.module:Hooks": ("hooks", "no.such.module"),
    "hooks = tests.adapters.test_paste:ECHO": ("hooks", "tus.Hooks"),
    "trusted_proxies = 10.0.0.300": ("trusted_proxies", "10.0.0.300"),
    "cors_credentials = on": ("cors_credentials", "cors_origins"),
}


@pytest.mark.parametrize("kind", ["filter", "app"])
@pytest.mark.parametrize("line", WRONG)
def test_wrong_option_fails_at_start(tmp_path: Path, line: str, kind: str) -> None:
    """Loading the ini says which option is wrong, and what was probably meant."""
    ini = INIS["filter-with"] if kind == "filter" else f"[app:main]\n{FILTER}\n"

    with pytest.raises(OptionError) as caught:
        loaded(tmp_path, ini + line + "\n")

    assert all(word in str(caught.value) for word in WRONG[line]), caught.value


def test_environment_gives_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the ini does not say, a TUS_ variable may; a wrong one fails as early."""
    monkeypatch.setenv("TUS_UPLOAD_PATH", "/elsewhere")
    assert uploaded(loaded(tmp_path, INIS["pipeline"]), "/elsewhere").status_int == 204

    monkeypatch.setenv("TUS_MAX_SIZE", "lots")
    with pytest.raises(OptionError, match="TUS_MAX_SIZE"):
        loaded(tmp_path, INIS["pipeline"])


def gunicorn(port: int, settings: dict[str, Any]) -> list[str]:
    words = ["--paste", settings["ini"], "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "4"]
    return [sys.executable, "-m", "gunicorn", "--no-control-socket", "--graceful-timeout", "1", *words]


def ours(port: int, settings: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "tus", "serve", settings["ini"]]


@pytest.mark.slow
@pytest.mark.parametrize("command", [gunicorn, ours])
def test_served_from_an_ini(tmp_path: Path, command: Callable[..., list[str]]) -> None:
    """`gunicorn --paste` and `tus serve` serve the same file."""
    port = live.free_port()
    ini = tmp_path / "tus.ini"
    ini.write_text(INIS["pipeline"] + SERVER + f"listen = 127.0.0.1:{port}\n")
    needs = ("gunicorn",) if command is gunicorn else ("tus.server",)
    kind = live.Kind(command.__name__, command, needs)
    if not all(map(live._found, needs)):
        pytest.skip("gunicorn is not installed (pip install gunicorn)")

    with live.Live(kind, tmp_path, port, {"ini": str(ini)}, temporary=False, environ={}) as server:
        server.start()
        headers = {"Host": "localhost", "Tus-Resumable": "1.0.0", "Connection": "close"}
        created = wire.ask(server.address, "POST", "/upload", headers | {"Upload-Length": "5", "Content-Length": "0"})
        patch = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Content-Length": "5"}
        path = "/upload/" + created["Location"].rpartition("/")[2]
        answer = wire.ask(server.address, "PATCH", path, headers | patch, b"hello")

    assert (answer.status, answer["X-Said"]) == (204, "POST /upload None 5")


def test_wrong_ini_stops_the_server_at_start(tmp_path: Path) -> None:
    """The command says what is wrong, and fails."""
    ini = tmp_path / "tus.ini"
    ini.write_text(INIS["pipeline"] + "upload_pth = /x\n" + SERVER)

    done = subprocess.run(
        [sys.executable, "-m", "tus", "serve", str(ini)], cwd=live.ROOT, capture_output=True, text=True
    )

    assert done.returncode != 0
    assert "upload_pth" in done.stderr and "upload_path" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
