"""Which store keeps the uploads, and which locker says who may write: an object, what a URL names, or the default.

The scheme of a URL is an entry point, so that a package brings its own by being installed. Those in `_BUILT_IN` work
where nothing is installed, and no package can take their names.
"""

from __future__ import annotations

import copy
import difflib
import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from .errors import OptionError
from .lockers import Locker
from .options import BY_NAME, Options
from .stores import Linked, OnDisk, Store

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from .lockers.file import FileLocker
    from .lockers.memory import MemoryLocker
    from .stores.file import FileStore
    from .stores.memory import MemoryStore
    from .stores.s3 import S3Store

log = logging.getLogger("tus")

Factory = Callable[[str, Options], Any]  # what an entry point names: it gets the URL, and all options
_CONTRACTS: dict[str, Any] = {"store": Store, "locker": Locker}
_SECRET = re.compile(r"(^[^:/]*://)[^/?#]*(?=@)|([?&](?:access_key|key|secret|token|password)=)[^&#]*", re.IGNORECASE)


def store_of(given: Store | str | None, options: Options) -> Store:
    """The store that the host means; raises OptionError if that is none, or cannot be opened."""
    store: Store = _opened("store", options.store if given is None else given, options)
    return store


def locker_of(given: Locker | str | None, options: Options, store: Store) -> Locker:
    """The locker that the host means; if it names none, the one that fits the store."""
    given = options.locker if given is None else given
    fits = _fitting(store)
    if given == "" or given == "file:" and fits.startswith(given):
        given = fits
    if given == "":
        given = "memory:"
        log.warning(
            "uploads in a %s are safe only while one process serves them, since the option locker names no locker that "
            "processes share", type(store).__name__,
        )  # fmt: skip
    if isinstance(given, str) and given.partition(":")[0].lower() == "s3":
        from .lockers.s3 import s3_locker

        return s3_locker(given, store)
    locker: Locker = _opened("locker", given, options)
    _check_place(store, locker)
    return locker


def _check_place(store: Store, locker: Locker) -> None:
    """Refuse leases over a network for files that other machines reach as well: a request that stood still in a turn
    can cut off what a newer one stored, and nothing there refuses it (tests/lockers/test_directories.py)."""
    from .lockers.network import NetworkLocker

    if not isinstance(locker, NetworkLocker) or not _fitting(store).startswith("file:"):
        return
    from .stores import filesystems

    directory: str = store.directory  # type: ignore[attr-defined]
    type = filesystems.kind(directory)
    if filesystems.shared(type):
        raise OptionError(
            f"option locker: {directory} is on a network file system ({type}), where no lease keeps a request that "
            f"stood still from cutting off what a newer one stored; use store = s3://…, or locker = file: with one "
            f"machine at a time"
        )


def fitted(options: Options, store: Store) -> Options:
    """The options, as this store can serve them; raises OptionError where the host wants what it cannot."""
    if not isinstance(store, Linked):
        _check_unlinked(options, type(store).__name__)
    if options.hand_over != "path" or isinstance(store, OnDisk):
        return options
    if options.chosen("hand_over") or options.chosen("send_file"):
        name, instead = type(store).__name__, "file, form or none"
        instead = f"url, {instead}" if isinstance(store, Linked) else instead
        raise OptionError(f"option hand_over: a {name} has no path to hand over; choose {instead}")
    options = copy.copy(options)
    options.hand_over, options.send_file = "file", True
    return options


def _check_unlinked(options: Options, name: str) -> None:
    instead = {"hand_over": "path, file, form or none", "redirect_downloads": "false"}
    for option, others in instead.items():
        if getattr(options, option) in ("url", True):
            raise OptionError(f"option {option}: nobody else can fetch from a {name}; choose {others}")


def _opened(name: str, given: Any, options: Options) -> Any:
    """The object, or the one that the URL names."""
    if not isinstance(given, str):
        return _checked(name, given)
    try:
        url = BY_NAME[name].parse(given) or "file:"
    except ValueError as error:
        raise OptionError(f"option {name}: {given!r} {error}") from None
    make = _factory(name, url)
    try:
        found = make(url, options)
    except OptionError:
        raise
    except Exception as error:
        raise OptionError(f"option {name}: {without_password(url)} cannot be opened: {_reason(error)}") from error
    return _checked(name, found)


def _checked(name: str, found: Any) -> Any:
    """The object, if it has all that a store or a locker must have."""
    contract = _CONTRACTS[name]
    if isinstance(found, type):
        raise OptionError(f"option {name}: {found.__name__} is a class; give an object of it")
    missing = [word for word in vars(contract) if word[0] != "_" and not callable(getattr(found, word, None))]
    if missing:
        kind = type(found).__name__
        raise OptionError(f"option {name}: a {kind} is no tus.{contract.__name__}, without {', '.join(missing)}")
    return found


def _factory(name: str, url: str) -> Factory:
    """What makes a store or a locker of such a URL."""
    from importlib.metadata import entry_points  # here, since it takes as long as the rest of the package

    scheme = url.partition(":")[0].lower()
    if scheme in _BUILT_IN[name]:
        return _BUILT_IN[name][scheme]
    points = entry_points(group=f"tus.{name}s")
    found = {point.value: point for point in points if point.name == scheme}
    if not found:
        raise OptionError(_unknown(name, scheme, {*_BUILT_IN[name], *(point.name for point in points)}))
    if len(found) > 1:
        raise OptionError(f"option {name}: several packages bring {scheme}: {', '.join(sorted(found))}")
    return _loaded(name, *found.values())


