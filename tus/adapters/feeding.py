"""A conversation in a coroutine: the event loop waits for the client, and threads do what blocks.

A request whose whole body is here takes one step: in the loop where the store is quick, else in a thread. Any other
body is stored as it comes, by size and by time: what has arrived is never held back to wait for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from ..engine import Delivery, Engine
from ..engine.writer import Sink, Writer
from ..engine.writing import settles_at_once
from ..http.messages import Request
from ..talk import Filling, Talk
from ..waiting import Waits, hurried
from .body import DRAIN, DRAIN_TIME, PIECE
from .crowded import Conversations
from .scopes import Message, Receive
from .sources import PATIENCE
from .steps import Threads
from .watch import Watch

SMALL = 1 << 16  # bytes of a body that may be waited for before anything is done
GATHERED = 1 << 18  # bytes that are stored in one step
_GLANCES = 2  # turns of the loop that a server needs to hand out what the socket has
crowd = Conversations()
_LEFT: Message = {"type": "http.disconnect"}


class Arriving:
    """A body, as `receive` gives it; at most one message ahead of what was taken."""

    def __init__(self, receive: Receive, length: int | None) -> None:
        self._receive, self._length = receive, length
        self._left = length  # bytes still to come; None: only the end tells
        self._coming: asyncio.Future[Message] | None = None
        self._ending: asyncio.Event | None = None  # made where there is a pause
        self._blocks: list[bytes] = []
        self._reason: BaseException | None = None  # why nothing more is waited for
        self.over = length == 0  # nothing more will come
        self.cut: BaseException | None = None  # why it ended too early

    def end(self, reason: BaseException) -> None:
        """Wait no longer."""
        if self._reason is None:
            self._reason = reason
            if self._coming:
                self._coming.cancel()
            if self._ending:
                self._ending.set()

    async def pause(self, seconds: float) -> None:
        """Let the server gather what comes meanwhile, unless this is to end."""
        if seconds and not self.over and not self._reason:
            self._ending = self._ending or asyncio.Event()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ending.wait(), seconds)

    def expects(self, most: int) -> bool:
        """Whether something is still to come, and all of it is at most so large."""
        return not self.over and self._length is not None and self._length <= most

    async def gather(self) -> None:
        """Wait for something, and take what is there then. One more message may come while that is stored."""
        size = 0
        while not self.over and size < GATHERED:
            if self._coming is None and self._reason is None:
                self._coming = asyncio.ensure_future(self._receive())
            if self._blocks and not await self._is_there():
                return
            size += self._take(await self._message())
        if not self.over and self._coming is None:
            self._coming = asyncio.ensure_future(self._receive())

    async def _is_there(self) -> bool:
        """Whether a message comes without being waited for."""
        for _ in range(_GLANCES):
            if self._reason or self._coming is None or self._coming.done():
                return True
            await asyncio.sleep(0)
        return self._coming is not None and self._coming.done()

    async def _message(self) -> Message:
        coming = self._coming
        if coming is None:
            return _LEFT
        silence = None
        if not coming.done():
            late = TimeoutError("the client sent nothing for too long")
            silence = asyncio.get_running_loop().call_later(PATIENCE, self.end, late)
        try:
            message = await coming
        except asyncio.CancelledError:
            if self._reason is None:
                raise  # it is this request that was cancelled
            message = _LEFT
        finally:
            if silence:
                silence.cancel()
        self._coming = None
        return message

    def _take(self, message: Message) -> int:
        """Keep what the message brings; how much that is."""
        if message["type"] == "http.disconnect":
            self.over, self.cut = True, self._reason or ConnectionResetError("the client left")
            return self._keep(_unread(self._receive))
        if not message.get("more_body"):
            self.over = True
        return self._keep(message.get("body", b""))

    def _keep(self, block: bytes) -> int:
        if block:
            self._blocks.append(block)
        if self._left is not None:
            self._left -= len(block)
            self.over = self.over or self._left <= 0
        return len(block)

    def taken(self) -> list[bytes]:
        """What was gathered, to be stored: blocks that are worth a write each, or one."""
        blocks, self._blocks = self._blocks, []
        if len(blocks) > 1 and sum(map(len, blocks)) < len(blocks) * PIECE:
            return [b"".join(blocks)]
        return blocks

    def rest(self) -> list[bytes]:
        """All that came, when nothing more is waited for: the message that came last, too."""
        coming, self._coming = self._coming, None
        if coming and coming.done() and not coming.cancelled() and not coming.exception():
            self._take(coming.result())
        elif coming:
            coming.cancel()
        return self.taken()

    async def drain(self) -> None:
        """Read a little of an unwanted body, so that the client sees why it was refused, and not a reset."""
        if self._reason is None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._drained(), DRAIN_TIME)
        self.rest()

    async def _drained(self) -> None:
        left = DRAIN
        while left > 0 and not self.over:
            await self.gather()
            left -= sum(map(len, self.taken()))


def _now(act: Callable[..., Any], *args: object) -> Any:
    return act(*args)


def _is_apart(request: Request, engine: Engine) -> bool:
    """Whether the request is of a protocol with an address of its own, which may look at more than one file; or whether
    the server has a word to say meanwhile, which takes a turn of the loop."""
    return request.interim is not None or request.id in engine.options.uploaders


def _unread(receive: Receive) -> bytes:
    """uvicorn forgets what it has received, and not handed out yet, when the client leaves."""
    cycle = getattr(receive, "__self__", None)
    if not type(cycle).__module__.startswith("uvicorn."):
        return b""
    rest, cycle.body = bytes(cycle.body), b""  # type: ignore[union-attr]
    return rest


class Conversation:
    """One request in a coroutine. `then` runs in the thread of the last step, and says what came of it."""

    def __init__(self, threads: Threads, request: Request, engine: Engine, *, then: Callable[[Talk], Any]) -> None:
        self._threads, self._request, self._engine, self._then = threads, request, engine, then
        self._filling = Filling(request.length)
        self._talk: Talk
        self._delivery: Delivery | None = None  # what the host has not been asked about yet
        self._asking = False  # the conversation waits for the body
        self._outcome: Any = None

    async def run(self, arriving: Arriving) -> Any:
        """What `then` said."""
        self._arriving, self._loop = arriving, asyncio.get_running_loop()
        try:
            await self._have()
        except asyncio.CancelledError as error:
            await self._threads.run(self._given_up, arriving.rest(), error)
            raise
        except BaseException:
            arriving.rest()
            raise
        if not arriving.over and "expect" not in self._request.headers:
            await arriving.drain()
        else:
            arriving.rest()
        return self._outcome

    async def _have(self) -> None:
        request, arriving, threads = self._request, self._arriving, self._threads
        if not arriving.over and self._is_small():
            await arriving.gather()
        if arriving.over and not arriving.cut:
            await self._have_whole(request.here(), arriving.taken())
            return
        goes_on = await threads.run(self._begun, request)
        if goes_on:
            await self._fed()
        if self._asking:
            await threads.run(self._ended, [])

    async def _fed(self) -> None:
        """Store the body as it comes."""
        arriving, threads, last = self._arriving, self._threads, 0
        crowd.enter()
        try:
            goes_on = True
            while goes_on:
                await arriving.gather()
                if arriving.over:
                    await threads.run(self._ended, arriving.taken())
                    return
                blocks = arriving.taken()
                before, last = last, sum(map(len, blocks))
                crowd.brought(before, last)
                goes_on = await threads.run(self._stored, blocks)
                await arriving.pause(crowd.pause(last) if goes_on else 0)
        finally:
            crowd.leave(last)

    async def _have_whole(self, request: Request, body: list[bytes]) -> None:
        """The body is here, so that the loop takes the step by itself, if that is quick."""
        threads, engine = self._threads, self._engine
        watch = threads.watches.get(request.method) if engine.prompt and not _is_apart(request, engine) else None
        rest: Callable[[], None] | None = partial(self._at_once, watch, request, body)
        if watch and watch.trusts:
            with suppress(Waits):
                rest = watch.timed(self._act, hurried, request, body)
        if rest:
            await threads.run(rest)

    def _act(self, how: Callable[..., Sink | None], request: Request, body: list[bytes]) -> Callable[[], None] | None:
        """All that waits for nothing; what is left for a thread, if anything is. If `hurried`, raises Waits where
        something has to be waited for first."""
        sink = how(self._opened, request)
        if sink is not None:
            try:
                self._feed(body)
            except Exception as error:
                return partial(self._failed, error)
            if not settles_at_once(self._engine, sink):
                return partial(self._ended, [])
            self._asking = False
            self._talk.end()
        if self._talk.answer.finished:  # it is the host's turn
            return self._finish
        self._finish()
        return None

    def _is_small(self) -> bool:
        """Whether the end of the body is worth waiting for. A client that asks first sends nothing before an answer."""
        request = self._request
        if "expect" in request.headers:
            return False
        return not request.said if request.length is None else request.length <= SMALL

    # In a thread, but for what waits for nothing

    def _at_once(self, watch: Watch | None, request: Request, body: list[bytes]) -> None:
        act = watch.timed if watch else _now
        rest = act(self._act, _now, request, body)
        if rest:
            rest()

    def _begun(self, request: Request) -> bool:
        """Whether the body is wanted."""
        sink = self._opened(request)
        if sink is None:
            self._finish()
            return False
        if sink.lease and not request.arrived:
            sink.lease.on_lost(self._lost)
        return True

    def _opened(self, request: Request) -> Sink | None:
        """What wants the body."""
        self._talk = Talk(request, self._engine)
        sink = self._talk.begin()
        if sink is not None:
            self._asking = True
            self._filling.into(sink)
        return sink

    def _lost(self) -> None:
        error = ConnectionResetError("the client asked again")
        with suppress(RuntimeError):  # the loop is over, and so is the wait
            self._loop.call_soon_threadsafe(self._arriving.end, error)

    def _feed(self, blocks: list[bytes]) -> None:
        for block in blocks:
            self._filling.feed(block)

    def _stored(self, blocks: list[bytes]) -> bool:
        """Whether more is wanted."""
        try:
            self._feed(blocks)
        except Exception as error:  # what the store or the lease says
            self._failed(error)
            return False
        sink = self._filling.sink
        if crowd.lack_files and isinstance(sink, Writer):
            sink.rest()
        return self._filling.wants(1) > 0

    def _ended(self, blocks: list[bytes]) -> None:
        try:
            self._feed(blocks)
        except Exception as error:
            self._failed(error)
            return
        self._asking = False
        self._talk.end(self._arriving.cut)
        self._finish()

    def _failed(self, error: Exception) -> None:
        self._asking = False
        self._talk.fail(error)
        self._finish()

    def _finish(self) -> None:
        self._talk.deliver()
        self._delivery = self._talk.delivery
        self._outcome = self._then(self._talk)

    def _given_up(self, rest: list[bytes], error: BaseException) -> None:
        """The server wants no answer any more; what arrived is kept."""
        if self._asking:
            self._asking = False
            try:
                self._feed(rest)
            except Exception as failure:
                self._talk.fail(failure)
            else:
                self._talk.end(error)
        if self._delivery:
            self._delivery.release()
