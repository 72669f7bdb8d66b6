"""How an upload becomes a photo: what is certain to be on the disk at each step, also between two file systems."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.site.asking import upload
from tus.site.albums import Tree
from tus.site.gallery import with_uploads

Picture = Callable[..., bytes]
Put = Callable[..., str]

CALLS = "write,copy_file_range,sendfile,link,linkat,rename,renameat,renameat2,fsync,fdatasync,unlink,unlinkat"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than `tmp_path`."""
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="tus-test-") as directory:
        yield Path(directory)


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Puts a file into an album in a process of its own, and says what that did, one letter a call: W data written,
    D data made durable, L linked to its name, F directory made durable, G source gone."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed (apt install strace)")
    log = tmp_path / "strace"

    def run(source: Path, photos: Path, *more: str) -> str:
        script = f"from tus.site.albums import Tree; Tree({str(photos)!r}).put({str(source)!r}, '', 'new.jpg')"
        command = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={CALLS}", *more, sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True)
        if "ptrace" in done.stderr.lower():
            pytest.skip("strace may not trace a process here")
        return "".join(letter(line, source, photos) for line in log.read_text().splitlines())

    return run


def letter(line: str, source: Path, photos: Path) -> str:
    found = re.match(r"\d+ +(\w+)\((.*)", line)
    if not found:
        return ""
    call, rest = found.groups()
    if call.startswith("unlink"):
        return "G" if f'"{source}"' in rest else ""
    if call.startswith(("link", "rename")):
        return "L" if "new.jpg" in rest and "= 0" in rest else ""
    if call.endswith("sync"):
        return "F" if f"<{photos}>" in rest else "D" if f"<{photos}/" in rest else ""
    return "W" if f"<{photos}/" in rest else ""


def test_source_on_another_file_system_goes_when_the_copy_is_durable(put: Put, tmp_path: Path, elsewhere: Path) -> None:
    """Copied, forced to the disk, given its name, and the directory forced: only then is the first one removed."""
    source = elsewhere / "upload"
    source.write_bytes(b"bytes" * 1000)

    deeds = put(source, tmp_path)

    assert re.fullmatch("W+D+LD*FG", deeds), deeds
    assert (tmp_path / "new.jpg").read_bytes() == b"bytes" * 1000


def test_source_on_the_same_file_system_goes_when_its_new_name_is_durable(put: Put, tmp_path: Path) -> None:
    """A link costs no copy, and is as durable before the old name is removed."""
    source, photos = tmp_path / "upload", tmp_path / "photos"
    photos.mkdir()
    source.write_bytes(b"bytes")

    deeds = put(source, photos)

    assert re.fullmatch("LDFG", deeds), deeds
    assert not source.exists()


@pytest.mark.parametrize("far", [False, True])
def test_source_stays_when_the_disk_fails(put: Put, tmp_path: Path, elsewhere: Path, far: bool) -> None:
    """What could not be made durable is no photo, and nothing is lost: the next try finds the upload where it was."""
    source, photos = (elsewhere if far else tmp_path) / "upload", tmp_path / "photos"
    photos.mkdir()
    source.write_bytes(b"bytes")

    deeds = put(source, photos, "-e", "inject=fsync:error=EIO")

    assert "G" not in deeds
    assert source.read_bytes() == b"bytes"
    assert list(photos.iterdir()) == []


def test_disk_without_links_takes_photos(put: Put, tmp_path: Path) -> None:
    """As FAT is, on many a card."""
    source, photos = tmp_path / "upload", tmp_path / "photos"
    photos.mkdir()
    source.write_bytes(b"bytes")

    deeds = put(source, photos, "-e", "inject=link,linkat:error=EPERM")

    assert re.fullmatch("W+D+LD*FG", deeds), deeds
    assert [path.name for path in photos.iterdir()] == ["new.jpg"]
    assert (photos / "new.jpg").read_bytes() == b"bytes"


def test_upload_reaches_an_album_on_another_file_system(tmp_path: Path, elsewhere: Path, picture: Picture) -> None:
    """Whole, readable for the server in front, and without anything left behind; a second one replaces nothing."""
    content, photos = picture(), tmp_path / "photos"
    photos.mkdir()
    app = with_uploads(str(photos), str(elsewhere))

    answers = [upload(app, "/~tus/files", content, filename="new.jpg", relativePath="Sea/new.jpg") for _ in range(2)]

    assert [answer.status for answer in answers] == [201, 201]
    assert sorted(path.name for path in (photos / "Sea").iterdir()) == ["new (2).jpg", "new.jpg"]
    assert (photos / "Sea" / "new.jpg").read_bytes() == content
    assert (photos / "Sea" / "new.jpg").stat().st_mode & 0o777 == 0o644


def test_tree_lists_nothing_half_copied(tmp_path: Path) -> None:
    """What a crash leaves of a copy has a name that no album shows."""
    (tmp_path / ".tus-half").write_bytes(b"half")

    assert Tree(str(tmp_path)).album("") == ([], [])
