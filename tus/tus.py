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
from importlib import import_module
from typing import Any, Protocol

from .cors import Cors
from .engine import Delivery, Engine, open_engine
from .errors import Locked, OptionError
from .hooks import Hooks
from .messages import Request, Response
from .options import Options
from .protocols import Conversation, failure, override, respond, speaks, tus1
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

    def answer(self, response: Response, sent: Any) -> None:
        """Put the response where the framework wants it; call `sent` once it was taken."""


class Application:
    """Options, hooks, engine and CORS of one application, built once and used by every request."""

    def __init__(self, options: Options, *, delivers: bool = True) -> None:
        self.options = options
        self.hooks = hooks_of(options.hooks)
        self.engine = open_engine(options, self.hooks, delivers=delivers)
        self.cors = Cors(options)


_applications: dict[Any, Application] = {}
_guard = threading.Lock()


def application(given: dict[str, Any]) -> Application:
    """The application for these options: a view names them at every request, and means the same one."""
    key = tuple(sorted((name, repr(value)) for name, value in given.items()))
    found = _applications.get(key)
    if found is None:
        with _guard:
            found = _applications.get(key)
            if found is None:
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


def converse(request: Request, body: BodySource, engine: Engine) -> Response:
    """Run the conversation: fill the writer if the protocol asks for the body."""
    conversation: Conversation = respond(request, engine)
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


def deliver(engine: Engine, response: Response) -> Delivery | Response | None:
    """The right to hand over what this response finished; or another response, if somebody else does so now or
    has done so just before; or None, if there is nothing to hand over."""
    upload = response.finished
    if upload is None:
        return None
    try:
        delivery = engine.claim(upload.id)
    except Locked as busy:
        return failure(Request("HEAD"), busy)
    if delivery.upload.pending:
        return delivery
    delivery.release()
    response.finished = None
    return replayed(response, delivery.upload, engine)


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
        self._explicit = "upload_path" in options
        adapter.prepare(app.options)
        override(adapter.request)
        self.upload: Upload | None = None
        self.upload_finished = False
        self._delivery: Delivery | None = None

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
        response = converse(request, self.adapter.body, self.engine)
        delivery = deliver(self.engine, response)
        if isinstance(delivery, Response):
            response = delivery
        elif delivery:
            result = self.engine.hooks.finished(delivery.upload)
            self._delivery = delivery
            self.upload_finished = True
            self.upload = delivery.upload
            self._result = result or Result()
        self.adapter.body.drain()
        self.adapter.answer(self._app.cors.apply(request, response), self._sent)

    def get_filepath(self) -> str:
        """Where the finished file lies."""
        if not self.upload:
            raise FileNotFoundError("no upload was finished by this request")
        return self.engine.path(self.upload)

    def cleanup_file(self) -> None:
        """Remove the file. The record stays for a while, so that a client that lost the answer can ask again."""
        self._accept(drop=True)

    def _sent(self) -> None:
        """The host returned the answer, so it has the file."""
        self._accept(drop=False)

    def _accept(self, *, drop: bool) -> None:
        delivery, self._delivery = self._delivery, None
        if delivery:
            delivery.accept(self._result, drop=drop)
        elif drop and self.upload:
            self.engine.drop(self.upload)
