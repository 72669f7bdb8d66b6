"""A form from any browser: what it gets back, what becomes of its fields, and how far its file is."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.chunks.conftest import BOUNDARY, MakePage, Page, form
from tus import Hooks, Refused, TusFilter

DATA = bytes(range(256)) * 8
ROOT = Path(__file__).resolve().parent.parent.parent
KEY = "3f0e6f3a-7b1f-4d6a-9a53-0d8ff1a1c0de"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
WORDS = "application/x-www-form-urlencoded"


def progress(page: Page, key: str = KEY, **headers: str) -> dict[str, Any]:
    return dict(page("GET", f"/progress?uploadKey={key}", **headers).json)


def test_script_gets_json(page: Page) -> None:
    """The fields become metadata, and the answer says where the upload is."""
    answer = page("POST", "/form", *form({"album": "7"}, DATA, filename="größe.png"))

    assert answer.content_type == "application/json"
    assert answer.json["state"] == "finished"
    assert answer.json["filename"] == "größe.png"
    assert page.handed == [DATA]
    assert page.uploads[0].metadata.text("album") == "7"


@pytest.mark.parametrize("name", ["ключ", "Größe", "a\0b", "a\x1bb", "名前", "a b,c", "100%"])
def test_field_by_any_name_can_be_told_in_a_header(make_page: MakePage, name: str) -> None:
    """A field becomes metadata, and HEAD tells all of it, in printable ASCII."""
    page = make_page(cleanup=False)
    id = page("POST", "/form", *form({name: "value"}, DATA, filename="a.png")).json["id"]

    answer = page("HEAD", f"/{id}", Tus_Resumable="1.0.0")

    told = answer.headers["Upload-Metadata"]
    assert answer.status_int == 200
    assert told.isascii() and told.isprintable()
    assert dict(page.uploads[0].metadata) == {told.split()[0]: b"value", "filename": b"a.png",
                                              "filetype": b"application/octet-stream"}  # fmt: skip


@pytest.mark.parametrize("name", ["ключ", "Größe"])
def test_field_by_any_name_reaches_the_application(tmp_path: Any, name: str) -> None:
    """With `hand_over = form` it has the name that it had in the visitor's form."""
    bodies = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        bodies.append(environ["wsgi.input"].read())
        start_response("204 No Content", [])
        return [b""]

    webob = pytest.importorskip("webob")
    body, kind = form({name: "value"}, DATA)
    request = webob.Request.blank("/upload/form", method="POST", body=body, content_type=kind)

    request.get_response(TusFilter(app, tmp_file_dir=str(tmp_path), hand_over="form"))

    assert f'name="{name}"'.encode() in bodies[0]


def needed(*names: str) -> set[str]:
    """These distributions, and what they need."""
    found = set(names)
    for name in names:
        words = [re.match(r"[\w.-]+", word) for word in metadata.requires(name) or () if ";" not in word]
        found |= needed(*(word[0] for word in words if word))
    return found


def test_form_works_with_what_is_always_installed(tmp_path: Path) -> None:
    """`make serve` installs no extras, and its page has a form for browsers without JavaScript."""
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.keyword)]
    required = next(ast.literal_eval(call.value) for call in calls if call.arg == "install_requires")
    modules = tmp_path / "modules"
    modules.mkdir()
    for name in needed(*(re.split("[<>=]", word)[0] for word in required)):
        for top in {file.parts[0] for file in metadata.files(name) or () if file.parts[0] not in ("..", "__pycache__")}:
            with suppress(FileExistsError):
                (modules / top).symlink_to(metadata.distribution(name).locate_file(top))
    (modules / "tus").symlink_to(ROOT / "tus")
    body, kind = form({"description": "x"}, DATA, filename="photo.jpg")
    (tmp_path / "body").write_bytes(body)
    program = f"""
import sys
sys.path.append({str(modules)!r})
import webob
from tus.adapters.wsgi import app_factory
app = app_factory({{}}, tmp_file_dir={str(tmp_path / "uploads")!r})
body = open({str(tmp_path / "body")!r}, "rb").read()
request = webob.Request.blank("/upload/form", method="POST", body=body, content_type={kind!r})
request.accept = "text/html"
print(request.get_response(app).text)
"""

    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)

    assert "photo.jpg has arrived." in done.stdout, done.stderr


def test_browser_gets_a_page(page: Page) -> None:
    """Also in an iframe; and a name that is markup is no markup in it."""
    answer = page("POST", "/form", *form({}, DATA, filename="<b>x.png"), **BROWSER)

    assert (answer.status_int, answer.content_type) == (200, "text/html")
    assert "&lt;b&gt;x.png" in answer.text
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'"


