"""Tus, the face of the package: one object a request, for views of any framework.

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

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from .cors import Cors
from .engine import Delivery, Engine, open_engine
from .errors import Locked, OptionError, TusError
from .hooks import Hooks
from .messages import Request, Response
from .options import Options
from .protocols import Conversation, failure, respond, speaks, tus1
from .upload import Result, Upload
from .writer import Writer


class BodySource(Protocol):
    """The body of a request, with the server."""

    def fill(self, writer: Writer) -> BaseException | None: ...
    def drain(self) -> None: ...


class Adapter(Protocol):
    """What connects Tus to a framework."""

    @property
    def request(self) -> Request: ...
    @property
    def body(self) -> BodySource: ...
    def prepare(self, options: Options) -> None:
        """Find out, with the options, which part of the URL is ours."""

    @property
    def undoes(self) -> bool:
        """Whether the view's work may still be undone after the view has returned."""

    def once(self, name: str, act: Callable[[], Any]) -> Any:
        """What `act` returns; or, if the host repeats a request, what it returned the first time."""

    def give(self, tus: Tus) -> None:
        """An upload is finished: put it where views of this framework look for it."""

    def answer(self, response: Response, sent: Callable[[bool], None]) -> None:
        """Put the response where the framework wants it. Call `sent` with True when the view's work is done, or with
        False if it was undone."""


class Application:
    """Options, hooks, engine and CORS of one application, built once and used by every request."""

    def __init__(self, options: Options, *, delivers: bool = True) -> None:
        self.options = options
        self.hooks = hooks_of(options.hooks)
        self.engine = open_engine(options, self.hooks, delivers=delivers)
        self.cors = Cors(options)


_applications: dict[Any, Application] = {}
_MANY = 64  # applications; more than that means that options are made anew for each request
_guard = threading.Lock()


def application(given: dict[str, Any]) -> Application:
    """The application for these options: a view names them at every request, and means the same one."""
    key = tuple(sorted((name, repr(value)) for name, value in given.items()))
    found = _applications.get(key)
    if found is None:
        with _guard:
            found = _applications.get(key)
            if found is None:
                if len(_applications) >= _MANY:
                    _applications.clear()
                found = _applications[key] = Application(Options(given))
    return found


def hooks_of(named: Any) -> Hooks:
    """The hooks that the option means: an object, a class, or the name of one."""
    if isinstance(named, str) and named:
        module, _, name = named.partition(":")
        try:
            named = getattr(import_module(module), name or "hooks")
        except (ImportError, AttributeError) as error:
            raise OptionError(f"option hooks: {named!r} cannot be found: {error}") from error
    if isinstance(named, type):
        named = named()
    if named and not isinstance(named, Hooks):
        raise OptionError(f"option hooks: {named!r} is not a tus.Hooks")
    return named or Hooks()


def _now(name: str, act: Callable[[], Any]) -> Any:
    return act()


def converse(
    request: Request, body: BodySource, engine: Engine, once: Callable[[str, Callable[[], Any]], Any] = _now
) -> tuple[Response, Delivery | None]:
    """The answer to a request; and the upload that it finished, if it is the host's turn now. What is done `once` is
    not done again when the host repeats the request."""
    response = once("answered", lambda: _talk(respond(request, engine), body))
    if response.finished is None:
        return response, None
    try:
        delivery = engine.claim(response.finished.id)
        if not delivery.upload.pending:
            delivery.release()
            return replayed(response, delivery.upload, engine), None
        try:
            delivery.told = once("told", lambda: engine.hooks.finished(delivery.upload) or Result())
        except BaseException:
            delivery.release()
            raise
    except Exception as error:
        return put_off(request, error), None
    return response, delivery


def _talk(conversation: Conversation, body: BodySource) -> Response:
    """Run the conversation: fill the writer if the protocol asks for the body."""
    try:
        writer = next(conversation)
        try:
            cut = body.fill(writer)
        except Exception as error:  # what the store or the lease says while bytes arrive
            conversation.throw(error)
        else:
            conversation.send(cut)
    except StopIteration as end:
        response: Response = end.value
        return response
    finally:
        conversation.close()
    raise AssertionError("a conversation asks for the body once")


def put_off(request: Request, error: Exception) -> Response:
    """The host does not have the upload yet. A HEAD asks how far the upload is, not what the host thinks of it, and
    a client that gets anything but 423 for that starts from zero."""
    if request.method == "HEAD" and isinstance(error, TusError):
        error = Locked(str(error))
    response = failure(request, error)
    tus1.sign(response)
    return response


def replayed(response: Response, upload: Upload, engine: Engine) -> Response:
    """The response, with what the host once answered."""
    if response.status != 204:
        return response
    answer = tus1.stored(upload, engine)
    tus1.sign(answer)
    return answer


class Tus:
    """One request, and what came of it."""

    def __init__(self, adapter: Adapter, tmp_file_dir: str | None = None, **options: Any) -> None:
        if tmp_file_dir is not None:
            options["tmp_file_dir"] = tmp_file_dir
        app = application(options)
        self.adapter = adapter
        self.engine = app.engine
        self.options = app.options
        self._app = app
        adapter.prepare(app.options)
        self.upload: Upload | None = None
        self.upload_finished = False
        self._delivery: Delivery | None = None
        self._drop = False

    @property
    def send_file(self) -> bool:
        """Whether the host asked for the file itself and not for its path."""
        return self.options.send_file

    @property
    def valid(self) -> bool:
        """Whether the request is for us."""
        return speaks(self.adapter.request, self.engine)

    def handle(self) -> None:
        """Do what the request asks for; the answer is in the adapter."""
        request = self.adapter.request
        response, self._delivery = converse(request, self.adapter.body, self.engine, self.adapter.once)
        if self._delivery:
            self.upload_finished = True
            self.upload = self._delivery.upload
            self.adapter.give(self)
        self.adapter.body.drain()
        self.adapter.answer(self._app.cors.apply(request, response), self._sent)

    def get_filepath(self) -> str:
        """Where the finished file lies."""
        if not self.upload:
            raise FileNotFoundError("no upload was finished by this request")
        return self.engine.path(self.upload)

    def cleanup_file(self) -> None:
        """Remove the file, as soon as nothing can undo what the view did with it. The record stays for a while, so
        that a client that lost the answer can ask again."""
        self._drop = True
        if not self.adapter.undoes:
            self._accept()

    def _sent(self, kept: bool = True) -> None:
        """The host returned the answer, so it has the file; unless its work was undone."""
        if kept:
            self._accept()
        elif self._delivery:
            self._delivery.release()
            self._delivery = None

    def _accept(self) -> None:
        delivery, self._delivery = self._delivery, None
        if delivery:
            delivery.accept(delivery.told, drop=self._drop)
        elif self._drop and self.upload:
            self.engine.drop(self.upload)
