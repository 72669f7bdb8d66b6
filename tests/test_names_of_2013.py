"""What the README of the library of 2013 showed, and the names that it had, work with the clients of today."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import tus
from tests.test_readme import CREATION, host

webob = pytest.importorskip("webob", reason="WebOb is not installed")

PIECE = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


def ask(app: Any, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Any:
    """The answer of a WSGI application."""
    return webob.Request.blank(url, method=method, headers=headers, body=body).get_response(app)


def view(req: Any, directory: Path, kept: list[bytes]) -> Any:
    """The one of the old README: it returns the answer of an unfinished upload, and nothing at the end."""
    adapter = tus.WebobAdapter(req)
    options = {"tmp_file_dir": str(directory)}
    upload = tus.Tus(adapter, **options)
    if upload.valid:
        upload.handle()
        if upload.upload_finished:
            kept.append(Path(upload.get_filepath()).read_bytes())
            upload.cleanup_file()
        else:
            return adapter.resp


def by_webob(directory: Path, kept: list[bytes]) -> Any:
    from webob.dec import wsgify

    return wsgify(lambda req: view(req, directory, kept))


def by_pyramid(directory: Path, kept: list[bytes]) -> Any:
    """A view without a return value needs a renderer there."""
    config = pytest.importorskip("pyramid.config", reason="Pyramid is not installed").Configurator()
    config.add_route("upload", "/upload*rest")
    config.add_view(lambda req: view(req, directory, kept) or {}, route_name="upload", renderer="json")
    return config.make_wsgi_app()


@pytest.mark.parametrize(("framework", "said"), [(by_webob, (204, b"")), (by_pyramid, (200, b"{}"))])
def test_view_that_returns_nothing_at_the_end_answers_the_client(
    tmp_path: Path, framework: Callable[..., Any], said: tuple[int, bytes]
) -> None:
    """The last PATCH gets the offset, without which clients fail or send the file again."""
    kept: list[bytes] = []
    app = framework(tmp_path, kept)
    url = ask(app, "POST", "/upload", CREATION).headers["Location"]

    first = ask(app, "PATCH", url, {**PIECE, "Upload-Offset": "0"}, b"he")
    last = ask(app, "PATCH", url, {**PIECE, "Upload-Offset": "2"}, b"llo")
    again = ask(app, "HEAD", url, {"Tus-Resumable": "1.0.0"})

    assert (first.status_int, first.headers["Upload-Offset"]) == (204, "2")
    assert (last.status_int, last.body) == said
    assert (last.headers["Upload-Offset"], last.headers["Tus-Resumable"]) == ("5", "1.0.0")
    assert (again.status_int, again.headers["Upload-Offset"]) == (200, "5")
    assert kept == [b"hello"]


def test_filter_takes_the_configuration_of_paste_in_second_place(tmp_path: Path) -> None:
    """As the filter factory of 2013 did; it means nothing."""
    app = tus.Filter(host, {"debug": "true"}, tmp_file_dir=str(tmp_path), upload_path="/upload")

    assert ask(app, "POST", "/upload", CREATION).status_int == 201
    assert ask(app, "GET", "/", {}).body == b"host"


def test_paste_can_name_the_class_itself(tmp_path: Path) -> None:
    """Without the entry point."""
    deploy = pytest.importorskip("paste.deploy", reason="PasteDeploy is not installed")
    ini = tmp_path / "site.ini"
    ini.write_text(
        "[filter-app:main]\npaste.filter_app_factory = tus:Filter\nnext = site\n"
        f"upload_path = /upload\ntmp_file_dir = {tmp_path / 'uploads'}\n\n"
        "[app:site]\npaste.app_factory = tests.test_names_of_2013:site\n"
    )

    app = deploy.loadapp(f"config:{ini}")

    assert ask(app, "POST", "/upload", CREATION).status_int == 201


def site(global_conf: Any) -> Callable[..., Iterable[bytes]]:
    return host


def test_tus_takes_its_options_in_the_old_order(tmp_path: Path) -> None:
    """Adapter, directory, send_file, seconds."""
    found = tus.Tus(tus.WebobAdapter(webob.Request.blank("/")), str(tmp_path), True, 60)

    assert (found.options.tmp_file_dir, found.send_file) == (str(tmp_path), True)
    assert found.options.upload_valid_duration == 60


def test_old_exception_catches_what_is_raised_now(tmp_path: Path) -> None:
    """Under its old name, which warns."""
    with pytest.deprecated_call():
        from tus import TusException

    adapter = tus.WebobAdapter(webob.Request.blank("/upload", method="POST", headers={"Tus-Resumable": "1.0.0"}))
    upload = tus.Tus(adapter, str(tmp_path))
    upload.handle()

    with pytest.raises(TusException):
        upload.check()


@pytest.mark.parametrize(
    ("name", "joined"),
    [("a", "/srv/a"), ("a/../b", "/srv/a/../b"), ("..", None), ("../srv2/a", None), ("/etc", None), ("", None)],
)
def test_old_safe_join_stays_in_the_directory(name: str, joined: str | None) -> None:
    """And returns nothing where a name leads out of it."""
    with pytest.deprecated_call():
        safe_join = tus.safe_join

    assert safe_join("/srv", name) == joined
