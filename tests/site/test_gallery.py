"""A directory as albums: what is shown of it, what never is, and how what is uploaded gets into it."""

from __future__ import annotations

import io
import os
import re
import threading
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("PIL")

from tests.site.asking import ask, upload
from tests.site.conftest import Picture
from tus.adapters.wsgi import Filter
from tus.errors import OptionError
from tus.site.gallery import Gallery, gallery_factory, with_uploads
from tus.site.thumbnails import Thumbnails

Make = Callable[..., Gallery]


@pytest.fixture
def gallery(photos: Path) -> Gallery:
    return Gallery(str(photos))


def links(text: str) -> list[str]:
    """What a page links to, and shows."""
    return [unescape(found) for found in re.findall(r'(?:href|src)="([^"]*)"', text)]


# Albums


def test_start_shows_albums_and_photos(gallery: Gallery) -> None:
    """Folders and photos at the top are on the first page."""
    page = ask(gallery, "/")

    assert page.status == 200
    assert {"Trip/", "first.jpg/", "clip.mp4/"} <= set(links(page.text))


def test_order_is_that_of_people(gallery: Gallery) -> None:
    """IMG 9 comes before IMG 10, and IMG 10 before IMG 100."""
    found = [link for link in links(ask(gallery, "/Trip/").text) if link.endswith(".jpg/")]

    assert found == ["IMG%209.jpg/", "IMG%2010.jpg/", "IMG%20100.jpg/"]


def test_cover_comes_from_an_album_within(tmp_path: Path, picture: Picture) -> None:
    """An album without photos of its own is covered by one from the album in it."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "inner" / "a.jpg").write_bytes(picture())

    page = ask(Gallery(str(tmp_path)), "/").text

    cover = next(link for link in links(page) if link.startswith("outer/inner/a.jpg?"))
    assert ask(Gallery(str(tmp_path)), "/" + cover).status == 200


def test_album_without_slash_is_redirected(gallery: Gallery) -> None:
    """Links within a page are relative, so an album's address ends with a slash."""
    answer = ask(gallery, "/Trip/Day%202")

    assert (answer.status, answer.headers["Location"]) == (303, "Day%202/")


def test_breadcrumbs_lead_back(gallery: Gallery) -> None:
    """Each step up is a link."""
    page = ask(gallery, "/Trip/Day%202/").text

    assert links(page[page.index('"crumbs"') : page.index("</ol>")]) == ["../../", "../"]


def test_photo_page_leads_to_its_neighbours(gallery: Gallery) -> None:
    """Previous, next, the full size and the download."""
    found = links(ask(gallery, "/Trip/IMG%2010.jpg/").text)

    assert {"../IMG%209.jpg/", "../IMG%20100.jpg/", "../IMG%2010.jpg", "../IMG%2010.jpg?download"} <= set(found)


def test_pictures_have_their_size(gallery: Gallery) -> None:
    """Width and height are given and loading is lazy, so that nothing jumps and nothing loads in vain."""
    tags = re.findall(r"<img class=\"photo\"[^>]*>|<img src=[^>]*>", ask(gallery, "/Trip/").text)

    assert len(tags) == 4
    assert all('width="320" height="320" loading="lazy"' in tag and "srcset=" in tag for tag in tags)


