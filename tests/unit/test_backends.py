"""Where uploads are kept and who may write: as an object, as a URL, and by default; and what is wrong with them."""

from __future__ import annotations

import gc
import logging
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.slow_store import SlowStore
from tus import OptionError, Options, Tus, TusFilter, WebobAdapter, backends
from tus.backends import locker_of, store_of, without_password
from tus.lockers.file import FileLocker
from tus.lockers.memory import MemoryLocker
from tus.stores import Store
from tus.stores.file import FileStore
from tus.stores.memory import MemoryStore
from tus.tus import Application, application

PACKAGE = """
from tus.lockers.memory import MemoryLocker
from tus.stores.memory import MemoryStore

seen = []

def store(url, options):
    seen.append((url, options.max_size))
    if "broken" in url:
        raise ValueError("no such bucket")
    return object() if "odd" in url else MemoryStore()

def locker(url, options):
    seen.append(url)
    return MemoryLocker()
"""
POINTS = """
[tus.stores]
film = films:store
lost = nowhere:store

[tus.lockers]
film = films:locker
"""


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package that is installed and brings stores and lockers."""
    home = tmp_path / "site"
    meta = home / "films-1.0.dist-info"
    meta.mkdir(parents=True)
    (home / "films.py").write_text(PACKAGE)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: films\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(home)
    monkeypatch.delitem(sys.modules, "films", raising=False)
    import films  # type: ignore[import-not-found]

    return films


def options(**given: Any) -> Options:
    return Options(given, environ={})


def built(**given: Any) -> Application:
    return Application(options(**given))


def place(store: Store) -> str:
    assert isinstance(store, FileStore)
    return store.directory


# Places


def test_default_is_files_in_their_directory(tmp_path: Path) -> None:
    """As `tmp_file_dir` says, with the leases beside them."""
    found = built(tmp_file_dir=str(tmp_path / "x"))

    assert place(found.engine.store) == str(tmp_path / "x")
    assert isinstance(found.engine.locker, FileLocker)


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "FILE://{}", "file://localhost{}", " file://{} "])
def test_file_url_names_a_directory(tmp_path: Path, form: str) -> None:
    """Which is made if it is not there; and the leases are in it, too."""
    found = built(store=form.format(tmp_path / "new"))

    found.engine.locker.lease("a").release()
    assert place(found.engine.store) == str(tmp_path / "new")
    assert isinstance(found.engine.locker, FileLocker)


def test_url_is_decoded(tmp_path: Path) -> None:
    """A directory may have any name."""
    wanted = tmp_path / "ä b?"

    assert place(built(store=wanted.as_uri()).engine.store) == str(wanted)


def test_file_alone_is_the_directory_of_the_option(tmp_path: Path) -> None:
    """It says the default."""
    found = built(store="file:", tmp_file_dir=str(tmp_path))

    assert place(found.engine.store) == str(tmp_path)


def test_leases_are_where_the_files_are(tmp_path: Path) -> None:
    """Wherever the store is, `file:` means its directory to the locker."""
    FileStore(str(tmp_path / "a b"))
    locker = locker_of("file:", options(), FileStore(str(tmp_path / "a b")))

    lease = locker.lease("x")

    assert list((tmp_path / "a b").glob("x.lease"))
    lease.release()


def test_leases_may_be_elsewhere(tmp_path: Path) -> None:
    """A directory of their own, on a faster file system."""
    found = built(store=f"file://{tmp_path}/store", locker=f"file://{tmp_path}/leases")

    lease = found.engine.locker.lease("x")

    assert list((tmp_path / "leases").glob("x.lease"))
    lease.release()


def test_memory_is_another_one_for_each_application() -> None:
    """And has the locker of its process."""
    first, second = built(store="memory:").engine, built(store="memory:").engine

    assert isinstance(first.locker, MemoryLocker)
    assert first.store is not second.store


def test_objects_are_taken_as_they_are() -> None:
    """Before what the options say."""
    store, locker = MemoryStore(), MemoryLocker()

    found = Application(options(store="file:///nowhere", locker="file:"), store=store, locker=locker).engine

    assert (found.store, found.locker) == (store, locker)


def test_filter_takes_objects_and_urls(tmp_path: Path) -> None:
    """As options among others."""
    store = MemoryStore()

    objects = TusFilter(store=store, locker=MemoryLocker())
    urls = TusFilter(store=f"file://{tmp_path}/here", locker="memory:")

    assert objects.engine.store is store
    assert (place(urls.engine.store), type(urls.engine.locker)) == (str(tmp_path / "here"), MemoryLocker)


def test_environment_names_a_store(tmp_path: Path) -> None:
    """For those who cannot change the program."""
    found = Application(Options({}, environ={"TUS_STORE": f"file://{tmp_path}/here", "TUS_LOCKER": "memory:"}))

    assert (place(found.engine.store), type(found.engine.locker)) == (str(tmp_path / "here"), MemoryLocker)


def test_directory_that_was_said_nearer_wins(tmp_path: Path) -> None:
    """Over a store that only the environment names."""
    found = Application(Options({"tmp_file_dir": str(tmp_path)}, environ={"TUS_STORE": "memory:"}))

    assert place(found.engine.store) == str(tmp_path)


def test_two_directories_are_a_contradiction() -> None:
    """Nobody could tell where uploads are."""
    with pytest.raises(OptionError, match="tmp_file_dir = /a and store = file:///b contradict"):
        options(tmp_file_dir="/a", store="file:///b")


def test_store_of_others_is_safe_in_one_process(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Without a locker that says more; and the log has one line about it."""
    with caplog.at_level(logging.WARNING, "tus"):
        found = Application(options(), store=SlowStore(tmp_path)).engine
        Application(options(), store=SlowStore(tmp_path), locker="memory:")

    (record,) = caplog.records
    assert isinstance(found.locker, MemoryLocker)
    assert "SlowStore" in record.getMessage() and "one process" in record.getMessage()


