"""What an upload costs the journal of an ext4 file system. Needs the right to mount one; it lies in a file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drafting import Turns
from tus import Upload
from tus.stores.file import FileStore

pytestmark = pytest.mark.slow

SIZE = 64 << 20  # bytes of the file system
UPLOADS = 30


@pytest.fixture
def journalled(tmp_path: Path) -> Iterator[tuple[FileStore, Callable[[], int]]]:
    """A store on a file system of its own, and how many transactions its journal has had."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    image.write_bytes(bytes(SIZE))
    for words in (["mkfs.ext4", "-q", "-F", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        try:
            done = subprocess.run(words, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip(f"no {words[0]} here (apt install e2fsprogs)")
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    try:
        device = Path(subprocess.check_output(["findmnt", "-no", "SOURCE", str(place)], text=True).strip()).name
        info = Path(f"/proc/fs/jbd2/{device}-8/info")
        if not info.exists():
            pytest.skip("this kernel does not tell what its journals did")
        yield FileStore(str(place / "uploads")), lambda: int(info.read_text().split()[0])
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def by_steps(files: FileStore, id: str) -> None:
    upload = Upload(id, length=4)
    files.create(upload, fence=Turns()).close()
    files.save(upload)
    draft = files.append(id, 0, fence=Turns(), known=upload)
    draft.write(b"data")
    files.finish(upload.evolve(offset=4, complete=True), draft, durable=True)
    draft.close()


def at_once(files: FileStore, id: str) -> None:
    upload = Upload(id, length=4)
    draft = files.create(upload, fence=Turns())
    draft.write(b"data")
    files.finish(upload.evolve(offset=4, complete=True), draft, durable=True)
    draft.close()


@pytest.mark.parametrize("made", [by_steps, at_once])
def test_durable_upload_costs_one_transaction(
    journalled: tuple[FileStore, Callable[[], int]], made: Callable[[FileStore, str], None]
) -> None:
    """Record and data are in the same one. A few more come by the clock."""
    files, transactions = journalled
    made(files, "f" * 32)
    before = transactions()

    for number in range(UPLOADS):
        made(files, f"{number:032x}")

    assert transactions() - before < 1.5 * UPLOADS
