"""The upload page as the server sends it: harmless, cacheable, in the reader's language, and small."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.site.asking import Answer, ask
from tus.adapters.wsgi import Filter
from tus.errors import OptionError
from tus.site.gallery import with_uploads as gallery_with_uploads
from tus.site.pages import LANGUAGES, Pages, texts
from tus.site.site import Site, demo_factory, with_uploads

STATIC = Path(__file__).resolve().parents[2] / "tus" / "site" / "static"
TEMPLATES = STATIC.parent / "templates"
MOST = 22_500  # bytes of script that a page loads, besides tus-js-client
PARTS = ("format.js", "page.js", "earlier.js", "key.js", "item.js", "rows.js", "upload.js")


@pytest.fixture
def site() -> Site:
    return Site()


def linked(page: Answer, suffix: str) -> str:
    """The address of a static file on the page."""
    return "/" + next(found for found in re.findall(r'(?:src|href)="([^"]+)"', page.text) if found.endswith(suffix))


def test_page_allows_nothing_inline(site: Site) -> None:
    """The policy has no exception, and the page needs none."""
    page = ask(site, "/")

    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", page.text)


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_has_anything_inline(template: Path) -> None:
    """Nor has any other page."""
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", template.read_text())


def test_static_files_may_be_kept_for_ever(site: Site) -> None:
    """Their address has a hash of what is in them."""
    page = ask(site, "/")

    for suffix in ("upload.js", "site.css", "tus.min.js", "icon.svg"):
        answer = ask(site, linked(page, suffix))
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_changed_file_has_a_new_address(site: Site, tmp_path: Path) -> None:
    """A static file of one's own replaces ours, and changes the address of all."""
    (tmp_path / "site.css").write_text("body { color: red }")
    own = Site(pages=Pages(static_dir=str(tmp_path)))

    ours, theirs = (linked(ask(app, "/"), "site.css") for app in (site, own))

    assert ours != theirs
    assert ask(own, theirs).text == "body { color: red }"
    assert "immutable" not in ask(own, ours).headers["Cache-Control"]


def test_template_can_be_replaced(tmp_path: Path) -> None:
    """One of one's own; the others stay ours."""
    (tmp_path / "upload.html").write_text("<main><h1>Ours: {{choose}}, $heading</h1>$form</main>")

    page = ask(Site(pages=Pages(template_dir=str(tmp_path)), title="a < b"), "/").text

    assert "<h1>Ours: Choose files, a &lt; b</h1>" in page
    assert 'id="upload"' in page


def test_static_files_are_compressed_for_whom_it_helps(site: Site) -> None:
    """And for nobody who does not say so."""
    address = linked(ask(site, "/"), "tus.min.js")

    plain, packed = ask(site, address), ask(site, address, HTTP_ACCEPT_ENCODING="br, gzip")

    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert "Content-Encoding" not in ask(site, address, HTTP_ACCEPT_ENCODING="gzip;q=0").headers


def test_page_is_not_sent_twice(site: Site) -> None:
    """A browser that has it hears 304."""
    tag = ask(site, "/").headers["Etag"]

    again = ask(site, "/", HTTP_IF_NONE_MATCH=tag)

    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/favicon.ico", "/x/", "/~tus/", "/~tus/static/", "/~tus/static/x/..%2f..%2fsite.py", "/%ff"]
)
def test_nothing_else_is_there(site: Site, path: str) -> None:
    """A page says so, in its own words."""
    answer = ask(site, path)

    assert answer.status == 404
    assert "There is nothing here" in answer.text


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,en;q=0.5", "de"),
        ("fr,en;q=0.9,de;q=0.8", "en"),
        ("de;q=0.2,en;q=0.9", "en"),
        ("x;q=a,,", "en"),
    ],
)
def test_language_is_the_readers(site: Site, accepted: str, language: str) -> None:
    """As far as there are texts."""
    page = ask(site, "/", HTTP_ACCEPT_LANGUAGE=accepted)

    assert f'<html lang="{language}">' in page.text
    assert "Accept-Language" in page.headers["Vary"]


def test_every_language_has_every_text() -> None:
    """With the same gaps to fill."""
    gaps = {
        name: {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in texts(name).items()} for name in LANGUAGES
    }
    singular = {name: {key: sorted(set(found)) for key, found in known.items()} for name, known in gaps.items()}

    assert singular["de"] == singular["en"]


def test_every_text_is_used_and_known() -> None:
    """No page asks for one that is not there, and none lies about unused."""
    code = "".join(path.read_text() for path in [*STATIC.glob("*.js"), *STATIC.parent.glob("*.py")])
    templates = "".join(path.read_text() for path in TEMPLATES.glob("*.html"))
    asked = set(re.findall(r"\{\{(\w+)\}\}", templates)) | set(re.findall(r"\bt\('(\w+)'", code))

    assert asked <= texts("en").keys()
    assert {key for key in texts("en") if key not in asked and not re.search(rf"\b{key}\b", code)} == set()


