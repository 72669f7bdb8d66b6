"""The operators' page: what it shows and does, and above all for whom."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from paste.deploy import loadapp

from tests.live import free_port, until
from tests.site.asking import Answer, ask, upload
from tests.site.test_serving import serving
from tus import Hooks, Refused
from tus.adapters.wsgi import Filter
from tus.site.operators import Operators, token
from tus.site.pages import Pages
from tus.site.site import with_uploads

PAGE = "/~tus/operators/"
STRANGERS = [
    {},
    {"REMOTE_ADDR": "192.0.2.7"},
    {"HTTP_X_FORWARDED_FOR": "192.0.2.7"},
    {"HTTP_AUTHORIZATION": "Bearer wrong"},
    {"HTTP_AUTHORIZATION": "Bearer "},
    {"HTTP_COOKIE": "tus-operators="},
    {"HTTP_COOKIE": "tus-operators=" + "0" * 32},
    {"QUERY_STRING": "token="},
]


@pytest.fixture
def served(tmp_path: Path) -> Filter:
    """As `tus serve --operators` builds it, with an upload that is half there and one that is finished."""
    app = with_uploads(tmp_file_dir=str(tmp_path), operators=True)
    upload(app, "/files", b"finished", filename="done.txt")
    begun(app, "half", 100)
    return app


def begun(app: Filter, name: str, length: int, **environ: str) -> None:
    from base64 import b64encode

    named = f"filename {b64encode(name.encode()).decode()}"
    headers = {"HTTP_TUS_RESUMABLE": "1.0.0", "HTTP_UPLOAD_LENGTH": str(length), "HTTP_UPLOAD_METADATA": named}
    assert ask(app, "/files", "POST", **headers, **environ).status == 201


def operate(app: Filter, action: str = "", method: str = "GET", body: bytes = b"", **environ: Any) -> Answer:
    """Ask as an operator does who has the token."""
    given = {"HTTP_AUTHORIZATION": f"Bearer {token(app.engine)}", **environ}
    return ask(app, PAGE + action, method, body, **given)


def listed(app: Filter, query: str = "", **environ: str) -> dict[str, dict[str, Any]]:
    told = json.loads(operate(app, "uploads" + query, **environ).text)
    return {upload["name"]: upload for upload in told["uploads"]}


# What it does


def test_operators_see_every_upload(served: Filter) -> None:
    """With how far each is, and how old."""
    uploads = listed(served)

    assert (uploads["half"]["offset"], uploads["half"]["length"], uploads["half"]["complete"]) == (0, 100, False)
    assert uploads["done.txt"]["complete"] is True
    assert operate(served).status == 200


def test_operators_see_what_was_refused_and_why(tmp_path: Path) -> None:
    """A refused upload is not shown as a complete one."""

    class Strict(Hooks):
        def before_finish(self, upload: Any, file: Any) -> None:
            raise Refused("this is no film", status=422)

    app = with_uploads(tmp_file_dir=str(tmp_path), operators=True, hooks=Strict())
    upload(app, "/files", b"evil", filename="evil.mp4")

    assert listed(app)["evil.mp4"]["refused"] == {"status": 422, "text": "this is no film"}


@pytest.mark.parametrize("action", ["remove", "stop"])
def test_operators_act(served: Filter, action: str) -> None:
    """Removing is for good; stopping ends whoever writes, and leaves the upload."""
    id = listed(served)["half"]["id"]

    answer = operate(served, action, "POST", f"id={id}".encode())

    assert answer.status == 200
    assert ("half" in listed(served)) == (action == "stop")


def test_operators_sweep(served: Filter) -> None:
    """What has expired goes, and what has not stays."""
    answer = operate(served, "sweep", "POST")

    assert json.loads(answer.text) == {"removed": 0, "uploads": []}
    assert len(listed(served)) == 2


def test_more_uploads_than_are_shown_are_counted_and_paged(served: Filter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says how many there are, and the rest comes with `from`; beyond the end is the last page."""
    monkeypatch.setattr("tus.site.operators._MOST", 3)
    for number in range(5):
        begun(served, f"more {number}", 10)

    pages = [json.loads(operate(served, f"uploads?from={start}").text) for start in (0, 3, 6, 9, "x")]

    assert [(page["total"], page["start"], len(page["uploads"])) for page in pages] == [
        (7, 0, 3),
        (7, 3, 3),
        (7, 6, 1),
        (7, 6, 1),
        (7, 0, 3),
    ]
    assert len({upload["id"] for page in pages[:3] for upload in page["uploads"]}) == 7
    assert pages[0]["running"] == 6