def _loaded(name: str, point: EntryPoint) -> Factory:
    try:
        factory: Factory = point.load()
    except Exception as error:
        raise OptionError(f"option {name}: what brings {point.name}: cannot be loaded: {_reason(error)}") from error
    return factory


def _unknown(name: str, scheme: str, known: set[str]) -> str:
    """The complaint about a scheme that nothing brings."""
    near = difflib.get_close_matches(scheme, sorted(known), 1, 0.5)
    hint = f"did you mean {near[0]}:?" if near else f"is the package not installed that brings the {name} {scheme}:?"
    return f"option {name}: {scheme}: is unknown here; there are {', '.join(f'{s}:' for s in sorted(known))}; {hint}"


def without_password(url: str) -> str:
    """The URL for a log, without a password."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}…", url)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def file_store(url: str, options: Options) -> FileStore:
    """`file:///var/uploads`; `file:` alone is the directory of `tmp_file_dir`."""
    kind, _ = _files()
    try:
        return kind(
            _directory("store", url, options),
            file_mode=options.file_mode,
            directory_mode=options.directory_mode,
            certify=options.durable == "always",
        )
    except OSError as error:
        raise _unusable("store", url, error) from error


def file_locker(url: str, options: Options) -> FileLocker:
    """`file:///run/leases`; `file:` alone is the directory of `tmp_file_dir`."""
    _, kind = _files()
    try:
        return kind(_directory("locker", url, options))
    except OSError as error:
        raise _unusable("locker", url, error) from error


def memory_store(url: str, options: Options) -> MemoryStore:
    """`memory:`, another one each time."""
    from .stores.memory import MemoryStore

    _check_alone("store", url)
    return MemoryStore()


def s3_store(url: str, options: Options) -> S3Store:
    """`s3://bucket/prefix?endpoint=https://…`, as `tus.stores.s3.opening` reads it."""
    from .stores.s3.opening import open_store

    return open_store(url, options)


def azblob_store(url: str, options: Options) -> S3Store:
    """`azblob://container/prefix?account=…`, as `tus.stores.azure.opening` reads it."""
    from .stores.azure.opening import open_azure

    return open_azure(url, options)


def memory_locker(url: str, options: Options) -> MemoryLocker:
    """`memory:`, for the threads of one process."""
    from .lockers.memory import MemoryLocker

    _check_alone("locker", url)
    return MemoryLocker()


_BUILT_IN: dict[str, dict[str, Factory]] = {
    "store": {"file": file_store, "memory": memory_store, "s3": s3_store, "azblob": azblob_store},
    "locker": {"file": file_locker, "memory": memory_locker},
}


def _files() -> tuple[type[FileStore], type[FileLocker]]:
    try:
        from .lockers.file import FileLocker
        from .stores.file import FileStore
    except (ImportError, AttributeError) as error:
        raise OptionError(f"uploads need a POSIX system for their files, and this is not one: {error}") from error
    return FileStore, FileLocker


def _fitting(store: Store) -> str:
    """The URL of the locker that a store of ours needs; "" for the stores of others."""
    from .stores.memory import MemoryStore

    if isinstance(store, MemoryStore):
        return "memory:"
    with suppress(OptionError):
        kind, _ = _files()
        if isinstance(store, kind):
            return Path(store.directory).as_uri()
    from .stores.s3 import S3Store

    # Its files are right without a locker; one that processes share saves calls, and ends a request that is overtaken.
    return "memory:" if isinstance(store, S3Store) else ""


def _check_alone(name: str, url: str) -> None:
    if url.partition(":")[2]:
        raise OptionError(f"option {name}: nothing can follow memory:, and {url!r} has more")


def _directory(name: str, url: str, options: Options) -> str:
    """Where the files of a `file:` URL lie."""
    path = url.partition(":")[2]
    if path.startswith("//"):
        machine, slash, path = path[2:].partition("/")
        if machine not in ("", "localhost"):
            raise OptionError(f"option {name}: {url!r} names the machine {machine!r}; a path begins with file:///")
        path = slash + path
    if "?" in path or "#" in path:
        raise OptionError(f"option {name}: {url!r} is no path; in a URL, ? is %3F and # is %23")
    if path:
        return os.path.expanduser(os.fsdecode(unquote_to_bytes(path)))
    return options.tmp_file_dir or _private_directory()


def _private_directory() -> str:
    """A directory of our own in the system's temporary one, refused if somebody else made it."""
    import tempfile

    path = os.path.join(tempfile.gettempdir(), f"tus-{os.getuid()}")
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or not os.path.isdir(path) or os.path.islink(path):
        raise PermissionError(f"{path} is not ours alone; name another place with the option tmp_file_dir")
    return path


def _unusable(name: str, url: str, error: OSError) -> OptionError:
    """The complaint about a directory, which names the option that chose it."""
    if not url.partition(":")[2].strip("/"):
        name = "tmp_file_dir"
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return OptionError(f"option {name}: {what}")
