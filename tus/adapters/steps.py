"""Threads for what blocks, so that the event loop never does.

A step costs what it must, since most are as short as a read of a small file: one queue for all threads, and one call
back into the loop. While several requests wait, a thread goes from one step to the next without being woken for each.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any

from ..hooks import LOOP
from .watch import Watch

KEPT = 4  # threads that wait for more when there is nothing to do
IDLE = 2.0  # seconds after which another one ends
_PARTING = 10.0  # seconds that the end of the process waits for steps that began


class Threads:
    """At most so many; each is made when all others work, and few of them are kept."""

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self.watches = {method: Watch() for method in ("HEAD", "OPTIONS", "PATCH", "POST")}
        self._guard = threading.Lock()
        self._forget()
        atexit.register(_parted, weakref.ref(self))

    def _forget(self) -> None:
        self._process = os.getpid()
        self._steps: SimpleQueue[_Step | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._under_way = 0

    async def run(self, act: Callable[..., Any], *args: Any) -> Any:
        """What the act returns. One that was asked for comes to its end, also if this request is cancelled."""
        step = _Step(asyncio.get_running_loop(), act, args)
        self._add(step)
        try:
            return await step.outcome
        except asyncio.CancelledError:
            if not step.over:
                await step.waited_for()
            raise
        finally:
            with self._guard:
                self._under_way -= 1

    def _add(self, step: _Step) -> None:
        with self._guard:
            if self._process != os.getpid():
                self._forget()  # after a fork there is none
            self._under_way += 1
            self._steps.put(step)
            if len(self._threads) < min(self._under_way, self._most):
                name = f"{self._name}-{len(self._threads)}"
                args = (self._steps, self._threads, self._guard)
                thread = threading.Thread(target=_work, args=args, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def close(self) -> list[threading.Thread]:
        """No thread is kept; each ends with what it does. A step after this makes new ones."""
        with self._guard:
            threads, steps = list(self._threads), self._steps
            self._threads, self._steps = [], SimpleQueue()
        for _ in threads:
            steps.put(None)
        return threads


class _Step:
    """One act, on its way to a thread and back."""

    __slots__ = ("_act", "_args", "_context", "_late", "_loop", "outcome", "over")

    def __init__(self, loop: asyncio.AbstractEventLoop, act: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._loop, self._act, self._args = loop, act, args
        self._context: Context = copy_context()
        self._context.run(LOOP.set, loop)
        self._late: asyncio.Future[None] | None = None
        self.outcome: asyncio.Future[Any] = loop.create_future()
        self.over = False

    def do(self) -> None:
        """In the thread."""
        result: Any = None
        error: BaseException | None = None
        try:
            result = self._context.run(self._act, *self._args)
        except StopIteration as raised:  # which no future takes
            error = RuntimeError(f"a step raised {raised!r}")
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._told, result, error)

    def _told(self, result: Any, error: BaseException | None) -> None:
        self.over = True
        if self._late and not self._late.done():
            self._late.set_result(None)
        if self.outcome.done():
            return
        if error:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(result)

    async def waited_for(self) -> None:
        """Until it is over, whoever cancels the wait."""
        while not self.over:
            self._late = self._loop.create_future()
            with suppress(asyncio.CancelledError):
                await self._late


def _work(steps: SimpleQueue[_Step | None], threads: list[threading.Thread], guard: threading.Lock) -> None:
    while True:
        try:
            step = steps.get(timeout=IDLE if len(threads) > KEPT else None)
        except Empty:
            if _left(steps, threads, guard):
                return
            continue
        if step is None:
            return
        step.do()
        del step  # nothing of it is kept while the thread waits for the next one


def _left(steps: SimpleQueue[_Step | None], threads: list[threading.Thread], guard: threading.Lock) -> bool:
    """Whether this thread may end; the next step makes another one if it has to."""
    with guard:
        if len(threads) <= KEPT or not steps.empty():
            return False
        threads.remove(threading.current_thread())
        return True


def _parted(found: weakref.ref[Threads]) -> None:
    threads = found()
    for thread in threads.close() if threads else ():
        thread.join(_PARTING)