@pytest.mark.parametrize("where", ["query", "field"])
def test_browser_is_sent_on(page: Page, where: str) -> None:
    """`next` says where to, in the URL or in a hidden field."""
    query, fields = ("?next=/thanks%3Fa=1", {}) if where == "query" else ("", {"next": "/thanks?a=1"})

    answer = page("POST", f"/form{query}", *form(fields, DATA), **BROWSER)

    assert (answer.status_int, answer.headers["Location"]) == (303, "/thanks?a=1")
    assert "next" not in page.uploads[0].metadata


@pytest.mark.parametrize(
    "there", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:x", "/a\r\nX: y", "/\t/evil", ""]
)
def test_browser_is_never_sent_to_another_site(page: Page, there: str) -> None:
    """Only a path of this site is followed."""
    answer = page("POST", f"/form?next={quote(there)}", *form({}, DATA), **BROWSER)

    assert answer.status_int == 200
    assert "X" not in answer.headers


def test_application_answers_the_form(make_page: MakePage) -> None:
    """With pass_body it is the application's page that the browser sees."""
    page = make_page(pass_body=True)
    page.body = b"<p>thanks"

    assert page("POST", "/form", *form({}, DATA), **BROWSER).body == b"<p>thanks"


def test_field_behind_the_file_counts(page: Page) -> None:
    """Fields may come in any order, though hooks see only those that come first."""
    head, kind = form({"first": "1"}, DATA)
    tail = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="last"\r\n\r\n2\r\n--{BOUNDARY}--\r\n'.encode()

    page("POST", "/form", head[: -len(BOUNDARY) - 6] + tail, kind)

    assert page.handed == [DATA]
    assert {name: page.uploads[0].metadata.text(name) for name in ("first", "last")} == {"first": "1", "last": "2"}


def test_form_without_a_file(page: Page) -> None:
    """A browser whose user chose none sends an empty name; nothing is stored."""
    answer = page("POST", "/form", *form({"album": "7"}, b"", filename=""), **BROWSER)

    assert answer.status_int == 400
    assert page.files() == set()


def test_two_files_are_refused(page: Page) -> None:
    """One form, one file: the second would be lost in silence."""
    first, kind = form({}, DATA)
    second, _ = form({}, DATA)

    answer = page("POST", "/form", first[: -len(BOUNDARY) - 6] + second, kind)

    assert answer.status_int == 400
    assert page.handed == []


@pytest.mark.parametrize("cut", [10, 100, 500, 2100, 2200])
def test_cut_form_leaves_nothing(page: Page, cut: int) -> None:
    """A form cannot be resumed, so what came of it is removed, and its key says that it failed."""
    body, kind = form({}, DATA)

    answer = page("POST", f"/form?uploadKey={KEY}", body[:cut], kind)

    assert answer.status_int in (400, 503)
    assert page.handed == []
    assert progress(page)["state"] in ("failed", "unknown")


def test_key_of_a_failed_form_can_be_used_again(page: Page) -> None:
    """The user presses the button once more."""
    body, kind = form({}, DATA)
    page("POST", f"/form?uploadKey={KEY}", body[:500], kind)

    assert page("POST", f"/form?uploadKey={KEY}", body, kind).status_int == 200
    assert page.handed == [DATA]


def test_key_of_a_finished_form_is_taken(page: Page) -> None:
    """Another file under the same key is refused, and not lost."""
    page("POST", f"/form?uploadKey={KEY}", *form({}, DATA))

    assert page("POST", f"/form?uploadKey={KEY}", *form({}, DATA[::-1])).status_int == 409
    assert page.handed == [DATA]


def test_description_after_the_upload(page: Page) -> None:
    """A form without a file, for the key of one that came."""
    page("POST", f"/form?uploadKey={KEY}", *form({"description": "first"}, DATA))
    assert progress(page)["description"] == "first"

    answer = page("POST", f"/form?uploadKey={KEY}", b"description=gr%C3%BC%C3%9Fe", WORDS)

    assert answer.status_int == 200
    assert progress(page)["description"] == "grüße"


def test_key_is_bound_to_its_user(make_page: MakePage) -> None:
    """Somebody else who knows or guesses the key learns nothing, and describes nothing."""

    class Users(Hooks):
        def user(self, request: Any) -> Any:
            return request.headers.get("x-user")

    page = make_page(hooks=Users())
    page("POST", f"/form?uploadKey={KEY}", *form({}, DATA), X_User="ann")

    assert progress(page, X_User="ann")["state"] == "finished"
    assert progress(page, X_User="bob")["state"] == "unknown"
    assert page("POST", f"/form?uploadKey={KEY}", b"description=x", WORDS, X_User="bob").status_int == 404


