"""Tus, the public face of the package: one object for each request, for views of any framework.

tus = Tus(WebobAdapter(request), tmp_file_dir="/var/uploads")
if tus.valid:
    tus.handle()
    if tus.upload_finished:
        path = tus.get_filepath()
        ...
        tus.cleanup_file()
    return adapter.resp
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from .backends import fitted, locker_of, store_of
from .cors import Cors
from .engine import Delivery, Engine, delivering
from .errors import BadRequest, NoContent, OptionError, Refused
from .exchange import Exchange
from .hooks import Hooks, awaited
from .http.messages import Request, Response
from .options import Options
from .protocols import speaks
from .talk import BodySource, Talk, converse, lent
from .upload import Result, Upload

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .keywords import TusOptions
    from .lockers import Locker
    from .stores import Store


class Adapter(Protocol):
    """What connects Tus to a framework."""

    @property
    def request(self) -> Request: ...
    @property
    def body(self) -> BodySource: ...
    def prepare(self, options: Options) -> None:
        """Find out, with the options, which part of the URL is ours."""

    @property
    def handed_over(self) -> bool:
        """Whether a filter made this request, to hand an upload over."""

    @property
    def undoes(self) -> bool:
        """Whether the view's work may still be undone after the view has returned."""

    def once(self, name: str, act: Callable[[], Any]) -> Any:
        """What `act` returns; or, if the host repeats a request, what it returned the first time."""

    def give(self, tus: Tus) -> None:
        """An upload is finished: put it where views of this framework look for it."""

    def answer(self, response: Response, sent: Callable[..., None]) -> None:
        """Put the response where the framework wants it. Call `sent` with True when the view's work is done, and with
        the Result that should be remembered of it; or with False if it was undone."""


_JUMP = 60.0  # seconds; more than any clock is corrected by that was right before


def _behind() -> float:
    """The clock that people see less the one that only goes on."""
    return time.time() - time.monotonic()


_sweepers: weakref.WeakSet[Sweeper] = weakref.WeakSet()


def _stopped() -> None:
    """No thread has come along into a new process."""
    for sweeper in _sweepers:
        sweeper.rest()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks, and where views have no files either
    os.register_at_fork(after_in_child=_stopped)


class Sweeper:
    """Removes what has expired, in a thread that sleeps nearly always, and ends with its engine. The first request of
    a process starts it, so after a fork."""

    def __init__(self, engine: Engine, interval: float | None) -> None:
        self._engine, self._interval = weakref.ref(engine), interval
        self._running = False
        self._guard = threading.Lock()
        self._over = threading.Event()
        weakref.finalize(engine, self._over.set).atexit = False
        _sweepers.add(self)

    def start(self) -> None:
        if self._running or not self._interval:
            return
        with self._guard:
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="tus-sweeper", daemon=True).start()

    def rest(self) -> None:
        """The thread is gone; the next request starts another one."""
        self._running, self._guard = False, threading.Lock()

    def _run(self) -> None:
        behind = _behind()
        while not self._over.wait(self._interval):
            before, behind = behind, _behind()
            if abs(behind - before) > _JUMP:
                log.warning("the clock jumped by %d seconds; what expired is looked for next time", behind - before)
                continue
            engine = self._engine()
            if engine is None:
                return
            try:
                for _ in engine.sweep(pause=0.01, tell=True):
                    pass  # the engine says what it removed
            except Exception:
                log.exception("looking for expired uploads failed")
            del engine


class Application:
    """Options, hooks, engine and CORS of one application, built once and used by every request."""

    def __init__(
        self,
        options: Options,
        *,
        store: Store | str | None = None,
        locker: Locker | str | None = None,
        delivers: bool = True,
    ) -> None:
        """`store` and `locker`, objects or URLs, go before the options of these names."""
        self.hooks = hooks_of(options.hooks)
        kept = store_of(store, options)
        self.options = options = fitted(options, kept)
        self.engine = Engine(kept, locker_of(locker, options, kept), options, self.hooks, delivers=delivers)
        self.cors = Cors(options)
        self.sweeper = Sweeper(self.engine, options.sweep_interval)


log = logging.getLogger("tus")

_applications: dict[Any, Application] = {}
_MANY = 64  # applications; more than that means that options are built again for each request
_guard = threading.Lock()


def application(given: dict[str, Any]) -> Application:
    """The application for these options: a view names them at every request, and means the same one."""
    key = tuple(sorted((name, _told(name, value)) for name, value in given.items()))
    found = _applications.get(key)
    if found is None:
        with _guard:
            found = _applications.get(key)
            if found is None:
                if len(_applications) >= _MANY:
                    _applications.clear()
                found = _applications[key] = Application(Options(given))
    return found


def _told(name: str, value: Any) -> str:
    """What tells this value from others. Two stores may look alike and are two; and while an application is
    remembered, it has its store, so no other object gets that one's number."""
    return str(id(value)) if name in ("store", "locker") and not isinstance(value, str) else repr(value)


def hooks_of(named: Any) -> Hooks:
    """The hooks that the option means: an object, a class, or the name of one."""
    if isinstance(named, str) and named:
        module, _, name = named.partition(":")
        try:
            named = getattr(import_module(module), name or "hooks")
        except (ImportError, AttributeError) as error:
            raise OptionError(f"option hooks: {named!r} cannot be found: {error}") from error
    if named is None or named == "":
        return Hooks()
    if isinstance(named, type) and issubclass(named, Hooks):
        named = named()
    if not isinstance(named, Hooks):
        raise OptionError(f"option hooks: {named!r} is not a tus.Hooks")
    return awaited(named)