def test_own_script_is_small() -> None:
    """What a page loads beside tus-js-client, comments and indentation aside; and in both ways to upload."""
    weights = {name: len(stripped((STATIC / name).read_text())) for name in (*PARTS, "iframe.js")}

    assert sum(weights[name] for name in PARTS) < MOST
    assert weights["iframe.js"] < MOST / 10


def stripped(script: str) -> str:
    lines = (re.sub(r"(^|\s)(//|/\*\*) .*", "", line).strip() for line in script.splitlines())
    return "\n".join(filter(None, lines))


def test_vendored_client_is_the_released_one() -> None:
    """Its hash is the one noted beside it, and that of npm's file where npm has put one."""
    content = (STATIC / "vendor" / "tus.min.js").read_bytes()
    noted = dict(line.split(maxsplit=1) for line in (STATIC / "vendor" / "VERSION").read_text().splitlines())

    assert hashlib.sha256(content).hexdigest() == noted["sha256"]
    assert "MIT" in (STATIC / "vendor" / "LICENSE").read_text()
    installed = Path(__file__).parents[1] / "clients" / "js" / "node_modules" / "tus-js-client"
    if (installed / "package.json").exists():
        version = json.loads((installed / "package.json").read_text())["version"]
        assert version != noted["version"] or (installed / "dist" / "tus.min.js").read_bytes() == content


def test_limit_and_path_reach_the_page(tmp_path: Path) -> None:
    """The page refuses by itself what the server would."""
    app = with_uploads(tmp_file_dir=str(tmp_path), upload_path="/in", max_size="5MB")

    page = ask(app, "/").text

    assert 'data-endpoint="in"' in page
    assert 'data-max-size="5000000"' in page


@pytest.mark.parametrize(("software", "chunk"), [("tus", ""), ("gunicorn/23", ""), ("waitress", "8388608")])
def test_chunks_where_the_server_collects_bodies(site: Site, software: str, chunk: str) -> None:
    """Where a cut body is lost as a whole, the page sends less at once."""
    assert f'data-chunk="{chunk}"' in ask(site, "/", SERVER_SOFTWARE=software).text


def test_size_of_a_request_reaches_the_page(tmp_path: Path) -> None:
    """What a proxy takes in one request, as the option says."""
    app = with_uploads(tmp_file_dir=str(tmp_path), chunk_size="90MB")

    assert 'data-chunk="90000000"' in ask(app, "/").text


def test_form_works_without_script(site: Site) -> None:
    """One plain form, to the address that takes forms."""
    page = ask(site, "/").text

    assert 'method="post" enctype="multipart/form-data" action="files/form"' in page
    assert '<button id="send">' in page


def test_hidden_frame_can_be_asked_for(site: Site) -> None:
    """`?mode=iframe` loads that script alone; otherwise only browsers without modules do."""
    page, frame = ask(site, "/").text, ask(site, "/?mode=iframe").text

    assert re.search(r"<script nomodule defer [^>]*iframe.js", page)
    assert re.search(r"<script defer [^>]*iframe.js", frame)
    assert "upload.js" not in frame


def test_demo_takes_what_the_filter_hands_over(tmp_path: Path) -> None:
    """`egg:tus#demo` behind `filter-with = tus`, as in development.ini."""
    from tests.site.asking import upload

    app = Filter(
        demo_factory({}, upload_path="/files"), tmp_file_dir=str(tmp_path), upload_path="/files", cleanup=False
    )

    answer = upload(app, "/files", b"twelve bytes", filename="a.txt")

    assert answer.status == 201
    place = answer.headers["Location"].removeprefix("http://localhost")
    assert ask(app, place).body == b"twelve bytes"
    assert ask(app, "/").status == 200


@pytest.mark.parametrize(
    "options",
    [{"uplod_path": "/x"}, {"max_size": "many"}, {"language": "xx"}, {"static_dir": "/nowhere"}, {"operators": "x"}],
)
def test_wrong_options_are_named(options: dict[str, str]) -> None:
    """At start, and not at the first request."""
    with pytest.raises(OptionError):
        demo_factory({}, **options)


def test_only_the_upload_page_remembers_links(site: Site, tmp_path: Path) -> None:
    """In a gallery, what was added is in its album already."""
    gallery = gallery_with_uploads(str(tmp_path), str(tmp_path / "uploads"))

    assert "data-remember" in ask(site, "/").text
    assert 'id="upload"' in ask(gallery, "/").text
    assert "data-remember" not in ask(gallery, "/").text