@pytest.mark.parametrize("key", ["short", "x" * 200, "../../etc/passwd", "key%00key%00", "schl%C3%BCssel-key"])
def test_keys_are_checked(page: Page, key: str) -> None:
    """Letters, digits, hyphens and underscores, and enough of them."""
    assert page("GET", f"/progress?uploadKey={key}").status_int == 400
    assert page("POST", f"/form?uploadKey={key}", *form({}, DATA)).status_int == 400
    assert page.files() == set()


def test_progress_of_any_upload(page: Page) -> None:
    """The same address tells of uploads in other protocols by their ids, and disturbs none."""
    tus = {"Tus_Resumable": "1.0.0"}
    id = page("POST", "", Upload_Length="10", **tus).headers["Location"].rpartition("/")[2]
    page("PATCH", f"/{id}", b"1234", "application/offset+octet-stream", Upload_Offset="0", **tus)

    said = page("GET", f"/progress?id={id}").json

    assert (said["state"], said["received"], said["total"]) == ("uploading", 4, 10)
    assert page("GET", "/progress?id=unknown").json["state"] == "unknown"


def test_progress_is_never_jsonp(page: Page) -> None:
    """A callback is ignored: other sites must not read this by a script tag."""
    answer = page("GET", f"/progress?uploadKey={KEY}&callback=alert")

    assert answer.content_type == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert json.loads(answer.body)["state"] == "unknown"


def test_old_name_of_the_key(page: Page) -> None:
    """Old pages write UploadKey."""
    page("POST", f"/form?UploadKey={KEY}", *form({}, DATA))

    assert page("GET", f"/progress?UploadKey={KEY}").json["state"] == "finished"


@pytest.mark.parametrize("path", ["/form", "/chunks", "/filepond"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Cookie": "session=1", "Host": "good.example"},
        {"Sec-Fetch-Site": "cross-site", "Authorization": "Basic eA=="},
        {"Sec-Fetch-Site": "same-site", "Cookie": "session=1"},
        {"Origin": "null", "Cookie": "session=1"},
    ],
)
def test_other_sites_cannot_send_in_the_users_name(page: Page, path: str, headers: dict[str, str]) -> None:
    """Browsers send forms to anybody without asking, with cookies."""
    answer = page("POST", path, *form({}, DATA), **headers)

    assert answer.status_int in (403, 415)
    assert page.handed == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Cookie": "session=1"},
        {"Origin": "http://good.example", "Host": "good.example", "Cookie": "session=1"},
        {"Origin": "http://good.example", "Host": "good.example:80", "Cookie": "session=1"},
        {"Origin": "https://good.example", "Host": "good.example:443", "Cookie": "session=1"},
        {"Cookie": "session=1"},
        {"Origin": "https://other.example", "Host": "good.example"},
    ],
)
def test_own_pages_and_strangers_without_names_can(page: Page, headers: dict[str, str]) -> None:
    """Our own pages, programs that are no browsers, and whoever carries nobody's name."""
    assert page("POST", "/form", *form({}, DATA), **headers).status_int == 200


LOCAL = ("localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "tus.localhost")
# By these a browser reaches its own machine, too.
LOCAL += ("localhost.:8080", "0.0.0.0:8080", "[::]:8080", "[::ffff:7f00:1]:8080")


@pytest.mark.parametrize("path", ["/form", "/chunks", "/filepond"])
@pytest.mark.parametrize("host", LOCAL)
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=["origin", "null", "site"],
)
def test_no_page_in_the_world_sends_forms_to_this_machine(
    page: Page, path: str, host: str, headers: dict[str, str]
) -> None:
    """A browser sends them without asking, also to the servers of its own machine."""
    for body, kind in (form({}, DATA), (b"description=x", WORDS), (b'{"a": "', "text/plain")):
        answer = page("POST", f"{path}?uploadKey={KEY}", body, kind, Host=host, **headers)
        assert answer.status_int in (403, 415)

    assert page.handed == []
    assert page.files() == set()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "cross-site"},
    ],
    ids=["program", "own page", "old browser", "other port", "other name"],
)
def test_pages_and_programs_of_this_machine_send_forms_to_it(page: Page, headers: dict[str, str]) -> None:
    """The page that is developed at another port, too."""
    assert page("POST", "/form", *form({}, DATA), Host="localhost:8080", **headers).status_int == 200


