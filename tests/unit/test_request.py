"""A request never changes; and the host is asked at most once who makes it."""

from __future__ import annotations

import ast
import io
from pathlib import Path
from typing import Any

import pytest

from tus import Filter, Hooks, Request
from tus.protocols import override

PACKAGE = Path(__file__).resolve().parents[2] / "tus"
MODULES = sorted(PACKAGE.rglob("*.py"))
TUS = {"HTTP_TUS_RESUMABLE": "1.0.0"}
LENGTH = {**TUS, "HTTP_UPLOAD_LENGTH": "5"}
PATCH = {**TUS, "HTTP_UPLOAD_OFFSET": "0", "CONTENT_TYPE": "application/offset+octet-stream"}
PHONE = {"HTTP_UPLOAD_DRAFT_INTEROP_VERSION": "6", "HTTP_UPLOAD_COMPLETE": "?1"}
CHUNK = "flowChunkNumber=1&flowTotalChunks=2&flowChunkSize=5&flowTotalSize=10&flowIdentifier=x"
FORM = {"CONTENT_TYPE": "multipart/form-data; boundary=b"}
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--b--\r\n'


@pytest.mark.parametrize("name", Request._fields)
def test_request_cannot_be_changed(name: str) -> None:
    """An assignment is an error at once; `_replace` makes another one."""
    request = Request("PATCH", "abc")

    with pytest.raises(AttributeError):
        setattr(request, name, "other")

    assert getattr(request._replace(**{name: "other"}), name) == "other"
    assert getattr(request, name) != "other"


def test_request_is_itself_only() -> None:
    """Two requests that say the same are two, and a log shows neither headers nor what the framework knows."""
    one, other = (Request("GET", "abc", native={"HTTP_AUTHORIZATION": "secret"}) for _ in range(2))

    assert one != other
    assert not one == other  # noqa: SIM201
    assert len({one, other}) == 2
    assert repr(one) == "<Request 'GET' 'abc'>"


