"""An answer that is asked for before the body of its request has come, for a server that waits without a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..engine import Engine
from ..engine.writer import Writer
from ..http.messages import Request
from ..talk import Talk, converse
from .body import Body


class Fed:
    """What the filter returns to our own server. Iterating it has the conversation, and gives b"" where nothing comes
    for a while: then the server may call `feed` from any thread until the body is over, and go on."""

    def __init__(self, talk: Talk, body: Body, answer: Callable[[Talk], Iterable[bytes]]) -> None:
        self._talk, self._body, self._answer = talk, body, answer
        self._over = False
        self._failed: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        talk = self._talk
        sink = talk.begin()
        if sink is not None:
            try:
                # A form begins an upload where its file begins: with hooks and locks, which others must not wait for.
                self._body.open(sink, patient=isinstance(sink, Writer))
                while not self._over and not self.feed():
                    yield b""
            except BaseException as error:
                talk.end(error)  # what arrived is kept
                raise
            self._conclude()
        talk.deliver()
        blocks = self._answer(talk)
        try:
            yield from blocks
        finally:
            if hasattr(blocks, "close"):
                blocks.close()

    def feed(self, buffer: memoryview | None = None) -> bool:
        """Take what has come, and with a buffer wait for nothing; true when the body is over."""
        try:
            self._over = self._body.pour(buffer)
        except Exception as error:  # what the store or the lease says
            self._failed, self._over = error, True
        return self._over

    def rest(self) -> None:
        """Nothing may come for long: hold no file open until it does."""
        self._body.rest()

    def _conclude(self) -> None:
        if self._failed is None:
            self._talk.end(self._body.cut)
        else:
            error, self._failed = self._failed, None
            self._talk.fail(error)


class Asked:
    """What the filter returns to `Relay`, which has the conversation in the event loop. Middleware that iterates it has
    it in its thread."""

    def __init__(self, request: Request, body: Body, engine: Engine, answer: Callable[[Talk], Iterable[bytes]]) -> None:
        self.request, self.engine, self.answer = request, engine, answer
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield from self.answer(converse(self.request, self._body, self.engine))