# What others bring


def test_scheme_is_an_entry_point(films: Any) -> None:
    """Its function gets the URL as it stands, and all options."""
    found = built(store="film://user@host/x?y", locker="film:", max_size="1kB").engine

    assert isinstance(found.store, MemoryStore)
    assert films.seen == [("film://user@host/x?y", 1000), "film:"]


def test_built_in_schemes_cannot_be_taken(films: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another package calls `file` is not asked."""
    points = tmp_path / "site/films-1.0.dist-info/entry_points.txt"
    points.write_text("[tus.stores]\nfile = films:store\n")

    assert place(store_of(f"file://{tmp_path}/x", options())) == str(tmp_path / "x")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "azure://bucket",
            r"option store: azure: is unknown here; there are azblob:, file:, film:, .*, s3:; is the package",
        ),
        ("flim:x", r"option store: flim: is unknown .*; did you mean film:\?"),
        ("lost:x", r"option store: what brings lost: cannot be loaded: No module named 'nowhere'"),
        ("film://me:secret@broken", r"option store: film://…@broken cannot be opened: no such bucket"),
        ("film:odd", r"option store: a object is no tus.Store, without create, load, save"),
    ],
)
def test_wrong_store_is_told_when_the_application_is_built(films: Any, given: str, said: str) -> None:
    """With the option's name, and with what could be meant."""
    with pytest.raises(OptionError, match=said):
        built(store=given)


def test_package_that_is_there_twice_is_told(films: Any, tmp_path: Path) -> None:
    """Nobody could say which one is meant."""
    other = tmp_path / "site/more-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: more\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[tus.stores]\nfilm = more:store\n")

    with pytest.raises(OptionError, match="several packages bring film: films:store, more:store"):
        built(store="film:")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("/var/uploads", "option store: '/var/uploads' is not a URL such as file:///var/uploads"),
        (Path("/x"), "is not a URL"),
        ("file://var/uploads", "names the machine 'var'; a path begins with file:///"),
        ("file:///a?b", r"is no path; in a URL, \? is %3F"),
        ("file:///proc/x/uploads", "option store: /proc/x"),
        ("memory:x", "option store: nothing can follow memory:"),
        (MemoryStore, "option store: MemoryStore is a class; give an object of it"),
        (5, "option store: a int is no tus.Store"),
    ],
)
def test_broken_store_is_told(given: Any, said: str) -> None:
    """At once, and not at the first upload."""
    with pytest.raises(OptionError, match=said):
        built(store=given)


@pytest.mark.parametrize("given", ["/var/leases", "memroy:", "file://x/y", MemoryStore(), "file:///proc/x/y"])
def test_broken_locker_is_told(given: Any) -> None:
    """In the same words."""
    with pytest.raises(OptionError, match="option locker: "):
        built(store="memory:", locker=given)


def test_url_beside_the_options_is_checked_like_one_among_them() -> None:
    """It says the same."""
    with pytest.raises(OptionError, match="option store: '/x' is not a URL"):
        Application(options(), store="/x")


def test_object_storage_is_built_in() -> None:
    """What its URL lacks is told in its own words."""
    with pytest.raises(OptionError, match="option store: 'x' is no name of a bucket"):
        built(store="s3://x/prefix")


def test_built_in_schemes_are_declared_as_entry_points() -> None:
    """So that a list of what is installed is complete."""
    text = (Path(__file__).parents[2] / "setup.py").read_text("utf-8")

    for name, schemes in backends._BUILT_IN.items():
        for scheme in schemes:
            assert f'"{scheme} = tus.backends:{scheme}_{name}"' in text


def test_method_that_is_missing_is_named() -> None:
    """Each of them, so that a newcomer knows what to write."""

    class Half(MemoryStore):
        finish = None  # type: ignore[assignment]
        tidy = None  # type: ignore[assignment]

    with pytest.raises(OptionError, match=r"a Half is no tus.Store, without finish, tidy$"):
        built(store=Half())


