"""One conversation, in steps that wait for no client, so that whatever has the body can drive it.

A driver calls `begin`. If that gives it a sink, it fills the sink, as `Filling` says, and calls `end`, or `fail`. Then
it calls `deliver`. Each step may run in another thread than the one before: between two of them no lock is held, and
nothing belongs to a thread. The steps themselves wait for disks, locks and hooks.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from .engine import Delivery, Engine
from .engine.writer import Sink
from .errors import Damaged, Locked, TusError
from .exchange import Exchange
from .http.messages import Request, Response
from .protocols import exchange, failure, respond

_PARTING = 0.1  # seconds that a server needs to forget a request which it has answered

Block = bytes | bytearray | memoryview
lent: WeakValueDictionary[str, object] = WeakValueDictionary()  # what views have in their hands, by the upload's id


class BodySource(Protocol):
    """The body of a request, with the server."""

    def fill(self, sink: Sink) -> BaseException | None:
        """Pour the body into the sink; why it stopped, if it stopped too early."""

    def drain(self) -> None:
        """The request was answered: read a little of what is left of the body, if that helps the client."""


def _now(name: str, act: Callable[[], Any]) -> Any:
    return act()


class Filling:
    """A body on its way into a sink: how much to read next, and what came of it."""

    __slots__ = ("cut", "left", "over", "sink")

    def __init__(self, length: int | None) -> None:
        self.left = length  # bytes still to come; None: only the end tells
        self.over = length == 0  # nothing more will come
        self.cut: BaseException | None = None  # why it ended too early
        self.sink: Sink | None = None

    def into(self, sink: Sink) -> None:
        self.sink = sink

    def wants(self, most: int) -> int:
        """How many bytes may be read now, at most so many; 0: the sink has all that it wants, or the body is over."""
        if self.over or self.sink is None:
            return 0
        wanted = self.sink.wanted
        if wanted is None or wanted > most:
            return most
        if wanted or self.left is not None:
            return wanted
        return 1  # a chunked body has to end here, too

    def take(self, block: Block) -> None:
        """What was read; nothing at the end. Raises what the sink says."""
        sink = self.sink
        assert sink
        self.count(len(block))
        if self.left is None and sink.wanted == 0:
            self.sink = None  # it gets no more than this one block beyond its end, of which it says what is wrong
        if len(block):
            sink.write(block)

    def took(self, size: int) -> None:
        """So many bytes were received where the sink wanted them."""
        self.count(size)
        if size:
            self.sink.took(size)  # type: ignore[union-attr]

    def feed(self, block: Block) -> None:
        """The same for a block of any size, of which the sink gets what it wants."""
        rest = memoryview(block)
        while len(rest) and (size := self.wants(len(rest))):
            self.take(rest[:size])
            rest = rest[size:]

    def count(self, size: int) -> None:
        """So many bytes were read; 0 at the end."""
        if not size:
            self.over = True
        elif self.left is not None:
            self.left -= size
            self.over = not self.left

    def stop(self, error: BaseException) -> BaseException:
        """The body was cut."""
        self.over, self.cut = True, error
        return error


class Talk:
    """A request and its answer; and the upload that it finished, if it is the host's turn now."""

    __slots__ = ("_conversation", "_engine", "answer", "delivery", "exchange")
    answer: Response

    def __init__(self, request: Request, engine: Engine) -> None:
        self.exchange: Exchange = exchange(request, engine)
        self.delivery: Delivery | None = None
        self._engine = engine
        self._conversation = respond(self.exchange)

    def begin(self) -> Sink | None:
        """Everything up to the body. What is returned wants to be filled with it; if nothing, there is an answer."""
        try:
            return next(self._conversation)
        except StopIteration as end:
            self.answer = end.value
            return None

    def refuse(self, error: TusError) -> None:
        """Do not even begin."""
        self.close()
        self.answer = failure(self.exchange, error)

    def end(self, cut: BaseException | None = None) -> None:
        """The sink was filled; or the body was cut, and why."""
        self._resume(self._conversation.send, cut)

    def fail(self, error: BaseException) -> None:
        """What the sink raised while it was filled."""
        self._resume(self._conversation.throw, error)

    def _resume(self, go_on: Callable[[Any], object], what: BaseException | None) -> None:
        try:
            go_on(what)
        except StopIteration as end:
            self.answer = end.value
        else:
            raise AssertionError("a conversation asks for the body once")
        finally:
            self.close()

    def close(self) -> None:
        """There will be no more steps; whatever is open is closed, with what it has."""
        self._conversation.close()

    def deliver(self, once: Callable[[str, Callable[[], Any]], Any] = _now) -> None:
        """Claim the upload that was finished, if the host is to have it. What is done `once` is not done again when the
        host repeats the request."""
        if self.answer.finished is None:
            return
        self.exchange = once("spoken", lambda: self.exchange)  # it knows what the body said
        try:
            self._deliver(self.answer.finished.id, once)
        except Exception as error:
            self.answer = put_off(self.exchange, error)

    def _deliver(self, id: str, once: Callable[[str, Callable[[], Any]], Any]) -> None:
        delivery = claimed(self._engine, id, self.exchange.patience)
        try:
            pending = delivery.upload.pending
            if pending and delivery.hear(once("told", delivery.ask)):
                self.delivery = delivery
            else:
                self.answer = self.exchange.stored(delivery.upload)
        finally:
            if not self.delivery:
                delivery.release()


def converse(
    request: Request, body: BodySource, engine: Engine, once: Callable[[str, Callable[[], Any]], Any] | None = None
) -> Talk:
    """A whole conversation in this thread, which waits for the body. What is done `once` is not done again when the
    host repeats the request."""
    talk = Talk(request, engine)
    talk.answer = once("answered", lambda: _talked(talk, body)) if once else _talked(talk, body)
    if talk.answer.finished is not None:
        talk.deliver(once or _now)
    return talk


def _talked(talk: Talk, body: BodySource) -> Response:
    sink = talk.begin()
    if sink is not None:
        try:
            cut = body.fill(sink)
        except Exception as error:  # what the store or the lease says while bytes arrive
            talk.fail(error)
        except BaseException:
            talk.close()
            raise
        else:
            talk.end(cut)
    return talk.answer


def claimed(engine: Engine, id: str, patience: float) -> Delivery:
    """The right to hand the upload over. A view that raised may still have it: frameworks keep the exception, and with
    it the view's frame, in cycles that only the garbage collector finds, or until their own answer has been sent."""
    try:
        return engine.claim(id)
    except Locked:
        if id in lent:
            gc.collect()
            patience = max(patience, _PARTING)
        elif not patience:
            raise
        return engine.claim(id, patience=patience)


def put_off(exchange: Exchange, error: Exception) -> Response:
    """The host does not have the upload yet. A HEAD asks how far the upload is, not what the host thinks of it, and
    a client that gets anything but 423 for that starts from zero."""
    if exchange.request.method == "HEAD" and isinstance(error, TusError) and not isinstance(error, Damaged):
        error = Locked(str(error))
    return failure(exchange, error)
