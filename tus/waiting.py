"""Where nothing may be waited for. An event loop does what is over sooner than a thread is woken; what waits after all
says so before anything has happened, and is done again in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

Outcome = TypeVar("Outcome")

_hurried: ContextVar[bool] = ContextVar("tus.hurried", default=False)


class Waits(BaseException):
    """This takes its time, and nobody here has any. Nothing has happened."""


def hurried(act: Callable[..., Outcome], *args: object) -> Outcome:
    """What the act returns; raises Waits if it takes its time."""
    token = _hurried.set(True)
    try:
        return act(*args)
    finally:
        _hurried.reset(token)


def take_time() -> None:
    """From here on it may take longer; raises Waits where it must not. Call it before anything has happened that
    cannot be done twice."""
    if _hurried.get():
        raise Waits