def test_origin_that_is_named_sends_forms_to_this_machine(make_page: MakePage) -> None:
    """Only a star lets no stranger in."""
    page = make_page(cors_origins="https://app.example")

    answers = [page("POST", "/form", *form({}, DATA), Origin=f"https://{name}.example") for name in ("app", "evil")]

    assert [answer.status_int for answer in answers] == [200, 403]


def test_origin_that_is_not_named_sends_no_form(make_page: MakePage) -> None:
    """`cors_origins` says whose pages may, with cookies or without."""
    page = make_page(cors_origins="https://app.example")
    sent = {"Host": "files.example"}

    answers = [
        page("POST", path, *form({}, DATA), Origin=origin, **sent).status_int
        for path in ("/form", "/filepond")
        for origin in ("https://app.example", "https://evil.example", "http://files.example")
    ]

    assert answers == [200, 403, 200] * 2


@pytest.mark.parametrize("location", ["auto", "url", "path"])
def test_page_behind_a_proxy_that_tells_its_name_is_our_own(make_page: MakePage, location: str) -> None:
    """The proxy asks by another Host, and says which one the browser asked for, whatever `Location` shall hold."""
    page = make_page(trusted_proxies="*", location=location)
    told = {"X-Forwarded-Host": "files.example", "X-Forwarded-Proto": "https", "Cookie": "session=1"}

    answer = page("POST", "/form", *form({}, DATA), Host="127.0.0.1:8080", Origin="https://files.example", **told)

    assert answer.status_int == 200


@pytest.mark.parametrize("path", ["/form", "/chunks", "/filepond"])
@pytest.mark.parametrize("headers", [{}, {"Cookie": "session=1"}], ids=["nobody", "cookie"])
def test_page_behind_a_proxy_that_keeps_its_name_says_what_to_set(
    page: Page, path: str, headers: dict[str, str]
) -> None:
    """Plain http and a bare `proxy_pass`: the answer has each remedy, and setting the Host is one."""
    sent = {"Origin": "http://files.example", **headers}
    body = form({"uploadKey": KEY, "flowChunkNumber": "1", "flowTotalChunks": "1", "flowChunkSize": "2048",
                 "flowTotalSize": "2048", "flowIdentifier": "x", "flowFilename": "x"}, DATA)  # fmt: skip

    bare = page("POST", path, *body, Host="127.0.0.1:8080", **sent)
    told = page("POST", path, *body, Host="files.example", **sent)

    assert bare.status_int == (415 if path == "/chunks" else 403)  # at which these libraries stop
    for remedy in ("http://files.example", "proxy_set_header Host $http_host", "trusted_proxies", "cors_origins"):
        assert remedy in bare.text
    assert told.status_int == 200


@pytest.mark.parametrize("path", ["/form", "/chunks", "/filepond", "/progress"])
def test_browsers_may_ask_first(page: Page, path: str) -> None:
    """A preflight hears of every header that these libraries send."""
    asked = {"Origin": "https://other.example", "Access-Control-Request-Method": "POST"}

    answer = page("OPTIONS", path, **asked)

    assert answer.status_int == 204
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    for name in ("content-type", "x-requested-with", "cache-control", "upload-name", "upload-length", "upload-offset"):
        assert name in allowed


def test_named_origins_may_send_cookies(make_page: MakePage) -> None:
    """An origin that the options name, with credentials allowed."""
    page = make_page(cors_origins="https://app.example", cors_credentials=True)
    sent = {"Sec_Fetch_Site": "cross-site", "Cookie": "session=1"}

    assert page("POST", "/form", *form({}, DATA), Origin="https://app.example", **sent).status_int == 200
    assert page("POST", "/form", *form({}, DATA), Origin="https://evil.example", **sent).status_int == 403


def test_hook_refuses_before_the_file(make_page: MakePage) -> None:
    """It sees the fields that came first, and the browser sees its words."""

    class Strict(Hooks):
        def before_create(self, request: Any, upload: Any) -> None:
            if upload.metadata.text("token") != "good":
                raise Refused("no <token>", status=403)

    page = make_page(hooks=Strict())

    refused = page("POST", "/form", *form({"token": "bad"}, DATA), **BROWSER)

    assert (refused.status_int, "no &lt;token&gt;" in refused.text) == (403, True)
    assert page("POST", "/form", *form({"token": "good"}, DATA)).status_int == 200


def test_too_large_form_leaves_nothing(make_page: MakePage) -> None:
    """The limit holds for files whose size nobody announced."""
    page = make_page(max_size=1000)

    assert page("POST", "/form", *form({}, DATA)).status_int == 413
    assert page.files() == set()