def test_capture_date_is_shown(photos: Path, picture: Picture) -> None:
    """The date comes from the photo, whatever the file's is."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x8769] = {0x9003: "2024:05:17 18:30:00"}
    (photos / "dated.jpg").write_bytes(picture(exif=exif))

    assert "Taken 17 May 2024, 18:30" in ask(Gallery(str(photos)), "/dated.jpg/").text


def test_every_link_of_every_page_leads_somewhere(photos: Path, picture: Picture) -> None:
    """Also under hostile names, and under a prefix."""
    hostile = ["a&b<c>\"d'.jpg", "100%.jpg", "q?x#y.jpg", ",comma,.jpg", "colon:.jpg", "größe 日本.jpg", "a\\b.jpg"]
    for name in hostile:
        (photos / name).write_bytes(picture())
    (photos / os.fsdecode(b"latin-\xe9.jpg")).write_bytes(picture())
    (photos / "<script>alert(1)</script>" / "in & out").mkdir(parents=True)
    gallery = Gallery(str(photos))
    seen, waiting = set(), ["/"]

    while waiting:
        address = waiting.pop()
        answer = ask(gallery, address, SCRIPT_NAME="/under")
        assert answer.status in (200, 303), address
        seen.add(address)
        if answer.headers["Content-Type"].startswith("text/html"):
            assert "<script>alert" not in answer.text
            for link in links(answer.text):
                whole = _followed(address, link)
                if link and whole not in seen and "static" not in whole and not whole.endswith(("form", "files")):
                    waiting.append(whole)

    assert len(seen) > 3 * len(hostile)


def _followed(address: str, link: str) -> str:
    from urllib.parse import urljoin

    return urljoin(address, link)


# What does not exist


@pytest.mark.parametrize(
    "path",
    [
        "/.hidden.jpg",
        "/.secret/",
        "/.secret/in.jpg",
        "/notes.txt",
        "/../photos/first.jpg",
        "/Trip/../../photos/first.jpg",
        "/Trip/..%2f..%2fphotos/first.jpg",
        "//first.jpg",
        "/Trip//IMG%209.jpg",
        "/./first.jpg",
        "/first.jpg%00.jpg",
        "/missing.jpg",
        "/Trip/missing/",
        "/.tus/thumbnails/",
        "/" + "a/" * 40,
        "/" + "a" * 300 + ".jpg",
        "/%ff%fe.jpg",
        "/~tus/",
        "/~tus/static/x/nothing.js",
        "/~tus/static/x/../../../etc/passwd",
    ],
)
def test_what_must_not_be_seen_is_not_found(gallery: Gallery, path: str) -> None:
    """Dot files, other types, ways out, and nonsense."""
    assert ask(gallery, path).status == 404
    assert ask(gallery, path + "?size=320").status == 404


def test_links_out_of_the_tree_do_not_exist(photos: Path, tmp_path: Path, picture: Picture) -> None:
    """A symbolic link to a file, or through a folder, outside is not followed; one inside is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(picture())
    (photos / "leak.jpg").symlink_to(tmp_path / "outside" / "secret.jpg")
    (photos / "leaks").symlink_to(tmp_path / "outside")
    (photos / "sly.jpg").symlink_to(photos / ".hidden.jpg")
    (photos / "loop").symlink_to(photos / "loop")
    (photos / "same.jpg").symlink_to(photos / "first.jpg")
    gallery = Gallery(str(photos))

    answers = [
        ask(gallery, path).status for path in ("/leak.jpg", "/leaks/", "/leaks/secret.jpg", "/sly.jpg", "/loop/")
    ]

    assert answers == [404] * 5
    assert ask(gallery, "/same.jpg").status == 200
    found = set(links(ask(gallery, "/").text))
    assert "same.jpg/" in found
    assert not found & {"leak.jpg/", "leaks/", "sly.jpg/", "loop/"}


def test_only_get_and_head(gallery: Gallery) -> None:
    """Nothing else means anything to an album."""
    assert ask(gallery, "/first.jpg", "DELETE").status == 405
    assert ask(gallery, "/Trip/", "HEAD").body == b""


# Files


def test_file_is_served_with_ranges_and_conditions(gallery: Gallery, photos: Path) -> None:
    """A video can be sought in, and what the browser has is not sent again."""
    content = (photos / "clip.mp4").read_bytes()

    whole = ask(gallery, "/clip.mp4")
    part = ask(gallery, "/clip.mp4", HTTP_RANGE="bytes=100-199")
    again = ask(gallery, "/clip.mp4", HTTP_IF_NONE_MATCH=whole.headers["Etag"])

    assert (whole.status, whole.body, whole.headers["Content-Type"]) == (200, content, "video/mp4")
    assert (part.status, part.body) == (206, content[100:200])
    assert (again.status, again.body) == (304, b"")
    assert ask(gallery, "/clip.mp4", HTTP_RANGE="bytes=99999-").status == 416


