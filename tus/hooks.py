"""Hooks: what a host may do when something happens to an upload.

Override what you need and give the object, or its name, as the option `hooks`. To refuse, raise
`tus.Refused("why", status=403)`. A hook may take its time: only its own request waits for it. While
`before_finish` looks at an upload, other requests for that one are told to try again. A hook may be `async def`: it
runs in the event loop of its request.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from .http.messages import Request
from .upload import Result, Upload

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Coroutine

LOOP: ContextVar[AbstractEventLoop | None] = ContextVar("tus.loop", default=None)  # of the request, seen from a thread

Intent = Literal["create", "write", "head", "read", "concatenate", "terminate", "look", "operate"]


class Hooks:
    """Does nothing; subclass it."""

    def user(self, request: Request) -> str | None:
        """Who makes this request. An upload belongs to the user who created it, and others cannot see it."""
        return request.user

    def authorise(self, request: Request, intent: Intent, upload: Upload | None) -> bool | None:
        """Called first, before a byte of the body is read. `upload` is None for a creation or an unknown id. The intent
        `operate` is for the operators' page, which shows and removes the uploads of all: only True allows that."""
        return None

    def before_create(self, request: Request, upload: Upload) -> Upload | None:
        """Refuse a creation, or return `upload.evolve(id=…, owner=…, metadata=…, limit=…, expires=…)`. Called again for
        a creation that is repeated with its Idempotency-Key; if that has an upload, this does not count."""

    def namespace(self, request: Request) -> str | None:
        """A name for the visitors who share names of files. Browser libraries identify an upload by the file's name and
        size: uploads of two namespaces never meet. Unless you override this, those of two visitors never meet either;
        if you do, your value is trusted: return what distinguishes sessions, or None for the visitor again."""
        return request.user

    def chunk(self, upload: Upload, number: int, data: bytes) -> bytes | None:
        """A numbered chunk, the first one is 0, before it is stored; return as many other bytes to replace it. With
        this hook a chunk is held in memory."""

    def created(self, upload: Upload) -> None:
        """An upload exists and has not received a byte."""

    def arriving(self, upload: Upload) -> None:
        """The first bytes come: `engine.follow(upload)` reads them, and all that follow, in a thread that this starts.
        Called again if the request that began was cut before it brought any."""

    def progressed(self, upload: Upload) -> None:
        """Bytes arrived; at most once a second for each request. Raise Refused to stop the request."""

    def before_finish(self, upload: Upload, file: BinaryIO) -> None:
        """Every byte is there: read `file` and refuse, if the content is not what it should be. That is the last word,
        and the client hears it each time it asks; with 408, 423, 425, 429 or 5xx, the hook is asked again."""

    def finished(self, upload: Upload) -> Result | None:
        """The upload is complete. Called until it returns or refuses for good, and then never again; but each time with
        the application behind the filter, while that may be asked again."""

    def before_terminate(self, request: Request, upload: Upload) -> None:
        """The client wants to remove the upload."""

    def terminated(self, upload: Upload) -> None:
        """The upload is gone."""


def overridden(hooks: Hooks, name: str) -> bool:
    """Whether the host has something to do at this point; saves work on the busy paths."""
    return getattr(type(hooks), name, None) is not getattr(Hooks, name) or name in getattr(hooks, "__dict__", ())


def awaited(hooks: Hooks) -> Hooks:
    """The same hooks, for threads: a hook that is `async def` runs in the event loop, and the thread waits for it."""
    names = [name for name in vars(Hooks) if name[0] != "_" and overridden(hooks, name)]
    if not any(iscoroutinefunction(getattr(hooks, name)) for name in names):
        return hooks
    found = Hooks()
    for name in names:
        hook = getattr(hooks, name)
        setattr(found, name, _waiting(hook) if iscoroutinefunction(hook) else hook)
    return found


def _waiting(hook: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    import asyncio

    last: AbstractEventLoop | None = None  # for what is done outside of any request, such as sweeping

    @wraps(hook)
    def waiting(*args: Any) -> Any:
        nonlocal last
        last = LOOP.get() or last
        if last is None or not last.is_running():
            return asyncio.run(hook(*args))
        return asyncio.run_coroutine_threadsafe(hook(*args), last).result()

    return waiting
