"""The body of a request in a coroutine, as an ASGI server brings it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from ..options import Options
from .body import DRAIN, DRAIN_TIME, PIECE
from .crowded import WORTH, turns
from .scopes import Message, Receive
from .sources import PATIENCE

GATHERED = 1 << 18  # bytes that are stored in one step
_GLANCES = 2  # turns of the loop that a server needs to hand out what the socket has
_LEFT: Message = {"type": "http.disconnect"}


class Arriving:
    """A body, as `receive` gives it; at most one message ahead of what was taken."""

    def __init__(self, receive: Receive, length: int | None) -> None:
        self._receive, self._length = receive, length
        self._left = length  # bytes still to come; None: only the end tells
        self._coming: asyncio.Future[Message] | None = None
        self._turn: asyncio.Future[None] | None = None  # what this waits for, where thousands do
        self._blocks: list[bytes] = []
        self._reason: BaseException | None = None  # why nothing more is waited for
        self._patience, self._slowest = PATIENCE, 0  # seconds of silence, and bytes a second after so many of them
        self._waited, self._came = 0.0, 0  # for the client, and what it brought in that time
        self.over = length == 0  # nothing more will come
        self.cut: BaseException | None = None  # why it ended too early

    def limit(self, options: Options) -> None:
        """How slow its client may be."""
        self._patience, self._slowest = options.body_timeout, options.body_min_rate or 0

    def end(self, reason: BaseException) -> None:
        """Wait no longer."""
        if self._reason is None:
            self._reason = reason
            if self._coming:
                self._coming.cancel()
            if self._turn and not self._turn.done():
                self._turn.set_result(None)

    async def pause(self, seconds: float) -> None:
        """Let what comes meanwhile gather, unless this is to end."""
        if self._reason:
            return
        self._turn = turns().turn(seconds)
        self._hold()
        began = time.monotonic()
        await self._turn
        self._waited += time.monotonic() - began
        if self._coming and (cycle := _cycle(self._receive)):
            cycle.flow.resume_reading()  # somebody waits for a message already

    def _hold(self) -> None:
        """Let the system keep what comes until we ask again. Other servers do that by themselves; uvicorn would wake us
        for each packet, and keep it in memory."""
        if cycle := _cycle(self._receive):
            cycle.flow.pause_reading()
            if self._coming is None:  # otherwise it may have brought what came before that
                self._keep(_unread(cycle))

    def expects(self, most: int) -> bool:
        """Whether something is still to come, and all of it is at most so large."""
        return not self.over and self._length is not None and self._length <= most

    async def gather(self, *, modestly: bool = False, within: float | None = None) -> None:
        """Wait for something, and take what is there then; modestly, only one message if it is a small one. `within`
        so many seconds, or it stays to be waited for."""
        if modestly and self._blocks:
            return
        size = 0
        while not self.over and size < GATHERED:
            if self._coming is None and self._reason is None:
                self._coming = asyncio.ensure_future(self._receive())
            if self._blocks and not await self._is_there():
                return
            if within and not await self._comes(within):
                return
            size += self._take(await self._message())
            if modestly and 0 < size < WORTH and not self.over:
                self._hold()  # at once: what comes now would lie in memory until the next time
                return  # to ask for more would let it come

    def look_ahead(self) -> None:
        """One more message may come while the others are stored."""
        if not self.over and self._coming is None and not self._reason:
            self._coming = asyncio.ensure_future(self._receive())

    async def _is_there(self) -> bool:
        """Whether a message comes without being waited for."""
        for _ in range(_GLANCES):
            if self._reason or self._coming is None or self._coming.done():
                return True
            await asyncio.sleep(0)
        return self._coming is not None and self._coming.done()

    async def _comes(self, seconds: float) -> bool:
        """Whether a message comes in that time."""
        if not await self._is_there() and self._coming:
            await asyncio.wait({self._coming}, timeout=seconds)
        return self._reason is not None or self._coming is None or self._coming.done()

    async def _message(self) -> Message:
        if self._waited >= self._patience:
            self._weigh()
        coming = self._coming
        if coming is None:
            return _LEFT
        try:
            message = await (coming if coming.done() else self._waited_for(coming))
        except asyncio.CancelledError:
            if self._reason is None:
                raise  # it is this request that was cancelled
            message = _LEFT
        self._coming = None
        return message

    async def _waited_for(self, coming: asyncio.Future[Message]) -> Message:
        late = TimeoutError("the client sent nothing for too long")
        silence = asyncio.get_running_loop().call_later(self._patience, self.end, late)
        began = time.monotonic()
        try:
            return await coming
        finally:
            silence.cancel()
            self._waited += time.monotonic() - began

    def _weigh(self) -> None:
        """Whether enough came while we waited."""
        if self._came < self._slowest * self._waited:
            self.end(TimeoutError(f"the client sent fewer than {self._slowest} bytes a second"))
        self._waited, self._came = 0.0, 0

    def _take(self, message: Message) -> int:
        """Keep what the message brings; how much that is."""
        if message["type"] == "http.disconnect":
            self.over, self.cut = True, self._reason or ConnectionResetError("the client left")
            cycle = _cycle(self._receive)
            return self._keep(_unread(cycle)) if cycle else 0
        if not message.get("more_body"):
            self.over = True
        return self._keep(message.get("body", b""))

    def _keep(self, block: bytes) -> int:
        if block:
            self._blocks.append(block)
            self._came += len(block)
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


def _cycle(receive: Receive) -> Any:
    """What uvicorn has of a request; None with other servers."""
    cycle = getattr(receive, "__self__", None)
    return cycle if type(cycle).__module__.startswith("uvicorn.") else None


def _unread(cycle: Any) -> bytes:
    """What it has received and not handed out yet. It forgets that when the client leaves."""
    rest, cycle.body = bytes(cycle.body), bytearray()
    return rest