def test_file_can_be_downloaded_under_its_name(photos: Path, picture: Picture) -> None:
    """`?download` makes it an attachment, whatever the name has in it."""
    (photos / 'gr"öße.jpg').write_bytes(picture())

    answer = ask(Gallery(str(photos)), "/" + quote('gr"öße.jpg') + "?download")

    assert answer.headers["Content-Disposition"] == (
        "attachment; filename=\"gr__e_e.jpg\"; filename*=UTF-8''gr%22%C3%B6%C3%9Fe.jpg".replace("gr__e_e", "gr___e")
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(("accel", "header"), [("/internal", "X-Accel-Redirect"), ("x-sendfile", "X-Sendfile")])
def test_server_in_front_may_send_the_file(photos: Path, accel: str, header: str) -> None:
    """With `accel` the answer has no body, and says where the file is."""
    answer = ask(Gallery(str(photos), accel=accel), "/Trip/IMG%209.jpg")

    expected = "/internal/Trip/IMG%209.jpg" if accel == "/internal" else quote(str(photos / "Trip/IMG 9.jpg"))
    assert (answer.headers[header], answer.body) == (expected, b"")


def test_album_comes_as_a_zip(gallery: Gallery, photos: Path) -> None:
    """All of an album and the albums in it, and nothing that is hidden."""
    answer = ask(gallery, "/Trip/?zip")
    archive = zipfile.ZipFile(io.BytesIO(answer.body))

    assert answer.headers["Content-Disposition"] == 'attachment; filename="Trip.zip"'
    assert sorted(archive.namelist()) == ["Day 2/last.png", "IMG 10.jpg", "IMG 100.jpg", "IMG 9.jpg"]
    assert archive.read("IMG 9.jpg") == (photos / "Trip" / "IMG 9.jpg").read_bytes()
    assert all(
        "secret" not in n and "hidden" not in n
        for n in zipfile.ZipFile(io.BytesIO(ask(gallery, "/?zip").body)).namelist()
    )


def test_zip_is_streamed(gallery: Gallery) -> None:
    """It comes in pieces while it is made."""
    started: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": "zip"}
    pieces = iter(gallery(environ, lambda *args: started.append(args)))

    assert next(pieces).startswith(b"PK")
    assert not any(name == "Content-Length" for name, _ in started[0][1])
    pieces.close()  # type: ignore[attr-defined]


# Private albums


def test_private_album_is_for_whom_the_hook_lets_in(photos: Path) -> None:
    """Neither its page nor its photos, thumbnails, cover or ZIP are for anybody else."""

    def authorise(environ: dict[str, Any], album: str) -> bool:
        return not album.startswith("Trip") or environ.get("REMOTE_USER") == "jane"

    gallery = Gallery(str(photos), authorise=authorise)
    addresses = ["/Trip/", "/Trip/IMG%209.jpg", "/Trip/IMG%209.jpg/", "/Trip/IMG%209.jpg?size=320", "/Trip/?zip"]

    assert [ask(gallery, address).status for address in addresses] == [403] * 5
    assert [ask(gallery, address, REMOTE_USER="jane").status for address in addresses] == [200] * 5
    assert "Trip" not in ask(gallery, "/").text
    assert zipfile.ZipFile(io.BytesIO(ask(gallery, "/?zip").body)).namelist() == ["clip.mp4", "first.jpg"]


def test_album_that_went_away_takes_nothing(photos: Path, tmp_path: Path, picture: Picture) -> None:
    """Without the hook that looks before, it is as clear after all bytes came."""
    app = Filter(Gallery(str(photos)), tmp_file_dir=str(tmp_path / "uploads"), upload_path="/~tus/files")

    for path in ("", "New/a.jpg"):
        answer = upload(app, "/~tus/files", picture(), filename="a.jpg", album="Nowhere", relativePath=path)
        assert answer.status == 404


def test_private_album_takes_nothing_from_strangers(photos: Path, tmp_path: Path, picture: Picture) -> None:
    """Not by the album that an upload names, and not by the folders that it was in."""

    def authorise(environ: dict[str, Any], album: str) -> bool:
        return album != "Trip" or environ.get("REMOTE_USER") == "jane"

    gallery = Gallery(str(photos), authorise=authorise)
    app = Filter(gallery, tmp_file_dir=str(tmp_path / "uploads"), upload_path="/~tus/files")
    before = {path for path in photos.rglob("*") if ".tus" not in path.parts}

    sly = [
        upload(app, "/~tus/files", picture(), filename="x.png", album=album, relativePath=path).status
        for album, path in (("Trip", ""), ("", "Trip/x.png"), ("", "Trip/new/x.png"), ("Trip/Day 2", "x.png"))
    ]

    assert sly == [403] * 4
    assert {path for path in photos.rglob("*") if ".tus" not in path.parts} == before
    assert upload(app, "/~tus/files", picture(), filename="x.png", relativePath="Sea/x.png").status == 201


def test_album_in_a_private_album_is_private(photos: Path) -> None:
    """The hook need not think of what is inside."""
    gallery = Gallery(str(photos), authorise=lambda environ, album: album != "Trip")

    assert [ask(gallery, address).status for address in ("/Trip/Day%202/", "/Trip/Day%202/last.png")] == [403, 403]
    assert ask(gallery, "/").status == 200


def test_hidden_start_page_hides_no_album(photos: Path) -> None:
    """The start page is an album like the others, and not one that they are in."""
    gallery = Gallery(str(photos), authorise=lambda environ, album: album == "Trip")

    assert [ask(gallery, address).status for address in ("/", "/first.jpg", "/Trip/")] == [403, 403, 200]


def test_cover_of_a_public_album_shows_nothing_private(photos: Path) -> None:
    """Where all of an album's photos are in a private one below it, it has no cover."""
    (photos / "Public" / "private").mkdir(parents=True)
    (photos / "first.jpg").rename(photos / "Public" / "private" / "nobody-knows.jpg")
    gallery = Gallery(str(photos), authorise=lambda environ, album: album != "Public/private")

    page = ask(gallery, "/").text

    assert "Public/" in links(page)
    assert "nobody-knows" not in page


def test_hook_that_says_nothing_lets_nobody_in(photos: Path) -> None:
    """A name of nobody is no permission."""
    gallery = Gallery(str(photos), authorise=lambda environ, album: environ.get("REMOTE_USER"))

    assert ask(gallery, "/Trip/").status == 403
    assert ask(gallery, "/Trip/", REMOTE_USER="jane").status == 200


def test_thumbnails_of_private_albums_are_kept_by_nobody_else(photos: Path) -> None:
    """With a hook, no cache on the way may keep them."""
    open_, private = Gallery(str(photos)), Gallery(str(photos), authorise=lambda environ, album: True)
    link = next(link for link in links(ask(open_, "/").text) if link.startswith("first.jpg?"))

    assert ask(open_, "/" + link).headers["Cache-Control"].startswith("public")
    assert ask(private, "/" + link).headers["Cache-Control"].startswith("private")


# Uploads


@pytest.fixture
def open_gallery(photos: Path) -> Any:
    """As `tus serve --gallery` builds it."""
    return with_uploads(str(photos), None)


def test_upload_lands_in_the_album_one_looks_at(open_gallery: Any, photos: Path, picture: Picture) -> None:
    """And the answer says where it is to be seen."""
    content = picture(size=(30, 30))

    answer = upload(open_gallery, "/~tus/files", content, filename="new.jpg", album="Trip/Day 2")

    assert answer.status == 201
    assert answer.headers["Content-Location"] == "/Trip/Day%202/new.jpg/"
    assert (photos / "Trip" / "Day 2" / "new.jpg").read_bytes() == content
    assert "new.jpg/" in links(ask(open_gallery, "/Trip/Day%202/").text)


def test_upload_replaces_nothing(open_gallery: Any, photos: Path, picture: Picture) -> None:
    """Another photo of the same name gets a number."""
    before = (photos / "first.jpg").read_bytes()

    for _ in range(2):
        upload(open_gallery, "/~tus/files", picture(size=(30, 30)), filename="first.jpg")

    assert (photos / "first.jpg").read_bytes() == before
    assert (photos / "first (2).jpg").exists()
    assert (photos / "first (3).jpg").exists()


def test_uploaded_folder_becomes_albums(open_gallery: Any, photos: Path, picture: Picture) -> None:
    """The folders that a photo was in are albums below the one that one looks at."""
    upload(open_gallery, "/~tus/files", picture(), filename="a.jpg", relativePath="Sea/Beach/a.jpg", album="Trip")

    assert (photos / "Trip" / "Sea" / "Beach" / "a.jpg").exists()


@pytest.mark.parametrize(
    "metadata",
    [
        {"filename": "../../escaped.jpg"},
        {"filename": "a.jpg", "relativePath": "../../../escaped/a.jpg"},
        {"filename": "a.jpg", "relativePath": "/etc/./a.jpg"},
        {"filename": "a\\..\\..\\b.jpg"},
    ],
)
def test_upload_cannot_leave_the_tree(
    open_gallery: Any, photos: Path, picture: Picture, metadata: dict[str, str]
) -> None:
    """Whatever it calls itself, it lies below the directory, and is seen."""
    upload(open_gallery, "/~tus/files", picture(), **metadata)

    outside = [path for path in photos.parent.rglob("*.jpg") if photos not in path.parents]
    assert outside == []
    assert len([path for path in photos.rglob("*.jpg") if ".tus" not in path.parts]) == 7


@pytest.mark.parametrize("name", ["evil.php", "page.html", "picture.svg", "noname", ".htaccess", ".a.jpg", "~tus.jpg"])
def test_only_photos_and_videos_are_taken(open_gallery: Any, photos: Path, name: str) -> None:
    """The refusal comes before a byte is received."""
    answer = upload(open_gallery, "/~tus/files", b"x" * 10, filename=name)

    assert answer.status == 415
    assert not any((photos / ".tus" / "uploads").glob("*.info"))


@pytest.mark.parametrize("album", ["../..", ".secret", "Nowhere", "first.jpg"])
def test_upload_needs_an_album_that_exists(open_gallery: Any, album: str, picture: Picture) -> None:
    """What is no album takes nothing, no folder in it can become one, and not a byte is kept."""
    for path in ("", "New/a.jpg"):
        answer = upload(open_gallery, "/~tus/files", picture(), filename="a.jpg", album=album, relativePath=path)
        assert answer.status == 404
    assert not list(open_gallery.engine.uploads())


@pytest.mark.parametrize("hand_over", ["file", "form"])
def test_content_is_never_taken_for_a_path(photos: Path, tmp_path: Path, hand_over: str) -> None:
    """A filter that hands over the content would let it name any file of the server."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    gallery = Gallery(str(photos))
    app = Filter(gallery, tmp_file_dir=str(tmp_path / "up"), upload_path="/~tus/files", hand_over=hand_over)

    answer = upload(app, "/~tus/files", str(secret).encode(), filename="a.jpg", filetype="text/plain")

    assert answer.status == 500
    assert secret.exists()
    assert not (photos / "a.jpg").exists()


def test_thumbnail_is_made_when_an_upload_finishes(open_gallery: Any, photos: Path, picture: Picture) -> None:
    """The first visitor does not wait."""
    from tests.live import until

    upload(open_gallery, "/~tus/files", picture(), filename="soon.jpg")

    until(lambda: list((photos / ".tus" / "thumbnails").rglob("*-320.jpg")))
    until(lambda: not [t for t in threading.enumerate() if t.name == "tus-thumbnails" and not t.daemon])


# Options


def test_gallery_of_a_paste_ini(photos: Path, tmp_path: Path) -> None:
    """`egg:tus#gallery` takes its options as text."""
    gallery = gallery_factory({}, directory=str(photos), cache=str(tmp_path / "cache"), title="Ours", uploads="false")

    page = ask(gallery, "/").text
    assert "<h1>Ours</h1>" in page
    assert 'id="upload"' not in page


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"directory": "/nonexistent"},
        {"directory": "/", "autorise": "x"},
        {"directory": "/", "authorise": "no.such:hook"},
    ],
)
def test_wrong_options_are_named(options: dict[str, str]) -> None:
    """At start, and not at the first request."""
    with pytest.raises(OptionError):
        gallery_factory({}, **options)


def test_missing_pillow_is_explained(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra."""
    import sys

    monkeypatch.setitem(sys.modules, "PIL", None)

    with pytest.raises(OptionError, match=r"tus\[gallery\]"):
        Gallery(str(photos))


def test_thumbs_command_makes_them_all(photos: Path, picture: Picture, capsys: pytest.CaptureFixture[str]) -> None:
    """And says which photos cannot be shown; `--prune` removes those of photos that are gone."""
    from tus.cli import main

    (photos / "broken.jpg").write_bytes(picture()[:100])

    code = main(["thumbs", str(photos)])
    (photos / "first.jpg").unlink()
    main(["thumbs", str(photos), "--prune"])

    said = capsys.readouterr().out.splitlines()
    assert code == 1
    assert said == [
        "broken.jpg: cannot be shown",
        "5 of 6 photos have thumbnails",
        "broken.jpg: cannot be shown",
        "4 of 5 photos have thumbnails",
        "1 photos were gone",
    ]
    assert isinstance(Gallery(str(photos)).thumbnails, Thumbnails)