def handed(delivery: Delivery) -> BinaryIO:
    """The file, for the host. Where it lies on a disk, it has its name, by which ZODB moves it into its storage."""
    return open(delivery.path(), "rb") if delivery.core.disk else delivery.open()


class Handing:
    """A finished upload in the hands of a view. The answer knows this, so it must not know the adapter, which knows the
    answer: otherwise a view that raises would keep its claim until somebody looks for cycles."""

    def __init__(self, engine: Engine, delivery: Delivery | None = None) -> None:
        self.drop = False
        self._engine, self._delivery = engine, delivery
        self._upload = delivery.upload if delivery else None
        if delivery:
            lent[delivery.upload.id] = self

    def path(self) -> str:
        """Where the file lies. Until the host has accepted it, it cannot lose it."""
        if not self._upload:
            raise FileNotFoundError("no upload was finished by this request")
        return self._delivery.path() if self._delivery else delivering.path(self._engine, self._upload)

    def file(self) -> BinaryIO:
        """The file itself, from whatever store."""
        if not self._upload:
            raise FileNotFoundError("no upload was finished by this request")
        return handed(self._delivery) if self._delivery else self._engine.open(self._upload)

    def url(self) -> str:
        """Where others fetch it."""
        if not self._upload:
            raise FileNotFoundError("no upload was finished by this request")
        return delivering.link_to(self._engine, self._upload)

    def sent(self, kept: bool, result: Result | None = None) -> None:
        """The host returned the answer, so it has the file; unless its work was undone."""
        if kept:
            if self._delivery and result:
                self._delivery.told = result
            self.accept()
        elif self._delivery:
            self._delivery.release()
            self._delivery = None

    def accept(self) -> None:
        """It has the file."""
        delivery, self._delivery = self._delivery, None
        if delivery:
            delivery.accept(delivery.told, drop=self.drop)
        elif self.drop and self._upload:
            delivering.drop(self._engine, self._upload)


_BY_PLACE = ("send_file", "upload_valid_duration")


class Tus:
    """One request, and what came of it."""

    def __init__(
        self,
        adapter: Adapter,
        tmp_file_dir: str | os.PathLike[str] | None = None,
        *more: Any,
        **options: Unpack[TusOptions],
    ) -> None:
        """`more`: `send_file` and `upload_valid_duration`, for callers of 2013 that name neither."""
        given: dict[str, Any] = {**dict(zip(_BY_PLACE, more, strict=False)), **options}
        if tmp_file_dir is not None:
            given["tmp_file_dir"] = tmp_file_dir
        app = application(given)
        self.adapter = adapter
        self.engine = app.engine
        self.options = app.options
        self._app = app
        adapter.prepare(app.options)
        self.exchange: Exchange
        self.upload: Upload | None = None
        self._said = 0, b""
        self.upload_finished = False
        self._handing = Handing(self.engine)

    @property
    def send_file(self) -> bool:
        """Whether the host asked for the file itself and not for its path."""
        return self.options.send_file

    @property
    def valid(self) -> bool:
        """Whether the request is for us. What a filter in front hands over is the view's, like a form."""
        return not self.adapter.handed_over and speaks(self.adapter.request, self.engine)

    def handle(self) -> None:
        """Do what the request asks for; the answer is in the adapter."""
        self.conclude(converse(self.adapter.request, self.adapter.body, self.engine, self.adapter.once))

    def conclude(self, talk: Talk) -> None:
        """What follows the conversation, if an adapter had that itself."""
        self._app.sweeper.start()
        self.exchange, response = talk.exchange, talk.answer
        if talk.delivery:
            self._handing = Handing(self.engine, talk.delivery)
            self.upload_finished = True
            self.upload = talk.delivery.upload
            self.adapter.give(self)
        self.adapter.body.drain()
        self._said = response.status, response.body if isinstance(response.body, bytes) else b""
        self.adapter.answer(self._app.cors.apply(self.adapter.request, response), self._handing.sent)

    def check(self) -> None:
        """For views that prefer exceptions: raise what was answered, unless the client got what it wanted."""
        status, body = self._said
        text = body.decode("utf-8", "replace").strip()
        if status == 204 and self.adapter.request.method == "GET":
            raise NoContent("this chunk has not come")
        if status >= 400:
            raise BadRequest(text) if status == 400 else Refused(text, status=status)

    def get_filepath(self) -> str:
        """Where the finished file lies. The view may move it; if it then fails, the upload is still there. Raises
        NotImplementedError where the option `store` names a store without files; `open_file` works with every store."""
        return self._handing.path()

    def open_file(self) -> BinaryIO:
        """The finished file, to read and then to close, from whatever store."""
        return self._handing.file()

    def get_url(self) -> str:
        """Where anybody can fetch the finished file, for `link_valid_duration`. Raises NotImplementedError where the
        option `store` names a store from which nobody else can; `upload.stored_at` says where it is, for those who
        have keys."""
        return self._handing.url()

    def cleanup_file(self) -> None:
        """Remove the file, as soon as nothing can undo what the view did with it. The record stays for a while, so
        that a client that lost the answer can ask again."""
        self._handing.drop = True
        if not self.adapter.undoes:
            self._handing.accept()