def test_uploads_can_be_looked_for(served: Filter) -> None:
    """By a part of the name, of the owner, or of the id, in small letters or large."""
    begun(served, "Größe.txt", 10, REMOTE_USER="jane")
    id = listed(served)["half"]["id"]

    assert set(listed(served, "?find=GR%C3%96SS")) == {"Größe.txt"}
    assert set(listed(served, "?find=jan")) == {"Größe.txt"}
    assert set(listed(served, f"?find={id}")) == {"half"}
    assert listed(served, "?find=nothing") == {}


# Who is an operator


@pytest.mark.parametrize("environ", STRANGERS)
@pytest.mark.parametrize(("action", "method"), [("", "GET"), ("uploads", "GET"), ("sweep", "POST"), ("remove", "POST")])
def test_nobody_gets_in_without_hook_or_token(
    served: Filter, environ: dict[str, str], action: str, method: str
) -> None:
    """Wherever the request comes from: a proxy on this machine looks like somebody on this machine."""
    id = listed(served)["half"]["id"]

    answer = ask(served, PAGE + action, method, f"id={id}".encode(), **environ)

    assert answer.status == 403
    assert "half" in listed(served)


def test_token_of_the_link_becomes_a_cookie(served: Filter) -> None:
    """No script can read it and no other site can have it sent; the page with the token in its address is kept
    nowhere."""
    answer = ask(served, f"{PAGE}?token={token(served.engine)}")

    name, *rules = answer.headers["Set-Cookie"].split("; ")
    assert answer.status == 200
    assert set(rules) == {"HttpOnly", "SameSite=Strict"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert ask(served, PAGE + "uploads", HTTP_COOKIE=f"other=1; {name}").status == 200
    assert "Set-Cookie" not in ask(served, PAGE, HTTP_COOKIE=name).headers


def test_cookie_is_for_https_where_the_page_is(served: Filter) -> None:
    """Then no plain connection shows it."""
    answer = ask(served, f"{PAGE}?token={token(served.engine)}", **{"wsgi.url_scheme": "https"})

    assert "Secure" in answer.headers["Set-Cookie"]


def test_tokens_belong_to_a_directory(tmp_path: Path) -> None:
    """All processes that serve it know the same one, and another directory has another."""
    first, again, other = (with_uploads(tmp_file_dir=str(tmp_path / name), operators=True) for name in "aab")

    assert token(first.engine) == token(again.engine) != token(other.engine)
    assert len(token(first.engine)) == 32


class House(Hooks):
    """Lets root operate, and says so."""

    def user(self, request: Any) -> str | None:
        return request.headers.get("x-user")  # type: ignore[no-any-return]

    def authorise(self, request: Any, intent: str, upload: Any) -> bool | None:
        if request.user is None:
            raise Refused("please log in", status=401, headers={"WWW-Authenticate": "Basic"})
        return request.user == "root" if intent == "operate" else None


def test_hook_decides_about_operators(tmp_path: Path) -> None:
    """`authorise` is asked at each request, wherever it comes from; and an operator acts on anybody's upload."""
    app = with_uploads(tmp_file_dir=str(tmp_path), operators=True, hooks=House())
    begun(app, "theirs", 9, HTTP_X_USER="jane")
    jane = {"HTTP_X_USER": "jane", "HTTP_AUTHORIZATION": ""}
    root = {"HTTP_X_USER": "root", "HTTP_AUTHORIZATION": "", "REMOTE_ADDR": "192.0.2.7"}

    stranger = ask(app, PAGE)

    assert (stranger.status, stranger.headers["Www-Authenticate"]) == (401, "Basic")
    assert operate(app, "uploads", **jane).status == 403
    (found,) = listed(app, **root).values()
    assert found["owner"] == "jane"
    assert operate(app, "remove", "POST", f"id={found['id']}".encode(), **root).status == 200
    assert listed(app, **root) == {}


def test_hook_that_knows_no_operators_makes_nobody_one(tmp_path: Path) -> None:
    """Being logged in is not enough, though it is for everything else that the hook is asked."""

    class Films(Hooks):
        def authorise(self, request: Any, intent: str, upload: Any) -> None:
            if request.user is None:
                raise Refused("please log in", status=401)

    app = with_uploads(tmp_file_dir=str(tmp_path), operators=True, hooks=Films())

    begun(app, "theirs", 9, REMOTE_USER="jane")
    assert ask(app, PAGE + "uploads", REMOTE_USER="jane").status == 403
    assert ask(app, PAGE + "sweep", "POST", REMOTE_USER="jane").status == 403


@pytest.mark.parametrize(
    "environ", [{"HTTP_SEC_FETCH_SITE": "cross-site"}, {"HTTP_SEC_FETCH_SITE": "same-site"}, {"HTTP_ORIGIN": "null"},
                {"HTTP_ORIGIN": "https://evil.example"}]
)  # fmt: skip
@pytest.mark.parametrize("action", ["remove", "sweep", "stop"])
def test_other_sites_cannot_act(served: Filter, environ: dict[str, str], action: str) -> None:
    """Should a browser send the cookie with a form on another site, the form is refused all the same."""
    id = listed(served)["half"]["id"]

    assert operate(served, action, "POST", f"id={id}".encode(), **environ).status == 403
    assert "half" in listed(served)


# By which name


@pytest.mark.parametrize(
    "host", ["localhost", "a.localhost:8080", "127.0.0.1:8080", "[::1]:8080", "192.0.2.7", "[2001:db8::1]"]
)
def test_page_answers_to_this_machine_and_to_addresses(served: Filter, host: str) -> None:
    """No site can have one of these as its name."""
    assert operate(served, HTTP_HOST=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "a@localhost", ""]
    + ["[::", "[::g]", "]"],
)
def test_page_answers_to_no_name_that_it_does_not_know(served: Filter, host: str) -> None:
    """A site that has its name lead to this machine reads nothing and removes nothing, by token or hook."""
    id = listed(served)["half"]["id"]

    page, deed = (operate(served, action, "POST", f"id={id}".encode(), HTTP_HOST=host) for action in ("", "remove"))

    assert (page.status, deed.status) == (421, 421)
    assert "public_url" in page.text
    assert "half" in listed(served)