def test_directory_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The option to use instead is named."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / f"tus-{os.getuid()}").mkdir(mode=0o755)

    with pytest.raises(OptionError, match="option tmp_file_dir: .* is not ours alone"):
        built()


def test_passwords_are_not_shown() -> None:
    """Wherever they stand before the host."""
    assert without_password("redis://me:pa@ss@host/0") == "redis://…@host/0"
    assert without_password("s3://a?endpoint=x&Secret=y&part=5") == "s3://a?endpoint=x&Secret=…&part=5"
    assert without_password("file:///a@b") == "file:///a@b"


# What a store cannot do


def test_application_gets_the_file_where_there_is_no_path() -> None:
    """By default; other options stay as they are."""
    found = built(store="memory:", max_size=5).options

    assert (found.hand_over, found.send_file, found.max_size) == ("file", True, 5)


def test_options_that_were_given_stay_what_they_are() -> None:
    """They may serve another application, over files."""
    given = options(store="memory:")

    Application(given)

    assert (given.hand_over, given.send_file) == ("path", False)


@pytest.mark.parametrize("given", [{"hand_over": "path"}, {"send_file": False}, {"send_file": "false"}])
def test_path_that_there_cannot_be_is_refused(given: dict[str, Any]) -> None:
    """Where somebody asked for it; and the remedy is named."""
    with pytest.raises(OptionError, match="option hand_over: a MemoryStore has no path .*; choose file, form or none"):
        built(store="memory:", **given)


@pytest.mark.parametrize("chosen", ["file", "form", "none"])
def test_other_ways_are_taken_as_they_are(chosen: str) -> None:
    """They work with every store."""
    assert built(store="memory:", hand_over=chosen).options.hand_over == chosen


# Views, which name the options at each request


def test_application_of_a_store_is_found_again() -> None:
    """The same object means the same application; another one that looks the same does not."""

    class Alike(MemoryStore):
        def __repr__(self) -> str:
            return "Alike()"

    first, second = Alike(), Alike()

    assert application({"store": first}) is application({"store": first})
    assert application({"store": first}) is not application({"store": second})


def test_stores_that_a_view_forgets_are_let_go() -> None:
    """Of a thousand, only the last few are remembered."""
    stores = []
    for _ in range(200):
        store = MemoryStore()
        application({"store": store})
        stores.append(weakref.ref(store))
    del store
    gc.collect()

    assert sum(store() is not None for store in stores) <= 64


# What the host gets

CREATION = {
    "Tus-Resumable": "1.0.0",
    "Upload-Length": "5",
    "Content-Type": "application/offset+octet-stream",
}


@pytest.mark.parametrize(("chosen", "body"), [({}, b"hello"), ({"hand_over": "form"}, b"hello\r\n--")])
def test_application_gets_what_a_store_without_files_has(chosen: Any, body: bytes) -> None:
    """The content, in one request."""
    webob = pytest.importorskip("webob")
    got: list[bytes] = []

    def host(environ: Any, start_response: Any) -> list[bytes]:
        got.append(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("204 No Content", [])
        return []

    app = TusFilter(host, store="memory:", **chosen)
    answer = webob.Request.blank("/upload", method="POST", headers=CREATION, body=b"hello").get_response(app)

    assert answer.status_int == 201
    assert body in got[0]


def test_resource_gets_its_request_though_there_are_no_files() -> None:
    """What was uploaded for it is the body."""
    webob = pytest.importorskip("webob")
    got: list[bytes] = []

    def host(environ: Any, start_response: Any) -> list[bytes]:
        got.append(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("201 Created", [])
        return [b"made"]

    app = TusFilter(host, store="memory:", draft_targets="/photos")
    headers = {"Upload-Draft-Interop-Version": "6", "Upload-Complete": "?1"}
    answer = webob.Request.blank("/photos", method="POST", headers=headers, body=b"hello").get_response(app)

    assert (answer.status_int, answer.body, got) == (201, b"made", [b"hello"])


@pytest.mark.parametrize("kind", ["memory:", "file"])
def test_view_opens_the_file_from_every_store(kind: str, tmp_path: Path) -> None:
    """A path is there only where files are."""
    webob = pytest.importorskip("webob")
    request = webob.Request.blank("/upload", method="POST", headers=CREATION, body=b"hello")
    tus = Tus(WebobAdapter(request), store=MemoryStore() if kind == "memory:" else f"file://{tmp_path}")

    tus.handle()
    with tus.open_file() as file:
        content = file.read()

    assert (tus.upload_finished, content) == (True, b"hello")
    if kind == "file":
        assert Path(tus.get_filepath()).read_bytes() == b"hello"
    else:
        with pytest.raises(NotImplementedError, match="no files"):
            tus.get_filepath()
    tus.cleanup_file()
