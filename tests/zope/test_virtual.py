"""Paths for the VirtualHostMonster, without a Zope; and what has to work where no Zope is installed."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from tus.adapters.virtual import unmasked

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def zope_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the function goes by."""
    monkeypatch.setitem(sys.modules, "ZPublisher", types.ModuleType("ZPublisher"))


@pytest.mark.usefixtures("zope_is_loaded")
@pytest.mark.parametrize(
    ("path", "root", "collection", "public", "plain"),
    [
        ("/https/host:443/site/VirtualHostRoot/upload/1", "/upload", "/upload", "https://host/upload", "/upload/1"),
        ("/http/host:80/VirtualHostRoot/upload", "/upload", "/upload", "http://host/upload", "/upload"),
        ("/http/host:8080/VirtualHostRoot/upload", "/upload", "/upload", "http://host:8080/upload", "/upload"),
        ("/http/host/a/b/VirtualHostRoot/u", "/u", "/u", "http://host/u", "/u"),
        ("/http/host/VirtualHostRoot/_vh_x/_vh_y/u/1", "/u", "/u", "http://host/x/y/u", "/u/1"),
        ("/http/host/a/VirtualHostRoot/u/1", "/a/u", "/u", "http://host/u", "/a/u/1"),
        ("/http/host/VirtualHostRoot", "/u", "/u", "http://host/u", ""),
    ],
)
def test_the_public_url_is_told_from_the_path(path: str, root: str, collection: str, public: str, plain: str) -> None:
    """Host, standard port, mount (`_vh_`), and an `upload_path` as the client or as Zope sees it."""
    before = "/VirtualHostBase" + path.partition(f"{collection}/1")[0].removesuffix(collection)

    assert unmasked("/VirtualHostBase" + path, root) == (before + collection, public, plain)


@pytest.mark.usefixtures("zope_is_loaded")
@pytest.mark.parametrize("path", ["/upload", "/x/VirtualHostBase/http/h/VirtualHostRoot", "/VirtualHostBase/http/h/u"])
def test_other_paths_are_left_alone(path: str) -> None:
    """Only what the proxy put in front counts."""
    assert unmasked(path, "/upload") is None


def test_without_zope_there_is_no_monster() -> None:
    """A client must not walk around what a proxy forbids at /upload."""
    assert unmasked("/VirtualHostBase/http/h/VirtualHostRoot/upload", "/upload") is None


def test_the_adapter_needs_no_zope() -> None:
    """`from tus import Zope2RequestAdapter` works in a Python that has nothing installed."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tus import Zope2RequestAdapter"

    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