def test_page_answers_to_names_that_it_was_told(tmp_path: Path) -> None:
    """The host of `public_url`, and the one that the server listens at."""
    app = with_uploads(
        tmp_file_dir=str(tmp_path), operators=True, host="box.example", public_url="https://files.example:444/up"
    )

    hosts = ("files.example", "Files.Example:444", "box.example:8080", "other.example")
    assert [operate(app, HTTP_HOST=host).status for host in hosts] == [200, 200, 200, 421]


# Behind its filter


def test_sweep_in_an_ini_keeps_what_the_filter_keeps(tmp_path: Path) -> None:
    """The page acts with the options and hooks of the filter that it stands behind."""
    ini = tmp_path / "ours.ini"
    ini.write_text(
        f"[app:main]\nuse = egg:tus#demo\nfilter-with = tus\noperators = true\n"
        f"[filter:tus]\nuse = egg:tus#main\nupload_path = /files\ntmp_file_dir = {tmp_path / 'up'}\n"
        f"upload_valid_duration = none\nhooks = {__name__}:House\n"
    )
    app = loadapp(f"config:{ini}")
    begun(app, "for ever", 9, HTTP_X_USER="jane")
    root = {"HTTP_X_USER": "root", "HTTP_AUTHORIZATION": ""}
    for path in (tmp_path / "up").iterdir():
        os.utime(path, (0, 0))

    swept = operate(app, "sweep", "POST", **root)

    assert json.loads(swept.text)["removed"] == 0
    assert set(listed(app, **root)) == {"for ever"}
    assert operate(app, HTTP_X_USER="jane", HTTP_AUTHORIZATION="").status == 403


def test_page_without_its_filter_says_so() -> None:
    """There is nothing that it could show."""
    answer = ask(Operators(Pages()), PAGE)

    assert answer.status == 503
    assert "behind the filter" in answer.text


def test_operators_page_is_off_unless_asked_for(tmp_path: Path) -> None:
    """Nobody gets it by accident."""
    assert ask(with_uploads(tmp_file_dir=str(tmp_path)), PAGE).status == 404


@pytest.mark.slow
def test_strangers_behind_a_proxy_that_says_nothing_stay_out(tmp_path: Path) -> None:
    """nginx, told nothing but `proxy_pass`: every request comes from this machine, for this machine."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed (apt install nginx)")
    port = free_port()
    said: list[str] = []
    with serving(str(tmp_path / "up"), "--port", "0", "--operators", said=said) as origin:
        conf = tmp_path / "nginx.conf"
        conf.write_text(
            f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
            f"http {{ access_log off; server {{ listen 127.0.0.1:{port};"
            f" location / {{ proxy_pass {origin}; }} }} }}\n"
        )
        proxy = subprocess.Popen(["nginx", "-c", str(conf), "-p", str(tmp_path)], stderr=subprocess.DEVNULL)
        try:
            front = f"http://127.0.0.1:{port}"
            until(lambda: answered(front + "/") == 200)
            link = until(lambda: next((line for line in said if PAGE in line), "")).split()[-1]

            assert [answered(front + PAGE + action) for action in ("", "uploads")] == [403, 403]
            assert answered(front + PAGE + "sweep", b"") == 403
            assert answered(front + link[len(origin) :]) == 200
        finally:
            proxy.terminate()
            proxy.wait()


def answered(url: str, body: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(url, body, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