def _changed(tree: ast.AST) -> list[str]:
    """Assignments to what a request has, on anything that is called a request."""
    found = []
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store | ast.Del)
            and node.attr in Request._fields
        ):
            owner = ast.unparse(node.value)
            if "request" in owner.rpartition(".")[2].lower():
                found.append(f"{node.lineno}: {owner}.{node.attr}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_assigns_to_a_request(path: Path) -> None:
    """Read from the source, so that it holds for what no test runs."""
    tree = ast.parse(path.read_text("utf-8"))

    assert _changed(tree) == []


def test_override_makes_another_request() -> None:
    """The request that came stays as it came."""
    request = Request("POST", "abc", {"x-http-method-override": "patch"})

    meant = override(request)

    assert (request.method, meant.method, meant.id) == ("POST", "PATCH", "abc")
    assert override(meant) is meant


class Directory(Hooks):
    """Asks a slow directory who it is."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def user(self, request: Request) -> str | None:
        self.asked.append(request.method)
        return "ann"

    def authorise(self, request: Request, intent: str, upload: Any) -> None:
        assert request.user == "ann"


class House:
    """A filter with that hook, and what a server would call."""

    def __init__(self, directory: Path) -> None:
        self.hooks = Directory()
        self.app = Filter(
            tmp_file_dir=str(directory),
            upload_path="/files",
            hooks=self.hooks,
            uploaders="chunks filepond form progress",
            legacy=True,
            termination=True,
        )

    def __call__(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> tuple[int, dict[str, str]]:
        path, _, query = path.partition("?")
        answer: list[Any] = []
        environ = {
            "REQUEST_METHOD": method, "PATH_INFO": f"/files{path}", "QUERY_STRING": query,
            "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost", "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body), **headers,
        }  # fmt: skip
        for _ in self.app(environ, lambda status, headers: answer.append((status, dict(headers)))):
            pass
        return int(answer[0][0][:3]), answer[0][1]

    def created(self) -> str:
        """The id of a new upload of five bytes; nothing was asked yet."""
        id = self("POST", "", LENGTH)[1]["Location"].rpartition("/")[2]
        self.hooks.asked.clear()
        return id


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "", LENGTH, b"", 201),
        ("POST", "", {**LENGTH, **PATCH}, b"hello", 201),
        ("PATCH", "/{id}", PATCH, b"hello", 204),
        ("PATCH", "/{id}", {**PATCH, **PHONE, "HTTP_UPLOAD_LENGTH": "5"}, b"hello", 204),
        ("HEAD", "/{id}", TUS, b"", 200),
        ("HEAD", "/{id}", {}, b"", 200),
        ("DELETE", "/{id}", TUS, b"", 204),
        ("POST", "", PHONE, b"hello", 201),
        ("HEAD", "/{id}", {"HTTP_UPLOAD_DRAFT_INTEROP_VERSION": "6"}, b"", 204),
        ("POST", "", {"HTTP_FINAL_LENGTH": "5"}, b"", 201),
        ("GET", f"/chunks?{CHUNK}&uploadKey=12345678", {}, b"", 204),
        ("POST", f"/chunks?{CHUNK}&uploadKey=12345678", FORM, FILE, 200),
        ("POST", "/form?uploadKey=12345678", FORM, FILE, 200),
        ("GET", "/progress?uploadKey=12345678", {}, b"", 200),
        ("GET", "/progress?id={id}", {}, b"", 200),
        ("POST", "/filepond", FORM, FILE, 200),
        ("PATCH", "/filepond?patch={id}", {"HTTP_UPLOAD_OFFSET": "0", "HTTP_UPLOAD_NAME": "a"}, b"hello", 200),
        ("HEAD", "/filepond?patch={id}", {}, b"", 200),
        ("DELETE", "/filepond", {}, b"{id}", 200),
    ],
)
def test_hook_is_asked_once_for_a_request(
    house: House, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    """Whatever protocol it speaks, and however often the engine is called for it."""
    id = house.created()

    answer = house(method, path.replace("{id}", id), headers, body.replace(b"{id}", id.encode()))

    assert answer[0] == status
    assert house.hooks.asked == [method]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("OPTIONS", "", TUS, b"", 200),
        ("OPTIONS", "/{id}", {}, b"", 200),
        ("OPTIONS", "/chunks", {}, b"", 204),
        ("PATCH", "/{id}", {"HTTP_TUS_RESUMABLE": "0.9"}, b"hello", 412),
        ("PATCH", "/{id}", TUS, b"hello", 415),
        ("PATCH", "/{id}", {**PATCH, "HTTP_UPLOAD_CHECKSUM": "nonsense"}, b"hello", 400),
        ("POST", "", TUS, b"", 400),
        ("HEAD", "/no..such", TUS, b"", 404),
        ("HEAD", "/no..such", {}, b"", 404),
        ("PATCH", "/no..such", PATCH, b"hello", 404),
        ("DELETE", "/no..such", TUS, b"", 404),
        ("PATCH", "/{id}", {**PHONE, "CONTENT_TYPE": "text/plain"}, b"hello", 415),
        ("POST", "/chunks", {}, b"hello", 415),
        ("GET", "/progress", {}, b"", 400),
        ("PATCH", "/filepond?patch={id}", {}, b"hello", 400),
        ("HEAD", "/filepond?patch=no..such", {}, b"", 404),
    ],
)
def test_hook_is_not_asked_about_what_is_refused_before(
    house: House, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    """Browsers ask with OPTIONS before anybody has logged in; and a mistake is one, whoever makes it."""
    id = house.created()

    answer = house(method, path.replace("{id}", id), headers, body)

    assert answer[0] == status
    assert house.hooks.asked == []


def test_log_names_the_user_whom_the_hook_named(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """Also of a request that was refused."""
    caplog.set_level("DEBUG", "tus")

    assert house("PATCH", "/unknown", PATCH, b"hello")[0] == 404

    (record,) = [record for record in caplog.records if record.getMessage().startswith("refused")]
    assert (record.owner, record.upload) == ("ann", "unknown")  # type: ignore[attr-defined]
