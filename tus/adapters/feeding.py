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

from .. import events
from ..engine import Delivery, Engine
from ..engine.writer import Sink, Writer
from ..engine.writing import settles_at_once
from ..errors import Crowded
from ..http.messages import Request
from ..http.senders import Bodies, connections, of_one, room, sender, share_of
from ..talk import Filling, Talk
from ..waiting import Waits, hurried
from .arriving import Arriving
from .crowded import WORTH, Conversations, open_files, turns
from .steps import Threads
from .watch import Watch

SMALL = 1 << 16  # bytes of a body that may be waited for before anything is done
SOON = 0.1  # seconds in which such a body comes by itself; one that takes longer needs a place
_FIRST = 0.05  # seconds that what comes first is taken to have needed
crowd = Conversations()
bodies = Bodies(events.log)  # those that have a place
_few = Threads("tus-crowd", 2)  # more would fight for the interpreter, with the loop, while they store trifles
Rest = Callable[[], object] | None  # what a thread has to do


def _is_little(blocks: list[bytes]) -> bool:
    return sum(map(len, blocks)) < WORTH


def _now(act: Callable[..., Any], *args: object) -> Any:
    return act(*args)


def _is_apart(request: Request, engine: Engine) -> bool:
    """Whether something may take its time: the store, the locker, a hook; a protocol with addresses of its own, which
    may look at more than one file; or the server, which has a word to say meanwhile in a turn of the loop."""
    return not engine.prompt or request.interim is not None or request.id in engine.options.uploaders


class Conversation:
    """One request in a coroutine. `then` runs in the thread of the last step, and says what came of it."""

    def __init__(self, threads: Threads, request: Request, engine: Engine, *, then: Callable[[Talk], Any]) -> None:
        self._threads, self._request, self._engine, self._then = threads, request, engine, then
        self._filling = Filling(request.length)
        self._watch = None if _is_apart(request, engine) else threads.watches.get(request.method)
        self._talk: Talk
        self._sink: Sink
        self._delivery: Delivery | None = None  # what the host has not been asked about yet
        self._asking = False  # the conversation waits for the body
        self._last = 0  # bytes that came when something came last
        self._since = 0.0  # when that was
        self._outcome: Any = None

    async def run(self, arriving: Arriving) -> Any:
        """What `then` said."""
        self._arriving, self._loop = arriving, asyncio.get_running_loop()
        arriving.limit(self._engine.options)
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
        request, arriving = self._request, self._arriving
        if not arriving.over and self._is_small():
            await arriving.gather(modestly=crowd.many, within=SOON)
        if arriving.over and not arriving.cut:
            await self._have_whole(request.here(), arriving.taken())
        elif arriving.over:
            await self._have_slowly()
        else:
            await self._have_in_place()

    async def _have_in_place(self) -> None:
        """The same for what takes its time, if there is room for it."""
        place, most = self._place(), self._engine.options.uploads_limit or room(connections(open_files()))
        of_each = self._engine.options.uploads_per_address or share_of(most)
        if not bodies.enter(place, in_all=most, of_one=of_each):
            await self._threads.run(self._turned_away)
            return
        try:
            await self._have_slowly()
        finally:
            bodies.leave(place)

    def _place(self) -> str:
        """Where it comes from; nothing, if that says nothing about who sends it."""
        address = self._request.address
        trusted = self._engine.options.trusted_proxies
        return of_one(sender(trusted, address.facts()) if address else self._request.peer)

    async def _have_slowly(self) -> None:
        """The body as it comes."""
        arriving = self._arriving
        crowd.enter()
        self._since = self._loop.time() - _FIRST
        try:
            if crowd.many:
                await arriving.pause(0)
            await self._begin()
            if self._asking:
                await self._fed()
        finally:
            crowd.leave(self._last)
        if self._asking:
            await self._threads.run(self._ended, [])

    async def _begin(self) -> None:
        """Everything up to the body."""
        watch = self._watch
        rest: Rest = partial(watch.timed if watch else _now, self._begun, _now)
        if watch and watch.trusts:
            with suppress(Waits):
                rest = watch.timed(self._begun, hurried)
        while rest:
            rest = await self._apart(rest)

    async def _fed(self) -> None:
        """Store the body as it comes."""
        arriving, goes_on = self._arriving, True
        while goes_on:
            await arriving.gather(modestly=crowd.many)
            blocks = arriving.taken()
            if arriving.over:
                await self._conclude(blocks)
                return
            before, self._last = self._last, sum(map(len, blocks))
            crowd.brought(before, self._last)
            since, self._since = self._since, self._loop.time()
            pause = crowd.pause(self._last, self._since - since)
            if not pause:
                arriving.look_ahead()
            goes_on = await self._step(self._stored, blocks)
            if pause and goes_on:
                del blocks  # what is stored must not lie in memory meanwhile
                await arriving.pause(pause)

    async def _step(self, act: Callable[..., Any], blocks: list[bytes]) -> Any:
        """The same as `act`, in the loop if that is quick: what trickles is written sooner than a thread is woken."""
        if self._is_quick(blocks):
            return self._watch.timed(act, blocks)  # type: ignore[union-attr]
        if self._watch and _is_little(blocks):
            return await self._apart(self._watch.timed, act, blocks)
        return await self._threads.run(act, blocks)

    async def _conclude(self, blocks: list[bytes]) -> None:
        """The end of the body."""
        rest: Rest = partial(self._ended, blocks)
        if self._is_quick(blocks) and not self._arriving.cut:
            rest = self._watch.timed(self._over, blocks)  # type: ignore[union-attr]
        if rest:
            await self._threads.run(rest)

    async def _apart(self, act: Callable[..., Any], *args: object) -> Any:
        """In a thread. Others of a crowd have their turn when this is done, or what they bring would wait in memory."""
        if not self._watch or not crowd.many:
            return await self._threads.run(act, *args)
        others = turns()
        others.steps += 1
        try:
            return await _few.run(act, *args)
        finally:
            others.steps -= 1

    def _is_quick(self, blocks: list[bytes]) -> bool:
        return self._watch is not None and self._watch.trusts and _is_little(blocks)

    async def _have_whole(self, request: Request, body: list[bytes]) -> None:
        """The body is here, so that the loop takes the step by itself, if that is quick."""
        watch = self._watch
        if not watch or not watch.trusts:
            await self._threads.run(self._at_once, watch, request, body)
            return
        try:
            rest: Rest = watch.timed(self._act, hurried, request, body)
        except Waits:
            rest = partial(self._at_once, watch, request, body)
        if rest:
            await self._threads.run(rest)

    def _act(self, how: Callable[..., Sink | None], request: Request, body: list[bytes]) -> Rest:
        """All that waits for nothing; what is left for a thread, if anything is. If `hurried`, raises Waits where
        something has to be waited for first."""
        return self._over(body) if how(self._opened, request) is not None else self._answered()

    def _over(self, blocks: list[bytes]) -> Rest:
        """The same for the end of the body."""
        try:
            self._feed(blocks)
        except Exception as error:
            return partial(self._failed, error)
        if not settles_at_once(self._engine, self._sink):
            return partial(self._ended, [])
        self._asking = False
        self._talk.end()
        return self._answered()

    def _answered(self) -> Rest:
        if self._talk.answer.finished:  # it is the host's turn
            return self._finish
        self._finish()
        return None

    def _is_small(self) -> bool:
        """Whether the end of the body is worth waiting for. A client that asks first sends nothing before an answer,
        and one that can be told before its body where to resume needs it before."""
        request = self._request
        if "expect" in request.headers or request.interim:
            return False
        return not request.said if request.length is None else request.length <= SMALL

    # In a thread, but for what waits for nothing

    def _turned_away(self) -> None:
        self._talk = Talk(self._request, self._engine)
        self._talk.refuse(Crowded("too many uploads arrive at once; this one goes on where it is, in a while"))
        self._finish()

    def _at_once(self, watch: Watch | None, request: Request, body: list[bytes]) -> None:
        act = watch.timed if watch else _now
        rest = act(self._act, _now, request, body)
        if rest:
            rest()

    def _begun(self, how: Callable[..., Sink | None]) -> Rest:
        request = self._request
        sink = how(self._opened, request)
        if sink is None:
            return self._answered()
        if sink.lease and not request.arrived:
            sink.lease.on_lost(self._lost)
        self._rest()
        return None

    def _opened(self, request: Request) -> Sink | None:
        """What wants the body."""
        self._talk = Talk(request, self._engine)
        sink = self._talk.begin()
        if sink is not None:
            self._asking, self._sink = True, sink
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
        self._rest()
        return self._filling.wants(1) > 0

    def _rest(self) -> None:
        """Nothing may come for long."""
        sink = self._filling.sink
        if crowd.lack_files and isinstance(sink, Writer):
            sink.rest()

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
